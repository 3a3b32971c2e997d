/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports: a socket that keeps the host port from everybody else, and a map entry that forwards it.
 *
 * The socket never gets a packet while the entry is there (translation comes before sockets). tcp and sctp sockets have SO_REUSEADDR and
 * listen: that way connections of a server that has just ended do not block its port, while two listeners always
 * conflict (listen(2) fails). udp has no such state, and SO_REUSEADDR would let two programs share the port, so it is not set.
 * An IPv6 socket is for IPv6 alone (IPV6_V6ONLY), so that one port can be given away in both families, each by itself. A kernel without
 * sctp has nobody who could take such a port, and none is reserved.
 */
#include "network/network-internal.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>

#define EPHEMERAL_TRIES  16
#define SOCKET_TABLE_MAX (16 << 20)

const char *network_protocol_name(uint8_t protocol)
{
	return protocol == IPPROTO_UDP ? "udp" : protocol == IPPROTO_SCTP ? "sctp" : "tcp";
}

static const char *proto_name(const NetworkPort *p)
{
	return network_protocol_name(p->protocol);
}

/* The inode of the listening (tcp) or bound (udp) socket with that port in a /proc/net table, or 0. */
static uint64_t find_inode_in(const char *table, const NetworkPort *p)
{
	_cleanup_free_ char *text = NULL;
	char *line, *rest;

	if (file_read_at(AT_FDCWD, table, SOCKET_TABLE_MAX, &text, NULL) < 0)
		return 0;
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		unsigned port, state;
		unsigned long long inode;

		if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*u %*u %llu", &port, &state,
			   &inode) != 3)
			continue;
		if (port == p->host_port && (p->protocol == IPPROTO_UDP || state == 0x0A))
			return inode;
	}
	return 0;
}

static bool process_has_socket(int fds, const char *want)
{
	DIR *dir = fdopendir(fds);
	struct dirent *entry;
	bool found = false;

	if (!dir) {
		close(fds);
		return false;
	}
	while (!found && (entry = readdir(dir))) {
		char link[64];
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		if (n > 0) {
			link[n] = '\0';
			found = streq(link, want);
		}
	}
	closedir(dir);
	return found;
}

static bool find_process(uint64_t inode, char *ret, size_t room)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char want[64];
	bool found = false;

	snprintf(want, sizeof(want), "socket:[%llu]", (unsigned long long)inode);
	while (proc && !found && (entry = readdir(proc))) {
		_cleanup_free_ char *comm = NULL;
		char path[300];
		uint64_t pid;

		if (str_to_u64(entry->d_name, &pid) < 0)
			continue;
		snprintf(path, sizeof(path), "%s/fd", entry->d_name);
		int fds = openat(dirfd(proc), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fds < 0 || !process_has_socket(fds, want))
			continue;
		snprintf(path, sizeof(path), "%s/comm", entry->d_name);
		if (file_read_at(dirfd(proc), path, 64, &comm, NULL) >= 0)
			comm[strcspn(comm, "\n")] = '\0';
		snprintf(ret, room, "%s (pid %llu)", comm ? comm : "a process", (unsigned long long)pid);
		found = true;
	}
	if (proc)
		closedir(proc);
	return found;
}

/* For the message only: whoever it is, the port is taken. The tables of sctp have another form and are not read. */
static void name_holder(const NetworkPort *p, char *ret, size_t room)
{
	static const char *const tables[2][2] = {{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"},
						 {"/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"}};
	const char *const *of = tables[p->protocol == IPPROTO_UDP];
	uint64_t inode = 0;

	if (p->protocol != IPPROTO_SCTP)
		inode = find_inode_in(of[0], p);
	if (inode == 0 && p->protocol != IPPROTO_SCTP)
		inode = find_inode_in(of[1], p);
	if (inode == 0 || !find_process(inode, ret, room))
		snprintf(ret, room, "another program");
}

/* "port is already allocated" is what tools look for in Docker's message. */
static int bind_error(const NetworkPort *p, int no, Err *e)
{
	AddressPortText at = ip_port_text(p->host_address, p->host_port);
	char holder[128];

	switch (no) {
	case EADDRINUSE:
		name_holder(p, holder, sizeof(holder));
		return err_new(e, ERR_CONFLICT,
			       "Bind for %s failed: port is already allocated: port %u/%s is already in "
			       "use by %s: stop "
			       "it, or publish another host port",
			       at.s, p->host_port, proto_name(p), holder);
	case EADDRNOTAVAIL:
		return err_new(
		    e, ERR_INVALID,
		    "cannot publish port %u/%s on %s: the host has no such address: use one of \"ip addr\"",
		    p->host_port, proto_name(p), ip_text(p->host_address).s);
	default:
		return err_sys(e, no, "bind port %s/%s", at.s, proto_name(p));
	}
}

static int socket_for(const NetworkPort *p)
{
	int type = p->protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM, on = 1;
	int fd = socket(ip_af(p->host_address), type | SOCK_CLOEXEC, p->protocol);

	if (fd < 0)
		return -errno;
	if ((p->protocol != IPPROTO_UDP && p->host_port != 0 &&
	     setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0) ||
	    (!ip_is_v4(p->host_address) && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)) {
		int no = errno;

		close(fd);
		return -no;
	}
	return fd;
}

static uint16_t bound_port(const struct sockaddr_storage *at)
{
	return ntohs(at->ss_family == AF_INET ? ((const struct sockaddr_in *)at)->sin_port
					      : ((const struct sockaddr_in6 *)at)->sin6_port);
}

/* The socket, or -errno. */
static int bind_socket(NetworkPort *p)
{
	_cleanup_close_ int fd = socket_for(p);
	struct sockaddr_storage at;
	socklen_t len = ip_to_sockaddr(p->host_address, p->host_port, &at);

	if (fd < 0)
		return take_fd(&fd);
	if (bind(fd, (struct sockaddr *)&at, len) < 0)
		return -errno;
	if (p->protocol != IPPROTO_UDP && listen(fd, 1) < 0)
		return -errno;
	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return -errno;
	p->host_port = bound_port(&at);
	return take_fd(&fd);
}

/* A udp port has nothing like SO_REUSEADDR (see above): while one is tried, nobody of ours takes it. */
static pthread_mutex_t probing = PTHREAD_MUTEX_INITIALIZER;

int network_port_probe(const NetworkPort *p, Err *e)
{
	SCOPE_LOCK(&probing);
	_cleanup_close_ int fd = socket_for(p);
	struct sockaddr_storage at;
	socklen_t len = ip_to_sockaddr(p->host_address, p->host_port, &at);

	if (fd == -EPROTONOSUPPORT && p->protocol == IPPROTO_SCTP)
		return 0;
	if (fd < 0)
		return bind_error(p, -fd, e);
	return bind(fd, (struct sockaddr *)&at, len) < 0 ? bind_error(p, errno, e) : 0;
}

static bool same_but_family(const NetworkPort *a, const NetworkPort *b)
{
	return a->protocol == b->protocol && a->container_port == b->container_port &&
	       a->host_port == b->host_port && a->host_port_last == b->host_port_last &&
	       ip_is_any(a->host_address) && ip_is_any(b->host_address) &&
	       ip_af(a->host_address) != ip_af(b->host_address);
}

/* How many of the ports, from the first on, must have the same number: every address of both families is one choice. */
static size_t together(const NetworkPort *p, size_t n)
{
	return n > 1 && same_but_family(&p[0], &p[1]) ? 2 : 1;
}

/* All of them at one number; the descriptors of those that worked are closed again if one does not, which *ret_bad says. */
static int bind_together(NetworkPort *p, size_t n, uint16_t number, int *ret_fds, size_t *ret_bad)
{
	int r = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		p[i].host_port = i == 0 ? number : p[0].host_port;
		r = bind_socket(&p[i]);
		/* Nobody in this kernel speaks it, so nobody can have the port either. */
		if (r == -EPROTONOSUPPORT && p[i].protocol == IPPROTO_SCTP && p[i].host_port != 0)
			r = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (r < 0)
			break;
		ret_fds[i] = r;
	}
	if (r >= 0)
		return 0;
	*ret_bad = i;
	while (i-- > 0)
		close_fd(&ret_fds[i]);
	return r;
}

static int reserve_some(NetworkPort *p, size_t n, int *ret_fds, Err *e)
{
	int tries = p->host_port == 0 ? EPHEMERAL_TRIES : 1, r = -EADDRINUSE;
	uint16_t first = p->host_port;
	size_t bad = 0;

	if (first && p->host_port_last > first)
		tries = p->host_port_last - first + 1;
	for (int i = 0; r == -EADDRINUSE && i < tries; i++)
		r = bind_together(p, n, first ? (uint16_t)(first + i) : 0, ret_fds, &bad);
	return r < 0 ? bind_error(&p[bad], -r, e) : 0;
}

int network_ports_reserve(NetworkPort *ports, size_t n, int *ret_fds, Err *e)
{
	_cleanup_free_ NetworkPort *chosen = malloc((n + 1) * sizeof(*chosen));
	int r = 0;
	size_t i;

	if (!chosen)
		return err_oom(e);
	memcpy(chosen, ports, n * sizeof(*ports));
	SCOPE_LOCK(&probing);
	for (i = 0; i < n; i += together(&ports[i], n - i)) {
		r = reserve_some(&chosen[i], together(&ports[i], n - i), &ret_fds[i], e);
		if (r < 0)
			break;
	}
	if (r < 0) {
		while (i-- > 0)
			close_fd(&ret_fds[i]);
		return r;
	}
	memcpy(ports, chosen, n * sizeof(*ports));
	return 0;
}

static int publish_error(NetworkHost *h, const NetworkPort *p, int r, Err *e)
{
	Element el = firewall_port_element(p, 0);

	if (r == -ENOENT)
		return err_new(e, ERR_NOT_FOUND, "nftables table inet %s is gone: make the network again",
			       h->table);
	if ((r == -EEXIST || r == -EBUSY) && element_get(&h->filter, h->table, &el, NULL) == 1)
		return err_new(
		    e, ERR_CONFLICT,
		    "Bind for %s failed: port is already allocated: port %u/%s is already in use by the "
		    "container with address %s: stop it, or publish another host port",
		    ip_port_text(p->host_address, p->host_port).s, p->host_port, proto_name(p),
		    ip_text(ip_from_bytes(el.data, el.data_len > 8 ? 16 : 4)).s);
	return err_ctx(e, r, "publish port %u/%s", p->host_port, proto_name(p));
}

static bool any_udp(const NetworkPort *ports, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ports[i].protocol == IPPROTO_UDP)
			return true;
	return false;
}

static int check_ports(const NetworkPort *ports, size_t n, IpAddress address, bool routed, Err *e)
{
	for (size_t i = 0; i < n; i++) {
		if ((ports[i].host_port == 0 && !routed) || ports[i].container_port == 0 || address == 0)
			return err_new(e, ERR_INVALID, "publish port %u to %s: 0 is not allowed here",
				       ports[i].host_port, ip_port_text(address, ports[i].container_port).s);
		if (ip_af(ports[i].host_address) != ip_af(address))
			return err_new(e, ERR_INVALID,
				       "publish %s to %s: the kernel cannot translate between families",
				       ip_text(ports[i].host_address).s, ip_text(address).s);
	}
	return 0;
}

/* 1: open at their own address; 0: translated; an error if the bridge has no rules. */
static int is_routed(NetworkHost *h, const char *bridge, IpAddress address, Err *e)
{
	Element known = firewall_bridge_element(bridge);
	int r = element_get(&h->filter, h->table, &known, e);

	if (r == 0)
		return err_new(e, ERR_NOT_FOUND, "bridge %s has no rules: make the network again", bridge);
	return r < 0 ? r : firewall_bridge_routed(h, bridge, ip_index(address), e);
}

/* Two host ports may lead to one port of the container, which is open once. */
static bool is_open_twice(const NetworkPort *ports, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (ports[k].protocol == ports[i].protocol &&
		    ports[k].container_port == ports[i].container_port)
			return true;
	return false;
}

/* The entry of a translated port goes only if it is still this container's: somebody else may have the port by now. */
static int put_withdrawal(NetworkHost *h, NetlinkBatch *b, const NetworkPort *p, IpAddress address,
			  bool routed, Err *e)
{
	Element ours = routed ? firewall_open_element(p, address) : firewall_port_element(p, address),
		now = ours;
	int r = element_get(&h->filter, h->table, &now, e);

	if (r == 1 && memcmp(now.data, ours.data, sizeof(now.data)) == 0)
		element_remove(b, h->table, &ours);
	return r;
}

/* The host lock is held. */
static int withdraw(NetworkHost *h, IpAddress address, const NetworkPort *ports, size_t n, bool routed,
		    Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	int r = 0;

	element_begin(&b);
	for (size_t i = 0; r >= 0 && i < n; i++)
		if (!routed || !is_open_twice(ports, i))
			r = put_withdrawal(h, &b, &ports[i], address, routed, e);
	return r < 0 ? r : element_commit(&h->filter, &b, NULL, e);
}

int network_ports_publish(NetworkHost *h, const char *bridge, IpAddress address, const NetworkPort *ports,
			  size_t n, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	size_t bad = 0;
	int r, routed;

	if (n == 0)
		return 0;
	SCOPE_LOCK(&h->lock);
	r = routed = is_routed(h, bridge, address, e);
	if (r >= 0)
		r = check_ports(ports, n, address, routed, e);
	if (r < 0)
		return err_ctx(e, r, "publish ports");
	element_begin(&b);
	for (size_t i = 0; i < n; i++) {
		Element el = routed ? firewall_open_element(&ports[i], address)
				    : firewall_port_element(&ports[i], address);

		element_add(&b, h->table, &el);
	}
	r = element_commit(&h->filter, &b, &bad, e);
	if (r < 0)
		return publish_error(h, &ports[MIN2(bad, n - 1)], r, e);
	r = any_udp(ports, n) ? conntrack_forget_udp(&h->filter, ports, n, 0, e) : 0;
	/* Best effort: the failure to tell is the first one. */
	if (r < 0)
		(void)withdraw(h, address, ports, n, routed, NULL);
	return r;
}

int network_ports_unpublish(NetworkHost *h, const char *bridge, IpAddress address, const NetworkPort *ports,
			    size_t n, Err *e)
{
	int r;

	if (n == 0)
		return 0;
	SCOPE_LOCK(&h->lock);
	r = firewall_bridge_routed(h, bridge, ip_index(address), e);
	if (r >= 0)
		r = withdraw(h, address, ports, n, r, e);
	if (r < 0)
		return err_ctx(e, r, "unpublish ports of %s on bridge %s", ip_text(address).s, bridge);
	return any_udp(ports, n) ? conntrack_forget_udp(&h->filter, NULL, 0, address, e) : 0;
}

bool network_port_equal(const NetworkPort *a, const NetworkPort *b)
{
	return a->protocol == b->protocol && a->host_address == b->host_address &&
	       a->host_port == b->host_port && a->container_port == b->container_port;
}

static bool is_in(const NetworkPort *list, size_t n, const NetworkPort *p)
{
	for (size_t i = 0; i < n; i++)
		if (network_port_equal(&list[i], p))
			return true;
	return false;
}

/* What is in the one list and not in the other. */
static size_t ports_without(const NetworkPort *list, size_t n, const NetworkPort *other, size_t n_other,
			    NetworkPort *ret)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		if (!is_in(other, n_other, &list[i]))
			ret[found++] = list[i];
	return found;
}

/* Removals come first: a host port may lead to another port of the container afterwards, and in a routed network two of them to one. */
static int put_change(NetworkHost *h, NetlinkBatch *b, IpAddress address, bool routed,
		      const NetworkPort *gone, size_t n_gone, const NetworkPort *fresh, size_t n_fresh,
		      size_t *ret_removals, Err *e)
{
	int r = 0;

	element_begin(b);
	for (size_t i = 0; r >= 0 && i < n_gone; i++)
		if (!routed || !is_open_twice(gone, i))
			r = put_withdrawal(h, b, &gone[i], address, routed, e);
	*ret_removals = b->n - 1;
	for (size_t i = 0; r >= 0 && i < n_fresh; i++) {
		Element el = routed ? firewall_open_element(&fresh[i], address)
				    : firewall_port_element(&fresh[i], address);

		element_add(b, h->table, &el);
	}
	return r;
}

int network_ports_change(NetworkHost *h, const char *bridge, IpAddress address, const NetworkPort *old,
			 size_t n_old, const NetworkPort *fresh, size_t n_fresh, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	_cleanup_free_ NetworkPort *changed = calloc(n_old + n_fresh + 1, sizeof(*changed));
	size_t gone, n, bad = 0, removals = 0;
	int r, routed;

	if (!changed)
		return err_oom(e);
	gone = ports_without(old, n_old, fresh, n_fresh, changed);
	n = gone + ports_without(fresh, n_fresh, old, n_old, changed + gone);
	SCOPE_LOCK(&h->lock);
	r = routed = is_routed(h, bridge, address, e);
	if (r >= 0)
		r = check_ports(fresh, n_fresh, address, routed, e);
	if (r >= 0)
		r = put_change(h, &b, address, routed, changed, gone, fresh, n_fresh, &removals, e);
	if (r < 0)
		return err_ctx(e, r, "change ports");
	r = element_commit(&h->filter, &b, &bad, e);
	if (r < 0 && n_fresh > 0 && bad >= removals)
		return publish_error(h, &fresh[MIN2(bad - removals, n_fresh - 1)], r, e);
	if (r < 0)
		return err_ctx(e, r, "unpublish ports of %s on bridge %s", ip_text(address).s, bridge);
	return any_udp(changed, n) ? conntrack_forget_udp(&h->filter, changed, n, 0, e) : 0;
}
