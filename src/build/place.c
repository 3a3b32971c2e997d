/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where in a stage a COPY writes. Its links are followed as a process in the stage would, and lead nowhere else.
 */
#include "build/copy.h"

#include <limits.h>
#include <sys/stat.h>

#define LINKS_MAX 40 /* as the kernel: path_resolution(7) */

/* One directory, of which those above are there. BuildKit gives it the mode of --chmod, too. */
static int make_owned(int root, const char *path, const TreeCopy *how, Err *e)
{
	_cleanup_close_ int there = path_open_in_root(root, path, O_PATH | O_DIRECTORY, 0);
	int fd;

	if (there != -ENOENT)
		return there == -ENOTDIR
			   ? err_new(e, ERR_INVALID, "cannot copy to non-directory: %.500s", path)
		       : there < 0 ? err_sys(e, there, "open the directory %.500s", path)
				   : 0;
	fd = path_mkdir_in_root(root, path, 0755);
	if (fd < 0)
		return err_sys(e, fd, "make the directory %.500s", path);
	/* An O_PATH descriptor. */
	int r = how->set_owner && fchownat(fd, "", how->uid, how->gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
	if (r >= 0 && how->chmod && fchmodat(fd, ".", mode_change_apply(how->chmod, S_IFDIR | 0755), 0) < 0)
		r = -errno;
	(void)close(fd);
	return r < 0 ? err_sys(e, r, "set the owner and the mode of %.500s", path) : 0;
}

int place_directory(int root, const char *dest, const TreeCopy *how, Err *e)
{
	_cleanup_free_ char *prefix = strdup(dest);
	int r = 0, fd;

	if (!prefix)
		return err_oom(e);
	if ((how->set_owner && (how->uid || how->gid)) || how->chmod) {
		for (char *p = prefix + 1; r >= 0 && (p = strchr(p, '/')); *p++ = '/') {
			*p = '\0';
			r = make_owned(root, prefix, how, e);
		}
		if (r >= 0)
			r = make_owned(root, prefix, how, e);
	}
	if (r < 0)
		return r;
	fd = path_mkdir_in_root(root, dest, 0755);
	if (fd == -ENOTDIR)
		return err_new(e, ERR_INVALID, "cannot copy to non-directory: %.500s", dest);
	return fd < 0 ? err_sys(e, fd, "make the directory %.500s", dest) : fd;
}

/* The directory that `path` is in, and what it is called there. */
static int parent_of(int root, const char *path, const TreeCopy *how, const char **ret_name, Err *e)
{
	_cleanup_free_ char *dir = NULL;
	const char *name = path_base(path);

	if (!*name || streq(name, ".") || streq(name, ".."))
		return err_new(e, ERR_INVALID, "cannot copy to %.500s: it names no file", path);
	dir = name == path || name == path + 1 ? strdup("/") : strndup(path, (size_t)(name - path - 1));
	*ret_name = name;
	return dir ? place_directory(root, dir, how, e) : err_oom(e);
}

/* Follows what is a link under that name, to a file or to nothing. */
static int follow(int root, const char *dest, const TreeCopy *how, Place *ret, Err *e)
{
	_cleanup_free_ char *path = strdup(dest);

	for (int links = 0; path && links <= LINKS_MAX; links++) {
		char target[PATH_MAX];
		const char *name;
		_cleanup_close_ int dir = parent_of(root, path, how, &name, e);
		ssize_t n = dir < 0 ? -1 : readlinkat(dir, name, target, sizeof(target) - 1);

		if (dir < 0)
			return dir;
		if (n < 0) {
			ret->name = strdup(name);
			ret->dir = take_fd(&dir);
			return ret->name ? 0 : err_oom(e);
		}
		target[n] = '\0';
		/* Not cleaned: ".." behind a link is up from where that leads. */
		char *next =
		    *target == '/' ? strdup(target) : strf("%.*s%s", (int)(name - path), path, target);
		free(path);
		path = next;
	}
	return path ? err_new(e, ERR_INVALID, "%.500s: too many levels of symbolic links", dest) : err_oom(e);
}

int place_open(int root, const char *dest, bool into, const char *name, const TreeCopy *how, Place *ret,
	       Err *e)
{
	_cleanup_close_ int there = into ? -1 : path_open_in_root(root, dest, O_PATH | O_DIRECTORY, 0);

	*ret = (Place){.dir = -1};
	if (!into && there < 0)
		return follow(root, dest, how, ret, e);
	ret->dir = place_directory(root, dest, how, e);
	if (ret->dir < 0)
		return ret->dir;
	ret->name = strdup(name);
	return ret->name ? 0 : err_oom(e);
}

static int one_as_below(int dir, int to, const char *path, StrBuf *told, Err *e)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return err_sys(e, errno, "look at %.500s", path);
	strbuf_addf(told, "%s %o %u:%u\n", path, st.st_mode, st.st_uid, st.st_gid);
	if (to >= 0 && (fchownat(to, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0 ||
			fchmodat(to, ".", st.st_mode & 07777, 0) < 0))
		return err_sys(e, errno, "set the owner and the mode of %.500s", path);
	return 0;
}

int place_as_below(int below, int root, const char *dest, StrBuf *told, Err *e)
{
	_cleanup_free_ char *path = strdup(dest);
	int dir = fcntl(below, F_DUPFD_CLOEXEC, 3), to = root < 0 ? -1 : fcntl(root, F_DUPFD_CLOEXEC, 3);
	int r = path ? 0 : err_oom(e);

	/* A link is no directory: it gives way to one. */
	for (char *name = path, *end; r >= 0 && *(name += strspn(name, "/")); name = end) {
		char kept = *(end = name + strcspn(name, "/"));

		*end = '\0';
		int next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int next_to = to < 0 ? -1 : openat(to, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close_fd(&dir);
		close_fd(&to);
		dir = next;
		to = next_to;
		if (dir < 0 || (root >= 0 && to < 0))
			break;
		r = one_as_below(dir, to, path, told, e);
		*end = kept;
	}
	close_fd(&dir);
	close_fd(&to);
	return r;
}

void place_done(Place *p)
{
	close_fd(&p->dir);
	free(take_ptr(p->name));
}
