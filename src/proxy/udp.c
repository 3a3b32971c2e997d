/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams, in batches: from the socket of a port to that of the client that sent them, and back.
 *
 * An answer leaves from the address that the client had sent to, which a host with several has to be told. What cannot be sent at once
 * is dropped, as a network would.
 */
#include "proxy/proxy-internal.h"

#include <netinet/udp.h>
#include <sys/mman.h>

#define BATCH        32
#define DATAGRAM_MAX 65536
#define SEGMENTS_MAX 65000 /* what one datagram may have, less headers */

typedef union Ancillary {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
} Ancillary;

/* One batch at a time. Its pages go back to the kernel when the last client has gone. */
static char data[BATCH][DATAGRAM_MAX] __attribute__((aligned(4096)));
static struct iovec iov[BATCH];
static struct mmsghdr messages[BATCH];
static struct sockaddr_storage peers[BATCH];
static Ancillary infos[BATCH];

void udp_rest(void)
{
	(void)madvise(data, sizeof(data), MADV_DONTNEED);
}

int udp_prepare(Port *p, Err *e)
{
	bool v6 = p->family == AF_INET6;
	int on = 1;

	if (setsockopt(p->source.fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, &on,
		       sizeof(on)) < 0)
		return err_sys(e, errno, "port %s: ask for the addresses of datagrams", p->info.key);
	return 0;
}

/* How many came; 0 if none, or an error, which is gone by having been told. */
static int receive(int fd, bool from_port)
{
	int n;

	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){data[i], DATAGRAM_MAX};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov[i], .msg_iovlen = 1}};
		if (!from_port)
			continue;
		messages[i].msg_hdr.msg_name = &peers[i];
		messages[i].msg_hdr.msg_namelen = sizeof(peers[i]);
		messages[i].msg_hdr.msg_control = &infos[i];
		messages[i].msg_hdr.msg_controllen = sizeof(infos[i]);
	}
	n = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++)
		iov[i].iov_len = messages[i].msg_len;
	return n < 0 ? 0 : n;
}

/* How many, from the first on, have one length, of which the last may fall short: the kernel takes them as one and cuts it (UDP_SEGMENT),
 * which is most of what sending costs. */
static int together(int first, int n)
{
	size_t len = iov[first].iov_len, sum = len;
	int k = 1;

	while (len > 0 && k < n && iov[first + k - 1].iov_len == len && iov[first + k].iov_len > 0 &&
	       iov[first + k].iov_len <= len && (sum += iov[first + k].iov_len) <= SEGMENTS_MAX)
		k++;
	return k;
}

static void put_ancillary(struct msghdr *m, Ancillary *c, int level, int type, const void *value, size_t len)
{
	struct cmsghdr *h = (struct cmsghdr *)(c->space + m->msg_controllen);

	m->msg_control = c;
	m->msg_controllen += CMSG_SPACE(len);
	*h = (struct cmsghdr){.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(len)};
	memcpy(CMSG_DATA(h), value, len);
}

/* 0 or -errno. */
static int send_some(int fd, const struct msghdr *to, int first, int n)
{
	Ancillary own = {0};
	struct msghdr m = *to;
	uint16_t len = (uint16_t)iov[first].iov_len;

	m.msg_iov = &iov[first];
	m.msg_iovlen = (size_t)n;
	if (m.msg_controllen > 0)
		memcpy(&own, m.msg_control, m.msg_controllen);
	if (m.msg_controllen > 0)
		m.msg_control = &own;
	if (n > 1)
		put_ancillary(&m, &own, IPPROTO_UDP, UDP_SEGMENT, &len, sizeof(len));
	return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* A call may tell what became of an earlier datagram, and sends nothing then; and what does not fit a packet cannot be cut from more. */
static int send_surely(int fd, const struct msghdr *to, int first, int n)
{
	int r = send_some(fd, to, first, n);

	if (r == -ECONNREFUSED)
		r = send_some(fd, to, first, n);
	for (int i = 0; n > 1 && r < 0 && r != -EAGAIN && i < n; i++)
		(void)send_some(fd, to, first + i, 1);
	return r;
}

static void send_all(int fd, const struct msghdr *to, int first, int n)
{
	while (n > 0) {
		int k = together(first, n);

		if (send_surely(fd, to, first, k) == -EAGAIN)
			return;
		first += k;
		n -= k;
	}
}

static struct in6_addr mapped(struct in_addr a)
{
	struct in6_addr r = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	memcpy(r.s6_addr + 12, &a, sizeof(a));
	return r;
}

static void local_address(struct msghdr *m, UdpAddress *a)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		struct in6_pktinfo v6;
		struct in_pktinfo v4;

		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			memcpy(&v6, CMSG_DATA(c), sizeof(v6));
			/* Nothing can be sent from a multicast address. */
			if (!IN6_IS_ADDR_MULTICAST(&v6.ipi6_addr))
				a->local = v6.ipi6_addr;
			if (IN6_IS_ADDR_LINKLOCAL(&v6.ipi6_addr))
				a->ifindex = v6.ipi6_ifindex;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			memcpy(&v4, CMSG_DATA(c), sizeof(v4));
			a->local = mapped(v4.ipi_spec_dst);
		}
	}
}

static UdpAddress address_of(struct msghdr *m)
{
	const struct sockaddr_in6 *from6 = m->msg_name;
	const struct sockaddr_in *from4 = m->msg_name;
	UdpAddress a = {0};

	a.port = from4->sin_port; /* at the same place in both families */
	if (from4->sin_family == AF_INET) {
		a.peer = mapped(from4->sin_addr);
	} else {
		a.peer = from6->sin6_addr;
		a.scope = from6->sin6_scope_id;
	}
	local_address(m, &a);
	return a;
}

/* From its socket, which is connected. */
static void hand_on(Server *s, UdpClient *c, int first, int n)
{
	const struct msghdr there = {0};

	udp_client_touch(s, c);
	send_all(c->source.fd, &there, first, n);
}

void udp_receive(Server *s, Source *src, uint32_t events _unused_)
{
	Port *p = (Port *)((char *)src - offsetof(Port, source));
	int n = receive(src->fd, true);
	UdpAddress now, next;

	if (n > 0)
		now = address_of(&messages[0].msg_hdr);
	for (int i = 0, run; i < n; i += run, now = next) {
		UdpClient *c = udp_client_get(s, p, &now);

		for (run = 1; i + run < n; run++) {
			next = address_of(&messages[i + run].msg_hdr);
			if (memcmp(&now, &next, sizeof(now)) != 0)
				break;
		}
		if (c)
			hand_on(s, c, i, run);
	}
}

static socklen_t peer_address(const UdpClient *c, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *to6 = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *to4 = (struct sockaddr_in *)ret;

	memset(ret, 0, sizeof(*ret));
	if (c->port->family == AF_INET) {
		to4->sin_family = AF_INET;
		to4->sin_port = c->address.port;
		memcpy(&to4->sin_addr, c->address.peer.s6_addr + 12, sizeof(to4->sin_addr));
		return sizeof(*to4);
	}
	to6->sin6_family = AF_INET6;
	to6->sin6_port = c->address.port;
	to6->sin6_addr = c->address.peer;
	to6->sin6_scope_id = c->address.scope;
	return sizeof(*to6);
}

/* The address to send from, if it is known; else the kernel chooses. */
static void put_source(const UdpClient *c, struct msghdr *m, Ancillary *own)
{
	const struct in6_pktinfo v6 = {.ipi6_addr = c->address.local, .ipi6_ifindex = c->address.ifindex};
	struct in_pktinfo v4 = {0};

	if (IN6_IS_ADDR_UNSPECIFIED(&c->address.local))
		return;
	memcpy(&v4.ipi_spec_dst, c->address.local.s6_addr + 12, sizeof(v4.ipi_spec_dst));
	if (c->port->family == AF_INET6)
		put_ancillary(m, own, IPPROTO_IPV6, IPV6_PKTINFO, &v6, sizeof(v6));
	else
		put_ancillary(m, own, IPPROTO_IP, IP_PKTINFO, &v4, sizeof(v4));
}

void udp_answer(Server *s, Source *src, uint32_t events _unused_)
{
	UdpClient *c = (UdpClient *)((char *)src - offsetof(UdpClient, source));
	int n = receive(src->fd, false);
	struct sockaddr_storage peer;
	Ancillary own = {0};
	struct msghdr to = {.msg_name = &peer, .msg_namelen = peer_address(c, &peer)};

	put_source(c, &to, &own);
	if (n > 0)
		udp_client_touch(s, c);
	send_all(c->port->source.fd, &to, 0, n);
}
