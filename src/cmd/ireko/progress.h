/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The message streams of pull, push, load, import and build: one JSON object a line. On a terminal every
 * layer has its line, updated in place; elsewhere each change of status is a line of its own and bars are
 * left out.
 */
#pragma once

#include "base/json.h"
#include "cli.h"

typedef struct Progress {
	FILE *out;                                  /* NULL: show nothing */
	bool tty;                                   /* out is a terminal */
	void (*aux)(void *user, const json_t *aux); /* may be NULL */
	void *user;
} Progress;

/* Reads the body to its end. An error message in the stream becomes the Err. */
int progress_show(const Progress *p, Httpc *c, Err *e);
/* "[=====>    ]  1.2MB/3.4MB", no wider than `width`; malloc'ed. */
char *progress_bar(int64_t current, int64_t total, size_t width);
