/* SPDX-License-Identifier: Apache-2.0 */
/* The rules by name, which of them are wanted, and how a warning is given. */
#include "dockerfile/check-internal.h"
#include "dockerfile/parse-internal.h"
#include "dockerfile/utf8.h"

#include "base/str.h"

#include <stdarg.h>

#define URL "https://docs.docker.com/go/dockerfile/rule/"

static const struct {
	const char *name, *url, *description;
} rules[N_RULES] = {
    [RULE_STAGE_NAME_CASING] = {"StageNameCasing", URL "stage-name-casing/",
				"Stage names should be lowercase"},
    [RULE_FROM_AS_CASING] = {"FromAsCasing", URL "from-as-casing/",
			     "The 'as' keyword should match the case of the 'from' keyword"},
    [RULE_NO_EMPTY_CONTINUATION] = {"NoEmptyContinuation", URL "no-empty-continuation/",
				    "Empty continuation lines will become errors in a future release"},
    [RULE_CONSISTENT_CASING] =
	{"ConsistentInstructionCasing", URL "consistent-instruction-casing/",
	 "All commands within the Dockerfile should use the same casing (either upper or lower)"},
    [RULE_DUPLICATE_STAGE_NAME] = {"DuplicateStageName", URL "duplicate-stage-name/",
				   "Stage names should be unique"},
    [RULE_RESERVED_STAGE_NAME] = {"ReservedStageName", URL "reserved-stage-name/",
				  "Reserved words should not be used as stage names"},
    [RULE_JSON_ARGS] = {"JSONArgsRecommended", URL "json-args-recommended/",
			"JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior "
			"related to OS signals"},
    [RULE_MAINTAINER] =
	{"MaintainerDeprecated", URL "maintainer-deprecated/",
	 "The MAINTAINER instruction is deprecated, use a label instead to define an image author"},
    [RULE_UNDEFINED_ARG_IN_FROM] = {"UndefinedArgInFrom", URL "undefined-arg-in-from/",
				    "FROM command must use declared ARGs"},
    [RULE_WORKDIR_RELATIVE] =
	{"WorkdirRelativePath", URL "workdir-relative-path/",
	 "Relative workdir without an absolute workdir declared within the build can have "
	 "unexpected results if the base image changes"},
    [RULE_UNDEFINED_VAR] = {"UndefinedVar", URL "undefined-var/",
			    "Variables should be defined before their use"},
    [RULE_MULTIPLE_INSTRUCTIONS] =
	{"MultipleInstructionsDisallowed", URL "multiple-instructions-disallowed/",
	 "Multiple instructions of the same type should not be used in the same stage"},
    [RULE_LEGACY_KEY_VALUE] = {"LegacyKeyValueFormat", URL "legacy-key-value-format/",
			       "Legacy key/value format with whitespace separator should not be used"},
    [RULE_BASE_PLATFORM] = {"InvalidBaseImagePlatform", "",
			    "Base image platform does not match expected target platform"},
    [RULE_REDUNDANT_PLATFORM] =
	{"RedundantTargetPlatform", URL "redundant-target-platform/",
	 "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the "
	 "default behavior"},
    [RULE_SECRETS] = {"SecretsUsedInArgOrEnv", URL "secrets-used-in-arg-or-env/",
		      "Sensitive data should not be used in the ARG or ENV commands"},
    [RULE_DEFAULT_ARG_IN_FROM] =
	{"InvalidDefaultArgInFrom", URL "invalid-default-arg-in-from/",
	 "Default value for global ARG results in an empty or invalid base image name"},
    [RULE_CONST_PLATFORM] = {"FromPlatformFlagConstDisallowed", URL "from-platform-flag-const-disallowed/",
			     "FROM --platform flag should not use a constant value"},
    [RULE_COPY_IGNORED] = {"CopyIgnoredFile", URL "copy-ignored-file/",
			   "Attempting to Copy file that is excluded by .dockerignore"},
    [RULE_DESCRIPTION] =
	{"InvalidDefinitionDescription", URL "invalid-definition-description/",
	 "Comment for build stage or argument should follow the format: `# <arg/stage name> "
	 "<description>`. If this is not intended to be a description comment, add an empty line or "
	 "comment between the instruction and the comment."},
    [RULE_EXPOSE_CASING] = {"ExposeProtoCasing", URL "expose-proto-casing/",
			    "Protocol in EXPOSE instruction should be lowercase"},
    [RULE_EXPOSE_FORMAT] =
	{"ExposeInvalidFormat", URL "expose-invalid-format/",
	 "IP address and host-port mapping should not be used in EXPOSE instruction. This will "
	 "become an error in a future release"},
};

const char *check_rule_name(Rule rule)
{
	return rules[rule].name;
}

static bool experimental(Rule rule)
{
	return rule == RULE_DESCRIPTION;
}

/* "A, B" or "all". Names that are no rule's are none of ours: they may be another version's. */
static int set_rules(const char *list, bool set[N_RULES], bool *all)
{
	_cleanup_strv_ char **names = strv_split(list, ',');

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; names[i]; i++) {
		_cleanup_free_ char *name = str_trim_dup(names[i]);

		if (!name)
			return -ENOMEM;
		if (streq(name, "all") && !names[1])
			*all = true;
		for (Rule r = 0; r < N_RULES; r++)
			if (streq(name, rules[r].name))
				set[r] = true;
	}
	return 0;
}

static int bool_of(const char *value)
{
	static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True", NULL};
	static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False", NULL};

	for (size_t i = 0; yes[i]; i++)
		if (streq(value, yes[i]) || streq(value, no[i]))
			return streq(value, yes[i]);
	return -EINVAL;
}

static int set_option(CheckOptions *o, const char *part, Err *e)
{
	const char *eq = strchr(part, '=');
	_cleanup_free_ char *key = NULL, *name = NULL, *value = NULL;
	int r = 0;

	if (!eq)
		return err_new(e, ERR_INVALID,
			       "failed to parse check options: invalid check option \"%.100s\"", part);
	key = strndup(part, (size_t)(eq - part));
	name = key ? str_trim_dup(key) : NULL;
	value = name ? str_trim_dup(eq + 1) : NULL;
	if (!value)
		return err_oom(e);
	if (streq(name, "skip"))
		r = set_rules(value, o->skip, &o->skip_all);
	else if (streq(name, "experimental"))
		r = set_rules(value, o->experimental, &o->experimental_all);
	else if (streq(name, "error"))
		r = bool_of(value);
	else
		return err_new(e, ERR_INVALID,
			       "failed to parse check options: invalid check option \"%.100s\"", name);
	if (r == -ENOMEM)
		return err_oom(e);
	if (r < 0)
		return err_new(e, ERR_INVALID,
			       "failed to parse check options: failed to parse check option \"%.100s\"",
			       part);
	if (streq(name, "error"))
		o->error = r;
	return 0;
}

int check_options_parse(const char *text, CheckOptions *ret, Err *e)
{
	_cleanup_free_ char *trimmed = str_trim_dup(text);
	_cleanup_strv_ char **parts = trimmed ? strv_split(trimmed, ';') : NULL;
	CheckOptions o = {0};
	int r = 0;

	if (!parts)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && *trimmed && parts[i]; i++)
		r = set_option(&o, parts[i], e);
	if (r >= 0)
		*ret = o;
	return r;
}

void check_options_merge(CheckOptions *options, const char *comments)
{
	for (const char *line = comments; line && *line;) {
		size_t n = strcspn(line, "\n");
		_cleanup_free_ char *value = NULL;
		Directives d = {0};
		DirectiveName name;
		CheckOptions more;

		if (directive_read(&d, line, n, "", &name, &value, NULL) > 0 && name == DIRECTIVE_CHECK) {
			value[strcspn(value, " ")] = '\0';
			if (check_options_parse(value, &more, NULL) < 0)
				return;
			options->skip_all = options->skip_all || more.skip_all;
			options->experimental_all = options->experimental_all || more.experimental_all;
			for (Rule r = 0; r < N_RULES; r++) {
				options->skip[r] = options->skip[r] || more.skip[r];
				options->experimental[r] = options->experimental[r] || more.experimental[r];
			}
			return;
		}
		line += n + (line[n] == '\n');
	}
}

int check_warn(Checker *c, Rule rule, const DockerfileStep *s, int first, int last, int column,
	       const char *fmt, ...)
{
	CheckOptions o = c->options;
	char *detail = NULL;
	va_list ap;

	if (!c->sink)
		return 0;
	check_options_merge(&o, s->comments);
	if (experimental(rule) ? !o.experimental_all && !o.experimental[rule] : o.skip_all || o.skip[rule])
		return 0;
	va_start(ap, fmt);
	int n = vasprintf(&detail, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	c->called[rule] = true;
	c->sink(c->sink_user, &(DockerfileWarning){
				  .rule = rules[rule].name,
				  .description = rules[rule].description,
				  .url = rules[rule].url,
				  .detail = detail,
				  .place = {first, last, column ? first : 0, column},
			      });
	free(detail);
	return 0;
}
