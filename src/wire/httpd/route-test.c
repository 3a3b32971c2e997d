/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "wire/httpd/httpd-internal.h"

static int match(const char *pattern, const char *path, HttpRequest *rq)
{
	http_params_free(rq);
	return http_route_match(pattern, path, rq->params, &rq->n_params);
}

static void patterns(void **state)
{
	HttpRequest rq = {0};

	assert_int_equal(match("/info", "/info", &rq), 1);
	assert_int_equal(match("/info", "/info/", &rq), 0);
	assert_int_equal(match("/info", "/inf", &rq), 0);
	assert_int_equal(match("/containers/{id}/json", "/containers/ab%20c/json", &rq), 1);
	assert_string_equal(http_param(&rq, "id"), "ab c");
	assert_string_equal(http_param(&rq, "i"), "");
	assert_int_equal(match("/containers/{id}/json", "/containers/a/b/json", &rq), 0);
	assert_int_equal(match("/containers/{id}/json", "/containers//json", &rq), 0);
	assert_int_equal(match("/containers/{id}", "/containers/x%2Fy", &rq), 1);
	assert_string_equal(http_param(&rq, "id"), "x/y");
	http_params_free(&rq);
}

static void greedy(void **state)
{
	HttpRequest rq = {0};

	assert_int_equal(match("/images/{name:*}/json", "/images/localhost:5000/a/json/b:1/json", &rq), 1);
	assert_string_equal(http_param(&rq, "name"), "localhost:5000/a/json/b:1");
	assert_int_equal(match("/images/{name:*}", "/images/a/b", &rq), 1);
	assert_string_equal(http_param(&rq, "name"), "a/b");
	assert_int_equal(match("/images/{name:*}/json", "/images/json", &rq), 0);
	assert_int_equal(match("/a/{x}/b/{y}", "/a/1/b/2", &rq), 1);
	assert_string_equal(http_param(&rq, "x"), "1");
	assert_string_equal(http_param(&rq, "y"), "2");
	http_params_free(&rq);
}

static void bad_escapes(void **state)
{
	HttpRequest rq = {0};

	assert_int_equal(match("/c/{id}", "/c/a%00b", &rq), -EINVAL);
	assert_int_equal(match("/c/{id}", "/c/a%2", &rq), -EINVAL);
	assert_int_equal(match("/c/{id}", "/c/a%zz", &rq), -EINVAL);
	assert_int_equal(rq.n_params, 0);
}

static int parse(HttpRequest *rq, const char *text, int *status)
{
	size_t len = strlen(text);
	Err e;

	memset(rq, 0, sizeof(*rq));
	rq->head = strdup(text);
	return http_parse_head(rq, rq->head, len, status, &e);
}

static void parse_free(HttpRequest *rq)
{
	free(rq->head);
	free(rq->query);
}

static void query(void **state)
{
	HttpRequest rq;
	int status;
	int64_t n = 7;
	Err e;

	assert_int_equal(parse(&rq, "GET /x?a=1&b=%2f+c&a=2&flag&no=FALSE&t=zz HTTP/1.1\r\nHost: d", &status),
			 0);
	assert_string_equal(http_query(&rq, "a"), "1");
	assert_string_equal(http_query_nth(&rq, "a", 1), "2");
	assert_null(http_query_nth(&rq, "a", 2));
	assert_string_equal(http_query(&rq, "b"), "/ c");
	assert_false(http_query_bool(&rq, "flag", true));
	assert_false(http_query_bool(&rq, "no", true));
	assert_true(http_query_bool(&rq, "a", false));
	assert_true(http_query_bool(&rq, "missing", true));
	assert_int_equal(http_query_int(&rq, "a", &n, &e), 0);
	assert_int_equal(n, 1);
	assert_true(http_query_int(&rq, "t", &n, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	parse_free(&rq);
}

static void documents(void **state)
{
	HttpRequest rq;
	json_t *doc;
	int status;
	Err e;

	assert_int_equal(parse(&rq, "GET /x?a=%5B1%5D&b=null&c=&d=%5B1 HTTP/1.1\r\nHost: d", &status), 0);
	assert_int_equal(http_query_json(&rq, "a", &doc, &e), 0);
	assert_int_equal(json_integer_value(json_array_get(doc, 0)), 1);
	json_decref(doc);
	for (const char *const *name = (const char *const[]){"b", "c", "missing", NULL}; *name; name++) {
		assert_int_equal(http_query_json(&rq, *name, &doc, &e), 0);
		assert_null(doc);
	}
	assert_true(http_query_json(&rq, "d", &doc, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	parse_free(&rq);
}

static bool is_wanted(const HttpRequest *rq, void *user)
{
	return streq0(http_query(rq, "who"), user);
}

static void routes_that_are_not_wanted(void **state)
{
	static const HttpRoute table[] = {{.method = "GET", .pattern = "/x/{id}", .wanted = is_wanted},
					  {.method = "GET", .pattern = "/x/{name}"},
					  {0}};
	static const char *const heads[] = {"GET /x/1?who=me HTTP/1.1\r\nHost: d",
					    "GET /x/1 HTTP/1.1\r\nHost: d"};
	HttpRequest rq;
	int status, error;

	for (size_t i = 0; i < ELEMENTSOF(heads); i++) {
		memset(&rq, 0, sizeof(rq));
		assert_int_equal(parse(&rq, heads[i], &status), 0);
		assert_ptr_equal(http_route_find(&rq, table, (void *)"me", &error), &table[i]);
		assert_int_equal(rq.n_params, 1);
		assert_string_equal(http_param(&rq, i == 0 ? "id" : "name"), "1");
		http_params_free(&rq);
		parse_free(&rq);
	}
}

static void strict_heads(void **state)
{
	static const char *const bad[] = {
	    "GET /",
	    "GET  / HTTP/1.1\r\nHost: d",
	    "GET / HTTP/1.1",
	    "GET / HTTP/2.0\r\nHost: d",
	    "GET http://x/ HTTP/1.1\r\nHost: d",
	    "GET /a#b HTTP/1.1\r\nHost: d",
	    "GET /?a=%zz HTTP/1.1\r\nHost: d",
	    "G@T / HTTP/1.1\r\nHost: d",
	    "GET / HTTP/1.1\r\nHost: d\r\nHost: d",
	    "GET / HTTP/1.1\r\nHost: d\nX: y",
	    "GET / HTTP/1.1\r\nHost: d\r\nX: y\rz",
	    "GET / HTTP/1.1\r\nHost: d\r\nX : y",
	    "GET / HTTP/1.1\r\nHost: d\r\nX: y\r\n folded",
	    "GET / HTTP/1.1\r\nHost: d\r\nnocolon",
	    "GET / HTTP/1.1\r\nHost: d\r\nX: a\x01",
	    "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\nContent-Length: 1",
	    "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
	    "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: +1",
	    "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 1, 1",
	    "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: ",
	    "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 99999999999999999999",
	    "POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: gzip, chunked",
	    "POST / HTTP/1.0\r\nHost: d\r\nTransfer-Encoding: chunked",
	    "POST / HTTP/1.1\r\nHost: d\r\nExpect: magic",
	};
	HttpRequest rq;
	int status;

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		if (parse(&rq, bad[i], &status) >= 0)
			fail_msg("accepted: %s", bad[i]);
		assert_true(status >= 400 && status < 600);
		parse_free(&rq);
	}
	assert_int_equal(
	    parse(&rq, "POST /x HTTP/1.1\r\nHost: d\r\nConnection: Keep-Alive, Upgrade\r\nUpgrade: tcp",
		  &status),
	    0);
	assert_true(http_wants_upgrade(&rq));
	assert_true(rq.keep_alive);
	parse_free(&rq);
	assert_int_equal(parse(&rq, "GET /x HTTP/1.1\r\nHost: d\r\nConnection: close", &status), 0);
	assert_false(rq.keep_alive);
	parse_free(&rq);
}

static void browsers(void **state)
{
	static const struct {
		const char *head;
		HttpTransport transport;
		bool ok;
	} table[] = {
	    {"GET / HTTP/1.1\r\nHost: docker", HTTP_UNIX, true},
	    {"GET / HTTP/1.1\r\nHost: %2Frun%2Fireko.sock", HTTP_UNIX, true},
	    {"GET / HTTP/1.1\r\nHost: docker\r\nOrigin: http://evil", HTTP_UNIX, false},
	    {"GET / HTTP/1.1\r\nHost: localhost:2375\r\nSec-Fetch-Site: cross-site", HTTP_TCP, false},
	    {"GET / HTTP/1.1\r\nHost: localhost:2375\r\nUpgrade: websocket\r\nOrigin: http://localhost:2375",
	     HTTP_TCP, true},
	    {"GET / HTTP/1.1\r\nHost: localhost:2375\r\nUpgrade: websocket\r\nOrigin: http://localhost:80",
	     HTTP_TCP, false},
	    {"GET / HTTP/1.1\r\nHost: localhost:2375\r\nOrigin: http://localhost:2375", HTTP_TCP, false},
	    {"GET / HTTP/1.1\r\nHost: localhost:2375", HTTP_TCP, true},
	    {"GET / HTTP/1.1\r\nHost: 127.0.0.1", HTTP_TCP, true},
	    {"GET / HTTP/1.1\r\nHost: [::1]:2375", HTTP_TCP, true},
	    {"GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.com", HTTP_TCP, false},
	    {"GET / HTTP/1.1\r\nHost: evil.com:2375", HTTP_TCP, false},
	    {"GET / HTTP/1.1\r\nHost: localhost:2375@evil", HTTP_TCP, false},
	    {"GET / HTTP/1.1\r\nHost: [::1", HTTP_TCP, false},
	    {"GET / HTTP/1.1\r\nHost: ", HTTP_TCP, false},
	};
	HttpRequest rq;
	int status;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		assert_int_equal(parse(&rq, table[i].head, &status), 0);
		if ((http_check_browser(&rq, table[i].transport, NULL) >= 0) != table[i].ok)
			fail_msg("wrong for: %s", table[i].head);
		parse_free(&rq);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(patterns),     cmocka_unit_test(greedy),
	    cmocka_unit_test(bad_escapes),  cmocka_unit_test(query),
	    cmocka_unit_test(documents),    cmocka_unit_test(routes_that_are_not_wanted),
	    cmocka_unit_test(strict_heads), cmocka_unit_test(browsers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
