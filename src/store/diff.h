/* SPDX-License-Identifier: Apache-2.0 */
/* An overlayfs upper directory as an OCI layer tar. */
#pragma once

#include "base/err.h"
#include "oci/reference.h"

typedef struct DiffSum {
	char digest[DIGEST_LEN + 1];
	int64_t contents; /* bytes in its regular files */
	int64_t bytes;    /* of the tar */
} DiffSum;

/* Writes the tar to out_fd (-1: nowhere) and says what it was (ret may be NULL). The same directory gives the same bytes on every
 * machine and in every version of ireko: diff ids depend on it. */
int diff_write(int dir_fd, int out_fd, DiffSum *ret, Err *e);
/* Bytes that the tar would have, without reading a file. */
int diff_count(int dir_fd, int64_t *ret, Err *e);
