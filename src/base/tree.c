/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and removing directory trees.
 *
 * What is removed was filled by containers and images, so its shape is hostile: nothing is ever
 * named by more than one component at an open descriptor, symlinks are unlinked and never
 * entered, openat2(RESOLVE_NO_XDEV) keeps us out of mounts (bind mounts of the same file system
 * too), and depth is not trusted either: a directory deeper than DEPTH_MAX is moved up into the
 * tree's top and removed from there, so that neither the stack nor the descriptors run out.
 */
#include "base/fd.h"
#include "base/id.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#define DEPTH_MAX  64
#define PASSES_MAX 16 /* over one directory, if somebody keeps filling it */

typedef struct Removal {
	int top;        /* the outermost directory, valid below it */
	size_t hoisted; /* directories moved up so far */
} Removal;

int mkdir_parents_at(int dirfd, const char *path, mode_t mode)
{
	_cleanup_free_ char *prefix = strdup(path);
	struct stat st;

	if (!prefix)
		return -ENOMEM;
	for (char *p = prefix + strspn(prefix, "/"); *p;) {
		char *end = strchrnul(p, '/'), kept = *end;

		*end = '\0';
		if (mkdirat(dirfd, prefix, mode) < 0 && errno != EEXIST)
			return -errno;
		*end = kept;
		p = end + strspn(end, "/");
	}
	if (fstatat(dirfd, path, &st, 0) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int open_on_same_mount(int parent, const char *name)
{
	struct open_how how = {
	    .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
	    .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, parent, name, &how, sizeof(how));

	if (fd < 0)
		return errno == EXDEV ? -EBUSY : -errno;
	return (int)fd;
}

static int hoist(Removal *rm, int parent, const char *name)
{
	char to[32] = ".removed-";

	id_random_hex(to + strlen(to), 16);
	if (renameat(parent, name, rm->top, to) < 0)
		return errno == ENOENT ? 0 : -errno;
	rm->hoisted++;
	return 0;
}

static int remove_directory(Removal *rm, int parent, const char *name, unsigned depth);

static int remove_entry(Removal *rm, int parent, const char *name, unsigned depth)
{
	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR)
		return -errno;
	return depth < DEPTH_MAX ? remove_directory(rm, parent, name, depth) : hoist(rm, parent, name);
}

static int remove_content(Removal *rm, DIR *d, unsigned depth)
{
	for (;;) {
		errno = 0;
		const struct dirent *de = readdir(d);
		if (!de)
			return -errno;
		if (streq(de->d_name, ".") || streq(de->d_name, ".."))
			continue;

		int r = remove_entry(rm, dirfd(d), de->d_name, depth + 1);
		if (r < 0)
			return r;
	}
}

static int remove_directory(Removal *rm, int parent, const char *name, unsigned depth)
{
	_cleanup_close_ int fd = open_on_same_mount(parent, name);
	if (fd < 0)
		return fd == -ENOENT ? 0 : take_fd(&fd);

	_cleanup_(closedirp) DIR *d = fdopendir(fd);
	if (!d)
		return -errno;
	(void)take_fd(&fd);
	if (depth == 0)
		rm->top = dirfd(d);

	/* Again as long as entries are left: readdir() may miss some while others are unlinked, and
	 * what is hoisted turns up in the top. */
	for (int pass = 0; pass < PASSES_MAX;) {
		size_t before = rm->hoisted;
		int r = remove_content(rm, d, depth);

		if (r < 0)
			return r;
		if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != ENOTEMPTY && errno != EEXIST)
			return -errno;
		if (rm->hoisted == before)
			pass++;
		rewinddir(d);
	}
	return -ENOTEMPTY;
}

int remove_tree_at(int dirfd, const char *name)
{
	Removal rm = {.top = -1};
	const char *last;
	_cleanup_close_ int parent = file_open_parent_at(dirfd, name, &last);

	if (parent < 0)
		return parent == -ENOENT ? 0 : take_fd(&parent);
	return remove_entry(&rm, parent, last, 0);
}
