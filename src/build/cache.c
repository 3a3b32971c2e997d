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

/* ---- the whole cache ---- */

typedef struct Listing {
	Store *store;
	BuildCacheEntry *v;
	char **chains;
	size_t n;
} Listing;

void build_cache_free(BuildCacheEntry *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i].key);
	free(v);
}

static int list_one(void *user, const char *key, json_t *doc)
{
	Listing *l = user;
	const char *chain = json_get_str(doc, "chain");
	bool empty = json_get_bool(doc, "empty", false);
	BuildCacheEntry *grown = realloc(l->v, (l->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	l->v = grown;
	l->v[l->n] = (BuildCacheEntry){.key = strdup(key), .created_ns = json_get_int(doc, "created", 0)};
	/* A layer that is gone, or a step that made none, takes no room. */
	if (chain && !empty)
		(void)store_layer_size(l->store, chain, &l->v[l->n].size, NULL);
	return l->v[l->n++].key && strv_add(&l->chains, chain ?: "") >= 0 ? 0 : -ENOMEM;
}

static int list(Engine *en, Listing *l, Err *e)
{
	int r;

	l->store = engine_store(en);
	r = store_doc_each(l->store, COLLECTION, list_one, l, e);
	if (r < 0) {
		build_cache_free(l->v, l->n);
		strv_free(l->chains);
		return err_ctx(e, r, "read the build cache");
	}
	return 0;
}

int build_cache_list(Engine *en, BuildCacheEntry **ret, size_t *ret_n, Err *e)
{
	Listing l = {0};
	int r = list(en, &l, e);

	if (r < 0)
		return r;
	strv_free(l.chains);
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}

/* Bytes of the layers that went by releasing this one. */
static int release(Store *s, const char *chain, int64_t *bytes, Err *e)
{
	_cleanup_strv_ char **gone = NULL;
	int64_t size = 0;
	int r;

	if (!*chain || store_layer_size(s, chain, &size, NULL) < 0)
		return 0;
	r = store_layer_release(s, chain, &gone, e);
	if (r >= 0 && strv_has(gone, chain))
		*bytes += size;
	return r;
}

int build_cache_prune(Engine *en, char ***ret_keys, int64_t *ret_bytes, Err *e)
{
	Listing l = {0};
	int r = list(en, &l, e);

	*ret_bytes = 0;
	for (size_t i = 0; r >= 0 && i < l.n; i++) {
		r = store_doc_delete(l.store, COLLECTION, l.v[i].key, e);
		if (r >= 0)
			r = release(l.store, l.chains[i], ret_bytes, e);
		if (r >= 0 && strv_add(ret_keys, l.v[i].key) < 0)
			r = err_oom(e);
	}
	build_cache_free(l.v, l.n);
	strv_free(l.chains);
	return r;
}
