/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying trees from a context or a stage into a layer, by directory descriptors only.
 *
 * Both sides may be hostile: the source is opened component by component without following links, and a
 * link at the target is replaced, never written through. Hard links become separate files.
 */
#include "build/build-internal.h"

#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define COPY_DEPTH_MAX 512

static int apply_meta(int dir, const char *name, const struct stat *st, const TreeCopy *how, Err *e)
{
	uid_t uid = how->set_owner ? how->uid : st->st_uid;
	gid_t gid = how->set_owner ? how->gid : st->st_gid;
	mode_t mode = how->set_mode && !S_ISLNK(st->st_mode) ? how->mode : st->st_mode & 07777;
	struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "set the owner of %s", name);
	if (!S_ISLNK(st->st_mode) && fchmodat(dir, name, mode, 0) < 0)
		return err_sys(e, errno, "set the mode of %s", name);
	if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "set the times of %s", name);
	return 0;
}

/* What stands in the way of a non-directory goes; a directory does not. */
static int clear_target(int dir, const char *name, Err *e)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "look at %s", name);
	if (S_ISDIR(st.st_mode))
		return err_new(e, ERR_INVALID, "cannot overwrite directory %s with a file", name);
	return unlinkat(dir, name, 0) < 0 ? err_sys(e, errno, "replace %s", name) : 0;
}

static int copy_file(int from, const char *name, int to, const char *as, Err *e)
{
	_cleanup_close_ int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_close_ int out = -1;
	int64_t n;

	if (in < 0)
		return err_sys(e, errno, "open %s", name);
	out = openat(to, as, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(e, errno, "create %s", as);
	n = fd_copy(in, out);
	return n < 0 ? err_sys(e, (int)n, "copy %s", name) : 0;
}

static int copy_link(int from, const char *name, int to, const char *as, Err *e)
{
	char target[4097];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_sys(e, errno, "read link %s", name);
	target[n] = '\0';
	return symlinkat(target, to, as) < 0 ? err_sys(e, errno, "make link %s", as) : 0;
}

static int copy_entry(int from, const char *name, int to, const char *as, const TreeCopy *how, int depth,
		      Err *e);

static int copy_children(int from_dir, int to_dir, const TreeCopy *how, int depth, Err *e)
{
	int fd = openat(from_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		closep(&fd);
		return err_sys(e, errno, "read a directory");
	}
	while (r >= 0 && (d = readdir(dir)))
		if (!streq(d->d_name, ".") && !streq(d->d_name, ".."))
			r = copy_entry(dirfd(dir), d->d_name, to_dir, d->d_name, how, depth + 1, e);
	closedir(dir);
	return r;
}

static int copy_directory(int from, const char *name, int to, const char *as, const struct stat *st,
			  const TreeCopy *how, int depth, Err *e)
{
	_cleanup_close_ int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
			    out = -1;
	bool made = true;
	int r;

	if (in < 0)
		return err_sys(e, errno, "open %s", name);
	if (mkdirat(to, as, 0700) < 0) {
		if (errno != EEXIST)
			return err_sys(e, errno, "make directory %s", as);
		made = false;
	}
	/* A link to a directory counts as one, inside the target's root only; elsewhere it is refused here. */
	out = openat(to, as, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return err_new(e, ERR_INVALID, "cannot copy directory over %s: it is not a directory", as);
	r = copy_children(in, out, how, depth, e);
	if (r >= 0 && made)
		r = apply_meta(to, as, st, how, e);
	return r;
}

static int copy_entry(int from, const char *name, int to, const char *as, const TreeCopy *how, int depth,
		      Err *e)
{
	struct stat st;
	int r;

	if (depth > COPY_DEPTH_MAX)
		return err_new(e, ERR_INVALID, "directories are nested more than %d deep", COPY_DEPTH_MAX);
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "look at %s", name);
	if (S_ISDIR(st.st_mode))
		return copy_directory(from, name, to, as, &st, how, depth, e);
	r = clear_target(to, as, e);
	if (r < 0)
		return r;
	if (S_ISREG(st.st_mode))
		r = copy_file(from, name, to, as, e);
	else if (S_ISLNK(st.st_mode))
		r = copy_link(from, name, to, as, e);
	else if (S_ISFIFO(st.st_mode))
		r = mkfifoat(to, as, 0600) < 0 ? err_sys(e, errno, "make fifo %s", as) : 0;
	else
		return err_new(e, ERR_INVALID, "%s is neither a file, a link, a directory nor a fifo", name);
	if (r >= 0)
		r = apply_meta(to, as, &st, how, e);
	return r;
}

int tree_copy(int from_root, const char *path, int to_dir, const char *name, const TreeCopy *how, Err *e)
{
	_cleanup_close_ int target = path_open_in_root(from_root, path, O_PATH, 0), parent = -1;
	const char *last;
	char self[32];
	struct stat st;

	/* A link that a source names is followed inside the root: what is copied is the file that it means. */
	if (target >= 0 && fstat(target, &st) == 0 && S_ISREG(st.st_mode)) {
		int r = clear_target(to_dir, name, e);

		if (r < 0)
			return r;
		snprintf(self, sizeof(self), "/proc/self/fd/%d", target);
		_cleanup_close_ int in = open(self, O_RDONLY | O_CLOEXEC), out = -1;
		if (in < 0)
			return err_sys(e, errno, "open %s", path);
		out = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (out < 0)
			return err_sys(e, errno, "create %s", name);
		int64_t n = fd_copy(in, out);
		return n < 0 ? err_sys(e, (int)n, "copy %s", path) : apply_meta(to_dir, name, &st, how, e);
	}
	parent = path_open_parent_in_root(from_root, path, false, &last);
	if (parent < 0)
		return err_sys(e, parent, "open the directory of %s", path);
	return copy_entry(parent, last, to_dir, name, how, 0, e);
}

int tree_copy_contents(int from_root, const char *path, int to_dir, const TreeCopy *how, Err *e)
{
	_cleanup_close_ int dir = path_open_in_root(from_root, *path ? path : "/", O_RDONLY | O_DIRECTORY, 0);

	if (dir < 0)
		return err_sys(e, dir, "open %s", path);
	return copy_children(dir, to_dir, how, 0, e);
}
