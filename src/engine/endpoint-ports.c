/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports of a container. They are published on the endpoint that is its way out (endpoint_gateway).
 *
 * What holds a port that is wanted is told by name when it is a container of ours; anybody else is found by the bound socket.
 */
#include "engine/engine-internal.h"

#include <arpa/inet.h>

static int port_range(const char *s, uint16_t *ret_first, uint16_t *ret_last)
{
	_cleanup_free_ char *first = strndup(s, strcspn(s, "-"));
	const char *dash = strchr(s, '-');
	int a, b;

	if (!first || str_to_int(first, 0, 65535, &a) < 0)
		return -EINVAL;
	b = a;
	if (dash && (str_to_int(dash + 1, 1, 65535, &b) < 0 || a == 0 || b < a))
		return -EINVAL;
	*ret_first = (uint16_t)a;
	*ret_last = (uint16_t)b;
	return 0;
}

static int host_address(const ContainerPort *p, uint32_t *ret, Err *e)
{
	struct in_addr a = {0};
	struct in6_addr a6;

	if (*p->host_ip && inet_pton(AF_INET, p->host_ip, &a) != 1) {
		if (inet_pton(AF_INET6, p->host_ip, &a6) == 1)
			return err_new(
			    e, ERR_UNSUPPORTED,
			    "port %s: publishing on the IPv6 address %s is not offered: use an IPv4 address",
			    p->port, p->host_ip);
		return err_new(e, ERR_INVALID, "invalid host address \"%s\" for port %s: expected IPv4",
			       p->host_ip, p->port);
	}
	*ret = ntohl(a.s_addr);
	return 0;
}

static int port_parse(const ContainerPort *p, NetworkPort *ret, Err *e)
{
	_cleanup_free_ char *number = strndup(p->port, strcspn(p->port, "/"));
	const char *proto = strchr(p->port, '/');
	uint16_t last;

	*ret = (NetworkPort){.udp = proto && streq(proto, "/udp")};
	if (!number || port_range(number, &ret->container_port, &last) < 0 || ret->container_port == 0 ||
	    last != ret->container_port)
		return err_new(e, ERR_INVALID, "invalid container port \"%s\": expected 1-65535[/tcp|udp]",
			       p->port);
	if (proto && streq(proto, "/sctp"))
		return err_new(e, ERR_UNSUPPORTED, "port %s: protocol sctp is not offered: use tcp or udp",
			       p->port);
	if (proto && !streq(proto, "/tcp") && !ret->udp)
		return err_new(e, ERR_INVALID, "invalid port \"%s\": unknown protocol: use tcp or udp",
			       p->port);
	if (*p->host_port && port_range(p->host_port, &ret->host_port, &ret->host_port_last) < 0)
		return err_new(e, ERR_INVALID, "invalid port specification: \"%s\" for %s", p->host_port,
			       p->port);
	return host_address(p, &ret->host_address, e);
}

int ports_check(const ContainerConfig *k, Err *e)
{
	NetworkPort parsed;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < k->host.n_ports; i++)
		r = port_parse(&k->host.ports[i], &parsed, e);
	for (size_t i = 0; r >= 0 && k->exposed_ports && k->exposed_ports[i]; i++) {
		ContainerPort p = {k->exposed_ports[i], (char *)"", (char *)""};
		bool sctp = str_ends(p.port, "/sctp");

		/* Merely exposed it is a word. */
		if (!sctp || k->host.publish_all_ports)
			r = port_parse(&p, &parsed, e);
	}
	return r;
}

static int ports_wanted(const Container *c, uint32_t binding, NetworkPort **ret, size_t *ret_n, Err *e)
{
	const ContainerHost *h = &c->config.host;
	size_t extra = h->publish_all_ports ? strv_len(c->config.exposed_ports) : 0, n = 0;
	NetworkPort *v = calloc(h->n_ports + extra + 1, sizeof(*v));
	int r = v ? 0 : err_oom(e);

	for (size_t i = 0; r >= 0 && i < h->n_ports; i++) {
		r = port_parse(&h->ports[i], &v[n], e);
		if (r >= 0 && str_empty(h->ports[i].host_ip))
			v[n].host_address = binding;
		n++;
	}
	for (size_t i = 0; r >= 0 && i < extra; i++) {
		ContainerPort p = {c->config.exposed_ports[i], (char *)"", (char *)""};
		bool given = false;

		for (size_t k = 0; k < h->n_ports; k++)
			given = given || streq(h->ports[k].port, p.port);
		if (given)
			continue;
		r = port_parse(&p, &v[n], e);
		v[n++].host_address = binding;
	}
	if (r < 0) {
		free(v);
		return r;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

static bool ports_meet(const NetworkPort *have, const NetworkPort *want)
{
	return have->udp == want->udp && have->host_port == want->host_port && want->host_port != 0 &&
	       (have->host_address == 0 || want->host_address == 0 ||
		have->host_address == want->host_address);
}

/* The container that has published one of them. */
static bool find_holder(Engine *en, const Container *but, const NetworkPort *want, size_t n, char **ret,
			const NetworkPort **ret_port)
{
	Container *c, *tmp;
	bool found = false;

	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->by_id, c, tmp) {
		if (found || c == but)
			continue;
		pthread_mutex_lock(&c->state);
		for (size_t i = 0; !found && i < c->n_ports; i++)
			for (size_t k = 0; !found && k < n; k++)
				if (want[k].host_port == want[k].host_port_last &&
				    ports_meet(&c->ports[i], &want[k])) {
					*ret = strf("container \"%s\" (%.12s)", c->name, c->id);
					*ret_port = &want[k];
					found = *ret != NULL;
				}
		pthread_mutex_unlock(&c->state);
	}
	pthread_mutex_unlock(&en->lock);
	return found;
}

static int reserve(Engine *en, const Container *c, NetworkPort *ports, size_t n, int *fds, Err *e)
{
	_cleanup_free_ char *holder = NULL;
	const NetworkPort *at;
	Err first = {0};
	int r = network_ports_reserve(ports, n, fds, &first);

	if (r >= 0)
		return r;
	if (first.kind == ERR_CONFLICT && find_holder(en, c, ports, n, &holder, &at))
		return err_new(e, ERR_CONFLICT,
			       "Bind for %s:%u failed: port is already allocated: port %u/%s is published by "
			       "%s: stop it, "
			       "or publish another host port",
			       network_address_text(at->host_address).s, at->host_port, at->host_port,
			       at->udp ? "udp" : "tcp", holder);
	return err_new_no(e, first.kind, first.no, "%s", err_msg(&first, r));
}

static int published_make(const NetworkPort *ports, size_t n, ContainerPublished **ret, Err *e)
{
	ContainerPublished *published = calloc(n + 1, sizeof(*published));
	bool oom = !published;

	for (size_t i = 0; !oom && i < n; i++) {
		published[i] = (ContainerPublished){
		    strf("%u/%s", ports[i].container_port, ports[i].udp ? "udp" : "tcp"),
		    strdup(network_address_text(ports[i].host_address).s),
		    strf("%u", ports[i].host_port),
		};
		oom = !published[i].port || !published[i].host_ip || !published[i].host_port;
	}
	*ret = published;
	return oom ? err_oom(e) : 0;
}

static int reserve_at(Engine *en, Container *c, uint32_t binding, NetSetup *s, Err *e)
{
	ContainerPublished *published = NULL;
	NetworkPort *ports;
	size_t n;
	int r = ports_wanted(c, binding, &ports, &n, e);

	if (r < 0 || n == 0) {
		if (r >= 0)
			free(ports);
		return r;
	}
	s->hold_fds = calloc(n + NET_HOLD_MORE, sizeof(int));
	r = s->hold_fds ? reserve(en, c, ports, n, s->hold_fds, e) : err_oom(e);
	if (r < 0) {
		free(ports);
		return r;
	}
	s->n_hold_fds = n;
	r = published_make(ports, n, &published, e);
	pthread_mutex_lock(&c->state);
	free(c->ports);
	c->ports = ports;
	c->n_ports = n;
	c->published = published;
	c->n_published = published ? n : 0;
	pthread_mutex_unlock(&c->state);
	return r;
}

int ports_reserve(Engine *en, Container *c, NetSetup *s, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	const ContainerEndpoint *ep;
	int gateway = endpoint_gateway(en, c), r;

	if (gateway < 0 || (c->config.host.n_ports == 0 && !c->config.host.publish_all_ports))
		return 0;
	ep = &c->endpoints[gateway];
	r = network_find(en, ep->network_id, &n, e);
	if (r >= 0)
		r = reserve_at(en, c, n->options.host_binding, s, e);
	return err_ctx(e, r,
		       "failed to set up container networking: driver failed programming external "
		       "connectivity on endpoint "
		       "%s (%s)",
		       c->name, ep->endpoint_id);
}

static int bridge_of(Engine *en, const ContainerEndpoint *ep, char bridge[NETWORK_IFNAME],
		     uint32_t *ret_address, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	struct in_addr a;
	int r = network_find(en, ep->network_id, &n, e);

	if (r < 0)
		return r;
	if (str_empty(ep->address) || inet_pton(AF_INET, ep->address, &a) != 1)
		return err_new(e, ERR_CONFLICT, "network %s: the container is not connected", ep->network);
	snprintf(bridge, NETWORK_IFNAME, "%s", n->info.bridge);
	*ret_address = ntohl(a.s_addr);
	return 0;
}

int ports_publish(Engine *en, Container *c, const ContainerEndpoint *ep, Err *e)
{
	char bridge[NETWORK_IFNAME];
	uint32_t address;
	int r = bridge_of(en, ep, bridge, &address, e);

	return r < 0 ? r : network_ports_publish(en->nethost, bridge, address, c->ports, c->n_ports, e);
}

void ports_load(Container *c)
{
	if (c->ports || c->n_published == 0)
		return;
	c->ports = calloc(c->n_published, sizeof(*c->ports));
	for (size_t i = 0; c->ports && i < c->n_published; i++) {
		ContainerPort p = {c->published[i].port, c->published[i].host_ip, c->published[i].host_port};

		if (port_parse(&p, &c->ports[c->n_ports], NULL) >= 0)
			c->n_ports++;
	}
}

void ports_withdraw(Engine *en, Container *c, const ContainerEndpoint *ep)
{
	char bridge[NETWORK_IFNAME];
	uint32_t address;
	Err err = {0};
	int r = 0;

	if (c->n_ports > 0)
		r = bridge_of(en, ep, bridge, &address, &err);
	if (r >= 0 && c->n_ports > 0)
		r = network_ports_unpublish(en->nethost, bridge, address, c->ports, c->n_ports, &err);
	if (r < 0)
		log_warn("container %.12s: unpublish ports: %s", c->id, err_msg(&err, r));
}

void ports_release(Container *c)
{
	ContainerInfo garbage = {0};

	pthread_mutex_lock(&c->state);
	free(c->ports);
	c->ports = NULL;
	c->n_ports = 0;
	garbage.published = c->published;
	garbage.n_published = c->n_published;
	c->published = NULL;
	c->n_published = 0;
	pthread_mutex_unlock(&c->state);
	container_info_done(&garbage);
}
