/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `logs` of a container: which file its driver keeps, and when following it ends.
 *
 * A container's end is known after the shim has written everything, so one more read after it sees all.
 */
#include "engine/log-options.h"
#include "engine/logs.h"

#include <sys/eventfd.h>

static int waiter_add(Container *c, Waiter *w)
{
	w->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->efd < 0)
		return -errno;
	pthread_mutex_lock(&c->state);
	w->next = c->waiters;
	c->waiters = w;
	pthread_mutex_unlock(&c->state);
	return 0;
}

static void waiter_remove(Container *c, Waiter *w)
{
	pthread_mutex_lock(&c->state);
	for (Waiter **p = &c->waiters; *p; p = &(*p)->next)
		if (*p == w) {
			*p = w->next;
			break;
		}
	pthread_mutex_unlock(&c->state);
	close_fd(&w->efd);
}

typedef struct Run {
	Container *c;
	unsigned exits;
} Run;

/* The run that was followed is over; a restarted container is another run (Docker's rule). */
static bool run_ended(void *user)
{
	const Run *run = user;

	pthread_mutex_lock(&run->c->state);
	bool ended = run->c->exits != run->exits || run->c->removed ||
		     (run->c->status != CONTAINER_RUNNING && run->c->status != CONTAINER_PAUSED);
	pthread_mutex_unlock(&run->c->state);
	return ended;
}

static int follow_container(Container *c, const LogPlace *place, const EngineLogs *l, EngineLogSink sink,
			    void *user, int alive_fd, uint64_t *malformed, Err *e)
{
	Run run = {.c = c};
	Waiter w = {.efd = -1};
	int r = waiter_add(c, &w);

	if (r < 0)
		return err_sys(e, r, "follow");
	pthread_mutex_lock(&c->state);
	run.exits = c->exits;
	pthread_mutex_unlock(&c->state);
	LogFollow f = {.wake_fd = w.efd, .alive_fd = alive_fd, .ended = run_ended, .user = &run};
	r = log_files_read(place->path, place->codec, l, &f, sink, user, malformed, e);
	waiter_remove(c, &w);
	return r;
}

/* Only the records of a json file have attributes of their own: else they are those of the container. */
typedef struct Attributed {
	EngineLogSink sink;
	int (*caught_up)(void *user);
	void *user;
	char *attrs;
} Attributed;

static int add_attributes(void *user, const EngineLogRecord *r)
{
	const Attributed *a = user;
	EngineLogRecord full = *r;

	full.attrs = a->attrs;
	full.n_attrs = strlen(a->attrs);
	return a->sink(a->user, &full);
}

static int pass_caught_up(void *user)
{
	const Attributed *a = user;

	return a->caught_up(a->user);
}

static int read_attributed(Container *c, LogPlace *place, EngineLogs l, EngineLogSink sink, void *user,
			   int alive_fd, uint64_t *malformed, Err *e)
{
	_cleanup_json_ json_t *attrs = NULL;
	_cleanup_free_ char *text = NULL;
	Attributed a = {sink, l.caught_up, user, NULL};
	int r = 0;

	if (place->codec != &log_codec_json && l.details) {
		r = log_attributes(c, &attrs, e);
		a.attrs = text = r >= 0 ? json_dumps(attrs, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
		if (r < 0 || !text)
			return r < 0 ? r : err_oom(e);
	}
	if (a.attrs) {
		sink = add_attributes;
		user = &a;
		l.caught_up = l.caught_up ? pass_caught_up : NULL;
	}
	return l.follow ? follow_container(c, place, &l, sink, user, alive_fd, malformed, e)
			: log_files_read(place->path, place->codec, &l, NULL, sink, user, malformed, e);
}

int engine_container_logs(Engine *en, const char *ref, const EngineLogs *l, EngineLogSink sink, void *user,
			  int alive_fd, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	LogPlace place = {0};
	uint64_t malformed = 0;
	int r;

	if (!l->out && !l->err)
		return err_new(e, ERR_INVALID, "Bad parameters: you must choose at least one stream");
	r = container_find(en, ref, &c, e);
	if (r >= 0)
		r = log_place(en, c, &place, e);
	if (r < 0)
		return r;
	r = read_attributed(c, &place, *l, sink, user, alive_fd, &malformed, e);
	free(place.path);
	if (malformed > 0)
		log_warn("container %.12s: %llu lines of its log are no records and were skipped", c->id,
			 (unsigned long long)malformed);
	return err_ctx(e, r, "logs of container %s", ref);
}

int engine_container_logs_check(Engine *en, const char *ref, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	LogPlace place = {0};
	int r = container_find(en, ref, &c, e);

	if (r >= 0)
		r = log_place(en, c, &place, e);
	free(place.path);
	return r;
}

/* It has to run for the CRI, which wants no file made where there is an error. */
int engine_container_log_reopen(Engine *en, const char *ref, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	int r = container_find(en, ref, &c, e);

	if (r < 0)
		return r;
	if (!c->config.pod.id)
		r = err_new(e, ERR_UNSUPPORTED, "it is in no pod, and its log is rotated by the engine");
	else if (container_status(c) != CONTAINER_RUNNING && container_status(c) != CONTAINER_PAUSED)
		r = err_new_no(e, ERR_CONFLICT, ESRCH, "the container is not running");
	if (r >= 0)
		r = container_shim(c, &shim, e);
	if (r >= 0)
		r = shim_log_reopen(shim, e);
	return err_ctx(e, r, "reopen the log of container %s", ref);
}
