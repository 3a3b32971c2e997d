/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the parser share. Errors here say what is wrong, not where: parse.c adds that. */
#pragma once

#include "dockerfile/dockerfile.h"

/* The word of the text that an error is about: where it is found, the error points to. */
typedef struct Culprit {
	char text[128];
} Culprit;

void culprit_set(Culprit *c, const char *text);

/* directive.c: "# name=value". */
typedef struct Directives {
	bool done; /* a line was none: there are no more */
	bool seen[3];
} Directives;
typedef enum DirectiveName { DIRECTIVE_SYNTAX, DIRECTIVE_ESCAPE, DIRECTIVE_CHECK } DirectiveName;
/* 1 if the line, from the comment's sign on, is one: *ret_value is malloc'ed. */
int directive_read(Directives *d, const char *line, size_t len, const char *sign, DirectiveName *ret,
		   char **ret_value, Err *e);
/* The value of a directive whose line begins with `sign`, behind a "#!" line if there is one. 1 if found. */
int directive_find(const char *text, size_t len, const char *sign, DirectiveName name, char **ret,
		   int *ret_line, Err *e);

/* args.c: a logical line into flags, text and arguments. */
int step_read(DockerfileStep *s, const char *line, char escape, Culprit *c, Err *e);

/* instruction.c: what an instruction may have. */
int step_verb(const char *word, DockerfileVerb *ret, Err *e);
int step_check(DockerfileStep *s, Culprit *c, Err *e);

/* heredoc.c */
/* "<<-'EOF'" as a word by itself: 1 if it is the mark of a here-document, *ret then has its name. */
int heredoc_mark(const char *word, DockerfileHeredoc *ret, Err *e);
/* All marks in a logical line, with empty texts. */
int heredoc_marks(const char *line, DockerfileStep *s, Err *e);
bool heredoc_allowed(const DockerfileStep *s);
