/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a call, its sending side, and what a client does with one. Receiving is in receive.c, a server's side in serve.c.
 */
#include "wire/grpc/grpc-internal.h"
#include "base/clock.h"

#include <fcntl.h>

/* ---- life; under the lock ---- */

GrpcCall *grpc_call_new(GrpcConnection *c)
{
	GrpcCall *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->c = c;
	call->alive_fd = call->alive_end = -1;
	pthread_cond_init(&call->can_send, NULL);
	pthread_cond_init(&call->can_receive, NULL);
	call->next = c->calls;
	if (c->calls)
		c->calls->prev = call;
	c->calls = call;
	c->n_calls++;
	return call;
}

static void call_unlink(GrpcCall *call)
{
	GrpcConnection *c = call->c;

	if (call->prev)
		call->prev->next = call->next;
	else
		c->calls = call->next;
	if (call->next)
		call->next->prev = call->prev;
	call->prev = NULL;
	c->n_calls--;
	if (c->n_calls == 0)
		c->idle_since_ns = clock_mono_ns();
}

/* Its buffer may still be named in the batch that is being made: that goes with the garbage. */
void grpc_call_unref(GrpcCall *call)
{
	GrpcConnection *c = call->c;

	if (--call->refs > 0)
		return;
	call_unlink(call);
	grpc_drop_received(call);
	free(call->ring);
	grpc_fields_done(&call->in);
	grpc_fields_out_done(&call->head);
	grpc_fields_out_done(&call->trailers);
	free(call->path);
	free(call->receive_why);
	free(call->why);
	free(call->details);
	close_fd(&call->alive_fd);
	close_fd(&call->alive_end);
	pthread_cond_destroy(&call->can_send);
	pthread_cond_destroy(&call->can_receive);
	call->next = c->garbage;
	c->garbage = call;
}

void grpc_call_wake(GrpcCall *call)
{
	if (call->waking || !(call->senders || call->receivers))
		return;
	call->waking = true;
	call->wake_next = call->c->to_wake;
	call->c->to_wake = call;
}

/* Those that wait have references: a call does not go while it is in the list. */
void grpc_wake_calls(GrpcConnection *c)
{
	while (c->to_wake) {
		GrpcCall *call = c->to_wake;

		c->to_wake = call->wake_next;
		call->waking = false;
		if (call->senders)
			pthread_cond_broadcast(&call->can_send);
		if (call->receivers)
			pthread_cond_broadcast(&call->can_receive);
	}
}

void grpc_call_end(GrpcCall *call, uint32_t code, const char *why, bool at_once)
{
	if (call->over)
		return;
	call->over = true;
	call->at_once = at_once;
	call->code = code;
	call->why = why ? strdup(why) : NULL;
	close_fd(&call->alive_end);
	grpc_call_wake(call);
}

void grpc_call_closed(GrpcCall *call)
{
	call->stream_open = false;
	grpc_call_unref(call);
}

void grpc_call_set_deadline(GrpcCall *call, int64_t timeout_ns)
{
	GrpcConnection *c = call->c;

	call->deadline_ns = clock_mono_ns() + timeout_ns;
	if (c->next_deadline_ns == 0 || call->deadline_ns < c->next_deadline_ns) {
		c->next_deadline_ns = call->deadline_ns;
		grpc_wake(c);
	}
}

int grpc_call_error(const GrpcCall *call, Err *e)
{
	return call->code == 0 ? 0 : grpc_status_error(call->code, call->why, e);
}

/* ---- sending ---- */

static int sending_error(const GrpcCall *call, Err *e)
{
	if (call->over && call->code)
		return grpc_call_error(call, e);
	return err_new_no(e, ERR_CANCELLED, EPIPE, "the call has ended already");
}

/* One message at a time; 0: it is this one's turn. */
static int take_turn(GrpcCall *call, Err *e)
{
	while (call->sending && !call->over) {
		call->senders++;
		pthread_cond_wait(&call->can_send, &call->c->lock);
		call->senders--;
	}
	if (call->over || call->out_end || !call->stream_open)
		return sending_error(call, e);
	if (call->c->server && grpc_send_head(call) < 0)
		return err_oom(e);
	call->sending = true;
	return 0;
}

static void write_prefix(uint8_t p[PREFIX_LEN], size_t len)
{
	p[0] = 0;
	p[1] = (uint8_t)(len >> 24);
	p[2] = (uint8_t)(len >> 16);
	p[3] = (uint8_t)(len >> 8);
	p[4] = (uint8_t)len;
}

/* Room in the buffer of small messages. */
static uint8_t *reserve(GrpcCall *call, size_t len)
{
	size_t need = call->out_len + len;

	if (need > call->out_cap && call->out_from > 0) {
		memmove(call->out, call->out + call->out_from, call->out_len - call->out_from);
		call->out_len -= call->out_from;
		call->out_from = 0;
		need = call->out_len + len;
	}
	if (need > call->out_cap) {
		size_t doubled = MIN2(call->out_cap * 2, (size_t)OUT_HIGH + SMALL_MAX + PREFIX_LEN),
		       cap = MAX2(need, doubled);
		uint8_t *p = realloc(call->out, cap);

		if (!p)
			return NULL;
		call->out = p;
		call->out_cap = cap;
	}
	call->out_len += len;
	return call->out + call->out_len - len;
}

static void wait_until_sent(GrpcCall *call, size_t most)
{
	while (!call->over && (call->body || call->out_len - call->out_from > most)) {
		call->senders++;
		pthread_cond_wait(&call->can_send, &call->c->lock);
		call->senders--;
	}
}

static int send_small(GrpcCall *call, const void *message, size_t len, bool more, Err *e)
{
	uint8_t *p = reserve(call, PREFIX_LEN + len);

	if (!p)
		return err_oom(e);
	write_prefix(p, len);
	if (len)
		memcpy(p + PREFIX_LEN, message, len);
	grpc_resume(call);
	if (!more || call->out_len - call->out_from > OUT_HIGH)
		grpc_flush(call->c);
	wait_until_sent(call, OUT_HIGH);
	return 0;
}

/* From the sender's memory, which must not be referred to when this returns. */
static int send_large(GrpcCall *call, const void *message, size_t len, Err *e)
{
	write_prefix(call->body_prefix, len);
	call->body = message;
	call->body_off = 0;
	call->body_len = PREFIX_LEN + len;
	grpc_resume(call);
	grpc_flush(call->c);
	wait_until_sent(call, OUT_HIGH);
	if (!call->body)
		return 0;
	call->body = NULL;
	/* A part of a message was sent: nothing can follow it. */
	grpc_reset(call, NGHTTP2_CANCEL);
	grpc_flush(call->c);
	return sending_error(call, e);
}

static int send_message(GrpcCall *call, const void *message, size_t len, bool more, Err *e)
{
	GrpcConnection *c = call->c;
	int r;

	if (len > UINT32_MAX)
		return err_new(e, ERR_INVALID, "a message of %zu bytes: gRPC allows 4 GiB", len);
	pthread_mutex_lock(&c->lock);
	r = take_turn(call, e);
	if (r == 0) {
		r = len <= SMALL_MAX ? send_small(call, message, len, more, e)
				     : send_large(call, message, len, e);
		call->sending = false;
		if (call->senders)
			pthread_cond_broadcast(&call->can_send);
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

int grpc_send(GrpcCall *call, const void *message, size_t len, Err *e)
{
	return send_message(call, message, len, false, e);
}

int grpc_send_more(GrpcCall *call, const void *message, size_t len, Err *e)
{
	return send_message(call, message, len, true, e);
}

int grpc_send_end(GrpcCall *call, Err *e)
{
	GrpcConnection *c = call->c;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	if (!call->over && !call->out_end && !c->server) {
		r = take_turn(call, e);
		if (r == 0) {
			call->sending = false;
			call->out_end = true;
			grpc_resume(call);
			grpc_flush(c);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* ---- a client's ---- */

static int check_call(GrpcConnection *c, const char *path, const GrpcField *metadata, size_t n,
		      int64_t *ret_timeout, Err *e)
{
	if (path[0] != '/' || !nghttp2_check_path((const uint8_t *)path, strlen(path)))
		return err_new(e, ERR_INVALID, "call \"%s\": not a path", path);
	for (size_t i = 0; i < n; i++) {
		int r = grpc_field_check(metadata[i].name, metadata[i].value, e);

		if (r < 0)
			return r;
		if (streq(metadata[i].name, "grpc-timeout") &&
		    grpc_timeout_parse(metadata[i].value, ret_timeout) < 0)
			return err_new(e, ERR_INVALID,
				       "grpc-timeout \"%s\": expected up to 8 digits and one of HMSmun",
				       metadata[i].value);
	}
	return 0;
}

static int submit_request(GrpcCall *call, const GrpcField *metadata, size_t n, Err *e)
{
	nghttp2_data_provider provider = grpc_provider(call);
	_cleanup_free_ nghttp2_nv *nv = calloc(n + 7, sizeof(*nv));
	size_t k = 0;

	if (!nv)
		return err_oom(e);
	nv[k++] = grpc_nv(":method", "POST");
	nv[k++] = grpc_nv(":scheme", "http");
	nv[k++] = grpc_nv(":path", call->path);
	nv[k++] = grpc_nv(":authority", call->c->authority);
	nv[k++] = grpc_nv("content-type", "application/grpc");
	nv[k++] = grpc_nv("te", "trailers");
	nv[k++] = grpc_nv("user-agent", "ireko/" IREKO_VERSION);
	for (size_t i = 0; i < n; i++)
		nv[k++] = grpc_nv(metadata[i].name, metadata[i].value);
	call->stream = nghttp2_submit_request(call->c->session, NULL, nv, k, &provider, call);
	if (call->stream == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE)
		return err_new(e, ERR_UNAVAILABLE, "the connection has no stream numbers left");
	if (call->stream < 0)
		return err_new(e, ERR_INTERNAL, "begin a call: %s", nghttp2_strerror(call->stream));
	call->stream_open = true;
	return 0;
}

static int begin(GrpcConnection *c, const char *path, const GrpcField *metadata, size_t n, GrpcCall **ret,
		 Err *e)
{
	GrpcCall *call;
	int r;

	if (c->lost || c->going)
		return err_new(e, ERR_UNAVAILABLE, "%s", c->lost ? c->why : "the peer takes no more calls");
	if (c->n_calls >= c->o.calls_max)
		return err_new(e, ERR_EXHAUSTED,
			       "%u calls are under way on this connection, as many as may be", c->n_calls);
	call = grpc_call_new(c);
	if (!call)
		return err_oom(e);
	call->refs = 1;
	call->path = strdup(path);
	r = call->path ? submit_request(call, metadata, n, e) : err_oom(e);
	if (r < 0) {
		grpc_call_unref(call);
		return r;
	}
	call->refs = 2;
	call->held = true;
	c->n_held++;
	*ret = call;
	return 0;
}

static int begin_call(GrpcConnection *c, const char *path, const GrpcField *metadata, size_t n, bool flush,
		      GrpcCall **ret, Err *e)
{
	int64_t timeout_ns = -1;
	int r = check_call(c, path, metadata, n, &timeout_ns, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	r = begin(c, path, metadata, n, ret, e);
	if (r == 0 && timeout_ns >= 0)
		grpc_call_set_deadline(*ret, timeout_ns);
	if (flush)
		grpc_flush(c);
	pthread_mutex_unlock(&c->lock);
	return r;
}

int grpc_call_begin(GrpcConnection *c, const char *path, const GrpcField *metadata, size_t n, GrpcCall **ret,
		    Err *e)
{
	return begin_call(c, path, metadata, n, true, ret, e);
}

int grpc_call_finish(GrpcCall *call, Err *e)
{
	GrpcConnection *c = call->c;
	int r;

	pthread_mutex_lock(&c->lock);
	call->discard = true;
	grpc_drop_received(call);
	if (!call->over && !call->out_end) {
		call->out_end = true;
		grpc_resume(call);
	}
	grpc_flush(c);
	while (!call->over) {
		call->receivers++;
		pthread_cond_wait(&call->can_receive, &c->lock);
		call->receivers--;
	}
	r = grpc_call_error(call, e);
	c->n_held--;
	grpc_call_unref(call);
	grpc_flush(c);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return r;
}

void grpc_call_cancel(GrpcCall *call)
{
	GrpcConnection *c;

	if (!call)
		return;
	c = call->c;
	pthread_mutex_lock(&c->lock);
	if (!call->over) {
		grpc_call_end(call, 1, "the call was cancelled", true);
		grpc_reset(call, NGHTTP2_CANCEL);
		grpc_flush(c);
	}
	pthread_mutex_unlock(&c->lock);
}

void grpc_call_drop(GrpcCall *call)
{
	if (!call)
		return;
	grpc_call_cancel(call);
	(void)grpc_call_finish(call, NULL);
}

int grpc_unary(GrpcConnection *c, const char *path, const GrpcField *metadata, size_t n,
	       const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
	       ProtobufCMessage **ret, Err *e)
{
	ProtobufCMessage *answer = NULL;
	GrpcCall *call;
	int r, status;

	r = begin_call(c, path, metadata, n, false, &call, e);
	if (r < 0)
		return r;
	r = grpc_send_message_more(call, request, e);
	if (r == 0)
		r = grpc_send_end(call, e);
	if (r == 0)
		r = grpc_receive_only(call, type, &answer, e);
	if (r < 0)
		grpc_call_cancel(call);
	status = grpc_call_finish(call, r < 0 ? NULL : e);
	if (r == 0 && status == 0) {
		*ret = answer;
		return 0;
	}
	if (answer)
		protobuf_c_message_free_unpacked(answer, NULL);
	return r < 0 ? r : status;
}

/* ---- both ---- */

const char *grpc_call_path(const GrpcCall *call)
{
	return call->path;
}

int grpc_call_alive_fd(GrpcCall *call)
{
	GrpcConnection *c = call->c;
	int fd, p[2];

	pthread_mutex_lock(&c->lock);
	fd = call->alive_fd;
	if (fd < 0) {
		fd = pipe2(p, O_CLOEXEC) < 0 ? -errno : p[0];
		if (fd >= 0) {
			call->alive_fd = p[0];
			call->alive_end = p[1];
			if (call->over)
				close_fd(&call->alive_end);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return fd;
}
