/* SPDX-License-Identifier: Apache-2.0 */
/* Listings and sizes of directory trees that somebody else may be changing; see dir.h. */
#include "store/dir.h"

#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
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

typedef struct Inode {
	struct {
		uint64_t dev, ino;
	} key;
	UT_hash_handle hh;
} Inode;

/* True the first time. Only files with several names are remembered. */
static int first_visit(Inode **seen, const struct stat *st)
{
	Inode *i, probe = {.key = {.dev = st->st_dev, .ino = st->st_ino}};

	if (st->st_nlink < 2)
		return 1;
	HASH_FIND(hh, *seen, &probe.key, sizeof(probe.key), i);
	if (i)
		return 0;
	i = malloc(sizeof(*i));
	if (!i)
		return -ENOMEM;
	*i = probe;
	HASH_ADD(hh, *seen, key, sizeof(i->key), i);
	return 1;
}

static int add_size(int dir_fd, Inode **seen, int depth, int64_t *sum)
{
	_cleanup_strv_ char **names = NULL;
	int r = dir_names(dir_fd, &names);

	for (char **n = names; r >= 0 && n && *n; n++) {
		struct stat st;

		if (fstatat(dir_fd, *n, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			/* A running container deletes files while we count. */
			if (errno != ENOENT)
				r = -errno;
			continue;
		}
		if (S_ISREG(st.st_mode)) {
			r = first_visit(seen, &st);
			if (r > 0)
				*sum += st.st_size;
		} else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
			_cleanup_close_ int sub =
			    openat(dir_fd, *n, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (sub >= 0)
				r = add_size(sub, seen, depth + 1, sum);
			else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
				r = -errno;
		}
	}
	return r < 0 ? r : 0;
}

int dir_size(int dir_fd, int64_t *ret, Err *e)
{
	Inode *seen = NULL, *i, *next;
	int64_t sum = 0;
	int r = add_size(dir_fd, &seen, 0, &sum);

	HASH_ITER (hh, seen, i, next) {
		HASH_DEL(seen, i);
		free(i);
	}
	if (r < 0)
		return err_sys(e, r, "count the bytes of a directory");
	*ret = sum;
	return 0;
}
