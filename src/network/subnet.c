/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPv4 subnets: their text, and the choice of one that nothing on the host uses. "Uses" means a route of any
 * routing table (a VPN's policy table counts as much as main; the local table has the host's own addresses) or a resolver
 * the host asks. Default routes overlap with everything and do not count.
 */
#include "network/network-internal.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>

uint32_t subnet_mask(uint8_t prefix)
{
	return prefix == 0 ? 0 : prefix >= 32 ? UINT32_MAX : ~(UINT32_MAX >> prefix);
}

static int parse_address(const char *s, uint32_t *ret)
{
	struct in_addr in;

	if (inet_pton(AF_INET, s, &in) != 1)
		return -EINVAL;
	*ret = ntohl(in.s_addr);
	return 0;
}

static int parse_cidr(const char *cidr, NetworkSubnet *ret, Err *e)
{
	const char *slash = strchr(cidr, '/');
	char address[INET_ADDRSTRLEN] = "";
	int prefix;

	if (!slash || (size_t)(slash - cidr) >= sizeof(address))
		return err_new(e, ERR_INVALID, "invalid subnet \"%.64s\": write it as 172.30.0.0/16", cidr);
	memcpy(address, cidr, (size_t)(slash - cidr));
	if (parse_address(address, &ret->address) < 0 || str_to_int(slash + 1, 0, 32, &prefix) < 0)
		return err_new(e, ERR_INVALID, "invalid subnet \"%.64s\": write it as 172.30.0.0/16", cidr);
	if (prefix < 8 || prefix > 30)
		return err_new(e, ERR_INVALID, "invalid subnet \"%.64s\": the prefix must be 8 to 30", cidr);
	ret->prefix = (uint8_t)prefix;
	return 0;
}

int network_subnet_parse(const char *cidr, const char *gateway, NetworkSubnet *ret, Err *e)
{
	NetworkSubnet s = {0};
	uint32_t first;
	int r = parse_cidr(cidr, &s, e);

	if (r < 0)
		return r;
	first = s.address & subnet_mask(s.prefix);
	if (s.address != first)
		return err_new(e, ERR_INVALID, "invalid subnet %s: its first address is %s, so write %s/%u",
			       cidr, network_address_text(first).s, network_address_text(first).s, s.prefix);
	if (first == 0 || first >> 24 == 127 || first >= 0xE0000000u)
		return err_new(e, ERR_INVALID, "invalid subnet %s: not an address range for hosts", cidr);
	s.gateway = first + 1;
	if (gateway && parse_address(gateway, &s.gateway) < 0)
		return err_new(e, ERR_INVALID, "invalid gateway \"%.64s\": not an IPv4 address", gateway);
	if (s.gateway <= first || s.gateway >= subnet_broadcast(&s))
		return err_new(e, ERR_INVALID, "invalid gateway %s: not a host address of subnet %s",
			       network_address_text(s.gateway).s, cidr);
	*ret = s;
	return 0;
}

int network_range_parse(const char *cidr, const NetworkSubnet *within, NetworkSubnet *ret, Err *e)
{
	NetworkSubnet s = {0};
	char text[64];
	const char *slash = strchr(cidr, '/');
	int prefix;

	snprintf(text, sizeof(text), "%.*s", slash ? (int)MIN2(slash - cidr, (ptrdiff_t)40) : 0, cidr);
	if (!slash || parse_address(text, &s.address) < 0 || str_to_int(slash + 1, 1, 32, &prefix) < 0)
		return err_new(e, ERR_INVALID, "invalid ip-range \"%.64s\": write it as 172.30.5.0/24", cidr);
	s.prefix = (uint8_t)prefix;
	s.address &= subnet_mask(s.prefix);
	if (s.prefix < within->prefix || !network_subnet_overlap(&s, within))
		return err_new(e, ERR_INVALID, "invalid ip-range %s: it is not within subnet %s", cidr,
			       network_subnet_text(within).s);
	*ret = s;
	return 0;
}

bool network_subnet_overlap(const NetworkSubnet *a, const NetworkSubnet *b)
{
	uint32_t mask = subnet_mask(MIN2(a->prefix, b->prefix));

	return (a->address & mask) == (b->address & mask);
}

/* Ranges in use, with the interface for the message. */
typedef struct Range {
	NetworkSubnet range;
	int oif;
} Range;

typedef struct Ranges {
	Range *v;
	size_t n;
} Ranges;

static void ranges_done(Ranges *r)
{
	free(r->v);
}

static int ranges_add(Ranges *r, Range range)
{
	/* A power of two is full: double it. */
	if ((r->n & (r->n - 1)) == 0) {
		Range *v = realloc(r->v, MAX2(r->n * 2, (size_t)1) * sizeof(*v));

		if (!v)
			return -ENOMEM;
		r->v = v;
	}
	r->v[r->n++] = range;
	return 0;
}

static int take_route(const struct nlmsghdr *m, void *arg)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(m);
	Range range = {.range.prefix = header->rtm_dst_len};
	const struct nlattr *attr;

	/* Cached routes are copies of real ones, as flows use them. */
	if (header->rtm_family != AF_INET || header->rtm_dst_len == 0 || header->rtm_flags & RTM_F_CLONED)
		return 0;
	mnl_attr_for_each(attr, m, sizeof(*header))
	{
		if (mnl_attr_get_type(attr) == RTA_DST)
			range.range.address = ntohl(mnl_attr_get_u32(attr));
		else if (mnl_attr_get_type(attr) == RTA_OIF)
			range.oif = (int)mnl_attr_get_u32(attr);
	}
	/* VPNs split the default route in two halves to outrank it: those are default routes all the same. */
	return range.range.prefix <= 1 ? 0 : ranges_add(arg, range);
}

static int host_routes(NetworkHost *h, Ranges *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct rtmsg any = {.rtm_family = AF_INET};

	netlink_msg_end(&b, netlink_msg(&b, RTM_GETROUTE, NLM_F_DUMP, &any, sizeof(any)));
	int r = netlink_ask(&h->route, &b, take_route, ret, e);

	if (r == -ENOMEM)
		return err_oom(e);
	return err_ctx(e, r, "list the host's routes");
}

static int add_resolvers(Ranges *ret, Err *e)
{
	_cleanup_strv_ char **servers = NULL;
	int r = resolv_host_nameservers(&servers, e);

	if (r < 0)
		return r;
	for (size_t i = 0; servers && servers[i]; i++) {
		Range one = {.range.prefix = 32};

		if (parse_address(servers[i], &one.range.address) == 0 && ranges_add(ret, one) < 0)
			return err_oom(e);
	}
	return 0;
}

static const Range *find_overlap(const Ranges *ranges, const NetworkSubnet *s)
{
	for (size_t i = 0; i < ranges->n; i++)
		if (network_subnet_overlap(&ranges->v[i].range, s))
			return &ranges->v[i];
	return NULL;
}

static bool overlaps_any(const NetworkSubnet *used, size_t n, const NetworkSubnet *s)
{
	for (size_t i = 0; i < n; i++)
		if (network_subnet_overlap(&used[i], s))
			return true;
	return false;
}

static bool choose_in(const NetworkAddressPool *pool, const Ranges *ranges, const NetworkSubnet *used,
		      size_t n_used, NetworkSubnet *ret)
{
	uint64_t step = 1ull << (32 - pool->size), end = (uint64_t)subnet_broadcast(&pool->base) + 1;

	for (uint64_t a = pool->base.address; a < end; a += step) {
		NetworkSubnet s = {(uint32_t)a, pool->size, (uint32_t)a + 1};

		if (overlaps_any(used, n_used, &s) || find_overlap(ranges, &s))
			continue;
		*ret = s;
		return true;
	}
	return false;
}

/*
 * Docker's default pools, cut finer: the first is the default bridge's, as everybody knows it; the others hold 480 networks
 * of 4,094 and 254 addresses, where 30 of Docker's would fit.
 */
static const NetworkAddressPool default_pools[] = {
    {{0xAC110000, 16, 0}, 16}, /* 172.17.0.0/16 */
    {{0xAC120000, 15, 0}, 20}, /* 172.18.0.0 to 172.31.255.255 */
    {{0xAC140000, 14, 0}, 20}, {{0xAC180000, 13, 0}, 20}, {{0xC0A80000, 16, 0}, 24}, /* 192.168.0.0/16 */
};

int network_host_set_pools(NetworkHost *h, const NetworkAddressPool *pools, size_t n, Err *e)
{
	NetworkAddressPool *v = calloc(n + 1, sizeof(*v));

	if (!v)
		return err_oom(e);
	for (size_t i = 0; i < n; i++) {
		if (pools[i].size < pools[i].base.prefix || pools[i].size > 30) {
			free(v);
			return err_new(
			    e, ERR_INVALID,
			    "address pool %s: networks of size %u do not fit into it: use a size of %u to 30",
			    network_subnet_text(&pools[i].base).s, pools[i].size, pools[i].base.prefix);
		}
		v[i] = pools[i];
	}
	free(h->pools);
	h->pools = v;
	h->n_pools = n;
	return 0;
}

int network_subnet_choose(NetworkHost *h, bool is_default, const NetworkSubnet *used, size_t n_used,
			  NetworkSubnet *ret, Err *e)
{
	_cleanup_(ranges_done) Ranges ranges = {0};
	const NetworkAddressPool *pools = h->pools ? h->pools : default_pools;
	size_t n = h->pools ? h->n_pools : ELEMENTSOF(default_pools);
	int r = host_routes(h, &ranges, e);

	if (r >= 0)
		r = add_resolvers(&ranges, e);
	if (r < 0)
		return err_ctx(e, r, "choose a subnet");
	for (size_t i = h->pools || is_default ? 0 : 1; i < n; i++)
		if (choose_in(&pools[i], &ranges, used, n_used, ret))
			return 0;
	return err_new(
	    e, ERR_EXHAUSTED,
	    "all predefined address pools have been fully subnetted: no free subnet is left in %s: remove "
	    "networks that are not used, or name a subnet",
	    h->pools ? "the configured address pools" : "172.17-31.0.0/16 and 192.168.0.0/16");
}

int network_subnet_check(NetworkHost *h, const NetworkSubnet *s, Err *e)
{
	_cleanup_(ranges_done) Ranges ranges = {0};
	char name[IFNAMSIZ] = "no interface";
	const Range *hit;
	int r = host_routes(h, &ranges, e);

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
