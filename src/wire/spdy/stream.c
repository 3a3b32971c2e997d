/* SPDX-License-Identifier: Apache-2.0 */
/* One stream, as its user sees it. */
#include "wire/spdy/spdy-internal.h"

#include <sys/eventfd.h>

/* ---- under the lock ---- */

SpdyStream *spdy_find(SpdyConnection *c, uint32_t id)
{
	SpdyStream *s = c->streams;

	while (s && s->id != id)
		s = s->next;
	return s;
}

static bool is_readable(const SpdyStream *s)
{
	return s->in_len > 0 || s->in_end || s->reset || s->c->lost || s->c->closing;
}

static void update_readable(SpdyStream *s)
{
	bool now = is_readable(s);
	eventfd_t unused;

	if (s->readable < 0 || now == s->readable_set)
		return;
	s->readable_set = now;
	if (now)
		(void)eventfd_write(s->readable, 1);
	else
		(void)eventfd_read(s->readable, &unused);
}

void spdy_stream_changed(SpdyStream *s)
{
	update_readable(s);
	pthread_cond_broadcast(&s->can_read);
	pthread_cond_broadcast(&s->can_write);
}

static void drop_unread(SpdyStream *s)
{
	s->c->unread -= s->in_len;
	s->in_len = 0;
	free(take_ptr(s->in));
	s->in_cap = s->in_from = 0;
}

static void unaccept(SpdyConnection *c, const SpdyStream *s)
{
	SpdyStream *before = NULL, *at = c->accept_first;

	while (at != s) {
		before = at;
		at = at->accept_next;
	}
	if (before)
		before->accept_next = s->accept_next;
	else
		c->accept_first = s->accept_next;
	if (c->accept_last == s)
		c->accept_last = before;
}

void spdy_stream_free(SpdyStream *s)
{
	SpdyConnection *c = s->c;

	drop_unread(s);
	if (s->prev)
		s->prev->next = s->next;
	else
		c->streams = s->next;
	if (s->next)
		s->next->prev = s->prev;
	c->n_streams--;
	if (!s->accepted)
		unaccept(c, s);
	close_fd(&s->readable);
	spdy_fields_done(&s->fields);
	pthread_cond_destroy(&s->can_read);
	pthread_cond_destroy(&s->can_write);
	free(s);
}

void spdy_stream_reset(SpdyStream *s, SpdyReset code)
{
	if (!s->accepted) {
		spdy_stream_free(s);
		return;
	}
	s->reset = true;
	s->reset_code = code;
	drop_unread(s);
	spdy_stream_changed(s);
}

/* ---- the user's ---- */

const char *spdy_header(const SpdyStream *s, const char *name)
{
	return spdy_fields_get(&s->fields, name);
}

uint32_t spdy_stream_id(const SpdyStream *s)
{
	return s->id;
}

/* An answer's block of headers: none. A zlib stream begins with the first of them; each is a piece without compression that holds the number 0, and the empty piece
 * that ends a flush. */
static const uint8_t no_headers[] = {0x78, 0x01, 0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int spdy_reply(SpdyStream *s, Err *e)
{
	SpdyConnection *c = s->c;
	uint8_t payload[4 + sizeof(no_headers)];
	size_t skip;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	if (c->lost || c->closing)
		r = spdy_gone(c, e);
	else if (!s->replied && !s->reset) {
		skip = c->answered ? 2 : 0;
		spdy_put32(payload, s->id);
		memcpy(payload + 4, no_headers + skip, sizeof(no_headers) - skip);
		spdy_put_control(c, SPDY_SYN_REPLY, 0, payload, sizeof(payload) - skip);
		c->answered = s->replied = true;
		spdy_flush(c);
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* Lets the client send as much again, in steps of half a window. */
static void grant(SpdyStream *s, size_t n)
{
	uint8_t payload[8];

	s->owed += (uint32_t)n;
	if (s->in_end || s->owed < s->c->o.window / 2)
		return;
	spdy_put32(payload, s->id);
	spdy_put32(payload + 4, s->owed);
	s->owed = 0;
	spdy_put_control(s->c, SPDY_WINDOW_UPDATE, 0, payload, sizeof(payload));
	spdy_flush(s->c);
}

static size_t take_unread(SpdyStream *s, void *buf, size_t cap)
{
	bool was_full = spdy_is_full(s->c);
	size_t n = MIN2(cap, s->in_len);

	memcpy(buf, s->in + s->in_from, n);
	s->in_from += n;
	s->in_len -= n;
	s->c->unread -= n;
	if (s->in_len == 0)
		drop_unread(s);
	if (was_full && !spdy_is_full(s->c))
		spdy_wake(s->c);
	grant(s, n);
	update_readable(s);
	return n;
}

ssize_t spdy_read(SpdyStream *s, void *buf, size_t cap, Err *e)
{
	SpdyConnection *c = s->c;
	ssize_t r;

	pthread_mutex_lock(&c->lock);
	while (!is_readable(s))
		pthread_cond_wait(&s->can_read, &c->lock);
	if (s->in_len > 0)
		r = (ssize_t)take_unread(s, buf, cap);
	else if (s->in_end)
		r = 0;
	else if (s->reset)
		r = err_new_no(e, ERR_CANCELLED, ECONNRESET, "stream %u was reset (%u)", s->id,
			       s->reset_code);
	else
		r = spdy_gone(c, e);
	pthread_mutex_unlock(&c->lock);
	return r;
}

int spdy_write(SpdyStream *s, const void *data, size_t len, Err *e)
{
	return len > 0 ? spdy_send_data(s, data, len, 0, e) : 0;
}

int spdy_write_end(SpdyStream *s, Err *e)
{
	return spdy_send_data(s, NULL, 0, SPDY_FIN, e);
}

int spdy_readable_fd(SpdyStream *s)
{
	SpdyConnection *c = s->c;

	pthread_mutex_lock(&c->lock);
	if (s->readable < 0) {
		s->readable = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		update_readable(s);
	}
	pthread_mutex_unlock(&c->lock);
	return s->readable;
}

static void tell_reset(const SpdyStream *s)
{
	if (s->reset || (s->in_end && s->out_end) || s->c->closing)
		return;
	spdy_put_reset(s->c, s->id, s->replied ? SPDY_CANCEL : SPDY_REFUSED_STREAM);
	spdy_flush(s->c);
}

void spdy_stream_cancel(SpdyStream *s)
{
	SpdyConnection *c = s->c;
	bool was_full;

	pthread_mutex_lock(&c->lock);
	was_full = spdy_is_full(c);
	tell_reset(s);
	spdy_stream_reset(s, SPDY_CANCEL);
	if (was_full)
		spdy_wake(c);
	pthread_mutex_unlock(&c->lock);
}

void spdy_stream_close(SpdyStream *s)
{
	SpdyConnection *c = s ? s->c : NULL;
	bool was_full;

	if (!s)
		return;
	pthread_mutex_lock(&c->lock);
	was_full = spdy_is_full(c);
	tell_reset(s);
	spdy_stream_free(s);
	if (was_full)
		spdy_wake(c);
	pthread_mutex_unlock(&c->lock);
}
