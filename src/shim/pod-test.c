/* SPDX-License-Identifier: Apache-2.0 */
/* Several containers in one shim: what they share, which is the process, and all that they do not. */
#include "shim/test-box.h"

#include "shim/server.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MEMBERS_TO_BEGIN_WITH 20
#define MEMBERS_BY_DEFAULT    60 /* one after another; $IREKO_POD_MEMBERS */

typedef struct Pod {
	Box *sandbox, *a, *b;
} Pod;

static int pod_setup(void **state)
{
	Pod *p = calloc(1, sizeof(*p));
	Box **const all[] = {&p->sandbox, &p->a, &p->b};

	*state = p;
	for (size_t i = 0; i < ELEMENTSOF(all); i++) {
		void *box;

		if (setup(&box) < 0)
			return -1;
		*all[i] = box;
		(*all[i])->pod = i ? p->sandbox : NULL;
	}
	return 0;
}

/* Members first: the shim is there to end them. */
static int pod_teardown(void **state)
{
	Pod *p = *state;
	void *const all[] = {p->b, p->a, p->sandbox};
	int r = 0;

	for (size_t i = 0; i < ELEMENTSOF(all); i++) {
		void *box = all[i];

		r |= teardown(&box);
	}
	free(p);
	return r;
}

#define WITH_POD(t) cmocka_unit_test_setup_teardown(t, pod_setup, pod_teardown)

static size_t fds_of(pid_t pid)
{
	_cleanup_free_ char *path = strf("/proc/%d/fd", (int)pid);
	DIR *d = opendir(path);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void end_sandbox(Box *b)
{
	ok(shim_kill(b->shim, NULL, SIGKILL, false, e));
	expect_exit(b, 137, SIGKILL);
}

static bool is_gone(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

static ShimExit exec_in(Box *b, const char *id, const char *script)
{
	_cleanup_json_ json_t *process = process_json(script, false);
	ShimExec x = {.exec_id = id, .process = process};
	ShimEvent v;

	ok(shim_exec(b->shim, &x, NULL, e));
	v = next_event(b);
	assert_int_equal(v.type, SHIM_EVENT_EXEC_EXIT);
	assert_string_equal(v.exec_id, id);
	return v.exit;
}

/* Of the shim, when it has done what came before. */
static size_t settled_fds(Box *sandbox)
{
	static int n;
	char id[24];

	(void)snprintf(id, sizeof(id), "settle%d", ++n);
	assert_int_equal(exec_in(sandbox, id, "exit 3").status, 3);
	return fds_of(sandbox->shim_pid);
}

/* ---- life ---- */

/* Two members side by side: streams, log, exec, exit and record of each are its own, and the same ids mean nothing to the other. */
static void test_members(void **state)
{
	Pod *p = *state;
	_cleanup_free_ char *out = NULL, *log_a = NULL, *log_b = NULL;
	int c;

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	box_create(p->a, "cat; echo a is over; exit 3", (Opts){.stdin_once = true});
	box_create(p->b, "echo b; sleep 1000", (Opts){0});
	assert_int_equal(p->a->shim_pid, p->sandbox->shim_pid);
	c = box_attach(p->a, mux);
	ok(shim_start(p->a->shim, e));
	ok(shim_start(p->b->shim, e));
	assert_int_equal(exec_in(p->a, "same", "exit 5").status, 5);
	assert_int_equal(exec_in(p->b, "same", "exit 6").status, 6);
	assert_int_equal(send(c, "typed\n", 6, 0), 6);
	shutdown(c, SHUT_WR);
	out = read_mux_text(c);
	close(c);
	assert_string_equal(out, "typed\na is over\n");
	expect_exit(p->a, 3, 0);
	assert_false(shim_lives(p->a->dir));
	assert_true(shim_lives(p->b->dir));
	assert_int_equal(exec_in(p->b, "again", "exit 7").status, 7);
	ok(shim_kill(p->b->shim, NULL, SIGKILL, false, e));
	expect_exit(p->b, 137, SIGKILL);
	log_a = log_text(p->a, "");
	log_b = log_text(p->b, "");
	assert_string_equal(log_a, "typed\na is over\n");
	assert_string_equal(log_b, "b\n");
	end_sandbox(p->sandbox);
}

/* Found again by the next engine through their own directories. */
static void test_members_are_found_again(void **state)
{
	Pod *p = *state;
	pid_t shim = 0, init = 0, of_events = 0;

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	box_create(p->a, "exit 9", (Opts){0});
	shim_unref(take_ptr(p->a->shim));
	close_fd(&p->a->events);
	ok(shim_connect(p->a->dir, &p->a->shim, &shim, &init, e));
	assert_int_equal(shim, p->sandbox->shim_pid);
	assert_int_equal(init, p->a->init_pid);
	ok(shim_events_open(p->a->dir, true, &p->a->events, &of_events, e));
	assert_int_equal(of_events, shim);
	expect_exit(p->a, 9, 0);
	end_sandbox(p->sandbox);
}

/* Whatever they are at: running, paused, waiting for the start, or to be told what to create. */
static void test_end_of_the_sandbox(void **state)
{
	Pod *p = *state;
	Shim *waiting = NULL;
	pid_t pid = 0;
	Err err = {0};
	ShimCreate nothing = {
	    .dir = p->b->dir, .id = p->b->id, .runtime_root = p->b->root, .rootfs_fd = -1, .netns_fd = -1};

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	box_create(p->a, "sleep 1000", (Opts){0});
	ok(shim_start(p->a->shim, e));
	ok(shim_pause(p->a->shim, true, e));
	box_create(p->b, "sleep 1000", (Opts){0});
	ok(shim_join(p->sandbox->dir, p->b->dir, "never", &waiting, &pid, e));
	ok(shim_kill(p->sandbox->shim, NULL, SIGKILL, false, e));
	expect_exit(p->a, 137, SIGKILL);
	expect_exit(p->b, 137, SIGKILL);
	assert_true(shim_create(waiting, pid, &nothing, &pid, &err) < 0);
	assert_int_equal(err.kind, ERR_INTERNAL);
	shim_unref(waiting);
	expect_exit(p->sandbox, 137, SIGKILL);
}

/* In the sandbox's pid namespace they die with it; the kernel waits for the shim to reap them before the sandbox's process is over. */
static void test_end_of_a_shared_pid_namespace(void **state)
{
	Pod *p = *state;

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	box_create(p->a, "sleep 1000 & sleep 1000", (Opts){.pids_of = p->sandbox->init_pid});
	ok(shim_start(p->a->shim, e));
	assert_int_equal(exec_in(p->a, "x", "exit 4").status, 4);
	ok(shim_kill(p->sandbox->shim, NULL, SIGKILL, false, e));
	expect_exit(p->a, 137, SIGKILL);
	expect_exit(p->sandbox, 137, SIGKILL);
}

/* A member's end takes those of its processes along that live in a namespace of others. */
static void test_end_of_a_member_in_a_shared_pid_namespace(void **state)
{
	Pod *p = *state;
	_cleanup_json_ json_t *process = process_json("sleep 1000", false);
	ShimExec x = {.exec_id = "left", .process = process};
	pid_t pid = 0;

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	box_create(p->a, "sleep 1000", (Opts){.pids_of = p->sandbox->init_pid});
	ok(shim_start(p->a->shim, e));
	ok(shim_exec(p->a->shim, &x, &pid, e));
	ok(shim_kill(p->a->shim, NULL, SIGKILL, false, e));
	while (next_event(p->a).type != SHIM_EVENT_EXIT)
		;
	for (int i = 0; !is_gone(pid) && i < 500; i++)
		usleep(10000);
	assert_true(is_gone(pid));
	assert_true(shim_lives(p->sandbox->dir));
	end_sandbox(p->sandbox);
}

/* ---- what does not come to be ---- */

static void test_member_that_fails_leaves_nothing(void **state)
{
	Pod *p = *state;
	Err err = {0};
	size_t before;

	box_create(p->sandbox, "while sleep 0.05; do echo on; done", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	before = settled_fds(p->sandbox);
	assert_true(box_try_create(p->a, "/bin/no-such-command", (Opts){0}, &err) < 0);
	assert_int_equal(err.kind, ERR_NO_COMMAND);
	assert_int_equal(faccessat(p->a->tmp->fd, "box/shim.sock", F_OK, 0), -1);
	assert_int_equal(faccessat(p->a->tmp->fd, "box/.exit.json", F_OK, 0), -1);
	assert_int_equal(settled_fds(p->sandbox), before);
	box_create(p->a, "exit 2", (Opts){0});
	ok(shim_start(p->a->shim, e));
	expect_exit(p->a, 2, 0);
	assert_true(shim_lives(p->sandbox->dir));
	end_sandbox(p->sandbox);
}

/* The number under which a spawned shim takes its namespace is another descriptor's by now. */
static void test_member_is_given_no_network_namespace(void **state)
{
	Pod *p = *state;
	_cleanup_close_ int ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *log = NULL;
	char before[64] = "", after[64] = "";
	_cleanup_free_ char *link = NULL;
	Err err = {0};

	box_create(p->sandbox, "while sleep 0.05; do echo on; done", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	link = shim_netns_path(p->sandbox->shim_pid);
	/* The lowest free one, so the next that is opened. */
	box_create(p->b, "sleep 1000", (Opts){0});
	assert_true(readlink(link, before, sizeof(before) - 1) > 0);
	assert_true(box_try_create(p->a, "true", (Opts){.with_netns = true, .netns = ns}, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	box_create(p->a, "exit 1", (Opts){0});
	assert_true(readlink(link, after, sizeof(after) - 1) > 0);
	assert_string_equal(before, after);
	ok(shim_start(p->a->shim, e));
	expect_exit(p->a, 1, 0);
	ok(shim_kill(p->b->shim, NULL, SIGKILL, false, e));
	expect_exit(p->b, 137, SIGKILL);
	end_sandbox(p->sandbox);
}

/* Undone after it was created, and given up before: of both nothing is left, and the pod goes on. */
static void test_undone_members(void **state)
{
	Pod *p = *state;
	size_t before;

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	before = settled_fds(p->sandbox);
	box_create(p->a, "sleep 1000", (Opts){0});
	close_fd(&p->a->events);
	assert_true(shim_undo(p->a->shim, p->a->shim_pid));
	assert_true(is_gone(p->a->init_pid));
	shim_unref(take_ptr(p->a->shim));
	ok(box_begin(p->b, e));
	shim_abandon(p->b->shim, p->b->shim_pid);
	shim_unref(take_ptr(p->b->shim));
	assert_int_equal(settled_fds(p->sandbox), before);
	end_sandbox(p->sandbox);
}

/* Its end would not be the others' end. */
static void test_only_the_sandbox_is_joined(void **state)
{
	Pod *p = *state;
	Shim *s = NULL;
	pid_t pid;
	Err err = {0};

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	box_create(p->a, "sleep 1000", (Opts){0});
	assert_true(shim_join(p->a->dir, p->b->dir, p->b->id, &s, &pid, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	ok(shim_kill(p->a->shim, NULL, SIGKILL, false, e));
	expect_exit(p->a, 137, SIGKILL);
	end_sandbox(p->sandbox);
	assert_int_equal(shim_join(p->sandbox->dir, p->b->dir, p->b->id, &s, &pid, &err), -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

/* Anything but a connection that keeps messages apart would be read wrongly. */
static void test_join_needs_a_connection(void **state)
{
	Pod *p = *state;
	_cleanup_free_ char *path = strf("%s/shim.sock", p->sandbox->dir);
	char buf[SHIM_INLINE_MAX];
	int pair[2];

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	for (size_t n = 0; n < 3; n++) {
		ShimMsg m = {.type = SHIM_MSG_JOIN, .seq = 1, .fds = {pair[0], pair[1]}, .n_fds = n};
		_cleanup_shim_msg_ ShimMsg reply = {0};
		_cleanup_close_ int fd = unix_connect(path, SOCK_SEQPACKET);

		ok(shim_msg_send(fd, &m, e));
		ok(shim_msg_recv(fd, buf, &reply, e));
		assert_int_equal(reply.type, SHIM_MSG_ERROR);
	}
	close(pair[0]);
	close(pair[1]);
	end_sandbox(p->sandbox);
}

static void test_members_have_a_limit(void **state)
{
	Pod *p = *state;
	static Shim *waiting[SHIM_SERVERS_MAX];
	size_t n = 0;
	pid_t pid;
	Err err = {0};
	struct rlimit many = {4096, 4096}, own;

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	assert_int_equal(prlimit(p->sandbox->shim_pid, RLIMIT_NOFILE, &many, NULL), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &own), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE,
				   &(struct rlimit){MAX2(own.rlim_cur, 4096u), MAX2(own.rlim_max, 4096u)}),
			 0);
	while (n < SHIM_SERVERS_MAX &&
	       shim_join(p->sandbox->dir, p->a->dir, p->a->id, &waiting[n], &pid, &err) >= 0)
		n++;
	assert_int_equal(n, SHIM_SERVERS_MAX - 1);
	assert_int_equal(err.kind, ERR_EXHAUSTED);
	while (n > 0)
		shim_unref(waiting[--n]);
	box_create(p->a, "exit 1", (Opts){0});
	ok(shim_start(p->a->shim, e));
	expect_exit(p->a, 1, 0);
	end_sandbox(p->sandbox);
}

/* ---- hostile members ---- */

/* One prints as fast as it can to its log, another to a client that does not read: a third is served as ever. */
static void test_floods_hold_nobody_up(void **state)
{
	Pod *p = *state;
	int64_t begin, longest = 0;
	int c;

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	box_create(p->a, "yes 'a line of text'", (Opts){.max_size = 1 << 20, .max_files = 1});
	box_create(p->b, "yes 'a line of text'", (Opts){.no_log = true});
	c = box_attach(p->b, mux);
	ok(shim_start(p->sandbox->shim, e));
	ok(shim_start(p->a->shim, e));
	ok(shim_start(p->b->shim, e));
	usleep(300000);
	for (int i = 0; i < 20; i++) {
		char id[8];

		(void)snprintf(id, sizeof(id), "x%d", i);
		begin = clock_mono_ns();
		assert_int_equal(exec_in(p->sandbox, id, "exit 1").status, 1);
		longest = MAX2(longest, clock_mono_ns() - begin);
	}
	print_message("the longest of 20 execs beside two floods: %lld ms\n", (long long)(longest / 1000000));
	assert_true(longest < INT64_C(10000000000));
	close(c);
	ok(shim_kill(p->a->shim, NULL, SIGKILL, false, e));
	ok(shim_kill(p->b->shim, NULL, SIGKILL, false, e));
	expect_exit(p->a, 137, SIGKILL);
	expect_exit(p->b, 137, SIGKILL);
	end_sandbox(p->sandbox);
}

/* Whoever is to be asked keeps silent. */
static int silent_agent(Box *b, char **ret_path)
{
	int fd;

	*ret_path = strf("%s/agent", b->tmp->path);
	fd = unix_listen(*ret_path, SOCK_STREAM, 0600);
	assert_true(fd >= 0);
	return fd;
}

/* An exec whose process waits for the agent's leave, and so does not execute; the connection that waits for the answer. */
static int hang_exec(Box *b)
{
	_cleanup_free_ char *path = strf("%s/shim.sock", b->dir);
	_cleanup_json_ json_t *doc =
	    json_pack("{s:s, s:o}", "exec_id", "stuck", "process", process_json("true", false));
	ShimMsg m = {.type = SHIM_MSG_EXEC, .seq = 1, .doc = doc};
	struct pollfd p = {.fd = unix_connect(path, SOCK_SEQPACKET), .events = POLLIN};

	ok(shim_msg_send(p.fd, &m, e));
	assert_int_equal(poll(&p, 1, 200), 0);
	return p.fd;
}

/* The new process cannot be asked about as one that runs; the others are served; and the end of the container is the end of it. */
static void test_exec_that_hangs_holds_nobody_up(void **state)
{
	Pod *p = *state;
	_cleanup_shim_msg_ ShimMsg reply = {0};
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int agent = silent_agent(p->a, &path), fd = -1;
	char buf[SHIM_INLINE_MAX];
	int64_t begin;
	Err err = {0};

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	box_create(p->a, "sleep 1000", (Opts){.asks = path});
	ok(shim_start(p->sandbox->shim, e));
	ok(shim_start(p->a->shim, e));
	fd = hang_exec(p->a);
	begin = clock_mono_ns();
	assert_int_equal(exec_in(p->sandbox, "x", "exit 4").status, 4);
	box_create(p->b, "echo b", (Opts){0});
	ok(shim_start(p->b->shim, e));
	expect_exit(p->b, 0, 0);
	assert_true(clock_mono_ns() - begin < INT64_C(5000000000));
	assert_true(shim_kill(p->a->shim, "stuck", SIGKILL, false, &err) < 0);
	assert_int_equal(err.kind, ERR_CONFLICT);
	ok(shim_kill(p->a->shim, NULL, SIGKILL, false, e));
	/* An error, or of a process that its namespace's end has killed, success. */
	ok(shim_msg_recv(fd, buf, &reply, e));
	assert_int_equal(reply.seq, 1);
	while (next_event(p->a).type != SHIM_EVENT_EXIT)
		;
	shim_unref(take_ptr(p->a->shim));
	end_sandbox(p->sandbox);
}

/* Whoever asked has gone meanwhile. */
static void test_exec_that_hangs_for_nobody(void **state)
{
	Pod *p = *state;
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int agent = silent_agent(p->a, &path);

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	box_create(p->a, "sleep 1000", (Opts){.asks = path});
	ok(shim_start(p->a->shim, e));
	closep(&(int){hang_exec(p->a)});
	assert_int_equal(exec_in(p->sandbox, "x", "exit 4").status, 4);
	ok(shim_kill(p->sandbox->shim, NULL, SIGKILL, false, e));
	while (next_event(p->a).type != SHIM_EVENT_EXIT)
		;
	shim_unref(take_ptr(p->a->shim));
	expect_exit(p->sandbox, 137, SIGKILL);
}

/* ---- checkpoints ---- */

/* Puts a program with that script in the place of criu, for shims that are started from now on. */
static void place_criu(const Box *b, const char *script)
{
	_cleanup_free_ char *dir = strf("%s/criu", b->tmp->path), *path = strf("%s/criu", dir);
	int fd;

	assert_int_equal(mkdir(dir, 0755), 0);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_true(fd >= 0 && fd_write_all(fd, script, strlen(script)) == 0);
	close(fd);
	assert_int_equal(setenv("PATH", dir, 1), 0);
}

/* One that hangs is killed when its time is over, with what it has started, and holds nobody up until then. */
static void test_checkpoint_that_hangs(void **state)
{
	Pod *p = *state;
	_cleanup_free_ char *path = strf("%s/shim.sock", p->a->dir), *was = strdup(getenv("PATH"));
	_cleanup_close_ int fd = -1;
	_cleanup_shim_msg_ ShimMsg reply = {0};
	char buf[SHIM_INLINE_MAX];
	ShimMsg m = {.type = SHIM_MSG_CHECKPOINT, .seq = 1};
	Err err = {0};

	place_criu(p->sandbox, "#!/bin/sh\n/bin/sleep 1000\n");
	box_create(p->sandbox, "sleep 1000", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	box_create(p->a, "sleep 1000", (Opts){0});
	ok(shim_start(p->a->shim, e));
	m.doc = json_pack("{s:s, s:i}", "dir", p->a->tmp->path, "timeout_ms", 400);
	fd = unix_connect(path, SOCK_SEQPACKET);
	ok(shim_msg_send(fd, &m, e));
	json_decref(m.doc);
	assert_int_equal(exec_in(p->a, "x", "exit 4").status, 4);
	assert_int_equal(exec_in(p->sandbox, "x", "exit 5").status, 5);
	assert_true(shim_checkpoint(p->a->dir, p->a->tmp->path, 100, &err) < 0);
	assert_int_equal(err.kind, ERR_CONFLICT);
	ok(shim_msg_recv(fd, buf, &reply, e));
	assert_int_equal(shim_error_decode(&reply, &err), -ETIMEDOUT);
	/* And by the end of the container. */
	m.doc = json_pack("{s:s, s:i}", "dir", p->a->tmp->path, "timeout_ms", 400000);
	ok(shim_msg_send(fd, &m, e));
	json_decref(m.doc);
	ok(shim_kill(p->a->shim, NULL, SIGKILL, false, e));
	expect_exit(p->a, 137, SIGKILL);
	(void)setenv("PATH", was, 1);
	end_sandbox(p->sandbox);
}

static void test_checkpoint_without_criu(void **state)
{
	Pod *p = *state;
	_cleanup_free_ char *was = strdup(getenv("PATH"));
	Err err = {0};

	assert_int_equal(setenv("PATH", p->sandbox->tmp->path, 1), 0);
	box_create(p->sandbox, "sleep 1000", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	(void)setenv("PATH", was, 1);
	assert_true(shim_checkpoint(p->sandbox->dir, p->sandbox->tmp->path, 5000, &err) < 0);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.msg, "criu is not installed"));
	assert_true(shim_checkpoint(p->sandbox->dir, "relative", 5000, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	end_sandbox(p->sandbox);
}

/* ---- what a killed shim leaves ---- */

static void test_orphans(void **state)
{
	Pod *p = *state;
	Box *const all[] = {p->sandbox, p->a, p->b};

	for (size_t i = 0; i < ELEMENTSOF(all); i++) {
		box_create(all[i], "sleep 1000", (Opts){0});
		ok(shim_start(all[i]->shim, e));
	}
	assert_int_equal(kill(p->sandbox->shim_pid, SIGKILL), 0);
	assert_int_equal(waitpid(p->sandbox->shim_pid, NULL, 0), p->sandbox->shim_pid);
	for (size_t i = 0; i < ELEMENTSOF(all); i++) {
		ShimExit x;
		Shim *none;

		assert_false(shim_lives(all[i]->dir));
		assert_int_equal(shim_read_exit(all[i]->dir, &x, NULL), 0);
		assert_true(shim_connect(all[i]->dir, &none, NULL, NULL, NULL) < 0);
		ok(shim_remove_orphan(all[i]->dir, all[i]->root, all[i]->id, e));
		assert_int_equal(waitpid(all[i]->init_pid, NULL, 0),
				 all[i]->init_pid); /* we are who inherits it */
		shim_unref(take_ptr(all[i]->shim));
		all[i]->shim_pid = 0;
	}
}

/* ---- what it costs ---- */

static void run_once(Box *b)
{
	box_create(b, "echo x; exit 0", (Opts){0});
	ok(shim_start(b->shim, e));
	expect_exit(b, 0, 0);
	closep(&b->events);
	b->events = -1;
}

static long rested_pss_kb(pid_t pid)
{
	usleep(700000);
	return pss_kb(pid);
}

static void test_nothing_grows(void **state)
{
	Pod *p = *state;
	const char *asked = getenv("IREKO_POD_MEMBERS");
	int n = asked ? atoi(asked) : MEMBERS_BY_DEFAULT;
	size_t fds;
	long before, after;

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	for (int i = 0; i < MEMBERS_TO_BEGIN_WITH; i++)
		run_once(p->a);
	before = rested_pss_kb(p->sandbox->shim_pid);
	fds = settled_fds(p->sandbox);
	for (int i = 0; i < n; i++)
		run_once(p->a);
	after = rested_pss_kb(p->sandbox->shim_pid);
	assert_int_equal(settled_fds(p->sandbox), fds);
	print_message("PSS of the shim: %ld kB, after %d members %ld kB\n", before, n, after);
#if !defined(__SANITIZE_ADDRESS__)
	assert_in_range(after, 1, before + 32);
#endif
	end_sandbox(p->sandbox);
}

static void test_memory(void **state)
{
	Pod *p = *state;
	long alone, with_one, with_two;

	box_create(p->sandbox, "sleep 1000", (Opts){0});
	ok(shim_start(p->sandbox->shim, e));
	alone = rested_pss_kb(p->sandbox->shim_pid);
	box_create(p->a, "echo x; sleep 1000", (Opts){0});
	ok(shim_start(p->a->shim, e));
	with_one = rested_pss_kb(p->sandbox->shim_pid);
	box_create(p->b, "echo x; sleep 1000", (Opts){0});
	ok(shim_start(p->b->shim, e));
	with_two = rested_pss_kb(p->sandbox->shim_pid);
	print_message("PSS of the shim: %ld kB, with a member %ld kB, with two %ld kB\n", alone, with_one,
		      with_two);
#if !defined(__SANITIZE_ADDRESS__)
	assert_in_range(with_two, 1, 300);
#endif
	ok(shim_kill(p->a->shim, NULL, SIGKILL, false, e));
	ok(shim_kill(p->b->shim, NULL, SIGKILL, false, e));
	expect_exit(p->a, 137, SIGKILL);
	expect_exit(p->b, 137, SIGKILL);
	end_sandbox(p->sandbox);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    WITH_POD(test_members),
	    WITH_POD(test_members_are_found_again),
	    WITH_POD(test_end_of_the_sandbox),
	    WITH_POD(test_end_of_a_shared_pid_namespace),
	    WITH_POD(test_end_of_a_member_in_a_shared_pid_namespace),
	    WITH_POD(test_member_that_fails_leaves_nothing),
	    WITH_POD(test_member_is_given_no_network_namespace),
	    WITH_POD(test_undone_members),
	    WITH_POD(test_only_the_sandbox_is_joined),
	    WITH_POD(test_join_needs_a_connection),
	    WITH_POD(test_members_have_a_limit),
	    WITH_POD(test_floods_hold_nobody_up),
	    WITH_POD(test_exec_that_hangs_holds_nobody_up),
	    WITH_POD(test_exec_that_hangs_for_nobody),
	    WITH_POD(test_checkpoint_that_hangs),
	    WITH_POD(test_checkpoint_without_criu),
	    WITH_POD(test_orphans),
	    WITH_POD(test_nothing_grows),
	    WITH_POD(test_memory),
	};
	int failed;

	if (!boxes_are_possible())
		return 77; /* Meson's "skipped" */
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(program);
	return failed;
}
