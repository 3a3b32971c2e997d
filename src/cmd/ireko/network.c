/* SPDX-License-Identifier: Apache-2.0 */
/* network create, ls, rm, connect, disconnect. */
#include "base/clock.h"
#include "client.h"
#include "config.h"
#include "env-file.h"
#include "format.h"
#include "ipam.h"
#include "options.h"
#include "rows.h"
#include "text.h"
#include "verbs.h"

typedef struct CreateOptions {
	const char *driver, *ipam_driver, *scope, *config_from;
	bool attachable, internal, config_only, ingress;
	Tri ipv4, ipv6;
	List aux, gateways, ranges, subnets, labels, opts, ipam_opts;
} CreateOptions;

#define O(field) offsetof(CreateOptions, field)
static const Flag create_flags[] = {
    {"attachable", 0, FLAG_BOOL, O(attachable), "Allow containers to be attached by hand", NULL},
    {"aux-address", 0, FLAG_LIST, O(aux), "Address that is used by something else: NAME=IP", "map"},
    {"config-from", 0, FLAG_STRING, O(config_from), "Network to copy the configuration from", NULL},
    {"config-only", 0, FLAG_BOOL, O(config_only), "Make a configuration only", NULL},
    {"driver", 'd', FLAG_STRING, O(driver), "Driver of the network (default bridge)", NULL},
    {"gateway", 0, FLAG_CSV, O(gateways), "Gateway of a subnet", NULL},
    {"ingress", 0, FLAG_BOOL, O(ingress), NULL, NULL},
    {"internal", 0, FLAG_BOOL, O(internal), "No access to the outside", NULL},
    {"ip-range", 0, FLAG_CSV, O(ranges), "Part of a subnet to give addresses from", NULL},
    {"ipam-driver", 0, FLAG_STRING, O(ipam_driver), "Driver of the address management", NULL},
    {"ipam-opt", 0, FLAG_LIST, O(ipam_opts), "Option of the address management", "map"},
    {"ipv4", 0, FLAG_TRI, O(ipv4), "Give IPv4 addresses (default true)", NULL},
    {"ipv6", 0, FLAG_TRI, O(ipv6), "Give IPv6 addresses", NULL},
    {"label", 0, FLAG_LIST, O(labels), "Set a label", NULL},
    {"opt", 'o', FLAG_LIST, O(opts), "Option of the driver", "map"},
    {"scope", 0, FLAG_STRING, O(scope), "Scope of the network", NULL},
    {"subnet", 0, FLAG_CSV, O(subnets), "Subnet, as in 10.1.0.0/16", NULL},
    {0},
};
#undef O

static int set(json_t *j, const char *name, json_t *value, Err *e)
{
	return json_object_set_new(j, name, value) < 0
		   ? err_new(e, ERR_INVALID, "%s: out of memory, or the text is no UTF-8", name)
		   : 0;
}

static int make_create_body(const Call *call, json_t **ret, Err *e)
{
	const CreateOptions *o = call->opts;
	_cleanup_json_ json_t *j = json_object(), *ipam = json_object();
	_cleanup_strv_ char **labels = NULL;
	int r = labels_collect(NULL, o->labels.v, &labels, e);

	if (r < 0)
		return r;
	json_t *config = ipam_config(o->subnets.v, o->ranges.v, o->gateways.v, o->aux.v, e);
	if (!config)
		return -EINVAL;
	if (set(ipam, "Driver", json_string(o->ipam_driver ? o->ipam_driver : "default"), e) < 0 ||
	    set(ipam, "Config", config, e) < 0 ||
	    set(ipam, "Options", json_map_from_strv(o->ipam_opts.v), e) < 0 ||
	    set(j, "Name", json_string(call->args[0]), e) < 0 ||
	    set(j, "Driver", json_string(o->driver ? o->driver : "bridge"), e) < 0 ||
	    set(j, "Internal", json_boolean(o->internal), e) < 0 ||
	    set(j, "Attachable", json_boolean(o->attachable), e) < 0 ||
	    set(j, "Ingress", json_boolean(o->ingress), e) < 0 ||
	    set(j, "ConfigOnly", json_boolean(o->config_only), e) < 0 ||
	    set(j, "Options", json_map_from_strv(o->opts.v), e) < 0 ||
	    set(j, "Labels", json_map_from_strv(labels), e) < 0 || set(j, "IPAM", json_incref(ipam), e) < 0)
		return -EINVAL;
	if ((o->ipv4 && set(j, "EnableIPv4", json_boolean(tri(o->ipv4, true)), e) < 0) ||
	    (o->ipv6 && set(j, "EnableIPv6", json_boolean(tri(o->ipv6, false)), e) < 0) ||
	    (o->scope && set(j, "Scope", json_string(o->scope), e) < 0) ||
	    (o->config_from && set(j, "ConfigFrom", json_pack("{s:s}", "Network", o->config_from), e) < 0))
		return -EINVAL;
	*ret = take_ptr(j);
	return 0;
}

static int run_create(Call *call, Err *e)
{
	_cleanup_json_ json_t *body = NULL, *answer = NULL;
	int r = make_create_body(call, &body, e);

	if (r == 0)
		r = api_call(call->cli, "POST", "/networks/create", body, &answer, e);
	if (r < 0)
		return r;
	const char *warning = json_get_str(answer, "Warning"), *id = json_get_str(answer, "Id");
	if (!str_empty(warning))
		cli_complain(call->cli, "WARNING: %s", warning);
	(void)printf("%s\n", id ? id : "");
	return 0;
}

/* ---- ls */

typedef struct LsOptions {
	List filters;
	const char *format;
	bool no_trunc, quiet;
} LsOptions;

#define O(field) offsetof(LsOptions, field)
static const Flag ls_flags[] = {
    {"filter", 'f', FLAG_LIST, O(filters), "Show only what matches KEY=VALUE", "filter"},
    {"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL},
    {"no-trunc", 0, FLAG_BOOL, O(no_trunc), "Show everything in full length", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Show ids only", NULL},
    {0},
};
#undef O

static const Column columns[] = {
    {"ID", "NETWORK ID"},
    {"Name", "NAME"},
    {"Driver", "DRIVER"},
    {"Scope", "SCOPE"},
    {"IPv4", "IPV4"},
    {"IPv6", "IPV6"},
    {"Internal", "INTERNAL"},
    {"Labels", "LABELS"},
    {"CreatedAt", "CREATED AT"},
    {NULL, NULL},
};

static int add_row(json_t *rows, const json_t *n, bool full)
{
	const char *id = json_get_str(n, "Id");
	json_t *row = json_object();
	int r = json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = row_take(row, "ID", full ? strdup(id ? id : "") : text_short_id(id ? id : ""));
	if (r == 0)
		r = row_add(row, "Name", json_get_str(n, "Name"));
	if (r == 0)
		r = row_add(row, "Driver", json_get_str(n, "Driver"));
	if (r == 0)
		r = row_add(row, "Scope", json_get_str(n, "Scope"));
	if (r == 0)
		r = row_add(row, "IPv4", json_get_bool(n, "EnableIPv4", true) ? "true" : "false");
	if (r == 0)
		r = row_add(row, "IPv6", json_get_bool(n, "EnableIPv6", false) ? "true" : "false");
	if (r == 0)
		r = row_add(row, "Internal", json_get_bool(n, "Internal", false) ? "true" : "false");
	if (r == 0)
		r = row_add_labels(row, json_object_get(n, "Labels"));
	int64_t created = 0;
	if (r == 0 &&
	    clock_parse(json_get_str(n, "Created") ? json_get_str(n, "Created") : "", &created) == 0)
		return row_take(row, "CreatedAt", text_go_time(created));
	return r == 0 ? row_add(row, "CreatedAt", json_get_str(n, "Created")) : r;
}

static int run_ls(Call *call, Err *e)
{
	const LsOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_json_ json_t *list = NULL, *rows = json_array(), *sorted = NULL;
	int r;

	strbuf_add(&target, "/networks");
	r = api_add_filters(&target, o->filters.v, e);
	if (r == 0)
		r = api_get(call->cli, target.s, &list, e);
	if (r < 0)
		return r;
	sorted = rows_sorted(list, "Name");
	if (!sorted)
		return err_oom(e);
	for (size_t i = 0; i < json_array_size(sorted); i++)
		if (add_row(rows, json_array_get(sorted, i), o->no_trunc) < 0)
			return err_oom(e);
	ListFormat lf = {columns, "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
			 "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n"};
	if (o->quiet && (!o->format || str_starts(o->format, "table")))
		return format_list(call->cli, &lf, "{{.ID}}", rows, e);
	return format_list(call->cli, &lf,
			   o->quiet ? o->format : config_format(call->cli, "networksFormat", o->format), rows,
			   e);
}

/* ---- rm, connect, disconnect */

typedef struct RmOptions {
	bool force;
} RmOptions;

static const Flag rm_flags[] = {
    {"force", 'f', FLAG_BOOL, offsetof(RmOptions, force), "A network that does not exist is no error", NULL},
    {0},
};

static int remove_one(Call *call, const char *arg, Err *e)
{
	const RmOptions *o = call->opts;
	_cleanup_free_ char *path = api_path("networks", arg, "", e);
	int r = path ? api_call(call->cli, "DELETE", path, NULL, NULL, e) : -EINVAL;

	if (r < 0 && o->force && e->kind == ERR_NOT_FOUND)
		return 0;
	if (r >= 0)
		(void)printf("%s\n", arg);
	return r;
}

static int run_rm(Call *call, Err *e)
{
	return cli_for_each(call, remove_one);
}

typedef struct ConnectOptions {
	List aliases, driver_opts, links, link_local_ips;
	const char *ip, *ip6;
	Num gw_priority;
	bool force;
} ConnectOptions;

#define O(field) offsetof(ConnectOptions, field)
static const Flag connect_flags[] = {
    {"alias", 0, FLAG_CSV, O(aliases), "Another name of the container in the network", NULL},
    {"driver-opt", 0, FLAG_CSV, O(driver_opts), "Option of the driver", NULL},
    {"gw-priority", 0, FLAG_INT, O(gw_priority), "The highest one is the default gateway", NULL},
    {"ip", 0, FLAG_STRING, O(ip), "IPv4 address", NULL},
    {"ip6", 0, FLAG_STRING, O(ip6), "IPv6 address", NULL},
    {"link", 0, FLAG_LIST, O(links), "Link to another container", NULL},
    {"link-local-ip", 0, FLAG_CSV, O(link_local_ips), "Link-local address", NULL},
    {0},
};

static const Flag disconnect_flags[] = {
    {"force", 'f', FLAG_BOOL, O(force), "Disconnect by force", NULL},
    {0},
};
#undef O

static int make_endpoint(const ConnectOptions *o, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *j = json_object(), *ipam = json_object();

	if ((o->ip && set(ipam, "IPv4Address", json_string(o->ip), e) < 0) ||
	    (o->ip6 && set(ipam, "IPv6Address", json_string(o->ip6), e) < 0) ||
	    (o->link_local_ips.v && set(ipam, "LinkLocalIPs", json_from_strv(o->link_local_ips.v), e) < 0) ||
	    (json_object_size(ipam) && set(j, "IPAMConfig", json_incref(ipam), e) < 0) ||
	    (o->aliases.v && set(j, "Aliases", json_from_strv(o->aliases.v), e) < 0) ||
	    (o->links.v && set(j, "Links", json_from_strv(o->links.v), e) < 0) ||
	    (o->driver_opts.v && set(j, "DriverOpts", json_map_from_strv(o->driver_opts.v), e) < 0) ||
	    (o->gw_priority.set && set(j, "GwPriority", json_integer(o->gw_priority.v), e) < 0))
		return -EINVAL;
	*ret = take_ptr(j);
	return 0;
}

static int run_connect(Call *call, Err *e)
{
	_cleanup_json_ json_t *endpoint = NULL, *body = NULL;
	_cleanup_free_ char *path = api_path("networks", call->args[0], "/connect", e);
	int r = path ? make_endpoint(call->opts, &endpoint, e) : -EINVAL;

	if (r < 0)
		return r;
	body = json_pack("{s:s, s:O}", "Container", call->args[1], "EndpointConfig", endpoint);
	r = body ? api_call(call->cli, "POST", path, body, NULL, e) : err_oom(e);
	return r < 0 ? r : 0;
}

static int run_disconnect(Call *call, Err *e)
{
	const ConnectOptions *o = call->opts;
	_cleanup_json_ json_t *body = json_pack("{s:s, s:b}", "Container", call->args[1], "Force", o->force);
	_cleanup_free_ char *path = api_path("networks", call->args[0], "/disconnect", e);

	if (!path)
		return -EINVAL;
	int r = body ? api_call(call->cli, "POST", path, body, NULL, e) : err_oom(e);
	return r < 0 ? r : 0;
}

/* ---- renumber */

typedef struct RenumberOptions {
	const char *subnet;
} RenumberOptions;

static const Flag renumber_flags[] = {
    {"subnet", 0, FLAG_STRING, offsetof(RenumberOptions, subnet),
     "The new subnet; otherwise one that is free", "CIDR"},
    {0},
};

static int run_renumber(Call *call, Err *e)
{
	const RenumberOptions *o = call->opts;
	_cleanup_json_ json_t *body = json_object(), *answer = NULL;
	_cleanup_free_ char *path = api_path("ireko/networks", call->args[0], "/renumber", e);
	const json_t *config, *one;
	size_t i;
	int r = path ? 0 : -EINVAL;

	if (r >= 0 && o->subnet)
		r = set(body, "Subnet", json_string(o->subnet), e);
	if (r >= 0)
		r = api_call(call->cli, "POST", path, body, &answer, e);
	if (r < 0)
		return r;
	config = json_object_get(json_object_get(answer, "IPAM"), "Config");
	json_array_foreach (config, i, one)
		(void)printf("%s\n", json_get_str(one, "Subnet"));
	return 0;
}

const Command cmd_network_create = {.usage = "[OPTIONS] NETWORK",
				    .summary = "Make a network",
				    .flags = create_flags,
				    .opts_size = sizeof(CreateOptions),
				    .min = 1,
				    .max = 1,
				    .run = run_create};
const Command cmd_network_ls = {.usage = "[OPTIONS]",
				.summary = "List networks",
				.flags = ls_flags,
				.opts_size = sizeof(LsOptions),
				.run = run_ls};
const Command cmd_network_rm = {.usage = "NETWORK [NETWORK...]",
				.summary = "Remove networks",
				.flags = rm_flags,
				.opts_size = sizeof(RmOptions),
				.min = 1,
				.max = -1,
				.run = run_rm};
const Command cmd_network_connect = {.usage = "[OPTIONS] NETWORK CONTAINER",
				     .summary = "Connect a container to a network",
				     .flags = connect_flags,
				     .opts_size = sizeof(ConnectOptions),
				     .min = 2,
				     .max = 2,
				     .run = run_connect};
const Command cmd_network_disconnect = {.usage = "[OPTIONS] NETWORK CONTAINER",
					.summary = "Disconnect a container from a network",
					.flags = disconnect_flags,
					.opts_size = sizeof(ConnectOptions),
					.min = 2,
					.max = 2,
					.run = run_disconnect};
const Command cmd_network_renumber = {.usage = "[OPTIONS] NETWORK",
				      .summary = "Give a network another subnet, while its containers run",
				      .flags = renumber_flags,
				      .opts_size = sizeof(RenumberOptions),
				      .min = 1,
				      .max = 1,
				      .run = run_renumber};
