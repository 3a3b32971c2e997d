/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request: cut off the connection, parsed, routed, handled, its answer finished.
 */
#include "wire/httpd/httpd-internal.h"
#include "base/clock.h"
#include "base/secret.h"

#include <sys/socket.h>

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

/* The route of a request in the door's own table or in the other one, with what its handler is given. */
static const HttpRoute *find(HttpRequest *rq, void **ret_user, int *ret_error)
{
	const HttpOptions *o = &rq->conn->server->o;
	const HttpRoute *route =
	    o->more.routes ? http_route_find(rq, o->more.routes, o->more.user, ret_error) : NULL;

	*ret_user = route ? o->more.user : o->user;
	return route ?: http_route_find(rq, o->routes, o->user, ret_error);
}

static int measured(HttpRequest *rq, const HttpRoute *route, void *user, Err *e)
{
	const HttpOptions *o = &rq->conn->server->o;
	int64_t begun = clock_mono_ns();
	int r = route->handler(rq, user, e);

	o->measured(o->user, route->measure, r < 0, clock_mono_ns() - begun);
	return r;
}

/* The rest of a body that is not here yet comes when the client likes. */
static int check_room(HttpRequest *rq, const HttpRoute *route, Err *e)
{
	HttpConnection *c = rq->conn;
	bool here = rq->body_done || (rq->body_kind == BODY_LENGTH && rq->body_left <= c->len - c->pos);

	if ((here && !(route->flags & HTTP_STREAM_BODY)) || http_may_stay(c))
		return 0;
	rq->close_after = true;
	return err_new(e, ERR_UNAVAILABLE, HTTP_TOO_MANY);
}

static int dispatch(HttpRequest *rq, int64_t deadline, Err *e)
{
	const HttpOptions *o = &rq->conn->server->o;
	const HttpRoute *route;
	void *user;
	int r, route_error;

	r = o->behind_proxies ? 0 : http_check_browser(rq, rq->conn->transport, e);
	if (r >= 0 && o->admit)
		r = o->admit(rq, o->user, e);
	if (r < 0 || rq->answered)
		return r;
	route = find(rq, &user, &route_error);
	if (!route)
		return route_error == -ENOMEM ? err_oom(e)
		       : route_error          ? err_new(e, ERR_INVALID, "malformed request path")
					      : err_new(e, ERR_NOT_FOUND, "page not found");
	r = check_room(rq, route, e);
	if (r >= 0 && !(route->flags & HTTP_STREAM_BODY))
		r = http_body_buffer(rq, o->body_max, deadline, e);
	if (r < 0)
		return r;
	r = route->measure && o->measured ? measured(rq, route, user, e) : route->handler(rq, user, e);
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
	if (!http_may_stay(c))
		return;
	c->pos = c->len = 0;
	for (size_t total = 0; total < (64u << 20);) {
		ssize_t n = http_conn_fill(c, deadline);

		if (n <= 0)
			return;
		total += (size_t)n;
		c->pos = c->len = 0;
	}
}

/* For those who ask what is going on. Without the query: it may hold what is nobody's business. */
static void set_doing(HttpConnection *c, const HttpRequest *rq)
{
	HttpServer *s = c->server;
	char *text = rq ? strf("%s %.200s", rq->method, http_path(rq)) : NULL, *before;

	pthread_mutex_lock(&s->lock);
	before = c->doing;
	c->doing = text;
	c->doing_since_ns = clock_mono_ns();
	c->tid = gettid();
	s->requests += rq != NULL;
	pthread_mutex_unlock(&s->lock);
	free(before);
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
	set_doing(c, rq);
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

/* The head as a string of its own; the rest stays in the connection's buffer. */
static char *take_head(HttpConnection *c, size_t *ret_len)
{
	size_t n = c->head_len - 4;
	char *head = malloc(n + 1);

	if (!head)
		return NULL;
	memcpy(head, c->in + c->pos, n);
	head[n] = '\0';
	c->pos += c->head_len;
	*ret_len = n;
	return head;
}

static void refuse(HttpConnection *c, HttpRequest *rq)
{
	rq->close_after = true;
	if (c->server->o.decorate)
		c->server->o.decorate(rq, c->server->o.user);
	(void)http_reply_error(rq, c->refuse,
			       c->refuse == 431 ? "the request head is too large" : "out of memory");
	linger(c);
}

bool http_serve_one(HttpConnection *c)
{
	int64_t deadline = c->begun_ns + (int64_t)c->server->o.head_timeout_ms * 1000000;
	HttpRequest *rq = request_new(c);
	size_t head_len = 0;
	bool again = false;

	if (!rq)
		return false;
	http_conn_state(c, false, false, false);
	if (!c->refuse) {
		rq->head = take_head(c, &head_len);
		c->refuse = rq->head ? 0 : 503;
	}
	if (c->refuse)
		refuse(c, rq);
	else
		again = run_request(c, rq, head_len, deadline);
	set_doing(c, NULL);
	http_request_done(rq);
	return again;
}
