/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks as objects: the built-in bridge, host and none, and those that users make.
 *
 * A network is a row; its bridge interface is made when the first container joins and removed
 * when the network is, or, for the default one, when the engine ends with no container on it. A subnet is
 * chosen at first use, because only then is it known what the host routes.
 */
#include "engine/engine-internal.h"

static const JsonField network_table[] = {
    {.name = "name", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, name)},
    {.name = "driver", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, driver)},
    {.name = "created_ns", .type = JSON_T_INT, .offset = offsetof(NetworkInfo, created_ns)},
    {.name = "subnet", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, subnet), .keep_empty = true},
    {.name = "gateway", .type = JSON_T_STR, .offset = offsetof(NetworkInfo, gateway), .keep_empty = true},
    {.name = "internal", .type = JSON_T_BOOL, .offset = offsetof(NetworkInfo, internal)},
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

static void network_free(Network *n)
{
	if (!n)
		return;
	network_info_done(&n->info);
	pthread_mutex_destroy(&n->life);
	free(n);
}

static int network_save(Engine *en, const Network *n, Err *e)
{
	_cleanup_json_ json_t *doc = json_encode(network_table, &n->info);

	if (!doc)
		return err_oom(e);
	return store_doc_put(en->store, COLLECTION_NETWORK, n->info.id, doc, e);
}

static Network *network_new(const char *name, const char *driver)
{
	Network *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	pthread_mutex_init(&n->life, NULL);
	n->info = (NetworkInfo){
	    .name = strdup(name),
	    .driver = strdup(driver),
	    .created_ns = clock_now_ns(),
	    .subnet = strdup(""),
	    .gateway = strdup(""),
	    .bridge = strdup(""),
	};
	id_random_hex(n->info.id, ID_LEN);
	return n;
}

static Network *by_name(Engine *en, const char *name)
{
	Network *n, *tmp;

	HASH_ITER (hh, en->networks, n, tmp)
		if (streq(n->info.name, name))
			return n;
	return NULL;
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
	if (r >= 0 && (!n->info.name || !n->info.driver || !n->info.subnet))
		r = err_new(&err, ERR_INVALID, "incomplete");
	if (r >= 0 && *n->info.subnet)
		r = network_subnet_parse(n->info.subnet, n->info.gateway, &n->subnet, &err);
	if (r < 0) {
		log_error("network %.12s: its record cannot be read and is left alone: %s", key,
			  err_msg(&err, r));
		network_free(n);
		return 0;
	}
	HASH_ADD_STR(en->networks, info.id, n);
	return 0;
}

static int builtin_ensure(Engine *en, const char *name, const char *driver, Err *e)
{
	Network *n = by_name(en, name);

	if (n)
		return 0;
	n = network_new(name, driver);
	if (!n || !n->info.name)
		return err_oom(e);
	n->info.builtin = true;
	if (streq(driver, "bridge")) {
		free(n->info.bridge);
		n->info.bridge = strdup(en->bridge_name);
	}
	HASH_ADD_STR(en->networks, info.id, n);
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
		HASH_DEL(en->networks, n);
		network_free(n);
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
	pthread_mutex_unlock(&en->lock);
	if (matches > 1)
		return err_new(e, ERR_INVALID, "network %s is ambiguous (%d matches found on ID prefix)", ref,
			       matches);
	if (!found)
		return err_new(e, ERR_NOT_FOUND, "network %s not found", ref);
	*ret = found;
	return 0;
}

/* Fixes the subnet of a bridge network: the one asked for, or the first that nobody uses. en->lock is not held. */
static int subnet_settle(Engine *en, Network *n, const char *wanted, const char *gateway, Err *e)
{
	NetworkSubnet used[256];
	size_t n_used = 0;
	Network *other, *tmp;
	int r;

	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->networks, other, tmp)
		if (other != n && other->subnet.prefix && n_used < ELEMENTSOF(used))
			used[n_used++] = other->subnet;
	pthread_mutex_unlock(&en->lock);
	if (str_empty(wanted)) {
		r = network_subnet_choose(en->nethost, used, n_used, &n->subnet, e);
	} else {
		r = network_subnet_parse(wanted, str_empty(gateway) ? NULL : gateway, &n->subnet, e);
		for (size_t i = 0; r >= 0 && i < n_used; i++) {
			uint8_t p = MIN2(used[i].prefix, n->subnet.prefix);
			uint32_t mask = p ? ~0u << (32 - p) : 0;

			if ((used[i].address & mask) == (n->subnet.address & mask))
				r = err_new(
				    e, ERR_DENIED,
				    "Pool overlaps with other one on this address space: %s overlaps %s",
				    wanted, network_subnet_text(&used[i]).s);
		}
		if (r >= 0)
			r = network_subnet_check(en->nethost, &n->subnet, e);
	}
	if (r < 0)
		return r;
	char *subnet = strdup(network_subnet_text(&n->subnet).s),
	     *gw = strdup(network_address_text(n->subnet.gateway).s);
	if (!subnet || !gw) {
		free(subnet);
		free(gw);
		return err_oom(e);
	}
	pthread_mutex_lock(&en->lock);
	free(n->info.subnet);
	free(n->info.gateway);
	n->info.subnet = subnet;
	n->info.gateway = gw;
	pthread_mutex_unlock(&en->lock);
	return 0;
}

static NetworkBridge bridge_of(const Network *n)
{
	NetworkBridge b = {.subnet = n->subnet, .internal = n->info.internal, .icc = true};
	const char *icc = strv_env_get(n->info.options, "com.docker.network.bridge.enable_icc");
	const char *mtu = strv_env_get(n->info.options, "com.docker.network.driver.mtu");
	int v;

	snprintf(b.name, sizeof(b.name), "%s", n->info.bridge);
	if (icc && streq(icc, "false"))
		b.icc = false;
	if (mtu && str_to_int(mtu, 68, 65535, &v) >= 0)
		b.mtu = (uint32_t)v;
	return b;
}

int network_realize(Engine *en, Network *n, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&n->life);
	if (!n->subnet.prefix) {
		r = subnet_settle(en, n, n->info.builtin ? en->options.bridge_subnet : NULL, NULL, e);
		if (r >= 0)
			r = network_save(en, n, e);
	}
	if (r >= 0) {
		NetworkBridge b = bridge_of(n);

		r = network_bridge_ensure(en->nethost, &b, e);
	}
	pthread_mutex_unlock(&n->life);
	return err_ctx(e, r, "network %s", n->info.name);
}

int engine_network_create(Engine *en, const EngineNetworkCreate *c, char **ret_id, Err *e)
{
	const char *driver = str_empty(c->driver) ? "bridge" : c->driver;
	Network *n;
	int r = 0;

	if (str_empty(c->name))
		return err_new(e, ERR_INVALID, "network name is required");
	if (streq(c->name, "default") || streq(c->name, "host") || streq(c->name, "none") ||
	    streq(c->name, "bridge"))
		return err_new(e, ERR_DENIED, "operation is not permitted on predefined %s network", c->name);
	if (!streq(driver, "bridge"))
		return err_new(e, ERR_NOT_FOUND, "plugin \"%s\" not found: the driver offered is bridge",
			       driver);
	n = network_new(c->name, driver);
	if (!n)
		return err_oom(e);
	n->info.internal = c->internal;
	n->info.attachable = c->attachable;
	n->info.labels = strv_dup(c->labels);
	n->info.options = strv_dup(c->options);
	free(n->info.bridge);
	n->info.bridge = strf("br-%.12s", n->info.id);
	if (!n->info.labels || !n->info.options || !n->info.bridge)
		r = err_oom(e);
	if (r >= 0)
		r = subnet_settle(en, n, c->subnet, c->gateway, e);
	if (r >= 0) {
		pthread_mutex_lock(&en->lock);
		if (by_name(en, c->name))
			r = err_new(e, ERR_CONFLICT, "network with name %s already exists", c->name);
		else
			HASH_ADD_STR(en->networks, info.id, n);
		pthread_mutex_unlock(&en->lock);
	}
	if (r < 0) {
		network_free(n);
		return r;
	}
	*ret_id = strdup(n->info.id);
	r = network_save(en, n, e);
	if (r < 0)
		return r;
	char *attributes[] = {(char *)"type=bridge", NULL, NULL};
	_cleanup_free_ char *name = strf("name=%s", c->name);
	attributes[1] = name;
	engine_event(en, "network", "create", n->info.id, attributes);
	return *ret_id ? 0 : err_oom(e);
}

int engine_network_remove(Engine *en, const char *ref, Err *e)
{
	_cleanup_free_ char *name = NULL;
	Network *n;
	int r = network_find(en, ref, &n, e);

	if (r < 0)
		return r;
	if (n->info.builtin)
		return err_new(e, ERR_DENIED, "%s is a pre-defined network and cannot be removed",
			       n->info.name);
	pthread_mutex_lock(&n->life);
	pthread_mutex_lock(&en->lock);
	if (n->users > 0)
		r = err_new(
		    e, ERR_DENIED,
		    "error while removing network: network %s has active endpoints: stop or remove the %u "
		    "container(s) that use it",
		    n->info.name, n->users);
	else
		HASH_DEL(en->networks, n);
	pthread_mutex_unlock(&en->lock);
	if (r >= 0)
		r = network_bridge_remove(en->nethost, n->info.bridge, e);
	pthread_mutex_unlock(&n->life);
	if (r < 0)
		return r;
	r = store_doc_delete(en->store, COLLECTION_NETWORK, n->info.id, e);
	name = strf("name=%s", n->info.name);
	char *attributes[] = {name, (char *)"type=bridge", NULL};
	engine_event(en, "network", "destroy", n->info.id, attributes);
	network_free(n);
	return r;
}

int engine_network_inspect(Engine *en, const char *ref, NetworkInfo *ret, Err *e)
{
	NetworkInfo i = {0};
	Network *n;
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
