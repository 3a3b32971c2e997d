/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC over HTTP/2, both roles, on a connected stream socket that somebody else made: a hijacked HTTP/1.1 connection, a unix socket,
 * one end of a pair. The client's preface comes next on it; there is no TLS here.
 *
 * Calls are blocking, linear code. A server's methods run in threads of their own; a client's calls are made from any thread. Each
 * connection has one thread that reads (a server's is the one that called grpc_serve). Whoever sends writes to the socket itself, and leaves to
 * the reading thread what the socket does not take at once.
 *
 * What a peer can make us hold is bounded: by GrpcLimits for messages, metadata, calls and all that waits to be received; a
 * peer that does not read blocks those who send to it, nobody else. Flow control is kept by what was received by the user, so that a
 * method that does not read stops its own peer's stream only.
 *
 * Status codes and errors. What a method returns is sent as the status; what a peer says comes back as an Err:
 *
 *    code                     to Err (kind, errno)             from Err
 *     0 OK                    -                                r >= 0
 *     1 CANCELLED             ERR_CANCELLED                    ERR_CANCELLED
 *     2 UNKNOWN               ERR_INTERNAL                     ERR_INTERNAL, ERR_NOT_RUNNABLE, ERR_NO_COMMAND
 *     3 INVALID_ARGUMENT      ERR_INVALID                      ERR_INVALID
 *     4 DEADLINE_EXCEEDED     ERR_CANCELLED, ETIMEDOUT         with ETIMEDOUT
 *     5 NOT_FOUND             ERR_NOT_FOUND                    ERR_NOT_FOUND
 *     6 ALREADY_EXISTS        ERR_CONFLICT, ENOTUNIQ           with ENOTUNIQ
 *     7 PERMISSION_DENIED     ERR_DENIED                       ERR_DENIED
 *     8 RESOURCE_EXHAUSTED    ERR_EXHAUSTED                    ERR_EXHAUSTED
 *     9 FAILED_PRECONDITION   ERR_CONFLICT                     ERR_CONFLICT, ERR_NOT_MODIFIED
 *    10 ABORTED               ERR_CONFLICT, ESTALE             with ESTALE
 *    11 OUT_OF_RANGE          ERR_INVALID, ERANGE              with ERANGE
 *    12 UNIMPLEMENTED         ERR_UNSUPPORTED                  ERR_UNSUPPORTED
 *    13 INTERNAL              ERR_INTERNAL, EPROTO             with EPROTO
 *    14 UNAVAILABLE           ERR_UNAVAILABLE                  ERR_UNAVAILABLE
 *    15 DATA_LOSS             ERR_INTERNAL, EBADMSG            with EBADMSG
 *    16 UNAUTHENTICATED       ERR_UNAUTHORIZED                 ERR_UNAUTHORIZED
 * Any other code is taken for UNKNOWN.
 */
#pragma once

#include "base/err.h"

#include <protobuf-c/protobuf-c.h>

typedef struct GrpcConnection GrpcConnection;
typedef struct GrpcCall GrpcCall;

/* Zeros are the defaults. */
typedef struct GrpcLimits {
	size_t message_max; /* of one received message; 0: 16 MiB */
	size_t
	    metadata_max; /* of all metadata that a peer sends with a call, 32 bytes a field included; 0: 1 MiB */
	size_t
	    memory_max; /* of all messages that wait to be received, whole and in part; 0: 64 MiB. Whose arrives above it fails */
	unsigned calls_max; /* at one time, in both roles; 0: 256 */
	uint32_t window; /* bytes that a peer may send ahead of what was received, for each call; 0: 1 MiB */
	int hello_timeout_ms; /* a server's: until the client's preface and settings are here; 0: 30 s */
	int idle_timeout_ms;  /* a server's: a connection without a call for so long is ended; 0: never */
	int ping_ms; /* a peer that was silent for so long is asked, and given up after the same time again; 0: never */
	int stop_fd; /* a server's: once poll(2) says POLLIN or POLLHUP of it, no more calls are taken, and the connection ends with
			those under way; 0: none */
} GrpcLimits;

typedef struct GrpcField {
	const char *name, *value; /* of a name that ends with -bin: base64 */
} GrpcField;

/* ---- the server's role ---- */

/* Runs in a thread of its own. Its return value and *e become grpc-status and grpc-message. The call is valid until it returns. */
typedef int (*GrpcMethodFn)(GrpcCall *call, void *user, Err *e);
/* A table of them ends with a NULL path. "/grpc.health.v1.Health/Check" is answered with SERVING if the table has no such row. */
typedef struct GrpcMethod {
	const char *path; /* "/moby.buildkit.v1.Control/Solve" */
	GrpcMethodFn fn;
} GrpcMethod;

/* Serves until the connection is over and every method has returned; prefix: what was already read from fd, which stays the caller's, and
 * is shut down by then.
 * 0 when the connection was ended in order, by either side; an error says what the peer did wrong. shutdown(2) on fd from another thread ends
 * it at once. `o` may be NULL. */
int grpc_serve(int fd, const void *prefix, size_t prefix_len, const GrpcMethod *methods, void *user,
	       const GrpcLimits *o, Err *e);

/* ---- the client's role ---- */

/* Takes fd, on failure too. Does not wait for the peer. */
int grpc_connect(int fd, const char *authority, const GrpcLimits *o, GrpcConnection **ret, Err *e);
/* Ends all calls with ERR_UNAVAILABLE, says goodbye, waits until all calls were finished (by other threads) and frees. NULL is allowed. */
void grpc_connection_close(GrpcConnection *c);
DEFINE_CLEANUP(GrpcConnection *, grpc_connection_close)
#define _cleanup_grpc_connection_ _cleanup_(grpc_connection_closep)
/* poll(2) says POLLHUP of it once the connection is over, or the peer takes no more calls. The connection's; -errno. */
int grpc_connection_dead_fd(GrpcConnection *c);

/* Begins a call; never waits for the peer. Fields may repeat names; "grpc-timeout" among them is honoured here, too. grpc_call_finish frees it. */
int grpc_call_begin(GrpcConnection *c, const char *path, const GrpcField *metadata, size_t n, GrpcCall **ret,
		    Err *e);
/* Ends our side of the stream, drops the messages that still come, and waits for the status: 0, or an Err made of it. Frees, in each case. */
int grpc_call_finish(GrpcCall *call, Err *e);
/* Ends the call: RST_STREAM(CANCEL). Waits in other threads end with ERR_CANCELLED. The call is still to be finished. NULL is allowed. */
void grpc_call_cancel(GrpcCall *call);
/* Cancels and finishes: what a scope that fails does. NULL is allowed. */
void grpc_call_drop(GrpcCall *call);
DEFINE_CLEANUP(GrpcCall *, grpc_call_drop)
#define _cleanup_grpc_call_ _cleanup_(grpc_call_dropp)

/* One message there and one back, with one write. The answer is the caller's (protobuf_c_message_free_unpacked with NULL). */
int grpc_unary(GrpcConnection *c, const char *path, const GrpcField *metadata, size_t n,
	       const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
	       ProtobufCMessage **ret, Err *e);

/* ---- both ----
 * A call may be used by several threads at once; messages do not mix. After the peer or grpc_call_cancel has ended it, each of these fails:
 * with the status if the peer sent one, else ERR_CANCELLED; ERR_UNAVAILABLE if a client's connection was lost. */

/* Blocks while the peer does not take it. Small messages may be copied; that they were taken by the peer is never said. */
int grpc_send(GrpcCall *call, const void *message, size_t len, Err *e);
/* The same, when another message, the end, or the return of the method follows at once: it may wait for that one. */
int grpc_send_more(GrpcCall *call, const void *message, size_t len, Err *e);
/* A client's: no more messages. */
int grpc_send_end(GrpcCall *call, Err *e);
/* 1 and a malloc'ed message (not NULL when empty), 0 at the end of the stream; for a client that is a call with status OK, any other is
 * an error. A compressed message is ERR_UNSUPPORTED. */
int grpc_receive(GrpcCall *call, uint8_t **ret, size_t *ret_len, Err *e);
/* The same for messages of protobuf-c. What unpacking may allocate is bounded (1 MiB and 16 times the message's size). The type must not contain
 * itself, at any depth. A received one is freed with protobuf_c_message_free_unpacked(m, NULL). */
int grpc_send_message(GrpcCall *call, const ProtobufCMessage *message, Err *e);
int grpc_send_message_more(GrpcCall *call, const ProtobufCMessage *message, Err *e);
int grpc_receive_message(GrpcCall *call, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret,
			 Err *e);
/* One that came another way. */
int grpc_message_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len,
			ProtobufCMessage **ret, Err *e);
/* As a stream of exactly one message has it: none and a second one are ERR_INVALID. For a server's unary method. */
int grpc_receive_only(GrpcCall *call, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret, Err *e);

/* "/package.Service/Method" */
const char *grpc_call_path(const GrpcCall *call);
/* The nth value that the peer sent under a name (lower case): a client's metadata; a server's head and, behind the end of the stream,
 * trailers. NULL behind the last. The call's. */
const char *grpc_metadata(const GrpcCall *call, const char *name, size_t nth);
/* All of them in turn: false behind the last. Names that begin with ":" and those of the transport (content-type, te, grpc-*) are among them. */
bool grpc_metadata_each(const GrpcCall *call, size_t idx, GrpcField *ret);
/* The value of a -bin field, decoded: 1 and malloc'ed bytes (one NUL behind them), 0 if there is none, -errno. */
int grpc_metadata_bin(const GrpcCall *call, const char *name, size_t nth, uint8_t **ret, size_t *ret_len,
		      Err *e);
/* A server's: a field of the head (ERR_CONFLICT after the first message was sent) or of the trailers. */
int grpc_set_header(GrpcCall *call, const char *name, const char *value, Err *e);
int grpc_set_trailer(GrpcCall *call, const char *name, const char *value, Err *e);
/* A server's: the google.rpc.Status (packed) that goes with a failure as grpc-status-details-bin. Copied. 0 or -ENOMEM. */
int grpc_set_details(GrpcCall *call, const void *status, size_t len);
/* poll(2) says POLLHUP of it once the peer cancelled or ended the call, its deadline passed or the connection is over; a client's also when
 * grpc_call_cancel was called. To be handed on as the alive_fd of engine calls. The call's; -errno. */
int grpc_call_alive_fd(GrpcCall *call);

/* See the table above. */
uint32_t grpc_status_of(const Err *e, int r);
/* Fills *e (which may be NULL) for a code that is not 0 and returns the negative errno. */
int grpc_status_error(uint32_t code, const char *message, Err *e) _must_check_;
ErrKind grpc_kind_of(uint32_t code);
