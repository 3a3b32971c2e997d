/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of all containers together with the engine, for those who do not want them to outlive it (live-restore false).
 *
 * A thread each, as `stop` from as many clients would be; engine_free waits for those that are still at it. Who has not ended in time belongs to its
 * shim, as ever. A container that
 * its policy would have kept running is marked as of no boot: the next start of an engine finds it as after a restart of the machine.
 */
#include "engine/pod-internal.h"

typedef struct StopAll {
	Engine *en;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned left;
	unsigned refs;
} StopAll;

typedef struct StopOne {
	StopAll *all;
	Container *c;
} StopOne;

static void all_unref(StopAll *a)
{
	bool last;

	pthread_mutex_lock(&a->lock);
	last = --a->refs == 0;
	pthread_mutex_unlock(&a->lock);
	if (!last)
		return;
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

/* To be started again by the next engine. */
static void mark_interrupted(Engine *en, Container *c)
{
	const char *policy = c->config.host.restart.name ?: "no";
	Err err = {0};
	int r = 0;

	if (!streq(policy, "always") && !streq(policy, "unless-stopped"))
		return;
	container_lock(c);
	pthread_mutex_lock(&c->state);
	c->stop_requested = false;
	*c->boot = '\0';
	pthread_mutex_unlock(&c->state);
	r = c->removed ? 0 : container_save(en, c, &err);
	pthread_mutex_unlock(&c->life);
	if (r < 0)
		log_warn("container %.12s: it will not be started again by its policy: %s", c->id,
			 err_msg(&err, r));
}

static void stop_thread(void *arg)
{
	StopOne *o = arg;
	StopAll *a = o->all;
	Err err = {0};
	int r;

	/* The end of a sandbox is that of its pod: members have their time first. */
	pod_members_await(a->en, o->c);
	r = engine_container_stop(a->en, o->c->id, NULL, -1, &err);

	if (r < 0 && err.kind != ERR_NOT_MODIFIED && err.kind != ERR_NOT_FOUND)
		log_warn("stop container %.12s with the engine: %s", o->c->id, err_msg(&err, r));
	else
		mark_interrupted(a->en, o->c);
	container_unref(o->c);
	free(o);
	pthread_mutex_lock(&a->lock);
	a->left--;
	pthread_cond_signal(&a->changed);
	pthread_mutex_unlock(&a->lock);
	all_unref(a);
}

static int stop_one(StopAll *a, Container *c)
{
	StopOne *o = malloc(sizeof(*o));
	int r;

	if (!o)
		return -ENOMEM;
	*o = (StopOne){a, container_ref(c)};
	pthread_mutex_lock(&a->lock);
	a->left++;
	a->refs++;
	pthread_mutex_unlock(&a->lock);
	r = background_run(a->en->background, stop_thread, o);
	if (r >= 0)
		return 0;
	pthread_mutex_lock(&a->lock);
	a->left--;
	a->refs--;
	pthread_mutex_unlock(&a->lock);
	container_unref(c);
	free(o);
	return r;
}

static void wait_all(StopAll *a, int timeout_s)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += timeout_s;
	pthread_mutex_lock(&a->lock);
	while (a->left > 0 && pthread_cond_timedwait(&a->changed, &a->lock, &until) == 0)
		;
	if (a->left > 0)
		log_warn("%u containers did not stop within %d s: they go on", a->left, timeout_s);
	pthread_mutex_unlock(&a->lock);
}

void engine_stop_all(Engine *en, int timeout_s)
{
	StopAll *a = calloc(1, sizeof(*a));
	Container *c, *tmp, **all = NULL;
	size_t n = 0;

	if (!a)
		return;
	a->en = en;
	a->refs = 1;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	pthread_mutex_lock(&en->lock);
	all = calloc(HASH_COUNT(en->by_id) + 1, sizeof(*all));
	HASH_ITER (hh, en->by_id, c, tmp)
		if (all)
			all[n++] = container_ref(c);
	pthread_mutex_unlock(&en->lock);
	for (size_t i = 0; i < n; i++) {
		ContainerStatus s = container_status(all[i]);
		int r = s == CONTAINER_RUNNING || s == CONTAINER_PAUSED || s == CONTAINER_RESTARTING
			    ? stop_one(a, all[i])
			    : 0;

		if (r < 0)
			log_warn("stop container %.12s with the engine: %s", all[i]->id, strerror(-r));
		container_unref(all[i]);
	}
	free(all);
	wait_all(a, timeout_s);
	all_unref(a);
}
