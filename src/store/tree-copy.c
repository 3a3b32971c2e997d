/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying and merging trees; the contract is in tree-copy.h.
 *
 * A copy is a merge into nothing that keeps every mark. Where a directory takes the place of something that is none, it hides
 * whatever the layers below have under that name: it becomes opaque.
 */
#include "store/tree-copy.h"

#include "base/fd.h"
#include "base/str.h"
#include "store/dir.h"
#include "store/file-copy.h"
#include "store/store-internal.h"
#include "store/tar-read.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/xattr.h>

typedef struct Copy {
	bool merge, keep_marks;
	int top; /* of the copy: where the first names of hard links are found */
	const TreeCopyLimits *limits;
	int64_t bytes, files;
	int depth;
	FileCopy contents;
	bool named; /* the error says already which entry it is about */
	DirSeen *seen;
} Copy;

/* ---- what a file looks like ---- */

typedef struct Dress {
	const Copy *k;
	int to;
} Dress;

/* The marks that a tar cannot express are copied too, so that whoever writes one from the copy refuses them. */
static int copy_xattr(void *user, const char *name, const void *value, size_t len, Err *e)
{
	const Dress *d = user;
	bool mark = dir_xattr_is_opaque(name, value, len) ? d->k->keep_marks : dir_xattr_is_reference(name);

	if (!mark && !tar_xattr_is_wanted(name))
		return 0;
	return fsetxattr(d->to, name, value, len, 0) < 0 ? store_sys(e, errno, "set %s", name) : 0;
}

/* In this order: a change of owner takes set-user-id bits and capabilities away. */
static int dress(const Copy *k, int in, int out, const struct stat *st, Err *e)
{
	Dress d = {k, out};
	const struct timespec times[2] = {st->st_mtim, st->st_mtim};
	int r;

	if (fchown(out, st->st_uid, st->st_gid) < 0 || fchmod(out, st->st_mode & 07777) < 0)
		return store_sys(e, errno, "set the owner and the mode");
	r = dir_xattrs(in, copy_xattr, &d, e);
	if (r < 0)
		return r;
	return futimens(out, times) < 0 ? store_sys(e, errno, "set the time") : 0;
}

/* ---- what lies there already ---- */

static int is_opaque_xattr(void *user, const char *name, const void *value, size_t len, Err *e)
{
	bool *opaque = user;

	*opaque = *opaque || dir_xattr_is_opaque(name, value, len);
	return 0;
}

static int remove_xattr(void *user, const char *name, const void *value, size_t len, Err *e)
{
	const int *fd = user;

	if (!tar_xattr_is_wanted(name) || fremovexattr(*fd, name) == 0 || errno == ENODATA)
		return 0;
	return store_sys(e, errno, "remove %s", name);
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

typedef enum Place { PLACE_FREE, PLACE_HIDES, PLACE_DIR } Place;

/* Makes room for what `st` describes (fd: if it is a directory). PLACE_HIDES: there was something, so a directory made in its place must
 * go on hiding what is below; PLACE_DIR: there is a directory to be merged with. */
static int make_room(const Copy *k, int to, const char *name, int fd, const struct stat *st, Err *e)
{
	bool opaque = false;
	struct stat there;
	int r;

	if (!k->merge)
		return PLACE_FREE;
	if (fstatat(to, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? PLACE_FREE : store_sys(e, errno, "examine what is there");
	if (S_ISDIR(st->st_mode) && S_ISDIR(there.st_mode)) {
		r = dir_xattrs(fd, is_opaque_xattr, &opaque, e);
		if (r < 0 || !opaque)
			return r < 0 ? r : PLACE_DIR;
	}
	r = remove_tree_at(to, name);
	if (r < 0)
		return store_sys(e, r, "remove what is there");
	return S_ISDIR(there.st_mode) ? PLACE_FREE : PLACE_HIDES;
}

/* The directory to copy into. One that was there has the attributes of a lower layer, which do not count any more; as its
 * default access control list would for what is made in it. */
static int enter(const Copy *k, int to_dir, const char *name, Place place, Err *e)
{
	_cleanup_close_ int to = -1;
	int r = 0;

	if (place != PLACE_DIR && mkdirat(to_dir, name, 0700) < 0)
		return store_sys(e, errno, "make the directory");
	to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return store_sys(e, errno, "open the directory");
	if (place == PLACE_DIR)
		r = dir_xattrs(to, remove_xattr, &to, e);
	else if (place == PLACE_HIDES && k->keep_marks &&
		 fsetxattr(to, "trusted.overlay.opaque", "y", 1, 0) < 0)
		r = store_sys(e, errno, "mark the directory as opaque");
	return r < 0 ? r : take_fd(&to);
}

/* ---- entries ---- */

static int copy_names(Copy *k, int from, int to, const char *path, Err *e);

static int copy_dir(Copy *k, int from, const struct stat *st, int to, const char *path, Err *e)
{
	_cleanup_free_ char *prefix = strf("%s/", path);
	int r;

	if (!prefix)
		return err_oom(e);
	if (++k->depth > DIR_DEPTH_MAX)
		return err_new(e, ERR_UNSUPPORTED, "more than %d directories deep", DIR_DEPTH_MAX);
	r = copy_names(k, from, to, prefix, e);
	k->depth--;
	return r < 0 ? r : dress(k, from, to, st, e);
}

static int copy_file(Copy *k, int from, int to_dir, const char *name, const struct stat *st, Err *e)
{
	_cleanup_close_ int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r;

	if (to < 0)
		return store_sys(e, errno, "make the file");
	if (st->st_size > k->limits->max_bytes - k->bytes)
		return err_new(e, ERR_INVALID,
			       "the files are larger than the limit of %lld bytes for a layer (holes count)",
			       (long long)k->limits->max_bytes);
	k->bytes += st->st_size;
	r = file_copy(&k->contents, from, to, st);
	return r < 0 ? store_sys(e, r, "copy the contents") : dress(k, from, to, st, e);
}

static int copy_other(int from, int to_dir, const char *name, const struct stat *st, Err *e)
{
	const struct timespec times[2] = {st->st_mtim, st->st_mtim};
	char target[PATH_MAX];
	ssize_t len;

	if (S_ISLNK(st->st_mode)) {
		len = readlinkat(from, "", target, sizeof(target) - 1);
		if (len < 0)
			return store_sys(e, errno, "read the link");
		target[len] = 0;
		if (symlinkat(target, to_dir, name) < 0)
			return store_sys(e, errno, "make the link");
	} else if (mknodat(to_dir, name, st->st_mode & (S_IFMT | 07777), st->st_rdev) < 0) {
		return store_sys(e, errno, "make the special file");
	}
	if (fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (!S_ISLNK(st->st_mode) && fchmodat(to_dir, name, st->st_mode & 07777, 0) < 0) ||
	    utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return store_sys(e, errno, "set the owner, the mode and the time");
	return 0;
}

static int copy_opened(Copy *k, int from, const struct stat *st, int to_dir, const char *name,
		       const char *path, Err *e)
{
	_cleanup_close_ int to = -1;
	const char *first;
	int place = make_room(k, to_dir, name, from, st, e);

	if (place < 0)
		return place;
	if (is_whiteout(st) && !k->keep_marks)
		return 0;
	if (dir_seen(&k->seen, st, path, &first) < 0)
		return err_oom(e);
	if (first)
		return linkat(k->top, first, to_dir, name, 0) < 0 ? store_sys(e, errno, "link to %s", first)
								  : 0;
	if (S_ISREG(st->st_mode))
		return copy_file(k, from, to_dir, name, st, e);
	if (!S_ISDIR(st->st_mode))
		return copy_other(from, to_dir, name, st, e);
	to = enter(k, to_dir, name, (Place)place, e);
	return to < 0 ? to : copy_dir(k, from, st, to, path, e);
}

static int copy_entry(Copy *k, int from_dir, int to_dir, const char *name, const char *path, Err *e)
{
	struct stat st;
	_cleanup_close_ int from = dir_open_entry(from_dir, name, &st);

	if (from == -ENOENT)
		return 0; /* it has gone since it was listed, as if it had gone before */
	if (from < 0)
		return store_sys(e, from, "open");
	if (S_ISSOCK(st.st_mode))
		return 0;
	if (++k->files > k->limits->max_files)
		return err_new(e, ERR_INVALID, "more files than the limit of %lld for a layer",
			       (long long)k->limits->max_files);
	return copy_opened(k, from, &st, to_dir, name, path, e);
}

static int copy_names(Copy *k, int from, int to, const char *path, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int r = dir_names(from, &names);

	if (r < 0)
		return store_sys(e, r, "read the directory");
	for (char **n = names; n && *n; n++) {
		_cleanup_free_ char *own = strf("%s%s", path, *n);

		if (!own)
			return err_oom(e);
		r = copy_entry(k, from, to, *n, own, e);
		if (r < 0 && !k->named) {
			k->named = true;
			r = err_ctx(e, r, "copy /%.500s", own);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int run(Copy *k, int from, Err *e)
{
	struct stat st;
	int r;

	if (fstat(from, &st) < 0)
		return store_sys(e, errno, "examine the directory to copy");
	r = copy_names(k, from, k->top, "", e);
	dir_seen_free(k->seen);
	file_copy_done(&k->contents);
	return r < 0 ? r : dress(k, from, k->top, &st, e);
}

int tree_clone(int from, int to, const TreeCopyLimits *limits, Err *e)
{
	Copy k = {.keep_marks = true, .top = to, .limits = limits};

	return run(&k, from, e);
}

int tree_merge(int from, int to, bool keep_marks, const TreeCopyLimits *limits, Err *e)
{
	Copy k = {.merge = true, .keep_marks = keep_marks, .top = to, .limits = limits};

	return run(&k, from, e);
}
