/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a layer what it should be? One that has its blob is made again beside it and compared; one that was made here is what
 * its own tar says.
 */
#include "base/fd.h"
#include "base/str.h"
#include "store/compare.h"
#include "store/layer-internal.h"

#include <fcntl.h>

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
		return layer_unpack_dir(s, a, a->fd, d, done, e);
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
	bool image = layer_is_image(s, chain_id);
	int r = blob < 0 ? blob : dir ? make_beside(s, &a, image, &d, &done, e) : err_oom(e);

	if (r < 0)
		return r;
	v->bytes += done.content_bytes;
	r = image ? compare_images(s, dir, &d, v, e) : compare_folders(s, dir, &d, v, e);
	if (r < 0 || !v->problem || !replace)
		return r;
	const NewLayer n = {chain_id,           l->parent,         l->diff_id, l->blob,
			    done.content_bytes, done.stream_bytes, done.inodes};
	r = draft_commit(&d, &n, e);
	v->replaced = r >= 0;
	return r;
}

/* A layer that was made here is what its own tar says. */
static int verify_by_tar(Store *s, const char *chain_id, const LayerRow *l, LayerVerdict *v, Err *e)
{
	_cleanup_close_ int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	bool image = layer_is_image(s, chain_id);
	DiffSum sum = {0};
	Err own = {0};
	int r;

	if (null < 0)
		return err_sys(e, errno, "open /dev/null");
	if (!layer_files_exist(s, chain_id))
		return damaged(v, "its directory is missing", "", e);
	r = image ? layer_tar_from_image(s, chain_id, null, &sum, &own)
		  : layer_tar_from_dir(s, chain_id, null, &sum, &own);
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
	r = layer_row_load(s, chain_id, &l, e);
	/* One that the machine took along is known to be missing: its first user makes it again from the blob. */
	if (r >= 0 && l.lost && l.blob && store_blob_has(s, l.blob))
		r = 0;
	else if (r >= 0 && l.blob && store_blob_has(s, l.blob))
		r = verify_by_blob(s, chain_id, &l, replace, ret, e);
	else if (r >= 0)
		r = verify_by_tar(s, chain_id, &l, ret, e);
	chain_unlock(s, chain_id);
	return r;
}
