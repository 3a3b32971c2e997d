/* SPDX-License-Identifier: Apache-2.0 */
/* See extract.h. */
#include "extract.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/time.h>

/* Times of directories are set last, because filling them changes them. */
typedef struct DirTime {
	char *path;
	int64_t mtime;
} DirTime;

typedef struct DirTimes {
	DirTime *items;
	size_t n;
} DirTimes;

/* The entry's path below the target: its first component replaced. "" for the top directory itself. */
static char *place(const Extract *x, const char *entry)
{
	_cleanup_free_ char *rooted = strf("/%s", entry), *clean = rooted ? path_clean(rooted) : NULL;
	const char *rest;

	if (!clean)
		return NULL;
	if (x->whole)
		return strdup(clean + 1);
	/* Entries of "dir/." have no top component: "./a". */
	if (str_starts(entry, "./") || streq(entry, ".")) {
		rest = clean + 1;
	} else {
		rest = clean + 1 + strcspn(clean + 1, "/");
		rest += *rest == '/';
	}
	if (!*x->name)
		return strdup(rest);
	return *rest ? strf("%s/%s", x->name, rest) : strdup(x->name);
}

static int set_attributes(const Extract *x, int parent, const char *name, const TarEntry *t)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)t->mtime}};
	mode_t mode = t->mode & (x->keep_owner ? 07777 : 01777);

	if (x->keep_owner && fchownat(parent, name, t->uid, t->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISLNK(t->mode) && fchmodat(parent, name, mode, 0) < 0)
		return -errno;
	return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_contents(Extract *x, TarReader *r, int fd, Err *e)
{
	char buf[65536];

	for (;;) {
		ssize_t n = tar_reader_data(r, buf, sizeof(buf), e);

		if (n <= 0)
			return (int)n;
		int bad = fd_write_all(fd, buf, (size_t)n);
		if (bad < 0)
			return err_sys(e, bad, "write");
		x->bytes += n;
	}
}

static int make_file(Extract *x, TarReader *r, int parent, const char *name, Err *e)
{
	_cleanup_close_ int fd =
	    openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? err_sys(e, errno, "create") : copy_contents(x, r, fd, e);
}

static int make_hard_link(const Extract *x, int parent, const char *name, const char *link, Err *e)
{
	_cleanup_free_ char *from = place(x, link);
	const char *base;
	_cleanup_close_ int from_parent =
	    from && *from ? path_open_parent_in_root(x->dirfd, from, false, &base) : -EINVAL;

	if (from_parent < 0)
		return err_sys(e, from_parent, "hard link to %s", link);
	return linkat(from_parent, base, parent, name, 0) < 0 ? err_sys(e, errno, "hard link to %s", link)
							      : 0;
}

static int make_directory(int parent, const char *name, Err *e)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		return err_new(e, ERR_CONFLICT, "cannot overwrite non-directory with directory");
	}
	return mkdirat(parent, name, 0700) < 0 ? err_sys(e, errno, "create the directory") : 0;
}

static int clear_way(int parent, const char *name, Err *e)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "stat");
	if (S_ISDIR(st.st_mode))
		return err_new(e, ERR_CONFLICT, "cannot overwrite directory with non-directory");
	return unlinkat(parent, name, 0) < 0 ? err_sys(e, errno, "replace") : 0;
}

static int make_entry(Extract *x, TarReader *r, int parent, const char *name, const TarEntry *t, Err *e)
{
	int bad;

	if (S_ISDIR(t->mode))
		return make_directory(parent, name, e);
	bad = clear_way(parent, name, e);
	if (bad < 0)
		return bad;
	if (t->hard)
		return make_hard_link(x, parent, name, t->link, e);
	if (S_ISREG(t->mode))
		return make_file(x, r, parent, name, e);
	if (S_ISLNK(t->mode))
		return symlinkat(t->link, parent, name) < 0 ? err_sys(e, errno, "create the link") : 0;
	return mknodat(parent, name, t->mode & (S_IFMT | 0600), t->device) < 0
		   ? err_sys(e, errno, "create the special file")
		   : 0;
}

static int remember(DirTimes *d, const char *path, int64_t mtime)
{
	DirTime *grown = realloc(d->items, (d->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	d->items = grown;
	d->items[d->n] = (DirTime){strdup(path), mtime};
	return d->items[d->n++].path ? 0 : -ENOMEM;
}

static void finish_times(const Extract *x, DirTimes *d)
{
	for (size_t i = d->n; i > 0; i--) {
		struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
					    {.tv_sec = (time_t)d->items[i - 1].mtime}};
		const char *name;
		_cleanup_close_ int parent =
		    path_open_parent_in_root(x->dirfd, d->items[i - 1].path, false, &name);

		/* A time that cannot be set is no loss of data. */
		if (parent >= 0)
			(void)utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW);
		free(d->items[i - 1].path);
	}
	free(d->items);
}

static int extract_one(Extract *x, TarReader *r, const TarEntry *t, DirTimes *times, Err *e)
{
	_cleanup_free_ char *path = place(x, t->name);
	const char *name;
	int bad;

	if (!path)
		return err_oom(e);
	/* The target directory itself exists and keeps its own mode. */
	if (!*path)
		return 0;
	_cleanup_close_ int parent = path_open_parent_in_root(x->dirfd, path, true, &name);
	if (parent < 0)
		return err_sys(e, parent, "%s: open its directory", path);
	bad = make_entry(x, r, parent, name, t, e);
	if (bad == 0 && !t->hard) {
		bad = set_attributes(x, parent, name, t);
		if (bad < 0)
			bad = err_sys(e, bad, "set mode and owner");
	}
	if (bad == 0 && S_ISDIR(t->mode) && remember(times, path, t->mtime) < 0)
		return err_oom(e);
	return err_ctx(e, bad, "%s", path);
}

int extract_all(Extract *x, TarReader *r, Err *e)
{
	DirTimes times = {0};
	TarEntry t;
	int n;

	while ((n = tar_reader_next(r, &t, e)) > 0) {
		n = extract_one(x, r, &t, &times, e);
		if (n < 0)
			break;
	}
	finish_times(x, &times);
	return n;
}
