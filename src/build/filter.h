/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a tree a COPY takes: not what the .dockerignore or --exclude name, and with --parents only what the pattern names.
 *
 * Paths are relative and clean. Pure; patterns and paths are hostile. Fuzzed.
 */
#pragma once

#include "dockerfile/ignore.h"

typedef struct TreeFilter {
	const Ignore *ignore;  /* for paths from the context's root; NULL: none */
	const Ignore *exclude; /* for paths from what the step names; NULL: none */
	const char *include;   /* as exclude: only what matches, and what is below it; NULL: everything */
} TreeFilter;

typedef enum FilterSays {
	FILTER_SKIP,
	FILTER_LOOK, /* a directory that is only taken if something in it is */
	FILTER_TAKE,
} FilterSays;

/* path: from the root that the tree lies in; below: the part of it that follows what the step names, "" for that itself. */
FilterSays filter_says(const TreeFilter *f, const char *path, const char *below, bool is_dir);

/* COPY --parents SOURCE: where to begin, and the pattern for what is below ("a/./b*" begins at "a"). Both malloc'ed and clean;
 * the pattern is "" for all of it. 0 or -ENOMEM. */
int filter_parents(const char *source, char **ret_base, char **ret_pattern);
/* True if Go's filepath.Match would take it for more than a name. */
bool filter_has_wildcard(const char *pattern);
