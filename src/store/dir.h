/* SPDX-License-Identifier: Apache-2.0 */
/* Directory listings in memory. */
#pragma once

#include "base/err.h"

/* The names in a directory but "." and "..", sorted by their bytes. 0 or -errno. */
int dir_names(int dir_fd, char ***ret);
/* Sum of the sizes of the regular files below, each inode counted once. */
int dir_size(int dir_fd, int64_t *ret, Err *e);
