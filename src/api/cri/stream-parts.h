/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the streaming server that know neither messages nor connections. */
#pragma once

#include "base/err.h"
#include "base/str.h"

/* ---- tokens: stream-token.c ---- */
typedef enum CriStreamKind { CRI_STREAM_EXEC, CRI_STREAM_ATTACH, CRI_STREAM_FORWARD } CriStreamKind;

/* What was asked for by gRPC. */
typedef struct CriStreamRequest {
	CriStreamKind kind;
	char *id; /* of the container, or of the pod */
	char **cmd;
	bool tty, in, out, err;
	int32_t *ports;
	size_t n_ports;
} CriStreamRequest;
void cri_stream_request_done(CriStreamRequest *r);

#define CRI_TOKEN_LEN     32 /* hex digits: 128 bits */
#define CRI_TOKENS_MAX    1000
#define CRI_TOKEN_LIFE_NS (60 * 1000000000ll)
typedef struct CriTokens CriTokens;
int cri_tokens_new(CriTokens **ret, Err *e);
void cri_tokens_free(CriTokens *t);
/* Takes what is in *r. The oldest of too many goes. */
int cri_token_add(CriTokens *t, CriStreamRequest *r, int64_t now_ns, char ret[CRI_TOKEN_LEN + 1], Err *e);
/* True and what was asked for, the caller's from then on: a token is good for once, for a minute, and for one kind. */
bool cri_token_take(CriTokens *t, CriStreamKind kind, const char *token, int64_t now_ns,
		    CriStreamRequest *ret);

/* ---- documents: stream-status.c ---- */
/* A metav1.Status as text: of success, of an exit code, of what went wrong. malloc'ed, or NULL. */
char *cri_status_success(void);
char *cri_status_exit(int code);
char *cri_status_error(const char *message);

/* Sizes of a terminal, one document behind another, as they arrive: {"Width":80,"Height":24}. */
#define CRI_RESIZE_MAX 256
typedef struct CriResizeReader {
	char buf[CRI_RESIZE_MAX];
	size_t len;
	bool broken; /* by something else: nothing more is read */
} CriResizeReader;
/* Bytes that were used; *ret_got if the last of them has ended a document with a size of which neither side is 0. */
size_t cri_resize_feed(CriResizeReader *r, const void *data, size_t len, bool *ret_got, uint16_t *ret_rows,
		       uint16_t *ret_cols);
/* Base64 as it arrives in pieces: bytes into to, which takes len / 4 * 3 + 3 of them; their number, or -EPROTO. */
typedef struct CriBase64 {
	uint32_t bits;
	unsigned n, pads;
} CriBase64;
ssize_t cri_base64_feed(CriBase64 *b, const void *data, size_t len, uint8_t *to);
