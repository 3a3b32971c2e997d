/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: root or our own user asks, one message is answered by one. Who does not take its answers, or sends
 * what is no message, is hung up on.
 */
#include "proxy/proxy-internal.h"

#include "base/fd.h"

#include <utlist.h>

#define CONTROLS_MAX 8

void control_close(Server *s, Control *c)
{
	DL_DELETE(s->controls, c);
	s->n_controls--;
	server_close(s, &c->source);
	server_bury(s, &c->grave);
	if (!s->controls && !s->ports)
		s->quit = true; /* nobody is left who could want something soon */
}

/* Ports are in the order of their numbers. */
static void list(const Server *s, uint64_t after, ProxyReply *reply)
{
	const Port *p = s->ports;

	while (p && p->number <= after)
		p = p->hh.next;
	for (; p && reply->n < PROXY_LIST_MAX; p = p->hh.next) {
		reply->ports[reply->n++] = p->info;
		reply->last = p->number;
	}
	if (!p)
		reply->last = 0;
}

/* Takes *fd over if it keeps it. */
static int do_request(Server *s, const ProxyRequest *q, int *fd, ProxyReply *reply, Err *e)
{
	Port *p;
	int r = 0;

	switch ((ProxyOp)q->op) {
	case PROXY_ADD:
		r = port_add(s, &q->port, *fd, e);
		if (r >= 0)
			*fd = -1;
		break;
	case PROXY_REMOVE:
		p = port_find(s, q->port.key);
		if (p)
			port_remove(s, p);
		break;
	case PROXY_LIST:
		list(s, q->after, reply);
		break;
	case PROXY_QUIT:
	case PROXY_OP_MAX:
		s->quit = true;
		break;
	}
	return r;
}

static bool answer(int fd, ProxyReply *reply)
{
	return fd_send_msg(fd, reply, proxy_reply_size(reply), NULL, 0) >= 0;
}

static void control_ready(Server *s, Source *src, uint32_t events _unused_)
{
	Control *c = (Control *)((char *)src - offsetof(Control, source));
	static ProxyReply reply;
	_cleanup_close_ int fd = -1;
	ProxyRequest q;
	Err e = {0};
	size_t n_fds = 1;
	ssize_t n = fd_recv_msg(src->fd, &q, sizeof(q), &fd, &n_fds);
	int r;

	if (n == -EAGAIN)
		return;
	if (n <= 0 && n != -EMSGSIZE) {
		control_close(s, c);
		return;
	}
	reply = (ProxyReply){.version = PROXY_VERSION};
	r = n < 0 ? err_new(&e, ERR_INVALID, "the request, or what came with it, is too long")
		  : proxy_request_parse(&q, (size_t)n, n_fds, &q, &e);
	if (r >= 0)
		r = do_request(s, &q, &fd, &reply, &e);
	if (r < 0) {
		reply.kind = e.kind;
		reply.no = -r;
		(void)snprintf(reply.error, sizeof(reply.error), "%s", err_msg(&e, r));
	}
	if (!answer(src->fd, &reply) || n < 0)
		control_close(s, c);
}

static bool may_ask(const Server *s, int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
	       (who.uid == 0 || who.uid == s->uid);
}

void control_accept(Server *s, Source *src, uint32_t events _unused_)
{
	_cleanup_close_ int fd = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	Control *c;

	if (fd < 0 || s->n_controls >= CONTROLS_MAX || !may_ask(s, fd))
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	c->source = (Source){fd, control_ready};
	if (server_watch(s, &c->source, EPOLLIN) < 0) {
		free(c);
		return;
	}
	(void)take_fd(&fd);
	DL_APPEND(s->controls, c);
	s->n_controls++;
}
