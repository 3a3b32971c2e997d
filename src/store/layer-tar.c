/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer becomes a tar again: the one that its image holds, what its blob decompresses to, or one that is made of its
 * directory. Whatever is written out is hashed, and must have the layer's diff id.
 */
#include "base/fd.h"
#include "base/str.h"
#include "store/digest-file.h"
#include "store/erofs.h"
#include "store/layer-internal.h"

#include <fcntl.h>

int layer_tar_from_image(Store *s, const char *chain_id, int out_fd, DiffSum *ret, Err *e)
{
	_cleanup_close_ int fd = layer_image_open_tar(s, chain_id, &ret->bytes, e);

	return fd < 0 ? fd : digest_copy(fd, EROFS_TAR_AT, ret->bytes, out_fd, ret->digest, e);
}

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

int layer_tar_from_dir(Store *s, const char *chain_id, int out_fd, DiffSum *ret, Err *e)
{
	_cleanup_close_ int dir = -1;
	int r = open_dir(s, chain_id, &dir, e);

	return r < 0 ? r : diff_write(dir, out_fd, ret, e);
}

static int write_tar(Store *s, const char *chain_id, const LayerRow *l, int out_fd, DiffSum *ret, Err *e)
{
	if (!l->lost && layer_is_image(s, chain_id))
		return layer_tar_from_image(s, chain_id, out_fd, ret, e);
	if (!l->blob || !store_blob_has(s, l->blob))
		return layer_tar_from_dir(s, chain_id, out_fd, ret, e);
	return streq(l->blob, l->diff_id) ? write_from_plain(s, l, out_fd, ret, e)
					  : write_from_packed(s, l, out_fd, ret, e);
}

int store_layer_write_tar(Store *s, const char *chain_id, int out_fd, Err *e)
{
	_cleanup_(layer_row_done) LayerRow l = {0};
	DiffSum sum = {0};
	int r = layer_row_load(s, chain_id, &l, e);

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
	int r = layer_row_load(s, chain_id, &l, e);

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
