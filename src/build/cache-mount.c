/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directories of RUN --mount=type=cache: DATA/build/caches/<name>/<number>, where the name is the hash of the id that the Dockerfile gives.
 *
 * `shared` uses number 0 whoever else does; `locked` waits until nobody does; `private` takes the first number that nobody uses. Who uses what is known in
 * memory only: builds end with the engine. A directory is made, and filled from its `from=`, under another name first, so that one which exists is whole.
 */
#include "build/cache-mount.h"
#include "build/solve.h"

#include <poll.h>
#include <sys/stat.h>

#define CACHES      "build/caches"
#define LOOK_MS     200
#define PRIVATE_MAX 64

struct CacheMount {
	char name[65];
	char *path; /* below the store's root: CACHES "/<name>/<number>" */
	bool exclusive;
	struct CacheMount *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static CacheMount *in_use;

/* Under the lock. */
static bool is_free(const char *path, bool exclusive)
{
	for (const CacheMount *m = in_use; m; m = m->next)
		if (streq(m->path, path) && (exclusive || m->exclusive))
			return false;
	return true;
}

static int await_free(const char *path, bool exclusive, int alive_fd, Err *e)
{
	struct pollfd p = {.fd = alive_fd};

	while (!is_free(path, exclusive)) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += LOOK_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&released, &lock, &until);
		if (poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP))
			return build_cancelled(e);
	}
	return 0;
}

/* Under the lock: the path that the mount gets. */
static int choose(const char *base, DockerfileSharing sharing, int alive_fd, char **ret, Err *e)
{
	int r;

	for (int i = 0; i < PRIVATE_MAX; i++) {
		*ret = strf("%s/%d", base, i);
		if (!*ret)
			return err_oom(e);
		if (sharing != DF_SHARING_PRIVATE) {
			r = await_free(*ret, sharing == DF_SHARING_LOCKED, alive_fd, e);
			if (r < 0)
				free(take_ptr(*ret));
			return r;
		}
		if (is_free(*ret, true))
			return 0;
		free(take_ptr(*ret));
	}
	return err_new(e, ERR_EXHAUSTED, "more than %d steps use the same private cache at once",
		       PRIVATE_MAX);
}

static int directory_make(int root, const CacheMount *m, const CacheMountWanted *w, Err *e)
{
	_cleanup_free_ char *fresh = strf("%s.new", m->path);
	_cleanup_close_ int dir = -1;
	int r;

	if (!fresh)
		return err_oom(e);
	r = remove_tree_at(root, fresh);
	if (r >= 0 || r == -ENOENT)
		r = mkdir_parents_at(root, fresh, 0700);
	if (r >= 0)
		r = dir = openat(root, fresh, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r < 0)
		return err_sys(e, r == -1 ? errno : r, "make the directory of a cache mount");
	if (w->seed_root >= 0) {
		r = tree_copy_contents(w->seed_root, w->seed_path, dir, &(TreeCopy){0}, e);
		if (r < 0)
			return r;
	}
	if (fchown(dir, w->uid, w->gid) < 0 || fchmod(dir, w->mode) < 0 ||
	    renameat(root, fresh, root, m->path) < 0)
		return err_sys(e, errno, "make the directory of a cache mount");
	return 0;
}

int cache_mount_take(Store *s, const CacheMountWanted *w, int alive_fd, CacheMount **ret, Err *e)
{
	_cleanup_free_ char *id = strf("%s\n%s", w->space, w->id), *base = NULL;
	char name[DIGEST_LEN + 1];
	CacheMount *m = calloc(1, sizeof(*m));
	struct stat st;
	int r = 0;

	if (!id || !m) {
		free(m);
		return err_oom(e);
	}
	digest_of(id, strlen(id), name);
	memcpy(m->name, digest_hex(name), 65);
	base = strf(CACHES "/%s", m->name);
	m->exclusive = w->sharing != DF_SHARING_SHARED;
	pthread_mutex_lock(&lock);
	r = base ? choose(base, w->sharing, alive_fd, &m->path, e) : err_oom(e);
	/* Under the lock, so that two do not make it at once; it is short, but for one that is filled. */
	if (r >= 0 && fstatat(store_root_fd(s), m->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = directory_make(store_root_fd(s), m, w, e);
	if (r >= 0) {
		m->next = in_use;
		in_use = m;
	}
	pthread_mutex_unlock(&lock);
	if (r < 0) {
		free(m->path);
		free(m);
		return err_ctx(e, r, "cache mount %s", w->id);
	}
	*ret = m;
	return 0;
}

const char *cache_mount_name(const CacheMount *m)
{
	return m->name;
}

char *cache_mount_path(const char *name)
{
	return strf(CACHES "/%s/0", name);
}

int cache_mount_fill(Store *s, const char *name, const char *chain, Err *e)
{
	CacheMount m = {.path = cache_mount_path(name)};
	_cleanup_close_ int seed = -1;
	struct stat st;
	int r = m.path ? 0 : err_oom(e);

	pthread_mutex_lock(&lock);
	if (r >= 0 && fstatat(store_root_fd(s), m.path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		r = store_layers_mount(s, chain, &seed, e);
		if (r >= 0 && fstat(seed, &st) < 0)
			r = err_sys(e, errno, "look at the cache");
		if (r >= 0)
			r = directory_make(store_root_fd(s), &m,
					   &(CacheMountWanted){.seed_root = seed,
							       .seed_path = "",
							       .mode = st.st_mode & 07777,
							       .uid = st.st_uid,
							       .gid = st.st_gid},
					   e);
	}
	pthread_mutex_unlock(&lock);
	free(m.path);
	return r;
}

int cache_mount_open(Store *s, const CacheMount *m, Err *e)
{
	int fd = openat(store_root_fd(s), m->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? err_sys(e, errno, "open %s/%s", store_root(s), m->path) : fd;
}

void cache_mount_release(CacheMount *m)
{
	CacheMount **at;

	if (!m)
		return;
	pthread_mutex_lock(&lock);
	for (at = &in_use; *at != m; at = &(*at)->next)
		;
	*at = m->next;
	pthread_cond_broadcast(&released);
	pthread_mutex_unlock(&lock);
	free(m->path);
	free(m);
}

int cache_mounts_prune(Store *s, Err *e)
{
	_cleanup_free_ char *away = NULL;
	char id[17];
	int r = 0;

	id_random_hex(id, 16);
	away = strf("tmp/caches-%s", id);
	if (!away)
		return err_oom(e);
	pthread_mutex_lock(&lock);
	/* While one is in use all stay: which one belongs to whom is not worth knowing here. */
	if (!in_use && renameat(store_root_fd(s), CACHES, store_root_fd(s), away) < 0 && errno != ENOENT)
		r = err_sys(e, errno, "move the cache mounts away");
	pthread_mutex_unlock(&lock);
	if (r < 0)
		return r;
	r = remove_tree_at(store_root_fd(s), away);
	return r < 0 && r != -ENOENT ? err_sys(e, r, "remove %s/%s", store_root(s), away) : 0;
}
