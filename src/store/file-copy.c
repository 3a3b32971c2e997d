/* SPDX-License-Identifier: Apache-2.0 */
/* See file-copy.h. */
#include "store/file-copy.h"

#include "base/fd.h"
#include "store/dir.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#define BUFFER (256u << 10)

static bool is_unsuited(int no)
{
	return no == EOPNOTSUPP || no == ENOTTY || no == EINVAL || no == EXDEV || no == ENOSYS || no == EPERM;
}

/* 1: the file has become shorter. */
static int copy_buffered(FileCopy *k, int in, int out, int64_t at, int64_t end)
{
	if (!k->buf)
		k->buf = malloc(BUFFER);
	if (!k->buf)
		return -ENOMEM;
	while (at < end) {
		ssize_t n = pread(in, k->buf, (size_t)MIN2((int64_t)BUFFER, end - at), at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 1;
		int r = fd_pwrite_all(out, k->buf, (size_t)n, at);

		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

static int copy_piece(FileCopy *k, int in, int out, int64_t at, int64_t end)
{
	while (!k->no_range && at < end) {
		off_t from = at, to = at;
		ssize_t n = copy_file_range(in, &from, out, &to, (size_t)(end - at), 0);

		if (n == 0)
			return 1;
		if (n > 0)
			at += n;
		else if (is_unsuited(errno))
			k->no_range = true;
		else if (errno != EINTR)
			return -errno;
	}
	return copy_buffered(k, in, out, at, end);
}

int file_copy(FileCopy *k, int in, int out, const struct stat *st)
{
	bool sparse = (int64_t)st->st_blocks * 512 < st->st_size;
	int64_t data = 0, hole;
	int r = 0;

	if (st->st_size == 0)
		return 0;
	if (!k->no_clone && ioctl(out, FICLONE, in) == 0)
		return 0;
	k->no_clone = k->no_clone || is_unsuited(errno);
	for (int64_t at = 0; r == 0 && at < st->st_size; at = hole) {
		data = sparse ? dir_next_data(in, at, st->st_size) : 0;
		hole = sparse ? dir_next_hole(in, data, st->st_size) : st->st_size;
		r = copy_piece(k, in, out, data, hole);
	}
	if (r == 0 && !sparse)
		return 0;
	return r >= 0 && ftruncate(out, st->st_size) < 0 ? -errno : MIN2(r, 0);
}

void file_copy_done(FileCopy *k)
{
	free(k->buf);
	*k = (FileCopy){0};
}
