/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to a container that exists: start, kill, delete, pause, and looking at its cgroup. */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

static int run_late_hooks(const State *s, const char *kind, RuntimeStatus status, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;

	if (!s->hooks)
		return 0;
	doc = state_document(s, status, status == RUNTIME_STOPPED ? 0 : s->pid);
	return doc ? hooks_run_json(s->hooks, kind, doc, e) : err_oom(e);
}

int control_poststart(const State *s, Err *e)
{
	int r = run_late_hooks(s, "poststart", RUNTIME_RUNNING, e);

	return r < 0 ? err_ctx(e, r, "container %s", s->id) : 0;
}

void control_poststop(const RuntimeOptions *o, const State *s)
{
	Err e = {0};
	int r = run_late_hooks(s, "poststop", RUNTIME_STOPPED, &e);

	if (r < 0 && o->warn)
		o->warn(err_msg(&e, r));
}

int runtime_start(const RuntimeOptions *o, const char *id, Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	int r = state_load(o, id, &s, e);

	if (r < 0)
		return r;
	r = start_send(&s, e);
	if (r < 0)
		return r;
	r = control_poststart(&s, e);
	/* "The runtime must stop the container" (runtime-spec 1.3, "Lifecycle", step 9). */
	if (r < 0)
		(void)runtime_kill(o, id, SIGKILL, false, NULL);
	return r;
}

static int load_cgroup(const State *s, Cgroup *ret, Err *e)
{
	return cgroup_from_strv(s->cgroup, ret, e);
}

static int with_cgroup(const RuntimeOptions *o, const char *id, State *s, Cgroup *c, Err *e)
{
	int r = state_load(o, id, s, e);

	return r < 0 ? r : load_cgroup(s, c, e);
}

static int kill_all(const State *s, const Cgroup *c, int signal, Err *e)
{
	int r = c->n > 0 ? cgroup_signal(c, signal, e) : 0;

	/* In a frozen cgroup (v1) SIGKILL waits for the thaw. */
	if (r == 0 && signal == SIGKILL && c->n > 0 && cgroup_is_frozen(c))
		(void)cgroup_freeze(c, false, NULL);
	return r < 0 ? err_ctx(e, r, "container %s", s->id) : 0;
}

static bool has_processes(const Cgroup *c)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0;

	return c->n > 0 && cgroup_pids(c, &pids, &n, NULL) == 0 && n > 0;
}

int runtime_kill(const RuntimeOptions *o, const char *id, int signal, bool all, Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	_cleanup_(cgroup_done) Cgroup c = {0};
	_cleanup_close_ int pidfd = -1;
	RuntimeStatus status;
	int r = with_cgroup(o, id, &s, &c, e);

	if (r < 0)
		return r;
	status = state_status(&s, &pidfd);
	/* Where the death of the first process takes nobody along, SIGKILL is for all, also when it is gone already. */
	if (all || (signal == SIGKILL && s.shares_pids && (status != RUNTIME_STOPPED || has_processes(&c)))) {
		r = kill_all(&s, &c, signal, e);
		/* Without a cgroup the first process is all that is known. */
		if (r < 0 || c.n > 0 || pidfd < 0)
			return r;
	}
	if (status == RUNTIME_STOPPED)
		return err_new(e, ERR_CONFLICT, "container %s: container not running", id);
	r = process_signal(pidfd, signal);
	if (r == -ESRCH)
		return err_new(e, ERR_CONFLICT, "container %s: container not running", id);
	if (r == 0 && signal == SIGKILL && c.n > 0 && cgroup_is_frozen(&c))
		(void)cgroup_freeze(&c, false, NULL);
	return r < 0 ? err_sys(e, r, "container %s: send signal %d", id, signal) : 0;
}

/* Kills everything of the container and waits until its first process is gone. */
static int stop(const State *s, Cgroup *c, int pidfd, Err *e)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int r = process_signal(pidfd, SIGKILL);

	if (r < 0 && r != -ESRCH)
		return err_sys(e, r, "kill process %d", (int)s->pid);
	if (cgroup_is_frozen(c))
		(void)cgroup_freeze(c, false, NULL);
	do
		r = poll(&p, 1, 10000);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return err_new(e, ERR_UNAVAILABLE, "process %d does not die: it waits in the kernel",
			       (int)s->pid);
	return 0;
}

/* What is left of a creation that was interrupted before its state was written: only the directory. */
static int delete_incomplete(const RuntimeOptions *o, const char *id, Err *e)
{
	int r = state_check_id(id, e);

	if (r < 0)
		return r;
	r = state_remove_dir(o, id);
	return r < 0 ? err_sys(e, r, "remove the state of container %s", id) : 0;
}

/* Of a container that has ended. */
static int remove_all(const RuntimeOptions *o, const State *s, Cgroup *c, Err *e)
{
	int r = 0;

	/* Without a pid namespace of its own others may have outlived it. */
	if (!cgroup_remove_empty(c))
		r = cgroup_signal(c, SIGKILL, e);
	if (r == 0)
		r = scope_stop(o, s, e);
	if (r == 0)
		r = cgroup_remove(c, e);
	if (r < 0)
		return err_ctx(e, r, "container %s", s->id);
	resctrl_remove(s);
	r = state_remove_dir(o, s->id);
	if (r < 0)
		return err_sys(e, r, "remove the state of container %s", s->id);
	control_poststop(o, s);
	return 0;
}

void runtime_kept_free(RuntimeKept *kept)
{
	if (!kept)
		return;
	state_done(&kept->state);
	cgroup_done(&kept->cgroup);
	free(kept);
}

int runtime_delete_kept(const RuntimeOptions *o, RuntimeKept *kept, Err *e)
{
	struct stat st;

	/* The name may be another container's by now. */
	if (fstat(kept->state.dirfd, &st) == 0 && st.st_nlink == 0)
		return 0;
	return remove_all(o, &kept->state, &kept->cgroup, e);
}

int runtime_delete(const RuntimeOptions *o, const char *id, bool force, Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	_cleanup_(cgroup_done) Cgroup c = {0};
	_cleanup_close_ int pidfd = -1;
	RuntimeStatus status;
	int r = with_cgroup(o, id, &s, &c, e);

	if (r == -ENOENT && force)
		return delete_incomplete(o, id, e);
	if (r < 0)
		return r;
	status = state_status(&s, &pidfd);
	if (status != RUNTIME_STOPPED && status != RUNTIME_CREATED && !force)
		return err_new(
		    e, ERR_CONFLICT,
		    "cannot delete container %s that is not stopped: %s (kill it first, or use --force)", id,
		    runtime_status_name(status));
	if (status != RUNTIME_STOPPED) {
		r = stop(&s, &c, pidfd, e);
		if (r < 0)
			return err_ctx(e, r, "container %s", id);
	}
	return remove_all(o, &s, &c, e);
}

int runtime_pause(const RuntimeOptions *o, const char *id, bool pause, Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	_cleanup_(cgroup_done) Cgroup c = {0};
	RuntimeStatus status;
	int r = with_cgroup(o, id, &s, &c, e);

	if (r < 0)
		return r;
	status = state_status(&s, NULL);
	if (pause ? status != RUNTIME_RUNNING && status != RUNTIME_CREATED : status != RUNTIME_PAUSED)
		return err_new(e, ERR_CONFLICT, "container %s is %s: cannot %s it", id,
			       runtime_status_name(status), pause ? "pause" : "resume");
	if (c.n == 0)
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "container %s: cannot toggle freezer: cgroups not configured for container (made without "
		    "the right to make one)",
		    id);
	r = cgroup_freeze(&c, pause, e);
	return r < 0 ? err_ctx(e, r, "container %s", id) : 0;
}

int runtime_pids(const RuntimeOptions *o, const char *id, pid_t **ret, size_t *ret_n, Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	_cleanup_(cgroup_done) Cgroup c = {0};
	int r = with_cgroup(o, id, &s, &c, e);

	return r < 0 ? r : cgroup_pids(&c, ret, ret_n, e);
}

uint64_t runtime_oom_kills(const RuntimeOptions *o, const char *id)
{
	_cleanup_(state_done) State s = STATE_INIT;
	_cleanup_(cgroup_done) Cgroup c = {0};

	return with_cgroup(o, id, &s, &c, NULL) == 0 && c.n > 0 ? cgroup_oom_kills(&c) : 0;
}

int runtime_update(const RuntimeOptions *o, const char *id, const OciResources *r, const OciIntelRdt *rdt,
		   Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	_cleanup_(cgroup_done) Cgroup c = {0};
	int rc = with_cgroup(o, id, &s, &c, e);

	if (rc == 0 && state_status(&s, NULL) == RUNTIME_STOPPED)
		return err_new(e, ERR_CONFLICT, "container %s: container not running", id);
	if (rc == 0)
		rc = limits_update(o, &s, &c, r, e);
	if (rc == 0 && rdt)
		rc = resctrl_update(&s, rdt, e);
	return rc < 0 ? err_ctx(e, rc, "update container %s", id) : 0;
}

int runtime_cgroup_read(const RuntimeOptions *o, const char *id, const char *controller, const char *file,
			char **ret, Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	_cleanup_(cgroup_done) Cgroup c = {0};
	int r = with_cgroup(o, id, &s, &c, e);

	if (r == 0)
		r = cgroup_read(&c, controller, file, ret, e);
	return r < 0 ? err_ctx(e, r, "container %s", id) : 0;
}
