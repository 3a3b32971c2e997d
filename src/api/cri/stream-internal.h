/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streaming server: what its files share.
 *
 * A kubelet asks by gRPC for a way to exec, attach or forward ports, and is given a URL with a token in it; whoever connects there with that token is served what was asked for
 * (stream.c, stream-token.c). The bytes of exec and attach go through a carrier, which is SPDY (stream-spdy.c) or WebSocket (stream-websocket.c), between the client and a socket
 * pair whose other end the container's shim has (stream-session.c). Forwarded ports are connections in the pod (stream-forward.c).
 *
 * Nothing is kept of what passes: a side that does not read stops the other. Each session has the thread of its request, and one for what the client sends.
 */
#pragma once

#include "api/cri/door-internal.h"
#include "api/cri/stream-parts.h"
#include "wire/httpd/httpd.h"
#include "wire/httpd/websocket.h"
#include "wire/spdy/spdy.h"

/* ---- the server: stream.c ---- */
struct CriStreams {
	CriDoor *door;
	char *url; /* scheme, address and port */
	int idle_timeout_ms, stop_fd;
	CriTokens *tokens;
	HttpServer *http;
	HttpTls *tls;
	pthread_t thread;
	bool running;
};

/* ---- carriers ---- */
/* The channels, by their numbers in WebSocket messages. */
typedef enum CriChannel { CRI_STDIN, CRI_STDOUT, CRI_STDERR, CRI_ERROR, CRI_RESIZE } CriChannel;

typedef enum CriInputKind { CRI_INPUT_DATA, CRI_INPUT_END, CRI_INPUT_RESIZE } CriInputKind;
typedef struct CriInput {
	CriInputKind kind;
	const void *data; /* until the next call */
	size_t len;
	uint16_t rows, cols;
} CriInput;

typedef struct CriCarrier CriCarrier;
typedef struct CriCarrierOps {
	/* What the client sends next: 1; 0: it has left, or poll(2) says POLLIN of quit_fd. */
	int (*next)(CriCarrier *c, int quit_fd, CriInput *ret);
	/* Waits while the client does not read. */
	int (*send)(CriCarrier *c, CriChannel channel, const void *data, size_t len, Err *e);
	/* No more will be sent; the client gets what was sent. Frees. */
	void (*close)(CriCarrier *c);
} CriCarrierOps;
struct CriCarrier {
	const CriCarrierOps *ops;
	bool documents; /* how it ended is told as a document; else in words, and only what went wrong */
	int gone_fd;    /* poll(2) says POLLHUP or POLLRDHUP of it when the client has left */
};
/* What cannot be served is answered, or is an error. */
int cri_spdy_carrier(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, CriCarrier **ret, Err *e);
int cri_websocket_carrier(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, CriCarrier **ret,
			  Err *e);
/* An upgrade to SPDY with one of the known protocols: 1 and the connection, which is the caller's; 0 if the request was refused, and answered. *ret_protocol: "" if the client names
 * none. */
int cri_spdy_upgrade(CriStreams *s, HttpRequest *rq, const char *const *known, SpdyConnection **ret,
		     const char **ret_protocol, Err *e);
/* Of a WebSocket handshake: 1, or 0 if it was refused, and answered. */
int cri_websocket_upgrade(HttpRequest *rq, const char *const *known, HttpHijack *ret,
			  const char **ret_protocol, Err *e);

/* stream-session.c, stream-forward.c: serve a request to its end. */
int cri_stream_session(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, Err *e);
int cri_stream_forward(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, Err *e);
