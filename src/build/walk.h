/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking over what a COPY takes, in the order of names' bytes: the same tree gives the same walk.
 *
 * The tree may be hostile and change meanwhile: everything is reached by descriptors and single names that are not followed, depth and
 * numbers are bounded. Sockets are left out: without their process they are nothing.
 */
#pragma once

#include "build/filter.h"

#include <sys/stat.h>

#define WALK_DEPTH_MAX 512

typedef struct WalkEntry {
	int dir_fd;        /* where `name` is */
	const char *name;  /* one component */
	const char *path;  /* from the root; for opening it later, and for errors */
	const char *below; /* the part of it that follows what the step names; "" for that itself */
	int fd;            /* of a directory, else -1 */
	FilterSays says;   /* never FILTER_SKIP */
	struct stat st;
} WalkEntry;

typedef struct WalkLimits {
	int64_t max_bytes, max_files;      /* of what a layer may have */
	bool (*is_over)(const void *user); /* asked now and then; true ends the walk with ERR_CANCELLED */
	const void *user;
	int64_t bytes, files; /* so far; begin with 0 and hand on from walk to walk */
} WalkLimits;

typedef struct WalkOps {
	int (*enter)(void *user, const WalkEntry *n,
		     Err *e); /* every entry, a directory before what is in it */
	int (*leave)(void *user, const WalkEntry *n, Err *e); /* a directory, after that; may be NULL */
	void *user;
} WalkOps;

/* Of a file that cannot be opened or read as what it was listed as (no: an errno): -ESTALE if somebody has replaced it meanwhile, and
 * beginning again may help. */
int walk_lost(int no, const char *what, const char *path, Err *e);
/* `path` below root ("" is the root itself): it, and all below it that the filter takes. A link is not followed. */
int walk_tree(int root, const char *path, const TreeFilter *f, WalkLimits *limits, const WalkOps *ops,
	      Err *e);
