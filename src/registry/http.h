/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP exchange with a server that is not trusted.
 *
 * Redirects are followed here, not by libcurl, because the rules are ours: at most HTTP_HOPS_MAX hops, http
 * and https only, never from https to http, and the Authorization header goes to the origin (scheme, host, port) that it was given
 * for and to no other. An address that a server names (a redirect, a token realm) may be loopback or link-local only if the
 * user's own registry is: a registry must not make this machine talk to its own services.
 *
 * Every body has a budget, a transfer that stalls is given up, and `cancelled` is polled at least once a second. Certificates and proxies are
 * those of the host that a hop goes to.
 */
#pragma once

#include "base/err.h"

#define HTTP_HOPS_MAX       5
#define HTTP_ERROR_BODY_MAX (64u << 10) /* of a reply that is no success: what is kept of it */

/* How hosts are reached. Shared by clients, and constant while they live. */
typedef struct HttpWay {
	char *const *certs_dirs;          /* see certs.h; NULL: the default ones */
	const struct ProxyRules *proxies; /* NULL: none */
	int64_t stall_ns; /* a transfer that brings next to nothing for so long is given up; 0: a minute */
} HttpWay;

/* Keeps connections alive between requests, of HTTP/2 where the server offers it. For one thread at a time. */
typedef struct HttpClient HttpClient;
int http_client_new(const char *user_agent, HttpClient **ret, Err *e);
void http_client_set_way(HttpClient *c, const HttpWay *way);
void http_client_free(HttpClient *c);
DEFINE_CLEANUP(HttpClient *, http_client_free)

typedef enum HttpTrouble {
	HTTP_FINE,
	HTTP_NO_CONNECTION, /* nobody listens there, or the name is unknown */
	HTTP_NO_TLS,        /* no TLS there, or a certificate that does not hold */
	HTTP_BROKEN,        /* began, and was cut, stalled or garbled: worth another try */
	HTTP_REFUSED,       /* by our own rules, by the sink or by the caller's wish */
} HttpTrouble;

typedef struct HttpRequest {
	const char *method; /* GET, HEAD, POST, PUT, PATCH, DELETE */
	const char *url;
	const char *peer;          /* what errors call the other side; NULL: "registry" */
	const char *accept;        /* NULL: anything */
	const char *authorization; /* the header's value; NULL: none */
	const char *form;          /* what POST sends */
	/* What POST, PUT and PATCH send without a form: data, or what source gives. Neither: nothing. */
	const char *content_type, *content_range;
	const void *data;
	size_t data_len;
	int64_t source_len; /* -1: until it ends */
	/* Bytes of the body from offset on, which may go back: their number, 0 at the end, or a failure that ends the exchange. */
	ssize_t (*source)(void *user, int64_t offset, void *buf, size_t cap, Err *e);
	void *source_user;
	bool unverified_tls;
	bool named_by_server; /* the url is not the user's: local addresses only if local_allowed */
	bool local_allowed;
	int connect_timeout_s; /* 0: 20 */
	int64_t range_from;    /* > 0: ask for the rest from there */
	size_t max_body;       /* of a success without sink; more is an error */
	int (*sink)(void *user, int64_t offset, const void *data, size_t len,
		    Err *e); /* bodies of 200 and 206; offset in the whole */
	void *sink_user;
	bool (*cancelled)(void *user);
	void *cancel_user;
} HttpRequest;

typedef struct HttpReply {
	int status;
	HttpTrouble trouble;
	char *content_type, *digest; /* Docker-Content-Digest */
	char *link;                  /* Link */
	char **challenges;           /* WWW-Authenticate, one an element */
	char *url, *location;        /* of the last hop; Location as it was sent (http_url_join) */
	char *etag, *last_modified;  /* as they were sent */
	char *disposition;           /* Content-Disposition */
	char *range;                 /* Range: how much of an upload has arrived */
	int64_t chunk_min;           /* OCI-Chunk-Min-Length, 0: not said */
	char *body;                  /* NUL-terminated; empty if a sink took it */
	size_t len;
	int64_t retry_after; /* seconds, 0: not said */
	bool local;          /* the first host is on this machine or link */
} HttpReply;

/* 0 when a reply arrived, whatever its status; ERR_UNAVAILABLE, ERR_INVALID, ERR_CANCELLED or the sink's error, with
 * ret->trouble set. ret is to be released in both cases. */
int http_do(HttpClient *c, const HttpRequest *q, HttpReply *ret, Err *e);
void http_reply_done(HttpReply *r);

/* Where a server's `location` leads from an URL; malloc'ed. ERR_INVALID, ERR_DENIED: other than http and https, with a
 * password, or from https to http. */
int http_url_join(const char *from, const char *location, char **ret, Err *e);
/* The same scheme, host and port. */
bool http_same_origin(const char *a, const char *b);
/* "host" or "host:port" of an URL, lower case, without brackets added or removed; NULL if it is none of http and https. malloc'ed. */
char *http_url_host(const char *url, bool with_port);
/* True for 127.0.0.0/8, ::1, link-local and unspecified addresses in text form. */
bool http_address_is_local(const char *ip);
