/* SPDX-License-Identifier: Apache-2.0 */
/* Words: quotes, escapes, variables in all their forms, and what bounds them. */
#include "base/str.h"
#include "base/test.h"
#include "dockerfile/dockerfile.h"

#include <time.h>

static char *env[] = {(char *)"HOME=/root",
		      (char *)"SH=bash",
		      (char *)"EMPTY=",
		      (char *)"two=x  y",
		      (char *)"\xe5\x90\x8d=v",
		      (char *)"tar=app.tar.gz",
		      (char *)"path=/a/b/a",
		      (char *)"star=a*b*c",
		      (char *)"quote=\"'\\$HOME",
		      (char *)"edge= m n ",
		      NULL};

typedef struct Row {
	const char *in, *out; /* NULL: refused */
} Row;

static void assert_words(const char *in, const char *want, char escape)
{
	DockerfileLex lex = {.escape = escape, .env = env};
	_cleanup_free_ char *got = NULL;
	Err e = {0};
	int r = dockerfile_lex_word(&lex, in, &got, &e);

	if (!want && r >= 0)
		fail_msg("%s: is \"%s\", not refused", in, got);
	if (want && r < 0)
		fail_msg("%s: %s", in, e.msg);
	if (want && !streq(got, want))
		fail_msg("%s: is \"%s\", not \"%s\"", in, got, want);
	if (!want)
		assert_int_equal(e.kind, ERR_INVALID);
}

static void assert_rows(const Row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_words(rows[i].in, rows[i].out, '\\');
}

static void test_quotes_and_escapes(void **state _unused_)
{
	static const Row rows[] = {
	    {"plain", "plain"},
	    {"a'b c'd", "ab cd"},
	    {"a\"b c\"d", "ab cd"},
	    {"it's", NULL},
	    {"it\\'s", "it's"},
	    {"x\\\\'s", NULL},
	    {"a\\nb", "anb"},
	    {"\"a\\nb\"", "a\\nb"},
	    {"\"a\\\\nb\"", "a\\nb"},
	    {"'a\\nb'", "a\\nb"},
	    {"'a\\\\b'", "a\\\\b"},
	    {"end\\", "end"},
	    {"end\\\\", "end\\"},
	    {"\"open", NULL},
	    {"\"open\\\"", NULL},
	    {"'open", NULL},
	    {"'closed\\'", "closed\\"},
	    {"\"'in'\"", "'in'"},
	    {"'\"in\"'", "\"in\""},
	    {"\"a\\\"b\"", "a\"b"},
	    {"", ""},
	    {"\xe7\xa7\x81\\'\xe3\x81\xae", "\xe7\xa7\x81'\xe3\x81\xae"},
	    {"\xe7\xa7\x81\\\xe3\x81\xae", "\xe7\xa7\x81\xe3\x81\xae"},
	    {"  two   blanks ", "  two   blanks "},
	};

	assert_rows(rows, ELEMENTSOF(rows));
	assert_words("C:\\dir` x`$HOME", "C:\\dir x$HOME", '`');
	assert_words("\"a`\"b\\\"", "a\"b\\", '`');
}

static void test_variables(void **state _unused_)
{
	static const Row rows[] = {
	    {"$HOME/x", "/root/x"},
	    {"${HOME}x", "/rootx"},
	    {"a$none.b", "a.b"},
	    {"\\$HOME", "$HOME"},
	    {"\\\\$HOME", "\\/root"},
	    {"\"$HOME\"", "/root"},
	    {"\"\\$HOME\"", "$HOME"},
	    {"'$HOME'", "$HOME"},
	    {"'\\$HOME'", "\\$HOME"},
	    {"\"'$HOME'\"", "'/root'"},
	    {"a$.b", "a$.b"},
	    {"a$", "a$"},
	    {"\\${}", "${}"},
	    {"${}", NULL},
	    {"${.}", NULL},
	    {"${HOME", NULL},
	    {"${", NULL},
	    {"${{HOME}", NULL},
	    {"${:-x}", NULL},
	    {"${HOME}}", "/root}"},
	    {"$1x$22y$@@$$$!", "xy@"},
	    {"${1}${@}${#}${9:-nine}", "nine"},
	    {"$\xe5\x90\x8d.", "v."},
	    {"$HOME\xe3\x80\x82", "/root\xe3\x80\x82"},
	    {"$quote", "\"'\\$HOME"},
	};

	assert_rows(rows, ELEMENTSOF(rows));
}

static void test_defaults_and_alternatives(void **state _unused_)
{
	static const Row rows[] = {
	    {"${none:-w} ${EMPTY:-w} ${HOME:-w}", "w w /root"},
	    {"${none-w} ${EMPTY-w} ${HOME-w}", "w  /root"},
	    {"${none:+w} ${EMPTY:+w} ${HOME:+w}", "  w"},
	    {"${none+w} ${EMPTY+w} ${HOME+w}", " w w"},
	    {"${none:-}${none:-$HOME}${none:-${x:-${y:-deep}}}", "/rootdeep"},
	    {"${HOME:+${SH}:}x", "bash:x"},
	    {"${none:-\\$HOME:}x", "$HOME:x"},
	    {"${none:-\\${HOME}z}", "${HOMEz}"},
	    {"${none:-'a}b'}", "a}b"},
	    {"${none:-a b {c}", "a b {c"},
	    {"${HOME?}${HOME:?}${EMPTY?}", "/root/root"},
	    {"${none?}", NULL},
	    {"${none:?}", NULL},
	    {"${EMPTY:?}", NULL},
	    {"${HOME:=x}", NULL},
	    {"${HOME=x}", NULL},
	    {"${HOME:x}", NULL},
	    {"${HOME:", NULL},
	    {"${none:-open", NULL},
	    {"${none:-'open}", NULL},
	};

	assert_rows(rows, ELEMENTSOF(rows));
}

static void test_patterns(void **state _unused_)
{
	static const Row rows[] = {
	    {"${tar%.*} ${tar%%.*} ${tar#*.} ${tar##*.}", "app.tar app tar.gz gz"},
	    {"${tar#app} ${tar#x} ${tar%gz} ${tar#} ${tar%}",
	     ".tar.gz app.tar.gz app.tar. app.tar.gz app.tar.gz"},
	    {"${tar#*} ${tar##*} ${tar%%*}", "app.tar.gz  "},
	    {"${tar#?pp} ${tar%?z} ${tar%%?}", ".tar.gz app.tar. app.tar.g"},
	    {"${star#*\\*} ${star##*\\*} ${star%\\**} ${star%%\\**}", "b*c c a*b a"},
	    {"${star#$SH}${none#x}", "a*b*c"},
	    {"${tar%$none.gz}", "app.tar"},
	    {"${path/a/x} ${path//a/x} ${path//\\//-} ${path/none/x}", "/x/b/a /x/b/x -a-b-a /a/b/a"},
	    {"${path//?\\//_} ${path/*/_} ${path//a/}", "/__a _ //b/"},
	    {"${path//\\//\\/}", "\\/a\\/b\\/a"},
	    {"${path//b/$HOME} ${path/$none/w}", "/a//root/a w/a/b/a"},
	    {"${tar///-}", "-a-p-p-.-t-a-r-.-g-z-"},
	    {"${path/a} ", NULL},
	    {"${path//}", NULL},
	    {"${path:#a}", NULL},
	    {"${path:%a}", NULL},
	    {"${path#\\x}", NULL},
	    {"${path%a", NULL},
	    {"${\xe5\x90\x8d#?}${none//a/b}", ""},
	};

	assert_rows(rows, ELEMENTSOF(rows));
}

/* Characters, not bytes, from both ends. */
static void test_patterns_of_characters(void **state _unused_)
{
	char *ja[] = {(char *)"v=\xe7\xa7\x81\xe3\x81\xae\xe5\x90\x8d", NULL};
	DockerfileLex lex = {.escape = '\\', .env = ja};
	_cleanup_free_ char *got = NULL;

	assert_int_equal(dockerfile_lex_word(&lex, "${v#?} ${v%?} ${v/\xe3\x81\xae/-}", &got, NULL), 0);
	assert_string_equal(got,
			    "\xe3\x81\xae\xe5\x90\x8d \xe7\xa7\x81\xe3\x81\xae \xe7\xa7\x81-\xe5\x90\x8d");
}

static void test_errors_say_what(void **state _unused_)
{
	static const Row rows[] = {
	    {"x${HOME", "failed to process \"x${HOME\": syntax error: missing '}'"},
	    {"${none?}", "failed to process \"${none?}\": none: is not allowed to be unset"},
	    {"${EMPTY:?}", "failed to process \"${EMPTY:?}\": EMPTY: is not allowed to be empty"},
	    {"${none:?set $SH}", "failed to process \"${none:?set $SH}\": none: set bash"},
	    {"${HOME:=x}", "failed to process \"${HOME:=x}\": unsupported modifier (:=) in substitution"},
	    {"${HOME/x}", "failed to process \"${HOME/x}\": syntax error: missing '/' in ${}"},
	    {"${}", "failed to process \"${}\": syntax error: bad substitution"},
	    {"'x",
	     "failed to process \"'x\": unexpected end of statement while looking for matching single-quote"},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		DockerfileLex lex = {.escape = '\\', .env = env};
		char *got;
		Err e = {0};

		assert_true(dockerfile_lex_word(&lex, rows[i].in, &got, &e) < 0);
		assert_string_equal(e.msg, rows[i].out);
	}
}

static void test_splitting(void **state _unused_)
{
	static const Row rows[] = {
	    {"a b", "a|b"},
	    {" a \t b ", "a|b"},
	    {"a${none}b", "ab"},
	    {"a${two}b", "ax|yb"},
	    {"a\"${two}\"b", "ax  yb"},
	    {"a \"$two\"b", "a|x  yb"},
	    {"a${edge}b", "a|m|n|b"},
	    {"a\"$edge\" b", "a m n |b"},
	    {"a\\ b", "a b"},
	    {"a' 'b \"\" c", "a b|c"},
	    {"a\\\" b", "a\"|b"},
	    {"8${none:-0}80", "8080"},
	    {"a\xe3\x80\x80"
	     "b",
	     "a|b"},
	    {"cat << EOF", "cat|<< EOF"},
	    {"", ""},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		DockerfileLex lex = {.escape = '\\', .env = env};
		_cleanup_strv_ char **words = NULL;
		Err e = {0};

		if (dockerfile_lex_words(&lex, rows[i].in, &words, &e) < 0)
			fail_msg("%s: %s", rows[i].in, e.msg);
		_cleanup_free_ char *got = strv_join(words, "|");
		assert_string_equal(got, rows[i].out);
	}
}

static void test_what_is_kept(void **state _unused_)
{
	DockerfileLex raw = {
	    .escape = '\\', .env = env, .raw_quotes = true, .raw_escapes = true, .keep_unset = true};
	DockerfileLex doc = {.escape = '\\', .env = env, .literal_quotes = true};
	_cleanup_free_ char *a = NULL, *b = NULL;

	assert_int_equal(dockerfile_lex_word(&raw, "'$a' \"\\$HOME\" $none ${none} ${n:-$SH} ${n/a/b} $SH",
					     &a, NULL),
			 0);
	assert_string_equal(a, "'$a' \"\\$HOME\" $none ${none} ${n:-bash} ${n/a/b} bash");
	assert_int_equal(dockerfile_lex_word(&doc, "it's \"$SH\" \\$SH\n", &b, NULL), 0);
	assert_string_equal(b, "it's \"bash\" $SH\n");
}

static void test_unset_names_are_told(void **state _unused_)
{
	_cleanup_strv_ char **unset = NULL;
	_cleanup_free_ char *got = NULL;
	DockerfileLex lex = {.escape = '\\', .env = env, .unset = &unset};

	assert_int_equal(dockerfile_lex_word(&lex, "$a $HOME ${b:-$c} $a '$d' ${EMPTY}", &got, NULL), 0);
	_cleanup_free_ char *names = strv_join(unset, " ");
	assert_string_equal(names, "a c b");
}

/* Expanded first and split later: what a variable holds stays one word, whatever it is. */
static void test_expand_then_words(void **state _unused_)
{
	_cleanup_free_ char *text = NULL, *word = NULL;
	_cleanup_strv_ char **v = NULL, **none = NULL;

	assert_int_equal(dockerfile_expand("a $two \"$quote\" '$x' $quote \\$HOME $. \"\"", '\\', env, true,
					   &text, NULL),
			 0);
	assert_int_equal(dockerfile_words(text, '\\', &v, NULL), 0);
	_cleanup_free_ char *got = strv_join(v, "|");
	assert_string_equal(got, "a|x  y|\"'\\$HOME|$x|\"'\\$HOME|$HOME|$.|");
	assert_int_equal(dockerfile_word("/a $b\\ c/\"d  e\"", '\\', &word, NULL), 0);
	assert_string_equal(word, "/a $b c/d  e");
	assert_true(dockerfile_words("\"open", '\\', &none, NULL) < 0);
}

/* Neither nesting nor patterns take the builder's time or memory. */
static void test_bounds(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf nested = {0}, value = {0}, many = {0};
	DockerfileLex lex = {.escape = '\\', .env = env};
	char *got;
	Err e = {0};

	for (int i = 0; i < 1000; i++)
		strbuf_add(&nested, "${x:-");
	assert_true(dockerfile_lex_word(&lex, nested.s, &got, &e) < 0);
	assert_non_null(strstr(e.msg, "nested too deeply"));

	strbuf_add(&value, "v=");
	for (int i = 0; i < 200000; i++)
		strbuf_add(&value, "a");
	char *big[] = {value.s, NULL};
	lex.env = big;
	clock_t before = clock();
	assert_true(dockerfile_lex_word(&lex, "${v//*a*a*a*a*b/x}", &got, &e) < 0);
	assert_non_null(strstr(e.msg, "takes too long"));
	assert_true(clock() - before < 20 * CLOCKS_PER_SEC);

	for (int i = 0; i < 10; i++)
		strbuf_add(&many, "$v");
	assert_true(dockerfile_lex_word(&lex, many.s, &got, &e) < 0);
	assert_non_null(strstr(e.msg, "expands to more than"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_quotes_and_escapes),
	    cmocka_unit_test(test_variables),
	    cmocka_unit_test(test_defaults_and_alternatives),
	    cmocka_unit_test(test_patterns),
	    cmocka_unit_test(test_patterns_of_characters),
	    cmocka_unit_test(test_errors_say_what),
	    cmocka_unit_test(test_splitting),
	    cmocka_unit_test(test_what_is_kept),
	    cmocka_unit_test(test_unset_names_are_told),
	    cmocka_unit_test(test_expand_then_words),
	    cmocka_unit_test(test_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
