/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever a layer may be compressed with, as one pull interface: gzip (ISA-L), zstd, xz, bzip2, or nothing.
 *
 * The format is told by the first bytes, never by a media type. Concatenated members and frames are one stream, as every
 * tool reads them. Memory is bounded: zstd windows to 128 MiB, xz to 256 MiB. Meant for the sandbox of ireko-unpack:
 * nothing else should feed it strangers' bytes.
 */
#pragma once

#include "base/err.h"

#define INFLATE_MAGIC 6 /* bytes that tell the format; a shorter stream is plain */

typedef struct Inflate Inflate;

int inflate_new(const uint8_t *magic, size_t len, Inflate **ret, Err *e);
void inflate_free(Inflate *d);
DEFINE_CLEANUP(Inflate *, inflate_free)

/* Moves on: takes from in, gives to out. `last`: nothing follows behind in. It stops when in is used up or out is full.
 * ERR_INVALID for damaged input. */
int inflate_step(Inflate *d, const uint8_t *in, size_t in_len, size_t *ret_used, uint8_t *out, size_t out_len,
		 size_t *ret_made, bool last, Err *e);
/* Called at the end of input with everything taken: 0 if the stream is whole, else ERR_INVALID "truncated ...". */
int inflate_finish(const Inflate *d, Err *e);
const char *inflate_name(const Inflate *d);
