/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bridges. Ours carry the alias "ireko:<table>" and are the only ones ever changed or deleted. A bridge is made,
 * marked and brought up by one system call, so a crash leaves either none or one that is known as ours.
 *
 * IPv6: a host that forwards stops to listen to router advertisements (accept_ra 1), and may lose its own way out by that. So whatever interface
 * listens is told to go on (2) before forwarding is turned on.
 *
 * route_localnet lets the answers to a host's connection from 127.0.0.1 to a published port come back by the bridge;
 * the guard chain (firewall.c) keeps that from opening 127.0.0.0/8 to the containers.
 */
#include "network/network-internal.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>

#define IP_FORWARD "/proc/sys/net/ipv4/ip_forward"
#define IPV6_CONF  "/proc/sys/net/ipv6/conf/"

bool bridge_is_ours(const NetworkHost *h, const LinkInfo *link)
{
	const char *table = str_after(link->alias, BRIDGE_ALIAS_PREFIX);

	return streq(link->kind, "bridge") && table && streq(table, h->table);
}

/* Writes what is not so yet. */
static int sysctl_set(const char *path, const char *value)
{
	_cleanup_free_ char *now = NULL;
	int r = file_read_at(AT_FDCWD, path, 64, &now, NULL);

	if (r >= 0 && strncmp(now, value, strlen(value)) == 0)
		return 0;
	return r < 0 ? r : file_write_at(AT_FDCWD, path, value);
}

static int ip_forward_on(Err *e)
{
	int r = sysctl_set(IP_FORWARD, "1");

	if (r < 0)
		return err_sys(
		    e, r,
		    "turn packet forwarding on: write " IP_FORWARD
		    " (containers cannot reach anything without; set net.ipv4.ip_forward=1 yourself)");
	return 0;
}

static void keep_advertisements(void)
{
	DIR *dir = opendir(IPV6_CONF);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		_cleanup_free_ char *now = NULL;
		char path[300];

		snprintf(path, sizeof(path), IPV6_CONF "%s/accept_ra", entry->d_name);
		/* One that has just gone needs nothing. */
		if (file_read_at(AT_FDCWD, path, 16, &now, NULL) >= 0 && now[0] == '1')
			(void)file_write_at(AT_FDCWD, path, "2");
	}
	if (dir)
		closedir(dir);
}

static int ipv6_forward_on(Err *e)
{
	_cleanup_free_ char *now = NULL;
	int r = file_read_at(AT_FDCWD, IPV6_CONF "all/forwarding", 16, &now, NULL);

	if (r >= 0 && now[0] == '1')
		return 0;
	if (r >= 0) {
		keep_advertisements();
		r = file_write_at(AT_FDCWD, IPV6_CONF "all/forwarding", "1");
	}
	if (r < 0)
		return err_sys(
		    e, r,
		    "turn packet forwarding on: write " IPV6_CONF
		    "all/forwarding (IPv6 networks need it; set net.ipv6.conf.all.forwarding=1 yourself)");
	return 0;
}

/* Before the bridge gets its address: hosts turn IPv6 off by default for new interfaces, and router advertisements by containers
 * are not for the host. */
static int ipv6_on(const char *bridge, Err *e)
{
	static const char *const settings[][2] = {{"disable_ipv6", "0"},
						  {"accept_ra", "0"},
						  {"accept_redirects", "0"}};
	char path[128];

	for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
		snprintf(path, sizeof(path), IPV6_CONF "%s/%s", bridge, settings[i][0]);
		int r = sysctl_set(path, settings[i][1]);

		if (r == -ENOENT)
			return err_new(e, ERR_UNSUPPORTED,
				       "the kernel has no IPv6, or it is off (ipv6.disable=1)");
		if (r < 0)
			return err_sys(e, r, "write %s", path);
	}
	return 0;
}

typedef struct DefaultRoute {
	int oif;
	uint32_t metric;
	bool found;
} DefaultRoute;

static int take_default_route(const struct nlmsghdr *m, void *arg)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(m);
	DefaultRoute *best = arg, this = {.found = true};
	const struct nlattr *attr;

	if (header->rtm_dst_len != 0 || header->rtm_table != RT_TABLE_MAIN || header->rtm_type != RTN_UNICAST)
		return 0;
	mnl_attr_for_each(attr, m, sizeof(*header))
	{
		if (mnl_attr_get_type(attr) == RTA_OIF)
			this.oif = (int)mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == RTA_PRIORITY)
			this.metric = mnl_attr_get_u32(attr);
	}
	if (this.oif > 0 && (!best->found || this.metric < best->metric))
		*best = this;
	return 0;
}

static int take_link(const struct nlmsghdr *m, void *arg)
{
	link_info_parse(m, arg);
	return 0;
}

/* 1500 if there is no default route. */
static int default_mtu(NetworkHost *h, uint32_t *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch routes = {0}, link = {0};
	struct rtmsg main = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN};
	DefaultRoute best = {0};
	LinkInfo uplink = {0};
	int r;

	netlink_msg_end(&routes, netlink_msg(&routes, RTM_GETROUTE, NLM_F_DUMP, &main, sizeof(main)));
	r = netlink_ask(&h->route, &routes, take_default_route, &best, e);
	if (r < 0)
		return err_ctx(e, r, "list routes");
	if (best.found) {
		struct ifinfomsg header = {.ifi_index = best.oif};

		netlink_msg_end(&link, netlink_msg(&link, RTM_GETLINK, 0, &header, sizeof(header)));
		r = netlink_ask(&h->route, &link, take_link, &uplink, e);
		if (r < 0 && r != -ENODEV)
			return err_ctx(e, r, "look up the interface of the default route");
	}
	*ret = uplink.mtu >= 576 && uplink.mtu <= 65535 ? uplink.mtu : 1500;
	return 0;
}

/* The bridge keeps this address whatever joins it; without, it would take on the lowest of its ports'. */
static void put_mac(struct nlmsghdr *m, const NetworkBridge *b)
{
	uint8_t mac[6];

	mac_derive(b->ip[b->ip[IP_V4].prefix ? IP_V4 : IP_V6].gateway, mac);
	mnl_attr_put(m, IFLA_ADDRESS, sizeof(mac), mac);
}

static void put_settings(NetlinkBatch *batch, const NetworkHost *h, const char *name)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct nlmsghdr *m = netlink_msg(batch, RTM_NEWLINK, 0, &header, sizeof(header));
	char alias[sizeof(BRIDGE_ALIAS_PREFIX) + sizeof(h->table)];

	snprintf(alias, sizeof(alias), BRIDGE_ALIAS_PREFIX "%s", h->table);
	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	mnl_attr_put_str(m, IFLA_IFALIAS, alias);

	struct nlattr *spec = mnl_attr_nest_start(m, IFLA_AF_SPEC);
	struct nlattr *inet = mnl_attr_nest_start(m, AF_INET);
	struct nlattr *conf = mnl_attr_nest_start(m, IFLA_INET_CONF);

	mnl_attr_put_u32(m, IPV4_DEVCONF_ROUTE_LOCALNET, 1);
	mnl_attr_nest_end(m, conf);
	mnl_attr_nest_end(m, inet);
	mnl_attr_nest_end(m, spec);
	netlink_msg_end(batch, m);
}

static void put_up(NetlinkBatch *batch, const char *name)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	struct nlmsghdr *m = netlink_msg(batch, RTM_NEWLINK, 0, &header, sizeof(header));

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	netlink_msg_end(batch, m);
}

static int bridge_make(NetworkHost *h, const NetworkBridge *b, Err *e)
{
	_cleanup_batch_ NetlinkBatch batch = {0};
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	uint32_t mtu = b->mtu;
	int r = mtu ? 0 : default_mtu(h, &mtu, e);

	if (r < 0)
		return r;

	struct nlmsghdr *m =
	    netlink_msg(&batch, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	struct nlattr *info;

	mnl_attr_put_strz(m, IFLA_IFNAME, b->name);
	mnl_attr_put_u32(m, IFLA_MTU, mtu);
	put_mac(m, b);
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_str(m, IFLA_INFO_KIND, "bridge");
	mnl_attr_nest_end(m, info);
	netlink_msg_end(&batch, m);
	put_settings(&batch, h, b->name);
	put_up(&batch, b->name);

	size_t bad = 0;

	r = netlink_run(&h->route, &batch, &bad, e);
	if (r == -EOPNOTSUPP && bad == 0)
		return err_new(e, ERR_UNSUPPORTED,
			       "the kernel cannot make bridges: load the module with modprobe bridge");
	if (r < 0 && bad > 0) {
		int undo = link_delete(&h->route, b->name, NULL);

		if (undo < 0)
			return err_ctx(e, r, "interface %s is left half made", b->name);
	}
	return r;
}

static int bridge_repair(NetworkHost *h, const LinkInfo *link, Err *e)
{
	_cleanup_batch_ NetlinkBatch batch = {0};

	if (!link->route_localnet)
		put_settings(&batch, h, link->name);
	if (!(link->flags & IFF_UP))
		put_up(&batch, link->name);
	return batch.n > 0 ? netlink_run(&h->route, &batch, NULL, e) : 0;
}

/* The addresses of one bridge in one family against what it has to be; strangers are collected for deletion. */
typedef struct AddressJob {
	int index;
	const NetworkSubnet *want; /* NULL: none */
	bool found;
	NetlinkBatch change;
} AddressJob;

static void put_address(NetlinkBatch *batch, uint16_t type, int index, IpAddress address, uint8_t prefix)
{
	uint8_t bytes[16];
	size_t n = ip_to_bytes(address, bytes);
	/* Nobody else has it: the network is made here, so there is no need to wait for others to object. */
	struct ifaddrmsg header = {.ifa_family = (uint8_t)ip_af(address),
				   .ifa_prefixlen = prefix,
				   .ifa_flags = n == 16 ? IFA_F_NODAD : 0,
				   .ifa_index = (unsigned)index};
	uint16_t flags = type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0;
	struct nlmsghdr *m = netlink_msg(batch, type, flags, &header, sizeof(header));

	mnl_attr_put(m, IFA_LOCAL, n, bytes);
	if (type == RTM_NEWADDR)
		mnl_attr_put(m, IFA_ADDRESS, n, bytes);
	if (type == RTM_NEWADDR && n == 4)
		mnl_attr_put_u32(m, IFA_BROADCAST, htonl((uint32_t)(address | ~ip_mask(address, prefix))));
	netlink_msg_end(batch, m);
}

/* IPv6 has no IFA_LOCAL unless it is a peer's. Link-local ones are the kernel's. */
static int take_address(const struct nlmsghdr *m, void *arg)
{
	const struct ifaddrmsg *header = mnl_nlmsg_get_payload(m);
	size_t size = header->ifa_family == AF_INET ? 4 : 16;
	IpAddress address = 0, local = 0;
	AddressJob *job = arg;
	const struct nlattr *attr;

	if ((int)header->ifa_index != job->index)
		return 0;
	mnl_attr_for_each(attr, m, sizeof(*header))
	{
		if (mnl_attr_get_payload_len(attr) != size)
			continue;
		if (mnl_attr_get_type(attr) == IFA_LOCAL)
			local = ip_from_bytes(mnl_attr_get_payload(attr), size);
		else if (mnl_attr_get_type(attr) == IFA_ADDRESS)
			address = ip_from_bytes(mnl_attr_get_payload(attr), size);
	}
	local = local ? local : address;
	if (job->want && local == job->want->gateway && header->ifa_prefixlen == job->want->prefix)
		job->found = true;
	else if (size == 4 || !ip_is_link_local(local))
		put_address(&job->change, RTM_DELADDR, job->index, local, header->ifa_prefixlen);
	return 0;
}

static int address_ensure(NetworkHost *h, int index, int family, const NetworkSubnet *want, Err *e)
{
	_cleanup_batch_ NetlinkBatch ask = {0};
	struct ifaddrmsg its = {.ifa_family = family == IP_V4 ? AF_INET : AF_INET6,
				.ifa_index = (unsigned)index};
	AddressJob job = {.index = index, .want = want};
	int r;

	netlink_msg_end(&ask, netlink_msg(&ask, RTM_GETADDR, NLM_F_DUMP, &its, sizeof(its)));
	r = netlink_ask(&h->route, &ask, take_address, &job, e);
	if (r == 0 && want && !job.found)
		put_address(&job.change, RTM_NEWADDR, index, want->gateway, want->prefix);
	if (r == 0 && job.change.n > 0)
		r = netlink_run(&h->route, &job.change, NULL, e);
	netlink_batch_done(&job.change);
	return want ? err_ctx(e, r, "address %s/%u", ip_text(want->gateway).s, want->prefix) : r;
}

/* The gateway addresses of the families that the network has; IPv6 is turned on where it is wanted. */
static int addresses_ensure(NetworkHost *h, int index, const NetworkBridge *b, Err *e)
{
	int r = 0;

	for (int f = 0; r >= 0 && f < IP_FAMILIES; f++) {
		bool wanted = b->ip[f].prefix && b->gateway[f] != NETWORK_GATEWAY_ISOLATED &&
			      !(f == IP_V4 && b->no_address);

		if (f == IP_V6 && !b->ip[f].prefix)
			continue;
		if (f == IP_V6)
			r = ipv6_on(b->name, e);
		if (r >= 0)
			r = address_ensure(h, index, f, wanted ? &b->ip[f] : NULL, e);
	}
	return r;
}

static int forwarding_on(const NetworkBridge *b, Err *e)
{
	int r = b->ip[IP_V4].prefix ? ip_forward_on(e) : 0;

	if (r >= 0 && b->ip[IP_V6].prefix && !b->internal)
		r = ipv6_forward_on(e);
	return r;
}

static int check_ours(const NetworkHost *h, const LinkInfo *link, Err *e)
{
	if (bridge_is_ours(h, link))
		return 0;
	return err_new(e, ERR_CONFLICT,
		       "interface %s exists and is not of this daemon (kind \"%s\", alias \"%.80s\"; ours "
		       "have \"%s%s\"): "
		       "rename or remove it, or choose another bridge name",
		       link->name, link->kind, link->alias, BRIDGE_ALIAS_PREFIX, h->table);
}

static int link_ensure(NetworkHost *h, const NetworkBridge *b, LinkInfo *link, Err *e)
{
	int r = link_find(&h->route, b->name, link, e);

	if (r < 0)
		return r;
	if (r == 1) {
		r = check_ours(h, link, e);
		return r < 0 ? r : bridge_repair(h, link, e);
	}
	r = bridge_make(h, b, e);
	if (r < 0)
		return r;
	r = link_find(&h->route, b->name, link, e);
	if (r == 0)
		return err_new(e, ERR_UNAVAILABLE, "it was removed while it was made");
	/* Best effort: the failure to tell is the first one. */
	if (r < 0)
		(void)link_delete(&h->route, b->name, NULL);
	return r < 0 ? r : 1;
}

int network_bridge_ensure(NetworkHost *h, const NetworkBridge *b, Err *e)
{
	LinkInfo link;
	int made, r = link_check_name(b->name, e);

	if (r < 0)
		return r;
	SCOPE_LOCK(&h->lock);
	r = made = link_ensure(h, b, &link, e);
	if (r >= 0)
		r = addresses_ensure(h, link.index, b, e);
	if (r >= 0)
		r = firewall_bridge_ensure(h, b, link.mac, e);
	if (r == 1)
		r = shards_enter(h, b->name, e);
	if (r >= 0)
		r = forwarding_on(b, e);
	if (r < 0 && made == 1) {
		/* Best effort: the failure to tell is the first one. */
		(void)link_delete(&h->route, b->name, NULL);
		(void)firewall_bridge_remove(h, b->name, NULL);
	}
	return r < 0 ? err_ctx(e, r, "bridge %s", b->name) : made;
}

int link_delete(Netlink *nl, const char *name, Err *e)
{
	_cleanup_batch_ NetlinkBatch batch = {0};
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct nlmsghdr *m = netlink_msg(&batch, RTM_DELLINK, 0, &header, sizeof(header));

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	netlink_msg_end(&batch, m);
	int r = netlink_run(nl, &batch, NULL, e);

	return r == -ENODEV ? 0 : err_ctx(e, r, "remove interface %s", name);
}

int network_bridge_remove(NetworkHost *h, const char *name, Err *e)
{
	LinkInfo link;
	int r = link_check_name(name, e);

	if (r < 0)
		return r;
	SCOPE_LOCK(&h->lock);
	/* Mostly it has never been made; link_find would wait for the removal of another one. */
	r = if_nametoindex(name) == 0 && errno == ENODEV ? 0 : link_find(&h->route, name, &link, e);
	if (r == 1) {
		r = check_ours(h, &link, e);
		if (r == 0)
			r = shards_remove(h, name, e);
		if (r == 0)
			r = link_remove(&link, e);
	}
	if (r >= 0)
		r = firewall_bridge_remove(h, name, e);
	return err_ctx(e, r, "bridge %s", name);
}
