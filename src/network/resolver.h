/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver: answers what containers of user-defined networks ask at 127.0.0.11.
 *
 * One thread serves all of them. A container costs two sockets in its own namespace and no process or thread; whoever holds copies of them
 * (the shim) keeps questions waiting, instead of failing, while the engine is away, and the next engine takes them over.
 *
 * A client is a container. It sees the names of the networks that it has an endpoint on, each network's before the next one's; what is not
 * known is asked of other servers: the host's, from the host's namespace, following its resolv.conf as it changes; or those given for the client,
 * from within the client's own. A client whose networks are all internal asks nobody.
 *
 * Thread-safe; no call here waits for anything but the resolver's lock.
 */
#pragma once

#include "network/network.h"

typedef struct Resolver Resolver;
/* Nobody is answered before resolver_serve, so that whoever comes first finds the names of all that are there. */
int resolver_new(Resolver **ret, Err *e);
int resolver_serve(Resolver *r, Err *e);
void resolver_free(Resolver *r);
DEFINE_CLEANUP(Resolver *, resolver_free)

typedef struct ResolverSockets {
	int udp, tcp;
} ResolverSockets;
/* Makes them in a namespace, and the rules that bring what is for port 53 to their ports without connection tracking and without taking
 * port 53 from a server of the container's own. Rules of an earlier pair are replaced. */
int resolver_sockets_open(int netns_fd, ResolverSockets *ret, Err *e);
/* Copies of the pair that another process holds (pidfd_getfd(2)): 1, or 0 if it holds none. */
int resolver_sockets_take(pid_t pid, ResolverSockets *ret, Err *e);

typedef struct ResolverClient {
	const char *id;
	char *const *servers; /* addresses; NULL: the host's */
	char *const *options; /* as in resolv.conf(5); NULL: the host's */
} ResolverClient;
/* Takes the sockets over, unless it fails. ERR_CONFLICT for one that is there. */
int resolver_client_add(Resolver *r, const ResolverClient *client, const ResolverSockets *sockets, Err *e);
/* With all its endpoints; a missing one is success. */
void resolver_client_remove(Resolver *r, const char *client);
bool resolver_client_known(Resolver *r, const char *client);

typedef struct ResolverEndpoint {
	const char *client;
	const char *network_id, *network_name;
	bool internal;
	IpAddress address[IP_FAMILIES];    /* 0: none of that family */
	NetworkSubnet subnet[IP_FAMILIES]; /* prefix 0: none */
	char *const *
	    names; /* in any case; the first is what the address is called. NULL: it only counts as a way out */
	char *const *links; /* "alias=name of another": for this client alone */
} ResolverEndpoint;
/* Of a known client; one on the same network is replaced. */
int resolver_endpoint_add(Resolver *r, const ResolverEndpoint *ep, Err *e);
void resolver_endpoint_remove(Resolver *r, const char *client, const char *network_id);

typedef struct ResolverStats {
	unsigned clients, names, forwards, connections;
	uint64_t questions, answered, kept, forwarded, failed; /* kept: what a server said before */
} ResolverStats;
ResolverStats resolver_stats(Resolver *r);
