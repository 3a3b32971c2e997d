/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API's EndpointSettings as they are asked for: at create, by network name, and at connect.
 */
#include "engine/container-config.h"

#include "base/str.h"

static int decode_ipam(const json_t *ipam, ContainerEndpointConfig *ep, Err *e)
{
	const char *v4 = json_get_str(ipam, "IPv4Address"), *v6 = json_get_str(ipam, "IPv6Address");

	if (!str_empty(v4) && !(ep->ipv4_address = strdup(v4)))
		return err_oom(e);
	if (!str_empty(v6) && !(ep->ipv6_address = strdup(v6)))
		return err_oom(e);
	if (json_array_size(container_member(ipam, "LinkLocalIPs")) > 0)
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "LinkLocalIPs is not offered: leave it out, and add the addresses in the container");
	return 0;
}

int container_endpoint_decode(const char *network, const json_t *o, ContainerEndpointConfig *ret, Err *e)
{
	const char *mac = json_get_str(o, "MacAddress");
	ContainerEndpointConfig ep = {.gw_priority = json_get_int(o, "GwPriority", 0)};
	int r = 0;

	if (o && !json_is_null(o) && !json_is_object(o))
		return err_new(e, ERR_INVALID, "EndpointsConfig.%s: expected an object", network);
	ep.network = strdup(network);
	if (!str_empty(mac))
		ep.mac_address = strdup(mac);
	if (!ep.network || (!str_empty(mac) && !ep.mac_address))
		r = err_oom(e);
	if (r >= 0)
		r = decode_ipam(container_member(o, "IPAMConfig"), &ep, e);
	if (r >= 0 && json_to_strv(container_member(o, "Aliases"), &ep.aliases) < 0)
		r = err_new(e, ERR_INVALID, "Aliases: expected strings");
	if (r >= 0 && json_to_strv(container_member(o, "Links"), &ep.links) < 0)
		r = err_new(e, ERR_INVALID, "Links: expected strings");
	if (r >= 0 && json_map_to_strv(container_member(o, "DriverOpts"), &ep.driver_opts) < 0)
		r = err_new(e, ERR_INVALID, "DriverOpts: expected an object of strings");
	if (r < 0) {
		container_endpoint_done(&ep);
		return err_ctx(e, r, "EndpointsConfig.%s", network);
	}
	*ret = ep;
	return 0;
}

static void set(json_t *o, const char *name, json_t *value)
{
	(void)json_object_set_new(o, name, value);
}

json_t *container_endpoint_encode(const ContainerEndpointConfig *ep)
{
	json_t *o = json_object();

	if (!o)
		return NULL;
	if (ep->mac_address)
		set(o, "MacAddress", json_string(ep->mac_address));
	if (ep->aliases)
		set(o, "Aliases", json_from_strv(ep->aliases));
	if (ep->links)
		set(o, "Links", json_from_strv(ep->links));
	if (ep->driver_opts)
		set(o, "DriverOpts", json_map_from_strv(ep->driver_opts));
	if (ep->gw_priority)
		set(o, "GwPriority", json_integer(ep->gw_priority));
	if (ep->ipv4_address || ep->ipv6_address)
		set(o, "IPAMConfig",
		    json_pack("{s:s*, s:s*}", "IPv4Address", ep->ipv4_address, "IPv6Address",
			      ep->ipv6_address));
	return o;
}

/* Of copies: documents have some of it nested. */
#define MEMBER(m, t)                                                                                         \
	{                                                                                                    \
		.name = #m, .type = t, .offset = offsetof(ContainerEndpointConfig, m)                        \
	}
static const JsonField copy_table[] = {
    MEMBER(network, JSON_T_STR),      MEMBER(ipv4_address, JSON_T_STR), MEMBER(ipv6_address, JSON_T_STR),
    MEMBER(mac_address, JSON_T_STR),  MEMBER(aliases, JSON_T_STRV),     MEMBER(links, JSON_T_STRV),
    MEMBER(driver_opts, JSON_T_STRV), MEMBER(gw_priority, JSON_T_INT),  {0},
};

int container_endpoints_copy(const ContainerConfig *from, ContainerConfig *ret)
{
	int r = 0;

	if (from->n_endpoints == 0)
		return 0;
	ret->endpoints = calloc(from->n_endpoints, sizeof(*ret->endpoints));
	if (!ret->endpoints)
		return -ENOMEM;
	for (; r >= 0 && ret->n_endpoints < from->n_endpoints; ret->n_endpoints++)
		r = json_fields_copy(copy_table, &from->endpoints[ret->n_endpoints],
				     &ret->endpoints[ret->n_endpoints]);
	return r;
}

void container_endpoint_done(ContainerEndpointConfig *ep)
{
	json_fields_done(copy_table, ep);
}

int container_endpoint_add(ContainerConfig *c, const ContainerEndpointConfig *ep, Err *e)
{
	ContainerEndpointConfig *v = reallocarray(c->endpoints, c->n_endpoints + 1, sizeof(*v));

	if (!v)
		return err_oom(e);
	c->endpoints = v;
	v[c->n_endpoints++] = *ep;
	return 0;
}

int container_endpoints_decode(const json_t *obj, ContainerConfig *c, Err *e)
{
	const char *name;
	json_t *value;

	if (!json_is_object(obj))
		return 0;
	json_object_foreach ((json_t *)obj, name, value) {
		ContainerEndpointConfig ep;
		int r = container_endpoint_decode(name, value, &ep, e);

		if (r < 0)
			return r;
		r = container_endpoint_add(c, &ep, e);
		if (r < 0) {
			container_endpoint_done(&ep);
			return r;
		}
	}
	return 0;
}

json_t *container_endpoints_encode(const ContainerConfig *c)
{
	json_t *obj = json_object();

	for (size_t i = 0; obj && i < c->n_endpoints; i++)
		set(obj, c->endpoints[i].network, container_endpoint_encode(&c->endpoints[i]));
	return obj;
}
