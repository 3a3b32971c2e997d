/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directories of RUN --mount=type=cache: DATA/build/caches/<name>/<number>, where the name is the hash of the id that the Dockerfile gives.
 *
 * `shared` uses number 0 whoever else does; `locked` waits until nobody does; `private` takes the first number that nobody uses. Who uses what is known in
 * memory only: builds end with the engine. A directory is made, and filled from its `from=`, under another name first, so that one which exists is whole.
 */
#include "build/cache-mount.h"
#include "build/solve.h"
#include "store/dir.h"
#include "build/tree.h"

#include <dirent.h>
#include <poll.h>
#include <sys/stat.h>

#define CACHES "build/caches"
#define ABOUT                                                                                                \
	"about" /* beside the numbers: the id that the Dockerfile gives; its time is that of the last use */
#define ABOUT_MAX   4096
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

/* A name for what is half made or on its way out; the next engine removes it if this one ends meanwhile. */
static char *temporary_name(void)
{
	char id[17];

	id_random_hex(id, 16);
	return strf("tmp/build-cache-%s", id);
}

/* To the fresh directory `name`, whole. */
static int directory_fill(int root, const char *name, const CacheMountWanted *w, Err *e)
{
	_cleanup_close_ int dir = -1;
	int r = mkdir_parents_at(root, name, 0700);

	if (r < 0)
		return err_sys(e, r, "make the directory of a cache mount");
	dir = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, errno, "make the directory of a cache mount");
	if (w->seed_root >= 0)
		r = tree_copy_contents(w->seed_root, w->seed_path, dir, e);
	if (r >= 0 && (fchown(dir, w->uid, w->gid) < 0 || fchmod(dir, w->mode) < 0))
		r = err_sys(e, errno, "make the directory of a cache mount");
	return r;
}

static int directory_make(int root, const CacheMount *m, const CacheMountWanted *w, Err *e)
{
	_cleanup_free_ char *fresh = temporary_name(), *parent = strf(CACHES "/%s", m->name);
	int r;

	if (!fresh || !parent)
		return err_oom(e);
	r = directory_fill(root, fresh, w, e);
	if (r >= 0) {
		r = mkdir_parents_at(root, parent, 0700);
		if (r >= 0 && renameat(root, fresh, root, m->path) < 0)
			r = -errno;
		if (r < 0)
			r = err_sys(e, r, "make the directory of a cache mount");
	}
	if (r < 0)
		(void)!remove_tree_at(root, fresh); /* the next engine removes what is left */
	return r;
}

/* For people: without it a cache is only not told by its name. */
static void note_use(int root, const CacheMount *m, const char *id)
{
	_cleanup_free_ char *path = strf(CACHES "/%s/" ABOUT, m->name);

	if (path && utimensat(root, path, NULL, AT_SYMLINK_NOFOLLOW) < 0)
		(void)file_replace_at(root, path, id, MIN2(strlen(id), (size_t)ABOUT_MAX - 1), 0600, false);
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
		note_use(store_root_fd(s), m, w->id);
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

	snprintf(m.name, sizeof(m.name), "%s", name);
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

/* ---- all of them ---- */

/* Bytes on the disk of what lies below; what cannot be read counts nothing. */
static int64_t tree_bytes(int at, const char *name, int depth)
{
	int64_t bytes;
	struct dirent *d;
	struct stat st;
	DIR *dir;
	int fd;

	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	bytes = (int64_t)st.st_blocks * 512 /
		(st.st_nlink > 1 && !S_ISDIR(st.st_mode) ? (int64_t)st.st_nlink : 1);
	if (!S_ISDIR(st.st_mode) || depth > 1024)
		return bytes;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		close_fd(&fd);
		return bytes;
	}
	while ((d = readdir(dir)))
		if (!streq(d->d_name, ".") && !streq(d->d_name, ".."))
			bytes += tree_bytes(dirfd(dir), d->d_name, depth + 1);
	closedir(dir);
	return bytes;
}

/* Of a name: its directories and the file that says whose they are. */
static int describe(Store *s, const char *name, StoreCacheEntry *ret, Err *e)
{
	_cleanup_free_ char *path = strf(CACHES "/%s", name), *about = path ? strf("%s/" ABOUT, path) : NULL,
			    *text = NULL;
	struct stat st = {0};
	size_t len;

	if (!about)
		return err_oom(e);
	if (file_read_at(store_root_fd(s), about, ABOUT_MAX, &text, &len) < 0)
		text = strdup("");
	(void)fstatat(store_root_fd(s), about, &st, AT_SYMLINK_NOFOLLOW);
	*ret = (StoreCacheEntry){.key = strdup(name),
				 .step = text ? strf("cached mount %s", text) : NULL,
				 .used_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec,
				 .created_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec,
				 .uses = 1,
				 .size = tree_bytes(store_root_fd(s), path, 0)};
	pthread_mutex_lock(&lock);
	for (const CacheMount *m = in_use; m; m = m->next)
		ret->in_use |= streq(m->name, name);
	pthread_mutex_unlock(&lock);
	if (ret->key && ret->step)
		return 0;
	store_cache_entry_done(ret);
	return err_oom(e);
}

int build_cache_mounts_list(Store *s, StoreCacheEntry **ret, size_t *ret_n, Err *e)
{
	_cleanup_close_ int fd =
	    openat(store_root_fd(s), CACHES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_strv_ char **names = NULL;
	StoreCacheEntry *v;
	size_t n = 0;
	int r;

	*ret = NULL;
	*ret_n = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "open %s/" CACHES, store_root(s));
	r = dir_names(fd, &names);
	v = r < 0 ? NULL : calloc(strv_len(names) + 1, sizeof(*v));
	if (!v)
		return r < 0 ? err_sys(e, r, "read %s/" CACHES, store_root(s)) : err_oom(e);
	for (; r >= 0 && names && names[n]; n += r >= 0)
		r = describe(s, names[n], &v[n], e);
	if (r < 0) {
		store_cache_free(v, n);
		return r;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

/* Under another name first, so that a step which begins meanwhile makes a new one. -> 1: it was there. */
static int remove_name(Store *s, const char *name, Err *e)
{
	_cleanup_free_ char *path = strf(CACHES "/%s", name), *away = temporary_name();
	bool used = false;
	int r;

	if (!path || !away)
		return err_oom(e);
	r = mkdir_parents_at(store_root_fd(s), "tmp", 0700);
	if (r < 0)
		return err_sys(e, r, "make %s/tmp", store_root(s));
	pthread_mutex_lock(&lock);
	for (const CacheMount *m = in_use; m; m = m->next)
		used |= streq(m->name, name);
	if (!used && renameat(store_root_fd(s), path, store_root_fd(s), away) < 0)
		r = -errno;
	pthread_mutex_unlock(&lock);
	if (used || r == -ENOENT)
		return 0; /* another prune was first */
	if (r < 0)
		return err_sys(e, r, "move cache mount %.12s away", name);
	r = remove_tree_at(store_root_fd(s), away);
	return r < 0 && r != -ENOENT ? err_sys(e, r, "remove %s/%s", store_root(s), away) : 1;
}

int build_cache_mounts_prune(Store *s, const StoreCachePrune *p, char ***ret_names, int64_t *ret_bytes,
			     Err *e)
{
	StoreCacheEntry *v = NULL;
	size_t n = 0;
	int r = build_cache_mounts_list(s, &v, &n, e);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (v[i].in_use || (p->unused_since_ns && v[i].used_ns > p->unused_since_ns) ||
		    (p->match && !p->match(p->user, &v[i])))
			continue;
		r = remove_name(s, v[i].key, e);
		if (r > 0) {
			*ret_bytes += v[i].size;
			r = strv_add(ret_names, v[i].key) < 0 ? err_oom(e) : 0;
		}
	}
	store_cache_free(v, n);
	return r;
}
