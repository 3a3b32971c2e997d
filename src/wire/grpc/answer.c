/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server sends beside messages: a head before the first one, trailers with the status behind the last. A call that
 * fails before its first message, or has none, is answered with one block that is both.
 */
#include "wire/grpc/grpc-internal.h"
#include "base/base64.h"

static const nghttp2_nv *add_fields(nghttp2_nv *nv, size_t *n, const GrpcFieldsOut *f)
{
	for (size_t i = 0; i < f->n; i++)
		nv[(*n)++] = grpc_nv(f->v[i].name, f->v[i].value);
	return nv;
}

static void add_head(nghttp2_nv *nv, size_t *n, const GrpcCall *call)
{
	nv[(*n)++] = grpc_nv(":status", "200");
	nv[(*n)++] = grpc_nv("content-type", "application/grpc");
	add_fields(nv, n, &call->head);
}

int grpc_send_head(GrpcCall *call)
{
	nghttp2_data_provider provider = grpc_provider(call);
	_cleanup_free_ nghttp2_nv *nv = NULL;
	size_t n = 0;

	if (call->head_sent || !call->stream_open)
		return 0;
	nv = calloc(call->head.n + 2, sizeof(*nv));
	if (!nv)
		return -ENOMEM;
	add_head(nv, &n, call);
	if (nghttp2_submit_response(call->c->session, call->stream, nv, n, &provider) < 0)
		return -ENOMEM;
	call->head_sent = true;
	return 0;
}

/* Text that fields refer to until they are submitted. */
typedef struct StatusText {
	char code[16];
	char *message, *details;
} StatusText;

static void status_text_done(StatusText *t)
{
	free(t->message);
	free(t->details);
}

static int add_status(nghttp2_nv *nv, size_t *n, const GrpcCall *call, StatusText *t)
{
	snprintf(t->code, sizeof(t->code), "%u", call->code);
	nv[(*n)++] = grpc_nv("grpc-status", t->code);
	if (call->code && call->why) {
		t->message = grpc_percent_encode(call->why);
		if (!t->message)
			return -ENOMEM;
		nv[(*n)++] = grpc_nv("grpc-message", t->message);
	}
	if (call->code && call->details) {
		t->details = base64_encode(call->details, call->details_len, false);
		if (!t->details)
			return -ENOMEM;
		nv[(*n)++] = grpc_nv("grpc-status-details-bin", t->details);
	}
	add_fields(nv, n, &call->trailers);
	return 0;
}

int grpc_submit_trailers(GrpcCall *call)
{
	_cleanup_(status_text_done) StatusText text = {0};
	_cleanup_free_ nghttp2_nv *nv = calloc(call->head.n + call->trailers.n + 5, sizeof(*nv));
	size_t n = 0;
	int r;

	if (!nv)
		return -ENOMEM;
	if (!call->head_sent)
		add_head(nv, &n, call);
	r = add_status(nv, &n, call, &text);
	if (r < 0)
		return r;
	if (call->head_sent)
		r = nghttp2_submit_trailer(call->c->session, call->stream, nv, n);
	else
		r = nghttp2_submit_response(call->c->session, call->stream, nv, n, NULL);
	return r < 0 ? -ENOMEM : 0;
}

void grpc_send_status(GrpcCall *call, uint32_t code, const char *message)
{
	if (!call->stream_open || call->out_end)
		return;
	if (!call->over) {
		call->over = true;
		call->code = code;
		call->why = code && message ? strdup(message) : NULL;
	}
	call->discard = true;
	call->out_end = true;
	if (call->head_sent) {
		grpc_resume(call);
	} else if (grpc_submit_trailers(call) < 0) {
		grpc_reset(call, NGHTTP2_INTERNAL_ERROR);
	}
}

void grpc_send_http_status(GrpcCall *call, const char *status)
{
	nghttp2_nv nv = grpc_nv(":status", status);

	call->over = call->discard = call->out_end = true;
	if (nghttp2_submit_response(call->c->session, call->stream, &nv, 1, NULL) < 0)
		grpc_reset(call, NGHTTP2_INTERNAL_ERROR);
}
