/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints of networks. */
#include "api/docker/door-internal.h"

static json_t *network_doc(const NetworkInfo *i)
{
	json_t *config = json_array();

	if (!str_empty(i->subnet)) {
		json_t *one = json_pack("{s:o}", "Subnet", doc_str(i->subnet));

		if (!str_empty(i->gateway))
			json_object_set_new(one, "Gateway", doc_str(i->gateway));
		json_array_append_new(config, one);
	}
	return json_pack("{s:o, s:s, s:o, s:s, s:o, s:b, s:b, s:{s:s, s:n, s:o}, s:b, s:b, s:b, s:{s:s}, "
			 "s:b, s:{}, s:o, s:o}",
			 "Name", doc_str(i->name), "Id", i->id, "Created", doc_time(i->created_ns), "Scope",
			 "local", "Driver", doc_str(i->driver), "EnableIPv4", 1, "EnableIPv6", 0, "IPAM",
			 "Driver", "default", "Options", "Config", config, "Internal", i->internal,
			 "Attachable", i->attachable, "Ingress", 0, "ConfigFrom", "Network", "", "ConfigOnly",
			 0, "Containers", "Options", doc_map(i->options), "Labels", doc_map(i->labels));
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
			_cleanup_free_ char *cidr = NULL;

			if (!streq0(ep->network_id, net->id) || v[i].pid <= 0)
				continue;
			cidr = str_empty(ep->address) ? strdup("") : strf("%s/%ld", ep->address, ep->prefix);
			json_object_set_new(json_object_get(doc, "Containers"), v[i].id,
					    json_pack("{s:o, s:o, s:o, s:o, s:s}", "Name", doc_str(v[i].name),
						      "EndpointID", doc_str(ep->endpoint_id), "MacAddress",
						      doc_str(ep->mac), "IPv4Address", doc_str(cidr),
						      "IPv6Address", ""));
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
	json_t *doc;
	int r = engine_network_inspect(d->engine, http_param(rq, "id"), &i, e);

	if (r < 0)
		return r;
	doc = network_doc(&i);
	r = doc ? add_containers(d, doc, &i, e) : err_oom(e);
	if (r < 0) {
		json_decref(doc);
		return r;
	}
	return reply_doc(rq, 200, doc, e);
}

int h_network_create(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_strv_ char **labels = NULL, **options = NULL;
	_cleanup_free_ char *id = NULL;
	const json_t *ipam;
	EngineNetworkCreate c;
	int r = http_body_json(rq, true, &body, e);

	if (r >= 0 && (json_map_to_strv(json_object_get(body, "Labels"), &labels) < 0 ||
		       json_map_to_strv(json_object_get(body, "Options"), &options) < 0))
		r = err_new(e, ERR_INVALID, "network: Labels and Options must be objects of strings");
	if (r >= 0 && json_get_bool(body, "EnableIPv6", false))
		r = err_new(e, ERR_UNSUPPORTED, "IPv6 networks are not offered yet");
	if (r < 0)
		return r;
	ipam = json_object_get(json_object_get(body, "IPAM"), "Config");
	if (json_array_size(ipam) > 1)
		return err_new(e, ERR_UNSUPPORTED, "a network has one subnet here, %zu were given",
			       json_array_size(ipam));
	ipam = json_array_get(ipam, 0);
	c = (EngineNetworkCreate){
	    .name = json_get_str(body, "Name"),
	    .driver = json_get_str(body, "Driver"),
	    .subnet = json_get_str(ipam, "Subnet"),
	    .gateway = json_get_str(ipam, "Gateway"),
	    .internal = json_get_bool(body, "Internal", false),
	    .attachable = json_get_bool(body, "Attachable", false),
	    .labels = labels,
	    .options = options,
	};
	if (str_empty(c.name))
		return err_new(e, ERR_INVALID, "network: Name must be given");
	r = engine_network_create(d->engine, &c, &id, e);
	return r < 0 ? r : reply_doc(rq, 201, json_pack("{s:s, s:s}", "Id", id, "Warning", ""), e);
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
