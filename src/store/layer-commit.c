/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories become layers: the upper directory of a container, moved or copied, and several layers that become one.
 */
#include "base/fd.h"
#include "base/str.h"
#include "store/dir.h"
#include "store/layer-internal.h"
#include "store/tree-copy.h"

#include <fcntl.h>

/* ---- from a container's upper directory ---- */

static int is_empty_dir(int fd, bool *ret, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int r = dir_names(fd, &names);

	if (r < 0)
		return err_sys(e, r, "read the upper directory");
	*ret = names == NULL;
	return 0;
}

typedef struct LayerCommit {
	const char *parent, *upper_dir;
	char chain[DIGEST_LEN + 1];
	DiffSum sum;
	int64_t inodes; /* of the directory, which is one of them */
} LayerCommit;

/* Called with the chain locked. */
static int commit_missing(Store *s, const LayerCommit *c, Draft *d, Err *e)
{
	const NewLayer n = {c->chain,        c->parent,    c->sum.digest, NULL,
			    c->sum.contents, c->sum.bytes, c->inodes};

	return store_layer_has(s, c->chain) ? 0 : draft_commit(d, &n, e);
}

static int move_upper(Store *s, const char *upper_dir, Draft *d, Err *e)
{
	char diff[sizeof(d->path) + 8];
	int r = draft_begin(s, d, e);

	if (r < 0)
		return r;
	snprintf(diff, sizeof(diff), "%s/diff", d->path);
	if (renameat(AT_FDCWD, upper_dir, s->root_fd, diff) < 0)
		return store_sys(e, errno, "move %s to the layers", upper_dir);
	return 0;
}

/* Before it is hashed: a file of nothing but a hole can be larger than any disk. */
static int measure(Store *s, LayerCommit *c, int dir, Err *e)
{
	DirUsage u;
	int r = dir_usage(dir, &u, e);

	if (r >= 0)
		c->inodes = u.inodes + 1;
	if (r >= 0 && u.size > s->layer_max_bytes)
		return err_new(
		    e, ERR_INVALID,
		    "the files have %lld bytes, more than the limit of %lld for a layer (holes count)",
		    (long long)u.size, (long long)s->layer_max_bytes);
	return r;
}

/* Whether the same files were committed before or not: the caller gives the directory away. */
static int commit_moved(Store *s, LayerCommit *c, int upper, Err *e)
{
	_cleanup_(draft_done) Draft d = {.fd = -1};
	int r = measure(s, c, upper, e);

	if (r >= 0)
		r = diff_write(upper, -1, &c->sum, e);
	if (r < 0)
		return r;
	chain_id_next(c->parent, c->sum.digest, c->chain);
	chain_lock(s, c->chain);
	r = move_upper(s, c->upper_dir, &d, e);
	if (r >= 0)
		r = commit_missing(s, c, &d, e);
	chain_unlock(s, c->chain);
	return r;
}

/* Whatever is in the draft becomes a layer, unless it is one already. */
static int commit_draft(Store *s, LayerCommit *c, Draft *d, Err *e)
{
	int r = measure(s, c, d->fd, e);

	if (r >= 0)
		r = diff_write(d->fd, -1, &c->sum, e);
	if (r < 0)
		return r;
	chain_id_next(c->parent, c->sum.digest, c->chain);
	chain_lock(s, c->chain);
	r = commit_missing(s, c, d, e);
	chain_unlock(s, c->chain);
	return r;
}

/* Copied first and hashed then, because a container may be at work in the original: what is hashed is what stays. Nothing here
 * parses: names and contents are files of this disk, which only the kernel interprets. */
static int commit_copied(Store *s, LayerCommit *c, const LayerCopy *copy, int upper, Err *e)
{
	const TreeCopyLimits limits = {.max_bytes = s->layer_max_bytes, .max_files = s->layer_max_files};
	_cleanup_(draft_done) Draft d = {.fd = -1};
	int r = draft_begin_diff(s, &d, e);

	if (r >= 0)
		r = tree_clone(upper, d.fd, &limits, e);
	if (r >= 0 && copy->copied)
		r = copy->copied(copy->user, e);
	return r < 0 ? r : commit_draft(s, c, &d, e);
}

/* copy: NULL to move the directory. */
static int commit_upper(Store *s, LayerCommit *c, const LayerCopy *copy, char ret_chain[DIGEST_LEN + 1],
			char ret_diff[DIGEST_LEN + 1], int64_t *ret_size, bool *ret_empty, Err *e)
{
	_cleanup_close_ int upper = open(c->upper_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	bool empty = false;
	int r;

	if (upper < 0)
		return err_sys(e, errno, "open %s", c->upper_dir);
	r = is_empty_dir(upper, &empty, e);
	if (r >= 0)
		r = copy ? commit_copied(s, c, copy, upper, e) : commit_moved(s, c, upper, e);
	if (r < 0)
		return err_ctx(e, r, "commit %s", c->upper_dir);
	memcpy(ret_chain, c->chain, sizeof(c->chain));
	memcpy(ret_diff, c->sum.digest, sizeof(c->sum.digest));
	if (ret_size)
		*ret_size = c->sum.contents;
	if (ret_empty)
		*ret_empty = empty;
	return 0;
}

int store_layer_commit_copy(Store *s, const LayerCopy *c, char ret_chain[DIGEST_LEN + 1],
			    char ret_diff[DIGEST_LEN + 1], int64_t *ret_size, bool *ret_empty, Err *e)
{
	LayerCommit commit = {.parent = c->parent, .upper_dir = c->upper_dir};

	return commit_upper(s, &commit, c, ret_chain, ret_diff, ret_size, ret_empty, e);
}

int store_layer_commit_upper(Store *s, const char *parent, const char *upper_dir, bool move,
			     char ret_chain[DIGEST_LEN + 1], char ret_diff[DIGEST_LEN + 1], int64_t *ret_size,
			     bool *ret_empty, Err *e)
{
	const LayerCopy copy = {.parent = parent, .upper_dir = upper_dir};
	LayerCommit c = {.parent = parent, .upper_dir = upper_dir};

	return commit_upper(s, &c, move ? NULL : &copy, ret_chain, ret_diff, ret_size, ret_empty, e);
}

/* ---- several layers into one ---- */

int layers_merge(Store *s, char *const *paths, size_t n, bool keep_marks, int to, Err *e)
{
	const TreeCopyLimits limits = {.max_bytes = s->layer_max_bytes, .max_files = s->layer_max_files};
	int r = 0;

	for (size_t i = n; r >= 0 && i-- > 0;) {
		_cleanup_close_ int from = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (from < 0)
			return err_sys(e, errno, "open the layer %s", paths[i]);
		r = tree_merge(from, to, keep_marks, &limits, e);
	}
	return r;
}

int store_layers_squash(Store *s, const char *base, const char *top, size_t n, char ret_chain[DIGEST_LEN + 1],
			char ret_diff[DIGEST_LEN + 1], Err *e)
{
	_cleanup_(draft_done) Draft d = {.fd = -1};
	_cleanup_layers_ LayerDirs dirs = {0};
	LayerCommit c = {.parent = base};
	int r = layer_dirs(s, top, &dirs, e);

	if (r >= 0 && dirs.n < n)
		r = err_new(e, ERR_INVALID, "there are only %zu layers", dirs.n);
	if (r >= 0)
		r = draft_begin_diff(s, &d, e);
	if (r >= 0)
		r = layers_merge(s, dirs.paths, n, base != NULL, d.fd, e);
	if (r >= 0)
		r = commit_draft(s, &c, &d, e);
	if (r < 0)
		return err_ctx(e, r, "merge layers");
	memcpy(ret_chain, c.chain, sizeof(c.chain));
	memcpy(ret_diff, c.sum.digest, sizeof(c.sum.digest));
	return 0;
}
