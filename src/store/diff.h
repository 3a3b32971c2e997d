/* SPDX-License-Identifier: Apache-2.0 */
/* An overlayfs upper directory as an OCI layer tar. */
#pragma once

#include "base/err.h"
#include "oci/reference.h"

/* Writes the tar to out_fd (-1: nowhere); its digest and the bytes in its regular files (both may be NULL). The same directory gives the
 * same bytes on every machine and in every version of ireko: diff ids depend on it. */
int diff_write(int dir_fd, int out_fd, char *ret_digest, int64_t *ret_size, Err *e);
