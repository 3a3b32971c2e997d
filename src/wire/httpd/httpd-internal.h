/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the HTTP server share.
 *
 * A connection has one buffer: bytes received and not yet used lie at in[pos, len). The head of a request is parsed in place in a copy
 * (`head`), so all strings of a request are slices of one allocation that lives as long as the request.
 */
#pragma once

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "wire/httpd/httpd.h"

#include <pthread.h>

#define HTTP_HEAD_MAX    65536u
#define HTTP_HEADERS_MAX 100
#define HTTP_QUERY_MAX   256
#define HTTP_PARAMS_MAX  4
#define HTTP_LISTEN_MAX  16

typedef struct HttpPair {
	const char *name;
	const char *value;
} HttpPair;

typedef struct HttpOutHeader {
	char *name, *value;
} HttpOutHeader;

typedef enum BodyKind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED } BodyKind;

typedef struct HttpConnection {
	HttpServer *server;
	int fd;
	HttpTransport transport;
	char *in;
	size_t pos, len, cap;
	bool idle, streaming, hijacked; /* under the server's lock: what drain may do with it */
	struct HttpConnection *prev, *next;
} HttpConnection;

struct HttpRequest {
	HttpConnection *conn;
	/* Parsed head. */
	char *head;
	const char *method, *path;
	char *own_path; /* after http_set_path */
	int minor;      /* HTTP/1.minor */
	HttpPair headers[HTTP_HEADERS_MAX];
	size_t n_headers;
	HttpPair *query;
	size_t n_query;
	HttpPair params[HTTP_PARAMS_MAX]; /* values malloc'ed */
	size_t n_params;
	int tag;
	bool keep_alive, expect_continue;
	/* Body. */
	BodyKind body_kind;
	uint64_t body_left; /* of the length or of the current chunk */
	bool chunk_open;    /* inside a chunk: its CRLF is still to come */
	bool body_done, body_failed;
	char *body;
	size_t body_len;
	int body_pipe[2];
	pthread_t body_thread;
	bool body_pumping;
	int body_result;
	/* Answer. */
	HttpOutHeader *out;
	size_t n_out;
	bool answered, stream, stream_failed, head_only, hijacked, close_after;
	pthread_mutex_t write_lock;
	int stream_pipe[2];
	pthread_t stream_thread;
	bool stream_pumping;
	/* Watching a TCP client. */
	int alive_pipe[2];
	pthread_t watch_thread;
	bool watching;
};

struct HttpServer {
	HttpOptions o;
	struct {
		int fd;
		HttpTransport transport;
	} listeners[HTTP_LISTEN_MAX];
	size_t n_listeners;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	HttpConnection *connections;
	unsigned n_connections;
	bool stopping;
};

/* parse.c. head is writable, NUL-terminated, without the empty line at its end. ERR_INVALID, and *ret_status may say more. */
int http_parse_head(HttpRequest *rq, char *head, size_t len, int *ret_status, Err *e);
/* In place; -EINVAL for a bad escape or a NUL. plus: '+' is a blank. */
int http_percent_decode(char *s, bool plus);
int http_check_browser(const HttpRequest *rq, HttpTransport transport, Err *e);

/* route.c. Fills params; the values are malloc'ed. 1 match, 0 none, -errno. */
int http_route_match(const char *pattern, const char *path, HttpPair *params, size_t *n_params);
const HttpRoute *http_route_find(HttpRequest *rq, const HttpRoute *routes, int *ret_error);
void http_params_free(HttpRequest *rq);

/* body.c */
/* Receives more into the connection's buffer; bytes, 0 at end, -ETIMEDOUT, -errno. deadline in clock_mono_ns; 0: none. */
ssize_t http_conn_fill(HttpConnection *c, int64_t deadline_ns);
int http_body_buffer(HttpRequest *rq, size_t max, int64_t deadline_ns, Err *e);
/* True if the rest of the body was small and is read away, so that the connection can be used again. */
bool http_body_discard(HttpRequest *rq);

/* respond.c */
int http_send_all(int fd, const void *a, size_t an, const void *b, size_t bn, const void *c, size_t cn);
void http_stream_finish(HttpRequest *rq, bool ok);
/* Answers with `head`, whose last line is not empty, and hands the socket over. streaming: the handler stays with the connection, which may
 * be cut off when the server stops. */
int http_take_over(HttpRequest *rq, const char *head, bool streaming, HttpHijack *ret, Err *e);
void http_request_done(HttpRequest *rq);

/* server.c */
void http_conn_state(HttpConnection *c, bool idle, bool streaming, bool hijacked);
