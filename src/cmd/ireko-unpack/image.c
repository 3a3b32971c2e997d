/* SPDX-License-Identifier: Apache-2.0 */
/* Tar entries become an image; see image.h. */
#include "image.h"

#include "base/fd.h"
#include "store/erofs.h"

static int write_failed(int no, Err *e)
{
	if (no == -ENOSPC || no == -EDQUOT)
		return err_new_no(e, ERR_EXHAUSTED, -no,
				  "no space left on device: write the layer: free space or move --data-root");
	if (no == -EFBIG)
		return err_new_no(e, ERR_INVALID, -no, "write the layer: it is larger than the limit");
	return err_sys(e, no, "write the layer");
}

/* Into the image before anybody looks at it. */
static ssize_t next_kept(void *user, const uint8_t **ret, Err *e)
{
	const Image *i = user;
	ssize_t n = i->next(i->user, ret, e);
	int r = n > 0 ? fd_write_all(i->fd, *ret, (size_t)n) : 0;

	return r < 0 ? write_failed(r, e) : n;
}

static int tell_implied(void *user, const char *path, uint64_t inode_at, Err *e)
{
	char payload[sizeof(inode_at) + PATH_MAX];
	size_t len = strlen(path);

	memcpy(payload, &inode_at, sizeof(inode_at));
	memcpy(payload + sizeof(inode_at), path, len);
	return report_add(user, UNPACK_IMPLIED_AT, payload, sizeof(inode_at) + len, e);
}

static int read_entries(const Image *i, ErofsLayer *l, Err *e)
{
	_cleanup_(tar_reader_freep) TarReader *t = NULL;
	const TarEntry *n;
	int r = tar_reader_new(next_kept, (void *)(uintptr_t)i, &t, e);

	while (r >= 0 && (r = tar_next(t, &n, e)) > 0)
		r = erofs_layer_add(l, t, n, e);
	return r < 0 ? r : erofs_layer_end(l, t, e);
}

int image_write(const Image *i, UnpackDone *done, Err *e)
{
	_cleanup_(erofs_layer_freep) ErofsLayer *l = NULL;
	int r = erofs_layer_new(i->max_bytes, i->max_files, &l, e);

	if (r >= 0)
		r = read_entries(i, l, e);
	if (r >= 0)
		r = stream_digest(i->stream, done->diff_id, &done->stream_bytes, e);
	if (r < 0)
		return r;
	r = erofs_layer_write(l, i->fd, done->stream_bytes, done->diff_id, e);
	if (r < 0)
		return r == -ENOSPC || r == -EDQUOT || r == -EFBIG ? write_failed(r, e) : r;
	if (erofs_layer_root_is_opaque(l))
		r = report_add(i->report, UNPACK_OPAQUE, "", 0, e);
	done->inodes = 1;
	done->content_bytes = erofs_layer_budget(l)->content_bytes;
	return r < 0 ? r : erofs_layer_each_implied(l, tell_implied, i->report, e);
}
