/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole of it: client, protocol, the real ireko-shim and the runtime, on a busybox bundle.
 *
 * The program is looked for in $IREKO_BUILD and beside this test; without it, without root or without
 * a static /bin/busybox the tests are skipped. Each test has its own directory, runtime root and cgroup.
 */
#include "shim/protocol.h"

#include "base/clock.h"
#include "base/path.h"
#include "base/str.h"
#include "base/test-dir.h"

#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define WAIT_MS 20000

static char *program; /* of the shim, or NULL */
static int box_count;

typedef struct Box {
	TestDir *tmp;
	char *dir, *root, *log, id[40];
	Shim *shim;
	pid_t shim_pid, init_pid;
	int events;
} Box;

/* ---- the bundle ---- */

static char *find_program(void)
{
	static const char *const places[] = {"ireko-shim", "src/cmd/ireko-shim/ireko-shim"};
	const char *build = getenv("IREKO_BUILD");
	_cleanup_free_ char *own = NULL;

	if (path_of_own_dir(&own) < 0)
		return NULL;
	for (size_t i = 0; i < 2 * ELEMENTSOF(places); i++) {
		const char *base = i < 2 ? build : own;
		char *path = base ? strf("%s/%s", base, places[i % 2]) : NULL;

		if (path && access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

static void make_rootfs(const TestDir *d)
{
	static const char *const dirs[] = {"box/rootfs/bin", "box/rootfs/proc", "box/rootfs/dev", "run"};
	static const char *const applets[] = {"sh",   "cat", "sleep", "head",    "tr",
					      "stty", "yes", "true",  "readlink"};
	_cleanup_close_ int from = open("/bin/busybox", O_RDONLY | O_CLOEXEC), to = -1;

	for (size_t i = 0; i < ELEMENTSOF(dirs); i++)
		assert_int_equal(mkdir_parents_at(d->fd, dirs[i], 0755), 0);
	to = openat(d->fd, "box/rootfs/bin/busybox", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_true(fd_copy(from, to) > 100000);
	for (size_t i = 0; i < ELEMENTSOF(applets); i++) {
		char name[64];

		(void)snprintf(name, sizeof(name), "box/rootfs/bin/%s", applets[i]);
		assert_int_equal(symlinkat("busybox", d->fd, name), 0);
	}
}

static json_t *process_json(const char *script, bool tty)
{
	return json_pack("{s:b, s:{s:i,s:i}, s:[s,s,s], s:[s], s:s}", "terminal", (int)tty, "user", "uid", 0,
			 "gid", 0, "args", "/bin/sh", "-c", script, "env", "PATH=/bin", "cwd", "/");
}

static json_t *config_json(const Box *b, const char *script, bool tty)
{
	json_t *j = json_pack("{s:s, s:o, s:{s:s}, s:s}", "ociVersion", "1.1.0", "process",
			      process_json(script, tty), "root", "path", "rootfs", "hostname", "box");
	json_error_t je;
	json_t *mounts = json_loads("[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
				    "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
				    "\"options\":[\"nosuid\",\"mode=755\",\"size=65536k\"]},"
				    "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
				    "\"options\":[\"newinstance\",\"ptmxmode=0666\",\"mode=0620\"]}]",
				    0, &je);
	json_t *namespaces = json_loads("[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},"
					"{\"type\":\"uts\"},{\"type\":\"network\"}]",
					0, &je);

	_cleanup_free_ char *cgroup = strf("/%s", b->id);

	assert_true(mounts && namespaces);
	(void)json_object_set_new(j, "mounts", mounts);
	(void)json_object_set_new(j, "linux",
				  json_pack("{s:s, s:o}", "cgroupsPath", cgroup, "namespaces", namespaces));
	return j;
}

static int setup(void **state)
{
	Box *b = calloc(1, sizeof(*b));
	void *tmp;

	*state = b;
	b->events = -1;
	if (test_dir_setup(&tmp) < 0)
		return -1;
	b->tmp = tmp;
	b->dir = strf("%s/box", b->tmp->path);
	b->root = strf("%s/run", b->tmp->path);
	b->log = strf("%s/box-json.log", b->tmp->path);
	(void)snprintf(b->id, sizeof(b->id), "ireko-shim-test-%d-%d", (int)getpid(), ++box_count);
	make_rootfs(b->tmp);
	return 0;
}

static int teardown(void **state)
{
	Box *b = *state;
	void *tmp = b->tmp;
	ShimEvent v;

	/* A test that failed leaves its container: kill it, and wait for the shim to clean up. */
	if (b->shim) {
		(void)!shim_kill(b->shim, NULL, SIGKILL, false, NULL);
		if (b->events >= 0 || shim_events_open(b->dir, false, &b->events, NULL, NULL) >= 0) {
			struct pollfd p = {.fd = b->events, .events = POLLIN};

			while (poll(&p, 1, WAIT_MS) > 0 && shim_event_read(b->events, &v, NULL) > 0)
				;
		}
	}
	closep(&b->events);
	shim_unref(b->shim);
	if (b->shim_pid > 0)
		(void)waitpid(b->shim_pid, NULL, 0);
	free(b->dir);
	free(b->root);
	free(b->log);
	free(b);
	return test_dir_teardown(&tmp);
}

/* ---- steps ---- */

typedef struct Opts {
	bool tty, stdin_once, no_log, with_netns, host_pids;
	int64_t max_size;
	int max_files;
	int netns; /* with with_netns */
	const int *hold;
	size_t n_hold;
} Opts;

/* As config.json names the one that the shim is given. */
static void use_netns_of(json_t *config, pid_t shim)
{
	_cleanup_free_ char *path = shim_netns_path(shim);
	json_t *all = json_object_get(json_object_get(config, "linux"), "namespaces"), *ns;
	size_t i;

	json_array_foreach (all, i, ns)
		if (streq0(json_get_str(ns, "type"), "network"))
			(void)json_object_set_new(ns, "path", json_string(path));
}

static int box_try_create(Box *b, const char *script, Opts o, Err *e)
{
	_cleanup_json_ json_t *config = config_json(b, script, o.tty);
	ShimCreate c = {
	    .dir = b->dir,
	    .id = b->id,
	    .runtime_root = b->root,
	    .terminal = o.tty,
	    .open_stdin = o.tty || o.stdin_once,
	    .stdin_once = o.stdin_once,
	    .log = {o.no_log ? "none" : "json-file", b->log, o.max_size, o.max_files},
	    .rootfs_fd = -1,
	    .netns_fd = o.with_netns ? o.netns : -1,
	    .hold_fds = o.hold,
	    .n_hold_fds = o.n_hold,
	    .rows = 40,
	    .cols = 100,
	};

	if (script[0] == '/') { /* a command instead of a script */
		_cleanup_strv_ char **args = strv_split(script, ' ');

		(void)json_object_set_new(json_object_get(config, "process"), "args", json_from_strv(args));
	}
	if (o.host_pids) /* the first of them */
		(void)json_array_remove(json_object_get(json_object_get(config, "linux"), "namespaces"), 0);
	int r = shim_spawn(program, b->dir, b->id, &b->shim, &b->shim_pid, e);

	if (r < 0)
		return r;
	if (o.with_netns)
		use_netns_of(config, b->shim_pid);
	assert_int_equal(json_save_at(b->tmp->fd, "box/config.json", config, 0600, false, e), 0);
	r = shim_create(b->shim, b->shim_pid, &c, &b->init_pid, e);
	if (r < 0) {
		shim_unref(b->shim);
		b->shim = NULL;
		b->shim_pid = 0;
	}
	return r;
}

#define ok(call)                                                                                             \
	do {                                                                                                 \
		Err e_ = {0}, *e = &e_;                                                                      \
		if ((call) < 0)                                                                              \
			fail_msg("%s: %s", #call, e_.msg);                                                   \
	} while (0)

static void box_create(Box *b, const char *script, Opts o)
{
	ok(box_try_create(b, script, o, e));
	assert_true(b->shim_pid > 0 && b->init_pid > 0);
	ok(shim_events_open(b->dir, false, &b->events, NULL, e));
}

static ShimEvent next_event(Box *b)
{
	struct pollfd p = {.fd = b->events, .events = POLLIN};
	ShimEvent v = {0};
	int r = -EAGAIN;

	while (r == -EAGAIN) {
		Err e = {0};

		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		r = shim_event_read(b->events, &v, &e);
		if (r < 0 && r != -EAGAIN)
			fail_msg("%s", e.msg);
	}
	assert_int_equal(r, 1);
	return v;
}

static void shim_failed(const Box *b, int status)
{
	_cleanup_free_ char *why = NULL;

	(void)file_read_at(b->tmp->fd, "box/shim.log", 65536, &why, NULL);
	fail_msg("the shim ended with %#x: %s", status, why ? why : "");
}

/* The exit event, then everything that must be true at that moment and when the shim has ended. */
static void expect_exit(Box *b, int status, int signal)
{
	ShimEvent v = next_event(b);
	ShimExit x = {0};
	Shim *none = NULL;
	int st;

	assert_int_equal(v.type, SHIM_EVENT_EXIT);
	assert_int_equal(v.exit.status, status);
	assert_int_equal(v.exit.signal, signal);
	assert_true(llabs(clock_now_ns() - v.exit.at_ns) < INT64_C(10000000000));
	assert_int_equal(shim_read_exit(b->dir, &x, NULL), 1);
	assert_memory_equal(&x, &v.exit, sizeof(x));
	assert_int_equal(shim_connect(b->dir, &none, NULL, NULL, NULL), -ENOENT);
	assert_int_equal(shim_event_read(b->events, &v, NULL) == 1, 0);
	shim_unref(take_ptr(b->shim));
	assert_int_equal(waitpid(b->shim_pid, &st, 0), b->shim_pid);
	b->shim_pid = 0;
	if (st != 0)
		shim_failed(b, st);
	assert_int_equal(faccessat(b->tmp->fd, "box/.exit.json", F_OK, 0), -1);
}

static int box_attach(Box *b, ShimAttach a)
{
	int sock[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	a.fd = sock[1];
	ok(shim_attach(b->shim, &a, e));
	close(sock[1]);
	return sock[0];
}

static char *read_until(int fd, const char *needle, size_t *ret_len)
{
	StrBuf sb = {0};
	char buf[4096];

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, WAIT_MS) != 1)
			fail_msg("nothing came after: %s", sb.s ? sb.s : "");
		n = recv(fd, buf, sizeof(buf), 0);
		assert_true(n >= 0);
		if (n == 0)
			break;
		strbuf_add_n(&sb, buf, (size_t)n);
		if (needle && strstr(sb.s, needle))
			break;
	}
	if (ret_len)
		*ret_len = sb.len;
	return strbuf_steal(&sb);
}

/* Everything up to the end of a mux stream, without the headers: how the bytes were cut is not ours to decide. */
static char *read_mux_text(int fd)
{
	size_t len, at = 0, n;
	_cleanup_free_ char *raw = read_until(fd, NULL, &len);
	char *text = calloc(1, len + 1);

	for (const unsigned char *p = (const unsigned char *)raw; at + 8 <= len; at += 8 + n) {
		n = (size_t)p[at + 4] << 24 | (size_t)p[at + 5] << 16 | (size_t)p[at + 6] << 8 | p[at + 7];
		assert_in_range(p[at], 1, 2);
		assert_true(at + 8 + n <= len);
		strncat(text, raw + at + 8, n);
	}
	assert_int_equal(at, len);
	return text;
}

/* All texts of a json-file. */
static char *log_text(const Box *b, const char *suffix)
{
	_cleanup_free_ char *path = strf("%s%s", b->log, suffix), *all = NULL;
	StrBuf sb = {0};
	char *save = NULL;

	assert_int_equal(file_read_at(AT_FDCWD, path, 64 << 20, &all, NULL), 0);
	for (char *line = strtok_r(all, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		_cleanup_json_ json_t *j = NULL;

		ok(json_parse(line, strlen(line), path, &j, e));
		strbuf_add(&sb, json_get_str(j, "log"));
	}
	return strbuf_steal(&sb);
}

static const ShimAttach mux = {.framing = SHIM_MUX,
			       .want_stdin = true,
			       .want_stdout = true,
			       .want_stderr = true};

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

static long pss_kb(pid_t pid)
{
	_cleanup_free_ char *path = strf("/proc/%d/smaps_rollup", (int)pid), *text = NULL;
	long kb = -1;
	char *at;

	assert_int_equal(file_read_at(AT_FDCWD, path, 65536, &text, NULL), 0);
	at = strstr(text, "\nPss:");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "\nPss: %ld", &kb), 1);
	return kb;
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

#define WITH_BOX(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

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

	program = find_program();
	if (!program || geteuid() != 0 || access("/bin/busybox", X_OK) < 0) {
		(void)puts("skipped: needs root, /bin/busybox (busybox-static) and the built ireko-shim");
		return 77; /* Meson's "skipped" */
	}
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(program);
	return failed;
}
