/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See path.h for the invariant. Making things below the root goes one component at a time: a prefix
 * is resolved by the kernel inside the root, and only a single name that is neither "." nor ".."
 * is created at the descriptor that came out. A symlink that points at nothing is replaced by its
 * text and the walk begins again, as a process inside the root would have it (/var/run -> /run in
 * an image that has no /run).
 */
#include "base/path.h"
#include "base/str.h"

#include <limits.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#define TRIES_MAX 64 /* openat2 says EAGAIN while something in the root is being renamed */
#define LINKS_MAX 40 /* as the kernel: path_resolution(7) */

static int open_how(int rootfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	bool creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
	struct open_how how = {
	    .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
	    .mode = creates ? mode & 07777 : 0, /* else EINVAL */
	    .resolve = resolve | RESOLVE_NO_MAGICLINKS,
	};

	for (int i = 0; i < TRIES_MAX; i++) {
		long fd = syscall(SYS_openat2, rootfd, path, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN)
			return -errno;
	}
	return -EAGAIN;
}

int path_open_in_root(int rootfd, const char *path, int flags, mode_t mode)
{
	return open_how(rootfd, path, flags, mode, RESOLVE_IN_ROOT);
}

int path_open_beneath(int dirfd, const char *path, int flags)
{
	return open_how(dirfd, path, flags, 0, RESOLVE_BENEATH);
}

static int open_directory(int rootfd, const char *path)
{
	return path_open_in_root(rootfd, path, O_PATH | O_DIRECTORY, 0);
}

/* The path with the symlink `name` (found at parent, `dir_len` bytes into path) replaced by its text;
 * `rest` is what follows it. -ENOENT if there is no symlink, because then something was removed. */
static int redirect(int parent, const char *path, size_t dir_len, const char *name, const char *rest,
		    char **ret)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(parent, name, target, sizeof(target) - 1);

	if (n < 0)
		return errno == EINVAL ? -ENOENT : -errno;
	target[n] = '\0';
	if (target[0] == '/')
		dir_len = 0;
	*ret = strf("%.*s%s%s%s", (int)dir_len, path, target, *rest ? "/" : "", rest);
	return *ret ? 0 : -ENOMEM;
}

/* Opens the directory `prefix`, whose last component is `name` at parent, making it if need be.
 * -ENOENT also if name is a symlink to nothing. */
static int enter(int rootfd, int parent, const char *prefix, const char *name, mode_t mode)
{
	int fd = open_directory(rootfd, prefix);

	if (fd != -ENOENT)
		return fd;
	if (mkdirat(parent, name, mode) < 0 && errno != EEXIST)
		return -errno;
	return open_directory(rootfd, prefix);
}

/* One walk down. The fd, or -errno; with -ENOENT *ret_again may be set to the path to walk instead. */
static int walk(int rootfd, const char *path, mode_t mode, char **ret_again)
{
	_cleanup_free_ char *prefix = strdup(path);
	_cleanup_close_ int parent = open_directory(rootfd, ".");

	if (!prefix)
		return -ENOMEM;
	if (parent < 0)
		return take_fd(&parent);
	for (char *name = prefix + strspn(prefix, "/"); *name;) {
		char *end = strchrnul(name, '/'), *next = end + strspn(end, "/"), kept = *end;

		*end = '\0';
		int fd = enter(rootfd, parent, prefix, name, *next ? 0755 : mode);
		if (fd == -ENOENT) {
			int r = redirect(parent, prefix, (size_t)(name - prefix), name, next, ret_again);

			return r < 0 ? r : -ENOENT;
		}
		if (fd < 0)
			return fd;
		*end = kept;
		close_fd(&parent);
		parent = fd;
		name = next;
	}
	return take_fd(&parent);
}

/* What is missing is mostly the last name alone, and needs no walk. -ENOENT if there is more to it. */
static int make_last(int rootfd, const char *path, mode_t mode)
{
	const char *name = path_base(path);
	_cleanup_free_ char *dir = NULL;
	_cleanup_close_ int parent = -1;

	if (!*name || streq(name, ".") || streq(name, ".."))
		return -ENOENT;
	dir = name == path ? strdup(".") : strndup(path, (size_t)(name - path));
	if (!dir)
		return -ENOMEM;
	parent = open_directory(rootfd, dir);
	if (parent < 0)
		return take_fd(&parent);
	if (mkdirat(parent, name, mode) < 0 && errno != EEXIST)
		return -errno;
	return open_directory(rootfd, path);
}

int path_mkdir_in_root(int rootfd, const char *path, mode_t mode)
{
	_cleanup_free_ char *here = NULL;
	int found = open_directory(rootfd, path);

	if (found == -ENOENT)
		found = make_last(rootfd, path, mode ? mode : 0755);
	if (found != -ENOENT)
		return found;
	for (int links = 0; links <= LINKS_MAX; links++) {
		char *again = NULL;
		int fd = walk(rootfd, here ? here : path, mode ? mode : 0755, &again);

		if (!again)
			return fd;
		free(here);
		here = again;
	}
	return -ELOOP;
}

int path_open_parent_in_root(int rootfd, const char *path, bool make, const char **ret_name)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	bool is_root = path[strspn(path, "/")] == '\0' || streq(path, ".");

	/* A name like ".." or "x/" would be resolved outside the root's rules by the next openat(). */
	if (!is_root && (!*name || streq(name, ".") || streq(name, "..")))
		return -EINVAL;

	_cleanup_free_ char *dir =
	    is_root || name == path ? strdup(".") : strndup(path, (size_t)(name - path));
	if (!dir)
		return -ENOMEM;
	int fd = make ? path_mkdir_in_root(rootfd, dir, 0755) : open_directory(rootfd, dir);
	if (fd >= 0)
		*ret_name = is_root ? "." : name;
	return fd;
}

static int open_no_directory(int rootfd, const char *path)
{
	_cleanup_close_ int fd = path_open_in_root(rootfd, path, O_PATH, 0);
	struct stat st;

	if (fd < 0)
		return take_fd(&fd);
	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? -EISDIR : take_fd(&fd);
}

/* mknodat() and not open(O_CREAT): it never follows the name and never opens what it finds there. */
static int touch(int rootfd, const char *path, mode_t mode, char **ret_again)
{
	const char *name;
	int fd = open_no_directory(rootfd, path);

	if (fd != -ENOENT)
		return fd;

	_cleanup_close_ int parent = path_open_parent_in_root(rootfd, path, true, &name);
	if (parent < 0)
		return take_fd(&parent);
	if (mknodat(parent, name, S_IFREG | (mode & 07777), 0) < 0 && errno != EEXIST)
		return -errno;
	fd = open_no_directory(rootfd, path);
	if (fd == -ENOENT) {
		int r = redirect(parent, path, (size_t)(name - path), name, "", ret_again);

		return r < 0 ? r : -ENOENT;
	}
	return fd;
}

int path_touch_in_root(int rootfd, const char *path, mode_t mode)
{
	_cleanup_free_ char *here = NULL;

	for (int links = 0; links <= LINKS_MAX; links++) {
		char *again = NULL;
		int fd = touch(rootfd, here ? here : path, mode, &again);

		if (!again)
			return fd;
		free(here);
		here = again;
	}
	return -ELOOP;
}

FdPath path_of_fd(int fd)
{
	FdPath p;

	snprintf(p.s, sizeof(p.s), "/proc/self/fd/%d", fd);
	return p;
}

/* Takes the last component off the n bytes of `out`, whose first `fixed` bytes stay. */
static size_t drop_last(const char *out, size_t n, size_t fixed)
{
	while (n > fixed && out[n - 1] != '/')
		n--;
	return n > fixed ? n - 1 : n;
}

char *path_clean(const char *path)
{
	bool absolute = path[0] == '/';
	char *out = malloc(strlen(path) + 2);
	size_t n = 0, fixed = 0; /* `fixed`: the "/" or the "../.." in front that ".." cannot take back */

	if (!out)
		return NULL;
	if (absolute) {
		out[n++] = '/';
		fixed = n;
	}
	for (const char *p = path; *p;) {
		size_t len = strcspn(p, "/");
		bool up = len == 2 && p[0] == '.' && p[1] == '.';

		if (up && n > fixed)
			n = drop_last(out, n, fixed);
		else if (len > 0 && !(len == 1 && p[0] == '.') && !(up && absolute)) {
			if (n > 0 && out[n - 1] != '/')
				out[n++] = '/';
			memcpy(out + n, p, len);
			n += len;
			if (up)
				fixed = n;
		}
		p += len;
		p += *p == '/';
	}
	if (n == 0)
		out[n++] = '.';
	out[n] = '\0';
	return out;
}

char *path_join_clean(const char *base, const char *path)
{
	_cleanup_free_ char *joined = path[0] == '/' ? strdup(path) : strf("%s/%s", base, path);

	return joined ? path_clean(joined) : NULL;
}

const char *path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int path_of_own_dir(char **ret)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n < 0)
		return -errno;
	exe[n] = '\0';
	char *slash = strrchr(exe, '/');
	if (!slash)
		return -ENOENT;
	slash[slash == exe] = '\0';
	char *dir = strdup(exe);
	if (!dir)
		return -ENOMEM;
	*ret = dir;
	return 0;
}
