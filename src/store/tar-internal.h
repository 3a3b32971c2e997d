/* SPDX-License-Identifier: Apache-2.0 */
/* What tar-read.c and tar-pax.c share. */
#pragma once

#include "store/tar-read.h"

typedef struct TarHeader {
	char name[100];
	char mode[8], uid[8], gid[8];
	char size[12], mtime[12];
	char checksum[8];
	char type;
	char link[100];
	char magic[8];
	char uname[32], gname[32];
	char major[8], minor[8];
	char prefix[155];
	char unused[12];
} TarHeader;
_Static_assert(sizeof(TarHeader) == TAR_BLOCK, "a tar header is one block");

typedef struct TarPiece {
	int64_t offset, len;
} TarPiece;

/* What extended headers said about the entry that follows them. */
typedef struct TarExtras {
	bool any;
	char *path, *linkpath;       /* PAX */
	char *long_name, *long_link; /* GNU */
	bool has_size, has_uid, has_gid, has_mtime;
	int64_t size, uid, gid, mtime_s;
	uint32_t mtime_ns;
	TarXattr *xattrs;
	size_t n_xattrs;
	bool sparse; /* one of the PAX sparse formats */
	int64_t sparse_major, sparse_minor, sparse_size;
	TarPiece *map; /* formats 0.0 and 0.1 */
	size_t n_map;
	bool map_half; /* an offset whose length has not come yet */
} TarExtras;

struct TarReader {
	TarNextChunk next;
	void *user;
	const uint8_t *at;
	size_t left;
	int64_t taken; /* from next() in all */
	bool ended;
	int64_t headers;

	TarEntry entry;
	TarExtras extras;
	int64_t stored; /* bytes of the entry still in the stream */
	bool pad_dirty; /* of the entry before */
	int64_t pad;
	int64_t offset; /* of the next byte within the file */
	TarPiece *sparse;
	size_t n_sparse, sparse_at;
};

static inline int64_t tar_padding(int64_t size)
{
	return (int64_t)((TAR_BLOCK - (uint64_t)size % TAR_BLOCK) % TAR_BLOCK);
}

int tar_truncated(Err *e, const char *where) _must_check_;
int tar_read_exact(TarReader *t, void *buf, size_t len, const char *where, Err *e);
void tar_entry_done(TarEntry *n);

void tar_extras_done(TarExtras *x);
/* Forgets what PAX said, keeps what GNU headers said. */
void tar_pax_reset(TarExtras *x);
int tar_pax_parse(TarExtras *x, char *text, size_t len, Err *e);
int tar_sparse_read(TarReader *t, const TarHeader *h, Err *e);
