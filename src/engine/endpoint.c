/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's side of networking: from what was asked for to interfaces in a namespace.
 *
 * config.endpoints says what was asked for, one entry a network; `endpoints` has an entry for each of them, in the order in which interfaces
 * are made, whose address is empty unless the container runs. An address in there is one taken from the network's pool, and the network
 * counts it as a user: that is what endpoint_leave gives back.
 *
 * The namespace is made here and handed to the shim by descriptor; the veths live as long as it does.
 * Host ports are held by bound sockets that the shim keeps, so they stay taken if irekod dies.
 */
#include "engine/pod-internal.h"

void net_setup_done(NetSetup *n)
{
	close_fd(&n->netns_fd);
	close_fd(&n->made_fd);
	for (size_t i = 0; i < n->n_hold_fds; i++)
		close_fd(&n->hold_fds[i]);
	free(n->hold_fds);
	free(n->hostname_file);
	free(n->hosts_file);
	free(n->resolv_file);
	free(n->hostname);
	*n = (NetSetup){.netns_fd = -1, .made_fd = -1};
}

NetMode net_mode(const Container *c, const char **ret_arg)
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
	if (container_is_sandbox(c) && streq(mode, "pod"))
		return NET_POD;
	of = str_after(mode, "container:");
	*ret_arg = of ?: mode;
	return of ? NET_CONTAINER : NET_BRIDGE;
}

/* What it was made with, or the node's, with whose network or name it runs; "" if there is none. NULL without memory. */
static char *own_hostname(const Container *c)
{
	char node[256] = "localhost";
	const char *arg;

	if (!str_empty(c->config.hostname))
		return strdup(c->config.hostname);
	if ((net_mode(c, &arg) != NET_HOST && !streq0(c->config.host.uts_mode, "host")) ||
	    gethostname(node, sizeof(node) - 1) != 0)
		return strdup("");
	return strdup(node);
}

char *endpoint_hostname(Engine *en, const Container *c)
{
	_cleanup_container_ Container *other = NULL;
	const char *of;

	if (!str_empty(c->config.hostname) || net_mode(c, &of) != NET_CONTAINER)
		return own_hostname(c);
	/* It may be gone, and its name with it. */
	return container_find(en, of, &other, NULL) < 0 ? strdup("") : own_hostname(other);
}

/* ---- one network ---- */

void endpoint_event(Engine *en, const Container *c, const ContainerEndpoint *ep, const char *action)
{
	_cleanup_network_ Network *n = NULL;
	const char *driver = network_find(en, ep->network_id, &n, NULL) >= 0 ? n->info.driver : "bridge";
	_cleanup_free_ char *container = strf("container=%s", c->id), *name = strf("name=%s", ep->network),
			    *of = strf("type=%s", driver);
	char *attributes[] = {container, name, of, NULL};

	if (container && name && of)
		engine_event(en, "network", action, ep->network_id, attributes);
}

void endpoint_host_if(const ContainerEndpoint *ep, char ret[NETWORK_IFNAME])
{
	snprintf(ret, NETWORK_IFNAME, "veth%.8s", ep->endpoint_id);
}

static int set_text(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static void clear_text(char *s)
{
	if (s)
		*s = '\0';
}

bool endpoint_connected(const ContainerEndpoint *ep)
{
	return !str_empty(ep->address) || !str_empty(ep->address6);
}

void endpoint_addresses(const ContainerEndpoint *ep, IpAddress ret[IP_FAMILIES])
{
	if (str_empty(ep->address) || ip_parse(ep->address, &ret[IP_V4]) < 0)
		ret[IP_V4] = 0;
	if (str_empty(ep->address6) || ip_parse(ep->address6, &ret[IP_V6]) < 0)
		ret[IP_V6] = 0;
}

static bool interface_used(const Container *c, size_t but, const char *name)
{
	for (size_t i = 0; i < c->n_endpoints; i++)
		if (i != but && endpoint_connected(&c->endpoints[i]) &&
		    streq0(c->endpoints[i].interface, name))
			return true;
	return false;
}

static void choose_interface(const Container *c, size_t i, const Network *n,
			     const ContainerEndpointConfig *asked, char ret[NETWORK_IFNAME])
{
	const char *own = asked ? strv_env_get(asked->driver_opts, ENDPOINT_IFNAME) : NULL;

	if (own) {
		snprintf(ret, NETWORK_IFNAME, "%s", own);
		return;
	}
	for (unsigned k = 0; k < 1000; k++) {
		snprintf(ret, NETWORK_IFNAME, "%.10s%u", n->options.interface, k);
		if (!interface_used(c, i, ret))
			return;
	}
}

/* Whose gateway is said, in the texts that clients see: nobody's, where there is no way out. */
static const char *gateway_text(const Network *n, int family)
{
	const char *text = family == IP_V4 ? n->info.gateway : n->info.gateway6;

	return n->info.internal || !network_has(n, family) ? "" : text;
}

/* Enters what has become of it. */
static int enter(Container *c, size_t i, const Network *n, const NetworkEndpoint *made, const char *id,
		 Err *e)
{
	ContainerEndpoint *ep = &c->endpoints[i];
	const NetworkEndpointIp *four = &made->ip[IP_V4], *six = &made->ip[IP_V6];
	char mac[18];
	bool oom;

	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", made->mac[0], made->mac[1], made->mac[2],
		 made->mac[3], made->mac[4], made->mac[5]);
	pthread_mutex_lock(&c->state);
	oom = set_text(&ep->network_id, n->info.id) < 0 || set_text(&ep->endpoint_id, id) < 0 ||
	      set_text(&ep->mac, mac) < 0 || set_text(&ep->interface, made->container_if) < 0 ||
	      set_text(&ep->gateway, gateway_text(n, IP_V4)) < 0 ||
	      set_text(&ep->gateway6, gateway_text(n, IP_V6)) < 0 ||
	      set_text(&ep->address6, six->address ? ip_text(six->address).s : "") < 0 ||
	      set_text(&ep->address, four->address ? ip_text(four->address).s : "") < 0;
	if (oom) {
		clear_text(ep->address);
		clear_text(ep->address6);
	}
	ep->prefix = four->prefix;
	ep->prefix6 = six->prefix;
	pthread_mutex_unlock(&c->state);
	return oom ? err_oom(e) : 0;
}

/* What an endpoint on the network has for a way out, in a family. */
static void fill_route(const Network *n, int family, NetworkEndpointIp *ret)
{
	if (n->info.internal)
		return;
	ret->direct = n->options.layer3;
	ret->gateway = n->options.layer3 ? 0 : n->subnet[family].gateway;
}

void endpoint_route(Engine *en, const ContainerEndpoint *ep, int family, NetworkEndpointIp *ret)
{
	_cleanup_network_ Network *n = NULL;

	*ret = (NetworkEndpointIp){0};
	if (network_find(en, ep->network_id, &n, NULL) >= 0)
		fill_route(n, family, ret);
}

static void fill_ip(const Network *n, const IpAddress address[IP_FAMILIES], const bool way_out[IP_FAMILIES],
		    NetworkEndpoint *ep)
{
	for (int f = 0; f < IP_FAMILIES; f++) {
		if (!address[f])
			continue;
		ep->ip[f] = (NetworkEndpointIp){.address = address[f], .prefix = n->subnet[f].prefix};
		if (way_out[f])
			fill_route(n, f, &ep->ip[f]);
	}
}

static int interface_remove(Engine *en, const Network *n, const ContainerEndpoint *ep, int netns_fd, Err *e)
{
	char host_if[NETWORK_IFNAME];

	if (n && network_is_sublink(n))
		return network_interface_remove(netns_fd, ep->interface, e);
	endpoint_host_if(ep, host_if);
	return network_endpoint_remove(en->nethost, host_if, e);
}

static int join_network(Engine *en, Container *c, size_t i, Network *n, int netns_fd,
			const bool way_out[IP_FAMILIES], Err *e)
{
	const ContainerEndpointConfig *asked = endpoint_config_find(&c->config, c->endpoints[i].network);
	_cleanup_strv_ char **sysctls = NULL;
	char interface[NETWORK_IFNAME], id[ID_LEN + 1];
	ContainerEndpoint fresh = {.endpoint_id = id};
	NetworkEndpoint ep = {.container_if = interface, .bridge = n->info.bridge};
	NetworkSublink sub = {.parent = n->options.parent,
			      .ipvlan = streq(n->info.driver, "ipvlan"),
			      .mode = n->options.mode,
			      .flags = n->options.flags};
	IpAddress want[IP_FAMILIES], has[IP_FAMILIES];
	int r = endpoint_wishes(n, asked, &ep, want, &sysctls, e);

	if (r >= 0)
		r = network_attach(en, n, want, has, e);
	if (r < 0)
		return r;
	id_random_hex(id, ID_LEN);
	endpoint_host_if(&fresh, ep.host_if);
	choose_interface(c, i, n, asked, interface);
	fill_ip(n, has, way_out, &ep);
	ep.neighbours = network_users(en, n);
	ep.sub = network_is_sublink(n) ? &sub : NULL;
	ep.mtu = n->options.mtu;
	r = network_endpoint_add(en->nethost, netns_fd, &ep, e);
	if (r >= 0) {
		r = enter(c, i, n, &ep, id, e);
		fresh.interface = interface;
		if (r < 0)
			(void)interface_remove(en, n, &fresh, netns_fd, NULL);
	}
	if (r < 0)
		network_detach(en, n, has);
	return r;
}

int endpoint_join(Engine *en, Container *c, size_t i, int netns_fd, const bool way_out[IP_FAMILIES], Err *e)
{
	static const ContainerEndpointConfig nothing;
	const ContainerEndpointConfig *asked = endpoint_config_find(&c->config, c->endpoints[i].network);
	_cleanup_network_ Network *n = NULL;
	int r = network_find(en, c->endpoints[i].network, &n, e);

	if (r >= 0)
		r = endpoint_config_check(n, asked ?: &nothing, e);
	if (r >= 0)
		r = join_network(en, c, i, n, netns_fd, way_out, e);
	if (r >= 0)
		endpoint_event(en, c, &c->endpoints[i], "connect");
	return r;
}

static void clear(Container *c, ContainerEndpoint *ep)
{
	pthread_mutex_lock(&c->state);
	clear_text(ep->address);
	clear_text(ep->gateway);
	clear_text(ep->address6);
	clear_text(ep->gateway6);
	clear_text(ep->mac);
	clear_text(ep->endpoint_id);
	clear_text(ep->interface);
	ep->prefix = ep->prefix6 = 0;
	pthread_mutex_unlock(&c->state);
}

void endpoint_leave(Engine *en, Container *c, size_t i, int netns_fd)
{
	ContainerEndpoint *ep = &c->endpoints[i];
	_cleanup_network_ Network *n = NULL;
	IpAddress address[IP_FAMILIES];
	Err err = {0};

	if (!endpoint_connected(ep))
		return;
	(void)network_find(en, ep->network_id, &n, NULL);
	/* Else the interface goes in the background with its namespace, which nobody holds any more; asking the kernel to remove
	 * it now would wait 15 ms for RCU. */
	if (netns_fd >= 0) {
		int r = interface_remove(en, n, ep, netns_fd, &err);

		if (r < 0)
			log_warn("container %.12s: disconnect from network %s: %s", c->id, ep->network,
				 err_msg(&err, r));
	}
	endpoint_addresses(ep, address);
	if (n)
		network_detach(en, n, address);
	endpoint_event(en, c, ep, "disconnect");
	clear(c, ep);
}

/* A network without a way out of that family is no candidate. */
static bool is_way_out(const Network *n, int family)
{
	return !n->info.internal && !n->info.config_only && network_is_joined(n) && network_has(n, family) &&
	       n->options.gateway[family] != NETWORK_GATEWAY_ISOLATED;
}

/* The highest priority, then the first name. */
int endpoint_gateway(Engine *en, Container *c, int family)
{
	int64_t best_priority = 0;
	int best = -1;

	for (size_t i = 0; i < c->n_endpoints; i++) {
		_cleanup_network_ Network *n = NULL;
		const ContainerEndpoint *ep = &c->endpoints[i];
		const ContainerEndpointConfig *asked = endpoint_config_find(&c->config, ep->network);
		int64_t priority = asked ? asked->gw_priority : 0;

		if (network_find(en, ep->network, &n, NULL) < 0 || !is_way_out(n, family))
			continue;
		if (best < 0 || priority > best_priority ||
		    (priority == best_priority && strcmp(ep->network, c->endpoints[best].network) < 0)) {
			best = (int)i;
			best_priority = priority;
		}
	}
	return best;
}

/* ---- a container's start ---- */

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
	/* Of the host's network there is nothing to open. */
	s->host = container_is_member(c) && streq0(other->config.host.network_mode, "host");
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
	s->hostname = own_hostname(other);
	return s->hostname_file && s->hosts_file && s->resolv_file && s->hostname ? 0 : err_oom(e);
}

static int join_all(Engine *en, Container *c, NetSetup *s, Err *e)
{
	int r = 0, gateway[IP_FAMILIES];

	/* Made by an older version, or connected to nothing any more. */
	if (c->n_endpoints != c->config.n_endpoints || c->config.n_endpoints == 0)
		r = endpoints_plan(en, c, e);
	for (int f = 0; f < IP_FAMILIES; f++)
		gateway[f] = endpoint_gateway(en, c, f);
	for (size_t i = 0; r >= 0 && i < c->n_endpoints; i++) {
		const bool way_out[IP_FAMILIES] = {(int)i == gateway[IP_V4], (int)i == gateway[IP_V6]};

		r = endpoint_join(en, c, i, s->netns_fd, way_out, e);
	}
	if (r >= 0)
		r = ports_reserve(en, c, s, e);
	if (r >= 0)
		r = names_open(en, c, s, e);
	return r;
}

int endpoint_prepare(Engine *en, Container *c, NetSetup *s, Err *e)
{
	const char *arg;
	NetMode mode = net_mode(c, &arg);

	s->host = mode == NET_HOST;
	s->hostname = own_hostname(c);
	if (!s->hostname)
		return err_oom(e);
	return mode == NET_CONTAINER ? container_join(en, c, arg, s, e) : net_files_name(en, c, s, e);
}

int endpoint_setup(Engine *en, Container *c, NetSetup *s, Err *e)
{
	const char *arg;
	NetMode mode = net_mode(c, &arg);
	int r = 0;

	if (mode == NET_CONTAINER)
		return 0;
	if (mode != NET_HOST)
		s->netns_fd = take_fd(&s->made_fd);
	if (mode == NET_BRIDGE)
		r = join_all(en, c, s, e);
	else if (mode == NET_POD)
		r = pod_network_attach(en, c, s->netns_fd, e);
	return r < 0 ? r : net_files_write(en, c, s, e);
}

bool endpoint_is_simple(Engine *en, const Container *c)
{
	const ContainerHost *h = &c->config.host;
	const char *arg;

	NetMode mode = net_mode(c, &arg);

	/* A setting of the kernel's may be one of an interface. */
	if (strv_len(h->sysctls))
		return false;
	if (mode == NET_POD)
		return true;
	if (mode != NET_BRIDGE || h->n_ports > 0 || h->publish_all_ports)
		return false;
	for (size_t i = 0; i < c->n_endpoints; i++) {
		_cleanup_network_ Network *n = NULL;

		/* Elsewhere it has names, whose sockets the shim holds. */
		if (network_find(en, c->endpoints[i].network, &n, NULL) < 0 || !n->info.builtin)
			return false;
	}
	return c->n_endpoints > 0 && c->n_endpoints == c->config.n_endpoints;
}

int endpoint_setup_files(Engine *en, Container *c, NetSetup *s, Err *e)
{
	s->netns_fd = take_fd(&s->made_fd);
	return net_files_write(en, c, s, e);
}

int endpoint_setup_network(Engine *en, Container *c, NetSetup *s, Err *e)
{
	const char *arg;
	int r;

	if (net_mode(c, &arg) == NET_POD)
		return pod_network_attach(en, c, s->netns_fd, e);
	r = join_all(en, c, s, e);
	return r < 0 ? r : net_files_addresses(en, c, s, e);
}

int endpoint_publish(Engine *en, Container *c, const NetSetup *s, Err *e)
{
	int r = 0;

	for (int f = 0; r >= 0 && c->n_ports > 0 && f < IP_FAMILIES; f++) {
		int i = endpoint_gateway(en, c, f);

		if (i >= 0)
			r = ports_publish(en, c, f, &c->endpoints[i], e);
	}
	return r >= 0 && s ? proxied_publish(en, c, s, e) : r;
}

void endpoint_withdraw(Engine *en, Container *c)
{
	for (int f = 0; c->n_ports > 0 && f < IP_FAMILIES; f++) {
		int i = endpoint_gateway(en, c, f);

		if (i >= 0)
			ports_withdraw(en, c, f, &c->endpoints[i]);
	}
	proxied_withdraw(en, c);
}

void endpoint_teardown(Engine *en, Container *c)
{
	endpoint_withdraw(en, c);
	ports_release(c);
	names_close(en, c);
	for (size_t i = 0; i < c->n_endpoints; i++)
		endpoint_leave(en, c, i, -1);
}

void endpoint_adopt(Engine *en, Container *c)
{
	ports_load(c);
	for (size_t i = 0; i < c->n_endpoints; i++) {
		_cleanup_network_ Network *n = NULL;
		IpAddress address[IP_FAMILIES];
		bool there = endpoint_connected(&c->endpoints[i]);
		Err err = {0};
		int r = there ? network_find(en, c->endpoints[i].network_id, &n, &err) : 0;

		endpoint_addresses(&c->endpoints[i], address);
		if (r >= 0 && there)
			r = network_adopt(en, n, address, &err);
		if (r < 0)
			log_warn("container %.12s: network %s: %s", c->id, c->endpoints[i].network,
				 err_msg(&err, r));
	}
}
