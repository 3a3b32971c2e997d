/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adoption: what an irekod that starts makes of the containers that an earlier one left running.
 *
 * A living shim is connected to again and the container goes on as if nothing had been. A shim that is
 * gone has left an exit record, or none: if the machine was restarted the container has then ended with 255, as with Docker, and if
 * the shim was killed, with 137 and a word about it. What a restart policy wants is done after that, beside the first requests.
 *
 * Before the API comes up it is known of each container whether it lives, and its addresses and volumes are taken: a few threads share that
 * work. A shim is not woken for it; the lock that it holds says enough (shim_lives). One that an older version started holds none and is
 * asked at once. The others are subscribed to by a thread beside the first requests (adopt_stop ends it); until then a request that
 * wants a shim connects to it by itself, and an end is told a moment later, as if it had come a moment later.
 */
#include "engine/engine-internal.h"
#include "engine/volume.h"

#include <dirent.h>

#define ADOPT_THREADS 8
#define RETRY_US      500000

/* Of a row that an older version wrote. */
static int ask_for_pid(const char *dir, pid_t *ret, Err *e)
{
	Shim *shim;
	int r = shim_connect(dir, &shim, NULL, ret, e);

	if (r >= 0)
		shim_unref(shim);
	return r;
}

/* Memory only. */
static int take_handle(Engine *en, Container *c, const char *dir, Err *e)
{
	Shim *shim = NULL;
	int r = shim_later(dir, &shim, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&c->state);
	c->shim = shim;
	c->shim_pid = 0; /* not our child */
	pthread_mutex_unlock(&c->state);
	mounts_adopt(en, c);
	return 0;
}

static int listen_to(Engine *en, Container *c, int fd, pid_t shim_pid, Err *e)
{
	int r;

	names_adopt(en, c, shim_pid);
	r = watch_container(en, c, fd, e);
	if (r >= 0 && container_status(c) == CONTAINER_RUNNING)
		health_adopt(en, c);
	return r;
}

/* Nobody waits for the shim, which has to come back into memory first. The engine before may have died between the row and the start itself
 * (start.c): the shim is told to start. */
static int adopt_asked(Engine *en, Container *c, const char *dir, Err *e)
{
	pid_t shim_pid = 0, init_pid = c->pid;
	int fd = -1, r = shim_events_open(dir, true, &fd, &shim_pid, e);

	if (r >= 0 && init_pid <= 0)
		r = ask_for_pid(dir, &init_pid, e);
	if (r >= 0)
		r = take_handle(en, c, dir, e);
	if (r < 0) {
		close_fd(&fd);
		return r;
	}
	pthread_mutex_lock(&c->state);
	c->pid = init_pid;
	pthread_mutex_unlock(&c->state);
	return listen_to(en, c, fd, shim_pid, e);
}

/* `why_not` tells why its shim is not there. */
static void adopt_dead(Engine *en, Container *c, const char *dir, bool same_boot, const char *why_not)
{
	ShimExit x = {.status = same_boot ? SHIM_KILLED_STATUS : 255, .at_ns = clock_now_ns()};
	const char *why = NULL;

	if (shim_read_exit(dir, &x, NULL) <= 0 && same_boot) {
		container_orphan_remove(en, c);
		log_warn("container %.12s: its shim is gone without a record: %s", c->id, why_not);
		why = SHIM_KILLED_WHY;
	}
	container_ended(en, c, &x, why);
}

/* True if its shim is still to be subscribed to. */
static bool adopt_one(Engine *en, Container *c)
{
	_cleanup_free_ char *dir = container_run_dir(en, c);
	bool same_boot = streq(c->boot, id_boot()), later;
	Err err = {0};
	int r = -ENOENT;

	if (!dir)
		return false;
	later = same_boot && c->pid > 0 && shim_lives(dir);
	container_lock(c);
	/* Of one that is dead too: its end gives back what it had. */
	endpoint_adopt(en, c);
	if (same_boot)
		r = later ? take_handle(en, c, dir, &err) : adopt_asked(en, c, dir, &err);
	if (r >= 0 && c->n_unsettled > 0)
		ports_settle(en, c);
	pthread_mutex_unlock(&c->life);
	if (r < 0)
		adopt_dead(en, c, dir, same_boot, err_msg(&err, r));
	return later && r >= 0;
}

/* Of one whose shim lived a moment ago. Nothing but its shim's word ends it meanwhile, so that it still runs. False: to be tried again; that we lack
 * memory or descriptors for it now does not end a container. */
static bool subscribe(Engine *en, Container *c)
{
	_cleanup_free_ char *dir = container_run_dir(en, c);
	pid_t shim_pid = 0;
	Err err = {0};
	int fd = -1, r = dir ? 0 : err_oom(&err);
	bool asked;

	container_lock(c);
	if (r >= 0)
		r = shim_events_open(dir, true, &fd, &shim_pid, &err);
	asked = r >= 0;
	if (asked)
		r = listen_to(en, c, fd, shim_pid, &err);
	pthread_mutex_unlock(&c->life);
	if (r >= 0)
		return true;
	if (!asked && err.kind == ERR_NOT_FOUND) {
		adopt_dead(en, c, dir, true, err_msg(&err, r));
		return true;
	}
	log_error("container %.12s: its end is not noticed%s: %s", c->id,
		  asked ? " before irekod is restarted" : " yet", err_msg(&err, r));
	if (asked)
		close_fd(&fd);
	return asked;
}

/* A shim that no running container's row speaks of: irekod died between its start and the row that would have told. Nobody has
 * heard that it runs, so it ends. */
static void end_stray(Engine *en, const char *id)
{
	_cleanup_free_ char *dir = strf("%s/%s", en->containers_run, id);
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	pid_t shim_pid = 0, init_pid;
	Err err = {0};
	int r;

	if (!dir)
		return;
	if (shim_connect(dir, &shim, &shim_pid, &init_pid, NULL) >= 0) {
		if (!shim_end(shim))
			log_error("the shim %d of container %.12s does not end it", (int)shim_pid, id);
	}
	r = shim_remove_orphan(dir, en->runtime_root, id, &err);
	if (r < 0 && err.kind != ERR_NOT_FOUND)
		log_error("container %.12s: what an earlier irekod left of its start: %s", id,
			  err_msg(&err, r));
	(void)remove_tree_at(AT_FDCWD, dir);
}

static bool was_running(Container *c)
{
	ContainerStatus s = container_status(c);

	return s == CONTAINER_RUNNING || s == CONTAINER_PAUSED;
}

static void end_strays(Engine *en)
{
	DIR *d = opendir(en->containers_run);
	const struct dirent *n;
	Container *c;

	while (d && (n = readdir(d))) {
		if (*n->d_name == '.')
			continue;
		pthread_mutex_lock(&en->lock);
		HASH_FIND_STR(en->by_id, n->d_name, c);
		pthread_mutex_unlock(&en->lock);
		/* Nobody else is at work yet: c stays. */
		if (!c || !was_running(c))
			end_stray(en, n->d_name);
	}
	if (d)
		closedir(d);
}

/*
 * What Docker starts when it starts: `always` whatever happened before, `unless-stopped` unless somebody has stopped it. It is said to be
 * restarting until then, so that nobody takes it for one that stays ended.
 */
static bool to_be_started(const Container *c)
{
	const char *policy = c->config.host.restart.name ?: "no";

	return c->status == CONTAINER_EXITED && c->started_ns != 0 &&
	       (streq(policy, "always") || (streq(policy, "unless-stopped") && !c->stop_requested));
}

static void follow_policy(Engine *en, Container *c)
{
	bool awaits, remove;
	Err err = {0};
	int r = 0;

	container_lock(c);
	pthread_mutex_lock(&c->state);
	if (to_be_started(c)) {
		c->status = CONTAINER_RESTARTING;
		c->restart_turn++;
		c->restart_count = 0;
		c->backoff_ms = 0;
		c->stop_requested = false;
	}
	awaits = c->status == CONTAINER_RESTARTING && !c->removed;
	/* The engine died between the end of a container with --rm and its removal. */
	remove =
	    c->status == CONTAINER_EXITED && c->started_ns != 0 && c->config.host.auto_remove && !c->removed;
	pthread_mutex_unlock(&c->state);
	if (remove)
		r = container_remove_locked(en, c, true, &err);
	pthread_mutex_unlock(&c->life);
	if (r < 0)
		log_error("container %.12s: remove after its end: %s", c->id, err_msg(&err, r));
	if (awaits)
		restart_await(en, c);
}

typedef struct Adoption {
	Engine *en;
	Container **all; /* references */
	bool *later;     /* of each: still to be subscribed to */
	size_t n;
	size_t next; /* atomic */
} Adoption;

static void adoption_free(Adoption *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < a->n; i++)
		container_unref(a->all[i]);
	free(a->all);
	free(a->later);
	free(a);
}
DEFINE_CLEANUP(Adoption *, adoption_free)

static int adoption_new(Engine *en, Adoption **ret, Err *e)
{
	_cleanup_(adoption_freep) Adoption *a = calloc(1, sizeof(*a));
	Container *c, *tmp;

	if (!a)
		return err_oom(e);
	a->en = en;
	a->all = calloc(HASH_COUNT(en->by_id) + 1, sizeof(*a->all));
	a->later = calloc(HASH_COUNT(en->by_id) + 1, sizeof(*a->later));
	if (!a->all || !a->later)
		return err_oom(e);
	HASH_ITER (hh, en->by_id, c, tmp)
		a->all[a->n++] = container_ref(c);
	*ret = take_ptr(a);
	return 0;
}

static void *adopt_thread(void *arg)
{
	Adoption *a = arg;

	for (;;) {
		size_t i = __atomic_fetch_add(&a->next, 1, __ATOMIC_RELAXED);

		if (i >= a->n)
			return NULL;
		/* Its end, if it has ended, has its own say about what follows. */
		if (was_running(a->all[i]))
			a->later[i] = adopt_one(a->en, a->all[i]);
		else
			follow_policy(a->en, a->all[i]);
	}
}

static void adopt_by_threads(Adoption *a)
{
	pthread_t threads[ADOPT_THREADS];
	size_t started = 0;

	for (; started < MIN2(a->n, (size_t)ADOPT_THREADS); started++)
		if (pthread_create(&threads[started], NULL, adopt_thread, a) != 0)
			break;
	adopt_thread(a);
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}

/* Names are answered once those of all are known. */
static void *subscribe_thread(void *arg)
{
	_cleanup_(adoption_freep) Adoption *a = arg;

	for (size_t i = 0; i < a->n;) {
		if (__atomic_load_n(&a->en->adopt_stops, __ATOMIC_RELAXED))
			return NULL;
		if (!a->later[i] || subscribe(a->en, a->all[i]))
			i++;
		else
			(void)usleep(RETRY_US);
	}
	names_adopted(a->en);
	proxied_reconcile(a->en);
	return NULL;
}

int adopt_all(Engine *en, Err *e)
{
	_cleanup_(adoption_freep) Adoption *a = NULL;
	int r = adoption_new(en, &a, e);

	if (r < 0)
		return r;
	en->adopting = true;
	end_strays(en);
	adopt_by_threads(a);
	firewall_watch_open(en);
	networks_reconcile(en);
	proxied_remove_dead(en);
	firewall_watch_start(en);
	volumes_reconcile(en);
	timers_open(en->background);
	r = pthread_create(&en->adopter, NULL, subscribe_thread, a);
	if (r != 0)
		return err_sys(e, r, "start a thread that subscribes to shims");
	en->adopts = true;
	(void)take_ptr(a);
	return 0;
}

void adopt_stop(Engine *en)
{
	if (!en->adopts)
		return;
	__atomic_store_n(&en->adopt_stops, true, __ATOMIC_RELAXED);
	pthread_join(en->adopter, NULL);
	en->adopts = false;
}
