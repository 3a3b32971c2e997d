/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a step has changed becomes a layer.
 *
 * With the build argument SOURCE_DATE_EPOCH no file of the layer is younger than that: the same inputs give the same bytes whenever they are built.
 * The tree is the step's, so it is walked by descriptor and no link is followed.
 */
#include "build/build-internal.h"

#include <dirent.h>
#include <sys/stat.h>

#define DEPTH_MAX 4096 /* as deep as paths are long */

int build_epoch(const Build *b, int64_t *ret_ns, Err *e)
{
	const char *epoch = strv_env_get(b->rq->args, "SOURCE_DATE_EPOCH");

	if (str_empty(epoch))
		return 0;
	if (strspn(epoch, "0123456789") != strlen(epoch) || strlen(epoch) > 11 ||
	    clock_parse(epoch, ret_ns) < 0)
		return err_new(e, ERR_INVALID,
			       "build argument SOURCE_DATE_EPOCH=%.40s: expected seconds since 1970", epoch);
	return 1;
}

static int64_t ns_of(const struct timespec *t)
{
	return t->tv_sec * 1000000000LL + t->tv_nsec;
}

static int clamp_one(int dir, const char *name, const struct stat *st, int64_t epoch)
{
	const struct timespec at = {epoch / 1000000000LL, epoch % 1000000000LL};

	if (ns_of(&st->st_mtim) <= epoch)
		return 0;
	return utimensat(dir, name, (struct timespec[]){at, at}, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* Children before their directory, whose time they do not change. */
static int clamp_tree(int at, const char *name, int64_t epoch, int depth)
{
	struct dirent *d;
	struct stat st;
	DIR *dir;
	int fd, r = 0;

	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return clamp_one(at, name, &st, epoch);
	if (depth > DEPTH_MAX)
		return -ENAMETOOLONG;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		r = -errno;
		close_fd(&fd);
		return r;
	}
	while (r >= 0 && (d = readdir(dir)))
		if (!streq(d->d_name, ".") && !streq(d->d_name, ".."))
			r = clamp_tree(dirfd(dir), d->d_name, epoch, depth + 1);
	closedir(dir);
	return r < 0 ? r : clamp_one(at, name, &st, epoch);
}

static int clamp(Build *b, const char *upper, Err *e)
{
	int64_t epoch;
	int r = build_epoch(b, &epoch, e);

	if (r <= 0)
		return r;
	r = clamp_tree(AT_FDCWD, upper, epoch, 0);
	return r < 0 ? err_sys(e, r, "set the times of what the step has made") : 0;
}

int step_commit(Build *b, const Stage *s, const char *upper, CacheHit *ret, Err *e)
{
	return step_commit_on(b, s->chain, upper, ret, e);
}

int step_commit_on(Build *b, const char *parent, const char *upper, CacheHit *ret, Err *e)
{
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	int64_t size;
	bool empty;
	int r = clamp(b, upper, e);

	if (r >= 0)
		r = store_layer_commit_upper(b->store, parent, upper, true, chain, diff, &size, &empty, e);
	if (r < 0)
		return r;
	*ret = (CacheHit){
	    .chain = empty ? (parent ? strdup(parent) : NULL) : strdup(chain),
	    .diff = empty ? NULL : strdup(diff),
	    .empty = empty,
	    .created_ns = clock_now_ns(),
	};
	return !empty && (!ret->chain || !ret->diff) ? err_oom(e) : 0;
}
