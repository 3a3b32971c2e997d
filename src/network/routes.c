/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's routes: those of any routing table (a VPN's policy table counts as much as main; the local table has the host's own
 * addresses). Default routes overlap with everything and do not count.
 *
 * A network is made where no route is. A VPN that comes later brings its own, and nobody asks us: so the host's routes are watched, and a
 * network whose subnet one of them overlaps can be told, with the interface that the route leads to.
 */
#include "network/network-internal.h"

#include "base/fd.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>

void routes_done(Routes *r)
{
	free(r->v);
}

int routes_add(Routes *r, Route range)
{
	/* A power of two is full: double it. */
	if ((r->n & (r->n - 1)) == 0) {
		Route *v = realloc(r->v, MAX2(r->n * 2, (size_t)1) * sizeof(*v));

		if (!v)
			return -ENOMEM;
		r->v = v;
	}
	r->v[r->n++] = range;
	return 0;
}

static int take_route(const struct nlmsghdr *m, void *arg)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(m);
	Route range = {.range.prefix = header->rtm_dst_len};
	bool v4 = header->rtm_family == AF_INET;
	const struct nlattr *attr;

	/* Cached routes are copies of real ones, as flows use them. */
	if ((!v4 && header->rtm_family != AF_INET6) || header->rtm_flags & RTM_F_CLONED)
		return 0;
	/* VPNs split the default route in two halves to outrank it, and IPv6's unicast is 2000::/3: those are default routes all the same. */
	if (header->rtm_dst_len <= (v4 ? 1 : 3))
		return 0;
	mnl_attr_for_each(attr, m, sizeof(*header))
	{
		size_t n = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == RTA_DST && n == (v4 ? 4 : 16))
			range.range.address = ip_from_bytes(mnl_attr_get_payload(attr), n);
		else if (mnl_attr_get_type(attr) == RTA_OIF)
			range.oif = (int)mnl_attr_get_u32(attr);
	}
	return range.range.address ? routes_add(arg, range) : 0;
}

bool route_stands(const Route *r)
{
	char name[IFNAMSIZ];

	return r->oif <= 0 || if_indextoname((unsigned)r->oif, name);
}

int routes_list(NetworkHost *h, int family, Routes *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct rtmsg any = {.rtm_family = family == IP_V4 ? AF_INET : AF_INET6};

	netlink_msg_end(&b, netlink_msg(&b, RTM_GETROUTE, NLM_F_DUMP, &any, sizeof(any)));
	int r = netlink_ask(&h->route, &b, take_route, ret, e);

	if (r == -ENOMEM)
		return err_oom(e);
	return err_ctx(e, r, "list the host's routes");
}

/* ---- while the host runs ---- */

int network_routes_watch(int *ret, Err *e)
{
	struct mnl_socket *sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int fd;

	if (!sock)
		return err_sys(e, errno, "watch the host's routes");
	fd = fcntl(mnl_socket_get_fd(sock), F_DUPFD_CLOEXEC, 3);
	if (fd < 0 || mnl_socket_bind(sock, RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE, MNL_SOCKET_AUTOPID) < 0) {
		int no = errno;

		mnl_socket_close(sock);
		closep(&fd);
		return err_sys(e, no, "watch the host's routes");
	}
	mnl_socket_close(sock);
	*ret = fd;
	return 0;
}

static int take_destination(const struct nlattr *attr, void *arg)
{
	size_t n = mnl_attr_get_payload_len(attr);

	if (mnl_attr_get_type(attr) == RTA_DST && (n == 4 || n == 16))
		*(IpAddress *)arg = ip_from_bytes(mnl_attr_get_payload(attr), n);
	return MNL_CB_OK;
}

/* Every interface that comes up brings routes for multicast, for its link and for itself, and each container brings interfaces. */
static bool matters(const struct nlmsghdr *m)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(m);
	IpAddress to = 0;

	if ((m->nlmsg_type != RTM_NEWROUTE && m->nlmsg_type != RTM_DELROUTE) ||
	    mnl_nlmsg_get_payload_len(m) < sizeof(*header) || header->rtm_type == RTN_MULTICAST ||
	    header->rtm_type == RTN_ANYCAST || header->rtm_type == RTN_LOCAL ||
	    header->rtm_type == RTN_BROADCAST)
		return false;
	(void)mnl_attr_parse(m, sizeof(*header), take_destination, &to);
	return !ip_is_link_local(to);
}

/* What was lost when it came too fast (ENOBUFS) may have mattered. */
bool network_routes_changed(int fd)
{
	_Alignas(8) char buf[16384];
	bool changed = false;

	for (;;) {
		ssize_t got = recv(fd, buf, sizeof(buf), 0);
		const struct nlmsghdr *m = (const void *)buf;
		int left = (int)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return changed || errno == ENOBUFS;
		for (; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left))
			changed = changed || matters(m);
	}
}

/* A bridge's own routes are what its subnet is for. */
static const Route *stranger(const Routes *routes, const NetworkBridge *b, int family)
{
	unsigned own = if_nametoindex(b->name);

	for (size_t i = 0; i < routes->n; i++)
		if (network_subnet_overlap(&routes->v[i].range, &b->ip[family]) &&
		    (own == 0 || routes->v[i].oif != (int)own) && route_stands(&routes->v[i]))
			return &routes->v[i];
	return NULL;
}

int network_overlaps_find(NetworkHost *h, const NetworkBridge *bridges, size_t n, NetworkOverlap *ret, Err *e)
{
	memset(ret, 0, n * sizeof(*ret));
	for (int f = 0; f < IP_FAMILIES; f++) {
		_cleanup_(routes_done) Routes routes = {0};
		int r = routes_list(h, f, &routes, e);

		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++) {
			const Route *hit = bridges[i].ip[f].prefix && !ret[i].found
					       ? stranger(&routes, &bridges[i], f)
					       : NULL;

			if (!hit)
				continue;
			ret[i] =
			    (NetworkOverlap){.found = true, .subnet = bridges[i].ip[f], .route = hit->range};
			if (hit->oif <= 0 || !if_indextoname((unsigned)hit->oif, ret[i].interface))
				snprintf(ret[i].interface, sizeof(ret[i].interface), "#%d", hit->oif);
		}
	}
	return 0;
}
