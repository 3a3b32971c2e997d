/* SPDX-License-Identifier: Apache-2.0 */
/* Single runs: what a plugin is given, and plugins that hang, flood, lie, or leave processes behind. */
#include "cni/test-cni.h"

#include "base/clock.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

static CniRun run_of(const World *w, int timeout_ms)
{
	static char program[200];

	(void)snprintf(program, sizeof(program), "%s/p", w->bin);
	return (CniRun){.command = "ADD",
			.type = "p",
			.program = program,
			.network = "net",
			.subject = "pod a/b",
			.container_id = "id1",
			.netns = "/run/n",
			.ifname = "eth0",
			.args = "A=1",
			.path = "/x:/y",
			.timeout_ms = timeout_ms,
			.alive_fd = -1};
}

static void put_script(const World *w, const char *body)
{
	_cleanup_free_ char *text = must(strf("#!/bin/sh\n%s\n", body));

	put_at(w->bin, "p", text, 0755);
}

static int run(const World *w, int timeout_ms, const char *input, StrBuf *said, Err *e)
{
	CniRun x = run_of(w, timeout_ms);

	return cni_run(&x, input, said, e);
}

static void what_it_is_given(void **state)
{
	World *w = *state;
	_cleanup_strbuf_ StrBuf said = {0};
	_cleanup_free_ char *big = malloc(3 << 20);
	sigset_t all;
	Err e = {0};

	/* What threads of the engine block and ignore is not the plugin's. (Two signals are the C library's own, and posix_spawn ignores them.) */
	sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC); /* what the test itself was started with */
	put_script(w, "tr '\\0' '\\n' </proc/$$/environ | grep -v '^PWD\\|^PATH\\|^IREKO_CNI_RUN'; ls -l "
		      "/proc/self/fd | grep -c ' [0-9]* -> '; grep 'SigBlk\\|SigIgn' "
		      "/proc/self/status | sed 's/0000000180000000$/0000000000000000/'; pwd; echo $(($(cat "
		      "/proc/$$/stat | cut -d' ' -f6) == $$)); cat");
	ok(run(w, 5000, "{}", &said, &e));
	assert_string_equal(said.s, "CNI_COMMAND=ADD\nCNI_CONTAINERID=id1\nCNI_NETNS=/run/"
				    "n\nCNI_IFNAME=eth0\nCNI_ARGS=A=1\nCNI_PATH=/x:/y\nGOMAXPROCS=1\n"
				    "4\n" /* three and the directory that is listed */
				    "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n/\n1\n{}");
	(void)pthread_sigmask(SIG_UNBLOCK, &all, NULL);
	/* More than a pipe takes, and a program that does not read it. */
	assert_non_null(big);
	memset(big, ' ', (3 << 20) - 1);
	big[(3 << 20) - 1] = '\0';
	strbuf_done(&said);
	put_script(w, "echo ok");
	ok(run(w, 5000, big, &said, &e));
	strbuf_done(&said);
	put_script(w, "wc -c");
	ok(run(w, 5000, big, &said, &e));
	assert_string_equal(said.s, "3145727\n");
}

static void how_it_fails(void **state)
{
	static const struct {
		const char *body, *error;
		ErrKind kind;
	} all[] = {
	    {"exit 7",
	     "CNI plugin p of network net: ADD for pod a/b: it ended with status 7 and said nothing",
	     ERR_INTERNAL},
	    {"echo 'what a\nmess' >&2; exit 1", "it ended with status 1: what a mess", ERR_INTERNAL},
	    {"echo out; exit 1", "it ended with status 1: out", ERR_INTERNAL},
	    {"kill -11 $$", "it was killed by signal 11", ERR_INTERNAL},
	    {"echo '{\"code\":11,\"msg\":\"later\"}'; exit 1", "later (code 11)", ERR_UNAVAILABLE},
	    {"echo '{\"code\":7,\"msg\":\"bad \\u001b[2J\",\"details\":\"x\"}'; exit 1",
	     "bad  [2J: x (code 7)", ERR_INTERNAL},
	    {"echo '{\"code\":7}'; exit 1", "it failed without a message (code 7)", ERR_INTERNAL},
	    {"printf '{\"msg\":\"\\377\"}'; exit 1", "it ended with status 1: {\"msg\":\"\xEF\xBF\xBD\"}",
	     ERR_INTERNAL},
	    {"head -c 3000000 /dev/zero >&2; echo '{\"msg\":\"m\"}'; exit 1", "m (code 0)", ERR_INTERNAL},
	};
	World *w = *state;

	for (size_t i = 0; i < ELEMENTSOF(all); i++) {
		_cleanup_strbuf_ StrBuf said = {0};
		Err e = {0};

		put_script(w, all[i].body);
		fails(run(w, 20000, "{}", &said, &e), all[i].kind, all[i].error);
	}
	put_at(w->bin, "p", "no program", 0755);
	_cleanup_strbuf_ StrBuf said = {0};
	Err e = {0};
	fails(run(w, 20000, "{}", &said, &e), ERR_INTERNAL, "Exec format error");
}

static pid_t pid_in(const World *w, const char *name)
{
	_cleanup_free_ char *path = must(strf("%s/%s", w->root, name)), *text = NULL;
	int pid;

	for (int i = 0; i < 500; i++) {
		if (file_read_at(AT_FDCWD, path, 100, &text, NULL) >= 0 && text[0]) {
			text[strcspn(text, "\n")] = '\0';
			assert_int_equal(str_to_int(text, 2, INT32_MAX, &pid), 0);
			return pid;
		}
		free(take_ptr(text));
		(void)poll(NULL, 0, 10);
	}
	fail_msg("%s never came", path);
	return -1;
}

/* Gone, or a zombie that init has not looked at yet. */
static bool is_gone(pid_t pid)
{
	for (int i = 0; i < 500; i++) {
		_cleanup_free_ char *path = must(strf("/proc/%d/stat", (int)pid)), *text = NULL;
		const char *end;

		if (file_read_at(AT_FDCWD, path, 4096, &text, NULL) < 0 ||
		    ((end = strrchr(text, ')')) && strchr("ZX", end[2])))
			return true;
		(void)poll(NULL, 0, 10);
	}
	return false;
}

/* One child in its process group, one that has left it and its parent, as daemons do. */
static char *with_children(const World *w, const char *then)
{
	return must(strf("cd '%s'; sleep 1000 & echo $! >near; setsid sh -c 'sleep 1000 & echo $! >far.new; "
			 "mv far.new far' ; %s",
			 w->root, then));
}

static void one_that_hangs(void **state)
{
	World *w = *state;
	_cleanup_free_ char *body = with_children(w, "echo something; sleep 1000");
	_cleanup_strbuf_ StrBuf said = {0};
	int64_t began = clock_mono_ns();
	Err e = {0};

	put_script(w, body);
	fails(run(w, 1000, "{}", &said, &e), ERR_UNAVAILABLE, "it did not end within 1 s and was killed");
	assert_true(clock_mono_ns() - began < 20 * INT64_C(1000000000));
	assert_true(is_gone(pid_in(w, "near")));
	assert_true(is_gone(pid_in(w, "far")));
}

/* Whether anybody works in the world's directory, as all children of with_children() do. */
static bool has_process_in(const World *w)
{
	_cleanup_dir_ DIR *d = opendir("/proc");
	struct dirent *de;
	bool found = false;

	while ((de = readdir(d))) {
		_cleanup_free_ char *path = must(strf("/proc/%s/cwd", de->d_name));
		char to[300];
		ssize_t n = readlink(path, to, sizeof(to) - 1);

		to[n > 0 ? n : 0] = '\0';
		found = found || streq(to, w->root);
	}
	return found;
}

/* Whenever that is: before it has begun to start others, or in the middle of it. */
static void nobody_waits(void **state)
{
	World *w = *state;
	_cleanup_free_ char *body = with_children(w, "sleep 1000");
	_cleanup_strbuf_ StrBuf said = {0};
	_cleanup_close_ int alive = -1;
	CniRun x = run_of(w, 60000);
	int fds[2];
	Err e = {0};

	put_script(w, body);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	alive = fds[0];
	x.alive_fd = alive;
	(void)close(fds[1]);
	fails(cni_run(&x, "{}", &said, &e), ERR_CANCELLED, "nobody waits");
	assert_false(has_process_in(w));
}

static void a_flood(void **state)
{
	World *w = *state;
	_cleanup_free_ char *body = with_children(w, "exec cat /dev/zero");
	_cleanup_strbuf_ StrBuf said = {0};
	Err e = {0};

	put_script(w, body);
	fails(run(w, 60000, "{}", &said, &e), ERR_INVALID, "answered with more than");
	assert_true(said.len <= CNI_OUTPUT_MAX);
	assert_true(is_gone(pid_in(w, "near")));
	assert_true(is_gone(pid_in(w, "far")));
}

/* It has ended, so it is not waited for whoever holds its output; a service that it has started stays. */
static void children_that_stay(void **state)
{
	World *w = *state;
	_cleanup_free_ char *body = with_children(w, "echo done");
	_cleanup_strbuf_ StrBuf said = {0};
	Err e = {0};
	pid_t far;

	put_script(w, body);
	ok(run(w, 60000, "{}", &said, &e));
	assert_string_equal(said.s, "done\n");
	assert_true(is_gone(pid_in(w, "near")));
	far = pid_in(w, "far");
	assert_int_equal(kill(far, 0), 0);
	assert_int_equal(kill(far, SIGKILL), 0);
}

static void no_descriptor_stays(void **state)
{
	World *w = *state;
	int before = dup(0), after;
	Err e = {0};

	(void)close(before);
	put_script(w, "exit 1");
	for (int i = 0; i < 20; i++) {
		_cleanup_strbuf_ StrBuf said = {0};

		assert_true(run(w, 5000, "{}", &said, &e) < 0);
	}
	after = dup(0);
	(void)close(after);
	assert_int_equal(before, after);
}

/* A program that is being written cannot be executed, and a moment later it can. */
static void one_that_is_being_replaced(void **state)
{
	World *w = *state;
	_cleanup_strbuf_ StrBuf said = {0};
	_cleanup_free_ char *path = must(strf("%s/p", w->bin));
	pid_t child;
	int fd;
	Err e = {0};

	_cleanup_free_ char *copy = NULL;
	size_t len = 0;
	assert_int_equal(file_read_at(AT_FDCWD, "/bin/cat", 10 << 20, &copy, &len), 0);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_true(fd >= 0 && fd_write_all(fd, copy, len) >= 0);
	child = fork();
	if (child == 0) {
		(void)poll(NULL, 0, 100);
		_exit(0);
	}
	(void)close(fd); /* the child has it for a moment */
	ok(run(w, 5000, "{\"a\":1}", &said, &e));
	assert_string_equal(said.s, "{\"a\":1}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    in_world(what_it_is_given),
	    in_world(how_it_fails),
	    in_world(one_that_hangs),
	    in_world(nobody_waits),
	    in_world(a_flood),
	    in_world(children_that_stay),
	    in_world(no_descriptor_stays),
	    in_world(one_that_is_being_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
