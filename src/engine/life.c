/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stop, kill, pause, wait, remove, update: the life operations besides start.
 *
 * An operation that waits for the container's end must not hold Container.life while it waits, because
 * the end itself is worked off under that lock.
 */
#include "engine/pod-internal.h"

#include <signal.h>
#include <sys/eventfd.h>

#define STOP_TIMEOUT_S  10
#define KILL_TIMEOUT_MS 30000
#define STUCK                                                                                                \
	"container %.12s does not end although it was killed: a process of it hangs in the kernel (state D)"

/* "RTMIN", "RTMIN+3", "RTMAX-1", in the kernel's numbering as glibc shows it: 34 to 64. */
static bool signal_realtime(const char *name, int *ret)
{
	bool max = strncasecmp(name, "RTMAX", 5) == 0;
	int offset = 0;

	if ((!max && strncasecmp(name, "RTMIN", 5) != 0) ||
	    (name[5] && (name[5] != (max ? '-' : '+') || str_to_int(name + 6, 0, 30, &offset) < 0)))
		return false;
	*ret = max ? 64 - offset : 34 + offset;
	return true;
}

int signal_parse(const char *s, int *ret, Err *e)
{
	static const struct {
		const char *name;
		int signal;
	} others[] = {{"CLD", SIGCHLD}, {"IOT", SIGABRT}, {"IO", SIGIO}, {"UNUSED", SIGSYS}};
	const char *name = strncasecmp(s, "SIG", 3) == 0 ? s + 3 : s;

	if (str_to_int(s, 1, 64, ret) >= 0 || signal_realtime(name, ret))
		return 0;
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *abbrev = sigabbrev_np(i);

		if (abbrev && strcasecmp(abbrev, name) == 0) {
			*ret = i;
			return 0;
		}
	}
	for (size_t i = 0; i < ELEMENTSOF(others); i++)
		if (strcasecmp(others[i].name, name) == 0) {
			*ret = others[i].signal;
			return 0;
		}
	return err_new(e, ERR_INVALID, "Invalid signal: %s", s);
}

static void waiter_add(Container *c, Waiter *w)
{
	w->next = c->waiters;
	c->waiters = w;
}

static void waiter_remove(Container *c, Waiter *w)
{
	for (Waiter **p = &c->waiters; *p; p = &(*p)->next)
		if (*p == w) {
			*p = w->next;
			return;
		}
}

static bool is_running(ContainerStatus s)
{
	return s == CONTAINER_RUNNING || s == CONTAINER_PAUSED || s == CONTAINER_RESTARTING;
}

static bool wait_is_over(const Container *c, ContainerWait condition, unsigned exits_before)
{
	switch (condition) {
	case WAIT_NOT_RUNNING:
		return c->removed || !is_running(c->status);
	case WAIT_NEXT_EXIT:
		return c->removed || c->exits != exits_before;
	case WAIT_REMOVED:
		return c->removed;
	}
	return true;
}

/* 1 when the condition holds, 0 at the time-out, negative when the client is gone. */
static int wait_for(Container *c, ContainerWait condition, unsigned exits_before, void (*registered)(void *),
		    void *user, int alive_fd, int timeout_ms)
{
	int64_t deadline = clock_mono_ns() + timeout_ms * 1000000ll;
	Waiter w = {.efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	int r = 0;

	if (w.efd < 0)
		return -errno;
	pthread_mutex_lock(&c->state);
	waiter_add(c, &w);
	if (registered) {
		pthread_mutex_unlock(&c->state);
		registered(user);
		pthread_mutex_lock(&c->state);
	}
	while (!wait_is_over(c, condition, exits_before)) {
		int64_t left = timeout_ms < 0 ? -1 : (deadline - clock_mono_ns()) / 1000000;

		if (timeout_ms >= 0 && left <= 0)
			goto out;
		pthread_mutex_unlock(&c->state);
		r = wait_woken(w.efd, alive_fd, (int)left);
		pthread_mutex_lock(&c->state);
		if (r < 0)
			goto out;
	}
	r = 1;
out:
	waiter_remove(c, &w);
	pthread_mutex_unlock(&c->state);
	close_fd(&w.efd);
	return r;
}

int engine_container_wait(Engine *en, const char *ref, ContainerWait condition, void (*registered)(void *),
			  void *user, int alive_fd, ContainerEnd *ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	unsigned exits;
	int r = container_find(en, ref, &c, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&c->state);
	exits = c->exits;
	pthread_mutex_unlock(&c->state);
	r = wait_for(c, condition, exits, registered, user, alive_fd, -1);
	if (r == -ECANCELED)
		return err_new(e, ERR_CANCELLED, "the client has gone away");
	if (r < 0)
		return err_sys(e, r, "wait for container %s", ref);
	pthread_mutex_lock(&c->state);
	ret->status = c->exit_code;
	ret->error = str_empty(c->error) ? NULL : strdup(c->error);
	pthread_mutex_unlock(&c->state);
	return 0;
}

/* life is held. Its status, its health checks and who listens to events follow. */
static int pause_locked(Engine *en, Container *c, Shim *shim, bool pause, Err *e)
{
	int r = shim_pause(shim, pause, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&c->state);
	c->status = pause ? CONTAINER_PAUSED : CONTAINER_RUNNING;
	if (pause)
		health_stop(c);
	pthread_mutex_unlock(&c->state);
	if (!pause)
		health_go_on(en, c);
	/* The row tells an engine that finds the container later. */
	r = container_save(en, c, e);
	container_event(en, c, pause ? "pause" : "unpause", NULL);
	return r;
}

/* With `thaw`, a frozen container is resumed: a signal that is to end it is worked off only then. life is held. */
static int kill_locked(Engine *en, Container *c, int signal, bool thaw, Err *e)
{
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	Err err = {0};
	char number[12];
	int r = container_shim(c, &shim, e);

	if (r < 0)
		return r;
	r = shim_kill(shim, NULL, signal, false, e);
	if (r < 0)
		return err_ctx(e, r, "kill container %.12s", c->id);
	snprintf(number, sizeof(number), "%d", signal);
	container_event(en, c, "kill", "signal", number, NULL);
	/* For SIGKILL the runtime has seen to that itself. */
	if (thaw && signal != SIGKILL && container_status(c) == CONTAINER_PAUSED) {
		r = pause_locked(en, c, shim, false, &err);
		if (r < 0)
			log_warn("container %.12s: resume it for signal %d: %s", c->id, signal,
				 err_msg(&err, r));
	}
	return 0;
}

/* Sends a signal under life; *ret_exits is what to wait from. `ending`: it is to end, and its restart policy is to leave it so, also if
 * the engine is no more when it does. */
static int signal_locked(Engine *en, Container *c, int signal, bool ending, unsigned *ret_exits, Err *e)
{
	Err err = {0};
	bool news;
	int r = 0;

	pthread_mutex_lock(&c->state);
	*ret_exits = c->exits;
	news = ending && !c->stop_requested && !streq(c->config.host.restart.name ?: "no", "no");
	c->stop_requested = c->stop_requested || ending;
	pthread_mutex_unlock(&c->state);
	if (news)
		r = container_save(en, c, e);
	if (r >= 0) {
		r = kill_locked(en, c, signal, ending, &err);
		/* It has just ended by itself, and that is to be worked off once `life` is free: what follows waits for it. */
		if (r < 0 && ending && err.kind == ERR_CONFLICT && is_running(container_status(c)))
			r = 0;
		if (r < 0)
			r = err_new_no(e, err.kind, -r, "%s", err_msg(&err, r));
	}
	return r;
}

static int signal_now(Engine *en, Container *c, int signal, bool ending, unsigned *ret_exits, Err *e)
{
	int r;

	container_lock(c);
	r = signal_locked(en, c, signal, ending, ret_exits, e);
	pthread_mutex_unlock(&c->life);
	return r;
}

static int stop_signal_of(const Container *c, const char *given)
{
	int signal = SIGTERM;
	const char *s = str_empty(given) ? c->config.stop_signal : given;

	if (!str_empty(s))
		(void)signal_parse(s, &signal, NULL); /* checked at create; the API checks its own */
	return signal;
}

/* Seconds; -1, "for ever", is as many as can be counted. */
static int stop_timeout_of(const Container *c)
{
	int64_t t = c->config.stop_timeout;

	if (t == STOP_TIMEOUT_UNSET)
		return STOP_TIMEOUT_S;
	return t < 0 || t > INT32_MAX / 1000 ? INT32_MAX / 1000 : (int)t;
}

static int stop_running(Engine *en, Container *c, const char *signal, int timeout_s, Err *e)
{
	unsigned exits;
	int r;

	if (timeout_s < 0)
		timeout_s = stop_timeout_of(c);
	r = signal_now(en, c, stop_signal_of(c, signal), true, &exits, e);
	if (r < 0)
		return !is_running(container_status(c)) ? 0 : r;
	r = wait_for(c, WAIT_NEXT_EXIT, exits, NULL, NULL, -1, timeout_s * 1000);
	if (r == 0) {
		r = signal_now(en, c, SIGKILL, true, &exits, e);
		if (r < 0)
			return !is_running(container_status(c)) ? 0 : r;
		r = wait_for(c, WAIT_NOT_RUNNING, exits, NULL, NULL, -1, KILL_TIMEOUT_MS);
		if (r == 0)
			return err_new(e, ERR_INTERNAL, STUCK, c->id);
	}
	return MIN2(r, 0);
}

/* One that waits for its next start only stops to wait: nothing of it is there to be signalled. */
static int stop(Engine *en, Container *c, const char *signal, int timeout_s, Err *e)
{
	int r = restart_cancel(en, c, e);

	if (r == 0)
		r = stop_running(en, c, signal, timeout_s, e);
	if (r >= 0)
		container_event(en, c, "stop", NULL);
	return MIN2(r, 0);
}

int engine_container_stop(Engine *en, const char *ref, const char *signal, int timeout_s, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int number, r = container_find(en, ref, &c, e);

	if (r < 0)
		return r;
	if (!str_empty(signal) && (r = signal_parse(signal, &number, e)) < 0)
		return r;
	if (!is_running(container_status(c)))
		return err_new(e, ERR_NOT_MODIFIED, "container %s is already stopped", ref);
	return stop(en, c, signal, timeout_s, e);
}

int engine_container_restart(Engine *en, const char *ref, const char *signal, int timeout_s, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int number, r = container_find(en, ref, &c, e);

	if (r >= 0)
		r = pod_guard(c, "restart", e);
	if (r >= 0 && !str_empty(signal))
		r = signal_parse(signal, &number, e);
	if (r < 0)
		return r;
	if (is_running(container_status(c))) {
		/* --rm is for an end that stays one. */
		__atomic_add_fetch(&c->keepers, 1, __ATOMIC_SEQ_CST);
		r = stop(en, c, signal, timeout_s, e);
		__atomic_sub_fetch(&c->keepers, 1, __ATOMIC_SEQ_CST);
	}
	if (r < 0)
		return r;
	container_lock(c);
	/* Somebody else may have started it meanwhile. */
	if (c->removed)
		r = err_new(e, ERR_NOT_FOUND, "No such container: %s", ref);
	else if (!is_running(container_status(c)))
		r = container_start_anew_locked(en, c, e);
	pthread_mutex_unlock(&c->life);
	if (r >= 0)
		container_event(en, c, "restart", NULL);
	return r;
}

int engine_container_kill(Engine *en, const char *ref, const char *signal, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int number = SIGKILL, r = container_find(en, ref, &c, e);
	unsigned exits;
	bool ends;

	if (r >= 0 && !str_empty(signal))
		r = signal_parse(signal, &number, e);
	if (r < 0)
		return r;
	ends = number == SIGKILL || number == stop_signal_of(c, NULL);
	if (ends && (r = restart_cancel(en, c, e)) != 0)
		return MIN2(r, 0);
	if (container_status(c) == CONTAINER_RESTARTING)
		return err_new(
		    e, ERR_CONFLICT,
		    "cannot kill container: %s: Container %s is restarting, wait until the container "
		    "is running",
		    ref, c->id);
	if (!is_running(container_status(c)))
		return err_new(e, ERR_CONFLICT, "cannot kill container: %s: container %s is not running", ref,
			       c->id);
	r = signal_now(en, c, number, ends, &exits, e);
	if (r >= 0 && number == SIGKILL)
		r = MIN2(wait_for(c, WAIT_NEXT_EXIT, exits, NULL, NULL, -1, 10000), 0);
	return r < 0 ? err_ctx(e, r, "cannot kill container: %s", ref) : 0;
}

int container_kill_begin(Engine *en, Container *c, unsigned *ret_exits, Err *e)
{
	int r = 0;

	/* A start that is under way is waited for: what it starts is to end as well. */
	container_lock(c);
	if (is_running(container_status(c)))
		r = signal_locked(en, c, SIGKILL, true, ret_exits, e);
	pthread_mutex_unlock(&c->life);
	return r < 0 && !is_running(container_status(c)) ? 0 : r;
}

int container_kill_end(Container *c, unsigned exits, Err *e)
{
	int r = is_running(container_status(c))
		    ? wait_for(c, WAIT_NOT_RUNNING, exits, NULL, NULL, -1, KILL_TIMEOUT_MS)
		    : 1;

	if (r == 0)
		return err_new(e, ERR_INTERNAL, STUCK, c->id);
	return r < 0 ? err_sys(e, r, "wait for container %.12s", c->id) : 0;
}

int engine_container_pause(Engine *en, const char *ref, bool pause, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	int r = container_find(en, ref, &c, e);

	if (r < 0)
		return r;
	container_lock(c);
	ContainerStatus s = container_status(c);
	if (pause && s == CONTAINER_PAUSED)
		r = err_new(e, ERR_CONFLICT, "container %s is already paused", ref);
	else if (pause && s == CONTAINER_RESTARTING)
		r = err_new(e, ERR_CONFLICT,
			    "Container %s is restarting, wait until the container is running", c->id);
	else if (!pause && s != CONTAINER_PAUSED)
		r = err_new(e, ERR_CONFLICT, "Container %s is not paused", ref);
	else
		r = container_shim(c, &shim, e);
	if (r >= 0)
		r = pause_locked(en, c, shim, pause, e);
	pthread_mutex_unlock(&c->life);
	return r;
}

/* ---- removal ---- */

static void remove_volumes(Engine *en, Container *c)
{
	for (size_t i = 0; i < c->n_mounts; i++) {
		VolumeInfo v = {0};

		if (!streq(c->mounts[i].type, "volume") ||
		    engine_volume_inspect(en, c->mounts[i].name, &v, NULL) < 0)
			continue;
		/* Only anonymous ones; one that another container uses by --volumes-from stays. */
		if (strv_env_get(v.labels, "com.docker.volume.anonymous"))
			(void)engine_volume_remove(en, v.name, false, NULL);
		volume_info_done(&v);
	}
}

int container_remove_locked(Engine *en, Container *c, bool volumes, Err *e)
{
	_cleanup_free_ char *run = container_run_dir(en, c);
	int r;

	if (!run)
		return err_oom(e);
	r = store_doc_delete(en->store, COLLECTION_CONTAINER, c->id, e);
	if (r < 0)
		return r;
	container_forget(en, c);
	mounts_remove_snapshots(en, c);
	r = store_snapshot_remove_folder(en->store, c->id, e);
	(void)remove_tree_at(AT_FDCWD, run);
	if (volumes)
		remove_volumes(en, c);
	container_event(en, c, "destroy", NULL);
	pthread_mutex_lock(&c->state);
	c->removed = true;
	/* Whoever waits for it is told how it ended: why it did not start is the start's answer, and a removal that went well is no error. */
	free(c->error);
	c->error = NULL;
	container_wake(c);
	PendingAttach *pending = take_ptr(c->pending);
	pthread_mutex_unlock(&c->state);
	pending_free(pending);
	return err_ctx(e, r,
		       "container %.12s: its record is gone, files of it remain and go at the next start",
		       c->id);
}

int container_remove(Engine *en, Container *c, const char *ref, bool force, bool volumes, Err *e)
{
	unsigned exits;
	int r;

	for (int attempt = 0;; attempt++) {
		container_lock(c);
		if (c->removed) {
			pthread_mutex_unlock(&c->life);
			return attempt ? 0
				       : err_new(e, ERR_CONFLICT,
						 "removal of container %s is already in progress", ref);
		}
		ContainerStatus s = container_status(c);
		/* One that waits for its next start has nothing that runs. */
		if (!is_running(s) || (force && s == CONTAINER_RESTARTING)) {
			r = container_remove_locked(en, c, volumes, e);
			pthread_mutex_unlock(&c->life);
			return r;
		}
		pthread_mutex_unlock(&c->life);
		if (!force)
			return err_new(e, ERR_CONFLICT,
				       "cannot remove container \"%s\": container is %s: stop the container "
				       "before removing "
				       "or force remove",
				       ref, container_status_name(s));
		if (attempt > 3)
			return err_new(e, ERR_INTERNAL, "container %s does not end although it was killed",
				       ref);
		r = signal_now(en, c, SIGKILL, true, &exits, e);
		/* One that has ended by itself just now is waited for as well. */
		if (r >= 0 || r == -ESRCH)
			r = MIN2(wait_for(c, WAIT_NOT_RUNNING, exits, NULL, NULL, -1, 10000), 0);
		if (r < 0 && is_running(container_status(c)))
			return r;
	}
}

int engine_container_remove(Engine *en, const char *ref, bool force, bool volumes, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int r = container_find(en, ref, &c, e);

	if (r >= 0)
		r = pod_guard(c, "remove", e);
	return r < 0 ? r : container_remove(en, c, ref, force, volumes, e);
}

int engine_container_prune(Engine *en, bool (*match)(void *user, const ContainerInfo *i), void *user,
			   char ***ret_ids, int64_t *ret_bytes, Err *e)
{
	ContainerInfo *all;
	size_t n;
	int r = engine_container_list(en, &all, &n, e);

	*ret_bytes = 0;
	for (size_t i = 0; r >= 0 && i < n; i++) {
		int64_t size = 0;

		if (is_running(all[i].status) || (match && !match(user, &all[i])))
			continue;
		(void)store_snapshot_size(en->store, all[i].id, &size, NULL);
		if (engine_container_remove(en, all[i].id, false, false, NULL) < 0)
			continue; /* started or removed meanwhile: not ours to prune */
		*ret_bytes += size;
		if (strv_add(ret_ids, all[i].id) < 0)
			r = err_oom(e);
	}
	if (r >= 0) {
		char bytes[40], *attributes[] = {bytes, NULL};

		snprintf(bytes, sizeof(bytes), "reclaimed=%lld", (long long)*ret_bytes);
		engine_event(en, "container", "prune", "", attributes);
	}
	if (r >= 0 || n > 0)
		container_infos_free(all, n);
	return r;
}
