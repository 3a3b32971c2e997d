/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More containers on a network than a bridge has ports. A bridge numbers its ports with 10 bits (BR_MAX_PORTS), one of them unused, so the
 * 1,024th veth is refused with EXFULL. The network grows a shard then: one more bridge, joined to the first by a veth pair of its own, so
 * that both are one Ethernet (a star, without loops, and so without STP). All routing, and with it every rule, is on the first.
 *
 * Without icc the ports of containers are isolated on each bridge, and the first one's ends of the pairs are isolated too: what comes up
 * from one shard is for the host alone.
 *
 * One thing is lost where br_netfilter is on: what one container of a shard sends to the host's address and another of the same shard has
 * published is translated inside the first bridge, and would have to go back through the port it came from. Hairpin mode there would send
 * every broadcast back as well, and the shard would learn its own containers' addresses on the wrong port.
 *
 * Shards and the ends of their pairs carry the alias "ireko:<table>/<bridge>", by which reconcile.c knows whose they are. They go with the network.
 */
#include "network/foreign-internal.h"

#include "base/fd.h"

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

/* Of the first bridge's 1,023 ports, SHARDS_MAX are kept for shards; a few more may still belong to namespaces that are on their way out. */
#define SHARDS_MAX  50
#define SHARD_PORTS 960
/* From so many containers on it is looked how full the bridges are. */
#define SHARD_AT 900
/* The kernel keeps the neighbours of all namespaces in one table, by default of 1,024 entries. */
#define NEIGHBOURS 32768
/* A broadcast is a packet for each port, and what one processor has waiting is 1,000 by default: who is behind that hears no ARP. */
#define BACKLOG 65536

/* Of a kind: 'b' the bridge, 'u' its end of the pair, 'd' the first bridge's end. 15 characters at most. */
static void shard_name(const NetworkHost *h, const char *bridge, unsigned k, char kind,
		       char ret[NETWORK_IFNAME])
{
	uint32_t hash = 2166136261u;

	for (const char *c = h->table; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	hash = (hash ^ '/') * 16777619u;
	for (const char *c = bridge; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	snprintf(ret, NETWORK_IFNAME, "ir%c%08x.%u", kind, hash, k % 1000);
}

static void shard_alias(const NetworkHost *h, const char *bridge, char *ret, size_t room)
{
	snprintf(ret, room, BRIDGE_ALIAS_PREFIX "%s/%s", h->table, bridge);
}

const char *shard_of(const NetworkHost *h, const LinkInfo *link)
{
	const char *rest = str_after(link->alias, BRIDGE_ALIAS_PREFIX);

	rest = rest ? str_after(rest, h->table) : NULL;
	return rest && *rest == '/' ? rest + 1 : NULL;
}

static void put_bridge(NetlinkBatch *b, const char *name, uint32_t mtu)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct nlmsghdr *m = netlink_msg(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	struct nlattr *info;

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	mnl_attr_put_u32(m, IFLA_MTU, mtu);
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_str(m, IFLA_INFO_KIND, "bridge");
	mnl_attr_nest_end(m, info);
	netlink_msg_end(b, m);
}

static void put_pair(NetlinkBatch *b, const char *up, const char *down, int root, uint32_t mtu)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct nlmsghdr *m = netlink_msg(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	struct nlattr *info, *data, *peer;

	mnl_attr_put_strz(m, IFLA_IFNAME, down);
	mnl_attr_put_u32(m, IFLA_MTU, mtu);
	mnl_attr_put_u32(m, IFLA_MASTER, (uint32_t)root);
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_str(m, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(m, VETH_INFO_PEER);
	memset(mnl_nlmsg_put_extra_header(m, sizeof(header)), 0, sizeof(header));
	mnl_attr_put_strz(m, IFLA_IFNAME, up);
	mnl_attr_put_u32(m, IFLA_MTU, mtu);
	mnl_attr_nest_end(m, peer);
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
	netlink_msg_end(b, m);
}

/* Up, and known as ours. master 0: as it is. */
static void put_settings(NetlinkBatch *b, const char *name, const char *alias, int master, bool isolated)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	struct nlmsghdr *m = netlink_msg(b, RTM_NEWLINK, 0, &header, sizeof(header));
	struct nlattr *info, *data;

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	mnl_attr_put_str(m, IFLA_IFALIAS, alias);
	if (master)
		mnl_attr_put_u32(m, IFLA_MASTER, (uint32_t)master);
	if (isolated) {
		info = mnl_attr_nest_start(m, IFLA_LINKINFO);
		mnl_attr_put_str(m, IFLA_INFO_SLAVE_KIND, "bridge");
		data = mnl_attr_nest_start(m, IFLA_INFO_SLAVE_DATA);
		mnl_attr_put_u8(m, IFLA_BRPORT_ISOLATED, 1);
		mnl_attr_nest_end(m, data);
		mnl_attr_nest_end(m, info);
	}
	netlink_msg_end(b, m);
}

/* Where a limit is larger already, or cannot be changed (a daemon in a container), it stays. */
static void raise_limit(const char *path, unsigned want)
{
	_cleanup_free_ char *now = NULL;
	char value[16];

	snprintf(value, sizeof(value), "%u", want);
	if (file_read_at(AT_FDCWD, path, 32, &now, NULL) >= 0 && atol(now) < (long)want)
		(void)file_write_at(AT_FDCWD, path, value);
}

static void raise_limits(void)
{
	static const char *const families[] = {"ipv4", "ipv6"};

	for (size_t f = 0; f < ELEMENTSOF(families); f++)
		for (unsigned i = 3; i >= 1; i--) {
			char path[96];

			snprintf(path, sizeof(path), "/proc/sys/net/%s/neigh/default/gc_thresh%u",
				 families[f], i);
			raise_limit(path, NEIGHBOURS >> (3 - i));
		}
	raise_limit("/proc/sys/net/core/netdev_max_backlog", BACKLOG);
}

static int change_element(NetworkHost *h, const char *name, bool there, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	Element el = firewall_shard_element(name);
	int r = element_get(&h->filter, h->table, &el, e);

	if (r < 0 || (r == 1) == there)
		return MIN2(r, 0);
	element_begin(&b);
	if (there)
		element_add(&b, h->table, &el);
	else
		element_remove(&b, h->table, &el);
	r = element_commit(&h->filter, &b, NULL, e);
	if (r >= 0)
		r = foreign_sync(h, e);
	return err_ctx(e, MIN2(r, 0), "rules of bridge %s", name);
}

/* A pair from the first bridge to another one, or (other 0) to an interface that is no bridge's. */
static int cable_make(NetworkHost *h, const LinkInfo *root, bool isolated, unsigned k, int other, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	char up[NETWORK_IFNAME], down[NETWORK_IFNAME], alias[128];

	shard_name(h, root->name, k, 'u', up);
	shard_name(h, root->name, k, 'd', down);
	shard_alias(h, root->name, alias, sizeof(alias));
	put_pair(&b, up, down, root->index, root->mtu);
	put_settings(&b, up, alias, other, false);
	put_settings(&b, down, alias, 0, isolated);
	int r = netlink_run(&h->route, &b, NULL, e);

	/* Best effort: the failure to tell is the first one. */
	if (r < 0)
		(void)link_delete(&h->route, down, NULL);
	return r;
}

static int shard_make(NetworkHost *h, const LinkInfo *root, bool isolated, unsigned k, LinkInfo *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch make = {0};
	char name[NETWORK_IFNAME], alias[128];
	int r;

	shard_name(h, root->name, k, 'b', name);
	shard_alias(h, root->name, alias, sizeof(alias));
	put_bridge(&make, name, root->mtu);
	put_settings(&make, name, alias, 0, false);
	r = netlink_run(&h->route, &make, NULL, e);
	if (r >= 0)
		r = link_find(&h->route, name, ret, e);
	if (r == 0)
		r = err_new(e, ERR_UNAVAILABLE, "it was removed while it was made");
	if (r >= 0)
		r = change_element(h, name, true, e);
	if (r >= 0)
		r = cable_make(h, root, isolated, k, ret->index, e);
	if (r < 0) {
		(void)link_delete(&h->route, name, NULL);
		(void)change_element(h, name, false, NULL);
		return err_ctx(e, r, "make bridge %s, as %s is full", name, root->name);
	}
	raise_limits();
	return 0;
}

int island_parent(NetworkHost *h, const char *bridge, LinkInfo *ret, Err *e)
{
	char up[NETWORK_IFNAME];
	LinkInfo root;
	int r;

	shard_name(h, bridge, 0, 'u', up);
	SCOPE_LOCK(&h->lock);
	r = link_find(&h->route, up, ret, e);
	if (r != 0)
		return MIN2(r, 0);
	r = link_find(&h->route, bridge, &root, e);
	if (r == 0)
		r = err_new(e, ERR_NOT_FOUND, "bridge %s does not exist: make the network again", bridge);
	if (r >= 0)
		r = cable_make(h, &root, false, 0, 0, e);
	if (r >= 0)
		r = link_find(&h->route, up, ret, e);
	return r == 0 ? err_new(e, ERR_UNAVAILABLE, "interface %s was removed while it was made", up)
		      : MIN2(r, 0);
}

/* ---- which one has room ---- */

typedef struct PortCount {
	int master;
	unsigned n;
} PortCount;

static int count_port(const struct nlmsghdr *m, void *arg)
{
	PortCount *c = arg;
	LinkInfo link;

	link_info_parse(m, &link);
	c->n += link.master == c->master;
	return 0;
}

static int ports_of(NetworkHost *h, const LinkInfo *bridge, unsigned *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg any = {.ifi_family = AF_UNSPEC};
	PortCount count = {.master = bridge->index};
	struct nlmsghdr *m = netlink_msg(&b, RTM_GETLINK, NLM_F_DUMP, &any, sizeof(any));

	mnl_attr_put_u32(m, IFLA_MASTER, (uint32_t)bridge->index);
	netlink_msg_end(&b, m);
	int r = netlink_ask(&h->route, &b, count_port, &count, e);

	*ret = count.n;
	return err_ctx(e, r, "count the ports of bridge %s", bridge->name);
}

/* The first that has room; *ret_room says how much. */
static int find_room(NetworkHost *h, const LinkInfo *root, bool isolated, LinkInfo *ret, unsigned *ret_room,
		     Err *e)
{
	for (unsigned k = 0; k <= SHARDS_MAX; k++) {
		char name[NETWORK_IFNAME];
		unsigned used = 0;
		int r = 1;

		shard_name(h, root->name, k, 'b', name);
		*ret = *root;
		if (k > 0)
			r = link_find(&h->route, name, ret, e);
		if (r == 0)
			r = shard_make(h, root, isolated, k, ret, e);
		if (r >= 0)
			r = ports_of(h, ret, &used, e);
		if (r < 0)
			return r;
		if (used < SHARD_PORTS) {
			*ret_room = SHARD_PORTS - used;
			return 0;
		}
	}
	return err_new(e, ERR_EXHAUSTED,
		       "network of bridge %s is full: it has %d containers: use another network", root->name,
		       (SHARDS_MAX + 1) * SHARD_PORTS);
}

/* What was found is good for as many as there was room for, whoever else leaves. */
int shard_choose(NetworkHost *h, const LinkInfo *root, unsigned neighbours, bool isolated, LinkInfo *ret,
		 Err *e)
{
	ShardRoom *hint = &h->shard_room;
	int r = 0;

	*ret = *root;
	if (neighbours < SHARD_AT)
		return 0;
	SCOPE_LOCK(&h->lock);
	if (hint->root != root->index || hint->room == 0) {
		r = find_room(h, root, isolated, &hint->bridge, &hint->room, e);
		hint->root = r < 0 ? 0 : root->index;
	}
	if (r < 0)
		return r;
	hint->room--;
	*ret = hint->bridge;
	return 0;
}

int shards_enter(NetworkHost *h, const char *bridge, Err *e)
{
	int r = 1;

	for (unsigned k = 1; r > 0 && k <= SHARDS_MAX; k++) {
		char name[NETWORK_IFNAME];
		LinkInfo link;

		shard_name(h, bridge, k, 'b', name);
		r = link_find(&h->route, name, &link, e);
		if (r == 1) {
			r = change_element(h, name, true, e);
			r = r < 0 ? r : 1;
		}
	}
	return MIN2(r, 0);
}

static int cable_remove(NetworkHost *h, const char *bridge, unsigned k, Err *e)
{
	char down[NETWORK_IFNAME];
	LinkInfo pair;
	int r;

	shard_name(h, bridge, k, 'd', down);
	r = link_find(&h->route, down, &pair, e);
	return r == 1 ? link_remove(&pair, e) : r;
}

/* A gap ends the row: shards are made one after the other. */
int shards_remove(NetworkHost *h, const char *bridge, Err *e)
{
	int r = cable_remove(h, bridge, 0, e);

	for (unsigned k = 1; r >= 0 && k <= SHARDS_MAX; k++) {
		char name[NETWORK_IFNAME];
		LinkInfo link;

		shard_name(h, bridge, k, 'b', name);
		r = link_find(&h->route, name, &link, e);
		if (r <= 0)
			break;
		/* Itself last: what a failure leaves is found by it. */
		r = change_element(h, name, false, e);
		if (r >= 0)
			r = cable_remove(h, bridge, k, e);
		if (r >= 0)
			r = link_remove(&link, e);
	}
	h->shard_room = (ShardRoom){0};
	return MIN2(r, 0);
}
