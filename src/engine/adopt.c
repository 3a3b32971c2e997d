/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adoption: what an irekod that starts makes of the containers that an earlier one left running.
 *
 * A living shim is connected to again and the container goes on as if nothing had been. A shim that is
 * gone has left an exit record, or none: if the machine was restarted the container has then ended with 255, as with Docker, and if
 * the shim was killed, with 137 and a word about it. What a restart policy wants is done after that, beside the first requests.
 * A few threads share the work; a connect to a living shim takes well under a millisecond, so the API comes up right after.
 */
#include "engine/engine-internal.h"
#include "engine/volume.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>

#define ADOPT_THREADS 8
#define STRAY_MS      5000

/* Of a row that an older version wrote. */
static int ask_for_pid(const char *dir, pid_t *ret, Err *e)
{
	Shim *shim;
	int r = shim_connect(dir, &shim, NULL, ret, e);

	if (r >= 0)
		shim_unref(shim);
	return r;
}

/* Nobody waits for the shim, which has to come back into memory first. The engine before may have died between the row and the start itself
 * (start.c): the shim is told to start. */
static int adopt_living(Engine *en, Container *c, const char *dir, Err *e)
{
	Shim *shim = NULL;
	pid_t shim_pid = 0, init_pid = c->pid;
	int fd = -1, r = shim_events_open(dir, true, &fd, &shim_pid, e);

	if (r >= 0 && init_pid <= 0)
		r = ask_for_pid(dir, &init_pid, e);
	if (r >= 0)
		r = shim_later(dir, &shim, e);
	if (r < 0) {
		close_fd(&fd);
		return r;
	}
	pthread_mutex_lock(&c->state);
	c->shim = shim;
	c->pid = init_pid;
	c->shim_pid = 0; /* not our child */
	pthread_mutex_unlock(&c->state);
	mounts_adopt(en, c);
	names_adopt(en, c, shim_pid);
	r = watch_container(en, c, fd, e);
	if (r >= 0 && container_status(c) == CONTAINER_RUNNING)
		health_adopt(en, c);
	return r;
}

static void adopt_one(Engine *en, Container *c)
{
	_cleanup_free_ char *dir = container_run_dir(en, c);
	bool same_boot = streq(c->boot, id_boot());
	ShimExit x = {.status = same_boot ? SHIM_KILLED_STATUS : 255, .at_ns = clock_now_ns()};
	const char *why = NULL;
	Err err = {0};
	int r;

	if (!dir)
		return;
	container_lock(c);
	/* Of one that is dead too: its end gives back what it had. */
	endpoint_adopt(en, c);
	r = same_boot ? adopt_living(en, c, dir, &err) : -ENOENT;
	pthread_mutex_unlock(&c->life);
	if (r >= 0)
		return;
	if (shim_read_exit(dir, &x, NULL) <= 0 && same_boot) {
		container_orphan_remove(en, c);
		log_warn("container %.12s: its shim is gone without a record: %s", c->id, err_msg(&err, r));
		why = SHIM_KILLED_WHY;
	}
	container_ended(en, c, &x, why);
}

/* True once the process is gone. */
static bool wait_gone(pid_t pid)
{
	_cleanup_close_ int fd = pid > 0 ? pidfd_open(pid, 0) : -1;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return fd < 0 ? errno == ESRCH : poll(&p, 1, STRAY_MS) > 0;
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
		(void)shim_kill(shim, NULL, SIGKILL, true, NULL);
		if (!wait_gone(shim_pid))
			log_error("the shim %d of container %.12s does not end", (int)shim_pid, id);
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
	Container **all;
	size_t n;
	size_t next; /* atomic */
} Adoption;

static void *adopt_thread(void *arg)
{
	Adoption *a = arg;

	for (;;) {
		size_t i = __atomic_fetch_add(&a->next, 1, __ATOMIC_RELAXED);

		if (i >= a->n)
			return NULL;
		/* Its end, if it has ended, has its own say about what follows. */
		if (was_running(a->all[i]))
			adopt_one(a->en, a->all[i]);
		else
			follow_policy(a->en, a->all[i]);
	}
}

int adopt_all(Engine *en, Err *e)
{
	Adoption a = {.en = en};
	pthread_t threads[ADOPT_THREADS];
	size_t started = 0;
	Container *c, *tmp;

	en->adopting = true;
	end_strays(en);
	a.all = calloc(HASH_COUNT(en->by_id) + 1, sizeof(*a.all));
	if (!a.all)
		return err_oom(e);
	HASH_ITER (hh, en->by_id, c, tmp)
		a.all[a.n++] = container_ref(c);
	for (; started < MIN2(a.n, (size_t)ADOPT_THREADS); started++)
		if (pthread_create(&threads[started], NULL, adopt_thread, &a) != 0)
			break;
	adopt_thread(&a);
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < a.n; i++)
		container_unref(a.all[i]);
	free(a.all);
	names_adopted(en);
	networks_reconcile(en);
	volumes_reconcile(en);
	timers_open(en->background);
	return 0;
}
