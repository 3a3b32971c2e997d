/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers: a tar becomes layers/<chain id>/layer.erofs (layer-image.c) or layers/<chain id>/diff.
 *
 * A layer is made in layers/.tmp-<random>, renamed into place when its digest is known to be right, and exists with its
 * row. While one thread makes a layer whose chain id is known beforehand, others that want the same one wait for it and
 * find it done (chain_lock). A layer that an unclean end of the machine took away (row with `lost`) is made again
 * from its blob at first use (layer-dirs.c).
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/str.h"
#include "store/layer-internal.h"

#include <fcntl.h>
#include <sys/stat.h>

/* ---- one maker a layer ---- */

static ChainLock **find_lock(Store *s, const char *chain_id)
{
	ChainLock **l = &s->making;

	while (*l && !streq((*l)->chain_id, chain_id))
		l = &(*l)->next;
	return l;
}

void chain_lock(Store *s, const char *chain_id)
{
	ChainLock *own = malloc(sizeof(*own));

	/* A lock has no way to fail, and this one is a hundred bytes. */
	if (!own)
		abort();
	memcpy(own->chain_id, chain_id, DIGEST_LEN + 1);
	pthread_mutex_lock(&s->lock);
	while (*find_lock(s, chain_id))
		pthread_cond_wait(&s->changed, &s->lock);
	own->next = s->making;
	s->making = own;
	pthread_mutex_unlock(&s->lock);
}

void chain_unlock(Store *s, const char *chain_id)
{
	ChainLock **l, *own;

	pthread_mutex_lock(&s->lock);
	l = find_lock(s, chain_id);
	own = *l;
	*l = own->next;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	free(own);
}

/* ---- rows ---- */

void layer_row_done(LayerRow *l)
{
	free(l->parent);
	free(l->diff_id);
	free(l->blob);
}

static int dup_text(const DbQuery *q, int column, char **ret)
{
	const char *text = db_text(q, column);

	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

int layer_row_load(Store *s, const char *chain_id, LayerRow *ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r;

	*ret = (LayerRow){0};
	if (!digest_is_valid(chain_id))
		return err_new(e, ERR_INVALID, "invalid chain id: %s", chain_id);
	r = db_query(&s->db, &q, e,
		     "SELECT parent, diff_id, blob, size, lost, tar_size FROM layer WHERE chain_id = ?1", "t",
		     chain_id);
	if (r >= 0)
		r = db_step(&q, e);
	if (r < 0)
		return r;
	if (r == 0)
		return err_new(e, ERR_NOT_FOUND, "No such layer: %s", chain_id);
	if (dup_text(&q, 0, &ret->parent) < 0 || dup_text(&q, 1, &ret->diff_id) < 0 ||
	    dup_text(&q, 2, &ret->blob) < 0) {
		layer_row_done(ret);
		*ret = (LayerRow){0};
		return err_oom(e);
	}
	ret->size = db_int(&q, 3);
	ret->lost = db_int(&q, 4);
	ret->tar_size = db_int(&q, 5);
	return 0;
}

int layer_parent(Store *s, const char *chain_id, char **ret, Err *e)
{
	_cleanup_(layer_row_done) LayerRow l = {0};
	int r = layer_row_load(s, chain_id, &l, e);

	if (r >= 0)
		*ret = take_ptr(l.parent);
	return r;
}

int store_layer_diffs(Store *s, const char *chain_id, char ***ret, Err *e)
{
	_cleanup_strv_ char **diffs = NULL;
	_cleanup_free_ char *chain = strdup(chain_id);
	size_t n = 0;
	int r = chain ? 0 : err_oom(e);

	while (r >= 0 && chain) {
		_cleanup_(layer_row_done) LayerRow l = {0};

		r = layer_row_load(s, chain, &l, e);
		if (r >= 0 && strv_take(&diffs, take_ptr(l.diff_id)) < 0)
			r = err_oom(e);
		free(chain);
		chain = r >= 0 ? take_ptr(l.parent) : NULL;
	}
	if (r < 0)
		return r;
	n = strv_len(diffs);
	for (size_t i = 0; i < n / 2; i++) {
		char *other = diffs[i];

		diffs[i] = diffs[n - 1 - i];
		diffs[n - 1 - i] = other;
	}
	*ret = take_ptr(diffs);
	return 0;
}

int store_layer_size(Store *s, const char *chain_id, int64_t *ret, Err *e)
{
	_cleanup_(layer_row_done) LayerRow l = {0};
	int r = layer_row_load(s, chain_id, &l, e);

	if (r >= 0)
		*ret = l.size;
	return r;
}

static bool is_there(Store *s, char *path)
{
	bool yes = path && faccessat(s->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;

	free(path);
	return yes;
}

bool layer_is_image(Store *s, const char *chain_id)
{
	return is_there(s, layer_image(chain_id));
}

bool layer_files_exist(Store *s, const char *chain_id)
{
	return layer_is_image(s, chain_id) || is_there(s, layer_diff(chain_id));
}

bool store_layer_has(Store *s, const char *chain_id)
{
	_cleanup_(layer_row_done) LayerRow l = {0};

	return layer_row_load(s, chain_id, &l, NULL) >= 0 && !l.lost && layer_files_exist(s, chain_id);
}

/* The row that makes the layer exist; its parent must still be there. */
static int insert_row(Store *s, const NewLayer *n, Err *e)
{
	_cleanup_tx_ DbTx tx = {0};
	int64_t found = 1;
	int r = db_begin(&s->db, &tx, e);

	if (r >= 0 && n->parent)
		r = db_get_int(&s->db, &found, 0, e, "SELECT 1 FROM layer WHERE chain_id = ?1", "t",
			       n->parent);
	if (r >= 0 && !found)
		return err_new(e, ERR_CONFLICT, "the layer %s below was deleted meanwhile: try again",
			       n->parent);
	if (r >= 0)
		r = db_run(
		    &s->db, e,
		    "INSERT INTO layer (chain_id, parent, diff_id, blob, size, synced, lost, boot, tar_size, "
		    "made_ns, inodes)"
		    " VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, ?7, ?8, ?9)"
		    " ON CONFLICT DO UPDATE SET blob = coalesce(excluded.blob, blob), size = excluded.size,"
		    " synced = 0, lost = 0, boot = excluded.boot, tar_size = excluded.tar_size, inodes = "
		    "excluded.inodes",
		    "ttttitiii", n->chain_id, n->parent, n->diff_id, n->blob, n->size, id_boot(), n->tar_size,
		    clock_now_ns(), n->inodes);
	return r < 0 ? r : db_commit(&tx, e);
}

/* ---- the directory in the making ---- */

void draft_done(Draft *d)
{
	close_fd(&d->fd);
	if (d->path[0])
		(void)remove_tree_at(d->store->root_fd, d->path);
}

int draft_begin(Store *s, Draft *d, Err *e)
{
	snprintf(d->path, sizeof(d->path), LAYERS "/.tmp-");
	id_random_hex(d->path + strlen(d->path), 32);
	d->store = s;
	if (mkdirat(s->root_fd, d->path, 0700) < 0) {
		d->path[0] = 0;
		return store_sys(e, errno, "make a folder in %s/%s", s->root, LAYERS);
	}
	return 0;
}

int draft_begin_diff(Store *s, Draft *d, Err *e)
{
	char diff[sizeof(d->path) + 8];
	int r = d->path[0] ? 0 : draft_begin(s, d, e);

	if (r < 0)
		return r;
	snprintf(diff, sizeof(diff), "%s/diff", d->path);
	/* 0755 is what the root of a container is when no layer describes it. */
	if (mkdirat(s->root_fd, diff, 0755) < 0)
		return store_sys(e, errno, "make %s/%s", s->root, diff);
	d->fd = openat(s->root_fd, diff, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0 || fchmod(d->fd, 0755) < 0)
		return err_sys(e, errno, "open %s/%s", s->root, diff);
	return 0;
}

/* Renames it into place and commits the row. Called with the chain locked and the layer missing. */
int draft_commit(Draft *d, const NewLayer *n, Err *e)
{
	_cleanup_free_ char *place = layer_dir(n->chain_id);
	Store *s = d->store;
	int r;

	if (!place)
		return err_oom(e);
	/* What a lost row or a crash between rename and commit left there. */
	r = trash_put(s, place, e);
	if (r < 0)
		return r;
	layer_image_forget(s, n->chain_id);
	if (renameat(s->root_fd, d->path, s->root_fd, place) < 0)
		return store_sys(e, errno, "name the layer %s", n->chain_id);
	d->path[0] = 0;
	r = insert_row(s, n, e);
	if (r < 0) {
		(void)trash_put(s, place, NULL);
		return r;
	}
	janitor_wake(s, true, false);
	return 0;
}

/* ---- apply ---- */

/* The stream of a layer that exists already: a pipe is emptied, so that whoever fills it is not stuck. */
static int drain(int fd, Err *e)
{
	struct stat st;
	char buf[65536];
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "examine the layer's stream");
	if (S_ISREG(st.st_mode))
		return 0;
	while ((n = read(fd, buf, sizeof(buf))) != 0)
		if (n < 0 && errno != EINTR)
			return err_sys(e, errno, "read the layer's stream");
	return 0;
}

/* A later blob fills in for a layer that was made without one. */
static int keep_existing(Store *s, const LayerApply *a, const char *chain_id, Err *e)
{
	int r = drain(a->fd, e);

	if (r >= 0 && a->gate)
		r = a->gate(a->user, e);
	if (r >= 0 && a->blob)
		r = db_run(&s->db, e, "UPDATE layer SET blob = ?2 WHERE chain_id = ?1 AND blob IS NULL", "tt",
			   chain_id, a->blob);
	return r < 0 ? r : 0;
}

int layer_await_parent(const LayerApply *a, Err *e)
{
	return a->parent && a->below ? a->below(a->user, e) : 0;
}

int layer_unpack_dir(Store *s, const LayerApply *a, int in_fd, Draft *d, UnpackDone *done, Err *e)
{
	const UnpackJob job = {
	    .layer = true,
	    .whiteouts = true,
	    .devices = true,
	    .keep_owner = true,
	    .max_bytes = s->layer_max_bytes,
	    .max_files = s->layer_max_files,
	};
	_cleanup_(unpack_run_done) UnpackRun u = {
	    .job = &job,
	    .in_fd = in_fd,
	    .out_fd = -1,
	    .progress = a->progress,
	    .user = a->user,
	    .done = done,
	};
	_cleanup_layers_ LayerDirs lower = {0};
	int r = draft_begin_diff(s, d, e);

	if (r < 0)
		return r;
	u.dir_fd = d->fd;
	r = unpack_run(s, &u, e);
	if (r < 0)
		return r;
	if (a->want_diff_id && !streq(a->want_diff_id, done->diff_id))
		return err_new(e, ERR_INVALID, "diff id mismatch: expected %s, got %s", a->want_diff_id,
			       done->diff_id);
	r = layer_await_parent(a, e);
	if (r >= 0 && a->parent)
		r = layer_dirs(s, a->parent, &lower, e);
	return r < 0 ? r : unpack_fix(d->fd, &u, lower.paths, e);
}

static int unpack_draft(Store *s, const LayerApply *a, Draft *d, UnpackDone *done, Err *e)
{
	_cleanup_close_ int tar = -1;
	int r = draft_begin(s, d, e);

	if (r < 0)
		return r;
	if (s->snapshotter != SNAPSHOTTER_EROFS)
		return layer_unpack_dir(s, a, a->fd, d, done, e);
	r = layer_image_make(s, d->path, a, done, &tar, e);
	return r > 0 ? layer_unpack_dir(s, a, tar, d, done, e) : r;
}

static int apply_locked(Store *s, const LayerApply *a, Draft *d, const char *chain_id, const UnpackDone *done,
			Err *e)
{
	if (store_layer_has(s, chain_id))
		return keep_existing(s, a, chain_id, e);
	if (a->gate) {
		int r = a->gate(a->user, e);

		if (r < 0)
			return r;
	}
	const NewLayer n = {chain_id,           a->parent,   done->diff_id, a->blob, done->content_bytes,
			    done->stream_bytes, done->inodes};
	return draft_commit(d, &n, e);
}

/* The chain id is known only afterwards. */
static int apply_unknown(Store *s, const LayerApply *a, char ret_chain[DIGEST_LEN + 1], UnpackDone *done,
			 Err *e)
{
	_cleanup_(draft_done) Draft d = {.fd = -1};
	int r = unpack_draft(s, a, &d, done, e);

	if (r < 0)
		return r;
	chain_id_next(a->parent, done->diff_id, ret_chain);
	chain_lock(s, ret_chain);
	r = apply_locked(s, a, &d, ret_chain, done, e);
	chain_unlock(s, ret_chain);
	return r;
}

static int apply_known(Store *s, const LayerApply *a, const char *chain_id, UnpackDone *done, Err *e)
{
	_cleanup_(draft_done) Draft d = {.fd = -1};
	int r;

	if (store_layer_has(s, chain_id)) {
		snprintf(done->diff_id, sizeof(done->diff_id), "%s", a->want_diff_id);
		return keep_existing(s, a, chain_id, e);
	}
	r = unpack_draft(s, a, &d, done, e);
	return r < 0 ? r : apply_locked(s, a, &d, chain_id, done, e);
}

int store_layer_apply(Store *s, const LayerApply *a, char ret_chain[DIGEST_LEN + 1],
		      char ret_diff[DIGEST_LEN + 1], Err *e)
{
	UnpackDone done = {.diff_id = ""};
	char chain[DIGEST_LEN + 1];
	int r = 0;

	if (a->want_diff_id && !digest_is_valid(a->want_diff_id))
		return err_new(e, ERR_INVALID, "invalid diff id: %s", a->want_diff_id);
	if (a->parent && !a->below && !store_layer_has(s, a->parent)) {
		_cleanup_layers_ LayerDirs lower = {0};

		r = layer_dirs(s, a->parent, &lower, e);
		if (r < 0)
			return err_ctx(e, r, "the layer below");
	}
	if (a->want_diff_id) {
		chain_id_next(a->parent, a->want_diff_id, chain);
		chain_lock(s, chain);
		r = apply_known(s, a, chain, &done, e);
		chain_unlock(s, chain);
	} else {
		r = apply_unknown(s, a, chain, &done, e);
	}
	if (r < 0)
		return err_ctx(e, r, "unpack layer%s%s", a->want_diff_id ? " " : "",
			       a->want_diff_id ? a->want_diff_id : "");
	memcpy(ret_chain, chain, sizeof(chain));
	memcpy(ret_diff, done.diff_id, DIGEST_LEN + 1);
	return 0;
}
