/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim's process: setting up, the loop over all containers, giving memory back, the end.
 *
 * A shim is idle most of its life and there may be hundreds of them, so what it touched to create a container
 * is returned: the heap is trimmed, and the program's own read-only pages are dropped from its map (the page
 * cache still has them, and the few that the loop needs come back by themselves).
 *
 * A server goes between two events, never inside a handler, which may be one of its own.
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
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define IDLE_MS        200
#define STRAYS_LOOK_MS 1000
#define MACHINE_ENDS_S 10 /* docker's time between the signals of a stop */

static void ignore_signal(int sig _unused_)
{
}

/* ---- the end of the machine ---- */

/* For signal handlers, which run in children too until these are programs. */
static const Keeper *serving;

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

	if (serving && getpid() == serving->pid && serving->first && serving->first->init.pidfd.fd >= 0)
		(void)process_signal(serving->first->init.pidfd.fd, SIGKILL);
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
static void rest(Keeper *k)
{
	(void)malloc_trim(0);
	(void)madvise(k->loop.io, LOOP_IO_SIZE, MADV_DONTNEED);
	for (const Server *s = k->servers; s; s = s->next)
		if (s->log)
			logger_idle(s->log);
	k->rested = true;
	loop_rest(&k->loop, k->text, k->n_text);
}

/* ---- the loop ---- */

/* One that waits to be told what to create is wanted at once: it does not rest. */
static bool may_rest(const Keeper *k)
{
	for (const Server *s = k->servers; s; s = s->next)
		if (!s->created)
			return false;
	return !k->rested;
}

static int keeper_timeout(const Keeper *k, int64_t now)
{
	int t = k->strays ? STRAYS_LOOK_MS : -1;

	if (k->others_end_ns) {
		int left = (int)(MAX2(k->others_end_ns - now, INT64_C(0)) / 1000000) + 1;

		t = t < 0 ? left : MIN2(t, left);
	}
	for (const Server *s = k->servers; s; s = s->next) {
		int own = server_timeout(s, now);

		t = t < 0 ? own : own < 0 ? t : MIN2(t, own);
	}
	return t;
}

/* Whether it is ours, and will be seen to by its pidfd, or is of an exec that is being started. */
static bool is_watched(const Keeper *k, pid_t pid)
{
	for (const Server *s = k->servers; s; s = s->next) {
		if (s->init.pid == pid && !s->init.exited)
			return true;
		for (const Process *p = s->execs; p; p = p->next)
			if ((p->pid == pid && !p->exited) || p->birth)
				return true;
	}
	return false;
}

static bool has_program(const Keeper *k)
{
	for (const Server *s = k->servers; s; s = s->next)
		if (s->runner.program)
			return true;
	return false;
}

/* What a runtime's program has left to us, in the moment in which we were its subreaper. Ours come first by themselves: their pidfds
 * are readable then. */
static void reap_strays(const Keeper *k)
{
	siginfo_t si = {0};

	if (!has_program(k))
		return;
	while (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid > 0) {
		if (is_watched(k, si.si_pid))
			return;
		(void)waitid(P_PID, (id_t)si.si_pid, &si, WEXITED | WNOHANG);
		si.si_pid = 0;
	}
}

static void free_those_over(Keeper *k, int64_t now)
{
	for (Server **at = &k->servers; *at;) {
		Server *s = *at;

		if (!server_is_over(s, now)) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		k->n_servers--;
		if (k->first == s) {
			k->failed = s->failed;
			k->first = NULL;
		}
		server_free(s);
	}
}

static void end_others(Keeper *k)
{
	k->others_end_ns = 0;
	for (Server *s = k->servers; s; s = s->next) {
		Err e = {0};

		if (s == k->first || s->ended)
			continue;
		if (!s->created)
			s->failed = true;
		else if (s->runner.ops->kill(&s->runner, SIGKILL, true, &e) < 0)
			(void)process_signal(s->init.pidfd.fd, SIGKILL);
	}
}

static int keeper_loop(Keeper *k)
{
	int64_t now = clock_mono_ns(), ticked = now;

	while (k->servers) {
		int t = keeper_timeout(k, now);
		bool idle = t < 0 && may_rest(k);
		int r = loop_once(&k->loop, idle ? IDLE_MS : t);
		/* Timers are coarse, and must also run while events keep coming. */
		bool tick;

		if (r < 0)
			return r;
		now = clock_mono_ns();
		if (r > 0)
			k->rested = false;
		else if (idle)
			rest(k);
		tick = r == 0 || now - ticked > INT64_C(100000000);
		if (tick)
			ticked = now;
		for (Server *s = k->servers; s; s = s->next) {
			if (tick)
				server_tick(s, now);
			server_reap_execs(s);
		}
		if (tick)
			strays_look(&k->strays, NULL);
		if (k->others_end_ns && k->others_end_ns <= now)
			end_others(k);
		reap_strays(k);
		free_those_over(k, now);
	}
	return 0;
}

/* When the machine ends, they have been sent SIGTERM with it: each has the time that a container of its own has. */
void keeper_first_ended(Keeper *k)
{
	if (!machine_ends()) {
		end_others(k);
		return;
	}
	k->others_end_ns = clock_mono_ns() + MACHINE_ENDS_S * INT64_C(1000000000);
	for (Server *s = k->servers; s; s = s->next)
		if (s != k->first && !s->created)
			s->failed = true;
}

/* ---- the beginning ---- */

static int set_up(Keeper *k, int control, Err *e)
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
	k->n_text = pages_of_program(k->text, ELEMENTSOF(k->text));
	r = fd_set_nonblock(control, true);
	if (r < 0)
		return err_sys(e, r, "descriptor %d", control);
	return loop_init(&k->loop, e);
}

static int serve(Keeper *k, int control, Err *e)
{
	int r = set_up(k, control, e);

	if (r >= 0)
		r = server_new(k, control, &k->first, e);
	if (r < 0)
		return r;
	r = keeper_loop(k);
	return r < 0 ? err_sys(e, r, "epoll") : 0;
}

int shim_serve(int control_fd)
{
	static Keeper k;
	Err e = {0};
	int r;

	k = (Keeper){.pid = getpid(), .loop = {.epfd = -1}};
	serving = &k;
	r = serve(&k, control_fd, &e);
	if (r < 0)
		log_error("%s", err_msg(&e, r));
	for (Server *s; (s = k.servers);) {
		k.servers = s->next;
		server_free(s);
	}
	strays_forget(&k.strays);
	loop_done(&k.loop);
	return r < 0 || k.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
