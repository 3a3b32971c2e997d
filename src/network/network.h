/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Container networks on Linux: namespaces, bridges, addresses, NAT and published ports.
 *
 * Everything is made over netlink and nftables from here; no program is run. State that must survive is
 * the caller's (the engine keeps it in the metadata DB); the kernel objects can be derived from it
 * and are made again when missing. One nftables table per daemon (`table`) holds all its rules.
 *
 * A network namespace is held by descriptor (and by the processes in it), never by a mount, so it cannot outlive its users.
 * Thread-safe: one NetworkHost may be used from any thread; it serialises what must be (rule updates, address choice).
 */
#pragma once

#include "base/err.h"

#include <netinet/in.h>

#define NETWORK_IFNAME 16 /* IFNAMSIZ */

typedef struct NetworkHost NetworkHost;

/* table: name of the nftables table, e.g. "ireko" (unique per daemon). Opens sockets only: makes nothing in the kernel yet. */
int network_host_new(const char *table, NetworkHost **ret, Err *e);
/* Frees memory and sockets; leaves the kernel objects, containers use them. */
void network_host_free(NetworkHost *h);
DEFINE_CLEANUP(NetworkHost *, network_host_free)

/* An IPv4 subnet and gateway of one bridge network. Addresses are in host byte order. */
typedef struct NetworkSubnet {
	uint32_t address; /* network address */
	uint8_t prefix;
	uint32_t gateway;
} NetworkSubnet;

int network_subnet_parse(const char *cidr, const char *gateway /* or NULL: first address */,
			 NetworkSubnet *ret, Err *e);
/* "172.18.0.0/16" and "172.18.0.1". Static storage in the value. */
typedef struct AddressText {
	char s[INET6_ADDRSTRLEN + 4];
} AddressText;
AddressText network_subnet_text(const NetworkSubnet *s);
AddressText network_address_text(uint32_t address);

/* The first free subnet out of Docker's default pools (172.17.0.0/16 ... 172.31.0.0/16, 192.168.0.0/20 ...), that neither
 * the host's routes and addresses (all tables) nor its resolvers nor `used` overlap. ERR_EXHAUSTED if none is left. */
int network_subnet_choose(NetworkHost *h, const NetworkSubnet *used, size_t n_used, NetworkSubnet *ret,
			  Err *e);
/* ERR_CONFLICT naming the route or network that overlaps. */
int network_subnet_check(NetworkHost *h, const NetworkSubnet *s, Err *e);

typedef struct NetworkBridge {
	char name[NETWORK_IFNAME];
	NetworkSubnet subnet;
	bool internal; /* no NAT, no way out */
	bool icc;      /* containers may talk to each other */
	uint32_t mtu;  /* 0: the default route's MTU */
} NetworkBridge;

/* Makes the bridge, its address, ip_forward, and the NAT and isolation rules, or finds them made. Idempotent and
 * cheap when nothing is missing. Errors say what is missing (CAP_NET_ADMIN, bridge module, nf_tables). */
int network_bridge_ensure(NetworkHost *h, const NetworkBridge *b, Err *e);
/* Removes the bridge and its rules; missing is success. When the last bridge goes the table goes too. */
int network_bridge_remove(NetworkHost *h, const char *name, Err *e);

/* A free address of the subnet: not in `used` (n sorted or unsorted), not network, gateway or broadcast. `want` 0: any, going round from the
 * last one given out, so that addresses are not reused at once. ERR_EXHAUSTED "subnet 10.0.0.0/29 has no free address left: ...", ERR_CONFLICT if `want` is taken. */
int network_address_choose(NetworkHost *h, const NetworkSubnet *s, const uint32_t *used, size_t n_used,
			   uint32_t want, uint32_t *ret, Err *e);

/* A new network namespace with lo up; the fd is all that keeps it. */
int network_namespace_new(int *ret_netns_fd, Err *e);

typedef struct NetworkEndpoint {
	char host_if
	    [NETWORK_IFNAME]; /* veth name on the host; unique: derived from the endpoint id by the caller */
	const char *container_if; /* "eth0" */
	const char *bridge;
	uint8_t mac[6]; /* all zero: derived from the address (02:42:a.b.c.d) and filled in */
	uint32_t address;
	uint8_t prefix;
	uint32_t gateway; /* default route, 0: none */
	uint32_t mtu;
} NetworkEndpoint;

/* Connects a namespace to a bridge: veth pair made with its peer inside, address, routes, up. Undone whole on failure. */
int network_endpoint_add(NetworkHost *h, int netns_fd, NetworkEndpoint *ep, Err *e);
/* Deletes the veth by its host name; missing is success (the namespace's death removes it too). */
int network_endpoint_remove(NetworkHost *h, const char *host_if, Err *e);

typedef struct NetworkPort {
	bool udp;              /* else tcp */
	uint32_t host_address; /* 0: every local address */
	uint16_t host_port;    /* 0: chosen and filled in */
	uint16_t container_port;
} NetworkPort;

/* Reserves host ports: binds (and for tcp listens on) a socket each, which keeps others from taking it while the fd is
 * open; fills host_port of those that are 0. ret_fds has n entries. All or nothing. ERR_CONFLICT "... port 8080/tcp is already in use by <process or 'another program'>: ...". */
int network_ports_reserve(NetworkPort *ports, size_t n, int *ret_fds, Err *e);
/* Forwards ports to `address` on `bridge`, for packets from outside, from the host itself, from localhost and from other containers
 * (hairpin). All or nothing, one transaction. */
int network_ports_publish(NetworkHost *h, const char *bridge, uint32_t address, const NetworkPort *ports,
			  size_t n, Err *e);
/* Missing entries are success. */
int network_ports_unpublish(NetworkHost *h, const char *bridge, uint32_t address, const NetworkPort *ports,
			    size_t n, Err *e);

/* Makes the kernel state equal to what the daemon knows after a crash: removes bridges of ours, veths and port entries that are not
 * listed. Bridges of ours are found by the interface alias "ireko:<table>". */
typedef struct NetworkKnown {
	const NetworkBridge *bridges;
	size_t n_bridges;
	const char *const *host_ifs;
	size_t n_host_ifs;
	const uint32_t *addresses; /* containers that may have port entries */
	size_t n_addresses;
} NetworkKnown;
int network_reconcile(NetworkHost *h, const NetworkKnown *known, Err *e);

/* Texts of the three files every container gets; malloc'ed. nameservers etc. NULL: taken from the host's resolv.conf, where
 * loopback resolvers (127.0.0.53) are replaced by the real ones (/run/systemd/resolve/resolv.conf) unless `host_mode`. */
int network_resolv_conf(char *const *nameservers, char *const *search, char *const *options, bool host_mode,
			char **ret, Err *e);
/* extra: "name:ip" as --add-host gives them ("host-gateway" already replaced). */
int network_hosts_file(const char *address /* or NULL */, const char *hostname, const char *domainname,
		       char *const *extra, char **ret, Err *e);
