/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"
#include "base/str.h"
#include "base/test.h"

typedef struct Opts {
	bool interactive, tty, all;
	Tri proxy;
	const char *name;
	List env, csv;
	Num n, memory, wait, cpus;
} Opts;

#define O(field) offsetof(Opts, field)
static const Flag flags[] = {
    {"interactive", 'i', FLAG_BOOL, O(interactive), "i", NULL},
    {"tty", 't', FLAG_BOOL, O(tty), "t", NULL},
    {"all", 0, FLAG_BOOL, O(all), "a", NULL},
    {"sig-proxy", 0, FLAG_TRI, O(proxy), "p", NULL},
    {"name", 0, FLAG_STRING, O(name), "n", NULL},
    {"env", 'e', FLAG_LIST, O(env), "e", NULL},
    {"csv", 0, FLAG_CSV, O(csv), "c", NULL},
    {"last", 'n', FLAG_INT, O(n), "l", NULL},
    {"memory", 'm', FLAG_BYTES, O(memory), "m", NULL},
    {"wait", 'w', FLAG_DURATION, O(wait), "w", NULL},
    {"cpus", 0, FLAG_CPUS, O(cpus), "c", NULL},
    {0},
};

/* Parses the words of `line`; the arguments joined with blanks, or the error text. */
static char *parse(const char *line, bool stop, Opts *o, int *ret)
{
	static char *words[32];
	static char *text;
	char **args = NULL;
	int n = 0;
	Err e = {0};

	free(text);
	text = strdup(line);
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
		words[n++] = w;
	words[n] = NULL;
	*o = (Opts){0};
	*ret = options_parse(flags, stop, n, words, o, &args, &e);
	char *said = *ret < 0 ? strdup(e.msg) : *ret > 0 ? strdup("help") : strv_join(args, " ");
	free(args);
	return said;
}

static void expect(const char *line, bool stop, const char *want, Opts *o)
{
	int r;
	_cleanup_free_ char *got = parse(line, stop, o, &r);

	assert_string_equal(got, want);
}

static void shorts_combine(void **state)
{
	Opts o;

	expect("-it -eA=1 -e B=2 -e=C=3 -n5 busybox", true, "busybox", &o);
	assert_true(o.interactive && o.tty);
	assert_int_equal(strv_len(o.env.v), 3);
	assert_string_equal(o.env.v[0], "A=1");
	assert_string_equal(o.env.v[1], "B=2");
	assert_string_equal(o.env.v[2], "C=3");
	assert_true(o.n.set && o.n.v == 5);
	options_done(flags, &o);
	expect("-iteX=y", true, "", &o);
	assert_true(o.interactive && o.tty);
	assert_string_equal(o.env.v[0], "X=y");
	options_done(flags, &o);
	expect("-t=false -i=true", true, "", &o);
	assert_true(!o.tty && o.interactive);
}

static void longs(void **state)
{
	Opts o;

	expect("--name=x --all=false --sig-proxy=false --csv a,b --csv c", false, "", &o);
	assert_string_equal(o.name, "x");
	assert_false(o.all);
	assert_int_equal(o.proxy, TRI_FALSE);
	assert_false(tri(o.proxy, true));
	assert_int_equal(strv_len(o.csv.v), 3);
	options_done(flags, &o);
	expect("--name --all", false, "", &o);
	assert_string_equal(o.name, "--all");
	expect("--name= x", false, "x", &o);
	assert_string_equal(o.name, "");
	assert_int_equal(o.proxy, TRI_UNSET);
	assert_true(tri(o.proxy, true));
}

static void numbers(void **state)
{
	Opts o;

	expect("-m 512m --wait 1m30s --cpus 1.5 -n -1", false, "", &o);
	assert_int_equal(o.memory.v, 512 << 20);
	assert_int_equal(o.wait.v, 90000000000);
	assert_int_equal(o.cpus.v, 1500000000);
	assert_int_equal(o.n.v, -1);
	expect("-m -1 --cpus .25", false, "", &o);
	assert_int_equal(o.memory.v, -1);
	assert_int_equal(o.cpus.v, 250000000);
	expect("", false, "", &o);
	assert_false(o.memory.set);
}

static void where_flags_end(void **state)
{
	Opts o;

	expect("-i busybox ls -l --all", true, "busybox ls -l --all", &o);
	assert_false(o.all);
	expect("a -i b --all c", false, "a b c", &o);
	assert_true(o.all && o.interactive);
	expect("-- -i", false, "-i", &o);
	assert_false(o.interactive);
	expect("a -- --all", false, "a --all", &o);
	assert_false(o.all);
	expect("-i -", false, "-", &o);
	expect("--help --nonsense", false, "help", &o);
	expect("-h", false, "help", &o);
	expect("x --help", true, "x --help", &o);
}

static void mistakes(void **state)
{
	Opts o;

	expect("--foo", false, "unknown flag: --foo", &o);
	expect("--foo=bar", false, "unknown flag: --foo", &o);
	expect("--nam x", false, "unknown flag: --nam", &o);
	expect("-iz", false, "unknown shorthand flag: 'z' in -iz", &o);
	expect("--name", false, "flag needs an argument: --name", &o);
	expect("-m", false, "flag needs an argument: 'm' in -m", &o);
	expect("-m xx", false, "invalid argument \"xx\" for \"-m, --memory\" flag: invalid size: 'xx'", &o);
	expect("--all=maybe", false, "invalid argument \"maybe\" for \"--all\" flag: expected true or false",
	       &o);
	expect("-n x", false, "invalid argument \"x\" for \"-n, --last\" flag: expected a whole number", &o);
	expect("--cpus -1", false,
	       "invalid argument \"-1\" for \"--cpus\" flag: expected a number of CPUs such as 1.5", &o);
	expect(
	    "-w 5", false,
	    "invalid argument \"5\" for \"-w, --wait\" flag: expected a duration such as 300ms, 10s or 1m30s",
	    &o);
}

static void help_comes_from_the_table(void **state)
{
	Cli cli = {.program = "docker"};
	Command c = {.usage = "[OPTIONS] X", .summary = "Does it", .flags = flags};
	Call call = {.cli = &cli, .command = &c, .path = "container do"};
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	options_print_help(&call, "docker do, docker container do", f);
	assert_int_equal(fclose(f), 0);
	assert_true(str_starts(text, "Usage:  docker container do [OPTIONS] X\n\nDoes it\n\nAliases:\n  "
				     "docker do, docker container do\n"));
	assert_non_null(strstr(text, "\n  -e, --env list        e\n"));
	assert_non_null(strstr(text, "\n      --cpus decimal    c\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(shorts_combine), cmocka_unit_test(longs),
	    cmocka_unit_test(numbers),        cmocka_unit_test(where_flags_end),
	    cmocka_unit_test(mistakes),       cmocka_unit_test(help_comes_from_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
