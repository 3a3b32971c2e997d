/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this floor share.
 *
 * A connection has one lock, for its streams and all that waits to be written. Nobody waits for the socket with the lock held: its thread (connection.c) reads
 * and takes frames apart under it (receive.c); data is written by the thread that sends it, one at a time (`writing`, output.c); small frames are put behind one
 * another in `control`, and go out at once, before the next data, or by the connection's thread.
 *
 * A stream belongs to its connection while it waits to be accepted, and after that to its user, who closes it; it is in the connection's list for all that time and counts
 * against SpdyLimits.streams_max, so that streams that are opened and reset at once cost a client what others cost.
 *
 * Windows. Clients of Kubernetes (moby/spdystream) neither keep to ours nor open theirs. So theirs counts from the first WINDOW_UPDATE or SETTINGS that names a window;
 * and one who sends more than ours allows is not refused: once so much of a stream, or of all streams, waits to be read, nothing more is read from the socket.
 */
#pragma once

#include "wire/spdy/spdy.h"

#include <pthread.h>
#include <zlib.h>

#define SPDY_VERSION     3
#define SPDY_HEAD_LEN    8
#define SPDY_WINDOW      (64 * 1024) /* as a connection begins */
#define SPDY_LEN_MAX     0xffffff
#define SPDY_CONTROL_MAX (64 * 1024)   /* of a control frame that we take */
#define SPDY_PENDING_MAX (64 * 1024)   /* of control frames that the peer does not take */
#define SPDY_UNREAD_MAX  (1024 * 1024) /* of all streams: nothing more is read then */
#define SPDY_FIELDS_MAX  100
#define SPDY_DATA_MAX    (32 * 1024) /* of one data frame of ours */

typedef enum SpdyType {
	SPDY_SYN_STREAM = 1,
	SPDY_SYN_REPLY,
	SPDY_RST_STREAM,
	SPDY_SETTINGS,
	SPDY_PING = 6,
	SPDY_GOAWAY,
	SPDY_HEADERS,
	SPDY_WINDOW_UPDATE,
} SpdyType;

enum { SPDY_FIN = 1, SPDY_UNIDIRECTIONAL = 2 };
enum { SPDY_SETTING_WINDOW = 7 };

typedef enum SpdyReset {
	SPDY_PROTOCOL_ERROR = 1,
	SPDY_INVALID_STREAM,
	SPDY_REFUSED_STREAM,
	SPDY_CANCEL = 5,
	SPDY_FLOW_CONTROL_ERROR = 7,
	SPDY_STREAM_ALREADY_CLOSED = 9,
} SpdyReset;

typedef struct SpdyHead {
	bool control;
	uint32_t stream;  /* of data */
	unsigned version; /* of control */
	unsigned type;
	uint8_t flags;
	uint32_t len;
} SpdyHead;

typedef struct SpdyField {
	const char *name, *value;
} SpdyField;

typedef struct SpdyFields {
	char *text; /* all of them, NUL-terminated one behind the other */
	SpdyField *v;
	size_t n;
} SpdyFields;

/* ---- frame.c, dictionary.c, headers.c: nothing of a connection ---- */
uint32_t spdy_get32(const uint8_t *p);
void spdy_put32(uint8_t *p, uint32_t v);
SpdyHead spdy_head_read(const uint8_t buf[SPDY_HEAD_LEN]);
/* A control frame's; len is that of what follows. */
void spdy_head_write(uint8_t buf[SPDY_HEAD_LEN], SpdyType type, uint8_t flags, uint32_t len);
void spdy_data_head_write(uint8_t buf[SPDY_HEAD_LEN], uint32_t stream, uint8_t flags, uint32_t len);

/* The dictionary of the draft, with which header blocks are compressed. */
#define SPDY_DICTIONARY_LEN 1423
void spdy_dictionary(uint8_t ret[SPDY_DICTIONARY_LEN]);

/* The decompressor that all blocks of a connection go through in turn. */
typedef struct SpdyInflate {
	z_stream z;
	bool begun;
} SpdyInflate;
void spdy_inflate_done(SpdyInflate *d);
/* One block; -EMSGSIZE if it has more than max bytes, -EPROTO if it is damaged: the connection cannot go on after either. malloc'ed, even when empty. */
int spdy_inflate(SpdyInflate *d, const uint8_t *block, size_t len, size_t max, uint8_t **ret,
		 size_t *ret_len);
/* A decompressed block: 0, -EPROTO for one that the draft does not allow, -ENOMEM. */
int spdy_fields_read(const uint8_t *block, size_t len, SpdyFields *ret);
void spdy_fields_done(SpdyFields *f);
const char *spdy_fields_get(const SpdyFields *f, const char *name);

/* ---- streams and the connection ---- */
struct SpdyStream {
	SpdyConnection *c;
	SpdyStream *prev, *next; /* of the connection's */
	SpdyStream *accept_next;
	uint32_t id;
	SpdyFields fields;
	bool accepted, replied;
	/* From the client: bytes at in[in_from, in_from + in_len). */
	uint8_t *in;
	size_t in_from, in_len, in_cap;
	uint32_t owed; /* read, and not yet allowed to be sent again */
	bool in_end, out_end, reset;
	SpdyReset reset_code;
	int64_t send_window;
	pthread_cond_t can_read, can_write;
	int readable; /* eventfd, or -1 */
	bool readable_set;
};

struct SpdyConnection {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a stream to accept, the socket is free, the connection is over */
	SpdyLimits o;
	int fd, wake, dead_fd, dead_end;
	pthread_t reader;
	bool lost, closing, wrong, woken, going;
	char why[160];
	SpdyStream *streams, *accept_first, *accept_last;
	unsigned n_streams;
	uint32_t last_id;
	size_t unread;
	int64_t active_ns; /* last byte in either direction */
	SpdyInflate inflate;

	bool peer_windows; /* it has shown that it knows of windows */
	int64_t peer_window;

	/* What is being read. */
	uint8_t *buf;
	size_t buf_len, buf_cap;
	SpdyHead head;
	bool in_frame; /* of data: head, of which `left` bytes are still to come */
	uint32_t left;

	/* What waits to be written. */
	uint8_t *control;
	size_t control_from, control_len, control_cap;
	bool writing, answered; /* answered: the stream of our headers has begun */
};

/* connection.c; under the lock. The first reason counts. */
void spdy_lose(SpdyConnection *c, bool wrong, const char *fmt, ...) _printf_(3, 4);
void spdy_wake(SpdyConnection *c);
int spdy_gone(const SpdyConnection *c, Err *e) _must_check_;

/* stream.c; under the lock */
void spdy_stream_free(SpdyStream *s);
SpdyStream *spdy_find(SpdyConnection *c, uint32_t id);
/* Readers and writers look again. */
void spdy_stream_changed(SpdyStream *s);
/* Ends it, from either side. */
void spdy_stream_reset(SpdyStream *s, SpdyReset code);

/* receive.c; under the lock: frames at the front of buf. Returns when there is no whole one, nothing more may be read, or the connection is lost. */
void spdy_receive(SpdyConnection *c);
/* Too much waits to be read. */
bool spdy_is_full(const SpdyConnection *c);

/* output.c; under the lock */
void spdy_put_control(SpdyConnection *c, SpdyType type, uint8_t flags, const void *payload, size_t len);
void spdy_put_reset(SpdyConnection *c, uint32_t stream, SpdyReset code);
/* Sends of `control` what the socket takes at once. */
void spdy_flush(SpdyConnection *c);
/* Without the lock: one data frame, after what waits. */
int spdy_send_data(SpdyStream *s, const void *data, size_t len, uint8_t flags, Err *e);
