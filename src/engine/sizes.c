/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much room containers and volumes take: what only a walk over their files can tell, remembered.
 *
 * Nobody tells us when a file changes, so a size is believed for a while that depends on what it cost: STALE_FACTOR times
 * the time of the walk. A small directory is counted anew every few milliseconds, one whose walk takes 3 s once a minute, and
 * all walks for one directory together take at most a twentieth of the time, however often anybody asks. Who asks while it is being
 * walked waits for that walk. Where a number is final (what a prune has freed) it is measured, not remembered.
 */
#include "engine/engine-internal.h"
#include "store/dir.h"

#define STALE_FACTOR 20

typedef struct Size {
	UT_hash_handle hh;
	int64_t bytes, at_ns, took_ns;
	bool measuring;
	char key[];
} Size;

struct SizeCache {
	pthread_mutex_t lock;
	pthread_cond_t measured;
	Size *all;
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
		if (!s->measuring && now - s->at_ns > MAX2(s->took_ns * STALE_FACTOR, 60 * 1000000000ll)) {
			HASH_DEL(c->all, s);
			free(s);
		}
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
	if (!s) {
		drop_old(c, now);
		s = calloc(1, sizeof(*s) + strlen(key) + 1);
		if (s) {
			strcpy(s->key, key);
			HASH_ADD_STR(c->all, key, s);
		}
	}
	if (s)
		s->measuring = true;
	*ret = s;
	return false;
}

/* A failed measurement is forgotten. The lock is held. */
static void settle(SizeCache *c, Size *s, int r, int64_t bytes, int64_t began_ns)
{
	int64_t now = clock_mono_ns();

	s->measuring = false;
	s->bytes = bytes;
	s->at_ns = now;
	s->took_ns = now - began_ns;
	if (r < 0) {
		HASH_DEL(c->all, s);
		free(s);
	}
	pthread_cond_broadcast(&c->measured);
}

static int size_of(SizeCache *c, const char *key,
		   int (*measure)(Engine *en, const char *name, int64_t *ret, Err *e), Engine *en,
		   const char *name, int64_t *ret, Err *e)
{
	Size *s = NULL;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	if (find(c, key, &s)) {
		*ret = s->bytes;
		pthread_mutex_unlock(&c->lock);
		return 0;
	}
	pthread_mutex_unlock(&c->lock);
	int64_t began = clock_mono_ns(), bytes = 0;
	r = measure(en, name, &bytes, e);
	pthread_mutex_lock(&c->lock);
	if (s)
		settle(c, s, r, bytes, began);
	pthread_mutex_unlock(&c->lock);
	if (r >= 0)
		*ret = bytes;
	return r;
}

static int measure_container(Engine *en, const char *id, int64_t *ret, Err *e)
{
	return store_snapshot_size(en->store, id, ret, e);
}

int volume_measure(Engine *en, const char *name, int64_t *ret, Err *e)
{
	_cleanup_free_ char *path = strf("volumes/%s/_data", name);
	_cleanup_close_ int fd = -1;

	if (!path)
		return err_oom(e);
	fd = openat(store_root_fd(en->store), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open the volume %s", name);
	return dir_size(fd, ret, e);
}

int engine_container_size(Engine *en, const char *id, int64_t *ret, Err *e)
{
	_cleanup_free_ char *key = strf("container %s", id);

	return key ? size_of(en->sizes, key, measure_container, en, id, ret, e) : err_oom(e);
}

int engine_volume_size(Engine *en, const char *name, int64_t *ret, Err *e)
{
	_cleanup_free_ char *key = strf("volume %s", name);

	return key ? size_of(en->sizes, key, volume_measure, en, name, ret, e) : err_oom(e);
}
