/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes: the container's first one, how it and the execs (exec.c) get their streams, and how they are reaped.
 *
 * A process is watched through its pidfd, so no signal has to be blocked or handled (both would be
 * inherited by the container). An exec is over when it has exited and its streams have
 * ended and its clients are gone; its exit is told when it exits. One that is traced in the container is its tracer's to reap first:
 * its pidfd, readable all the time, is not watched any more, but looked at now and then.
 */
#include "shim/server.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define OOM_LOOK_NS INT64_C(2000000000)

void pipes_done(Pipes *p)
{
	for (int i = 0; i < 3; i++) {
		close_fd(&p->ours[i]);
		close_fd(&p->theirs[i]);
	}
}

int pipes_open(Pipes *p, const bool wanted[3], Err *e)
{
	*p = (Pipes){{-1, -1, -1}, {-1, -1, -1}};
	for (int i = 0; i < 3; i++) {
		int fds[2];

		if (!wanted[i])
			continue;
		if (pipe2(fds, O_CLOEXEC) < 0)
			return err_sys(e, errno, "pipe for a standard stream");
		p->ours[i] = fds[i == 0];
		p->theirs[i] = fds[i != 0];
	}
	return 0;
}

void born_done(RunnerProcess *p)
{
	close_fd(&p->pidfd);
	close_fd(&p->console);
}

int streams_open(Process *p, Pipes *pipes, int *console, bool tty_input, Err *e)
{
	int in = -1;

	if (*console < 0)
		return stdio_open(&p->io, take_fd(&pipes->ours[0]), take_fd(&pipes->ours[1]),
				  take_fd(&pipes->ours[2]), false, e);
	/* Two descriptors, because epoll watches a descriptor once and reading and writing stop separately. */
	if (tty_input)
		in = fcntl(*console, F_DUPFD_CLOEXEC, 0);
	if (tty_input && in < 0)
		return err_sys(e, errno, "duplicate the terminal");
	return stdio_open(&p->io, in, take_fd(console), -1, true, e);
}

/* ---- reaping ---- */

static void read_exit(Process *p, const siginfo_t *si)
{
	p->exited = true;
	p->exit.at_ns = clock_now_ns();
	if (si->si_code == CLD_EXITED) {
		p->exit.status = si->si_status & 0xff;
	} else {
		p->exit.signal = si->si_status;
		p->exit.status = (128 + si->si_status) & 0xff;
	}
}

/* The kernel counts OOM kills of the whole container. False if there was none yet. */
static bool tell_oom(Server *s)
{
	ShimEvent v = {.type = SHIM_EVENT_OOM};
	uint64_t kills = s->runner.ops->oom_kills(&s->runner);

	if (kills > s->oom_kills) {
		s->oom_kills = kills;
		v.exit.at_ns = clock_now_ns();
		exits_add_event(s, &v);
	}
	return kills > 0;
}

void server_look_for_oom(Server *s, int64_t now)
{
	uint64_t told = s->oom_kills;

	(void)tell_oom(s);
	if (s->oom_kills > told || now > s->oom_look_until)
		s->oom_look_until = 0;
}

static void oom_ready(Source *src, uint32_t events _unused_)
{
	Server *s = src->arg;
	int64_t now = clock_mono_ns();

	runtime_oom_drain(src->fd);
	s->oom_look_until = now + OOM_LOOK_NS;
	server_look_for_oom(s, now);
}

/* Without it, victims are found when a process of ours ends. */
static void watch_oom(Server *s)
{
	int fd = -1;
	short events = 0;
	Err e = {0};
	int r = s->runner.ops->watch_oom(&s->runner, &fd, &events, &e);

	if (r < 0) {
		log_warn("container %s: watch for lack of memory: %s", s->id, err_msg(&e, r));
		return;
	}
	s->oom = (Source){.fd = fd, .ready = oom_ready, .arg = s};
	if (loop_watch(s->loop, &s->oom, (uint32_t)events) < 0)
		loop_close(s->loop, &s->oom);
}

static void process_ready(Source *src, uint32_t events _unused_)
{
	Process *p = src->arg;
	Server *s = p->server;
	ShimEvent v = {.type = SHIM_EVENT_EXEC_EXIT};
	siginfo_t si = {0};
	int r;

	do
		r = waitid(P_PIDFD, (id_t)src->fd, &si, WEXITED | WNOHANG);
	while (r < 0 && errno == EINTR);
	p->held = r == 0 && si.si_pid == 0;
	if (p->held) {
		loop_unwatch(s->loop, src);
		return;
	}
	if (r < 0) { /* somebody else reaped it, which only a bug can do; its status is unknown */
		log_error("container %s: wait for process %d: %s", s->id, (int)p->pid, strerror(errno));
		si.si_code = CLD_EXITED;
		si.si_status = 255;
	}
	loop_close(s->loop, src);
	read_exit(p, &si);
	if (p == &s->init)
		p->exit.oom_killed = tell_oom(s);
	else if (p->exit.signal == SIGKILL)
		(void)tell_oom(s);
	if (p == &s->init) {
		loop_close(s->loop, &s->oom);
		s->oom_look_until = 0;
		server_end(s);
		return;
	}
	memcpy(v.exec_id, p->id, sizeof(p->id));
	v.exit = p->exit;
	exits_add_event(s, &v);
	stdio_exited(&p->io);
}

static void client_detached(Stdio *io)
{
	const Process *p = (const Process *)((const char *)io - offsetof(Process, io));
	ShimEvent v = {.type = SHIM_EVENT_DETACH, .exit.at_ns = clock_now_ns()};

	memcpy(v.exec_id, p->id, sizeof(p->id));
	exits_add_event(p->server, &v);
}

void process_init(Process *p, Server *s, const char *id)
{
	*p = (Process){.server = s, .pidfd = {.fd = -1, .ready = process_ready, .arg = p}};
	(void)snprintf(p->id, sizeof(p->id), "%s", id);
	stdio_init(&p->io, s->loop);
	p->io.detached = client_detached;
}

void process_done(Process *p)
{
	birth_end(p);
	stdio_done(&p->io);
	loop_close(p->server->loop, &p->pidfd);
}

Process *server_process(Server *s, const char *exec_id)
{
	if (!exec_id)
		return &s->init;
	for (Process *p = s->execs; p; p = p->next)
		if (streq(p->id, exec_id))
			return p;
	return NULL;
}

void server_reap_execs(Server *s)
{
	for (Process **at = &s->execs; *at;) {
		Process *p = *at;

		if (!p->exited || !p->io.finished || p->io.clients) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		s->n_execs--;
		process_done(p);
		free(p);
	}
}

/* ---- what is held ---- */

static bool stray_add(Stray **list, pid_t pid)
{
	Stray *stray = malloc(sizeof(*stray));

	if (!stray) {
		log_error("no memory to await process %d", (int)pid);
		return false;
	}
	*stray = (Stray){*list, pid};
	*list = stray;
	return true;
}

static void exec_left(void *arg, pid_t pid)
{
	Server *s = arg;

	if (stray_add(&s->strays, pid))
		s->n_strays++;
}

void strays_look(Stray **list, size_t *n)
{
	for (Stray **at = list; *at;) {
		Stray *stray = *at;
		siginfo_t si = {0};

		if (waitid(P_PID, (id_t)stray->pid, &si, WEXITED | WNOHANG) == 0 && si.si_pid == 0) {
			at = &stray->next;
			continue;
		}
		*at = stray->next;
		if (n)
			--*n;
		free(stray);
	}
}

void strays_forget(Stray **list)
{
	for (Stray *next; *list; *list = next) {
		next = (*list)->next;
		free(*list);
	}
}

bool server_awaits_held(const Server *s)
{
	bool held = s->strays || s->init.held;

	for (const Process *p = s->execs; p && !held; p = p->next)
		held = p->held;
	return held;
}

void server_look_at_held(Server *s)
{
	strays_look(&s->strays, &s->n_strays);
	for (Process *p = s->execs; p; p = p->next)
		if (p->held)
			process_ready(&p->pidfd, 0);
	if (s->init.held)
		process_ready(&s->init.pidfd, 0);
}

void server_leave_strays(Server *s)
{
	Stray **end = &s->keeper->strays;

	for (const Process *p = s->execs; p; p = p->next)
		if (!p->exited && p->pid > 0)
			(void)stray_add(&s->strays, p->pid);
	while (*end)
		end = &(*end)->next;
	*end = take_ptr(s->strays);
	s->n_strays = 0;
}

void process_abandon(Process *p, int pidfd)
{
	siginfo_t si;

	(void)kill(p->pid, SIGKILL);
	while (waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED) < 0 && errno == EINTR)
		;
}

int process_watch(Process *p, int pidfd, Err *e)
{
	int r;

	p->pidfd.fd = pidfd;
	r = loop_watch(p->server->loop, &p->pidfd, EPOLLIN);
	if (r < 0) {
		p->pidfd.fd = -1;
		return err_sys(e, r, "watch process %d", (int)p->pid);
	}
	return 0;
}

/* ---- create ---- */

/* A runtime takes a namespace by path only. */
static int place_netns(int netns, Err *e)
{
	return netns >= 0 && dup3(netns, SHIM_NETNS_FD, O_CLOEXEC) < 0
		   ? err_sys(e, errno, "place the network namespace")
		   : 0;
}

static int read_create(Server *s, const json_t *doc, Err *e)
{
	const char *dir = json_get_str(doc, "dir"), *id = json_get_str(doc, "id"),
		   *root = json_get_str(doc, "runtime_root"), *cache = json_get_str(doc, "seccomp_cache");
	Runner *run = &s->runner;
	int r;

	if (!dir || !id || !root)
		return err_new(e, ERR_INVALID, "shim: create without %s",
			       !dir  ? "dir"
			       : !id ? "id"
				     : "runtime_root");
	if (dir[0] != '/')
		return err_new(e, ERR_INVALID, "shim: directory %s is not absolute", dir);
	r = runner_init(run, id, dir, root, json_get_str(doc, "runtime"), e);
	if (r < 0)
		return r;
	run->seccomp_cache = cache ? strdup(cache) : NULL;
	if (cache && !run->seccomp_cache)
		return err_oom(e);
	run->options.seccomp_cache = run->seccomp_cache;
	run->left = exec_left;
	run->left_arg = s;
	r = runner_set_scope(run, json_get_str(doc, "scope_dir"), e);
	if (r < 0)
		return r;
	s->dir = run->bundle;
	s->id = run->id;
	return runner_record(run, e);
}

void process_set_size(int console, const json_t *doc)
{
	struct winsize ws = {
	    .ws_row = (unsigned short)json_get_int(doc, "rows", 0),
	    .ws_col = (unsigned short)json_get_int(doc, "cols", 0),
	};

	/* A terminal that stays at 0x0 works; the client will resize it anyway. */
	if (console >= 0 && ws.ws_row && ws.ws_col)
		(void)ioctl(console, TIOCSWINSZ, &ws);
}

static int create_process(Server *s, const json_t *doc, int rootfs, Err *e)
{
	bool tty = json_get_bool(doc, "terminal", false),
	     stdin_open = json_get_bool(doc, "open_stdin", false);
	const bool wanted[3] = {!tty && stdin_open, !tty, !tty};
	_cleanup_(pipes_done) Pipes pipes;
	_cleanup_(born_done) RunnerProcess born = {.pidfd = -1, .console = -1};
	Process *p = &s->init;
	Err ignored;
	int r = pipes_open(&pipes, wanted, e);

	if (r < 0)
		return r;
	s->runner.mounts = s->mounts;
	s->runner.n_mounts = s->n_mounts;
	r = s->runner.ops->create(&s->runner, rootfs, tty,
				  &(RuntimeStdio){pipes.theirs[0], pipes.theirs[1], pipes.theirs[2]}, &born,
				  e);
	if (r < 0)
		return r;
	p->pid = born.pid;
	process_set_size(born.console, doc);
	if (tty && born.console < 0)
		r = err_new(e, ERR_INVALID, "container %s: process.terminal is not set in config.json",
			    s->id);
	else
		r = streams_open(p, &pipes, &born.console, stdin_open, e);
	if (r >= 0)
		r = process_watch(p, born.pidfd, e);
	if (r < 0) {
		process_abandon(p, born.pidfd);
		(void)s->runner.ops->remove(&s->runner, &ignored);
		return r;
	}
	(void)take_fd(&born.pidfd);
	stdio_set_log(&p->io, s->log);
	p->io.in_once = json_get_bool(doc, "stdin_once", false);
	if (json_get_bool(doc, "watch_oom", false))
		watch_oom(s);
	return 0;
}

int server_create(Server *s, ShimMsg *m, Err *e)
{
	size_t n = 0;
	_cleanup_close_ int rootfs = json_get_bool(m->doc, "rootfs", false) ? shim_msg_take_fd(m, n++) : -1;
	_cleanup_close_ int netns = json_get_bool(m->doc, "netns", false) ? shim_msg_take_fd(m, n++) : -1;
	int r;

	/* The place for it is the first one's, and may be anything by now. */
	if (netns >= 0 && s != s->keeper->first)
		return err_new(e, ERR_INVALID, "shim: a member of a pod names its network namespace by path");
	if (n != m->n_fds)
		return err_new(e, ERR_INVALID, "shim: create with %zu descriptors instead of %zu", m->n_fds,
			       n);
	r = read_create(s, m->doc, e);
	if (r >= 0)
		r = exits_reserve(s, e);
	if (r >= 0)
		r = logger_open(json_object_get(m->doc, "log"), s->loop, &s->log, e);
	if (r >= 0)
		r = place_netns(netns, e);
	if (r >= 0)
		r = conn_listen(s, e);
	if (r >= 0)
		r = create_process(s, m->doc, rootfs, e);
	if (s == s->keeper->first)
		(void)close(SHIM_NETNS_FD);
	return r;
}
