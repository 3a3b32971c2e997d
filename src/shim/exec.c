/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Execs, from the request to the moment when the command executes, and attaching.
 *
 * What happens in between is partly up to the container, which sees the new process and may stop it: the shim goes on serving everybody else
 * meanwhile, and answers when the runtime is done, or its time is over. Such an exec has a Birth; it can be asked about, but not be killed or
 * resized yet. The container's end is its end. Another runtime, a program, is waited for.
 */
#include "shim/server.h"

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

/* Of an exec whose command does not execute yet. */
struct Birth {
	RuntimeExecJob *job; /* or NULL */
	Source ready;        /* the job's descriptor */
	Pipes pipes;
	bool input; /* the client's, on a terminal */
	Conn *conn; /* to be answered; NULL: it has gone */
	ShimMsg m;  /* the request, without the process */
};

void birth_end(Process *p)
{
	Birth *b = p->birth;

	if (!b)
		return;
	if (b->ready.watched)
		loop_unwatch(p->server->loop, &b->ready);
	runtime_exec_drop(b->job);
	pipes_done(&b->pipes);
	shim_msg_done(&b->m);
	free(b);
	p->birth = NULL;
}

/* ---- attach ---- */

/* Reads the attach members of a request; descriptor 0 of the message is the client's. */
static int read_attach(ShimMsg *m, const json_t *j, char *keys, ShimAttach *ret, Err *e)
{
	const char *hex = json_get_str(j, "detach_keys");
	size_t n = hex ? strlen(hex) / 2 : 0;

	if (n > DETACH_KEYS_MAX || (hex && strlen(hex) % 2))
		return err_new(e, ERR_INVALID, "detach keys: more than %d keys", DETACH_KEYS_MAX);
	for (size_t i = 0; i < n; i++) {
		unsigned v;

		if (sscanf(hex + 2 * i, "%2x", &v) != 1)
			return err_new(e, ERR_INVALID, "detach keys are damaged");
		keys[i] = (char)v;
	}
	*ret = (ShimAttach){
	    .fd = -1,
	    .framing = json_get_bool(j, "mux", false) ? SHIM_MUX : SHIM_RAW,
	    .want_stdin = json_get_bool(j, "stdin", false),
	    .want_stdout = json_get_bool(j, "stdout", false),
	    .want_stderr = json_get_bool(j, "stderr", false),
	    .prefix = m->blob,
	    .prefix_len = m->blob_len,
	    .detach_keys = keys,
	    .n_detach_keys = n,
	};
	if (m->n_fds != 1)
		return err_new(e, ERR_INVALID, "attach: needs one descriptor, not %zu", m->n_fds);
	return 0;
}

int server_attach(Server *s, ShimMsg *m, Err *e)
{
	char keys[DETACH_KEYS_MAX];
	ShimAttach a;
	int r = read_attach(m, m->doc, keys, &a, e);

	if (r < 0)
		return r;
	a.fd = shim_msg_take_fd(m, 0);
	return stdio_attach(&s->init.io, &a, e);
}

/* ---- exec ---- */

/* The runtime-spec process of a request, with what the request says beside it. */
static int exec_process(const json_t *doc, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *process = json_copy(json_object_get(doc, "process"));
	int64_t rows = json_get_int(doc, "rows", 0), cols = json_get_int(doc, "cols", 0);

	if (!json_is_object(process))
		return err_new(e, ERR_INVALID, "exec: the process is missing");
	if (json_object_get(doc, "terminal") &&
	    json_object_set(process, "terminal", json_object_get(doc, "terminal")) < 0)
		return err_oom(e);
	if (rows > 0 && cols > 0 && json_get_bool(process, "terminal", false) &&
	    json_object_set_new(process, "consoleSize",
				json_pack("{s:I, s:I}", "height", (json_int_t)rows, "width",
					  (json_int_t)cols)) < 0)
		return err_oom(e);
	*ret = take_ptr(process);
	return 0;
}

/* The command executes. A client that cannot be served is closed, and sees that. */
static int exec_born(Process *p, RunnerProcess *born, Err *e)
{
	Birth *b = p->birth;
	const json_t *attach = json_object_get(b->m.doc, "attach");
	char keys[DETACH_KEYS_MAX];
	ShimAttach a = {.fd = -1};
	Err why = {0};
	int r;

	p->pid = born->pid;
	process_set_size(born->console, b->m.doc);
	r = streams_open(p, &b->pipes, &born->console, b->input, e);
	if (r >= 0)
		r = process_watch(p, born->pidfd, e);
	if (r < 0) {
		process_abandon(p, born->pidfd);
		return r;
	}
	(void)take_fd(&born->pidfd);
	p->io.in_once = true;
	if (!attach)
		return 0;
	r = read_attach(&b->m, attach, keys, &a, &why);
	a.fd = shim_msg_take_fd(&b->m, 0);
	if (r >= 0)
		r = stdio_attach(&p->io, &a, &why);
	else
		close_fd(&a.fd);
	if (r < 0)
		log_warn("container %s: exec %s: %s", p->server->id, p->id, err_msg(&why, r));
	return 0;
}

static void answer(const Process *p, int r, Err *e)
{
	_cleanup_json_ json_t *doc = json_pack("{s:i}", "pid", (int)p->pid);

	if (p->birth->conn)
		conn_answer(p->birth->conn, p->birth->m.seq, doc ? r : -ENOMEM, doc, e);
}

/* It never was: the loop frees it. */
static void exec_failed(Process *p)
{
	p->pid = 0;
	p->exited = true;
	p->io.finished = true;
}

static void birth_step(Process *p)
{
	_cleanup_(born_done) RunnerProcess born = {.pidfd = -1, .console = -1};
	Err e = {0};
	int r = runtime_exec_step(p->birth->job, &born.pid, &born.pidfd, &born.console, &e);

	if (r == 0)
		return;
	if (r > 0)
		r = exec_born(p, &born, &e);
	answer(p, r, &e);
	if (r < 0)
		exec_failed(p);
	birth_end(p);
}

static void birth_ready(Source *src, uint32_t events _unused_)
{
	birth_step(src->arg);
}

int births_timeout(const Server *s, int64_t now)
{
	int64_t next = INT64_MAX;

	for (const Process *p = s->execs; p; p = p->next)
		if (p->birth && runtime_exec_deadline(p->birth->job))
			next = MIN2(next, runtime_exec_deadline(p->birth->job));
	return next == INT64_MAX ? -1 : next <= now ? 0 : (int)((next - now) / 1000000 + 1);
}

void births_tick(Server *s, int64_t now)
{
	for (Process *p = s->execs; p; p = p->next)
		if (p->birth && runtime_exec_deadline(p->birth->job) &&
		    now >= runtime_exec_deadline(p->birth->job))
			birth_step(p);
}

void births_cancel(Server *s)
{
	for (Process *p = s->execs; p; p = p->next) {
		Err e = {0};

		if (!p->birth)
			continue;
		answer(p, err_new_no(&e, ERR_CONFLICT, ESRCH, "container %s is not running", s->id), &e);
		exec_failed(p);
		birth_end(p);
	}
}

void births_forget(Server *s, const Conn *c)
{
	for (Process *p = s->execs; p; p = p->next)
		if (p->birth && p->birth->conn == c)
			p->birth->conn = NULL;
}

static int exec_new(Server *s, const char *id, Process **ret, Err *e)
{
	ShimExit unused;
	Process *p;

	if (str_empty(id) || strlen(id) > SHIM_EXEC_ID_MAX)
		return err_new(e, ERR_INVALID, "exec: an id has 1 to %d characters", SHIM_EXEC_ID_MAX);
	if (exits_find(s, id, &unused, NULL) >= 0)
		return err_new(e, ERR_CONFLICT, "exec %s exists already", id);
	if (s->n_execs + s->n_strays >= SHIM_EXECS_MAX)
		return err_new(e, ERR_EXHAUSTED, "container %s: %d execs are running already", s->id,
			       SHIM_EXECS_MAX);
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_oom(e);
	process_init(p, s, id);
	p->birth = calloc(1, sizeof(*p->birth));
	if (!p->birth) {
		free(p);
		return err_oom(e);
	}
	*p->birth = (Birth){.ready = {.fd = -1, .ready = birth_ready, .arg = p},
			    .pipes = {{-1, -1, -1}, {-1, -1, -1}}};
	*ret = p;
	return 0;
}

/* 1: it is to be seen to until the command executes; 0: it does. */
static int exec_start(Process *p, const json_t *process, const ShimAttach *a, RunnerProcess *born, Err *e)
{
	const Runner *run = &p->server->runner;
	Birth *b = p->birth;
	bool tty = json_get_bool(process, "terminal", false);
	const bool wanted[3] = {
	    !tty && a && a->want_stdin,
	    !tty && a && a->want_stdout,
	    !tty && a && a->want_stderr,
	};
	int r = pipes_open(&b->pipes, wanted, e);

	if (r < 0)
		return r;
	b->input = a && a->want_stdin;
	r = run->ops->exec(run, process,
			   &(RuntimeStdio){b->pipes.theirs[0], b->pipes.theirs[1], b->pipes.theirs[2]}, born,
			   &b->job, e);
	for (int i = 0; i < 3; i++)
		close_fd(&b->pipes.theirs[i]);
	if (r <= 0)
		return r;
	b->ready.fd = runtime_exec_fd(b->job);
	r = loop_watch(p->server->loop, &b->ready, EPOLLIN);
	return r < 0 ? err_sys(e, r, "watch a new process") : 1;
}

static int exec_run(Process *p, ShimMsg *m, Err *e)
{
	_cleanup_json_ json_t *process = NULL;
	_cleanup_(born_done) RunnerProcess born = {.pidfd = -1, .console = -1};
	const json_t *attach = json_object_get(m->doc, "attach");
	char keys[DETACH_KEYS_MAX];
	ShimAttach a;
	int r = attach ? read_attach(m, attach, keys, &a, e) : 0;

	if (r >= 0)
		r = exec_process(m->doc, &process, e);
	if (r >= 0)
		r = exec_start(p, process, attach ? &a : NULL, &born, e);
	if (r < 0)
		return r;
	(void)json_object_del(m->doc, "process");
	p->birth->m = *m;
	*m = (ShimMsg){0};
	return r == 0 ? exec_born(p, &born, e) : r;
}

int server_exec(Server *s, ShimMsg *m, pid_t *ret_pid, Err *e)
{
	Process *p;
	int r = exec_new(s, json_get_str(m->doc, "exec_id"), &p, e);

	if (r < 0)
		return r;
	r = exec_run(p, m, e);
	if (r < 0) {
		process_done(p);
		free(p);
		return r;
	}
	p->next = s->execs;
	s->execs = p;
	s->n_execs++;
	*ret_pid = p->pid;
	if (r == 0)
		birth_end(p);
	else
		p->birth->conn = s->asking;
	return r;
}
