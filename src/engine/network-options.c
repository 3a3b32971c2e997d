/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of a bridge network. Those that mean something are read here, those of Docker's names that we do not honour are refused by
 * name, and any other key is the user's own note, kept and shown.
 */
#include "engine/engine-internal.h"

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

/* Values that ask for what is done anyway are no request. */
static bool is_default(const char *key, const char *value)
{
	return streq(key, BRIDGE "default_bridge") && streq(value, "false");
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

int network_options_parse(char *const *options, NetworkOptions *ret, Err *e)
{
	NetworkOptions o;

	network_options_default(&o);

	for (size_t i = 0; options && options[i]; i++) {
		size_t n = strcspn(options[i], "=");
		_cleanup_free_ char *key = strndup(options[i], n);
		int r;

		if (!key)
			return err_oom(e);
		r = parse_one(key, options[i][n] ? options[i] + n + 1 : "", &o, e);
		if (r < 0)
			return r;
	}
	*ret = o;
	return 0;
}
