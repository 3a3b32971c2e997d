/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layers of a chain as directories, for an overlay or whoever looks into them: a directory's path, or a mounted
 * image by way of its descriptor. What is lost is made again first, from the bottom up.
 */
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "store/layer-internal.h"

#include <fcntl.h>

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
	int r = layer_row_load(s, chain_id, &l, e);

	if (r < 0 || (!l.lost && layer_files_exist(s, chain_id)))
		return r;
	return make_again(s, chain_id, &l, e);
}

/* A copy of the plain tar in an image, which stands at its beginning. */
static int copy_tar(Store *s, const char *chain_id, const LayerRow *l, Err *e)
{
	_cleanup_close_ int to = openat(s->root_fd, TRASH, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	DiffSum sum = {0};
	int r;

	if (to < 0)
		return err_sys(e, errno, "make a nameless file in %s/%s", s->root, TRASH);
	r = layer_tar_from_image(s, chain_id, to, &sum, e);
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
	int r = layer_row_load(s, chain_id, &l, e);

	if (r < 0 || !layer_is_image(s, chain_id))
		return r;
	tar = copy_tar(s, chain_id, &l, e);
	if (tar < 0)
		return tar;
	LayerApply a = {.parent = l.parent, .want_diff_id = l.diff_id};
	r = layer_unpack_dir(s, &a, tar, &d, &done, e);
	const NewLayer n = {chain_id,           l.parent,          l.diff_id,  l.blob,
			    done.content_bytes, done.stream_bytes, done.inodes};
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
	int fd = layer_is_image(s, chain_id) ? layer_image_mount(s, chain_id, e) : -ENOENT;
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
