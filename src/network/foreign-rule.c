/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of nftables as netlink messages: those of others are read as far as it must be known whether they decide anything, and ours for their
 * chains are written.
 *
 * Reading is a whitelist. A rule that consists of nothing but conditions, counters and logs, and one that drops or rejects without
 * any condition, are recognised; all else "decides", which makes us stay behind it.
 *
 * Two forms are written. In a chain of iptables (`ip filter FORWARD`), iptables itself must be able to show, save and restore the
 * rules, and it knows connections only as its own match extension, which nft_compat runs. Everywhere else they are of the same form that nft gives
 * them. The comment goes into the rule's user data in both: iptables shows it as its own "-m comment", and turns it into that when it
 * saves and restores, so both forms are read.
 */
#include "network/foreign-internal.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/xt_conntrack.h>

#define UDATA_COMMENT 0 /* of libnftnl's user data: type, length, value */

/* ---- reading ---- */

static void take_text(const struct nlattr *attr, char *to, size_t room)
{
	size_t n = mnl_attr_get_payload_len(attr);

	n = strnlen(mnl_attr_get_payload(attr), n);
	if (n >= room)
		n = 0; /* no name is that long; a part of one would be another one */
	memcpy(to, mnl_attr_get_payload(attr), n);
	to[n] = 0;
}

static uint32_t take_be32(const struct nlattr *attr)
{
	uint32_t v = 0;

	if (mnl_attr_get_payload_len(attr) >= sizeof(v))
		memcpy(&v, mnl_attr_get_payload(attr), sizeof(v));
	return ntohl(v);
}

/* What the expressions of one rule come to. */
typedef struct Sum {
	bool condition, verdict, drops, calls, other;
	ForeignRule *rule;
} Sum;

static void take_verdict(const struct nlattr *verdict, Sum *s)
{
	const struct nlattr *attr;
	int32_t code = NF_ACCEPT;

	mnl_attr_for_each_nested(attr, verdict)
	{
		if (mnl_attr_get_type(attr) == NFTA_VERDICT_CODE)
			code = (int32_t)take_be32(attr);
		else if (mnl_attr_get_type(attr) == NFTA_VERDICT_CHAIN)
			take_text(attr, s->rule->calls, sizeof(s->rule->calls));
	}
	if (code == NFT_CONTINUE)
		return;
	s->verdict = true;
	s->drops = code == NF_DROP;
	s->calls = code == NFT_JUMP || code == NFT_GOTO;
}

static void take_immediate(const struct nlattr *data, Sum *s)
{
	const struct nlattr *attr, *inner;
	uint32_t to = NFT_REG_VERDICT;

	mnl_attr_for_each_nested(attr, data)
	{
		if (mnl_attr_get_type(attr) == NFTA_IMMEDIATE_DREG)
			to = take_be32(attr);
	}
	if (to != NFT_REG_VERDICT)
		return;
	mnl_attr_for_each_nested(attr, data)
	{
		if (mnl_attr_get_type(attr) != NFTA_IMMEDIATE_DATA)
			continue;
		mnl_attr_for_each_nested(inner, attr) if (mnl_attr_get_type(inner) == NFTA_DATA_VERDICT)
		    take_verdict(inner, s);
	}
}

/* Expressions that read something of a packet; those that have the attribute `writes` change it, or lead elsewhere by a map. */
static const struct {
	const char *name;
	uint16_t writes;
} conditions[] = {
    {"meta", NFTA_META_SREG},
    {"payload", NFTA_PAYLOAD_SREG},
    {"ct", NFTA_CT_SREG},
    {"exthdr", NFTA_EXTHDR_SREG},
    {"cmp", 0},
    {"bitwise", 0},
    {"range", 0},
    {"byteorder", 0},
    {"fib", 0},
    {"rt", 0},
    {"socket", 0},
    {"limit", 0},
    {"connlimit", 0},
    {"quota", 0},
    {"lookup", NFTA_LOOKUP_DREG},
};

static void take_condition(const char *name, const struct nlattr *data, Sum *s)
{
	const struct nlattr *attr;

	for (size_t i = 0; i < ELEMENTSOF(conditions); i++) {
		if (!streq(name, conditions[i].name))
			continue;
		s->condition = true;
		if (data && conditions[i].writes)
			mnl_attr_for_each_nested(attr, data) if (mnl_attr_get_type(attr) ==
								 conditions[i].writes) s->other = true;
		return;
	}
	s->other = true;
}

/* A match or target of iptables: its name is its first attribute, a comment its third. */
static void take_compat(bool target, const struct nlattr *data, Sum *s)
{
	const struct nlattr *attr, *info = NULL;
	char name[FOREIGN_NAME] = "";

	mnl_attr_for_each_nested(attr, data)
	{
		if (mnl_attr_get_type(attr) == NFTA_MATCH_NAME)
			take_text(attr, name, sizeof(name));
		else if (mnl_attr_get_type(attr) == NFTA_MATCH_INFO)
			info = attr;
	}
	if (!target && streq(name, "comment") && info)
		take_text(info, s->rule->comment, sizeof(s->rule->comment));
	else if (!target)
		s->condition = true;
	else if (streq(name, "REJECT") || streq(name, "DROP"))
		s->verdict = s->drops = true;
	else if (!streq(name, "LOG") && !streq(name, "NFLOG"))
		s->other = true;
}

static void take_expression(const struct nlattr *expression, Sum *s)
{
	const struct nlattr *attr, *data = NULL;
	char name[FOREIGN_NAME] = "";

	mnl_attr_for_each_nested(attr, expression)
	{
		if (mnl_attr_get_type(attr) == NFTA_EXPR_NAME)
			take_text(attr, name, sizeof(name));
		else if (mnl_attr_get_type(attr) == NFTA_EXPR_DATA)
			data = attr;
	}
	if (streq(name, "counter") || streq(name, "log"))
		return;
	if (streq(name, "reject"))
		s->verdict = s->drops = true;
	else if (streq(name, "immediate") && data)
		take_immediate(data, s);
	else if ((streq(name, "match") || streq(name, "target")) && data)
		take_compat(*name == 't', data, s);
	else
		take_condition(name, data, s);
}

static void take_userdata(const struct nlattr *attr, ForeignRule *rule)
{
	const uint8_t *p = mnl_attr_get_payload(attr);
	size_t left = mnl_attr_get_payload_len(attr);

	while (left >= 2 && left - 2 >= p[1]) {
		size_t n = p[1];

		if (p[0] == UDATA_COMMENT && n > 0)
			snprintf(rule->comment, sizeof(rule->comment), "%.*s", (int)n, (const char *)p + 2);
		p += 2 + n;
		left -= 2 + n;
	}
}

static ForeignKind kind_of(const Sum *s)
{
	if (s->other || (s->verdict && s->condition))
		return FOREIGN_DECIDES;
	if (!s->verdict)
		return FOREIGN_NOTES;
	if (s->drops)
		return FOREIGN_ENDS;
	return s->calls && *s->rule->calls ? FOREIGN_CALLS : FOREIGN_DECIDES;
}

void foreign_rule_parse(const void *attrs, size_t len, ForeignRule *ret)
{
	const struct nlattr *attr, *one;
	Sum s = {.rule = ret};

	*ret = (ForeignRule){0};
	mnl_attr_for_each_payload(attrs, len)
	{
		uint64_t handle;

		switch (mnl_attr_get_type(attr)) {
		case NFTA_RULE_HANDLE:
			if (mnl_attr_get_payload_len(attr) < sizeof(handle))
				break;
			memcpy(&handle, mnl_attr_get_payload(attr), sizeof(handle));
			ret->handle = be64toh(handle);
			break;
		case NFTA_RULE_EXPRESSIONS:
			mnl_attr_for_each_nested(one, attr) take_expression(one, &s);
			break;
		case NFTA_RULE_USERDATA:
			take_userdata(attr, ret);
			break;
		}
	}
	ret->jumps = s.calls;
	ret->kind = kind_of(&s);
}

/* ---- writing ---- */

static const char *const kinds[] = {[OUR_WAY_OUT] = "out",
				    [OUR_ANSWERS] = "answers",
				    [OUR_PORTS] = "ports",
				    [OUR_INBOUND] = "inbound",
				    [OUR_WITHIN] = "within"};

void our_rule_comment(const char *table, const OurRule *rule, char *ret)
{
	snprintf(ret, FOREIGN_NAME, BRIDGE_ALIAS_PREFIX "%s %s %s%s", table, rule->bridge, kinds[rule->kind],
		 rule->ipv6 ? "+ipv6" : "");
}

bool our_rule_is(const char *table, const char *comment)
{
	const char *rest = str_after(comment, BRIDGE_ALIAS_PREFIX);

	rest = rest ? str_after(rest, table) : NULL;
	return rest && *rest == ' ';
}

static struct nlmsghdr *rule_msg(NetlinkBatch *b, const ForeignChain *c, int type, uint16_t flags)
{
	struct nfgenmsg header = {.nfgen_family = c->family, .version = NFNETLINK_V0};
	struct nlmsghdr *m =
	    netlink_msg(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, &header, sizeof(header));

	mnl_attr_put_strz(m, NFTA_RULE_TABLE, c->table);
	mnl_attr_put_strz(m, NFTA_RULE_CHAIN, c->name);
	return m;
}

typedef struct Nest {
	struct nlattr *element, *data;
} Nest;

static Nest expression_begin(struct nlmsghdr *m, const char *name)
{
	Nest n = {.element = mnl_attr_nest_start(m, NFTA_LIST_ELEM)};

	mnl_attr_put_strz(m, NFTA_EXPR_NAME, name);
	n.data = mnl_attr_nest_start(m, NFTA_EXPR_DATA);
	return n;
}

static void expression_end(struct nlmsghdr *m, Nest n)
{
	mnl_attr_nest_end(m, n.data);
	mnl_attr_nest_end(m, n.element);
}

static void put_be32(struct nlmsghdr *m, uint16_t type, uint32_t v)
{
	mnl_attr_put_u32(m, type, htonl(v));
}

/* Both meta and ct have the attributes key and destination under the same numbers. */
static void put_load(struct nlmsghdr *m, const char *what, uint32_t key)
{
	Nest n = expression_begin(m, what);

	_Static_assert((int)NFTA_META_DREG == (int)NFTA_CT_DREG && (int)NFTA_META_KEY == (int)NFTA_CT_KEY,
		       "attributes of meta and ct");
	put_be32(m, NFTA_META_KEY, key);
	put_be32(m, NFTA_META_DREG, NFT_REG_1);
	expression_end(m, n);
}

static void put_compare(struct nlmsghdr *m, uint32_t op, const void *value, size_t len)
{
	Nest n = expression_begin(m, "cmp");

	put_be32(m, NFTA_CMP_SREG, NFT_REG_1);
	put_be32(m, NFTA_CMP_OP, op);
	nft_put_value(m, NFTA_CMP_DATA, value, len);
	expression_end(m, n);
}

static void put_interface(struct nlmsghdr *m, uint32_t key, const char *bridge)
{
	char name[NETWORK_IFNAME] = "";

	memcpy(name, bridge, strnlen(bridge, sizeof(name) - 1));
	put_load(m, "meta", key);
	put_compare(m, NFT_CMP_EQ, name, sizeof(name));
}

static void put_ipv4_only(struct nlmsghdr *m)
{
	const uint8_t family = NFPROTO_IPV4;

	put_load(m, "meta", NFT_META_NFPROTO);
	put_compare(m, NFT_CMP_EQ, &family, sizeof(family));
}

/* Any of the bits of a connection's state or status; they are in the machine's byte order. */
static void put_ct(struct nlmsghdr *m, uint32_t key, uint32_t bits)
{
	const uint32_t none = 0;

	put_load(m, "ct", key);

	Nest n = expression_begin(m, "bitwise");

	put_be32(m, NFTA_BITWISE_SREG, NFT_REG_1);
	put_be32(m, NFTA_BITWISE_DREG, NFT_REG_1);
	put_be32(m, NFTA_BITWISE_LEN, sizeof(bits));
	nft_put_value(m, NFTA_BITWISE_MASK, &bits, sizeof(bits));
	nft_put_value(m, NFTA_BITWISE_XOR, &none, sizeof(none));
	expression_end(m, n);
	put_compare(m, NFT_CMP_NEQ, &none, sizeof(none));
}

/* As "-m conntrack --ctstate" is stored. */
static void put_ct_iptables(struct nlmsghdr *m, uint16_t states)
{
	union {
		struct xt_conntrack_mtinfo3 info;
		_Alignas(8) char room[(sizeof(struct xt_conntrack_mtinfo3) + 7) / 8 * 8]; /* XT_ALIGN */
	} u = {.info = {.match_flags = XT_CONNTRACK_STATE, .state_mask = states}};
	Nest n = expression_begin(m, "match");

	mnl_attr_put_strz(m, NFTA_MATCH_NAME, "conntrack");
	put_be32(m, NFTA_MATCH_REV, 3);
	mnl_attr_put(m, NFTA_MATCH_INFO, sizeof(u.room), u.room);
	expression_end(m, n);
}

static void put_connection(struct nlmsghdr *m, const ForeignChain *c, OurRuleKind kind)
{
	bool iptables = foreign_chain_is_iptables(c);

	if (kind == OUR_ANSWERS && iptables)
		put_ct_iptables(m, XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED) |
				       XT_CONNTRACK_STATE_BIT(IP_CT_RELATED));
	else if (kind == OUR_ANSWERS)
		put_ct(m, NFT_CT_STATE, NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED));
	else if (kind == OUR_PORTS && iptables)
		put_ct_iptables(m, XT_CONNTRACK_STATE_DNAT);
	else if (kind == OUR_PORTS)
		put_ct(m, NFT_CT_STATUS, IPS_DST_NAT);
}

static void put_counter(struct nlmsghdr *m)
{
	Nest n = expression_begin(m, "counter");

	expression_end(m, n);
}

static void put_accept(struct nlmsghdr *m)
{
	Nest n = expression_begin(m, "immediate");
	struct nlattr *data, *verdict;

	put_be32(m, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = mnl_attr_nest_start(m, NFTA_IMMEDIATE_DATA);
	verdict = mnl_attr_nest_start(m, NFTA_DATA_VERDICT);
	put_be32(m, NFTA_VERDICT_CODE, NF_ACCEPT);
	mnl_attr_nest_end(m, verdict);
	mnl_attr_nest_end(m, data);
	expression_end(m, n);
}

static void put_comment(struct nlmsghdr *m, const char *table, const OurRule *rule)
{
	char text[FOREIGN_NAME];
	uint8_t tlv[2 + sizeof(text)];

	our_rule_comment(table, rule, text);

	size_t n = strlen(text) + 1;

	tlv[0] = UDATA_COMMENT;
	tlv[1] = (uint8_t)n;
	memcpy(tlv + 2, text, n);
	mnl_attr_put(m, NFTA_RULE_USERDATA, 2 + n, tlv);
}

void our_rule_add(NetlinkBatch *b, const ForeignChain *c, uint64_t before, const char *table,
		  const OurRule *rule)
{
	struct nlmsghdr *m =
	    rule_msg(b, c, NFT_MSG_NEWRULE, before ? NLM_F_CREATE : NLM_F_CREATE | NLM_F_APPEND);
	struct nlattr *list = mnl_attr_nest_start(m, NFTA_RULE_EXPRESSIONS);

	if (c->family == NFPROTO_INET && !rule->ipv6)
		put_ipv4_only(m);
	if (rule->kind == OUR_WAY_OUT || rule->kind == OUR_WITHIN)
		put_interface(m, NFT_META_IIFNAME, rule->bridge);
	if (rule->kind != OUR_WAY_OUT)
		put_interface(m, NFT_META_OIFNAME, rule->bridge);
	put_connection(m, c, rule->kind);
	if (foreign_chain_is_iptables(c))
		put_counter(m);
	put_accept(m);
	mnl_attr_nest_end(m, list);
	put_comment(m, table, rule);
	if (before)
		mnl_attr_put_u64(m, NFTA_RULE_POSITION, htobe64(before));
	netlink_msg_end(b, m);
}

void our_rule_remove(NetlinkBatch *b, const ForeignChain *c, uint64_t handle)
{
	struct nlmsghdr *m = rule_msg(b, c, NFT_MSG_DELRULE, 0);

	mnl_attr_put_u64(m, NFTA_RULE_HANDLE, htobe64(handle));
	netlink_msg_end(b, m);
}
