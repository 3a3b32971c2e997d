/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a crash: what the kernel has and the daemon does not know is removed. First everything is listed, then deleted, so that
 * a listing is never changed under its own feet. Only bridges with our alias, veths on such bridges, and elements of our table
 * are looked at.
 */
#include "network/network-internal.h"

#include <linux/rtnetlink.h>

typedef struct Links {
	LinkInfo *v;
	size_t n;
} Links;

static void links_done(Links *l)
{
	free(l->v);
}

static int take_link(const struct nlmsghdr *m, void *arg)
{
	Links *links = arg;
	LinkInfo *v = reallocarray(links->v, links->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	links->v = v;
	link_info_parse(m, &v[links->n++]);
	return 0;
}

static int list_links(NetworkHost *h, Links *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg any = {.ifi_family = AF_UNSPEC};

	netlink_msg_end(&b, netlink_msg(&b, RTM_GETLINK, NLM_F_DUMP, &any, sizeof(any)));
	int r = netlink_ask(&h->route, &b, take_link, ret, e);

	return r == -ENOMEM ? err_oom(e) : err_ctx(e, r, "list interfaces");
}

static bool link_listed(const Links *links, const char *name)
{
	for (size_t i = 0; i < links->n; i++)
		if (streq(links->v[i].name, name))
			return true;
	return false;
}

static bool bridge_known(const NetworkKnown *known, const char *name)
{
	for (size_t i = 0; i < known->n_bridges; i++)
		if (streq(known->bridges[i].name, name))
			return true;
	return false;
}

static bool host_if_known(const NetworkKnown *known, const char *name)
{
	for (size_t i = 0; i < known->n_host_ifs; i++)
		if (streq(known->host_ifs[i], name))
			return true;
	return false;
}

static bool address_known(const NetworkKnown *known, IpAddress address)
{
	for (size_t i = 0; i < known->n_addresses; i++)
		if (known->addresses[i] == address)
			return true;
	return false;
}

static bool is_port_of_ours(const NetworkHost *h, const Links *links, const LinkInfo *veth)
{
	for (size_t i = 0; veth->master && i < links->n; i++)
		if (links->v[i].index == veth->master)
			return bridge_is_ours(h, &links->v[i]) || shard_of(h, &links->v[i]);
	return false;
}

/* Of no network that is known. What belongs to a shard goes with the network. */
static bool is_orphan(const NetworkHost *h, const Links *links, const LinkInfo *link,
		      const NetworkKnown *known)
{
	const char *root = shard_of(h, link);

	if (root)
		return !bridge_known(known, root);
	if (bridge_is_ours(h, link))
		return !bridge_known(known, link->name);
	return streq(link->kind, "veth") && is_port_of_ours(h, links, link) &&
	       !host_if_known(known, link->name);
}

/* The rules come after the bridge: one without them and without a port has never been used, and is made whole when it is. */
static bool is_half_made(NetworkHost *h, const Links *links, const LinkInfo *bridge)
{
	Element el = firewall_bridge_element(bridge->name);

	if (!bridge_is_ours(h, bridge))
		return false;
	for (size_t i = 0; i < links->n; i++)
		if (links->v[i].master == bridge->index)
			return false;
	return element_get(&h->filter, h->table, &el, NULL) == 0;
}

/* Bridges last: a veth is known as ours by its bridge, if not now then the next time. */
static int remove_links(NetworkHost *h, const Links *links, const NetworkKnown *known, Err *e)
{
	int r = 0;

	for (int bridges = 0; bridges <= 1; bridges++)
		for (size_t i = 0; r >= 0 && i < links->n; i++) {
			const LinkInfo *link = &links->v[i];

			if (streq(link->kind, "bridge") == bridges &&
			    (is_orphan(h, links, link, known) || is_half_made(h, links, link)))
				r = link_delete(&h->route, link->name, e);
		}
	return r;
}

typedef struct PortJob {
	const NetworkHost *h;
	const NetworkKnown *known;
	NetlinkBatch remove;
} PortJob;

/* The container's address is what a map's value begins with (and a port ends), and what a set's key begins with. */
static int take_port(const Element *el, void *arg)
{
	bool v6 = el->data_len ? el->data_len > 8 : el->key_len > 12;
	IpAddress address = ip_from_bytes(el->data_len ? el->data : el->key, v6 ? 16 : 4);
	PortJob *job = arg;

	if (!address_known(job->known, address))
		element_remove(&job->remove, job->h->table, el);
	return 0;
}

static int remove_ports(NetworkHost *h, const NetworkKnown *known, Err *e)
{
	static const char *const sets[] = {"ports_any4", "ports_any6", "ports_at4",
					   "ports_at6",  "open4",      "open6"};
	PortJob job = {h, known, {{0}}};
	int r = 0;

	element_begin(&job.remove);
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(sets); i++)
		r = element_list(&h->filter, h->table, sets[i], take_port, &job, e);
	if (r >= 0)
		r = element_commit(&h->filter, &job.remove, NULL, e);
	netlink_batch_done(&job.remove);
	return err_ctx(e, r, "remove port entries");
}

typedef struct ShardJob {
	const NetworkHost *h;
	const Links *links;
	const NetworkKnown *known;
	NetlinkBatch remove;
} ShardJob;

static int take_shard(const Element *el, void *arg)
{
	char name[NETWORK_IFNAME + 1] = "";
	ShardJob *job = arg;

	memcpy(name, el->key, NETWORK_IFNAME);
	for (size_t i = 0; i < job->links->n; i++)
		if (streq(job->links->v[i].name, name) &&
		    !is_orphan(job->h, job->links, &job->links->v[i], job->known))
			return 0;
	element_remove(&job->remove, job->h->table, el);
	return 0;
}

/* Of shards that are gone. */
static int remove_shard_rules(NetworkHost *h, const Links *links, const NetworkKnown *known, Err *e)
{
	ShardJob job = {h, links, known, {{0}}};
	int r;

	element_begin(&job.remove);
	r = element_list(&h->filter, h->table, "shards", take_shard, &job, e);
	if (r >= 0)
		r = element_commit(&h->filter, &job.remove, NULL, e);
	netlink_batch_done(&job.remove);
	return err_ctx(e, r, "remove rules of bridges");
}

typedef struct NameJob {
	const Links *links;
	const NetworkKnown *known;
	char **orphans;
} NameJob;

static int take_bridge(const Element *el, void *arg)
{
	char name[NETWORK_IFNAME + 1] = "";
	NameJob *job = arg;

	memcpy(name, el->key, NETWORK_IFNAME);
	/* Of a network that was being removed: its bridge goes before its rules, and both before the network. */
	if (bridge_known(job->known, name) && link_listed(job->links, name))
		return 0;
	return strv_add(&job->orphans, name);
}

static int remove_bridge_rules(NetworkHost *h, const Links *links, const NetworkKnown *known, Err *e)
{
	NameJob job = {links, known, NULL};
	int r = element_list(&h->filter, h->table, "bridges", take_bridge, &job, e);

	h->shard_room = (ShardRoom){0};
	for (size_t i = 0; r >= 0 && job.orphans && job.orphans[i]; i++)
		r = firewall_bridge_remove(h, job.orphans[i], e);
	/* Whoever removed the last one may not have come to it. */
	if (r >= 0)
		r = firewall_table_release(h, e);
	strv_free(job.orphans);
	return r;
}

int network_reconcile(NetworkHost *h, const NetworkKnown *known, Err *e)
{
	_cleanup_(links_done) Links links = {0};
	int r;

	SCOPE_LOCK(&h->lock);
	r = list_links(h, &links, e);
	if (r >= 0)
		r = remove_links(h, &links, known, e);
	if (r >= 0)
		r = remove_ports(h, known, e);
	if (r >= 0)
		r = remove_shard_rules(h, &links, known, e);
	if (r >= 0)
		r = remove_bridge_rules(h, &links, known, e);
	if (r >= 0)
		r = firewall_open_follow(h, known->bridges, known->n_bridges, e);
	return err_ctx(e, r, "clean up networks");
}
