/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory tree copied as it is, for layers: contents with their holes (shared with the original where the file
 * system can), owners, modes, times to the nanosecond, hard links, devices, the attributes that a layer may have and
 * overlayfs's marks. Sockets are left out, as in a layer's tar.
 *
 * Both sides are reached by descriptors and single names that are not followed. The original may be changed meanwhile:
 * the copy can then be of several moments, but it is all that is looked at afterwards, and nobody else changes it.
 */
#pragma once

#include "base/err.h"

typedef struct TreeCopyLimits {
	int64_t max_bytes; /* of regular files, holes counted as the zeros that they are in a tar */
	int64_t max_files;
} TreeCopyLimits;

/* Fills `to`, an empty directory of the caller's, with what is in `from`, and makes it look like that one. */
int tree_clone(int from, int to, const TreeCopyLimits *limits, Err *e);
/* Lays the layer `from` over `to`, which holds the layers below it merged in the same way, as overlayfs would show them: what is
 * in both is replaced, directories are merged, whiteouts and opaque directories take away. With keep_marks something lies below
 * `to` as well, and the result carries the marks that hide parts of it. */
int tree_merge(int from, int to, bool keep_marks, const TreeCopyLimits *limits, Err *e);
