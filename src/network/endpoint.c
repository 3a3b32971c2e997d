/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints: a veth pair from a bridge into a namespace (veth(4)). One request makes the pair with its peer already
 * inside and named, and its host side on the bridge and up; a second one, from a socket of the namespace, gives the peer
 * its address and routes. On a network without icc the host side is an isolated bridge port: such ports reach
 * the bridge itself but not each other, whatever protocol they speak (bridge(8), "isolated").
 */
#include "network/network-internal.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/in6.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

/* More than one, which is the kernel's own choice, are allocated for each CPU and then given up, with a wait for all readers: 1 ms. */
static void put_one_queue(struct nlmsghdr *m)
{
	mnl_attr_put_u32(m, IFLA_NUM_TX_QUEUES, 1);
	mnl_attr_put_u32(m, IFLA_NUM_RX_QUEUES, 1);
}

static void put_peer(struct nlmsghdr *m, int netns_fd, const NetworkEndpoint *ep)
{
	struct nlattr *info = mnl_attr_nest_start(m, IFLA_LINKINFO), *data, *peer;

	mnl_attr_put_str(m, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(m, VETH_INFO_PEER);
	memset(mnl_nlmsg_put_extra_header(m, sizeof(struct ifinfomsg)), 0, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(m, IFLA_IFNAME, ep->container_if);
	mnl_attr_put(m, IFLA_ADDRESS, sizeof(ep->mac), ep->mac);
	mnl_attr_put_u32(m, IFLA_MTU, ep->mtu);
	put_one_queue(m);
	mnl_attr_put_u32(m, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	mnl_attr_nest_end(m, peer);
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
}

static void put_pair(NetlinkBatch *b, int netns_fd, const NetworkEndpoint *ep, int bridge)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct nlmsghdr *m = netlink_msg(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));

	mnl_attr_put_strz(m, IFLA_IFNAME, ep->host_if);
	mnl_attr_put_u32(m, IFLA_MTU, ep->mtu);
	mnl_attr_put_u32(m, IFLA_MASTER, (uint32_t)bridge);
	put_one_queue(m);
	put_peer(m, netns_fd, ep);
	netlink_msg_end(b, m);
}

static bool sysctl_is_on(const char *path)
{
	_cleanup_free_ char *text = NULL;

	return file_read_at(AT_FDCWD, path, 64, &text, NULL) >= 0 && text[0] == '1';
}

/* With br_netfilter a container's packet to its own published port turns round inside the bridge, back into the port it
 * came from, which only a port in hairpin mode allows. */
static bool bridge_is_filtered(const NetworkEndpoint *ep)
{
	return (ep->ip[IP_V4].address && sysctl_is_on("/proc/sys/net/bridge/bridge-nf-call-iptables")) ||
	       (ep->ip[IP_V6].address && sysctl_is_on("/proc/sys/net/bridge/bridge-nf-call-ip6tables"));
}

/* A bridge port needs no IPv6 address of its own, and asking for one costs multicast into every container. */
static void put_port_settings(NetlinkBatch *b, const NetworkEndpoint *ep, bool isolated)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct nlmsghdr *m = netlink_msg(b, RTM_NEWLINK, 0, &header, sizeof(header));
	struct nlattr *info, *data, *spec, *inet6;

	mnl_attr_put_strz(m, IFLA_IFNAME, ep->host_if);
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_str(m, IFLA_INFO_SLAVE_KIND, "bridge");
	data = mnl_attr_nest_start(m, IFLA_INFO_SLAVE_DATA);
	mnl_attr_put_u8(m, IFLA_BRPORT_ISOLATED, isolated);
	mnl_attr_put_u8(m, IFLA_BRPORT_MODE, bridge_is_filtered(ep));
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
	if (access("/proc/sys/net/ipv6", F_OK) == 0) {
		spec = mnl_attr_nest_start(m, IFLA_AF_SPEC);
		inet6 = mnl_attr_nest_start(m, AF_INET6);
		mnl_attr_put_u8(m, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
		mnl_attr_nest_end(m, inet6);
		mnl_attr_nest_end(m, spec);
	}
	netlink_msg_end(b, m);
}

static void put_up(NetlinkBatch *b, const char *name)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	struct nlmsghdr *m = netlink_msg(b, RTM_NEWLINK, 0, &header, sizeof(header));

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	netlink_msg_end(b, m);
}

static int pair_make(NetworkHost *h, int netns_fd, const NetworkEndpoint *ep, int bridge, bool isolated,
		     Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	size_t bad = 0;

	put_pair(&b, netns_fd, ep, bridge);
	put_port_settings(&b, ep, isolated);
	put_up(&b, ep->host_if);
	int r = netlink_run(&h->route, &b, &bad, e);

	if (r >= 0)
		return 0;
	if (bad == 0 && r == -EOPNOTSUPP)
		return err_new(e, ERR_UNSUPPORTED,
			       "the kernel cannot make veth pairs: load the module with modprobe veth");
	if (bad == 0 && r == -EEXIST)
		return err_new(e, ERR_CONFLICT,
			       "interface %s on the host or %s in the container exists already", ep->host_if,
			       ep->container_if);
	/* Only what this call made may be undone: with bad == 0 the name may be somebody else's. */
	if (bad > 0 && link_delete(&h->route, ep->host_if, NULL) < 0)
		return err_ctx(e, r, "interface %s is left half made", ep->host_if);
	return r;
}

static void put_address(NetlinkBatch *b, const NetworkEndpointIp *ip, int index)
{
	uint8_t bytes[16];
	size_t n = ip_to_bytes(ip->address, bytes);
	/* Chosen so that nobody else on the network has it: nothing has to be waited for before it is used. */
	struct ifaddrmsg header = {.ifa_family = (uint8_t)ip_af(ip->address),
				   .ifa_prefixlen = ip->prefix,
				   .ifa_flags = n == 16 ? IFA_F_NODAD : 0,
				   .ifa_index = (unsigned)index};
	struct nlmsghdr *m = netlink_msg(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));

	mnl_attr_put(m, IFA_LOCAL, n, bytes);
	mnl_attr_put(m, IFA_ADDRESS, n, bytes);
	if (n == 4)
		mnl_attr_put_u32(m, IFA_BROADCAST,
				 htonl((uint32_t)(ip->address | ~ip_mask(ip->address, ip->prefix))));
	netlink_msg_end(b, m);
}

static bool has_default(const NetworkEndpointIp *ip)
{
	return ip && (ip->gateway || ip->direct);
}

/* ip NULL: the deletion of whatever default route there is. */
static void put_default_route(NetlinkBatch *b, int family, const NetworkEndpointIp *ip, int index,
			      uint16_t flags)
{
	bool there = has_default(ip);
	uint8_t scope = !there ? RT_SCOPE_NOWHERE : ip->gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	struct rtmsg header = {.rtm_family = family == IP_V4 ? AF_INET : AF_INET6,
			       .rtm_table = RT_TABLE_MAIN,
			       .rtm_protocol = there ? RTPROT_BOOT : RTPROT_UNSPEC,
			       .rtm_scope = scope,
			       .rtm_type = there ? RTN_UNICAST : RTN_UNSPEC};
	struct nlmsghdr *m =
	    netlink_msg(b, there ? RTM_NEWROUTE : RTM_DELROUTE, there ? flags : 0, &header, sizeof(header));
	uint8_t bytes[16];

	if (there && ip->gateway)
		mnl_attr_put(m, RTA_GATEWAY, ip_to_bytes(ip->gateway, bytes), bytes);
	if (there)
		mnl_attr_put_u32(m, RTA_OIF, (uint32_t)index);
	netlink_msg_end(b, m);
}

int network_default_route_set(int netns_fd, int family, const char *container_if, const NetworkEndpointIp *ip,
			      Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	LinkInfo link = {0};
	Netlink inside;
	int r = netlink_open_in(&inside, netns_fd, NETLINK_ROUTE, e);

	if (r < 0)
		return r;
	if (has_default(ip))
		r = link_find(&inside, container_if, &link, e);
	if (has_default(ip) && r == 0)
		r = err_new(e, ERR_NOT_FOUND, "interface %s vanished", container_if);
	if (r >= 0) {
		put_default_route(&b, family, ip, link.index, NLM_F_CREATE | NLM_F_REPLACE);
		r = netlink_run(&inside, &b, NULL, e);
	}
	netlink_close(&inside);
	if (!has_default(ip) && (r == -ESRCH || r == -ENOENT))
		return 0;
	return r < 0 ? err_ctx(e, r, "default route of the container") : 0;
}

/* Addresses, up, routes: in that order, as a route needs its interface up. */
static int inside_configure(Netlink *inside, const NetworkEndpoint *ep, Err *e)
{
	static const char *const steps[] = {"set the address", "bring it up", "set the default route"};
	_cleanup_batch_ NetlinkBatch b = {0};
	LinkInfo link;
	size_t bad = 0, n_addresses = 0;
	int r = link_find(inside, ep->container_if, &link, e);

	if (r <= 0)
		return r < 0 ? r : err_new(e, ERR_NOT_FOUND, "interface %s vanished", ep->container_if);
	for (int f = 0; f < IP_FAMILIES; f++)
		if (ep->ip[f].address) {
			put_address(&b, &ep->ip[f], link.index);
			n_addresses++;
		}
	put_up(&b, ep->container_if);
	for (int f = 0; f < IP_FAMILIES; f++)
		if (has_default(&ep->ip[f]))
			put_default_route(&b, f, &ep->ip[f], link.index, NLM_F_CREATE | NLM_F_EXCL);
	r = netlink_run(inside, &b, &bad, e);
	return err_ctx(e, r, "interface %s in the container: %s", ep->container_if,
		       steps[bad < n_addresses    ? 0
			     : bad == n_addresses ? 1
						  : 2]);
}

void mac_derive(IpAddress address, uint8_t ret[6])
{
	uint32_t low = htonl((uint32_t)address);

	ret[0] = 0x02;
	ret[1] = 0x42;
	memcpy(ret + 2, &low, sizeof(low));
}

/* Derived from the address, so whoever gets it next has the same and no ARP cache is ever wrong. */
static void fill_mac(NetworkEndpoint *ep)
{
	static const uint8_t none[6];

	if (memcmp(ep->mac, none, sizeof(none)) == 0)
		mac_derive(ep->ip[ep->ip[IP_V4].address ? IP_V4 : IP_V6].address, ep->mac);
}

/* ---- sysctls ---- */

/* "net.ipv4.conf.IFNAME.word=value" is /proc/sys/net/ipv4/conf/eth0/word and "value". */
static int sysctl_path(const char *sysctl, const char *container_if, char *ret, size_t room,
		       const char **ret_value)
{
	size_t n = strcspn(sysctl, "="), at = 0;
	int len = snprintf(ret, room, "/proc/sys/");

	at = (size_t)len;
	for (size_t i = 0; i < n;) {
		size_t word = strcspn(sysctl + i, ".=");
		bool name = word == strlen("IFNAME") && strncmp(sysctl + i, "IFNAME", word) == 0;

		len = snprintf(ret + at, room - at, "%s%.*s", i ? "/" : "", name ? NETWORK_IFNAME : (int)word,
			       name ? container_if : sysctl + i);
		if ((size_t)len >= room - at)
			return -ENAMETOOLONG;
		at += (size_t)len;
		i += word + 1;
	}
	*ret_value = sysctl[n] ? sysctl + n + 1 : "";
	return 0;
}

int network_endpoint_sysctl_check(const char *sysctl, Err *e)
{
	static const char *const families[] = {"net.ipv4.", "net.ipv6.", "net.mpls."};
	const char *rest = NULL;
	size_t n;

	for (size_t i = 0; !rest && i < ELEMENTSOF(families); i++)
		rest = str_after(sysctl, families[i]);
	/* KIND.IFNAME.WORD=value: four words before the equals sign, and no way up the tree. */
	n = rest ? strspn(rest, "abcdefghijklmnopqrstuvwxyz") : 0;
	if (!rest || n == 0 || !str_starts(rest + n, ".IFNAME."))
		return err_new(e, ERR_INVALID,
			       "invalid interface sysctl \"%s\": expected net.ipv4.conf.IFNAME.NAME=VALUE, "
			       "with IFNAME as "
			       "it is here",
			       sysctl);
	rest += n + strlen(".IFNAME.");
	n = strspn(rest, "abcdefghijklmnopqrstuvwxyz0123456789_");
	if (n == 0 || rest[n] != '=')
		return err_new(e, ERR_INVALID,
			       "invalid interface sysctl \"%s\": expected NAME=VALUE at its end", sysctl);
	return 0;
}

static int set_sysctls(const NetworkEndpoint *ep, Err *e)
{
	for (char *const *s = ep->sysctls; s && *s; s++) {
		const char *value;
		char path[256];
		int r = sysctl_path(*s, ep->container_if, path, sizeof(path), &value);

		if (r >= 0)
			r = file_write_at(AT_FDCWD, path, value);
		if (r < 0)
			return err_sys(e, r, "set %s", *s);
	}
	return 0;
}

/* New namespaces have IPv6 off for what comes into them (namespace.c). */
static int sysctl_job(void *arg, Err *e)
{
	static const char *const settings[][2] = {{"disable_ipv6", "0"},
						  {"accept_ra", "0"},
						  {"accept_dad", "0"}};
	const NetworkEndpoint *ep = arg;
	char path[128];

	for (size_t i = 0; ep->ip[IP_V6].address && i < ELEMENTSOF(settings); i++) {
		snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", ep->container_if,
			 settings[i][0]);
		int r = file_write_at(AT_FDCWD, path, settings[i][1]);

		if (r < 0)
			return err_sys(e, r, "turn IPv6 on: write %s", path);
	}
	return set_sysctls(ep, e);
}

/* These files show the settings of the namespace of whoever opens them. */
static int inside_sysctls(int netns_fd, const NetworkEndpoint *ep, Err *e)
{
	if (!ep->ip[IP_V6].address && !(ep->sysctls && *ep->sysctls))
		return 0;
	return netns_call(netns_fd, sysctl_job, (void *)ep, e);
}

/* Its settings, addresses and routes, from a socket of the namespace. */
static int inside_all(Netlink *inside, int netns_fd, const NetworkEndpoint *ep, Err *e)
{
	int r = inside_sysctls(netns_fd, ep, e);

	return r < 0 ? r : inside_configure(inside, ep, e);
}

static int bridge_connect(NetworkHost *h, int netns_fd, NetworkEndpoint *ep, Err *e)
{
	LinkInfo bridge, root;
	Netlink inside;
	int icc, r = link_find(&h->route, ep->bridge, &root, e);

	if (r < 0)
		return r;
	if (r == 0)
		return err_new(e, ERR_NOT_FOUND, "bridge %s does not exist: make the network again",
			       ep->bridge);
	icc = firewall_bridge_icc(h, ep->bridge, e);
	if (icc < 0)
		return icc;
	r = shard_choose(h, &root, ep->neighbours, icc == 0, &bridge, e);
	if (r < 0)
		return r;
	if (ep->mtu == 0)
		ep->mtu = root.mtu;
	r = netlink_open_in(&inside, netns_fd, NETLINK_ROUTE, e);
	if (r < 0)
		return r;
	r = pair_make(h, netns_fd, ep, bridge.index, icc == 0, e);
	if (r >= 0) {
		r = inside_all(&inside, netns_fd, ep, e);
		if (r < 0 && link_delete(&h->route, ep->host_if, NULL) < 0)
			r = err_ctx(e, r, "interface %s is left half made", ep->host_if);
	}
	netlink_close(&inside);
	return r;
}

static int parent_connect(NetworkHost *h, int netns_fd, NetworkEndpoint *ep, Err *e)
{
	LinkInfo parent;
	Netlink inside;
	int r = *ep->sub->parent ? link_find(&h->route, ep->sub->parent, &parent, e)
				 : island_parent(h, ep->bridge, &parent, e);

	if (r == 0 && *ep->sub->parent)
		r = network_parent_check(h, ep->sub->parent, e);
	if (r >= 0)
		r = netlink_open_in(&inside, netns_fd, NETLINK_ROUTE, e);
	if (r < 0)
		return r;
	r = sublink_make(h, netns_fd, ep, &parent, e);
	if (r >= 0) {
		r = inside_all(&inside, netns_fd, ep, e);
		if (r < 0 && link_delete(&inside, ep->container_if, NULL) < 0)
			r = err_ctx(e, r, "interface %s is left half made", ep->container_if);
	}
	netlink_close(&inside);
	return r;
}

int network_endpoint_add(NetworkHost *h, int netns_fd, NetworkEndpoint *ep, Err *e)
{
	int r = ep->sub ? 0 : link_check_name(ep->host_if, e);

	if (r == 0)
		r = link_check_name(ep->container_if, e);
	for (int f = 0; r == 0 && f < IP_FAMILIES; f++) {
		const NetworkEndpointIp *ip = &ep->ip[f];

		if (ip->address &&
		    (ip_index(ip->address) != f || ip->prefix < 1 || ip->prefix > ip_bits(ip->address)))
			r = err_new(e, ERR_INVALID, "invalid address %s/%u", ip_text(ip->address).s,
				    ip->prefix);
	}
	if (r == 0 && !ep->ip[IP_V4].address && !ep->ip[IP_V6].address)
		r = err_new(e, ERR_INVALID, "an endpoint needs an address");
	if (r < 0)
		return err_ctx(e, r, "connect %s", ep->container_if);
	fill_mac(ep);
	if (ep->sub)
		return err_ctx(e, parent_connect(h, netns_fd, ep, e), "connect %s to interface %s",
			       ep->container_if, *ep->sub->parent ? ep->sub->parent : ep->bridge);
	return err_ctx(e, bridge_connect(h, netns_fd, ep, e), "connect %s to bridge %s", ep->container_if,
		       ep->bridge);
}

int network_endpoint_exists(NetworkHost *h, const char *host_if, Err *e)
{
	LinkInfo link;

	return link_find(&h->route, host_if, &link, e);
}

int network_endpoint_remove(NetworkHost *h, const char *host_if, Err *e)
{
	LinkInfo link;
	int r = link_check_name(host_if, e);

	if (r < 0)
		return r;
	r = link_find(&h->route, host_if, &link, e);
	if (r <= 0)
		return r;
	if (!streq(link.kind, "veth"))
		return err_new(e, ERR_CONFLICT,
			       "interface %s is no veth (kind \"%s\"), so it is not a container's", host_if,
			       link.kind);
	return link_remove(&link, e);
}
