/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar reader for archives that strangers made: v7, ustar, PAX and GNU (long names, base-256 numbers, all four
 * kinds of sparse files).
 *
 * It pulls its bytes through a callback that hands out whole chunks, and hands file contents on as pointers into
 * those chunks: nothing but headers is copied. Where tar dialects disagree it reads an archive as Go's archive/tar does, because
 * that is what every other engine checks images with: links, devices and directories have no contents whatever
 * their size field says, global PAX headers do not apply. Memory is bounded whatever the archive says. Names
 * are delivered as they stand in the archive (never with a NUL inside); judging them is the caller's. Fuzzed.
 */
#pragma once

#include "base/err.h"

#define TAR_BLOCK      512u
#define TAR_HEADER_MAX (1u << 20) /* bytes of one PAX or GNU long-name header */
#define TAR_SPARSE_MAX 65536u     /* pieces of one sparse file */

typedef enum TarType {
	TAR_FILE,
	TAR_HARDLINK,
	TAR_SYMLINK,
	TAR_CHAR,
	TAR_BLOCKDEV,
	TAR_DIR,
	TAR_FIFO
} TarType;

typedef struct TarXattr {
	char *name;
	void *value;
	size_t len;
} TarXattr;

typedef struct TarEntry {
	TarType type;
	char *name;
	char *link;
	uint32_t mode; /* permission bits and setuid, setgid, sticky */
	uint32_t uid, gid;
	int64_t size; /* of the file as it will be, holes included */
	bool sparse;
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t dev_major, dev_minor;
	TarXattr *xattrs;
	size_t n_xattrs;
} TarEntry;

typedef struct TarReader TarReader;

/* The next bytes of the stream: their number (> 0), 0 at the end, or -errno. They stay valid until the next call. */
typedef ssize_t (*TarNextChunk)(void *user, const uint8_t **ret, Err *e);

int tar_reader_new(TarNextChunk next, void *user, TarReader **ret, Err *e);
void tar_reader_free(TarReader *t);
DEFINE_CLEANUP(TarReader *, tar_reader_free)

/* 1 and the next entry, valid until the next call; 0 at the end of the archive, after the rest of the stream was
 * read to its end; ERR_INVALID for what is no tar, "truncated ..." when it ends too early. Contents that were not asked for
 * are skipped. */
int tar_next(TarReader *t, const TarEntry **ret, Err *e);
/* 1 and the next piece of the entry's contents, which belongs at *ret_offset of the file; 0 when there is no more. */
int tar_data(TarReader *t, const void **ret, size_t *ret_len, int64_t *ret_offset, Err *e);
/* True if a tar may begin with these TAR_BLOCK bytes: they are a header whose checksum is right. */
bool tar_block_begins(const void *block);
/* Headers of any kind met so far. */
int64_t tar_headers(const TarReader *t);
/* Bytes of the stream read so far: after tar_next, where the contents of the entry begin, which is a multiple of TAR_BLOCK. */
int64_t tar_position(const TarReader *t);
/* True if what fills the last block of the entry before the current one (or the last one, at the end) is not zeros, or not there. */
bool tar_padding_is_dirty(const TarReader *t);
/* What a layer may carry: user.* but overlayfs's own, file capabilities, access control lists. Everything else would let an archive
 * speak to overlayfs or to a security module. */
bool tar_xattr_is_wanted(const char *name);
