/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other people's forward chains.
 *
 * In nftables a packet has to be accepted by every base chain of a hook, so what our own table lets through still ends at the policy
 * "drop" of a firewall's forward chain. That policy is about a router; nobody has said by it that containers shall not reach anything. So a
 * few rules of ours are put into such chains, for each bridge:
 *
 *     iifname BRIDGE accept                                a container's way out
 *     oifname BRIDGE ct state established,related accept   the answers
 *     oifname BRIDGE ct status dnat accept                 only if the user wants published ports to be open regardless
 *
 * (the last one without its condition if containers are reached at their own addresses: then nothing is translated). What these accept
 * is judged by our own table as well: isolation does not rest on them. Of an internal network, and of a shard, only what stays on the bridge
 * is let through, which passes here where br_netfilter is on.
 *
 * Where: behind everything that decides about something in particular, so that a rule of the administrator's about containers is obeyed,
 * and in front of the rules at the end of the chain that drop all the rest, or log what is going to be dropped. A chain that neither has the policy "drop" nor
 * ends with such rules gets nothing.
 * firewalld is the exception: its chain leads everything into chains of its zones, which reject; there the place is before the first such
 * jump. That is what engines have who ask firewalld by D-Bus: a zone of their own whose target is ACCEPT.
 *
 * All is derived from what is in the kernel: bridges are those of our table, rules of ours are known by their comment. A transaction
 * says which generation of the rule set it was made for, and the kernel refuses it if there is a newer one; then all is looked at anew. Each
 * chain has a transaction of its own, since there may be one that its owner keeps for himself (NFT_TABLE_F_OWNER).
 */
#include "network/foreign-internal.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#define DEPTH_MAX 8 /* of chains that lead to chains */
#define TRIES_MAX 10
#define RULES_MAX 100000

/* ---- reading ---- */

typedef struct Chains {
	const char *ours;
	ForeignChain *v;
	size_t n;
	char **tables; /* theirs */
} Chains;

static void chains_done(Chains *c)
{
	strv_free(c->tables);
	free(c->v);
}

typedef struct Rules {
	ForeignRule *v;
	size_t n;
} Rules;

static void rules_done(Rules *r)
{
	free(r->v);
}

static void copy_name(char to[FOREIGN_NAME], const struct nlattr *attr)
{
	snprintf(to, FOREIGN_NAME, "%.*s", (int)mnl_attr_get_payload_len(attr), mnl_attr_get_str(attr));
}

bool foreign_hook_is_forward(const struct nlattr *hook)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, hook) if (mnl_attr_get_type(attr) == NFTA_HOOK_HOOKNUM) return ntohl(
	    mnl_attr_get_u32(attr)) == NF_INET_FORWARD;
	return false;
}

static int take_chain(const struct nlmsghdr *m, void *arg)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(m);
	ForeignChain c = {.family = header->nfgen_family};
	bool forward = false, filter = false;
	Chains *chains = arg;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, m, sizeof(*header))
	{
		switch (mnl_attr_get_type(attr)) {
		case NFTA_CHAIN_TABLE:
			copy_name(c.table, attr);
			break;
		case NFTA_CHAIN_NAME:
			copy_name(c.name, attr);
			break;
		case NFTA_CHAIN_TYPE:
			filter = streq(mnl_attr_get_str(attr), "filter");
			break;
		case NFTA_CHAIN_POLICY:
			c.drops = ntohl(mnl_attr_get_u32(attr)) == NF_DROP;
			break;
		case NFTA_CHAIN_HOOK:
			forward = foreign_hook_is_forward(attr);
			break;
		}
	}
	if (!forward || !filter || streq(c.table, chains->ours) ||
	    (c.family != NFPROTO_IPV4 && c.family != NFPROTO_IPV6 && c.family != NFPROTO_INET))
		return 0;

	ForeignChain *v = reallocarray(chains->v, chains->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	chains->v = v;
	v[chains->n++] = c;
	return strv_has(chains->tables, c.table) ? 0 : strv_add(&chains->tables, c.table);
}

static int list_chains(NetworkHost *h, Chains *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct nfgenmsg any = {.nfgen_family = NFPROTO_UNSPEC, .version = NFNETLINK_V0};

	netlink_msg_end(&b, netlink_msg(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, NLM_F_DUMP, &any,
					sizeof(any)));
	int r = netlink_ask(&h->filter, &b, take_chain, ret, e);

	return r == -ENOMEM ? err_oom(e) : err_ctx(e, r, "list the chains of nftables");
}

static int take_rule(const struct nlmsghdr *m, void *arg)
{
	Rules *rules = arg;
	size_t skip = MNL_ALIGN(sizeof(struct nfgenmsg)), len = mnl_nlmsg_get_payload_len(m);

	if (len < skip)
		return 0;
	if (rules->n >= RULES_MAX)
		return -E2BIG;
	if ((rules->n & (rules->n + 1)) == 0) {
		ForeignRule *v = reallocarray(rules->v, 2 * (rules->n + 1), sizeof(*v));

		if (!v)
			return -ENOMEM;
		rules->v = v;
	}
	foreign_rule_parse((const char *)mnl_nlmsg_get_payload(m) + skip, len - skip, &rules->v[rules->n++]);
	return 0;
}

/* A chain that has gone in between is an empty one. */
static int list_rules(NetworkHost *h, const ForeignChain *c, const char *name, Rules *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct nfgenmsg header = {.nfgen_family = c->family, .version = NFNETLINK_V0};
	struct nlmsghdr *m =
	    netlink_msg(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, NLM_F_DUMP, &header, sizeof(header));

	mnl_attr_put_strz(m, NFTA_RULE_TABLE, c->table);
	mnl_attr_put_strz(m, NFTA_RULE_CHAIN, name);
	netlink_msg_end(&b, m);
	int r = netlink_ask(&h->filter, &b, take_rule, ret, e);

	return r == -ENOENT   ? 0
	       : r == -ENOMEM ? err_oom(e)
			      : err_ctx(e, r, "list chain %s of nftables table %s", name, c->table);
}

static int take_generation(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, m, sizeof(struct nfgenmsg)) if (mnl_attr_get_type(attr) == NFTA_GEN_ID) *
	    (uint32_t *)arg = ntohl(mnl_attr_get_u32(attr));
	return 0;
}

static int generation(NetworkHost *h, uint32_t *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct nfgenmsg any = {.nfgen_family = NFPROTO_UNSPEC, .version = NFNETLINK_V0};

	netlink_msg_end(&b,
			netlink_msg(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, &any, sizeof(any)));
	return err_ctx(e, netlink_ask(&h->filter, &b, take_generation, ret, e),
		       "read the generation of nftables");
}

/* ---- where ---- */

/* The end of a chain that decides nothing any more: `begin` is its first rule that is not ours. */
typedef struct Tail {
	size_t begin;
	bool ends; /* it drops everything */
} Tail;

static int tail_find(NetworkHost *h, const ForeignChain *c, const Rules *rules, int depth, Tail *ret, Err *e);

/* 1 if the whole chain is such an end. */
static int is_tail(NetworkHost *h, const ForeignChain *c, const char *name, int depth, bool *ret_ends, Err *e)
{
	_cleanup_(rules_done) Rules rules = {0};
	Tail tail = {0};
	int r;

	if (depth >= DEPTH_MAX)
		return 0;
	r = list_rules(h, c, name, &rules, e);
	if (r >= 0)
		r = tail_find(h, c, &rules, depth + 1, &tail, e);
	if (r < 0 || tail.begin > 0)
		return r < 0 ? r : 0;
	*ret_ends |= tail.ends;
	return 1;
}

static int tail_find(NetworkHost *h, const ForeignChain *c, const Rules *rules, int depth, Tail *ret, Err *e)
{
	Tail tail = {.begin = rules->n};

	for (size_t i = rules->n; i > 0; i--) {
		const ForeignRule *rule = &rules->v[i - 1];
		int r = 1;

		if (our_rule_is(h->table, rule->comment))
			continue;
		if (rule->kind == FOREIGN_CALLS)
			r = is_tail(h, c, rule->calls, depth, &tail.ends, e);
		if (r < 0)
			return r;
		if (r == 0 || rule->kind == FOREIGN_DECIDES)
			break;
		tail.ends |= rule->kind == FOREIGN_ENDS;
		tail.begin = i - 1;
	}
	*ret = tail;
	return 0;
}

static bool is_firewalld(const ForeignChain *c)
{
	return streq(c->table, "firewalld") && streq(c->name, "filter_FORWARD");
}

/* 1 and the index of the rule that ours belong in front of, or the number of rules; 0 if the chain lets all through that no rule of it is about. */
static int place_find(NetworkHost *h, const ForeignChain *c, const Rules *rules, size_t *ret, Err *e)
{
	Tail tail;
	int r;

	for (size_t i = 0; is_firewalld(c) && i < rules->n; i++)
		if (rules->v[i].jumps) {
			*ret = i;
			return 1;
		}
	r = tail_find(h, c, rules, 0, &tail, e);
	if (r < 0)
		return r;
	*ret = tail.begin;
	return tail.ends || c->drops;
}

/* ---- what ---- */

typedef struct Wanted {
	char comment[FOREIGN_NAME];
	OurRule rule;
	bool there;
} Wanted;

typedef struct WantedList {
	Wanted *v;
	size_t n;
	bool closed; /* there is a bridge whose ports are left to the host's policy */
} WantedList;

static void wanted_done(WantedList *l)
{
	free(l->v);
}

/* The bridges of our table, by what they are there. */
typedef struct Bridges {
	char **all, **internal, **shards, **ipv6, **open, **direct;
} Bridges;

static void bridges_done(Bridges *b)
{
	strv_free(b->all);
	strv_free(b->internal);
	strv_free(b->shards);
	strv_free(b->ipv6);
	strv_free(b->open);
	strv_free(b->direct);
}

static int bridges_list(NetworkHost *h, Bridges *ret, Err *e)
{
	const struct {
		const char *set;
		char ***to;
	} sets[] = {{"bridges", &ret->all},    {"internal", &ret->internal}, {"shards", &ret->shards},
		    {"ipv6", &ret->ipv6},      {"ports_open", &ret->open},   {"routed4", &ret->direct},
		    {"routed6", &ret->direct}, {"reach4", &ret->direct},     {"reach6", &ret->direct}};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(sets); i++)
		r = firewall_names(h, sets[i].set, sets[i].to, e);
	return r;
}

static void want(const NetworkHost *h, WantedList *l, OurRuleKind kind, const char *bridge, bool ipv6)
{
	Wanted *w = &l->v[l->n++];

	*w = (Wanted){.rule = {.kind = kind, .ipv6 = ipv6}};
	snprintf(w->rule.bridge, sizeof(w->rule.bridge), "%.*s", NETWORK_IFNAME - 1, bridge);
	our_rule_comment(h->table, &w->rule, w->comment);
}

static int by_comment(const void *a, const void *b)
{
	return strcmp(((const Wanted *)a)->comment, ((const Wanted *)b)->comment);
}

static int wanted_list(NetworkHost *h, WantedList *ret, Err *e)
{
	_cleanup_(bridges_done) Bridges bridges = {0};
	int r = bridges_list(h, &bridges, e);

	if (r < 0)
		return r;
	ret->v = calloc(3 * strv_len(bridges.all) + strv_len(bridges.shards) + 1, sizeof(*ret->v));
	if (!ret->v)
		return err_oom(e);
	/* Frames of either family: what their network has is not told by a shard's name. */
	for (char **b = bridges.shards; b && *b; b++)
		want(h, ret, OUR_WITHIN, *b, true);
	for (char **b = bridges.all; b && *b; b++) {
		bool ipv6 = strv_has(bridges.ipv6, *b);

		if (strv_has(bridges.internal, *b)) {
			want(h, ret, OUR_WITHIN, *b, ipv6);
			continue;
		}
		want(h, ret, OUR_WAY_OUT, *b, ipv6);
		want(h, ret, OUR_ANSWERS, *b, ipv6);
		if (strv_has(bridges.open, *b))
			want(h, ret, strv_has(bridges.direct, *b) ? OUR_INBOUND : OUR_PORTS, *b, ipv6);
		else
			ret->closed = true;
	}
	qsort(ret->v, ret->n, sizeof(*ret->v), by_comment);
	return 0;
}

/* ---- making it so ---- */

/* Ours are one block, in front of the rule `at`. */
static bool placed_well(const NetworkHost *h, const Rules *rules, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (our_rule_is(h->table, rules->v[i].comment))
			for (; i < at; i++)
				if (!our_rule_is(h->table, rules->v[i].comment))
					return false;
	for (size_t i = at; i < rules->n; i++)
		if (our_rule_is(h->table, rules->v[i].comment))
			return false;
	return true;
}

/* What differs, as messages. list->n may be set to 0 by the caller: then ours go. */
static void chain_change(const NetworkHost *h, const ForeignChain *c, const Rules *rules, size_t at,
			 WantedList *list, size_t n, NetlinkBatch *b)
{
	bool anew = !placed_well(h, rules, at);
	uint64_t before = at < rules->n ? rules->v[at].handle : 0;

	for (size_t i = 0; i < n; i++)
		list->v[i].there = false;
	for (size_t i = 0; i < rules->n; i++) {
		const char *comment = rules->v[i].comment;
		Wanted *w, key;

		if (!our_rule_is(h->table, comment))
			continue;
		snprintf(key.comment, sizeof(key.comment), "%s", comment);
		w = n > 0 && !anew ? bsearch(&key, list->v, n, sizeof(key), by_comment) : NULL;
		if (w && !w->there)
			w->there = true;
		else
			our_rule_remove(b, c, rules->v[i].handle);
	}
	for (size_t i = 0; i < n; i++)
		if (!list->v[i].there && (c->family != NFPROTO_IPV6 || list->v[i].rule.ipv6))
			our_rule_add(b, c, before, h->table, &list->v[i].rule);
}

/* 1 if the chain was changed, -ERESTART if the rule set changed meanwhile. *ret_closed: it drops what is not let in. */
static int chain_sync(NetworkHost *h, const ForeignChain *c, WantedList *list, uint32_t gen, bool *ret_closed,
		      Err *e)
{
	_cleanup_(rules_done) Rules rules = {0};
	_cleanup_batch_ NetlinkBatch b = {0};
	size_t at = 0;
	int r = list_rules(h, c, c->name, &rules, e), wants;

	if (r >= 0)
		r = wants = place_find(h, c, &rules, &at, e);
	if (r < 0)
		return r;
	*ret_closed = wants == 1 && !is_firewalld(c);
	element_begin_at(&b, gen);
	chain_change(h, c, &rules, at, list, wants ? list->n : 0, &b);
	if (b.n <= 1)
		return 0;
	r = element_commit(&h->filter, &b, NULL, e);
	return r < 0 ? r : 1;
}

static void trouble(NetworkHost *h, const ForeignChain *c, const Err *e, int r)
{
	static const char *const families[] = {
	    [NFPROTO_INET] = "inet", [NFPROTO_IPV4] = "ip", [NFPROTO_IPV6] = "ip6"};
	_cleanup_free_ char *text =
	    strf("the forward chain %s of nftables table %s %s may drop what containers send out, and cannot "
		 "be changed: %s%s",
		 c->name, families[c->family], c->table, err_msg(e, r),
		 is_firewalld(c)
		     ? ": add the networks' bridges to a zone that lets them (firewall-cmd --permanent "
		       "--zone=trusted --add-interface=BRIDGE, then firewall-cmd --reload)"
		     : ": let the networks' bridges through there");

	if (text)
		(void)strv_add(&h->foreign_trouble, text);
}

/* One look at everything; -ERESTART: it was changed under our eyes. */
static int sync_once(NetworkHost *h, Err *e)
{
	_cleanup_(chains_done) Chains chains = {.ours = h->table};
	_cleanup_(wanted_done) WantedList list = {0};
	int r, changed = 0;
	uint32_t gen = 0;

	strv_free(h->foreign_trouble);
	h->foreign_trouble = NULL;
	h->ports_closed = false;
	r = generation(h, &gen, e);
	if (r >= 0)
		r = list_chains(h, &chains, e);
	if (r >= 0) {
		strv_free(h->forward_tables);
		h->forward_tables = take_ptr(chains.tables);
	}
	if (r >= 0 && chains.n > 0)
		r = wanted_list(h, &list, e);
	for (size_t i = 0; r >= 0 && i < chains.n; i++) {
		bool closed = false;
		Err err = {0};

		r = chain_sync(h, &chains.v[i], &list, gen, &closed, &err);
		if (r < 0 && r != -ERESTART && r != -ENOMEM) {
			trouble(h, &chains.v[i], &err, r);
			r = 0;
		}
		h->ports_closed |= closed && list.closed;
		/* Our own transaction makes a new generation, and nothing was promised about the next chain. */
		gen += r == 1;
		changed += r == 1;
	}
	return r < 0 ? r : changed;
}

int foreign_sync(NetworkHost *h, Err *e)
{
	int r = -ERESTART;

	if (h->foreign_held)
		return 0;
	for (int i = 0; r == -ERESTART && i < TRIES_MAX; i++)
		r = sync_once(h, e);
	/* Whoever changes them so fast wakes network_watch_read() up again. */
	if (r == -ERESTART)
		r = strv_add(
		    &h->foreign_trouble,
		    "the rules of nftables change too fast for ours to be put into the host's firewall");
	return r == -ENOMEM ? err_oom(e) : err_ctx(e, r, "rules in the host's firewall");
}

void network_firewall_hold(NetworkHost *h)
{
	SCOPE_LOCK(&h->lock);
	h->foreign_held = true;
}

int network_firewall_sync(NetworkHost *h, Err *e)
{
	SCOPE_LOCK(&h->lock);
	h->foreign_held = false;
	return foreign_sync(h, e);
}

/* ---- what the user should know ---- */

/* A sentence a bridge, the same whatever other bridges there are: a log that has it is not told again. */
static int warn_legacy(NetworkHost *h, char ***ret, Err *e)
{
	_cleanup_strv_ char **bridges = NULL, **internal = NULL, **out = NULL, **dropped = NULL;
	int r = firewall_names(h, "bridges", &bridges, e);

	if (r >= 0)
		r = firewall_names(h, "internal", &internal, e);
	for (char **b = bridges; r >= 0 && b && *b; b++)
		if (!strv_has(internal, *b) && strv_add(&out, *b) < 0)
			r = err_oom(e);
	if (r >= 0)
		r = legacy_drops(out, &dropped, e);
	for (char **b = dropped; r >= 0 && b && *b; b++)
		if (strv_take(ret, strf("iptables-legacy drops what containers on bridge %s send out (chain "
					"FORWARD of its table filter): let them out with iptables-legacy -I "
					"FORWARD -i %s -j ACCEPT and iptables-legacy -I FORWARD -o %s "
					"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
					*b, *b, *b)) < 0)
			r = err_oom(e);
	return r;
}

int network_firewall_warnings(NetworkHost *h, char ***ret, Err *e)
{
	_cleanup_strv_ char **v = NULL;
	int r;

	SCOPE_LOCK(&h->lock);
	r = warn_legacy(h, &v, e);
	if (r < 0)
		return r;
	for (char **t = h->foreign_trouble; t && *t; t++)
		if (strv_add(&v, *t) < 0)
			return err_oom(e);
	if (h->ports_closed &&
	    strv_add(
		&v,
		"published ports are reached from other machines only as far as this host's firewall lets "
		"what is "
		"forwarded through: allow them there (with ufw: ufw route allow), or set published-ports to "
		"open") < 0)
		return err_oom(e);
	*ret = take_ptr(v);
	return 0;
}
