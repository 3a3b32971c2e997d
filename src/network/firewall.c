/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules: one table "inet <table>" a daemon, whose rules never change and speak of sets and maps only. Adding
 * a bridge or a port is adding elements, in one transaction. What is said once for each family ends in 4 and 6.
 *
 *   bridges    our bridges                      same      bridge . the same bridge (nftables cannot compare
 *   icc        like `same`, where containers              two interfaces of a packet, but can look the pair up)
 *              may talk to each other           internal  bridges without a way out
 *   nat        bridges whose containers leave with the host's address
 *   routed     bridges whose containers are reached at their own addresses: no translation, in any direction
 *   reach      bridges where every port is reached so, asked for or not
 *   ipv6       bridges that have it             ports_open  those whose published ports are open whatever the host's own
 *              firewall says; no rule looks into these two, but foreign.c does
 *   ports_any  protocol . host port -> container          ports_at  the same with the host's address
 *   routers    bridge . its own MAC address: frames that are for the host, to go on from there
 *   shards     bridges beside the first one of a network (shard.c)
 *   open       container . protocol . its port: a published port of a routed network
 *
 * What the chains see to, in their order:
 *   guard        nothing for or from 127.0.0.0/8 arrives from outside: our bridges have route_localnet (CVE-2020-8558), and a
 *                port published on 127.0.0.1 would be translated before routing could refuse it. (IPv6 refuses ::1 by itself.) And
 *                nothing comes from a container under an address that does not lie behind its bridge. (That is for what the host routes. Frames
 *                between containers, which br_netfilter shows here too, may be of networks that containers route: nodes of a cluster.)
 *   publish      translates what is for a local address, whether it arrives or starts here. What starts at ::1 cannot leave the host.
 *   postrouting  container -> elsewhere takes the host's address; so does a container that comes back to its own
 *                network over a published port (the answer has to pass here), and localhost.
 *   forward      only what was asked for or published reaches a container; networks do not reach each other.
 *
 * Where br_netfilter is on (net.bridge.bridge-nf-call-iptables=1), what a container sends to a published port of its own network is
 * translated while it is still a frame and never leaves the bridge: postrouting then sees no incoming interface. And every frame on a
 * shard is shown to the rules there, where the connection must not be entered: what is to become of it is decided on the first bridge.
 *
 * An accept here ends only this table's chain: a drop of somebody else's (ufw, iptables with FORWARD policy DROP) stands. What is done about
 * that is in foreign.c.
 */
#include "network/foreign-internal.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>

/* Names the layout. A table of another layout, left by another version, is made anew; the first ones were of family ip. */
#define LAYOUT "layout5"

static const char rules[] =
    "table inet %1$s {\n"
    "	set " LAYOUT " { type ifname; }\n"
    "	set bridges { type ifname; }\n"
    "	set same { type ifname . ifname; }\n"
    "	set icc { type ifname . ifname; }\n"
    "	set internal { type ifname; }\n"
    "	set nat4 { type ifname; }\n"
    "	set nat6 { type ifname; }\n"
    "	set routed4 { type ifname; }\n"
    "	set routed6 { type ifname; }\n"
    "	set reach4 { type ifname; }\n"
    "	set reach6 { type ifname; }\n"
    "	set routers { type ifname . ether_addr; }\n"
    "	set shards { type ifname; }\n"
    "	set ipv6 { type ifname; }\n"
    "	set ports_open { type ifname; }\n"
    "	set open4 { type ipv4_addr . inet_proto . inet_service; }\n"
    "	set open6 { type ipv6_addr . inet_proto . inet_service; }\n"
    "	map ports_any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
    "	map ports_any6 { type inet_proto . inet_service : ipv6_addr . inet_service; }\n"
    "	map ports_at4 { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }\n"
    "	map ports_at6 { type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; }\n"
    "	chain guard {\n"
    "		type filter hook prerouting priority raw; policy accept;\n"
    "		iifname @shards notrack accept\n"
    "		iifname != \"lo\" ip daddr 127.0.0.0/8 drop\n"
    "		iifname != \"lo\" ip saddr 127.0.0.0/8 drop\n"
    "		iifname != @bridges accept\n"
    "		iifname . ether daddr != @routers accept\n"
    "		ip saddr 0.0.0.0 accept\n"
    "		ip6 saddr :: accept\n"
    "		fib saddr . iif oif missing drop\n"
    "	}\n"
    "	chain publish4 {\n"
    "		dnat ip to meta l4proto . ip daddr . th dport map @ports_at4\n"
    "		dnat ip to meta l4proto . th dport map @ports_any4\n"
    "	}\n"
    "	chain publish6 {\n"
    "		dnat ip6 to meta l4proto . ip6 daddr . th dport map @ports_at6\n"
    "		dnat ip6 to meta l4proto . th dport map @ports_any6\n"
    "	}\n"
    "	chain prerouting {\n"
    "		type nat hook prerouting priority dstnat; policy accept;\n"
    "		meta nfproto ipv4 fib daddr type local jump publish4\n"
    "		meta nfproto ipv6 fib daddr type local jump publish6\n"
    "	}\n"
    "	chain output {\n"
    "		type nat hook output priority -100; policy accept;\n"
    "		meta nfproto ipv4 fib daddr type local jump publish4\n"
    "		ip6 daddr != ::1 fib daddr type local jump publish6\n"
    "	}\n"
    "	chain postrouting {\n"
    "		type nat hook postrouting priority srcnat; policy accept;\n"
    "		iifname . oifname @same ct status dnat masquerade\n"
    "		meta iif 0 oifname @bridges ct status dnat fib saddr type != local masquerade\n"
    "		iifname . oifname @same return\n"
    "		meta nfproto ipv4 iifname @nat4 masquerade\n"
    "		meta nfproto ipv6 iifname @nat6 masquerade\n"
    "		ip saddr 127.0.0.0/8 oifname @bridges masquerade\n"
    "	}\n"
    "	chain forward {\n"
    "		type filter hook forward priority filter; policy accept;\n"
    "		iifname != @bridges oifname != @bridges accept\n"
    "		ct state established,related accept\n"
    "		iifname . oifname @icc accept\n"
    "		iifname @internal drop\n"
    "		oifname @internal drop\n"
    "		ct status dnat accept\n"
    "		ip daddr . meta l4proto . th dport @open4 accept\n"
    "		ip6 daddr . meta l4proto . th dport @open6 accept\n"
    "		meta l4proto icmp oifname @routed4 accept\n"
    "		meta l4proto icmpv6 oifname @routed6 accept\n"
    "		meta nfproto ipv4 iifname != @bridges oifname @reach4 accept\n"
    "		meta nfproto ipv6 iifname != @bridges oifname @reach6 accept\n"
    "		oifname @bridges drop\n"
    "	}\n"
    "}\n";

static int run_text(const char *text, Err *e)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	int r = 0;

	if (!nft)
		return err_oom(e);
	if (nft_ctx_buffer_error(nft) != 0)
		r = err_oom(e);
	else if (nft_run_cmd_from_buffer(nft, text) != 0) {
		const char *why = nft_ctx_get_error_buffer(nft);

		r = err_new(e, ERR_UNSUPPORTED,
			    "nftables refuses the rules (needs CAP_NET_ADMIN and the kernel modules "
			    "nf_tables, nft_nat, "
			    "nft_masq, nft_fib_inet, nft_ct): %.*s",
			    (int)strcspn(str_empty(why) ? "no reason given" : why, "\n"),
			    str_empty(why) ? "no reason given" : why);
	}
	nft_ctx_free(nft);
	return r;
}

static Element one_name(const char *set, const char *name)
{
	Element el = {.set = set, .key_len = NETWORK_IFNAME};

	memcpy(el.key, name, strnlen(name, NETWORK_IFNAME - 1));
	return el;
}

static Element two_names(const char *set, const char *name)
{
	Element el = one_name(set, name);

	memcpy(el.key + NETWORK_IFNAME, el.key, NETWORK_IFNAME);
	el.key_len = 2 * NETWORK_IFNAME;
	return el;
}

Element firewall_shard_element(const char *name)
{
	return one_name("shards", name);
}

Element firewall_bridge_element(const char *bridge)
{
	return one_name("bridges", bridge);
}

/* Bytes go into a key or a value one behind the other, each beginning a 32-bit word. */
static void put(uint8_t *to, size_t *at, const void *bytes, size_t n)
{
	memcpy(to + *at, bytes, n);
	*at += (n + 3) / 4 * 4;
}

static void put_ip(uint8_t *to, size_t *at, IpAddress a)
{
	uint8_t bytes[16];

	put(to, at, bytes, ip_to_bytes(a, bytes));
}

static void put_port(uint8_t *to, size_t *at, uint16_t port)
{
	uint16_t be = htons(port);

	put(to, at, &be, sizeof(be));
}

Element firewall_port_element(const NetworkPort *p, IpAddress address)
{
	static const char *const sets[IP_FAMILIES][2] = {{"ports_any4", "ports_at4"},
							 {"ports_any6", "ports_at6"}};
	bool any = ip_is_any(p->host_address);
	Element el = {.set = sets[ip_index(p->host_address)][!any]};

	put(el.key, &el.key_len, &p->protocol, 1);
	if (!any)
		put_ip(el.key, &el.key_len, p->host_address);
	put_port(el.key, &el.key_len, p->host_port);
	if (address) {
		put_ip(el.data, &el.data_len, address);
		put_port(el.data, &el.data_len, p->container_port);
	}
	return el;
}

Element firewall_open_element(const NetworkPort *p, IpAddress address)
{
	Element el = {.set = ip_is_v4(address) ? "open4" : "open6"};

	put_ip(el.key, &el.key_len, address);
	put(el.key, &el.key_len, &p->protocol, 1);
	put_port(el.key, &el.key_len, p->container_port);
	return el;
}

/* Makes the table; one that is there goes, all in one transaction. */
static int table_make(NetworkHost *h, Err *e)
{
	_cleanup_free_ char *text = NULL, *table = strf(rules, h->table);

	if (table)
		text =
		    strf("table ip %1$s\ndelete table ip %1$s\ntable inet %1$s\ndelete table inet %1$s\n%2$s",
			 h->table, table);
	if (!text)
		return err_oom(e);
	return err_ctx(e, run_text(text, e), "nftables table inet %s", h->table);
}

int network_rules_present(NetworkHost *h, Err *e)
{
	return element_set_exists(&h->filter, h->table, LAYOUT, e);
}

/* ---- is it whole ---- */

typedef struct ChainCount {
	const char *name; /* within `rules` */
	size_t name_len, want, have;
} ChainCount;

typedef struct Counts {
	ChainCount v[16];
	size_t n;
} Counts;

/* How many rules each chain has, as the text says: one a line, after the one with the hook. */
static void counts_expected(Counts *ret)
{
	*ret = (Counts){0};
	for (const char *line = rules; *line; line += strcspn(line, "\n") + 1) {
		const char *text = line + strspn(line, "\t");
		const char *chain = str_after(text, "chain ");

		if (chain && ret->n < ELEMENTSOF(ret->v))
			ret->v[ret->n++] = (ChainCount){.name = chain, .name_len = strcspn(chain, " ")};
		else if (ret->n > 0 && !str_starts(text, "type ") && *text != '}')
			ret->v[ret->n - 1].want++;
	}
}

static int count_rule(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *attr;
	Counts *counts = arg;

	mnl_attr_for_each(attr, m, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) != NFTA_RULE_CHAIN)
			continue;
		for (size_t i = 0; i < counts->n; i++)
			if (strlen(mnl_attr_get_str(attr)) == counts->v[i].name_len &&
			    strncmp(mnl_attr_get_str(attr), counts->v[i].name, counts->v[i].name_len) == 0)
				counts->v[i].have++;
	}
	return 0;
}

int network_rules_whole(NetworkHost *h, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct nlmsghdr *m = nft_msg(&b, NFPROTO_INET, NFT_MSG_GETRULE, NLM_F_DUMP);
	Counts counts;
	int r = network_rules_present(h, e);

	if (r <= 0)
		return r;
	counts_expected(&counts);
	mnl_attr_put_strz(m, NFTA_RULE_TABLE, h->table);
	netlink_msg_end(&b, m);
	r = netlink_ask(&h->filter, &b, count_rule, &counts, e);
	if (r < 0 && r != -ENOENT)
		return err_ctx(e, r, "list the rules of nftables table inet %s", h->table);
	for (size_t i = 0; i < counts.n; i++)
		if (counts.v[i].have != counts.v[i].want)
			return 0;
	return r < 0 ? 0 : 1;
}

int network_rules_remake(NetworkHost *h, Err *e)
{
	SCOPE_LOCK(&h->lock);
	return table_make(h, e);
}

typedef struct Wanted {
	Element el;
	bool there;
} Wanted;

#define BRIDGE_ELEMENTS  13
#define FOREIGN_ELEMENTS 2

/* All the sets that a bridge may be in, the layout's first, and last the FOREIGN_ELEMENTS that no rule of ours looks into. */
static void bridge_elements(const NetworkBridge *b, Wanted want[BRIDGE_ELEMENTS])
{
	static const char *const nat[] = {"nat4", "nat6"}, *const routed[] = {"routed4", "routed6"},
				 *const reach[] = {"reach4", "reach6"};
	size_t n = 0;

	want[n++] = (Wanted){one_name(LAYOUT, b->name), true};
	want[n++] = (Wanted){one_name("bridges", b->name), true};
	want[n++] = (Wanted){two_names("same", b->name), true};
	want[n++] = (Wanted){two_names("icc", b->name), b->icc};
	want[n++] = (Wanted){one_name("internal", b->name), b->internal};
	for (int f = 0; f < IP_FAMILIES; f++) {
		bool is_nat =
		    b->gateway[f] == NETWORK_GATEWAY_NAT || b->gateway[f] == NETWORK_GATEWAY_UNPROTECTED;

		want[n++] = (Wanted){one_name(nat[f], b->name), is_nat && b->masquerade && !b->internal};
		want[n++] = (Wanted){one_name(routed[f], b->name), b->gateway[f] == NETWORK_GATEWAY_ROUTED};
		want[n++] =
		    (Wanted){one_name(reach[f], b->name), b->gateway[f] == NETWORK_GATEWAY_UNPROTECTED};
	}
	want[n++] = (Wanted){one_name("ipv6", b->name), b->ip[IP_V6].prefix > 0};
	want[n++] = (Wanted){one_name("ports_open", b->name), b->open && !b->internal};
}

static Element router_element(const char *bridge, const uint8_t mac[6])
{
	Element el = one_name("routers", bridge);

	put(el.key, &el.key_len, mac, 6);
	return el;
}

typedef struct RouterJob {
	const NetworkHost *h;
	const char *bridge;
	NetlinkBatch *b;
} RouterJob;

static int drop_router(const Element *el, void *arg)
{
	RouterJob *job = arg;

	if (strncmp((const char *)el->key, job->bridge, NETWORK_IFNAME) == 0)
		element_remove(job->b, job->h->table, el);
	return 0;
}

/* Whatever address it had. */
static int put_router_removal(NetworkHost *h, NetlinkBatch *b, const char *bridge, Err *e)
{
	RouterJob job = {h, bridge, b};

	return element_list(&h->filter, h->table, "routers", drop_router, &job, e);
}

static int put_router(NetworkHost *h, NetlinkBatch *b, const char *bridge, const uint8_t mac[6], Err *e)
{
	Element el = router_element(bridge, mac);
	int r = element_get(&h->filter, h->table, &el, e);

	if (r != 0)
		return MIN2(r, 0);
	r = put_router_removal(h, b, bridge, e);
	if (r >= 0)
		element_add(b, h->table, &el);
	return r;
}

int firewall_bridge_ensure(NetworkHost *h, const NetworkBridge *b, const uint8_t mac[6], Err *e)
{
	_cleanup_batch_ NetlinkBatch batch = {0};
	Wanted want[BRIDGE_ELEMENTS];
	int r, known;

	bridge_elements(b, want);
	/* Every bridge is in the layout set, so mostly one lookup tells that the table is there and of this layout. */
	r = known = element_get(&h->filter, h->table, &want[0].el, e);
	if (r == 0) {
		r = element_set_exists(&h->filter, h->table, LAYOUT, e);
		if (r == 0)
			r = table_make(h, e);
		r = MIN2(r, 0);
	}
	if (r < 0)
		return r;
	element_begin(&batch);
	/* The last ones do not change while the daemon runs: firewall_open_follow() sees to that. */
	for (size_t i = 0; i < (known ? BRIDGE_ELEMENTS - FOREIGN_ELEMENTS : BRIDGE_ELEMENTS); i++) {
		if (i > 0)
			r = element_get(&h->filter, h->table, &want[i].el, e);
		if (r < 0)
			return r;
		if (want[i].there && r == 0)
			element_add(&batch, h->table, &want[i].el);
		else if (!want[i].there && r == 1)
			element_remove(&batch, h->table, &want[i].el);
	}
	r = put_router(h, &batch, b->name, mac, e);
	if (r < 0)
		return r;

	bool changed = batch.n > 1;

	r = element_commit(&h->filter, &batch, NULL, e);
	if (r >= 0 && changed)
		r = foreign_sync(h, e);
	return r < 0 ? err_ctx(e, r, "rules of bridge %s", b->name) : !known;
}

static int take_name(const Element *el, void *arg)
{
	char name[NETWORK_IFNAME + 1] = "";

	memcpy(name, el->key, NETWORK_IFNAME);
	return strv_add(arg, name);
}

int firewall_names(NetworkHost *h, const char *set, char ***ret, Err *e)
{
	int r = element_list(&h->filter, h->table, set, take_name, ret, e);

	return r == -ENOMEM ? err_oom(e) : r;
}

int firewall_open_follow(NetworkHost *h, const NetworkBridge *bridges, size_t n, Err *e)
{
	_cleanup_strv_ char **there = NULL, **open = NULL;
	_cleanup_batch_ NetlinkBatch batch = {0};
	int r = firewall_names(h, "bridges", &there, e);

	if (r >= 0)
		r = firewall_names(h, "ports_open", &open, e);
	if (r < 0)
		return r;
	element_begin(&batch);
	for (size_t i = 0; i < n; i++) {
		const NetworkBridge *b = &bridges[i];
		Element el = one_name("ports_open", b->name);
		bool is = strv_has(open, b->name), want = b->open && !b->internal;

		if (is == want || !strv_has(there, b->name))
			continue;
		if (want)
			element_add(&batch, h->table, &el);
		else
			element_remove(&batch, h->table, &el);
	}
	return err_ctx(e, element_commit(&h->filter, &batch, NULL, e), "bridges whose ports are open");
}

static int count(const Element *el, void *arg)
{
	++*(size_t *)arg;
	return 0;
}

int firewall_table_release(NetworkHost *h, Err *e)
{
	_cleanup_batch_ NetlinkBatch last = {0};
	size_t left = 0;
	int r = element_list(&h->filter, h->table, "bridges", count, &left, e);

	if (r < 0 || left > 0)
		return r;
	element_begin(&last);
	element_table_remove(&last, h->table);
	r = element_commit(&h->filter, &last, NULL, e);
	return r == -ENOENT ? 0 : err_ctx(e, r, "remove nftables table inet %s", h->table);
}

int firewall_bridge_remove(NetworkHost *h, const char *bridge, Err *e)
{
	_cleanup_batch_ NetlinkBatch batch = {0};
	NetworkBridge b = {0};
	Wanted all[BRIDGE_ELEMENTS];
	int r;

	snprintf(b.name, sizeof(b.name), "%s", bridge);
	bridge_elements(&b, all);
	element_begin(&batch);
	for (size_t i = 0; i < ELEMENTSOF(all); i++) {
		r = element_get(&h->filter, h->table, &all[i].el, e);
		if (r < 0)
			return r;
		if (r == 1)
			element_remove(&batch, h->table, &all[i].el);
	}
	r = put_router_removal(h, &batch, bridge, e);
	if (r < 0)
		return r;

	bool changed = batch.n > 1;

	r = element_commit(&h->filter, &batch, NULL, e);
	if (r >= 0 && changed)
		r = foreign_sync(h, e);
	if (r < 0)
		return err_ctx(e, r, "rules of bridge %s", bridge);
	return firewall_table_release(h, e);
}

int firewall_bridge_icc(NetworkHost *h, const char *bridge, Err *e)
{
	Element known = firewall_bridge_element(bridge), icc = two_names("icc", bridge);
	int r = element_get(&h->filter, h->table, &known, e);

	if (r == 0)
		return err_new(e, ERR_NOT_FOUND,
			       "bridge %s has no rules in nftables table inet %s: make the network again",
			       bridge, h->table);
	return r < 0 ? r : element_get(&h->filter, h->table, &icc, e);
}

int firewall_bridge_routed(NetworkHost *h, const char *bridge, int family, Err *e)
{
	Element el = one_name(family == IP_V4 ? "routed4" : "routed6", bridge);

	return element_get(&h->filter, h->table, &el, e);
}
