/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Being in the foreground for a container: signals are passed on, and with a terminal, bytes too.
 *
 * All signals are blocked and read from a signalfd, so that none is lost between the creation of the process and
 * this loop. What cannot be written at once is kept (one buffer a direction), so a reader that does not
 * read holds up only its own direction.
 */
#include "command.h"

#include "base/fd.h"
#include "kernel/process.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>

#define STREAM_SIZE 16384

typedef struct Stream {
	int from, to;
	char *buf; /* STREAM_SIZE bytes */
	size_t at, len;
	bool ended;
} Stream;

typedef struct Foreground {
	int pidfd, signals, console, notify;
	pid_t pid;
	Stream in, out;
	struct termios saved;
	bool raw;
} Foreground;

int foreground_prepare(Err *e)
{
	sigset_t all;

	sigfillset(&all);
	/* Faults of our own are not for the container. */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGABRT);
	return sigprocmask(SIG_SETMASK, &all, NULL) < 0 ? err_sys(e, errno, "block signals") : 0;
}

static void copy_size(const Foreground *f)
{
	struct winsize ws;

	if (f->console >= 0 && ioctl(0, TIOCGWINSZ, &ws) == 0)
		(void)ioctl(f->console, TIOCSWINSZ, &ws);
}

static void handle_signal(Foreground *f)
{
	struct signalfd_siginfo si;

	if (read(f->signals, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGWINCH && f->console >= 0)
		copy_size(f);
	/* SIGPIPE and SIGURG are about this process; the rest is for the container, which may be gone. */
	else if (si.ssi_signo != SIGCHLD && si.ssi_signo != SIGPIPE && si.ssi_signo != SIGURG)
		(void)process_signal(f->pidfd, (int)si.ssi_signo);
}

static void fill(Stream *s)
{
	ssize_t n = read(s->from, s->buf, STREAM_SIZE);

	if (n > 0) {
		s->at = 0;
		s->len = (size_t)n;
	} else if (n == 0 || (errno != EINTR && errno != EAGAIN))
		s->ended = true; /* EIO: the last slave of the terminal was closed */
}

/* No more than what poll() promises that a pipe takes: our stdout is others' too and stays blocking. */
static void drain(Stream *s)
{
	ssize_t n = write(s->to, s->buf + s->at, MIN2(s->len, (size_t)PIPE_BUF));

	if (n >= 0) {
		s->at += (size_t)n;
		s->len -= (size_t)n;
	} else if (errno != EINTR && errno != EAGAIN)
		s->ended = true;
}

/* Which of its two sides a stream waits for. */
static struct pollfd wants(const Stream *s)
{
	if (s->ended)
		return (struct pollfd){.fd = -1};
	return s->len ? (struct pollfd){s->to, POLLOUT, 0} : (struct pollfd){s->from, POLLIN, 0};
}

static void serve(Stream *s, const struct pollfd *p)
{
	if (p->fd < 0 || !p->revents)
		return;
	if (s->len)
		drain(s);
	else
		fill(s);
}

static void make_raw(Foreground *f)
{
	struct termios raw;

	if (f->console < 0 || tcgetattr(0, &f->saved) < 0)
		return;
	raw = f->saved;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST;
	f->raw = tcsetattr(0, TCSANOW, &raw) == 0;
}

static void loop(Foreground *f)
{
	bool gone = false;

	while (!gone) {
		struct pollfd p[] = {{f->pidfd, POLLIN, 0},
				     {f->signals, POLLIN, 0},
				     wants(&f->in),
				     wants(&f->out),
				     {f->notify, POLLIN, 0}};

		if (poll(p, ELEMENTSOF(p), -1) < 0)
			continue;
		if (p[1].revents)
			handle_signal(f);
		serve(&f->in, &p[2]);
		serve(&f->out, &p[3]);
		if (p[4].revents)
			(void)sockets_notify_take(f->notify, f->pid);
		gone = p[0].revents != 0;
	}
	/* What it wrote last is still in the terminal; its children may keep that open, so only what is there. */
	while (!f->out.ended) {
		struct pollfd p = wants(&f->out);

		if (poll(&p, 1, f->out.len ? 1000 : 0) <= 0)
			break;
		serve(&f->out, &p);
	}
}

int foreground_wait(pid_t pid, int pidfd, int console, int notify, Err *e)
{
	Foreground f = {.pidfd = pidfd, .console = console, .notify = notify, .pid = pid};
	/* Without a terminal nothing is copied. */
	_cleanup_free_ char *buffers = console < 0 ? NULL : malloc((size_t)2 * STREAM_SIZE);
	sigset_t all;
	int status;

	if (console >= 0 && !buffers)
		return err_oom(e);

	sigfillset(&all);
	f.signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (f.signals < 0)
		return err_sys(e, errno, "signalfd");
	f.in = (Stream){.from = 0, .to = console, .buf = buffers, .ended = console < 0};
	f.out = (Stream){.from = console, .to = 1, .ended = console < 0};
	f.out.buf = buffers ? buffers + STREAM_SIZE : NULL;
	if (console >= 0)
		(void)fd_set_nonblock(console, true);
	copy_size(&f);
	make_raw(&f);
	loop(&f);
	if (f.raw)
		(void)tcsetattr(0, TCSANOW, &f.saved);
	closep(&f.signals);
	status = process_reap(pid);
	if (status < 0)
		return err_sys(e, status, "wait for process %d", (int)pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
