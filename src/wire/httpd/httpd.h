/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small strict HTTP/1.1 server: a thread for each request that is at work, blocking handlers, linear code. A connection without a whole
 * request costs a descriptor and some hundred bytes, so that thousands of idle or slow clients are no burden.
 *
 * It is ours because libmicrohttpd 0.9.75 (Debian 12) takes requests with both Content-Length and Transfer-Encoding and
 * with two Content-Lengths, cannot hand over the socket behind a 200 answer (what Docker's clients expect when they send no
 * Upgrade header), and loads GnuTLS: 3 MB of an 8 MB budget. It knows nothing of Docker.
 *
 * A handler is `int handler(rq, user, e)`. It answers with one of http_reply*(), with a stream (http_stream_begin), or takes
 * the socket (http_hijack). A negative return before anything was answered becomes an error document
 * {"message": ...} with the status of the Err's kind; after a stream began it ends the connection without the last
 * chunk, so the client sees that the answer is incomplete.
 *
 * What is refused, because two parsers could disagree about it: CL with TE, repeated CL, any TE but "chunked", obs-fold,
 * bare LF, control bytes, blanks around a header name, bad escapes and %00 in a path, missing or repeated Host.
 * What a browser would send is refused too: an Origin or cross-site Sec-Fetch-Site header, and over TCP a Host that is
 * a name other than localhost (DNS rebinding). Over TLS the certificate decides who is spoken to.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

typedef struct HttpServer HttpServer;
typedef struct HttpTls HttpTls;
typedef struct HttpRequest HttpRequest;
typedef int (*HttpHandler)(HttpRequest *rq, void *user, Err *e);

enum {
	HTTP_STREAM_BODY =
	    1 << 0, /* the body is not read before the handler runs: http_body_read, http_body_fd */
};

/* Patterns: literal text, "{name}" for one segment, "{name:*}" for as much as fits, slashes included. First match wins. */
typedef struct HttpRoute {
	const char *method;
	const char *pattern;
	HttpHandler handler;
	unsigned flags;
	int measure; /* what HttpOptions.measured is told; 0: nothing */
	bool (*wanted)(const HttpRequest *rq,
		       void *user); /* NULL: whatever matches; false leaves it to other routes */
} HttpRoute;

/* Routes of another door; their handlers are given its own `user`. */
typedef struct HttpTable {
	const HttpRoute *routes;
	void *user;
} HttpTable;

typedef struct HttpOptions {
	const HttpRoute *routes; /* ends with a NULL method */
	void *user;
	HttpTable more; /* looked at first; NULL routes: none */
	/* Called for every well-formed request before it is routed: sets headers, strips a prefix (http_set_path). A failure
	 * is answered as a handler's would be. May be NULL. */
	HttpHandler admit;
	/* Sets the headers that every answer has, those to malformed requests included. May be NULL. */
	void (*decorate)(HttpRequest *rq, void *user);
	/* After a handler of a route with `measure`. May be NULL. */
	void (*measured)(void *user, int measure, bool failed, int64_t ns);
	/* When no client has asked for anything in a while. May be NULL. */
	void (*rest)(void *user);
	size_t body_max;     /* of a buffered body; 0: 4 MiB */
	int head_timeout_ms; /* from a request's first byte to the end of its head or buffered body; 0: 30 s */
	int idle_timeout_ms;      /* between requests; 0: 180 s */
	int send_timeout_ms;      /* of an answer of which the client takes nothing; 0: none */
	unsigned connections_max; /* above it, idle ones are closed, the longest idle first; 0: 1024 */
	unsigned requests_max;    /* that are at work; 0: 2048 */
	bool
	    arriving_give_way; /* when there are too many connections and none is idle: the request that has been arriving the longest ends, not the newest
				     client. For a server whose requests are short. */
	/* Requests come through proxies, which keep the Host and the Origin of whoever has asked them: neither is looked at. For a server whose paths are secrets. */
	bool behind_proxies;
} HttpOptions;

typedef enum HttpTransport { HTTP_UNIX, HTTP_TCP, HTTP_TLS } HttpTransport;

int http_server_new(const HttpOptions *o, HttpServer **ret, Err *e);
/* Serves a listening socket, which it takes over (closed on failure too). At most 16. Before http_server_run. */
int http_server_add(HttpServer *s, int listen_fd, HttpTransport transport, Err *e);
/* The same with TLS before everything else. */
int http_server_add_tls(HttpServer *s, int listen_fd, HttpTls *tls, Err *e);
/* Accepts until stop_fd becomes readable. */
int http_server_run(HttpServer *s, int stop_fd, Err *e);
/* Ends connections: idle and streaming ones at once, others once their handler is done or after grace_ms. True if no
 * thread is left. */
bool http_server_drain(HttpServer *s, int grace_ms);
/* After a successful drain. */
void http_server_free(HttpServer *s);

/* Text about connections and what each is doing, a line a request. Appends. */
void http_server_describe(HttpServer *s, StrBuf *b);
typedef struct HttpCounts {
	unsigned connections, parked, workers, idle_workers;
	uint64_t accepted, turned_away, requests;
} HttpCounts;
void http_server_counts(HttpServer *s, HttpCounts *ret);

/* A TCP listener on "host:port". With loopback_only, anything but a loopback address is ERR_DENIED. */
int http_tcp_listen(const char *address, bool loopback_only, Err *e);

/* ---- TLS ----
 * One thread speaks TLS for all connections, and plain text to the server over a socket pair each: hand-over, half-close and
 * departure of a client are what they are on a unix socket. A connection that was handed over ends with the process, unlike others. */
typedef struct HttpTlsOptions {
	const char *cert, *key; /* PEM files */
	const char *ca;         /* of clients; NULL: the system's. With verify only */
	bool verify;            /* a client without a certificate from ca is refused */
	/* Clients that are slow to take the rest after the server has closed their connection. */
	int parting_ms;       /* without a byte taken; 0: 60 s */
	unsigned parting_max; /* of them at one time; 0: 128 */
} HttpTlsOptions;
int http_tls_new(const HttpTlsOptions *o, HttpTls **ret, Err *e);
/* Reads the files again; those in force stay if that fails. */
int http_tls_reload(HttpTls *t, Err *e);
/* After the server is drained. */
void http_tls_free(HttpTls *t);

/* ---- the request ---- */
const char *http_method(const HttpRequest *rq);
const char *http_path(const HttpRequest *rq); /* as sent, without query */
int http_set_path(HttpRequest *rq, const char *path);
/* A pattern's part, percent-decoded; "" if the pattern has no such part. */
const char *http_param(const HttpRequest *rq, const char *name);
/* The first value of a query parameter, decoded; NULL if absent. */
const char *http_query(const HttpRequest *rq, const char *name);
/* The idx-th value or NULL. */
const char *http_query_nth(const HttpRequest *rq, const char *name, size_t idx);
/* Docker's rule: absent, "", 0, no, false, none are false. */
bool http_query_bool(const HttpRequest *rq, const char *name, bool otherwise);
/* -> *ret untouched if absent or ""; ERR_INVALID names the parameter. */
int http_query_int(const HttpRequest *rq, const char *name, int64_t *ret, Err *e);
/* A parameter that is a JSON document; NULL without error if absent, "" or null, which is what Go's encoder writes for a list that was never made. */
int http_query_json(const HttpRequest *rq, const char *name, json_t **ret, Err *e);
const char *http_header(const HttpRequest *rq, const char *name);
/* The idx-th of the lines with that name, or NULL. */
const char *http_header_nth(const HttpRequest *rq, const char *name, size_t idx);
/* A small number that the door may keep with the request (the API version). */
void http_set_tag(HttpRequest *rq, int tag);
int http_tag(const HttpRequest *rq);

/* The buffered body, NUL-terminated. */
const char *http_body(const HttpRequest *rq, size_t *ret_len);
/* The buffered body as JSON; NULL without error if empty and not required. The reference is the caller's. */
int http_body_json(HttpRequest *rq, bool required, json_t **ret, Err *e);
/* HTTP_STREAM_BODY: up to cap bytes, 0 at the end, -EPROTO for a malformed chunk, -ECONNRESET if the client left before the end. */
ssize_t http_body_read(HttpRequest *rq, void *buf, size_t cap);
/* HTTP_STREAM_BODY: a pipe that a thread fills with the body. The request's, closed by http_body_end. */
int http_body_fd(HttpRequest *rq, Err *e);
/* After the reader of http_body_fd is done: fails if the client did not send all of it. Called again it is harmless. */
int http_body_end(HttpRequest *rq, Err *e);

/* ---- the answer ---- */
/* Replaces an earlier value. Control bytes in values become '?'. */
void http_set_header(HttpRequest *rq, const char *name, const char *value);
int http_reply(HttpRequest *rq, int status, const char *content_type, const void *body, size_t len);
/* Takes the reference; compact, with a newline at the end. */
int http_reply_json(HttpRequest *rq, int status, json_t *doc);
int http_reply_empty(HttpRequest *rq, int status);
/* The message goes out as http_plain_text makes it. */
int http_reply_error(HttpRequest *rq, int status, const char *message);
/* An error as it may be shown: what strangers said in it moves no cursor. Lines stay lines, other control characters become '?'. malloc'ed. */
char *http_plain_text(const char *message);
bool http_answered(const HttpRequest *rq);

/* Sends the head at once; the body follows in chunks. */
int http_stream_begin(HttpRequest *rq, int status, const char *content_type);
/* One chunk, blocking; a negative errno once the client is gone. Safe from several threads. */
int http_stream_write(HttpRequest *rq, const void *buf, size_t len);
/* For what writes to a descriptor: a pipe whose other end a thread sends as chunks. After http_stream_begin; the request's; do not
 * mix with http_stream_write. Closed, and all of it sent, when the handler returns. */
int http_stream_fd(HttpRequest *rq, Err *e);
/* poll(2) reports POLLHUP or POLLERR on it once the client is gone. Never read from it. The request's. */
int http_alive_fd(HttpRequest *rq);

typedef struct HttpHijack {
	int fd; /* the client's socket: the request's, closed (not shut down) after the handler; copies stay usable */
	const void *prefix; /* bytes the client sent behind its request */
	size_t prefix_len;
} HttpHijack;
/* Answers "101 UPGRADED" (Connection: Upgrade, Upgrade: tcp, or h2c if that was asked for) if the client asked for an upgrade, else 200; then the
 * connection is a plain stream. */
int http_hijack(HttpRequest *rq, const char *content_type, HttpHijack *ret, Err *e);
/* The same for a handler that stays with the connection and gives no copy away: it is cut off when the server ends, and is one of the requests that last as long as
 * their client likes. */
int http_hijack_and_stay(HttpRequest *rq, const char *content_type, HttpHijack *ret, Err *e);
/* The same with "101 Switching Protocols" to what the client has asked for in its Upgrade header, and with the headers that were set. */
int http_switch_protocols(HttpRequest *rq, HttpHijack *ret, Err *e);
bool http_wants_upgrade(const HttpRequest *rq);
