/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Dockerfile as text: parser directives, continuation lines, comments, here-documents, instructions with flags and arguments,
 * and the expansion of variables. It is read as BuildKit reads it, errors included.
 *
 * Pure; the text is hostile. What can be told from the text alone is checked here (which flags an instruction has, how many arguments it
 * takes, names of stages); what an instruction means is the builder's business. Fuzzed.
 */
#pragma once

#include "base/err.h"

#define DOCKERFILE_MAX       (1u << 20) /* bytes */
#define DOCKERFILE_STEPS_MAX 10000
#define DOCKERFILE_ARGS_MAX  10000 /* of one instruction */

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
	char *text; /* its lines, each with its newline (of both characters, if the file has them so) */
	bool
	    expand; /* the name was not quoted: variables in the text are replaced where the instruction does that */
	bool strip; /* <<-: tabs at the start of lines are gone */
} DockerfileHeredoc;

/*
 * args, without the quotes' being taken off or variables replaced (dockerfile_lex_word() does both, for each by itself):
 *   RUN, CMD, ENTRYPOINT, SHELL: the members of the array if it is `json`, else the whole text as one
 *   ADD, COPY, VOLUME:           the members, or what is between blanks
 *   ENV, LABEL:                  three for each: name, value, and "=" or (ENV name value) ""
 *   ARG:                         name or name=default
 *   EXPOSE, FROM:                what is between blanks
 *   HEALTHCHECK:                 NONE or CMD, and what follows as in CMD
 *   MAINTAINER, STOPSIGNAL, USER, WORKDIR: the whole text
 *   ONBUILD:                     the whole instruction
 * Members of an array are words like others: dockerfile_lex_word() is for them too, except in commands.
 */
typedef struct DockerfileStep {
	DockerfileVerb verb;
	char *word;          /* the verb as it is written */
	int line, last_line; /* from 1; here-documents included */
	int joined_line;     /* the last one without here-documents */
	int column;          /* where the verb is in `line`, from 1 */
	char **flags; /* "--from=x" without the dashes: "from=x"; booleans are "link=true" or "link=false" */
	char
	    *text; /* everything behind the verb and the flags, continuation lines joined; of ONBUILD with its
					here-documents, as dockerfile_parse_step() takes it */
	char **args; /* see above; never NULL */
	size_t n_args;
	bool json; /* the arguments are an array */
	DockerfileHeredoc *
	    heredocs; /* in the order of their marks in the text, which stay there; of ONBUILD, its instruction's */
	size_t n_heredocs;
	char *original;          /* the whole step on one line, for output and history */
	char *comments;          /* comment lines above it, each with its newline, or NULL */
	bool empty_continuation; /* an empty line is between its lines */
} DockerfileStep;

typedef struct Dockerfile {
	char escape;          /* \ or ` */
	char *syntax, *check; /* # syntax=, # check=: their values, or NULL */
	int syntax_line, check_line;
	DockerfileStep *steps;
	size_t n_steps;
} Dockerfile;

/* Where an error is: the lines of the instruction and, if that is known, the very place. Lines and columns (in characters) are from 1. */
typedef struct DockerfilePlace {
	int first, last;  /* 0: no line can be named */
	int line, column; /* 0: unknown */
} DockerfilePlace;

/* `name` is used in errors: "Dockerfile:3: unknown instruction: FRO (did you mean FROM?)". Errors are ERR_INVALID. */
int dockerfile_parse(const char *text, size_t len, const char *name, Dockerfile *ret, Err *e);
/* The same; *ret_place is set if it fails. */
int dockerfile_parse_at(const char *text, size_t len, const char *name, Dockerfile *ret,
			DockerfilePlace *ret_place, Err *e);
void dockerfile_done(Dockerfile *d);
/* One instruction out of an ONBUILD trigger. */
int dockerfile_parse_step(const char *line, Dockerfile *ret, Err *e);
/* The front end that a text asks for ("docker/dockerfile:1", without what follows behind a blank), in a line "# syntax=", "// syntax=" or as
 * {"syntax": ""}; a first line "#!..." is passed over. 1 if there is one: *ret is malloc'ed, *ret_line its line. */
int dockerfile_syntax(const char *text, size_t len, char **ret, int *ret_line, Err *e);
/*
 * The lines around a place as docker build shows them, "Dockerfile:3" above, the lines of the place marked with >>>. `note` (may be NULL) is put
 * below the line of the place, under its column. NULL if there is no such line, or memory.
 */
char *dockerfile_excerpt(const char *text, size_t len, const char *name, const DockerfilePlace *place,
			 const char *note);
const char *dockerfile_verb_name(DockerfileVerb v);
/* Value of a flag ("from"), or NULL; of one that may be given several times, the first. */
const char *dockerfile_flag(const DockerfileStep *s, const char *name);
/* The next value from flag *at on, which is 0 at first. */
const char *dockerfile_flag_next(const DockerfileStep *s, const char *name, size_t *at);
/* A boolean flag: given, and not as false. */
bool dockerfile_flag_true(const DockerfileStep *s, const char *name);
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
	char ***used;  /* the same of names that are set */
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
