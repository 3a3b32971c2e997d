/* SPDX-License-Identifier: Apache-2.0 */
/* What is a request and what is none. */
#include "proxy/protocol.h"

#include "base/test.h"

#include <arpa/inet.h>

static ProxyRequest good(ProxyOp op)
{
	ProxyRequest q = {.version = PROXY_VERSION, .op = op};

	(void)snprintf(q.port.key, sizeof(q.port.key), "c0ffee/tcp/[::]:8080");
	(void)inet_pton(AF_INET6, "::ffff:172.17.0.2", &q.port.target);
	q.port.target_port = 80;
	q.port.protocol = PROXY_TCP;
	return q;
}

static void refused(ProxyRequest q, size_t len, size_t n_fds, const char *why)
{
	ProxyRequest out = {.op = 77};
	Err e = {0};

	assert_true(proxy_request_parse(&q, len, n_fds, &out, &e) < 0);
	if (!strstr(e.msg, why))
		fail_msg("\"%s\" is not in \"%s\"", why, e.msg);
	assert_int_equal(out.op, 77); /* untouched */
}

static void test_good(void **state _unused_)
{
	ProxyRequest q = good(PROXY_ADD), out;

	assert_int_equal(proxy_request_parse(&q, sizeof(q), 1, &out, NULL), 0);
	assert_string_equal(out.port.key, "c0ffee/tcp/[::]:8080");
	q = good(PROXY_REMOVE);
	q.port.target_port = 0; /* the key is enough */
	assert_int_equal(proxy_request_parse(&q, sizeof(q), 0, &out, NULL), 0);
	q = (ProxyRequest){.version = PROXY_VERSION, .op = PROXY_LIST};
	assert_int_equal(proxy_request_parse(&q, sizeof(q), 0, &out, NULL), 0);
	q = (ProxyRequest){.version = 99, .op = PROXY_QUIT}; /* of any version and length */
	assert_int_equal(proxy_request_parse(&q, 8, 0, &out, NULL), 0);
	assert_int_equal(out.op, PROXY_QUIT);
}

static void test_bad(void **state _unused_)
{
	ProxyRequest q = good(PROXY_ADD);

	refused(q, 7, 1, "7 bytes");
	refused(q, sizeof(q) - 1, 1, "bytes is none");
	refused(q, sizeof(q), 0, "0 descriptors");
	refused(good(PROXY_REMOVE), sizeof(q), 1, "1 descriptors");
	refused(good(PROXY_LIST), sizeof(q), 1, "1 descriptors");
	refused(good(PROXY_OP_MAX), sizeof(q), 0, "no request 4");
	q.version++;
	refused(q, sizeof(q), 1, "version 2");
	q = good(PROXY_ADD);
	memset(q.port.key, 'x', sizeof(q.port.key));
	refused(q, sizeof(q), 1, "1 to 127 characters");
	(void)snprintf(q.port.key, sizeof(q.port.key), "a b");
	refused(q, sizeof(q), 1, "without blanks");
	q.port.key[0] = '\0';
	refused(q, sizeof(q), 1, "1 to 127 characters");
	q = good(PROXY_ADD);
	q.port.protocol = 3;
	refused(q, sizeof(q), 1, "only tcp and udp");
	q = good(PROXY_ADD);
	q.port.target_port = 0;
	refused(q, sizeof(q), 1, "has no port");
}

static void test_targets(void **state _unused_)
{
	static const char *const nobody[] = {"::", "ff02::1", "::ffff:0.0.0.0", "::ffff:224.0.0.1",
					     "::ffff:255.255.255.255"};

	for (size_t i = 0; i < ELEMENTSOF(nobody); i++) {
		ProxyRequest q = good(PROXY_ADD);

		assert_int_equal(inet_pton(AF_INET6, nobody[i], &q.port.target), 1);
		refused(q, sizeof(q), 1, "nobody can be reached");
	}
}

static void test_answers(void **state _unused_)
{
	static ProxyReply r;
	Err e = {0};

	r = (ProxyReply){.version = PROXY_VERSION, .n = 1};
	r.ports[0] = good(PROXY_ADD).port;
	assert_int_equal(proxy_reply_check(&r, proxy_reply_size(&r), &e), 0);
	assert_int_equal(proxy_reply_check(&r, proxy_reply_size(&r) - 1, &e), -EPROTO);
	r.ports[0].target_port = 0;
	assert_int_equal(proxy_reply_check(&r, proxy_reply_size(&r), &e), -EPROTO);
	r = (ProxyReply){.version = PROXY_VERSION, .n = PROXY_LIST_MAX + 1};
	assert_int_equal(proxy_reply_check(&r, sizeof(r), &e), -EPROTO);
	r = (ProxyReply){.version = PROXY_VERSION};
	memset(r.error, 'x', sizeof(r.error));
	assert_int_equal(proxy_reply_check(&r, proxy_reply_size(&r), &e), -EPROTO);
	r = (ProxyReply){.version = 2};
	assert_true(proxy_reply_check(&r, 8, &e) < 0);
	assert_int_equal(e.kind, ERR_UNSUPPORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_bad),
	    cmocka_unit_test(test_targets),
	    cmocka_unit_test(test_answers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
