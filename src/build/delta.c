/* SPDX-License-Identifier: Apache-2.0 */
#include "build/delta.h"

#include <sys/stat.h>

#define CHANGES_MAX 2000
#define SHARE       4           /* at most a quarter of the bytes */
#define BYTES_FREE  (1ll << 20) /* that many in any case */

typedef struct Change {
	char *path; /* below the directory */
	bool gone;
} Change;

typedef struct Changes {
	Change *v;
	size_t n;
	int64_t bytes;
	uint64_t state;
	bool unfit, any_gone, oom;
} Changes;

static void changes_done(Changes *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->v[i].path);
	free(c->v);
}

static int gather(void *user, const ManifestEntry *old, const ManifestEntry *now)
{
	Changes *c = user;
	Change *grown;

	/* Of directories more than names can be different; a file with other names would be torn from them. */
	c->unfit = (old && S_ISDIR(old->mode)) || (now && S_ISDIR(now->mode)) || (now && now->linked) ||
		   (now && !S_ISREG(now->mode) && !S_ISLNK(now->mode)) || c->n >= CHANGES_MAX;
	if (c->unfit)
		return -ECANCELED;
	grown = reallocarray(c->v, c->n + 1, sizeof(*grown));
	c->oom = !grown;
	if (!grown)
		return -ENOMEM;
	c->v = grown;
	c->v[c->n] = (Change){strdup(now ? now->path : old->path), !now};
	c->oom = !c->v[c->n++].path;
	c->any_gone |= !now;
	c->bytes += now ? now->size : 0;
	c->state += now ? now->mix : 0;
	return c->oom ? -ENOMEM : 0;
}

static char *join(const char *dir, const char *below)
{
	return *dir && *below ? strf("%s/%s", dir, below) : strdup(*dir ? dir : below);
}

/* What is gone must not show a file of the stage below that it lay over. */
static int shows_nothing(Build *b, const Stage *s, const Delta *d, const Changes *c, Err *e)
{
	_cleanup_close_ int below = -1;
	int r = 1;

	if (!c->any_gone || !s->chain)
		return 1;
	r = store_layers_mount(b->store, s->chain, &below, e);
	for (size_t i = 0; r >= 0 && i < c->n; i++) {
		_cleanup_free_ char *path = c->v[i].gone ? strf("%s/%s", d->dest, c->v[i].path) : NULL;
		_cleanup_close_ int fd =
		    path ? path_open_in_root(below, path, O_PATH | O_NOFOLLOW, 0) : -ENOENT;

		if (c->v[i].gone && !path)
			return err_oom(e);
		if (fd != -ENOENT && fd != -ENOTDIR)
			return 0;
	}
	return r < 0 ? r : 1;
}

/* The directory that a path is in, and its name there. Every component is a directory that the last copy made: a link is none. */
static int open_parent(int dir, const char *path, const char **ret_name)
{
	int at = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *slash;

	while (at >= 0 && (slash = strchr(path, '/'))) {
		_cleanup_free_ char *name = strndup(path, (size_t)(slash - path));
		int next = name ? openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

		close(at);
		at = next;
		path = slash + 1;
	}
	*ret_name = path;
	return at < 0 ? -errno : at;
}

/* A directory looks as old as its original. */
static int date_parent(const Delta *d, const Change *c, int parent, Err *e)
{
	_cleanup_free_ char *dir =
	    strndup(c->path, strrchr(c->path, '/') ? (size_t)(strrchr(c->path, '/') - c->path) : 0);
	_cleanup_free_ char *path = dir ? join(d->source->path, dir) : NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (!path)
		return err_oom(e);
	if (!*dir)
		return 0;
	fd = path_open_in_root(d->root, path, O_PATH | O_DIRECTORY, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_new(e, ERR_CONFLICT, "/%s is being changed: build again", path);
	if (futimens(parent, (struct timespec[]){st.st_atim, st.st_mtim}) < 0)
		return err_sys(e, errno, "set the time of %s", dir);
	return 0;
}

static int apply_one(const Delta *d, const Change *c, int dest, Err *e)
{
	_cleanup_close_ int parent = -1;
	_cleanup_free_ char *path = join(d->source->path, c->path), *own = NULL;
	const char *name;
	int r = 0;

	if (!path)
		return err_oom(e);
	parent = open_parent(dest, c->path, &name);
	if (parent < 0)
		return err_sys(e, parent, "open the directory of %s", c->path);
	if (c->gone && unlinkat(parent, name, 0) < 0)
		return err_sys(e, errno, "remove %s", c->path);
	if (!c->gone) {
		own = strdup(name);
		r = own ? tree_copy(d->how, d->root, &(Source){.path = path, .name = own}, parent, name, e)
			: err_oom(e);
	}
	return r < 0 ? r : date_parent(d, c, parent, e);
}

static int apply(Build *b, const Delta *d, const Changes *c, const StoreCacheEntry *old, CacheHit *ret,
		 Err *e)
{
	_cleanup_free_ char *upper = NULL;
	_cleanup_close_ int dest = -1;
	Work w = {.root = -1};
	int r = work_open(b, old->chain_id, &w, e), closed;

	if (r >= 0) {
		dest = path_open_in_root(w.root, d->dest, O_RDONLY | O_DIRECTORY, 0);
		r = dest < 0 ? err_sys(e, dest, "open %s", d->dest) : 0;
	}
	for (size_t i = 0; r >= 0 && i < c->n; i++)
		r = apply_one(d, &c->v[i], dest, e);
	close_fd(&dest);
	close_fd(&w.root);
	if (r >= 0)
		r = store_snapshot_changes(b->store, w.key, &upper, e);
	if (r >= 0)
		r = step_commit_on(b, old->chain_id, upper, ret, e);
	closed = work_close(b, &w, r < 0 ? NULL : e);
	return r < 0 ? r : closed;
}

/* The step gives both layers. */
static int name_both(const StoreCacheEntry *old, CacheHit *hit, Err *e)
{
	char *diff = hit->diff;

	hit->diff = hit->empty ? strdup(old->diff_id) : strf("%s %s", old->diff_id, diff);
	hit->empty = false;
	free(diff);
	return hit->diff ? 0 : err_oom(e);
}

static int against(Build *b, const Stage *s, const Delta *d, const StoreCacheEntry *old, CacheHit *ret,
		   uint64_t *ret_state, Err *e)
{
	_cleanup_(manifest_freep) Manifest *was = NULL;
	_cleanup_(changes_done) Changes c = {0};
	int r = manifest_load(store_root_fd(b->store), old->content, &was, e);

	if (r <= 0)
		return r;
	(void)manifest_diff(was, d->now, gather, &c);
	if (c.oom)
		return err_oom(e);
	if (c.unfit || (c.bytes > BYTES_FREE && c.bytes > manifest_bytes(d->now) / SHARE))
		return 0;
	r = shows_nothing(b, s, d, &c, e);
	if (r <= 0)
		return r;
	r = apply(b, d, &c, old, ret, e);
	if (r >= 0)
		r = name_both(old, ret, e);
	*ret_state = c.state;
	return r < 0 ? r : 1;
}

int delta_make(Build *b, const Stage *s, const Delta *d, CacheHit *ret, uint64_t *ret_state, Err *e)
{
	StoreCacheEntry old = {0};
	int64_t epoch;
	int r = build_epoch(b, &epoch, e);

	if (r != 0)
		return MIN2(r, 0);
	r = store_cache_find_whole(b->store, d->told, s->key, &old, e);
	if (r > 0)
		r = old.content && old.diff_id && old.chain_id && store_layer_has(b->store, old.chain_id)
			? against(b, s, d, &old, ret, ret_state, e)
			: 0;
	store_cache_entry_done(&old);
	return r;
}
