/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints of networks. */
#include "api/docker/door-internal.h"

/* Those of one family. */
static json_t *aux_doc(const NetworkInfo *i, bool six)
{
	json_t *o = json_object();

	for (char **a = i->aux; a && *a; a++) {
		const char *eq = strchr(*a, '=');

		if (eq && (strchr(eq, ':') != NULL) == six) {
			_cleanup_free_ char *name = strndup(*a, (size_t)(eq - *a));

			json_object_set_new(o, name ?: "", doc_str(eq + 1));
		}
	}
	return o;
}

static void add_subnet(json_t *config, const NetworkInfo *i, bool six)
{
	const char *subnet = six ? i->subnet6 : i->subnet, *range = six ? i->ip_range6 : i->ip_range,
		   *gateway = six ? i->gateway6 : i->gateway;
	json_t *one, *aux;

	if (str_empty(subnet))
		return;
	one = json_pack("{s:o}", "Subnet", doc_str(subnet));
	if (!str_empty(range))
		json_object_set_new(one, "IPRange", doc_str(range));
	if (!str_empty(gateway))
		json_object_set_new(one, "Gateway", doc_str(gateway));
	aux = aux_doc(i, six);
	if (json_object_size(aux) > 0)
		json_object_set(one, "AuxiliaryAddresses", aux);
	json_decref(aux);
	json_array_append_new(config, one);
}

static json_t *ipam_config(const NetworkInfo *i)
{
	json_t *config = json_array();

	add_subnet(config, i, false);
	add_subnet(config, i, true);
	return config;
}

static void set_default(json_t *options, const char *key, const char *value)
{
	if (!json_object_get(options, key))
		json_object_set_new(options, key, doc_str(value));
}

/* The default network shows what it is, as if somebody had asked for it. */
static json_t *options_doc(const NetworkInfo *i)
{
	json_t *o = doc_map(i->options);

	if (!i->builtin || !streq(i->driver, "bridge"))
		return o;
	set_default(o, "com.docker.network.bridge.default_bridge", "true");
	set_default(o, "com.docker.network.bridge.enable_icc", "true");
	set_default(o, "com.docker.network.bridge.enable_ip_masquerade", "true");
	set_default(o, "com.docker.network.bridge.host_binding_ipv4", "0.0.0.0");
	set_default(o, "com.docker.network.bridge.name", i->bridge);
	return o;
}

static json_t *network_doc(const NetworkInfo *i)
{
	json_t *ipam_options = strv_len(i->ipam_options) > 0 ? doc_map(i->ipam_options) : json_null();

	return json_pack("{s:o, s:s, s:o, s:s, s:o, s:b, s:b, s:{s:s, s:o, s:o}, s:b, s:b, s:b, s:{s:o}, "
			 "s:b, s:{}, s:o, s:o}",
			 "Name", doc_str(i->name), "Id", i->id, "Created", doc_time(i->created_ns), "Scope",
			 "local", "Driver", doc_str(i->driver), "EnableIPv4", !i->no_ipv4, "EnableIPv6",
			 i->ipv6, "IPAM", "Driver", "default", "Options", ipam_options, "Config",
			 ipam_config(i), "Internal", i->internal, "Attachable", i->attachable, "Ingress", 0,
			 "ConfigFrom", "Network", doc_str(i->config_from), "ConfigOnly", i->config_only,
			 "Containers", "Options", options_doc(i), "Labels", doc_map(i->labels));
}

/* Who is on it right now. */
static int add_containers(Door *d, json_t *doc, const NetworkInfo *net, Err *e)
{
	ContainerInfo *v = NULL;
	size_t n = 0;
	int r = engine_container_list(d->engine, &v, &n, e);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		for (size_t k = 0; k < v[i].n_endpoints; k++) {
			const ContainerEndpoint *ep = &v[i].endpoints[k];
			_cleanup_free_ char *cidr = NULL, *cidr6 = NULL;

			if (!streq0(ep->network_id, net->id) || v[i].pid <= 0)
				continue;
			cidr = str_empty(ep->address) ? strdup("") : strf("%s/%ld", ep->address, ep->prefix);
			cidr6 =
			    str_empty(ep->address6) ? strdup("") : strf("%s/%ld", ep->address6, ep->prefix6);
			json_object_set_new(json_object_get(doc, "Containers"), v[i].id,
					    json_pack("{s:o, s:o, s:o, s:o, s:o}", "Name", doc_str(v[i].name),
						      "EndpointID", doc_str(ep->endpoint_id), "MacAddress",
						      doc_str(ep->mac), "IPv4Address", doc_str(cidr),
						      "IPv6Address", doc_str(cidr6)));
		}
	}
	container_infos_free(v, n);
	return r;
}

static bool network_used(const ContainerInfo *v, size_t n, const NetworkInfo *net)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < v[i].n_endpoints; k++)
			if (streq0(v[i].endpoints[k].network_id, net->id) ||
			    streq0(v[i].endpoints[k].network, net->name))
				return true;
	return false;
}

static int network_matches(const Filters *f, const NetworkInfo *i, const ContainerInfo *v, size_t n, Err *e)
{
	bool dangling = false;
	int r;

	if (!filters_exact(f, "driver", i->driver) || !filters_exact(f, "scope", "local") ||
	    !filters_labels(f, i->labels) || !filters_exact(f, "type", i->builtin ? "builtin" : "custom"))
		return 0;
	if (filters_has(f, "dangling")) {
		r = filters_bool(f, "dangling", &dangling, e);
		if (r < 0)
			return r;
		if (dangling == (i->builtin || network_used(v, n, i)))
			return 0;
	}
	r = filters_regex(f, "name", i->name, e);
	return r <= 0 ? r : filters_regex(f, "id", i->id, e);
}

int h_networks_list(HttpRequest *rq, void *user, Err *e)
{
	static const char *const allowed[] = {"dangling", "driver", "id",   "label", "label!",
					      "name",     "scope",  "type", NULL};
	Door *d = user;
	_cleanup_filters_ Filters f = {0};
	_cleanup_json_ json_t *a = json_array();
	ContainerInfo *cs = NULL;
	NetworkInfo *v = NULL;
	size_t n = 0, n_cs = 0;
	int r = filters_parse(http_query(rq, "filters"), &f, e);

	if (r >= 0)
		r = filters_allow(&f, allowed, e);
	if (r >= 0 && filters_has(&f, "dangling"))
		r = engine_container_list(d->engine, &cs, &n_cs, e);
	if (r >= 0)
		r = engine_network_list(d->engine, &v, &n, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = network_matches(&f, &v[i], cs, n_cs, e);
		if (r > 0)
			r = json_array_append_new(a, network_doc(&v[i])) < 0 ? err_oom(e) : 0;
	}
	network_infos_free(v, n);
	container_infos_free(cs, n_cs);
	return r < 0 ? r : reply_doc(rq, 200, json_incref(a), e);
}

int h_network_inspect(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(network_info_done) NetworkInfo i = {0};
	const char *scope = http_query(rq, "scope");
	json_t *doc;
	int r = engine_network_inspect(d->engine, http_param(rq, "id"), &i, e);

	if (r < 0)
		return r;
	if (!str_empty(scope) && !streq(scope, "local"))
		return err_new(e, ERR_NOT_FOUND, "network %s not found", http_param(rq, "id"));
	doc = network_doc(&i);
	r = doc ? add_containers(d, doc, &i, e) : err_oom(e);
	if (r < 0) {
		json_decref(doc);
		return r;
	}
	return reply_doc(rq, 200, doc, e);
}

/* Of one entry of IPAM.Config: which family it is about. */
static bool is_six(const json_t *one)
{
	static const char *const keys[] = {"Subnet", "Gateway", "IPRange"};

	for (size_t i = 0; i < ELEMENTSOF(keys); i++)
		if (strchr(json_get_str(one, keys[i]) ?: "", ':'))
			return true;
	return false;
}

/* The entry of a family, or NULL. */
static const json_t *family_config(const json_t *body, bool six)
{
	const json_t *config = json_object_get(json_object_get(body, "IPAM"), "Config"), *one;
	size_t i;

	json_array_foreach (config, i, one)
		if (is_six(one) == six)
			return one;
	return NULL;
}

/* What a network can be elsewhere, and not here. */
static int check_create(const json_t *body, Err *e)
{
	const json_t *ipam = json_object_get(body, "IPAM"), *config = json_object_get(ipam, "Config");
	const char *ipam_driver = json_get_str(ipam, "Driver"), *scope = json_get_str(body, "Scope");
	size_t i, subnets[2] = {0};
	const json_t *one;

	if (json_get_bool(body, "Ingress", false) || (!str_empty(scope) && !streq(scope, "local")))
		return err_new(
		    e, ERR_UNAVAILABLE,
		    "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to "
		    "connect this node to swarm and try again.");
	if (!str_empty(ipam_driver) && !streq(ipam_driver, "default"))
		return err_new(e, ERR_NOT_FOUND,
			       "plugin \"%s\" not found: the IPAM driver offered is default", ipam_driver);
	json_array_foreach (config, i, one)
		subnets[is_six(one)]++;
	if (subnets[0] > 1 || subnets[1] > 1)
		return err_new(e, ERR_DENIED,
			       "bridge driver doesn't support multiple subnets: %zu were given",
			       json_array_size(config));
	return 0;
}

typedef struct CreateMaps {
	char **labels, **options, **aux, **ipam_options;
} CreateMaps;

static void create_maps_done(CreateMaps *m)
{
	strv_free(m->labels);
	strv_free(m->options);
	strv_free(m->aux);
	strv_free(m->ipam_options);
}

static int create_maps(const json_t *body, CreateMaps *ret, Err *e)
{
	const json_t *ipam = json_object_get(body, "IPAM");
	_cleanup_json_ json_t *aux = json_object();
	bool bad = !aux;

	for (int six = 0; !bad && six < 2; six++) {
		const json_t *one = json_object_get(family_config(body, six), "AuxiliaryAddresses");

		bad = one && !json_is_null(one) && json_object_update(aux, (json_t *)one) < 0;
	}
	if (bad || json_map_to_strv(json_object_get(body, "Labels"), &ret->labels) < 0 ||
	    json_map_to_strv(json_object_get(body, "Options"), &ret->options) < 0 ||
	    json_map_to_strv(json_object_get(ipam, "Options"), &ret->ipam_options) < 0 ||
	    json_map_to_strv(aux, &ret->aux) < 0)
		return err_new(e, ERR_INVALID,
			       "network: Labels, Options, IPAM.Options and AuxiliaryAddresses must be "
			       "objects of strings");
	return 0;
}

/* A member of the request, or the option by which older clients say it. */
static bool family_wanted(const json_t *body, const char *member, char *const *options, const char *option,
			  bool otherwise)
{
	const char *said = strv_env_get(options, option);

	if (json_is_boolean(json_object_get(body, member)))
		return json_get_bool(body, member, otherwise);
	return said ? streq(said, "true") || streq(said, "1") : otherwise;
}

int h_network_create(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_(create_maps_done) CreateMaps maps = {0};
	_cleanup_free_ char *id = NULL;
	const json_t *four, *six;
	EngineNetworkCreate c;
	int r = http_body_json(rq, true, &body, e);

	if (r >= 0)
		r = check_create(body, e);
	if (r >= 0)
		r = create_maps(body, &maps, e);
	if (r < 0)
		return r;
	four = family_config(body, false);
	six = family_config(body, true);
	c = (EngineNetworkCreate){
	    .name = json_get_str(body, "Name"),
	    .driver = json_get_str(body, "Driver"),
	    .subnet = json_get_str(four, "Subnet"),
	    .gateway = json_get_str(four, "Gateway"),
	    .ip_range = json_get_str(four, "IPRange"),
	    .subnet6 = json_get_str(six, "Subnet"),
	    .gateway6 = json_get_str(six, "Gateway"),
	    .ip_range6 = json_get_str(six, "IPRange"),
	    .no_ipv4 =
		!family_wanted(body, "EnableIPv4", maps.options, "com.docker.network.enable_ipv4", true),
	    .ipv6 = family_wanted(body, "EnableIPv6", maps.options, "com.docker.network.enable_ipv6", false),
	    .config_from = json_get_str(json_object_get(body, "ConfigFrom"), "Network"),
	    .internal = json_get_bool(body, "Internal", false),
	    .attachable = json_get_bool(body, "Attachable", false),
	    .config_only = json_get_bool(body, "ConfigOnly", false),
	    .labels = maps.labels,
	    .options = maps.options,
	    .aux = maps.aux,
	    .ipam_options = maps.ipam_options,
	};
	r = engine_network_create(d->engine, &c, &id, e);
	return r < 0 ? r : reply_doc(rq, 201, json_pack("{s:s, s:s}", "Id", id, "Warning", ""), e);
}

static int body_container(const json_t *body, const char **ret, Err *e)
{
	*ret = json_get_str(body, "Container");
	return str_empty(*ret)
		   ? err_new(e, ERR_INVALID, "Container: the name or id of a container is missing")
		   : 0;
}

int h_network_connect(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_(container_endpoint_done) ContainerEndpointConfig config = {0};
	const char *network = http_param(rq, "id"), *container;
	int r = http_body_json(rq, true, &body, e);

	if (r >= 0)
		r = body_container(body, &container, e);
	if (r >= 0)
		r = container_endpoint_decode(network, json_object_get(body, "EndpointConfig"), &config, e);
	if (r >= 0)
		r = engine_network_connect(d->engine, network, container, &config, e);
	return r < 0 ? r : http_reply_empty(rq, 200);
}

int h_network_disconnect(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	const char *container;
	int r = http_body_json(rq, true, &body, e);

	if (r >= 0)
		r = body_container(body, &container, e);
	if (r >= 0)
		r = engine_network_disconnect(d->engine, http_param(rq, "id"), container,
					      json_get_bool(body, "Force", false), e);
	return r < 0 ? r : http_reply_empty(rq, 200);
}

int h_network_renumber(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_(network_info_done) NetworkInfo i = {0};
	const char *subnet, *id = http_param(rq, "id");
	int r = http_body_json(rq, false, &body, e);

	if (r < 0)
		return r;
	subnet = json_get_str(body, "Subnet");
	r = engine_network_renumber(d->engine, id, str_empty(subnet) ? NULL : subnet, e);
	if (r >= 0)
		r = engine_network_inspect(d->engine, id, &i, e);
	return r < 0 ? r : reply_doc(rq, 200, network_doc(&i), e);
}

int h_network_remove(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	int r = engine_network_remove(d->engine, http_param(rq, "id"), e);

	return r < 0 ? r : http_reply_empty(rq, 204);
}

/* One network in use is no failure of the whole: it is simply not unused. */
static int prune_networks(Door *d, const Filters *f, int64_t until_ns, json_t *deleted, Err *e)
{
	ContainerInfo *cs = NULL;
	NetworkInfo *v = NULL;
	size_t n = 0, n_cs = 0;
	int r = engine_container_list(d->engine, &cs, &n_cs, e);

	if (r >= 0)
		r = engine_network_list(d->engine, &v, &n, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		Err one;
		int k;

		if (v[i].builtin || v[i].created_ns >= until_ns || !filters_labels(f, v[i].labels) ||
		    network_used(cs, n_cs, &v[i]))
			continue;
		k = engine_network_remove(d->engine, v[i].id, &one);
		if (k >= 0)
			json_array_append_new(deleted, doc_str(v[i].name));
		else if (one.kind != ERR_CONFLICT && one.kind != ERR_DENIED && one.kind != ERR_NOT_FOUND) {
			*e = one;
			r = k;
		}
	}
	network_infos_free(v, n);
	container_infos_free(cs, n_cs);
	return r;
}

int h_networks_prune(HttpRequest *rq, void *user, Err *e)
{
	static const char *const allowed[] = {"label", "label!", "until", NULL};
	Door *d = user;
	_cleanup_filters_ Filters f = {0};
	_cleanup_json_ json_t *deleted = json_array();
	int64_t until = INT64_MAX;
	int r = filters_parse(http_query(rq, "filters"), &f, e);

	if (r >= 0)
		r = filters_allow(&f, allowed, e);
	if (r >= 0)
		r = filters_time(&f, "until", &until, e);
	if (r >= 0)
		r = prune_begin(d, PRUNE_NETWORKS, e);
	if (r < 0)
		return r;
	r = prune_networks(d, &f, until, deleted, e);
	prune_end(d, PRUNE_NETWORKS);
	if (r < 0)
		return r;
	return reply_doc(rq, 200, json_pack("{s:O}", "NetworksDeleted", deleted), e);
}
