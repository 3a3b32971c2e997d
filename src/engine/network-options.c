/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of a network, by its driver. Those that mean something are read here, those of Docker's names that we do not honour are refused by
 * name, and any other key is the user's own note, kept and shown.
 */
#include "engine/engine-internal.h"

#include <linux/if_link.h>

#define BRIDGE "com.docker.network.bridge."
#define DRIVER "com.docker.network.driver."

/* What Go's ParseBool takes for true and false. */
static int parse_bool(const char *key, const char *value, bool *ret, Err *e)
{
	static const char *const words[] = {"1", "t", "T", "true",  "TRUE",  "True",
					    "0", "f", "F", "false", "FALSE", "False"};

	for (size_t i = 0; i < ELEMENTSOF(words); i++)
		if (streq(value, words[i])) {
			*ret = i < ELEMENTSOF(words) / 2;
			return 0;
		}
	return err_new(e, ERR_INVALID, "invalid value for %s: \"%s\": expected true or false", key, value);
}

static int parse_interface(const char *key, const char *value, size_t max, char ret[NETWORK_IFNAME], Err *e)
{
	size_t n = strlen(value);

	if (n == 0 || n > max || strpbrk(value, "/: \t\n\"%") || streq(value, ".") || streq(value, ".."))
		return err_new(
		    e, ERR_INVALID,
		    "invalid value for %s: \"%s\": expected 1 to %zu characters of an interface's name", key,
		    value, max);
	memcpy(ret, value, n + 1);
	return 0;
}

static int parse_mtu(const char *key, const char *value, uint32_t *ret, Err *e)
{
	int v;

	if (str_to_int(value, 0, 65535, &v) < 0 || (v > 0 && v < 68))
		return err_new(e, ERR_INVALID, "invalid value for %s: \"%s\": expected 68 to 65535", key,
			       value);
	*ret = (uint32_t)v;
	return 0;
}

static int parse_address(const char *key, const char *value, IpAddress *ret, Err *e)
{
	if (ip_parse(value, ret) < 0 || !ip_is_v4(*ret))
		return err_new(e, ERR_INVALID, "invalid value for %s: \"%s\": expected an IPv4 address", key,
			       value);
	return 0;
}

static int parse_mode(const char *key, const char *value, NetworkGateway *ret, Err *e)
{
	static const char *const words[] = {"nat", "nat-unprotected", "routed", "isolated"};

	for (size_t i = 0; i < ELEMENTSOF(words); i++)
		if (streq(value, words[i])) {
			*ret = (NetworkGateway)i;
			return 0;
		}
	return err_new(e, ERR_INVALID,
		       "invalid value for %s: \"%s\": expected nat, nat-unprotected, routed or isolated", key,
		       value);
}

static int parse_ports(const char *key, const char *value, NetworkPorts *ret, Err *e)
{
	if (!streq(value, "firewall") && !streq(value, "open"))
		return err_new(e, ERR_INVALID, "invalid value for %s: \"%s\": expected firewall or open", key,
			       value);
	*ret = *value == 'o' ? NETWORK_PORTS_OPEN : NETWORK_PORTS_FIREWALL;
	return 0;
}

/* Values that ask for what is done anyway are no request. */
static bool is_default(const char *key, const char *value)
{
	return streq(key, BRIDGE "default_bridge") && streq(value, "false");
}

/* A word of a list of pairs. */
typedef struct Word {
	const char *word;
	uint32_t value;
} Word;

static int parse_word(const char *key, const char *value, const Word *words, size_t n, uint32_t *ret, Err *e)
{
	_cleanup_strbuf_ StrBuf all = {0};

	for (size_t i = 0; i < n; i++) {
		if (streq(value, words[i].word)) {
			*ret = words[i].value;
			return 0;
		}
		strbuf_addf(&all, "%s%s", i ? ", " : "", words[i].word);
	}
	return err_new(e, ERR_INVALID, "invalid value for %s: \"%s\": expected one of %s", key, value,
		       all.s ?: "");
}

static int parse_macvlan(const char *key, const char *value, NetworkOptions *o, Err *e)
{
	static const Word modes[] = {{"bridge", MACVLAN_MODE_BRIDGE},
				     {"private", MACVLAN_MODE_PRIVATE},
				     {"vepa", MACVLAN_MODE_VEPA},
				     {"passthru", MACVLAN_MODE_PASSTHRU}};

	return streq(key, "macvlan_mode") ? parse_word(key, value, modes, ELEMENTSOF(modes), &o->mode, e) : 0;
}

static int parse_ipvlan(const char *key, const char *value, NetworkOptions *o, Err *e)
{
	static const Word modes[] = {{"l2", IPVLAN_MODE_L2},
				     {"l3", IPVLAN_MODE_L3},
				     {"l3s", IPVLAN_MODE_L3S}},
			  flags[] = {{"bridge", 0}, {"private", IPVLAN_F_PRIVATE}, {"vepa", IPVLAN_F_VEPA}};
	uint32_t flag = 0;
	int r;

	if (streq(key, "ipvlan_flag")) {
		r = parse_word(key, value, flags, ELEMENTSOF(flags), &flag, e);
		o->flags = (uint16_t)flag;
		return r;
	}
	if (!streq(key, "ipvlan_mode"))
		return 0;
	r = parse_word(key, value, modes, ELEMENTSOF(modes), &o->mode, e);
	o->layer3 = o->mode != IPVLAN_MODE_L2;
	return r;
}

/* What both have; the rest is each one's own. */
static int parse_sublink(const char *driver, const char *key, const char *value, NetworkOptions *o, Err *e)
{
	if (streq(key, "parent"))
		return *value ? parse_interface(key, value, NETWORK_IFNAME - 1, o->parent, e) : 0;
	if (streq(key, "com.docker.network.container_iface_prefix"))
		return parse_interface(key, value, NETWORK_IFNAME - 5, o->interface, e);
	if (streq(key, DRIVER "mtu"))
		return parse_mtu(key, value, &o->mtu, e);
	if (str_starts(key, "com.docker.network.") && !str_starts(key, "com.docker.network.enable_ipv"))
		return err_new(e, ERR_UNSUPPORTED,
			       "network option %s=%s is not offered with driver %s: leave it out", key, value,
			       driver);
	return streq(driver, "macvlan") ? parse_macvlan(key, value, o, e) : parse_ipvlan(key, value, o, e);
}

static int parse_one(const char *key, const char *value, NetworkOptions *o, Err *e)
{
	bool ignored;

	if (streq(key, BRIDGE "name"))
		return *value ? parse_interface(key, value, NETWORK_IFNAME - 1, o->bridge, e) : 0;
	if (streq(key, "com.docker.network.container_iface_prefix") ||
	    streq(key, "com.docker.network.container_interface_prefix"))
		return parse_interface(key, value, NETWORK_IFNAME - 5, o->interface, e);
	if (streq(key, BRIDGE "enable_icc"))
		return parse_bool(key, value, &o->icc, e);
	if (streq(key, BRIDGE "enable_ip_masquerade"))
		return parse_bool(key, value, &o->masquerade, e);
	if (streq(key, BRIDGE "host_binding_ipv4"))
		return parse_address(key, value, &o->host_binding, e);
	if (streq(key, BRIDGE "gateway_mode_ipv4"))
		return parse_mode(key, value, &o->gateway[IP_V4], e);
	if (streq(key, BRIDGE "gateway_mode_ipv6"))
		return parse_mode(key, value, &o->gateway[IP_V6], e);
	if (streq(key, BRIDGE "inhibit_ipv4"))
		return parse_bool(key, value, &o->no_address, e);
	/* Of older clients: they are members of the request now, and network-create.c has looked at them. */
	if (streq(key, "com.docker.network.enable_ipv4") || streq(key, "com.docker.network.enable_ipv6"))
		return parse_bool(key, value, &ignored, e);
	if (streq(key, "ireko.published-ports"))
		return parse_ports(key, value, &o->ports, e);
	if (streq(key, DRIVER "mtu"))
		return parse_mtu(key, value, &o->mtu, e);
	if (str_starts(key, "com.docker.network.") && !is_default(key, value))
		return err_new(e, ERR_UNSUPPORTED, "network option %s=%s is not offered: leave it out", key,
			       value);
	return 0;
}

void network_options_default(NetworkOptions *ret)
{
	*ret =
	    (NetworkOptions){.icc = true, .masquerade = true, .host_binding = IP_V4_ANY, .interface = "eth"};
}

int network_options_parse(const char *driver, char *const *options, NetworkOptions *ret, Err *e)
{
	bool sublink = streq(driver, "macvlan") || streq(driver, "ipvlan");
	NetworkOptions o;

	network_options_default(&o);
	if (streq(driver, "macvlan"))
		o.mode = MACVLAN_MODE_BRIDGE;

	for (size_t i = 0; options && options[i]; i++) {
		size_t n = strcspn(options[i], "=");
		_cleanup_free_ char *key = strndup(options[i], n);
		int r;

		if (!key)
			return err_oom(e);
		const char *value = options[i][n] ? options[i] + n + 1 : "";

		r = sublink ? parse_sublink(driver, key, value, &o, e) : parse_one(key, value, &o, e);
		if (r < 0)
			return r;
	}
	*ret = o;
	return 0;
}
