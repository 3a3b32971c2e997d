/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections the kernel remembers (conntrack). Translation is decided by a connection's first packet, and to the kernel
 * a udp client that goes on sending is one connection for ever. So when a udp port begins or ends to be published, what
 * it remembers of that port is deleted, and the next packet is judged anew.
 */
#include "network/network-internal.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

typedef struct ForgetJob {
	const NetworkPort *ports;
	size_t n;
	IpAddress address;
	NetlinkBatch forget;
} ForgetJob;

typedef struct Tuple {
	IpAddress from, to;
	uint16_t to_port;
	uint8_t proto;
} Tuple;

static void parse_tuple(const struct nlattr *tuple, Tuple *ret)
{
	const struct nlattr *part, *attr;

	mnl_attr_for_each_nested(part, tuple)
	{
		bool ip = mnl_attr_get_type(part) == CTA_TUPLE_IP;

		mnl_attr_for_each_nested(attr, part)
		{
			int type = mnl_attr_get_type(attr);
			size_t n = mnl_attr_get_payload_len(attr);

			if (ip && n != 4 && n != 16)
				continue;
			if (ip && (type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC))
				ret->from = ip_from_bytes(mnl_attr_get_payload(attr), n);
			else if (ip && (type == CTA_IP_V4_DST || type == CTA_IP_V6_DST))
				ret->to = ip_from_bytes(mnl_attr_get_payload(attr), n);
			else if (!ip && type == CTA_PROTO_NUM)
				ret->proto = mnl_attr_get_u8(attr);
			else if (!ip && type == CTA_PROTO_DST_PORT)
				ret->to_port = ntohs(mnl_attr_get_u16(attr));
		}
	}
}

static bool is_concerned(const ForgetJob *job, const Tuple *orig, const Tuple *reply)
{
	if (orig->proto != IPPROTO_UDP)
		return false;
	/* Translated to the container: it answers, but was not what the client asked for. */
	if (job->address && reply->from == job->address && orig->to != job->address)
		return true;
	for (size_t i = 0; i < job->n; i++)
		if (job->ports[i].protocol == IPPROTO_UDP && job->ports[i].host_port == orig->to_port &&
		    ip_index(job->ports[i].host_address) == ip_index(orig->to) &&
		    (ip_is_any(job->ports[i].host_address) || job->ports[i].host_address == orig->to))
			return true;
	return false;
}

static int take_connection(const struct nlmsghdr *m, void *arg)
{
	ForgetJob *job = arg;
	const struct nlattr *attr, *orig_attr = NULL, *id = NULL;
	Tuple orig = {0}, reply = {0};
	const struct nfgenmsg *of = mnl_nlmsg_get_payload(m);
	struct nfgenmsg header = {.nfgen_family = of->nfgen_family, .version = NFNETLINK_V0};

	mnl_attr_for_each(attr, m, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) == CTA_TUPLE_ORIG)
			parse_tuple(orig_attr = attr, &orig);
		else if (mnl_attr_get_type(attr) == CTA_TUPLE_REPLY)
			parse_tuple(attr, &reply);
		else if (mnl_attr_get_type(attr) == CTA_ID)
			id = attr;
	}
	if (!orig_attr || !is_concerned(job, &orig, &reply) || mnl_attr_get_payload_len(orig_attr) > 512)
		return 0;

	struct nlmsghdr *out = netlink_msg(&job->forget, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, 0,
					   &header, sizeof(header));

	mnl_attr_put(out, CTA_TUPLE_ORIG | NLA_F_NESTED, mnl_attr_get_payload_len(orig_attr),
		     mnl_attr_get_payload(orig_attr));
	if (id)
		mnl_attr_put_u32(out, CTA_ID, mnl_attr_get_u32(id));
	netlink_msg_end(&job->forget, out);
	return 0;
}

int conntrack_forget_udp(Netlink *nl, const NetworkPort *ports, size_t n, IpAddress address, Err *e)
{
	_cleanup_batch_ NetlinkBatch ask = {0};
	struct nfgenmsg header = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	ForgetJob job = {ports, n, address, {{0}}};
	int r;

	netlink_msg_end(&ask, netlink_msg(&ask, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP,
					  &header, sizeof(header)));
	r = netlink_ask(nl, &ask, take_connection, &job, e);
	if (r == 0 && job.forget.n > 0)
		r = netlink_run(nl, &job.forget, NULL, e);
	netlink_batch_done(&job.forget);
	/* Gone by itself in between: what was wanted. */
	return r == -ENOENT ? 0 : err_ctx(e, r, "forget the udp connections of changed ports");
}
