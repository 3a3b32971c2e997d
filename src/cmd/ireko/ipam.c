/* SPDX-License-Identifier: Apache-2.0 */
/* See ipam.h. */
#include "ipam.h"
#include "base/str.h"

#include <arpa/inet.h>

typedef struct Prefix {
	unsigned char bytes[16];
	int family, length;
} Prefix;

/* "10.1.0.0/16", or a bare address, which is as long as it can be. */
static int parse_prefix(const char *s, Prefix *ret)
{
	size_t n = strcspn(s, "/");
	_cleanup_free_ char *address = strndup(s, n);
	Prefix p = {0};

	if (!address)
		return -ENOMEM;
	p.family = strchr(address, ':') ? AF_INET6 : AF_INET;
	p.length = p.family == AF_INET ? 32 : 128;
	if (inet_pton(p.family, address, p.bytes) != 1 ||
	    (s[n] && str_to_int(s + n + 1, 0, p.length, &p.length) < 0))
		return -EINVAL;
	*ret = p;
	return 0;
}

static bool holds(const Prefix *net, const Prefix *p)
{
	int whole = net->length / 8, bits = net->length % 8;

	if (net->family != p->family || p->length < net->length ||
	    memcmp(net->bytes, p->bytes, (size_t)whole) != 0)
		return false;
	return bits == 0 || (net->bytes[whole] ^ p->bytes[whole]) >> (8 - bits) == 0;
}

/* The entry of the array whose Subnet holds s. */
static json_t *find_subnet(json_t *config, const char *s)
{
	Prefix p, net;

	if (parse_prefix(s, &p) < 0)
		return NULL;
	for (size_t i = 0; i < json_array_size(config); i++) {
		json_t *entry = json_array_get(config, i);

		if (parse_prefix(json_get_str(entry, "Subnet"), &net) == 0 && holds(&net, &p))
			return entry;
	}
	return NULL;
}

static int place(json_t *config, const char *what, const char *key, const char *s, Err *e)
{
	json_t *entry = find_subnet(config, s);

	if (!entry)
		return err_new(e, ERR_INVALID, "no matching subnet for %s %s", what, s);
	if (json_object_get(entry, key))
		return err_new(e, ERR_INVALID,
			       "cannot configure multiple %ss (%s, %s) on the same subnet (%s)", what,
			       json_get_str(entry, key), s, json_get_str(entry, "Subnet"));
	return json_object_set_new(entry, key, json_string(s)) < 0 ? err_oom(e) : 0;
}

static int place_aux(json_t *config, const char *s, Err *e)
{
	const char *eq = strchr(s, '=');
	_cleanup_free_ char *name = eq ? strndup(s, (size_t)(eq - s)) : NULL;
	json_t *entry = eq ? find_subnet(config, eq + 1) : NULL, *map;

	if (!eq || !name)
		return err_new(e, ERR_INVALID, "invalid --aux-address %s: expected NAME=IP", s);
	if (!entry)
		return err_new(e, ERR_INVALID, "no matching subnet for aux-address %s", eq + 1);
	map = json_object_get(entry, "AuxiliaryAddresses");
	if (!map && json_object_set_new(entry, "AuxiliaryAddresses", map = json_object()) < 0)
		return err_oom(e);
	return json_object_set_new(map, name, json_string(eq + 1)) < 0 ? err_oom(e) : 0;
}

static int add_subnet(json_t *config, const char *s, Err *e)
{
	Prefix p;

	if (!strchr(s, '/') || parse_prefix(s, &p) < 0)
		return err_new(
		    e, ERR_INVALID,
		    "invalid subnet %s: expected an address and a prefix length, as in 10.1.0.0/16", s);
	for (size_t i = 0; i < json_array_size(config); i++) {
		const char *other = json_get_str(json_array_get(config, i), "Subnet");
		Prefix q;

		if (parse_prefix(other, &q) == 0 && (holds(&p, &q) || holds(&q, &p)))
			return err_new(
			    e, ERR_INVALID,
			    "multiple overlapping subnet configuration is not supported: %s and %s", other,
			    s);
	}
	return json_array_append_new(config, json_pack("{s:s}", "Subnet", s)) < 0 ? err_oom(e) : 0;
}

json_t *ipam_config(char *const *subnets, char *const *ranges, char *const *gateways, char *const *aux,
		    Err *e)
{
	_cleanup_json_ json_t *config = json_array();
	int r = config ? 0 : err_oom(e);

	for (size_t i = 0; r == 0 && subnets && subnets[i]; i++)
		r = add_subnet(config, subnets[i], e);
	for (size_t i = 0; r == 0 && ranges && ranges[i]; i++)
		r = place(config, "ip-range", "IPRange", ranges[i], e);
	for (size_t i = 0; r == 0 && gateways && gateways[i]; i++)
		r = place(config, "gateway", "Gateway", gateways[i], e);
	for (size_t i = 0; r == 0 && aux && aux[i]; i++)
		r = place_aux(config, aux[i], e);
	return r < 0 ? NULL : take_ptr(config);
}
