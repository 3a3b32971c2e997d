/* SPDX-License-Identifier: Apache-2.0 */
/* See tar-tree.h. Directories are entered by descriptor, so that a link put in the way leads nowhere. */
#include "tar-tree.h"
#include "base/fd.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>

#define DEPTH_MAX 256

typedef struct Walk {
	TarTree *t;
	const char *prefix;
	int depth;
} Walk;

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int read_names(int dirfd, char ***ret)
{
	_cleanup_strv_ char **names = NULL;
	size_t n = 0, cap = 0;
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedirp) DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		int no = errno;

		closep(&fd);
		return -no;
	}
	for (struct dirent *entry; (errno = 0, entry = readdir(d));) {
		if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
			continue;
		if (n + 2 > cap) {
			char **grown = realloc(names, (cap * 2 + 64) * sizeof(char *));

			if (!grown)
				return -ENOMEM;
			names = grown;
			cap = cap * 2 + 64;
		}
		names[n] = strdup(entry->d_name);
		names[n + 1] = NULL;
		if (!names[n++])
			return -ENOMEM;
	}
	if (errno)
		return -errno;
	if (names)
		qsort(names, n, sizeof(*names), by_name);
	*ret = take_ptr(names);
	return 0;
}

static int add_file(TarTree *t, int dirfd, const char *name, TarEntry *entry, Err *e)
{
	struct stat st;
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "open %s", entry->name);
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "stat %s", entry->name);
	if (!S_ISREG(st.st_mode))
		return err_new(e, ERR_CONFLICT, "%s changed while it was being read", entry->name);
	entry->size = st.st_size;
	int r = tar_write_entry(t->w, entry, e);
	return r ? r : tar_write_fd(t->w, fd, entry->name, e);
}

static int add_link(TarTree *t, int dirfd, const char *name, TarEntry *entry, Err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dirfd, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_sys(e, errno, "read the link %s", entry->name);
	target[n] = '\0';
	entry->link = target;
	return tar_write_entry(t->w, entry, e);
}

static int add_entry(TarTree *t, int dirfd, const char *name, const struct stat *st, const char *as, Err *e)
{
	TarEntry entry = {.name = as,
			  .mode = st->st_mode,
			  .uid = t->as_root ? 0 : st->st_uid,
			  .gid = t->as_root ? 0 : st->st_gid,
			  .mtime = st->st_mtim.tv_sec,
			  .device = st->st_rdev};

	if (S_ISREG(st->st_mode))
		return add_file(t, dirfd, name, &entry, e);
	if (S_ISLNK(st->st_mode))
		return add_link(t, dirfd, name, &entry, e);
	return S_ISSOCK(st->st_mode) ? 0 : tar_write_entry(t->w, &entry, e);
}

int tar_tree_add_one(TarTree *t, int dirfd, const char *name, const char *as, Err *e)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "stat %s", name);
	return add_entry(t, dirfd, name, &st, as, e);
}

static int walk(Walk *w, int dirfd, const char *path, Err *e);

static int visit(Walk *w, int dirfd, const char *name, const char *path, Err *e)
{
	struct stat st;
	TreeChoice choice = TREE_TAKE;
	int r = 0;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "stat %s", path);
	if (w->t->choose)
		choice = w->t->choose(w->t->user, path, S_ISDIR(st.st_mode));
	if (choice == TREE_SKIP)
		return 0;
	if (choice == TREE_TAKE) {
		_cleanup_free_ char *as = strf("%s%s%s", w->prefix, *w->prefix ? "/" : "", path);

		r = as ? add_entry(w->t, dirfd, name, &st, as, e) : err_oom(e);
	}
	if (r != 0 || !S_ISDIR(st.st_mode))
		return r;
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_sys(e, errno, "open %s", path) : walk(w, fd, path, e);
}

static int walk(Walk *w, int dirfd, const char *path, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int r = read_names(dirfd, &names);

	if (r < 0)
		return err_sys(e, r, "read the directory %s", *path ? path : ".");
	if (++w->depth > DEPTH_MAX)
		return err_new(e, ERR_INVALID, "%s: directories are nested more than %d deep", path,
			       DEPTH_MAX);
	for (size_t i = 0; r == 0 && names && names[i]; i++) {
		_cleanup_free_ char *child = *path ? strf("%s/%s", path, names[i]) : strdup(names[i]);

		r = child ? visit(w, dirfd, names[i], child, e) : err_oom(e);
	}
	w->depth--;
	return r;
}

int tar_tree_add_directory(TarTree *t, int dirfd, const char *prefix, Err *e)
{
	return walk(&(Walk){.t = t, .prefix = prefix}, dirfd, "", e);
}
