/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths under a root that somebody else controls.
 *
 * Invariant: a path that a container, an image or a build context can influence is never handed
 * to the kernel as a string; it is opened here with openat2(RESOLVE_IN_ROOT |
 * RESOLVE_NO_MAGICLINKS), so "..", absolute names and symlinks stay inside `rootfd`, and used
 * through the descriptor (openat2(2)). A racing rename makes the kernel say EAGAIN; it is tried again
 * a bounded number of times.
 */
#pragma once

#include "base/err.h"

#include <fcntl.h>
#include <sys/stat.h>

/* openat2 in root; flags gain O_CLOEXEC. The fd or -errno. */
int path_open_in_root(int rootfd, const char *path, int flags, mode_t mode);
/* The same, but a path or symlink that would lead out of the directory is an error: -EXDEV. */
int path_open_beneath(int dirfd, const char *path, int flags);
/* Opens the directory `path` below rootfd, making missing components: the last with `mode` (0 means 0755),
 * those above it with 0755, all less the umask. Symlinks met on the way are followed inside the root, those to nothing too:
 * their target is made. The O_PATH|O_DIRECTORY fd or -errno. */
int path_mkdir_in_root(int rootfd, const char *path, mode_t mode);
/* Opens (O_PATH) a target for a file, making an empty regular one, and its parents, if nothing is there.
 * Any existing file will do; -EISDIR for a directory. */
int path_touch_in_root(int rootfd, const char *path, mode_t mode);
/* Opens the parent directory of `path` (made if `make`), and points *ret_name at the last component, a
 * pointer into `path` or "." for the root itself. The last component is not followed, and is
 * -EINVAL if it is "..", "." or empty (trailing slash), because it could lead out of the root: path_clean() first. */
int path_open_parent_in_root(int rootfd, const char *path, bool make, const char **ret_name);
/* "/proc/self/fd/N" in a caller-provided buffer: the string form of an fd for calls that take only paths. */
typedef struct FdPath {
	char s[32];
} FdPath;
FdPath path_of_fd(int fd);

/* Purely textual: "/a/./b//../c/" -> "/a/c"; the result of an absolute path never leaves "/". malloc'ed. */
char *path_clean(const char *path);
/* base is absolute; joins and cleans unless path is absolute itself. */
char *path_join_clean(const char *base, const char *path);
/* What follows the last slash, so "" for "a/". */
const char *path_base(const char *path);
/* The directory this executable lies in; malloc'ed. */
int path_of_own_dir(char **ret);
