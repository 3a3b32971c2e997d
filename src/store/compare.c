/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Comparing two directory trees, entry by entry; see compare.h.
 *
 * Both are ours: layers, which nothing writes to once they are made. Still no link is followed and every name is opened at its
 * directory, because what was damaged may be anything.
 */
#include "store/compare.h"

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "store/dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define DEPTH_MAX  2048
#define CHUNK      65536
#define XATTRS_MAX 65536

typedef struct Compare {
	char *difference;
	char *a_buf, *b_buf; /* CHUNK each */
} Compare;

static int differs(Compare *x, const char *path, const char *what, Err *e)
{
	x->difference = strf("%s: %s", *path ? path : "/", what);
	return x->difference ? 1 : err_oom(e);
}

/* ---- one entry ---- */

static int compare_contents(Compare *x, int a, int b, const char *path, Err *e)
{
	for (;;) {
		ssize_t n = fd_read_full(a, x->a_buf, CHUNK), m = fd_read_full(b, x->b_buf, CHUNK);

		/* Media that cannot be read back is damage, not a failure to look. */
		if (n < 0 || m < 0)
			return n < 0 ? differs(x, path, "it cannot be read", e)
				     : err_sys(e, (int)m, "read %s", path);
		if (n != m || memcmp(x->a_buf, x->b_buf, (size_t)n) != 0)
			return differs(x, path, "the contents differ", e);
		if (n == 0)
			return 0;
	}
}

static int compare_links(Compare *x, int a_dir, int b_dir, const char *name, const char *path, Err *e)
{
	ssize_t n = readlinkat(a_dir, name, x->a_buf, CHUNK), m = readlinkat(b_dir, name, x->b_buf, CHUNK);

	if (n < 0 || n != m || memcmp(x->a_buf, x->b_buf, (size_t)n) != 0)
		return differs(x, path, "the target of the link differs", e);
	return 0;
}

/* overlayfs writes down things of its own in upper directories; SELinux labels are the machine's. */
static bool counts(const char *name)
{
	return streq(name, "trusted.overlay.opaque") ||
	       (!str_starts(name, "trusted.overlay.") && !streq(name, "security.selinux"));
}

/* Names and values that count, sorted by name, as one text: "name=<hex>\n". */
static int xattrs_text(int fd, char **ret)
{
	_cleanup_free_ char *names = malloc(XATTRS_MAX), *value = malloc(XATTRS_MAX);
	_cleanup_strv_ char **lines = NULL;
	ssize_t len;

	if (!names || !value)
		return -ENOMEM;
	len = flistxattr(fd, names, XATTRS_MAX);
	if (len < 0 && errno != ENOTSUP)
		return -errno;
	for (const char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
		_cleanup_strbuf_ StrBuf line = {0};
		ssize_t n = counts(name) ? fgetxattr(fd, name, value, XATTRS_MAX) : 0;

		if (n < 0)
			return -errno;
		strbuf_addf(&line, "%s=", name);
		for (ssize_t i = 0; i < n; i++)
			strbuf_addf(&line, "%02x", (unsigned char)value[i]);
		if (counts(name) && strv_take(&lines, strbuf_steal(&line)) < 0)
			return -ENOMEM;
	}
	for (size_t i = 0, n = strv_len(lines); i < n; i++)
		for (size_t k = i + 1; k < n; k++)
			if (strcmp(lines[i], lines[k]) > 0) {
				char *swap = lines[i];

				lines[i] = lines[k];
				lines[k] = swap;
			}
	*ret = lines ? strv_join(lines, "\n") : strdup("");
	return *ret ? 0 : -ENOMEM;
}

static int compare_xattrs(Compare *x, int a, int b, const char *path, Err *e)
{
	_cleanup_free_ char *of_a = NULL, *of_b = NULL;
	int r = xattrs_text(b, &of_b);

	if (r < 0)
		return err_sys(e, r, "read the attributes of %s", path);
	r = xattrs_text(a, &of_a);
	if (r == -ENOMEM)
		return err_oom(e);
	return r < 0 || !streq(of_a, of_b) ? differs(x, path, "the extended attributes differ", e) : 0;
}

static bool same_time(const struct stat *a, const struct stat *b)
{
	return a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static const char *metadata_difference(const struct stat *a, const struct stat *b)
{
	bool timed = S_ISREG(a->st_mode) || S_ISLNK(a->st_mode);

	if ((a->st_mode & S_IFMT) != (b->st_mode & S_IFMT))
		return "it is of another type";
	if (a->st_mode != b->st_mode)
		return "the mode differs";
	if (a->st_uid != b->st_uid || a->st_gid != b->st_gid)
		return "the owner differs";
	if ((S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode)) && a->st_rdev != b->st_rdev)
		return "the device number differs";
	if (S_ISREG(a->st_mode) && a->st_size != b->st_size)
		return a->st_size == 0 ? "it is empty" : "the size differs";
	if (S_ISREG(a->st_mode) && a->st_nlink != b->st_nlink)
		return "the number of hard links differs";
	return timed && !same_time(a, b) ? "the time differs" : NULL;
}

static int compare_dirs(Compare *x, int a, int b, const char *path, int depth, Err *e);

static int compare_opened(Compare *x, int a_dir, int b_dir, const char *name, const char *path, mode_t mode,
			  int depth, Err *e)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (S_ISDIR(mode) ? O_DIRECTORY : 0);
	_cleanup_close_ int a = openat(a_dir, name, flags);
	_cleanup_close_ int b = openat(b_dir, name, flags);

	if (b < 0)
		return err_sys(e, errno, "open %s", path);
	if (a < 0)
		return differs(x, path, "it cannot be opened", e);
	int r = compare_xattrs(x, a, b, path, e);
	if (r != 0)
		return r;
	return S_ISDIR(mode) ? compare_dirs(x, a, b, path, depth + 1, e) : compare_contents(x, a, b, path, e);
}

static int compare_entry(Compare *x, int a_dir, int b_dir, const char *name, const char *path, int depth,
			 Err *e)
{
	struct stat a, b;
	const char *what;

	if (fstatat(b_dir, name, &b, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "examine %s", path);
	if (fstatat(a_dir, name, &a, AT_SYMLINK_NOFOLLOW) < 0)
		return differs(x, path, "it cannot be examined", e);
	what = metadata_difference(&a, &b);
	if (what)
		return differs(x, path, what, e);
	if (S_ISLNK(a.st_mode))
		return compare_links(x, a_dir, b_dir, name, path, e);
	if (S_ISREG(a.st_mode) || S_ISDIR(a.st_mode))
		return compare_opened(x, a_dir, b_dir, name, path, a.st_mode, depth, e);
	return 0;
}

/* ---- a directory ---- */

static int compare_dirs(Compare *x, int a, int b, const char *path, int depth, Err *e)
{
	_cleanup_strv_ char **of_a = NULL, **of_b = NULL;
	size_t i = 0, k = 0;
	int r = dir_names(b, &of_b);

	if (r < 0)
		return err_sys(e, r, "read %s", path);
	if (dir_names(a, &of_a) < 0)
		return differs(x, path, "the directory cannot be read", e);
	if (depth > DEPTH_MAX)
		return err_new(e, ERR_INVALID, "%s: nested more than %d deep", path, DEPTH_MAX);
	while (r == 0 && ((of_a && of_a[i]) || (of_b && of_b[k]))) {
		const char *m = of_a ? of_a[i] : NULL, *n = of_b ? of_b[k] : NULL;
		int order = !m ? 1 : !n ? -1 : strcmp(m, n);
		_cleanup_free_ char *sub = strf("%s%s%s", path, *path ? "/" : "", order <= 0 ? m : n);

		if (!sub)
			return err_oom(e);
		if (order < 0)
			r = differs(x, sub, "it does not belong there", e);
		else if (order > 0)
			r = differs(x, sub, "it is missing", e);
		else
			r = compare_entry(x, a, b, m, sub, depth, e);
		i += order <= 0;
		k += order >= 0;
	}
	return r;
}

int file_compare(int a_fd, int b_fd, Err *e)
{
	_cleanup_free_ char *a_buf = malloc(CHUNK), *b_buf = malloc(CHUNK);
	Compare x = {.a_buf = a_buf, .b_buf = b_buf};
	int r = a_buf && b_buf ? compare_contents(&x, a_fd, b_fd, "", e) : err_oom(e);

	free(x.difference);
	return r;
}

int tree_compare(int a_fd, int b_fd, char **ret_difference, Err *e)
{
	_cleanup_free_ char *a_buf = malloc(CHUNK), *b_buf = malloc(CHUNK);
	Compare x = {.a_buf = a_buf, .b_buf = b_buf};
	int r = a_buf && b_buf ? compare_dirs(&x, a_fd, b_fd, "", 0, e) : err_oom(e);

	if (r == 1)
		*ret_difference = x.difference;
	else
		free(x.difference);
	return r;
}
