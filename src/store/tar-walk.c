/* SPDX-License-Identifier: Apache-2.0 */
/* Walking and describing; the rules are in tar-walk.h. */
#include "store/tar-walk.h"

#include "base/str.h"
#include "store/dir.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

typedef struct Walk {
	TarWriter *w;
	int flags;
	int depth;
	DirSeen *seen;
} Walk;

static void walk_done(Walk *k)
{
	dir_seen_free(k->seen);
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

typedef struct ReadXattrs {
	const Walk *k;
	TarEntry *n;
	size_t bytes;
	bool opaque;
} ReadXattrs;

static int add_xattr(TarEntry *n, const char *name, const void *value, size_t len, Err *e)
{
	TarXattr *grown = reallocarray(n->xattrs, n->n_xattrs + 1, sizeof(*grown));
	TarXattr *x;

	if (!grown)
		return err_oom(e);
	n->xattrs = grown;
	x = &grown[n->n_xattrs];
	*x = (TarXattr){.name = strdup(name), .value = malloc(len + 1), .len = len};
	if (!x->name || !x->value) {
		free(x->name);
		free(x->value);
		return err_oom(e);
	}
	memcpy(x->value, value, len);
	n->n_xattrs++;
	return 0;
}

/* With a redirect or a metacopy, overlayfs shows something that lies elsewhere: a tar cannot say that, and silence would lose files. */
static int on_xattr(void *user, const char *name, const void *value, size_t len, Err *e)
{
	ReadXattrs *x = user;

	if ((x->k->flags & TAR_WALK_OVERLAY) && dir_xattr_is_reference(name))
		return err_new(e, ERR_UNSUPPORTED,
			       "it carries %s: mount overlayfs with redirect_dir=off,metacopy=off", name);
	if (dir_xattr_is_opaque(name, value, len))
		x->opaque = true;
	if (!tar_xattr_is_wanted(name))
		return 0;
	x->bytes += strlen(name) + len;
	if (x->bytes > TAR_HEADER_MAX)
		return err_new(e, ERR_INVALID, "more extended attributes than a tar can hold");
	return add_xattr(x->n, name, value, len, e);
}

/* *ret_opaque: overlayfs's mark. */
static int read_xattrs(const Walk *k, int fd, TarEntry *n, bool *ret_opaque, Err *e)
{
	ReadXattrs x = {.k = k, .n = n};
	int r = dir_xattrs(fd, on_xattr, &x, e);

	*ret_opaque = x.opaque;
	if (n->n_xattrs > 1)
		qsort(n->xattrs, n->n_xattrs, sizeof(*n->xattrs), compare_xattrs);
	return r < 0 ? err_ctx(e, r, "%s", n->name) : 0;
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
	if (++k->depth > DIR_DEPTH_MAX)
		return err_new(e, ERR_UNSUPPORTED, "%.200s...: more than %d directories deep", as,
			       DIR_DEPTH_MAX);
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
	return r < 0 ? r : tar_write_from(k->w, fd, n.size, (int64_t)st->st_blocks * 512 < n.size, e);
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

static int walk_entry(Walk *k, int dir_fd, const char *name, const char *as, const char *as_dir, Err *e)
{
	_cleanup_close_ int fd = -1;
	const char *seen;
	struct stat st;

	fd = dir_open_entry(dir_fd, name, &st);
	if (fd == -ENOENT)
		return 1;
	if (fd < 0)
		return err_sys(e, fd, "open %s", as);
	if ((k->flags & TAR_WALK_OVERLAY) && S_ISCHR(st.st_mode) && st.st_rdev == 0)
		return write_whiteout(k, as_dir, name, &st, e);
	if (dir_seen(&k->seen, &st, as, &seen) < 0)
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
