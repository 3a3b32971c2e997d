/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of WebSocket (RFC 6455), for a client that wants a plain stream of bytes through it.
 *
 * Messages have no meaning: the payload of every data frame, whole or fragment, goes on as bytes, and bytes come back as one frame
 * for each piece. No extensions and no subprotocols. Payload is passed on as it arrives, so that the length of a frame, whatever
 * it claims, costs no memory; control frames are at most 125 bytes, as they must be.
 */
#pragma once

#include "wire/httpd/httpd.h"

typedef enum WsOpcode { WS_CONTINUATION, WS_TEXT, WS_BINARY, WS_CLOSE = 8, WS_PING, WS_PONG } WsOpcode;

#define WS_HEAD_MAX    14
#define WS_CONTROL_MAX 125
#define WS_KEY_LEN     28 /* of the answer to the handshake */

typedef struct WsHead {
	WsOpcode opcode;
	bool fin;
	uint64_t len; /* of the payload */
	uint8_t mask[4];
} WsHead;

/* The head of a client's frame at the front of buf: its bytes, 0 if it is not whole yet, or -EPROTO. */
int ws_head_read(const uint8_t *buf, size_t n, WsHead *ret);
/* The head of a frame of ours; its bytes. */
size_t ws_head_write(uint8_t to[WS_HEAD_MAX], WsOpcode opcode, uint64_t len);
/* Removes the mask from n bytes that begin at `at` of the payload. */
void ws_unmask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t at);
/* Sec-WebSocket-Accept for a Sec-WebSocket-Key. */
int ws_accept_key(const char *key, char ret[WS_KEY_LEN + 1]);

/* Answers the handshake; ERR_INVALID for a request that is none. The connection then speaks frames: ws_serve. */
int ws_begin(HttpRequest *rq, HttpHijack *ret, Err *e);
/* Carries bytes between the client and the stream socket `inner`, until either ends; blocking. opcode: of frames to the client. The end
 * of the client's input shuts inner down for writing; both descriptors stay the caller's. */
void ws_serve(const HttpHijack *h, int inner, WsOpcode opcode);
