/* SPDX-License-Identifier: Apache-2.0 */
/* POST /build/prune: filters and limits of the build cache (api map 1.6). */
#include "api/docker/door-internal.h"

typedef struct CacheMatch {
	const Filters *filters;
	bool has_shared, shared, has_in_use, in_use, private_only, has_private;
} CacheMatch;

static bool matches(void *user, const StoreCacheEntry *c)
{
	const CacheMatch *m = user;

	if (m->has_shared && c->shared != m->shared)
		return false;
	if (m->has_private && c->shared == m->private_only)
		return false;
	if (m->has_in_use && c->in_use != m->in_use)
		return false;
	return filters_prefix(m->filters, "id", c->key) &&
	       filters_exact(m->filters, "type", c->chain_id || c->empty ? "regular" : "exec.cachemount") &&
	       filters_exact(m->filters, "description", c->step ?: "build step");
}

static int read_match(const Filters *f, CacheMatch *m, Err *e)
{
	int r = 0;

	m->filters = f;
	m->has_shared = filters_has(f, "shared");
	m->has_private = filters_has(f, "private");
	m->has_in_use = filters_has(f, "inuse");
	r = filters_bool(f, "shared", &m->shared, e);
	if (r >= 0)
		r = filters_bool(f, "private", &m->private_only, e);
	return r < 0 ? r : filters_bool(f, "inuse", &m->in_use, e);
}

static int size_of(HttpRequest *rq, const char *name, int64_t *ret, Err *e)
{
	int64_t n = 0;
	int r = http_query_int(rq, name, &n, e);

	if (r >= 0 && n < 0)
		r = err_new(e, ERR_INVALID, "%s: expected a number of bytes", name);
	if (r >= 0 && n > 0)
		*ret = n;
	return r;
}

static int read_limits(HttpRequest *rq, StoreCachePrune *p, Err *e)
{
	int r = size_of(rq, "keep-storage", &p->reserved, e);

	if (r >= 0)
		r = size_of(rq, "reserved-space", &p->reserved, e);
	if (r >= 0)
		r = size_of(rq, "max-used-space", &p->max_bytes, e);
	return r < 0 ? r : size_of(rq, "min-free-space", &p->min_free, e);
}

int h_build_prune(HttpRequest *rq, void *user, Err *e)
{
	static const char *const allowed[] = {"until",  "unused-for", "id",    "type", "description",
					      "shared", "private",    "inuse", NULL};
	Door *d = user;
	_cleanup_filters_ Filters f = {0};
	_cleanup_strv_ char **keys = NULL;
	_cleanup_(store_freed_done) StoreFreed freed = {0};
	CacheMatch m = {0};
	StoreCachePrune p = {.all = http_query_bool(rq, "all", false), .match = matches, .user = &m};
	int r = filters_parse(http_query(rq, "filters"), &f, e);

	if (r >= 0)
		r = filters_allow(&f, allowed, e);
	if (r >= 0)
		r = filters_time(&f, filters_has(&f, "unused-for") ? "unused-for" : "until",
				 &p.unused_since_ns, e);
	if (r >= 0)
		r = read_match(&f, &m, e);
	if (r >= 0)
		r = read_limits(rq, &p, e);
	if (r >= 0)
		r = prune_begin(d, PRUNE_BUILD_CACHE, e);
	if (r < 0)
		return r;
	r = store_cache_prune(engine_store(d->engine), &p, &keys, &freed, e);
	/* What limits the cache's size leaves these alone: nobody can say what they are worth. */
	if (r >= 0 && !p.max_bytes && !p.min_free && !p.reserved)
		r = build_cache_mounts_prune(engine_store(d->engine), &p, &keys, &freed.bytes, e);
	prune_end(d, PRUNE_BUILD_CACHE);
	if (r < 0)
		return r;
	return reply_doc(rq, 200,
			 json_pack("{s:o, s:I}", "CachesDeleted", keys ? json_from_strv(keys) : json_null(),
				   "SpaceReclaimed", (json_int_t)freed.bytes),
			 e);
}
