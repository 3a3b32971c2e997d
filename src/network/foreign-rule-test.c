/* SPDX-License-Identifier: Apache-2.0 */
/* How rules of others are read: what decides, what only notes, what ends everything. Rules of iptables are as iptables-nft makes them. */
#include "base/test.h"
#include "network/foreign-internal.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>

/* A rule in the making: a batch's message without its header. */
static NetlinkBatch batch;
static struct nlmsghdr *m;
static struct nlattr *expressions;

static void begin(void)
{
	struct nfgenmsg any = {.version = NFNETLINK_V0};

	m = netlink_msg(&batch, 0, 0, &any, sizeof(any));
	expressions = mnl_attr_nest_start(m, NFTA_RULE_EXPRESSIONS);
}

static void add(const char *name, void (*fill)(const char *), const char *arg)
{
	struct nlattr *one = mnl_attr_nest_start(m, NFTA_LIST_ELEM), *data;

	mnl_attr_put_strz(m, NFTA_EXPR_NAME, name);
	data = mnl_attr_nest_start(m, NFTA_EXPR_DATA);
	if (fill)
		fill(arg);
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, one);
}

static void compat(const char *name)
{
	mnl_attr_put_strz(m, NFTA_MATCH_NAME, name);
	mnl_attr_put_strz(m, NFTA_MATCH_INFO, "some words");
}

static void verdict(const char *what)
{
	struct nlattr *data, *v;
	int code = streq(what, "drop")     ? NF_DROP
		   : streq(what, "accept") ? NF_ACCEPT
		   : streq(what, "return") ? NFT_RETURN
					   : NFT_JUMP;

	mnl_attr_put_u32(m, NFTA_IMMEDIATE_DREG, htonl(NFT_REG_VERDICT));
	data = mnl_attr_nest_start(m, NFTA_IMMEDIATE_DATA);
	v = mnl_attr_nest_start(m, NFTA_DATA_VERDICT);
	mnl_attr_put_u32(m, NFTA_VERDICT_CODE, htonl((uint32_t)code));
	if (code == NFT_JUMP && *what)
		mnl_attr_put_strz(m, NFTA_VERDICT_CHAIN, what);
	mnl_attr_nest_end(m, v);
	mnl_attr_nest_end(m, data);
}

static void writes(const char *arg _unused_)
{
	mnl_attr_put_u32(m, NFTA_META_SREG, htonl(NFT_REG_1));
}

static ForeignRule end(void)
{
	ForeignRule rule;
	size_t skip = NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct nfgenmsg));

	mnl_attr_nest_end(m, expressions);
	foreign_rule_parse((const char *)m + skip, m->nlmsg_len - skip, &rule);
	return rule;
}

static void test_kinds(void **state _unused_)
{
	static const struct {
		ForeignKind kind;
		struct {
			const char *name, *arg;
		} parts[4];
	} rows[] = {
	    {FOREIGN_NOTES, {{0}}},
	    {FOREIGN_NOTES, {{"counter", NULL}, {"log", NULL}}},
	    {FOREIGN_NOTES, {{"limit", NULL}, {"log", NULL}}},
	    {FOREIGN_NOTES, {{"match", "limit"}, {"counter", NULL}, {"target", "LOG"}}},
	    {FOREIGN_NOTES, {{"match", "comment"}}},
	    {FOREIGN_ENDS, {{"counter", NULL}, {"immediate", "drop"}}},
	    {FOREIGN_ENDS, {{"reject", NULL}}},
	    {FOREIGN_ENDS, {{"match", "comment"}, {"counter", NULL}, {"target", "REJECT"}}},
	    {FOREIGN_CALLS, {{"counter", NULL}, {"immediate", "elsewhere"}}},
	    {FOREIGN_DECIDES, {{"immediate", ""}}}, /* a jump to nowhere */
	    {FOREIGN_DECIDES, {{"immediate", "accept"}}},
	    {FOREIGN_DECIDES, {{"immediate", "return"}}},
	    {FOREIGN_DECIDES, {{"meta", NULL}, {"cmp", NULL}, {"immediate", "drop"}}},
	    {FOREIGN_DECIDES, {{"match", "conntrack"}, {"target", "REJECT"}}},
	    {FOREIGN_DECIDES, {{"limit", NULL}, {"reject", NULL}}},
	    {FOREIGN_DECIDES, {{"meta", NULL}, {"cmp", NULL}, {"immediate", "elsewhere"}}},
	    {FOREIGN_DECIDES, {{"meta", "writes"}}},
	    {FOREIGN_DECIDES, {{"target", "MARK"}}},
	    {FOREIGN_DECIDES, {{"queue", NULL}}},
	    {FOREIGN_DECIDES, {{"of-a-later-kernel", NULL}, {"immediate", "drop"}}},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		begin();
		for (size_t k = 0; k < 4 && rows[i].parts[k].name; k++) {
			const char *name = rows[i].parts[k].name, *arg = rows[i].parts[k].arg;

			add(name,
			    !arg                       ? NULL
			    : streq(name, "meta")      ? writes
			    : streq(name, "immediate") ? verdict
						       : compat,
			    arg);
		}
		ForeignRule rule = end();

		if (rule.kind != rows[i].kind)
			fail_msg("row %zu: kind %d", i, rule.kind);
		assert_int_equal(rule.jumps,
				 rows[i].kind == FOREIGN_CALLS ||
				     (rows[i].parts[2].arg && streq(rows[i].parts[2].arg, "elsewhere")) ||
				     (rows[i].parts[0].arg && !*rows[i].parts[0].arg));
		if (rule.kind == FOREIGN_CALLS)
			assert_string_equal(rule.calls, "elsewhere");
		assert_string_equal(rule.comment,
				    rows[i].parts[0].arg && streq(rows[i].parts[0].arg, "comment")
					? "some words"
					: "");
	}
}

/* What we write is read as ours, in either form, and nobody else's is. */
static void test_ours(void **state _unused_)
{
	static const ForeignChain chains[] = {{.family = NFPROTO_INET, .table = "t", .name = "c"},
					      {.family = NFPROTO_IPV4, .table = "filter", .name = "FORWARD"}};
	size_t skip = NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct nfgenmsg));

	for (size_t i = 0; i < ELEMENTSOF(chains); i++)
		for (int kind = OUR_WAY_OUT; kind <= OUR_WITHIN; kind++) {
			_cleanup_batch_ NetlinkBatch b = {0};
			OurRule rule = {.kind = (OurRuleKind)kind, .bridge = "br-a"};
			ForeignRule got;

			our_rule_add(&b, &chains[i], 7, "ireko_1", &rule);
			foreign_rule_parse(b.text.s + skip, b.text.len - skip, &got);
			assert_int_equal(got.kind, FOREIGN_DECIDES);
			assert_true(our_rule_is("ireko_1", got.comment));
			assert_false(our_rule_is("ireko", got.comment));
			assert_false(our_rule_is("ireko_12", got.comment));
		}
	assert_false(our_rule_is("ireko", "let ireko:ireko br-a through"));
	assert_false(our_rule_is("ireko", ""));
}

static void test_long_names_are_none(void **state _unused_)
{
	char name[400];

	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = 0;
	begin();
	add("immediate", verdict, name);
	ForeignRule rule = end();

	assert_int_equal(rule.kind, FOREIGN_DECIDES);
	assert_string_equal(rule.calls, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_ours),
	    cmocka_unit_test(test_long_names_are_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
