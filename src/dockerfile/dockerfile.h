/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Dockerfile as text: parser directives, continuation lines, comments, instructions with flags,
 * and the expansion of variables.
 *
 * Pure; the text is hostile. Nothing is interpreted here beyond its form: what an instruction means is the
 * builder's business. Fuzzed.
 */
#pragma once

#include "base/err.h"

#define DOCKERFILE_MAX       (1u << 20) /* bytes */
#define DOCKERFILE_STEPS_MAX 10000

typedef enum DockerfileVerb {
	DF_ADD,
	DF_ARG,
	DF_CMD,
	DF_COPY,
	DF_ENTRYPOINT,
	DF_ENV,
	DF_EXPOSE,
	DF_FROM,
	DF_HEALTHCHECK,
	DF_LABEL,
	DF_MAINTAINER,
	DF_ONBUILD,
	DF_RUN,
	DF_SHELL,
	DF_STOPSIGNAL,
	DF_USER,
	DF_VOLUME,
	DF_WORKDIR,
} DockerfileVerb;

typedef struct DockerfileHeredoc {
	char *name; /* what ends it, without quotes */
	char *text; /* its lines, each with its newline */
	bool
	    expand; /* the name was not quoted: variables in the text are replaced where the instruction does that */
	bool strip; /* <<-: tabs at the start of lines are gone */
} DockerfileHeredoc;

typedef struct DockerfileStep {
	DockerfileVerb verb;
	int line, last_line;         /* from 1; here-documents included */
	char **flags;                /* "--from=x" without the dashes: "from=x" */
	char *text;                  /* everything behind the verb and the flags, continuation lines joined */
	DockerfileHeredoc *heredocs; /* in the order of their marks in the text, which stay there */
	size_t n_heredocs;
	char *original; /* the whole step on one line, for output and history */
} DockerfileStep;

typedef struct Dockerfile {
	char escape; /* \ or ` */
	DockerfileStep *steps;
	size_t n_steps;
} Dockerfile;

/* `name` is used in errors: "Dockerfile:3: unknown instruction: FRO (did you mean FROM?)". */
int dockerfile_parse(const char *text, size_t len, const char *name, Dockerfile *ret, Err *e);
void dockerfile_done(Dockerfile *d);
/* One instruction out of an ONBUILD trigger. */
int dockerfile_parse_step(const char *line, Dockerfile *ret, Err *e);
const char *dockerfile_verb_name(DockerfileVerb v);
/* Value of a flag ("from"), or NULL. */
const char *dockerfile_flag(const DockerfileStep *s, const char *name);
/* True if text is a JSON array of strings; then *ret has it. */
bool dockerfile_exec_form(const char *text, char ***ret);

/* How words are read: outside of single quotes $name, ${name} and ${name} with one of the operators :- - :+ + :? ? # ## % %% / //
 * are replaced (replace.h has the patterns), and words nest in them. */
typedef struct DockerfileLex {
	char escape;
	char *const *env;    /* K=V */
	bool raw_quotes;     /* quotes stay in the result */
	bool raw_escapes;    /* so does the escape character */
	bool literal_quotes; /* quotes are letters like others, as in a here-document */
	bool keep_unset;     /* variables that are not set stay as they are written */
	char ***unset; /* if given: the names that were asked for and are not set are added, each once */
} DockerfileLex;

/* The whole text as one, blanks included, without quotes and escapes. */
int dockerfile_lex_word(const DockerfileLex *lex, const char *text, char **ret, Err *e);
/* Split at blanks, also at those of variables outside of quotes. Empty words are left out. */
int dockerfile_lex_words(const DockerfileLex *lex, const char *text, char ***ret, Err *e);

/* `words`: quotes and escapes stay, and what is put in is escaped so that it stays one word when words are split later;
 * otherwise it is dockerfile_lex_word(). */
int dockerfile_expand(const char *text, char escape, char *const *env, bool words, char **ret, Err *e);
/* Without looking for variables: the whole text as one word, blanks included, without its quotes and escapes. */
int dockerfile_word(const char *text, char escape, char **ret, Err *e);
/* Splits into words at blanks, removing quotes and escapes. An empty one in quotes is a word too. */
int dockerfile_words(const char *text, char escape, char ***ret, Err *e);
