/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a container: what it leaves is undone or recorded, its waiters are woken, and its
 * restart policy or --rm decides what comes next.
 *
 * Runs on a thread of its own (watch.c) or during adoption. The shim may outlive this by the time that
 * slow clients take to read the last output; it is reaped here, at the end, if it is our child.
 */
#include "engine/engine-internal.h"

#include <sys/eventfd.h>
#include <sys/wait.h>

#define RESTART_DELAY_MS     100
#define RESTART_DELAY_MAX_MS 60000
#define RESTART_RESET_NS     (10 * 1000000000ll) /* a run of 10 s counts as a good one */

static bool restart_wanted(Container *c)
{
	const ContainerRestart *p = &c->config.host.restart;
	const char *name = p->name ?: "no";

	if (c->stop_requested)
		return false;
	if (streq(name, "always") || streq(name, "unless-stopped"))
		return true;
	return streq(name, "on-failure") && c->exit_code != 0 &&
	       (p->maximum_retry_count == 0 || c->restart_count < p->maximum_retry_count);
}

static void record_end(Container *c, const ShimExit *x)
{
	Shim *shim;

	pthread_mutex_lock(&c->state);
	c->exit_code = x->status;
	c->oom_killed = x->oom_killed;
	c->finished_ns = x->at_ns ?: clock_now_ns();
	c->pid = 0;
	shim = take_ptr(c->shim);
	if (c->finished_ns - c->started_ns > RESTART_RESET_NS)
		c->restart_count = 0;
	c->status = restart_wanted(c) ? CONTAINER_RESTARTING : CONTAINER_EXITED;
	pthread_mutex_unlock(&c->state);
	shim_unref(shim);
}

static void announce_end(Engine *en, Container *c)
{
	_cleanup_free_ char *dir = container_run_dir(en, c);
	char code[16];
	Err err = {0};
	int r;

	if (dir)
		(void)remove_tree_at(AT_FDCWD, dir);
	r = container_save(en, c, &err);
	if (r < 0)
		log_error("container %.12s has ended: %s", c->id, err_msg(&err, r));
	snprintf(code, sizeof(code), "%d", c->exit_code);
	container_event(en, c, "die", "exitCode", code, NULL);
	pthread_mutex_lock(&c->state);
	c->exits++;
	container_wake(c);
	pthread_mutex_unlock(&c->state);
}

/* Sleeps the back-off, or less when somebody stops or removes the container. */
static void restart_pause(Container *c)
{
	int delay = RESTART_DELAY_MS << MIN2(c->restart_count, 10);
	Waiter w = {.efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

	pthread_mutex_lock(&c->state);
	w.next = c->waiters;
	c->waiters = &w;
	pthread_mutex_unlock(&c->state);
	(void)wait_woken(w.efd, -1, MIN2(delay, RESTART_DELAY_MAX_MS));
	pthread_mutex_lock(&c->state);
	for (Waiter **p = &c->waiters; *p; p = &(*p)->next)
		if (*p == &w) {
			*p = w.next;
			break;
		}
	pthread_mutex_unlock(&c->state);
	close_fd(&w.efd);
}

static void restart(Engine *en, Container *c)
{
	Err err = {0};
	int r = 0;

	restart_pause(c);
	pthread_mutex_lock(&c->life);
	if (container_status(c) == CONTAINER_RESTARTING && !c->removed) {
		if (c->stop_requested) {
			pthread_mutex_lock(&c->state);
			c->status = CONTAINER_EXITED;
			pthread_mutex_unlock(&c->state);
		} else {
			pthread_mutex_lock(&c->state);
			c->restart_count++;
			pthread_mutex_unlock(&c->state);
			r = container_start_locked(en, c, &err);
		}
		if (r < 0) {
			log_warn("container %.12s: restart: %s", c->id, err_msg(&err, r));
			pthread_mutex_lock(&c->state);
			c->status = CONTAINER_EXITED;
			container_wake(c);
			pthread_mutex_unlock(&c->state);
		}
	}
	pthread_mutex_unlock(&c->life);
}

static void reap_shim(pid_t pid)
{
	/* ECHILD: it was started by an earlier irekod and is init's child now. */
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void container_orphan_remove(Engine *en, Container *c)
{
	_cleanup_free_ char *dir = container_run_dir(en, c);
	Err err = {0};
	int r = dir ? shim_remove_orphan(dir, en->runtime_root, c->id, &err) : err_oom(&err);

	if (r < 0)
		log_error("container %.12s: its shim was killed, and what runs cannot be ended: %s", c->id,
			  err_msg(&err, r));
}

void container_ended(Engine *en, Container *c, const ShimExit *x)
{
	bool again, remove;
	pid_t shim_pid;
	Err err = {0};
	int r;

	pthread_mutex_lock(&c->life);
	ContainerStatus was = container_status(c);
	if (was != CONTAINER_RUNNING && was != CONTAINER_PAUSED) {
		pthread_mutex_unlock(&c->life);
		return;
	}
	shim_pid = c->shim_pid;
	c->shim_pid = 0;
	endpoint_teardown(en, c);
	execs_drop(en, c->id);
	record_end(c, x);
	again = container_status(c) == CONTAINER_RESTARTING;
	remove = c->config.host.auto_remove && !again;
	announce_end(en, c);
	if (remove && !c->removed) {
		r = container_remove_locked(en, c, true, &err);
		if (r < 0)
			log_error("container %.12s: remove after its end: %s", c->id, err_msg(&err, r));
	}
	pthread_mutex_unlock(&c->life);
	reap_shim(shim_pid);
	if (again)
		restart(en, c);
}
