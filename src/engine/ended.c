/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a container: what it leaves is undone or recorded, its waiters are woken, and its
 * restart policy or --rm decides what comes next.
 *
 * Runs on a thread of its own (background.c) or during adoption. The shim may outlive this by the time that
 * slow clients take to read the last output; it is reaped here, at the end, if it is our child.
 *
 * A restart is neither lost nor doubled: that it is awaited is part of the row that records the end, so an engine that starts
 * finds it there. It is carried out by a timer, under `life`, if the container still awaits that very restart.
 */
#include "engine/engine-internal.h"

#include <sys/wait.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS   60000
#define GOOD_RUN_NS      (10 * 1000000000ll) /* after a run of 10 s the back-off begins anew */

/* ---- the restart policy ---- */

int restart_policy_check(const ContainerRestart *p, Err *e)
{
	const char *name = p->name ?: "";

	if (streq(name, "no") || streq(name, "always") || streq(name, "unless-stopped"))
		return p->maximum_retry_count == 0
			   ? 0
			   : err_new(e, ERR_INVALID,
				     "invalid restart policy: maximum retry count can only be used with "
				     "'on-failure'%s",
				     p->maximum_retry_count < 0 ? " and cannot be negative" : "");
	if (streq(name, "on-failure"))
		return p->maximum_retry_count >= 0 ? 0
						   : err_new(e, ERR_INVALID,
							     "invalid restart policy: maximum retry count "
							     "cannot be negative");
	if (*name)
		return err_new(e, ERR_INVALID,
			       "invalid restart policy: unknown policy '%s'; use one of 'no', 'always', "
			       "'on-failure', or 'unless-stopped'",
			       name);
	return 0;
}

static bool restart_wanted(const Container *c)
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

/* `state` is held. */
static void restart_decide(Container *c)
{
	if (c->status != CONTAINER_RESTARTING && c->finished_ns - c->started_ns >= GOOD_RUN_NS)
		c->backoff_ms = 0;
	c->backoff_ms = c->backoff_ms == 0 ? BACKOFF_FIRST_MS : MIN2(c->backoff_ms * 2, BACKOFF_MAX_MS);
	c->restart_turn++;
	c->status = restart_wanted(c) ? CONTAINER_RESTARTING : CONTAINER_EXITED;
	if (c->status == CONTAINER_RESTARTING)
		c->restart_count++;
}

/* The container stays ended. `life` is held. */
static void restart_give_up(Engine *en, Container *c)
{
	Err err = {0};
	int r;

	pthread_mutex_lock(&c->state);
	c->status = CONTAINER_EXITED;
	c->restart_turn++;
	container_wake(c);
	pthread_mutex_unlock(&c->state);
	r = container_save(en, c, &err);
	if (r < 0)
		log_error("container %.12s: %s", c->id, err_msg(&err, r));
}

/* What it shares a namespace with is to be started again too, and is not yet: it is tried again, which does not count. */
static bool waits_for_another(Engine *en, const Container *c)
{
	const char *const modes[] = {c->config.host.network_mode, c->config.host.ipc_mode,
				     c->config.host.pid_mode};
	bool waits = false;

	for (size_t i = 0; i < ELEMENTSOF(modes) && !waits; i++) {
		const char *ref = modes[i] ? str_after(modes[i], "container:") : NULL;
		_cleanup_container_ Container *other = NULL;

		waits = ref && container_find(en, ref, &other, NULL) >= 0 && other != c &&
			container_status(other) == CONTAINER_RESTARTING;
	}
	return waits;
}

/* What may be otherwise next time: a port that is taken, a process that somebody killed before it ran. Docker would give up. */
static bool is_passing(ErrKind kind)
{
	return kind == ERR_CONFLICT || kind == ERR_UNAVAILABLE || kind == ERR_EXHAUSTED ||
	       kind == ERR_INTERNAL;
}

/* The next restart is awaited, as after an end; false if the policy wants none. `life` is held. */
static bool restart_again(Engine *en, Container *c, unsigned *ret_turn, int64_t *ret_after_ns)
{
	Err err = {0};
	int r;

	pthread_mutex_lock(&c->state);
	restart_decide(c);
	bool again = c->status == CONTAINER_RESTARTING;
	*ret_turn = c->restart_turn;
	*ret_after_ns = c->backoff_ms * 1000000ll;
	pthread_mutex_unlock(&c->state);
	r = again ? container_save(en, c, &err) : 0;
	if (r < 0)
		log_error("container %.12s: %s", c->id, err_msg(&err, r));
	return again;
}

static void restart_due(Engine *en, Container *c, unsigned turn)
{
	int64_t after = BACKOFF_FIRST_MS * 1000000ll;
	bool later = false;
	Err err = {0};
	int r = 0;

	container_lock(c);
	if (container_status(c) == CONTAINER_RESTARTING && c->restart_turn == turn && !c->removed)
		r = container_start_locked(en, c, &err);
	if (r < 0) {
		log_warn("container %.12s: restart: %s", c->id, err_msg(&err, r));
		later =
		    waits_for_another(en, c) || (is_passing(err.kind) && restart_again(en, c, &turn, &after));
		if (!later)
			restart_give_up(en, c);
	}
	pthread_mutex_unlock(&c->life);
	if (later && timer_set(en->background, c, after, restart_due, turn) < 0)
		log_error("container %.12s: no memory for its restart", c->id);
}

void restart_await(Engine *en, Container *c)
{
	int64_t left;
	unsigned turn;

	pthread_mutex_lock(&c->state);
	left = c->finished_ns + c->backoff_ms * 1000000ll - clock_now_ns();
	turn = c->restart_turn;
	pthread_mutex_unlock(&c->state);
	/* The clock may have been set meanwhile. */
	left = MIN2(left, c->backoff_ms * 1000000ll);
	if (timer_set(en->background, c, left, restart_due, turn) >= 0)
		return;
	log_error("container %.12s: no memory for its restart: it stays ended", c->id);
	container_lock(c);
	restart_give_up(en, c);
	pthread_mutex_unlock(&c->life);
}

int restart_cancel(Engine *en, Container *c, Err *e)
{
	int r = 0;

	container_lock(c);
	if (container_status(c) == CONTAINER_RESTARTING && !c->removed) {
		pthread_mutex_lock(&c->state);
		c->status = CONTAINER_EXITED;
		c->stop_requested = true;
		c->restart_turn++;
		container_wake(c);
		pthread_mutex_unlock(&c->state);
		r = container_save(en, c, e);
		r = r < 0 ? r : 1;
	}
	pthread_mutex_unlock(&c->life);
	return r;
}

/* ---- the end ---- */

static void enter_end(Container *c, const ShimExit *x, const char *why)
{
	Shim *shim;

	pthread_mutex_lock(&c->state);
	c->exit_code = x->status;
	c->oom_killed = c->oom_killed || x->oom_killed;
	c->finished_ns = x->at_ns ?: clock_now_ns();
	c->pid = 0;
	free(c->error);
	c->error = why ? strdup(why) : NULL;
	shim = take_ptr(c->shim);
	health_end(c);
	restart_decide(c);
	pthread_mutex_unlock(&c->state);
	shim_unref(shim);
}

static void announce_end(Engine *en, Container *c)
{
	char code[16], seconds[24];

	snprintf(code, sizeof(code), "%d", c->exit_code);
	snprintf(seconds, sizeof(seconds), "%lld",
		 (long long)MAX2((c->finished_ns - c->started_ns) / 1000000000, (int64_t)0));
	container_event(en, c, "die", "execDuration", seconds, "exitCode", code, NULL);
	pthread_mutex_lock(&c->state);
	c->exits++;
	container_wake(c);
	pthread_mutex_unlock(&c->state);
}

/* The shim's record of the exit goes after the row has it: an engine that dies in between finds the one or the other. */
static void record_end(Engine *en, Container *c)
{
	_cleanup_free_ char *dir = container_run_dir(en, c);
	/* One that its build is about to remove: an engine that finds the record removes it as well. */
	bool goes = container_is_step(c) && !container_is_kept_step(c);
	Err err = {0};
	int r = goes ? 0 : container_save(en, c, &err);

	if (r < 0)
		log_error("container %.12s has ended: %s", c->id, err_msg(&err, r));
	announce_end(en, c);
	if (dir && !goes)
		(void)remove_tree_at(AT_FDCWD, dir);
}

/* --rm: the row goes at once, so it need not say any more how the container ended. */
static void remove_ended(Engine *en, Container *c)
{
	Err err = {0};

	announce_end(en, c);
	mounts_release(en, c);
	int r = container_remove_locked(en, c, true, &err);
	if (r < 0)
		log_error("container %.12s: remove after its end: %s", c->id, err_msg(&err, r));
}

void shim_reap(pid_t pid)
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

void container_ended(Engine *en, Container *c, const ShimExit *x, const char *why)
{
	bool again;
	pid_t shim_pid;

	container_lock(c);
	ContainerStatus was = container_status(c);
	if (was != CONTAINER_RUNNING && was != CONTAINER_PAUSED) {
		pthread_mutex_unlock(&c->life);
		return;
	}
	shim_pid = c->shim_pid;
	c->shim_pid = 0;
	endpoint_teardown(en, c);
	execs_drop(en, c->id);
	enter_end(c, x, why);
	again = container_status(c) == CONTAINER_RESTARTING;
	if (c->config.host.auto_remove && !again && !c->removed &&
	    __atomic_load_n(&c->keepers, __ATOMIC_SEQ_CST) == 0) {
		remove_ended(en, c);
	} else {
		record_end(en, c);
		mounts_release(en, c);
	}
	pthread_mutex_unlock(&c->life);
	shim_reap(shim_pid);
	if (again)
		restart_await(en, c);
}
