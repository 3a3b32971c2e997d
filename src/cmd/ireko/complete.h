/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may stand at the cursor. The shells' scripts (completion-script.c) give us the words, and get back the protocol of
 * docker's own: a candidate a line, with a tab and a description if there is one, and last ":" and a directive.
 *
 * Everything comes out of the tables of verbs and flags: what an argument is, from its word in `usage` (CONTAINER, IMAGE, ...).
 */
#pragma once

#include "base/str.h"
#include "options.h"

typedef enum Directive {
	DIRECTIVE_FILES = 0,    /* if there is no candidate, the shell may offer files */
	DIRECTIVE_NO_SPACE = 2, /* more of the same word follows */
	DIRECTIVE_NO_FILES = 4,
} Directive;

typedef struct Completion {
	Cli *cli;
	const char *prefix;  /* what is typed of the candidate */
	const char *leading; /* what precedes it in the word: "--network=", "" */
	StrBuf out;
	Directive directive;
} Completion;

/* Adds what begins with the prefix. What a shell might take for more than a word is left out. */
void completion_add(Completion *c, const char *candidate, const char *description);
/* The values of a flag, of the command typed as `path`. */
void completion_flag_values(Completion *c, const char *path, const Flag *f);
/* The arguments of a kind: a word of a usage ("CONTAINER"). */
void completion_arguments(Completion *c, const char *path, const char *kind);
