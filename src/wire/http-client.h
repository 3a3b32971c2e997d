/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small blocking HTTP/1.1 client over unix sockets and plain TCP, for a command line whose whole life is
 * shorter than the start-up of a general library.
 *
 * One Httpc is one connection with at most one exchange on it: send, perhaps write a chunked body,
 * receive the head, read the body to its end; then the next exchange may follow if httpc_is_idle().
 * After 101 (or any answer to an upgrade) the socket can be taken over with httpc_hijack().
 * The other side is not trusted: heads, chunk sizes and lengths are bounded and checked to the letter
 * (RFC 9112), and a body is never larger in memory than the caller's budget. Not thread-safe.
 */
#pragma once

#include "base/err.h"

#define HTTP_HEAD_MAX (64u << 10) /* bytes of a response head */

typedef struct HttpcAddress {
	char *text; /* as written, for messages: "unix:///run/x.sock", "tcp://127.0.0.1:2375" */
	char *path; /* of a unix socket, or NULL */
	char *host; /* of TCP, without brackets */
	char *port;
} HttpcAddress;

/* "unix:///path", "/path", "tcp://host[:port]", "http://host[:port]" or "host:port"; the port defaults to
 * 2375. */
int httpc_address_parse(const char *s, HttpcAddress *ret, Err *e);
void httpc_address_done(HttpcAddress *a);

typedef struct HttpcResponse {
	int status;
	bool chunked, close;
	int64_t length; /* Content-Length, -1: not given */
	char *head;     /* status line and headers as received, NUL-terminated */
} HttpcResponse;

/* Reads one head from the start of text. The number of bytes it takes, 0 when it is not complete, -EBADMSG
 * when it is no HTTP/1.x, -EMSGSIZE when it is larger than HTTP_HEAD_MAX, or -ENOMEM. */
ssize_t httpc_response_parse(const char *text, size_t len, HttpcResponse *ret);
void httpc_response_done(HttpcResponse *r);
/* The first header of this name, trimmed, malloc'ed; NULL if there is none. */
char *httpc_response_header(const HttpcResponse *r, const char *name);

typedef struct HttpcRequest {
	const char *method, *target;
	char *const *headers; /* "Name: value" */
	const void *body;     /* sent with Content-Length, NULL for none */
	size_t body_len;
	bool chunked; /* the body follows with httpc_write() */
	bool upgrade; /* asks for the raw connection ("Upgrade: tcp") */
} HttpcRequest;

typedef struct Httpc Httpc;

/* err->no keeps the errno of connect(2), so that callers can add the remedy they know. */
int httpc_connect(const HttpcAddress *a, Httpc **ret, Err *e);
/* Takes a connected stream socket over (also on failure: NULL on out of memory). */
Httpc *httpc_new(int fd);
void httpc_free(Httpc *c);
DEFINE_CLEANUP(Httpc *, httpc_free)
#define _cleanup_httpc_ _cleanup_(httpc_freep)

int httpc_fd(const Httpc *c);
/* True if another request can be sent: the last exchange is over and the other side keeps the connection. */
bool httpc_is_idle(const Httpc *c);
int httpc_send(Httpc *c, const HttpcRequest *rq, Err *e);
/* Some more of a chunked body. 0, or 1 when the server has refused already (a status of 400 or more is
 * waiting, or it hung up): the rest need not be sent. */
int httpc_write(Httpc *c, const void *data, size_t len, Err *e);
/* Everything up to the end of fd. As httpc_write. */
int httpc_write_fd(Httpc *c, int fd, Err *e);
/* Ends a chunked body. Nothing happens if the server has refused already. */
int httpc_finish(Httpc *c, Err *e);
/* Reads the head of the answer (1xx but 101 are passed over). The response stays the client's. */
int httpc_receive(Httpc *c, const HttpcResponse **ret, Err *e);
/* Up to cap bytes of the body as they come; 0 at its end. -ECONNRESET when the connection broke first. */
ssize_t httpc_read(Httpc *c, void *buf, size_t cap, Err *e);
/* True if httpc_read() can give something without waiting for the network. */
bool httpc_has_data(const Httpc *c);
/* The rest of the body, NUL-terminated. ret_len may be NULL. -EFBIG past max. */
int httpc_read_all(Httpc *c, size_t max, char **ret, size_t *ret_len, Err *e);
/* Gives the socket to the caller, with what was read ahead of it (valid as long as c). */
int httpc_hijack(Httpc *c, const char **ret_ahead, size_t *ret_n);
