/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports: a socket that keeps the host port from everybody else, and a map entry that forwards it.
 *
 * The socket never gets a packet while the entry is there (translation comes before sockets). tcp sockets have SO_REUSEADDR and
 * listen: that way connections of a server that has just ended do not block its port, while two listeners always
 * conflict (listen(2) fails). udp has no such state, and SO_REUSEADDR would let two programs share the port, so it is not set.
 */
#include "network/network-internal.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>

#define EPHEMERAL_TRIES  16
#define SOCKET_TABLE_MAX (16 << 20)

static const char *proto_name(const NetworkPort *p)
{
	return p->udp ? "udp" : "tcp";
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
		if (port == p->host_port && (p->udp || state == 0x0A))
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

/* For the message only: whoever it is, the port is taken. */
static void name_holder(const NetworkPort *p, char *ret, size_t room)
{
	uint64_t inode = find_inode_in(p->udp ? "/proc/thread-self/net/udp" : "/proc/thread-self/net/tcp", p);

	if (inode == 0)
		inode =
		    find_inode_in(p->udp ? "/proc/thread-self/net/udp6" : "/proc/thread-self/net/tcp6", p);
	if (inode == 0 || !find_process(inode, ret, room))
		snprintf(ret, room, "another program");
}

/* "port is already allocated" is what tools look for in Docker's message. */
static int bind_error(const NetworkPort *p, int no, Err *e)
{
	AddressText at = network_address_text(p->host_address);
	char holder[128];

	switch (no) {
	case EADDRINUSE:
		name_holder(p, holder, sizeof(holder));
		return err_new(e, ERR_CONFLICT,
			       "Bind for %s:%u failed: port is already allocated: port %u/%s is already in "
			       "use by %s: stop "
			       "it, or publish another host port",
			       at.s, p->host_port, p->host_port, proto_name(p), holder);
	case EADDRNOTAVAIL:
		return err_new(
		    e, ERR_INVALID,
		    "cannot publish port %u/%s on %s: the host has no such address: use one of \"ip addr\"",
		    p->host_port, proto_name(p), at.s);
	default:
		return err_sys(e, no, "bind port %s:%u/%s", at.s, p->host_port, proto_name(p));
	}
}

/* The socket, or -errno. */
static int bind_socket(NetworkPort *p)
{
	_cleanup_close_ int fd = socket(AF_INET, (p->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t len = sizeof(at);
	int on = 1;

	if (fd < 0)
		return -errno;
	at.sin_port = htons(p->host_port);
	at.sin_addr.s_addr = htonl(p->host_address);
	if (!p->udp && p->host_port != 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return -errno;
	if (!p->udp && listen(fd, 1) < 0)
		return -errno;
	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return -errno;
	p->host_port = ntohs(at.sin_port);
	return take_fd(&fd);
}

static int reserve_one(NetworkPort *p, int *ret, Err *e)
{
	int tries = p->host_port == 0 ? EPHEMERAL_TRIES : 1, r = -EADDRINUSE;
	uint16_t first = p->host_port;

	if (first && p->host_port_last > first)
		tries = p->host_port_last - first + 1;
	for (int i = 0; r == -EADDRINUSE && i < tries; i++) {
		p->host_port = first ? (uint16_t)(first + i) : 0;
		r = bind_socket(p);
	}
	if (r < 0)
		return bind_error(p, -r, e);
	*ret = r;
	return 0;
}

int network_ports_reserve(NetworkPort *ports, size_t n, int *ret_fds, Err *e)
{
	_cleanup_free_ NetworkPort *chosen = malloc((n + 1) * sizeof(*chosen));
	int r = 0;
	size_t i;

	if (!chosen)
		return err_oom(e);
	memcpy(chosen, ports, n * sizeof(*ports));
	for (i = 0; i < n; i++) {
		r = reserve_one(&chosen[i], &ret_fds[i], e);
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
		return err_new(e, ERR_NOT_FOUND, "nftables table ip %s is gone: make the network again",
			       h->table);
	if ((r == -EEXIST || r == -EBUSY) && element_get(&h->filter, h->table, &el, NULL) == 1) {
		uint32_t other;

		memcpy(&other, el.data, sizeof(other));
		return err_new(
		    e, ERR_CONFLICT,
		    "Bind for %s:%u failed: port is already allocated: port %u/%s is already in use by the "
		    "container with address %s: stop it, or publish another host port",
		    network_address_text(p->host_address).s, p->host_port, p->host_port, proto_name(p),
		    network_address_text(ntohl(other)).s);
	}
	return err_ctx(e, r, "publish port %u/%s", p->host_port, proto_name(p));
}

static bool any_udp(const NetworkPort *ports, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ports[i].udp)
			return true;
	return false;
}

int network_ports_publish(NetworkHost *h, const char *bridge, uint32_t address, const NetworkPort *ports,
			  size_t n, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	Element known = firewall_bridge_element(bridge);
	size_t bad = 0;
	int r;

	if (n == 0)
		return 0;
	SCOPE_LOCK(&h->lock);
	r = element_get(&h->filter, h->table, &known, e);
	if (r == 0)
		r = err_new(e, ERR_NOT_FOUND, "bridge %s has no rules: make the network again", bridge);
	if (r < 0)
		return err_ctx(e, r, "publish ports");
	element_begin(&b);
	for (size_t i = 0; i < n; i++) {
		Element el = firewall_port_element(&ports[i], address);

		if (ports[i].host_port == 0 || ports[i].container_port == 0 || address == 0)
			return err_new(e, ERR_INVALID, "publish port %u to %s:%u: 0 is not allowed here",
				       ports[i].host_port, network_address_text(address).s,
				       ports[i].container_port);
		element_add(&b, h->table, &el);
	}
	r = element_commit(&h->filter, &b, &bad, e);
	if (r < 0)
		return publish_error(h, &ports[MIN2(bad, n - 1)], r, e);
	return any_udp(ports, n) ? conntrack_forget_udp(&h->filter, ports, n, 0, e) : 0;
}

int network_ports_unpublish(NetworkHost *h, const char *bridge, uint32_t address, const NetworkPort *ports,
			    size_t n, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	int r;

	if (n == 0)
		return 0;
	SCOPE_LOCK(&h->lock);
	element_begin(&b);
	for (size_t i = 0; i < n; i++) {
		Element now = firewall_port_element(&ports[i], 0),
			ours = firewall_port_element(&ports[i], address);

		r = element_get(&h->filter, h->table, &now, e);
		if (r < 0)
			return err_ctx(e, r, "unpublish ports");
		/* Somebody else may have the port by now. */
		if (r == 1 && memcmp(now.data, ours.data, sizeof(now.data)) == 0)
			element_remove(&b, h->table, &now);
	}
	r = element_commit(&h->filter, &b, NULL, e);
	if (r < 0)
		return err_ctx(e, r, "unpublish ports of %s on bridge %s", network_address_text(address).s,
			       bridge);
	return any_udp(ports, n) ? conntrack_forget_udp(&h->filter, NULL, 0, address, e) : 0;
}
