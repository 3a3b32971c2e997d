/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of the client. Control frames are taken whole; data goes on to its stream as it arrives, so that the length of a frame, whatever it claims, costs nothing.
 *
 * What is wrong with one stream resets it; what makes the rest unreadable, or that no client of good will does, ends the connection. Frames of types that nobody has defined are
 * skipped, as the draft says.
 */
#include "wire/spdy/spdy-internal.h"

static void wrong_stream(SpdyConnection *c, uint32_t id, SpdyReset code)
{
	SpdyStream *s = spdy_find(c, id);

	spdy_put_reset(c, id, code);
	if (s)
		spdy_stream_reset(s, code);
}

/* ---- streams that begin ---- */

static SpdyStream *stream_new(SpdyConnection *c, uint32_t id, uint8_t flags, SpdyFields *f)
{
	SpdyStream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->c = c;
	s->id = id;
	s->fields = *f;
	*f = (SpdyFields){0};
	s->in_end = flags & SPDY_FIN;
	s->out_end = flags & SPDY_UNIDIRECTIONAL;
	s->send_window = c->peer_window;
	s->readable = -1;
	pthread_cond_init(&s->can_read, NULL);
	pthread_cond_init(&s->can_write, NULL);
	s->next = c->streams;
	if (c->streams)
		c->streams->prev = s;
	c->streams = s;
	c->n_streams++;
	return s;
}

static void offer(SpdyConnection *c, SpdyStream *s)
{
	if (c->accept_last)
		c->accept_last->accept_next = s;
	else
		c->accept_first = s;
	c->accept_last = s;
	pthread_cond_broadcast(&c->changed);
}

/* The block of a frame, which is decompressed whatever becomes of it. False: the connection is lost. */
static bool take_block(SpdyConnection *c, const uint8_t *p, size_t len, uint8_t **ret, size_t *ret_len)
{
	int r = spdy_inflate(&c->inflate, p, len, c->o.headers_max, ret, ret_len);

	if (r == -EMSGSIZE)
		spdy_lose(c, true, "headers of more than %zu bytes", c->o.headers_max);
	else if (r < 0)
		spdy_lose(c, r == -EPROTO, "headers that cannot be decompressed");
	return r >= 0;
}

static void begin_stream(SpdyConnection *c, uint32_t id, uint8_t flags, const uint8_t *block, size_t len)
{
	SpdyFields f = {0};
	int r = spdy_fields_read(block, len, &f);

	if (r < 0)
		spdy_put_reset(c, id, r == -EPROTO ? SPDY_PROTOCOL_ERROR : SPDY_REFUSED_STREAM);
	else if (c->n_streams >= c->o.streams_max || c->going || c->closing)
		spdy_put_reset(c, id, SPDY_REFUSED_STREAM);
	else {
		SpdyStream *s = stream_new(c, id, flags, &f);

		if (s)
			offer(c, s);
		else
			spdy_put_reset(c, id, SPDY_REFUSED_STREAM);
	}
	spdy_fields_done(&f);
}

static void syn_stream(SpdyConnection *c, const uint8_t *p, size_t len)
{
	_cleanup_free_ uint8_t *block = NULL;
	size_t n;
	uint32_t id;

	if (len < 10) {
		spdy_lose(c, true, "a stream without its numbers");
		return;
	}
	id = spdy_get32(p) & INT32_MAX;
	if (id % 2 == 0 || id <= c->last_id) {
		spdy_lose(c, true, "stream %u after stream %u", id, c->last_id);
		return;
	}
	c->last_id = id;
	if (take_block(c, p + 10, len - 10, &block, &n))
		begin_stream(c, id, c->head.flags, block, n);
}

static void stream_in_end(SpdyStream *s)
{
	s->in_end = true;
	spdy_stream_changed(s);
}

/* More headers mean nothing to anybody here. */
static void headers(SpdyConnection *c, const uint8_t *p, size_t len)
{
	_cleanup_free_ uint8_t *block = NULL;
	SpdyStream *s;
	size_t n;

	if (len < 4) {
		spdy_lose(c, true, "headers without a stream");
		return;
	}
	if (!take_block(c, p + 4, len - 4, &block, &n))
		return;
	s = spdy_find(c, spdy_get32(p) & INT32_MAX);
	if (s && (c->head.flags & SPDY_FIN) && !s->in_end)
		stream_in_end(s);
}

/* ---- the rest ---- */

static void rst_stream(SpdyConnection *c, const uint8_t *p)
{
	SpdyStream *s = spdy_find(c, spdy_get32(p) & INT32_MAX);

	if (s)
		spdy_stream_reset(s, (SpdyReset)spdy_get32(p + 4));
}

static void ping(SpdyConnection *c, const uint8_t *p)
{
	/* Even ones would be answers to ours, of which there are none. */
	if (spdy_get32(p) % 2 == 1)
		spdy_put_control(c, SPDY_PING, 0, p, 4);
}

static void open_window(SpdyStream *s, int64_t by)
{
	s->send_window += by;
	if (s->send_window > INT32_MAX)
		wrong_stream(s->c, s->id, SPDY_FLOW_CONTROL_ERROR);
	else
		pthread_cond_broadcast(&s->can_write);
}

static void window_update(SpdyConnection *c, const uint8_t *p)
{
	SpdyStream *s = spdy_find(c, spdy_get32(p) & INT32_MAX);
	uint32_t by = spdy_get32(p + 4) & INT32_MAX;

	c->peer_windows = true;
	if (!s)
		return; /* of one that has ended, or of the connection, whose window nobody counts */
	if (by == 0)
		wrong_stream(c, s->id, SPDY_PROTOCOL_ERROR);
	else
		open_window(s, by);
}

static void initial_window(SpdyConnection *c, uint32_t value)
{
	int64_t by = (int64_t)value - c->peer_window;

	if (value > INT32_MAX) {
		spdy_lose(c, true, "a window of %u bytes", value);
		return;
	}
	c->peer_windows = true;
	c->peer_window = value;
	for (SpdyStream *s = c->streams, *next; s; s = next) {
		next = s->next;
		open_window(s, by);
	}
}

static void settings(SpdyConnection *c, const uint8_t *p, size_t len)
{
	uint32_t n = len >= 4 ? spdy_get32(p) : 0;

	if (len < 4 || n > (len - 4) / 8 || len != 4 + 8 * (size_t)n) {
		spdy_lose(c, true, "settings of a wrong length");
		return;
	}
	for (uint32_t i = 0; i < n && !c->lost; i++) {
		const uint8_t *x = p + 4 + 8 * (size_t)i;

		if ((spdy_get32(x) & SPDY_LEN_MAX) == SPDY_SETTING_WINDOW)
			initial_window(c, spdy_get32(x + 4));
	}
}

static bool has_length(SpdyConnection *c, size_t len, size_t expected)
{
	if (len == expected)
		return true;
	spdy_lose(c, true, "a frame of type %u with %zu bytes", c->head.type, len);
	return false;
}

static void control(SpdyConnection *c, const uint8_t *p, size_t len)
{
	switch (c->head.type) {
	case SPDY_SYN_STREAM:
		syn_stream(c, p, len);
		break;
	case SPDY_SYN_REPLY:
		spdy_lose(c, true, "an answer to a stream that was never opened");
		break;
	case SPDY_RST_STREAM:
		if (has_length(c, len, 8))
			rst_stream(c, p);
		break;
	case SPDY_SETTINGS:
		settings(c, p, len);
		break;
	case SPDY_PING:
		if (has_length(c, len, 4))
			ping(c, p);
		break;
	case SPDY_GOAWAY:
		if (has_length(c, len, 8))
			c->going = true;
		break;
	case SPDY_HEADERS:
		headers(c, p, len);
		break;
	case SPDY_WINDOW_UPDATE:
		if (has_length(c, len, 8))
			window_update(c, p);
		break;
	default:
		break;
	}
}

/* ---- data ---- */

static bool stream_put(SpdyStream *s, const uint8_t *p, size_t len)
{
	if (s->in_from > 0 && s->in_from + s->in_len + len > s->in_cap) {
		memmove(s->in, s->in + s->in_from, s->in_len);
		s->in_from = 0;
	}
	if (s->in_len + len > s->in_cap) {
		size_t cap = MAX2(s->in_cap * 2, s->in_len + len + 512);
		uint8_t *grown = realloc(s->in, cap);

		if (!grown)
			return false;
		s->in = grown;
		s->in_cap = cap;
	}
	memcpy(s->in + s->in_from + s->in_len, p, len);
	s->in_len += len;
	s->c->unread += len;
	return true;
}

static void data_arrived(SpdyConnection *c, const uint8_t *p, size_t len)
{
	SpdyStream *s = spdy_find(c, c->head.stream);

	if (!s || s->reset)
		return; /* what was on its way when it ended */
	if (s->in_end) {
		wrong_stream(c, s->id, SPDY_STREAM_ALREADY_CLOSED);
		return;
	}
	if (len > 0 && !stream_put(s, p, len)) {
		spdy_lose(c, false, "out of memory");
		return;
	}
	if (c->left == len && (c->head.flags & SPDY_FIN))
		s->in_end = true;
	spdy_stream_changed(s);
}

static void data_begin(SpdyConnection *c)
{
	c->left = c->head.len;
	c->in_frame = true;
	if (c->head.stream == 0 || c->head.stream > c->last_id)
		spdy_lose(c, true, "data of stream %u, which was never opened", c->head.stream);
}

/* ---- taking apart ---- */

static void skip(SpdyConnection *c, size_t n)
{
	c->buf_len -= n;
	memmove(c->buf, c->buf + n, c->buf_len);
}

/* Bytes used, 0: more have to come. */
static size_t take_data(SpdyConnection *c, const uint8_t *p, size_t have)
{
	size_t n = MIN2((size_t)c->left, have);

	if (n == 0 && c->left > 0)
		return 0;
	data_arrived(c, p, n);
	c->left -= (uint32_t)n;
	c->in_frame = c->left > 0;
	return n;
}

/* The same of a frame that begins. */
static size_t take_frame(SpdyConnection *c, const uint8_t *p, size_t have)
{
	if (have < SPDY_HEAD_LEN)
		return 0;
	c->head = spdy_head_read(p);
	if (!c->head.control) {
		data_begin(c);
		if (c->left == 0 && !c->lost)
			(void)take_data(c, p + SPDY_HEAD_LEN, 0);
		return SPDY_HEAD_LEN;
	}
	if (c->head.version != SPDY_VERSION)
		spdy_lose(c, true, "a frame of version %u", c->head.version);
	else if (c->head.len > SPDY_CONTROL_MAX)
		spdy_lose(c, true, "a control frame of %u bytes", c->head.len);
	if (c->lost || have - SPDY_HEAD_LEN < c->head.len)
		return 0;
	control(c, p + SPDY_HEAD_LEN, c->head.len);
	return SPDY_HEAD_LEN + c->head.len;
}

bool spdy_is_full(const SpdyConnection *c)
{
	size_t most = MAX2((size_t)c->o.window * 4, (size_t)SPDY_DATA_MAX);

	if (c->closing)
		return false;
	if (c->unread >= SPDY_UNREAD_MAX)
		return true;
	for (const SpdyStream *s = c->streams; s; s = s->next)
		if (s->in_len >= most)
			return true;
	return false;
}

void spdy_receive(SpdyConnection *c)
{
	size_t at = 0, n = 1;

	if (c->closing)
		c->buf_len = 0; /* nobody is there for it any more */
	while (n > 0 && !c->lost && !spdy_is_full(c)) {
		n = c->in_frame ? take_data(c, c->buf + at, c->buf_len - at)
				: take_frame(c, c->buf + at, c->buf_len - at);
		at += n;
	}
	skip(c, at);
	spdy_flush(c);
}
