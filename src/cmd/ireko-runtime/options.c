/* SPDX-License-Identifier: Apache-2.0 */
/* From argv to a command's struct, by its table of options. One dash is as good as two, as in Go's programs. */
#include "command.h"

#include "base/str.h"

#include <getopt.h>

#define OPTIONS_MAX 40

static int take(const CliOption *o, void *into, Err *e)
{
	void *to = (char *)into + o->offset;

	switch (o->kind) {
	case CLI_FLAG:
		*(bool *)to = true;
		return 0;
	case CLI_TEXT:
		*(const char **)to = optarg;
		return 0;
	case CLI_LIST:
		return strv_add(to, optarg) < 0 ? err_oom(e) : 0;
	case CLI_FDS:
		if (str_to_int(optarg, 0, 1024, to) < 0)
			return err_new(e, ERR_INVALID, "--%s \"%s\": expected a number from 0 to 1024",
				       o->name, optarg);
		return 0;
	case CLI_NOTHING:
	case CLI_NOTHING_VALUE:
		return 0;
	}
	return err_new(e, ERR_INTERNAL, "option --%s has no kind", o->name);
}

static bool has_value(const CliOption *o)
{
	return o->kind != CLI_FLAG && o->kind != CLI_NOTHING;
}

/* A flag may be given as --flag=true or --flag=false, as Go's can. */
static int parse_bool_value(const CliOption *options, char **argv, void *into, Err *e)
{
	for (const CliOption *o = options; o->name; o++) {
		const char *word = argv[optind - 1] + strspn(argv[optind - 1], "-"),
			   *rest = str_after(word, o->name);

		if (o->kind != CLI_FLAG || !rest || *rest != '=')
			continue;
		if (!streq(rest, "=true") && !streq(rest, "=false"))
			return err_new(e, ERR_INVALID, "--%s%s: expected true or false", o->name, rest);
		*(bool *)((char *)into + o->offset) = streq(rest, "=true");
		return 0;
	}
	return err_new(e, ERR_INVALID, "flag provided but not defined, or without its value: %s",
		       argv[optind - 1]);
}

static int parse(const CliOption *options, bool permute, int argc, char **argv, void *into, Err *e)
{
	struct option longs[OPTIONS_MAX + 1] = {0};
	char letters[2 * OPTIONS_MAX + 3] = "";
	size_t n = 0, at = 0;
	int c, r = 0;

	if (!permute)
		letters[at++] = '+';
	for (; n < OPTIONS_MAX && options[n].name; n++) {
		const CliOption *o = &options[n];

		longs[n] = (struct option){o->name, has_value(o) ? required_argument : no_argument, NULL,
					   256 + (int)n};
		if (!o->letter)
			continue;
		letters[at++] = o->letter;
		if (has_value(o))
			letters[at++] = ':';
	}
	opterr = 0;
	optind = 0; /* begins anew, for the command's own options */
	while (r == 0 && (c = getopt_long_only(argc, argv, letters, longs, NULL)) != -1) {
		size_t i = c >= 256 ? (size_t)c - 256 : 0;

		if (c == '?') {
			r = parse_bool_value(options, argv, into, e);
			continue;
		}
		while (c < 256 && options[i].letter != c)
			i++;
		r = take(&options[i], into, e);
	}
	return r;
}

int cli_parse(const CliOption *options, int argc, char **argv, void *into, Err *e)
{
	return parse(options, true, argc, argv, into, e);
}

int cli_parse_leading(const CliOption *options, int argc, char **argv, void *into, Err *e)
{
	return parse(options, false, argc, argv, into, e);
}

int cli_one_id(int argc, char **argv, const char **ret_id, Err *e)
{
	if (optind != argc - 1)
		return err_new(e, ERR_INVALID,
			       "\"%s\" requires exactly 1 argument, a container id; %d were given", argv[0],
			       argc - optind);
	*ret_id = argv[optind];
	return 0;
}
