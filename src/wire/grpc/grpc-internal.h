/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this floor share.
 *
 * A connection has one lock, for the nghttp2 session and all calls. nghttp2's callbacks run under it: inside nghttp2_session_mem_recv (session.c) and
 * inside nghttp2_session_mem_send (output.c). No callback writes to the socket; whoever has changed something calls grpc_flush() before
 * it lets go of the lock. Nobody waits for the socket with the lock held.
 *
 * A call has a reference for each of: its stream in the session, its user (the method's thread, the client's owner). It is `over` when its end
 * is decided, by either side; what was received whole may still be read then, unless the end is one of our own (`at_once`).
 */
#pragma once

#include "wire/grpc/grpc.h"

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <sys/uio.h>

#define PREFIX_LEN     5            /* of a message: flag, length */
#define SMALL_MAX      (8 * 1024)   /* messages up to this are copied */
#define OUT_HIGH       (32 * 1024)  /* so many bytes of them may wait */
#define BATCH_BYTES    (128 * 1024) /* of one write */
#define BATCH_PARTS    64
#define FRAME_MAX      (64 * 1024) /* what we take; peers choose what they send */
#define FIELD_MAX      (48 * 1024) /* one value that we send; nghttp2 takes 64 KiB as a block's part */
#define FIELD_OVERHEAD 32          /* RFC 9113, SETTINGS_MAX_HEADER_LIST_SIZE */

typedef struct GrpcFieldIn {
	nghttp2_rcbuf *name, *value; /* shared with the HPACK table; counted under the lock */
} GrpcFieldIn;

typedef struct GrpcFieldsIn {
	GrpcFieldIn *v;
	size_t n, cap, bytes;
} GrpcFieldsIn;

typedef struct GrpcFieldOut {
	char *name, *value;
} GrpcFieldOut;

typedef struct GrpcFieldsOut {
	GrpcFieldOut *v;
	size_t n;
} GrpcFieldsOut;

typedef struct GrpcMessage {
	uint8_t *data;
	size_t len;
} GrpcMessage;

struct GrpcCall {
	GrpcConnection *c;
	GrpcCall *prev, *next; /* of the connection's */
	GrpcCall *ready_next;  /* that wait for a thread */
	GrpcCall *wake_next;   /* of to_wake */
	const GrpcMethod *method;
	int32_t stream;
	bool stream_open, held;
	unsigned refs;
	char *path;
	GrpcFieldsIn in;
	GrpcFieldsOut head, trailers;
	bool in_too_much, in_head_done;

	/* Receiving: a message that is under way, and whole ones in a ring. */
	uint8_t prefix[PREFIX_LEN];
	unsigned prefix_have;
	uint8_t *part;
	size_t part_len, part_have, part_cap;
	GrpcMessage *ring;
	unsigned ring_first, ring_n, ring_cap;
	size_t queued; /* bytes of whole ones */
	size_t owed;   /* bytes that the peer may not send again yet */
	bool in_end, discard, waking;
	uint32_t receive_code; /* why nothing more is received, though the call goes on */
	char *receive_why;

	/* Sending: small messages in a buffer, then one of its sender's own memory. */
	uint8_t *out;
	size_t out_from, out_len, out_cap;
	uint8_t body_prefix[PREFIX_LEN];
	const uint8_t *body;
	size_t body_off, body_len; /* with the prefix */
	bool sending, head_sent, out_end, out_end_sent, deferred;

	bool over, at_once;
	uint32_t code;
	char *why;
	uint8_t *details;
	size_t details_len;
	int64_t deadline_ns; /* 0: none */
	int alive_fd, alive_end;
	unsigned senders, receivers; /* that wait */
	pthread_cond_t can_send, can_receive;
};

struct GrpcConnection {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a call was let go, a thread has ended, the connection is over */
	GrpcLimits o;
	int fd, wake, dead_fd, dead_end;
	bool server, lost, going, woken;
	bool wrong; /* it was lost by what the peer did */
	bool reader_awake,
	    reader_waits_to_write; /* it looks at `left` and the timers before it waits; it waits for POLLOUT */
	pthread_t reader;
	char *authority;
	nghttp2_session *session;
	GrpcCall *calls;
	GrpcCall
	    *to_wake; /* once all that was read is taken; they have receivers, and with them references */
	GrpcCall *garbage; /* freed once nothing of theirs is being written */
	unsigned n_calls, n_held;
	size_t held_bytes;
	int64_t next_deadline_ns, last_read_ns, idle_since_ns;
	bool hello, pinged, stopping;
	uint32_t goaway_code; /* that we sent */
	char why[200];        /* it was lost */
	char hint[160];       /* nghttp2's last words */

	/* Floods: frames that carry nothing, in a second. */
	int64_t calm_since_ns;
	unsigned calm_frames;
	size_t block_bytes; /* of the header block that is being read */

	/* What is being written (output.c). */
	struct iovec parts[BATCH_PARTS];
	unsigned n_parts;
	size_t parts_bytes;
	uint8_t scratch[2048];
	size_t scratch_len;
	bool batch_full;
	uint8_t *left;
	size_t left_off, left_len;

	/* What is being read. */
	uint8_t *in;
	size_t in_cap;

	/* A server's threads (serve.c). */
	const GrpcMethod *methods;
	void *user;
	GrpcCall *ready_first, *ready_last;
	unsigned n_ready, n_new, threads, idle_threads; /* n_new: for whom no thread was woken yet */
	pthread_cond_t work;
};

/* connection.c */
GrpcConnection *grpc_connection_new(int fd, bool server, const GrpcLimits *o);
void grpc_connection_free(GrpcConnection *c);
/* Reads until the connection is over, then ends all calls. */
void grpc_connection_run(GrpcConnection *c, const void *prefix, size_t prefix_len);
void grpc_wake(GrpcConnection *c);
/* The connection is of no more use. The first reason counts. Under the lock. */
void grpc_lose(GrpcConnection *c, const char *fmt, ...) _printf_(2, 3);
/* The same, by what the peer did. */
void grpc_lose_wrong(GrpcConnection *c, const char *fmt, ...) _printf_(2, 3);
int grpc_thread(pthread_t *ret, bool detached, size_t stack, void *(*fn)(void *), void *arg);

/* session.c */
int grpc_session_new(GrpcConnection *c);

/* output.c; all under the lock */
void grpc_flush(GrpcConnection *c);
/* There is more to send for it. */
void grpc_resume(GrpcCall *call);
/* The source of a call's DATA frames. */
nghttp2_data_provider grpc_provider(GrpcCall *call);
int grpc_send_data(nghttp2_session *s, nghttp2_frame *frame, const uint8_t *head, size_t length,
		   nghttp2_data_source *source, void *user);
ssize_t grpc_read_length(nghttp2_session *s, uint8_t frame_type, int32_t stream, int32_t session_window,
			 int32_t stream_window, uint32_t remote_max_frame_size, void *user);
void grpc_reset(GrpcCall *call, uint32_t error_code);

/* answer.c: what a server sends beside messages; all under the lock */
/* The head, before the first message. 0 or -ENOMEM. */
int grpc_send_head(GrpcCall *call);
/* The end, with a status, behind all messages. */
void grpc_send_status(GrpcCall *call, uint32_t code, const char *message);
int grpc_submit_trailers(GrpcCall *call);
/* The answer to what is no gRPC call. */
void grpc_send_http_status(GrpcCall *call, const char *status);

/* call.c; all under the lock */
GrpcCall *grpc_call_new(GrpcConnection *c);
void grpc_call_unref(GrpcCall *call);
/* Decides the call's end, if it is not decided yet. */
void grpc_call_end(GrpcCall *call, uint32_t code, const char *why, bool at_once);
/* Its senders and receivers look again: when grpc_flush() is done, as they want the lock. */
void grpc_call_wake(GrpcCall *call);
void grpc_wake_calls(GrpcConnection *c);
/* The stream is gone from the session. */
void grpc_call_closed(GrpcCall *call);
void grpc_call_set_deadline(GrpcCall *call, int64_t timeout_ns);
/* The status as an error. */
int grpc_call_error(const GrpcCall *call, Err *e);

/* receive.c; under the lock */
void grpc_take_data(GrpcCall *call, const uint8_t *data, size_t len);
/* The peer's side has ended. */
void grpc_take_end(GrpcCall *call);
void grpc_drop_received(GrpcCall *call);

/* metadata.c */
int grpc_fields_add(GrpcFieldsIn *f, nghttp2_rcbuf *name, nghttp2_rcbuf *value);
void grpc_fields_done(GrpcFieldsIn *f);
void grpc_fields_out_done(GrpcFieldsOut *f);
const char *grpc_fields_get(const GrpcFieldsIn *f, const char *name, size_t nth);
/* Appends a checked copy. */
int grpc_fields_out_add(GrpcFieldsOut *f, const char *name, const char *value, Err *e);
int grpc_field_check(const char *name, const char *value, Err *e);
/* "5S" -> nanoseconds; -EINVAL. */
int grpc_timeout_parse(const char *s, int64_t *ret_ns);
/* grpc-message: bytes outside of printable ASCII and "%" as %XX. malloc'ed. */
char *grpc_percent_encode(const char *s);
char *grpc_percent_decode(const char *s);
static inline nghttp2_nv grpc_nv(const char *name, const char *value)
{
	return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
			    .value = (uint8_t *)(uintptr_t)value,
			    .namelen = strlen(name),
			    .valuelen = strlen(value)};
}

/* serve.c; under the lock */
void grpc_dispatch(GrpcCall *call);
void grpc_wake_workers(GrpcConnection *c);
/* The peer has sent all of a call that is answered without a thread. */
void grpc_answer_health(GrpcCall *call);
