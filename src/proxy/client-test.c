/* SPDX-License-Identifier: Apache-2.0 */
/* The client with the real program, which lies beside this test, and with some that are not what they should be. */
#include "proxy/protocol.h"

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "base/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#define OK(call)                                                                                             \
	({                                                                                                   \
		Err _e = {0};                                                                                \
		Err *e = &_e;                                                                                \
		int _r = (call);                                                                             \
		if (_r < 0)                                                                                  \
			fail_msg("%s: %s", #call, err_msg(e, _r));                                           \
		_r;                                                                                          \
	})

static char *program, *dir, *path;
static int watched_fd, times_lost;

static void connected(void *user, int fd)
{
	assert_ptr_equal(user, &times_lost);
	watched_fd = fd;
}

static void lost(void *user)
{
	++*(int *)user;
}

static Proxy *new_client(const char *of)
{
	ProxyOptions o = {of, path, connected, lost, &times_lost};
	Proxy *p;

	OK(proxy_new(&o, &p, e));
	return p;
}

static int setup(void **state _unused_)
{
	char name[] = "/tmp/ireko proxy ö XXXXXX";

	dir = strdup(mkdtemp(name));
	path = strf("%s/proxy.sock", dir);
	watched_fd = -1;
	times_lost = 0;
	return dir && path ? 0 : -1;
}

static int teardown(void **state _unused_)
{
	(void)remove_tree_at(AT_FDCWD, dir);
	free(dir);
	free(path);
	return 0;
}

/* A socket as for a published port. */
static int bound(void)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static ProxyPort port(const char *key)
{
	ProxyPort p = {.target_port = 9, .protocol = PROXY_TCP};

	(void)snprintf(p.key, sizeof(p.key), "%s", key);
	assert_int_equal(inet_pton(AF_INET6, "::ffff:127.0.0.1", &p.target), 1);
	return p;
}

static void add(Proxy *p, const char *key)
{
	ProxyPort info = port(key);
	int fd = bound();

	OK(proxy_add(p, &info, fd, e));
	close(fd);
}

static size_t count(Proxy *p)
{
	_cleanup_free_ ProxyPort *v = NULL;
	size_t n = 99;

	OK(proxy_list(p, &v, &n, e));
	return n;
}

/* Of the process that listens on a connection's other side. */
static pid_t pid_of(int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len), 0);
	return who.pid;
}

static void kill_it(Proxy *p)
{
	struct pollfd hung_up = {.fd = watched_fd};

	assert_int_equal(kill(pid_of(watched_fd), SIGKILL), 0);
	assert_int_equal(poll(&hung_up, 1, 10000), 1);
	assert_true(hung_up.revents & POLLHUP);
	proxy_check(p);
}

static void test_starts_with_the_first_port(void **state _unused_)
{
	Proxy *p = new_client(program);

	assert_int_equal(OK(proxy_find(p, e)), 0);
	OK(proxy_remove(p, "nothing", e));
	assert_int_equal(count(p), 0);
	assert_int_equal(watched_fd, -1); /* nothing was started for that */
	for (int i = 0; i < PROXY_LIST_MAX + 3; i++) {
		_cleanup_free_ char *key = strf("port-%d", i);

		add(p, key);
	}
	assert_int_equal(count(p), PROXY_LIST_MAX + 3);
	assert_true(pid_of(watched_fd) != getpid());
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* it is no child of ours */
	OK(proxy_remove(p, "port-1", e));
	assert_int_equal(count(p), PROXY_LIST_MAX + 2);
	proxy_check(p);
	assert_int_equal(times_lost, 0);
	kill_it(p);
	assert_int_equal(times_lost, 1);
	proxy_free(p);
}

static void test_next_engine_finds_it(void **state _unused_)
{
	Proxy *first = new_client(program), *second;
	_cleanup_free_ ProxyPort *v = NULL;
	size_t n;
	pid_t pid;

	add(first, "one");
	pid = pid_of(watched_fd);
	proxy_free(first);
	second = new_client("/nonexistent");
	assert_int_equal(OK(proxy_find(second, e)), 1);
	assert_int_equal(pid_of(watched_fd), pid);
	OK(proxy_list(second, &v, &n, e));
	assert_int_equal(n, 1);
	assert_string_equal(v[0].key, "one");
	assert_int_equal(v[0].target_port, 9);
	kill_it(second);
	proxy_free(second);
}

static void test_killed_it_is_started_again(void **state _unused_)
{
	Proxy *p = new_client(program);

	add(p, "one");
	kill_it(p);
	assert_int_equal(times_lost, 1);
	add(p, "two");
	assert_int_equal(count(p), 1); /* filling it is up to who was told */
	/* Nobody has looked yet: the request itself finds out. */
	assert_int_equal(kill(pid_of(watched_fd), SIGKILL), 0);
	add(p, "three");
	assert_int_equal(times_lost, 2);
	assert_int_equal(count(p), 1);
	assert_int_equal(kill(pid_of(watched_fd), SIGKILL), 0);
	OK(proxy_remove(p, "three", e));
	assert_int_equal(count(p), 0);
	proxy_free(p);
}

static void refused(const char *of, const char *why)
{
	Proxy *p = new_client(of);
	ProxyPort info = port("one");
	int fd = bound();
	Err e = {0};

	assert_true(proxy_add(p, &info, fd, &e) < 0);
	if (!strstr(e.msg, why))
		fail_msg("\"%s\" is not in \"%s\"", why, e.msg);
	close(fd);
	proxy_free(p);
}

static void test_what_cannot_be_started_is_told(void **state _unused_)
{
	Proxy *p = new_client(program);
	ProxyPort info = port("one");
	Err e = {0};

	refused("/nonexistent/ireko-proxy", "start /nonexistent/ireko-proxy: No such file");
	refused("/bin/false", "it has ended with wait status 256");
	refused("/bin/true", "ireko-proxy has ended as soon as it was there");
	info.target_port = 0;
	assert_true(proxy_add(p, &info, 0, &e) < 0); /* not even asked */
	assert_int_equal(watched_fd, -1);
	info = port("one");
	assert_true(proxy_add(p, &info, STDIN_FILENO, &e) < 0);
	assert_non_null(strstr(e.msg, "is no tcp socket"));
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(kill(pid_of(watched_fd), SIGKILL), 0);
	proxy_free(p);
}

/* In place of the program: answers everything with the same, until it is told to quit. */
typedef struct Impostor {
	int fd;
	const void *answer;
	size_t len;
	pthread_t thread;
	int quits;
} Impostor;

static void *pretend(void *arg)
{
	Impostor *i = arg;
	ProxyRequest q;

	for (;;) {
		_cleanup_close_ int c = accept4(i->fd, NULL, NULL, SOCK_CLOEXEC);

		if (c < 0)
			return NULL;
		while (recv(c, &q, sizeof(q), 0) > 0) {
			if (q.op == PROXY_QUIT) {
				i->quits++;
				close_fd(&i->fd);
				return NULL;
			}
			(void)!send(c, i->answer, i->len, MSG_NOSIGNAL);
		}
	}
}

static void impostor(const void *answer, size_t len)
{
	Impostor i = {-EADDRINUSE, answer, len, 0, 0};
	Proxy *p = new_client(program);

	while (i.fd == -EADDRINUSE) /* the one before is ending */
		i.fd = unix_listen(path, SOCK_SEQPACKET, 0600);
	assert_true(i.fd >= 0);
	assert_int_equal(pthread_create(&i.thread, NULL, pretend, &i), 0);
	/* What makes no sense is ended, and another takes its place. */
	add(p, "one");
	assert_int_equal(pthread_join(i.thread, NULL), 0);
	assert_int_equal(i.quits, 1);
	assert_int_equal(count(p), 1);
	kill_it(p);
	proxy_free(p);
}

static void test_other_versions_and_nonsense_are_replaced(void **state _unused_)
{
	static ProxyReply r;

	r = (ProxyReply){.version = PROXY_VERSION + 1};
	impostor(&r, 8);
	impostor("x", 1);
	r = (ProxyReply){.version = PROXY_VERSION, .n = 7};
	impostor(&r, offsetof(ProxyReply, ports));
	impostor(&r, sizeof(r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_starts_with_the_first_port, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_next_engine_finds_it, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed_it_is_started_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_what_cannot_be_started_is_told, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_other_versions_and_nonsense_are_replaced, setup, teardown),
	};
	_cleanup_free_ char *own = NULL;
	int failed;

	if (path_of_own_dir(&own) < 0)
		return 1;
	program = strf("%s/ireko-proxy", own);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(program);
	return failed;
}
