/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules: one table "ip <table>" a daemon, whose rules never change and speak of sets and maps only. Adding
 * a bridge or a port is adding elements, in one transaction.
 *
 *   bridges    our bridges                      same      bridge . the same bridge (nftables cannot compare
 *   icc        like `same`, where containers              two interfaces of a packet, but can look the pair up)
 *              may talk to each other           internal  bridges without a way out
 *   nat        bridges whose containers leave with the host's address
 *   ports_any  protocol . host port -> container          ports_at  the same with the host's address
 *
 * What the chains see to, in their order:
 *   guard        nothing for or from 127.0.0.0/8 arrives from outside: our bridges have route_localnet (CVE-2020-8558), and a
 *                port published on 127.0.0.1 would be translated before routing could refuse it.
 *   publish      translates what is for a local address, whether it arrives or starts here.
 *   postrouting  container -> elsewhere takes the host's address; so does a container that comes back to its own
 *                network over a published port (the answer has to pass here), and localhost.
 *   forward      only what was asked for or published reaches a container; networks do not reach each other.
 *
 * Where br_netfilter is on (net.bridge.bridge-nf-call-iptables=1), what a container sends to a published port of its own network is
 * translated while it is still a frame and never leaves the bridge: postrouting then sees no incoming interface.
 *
 * An accept here ends only this table's chain: a drop of somebody else's (ufw, iptables with FORWARD policy DROP) stands.
 */
#include "network/network-internal.h"

#include <arpa/inet.h>
#include <nftables/libnftables.h>

/* Names the layout. A table of another layout, left by another version, is made anew. */
#define LAYOUT "layout2"

static const char rules[] =
    "table ip %1$s {\n"
    "	set " LAYOUT " { type ifname; }\n"
    "	set bridges { type ifname; }\n"
    "	set same { type ifname . ifname; }\n"
    "	set icc { type ifname . ifname; }\n"
    "	set internal { type ifname; }\n"
    "	set nat { type ifname; }\n"
    "	map ports_any { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
    "	map ports_at { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }\n"
    "	chain guard {\n"
    "		type filter hook prerouting priority raw; policy accept;\n"
    "		iifname != \"lo\" ip daddr 127.0.0.0/8 drop\n"
    "		iifname != \"lo\" ip saddr 127.0.0.0/8 drop\n"
    "	}\n"
    "	chain publish {\n"
    "		dnat ip to meta l4proto . ip daddr . th dport map @ports_at\n"
    "		dnat ip to meta l4proto . th dport map @ports_any\n"
    "	}\n"
    "	chain prerouting {\n"
    "		type nat hook prerouting priority dstnat; policy accept;\n"
    "		fib daddr type local jump publish\n"
    "	}\n"
    "	chain output {\n"
    "		type nat hook output priority -100; policy accept;\n"
    "		fib daddr type local jump publish\n"
    "	}\n"
    "	chain postrouting {\n"
    "		type nat hook postrouting priority srcnat; policy accept;\n"
    "		iifname . oifname @same ct status dnat masquerade\n"
    "		meta iif 0 oifname @bridges ct status dnat fib saddr type != local masquerade\n"
    "		iifname . oifname @same return\n"
    "		iifname @nat masquerade\n"
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
			    "nft_masq, nft_fib_ipv4, nft_ct): %.*s",
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

Element firewall_bridge_element(const char *bridge)
{
	return one_name("bridges", bridge);
}

Element firewall_port_element(const NetworkPort *p, uint32_t address)
{
	Element el = {.set = p->host_address ? "ports_at" : "ports_any", .key_len = p->host_address ? 12 : 8};
	uint32_t at = htonl(p->host_address), to = htonl(address);
	uint16_t host = htons(p->host_port), container = htons(p->container_port);

	el.key[0] = p->udp ? IPPROTO_UDP : IPPROTO_TCP;
	if (p->host_address)
		memcpy(el.key + 4, &at, sizeof(at));
	memcpy(el.key + el.key_len - 4, &host, sizeof(host));
	if (address) {
		memcpy(el.data, &to, sizeof(to));
		memcpy(el.data + 4, &container, sizeof(container));
		el.data_len = 8;
	}
	return el;
}

/* Makes the table; one that is there goes, all in one transaction. */
static int table_make(NetworkHost *h, Err *e)
{
	_cleanup_free_ char *text = NULL, *table = strf(rules, h->table);

	if (table)
		text = strf("table ip %s\ndelete table ip %s\n%s", h->table, h->table, table);
	if (!text)
		return err_oom(e);
	return err_ctx(e, run_text(text, e), "nftables table ip %s", h->table);
}

int network_rules_present(NetworkHost *h, Err *e)
{
	return element_set_exists(&h->filter, h->table, LAYOUT, e);
}

typedef struct Wanted {
	Element el;
	bool there;
} Wanted;

int firewall_bridge_ensure(NetworkHost *h, const NetworkBridge *b, Err *e)
{
	_cleanup_batch_ NetlinkBatch batch = {0};
	Wanted want[] = {
	    {one_name(LAYOUT, b->name), true},
	    {one_name("bridges", b->name), true},
	    {two_names("same", b->name), true},
	    {two_names("icc", b->name), b->icc},
	    {one_name("internal", b->name), b->internal},
	    {one_name("nat", b->name), b->masquerade && !b->internal},
	};
	/* Every bridge is in the layout set, so mostly one lookup tells that the table is there and of this layout. */
	int r = element_get(&h->filter, h->table, &want[0].el, e);

	if (r == 0) {
		r = element_set_exists(&h->filter, h->table, LAYOUT, e);
		if (r == 0)
			r = table_make(h, e);
		r = MIN2(r, 0);
	}
	if (r < 0)
		return r;
	element_begin(&batch);
	for (size_t i = 0; i < ELEMENTSOF(want); i++) {
		if (i > 0)
			r = element_get(&h->filter, h->table, &want[i].el, e);
		if (r < 0)
			return r;
		if (want[i].there && r == 0)
			element_add(&batch, h->table, &want[i].el);
		else if (!want[i].there && r == 1)
			element_remove(&batch, h->table, &want[i].el);
	}
	return err_ctx(e, element_commit(&h->filter, &batch, NULL, e), "rules of bridge %s", b->name);
}

static int count(const Element *el, void *arg)
{
	++*(size_t *)arg;
	return 0;
}

int firewall_bridge_remove(NetworkHost *h, const char *bridge, Err *e)
{
	_cleanup_batch_ NetlinkBatch batch = {0};
	Element all[] = {one_name(LAYOUT, bridge), one_name("bridges", bridge),  two_names("same", bridge),
			 two_names("icc", bridge), one_name("internal", bridge), one_name("nat", bridge)};
	size_t left = 0;
	int r;

	element_begin(&batch);
	for (size_t i = 0; i < ELEMENTSOF(all); i++) {
		r = element_get(&h->filter, h->table, &all[i], e);
		if (r < 0)
			return r;
		if (r == 1)
			element_remove(&batch, h->table, &all[i]);
	}
	r = element_commit(&h->filter, &batch, NULL, e);
	if (r < 0)
		return err_ctx(e, r, "rules of bridge %s", bridge);

	r = element_list(&h->filter, h->table, "bridges", count, &left, e);
	if (r < 0 || left > 0)
		return r;

	_cleanup_batch_ NetlinkBatch last = {0};

	element_begin(&last);
	element_table_remove(&last, h->table);
	r = element_commit(&h->filter, &last, NULL, e);
	return r == -ENOENT ? 0 : err_ctx(e, r, "remove nftables table ip %s", h->table);
}

int firewall_bridge_icc(NetworkHost *h, const char *bridge, Err *e)
{
	Element known = firewall_bridge_element(bridge), icc = two_names("icc", bridge);
	int r = element_get(&h->filter, h->table, &known, e);

	if (r == 0)
		return err_new(e, ERR_NOT_FOUND,
			       "bridge %s has no rules in nftables table ip %s: make the network again",
			       bridge, h->table);
	return r < 0 ? r : element_get(&h->filter, h->table, &icc, e);
}
