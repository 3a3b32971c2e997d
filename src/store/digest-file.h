/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of pieces of files, made by a thread of their own beside whatever else happens to the same bytes. */
#pragma once

#include "base/err.h"
#include "oci/reference.h"

typedef struct DigestThread DigestThread;

/* Begins to hash `size` bytes of fd from `at` on. fd is borrowed until the end, and its offset is not used. */
int digest_thread_start(int fd, int64_t at, int64_t size, DigestThread **ret, Err *e);
/* Waits, frees it, and tells the digest. ret may be NULL: then only the end is waited for. */
int digest_thread_end(DigestThread *t, char *ret, Err *e);

/* Writes `size` bytes of fd from `at` on to `out`; the digest is of what was there meanwhile. fd's offset is not used. */
int digest_copy(int fd, int64_t at, int64_t size, int out, char ret[DIGEST_LEN + 1], Err *e);
