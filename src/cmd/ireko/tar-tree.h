/* SPDX-License-Identifier: Apache-2.0 */
/* A directory tree, or a file, into an archive: for build contexts and for cp. */
#pragma once

#include "tar.h"

typedef enum TreeChoice {
	TREE_TAKE,
	TREE_SKIP,
	TREE_SKIP_BUT_ENTER, /* a directory of which only parts are taken */
} TreeChoice;

typedef struct TarTree {
	TarWriter *w;
	bool as_root; /* uid and gid 0 instead of the file's */
	/* May be NULL: takes all. `path` is relative to the top. */
	TreeChoice (*choose)(void *user, const char *path, bool is_dir);
	void *user;
} TarTree;

/* Everything below the directory dirfd, in sorted order, as "<prefix>/<path>" ("" for no prefix). Symbolic
 * links are taken as links, sockets are left out. 0, 1 when the sink wants no more, or -errno with the
 * path in the message. */
int tar_tree_add_directory(TarTree *t, int dirfd, const char *prefix, Err *e);
/* The single file, link or (empty) directory `name` at dirfd, as `as`. */
int tar_tree_add_one(TarTree *t, int dirfd, const char *name, const char *as, Err *e);
