/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar writer: ustar headers, PAX records where ustar has no room. Deterministic: the same entries give the same
 * bytes; no time, user or version of the writing process gets in. File names are bytes, not text.
 */
#pragma once

#include "store/digest.h"
#include "store/store.h"
#include "store/tar-read.h"

typedef struct TarWriter TarWriter;

/* Writes to fd (-1: nowhere) and into the hasher (may be NULL; borrowed). With neither, it only counts, and reads no files. */
int tar_writer_new(int fd, Hasher *h, TarWriter **ret, Err *e);
void tar_writer_free(TarWriter *w);
DEFINE_CLEANUP(TarWriter *, tar_writer_free)
/* From now on owners are said as they are called inside; those that have no name there as the kernel shows them, 65534. Borrowed. */
void tar_writer_name_ids(TarWriter *w, const StoreIds *ids);
/* The header of an entry; a TAR_FILE must be followed by exactly n->size bytes of contents. n->sparse is ignored. */
int tar_write_header(TarWriter *w, const TarEntry *n, Err *e);
int tar_write_data(TarWriter *w, const void *data, size_t len, Err *e);
/* Contents from a file, `size` bytes of it; what a file that shrinks meanwhile lacks is filled with zeros. sparse: it may have
 * holes, which are not read. In the archive they are zeros all the same: sparse entries are not understood by every
 * program that unpacks layers. */
int tar_write_from(TarWriter *w, int fd, int64_t size, bool sparse, Err *e);
/* For contents that somebody else writes to the descriptor: tar_write_flush, so that all that comes before them is out, then the
 * bytes, then tar_write_given, which says how many they were. Not with a hasher. */
int tar_write_flush(TarWriter *w, Err *e);
int tar_write_given(TarWriter *w, int64_t len, Err *e);
/* The end marker, and everything out. */
int tar_writer_end(TarWriter *w, Err *e);
/* Bytes of contents of regular files so far; of the whole tar, once it has ended. */
int64_t tar_writer_contents(const TarWriter *w);
int64_t tar_writer_total(const TarWriter *w);
