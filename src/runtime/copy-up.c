/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "tmpcopyup": a tmpfs that begins with what the directory below it held. Directories, files, symlinks and fifos
 * with mode and owner; other kinds are left out. The tree is the image's: it is walked by descriptors
 * that follow no symlink, to a bounded depth.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"

#include <dirent.h>
#include <limits.h>

#define DEPTH_MAX 64

static int copy_dir(int from, int to, int depth, Err *e);

static int copy_file(int from, int to, const char *name, const struct stat *st, Err *e)
{
	_cleanup_close_ int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), out = -1;
	struct stat now;
	int64_t n;

	if (in < 0 || fstat(in, &now) < 0)
		return err_sys(e, errno, "open %s", name);
	/* A device or fifo that took its name meanwhile would never end. */
	if (!S_ISREG(now.st_mode))
		return err_new(e, ERR_CONFLICT, "%s is no regular file any more", name);
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(e, errno, "make %s", name);
	n = fd_copy(in, out);
	if (n < 0)
		return err_sys(e, (int)n, "copy %s", name);
	if (fchown(out, st->st_uid, st->st_gid) < 0 || fchmod(out, st->st_mode & 07777) < 0)
		return err_sys(e, errno, "set the owner of %s", name);
	return 0;
}

static int copy_link(int from, int to, const char *name, const struct stat *st, Err *e)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(from, name, text, sizeof(text) - 1);

	if (n < 0)
		return err_sys(e, errno, "read link %s", name);
	text[n] = '\0';
	if (symlinkat(text, to, name) < 0 ||
	    fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "make link %s", name);
	return 0;
}

static int copy_subdir(int from, int to, const char *name, const struct stat *st, int depth, Err *e)
{
	_cleanup_close_ int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
			    out = -1;
	int r;

	if (in < 0)
		return err_sys(e, errno, "open %s", name);
	if (mkdirat(to, name, 0700) < 0)
		return err_sys(e, errno, "make %s", name);
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return err_sys(e, errno, "open %s", name);
	r = copy_dir(in, out, depth + 1, e);
	if (r < 0)
		return err_ctx(e, r, "%s", name);
	if (fchown(out, st->st_uid, st->st_gid) < 0 || fchmod(out, st->st_mode & 07777) < 0)
		return err_sys(e, errno, "set the owner of %s", name);
	return 0;
}

static int copy_entry(int from, int to, const char *name, int depth, Err *e)
{
	struct stat st;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "stat %s", name);
	if (S_ISDIR(st.st_mode))
		return copy_subdir(from, to, name, &st, depth, e);
	if (S_ISLNK(st.st_mode))
		return copy_link(from, to, name, &st, e);
	if (S_ISREG(st.st_mode))
		return copy_file(from, to, name, &st, e);
	if (S_ISFIFO(st.st_mode) && mknodat(to, name, S_IFIFO | (st.st_mode & 07777), 0) < 0)
		return err_sys(e, errno, "make fifo %s", name);
	return 0;
}

static int copy_dir(int from, int to, int depth, Err *e)
{
	int list = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = list < 0 ? NULL : fdopendir(list);

	if (!d) {
		r = err_sys(e, errno, "list a directory");
		closep(&list);
		return r;
	}
	if (depth > DEPTH_MAX)
		r = err_sys(e, ELOOP, "directories nest deeper than %d", DEPTH_MAX);
	for (struct dirent *de; r == 0 && (de = readdir(d));)
		if (!streq(de->d_name, ".") && !streq(de->d_name, ".."))
			r = copy_entry(from, to, de->d_name, depth, e);
	closedir(d);
	return r;
}

int mounts_copy_up(int from_dir, int to_mount, Err *e)
{
	struct stat st;
	int r = copy_dir(from_dir, to_mount, 0, e);

	if (r < 0)
		return err_ctx(e, r, "copy up");
	/* An fd of fsmount is O_PATH: it takes fchownat() and chmod by its path in /proc, not fchown(). */
	if (fstat(from_dir, &st) == 0 && fchownat(to_mount, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0)
		return err_sys(e, errno, "copy up: set the owner");
	return 0;
}
