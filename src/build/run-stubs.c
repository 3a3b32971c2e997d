/* SPDX-License-Identifier: Apache-2.0 */
#include "build/run-stubs.h"

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

#include <sys/stat.h>

struct Stubs {
	char **paths; /* without leading slash, as they are in the upper directory; parents before children */
};

void stubs_free(Stubs *stubs)
{
	if (!stubs)
		return;
	strv_free(stubs->paths);
	free(stubs);
}

/* Where a path of the container really lies: links in it are followed inside the root. malloc'ed; without leading slash. */
static int real_path(int root, const char *path, char **ret, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(root, path, O_PATH, 0);
	_cleanup_free_ char *self = NULL, *top_self = strf("/proc/self/fd/%d", root);
	char there[4096], top[4096];
	ssize_t n, t;

	if (fd < 0)
		return fd;
	self = strf("/proc/self/fd/%d", fd);
	if (!self || !top_self)
		return err_oom(e);
	n = readlink(self, there, sizeof(there) - 1);
	t = readlink(top_self, top, sizeof(top) - 1);
	if (n < 0 || t < 0)
		return err_sys(e, errno, "find where %s is", path);
	there[n] = top[t] = '\0';
	/* In a detached mount paths begin at its root. */
	const char *rest = streq(top, "/") ? there : str_after(there, top) ?: there;
	*ret = strdup(*rest == '/' ? rest + 1 : rest);
	return *ret ? 0 : err_oom(e);
}

/* Adds the components of target that are not there. */
static int missing(int root, const char *target, Stubs *stubs, Err *e)
{
	_cleanup_strv_ char **parts = strv_split(target + 1, '/');
	_cleanup_free_ char *at = strdup(""), *asked = strdup("");
	bool gone = false;

	if (!parts || !at || !asked)
		return err_oom(e);
	for (size_t i = 0; parts[i]; i++) {
		_cleanup_free_ char *next = strf("%s/%s", asked, parts[i]), *real = NULL;
		int r = !next ? -ENOMEM : gone || root < 0 ? -ENOENT : real_path(root, next, &real, e);

		if (r < 0 && r != -ENOENT && r != -ENOTDIR)
			return r == -ENOMEM ? err_oom(e) : r == -ELOOP ? 0 : r;
		if (r < 0) {
			gone = true;
			real = strf("%s%s%s", at, *at ? "/" : "", parts[i]);
			if (!real || (!strv_has(stubs->paths, real) && strv_add(&stubs->paths, real) < 0))
				return err_oom(e);
		}
		free(at);
		at = take_ptr(real);
		free(asked);
		asked = take_ptr(next);
	}
	return 0;
}

int stubs_find(Store *s, const char *chain, char *const *targets, Stubs **ret, Err *e)
{
	_cleanup_close_ int root = -1;
	Stubs *stubs = calloc(1, sizeof(*stubs));
	int r = stubs ? 0 : err_oom(e);

	if (r >= 0 && chain)
		r = store_layers_mount(s, chain, &root, e);
	for (size_t i = 0; r >= 0 && targets[i]; i++)
		r = missing(root, targets[i], stubs, e);
	if (r < 0)
		stubs_free(stubs);
	else
		*ret = stubs;
	return r;
}

/* A directory that the step has made a link is not the stub any more. */
static int open_plain(int root, char *dir)
{
	int at = fcntl(root, F_DUPFD_CLOEXEC, 3);
	char *rest = NULL;

	for (char *name = strtok_r(dir, "/", &rest); name && at >= 0; name = strtok_r(NULL, "/", &rest)) {
		int next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		close(at);
		at = next;
	}
	return at;
}

static int remove_one(int upper, const char *path, Err *e)
{
	_cleanup_close_ int parent = -1;
	_cleanup_free_ char *dir = strdup(path);
	const char *name = path_base(path);
	struct stat st;
	int flags;

	if (!dir)
		return err_oom(e);
	dir[name > path ? name - path - 1 : 0] = '\0';
	parent = open_plain(upper, dir);
	if (parent < 0 || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (!S_ISDIR(st.st_mode) && !(S_ISREG(st.st_mode) && st.st_size == 0))
		return 0;
	flags = S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0;
	if (unlinkat(parent, name, flags) < 0 && errno != ENOTEMPTY && errno != EEXIST)
		return err_sys(e, errno, "remove the mount point %s", path);
	return 0;
}

int stubs_remove(const Stubs *stubs, const char *upper, Err *e)
{
	_cleanup_close_ int fd = open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return err_sys(e, errno, "open %s", upper);
	for (size_t i = strv_len(stubs->paths); r >= 0 && i-- > 0;)
		r = remove_one(fd, stubs->paths[i], e);
	return r;
}
