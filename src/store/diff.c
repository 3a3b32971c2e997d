/* SPDX-License-Identifier: Apache-2.0 */
/* What overlayfs writes down in its upper directory, said in the words of the OCI image-spec; the walking is tar-walk.c. */
#include "store/diff.h"

#include "base/path.h"
#include "store/digest.h"
#include "store/store-internal.h"
#include "store/tar-walk.h"

#include <fcntl.h>

static int write_tar(int dir_fd, int out_fd, Hasher *h, DiffSum *ret, Err *e)
{
	_cleanup_(tar_writer_freep) TarWriter *w = NULL;
	int r = tar_writer_new(out_fd, h, &w, e);

	if (r >= 0)
		r = tar_walk_dir(w, dir_fd, TAR_WALK_OVERLAY, e);
	if (r >= 0)
		r = tar_writer_end(w, e);
	if (r < 0)
		return r;
	ret->contents = tar_writer_contents(w);
	ret->bytes = tar_writer_total(w);
	if (h && hasher_digest(h, ret->digest) < 0)
		return err_sys(e, EIO, "hash a layer");
	return 0;
}

int diff_write(int dir_fd, int out_fd, DiffSum *ret, Err *e)
{
	_cleanup_(hasher_freep) Hasher *h = ret ? hasher_new() : NULL;
	DiffSum unwanted;

	if (ret && !h)
		return err_oom(e);
	return write_tar(dir_fd, out_fd, h, ret ? ret : &unwanted, e);
}

int diff_count(int dir_fd, int64_t *ret, Err *e)
{
	DiffSum sum;
	int r = write_tar(dir_fd, -1, NULL, &sum, e);

	if (r >= 0)
		*ret = sum.bytes;
	return r;
}

int store_diff_write_tar(const char *upper_dir, int out_fd, Err *e)
{
	_cleanup_close_ int fd = open(upper_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "open %s", upper_dir);
	r = diff_write(fd, out_fd, NULL, e);
	return r < 0 ? err_ctx(e, r, "write the tar of %s", upper_dir) : 0;
}
