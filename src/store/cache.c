/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The build cache: from what a build step is made of (a key) to the layer that it gave.
 *
 * A row keeps its layer, when no image has it any more too: `rmi` of what was built does not make the next build anew. It is still a hint: what was
 * repaired or removed by hand is a miss.
 */
#include "base/clock.h"
#include "base/str.h"
#include "store/store-internal.h"

void store_cache_entry_done(StoreCacheEntry *c)
{
	free(c->key);
	free(c->chain_id);
	free(c->diff_id);
	free(c->step);
	free(c->parent);
	free(c->content);
	*c = (StoreCacheEntry){0};
}

void store_cache_free(StoreCacheEntry *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		store_cache_entry_done(&v[i]);
	free(v);
}

#define COLUMNS "key, chain_id, diff_id, empty, created_ns, used_ns, uses, step, parent, content"

static int text_at(const DbQuery *q, int column, char **ret)
{
	const char *text = db_text(q, column);

	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static int fill(const DbQuery *q, StoreCacheEntry *ret)
{
	const char *chain = db_text(q, 1), *diff = db_text(q, 2);

	*ret = (StoreCacheEntry){
	    .key = strdup(db_text(q, 0)),
	    .chain_id = chain ? strdup(chain) : NULL,
	    .diff_id = diff ? strdup(diff) : NULL,
	    .empty = db_int(q, 3) != 0,
	    .created_ns = db_int(q, 4),
	    .used_ns = db_int(q, 5),
	    .uses = db_int(q, 6),
	};
	if (text_at(q, 7, &ret->step) < 0 || text_at(q, 8, &ret->parent) < 0 ||
	    text_at(q, 9, &ret->content) < 0)
		return -ENOMEM;
	return ret->key && !ret->chain_id == !chain && !ret->diff_id == !diff ? 0 : -ENOMEM;
}

static int take_one(DbQuery *q, int r, StoreCacheEntry *ret, Err *e)
{
	if (r >= 0)
		r = db_step(q, e);
	if (r <= 0)
		return r;
	if (fill(q, ret) >= 0)
		return 1;
	store_cache_entry_done(ret);
	return err_oom(e);
}

static int find(Store *s, const char *key, StoreCacheEntry *ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, "SELECT " COLUMNS " FROM build_cache WHERE key = ?1", "t", key);

	return take_one(&q, r, ret, e);
}

int store_cache_find_like(Store *s, const char *step, const char *parent, StoreCacheEntry *ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e,
			 "SELECT " COLUMNS " FROM build_cache WHERE step = ?1"
			 " ORDER BY parent = ?2 DESC, created_ns DESC LIMIT 1",
			 "tt", step, parent);

	return take_one(&q, r, ret, e);
}

int store_cache_find_whole(Store *s, const char *step, const char *parent, StoreCacheEntry *ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e,
			 "SELECT " COLUMNS " FROM build_cache WHERE step = ?1 AND parent = ?2 AND NOT empty"
			 " AND instr(diff_id, ' ') = 0 ORDER BY created_ns DESC LIMIT 1",
			 "tt", step, parent);

	return take_one(&q, r, ret, e);
}

int store_cache_find_after(Store *s, const char *parent, StoreCacheEntry *ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e,
			 "SELECT " COLUMNS " FROM build_cache WHERE parent = ?1 AND step IS NOT NULL"
			 " ORDER BY created_ns DESC LIMIT 1",
			 "t", parent);

	return take_one(&q, r, ret, e);
}

int store_cache_get(Store *s, const char *key, StoreCacheEntry *ret, Err *e)
{
	StoreCacheEntry c = {0};
	int r = find(s, key, &c, e);

	if (r > 0 && c.chain_id && !store_layer_has(s, c.chain_id)) {
		store_cache_entry_done(&c);
		return 0;
	}
	if (r > 0)
		r = db_run(&s->db, e, "UPDATE build_cache SET used_ns = ?2, uses = uses + 1 WHERE key = ?1",
			   "ti", key, clock_now_ns());
	if (r < 0) {
		store_cache_entry_done(&c);
		return err_ctx(e, r, "look into the build cache");
	}
	if (r == 0)
		return 0;
	*ret = c;
	return 1;
}

int store_cache_put(Store *s, const StoreCacheEntry *c, Err *e)
{
	int r =
	    db_run(&s->db, e,
		   "INSERT INTO build_cache (key, chain_id, diff_id, empty, created_ns, used_ns, uses, step, "
		   "parent, content)"
		   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET chain_id = "
		   "excluded.chain_id,"
		   " diff_id = excluded.diff_id, empty = excluded.empty, created_ns = excluded.created_ns,"
		   " used_ns = excluded.used_ns",
		   "tttiiittt", c->key, c->chain_id, c->diff_id, (int64_t)c->empty, c->created_ns,
		   clock_now_ns(), c->step, c->parent, c->content);

	return r < 0 ? err_ctx(e, r, "write to the build cache") : 0;
}

/* Layers that an image has are shared with it: its size counts with the image. */
#define LIST_SQL                                                                                             \
	"WITH RECURSIVE of_image (chain_id) AS (SELECT chain_id FROM image WHERE chain_id IS NOT NULL"       \
	" UNION SELECT l.parent FROM layer l JOIN of_image o ON l.chain_id = o.chain_id"                     \
	" WHERE l.parent IS NOT NULL)"                                                                       \
	" SELECT c.key, c.chain_id, c.diff_id, c.empty, c.created_ns, c.used_ns, c.uses, c.step, c.parent,"  \
	" c.content, coalesce(l.size, 0),"                                                                   \
	" c.chain_id IN (SELECT chain_id FROM of_image),"                                                    \
	" c.chain_id IN (SELECT chain_id FROM snapshot WHERE chain_id IS NOT NULL)"                          \
	" FROM build_cache c LEFT JOIN layer l ON l.chain_id = c.chain_id AND NOT c.empty"                   \
	" ORDER BY c.used_ns, c.created_ns DESC"

int store_cache_list(Store *s, StoreCacheEntry **ret, size_t *ret_n, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	StoreCacheEntry *v = NULL;
	size_t n = 0;
	int r = db_query(&s->db, &q, e, LIST_SQL, "");

	while (r >= 0 && (r = db_step(&q, e)) > 0) {
		if ((n & (n - 1)) == 0) {
			StoreCacheEntry *grown = reallocarray(v, n ? n * 2 : 1, sizeof(*v));

			if (!grown) {
				r = err_oom(e);
				break;
			}
			v = grown;
		}
		StoreCacheEntry *c = &v[n++];
		r = fill(&q, c) < 0 ? err_oom(e) : 0;
		c->size = db_int(&q, 10);
		c->shared = db_int(&q, 11) != 0;
		c->in_use = db_int(&q, 12) != 0;
	}
	if (r < 0) {
		store_cache_free(v, n);
		return err_ctx(e, r, "read the build cache");
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

/* The layers below go too, unless another row of the cache, an image or a container needs them. */
int store_cache_delete(Store *s, const char *key, StoreFreed *ret, Err *e)
{
	static const char sql[] = "DELETE FROM build_cache WHERE key = ?1";
	_cleanup_(store_cache_entry_done) StoreCacheEntry c = {0};
	_cleanup_strv_ char **blobs = NULL;
	int r = find(s, key, &c, e);

	if (r <= 0)
		return r < 0 ? err_ctx(e, r, "delete from the build cache") : 0;
	r = db_run(&s->db, e, sql, "t", key);
	if (r == -ENOSPC && reserve_give(s))
		r = db_run(&s->db, e, sql, "t", key);
	if (r >= 0 && c.chain_id)
		r = gc_uncached(s, c.chain_id, &blobs, ret, e);
	if (r >= 0)
		r = gc_blobs(s, blobs, ret, e);
	return r < 0 ? err_ctx(e, r, "delete from the build cache") : 0;
}

int store_cache_tidy(Store *s, Err *e)
{
	int r = db_run(
	    &s->db, e,
	    "DELETE FROM build_cache WHERE chain_id IS NOT NULL AND chain_id NOT IN (SELECT chain_id FROM "
	    "layer)",
	    "");

	return r < 0 ? err_ctx(e, r, "tidy the build cache") : 0;
}

/* ---- pruning ---- */

/* The bytes that must go before the cache and the disk are as asked. */
static int64_t excess(Store *s, const StoreCachePrune *p, int64_t total)
{
	int64_t over = p->max_bytes > 0 ? total - p->max_bytes : 0;
	StoreSpace space;

	if (p->min_free > 0 && store_space(s, &space, NULL) >= 0)
		over = MAX2(over, p->min_free - space.free);
	if (p->max_bytes == 0 && p->min_free == 0)
		over = total;
	return MIN2(over, total - p->reserved);
}

static bool may_go(const StoreCachePrune *p, const StoreCacheEntry *c)
{
	if (c->in_use || (c->shared && !p->all) ||
	    (p->unused_since_ns > 0 && c->used_ns > p->unused_since_ns))
		return false;
	return !p->match || p->match(p->user, c);
}

int store_cache_prune(Store *s, const StoreCachePrune *p, char ***ret_keys, StoreFreed *ret, Err *e)
{
	bool limited = p->max_bytes > 0 || p->min_free > 0 || p->reserved > 0;
	int64_t total = 0, over, before = ret->bytes;
	StoreCacheEntry *v;
	size_t n;
	int r = store_cache_list(s, &v, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		total += v[i].shared ? 0 : v[i].size;
	over = excess(s, p, total);
	for (size_t i = 0; r >= 0 && i < n && !(limited && ret->bytes - before >= over); i++) {
		if (!may_go(p, &v[i]))
			continue;
		r = store_cache_delete(s, v[i].key, ret, e);
		if (r >= 0 && ret_keys && strv_add(ret_keys, v[i].key) < 0)
			r = err_oom(e);
	}
	store_cache_free(v, n);
	return r < 0 ? r : 0;
}
