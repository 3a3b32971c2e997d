/* SPDX-License-Identifier: Apache-2.0 */
/* Walking and describing; the rules are in tar-walk.h. */
#include "store/tar-walk.h"

#include "base/path.h"
#include "base/str.h"
#include "store/dir.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <uthash.h>

#define DEPTH_MAX      512 /* a descriptor each */
#define XATTR_LIST_MAX 65536

typedef struct Seen {
	struct {
		uint64_t dev, ino;
	} key;
	char *name; /* in the archive */
	UT_hash_handle hh;
} Seen;

typedef struct Walk {
	TarWriter *w;
	int flags;
	int depth;
	Seen *seen;
} Walk;

static void walk_done(Walk *k)
{
	Seen *s, *next;

	HASH_ITER (hh, k->seen, s, next) {
		HASH_DEL(k->seen, s);
		free(s->name);
		free(s);
	}
}

/* The name under which the same file was written before, or NULL; it is remembered. */
static int find_seen(Walk *k, const struct stat *st, const char *as, const char **ret)
{
	Seen *s, probe = {.key = {.dev = st->st_dev, .ino = st->st_ino}};

	*ret = NULL;
	if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
		return 0;
	HASH_FIND(hh, k->seen, &probe.key, sizeof(probe.key), s);
	if (s) {
		*ret = s->name;
		return 0;
	}
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = probe;
	s->name = strdup(as);
	if (!s->name) {
		free(s);
		return -ENOMEM;
	}
	HASH_ADD(hh, k->seen, key, sizeof(s->key), s);
	return 0;
}

/* ---- extended attributes ---- */

static void free_xattrs(TarEntry *n)
{
	for (size_t i = 0; i < n->n_xattrs; i++) {
		free(n->xattrs[i].name);
		free(n->xattrs[i].value);
	}
	free(n->xattrs);
	n->xattrs = NULL;
	n->n_xattrs = 0;
}

static int compare_xattrs(const void *a, const void *b)
{
	return strcmp(((const TarXattr *)a)->name, ((const TarXattr *)b)->name);
}

/* Attributes with which overlayfs rearranges what it shows: a tar cannot say that, and silence would lose files. */
static bool is_overlay_puzzle(const char *name)
{
	return streq(name, "trusted.overlay.redirect") || streq(name, "trusted.overlay.metacopy");
}

static int add_xattr(TarEntry *n, const char *path, const char *name, Err *e)
{
	TarXattr *grown = reallocarray(n->xattrs, n->n_xattrs + 1, sizeof(*grown));
	TarXattr *x;
	ssize_t len;

	if (!grown)
		return err_oom(e);
	n->xattrs = grown;
	x = &grown[n->n_xattrs];
	*x = (TarXattr){.name = strdup(name), .value = malloc(XATTR_LIST_MAX)};
	len = x->name && x->value ? getxattr(path, name, x->value, XATTR_LIST_MAX) : -1;
	if (len < 0) {
		int no = x->name && x->value ? errno : ENOMEM;

		free(x->name);
		free(x->value);
		/* Removed by somebody else since it was listed. */
		return no == ENODATA ? 0 : err_sys(e, no, "read the attribute %s of %s", name, n->name);
	}
	x->len = (size_t)len;
	n->n_xattrs++;
	return 0;
}

/* Of an open file; through /proc/self/fd, because an O_PATH descriptor has no xattr calls. *ret_opaque: overlayfs's mark. */
static int read_xattrs(Walk *k, int fd, TarEntry *n, bool *ret_opaque, Err *e)
{
	FdPath path = path_of_fd(fd);
	_cleanup_free_ char *names = NULL;
	ssize_t len = listxattr(path.s, NULL, 0);
	char mark;

	*ret_opaque = false;
	if (len == 0 || (len < 0 && errno == ENOTSUP))
		return 0;
	names = malloc(XATTR_LIST_MAX);
	if (!names)
		return err_oom(e);
	len = listxattr(path.s, names, XATTR_LIST_MAX);
	if (len < 0)
		return err_sys(e, errno, "list the attributes of %s", n->name);
	for (const char *p = names; p < names + len; p += strlen(p) + 1) {
		int r = 0;

		if ((k->flags & TAR_WALK_OVERLAY) && is_overlay_puzzle(p))
			return err_new(e, ERR_UNSUPPORTED,
				       "%s carries %s: mount overlayfs with redirect_dir=off,metacopy=off",
				       n->name, p);
		if (streq(p, "trusted.overlay.opaque"))
			*ret_opaque = getxattr(path.s, p, &mark, 1) == 1 && mark == 'y';
		else if (tar_xattr_is_wanted(p))
			r = add_xattr(n, path.s, p, e);
		if (r < 0)
			return r;
	}
	if (n->n_xattrs > 1)
		qsort(n->xattrs, n->n_xattrs, sizeof(*n->xattrs), compare_xattrs);
	return 0;
}

/* ---- entries ---- */

static int walk_names(Walk *k, int dir_fd, const char *as, Err *e);

static void describe(const struct stat *st, TarEntry *n)
{
	n->mode = st->st_mode & 07777;
	n->uid = st->st_uid;
	n->gid = st->st_gid;
	n->mtime_s = st->st_mtim.tv_sec;
	n->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
}

static int write_whiteout(Walk *k, const char *dir, const char *name, const struct stat *st, Err *e)
{
	_cleanup_free_ char *path = strf("%s.wh.%s", dir, name);
	TarEntry n = {.type = TAR_FILE, .name = path};

	if (!path)
		return err_oom(e);
	/* Without times: that a file was deleted is all there is to say. */
	return tar_write_header(k->w, &n, e);
}

static int write_dir(Walk *k, int fd, const char *as, const struct stat *st, Err *e)
{
	_cleanup_free_ char *name = strf("%s/", as);
	_cleanup_(free_xattrs) TarEntry n = {.type = TAR_DIR, .name = name};
	bool opaque;
	int r;

	if (!name)
		return err_oom(e);
	describe(st, &n);
	r = read_xattrs(k, fd, &n, &opaque, e);
	if (r >= 0)
		r = tar_write_header(k->w, &n, e);
	if (r >= 0 && opaque && (k->flags & TAR_WALK_OVERLAY))
		r = write_whiteout(k, name, ".wh..opq", st, e);
	if (r < 0)
		return r;
	if (++k->depth > DEPTH_MAX)
		return err_new(e, ERR_UNSUPPORTED, "%.200s...: more than %d directories deep", as, DEPTH_MAX);
	r = walk_names(k, fd, name, e);
	k->depth--;
	return r;
}

static int write_file(Walk *k, int fd, const char *as, const struct stat *st, Err *e)
{
	_cleanup_(free_xattrs)
	    TarEntry n = {.type = TAR_FILE, .name = (char *)(uintptr_t)as, .size = st->st_size};
	bool opaque;
	int r;

	describe(st, &n);
	r = read_xattrs(k, fd, &n, &opaque, e);
	if (r >= 0)
		r = tar_write_header(k->w, &n, e);
	return r < 0 ? r : tar_write_from(k->w, fd, n.size, e);
}

/* Links, devices, fifos: what is not opened for reading. */
static int write_other(Walk *k, int fd, const char *as, const struct stat *st, Err *e)
{
	TarEntry n = {.name = (char *)(uintptr_t)as};
	char target[PATH_MAX];
	ssize_t len;

	describe(st, &n);
	switch (st->st_mode & S_IFMT) {
	case S_IFLNK:
		len = readlinkat(fd, "", target, sizeof(target) - 1);
		if (len < 0)
			return err_sys(e, errno, "read the link %s", as);
		target[len] = 0;
		n.type = TAR_SYMLINK;
		n.link = target;
		n.mode = 0777;
		break;
	case S_IFCHR:
	case S_IFBLK:
		n.type = S_ISCHR(st->st_mode) ? TAR_CHAR : TAR_BLOCKDEV;
		n.dev_major = major(st->st_rdev);
		n.dev_minor = minor(st->st_rdev);
		break;
	case S_IFIFO:
		n.type = TAR_FIFO;
		break;
	default:
		return 0; /* a socket: nothing without its process */
	}
	return tar_write_header(k->w, &n, e);
}

static int write_hardlink(Walk *k, const char *as, const char *to, const struct stat *st, Err *e)
{
	TarEntry n = {.type = TAR_HARDLINK, .name = (char *)(uintptr_t)as, .link = (char *)(uintptr_t)to};

	describe(st, &n);
	return tar_write_header(k->w, &n, e);
}

/* Opens for reading what is read (never a device or fifo, whose opening does things), everything else as O_PATH. */
static int open_entry(int dir_fd, const char *name, struct stat *st)
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

static int walk_entry(Walk *k, int dir_fd, const char *name, const char *as, const char *as_dir, Err *e)
{
	_cleanup_close_ int fd = -1;
	const char *seen;
	struct stat st;

	fd = open_entry(dir_fd, name, &st);
	if (fd == -ENOENT)
		return 1;
	if (fd < 0)
		return err_sys(e, fd, "open %s", as);
	if ((k->flags & TAR_WALK_OVERLAY) && S_ISCHR(st.st_mode) && st.st_rdev == 0)
		return write_whiteout(k, as_dir, name, &st, e);
	if (find_seen(k, &st, as, &seen) < 0)
		return err_oom(e);
	if (seen)
		return write_hardlink(k, as, seen, &st, e);
	if (S_ISDIR(st.st_mode))
		return write_dir(k, fd, as, &st, e);
	return S_ISREG(st.st_mode) ? write_file(k, fd, as, &st, e) : write_other(k, fd, as, &st, e);
}

static int walk_names(Walk *k, int dir_fd, const char *as, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int r = dir_names(dir_fd, &names);

	if (r < 0)
		return err_sys(e, r, "read the directory %s", as);
	for (char **n = names; n && *n; n++) {
		_cleanup_free_ char *path = strf("%s%s", as, *n);

		if (!path)
			return err_oom(e);
		/* 1: it has gone since it was listed, as if it had gone before. */
		r = walk_entry(k, dir_fd, *n, path, as, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int tar_walk_dir(TarWriter *w, int dir_fd, int flags, Err *e)
{
	_cleanup_(walk_done) Walk k = {.w = w, .flags = flags};

	return walk_names(&k, dir_fd, "", e);
}

int tar_walk_name(TarWriter *w, int parent_fd, const char *name, const char *as, int flags, Err *e)
{
	_cleanup_(walk_done) Walk k = {.w = w, .flags = flags};
	int r = walk_entry(&k, parent_fd, name, as, "", e);

	return r > 0 ? err_new(e, ERR_NOT_FOUND, "no such file or directory: %s", name) : r;
}
