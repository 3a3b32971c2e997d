/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compression of what we make ourselves, as a stream: gzip (ISA-L) or zstd.
 *
 * Deterministic: the same bytes, fed in the same pieces, give the same result, with no time and no name in it. Callers
 * feed pieces of DEFLATE_PIECE, only the last one shorter, so that pieces are the same whatever the pipe in front gives. A
 * few megabytes of memory whatever the size.
 */
#pragma once

#include "base/err.h"

#define DEFLATE_PIECE (256u << 10)

typedef enum DeflateKind { DEFLATE_GZIP, DEFLATE_ZSTD } DeflateKind;

typedef struct Deflate Deflate;

int deflate_new(DeflateKind kind, Deflate **ret, Err *e);
void deflate_free(Deflate *d);
DEFINE_CLEANUP(Deflate *, deflate_free)

/* Compresses one piece (at most DEFLATE_PIECE bytes); `last` ends the stream. `out` gets what comes of it, at most
 * DEFLATE_PIECE bytes at once; its failure is returned. */
int deflate_add(Deflate *d, const void *data, size_t len, bool last,
		int (*out)(void *user, const void *data, size_t len, Err *e), void *user, Err *e);
