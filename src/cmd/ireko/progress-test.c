/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/test.h"

static int seen_aux;

static void on_aux(void *user, const json_t *aux)
{
	seen_aux++;
	assert_string_equal(json_get_str(aux, "ID"), "sha256:x");
}

/* What is shown of a body; *ret the result. */
static char *shown(const char *body, bool tty, int *ret, Err *e)
{
	_cleanup_strbuf_ StrBuf answer = {0};
	char *text = NULL;
	size_t n = 0;
	int sv[2];
	const HttpcResponse *rs;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	strbuf_addf(&answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
	assert_int_equal(fd_write_all(sv[1], answer.s, answer.len), 0);
	_cleanup_httpc_ Httpc *c = httpc_new(sv[0]);
	FILE *out = open_memstream(&text, &n);
	assert_int_equal(httpc_send(c, &(HttpcRequest){.method = "GET", .target = "/"}, NULL), 0);
	assert_int_equal(httpc_receive(c, &rs, NULL), 0);
	*ret = progress_show(&(Progress){.out = out, .tty = tty, .aux = on_aux}, c, e);
	assert_int_equal(fclose(out), 0);
	(void)close(sv[1]);
	return text;
}

static void plain_lines(void **state)
{
	int r;
	_cleanup_free_ char *got = shown(
	    "{\"status\":\"Pulling from x\",\"id\":\"latest\"}\r\n"
	    "{\"status\":\"Downloading\",\"id\":\"aa\",\"progressDetail\":{\"current\":5,\"total\":10}}\r\n"
	    "{\"status\":\"Pull complete\",\"id\":\"aa\",\"progressDetail\":{}}\r\n"
	    "{\"stream\":\"Step 1/1 : FROM x\\n\"}\r\n{\"aux\":{\"ID\":\"sha256:x\"}}\r\n"
	    "{\"status\":\"Status: done\"}",
	    false, &r, NULL);

	assert_int_equal(r, 0);
	assert_int_equal(seen_aux, 1);
	assert_string_equal(got,
			    "latest: Pulling from x\naa: Pull complete\nStep 1/1 : FROM x\nStatus: done\n");
}

static void lines_are_updated_in_place(void **state)
{
	int r;
	_cleanup_free_ char *got =
	    shown("{\"status\":\"Waiting\",\"id\":\"aa\"}\r\n{\"status\":\"Waiting\",\"id\":\"bb\"}\r\n"
		  "{\"status\":\"Got\\u001b[2J\",\"id\":\"aa\"}\r\n",
		  true, &r, NULL);

	assert_int_equal(r, 0);
	assert_string_equal(got,
			    "aa: Waiting\x1b[K\nbb: Waiting\x1b[K\n\x1b[2A\raa: Got\\x1b[2J\x1b[K\x1b[2B\r");
}

static void errors_end_it(void **state)
{
	Err e = {0};
	int r;
	_cleanup_free_ char *a = shown("{\"status\":\"x\"}\r\n{\"errorDetail\":{\"message\":\"no "
				       "space\"},\"error\":\"other\"}\r\n{\"status\":\"y\"}\r\n",
				       false, &r, &e);
	assert_true(r < 0);
	assert_string_equal(e.msg, "no space");
	assert_string_equal(a, "x\n");
	_cleanup_free_ char *b = shown("{\"error\":\"plain\"}\r\n", false, &r, &e);
	assert_true(r < 0);
	assert_string_equal(e.msg, "plain");
	_cleanup_free_ char *c = shown("{not json}\r\n", false, &r, &e);
	assert_true(r < 0);
}

static void test_bar(int64_t current, int64_t total, size_t width, const char *want)
{
	_cleanup_free_ char *got = progress_bar(current, total, width);

	assert_string_equal(got, want);
}

static void bars(void **state)
{
	test_bar(5000, 10000, 80, "[==========>         ]      5kB/10kB");
	test_bar(10000, 10000, 80, "[====================]     10kB/10kB");
	test_bar(20000, 10000, 80, "[====================]     20kB/10kB");
	test_bar(-5, 10000, 80, "[>                   ]      -5B/10kB");
	test_bar(5000, 10000, 40, "     5kB/10kB");
	test_bar(5000, 0, 80, "     5kB");
	test_bar(0, 0, 80, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(plain_lines),
	    cmocka_unit_test(lines_are_updated_in_place),
	    cmocka_unit_test(errors_end_it),
	    cmocka_unit_test(bars),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
