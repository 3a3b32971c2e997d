/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interfaces upon one of the host's: macvlan (a MAC address of its own on the parent's wire) and ipvlan (the parent's MAC address, told apart by
 * IP address). The container is a host of the parent's network then: nothing is translated and no rule of ours is passed, and the host itself
 * is not reached through its own parent interface (the kernel does not hand frames from one to the other).
 *
 * One request makes the interface inside the namespace, under its name there; it has no end on the host.
 */
#include "network/network-internal.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

static void put_kind(struct nlmsghdr *m, const NetworkSublink *sub)
{
	struct nlattr *info = mnl_attr_nest_start(m, IFLA_LINKINFO), *data;

	mnl_attr_put_str(m, IFLA_INFO_KIND, sub->ipvlan ? "ipvlan" : "macvlan");
	data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
	if (sub->ipvlan) {
		mnl_attr_put_u16(m, IFLA_IPVLAN_MODE, (uint16_t)sub->mode);
		mnl_attr_put_u16(m, IFLA_IPVLAN_FLAGS, sub->flags);
	} else {
		mnl_attr_put_u32(m, IFLA_MACVLAN_MODE, sub->mode);
	}
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
}

int sublink_make(NetworkHost *h, int netns_fd, const NetworkEndpoint *ep, const LinkInfo *parent, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct nlmsghdr *m = netlink_msg(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	const char *kind = ep->sub->ipvlan ? "ipvlan" : "macvlan";

	mnl_attr_put_strz(m, IFLA_IFNAME, ep->container_if);
	mnl_attr_put_u32(m, IFLA_LINK, (uint32_t)parent->index);
	mnl_attr_put_u32(m, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	if (ep->mtu)
		mnl_attr_put_u32(m, IFLA_MTU, ep->mtu);
	if (!ep->sub->ipvlan)
		mnl_attr_put(m, IFLA_ADDRESS, sizeof(ep->mac), ep->mac);
	put_kind(m, ep->sub);
	netlink_msg_end(&b, m);
	int r = netlink_run(&h->route, &b, NULL, e);

	if (r == -EOPNOTSUPP)
		return err_new(e, ERR_UNSUPPORTED,
			       "the kernel cannot make %s interfaces: load the module with modprobe %s", kind,
			       kind);
	if (r == -EBUSY)
		return err_new(e, ERR_CONFLICT,
			       "interface %s is in use in a way that %s does not go with (a bridge's port, "
			       "or the other of "
			       "macvlan and ipvlan): use another parent",
			       parent->name, kind);
	if (r == -EEXIST)
		return err_new(e, ERR_CONFLICT, "interface %s in the container exists already",
			       ep->container_if);
	return r;
}

int network_parent_check(NetworkHost *h, const char *parent, Err *e)
{
	LinkInfo link;
	int r = link_check_name(parent, e);

	if (r == 0)
		r = link_find(&h->route, parent, &link, e);
	if (r == 0 && strchr(parent, '.'))
		return err_new(e, ERR_NOT_FOUND,
			       "parent interface %s does not exist: make it (ip link add link %.*s name %s "
			       "type vlan id %s)",
			       parent, (int)strcspn(parent, "."), parent, parent, strchr(parent, '.') + 1);
	if (r == 0)
		return err_new(e, ERR_NOT_FOUND, "parent interface %s does not exist: use one of \"ip link\"",
			       parent);
	return MIN2(r, 0);
}

int network_interface_remove(int netns_fd, const char *container_if, Err *e)
{
	Netlink inside;
	int r = netlink_open_in(&inside, netns_fd, NETLINK_ROUTE, e);

	if (r < 0)
		return r;
	r = link_delete(&inside, container_if, e);
	netlink_close(&inside);
	return r;
}

typedef struct StrangerJob {
	char *const *known;
	char **strangers;
} StrangerJob;

static int take_stranger(const struct nlmsghdr *m, void *arg)
{
	StrangerJob *job = arg;
	const struct nlattr *attr;
	LinkInfo link;
	bool from_elsewhere = false;

	link_info_parse(m, &link);
	mnl_attr_for_each(attr, m, sizeof(struct ifinfomsg)) if (mnl_attr_get_type(attr) == IFLA_LINK_NETNSID)
	    from_elsewhere = true;
	if (!from_elsewhere || (!streq(link.kind, "macvlan") && !streq(link.kind, "ipvlan")) ||
	    strv_has(job->known, link.name))
		return 0;
	return strv_add(&job->strangers, link.name);
}

int network_interfaces_keep(int netns_fd, char *const *known, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg any = {.ifi_family = AF_UNSPEC};
	StrangerJob job = {.known = known};
	Netlink inside;
	int r = netlink_open_in(&inside, netns_fd, NETLINK_ROUTE, e);

	if (r < 0)
		return r;
	netlink_msg_end(&b, netlink_msg(&b, RTM_GETLINK, NLM_F_DUMP, &any, sizeof(any)));
	r = netlink_ask(&inside, &b, take_stranger, &job, e);
	if (r == -ENOMEM)
		r = err_oom(e);
	for (char **s = job.strangers; r >= 0 && s && *s; s++)
		r = link_delete(&inside, *s, e);
	strv_free(job.strangers);
	netlink_close(&inside);
	return r;
}
