/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's side: its output to the log and the clients, its input from the queue. See stdio.h for
 * the model; the clients' side is attach.c.
 */
#include "shim/stdio.h"

#include "base/fd.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#define HUNG_LOOK_MS 200

/* ---- output ---- */

void stdio_finish(Stdio *io)
{
	if (io->finished)
		return;
	io->finished = true;
	loop_close(io->loop, &io->in);
	queue_clear(&io->in_q);
	clients_finish(io);
}

static void output_end(Stdio *io, int stream)
{
	loop_close(io->loop, &io->out[stream]);
	if (io->log)
		logger_end(io->log, stream);
}

/* Reads once. Bytes, after which there may be more; 0: nothing now, -1: the stream is over. */
static ssize_t output_read(Stdio *io, int stream)
{
	size_t most = io->log ? logger_read_most(io->log) : LOOP_IO_SIZE;
	ssize_t n;

	do
		n = read(io->out[stream].fd, io->loop->io, most);
	while (n < 0 && errno == EINTR);

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0 && errno == EIO && io->tty && !io->exited) {
		/* Every process has closed the terminal, but one may open it again: do not spin on EPOLLHUP. */
		loop_unwatch(io->loop, &io->out[stream]);
		io->hung = true;
		return 0;
	}
	if (n <= 0)
		return -1;
	if (io->log)
		logger_write(io->log, stream, io->loop->io, (size_t)n);
	clients_output(io, stream, io->loop->io, (size_t)n);
	return n;
}

static void output_ready(Source *s, uint32_t events _unused_)
{
	Stdio *io = s->arg;
	int stream = (int)(s - io->out);

	if (output_read(io, stream) >= 0)
		return;
	output_end(io, stream);
	if (io->exited)
		stdio_exited(io);
}

static void watch_output(Stdio *io)
{
	for (int i = 0; i < 2; i++) {
		if (io->out[i].fd < 0)
			continue;
		if (io->paused || io->hung)
			loop_unwatch(io->loop, &io->out[i]);
		else
			(void)loop_watch(io->loop, &io->out[i], EPOLLIN);
	}
}

void stdio_check_room(Stdio *io)
{
	bool paused = !clients_have_room(io, io->paused ? STDIO_CLIENT_LOW : STDIO_CLIENT_HIGH) ||
		      (io->log && logger_is_full(io->log));

	if (paused == io->paused)
		return;
	io->paused = paused;
	watch_output(io);
}

/* What the pipe can hold at most; another process that keeps it open could write for ever. */
static int64_t drain_budget(int fd, bool tty)
{
	int n = tty ? -1 : fcntl(fd, F_GETPIPE_SZ);

	return n > 0 ? n : 256 * 1024;
}

static void drain(Stdio *io, int stream)
{
	int64_t left = drain_budget(io->out[stream].fd, io->tty);
	ssize_t n = 1;

	for (; left > 0 && n > 0; left -= n)
		n = output_read(io, stream);
	output_end(io, stream);
}

static void set_exited(Stdio *io)
{
	io->exited = true;
	if (io->hung) {
		io->hung = false;
		watch_output(io);
	}
}

void stdio_drain(Stdio *io)
{
	set_exited(io);
	for (int i = 0; i < 2; i++)
		if (io->out[i].fd >= 0)
			drain(io, i);
}

void stdio_exited(Stdio *io)
{
	set_exited(io);
	if (io->out[0].fd < 0 && io->out[1].fd < 0)
		stdio_finish(io);
}

/* ---- input ---- */

static void input_close(Stdio *io)
{
	loop_close(io->loop, &io->in);
	queue_clear(&io->in_q);
	clients_update(io);
}

static void input_flush(Stdio *io)
{
	bool was_full = !stdio_takes_input(io);

	while (io->in.fd >= 0 && io->in_q.len > 0) {
		ssize_t n = write(io->in.fd, queue_head(&io->in_q), io->in_q.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) { /* nobody will read it any more: EPIPE, or EIO of a terminal */
			if (!io->tty)
				input_close(io);
			else
				queue_clear(&io->in_q);
			break;
		}
		queue_skip(&io->in_q, (size_t)n);
	}
	if (io->in.fd < 0)
		return;
	if (io->in_q.len > 0)
		(void)loop_watch(io->loop, &io->in, EPOLLOUT);
	else
		loop_unwatch(io->loop, &io->in);
	if (io->in_q.len == 0 && io->in_ended)
		input_close(io);
	else if (was_full && stdio_takes_input(io))
		clients_update(io);
}

static void input_ready(Source *s, uint32_t events _unused_)
{
	input_flush(s->arg);
}

int stdio_input(Stdio *io, const char *data, size_t n)
{
	if (io->in.fd < 0 || io->in_ended || n == 0)
		return 0;
	if (queue_put(&io->in_q, data, n) < 0)
		return -ENOMEM;
	input_flush(io);
	return 0;
}

void stdio_input_end(Stdio *io)
{
	/* A terminal has no end of file of its own: the user types it. */
	if (io->tty || !io->in_once || io->in.fd < 0)
		return;
	io->in_ended = true;
	input_flush(io);
}

/* ---- life ---- */

void stdio_init(Stdio *io, Loop *loop)
{
	*io = (Stdio){
	    .loop = loop,
	    .in = {.fd = -1, .ready = input_ready, .arg = io},
	    .out = {{.fd = -1, .ready = output_ready, .arg = io},
		    {.fd = -1, .ready = output_ready, .arg = io}},
	};
}

int stdio_open(Stdio *io, int in, int out, int err, bool tty, Err *e)
{
	const int fds[3] = {in, out, err};
	int r;

	io->in.fd = in;
	io->out[0].fd = out;
	io->out[1].fd = err;
	io->tty = tty;
	for (int i = 0; i < 3; i++) {
		r = fds[i] >= 0 ? fd_set_nonblock(fds[i], true) : 0;
		if (r < 0)
			return err_sys(e, r, "make a standard stream nonblocking");
	}
	for (int i = 0; i < 2; i++) {
		r = io->out[i].fd >= 0 ? loop_watch(io->loop, &io->out[i], EPOLLIN) : 0;
		if (r < 0)
			return err_sys(e, r, "watch a standard stream");
	}
	return 0;
}

static void log_has_room(void *user)
{
	stdio_check_room(user);
}

void stdio_set_log(Stdio *io, Logger *log)
{
	io->log = log;
	if (log)
		logger_on_room(log, log_has_room, io);
}

void stdio_done(Stdio *io)
{
	clients_drop(io);
	loop_close(io->loop, &io->in);
	loop_close(io->loop, &io->out[0]);
	loop_close(io->loop, &io->out[1]);
	queue_clear(&io->in_q);
}

int stdio_resize(Stdio *io, uint16_t rows, uint16_t cols)
{
	struct winsize ws = {.ws_row = rows, .ws_col = cols};

	if (!io->tty)
		return -ENOTTY;
	if (io->out[0].fd < 0)
		return -ESRCH;
	return ioctl(io->out[0].fd, TIOCSWINSZ, &ws) < 0 ? -errno : 0;
}

int stdio_timeout(const Stdio *io, int64_t now_ns)
{
	int t = clients_timeout(io, now_ns);

	return io->hung && (t < 0 || t > HUNG_LOOK_MS) ? HUNG_LOOK_MS : t;
}

void stdio_tick(Stdio *io, int64_t now_ns)
{
	if (io->hung) {
		io->hung = false;
		watch_output(io);
	}
	clients_tick(io, now_ns);
}
