/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The build cache: from what a step is made of to the layer that it gave.
 *
 * A row is only a hint: its layer may have been removed with the image that it belonged to, and then it is a miss.
 */
#include "build/build-internal.h"

#define COLLECTION "build-cache"

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
	_cleanup_json_ json_t *doc = NULL;
	const char *chain, *diff;
	Err err = {0};
	int r;

	if (b->rq->no_cache)
		return 0;
	r = store_doc_get(b->store, COLLECTION, key, &doc, &err);
	if (r < 0) {
		if (err.kind == ERR_NOT_FOUND)
			return 0;
		if (e)
			*e = err;
		return r;
	}
	chain = json_get_str(doc, "chain");
	diff = json_get_str(doc, "diff");
	if (chain && !store_layer_has(b->store, chain))
		return 0;
	*ret = (CacheHit){
	    .chain = chain ? strdup(chain) : NULL,
	    .diff = diff ? strdup(diff) : NULL,
	    .empty = json_get_bool(doc, "empty", false),
	    .created_ns = json_get_int(doc, "created", 0),
	};
	if (!ret->chain != !chain || !ret->diff != !diff) {
		cache_hit_done(ret);
		return err_oom(e);
	}
	return 1;
}

int cache_put(Build *b, const char *key, const CacheHit *h, Err *e)
{
	_cleanup_json_ json_t *doc = json_pack("{s:s*, s:s*, s:b, s:I}", "chain", h->chain, "diff", h->diff,
					       "empty", h->empty, "created", (json_int_t)h->created_ns);

	return doc ? store_doc_put(b->store, COLLECTION, key, doc, e) : err_oom(e);
}
