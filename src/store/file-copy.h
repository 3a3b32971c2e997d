/* SPDX-License-Identifier: Apache-2.0 */
/* Contents of files, one after the other: shared with the original where the file system can, with their holes, within the kernel if possible. */
#pragma once

#include "base/err.h"

#include <sys/stat.h>

/* Begins as zeros. What one file has shown to be impossible is not tried for the next. */
typedef struct FileCopy {
	bool no_clone, no_range;
	char *buf;
} FileCopy;

/* All of `in`, which `st` describes, into the empty file `out`. What a file that shrinks meanwhile lacks is a hole, what it grows is left
 * out. 0 or -errno. */
int file_copy(FileCopy *k, int in, int out, const struct stat *st);
void file_copy_done(FileCopy *k);
