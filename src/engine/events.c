/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: a ring of the last 1024, and followers that read from it.
 *
 * A follower keeps the number of the next event that it wants and is woken through an eventfd; it
 * copies under the lock and delivers outside of it, so a slow client holds up nobody. One that falls more than
 * the ring's length behind misses the oldest, as with Docker, or is told so if it needs them all. What happened before it came it can
 * have of the last 256, as with Docker.
 */
#include "engine/engine-internal.h"

#include <poll.h>
#include <sys/eventfd.h>

#define EVENTS_KEPT     1024
#define EVENTS_REPLAYED 256

typedef struct EventHub {
	pthread_mutex_t lock;
	EngineEvent ring[EVENTS_KEPT];
	uint64_t next; /* number of the event that comes next; ring holds [next - EVENTS_KEPT, next) */
	Waiter *followers;
} EventHub;

int events_new(EventHub **ret, Err *e)
{
	EventHub *h = calloc(1, sizeof(*h));

	if (!h)
		return err_oom(e);
	pthread_mutex_init(&h->lock, NULL);
	*ret = h;
	return 0;
}

static void event_done(EngineEvent *ev)
{
	free(ev->type);
	free(ev->action);
	free(ev->id);
	strv_free(ev->attributes);
	*ev = (EngineEvent){0};
}

static int event_copy(const EngineEvent *from, EngineEvent *ret)
{
	*ret = (EngineEvent){
	    .type = strdup(from->type),
	    .action = strdup(from->action),
	    .id = strdup(from->id),
	    .attributes = strv_dup(from->attributes),
	    .time_ns = from->time_ns,
	};
	if (ret->type && ret->action && ret->id && ret->attributes)
		return 0;
	event_done(ret);
	return -ENOMEM;
}

void events_free(EventHub *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < EVENTS_KEPT; i++)
		event_done(&h->ring[i]);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void engine_event(Engine *en, const char *type, const char *action, const char *id, char *const *attributes)
{
	EventHub *h = en->events;
	EngineEvent given = {(char *)type, (char *)action, (char *)id, (char **)attributes, clock_now_ns()};
	EngineEvent ev;

	/* Out of memory loses the event, not the operation that it tells of. */
	if (event_copy(&given, &ev) < 0)
		return;
	pthread_mutex_lock(&h->lock);
	EngineEvent *slot = &h->ring[h->next++ % EVENTS_KEPT];
	event_done(slot);
	*slot = ev;
	for (Waiter *w = h->followers; w; w = w->next)
		(void)eventfd_write(w->efd, 1);
	pthread_mutex_unlock(&h->lock);
}

static uint64_t oldest(const EventHub *h, uint64_t kept)
{
	return h->next > kept ? h->next - kept : 0;
}

/* Copies event number *n; 0 when there is none yet. If that is gone: the oldest one kept, or -EOVERFLOW if all are needed. */
static int event_take(EventHub *h, uint64_t *n, bool all, EngineEvent *ret)
{
	int r = 0;

	pthread_mutex_lock(&h->lock);
	if (all && *n < oldest(h, EVENTS_KEPT))
		r = -EOVERFLOW;
	*n = MAX2(*n, oldest(h, EVENTS_KEPT));
	if (r == 0 && *n < h->next) {
		r = event_copy(&h->ring[*n % EVENTS_KEPT], ret);
		if (r == 0) {
			(*n)++;
			r = 1;
		}
	}
	pthread_mutex_unlock(&h->lock);
	return r;
}

static int follower_add(EventHub *h, Waiter *w, bool replay, uint64_t *ret_next)
{
	w->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->efd < 0)
		return -errno;
	pthread_mutex_lock(&h->lock);
	w->next = h->followers;
	h->followers = w;
	*ret_next = replay ? oldest(h, EVENTS_REPLAYED) : h->next;
	pthread_mutex_unlock(&h->lock);
	return 0;
}

static void follower_remove(EventHub *h, Waiter *w)
{
	pthread_mutex_lock(&h->lock);
	for (Waiter **p = &h->followers; *p; p = &(*p)->next)
		if (*p == w) {
			*p = w->next;
			break;
		}
	pthread_mutex_unlock(&h->lock);
	close_fd(&w->efd);
}

/* Delivers what is there; non-zero stops. */
static int deliver(EventHub *h, uint64_t *next, const EngineEventsWanted *wanted, EngineEventSink sink,
		   void *user)
{
	for (;;) {
		EngineEvent ev;
		int r = event_take(h, next, wanted->all, &ev);

		if (r <= 0)
			return r;
		r = 0;
		if (wanted->until_ns && ev.time_ns > wanted->until_ns)
			r = 1;
		else if (ev.time_ns >= wanted->since_ns)
			r = sink(user, &ev);
		event_done(&ev);
		if (r)
			return r;
	}
}

void events_count(EventHub *h, uint64_t *ret_events, unsigned *ret_followers)
{
	pthread_mutex_lock(&h->lock);
	*ret_events = h->next;
	*ret_followers = 0;
	for (const Waiter *w = h->followers; w; w = w->next)
		++*ret_followers;
	pthread_mutex_unlock(&h->lock);
}

int engine_events_follow(Engine *en, const EngineEventsWanted *wanted, EngineEventSink sink, void *user,
			 int alive_fd, Err *e)
{
	EventHub *h = en->events;
	Waiter w = {.efd = -1};
	uint64_t next = 0;
	int r = follower_add(h, &w, wanted->since_ns > 0 || wanted->until_ns > 0, &next);

	if (r < 0)
		return err_sys(e, r, "follow events");
	for (;;) {
		int64_t left_ms = -1;

		r = deliver(h, &next, wanted, sink, user);
		if (r)
			break;
		if (wanted->until_ns) {
			left_ms = (wanted->until_ns - clock_now_ns()) / 1000000;
			if (left_ms <= 0)
				break;
		}
		r = wait_woken(w.efd, alive_fd, (int)MIN2(left_ms, (int64_t)3600000));
		if (r < 0)
			break;
	}
	follower_remove(h, &w);
	if (r == -EOVERFLOW)
		return err_new_no(e, ERR_EXHAUSTED, EOVERFLOW,
				  "events were lost: more than %d have happened that were not taken; list "
				  "what there is, and follow anew",
				  EVENTS_KEPT);
	return r == -ECANCELED ? err_new(e, ERR_CANCELLED, "the client has gone away") : MIN2(r, 0);
}
