/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink requests over libmnl (netlink(7), rtnetlink(7)), and threads in other network namespaces.
 *
 * Answers are matched by sequence number: whatever an earlier, abandoned request left in the socket is
 * skipped. A namespace belongs to a task, so code that must be inside one runs in a short-lived thread
 * and the calling thread never moves.
 */
#include "network/netlink.h"

#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#define SEND_LIMIT  (8 << 20) /* room for the port ranges of the wildest container */
#define ANSWER_ROOM 65536
#define DUMP_TRIES  10

int netlink_open(Netlink *nl, int bus, Err *e)
{
	struct mnl_socket *sock = mnl_socket_open2(bus, SOCK_CLOEXEC);

	if (!sock && errno == EPROTONOSUPPORT)
		return err_new(e, ERR_UNSUPPORTED,
			       "open netlink socket: the kernel has no %s: load it with modprobe %s",
			       bus == NETLINK_NETFILTER ? "nfnetlink" : "rtnetlink",
			       bus == NETLINK_NETFILTER ? "nf_tables" : "rtnetlink");
	if (!sock)
		return err_sys(e, errno, "open netlink socket");
	if (mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		int no = errno;

		mnl_socket_close(sock);
		return err_sys(e, no, "bind netlink socket");
	}

	int on = 1, room = SEND_LIMIT;
	/* None is needed for correctness: without them the texts are poorer, batches smaller and lists longer. */
	(void)mnl_socket_setsockopt(sock, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)mnl_socket_setsockopt(sock, NETLINK_CAP_ACK, &on, sizeof(on));
	/* A list is of what its header asks for (kernel 4.20); whoever reads it looks at that again. */
	(void)mnl_socket_setsockopt(sock, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	(void)setsockopt(mnl_socket_get_fd(sock), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	*nl = (Netlink){.sock = sock, .seq = 1};
	pthread_mutex_init(&nl->lock, NULL);
	return 0;
}

void netlink_close(Netlink *nl)
{
	if (!nl->sock)
		return;
	mnl_socket_close(nl->sock);
	nl->sock = NULL;
	pthread_mutex_destroy(&nl->lock);
}

static void *netns_thread(void *p)
{
	NetnsJob *job = p;

	if (job->netns_fd < 0 && unshare(CLONE_NEWNET) < 0)
		job->r = err_sys(job->e, errno, "make a network namespace%s",
				 errno == EPERM ? " (needs CAP_SYS_ADMIN: run as root)" : "");
	else if (job->netns_fd >= 0 && setns(job->netns_fd, CLONE_NEWNET) < 0)
		job->r = err_sys(job->e, errno, "enter the network namespace%s",
				 errno == EPERM ? " (needs CAP_SYS_ADMIN: run as root)" : "");
	else
		job->r = job->fn(job->arg, job->e);
	return NULL;
}

int netns_begin(NetnsJob *job, Err *e)
{
	sigset_t all, before;

	/* Signals are for the program's own threads: one that lives for microseconds shall not handle them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = pthread_create(&job->thread, NULL, netns_thread, job);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r != 0 ? err_sys(e, r, "start a thread for the network namespace") : 0;
}

int netns_end(NetnsJob *job)
{
	pthread_join(job->thread, NULL);
	return job->r;
}

int netns_call(int netns_fd, int (*fn)(void *arg, Err *e), void *arg, Err *e)
{
	NetnsJob job = {.netns_fd = netns_fd, .fn = fn, .arg = arg, .e = e};
	int r = netns_begin(&job, e);

	return r < 0 ? r : netns_end(&job);
}

typedef struct OpenJob {
	Netlink *nl;
	int bus;
} OpenJob;

static int open_job(void *arg, Err *e)
{
	OpenJob *job = arg;

	return netlink_open(job->nl, job->bus, e);
}

int netlink_open_in(Netlink *nl, int netns_fd, int bus, Err *e)
{
	OpenJob job = {.nl = nl, .bus = bus};

	*nl = (Netlink){0};
	return netns_call(netns_fd, open_job, &job, e);
}

void netlink_batch_done(NetlinkBatch *b)
{
	strbuf_done(&b->text);
}

struct nlmsghdr *netlink_msg(NetlinkBatch *b, uint16_t type, uint16_t flags, const void *header, size_t len)
{
	struct nlmsghdr *m = mnl_nlmsg_put_header(b->scratch);

	m->nlmsg_type = type;
	m->nlmsg_flags = NLM_F_REQUEST | flags;
	memcpy(mnl_nlmsg_put_extra_header(m, len), header, len);
	return m;
}

void netlink_msg_end(NetlinkBatch *b, struct nlmsghdr *m)
{
	static const char zeros[MNL_ALIGNTO];

	strbuf_add_n(&b->text, m, m->nlmsg_len);
	strbuf_add_n(&b->text, zeros, MNL_ALIGN(m->nlmsg_len) - m->nlmsg_len);
	b->n++;
}

/* Numbers the messages from nl->seq on, and returns the number of the request whose acknowledgement ends the wait:
 * the last one, but for a transaction's closing message, which is never answered. */
static uint32_t batch_number(Netlink *nl, NetlinkBatch *b, uint16_t last_flags)
{
	size_t last = b->n - (b->transaction ? 2 : 1), at = 0;
	uint32_t seq = nl->seq;

	for (size_t i = 0; i < b->n; i++) {
		struct nlmsghdr *m = (struct nlmsghdr *)(void *)(b->text.s + at);

		m->nlmsg_seq = seq + (uint32_t)i;
		if (i == last)
			m->nlmsg_flags |= last_flags;
		at += MNL_ALIGN(m->nlmsg_len);
	}
	nl->seq += (uint32_t)b->n;
	return seq + (uint32_t)last;
}

static int attr_message(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
		*(const char **)arg = mnl_attr_get_str(attr);
	return MNL_CB_OK;
}

static int kernel_error(const struct nlmsghdr *m, Err *e)
{
	const struct nlmsgerr *answer = mnl_nlmsg_get_payload(m);
	size_t skip = sizeof(*answer);
	const char *text = NULL;
	int no = -answer->error;

	if (!(m->nlmsg_flags & NLM_F_CAPPED) && answer->msg.nlmsg_len > sizeof(answer->msg))
		skip += MNL_ALIGN(answer->msg.nlmsg_len - sizeof(answer->msg));
	if (m->nlmsg_flags & NLM_F_ACK_TLVS && mnl_nlmsg_get_payload_len(m) > skip)
		(void)mnl_attr_parse(m, (unsigned)skip, attr_message, &text);
	if (no == EPERM)
		return err_sys(e, no, "the kernel refused (needs CAP_NET_ADMIN: run as root)");
	return err_sys(e, no, "the kernel says%s%s", text ? " " : "", text ? text : "");
}

static ssize_t receive(Netlink *nl, void *buf, size_t room, Err *e)
{
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(nl->sock, buf, room);

		if (n > 0)
			return n;
		if (n < 0 && errno == EINTR)
			continue;
		return err_sys(e, n == 0 ? EIO : errno, "receive from netlink");
	}
}

static int send_batch(Netlink *nl, const NetlinkBatch *b, Err *e)
{
	if (mnl_socket_sendto(nl->sock, b->text.s, b->text.len) < 0)
		return err_sys(e, errno, "send %zu netlink messages", b->n);
	return 0;
}

typedef struct Verdict {
	uint32_t first, last;
	uint32_t bad; /* index of the first failure */
	bool transaction;
	int r;
	Err *e;
} Verdict;

/* True when the wait is over. */
static bool take_verdict(Verdict *v, const struct nlmsghdr *m)
{
	if (m->nlmsg_seq - v->first > v->last - v->first || m->nlmsg_type != NLMSG_ERROR)
		return false;

	const struct nlmsgerr *answer = mnl_nlmsg_get_payload(m);

	if (answer->error != 0 && v->r == 0) {
		v->r = kernel_error(m, v->e);
		v->bad = m->nlmsg_seq - v->first;
	}
	/* The failure of a transaction as such is reported on its opening message, and then nothing may follow. */
	return m->nlmsg_seq == v->last || (v->transaction && m->nlmsg_seq == v->first);
}

static int await_verdict(Netlink *nl, Verdict *v)
{
	_Alignas(8) char buf[ANSWER_ROOM / 4];

	for (;;) {
		ssize_t got = receive(nl, buf, sizeof(buf), v->e);
		const struct nlmsghdr *m = (const void *)buf;
		int left = (int)got;

		if (got < 0)
			return (int)got;
		for (; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left))
			if (take_verdict(v, m))
				return v->r;
	}
}

int netlink_run(Netlink *nl, NetlinkBatch *b, size_t *ret_bad, Err *e)
{
	if (b->text.oom)
		return err_oom(e);
	pthread_mutex_lock(&nl->lock);

	Verdict v = {.first = nl->seq, .transaction = b->transaction, .e = e};
	int r;

	v.last = batch_number(nl, b, NLM_F_ACK);
	r = send_batch(nl, b, e);
	if (r == 0)
		r = await_verdict(nl, &v);
	pthread_mutex_unlock(&nl->lock);
	if (r < 0 && ret_bad)
		*ret_bad = v.bad;
	return r;
}

typedef struct Question {
	uint32_t seq;
	NetlinkObjectFn fn;
	void *arg;
	bool interrupted;
	Err *e;
} Question;

/* 1 at the end of the answer. */
static int take_object(Question *q, const struct nlmsghdr *m)
{
	if (m->nlmsg_seq != q->seq)
		return 0;
	if (m->nlmsg_flags & NLM_F_DUMP_INTR)
		q->interrupted = true;
	if (m->nlmsg_type == NLMSG_DONE)
		return 1;
	if (m->nlmsg_type != NLMSG_ERROR)
		return q->fn(m, q->arg);

	const struct nlmsgerr *answer = mnl_nlmsg_get_payload(m);

	return answer->error == 0 ? 1 : kernel_error(m, q->e);
}

static int await_objects(Netlink *nl, Question *q, char *buf)
{
	for (;;) {
		ssize_t got = receive(nl, buf, ANSWER_ROOM, q->e);
		const struct nlmsghdr *m = (const void *)buf;
		int left = (int)got, r = 0;

		if (got < 0)
			return (int)got;
		for (; r == 0 && mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left))
			r = take_object(q, m);
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

int netlink_ask(Netlink *nl, NetlinkBatch *b, NetlinkObjectFn fn, void *arg, Err *e)
{
	_cleanup_free_ char *buf = malloc(ANSWER_ROOM);
	int r = 0;

	if (!buf || b->text.oom)
		return err_oom(e);
	pthread_mutex_lock(&nl->lock);
	for (int i = 0; i < DUMP_TRIES; i++) {
		const struct nlmsghdr *m = (const void *)b->text.s;
		bool dump = (m->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
		Question q = {.fn = fn, .arg = arg, .e = e};

		q.seq = batch_number(nl, b, dump ? 0 : NLM_F_ACK);
		r = send_batch(nl, b, e);
		if (r == 0)
			r = await_objects(nl, &q, buf);
		if (r < 0 || !q.interrupted)
			break;
		r = err_new(e, ERR_UNAVAILABLE, "the kernel's network tables change too fast to be listed");
	}
	pthread_mutex_unlock(&nl->lock);
	return r;
}

static void parse_devconf(const struct nlattr *inet, LinkInfo *ret)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, inet)
	{
		size_t n = mnl_attr_get_payload_len(attr) / sizeof(uint32_t);

		if (mnl_attr_get_type(attr) == IFLA_INET_CONF && n >= IPV4_DEVCONF_ROUTE_LOCALNET)
			ret->route_localnet =
			    ((const uint32_t *)mnl_attr_get_payload(attr))[IPV4_DEVCONF_ROUTE_LOCALNET - 1] !=
			    0;
	}
}

static void copy_text(char *to, size_t room, const struct nlattr *attr)
{
	snprintf(to, room, "%.*s", (int)mnl_attr_get_payload_len(attr), mnl_attr_get_str(attr));
}

void link_info_parse(const struct nlmsghdr *m, LinkInfo *ret)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(m);
	const struct nlattr *attr, *inner;

	*ret = (LinkInfo){.index = header->ifi_index, .flags = header->ifi_flags};
	mnl_attr_for_each(attr, m, sizeof(*header))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_IFNAME:
			copy_text(ret->name, sizeof(ret->name), attr);
			break;
		case IFLA_IFALIAS:
			copy_text(ret->alias, sizeof(ret->alias), attr);
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(attr) == sizeof(ret->mac))
				memcpy(ret->mac, mnl_attr_get_payload(attr), sizeof(ret->mac));
			break;
		case IFLA_MTU:
			ret->mtu = mnl_attr_get_u32(attr);
			break;
		case IFLA_MASTER:
			ret->master = (int)mnl_attr_get_u32(attr);
			break;
		case IFLA_LINKINFO:
			mnl_attr_for_each_nested(inner, attr) if (mnl_attr_get_type(inner) == IFLA_INFO_KIND)
			    copy_text(ret->kind, sizeof(ret->kind), inner);
			break;
		case IFLA_AF_SPEC:
			mnl_attr_for_each_nested(inner, attr) if (mnl_attr_get_type(inner) == AF_INET)
			    parse_devconf(inner, ret);
			break;
		}
	}
}

static int take_link(const struct nlmsghdr *m, void *arg)
{
	link_info_parse(m, arg);
	return 0;
}

int link_find(Netlink *nl, const char *name, LinkInfo *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct nlmsghdr *m = netlink_msg(&b, RTM_GETLINK, 0, &header, sizeof(header));
	LinkInfo found = {0};

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	netlink_msg_end(&b, m);
	int r = netlink_ask(nl, &b, take_link, &found, e);

	if (r == -ENODEV)
		return 0;
	if (r < 0)
		return err_ctx(e, r, "look up interface %s", name);
	*ret = found;
	return 1;
}

int link_check_name(const char *name, Err *e)
{
	size_t n = strlen(name);

	if (n == 0 || n >= IFNAMSIZ || streq(name, ".") || streq(name, "..") ||
	    strpbrk(name, "/: \t\n\r\v\f\"%"))
		return err_new(
		    e, ERR_INVALID,
		    "invalid interface name \"%.64s\": use 1 to %d characters without blanks, \"/\", \":\" "
		    "and quotes",
		    name, IFNAMSIZ - 1);
	return 0;
}
