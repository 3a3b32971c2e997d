/* SPDX-License-Identifier: Apache-2.0 */
/* The resolver between clients that come and go and a server that is this test: who waits for what, and what is left when they leave. */
#include "network/resolver.h"
#include "network/dns-message.h"
#include "network/test-net.h"

#include <sys/mount.h>
#include <sys/resource.h>

#define SERVER  "127.0.0.53"
#define WAIT_MS 5000
#define NET_ID  "0000000000000000000000000000000000000000000000000000000000000001"

typedef struct World {
	Resolver *r;
	int server, stream; /* the host's name server */
	int a, b;           /* namespaces of two clients */
} World;

static int server_socket(int type)
{
	struct sockaddr_in at = test_at(SERVER, 53);
	struct timeval wait = {WAIT_MS / 1000, 0};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void host_file(const char *text)
{
	assert_int_equal(file_replace_at(AT_FDCWD, "/etc/resolv.conf", text, strlen(text), 0644, false), 0);
}

static void client_add(World *w, const char *id, int ns, const char *server)
{
	char *servers[] = {(char *)server, NULL};
	ResolverClient client = {.id = id, .servers = server ? servers : NULL};
	ResolverSockets s;
	Err e = {0};

	ok(resolver_sockets_open(ns, &s, &e));
	ok(resolver_client_add(w->r, &client, &s, &e));
}

static void endpoint_add(World *w, const char *id, const char *name, uint32_t address)
{
	char *names[] = {(char *)name, NULL};
	ResolverEndpoint ep = {.client = id,
			       .network_id = NET_ID,
			       .network_name = "net_1",
			       .address[IP_V4] = ip_v4(address),
			       .names = names};
	Err e = {0};

	ok(resolver_endpoint_add(w->r, &ep, &e));
}

static void world_init(World *w)
{
	Err e = {0};

	test_enter_host();
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/etc", "tmpfs", 0, "size=1m") < 0)
		fail_msg("private /etc: %s", strerror(errno));
	host_file("nameserver " SERVER "\n");
	w->server = server_socket(SOCK_DGRAM);
	w->stream = server_socket(SOCK_STREAM);
	assert_int_equal(listen(w->stream, 8), 0);
	ok(resolver_new(&w->r, &e));
	ok(network_namespace_new(&w->a, &e));
	ok(network_namespace_new(&w->b, &e));
	client_add(w, "a", w->a, NULL);
	client_add(w, "b", w->b, NULL);
	endpoint_add(w, "a", "one", 0xAC110002);
	endpoint_add(w, "b", "two", 0xAC110003);
	ok(resolver_serve(w->r, &e));
}

static void world_done(World *w)
{
	resolver_free(w->r);
	close(w->server);
	close(w->stream);
	close(w->a);
	close(w->b);
}

typedef struct SocketJob {
	int type, fd;
} SocketJob;

static int socket_job(void *arg, Err *e _unused_)
{
	SocketJob *job = arg;
	struct sockaddr_in at = test_at("127.0.0.11", 53);
	struct timeval wait = {WAIT_MS / 1000, 0};

	job->fd = socket(AF_INET, job->type | SOCK_CLOEXEC, 0);
	setsockopt(job->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	return connect(job->fd, (struct sockaddr *)&at, sizeof(at)) < 0 ? -errno : 0;
}

static int client_socket(int ns, int type)
{
	SocketJob job = {type, -1};
	Err e = {0};

	ok(netns_call(ns, socket_job, &job, &e));
	return job.fd;
}

/* A question for an A record; its length. */
static size_t write_question(uint8_t m[DNS_UDP_PLAIN], uint16_t id, const char *name)
{
	static const uint8_t head[] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
	size_t at = sizeof(head), n;

	memcpy(m, head, sizeof(head));
	dns_set_id(m, id);
	for (; *name; name += n + (name[n] == '.')) {
		n = strcspn(name, ".");
		m[at++] = (uint8_t)n;
		memcpy(m + at, name, n);
		at += n;
	}
	memcpy(m + at, "\0\0\1\0\1", 5);
	return at + 5;
}

static void ask(int fd, uint16_t id, const char *name)
{
	uint8_t m[DNS_UDP_PLAIN];
	size_t n = write_question(m, id, name);

	assert_int_equal(send(fd, m, n, 0), n);
}

static void ask_stream(int fd, uint16_t id, const char *name)
{
	uint8_t m[2 + DNS_UDP_PLAIN];
	size_t n = write_question(m + 2, id, name);

	m[0] = 0;
	m[1] = (uint8_t)n;
	assert_int_equal(send(fd, m, n + 2, 0), n + 2);
}

/* The rcode of the answer, or the last byte of its first address with the rcode 0. */
static int heard(int fd, uint16_t id)
{
	uint8_t m[DNS_UDP_PLAIN];
	ssize_t n = recv(fd, m, sizeof(m), 0);

	assert_true(n > DNS_HEADER);
	assert_int_equal(m[0] << 8 | m[1], id);
	return dns_rcode(m) ? -dns_rcode(m) : m[7] ? m[n - 1] : 0;
}

typedef struct Asked {
	uint8_t m[DNS_UDP_PLAIN];
	size_t len;
	struct sockaddr_in from;
} Asked;

static Asked server_hears(const World *w, const char *name)
{
	Asked a = {0};
	socklen_t len = sizeof(a.from);
	ssize_t n = recvfrom(w->server, a.m, sizeof(a.m), 0, (struct sockaddr *)&a.from, &len);
	DnsQuestion q;

	assert_true(n > 0);
	a.len = (size_t)n;
	assert_int_equal(dns_question_parse(a.m, a.len, &q), 0);
	assert_string_equal(q.name, name);
	return a;
}

static void server_says(const World *w, const Asked *asked, uint8_t last)
{
	uint8_t out[DNS_UDP_PLAIN];
	DnsQuestion q;
	DnsAnswer a;
	size_t n;

	assert_int_equal(dns_question_parse(asked->m, asked->len, &q), 0);
	dns_answer_begin(&a, out, sizeof(out), asked->m, &q, DNS_NOERROR, false);
	dns_answer_address(&a, ip_v4(0xC0000200 | last), 60);
	n = dns_answer_end(&a);
	assert_int_equal(sendto(w->server, out, n, 0, (const struct sockaddr *)&asked->from,
				sizeof(asked->from)),
			 n);
}

static void server_hears_nothing(const World *w)
{
	struct pollfd p = {w->server, POLLIN, 0};

	assert_int_equal(poll(&p, 1, 100), 0);
}

static void wait_for(const World *w, unsigned forwards, unsigned connections)
{
	for (int i = 0; i < WAIT_MS; i++) {
		ResolverStats s = resolver_stats(w->r);

		if (s.forwards == forwards && s.connections == connections)
			return;
		usleep(1000);
	}
	fail_msg("still not %u forwards and %u connections", forwards, connections);
}

/* Two wait for one question: the one that asked first goes, and the other one hears the answer. */
static void test_waiters_that_leave(void **state _unused_)
{
	World w;
	Asked asked;

	world_init(&w);
	int a = client_socket(w.a, SOCK_DGRAM), b = client_socket(w.b, SOCK_DGRAM);

	ask(a, 1, "www.example");
	asked = server_hears(&w, "www.example");
	ask(b, 2, "WWW.example");
	wait_for(&w, 2, 0);
	resolver_client_remove(w.r, "a");
	wait_for(&w, 1, 0);
	server_says(&w, &asked, 7);
	assert_int_equal(heard(b, 2), 7);
	wait_for(&w, 0, 0);

	/* The last one goes: nobody is told. */
	ask(b, 3, "gone.example");
	asked = server_hears(&w, "gone.example");
	resolver_client_remove(w.r, "b");
	wait_for(&w, 0, 0);
	server_says(&w, &asked, 8);

	/* Who comes to the same namespace begins anew. */
	client_add(&w, "c", w.b, NULL);
	endpoint_add(&w, "c", "three", 0xAC110004);
	close(b);
	b = client_socket(w.b, SOCK_DGRAM);
	ask(b, 4, "gone.example");
	asked = server_hears(&w, "gone.example");
	server_says(&w, &asked, 9);
	assert_int_equal(heard(b, 4), 9);
	resolver_client_remove(w.r, "c");
	close(a);
	close(b);
	world_done(&w);
}

/* Not only has it nothing more to say, it does not listen any more. */
static void reset(int fd)
{
	struct linger now = {1, 0};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
}

static void test_connections_that_end(void **state _unused_)
{
	World w;

	world_init(&w);
	int a = client_socket(w.a, SOCK_STREAM), b = client_socket(w.b, SOCK_STREAM), server;

	ask_stream(a, 1, "www.example");
	ask_stream(b, 2, "www.example");
	wait_for(&w, 2, 2);
	server = accept(w.stream, NULL, NULL);
	assert_true(server >= 0);
	reset(a); /* the first one; the other one waits on */
	wait_for(&w, 1, 1);
	reset(b);
	wait_for(&w, 0, 0);
	close(server);

	/* A server that ends the connection has failed. */
	a = client_socket(w.a, SOCK_STREAM);
	ask_stream(a, 3, "end.example");
	server = accept(w.stream, NULL, NULL);
	close(server);
	uint8_t m[2 + DNS_UDP_PLAIN];

	assert_true(recv(a, m, sizeof(m), 0) > DNS_HEADER);
	assert_int_equal(m[5] & 15, DNS_SERVFAIL);
	close(a);
	wait_for(&w, 0, 0);
	world_done(&w);
}

static void test_what_a_client_may_ask_at_once(void **state _unused_)
{
	World w;
	Asked asked;
	char name[32];

	world_init(&w);
	int a = client_socket(w.a, SOCK_DGRAM), b = client_socket(w.b, SOCK_DGRAM);

	for (uint16_t i = 0; i < 128; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		ask(a, i, name);
	}
	wait_for(&w, 128, 0);
	ask(a, 200, "more.example");
	assert_int_equal(heard(a, 200), -DNS_REFUSED);
	ask(a, 201, "n1.example"); /* joining counts too */
	assert_int_equal(heard(a, 201), -DNS_REFUSED);
	ask(a, 1, "n1.example"); /* but saying it again does not */
	for (int i = 0; i < 128; i++) {
		snprintf(name, sizeof(name), "n%d.example", i);
		asked = server_hears(&w, name);
		server_says(&w, &asked, 5);
	}
	for (uint16_t i = 0; i < 128; i++)
		assert_int_equal(heard(a, i), 5);
	ask(b, 5, "b.example");
	asked = server_hears(&w, "b.example");
	server_says(&w, &asked, 6);
	assert_int_equal(heard(b, 5), 6);
	close(a);
	close(b);
	world_done(&w);
}

/* So many that nothing is left: who has asked little is still served. */
static void test_floods_of_several(void **state _unused_)
{
	struct rlimit files;
	int ns[9], fd[9];
	char name[32];
	World w;
	Asked asked;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = MIN2(files.rlim_max, (rlim_t)4096);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	world_init(&w);
	for (int i = 0; i < 9; i++) {
		Err e = {0};

		ok(network_namespace_new(&ns[i], &e));
		snprintf(name, sizeof(name), "flood%d", i);
		client_add(&w, name, ns[i], NULL);
		endpoint_add(&w, name, name, 0xAC110200 + (uint32_t)i);
		fd[i] = client_socket(ns[i], SOCK_DGRAM);
		for (uint16_t k = 0; k < 128; k++) {
			snprintf(name, sizeof(name), "n%d-%u.example", i, k);
			ask(fd[i], k, name);
			if (i < 8)
				(void)server_hears(&w, name);
		}
	}
	wait_for(&w, 1024 + 4, 0);
	int a = client_socket(w.a, SOCK_DGRAM);

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "n8-%d.example", i);
		(void)server_hears(&w, name);
	}
	ask(a, 1, "www.example");
	asked = server_hears(&w, "www.example");
	server_says(&w, &asked, 5);
	assert_int_equal(heard(a, 1), 5);
	for (int i = 0; i < 9; i++) {
		close(fd[i]);
		close(ns[i]);
	}
	close(a);
	world_done(&w);
}

/* Whatever a server sends, only its answer ends the wait. */
static void test_noise_of_a_server(void **state _unused_)
{
	World w;
	Asked asked;
	uint8_t junk[600];
	unsigned seed = 1;

	world_init(&w);
	int a = client_socket(w.a, SOCK_DGRAM);

	ask(a, 1, "www.example");
	asked = server_hears(&w, "www.example");
	for (int i = 0; i < 2000; i++) {
		size_t n = (size_t)rand_r(&seed) % sizeof(junk);

		for (size_t k = 0; k < n; k++)
			junk[k] = (uint8_t)rand_r(&seed);
		/* Often with a beginning that is right. */
		if (n > asked.len && i % 2)
			memcpy(junk, asked.m, asked.len);
		if (n > 2)
			junk[0] = (uint8_t)(asked.m[0] + 1);
		(void)sendto(w.server, junk, n, 0, (struct sockaddr *)&asked.from, sizeof(asked.from));
		if (i % 50 == 0)
			usleep(1000);
	}
	/* There may be no room for it behind the noise. */
	struct pollfd p = {a, POLLIN, 0};

	for (int i = 0; i < 40 && poll(&p, 1, 0) == 0; i++) {
		server_says(&w, &asked, 9);
		poll(&p, 1, 50);
	}
	assert_int_equal(heard(a, 1), 9);
	close(a);
	world_done(&w);
}

/* The stub of the host is made anew while somebody asks. On a busy machine that may take too long, so there are several of them. */
static void test_a_server_that_comes_back(void **state _unused_)
{
	bool came_back = false;
	World w;
	Asked asked;

	world_init(&w);
	int a = client_socket(w.a, SOCK_DGRAM);

	close(w.server);
	ask(a, 1, "nobody.example");
	assert_int_equal(heard(a, 1), -DNS_SERVFAIL);
	for (uint16_t i = 2; !came_back && i < 12; i++) {
		char name[32];

		snprintf(name, sizeof(name), "n%u.example", i);
		ask(a, i, name);
		usleep(20000);
		w.server = server_socket(SOCK_DGRAM);

		struct pollfd p = {w.server, POLLIN, 0};

		came_back = poll(&p, 1, 600) == 1;
		if (came_back) {
			asked = server_hears(&w, name);
			server_says(&w, &asked, 4);
		}
		assert_int_equal(heard(a, i), came_back ? 4 : -DNS_SERVFAIL);
		if (!came_back)
			close(w.server);
	}
	assert_true(came_back);
	close(a);
	world_done(&w);
}

/* A host whose servers have IPv6 addresses only, one of them with a zone. */
static void test_servers_with_ipv6(void **state _unused_)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6,
				  .sin6_port = htons(53),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct timeval wait = {WAIT_MS / 1000, 0};
	struct sockaddr_in6 from;
	socklen_t len = sizeof(from);
	uint8_t m[DNS_UDP_PLAIN];
	World w;

	world_init(&w);
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), a = client_socket(w.a, SOCK_DGRAM);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	host_file("nameserver fe80::1%nowhere\nnameserver 192.0.2.1%lo\nnameserver ::1\n");
	ask(a, 1, "www.example");
	ssize_t n = recvfrom(fd, m, sizeof(m), 0, (struct sockaddr *)&from, &len);

	assert_true(n > DNS_HEADER);
	m[2] |= 0x80;
	m[3] |= DNS_NXDOMAIN;
	assert_int_equal(sendto(fd, m, (size_t)n, 0, (struct sockaddr *)&from, len), n);
	assert_int_equal(heard(a, 1), -DNS_NXDOMAIN);
	close(fd);
	close(a);
	world_done(&w);
}

/* Servers of a client's own are asked again from where it is now. */
static void test_kept_until_the_client_moves(void **state _unused_)
{
	World w;
	Asked asked;
	Err e = {0};

	world_init(&w);
	resolver_client_remove(w.r, "a");
	/* In the namespace of the host for once, where the server can be heard. */
	int host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	client_add(&w, "own", host, SERVER);
	endpoint_add(&w, "own", "one", 0xAC110002);
	int a = client_socket(host, SOCK_DGRAM);

	ask(a, 1, "www.example");
	asked = server_hears(&w, "www.example");
	server_says(&w, &asked, 1);
	assert_int_equal(heard(a, 1), 1);
	ask(a, 2, "www.example");
	assert_int_equal(heard(a, 2), 1);
	server_hears_nothing(&w);
	resolver_endpoint_remove(w.r, "own", NET_ID);
	ask(a, 3, "www.example");
	asked = server_hears(&w, "www.example");
	server_says(&w, &asked, 2);
	assert_int_equal(heard(a, 3), 2);
	endpoint_add(&w, "own", "one", 0xAC110002);
	/* One that was asked before the move is answered, and not kept. */
	ask(a, 4, "www.example");
	asked = server_hears(&w, "www.example");
	resolver_endpoint_remove(w.r, "own", NET_ID);
	server_says(&w, &asked, 3);
	assert_int_equal(heard(a, 4), 3);
	ask(a, 5, "www.example");
	asked = server_hears(&w, "www.example");
	server_says(&w, &asked, 4);
	assert_int_equal(heard(a, 5), 4);
	close(a);
	close(host);
	world_done(&w);
	(void)e;
}

/* Names that nobody has any more are bounded, come back, and are told from those of others. */
static void test_names_that_go(void **state _unused_)
{
	World w;
	Asked asked;
	char name[32];

	world_init(&w);
	int b = client_socket(w.b, SOCK_DGRAM);
	unsigned names = resolver_stats(w.r).names;

	for (uint32_t i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "job-%u", i);
		endpoint_add(&w, "a", name, 0xAC110100 + i);
	}
	assert_int_equal(resolver_stats(w.r).names, names);
	ask(b, 1, "job-2999");
	assert_int_equal(heard(b, 1), (0xAC110100 + 2999) & 0xFF);
	ask(b, 2, "job-2998.net_1");
	assert_int_equal(heard(b, 2), -DNS_NXDOMAIN);
	server_hears_nothing(&w);
	ask(b, 3, "job-5"); /* too long ago */
	asked = server_hears(&w, "job-5");
	server_says(&w, &asked, 1);
	assert_int_equal(heard(b, 3), 1);
	endpoint_add(&w, "a", "job-2998", 0xAC110007);
	ask(b, 4, "job-2998");
	assert_int_equal(heard(b, 4), 7);
	close(b);
	world_done(&w);
}

/* Sockets that the rules of a namespace lead to are gone, and somebody in there has the port of one: the rules lead to others then. */
static void test_a_port_that_was_taken_meanwhile(void **state _unused_)
{
	ResolverSockets before;
	World w;
	Err e = {0};
	int ns, asks;

	world_init(&w);
	ok(network_namespace_new(&ns, &e));
	ok(resolver_sockets_open(ns, &before, &e));
	close(before.tcp); /* the other one stands for the container's own */
	client_add(&w, "c", ns, NULL);
	endpoint_add(&w, "c", "three", 0xAC110004);
	asks = client_socket(ns, SOCK_DGRAM);
	ask(asks, 1, "one");
	assert_int_equal(heard(asks, 1), 2);
	close(asks);
	close(before.udp);
	close(ns);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_waiters_that_leave),
	    cmocka_unit_test(test_connections_that_end),
	    cmocka_unit_test(test_what_a_client_may_ask_at_once),
	    cmocka_unit_test(test_floods_of_several),
	    cmocka_unit_test(test_noise_of_a_server),
	    cmocka_unit_test(test_a_server_that_comes_back),
	    cmocka_unit_test(test_servers_with_ipv6),
	    cmocka_unit_test(test_kept_until_the_client_moves),
	    cmocka_unit_test(test_names_that_go),
	    cmocka_unit_test(test_a_port_that_was_taken_meanwhile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
