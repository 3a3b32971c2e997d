/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket as a carrier: a message begins with the number of its channel. With a "base64." protocol the number is a digit, what follows is base64, and messages are text.
 *
 * With v5.channel.k8s.io a message of 255 and a channel says that nothing more comes on it; the protocols before it cannot tell the end of stdin. Up to the third the
 * end is told in words.
 */
#include "api/cri/stream-internal.h"

#include "base/base64.h"

#define CLOSE_SIGNAL 255
#define PIECE        (32 * 1024)

static const char *const protocols[] = {"v5.channel.k8s.io",        "v4.channel.k8s.io",
					"v4.base64.channel.k8s.io", "base64.channel.k8s.io",
					"channel.k8s.io",           NULL};

typedef struct WsCarrier {
	CriCarrier carrier;
	HttpHijack h;
	WsConnection *w;
	bool base64, can_close, in_end;
	bool wants[CRI_ERROR + 1]; /* channels that are of use to the request */
	/* The message at hand. */
	int channel; /* -1: not known yet */
	CriBase64 decoder;
	uint8_t bytes[PIECE / 4 * 3 + 6];
	/* Sizes that were read and not yet looked at. */
	CriResizeReader resize;
	const uint8_t *sizes;
	size_t n_sizes;
	/* A piece that is longer than what is decoded at once. */
	WsPiece piece;
	bool closes;
	uint8_t close_channel[2];
	size_t n_close;
} WsCarrier;

int cri_websocket_upgrade(HttpRequest *rq, const char *const *known, HttpHijack *ret,
			  const char **ret_protocol, Err *e)
{
	const char *protocol = ws_choose_protocol(rq, known);
	_cleanup_free_ char *list = NULL, *text = NULL;
	int r;

	if (!protocol) {
		list = strv_join((char *const *)(uintptr_t)known, ", ");
		text = list ? strf("none of the protocols in Sec-WebSocket-Protocol is spoken here: expected "
				   "one of %s\n",
				   list)
			    : NULL;
		return !text || http_reply(rq, 403, "text/plain", text, strlen(text)) < 0 ? err_oom(e) : 0;
	}
	if (*protocol)
		http_set_header(rq, "Sec-WebSocket-Protocol", protocol);
	r = ws_begin(rq, ret, e);
	if (r < 0)
		return r;
	*ret_protocol = protocol;
	return 1;
}

/* ---- what the client sends ---- */

/* The signal's channel: 1 if stdin has ended with it, else 0. */
static int close_signal(WsCarrier *k, CriInput *ret)
{
	bool ends = k->n_close == 1 && k->close_channel[0] == CRI_STDIN && !k->in_end;

	k->n_close = 0;
	if (!ends)
		return 0;
	k->in_end = true;
	*ret = (CriInput){.kind = CRI_INPUT_END};
	return 1;
}

static int take_close(WsCarrier *k, const WsPiece *p, CriInput *ret)
{
	for (size_t i = 0; i < p->len && k->n_close < sizeof(k->close_channel); i++)
		k->close_channel[k->n_close++] = p->data[i];
	return p->ends ? close_signal(k, ret) : 0;
}

/* 1: bytes for stdin. 0: nothing yet. */
static int give(WsCarrier *k, const uint8_t *data, size_t len, CriInput *ret)
{
	if (k->channel == CRI_RESIZE) {
		k->sizes = data;
		k->n_sizes = len;
		return 0;
	}
	if (k->channel != CRI_STDIN || k->in_end || len == 0)
		return 0;
	*ret = (CriInput){.kind = CRI_INPUT_DATA, .data = data, .len = len};
	return 1;
}

/* As much of the piece at hand as is decoded at once. 1, 0, or -EPROTO. */
static int take_piece(WsCarrier *k, CriInput *ret)
{
	WsPiece *p = &k->piece;
	size_t n = k->base64 ? MIN2(p->len, (size_t)PIECE) : p->len;
	const uint8_t *data = p->data;
	ssize_t out = (ssize_t)n;

	if (k->base64) {
		out = cri_base64_feed(&k->decoder, data, n, k->bytes);
		data = k->bytes;
	}
	p->data += n;
	p->len -= n;
	return out < 0 ? (int)out : give(k, data, (size_t)out, ret);
}

static int begin_message(WsCarrier *k, WsPiece *p)
{
	int first = p->len > 0 ? p->data[0] : -1;

	if (first < 0)
		return 0; /* an empty message says nothing */
	k->closes = k->can_close && first == CLOSE_SIGNAL;
	k->channel = k->base64 ? first - '0' : first;
	k->decoder = (CriBase64){0};
	k->n_close = 0;
	p->data++;
	p->len--;
	return 1;
}

static bool next_size(WsCarrier *k, CriInput *ret)
{
	bool got = false;

	while (k->n_sizes > 0 && !got) {
		size_t n = cri_resize_feed(&k->resize, k->sizes, k->n_sizes, &got, &ret->rows, &ret->cols);

		k->sizes += n;
		k->n_sizes -= n;
	}
	if (got)
		ret->kind = CRI_INPUT_RESIZE;
	return got;
}

static int websocket_next(CriCarrier *c, int quit_fd, CriInput *ret)
{
	WsCarrier *k = (WsCarrier *)c;
	Err e = {0};
	int r;

	for (;;) {
		if (next_size(k, ret))
			return 1;
		if (k->piece.len > 0) {
			r = take_piece(k, ret);
			if (r != 0)
				return MAX2(r, 0);
			continue;
		}
		r = ws_receive(k->w, quit_fd, &k->piece, &e);
		if (r < 0)
			log_debug("streaming: %s", e.msg);
		if (r <= 0)
			return 0;
		if (k->piece.begins && !begin_message(k, &k->piece))
			continue;
		if (k->closes) {
			r = take_close(k, &k->piece, ret);
			k->piece.len = 0;
			if (r > 0)
				return 1;
		}
	}
}

/* ---- what it is sent ---- */

static int send_raw(WsCarrier *k, uint8_t channel, const void *data, size_t len, Err *e)
{
	return ws_send(k->w, WS_BINARY, &channel, 1, data, len, e);
}

static int send_base64(WsCarrier *k, uint8_t channel, const void *data, size_t len, Err *e)
{
	_cleanup_free_ char *text = base64_encode(data, len, false);
	char digit = (char)('0' + channel);

	return text ? ws_send(k->w, WS_TEXT, &digit, 1, text, strlen(text), e) : err_oom(e);
}

static int websocket_send(CriCarrier *c, CriChannel channel, const void *data, size_t len, Err *e)
{
	WsCarrier *k = (WsCarrier *)c;

	if (!k->wants[channel])
		return 0;
	return k->base64 ? send_base64(k, (uint8_t)channel, data, len, e)
			 : send_raw(k, (uint8_t)channel, data, len, e);
}

static void websocket_close(CriCarrier *c)
{
	WsCarrier *k = (WsCarrier *)c;

	ws_close(k->w, WS_NORMAL);
	free(k);
}

static const CriCarrierOps websocket_ops = {.next = websocket_next,
					    .send = websocket_send,
					    .close = websocket_close};

int cri_websocket_carrier(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, CriCarrier **ret,
			  Err *e)
{
	WsCarrier *k = calloc(1, sizeof(*k));
	const char *protocol;
	int r;

	if (!k)
		return err_oom(e);
	k->carrier.ops = &websocket_ops;
	k->wants[CRI_STDOUT] = sr->out;
	k->wants[CRI_STDERR] = sr->err;
	k->wants[CRI_ERROR] = true;
	r = cri_websocket_upgrade(rq, protocols, &k->h, &protocol, e);
	if (r > 0)
		r = ws_open(&k->h, s->idle_timeout_ms, &k->w, e) < 0 ? -ENOMEM : 1;
	if (r <= 0) {
		free(k);
		return r;
	}
	k->base64 = strstr(protocol, "base64") != NULL;
	k->can_close = streq(protocol, protocols[0]);
	k->carrier.documents = k->can_close || str_starts(protocol, "v4.");
	k->carrier.gone_fd = k->h.fd;
	/* An empty message on the first channel of output says that the way is open. */
	r = websocket_send(&k->carrier, sr->out ? CRI_STDOUT : sr->err ? CRI_STDERR : CRI_ERROR, "", 0, e);
	if (r < 0) {
		websocket_close(&k->carrier);
		return r;
	}
	*ret = &k->carrier;
	return 1;
}
