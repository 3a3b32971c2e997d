/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How steps are told in the history of an image: as BuildKit tells them, since people and tools read `docker history`.
 */
#include "build/build-internal.h"
#include "engine/change.h"

/* Go's %q of a list of strings: ["a" "b"]. */
static char *quoted_list(char *const *words)
{
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add_c(&b, '[');
	for (size_t i = 0; words && words[i]; i++) {
		strbuf_add(&b, i ? " \"" : "\"");
		for (const char *p = words[i]; *p; p++) {
			if (*p == '"' || *p == '\\')
				strbuf_add_c(&b, '\\');
			if (*p == '\n' || *p == '\t')
				strbuf_add(&b, *p == '\n' ? "\\n" : "\\t");
			else
				strbuf_add_c(&b, *p);
		}
		strbuf_add_c(&b, '"');
	}
	strbuf_add_c(&b, ']');
	return strbuf_steal(&b);
}

/* "RUN |1 VERSION=3 /bin/sh -c make # buildkit": the arguments that the stage declared come first. */
static char *run_text(const Stage *s, char *const *command)
{
	_cleanup_strbuf_ StrBuf args = {0};
	_cleanup_free_ char *words = strv_join(command, " ");
	size_t n = 0;

	for (size_t i = 0; s->declared && s->declared[i]; i++) {
		const char *value = strv_env_get(s->args, s->declared[i]);

		if (!value)
			continue;
		strbuf_addf(&args, " %s=%s", s->declared[i], value);
		n++;
	}
	if (!words || args.oom)
		return NULL;
	return n ? strf("RUN |%zu%s %s # buildkit", n, args.s, words) : strf("RUN %s # buildkit", words);
}

/* The value that the instruction has just given. */
static char *arg_text(const Stage *s, const DockerfileStep *step)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_strv_ char **words = NULL;

	if (dockerfile_words(step->text, '\\', &words, NULL) < 0)
		return strdup(step->original);
	strbuf_add(&b, "ARG");
	for (size_t i = 0; words[i]; i++) {
		words[i][strcspn(words[i], "=")] = '\0';
		const char *value = strv_env_get(s->args, words[i]);

		strbuf_addf(&b, value ? " %s=%s" : " %s", words[i], value);
	}
	return strbuf_steal(&b);
}

static char *with_values(Build *b, const Stage *s, const DockerfileStep *step)
{
	_cleanup_strv_ char **env = NULL, **words = NULL;
	_cleanup_free_ char *text = NULL, *joined = NULL;

	if (stage_environment(s, &env, NULL) < 0 ||
	    dockerfile_expand(step->text, b->df.escape, env, true, &text, NULL) < 0 ||
	    dockerfile_words(text, b->df.escape, &words, NULL) < 0)
		return strdup(step->original);
	joined = strv_join(words, " ");
	return joined ? strf("%s %s", dockerfile_verb_name(step->verb), joined) : NULL;
}

char *history_text(Build *b, const Stage *s, const DockerfileStep *step, char *const *command)
{
	const ImageRunConfig *run = &s->config.run;
	_cleanup_free_ char *list = NULL, *text = NULL;

	switch (step->verb) {
	case DF_RUN:
		return run_text(s, command);
	case DF_COPY:
	case DF_ADD:
		text = with_values(b, s, step);
		return text ? strf("%s # buildkit", text) : NULL;
	case DF_CMD:
	case DF_ENTRYPOINT:
		list = quoted_list(step->verb == DF_CMD ? run->cmd : run->entrypoint);
		return list ? strf("%s %s", dockerfile_verb_name(step->verb), list) : NULL;
	case DF_SHELL:
		list = strv_join(run->shell, " ");
		return list ? strf("SHELL [%s]", list) : NULL;
	case DF_WORKDIR:
		return strf("WORKDIR %s", run->working_dir);
	case DF_USER:
		return strf("USER %s", run->user);
	case DF_STOPSIGNAL:
		return strf("STOPSIGNAL %s", run->stop_signal);
	case DF_VOLUME:
	case DF_EXPOSE:
		text = with_values(b, s, step);
		list = text ? strdup(text + strlen(dockerfile_verb_name(step->verb)) + 1) : NULL;
		return list ? strf("%s [%s]", dockerfile_verb_name(step->verb), list) : NULL;
	case DF_ENV:
	case DF_LABEL:
		return with_values(b, s, step);
	case DF_ARG:
		return arg_text(s, step);
	default:
		return strdup(step->original);
	}
}
