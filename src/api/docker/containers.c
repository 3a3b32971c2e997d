/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints of containers: life, lists, prune. Streams are in streams.c, files in archive.c. */
#include "api/docker/door-internal.h"
#include "engine/container-fields.h"

#include <fcntl.h>

#define PIECE (64 << 10) /* what is sent of a long list while the rest is made */

typedef struct List {
	Door *door;
	HttpRequest *rq;
	bool streams; /* the answer has begun */
	Filters filters;
	bool all, sized;
	int64_t limit, n;
	StrBuf text;
	ImageShown image;
} List;

static void list_done(List *l)
{
	filters_done(&l->filters);
	strbuf_done(&l->text);
	image_shown_done(&l->image);
}

static bool is_up(ContainerStatus s)
{
	return s == CONTAINER_RUNNING || s == CONTAINER_PAUSED || s == CONTAINER_RESTARTING;
}

/* What there is goes out: whoever reads it works meanwhile. */
static int list_flush(List *l, Err *e)
{
	int r = 0;

	if (l->text.oom)
		return err_oom(e);
	if (!l->streams)
		r = http_stream_begin(l->rq, 200, "application/json");
	l->streams = true;
	if (r >= 0)
		r = http_stream_write(l->rq, l->text.s, l->text.len);
	l->text.len = 0;
	return r < 0 ? err_sys(e, r, "send the list") : 0;
}

static int list_one(void *user, ContainerInfo *i, Err *e)
{
	List *l = user;
	int64_t rw = 0, root = 0;
	int r;

	if (l->limit > 0 && l->n >= l->limit)
		return 1;
	if (!l->all && !is_up(i->status))
		return 0;
	r = container_filters_match(l->door, &l->filters, i, e);
	if (r <= 0)
		return r;
	if (l->sized && container_sizes(l->door, i, &rw, &root, NULL) < 0)
		return 0; /* removed meanwhile */
	strbuf_add(&l->text, l->n++ ? "," : "[");
	container_list_add(&l->text, i, image_shown(l->door, i, &l->image), l->sized ? &rw : NULL,
			   l->sized ? &root : NULL);
	if (l->text.len > PIECE)
		return list_flush(l, e);
	return l->text.oom ? err_oom(e) : 0;
}

/* What most lists are: without filters and sizes, and of images that were looked up for the one before. */
static ContainerGlance list_glance(void *user, const ContainerInfo *i)
{
	List *l = user;
	const char *image;

	if (l->limit > 0 && l->n >= l->limit)
		return GLANCE_END;
	if (!l->all && !is_up(i->status))
		return GLANCE_DONE;
	/* Nothing is sent while the container is locked. */
	image = l->sized || l->filters.n > 0 || l->text.len > PIECE ? NULL : image_shown_again(i, &l->image);
	if (!image)
		return GLANCE_COPY;
	strbuf_add(&l->text, l->n++ ? "," : "[");
	container_list_add(&l->text, i, image, NULL, NULL);
	return GLANCE_DONE;
}

int h_containers_list(HttpRequest *rq, void *user, Err *e)
{
	_cleanup_(list_done) List l = {.door = user, .rq = rq, .sized = http_query_bool(rq, "size", false)};
	int r = filters_parse(http_query(rq, "filters"), &l.filters, e);

	if (r >= 0)
		r = container_filters_check(l.door, &l.filters, e);
	if (r >= 0)
		r = http_query_int(rq, "limit", &l.limit, e);
	if (r < 0)
		return r;
	l.all = http_query_bool(rq, "all", false) || l.limit > 0 || filters_has(&l.filters, "status");
	r = engine_container_each(l.door->engine, &(EngineEach){list_one, list_glance, &l}, e);
	strbuf_add(&l.text, l.n ? "]\n" : "[]\n");
	if (r >= 0 && l.text.oom)
		r = err_oom(e);
	if (r >= 0 && l.streams)
		return list_flush(&l, e);
	return r < 0 ? r : http_reply(rq, 200, "application/json", l.text.s, l.text.len);
}

static int too_new(Err *e, const char *what, const char *version)
{
	return err_new(e, ERR_INVALID, "%s needs API v%s or newer", what, version);
}

/* Options of another kind of mount were ignored before 1.42. */
static void drop_others(json_t *mount, const char *type)
{
	static const char *const options[][2] = {{"bind", "BindOptions"},
						 {"volume", "VolumeOptions"},
						 {"tmpfs", "TmpfsOptions"}};

	for (size_t i = 0; i < ELEMENTSOF(options); i++)
		if (!streq(type, options[i][0]))
			json_object_del(mount, options[i][1]);
}

static int gate_mount(int version, json_t *m, Err *e)
{
	const char *type = json_get_str(m, "Type") ?: "";
	json_t *bind = json_object_get(m, "BindOptions");

	if (version < 142)
		drop_others(m, type);
	if (version < 148 && streq(type, "image"))
		return too_new(e, "Mount type image", "1.48");
	if (version < 146 && json_object_get(json_object_get(m, "TmpfsOptions"), "Options"))
		return too_new(e, "TmpfsOptions.Options", "1.46");
	if (version < 145 && !str_empty(json_get_str(json_object_get(m, "VolumeOptions"), "Subpath")))
		return too_new(e, "VolumeOptions.Subpath", "1.45");
	if (version < 144 && json_get_bool(bind, "ReadOnlyForceRecursive", false))
		return too_new(e, "BindOptions.ReadOnlyForceRecursive", "1.44");
	if (version >= 144 || !streq(type, "bind") || !json_get_bool(m, "ReadOnly", false))
		return 0;
	/* So was every read-only bind. */
	if (!json_is_object(bind) && json_object_set_new(m, "BindOptions", bind = json_object()) < 0)
		return err_oom(e);
	return json_object_set_new(bind, "ReadOnlyNonRecursive", json_true()) < 0 ? err_oom(e) : 0;
}

static int gate_mounts(int version, json_t *host, Err *e)
{
	json_t *mounts = json_object_get(host, "Mounts");
	int r = 0;

	for (size_t i = 0; r >= 0 && version < 148 && i < json_array_size(mounts); i++)
		r = gate_mount(version, json_array_get(mounts, i), e);
	return r;
}

static void set_default(json_t *host, const char *key, const char *value)
{
	if (str_empty(json_get_str(host, key)))
		json_object_set_new(host, key, json_string(value));
}

/* What old clients could not mean or say, or what it meant then. */
static int gate_create(Door *d, int version, json_t *body, Err *e)
{
	json_t *host = json_object_get(body, "HostConfig");
	json_t *endpoints = json_object_get(json_object_get(body, "NetworkingConfig"), "EndpointsConfig");

	if (version < 144) {
		if (json_object_size(endpoints) > 1)
			return err_new(e, ERR_INVALID,
				       "Container cannot be created with multiple network endpoints");
		json_object_del(json_object_get(body, "Healthcheck"), "StartInterval");
	}
	if (!json_is_object(host))
		return 0;
	if (version < 143)
		json_object_del(host, "Annotations");
	if (version < 142)
		json_object_del(host, "ConsoleSize");
	if (version < 141 && engine_cgroup_version(d->engine) == 1)
		set_default(host, "CgroupnsMode", "host");
	if (version < 140)
		set_default(host, "IpcMode", "shareable");
	return gate_mounts(version, host, e);
}

int h_container_create(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_(container_config_done) ContainerConfig config = {0};
	_cleanup_free_ char *id = NULL, *platform = NULL;
	_cleanup_strv_ char **warnings = NULL;
	const char *name = http_query(rq, "name");
	int r = http_body_json(rq, true, &body, e);

	if (r >= 0 && !json_is_object(body))
		r = err_new(e, ERR_INVALID, "config cannot be empty in order to create a container");
	if (r >= 0)
		r = gate_create(d, http_tag(rq), body, e);
	if (r >= 0)
		r = container_fields_check(body, e);
	if (r >= 0)
		r = container_config_decode(body, &config, e);
	if (r >= 0 && http_tag(rq) >= 141)
		r = query_platform(rq, "platform", &platform, e);
	if (r >= 0 && name && *name == '/')
		name++;
	if (r >= 0)
		r = engine_container_create(d->engine, str_empty(name) ? NULL : name, platform, &config, &id,
					    &warnings, e);
	if (r < 0)
		return r;
	return reply_doc(rq, 201, json_pack("{s:s, s:o}", "Id", id, "Warnings", doc_strv(warnings)), e);
}

int h_container_inspect(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(container_info_done) ContainerInfo i = {0};
	bool sized = http_query_bool(rq, "size", false);
	int64_t rw = 0, root = 0;
	int r = engine_container_inspect(d->engine, http_param(rq, "id"), &i, e);

	if (r >= 0 && sized)
		r = container_sizes(d, &i, &rw, &root, e);
	if (r < 0)
		return r;
	return reply_doc(rq, 200,
			 container_inspect_doc(&i, store_snapshotter(engine_store(d->engine)), http_tag(rq),
					       sized ? &rw : NULL, sized ? &root : NULL),
			 e);
}

/* 204, or 304 for what was so already. */
static int done(HttpRequest *rq, int r)
{
	return r < 0 ? r : http_reply_empty(rq, 204);
}

int h_container_start(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;

	if (!str_empty(http_query(rq, "checkpoint")))
		return err_new(e, ERR_INVALID, "checkpoint is only supported in experimental mode");
	/* Which of the command's faults it is decides the client's exit status: it reads that out of the text, status 400. */
	int r = engine_container_start(d->engine, http_param(rq, "id"), e);

	if (r < 0 && (e->kind == ERR_NO_COMMAND || e->kind == ERR_NOT_RUNNABLE))
		return err_kind(e, r, ERR_INVALID);
	return done(rq, r);
}

static int stop_timeout(HttpRequest *rq, int *ret, Err *e)
{
	int64_t t = -1;
	int r = http_query_int(rq, "t", &t, e);

	if (r >= 0 && t > INT32_MAX / 1000)
		t = INT32_MAX / 1000;
	*ret = t < 0 ? -1 : (int)t;
	/* t=-1 means "for ever", which no t at all does not. */
	if (t < 0 && !str_empty(http_query(rq, "t")))
		*ret = INT32_MAX / 1000;
	return r;
}

static const char *query_or_null(HttpRequest *rq, const char *name)
{
	const char *v = http_query(rq, name);

	return str_empty(v) ? NULL : v;
}

int h_container_stop(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	const char *signal = http_tag(rq) >= 142 ? query_or_null(rq, "signal") : NULL;
	int t, r = stop_timeout(rq, &t, e);

	return r < 0 ? r : done(rq, engine_container_stop(d->engine, http_param(rq, "id"), signal, t, e));
}

int h_container_restart(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	const char *signal = http_tag(rq) >= 142 ? query_or_null(rq, "signal") : NULL;
	int t, r = stop_timeout(rq, &t, e);

	return r < 0 ? r : done(rq, engine_container_restart(d->engine, http_param(rq, "id"), signal, t, e));
}

int h_container_kill(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;

	return done(rq,
		    engine_container_kill(d->engine, http_param(rq, "id"), query_or_null(rq, "signal"), e));
}

int h_container_pause(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;

	return done(rq, engine_container_pause(d->engine, http_param(rq, "id"), true, e));
}

int h_container_unpause(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;

	return done(rq, engine_container_pause(d->engine, http_param(rq, "id"), false, e));
}

int h_container_rename(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	const char *name = query_or_null(rq, "name");

	if (!name)
		return err_new(e, ERR_INVALID, "Neither old nor new names may be empty");
	return done(rq, engine_container_rename(d->engine, http_param(rq, "id"),
						*name == '/' ? name + 1 : name, e));
}

int h_container_remove(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;

	if (http_query_bool(rq, "link", false))
		return done(rq, engine_container_unlink(d->engine, http_param(rq, "id"), e));
	return done(rq, engine_container_remove(d->engine, http_param(rq, "id"),
						http_query_bool(rq, "force", false),
						http_query_bool(rq, "v", false), e));
}

/* The name of a link has a slash in it; none of a container has. */
int h_link_remove(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_free_ char *name = strf("%s/%s", http_param(rq, "id"), http_param(rq, "alias"));

	if (!name)
		return err_oom(e);
	if (!http_query_bool(rq, "link", false))
		return err_new(e, ERR_NOT_FOUND, "No such container: %s", name);
	return done(rq, engine_container_unlink(d->engine, name, e));
}

static int terminal_size(HttpRequest *rq, uint16_t *rows, uint16_t *cols, Err *e)
{
	int64_t h = -1, w = -1;
	int r = http_query_int(rq, "h", &h, e);

	if (r >= 0)
		r = http_query_int(rq, "w", &w, e);
	if (r < 0)
		return r;
	if (h < 0 || h > UINT16_MAX || w < 0 || w > UINT16_MAX)
		return err_new(e, ERR_INVALID, "resize: h and w must be given, from 0 to 65535");
	*rows = (uint16_t)h;
	*cols = (uint16_t)w;
	return 0;
}

int h_container_resize(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	uint16_t rows, cols;
	int r = terminal_size(rq, &rows, &cols, e);

	if (r >= 0)
		r = engine_container_resize(d->engine, http_param(rq, "id"), rows, cols, e);
	return r < 0 ? r : http_reply_empty(rq, 200);
}

int h_exec_resize(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	uint16_t rows, cols;
	int r = terminal_size(rq, &rows, &cols, e);

	if (r >= 0)
		r = engine_exec_resize(d->engine, http_param(rq, "id"), rows, cols, e);
	return r < 0 ? r : http_reply_empty(rq, 200);
}

int h_container_update(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL, *wrapped = NULL;
	_cleanup_(container_config_done) ContainerConfig config = {0};
	int r = http_body_json(rq, true, &body, e);

	if (r >= 0)
		r = engine_container_update_check(body, e);
	if (r < 0)
		return r;
	/* The body is a HostConfig without its wrapping; the decoder wants a whole document. */
	wrapped = json_pack("{s:s, s:O}", "Image", "unchanged", "HostConfig", body);
	if (!wrapped)
		return err_oom(e);
	r = container_config_decode(wrapped, &config, e);
	if (r >= 0)
		r = engine_container_update(d->engine, http_param(rq, "id"), &config.host, e);
	return r < 0 ? r : reply_doc(rq, 200, json_pack("{s:n}", "Warnings"), e);
}

/* {"Publish": as HostConfig.PortBindings, "Unpublish": ["80/tcp"]}. */
static int ports_body_decode(const json_t *body, ContainerConfig *ret, char ***ret_remove, Err *e)
{
	_cleanup_json_ json_t *wrapped = NULL;
	const json_t *publish = json_object_get(body, "Publish");
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)body, name, value)
		if (!streq(name, "Publish") && !streq(name, "Unpublish"))
			return err_new(e, ERR_INVALID, "ports: unknown member %.60s", name);
	if (json_to_strv(json_object_get(body, "Unpublish"), ret_remove) < 0)
		return err_new(e, ERR_INVALID, "Unpublish: expected an array of strings");
	wrapped = json_pack("{s:s, s:{s:O?}}", "Image", "unchanged", "HostConfig", "PortBindings",
			    (json_t *)publish);
	return wrapped ? container_config_decode(wrapped, ret, e) : err_oom(e);
}

int h_container_ports(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_(container_config_done) ContainerConfig config = {0};
	_cleanup_strv_ char **remove = NULL, **warnings = NULL;
	int r = http_body_json(rq, true, &body, e);

	if (r >= 0)
		r = ports_body_decode(body, &config, &remove, e);
	if (r >= 0)
		r = engine_container_ports(d->engine, http_param(rq, "id"), &config.host, remove, &warnings,
					   e);
	return r < 0 ? r : reply_doc(rq, 200, json_pack("{s:o}", "Warnings", doc_strv(warnings)), e);
}

int h_container_top(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	json_t *doc = NULL;
	int r = engine_container_top(d->engine, http_param(rq, "id"), query_or_null(rq, "ps_args"), &doc, e);

	return r < 0 ? r : reply_doc(rq, 200, doc, e);
}

int h_container_changes(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	json_t *doc = NULL;
	int r = engine_container_changes(d->engine, http_param(rq, "id"), &doc, e);

	return r < 0 ? r : reply_doc(rq, 200, doc, e);
}

static void wait_registered(void *rq)
{
	/* The client takes the head as "from now on no exit is missed": it starts the container then. */
	if (!http_answered(rq))
		(void)http_stream_begin(rq, 200, "application/json");
}

int h_container_wait(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	const char *condition = http_query(rq, "condition");
	ContainerWait what;
	ContainerEnd end = {0};
	json_t *doc;
	int r;

	if (str_empty(condition) || streq(condition, "not-running"))
		what = WAIT_NOT_RUNNING;
	else if (streq(condition, "next-exit"))
		what = WAIT_NEXT_EXIT;
	else if (streq(condition, "removed"))
		what = WAIT_REMOVED;
	else
		return err_new(e, ERR_INVALID, "invalid condition: \"%.60s\"", condition);
	r = engine_container_wait(d->engine, http_param(rq, "id"), what, wait_registered, rq,
				  http_alive_fd(rq), &end, e);
	if (r < 0)
		return r;
	wait_registered(rq);
	doc = json_pack("{s:i}", "StatusCode", end.status);
	if (doc && end.error)
		json_object_set_new(doc, "Error", json_pack("{s:o}", "Message", doc_str(end.error)));
	free(end.error);
	_cleanup_free_ char *text = doc ? json_text(doc) : NULL, *line = text ? strf("%s\n", text) : NULL;
	json_decref(doc);
	return line ? http_stream_write(rq, line, strlen(line)) : err_oom(e);
}

typedef struct PruneMatch {
	const Filters *filters;
	int64_t until_ns;
} PruneMatch;

static bool prune_match(void *user, const ContainerInfo *i)
{
	const PruneMatch *m = user;

	return i->created_ns < m->until_ns && filters_labels(m->filters, i->config.labels);
}

int h_containers_prune(HttpRequest *rq, void *user, Err *e)
{
	static const char *const allowed[] = {"label", "label!", "until", NULL};
	Door *d = user;
	_cleanup_filters_ Filters f = {0};
	_cleanup_strv_ char **ids = NULL;
	PruneMatch m = {&f, INT64_MAX};
	int64_t bytes = 0;
	int r = filters_parse(http_query(rq, "filters"), &f, e);

	if (r >= 0)
		r = filters_allow(&f, allowed, e);
	if (r >= 0)
		r = filters_time(&f, "until", &m.until_ns, e);
	if (r >= 0)
		r = prune_begin(d, PRUNE_CONTAINERS, e);
	if (r < 0)
		return r;
	r = engine_container_prune(d->engine, prune_match, &m, &ids, &bytes, e);
	prune_end(d, PRUNE_CONTAINERS);
	if (r < 0)
		return r;
	return reply_doc(rq, 200,
			 json_pack("{s:o, s:I}", "ContainersDeleted", ids ? doc_strv(ids) : json_null(),
				   "SpaceReclaimed", (json_int_t)bytes),
			 e);
}
