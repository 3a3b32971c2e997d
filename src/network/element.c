/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elements of nftables sets and maps, written and read as netlink messages (nf_tables.h).
 *
 * libnftables parses text and lists the whole rule set first, which costs milliseconds and grows with what others have
 * in there; an element is a message of 100 bytes. The fields of a concatenated key each fill whole 32-bit words.
 */
#include "network/network-internal.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

struct nlmsghdr *nft_msg(NetlinkBatch *b, uint8_t family, int type, uint16_t flags)
{
	struct nfgenmsg header = {.nfgen_family = family, .version = NFNETLINK_V0};

	return netlink_msg(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, &header, sizeof(header));
}

static void batch_mark(NetlinkBatch *b, uint16_t type)
{
	struct nfgenmsg header = {.version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES)};

	netlink_msg_end(b, netlink_msg(b, type, 0, &header, sizeof(header)));
}

void nft_put_value(struct nlmsghdr *m, uint16_t type, const void *value, size_t len)
{
	struct nlattr *nest = mnl_attr_nest_start(m, type);

	mnl_attr_put(m, NFTA_DATA_VALUE, len, value);
	mnl_attr_nest_end(m, nest);
}

static void put_set(struct nlmsghdr *m, const char *table, const char *set)
{
	mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_SET, set);
}

static void put_element(struct nlmsghdr *m, const char *table, const Element *el, bool with_data)
{
	put_set(m, table, el->set);

	struct nlattr *list = mnl_attr_nest_start(m, NFTA_SET_ELEM_LIST_ELEMENTS);
	struct nlattr *one = mnl_attr_nest_start(m, NFTA_LIST_ELEM);

	nft_put_value(m, NFTA_SET_ELEM_KEY, el->key, el->key_len);
	if (with_data && el->data_len > 0)
		nft_put_value(m, NFTA_SET_ELEM_DATA, el->data, el->data_len);
	mnl_attr_nest_end(m, one);
	mnl_attr_nest_end(m, list);
}

void element_begin(NetlinkBatch *b)
{
	b->transaction = true;
	batch_mark(b, NFNL_MSG_BATCH_BEGIN);
}

/* Without NLM_F_EXCL the same element again is success, and the same key with other data is EEXIST or EBUSY. */
void element_add(NetlinkBatch *b, const char *table, const Element *el)
{
	struct nlmsghdr *m = nft_msg(b, NFPROTO_INET, NFT_MSG_NEWSETELEM, NLM_F_CREATE);

	put_element(m, table, el, true);
	netlink_msg_end(b, m);
}

void element_remove(NetlinkBatch *b, const char *table, const Element *el)
{
	struct nlmsghdr *m = nft_msg(b, NFPROTO_INET, NFT_MSG_DELSETELEM, 0);

	put_element(m, table, el, false);
	netlink_msg_end(b, m);
}

void element_table_remove(NetlinkBatch *b, const char *table)
{
	struct nlmsghdr *m = nft_msg(b, NFPROTO_INET, NFT_MSG_DELTABLE, 0);

	mnl_attr_put_strz(m, NFTA_TABLE_NAME, table);
	netlink_msg_end(b, m);
}

void element_begin_at(NetlinkBatch *b, uint32_t generation)
{
	struct nfgenmsg header = {.version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES)};
	struct nlmsghdr *m = netlink_msg(b, NFNL_MSG_BATCH_BEGIN, 0, &header, sizeof(header));

	b->transaction = true;
	mnl_attr_put_u32(m, NFNL_BATCH_GENID, htonl(generation));
	netlink_msg_end(b, m);
}

int element_commit(Netlink *nl, NetlinkBatch *b, size_t *ret_bad, Err *e)
{
	size_t bad = 0;

	if (b->n <= 1)
		return 0;
	batch_mark(b, NFNL_MSG_BATCH_END);
	int r = netlink_run(nl, b, &bad, e);

	if (r < 0 && ret_bad)
		*ret_bad = bad > 0 ? bad - 1 : 0;
	return r;
}

static void take_value(const struct nlattr *nest, uint8_t *to, size_t room, size_t *ret_len)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		size_t n = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) != NFTA_DATA_VALUE || n > room)
			continue;
		memcpy(to, mnl_attr_get_payload(attr), n);
		*ret_len = n;
	}
}

typedef struct ListJob {
	const char *set;
	ElementFn fn;
	void *arg;
} ListJob;

static int take_one(const struct nlattr *one, const ListJob *job)
{
	const struct nlattr *attr;
	Element el = {.set = job->set};

	mnl_attr_for_each_nested(attr, one)
	{
		if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_KEY)
			take_value(attr, el.key, sizeof(el.key), &el.key_len);
		else if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_DATA)
			take_value(attr, el.data, sizeof(el.data), &el.data_len);
	}
	return job->fn(&el, job->arg);
}

static int take_elements(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *attr, *one;
	int r;

	mnl_attr_for_each(attr, m, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) != NFTA_SET_ELEM_LIST_ELEMENTS)
			continue;
		mnl_attr_for_each_nested(one, attr)
		{
			r = take_one(one, arg);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int keep_data(const Element *el, void *arg)
{
	Element *to = arg;

	memcpy(to->data, el->data, sizeof(to->data));
	to->data_len = el->data_len;
	return 0;
}

int element_get(Netlink *nl, const char *table, Element *el, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct nlmsghdr *m = nft_msg(&b, NFPROTO_INET, NFT_MSG_GETSETELEM, 0);
	ListJob job = {el->set, keep_data, el};

	put_element(m, table, el, false);
	netlink_msg_end(&b, m);
	int r = netlink_ask(nl, &b, take_elements, &job, e);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_ctx(e, r, "read set %s of nftables table %s", el->set, table);
	return 1;
}

static int ignore(const struct nlmsghdr *m, void *arg)
{
	return 0;
}

int element_set_exists(Netlink *nl, const char *table, const char *set, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct nlmsghdr *m = nft_msg(&b, NFPROTO_INET, NFT_MSG_GETSET, 0);

	mnl_attr_put_strz(m, NFTA_SET_TABLE, table);
	mnl_attr_put_strz(m, NFTA_SET_NAME, set);
	netlink_msg_end(&b, m);
	int r = netlink_ask(nl, &b, ignore, NULL, e);

	return r == -ENOENT ? 0 : r < 0 ? err_ctx(e, r, "nftables table inet %s", table) : 1;
}

int element_list(Netlink *nl, const char *table, const char *set, ElementFn fn, void *arg, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct nlmsghdr *m = nft_msg(&b, NFPROTO_INET, NFT_MSG_GETSETELEM, NLM_F_DUMP);
	ListJob job = {set, fn, arg};

	put_set(m, table, set);
	netlink_msg_end(&b, m);
	int r = netlink_ask(nl, &b, take_elements, &job, e);

	return r == -ENOENT ? 0 : err_ctx(e, r, "list set %s of nftables table %s", set, table);
}
