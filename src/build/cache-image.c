/* SPDX-License-Identifier: Apache-2.0 */
#include "build/cache-image.h"

#include "base/json.h"

#define MEMBER     "io.ireko.buildcache"
#define MORE_MAX   256
#define SUFFIX_MAX 40

static void record_done(CacheRecord *r)
{
	free(r->key);
	free(r->step);
	free(r->parent);
	free(r->content);
}

void cache_records_free(CacheRecord *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		record_done(&v[i]);
	free(v);
}

int cache_record_add(CacheRecord **v, size_t *n, const CacheRecord *r, Err *e)
{
	CacheRecord *grown = reallocarray(*v, *n + 1, sizeof(*grown));

	if (!grown)
		return err_oom(e);
	*v = grown;
	CacheRecord *c = &grown[(*n)++];
	*c = *r;
	c->key = strdup(r->key);
	c->step = strdup(r->step);
	c->parent = strdup(r->parent);
	c->content = r->content ? strdup(r->content) : NULL;
	return c->key && c->step && c->parent && (c->content || !r->content) ? 0 : err_oom(e);
}

int cache_records_copy(CacheRecord *const *from, size_t n, CacheRecord **ret, size_t *ret_n, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++)
		r = cache_record_add(ret, ret_n, &(*from)[i], e);
	return r;
}

int cache_records_encode(json_t *config, const CacheRecord *v, size_t n, char *const *more, Err *e)
{
	json_t *doc =
	    json_pack("{s:i, s:o, s:o}", "version", 1, "steps", json_array(), "more", json_from_strv(more));
	json_t *steps = json_object_get(doc, "steps");

	for (size_t i = 0; doc && i < n; i++) {
		json_t *one = json_pack("{s:s, s:s, s:s, s:I, s:I, s:b, s:I}", "key", v[i].key, "parent",
					v[i].parent, "step", v[i].step, "layers", (json_int_t)v[i].layers,
					"own", (json_int_t)v[i].own, "empty", v[i].empty, "created",
					(json_int_t)v[i].created_ns);

		if (one && v[i].content)
			json_object_set_new(one, "content", json_string(v[i].content));
		if (json_array_append_new(steps, one) < 0) {
			json_decref(doc);
			return err_oom(e);
		}
	}
	return doc && json_object_set_new(config, MEMBER, doc) == 0 ? 0 : err_oom(e);
}

static int decode_one(const json_t *one, CacheRecord **v, size_t *n, Err *e)
{
	const CacheRecord r = {.key = (char *)(uintptr_t)json_get_str(one, "key"),
			       .step = (char *)(uintptr_t)json_get_str(one, "step"),
			       .parent = (char *)(uintptr_t)json_get_str(one, "parent"),
			       .content = (char *)(uintptr_t)json_get_str(one, "content"),
			       .layers = (size_t)json_get_int(one, "layers", -1),
			       .own = (size_t)json_get_int(one, "own", 1),
			       .empty = json_is_true(json_object_get(one, "empty")),
			       .created_ns = json_get_int(one, "created", 0)};

	if (!r.key || !r.step || !r.parent || !digest_is_valid(r.key) || !digest_is_valid(r.parent) ||
	    (r.content && !digest_is_valid(r.content)) || r.layers > IMAGE_LAYERS_MAX || r.own > 2 ||
	    (!r.empty && (r.own == 0 || r.own > r.layers)) || r.created_ns < 0)
		return err_new(e, ERR_INVALID, "a record of a cached step is not well-formed");
	return cache_record_add(v, n, &r, e);
}

static bool is_suffix(const char *s)
{
	return strlen(s) <= SUFFIX_MAX && *s == '-' &&
	       strspn(s, "-abcdefghijklmnopqrstuvwxyz0123456789") == strlen(s);
}

int cache_records_decode(const json_t *config, CacheRecord **ret, size_t *ret_n, char ***ret_more, Err *e)
{
	const json_t *doc = json_object_get(config, MEMBER), *steps = json_object_get(doc, "steps"),
		     *more = json_object_get(doc, "more");
	int r = 0;

	*ret = NULL;
	*ret_n = 0;
	if (json_array_size(steps) > CACHE_RECORDS_MAX || json_array_size(more) > MORE_MAX)
		return err_new(e, ERR_INVALID, "more than %d records of cached steps", CACHE_RECORDS_MAX);
	for (size_t i = 0; r >= 0 && i < json_array_size(steps); i++)
		r = decode_one(json_array_get(steps, i), ret, ret_n, e);
	for (size_t i = 0; r >= 0 && i < json_array_size(more); i++) {
		const char *s = json_string_value(json_array_get(more, i));

		if (!s || !is_suffix(s))
			r = err_new(e, ERR_INVALID, "a record of cached steps names an image wrongly");
		else if (strv_add(ret_more, s) < 0)
			r = err_oom(e);
	}
	if (r < 0) {
		cache_records_free(*ret, *ret_n);
		*ret = NULL;
		*ret_n = 0;
	}
	return r;
}

void cache_place_done(CachePlace *p)
{
	free(p->type);
	free(p->ref);
	free(p->path);
	*p = (CachePlace){0};
}

static int place_member(CachePlace *p, const char *key, const char *value, Err *e)
{
	char **to = streq(key, "type")                        ? &p->type
		    : streq(key, "ref")                       ? &p->ref
		    : streq(key, "src") || streq(key, "dest") ? &p->path
							      : NULL;

	if (to) {
		free(*to);
		*to = strdup(value);
		return *to ? 0 : err_oom(e);
	}
	if (streq(key, "mode"))
		p->max = streq(value, "max");
	else if (streq(key, "mounts"))
		p->mounts = streq(value, "true") || streq(value, "1");
	else if (streq(key, "ignore-error"))
		p->ignore_error = streq(value, "true") || streq(value, "1");
	/* Others are BuildKit's ways to write blobs: ours are as the layers are. */
	return 0;
}

int cache_place_parse(const char *text, CachePlace *ret, Err *e)
{
	_cleanup_strv_ char **fields = strv_split(text, ',');
	CachePlace p = {0};
	int r = fields ? 0 : err_oom(e);

	for (char **f = fields; r >= 0 && f && *f; f++) {
		char *value = strchr(*f, '=');

		/* A name alone is an image. */
		if (!value && !fields[1]) {
			r = place_member(&p, "type", "registry", e);
			r = r < 0 ? r : place_member(&p, "ref", *f, e);
			continue;
		}
		if (!value) {
			r = err_new(e, ERR_INVALID, "cache %.80s: expected type=registry,ref=NAME", text);
			break;
		}
		*value = '\0';
		r = place_member(&p, *f, value + 1, e);
	}
	if (r >= 0 && !p.type)
		r = err_new(e, ERR_INVALID, "cache %.80s: it has no type", text);
	if (r >= 0 && !streq(p.type, "registry") && !streq(p.type, "inline") && !streq(p.type, "local"))
		r = err_new(e, ERR_UNSUPPORTED, "cache type %.40s is not offered: registry, local or inline",
			    p.type);
	if (r >= 0 && streq(p.type, "registry") && !p.ref)
		r = err_new(e, ERR_INVALID, "cache %.80s: ref=NAME is missing", text);
	if (r >= 0 && streq(p.type, "local") && !p.path)
		r = err_new(e, ERR_INVALID, "cache %.80s: src=DIR or dest=DIR is missing", text);
	if (r < 0)
		cache_place_done(&p);
	else
		*ret = p;
	return r;
}
