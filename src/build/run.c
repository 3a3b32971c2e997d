/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RUN: a container over the stage's layers; when it ends well, its upper directory becomes the next layer.
 *
 * Its output reaches us like any client's, over an attached socket, framed; the log driver is off.
 */
#include "build/run-mounts.h"

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

/* ---- what is run ---- */

typedef struct Run {
	char **argv;
	char *shown;
	StepMounts *mounts;
	const DockerfileHeredoc *script; /* which is a program itself: it begins with #! */
	const char *network;             /* "default", "none", "host" or the request's */
	bool insecure;
} Run;

static void run_done(Build *b, Run *r)
{
	strv_free(r->argv);
	free(r->shown);
	step_mounts_free(b, r->mounts);
}

static int shell_command(const Stage *s, const char *text, char ***ret, Err *e)
{
	static char *const sh[] = {(char *)"/bin/sh", (char *)"-c", NULL};

	*ret = strv_dup(s->config.run.shell ? s->config.run.shell : sh);
	return *ret && strv_add(ret, text) >= 0 ? 0 : err_oom(e);
}

/* The text with its here-documents behind it, as the shell reads them. */
static char *with_heredocs(const DockerfileStep *step)
{
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add(&b, step->text);
	for (size_t i = 0; i < step->n_heredocs; i++)
		strbuf_addf(&b, "\n%s%s", step->heredocs[i].text, step->heredocs[i].name);
	return strbuf_steal(&b);
}

/* "RUN <<EOF" and nothing else. */
static bool is_script(const DockerfileStep *step)
{
	const char *p = str_after(step->text, "<<");

	if (!p || step->n_heredocs != 1)
		return false;
	p += *p == '-';
	p += *p == '"' || *p == '\'';
	p = str_after(p, step->heredocs[0].name);
	return p && strspn(p, "\"' \t") == strlen(p);
}

/* ["/bin/sh", "-c", text], the SHELL instruction's words, the exec form as it is, or a script. */
static int command_of(const Stage *s, const DockerfileStep *step, Run *r, Err *e)
{
	_cleanup_free_ char *text = NULL;
	int no = 0;

	if (is_script(step) && str_starts(step->heredocs[0].text, "#!")) {
		r->script = &step->heredocs[0];
		text = strf("/dev/pipes/%s", r->script->name);
		no = text ? shell_command(s, text, &r->argv, e) : err_oom(e);
	} else if (is_script(step)) {
		no = shell_command(s, step->heredocs[0].text, &r->argv, e);
	} else if (step->n_heredocs) {
		text = with_heredocs(step);
		no = text ? shell_command(s, text, &r->argv, e) : err_oom(e);
	} else if (!dockerfile_exec_form(step->text, &r->argv)) {
		no = shell_command(s, step->text, &r->argv, e);
	}
	if (no < 0)
		return no;
	r->shown = r->argv ? strv_join(r->argv, " ") : NULL;
	return r->shown ? 0 : err_oom(e);
}

static bool entitled(const Build *b, const char *to)
{
	return b->rq->entitlements && strv_has(b->rq->entitlements, to);
}

static int flags_read(Build *b, const DockerfileStep *step, Run *r, Err *e)
{
	const char *network = dockerfile_flag(step, "network"), *security = dockerfile_flag(step, "security");

	r->network = str_empty(b->rq->network_mode) ? "default" : b->rq->network_mode;
	if (network && !streq(network, "default") && !streq(network, "none") && !streq(network, "host"))
		return err_new(e, ERR_INVALID, "invalid network mode \"%s\": default, none or host", network);
	if (streq0(network, "host") && !streq(r->network, "host") && !entitled(b, "network.host"))
		return err_new(
		    e, ERR_DENIED,
		    "granting entitlement network.host is not allowed by build daemon configuration or "
		    "client: allow it with --allow network.host");
	if (network && !streq(network, "default"))
		r->network = network;
	if (security && !streq(security, "sandbox") && !streq(security, "insecure"))
		return err_new(e, ERR_INVALID, "security \"%s\" is not valid: sandbox or insecure", security);
	r->insecure = streq0(security, "insecure");
	if (r->insecure && !entitled(b, "security.insecure"))
		return err_new(
		    e, ERR_DENIED,
		    "granting entitlement security.insecure is not allowed by build daemon configuration or "
		    "client: allow it with --allow security.insecure");
	if (dockerfile_flag(step, "device"))
		return err_new(e, ERR_UNSUPPORTED, "RUN --device: this option is not offered");
	return 0;
}

/* Only what is not there. */
static int env_add(char ***env, char *const *more)
{
	for (size_t i = 0; more && more[i]; i++) {
		_cleanup_free_ char *key = strndup(more[i], strcspn(more[i], "="));

		if (!key || (!strv_env_get(*env, key) && strv_env_set(env, more[i]) < 0))
			return -ENOMEM;
	}
	return 0;
}

/* "nofile=1024:2048" */
static int ulimits_add(char *const *texts, ContainerHost *h, Err *e)
{
	h->ulimits = calloc(strv_len(texts) + 1, sizeof(*h->ulimits));
	if (!h->ulimits)
		return err_oom(e);
	for (; texts && *texts; texts++) {
		ContainerUlimit *u = &h->ulimits[h->n_ulimits];
		char name[32];
		long long soft, hard;
		int n = sscanf(*texts, "%31[a-z]=%lld:%lld", name, &soft, &hard);

		if (n < 2)
			return err_new(e, ERR_INVALID, "ulimit %.80s: expected NAME=SOFT[:HARD]", *texts);
		*u = (ContainerUlimit){.name = strdup(name), .soft = soft, .hard = n == 3 ? hard : soft};
		h->n_ulimits++;
		if (!u->name)
			return err_oom(e);
	}
	return 0;
}

/* What the step sees: ENV of the image, the ARGs of the stage, proxies. */
static int container_config(Build *b, const Stage *s, const Run *run, ContainerConfig *c, Err *e)
{
	const BuildRequest *rq = b->rq;
	const char *hostname = rq->hostname ?: plan_given_arg(b, "BUILDKIT_SANDBOX_HOSTNAME");

	*c = (ContainerConfig){
	    .image = strdup(""),
	    .cmd = strv_dup(run->argv),
	    .hostname = strdup(hostname ?: "buildkitsandbox"),
	    .has_entrypoint = true,
	    .user = strdup(s->config.run.user ?: ""),
	    .working_dir = strdup(s->config.run.working_dir ?: ""),
	    .attach_stdout = true,
	    .attach_stderr = true,
	    .stop_timeout = -1,
	    .has_health = true, /* nobody asks whether a step is healthy */
	    .host =
		{
		    .network_mode = strdup(run->network),
		    .privileged = run->insecure,
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
	if (strv_add(&c->health.test, "NONE") < 0 ||
	    (rq->keep_failed && strv_add(&c->labels, ENGINE_STEP_KEPT "=1") < 0))
		return err_oom(e);
	if (ulimits_add(rq->ulimits, &c->host, e) < 0)
		return -EINVAL;
	if (stage_environment(s, &c->env, e) < 0 || env_add(&c->env, b->proxy_args) < 0)
		return err_oom(e);
	return c->cmd && c->host.network_mode ? 0 : err_oom(e);
}

int run_check(Build *b, Err *e)
{
	char *any[] = {(char *)(uintptr_t) "true", NULL};
	const Run run = {.argv = any,
			 .network = str_empty(b->rq->network_mode) ? "default" : b->rq->network_mode};
	const Stage none = {0};
	ContainerConfig config = {0};
	int r = container_config(b, &none, &run, &config, e);

	if (r >= 0)
		r = engine_container_check(b->en, &config, e);
	container_config_done(&config);
	return r;
}

/* A step that fills the disk takes what the store had put by for removals, too. Then its files go first. */
static int container_remove(Build *b, const char *id, Err *e)
{
	int r = engine_container_remove(b->en, id, true, true, e);

	if (r == -ENOSPC && store_snapshot_remove(b->store, id, NULL) >= 0)
		r = engine_container_remove(b->en, id, true, true, e);
	return r;
}

int step_run_tidy(Build *b, Stage *s, Err *e)
{
	_cleanup_free_ char *id = take_ptr(s->spent);

	return id ? container_remove(b, id, e) : 0;
}

/* What cannot be run here is most often another machine's. */
static int explain_start(const Stage *s, int r, Err *e)
{
	ImagePlatform own = {0};
	char why[sizeof(e->msg)];

	if (r >= 0 || !e || !strstr(e->msg, "exec format error") ||
	    image_platform_parse(NULL, &own, NULL) < 0)
		return r;
	_cleanup_free_ char *here = image_platform_text(&own),
			    *there = image_platform_text(&s->config.platform);
	bool native = streq0(own.architecture, s->config.platform.architecture);
	image_platform_done(&own);
	if (native || !here || !there)
		return r;
	memcpy(why, e->msg, sizeof(why));
	return err_new_no(
	    e, e->kind, e->no,
	    "%.600s: the stage is for %s and this machine runs %s: install an emulator for binfmt_misc "
	    "(Debian: qemu-user-static)",
	    why, there, here);
}

int step_run_end(Build *b, Stage *s, Err *e)
{
	engine_spare_drop(take_ptr(s->spare));
	return step_run_tidy(b, s, e);
}

/* For the next RUN, if nothing that takes long comes before it. It is likely not in the cache, as this one was not. */
static void prepare_next(Build *b, Stage *s, const DockerfileStep *step)
{
	const DockerfileStep *end = b->df.steps + s->last, *next = step + 1;
	const char *network;

	/* A trigger of the base image is not among them. */
	if (s->spare || step < b->df.steps + s->first || step >= end)
		return;
	while (next < end && !step_makes_layer(next))
		next++;
	if (next == end || next->verb != DF_RUN)
		return;
	network = dockerfile_flag(next, "network");
	if (!network || streq(network, "default"))
		network = str_empty(b->rq->network_mode) ? "default" : b->rq->network_mode;
	/* Without it that step takes a little longer, or tells what is wrong itself. */
	(void)engine_spare_make(b->en, network, &s->spare, NULL);
}

static int run_container(Build *b, Stage *s, const DockerfileStep *step, const char *id, Tail *tail,
			 int *ret_status, Err *e)
{
	ContainerEnd end = {0};
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "make a socket pair");
	EngineAttach a = {.fd = pair[1], .out = true, .err = true, .stream = true};
	r = engine_container_attach(b->en, id, &a, e);
	close_fd(&pair[1]);
	if (r >= 0)
		r = explain_start(s, engine_container_start(b->en, id, e), e);
	if (r >= 0)
		r = step_run_tidy(b, s, e);
	if (r >= 0)
		prepare_next(b, s, step);
	if (r >= 0)
		r = pump(b, s, pair[0], tail, e);
	close_fd(&pair[0]);
	if (r >= 0)
		r = engine_container_wait(b->en, id, WAIT_NOT_RUNNING, NULL, NULL, b->alive_fd, &end, e);
	*ret_status = end.status;
	free(end.error);
	return r;
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

/* What the program said of it may be anything. */
static void tell_full_disk(Build *b, const Stage *s)
{
	_cleanup_free_ char *text = engine_space_none(b->en), *line = text ? strf("%s\n", text) : NULL;

	if (line)
		vertex_log(b, s->vertex, 2, line, strlen(line));
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

static int step_container(Build *b, Stage *s, Run *run, char **ret_id, Err *e)
{
	ContainerConfig config = {0};
	/* Neither the image's command nor its volumes concern a build step. */
	const ImageConfig base = {.run.stop_timeout = -1};
	EngineStep step = {.chain_id = s->chain, .base = &base, .spare = &s->spare};
	const char *path;
	int r = container_config(b, s, run, &config, e);

	if (r >= 0 && run->script)
		r = step_mounts_script(b, run->mounts, run->script, &path, e);
	if (r >= 0)
		r = step_mounts_open(b, s, run->mounts, &step, &config.env, e);
	if (r >= 0)
		r = engine_container_create_on(b->en, &config, &step, ret_id, e);
	container_config_done(&config);
	return r;
}

static int commit_clean(Build *b, const Stage *s, const Run *run, const char *id, CacheHit *hit, Err *e)
{
	_cleanup_free_ char *upper = NULL;
	int r = store_snapshot_changes(b->store, id, &upper, e);

	if (r >= 0)
		r = step_mounts_clean(b, run->mounts, upper, e);
	return r < 0 ? r : step_commit(b, s, upper, hit, e);
}

static int execute(Build *b, Stage *s, const DockerfileStep *step, void *arg, CacheHit *hit, Err *e)
{
	Run *run = arg;
	_cleanup_free_ char *id = NULL;
	_cleanup_free_ Tail *tail = calloc(1, sizeof(*tail));
	int status = 0, r;

	if (!tail)
		return err_oom(e);
	r = step_container(b, s, run, &id, e);
	if (r < 0)
		return r;
	build_tell(b, BUILD_NOTE, " ---> Running in %.12s", id);
	r = run_container(b, s, step, id, tail, &status, e);
	if (r >= 0 && status != 0)
		tell_full_disk(b, s);
	if (r >= 0 && status != 0)
		r = step_failed(b, step, run->shown, id, status, tail, e);
	if (r >= 0)
		r = commit_clean(b, s, run, id, hit, e);
	if (r >= 0)
		s->spent = take_ptr(id);
	/* What failed is kept to be looked at if that was asked for; what nobody waits for any more is ended. */
	else if (r == -ECANCELED || !b->rq->keep_failed)
		(void)container_remove(b, id, NULL);
	return r;
}

/* Everything that the process could tell apart: command, arguments, environment, user, directory, network, mounts. */
static int key_of(Build *b, const Stage *s, const Run *run, char key[DIGEST_LEN + 1], Err *e)
{
	_cleanup_strbuf_ StrBuf text = {0};
	int r;

	strbuf_add(&text, "RUN");
	for (char **w = run->argv; *w; w++)
		strbuf_addf(&text, " %zu:%s", strlen(*w), *w);
	if (run->script)
		strbuf_addf(&text, "\nscript %s", run->script->text);
	for (char *const *v = s->args; v && *v; v++)
		strbuf_addf(&text, "\narg %s", *v);
	for (char *const *v = s->config.run.env; v && *v; v++)
		strbuf_addf(&text, "\nenv %s", *v);
	strbuf_addf(&text, "\nuser %s\ndir %s\nnet %s%s", s->config.run.user ?: "",
		    s->config.run.working_dir ?: "", run->network, run->insecure ? "\ninsecure" : "");
	r = step_mounts_key(b, run->mounts, &text, e);
	if (r < 0)
		return r;
	if (text.oom)
		return err_oom(e);
	cache_key(key, s->key, text.s, NULL);
	return 0;
}

static int run_it(Build *b, Stage *s, const DockerfileStep *step, Run *run, Err *e)
{
	_cleanup_free_ char *told = NULL;
	char key[DIGEST_LEN + 1];
	int r = flags_read(b, step, run, e);

	if (r >= 0)
		r = step_mounts_parse(b, s, step, &run->mounts, e);
	if (r >= 0)
		r = command_of(s, step, run, e);
	if (r >= 0)
		r = key_of(b, s, run, key, e);
	if (r < 0)
		return r;
	told = history_text(b, s, step, run->argv);
	return told ? cache_step(b, s, &(CacheStep){step, key, told, NULL, execute, run}, e) : err_oom(e);
}

int step_run(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	Run run = {0};
	int r;

	if (!s->chain)
		return err_new(
		    e, ERR_INVALID,
		    "RUN needs files to run: the stage starts from scratch: COPY or ADD some first");
	r = run_it(b, s, step, &run, e);
	run_done(b, &run);
	return r;
}
