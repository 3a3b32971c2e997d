/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the resolver share. Everything is under Resolver.lock, which the thread holds but for waiting.
 *
 * What the thread waits for are slots: a number and a generation, so that an event that was queued for something that is gone by now finds
 * nothing. Each has a deadline or 0.
 */
#pragma once

#include "network/dns-cache.h"
#include "network/dns-message.h"
#include "network/network-internal.h"
#include "network/resolver.h"

#include "base/clock.h"
#include "base/fd.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <uthash.h>

#define SECOND_NS       INT64_C(1000000000)
#define SLOTS_MAX       8192 /* what can be waited for: 2 a client, and the others */
#define FORWARDS_MAX    1024
#define FORWARDS_CLIENT 128 /* of one client, so that none takes them all */
#define FORWARDS_SURE   4   /* of each client, although others have taken them all */
#define CONNS_MAX       256
#define CONNS_CLIENT    16
#define CONNS_SURE      2
#define CONN_IDLE_NS    (10 * SECOND_NS)
#define SERVERS_MAX     3
#define ANSWER_TTL      10 /* seconds: a container made anew has another address */

typedef struct Client Client;
typedef struct Conn Conn;
typedef struct Slot Slot;

/* Whether a client that has `mine` of something, of `all` that there are, may have another one. */
static inline bool may_have(unsigned mine, unsigned all, unsigned sure, unsigned most, unsigned most_all)
{
	return mine < most && (all < most_all || mine < sure);
}

typedef void (*SlotFn)(Resolver *r, Slot *s, uint32_t events);
struct Slot {
	int fd; /* -1: unused */
	uint32_t index, generation;
	SlotFn ready, expired;
	void *owner;
	int64_t deadline; /* monotonic; 0: none */
};

typedef struct ClientEndpoint {
	char *network_id, *network_name;
	bool internal;
	IpAddress address[IP_FAMILIES];
	NetworkSubnet subnet[IP_FAMILIES];
	char **names, **links;
} ClientEndpoint;

typedef struct Server {
	IpAddress at;
	char zone[IF_NAMESIZE]; /* of a link-local address: an interface of where it is asked from, or "" */
	unsigned silent;        /* how often in a row it has not been heard */
	int64_t heard, down_until;
} Server;

/* Who is asked, as one resolv.conf says. */
typedef struct Servers {
	uint64_t scope; /* what it answers is for who has the same; a number of its own after each change */
	Server v[SERVERS_MAX];
	size_t n;
	unsigned attempts, turn;
	int64_t wait; /* for one server, at most */
	bool timed;   /* and somebody said so */
	bool rotate, stream;
	bool qualified; /* names of one label are not for them */
} Servers;

struct Client {
	char id[65];
	Slot *udp, *tcp;
	bool own, own_options; /* servers, and how they are asked, are its own, not the host's */
	Servers servers;       /* its own */
	DnsShare share;        /* of the cache */
	ClientEndpoint *endpoints;
	size_t n_endpoints;
	unsigned forwards, conns;
	UT_hash_handle hh;
};

/* Who has a name, or what an address is called. The key is "network id/name" or "network id#address". */
typedef struct Holder {
	const Client *client;
	IpAddress address[IP_FAMILIES]; /* 0: none */
} Holder;
typedef struct Name {
	char *key;
	Holder *holders;
	size_t n, turn;
	char *called; /* of an address */
	int64_t gone; /* when its last holder left; 0: it has one */
	struct Name *prev, *next;
	UT_hash_handle hh;
} Name;

/* A TCP connection of a client. One question is worked on at a time; what comes behind it waits in the socket. */
struct Conn {
	Client *client;
	Slot *slot;
	uint8_t in[2 + DNS_QUERY_MAX];
	size_t n_in;
	uint8_t *out; /* with its length in front */
	size_t n_out, sent;
	bool waits; /* for a forward */
	Conn *next, *prev;
};

/* Where an answer goes. */
typedef struct Asker {
	Client *client;
	Conn *conn;              /* or NULL: a datagram */
	struct sockaddr_in from; /* of a datagram */
} Asker;

typedef struct Waiter Waiter;
typedef struct Forward Forward;

/* One client's datagrams, as many as are read at once, and the answers to them (resolver-datagrams.c). */
#define TURN 32
typedef struct Turn {
	int fd; /* of the client whose turn it is; -1: nobody's */
	bool prepared;
	unsigned n; /* answers */
	struct mmsghdr in[TURN], out[TURN];
	struct iovec in_data[TURN], out_data[TURN];
	struct sockaddr_in from[TURN], to[TURN];
	uint8_t query[TURN][DNS_QUERY_MAX + 1], answer[TURN][DNS_UDP_MOST];
} Turn;

struct Resolver {
	pthread_mutex_t lock;
	pthread_t thread;
	bool running, stop;
	int epoll_fd, wake_fd, home_fd; /* home: our network namespace */
	bool away;                      /* the thread is in another one */
	Slot **slots;
	size_t n_slots, n_free;
	uint32_t *free; /* numbers of unused slots */
	int64_t sooner; /* no deadline is before this; 0: there is none */
	Client *clients;
	Name *names, *gone; /* gone: those without holders, oldest first */
	size_t n_gone;
	Forward *forwards;
	Conn *conns;
	unsigned n_forwards, n_conns;
	ResolverStats stats;
	uint64_t scopes;  /* the last one given */
	Servers host;     /* as last read, and from what (resolver-servers.c) */
	struct stat file; /* st_ino 0: none */
	bool settled;     /* it cannot change any more without being another file or having other times */
	bool looked;      /* in this round of the thread */
	DnsCache *cache;
	Forward *flights;         /* of those forwards, the ones that others may join */
	uint8_t buf[DNS_MAX + 2]; /* what servers say, and what they are asked */
	uint8_t out[DNS_MAX];     /* our own answers */
	Turn turn;
};

/* resolver.c */
int slot_new(Resolver *r, int fd, uint32_t events, SlotFn ready, void *owner, Slot **ret);
void slot_events(Resolver *r, const Slot *s, uint32_t events);
void slot_deadline(Resolver *r, Slot *s, int64_t at, SlotFn expired);
/* Closes the descriptor. */
void slot_drop(Resolver *r, Slot *s);
void question(Resolver *r, const Asker *asker, const uint8_t *query, size_t len);
void answer_send(Resolver *r, const Asker *to, const uint8_t *m, size_t len);
/* Answers with nothing but an rcode. */
void answer_code(Resolver *r, const Asker *to, const uint8_t *query, const DnsQuestion *q, int rcode);
void conn_drop(Resolver *r, Conn *c);

/* resolver-datagrams.c */
void datagrams_ready(Resolver *r, Slot *s, uint32_t events);
void datagram_send(Resolver *r, const Asker *to, const uint8_t *m, size_t len);

/* resolver-names.c */
/* True with an answer in out; false if the question is another server's. */
bool names_answer(Resolver *r, const Client *c, const uint8_t *query, const DnsQuestion *q, uint8_t *out,
		  size_t room, size_t *ret_len);
void client_endpoints_drop(Resolver *r, Client *c);
/* A container that the client could have asked had the name. */
bool names_gone(Resolver *r, const Client *c, const char *name);
/* What is left once all clients are gone. */
void names_free(Resolver *r);

/* resolver-private.c: as names_answer, for what no container has. */
bool private_answer(Resolver *r, Client *c, const uint8_t *query, const DnsQuestion *q, uint8_t *out,
		    size_t room, size_t *ret_len);

/* resolver-servers.c */
void servers_set(Resolver *r, Servers *s, char *const *addresses, char *const *options);
Servers *servers_of_host(Resolver *r);
/* Who a client's questions go to now; NULL: nobody, because it has no way out. */
Servers *servers_of(Resolver *r, Client *c);
/* Its networks change: what its own servers said from where it was is not what they say. */
void client_moved(Resolver *r, Client *c);
/* The order to ask them in: those that have been silent come last. */
void servers_order(Servers *s, size_t order[SERVERS_MAX]);
void servers_heard(Servers *s, IpAddress at);
/* Nothing has come since `since`. */
void servers_silent(Servers *s, IpAddress at, int64_t since);
/* A socket that is connected to a server, in our namespace or where the client's own are; -1 if there is none. */
int server_connect(Resolver *r, const Server *s, const Client *inside, int type);

/* resolver-forward.c */
void forward_start(Resolver *r, const Asker *asker, const uint8_t *query, size_t len, const DnsQuestion *q);
/* Nobody waits for answers any more, of a client or of one of its connections. */
void forwards_leave(Resolver *r, const Client *client, const Conn *conn);
