/* SPDX-License-Identifier: Apache-2.0 */
/* See interface.h. One request, one answer: a socket for each call, so nothing is left in a queue. */
#include "kernel/interface.h"

#include "base/str.h"

#include <ctype.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

typedef struct Request {
	struct nlmsghdr head;
	char body[512];
} Request;

bool interface_is_name(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= IFNAMSIZ || streq(name, ".") || streq(name, ".."))
		return false;
	for (size_t i = 0; i < n; i++)
		if (name[i] == '/' || name[i] == ':' || isspace((unsigned char)name[i]))
			return false;
	return true;
}

static void begin(Request *q, uint16_t type, uint16_t flags, const void *family_head, size_t len)
{
	*q = (Request){.head = {.nlmsg_len = (uint32_t)NLMSG_LENGTH(len),
				.nlmsg_type = type,
				.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
				.nlmsg_seq = 1}};
	memcpy(NLMSG_DATA(&q->head), family_head, len);
}

/* All attributes of one request fit: an address, a broadcast address, or a name and a descriptor. */
static void add(Request *q, uint16_t type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)((char *)q + NLMSG_ALIGN(q->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
	q->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(q->head.nlmsg_len) + RTA_LENGTH(len));
}

static int open_socket(const Request *q)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || send(fd, q, q->head.nlmsg_len, 0) < 0)
		return -errno;
	return take_fd(&fd);
}

static int receive(int fd, char *buf, size_t cap)
{
	ssize_t n;

	do
		n = recv(fd, buf, cap, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

/* 0 or the kernel's -errno. */
static int ask(Request *q)
{
	_cleanup_close_ int fd = -1;
	char buf[4096] __attribute__((aligned(NLMSG_ALIGNTO)));
	const struct nlmsghdr *h = (const struct nlmsghdr *)buf;
	int n;

	q->head.nlmsg_flags |= NLM_F_ACK;
	fd = open_socket(q);
	if (fd < 0)
		return fd;
	n = receive(fd, buf, sizeof(buf));
	if (n < 0)
		return n;
	if (!NLMSG_OK(h, (uint32_t)n) || h->nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
}

static void take_address(const struct nlmsghdr *h, Interface *i)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	InterfaceAddress a = {.family = m->ifa_family, .prefix = m->ifa_prefixlen, .scope = m->ifa_scope};
	size_t len = m->ifa_family == AF_INET ? 4 : 16, left = IFA_PAYLOAD(h);
	bool found = false;

	if ((int)m->ifa_index != i->index || (m->ifa_family != AF_INET && m->ifa_family != AF_INET6) ||
	    m->ifa_scope != RT_SCOPE_UNIVERSE || !(m->ifa_flags & IFA_F_PERMANENT) ||
	    i->n == INTERFACE_ADDRESSES_MAX)
		return;
	for (const struct rtattr *r = IFA_RTA(m); RTA_OK(r, left); r = RTA_NEXT(r, left)) {
		if (RTA_PAYLOAD(r) < len)
			continue;
		/* IFA_LOCAL is the own one where IFA_ADDRESS is the peer's. */
		if (r->rta_type == IFA_LOCAL || (r->rta_type == IFA_ADDRESS && !found)) {
			memcpy(a.bytes, RTA_DATA(r), len);
			found = true;
		} else if (r->rta_type == IFA_BROADCAST && m->ifa_family == AF_INET) {
			memcpy(a.broadcast, RTA_DATA(r), 4);
			a.has_broadcast = true;
		}
	}
	if (found)
		i->addresses[i->n++] = a;
}

static int dump_addresses(Interface *i)
{
	const struct ifaddrmsg any = {.ifa_family = AF_UNSPEC};
	char buf[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
	_cleanup_close_ int fd = -1;
	Request q;

	begin(&q, RTM_GETADDR, NLM_F_DUMP, &any, sizeof(any));
	fd = open_socket(&q);
	if (fd < 0)
		return fd;
	for (;;) {
		int n = receive(fd, buf, sizeof(buf));

		if (n < 0)
			return n;
		for (const struct nlmsghdr *h = (const struct nlmsghdr *)buf; NLMSG_OK(h, (uint32_t)n);
		     h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (h->nlmsg_type == RTM_NEWADDR)
				take_address(h, i);
		}
	}
}

int interface_read(const char *name, Interface *ret, Err *e)
{
	int r;

	*ret = (Interface){.index = (int)if_nametoindex(name)};
	if (ret->index == 0)
		return err_new(e, ERR_NOT_FOUND, "no network interface %s on the host", name);
	r = dump_addresses(ret);
	return r < 0 ? err_sys(e, r, "read the addresses of network interface %s", name) : 0;
}

int interface_move(const Interface *i, int netns_fd, const char *name, Err *e)
{
	const struct ifinfomsg m = {.ifi_index = i->index};
	uint32_t fd = (uint32_t)netns_fd;
	Request q;
	int r;

	begin(&q, RTM_NEWLINK, 0, &m, sizeof(m));
	add(&q, IFLA_NET_NS_FD, &fd, sizeof(fd));
	add(&q, IFLA_IFNAME, name, strlen(name) + 1);
	r = ask(&q);
	if (r == -EEXIST)
		return err_new(e, ERR_CONFLICT, "there is an interface %s in the container already", name);
	return r < 0 ? err_sys(e, r, "move network interface %d into the container as %s", i->index, name)
		     : 0;
}

static int give_address(int index, const InterfaceAddress *a)
{
	const struct ifaddrmsg m = {.ifa_family = a->family,
				    .ifa_prefixlen = a->prefix,
				    .ifa_scope = a->scope,
				    .ifa_index = (uint32_t)index};
	size_t len = a->family == AF_INET ? 4 : 16;
	Request q;

	begin(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &m, sizeof(m));
	add(&q, IFA_LOCAL, a->bytes, len);
	add(&q, IFA_ADDRESS, a->bytes, len);
	if (a->has_broadcast)
		add(&q, IFA_BROADCAST, a->broadcast, 4);
	return ask(&q);
}

int interface_restore(const Interface *i, const char *name, Err *e)
{
	struct ifinfomsg m = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	Request q;
	int r;

	/* The number may be another one here, if it was taken. */
	m.ifi_index = (int)if_nametoindex(name);
	if (m.ifi_index == 0)
		return err_sys(e, errno, "find interface %s in the container", name);
	for (size_t k = 0; k < i->n; k++) {
		r = give_address(m.ifi_index, &i->addresses[k]);
		if (r < 0)
			return err_sys(e, r, "give interface %s its address again", name);
	}
	begin(&q, RTM_NEWLINK, 0, &m, sizeof(m));
	r = ask(&q);
	return r < 0 ? err_sys(e, r, "bring up interface %s", name) : 0;
}
