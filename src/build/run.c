/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RUN: a container over the stage's layers; when it ends well, its upper directory becomes the next layer.
 *
 * Its output reaches us like any client's, over an attached socket, framed; the log driver is off.
 */
#include "build/build-internal.h"

#include <poll.h>
#include <sys/socket.h>

#define TAIL_MAX 4096 /* bytes of output repeated in the error of a failing step */

typedef struct Tail {
	char text[TAIL_MAX + 1];
	size_t len;
} Tail;

static void tail_add(Tail *t, const char *s, size_t n)
{
	if (n >= TAIL_MAX) {
		s += n - TAIL_MAX;
		n = TAIL_MAX;
	}
	if (t->len + n > TAIL_MAX) {
		size_t drop = t->len + n - TAIL_MAX;

		memmove(t->text, t->text + drop, t->len - drop);
		t->len -= drop;
	}
	memcpy(t->text + t->len, s, n);
	t->len += n;
	t->text[t->len] = '\0';
}

/* A step may be silent for hours, and its client may leave meanwhile. */
static int await_output(const Build *b, int sock, Err *e)
{
	struct pollfd p[] = {{.fd = sock, .events = POLLIN}, {.fd = b->alive_fd}};

	while (poll(p, ELEMENTSOF(p), -1) < 0)
		if (errno != EINTR)
			return err_sys(e, errno, "wait for the output of the step");
	return p[1].revents & (POLLERR | POLLHUP) ? build_cancelled(e) : 0;
}

/* Docker's frames: stream, three zeros, length; until the shim closes. */
static int pump(Build *b, const Stage *s, int sock, Tail *tail, Err *e)
{
	char buf[32768];
	uint8_t head[8];

	for (;;) {
		int r = await_output(b, sock, e);

		if (r < 0)
			return r;
		ssize_t n = fd_read_full(sock, head, sizeof(head));
		if (n <= 0)
			return n == 0 ? 0 : err_sys(e, (int)n, "read the output of the step");
		if (n < (ssize_t)sizeof(head))
			return 0;
		size_t left = (size_t)head[4] << 24 | (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
		while (left > 0) {
			n = fd_read_full(sock, buf, MIN2(left, sizeof(buf)));
			if (n <= 0)
				return 0;
			vertex_log(b, s->vertex, head[0] == 2 ? 2 : 1, buf, (size_t)n);
			tail_add(tail, buf, (size_t)n);
			left -= (size_t)n;
		}
	}
}

/* ["/bin/sh", "-c", text], the SHELL instruction's words, or the exec form as it is. */
static int command_of(const Stage *s, const DockerfileStep *step, char ***ret, char **ret_shown, Err *e)
{
	static char *const sh[] = {(char *)"/bin/sh", (char *)"-c", NULL};
	int r = 0;

	if (!dockerfile_exec_form(step->text, ret)) {
		*ret = strv_dup(s->config.run.shell ? s->config.run.shell : sh);
		r = *ret ? strv_add(ret, step->n_heredocs ? step->heredocs[0].text : step->text) : -ENOMEM;
	}
	*ret_shown = r < 0 ? NULL : strv_join(*ret, " ");
	return *ret_shown ? 0 : err_oom(e);
}

/* An ENV of the same name wins over an ARG, and that over what the builder adds. */
static int env_add(char ***env, char *const *more)
{
	for (size_t i = 0; more && more[i]; i++) {
		_cleanup_free_ char *key = strndup(more[i], strcspn(more[i], "="));

		if (!key || (!strv_env_get(*env, key) && strv_env_set(env, more[i]) < 0))
			return -ENOMEM;
	}
	return 0;
}

/* What the step sees: ENV of the image, the ARGs of the stage, proxies. */
static int container_config(Build *b, const Stage *s, char **cmd, ContainerConfig *c, Err *e)
{
	const BuildRequest *rq = b->rq;
	const char *network = rq->network_mode;

	*c = (ContainerConfig){
	    .image = strdup(""),
	    .cmd = strv_dup(cmd),
	    .has_entrypoint = true,
	    .env = s->config.run.env ? strv_dup(s->config.run.env) : calloc(1, sizeof(char *)),
	    .user = strdup(s->config.run.user ?: ""),
	    .working_dir = strdup(s->config.run.working_dir ?: ""),
	    .attach_stdout = true,
	    .attach_stderr = true,
	    .stop_timeout = -1,
	    .has_health = true, /* nobody asks whether a step is healthy */
	    .host =
		{
		    .network_mode = strdup(str_empty(network) ? "default" : network),
		    .log.type = strdup("none"),
		    .memory_swappiness = -1,
		    .memory = rq->memory,
		    .memory_swap = rq->memory_swap,
		    .cpu_shares = rq->cpu_shares,
		    .cpu_period = rq->cpu_period,
		    .cpu_quota = rq->cpu_quota,
		    .shm_size = rq->shm_size,
		    .cpuset_cpus = strdup(rq->cpuset_cpus ?: ""),
		    .cpuset_mems = strdup(rq->cpuset_mems ?: ""),
		    .cgroup_parent = strdup(rq->cgroup_parent ?: ""),
		    .extra_hosts = strv_dup(rq->extra_hosts),
		},
	};
	if (strv_add(&c->health.test, "NONE") < 0)
		return err_oom(e);
	if (env_add(&c->env, s->args) < 0 || env_add(&c->env, b->proxy_args) < 0)
		return err_oom(e);
	return c->cmd && c->env && c->host.network_mode ? 0 : err_oom(e);
}

static int run_container(Build *b, const Stage *s, const char *id, Tail *tail, int *ret_status, Err *e)
{
	ContainerEnd end = {0};
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "make a socket pair");
	EngineAttach a = {.fd = pair[1], .out = true, .err = true, .stream = true};
	r = engine_container_attach(b->en, id, &a, e);
	close_fd(&pair[1]);
	if (r >= 0)
		r = engine_container_start(b->en, id, e);
	if (r >= 0)
		r = pump(b, s, pair[0], tail, e);
	close_fd(&pair[0]);
	if (r >= 0)
		r = engine_container_wait(b->en, id, WAIT_NOT_RUNNING, NULL, NULL, b->alive_fd, &end, e);
	*ret_status = end.status;
	free(end.error);
	return r;
}

static int commit(Build *b, const Stage *s, const char *id, CacheHit *hit, Err *e)
{
	_cleanup_free_ char *upper = NULL;
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	int64_t size;
	bool empty;
	int r = store_snapshot_changes(b->store, id, &upper, e);

	if (r >= 0)
		r = store_layer_commit_upper(b->store, s->chain, upper, true, chain, diff, &size, &empty, e);
	if (r < 0)
		return r;
	*hit = (CacheHit){
	    .chain = empty ? (s->chain ? strdup(s->chain) : NULL) : strdup(chain),
	    .diff = empty ? NULL : strdup(diff),
	    .empty = empty,
	    .created_ns = clock_now_ns(),
	};
	return !empty && (!hit->chain || !hit->diff) ? err_oom(e) : 0;
}

static char *last_lines(const Tail *tail)
{
	const char *last = tail->text;
	int lines = 0;

	/* Ten are enough to see what went wrong. */
	for (const char *p = tail->text + tail->len; p > tail->text; p--)
		if (p[-1] == '\n' && p < tail->text + tail->len && ++lines == 10) {
			last = p;
			break;
		}
	return strdup(last);
}

static int step_failed(Build *b, const DockerfileStep *step, const char *shown, const char *id, int status,
		       const Tail *tail, Err *e)
{
	pthread_mutex_lock(&b->lock);
	/* Without memory something of it is not told. */
	if (b->how.status == 0 && b->failed == 0)
		b->how = (BuildFailure){.status = status,
					.command = strdup(shown),
					.output = last_lines(tail),
					.container_id = b->rq->keep_failed ? strdup(id) : NULL,
					.line = step->line,
					.last_line = step->last_line};
	pthread_mutex_unlock(&b->lock);
	return err_new(e, ERR_INTERNAL, "process \"%.1000s\" did not complete successfully: exit code: %d",
		       shown, status);
}

typedef struct Command {
	char **argv;
	char *shown;
} Command;

static void command_done(Command *c)
{
	strv_free(c->argv);
	free(c->shown);
}

static int execute(Build *b, Stage *s, const DockerfileStep *step, void *arg, CacheHit *hit, Err *e)
{
	const Command *command = arg;
	ContainerConfig config = {0};
	_cleanup_free_ char *id = NULL;
	_cleanup_free_ Tail *tail = calloc(1, sizeof(*tail));
	/* Neither the image's command nor its volumes concern a build step. */
	ImageConfig base = {.run.stop_timeout = -1};
	int status = 0, r, removed;

	if (!tail)
		return err_oom(e);
	r = container_config(b, s, command->argv, &config, e);
	if (r >= 0)
		r = engine_container_create_on(b->en, &config, s->chain, &base, &id, e);
	container_config_done(&config);
	if (r < 0)
		return r;
	build_tell(b, BUILD_NOTE, " ---> Running in %.12s", id);
	r = run_container(b, s, id, tail, &status, e);
	if (r >= 0 && status != 0)
		r = step_failed(b, step, command->shown, id, status, tail, e);
	if (r >= 0)
		r = commit(b, s, id, hit, e);
	/* What failed is kept to be looked at if that was asked for; what nobody waits for any more is ended. */
	if (r >= 0 || r == -ECANCELED || !b->rq->keep_failed) {
		removed = engine_container_remove(b->en, id, true, true, r < 0 ? NULL : e);
		r = r < 0 ? r : removed;
	}
	return r;
}

/* Everything that the process could tell apart: command, arguments, environment, user, directory, network. */
static char *key_text(const Build *b, const Stage *s, const Command *c)
{
	_cleanup_free_ char *args = s->args ? strv_join(s->args, "\n") : strdup("");
	_cleanup_free_ char *env = strv_join(s->config.run.env, "\n");

	if (!args || !env)
		return NULL;
	return strf("RUN %s\nargs %s\nenv %s\nuser %s\ndir %s\nnet %s", c->shown, args, env,
		    s->config.run.user ?: "", s->config.run.working_dir ?: "", b->rq->network_mode ?: "");
}

int step_run(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	_cleanup_(command_done) Command command = {0};
	_cleanup_free_ char *line = NULL, *told = NULL;
	char key[DIGEST_LEN + 1];
	int r;

	for (size_t i = 0; step->flags && step->flags[i]; i++)
		return err_new(e, ERR_UNSUPPORTED, "RUN --%s: this option is not offered", step->flags[i]);
	if (!s->chain)
		return err_new(
		    e, ERR_INVALID,
		    "RUN needs files to run: the stage starts from scratch: COPY or ADD some first");
	r = command_of(s, step, &command.argv, &command.shown, e);
	if (r < 0)
		return r;
	line = key_text(b, s, &command);
	told = history_text(b, s, step, command.argv);
	if (!line || !told)
		return err_oom(e);
	cache_key(key, s->key, line, NULL);
	return cache_step(b, s, told, step, key, execute, &command, e);
}
