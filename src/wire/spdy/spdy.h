/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPDY/3.1 (the framing of draft 3.1 over TCP), a server's role, on a connection that was upgraded from HTTP/1.1: what "kubectl exec", attach and port-forward
 * and their like speak to a streaming server. Nothing of HTTP goes over it: a stream is its headers (names and values) and bytes in both directions.
 *
 * Streams are opened by the client and accepted here, by blocking calls, from any thread. One thread of the connection reads. What a peer can make us hold is bounded
 * by SpdyLimits; a stream whose bytes nobody takes stops a client that keeps to its window, and no other stream. (The clients of Kubernetes know no windows: from one that has sent four times
 * as much, or a megabyte in all streams, nothing is read until somebody takes of it.) Headers of all streams share one decompressor
 * (zlib with the dictionary of the draft), whose output is bounded.
 */
#pragma once

#include "base/err.h"

typedef struct SpdyConnection SpdyConnection;
typedef struct SpdyStream SpdyStream;

/* Zeros are the defaults. */
typedef struct SpdyLimits {
	unsigned streams_max; /* open at one time; 0: 256 */
	size_t headers_max;   /* of one stream, decompressed; 0: 64 KiB */
	uint32_t window;      /* that a stream may send ahead; 0: 64 KiB as the draft begins with */
	int idle_timeout_ms;  /* without a byte in either direction; 0: never */
} SpdyLimits;

/* Takes fd, on failure too (a connected stream socket); prefix: what was already read from it. The reading thread is the connection's. */
int spdy_serve(int fd, const void *prefix, size_t prefix_len, const SpdyLimits *o, SpdyConnection **ret,
	       Err *e);
/* Says goodbye (GOAWAY), ends every stream and frees; streams that were accepted and not closed are closed by it. NULL is allowed. */
void spdy_connection_close(SpdyConnection *c);
DEFINE_CLEANUP(SpdyConnection *, spdy_connection_close)
/* poll(2) says POLLHUP of it once the connection is over. The connection's. */
int spdy_dead_fd(SpdyConnection *c);

/* The next stream that the client opens: 1; 0 at the end of the connection; -ETIMEDOUT after timeout_ms (-1: never). It is to be answered by spdy_reply or closed. */
int spdy_accept(SpdyConnection *c, int timeout_ms, SpdyStream **ret, Err *e);
/* The value of a header, lower-case name; of several values the first. NULL if there is none. The stream's. */
const char *spdy_header(const SpdyStream *s, const char *name);
uint32_t spdy_stream_id(const SpdyStream *s);
/* SYN_REPLY; without it the client takes nothing that is sent. */
int spdy_reply(SpdyStream *s, Err *e);
/* At least one byte, 0 at the end of the client's side, or an error (reset, connection lost). */
ssize_t spdy_read(SpdyStream *s, void *buf, size_t cap, Err *e);
/* All of it, waiting for the socket, and for the peer's window if it has ever spoken of one. */
int spdy_write(SpdyStream *s, const void *data, size_t len, Err *e);
/* No more from us: FLAG_FIN. */
int spdy_write_end(SpdyStream *s, Err *e);
/* poll(2) says POLLIN of it while spdy_read would not wait. The stream's. */
int spdy_readable_fd(SpdyStream *s);
/* Ends both sides, with RST_STREAM if either is open, and frees. NULL is allowed. */
void spdy_stream_close(SpdyStream *s);
/* The same without freeing it: who reads or writes it in another thread gets an error. */
void spdy_stream_cancel(SpdyStream *s);
DEFINE_CLEANUP(SpdyStream *, spdy_stream_close)
