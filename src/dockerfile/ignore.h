/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .dockerignore: which paths of a build context stay at home; the same patterns are COPY --exclude's.
 *
 * Patterns are matched against the path relative to the context and against each directory above it; the last
 * pattern that matches decides, '!' takes back. '*' and '?' stop at '/', '**' is any number of directories (at the end, anything), [..] is a
 * class, '\' takes the next character literally. Matching goes once through the path, whatever the pattern is.
 */
#pragma once

#include "base/err.h"

typedef struct IgnorePattern IgnorePattern;

typedef struct Ignore {
	char **patterns; /* cleaned; '!' in front of those that take back */
	IgnorePattern **compiled;
	size_t n;
} Ignore;

/* Reads the text of a .dockerignore. */
int ignore_parse(const char *text, Ignore *ret, Err *e);
/* One more pattern at the end, cleaned already. -EINVAL if it is no pattern, -ENOMEM. */
int ignore_add(Ignore *ig, const char *pattern);
void ignore_done(Ignore *ig);
bool ignore_matches(const Ignore *ig, const char *path);
/* True if something below this ignored directory may be taken back. */
bool ignore_may_return(const Ignore *ig, const char *dir);
/* True if any pattern takes back. */
bool ignore_takes_back(const Ignore *ig);
/* A single pattern against a whole path. */
bool ignore_glob(const char *pattern, const char *path);
