/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few megabytes for bad days: deleting needs room too.
 *
 * On a full disk the database cannot write down that something is deleted, and nothing could ever be freed. So a
 * file of RESERVE_SIZE is kept while there is plenty of room; a deletion, or a start, that fails for want of space gives it
 * up and is tried once more. The janitor makes it again when there is room.
 */
#include "store/store-internal.h"

#include <fcntl.h>
#include <sys/statvfs.h>

#define RESERVE      "reserve"
#define RESERVE_SIZE (4 << 20)
#define PLENTY       (64ll << 20)

bool reserve_give(Store *s)
{
	return unlinkat(s->root_fd, RESERVE, 0) == 0;
}

void reserve_make(Store *s)
{
	_cleanup_close_ int fd = -1;
	struct statvfs v;

	if (faccessat(s->root_fd, RESERVE, F_OK, 0) == 0 || fstatvfs(s->root_fd, &v) < 0 ||
	    (int64_t)v.f_bavail * (int64_t)v.f_frsize < PLENTY)
		return;
	fd = openat(s->root_fd, RESERVE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	/* A file system that cannot promise room has none to keep. */
	if (fd >= 0 && posix_fallocate(fd, 0, RESERVE_SIZE) != 0)
		(void)unlinkat(s->root_fd, RESERVE, 0);
}
