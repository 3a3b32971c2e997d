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
#include "network/ip.h"

#define NETWORK_IFNAME 16 /* IFNAMSIZ */
/* Where the containers of user-defined networks ask for names. */
#define NETWORK_RESOLVER_ADDRESS "127.0.0.11"

typedef struct NetworkHost NetworkHost;

/* table: name of the nftables table, e.g. "ireko" (unique per daemon). Opens sockets only: makes nothing in the kernel yet. */
int network_host_new(const char *table, NetworkHost **ret, Err *e);
/* Frees memory and sockets; leaves the kernel objects, containers use them. */
void network_host_free(NetworkHost *h);
DEFINE_CLEANUP(NetworkHost *, network_host_free)

/* A subnet and its gateway, of either family. prefix 0: none. */
typedef struct NetworkSubnet {
	IpAddress address; /* network address */
	uint8_t prefix;    /* in the family's own bits */
	IpAddress gateway;
} NetworkSubnet;

int network_subnet_parse(const char *cidr, const char *gateway /* or NULL: first address */,
			 NetworkSubnet *ret, Err *e);
/* "172.18.5.1/16": the subnet that it lies in, with this address as the gateway; of a subnet's own first address, as network_subnet_parse. */
int network_gateway_parse(const char *cidr, NetworkSubnet *ret, Err *e);
/* "172.18.0.0/16", "fd00:1::/64". Static storage in the value. */
AddressText network_subnet_text(const NetworkSubnet *s);
bool network_subnet_contains(const NetworkSubnet *s, IpAddress a);

/* A part of a subnet, for its addresses only ("172.30.5.0/24"); ERR_INVALID if it is not within. */
int network_range_parse(const char *cidr, const NetworkSubnet *within, NetworkSubnet *ret, Err *e);
bool network_subnet_overlap(const NetworkSubnet *a, const NetworkSubnet *b);

/* Where subnets are chosen from, in place of Docker's default pools: each is cut into networks of prefix `size`. */
typedef struct NetworkAddressPool {
	NetworkSubnet base;
	uint8_t size;
} NetworkAddressPool;
int network_host_set_pools(NetworkHost *h, const NetworkAddressPool *pools, size_t n, Err *e);

/* The first free subnet of family IP_V4 or IP_V6 out of the pools that neither the host's routes and addresses (all tables) nor its
 * resolvers nor `used` overlap. is_default: for the network that containers get unasked, which alone may have the first of Docker's pools.
 * IPv6 ones are /64s of a unique local prefix (RFC 4193) that is this host's and this daemon's own. ERR_EXHAUSTED if none is left. */
int network_subnet_choose(NetworkHost *h, int family, bool is_default, const NetworkSubnet *used,
			  size_t n_used, NetworkSubnet *ret, Err *e);
/* ERR_CONFLICT naming the route or network that overlaps. */
int network_subnet_check(NetworkHost *h, const NetworkSubnet *s, Err *e);

/* What the host is to a network, in each family. */
typedef enum NetworkGateway {
	NETWORK_GATEWAY_NAT, /* what leaves takes the host's address; only published ports are reached */
	NETWORK_GATEWAY_UNPROTECTED, /* the same, and whoever has a route reaches every port at the container's own address */
	NETWORK_GATEWAY_ROUTED, /* addresses are kept; published ports are open at the container's own address */
	NETWORK_GATEWAY_ISOLATED, /* nothing: the bridge has no address (internal networks only) */
} NetworkGateway;

typedef struct NetworkBridge {
	char name[NETWORK_IFNAME];
	NetworkSubnet ip[IP_FAMILIES]; /* prefix 0: none of that family */
	NetworkGateway gateway[IP_FAMILIES];
	bool internal;   /* no NAT, no way out */
	bool icc;        /* containers may talk to each other */
	bool masquerade; /* what leaves takes the host's address */
	bool no_address; /* the bridge gets no IPv4 address: somebody else is the gateway */
	bool open;    /* published ports are open even if the host's own firewall drops what is forwarded */
	uint32_t mtu; /* 0: the default route's MTU */
} NetworkBridge;

/* Makes the bridge, its address, ip_forward, and the NAT and isolation rules, or finds them made. Idempotent and
 * cheap when nothing is missing; 1 if the interface was made. Errors say what is missing (CAP_NET_ADMIN, bridge module, nf_tables). */
int network_bridge_ensure(NetworkHost *h, const NetworkBridge *b, Err *e);
/* Removes the bridge and its rules; missing is success. When the last bridge goes the table goes too. */
int network_bridge_remove(NetworkHost *h, const char *name, Err *e);

/* Becomes readable when a route of the host comes or goes. */
int network_routes_watch(int *ret_fd, Err *e);
/* Reads all that there is to read; true if a route came or went. */
bool network_routes_changed(int fd);
/* A route of somebody else's where a network of ours is. */
typedef struct NetworkOverlap {
	bool found;
	NetworkSubnet subnet, route;
	char interface[NETWORK_IFNAME]; /* that the route leads to */
} NetworkOverlap;
/* One answer for each bridge, whether it has been made or not: of their routes, those that lead to themselves do not count. */
int network_overlaps_find(NetworkHost *h, const NetworkBridge *bridges, size_t n, NetworkOverlap *ret,
			  Err *e);

/* Addresses of one subnet. Thread-safe. `range` (or NULL: all of it) is where unasked ones come from. */
typedef struct NetworkPool NetworkPool;
int network_pool_new(const NetworkSubnet *s, const NetworkSubnet *range, NetworkPool **ret, Err *e);
void network_pool_free(NetworkPool *p);
DEFINE_CLEANUP(NetworkPool *, network_pool_free)
/* `want` 0: any that is not taken, nor network, gateway or broadcast, going round from the last one given, so that addresses are not reused
 * at once; ERR_EXHAUSTED "subnet 10.0.0.0/29 has no free address left: ...". A wanted one: ERR_DENIED "Address already in use: ..." if
 * taken, ERR_INVALID outside of the subnet. */
int network_pool_take(NetworkPool *p, IpAddress want, IpAddress *ret, Err *e);
/* One that is not taken is left alone. */
void network_pool_give(NetworkPool *p, IpAddress address);

/* A new network namespace with lo up, made while the caller does something else; the descriptor is all that keeps it. A job that was begun
 * must be ended; *ret_netns_fd is -1 on failure. alone: no interface will ever come into it. */
typedef struct NetworkNamespaceJob NetworkNamespaceJob;
int network_namespace_begin(bool alone, NetworkNamespaceJob **ret, Err *e);
int network_namespace_end(NetworkNamespaceJob *job, int *ret_netns_fd, Err *e);
/* A TCP connection to the port of 127.0.0.1, or else ::1, in a namespace (-1: ours). ERR_UNAVAILABLE if nobody answers there. */
int network_connect_local(int netns_fd, uint16_t port, int *ret_fd, Err *e);
/* One that somebody else made (with a user namespace of its own) is set up as if it came from there. */
int network_namespace_adopt(int netns_fd, Err *e);

/* One family of an endpoint. */
typedef struct NetworkEndpointIp {
	IpAddress address; /* 0: none of this family */
	uint8_t prefix;
	IpAddress gateway; /* default route, 0: none */
	bool direct;       /* the interface is the default route, without a gateway */
} NetworkEndpointIp;

/* An interface upon one of the host's, in place of a bridge's port (sublink.c). */
typedef struct NetworkSublink {
	const char *parent; /* "": one that leads nowhere, made on the endpoint's `bridge` */
	bool ipvlan;        /* else macvlan */
	uint32_t mode;      /* MACVLAN_MODE_*, IPVLAN_MODE_* */
	uint16_t flags;     /* IPVLAN_F_* */
} NetworkSublink;

typedef struct NetworkEndpoint {
	char host_if
	    [NETWORK_IFNAME]; /* veth name on the host; unique: derived from the endpoint id by the caller */
	const char *container_if; /* "eth0" */
	const char *bridge;
	const NetworkSublink *sub; /* or NULL. host_if, bridge and neighbours mean nothing then */
	unsigned
	    neighbours; /* how many are on the network already: more than a bridge has ports are spread over several */
	uint8_t mac[6]; /* all zero: derived from the address (02:42:a.b.c.d) and filled in */
	NetworkEndpointIp ip[IP_FAMILIES];
	uint32_t mtu;
	/* "net.ipv4.conf.IFNAME.log_martians=1": set in the namespace once the interface is there, IFNAME standing for its name. NULL: none */
	char *const *sysctls;
} NetworkEndpoint;

/* Connects a namespace to a bridge: veth pair made with its peer inside, address, routes, up. Undone whole on failure. */
int network_endpoint_add(NetworkHost *h, int netns_fd, NetworkEndpoint *ep, Err *e);
/* Of one "net.{ipv4,ipv6,mpls}.KIND.IFNAME.WORD=value": nothing that means another interface than the endpoint's own. */
int network_endpoint_sysctl_check(const char *sysctl, Err *e);
/* What the endpoint says is its default route becomes that of the namespace in that family, in place of the one it has; ip NULL: none. */
int network_default_route_set(int netns_fd, int family, const char *container_if, const NetworkEndpointIp *ip,
			      Err *e);
/* ERR_NOT_FOUND if the host has no such interface. */
int network_parent_check(NetworkHost *h, const char *parent, Err *e);
/* Of one that has no end on the host; missing is success. */
int network_interface_remove(int netns_fd, const char *container_if, Err *e);
/* Removes those of the kind whose names are not among `known` (NULL: none): what a crash has left. What the container made itself, upon an interface
 * of its own, stays. */
int network_interfaces_keep(int netns_fd, char *const *known, Err *e);
/* 1 if the veth of that host name is there. */
int network_endpoint_exists(NetworkHost *h, const char *host_if, Err *e);
/* Deletes the veth by its host name; missing is success (the namespace's death removes it too). */
int network_endpoint_remove(NetworkHost *h, const char *host_if, Err *e);

typedef struct NetworkPort {
	uint8_t protocol;        /* IPPROTO_TCP, _UDP, _SCTP */
	IpAddress host_address;  /* IP_V4_ANY, IP_V6_ANY: every local address of that family */
	uint16_t host_port;      /* 0: chosen and filled in */
	uint16_t host_port_last; /* beyond host_port: the first free one up to here is chosen and filled in */
	uint16_t container_port;
} NetworkPort;

/* Reserves host ports: binds (and for tcp listens on) a socket each, which keeps others from taking it while the fd is
 * open; fills host_port of those that are 0. ret_fds has n entries. All or nothing. ERR_CONFLICT "... port 8080/tcp is already in use by <process or 'another program'>: ...". */
int network_ports_reserve(NetworkPort *ports, size_t n, int *ret_fds, Err *e);
/* Copies of the sockets that reserve them, which another process (the shim) holds; -1 for those that it has not. */
int network_ports_take(pid_t pid, const NetworkPort *ports, size_t n, int *ret_fds, Err *e);
/* Whether that would succeed for one port of a known number at this moment; the same errors. Nobody can connect to it meanwhile. */
int network_port_probe(const NetworkPort *port, Err *e);
/* "tcp", "udp", "sctp". */
const char *network_protocol_name(uint8_t protocol);
/* Forwards ports to `address` on `bridge`, for packets from outside, from the host itself, from localhost and from other containers
 * (hairpin). All or nothing, one transaction. */
int network_ports_publish(NetworkHost *h, const char *bridge, IpAddress address, const NetworkPort *ports,
			  size_t n, Err *e);
/* Missing entries are success. */
int network_ports_unpublish(NetworkHost *h, const char *bridge, IpAddress address, const NetworkPort *ports,
			    size_t n, Err *e);

/* From one list to another in one transaction: what is in `fresh` alone is published, what is in `old` alone no longer is, and what both have is there
 * without a gap, made again if it is missing. Connections that are established go on, but for those of udp ports that changed. */
int network_ports_change(NetworkHost *h, const char *bridge, IpAddress address, const NetworkPort *old,
			 size_t n_old, const NetworkPort *fresh, size_t n_fresh, Err *e);
bool network_port_equal(const NetworkPort *a, const NetworkPort *b);

/* Makes the kernel state equal to what the daemon knows after a crash: removes bridges of ours, veths and port entries that are not
 * listed. Bridges of ours are found by the interface alias "ireko:<table>". */
typedef struct NetworkKnown {
	const NetworkBridge *bridges;
	size_t n_bridges;
	const char *const *host_ifs;
	size_t n_host_ifs;
	const IpAddress *addresses; /* containers that may have port entries */
	size_t n_addresses;
} NetworkKnown;
int network_reconcile(NetworkHost *h, const NetworkKnown *known, Err *e);
/* 1 if our rules are there, 0 if somebody has removed them, or an older version made them: bridges are then to be ensured and
 * ports published anew. */
int network_rules_present(NetworkHost *h, Err *e);

/* Rules of ours in other firewalls' chains (foreign.c) are kept by network_bridge_ensure() and _remove(). Between hold and sync they are left alone, so
 * that many bridges cost one look; sync also follows what others have changed, and returns how many chains it changed. */
void network_firewall_hold(NetworkHost *h);
int network_firewall_sync(NetworkHost *h, Err *e);
/* 1 if all rules of our table are there. */
int network_rules_whole(NetworkHost *h, Err *e);
/* Makes them anew, without any bridge and port: these are to be ensured and published then. */
int network_rules_remake(NetworkHost *h, Err *e);
/* What the user should know of the host's firewalls: a malloc'ed list of sentences, maybe empty. */
int network_firewall_warnings(NetworkHost *h, char ***ret, Err *e);

/* Tells when others change nftables. The descriptor becomes readable then; it goes with h. Our own changes do not wake it. */
typedef enum NetworkChange {
	NETWORK_CHANGE_OURS = 1 << 0,   /* in our table */
	NETWORK_CHANGE_OTHERS = 1 << 1, /* where rules of ours are, or have to be */
} NetworkChange;
int network_watch_open(NetworkHost *h, int *ret_fd, Err *e);
/* Takes what there is, without waiting; a mask of NetworkChange. ret_by (may be NULL): the program that did it last, "" if not known. */
#define NETWORK_PROGRAM 16 /* TASK_COMM_LEN */
unsigned network_watch_read(NetworkHost *h, char ret_by[NETWORK_PROGRAM]);

/* Texts of the three files every container gets; malloc'ed. nameservers etc. NULL: taken from the host's resolv.conf, where
 * loopback resolvers (127.0.0.53) are replaced by the real ones (/run/systemd/resolve/resolv.conf) unless `host_mode`. */
int network_resolv_conf(char *const *nameservers, char *const *search, char *const *options, bool host_mode,
			char **ret, Err *e);
/* The same where names are answered by us (resolver.h): our address as the only nameserver, "ndots:0" unless options say otherwise, and in
 * comments whom we ask in turn. */
int network_resolv_conf_internal(char *const *nameservers, char *const *search, char *const *options,
				 char **ret, Err *e);
/* addresses: the container's own (NULL: none). extra: "name:ip" as --add-host gives them ("host-gateway" already replaced). */
int network_hosts_file(char *const *addresses, const char *hostname, const char *domainname,
		       char *const *extra, char **ret, Err *e);
/* A hosts file with the lines of one address taken out (NULL: none) and those of another put in (NULL: none); all else stays as it is. */
int network_hosts_change(const char *text, const char *remove, const char *add, const char *hostname,
			 const char *domainname, char **ret, Err *e);
