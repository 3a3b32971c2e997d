/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all builds of an engine share while they run: which steps are being made, so that equal ones are made once.
 *
 * A flight is named by the key of its step. The first makes it; the others wait and look into the cache afterwards. Whoever makes a step has all that it
 * needs by then and waits for no other flight, so no two wait for each other.
 */
#include "build/solve.h"

#include <poll.h>

#define LOOK_MS 200 /* how often somebody who waits looks whether he is still waited for */

struct Flight {
	Builder *builder;
	char *key;
	unsigned refs; /* the one that makes it, and who waits */
	bool landed;
	struct Flight *next;
};

struct Builder {
	Engine *en;
	pthread_mutex_t lock;
	pthread_cond_t landed;
	Flight *flights;
};

int builder_new(Engine *en, Builder **ret, Err *e)
{
	Builder *b = calloc(1, sizeof(*b));
	pthread_condattr_t monotonic;
	int r;

	if (!b)
		return err_oom(e);
	r = passing_sweep(en, e);
	if (r < 0) {
		free(b);
		return r;
	}
	b->en = en;
	pthread_mutex_init(&b->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&b->landed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	*ret = b;
	return 0;
}

void builder_free(Builder *b)
{
	if (!b)
		return;
	pthread_mutex_destroy(&b->lock);
	pthread_cond_destroy(&b->landed);
	free(b);
}

Engine *builder_engine(const Builder *b)
{
	return b->en;
}

/* Under the lock. */
static void let_go(Flight *f)
{
	if (--f->refs > 0)
		return;
	free(f->key);
	free(f);
}

static Flight *find(Builder *b, const char *key)
{
	Flight *f = b->flights;

	while (f && !streq(f->key, key))
		f = f->next;
	return f;
}

static int begin(Builder *b, const char *key, Flight **ret, Err *e)
{
	Flight *f = calloc(1, sizeof(*f));

	if (!f || !(f->key = strdup(key))) {
		free(f);
		return err_oom(e);
	}
	f->builder = b;
	f->refs = 1;
	f->next = b->flights;
	b->flights = f;
	*ret = f;
	return 0;
}

/* Under the lock; true: it has landed. */
static bool await_landing(Builder *b, Flight *f, int alive_fd)
{
	struct pollfd p = {.fd = alive_fd};

	while (!f->landed) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += LOOK_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&b->landed, &b->lock, &until);
		if (!f->landed && poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP))
			return false;
	}
	return true;
}

int flight_begin(Builder *b, const char *key, int alive_fd, Flight **ret, Err *e)
{
	Flight *f;
	bool landed;
	int r;

	*ret = NULL;
	pthread_mutex_lock(&b->lock);
	f = find(b, key);
	if (!f) {
		r = begin(b, key, ret, e);
		pthread_mutex_unlock(&b->lock);
		return r;
	}
	f->refs++;
	landed = await_landing(b, f, alive_fd);
	let_go(f);
	pthread_mutex_unlock(&b->lock);
	return landed ? 1 : build_cancelled(e);
}

void flight_end(Flight *f)
{
	Builder *b;
	Flight **at;

	if (!f)
		return;
	b = f->builder;
	pthread_mutex_lock(&b->lock);
	for (at = &b->flights; *at != f; at = &(*at)->next)
		;
	*at = f->next;
	f->landed = true;
	pthread_cond_broadcast(&b->landed);
	let_go(f);
	pthread_mutex_unlock(&b->lock);
}
