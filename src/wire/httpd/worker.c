/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that serve requests: one for each request that is at work, and a few that wait for the next.
 *
 * A client that has just been answered mostly asks again at once, so a worker waits for it a moment (a few of them do at any time), and parks the
 * connection when nothing comes.
 *
 * Requests that take as long as their clients like, as followers of logs do, may not have the last threads: a share of them is for those
 * that are answered at once.
 */
#include "wire/httpd/httpd-internal.h"
#include "base/clock.h"

#include <poll.h>
#include <time.h>

#define THREAD_STACK  (512 * 1024)
#define IDLE_WORKERS  4
#define IDLE_WORKER_S 10
#define LINGER_MS     250
#define LINGERING_MAX 8
#define SHORT_SHARE   8 /* one in so many threads */

/* Waits for more on its own connection. 1: a request is here, 0: nothing for a while, -errno: the client has gone. */
static int wait_for_next(HttpConnection *c)
{
	int64_t until = clock_mono_ns() + LINGER_MS * 1000000ll;

	for (;;) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		int64_t left = (until - clock_mono_ns()) / 1000000;
		ssize_t n;
		int r;

		if (left <= 0)
			return 0;
		r = poll(&p, 1, (int)left);
		if (r == 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
		n = r < 0 ? -EAGAIN : http_conn_receive(c);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && n != -EAGAIN)
			return (int)n;
		if (n > 0 && http_conn_scan(c))
			return 1;
	}
}

/* 1: serve it again, 0: park it, -errno: it is over. */
static int next_request(HttpConnection *c)
{
	HttpServer *s = c->server;
	bool linger;
	int r;

	http_conn_next(c);
	if (http_conn_scan(c))
		return 1;
	pthread_mutex_lock(&s->lock);
	linger = !s->stopping && s->lingering < LINGERING_MAX;
	s->lingering += linger;
	pthread_mutex_unlock(&s->lock);
	if (!linger)
		return 0;
	http_conn_state(c, true, false, false);
	r = wait_for_next(c);
	pthread_mutex_lock(&s->lock);
	s->lingering--;
	pthread_mutex_unlock(&s->lock);
	return r;
}

bool http_may_stay(HttpConnection *c)
{
	HttpServer *s = c->server;
	unsigned most = s->o.requests_max - s->o.requests_max / SHORT_SHARE;

	if (c->stays)
		return true;
	pthread_mutex_lock(&s->lock);
	c->stays = s->staying < most;
	s->staying += c->stays;
	pthread_mutex_unlock(&s->lock);
	return c->stays;
}

static bool serve_one(HttpConnection *c)
{
	HttpServer *s = c->server;
	bool again = http_serve_one(c);

	if (!c->stays)
		return again;
	pthread_mutex_lock(&s->lock);
	c->stays = false;
	s->staying--;
	pthread_mutex_unlock(&s->lock);
	return again;
}

static void work_on(HttpConnection *c)
{
	int r = -ECONNRESET;

	while (serve_one(c)) {
		r = next_request(c);
		if (r <= 0)
			break;
		r = -ECONNRESET;
	}
	if (r == 0)
		http_conn_park(c);
	else
		http_conn_free(c);
}

/* The next ready connection; NULL when none comes for a while. */
static HttpConnection *take_ready(HttpServer *s)
{
	HttpConnection *c;
	struct timespec until;

	pthread_mutex_lock(&s->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += IDLE_WORKER_S;
	while (!s->ready.first && !s->stopping && s->idle_workers < IDLE_WORKERS) {
		int r;

		s->idle_workers++;
		r = pthread_cond_timedwait(&s->work, &s->lock, &until);
		s->idle_workers--;
		if (r != 0 && !s->ready.first)
			break;
	}
	c = s->ready.first;
	if (c) {
		http_queue_remove(c);
	} else {
		s->workers--;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return c;
}

static void *worker(void *arg)
{
	HttpServer *s = arg;
	HttpConnection *c;

	pthread_setname_np(pthread_self(), "irekod-http");
	while ((c = take_ready(s)))
		work_on(c);
	return NULL;
}

static int start_thread(HttpServer *s)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	r = pthread_create(&thread, &attr, worker, s);
	pthread_attr_destroy(&attr);
	return -r;
}

static bool still_ready(const HttpServer *s, const HttpConnection *c)
{
	const HttpConnection *i = s->ready.first;

	while (i && i != c)
		i = i->q_next;
	return i;
}

void http_work_start(HttpConnection *c)
{
	HttpServer *s = c->server;
	bool start, full;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	start = s->idle_workers <= s->ready.n;
	full = start && s->workers >= s->o.requests_max;
	if (!full) {
		c->idle = false;
		s->workers += start;
		http_queue_add(&s->ready, c);
		pthread_cond_signal(&s->work);
	}
	pthread_mutex_unlock(&s->lock);
	if (start && !full)
		r = start_thread(s);
	if (r < 0) {
		/* A worker may have taken it meanwhile, and be done with it: then there was no need for one more. */
		pthread_mutex_lock(&s->lock);
		s->workers--;
		full = still_ready(s, c);
		if (full)
			http_queue_remove(c);
		pthread_mutex_unlock(&s->lock);
		log_warn("start a thread for a request: %s", strerror(-r));
	}
	if (full) {
		__atomic_add_fetch(&s->turned_away, 1, __ATOMIC_RELAXED);
		http_turn_away(c->fd, "503 Service Unavailable", HTTP_TOO_MANY);
		http_conn_free(c);
	}
}
