/* SPDX-License-Identifier: Apache-2.0 */
/* See complete.h: from the words on the line to the table that says what comes next. */
#include "complete.h"
#include "text.h"
#include "verbs.h"

#include <ctype.h>

/* Where the words before the cursor have led. */
typedef struct Place {
	const VerbGroup *group;
	const Command *command;
	char path[64];     /* "container ls" */
	int n_args;        /* arguments of the command so far */
	bool only_args;    /* behind "--", or behind the image of run */
	const Flag *wants; /* the word before is this flag, which needs a value */
} Place;

static bool is_plain(const char *s)
{
	for (const char *p = s; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("_.:/@+=,-%", *p))
			return false;
	return *s;
}

void completion_add(Completion *c, const char *candidate, const char *description)
{
	if (!str_starts(candidate, c->prefix) || !is_plain(candidate))
		return;
	strbuf_addf(&c->out, "%s%s", c->leading, candidate);
	if (description) {
		strbuf_add_c(&c->out, '\t');
		text_escape(&c->out, description, false);
	}
	strbuf_add_c(&c->out, '\n');
}

/* ---- the words before */

static bool takes_value(const Flag *f)
{
	return f->type != FLAG_BOOL && f->type != FLAG_TRI;
}

static const Flag *find_flag(const Flag *flags, const char *name, size_t len)
{
	for (const Flag *f = flags; f && f->name; f++)
		if (strlen(f->name) == len && strncmp(f->name, name, len) == 0)
			return f;
	return NULL;
}

static const Flag *find_letter(const Flag *flags, char c)
{
	for (const Flag *f = flags; f && f->name; f++)
		if (f->letter == c)
			return f;
	return NULL;
}

/* The flag of this word that still waits for its value, or NULL. */
static const Flag *pending_flag(const Flag *flags, const char *word)
{
	const Flag *f = NULL;

	if (str_starts(word, "--")) {
		f = strchr(word, '=') ? NULL : find_flag(flags, word + 2, strlen(word + 2));
		return f && takes_value(f) ? f : NULL;
	}
	for (const char *p = word + 1; *p; p++) {
		f = find_letter(flags, *p);
		if (!f)
			return NULL;
		if (takes_value(f))
			return p[1] ? NULL : f;
	}
	return NULL;
}

static const Flag *flags_of(const Place *pl)
{
	return pl->command ? pl->command->flags : pl->group ? NULL : global_flags;
}

static void take_name(Place *pl, const char *word)
{
	if (pl->group) {
		pl->command = verbs_find(pl->group->verbs, word);
		snprintf(pl->path, sizeof(pl->path), "%s %s", pl->group->name, word);
		return;
	}
	pl->command = verbs_find(verbs, word);
	pl->group = pl->command ? NULL : verbs_find_group(word);
	snprintf(pl->path, sizeof(pl->path), "%s", word);
}

/* False if nothing can be known of what follows. */
static bool take_word(Place *pl, const char *word)
{
	if (pl->wants) {
		pl->wants = NULL;
		return true;
	}
	if (!pl->only_args && streq(word, "--")) {
		pl->only_args = true;
		return true;
	}
	if (!pl->only_args && word[0] == '-' && word[1]) {
		pl->wants = pending_flag(flags_of(pl), word);
		return true;
	}
	if (pl->command) {
		pl->n_args++;
		pl->only_args = pl->only_args || pl->command->stop_at_first;
		return true;
	}
	take_name(pl, word);
	return pl->command || pl->group;
}

/* ---- the word at the cursor */

static void add_verbs(Completion *c, const Verb *table)
{
	for (const Verb *v = table; v->name; v++)
		if (!v->alias)
			completion_add(c, v->name, v->command->summary);
}

static void add_groups(Completion *c)
{
	for (const VerbGroup *g = verb_groups; g->name; g++)
		completion_add(c, g->name, g->summary);
}

static void add_flags(Completion *c, const Flag *flags)
{
	for (const Flag *f = flags; f && f->name; f++) {
		char name[64];

		if (!f->help)
			continue;
		snprintf(name, sizeof(name), "--%s", f->name);
		completion_add(c, name, f->help);
		if (f->letter && c->prefix[0] == '-' && !c->prefix[1]) {
			snprintf(name, sizeof(name), "-%c", f->letter);
			completion_add(c, name, f->help);
		}
	}
	completion_add(c, "--help", "Print usage");
}

/* The n-th argument in a usage such as "[OPTIONS] NETWORK CONTAINER [CONTAINER...]"; the last one repeats if it says so.
 * malloc'ed; NULL if there is none. */
static char *kind_of_argument(const char *usage, int n)
{
	_cleanup_strv_ char **words = strv_split(usage, ' ');
	char *last = NULL;

	for (size_t i = 0; words && words[i]; i++) {
		if (!*words[i] || streq(words[i], "[OPTIONS]"))
			continue;
		last = words[i];
		if (n-- == 0)
			break;
	}
	if (!last || (n >= 0 && !str_ends(last, "...]")))
		return NULL;
	const char *start = last + (*last == '[');
	return strndup(start, strcspn(start, str_starts(start, "CONTAINER:") ? "" : "[].:"));
}

static void add_command(Completion *c, const Place *pl)
{
	_cleanup_free_ char *kind = kind_of_argument(pl->command->usage, pl->n_args);

	if (kind)
		completion_arguments(c, pl->path, kind);
}

static void complete_word(Completion *c, const Place *pl, const char *word)
{
	const char *eq = strchr(word, '=');

	if (pl->wants) {
		completion_flag_values(c, pl->path, pl->wants);
		return;
	}
	if (!pl->only_args && str_starts(word, "--") && eq) {
		const Flag *f = find_flag(flags_of(pl), word + 2, (size_t)(eq - word - 2));
		_cleanup_free_ char *leading = strndup(word, (size_t)(eq - word + 1));

		if (!f || !leading)
			return;
		c->leading = leading;
		c->prefix = eq + 1;
		completion_flag_values(c, pl->path, f);
		c->leading = "";
		return;
	}
	if (!pl->only_args && *word == '-') {
		add_flags(c, flags_of(pl));
	} else if (pl->command) {
		add_command(c, pl);
	} else if (pl->group) {
		add_verbs(c, pl->group->verbs);
	} else {
		add_verbs(c, verbs);
		add_groups(c);
	}
}

/* -H, -c and --config on the line choose the engine that is asked for names. */
static void take_globals(Cli *cli, char **words, int n)
{
	for (int i = 0; i < n && words[i][0] == '-'; i++) {
		const char *eq = strchr(words[i], '=');
		const Flag *f = eq ? NULL : pending_flag(global_flags, words[i]);
		const char *value = eq ? eq + 1 : f && i + 1 < n ? words[i + 1] : NULL;

		if (value && ((f && streq(f->name, "host")) || str_starts(words[i], "--host=")))
			cli->host = value;
		else if (value && ((f && streq(f->name, "context")) || str_starts(words[i], "--context=")))
			cli->context = value;
		else if (value && ((f && streq(f->name, "config")) || str_starts(words[i], "--config=")))
			cli->config_dir = value;
		i += f != NULL;
	}
}

static int run_complete(Call *call, Err *e)
{
	const char *word = call->n_args > 0 ? call->args[call->n_args - 1] : "";
	Completion c = {.cli = call->cli, .prefix = word, .leading = "", .directive = DIRECTIVE_NO_FILES};
	Place pl = {0};
	bool known = true;

	/* A shell waits for us: an engine that hangs is not waited for long. */
	(void)alarm(3);
	take_globals(call->cli, call->args, call->n_args - 1);
	for (int i = 0; known && i < call->n_args - 1; i++)
		known = take_word(&pl, call->args[i]);
	if (known)
		complete_word(&c, &pl, word);
	else
		c.directive = DIRECTIVE_FILES;
	(void)fputs(c.out.s && !c.out.oom ? c.out.s : "", stdout);
	(void)printf(":%d\n", c.directive);
	strbuf_done(&c.out);
	return 0;
}

const Command cmd_complete = {.usage = "[WORD...]",
			      .summary = "Print what may stand at the end of a command line",
			      .raw = true,
			      .max = -1,
			      .run = run_complete};
