/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a request: by length or in chunks, buffered within a budget or streamed.
 *
 * http_body_read is the only place that takes body bytes from a connection, and it never takes one more than the body has: what follows
 * belongs to the next request, or to whoever takes the socket over. While http_body_fd's thread runs it alone reads the
 * connection.
 */
#include "base/clock.h"
#include "wire/httpd/httpd-internal.h"
#include "base/secret.h"

#include <fcntl.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>

#define CHUNK_LINE_MAX 256
#define LINGER_S       5 /* for a client that sends more than anybody reads */

ssize_t http_conn_fill(HttpConnection *c, int64_t deadline_ns)
{
	ssize_t n;

	if (c->pos == c->len)
		c->pos = c->len = 0;
	if (c->pos > 0 && c->len == c->cap) {
		memmove(c->in, c->in + c->pos, c->len - c->pos);
		c->len -= c->pos;
		c->pos = 0;
	}
	if (c->len == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 4096;
		char *in = cap > HTTP_HEAD_MAX ? NULL : secret_realloc(c->in, cap);

		if (!in)
			return cap > HTTP_HEAD_MAX ? -EMSGSIZE : -ENOMEM;
		c->in = in;
		c->cap = cap;
	}
	if (deadline_ns) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		int64_t left = (deadline_ns - clock_mono_ns()) / 1000000;
		int r = left <= 0 ? 0 : poll(&p, 1, (int)MIN2(left, (int64_t)INT32_MAX));

		if (r == 0)
			return -ETIMEDOUT;
		if (r < 0)
			return errno == EINTR ? http_conn_fill(c, deadline_ns) : -errno;
	}
	do
		n = recv(c->fd, c->in + c->len, c->cap - c->len, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	c->len += (size_t)n;
	return n;
}

static int need_more(HttpConnection *c, int64_t deadline)
{
	ssize_t n = http_conn_fill(c, deadline);

	return n > 0 ? 0 : n == 0 ? -ECONNRESET : (int)n;
}

/* A CRLF-terminated line of the chunked framing, copied to buf. */
static int chunk_line(HttpConnection *c, char *buf, int64_t deadline)
{
	for (;;) {
		char *start = c->in + c->pos,
		     *lf = c->len > c->pos ? memchr(start, '\n', c->len - c->pos) : NULL;
		size_t n;
		int r;

		if (!lf) {
			if (c->len - c->pos > CHUNK_LINE_MAX)
				return -EPROTO;
			r = need_more(c, deadline);
			if (r < 0)
				return r;
			continue;
		}
		n = (size_t)(lf - start);
		if (n < 1 || n > CHUNK_LINE_MAX || lf[-1] != '\r' || memchr(start, '\0', n))
			return -EPROTO;
		memcpy(buf, start, n - 1);
		buf[n - 1] = '\0';
		c->pos += n + 1;
		return 0;
	}
}

/* Reads up to the data of the next chunk; body_done after the last one and its trailer. */
static int chunk_next(HttpRequest *rq, int64_t deadline)
{
	char line[CHUNK_LINE_MAX + 1];
	size_t digits;
	int r;

	if (rq->chunk_open) {
		r = chunk_line(rq->conn, line, deadline);
		if (r < 0 || *line)
			return r < 0 ? r : -EPROTO;
		rq->chunk_open = false;
	}
	r = chunk_line(rq->conn, line, deadline);
	if (r < 0)
		return r;
	digits = strspn(line, "0123456789abcdefABCDEF");
	if (digits == 0 || digits > 15 || (line[digits] && line[digits] != ';'))
		return -EPROTO;
	rq->body_left = strtoull(line, NULL, 16);
	rq->chunk_open = rq->body_left > 0;
	for (int i = 0; rq->body_left == 0; i++) {
		r = chunk_line(rq->conn, line, deadline);
		if (r < 0)
			return r;
		if (!*line) {
			rq->body_done = true;
			break;
		}
		if (i == 32)
			return -EPROTO;
	}
	return 0;
}

static ssize_t body_take(HttpRequest *rq, void *buf, size_t cap, int64_t deadline)
{
	HttpConnection *c = rq->conn;
	size_t n;
	int r = 0;

	if (rq->expect_continue && !rq->answered) {
		static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

		rq->expect_continue = false;
		r = http_send_all(c->fd, go_on, sizeof(go_on) - 1, NULL, 0, NULL, 0);
		if (r < 0)
			return r;
	}
	if (rq->body_kind == BODY_CHUNKED && rq->body_left == 0) {
		r = chunk_next(rq, deadline);
		if (r < 0)
			return r;
	}
	if (rq->body_done)
		return 0;
	if (c->pos == c->len) {
		r = need_more(c, deadline);
		if (r < 0)
			return r;
	}
	n = MIN2(c->len - c->pos, cap);
	n = (size_t)MIN2((uint64_t)n, rq->body_left);
	memcpy(buf, c->in + c->pos, n);
	c->pos += n;
	rq->body_left -= n;
	if (rq->body_left == 0 && rq->body_kind == BODY_LENGTH)
		rq->body_done = true;
	return (ssize_t)n;
}

static ssize_t body_read(HttpRequest *rq, void *buf, size_t cap, int64_t deadline)
{
	ssize_t n;

	if (rq->body_failed)
		return -ECONNRESET;
	if (rq->body_done || cap == 0)
		return 0;
	n = body_take(rq, buf, cap, deadline);
	if (n < 0)
		rq->body_failed = true;
	return n;
}

ssize_t http_body_read(HttpRequest *rq, void *buf, size_t cap)
{
	return body_read(rq, buf, cap, 0);
}

int http_body_buffer(HttpRequest *rq, size_t max, int64_t deadline, Err *e)
{
	size_t cap = rq->body_kind == BODY_LENGTH ? (size_t)MIN2(rq->body_left, (uint64_t)65536) : 4096;
	ssize_t n;

	if (rq->body_done)
		return 0;
	if (rq->body_kind == BODY_LENGTH && rq->body_left > max)
		return err_new_no(e, ERR_INVALID, EFBIG, "the request body is larger than %zu bytes", max);
	do {
		if (!rq->body || rq->body_len == cap) {
			size_t grown = rq->body ? cap * 2 : cap;
			char *p = secret_realloc(rq->body, grown + 1);

			if (!p)
				return err_oom(e);
			rq->body = p;
			cap = grown;
		}
		n = body_read(rq, rq->body + rq->body_len, cap - rq->body_len, deadline);
		if (n < 0)
			return err_new_no(e, ERR_INVALID, (int)-n, "read the request body: %s",
					  n == -EPROTO ? "malformed chunk" : strerror((int)-n));
		rq->body_len += (size_t)n;
		if (rq->body_len > max)
			return err_new_no(e, ERR_INVALID, EFBIG, "the request body is larger than %zu bytes",
					  max);
	} while (n > 0);
	rq->body[rq->body_len] = '\0';
	return 0;
}

bool http_body_discard(HttpRequest *rq)
{
	int64_t deadline = clock_mono_ns() + 2000000000;
	char buf[4096];

	/* The client still waits for permission to send: it will not send what nobody asked for. */
	if (rq->expect_continue && !rq->body_done)
		return false;
	for (size_t total = 0; !rq->body_done && total < 65536;) {
		ssize_t n = body_read(rq, buf, sizeof(buf), deadline);

		if (n < 0)
			return false;
		total += (size_t)n;
	}
	return rq->body_done;
}

const char *http_body(const HttpRequest *rq, size_t *ret_len)
{
	if (ret_len)
		*ret_len = rq->body_len;
	return rq->body ? rq->body : "";
}

int http_body_json(HttpRequest *rq, bool required, json_t **ret, Err *e)
{
	const char *type = http_header(rq, "Content-Type");
	size_t len, mime;
	const char *text = http_body(rq, &len);

	*ret = NULL;
	if (len == 0)
		return required ? err_new(e, ERR_INVALID, "invalid JSON: got EOF while reading request body")
				: 0;
	mime = type ? strcspn(type, "; \t") : 0;
	if (mime != 16 || strncasecmp(type, "application/json", 16) != 0)
		return err_new(e, ERR_INVALID,
			       "unsupported Content-Type header (%.100s): must be 'application/json'",
			       type ? type : "");
	return json_parse_bounded(text, len, "request body", ret, e);
}

/* A reader that had enough (a tar's end marker comes before its padding) is no error: what the client still sends is read away, so
 * that it gets to read our answer. */
static void *body_pump(void *arg)
{
	HttpRequest *rq = arg;
	char *buf = malloc(65536);
	ssize_t n = buf ? 0 : -ENOMEM;
	bool wanted = true;

	while (buf && (n = http_body_read(rq, buf, 65536)) > 0) {
		int r = wanted ? fd_write_all(rq->body_pipe[1], buf, (size_t)n) : 0;

		if (r == -EPIPE) {
			wanted = false;
		} else if (r < 0) {
			n = r;
			break;
		}
	}
	free(buf);
	rq->body_result = (int)n;
	close_fd(&rq->body_pipe[1]);
	return NULL;
}

int http_body_fd(HttpRequest *rq, Err *e)
{
	int r;

	if (rq->body_pumping)
		return rq->body_pipe[0];
	if (pipe2(rq->body_pipe, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe for the request body");
	r = pthread_create(&rq->body_thread, NULL, body_pump, rq);
	if (r) {
		close_fd(&rq->body_pipe[0]);
		close_fd(&rq->body_pipe[1]);
		return err_sys(e, r, "start a thread for the request body");
	}
	rq->body_pumping = true;
	return rq->body_pipe[0];
}

int http_body_end(HttpRequest *rq, Err *e)
{
	if (rq->body_pumping) {
		struct timespec until;

		close_fd(&rq->body_pipe[0]);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += LINGER_S;
		if (pthread_timedjoin_np(rq->body_thread, NULL, &until) != 0) {
			(void)shutdown(rq->conn->fd, SHUT_RD);
			pthread_join(rq->body_thread, NULL);
		}
		rq->body_pumping = false;
	}
	if (rq->body_result < 0)
		return err_new_no(e, ERR_INVALID, -rq->body_result, "the request body ended early: %s",
				  rq->body_result == -EPROTO ? "malformed chunk"
							     : strerror(-rq->body_result));
	return 0;
}
