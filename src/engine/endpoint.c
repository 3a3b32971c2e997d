/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's side of networking: from its network mode to a namespace with an address, published
 * ports and the three files in /etc.
 *
 * The namespace is made here and handed to the shim by descriptor; the veth lives as long as it does.
 * Host ports are held by bound sockets that the shim keeps, so they stay taken if irekod dies.
 */
#include "engine/engine-internal.h"

#include <arpa/inet.h>

void net_setup_done(NetSetup *n)
{
	close_fd(&n->netns_fd);
	for (size_t i = 0; i < n->n_port_fds; i++)
		close_fd(&n->port_fds[i]);
	free(n->port_fds);
	free(n->hostname_file);
	free(n->hosts_file);
	free(n->resolv_file);
	free(n->hostname);
	*n = (NetSetup){.netns_fd = -1};
}

typedef enum NetMode { NET_BRIDGE, NET_HOST, NET_NONE, NET_CONTAINER } NetMode;

/* Splits a network mode; *ret_arg is the network's or container's name inside `mode`. */
static NetMode net_mode(const Container *c, const char **ret_arg)
{
	const char *mode = c->config.host.network_mode, *of;

	*ret_arg = "bridge";
	if (c->config.network_disabled)
		return NET_NONE;
	if (str_empty(mode) || streq(mode, "default") || streq(mode, "bridge"))
		return NET_BRIDGE;
	if (streq(mode, "host"))
		return NET_HOST;
	if (streq(mode, "none"))
		return NET_NONE;
	of = str_after(mode, "container:");
	*ret_arg = of ?: mode;
	return of ? NET_CONTAINER : NET_BRIDGE;
}

/* ---- ports ---- */

static int port_number(const char *s, uint16_t *ret)
{
	int v, r = str_to_int(s, 0, 65535, &v);

	*ret = r < 0 ? 0 : (uint16_t)v;
	return r;
}

static int port_parse(const ContainerPort *p, NetworkPort *ret, Err *e)
{
	_cleanup_free_ char *number = strndup(p->port, strcspn(p->port, "/"));
	const char *proto = strchr(p->port, '/');
	struct in_addr a = {0};

	*ret = (NetworkPort){.udp = proto && streq(proto, "/udp")};
	if (!number || port_number(number, &ret->container_port) < 0 || ret->container_port == 0)
		return err_new(e, ERR_INVALID, "invalid container port \"%s\": expected 1-65535[/tcp|udp]",
			       p->port);
	if (proto && !streq(proto, "/tcp") && !ret->udp)
		return err_new(e, ERR_UNSUPPORTED, "port %s: protocol not offered: use tcp or udp", p->port);
	if (*p->host_port && port_number(p->host_port, &ret->host_port) < 0)
		return err_new(e, ERR_INVALID, "invalid host port \"%s\" for %s", p->host_port, p->port);
	if (*p->host_ip && !streq(p->host_ip, "::") && inet_pton(AF_INET, p->host_ip, &a) != 1)
		return err_new(e, ERR_INVALID, "invalid host address \"%s\" for port %s: expected IPv4",
			       p->host_ip, p->port);
	ret->host_address = ntohl(a.s_addr);
	return 0;
}

static int ports_wanted(const Container *c, NetworkPort **ret, size_t *ret_n, Err *e)
{
	const ContainerHost *h = &c->config.host;
	size_t extra = h->publish_all_ports ? strv_len(c->config.exposed_ports) : 0, n = 0;
	NetworkPort *v = calloc(h->n_ports + extra + 1, sizeof(*v));
	int r = v ? 0 : err_oom(e);

	for (size_t i = 0; r >= 0 && i < h->n_ports; i++)
		r = port_parse(&h->ports[i], &v[n++], e);
	for (size_t i = 0; r >= 0 && i < extra; i++) {
		ContainerPort p = {c->config.exposed_ports[i], (char *)"", (char *)""};
		bool given = false;

		for (size_t k = 0; k < h->n_ports; k++)
			given = given || streq(h->ports[k].port, p.port);
		if (!given)
			r = port_parse(&p, &v[n++], e);
	}
	if (r < 0) {
		free(v);
		return r;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

static int ports_reserve(Container *c, NetSetup *s, Err *e)
{
	NetworkPort *ports;
	size_t n;
	int r = ports_wanted(c, &ports, &n, e);

	if (r < 0)
		return r;
	s->port_fds = calloc(n + 1, sizeof(int));
	r = s->port_fds ? network_ports_reserve(ports, n, s->port_fds, e) : err_oom(e);
	if (r < 0) {
		free(ports);
		return r;
	}
	s->n_port_fds = n;

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
	pthread_mutex_lock(&c->state);
	free(c->ports);
	c->ports = ports;
	c->n_ports = n;
	c->published = published;
	c->n_published = published ? n : 0;
	pthread_mutex_unlock(&c->state);
	return oom ? err_oom(e) : 0;
}

/* ---- address and veth ---- */

/* Addresses that other containers hold on this network. */
static size_t addresses_used(Engine *en, const char *network_id, const Container *but, uint32_t **ret)
{
	uint32_t *v = NULL;
	size_t n = 0;
	Container *c, *tmp;
	struct in_addr a;

	pthread_mutex_lock(&en->lock);
	v = calloc(HASH_COUNT(en->by_id) + 1, sizeof(*v));
	HASH_ITER (hh, en->by_id, c, tmp) {
		if (!v || c == but)
			continue;
		pthread_mutex_lock(&c->state);
		if (c->n_endpoints > 0 && streq0(c->endpoints[0].network_id, network_id) &&
		    !str_empty(c->endpoints[0].address) &&
		    inet_pton(AF_INET, c->endpoints[0].address, &a) == 1)
			v[n++] = ntohl(a.s_addr);
		pthread_mutex_unlock(&c->state);
	}
	pthread_mutex_unlock(&en->lock);
	*ret = v;
	return n;
}

static const ContainerEndpointConfig *endpoint_config(const Container *c, const Network *n)
{
	for (size_t i = 0; i < c->config.n_endpoints; i++) {
		const char *name = c->config.endpoints[i].network;

		if (streq(name, n->info.name) || streq(name, n->info.id) ||
		    (n->info.builtin && streq(name, "default")))
			return &c->config.endpoints[i];
	}
	return NULL;
}

static int mac_parse(const char *s, uint8_t mac[6], Err *e)
{
	if (sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
		   &mac[5]) != 6)
		return err_new(e, ERR_INVALID, "invalid MAC address \"%s\": expected 02:42:ac:11:00:02", s);
	return 0;
}

static void set_text(char **field, const char *value)
{
	char *copy = strdup(value);

	if (copy) {
		free(*field);
		*field = copy;
	}
}

/* Chooses the address and enters it into the container under the network's lock, so that no other start takes it too. */
static int address_take(Engine *en, Container *c, Network *n, NetworkEndpoint *ep, Err *e)
{
	const ContainerEndpointConfig *asked = endpoint_config(c, n);
	_cleanup_free_ uint32_t *used = NULL;
	struct in_addr want = {0};
	size_t n_used;
	int r;

	if (asked && asked->ipv4_address && inet_pton(AF_INET, asked->ipv4_address, &want) != 1)
		return err_new(e, ERR_INVALID, "invalid IPv4 address: %s", asked->ipv4_address);
	pthread_mutex_lock(&n->life);
	n_used = addresses_used(en, n->info.id, c, &used);
	r = used ? network_address_choose(en->nethost, &n->subnet, used, n_used, ntohl(want.s_addr),
					  &ep->address, e)
		 : err_oom(e);
	if (r >= 0) {
		pthread_mutex_lock(&c->state);
		set_text(&c->endpoints[0].address, network_address_text(ep->address).s);
		pthread_mutex_unlock(&c->state);
		pthread_mutex_lock(&en->lock);
		n->users++;
		pthread_mutex_unlock(&en->lock);
	}
	pthread_mutex_unlock(&n->life);
	return r;
}

static int endpoint_entry(Container *c, const Network *n, Err *e)
{
	const ContainerEndpointConfig *asked = endpoint_config(c, n);
	ContainerEndpoint *ep = calloc(1, sizeof(*ep)), *old;
	char id[ID_LEN + 1];
	size_t n_old;

	if (!ep)
		return err_oom(e);
	id_random_hex(id, ID_LEN);
	*ep = (ContainerEndpoint){
	    .network = strdup(n->info.name),
	    .network_id = strdup(n->info.id),
	    .endpoint_id = strdup(id),
	    .address = strdup(""),
	    .gateway = strdup(""),
	    .mac = strdup(""),
	    .prefix = n->subnet.prefix,
	    .aliases = asked ? strv_dup(asked->aliases) : NULL,
	};
	pthread_mutex_lock(&c->state);
	old = c->endpoints;
	n_old = c->n_endpoints;
	c->endpoints = ep;
	c->n_endpoints = 1;
	pthread_mutex_unlock(&c->state);
	ContainerInfo garbage = {.endpoints = old, .n_endpoints = n_old};
	container_info_done(&garbage);
	return ep->network && ep->network_id && ep->endpoint_id && ep->address && ep->gateway && ep->mac
		   ? 0
		   : err_oom(e);
}

static int bridge_join(Engine *en, Container *c, const char *network, NetSetup *s, Err *e)
{
	const ContainerEndpointConfig *asked;
	NetworkEndpoint ep = {.container_if = "eth0"};
	Network *n;
	int r = network_find(en, network, &n, e);

	if (r >= 0)
		r = network_realize(en, n, e);
	if (r >= 0)
		r = endpoint_entry(c, n, e);
	if (r >= 0)
		r = address_take(en, c, n, &ep, e);
	if (r < 0)
		return r;
	asked = endpoint_config(c, n);
	const char *mac = asked && asked->mac_address ? asked->mac_address : c->config.mac_address;
	if (!str_empty(mac) && (r = mac_parse(mac, ep.mac, e)) < 0)
		return r;
	snprintf(ep.host_if, sizeof(ep.host_if), "veth%.8s", c->endpoints[0].endpoint_id);
	ep.bridge = n->info.bridge;
	ep.prefix = n->subnet.prefix;
	ep.gateway = n->info.internal ? 0 : n->subnet.gateway;
	r = network_endpoint_add(en->nethost, s->netns_fd, &ep, e);
	if (r < 0)
		return r;

	char mac_text[18];
	snprintf(mac_text, sizeof(mac_text), "%02x:%02x:%02x:%02x:%02x:%02x", ep.mac[0], ep.mac[1], ep.mac[2],
		 ep.mac[3], ep.mac[4], ep.mac[5]);
	pthread_mutex_lock(&c->state);
	set_text(&c->endpoints[0].mac, mac_text);
	set_text(&c->endpoints[0].gateway, n->info.internal ? "" : n->info.gateway);
	c->endpoints[0].prefix = n->subnet.prefix;
	pthread_mutex_unlock(&c->state);
	return ports_reserve(c, s, e);
}

/* ---- the three files ---- */

static int replace_file(const char *dir, const char *name, const char *text, char **ret_path, Err *e)
{
	_cleanup_close_ int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = dirfd < 0 ? -errno : file_replace_at(dirfd, name, text, strlen(text), 0644, false);

	if (r < 0)
		return err_sys(e, r, "write %s/%s", dir, name);
	*ret_path = strf("%s/%s", dir, name);
	return *ret_path ? 0 : err_oom(e);
}

/* "name:host-gateway" gets the gateway's address. */
static int extra_hosts(const Container *c, const char *gateway, char ***ret)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && c->config.host.extra_hosts && c->config.host.extra_hosts[i]; i++) {
		const char *h = c->config.host.extra_hosts[i], *colon = strpbrk(h, ":=");

		if (colon && streq(colon + 1, "host-gateway"))
			r = strv_take(ret, strf("%.*s:%s", (int)(colon - h), h,
						str_empty(gateway) ? "127.0.0.1" : gateway));
		else
			r = strv_add(ret, h);
	}
	return r;
}

static int files_write(Engine *en, Container *c, bool host_mode, NetSetup *s, Err *e)
{
	const ContainerHost *h = &c->config.host;
	const char *address = c->n_endpoints ? c->endpoints[0].address : NULL;
	const char *gateway = c->n_endpoints ? c->endpoints[0].gateway : NULL;
	_cleanup_free_ char *dir = container_data_dir(en, c), *resolv = NULL, *hosts = NULL, *line = NULL;
	_cleanup_strv_ char **extra = NULL;
	int r;

	line = strf("%s\n", s->hostname);
	if (!dir || !line || extra_hosts(c, gateway, &extra) < 0)
		return err_oom(e);
	r = network_resolv_conf(h->dns, h->dns_search, h->dns_options, host_mode, &resolv, e);
	if (r >= 0)
		r = network_hosts_file(str_empty(address) ? NULL : address, s->hostname, c->config.domainname,
				       extra, &hosts, e);
	if (r >= 0)
		r = replace_file(dir, "resolv.conf", resolv, &s->resolv_file, e);
	if (r >= 0)
		r = replace_file(dir, "hosts", hosts, &s->hosts_file, e);
	if (r >= 0)
		r = replace_file(dir, "hostname", line, &s->hostname_file, e);
	return r;
}

static int container_join(Engine *en, Container *c, const char *ref, NetSetup *s, Err *e)
{
	_cleanup_container_ Container *other = NULL;
	_cleanup_free_ char *path = NULL, *dir = NULL;
	int r = container_find(en, ref, &other, e);
	pid_t pid;

	if (r < 0)
		return r;
	if (other == c)
		return err_new(e, ERR_INVALID, "cannot join own network");
	pthread_mutex_lock(&other->state);
	bool restarting = other->status == CONTAINER_RESTARTING;
	pid = other->status == CONTAINER_RUNNING || other->status == CONTAINER_PAUSED ? other->pid : 0;
	pthread_mutex_unlock(&other->state);
	if (restarting)
		return err_new(e, ERR_CONFLICT,
			       "Container %s is restarting, wait until the container is running", other->id);
	if (pid <= 0)
		return err_new(e, ERR_CONFLICT, "cannot join network of a non running container: %s",
			       other->id);
	path = strf("/proc/%d/ns/net", pid);
	dir = container_data_dir(en, other);
	if (!path || !dir)
		return err_oom(e);
	s->netns_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->netns_fd < 0)
		return err_sys(e, errno, "open the network namespace of container %s", ref);
	s->hostname_file = strf("%s/hostname", dir);
	s->hosts_file = strf("%s/hosts", dir);
	s->resolv_file = strf("%s/resolv.conf", dir);
	free(s->hostname);
	s->hostname = strdup(other->config.hostname ?: "");
	return s->hostname_file && s->hosts_file && s->resolv_file && s->hostname ? 0 : err_oom(e);
}

int endpoint_setup(Engine *en, Container *c, NetSetup *s, Err *e)
{
	const char *arg;
	NetMode mode = net_mode(c, &arg);
	int r = 0;

	s->netns_fd = -1;
	s->hostname = strdup(str_empty(c->config.hostname) ? "" : c->config.hostname);
	if (!s->hostname)
		return err_oom(e);
	if (mode == NET_CONTAINER)
		return container_join(en, c, arg, s, e);
	if (mode == NET_HOST || streq0(c->config.host.uts_mode, "host")) {
		char host[256] = "localhost";

		if (mode == NET_HOST)
			s->host = true;
		if (str_empty(c->config.hostname) && gethostname(host, sizeof(host) - 1) == 0) {
			free(s->hostname);
			s->hostname = strdup(host);
		}
	}
	if (mode != NET_HOST)
		r = network_namespace_new(&s->netns_fd, e);
	if (r >= 0 && mode == NET_BRIDGE)
		r = bridge_join(en, c, arg, s, e);
	if (r >= 0)
		r = files_write(en, c, mode == NET_HOST, s, e);
	return r;
}

static bool endpoint_bridge(Engine *en, Container *c, char bridge[NETWORK_IFNAME], uint32_t *ret_address)
{
	struct in_addr a;
	Network *n;

	if (c->n_endpoints == 0 || str_empty(c->endpoints[0].address) ||
	    inet_pton(AF_INET, c->endpoints[0].address, &a) != 1 ||
	    network_find(en, c->endpoints[0].network_id, &n, NULL) < 0)
		return false;
	snprintf(bridge, NETWORK_IFNAME, "%s", n->info.bridge);
	*ret_address = ntohl(a.s_addr);
	return true;
}

int endpoint_publish(Engine *en, Container *c, Err *e)
{
	char bridge[NETWORK_IFNAME];
	uint32_t address;

	if (c->n_ports == 0 || !endpoint_bridge(en, c, bridge, &address))
		return 0;
	return network_ports_publish(en->nethost, bridge, address, c->ports, c->n_ports, e);
}

/* After an adoption the ports are known only as text. */
static void ports_from_published(Container *c)
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

void endpoint_teardown(Engine *en, Container *c)
{
	char bridge[NETWORK_IFNAME];
	ContainerInfo garbage = {0};
	Err err = {0};
	uint32_t address;
	Network *n;
	int r = 0;

	ports_from_published(c);
	if (endpoint_bridge(en, c, bridge, &address)) {
		if (c->n_ports > 0)
			r = network_ports_unpublish(en->nethost, bridge, address, c->ports, c->n_ports, &err);
		if (r < 0)
			log_warn("container %.12s: unpublish ports: %s", c->id, err_msg(&err, r));
		/* The veth goes in the background with its namespace, which nobody holds any more; asking the kernel to
		 * remove it now would wait 15 ms for RCU. */
		if (network_find(en, c->endpoints[0].network_id, &n, NULL) >= 0) {
			pthread_mutex_lock(&en->lock);
			if (n->users > 0)
				n->users--;
			pthread_mutex_unlock(&en->lock);
		}
	}
	pthread_mutex_lock(&c->state);
	free(c->ports);
	c->ports = NULL;
	c->n_ports = 0;
	garbage.published = c->published;
	garbage.n_published = c->n_published;
	c->published = NULL;
	c->n_published = 0;
	if (c->n_endpoints > 0) {
		set_text(&c->endpoints[0].address, "");
		set_text(&c->endpoints[0].gateway, "");
		set_text(&c->endpoints[0].mac, "");
	}
	pthread_mutex_unlock(&c->state);
	container_info_done(&garbage);
}
