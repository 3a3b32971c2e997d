/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory trees into a tar.
 *
 * Everything is reached from a descriptor by single names that are not followed, so whoever changes the tree meanwhile can make
 * the archive odd but cannot lead us out of it. Names are sorted by their bytes, the second name of a file becomes
 * a hard link to the first, sockets are left out, and attributes are those that a layer may have.
 */
#pragma once

#include "store/tar-write.h"

enum {
	TAR_WALK_OVERLAY = 1, /* a 0/0 device is ".wh.NAME", an opaque directory has a ".wh..wh..opq" */
};

/* All that is in the directory, not itself. */
int tar_walk_dir(TarWriter *w, int dir_fd, int flags, Err *e);
/* `name` in parent_fd ("." for the directory itself) and all below it, called `as`. ERR_NOT_FOUND. */
int tar_walk_name(TarWriter *w, int parent_fd, const char *name, const char *as, int flags, Err *e);
