/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container written to files by criu, while it runs on afterwards.
 *
 * That takes as long as its memory is large, and criu is a program that may hang: a child of the shim does it, with the runtime's code, and leads a process group of its
 * own, which is killed when the time is over. Everybody is served meanwhile. One at a time; the container's end is its end.
 */
#include "shim/server.h"

#include "base/clock.h"
#include "base/log.h"

#include <signal.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define CHECKPOINT_MS_MOST (24 * 3600 * 1000)
#define FD_TELL            3

struct Dump {
	Server *server;
	pid_t pid;
	Source pidfd;
	int told;     /* the child's Err, if it sends one */
	Conn *conn;   /* to be answered; NULL: it has gone */
	uint32_t seq; /* of the request */
	int64_t deadline;
	bool late;
};

_Noreturn static void child(const Runner *run, const char *dir, int tell)
{
	Err e = {0};

	(void)setpgid(0, 0);
	/* Nothing of others, such as the connection of a client that waits for its end, stays open here. */
	if (dup3(tell, FD_TELL, O_CLOEXEC) < 0)
		_exit(EXIT_FAILURE);
	(void)close_range(FD_TELL + 1, ~0u, 0);
	(void)file_write_at(AT_FDCWD, "/proc/self/oom_score_adj", "0");
	if (run->ops->checkpoint(run, dir, &e) < 0) {
		err_send(FD_TELL, &e);
		_exit(EXIT_FAILURE);
	}
	_exit(EXIT_SUCCESS);
}

static void kill_group(const Dump *d)
{
	/* Until it is reaped its number is its own; the group may not be there yet. */
	if (kill(-d->pid, SIGKILL) < 0)
		(void)kill(d->pid, SIGKILL);
}

static void dump_free(Dump *d)
{
	loop_close(d->server->loop, &d->pidfd);
	close_fd(&d->told);
	d->server->dump = NULL;
	free(d);
}

static int result(const Dump *d, const siginfo_t *si, Err *e)
{
	if (d->late)
		return err_new_no(e, ERR_UNAVAILABLE, ETIMEDOUT,
				  "checkpoint of container %s: it was not done in time", d->server->id);
	if (si->si_code == CLD_EXITED && si->si_status == EXIT_SUCCESS)
		return 0;
	if (err_recv(d->told, e) == 1)
		return -MAX2(e->no, 1);
	return err_new(e, ERR_INTERNAL, "checkpoint of container %s: its process was killed", d->server->id);
}

static void dump_over(Dump *d, const siginfo_t *si)
{
	Server *s = d->server;
	Err e = {0};
	int r = result(d, si, &e);

	/* Killed half way, it has left the container as it was for the copy. */
	if (r < 0 && (d->late || si->si_code != CLD_EXITED))
		(void)s->runner.ops->pause(&s->runner, false, NULL);
	if (d->conn)
		conn_answer(d->conn, d->seq, r, NULL, &e);
	dump_free(d);
}

static void dump_ready(Source *src, uint32_t events _unused_)
{
	Dump *d = src->arg;
	siginfo_t si = {0};
	int r;

	do
		r = waitid(P_PIDFD, (id_t)src->fd, &si, WEXITED | WNOHANG);
	while (r < 0 && errno == EINTR);
	if (r == 0 && si.si_pid == 0)
		return;
	dump_over(d, &si);
}

/* Whom nobody watches is not started. */
static int start(Server *s, const char *dir, Dump *d, Err *e)
{
	_cleanup_close_ int tell = -1;
	int p[2], r;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	d->told = p[0];
	tell = p[1];
	d->pid = fork();
	if (d->pid == 0)
		child(&s->runner, dir, tell);
	if (d->pid < 0)
		return err_sys(e, errno, "fork");
	(void)setpgid(d->pid, d->pid);
	d->pidfd.fd = pidfd_open(d->pid, 0);
	r = d->pidfd.fd < 0 ? -errno : loop_watch(s->loop, &d->pidfd, EPOLLIN);
	if (r == 0)
		return 0;
	kill_group(d);
	(void)waitpid(d->pid, NULL, 0);
	return err_sys(e, r, "watch a checkpoint");
}

int server_checkpoint(Server *s, ShimMsg *m, Err *e)
{
	const char *dir = json_get_str(m->doc, "dir");
	int64_t ms = json_get_int(m->doc, "timeout_ms", 0);
	Dump *d;
	int r;

	if (!dir || dir[0] != '/' || ms < 1 || ms > CHECKPOINT_MS_MOST)
		return err_new(e, ERR_INVALID, "checkpoint: needs an absolute directory and a time limit");
	if (s->dump)
		return err_new(e, ERR_CONFLICT, "container %s: a checkpoint is being made already", s->id);
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_oom(e);
	*d = (Dump){.server = s,
		    .pidfd = {.fd = -1, .ready = dump_ready, .arg = d},
		    .told = -1,
		    .conn = s->asking,
		    .seq = m->seq,
		    .deadline = clock_mono_ns() + ms * 1000000};
	s->dump = d;
	r = start(s, dir, d, e);
	if (r < 0) {
		dump_free(d);
		return err_ctx(e, r, "checkpoint of container %s", s->id);
	}
	return 1;
}

int dump_timeout(const Server *s, int64_t now)
{
	const Dump *d = s->dump;

	if (!d || d->late)
		return -1;
	return d->deadline <= now ? 0 : (int)MIN2((d->deadline - now) / 1000000 + 1, (int64_t)INT32_MAX);
}

void dump_tick(Server *s, int64_t now)
{
	Dump *d = s->dump;

	if (!d || d->late || now < d->deadline)
		return;
	d->late = true;
	kill_group(d);
}

void dump_cancel(Server *s)
{
	Dump *d = s->dump;
	siginfo_t si = {0};

	if (!d)
		return;
	kill_group(d);
	while (waitid(P_PIDFD, (id_t)d->pidfd.fd, &si, WEXITED) < 0 && errno == EINTR)
		;
	if (d->conn) {
		Err e = {0};
		int r = err_new_no(&e, ERR_CONFLICT, ESRCH, "container %s is not running", s->id);

		conn_answer(d->conn, d->seq, r, NULL, &e);
	}
	dump_free(d);
}

void dump_forget(Server *s, const Conn *c)
{
	if (s->dump && s->dump->conn == c)
		s->dump->conn = NULL;
}
