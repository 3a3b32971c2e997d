/* SPDX-License-Identifier: Apache-2.0 */
/* Reserving host ports: whoever has one already is found out and named, and a failure keeps nothing. */
#include "network/test-net.h"

static int bound(int family, bool udp, uint16_t port)
{
	struct sockaddr_in6 at6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in at4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	int on = 1, fd = socket(family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	int r = family == AF_INET6 ? bind(fd, (struct sockaddr *)&at6, sizeof(at6))
				   : bind(fd, (struct sockaddr *)&at4, sizeof(at4));
	if (r == 0 && !udp)
		r = listen(fd, 1);
	if (r == 0)
		return fd;
	close(fd);
	return -1;
}

static void assert_taken(int family, bool udp, IpAddress at)
{
	NetworkPort p[2] = {{TCP, .host_port = 8081},
			    {udp ? IPPROTO_UDP : IPPROTO_TCP, .host_port = 8080, .host_address = at}};
	char who[64];
	int holder = bound(family, udp, 8080), fds[2] = {-1, -1};
	Err e = {0};

	assert_true(holder >= 0);
	assert_true(network_ports_reserve(p, 2, fds, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "port is already allocated"));
	snprintf(who, sizeof(who), "port 8080/%s is already in use by ", udp ? "udp" : "tcp");
	assert_non_null(strstr(e.msg, who));
	snprintf(who, sizeof(who), "(pid %d)", getpid());
	assert_non_null(strstr(e.msg, who));
	assert_int_equal(fds[0], -1); /* all or nothing: 8081 is free again */
	close(holder);
	holder = bound(AF_INET, false, 8081);
	assert_true(holder >= 0);
	close(holder);
}

static void test_conflicts(void **state _unused_)
{
	test_enter_host();
	assert_taken(AF_INET, false, IP_V4_ANY);
	assert_taken(AF_INET, true, IP_V4_ANY);
	assert_taken(AF_INET6, false, IP_V4_ANY); /* a dual-stack server has the IPv4 port too */
	assert_taken(AF_INET6, true, IP_V4_ANY);
	assert_taken(AF_INET, false, ip("127.0.0.1")); /* every address includes this one */
}

static void test_reserved_is_reserved(void **state _unused_)
{
	NetworkPort p[3] = {{TCP, .host_port = 8080}, {UDP, .host_port = 8080}, {TCP, .host_port = 8081}};
	NetworkPort again = {TCP, .host_port = 8080};
	int fds[3], other;
	Err e = {0};

	test_enter_host();
	p[2].host_address = ip("127.0.0.1");
	ok(network_ports_reserve(p, 3, fds, &e));
	assert_int_equal(bound(AF_INET, false, 8080), -1);
	assert_int_equal(bound(AF_INET, true, 8080), -1);
	assert_int_equal(bound(AF_INET, false, 8081), -1);
	assert_true(network_ports_reserve(&again, 1, &other, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	for (size_t i = 0; i < 3; i++) {
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		close(fds[i]);
	}
	ok(network_ports_reserve(&again, 1, &other, &e));
	close(other);
}

static void test_any_port(void **state _unused_)
{
	NetworkPort p[4] = {{TCP}, {TCP}, {UDP}, {UDP}};
	int fds[4];
	Err e = {0};

	test_enter_host();
	ok(network_ports_reserve(p, 4, fds, &e));
	for (size_t i = 0; i < 4; i++)
		assert_true(p[i].host_port >= 1024);
	assert_true(p[0].host_port != p[1].host_port);
	assert_true(p[2].host_port != p[3].host_port);
	for (size_t i = 0; i < 4; i++)
		close(fds[i]);
}

/* The verdict of a reservation without one: whoever wants the port meanwhile gets it. */
static void test_probe(void **state _unused_)
{
	NetworkPort p[] = {{TCP, .host_port = 8080}, {UDP, .host_port = 8080}};
	Err e = {0};
	int fd;

	test_enter_host();
	for (size_t i = 0; i < 2; i++) {
		ok(network_port_probe(&p[i], &e));
		fd = bound(AF_INET, i == 1, 8080);
		assert_true(fd >= 0);
		assert_true(network_port_probe(&p[i], &e) < 0);
		assert_int_equal(e.kind, ERR_CONFLICT);
		assert_non_null(strstr(e.msg, "port is already allocated"));
		close(fd);
		ok(network_ports_reserve(&p[i], 1, &fd, &e));
		assert_true(network_port_probe(&p[i], &e) < 0);
		close(fd);
	}
	p[0].host_address = ip("203.0.113.7");
	assert_true(network_port_probe(&p[0], &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
}

static void test_foreign_address(void **state _unused_)
{
	NetworkPort p = {TCP, .host_port = 8080};
	int fd = -1;
	Err e = {0};

	test_enter_host();
	p.host_address = ip("203.0.113.7");
	assert_true(network_ports_reserve(&p, 1, &fd, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_non_null(strstr(e.msg, "the host has no such address"));
}

/* A server that has just ended leaves connections in TIME_WAIT; its port is free all the same. */
static void test_time_wait_is_no_conflict(void **state _unused_)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080)};
	NetworkPort p = {TCP, .host_port = 8080};
	int server, client, fd;
	char c;
	Err e = {0};

	test_enter_host();
	server = bound(AF_INET, false, 8080);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
	fd = accept(server, NULL, NULL);
	close(fd); /* the server ends first, so TIME_WAIT is on its side */
	assert_int_equal(read(client, &c, 1), 0);
	close(client);
	close(server);
	ok(network_ports_reserve(&p, 1, &fd, &e));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_conflicts),       cmocka_unit_test(test_reserved_is_reserved),
	    cmocka_unit_test(test_any_port),        cmocka_unit_test(test_probe),
	    cmocka_unit_test(test_foreign_address), cmocka_unit_test(test_time_wait_is_no_conflict),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
