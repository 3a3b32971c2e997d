/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners, connections and their threads.
 *
 * Each accepted connection gets a detached thread that reads a head, routes it, runs the handler and starts again. The list of
 * connections exists for http_server_drain alone: a connection that waits for a request or streams is shut down at once, a handed-over
 * one never (its socket may be somebody else's by now).
 */
#include "wire/httpd/httpd-internal.h"
#include "base/clock.h"
#include "base/secret.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#define THREAD_STACK (512 * 1024)

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

static HttpRequest *request_new(HttpConnection *c)
{
	HttpRequest *rq = calloc(1, sizeof(*rq));

	if (!rq)
		return NULL;
	rq->conn = c;
	rq->minor = 1;
	rq->body_done = true;
	rq->method = rq->path = "";
	rq->body_pipe[0] = rq->body_pipe[1] = rq->stream_pipe[0] = rq->stream_pipe[1] = -1;
	rq->alive_pipe[0] = rq->alive_pipe[1] = -1;
	pthread_mutex_init(&rq->write_lock, NULL);
	return rq;
}

static const char *find_head_end(const HttpConnection *c, size_t from)
{
	return memmem(c->in + c->pos + from, c->len - c->pos - from, "\r\n\r\n", 4);
}

/* Cuts one head off the connection. 1, 0 if the client is done (or idle for too long), or a status to answer with as a negative number. */
static int read_head(HttpConnection *c, char **ret, size_t *ret_len, int64_t *ret_deadline)
{
	const HttpOptions *o = &c->server->o;
	int64_t deadline = clock_mono_ns() + (int64_t)o->idle_timeout_ms * 1000000;
	bool begun = false;
	const char *end;
	size_t n;

	/* RFC 9112 2.2: empty lines before a request line are to be ignored; clients of old send them after a body. */
	while (c->len - c->pos >= 2 && memcmp(c->in + c->pos, "\r\n", 2) == 0)
		c->pos += 2;
	for (size_t seen = 0;;) {
		ssize_t got;

		if (c->len > c->pos && !begun) {
			begun = true;
			deadline = clock_mono_ns() + (int64_t)o->head_timeout_ms * 1000000;
			http_conn_state(c, false, false, false);
		}
		end = begun ? find_head_end(c, seen) : NULL;
		if (end)
			break;
		seen = c->len - c->pos > 3 ? c->len - c->pos - 3 : 0;
		if (c->len - c->pos >= HTTP_HEAD_MAX)
			return -431;
		got = http_conn_fill(c, deadline);
		if (got == -ETIMEDOUT)
			return begun ? -408 : 0;
		if (got == -EMSGSIZE)
			return -431;
		if (got <= 0)
			return 0;
	}
	n = (size_t)(end - (c->in + c->pos));
	*ret = malloc(n + 1);
	if (!*ret)
		return -503;
	memcpy(*ret, c->in + c->pos, n);
	(*ret)[n] = '\0';
	*ret_len = n;
	*ret_deadline = deadline;
	c->pos += n + 4;
	return 1;
}

static void answer_error(HttpRequest *rq, int r, const Err *e)
{
	int status = e->no ? err_kind_http_status(e->kind) : 500;

	/* The client can no longer be told. That it went away itself is no news. */
	if (rq->answered || rq->hijacked) {
		if (!rq->stream_failed && e->kind != ERR_CANCELLED)
			log_warn("%s %s: the answer broke off: %s", rq->method, http_path(rq), err_msg(e, r));
		return;
	}
	if (status >= 500 && e->kind != ERR_UNSUPPORTED && e->kind != ERR_UNAVAILABLE)
		log_warn("%s %s: %s", rq->method, http_path(rq), err_msg(e, r));
	if (e->kind == ERR_INVALID && r == -EFBIG) {
		status = 413;
		rq->close_after = true;
	}
	if (e->kind == ERR_INVALID && r == -ETIMEDOUT) {
		status = 408;
		rq->close_after = true;
	}
	if (rq->body_failed)
		rq->close_after = true;
	(void)http_reply_error(rq, status, err_msg(e, r));
}

static int dispatch(HttpRequest *rq, int64_t deadline, Err *e)
{
	const HttpOptions *o = &rq->conn->server->o;
	const HttpRoute *route;
	int r, route_error;

	r = http_check_browser(rq, rq->conn->transport, e);
	if (r >= 0 && o->admit)
		r = o->admit(rq, o->user, e);
	if (r < 0 || rq->answered)
		return r;
	route = http_route_find(rq, o->routes, &route_error);
	if (!route)
		return route_error == -ENOMEM ? err_oom(e)
		       : route_error          ? err_new(e, ERR_INVALID, "malformed request path")
					      : err_new(e, ERR_NOT_FOUND, "page not found");
	if (!(route->flags & HTTP_STREAM_BODY)) {
		r = http_body_buffer(rq, o->body_max, deadline, e);
		if (r < 0)
			return r;
	}
	r = route->handler(rq, o->user, e);
	if (r >= 0 && !rq->answered)
		r = err_new(e, ERR_INTERNAL, "%s %s was not answered", rq->method, http_path(rq));
	return r;
}

/* The client may be about to send more than we want to read: closing now would destroy the answer under way to it (TCP), so it is
 * told the end and listened to for a moment. */
static void linger(HttpConnection *c)
{
	int64_t deadline = clock_mono_ns() + 2000000000;

	(void)shutdown(c->fd, SHUT_WR);
	c->pos = c->len = 0;
	for (size_t total = 0; total < (64u << 20);) {
		ssize_t n = http_conn_fill(c, deadline);

		if (n <= 0)
			return;
		total += (size_t)n;
		c->pos = c->len = 0;
	}
}

static bool run_request(HttpConnection *c, HttpRequest *rq, size_t head_len, int64_t deadline)
{
	Err e = {0};
	int status, r;
	bool again;

	if (c->server->o.decorate)
		c->server->o.decorate(rq, c->server->o.user);
	r = http_parse_head(rq, rq->head, head_len, &status, &e);
	if (r < 0) {
		rq->close_after = true;
		(void)http_reply_error(rq, status, e.msg);
		linger(c);
		return false;
	}
	rq->head_only = streq(rq->method, "HEAD");
	r = dispatch(rq, deadline, &e);
	if (r < 0)
		answer_error(rq, r, &e);
	http_stream_finish(rq, r >= 0);
	(void)http_body_end(rq, NULL);
	if (rq->hijacked)
		return false;
	again = rq->keep_alive && !rq->close_after && !rq->stream_failed && http_body_discard(rq);
	if (!again && !rq->body_done)
		linger(c);
	return again;
}

/* A request may have carried credentials, and the next one may be long in coming. */
static void forget_input(HttpConnection *c)
{
	if (c->in)
		explicit_bzero(c->in, c->pos == c->len ? c->cap : c->pos);
}

static bool serve_one(HttpConnection *c)
{
	HttpRequest *rq;
	char *head = NULL;
	size_t head_len = 0;
	int64_t deadline = 0;
	bool again;
	int r;

	http_conn_state(c, true, false, false);
	r = read_head(c, &head, &head_len, &deadline);
	if (r == 0)
		return false;
	rq = request_new(c);
	if (!rq) {
		free(head);
		return false;
	}
	rq->head = head;
	if (r < 0) {
		rq->close_after = true;
		if (c->server->o.decorate)
			c->server->o.decorate(rq, c->server->o.user);
		(void)http_reply_error(rq, -r,
				       r == -408   ? "the request took too long to arrive"
				       : r == -431 ? "the request head is too large"
						   : "out of memory");
		linger(c);
		again = false;
	} else {
		again = run_request(c, rq, head_len, deadline);
	}
	http_request_done(rq);
	forget_input(c);
	return again;
}

static void conn_free(HttpConnection *c)
{
	HttpServer *s = c->server;

	pthread_mutex_lock(&s->lock);
	if (c->prev)
		c->prev->next = c->next;
	else
		s->connections = c->next;
	if (c->next)
		c->next->prev = c->prev;
	/* Closed under the lock: drain must not shut down a number that is somebody else's by then. */
	close_fd(&c->fd);
	secret_free(c->in);
	free(c);
	s->n_connections--;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void *conn_thread(void *arg)
{
	HttpConnection *c = arg;

	while (serve_one(c))
		;
	conn_free(c);
	return NULL;
}

static int conn_start(HttpServer *s, int fd, HttpTransport transport)
{
	HttpConnection *c = calloc(1, sizeof(*c));
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (!c) {
		(void)close(fd);
		return -ENOMEM;
	}
	*c = (HttpConnection){.server = s, .fd = fd, .transport = transport};
	pthread_mutex_lock(&s->lock);
	c->next = s->connections;
	if (c->next)
		c->next->prev = c;
	s->connections = c;
	s->n_connections++;
	pthread_mutex_unlock(&s->lock);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	r = pthread_create(&thread, &attr, conn_thread, c);
	pthread_attr_destroy(&attr);
	if (r)
		conn_free(c);
	return -r;
}

/* Over the limit: said in one write to a socket whose buffer is empty, so it cannot block. */
static void turn_away(int fd)
{
	static const char text[] =
	    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
	    "Content-Length: 35\r\nConnection: close\r\n\r\n{\"message\":\"too many connections\"}\n";

	(void)send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)close(fd);
}

static void accept_one(HttpServer *s, int listen_fd, HttpTransport transport)
{
	int one = 1, fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC), r;
	bool full;

	if (fd < 0) {
		/* Out of descriptors: the waiting client stays readable, so without a pause this would spin. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			log_warn("accept: %s; too many connections or open files", strerror(errno));
			usleep(100000);
		}
		return;
	}
	if (transport == HTTP_TCP)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	pthread_mutex_lock(&s->lock);
	full = s->n_connections >= s->o.connections_max;
	pthread_mutex_unlock(&s->lock);
	if (full) {
		turn_away(fd);
		return;
	}
	r = conn_start(s, fd, transport);
	if (r < 0)
		log_warn("start a thread for a connection: %s", strerror(-r));
}

int http_server_new(const HttpOptions *o, HttpServer **ret, Err *e)
{
	HttpServer *s = calloc(1, sizeof(*s));

	if (!s)
		return err_oom(e);
	s->o = *o;
	s->o.body_max = o->body_max ? o->body_max : 4u << 20;
	s->o.head_timeout_ms = o->head_timeout_ms ? o->head_timeout_ms : 30000;
	s->o.idle_timeout_ms = o->idle_timeout_ms ? o->idle_timeout_ms : 180000;
	s->o.connections_max = o->connections_max ? o->connections_max : 1024;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	*ret = s;
	return 0;
}

int http_server_add(HttpServer *s, int listen_fd, HttpTransport transport, Err *e)
{
	if (s->n_listeners == HTTP_LISTEN_MAX) {
		(void)close(listen_fd);
		return err_new(e, ERR_INVALID, "more than %d listening sockets", HTTP_LISTEN_MAX);
	}
	/* A client that gives up between poll and accept must not block the loop. */
	if (fd_set_nonblock(listen_fd, true) < 0) {
		(void)close(listen_fd);
		return err_sys(e, errno, "make the listening socket non-blocking");
	}
	s->listeners[s->n_listeners].fd = listen_fd;
	s->listeners[s->n_listeners++].transport = transport;
	return 0;
}

int http_server_run(HttpServer *s, int stop_fd, Err *e)
{
	struct pollfd p[HTTP_LISTEN_MAX + 1];

	for (size_t i = 0; i < s->n_listeners; i++)
		p[i] = (struct pollfd){.fd = s->listeners[i].fd, .events = POLLIN};
	p[s->n_listeners] = (struct pollfd){.fd = stop_fd, .events = POLLIN};
	for (;;) {
		if (poll(p, s->n_listeners + 1, -1) < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(e, errno, "wait for connections");
		}
		if (p[s->n_listeners].revents)
			return 0;
		for (size_t i = 0; i < s->n_listeners; i++)
			if (p[i].revents)
				accept_one(s, s->listeners[i].fd, s->listeners[i].transport);
	}
}

static void cut_off(HttpServer *s, bool all)
{
	for (HttpConnection *c = s->connections; c; c = c->next)
		if (!c->hijacked && (all || c->idle || c->streaming))
			(void)shutdown(c->fd, SHUT_RDWR);
}

bool http_server_drain(HttpServer *s, int grace_ms)
{
	struct timespec until;
	bool empty;

	for (size_t i = 0; i < s->n_listeners; i++)
		close_fd(&s->listeners[i].fd);
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	cut_off(s, false);
	for (int round = 0; round < 2 && s->connections; round++) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += grace_ms / 1000;
		until.tv_nsec += grace_ms % 1000 * 1000000L;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		while (s->connections && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0)
			;
		cut_off(s, true);
	}
	empty = !s->connections;
	pthread_mutex_unlock(&s->lock);
	return empty;
}

void http_server_free(HttpServer *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_listeners; i++)
		close_fd(&s->listeners[i].fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
	return a->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static int listen_on(const struct addrinfo *ai, const char *address, Err *e)
{
	_cleanup_close_ int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return err_sys(e, errno, "make a socket for tcp://%s", address);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0)
		return err_sys(e, errno, "bind tcp://%s", address);
	if (listen(fd, 128) < 0)
		return err_sys(e, errno, "listen on tcp://%s", address);
	return take_fd(&fd);
}

int http_tcp_listen(const char *address, Err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *ai = NULL;
	_cleanup_free_ char *host = NULL;
	const char *colon = strrchr(address, ':');
	int r;

	host = colon ? *address == '['
			   ? strndup(address + 1, (size_t)(colon - address) - 2 * (colon > address + 1))
			   : strndup(address, (size_t)(colon - address))
		     : NULL;
	if (!colon || str_empty(host) || !colon[1])
		return err_new(e, ERR_INVALID, "tcp://%s: expected tcp://HOST:PORT", address);
	r = getaddrinfo(host, colon + 1, &hints, &ai);
	if (r != 0)
		return err_new(e, ERR_INVALID, "tcp://%s: %s", address, gai_strerror(r));
	if (!is_loopback(ai->ai_addr))
		r = err_new(e, ERR_DENIED,
			    "tcp://%s: refused, as anybody who reaches this port would be root here and "
			    "there is no TLS yet; "
			    "use a loopback address or ssh -L",
			    address);
	else
		r = listen_on(ai, address, e);
	freeaddrinfo(ai);
	return r;
}
