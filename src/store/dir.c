/* SPDX-License-Identifier: Apache-2.0 */
/* Trees that somebody else may be changing; the contracts are in dir.h. */
#include "store/dir.h"

#include "base/path.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/xattr.h>
#include <uthash.h>

#define DEPTH_MAX 2048

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int dir_names(int dir_fd, char ***ret)
{
	_cleanup_strv_ char **v = NULL;
	size_t n = 0, cap = 0;
	const struct dirent *de;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	while (errno = 0, (de = readdir(d))) {
		if (streq(de->d_name, ".") || streq(de->d_name, ".."))
			continue;
		if (n + 1 >= cap) {
			char **grown = reallocarray(v, cap ? cap * 2 : 32, sizeof(*v));

			if (!grown) {
				r = -ENOMEM;
				break;
			}
			v = grown;
			cap = cap ? cap * 2 : 32;
		}
		v[n] = strdup(de->d_name);
		v[n + 1] = NULL;
		if (!v[n++]) {
			r = -ENOMEM;
			break;
		}
	}
	if (r >= 0 && errno)
		r = -errno;
	closedir(d);
	if (r < 0)
		return r;
	if (n > 1)
		qsort(v, n, sizeof(*v), compare);
	*ret = take_ptr(v);
	return 0;
}

int dir_open_entry(int dir_fd, const char *name, struct stat *st)
{
	int path_fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), fd;

	if (path_fd < 0)
		return -errno;
	if (fstat(path_fd, st) < 0) {
		fd = -errno;
		(void)close(path_fd);
		return fd;
	}
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
		return path_fd;
	/* Through the descriptor, so that it is the file just examined. */
	fd = open(path_of_fd(path_fd).s, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	(void)close(path_fd);
	return fd;
}

/* ---- hard links ---- */

struct DirSeen {
	struct {
		uint64_t dev, ino;
	} key;
	UT_hash_handle hh;
	char name[];
};

int dir_seen(DirSeen **set, const struct stat *st, const char *name, const char **ret)
{
	DirSeen *s, probe = {.key = {.dev = st->st_dev, .ino = st->st_ino}};
	size_t len = strlen(name) + 1;

	*ret = NULL;
	if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
		return 0;
	HASH_FIND(hh, *set, &probe.key, sizeof(probe.key), s);
	if (s) {
		*ret = s->name;
		return 0;
	}
	s = malloc(sizeof(*s) + len);
	if (!s)
		return -ENOMEM;
	s->key = probe.key;
	memcpy(s->name, name, len);
	HASH_ADD(hh, *set, key, sizeof(s->key), s);
	return 0;
}

void dir_seen_free(DirSeen *set)
{
	DirSeen *s, *next;

	HASH_ITER (hh, set, s, next) {
		HASH_DEL(set, s);
		free(s);
	}
}

/* ---- attributes ---- */

bool dir_xattr_is_opaque(const char *name, const void *value, size_t len)
{
	return streq(name, "trusted.overlay.opaque") && len == 1 && *(const char *)value == 'y';
}

bool dir_xattr_is_reference(const char *name)
{
	return streq(name, "trusted.overlay.redirect") || streq(name, "trusted.overlay.metacopy");
}

int dir_xattrs(int fd, DirXattrFn fn, void *user, Err *e)
{
	_cleanup_free_ char *names = NULL;
	ssize_t len = flistxattr(fd, NULL, 0);
	int r = 0;

	if (len == 0 || (len < 0 && errno == ENOTSUP))
		return 0;
	names = malloc(2 * XATTR_SIZE_MAX);
	if (!names)
		return err_oom(e);
	char *value = names + XATTR_SIZE_MAX;
	len = flistxattr(fd, names, XATTR_SIZE_MAX);
	if (len < 0)
		return err_sys(e, errno, "list the attributes");
	for (const char *p = names; r >= 0 && p < names + len; p += strlen(p) + 1) {
		ssize_t n = fgetxattr(fd, p, value, XATTR_SIZE_MAX);

		if (n >= 0)
			r = fn(user, p, value, (size_t)n, e);
		else if (errno != ENODATA) /* else removed by somebody since it was listed */
			r = err_sys(e, errno, "read the attribute %s", p);
	}
	return r < 0 ? r : 0;
}

/* ---- holes ---- */

int64_t dir_next_data(int fd, int64_t at, int64_t size)
{
	off_t found = lseek(fd, at, SEEK_DATA);

	if (found < 0) /* a file system that cannot tell has data everywhere */
		return errno == ENXIO ? size : at;
	return MIN2((int64_t)found, size);
}

int64_t dir_next_hole(int fd, int64_t at, int64_t size)
{
	off_t found = lseek(fd, at, SEEK_HOLE);

	return found < 0 ? size : MIN2((int64_t)found, size);
}

/* ---- sizes ---- */

static int add_usage(int dir_fd, DirSeen **seen, int depth, DirUsage *sum)
{
	_cleanup_strv_ char **names = NULL;
	int r = dir_names(dir_fd, &names);

	for (char **n = names; r >= 0 && n && *n; n++) {
		const char *met;
		struct stat st;

		if (fstatat(dir_fd, *n, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			/* A running container deletes files while we count. */
			if (errno != ENOENT)
				r = -errno;
			continue;
		}
		r = dir_seen(seen, &st, "", &met);
		if (r < 0 || met)
			continue;
		sum->inodes++;
		sum->allocated += (int64_t)st.st_blocks * 512;
		if (S_ISREG(st.st_mode)) {
			sum->size += st.st_size;
		} else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
			_cleanup_close_ int sub =
			    openat(dir_fd, *n, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (sub >= 0)
				r = add_usage(sub, seen, depth + 1, sum);
			else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
				r = -errno;
		}
	}
	return r < 0 ? r : 0;
}

int dir_usage(int dir_fd, DirUsage *ret, Err *e)
{
	DirSeen *seen = NULL;
	DirUsage sum = {0};
	int r = add_usage(dir_fd, &seen, 0, &sum);

	dir_seen_free(seen);
	if (r < 0)
		return err_sys(e, r, "count the bytes of a directory");
	*ret = sum;
	return 0;
}
