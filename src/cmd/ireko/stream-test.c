/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"
#include "base/fd.h"
#include "base/test.h"

#include <pthread.h>
#include <signal.h>

typedef struct Pipes {
	int out[2], err[2];
} Pipes;

static void pipes_open(Pipes *p)
{
	assert_int_equal(pipe(p->out), 0);
	assert_int_equal(pipe(p->err), 0);
}

/* Closes the writing ends and compares what had been written. */
static void pipes_expect(Pipes *p, const char *out, const char *err)
{
	_cleanup_free_ char *got_out = NULL, *got_err = NULL;

	(void)close(p->out[1]);
	(void)close(p->err[1]);
	assert_int_equal(fd_read_all(p->out[0], 1 << 20, &got_out, NULL), 0);
	assert_int_equal(fd_read_all(p->err[0], 1 << 20, &got_err, NULL), 0);
	(void)close(p->out[0]);
	(void)close(p->err[0]);
	assert_string_equal(got_out, out);
	assert_string_equal(got_err, err);
}

static const char frames[] = "\x01\0\0\0\0\0\0\x05"
			     "hello"
			     "\x02\0\0\0\0\0\0\x03"
			     "bad"
			     "\x01\0\0\0\0\0\0\0"
			     "\x03\0\0\0\0\0\0\x01"
			     "!"
			     "\x01\0\0\0\0\0\0\x01"
			     "\n";

static void frames_are_told_apart_however_cut(void **state)
{
	for (size_t cut = 1; cut < sizeof(frames); cut++) {
		Pipes p;

		pipes_open(&p);
		Demux d = {.out_fd = p.out[1], .err_fd = p.err[1]};
		for (size_t at = 0; at < sizeof(frames) - 1; at += cut)
			assert_int_equal(demux_feed(&d, frames + at, MIN2(cut, sizeof(frames) - 1 - at),
						    NULL),
					 0);
		pipes_expect(&p, "hello\n", "bad!");
	}
}

static void raw_goes_through(void **state)
{
	Pipes p;

	pipes_open(&p);
	Demux d = {.raw = true, .out_fd = p.out[1], .err_fd = p.err[1]};
	assert_int_equal(demux_feed(&d, "\x01\0x", 3, NULL), 0);
	assert_int_equal(demux_feed(&d, "y", 1, NULL), 0);
	(void)close(p.out[1]);
	char got[8] = {0};
	assert_int_equal(read(p.out[0], got, sizeof(got)), 4);
	assert_memory_equal(got, "\x01\0xy", 4);
	(void)close(p.out[0]);
	(void)close(p.err[0]);
	(void)close(p.err[1]);
}

static void broken_frames(void **state)
{
	Demux d = {.out_fd = -1, .err_fd = -1};

	assert_int_equal(demux_feed(&d,
				    "\x04\0\0\0\0\0\0\x01"
				    "x",
				    9, NULL),
			 -EBADMSG);
	d = (Demux){.out_fd = -1, .err_fd = -1};
	assert_int_equal(demux_feed(&d, "HTTP/1.1 200 OK", 15, NULL), -EBADMSG);
}

/* The container's side: reads input to its end, echoes it as output, and hangs up. */
static void *echo(void *arg)
{
	int fd = *(int *)arg;
	char buf[4096];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (fd_write_all(fd, buf, (size_t)n) < 0)
			break;
	(void)close(fd);
	return NULL;
}

static int run(const char *input, size_t n, const char *keys, size_t n_keys, Pipes *p)
{
	int sv[2], in[2];
	pthread_t t;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(pipe(in), 0);
	assert_int_equal(fd_write_all(in[1], input, n), 0);
	(void)close(in[1]);
	assert_int_equal(pthread_create(&t, NULL, echo, &sv[1]), 0);
	Stream s = {.sock = sv[0],
		    .ahead = "early ",
		    .n_ahead = 6,
		    .output = {.raw = true, .out_fd = p->out[1], .err_fd = p->err[1]},
		    .in_fd = in[0],
		    .n_keys = n_keys,
		    .signal_fd = -1};
	if (n_keys)
		memcpy(s.keys, keys, n_keys);
	int r = stream_run(&s, NULL);
	(void)close(sv[0]);
	(void)close(in[0]);
	assert_int_equal(pthread_join(t, NULL), 0);
	return r;
}

static void input_ends_and_output_is_read_to_its_end(void **state)
{
	Pipes p;

	pipes_open(&p);
	assert_int_equal(run("some input", 10, NULL, 0, &p), STREAM_ENDED);
	pipes_expect(&p, "early some input", "");
}

static void detach_keys_are_taken_out(void **state)
{
	Pipes p;

	/* A sequence that was only begun is input after all. */
	pipes_open(&p);
	assert_int_equal(run("a\x10"
			     "b\x10\x10",
			     5, "\x10\x11", 2, &p),
			 STREAM_ENDED);
	pipes_expect(&p,
		     "early a\x10"
		     "b\x10\x10",
		     "");
	pipes_open(&p);
	assert_int_equal(run("a\x10\x10\x11zzz", 7, "\x10\x11", 2, &p), STREAM_DETACHED);
	(void)close(p.out[0]);
	(void)close(p.out[1]);
	(void)close(p.err[0]);
	(void)close(p.err[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(frames_are_told_apart_however_cut),
	    cmocka_unit_test(raw_goes_through),
	    cmocka_unit_test(broken_frames),
	    cmocka_unit_test(input_ends_and_output_is_read_to_its_end),
	    cmocka_unit_test(detach_keys_are_taken_out),
	};

	/* The echo writes to a side that has detached. */
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
