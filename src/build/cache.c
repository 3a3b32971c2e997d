/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The build cache as the builder uses it; the rows are the store's (store/cache.c).
 *
 * A row is only a hint: its layer may have been removed with the image that it belonged to, and then it is a miss.
 */
#include "build/cache-image.h"

void cache_hit_done(CacheHit *h)
{
	free(h->chain);
	free(h->diff);
	*h = (CacheHit){0};
}

void cache_key(char key[DIGEST_LEN + 1], const char *parent, const char *instruction, const char *content)
{
	_cleanup_free_ char *text = strf("%s\n%s\n%s", parent, instruction, content ?: "");
	char fresh[DIGEST_LEN + 1];

	if (text)
		digest_of(text, strlen(text), fresh);
	else
		id_random_hex(fresh, 64); /* out of memory: a key that nothing will match */
	memcpy(key, fresh, sizeof(fresh));
}

/* 1 if found and its layer is still there. */
static int get(Build *b, const char *key, CacheHit *ret, Err *e)
{
	StoreCacheEntry c = {0};
	int r = store_cache_get(b->store, key, &c, e);

	if (r <= 0)
		return r;
	*ret = (CacheHit){
	    .chain = take_ptr(c.chain_id),
	    .diff = take_ptr(c.diff_id),
	    .empty = c.empty,
	    .created_ns = c.created_ns,
	};
	store_cache_entry_done(&c);
	return 1;
}

static int put(Build *b, const Stage *s, const CacheStep *st, const CacheHit *h, Err *e)
{
	const StoreCacheEntry c = {
	    .key = (char *)(uintptr_t)st->key,
	    .step = (char *)(uintptr_t)st->told,
	    .parent = (char *)(uintptr_t)s->key,
	    .content = (char *)(uintptr_t)st->content,
	    .chain_id = h->chain,
	    .diff_id = h->diff,
	    .empty = h->empty,
	    .created_ns = h->created_ns,
	};

	return store_cache_put(b->store, &c, e);
}

/* --no-cache, for all stages or for those that were named. */
static bool unwanted(const Build *b, const Stage *s)
{
	if (!b->rq->no_cache)
		return false;
	return !b->rq->no_cache_stages || (s->name && strv_has(b->rq->no_cache_stages, s->name));
}

static void tell_hit(Build *b, Stage *s, const CacheHit *h)
{
	build_tell(b, BUILD_NOTE, " ---> Using cache");
	vertex_cached(b, s->vertex);
	vertex_why(b, s->vertex, "cached: the same step on the same files was made at %s",
		   clock_rfc3339(h->created_ns).s);
}

/* What is different from the steps that the cache has. An error in here only makes the answer poorer. */
static void tell_miss(Build *b, Stage *s, const CacheStep *st)
{
	StoreCacheEntry like = {0}, after = {0};

	if (store_cache_find_like(b->store, st->told, s->key, &like, NULL) > 0) {
		if (!streq0(like.parent, s->key))
			vertex_why(
			    b, s->vertex,
			    "made: what lies below it is not what it was when the same step was made at %s",
			    clock_rfc3339(like.created_ns).s);
		else if (st->content && !streq0(like.content, st->content))
			vertex_why(b, s->vertex, "made: the files that it reads have changed since %s",
				   clock_rfc3339(like.created_ns).s);
		else
			vertex_why(b, s->vertex,
				   "made: its arguments, its environment or its mounts have changed, or its "
				   "layer was removed, since %s",
				   clock_rfc3339(like.created_ns).s);
	} else if (store_cache_find_after(b->store, s->key, &after, NULL) > 0) {
		vertex_why(b, s->vertex, "made: the instruction is new or has changed; at this place was: %s",
			   after.step);
	} else {
		vertex_why(b, s->vertex, "made: nothing was ever made on these files");
	}
	store_cache_entry_done(&like);
	store_cache_entry_done(&after);
}

/* A layer that was made on other layers, over those of the stage. */
static int move_over(Build *b, const Stage *s, const CacheStep *st, CacheHit *h, Err *e)
{
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	int r = 0;

	if (h->empty)
		return 0;
	chain_id_next(s->chain, h->diff, chain);
	if (streq0(h->chain, chain))
		return 0;
	memcpy(diff, h->diff, sizeof(diff));
	if (!store_layer_has(b->store, chain))
		r = store_layers_squash(b->store, s->chain, h->chain, 1, chain, diff, e);
	if (r < 0)
		return r;
	free(h->chain);
	free(h->diff);
	h->chain = strdup(chain);
	h->diff = strdup(diff);
	/* The layers of the former base are of no use for it any more. */
	return h->chain && h->diff ? put(b, s, st, h, e) : err_oom(e);
}

/* By this build or by another one that is at it. */
static int make_once(Build *b, Stage *s, const CacheStep *st, CacheHit *ret, Err *e)
{
	Flight *f = NULL;
	int r = 0;

	if (unwanted(b, s)) {
		vertex_why(b, s->vertex, "made: the cache is not wanted");
		r = st->make(b, s, st->step, st->arg, ret, e);
		return r < 0 ? r : put(b, s, st, ret, e);
	}
	do {
		r = flight_begin(b->builder, st->key, b->alive_fd, &f, e);
		if (r < 0)
			return r;
		r = get(b, st->key, ret, e);
	} while (r == 0 && !f);
	if (r > 0 && st->floating) {
		int moved = move_over(b, s, st, ret, e);

		r = moved < 0 ? moved : 1;
	}
	if (r > 0)
		tell_hit(b, s, ret);
	if (r == 0) {
		tell_miss(b, s, st);
		r = st->make(b, s, st->step, st->arg, ret, e);
		if (r >= 0)
			r = put(b, s, st, ret, e);
	}
	flight_end(f);
	return r;
}

int cache_step(Build *b, Stage *s, const CacheStep *st, Err *e)
{
	CacheHit hit = {0};
	char key[DIGEST_LEN + 1];
	int r = make_once(b, s, st, &hit, e);
	size_t own = r < 0 || hit.empty ? 0 : strchr(hit.diff, ' ') ? 2 : 1;
	CacheRecord record = {.key = (char *)(uintptr_t)st->key,
			      .step = (char *)(uintptr_t)st->told,
			      .parent = s->key,
			      .content = (char *)(uintptr_t)st->content,
			      .layers = strv_len(s->config.diff_ids) + own,
			      .own = own,
			      .empty = hit.empty,
			      .created_ns = hit.created_ns};

	if (r >= 0)
		r = cache_record_add(&s->records, &s->n_records, &record, e);
	/* What comes after it does depend on all of them. */
	memcpy(key, st->key, sizeof(key));
	if (st->floating)
		cache_key(key, s->key, st->key, NULL);
	if (r >= 0)
		r = stage_add_layer(s, st->told, key, &hit, e);
	cache_hit_done(&hit);
	return r < 0 ? r : 0;
}
