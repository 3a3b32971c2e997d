/* SPDX-License-Identifier: Apache-2.0 */
/* An archive becomes an image, whatever it says; and whatever image comes of it passes the check. */
#include "store/erofs.h"

#include "base/fd.h"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Source {
	const uint8_t *data;
	size_t len;
} Source;

static ssize_t next_piece(void *user, const uint8_t **ret, Err *e)
{
	Source *s = user;
	size_t n = s->len;

	*ret = s->data;
	s->data += n;
	s->len = 0;
	return (ssize_t)n;
}

static void must(bool holds)
{
	if (!holds)
		abort();
}

static int check_path(void *user, const char *path, uint64_t inode_at, Err *e)
{
	const ErofsOwner o = {.mode = 0700};

	must(path[0] != '/' && inode_at >= EROFS_TAR_AT);
	must(erofs_dress_dir(*(int *)user, inode_at, &o, NULL) >= 0);
	return 0;
}

static int read_archive(ErofsLayer *l, const uint8_t *data, size_t size)
{
	_cleanup_(tar_reader_freep) TarReader *t = NULL;
	Source s = {data, size};
	const TarEntry *n;
	int r = tar_reader_new(next_piece, &s, &t, NULL);

	while (r >= 0 && (r = tar_next(t, &n, NULL)) > 0)
		r = erofs_layer_add(l, t, n, NULL);
	return r < 0 ? r : erofs_layer_end(l, t, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char digest[] =
	    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	_cleanup_(erofs_layer_freep) ErofsLayer *l = NULL;
	_cleanup_close_ int fd = -1;
	int64_t tar_bytes;

	if (erofs_layer_new(1 << 26, 1000, &l, NULL) < 0 || read_archive(l, data, size) < 0)
		return 0;
	fd = memfd_create("image", MFD_CLOEXEC);
	must(fd >= 0 && fd_pwrite_all(fd, data, size, EROFS_TAR_AT) == 0);
	must(erofs_layer_write(l, fd, (int64_t)size, digest, NULL) >= 0);
	must(erofs_check(fd, &tar_bytes, NULL) >= 0 && tar_bytes == (int64_t)size);
	must(erofs_layer_each_implied(l, check_path, &fd, NULL) >= 0);
	must(erofs_check(fd, NULL, NULL) >= 0);
	return 0;
}
