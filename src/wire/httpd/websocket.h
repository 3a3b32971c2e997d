/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of WebSocket (RFC 6455).
 *
 * Messages have no meaning to ws_serve: the payload of every data frame, whole or fragment, goes on as bytes, and bytes come back as one frame
 * for each piece. A WsConnection is for who needs to know where they begin and end. No extensions. Payload is passed on as it arrives, so that the length of a frame, whatever
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

bool ws_wanted(const HttpRequest *rq);
/* The first of the subprotocols that the client offers and that is in the NULL-terminated list; "" if it offers none, NULL if none of them is. */
const char *ws_choose_protocol(const HttpRequest *rq, const char *const *known);
/* Answers the handshake; ERR_INVALID for a request that is none. The connection then speaks frames: ws_serve, or ws_open. A subprotocol is a header that was set before. */
int ws_begin(HttpRequest *rq, HttpHijack *ret, Err *e);
/* Carries bytes between the client and the stream socket `inner`, until either ends; blocking. opcode: of frames to the client. The end
 * of the client's input shuts inner down for writing; both descriptors stay the caller's. */
void ws_serve(const HttpHijack *h, int inner, WsOpcode opcode);

/* ---- messages: websocket-messages.c ----
 * One thread receives, any thread sends. Pings are answered by ws_receive. */
typedef struct WsConnection WsConnection;
typedef struct WsPiece {
	bool begins, ends; /* its message, of which no piece but the last is empty */
	const uint8_t *data;
	size_t len;
} WsPiece;
/* idle_timeout_ms: without a byte in either direction; 0: never. h stays the caller's. */
int ws_open(const HttpHijack *h, int idle_timeout_ms, WsConnection **ret, Err *e);
/* 1 and a piece, which is there until the next call; 0 once the client has ended it or poll(2) says POLLIN of quit_fd; else an error. */
int ws_receive(WsConnection *w, int quit_fd, WsPiece *ret, Err *e);
/* One message, of two parts. Waits while the client does not read. */
int ws_send(WsConnection *w, WsOpcode opcode, const void *a, size_t an, const void *b, size_t bn, Err *e);
/* Tells the client, waits a second at most for it to leave, and frees. NULL is allowed. */
void ws_close(WsConnection *w, unsigned code);
#define WS_NORMAL         1000
#define WS_PROTOCOL_ERROR 1002
