/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports of a container. They are published on the endpoint that is its way out (endpoint_gateway).
 *
 * What holds a port that is wanted is told by name when it is a container of ours; anybody else is found by the bound socket.
 */
#include "engine/endpoint-ports.h"

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

/* Unspecified is both families. */
static int host_address(const ContainerPort *p, IpAddress *ret, Err *e)
{
	*ret = IP_V4_ANY;
	if (*p->host_ip && ip_parse(p->host_ip, ret) < 0)
		return err_new(e, ERR_INVALID,
			       "invalid host address \"%s\" for port %s: expected an IP address", p->host_ip,
			       p->port);
	return 0;
}

static int protocol_parse(const char *slash, uint8_t *ret)
{
	static const uint8_t all[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};

	for (size_t i = 0; i < ELEMENTSOF(all); i++)
		if (!slash || streq(slash + 1, network_protocol_name(all[i]))) {
			*ret = all[i];
			return 0;
		}
	return -EINVAL;
}

int port_parse(const ContainerPort *p, NetworkPort *ret, Err *e)
{
	_cleanup_free_ char *number = strndup(p->port, strcspn(p->port, "/"));
	uint16_t last;

	*ret = (NetworkPort){0};
	if (!number || port_range(number, &ret->container_port, &last) < 0 || ret->container_port == 0 ||
	    last != ret->container_port)
		return err_new(e, ERR_INVALID,
			       "invalid container port \"%s\": expected 1-65535[/tcp|udp|sctp]", p->port);
	if (protocol_parse(strchr(p->port, '/'), &ret->protocol) < 0)
		return err_new(e, ERR_INVALID, "invalid port \"%s\": unknown protocol: use tcp, udp or sctp",
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

		r = port_parse(&p, &parsed, e);
	}
	return r;
}

static bool host_has_ipv6(void)
{
	return access("/proc/sys/net/ipv6", F_OK) == 0;
}

static void add_port(NetworkPort *v, size_t *n, const NetworkPort *p, IpAddress at, const PortWays *w)
{
	v[*n] = *p;
	v[*n].host_address = at;
	if (w->routed[ip_index(at)])
		v[*n].host_port = v[*n].host_port_last = 0;
	++*n;
}

/* The proxy does not speak sctp. */
static bool is_way(const PortWays *w, int family, const NetworkPort *p)
{
	return w->there[family] || (w->proxied[family] && p->protocol != IPPROTO_SCTP);
}

int ports_expand(const ContainerPort *given, const PortWays *w, NetworkPort *v, size_t *n, Err *e)
{
	NetworkPort p;
	int family, r = port_parse(given, &p, e);

	if (r < 0)
		return r;
	if (str_empty(given->host_ip)) {
		if (is_way(w, IP_V4, &p))
			add_port(v, n, &p, w->binding, w);
		if (is_way(w, IP_V6, &p) && w->binding == IP_V4_ANY && host_has_ipv6())
			add_port(v, n, &p, IP_V6_ANY, w);
		return 0;
	}
	family = ip_index(p.host_address);
	if (!is_way(w, family, &p))
		return err_new(e, ERR_INVALID,
			       "port %s: it cannot be published on %s: the container has no %s on a network "
			       "with a way out",
			       given->port, given->host_ip, family == IP_V4 ? "IPv4" : "IPv6");
	add_port(v, n, &p, p.host_address, w);
	return 0;
}

static bool is_given(const ContainerHost *h, const char *port)
{
	for (size_t i = 0; i < h->n_ports; i++)
		if (streq(h->ports[i].port, port))
			return true;
	return false;
}

int ports_wanted(const Container *c, const PortWays *w, NetworkPort **ret, size_t *ret_n, Err *e)
{
	const ContainerHost *h = &c->config.host;
	size_t extra = h->publish_all_ports ? strv_len(c->config.exposed_ports) : 0, n = 0;
	NetworkPort *v = calloc((h->n_ports + extra) * IP_FAMILIES + 1, sizeof(*v));
	int r = v ? 0 : err_oom(e);

	for (size_t i = 0; r >= 0 && i < h->n_ports; i++)
		r = ports_expand(&h->ports[i], w, v, &n, e);
	for (size_t i = 0; r >= 0 && i < extra; i++) {
		ContainerPort p = {c->config.exposed_ports[i], (char *)"", (char *)""};

		if (!is_given(h, p.port))
			r = ports_expand(&p, w, v, &n, e);
	}
	if (r < 0) {
		free(v);
		return r;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

bool ports_meet(const NetworkPort *have, const NetworkPort *want)
{
	return have->protocol == want->protocol && have->host_port == want->host_port &&
	       want->host_port != 0 && ip_index(have->host_address) == ip_index(want->host_address) &&
	       (ip_is_any(have->host_address) || ip_is_any(want->host_address) ||
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

/* 0 if it is none of ours. */
static int taken_by_ours(Engine *en, const Container *c, const NetworkPort *ports, size_t n, Err *e)
{
	_cleanup_free_ char *holder = NULL;
	const NetworkPort *at;

	if (!find_holder(en, c, ports, n, &holder, &at))
		return 0;
	return err_new(
	    e, ERR_CONFLICT,
	    "Bind for %s failed: port is already allocated: port %u/%s is published by %s: stop it, "
	    "or publish another host port",
	    ip_port_text(at->host_address, at->host_port).s, at->host_port,
	    network_protocol_name(at->protocol), holder);
}

static int reserve(Engine *en, const Container *c, NetworkPort *ports, size_t n, int *fds, Err *e)
{
	Err first = {0};
	int r = network_ports_reserve(ports, n, fds, &first), ours = 0;

	if (r >= 0)
		return r;
	if (first.kind == ERR_CONFLICT)
		ours = taken_by_ours(en, c, ports, n, e);
	return ours < 0 ? ours : err_new_no(e, first.kind, first.no, "%s", err_msg(&first, r));
}

static bool is_one_number(const NetworkPort *p)
{
	return p->host_port != 0 && p->host_port_last <= p->host_port;
}

/* Every address of both families is told once. */
static bool is_told(const NetworkPort *told, const NetworkPort *p)
{
	return told && told->protocol == p->protocol && told->host_port == p->host_port &&
	       told->container_port == p->container_port;
}

static int warn_of_taken(Engine *en, Container *c, const NetworkPort *v, size_t n, char ***warnings)
{
	const NetworkPort *told = NULL;
	int failed = 0;

	for (size_t i = 0; failed >= 0 && i < n; i++) {
		Err err = {0};
		int r;

		if (!is_one_number(&v[i]) || is_told(told, &v[i]))
			continue;
		r = taken_by_ours(en, c, &v[i], 1, &err);
		if (r >= 0)
			r = network_port_probe(&v[i], &err);
		if (r >= 0)
			continue;
		told = &v[i];
		failed = strv_take(warnings, strf("A start would fail now: %s", err_msg(&err, r)));
	}
	return failed;
}

int ports_warn(Engine *en, Container *c, char ***warnings, Err *e)
{
	_cleanup_free_ NetworkPort *v = NULL;
	const ContainerEndpoint *ep;
	const char *arg;
	PortWays ways;
	size_t n = 0;

	if (c->config.host.n_ports == 0 || net_mode(c, &arg) != NET_BRIDGE)
		return 0;
	/* What is wrong with them is the start's to tell: networks may come until then. */
	if (ports_ways(en, c, &ways, &ep, NULL) < 0 || !ep || ports_wanted(c, &ways, &v, &n, NULL) < 0)
		return 0;
	return warn_of_taken(en, c, v, n, warnings) < 0 ? err_oom(e) : 0;
}

int ports_text(const NetworkPort *ports, size_t n, ContainerPublished **ret, Err *e)
{
	ContainerPublished *published = calloc(n + 1, sizeof(*published));
	bool oom = !published;

	for (size_t i = 0; !oom && i < n; i++) {
		published[i] = (ContainerPublished){
		    strf("%u/%s", ports[i].container_port, network_protocol_name(ports[i].protocol)),
		    strdup(ip_text(ports[i].host_address).s),
		    ports[i].host_port ? strf("%u", ports[i].host_port) : strdup(""),
		};
		oom = !published[i].port || !published[i].host_ip || !published[i].host_port;
	}
	*ret = published;
	return oom ? err_oom(e) : 0;
}

int ports_bind(Engine *en, const Container *c, const PortWays *w, NetworkPort *ports, size_t n, int *fds,
	       size_t *ret_n, Err *e)
{
	size_t first = 0, held = 0;
	int r = 0;

	while (r >= 0 && first < n) {
		bool routed = w->routed[ip_index(ports[first].host_address)];
		size_t last = first;

		while (last < n && w->routed[ip_index(ports[last].host_address)] == routed)
			last++;
		if (!routed) {
			r = reserve(en, c, ports + first, last - first, fds + held, e);
			if (r >= 0)
				held += last - first;
		}
		first = last;
	}
	*ret_n = held;
	return r;
}

static int reserve_on(Engine *en, Container *c, const PortWays *w, NetSetup *s, Err *e)
{
	ContainerPublished *published = NULL;
	NetworkPort *ports = NULL;
	size_t n = 0;
	int r = ports_wanted(c, w, &ports, &n, e);

	if (r < 0 || n == 0) {
		if (r >= 0)
			free(ports);
		return r;
	}
	s->hold_fds = calloc(n + NET_HOLD_MORE, sizeof(int));
	r = s->hold_fds ? ports_bind(en, c, w, ports, n, s->hold_fds, &s->n_hold_fds, e) : err_oom(e);
	if (r < 0) {
		free(ports);
		return r;
	}
	r = ports_text(ports, n, &published, e);
	pthread_mutex_lock(&c->state);
	free(c->ports);
	c->ports = ports;
	c->n_ports = n;
	c->published = published;
	c->n_published = published ? n : 0;
	pthread_mutex_unlock(&c->state);
	return r;
}

int ports_ways(Engine *en, Container *c, PortWays *ret, const ContainerEndpoint **ret_ep, Err *e)
{
	int r = 0;

	*ret = (PortWays){.binding = IP_V4_ANY};
	*ret_ep = NULL;
	for (int f = IP_FAMILIES - 1; r >= 0 && f >= 0; f--) {
		_cleanup_network_ Network *n = NULL;
		int i = endpoint_gateway(en, c, f);

		if (i < 0)
			continue;
		r = network_find(en, c->endpoints[i].network_id, &n, e);
		if (r < 0)
			break;
		/* There the container is a host by itself, whose ports are all open. */
		if (network_is_sublink(n)) {
			log_warn("container %.12s: its ports are not published: on network %s it is reached "
				 "at its own "
				 "addresses",
				 c->id, n->info.name);
			continue;
		}
		ret->there[f] = true;
		ret->routed[f] = n->options.gateway[f] == NETWORK_GATEWAY_ROUTED;
		ret->binding = f == IP_V4 ? n->options.host_binding : ret->binding;
		*ret_ep = &c->endpoints[i];
	}
	for (int f = 0; f < IP_FAMILIES; f++)
		ret->proxied[f] =
		    !en->options.no_userland_proxy && !ret->there[f] && ret->there[!f] && !ret->routed[!f];
	return r;
}

int ports_reserve(Engine *en, Container *c, NetSetup *s, Err *e)
{
	const ContainerEndpoint *ep;
	PortWays ways;
	int r;

	if (c->config.host.n_ports == 0 && !c->config.host.publish_all_ports)
		return 0;
	r = ports_ways(en, c, &ways, &ep, e);
	if (r < 0 || !ep)
		return r;
	return err_ctx(e, reserve_on(en, c, &ways, s, e),
		       "failed to set up container networking: driver failed programming external "
		       "connectivity on endpoint "
		       "%s (%s)",
		       c->name, ep->endpoint_id);
}

/* Those of one family, where they lead, and through what. */
typedef struct Publication {
	char bridge[NETWORK_IFNAME];
	IpAddress address;
	NetworkPort *ports;
	size_t n;
} Publication;

static void publication_done(Publication *p)
{
	free(p->ports);
}

static int publication_make(Engine *en, int family, const ContainerEndpoint *ep, const NetworkPort *ports,
			    size_t n_ports, Publication *ret, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	IpAddress addresses[IP_FAMILIES];
	int r = network_find(en, ep->network_id, &n, e);

	if (r < 0)
		return r;
	endpoint_addresses(ep, addresses);
	if (!addresses[family])
		return err_new(e, ERR_CONFLICT, "network %s: the container is not connected", ep->network);
	if (network_is_sublink(n))
		return 0;
	ret->ports = calloc(n_ports + 1, sizeof(*ret->ports));
	if (!ret->ports)
		return err_oom(e);
	for (size_t i = 0; i < n_ports; i++)
		if (ip_index(ports[i].host_address) == family)
			ret->ports[ret->n++] = ports[i];
	snprintf(ret->bridge, sizeof(ret->bridge), "%s", n->info.bridge);
	ret->address = addresses[family];
	return 0;
}

int ports_publish(Engine *en, Container *c, int family, const ContainerEndpoint *ep, Err *e)
{
	_cleanup_(publication_done) Publication p = {0};
	int r = publication_make(en, family, ep, c->ports, c->n_ports, &p, e);

	return r < 0 ? r : network_ports_publish(en->nethost, p.bridge, p.address, p.ports, p.n, e);
}

void ports_withdraw(Engine *en, Container *c, int family, const ContainerEndpoint *ep)
{
	_cleanup_(publication_done) Publication p = {0};
	Err err = {0};
	int r = publication_make(en, family, ep, c->ports, c->n_ports, &p, &err);

	if (r >= 0)
		r = network_ports_unpublish(en->nethost, p.bridge, p.address, p.ports, p.n, &err);
	if (r < 0)
		log_warn("container %.12s: unpublish ports: %s", c->id, err_msg(&err, r));
}

static int change_family(Engine *en, Container *c, int family, const PortList *old, const PortList *fresh,
			 Err *e)
{
	_cleanup_(publication_done) Publication from = {0}, to = {0};
	int i = endpoint_gateway(en, c, family), r;

	if (i < 0)
		return 0;
	r = publication_make(en, family, &c->endpoints[i], old->v, old->n, &from, e);
	if (r >= 0)
		r = publication_make(en, family, &c->endpoints[i], fresh->v, fresh->n, &to, e);
	if (r < 0 || (from.n == 0 && to.n == 0))
		return r;
	return network_ports_change(en->nethost, to.bridge, to.address, from.ports, from.n, to.ports, to.n,
				    e);
}

int ports_change(Engine *en, Container *c, const PortList *old, const PortList *fresh, Err *e)
{
	int r = 0;

	for (int f = 0; r >= 0 && f < IP_FAMILIES; f++)
		r = change_family(en, c, f, old, fresh, e);
	return r;
}

int ports_parse_text(const ContainerPublished *text, size_t n, PortList *ret)
{
	ret->v = calloc(n + 1, sizeof(*ret->v));
	for (size_t i = 0; ret->v && i < n; i++) {
		ContainerPort p = {text[i].port, text[i].host_ip, text[i].host_port};

		if (port_parse(&p, &ret->v[ret->n], NULL) >= 0)
			ret->n++;
	}
	return ret->v ? 0 : -ENOMEM;
}

void ports_load(Container *c)
{
	PortList loaded = {0};

	if (c->ports || c->n_published == 0 || ports_parse_text(c->published, c->n_published, &loaded) < 0)
		return;
	c->ports = loaded.v;
	c->n_ports = loaded.n;
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
	ports_unsettled_set(c, NULL, 0);
}
