/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk of the checks: what can be seen from all instructions at once, then the stages from first to last, each that is needed with
 * the environment that it starts with.
 */
#include "dockerfile/check-internal.h"
#include "dockerfile/suggest.h"

#include "base/str.h"

#include <ctype.h>

#define ENTRIES_MAX 10000

/* ---- entries ---- */

Entry *entries_find(Entries *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (streq(list->items[i].name, name))
			return &list->items[i];
	return NULL;
}

Entry *entries_add(Entries *list, const char *name, const DockerfileStep *s)
{
	Entry *grown = list->n < ENTRIES_MAX ? reallocarray(list->items, list->n + 1, sizeof(*grown)) : NULL;

	if (!grown)
		return NULL;
	list->items = grown;
	grown[list->n] = (Entry){.name = strdup(name), .first = s->line, .last = s->last_line};
	return grown[list->n].name ? &grown[list->n++] : NULL;
}

static void entries_done(Entries *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->items[i].name);
		free(list->items[i].value);
		free(list->items[i].description);
		strv_free(list->items[i].deps);
	}
	free(list->items);
}

void checker_done(Checker *c)
{
	strv_free(c->globals);
	strv_free(c->global_names);
	for (size_t i = 0; i < c->n_stages; i++) {
		free(c->stages[i].name);
		free(c->stages[i].base);
		free(c->stages[i].platform);
		strv_free(c->stages[i].env);
		strv_free(c->stages[i].args);
		strv_free(c->stages[i].from_args);
	}
	free(c->stages);
	entries_done(&c->args);
	entries_done(&c->secrets);
	entries_done(&c->ssh);
	entries_done(&c->global_args);
}

char *check_description(const DockerfileStep *s, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = s->comments; line && *line; line += strcspn(line, "\n") + 1)
		if (strncmp(line, name, n) == 0 && line[n] == ' ')
			return strndup(line + n + 1, strcspn(line + n + 1, "\n"));
	return NULL;
}

/* ---- what is seen at once ---- */

static bool all_lower(const char *s)
{
	for (; *s; s++)
		if (isupper((unsigned char)*s))
			return false;
	return true;
}

static bool all_upper(const char *s)
{
	for (; *s; s++)
		if (islower((unsigned char)*s))
			return false;
	return true;
}

/* The last comment line above a stage or an ARG should describe it: "# name text". */
static int description(Checker *c, const DockerfileStep *s, char *const *names, size_t n, const char *what)
{
	const char *line = s->comments, *next;

	if (!line || n == 0)
		return 0;
	while ((next = strchr(line, '\n')) && next[1])
		line = next + 1;
	for (size_t i = 0; i < n; i++) {
		size_t len = strcspn(names[i], "=");

		if (strncmp(line, names[i], len) == 0 && strchr(" \n", line[len]))
			return 0;
	}
	return check_step(c, RULE_DESCRIPTION, s,
			  "Comment for %s should follow the format: `# %.*s <description>`", what,
			  n > 1 ? 9 : (int)strcspn(names[0], "="), n > 1 ? "<arg_key>" : names[0]);
}

static int form_of_from(Checker *c, const DockerfileStep *s)
{
	int r = 0;

	if (s->n_args != 3)
		return 0;
	if (!all_lower(s->args[2]))
		r = check_step(c, RULE_STAGE_NAME_CASING, s, "Stage name '%s' should be lowercase",
			       s->args[2]);
	if (r >= 0 &&
	    (all_lower(s->word) ? !all_lower(s->args[1]) : all_upper(s->word) && !all_upper(s->args[1])))
		r = check_step(c, RULE_FROM_AS_CASING, s, "'%s' and '%s' keywords' casing do not match",
			       s->args[1], s->word);
	return r < 0 ? r : description(c, s, &s->args[2], 1, "FROM");
}

static int forms(Checker *c)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < c->d->n_steps; i++) {
		const DockerfileStep *s = &c->d->steps[i];

		if (s->empty_continuation)
			r = check_warn(c, RULE_NO_EMPTY_CONTINUATION, s, s->joined_line, s->joined_line, 0,
				       "Empty continuation line");
	}
	for (size_t i = 0; r >= 0 && i < c->d->n_steps; i++) {
		const DockerfileStep *s = &c->d->steps[i];

		if (s->verb == DF_MAINTAINER)
			r = check_step(c, RULE_MAINTAINER, s,
				       "Maintainer instruction is deprecated in favor of using label");
		else if (s->verb == DF_FROM)
			r = form_of_from(c, s);
		else if (s->verb == DF_ARG)
			r = description(c, s, s->args, s->n_args, "ARG");
	}
	return r;
}

static int stage_names(Checker *c)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < c->n_stages; i++) {
		const CheckStage *st = &c->stages[i];

		if (!st->name)
			continue;
		if (streq(st->name, "scratch") || streq(st->name, "context"))
			r = check_step(c, RULE_RESERVED_STAGE_NAME, st->from,
				       "Stage name should not use the same name as reserved stage \"%s\"",
				       st->name);
		for (size_t k = 0; r >= 0 && k < i; k++) {
			if (streq0(c->stages[k].name, st->name)) {
				r = check_step(c, RULE_DUPLICATE_STAGE_NAME, st->from,
					       "Duplicate stage name \"%s\", stage names should be unique",
					       st->name);
				break;
			}
		}
	}
	return r;
}

static int casing(Checker *c)
{
	size_t first = c->n_stages ? c->stages[0].first - 1 : 0, lower = 0, upper = 0;
	int r = 0;

	for (size_t i = first; i < c->d->n_steps; i++) {
		lower += all_lower(c->d->steps[i].word);
		upper += all_upper(c->d->steps[i].word);
	}
	for (size_t i = first; r >= 0 && i < c->d->n_steps; i++) {
		const DockerfileStep *s = &c->d->steps[i];

		if (lower > upper ? !all_lower(s->word) : !all_upper(s->word))
			r = check_warn(c, RULE_CONSISTENT_CASING, s, s->line, s->last_line, s->column,
				       "Command '%s' should match the case of the command majority (%s)",
				       s->word, lower > upper ? "lowercase" : "uppercase");
	}
	return r;
}

/* ---- ARGs before the first FROM ---- */

static int platform_args(char ***env, const char *prefix, const char *platform)
{
	char os[64], arch[64], variant[64];
	int r;

	if (!check_platform_parse(platform, os, arch, variant))
		return -EINVAL;
	r = strv_take(env, strf("%sPLATFORM=%s/%s%s%s", prefix, os, arch, *variant ? "/" : "", variant));
	if (r >= 0)
		r = strv_take(env, strf("%sOS=%s", prefix, os));
	if (r >= 0)
		r = strv_take(env, strf("%sOSVERSION=", prefix));
	if (r >= 0)
		r = strv_take(env, strf("%sARCH=%s", prefix, arch));
	return r < 0 ? r : strv_take(env, strf("%sVARIANT=%s", prefix, variant));
}

/* Those that are always there; build arguments of their names go before. */
static int predefined(const Checker *c, char ***env, Err *e)
{
	const char *target = c->in->target ?: c->n_stages ? c->stages[c->n_stages - 1].name : NULL;
	const char *platform = c->in->platform ?: "linux/amd64", *own = c->in->build_platform ?: platform;
	int r = platform_args(env, "BUILD", own);

	if (r >= 0)
		r = platform_args(env, "TARGET", platform);
	if (r >= 0)
		r = strv_take(env, strf("TARGETSTAGE=%s", target ?: "default"));
	for (size_t i = 0; r >= 0 && (*env)[i]; i++) {
		_cleanup_free_ char *name = strndup((*env)[i], strcspn((*env)[i], "="));
		const char *given = name ? strv_env_get(c->in->build_args, name) : NULL;
		char *other = given ? strf("%s=%s", name, given) : NULL;

		if (other) {
			free((*env)[i]);
			(*env)[i] = other;
		}
		r = !name || (given && !other) ? -ENOMEM : 0;
	}
	if (r == -EINVAL)
		return err_new(e, ERR_INVALID, "platform \"%.100s\" is none, as linux/amd64 is", platform);
	return r < 0 ? err_oom(e) : 0;
}

static int global_entry(Checker *c, const DockerfileStep *s, const char *name, const char *value,
			char ***deps, Err *e)
{
	Entry *entry = entries_find(&c->global_args, name);

	if (!entry)
		entry = entries_add(&c->global_args, name, s);
	if (!entry)
		return err_oom(e);
	/* What it was before is a part of it where its default refers to itself. */
	for (size_t i = 0; strv_has(*deps, name) && entry->deps && entry->deps[i]; i++)
		if (!strv_has(*deps, entry->deps[i]) && strv_add(deps, entry->deps[i]) < 0)
			return err_oom(e);
	free(entry->value);
	free(entry->description);
	strv_free(entry->deps);
	entry->value = value ? strdup(value) : NULL;
	entry->description = check_description(s, name);
	entry->deps = take_ptr(*deps);
	entry->first = s->line;
	entry->last = s->last_line;
	return value && !entry->value ? err_oom(e) : 0;
}

/* build_args NULL: with defaults only. take: for good, with what the outline needs. */
static int global_arg(Checker *c, const DockerfileStep *s, const char *text, char *const *build_args,
		      char ***env, bool take, Err *e)
{
	const char *eq = strchr(text, '=');
	_cleanup_free_ char *name = strndup(text, eq ? (size_t)(eq - text) : strlen(text)), *expanded = NULL;
	_cleanup_free_ char *assignment = NULL;
	_cleanup_strv_ char **used = NULL;
	int r = 0;

	if (!name)
		return err_oom(e);
	const char *value = strv_env_get(build_args, name);
	if (!value && eq) {
		DockerfileLex lex = {.escape = c->d->escape, .env = *env, .used = &used};

		r = dockerfile_lex_word(&lex, eq + 1, &expanded, e);
		value = expanded;
	}
	if (r >= 0 && value) {
		assignment = strf("%s=%s", name, value);
		r = assignment && strv_env_set(env, assignment) >= 0 ? 0 : err_oom(e);
	}
	if (r < 0 || !take)
		return r;
	if (!strv_has(c->global_names, name) && strv_add(&c->global_names, name) < 0)
		return err_oom(e);
	return global_entry(c, s, name, value, &used, e);
}

static int global_args(Checker *c, char *const *build_args, bool take, char ***env, Err *e)
{
	int r = predefined(c, env, e);

	for (size_t i = 0; r >= 0 && i < c->d->n_steps && c->d->steps[i].verb == DF_ARG; i++) {
		const DockerfileStep *s = &c->d->steps[i];

		for (size_t k = 0; r >= 0 && k < s->n_args; k++)
			r = global_arg(c, s, s->args[k], build_args, env, take, e);
	}
	for (size_t i = 0; take && r >= 0 && (*env)[i]; i++) {
		_cleanup_free_ char *name = strndup((*env)[i], strcspn((*env)[i], "="));

		if (!name || (!strv_has(c->global_names, name) && strv_add(&c->global_names, name) < 0))
			r = err_oom(e);
	}
	return r;
}

/* Names of base images must hold without build arguments too. */
static int default_bases(Checker *c, Err *e)
{
	_cleanup_strv_ char **env = NULL;
	int r = global_args(c, NULL, false, &env, NULL);

	if (r < 0)
		return r == -ENOMEM ? err_oom(e) : 0;
	for (size_t i = 0; i < c->n_stages; i++) {
		const DockerfileStep *s = c->stages[i].from;
		_cleanup_free_ char *base = NULL;
		DockerfileLex lex = {.escape = c->d->escape, .env = env};

		r = dockerfile_lex_word(&lex, s->args[0], &base, NULL);
		if (r < 0)
			return r == -ENOMEM ? err_oom(e) : 0;
		if (!check_reference_valid(base) &&
		    check_step(c, RULE_DEFAULT_ARG_IN_FROM, s,
			       "Default value for ARG %s results in empty or invalid base image name",
			       s->args[0]) < 0)
			return err_oom(e);
	}
	return 0;
}

/* ---- stages ---- */

static int add_stage(Checker *c, size_t step, Err *e)
{
	const DockerfileStep *s = &c->d->steps[step];
	CheckStage *grown = reallocarray(c->stages, c->n_stages + 1, sizeof(*grown));

	if (!grown)
		return err_oom(e);
	c->stages = grown;
	grown[c->n_stages++] =
	    (CheckStage){.from = s, .first = step + 1, .last = c->d->n_steps, .parent = -1};
	if (c->n_stages > 1)
		grown[c->n_stages - 2].last = step;
	if (s->n_args < 3)
		return 0;
	char *name = strdup(s->args[2]);
	grown[c->n_stages - 1].name = name;
	for (; name && *name; name++)
		*name = (char)tolower((unsigned char)*name);
	return name ? 0 : err_oom(e);
}

int checker_stages(Checker *c, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < c->d->n_steps; i++)
		if (c->d->steps[i].verb == DF_FROM)
			r = add_stage(c, i, e);
	return r;
}

/* Of two of one name, the later. */
int check_stage_find(const Checker *c, size_t below, const char *name)
{
	int number;

	for (size_t i = below; i-- > 0;)
		if (c->stages[i].name && strcasecmp(c->stages[i].name, name) == 0)
			return (int)i;
	if (str_to_int(name, 0, (int)below - 1, &number) == 0)
		return number;
	return -1;
}

static int unset_in_from(Checker *c, const CheckStage *st, char *const *unset)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && unset && unset[i]; i++) {
		if (strv_has(c->global_names, unset[i]))
			continue;
		const char *guess =
		    c->global_names
			? dockerfile_suggest(unset[i], (const char *const *)c->global_names, false)
			: NULL;

		r = guess
			? check_step(c, RULE_UNDEFINED_ARG_IN_FROM, st->from,
				     "FROM argument '%s' is not declared (did you mean %s?)", unset[i], guess)
			: check_step(c, RULE_UNDEFINED_ARG_IN_FROM, st->from,
				     "FROM argument '%s' is not declared", unset[i]);
	}
	return r;
}

/* A word of FROM: which ARGs it uses is told to the outline. */
static int from_word(Checker *c, CheckStage *st, const char *text, char **ret, char ***used, Err *e)
{
	_cleanup_strv_ char **unset = NULL;
	DockerfileLex lex = {.escape = c->d->escape, .env = c->globals, .unset = &unset, .used = used};
	int r = dockerfile_lex_word(&lex, text, ret, NULL);

	if (r == -ENOMEM || unset_in_from(c, st, unset) < 0)
		return err_oom(e);
	for (size_t i = 0; *used && (*used)[i]; i++)
		if (!strv_has(st->from_args, (*used)[i]) && strv_add(&st->from_args, (*used)[i]) < 0)
			return err_oom(e);
	/* What cannot be expanded is an error of the build; here it is a name that nothing has. */
	if (r < 0)
		*ret = strdup("");
	return *ret ? (unset ? 1 : 0) : err_oom(e);
}

static int platform_of_from(Checker *c, CheckStage *st, const char *text, Err *e)
{
	_cleanup_strv_ char **used = NULL;
	char os[64], arch[64], variant[64];
	int unset = from_word(c, st, text, &st->platform, &used, e), r = 0;
	const char *target = strv_env_get(c->globals, "TARGETPLATFORM");

	if (unset < 0)
		return unset;
	if (!unset && strv_len(used) == 1 && streq(used[0], "TARGETPLATFORM") && streq0(target, st->platform))
		r = check_step(
		    c, RULE_REDUNDANT_PLATFORM, st->from,
		    "Setting platform to predefined %s in FROM is redundant as this is the default behavior",
		    text);
	else if (!unset && !used && check_platform_parse(st->platform, os, arch, variant) &&
		 !(st->name && (strstr(st->name, os) || strstr(st->name, arch))))
		r = check_step(c, RULE_CONST_PLATFORM, st->from,
			       "FROM --platform flag should not use constant value \"%s\"", st->platform);
	return r < 0 ? err_oom(e) : 0;
}

static int stage_from(Checker *c, size_t i, Err *e)
{
	CheckStage *st = &c->stages[i];
	const char *platform = dockerfile_flag(st->from, "platform");
	_cleanup_strv_ char **used = NULL;
	int r = from_word(c, st, st->from->args[0], &st->base, &used, e);

	if (r >= 0)
		st->parent = check_stage_find(c, i, st->base);
	return r < 0 || !platform ? r : platform_of_from(c, st, platform, e);
}

/* Which stages a stage takes files from. */
static void need_sources(Checker *c, size_t i)
{
	for (size_t k = c->stages[i].first; k < c->stages[i].last; k++) {
		const DockerfileStep *s = &c->d->steps[k];
		const char *from = s->verb == DF_COPY ? dockerfile_flag(s, "from") : NULL, *spec;
		int source = from ? check_stage_find(c, i, from) : -1;

		if (source >= 0)
			c->stages[source].needed = true;
		for (size_t at = 0; s->verb == DF_RUN && (spec = dockerfile_flag_next(s, "mount", &at));) {
			_cleanup_strv_ char **fields = NULL;

			if (strv_split_csv(spec, &fields) < 0)
				continue;
			for (size_t f = 0; fields[f]; f++) {
				source = strncasecmp(fields[f], "from=", 5) == 0
					     ? check_stage_find(c, i, fields[f] + 5)
					     : -1;
				if (source >= 0)
					c->stages[source].needed = true;
			}
		}
	}
}

static int find_target(Checker *c, Err *e)
{
	int found = c->in->target && *c->in->target ? check_stage_find(c, c->n_stages, c->in->target)
						    : (int)c->n_stages - 1;

	if (found < 0)
		return err_new(e, ERR_INVALID, "target stage \"%.100s\" could not be found", c->in->target);
	c->target = (size_t)found;
	c->stages[found].needed = true;
	/* Stages take from those before them only. */
	for (size_t i = c->n_stages; i-- > 0;) {
		c->stages[i].needed = c->stages[i].needed || c->in->all_stages;
		if (!c->stages[i].needed)
			continue;
		if (c->stages[i].parent >= 0)
			c->stages[c->stages[i].parent].needed = true;
		need_sources(c, i);
	}
	return 0;
}

static int inherit(CheckStage *st, const CheckStage *parent, Err *e)
{
	st->env = strv_dup(parent->env);
	st->args = strv_dup(parent->args);
	st->env_known = parent->env_known;
	st->has_shell = parent->has_shell;
	st->workdir_set = parent->workdir_set;
	return (parent->env && !st->env) || (parent->args && !st->args) ? err_oom(e) : 0;
}

static int base_platform(Checker *c, const CheckStage *st, const char *actual, const char *expected)
{
	char os[2][64], arch[2][64], variant[2][64];

	if (!check_platform_parse(actual, os[0], arch[0], variant[0]) ||
	    !check_platform_parse(expected, os[1], arch[1], variant[1]) ||
	    (streq(os[0], os[1]) && streq(arch[0], arch[1])))
		return 0;
	return check_step(
	    c, RULE_BASE_PLATFORM, st->from,
	    "Base image %s was pulled with platform \"%s/%s%s%s\", expected \"%s/%s%s%s\" for current build",
	    st->base, os[0], arch[0], *variant[0] ? "/" : "", variant[0], os[1], arch[1],
	    *variant[1] ? "/" : "", variant[1]);
}

/* What an image brings along. */
static int from_image(Checker *c, CheckStage *st, Err *e)
{
	const char *platform = st->platform ?: strv_env_get(c->globals, "TARGETPLATFORM");
	DockerfileBase base = {0};
	int r = 0;

	if (streq(st->base, "scratch")) {
		st->env_known = true;
	} else if (c->in->base && c->in->base(c->in->user, st->base, platform, &base) > 0) {
		st->env_known = true;
		st->env = take_ptr(base.env);
		st->has_shell = base.has_shell;
		if (base.platform)
			r = base_platform(c, st, base.platform, platform);
	}
	strv_free(base.env);
	free(base.platform);
	if (r >= 0 && !strv_env_get(st->env, "PATH"))
		r = strv_add(&st->env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	return r < 0 ? err_oom(e) : 0;
}

static void use_from_args(Checker *c, const CheckStage *st)
{
	for (size_t i = 0; st->from_args && st->from_args[i]; i++) {
		Entry *entry = entries_find(&c->global_args, st->from_args[i]);

		if (entry)
			entry->used = true;
	}
}

static int walk_stage(Checker *c, CheckStage *st, Err *e)
{
	int r = st->parent >= 0 ? inherit(st, &c->stages[st->parent], e) : from_image(c, st, e);

	use_from_args(c, st);
	for (size_t i = st->first; r >= 0 && i < st->last; i++)
		r = check_dispatch(c, st, &c->d->steps[i], e);
	return r;
}

static int options_of(Checker *c, Err *e)
{
	const char *given = strv_env_get(c->in->build_args, "BUILDKIT_DOCKERFILE_CHECK");
	_cleanup_free_ char *text = NULL;

	if (given)
		return check_options_parse(given, &c->options, e);
	if (!c->d->check)
		return 0;
	text = strndup(c->d->check, strcspn(c->d->check, " "));
	return text ? check_options_parse(text, &c->options, e) : err_oom(e);
}

int checker_forms(Checker *c, Err *e)
{
	int r = options_of(c, e);

	return r < 0 || forms(c) >= 0 ? r : err_oom(e);
}

int checker_run(Checker *c, Err *e)
{
	int r = options_of(c, e);

	if (r >= 0)
		r = checker_stages(c, e);
	if (r >= 0 && (forms(c) < 0 || stage_names(c) < 0 || casing(c) < 0))
		r = err_oom(e);
	if (r >= 0)
		r = default_bases(c, e);
	if (r >= 0)
		r = global_args(c, c->in->build_args, true, &c->globals, e);
	for (size_t i = 0; r >= 0 && i < c->n_stages; i++)
		r = stage_from(c, i, e);
	if (r >= 0)
		r = find_target(c, e);
	for (size_t i = 0; r >= 0 && i < c->n_stages; i++)
		if (c->stages[i].needed)
			r = walk_stage(c, &c->stages[i], e);
	return r < 0 ? r : 0;
}

int dockerfile_check(const Dockerfile *d, const DockerfileCheckInput *in, DockerfileSink sink, Err *e)
{
	Checker c = {.d = d, .in = in, .sink = sink, .sink_user = in->user};
	_cleanup_strbuf_ StrBuf names = {0};
	int r = checker_run(&c, e);

	for (Rule i = 0; i < N_RULES; i++)
		if (c.called[i])
			strbuf_addf(&names, "%s%s", names.len ? ", " : "", check_rule_name(i));
	if (r >= 0 && c.options.error && names.len)
		r = err_new(e, ERR_INVALID, "lint violation found for rules: %s", names.s);
	checker_done(&c);
	return r;
}

int dockerfile_check_base(const Dockerfile *d, const DockerfileCheckInput *in, const DockerfileStep *from,
			  const char *image, const char *actual, const char *expected, DockerfileSink sink,
			  Err *e)
{
	Checker c = {.d = d, .in = in, .sink = sink, .sink_user = in->user};
	const CheckStage stage = {.from = from, .base = (char *)image};
	int r = options_of(&c, e);

	if (r < 0)
		return r;
	if (base_platform(&c, &stage, actual, expected) < 0)
		return err_oom(e);
	return c.options.error && c.called[RULE_BASE_PLATFORM]
		   ? err_new(e, ERR_INVALID, "lint violation found for rules: %s",
			     check_rule_name(RULE_BASE_PLATFORM))
		   : 0;
}
