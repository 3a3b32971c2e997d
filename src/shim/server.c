/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim's life: setting up, creating the container, the loop, giving memory back.
 *
 * A shim is idle most of its life and there may be hundreds of them, so what it touched to create the container
 * is returned: the heap is trimmed, and the program's own read-only pages are dropped from its map (the page
 * cache still has them, and the few that the loop needs come back by themselves).
 */
#include "shim/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define IDLE_MS          200
#define LISTENER_REST_MS 200
#define OOM_LOOK_MS      10
#define HELD_LOOK_MS     100
#define MACHINE_ENDS_S   10 /* docker's time between the signals of a stop */

static void ignore_signal(int sig _unused_)
{
}

/* ---- the end of the machine ---- */

/* For signal handlers, which run in children too until these are programs. */
static const Server *serving;

/* What systemd becomes when all services are stopped. */
static bool machine_ends(void)
{
	static const char name[] = "systemd-shutdow"; /* 15 bytes are all that a name has */
	char said[sizeof(name)] = "";
	int fd = open("/proc/1/comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, said, sizeof(said)) : -1;

	if (fd >= 0)
		(void)close(fd);
	return n == (ssize_t)sizeof(said) && memcmp(said, name, sizeof(name) - 1) == 0;
}

/* Then every process is sent SIGTERM, and a minute and a half later SIGKILL, unless all have ended. The shim does not wait so long for a container that
 * takes no notice: as `stop` does. Its exit is on record, and its file systems can be unmounted. */
static void on_term(int sig _unused_)
{
	int saved = errno;

	if (serving && getpid() == serving->pid && machine_ends())
		(void)alarm(MACHINE_ENDS_S);
	errno = saved;
}

static void on_alarm(int sig _unused_)
{
	int saved = errno;

	if (serving && getpid() == serving->pid && serving->init.pidfd.fd >= 0)
		(void)process_signal(serving->init.pidfd.fd, SIGKILL);
	errno = saved;
}

/* posix_spawn(3) of glibc leaves the two signals of its threads ignored, and hides them from sigaction(2). */
static void reset_thread_signals(void)
{
	static const struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} dfl; /* the kernel's own struct sigaction, all zero: SIG_DFL */

	for (int sig = 32; sig <= 33; sig++)
		(void)syscall(SYS_rt_sigaction, sig, &dfl, NULL, sizeof(dfl.mask));
}

/*
 * Handlers that do nothing instead of SIG_IGN: an ignored signal stays ignored through execve, so the container would
 * start with it; a handled one is reset. The shim does not end before its container, whoever asks.
 */
static int set_signals(Err *e)
{
	static const struct {
		int signal;
		void (*handler)(int);
	} rows[] = {{SIGPIPE, ignore_signal}, {SIGTERM, on_term},      {SIGALRM, on_alarm},
		    {SIGINT, ignore_signal},  {SIGHUP, ignore_signal}, {SIGQUIT, ignore_signal},
		    {SIGUSR1, ignore_signal}, {SIGUSR2, ignore_signal}};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct sigaction sa = {.sa_handler = rows[i].handler, .sa_flags = SA_RESTART};

		if (sigaction(rows[i].signal, &sa, NULL) < 0)
			return err_sys(e, errno, "sigaction");
	}
	reset_thread_signals();
	return 0;
}

/* When memory runs out, the shim is the wrong victim: its container would go with it. Lowering the score takes
 * CAP_SYS_RESOURCE, which we may not have; the shim then runs with the score it was given. */
static void avoid_oom(void)
{
	(void)file_write_at(AT_FDCWD, "/proc/self/oom_score_adj", "-998");
}

/* ---- memory ---- */

/* Returns when something happens. */
static void rest(Server *s)
{
	(void)malloc_trim(0);
	(void)madvise(s->loop.io, LOOP_IO_SIZE, MADV_DONTNEED);
	if (s->log)
		logger_idle(s->log);
	s->rested = true;
	loop_rest(&s->loop, s->text, s->n_text);
}

/* ---- the loop ---- */

static int sooner(int a, int b)
{
	return a < 0 ? b : b < 0 ? a : MIN2(a, b);
}

/* Somebody is still to be told: of the exit, or a log's server of the last lines. */
static bool goodbyes_wait(const Server *s)
{
	return conns_have_events(s) || (s->log && logger_busy(s->log));
}

static int server_timeout(const Server *s, int64_t now)
{
	int t = stdio_timeout(&s->init.io, now);

	for (const Process *p = s->execs; p; p = p->next)
		t = sooner(t, stdio_timeout(&p->io, now));
	if (s->listener_rests)
		t = sooner(t, LISTENER_REST_MS);
	if (s->oom_look_until)
		t = sooner(t, OOM_LOOK_MS);
	if (server_awaits_held(s))
		t = sooner(t, HELD_LOOK_MS);
	if (s->ended && now < s->end_by && (goodbyes_wait(s) || s->execs))
		t = sooner(t, (int)((s->end_by - now) / 1000000 + 1));
	return t;
}

/* What a runtime's program has left to us, in the moment in which we were its subreaper. Ours come first by themselves: their pidfds
 * are readable then. */
static void reap_strays(const Server *s)
{
	siginfo_t si = {0};

	while (s->runner.program && waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       si.si_pid > 0) {
		if (si.si_pid == s->init.pid && !s->init.exited)
			return;
		for (const Process *p = s->execs; p; p = p->next)
			if (p->pid == si.si_pid && !p->exited)
				return;
		(void)waitid(P_PID, (id_t)si.si_pid, &si, WEXITED | WNOHANG);
		si.si_pid = 0;
	}
}

static void server_tick(Server *s, int64_t now)
{
	stdio_tick(&s->init.io, now);
	for (Process *p = s->execs; p; p = p->next)
		stdio_tick(&p->io, now);
	if (s->oom_look_until)
		server_look_for_oom(s, now);
	server_look_at_held(s);
	if (s->listener_rests) {
		s->listener_rests = false;
		(void)loop_watch(&s->loop, &s->listener, EPOLLIN);
	}
}

/* The last output of an exec that has ended, to its clients. One that was killed and does not end, which a tracer or a file system can do to it,
 * is left to the next reaper. */
static bool execs_wait(const Server *s, int64_t now)
{
	for (const Process *p = s->execs; p; p = p->next)
		if (p->exited || now < s->end_by)
			return true;
	return false;
}

/* Everything that was promised to anybody is delivered. */
static bool server_is_over(const Server *s, int64_t now)
{
	if (!s->ended || s->init.io.clients || execs_wait(s, now))
		return false;
	return now >= s->end_by || !goodbyes_wait(s);
}

static int server_loop(Server *s)
{
	int64_t now = clock_mono_ns(), ticked = now;

	while (!server_is_over(s, now)) {
		int t = server_timeout(s, now);
		bool idle = t < 0 && !s->rested;
		int r = loop_once(&s->loop, idle ? IDLE_MS : t);

		if (r < 0)
			return r;
		now = clock_mono_ns();
		if (r > 0)
			s->rested = false;
		else if (idle)
			rest(s);
		/* Timers are coarse, and must also run while events keep coming. */
		if (r == 0 || now - ticked > INT64_C(100000000)) {
			server_tick(s, now);
			ticked = now;
		}
		server_reap_execs(s);
		reap_strays(s);
	}
	return 0;
}

/* ---- the beginning ---- */

static int receive_create(Server *s, int control, ShimMsg *ret, Err *e)
{
	for (;;) {
		_cleanup_shim_msg_ ShimMsg m = {0};
		int r = shim_msg_recv(control, s->loop.io, &m, e);

		if (r == 0)
			return err_new(e, ERR_CANCELLED, "irekod went away before it asked for anything");
		if (r < 0)
			return r;
		if (m.type == SHIM_MSG_CREATE) {
			*ret = m;
			m = (ShimMsg){0};
			return 0;
		}
		if (m.type == SHIM_MSG_HOLD)
			r = hold_add(&s->hold, &s->n_hold, &m, e);
		else if (m.type == SHIM_MSG_MOUNTS)
			r = hold_add(&s->mounts, &s->n_mounts, &m, e);
		else
			return err_new(e, ERR_INVALID, "the first request must be to create");
		if (r < 0)
			return r;
	}
}

static int reply_create(Server *s, int control, uint32_t seq, int r, const Err *err, Err *e)
{
	char text[sizeof(Err)];
	_cleanup_json_ json_t *doc = NULL;
	ShimMsg m = {.seq = seq};

	if (r < 0) {
		m.type = SHIM_MSG_ERROR;
		m.blob = text;
		m.blob_len = shim_error_encode(err, r, text, sizeof(text));
		return shim_msg_send(control, &m, e);
	}
	doc = json_pack("{s:i, s:i}", "shim_pid", (int)getpid(), "pid", (int)s->init.pid);
	if (!doc)
		return err_oom(e);
	m.type = SHIM_MSG_OK;
	m.doc = doc;
	return shim_msg_send(control, &m, e);
}

/* What a failed create leaves in the directory. */
static void undo_create(Server *s)
{
	_cleanup_close_ int dir = s->dir ? open(s->dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	if (dir < 0)
		return;
	if (s->listener.fd >= 0)
		(void)unlinkat(dir, SHIM_SOCKET_NAME, 0);
	if (s->exit_fd >= 0)
		(void)unlinkat(dir, SHIM_EXIT_RESERVED, 0);
}

static int create(Server *s, int control, Err *e)
{
	_cleanup_shim_msg_ ShimMsg m = {0};
	Err send_error = {0};
	int r = receive_create(s, control, &m, e);

	if (r < 0)
		return r;
	r = server_create(s, &m, e);
	hold_close(&s->mounts, &s->n_mounts);
	if (r < 0)
		undo_create(s);
	/* irekod may have died meanwhile: the container is there all the same, and it will find us. */
	if (reply_create(s, control, m.seq, r, e, &send_error) < 0)
		log_warn("container %s: reply: %s", s->id ? s->id : "?", send_error.msg);
	return r;
}

static int set_up(Server *s, int control, Err *e)
{
	int type = 0, r;
	socklen_t len = sizeof(type);

	if (getsockopt(control, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET)
		return err_new(e, ERR_INVALID,
			       "ireko-shim is started by irekod, with its connection as descriptor %d",
			       control);
	r = fd_set_cloexec(control, true);
	if (r < 0)
		return err_sys(e, r, "descriptor %d", control);
	r = set_signals(e);
	if (r < 0)
		return r;
	/* Held by /dev/null until there is a namespace. */
	if (dup3(STDIN_FILENO, SHIM_NETNS_FD, O_CLOEXEC) < 0)
		return err_sys(e, errno, "reserve descriptor %d", SHIM_NETNS_FD);
	(void)prctl(PR_SET_NAME, "ireko-shim");
	avoid_oom();
	/* Once: reading the program headers would bring pages back. */
	s->n_text = pages_of_program(s->text, ELEMENTSOF(s->text));
	return loop_init(&s->loop, e);
}

static void server_done(Server *s)
{
	conns_close(s);
	for (Process *p = s->execs, *next; p; p = next) {
		next = p->next;
		process_done(p);
		free(p);
	}
	server_forget_strays(s);
	process_done(&s->init);
	logger_close(s->log);
	loop_close(&s->loop, &s->listener);
	loop_close(&s->loop, &s->oom);
	loop_done(&s->loop);
	close_fd(&s->exit_fd);
	hold_close(&s->hold, &s->n_hold);
	hold_close(&s->mounts, &s->n_mounts);
	free(s->events);
	runner_done(&s->runner);
}

static int serve(Server *s, int control, Err *e)
{
	int r = set_up(s, control, e);

	if (r >= 0)
		r = create(s, control, e);
	if (r < 0)
		return r;
	r = fd_set_nonblock(control, true);
	if (r >= 0)
		r = conn_add(s, control, e);
	if (r < 0)
		close_fd(&control);
	r = server_loop(s);
	return r < 0 ? err_sys(e, r, "container %s: epoll", s->id) : 0;
}

int shim_serve(int control_fd)
{
	static Server s;
	Err e = {0};
	int r;

	s = (Server){
	    .pid = getpid(), .loop = {.epfd = -1}, .listener = {.fd = -1}, .oom = {.fd = -1}, .exit_fd = -1};
	process_init(&s.init, &s, "");
	serving = &s;
	r = serve(&s, control_fd, &e);
	if (r < 0)
		log_error("%s", err_msg(&e, r));
	server_done(&s);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
