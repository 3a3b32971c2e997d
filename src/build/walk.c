/* SPDX-License-Identifier: Apache-2.0 */
/* See walk.h. */
#include "build/walk.h"

#include "base/path.h"
#include "base/str.h"
#include "store/dir.h"

typedef struct Walk {
	const TreeFilter *filter;
	WalkLimits *limits;
	const WalkOps *ops;
	StrBuf path;
	size_t below_at; /* in it */
	int depth;
} Walk;

int walk_lost(int no, const char *what, const char *path, Err *e)
{
	if (no < 0)
		no = -no;
	if (no == ENOENT || no == ELOOP || no == ENOTDIR || no == EINVAL || no == ESTALE)
		return err_new_no(e, ERR_CONFLICT, ESTALE,
				  "/%.500s was replaced while it was read: build again", path);
	return err_sys(e, no, "%s /%.500s", what, path);
}

static int count(Walk *k, const WalkEntry *n, Err *e)
{
	WalkLimits *l = k->limits;

	if (++l->files % 256 == 0 && l->is_over && l->is_over(l->user))
		return err_new(e, ERR_CANCELLED, "the build was cancelled by its client");
	if (l->files > l->max_files)
		return err_new(e, ERR_INVALID, "more files than the limit of %lld for a layer",
			       (long long)l->max_files);
	if (!S_ISREG(n->st.st_mode))
		return 0;
	if (n->st.st_size > l->max_bytes - l->bytes)
		return err_new(
		    e, ERR_INVALID,
		    "/%.500s: the files are larger than the limit of %lld bytes for a layer (holes "
		    "count)",
		    n->path, (long long)l->max_bytes);
	l->bytes += n->st.st_size;
	return 0;
}

static int walk_names(Walk *k, int dir_fd, Err *e);

static int walk_dir(Walk *k, WalkEntry *n, Err *e)
{
	int r;

	n->fd = openat(n->dir_fd, n->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (n->fd < 0)
		return walk_lost(errno, "open", n->path, e);
	if (++k->depth > WALK_DEPTH_MAX) {
		(void)close(n->fd);
		return err_new(e, ERR_INVALID, "/%.200s...: directories are nested more than %d deep",
			       n->path, WALK_DEPTH_MAX);
	}
	r = k->ops->enter(k->ops->user, n, e);
	if (r >= 0)
		r = walk_names(k, n->fd, e);
	/* The buffer of the path may have moved. */
	n->path = k->path.s ?: "";
	n->below = n->path + MIN2(k->below_at, k->path.len);
	if (r >= 0 && k->ops->leave)
		r = k->ops->leave(k->ops->user, n, e);
	k->depth--;
	(void)close(n->fd);
	return r;
}

/* The entry that k->path names. */
static int walk_entry(Walk *k, int dir_fd, const char *name, Err *e)
{
	WalkEntry n = {.dir_fd = dir_fd, .name = name, .fd = -1, .path = k->path.s ?: ""};
	int r;

	if (fstatat(dir_fd, name, &n.st, AT_SYMLINK_NOFOLLOW) < 0)
		/* It has gone since it was listed, as if it had gone before. */
		return errno == ENOENT && k->depth > 0 ? 0 : err_sys(e, errno, "look at /%.500s", n.path);
	if (S_ISSOCK(n.st.st_mode))
		return 0;
	n.below = n.path + MIN2(k->below_at, k->path.len);
	n.says = filter_says(k->filter, n.path, n.below, S_ISDIR(n.st.st_mode));
	if (n.says == FILTER_SKIP)
		return 0;
	r = count(k, &n, e);
	if (r < 0)
		return r;
	return S_ISDIR(n.st.st_mode) ? walk_dir(k, &n, e) : k->ops->enter(k->ops->user, &n, e);
}

static int walk_names(Walk *k, int dir_fd, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	size_t len = k->path.len;
	int r = dir_names(dir_fd, &names);

	if (r < 0)
		return err_sys(e, r, "read the directory /%.500s", k->path.s ?: "");
	for (char **n = names; r >= 0 && n && *n; n++) {
		if (len)
			strbuf_add_c(&k->path, '/');
		strbuf_add(&k->path, *n);
		r = k->path.oom ? err_oom(e) : walk_entry(k, dir_fd, *n, e);
		k->path.len = len;
		if (k->path.s)
			k->path.s[len] = '\0';
	}
	return r;
}

int walk_tree(int root, const char *path, const TreeFilter *f, WalkLimits *limits, const WalkOps *ops, Err *e)
{
	_cleanup_(strbuf_done) StrBuf buf = {0};
	_cleanup_close_ int parent = -1;
	Walk k = {.filter = f, .limits = limits, .ops = ops};
	const char *name;
	int r;

	parent = path_open_parent_in_root(root, *path ? path : "/", false, &name);
	if (parent < 0)
		return err_sys(e, parent, "open the directory of /%.500s", path);
	strbuf_add(&k.path, path);
	/* Behind the slash that follows it. */
	k.below_at = *path ? strlen(path) + 1 : 0;
	r = k.path.oom ? err_oom(e) : walk_entry(&k, parent, name, e);
	buf = k.path;
	return r;
}
