/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the HTTP server share.
 *
 * A connection has one buffer: bytes received and not yet used lie at in[pos, len). The head of a request is parsed in place in a copy
 * (`head`), so all strings of a request are slices of one allocation that lives as long as the request.
 *
 * A connection belongs to one thread at a time. Without a whole request it is parked: it is in an epoll set, only the thread in
 * http_server_run touches it, and it has no thread and no more memory than what its client has sent. With one it is ready, and then a
 * worker's until it is parked again or ends. HttpServer.lock guards the lists and the flags that drain and describe look at.
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

typedef struct HttpConnection HttpConnection;

/* First in, first out; a connection is in one list at most. */
typedef struct HttpQueue {
	HttpConnection *first, *last;
	size_t n;
} HttpQueue;

struct HttpConnection {
	HttpServer *server;
	int fd;
	HttpTransport transport;
	char *in;
	size_t pos, len, cap;
	/* Of the request that is arriving. */
	int64_t begun_ns; /* its first byte; 0: none yet */
	size_t head_len;  /* with the empty line; 0: not seen yet */
	size_t body_wait; /* of a short body: what has to be here too */
	size_t scanned;
	int refuse; /* status to answer with instead */
	/* Under the server's lock. */
	int64_t parked_ns;
	bool idle, streaming, hijacked; /* what drain may do with it */
	bool stays;                     /* counted in HttpServer.staying */
	char *doing;                    /* method and path of the request under way, or NULL */
	int64_t doing_since_ns;
	pid_t tid;
	HttpConnection *prev, *next; /* all of the server's */
	HttpQueue *queue;
	HttpConnection *q_prev, *q_next;
};

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

typedef struct HttpListener {
	int fd;
	HttpTransport transport;
	HttpTls *tls;
} HttpListener;

struct HttpServer {
	HttpOptions o;
	HttpListener listeners[HTTP_LISTEN_MAX];
	size_t n_listeners;
	int epoll_fd, wake_fd;
	int64_t rearm_ns; /* when listeners that wait for descriptors try again; 0: they do not wait */
	pthread_mutex_t lock;
	pthread_cond_t changed, work;
	HttpConnection *connections;
	unsigned n_connections;
	HttpQueue idle, arriving, ready;
	size_t arriving_bytes;
	int64_t wake_at_ns; /* when http_server_run looks at time limits next */
	unsigned workers, idle_workers, lingering, staying;
	bool stopping;
	uint64_t accepted, turned_away, requests;
};

#define HTTP_TOO_MANY "too many requests are under way"

/* parse.c. head is writable, NUL-terminated, without the empty line at its end. ERR_INVALID, and *ret_status may say more. */
int http_parse_head(HttpRequest *rq, char *head, size_t len, int *ret_status, Err *e);
/* In place; -EINVAL for a bad escape or a NUL. plus: '+' is a blank. */
int http_percent_decode(char *s, bool plus);
int http_check_browser(const HttpRequest *rq, HttpTransport transport, Err *e);

/* route.c. Fills params; the values are malloc'ed. 1 match, 0 none, -errno. */
int http_route_match(const char *pattern, const char *path, HttpPair *params, size_t *n_params);
const HttpRoute *http_route_find(HttpRequest *rq, const HttpRoute *routes, void *user, int *ret_error);
void http_params_free(HttpRequest *rq);

/* connection.c */
HttpConnection *http_conn_new(HttpServer *s, int fd, HttpTransport transport);
void http_conn_free(HttpConnection *c);
/* What has arrived. Bytes, 0 at the end, -EAGAIN, -EMSGSIZE, -errno. */
ssize_t http_conn_receive(HttpConnection *c);
/* 1: a whole head is here, and its body if that is short; or refuse is set. 0: there is more to come. */
int http_conn_scan(HttpConnection *c);
/* Makes room for the next request; what is left of the buffer is wiped. */
void http_conn_next(HttpConnection *c);
/* By the thread that has it; it is not its any more. */
void http_conn_park(HttpConnection *c);
void http_queue_add(HttpQueue *q, HttpConnection *c);
void http_queue_remove(HttpConnection *c);
/* Tells in one write to a socket whose buffer is empty, so that it cannot block. */
void http_turn_away(int fd, const char *status, const char *message);

/* worker.c */
/* Hands a ready connection to a thread; without one to be had the client is turned away. */
void http_work_start(HttpConnection *c);
/* Before what lasts as long as the client likes: streams, and bodies that are still on their way. False if those have their share of the threads. */
bool http_may_stay(HttpConnection *c);

/* request.c: one request, whole in the buffer or to be refused. True if the connection can take another. */
bool http_serve_one(HttpConnection *c);

/* tls.c */
/* Takes fd; returns the end of a socket pair on which the plain text goes in and out, or -errno. */
int http_tls_accept(HttpTls *t, int fd);

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

/* connection.c */
void http_conn_state(HttpConnection *c, bool idle, bool streaming, bool hijacked);
