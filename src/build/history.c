/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How steps are told in the history of an image: as BuildKit tells them, since people and tools read `docker history`.
 *
 * Lists and numbers are written as Go's %q and %v write them.
 */
#include "build/build-internal.h"
#include "engine/change.h"

static void add_quoted(StrBuf *b, const char *text)
{
	strbuf_add_c(b, '"');
	for (const char *p = text; *p; p++) {
		if (*p == '"' || *p == '\\')
			strbuf_add_c(b, '\\');
		if (*p == '\n' || *p == '\t')
			strbuf_add(b, *p == '\n' ? "\\n" : "\\t");
		else
			strbuf_add_c(b, *p);
	}
	strbuf_add_c(b, '"');
}

/* ["a" "b"] */
static void add_list(StrBuf *b, char *const *words)
{
	strbuf_add_c(b, '[');
	for (size_t i = 0; words && words[i]; i++) {
		if (i)
			strbuf_add_c(b, ' ');
		add_quoted(b, words[i]);
	}
	strbuf_add_c(b, ']');
}

/* "RUN |1 VERSION=3 /bin/sh -c make # buildkit": the arguments that were declared come first, with the values that the command sees. */
static char *run_text(const Stage *s, char *const *command)
{
	_cleanup_strbuf_ StrBuf args = {0};
	_cleanup_free_ char *words = strv_join(command, " ");
	_cleanup_strv_ char **env = NULL;
	size_t n = 0;

	if (stage_environment(s, &env, NULL) < 0)
		return NULL;
	for (; s->declared && s->declared[n]; n++)
		strbuf_addf(&args, " %s=%s", s->declared[n], strv_env_get(env, s->declared[n]) ?: "");
	if (!words || args.oom)
		return NULL;
	return n ? strf("RUN |%zu%s %s # buildkit", n, args.s, words) : strf("RUN %s # buildkit", words);
}

/* The value that the instruction has just given. */
static char *arg_text(const Stage *s, const DockerfileStep *step)
{
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add(&b, "ARG");
	for (size_t i = 0; i < step->n_args; i++) {
		_cleanup_free_ char *name = strndup(step->args[i], strcspn(step->args[i], "="));
		const char *value = name ? strv_env_get(s->args, name) : NULL;

		if (!name)
			return NULL;
		strbuf_addf(&b, value ? " %s=%s" : " %s", name, value);
	}
	return strbuf_steal(&b);
}

/* One argument of the step, with its variables. */
static char *value_of(const Build *b, char *const *env, const char *text)
{
	char *value = NULL;

	/* What cannot be expanded has failed before it is told. */
	return dockerfile_lex_word(&(DockerfileLex){.escape = b->df.escape, .env = env}, text, &value, NULL) <
		       0
		   ? strdup(text)
		   : value;
}

static int add_value(StrBuf *to, const Build *b, char *const *env, const char *before, const char *text)
{
	_cleanup_free_ char *value = value_of(b, env, text);

	if (!value)
		return -ENOMEM;
	strbuf_addf(to, "%s%s", before, value);
	return 0;
}

/* "COPY --chown=1:2 --chmod=644 a b /c/ # buildkit" */
static char *copy_text(const Build *b, char *const *env, const DockerfileStep *step)
{
	static const char *const flags[] = {"chown", "chmod"};
	_cleanup_strbuf_ StrBuf to = {0};
	int r = 0;

	strbuf_add(&to, dockerfile_verb_name(step->verb));
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(flags); i++) {
		const char *value = dockerfile_flag(step, flags[i]);

		if (value) {
			strbuf_addf(&to, " --%s=", flags[i]);
			r = add_value(&to, b, env, "", value);
		}
	}
	for (size_t i = 0; r >= 0 && i < step->n_args; i++) {
		const char *heredoc = step->n_heredocs ? str_after(step->args[i], "<<-") : NULL;

		r = add_value(&to, b, env, heredoc ? " <<" : " ", heredoc ?: step->args[i]);
	}
	strbuf_add(&to, " # buildkit");
	return r < 0 ? NULL : strbuf_steal(&to);
}

/* "ENV a=b c=d" */
static char *pairs_text(const Build *b, char *const *env, const DockerfileStep *step)
{
	_cleanup_strbuf_ StrBuf to = {0};
	int r = 0;

	strbuf_add(&to, dockerfile_verb_name(step->verb));
	for (size_t i = 0; r >= 0 && i + 2 < step->n_args; i += 3) {
		r = add_value(&to, b, env, " ", step->args[i]);
		if (r >= 0)
			r = add_value(&to, b, env, "=", step->args[i + 1]);
	}
	return r < 0 ? NULL : strbuf_steal(&to);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "VOLUME [/a /b]" */
static char *volumes_text(const Build *b, char *const *env, const DockerfileStep *step)
{
	_cleanup_strv_ char **words = NULL;
	_cleanup_free_ char *joined = NULL;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < step->n_args; i++) {
		_cleanup_free_ char *value = value_of(b, env, step->args[i]);

		r = value ? strv_take(&words, str_trim_dup(value)) : -ENOMEM;
	}
	joined = r < 0 ? NULL : strv_join(words, " ");
	return joined ? strf("VOLUME [%s]", joined) : NULL;
}

/* "EXPOSE [53/udp 80/tcp]": in the order of the words as they were written. */
static char *ports_text(const Build *b, char *const *env, const DockerfileStep *step)
{
	const DockerfileLex lex = {.escape = b->df.escape, .env = env};
	_cleanup_strv_ char **args = strv_dup(step->args);
	_cleanup_free_ char *joined = NULL;
	ImageRunConfig ports = {0};
	int r = args ? 0 : -ENOMEM;

	if (r >= 0)
		qsort(args, step->n_args, sizeof(char *), by_text);
	for (size_t i = 0; r >= 0 && i < step->n_args; i++) {
		_cleanup_strv_ char **words = NULL;

		r = dockerfile_lex_words(&lex, args[i], &words, NULL);
		for (char **w = words; r >= 0 && w && *w; w++)
			r = change_expose(&ports, *w, NULL);
	}
	joined = r < 0 ? NULL : strv_join(ports.exposed_ports, " ");
	strv_free(ports.exposed_ports);
	return joined ? strf("EXPOSE [%s]", joined) : NULL;
}

/* A number as the character that it is: '\x02', '\n', 'A'. */
static void add_rune(StrBuf *to, int64_t n)
{
	static const char named[] = "abtnvfr"; /* from 7 on */

	if (n >= 7 && n <= 13)
		strbuf_addf(to, "'\\%c'", named[n - 7]);
	else if (n < 32 || n == 127)
		strbuf_addf(to, "'\\x%02x'", (unsigned)n);
	else if (n < 127)
		strbuf_addf(to, n == '\'' || n == '\\' ? "'\\%c'" : "'%c'", (int)n);
	else
		strbuf_addf(to, "'\\u%04x'", (unsigned)n);
}

/* HEALTHCHECK &{["CMD" "a"] "3s" "0s" "0s" "0s" '\x02'} */
static char *health_text(const ImageHealth *h)
{
	const int64_t times[] = {h->interval_ns, h->timeout_ns, h->start_period_ns, h->start_interval_ns};
	_cleanup_strbuf_ StrBuf to = {0};

	strbuf_add(&to, "HEALTHCHECK &{");
	add_list(&to, h->test);
	for (size_t i = 0; i < ELEMENTSOF(times); i++) {
		_cleanup_free_ char *text = clock_go_duration(times[i]);

		if (!text)
			return NULL;
		strbuf_addf(&to, " \"%s\"", text);
	}
	strbuf_add_c(&to, ' ');
	add_rune(&to, h->retries);
	strbuf_add_c(&to, '}');
	return strbuf_steal(&to);
}

static char *command_text(const DockerfileStep *step, char *const *words)
{
	_cleanup_strbuf_ StrBuf to = {0};

	strbuf_addf(&to, "%s ", dockerfile_verb_name(step->verb));
	add_list(&to, words);
	return strbuf_steal(&to);
}

char *history_text(Build *b, const Stage *s, const DockerfileStep *step, char *const *command)
{
	const ImageRunConfig *run = &s->config.run;
	_cleanup_strv_ char **env = NULL;
	_cleanup_free_ char *list = NULL;

	if (stage_environment(s, &env, NULL) < 0)
		return NULL;
	switch (step->verb) {
	case DF_RUN:
		return run_text(s, command);
	case DF_COPY:
	case DF_ADD:
		return copy_text(b, env, step);
	case DF_CMD:
	case DF_ENTRYPOINT:
		return command_text(step, step->verb == DF_CMD ? run->cmd : run->entrypoint);
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
		return volumes_text(b, env, step);
	case DF_EXPOSE:
		return ports_text(b, env, step);
	case DF_ENV:
	case DF_LABEL:
		return pairs_text(b, env, step);
	case DF_ARG:
		return arg_text(s, step);
	case DF_HEALTHCHECK:
		return health_text(&run->health);
	default: /* MAINTAINER, whose text is one word */
		return strf("%s %s", dockerfile_verb_name(step->verb), step->text);
	}
}
