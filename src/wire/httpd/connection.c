/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection between its requests: received without blocking, looked at for a whole request, parked.
 *
 * The buffer grows by what has arrived, never by what was announced, and is freed when it is empty: ten thousand clients that say nothing, or a
 * byte each, cost the engine what they have sent. A body that is short (with its head at most HTTP_HEAD_MAX) is waited for here too, so
 * that a client which trickles it holds no thread.
 */
#include "wire/httpd/httpd-internal.h"
#include "base/clock.h"
#include "base/secret.h"

#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define RECEIVE_MAX 16384u
#define GROW_BY     512u

void http_queue_add(HttpQueue *q, HttpConnection *c)
{
	c->queue = q;
	c->q_next = NULL;
	c->q_prev = q->last;
	if (q->last)
		q->last->q_next = c;
	else
		q->first = c;
	q->last = c;
	q->n++;
}

void http_queue_remove(HttpConnection *c)
{
	HttpQueue *q = c->queue;

	if (!q)
		return;
	if (c->q_prev)
		c->q_prev->q_next = c->q_next;
	else
		q->first = c->q_next;
	if (c->q_next)
		c->q_next->q_prev = c->q_prev;
	else
		q->last = c->q_prev;
	q->n--;
	c->queue = NULL;
	c->q_prev = c->q_next = NULL;
}

HttpConnection *http_conn_new(HttpServer *s, int fd, HttpTransport transport)
{
	HttpConnection *c = calloc(1, sizeof(*c));

	if (!c) {
		(void)close(fd);
		return NULL;
	}
	*c = (HttpConnection){.server = s, .fd = fd, .transport = transport};
	pthread_mutex_lock(&s->lock);
	c->next = s->connections;
	if (c->next)
		c->next->prev = c;
	s->connections = c;
	s->n_connections++;
	s->accepted++;
	pthread_mutex_unlock(&s->lock);
	return c;
}

void http_conn_free(HttpConnection *c)
{
	HttpServer *s = c->server;

	pthread_mutex_lock(&s->lock);
	http_queue_remove(c);
	if (c->prev)
		c->prev->next = c->next;
	else
		s->connections = c->next;
	if (c->next)
		c->next->prev = c->prev;
	/* Closed under the lock: drain must not shut down a number that is somebody else's by then. */
	close_fd(&c->fd);
	secret_free(c->in);
	free(c->doing);
	free(c);
	s->n_connections--;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

void http_conn_state(HttpConnection *c, bool idle, bool streaming, bool hijacked)
{
	HttpServer *s = c->server;

	pthread_mutex_lock(&s->lock);
	c->idle = idle;
	c->streaming = streaming;
	c->hijacked = hijacked;
	if (s->stopping && (idle || streaming))
		(void)shutdown(c->fd, SHUT_RDWR);
	pthread_mutex_unlock(&s->lock);
}

static int conn_append(HttpConnection *c, const char *bytes, size_t n)
{
	if (c->pos > 0) {
		memmove(c->in, c->in + c->pos, c->len - c->pos);
		c->len -= c->pos;
		c->pos = 0;
	}
	if (c->len + n > c->cap) {
		size_t cap = (c->len + n + GROW_BY - 1) / GROW_BY * GROW_BY;
		char *in = secret_realloc(c->in, cap);

		if (!in)
			return -ENOMEM;
		c->in = in;
		c->cap = cap;
	}
	memcpy(c->in + c->len, bytes, n);
	c->len += n;
	return 0;
}

ssize_t http_conn_receive(HttpConnection *c)
{
	size_t room = HTTP_HEAD_MAX - MIN2(c->len - c->pos, (size_t)HTTP_HEAD_MAX);
	char bytes[RECEIVE_MAX];
	ssize_t n;
	int r;

	if (room == 0)
		return -EMSGSIZE;
	do
		n = recv(c->fd, bytes, MIN2(room, sizeof(bytes)), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	r = conn_append(c, bytes, (size_t)n);
	explicit_bzero(bytes, (size_t)n);
	return r < 0 ? r : n;
}

static bool line_is(const char *line, size_t n, const char *name)
{
	size_t k = strlen(name);

	return n > k && strncasecmp(line, name, k) == 0;
}

/* The Content-Length of a head, if its body is worth waiting for here. Whatever is odd about it is for the parser to say: 0. */
static size_t short_body(const char *head, size_t len, size_t body_max)
{
	const char *end = head + len, *line = head;
	unsigned long n = 0;
	bool said = false;

	while (line < end) {
		const char *lf = memchr(line, '\n', (size_t)(end - line));
		size_t k = lf ? (size_t)(lf - line) : 0;

		if (k == 0 || lf[-1] != '\r' || line_is(line, k, "Expect:") ||
		    line_is(line, k, "Transfer-Encoding:"))
			return 0;
		if (line_is(line, k, "Content-Length:")) {
			const char *v = line + strlen("Content-Length:");

			v += strspn(v, " \t");
			if (said || strspn(v, "0123456789") > 5)
				return 0;
			said = true;
			n = strtoul(v, NULL, 10);
		}
		line = lf + 1;
	}
	return n <= body_max && n + len <= HTTP_HEAD_MAX ? n : 0;
}

int http_conn_scan(HttpConnection *c)
{
	const char *start, *end;
	size_t n;

	/* RFC 9112 2.2: empty lines before a request line are to be ignored; clients of old send them after a body. */
	while (!c->head_len && c->len - c->pos >= 2 && memcmp(c->in + c->pos, "\r\n", 2) == 0)
		c->pos += 2;
	n = c->len - c->pos;
	if (n == 0)
		return 0;
	if (!c->begun_ns)
		c->begun_ns = clock_mono_ns();
	start = c->in + c->pos;
	if (!c->head_len) {
		size_t from = MIN2(c->scanned, n);

		end = memmem(start + from, n - from, "\r\n\r\n", 4);
		if (!end) {
			c->scanned = n > 3 ? n - 3 : 0;
			c->refuse = n >= HTTP_HEAD_MAX ? 431 : 0;
			return c->refuse != 0;
		}
		c->head_len = (size_t)(end - start) + 4;
		c->body_wait = short_body(start, c->head_len, c->server->o.body_max);
	}
	return n >= c->head_len + c->body_wait;
}

/* A request may have carried credentials, and the next one may be long in coming. */
void http_conn_next(HttpConnection *c)
{
	c->begun_ns = 0;
	c->head_len = c->body_wait = c->scanned = 0;
	if (c->in && c->pos == c->len) {
		secret_free(c->in);
		c->in = NULL;
		c->pos = c->len = c->cap = 0;
	} else if (c->in) {
		explicit_bzero(c->in, c->pos);
	}
}

/* Under the lock: it is in the set only once it is in a list. */
static int enter(HttpConnection *c, int64_t now)
{
	HttpServer *s = c->server;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
	int64_t due;

	c->idle = true;
	c->parked_ns = now;
	due = c->begun_ns ? c->begun_ns + (int64_t)s->o.head_timeout_ms * 1000000
			  : now + (int64_t)s->o.idle_timeout_ms * 1000000;
	http_queue_add(c->begun_ns ? &s->arriving : &s->idle, c);
	if (c->begun_ns)
		s->arriving_bytes += c->cap;
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0) {
		s->arriving_bytes -= c->begun_ns ? c->cap : 0;
		return -errno;
	}
	if (due < s->wake_at_ns)
		(void)eventfd_write(s->wake_fd, 1);
	return 0;
}

void http_conn_park(HttpConnection *c)
{
	HttpServer *s = c->server;
	int r = -ESHUTDOWN;

	pthread_mutex_lock(&s->lock);
	if (!s->stopping)
		r = enter(c, clock_mono_ns());
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		http_conn_free(c);
}

void http_turn_away(int fd, const char *status, const char *message)
{
	char text[400];
	int n =
	    snprintf(text, sizeof(text),
		     "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: "
		     "close\r\n\r\n{\"message\":\"%s\"}\n",
		     status, strlen(message) + strlen("{\"message\":\"\"}\n"), message);

	(void)send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
}
