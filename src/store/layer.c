/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers: a tar becomes layers/<chain id>/layer.erofs (layer-image.c) or, like a container's upper directory, layers/<chain id>/diff.
 *
 * A layer is made in layers/.tmp-<random>, renamed into place when its digest is known to be right, and exists with its
 * row. While one thread makes a layer whose chain id is known beforehand, others that want the same one wait for it and
 * find it done (chain_lock). A layer that an unclean end of the machine took away (row with `lost`) is made again
 * from its blob at first use.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/path.h"
#include "base/str.h"
#include "store/compare.h"
#include "store/diff.h"
#include "store/digest-file.h"
#include "store/dir.h"
#include "store/erofs.h"
#include "store/store-internal.h"
#include "store/tree-copy.h"
#include "store/unpack-protocol.h"

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

typedef struct LayerRow {
	char *parent, *diff_id, *blob;
	int64_t size, tar_size; /* of its files; of its tar, -1: not counted yet */
	bool lost;
} LayerRow;

static void layer_row_done(LayerRow *l)
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

static int load_row(Store *s, const char *chain_id, LayerRow *ret, Err *e)
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
	int r = load_row(s, chain_id, &l, e);

	if (r >= 0)
		*ret = take_ptr(l.parent);
	return r;
}

int store_layer_size(Store *s, const char *chain_id, int64_t *ret, Err *e)
{
	_cleanup_(layer_row_done) LayerRow l = {0};
	int r = load_row(s, chain_id, &l, e);

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

static bool is_image(Store *s, const char *chain_id)
{
	return is_there(s, layer_image(chain_id));
}

static bool files_exist(Store *s, const char *chain_id)
{
	return is_image(s, chain_id) || is_there(s, layer_diff(chain_id));
}

bool store_layer_has(Store *s, const char *chain_id)
{
	_cleanup_(layer_row_done) LayerRow l = {0};

	return load_row(s, chain_id, &l, NULL) >= 0 && !l.lost && files_exist(s, chain_id);
}

typedef struct NewLayer {
	const char *chain_id, *parent, *diff_id, *blob;
	int64_t size, tar_size;
} NewLayer;

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
		    "made_ns)"
		    " VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, ?7, ?8)"
		    " ON CONFLICT DO UPDATE SET blob = coalesce(excluded.blob, blob), size = excluded.size,"
		    " synced = 0, lost = 0, boot = excluded.boot, tar_size = excluded.tar_size",
		    "ttttitii", n->chain_id, n->parent, n->diff_id, n->blob, n->size, id_boot(), n->tar_size,
		    clock_now_ns());
	return r < 0 ? r : db_commit(&tx, e);
}

/* ---- the directory in the making ---- */

typedef struct Draft {
	Store *store;
	char path[sizeof(LAYERS) + 48]; /* layers/.tmp-<random> */
	int fd;                         /* of its "diff" */
} Draft;

static void draft_done(Draft *d)
{
	close_fd(&d->fd);
	if (d->path[0])
		(void)remove_tree_at(d->store->root_fd, d->path);
}

static int draft_begin(Store *s, Draft *d, Err *e)
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

static int draft_begin_diff(Store *s, Draft *d, Err *e)
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
static int draft_commit(Draft *d, const NewLayer *n, Err *e)
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

static int unpack_dir(Store *s, const LayerApply *a, int in_fd, Draft *d, UnpackDone *done, Err *e)
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
	if (a->parent) {
		r = layer_dirs(s, a->parent, &lower, e);
		if (r < 0)
			return r;
	}
	return unpack_fix(d->fd, &u, lower.paths, e);
}

static int unpack_draft(Store *s, const LayerApply *a, Draft *d, UnpackDone *done, Err *e)
{
	_cleanup_close_ int tar = -1;
	int r = draft_begin(s, d, e);

	if (r < 0)
		return r;
	if (s->snapshotter != SNAPSHOTTER_EROFS)
		return unpack_dir(s, a, a->fd, d, done, e);
	r = layer_image_make(s, d->path, a, done, &tar, e);
	return r > 0 ? unpack_dir(s, a, tar, d, done, e) : r;
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
	const NewLayer n = {chain_id, a->parent,           done->diff_id,
			    a->blob,  done->content_bytes, done->stream_bytes};
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
	if (a->parent && !store_layer_has(s, a->parent)) {
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

/* ---- chains of directories ---- */

static int make_again(Store *s, const char *chain_id, const LayerRow *l, Err *e)
{
	_cleanup_close_ int fd = -1;
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	int r;

	if (!l->blob)
		return err_new(e, ERR_NOT_FOUND,
			       "the layer %s was lost when the machine stopped before it was on disk, and it "
			       "was made here: build "
			       "the image again",
			       chain_id);
	fd = store_blob_open(s, l->blob, NULL, e);
	if (fd < 0)
		return err_ctx(e, fd, "the layer %s was lost when the machine stopped, pull the image again",
			       chain_id);
	LayerApply a = {.parent = l->parent, .want_diff_id = l->diff_id, .blob = l->blob, .fd = fd};
	r = store_layer_apply(s, &a, chain, diff, e);
	return r < 0 ? err_ctx(e, r, "make a lost layer again") : 0;
}

/* The ids of a chain, top first. */
static int chain_of(Store *s, const char *chain_id, char ***ret, Err *e)
{
	_cleanup_strv_ char **v = NULL;
	_cleanup_free_ char *at = strdup(chain_id);
	int r = at ? 0 : err_oom(e);

	for (int depth = 0; r >= 0 && at; depth++) {
		if (depth == IMAGE_LAYERS_MAX)
			return err_new(e, ERR_INVALID, "more than %d layers", IMAGE_LAYERS_MAX);
		char *own = at;

		at = NULL;
		r = layer_parent(s, own, &at, e);
		if (strv_take(&v, own) < 0 && r >= 0)
			r = err_oom(e);
	}
	if (r >= 0)
		*ret = take_ptr(v);
	return r;
}

static int mend(Store *s, const char *chain_id, Err *e)
{
	_cleanup_(layer_row_done) LayerRow l = {0};
	int r = load_row(s, chain_id, &l, e);

	if (r < 0 || (!l.lost && files_exist(s, chain_id)))
		return r;
	return make_again(s, chain_id, &l, e);
}

static int write_from_image(Store *s, const char *chain_id, int out_fd, DiffSum *ret, Err *e)
{
	_cleanup_close_ int fd = layer_image_open_tar(s, chain_id, &ret->bytes, e);

	return fd < 0 ? fd : digest_copy(fd, EROFS_TAR_AT, ret->bytes, out_fd, ret->digest, e);
}

/* A copy of the plain tar in an image, which stands at its beginning. */
static int copy_tar(Store *s, const char *chain_id, const LayerRow *l, Err *e)
{
	_cleanup_close_ int to = openat(s->root_fd, TRASH, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	DiffSum sum = {0};
	int r;

	if (to < 0)
		return err_sys(e, errno, "make a nameless file in %s/%s", s->root, TRASH);
	r = write_from_image(s, chain_id, to, &sum, e);
	if (r >= 0 && !streq(sum.digest, l->diff_id))
		r = err_new(e, ERR_INTERNAL, "the image of the layer is damaged: pull or build it again");
	if (r >= 0 && lseek(to, 0, SEEK_SET) < 0)
		r = err_sys(e, errno, "read the tar of a layer");
	return r < 0 ? r : take_fd(&to);
}

static int image_to_dir_locked(Store *s, const char *chain_id, Err *e)
{
	_cleanup_(layer_row_done) LayerRow l = {0};
	_cleanup_(draft_done) Draft d = {.fd = -1};
	_cleanup_close_ int tar = -1;
	UnpackDone done = {.diff_id = ""};
	int r = load_row(s, chain_id, &l, e);

	if (r < 0 || !is_image(s, chain_id))
		return r;
	tar = copy_tar(s, chain_id, &l, e);
	if (tar < 0)
		return tar;
	LayerApply a = {.parent = l.parent, .want_diff_id = l.diff_id};
	r = unpack_dir(s, &a, tar, &d, &done, e);
	const NewLayer n = {chain_id, l.parent, l.diff_id, l.blob, done.content_bytes, done.stream_bytes};
	return r < 0 ? r : draft_commit(&d, &n, e);
}

int layer_image_to_dir(Store *s, const char *chain_id, Err *e)
{
	int r;

	chain_lock(s, chain_id);
	r = image_to_dir_locked(s, chain_id, e);
	chain_unlock(s, chain_id);
	return r < 0 ? err_ctx(e, r, "make a directory of the layer %s", chain_id) : 0;
}

/* The mount of a layer's image, or -ENOENT if it is a directory. What was an image under another kernel becomes one. */
static int mount_if_image(Store *s, const char *chain_id, Err *e)
{
	int fd = is_image(s, chain_id) ? layer_image_mount(s, chain_id, e) : -ENOENT;
	int r;

	if (fd >= 0 || fd == -ENOENT || s->snapshotter == SNAPSHOTTER_EROFS)
		return fd;
	r = layer_image_to_dir(s, chain_id, e);
	return r < 0 ? r : -ENOENT;
}

static int add_dir(Store *s, const char *chain_id, LayerDirs *d, Err *e)
{
	_cleanup_free_ char *diff = layer_diff(chain_id);
	int *fd = &d->fds[d->n];

	if (!diff)
		return err_oom(e);
	*fd = mount_if_image(s, chain_id, e);
	if (*fd < 0 && *fd != -ENOENT)
		return *fd;
	d->paths[d->n] = *fd < 0 ? strf("%s/%s", s->root, diff) : strdup(path_of_fd(*fd).s);
	return d->paths[d->n++] ? 0 : err_oom(e);
}

void layer_dirs_done(LayerDirs *d)
{
	for (size_t i = 0; d->fds && i < d->n; i++)
		closep(&d->fds[i]);
	free(d->fds);
	strv_free(d->paths);
	*d = (LayerDirs){0};
}

int layer_dirs(Store *s, const char *chain_id, LayerDirs *ret, Err *e)
{
	_cleanup_strv_ char **ids = NULL;
	_cleanup_layers_ LayerDirs d = {0};
	int r = chain_of(s, chain_id, &ids, e);
	size_t n = r < 0 ? 0 : strv_len(ids);

	if (r < 0)
		return r;
	d.paths = calloc(n + 1, sizeof(*d.paths));
	d.fds = malloc(n * sizeof(*d.fds));
	if (!d.paths || !d.fds)
		return err_oom(e);
	for (size_t i = 0; i < n; i++)
		d.fds[i] = -1;
	/* What was lost is mended from the bottom up. */
	for (size_t i = n; r >= 0 && i-- > 0;)
		r = mend(s, ids[i], e);
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = add_dir(s, ids[i], &d, e);
	if (r < 0)
		return r;
	*ret = d;
	d = (LayerDirs){0};
	return 0;
}

/* ---- from a container's upper directory ---- */

static int is_empty_dir(int fd, bool *ret, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int r = dir_names(fd, &names);

	if (r < 0)
		return err_sys(e, r, "read the upper directory");
	*ret = names == NULL;
	return 0;
}

typedef struct LayerCommit {
	const char *parent, *upper_dir;
	char chain[DIGEST_LEN + 1];
	DiffSum sum;
} LayerCommit;

/* Called with the chain locked. */
static int commit_missing(Store *s, const LayerCommit *c, Draft *d, Err *e)
{
	const NewLayer n = {c->chain, c->parent, c->sum.digest, NULL, c->sum.contents, c->sum.bytes};

	return store_layer_has(s, c->chain) ? 0 : draft_commit(d, &n, e);
}

static int move_upper(Store *s, const char *upper_dir, Draft *d, Err *e)
{
	char diff[sizeof(d->path) + 8];
	int r = draft_begin(s, d, e);

	if (r < 0)
		return r;
	snprintf(diff, sizeof(diff), "%s/diff", d->path);
	if (renameat(AT_FDCWD, upper_dir, s->root_fd, diff) < 0)
		return store_sys(e, errno, "move %s to the layers", upper_dir);
	return 0;
}

/* Before it is hashed: a file of nothing but a hole can be larger than any disk. */
static int check_size(Store *s, int upper, Err *e)
{
	int64_t size;
	int r = dir_size(upper, &size, e);

	if (r >= 0 && size > s->layer_max_bytes)
		return err_new(
		    e, ERR_INVALID,
		    "the files have %lld bytes, more than the limit of %lld for a layer (holes count)",
		    (long long)size, (long long)s->layer_max_bytes);
	return r;
}

/* Whether the same files were committed before or not: the caller gives the directory away. */
static int commit_moved(Store *s, LayerCommit *c, int upper, Err *e)
{
	_cleanup_(draft_done) Draft d = {.fd = -1};
	int r = check_size(s, upper, e);

	if (r >= 0)
		r = diff_write(upper, -1, &c->sum, e);
	if (r < 0)
		return r;
	chain_id_next(c->parent, c->sum.digest, c->chain);
	chain_lock(s, c->chain);
	r = move_upper(s, c->upper_dir, &d, e);
	if (r >= 0)
		r = commit_missing(s, c, &d, e);
	chain_unlock(s, c->chain);
	return r;
}

/* Whatever is in the draft becomes a layer, unless it is one already. */
static int commit_draft(Store *s, LayerCommit *c, Draft *d, Err *e)
{
	int r = diff_write(d->fd, -1, &c->sum, e);

	if (r < 0)
		return r;
	chain_id_next(c->parent, c->sum.digest, c->chain);
	chain_lock(s, c->chain);
	r = commit_missing(s, c, d, e);
	chain_unlock(s, c->chain);
	return r;
}

/* Copied first and hashed then, because a container may be at work in the original: what is hashed is what stays. Nothing here
 * parses: names and contents are files of this disk, which only the kernel interprets. */
static int commit_copied(Store *s, LayerCommit *c, const LayerCopy *copy, int upper, Err *e)
{
	const TreeCopyLimits limits = {.max_bytes = s->layer_max_bytes, .max_files = s->layer_max_files};
	_cleanup_(draft_done) Draft d = {.fd = -1};
	int r = draft_begin_diff(s, &d, e);

	if (r >= 0)
		r = tree_clone(upper, d.fd, &limits, e);
	if (r >= 0 && copy->copied)
		r = copy->copied(copy->user, e);
	return r < 0 ? r : commit_draft(s, c, &d, e);
}

/* copy: NULL to move the directory. */
static int commit_upper(Store *s, LayerCommit *c, const LayerCopy *copy, char ret_chain[DIGEST_LEN + 1],
			char ret_diff[DIGEST_LEN + 1], int64_t *ret_size, bool *ret_empty, Err *e)
{
	_cleanup_close_ int upper = open(c->upper_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	bool empty = false;
	int r;

	if (upper < 0)
		return err_sys(e, errno, "open %s", c->upper_dir);
	r = is_empty_dir(upper, &empty, e);
	if (r >= 0)
		r = copy ? commit_copied(s, c, copy, upper, e) : commit_moved(s, c, upper, e);
	if (r < 0)
		return err_ctx(e, r, "commit %s", c->upper_dir);
	memcpy(ret_chain, c->chain, sizeof(c->chain));
	memcpy(ret_diff, c->sum.digest, sizeof(c->sum.digest));
	if (ret_size)
		*ret_size = c->sum.contents;
	if (ret_empty)
		*ret_empty = empty;
	return 0;
}

int store_layer_commit_copy(Store *s, const LayerCopy *c, char ret_chain[DIGEST_LEN + 1],
			    char ret_diff[DIGEST_LEN + 1], int64_t *ret_size, bool *ret_empty, Err *e)
{
	LayerCommit commit = {.parent = c->parent, .upper_dir = c->upper_dir};

	return commit_upper(s, &commit, c, ret_chain, ret_diff, ret_size, ret_empty, e);
}

int store_layer_commit_upper(Store *s, const char *parent, const char *upper_dir, bool move,
			     char ret_chain[DIGEST_LEN + 1], char ret_diff[DIGEST_LEN + 1], int64_t *ret_size,
			     bool *ret_empty, Err *e)
{
	const LayerCopy copy = {.parent = parent, .upper_dir = upper_dir};
	LayerCommit c = {.parent = parent, .upper_dir = upper_dir};

	return commit_upper(s, &c, move ? NULL : &copy, ret_chain, ret_diff, ret_size, ret_empty, e);
}

/* ---- several layers into one ---- */

int layers_merge(Store *s, char *const *paths, size_t n, bool keep_marks, int to, Err *e)
{
	const TreeCopyLimits limits = {.max_bytes = s->layer_max_bytes, .max_files = s->layer_max_files};
	int r = 0;

	for (size_t i = n; r >= 0 && i-- > 0;) {
		_cleanup_close_ int from = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (from < 0)
			return err_sys(e, errno, "open the layer %s", paths[i]);
		r = tree_merge(from, to, keep_marks, &limits, e);
	}
	return r;
}

int store_layers_squash(Store *s, const char *base, const char *top, size_t n, char ret_chain[DIGEST_LEN + 1],
			char ret_diff[DIGEST_LEN + 1], Err *e)
{
	_cleanup_(draft_done) Draft d = {.fd = -1};
	_cleanup_layers_ LayerDirs dirs = {0};
	LayerCommit c = {.parent = base};
	int r = layer_dirs(s, top, &dirs, e);

	if (r >= 0 && dirs.n < n)
		r = err_new(e, ERR_INVALID, "there are only %zu layers", dirs.n);
	if (r >= 0)
		r = draft_begin_diff(s, &d, e);
	if (r >= 0)
		r = layers_merge(s, dirs.paths, n, base != NULL, d.fd, e);
	if (r >= 0)
		r = commit_draft(s, &c, &d, e);
	if (r < 0)
		return err_ctx(e, r, "merge layers");
	memcpy(ret_chain, c.chain, sizeof(c.chain));
	memcpy(ret_diff, c.sum.digest, sizeof(c.sum.digest));
	return 0;
}

/* ---- and back to a tar ---- */

/* A blob of the layer's own digest is its plain tar. */
static int write_from_plain(Store *s, const LayerRow *l, int out_fd, DiffSum *ret, Err *e)
{
	_cleanup_close_ int fd = store_blob_open(s, l->blob, &ret->bytes, e);

	return fd < 0 ? fd : digest_copy(fd, 0, ret->bytes, out_fd, ret->digest, e);
}

/* out_fd: -1 to count only. */
static int write_from_packed(Store *s, const LayerRow *l, int out_fd, DiffSum *ret, Err *e)
{
	const UnpackJob job = {.cat = true, .max_bytes = s->layer_max_bytes, .max_files = s->layer_max_files};
	_cleanup_close_ int fd = store_blob_open(s, l->blob, NULL, e);
	_cleanup_close_ int empty = -1;
	UnpackDone done;
	int r;

	if (fd < 0)
		return fd;
	empty = openat(s->root_fd, "empty", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (empty < 0)
		return err_sys(e, errno, "open %s/empty", s->root);
	UnpackRun u = {.job = &job, .in_fd = fd, .dir_fd = empty, .out_fd = out_fd, .done = &done};
	r = unpack_run(s, &u, e);
	unpack_run_done(&u);
	if (r < 0)
		return r;
	memcpy(ret->digest, done.diff_id, DIGEST_LEN + 1);
	ret->bytes = done.stream_bytes;
	return 0;
}

/* *ret: the directory of a layer, made again if it was lost. */
static int open_dir(Store *s, const char *chain_id, int *ret, Err *e)
{
	_cleanup_layers_ LayerDirs dirs = {0};
	int r = layer_dirs(s, chain_id, &dirs, e);

	if (r < 0)
		return r;
	*ret = open(dirs.paths[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? err_sys(e, errno, "open the layer %s", chain_id) : 0;
}

static int write_from_dir(Store *s, const char *chain_id, int out_fd, DiffSum *ret, Err *e)
{
	_cleanup_close_ int dir = -1;
	int r = open_dir(s, chain_id, &dir, e);

	return r < 0 ? r : diff_write(dir, out_fd, ret, e);
}

static int write_tar(Store *s, const char *chain_id, const LayerRow *l, int out_fd, DiffSum *ret, Err *e)
{
	if (!l->lost && is_image(s, chain_id))
		return write_from_image(s, chain_id, out_fd, ret, e);
	if (!l->blob || !store_blob_has(s, l->blob))
		return write_from_dir(s, chain_id, out_fd, ret, e);
	return streq(l->blob, l->diff_id) ? write_from_plain(s, l, out_fd, ret, e)
					  : write_from_packed(s, l, out_fd, ret, e);
}

int store_layer_write_tar(Store *s, const char *chain_id, int out_fd, Err *e)
{
	_cleanup_(layer_row_done) LayerRow l = {0};
	DiffSum sum = {0};
	int r = load_row(s, chain_id, &l, e);

	if (r >= 0)
		r = write_tar(s, chain_id, &l, out_fd, &sum, e);
	if (r < 0)
		return err_ctx(e, r, "write the tar of layer %s", chain_id);
	if (!streq(sum.digest, l.diff_id))
		return err_new(e, ERR_INTERNAL,
			       "the tar of layer %s cannot be made again: its digest would be %s, not %s; "
			       "pull or build the image again",
			       chain_id, sum.digest, l.diff_id);
	return 0;
}

/* What can be counted without writing anything. */
static int count_tar(Store *s, const char *chain_id, const LayerRow *l, int64_t *ret, Err *e)
{
	_cleanup_close_ int fd = -1;
	DiffSum sum = {0};
	int r;

	if (l->blob && store_blob_has(s, l->blob)) {
		if (streq(l->blob, l->diff_id)) {
			fd = store_blob_open(s, l->blob, ret, e);
			return MIN2(fd, 0);
		}
		r = write_from_packed(s, l, -1, &sum, e);
		*ret = sum.bytes;
		return r;
	}
	r = open_dir(s, chain_id, &fd, e);
	return r < 0 ? r : diff_count(fd, ret, e);
}

int store_layer_tar_size(Store *s, const char *chain_id, int64_t *ret, Err *e)
{
	_cleanup_(layer_row_done) LayerRow l = {0};
	int r = load_row(s, chain_id, &l, e);

	if (r < 0)
		return r;
	*ret = l.tar_size;
	if (l.tar_size >= 0)
		return 0;
	r = count_tar(s, chain_id, &l, ret, e);
	if (r >= 0)
		r = db_run(&s->db, e, "UPDATE layer SET tar_size = ?2 WHERE chain_id = ?1", "ti", chain_id,
			   *ret);
	return r < 0 ? err_ctx(e, r, "count the tar of layer %s", chain_id) : 0;
}

/* ---- is it what it should be? ---- */

void layer_verdict_done(LayerVerdict *v)
{
	free(v->problem);
	*v = (LayerVerdict){0};
}

static int damaged(LayerVerdict *v, const char *fmt, const char *arg, Err *e)
{
	v->problem = strf("%s%s", fmt, arg);
	return v->problem ? 0 : err_oom(e);
}

/* In the form that the layer has, whatever form new ones get. */
static int make_beside(Store *s, const LayerApply *a, bool image, Draft *d, UnpackDone *done, Err *e)
{
	_cleanup_close_ int tar = -1;
	int r = draft_begin(s, d, e);

	if (r < 0)
		return r;
	if (!image)
		return unpack_dir(s, a, a->fd, d, done, e);
	r = layer_image_make(s, d->path, a, done, &tar, e);
	return r > 0 ? err_new(e, ERR_INTERNAL, "the layer cannot be an image") : r;
}

static int compare_images(Store *s, const char *dir, const Draft *d, LayerVerdict *v, Err *e)
{
	_cleanup_free_ char *of_old = strf("%s/layer.erofs", dir),
			    *of_fresh = strf("%s/layer.erofs", d->path);
	_cleanup_close_ int old = -1, fresh = -1;
	int r;

	if (!of_old || !of_fresh)
		return err_oom(e);
	fresh = openat(s->root_fd, of_fresh, O_RDONLY | O_CLOEXEC);
	if (fresh < 0)
		return err_sys(e, errno, "open %s/%s", s->root, of_fresh);
	old = openat(s->root_fd, of_old, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (old < 0)
		return damaged(v, "its image cannot be opened: ", strerror(errno), e);
	r = file_compare(old, fresh, e);
	return r > 0 ? damaged(v, "its image layer.erofs is not what its blob gives", "", e) : r;
}

static int compare_folders(Store *s, const char *dir, const Draft *d, LayerVerdict *v, Err *e)
{
	_cleanup_free_ char *difference = NULL;
	_cleanup_close_ int old = -1, fresh = openat(s->root_fd, d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fresh < 0)
		return err_sys(e, errno, "open %s/%s", s->root, d->path);
	old = openat(s->root_fd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (old < 0)
		return damaged(v, "its directory cannot be opened: ", strerror(errno), e);
	r = tree_compare(old, fresh, &difference, e);
	return r > 0 ? damaged(v, "", difference, e) : r;
}

/* Unpacks the blob beside the layer and compares. The chain is locked. */
static int verify_by_blob(Store *s, const char *chain_id, const LayerRow *l, bool replace, LayerVerdict *v,
			  Err *e)
{
	_cleanup_(draft_done) Draft d = {.fd = -1};
	_cleanup_close_ int blob = store_blob_open(s, l->blob, NULL, e);
	_cleanup_free_ char *dir = layer_dir(chain_id);
	UnpackDone done = {.diff_id = ""};
	LayerApply a = {.parent = l->parent, .want_diff_id = l->diff_id, .blob = l->blob, .fd = blob};
	bool image = is_image(s, chain_id);
	int r = blob < 0 ? blob : dir ? make_beside(s, &a, image, &d, &done, e) : err_oom(e);

	if (r < 0)
		return r;
	v->bytes += done.content_bytes;
	r = image ? compare_images(s, dir, &d, v, e) : compare_folders(s, dir, &d, v, e);
	if (r < 0 || !v->problem || !replace)
		return r;
	const NewLayer n = {chain_id, l->parent, l->diff_id, l->blob, done.content_bytes, done.stream_bytes};
	r = draft_commit(&d, &n, e);
	v->replaced = r >= 0;
	return r;
}

/* A layer that was made here is what its own tar says. */
static int verify_by_tar(Store *s, const char *chain_id, const LayerRow *l, LayerVerdict *v, Err *e)
{
	_cleanup_close_ int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	bool image = is_image(s, chain_id);
	DiffSum sum = {0};
	Err own = {0};
	int r;

	if (null < 0)
		return err_sys(e, errno, "open /dev/null");
	if (!files_exist(s, chain_id))
		return damaged(v, "its directory is missing", "", e);
	r = image ? write_from_image(s, chain_id, null, &sum, &own)
		  : write_from_dir(s, chain_id, null, &sum, &own);
	if (r < 0)
		return damaged(v, "its files cannot be read: ", err_msg(&own, r), e);
	v->bytes += l->size;
	/* The tar in an image is the one that came; what its index should be only the blob tells. */
	if (streq(sum.digest, l->diff_id)) {
		v->unverified = image && l->blob;
		return 0;
	}
	if (!l->blob || image)
		return damaged(v, "its files hash to ", sum.digest, e);
	v->unverified = true;
	return 0;
}

int layer_verify(Store *s, const char *chain_id, bool replace, LayerVerdict *ret, Err *e)
{
	_cleanup_(layer_row_done) LayerRow l = {0};
	int r;

	chain_lock(s, chain_id);
	r = load_row(s, chain_id, &l, e);
	if (r >= 0 && l.blob && store_blob_has(s, l.blob))
		r = verify_by_blob(s, chain_id, &l, replace, ret, e);
	else if (r >= 0)
		r = verify_by_tar(s, chain_id, &l, ret, e);
	chain_unlock(s, chain_id);
	return r;
}
