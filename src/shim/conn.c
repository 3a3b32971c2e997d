/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of irekod: any number of control connections, and event subscribers.
 *
 * A connection that breaks the protocol, or does not read its replies, is closed; nothing else depends on it. A subscriber
 * remembers the number of the next event it has not got, so that a slow one costs no memory.
 */
#include "shim/server.h"

#include "base/log.h"
#include "base/str.h"

#include <sys/socket.h>

struct Conn {
	Server *server;
	Conn *next;
	Source src;
	bool subscribed;
	uint64_t next_event;
};

static void conn_drop(Conn *c)
{
	Server *s = c->server;
	Conn **p = &s->conns;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	s->n_conns--;
	births_forget(s, c);
	dump_forget(s, c);
	loop_close(s->loop, &c->src);
	free(c);
	/* Nobody is left who could say what to create. */
	if (!s->created)
		s->failed = true;
}

/* ---- events ---- */

static int send_event(Conn *c, const ShimEvent *v, Err *e)
{
	_cleanup_json_ json_t *doc = shim_event_encode(v);
	ShimMsg m = {.type = SHIM_MSG_EVENT, .doc = doc};

	return doc ? shim_msg_send(c->src.fd, &m, e) : err_oom(e);
}

static void conn_pump(Conn *c)
{
	Server *s = c->server;
	uint64_t end = s->first_event + s->n_events;
	Err e = {0};
	int r = 0;

	if (c->next_event < s->first_event)
		c->next_event = s->first_event;
	while (c->next_event < end) {
		r = send_event(c, &s->events[c->next_event - s->first_event], &e);
		if (r < 0)
			break;
		c->next_event++;
		s->told = MAX2(s->told, c->next_event);
	}
	if (r < 0 && r != -EAGAIN) {
		conn_drop(c);
		return;
	}
	(void)loop_watch(s->loop, &c->src, EPOLLIN | (r < 0 ? EPOLLOUT : 0u));
}

void conns_pump_events(Server *s)
{
	for (Conn *c = s->conns, *next; c; c = next) {
		next = c->next;
		if (c->subscribed)
			conn_pump(c);
	}
}

bool conns_have_events(const Server *s)
{
	for (const Conn *c = s->conns; c; c = c->next)
		if (c->subscribed && c->next_event < s->first_event + s->n_events)
			return true;
	return false;
}

/* What an earlier subscriber was sent is no news, but for the container's end, which comes last: the earlier one may have died of
 * the same blow, with the exit unread. */
static uint64_t first_news(const Server *s)
{
	uint64_t end = s->first_event + s->n_events, from = MAX2(s->told, s->first_event);

	return MIN2(from, s->ended && s->n_events ? end - 1 : end);
}

/* ---- requests ---- */

/* False when the connection was dropped. */
static bool conn_reply(Conn *c, uint32_t seq, int r, json_t *doc, const Err *err)
{
	char text[sizeof(Err)];
	ShimMsg m = {.type = SHIM_MSG_OK, .seq = seq, .doc = doc};

	if (r < 0) {
		m.type = SHIM_MSG_ERROR;
		m.doc = NULL;
		m.blob = text;
		m.blob_len = shim_error_encode(err, r, text, sizeof(text));
	}
	if (shim_msg_send(c->src.fd, &m, NULL) >= 0)
		return true;
	conn_drop(c);
	return false;
}

void conn_answer(Conn *c, uint32_t seq, int r, json_t *doc, const Err *err)
{
	(void)conn_reply(c, seq, r, doc, err);
}

/* An engine that finds us again finishes what an earlier one may have left undone. */
static void start_if_asked(const Conn *c, const ShimMsg *m)
{
	ShimMsg start = {.type = SHIM_MSG_START};
	Err e = {0};
	int r;

	if (!json_get_bool(m->doc, "start", false) || c->server->started)
		return;
	r = request_handle(c->server, &start, NULL, &e);
	if (r < 0)
		log_warn("container %s: start: %s", c->server->id, err_msg(&e, r));
}

/* The container is still to be made. */
static void conn_prepare(Conn *c, ShimMsg *m)
{
	_cleanup_json_ json_t *doc = json_object();
	Err e = {0};
	int result = 0;

	if (!doc) {
		c->server->failed = true;
		return;
	}
	if (server_prepare(c->server, m, doc, &result, &e) > 0)
		(void)conn_reply(c, m->seq, result, doc, &e);
}

static void conn_request(Conn *c, ShimMsg *m)
{
	_cleanup_json_ json_t *doc = NULL;
	uint32_t seq;
	Err e = {0};
	int r;

	if (!c->server->created) {
		conn_prepare(c, m);
		return;
	}
	if (m->type == SHIM_MSG_SUBSCRIBE) {
		start_if_asked(c, m);
		c->subscribed = true;
		c->next_event = first_news(c->server);
		conn_pump(c);
		return;
	}
	doc = json_object();
	seq = m->seq;
	c->server->asking = c;
	r = doc ? request_handle(c->server, m, doc, &e) : err_oom(&e);
	if (r <= 0)
		(void)conn_reply(c, seq, r, doc, &e);
}

static void conn_ready(Source *src, uint32_t events)
{
	_cleanup_shim_msg_ ShimMsg m = {0};
	Conn *c = src->arg;
	Err e = {0};
	int r;

	if (!(events & EPOLLIN)) {
		if (events & (EPOLLHUP | EPOLLERR))
			conn_drop(c);
		else if (events & EPOLLOUT)
			conn_pump(c);
		return;
	}
	r = shim_msg_recv(src->fd, c->server->loop->io, &m, &e);
	if (r == -EAGAIN)
		return;
	if (r > 0) {
		conn_request(c, &m);
		return;
	}
	if (r == 0 && !c->server->created)
		log_error("container %s: irekod went away before it asked for anything",
			  server_name(c->server));
	else if (r < 0)
		log_warn("container %s: connection closed: %s", server_name(c->server), err_msg(&e, r));
	conn_drop(c);
}

/* ---- accepting ---- */

int conn_add(Server *s, int fd, Err *e)
{
	Conn *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_oom(e);
	*c = (Conn){.server = s, .src = {.fd = fd, .ready = conn_ready, .arg = c}};
	r = loop_watch(s->loop, &c->src, EPOLLIN);
	if (r < 0) {
		free(c);
		return err_sys(e, r, "watch a connection");
	}
	c->next = s->conns;
	s->conns = c;
	s->n_conns++;
	return 0;
}

static void listener_ready(Source *src, uint32_t events _unused_)
{
	Server *s = src->arg;
	_cleanup_close_ int fd = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		/* Out of descriptors or memory: the waiting connection would wake us again at once. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			loop_unwatch(s->loop, src);
			s->listener_rests = true;
		}
		return;
	}
	if (s->n_conns >= SHIM_CONNS_MAX) {
		log_warn("container %s: more than %d connections", s->id, SHIM_CONNS_MAX);
		return;
	}
	if (conn_add(s, fd, NULL) >= 0)
		(void)take_fd(&fd);
}

int conn_listen(Server *s, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", s->dir, SHIM_SOCKET_NAME);
	int fd, r;

	if (!path)
		return err_oom(e);
	fd = unix_listen(path, SOCK_SEQPACKET, 0600);
	if (fd < 0)
		return err_sys(e, fd, "listen on %s", path);
	s->listener = (Source){.fd = fd, .ready = listener_ready, .arg = s};
	r = fd_set_nonblock(fd, true);
	if (r >= 0)
		r = loop_watch(s->loop, &s->listener, EPOLLIN);
	return r < 0 ? err_sys(e, r, "watch %s", path) : 0;
}

void conns_close(Server *s)
{
	while (s->conns)
		conn_drop(s->conns);
}
