/* SPDX-License-Identifier: Apache-2.0 */
/* GET /events: one JSON object a line, with the members of before 1.52 (status, id, from) too. */
#include "api/docker/door-internal.h"

typedef struct EventWriter {
	HttpRequest *rq;
	const Filters *filters;
} EventWriter;

/* `exec_create: cmd` is asked for as exec_create. */
static bool match_action(const Filters *f, const char *action)
{
	const char *v;

	for (size_t i = 0; (v = filters_get(f, "event", i)); i++) {
		const char *rest = str_after(action, v);

		if (rest && (!*rest || *rest == ':'))
			return true;
	}
	return !filters_has(f, "event");
}

static bool match_object(const Filters *f, const char *key, const EngineEvent *ev)
{
	const char *name = strv_env_get(ev->attributes, "name"), *v;

	if (!filters_has(f, key))
		return true;
	if (!streq(key, ev->type))
		/* Network events tell which container they are about. */
		return streq(key, "container") &&
		       filters_exact(f, key,
				     strv_env_get(ev->attributes, "container")
					 ? strv_env_get(ev->attributes, "container")
					 : "");
	for (size_t i = 0; (v = filters_get(f, key, i)); i++)
		if (name_matches(ev->id, v) || (name && name_matches(name, v)))
			return true;
	return false;
}

static bool match_image(const Filters *f, const EngineEvent *ev)
{
	const char *image = strv_env_get(ev->attributes, streq(ev->type, "image") ? "name" : "image"), *v;

	if (!filters_has(f, "image"))
		return true;
	for (size_t i = 0; (v = filters_get(f, "image", i)); i++) {
		if (streq(ev->type, "image") && name_matches(ev->id, v))
			return true;
		if (image && (streq(image, v) || (str_starts(image, v) && image[strlen(v)] == ':')))
			return true;
	}
	return false;
}

static bool event_matches(const Filters *f, const EngineEvent *ev)
{
	return filters_exact(f, "type", ev->type) && filters_exact(f, "scope", "local") &&
	       match_action(f, ev->action) && match_object(f, "container", ev) &&
	       match_object(f, "network", ev) && match_object(f, "volume", ev) &&
	       match_object(f, "daemon", ev) && match_image(f, ev) && filters_labels(f, ev->attributes);
}

static int event_sink(void *user, const EngineEvent *ev)
{
	EventWriter *w = user;
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL, *line = NULL;

	if (!event_matches(w->filters, ev))
		return 0;
	/* Creation of images was not told to clients before 1.46. */
	if (http_tag(w->rq) < 146 && streq(ev->type, "image") && streq(ev->action, "create"))
		return 0;
	doc = json_pack("{s:o, s:o, s:{s:o, s:o}, s:s, s:I, s:I}", "Type", doc_str(ev->type), "Action",
			doc_str(ev->action), "Actor", "ID", doc_str(ev->id), "Attributes",
			doc_map(ev->attributes), "scope", "local", "time",
			(json_int_t)(ev->time_ns / 1000000000), "timeNano", (json_int_t)ev->time_ns);
	if (!doc)
		return -ENOMEM;
	if (streq(ev->type, "container") || streq(ev->type, "image")) {
		const char *from = strv_env_get(ev->attributes, "image");

		json_object_set_new(doc, "status", doc_str(ev->action));
		json_object_set_new(doc, "id", doc_str(ev->id));
		if (from && streq(ev->type, "container"))
			json_object_set_new(doc, "from", doc_str(from));
	}
	text = json_text(doc);
	line = text ? strf("%s\n", text) : NULL;
	return line ? http_stream_write(w->rq, line, strlen(line)) : -ENOMEM;
}

static int event_time(HttpRequest *rq, const char *name, int64_t *ret, Err *e)
{
	const char *v = http_query(rq, name);

	if (str_empty(v) || streq(v, "0"))
		return 0;
	if (clock_parse(v, ret) < 0)
		return err_new(e, ERR_INVALID, "invalid value for \"%s\": \"%.60s\" is not a time", name, v);
	return 0;
}

int h_events(HttpRequest *rq, void *user, Err *e)
{
	static const char *const allowed[] = {"config", "container", "daemon", "event",  "image",
					      "label",  "network",   "node",   "plugin", "scope",
					      "secret", "service",   "type",   "volume", NULL};
	Door *d = user;
	_cleanup_filters_ Filters f = {0};
	EventWriter w = {rq, &f};
	EngineEventsWanted wanted = {0};
	int r = filters_parse(http_query(rq, "filters"), &f, e);

	if (r >= 0)
		r = filters_allow(&f, allowed, e);
	if (r >= 0)
		r = event_time(rq, "since", &wanted.since_ns, e);
	if (r >= 0)
		r = event_time(rq, "until", &wanted.until_ns, e);
	if (r >= 0 && wanted.since_ns && wanted.until_ns && wanted.since_ns > wanted.until_ns)
		r = err_new(e, ERR_INVALID, "`since` time (%.60s) cannot be after `until` time (%.60s)",
			    http_query(rq, "since"), http_query(rq, "until"));
	if (r < 0)
		return r;
	(void)http_stream_begin(rq, 200, "application/json");
	r = engine_events_follow(d->engine, &wanted, event_sink, &w, http_alive_fd(rq), e);
	return r > 0 ? 0 : r;
}
