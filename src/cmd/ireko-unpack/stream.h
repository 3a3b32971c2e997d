/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream: a thread reads descriptor 0, decompresses and hashes, while the caller takes the plain bytes
 * chunk by chunk. On two processors that hides the decompression behind the writing.
 *
 * The chunks form a ring: those from `tail` on, `full` of them, are the caller's; the thread owns the others. The
 * thread is started before the sandbox is sealed and waits for stream_go. There is no way to stop it early: a
 * failing caller reports and exits.
 */
#pragma once

#include "oci/reference.h"
#include "store/inflate.h"

typedef struct Stream Stream;

/* max_bytes: budget of the plain stream. hashed: its digest is wanted. */
int stream_new(int fd, int64_t max_bytes, bool hashed, Stream **ret, Err *e);
void stream_go(Stream *s);
/* Before that: the bytes are hashed by the caller's thread as it takes them, for a caller that has less to do than the stream. */
void stream_hash_when_taken(Stream *s);
/* A TarNextChunk: user is the Stream. */
ssize_t stream_next(void *user, const uint8_t **ret, Err *e);
/* Bytes taken from the descriptor so far. */
int64_t stream_bytes_read(Stream *s);
/* Bytes handed out in all, and the digest of them ("" if it was not wanted): after stream_next said 0. */
int stream_digest(Stream *s, char ret[DIGEST_LEN + 1], int64_t *ret_bytes, Err *e);
