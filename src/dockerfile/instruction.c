/* SPDX-License-Identifier: Apache-2.0 */
/* What each instruction may have: flags, how many arguments, and the forms of those that can be told from the text alone. */
#include "dockerfile/mount.h"
#include "dockerfile/parse-internal.h"
#include "dockerfile/suggest.h"

#include "base/str.h"

#include <ctype.h>

typedef enum FlagKind { FLAG_TEXT, FLAG_TEXTS, FLAG_BOOL } FlagKind;

typedef struct Flag {
	DockerfileVerb verb;
	const char *name;
	FlagKind kind;
} Flag;

static const char *const verbs[] = {
    [DF_ADD] = "ADD",
    [DF_ARG] = "ARG",
    [DF_CMD] = "CMD",
    [DF_COPY] = "COPY",
    [DF_ENTRYPOINT] = "ENTRYPOINT",
    [DF_ENV] = "ENV",
    [DF_EXPOSE] = "EXPOSE",
    [DF_FROM] = "FROM",
    [DF_HEALTHCHECK] = "HEALTHCHECK",
    [DF_LABEL] = "LABEL",
    [DF_MAINTAINER] = "MAINTAINER",
    [DF_ONBUILD] = "ONBUILD",
    [DF_RUN] = "RUN",
    [DF_SHELL] = "SHELL",
    [DF_STOPSIGNAL] = "STOPSIGNAL",
    [DF_USER] = "USER",
    [DF_VOLUME] = "VOLUME",
    [DF_WORKDIR] = "WORKDIR",
    NULL,
};

static const Flag flags[] = {
    {DF_FROM, "platform", FLAG_TEXT},
    {DF_RUN, "mount", FLAG_TEXTS},
    {DF_RUN, "network", FLAG_TEXT},
    {DF_RUN, "security", FLAG_TEXT},
    {DF_RUN, "device", FLAG_TEXTS},
    {DF_COPY, "from", FLAG_TEXT},
    {DF_COPY, "chown", FLAG_TEXT},
    {DF_COPY, "chmod", FLAG_TEXT},
    {DF_COPY, "link", FLAG_BOOL},
    {DF_COPY, "parents", FLAG_BOOL},
    {DF_COPY, "exclude", FLAG_TEXTS},
    {DF_ADD, "chown", FLAG_TEXT},
    {DF_ADD, "chmod", FLAG_TEXT},
    {DF_ADD, "link", FLAG_BOOL},
    {DF_ADD, "keep-git-dir", FLAG_BOOL},
    {DF_ADD, "checksum", FLAG_TEXT},
    {DF_ADD, "unpack", FLAG_BOOL},
    {DF_ADD, "exclude", FLAG_TEXTS},
    {DF_HEALTHCHECK, "interval", FLAG_TEXT},
    {DF_HEALTHCHECK, "timeout", FLAG_TEXT},
    {DF_HEALTHCHECK, "start-period", FLAG_TEXT},
    {DF_HEALTHCHECK, "start-interval", FLAG_TEXT},
    {DF_HEALTHCHECK, "retries", FLAG_TEXT},
};

void culprit_set(Culprit *c, const char *text)
{
	(void)snprintf(c->text, sizeof(c->text), "%s", text);
}

const char *dockerfile_verb_name(DockerfileVerb v)
{
	return verbs[v];
}

int step_verb(const char *word, DockerfileVerb *ret, Err *e)
{
	for (size_t i = 0; verbs[i]; i++) {
		if (strcasecmp(word, verbs[i]) == 0) {
			*ret = (DockerfileVerb)i;
			return 0;
		}
	}
	const char *guess = dockerfile_suggest(word, verbs, true);

	if (guess)
		return err_new(e, ERR_INVALID, "unknown instruction: %.40s (did you mean %s?)", word, guess);
	return err_new(e, ERR_INVALID, "unknown instruction: %.40s", word);
}

/* ---- flags ---- */

static int unknown_flag(const DockerfileStep *s, const char *name, Err *e)
{
	const char *known[ELEMENTSOF(flags) + 1];
	size_t n = 0;

	for (size_t i = 0; i < ELEMENTSOF(flags); i++)
		if (flags[i].verb == s->verb)
			known[n++] = flags[i].name;
	known[n] = NULL;
	const char *guess = dockerfile_suggest(name, known, false);

	if (guess)
		return err_new(e, ERR_INVALID, "unknown flag: --%.100s (did you mean %s?)", name, guess);
	return err_new(e, ERR_INVALID, "unknown flag: --%.100s", name);
}

/* Written the one way: "link=true". */
static int normal_bool(char **flag, const char *name, const char *value, Err *e)
{
	char *normal;

	if (value && !*value)
		return err_new(e, ERR_INVALID, "missing a value on flag: --%s", name);
	if (value && strcasecmp(value, "true") != 0 && strcasecmp(value, "false") != 0)
		return err_new(e, ERR_INVALID, "expecting boolean value for flag --%s, not: %.100s", name,
			       value);
	normal = strf("%s=%s", name, !value || strcasecmp(value, "true") == 0 ? "true" : "false");
	if (!normal)
		return err_oom(e);
	free(*flag);
	*flag = normal;
	return 0;
}

static int check_flag(DockerfileStep *s, char **flag, bool used[ELEMENTSOF(flags)], Culprit *c, Err *e)
{
	const char *eq = strchr(*flag, '=');
	_cleanup_free_ char *name = eq ? strndup(*flag, (size_t)(eq - *flag)) : strdup(*flag), *shown = NULL;
	size_t i = 0;

	shown = name ? strf("--%s", name) : NULL;
	if (!shown)
		return err_oom(e);
	culprit_set(c, shown);
	while (i < ELEMENTSOF(flags) && (flags[i].verb != s->verb || !streq(flags[i].name, name)))
		i++;
	if (i == ELEMENTSOF(flags))
		return unknown_flag(s, name, e);
	if (used[i] && flags[i].kind != FLAG_TEXTS)
		return err_new(e, ERR_INVALID, "duplicate flag specified: --%s", name);
	used[i] = true;
	if (flags[i].kind == FLAG_BOOL)
		return normal_bool(flag, name, eq ? eq + 1 : NULL, e);
	return eq ? 0 : err_new(e, ERR_INVALID, "missing a value on flag: --%s", name);
}

static int check_flags(DockerfileStep *s, Culprit *c, Err *e)
{
	bool used[ELEMENTSOF(flags)] = {0};
	int r = 0;

	for (size_t i = 0; r >= 0 && s->flags && s->flags[i]; i++)
		r = check_flag(s, &s->flags[i], used, c, e);
	return r;
}

const char *dockerfile_flag_next(const DockerfileStep *s, const char *name, size_t *at)
{
	while (s->flags && s->flags[*at]) {
		const char *rest = str_after(s->flags[(*at)++], name);

		if (rest && *rest == '=')
			return rest + 1;
	}
	return NULL;
}

const char *dockerfile_flag(const DockerfileStep *s, const char *name)
{
	size_t at = 0;

	return dockerfile_flag_next(s, name, &at);
}

bool dockerfile_flag_true(const DockerfileStep *s, const char *name)
{
	return streq0(dockerfile_flag(s, name), "true");
}

/* ---- arguments ---- */

static int check_from(const DockerfileStep *s, Culprit *c, Err *e)
{
	bool named = s->n_args == 3 && strcasecmp(s->args[1], "as") == 0;

	if (s->n_args != 1 && !named)
		return err_new(e, ERR_INVALID, "FROM requires either one or three arguments");
	if (!named)
		return 0;
	culprit_set(c, s->args[2]);
	bool good = isalpha((unsigned char)s->args[2][0]);
	for (const char *p = s->args[2]; good && *p; p++)
		good = isalnum((unsigned char)*p) || strchr("-_.", *p);
	return good ? 0
		    : err_new(e, ERR_INVALID,
			      "invalid name for build stage: \"%.100s\", name can't start with a number or "
			      "contain symbols",
			      s->args[2]);
}

static int check_copy(const DockerfileStep *s, Culprit *c, Err *e)
{
	DockerfileHeredoc h = {0};
	int r;

	if (s->n_args < 2)
		return err_new(e, ERR_INVALID,
			       "%s requires at least two arguments, but only one was provided. Destination "
			       "could not be determined",
			       verbs[s->verb]);
	culprit_set(c, s->args[s->n_args - 1]);
	r = s->json ? 0 : heredoc_mark(s->args[s->n_args - 1], &h, NULL);
	free(h.name);
	return r > 0 ? err_new(e, ERR_INVALID, "%s cannot accept a heredoc as a destination", verbs[s->verb])
		     : 0;
}

static int check_pairs(const DockerfileStep *s, Err *e)
{
	for (size_t i = 0; i < s->n_args; i += 3)
		if (!*s->args[i])
			return err_new(e, ERR_INVALID, "%s names can not be blank", verbs[s->verb]);
	return 0;
}

static int check_arg(const DockerfileStep *s, Err *e)
{
	for (size_t i = 0; i < s->n_args; i++)
		if (s->args[i][0] == '=')
			return err_new(e, ERR_INVALID, "ARG names can not be blank");
	return 0;
}

static int check_health(const DockerfileStep *s, Err *e)
{
	if (strcasecmp(s->args[0], "NONE") == 0) {
		if (s->n_args > 1)
			return err_new(e, ERR_INVALID, "HEALTHCHECK NONE takes no arguments");
		return 0;
	}
	if (strcasecmp(s->args[0], "CMD") != 0)
		return err_new(e, ERR_INVALID, "Unknown type \"%.100s\" in HEALTHCHECK (try CMD)",
			       s->args[0]);
	return s->n_args > 1 ? 0 : err_new(e, ERR_INVALID, "Missing command after HEALTHCHECK CMD");
}

static int check_volume(const DockerfileStep *s, Err *e)
{
	for (size_t i = 0; i < s->n_args; i++)
		if (!s->args[i][strspn(s->args[i], " \t\n\r\v\f")])
			return err_new(e, ERR_INVALID, "VOLUME specified can not be an empty string");
	return 0;
}

/* Of a mount, only what holds whatever its variables are. */
static int check_mount(const char *spec, Err *e)
{
	_cleanup_strv_ char **fields = NULL;
	DockerfileMount m;
	int r;

	if (!strchr(spec, '$')) {
		r = dockerfile_mount_parse(spec, &m, e);
		if (r >= 0)
			dockerfile_mount_done(&m);
		return r;
	}
	if (strv_split_csv(spec, &fields) < 0)
		return dockerfile_mount_parse(spec, &m, e);
	for (size_t i = 0; fields[i]; i++) {
		const char *value = strncasecmp(fields[i], "from=", 5) == 0 ? strchr(fields[i], '$') : NULL;

		if (value && value[1])
			return err_new(
			    e, ERR_INVALID,
			    "'from' doesn't support variable expansion, define alias stage instead");
	}
	return 0;
}

static int check_run(const DockerfileStep *s, Culprit *c, Err *e)
{
	const char *network = dockerfile_flag(s, "network"), *security = dockerfile_flag(s, "security"),
		   *mount;
	int r = 0;

	culprit_set(c, "--mount");
	for (size_t at = 0; r >= 0 && (mount = dockerfile_flag_next(s, "mount", &at));)
		r = check_mount(mount, e);
	if (r < 0)
		return r;
	culprit_set(c, "--network");
	if (network && !streq(network, "default") && !streq(network, "none") && !streq(network, "host"))
		return err_new(e, ERR_INVALID, "invalid network mode \"%.100s\"", network);
	culprit_set(c, "--security");
	if (security && !streq(security, "sandbox") && !streq(security, "insecure"))
		return err_new(e, ERR_INVALID, "security \"%.100s\" is not valid", security);
	return 0;
}

/* What it must not be is refused here; what is wrong in it, where it is run. */
static int check_onbuild(const DockerfileStep *s, Err *e)
{
	_cleanup_free_ char *word = strndup(s->text, strcspn(s->text, " \t\v\f\r"));

	if (!word)
		return err_oom(e);
	for (char *p = word; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	if (streq(word, "ONBUILD"))
		return err_new(e, ERR_INVALID, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
	if (streq(word, "MAINTAINER") || streq(word, "FROM"))
		return err_new(e, ERR_INVALID, "%s isn't allowed as an ONBUILD trigger", word);
	return 0;
}

static bool exactly_one(DockerfileVerb v)
{
	return v == DF_MAINTAINER || v == DF_STOPSIGNAL || v == DF_USER || v == DF_WORKDIR;
}

static int check_args(const DockerfileStep *s, Culprit *c, Err *e)
{
	bool command = s->verb == DF_RUN || s->verb == DF_CMD || s->verb == DF_ENTRYPOINT;

	if (s->verb == DF_SHELL && s->n_args && !s->json)
		return err_new(e, ERR_INVALID, "SHELL requires the arguments to be in JSON form");
	if (s->n_args == 0 && s->verb != DF_FROM && s->verb != DF_COPY && s->verb != DF_ADD && !command)
		return err_new(e, ERR_INVALID, "%s requires %s one argument", verbs[s->verb],
			       exactly_one(s->verb) ? "exactly" : "at least");
	switch (s->verb) {
	case DF_FROM:
		return check_from(s, c, e);
	case DF_ADD:
	case DF_COPY:
		return check_copy(s, c, e);
	case DF_ENV:
	case DF_LABEL:
		return check_pairs(s, e);
	case DF_ARG:
		return check_arg(s, e);
	case DF_HEALTHCHECK:
		return check_health(s, e);
	case DF_VOLUME:
		return check_volume(s, e);
	case DF_RUN:
		return check_run(s, c, e);
	case DF_ONBUILD:
		return check_onbuild(s, e);
	default:
		return 0;
	}
}

int step_check(DockerfileStep *s, Culprit *c, Err *e)
{
	int r = check_flags(s, c, e);

	if (r < 0)
		return r;
	culprit_set(c, s->word);
	return check_args(s, c, e);
}
