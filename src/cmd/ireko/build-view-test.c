/* SPDX-License-Identifier: Apache-2.0 */
/* Events to text: the plain view, frames on a terminal, and what hostile names and logs make of them. */
#include "build-view.h"
#include "base/base64.h"
#include "base/test.h"

#define S 1000000000LL

static BuildView *view;

static void begin(bool plain)
{
	view = build_view_new(&(BuildViewOptions){.plain = plain, .clean = true}, 0);
	assert_non_null(view);
}

static void end(void)
{
	build_view_free(view);
}

static void event(int64_t now_ns, const char *text)
{
	_cleanup_json_ json_t *doc = json_loads(text, 0, NULL);

	assert_non_null(doc);
	assert_int_equal(build_view_event(view, doc, now_ns, NULL), 0);
}

/* Seconds below 10. ended 0: not yet; more: further members. */
static void vertex(int64_t now_ns, const char *digest, const char *name, int started, int ended,
		   const char *more)
{
	_cleanup_free_ char *done =
	    ended ? strf(",\"completed\":\"1970-01-01T00:00:0%dZ\"", ended) : strdup("");
	_cleanup_json_ json_t *shown = json_string(name);
	_cleanup_free_ char *quoted = json_dumps(shown, JSON_ENCODE_ANY);
	_cleanup_free_ char *text =
	    strf("{\"vertexes\":[{\"digest\":\"%s\",\"name\":%s,\"started\":\"1970-01-01T00:00:0%dZ\"%s%s}]}",
		 digest, quoted, started, done, more);

	event(now_ns, text);
}

static void say(int64_t now_ns, const char *digest, int at, const char *data, size_t len)
{
	_cleanup_free_ char *coded = base64_encode(data, len, false);
	_cleanup_free_ char *text = strf("{\"logs\":[{\"vertex\":\"%s\",\"stream\":1,\"data\":\"%s\","
					 "\"timestamp\":\"1970-01-01T00:00:0%dZ\"}]}",
					 digest, coded, at);

	event(now_ns, text);
}

static void plain(int64_t now_ns, bool last, const char *want)
{
	_cleanup_strbuf_ StrBuf b = {0};

	build_view_plain(view, now_ns, last, &b);
	assert_string_equal(b.s ? b.s : "", want);
}

static void frame(int height, int width, int64_t now_ns, bool last, const char *want)
{
	_cleanup_strbuf_ StrBuf b = {0};

	build_view_frame(view, height, width, now_ns, last, &b);
	assert_string_equal(b.s ? b.s : "", want);
}

static void plain_steps(void **state)
{
	begin(true);
	vertex(S, "a", "[1/2] FROM x", 1, 2, "");
	vertex(S, "b", "[2/2] RUN make", 2, 0, "");
	say(2 * S, "b", 3, "one\ntw", 6);
	plain(2 * S, false, "#1 [1/2] FROM x\n#1 DONE 1.0s\n\n#2 [2/2] RUN make\n#2 1.000 one\n");
	say(3 * S, "b", 4, "o\nrest", 6);
	plain(3 * S, false, "#2 2.000 two\n");
	vertex(4 * S, "b", "[2/2] RUN make", 2, 5, "");
	plain(4 * S, true, "#2 3.000 rest\n#2 DONE 3.0s\n");
	plain(5 * S, true, "");
	end();
}

static void plain_ends(void **state)
{
	begin(true);
	vertex(S, "a", "A", 1, 1, ",\"cached\":true");
	vertex(S, "b", "B", 1, 1, ",\"error\":\"exit code: 1\"");
	vertex(S, "c", "C", 1, 1, ",\"error\":\"context canceled\"");
	plain(S, false, "#1 A\n#1 CACHED\n\n#2 B\n#2 ERROR: exit code: 1\n\n#3 C\n#3 CANCELED\n");
	end();
}

/* Who has the floor keeps it for two seconds, and gets it back. */
static void plain_takes_turns(void **state)
{
	begin(true);
	vertex(0, "a", "A", 1, 0, "");
	vertex(0, "b", "B", 1, 0, "");
	say(0, "a", 1, "a1\n", 3);
	say(0, "b", 1, "b1\n", 3);
	plain(0, false, "#1 A\n#1 0.000 a1\n");
	assert_int_equal(build_view_plain_due(view, S), S);
	say(S, "a", 1, "a2\n", 3);
	plain(S, false, "#1 0.000 a2\n");
	plain(2 * S, false, "#1 ...\n\n#2 B\n#2 0.000 b1\n");
	assert_int_equal(build_view_plain_due(view, 2 * S), -1);
	say(2 * S, "a", 1, "a3\n", 3);
	vertex(2 * S, "b", "B", 1, 2, "");
	plain(2 * S, false, "#2 DONE 1.0s\n\n#1 A\n#1 0.000 a3\n");
	end();
}

static void plain_parts_and_warnings(void **state)
{
	begin(true);
	vertex(0, "a", "FROM x", 1, 0, "");
	event(S / 2, "{\"statuses\":[{\"id\":\"layer\",\"vertex\":\"a\",\"current\":500,\"total\":1000,"
		     "\"started\":\"1970-01-01T00:00:01Z\"}]}");
	event(S, "{\"statuses\":[{\"id\":\"layer\",\"vertex\":\"a\",\"current\":700,\"total\":1000,"
		 "\"started\":\"1970-01-01T00:00:01Z\"}]}");
	event(2 * S, "{\"statuses\":[{\"id\":\"layer\",\"vertex\":\"a\",\"current\":1000,\"total\":1000,"
		     "\"started\":\"1970-01-01T00:00:01Z\","
		     "\"completed\":\"1970-01-01T00:00:02Z\"}]}");
	event(2 * S, "{\"warnings\":[{\"vertex\":\"a\",\"short\":\"dw==\",\"url\":\"https://"
		     "x\",\"range\":[{\"start\":{\"line\":3}}]}]}");
	plain(2 * S, false, "#1 FROM x\n#1 layer 500B / 1kB\n#1 layer 1kB 1.0s done\n#1 WARN: w\n");
	_cleanup_strbuf_ StrBuf b = {0};
	build_view_warnings(view, &b);
	assert_string_equal(b.s, "\n 1 warning found (use --debug to expand):\n - w (line 3)\n");
	end();
}

static void frames(void **state)
{
	begin(false);
	vertex(S, "a", "[1/2] FROM x", 1, 2, "");
	vertex(S, "b", "[2/2] RUN make", 2, 0, "");
	say(S, "b", 3, "cc a.c\ncc b.c\npart", 18);
	frame(
	    24, 40, 3 * S, false,
	    "[+] Building 3.0s (1/2)\x1b[K\n => [1/2] FROM x                   1.0s\x1b[K\n"
	    " => [2/2] RUN make                 1.0s\x1b[K\n => => # cc a.c\x1b[K\n => => # cc b.c\x1b[K\n");
	frame(24, 40, 3 * S, false, "");
	vertex(S, "b", "[2/2] RUN make", 2, 4, "");
	frame(
	    24, 40, 4 * S, true,
	    "\x1b[5A\r[+] Building 4.0s (2/2) FINISHED\x1b[K\n => [1/2] FROM x                   1.0s\x1b[K\n"
	    " => [2/2] RUN make                 2.0s\x1b[K\n\x1b[J");
	end();
}

/* The lines of a frame as a terminal of this width would break them. */
static size_t rows_of(const char *text, size_t width)
{
	size_t rows = 0, used = 0;

	for (const char *p = text; *p; p++) {
		if (*p == '\n') {
			rows += used > width ? (used + width - 1) / width : 1;
			used = 0;
		} else if (*p == '\x1b')
			p += strcspn(p, "KJAm");
		else if (*p != '\r' && ((unsigned char)*p & 0xC0) != 0x80)
			used++;
	}
	return rows;
}

static void frames_fit_the_screen(void **state)
{
	static const int heights[] = {1, 2, 3, 5, 10, 24}, widths[] = {1, 20, 33, 80};

	for (size_t h = 0; h < ELEMENTSOF(heights); h++)
		for (size_t w = 0; w < ELEMENTSOF(widths); w++) {
			_cleanup_strbuf_ StrBuf b = {0};
			char digest[16];

			begin(false);
			for (int i = 0; i < 30; i++) {
				snprintf(digest, sizeof(digest), "d%d", i);
				vertex(S, digest, "a rather long name of a step that has to be cut", 1,
				       i % 3 ? 2 : 0, "");
				say(S, digest, 2, "1\n2\n3\n4\n5\n6\n7\n8\n", 16);
			}
			build_view_frame(view, heights[h], widths[w], 3 * S, false, &b);
			if (rows_of(b.s, (size_t)MAX2(widths[w], 20)) > (size_t)MAX2(heights[h] - 1, 2))
				fail_msg("%d x %d:\n%s", widths[w], heights[h], b.s);
			end();
		}
}

/* A screen that became narrower has broken the lines that were on it. */
static void frames_after_a_resize(void **state)
{
	begin(false);
	vertex(S, "a", "name", 1, 0, "");
	frame(24, 80, 2 * S, false,
	      "[+] Building 2.0s (0/1)\x1b[K\n => name                                                       "
	      "            1.0s\x1b[K\n");
	frame(
	    24, 40, 3 * S, false,
	    "\x1b[3A\r[+] Building 3.0s (0/1)\x1b[K\n => name                           2.0s\x1b[K\n\x1b[J");
	end();
}

/* Neither names nor logs nor errors move the cursor. */
static void hostile_text(void **state)
{
	static const char log[] =
	    "\x1b[2J\x1b[31mred\x1b[0m\x1b]0;title\a\n10%\r20%\rdone\n\x1b[5Aup\nbell\a \xff\0 tab\tx\n\x1b";
	_cleanup_strbuf_ StrBuf b = {0};

	begin(false);
	vertex(S, "a", "RUN \x1b[2J\nx\ry", 1, 0, "");
	say(S, "a", 2, log, sizeof(log) - 1);
	event(S, "{\"statuses\":[{\"id\":\"i\\u001b[2J\",\"vertex\":\"a\",\"current\":1,\"total\":2}]}");
	build_view_frame(view, 24, 80, 2 * S, false, &b);
	for (const char *p = b.s; *p; p++)
		if (*p == '\x1b' && !str_starts(p, "\x1b[K\n"))
			fail_msg("a control sequence went through: %s", p + 1);
	assert_non_null(strstr(b.s, " => => # red\x1b[K\n"));
	assert_non_null(strstr(b.s, " => => # done\x1b[K\n"));
	assert_non_null(strstr(b.s, " => => # up\x1b[K\n"));
	assert_non_null(strstr(b.s, "bell\\x07 \\xff tab"));
	end();
}

static void what_does_not_fit_the_format(void **state)
{
	begin(true);
	event(0, "{\"vertexes\":[{}, {\"digest\":5}, "
		 "{\"digest\":\"x\"}],\"logs\":[{\"vertex\":\"unknown\",\"data\":\"YQ==\"},"
		 "{\"vertex\":\"x\",\"data\":\"?\"}],\"statuses\":[{\"vertex\":\"x\"}],\"warnings\":[{"
		 "\"short\":\"?\"}]}");
	event(0, "{\"vertexes\":{},\"logs\":1}");
	plain(0, true, "");
	end();
}

static void failure_and_reasons(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0}, why = {0};

	begin(true);
	vertex(S, "a", "RUN a", 1, 2, ",\"cached\":true,\"why\":\"its key was found\"");
	vertex(S, "b", "RUN b", 1, 0, "");
	for (int i = 0; i < 12; i++)
		say(S, "b", 2, &"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\na\nb\n"[i * 2], 2);
	vertex(S, "b", "RUN b", 1, 2, ",\"error\":\"exit code: 1\",\"why\":\"a.txt has changed\"");
	build_view_failure(view, &b);
	assert_string_equal(b.s, "------\n > RUN b:\n2\n3\n4\n5\n6\n7\n8\n9\na\nb\n------\n");
	build_view_explain(view, &why);
	assert_string_equal(
	    why.s, "\nWhy each step was or was not taken from the cache:\n RUN a\n     its key was found\n"
		   " RUN b\n     a.txt has changed\n");
	end();
}

/* A step that never ends its line is not kept whole. */
static void endless_line(void **state)
{
	_cleanup_free_ char *much = malloc(1 << 20);
	_cleanup_strbuf_ StrBuf b = {0};

	memset(much, 'x', 1 << 20);
	begin(true);
	vertex(S, "a", "RUN a", 1, 0, "");
	say(S, "a", 2, much, 1 << 20);
	build_view_plain(view, S, false, &b);
	assert_true(b.len > (1 << 20) - 20000 && b.len < (1 << 20) + 2000);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(plain_steps),
	    cmocka_unit_test(plain_ends),
	    cmocka_unit_test(plain_takes_turns),
	    cmocka_unit_test(plain_parts_and_warnings),
	    cmocka_unit_test(frames),
	    cmocka_unit_test(frames_fit_the_screen),
	    cmocka_unit_test(frames_after_a_resize),
	    cmocka_unit_test(hostile_text),
	    cmocka_unit_test(what_does_not_fit_the_format),
	    cmocka_unit_test(failure_and_reasons),
	    cmocka_unit_test(endless_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
