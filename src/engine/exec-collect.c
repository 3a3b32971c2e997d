/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command that is run in a container for its exit code and what it prints: health checks (exec_probe), and what a kubelet asks for (engine_exec_sync).
 *
 * Its output comes through a socket pair whose other end the shim has, and is read for as long as the command runs, whether there is still room for it or not: a command never
 * waits for us. The end of the command is what ends the wait, not the end of its output: what it has left in the background may hold that open for ever.
 */
#include "engine/engine-internal.h"
#include "engine/mux.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define KILL_WAIT_NS (10 * 1000000000ll)
#define REST_NS      (500 * 1000000ll) /* for output after the end, if something in the background holds it open */
#define PIECE        (32 * 1024)
#define PIECES       16 /* that are read between two looks at the clock */

typedef struct Collector {
	Engine *en;
	Container *c;
	char *id;
	int end_fd, out_fd; /* readable when it has ended; its output, or -1 */
	int alive_fd;
	bool gone;   /* who has asked for it */
	bool frames; /* stdout and stderr are told apart */
	MuxReader mux;
	MuxSink sink; /* never fails */
	void *user;
} Collector;

static void take(Collector *p, const uint8_t *data, size_t n)
{
	if (!p->frames)
		(void)p->sink(p->user, 1, data, n);
	else if (mux_read(&p->mux, data, n, p->sink, p->user) < 0)
		close_fd(&p->out_fd);
}

/* Of what is there no more than is read in a moment: a command that floods must not keep us from the clock, or from seeing that nobody waits. The end closes out_fd. */
static void read_output(Collector *p)
{
	uint8_t buf[PIECE];

	for (int i = 0; i < PIECES && p->out_fd >= 0; i++) {
		ssize_t n = recv(p->out_fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n > 0)
			take(p, buf, (size_t)n);
		else if (n == 0 || errno != EAGAIN)
			close_fd(&p->out_fd);
		else
			return;
	}
}

static int left_ms(int64_t deadline)
{
	int64_t left = deadline - clock_mono_ns();

	if (deadline == 0)
		return -1;
	return left > 0 ? (int)MIN2(left / 1000000 + 1, (int64_t)INT32_MAX) : 0;
}

/* 1 when it has ended, 0 at the deadline (0: none). */
static int wait_end(Collector *p, int64_t deadline, Err *e)
{
	for (;;) {
		struct pollfd fds[] = {{p->end_fd, POLLIN, 0},
				       {p->out_fd, POLLIN, 0},
				       {background_quit_fd(p->en->background), POLLIN, 0},
				       {p->alive_fd, 0, 0}};
		int left = left_ms(deadline), n = left != 0 ? poll(fds, ELEMENTSOF(fds), left) : 0;

		if (n < 0 && errno != EINTR)
			return err_sys(e, errno, "wait for a command in container %s", p->c->id);
		if (n == 0 && left_ms(deadline) == 0)
			return 0;
		if (n > 0 && fds[2].revents)
			return err_new(e, ERR_CANCELLED, "the engine ends");
		if (n > 0 && fds[3].revents) {
			p->gone = true;
			return err_new(e, ERR_CANCELLED, "the client went away");
		}
		if (n > 0 && fds[1].revents)
			read_output(p);
		if (n > 0 && fds[0].revents)
			return 1;
	}
}

/* The shim tells the end of a command before the last of its output. */
static void read_rest(Collector *p)
{
	int64_t deadline = clock_mono_ns() + REST_NS;

	for (;;) {
		struct pollfd fd = {p->out_fd, POLLIN, 0};
		int left = left_ms(deadline);

		read_output(p);
		if (p->out_fd < 0 || left == 0 || (poll(&fd, 1, left) < 0 && errno != EINTR))
			return;
	}
}

static void kill_command(Collector *p)
{
	_cleanup_(shim_unrefp) Shim *shim = NULL;

	p->alive_fd = -1;
	/* An error is that of one that has just ended. */
	if (container_shim(p->c, &shim, NULL) >= 0 && shim_kill(shim, p->id, SIGKILL, false, NULL) >= 0)
		(void)wait_end(p, clock_mono_ns() + KILL_WAIT_NS, NULL);
}

/* To begin is part of the time that it has. */
static int run(Collector *p, int64_t timeout_ns, Err *e)
{
	int64_t deadline = timeout_ns > 0 ? clock_mono_ns() + timeout_ns : 0;
	int fds[2], r;

	p->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->end_fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(e, errno, "make a socket pair");
	p->out_fd = fds[0];
	r = engine_exec_watch(p->en, p->id, p->end_fd, e);
	if (r >= 0) {
		EngineAttach a = {.fd = fds[1], .out = true, .err = true, .plain = !p->frames};

		r = engine_exec_start(p->en, p->id, &a, 0, 0, e);
	}
	close_fd(&fds[1]);
	if (r < 0)
		return r;
	r = wait_end(p, deadline, e);
	if (r == 0 || p->gone)
		kill_command(p);
	if (r > 0)
		read_rest(p);
	else
		read_output(p);
	return r;
}

/* 1 and the exit code; 0: it took too long and was killed. */
static int collect(Collector *p, const ExecConfig *config, int64_t timeout_ns, int *ret_code, Err *e)
{
	int r = engine_exec_create(p->en, p->c->id, config, &p->id, e);

	p->end_fd = p->out_fd = -1;
	if (r < 0)
		return r;
	r = run(p, timeout_ns, e);
	/* It is forgotten with its result: a check a second would leave hundreds. */
	if (!engine_exec_forget(p->en, p->id, ret_code) && r > 0)
		r = err_new(e, ERR_INTERNAL, "the command in container %s has ended without an exit code",
			    p->c->id);
	close_fd(&p->end_fd);
	close_fd(&p->out_fd);
	free(p->id);
	return r;
}

/* ---- health checks ---- */

static int keep_beginning(void *user, int stream, const void *data, size_t len)
{
	ExecProbe *to = user;
	size_t room = sizeof(to->output) - to->output_len, n = MIN2(len, room);

	(void)stream;
	memcpy(to->output + to->output_len, data, n);
	to->output_len += n;
	to->truncated = to->truncated || len > room;
	return 0;
}

int exec_probe(Engine *en, Container *c, const ExecConfig *config, int64_t timeout_ns, ExecProbe *ret, Err *e)
{
	Collector p = {.en = en, .c = c, .alive_fd = -1, .sink = keep_beginning, .user = ret};
	int r = collect(&p, config, timeout_ns, &ret->exit_code, e);

	ret->timed_out = r == 0;
	return MIN2(r, 0);
}

/* ---- with all of the output ---- */

void engine_exec_output_done(EngineExecOutput *o)
{
	strbuf_done(&o->out);
	strbuf_done(&o->err);
}

static int keep_most(void *user, int stream, const void *data, size_t len)
{
	EngineExecOutput *o = user;
	StrBuf *to = stream == 1 ? &o->out : &o->err;

	strbuf_add_n(to, data, MIN2(len, (size_t)ENGINE_EXEC_OUTPUT_MAX - to->len));
	return 0;
}

int engine_exec_sync(Engine *en, const char *container, const ExecConfig *config, int64_t timeout_ns,
		     int alive_fd, EngineExecOutput *ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(engine_exec_output_done) EngineExecOutput o = {0};
	Collector p = {.en = en, .alive_fd = alive_fd, .frames = true, .sink = keep_most, .user = &o};
	int r = container_find(en, container, &c, e);

	if (r < 0)
		return r;
	p.c = c;
	r = collect(&p, config, timeout_ns, &o.exit_code, e);
	if (r == 0)
		return err_new_no(e, ERR_CANCELLED, ETIMEDOUT,
				  "the command in container %s was killed: it did not end within %lld ms",
				  container, (long long)(timeout_ns / 1000000));
	if (r < 0)
		return r;
	if (o.out.oom || o.err.oom)
		return err_oom(e);
	*ret = o;
	o = (EngineExecOutput){0};
	return 0;
}
