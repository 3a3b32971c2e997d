/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nghttp2's callbacks for what arrives: streams become calls, header blocks their metadata, and floods end the connection.
 *
 * nghttp2 itself checks frames, HPACK, the order of header fields and the states of streams, refuses streams above SETTINGS_MAX_CONCURRENT_STREAMS, and bounds
 * CONTINUATION frames, entries of SETTINGS, acknowledgements that the peer does not read and the rate of RST_STREAM. What is bounded here: metadata,
 * header blocks, calls whose methods still run though their streams are gone, and frames that carry nothing.
 * So what can be queued for a peer that does not read is bounded, too: by calls, by acknowledgements, by one WINDOW_UPDATE a stream.
 */
#include "wire/grpc/grpc-internal.h"
#include "base/clock.h"
#include "base/str.h"

#define CALM_NS        1000000000ll
#define CALM_FRAMES    1000 /* that carry nothing, in that time, without anything that does */
#define BLOCK_FACTOR   4    /* a header block of so many times metadata_max is an attack, less is a mistake */
#define CONTINUATIONS  64
#define WINDOW_FACTOR  8 /* the connection's window, in those of calls */
#define CONNECTION_MIN (8 * 1024 * 1024)

static GrpcCall *call_of(GrpcConnection *c, int32_t stream)
{
	return nghttp2_session_get_stream_user_data(c->session, stream);
}

static bool ends_stream(const nghttp2_frame *f)
{
	return f->hd.flags & NGHTTP2_FLAG_END_STREAM;
}

/* ---- floods ---- */

/* False: too many. */
static bool count_idle_frame(GrpcConnection *c)
{
	int64_t now;

	if (c->calm_frames++ == 0)
		c->calm_since_ns = clock_mono_ns();
	if (c->calm_frames <= CALM_FRAMES)
		return true;
	now = clock_mono_ns();
	if (now - c->calm_since_ns > CALM_NS) {
		c->calm_since_ns = now;
		c->calm_frames = 1;
		return true;
	}
	snprintf(c->hint, sizeof(c->hint), "the peer sent %d frames without content within a second",
		 CALM_FRAMES);
	(void)nghttp2_session_terminate_session(c->session, NGHTTP2_ENHANCE_YOUR_CALM);
	return false;
}

static int on_begin_frame(nghttp2_session *s, const nghttp2_frame_hd *hd, void *user)
{
	GrpcConnection *c = user;

	/* Those that begin or end something for a call set the count back: take_headers, on_data. */
	return count_idle_frame(c) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* ---- header blocks ---- */

static int on_begin_headers(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
	GrpcConnection *c = user;
	GrpcCall *call;

	c->block_bytes = 0;
	if (!c->server || f->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (c->n_calls >= c->o.calls_max || c->stopping) {
		(void)nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, f->hd.stream_id,
						NGHTTP2_REFUSED_STREAM);
		return 0;
	}
	call = grpc_call_new(c);
	if (!call)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	call->refs = 1;
	call->stream = f->hd.stream_id;
	call->stream_open = true;
	return nghttp2_session_set_stream_user_data(s, f->hd.stream_id, call);
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
		     uint8_t flags, void *user)
{
	GrpcConnection *c = user;
	GrpcCall *call = call_of(c, f->hd.stream_id);
	size_t bytes = nghttp2_rcbuf_get_buf(name).len + nghttp2_rcbuf_get_buf(value).len + FIELD_OVERHEAD;

	c->block_bytes += bytes;
	if (c->block_bytes / BLOCK_FACTOR > c->o.metadata_max) {
		snprintf(c->hint, sizeof(c->hint),
			 "the peer sent more than %zu bytes of metadata in one block",
			 c->o.metadata_max * BLOCK_FACTOR);
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	if (!call || call->in_too_much)
		return 0;
	call->in.bytes += bytes;
	if (call->in.bytes > c->o.metadata_max)
		call->in_too_much = true;
	else if (grpc_fields_add(&call->in, name, value) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static const char metadata_too_large[] = "the metadata is larger than what is taken";

static bool is_grpc(const GrpcFieldsIn *f)
{
	const char *type = grpc_fields_get(f, "content-type", 0),
		   *rest = type ? str_after(type, "application/grpc") : NULL;

	return rest && (!*rest || *rest == '+' || *rest == ';');
}

/* A request's head is here. */
static int take_request(GrpcCall *call)
{
	const char *method = grpc_fields_get(&call->in, ":method", 0),
		   *path = grpc_fields_get(&call->in, ":path", 0);
	const char *timeout = grpc_fields_get(&call->in, "grpc-timeout", 0);
	int64_t ns;

	if (call->in_too_much) {
		grpc_send_status(call, 8, metadata_too_large);
		return 0;
	}
	if (!streq0(method, "POST") || !path) {
		grpc_send_http_status(call, "405");
		return 0;
	}
	if (!is_grpc(&call->in)) {
		grpc_send_http_status(call, "415");
		return 0;
	}
	if (timeout && grpc_timeout_parse(timeout, &ns) < 0) {
		grpc_send_status(call, 13, "grpc-timeout is malformed");
		return 0;
	}
	call->path = strdup(path);
	if (!call->path)
		return -ENOMEM;
	if (timeout)
		grpc_call_set_deadline(call, ns);
	grpc_dispatch(call);
	return 0;
}

/* What an answer that is no gRPC's means: gRPC's table for HTTP statuses. */
static uint32_t code_of_http(const char *status)
{
	static const struct {
		const char *http;
		uint32_t code;
	} codes[] = {{"400", 13}, {"401", 16}, {"403", 7},  {"404", 12},
		     {"429", 14}, {"502", 14}, {"503", 14}, {"504", 14}};

	for (size_t i = 0; i < ELEMENTSOF(codes); i++)
		if (streq(codes[i].http, status))
			return codes[i].code;
	return 2;
}

/* The status is known. A stream that has not ended, on either side, is of no more use. */
static void end_client_call(GrpcCall *call, uint32_t code, const char *why)
{
	grpc_call_end(call, code, why, false);
	if (!call->in_end || !call->out_end_sent)
		grpc_reset(call, NGHTTP2_CANCEL);
}

/* The head of an answer. False: it was none of gRPC's, and the call has ended. */
static bool check_head(GrpcCall *call)
{
	const char *status = grpc_fields_get(&call->in, ":status", 0);
	char why[160];

	if (!status || streq(status, "200")) {
		if (is_grpc(&call->in))
			return true;
		end_client_call(call, 2,
				"the answer is not of gRPC: its content-type is not application/grpc");
		return false;
	}
	snprintf(why, sizeof(why), "the answer is not of gRPC: HTTP status %.20s", status);
	end_client_call(call, code_of_http(status), why);
	return false;
}

/* The stream's end: the status in its last block, or none. */
static void take_status(GrpcCall *call)
{
	const char *text = grpc_fields_get(&call->in, "grpc-status", 0),
		   *message = grpc_fields_get(&call->in, "grpc-message", 0);
	_cleanup_free_ char *why = message ? grpc_percent_decode(message) : NULL;
	uint64_t code;

	grpc_take_end(call);
	if (call->over)
		return;
	if (!text)
		end_client_call(call, 13, "the stream ended without a status");
	else if (str_to_u64(text, &code) < 0 || code > UINT32_MAX)
		end_client_call(call, 2, why);
	else
		end_client_call(call, (uint32_t)code, why);
}

static void take_answer(GrpcCall *call, const nghttp2_frame *f)
{
	const char *status = grpc_fields_get(&call->in, ":status", 0);

	if (call->in_too_much) {
		end_client_call(call, 8, metadata_too_large);
		return;
	}
	if (!call->in_head_done && status && status[0] == '1') { /* informational: another head follows */
		grpc_fields_done(&call->in);
		return;
	}
	if (!call->in_head_done) {
		call->in_head_done = true;
		if (!check_head(call))
			return;
	}
	if (ends_stream(f))
		take_status(call);
}

/* ---- frames ---- */

static int take_headers(GrpcConnection *c, GrpcCall *call, const nghttp2_frame *f)
{
	c->calm_frames = 0;
	if (!c->server) {
		take_answer(call, f);
		return 0;
	}
	if (f->headers.cat == NGHTTP2_HCAT_REQUEST && take_request(call) < 0)
		return -ENOMEM;
	if (!ends_stream(f))
		return 0;
	grpc_take_end(call);
	grpc_answer_health(call);
	return 0;
}

static void take_data_end(GrpcConnection *c, GrpcCall *call)
{
	if (c->server) {
		grpc_take_end(call);
		grpc_answer_health(call);
	} else {
		take_status(call);
	}
}

static void take_goaway(GrpcConnection *c)
{
	c->going = true;
	close_fd(&c->dead_end);
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
	GrpcConnection *c = user;
	GrpcCall *call = f->hd.stream_id ? call_of(c, f->hd.stream_id) : NULL;

	switch (f->hd.type) {
	case NGHTTP2_SETTINGS:
		if (!(f->hd.flags & NGHTTP2_FLAG_ACK))
			c->hello = true;
		break;
	case NGHTTP2_GOAWAY:
		take_goaway(c);
		break;
	case NGHTTP2_HEADERS:
		if (call && take_headers(c, call, f) < 0)
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		break;
	case NGHTTP2_DATA:
		if (call && ends_stream(f))
			take_data_end(c, call);
		break;
	default:
		break;
	}
	return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t stream, const uint8_t *data, size_t len,
		   void *user)
{
	GrpcConnection *c = user;
	GrpcCall *call = call_of(c, stream);

	c->calm_frames = 0;
	(void)nghttp2_session_consume_connection(s, len);
	if (call)
		grpc_take_data(call, data, len);
	return 0;
}

/* What the end of a stream without a status means: gRPC's table for HTTP/2's error codes. */
static uint32_t code_of_reset(uint32_t error_code)
{
	switch (error_code) {
	case NGHTTP2_REFUSED_STREAM:
		return 14;
	case NGHTTP2_CANCEL:
		return 1;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return 8;
	case NGHTTP2_INADEQUATE_SECURITY:
		return 7;
	default:
		return 13;
	}
}

static int on_stream_close(nghttp2_session *s, int32_t stream, uint32_t error_code, void *user)
{
	GrpcConnection *c = user;
	GrpcCall *call = call_of(c, stream);
	char why[160];

	if (!call)
		return 0;
	if (c->server)
		snprintf(why, sizeof(why), "the client cancelled the call");
	else
		snprintf(why, sizeof(why), "the peer ended the call: %s", nghttp2_http2_strerror(error_code));
	grpc_call_end(call, c->server ? 1 : code_of_reset(error_code), why, c->server);
	grpc_call_closed(call);
	return 0;
}

/* ---- what was sent ---- */

static int on_frame_sent(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
	GrpcConnection *c = user;

	if (f->hd.type == NGHTTP2_GOAWAY)
		c->goaway_code = f->goaway.error_code;
	/* A server has ended a stream whose client still sends: it need not. */
	if (c->server && f->hd.type == NGHTTP2_HEADERS && ends_stream(f) &&
	    nghttp2_session_get_stream_remote_close(s, f->hd.stream_id) == 0)
		(void)nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, f->hd.stream_id, NGHTTP2_NO_ERROR);
	return 0;
}

/* A block that cannot be sent ends its stream: the peer would wait for it. */
static int on_frame_not_sent(nghttp2_session *s, const nghttp2_frame *f, int error, void *user)
{
	if (f->hd.type == NGHTTP2_HEADERS && error != NGHTTP2_ERR_STREAM_CLOSED &&
	    error != NGHTTP2_ERR_STREAM_CLOSING)
		(void)nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, f->hd.stream_id,
						NGHTTP2_INTERNAL_ERROR);
	return 0;
}

static int on_error(nghttp2_session *s, int error, const char *msg, size_t len, void *user)
{
	GrpcConnection *c = user;

	snprintf(c->hint, sizeof(c->hint), "%.*s", (int)MIN2(len, sizeof(c->hint) - 1), msg);
	return 0;
}

/* ---- set-up ---- */

static void set_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_sent);
	nghttp2_session_callbacks_set_error_callback2(cb, on_error);
	nghttp2_session_callbacks_set_send_data_callback(cb, grpc_send_data);
	nghttp2_session_callbacks_set_data_source_read_length_callback(cb, grpc_read_length);
}

static int send_settings(GrpcConnection *c)
{
	nghttp2_settings_entry v[6] = {
	    {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, c->o.window},
	    {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, FRAME_MAX},
	    {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)MIN2(c->o.metadata_max, (size_t)INT32_MAX)},
	    {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	    {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
	};
	int64_t wanted = MAX2((int64_t)c->o.window * WINDOW_FACTOR, (int64_t)CONNECTION_MIN);
	int32_t connection = (int32_t)MIN2(wanted, (int64_t)INT32_MAX);

	if (c->server)
		v[4] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->o.calls_max};
	if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, v, 5) < 0 ||
	    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, connection) < 0)
		return -ENOMEM;
	return 0;
}

/* Since 1.61, and in the distributions' older ones with the mend of CVE-2024-28182; without it what a header may be long bounds them. */
void nghttp2_option_set_max_continuations(nghttp2_option *o, size_t n) __attribute__((weak));

int grpc_session_new(GrpcConnection *c)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *o = NULL;
	int r = -ENOMEM;

	if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&o) == 0) {
		set_callbacks(cb);
		nghttp2_option_set_no_auto_window_update(o, 1);
		nghttp2_option_set_no_closed_streams(o, 1);
		nghttp2_option_set_max_reserved_remote_streams(o, 0);
		if (nghttp2_option_set_max_continuations)
			nghttp2_option_set_max_continuations(o, CONTINUATIONS);
		nghttp2_option_set_max_send_header_block_length(o, 4 * 1024 * 1024);
		if (c->server)
			r = nghttp2_session_server_new2(&c->session, cb, c, o);
		else
			r = nghttp2_session_client_new2(&c->session, cb, c, o);
		r = r < 0 ? -ENOMEM : send_settings(c);
	}
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(o);
	return r;
}
