/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container asks of its networks: checked against each network in Docker's words, and brought into the order in which interfaces
 * are made. Nothing here touches the kernel.
 */
#include "engine/engine-internal.h"

#define SYSCTLS_OPTION "com.docker.network.endpoint.sysctls"

ContainerEndpointConfig *endpoint_config_find(ContainerConfig *k, const char *network)
{
	for (size_t i = 0; i < k->n_endpoints; i++)
		if (streq0(network, k->endpoints[i].network))
			return &k->endpoints[i];
	return NULL;
}

int mac_parse(const char *s, uint8_t mac[6], Err *e)
{
	int used = 0;

	if (sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
		   &mac[5], &used) != 6 ||
	    s[used] || mac[0] & 1)
		return err_new(
		    e, ERR_INVALID,
		    "invalid MAC address \"%s\": expected one of a single host, as 02:42:ac:11:00:02", s);
	return 0;
}

static int check_interface_name(const char *value, Err *e)
{
	size_t n = strlen(value);

	if (n == 0 || n >= NETWORK_IFNAME || strpbrk(value, "/: \t\n\"%") || streq(value, "lo") ||
	    streq(value, ".") || streq(value, ".."))
		return err_new(e, ERR_INVALID, "invalid interface name \"%s\": expected 1 to %d characters",
			       value, NETWORK_IFNAME - 1);
	return 0;
}

/* "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2" */
static int split_sysctls(const char *value, char ***ret, Err *e)
{
	_cleanup_free_ char *copy = strdup(value);
	char *rest = copy, *one;
	int r = copy ? 0 : err_oom(e);

	while (r >= 0 && (one = strsep(&rest, ","))) {
		r = network_endpoint_sysctl_check(one, e);
		if (r >= 0 && strv_add(ret, one) < 0)
			r = err_oom(e);
	}
	return r;
}

static int check_driver_opts(const ContainerEndpointConfig *ep, Err *e)
{
	int r = 0;

	for (char **o = ep->driver_opts; r >= 0 && o && *o; o++) {
		_cleanup_strv_ char **sysctls = NULL;
		const char *name = str_after(*o, ENDPOINT_IFNAME "="),
			   *settings = str_after(*o, SYSCTLS_OPTION "=");

		if (name)
			r = check_interface_name(name, e);
		else if (settings)
			r = split_sysctls(settings, &sysctls, e);
		else if (str_starts(*o, "com.docker.network."))
			r = err_new(e, ERR_UNSUPPORTED, "endpoint option %s is not offered: leave it out",
				    *o);
	}
	return r;
}

/* What only networks of the user's have. */
static int check_user_defined(const Network *n, const ContainerEndpointConfig *ep, Err *e)
{
	bool four = !str_empty(ep->ipv4_address), six = !str_empty(ep->ipv6_address);

	if ((four || six) && n->info.builtin)
		return err_new(e, ERR_INVALID,
			       "user specified IP address is supported on user defined networks only");
	if ((four && n->info.chosen) || (six && n->info.chosen6))
		return err_new(
		    e, ERR_INVALID,
		    "user specified IP address is supported only when connecting to networks with user "
		    "configured subnets: make network %s with a subnet",
		    n->info.name);
	if (strv_len(ep->aliases) > 0 && n->info.builtin)
		return err_new(
		    e, ERR_INVALID,
		    "network-scoped alias is supported only for containers in user defined networks");
	return 0;
}

/* An address that is asked for, of the family that it has to be of; 0 if none is. */
static int parse_wanted(const Network *n, int family, const char *text, IpAddress *ret, Err *e)
{
	const char *name = family == IP_V4 ? "IPv4" : "IPv6";

	*ret = 0;
	if (str_empty(text))
		return 0;
	if (ip_parse(text, ret) < 0 || ip_index(*ret) != family)
		return err_new(e, ERR_INVALID, "invalid %s address: %s", name, text);
	if (!network_has(n, family))
		return err_new(e, ERR_INVALID,
			       "no configured subnet contains IP address %s: network %s has no %s", text,
			       n->info.name, name);
	if (n->subnet[family].prefix && !network_subnet_contains(&n->subnet[family], *ret))
		return err_new(e, ERR_INVALID,
			       "no configured subnet contains IP address %s: network %s has %s", text,
			       n->info.name, network_subnet_text(&n->subnet[family]).s);
	return 0;
}

int endpoint_config_check(const Network *n, const ContainerEndpointConfig *ep, Err *e)
{
	IpAddress want;
	uint8_t mac[6];
	int r;

	if (n->info.config_only)
		return err_new(e, ERR_DENIED,
			       "network %s is a configuration-only network: containers cannot join it",
			       n->info.name);
	if (!network_is_joined(n))
		return err_new(
		    e, ERR_INVALID,
		    "container cannot be connected to network %s beside another one: it has it alone, by its "
		    "network mode",
		    n->info.name);
	r = check_user_defined(n, ep, e);
	if (r >= 0)
		r = links_check(ep->links, e);
	if (r >= 0)
		r = parse_wanted(n, IP_V4, ep->ipv4_address, &want, e);
	if (r >= 0)
		r = parse_wanted(n, IP_V6, ep->ipv6_address, &want, e);
	if (r >= 0 && !str_empty(ep->mac_address))
		r = mac_parse(ep->mac_address, mac, e);
	return r < 0 ? r : check_driver_opts(ep, e);
}

/* "default" and ids become names. A network that is not there yet may be by the time of the start. */
static int name_properly(Engine *en, ContainerEndpointConfig *ep, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	char *name;
	int r;

	if (network_find(en, streq(ep->network, "default") ? "bridge" : ep->network, &n, NULL) < 0)
		return 0;
	r = endpoint_config_check(n, ep, e);
	if (r < 0)
		return r;
	name = strdup(n->info.name);
	if (!name)
		return err_oom(e);
	free(ep->network);
	ep->network = name;
	return 0;
}

/* The mode's network is the first, the others follow by priority, then by name. */
static int compare_order(const void *a, const void *b)
{
	const ContainerEndpointConfig *x = a, *y = b;

	if (x->gw_priority != y->gw_priority)
		return x->gw_priority > y->gw_priority ? -1 : 1;
	return strcmp(x->network, y->network);
}

static int put_in_order(ContainerConfig *k, const char *first, Err *e)
{
	ContainerEndpointConfig *main = endpoint_config_find(k, first), saved;

	if (!main) {
		ContainerEndpointConfig ep = {.network = strdup(first)};
		int r = ep.network ? container_endpoint_add(k, &ep, e) : err_oom(e);

		if (r < 0) {
			free(ep.network);
			return r;
		}
		main = &k->endpoints[k->n_endpoints - 1];
	}
	saved = *main;
	*main = k->endpoints[0];
	k->endpoints[0] = saved;
	qsort(k->endpoints + 1, k->n_endpoints - 1, sizeof(*k->endpoints), compare_order);
	for (size_t i = 0; i < k->n_endpoints; i++)
		if (endpoint_config_find(k, k->endpoints[i].network) != &k->endpoints[i])
			return err_new(e, ERR_INVALID, "network %s is given twice", k->endpoints[i].network);
	return 0;
}

/* The container's own MAC address, as old clients give it, is its first endpoint's. */
static int take_main_mac(ContainerConfig *k, Err *e)
{
	ContainerEndpointConfig *main = &k->endpoints[0];
	uint8_t mac[6];
	int r;

	if (str_empty(k->mac_address))
		return 0;
	if (!str_empty(main->mac_address) && strcasecmp(main->mac_address, k->mac_address) != 0)
		return err_new(e, ERR_INVALID,
			       "the container-wide MAC address must match the endpoint-specific MAC address "
			       "for the main "
			       "network, or be left empty");
	r = mac_parse(k->mac_address, mac, e);
	if (r >= 0 && str_empty(main->mac_address)) {
		free(main->mac_address);
		main->mac_address = strdup(k->mac_address);
		r = main->mac_address ? 0 : err_oom(e);
	}
	return r;
}

static bool is_main(const ContainerConfig *k, const char *network, const char *mode)
{
	return streq(network, mode) || streq0(k->host.network_mode, network) ||
	       (streq(network, "default") && streq(mode, "bridge"));
}

/* A container without a namespace of its own, or with an empty one, has no other networks; what clients say of the mode itself is
 * nothing but its name again. */
static int no_others(ContainerConfig *k, NetMode mode, const char *name, Err *e)
{
	for (size_t i = 0; i < k->n_endpoints; i++) {
		const char *network = k->endpoints[i].network;

		if (is_main(k, network, name))
			continue;
		if (mode == NET_NONE)
			return err_new(e, ERR_INVALID,
				       "conflicting options: container cannot be connected to multiple "
				       "networks with one "
				       "of the networks in private (none) mode: %s",
				       network);
		return err_new(
		    e, ERR_INVALID,
		    "conflicting options: container sharing network namespace with another container or host "
		    "cannot be connected to any other network: %s",
		    network);
	}
	for (size_t i = 0; i < k->n_endpoints; i++)
		container_endpoint_done(&k->endpoints[i]);
	k->n_endpoints = 0;
	return 0;
}

static int fill_endpoint(Engine *en, const char *network, ContainerEndpoint *ret, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	const char *id = network_find(en, network, &n, NULL) >= 0 ? n->info.id : "";

	*ret = (ContainerEndpoint){
	    .network = strdup(network),
	    .network_id = strdup(id),
	    .endpoint_id = strdup(""),
	    .address = strdup(""),
	    .gateway = strdup(""),
	    .address6 = strdup(""),
	    .gateway6 = strdup(""),
	    .mac = strdup(""),
	    .interface = strdup(""),
	};
	bool whole = ret->network && ret->network_id && ret->endpoint_id && ret->address && ret->gateway &&
		     ret->address6 && ret->gateway6 && ret->mac && ret->interface;

	return whole ? 0 : err_oom(e);
}

/* One for each of the names. */
static int fill_endpoints(Engine *en, Container *c, const char *alone, Err *e)
{
	size_t n = alone ? 1 : c->config.n_endpoints;
	ContainerInfo garbage = {.endpoints = calloc(n + 1, sizeof(ContainerEndpoint)), .n_endpoints = n};
	int r = garbage.endpoints ? 0 : err_oom(e);

	for (size_t i = 0; r >= 0 && i < n; i++)
		r = fill_endpoint(en, alone ?: c->config.endpoints[i].network, &garbage.endpoints[i], e);
	if (r >= 0) {
		ContainerEndpoint *old = c->endpoints;
		size_t n_old = c->n_endpoints;

		pthread_mutex_lock(&c->state);
		c->endpoints = garbage.endpoints;
		c->n_endpoints = n;
		pthread_mutex_unlock(&c->state);
		garbage.endpoints = old;
		garbage.n_endpoints = n_old;
	}
	if (!garbage.endpoints)
		garbage.n_endpoints = 0;
	container_info_done(&garbage);
	return r;
}

int endpoint_append(Engine *en, Container *c, const char *network, Err *e)
{
	ContainerInfo garbage = {.endpoints = calloc(1, sizeof(ContainerEndpoint)), .n_endpoints = 1};
	ContainerEndpoint *v;
	int r;

	if (!garbage.endpoints)
		return err_oom(e);
	r = fill_endpoint(en, network, garbage.endpoints, e);
	if (r >= 0) {
		pthread_mutex_lock(&c->state);
		v = reallocarray(c->endpoints, c->n_endpoints + 1, sizeof(*v));
		if (v) {
			c->endpoints = v;
			v[c->n_endpoints++] = *garbage.endpoints;
			*garbage.endpoints = (ContainerEndpoint){0};
		}
		pthread_mutex_unlock(&c->state);
		r = v ? 0 : err_oom(e);
	}
	container_info_done(&garbage);
	return r;
}

int endpoints_plan(Engine *en, Container *c, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	ContainerConfig *k = &c->config;
	const char *arg;
	NetMode mode = net_mode(c, &arg);
	int r = 0;

	if (mode == NET_HOST || mode == NET_NONE)
		arg = mode == NET_HOST ? "host" : "none";
	if (mode == NET_POD)
		return no_others(k, mode, arg, e);
	if (mode != NET_BRIDGE) {
		r = no_others(k, mode, arg, e);
		return r < 0 || mode == NET_CONTAINER ? r : fill_endpoints(en, c, arg, e);
	}
	for (size_t i = 0; r >= 0 && i < k->n_endpoints; i++)
		r = name_properly(en, &k->endpoints[i], e);
	if (r >= 0 && network_find(en, arg, &n, NULL) >= 0)
		arg = n->info.name;
	if (r >= 0)
		r = put_in_order(k, arg, e);
	if (r >= 0)
		r = take_main_mac(k, e);
	if (r >= 0)
		r = ports_check(k, e);
	if (r >= 0)
		r = links_check(k->host.links, e);
	return r < 0 ? r : fill_endpoints(en, c, NULL, e);
}

/* What was asked for, into what is to be made. */
int endpoint_wishes(const Network *n, const ContainerEndpointConfig *asked, NetworkEndpoint *ep,
		    IpAddress want[IP_FAMILIES], char ***ret_sysctls, Err *e)
{
	const char *settings = asked ? strv_env_get(asked->driver_opts, SYSCTLS_OPTION) : NULL;
	int r = 0;

	if (asked && !str_empty(asked->mac_address))
		r = mac_parse(asked->mac_address, ep->mac, e);
	if (r >= 0)
		r = parse_wanted(n, IP_V4, asked ? asked->ipv4_address : NULL, &want[IP_V4], e);
	if (r >= 0)
		r = parse_wanted(n, IP_V6, asked ? asked->ipv6_address : NULL, &want[IP_V6], e);
	if (r >= 0 && settings)
		r = split_sysctls(settings, ret_sysctls, e);
	ep->sysctls = *ret_sysctls;
	return r;
}
