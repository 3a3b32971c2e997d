/* SPDX-License-Identifier: Apache-2.0 */
/* See vfs.h. */
#include "store/vfs.h"

#include "base/path.h"
#include "base/str.h"
#include "store/dir.h"
#include "store/merged.h"
#include "store/store-internal.h"
#include "store/tar-read.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define XATTR_MAX 65536
#define DEPTH_MAX 512 /* a descriptor a layer and directory */

/* ---- looks ---- */

/* The names of a file's attributes, NUL after NUL; through /proc/self/fd, for an O_PATH descriptor has no xattr calls. */
static ssize_t list_xattrs(int fd, char names[XATTR_MAX])
{
	ssize_t n = listxattr(path_of_fd(fd).s, names, XATTR_MAX);

	return n < 0 && errno == ENOTSUP ? 0 : n < 0 ? -errno : n;
}

static int copy_xattrs(int from, int to, const char *name, Err *e)
{
	_cleanup_free_ char *names = malloc(XATTR_MAX), *value = malloc(XATTR_MAX);
	ssize_t n = names && value ? list_xattrs(from, names) : -ENOMEM;

	if (n < 0)
		return err_sys(e, (int)n, "list the attributes of %s", name);
	for (const char *x = names; x < names + n; x += strlen(x) + 1) {
		ssize_t len;

		if (!tar_xattr_is_wanted(x))
			continue;
		len = getxattr(path_of_fd(from).s, x, value, XATTR_MAX);
		if (len < 0 || setxattr(path_of_fd(to).s, x, value, (size_t)len, 0) < 0)
			return store_sys(e, errno, "copy the attribute %s of %s", x, name);
	}
	return 0;
}

static int has_all(int a, int b, const char *names, ssize_t n, char *va, char *vb, bool *ret)
{
	for (const char *x = names; x < names + n; x += strlen(x) + 1) {
		ssize_t la, lb;

		if (!tar_xattr_is_wanted(x))
			continue;
		la = getxattr(path_of_fd(a).s, x, va, XATTR_MAX);
		lb = getxattr(path_of_fd(b).s, x, vb, XATTR_MAX);
		if (la < 0)
			return -errno;
		if (la != lb || memcmp(va, vb, (size_t)la) != 0)
			*ret = false;
	}
	return 0;
}

static int same_xattrs(int a_fd, int b_fd, bool *ret, Err *e)
{
	_cleanup_free_ char *names = malloc(XATTR_MAX), *va = malloc(XATTR_MAX), *vb = malloc(XATTR_MAX);
	ssize_t n = -ENOMEM;
	int r = -ENOMEM;

	*ret = true;
	if (names && va && vb)
		n = list_xattrs(a_fd, names);
	if (n >= 0)
		r = has_all(a_fd, b_fd, names, n, va, vb, ret);
	n = r < 0 ? r : list_xattrs(b_fd, names);
	if (n >= 0)
		r = has_all(b_fd, a_fd, names, n, va, vb, ret);
	return n < 0 || r < 0 ? err_sys(e, n < 0 ? (int)n : r, "compare attributes") : 0;
}

static int copy_looks(int from_fd, int to_fd, const char *name, const struct stat *st, Err *e)
{
	const struct timespec ts[2] = {st->st_mtim, st->st_mtim};
	FdPath to = path_of_fd(to_fd);
	int r;

	if (chown(to.s, st->st_uid, st->st_gid) < 0 || chmod(to.s, st->st_mode & 07777) < 0)
		return store_sys(e, errno, "set owner and mode of %s", name);
	r = copy_xattrs(from_fd, to_fd, name, e);
	if (r >= 0 && utimensat(AT_FDCWD, to.s, ts, 0) < 0)
		r = store_sys(e, errno, "set the time of %s", name);
	return r;
}

/* ---- the difference ---- */

static int same_target(int a, int b, const char *name, bool *ret, Err *e)
{
	char ta[PATH_MAX], tb[PATH_MAX];
	ssize_t la = readlinkat(a, name, ta, sizeof(ta)), lb = readlinkat(b, name, tb, sizeof(tb));

	if (la < 0 || lb < 0)
		return err_sys(e, errno, "read the link %s", name);
	*ret = la == lb && memcmp(ta, tb, (size_t)la) == 0;
	return 0;
}

static bool same_looks(const struct stat *a, const struct stat *b)
{
	return a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       (!S_ISREG(a->st_mode) || a->st_size == b->st_size) &&
	       ((!S_ISCHR(a->st_mode) && !S_ISBLK(a->st_mode)) || a->st_rdev == b->st_rdev);
}

/* Of one name in two directories, neither a directory itself. */
static int is_same(int a_dir, const struct stat *a, int b_dir, const struct stat *b, const char *name,
		   bool *ret, Err *e)
{
	_cleanup_close_ int a_fd = -1, b_fd = -1;

	*ret = same_looks(a, b);
	if (!*ret)
		return 0;
	if (S_ISLNK(a->st_mode))
		return same_target(a_dir, b_dir, name, ret, e);
	a_fd = openat(a_dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	b_fd = openat(b_dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (a_fd < 0 || b_fd < 0)
		return err_sys(e, errno, "open %s", name);
	return same_xattrs(a_fd, b_fd, ret, e);
}

static int compare_dir(const Merged *base, int own, int out, int depth, Err *e);

/* A directory of the container: it is in the answer if it or something in it was changed. */
static int compare_below(const Merged *base, const struct stat *base_st, int own, const struct stat *st,
			 int out, const char *name, int depth, Err *e)
{
	_cleanup_close_ int from = openat(own, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
			    to = -1;
	bool same = base->n > 0 && same_looks(base_st, st);
	int r;

	if (from < 0)
		return err_sys(e, errno, "open %s", name);
	if (depth == DEPTH_MAX)
		return err_new(e, ERR_UNSUPPORTED, "%s: more than %d directories deep", name, DEPTH_MAX);
	if (mkdirat(out, name, 0700) < 0)
		return store_sys(e, errno, "make %s", name);
	to = openat(out, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return err_sys(e, errno, "open %s", name);
	r = compare_dir(base, from, to, depth + 1, e);
	if (r >= 0 && same)
		r = same_xattrs(base->fds[0], from, &same, e);
	/* Not empty: something in it was changed. */
	if (r >= 0 && same && unlinkat(out, name, AT_REMOVEDIR) == 0)
		return 0;
	return r < 0 ? r : copy_looks(from, to, name, st, e);
}

static int compare_name(const Merged *base, int own, int out, const char *name, int depth, Err *e)
{
	_cleanup_merged_ Merged below = {0};
	struct stat was, st;
	size_t layer;
	bool same = false;
	int r = merged_find(base, name, &layer, &was, &below, e);
	bool there = r > 0;

	if (r < 0)
		return r;
	if (fstatat(own, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return err_sys(e, errno, "examine %s", name);
		return there && mknodat(out, name, S_IFCHR, makedev(0, 0)) < 0
			   ? store_sys(e, errno, "make the whiteout of %s", name)
			   : 0;
	}
	if (S_ISDIR(st.st_mode))
		return compare_below(&below, &was, own, &st, out, name, depth, e);
	if (there && !S_ISDIR(was.st_mode))
		r = is_same(own, &st, base->fds[layer], &was, name, &same, e);
	if (r < 0 || same || S_ISSOCK(st.st_mode))
		return r < 0 ? r : 0;
	return linkat(own, name, out, name, 0) < 0 ? store_sys(e, errno, "take %s", name) : 0;
}

static int compare_dir(const Merged *base, int own, int out, int depth, Err *e)
{
	_cleanup_strv_ char **a = NULL, **b = NULL;
	int r = merged_names(base, &a, e);

	if (r >= 0 && dir_names(own, &b) < 0)
		r = err_sys(e, EIO, "read a directory of the container");
	/* Both are sorted. */
	for (char **x = a, **y = b; r >= 0 && ((x && *x) || (y && *y));) {
		int order = !x || !*x ? 1 : !y || !*y ? -1 : strcmp(*x, *y);

		r = compare_name(base, own, out, order <= 0 ? *x : *y, depth, e);
		x += order <= 0;
		y += order >= 0;
	}
	return r < 0 ? r : 0;
}

int vfs_changes(char *const *layers, int own_fd, int out_fd, Err *e)
{
	_cleanup_merged_ Merged base = {0};
	struct stat st;
	int r = merged_open(layers, &base, e);

	if (r >= 0)
		r = compare_dir(&base, own_fd, out_fd, 0, e);
	if (r >= 0 && fstat(own_fd, &st) < 0)
		r = err_sys(e, errno, "examine the container's root");
	if (r >= 0)
		r = copy_looks(own_fd, out_fd, "/", &st, e);
	return r < 0 ? err_ctx(e, r, "compare the container with its image") : 0;
}
