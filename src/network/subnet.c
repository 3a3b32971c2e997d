/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subnets: their text, and the choice of one that nothing on the host uses. "Uses" means a route (routes.c) or a resolver that the host asks.
 */
#include "network/network-internal.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <fcntl.h>

/* A subnet must have room for a gateway and a container, and be small enough that it can be meant. */
static const struct {
	int first, last;
	const char *example;
} prefixes[IP_FAMILIES] = {{8, 30, "172.30.0.0/16"}, {16, 126, "fd00:30::/64"}};

/* "ADDRESS/PREFIX" without any look at what it means. */
static int split_cidr(const char *cidr, IpAddress *ret, int *ret_prefix)
{
	const char *slash = strchr(cidr, '/');
	char address[INET6_ADDRSTRLEN] = "";

	if (!slash || (size_t)(slash - cidr) >= sizeof(address))
		return -EINVAL;
	memcpy(address, cidr, (size_t)(slash - cidr));
	if (ip_parse(address, ret) < 0)
		return -EINVAL;
	return str_to_int(slash + 1, 0, ip_bits(*ret), ret_prefix);
}

static int parse_cidr(const char *cidr, NetworkSubnet *ret, Err *e)
{
	int prefix, family;

	if (split_cidr(cidr, &ret->address, &prefix) < 0)
		return err_new(e, ERR_INVALID, "invalid subnet \"%.64s\": write it as %s or %s", cidr,
			       prefixes[IP_V4].example, prefixes[IP_V6].example);
	family = ip_index(ret->address);
	if (prefix < prefixes[family].first || prefix > prefixes[family].last)
		return err_new(e, ERR_INVALID, "invalid subnet \"%.64s\": the prefix must be %d to %d", cidr,
			       prefixes[family].first, prefixes[family].last);
	ret->prefix = (uint8_t)prefix;
	return 0;
}

static bool for_hosts(IpAddress a)
{
	if (ip_is_v4(a))
		return (uint32_t)a != 0 && !ip_is_loopback(a) && (uint32_t)a < 0xE0000000u;
	/* ::/8 has loopback and the mapped addresses, ff00::/8 is multicast, a link-local address means nothing on another link. */
	return a >> 120 != 0 && a >> 120 != 0xFF && !ip_is_link_local(a);
}

/* IPv6 has no broadcast address. */
static bool is_host_of(const NetworkSubnet *s, IpAddress a)
{
	return a > s->address && (ip_is_v4(s->address) ? a < subnet_last(s) : a <= subnet_last(s));
}

int network_subnet_parse(const char *cidr, const char *gateway, NetworkSubnet *ret, Err *e)
{
	NetworkSubnet s = {0};
	IpAddress first;
	int r = parse_cidr(cidr, &s, e);

	if (r < 0)
		return r;
	first = s.address & ip_mask(s.address, s.prefix);
	if (s.address != first)
		return err_new(e, ERR_INVALID, "invalid subnet %s: its first address is %s, so write %s/%u",
			       cidr, ip_text(first).s, ip_text(first).s, s.prefix);
	if (!for_hosts(first))
		return err_new(e, ERR_INVALID, "invalid subnet %s: not an address range for hosts", cidr);
	s.gateway = first + 1;
	if (gateway && (ip_parse(gateway, &s.gateway) < 0 || ip_af(s.gateway) != ip_af(first)))
		return err_new(e, ERR_INVALID, "invalid gateway \"%.64s\": not an %s address", gateway,
			       ip_is_v4(first) ? "IPv4" : "IPv6");
	if (!is_host_of(&s, s.gateway))
		return err_new(e, ERR_INVALID, "invalid gateway %s: not a host address of subnet %s",
			       ip_text(s.gateway).s, cidr);
	*ret = s;
	return 0;
}

int network_gateway_parse(const char *cidr, NetworkSubnet *ret, Err *e)
{
	NetworkSubnet s = {0};
	AddressText gateway, subnet;
	IpAddress first;
	int r = parse_cidr(cidr, &s, e);

	if (r < 0)
		return r;
	first = s.address & ip_mask(s.address, s.prefix);
	if (first == s.address)
		return network_subnet_parse(cidr, NULL, ret, e);
	gateway = ip_text(s.address);
	s.address = first;
	subnet = network_subnet_text(&s);
	return network_subnet_parse(subnet.s, gateway.s, ret, e);
}

AddressText network_subnet_text(const NetworkSubnet *s)
{
	AddressText t = ip_text(s->address);
	size_t n = strlen(t.s);

	snprintf(t.s + n, sizeof(t.s) - n, "/%u", s->prefix);
	return t;
}

bool network_subnet_contains(const NetworkSubnet *s, IpAddress a)
{
	return s->prefix && ip_af(a) == ip_af(s->address) && (a & ip_mask(a, s->prefix)) == s->address;
}

int network_range_parse(const char *cidr, const NetworkSubnet *within, NetworkSubnet *ret, Err *e)
{
	NetworkSubnet s = {0};
	int prefix;

	if (split_cidr(cidr, &s.address, &prefix) < 0 || prefix == 0 ||
	    ip_af(s.address) != ip_af(within->address))
		return err_new(e, ERR_INVALID, "invalid ip-range \"%.64s\": write it as %s", cidr,
			       ip_is_v4(within->address) ? "172.30.5.0/24" : "fd00:30::5:0/112");
	s.prefix = (uint8_t)prefix;
	s.address &= ip_mask(s.address, s.prefix);
	if (s.prefix < within->prefix || !network_subnet_overlap(&s, within))
		return err_new(e, ERR_INVALID, "invalid ip-range %s: it is not within subnet %s", cidr,
			       network_subnet_text(within).s);
	*ret = s;
	return 0;
}

bool network_subnet_overlap(const NetworkSubnet *a, const NetworkSubnet *b)
{
	IpAddress mask = ip_mask(a->address, MIN2(a->prefix, b->prefix));

	return ip_af(a->address) == ip_af(b->address) && (a->address & mask) == (b->address & mask);
}

static int add_resolvers(Routes *ret, Err *e)
{
	_cleanup_strv_ char **servers = NULL;
	int r = resolv_host_nameservers(&servers, e);

	if (r < 0)
		return r;
	for (size_t i = 0; servers && servers[i]; i++) {
		Route one = {0};

		if (ip_parse(servers[i], &one.range.address) < 0)
			continue;
		one.range.prefix = ip_bits(one.range.address);
		if (routes_add(ret, one) < 0)
			return err_oom(e);
	}
	return 0;
}

static const Route *find_overlap(const Routes *ranges, const NetworkSubnet *s)
{
	for (size_t i = 0; i < ranges->n; i++)
		if (network_subnet_overlap(&ranges->v[i].range, s) && route_stands(&ranges->v[i]))
			return &ranges->v[i];
	return NULL;
}

/* Whether something has it, and the last address of what has: the search goes on behind that, so that a pool of many small networks of
 * which one neighbour has a large part is not walked one by one. */
static bool blocked(const Routes *ranges, const NetworkSubnet *used, size_t n_used, const NetworkSubnet *s,
		    IpAddress *ret_last)
{
	bool found = false;

	*ret_last = subnet_last(s);
	for (size_t i = 0; i < n_used; i++)
		if (network_subnet_overlap(&used[i], s)) {
			*ret_last = MAX2(*ret_last, subnet_last(&used[i]));
			found = true;
		}
	for (size_t i = 0; i < ranges->n; i++)
		if (network_subnet_overlap(&ranges->v[i].range, s)) {
			*ret_last = MAX2(*ret_last, subnet_last(&ranges->v[i].range));
			found = true;
		}
	return found;
}

static bool choose_in(const NetworkAddressPool *pool, const Routes *ranges, const NetworkSubnet *used,
		      size_t n_used, NetworkSubnet *ret)
{
	IpAddress end = subnet_last(&pool->base), last;

	for (IpAddress a = pool->base.address; a >= pool->base.address && a <= end; a = last + 1) {
		NetworkSubnet s = {a, pool->size, a + 1};

		if (!blocked(ranges, used, n_used, &s, &last)) {
			*ret = s;
			return true;
		}
	}
	return false;
}

/* Docker's, cut smaller: its /16 is for the default network, where most containers are; 4,096 addresses do for one of the user's. 192 of
 * those fit into 172.18.0.0-172.29.255.255; who has more networks than that has small ones: 768 with 256 addresses each follow. */
static const NetworkAddressPool default_pools[] = {
    {{IP_V4_BASE | 0xAC110000, 16, 0}, 16}, /* 172.17.0.0/16 */
    {{IP_V4_BASE | 0xAC120000, 15, 0}, 20}, /* 172.18-172.29 */
    {{IP_V4_BASE | 0xAC140000, 14, 0}, 20}, {{IP_V4_BASE | 0xAC180000, 14, 0}, 20},
    {{IP_V4_BASE | 0xAC1C0000, 15, 0}, 20}, {{IP_V4_BASE | 0xAC1E0000, 15, 0}, 24}, /* 172.30-172.31 */
    {{IP_V4_BASE | 0xC0A80000, 16, 0}, 24},                                         /* 192.168.0.0/16 */
};

int network_host_set_pools(NetworkHost *h, const NetworkAddressPool *pools, size_t n, Err *e)
{
	NetworkAddressPool *v = calloc(n + 1, sizeof(*v));

	if (!v)
		return err_oom(e);
	for (size_t i = 0; i < n; i++) {
		int most = prefixes[ip_index(pools[i].base.address)].last;

		if (pools[i].size < pools[i].base.prefix || pools[i].size > most) {
			free(v);
			return err_new(
			    e, ERR_INVALID,
			    "address pool %s: networks of size %u do not fit into it: use a size of %u to %d",
			    network_subnet_text(&pools[i].base).s, pools[i].size, pools[i].base.prefix, most);
		}
		v[i] = pools[i];
	}
	free(h->pools);
	h->pools = v;
	h->n_pools = n;
	return 0;
}

/* A prefix of 40 bits that is probably nobody else's (RFC 4193, 3.2), and the same each time on this machine for this daemon: FNV-1a of
 * the machine's identity and the table's name. */
static NetworkAddressPool local_pool(const NetworkHost *h)
{
	_cleanup_free_ char *machine = NULL;
	uint64_t hash = UINT64_C(14695981039346656037);
	const char *const parts[] = {
	    file_read_at(AT_FDCWD, "/etc/machine-id", 64, &machine, NULL) >= 0 ? machine : "", h->table};

	for (size_t i = 0; i < ELEMENTSOF(parts); i++)
		for (const char *c = parts[i]; *c; c++)
			hash = (hash ^ (uint8_t)*c) * UINT64_C(1099511628211);
	hash ^= hash >> 24;
	return (NetworkAddressPool){{(IpAddress)0xFD << 120 | (IpAddress)(hash & 0xFFFFFFFFFF) << 80, 48, 0},
				    64};
}

/* Those to choose from; *ret_local is room for the one that is made here. */
static const NetworkAddressPool *pools_of(NetworkHost *h, int family, NetworkAddressPool *ret_local,
					  size_t *ret_n)
{
	bool own = false;

	for (size_t i = 0; i < h->n_pools; i++)
		own = own || ip_index(h->pools[i].base.address) == family;
	if (own) {
		*ret_n = h->n_pools;
		return h->pools;
	}
	if (family == IP_V4) {
		*ret_n = ELEMENTSOF(default_pools);
		return default_pools;
	}
	*ret_local = local_pool(h);
	*ret_n = 1;
	return ret_local;
}

int network_subnet_choose(NetworkHost *h, int family, bool is_default, const NetworkSubnet *used,
			  size_t n_used, NetworkSubnet *ret, Err *e)
{
	_cleanup_(routes_done) Routes ranges = {0};
	NetworkAddressPool local;
	size_t n;
	const NetworkAddressPool *pools = pools_of(h, family, &local, &n);
	int r = routes_list(h, family, &ranges, e);

	if (r >= 0)
		r = add_resolvers(&ranges, e);
	if (r < 0)
		return err_ctx(e, r, "choose a subnet");
	for (size_t i = pools == default_pools && !is_default ? 1 : 0; i < n; i++)
		if (ip_index(pools[i].base.address) == family &&
		    choose_in(&pools[i], &ranges, used, n_used, ret))
			return 0;
	return err_new(
	    e, ERR_EXHAUSTED,
	    "all predefined address pools have been fully subnetted: no free subnet is left in %s: remove "
	    "networks that are not used, or name a subnet",
	    pools == default_pools ? "172.17-31.0.0/16 and 192.168.0.0/16"
	    : pools == &local      ? network_subnet_text(&local.base).s
				   : "the configured address pools");
}

int network_subnet_check(NetworkHost *h, const NetworkSubnet *s, Err *e)
{
	_cleanup_(routes_done) Routes ranges = {0};
	char name[IFNAMSIZ] = "no interface";
	const Route *hit;
	int r = routes_list(h, ip_index(s->address), &ranges, e);

	if (r < 0)
		return r;
	hit = find_overlap(&ranges, s);
	if (!hit)
		return 0;
	if (hit->oif > 0 && !if_indextoname((unsigned)hit->oif, name))
		snprintf(name, sizeof(name), "#%d", hit->oif);
	return err_new(e, ERR_CONFLICT,
		       "subnet %s overlaps with the host's route %s (%s): choose another subnet",
		       network_subnet_text(s).s, network_subnet_text(&hit->range).s, name);
}
