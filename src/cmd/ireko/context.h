/* SPDX-License-Identifier: Apache-2.0 */
/* What `build` sends: the directory without what .dockerignore names, an archive, or a lone Dockerfile. */
#pragma once

#include "dockerfile/ignore.h"
#include "tar.h"

typedef struct Context {
	int fd; /* the directory, or -1 */
	Ignore ignore;
	char *dockerfile; /* its path in the archive */
	char *text;       /* its text, when it is not in the directory */
	size_t text_len;
	char *archive_head; /* of an archive on standard input: what was read of it already */
	size_t archive_head_len;
	char *remote; /* a URL that the engine fetches itself */
} Context;

/* path: a directory, a URL or "-"; file: -f, or NULL. */
int context_open(const char *path, const char *file, Context *ret, Err *e);
void context_done(Context *c);
/* An URL, or a repository as ssh names it. */
bool context_is_remote(const char *s);
/* Writes it all; as the functions of tar.h. Not for archives and URLs. */
int context_write(const Context *c, TarWriter *w, Err *e);
