/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this floor share. The lock order is: host lock, then the lock inside a Netlink. */
#pragma once

#include "network/netlink.h"
#include "network/network.h"

/* The bridge that had room last, in a network of more containers than one bridge has ports (shard.c). */
typedef struct ShardRoom {
	int root; /* index of the network's first bridge */
	LinkInfo bridge;
	unsigned room;
} ShardRoom;

struct NetworkHost {
	char table[64];
	pthread_mutex_t lock; /* the rule table */
	Netlink route;
	Netlink filter;
	ShardRoom shard_room;      /* under lock */
	NetworkAddressPool *pools; /* NULL: the default ones */
	size_t n_pools;
	/* foreign.c, under `lock` */
	bool foreign_held;      /* network_firewall_hold() */
	bool ports_closed;      /* a firewall of the host drops what nobody lets in, published ports too */
	char **foreign_trouble; /* why some chains of others could not be changed */
	char **forward_tables;  /* of others that have a chain at the hook `forward` */
	struct NetworkWatch *watch; /* nft-watch.c; NULL: none */
};

static inline void mutex_unlockp(pthread_mutex_t **m)
{
	pthread_mutex_unlock(*m);
}
/* Holds the mutex to the end of the scope. */
#define SCOPE_LOCK(m) _cleanup_(mutex_unlockp) _unused_ pthread_mutex_t *_held = (pthread_mutex_lock(m), (m))

/* Of addresses of the same family as `like`. */
static inline IpAddress ip_mask(IpAddress like, uint8_t prefix)
{
	unsigned rest = ip_bits(like) - prefix;

	return rest >= 128 ? 0 : ~(IpAddress)0 << rest;
}
/* The last address: of IPv4, broadcast. */
static inline IpAddress subnet_last(const NetworkSubnet *s)
{
	return s->address | ~ip_mask(s->address, s->prefix);
}
/* routes.c: ranges in use, with the interface for the message. */
typedef struct Route {
	NetworkSubnet range;
	int oif;
} Route;
typedef struct Routes {
	Route *v;
	size_t n;
} Routes;
void routes_done(Routes *r);
int routes_add(Routes *r, Route one);
/* All of a family, but default ones. */
int routes_list(NetworkHost *h, int family, Routes *ret, Err *e);
/* Not one of an interface that is gone: the kernel takes those away a moment later than the interface. */
bool route_stands(const Route *r);

/* The alias that marks our bridges. */
#define BRIDGE_ALIAS_PREFIX "ireko:"
bool bridge_is_ours(const NetworkHost *h, const LinkInfo *link);
/* 02:42 and the last four bytes of the address. */
void mac_derive(IpAddress address, uint8_t ret[6]);
/* Deletes a link; a missing one is success. */
int link_delete(Netlink *nl, const char *name, Err *e);
/* The same of one that was found, without waiting until the kernel has tidied up behind it (link-remove.c). */
int link_remove(const LinkInfo *link, Err *e);
/* malloc'ed copies of the nameserver addresses that the host's containers would use; "" lines never. */
int resolv_host_nameservers(char ***ret, Err *e);
/* Those that the host itself asks, its loopback ones and IPv6 included, and how it asks them. */
int resolv_host_own(char ***ret_nameservers, char ***ret_options, Err *e);

/* element.c: single elements of sets and maps of our table, without libnftables. */
#define ELEMENT_KEY_MAX  32
#define ELEMENT_DATA_MAX 20
typedef struct Element {
	const char *set;
	uint8_t key[ELEMENT_KEY_MAX];
	size_t key_len;
	uint8_t data[ELEMENT_DATA_MAX]; /* maps only */
	size_t data_len;
} Element;

/* A message to nftables about what is of a family (NFPROTO_*), and a value in one (NFTA_DATA_VALUE in a nest of that type). */
struct nlmsghdr *nft_msg(NetlinkBatch *b, uint8_t family, int type, uint16_t flags);
void nft_put_value(struct nlmsghdr *m, uint16_t type, const void *value, size_t len);
void element_begin(NetlinkBatch *b);
/* The kernel refuses the transaction with ERESTART if the rule set has changed since it was of that generation. */
void element_begin_at(NetlinkBatch *b, uint32_t generation);
void element_add(NetlinkBatch *b, const char *table, const Element *el);
void element_remove(NetlinkBatch *b, const char *table, const Element *el);
void element_table_remove(NetlinkBatch *b, const char *table);
/* Closes and sends the transaction. *ret_bad counts the elements from 0. A transaction without elements is not sent. */
int element_commit(Netlink *nl, NetlinkBatch *b, size_t *ret_bad, Err *e);
/* 1 and, for maps, el->data filled in; 0 if the element, the set or the table is missing. */
int element_get(Netlink *nl, const char *table, Element *el, Err *e);
int element_set_exists(Netlink *nl, const char *table, const char *set, Err *e);
typedef int (*ElementFn)(const Element *el, void *arg);
/* A missing table is an empty one. */
int element_list(Netlink *nl, const char *table, const char *set, ElementFn fn, void *arg, Err *e);

/* shard.c: the bridge of a network that has a port free for one more, with `neighbours` on the network already: `root`, or another that
 * is joined to it, and made if need be. */
int shard_choose(NetworkHost *h, const LinkInfo *root, unsigned neighbours, bool isolated, LinkInfo *ret,
		 Err *e);
/* The interface that stands for the parent of a network of macvlan or ipvlan that has none: the end of a pair whose other end is on a bridge that
 * leads nowhere, which gives it a carrier. Made if it is missing. */
int island_parent(NetworkHost *h, const char *bridge, LinkInfo *ret, Err *e);
/* Those that are there become known to rules that were made anew. The host lock is held. */
int shards_enter(NetworkHost *h, const char *bridge, Err *e);
/* Of a bridge that goes. The host lock is held. */
int shards_remove(NetworkHost *h, const char *bridge, Err *e);
/* The first bridge's name, if the link is a shard of one of ours, or an end of its pair. Points into link->alias. */
const char *shard_of(const NetworkHost *h, const LinkInfo *link);

/* sublink.c: in the namespace, with its name there, not configured yet. */
int sublink_make(NetworkHost *h, int netns_fd, const NetworkEndpoint *ep, const LinkInfo *parent, Err *e);

/* firewall.c; callers hold the host lock. */
/* 1: it had none before. */
int firewall_bridge_ensure(NetworkHost *h, const NetworkBridge *b, const uint8_t mac[6], Err *e);
/* Also removes the table when this was its last bridge. */
int firewall_bridge_remove(NetworkHost *h, const char *bridge, Err *e);
/* Removes the table if it has no bridge. */
int firewall_table_release(NetworkHost *h, Err *e);
/* The interfaces in a set, appended. */
int firewall_names(NetworkHost *h, const char *set, char ***ret, Err *e);
/* After a start of the daemon: whether published ports are open is said anew for all bridges that have rules. foreign_sync() is to follow. */
int firewall_open_follow(NetworkHost *h, const NetworkBridge *bridges, size_t n, Err *e);
/* 1 if containers on the bridge may talk to each other, 0 if not; an error if the bridge has no rules. */
int firewall_bridge_icc(NetworkHost *h, const char *bridge, Err *e);
Element firewall_bridge_element(const char *bridge);
Element firewall_shard_element(const char *name);
/* The map entry of a port; container address 0 leaves the data out. */
Element firewall_port_element(const NetworkPort *p, IpAddress address);
/* 1 if the network's containers are reached at their own addresses in that family, so that nothing is translated. */
int firewall_bridge_routed(NetworkHost *h, const char *bridge, int family, Err *e);
/* The set entry of a port that is open at the container's own address. */
Element firewall_open_element(const NetworkPort *p, IpAddress address);

/* conntrack.c: forgets the connections that would go on bypassing a changed port entry: those to the given udp host
 * ports, and (address != 0) those translated to the address. Only udp has this trouble: tcp connections end by themselves. */
int conntrack_forget_udp(Netlink *nl, const NetworkPort *ports, size_t n, IpAddress address, Err *e);

/* held.c: each socket that a process holds, as a copy that is fn's from then on, until fn says false. */
typedef bool (*HeldFn)(int fd, void *arg);
int held_sockets(pid_t pid, HeldFn fn, void *arg, Err *e);
