/* SPDX-License-Identifier: Apache-2.0 */
/* What a control connection may ask for: one function a request, found through a table. */
#include "shim/server.h"

#include <signal.h>
#include <sys/pidfd.h>

typedef int (*RequestFn)(Server *s, ShimMsg *m, json_t *doc, Err *e);

static int set_int(json_t *doc, const char *key, int64_t v, Err *e)
{
	return json_object_set_new(doc, key, json_integer(v)) < 0 ? err_oom(e) : 0;
}

static int not_running(const Server *s, Err *e)
{
	return err_new_no(e, ERR_CONFLICT, ESRCH, "container %s is not running", s->id);
}

/* The living process that a request names: "exec_id", or the container's first. */
static int find_process(Server *s, const ShimMsg *m, Process **ret, Err *e)
{
	const char *exec_id = json_get_str(m->doc, "exec_id");
	Process *p = server_process(s, exec_id);
	ShimExit unused;

	if (p && p->birth)
		return err_new_no(e, ERR_CONFLICT, ESRCH, "exec %s is still being started", exec_id);
	if (p && !p->exited) {
		*ret = p;
		return 0;
	}
	if (!exec_id)
		return not_running(s, e);
	if (exits_find(s, exec_id, &unused, NULL) >= 0)
		return err_new_no(e, ERR_CONFLICT, ESRCH, "exec %s is not running", exec_id);
	return err_new(e, ERR_NOT_FOUND, "No such exec instance: %s", exec_id);
}

static int do_info(Server *s, ShimMsg *m _unused_, json_t *doc, Err *e)
{
	int r = set_int(doc, "shim_pid", getpid(), e);

	if (r >= 0)
		r = set_int(doc, "pid", s->init.pid, e);
	/* Until it is reaped, which is later than the moment it ends, its number is its own. */
	if (r >= 0 && json_object_set_new(doc, "running", json_boolean(!s->init.exited)) < 0)
		r = err_oom(e);
	return r;
}

static int do_start(Server *s, ShimMsg *m _unused_, json_t *doc _unused_, Err *e)
{
	int r;

	if (s->ended)
		return not_running(s, e);
	if (s->started)
		return 0;
	r = s->runner.ops->start(&s->runner, e);
	s->started = r >= 0;
	return r;
}

static int do_attach(Server *s, ShimMsg *m, json_t *doc _unused_, Err *e)
{
	return s->ended ? not_running(s, e) : server_attach(s, m, e);
}

static int do_exec(Server *s, ShimMsg *m, json_t *doc, Err *e)
{
	pid_t pid;
	int r = s->ended ? not_running(s, e) : server_exec(s, m, &pid, e);

	return r != 0 ? r : set_int(doc, "pid", pid, e);
}

static int do_exec_exit(Server *s, ShimMsg *m, json_t *doc, Err *e)
{
	const char *exec_id = json_get_str(m->doc, "exec_id");
	ShimExit x;
	int r = exec_id ? exits_find(s, exec_id, &x, e) : err_new(e, ERR_INVALID, "exec id is missing");

	if (r <= 0)
		return r;
	return json_object_set_new(doc, "exit", shim_exit_encode(&x)) < 0 ? err_oom(e) : 0;
}

static int do_resize(Server *s, ShimMsg *m, json_t *doc _unused_, Err *e)
{
	int64_t rows = json_get_int(m->doc, "rows", 0), cols = json_get_int(m->doc, "cols", 0);
	Process *p;
	int r = find_process(s, m, &p, e);

	if (r < 0)
		return r;
	if (rows < 0 || rows > UINT16_MAX || cols < 0 || cols > UINT16_MAX)
		return err_new(e, ERR_INVALID, "a terminal has 0 to %d rows and columns", UINT16_MAX);
	r = stdio_resize(&p->io, (uint16_t)rows, (uint16_t)cols);
	if (r == -ENOTTY)
		return err_new(e, ERR_INVALID, "container %s: the process has no terminal", s->id);
	return r < 0 ? err_sys(e, r, "container %s: resize the terminal", s->id) : 0;
}

static int do_kill(Server *s, ShimMsg *m, json_t *doc _unused_, Err *e)
{
	int64_t sig = json_get_int(m->doc, "signal", 0);
	Process *p;
	int r = find_process(s, m, &p, e);

	if (r < 0)
		return r;
	if (sig < 1 || sig > SIGRTMAX)
		return err_new(e, ERR_INVALID, "Invalid signal: %lld", (long long)sig);
	if (p == &s->init)
		return s->runner.ops->kill(&s->runner, (int)sig, json_get_bool(m->doc, "all", false), e);
	/* The pidfd cannot name another process, even if this one has just gone. */
	if (pidfd_send_signal(p->pidfd.fd, (int)sig, NULL, 0) == 0)
		return 0;
	if (errno == ESRCH)
		return err_new_no(e, ERR_CONFLICT, ESRCH, "exec %s is not running", p->id);
	return err_sys(e, errno, "kill exec %s", p->id);
}

static int do_pause(Server *s, ShimMsg *m, json_t *doc _unused_, Err *e)
{
	if (s->ended)
		return not_running(s, e);
	return s->runner.ops->pause(&s->runner, json_get_bool(m->doc, "pause", true), e);
}

static int do_update(Server *s, ShimMsg *m, json_t *doc _unused_, Err *e)
{
	const json_t *resources = json_object_get(m->doc, "resources");

	if (s->ended)
		return not_running(s, e);
	if (!json_is_object(resources))
		return err_new(e, ERR_INVALID, "update: resources are missing");
	return s->runner.ops->update(&s->runner, resources, e);
}

static int do_pids(Server *s, ShimMsg *m _unused_, json_t *doc, Err *e)
{
	_cleanup_free_ pid_t *pids = NULL;
	json_t *list = json_array();
	size_t n = 0;
	int r = s->ended ? not_running(s, e) : s->runner.ops->pids(&s->runner, &pids, &n, e);

	for (size_t i = 0; r >= 0 && i < n; i++)
		if (json_array_append_new(list, json_integer(pids[i])) < 0)
			r = err_oom(e);
	if (r < 0) {
		json_decref(list);
		return r;
	}
	return json_object_set_new(doc, "pids", list) < 0 ? err_oom(e) : 0;
}

static int do_ports(Server *s, ShimMsg *m, json_t *doc _unused_, Err *e)
{
	return s->ended ? not_running(s, e) : hold_change(s, m, e);
}

static int do_reopen(Server *s, ShimMsg *m _unused_, json_t *doc _unused_, Err *e)
{
	return s->ended ? not_running(s, e) : logger_reopen(s->log, e);
}

static int do_join(Server *s, ShimMsg *m, json_t *doc, Err *e)
{
	return s->ended ? not_running(s, e) : server_join(s, m, doc, e);
}

static int do_checkpoint(Server *s, ShimMsg *m, json_t *doc _unused_, Err *e)
{
	return s->ended ? not_running(s, e) : server_checkpoint(s, m, e);
}

static const RequestFn requests[SHIM_MSG_TYPE_MAX] = {
    [SHIM_MSG_INFO] = do_info, [SHIM_MSG_START] = do_start,           [SHIM_MSG_ATTACH] = do_attach,
    [SHIM_MSG_EXEC] = do_exec, [SHIM_MSG_EXEC_EXIT] = do_exec_exit,   [SHIM_MSG_RESIZE] = do_resize,
    [SHIM_MSG_KILL] = do_kill, [SHIM_MSG_PAUSE] = do_pause,           [SHIM_MSG_UPDATE] = do_update,
    [SHIM_MSG_PIDS] = do_pids, [SHIM_MSG_PORTS] = do_ports,           [SHIM_MSG_REOPEN] = do_reopen,
    [SHIM_MSG_JOIN] = do_join, [SHIM_MSG_CHECKPOINT] = do_checkpoint,
};

int request_handle(Server *s, ShimMsg *m, json_t *doc, Err *e)
{
	if (m->type >= SHIM_MSG_TYPE_MAX || !requests[m->type])
		return err_new(e, ERR_UNSUPPORTED, "the shim does not know request %d", (int)m->type);
	return requests[m->type](s, m, doc, e);
}
