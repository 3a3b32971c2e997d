/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes: rows that nothing needs, and files without rows.
 *
 * A layer is needed by an image whose top it is, by a layer on it, or by a container's snapshot. So a chain is taken down from
 * its top until the first layer that is needed. A blob is needed by images (image_blob) and by layers that were
 * made from it. Rows go first, then files: what a crash leaves between the two is removed at the next start. While
 * somebody holds a lease, between finding a layer here and recording the image that needs it, nothing goes; it is looked at
 * again when the last lease ends. What a pull that failed has brought is kept for the next try, until store_sweep() finds it old; layers
 * that were being made here go at the next start.
 */
#include "base/fd.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "store/digest.h"
#include "store/dir.h"
#include "store/store-internal.h"

#include <fcntl.h>
#include <stdarg.h>

/* ---- on deletion ---- */

/* Deletes the row if nothing needs the layer: 1 and what it was made of, or 0. With an image go the layers that were pulled with it; those that a
 * build made stay until the cache lets go of them. */
static int drop_layer_row(Store *s, const char *chain_id, bool keep_cached, char **ret_parent,
			  char **ret_blob, int64_t *ret_size, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e,
			 "DELETE FROM layer WHERE chain_id = ?1"
			 " AND NOT EXISTS (SELECT 1 FROM image WHERE chain_id = ?1)"
			 " AND NOT EXISTS (SELECT 1 FROM snapshot WHERE chain_id = ?1)"
			 " AND NOT EXISTS (SELECT 1 FROM layer l WHERE l.parent = ?1)"
			 " AND NOT (?2 AND EXISTS (SELECT 1 FROM build_cache WHERE chain_id = ?1))"
			 " RETURNING parent, blob, size",
			 "ti", chain_id, (int64_t)keep_cached);

	if (r >= 0)
		r = db_step(&q, e);
	if (r <= 0)
		return r;
	if (db_text(&q, 0) && !(*ret_parent = strdup(db_text(&q, 0))))
		return err_oom(e);
	if (db_text(&q, 1) && !(*ret_blob = strdup(db_text(&q, 1))))
		return err_oom(e);
	*ret_size = db_int(&q, 2);
	return 1;
}

/* A deletion begins, unless a lease is held: then it is noted for later, and false is the answer. A lease that comes in between
 * waits for the end of the deletion, so that whoever holds one finds a thing either whole or gone. */
static bool deletion_begin(Store *s, const char *what)
{
	bool go;

	pthread_mutex_lock(&s->lock);
	go = s->leases == 0;
	if (go)
		s->deletions++;
	else if (!strv_has(s->pending, what))
		/* Without memory for the note it simply stays until the next sweep. */
		(void)strv_add(&s->pending, what);
	pthread_mutex_unlock(&s->lock);
	return go;
}

static void deletion_end(Store *s)
{
	pthread_mutex_lock(&s->lock);
	s->deletions--;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* One layer: 1 if it went. */
static int delete_layer(Store *s, const char *chain, bool keep_cached, char **ret_parent, char **ret_blob,
			int64_t *ret_size, Err *e)
{
	_cleanup_free_ char *dir = layer_dir(chain);
	int r;

	if (!dir)
		return err_oom(e);
	if (!deletion_begin(s, chain))
		return 0;
	/* A maker that has just found it missing must not meet half of it. */
	chain_lock(s, chain);
	r = drop_layer_row(s, chain, keep_cached, ret_parent, ret_blob, ret_size, e);
	if (r == -ENOSPC && reserve_give(s))
		r = drop_layer_row(s, chain, keep_cached, ret_parent, ret_blob, ret_size, e);
	if (r > 0) {
		int moved = trash_put(s, dir, e);

		layer_image_forget(s, chain);
		r = moved < 0 ? moved : r;
	}
	chain_unlock(s, chain);
	deletion_end(s);
	return r;
}

static int delete_chain(Store *s, const char *chain_id, bool keep_cached, char ***blobs, StoreFreed *freed,
			Err *e)
{
	_cleanup_free_ char *chain = chain_id ? strdup(chain_id) : NULL;

	if (chain_id && !chain)
		return err_oom(e);
	while (chain) {
		_cleanup_free_ char *parent = NULL, *blob = NULL;
		int64_t size = 0;
		int r = delete_layer(s, chain, keep_cached, &parent, &blob, &size, e);

		if (r <= 0)
			return r;
		if ((blob && strv_add(blobs, blob) < 0) || (freed && strv_add(&freed->layers, chain) < 0))
			return err_oom(e);
		if (freed)
			freed->bytes += size;
		free(chain);
		chain = take_ptr(parent);
	}
	return 0;
}

int gc_layers(Store *s, const char *chain_id, char ***blobs, StoreFreed *freed, Err *e)
{
	return delete_chain(s, chain_id, false, blobs, freed, e);
}

int store_blob_release(Store *s, const char *digest, Err *e)
{
	char *one[] = {(char *)digest, NULL};

	return gc_blobs(s, one, NULL, e);
}

int gc_uncached(Store *s, const char *chain_id, char ***blobs, StoreFreed *freed, Err *e)
{
	return delete_chain(s, chain_id, true, blobs, freed, e);
}

/* 1 and its size if the row went. */
static int drop_blob_row(Store *s, const char *digest, int64_t *ret_size, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e,
			 "DELETE FROM blob WHERE digest = ?1"
			 " AND NOT EXISTS (SELECT 1 FROM image_blob WHERE digest = ?1)"
			 " AND NOT EXISTS (SELECT 1 FROM layer WHERE blob = ?1) RETURNING size",
			 "t", digest);

	if (r >= 0)
		r = db_step(&q, e);
	if (r > 0)
		*ret_size = db_int(&q, 0);
	return r;
}

static int delete_blob(Store *s, const char *digest, StoreFreed *freed, Err *e)
{
	_cleanup_free_ char *path = blob_path(digest);
	int64_t size = 0;
	int r;

	if (!path)
		return err_oom(e);
	if (!deletion_begin(s, digest))
		return 0;
	r = drop_blob_row(s, digest, &size, e);
	if (r == -ENOSPC && reserve_give(s))
		r = drop_blob_row(s, digest, &size, e);
	if (r > 0 && unlinkat(s->root_fd, path, 0) < 0 && errno != ENOENT)
		r = err_sys(e, errno, "delete the blob %s", digest);
	deletion_end(s);
	if (r > 0 && freed)
		freed->bytes += size;
	return r;
}

int gc_blobs(Store *s, char *const *digests, StoreFreed *freed, Err *e)
{
	int r = 0;

	for (char *const *d = digests; r >= 0 && d && *d; d++)
		r = delete_blob(s, *d, freed, e);
	return r < 0 ? r : 0;
}

void store_freed_done(StoreFreed *f)
{
	strv_free(f->layers);
	*f = (StoreFreed){0};
}

int store_layer_release(Store *s, const char *chain_id, StoreFreed *ret, Err *e)
{
	_cleanup_strv_ char **blobs = NULL;
	int r = gc_layers(s, chain_id, &blobs, ret, e);

	if (r >= 0)
		r = gc_blobs(s, blobs, ret, e);
	return err_ctx(e, r, "remove the layer %.19s", chain_id);
}

void store_lease_begin(Store *s)
{
	pthread_mutex_lock(&s->lock);
	s->leases++;
	while (s->deletions > 0)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

/* A pending entry is a chain id or a digest of a blob; they look alike and each is tried as both. */
int store_lease_end(Store *s, Err *e)
{
	_cleanup_strv_ char **pending = NULL, **blobs = NULL;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (--s->leases == 0)
		pending = take_ptr(s->pending);
	pthread_mutex_unlock(&s->lock);
	for (char **p = pending; r >= 0 && p && *p; p++) {
		r = gc_uncached(s, *p, &blobs, NULL, e);
		if (r >= 0)
			r = strv_add(&blobs, *p) < 0 ? err_oom(e) : 0;
	}
	return r < 0 ? r : gc_blobs(s, blobs, NULL, e);
}

/* ---- what nothing needs ---- */

/* Of a row l of layer. */
#define UNNEEDED                                                                                             \
	" NOT EXISTS (SELECT 1 FROM image WHERE chain_id = l.chain_id)"                                      \
	" AND NOT EXISTS (SELECT 1 FROM snapshot WHERE chain_id = l.chain_id)"                               \
	" AND NOT EXISTS (SELECT 1 FROM layer WHERE parent = l.chain_id)"                                    \
	" AND NOT EXISTS (SELECT 1 FROM build_cache WHERE chain_id = l.chain_id)"

static int list(Store *s, char ***ret, Err *e, const char *sql, const char *types, ...);

static bool leased(Store *s)
{
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = s->leases > 0;
	pthread_mutex_unlock(&s->lock);
	return yes;
}

int store_sweep(Store *s, int64_t older_than_ns, StoreFreed *ret, Err *e)
{
	_cleanup_strv_ char **layers = NULL, **blobs = NULL;
	int r;

	if (leased(s))
		return 0;
	r = list(s, &layers, e, "SELECT chain_id FROM layer l WHERE made_ns <= ?1 AND" UNNEEDED, "i",
		 older_than_ns);

	for (char **l = layers; r >= 0 && l && *l; l++)
		r = gc_uncached(s, *l, &blobs, ret, e);
	if (r >= 0)
		r = list(s, &blobs, e,
			 "SELECT digest FROM blob b WHERE created_ns <= ?1"
			 " AND NOT EXISTS (SELECT 1 FROM image_blob WHERE digest = b.digest)"
			 " AND NOT EXISTS (SELECT 1 FROM layer WHERE blob = b.digest)",
			 "i", older_than_ns);
	if (r >= 0)
		r = gc_blobs(s, blobs, ret, e);
	return r < 0 ? err_ctx(e, r, "remove layers and blobs that nothing needs") : 0;
}

/* ---- at start ---- */

static int list(Store *s, char ***ret, Err *e, const char *sql, const char *types, ...)
{
	_cleanup_query_ DbQuery q = {0};
	va_list ap;
	int r;

	va_start(ap, types);
	r = db_query_v(&s->db, &q, e, sql, types, ap);
	va_end(ap);
	while (r >= 0 && (r = db_step(&q, e)) > 0)
		if (strv_add(ret, db_text(&q, 0)) < 0)
			return err_oom(e);
	return r;
}

/* True if the file holds what its name says. */
static bool blob_is_good(Store *s, const char *digest)
{
	_cleanup_close_ int fd = store_blob_open(s, digest, NULL, NULL);
	_cleanup_(hasher_freep) Hasher *h = hasher_new();
	_cleanup_free_ char *buf = malloc(1 << 18);
	char found[DIGEST_LEN + 1];
	ssize_t n;

	if (fd < 0 || !h || !buf)
		return false;
	while ((n = read(fd, buf, 1 << 18)) > 0)
		hasher_add(h, buf, (size_t)n);
	return n == 0 && hasher_digest(h, found) >= 0 && streq(found, digest);
}

static int check_blobs(Store *s, Err *e)
{
	_cleanup_strv_ char **blobs = NULL;
	int r = list(s, &blobs, e, "SELECT digest FROM blob WHERE synced = 0 AND boot <> ?1", "t", id_boot());

	for (char **b = blobs; r >= 0 && b && *b; b++) {
		if (blob_is_good(s, *b)) {
			r = db_run(&s->db, e, "UPDATE blob SET boot = ?2 WHERE digest = ?1", "tt", *b,
				   id_boot());
			continue;
		}
		_cleanup_free_ char *path = blob_path(*b);
		r = db_run(&s->db, e, "DELETE FROM blob WHERE digest = ?1", "t", *b);
		if (r >= 0 && path && unlinkat(s->root_fd, path, 0) < 0 && errno != ENOENT)
			r = err_sys(e, errno, "delete the damaged blob %s", *b);
		log_warn("the blob %s was damaged when the machine stopped: dropped", *b);
	}
	return r;
}

/* Images whose config, manifest or layers cannot come back: their rows go, so that pull and build make them anew. */
static int drop_broken_images(Store *s, Err *e)
{
	int r =
	    db_run(&s->db, e,
		   "WITH RECURSIVE broken (chain_id) AS ("
		   " SELECT chain_id FROM layer WHERE lost = 1 AND (blob IS NULL OR blob NOT IN (SELECT "
		   "digest FROM blob))"
		   " UNION SELECT l.chain_id FROM layer l JOIN broken b ON l.parent = b.chain_id)"
		   " DELETE FROM image WHERE chain_id IN (SELECT chain_id FROM broken)"
		   " OR id NOT IN (SELECT digest FROM blob)"
		   " OR (manifest_digest IS NOT NULL AND manifest_digest NOT IN (SELECT digest FROM blob))",
		   "");

	if (r > 0)
		log_warn("%d images were dropped: not all of them was on disk yet when the machine stopped",
			 r);
	if (r > 0)
		r = db_run(&s->db, e, "DELETE FROM tag WHERE image_id NOT IN (SELECT id FROM image)", "");
	if (r >= 0)
		r = db_run(&s->db, e, "DELETE FROM image_blob WHERE image_id NOT IN (SELECT id FROM image)",
			   "");
	return r;
}

/* Layers that cannot be made again and that nothing but the crash kept: from the top down, until none is left. */
static int drop_lost_layers(Store *s, Err *e)
{
	int r;

	do
		r = db_run(&s->db, e,
			   "DELETE FROM layer WHERE lost = 1 AND (blob IS NULL OR blob NOT IN (SELECT digest "
			   "FROM blob))"
			   " AND chain_id NOT IN (SELECT parent FROM layer WHERE parent IS NOT NULL)"
			   " AND chain_id NOT IN (SELECT chain_id FROM snapshot WHERE chain_id IS NOT NULL)"
			   " AND chain_id NOT IN (SELECT chain_id FROM image WHERE chain_id IS NOT NULL)",
			   "");
	while (r > 0);
	return r;
}

int gc_after_boot(Store *s, Err *e)
{
	_cleanup_strv_ char **layers = NULL;
	int64_t any = 0;
	int r = db_get_int(&s->db, &any, 0, e,
			   "SELECT EXISTS (SELECT 1 FROM layer WHERE synced = 0 AND boot <> ?1)"
			   " OR EXISTS (SELECT 1 FROM blob WHERE synced = 0 AND boot <> ?1)",
			   "t", id_boot());

	if (r < 0 || !any)
		return r;
	r = check_blobs(s, e);
	if (r >= 0)
		r = list(s, &layers, e,
			 "SELECT chain_id FROM layer WHERE synced = 0 AND boot <> ?1 AND lost = 0", "t",
			 id_boot());
	for (char **l = layers; r >= 0 && l && *l; l++) {
		_cleanup_free_ char *dir = layer_dir(*l);

		r = dir ? trash_put(s, dir, e) : err_oom(e);
		if (r >= 0)
			r = db_run(&s->db, e, "UPDATE layer SET lost = 1 WHERE chain_id = ?1", "t", *l);
	}
	if (r >= 0)
		r = drop_broken_images(s, e);
	if (r >= 0)
		r = drop_lost_layers(s, e);
	return r < 0 ? err_ctx(e, r, "look after what the last boot left") : 0;
}

static int open_names(Store *s, const char *folder, char ***ret, Err *e)
{
	_cleanup_close_ int fd = openat(s->root_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : dir_names(fd, ret);

	return r < 0 ? err_sys(e, r, "read %s/%s", s->root, folder) : 0;
}

/* Both lists are sorted by bytes: everything on disk that has no row goes to the trash. */
static int sweep(Store *s, const char *folder, char *const *rows, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	char *const *row = rows;
	int r = open_names(s, folder, &names, e);

	for (char **n = names; r >= 0 && n && *n; n++) {
		while (row && *row && strcmp(*row, *n) < 0)
			row++;
		if (row && *row && streq(*row, *n))
			continue;
		_cleanup_free_ char *path = strf("%s/%s", folder, *n);
		r = path ? trash_put(s, path, e) : err_oom(e);
	}
	return r;
}

static int sweep_snapshots(Store *s, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int r = open_names(s, "containers", &names, e);

	for (char **n = names; r >= 0 && n && *n; n++) {
		int64_t found = 0;

		r = db_get_int(&s->db, &found, 0, e, "SELECT 1 FROM snapshot WHERE key = ?1", "t", *n);
		if (r < 0 || found)
			continue;
		/* What else is in there is the engine's. */
		_cleanup_free_ char *diff = strf("containers/%s/diff", *n),
				    *work = strf("containers/%s/work", *n),
				    *changes = strf("containers/%s/changes", *n);
		_cleanup_free_ char *folder = strf("containers/%s", *n);
		if (!diff || !work || !changes || !folder)
			return err_oom(e);
		r = trash_put(s, diff, e);
		if (r >= 0)
			r = trash_put(s, work, e);
		if (r >= 0)
			r = trash_put(s, changes, e);
		if (r >= 0)
			(void)unlinkat(s->root_fd, folder, AT_REMOVEDIR);
	}
	return r;
}

/* Layers that a build or a commit made when the engine ended under it: nobody would find them again, while those that were pulled wait
 * for the next try. */
static int drop_unclaimed(Store *s, Err *e)
{
	_cleanup_strv_ char **layers = NULL, **blobs = NULL;
	int r = list(s, &layers, e, "SELECT chain_id FROM layer l WHERE blob IS NULL AND" UNNEEDED, "");

	for (char **l = layers; r >= 0 && l && *l; l++)
		r = gc_uncached(s, *l, &blobs, NULL, e);
	return r < 0 ? r : gc_blobs(s, blobs, NULL, e);
}

int gc_garbage(Store *s, Err *e)
{
	_cleanup_strv_ char **layers = NULL, **blobs = NULL;
	int r = drop_unclaimed(s, e);

	if (r >= 0)
		r = list(s, &layers, e, "SELECT substr(chain_id, 8) FROM layer ORDER BY chain_id", "");
	if (r >= 0)
		r = list(s, &blobs, e, "SELECT substr(digest, 8) FROM blob ORDER BY digest", "");
	if (r >= 0)
		r = sweep(s, LAYERS, layers, e);
	if (r >= 0)
		r = sweep(s, BLOBS, blobs, e);
	if (r >= 0)
		r = sweep(s, INGEST, NULL, e);
	if (r >= 0)
		r = sweep_snapshots(s, e);
	if (r >= 0)
		r = layer_forms_gc(s, e);
	if (r >= 0)
		r = blob_places_gc(s, e);
	return r < 0 ? err_ctx(e, r, "remove what the last run left") : 0;
}
