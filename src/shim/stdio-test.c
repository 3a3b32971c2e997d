/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams and attached clients, with the test in the places of the process (pipes) and of the clients
 * (socket pairs): framing, backpressure without loss, half-close, detaching, and the end.
 */
#include "shim/stdio.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

typedef struct Fix {
	Loop loop;
	Stdio io;
	int in, out, err; /* the process's ends */
} Fix;

static void turn(Fix *f)
{
	int r = 1;

	for (int i = 0; i < 10000 && r > 0; i++)
		r = loop_once(&f->loop, 0);
	assert_int_equal(r, 0); /* it comes to rest: no event is left unhandled for ever */
}

static int setup(void **state)
{
	Fix *f = calloc(1, sizeof(*f));
	int in[2], out[2], err[2];
	Err e;

	*state = f;
	(void)signal(SIGPIPE, SIG_IGN);
	if (loop_init(&f->loop, &e) < 0 || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) ||
	    pipe2(err, O_CLOEXEC))
		return -1;
	f->in = in[0];
	f->out = out[1];
	f->err = err[1];
	stdio_init(&f->io, &f->loop);
	return stdio_open(&f->io, in[1], out[0], err[0], false, &e);
}

static int teardown(void **state)
{
	Fix *f = *state;

	stdio_done(&f->io);
	loop_done(&f->loop);
	closep(&f->in);
	closep(&f->out);
	closep(&f->err);
	free(f);
	return 0;
}

static int attach(Fix *f, ShimAttach a)
{
	int sock[2];
	Err e = {0};

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	a.fd = sock[1];
	if (stdio_attach(&f->io, &a, &e) < 0)
		fail_msg("%s", e.msg);
	return sock[0];
}

static const ShimAttach both = {.framing = SHIM_MUX,
				.want_stdin = true,
				.want_stdout = true,
				.want_stderr = true};

static void expect(int fd, const char *bytes, size_t n)
{
	char buf[256];

	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), n);
	assert_memory_equal(buf, bytes, n);
}

static void put(int fd, const char *s)
{
	assert_int_equal(write(fd, s, strlen(s)), strlen(s));
}

static void test_mux_and_raw_frames(void **state)
{
	Fix *f = *state;
	int mux = attach(f, both);
	int raw = attach(f, (ShimAttach){.framing = SHIM_RAW, .want_stdout = true});

	put(f->out, "hello");
	turn(f);
	expect(mux, "\1\0\0\0\0\0\0\5hello", 13);
	expect(raw, "hello", 5);
	put(f->err, "e!");
	turn(f);
	expect(mux, "\2\0\0\0\0\0\0\2e!", 10);
	assert_int_equal(recv(raw, (char[1]){0}, 1, MSG_DONTWAIT), -1);
	close(mux);
	close(raw);
	turn(f);
	assert_null(f->io.clients);
}

/* Reads one mux stream, checking headers; returns payload bytes so far. */
typedef struct Demux {
	unsigned char head[8];
	size_t n_head, left;
	uint64_t total;
} Demux;

static void demux(Demux *m, const unsigned char *p, size_t n)
{
	while (n > 0) {
		if (m->left == 0) {
			m->head[m->n_head++] = *p++;
			n--;
			if (m->n_head < 8)
				continue;
			assert_int_equal(m->head[0], 1);
			m->left = (size_t)m->head[4] << 24 | (size_t)m->head[5] << 16 |
				  (size_t)m->head[6] << 8 | m->head[7];
			m->n_head = 0;
			assert_in_range(m->left, 1, LOOP_IO_SIZE);
			continue;
		}
		assert_int_equal(*p, (unsigned char)(m->total % 251));
		m->total++;
		m->left--;
		p++;
		n--;
	}
}

/* 10 MB to a client that reads slowly: nothing is lost, and little is buffered. */
static void test_slow_reader_loses_nothing(void **state)
{
	Fix *f = *state;
	const uint64_t want = 10 << 20;
	uint64_t written = 0;
	static unsigned char buf[32768], got[7000];
	int c = attach(f, both);
	bool was_paused = false;
	Demux m = {0};

	assert_int_equal(fd_set_nonblock(f->out, true), 0);
	for (int round = 0; m.total < want; round++) {
		struct pollfd p = {.fd = f->out, .events = POLLOUT};

		if (written < want && poll(&p, 1, 0) == 1) {
			size_t n = (size_t)MIN2((uint64_t)sizeof(buf), want - written);
			ssize_t w;

			for (size_t i = 0; i < n; i++)
				buf[i] = (unsigned char)((written + i) % 251);
			w = write(f->out, buf, n);
			if (w > 0)
				written += (uint64_t)w;
		}
		turn(f);
		was_paused |= f->io.paused;
		if (round % 3 == 0 || written == want) {
			ssize_t n = recv(c, got, sizeof(got), MSG_DONTWAIT);

			if (n > 0)
				demux(&m, got, (size_t)n);
		}
	}
	assert_true(was_paused);
	assert_int_equal(m.total, want);
	close(c);
	turn(f);
}

static void test_a_stuck_client_stops_the_process_but_not_for_ever(void **state)
{
	Fix *f = *state;
	static char buf[65536];
	int c = attach(f, both);
	uint64_t written = 0, more = 0;

	assert_int_equal(fd_set_nonblock(f->out, true), 0);
	for (int i = 0; i < 1000; i++) {
		ssize_t n = write(f->out, buf, sizeof(buf));

		written += n > 0 ? (uint64_t)n : 0;
		turn(f);
	}
	assert_true(f->io.paused);
	/* The client's queue, its socket and the pipe: under 2 MB in all. */
	assert_in_range(written, STDIO_CLIENT_HIGH, 2 << 20);
	close(c);
	turn(f);
	assert_null(f->io.clients);
	assert_false(f->io.paused);
	for (int i = 0; i < 100; i++) {
		ssize_t n = write(f->out, buf, sizeof(buf));

		more += n > 0 ? (uint64_t)n : 0;
		turn(f);
	}
	assert_int_equal(more, 100 * sizeof(buf));
}

static void test_input_and_half_close(void **state)
{
	Fix *f = *state;
	int c = attach(f, (ShimAttach){.framing = SHIM_MUX,
				       .want_stdin = true,
				       .want_stdout = true,
				       .prefix = "pre",
				       .prefix_len = 3});
	char buf[16];

	put(c, "fix\n");
	turn(f);
	assert_int_equal(read(f->in, buf, sizeof(buf)), 7);
	assert_memory_equal(buf, "prefix\n", 7);
	f->io.in_once = true;
	put(c, "end");
	shutdown(c, SHUT_WR);
	turn(f);
	assert_int_equal(read(f->in, buf, sizeof(buf)), 3);
	assert_int_equal(read(f->in, buf, sizeof(buf)), 0);
	/* Output still arrives. */
	put(f->out, "x");
	turn(f);
	expect(c, "\1\0\0\0\0\0\0\1x", 9);
	close(c);
	turn(f);
}

static void test_stdin_stays_open_without_once(void **state)
{
	Fix *f = *state;
	char buf[16];

	for (int i = 0; i < 2; i++) {
		int c = attach(f, both);

		put(c, "a");
		close(c);
		turn(f);
		assert_null(f->io.clients);
		assert_int_equal(read(f->in, buf, sizeof(buf)), 1);
	}
	assert_true(f->io.in.fd >= 0);
}

/* The process does not read: the client's input waits in the socket, and is delivered even after the client has gone. */
static void test_input_backpressure(void **state)
{
	Fix *f = *state;
	int c = attach(f, both);
	static char buf[1 << 20];
	size_t sent = 0, got = 0;

	f->io.in_once = true;
	assert_int_equal(fd_set_nonblock(c, true), 0);
	for (int i = 0; i < 1000 && sent < sizeof(buf); i++) {
		ssize_t n = write(c, buf, MIN2(sizeof(buf) - sent, (size_t)30000));

		sent += n > 0 ? (size_t)n : 0;
		turn(f);
	}
	assert_true(f->io.in_q.len <= STDIO_INPUT_HIGH + LOOP_IO_SIZE);
	assert_in_range(sent, STDIO_INPUT_HIGH, sizeof(buf) - 1);
	close(c);
	turn(f);
	for (ssize_t n; (n = read(f->in, buf, 5000)) > 0; got += (size_t)n)
		turn(f);
	assert_int_equal(got, sent);
	assert_null(f->io.clients);
}

static void test_process_closes_its_input(void **state)
{
	Fix *f = *state;
	int c = attach(f, both);

	close_fd(&f->in);
	put(c, "nobody reads this");
	turn(f);
	put(c, "nor this");
	turn(f);
	assert_int_equal(f->io.in.fd, -1);
	put(f->out, "x");
	turn(f);
	expect(c, "\1\0\0\0\0\0\0\1x", 9);
	close(c);
	turn(f);
}

static void test_detach_ends_only_that_client(void **state)
{
	Fix *f = *state;
	ShimAttach a = both;
	int one, two;
	char buf[8];

	a.detach_keys = "\x10\x11";
	a.n_detach_keys = 2;
	one = attach(f, a);
	two = attach(f, a);
	put(one, "a\x10");
	turn(f);
	put(one, "\x11rest");
	turn(f);
	assert_int_equal(recv(one, buf, sizeof(buf), MSG_DONTWAIT), 0);
	close(one);
	turn(f);
	assert_int_equal(read(f->in, buf, sizeof(buf)), 1);
	assert_true(f->io.in.fd >= 0);
	put(f->out, "x");
	turn(f);
	expect(two, "\1\0\0\0\0\0\0\1x", 9);
	close(two);
	turn(f);
}

/* What was written before the exit arrives, although the client was far behind and a grandchild holds the pipe. */
static void test_exit_drains_and_says_goodbye(void **state)
{
	Fix *f = *state;
	static char buf[65536];
	int c = attach(f, (ShimAttach){.framing = SHIM_RAW, .want_stdout = true});
	uint64_t written = 0, got = 0;
	ssize_t n;

	assert_int_equal(fd_set_nonblock(f->out, true), 0);
	for (int i = 0; i < 100; i++) {
		n = write(f->out, buf, sizeof(buf));
		written += n > 0 ? (uint64_t)n : 0;
		turn(f);
	}
	assert_true(f->io.paused);
	stdio_drain(&f->io);
	stdio_finish(&f->io);
	assert_true(f->io.finished);
	assert_non_null(f->io.clients);
	while ((n = recv(c, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		got += (uint64_t)n;
		turn(f);
	}
	assert_int_equal(n, 0);
	assert_int_equal(got, written);
	/* It lingers for the client's own close, and not longer than a second. */
	assert_non_null(f->io.clients);
	assert_in_range(stdio_timeout(&f->io, clock_mono_ns()), 0, 1001);
	stdio_tick(&f->io, clock_mono_ns() + 2000000000);
	assert_null(f->io.clients);
	close(c);
}

/* An exec's streams end when their last holder closes them, not when the process exits. */
static void test_exec_waits_for_end_of_stream(void **state)
{
	Fix *f = *state;
	int c = attach(f, both);

	stdio_exited(&f->io);
	assert_false(f->io.finished);
	put(f->out, "late");
	close_fd(&f->out);
	close_fd(&f->err);
	turn(f);
	expect(c, "\1\0\0\0\0\0\0\4late", 12);
	assert_int_equal(recv(c, (char[1]){0}, 1, MSG_DONTWAIT), 0);
	close(c);
	turn(f);
	assert_null(f->io.clients);
}

/* A client that sends while it is being sent off must see the end of file, not a reset. */
static void test_unread_input_is_no_reset(void **state)
{
	Fix *f = *state;
	int c = attach(f, both);
	char buf[64];

	close_fd(&f->in);
	put(f->out, "bye");
	put(c, "unread");
	stdio_drain(&f->io);
	stdio_finish(&f->io);
	turn(f);
	assert_int_equal(recv(c, buf, sizeof(buf), MSG_DONTWAIT), 11);
	assert_int_equal(recv(c, buf, sizeof(buf), MSG_DONTWAIT), 0);
	close(c);
	turn(f);
	assert_null(f->io.clients);
}

static void test_only_stream_sockets_attach(void **state)
{
	Fix *f = *state;
	ShimAttach a = both;
	Err e = {0};

	a.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(stdio_attach(&f->io, &a, &e), -EINVAL);
	assert_int_equal(fcntl(a.fd, F_GETFD), -1);
}

#define WITH_STREAMS(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    WITH_STREAMS(test_mux_and_raw_frames),
	    WITH_STREAMS(test_slow_reader_loses_nothing),
	    WITH_STREAMS(test_a_stuck_client_stops_the_process_but_not_for_ever),
	    WITH_STREAMS(test_input_and_half_close),
	    WITH_STREAMS(test_stdin_stays_open_without_once),
	    WITH_STREAMS(test_input_backpressure),
	    WITH_STREAMS(test_process_closes_its_input),
	    WITH_STREAMS(test_detach_ends_only_that_client),
	    WITH_STREAMS(test_exit_drains_and_says_goodbye),
	    WITH_STREAMS(test_exec_waits_for_end_of_stream),
	    WITH_STREAMS(test_unread_input_is_no_reset),
	    WITH_STREAMS(test_only_stream_sockets_attach),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
