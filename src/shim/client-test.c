/* SPDX-License-Identifier: Apache-2.0 */
/* The whole of it: client, protocol, the real ireko-shim and the runtime, on a busybox bundle. */
#include "shim/test-box.h"

#include <netinet/in.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

/* ---- tests ---- */

static void test_life(void **state)
{
	Box *b = *state;
	_cleanup_free_ char *out = NULL, *log = NULL;
	size_t len;
	int c;

	box_create(b, "echo hello; exit 7", (Opts){0});
	c = box_attach(b, mux);
	ok(shim_start(b->shim, e));
	out = read_until(c, NULL, &len);
	assert_int_equal(len, 14);
	assert_memory_equal(out, "\1\0\0\0\0\0\0\6hello\n", 14);
	close(c);
	expect_exit(b, 7, 0);
	log = log_text(b, "");
	assert_string_equal(log, "hello\n");
}

static void test_failed_create_leaves_nothing(void **state)
{
	Box *b = *state;
	Err e = {0};
	int r = box_try_create(b, "/bin/no-such-command", (Opts){0}, &e);

	assert_true(r < 0);
	assert_int_equal(e.kind, ERR_NO_COMMAND);
	assert_null(b->shim);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* the shim was reaped */
	assert_int_equal(faccessat(b->tmp->fd, "box/shim.sock", F_OK, 0), -1);
	assert_int_equal(faccessat(b->tmp->fd, "box/.exit.json", F_OK, 0), -1);
	b->shim_pid = 0;
}

static void test_stdin(void **state)
{
	Box *b = *state;
	ShimAttach a = mux;
	_cleanup_free_ char *out = NULL;
	int c;

	a.prefix = "one ";
	a.prefix_len = 4;
	box_create(b, "cat; echo end", (Opts){.stdin_once = true});
	c = box_attach(b, a);
	ok(shim_start(b->shim, e));
	assert_int_equal(send(c, "two\n", 4, 0), 4);
	shutdown(c, SHUT_WR);
	out = read_mux_text(c);
	assert_string_equal(out, "one two\nend\n");
	close(c);
	expect_exit(b, 0, 0);
}

static void test_kill_by_signal(void **state)
{
	Box *b = *state;
	Err bad = {0};

	box_create(b, "sleep 1000", (Opts){0});
	usleep(400000); /* long enough for the shim to give up its memory: it must come back from that */
	ok(shim_start(b->shim, e));
	usleep(400000);
	ok(shim_start(b->shim, e)); /* an engine that finishes what an earlier one has begun */
	assert_int_equal(shim_kill(b->shim, NULL, 999, false, &bad), -EINVAL);
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	expect_exit(b, 137, SIGKILL);
}

static void test_exec(void **state)
{
	Box *b = *state;
	_cleanup_json_ json_t *process = process_json("echo out; echo err >&2; exit 3", false);
	_cleanup_json_ json_t *sleeper = process_json("sleep 1000", false);
	_cleanup_free_ char *out = NULL;
	ShimAttach a = mux;
	ShimExec x = {.exec_id = "e1", .process = process, .attach = &a};
	ShimExit exit = {0};
	ShimEvent v;
	Err bad = {0};
	pid_t pid = 0;
	size_t len;
	int sock[2];

	box_create(b, "sleep 1000", (Opts){0});
	ok(shim_start(b->shim, e));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	a.fd = sock[1];
	ok(shim_exec(b->shim, &x, &pid, e));
	close(sock[1]);
	assert_true(pid > 0);
	out = read_until(sock[0], NULL, &len);
	close(sock[0]);
	assert_int_equal(len, 24);
	assert_non_null(memmem(out, len, "\1\0\0\0\0\0\0\4out\n", 12));
	assert_non_null(memmem(out, len, "\2\0\0\0\0\0\0\4err\n", 12));
	v = next_event(b);
	assert_int_equal(v.type, SHIM_EVENT_EXEC_EXIT);
	assert_string_equal(v.exec_id, "e1");
	assert_int_equal(v.exit.status, 3);
	assert_int_equal(shim_exec_exit(b->shim, "e1", &exit, &bad), 1);
	assert_int_equal(exit.status, 3);
	assert_int_equal(shim_exec_exit(b->shim, "other", &exit, &bad), -ENOENT);
	x.attach = NULL;                                     /* its descriptor is closed */
	assert_true(shim_exec(b->shim, &x, &pid, &bad) < 0); /* the id is taken */
	assert_int_equal(bad.kind, ERR_CONFLICT);

	x = (ShimExec){.exec_id = "e2", .process = sleeper};
	ok(shim_exec(b->shim, &x, &pid, e));
	assert_int_equal(shim_exec_exit(b->shim, "e2", &exit, &bad), 0);
	ok(shim_kill(b->shim, "e2", SIGTERM, false, e));
	v = next_event(b);
	assert_string_equal(v.exec_id, "e2");
	assert_int_equal(v.exit.status, 143);
	assert_int_equal(shim_kill(b->shim, "e2", SIGTERM, false, &bad), -ESRCH);

	/* One that comes later is told what nobody was told yet. */
	close_fd(&b->events);
	x.exec_id = "e3";
	ok(shim_exec(b->shim, &x, &pid, e));
	ok(shim_kill(b->shim, "e3", SIGTERM, false, e));
	while (shim_exec_exit(b->shim, "e3", &exit, &bad) == 0)
		usleep(1000);
	ok(shim_events_open(b->dir, false, &b->events, NULL, e));
	assert_string_equal(next_event(b).exec_id, "e3");
	ok(shim_kill(b->shim, NULL, SIGKILL, true, e));
	expect_exit(b, 137, SIGKILL);
}

static void test_terminal(void **state)
{
	Box *b = *state;
	ShimAttach a = {.framing = SHIM_RAW, .want_stdin = true, .want_stdout = true};
	_cleanup_free_ char *first = NULL, *second = NULL, *rest = NULL;
	int c;

	a.detach_keys = "\x10\x11";
	a.n_detach_keys = 2;
	box_create(b, "stty size; read x; stty size; read x; exit 5", (Opts){.tty = true});
	c = box_attach(b, a);
	ok(shim_start(b->shim, e));
	first = read_until(c, "\n", NULL);
	assert_string_equal(first, "40 100\r\n");
	ok(shim_resize(b->shim, NULL, 50, 120, e));
	assert_int_equal(send(c, "\n\x10\x11", 3, 0), 3);
	rest = read_until(c, NULL, NULL); /* detached */
	close(c);
	ShimEvent v = next_event(b);
	assert_int_equal(v.type, SHIM_EVENT_DETACH);
	assert_string_equal(v.exec_id, "");
	c = box_attach(b, a);
	assert_int_equal(send(c, "\n", 1, 0), 1);
	second = read_until(c, NULL, NULL);
	close(c);
	expect_exit(b, 5, 0);
	free(take_ptr(rest));
	rest = log_text(b, "");
	assert_non_null(strstr(rest, "50 120\r\n"));
}

/* A terminal that nobody has open for a while is not at its end. */
static void test_terminal_is_opened_again(void **state)
{
	Box *b = *state;
	_cleanup_free_ char *out = NULL;
	int c;

	box_create(b, "exec </dev/null >/dev/null 2>&1; sleep 0.5; echo back >/dev/tty", (Opts){.tty = true});
	c = box_attach(b, (ShimAttach){.framing = SHIM_RAW, .want_stdout = true});
	ok(shim_start(b->shim, e));
	out = read_until(c, NULL, NULL);
	close(c);
	assert_string_equal(out, "back\r\n");
	expect_exit(b, 0, 0);
}

/* The engine dies by SIGKILL while the container prints; another one finds the shim, and no line is missing. */
static void test_survives_its_creator(void **state)
{
	Box *b = *state;
	_cleanup_free_ char *log = NULL;
	char *save = NULL;
	int ready[2], expected = 0;
	char byte;
	pid_t child;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	child = fork();
	if (child == 0) {
		Err e;

		if (box_try_create(b, "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done", (Opts){0},
				   &e) < 0 ||
		    shim_start(b->shim, &e) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		(void)pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	usleep(300000);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	usleep(300000);
	ok(shim_connect(b->dir, &b->shim, &b->shim_pid, &b->init_pid, e));
	ok(shim_events_open(b->dir, false, &b->events, NULL, e));
	usleep(300000);
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	expect_exit(b, 137, SIGKILL); /* we are the subreaper, so the shim is our child by now */
	log = log_text(b, "");
	for (char *s = strtok_r(log, "\n", &save); s; s = strtok_r(NULL, "\n", &save))
		assert_int_equal(atoi(s), expected++);
	assert_in_range(expected, 20, 60);
}

static void test_exit_is_recorded_without_an_audience(void **state)
{
	Box *b = *state;
	ShimExit x = {0};

	box_create(b, "exit 9", (Opts){0});
	close_fd(&b->events);
	ok(shim_start(b->shim, e));
	shim_unref(take_ptr(b->shim));
	assert_int_equal(waitpid(b->shim_pid, NULL, 0), b->shim_pid);
	b->shim_pid = 0;
	assert_int_equal(shim_read_exit(b->dir, &x, NULL), 1);
	assert_int_equal(x.status, 9);
	assert_int_equal(faccessat(b->tmp->fd, "box/shim.sock", F_OK, 0), -1);
}

static void test_ten_megabytes_to_a_slow_reader(void **state)
{
	Box *b = *state;
	uint64_t got = 0;
	static char buf[50000];
	ssize_t n;
	int c;

	box_create(b, "head -c 10485760 /dev/zero | tr '\\000' x", (Opts){.no_log = true});
	c = box_attach(b, (ShimAttach){.framing = SHIM_RAW, .want_stdout = true});
	ok(shim_start(b->shim, e));
	while ((n = recv(c, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], 'x');
		got += (uint64_t)n;
		usleep(1000);
	}
	assert_int_equal(n, 0);
	assert_int_equal(got, 10485760);
	close(c);
	expect_exit(b, 0, 0);
}

/* A flood of log: rotated, not growing, and the shim is small again afterwards. */
static void test_log_flood(void **state)
{
	Box *b = *state;
	_cleanup_free_ char *old = strf("%s.2", b->log), *more = strf("%s.3", b->log), *text = NULL;
	struct stat st;
	long flood, idle;
	int c;

	box_create(b, "yes 'some line of text' | head -n 400000; echo done >&2; sleep 1000",
		   (Opts){.max_size = 1 << 20, .max_files = 2});
	c = box_attach(b, (ShimAttach){.framing = SHIM_RAW, .want_stderr = true});
	ok(shim_start(b->shim, e));
	text = read_until(c, "done\n", NULL);
	close(c);
	flood = pss_kb(b->shim_pid);
	assert_int_equal(stat(b->log, &st), 0);
	assert_in_range(st.st_size, 0, (1 << 20) + 200);
	assert_int_equal(stat(old, &st), 0);
	assert_in_range(st.st_size, 1 << 20, (1 << 20) + 200);
	assert_int_equal(stat(more, &st), -1);
	usleep(700000);
	idle = pss_kb(b->shim_pid);
	print_message("PSS of the shim: %ld kB in the flood, %ld kB idle\n", flood, idle);
#if !defined(__SANITIZE_ADDRESS__)
	assert_in_range(idle, 1, 256);
	assert_in_range(flood, 1, 1536);
#endif
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	expect_exit(b, 137, SIGKILL);
}

/* Signals do not end it, and the container starts with none ignored or blocked. */
static void test_signals_are_not_for_it(void **state)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGQUIT};
	Box *b = *state;
	_cleanup_free_ char *log = NULL;

	box_create(b, "/bin/cat /proc/self/status", (Opts){0});
	for (size_t i = 0; i < ELEMENTSOF(signals); i++)
		assert_int_equal(kill(b->shim_pid, signals[i]), 0);
	ok(shim_start(b->shim, e));
	expect_exit(b, 0, 0);
	log = log_text(b, "");
	assert_non_null(strstr(log, "\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"));
}

/* Longer than a datagram: the document of the process travels in a memfd. */
static void test_large_exec_document(void **state)
{
	Box *b = *state;
	_cleanup_json_ json_t *process = process_json("exit ${#BIG}", false);
	_cleanup_free_ char *big = malloc(100200);
	ShimExec x = {.exec_id = "big", .process = process};
	ShimEvent v;

	(void)snprintf(big, 6, "JUNK=");
	memset(big + 5, 'x', 100100);
	big[100105] = 0;
	(void)json_array_append_new(json_object_get(process, "env"), json_string(big));
	(void)json_array_append_new(json_object_get(process, "env"), json_string("BIG=12345"));
	box_create(b, "sleep 1000", (Opts){0});
	ok(shim_start(b->shim, e));
	ok(shim_exec(b->shim, &x, NULL, e));
	v = next_event(b);
	assert_string_equal(v.exec_id, "big");
	assert_int_equal(v.exit.status, 5);
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	expect_exit(b, 137, SIGKILL);
}

static void test_garbage_closes_only_its_connection(void **state)
{
	Box *b = *state;
	_cleanup_free_ char *path = strf("%s/shim.sock", b->dir);
	char junk[2000];
	int fd;

	box_create(b, "sleep 1000", (Opts){0});
	memset(junk, 'j', sizeof(junk));
	for (size_t len = 1; len < sizeof(junk); len *= 3) {
		fd = unix_connect(path, SOCK_SEQPACKET);
		assert_true(fd >= 0);
		assert_int_equal(send(fd, junk, len, MSG_NOSIGNAL), len);
		assert_true(recv(fd, junk, 1, 0) <= 0);
		close(fd);
	}
	ok(shim_start(b->shim, e));
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	expect_exit(b, 137, SIGKILL);
}

/* Without descriptors a new connection waits; it is served once there are some, and the shim does not spin meanwhile. */
static void test_out_of_descriptors(void **state)
{
	Box *b = *state;
	struct rlimit low, old;
	Shim *late = NULL;
	struct pollfd p;
	ShimMsg m = {.type = SHIM_MSG_INFO, .seq = 1};
	_cleanup_free_ char *path = strf("%s/shim.sock", b->dir);
	char byte[SHIM_INLINE_MAX];

	box_create(b, "sleep 1000", (Opts){0});
	assert_int_equal(prlimit(b->shim_pid, RLIMIT_NOFILE, NULL, &old), 0);
	low = (struct rlimit){4, old.rlim_max};
	assert_int_equal(prlimit(b->shim_pid, RLIMIT_NOFILE, &low, NULL), 0);
	p = (struct pollfd){.fd = unix_connect(path, SOCK_SEQPACKET), .events = POLLIN};
	assert_true(p.fd >= 0);
	ok(shim_msg_send(p.fd, &m, e));
	assert_int_equal(poll(&p, 1, 500), 0);
	assert_int_equal(prlimit(b->shim_pid, RLIMIT_NOFILE, &old, NULL), 0);
	assert_int_equal(poll(&p, 1, 3000), 1);
	assert_true(recv(p.fd, byte, sizeof(byte), 0) > 0);
	close(p.fd);
	ok(shim_connect(b->dir, &late, NULL, NULL, e));
	shim_unref(late);
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	expect_exit(b, 137, SIGKILL);
}

/* More than fit in one message; all are open while the container lives, and closed when its exit is told. */
static void test_held_descriptors(void **state)
{
	Box *b = *state;
	int read_ends[40], write_ends[40];
	struct pollfd p = {.events = POLLIN};

	for (size_t i = 0; i < ELEMENTSOF(read_ends); i++) {
		int fds[2];

		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		read_ends[i] = fds[0];
		write_ends[i] = fds[1];
	}
	box_create(b, "sleep 1000", (Opts){.hold = write_ends, .n_hold = ELEMENTSOF(write_ends)});
	for (size_t i = 0; i < ELEMENTSOF(read_ends); i++) {
		close(write_ends[i]);
		p.fd = read_ends[i];
		assert_int_equal(poll(&p, 1, 0), 0);
	}
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	assert_int_equal(next_event(b).type, SHIM_EVENT_EXIT);
	for (size_t i = 0; i < ELEMENTSOF(read_ends); i++) {
		p.fd = read_ends[i];
		assert_int_equal(poll(&p, 1, 0), 1); /* end of file: the shim held the last copy */
		close(read_ends[i]);
	}
	close_fd(&b->events);
	shim_unref(take_ptr(b->shim));
	assert_int_equal(waitpid(b->shim_pid, NULL, 0), b->shim_pid);
	b->shim_pid = 0;
}

/* While it runs: more than one message of descriptors comes, and a socket goes; other handles know nothing of it. */
static void test_held_changes(void **state)
{
	Box *b = *state;
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t len = sizeof(at);
	int ends[2], fds[FDS_MAX + 8], sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	box_create(b, "sleep 1000", (Opts){0});
	assert_int_equal(bind(sock, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(sock, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (size_t i = 0; i < ELEMENTSOF(fds); i++)
		fds[i] = i == ELEMENTSOF(fds) - 1 ? ends[1] : sock;
	ok(shim_ports(b->dir, fds, ELEMENTSOF(fds), NULL, 0, e));
	close(sock);
	close(ends[1]);
	struct pollfd p = {.fd = ends[0], .events = POLLIN};
	ShimPort name = {IPPROTO_TCP, "0.0.0.0", ntohs(at.sin_port)};
	sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(sock, (struct sockaddr *)&at, sizeof(at)), -1);
	assert_int_equal(poll(&p, 1, 0), 0);
	ok(shim_ports(b->dir, NULL, 0, &name, 1, e));
	assert_int_equal(bind(sock, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	close(sock);
	close(ends[0]);
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	expect_exit(b, 137, SIGKILL);
}

static void test_undone(void **state)
{
	Box *b = *state;

	box_create(b, "sleep 100", (Opts){0});
	assert_true(shim_undo(b->shim, b->shim_pid));
	assert_int_equal(kill(b->init_pid, 0), -1);
	b->shim_pid = 0;
}

/* As one is that waits for what the container's process, which another container has stopped, never says. */
static void test_undone_though_it_hangs(void **state)
{
	Box *b = *state;
	Err e = {0};

	box_create(b, "sleep 100", (Opts){0});
	assert_int_equal(kill(b->shim_pid, SIGSTOP), 0);
	assert_int_equal(kill(b->init_pid, SIGSTOP), 0);
	assert_false(shim_undo(b->shim, b->shim_pid));
	assert_int_equal(kill(b->shim_pid, 0), -1);
	assert_int_equal(shim_remove_orphan(b->dir, b->root, b->id, &e), 0);
	/* We are who inherits it. */
	assert_int_equal(waitpid(b->init_pid, NULL, 0), b->init_pid);
	b->shim_pid = 0;
}

static void test_given_network_namespace(void **state)
{
	Box *b = *state;
	_cleanup_free_ char *log = NULL, *want = NULL;
	_cleanup_close_ int ns = -1, own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct stat st;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	assert_int_equal(fstat(ns, &st), 0);
	box_create(b, "readlink /proc/self/ns/net", (Opts){.with_netns = true, .netns = ns});
	ok(shim_start(b->shim, e));
	expect_exit(b, 0, 0);
	log = log_text(b, "");
	want = strf("net:[%lu]\n", (unsigned long)st.st_ino);
	assert_string_equal(log, want);
}

/* What an engine does that comes after one that died before the start. */
static void test_started_by_a_subscription(void **state)
{
	Box *b = *state;
	pid_t pid = 0;
	Shim *later;

	box_create(b, "exit 7", (Opts){0});
	shim_unref(b->shim);
	b->shim = NULL;
	close_fd(&b->events);
	ok(shim_later(b->dir, &later, e));
	ok(shim_events_open(b->dir, true, &b->events, &pid, e));
	assert_int_equal(pid, b->shim_pid);
	expect_exit(b, 7, 0);
	/* Not connected before: by now there is nobody. */
	assert_true(shim_start(later, NULL) < 0);
	shim_unref(later);
}

static void test_connected_when_used(void **state)
{
	Box *b = *state;
	Shim *later;

	/* It does not end by itself between the two. */
	box_create(b, "sleep 100", (Opts){0});
	ok(shim_later(b->dir, &later, e));
	ok(shim_start(later, e));
	ok(shim_start(later, e));
	ok(shim_kill(later, NULL, SIGKILL, false, e));
	shim_unref(later);
	expect_exit(b, 137, SIGKILL);
}

static void test_lives(void **state)
{
	Box *b = *state;
	int st;

	assert_false(shim_lives(b->dir));
	box_create(b, "sleep 100", (Opts){0});
	assert_true(shim_lives(b->dir));
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	expect_exit(b, 137, SIGKILL);
	close_fd(&b->events);
	assert_false(shim_lives(b->dir));

	box_create(b, "sleep 100", (Opts){0});
	assert_true(shim_lives(b->dir));
	assert_int_equal(kill(b->shim_pid, SIGKILL), 0);
	assert_int_equal(waitpid(b->shim_pid, &st, 0), b->shim_pid);
	b->shim_pid = 0;
	assert_false(shim_lives(b->dir));
	ok(shim_remove_orphan(b->dir, b->root, b->id, e));
	assert_int_equal(waitpid(b->init_pid, NULL, 0), b->init_pid); /* we are its reaper now */
}

/* Nobody but its tracer can reap it. The pid namespace would not end before; without one, the container does. */
static void test_ends_beside_an_exec_that_is_held(void **state)
{
	Box *b = *state;
	_cleanup_json_ json_t *process = process_json("sleep 1000", false);
	ShimExec x = {.exec_id = "held", .process = process};
	pid_t pid = 0;

	box_create(b, "sleep 1000", (Opts){.host_pids = true});
	ok(shim_start(b->shim, e));
	ok(shim_exec(b->shim, &x, &pid, e));
	assert_int_equal(ptrace(PTRACE_SEIZE, pid, NULL, NULL), 0);
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	expect_exit(b, 137, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, __WALL), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    WITH_BOX(test_life),
	    WITH_BOX(test_started_by_a_subscription),
	    WITH_BOX(test_connected_when_used),
	    WITH_BOX(test_lives),
	    WITH_BOX(test_ends_beside_an_exec_that_is_held),
	    WITH_BOX(test_failed_create_leaves_nothing),
	    WITH_BOX(test_stdin),
	    WITH_BOX(test_kill_by_signal),
	    WITH_BOX(test_exec),
	    WITH_BOX(test_terminal),
	    WITH_BOX(test_terminal_is_opened_again),
	    WITH_BOX(test_survives_its_creator),
	    WITH_BOX(test_exit_is_recorded_without_an_audience),
	    WITH_BOX(test_ten_megabytes_to_a_slow_reader),
	    WITH_BOX(test_log_flood),
	    WITH_BOX(test_signals_are_not_for_it),
	    WITH_BOX(test_large_exec_document),
	    WITH_BOX(test_garbage_closes_only_its_connection),
	    WITH_BOX(test_out_of_descriptors),
	    WITH_BOX(test_held_descriptors),
	    WITH_BOX(test_held_changes),
	    WITH_BOX(test_given_network_namespace),
	    WITH_BOX(test_undone),
	    WITH_BOX(test_undone_though_it_hangs),
	};
	int failed;

	if (!boxes_are_possible())
		return 77; /* Meson's "skipped" */
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(program);
	return failed;
}
