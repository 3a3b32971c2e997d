/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a network: what is asked for is checked in Docker's words, then its subnet is fixed.
 *
 * A network is entered under its name before its subnet is, so of two that are made at once under one name the second one fails, and
 * of two that want one subnet too: each looks at all that are entered.
 */
#include "engine/engine-internal.h"

/* ---- subnets ---- */

/* What was asked for of one family. The strings are the network's. */
typedef struct FamilyConfig {
	char **subnet, **gateway, **ip_range;
	bool *chosen;
} FamilyConfig;

static FamilyConfig family_config(Network *n, int family)
{
	NetworkInfo *i = &n->info;

	if (family == IP_V4)
		return (FamilyConfig){&i->subnet, &i->gateway, &i->ip_range, &i->chosen};
	return (FamilyConfig){&i->subnet6, &i->gateway6, &i->ip_range6, &i->chosen6};
}

/* Of all networks but one. malloc'ed. */
static int subnets_used(Engine *en, const Network *but, NetworkSubnet **ret, size_t *ret_n, Err *e)
{
	Network *n, *tmp;
	NetworkSubnet *v;
	size_t used = 0;

	pthread_mutex_lock(&en->lock);
	v = calloc(HASH_COUNT(en->networks) * IP_FAMILIES + 1, sizeof(*v));
	HASH_ITER (hh, en->networks, n, tmp)
		for (int f = 0; v && n != but && f < IP_FAMILIES; f++)
			if (n->subnet[f].prefix)
				v[used++] = n->subnet[f];
	pthread_mutex_unlock(&en->lock);
	if (!v)
		return err_oom(e);
	*ret = v;
	*ret_n = used;
	return 0;
}

/* Auxiliary addresses are of the subnet that they were given with. */
static int reserve_aux(Network *n, const NetworkSubnet *s, NetworkPool *pool, Err *e)
{
	for (char **a = n->info.aux; a && *a; a++) {
		const char *text = strchr(*a, '=');
		IpAddress address, got;
		int r;

		if (!text || ip_parse(text + 1, &address) < 0)
			return err_new(e, ERR_INVALID,
				       "invalid auxiliary address \"%s\": expected an IP address", *a);
		/* The other family's are that one's business, if the network has it. */
		if (ip_af(address) != ip_af(s->address) && network_has(n, ip_index(address)))
			continue;
		if (n->renumbering && !network_subnet_contains(s, address))
			continue;
		r = network_pool_take(pool, address, &got, e);
		if (r < 0)
			return err_ctx(e, r, "auxiliary address %.*s", (int)(text - *a), *a);
	}
	return 0;
}

static int pool_make(Network *n, const NetworkSubnet *s, NetworkPool **ret, Err *e)
{
	_cleanup_(network_pool_freep) NetworkPool *pool = NULL;
	const char *asked = *family_config(n, ip_index(s->address)).ip_range;
	NetworkSubnet range = {0};
	bool part = !str_empty(asked);
	int r = part ? network_range_parse(asked, s, &range, e) : 0;

	if (r >= 0)
		r = network_pool_new(s, part ? &range : NULL, &pool, e);
	if (r >= 0)
		r = reserve_aux(n, s, pool, e);
	if (r < 0)
		return r;
	*ret = take_ptr(pool);
	return 0;
}

/* What was given as a subnet of one family is one of it. */
static int subnet_parse(Network *n, int family, const char *given, NetworkSubnet *ret, Err *e)
{
	const char *gateway = *family_config(n, family).gateway;
	int r = network_subnet_parse(given, str_empty(gateway) ? NULL : gateway, ret, e);

	if (r >= 0 && ip_index(ret->address) != family)
		return err_new(e, ERR_INVALID, "invalid subnet %s: expected one of %s", given,
			       family == IP_V4 ? "IPv4" : "IPv6");
	return r;
}

int subnet_load(Network *n, Err *e)
{
	int r = 0;

	for (int f = 0; r >= 0 && f < IP_FAMILIES; f++) {
		const char *text = *family_config(n, f).subnet;
		NetworkSubnet s;

		if (str_empty(text))
			continue;
		r = subnet_parse(n, f, text, &s, e);
		if (r >= 0)
			r = pool_make(n, &s, &n->pool[f], e);
		if (r >= 0)
			n->subnet[f] = s;
	}
	return r;
}

static int check_given(Engine *en, const Network *n, const NetworkSubnet *s, const NetworkSubnet *used,
		       size_t n_used, Err *e)
{
	for (size_t i = 0; i < n_used; i++)
		if (network_subnet_overlap(&used[i], s))
			return err_new(
			    e, ERR_DENIED,
			    "invalid pool request: Pool overlaps with other one on this address space: %s "
			    "overlaps %s",
			    network_subnet_text(s).s, network_subnet_text(&used[i]).s);
	/* A network upon an interface of the host's is the one that the host is on. */
	return network_is_sublink(n) ? 0 : network_subnet_check(en->nethost, s, e);
}

static int subnet_find(Engine *en, Network *n, int family, const char *given, NetworkSubnet *ret, Err *e)
{
	_cleanup_free_ NetworkSubnet *used = NULL;
	size_t n_used = 0;
	int r = subnets_used(en, n, &used, &n_used, e);

	if (r < 0)
		return r;
	if (str_empty(given))
		return network_subnet_choose(en->nethost, family, n->info.builtin, used, n_used, ret, e);
	/* The default network's is said by its gateway, as dockerd's is. */
	r = n->info.builtin ? network_gateway_parse(given, ret, e) : subnet_parse(n, family, given, ret, e);
	return r < 0 ? r : check_given(en, n, ret, used, n_used, e);
}

/* Enters it, which makes it one of `subnets_used` for everybody else. */
static int subnet_enter(Engine *en, Network *n, const NetworkSubnet *s, bool chosen, Err *e)
{
	char *subnet = strdup(network_subnet_text(s).s), *gateway = strdup(ip_text(s->gateway).s);
	int family = ip_index(s->address);
	FamilyConfig k = family_config(n, family);
	NetworkPool *pool = NULL;
	int r = subnet && gateway ? pool_make(n, s, &pool, e) : err_oom(e);

	if (r < 0) {
		free(subnet);
		free(gateway);
		return r;
	}
	pthread_mutex_lock(&en->lock);
	free(*k.subnet);
	free(*k.gateway);
	*k.subnet = subnet;
	*k.gateway = gateway;
	*k.chosen = chosen;
	n->pool[family] = pool;
	n->subnet[family] = *s;
	pthread_mutex_unlock(&en->lock);
	return 0;
}

int subnet_settle(Engine *en, Network *n, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&en->subnets_lock);
	for (int f = 0; r >= 0 && f < IP_FAMILIES; f++) {
		const char *given = !n->info.builtin ? *family_config(n, f).subnet
				    : f == IP_V4     ? en->options.bridge_subnet
						     : en->options.bridge_subnet6;
		NetworkSubnet s;

		if (!network_has(n, f) || n->subnet[f].prefix)
			continue;
		r = subnet_find(en, n, f, given, &s, e);
		if (r >= 0)
			r = subnet_enter(en, n, &s, str_empty(given), e);
	}
	pthread_mutex_unlock(&en->subnets_lock);
	return r;
}

/* Others read them under the lock. */
static void swap_texts(Engine *en, FamilyConfig k, char **gateway, char **range)
{
	pthread_mutex_lock(&en->lock);
	char *g = *k.gateway, *r = *k.ip_range;

	*k.gateway = *gateway;
	*k.ip_range = *range;
	pthread_mutex_unlock(&en->lock);
	*gateway = g;
	*range = r;
}

int subnet_exchange(Engine *en, Network *n, int family, const char *given, Err *e)
{
	FamilyConfig k = family_config(n, family);
	NetworkPool *before = n->pool[family];
	_cleanup_free_ char *gateway = strdup(""), *range = strdup("");
	unsigned users = network_users(en, n);
	NetworkSubnet s;
	int r;

	if (users > 0)
		return err_new(e, ERR_CONFLICT, "%u containers have joined meanwhile: try again", users);
	if (!gateway || !range)
		return err_oom(e);
	pthread_mutex_lock(&en->subnets_lock);
	/* They are of the old subnet. */
	swap_texts(en, k, &gateway, &range);
	r = subnet_find(en, n, family, given, &s, e);
	if (r >= 0)
		r = subnet_enter(en, n, &s, str_empty(given) && *k.chosen, e);
	if (r < 0)
		swap_texts(en, k, &gateway, &range);
	else
		network_pool_free(before);
	pthread_mutex_unlock(&en->subnets_lock);
	return r;
}

/* The default network has the first of the pools, as everybody knows it, whichever is made first. */
static int settle_default(Engine *en, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	int r = network_find(en, "bridge", &n, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&n->life);
	if (!n->subnet[IP_V4].prefix) {
		r = subnet_settle(en, n, e);
		if (r >= 0)
			r = network_save(en, n, e);
	}
	pthread_mutex_unlock(&n->life);
	return r;
}

/* ---- create ---- */

static int check_name(const char *name, Err *e)
{
	if (str_empty(name))
		return err_new(e, ERR_INVALID, "invalid network name: name is empty");
	if (streq(name, "default") || streq(name, "host") || streq(name, "none") || streq(name, "bridge") ||
	    str_starts(name, "container:"))
		return err_new(e, ERR_DENIED, "operation is not permitted on predefined %s network", name);
	return 0;
}

static int check_driver(const char *driver, Err *e)
{
	if (streq(driver, "bridge") || streq(driver, "macvlan") || streq(driver, "ipvlan"))
		return 0;
	if (streq(driver, "host") || streq(driver, "null"))
		return err_new(e, ERR_DENIED, "only one instance of \"%s\" network is allowed", driver);
	if (streq(driver, "overlay"))
		return err_new(
		    e, ERR_UNAVAILABLE,
		    "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to "
		    "connect this node to swarm and try again.");
	return err_new(e, ERR_NOT_FOUND,
		       "plugin \"%s\" not found: the drivers offered are bridge, macvlan and ipvlan", driver);
}

static int replace(char **field, const char *value)
{
	char *copy = strdup(value ?: "");

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

/* A gateway and the like of a family whose subnet nobody has said. */
static int check_subnets_given(const EngineNetworkCreate *c, Err *e)
{
	bool four = !str_empty(c->gateway) || !str_empty(c->ip_range),
	     six = !str_empty(c->gateway6) || !str_empty(c->ip_range6);

	if ((four && str_empty(c->subnet)) || (six && str_empty(c->subnet6)) ||
	    (strv_len(c->aux) > 0 && str_empty(c->subnet) && str_empty(c->subnet6)))
		return err_new(
		    e, ERR_INVALID,
		    "invalid network config: a gateway, an ip-range and auxiliary addresses need a subnet");
	if (!str_empty(c->subnet6) && !c->ipv6)
		return err_new(e, ERR_INVALID,
			       "subnet %s: the network has no IPv6: ask for it (--ipv6, EnableIPv6)",
			       c->subnet6);
	if (!str_empty(c->subnet) && c->no_ipv4)
		return err_new(e, ERR_INVALID,
			       "subnet %s: the network has no IPv4: leave it out, or ask for it", c->subnet);
	if (c->no_ipv4 && !c->ipv6 && !c->config_only)
		return err_new(e, ERR_INVALID, "IPv4 or IPv6 must be enabled");
	return 0;
}

static int take_request(Network *n, const EngineNetworkCreate *c, Err *e)
{
	NetworkInfo *i = &n->info;

	i->internal = c->internal;
	i->attachable = c->attachable;
	i->config_only = c->config_only;
	i->no_ipv4 = c->no_ipv4;
	i->ipv6 = c->ipv6;
	i->labels = strv_dup(c->labels);
	i->options = strv_dup(c->options);
	i->ipam_options = strv_dup(c->ipam_options);
	i->aux = strv_dup(c->aux);
	if (!i->labels || !i->options || !i->ipam_options || !i->aux || replace(&i->subnet, c->subnet) < 0 ||
	    replace(&i->gateway, c->gateway) < 0 || replace(&i->ip_range, c->ip_range) < 0 ||
	    replace(&i->subnet6, c->subnet6) < 0 || replace(&i->gateway6, c->gateway6) < 0 ||
	    replace(&i->ip_range6, c->ip_range6) < 0 ||
	    (!str_empty(c->config_from) && replace(&i->config_from, c->config_from) < 0))
		return err_oom(e);
	return check_subnets_given(c, e);
}

/* The settings of the other network become this one's; none may be given beside them. */
static int take_from(Engine *en, Network *n, const EngineNetworkCreate *c, Err *e)
{
	_cleanup_network_ Network *from = NULL;
	NetworkInfo *i = &n->info;
	bool oom;

	if (str_empty(c->config_from))
		return 0;
	if (network_find(en, c->config_from, &from, NULL) < 0 || !from->info.config_only)
		return err_new(e, ERR_NOT_FOUND, "configuration network \"%s\" does not exist",
			       c->config_from);
	if (c->config_only || c->internal || !str_empty(c->subnet) || !str_empty(c->subnet6) ||
	    strv_len(c->options) > 0 || strv_len(c->ipam_options) > 0)
		return err_new(e, ERR_DENIED,
			       "user supplied configurations are not supported if the network depends on a "
			       "configuration "
			       "network");
	i->internal = from->info.internal;
	i->ipv6 = from->info.ipv6;
	i->no_ipv4 = from->info.no_ipv4;
	strv_free(i->options);
	strv_free(i->ipam_options);
	strv_free(i->aux);
	i->options = strv_dup(from->info.options);
	i->ipam_options = strv_dup(from->info.ipam_options);
	i->aux = strv_dup(from->info.aux);
	oom =
	    !i->options || !i->ipam_options || !i->aux || replace(&i->subnet, from->info.subnet) < 0 ||
	    replace(&i->gateway, from->info.gateway) < 0 || replace(&i->ip_range, from->info.ip_range) < 0 ||
	    replace(&i->subnet6, from->info.subnet6) < 0 || replace(&i->gateway6, from->info.gateway6) < 0 ||
	    replace(&i->ip_range6, from->info.ip_range6) < 0;
	for (char **l = from->info.labels; !oom && l && *l; l++) {
		_cleanup_free_ char *key = strndup(*l, strcspn(*l, "="));

		oom = !key || (!strv_env_get(i->labels, key) && strv_add(&i->labels, *l) < 0);
	}
	return oom ? err_oom(e) : 0;
}

/* Its name, unless the user has one for it. Two networks cannot share one. */
static int choose_bridge(Engine *en, Network *n, Err *e)
{
	char *name = *n->options.bridge ? strdup(n->options.bridge)
					: strf(network_is_sublink(n) ? "dm-%.12s" : "br-%.12s", n->info.id);
	Network *other, *tmp;
	int r = 0;

	if (!name)
		return err_oom(e);
	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->networks, other, tmp)
		if (r == 0 && other != n && streq0(other->info.bridge, name))
			r = err_new(e, ERR_DENIED, "bridge name %s is in use by network %s: choose another",
				    name, other->info.name);
	if (r == 0) {
		free(n->info.bridge);
		n->info.bridge = take_ptr(name);
	}
	pthread_mutex_unlock(&en->lock);
	free(name);
	return r;
}

/* Two networks upon one interface would be one. */
static int check_parent(Engine *en, const Network *n, Err *e)
{
	const char *parent = n->options.parent;
	Network *other, *tmp;
	int r = network_parent_check(en->nethost, parent, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->networks, other, tmp)
		if (r == 0 && other != n && network_is_sublink(other) && streq(other->options.parent, parent))
			r = err_new(e, ERR_DENIED,
				    "network %s is already using parent interface %s: use another one",
				    other->info.name, parent);
	pthread_mutex_unlock(&en->lock);
	return r;
}

static void network_event(Engine *en, const Network *n, const char *action)
{
	_cleanup_free_ char *name = strf("name=%s", n->info.name), *type = strf("type=%s", n->info.driver);
	char *attributes[] = {name, type, NULL};

	if (name && type)
		engine_event(en, "network", action, n->info.id, attributes);
}

static int check_gateways(const Network *n, Err *e)
{
	for (int f = 0; f < IP_FAMILIES; f++)
		if (n->options.gateway[f] == NETWORK_GATEWAY_ISOLATED && !n->info.internal)
			return err_new(e, ERR_INVALID,
				       "gateway mode 'isolated' can only be used for an internal network");
	return 0;
}

static int prepare(Engine *en, Network *n, const EngineNetworkCreate *c, Err *e)
{
	int r = take_request(n, c, e);

	if (r >= 0)
		r = take_from(en, n, c, e);
	if (r >= 0)
		r = network_options_parse(n->info.driver, n->info.options, &n->options, e);
	return r < 0 ? r : check_gateways(n, e);
}

/* Entered already; who uses it before its subnet is settled waits for its `life`, which is held. */
static int settle(Engine *en, Network *n, Err *e)
{
	int r = 0;

	if (n->info.config_only)
		return network_save(en, n, e);
	r = network_is_sublink(n) && *n->options.parent ? check_parent(en, n, e) : choose_bridge(en, n, e);
	if (r >= 0 && network_has(n, IP_V4) && str_empty(n->info.subnet))
		r = settle_default(en, e);
	if (r >= 0)
		r = subnet_settle(en, n, e);
	return r < 0 ? r : network_save(en, n, e);
}

int engine_network_create(Engine *en, const EngineNetworkCreate *c, char **ret_id, Err *e)
{
	const char *driver = c->config_only ? "null" : str_empty(c->driver) ? "bridge" : c->driver;
	_cleanup_network_ Network *n = NULL;
	_cleanup_free_ char *id = NULL;
	int r = check_name(c->name, e);

	if (r >= 0 && !c->config_only)
		r = check_driver(driver, e);
	if (r < 0)
		return r;
	n = network_new(c->name, driver);
	id = n ? strdup(n->info.id) : NULL;
	r = id ? prepare(en, n, c, e) : err_oom(e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&n->life);
	r = network_enter(en, n, e);
	if (r >= 0) {
		r = settle(en, n, e);
		if (r < 0)
			network_forget(en, n);
	}
	pthread_mutex_unlock(&n->life);
	if (r < 0)
		return r;
	network_event(en, n, "create");
	*ret_id = take_ptr(id);
	return 0;
}

/* ---- remove ---- */

/* 'name:"web" id:"0123456789ab"' of those that run on it. malloc'ed. */
static char *users_text(Engine *en, const Network *n)
{
	_cleanup_strbuf_ StrBuf b = {0};
	Container *c, *tmp;

	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->by_id, c, tmp) {
		pthread_mutex_lock(&c->state);
		for (size_t i = 0; i < c->n_endpoints; i++)
			if (streq0(c->endpoints[i].network_id, n->info.id) &&
			    endpoint_connected(&c->endpoints[i]))
				strbuf_addf(&b, "%sname:\"%s\" id:\"%.12s\"", b.len ? ", " : "", c->name,
					    c->endpoints[i].endpoint_id);
		pthread_mutex_unlock(&c->state);
	}
	pthread_mutex_unlock(&en->lock);
	return strbuf_steal(&b);
}

/* Of a network made with config_only: whether another one has its settings. Engine.lock is held. */
static bool lends(Engine *en, const Network *n)
{
	Network *other, *tmp;

	HASH_ITER (hh, en->networks, other, tmp)
		if (n->info.config_only && streq0(other->info.config_from, n->info.name))
			return true;
	return false;
}

/* From here on nobody can attach to it. */
static int mark_removed(Engine *en, Network *n, Err *e)
{
	_cleanup_free_ char *who = users_text(en, n);
	int r = 0;

	pthread_mutex_lock(&en->lock);
	if (n->removed)
		r = err_new(e, ERR_NOT_FOUND, "network %s not found", n->info.name);
	else if (n->users > 0)
		r = err_new(
		    e, ERR_DENIED,
		    "error while removing network: network %s has active endpoints (%s): stop or disconnect "
		    "them first",
		    n->info.name, who ?: "");
	else if (lends(en, n))
		r = err_new(e, ERR_DENIED,
			    "error while removing network: configuration network \"%s\" is in use",
			    n->info.name);
	else
		n->removed = true;
	pthread_mutex_unlock(&en->lock);
	return r;
}

int engine_network_remove(Engine *en, const char *ref, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	int r = network_find(en, ref, &n, e);

	if (r < 0)
		return r;
	if (n->info.builtin)
		return err_new(e, ERR_DENIED, "%s is a pre-defined network and cannot be removed",
			       n->info.name);
	pthread_mutex_lock(&n->life);
	r = mark_removed(en, n, e);
	if (r >= 0) {
		if (!str_empty(n->info.bridge))
			r = network_bridge_remove(en->nethost, n->info.bridge, e);
		if (r >= 0)
			r = store_doc_delete(en->store, COLLECTION_NETWORK, n->info.id, e);
		if (r < 0) {
			pthread_mutex_lock(&en->lock);
			n->removed = false;
			pthread_mutex_unlock(&en->lock);
		}
	}
	pthread_mutex_unlock(&n->life);
	if (r < 0)
		return r;
	network_forget(en, n);
	network_event(en, n, "destroy");
	return 0;
}

void network_changed_event(Engine *en, const Network *n)
{
	network_event(en, n, "update");
}
