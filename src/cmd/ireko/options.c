/* SPDX-License-Identifier: Apache-2.0 */
/* See options.h. The wording of the errors is docker's, because scripts match it. */
#include "options.h"
#include "base/clock.h"
#include "base/str.h"
#include "text.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>

static const char *const type_names[] = {
    [FLAG_BOOL] = "",        [FLAG_TRI] = "",    [FLAG_STRING] = "string", [FLAG_LIST] = "list",
    [FLAG_CSV] = "strings",  [FLAG_INT] = "int", [FLAG_BYTES] = "bytes",   [FLAG_DURATION] = "duration",
    [FLAG_CPUS] = "decimal",
};

static bool is_switch(const Flag *f)
{
	return f->type == FLAG_BOOL || f->type == FLAG_TRI;
}

static const Flag *find_long(const Flag *flags, const char *name, size_t len)
{
	for (const Flag *f = flags; f && f->name; f++)
		if (strlen(f->name) == len && strncmp(f->name, name, len) == 0)
			return f;
	return NULL;
}

static const Flag *find_short(const Flag *flags, char c)
{
	for (const Flag *f = flags; f && f->name; f++)
		if (f->letter && f->letter == c)
			return f;
	return NULL;
}

static int invalid_value(const Flag *f, const char *value, const char *why, Err *e)
{
	if (f->letter)
		return err_new(e, ERR_INVALID, "invalid argument \"%s\" for \"-%c, --%s\" flag: %s", value,
			       f->letter, f->name, why);
	return err_new(e, ERR_INVALID, "invalid argument \"%s\" for \"--%s\" flag: %s", value, f->name, why);
}

static int parse_bool(const char *s, bool *ret)
{
	static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
	static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};

	for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
		if (!streq(s, yes[i]) && !streq(s, no[i]))
			continue;
		*ret = streq(s, yes[i]);
		return 0;
	}
	return -EINVAL;
}

static int parse_cpus(const char *s, int64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)*s) && *s != '.')
		return -EINVAL;
	double v = strtod(s, &end);
	if (*end || !(v >= 0) || v > 1e6)
		return -EINVAL;
	*ret = (int64_t)llround(v * 1e9);
	return 0;
}

static int parse_number(const Flag *f, const char *value, Num *n, Err *e)
{
	int r;

	switch (f->type) {
	case FLAG_BYTES:
		if (streq(value, "-1")) {
			n->v = -1;
			r = 0;
			break;
		}
		r = str_to_bytes(value, &n->v);
		if (r < 0) {
			_cleanup_free_ char *why = strf("invalid size: '%s'", value);

			return invalid_value(f, value, why ? why : "invalid size", e);
		}
		break;
	case FLAG_DURATION:
		r = clock_parse_duration(value, &n->v);
		if (r < 0)
			return invalid_value(f, value, "expected a duration such as 300ms, 10s or 1m30s", e);
		break;
	case FLAG_CPUS:
		r = parse_cpus(value, &n->v);
		if (r < 0)
			return invalid_value(f, value, "expected a number of CPUs such as 1.5", e);
		break;
	default:
		r = str_to_i64(value, &n->v);
		if (r < 0)
			return invalid_value(f, value, "expected a whole number", e);
		break;
	}
	n->set = true;
	return 0;
}

static int add_csv(List *l, const char *value)
{
	_cleanup_strv_ char **parts = strv_split(value, ',');

	for (size_t i = 0; parts && parts[i]; i++)
		if (strv_add(&l->v, parts[i]) < 0)
			return -ENOMEM;
	return parts ? 0 : -ENOMEM;
}

static int set_value(const Flag *f, const char *value, void *opts, Err *e)
{
	void *at = (char *)opts + f->offset;
	bool on;

	switch (f->type) {
	case FLAG_BOOL:
	case FLAG_TRI:
		if (parse_bool(value, &on) < 0)
			return invalid_value(f, value, "expected true or false", e);
		if (f->type == FLAG_BOOL)
			*(bool *)at = on;
		else
			*(Tri *)at = on ? TRI_TRUE : TRI_FALSE;
		return 0;
	case FLAG_STRING:
		*(const char **)at = value;
		return 0;
	case FLAG_LIST:
		return strv_add(&((List *)at)->v, value) < 0 ? err_oom(e) : 0;
	case FLAG_CSV:
		return add_csv(at, value) < 0 ? err_oom(e) : 0;
	case FLAG_INT:
	case FLAG_BYTES:
	case FLAG_DURATION:
	case FLAG_CPUS:
		return parse_number(f, value, at, e);
	}
	return invalid_value(f, value, "the table has an unknown type here", e);
}

/* --name, --name=value, --name value. The number of words taken, or 0 for --help. */
static int parse_long(const Flag *flags, char **argv, void *opts, Err *e)
{
	const char *name = argv[0] + 2, *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	const Flag *f = find_long(flags, name, len);
	int r;

	if (!f && len == 4 && strncmp(name, "help", 4) == 0)
		return 0;
	if (!f)
		return err_new(e, ERR_INVALID, "unknown flag: --%.*s", (int)len, name);
	if (eq || is_switch(f)) {
		r = set_value(f, eq ? eq + 1 : "true", opts, e);
		return r < 0 ? r : 1;
	}
	if (!argv[1])
		return err_new(e, ERR_INVALID, "flag needs an argument: --%s", f->name);
	r = set_value(f, argv[1], opts, e);
	return r < 0 ? r : 2;
}

/* -abc, -n5, -n=5, -n 5. As parse_long. */
static int parse_short(const Flag *flags, char **argv, void *opts, Err *e)
{
	for (const char *p = argv[0] + 1; *p; p++) {
		const Flag *f = find_short(flags, *p);
		int r;

		if (!f && *p == 'h')
			return 0;
		if (!f)
			return err_new(e, ERR_INVALID, "unknown shorthand flag: '%c' in %s", *p, argv[0]);
		if (p[1] == '=' && p[2]) {
			r = set_value(f, p + 2, opts, e);
			return r < 0 ? r : 1;
		}
		if (is_switch(f)) {
			r = set_value(f, "true", opts, e);
			if (r < 0)
				return r;
			continue;
		}
		if (!p[1] && !argv[1])
			return err_new(e, ERR_INVALID, "flag needs an argument: '%c' in %s", *p, argv[0]);
		r = set_value(f, p[1] ? p + 1 : argv[1], opts, e);
		return r < 0 ? r : p[1] ? 1 : 2;
	}
	return 1;
}

int options_parse(const Flag *flags, bool stop_at_first, int argc, char **argv, void *opts, char ***ret_args,
		  Err *e)
{
	_cleanup_free_ char **args = calloc((size_t)argc + 1, sizeof(char *));
	size_t n = 0;

	if (!args)
		return err_oom(e);
	for (int i = 0; i < argc;) {
		int r;

		if (argv[i][0] != '-' || argv[i][1] == '\0') {
			args[n++] = argv[i++];
			if (!stop_at_first)
				continue;
		} else if (!streq(argv[i], "--")) {
			r = argv[i][1] == '-' ? parse_long(flags, argv + i, opts, e)
					      : parse_short(flags, argv + i, opts, e);
			if (r < 0)
				return r;
			if (r == 0)
				return 1;
			i += r;
			continue;
		} else {
			i++;
		}
		while (i < argc)
			args[n++] = argv[i++];
	}
	*ret_args = take_ptr(args);
	return 0;
}

void options_done(const Flag *flags, void *opts)
{
	for (const Flag *f = flags; f && f->name; f++)
		if (f->type == FLAG_LIST || f->type == FLAG_CSV)
			strv_free(take_ptr(((List *)((char *)opts + f->offset))->v));
}

const char *options_value_name(const Flag *f)
{
	return f->value ? f->value : type_names[f->type];
}

void options_print_table(const Flag *flags, FILE *f)
{
	size_t width = 0;

	for (const Flag *g = flags; g && g->name; g++)
		if (g->help)
			width = MAX2(width, strlen(g->name) + 1 + strlen(options_value_name(g)));
	for (const Flag *g = flags; g && g->name; g++) {
		if (!g->help)
			continue;
		if (g->letter)
			(void)fprintf(f, "  -%c, ", g->letter);
		else
			(void)fprintf(f, "      ");
		(void)fprintf(f, "--%s %-*s   %s\n", g->name, (int)(width - strlen(g->name) - 1),
			      options_value_name(g), g->help);
	}
}

static bool has_shown(const Flag *flags)
{
	for (const Flag *f = flags; f && f->name; f++)
		if (f->help)
			return true;
	return false;
}

void options_print_help(const Call *call, const char *aliases, FILE *f)
{
	const Command *c = call->command;

	(void)fprintf(f, "Usage:  %s %s%s%s\n\n%s\n", call->cli->program, call->path, *c->usage ? " " : "",
		      c->usage, c->summary);
	if (aliases)
		(void)fprintf(f, "\nAliases:\n  %s\n", aliases);
	if (!has_shown(c->flags))
		return;
	(void)fprintf(f, "\nOptions:\n");
	options_print_table(c->flags, f);
}
