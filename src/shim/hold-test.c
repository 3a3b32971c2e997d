/* SPDX-License-Identifier: Apache-2.0 */
/* What a shim holds, changed while it serves: sockets come, and go by name; and what is said of a shim that does not know the request. */
#include "shim/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

static int bound(int family, int type, const char *address, uint16_t port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	int on = 1, fd = socket(family, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (family == AF_INET6) {
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
		assert_int_equal(inet_pton(family, address, &six.sin6_addr), 1);
		assert_int_equal(bind(fd, (struct sockaddr *)&six, sizeof(six)), 0);
	} else {
		assert_int_equal(inet_pton(family, address, &four.sin_addr), 1);
		assert_int_equal(bind(fd, (struct sockaddr *)&four, sizeof(four)), 0);
	}
	return fd;
}

static json_t *name(int protocol, const char *address, int port)
{
	return json_pack("{s:i, s:s, s:i}", "protocol", protocol, "address", address, "port", port);
}

/* Takes over the list. */
static int change(Server *s, const int *fds, size_t n, json_t *release, Err *e)
{
	ShimMsg m = {.type = SHIM_MSG_PORTS, .doc = json_pack("{s:o}", "release", release), .n_fds = n};
	int r;

	if (n > 0)
		memcpy(m.fds, fds, n * sizeof(int));
	r = hold_change(s, &m, e);
	shim_msg_done(&m);
	return r;
}

static bool is_held(const Server *s, int fd)
{
	for (size_t i = 0; i < s->n_hold; i++)
		if (s->hold[i] == fd)
			return fcntl(fd, F_GETFD) >= 0;
	return false;
}

/* A network of its own for each test: all ports are free. */
static int own_network(void **state)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	*state = calloc(1, sizeof(Server));
	return 0;
}

static int done(void **state)
{
	Server *s = *state;

	hold_close(&s->hold, &s->n_hold);
	free(s);
	return 0;
}

static void test_come_and_go(void **state)
{
	Server *s = *state;
	int fds[] = {bound(AF_INET, SOCK_STREAM, "0.0.0.0", 8080), bound(AF_INET6, SOCK_STREAM, "::", 8080),
		     bound(AF_INET, SOCK_DGRAM, "0.0.0.0", 8080)};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	Err e = {0};

	assert_int_equal(change(s, fds, 3, json_array(), &e), 0);
	assert_int_equal(change(s, &null, 1, json_array(), &e), 0);
	assert_int_equal(s->n_hold, 4);
	assert_int_equal(change(s, NULL, 0, json_pack("[o]", name(IPPROTO_TCP, "0.0.0.0", 8080)), &e), 0);
	assert_false(is_held(s, fds[0]));
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	assert_true(is_held(s, fds[1]) && is_held(s, fds[2]) && is_held(s, null));
	assert_int_equal(change(s, NULL, 0,
				json_pack("[o, o, o]", name(IPPROTO_TCP, "::", 8080),
					  name(IPPROTO_UDP, "127.0.0.1", 8080),
					  name(IPPROTO_TCP, "0.0.0.0", 8080)),
				&e),
			 0);
	assert_int_equal(s->n_hold, 2);
	assert_true(is_held(s, fds[2]) && is_held(s, null));
	/* It is free for others at once. */
	close(bound(AF_INET, SOCK_STREAM, "0.0.0.0", 8080));
}

static void test_others_namespace_is_not_meant(void **state)
{
	Server *s = *state;
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), theirs, ours;
	Err e = {0};

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	theirs = bound(AF_INET, SOCK_DGRAM, "0.0.0.0", 5353);
	assert_int_equal(setns(here, CLONE_NEWNET), 0);
	close(here);
	ours = bound(AF_INET, SOCK_DGRAM, "0.0.0.0", 5353);
	assert_int_equal(change(s, (int[]){theirs, ours}, 2, json_array(), &e), 0);
	assert_int_equal(change(s, NULL, 0, json_pack("[o]", name(IPPROTO_UDP, "0.0.0.0", 5353)), &e), 0);
	assert_true(is_held(s, theirs));
	assert_int_equal(s->n_hold, 1);
}

static void test_nonsense_changes_nothing(void **state)
{
	Server *s = *state;
	int fd = bound(AF_INET, SOCK_STREAM, "0.0.0.0", 8080), more;
	Err e = {0};
	json_t *bad[] = {name(0, "0.0.0.0", 8080),
			 name(IPPROTO_TCP, "0.0.0", 8080),
			 name(IPPROTO_TCP, ":::", 8080),
			 name(IPPROTO_TCP, "0.0.0.0", 0),
			 name(IPPROTO_TCP, "0.0.0.0", 65536),
			 json_integer(7)};

	assert_int_equal(change(s, &fd, 1, json_array(), &e), 0);
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		more = open("/dev/null", O_RDONLY | O_CLOEXEC);
		assert_int_equal(change(s, &more, 1,
					json_pack("[o, o]", name(IPPROTO_TCP, "0.0.0.0", 8080), bad[i]), &e),
				 -EINVAL);
		assert_int_equal(fcntl(more, F_GETFD), -1);
		assert_int_equal(s->n_hold, 1);
	}
	json_t *many = json_array();
	for (size_t i = 0; i <= SHIM_RELEASE_MAX; i++)
		json_array_append_new(many, name(IPPROTO_TCP, "0.0.0.0", 8080));
	assert_int_equal(change(s, NULL, 0, many, &e), -EINVAL);
	assert_true(is_held(s, fd));
}

/* ---- a shim of before */

/* Knows INFO; hangs up when it is asked for anything else. */
static void serve_as_before(int listener)
{
	int fd = accept(listener, NULL, NULL);
	char buf[SHIM_INLINE_MAX];
	ShimMsg m = {0}, reply = {.type = SHIM_MSG_OK};

	if (shim_msg_recv(fd, buf, &m, NULL) == 1 && m.type == SHIM_MSG_INFO) {
		reply.seq = m.seq;
		reply.doc = json_pack("{s:i, s:i}", "shim_pid", 1, "pid", 1);
		(void)!shim_msg_send(fd, &reply, NULL);
		(void)!shim_msg_recv(fd, buf, &m, NULL);
	}
	_exit(0);
}

static void test_of_an_older_version(void **state _unused_)
{
	char dir[] = "/tmp/irk-hold-XXXXXX", path[64];
	int listener, lock, status, null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	Err e = {0};

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/" SHIM_SOCKET_NAME, dir);
	listener = unix_listen(path, SOCK_SEQPACKET, 0600);
	assert_true(listener >= 0);
	snprintf(path, sizeof(path), "%s/" SHIM_EXIT_RESERVED, dir);
	lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	pid_t pid = fork();
	if (pid == 0)
		serve_as_before(listener);
	assert_true(shim_ports(dir, &null, 1, NULL, 0, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "of an older version"));
	assert_non_null(strstr(e.msg, "restart the container"));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(listener);
	close(lock);
	close(null);
	unlink(path);
	snprintf(path, sizeof(path), "%s/" SHIM_SOCKET_NAME, dir);
	unlink(path);
	rmdir(dir);
}

#define IN_OWN_NETWORK(t) cmocka_unit_test_setup_teardown(t, own_network, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_OWN_NETWORK(test_come_and_go),
	    IN_OWN_NETWORK(test_others_namespace_is_not_meant),
	    IN_OWN_NETWORK(test_nonsense_changes_nothing),
	    cmocka_unit_test(test_of_an_older_version),
	};

	if (geteuid() != 0) {
		(void)puts("skipped: needs root");
		return 77; /* Meson's "skipped" */
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
