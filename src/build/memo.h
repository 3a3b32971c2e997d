/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests that need not be made twice: of files that have not changed since, and of what a COPY takes from a layer, which never changes.
 *
 * One file of the data root, "build/digests": a head, then rows in order of their keys, with a checksum over all. It is replaced whole and
 * may be lost: what is damaged counts as empty. A file is the same as long as device, inode, size, times of change of contents and
 * of attributes are. As in git's index, what was changed at about the time at which it was read is not remembered (memo_is_settled): a second change within the clock's
 * step would not show.
 */
#pragma once

#include "base/err.h"

#include <sys/stat.h>

#define MEMO_DIGEST   32
#define MEMO_ROWS_MAX 400000 /* 32 MB; the longest unused go first */

typedef struct MemoKey {
	uint64_t dev, ino;
	int64_t size, mtime_ns, ctime_ns;
} MemoKey;

MemoKey memo_key_of_file(const struct stat *st);
/* Of anything else that a SHA-256 names. */
MemoKey memo_key_of_digest(const uint8_t digest[MEMO_DIGEST]);
bool memo_keys_equal(const MemoKey *a, const MemoKey *b);
/* A number that shows whether two walks, in whatever order, saw the same files: the sum of these. */
uint64_t memo_key_mix(const MemoKey *k);
/* read_ns: the clock before its contents were read. */
bool memo_is_settled(const struct stat *st, int64_t read_ns);

/* For one thread at a time; several may be open. */
typedef struct Memo Memo;
/* root_fd: the data root. Fails only without memory. */
int memo_open(int root_fd, Memo **ret, Err *e);
bool memo_get(Memo *m, const MemoKey *k, uint8_t ret[MEMO_DIGEST]);
/* 0 or -ENOMEM */
int memo_put(Memo *m, const MemoKey *k, const uint8_t digest[MEMO_DIGEST]);
/* Writes down what is new, beside what others wrote meanwhile. */
int memo_save(Memo *m, Err *e);
void memo_free(Memo *m);
DEFINE_CLEANUP(Memo *, memo_free)
