/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What COPY and ADD name in a directory, the root of a context, a stage or an image: patterns to paths, and paths to a digest.
 *
 * The tree is hostile: links are followed inside the root only.
 */
#pragma once

#include "build/walk.h"
#include "oci/reference.h"

typedef struct Source {
	char *
	    path; /* relative to the root, clean, with no link in it where that could be found out; "" is the root itself */
	char *name;    /* what it is called where it is copied to */
	char *include; /* --parents: the pattern for what is below it; else NULL */
	bool is_dir;
} Source;

typedef struct Sources {
	Source *items;
	size_t n;
} Sources;

void sources_done(Sources *s);

/* Adds what the pattern (Go's filepath.Match, of the whole path) names; links that are named are followed. A pattern without wildcards
 * that names nothing is ERR_NOT_FOUND in BuildKit's words; one with them adds nothing. */
int sources_match(int root, const char *pattern, const TreeFilter *f, Sources *ret, Err *e);
/* The same for COPY --parents. */
int sources_match_parents(int root, const char *pattern, const TreeFilter *f, Sources *ret, Err *e);

typedef struct SourceDigest {
	const TreeFilter *filter;
	WalkLimits *limits;
	bool owners;   /* they count */
	int memo_root; /* the data root: files are known again (memo.h); -1: they are not worth it */
	struct Manifest *manifest; /* NULL, or where all that is taken is added (manifest.h) */
	uint64_t *state;           /* NULL, or what the sum of memo_key_mix of all files is added to */
} SourceDigest;
int sources_digest(int root, const Sources *s, const SourceDigest *how, char ret[DIGEST_LEN + 1], Err *e);
