/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said on the control socket of ireko-proxy: one message a request, one an answer, in turn, over a unix seqpacket socket.
 *
 * Both sides are programs of one house on one machine, so messages are structs; an upgrade may bring another version of them together
 * with a process that runs. Version and op come first in all versions, and PROXY_QUIT is understood whatever the version.
 */
#pragma once

#include "proxy/proxy.h"

#define PROXY_VERSION   1
#define PROXY_LIST_MAX  64 /* ports in one answer */
#define PROXY_ERROR_MAX 320

/* What the program finds open. */
#define PROXY_CONTROL_FD 3 /* the control socket, listening */
#define PROXY_REPORT_FD                                                                                      \
	4 /* what keeps it from starting is told as an Err; closed in silence when it is ready */

typedef enum ProxyOp {
	PROXY_QUIT = 0,
	PROXY_ADD = 1, /* with the socket */
	PROXY_REMOVE = 2,
	PROXY_LIST = 3,
	PROXY_OP_MAX,
} ProxyOp;

typedef struct ProxyRequest {
	uint32_t version, op;
	uint64_t after; /* PROXY_LIST: those added after the one of this number; 0: from the first */
	ProxyPort port; /* PROXY_ADD; of PROXY_REMOVE the key */
	uint32_t unused;
} ProxyRequest;

typedef struct ProxyReply {
	uint32_t version;
	uint32_t kind; /* ErrKind, if `no` is not 0 */
	int32_t no;    /* errno, or 0: done */
	uint32_t n;    /* ports that follow */
	uint64_t last; /* number of the last of them; 0: there are no more */
	char error[PROXY_ERROR_MAX];
	ProxyPort ports[PROXY_LIST_MAX]; /* only n of them are sent */
} ProxyReply;

/* Checks a message and gives it out; n_fds came with it. Errors are for the one who asked. */
int proxy_request_parse(const void *message, size_t len, size_t n_fds, ProxyRequest *ret, Err *e);
/* The length of an answer on the wire. */
size_t proxy_reply_size(const ProxyReply *r);
/* Of an answer that came: ERR_UNSUPPORTED if it is of another version, -EPROTO if it is none. An error that it tells is not looked at. */
int proxy_reply_check(const ProxyReply *r, size_t len, Err *e);
/* ERR_INVALID, saying what is wrong with it. */
int proxy_port_check(const ProxyPort *p, Err *e);
int proxy_key_check(const char key[PROXY_KEY_MAX], Err *e);
