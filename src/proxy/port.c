/* SPDX-License-Identifier: Apache-2.0 */
/* Ports: the bound socket of each, which others hold copies of, and what came of it. */
#include "proxy/proxy-internal.h"

#include "base/fd.h"

#define PORTS_MAX 65536

Port *port_find(Server *s, const char *key)
{
	Port *p;

	HASH_FIND_STR(s->ports, key, p);
	return p;
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

/* What was sent along is what it should be; anything else would be read and spliced all the same. */
static int check_socket(const ProxyPort *info, int fd, int *ret_family, Err *e)
{
	bool udp = info->protocol == PROXY_UDP;
	int family = option(fd, SO_DOMAIN);
	struct sockaddr_storage at = {0};
	socklen_t len = sizeof(at);

	if ((family != AF_INET && family != AF_INET6) ||
	    option(fd, SO_TYPE) != (udp ? SOCK_DGRAM : SOCK_STREAM) ||
	    option(fd, SO_PROTOCOL) != (udp ? IPPROTO_UDP : IPPROTO_TCP))
		return err_new(e, ERR_INVALID, "port %s: the descriptor is no %s socket", info->key,
			       udp ? "udp" : "tcp");
	if (!udp && option(fd, SO_ACCEPTCONN) != 1)
		return err_new(e, ERR_INVALID, "port %s: the socket does not listen", info->key);
	/* The port is at the same place in both families. */
	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0 || ((struct sockaddr_in *)&at)->sin_port == 0)
		return err_new(e, ERR_INVALID, "port %s: the socket is bound to no port", info->key);
	*ret_family = family;
	return 0;
}

int port_add(Server *s, const ProxyPort *info, int fd, Err *e)
{
	bool udp = info->protocol == PROXY_UDP;
	Port *p, *old = port_find(s, info->key);
	int family = 0, r = check_socket(info, fd, &family, e);

	if (r < 0)
		return r;
	if (!old && HASH_COUNT(s->ports) >= PORTS_MAX)
		return err_new(e, ERR_EXHAUSTED, "port %s: the proxy has %d ports, which is the most",
			       info->key, PORTS_MAX);
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_oom(e);
	*p = (Port){.source = {fd, udp ? udp_receive : tcp_accept}, .info = *info, .family = family};
	r = udp ? udp_prepare(p, e) : tcp_listen(p, e);
	if (r >= 0) {
		r = fd_set_nonblock(fd, true);
		if (r >= 0)
			r = server_watch(s, &p->source, EPOLLIN);
		if (r < 0)
			r = err_sys(e, r, "port %s: watch the socket", info->key);
	}
	if (r < 0) {
		free(p);
		return r;
	}
	if (old)
		port_remove(s, old);
	p->number = ++s->last_number;
	HASH_ADD_STR(s->ports, info.key, p);
	return 0;
}

void port_remove(Server *s, Port *p)
{
	HASH_DEL(s->ports, p);
	if (p->paused)
		s->n_paused--;
	server_close(s, &p->source);
	while (p->connections)
		connection_reset(s, p->connections);
	while (p->used)
		udp_client_remove(s, p->used);
	server_bury(s, &p->grave);
	if (!s->ports)
		s->empty_since_ns = s->now_ns;
}

void port_pause(Server *s, Port *p)
{
	struct epoll_event ev = {.events = 0, .data.ptr = &p->source};

	if (p->paused || epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, p->source.fd, &ev) < 0)
		return;
	p->paused = true;
	s->n_paused++;
}

void ports_resume(Server *s)
{
	s->room_again = false;
	for (Port *p = s->ports; p && s->n_paused > 0; p = p->hh.next) {
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &p->source};

		if (!p->paused || epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, p->source.fd, &ev) < 0)
			continue;
		p->paused = false;
		s->n_paused--;
	}
}

socklen_t target_address(const ProxyPort *p, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *to6 = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *to4 = (struct sockaddr_in *)ret;

	memset(ret, 0, sizeof(*ret));
	if (IN6_IS_ADDR_V4MAPPED(&p->target)) {
		to4->sin_family = AF_INET;
		to4->sin_port = htons(p->target_port);
		memcpy(&to4->sin_addr, p->target.s6_addr + 12, sizeof(to4->sin_addr));
		return sizeof(*to4);
	}
	to6->sin6_family = AF_INET6;
	to6->sin6_port = htons(p->target_port);
	to6->sin6_addr = p->target;
	return sizeof(*to6);
}
