/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work beside the requests: threads for what takes a container's lock and may wait, and timers for what is to be
 * done to a container later (a restart after its back-off, the next health check).
 *
 * One thread waits for the earliest timer; it exists from the first timer on, so that an engine without any pays nothing. What
 * is due runs on a thread of its own. A timer is never taken back: it carries a number that its container had when it was set, and
 * its function does nothing if the container has moved on.
 *
 * A thread that has nothing to do any more waits a few seconds for the next work: containers come and go in series.
 *
 * The engine ends after every such thread has: whoever waits in one watches quit_fd too.
 */
#include "engine/engine-internal.h"

#include <sys/eventfd.h>

#define STACK_SIZE   (256 * 1024)
#define IDLE_MAX     2
#define IDLE_SECONDS 5

typedef struct Timer {
	int64_t at_ns; /* CLOCK_MONOTONIC */
	TimerFn fn;
	Engine *en;
	Container *c; /* a reference */
	unsigned turn;
} Timer;

typedef struct Work {
	void (*fn)(void *arg);
	void *arg;
} Work;

struct Background {
	Engine *en;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* an earlier timer, the last thread's end, the engine's end */
	pthread_cond_t given;   /* work for a thread that waits for some */
	unsigned threads, idle;
	Work handed
	    [IDLE_MAX]; /* for threads that wait and have not woken up yet, which `idle` does not count any more */
	unsigned n_handed;
	bool stop, waits, open; /* open: timers may fire */
	pthread_t waiter;
	Timer *heap; /* the earliest first */
	size_t n, room;
	int quit_fd;
};

int background_new(Engine *en, Background **ret, Err *e)
{
	Background *b = calloc(1, sizeof(*b));
	pthread_condattr_t attr;

	if (!b)
		return err_oom(e);
	b->en = en;
	b->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->quit_fd < 0) {
		free(b);
		return err_sys(e, errno, "eventfd");
	}
	pthread_mutex_init(&b->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->changed, &attr);
	pthread_cond_init(&b->given, &attr);
	pthread_condattr_destroy(&attr);
	*ret = b;
	return 0;
}

int background_quit_fd(const Background *b)
{
	return b->quit_fd;
}

/* ---- threads ---- */

typedef struct Worker {
	Background *b;
	Work first;
} Worker;

/* False: nothing came in time. `lock` is held. */
static bool work_await(Background *b, Work *ret)
{
	struct timespec until;

	if (b->stop || b->idle + b->n_handed >= IDLE_MAX)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	b->idle++;
	while (b->n_handed == 0 && !b->stop &&
	       pthread_cond_timedwait(&b->given, &b->lock, &until) != ETIMEDOUT)
		;
	if (b->n_handed == 0) {
		b->idle--;
		return false;
	}
	*ret = b->handed[--b->n_handed];
	return true;
}

static void *work_thread(void *arg)
{
	Worker w = *(Worker *)arg;
	Background *b = w.b;
	Work work = w.first;

	pthread_setname_np(pthread_self(), "irekod-work");
	free(arg);
	do {
		work.fn(work.arg);
		pthread_mutex_lock(&b->lock);
		bool more = work_await(b, &work);
		if (!more && --b->threads == 0)
			pthread_cond_broadcast(&b->changed);
		pthread_mutex_unlock(&b->lock);
		if (!more)
			return NULL;
	} while (true);
}

/* To a thread that waits; false if none does. The thread counts as busy from here on. `lock` is held. */
static bool work_give(Background *b, void (*fn)(void *arg), void *arg)
{
	if (b->idle == 0)
		return false;
	b->idle--;
	b->handed[b->n_handed++] = (Work){fn, arg};
	pthread_cond_signal(&b->given);
	return true;
}

static int thread_start(void *(*fn)(void *), void *arg, bool detached, pthread_t *ret)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	if (detached)
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = pthread_create(ret, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	return -r;
}

int background_run(Background *b, void (*fn)(void *arg), void *arg)
{
	Worker *w;
	pthread_t thread;
	int r;

	pthread_mutex_lock(&b->lock);
	bool given = work_give(b, fn, arg);
	if (!given)
		b->threads++;
	pthread_mutex_unlock(&b->lock);
	if (given)
		return 0;
	w = malloc(sizeof(*w));
	if (w)
		*w = (Worker){b, {fn, arg}};
	r = w ? thread_start(work_thread, w, true, &thread) : -ENOMEM;
	if (r < 0) {
		free(w);
		pthread_mutex_lock(&b->lock);
		if (--b->threads == 0)
			pthread_cond_broadcast(&b->changed);
		pthread_mutex_unlock(&b->lock);
	}
	return r;
}

/* ---- timers ---- */

static void sift_up(Timer *heap, size_t i)
{
	while (i > 0 && heap[i].at_ns < heap[(i - 1) / 2].at_ns) {
		Timer t = heap[i];

		heap[i] = heap[(i - 1) / 2];
		heap[(i - 1) / 2] = t;
		i = (i - 1) / 2;
	}
}

static void sift_down(Timer *heap, size_t n, size_t i)
{
	for (;;) {
		size_t least = i;

		for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < n; k++)
			if (heap[k].at_ns < heap[least].at_ns)
				least = k;
		if (least == i)
			return;
		Timer t = heap[i];
		heap[i] = heap[least];
		heap[least] = t;
		i = least;
	}
}

static void timer_run(const Timer *t)
{
	t->fn(t->en, t->c, t->turn);
	container_unref(t->c);
}

static void timer_due(void *arg)
{
	timer_run(arg);
	free(arg);
}

/* The earliest one, which is due; `lock` is held, but not while it runs. */
static void timer_fire(Background *b)
{
	Timer t = b->heap[0], *copy = malloc(sizeof(*copy));

	b->heap[0] = b->heap[--b->n];
	sift_down(b->heap, b->n, 0);
	pthread_mutex_unlock(&b->lock);
	if (copy)
		*copy = t;
	/* Without a thread to be had it is done here, and later ones wait. */
	if (!copy || background_run(b, timer_due, copy) < 0) {
		free(copy);
		timer_run(&t);
	}
	pthread_mutex_lock(&b->lock);
}

static void *waiter_thread(void *arg)
{
	Background *b = arg;

	pthread_setname_np(pthread_self(), "irekod-timers");
	pthread_mutex_lock(&b->lock);
	while (!b->stop) {
		int64_t at = b->n ? b->heap[0].at_ns : 0;
		struct timespec ts = {at / 1000000000, at % 1000000000};

		if (b->n == 0 || !b->open)
			pthread_cond_wait(&b->changed, &b->lock);
		else if (at > clock_mono_ns())
			pthread_cond_timedwait(&b->changed, &b->lock, &ts);
		else
			timer_fire(b);
	}
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

/* `lock` is held. */
static int timer_add(Background *b, const Timer *t)
{
	int r;

	if (b->n == b->room) {
		size_t room = b->room ? b->room * 2 : 16;
		Timer *heap = reallocarray(b->heap, room, sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		b->heap = heap;
		b->room = room;
	}
	if (!b->waits) {
		r = thread_start(waiter_thread, b, false, &b->waiter);
		if (r < 0)
			return r;
		b->waits = true;
	}
	b->heap[b->n] = *t;
	sift_up(b->heap, b->n++);
	pthread_cond_broadcast(&b->changed);
	return 0;
}

int timer_set(Background *b, Container *c, int64_t after_ns, TimerFn fn, unsigned turn)
{
	Timer t = {clock_mono_ns() + MAX2(after_ns, (int64_t)0), fn, b->en, c, turn};
	int r = 0;

	pthread_mutex_lock(&b->lock);
	if (!b->stop) {
		r = timer_add(b, &t);
		if (r >= 0)
			(void)container_ref(c);
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

void timers_open(Background *b)
{
	pthread_mutex_lock(&b->lock);
	b->open = true;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}

/* ---- the end ---- */

void background_free(Background *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	b->stop = true;
	(void)eventfd_write(b->quit_fd, 1);
	pthread_cond_broadcast(&b->changed);
	pthread_cond_broadcast(&b->given);
	pthread_mutex_unlock(&b->lock);
	if (b->waits)
		pthread_join(b->waiter, NULL);
	pthread_mutex_lock(&b->lock);
	while (b->threads > 0)
		pthread_cond_wait(&b->changed, &b->lock);
	pthread_mutex_unlock(&b->lock);
	for (size_t i = 0; i < b->n; i++)
		container_unref(b->heap[i].c);
	free(b->heap);
	close_fd(&b->quit_fd);
	pthread_cond_destroy(&b->changed);
	pthread_cond_destroy(&b->given);
	pthread_mutex_destroy(&b->lock);
	free(b);
}
