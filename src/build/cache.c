/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The build cache as the builder uses it; the rows are the store's (store/cache.c).
 *
 * A row is only a hint: its layer may have been removed with the image that it belonged to, and then it is a miss.
 */
#include "build/build-internal.h"

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

int cache_get(Build *b, const char *key, CacheHit *ret, Err *e)
{
	StoreCacheEntry c = {0};
	int r = b->rq->no_cache ? 0 : store_cache_get(b->store, key, &c, e);

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

int cache_put(Build *b, const char *key, const CacheHit *h, Err *e)
{
	const StoreCacheEntry c = {
	    .key = (char *)(uintptr_t)key,
	    .chain_id = h->chain,
	    .diff_id = h->diff,
	    .empty = h->empty,
	    .created_ns = h->created_ns,
	};

	return store_cache_put(b->store, &c, e);
}
