/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What overlayfs would show of a stack of layers, found out without it (snapshotter vfs).
 *
 * A Merged is one directory of that view: the directories of that path in the layers that contribute, top first. A name is
 * that of the topmost layer which has it; a 0/0 device hides the name below, an opaque directory, and anything that is no
 * directory, all that lies below it.
 */
#pragma once

#include "base/err.h"

#include <sys/stat.h>

typedef struct Merged {
	int *fds; /* own */
	size_t n;
} Merged;

void merged_done(Merged *m);
#define _cleanup_merged_ _cleanup_(merged_done)
/* The root of the view of these directories (NULL-terminated paths, top first). */
int merged_open(char *const *layers, Merged *ret, Err *e);
/* All names, sorted; strv, NULL if there is none. */
int merged_names(const Merged *m, char ***ret, Err *e);
/* 1 and the layer that has the name, 0 if none has; for a directory also what it is made of, if ret_dir is not NULL. */
int merged_find(const Merged *m, const char *name, size_t *ret_layer, struct stat *ret_st, Merged *ret_dir,
		Err *e);
