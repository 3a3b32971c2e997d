/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http-client.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/test.h"

#include <poll.h>

static Httpc *served(const char *answer, int *ret_peer)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	Httpc *c = httpc_new(sv[0]);
	assert_non_null(c);
	assert_int_equal(fd_write_all(sv[1], answer, strlen(answer)), 0);
	*ret_peer = sv[1];
	return c;
}

/* What one GET yields for this answer; the status, or the failure. */
static int get(const char *answer, bool hang_up, char **ret_body)
{
	_cleanup_close_ int peer = -1;
	_cleanup_httpc_ Httpc *c = served(answer, &peer);
	const HttpcResponse *rs;
	Err e = {0};

	if (hang_up)
		assert_int_equal(shutdown(peer, SHUT_WR), 0);
	assert_int_equal(httpc_send(c, &(HttpcRequest){.method = "GET", .target = "/x"}, &e), 0);
	int r = httpc_receive(c, &rs, &e);
	if (r < 0)
		return r;
	int status = rs->status;
	r = httpc_read_all(c, 1000, ret_body, NULL, &e);
	return r < 0 ? r : status;
}

static void test_body(const char *answer, bool hang_up, int status, const char *body)
{
	_cleanup_free_ char *got = NULL;

	assert_int_equal(get(answer, hang_up, &got), status);
	if (body)
		assert_string_equal(got, body);
}

static void bodies(void **state)
{
	test_body("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", false, 200, "abc");
	test_body("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 200, "");
	test_body("HTTP/1.1 204 No Content\r\n\r\n", false, 204, "");
	test_body("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", false, 304, "");
	test_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
		  "chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
		  false, 200, "abc0123456789");
	test_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: 1\r\n\r\n",
		  false, 200, "a");
	test_body("HTTP/1.0 200 OK\r\n\r\nto the end", true, 200, "to the end");
	test_body("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", false,
		  404, "no");
}

static void broken_answers(void **state)
{
	test_body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", true, -ECONNRESET, NULL);
	test_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", true, -ECONNRESET, NULL);
	test_body("", true, -ECONNRESET, NULL);
	test_body("SSH-2.0-x\r\n", false, -EBADMSG, NULL);
	test_body("HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n", false, -EBADMSG, NULL);
	test_body("HTTP/1.1 2x0 OK\r\n\r\n", false, -EBADMSG, NULL);
	test_body("HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", false, -EBADMSG, NULL);
	test_body("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", false, -EBADMSG,
		  NULL);
	test_body("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", false, -EBADMSG, NULL);
	test_body("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", false, -EBADMSG, NULL);
	test_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, -EBADMSG, NULL);
	test_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", false,
		  -EBADMSG, NULL);
	test_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false, -EBADMSG, NULL);
	test_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", false,
		  -EBADMSG, NULL);
	test_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", false, -EBADMSG, NULL);
	test_body("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", true, -ECONNRESET, NULL);
}

static void body_has_a_budget(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_free_ char *body = NULL;

	strbuf_add(&b, "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n");
	for (int i = 0; i < 1001; i++)
		strbuf_add_c(&b, 'x');
	assert_int_equal(get(b.s, false, &body), -EFBIG);
}

static void head_has_a_limit(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	HttpcResponse r = {0};

	strbuf_add(&b, "HTTP/1.1 200 OK\r\nX: ");
	while (b.len < HTTP_HEAD_MAX - 1)
		strbuf_add_c(&b, 'x');
	assert_int_equal(httpc_response_parse(b.s, b.len, &r), 0);
	strbuf_add(&b, "xx\r\n\r\n");
	assert_int_equal(httpc_response_parse(b.s, b.len, &r), -EMSGSIZE);
}

static void headers_are_found(void **state)
{
	const char text[] =
	    "HTTP/1.1 101 UPGRADED\r\nApi-Version:  1.51 \r\nEmpty:\r\nupgrade: tcp\r\n\r\nrest";
	HttpcResponse r = {0};

	assert_int_equal(httpc_response_parse(text, strlen(text), &r), (ssize_t)strlen(text) - 4);
	assert_int_equal(r.status, 101);
	_cleanup_free_ char *version = httpc_response_header(&r, "api-version");
	_cleanup_free_ char *empty = httpc_response_header(&r, "Empty");
	_cleanup_free_ char *upgrade = httpc_response_header(&r, "Upgrade");
	assert_string_equal(version, "1.51");
	assert_string_equal(empty, "");
	assert_string_equal(upgrade, "tcp");
	assert_null(httpc_response_header(&r, "Api"));
	httpc_response_done(&r);
}

static void connection_is_kept(void **state)
{
	_cleanup_close_ int peer = -1;
	_cleanup_httpc_ Httpc *c = served("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &peer);
	HttpcRequest rq = {.method = "POST", .target = "/a?b=c", .body = "{}", .body_len = 2};
	const HttpcResponse *rs;
	_cleanup_free_ char *body = NULL;
	char sent[512] = {0};

	assert_int_equal(httpc_send(c, &rq, NULL), 0);
	assert_false(httpc_is_idle(c));
	assert_int_equal(httpc_receive(c, &rs, NULL), 0);
	assert_int_equal(httpc_read_all(c, 100, &body, NULL, NULL), 0);
	assert_true(httpc_is_idle(c));
	assert_true(read(peer, sent, sizeof(sent) - 1) > 0);
	assert_true(str_starts(sent, "POST /a?b=c HTTP/1.1\r\n"));
	assert_non_null(strstr(sent, "\r\nContent-Length: 2\r\n"));
	assert_true(str_ends(sent, "\r\n\r\n{}"));
	close_fd(&peer);
	assert_false(httpc_is_idle(c));
}

static void requests_carry_no_line_breaks(void **state)
{
	_cleanup_close_ int peer = -1;
	_cleanup_httpc_ Httpc *c = served("", &peer);
	char *headers[] = {"X: a\r\nY: b", NULL};
	char byte;

	assert_true(httpc_send(c, &(HttpcRequest){.method = "GET", .target = "/a b"}, NULL) < 0);
	assert_true(httpc_send(c, &(HttpcRequest){.method = "GET", .target = "/\r\n"}, NULL) < 0);
	assert_true(httpc_send(c, &(HttpcRequest){.method = "GET", .target = "/", .headers = headers}, NULL) <
		    0);
	assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), -1);
}

static void upload_is_chunked(void **state)
{
	_cleanup_close_ int peer = -1;
	_cleanup_httpc_ Httpc *c = served("", &peer);
	HttpcRequest rq = {.method = "PUT", .target = "/", .chunked = true};
	char sent[512] = {0};

	assert_int_equal(httpc_send(c, &rq, NULL), 0);
	assert_int_equal(httpc_write(c, "hello world", 11, NULL), 0);
	assert_int_equal(httpc_write(c, "", 0, NULL), 0);
	assert_int_equal(httpc_finish(c, NULL), 0);
	assert_true(read(peer, sent, sizeof(sent) - 1) > 0);
	assert_non_null(strstr(sent, "Transfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"));
}

static void refusal_stops_the_upload(void **state)
{
	_cleanup_close_ int peer = -1;
	_cleanup_httpc_ Httpc *c = served("HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad", &peer);
	HttpcRequest rq = {.method = "POST", .target = "/build", .chunked = true};
	const HttpcResponse *rs;
	_cleanup_free_ char *body = NULL;

	assert_int_equal(httpc_send(c, &rq, NULL), 0);
	assert_int_equal(httpc_write(c, "x", 1, NULL), 1);
	assert_int_equal(httpc_write(c, "x", 1, NULL), 1);
	assert_int_equal(httpc_finish(c, NULL), 0);
	assert_int_equal(httpc_receive(c, &rs, NULL), 0);
	assert_int_equal(rs->status, 400);
	assert_int_equal(httpc_read_all(c, 100, &body, NULL, NULL), 0);
	assert_string_equal(body, "bad");
	assert_false(httpc_is_idle(c));
}

static void hijack_keeps_what_was_read_ahead(void **state)
{
	_cleanup_close_ int peer = -1;
	_cleanup_httpc_ Httpc *c = served("HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nearly", &peer);
	const HttpcResponse *rs;
	const char *ahead;
	size_t n;
	char more[8] = {0};

	assert_int_equal(httpc_send(c, &(HttpcRequest){.method = "POST", .target = "/", .upgrade = true},
				    NULL),
			 0);
	assert_int_equal(httpc_receive(c, &rs, NULL), 0);
	assert_int_equal(rs->status, 101);
	_cleanup_close_ int fd = httpc_hijack(c, &ahead, &n);
	assert_int_equal(n, 5);
	assert_memory_equal(ahead, "early", 5);
	assert_int_equal(fd_write_all(peer, "late", 4), 0);
	assert_int_equal(read(fd, more, sizeof(more)), 4);
	assert_string_equal(more, "late");
}

static void test_address(const char *s, const char *path, const char *host, const char *port)
{
	HttpcAddress a = {0};

	assert_int_equal(httpc_address_parse(s, &a, NULL), 0);
	assert_string_equal(a.text, s);
	if (path)
		assert_string_equal(a.path, path);
	else
		assert_null(a.path);
	if (host) {
		assert_string_equal(a.host, host);
		assert_string_equal(a.port, port);
	}
	httpc_address_done(&a);
}

static void addresses(void **state)
{
	static const char *const bad[] = {
	    "",          "unix://",       "ssh://host", "tcp://",      "tcp://[::1",
	    "tcp://h:0", "tcp://h:70000", "tcp://h:x",  "tcp://[::1]x"};

	test_address("unix:///run/a b.sock", "/run/a b.sock", NULL, NULL);
	test_address("/run/x.sock", "/run/x.sock", NULL, NULL);
	test_address("tcp://127.0.0.1:99", NULL, "127.0.0.1", "99");
	test_address("tcp://[::1]:99/", NULL, "::1", "99");
	test_address("http://docker", NULL, "docker", "2375");
	test_address("localhost:1", NULL, "localhost", "1");
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		HttpcAddress a = {0};

		assert_true(httpc_address_parse(bad[i], &a, NULL) < 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bodies),
	    cmocka_unit_test(broken_answers),
	    cmocka_unit_test(body_has_a_budget),
	    cmocka_unit_test(head_has_a_limit),
	    cmocka_unit_test(headers_are_found),
	    cmocka_unit_test(connection_is_kept),
	    cmocka_unit_test(requests_carry_no_line_breaks),
	    cmocka_unit_test(upload_is_chunked),
	    cmocka_unit_test(refusal_stops_the_upload),
	    cmocka_unit_test(hijack_keeps_what_was_read_ahead),
	    cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
