/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command that is run in a container for its exit code and the beginning of what it prints.
 *
 * Its output comes through a socket pair whose other end the shim has. The end of the command is what ends the wait, not the end of
 * its output: what it has left in the background may hold that open for ever.
 */
#include "engine/engine-internal.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define KILL_WAIT_NS (10 * 1000000000ll)
#define REST_NS      (500 * 1000000ll) /* for output after the end, if something in the background holds it open */

typedef struct Probe {
	Engine *en;
	Container *c;
	char *id;
	int end_fd, out_fd; /* readable when it has ended; its output, or -1 */
	ExecProbe *to;
} Probe;

static Exec *exec_of(Probe *p)
{
	Exec *x;

	HASH_FIND_STR(p->en->execs, p->id, x);
	return x;
}

static void probe_watch(Probe *p)
{
	pthread_mutex_lock(&p->en->lock);
	Exec *x = exec_of(p);
	if (x)
		x->watcher_fd = p->end_fd;
	pthread_mutex_unlock(&p->en->lock);
}

/* It is forgotten with its result: a check a second would leave hundreds. False if it has not ended. */
static bool probe_forget(Probe *p)
{
	bool ended = true;

	pthread_mutex_lock(&p->en->lock);
	Exec *x = exec_of(p);
	if (x) {
		ended = !x->running;
		p->to->exit_code = x->exit_code;
		x->watcher_fd = -1;
		HASH_DEL(p->en->execs, x);
		exec_config_done(&x->config);
		free(x);
	}
	pthread_mutex_unlock(&p->en->lock);
	return ended;
}

/* What is there. Its end closes out_fd. */
static void read_output(Probe *p)
{
	char buf[8192];
	ssize_t n;

	while (p->out_fd >= 0 && (n = recv(p->out_fd, buf, sizeof(buf), MSG_DONTWAIT)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			break;
		size_t room = sizeof(p->to->output) - p->to->output_len, take = MIN2((size_t)n, room);

		memcpy(p->to->output + p->to->output_len, buf, take);
		p->to->output_len += take;
		p->to->truncated = p->to->truncated || (size_t)n > room;
	}
	close_fd(&p->out_fd);
}

/* 1 when it has ended, 0 at the time-out. */
static int probe_wait(Probe *p, int64_t timeout_ns, Err *e)
{
	int64_t deadline = clock_mono_ns() + timeout_ns;

	for (;;) {
		struct pollfd fds[] = {{p->end_fd, POLLIN, 0},
				       {p->out_fd, POLLIN, 0},
				       {background_quit_fd(p->en->background), POLLIN, 0}};
		int64_t left = deadline - clock_mono_ns();
		int n = left > 0 ? poll(fds, 3, (int)MIN2(left / 1000000 + 1, (int64_t)INT32_MAX)) : 0;

		if (n < 0 && errno != EINTR)
			return err_sys(e, errno, "wait for a health check");
		if (n == 0)
			return 0;
		if (n > 0 && fds[2].revents)
			return err_new(e, ERR_CANCELLED, "the engine ends");
		if (n > 0 && fds[1].revents)
			read_output(p);
		if (n > 0 && fds[0].revents)
			return 1;
	}
}

/* The shim tells the end of a command before the last of its output. */
static void read_rest(Probe *p)
{
	int64_t deadline = clock_mono_ns() + REST_NS;

	for (;;) {
		struct pollfd fd = {p->out_fd, POLLIN, 0};
		int64_t left = deadline - clock_mono_ns();

		read_output(p);
		if (p->out_fd < 0 || left <= 0 ||
		    (poll(&fd, 1, (int)(left / 1000000 + 1)) < 0 && errno != EINTR))
			return;
	}
}

static void probe_kill(Probe *p)
{
	_cleanup_(shim_unrefp) Shim *shim = NULL;

	/* An error is that of one that has just ended. */
	if (container_shim(p->c, &shim, NULL) >= 0 && shim_kill(shim, p->id, SIGKILL, false, NULL) >= 0)
		(void)probe_wait(p, KILL_WAIT_NS, NULL);
}

static int probe_run(Probe *p, int64_t timeout_ns, Err *e)
{
	int fds[2], r;

	p->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->end_fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(e, errno, "make a socket pair");
	p->out_fd = fds[0];
	probe_watch(p);
	EngineAttach a = {.fd = fds[1], .out = true, .err = true, .plain = true};
	r = engine_exec_start(p->en, p->id, &a, 0, 0, e);
	close_fd(&fds[1]);
	if (r >= 0)
		r = probe_wait(p, timeout_ns, e);
	if (r == 0) {
		p->to->timed_out = true;
		probe_kill(p);
	}
	if (r > 0)
		read_rest(p);
	else
		read_output(p);
	return MIN2(r, 0);
}

int exec_probe(Engine *en, Container *c, const ExecConfig *config, int64_t timeout_ns, ExecProbe *ret, Err *e)
{
	Probe p = {.en = en, .c = c, .end_fd = -1, .out_fd = -1, .to = ret};
	int r = engine_exec_create(en, c->id, config, &p.id, e);

	if (r < 0)
		return r;
	r = probe_run(&p, timeout_ns, e);
	if (!probe_forget(&p) && r >= 0 && !ret->timed_out)
		r = err_new(e, ERR_INTERNAL, "the health check has ended without an exit code");
	close_fd(&p.end_fd);
	close_fd(&p.out_fd);
	free(p.id);
	return r;
}
