/* SPDX-License-Identifier: Apache-2.0 */
/* See build-wire.h. */
#include "api/docker/build-wire.h"
#include "api/docker/door-internal.h"
#include "base/base64.h"
#include "dockerfile/dockerfile.h"

#define WARNING_MAX 4000 /* bytes */
#define EXCERPT_MAX 16384

#define F(name, type, member)                                                                                \
	{                                                                                                    \
		name, type, offsetof(LocalRequest, member), NULL, 0, 0, false, false                         \
	}
static const JsonField file_fields[] = {
    {"kind", JSON_T_STR, offsetof(LocalFile, kind), NULL, 0, 0, false, false},
    {"name", JSON_T_STR, offsetof(LocalFile, name), NULL, 0, 0, false, false},
    {0},
};
static const JsonField request_fields[] = {
    F("dockerfile", JSON_T_STR, dockerfile),
    F("context", JSON_T_STR, context),
    F("target", JSON_T_STR, target),
    F("network", JSON_T_STR, network),
    F("platform", JSON_T_STR, platform),
    F("provenance", JSON_T_STR, provenance),
    F("cpusetCpus", JSON_T_STR, cpuset_cpus),
    F("cpusetMems", JSON_T_STR, cpuset_mems),
    F("cgroupParent", JSON_T_STR, cgroup_parent),
    F("tags", JSON_T_STRV, tags),
    F("args", JSON_T_STRV, args),
    F("labels", JSON_T_STRV, labels),
    F("hosts", JSON_T_STRV, hosts),
    F("ulimits", JSON_T_STRV, ulimits),
    F("contexts", JSON_T_STRV, contexts),
    F("allow", JSON_T_STRV, allow),
    F("noCacheStages", JSON_T_STRV, no_cache_stages),
    F("agents", JSON_T_STRV, agents),
    F("cacheFrom", JSON_T_STRV, cache_from),
    F("cacheTo", JSON_T_STRV, cache_to),
    F("annotations", JSON_T_STRV, annotations),
    F("noCache", JSON_T_BOOL, no_cache),
    F("pull", JSON_T_BOOL, pull),
    F("squash", JSON_T_BOOL, squash),
    F("keepFailed", JSON_T_BOOL, keep_failed),
    F("shellOnFail", JSON_T_BOOL, shell_on_fail),
    F("image", JSON_T_BOOL, image),
    F("sbom", JSON_T_BOOL, sbom),
    F("memory", JSON_T_INT, memory),
    F("memorySwap", JSON_T_INT, memory_swap),
    F("cpuShares", JSON_T_INT, cpu_shares),
    F("cpuPeriod", JSON_T_INT, cpu_period),
    F("cpuQuota", JSON_T_INT, cpu_quota),
    F("shmSize", JSON_T_INT, shm_size),
    {"files", JSON_T_ARRAY, offsetof(LocalRequest, files), file_fields, sizeof(LocalFile),
     offsetof(LocalRequest, n_files), false, false},
    {0},
};
#undef F

void build_wire_request_done(LocalRequest *rq)
{
	json_fields_done(request_fields, rq);
}

static int check_members(const json_t *doc, Err *e)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)doc, key, value) {
		const JsonField *f = request_fields;

		while (f->name && !streq(f->name, key))
			f++;
		if (!f->name)
			return err_new(e, ERR_INVALID, "build request: unknown member %.60s", key);
	}
	return 0;
}

static int check_files(const LocalRequest *rq, size_t n_fds, Err *e)
{
	static const char *const kinds[] = {"directory", "dockerfile", "secret", "archive", "upload"};

	if (rq->n_files != n_fds)
		return err_new(e, ERR_INVALID, "build request: %zu descriptors for %zu files", n_fds,
			       rq->n_files);
	for (size_t i = 0; i < rq->n_files; i++) {
		const LocalFile *f = &rq->files[i];
		bool known = false;

		for (size_t k = 0; k < ELEMENTSOF(kinds); k++)
			known |= streq0(f->kind, kinds[k]);
		if (!known)
			return err_new(e, ERR_INVALID, "build request: unknown kind of file %.60s",
				       f->kind ? f->kind : "");
		for (size_t k = 0; k < i; k++)
			if (streq(rq->files[k].kind, f->kind) &&
			    streq(rq->files[k].name ?: "", f->name ?: ""))
				return err_new(e, ERR_INVALID, "build request: two files are the %s %.60s",
					       f->kind, f->name ?: "");
	}
	return 0;
}

int build_wire_request(const char *text, size_t len, size_t n_fds, LocalRequest *ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	LocalRequest rq = {0};
	int r = json_parse_bounded(text, len, "build request", &doc, e);

	if (r >= 0 && !json_is_object(doc))
		r = err_new(e, ERR_INVALID, "build request: expected a JSON object");
	if (r >= 0)
		r = check_members(doc, e);
	if (r >= 0)
		r = json_decode(doc, request_fields, &rq, e);
	if (r >= 0)
		r = check_files(&rq, n_fds, e);
	if (r < 0) {
		build_wire_request_done(&rq);
		return err_kind(e, r, ERR_INVALID);
	}
	*ret = rq;
	return 0;
}

/* ---- events ---- */

static void add_member(StrBuf *b, const char *name, const char *value)
{
	if (!value)
		return;
	strbuf_addf(b, ",\"%s\":", name);
	doc_add_str(b, value);
}

static void add_time(StrBuf *b, const char *name, int64_t ns)
{
	if (ns)
		strbuf_addf(b, ",\"%s\":\"%s\"", name, clock_rfc3339(ns).s);
}

static void add_data(StrBuf *b, const char *name, const void *data, size_t len)
{
	_cleanup_free_ char *text = base64_encode(data, len, false);

	if (!text)
		b->oom = true;
	else
		strbuf_addf(b, ",\"%s\":\"%s\"", name, text);
}

static void add_vertex(StrBuf *b, const BuildVertex *v)
{
	strbuf_addf(b, "{\"vertexes\":[{\"digest\":\"%s\"", v->digest);
	for (size_t i = 0; v->inputs && v->inputs[i]; i++) {
		strbuf_add(b, i ? "," : ",\"inputs\":[");
		doc_add_str(b, v->inputs[i]);
	}
	if (v->inputs && v->inputs[0])
		strbuf_add_c(b, ']');
	add_member(b, "name", v->name);
	add_time(b, "started", v->started_ns);
	add_time(b, "completed", v->ended_ns);
	if (v->cached)
		strbuf_add(b, ",\"cached\":true");
	add_member(b, "error", v->error);
	add_member(b, "why", v->why);
	strbuf_add(b, "}]}\n");
}

static void add_status(StrBuf *b, const BuildEvent *ev)
{
	strbuf_add(b, "{\"statuses\":[{\"id\":");
	doc_add_str(b, ev->id);
	strbuf_addf(b, ",\"vertex\":\"%s\",\"current\":%lld,\"total\":%lld", ev->vertex->digest,
		    (long long)ev->current, (long long)ev->total);
	add_time(b, "timestamp", ev->time_ns);
	add_time(b, "started", ev->started_ns);
	add_time(b, "completed", ev->ended_ns);
	strbuf_add(b, "}]}\n");
}

static void add_log(StrBuf *b, const BuildEvent *ev)
{
	strbuf_addf(b, "{\"logs\":[{\"vertex\":\"%s\",\"stream\":%d", ev->vertex->digest, ev->stream);
	add_data(b, "data", ev->text, ev->len);
	add_time(b, "timestamp", ev->time_ns);
	strbuf_add(b, "}]}\n");
}

/* The lines themselves; not the whole text, which BuildKit would send with each. */
static void add_excerpt(StrBuf *b, const BuildEvent *ev, const char *dockerfile)
{
	const DockerfilePlace place = {.first = ev->line, .last = MAX2(ev->line, ev->last_line)};
	_cleanup_free_ char *text =
	    ev->source ? dockerfile_excerpt(ev->source, ev->source_len, dockerfile, &place, NULL) : NULL;

	if (text && strlen(text) <= EXCERPT_MAX)
		add_member(b, "excerpt", text);
}

static void add_warning(StrBuf *b, const BuildEvent *ev, const char *dockerfile)
{
	_cleanup_free_ char *named =
	    ev->rule ? strf("%s: %.*s", ev->rule, (int)MIN2(ev->len, (size_t)WARNING_MAX), ev->text) : NULL;

	strbuf_addf(b, "{\"warnings\":[{\"vertex\":\"%s\",\"level\":1", ev->vertex ? ev->vertex->digest : "");
	add_data(b, "short", named ?: ev->text, named ? strlen(named) : ev->len);
	if (ev->detail) {
		_cleanup_free_ char *text = base64_encode(ev->detail, strlen(ev->detail), false);

		strbuf_addf(b, ",\"detail\":[\"%s\"]", text ? text : "");
	}
	add_member(b, "url", ev->url);
	if (ev->line > 0) {
		strbuf_add(b, ",\"sourceInfo\":{\"filename\":");
		doc_add_str(b, dockerfile);
		strbuf_addf(b, "},\"range\":[{\"start\":{\"line\":%d},\"end\":{\"line\":%d}}]", ev->line,
			    MAX2(ev->line, ev->last_line));
		add_excerpt(b, ev, dockerfile);
	}
	strbuf_add(b, "}]}\n");
}

void build_wire_event(StrBuf *b, const BuildEvent *ev, const char *dockerfile)
{
	switch (ev->kind) {
	case BUILD_VERTEX:
		add_vertex(b, ev->vertex);
		break;
	case BUILD_PROGRESS:
		add_status(b, ev);
		break;
	case BUILD_LOG:
		add_log(b, ev);
		break;
	case BUILD_WARNING:
		add_warning(b, ev, dockerfile);
		break;
	case BUILD_STEP:
	case BUILD_NOTE:
		break;
	}
}
