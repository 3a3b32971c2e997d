/* SPDX-License-Identifier: Apache-2.0 */
/* One instruction of a stage: its words are expanded as the builder does, in the environment that the ones before have left. */
#include "dockerfile/check-internal.h"
#include "dockerfile/mount.h"
#include "dockerfile/parse-internal.h"
#include "dockerfile/suggest.h"
#include "dockerfile/utf8.h"

#include "base/path.h"
#include "base/str.h"

#include <ctype.h>

/* The name nearest to one that is not set, among those of the environment. */
static const char *nearest(char *const *env, const char *name, char **memory)
{
	_cleanup_strv_ char **names = NULL;
	const char *guess;

	for (size_t i = 0; env && env[i]; i++)
		if (strv_take(&names, strndup(env[i], strcspn(env[i], "="))) < 0)
			return NULL;
	guess = names ? dockerfile_suggest(name, (const char *const *)names, false) : NULL;
	*memory = guess ? strdup(guess) : NULL;
	return *memory;
}

static int warn_unset(Checker *c, CheckStage *st, const DockerfileStep *s, char *const *unset, Err *e)
{
	for (size_t i = 0; st->env_known && unset && unset[i]; i++) {
		_cleanup_free_ char *guess = NULL;
		int r;

		if (strv_has(st->args, unset[i]) || str_starts(unset[i], "BUILDKIT_SBOM_SCAN_"))
			continue;
		if (nearest(st->env, unset[i], &guess))
			r = check_step(c, RULE_UNDEFINED_VAR, s,
				       "Usage of undefined variable '$%s' (did you mean $%s?)", unset[i],
				       guess);
		else
			r = check_step(c, RULE_UNDEFINED_VAR, s, "Usage of undefined variable '$%s'",
				       unset[i]);
		if (r < 0)
			return err_oom(e);
	}
	return 0;
}

/* A word as it will be; names in it that are not set are told. What cannot be expanded is an error of the build, not of the check: it stays as it is. */
static int word(Checker *c, CheckStage *st, const DockerfileStep *s, const char *text, char **ret, Err *e)
{
	_cleanup_strv_ char **unset = NULL;
	_cleanup_free_ char *value = NULL;
	DockerfileLex lex = {.escape = c->d->escape, .env = st->env, .unset = &unset};
	int r = dockerfile_lex_word(&lex, text, &value, NULL);

	if (r == -ENOMEM)
		return err_oom(e);
	r = warn_unset(c, st, s, unset, e);
	if (r < 0)
		return r;
	if (ret) {
		*ret = value ? take_ptr(value) : strdup(text);
		return *ret ? 0 : err_oom(e);
	}
	return 0;
}

static int set_env(CheckStage *st, const char *name, const char *value, Err *e)
{
	_cleanup_free_ char *assignment = strf("%s=%s", name, value);

	return !assignment || strv_env_set(&st->env, assignment) < 0 ? err_oom(e) : 0;
}

/* ENV and LABEL: all words are expanded in what was before the instruction. */
static int pairs(Checker *c, CheckStage *st, const DockerfileStep *s, Err *e)
{
	_cleanup_strv_ char **done = NULL;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < s->n_args; i++) {
		char *text = NULL;

		r = i % 3 == 2 ? 0 : word(c, st, s, s->args[i], &text, e);
		if (r >= 0 && text && strv_take(&done, text) < 0)
			r = err_oom(e);
	}
	for (size_t i = 0; r >= 0 && i < s->n_args; i += 3) {
		const char *name = done[i / 3 * 2], *value = done[i / 3 * 2 + 1];

		if (!*s->args[i + 2] &&
		    check_step(c, RULE_LEGACY_KEY_VALUE, s,
			       "\"%s key=value\" should be used instead of legacy \"%s key value\" format",
			       s->word, s->word) < 0)
			return err_oom(e);
		if (s->verb == DF_LABEL)
			continue;
		if (check_secret_name(name) &&
		    check_step(c, RULE_SECRETS, s,
			       "Do not use ARG or ENV instructions for sensitive data (ENV \"%s\")",
			       name) < 0)
			return err_oom(e);
		r = set_env(st, name, value, e);
	}
	return r;
}

static int remember_arg(Checker *c, const DockerfileStep *s, const char *name, const char *value,
			bool inherited, Err *e)
{
	Entry *entry = entries_find(&c->args, name);

	/* What is taken over from before the first FROM is that ARG's. */
	if (inherited) {
		Entry *global = entries_find(&c->global_args, name);

		if (global)
			global->used = true;
		return 0;
	}
	if (!entry)
		entry = entries_add(&c->args, name, s);
	if (!entry)
		return err_oom(e);
	free(entry->value);
	free(entry->description);
	entry->value = value ? strdup(value) : NULL;
	entry->description = check_description(s, name);
	entry->used = true;
	entry->first = s->line;
	entry->last = s->last_line;
	return value && !entry->value ? err_oom(e) : 0;
}

static int one_arg(Checker *c, CheckStage *st, const DockerfileStep *s, const char *text, Err *e)
{
	const char *eq = strchr(text, '='), *given, *value = NULL, *global;
	_cleanup_free_ char *name = strndup(text, eq ? (size_t)(eq - text) : strlen(text)), *expanded = NULL;
	int r = 0;

	if (!name)
		return err_oom(e);
	if (check_secret_name(name) &&
	    check_step(c, RULE_SECRETS, s,
		       "Do not use ARG or ENV instructions for sensitive data (ARG \"%s\")", name) < 0)
		return err_oom(e);
	given = strv_env_get(c->in->build_args, name);
	global = strv_env_get(c->globals, name);
	bool inherited = !eq && !given && global;
	if (given) {
		value = given;
	} else if (eq) {
		r = word(c, st, s, eq + 1, &expanded, e);
		value = expanded;
	} else {
		value = global;
	}
	if (r >= 0 && value && !str_starts(name, "BUILDKIT_SBOM_SCAN_"))
		r = set_env(st, name, value, e);
	if (r >= 0)
		r = remember_arg(c, s, name, value, inherited, e);
	if (r >= 0 && !strv_has(st->args, name) && strv_add(&st->args, name) < 0)
		r = err_oom(e);
	return r;
}

/* ---- COPY and ADD ---- */

/* The whole context is left out only by these. */
static bool leaves_nothing(const Ignore *ig)
{
	for (size_t i = 0; i < ig->n; i++)
		if (streq(ig->patterns[i], "*") || streq(ig->patterns[i], "**") ||
		    streq(ig->patterns[i], "**/*"))
			return true;
	return false;
}

static int ignored(Checker *c, const DockerfileStep *s, const char *source, Err *e)
{
	const Ignore *ig = c->in->ignore;
	_cleanup_free_ char *clean = NULL;

	/* What is taken back in an excluded folder cannot be told without looking at the files. */
	if (!ig || ignore_takes_back(ig) || dockerfile_flag(s, "from"))
		return 0;
	if (s->verb == DF_ADD && (strstr(source, "://") || str_starts(source, "git@")))
		return 0;
	clean = path_clean(source);
	if (!clean)
		return err_oom(e);
	const char *path = clean + (*clean == '/' && clean[1]);
	if ((streq(path, ".") || streq(path, "/")) && !leaves_nothing(ig))
		return 0;
	if (ignore_matches(ig, path) &&
	    check_step(c, RULE_COPY_IGNORED, s,
		       "Attempting to %s file \"%s\" that is excluded by .dockerignore",
		       s->verb == DF_ADD ? "Add" : "Copy", path) < 0)
		return err_oom(e);
	return 0;
}

static int heredocs(Checker *c, CheckStage *st, const DockerfileStep *s, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < s->n_heredocs; i++) {
		_cleanup_strv_ char **unset = NULL;
		_cleanup_free_ char *value = NULL;
		DockerfileLex lex = {.escape = '\\', .env = st->env, .literal_quotes = true, .unset = &unset};

		if (!s->heredocs[i].expand)
			continue;
		if (dockerfile_lex_word(&lex, s->heredocs[i].text, &value, NULL) == -ENOMEM)
			return err_oom(e);
		r = warn_unset(c, st, s, unset, e);
	}
	return r;
}

static int copy(Checker *c, CheckStage *st, const DockerfileStep *s, Err *e)
{
	static const char *const expanded[] = {"chown", "chmod", "checksum"};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(expanded); i++) {
		const char *value = dockerfile_flag(s, expanded[i]);

		if (value)
			r = word(c, st, s, value, NULL, e);
	}
	for (size_t i = 0; r >= 0 && i < s->n_args; i++) {
		_cleanup_free_ char *path = NULL;
		DockerfileHeredoc h = {0};
		bool source = i + 1 < s->n_args;

		if (source && s->n_heredocs && heredoc_mark(s->args[i], &h, NULL) > 0) {
			free(h.name);
			continue;
		}
		r = word(c, st, s, s->args[i], &path, e);
		if (r >= 0 && source)
			r = ignored(c, s, path, e);
	}
	return r < 0 ? r : heredocs(c, st, s, e);
}

/* ---- EXPOSE ---- */

static int port(Checker *c, const DockerfileStep *s, const char *text, Err *e)
{
	const char *colon = strrchr(text, ':'), *slash = strchr(colon ?: text, '/');
	int r = 0;

	for (const char *p = slash ? slash + 1 : ""; *p; p++) {
		if (isupper((unsigned char)*p)) {
			r = check_step(c, RULE_EXPOSE_CASING, s,
				       "Defined protocol '%s' in EXPOSE instruction should be lowercase",
				       text);
			break;
		}
	}
	if (r >= 0 && colon && colon > text)
		r = check_step(
		    c, RULE_EXPOSE_FORMAT, s,
		    "EXPOSE instruction should not define an IP address or host-port mapping, found '%s'",
		    text);
	return r < 0 ? err_oom(e) : 0;
}

static int expose(Checker *c, CheckStage *st, const DockerfileStep *s, Err *e)
{
	DockerfileLex lex = {.escape = c->d->escape, .env = st->env};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < s->n_args; i++) {
		_cleanup_strv_ char **ports = NULL;

		if (dockerfile_lex_words(&lex, s->args[i], &ports, NULL) == -ENOMEM)
			return err_oom(e);
		for (size_t k = 0; r >= 0 && ports && ports[k]; k++)
			r = port(c, s, ports[k], e);
	}
	return r;
}

/* ---- RUN ---- */

static int take_down(Entries *list, const char *name, const DockerfileStep *s, bool required, Err *e)
{
	Entry *entry = entries_find(list, name) ? NULL : entries_add(list, name, s);

	if (entry)
		entry->required = required;
	return entry || entries_find(list, name) ? 0 : err_oom(e);
}

static int mount_use(Checker *c, CheckStage *st, const DockerfileStep *s, const char *spec, Err *e)
{
	DockerfileMount m;
	int r = dockerfile_mount_expand(spec, c->d->escape, st->env, &m, NULL);

	if (r < 0)
		return 0;
	if (m.type == DF_MOUNT_SECRET) {
		const char *base = m.target ? strrchr(m.target, '/') : NULL;

		r = take_down(&c->secrets, m.source ?: m.id ?: base ? base + 1 : m.target ?: "", s, m.required, e);
	} else if (m.type == DF_MOUNT_SSH) {
		r = take_down(&c->ssh, m.id ?: "default", s, m.required, e);
	}
	dockerfile_mount_done(&m);
	return r;
}

static int run_mounts(Checker *c, CheckStage *st, const DockerfileStep *s, Err *e)
{
	const char *spec;
	int r = 0;

	for (size_t at = 0; r >= 0 && (spec = dockerfile_flag_next(s, "mount", &at));) {
		_cleanup_strv_ char **fields = NULL;

		if (strv_split_csv(spec, &fields) < 0)
			continue;
		for (size_t i = 0; r >= 0 && fields[i]; i++) {
			const char *eq = strchr(fields[i], '=');

			r = eq ? word(c, st, s, eq + 1, NULL, e) : 0;
		}
		if (r >= 0)
			r = mount_use(c, st, s, spec, e);
	}
	return r;
}

/* ---- the others ---- */

static int only_last_counts(Checker *c, CheckStage *st, const DockerfileStep *s, Err *e)
{
	int *used = &st->used[s->verb == DF_CMD ? 0 : s->verb == DF_ENTRYPOINT ? 1 : 2], before = *used;

	*used = (int)(s - c->d->steps) + 1;
	if (before && check_step(c, RULE_MULTIPLE_INSTRUCTIONS, &c->d->steps[before - 1],
				 "Multiple %s instructions should not be used in the same stage because only "
				 "the last one will "
				 "be used",
				 s->word) < 0)
		return err_oom(e);
	if (s->verb != DF_HEALTHCHECK && !s->json && !st->has_shell &&
	    check_step(
		c, RULE_JSON_ARGS, s,
		"JSON arguments recommended for %s to prevent unintended behavior related to OS signals",
		s->word) < 0)
		return err_oom(e);
	return 0;
}

static int workdir(Checker *c, CheckStage *st, const DockerfileStep *s, Err *e)
{
	_cleanup_free_ char *path = NULL;
	int r = word(c, st, s, s->args[0], &path, e);

	if (r < 0)
		return r;
	if (!st->workdir_set && *path != '/' &&
	    check_step(c, RULE_WORKDIR_RELATIVE, s,
		       "Relative workdir \"%s\" can have unexpected results if the base image changes",
		       path) < 0)
		return err_oom(e);
	st->workdir_set = true;
	return 0;
}

int check_dispatch(Checker *c, CheckStage *st, const DockerfileStep *s, Err *e)
{
	int r = 0;

	switch (s->verb) {
	case DF_ENV:
	case DF_LABEL:
		return pairs(c, st, s, e);
	case DF_ARG:
		for (size_t i = 0; r >= 0 && i < s->n_args; i++)
			r = one_arg(c, st, s, s->args[i], e);
		return r;
	case DF_ADD:
	case DF_COPY:
		return copy(c, st, s, e);
	case DF_EXPOSE:
		return expose(c, st, s, e);
	case DF_RUN:
		return run_mounts(c, st, s, e);
	case DF_CMD:
	case DF_ENTRYPOINT:
	case DF_HEALTHCHECK:
		return only_last_counts(c, st, s, e);
	case DF_WORKDIR:
		return workdir(c, st, s, e);
	case DF_USER:
	case DF_STOPSIGNAL:
	case DF_VOLUME:
		for (size_t i = 0; r >= 0 && i < s->n_args; i++)
			r = word(c, st, s, s->args[i], NULL, e);
		return r;
	case DF_SHELL:
		st->has_shell = true;
		return 0;
	case DF_FROM:
	case DF_MAINTAINER:
	case DF_ONBUILD:
		break;
	}
	return 0;
}
