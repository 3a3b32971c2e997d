/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much room containers and volumes take: what only a walk over their files can tell, remembered.
 *
 * Nobody tells us when a file changes, so a size is believed for a while that depends on what it cost: STALE_FACTOR times
 * the time of the walk. A small directory is counted anew every few milliseconds, one whose walk takes 3 s once a minute, and
 * all walks for one directory together take at most a twentieth of the time, however often anybody asks. Who asks while it is being
 * walked waits for that walk. Who asks about all at once waits for none: what is remembered has to do, and what is old is measured by one thread beside. Where a number is final (what a prune has freed) it is measured, not remembered.
 */
#include "engine/engine-internal.h"
#include "engine/usage.h"
#include "store/dir.h"

#include <poll.h>

#define STALE_FACTOR 20
#define LAYER_OLD_NS INT64_C(10000000000) /* of what is remembered for those who do not wait */
#define LAYER_KEY    "container "

typedef struct Size {
	UT_hash_handle hh;
	DirUsage usage;
	int64_t at_ns, took_ns; /* CLOCK_MONOTONIC */
	int64_t wall_ns;        /* at_ns as CLOCK_REALTIME; 0: nothing is known yet */
	bool measuring;
	bool wanted; /* by the thread beside */
	char key[];
} Size;

struct SizeCache {
	pthread_mutex_t lock;
	pthread_cond_t measured;
	Size *all;
	bool refreshing; /* the thread beside is at it */
};

int sizes_new(SizeCache **ret, Err *e)
{
	SizeCache *c = calloc(1, sizeof(*c));

	if (!c)
		return err_oom(e);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->measured, NULL);
	*ret = c;
	return 0;
}

void sizes_free(SizeCache *c)
{
	Size *s, *next;

	if (!c)
		return;
	HASH_ITER (hh, c->all, s, next) {
		HASH_DEL(c->all, s);
		free(s);
	}
	pthread_cond_destroy(&c->measured);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Of things that went: nobody asks for them again. The lock is held. */
static void drop_old(SizeCache *c, int64_t now)
{
	Size *s, *next;

	HASH_ITER (hh, c->all, s, next)
		if (!s->measuring && !s->wanted &&
		    now - s->at_ns > MAX2(s->took_ns * STALE_FACTOR, 60 * 1000000000ll)) {
			HASH_DEL(c->all, s);
			free(s);
		}
}

/* An entry of which nothing is known; NULL without memory. The lock is held. */
static Size *add(SizeCache *c, const char *key, int64_t now)
{
	Size *s;

	drop_old(c, now);
	s = calloc(1, sizeof(*s) + strlen(key) + 1);
	if (s) {
		strcpy(s->key, key);
		HASH_ADD_STR(c->all, key, s);
	}
	return s;
}

/* The entry, measured by somebody else and good (true), or ours to measure (false, `measuring` set). The lock is held. */
static bool find(SizeCache *c, const char *key, Size **ret)
{
	int64_t now = clock_mono_ns();
	Size *s;

	for (;;) {
		HASH_FIND_STR(c->all, key, s);
		if (!s || !s->measuring)
			break;
		pthread_cond_wait(&c->measured, &c->lock);
	}
	if (s && now - s->at_ns <= s->took_ns * STALE_FACTOR) {
		*ret = s;
		return true;
	}
	if (!s)
		s = add(c, key, now);
	if (s)
		s->measuring = true;
	*ret = s;
	return false;
}

/* A failed measurement is forgotten. The lock is held. */
static void settle(SizeCache *c, Size *s, int r, const DirUsage *u, int64_t began_ns)
{
	int64_t now = clock_mono_ns();

	s->measuring = false;
	s->usage = *u;
	s->at_ns = now;
	s->wall_ns = clock_now_ns();
	s->took_ns = now - began_ns;
	if (r < 0) {
		HASH_DEL(c->all, s);
		free(s);
	}
	pthread_cond_broadcast(&c->measured);
}

static int size_of(SizeCache *c, const char *key,
		   int (*measure)(Engine *en, const char *name, DirUsage *ret, Err *e), Engine *en,
		   const char *name, DirUsage *ret, Err *e)
{
	Size *s = NULL;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	if (find(c, key, &s)) {
		*ret = s->usage;
		pthread_mutex_unlock(&c->lock);
		return 0;
	}
	pthread_mutex_unlock(&c->lock);
	int64_t began = clock_mono_ns();
	DirUsage u = {0};
	r = measure(en, name, &u, e);
	pthread_mutex_lock(&c->lock);
	if (s)
		settle(c, s, r, &u, began);
	pthread_mutex_unlock(&c->lock);
	if (r >= 0)
		*ret = u;
	return r;
}

static int measure_container(Engine *en, const char *id, DirUsage *ret, Err *e)
{
	return store_snapshot_usage(en->store, id, ret, e);
}

static int measure_volume(Engine *en, const char *name, DirUsage *ret, Err *e)
{
	_cleanup_free_ char *path = strf("volumes/%s/_data", name);
	_cleanup_close_ int fd = -1;

	if (!path)
		return err_oom(e);
	fd = openat(store_root_fd(en->store), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open the volume %s", name);
	return dir_usage(fd, ret, e);
}

int volume_measure(Engine *en, const char *name, int64_t *ret, Err *e)
{
	DirUsage u;
	int r = measure_volume(en, name, &u, e);

	if (r >= 0)
		*ret = u.size;
	return r;
}

static int container_usage_of(Engine *en, const char *id, DirUsage *ret, Err *e)
{
	_cleanup_free_ char *key = strf(LAYER_KEY "%s", id);

	return key ? size_of(en->sizes, key, measure_container, en, id, ret, e) : err_oom(e);
}

int engine_container_size(Engine *en, const char *id, int64_t *ret, Err *e)
{
	DirUsage u;
	int r = container_usage_of(en, id, &u, e);

	if (r >= 0)
		*ret = u.size;
	return r;
}

int engine_volume_size(Engine *en, const char *name, int64_t *ret, Err *e)
{
	_cleanup_free_ char *key = strf("volume %s", name);

	DirUsage u;
	int r = key ? size_of(en->sizes, key, measure_volume, en, name, &u, e) : err_oom(e);

	if (r >= 0)
		*ret = u.size;
	return r;
}

/* ---- for those who do not wait ---- */

static bool engine_ends(const Engine *en)
{
	struct pollfd p = {.fd = background_quit_fd(en->background), .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* The id of a container that is to be measured, malloc'ed; NULL once there is none, and nobody is at it any more. */
static char *next_wanted(SizeCache *c, bool ends)
{
	Size *s, *next;
	char *id = NULL;

	pthread_mutex_lock(&c->lock);
	HASH_ITER (hh, c->all, s, next) {
		if (!s->wanted || ends || id)
			continue;
		id = strdup(s->key + strlen(LAYER_KEY));
		s->wanted = !id;
	}
	c->refreshing = id;
	pthread_mutex_unlock(&c->lock);
	return id;
}

static void refresh(void *arg)
{
	Engine *en = arg;

	for (;;) {
		_cleanup_free_ char *id = next_wanted(en->sizes, engine_ends(en));
		DirUsage u;

		if (!id)
			return;
		(void)container_usage_of(en, id, &u, NULL); /* it may have been removed meanwhile */
	}
}

int engine_container_layer_usage(Engine *en, const char *id, EngineLayerUsage *ret)
{
	_cleanup_free_ char *key = strf(LAYER_KEY "%s", id);
	SizeCache *c = en->sizes;
	int64_t now = clock_mono_ns();
	bool begin = false;
	Size *s;
	int r;

	if (!key)
		return -ENOMEM;
	pthread_mutex_lock(&c->lock);
	HASH_FIND_STR(c->all, key, s);
	if (!s)
		s = add(c, key, now);
	if (s && !s->measuring && now - s->at_ns > MAX2(s->took_ns * STALE_FACTOR, LAYER_OLD_NS)) {
		s->wanted = true;
		begin = !c->refreshing;
		c->refreshing = true;
	}
	r = s && s->wall_ns;
	if (r)
		*ret =
		    (EngineLayerUsage){s->wall_ns, (uint64_t)s->usage.allocated, (uint64_t)s->usage.inodes};
	pthread_mutex_unlock(&c->lock);
	if (begin && background_run(en->background, refresh, en) < 0)
		(void)next_wanted(c, true);
	return r;
}

int engine_container_layer_measure(Engine *en, const char *id, EngineLayerUsage *ret, Err *e)
{
	DirUsage u;
	int r = container_usage_of(en, id, &u, e);

	if (r >= 0)
		*ret = (EngineLayerUsage){clock_now_ns(), (uint64_t)u.allocated, (uint64_t)u.inodes};
	return r;
}
