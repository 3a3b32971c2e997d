/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Garbage collection by policy: one background thread that looks once a minute, and whenever a disk was found full.
 *
 * In order of how little anybody would miss it: what nothing needs (a pull that failed left it), once it is old; rows of the build
 * cache and images that were not used for max_age; then, while there is more than max_size or less than min_free, the
 * build cache and after it images, the longest unused first. Images that may go are those without a tag, and with `unused` also
 * those that have one; never one that a container uses, running or not, that another image is built upon, or whose
 * reference is on the keep list. All of it goes the way of `image prune`, under the same locks, so a pull, a build or a `run` that
 * is under way at the same moment finds a thing whole or not at all.
 */
#include "engine/image-internal.h"

#include <fnmatch.h>

#define INTERVAL_NS     (60 * 1000000000ll)
#define LEFTOVER_AGE_NS (3600 * 1000000000ll)
#define PARTIAL_AGE_NS  (600 * 1000000000ll) /* of downloads that were interrupted */

/* ---- what may go ---- */

static bool kept(const EngineGc *g, char *const *references)
{
	for (char *const *ref = references; ref && *ref; ref++) {
		_cleanup_free_ char *familiar = image_familiar(*ref);

		for (char *const *k = g->keep; k && *k; k++)
			if (fnmatch(*k, *ref, 0) == 0 || (familiar && fnmatch(*k, familiar, 0) == 0))
				return true;
	}
	return false;
}

static bool is_candidate(const EngineGc *g, const StoreImage *i)
{
	return !i->part && (g->unused || strv_len(i->tags) == 0) && !kept(g, i->tags) && !kept(g, i->digests);
}

static int longest_unused_first(const void *a, const void *b)
{
	const StoreImage *x = a, *y = b;

	return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

/* ---- one run ---- */

typedef struct Run {
	Engine *en;
	const EngineGc *g;
	int64_t now;
	StoreFreed freed;
	int images, rows;
} Run;

/* The bytes that still have to go. What was deleted is given back to the file system a little later: it counts as free already. */
static int64_t excess(const Run *x, const StoreUsage *before, const StoreSpace *space)
{
	int64_t over = 0;

	if (x->g->max_size > 0)
		over = before->layers + before->blobs - x->freed.bytes - x->g->max_size;
	if (x->g->min_free > 0)
		over = MAX2(over, x->g->min_free - space->free - x->freed.bytes);
	return MAX2(over, (int64_t)0);
}

static int prune_cache(Run *x, const StoreCachePrune *p, Err *e)
{
	_cleanup_strv_ char **keys = NULL;
	int r = store_cache_prune(x->en->store, p, &keys, &x->freed, e);

	x->rows += (int)strv_len(keys);
	return r;
}

/* Images that were not used since `since`, until `over` returns false. */
static int prune_images(Run *x, int64_t since, bool (*over)(const Run *x, const void *user), const void *user,
			Err *e)
{
	StoreImage *v = NULL;
	size_t n = 0;
	int r = store_image_list(x->en->store, &v, &n, e);

	if (r >= 0 && n > 0)
		qsort(v, n, sizeof(*v), longest_unused_first);
	for (size_t i = 0; r >= 0 && i < n && (!over || over(x, user)); i++) {
		if (v[i].used_ns > since || !is_candidate(x->g, &v[i]))
			continue;
		r = image_prune_one(x->en, v[i].id, !x->g->unused, &x->freed.bytes, e);
		x->images += r > 0;
	}
	store_images_free(v, n);
	return r < 0 ? r : 0;
}

static int by_age(Run *x, Err *e)
{
	const StoreCachePrune p = {.all = true, .unused_since_ns = x->now - x->g->max_age_ns};
	int r = prune_cache(x, &p, e);

	return r < 0 ? r : prune_images(x, p.unused_since_ns, NULL, NULL, e);
}

typedef struct Limits {
	StoreUsage usage;
	StoreSpace space;
} Limits;

static bool still_over(const Run *x, const void *user)
{
	const Limits *l = user;

	return excess(x, &l->usage, &l->space) > 0;
}

static int by_size(Run *x, Err *e)
{
	Limits l;
	int r = store_usage(x->en->store, &l.usage, e);

	if (r >= 0)
		r = store_space(x->en->store, &l.space, e);
	if (r < 0)
		return r;
	l.usage.layers += x->freed.bytes; /* what this run has deleted so far is in neither */
	int64_t over = excess(x, &l.usage, &l.space);
	if (over == 0)
		return 0;
	/* So much of the cache, and no more. */
	StoreCacheEntry *v = NULL;
	size_t n = 0;
	int64_t cached = 0;
	r = store_cache_list(x->en->store, &v, &n, e);
	for (size_t i = 0; r >= 0 && i < n; i++)
		cached += v[i].shared ? 0 : v[i].size;
	if (r >= 0)
		store_cache_free(v, n);
	if (r >= 0 && cached > 0) {
		const StoreCachePrune p = {.reserved = MAX2(cached - over, (int64_t)0)};

		r = prune_cache(x, &p, e);
	}
	return r < 0 || !still_over(x, &l) ? r : prune_images(x, INT64_MAX, still_over, &l, e);
}

/* docker's builder.gc: limits of the build cache alone. */
static int by_cache_limits(Run *x, Err *e)
{
	const EngineGc *g = x->g;
	const StoreCachePrune p = {.max_bytes = g->cache_max,
				   .min_free = g->cache_min_free,
				   .reserved = g->cache_reserved};

	return p.max_bytes > 0 || p.min_free > 0 || p.reserved > 0 ? prune_cache(x, &p, e) : 0;
}

int gc_run(Engine *en, int64_t leftover_age_ns, Err *e)
{
	Run x = {.en = en, .g = &en->options.gc, .now = clock_now_ns()};

	registry_forget_partials(en->registry, MIN2(leftover_age_ns, PARTIAL_AGE_NS));
	int r = store_sweep(en->store, x.now - leftover_age_ns, &x.freed, e);

	if (r >= 0)
		r = store_cache_tidy(en->store, e);
	if (r >= 0 && x.g->max_age_ns > 0)
		r = by_age(&x, e);
	if (r >= 0)
		r = by_cache_limits(&x, e);
	if (r >= 0 && (x.g->max_size > 0 || x.g->min_free > 0))
		r = by_size(&x, e);
	if (x.freed.bytes > 0 || x.images > 0 || x.rows > 0)
		log_info(
		    "garbage collection: %lld bytes freed: %d images, %d rows of the build cache, %zu layers",
		    (long long)x.freed.bytes, x.images, x.rows, strv_len(x.freed.layers));
	store_freed_done(&x.freed);
	return r < 0 ? err_ctx(e, r, "garbage collection") : 0;
}

/* ---- the thread ---- */

static void *collector(void *arg)
{
	Engine *en = arg;
	int64_t leftover =
	    en->options.gc.leftover_age_ns > 0 ? en->options.gc.leftover_age_ns : LEFTOVER_AGE_NS;
	int64_t every = en->options.gc.interval_ns > 0 ? en->options.gc.interval_ns : INTERVAL_NS;
	Err e = {0};

	pthread_setname_np(pthread_self(), "irekod-gc");
	bool full = false; /* and not all that nothing needs could be removed yet */

	pthread_mutex_lock(&en->gc_lock);
	while (!en->gc_stop) {
		int64_t at = clock_mono_ns() + every;
		struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};

		while (!en->gc_stop && !en->gc_full &&
		       pthread_cond_timedwait(&en->gc_wake, &en->gc_lock, &until) == 0)
			;
		if (en->gc_stop)
			break;
		full |= en->gc_full;
		en->gc_full = false;
		pthread_mutex_unlock(&en->gc_lock);
		int r = gc_run(en, full ? 0 : leftover, &e);
		full = full && r < 0;
		if (r < 0)
			log_warn("%s: is tried again", err_msg(&e, r));
		pthread_mutex_lock(&en->gc_lock);
	}
	pthread_mutex_unlock(&en->gc_lock);
	return NULL;
}

int gc_start(Engine *en, Err *e)
{
	pthread_condattr_t attr;
	int no;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&en->gc_wake, &attr);
	pthread_condattr_destroy(&attr);
	no = pthread_create(&en->gc_thread, NULL, collector, en);
	if (no != 0)
		return err_sys(e, no, "start the thread of garbage collection");
	en->gc_runs = true;
	return 0;
}

void gc_stop(Engine *en)
{
	if (!en->gc_runs)
		return;
	pthread_mutex_lock(&en->gc_lock);
	en->gc_stop = true;
	pthread_cond_signal(&en->gc_wake);
	pthread_mutex_unlock(&en->gc_lock);
	pthread_join(en->gc_thread, NULL);
	pthread_cond_destroy(&en->gc_wake);
	en->gc_runs = false;
}

void gc_disk_full(Engine *en)
{
	pthread_mutex_lock(&en->gc_lock);
	en->gc_full = true;
	if (en->gc_runs)
		pthread_cond_signal(&en->gc_wake);
	pthread_mutex_unlock(&en->gc_lock);
}
