/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory that is written into: names and parents.
 *
 * Invariant: every name from an archive was cleaned (store/layer-rules.h); every parent is opened with
 * openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), so links that the archive made (or that were there) cannot lead out,
 * even without the chroot. The last component is only ever used with calls that do not follow it. Archives go directory by directory, so the last parent is kept open.
 */
#pragma once

#include "base/err.h"
#include "report.h"

#include <limits.h>

typedef struct TreeSlot {
	int fd;
	bool stale;  /* to be opened again at the next use */
	bool setgid; /* new files inherit its group */
	char path[PATH_MAX];
} TreeSlot;

typedef struct Tree {
	int root_fd;
	Report *report;    /* told of implied directories; NULL: nobody is */
	uint32_t uid, gid; /* of implied directories */
	int64_t made;      /* of them */
	TreeSlot parent;
	TreeSlot target; /* of hard links */
} Tree;

/* The directory that holds `clean`, made if missing and `make`. The slot stays the tree's. */
int tree_parent(Tree *t, TreeSlot *slot, const char *clean, bool make, Err *e);
/* Must be called when a directory or link was removed, which may have been part of a kept parent's path. A
 * descriptor in use stays valid until the next tree_parent of its slot. */
void tree_forget(Tree *t);
