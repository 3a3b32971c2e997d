/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container of busybox for tests of the whole of it: client, protocol, the real ireko-shim and the runtime.
 *
 * The program is looked for in $IREKO_BUILD and beside the test; without it, without root or without
 * a static /bin/busybox the tests are skipped. Each test has its own directory, runtime root and cgroup. A box with `pod` set is kept by that one's shim.
 */
#pragma once

#include "shim/protocol.h"

#include "base/clock.h"
#include "base/path.h"
#include "base/str.h"
#include "base/test-dir.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
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
	struct Box *pod; /* whose shim keeps it, or NULL: one of its own */
} Box;

/* ---- the bundle ---- */

static inline char *find_program(void)
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

static inline void make_rootfs(const TestDir *d)
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

static inline json_t *process_json(const char *script, bool tty)
{
	return json_pack("{s:b, s:{s:i,s:i}, s:[s,s,s], s:[s], s:s}", "terminal", (int)tty, "user", "uid", 0,
			 "gid", 0, "args", "/bin/sh", "-c", script, "env", "PATH=/bin", "cwd", "/");
}

static inline json_t *config_json(const Box *b, const char *script, bool tty)
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

static inline int setup(void **state)
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

static inline int teardown(void **state)
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
	if (b->shim_pid > 0 && !b->pod)
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
	const char *
	    asks; /* a socket whose owner is asked by processes that are put into it, for leave to become session leaders */
	pid_t pids_of; /* whose pid namespace it joins; 0: one of its own */
	const int *hold;
	size_t n_hold;
} Opts;

/* As config.json names the one that the shim is given. */
static inline void use_netns_of(json_t *config, pid_t shim)
{
	_cleanup_free_ char *path = shim_netns_path(shim);
	json_t *all = json_object_get(json_object_get(config, "linux"), "namespaces"), *ns;
	size_t i;

	json_array_foreach (all, i, ns)
		if (streq0(json_get_str(ns, "type"), "network"))
			(void)json_object_set_new(ns, "path", json_string(path));
}

static inline int box_begin(Box *b, Err *e)
{
	return b->pod ? shim_join(b->pod->dir, b->dir, b->id, &b->shim, &b->shim_pid, e)
		      : shim_spawn(program, b->dir, b->id, &b->shim, &b->shim_pid, e);
}

static inline int box_try_create(Box *b, const char *script, Opts o, Err *e)
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
	if (o.asks)
		(void)json_object_set_new(json_object_get(config, "linux"), "seccomp",
					  json_pack("{s:s, s:s, s:[{s:[s], s:s}]}", "defaultAction",
						    "SCMP_ACT_ALLOW", "listenerPath", o.asks, "syscalls",
						    "names", "setsid", "action", "SCMP_ACT_NOTIFY"));
	if (o.pids_of) {
		_cleanup_free_ char *path = strf("/proc/%d/ns/pid", (int)o.pids_of);
		json_t *all = json_object_get(json_object_get(config, "linux"), "namespaces");

		(void)json_object_set_new(json_array_get(all, 0), "path", json_string(path));
	}
	int r = box_begin(b, e);

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

static inline void box_create(Box *b, const char *script, Opts o)
{
	Shim *later;

	ok(box_try_create(b, script, o, e));
	assert_true(b->shim_pid > 0 && b->init_pid > 0);
	ok(shim_events_open(b->dir, false, &b->events, NULL, e));
	/* Who is answered behind it knows that it has been heard: a container that ends before that has no more to tell but its record. */
	ok(shim_connect(b->dir, &later, NULL, NULL, e));
	shim_unref(later);
}

static inline ShimEvent next_event(Box *b)
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

static inline void shim_failed(const Box *b, int status)
{
	_cleanup_free_ char *why = NULL;

	(void)file_read_at(b->tmp->fd, "box/shim.log", 65536, &why, NULL);
	fail_msg("the shim ended with %#x: %s", status, why ? why : "");
}

/* The exit event, then everything that must be true at that moment and when the shim has ended. */
static inline void expect_exit(Box *b, int status, int signal)
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
	st = 0;
	if (!b->pod)
		assert_int_equal(waitpid(b->shim_pid, &st, 0), b->shim_pid);
	b->shim_pid = 0;
	if (st != 0)
		shim_failed(b, st);
	assert_int_equal(faccessat(b->tmp->fd, "box/.exit.json", F_OK, 0), -1);
}

static inline int box_attach(Box *b, ShimAttach a)
{
	int sock[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	a.fd = sock[1];
	ok(shim_attach(b->shim, &a, e));
	close(sock[1]);
	return sock[0];
}

static inline char *read_until(int fd, const char *needle, size_t *ret_len)
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
static inline char *read_mux_text(int fd)
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
static inline char *log_text(const Box *b, const char *suffix)
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

static inline long pss_kb(pid_t pid)
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

#define WITH_BOX(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

/* Said to whoever runs the test, if not. */
static inline bool boxes_are_possible(void)
{
	program = find_program();
	if (!program || geteuid() != 0 || access("/bin/busybox", X_OK) < 0) {
		(void)puts("skipped: needs root, /bin/busybox (busybox-static) and the built ireko-shim");
		return false;
	}
	return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}
