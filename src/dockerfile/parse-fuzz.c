/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as a Dockerfile; each step's arguments and here-documents go through expansion and splitting. */
#include "base/str.h"
#include "dockerfile/dockerfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What expansion makes safe is found again as it was. */
static void expanded_and_split(const char *text, char escape, char *const *env)
{
	_cleanup_free_ char *whole = NULL, *word = NULL;
	_cleanup_strv_ char **words = NULL, **more = NULL, **unset = NULL, **used = NULL;
	DockerfileLex lex = {.escape = escape, .env = env, .unset = &unset, .used = &used};

	if (dockerfile_expand(text, escape, env, true, &whole, NULL) >= 0)
		(void)dockerfile_words(whole, escape, &words, NULL);
	(void)dockerfile_lex_word(&lex, text, &word, NULL);
	lex.raw_quotes = lex.raw_escapes = lex.keep_unset = true;
	(void)dockerfile_lex_words(&lex, text, &more, NULL);
}

static void step(const DockerfileStep *s, char escape, char *const *env)
{
	_cleanup_strv_ char **exec = NULL;
	Dockerfile one;

	expanded_and_split(s->text, escape, env);
	for (size_t k = 0; k < s->n_args; k++)
		expanded_and_split(s->args[k], escape, env);
	for (size_t k = 0; k < s->n_heredocs; k++)
		expanded_and_split(s->heredocs[k].text, '\\', env);
	(void)dockerfile_exec_form(s->text, &exec);
	if (s->verb == DF_ONBUILD && dockerfile_parse_step(s->text, &one, NULL) >= 0)
		dockerfile_done(&one);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *env[] = {(char *)"a=$a${b}", (char *)"b=\"' \\", (char *)"c=x.y/\xe7\xa7\x81 z", NULL};
	const char *text = (const char *)data;
	_cleanup_free_ char *syntax = NULL, *excerpt = NULL;
	DockerfilePlace place = {0};
	Dockerfile d;
	int line;

	(void)dockerfile_syntax(text, size, &syntax, &line, NULL);
	if (dockerfile_parse_at(text, size, "f", &d, &place, NULL) < 0) {
		excerpt = dockerfile_excerpt(text, size, "f", &place, "here");
		return 0;
	}
	for (size_t i = 0; i < d.n_steps; i++)
		step(&d.steps[i], d.escape, env);
	dockerfile_done(&d);
	return 0;
}
