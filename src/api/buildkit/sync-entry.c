/* SPDX-License-Identifier: Apache-2.0 */
/* The entries of a directory that is received: see filesync.c. */
#include "api/buildkit/sync-internal.h"

#include "base/path.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ENTRIES_MAX 4000000
#define DEPTH_MAX   1000
#define XATTRS_MAX  64

/* Bits of Go's FileMode. */
#define GO_DIR     (1u << 31)
#define GO_SYMLINK (1u << 27)
#define GO_DEVICE  (1u << 26)
#define GO_FIFO    (1u << 25)
#define GO_SOCKET  (1u << 24)
#define GO_SETUID  (1u << 23)
#define GO_SETGID  (1u << 22)
#define GO_CHAR    (1u << 21)
#define GO_STICKY  (1u << 20)
#define GO_TYPE    (GO_DIR | GO_SYMLINK | GO_DEVICE | GO_FIFO | GO_SOCKET | GO_CHAR | 1u << 19)

mode_t sync_mode(uint32_t go)
{
	mode_t mode = go & 0777;

	mode |= go & GO_SETUID ? S_ISUID : 0;
	mode |= go & GO_SETGID ? S_ISGID : 0;
	mode |= go & GO_STICKY ? S_ISVTX : 0;
	switch (go & GO_TYPE) {
	case 0:
		return mode | S_IFREG;
	case GO_DIR:
		return mode | S_IFDIR;
	case GO_SYMLINK:
		return mode | S_IFLNK;
	case GO_FIFO:
		return mode | S_IFIFO;
	case GO_DEVICE:
		return mode | S_IFBLK;
	case GO_DEVICE | GO_CHAR:
		return mode | S_IFCHR;
	default:
		return 0;
	}
}

uint32_t sync_go_mode(mode_t mode)
{
	uint32_t go = mode & 0777;

	go |= mode & S_ISUID ? GO_SETUID : 0;
	go |= mode & S_ISGID ? GO_SETGID : 0;
	go |= mode & S_ISVTX ? GO_STICKY : 0;
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return go | GO_DIR;
	case S_IFLNK:
		return go | GO_SYMLINK;
	case S_IFIFO:
		return go | GO_FIFO;
	case S_IFSOCK:
		return go | GO_SOCKET;
	case S_IFBLK:
		return go | GO_DEVICE;
	case S_IFCHR:
		return go | GO_DEVICE | GO_CHAR;
	default:
		return go;
	}
}

struct timespec sync_time(int64_t ns)
{
	struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	if (t.tv_nsec < 0) {
		t.tv_nsec += 1000000000;
		t.tv_sec--;
	}
	return t;
}

/* ---- directories ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_old(Dir *d)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	const struct dirent *entry;
	int fd = fcntl(d->fd, F_DUPFD_CLOEXEC, 3), r = 0;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		r = -errno;
		close_fd(&fd);
		return r;
	}
	rewinddir(dir);
	errno = 0;
	while (r >= 0 && (entry = readdir(dir)))
		if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
			r = strv_add(&d->old, entry->d_name);
	d->n_old = strv_len(d->old);
	if (d->n_old)
		qsort(d->old, d->n_old, sizeof(char *), by_name);
	return r;
}

/* Takes fd. */
static int push(Receiver *x, int fd, const char *path, int64_t mtime_ns, bool fresh, Err *e)
{
	Dir *grown = x->n_dirs < DEPTH_MAX ? reallocarray(x->dirs, x->n_dirs + 1, sizeof(*grown)) : NULL;
	Dir *d;
	int r;

	if (!grown) {
		close_fd(&fd);
		return x->n_dirs < DEPTH_MAX ? err_oom(e)
					     : sync_fail(x, path, "directories are nested too deep", e);
	}
	x->dirs = grown;
	d = &grown[x->n_dirs++];
	*d = (Dir){.fd = fd, .path = strdup(path), .last = strdup(""), .mtime_ns = mtime_ns};
	if (!d->path || !d->last)
		return err_oom(e);
	r = fresh ? 0 : list_old(d);
	return r < 0 ? err_sys(e, r, "list %s of the directory %s", path, x->rq->name) : 0;
}

static void dir_done(Dir *d)
{
	close_fd(&d->fd);
	free(d->path);
	free(d->last);
	strv_free(d->old);
}

void sync_dirs_done(Receiver *x)
{
	while (x->n_dirs > 0)
		dir_done(&x->dirs[--x->n_dirs]);
	free(take_ptr(x->dirs));
}

static int remove_old(Receiver *x, Dir *d, const char *name, Err *e)
{
	int r = remove_tree_at(d->fd, name);

	return r < 0 ? err_sys(e, r, "remove %s of the directory %s", name, x->rq->name) : 0;
}

/* No more of it comes. */
static int pop(Receiver *x, Err *e)
{
	Dir *d = &x->dirs[x->n_dirs - 1];
	const struct timespec times[] = {{.tv_nsec = UTIME_NOW}, sync_time(d->mtime_ns)};
	int r = 0;

	while (r >= 0 && d->at < d->n_old)
		r = remove_old(x, d, d->old[d->at++], e);
	if (r >= 0 && x->n_dirs > 1 && futimens(d->fd, times) < 0)
		r = err_sys(e, errno, "set the time of %s of the directory %s", d->path, x->rq->name);
	dir_done(d);
	x->n_dirs--;
	return r;
}

int sync_begin(Receiver *x, Err *e)
{
	int fd = openat(x->rq->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, errno, "open the directory %s", x->rq->name)
		      : push(x, fd, "", 0, x->rq->fresh, e);
}

int sync_listed(Receiver *x, Err *e)
{
	int r = 0;

	while (r >= 0 && x->n_dirs > 0)
		r = pop(x, e);
	return r;
}

/* ---- entries ---- */

/* The directory that an entry is in, which is among those that the list is in, and its name there. */
static int enter(Receiver *x, const char *path, Dir **ret, const char **ret_name, Err *e)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t len = slash ? (size_t)(slash - path) : 0;
	Dir *d;
	int r = 0;

	if (!*name || streq(name, ".") || streq(name, "..") || strlen(name) > NAME_MAX ||
	    strlen(path) >= PATH_MAX)
		return sync_fail(x, path, "no name of a file", e);
	while (r >= 0 && x->n_dirs > 1 &&
	       (strlen(x->dirs[x->n_dirs - 1].path) != len ||
		memcmp(x->dirs[x->n_dirs - 1].path, path, len) != 0))
		r = pop(x, e);
	if (r < 0)
		return r;
	d = &x->dirs[x->n_dirs - 1];
	if (strlen(d->path) != len || (slash && len == 0) || strcmp(d->last, name) >= 0)
		return sync_fail(x, path, "changes out of order", e);
	free(d->last);
	d->last = strdup(name);
	*ret = d;
	*ret_name = name;
	return d->last ? 0 : err_oom(e);
}

/* What lies between the entry before and this one was removed by the client. -> whether there is something of this name. */
static int advance(Receiver *x, Dir *d, const char *name, Err *e)
{
	int r = 0, order;

	while (r >= 0 && d->at < d->n_old) {
		order = strcmp(d->old[d->at], name);
		if (order > 0)
			return 0;
		if (order == 0) {
			d->at++;
			return 1;
		}
		r = remove_old(x, d, d->old[d->at++], e);
	}
	return r;
}

static void set_xattrs(int fd, const Llb__Stat *st)
{
	for (size_t i = 0; i < MIN2(st->n_xattrs, (size_t)XATTRS_MAX); i++) {
		const Llb__Bytes *a = st->xattrs[i];

		/* Others are the machine's that it comes from (SELinux), or more than a build may say. A file system without them has none. */
		if (str_starts(a->key, "user.") || streq(a->key, "security.capability"))
			(void)!fsetxattr(fd, a->key, a->value.data, a->value.len, 0);
	}
}

static int make_dir(Receiver *x, Dir *d, const char *name, const Llb__Stat *st, bool there, Err *e)
{
	mode_t mode = sync_mode(st->mode) & 07777;
	struct stat old;
	bool fresh = true;
	int fd, r = 0;

	if (there && fstatat(d->fd, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(old.st_mode))
		fresh = false;
	else if (there)
		r = remove_old(x, d, name, e);
	if (r >= 0 && fresh && mkdirat(d->fd, name, 0700) < 0)
		r = err_sys(e, errno, "make %s of the directory %s", st->path, x->rq->name);
	if (r < 0)
		return r;
	fd = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s of the directory %s", st->path, x->rq->name);
	if ((fresh || (old.st_mode & 07777) != mode) && fchmod(fd, mode) < 0) {
		r = err_sys(e, errno, "set the mode of %s of the directory %s", st->path, x->rq->name);
		close_fd(&fd);
		return r;
	}
	set_xattrs(fd, st);
	return push(x, fd, st->path, st->mod_time, fresh, e);
}

static int make_link(Receiver *x, Dir *d, const char *name, const Llb__Stat *st, bool there, Err *e)
{
	const struct timespec times[] = {{.tv_nsec = UTIME_NOW}, sync_time(st->mod_time)};
	char target[PATH_MAX];
	ssize_t n = there ? readlinkat(d->fd, name, target, sizeof(target)) : -1;
	int r = 0;

	if (n < 0 || (size_t)n != strlen(st->linkname) || memcmp(target, st->linkname, (size_t)n) != 0) {
		if (there)
			r = remove_old(x, d, name, e);
		if (r >= 0 && symlinkat(st->linkname, d->fd, name) < 0)
			r = err_sys(e, errno, "make %s of the directory %s", st->path, x->rq->name);
	}
	if (r >= 0 && utimensat(d->fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		r = err_sys(e, errno, "set the time of %s of the directory %s", st->path, x->rq->name);
	return r;
}

/* To a file that was listed before. */
static int make_hard_link(Receiver *x, Dir *d, const char *name, const Llb__Stat *st, bool there, Err *e)
{
	_cleanup_close_ int fd = path_open_beneath(x->rq->root, st->linkname, O_PATH | O_NOFOLLOW);
	struct stat to, old;

	if (fd < 0 || fstat(fd, &to) < 0 || !S_ISREG(to.st_mode))
		return sync_fail(x, st->path, "a link to what is no file of this directory", e);
	if (there && fstatat(d->fd, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && old.st_ino == to.st_ino &&
	    old.st_dev == to.st_dev)
		return 0;
	if (there) {
		int r = remove_old(x, d, name, e);

		if (r < 0)
			return r;
	}
	if (linkat(AT_FDCWD, path_of_fd(fd).s, d->fd, name, AT_SYMLINK_FOLLOW) < 0)
		return err_sys(e, errno, "link %s of the directory %s", st->path, x->rq->name);
	return 0;
}

static bool same_file(const struct stat *old, const Llb__Stat *st)
{
	struct timespec t = sync_time(st->mod_time);

	return S_ISREG(old->st_mode) && old->st_size == st->size &&
	       (old->st_mode & 07777) == (sync_mode(st->mode) & 07777) && old->st_mtim.tv_sec == t.tv_sec &&
	       old->st_mtim.tv_nsec == t.tv_nsec;
}

static int make_file(Receiver *x, Dir *d, const char *name, const Llb__Stat *st, bool there, Err *e)
{
	Wanted w = {.id = x->next_id - 1,
		    .size = st->size,
		    .mtime_ns = st->mod_time,
		    .mode = sync_mode(st->mode) & 07777};
	struct stat old;
	int r = 0, fd;

	if (st->size < 0)
		return sync_fail(x, st->path, "a size below zero", e);
	if (there && fstatat(d->fd, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && same_file(&old, st))
		return 0;
	if (there)
		r = remove_old(x, d, name, e);
	if (r < 0)
		return r;
	fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, errno, "make %s of the directory %s", st->path, x->rq->name);
	set_xattrs(fd, st);
	return sync_want(x, w, st->path, fd, e);
}

static int make_fifo(Receiver *x, Dir *d, const char *name, const Llb__Stat *st, bool there, Err *e)
{
	mode_t mode = sync_mode(st->mode);
	int r = there ? remove_old(x, d, name, e) : 0;

	if (r >= 0 && (mkfifoat(d->fd, name, 0600) < 0 || fchmodat(d->fd, name, mode & 07777, 0) < 0))
		r = err_sys(e, errno, "make %s of the directory %s", st->path, x->rq->name);
	return r;
}

int sync_entry(Receiver *x, const Llb__Stat *st, Err *e)
{
	mode_t mode = sync_mode(st->mode);
	const char *name = NULL;
	Dir *d = NULL;
	int r = enter(x, st->path, &d, &name, e), there;

	if (r < 0)
		return r;
	if (x->next_id++ >= ENTRIES_MAX)
		return sync_fail(x, st->path, "too many files", e);
	there = advance(x, d, name, e);
	if (there < 0)
		return there;
	if (S_ISDIR(mode))
		return make_dir(x, d, name, st, there, e);
	if (S_ISLNK(mode))
		return make_link(x, d, name, st, there, e);
	if (S_ISREG(mode) && *st->linkname)
		return make_hard_link(x, d, name, st, there, e);
	if (S_ISREG(mode))
		return make_file(x, d, name, st, there, e);
	if (S_ISFIFO(mode))
		return make_fifo(x, d, name, st, there, e);
	return sync_fail(x, st->path,
			 "neither file, directory, link nor named pipe: leave it out with .dockerignore", e);
}
