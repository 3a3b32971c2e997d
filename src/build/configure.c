/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps that only change the configuration. Each argument is a word of its own, as the parser has found it: what a variable holds makes no new words, except in
 * EXPOSE, and no quotes. What follows CMD, ENTRYPOINT, SHELL and HEALTHCHECK is the container's shell's to expand.
 */
#include "build/build-internal.h"
#include "engine/change.h"

typedef struct Configure {
	Build *b;
	Stage *s;
	ImageRunConfig *run;
	const DockerfileStep *step;
	DockerfileLex lex;
} Configure;

/* ENV and LABEL: names, values, and how they were joined. */
static int pairs(const Configure *c, Err *e)
{
	const DockerfileStep *step = c->step;
	char ***to = step->verb == DF_ENV ? &c->run->env : &c->run->labels;
	int r = 0;

	for (size_t i = 0; r >= 0 && i + 2 < step->n_args; i += 3) {
		_cleanup_free_ char *name = NULL, *value = NULL, *pair = NULL;

		r = dockerfile_lex_word(&c->lex, step->args[i], &name, e);
		if (r >= 0)
			r = dockerfile_lex_word(&c->lex, step->args[i + 1], &value, e);
		if (r < 0)
			return r;
		if (!*name)
			return err_new(e, ERR_INVALID, "%s names can not be blank",
				       dockerfile_verb_name(step->verb));
		pair = strf("%s=%s", name, value);
		if (!pair || strv_env_set(to, pair) < 0)
			return err_oom(e);
		/* An ENV hides the ARG of its name, until another ARG gives that a value. */
		if (step->verb == DF_ENV && c->s->args)
			strv_env_unset(c->s->args, name);
	}
	return r;
}

/* The words of a command, which belong to the shell unless they are an array. */
static int command(const Configure *c, char ***field, Err *e)
{
	static const char *const plain[] = {"/bin/sh", "-c", NULL};
	const ImageRunConfig *run = c->run;
	char *const *shell = run->shell && run->shell[0] ? run->shell : (char *const *)plain;
	char *const *from = c->step->json ? c->step->args : shell;
	_cleanup_strv_ char **words = calloc(1, sizeof(char *));

	for (; words && from && *from; from++)
		if (strv_add(&words, *from) < 0)
			return err_oom(e);
	if (!words || (!c->step->json && strv_add(&words, c->step->text) < 0))
		return err_oom(e);
	strv_free(*field);
	*field = take_ptr(words);
	return 0;
}

static int cmd(const Configure *c, Err *e)
{
	int r = command(c, &c->run->cmd, e);

	c->s->cmd_set = c->run->args_escaped = true;
	return r;
}

static int entrypoint(const Configure *c, Err *e)
{
	int r = command(c, &c->run->entrypoint, e);

	/* The command of the base was meant for its own entry point. */
	if (r >= 0 && !c->s->cmd_set) {
		strv_free(c->run->cmd);
		c->run->cmd = NULL;
	}
	return r;
}

static int expose(const Configure *c, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < c->step->n_args; i++) {
		_cleanup_strv_ char **words = NULL;

		r = dockerfile_lex_words(&c->lex, c->step->args[i], &words, e);
		for (char **w = words; r >= 0 && w && *w; w++)
			r = change_expose(c->run, *w, e);
	}
	return r;
}

static int volume(const Configure *c, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < c->step->n_args; i++) {
		_cleanup_free_ char *path = NULL;

		r = dockerfile_lex_word(&c->lex, c->step->args[i], &path, e);
		if (r >= 0)
			r = change_volume(c->run, path, e);
	}
	return r;
}

/* USER and STOPSIGNAL: the whole text is one word. */
static int single(const Configure *c, Err *e)
{
	_cleanup_free_ char *value = NULL;
	int r = dockerfile_lex_word(&c->lex, c->step->text, &value, e);

	if (r >= 0 && c->step->verb == DF_STOPSIGNAL)
		return change_stop_signal(c->run, value, e);
	if (r >= 0) {
		free(c->run->user);
		c->run->user = take_ptr(value);
	}
	return r;
}

static int author(const Configure *c, Err *e)
{
	free(c->s->config.author);
	c->s->config.author = strdup(c->step->text);
	return c->s->config.author ? 0 : err_oom(e);
}

static int change(const Configure *c, Err *e)
{
	const DockerfileStep *step = c->step;

	switch (step->verb) {
	case DF_ARG:
		return plan_args(c->b, step, c->lex.env, c->s, &c->s->args, e);
	case DF_ENV:
	case DF_LABEL:
		return pairs(c, e);
	case DF_CMD:
		return cmd(c, e);
	case DF_ENTRYPOINT:
		return entrypoint(c, e);
	case DF_EXPOSE:
		return expose(c, e);
	case DF_VOLUME:
		return volume(c, e);
	case DF_HEALTHCHECK:
		return change_health(c->run, step->flags, step->text, e);
	case DF_SHELL:
		return change_shell(c->run, step->text, e);
	case DF_ONBUILD:
		return strv_add(&c->run->on_build, step->text) < 0 ? err_oom(e) : 0;
	case DF_MAINTAINER:
		return author(c, e);
	default:
		return single(c, e);
	}
}

int step_configure(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	_cleanup_strv_ char **env = NULL;
	_cleanup_free_ char *told = NULL;
	char key[DIGEST_LEN + 1];
	int r = stage_environment(s, &env, e);

	if (r < 0)
		return r;
	/* The variables of a line are those before it. */
	if (step->verb == DF_ENV)
		told = history_text(b, s, step, NULL);
	r = change(&(Configure){.b = b,
				.s = s,
				.run = &s->config.run,
				.step = step,
				.lex = {.escape = b->df.escape, .env = env}},
		   e);
	if (r < 0)
		return r;
	/* A trigger is in the configuration only. */
	if (step->verb == DF_ONBUILD)
		return 0;
	if (step->verb != DF_ENV)
		told = history_text(b, s, step, NULL);
	cache_key(key, s->key, told ?: "", NULL);
	memcpy(s->key, key, sizeof(key));
	return stage_add_history(s, told, true, e);
}
