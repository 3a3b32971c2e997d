/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See http-client.h. The body reader is a little machine: `mode` says how the body ends, `left` how many
 * bytes of the present piece (the whole body, or one chunk) are still to come.
 */
#include "wire/http-client-internal.h"
#include "base/str.h"

#include <ctype.h>
#include <poll.h>
#include <sys/socket.h>

#define BUFFER_SIZE    HTTP_HEAD_MAX
#define CHUNK_LINE_MAX 4096 /* a chunk size with its extensions, or one trailer line */
#define TRAILERS_MAX   64
#define INTERIM_MAX    16 /* 1xx answers before the real one */

typedef enum BodyMode {
	BODY_NONE,
	BODY_LENGTH,
	BODY_CHUNK_SIZE,
	BODY_CHUNK,
	BODY_CHUNK_END,
	BODY_TO_CLOSE
} BodyMode;

struct Httpc {
	int fd;
	BodyMode mode;
	uint64_t left;
	bool in_exchange; /* a request is out and its answer is not read to the end */
	bool sending;     /* a chunked body is being written */
	bool head_only;   /* the request was HEAD */
	bool answered;    /* the head was read while the body was still being written */
	bool refused;     /* ... and it says that the rest is not wanted */
	HttpcResponse response;
	size_t start, end;
	char buf[BUFFER_SIZE];
};

/* ---- connections */

int httpc_connect(const HttpcAddress *a, Httpc **ret, Err *e)
{
	int fd = httpc_address_connect(a, e);

	if (fd < 0)
		return fd;
	Httpc *c = httpc_new(fd);
	if (!c)
		return err_oom(e);
	*ret = c;
	return 0;
}

Httpc *httpc_new(int fd)
{
	/* Not calloc: the buffer is most of it and need not be touched. */
	Httpc *c = malloc(sizeof(*c));

	if (!c) {
		closep(&fd);
		return NULL;
	}
	memset(c, 0, offsetof(Httpc, buf));
	c->fd = fd;
	return c;
}

void httpc_free(Httpc *c)
{
	if (!c)
		return;
	closep(&c->fd);
	httpc_response_done(&c->response);
	free(c);
}

int httpc_fd(const Httpc *c)
{
	return c->fd;
}

bool httpc_is_idle(const Httpc *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN | POLLRDHUP};

	/* Anything readable between two exchanges is a hang-up or noise. */
	return c->fd >= 0 && !c->in_exchange && c->start == c->end && poll(&p, 1, 0) == 0;
}

/* ---- sending */

/* MSG_NOSIGNAL: a server that went away is an error to report, not a signal to die of. */
static int send_all(Httpc *c, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static bool header_is_safe(const char *s)
{
	return !strpbrk(s, "\r\n");
}

static int build_head(const HttpcRequest *rq, StrBuf *b)
{
	if (!header_is_safe(rq->target) || strpbrk(rq->target, " \t"))
		return -EINVAL;
	strbuf_addf(b, "%s %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ireko/" IREKO_VERSION "\r\n",
		    rq->method, rq->target);
	for (size_t i = 0; rq->headers && rq->headers[i]; i++) {
		if (!header_is_safe(rq->headers[i]))
			return -EINVAL;
		strbuf_addf(b, "%s\r\n", rq->headers[i]);
	}
	if (rq->upgrade)
		strbuf_add(b, "Connection: Upgrade\r\nUpgrade: tcp\r\n");
	if (rq->chunked)
		strbuf_add(b, "Transfer-Encoding: chunked\r\n");
	else if (rq->body || !(streq(rq->method, "GET") || streq(rq->method, "HEAD")))
		strbuf_addf(b, "Content-Length: %zu\r\n", rq->body ? rq->body_len : 0);
	strbuf_add(b, "\r\n");
	/* One write for a small request: one wake-up of the server. */
	if (rq->body && !rq->chunked)
		strbuf_add_n(b, rq->body, rq->body_len);
	return b->oom ? -ENOMEM : 0;
}

int httpc_send(Httpc *c, const HttpcRequest *rq, Err *e)
{
	_cleanup_(strbuf_wipe) StrBuf b = {0};
	int r = build_head(rq, &b);

	if (r == -EINVAL)
		return err_new(e, ERR_INVALID, "request %s: control bytes in its target or headers",
			       rq->method);
	if (r < 0)
		return err_oom(e);
	httpc_response_done(&c->response);
	c->in_exchange = true;
	c->sending = rq->chunked;
	c->answered = c->refused = false;
	c->head_only = streq(rq->method, "HEAD");
	c->mode = BODY_NONE;
	r = send_all(c, b.s, b.len);
	return r < 0 ? err_sys(e, r, "send the request") : 0;
}

/* A server may answer while we are still sending: usually to refuse. Waits until there is room to send. */
static int watch_for_answer(Httpc *c, Err *e)
{
	while (!c->answered) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN | POLLOUT};
		int n = poll(&p, 1, -1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, errno, "poll");
		if (!(p.revents & ~POLLOUT))
			return 0;

		const HttpcResponse *rs;
		int r = httpc_receive(c, &rs, e);
		if (r < 0)
			return r;
		c->answered = true;
		c->refused = rs->status >= 400;
	}
	return c->refused;
}

/* A write that failed may hide a refusal that the server sent before it hung up. */
static int after_failed_write(Httpc *c, int no, Err *e)
{
	const HttpcResponse *rs;

	if (!c->answered && httpc_receive(c, &rs, NULL) == 0) {
		c->answered = true;
		if (rs->status >= 400) {
			c->refused = true;
			return 1;
		}
	}
	return err_sys(e, no, "send the body");
}

int httpc_write(Httpc *c, const void *data, size_t len, Err *e)
{
	char size[24];

	if (c->refused)
		return 1;
	if (len == 0)
		return 0;
	int r = watch_for_answer(c, e);
	if (r != 0)
		return r;
	int n = snprintf(size, sizeof(size), "%zx\r\n", len);
	r = send_all(c, size, (size_t)n);
	if (r == 0)
		r = send_all(c, data, len);
	if (r == 0)
		r = send_all(c, "\r\n", 2);
	return r < 0 ? after_failed_write(c, r, e) : 0;
}

int httpc_write_fd(Httpc *c, int fd, Err *e)
{
	_cleanup_free_ char *piece = malloc(1 << 18);

	if (!piece)
		return err_oom(e);
	for (;;) {
		ssize_t n = read(fd, piece, 1 << 18);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, errno, "read the input");
		if (n == 0)
			return 0;
		int r = httpc_write(c, piece, (size_t)n, e);
		if (r != 0)
			return r;
	}
}

int httpc_finish(Httpc *c, Err *e)
{
	int r = 0;

	if (c->sending && !c->refused)
		r = send_all(c, "0\r\n\r\n", 5);
	c->sending = false;
	if (r < 0)
		r = after_failed_write(c, r, e);
	return r < 0 ? r : 0;
}

/* ---- reading the head */

/* More bytes into the buffer; 0 at end of file. */
static ssize_t fill(Httpc *c)
{
	if (c->start == c->end)
		c->start = c->end = 0;
	if (c->end == sizeof(c->buf)) {
		memmove(c->buf, c->buf + c->start, c->end - c->start);
		c->end -= c->start;
		c->start = 0;
	}
	if (c->end == sizeof(c->buf))
		return -EMSGSIZE;
	for (;;) {
		ssize_t n = recv(c->fd, c->buf + c->end, sizeof(c->buf) - c->end, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		c->end += (size_t)n;
		return n;
	}
}

static int hung_up(Err *e)
{
	return err_new_no(e, ERR_UNAVAILABLE, ECONNRESET,
			  "the server closed the connection before its answer was complete");
}

static int malformed(Err *e, const char *what)
{
	return err_new_no(e, ERR_INTERNAL, EBADMSG, "the server's answer is not valid HTTP/1.1: %s", what);
}

static int receive_one(Httpc *c, Err *e)
{
	for (;;) {
		ssize_t n = c->start < c->end
				? httpc_response_parse(c->buf + c->start, c->end - c->start, &c->response)
				: 0;

		if (n == -ENOMEM)
			return err_oom(e);
		if (n < 0)
			return malformed(e, n == -EMSGSIZE ? "its head is too long" : "its head");
		if (n > 0) {
			c->start += (size_t)n;
			return 0;
		}
		n = fill(c);
		if (n == 0 || n == -ECONNRESET || n == -EPIPE)
			return hung_up(e);
		if (n < 0)
			return err_sys(e, (int)-n, "read the answer");
	}
}

static void begin_body(Httpc *c)
{
	const HttpcResponse *r = &c->response;

	c->left = 0;
	if (c->head_only || r->status == 204 || r->status == 304 || r->status < 200)
		c->mode = BODY_NONE;
	else if (r->chunked)
		c->mode = BODY_CHUNK_SIZE;
	else if (r->length >= 0) {
		c->mode = r->length > 0 ? BODY_LENGTH : BODY_NONE;
		c->left = (uint64_t)r->length;
	} else {
		c->mode = BODY_TO_CLOSE;
	}
}

/* The exchange is over; a connection that cannot be used again is closed here. */
static void end_exchange(Httpc *c)
{
	c->in_exchange = false;
	if (c->response.close || c->refused)
		close_fd(&c->fd);
}

int httpc_receive(Httpc *c, const HttpcResponse **ret, Err *e)
{
	if (!c->answered) {
		for (int i = 0;; i++) {
			int r;

			httpc_response_done(&c->response);
			r = receive_one(c, e);
			if (r < 0)
				return r;
			if (c->response.status >= 200 || c->response.status == 101)
				break;
			if (i == INTERIM_MAX)
				return malformed(e, "too many interim answers");
		}
		begin_body(c);
		if (c->mode == BODY_NONE && c->response.status != 101 && !c->sending)
			end_exchange(c);
	}
	*ret = &c->response;
	return 0;
}

/* ---- reading the body */

/* One CRLF-terminated line at c->start; its length without CRLF. */
static ssize_t take_line(Httpc *c, const char **line, Err *e)
{
	for (;;) {
		size_t have = c->end - c->start;
		const char *at = have ? memchr(c->buf + c->start, '\n', have) : NULL;

		if (at) {
			size_t n = (size_t)(at - (c->buf + c->start));

			*line = c->buf + c->start;
			c->start += n + 1;
			if (n == 0 || at[-1] != '\r' || n > CHUNK_LINE_MAX)
				return malformed(e, "a line of its chunked body");
			return (ssize_t)n - 1;
		}
		if (have > CHUNK_LINE_MAX)
			return malformed(e, "a line of its chunked body");
		ssize_t n = fill(c);
		if (n == 0 || n == -ECONNRESET)
			return hung_up(e);
		if (n < 0)
			return err_sys(e, (int)-n, "read the answer");
	}
}

static int take_chunk_size(Httpc *c, Err *e)
{
	const char *line;
	ssize_t n = take_line(c, &line, e), i = 0;
	uint64_t size = 0;

	if (n < 0)
		return (int)n;
	for (; i < n && isxdigit((unsigned char)line[i]); i++) {
		if (size >> 56)
			return malformed(e, "a chunk size");
		size = size << 4 | (uint64_t)(isdigit((unsigned char)line[i]) ? line[i] - '0'
									      : (line[i] | 32) - 'a' + 10);
	}
	if (i == 0 || (i < n && line[i] != ';' && line[i] != ' ' && line[i] != '\t'))
		return malformed(e, "a chunk size");
	c->left = size;
	c->mode = BODY_CHUNK;
	return 0;
}

static int take_trailers(Httpc *c, Err *e)
{
	const char *line;

	for (int i = 0; i < TRAILERS_MAX; i++) {
		ssize_t n = take_line(c, &line, e);

		if (n < 0)
			return (int)n;
		if (n == 0) {
			c->mode = BODY_NONE;
			return 0;
		}
	}
	return malformed(e, "too many trailers");
}

/* Moves on to a state that has payload (left > 0 or to close), or to BODY_NONE. */
static int next_piece(Httpc *c, Err *e)
{
	while (c->left == 0 && c->mode != BODY_NONE && c->mode != BODY_TO_CLOSE) {
		const char *line;
		ssize_t n;
		int r = 0;

		switch (c->mode) {
		case BODY_CHUNK_SIZE:
			r = take_chunk_size(c, e);
			if (r == 0 && c->left == 0)
				r = take_trailers(c, e);
			break;
		case BODY_CHUNK:
			c->mode = BODY_CHUNK_END;
			break;
		case BODY_CHUNK_END:
			n = take_line(c, &line, e);
			r = n < 0 ? (int)n : n > 0 ? malformed(e, "the end of a chunk") : 0;
			c->mode = BODY_CHUNK_SIZE;
			break;
		case BODY_LENGTH:
		case BODY_NONE:
		case BODY_TO_CLOSE:
			c->mode = BODY_NONE;
			break;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

ssize_t httpc_read(Httpc *c, void *buf, size_t cap, Err *e)
{
	if (!c->in_exchange || cap == 0)
		return 0;
	int r = next_piece(c, e);
	if (r < 0)
		return r;
	if (c->mode == BODY_NONE) {
		end_exchange(c);
		return 0;
	}
	if (c->start == c->end) {
		ssize_t n = fill(c);

		if (n < 0 && n != -ECONNRESET)
			return err_sys(e, (int)-n, "read the answer");
		if (n <= 0 && c->mode != BODY_TO_CLOSE)
			return hung_up(e);
		if (n <= 0) {
			c->response.close = true;
			end_exchange(c);
			return 0;
		}
	}
	size_t n = MIN2(cap, c->end - c->start);
	if (c->mode != BODY_TO_CLOSE) {
		n = (size_t)MIN2((uint64_t)n, c->left);
		c->left -= n;
	}
	memcpy(buf, c->buf + c->start, n);
	c->start += n;
	return (ssize_t)n;
}

bool httpc_has_data(const Httpc *c)
{
	return c->start < c->end || !c->in_exchange || c->mode == BODY_NONE;
}

int httpc_read_all(Httpc *c, size_t max, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	char piece[16384];

	for (;;) {
		ssize_t n = httpc_read(c, piece, sizeof(piece), e);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		if ((size_t)n > max - b.len)
			return err_new_no(e, ERR_INTERNAL, EFBIG,
					  "the server's answer is larger than %zu bytes", max);
		strbuf_add_n(&b, piece, (size_t)n);
	}
	size_t len = b.len;
	char *s = strbuf_steal(&b);
	if (!s)
		return err_oom(e);
	*ret = s;
	if (ret_len)
		*ret_len = len;
	return 0;
}

int httpc_hijack(Httpc *c, const char **ret_ahead, size_t *ret_n)
{
	*ret_ahead = c->buf + c->start;
	*ret_n = c->end - c->start;
	c->in_exchange = false;
	return take_fd(&c->fd);
}
