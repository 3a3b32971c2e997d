/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See tree.h. A row of levels follows the walk, one for each directory that it is in. A directory that the filter wants only for what is in it
 * is made when the first such thing comes.
 */
#include "build/tree.h"

#include "base/path.h"
#include "base/str.h"
#include "build/memo.h"
#include "store/dir.h"
#include "store/tar-read.h"

#include <limits.h>
#include <sys/xattr.h>

typedef struct Level {
	int fd;           /* in the target; -1: not made yet */
	const char *name; /* the walk's, which is in there */
	bool ours;        /* it was made here, or is wanted itself: it gets the looks of its original */
	bool setgid;      /* what is made in it gets its group */
} Level;

typedef struct Copier {
	TreeCopy *k;
	const char *as;
	DirSeen *seen;
	Level levels[WALK_DEPTH_MAX + 1];
	size_t n;
} Copier;

/* ---- what things look like ---- */

static uid_t owner_of(const TreeCopy *k, const struct stat *st)
{
	return k->set_owner ? k->uid : st->st_uid;
}

static gid_t group_of(const TreeCopy *k, const struct stat *st)
{
	return k->set_owner ? k->gid : st->st_gid;
}

static mode_t mode_of(const TreeCopy *k, const struct stat *st)
{
	return k->chmod ? mode_change_apply(k->chmod, st->st_mode) : st->st_mode & 07777;
}

static int copy_xattr(void *user, const char *name, const void *value, size_t len, Err *e)
{
	const int *to = user;

	if (!tar_xattr_is_wanted(name) || fsetxattr(*to, name, value, len, 0) == 0)
		return 0;
	return err_sys(e, errno, "set the attribute %s", name);
}

/* An open file or directory. In this order: a change of owner takes set-user-id bits and capabilities away. */
static int dress(const TreeCopy *k, int in, int out, const struct stat *st, bool chown, Err *e)
{
	const struct timespec times[2] = {st->st_mtim, st->st_mtim};
	int r;

	if ((chown && fchown(out, owner_of(k, st), group_of(k, st)) < 0) || fchmod(out, mode_of(k, st)) < 0)
		return err_sys(e, errno, "set the owner and the mode");
	r = dir_xattrs(in, copy_xattr, &out, e);
	if (r < 0)
		return r;
	return futimens(out, times) < 0 ? err_sys(e, errno, "set the time") : 0;
}

/* A link, fifo or device by its name, which nobody else knows. */
static int dress_name(const TreeCopy *k, int dir, const char *name, const struct stat *st, Err *e)
{
	const struct timespec times[2] = {st->st_mtim, st->st_mtim};

	if (fchownat(dir, name, owner_of(k, st), group_of(k, st), AT_SYMLINK_NOFOLLOW) < 0 ||
	    (!S_ISLNK(st->st_mode) && fchmodat(dir, name, mode_of(k, st), 0) < 0) ||
	    utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "set the owner, the mode and the time");
	return 0;
}

/* ---- directories ---- */

static int level_open(Copier *c, Level *up, Level *l, Err *e)
{
	struct stat st;
	bool made = mkdirat(up->fd, l->name, 0700) == 0;

	if (!made && errno != EEXIST)
		return err_sys(e, errno, "make the directory");
	l->fd = openat(up->fd, l->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (l->fd < 0)
		return err_new(e, ERR_INVALID, "cannot copy to non-directory: %.500s", l->name);
	if (fstat(l->fd, &st) < 0)
		return err_sys(e, errno, "look at the directory");
	l->ours = l->ours || made;
	l->setgid = st.st_mode & S_ISGID;
	return 0;
}

/* Every directory down to where the walk is. */
static int levels_open(Copier *c, Err *e)
{
	int r = 0;

	for (size_t i = 1; r >= 0 && i < c->n; i++)
		if (c->levels[i].fd < 0)
			r = level_open(c, &c->levels[i - 1], &c->levels[i], e);
	return r;
}

static int enter_dir(Copier *c, const WalkEntry *n, Err *e)
{
	/* The first level is the target itself, for what a directory that was named has in it. */
	if (!*n->below)
		return 0;
	c->levels[c->n++] = (Level){.fd = -1, .name = n->name, .ours = n->says == FILTER_TAKE};
	return n->says == FILTER_TAKE ? levels_open(c, e) : 0;
}

static int leave_dir(void *user, const WalkEntry *n, Err *e)
{
	Copier *c = user;
	Level *l;
	int r = 0;

	if (!*n->below)
		return 0;
	l = &c->levels[--c->n];
	if (l->fd >= 0 && l->ours)
		r = dress(c->k, n->fd, l->fd, &n->st, true, e);
	close_fd(&l->fd);
	return err_ctx(e, r, "copy /%.500s", n->path);
}

/* ---- everything else ---- */

/* Whatever has the name goes, unless it is a directory. */
static int make_room(int dir, const char *name, Err *e)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "look at %s", name);
	if (S_ISDIR(st.st_mode))
		return err_new(e, ERR_INVALID, "cannot replace to directory %.500s with file", name);
	return unlinkat(dir, name, 0) < 0 ? err_sys(e, errno, "replace %s", name) : 0;
}

int tree_create_file(int dir, const char *name, Err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir, name, flags, 0600), r;

	if (fd >= 0)
		return fd;
	r = errno == EEXIST ? make_room(dir, name, e) : err_sys(e, errno, "make the file");
	if (r < 0)
		return r;
	fd = openat(dir, name, flags, 0600);
	return fd < 0 ? err_sys(e, errno, "make the file") : fd;
}

static int copy_contents(Copier *c, int in, int out, const struct stat *st, Err *e)
{
	MemoKey before = memo_key_of_file(st), after;
	struct stat now;
	int r = file_copy(&c->k->contents, in, out, st);

	if (r < 0)
		return err_sys(e, r, "copy the contents");
	if (fstat(in, &now) < 0)
		return err_sys(e, errno, "look at the file");
	after = memo_key_of_file(&now);
	c->k->state += memo_keys_equal(&before, &after) ? memo_key_mix(&before) : 1;
	return 0;
}

static int copy_file(Copier *c, const WalkEntry *n, const Level *to, const char *as, const char *as_path,
		     Err *e)
{
	_cleanup_close_ int in = openat(n->dir_fd, n->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC),
			    out = -1;
	const char *first;
	struct stat st;
	int r;

	if (in < 0 || fstat(in, &st) < 0)
		return walk_lost(errno, "open", n->path, e);
	if (!S_ISREG(st.st_mode))
		return walk_lost(ESTALE, "open", n->path, e);
	if (dir_seen(&c->seen, &st, as_path, &first) < 0)
		return err_oom(e);
	if (first) {
		MemoKey key = memo_key_of_file(&st);

		r = make_room(to->fd, as, e);
		if (r < 0)
			return r;
		c->k->state += memo_key_mix(&key);
		return linkat(c->levels[0].fd, first, to->fd, as, 0) < 0
			   ? err_sys(e, errno, "link to %s", first)
			   : 0;
	}
	out = tree_create_file(to->fd, as, e);
	if (out < 0)
		return out;
	r = copy_contents(c, in, out, &st, e);
	if (r < 0)
		return r;
	return dress(c->k, in, out, &st, to->setgid || owner_of(c->k, &st) != 0 || group_of(c->k, &st) != 0,
		     e);
}

static int copy_link(const WalkEntry *n, int to, const char *as, Err *e)
{
	char target[PATH_MAX + 1];
	ssize_t len = readlinkat(n->dir_fd, n->name, target, PATH_MAX);

	if (len < 0)
		return walk_lost(errno, "read the link", n->path, e);
	target[len] = '\0';
	return symlinkat(target, to, as) < 0 ? err_sys(e, errno, "make the link") : 0;
}

static int copy_other(Copier *c, const WalkEntry *n, const Level *to, const char *as, Err *e)
{
	bool device = S_ISCHR(n->st.st_mode) || S_ISBLK(n->st.st_mode);
	int r;

	if (device && !c->k->devices)
		return err_new(e, ERR_INVALID, "it is a device, which a build context may not have");
	r = make_room(to->fd, as, e);
	if (r < 0)
		return r;
	if (S_ISLNK(n->st.st_mode))
		r = copy_link(n, to->fd, as, e);
	else if (mknodat(to->fd, as, (n->st.st_mode & S_IFMT) | 0600, device ? n->st.st_rdev : 0) < 0)
		r = err_sys(e, errno, "make the special file");
	return r < 0 ? r : dress_name(c->k, to->fd, as, &n->st, e);
}

static int enter(void *user, const WalkEntry *n, Err *e)
{
	Copier *c = user;
	bool named = !*n->below; /* a file that the step names itself */
	const char *as = named ? c->as : n->name, *as_path = named ? c->as : n->below;
	int r;

	if (S_ISDIR(n->st.st_mode))
		return err_ctx(e, enter_dir(c, n, e), "copy /%.500s", n->path);
	r = levels_open(c, e);
	if (r >= 0)
		r = S_ISREG(n->st.st_mode) ? copy_file(c, n, &c->levels[c->n - 1], as, as_path, e)
					   : copy_other(c, n, &c->levels[c->n - 1], as, e);
	return err_ctx(e, r, "copy /%.500s", n->path);
}

int tree_copy(TreeCopy *k, int root, const Source *s, int to_dir, const char *as, Err *e)
{
	Copier *c = malloc(sizeof(*c));
	const WalkOps ops = {.enter = enter, .leave = leave_dir, .user = c};
	TreeFilter f = *k->filter;
	struct stat st;
	int r;

	if (!c)
		return err_oom(e);
	c->k = k;
	c->as = as;
	c->seen = NULL;
	c->n = 1;
	f.include = s->include;
	r = fstat(to_dir, &st) < 0 ? err_sys(e, errno, "look at the target directory") : 0;
	c->levels[0] = (Level){.fd = to_dir, .setgid = st.st_mode & S_ISGID};
	if (r >= 0)
		r = walk_tree(root, s->path, &f, k->limits, &ops, e);
	/* What a failure has left open. */
	for (; c->n > 1; c->n--)
		close_fd(&c->levels[c->n - 1].fd);
	dir_seen_free(c->seen);
	free(c);
	return r;
}

int tree_copy_contents(int root, const char *path, int to_dir, Err *e)
{
	const TreeFilter all = {0};
	WalkLimits limits = {.max_bytes = INT64_MAX, .max_files = INT64_MAX};
	TreeCopy k = {.devices = true, .filter = &all, .limits = &limits};
	const Source s = {.path = (char *)(uintptr_t) "", .name = (char *)(uintptr_t) "", .is_dir = true};
	_cleanup_close_ int from = path_open_in_root(root, *path ? path : "/", O_RDONLY | O_DIRECTORY, 0);
	int r = from < 0 ? err_sys(e, from, "open %.500s", path) : tree_copy(&k, from, &s, to_dir, "", e);

	file_copy_done(&k.contents);
	return r;
}
