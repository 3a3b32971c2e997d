/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks as objects: the built-in bridge, host and none, and those that users make (network-create.c).
 *
 * A network is a row; its bridge interface is made when the first container joins and removed
 * when the network is, or, for the default one, when the engine ends with no container on it. The default one's subnet is
 * chosen at first use, because only then is it known what the host routes.
 */
#include "engine/engine-internal.h"

static const JsonField network_table[] = {
    {.name = "name", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, name)},
    {.name = "driver", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, driver)},
    {.name = "created_ns", .type = JSON_T_INT, .offset = offsetof(NetworkInfo, created_ns)},
    {.name = "subnet", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, subnet), .keep_empty = true},
    {.name = "gateway", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, gateway), .keep_empty = true},
    {.name = "ip_range", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, ip_range)},
    {.name = "aux", .type = JSON_T_MAP, .offset = offsetof(NetworkInfo, aux)},
    {.name = "chosen", .type = JSON_T_BOOL, .offset = offsetof(NetworkInfo, chosen)},
    {.name = "no_ipv4", .type = JSON_T_BOOL, .offset = offsetof(NetworkInfo, no_ipv4)},
    {.name = "ipv6", .type = JSON_T_BOOL, .offset = offsetof(NetworkInfo, ipv6)},
    {.name = "subnet6", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, subnet6)},
    {.name = "gateway6", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, gateway6)},
    {.name = "ip_range6", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, ip_range6)},
    {.name = "chosen6", .type = JSON_T_BOOL, .offset = offsetof(NetworkInfo, chosen6)},
    {.name = "internal", .type = JSON_T_BOOL, .offset = offsetof(NetworkInfo, internal)},
    {.name = "config_only", .type = JSON_T_BOOL, .offset = offsetof(NetworkInfo, config_only)},
    {.name = "config_from", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, config_from)},
    {.name = "ipam_options", .type = JSON_T_MAP, .offset = offsetof(NetworkInfo, ipam_options)},
    {.name = "attachable", .type = JSON_T_BOOL, .offset = offsetof(NetworkInfo, attachable)},
    {.name = "builtin", .type = JSON_T_BOOL, .offset = offsetof(NetworkInfo, builtin)},
    {.name = "labels", .type = JSON_T_MAP, .offset = offsetof(NetworkInfo, labels)},
    {.name = "options", .type = JSON_T_MAP, .offset = offsetof(NetworkInfo, options)},
    {.name = "bridge", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, bridge), .keep_empty = true},
    {0},
};

void network_info_done(NetworkInfo *i)
{
	json_fields_done(network_table, i);
	*i = (NetworkInfo){0};
}

void network_infos_free(NetworkInfo *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		network_info_done(&v[i]);
	free(v);
}

static int info_copy(const NetworkInfo *from, NetworkInfo *ret, Err *e)
{
	_cleanup_json_ json_t *doc = json_encode(network_table, from);

	if (!doc)
		return err_oom(e);
	memcpy(ret->id, from->id, sizeof(ret->id));
	return json_decode(doc, network_table, ret, e);
}

Network *network_ref(Network *n)
{
	__atomic_add_fetch(&n->refs, 1, __ATOMIC_RELAXED);
	return n;
}

void network_unref(Network *n)
{
	if (!n || __atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	network_info_done(&n->info);
	network_pool_free(n->pool[IP_V4]);
	network_pool_free(n->pool[IP_V6]);
	pthread_mutex_destroy(&n->life);
	free(n);
}

int network_save(Engine *en, const Network *n, Err *e)
{
	_cleanup_json_ json_t *doc = json_encode(network_table, &n->info);

	if (!doc)
		return err_oom(e);
	return store_doc_put(en->store, COLLECTION_NETWORK, n->info.id, doc, e);
}

Network *network_new(const char *name, const char *driver)
{
	Network *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->refs = 1;
	pthread_mutex_init(&n->life, NULL);
	n->info = (NetworkInfo){
	    .name = strdup(name),
	    .driver = strdup(driver),
	    .created_ns = clock_now_ns(),
	    .subnet = strdup(""),
	    .gateway = strdup(""),
	    .ip_range = strdup(""),
	    .bridge = strdup(""),
	};
	id_random_hex(n->info.id, ID_LEN);
	if (n->info.name && n->info.driver && n->info.subnet && n->info.gateway && n->info.ip_range &&
	    n->info.bridge)
		return n;
	network_unref(n);
	return NULL;
}

static Network *by_name(Engine *en, const char *name)
{
	Network *n;

	HASH_FIND(hh_name, en->networks_by_name, name, strlen(name), n);
	return n;
}

/* Takes over a reference. */
static void tables_add(Engine *en, Network *n)
{
	HASH_ADD_STR(en->networks, info.id, n);
	HASH_ADD_KEYPTR(hh_name, en->networks_by_name, n->info.name, strlen(n->info.name), n);
}

static void tables_remove(Engine *en, Network *n)
{
	HASH_DELETE(hh_name, en->networks_by_name, n);
	HASH_DEL(en->networks, n);
}

static int load_one(void *user, const char *key, json_t *doc)
{
	Engine *en = user;
	Network *n = network_new("", "");
	Err err = {0};
	int r;

	if (!n)
		return -ENOMEM;
	network_info_done(&n->info);
	snprintf(n->info.id, sizeof(n->info.id), "%s", key);
	r = json_decode(doc, network_table, &n->info, &err);
	if (r >= 0 && (!n->info.name || !n->info.driver || !n->info.subnet || !n->info.bridge))
		r = err_new(&err, ERR_INVALID, "incomplete");
	/* One that an older version let pass means nothing still. */
	if (r >= 0 && network_options_parse(n->info.driver, n->info.options, &n->options, &err) < 0)
		network_options_default(&n->options);
	if (r >= 0 && !n->info.config_only)
		r = subnet_load(n, &err);
	if (r < 0) {
		log_error("network %.12s: its record cannot be read and is left alone: %s", key,
			  err_msg(&err, r));
		network_unref(n);
		return 0;
	}
	tables_add(en, n);
	return 0;
}

/* Of the default network, from how the engine was started this time. */
static int set_bridge_options(Engine *en, Network *n, Err *e)
{
	char **fresh = strv_dup(en->options.bridge_options);

	if (!fresh)
		return err_oom(e);
	strv_free(n->info.options);
	n->info.options = fresh;
	return network_options_parse("bridge", fresh, &n->options, e);
}

static int builtin_ensure(Engine *en, const char *name, const char *driver, Err *e)
{
	Network *n = by_name(en, name);
	int r = 0;

	if (n && streq(driver, "bridge"))
		n->info.ipv6 = en->options.bridge_ipv6;
	if (n)
		return streq(driver, "bridge") ? set_bridge_options(en, n, e) : 0;
	n = network_new(name, driver);
	if (!n)
		return err_oom(e);
	n->info.builtin = true;
	network_options_default(&n->options);
	if (streq(driver, "bridge")) {
		n->info.ipv6 = en->options.bridge_ipv6;
		free(n->info.bridge);
		n->info.bridge = strdup(en->bridge_name);
		r = n->info.bridge ? set_bridge_options(en, n, e) : err_oom(e);
	}
	if (r < 0) {
		network_unref(n);
		return r;
	}
	tables_add(en, n);
	return network_save(en, n, e);
}

int networks_load(Engine *en, Err *e)
{
	int r = store_doc_each(en->store, COLLECTION_NETWORK, load_one, en, e);

	if (r >= 0)
		r = builtin_ensure(en, "bridge", "bridge", e);
	if (r >= 0)
		r = builtin_ensure(en, "host", "host", e);
	if (r >= 0)
		r = builtin_ensure(en, "none", "null", e);
	return err_ctx(e, r, "read the recorded networks");
}

void networks_free(Engine *en)
{
	Network *n, *tmp;

	HASH_ITER (hh, en->networks, n, tmp) {
		if (n->users == 0 && n->info.builtin && *n->info.bridge && *n->info.subnet) {
			Err err = {0};
			int r = network_bridge_remove(en->nethost, n->info.bridge, &err);

			if (r < 0)
				log_warn("remove bridge %s: %s", n->info.bridge, err_msg(&err, r));
		}
		tables_remove(en, n);
		network_unref(n);
	}
}

int network_find(Engine *en, const char *ref, Network **ret, Err *e)
{
	Network *n, *tmp, *found = NULL;
	int matches = 0;

	pthread_mutex_lock(&en->lock);
	HASH_FIND_STR(en->networks, ref, found);
	if (!found)
		found = by_name(en, ref);
	if (!found && id_is_hex(ref))
		HASH_ITER (hh, en->networks, n, tmp)
			if (str_starts(n->info.id, ref)) {
				found = n;
				matches++;
			}
	if (found)
		network_ref(found);
	pthread_mutex_unlock(&en->lock);
	if (matches > 1) {
		network_unref(found);
		return err_new(e, ERR_INVALID, "network %s is ambiguous (%d matches found on ID prefix)", ref,
			       matches);
	}
	if (!found)
		return err_new(e, ERR_NOT_FOUND, "network %s not found", ref);
	*ret = found;
	return 0;
}

int network_enter(Engine *en, Network *n, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&en->lock);
	if (by_name(en, n->info.name))
		r = err_new(e, ERR_CONFLICT, "network with name %s already exists", n->info.name);
	else
		tables_add(en, network_ref(n));
	pthread_mutex_unlock(&en->lock);
	return r;
}

void network_forget(Engine *en, Network *n)
{
	Network *there;

	pthread_mutex_lock(&en->lock);
	n->removed = true;
	HASH_FIND_STR(en->networks, n->info.id, there);
	if (there == n)
		tables_remove(en, n);
	pthread_mutex_unlock(&en->lock);
	if (there == n)
		network_unref(n);
}

/* ---- bridges ---- */

bool network_has(const Network *n, int family)
{
	return family == IP_V4 ? !n->info.no_ipv4 : n->info.ipv6;
}

bool network_is_sublink(const Network *n)
{
	return streq(n->info.driver, "macvlan") || streq(n->info.driver, "ipvlan");
}

bool network_is_joined(const Network *n)
{
	return streq(n->info.driver, "bridge") || network_is_sublink(n);
}

/* All its subnets are known. */
static bool is_settled(const Network *n)
{
	for (int f = 0; f < IP_FAMILIES; f++)
		if (network_has(n, f) && !n->subnet[f].prefix)
			return false;
	return true;
}

NetworkBridge network_bridge_of(const Engine *en, const Network *n)
{
	NetworkPorts ports = n->options.ports;
	NetworkBridge b = {.ip = {n->subnet[IP_V4], n->subnet[IP_V6]},
			   .gateway = {n->options.gateway[IP_V4], n->options.gateway[IP_V6]},
			   .no_address = n->options.no_address,
			   .internal = n->info.internal,
			   .icc = n->options.icc,
			   .masquerade = n->options.masquerade,
			   .open = ports == NETWORK_PORTS_OPEN ||
				   (ports == NETWORK_PORTS_UNSAID && en->options.published_ports_open),
			   .mtu = n->options.mtu};

	snprintf(b.name, sizeof(b.name), "%s", n->info.bridge);
	/* The parent of a network that asked for none: nothing but its containers is ever on it. */
	if (network_is_sublink(n)) {
		b.internal = true;
		b.gateway[IP_V4] = b.gateway[IP_V6] = NETWORK_GATEWAY_ISOLATED;
	}
	return b;
}

int network_realize(Engine *en, Network *n, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&n->life);
	if (!is_settled(n)) {
		r = subnet_settle(en, n, e);
		if (r >= 0)
			r = network_save(en, n, e);
	}
	if (r >= 0 && !str_empty(n->info.bridge)) {
		NetworkBridge b = network_bridge_of(en, n);

		r = network_bridge_ensure(en->nethost, &b, e);
	}
	pthread_mutex_unlock(&n->life);
	if (r == 1)
		firewall_tell(en);
	return err_ctx(e, MIN2(r, 0), "network %s", n->info.name);
}

static int users_change(Engine *en, Network *n, int by, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&en->lock);
	if (by > 0 && n->removed)
		r = err_new(e, ERR_NOT_FOUND, "network %s not found", n->info.name);
	else if (by > 0 && n->renumbering)
		r = err_new(e, ERR_CONFLICT, "network %s is being renumbered: try again", n->info.name);
	else
		n->users += (unsigned)by;
	pthread_mutex_unlock(&en->lock);
	return r;
}

unsigned network_users(Engine *en, const Network *n)
{
	unsigned users;

	pthread_mutex_lock(&en->lock);
	users = n->users;
	pthread_mutex_unlock(&en->lock);
	return users;
}

static void give_all(Network *n, const IpAddress address[IP_FAMILIES])
{
	for (int f = 0; f < IP_FAMILIES; f++)
		if (n->pool[f] && address[f])
			network_pool_give(n->pool[f], address[f]);
}

/* All or nothing; *ret is 0 for what the network does not have. */
static int take_all(Network *n, const IpAddress want[IP_FAMILIES], IpAddress ret[IP_FAMILIES], Err *e)
{
	IpAddress taken[IP_FAMILIES] = {0};
	int r = 0;

	for (int f = 0; r >= 0 && f < IP_FAMILIES; f++)
		if (n->pool[f])
			r = network_pool_take(n->pool[f], want[f], &taken[f], e);
	if (r < 0)
		give_all(n, taken);
	else
		memcpy(ret, taken, sizeof(taken));
	return r;
}

int network_attach(Engine *en, Network *n, const IpAddress want[IP_FAMILIES], IpAddress ret[IP_FAMILIES],
		   Err *e)
{
	int r = users_change(en, n, 1, e);

	if (r < 0)
		return r;
	r = network_realize(en, n, e);
	if (r >= 0)
		r = take_all(n, want, ret, e);
	if (r < 0)
		(void)users_change(en, n, -1, NULL);
	return r;
}

int network_adopt(Engine *en, Network *n, const IpAddress address[IP_FAMILIES], Err *e)
{
	int r = users_change(en, n, 1, e);

	for (int f = 0; r >= 0 && f < IP_FAMILIES; f++) {
		IpAddress got;

		if (n->pool[f] && address[f])
			r = network_pool_take(n->pool[f], address[f], &got, e);
	}
	return r;
}

void network_detach(Engine *en, Network *n, const IpAddress address[IP_FAMILIES])
{
	give_all(n, address);
	(void)users_change(en, n, -1, NULL);
}

int engine_network_inspect(Engine *en, const char *ref, NetworkInfo *ret, Err *e)
{
	NetworkInfo i = {0};
	_cleanup_network_ Network *n = NULL;
	int r = network_find(en, ref, &n, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&en->lock);
	r = info_copy(&n->info, &i, e);
	pthread_mutex_unlock(&en->lock);
	if (r < 0)
		network_info_done(&i);
	else
		*ret = i;
	return r;
}

int engine_network_list(Engine *en, NetworkInfo **ret, size_t *ret_n, Err *e)
{
	NetworkInfo *v = NULL;
	Network *n, *tmp;
	size_t done = 0;
	int r = 0;

	pthread_mutex_lock(&en->lock);
	v = calloc(HASH_COUNT(en->networks) + 1, sizeof(*v));
	if (!v)
		r = err_oom(e);
	else
		HASH_ITER (hh, en->networks, n, tmp)
			if (r >= 0)
				r = info_copy(&n->info, &v[done++], e);
	pthread_mutex_unlock(&en->lock);
	if (r < 0) {
		network_infos_free(v, done);
		return r;
	}
	*ret = v;
	*ret_n = done;
	return 0;
}

/* ---- after a start ---- */

static void note(int r, const Err *e, const char *what)
{
	if (r < 0)
		log_warn("%s: %s", what, err_msg(e, r));
}

static Network **networks_all(Engine *en, size_t *ret_n)
{
	Network *n, *tmp, **v;
	size_t count = 0;

	pthread_mutex_lock(&en->lock);
	v = calloc(HASH_COUNT(en->networks) + 1, sizeof(Network *));
	HASH_ITER (hh, en->networks, n, tmp)
		if (v)
			v[count++] = network_ref(n);
	pthread_mutex_unlock(&en->lock);
	*ret_n = count;
	return v;
}

/* What the kernel may have of one container. */
static int known_of(Container *c, NetworkKnown *known, IpAddress **addresses, char ***ifs)
{
	int r = 0;

	pthread_mutex_lock(&c->state);
	for (size_t i = 0; r >= 0 && i < c->n_endpoints; i++) {
		IpAddress has[IP_FAMILIES], *v;
		char host_if[NETWORK_IFNAME];

		if (!endpoint_connected(&c->endpoints[i]))
			continue;
		endpoint_addresses(&c->endpoints[i], has);
		v = reallocarray(*addresses, known->n_addresses + IP_FAMILIES, sizeof(*v));
		if (!v) {
			r = -ENOMEM;
			break;
		}
		*addresses = v;
		for (int f = 0; f < IP_FAMILIES; f++)
			if (has[f])
				v[known->n_addresses++] = has[f];
		endpoint_host_if(&c->endpoints[i], host_if);
		r = strv_add(ifs, host_if);
	}
	pthread_mutex_unlock(&c->state);
	return r;
}

static int reconcile(Engine *en, Network *const *all, size_t n, Err *e)
{
	_cleanup_free_ NetworkBridge *bridges = calloc(n + 1, sizeof(*bridges));
	_cleanup_free_ IpAddress *addresses = NULL;
	_cleanup_strv_ char **ifs = NULL;
	NetworkKnown known = {.bridges = bridges};
	Container *c, *tmp;
	int r = 0;

	if (!bridges)
		return err_oom(e);
	for (size_t i = 0; i < n; i++)
		if (!str_empty(all[i]->info.bridge) && is_settled(all[i]))
			bridges[known.n_bridges++] = network_bridge_of(en, all[i]);
	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->by_id, c, tmp)
		r = r < 0 ? r : known_of(c, &known, &addresses, &ifs);
	pthread_mutex_unlock(&en->lock);
	if (r < 0)
		return err_oom(e);
	known.addresses = addresses;
	known.host_ifs = (const char *const *)ifs;
	known.n_host_ifs = strv_len(ifs);
	return network_reconcile(en->nethost, &known, e);
}

/* Ports of containers; unless `wait`, those that somebody is doing something with are left for later. */
static void publish_again(Engine *en, Container *const *v, bool *done, size_t n, bool wait)
{
	Err err = {0};

	for (size_t i = 0; i < n; i++) {
		if (done[i] || (!wait && pthread_mutex_trylock(&v[i]->life) != 0))
			continue;
		if (wait)
			container_lock(v[i]);
		if (!v[i]->removed && v[i]->n_ports > 0)
			note(endpoint_publish(en, v[i], NULL, &err), &err, "publish ports again");
		done[i] = true;
		pthread_mutex_unlock(&v[i]->life);
	}
}

Container **containers_all(Engine *en, size_t *ret_n)
{
	Container *c, *tmp, **v;
	size_t count = 0;

	pthread_mutex_lock(&en->lock);
	v = calloc(HASH_COUNT(en->by_id) + 1, sizeof(Container *));
	HASH_ITER (hh, en->by_id, c, tmp)
		if (v)
			v[count++] = container_ref(c);
	pthread_mutex_unlock(&en->lock);
	*ret_n = count;
	return v;
}

/* One that is being stopped may keep its lock for long, and needs nothing any more: the others come first. */
static void restore_ports(Engine *en)
{
	size_t n;
	_cleanup_free_ Container **all = containers_all(en, &n);
	_cleanup_free_ bool *done = calloc(n + 1, sizeof(*done));

	if (all && done) {
		publish_again(en, all, done, n, false);
		publish_again(en, all, done, n, true);
	} else
		log_warn("publish ports again: not enough memory");
	for (size_t i = 0; all && i < n; i++)
		container_unref(all[i]);
}

static void restore(Engine *en, Network *const *all, size_t n)
{
	Err err = {0};

	network_firewall_hold(en->nethost);
	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&en->lock);
		bool used = all[i]->users > 0 && !all[i]->removed;
		pthread_mutex_unlock(&en->lock);
		if (used)
			note(network_realize(en, all[i], &err), &err, "make rules again");
	}
	restore_ports(en);
}

int networks_rules_restore(Engine *en, bool anyway, Err *e)
{
	int whole = network_rules_whole(en->nethost, e), r = whole;
	Network **all;
	size_t n;

	if (r < 0 || (r == 1 && !anyway))
		return r;
	/* What others have done to the elements is not seen from what rules there are. */
	if (network_rules_present(en->nethost, NULL) == 1)
		r = network_rules_remake(en->nethost, e);
	if (r < 0)
		return r;
	all = networks_all(en, &n);
	if (!all)
		return err_oom(e);
	restore(en, all, n);
	for (size_t i = 0; i < n; i++)
		network_unref(all[i]);
	free(all);
	return whole;
}

static void recover_all(Engine *en)
{
	size_t n;
	_cleanup_free_ Container **all = containers_all(en, &n);

	for (size_t i = 0; all && i < n; i++) {
		connect_recover(en, all[i]);
		container_unref(all[i]);
	}
}

void networks_reconcile(Engine *en)
{
	size_t n;
	Network **all = networks_all(en, &n);
	Err err = {0};
	int r = all ? reconcile(en, all, n, &err) : err_oom(&err);

	note(r, &err, "clean up what an earlier irekod left of networks");
	for (size_t i = 0; i < n; i++)
		network_unref(all[i]);
	free(all);
	note(networks_rules_restore(en, false, &err), &err, "look at the rules of networks");
	recover_all(en);
}
