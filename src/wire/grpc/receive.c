/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From DATA frames to messages.
 *
 * A message grows with what has arrived of it, whatever length it announces. What is whole waits in a ring for its receiver.
 *
 * The window of the connection is given back at once, so that a call that is not read stops no other. That of a stream is given back while less than half of it
 * waits in whole messages: a receiver that is not there has at most one and a half windows and one message in memory. All calls together may
 * have GrpcLimits.memory_max; the call with which that is exceeded fails.
 */
#include "wire/grpc/grpc-internal.h"

#define PART_FIRST (64 * 1024)

/* Nothing more is received of this call: what a server's method is told, and how a client's call ends. */
static void stop_receiving(GrpcCall *call, uint32_t code, const char *why)
{
	grpc_drop_received(call);
	call->discard = true;
	if (call->c->server && !call->over) {
		call->receive_code = code;
		call->receive_why = strdup(why);
	} else {
		grpc_call_end(call, code, why, true);
		grpc_reset(call, NGHTTP2_CANCEL);
	}
	grpc_call_wake(call);
}

static void give_back(GrpcCall *call)
{
	if (!call->owed || !call->stream_open)
		return;
	if (call->queued >= call->c->o.window / 2 && !call->discard)
		return;
	(void)nghttp2_session_consume_stream(call->c->session, call->stream, call->owed);
	call->owed = 0;
}

static int push(GrpcCall *call, uint8_t *data, size_t len)
{
	if (call->ring_n == call->ring_cap) {
		unsigned cap = call->ring_cap ? call->ring_cap * 2 : 4;
		GrpcMessage *ring = malloc(cap * sizeof(*ring));

		if (!ring)
			return -ENOMEM;
		for (unsigned i = 0; i < call->ring_n; i++)
			ring[i] = call->ring[(call->ring_first + i) % call->ring_cap];
		free(call->ring);
		call->ring = ring;
		call->ring_cap = cap;
		call->ring_first = 0;
	}
	call->ring[(call->ring_first + call->ring_n++) % call->ring_cap] = (GrpcMessage){data, len};
	call->queued += len + sizeof(GrpcMessage);
	grpc_call_wake(call);
	return 0;
}

static bool pop(GrpcCall *call, GrpcMessage *ret)
{
	if (call->ring_n == 0)
		return false;
	*ret = call->ring[call->ring_first];
	call->ring_first = (call->ring_first + 1) % call->ring_cap;
	call->ring_n--;
	call->queued -= ret->len + sizeof(GrpcMessage);
	call->c->held_bytes -= ret->len + sizeof(GrpcMessage);
	return true;
}

void grpc_drop_received(GrpcCall *call)
{
	GrpcMessage m;

	while (pop(call, &m))
		free(m.data);
	free(take_ptr(call->part));
	call->c->held_bytes -= call->part_cap;
	call->part_cap = call->part_have = call->part_len = 0;
	call->prefix_have = 0;
	give_back(call);
}

/* Room for `more` bytes of the message that is under way. */
static int grow(GrpcCall *call, size_t more)
{
	GrpcConnection *c = call->c;
	size_t need = call->part_have + more, cap = MAX2(call->part_cap * 2, (size_t)PART_FIRST);
	uint8_t *p;

	if (call->part && need <= call->part_cap)
		return 0;
	cap = MAX2(cap, need);
	cap = MIN2(cap, call->part_len);
	if (c->held_bytes + (cap - call->part_cap) > c->o.memory_max)
		return -ENOBUFS;
	p = realloc(call->part, MAX2(cap, (size_t)1));
	if (!p)
		return -ENOMEM;
	c->held_bytes += cap - call->part_cap;
	call->part = p;
	call->part_cap = cap;
	return 0;
}

static int end_message(GrpcCall *call)
{
	int r = push(call, call->part, call->part_len);

	if (r < 0)
		return r;
	call->part = NULL;
	call->c->held_bytes += sizeof(GrpcMessage);
	call->part_cap = call->part_have = call->part_len = 0;
	call->prefix_have = 0;
	return 0;
}

/* The message's prefix is here. */
static int begin_message(GrpcCall *call)
{
	const uint8_t *p = call->prefix;
	size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	char why[160];
	int r;

	call->part_len = len;
	if (p[0] != 0) {
		stop_receiving(
		    call, 12,
		    "the message is compressed, which is not offered (grpc-accept-encoding: identity)");
		return 0;
	}
	if (len > call->c->o.message_max) {
		snprintf(why, sizeof(why), "the message has %zu bytes, more than the %zu that are taken", len,
			 call->c->o.message_max);
		stop_receiving(call, 8, why);
		return 0;
	}
	if (len > 0)
		return 0;
	r = grow(call, 0);
	return r < 0 ? r : end_message(call);
}

/* How much of it was taken, or -errno. */
static ssize_t take_some(GrpcCall *call, const uint8_t *data, size_t len)
{
	size_t n;
	int r = 0;

	if (call->prefix_have < PREFIX_LEN) {
		n = MIN2(len, (size_t)(PREFIX_LEN - call->prefix_have));
		memcpy(call->prefix + call->prefix_have, data, n);
		call->prefix_have += (unsigned)n;
		if (call->prefix_have == PREFIX_LEN)
			r = begin_message(call);
		return r < 0 ? r : (ssize_t)n;
	}
	n = MIN2(len, call->part_len - call->part_have);
	r = grow(call, n);
	if (r < 0)
		return r;
	memcpy(call->part + call->part_have, data, n);
	call->part_have += n;
	if (call->part_have == call->part_len)
		r = end_message(call);
	return r < 0 ? r : (ssize_t)n;
}

void grpc_take_data(GrpcCall *call, const uint8_t *data, size_t len)
{
	call->owed += len;
	while (len > 0 && !call->discard) {
		ssize_t n = take_some(call, data, len);

		if (n < 0) {
			stop_receiving(
			    call, 8,
			    n == -ENOBUFS
				? "the connection's messages that wait to be received take too much memory"
				: "out of memory");
			break;
		}
		data += n;
		len -= (size_t)n;
	}
	give_back(call);
}

void grpc_take_end(GrpcCall *call)
{
	call->in_end = true;
	if (call->prefix_have && !call->discard)
		stop_receiving(call, 13, "the stream ended in the middle of a message");
	grpc_call_wake(call);
}

static bool nothing_yet(const GrpcCall *call)
{
	return call->ring_n == 0 && !call->in_end && !call->over && !call->receive_code;
}

/* Waits for a message, the peer's end, or the call's. */
static void wait_for_message(GrpcCall *call)
{
	/* What was to go with a message that does not follow. */
	if (nothing_yet(call) && call->out_len > call->out_from)
		grpc_flush(call->c);
	while (nothing_yet(call)) {
		call->receivers++;
		pthread_cond_wait(&call->can_receive, &call->c->lock);
		call->receivers--;
	}
}

static int receive(GrpcCall *call, GrpcMessage *ret, Err *e)
{
	wait_for_message(call);
	if (call->over && call->at_once)
		return grpc_call_error(call, e);
	if (call->receive_code)
		return grpc_status_error(call->receive_code, call->receive_why, e);
	if (pop(call, ret)) {
		give_back(call);
		if (nghttp2_session_want_write(call->c->session))
			grpc_flush(call->c);
		return 1;
	}
	return call->over ? grpc_call_error(call, e) : 0;
}

int grpc_receive(GrpcCall *call, uint8_t **ret, size_t *ret_len, Err *e)
{
	GrpcMessage m = {0};
	int r;

	pthread_mutex_lock(&call->c->lock);
	r = receive(call, &m, e);
	pthread_mutex_unlock(&call->c->lock);
	if (r > 0) {
		*ret = m.data;
		*ret_len = m.len;
	}
	return r;
}
