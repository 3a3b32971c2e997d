/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The classic builder's query as a request of Control/Solve, which is what POST /build?version=2 is: the names are the one's, what they do is the other's. What a
 * BuildKit build has no use for (rm, forcerm) says nothing; what would change the image and cannot be had is refused.
 */
#include "api/buildkit/door-internal.h"

#include "base/json.h"

void classic_query_done(ClassicQuery *q)
{
	free(q->frontend_pairs);
	free(q->frontend);
	free(q->export_pairs);
	free(q->export);
	strv_free(q->options);
	strv_free(q->attrs);
	free(q->type);
}

/* Keys and values in turn; takes both. */
static int pair_add(char ***list, char *key, char *value, Err *e)
{
	int r = strv_take(list, key);

	if (r < 0)
		free(value);
	else
		r = strv_take(list, value);
	return r < 0 ? err_oom(e) : 0;
}

static int copied(ClassicQuery *q, const char *key, const char *value, Err *e)
{
	return pair_add(&q->options, strdup(key), strdup(value), e);
}

/* Takes the text; nothing of it is no option. */
static int joined(ClassicQuery *q, const char *key, StrBuf *text, Err *e)
{
	return text->len ? pair_add(&q->options, strdup(key), strbuf_steal(text), e) : 0;
}

/* A JSON object of strings; null takes a variable away, which is what it is without. */
static int map(ClassicQuery *q, const HttpRequest *rq, const char *name, const char *prefix, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	const char *key;
	json_t *value;
	int r = http_query_json(rq, name, &doc, e);

	if (r >= 0 && doc && !json_is_object(doc))
		r = err_new(e, ERR_INVALID, "%s: expected a JSON object", name);
	json_object_foreach (doc, key, value) {
		if (r < 0)
			break;
		if (json_is_string(value))
			r = pair_add(&q->options, strf("%s%s", prefix, key), strdup(json_string_value(value)),
				     e);
		else if (!json_is_null(value))
			r = err_new(e, ERR_INVALID, "%s: %.60s: expected a string", name, key);
	}
	return r;
}

/* NAME:ADDRESS to NAME=ADDRESS. */
static int hosts(ClassicQuery *q, const HttpRequest *rq, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	const char *v;

	for (size_t i = 0; (v = http_query_nth(rq, "extrahosts", i)); i++) {
		_cleanup_strv_ char **one = strv_split(v, ',');

		for (char **h = one; h && *h; h++) {
			size_t name = strcspn(*h, ":=");

			if (**h && !(*h)[name])
				return err_new(e, ERR_INVALID,
					       "extrahosts: \"%.100s\": expected NAME:ADDRESS", *h);
			if (**h)
				strbuf_addf(&b, "%s%.*s=%s", b.len ? "," : "", (int)name, *h, *h + name + 1);
		}
	}
	return joined(q, "add-hosts", &b, e);
}

/* [{"Name": "nofile", "Soft": 1, "Hard": 2}] */
static int ulimits(ClassicQuery *q, const HttpRequest *rq, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_json_ json_t *doc = NULL;
	json_t *one;
	size_t i;
	int r = http_query_json(rq, "ulimits", &doc, e);

	json_array_foreach (doc, i, one) {
		const char *name = json_get_str(one, "Name");

		if (str_empty(name) || !json_is_integer(json_object_get(one, "Soft")) ||
		    !json_is_integer(json_object_get(one, "Hard")))
			return err_new(e, ERR_INVALID, "ulimits: expected Name, Soft and Hard of each");
		strbuf_addf(&b, "%s%s=%lld:%lld", b.len ? "," : "", name,
			    (long long)json_get_int(one, "Soft", 0), (long long)json_get_int(one, "Hard", 0));
	}
	return r < 0 ? r : joined(q, "ulimit", &b, e);
}

/* Names of images, or caches as command lines have them; the frontend takes the first kind only. */
static int cache_from(ClassicQuery *q, const HttpRequest *rq, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_strv_ char **names = NULL;
	_cleanup_json_ json_t *doc = NULL;
	int r = http_query_json(rq, "cachefrom", &doc, e);

	if (r >= 0 && doc && json_to_strv(doc, &names) < 0)
		r = err_new(e, ERR_INVALID, "cachefrom: expected a JSON list of strings");
	for (char **n = names; r >= 0 && n && *n; n++) {
		const char *ref = str_after(*n, "type=registry,ref=") ?: *n;

		if (strpbrk(ref, ",="))
			r = err_new(
			    e, ERR_UNSUPPORTED,
			    "cachefrom: \"%.200s\" is not offered here: expected the name of an image", *n);
		else if (*ref)
			strbuf_addf(&b, "%s%s", b.len ? "," : "", ref);
	}
	return r < 0 ? r : joined(q, "cache-from", &b, e);
}

static const struct {
	const char *name, *key;
	bool number; /* 0: it was not given */
} plain[] = {
    {"dockerfile", "filename", false},    {"target", "target", false},
    {"platform", "platform", false},      {"cgroupparent", "cgroup-parent", false},
    {"cpusetcpus", "cpuset-cpus", false}, {"cpusetmems", "cpuset-mems", false},
    {"shmsize", "shm-size", true},        {"memory", "memory", true},
    {"memswap", "memory-swap", true},     {"cpushares", "cpu-shares", true},
    {"cpuperiod", "cpu-period", true},    {"cpuquota", "cpu-quota", true},
};

static int plain_options(ClassicQuery *q, const HttpRequest *rq, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(plain); i++) {
		const char *v = http_query(rq, plain[i].name);

		if (!str_empty(v) && !(plain[i].number && streq(v, "0")))
			r = copied(q, plain[i].key, v, e);
	}
	if (r >= 0 && http_query_bool(rq, "nocache", false))
		r = copied(q, "no-cache", "", e);
	if (r >= 0 && http_query_bool(rq, "pull", false))
		r = copied(q, "image-resolve-mode", "pull", e);
	return r;
}

static int network(ClassicQuery *q, const HttpRequest *rq, Err *e)
{
	const char *mode = http_query(rq, "networkmode");

	if (str_empty(mode) || streq(mode, "default"))
		return 0;
	if (!streq(mode, "host") && !streq(mode, "none"))
		return err_new(e, ERR_UNSUPPORTED, "network mode \"%.100s\" not supported by buildkit", mode);
	if (streq(mode, "host")) {
		q->entitlement = (char *)"network.host";
		q->solve.entitlements = &q->entitlement;
		q->solve.n_entitlements = 1;
	}
	return copied(q, "force-network-mode", mode, e);
}

/* Where the context is: with the client's session, in the network, or in a body, this request's or another one's. */
static int context(ClassicQuery *q, const HttpRequest *rq, Err *e)
{
	const char *remote = http_query(rq, "remote");

	q->body = str_empty(remote);
	q->other_body = !q->body && streq(remote, "upload-request");
	if (!q->body && streq(remote, "client-session"))
		return 0;
	return copied(q, "context", q->body || q->other_body ? CLASSIC_BODY_URL : remote, e);
}

static int refuse(const HttpRequest *rq, Err *e)
{
	const char *isolation = http_query(rq, "isolation"), *security = http_query(rq, "securityopt");

	if (!str_empty(security) && !streq(security, "null"))
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "securityopt %.100s is not offered: steps run as containers do by default, or with "
		    "RUN --security=insecure",
		    security);
	if (!str_empty(isolation) && !streq(isolation, "default"))
		return err_new(e, ERR_UNSUPPORTED, "isolation %.40s is not offered", isolation);
	if (http_query_bool(rq, "squash", false))
		return err_new(e, ERR_UNSUPPORTED,
			       "squash is not offered with BuildKit: set DOCKER_BUILDKIT=0");
	return 0;
}

/* ---- outputs ---- */

static int output_attrs(ClassicQuery *q, const json_t *output, Err *e)
{
	const char *key;
	json_t *value;
	int r = 0;

	json_object_foreach (json_object_get(output, "Attrs"), key, value)
		if (r >= 0)
			r = json_is_string(value)
				? pair_add(&q->attrs, strdup(key), strdup(json_string_value(value)), e)
				: err_new(e, ERR_INVALID, "outputs: %.60s: expected a string", key);
	return r;
}

static int names(ClassicQuery *q, const HttpRequest *rq, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	const char *v;

	for (size_t i = 0; (v = http_query_nth(rq, "t", i)); i++)
		if (*v)
			strbuf_addf(&b, "%s%s", b.len ? "," : "", v);
	return b.len ? pair_add(&q->attrs, strdup("name"), strbuf_steal(&b), e) : 0;
}

static int output(ClassicQuery *q, const HttpRequest *rq, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	const json_t *first;
	int r = http_query_json(rq, "outputs", &doc, e);

	if (r >= 0 && json_array_size(doc) > 1)
		r = err_new(e, ERR_UNSUPPORTED, "multiple outputs not supported");
	if (r < 0)
		return r;
	first = json_array_get(doc, 0);
	q->type = strdup(first ? json_get_str(first, "Type") ?: "" : "moby");
	if (!q->type)
		return err_oom(e);
	q->image = streq(q->type, "moby") || streq(q->type, "image");
	r = output_attrs(q, first, e);
	return r >= 0 && q->image ? names(q, rq, e) : r;
}

/* ---- the whole ---- */

static int pairs(char *const *list, Llb__Pair **ret, Llb__Pair ***ret_list, size_t *ret_n, Err *e)
{
	size_t n = strv_len(list) / 2;

	*ret = calloc(n + 1, sizeof(**ret));
	*ret_list = calloc(n + 1, sizeof(**ret_list));
	if (!*ret || !*ret_list)
		return err_oom(e);
	for (size_t i = 0; i < n; i++) {
		llb__pair__init(&(*ret)[i]);
		(*ret)[i].key = list[2 * i];
		(*ret)[i].value = list[2 * i + 1];
		(*ret_list)[i] = &(*ret)[i];
	}
	*ret_n = n;
	return 0;
}

/* BUILDKIT_INLINE_CACHE=1 asks for it, as a build argument. */
static void inline_cache(ClassicQuery *q)
{
	const char *v = pairs_get(q->frontend, q->solve.n_frontend_attrs, "build-arg:BUILDKIT_INLINE_CACHE");

	if (!v || !(streq(v, "1") || strcasecmp(v, "true") == 0))
		return;
	control__cache_entry__init(&q->cache_entry);
	control__cache_options__init(&q->cache);
	q->cache_entry.type = (char *)"inline";
	q->cache_list = &q->cache_entry;
	q->cache.exports = &q->cache_list;
	q->cache.n_exports = 1;
	q->solve.cache = &q->cache;
}

static int fill(ClassicQuery *q, HttpRequest *rq, Err *e)
{
	int r = pairs(q->options, &q->frontend_pairs, &q->frontend, &q->solve.n_frontend_attrs, e);

	control__exporter__init(&q->exporter);
	if (r >= 0)
		r = pairs(q->attrs, &q->export_pairs, &q->export, &q->exporter.n_attrs, e);
	if (r < 0)
		return r;
	q->exporter.type = q->type;
	q->exporter.attrs = q->export;
	q->exporters = &q->exporter;
	q->solve.exporters = &q->exporters;
	q->solve.n_exporters = !streq(q->type, "cacheonly");
	q->solve.frontend = (char *)"dockerfile.v0";
	q->solve.frontend_attrs = q->frontend;
	q->solve.session = (char *)(http_query(rq, "session") ?: "");
	inline_cache(q);
	return 0;
}

int classic_query_read(HttpRequest *rq, ClassicQuery *q, Err *e)
{
	int r = refuse(rq, e);

	control__solve_request__init(&q->solve);
	if (r >= 0)
		r = plain_options(q, rq, e);
	if (r >= 0)
		r = network(q, rq, e);
	if (r >= 0)
		r = context(q, rq, e);
	if (r >= 0)
		r = map(q, rq, "buildargs", "build-arg:", e);
	if (r >= 0)
		r = map(q, rq, "labels", "label:", e);
	if (r >= 0)
		r = hosts(q, rq, e);
	if (r >= 0)
		r = ulimits(q, rq, e);
	if (r >= 0)
		r = cache_from(q, rq, e);
	if (r >= 0)
		r = output(q, rq, e);
	return r < 0 ? r : fill(q, rq, e);
}
