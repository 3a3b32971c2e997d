/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about other people's firewalls share: rules of theirs as we understand them, and rules of ours in their chains. */
#pragma once

#include "network/network-internal.h"

#include <linux/netfilter.h>

#define FOREIGN_NAME 256 /* NFT_NAME_MAXLEN */

/* What a rule does with all that comes to it. */
typedef enum ForeignKind {
	FOREIGN_DECIDES, /* lets something through, decides about some of it only, changes it, or is not understood */
	FOREIGN_NOTES, /* nothing: it counts or logs */
	FOREIGN_ENDS,  /* drops or rejects it */
	FOREIGN_CALLS, /* sends it through the chain `calls` */
} ForeignKind;

typedef struct ForeignRule {
	uint64_t handle;
	ForeignKind kind;
	bool jumps; /* to another chain, with whatever condition */
	char calls[FOREIGN_NAME];
	char comment[FOREIGN_NAME]; /* of nft, or of iptables */
} ForeignRule;

/* attrs: those of an NFT_MSG_NEWRULE. Whatever they are, *ret is filled; what cannot be read is FOREIGN_DECIDES. */
void foreign_rule_parse(const void *attrs, size_t len, ForeignRule *ret);

/* A base chain at the hook `forward`. */
typedef struct ForeignChain {
	uint8_t family;
	char table[FOREIGN_NAME], name[FOREIGN_NAME];
	bool drops; /* its policy */
} ForeignChain;

/* hook: an attribute NFTA_CHAIN_HOOK. */
bool foreign_hook_is_forward(const struct nlattr *hook);

/* True if iptables made the chain, and so has to be able to read what is in it. */
static inline bool foreign_chain_is_iptables(const ForeignChain *c)
{
	return c->family != NFPROTO_INET && streq(c->table, "filter") && streq(c->name, "FORWARD");
}

/* A rule of ours in a chain of theirs. Its comment says which one it is. */
typedef enum OurRuleKind {
	OUR_WAY_OUT, /* from the bridge, wherever to */
	OUR_ANSWERS, /* to the bridge, of connections that are there */
	OUR_PORTS,   /* to the bridge, of what was published */
	OUR_INBOUND, /* to the bridge, whatever our own table lets reach containers at their own addresses */
	OUR_WITHIN,  /* from the bridge to itself, where frames pass these rules (br_netfilter) */
} OurRuleKind;

typedef struct OurRule {
	OurRuleKind kind;
	char bridge[NETWORK_IFNAME];
	bool ipv6; /* the bridge has it, and so may what passes */
} OurRule;

/* "ireko:<table> <bridge> <kind>", with "+ipv6" if it has that; ret has FOREIGN_NAME bytes. */
void our_rule_comment(const char *table, const OurRule *rule, char *ret);
/* True for any rule of this daemon's. */
bool our_rule_is(const char *table, const char *comment);
/* before: the handle of the rule that it is put in front of, 0: at the end. */
void our_rule_add(NetlinkBatch *b, const ForeignChain *c, uint64_t before, const char *table,
		  const OurRule *rule);
void our_rule_remove(NetlinkBatch *b, const ForeignChain *c, uint64_t handle);

/* foreign.c; the host lock is held. Makes our rules in all chains what they have to be; the number of chains changed. What a
 * chain's owner does not let us do is no failure, but told by network_firewall_warnings(). */
int foreign_sync(NetworkHost *h, Err *e);

/* legacy.c: the table `filter` of iptables-legacy, which nftables does not show. */
/* True if its chain FORWARD, the entries from `first` to the policy, drops whatever comes from the bridge. */
bool legacy_chain_drops(const void *entries, size_t len, size_t first, size_t policy, const char *bridge);
/* Adds those of the bridges to *ret whose packets it drops: none if it is not in use. */
int legacy_drops(char *const *bridges, char ***ret, Err *e);

/* nft-watch.c */
void watch_free(struct NetworkWatch *w);
