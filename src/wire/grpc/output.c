/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From calls to the socket.
 *
 * nghttp2 decides which stream may send how much; what it makes is gathered in a batch, in which messages are referred to where they lie, and
 * written with one sendmsg(2). What the socket does not take is copied and left to the reading thread, and until that is gone nothing more
 * is made: so there is at most one batch between a sender and the socket, and a sender's memory is its own again when grpc_flush() returns.
 */
#include "wire/grpc/grpc-internal.h"

#include <sys/socket.h>

/* ---- the source of DATA frames ---- */

static size_t waiting(const GrpcCall *call)
{
	return call->out_len - call->out_from + (call->body ? call->body_len - call->body_off : 0);
}

static ssize_t read_data(nghttp2_session *s, int32_t stream, uint8_t *buf, size_t length, uint32_t *flags,
			 nghttp2_data_source *source, void *user)
{
	GrpcCall *call = source->ptr;
	size_t n = waiting(call);

	if (n == 0 && !call->out_end) {
		call->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n > length)
		return (ssize_t)length;
	if (call->out_end) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		call->out_end_sent = true;
		if (call->c->server) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			if (grpc_submit_trailers(call) < 0)
				return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		}
	}
	return (ssize_t)n;
}

nghttp2_data_provider grpc_provider(GrpcCall *call)
{
	return (nghttp2_data_provider){.source.ptr = call, .read_callback = read_data};
}

ssize_t grpc_read_length(nghttp2_session *s, uint8_t frame_type, int32_t stream, int32_t session_window,
			 int32_t stream_window, uint32_t remote_max_frame_size, void *user)
{
	size_t window = (size_t)MIN2(session_window, stream_window);
	size_t frame = MIN2((size_t)remote_max_frame_size, (size_t)FRAME_MAX);

	return (ssize_t)MIN2(window, frame);
}

static void add_part(GrpcConnection *c, const void *data, size_t len)
{
	struct iovec *last = c->n_parts ? &c->parts[c->n_parts - 1] : NULL;

	if (len == 0)
		return;
	c->parts_bytes += len;
	if (last && (const uint8_t *)last->iov_base + last->iov_len == (const uint8_t *)data)
		last->iov_len += len;
	else
		c->parts[c->n_parts++] = (struct iovec){(void *)(uintptr_t)data, len};
}

static void add_copy(GrpcConnection *c, const void *data, size_t len)
{
	memcpy(c->scratch + c->scratch_len, data, len);
	add_part(c, c->scratch + c->scratch_len, len);
	c->scratch_len += len;
}

/* Of the buffer first, then of the prefix and the body of the message behind it. */
static void take_parts(GrpcCall *call, size_t length)
{
	size_t n = MIN2(length, call->out_len - call->out_from);

	add_part(call->c, call->out + call->out_from, n);
	call->out_from += n;
	length -= n;
	if (length && call->body_off < PREFIX_LEN) {
		n = MIN2(length, PREFIX_LEN - call->body_off);
		add_copy(call->c, call->body_prefix + call->body_off, n);
		call->body_off += n;
		length -= n;
	}
	if (length) {
		add_part(call->c, call->body + call->body_off - PREFIX_LEN, length);
		call->body_off += length;
	}
	if (call->out_from == call->out_len)
		call->out_from = call->out_len = 0;
	if (call->body && call->body_off == call->body_len)
		call->body = NULL;
	grpc_call_wake(call);
}

int grpc_send_data(nghttp2_session *s, nghttp2_frame *frame, const uint8_t *head, size_t length,
		   nghttp2_data_source *source, void *user)
{
	GrpcCall *call = source->ptr;
	GrpcConnection *c = user;

	if (waiting(call) < length) /* its sender has left */
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (c->n_parts + 4 > BATCH_PARTS || c->scratch_len + 9 + PREFIX_LEN > sizeof(c->scratch)) {
		c->batch_full = true;
		return NGHTTP2_ERR_WOULDBLOCK;
	}
	add_copy(c, head, 9);
	take_parts(call, length);
	c->calm_frames = 0;
	if (c->parts_bytes < BATCH_BYTES)
		return 0;
	c->batch_full = true;
	return NGHTTP2_ERR_PAUSE;
}

/* ---- the socket ---- */

/* False: nothing more can be made. */
static bool gather(GrpcConnection *c)
{
	c->n_parts = 0;
	c->parts_bytes = c->scratch_len = 0;
	c->batch_full = false;
	while (!c->batch_full && c->n_parts + 1 < BATCH_PARTS) {
		const uint8_t *data;
		ssize_t n = nghttp2_session_mem_send(c->session, &data);

		if (n < 0)
			grpc_lose(c, "send frames: %s", nghttp2_strerror((int)n));
		if (n <= 0)
			return c->parts_bytes > 0;
		if ((size_t)n <= sizeof(c->scratch) - c->scratch_len) {
			add_copy(c, data, (size_t)n);
		} else { /* nghttp2's memory, until it makes the next one */
			add_part(c, data, (size_t)n);
			return true;
		}
	}
	return true;
}

static ssize_t write_parts(GrpcConnection *c, struct iovec *v, unsigned n)
{
	struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
	ssize_t done;

	do
		done = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (done < 0 && errno == EINTR);
	if (done >= 0 || errno == EAGAIN)
		return MAX2(done, 0);
	grpc_lose(c, "write to the peer: %s", strerror(errno));
	return -1;
}

static void keep_rest(GrpcConnection *c, size_t done)
{
	size_t at = 0;

	c->left = malloc(c->parts_bytes - done);
	if (!c->left) {
		grpc_lose(c, "out of memory");
		return;
	}
	c->left_off = 0;
	c->left_len = c->parts_bytes - done;
	for (unsigned i = 0; i < c->n_parts; i++) {
		size_t skip = MIN2(done, c->parts[i].iov_len);

		memcpy(c->left + at, (uint8_t *)c->parts[i].iov_base + skip, c->parts[i].iov_len - skip);
		at += c->parts[i].iov_len - skip;
		done -= skip;
	}
}

/* True if nothing is left of an earlier batch. */
static bool write_left(GrpcConnection *c)
{
	struct iovec v = {c->left + c->left_off, c->left_len - c->left_off};
	ssize_t n;

	if (!c->left)
		return true;
	n = write_parts(c, &v, 1);
	if (n < 0)
		return false;
	c->left_off += (size_t)n;
	if (c->left_off < c->left_len)
		return false;
	free(take_ptr(c->left));
	return true;
}

static void free_garbage(GrpcConnection *c)
{
	while (c->garbage) {
		GrpcCall *call = c->garbage;

		c->garbage = call->next;
		free(call->out);
		free(call);
	}
}

void grpc_flush(GrpcConnection *c)
{
	while (!c->lost && write_left(c) && gather(c)) {
		ssize_t n = write_parts(c, c->parts, c->n_parts);

		if (n >= 0 && (size_t)n < c->parts_bytes)
			keep_rest(c, (size_t)n);
	}
	free_garbage(c);
	grpc_wake_calls(c);
	grpc_wake_workers(c);
	if (c->lost)
		return;
	if (c->left && !c->reader_waits_to_write)
		grpc_wake(c);
	/* The last stream of a connection that takes no more has ended. */
	if ((c->stopping || c->going) && !c->left && !nghttp2_session_want_read(c->session))
		grpc_wake(c);
}

void grpc_resume(GrpcCall *call)
{
	if (call->stream_open && call->deferred) {
		call->deferred = false;
		(void)nghttp2_session_resume_data(call->c->session, call->stream);
	}
}

void grpc_reset(GrpcCall *call, uint32_t error_code)
{
	if (call->stream_open &&
	    nghttp2_submit_rst_stream(call->c->session, NGHTTP2_FLAG_NONE, call->stream, error_code) < 0)
		grpc_lose(call->c, "out of memory");
}
