/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What walks over directory trees share: listings in memory, files opened without surprises, hard links met again,
 * attributes, holes. All of it holds for trees that somebody else is changing meanwhile.
 */
#pragma once

#include "base/err.h"

#include <sys/stat.h>

#define DIR_DEPTH_MAX 512 /* of what becomes a layer: a descriptor or two each */

/* The names in a directory but "." and "..", sorted by their bytes. 0 or -errno. */
int dir_names(int dir_fd, char ***ret);
/* What is below a directory: each inode counts once. */
typedef struct DirUsage {
	int64_t size;      /* sum of the sizes of the regular files, holes included */
	int64_t allocated; /* bytes that they and all else have of the disk */
	int64_t inodes;
} DirUsage;
int dir_usage(int dir_fd, DirUsage *ret, Err *e);

/* Opens for reading what is read (regular files and directories; never a device or fifo, whose opening does things), everything
 * else as O_PATH, without following it. The fd with what it is in *st, or -errno. */
int dir_open_entry(int dir_fd, const char *name, struct stat *st);

/* Files with several names, by the name under which each was met first. A set begins as NULL. */
typedef struct DirSeen DirSeen;
/* *ret: that name, borrowed; NULL for a file met for the first time (which is then remembered), for one that has a single
 * name, and for a directory. 0 or -ENOMEM. */
int dir_seen(DirSeen **set, const struct stat *st, const char *name, const char **ret);
void dir_seen_free(DirSeen *set);

/* Calls fn with each extended attribute of an open file or directory until it fails. A file system without them has none. */
typedef int (*DirXattrFn)(void *user, const char *name, const void *value, size_t len, Err *e);
int dir_xattrs(int fd, DirXattrFn fn, void *user, Err *e);
/* overlayfs's marks: this directory hides what is below it; this file is but a reference to something below. */
bool dir_xattr_is_opaque(const char *name, const void *value, size_t len);
bool dir_xattr_is_reference(const char *name);

/* Where data, or a hole, begins at or behind `at`; size if there is none before it. Moves the file's offset. */
int64_t dir_next_data(int fd, int64_t at, int64_t size);
int64_t dir_next_hole(int fd, int64_t at, int64_t size);
