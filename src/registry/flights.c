/* SPDX-License-Identifier: Apache-2.0 */
/* See flights.h. One lock for all: it is held for moments, and a pull takes it a few times a layer. */
#include "registry/flights.h"
#include "base/str.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

struct Flight {
	Flights *all;
	Flight *next;
	char *key;
	size_t users; /* all below under Flights.lock */
	bool taken;
	BlobWriter *partial;
	atomic_llong told;
};

struct Flights {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	Flight *first;
};

Flights *flights_new(void)
{
	Flights *f = calloc(1, sizeof(*f));
	pthread_condattr_t attr;

	if (!f)
		return NULL;
	pthread_mutex_init(&f->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->changed, &attr);
	pthread_condattr_destroy(&attr);
	return f;
}

void flights_free(Flights *f)
{
	if (!f)
		return;
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static Flight *flight_new(Flights *f, char *key)
{
	Flight *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->all = f;
	x->key = key;
	x->next = f->first;
	f->first = x;
	return x;
}

Flight *flight_join(Flights *f, const char *origin, const char *digest)
{
	_cleanup_free_ char *key = strf("%s %s", origin, digest);
	Flight *x;

	if (!key)
		return NULL;
	pthread_mutex_lock(&f->lock);
	for (x = f->first; x && !streq(x->key, key); x = x->next)
		;
	if (!x && (x = flight_new(f, key)))
		key = NULL;
	if (x)
		x->users++;
	pthread_mutex_unlock(&f->lock);
	return x;
}

void flight_leave(Flight *x)
{
	Flights *f = x->all;
	bool last;

	pthread_mutex_lock(&f->lock);
	last = --x->users == 0;
	for (Flight **p = &f->first; last && *p; p = &(*p)->next)
		if (*p == x) {
			*p = x->next;
			break;
		}
	pthread_mutex_unlock(&f->lock);
	if (last) {
		blob_writer_free(x->partial);
		free(x->key);
		free(x);
	}
}

bool flight_turn(Flight *x, int timeout_ms)
{
	Flights *f = x->all;
	struct timespec until;
	bool ours;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)timeout_ms * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&f->lock);
	while (x->taken && pthread_cond_timedwait(&f->changed, &f->lock, &until) == 0)
		;
	ours = !x->taken;
	x->taken = true;
	pthread_mutex_unlock(&f->lock);
	return ours;
}

BlobWriter *flight_partial(Flight *x)
{
	BlobWriter *w;

	pthread_mutex_lock(&x->all->lock);
	w = take_ptr(x->partial);
	pthread_mutex_unlock(&x->all->lock);
	return w;
}

void flight_land(Flight *x, BlobWriter *partial)
{
	pthread_mutex_lock(&x->all->lock);
	x->partial = partial;
	x->taken = false;
	pthread_cond_broadcast(&x->all->changed);
	pthread_mutex_unlock(&x->all->lock);
}

void flight_tell(Flight *x, int64_t bytes)
{
	atomic_store_explicit(&x->told, bytes, memory_order_relaxed);
}

int64_t flight_told(const Flight *x)
{
	return atomic_load_explicit(&((Flight *)x)->told, memory_order_relaxed);
}
