/* SPDX-License-Identifier: Apache-2.0 */
/* See flights.h. One lock for all: it is held for moments, and a pull takes it a few times a layer. */
#include "registry/flights.h"
#include "base/clock.h"
#include "base/str.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define KEPT_MAX 4 /* partial blobs that nobody waits for */

struct Flight {
	Flights *all;
	Flight *next;
	char *key;
	size_t users; /* all below under Flights.lock */
	bool taken;
	BlobWriter *partial;
	int64_t left_ns; /* without users: since when (CLOCK_MONOTONIC) */
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

static void flight_free(Flight *x)
{
	blob_writer_free(x->partial);
	free(x->key);
	free(x);
}

/* Takes those out of the list that were left before `before`, and the oldest of more than `most`; a list of its own. `lock` is held. */
static Flight *take_kept(Flights *f, int64_t before, size_t most)
{
	Flight *out = NULL;
	size_t n = 0;

	/* The list has the latest that was left first. */
	for (Flight **p = &f->first; *p;) {
		Flight *x = *p;

		if (x->users > 0 || (++n <= most && x->left_ns >= before)) {
			p = &x->next;
			continue;
		}
		*p = x->next;
		x->next = out;
		out = x;
	}
	return out;
}

static void free_list(Flight *x)
{
	for (Flight *next; x; x = next) {
		next = x->next;
		flight_free(x);
	}
}

void flights_forget(Flights *f, int64_t age_ns)
{
	pthread_mutex_lock(&f->lock);
	Flight *out = take_kept(f, clock_mono_ns() - age_ns + 1, KEPT_MAX);
	pthread_mutex_unlock(&f->lock);
	free_list(out);
}

void flights_free(Flights *f)
{
	if (!f)
		return;
	flights_forget(f, 0);
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

static void unlink_flight(Flights *f, const Flight *x)
{
	for (Flight **p = &f->first; *p; p = &(*p)->next)
		if (*p == x) {
			*p = x->next;
			return;
		}
}

void flight_leave(Flight *x, bool keep)
{
	Flights *f = x->all;
	Flight *out = NULL;

	pthread_mutex_lock(&f->lock);
	if (--x->users == 0) {
		unlink_flight(f, x);
		if (keep && x->partial) {
			x->left_ns = clock_mono_ns();
			x->next = f->first;
			f->first = x;
			out = take_kept(f, INT64_MIN, KEPT_MAX);
		} else {
			x->next = NULL;
			out = x;
		}
	}
	pthread_mutex_unlock(&f->lock);
	free_list(out);
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
