/* SPDX-License-Identifier: Apache-2.0 */
#include "format.h"
#include "base/test.h"
#include "template.h"

#include <fcntl.h>
#include <sys/mman.h>

static void test_align(const char *text, const char *want)
{
	_cleanup_strbuf_ StrBuf out = {0};

	assert_int_equal(format_align(text, FORMAT_CELL_MIN, &out), 0);
	assert_string_equal(out.s ? out.s : "", want);
}

static void columns_line_up(void **state)
{
	test_align("A\tB\tC\n1\t2\t3\n", "A         B         C\n1         2         3\n");
	test_align("CONTAINER ID\tX\nab\ty\n", "CONTAINER ID   X\nab             y\n");
	test_align("A\tB\n0123456789\tx\n", "A            B\n0123456789   x\n");
	test_align("\xe7\xa7\x81\xe3\x81\xae\xe5\x90\x8d\xe5\x89\x8d\tx\ny\tz\n",
		   "\xe7\xa7\x81\xe3\x81\xae\xe5\x90\x8d\xe5\x89\x8d   x\ny          z\n");
	test_align("no tabs\n", "no tabs\n");
	test_align("", "");
	/* The last cell has no width, so nothing ends in blanks. */
	test_align("A\tB\nlonger than the heading\t\n",
		   "A                         B\nlonger than the heading   \n");
}

static const Column columns[] = {{"ID", "CONTAINER ID"}, {"Names", "NAMES"}, {NULL, NULL}};
static const ListFormat lf = {columns, "{{.ID}}\t{{.Names}}"};

/* What format_list() prints on standard output. */
static char *listed(const char *format, bool tty, int *ret)
{
	_cleanup_json_ json_t *rows =
	    json_pack("[{s:s, s:s, s:{s:s}}, {s:s, s:s, s:{}}]", "Names", "web", "ID", "abc", TEMPLATE_LABELS,
		      "com.x.my-label", "v", "Names", "d\x1b[0mb", "ID", "def", TEMPLATE_LABELS);
	Cli cli = {.out_tty = tty};
	char *text = NULL;
	size_t n = 0;
	FILE *saved = stdout;

	stdout = open_memstream(&text, &n);
	*ret = format_list(&cli, &lf, format, rows, NULL);
	assert_int_equal(fclose(stdout), 0);
	stdout = saved;
	return text;
}

static void expect(const char *format, bool tty, const char *want)
{
	int r;
	_cleanup_free_ char *got = listed(format, tty, &r);

	assert_int_equal(r, 0);
	assert_string_equal(got, want);
}

static void lists(void **state)
{
	int r;

	expect(NULL, false, "CONTAINER ID   NAMES\nabc            web\ndef            d\x1b[0mb\n");
	expect("table", true, "CONTAINER ID   NAMES\nabc            web\ndef            d\\x1b[0mb\n");
	expect("table {{.Names}}\\t{{.ID}}", true,
	       "NAMES       CONTAINER ID\nweb         abc\nd\\x1b[0mb   def\n");
	expect("{{.Names}}", true, "web\nd\\x1b[0mb\n");
	expect("{{.ID}}\\n{{.ID}}", false, "abc\nabc\ndef\ndef\n");
	expect("table {{.ID}}\\t{{.Label \"com.x.my-label\"}}", false,
	       "CONTAINER ID   my label\nabc            v\ndef            \n");
	expect("json", false,
	       "{\"ID\":\"abc\",\"Names\":\"web\"}\n{\"ID\":\"def\",\"Names\":\"d\\u001B[0mb\"}\n");
	_cleanup_free_ char *unknown = listed("{{.Nope}}", false, &r);
	assert_true(r < 0);
	_cleanup_free_ char *broken = listed("{{.ID", false, &r);
	assert_true(r < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(columns_line_up),
	    cmocka_unit_test(lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
