/* SPDX-License-Identifier: Apache-2.0 */
/* A client for tests: it writes what it is told to, also what is not allowed, and reads frame by frame. What does not come within ten seconds is a failed test. */
#pragma once

#include "wire/spdy/spdy-internal.h"

typedef struct Peer {
	int fd;
	SpdyConnection *c; /* the server at the other end */
	z_stream z;
	SpdyInflate inflate;
} Peer;

typedef struct PeerFrame {
	SpdyHead head;
	uint8_t *data; /* head.len bytes; freed by the next call of peer_read */
} PeerFrame;

void peer_open(Peer *p, const SpdyLimits *o);
/* Ends the server's side, too. */
void peer_close(Peer *p);
/* 0, or -errno once the server takes nothing any more (-ETIMEDOUT: within ten seconds). */
int peer_put(Peer *p, const void *data, size_t len);
int peer_control(Peer *p, unsigned type, uint8_t flags, const void *payload, size_t len);
int peer_data(Peer *p, uint32_t stream, uint8_t flags, const void *data, size_t len);
/* Names and values in turn, to NULL; flags as SPDY_FIN. */
int peer_open_stream(Peer *p, uint32_t id, uint8_t flags, const char *const *fields);
/* A stream with a block of the caller's, compressed here. */
int peer_open_raw(Peer *p, uint32_t id, const void *block, size_t len);
int peer_number2(Peer *p, unsigned type, uint32_t a, uint32_t b);
/* The next frame: true; false at the end. */
bool peer_read(Peer *p, PeerFrame *ret);
/* The next frame that is a control frame of that type, others are dropped. Fails the test if there is none. */
void peer_expect(Peer *p, unsigned type, PeerFrame *ret);
/* Waits until the server has ended the connection; what it says is dropped. */
void peer_expect_end(Peer *p);
