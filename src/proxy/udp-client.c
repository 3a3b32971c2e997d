/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has sent datagrams to a port, and for each a socket of its own towards the target, so that answers find their way. They are
 * forgotten when nothing came and went for a while, and the one that was quiet longest goes when there are too many.
 */
#include "proxy/proxy-internal.h"

#include <utlist.h>

#define NS_PER_S INT64_C(1000000000)

void udp_client_remove(Server *s, UdpClient *c)
{
	Port *p = c->port;

	HASH_DEL(p->by_address, c);
	DL_DELETE2(p->used, c, port_prev, port_next);
	DL_DELETE(s->used, c);
	p->n--;
	close_fd(&c->source.fd); /* nobody else has it, so it leaves the set by that */
	server_gave_back(s, 1);
	server_bury(s, &c->grave);
}

void udp_clients_expire(Server *s)
{
	while (s->used && s->now_ns - s->used->used_ns >= s->options.udp_idle_s * NS_PER_S)
		udp_client_remove(s, s->used);
}

static void append(Server *s, UdpClient *c)
{
	c->used_ns = s->now_ns;
	DL_APPEND(s->used, c);
	DL_APPEND2(c->port->used, c, port_prev, port_next);
}

void udp_client_touch(Server *s, UdpClient *c)
{
	DL_DELETE(s->used, c);
	DL_DELETE2(c->port->used, c, port_prev, port_next);
	append(s, c);
}

static bool make_room(Server *s, Port *p)
{
	while (p->used && (p->n >= (size_t)s->options.udp_clients_max || !server_has_room(s, p->n, 1)))
		udp_client_remove(s, p->used);
	return server_has_room(s, p->n, 1);
}

/* The socket, or -errno. */
static int connect_target(const Port *p)
{
	struct sockaddr_storage to;
	socklen_t len = target_address(&p->info, &to);
	_cleanup_close_ int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, len) < 0)
		return -errno;
	return take_fd(&fd);
}

static UdpClient *udp_client_new(Server *s, Port *p, const UdpAddress *a)
{
	_cleanup_close_ int fd = make_room(s, p) ? connect_target(p) : -EMFILE;
	UdpClient *c = fd < 0 ? NULL : calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->source = (Source){fd, udp_answer};
	c->address = *a;
	c->port = p;
	if (server_watch(s, &c->source, EPOLLIN) < 0) {
		free(c);
		return NULL;
	}
	(void)take_fd(&fd);
	HASH_ADD(hh, p->by_address, address, sizeof(c->address), c);
	append(s, c);
	p->n++;
	s->fds++;
	return c;
}

UdpClient *udp_client_get(Server *s, Port *p, const UdpAddress *a)
{
	UdpClient *c;

	HASH_FIND(hh, p->by_address, a, sizeof(*a), c);
	return c ? c : udp_client_new(s, p, a);
}
