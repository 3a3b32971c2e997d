/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exec: one more process in a running container.
 *
 * An Exec is known from its creation until some minutes after its end, so that clients can still ask for
 * the exit code (docker-api-map 1.8). Its process is the shim's child; the exit comes as an event.
 */
#include "engine/engine-internal.h"

#include <sys/eventfd.h>

#define RESIZE_WAIT_S 10
#define EXEC_KEPT_NS  (10 * 60 * 1000000000ll)

void exec_config_done(ExecConfig *c)
{
	strv_free(c->cmd);
	strv_free(c->env);
	free(c->user);
	free(c->working_dir);
	free(c->detach_keys);
	*c = (ExecConfig){0};
}

void exec_info_done(ExecInfo *i)
{
	exec_config_done(&i->config);
	*i = (ExecInfo){0};
}

static char *dup_or_null(const char *s)
{
	return s ? strdup(s) : NULL;
}

static int exec_config_copy(const ExecConfig *from, ExecConfig *ret, Err *e)
{
	*ret = *from;
	ret->cmd = strv_dup(from->cmd);
	ret->env = strv_dup(from->env);
	ret->user = dup_or_null(from->user);
	ret->working_dir = dup_or_null(from->working_dir);
	ret->detach_keys = dup_or_null(from->detach_keys);
	if (!ret->cmd || !ret->env || !ret->user != !from->user || !ret->working_dir != !from->working_dir ||
	    !ret->detach_keys != !from->detach_keys) {
		exec_config_done(ret);
		return err_oom(e);
	}
	return 0;
}

static void exec_free(Exec *x)
{
	exec_config_done(&x->config);
	free(x);
}

/* Forgets execs that ended long ago. Engine.lock is held. */
static void sweep(Engine *en)
{
	int64_t now = clock_mono_ns();
	Exec *x, *tmp;

	HASH_ITER (hh, en->execs, x, tmp)
		if (x->ended_mono_ns && now - x->ended_mono_ns > EXEC_KEPT_NS) {
			HASH_DEL(en->execs, x);
			exec_free(x);
		}
}

static int running_check(Container *c, const char *ref, Err *e)
{
	switch (container_status(c)) {
	case CONTAINER_RUNNING:
		return 0;
	case CONTAINER_PAUSED:
		return err_new(e, ERR_CONFLICT, "Container %s is paused, unpause the container before exec",
			       ref);
	case CONTAINER_RESTARTING:
		return err_new(e, ERR_CONFLICT,
			       "Container %s is restarting, wait until the container is running", ref);
	default:
		return err_new(e, ERR_CONFLICT, "container %s is not running", c->id);
	}
}

/* "exec_start: sh -c true": clients find these by what stands before the colon. */
static void exec_event(Engine *en, Container *c, const char *what, const ExecConfig *config, const char *id)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_free_ char *action = NULL;

	strbuf_addf(&b, "%s:", what);
	for (char **word = config->cmd; *word; word++)
		strbuf_addf(&b, " %s", *word);
	action = strbuf_steal(&b);
	if (action)
		container_event(en, c, action, "execID", id, NULL);
}

int engine_exec_create(Engine *en, const char *container, const ExecConfig *config, char **ret_id, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	Exec *x;
	int r = container_find(en, container, &c, e);

	if (r >= 0)
		r = running_check(c, container, e);
	if (r < 0)
		return r;
	if (!config->cmd || !config->cmd[0])
		return err_new(e, ERR_INVALID, "No exec command specified");
	x = calloc(1, sizeof(*x));
	if (!x)
		return err_oom(e);
	x->watcher_fd = -1;
	r = exec_config_copy(config, &x->config, e);
	if (r < 0) {
		free(x);
		return r;
	}
	id_random_hex(x->id, ID_LEN);
	memcpy(x->container_id, c->id, sizeof(x->container_id));
	*ret_id = strdup(x->id);
	if (!*ret_id) {
		exec_free(x);
		return err_oom(e);
	}
	pthread_mutex_lock(&en->lock);
	sweep(en);
	HASH_ADD_STR(en->execs, id, x);
	pthread_mutex_unlock(&en->lock);

	exec_event(en, c, "exec_create", config, *ret_id);
	return 0;
}

/* Marks it started; a copy of what the start needs. */
static int exec_claim(Engine *en, const char *id, char container_id[65], ExecConfig *config, Err *e)
{
	Exec *x;
	int r;

	pthread_mutex_lock(&en->lock);
	HASH_FIND_STR(en->execs, id, x);
	if (!x)
		r = err_new(e, ERR_NOT_FOUND, "No such exec instance: %s", id);
	else if (x->started)
		r = err_new(e, ERR_CONFLICT, "exec %s has already run", id);
	else {
		r = exec_config_copy(&x->config, config, e);
		memcpy(container_id, x->container_id, 65);
		if (r >= 0)
			x->started = x->running = true;
	}
	pthread_mutex_unlock(&en->lock);
	return r;
}

/* Engine.lock is held. */
static void exec_over(Exec *x)
{
	x->ended_mono_ns = clock_mono_ns();
	if (x->watcher_fd >= 0)
		(void)eventfd_write(x->watcher_fd, 1);
}

static void exec_set(Engine *en, const char *id, pid_t pid, bool ended, int exit_code)
{
	Exec *x;

	pthread_mutex_lock(&en->lock);
	HASH_FIND_STR(en->execs, id, x);
	if (x && pid > 0)
		x->pid = pid;
	if (x && ended && x->running) {
		x->running = false;
		x->exit_code = exit_code;
		exec_over(x);
	}
	pthread_cond_broadcast(&en->execs_changed);
	pthread_mutex_unlock(&en->lock);
}

static int exec_run(Engine *en, Container *c, const char *id, const ExecConfig *config,
		    const EngineAttach *attach, uint16_t rows, uint16_t cols, Err *e)
{
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	_cleanup_json_ json_t *process = NULL;
	_cleanup_close_ int rootfs = -1;
	char root[64], keys[16];
	ShimAttach a = {0};
	size_t n_keys = 0;
	pid_t pid;
	int r = container_shim(c, &shim, e);

	if (r < 0)
		return r;
	snprintf(root, sizeof(root), "/proc/%d/root", c->pid);
	rootfs = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (rootfs < 0)
		return err_new(e, ERR_CONFLICT, "container %s is not running", c->id);
	r = spec_build_exec(en, c, config, rootfs, &process, e);
	if (r >= 0 && attach && config->tty && !attach->no_detach_keys)
		r = detach_keys_parse(attach->detach_keys ?: config->detach_keys, keys, sizeof(keys), &n_keys,
				      e);
	if (r < 0)
		return r;
	if (attach)
		a = (ShimAttach){
		    .fd = attach->fd,
		    .framing = config->tty || attach->plain ? SHIM_RAW : SHIM_MUX,
		    .want_stdin = config->attach_stdin,
		    .want_stdout = config->attach_stdout,
		    .want_stderr = config->attach_stderr,
		    .prefix = attach->prefix,
		    .prefix_len = attach->prefix_len,
		    .detach_keys = keys,
		    .n_detach_keys = n_keys,
		};
	ShimExec x = {
	    .exec_id = id,
	    .process = process,
	    .terminal = config->tty,
	    .rows = rows ?: config->rows,
	    .cols = cols ?: config->cols,
	    .attach = attach ? &a : NULL,
	};
	r = shim_exec(shim, &x, &pid, e);
	if (r >= 0)
		exec_set(en, id, pid, false, 0);
	return r;
}

int engine_exec_start(Engine *en, const char *id, const EngineAttach *attach, uint16_t rows, uint16_t cols,
		      Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(exec_config_done) ExecConfig config = {0};
	char container_id[65];
	Err own = {0};
	int r;

	if (!e)
		e = &own;
	r = exec_claim(en, id, container_id, &config, e);
	if (r < 0)
		return r;
	r = container_find(en, container_id, &c, e);
	if (r >= 0)
		r = running_check(c, container_id, e);
	if (r >= 0) {
		exec_event(en, c, "exec_start", &config, id);
		r = exec_run(en, c, id, &config, attach, rows, cols, e);
	}
	if (r < 0) {
		int code = e->kind == ERR_NO_COMMAND ? 127 : e->kind == ERR_NOT_RUNNABLE ? 126 : 255;

		exec_set(en, id, 0, true, code);
		return err_ctx(e, r, "OCI runtime exec failed");
	}
	return 0;
}

int engine_exec_watch(Engine *en, const char *id, int event_fd, Err *e)
{
	int r = 0;
	Exec *x;

	pthread_mutex_lock(&en->lock);
	HASH_FIND_STR(en->execs, id, x);
	if (!x)
		r = err_new(e, ERR_NOT_FOUND, "No such exec instance: %s", id);
	else {
		x->watcher_fd = event_fd;
		if (event_fd >= 0 && x->ended_mono_ns)
			(void)eventfd_write(event_fd, 1);
	}
	pthread_mutex_unlock(&en->lock);
	return r;
}

bool engine_exec_forget(Engine *en, const char *id, int *ret_code)
{
	bool ended = false;
	Exec *x;

	pthread_mutex_lock(&en->lock);
	HASH_FIND_STR(en->execs, id, x);
	if (x) {
		ended = x->started && !x->running;
		if (ended)
			*ret_code = x->exit_code;
		HASH_DEL(en->execs, x);
		exec_free(x);
	}
	pthread_mutex_unlock(&en->lock);
	return ended;
}

void exec_ended(Engine *en, Container *c, const char *exec_id, int status)
{
	char code[16];

	exec_set(en, exec_id, 0, true, status);
	snprintf(code, sizeof(code), "%d", status);
	container_event(en, c, "exec_die", "execID", exec_id, "exitCode", code, NULL);
}

void execs_drop(Engine *en, const char *container_id)
{
	Exec *x, *tmp;

	/* The pid namespace died with its init: so has every exec; one whose exit was not told was killed. */
	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->execs, x, tmp)
		if (x->running && streq(x->container_id, container_id)) {
			x->running = false;
			x->exit_code = 137;
			exec_over(x);
		}
	pthread_mutex_unlock(&en->lock);
}

/* Clients ask for the size before, or while, they start it: Docker lets them wait. Engine.lock is held. */
static int wait_started(Engine *en, const char *id, char container_id[65], Err *e)
{
	struct timespec until;
	Exec *x;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += RESIZE_WAIT_S;
	for (;;) {
		HASH_FIND_STR(en->execs, id, x);
		if (!x)
			return err_new(e, ERR_NOT_FOUND, "No such exec instance: %s", id);
		if (x->started && !x->running)
			return err_new(e, ERR_CONFLICT, "exec %s is not running", id);
		if (x->pid > 0)
			break;
		if (r == ETIMEDOUT)
			return err_new(e, ERR_INTERNAL, "timeout waiting for exec session ready");
		r = pthread_cond_clockwait(&en->execs_changed, &en->lock, CLOCK_MONOTONIC, &until);
	}
	memcpy(container_id, x->container_id, sizeof(x->container_id));
	return 0;
}

int engine_exec_resize(Engine *en, const char *id, uint16_t rows, uint16_t cols, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	char container_id[65] = "";
	int r;

	pthread_mutex_lock(&en->lock);
	r = wait_started(en, id, container_id, e);
	pthread_mutex_unlock(&en->lock);
	if (r >= 0)
		r = container_find(en, container_id, &c, e);
	if (r >= 0)
		r = container_shim(c, &shim, e);
	if (r >= 0)
		r = shim_resize(shim, id, rows, cols, e);
	return r;
}

/* A client sees the end of an exec's output at the same time as the watcher sees its exit event: whoever asks then must
 * not be told that it still runs, so the shim, which knows, is asked. */
static void exec_refresh(Engine *en, const char *id)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	char container_id[65] = "";
	ShimExit exit;
	Exec *x;

	pthread_mutex_lock(&en->lock);
	HASH_FIND_STR(en->execs, id, x);
	/* Its pid may not be known yet: the whole command can have run before the thread that started it goes on. */
	if (x && x->running)
		memcpy(container_id, x->container_id, sizeof(container_id));
	pthread_mutex_unlock(&en->lock);
	/* Whatever fails here, the event or the end of the container tells it later. */
	if (*container_id && container_find(en, container_id, &c, NULL) >= 0 &&
	    container_shim(c, &shim, NULL) >= 0 && shim_exec_exit(shim, id, &exit, NULL) > 0)
		exec_set(en, id, 0, true, exit.status);
}

int engine_exec_inspect(Engine *en, const char *id, ExecInfo *ret, Err *e)
{
	ExecInfo i = {0};
	Exec *x;
	int r;

	exec_refresh(en, id);
	pthread_mutex_lock(&en->lock);
	HASH_FIND_STR(en->execs, id, x);
	if (!x)
		r = err_new(e, ERR_NOT_FOUND, "No such exec instance: %s", id);
	else {
		memcpy(i.id, x->id, sizeof(i.id));
		memcpy(i.container_id, x->container_id, sizeof(i.container_id));
		i.started = x->started;
		i.running = x->running;
		i.exit_code = x->exit_code;
		i.pid = x->pid;
		r = exec_config_copy(&x->config, &i.config, e);
	}
	pthread_mutex_unlock(&en->lock);
	if (r >= 0)
		*ret = i;
	return r;
}
