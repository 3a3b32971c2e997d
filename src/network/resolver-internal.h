/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the resolver share. Everything is under Resolver.lock, which the thread holds but for waiting.
 *
 * What the thread waits for are slots: a number and a generation, so that an event that was queued for something that is gone by now finds
 * nothing. Each has a deadline or 0.
 */
#pragma once

#include "network/dns-message.h"
#include "network/network-internal.h"
#include "network/resolver.h"

#include "base/clock.h"
#include "base/fd.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <uthash.h>

#define SECOND_NS       INT64_C(1000000000)
#define SLOTS_MAX       8192 /* what can be waited for: 2 a client, and the others */
#define FORWARDS_MAX    1024
#define FORWARDS_CLIENT 128 /* of one client, so that none takes them all */
#define CONNS_MAX       256
#define CONNS_CLIENT    16
#define CONN_IDLE_NS    (10 * SECOND_NS)
#define SERVERS_MAX     3
#define SERVER_WAIT_NS  (2 * SECOND_NS) /* then the next one is asked */
#define ANSWER_TTL      10              /* seconds: a container made anew has another address */

typedef struct Client Client;
typedef struct Conn Conn;
typedef struct Slot Slot;

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

struct Client {
	char id[65];
	Slot *udp, *tcp;
	char **servers; /* NULL: the host's */
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

/* A question that other servers are asked, one after the other. */
typedef struct Forward {
	Asker asker;
	Slot *slot;
	uint8_t *query;
	size_t len;
	DnsQuestion q;
	uint16_t id; /* towards the server */
	struct sockaddr_storage servers[SERVERS_MAX];
	size_t n_servers, tried;
	uint8_t *stream; /* of TCP: what was read */
	size_t n_stream, n_sent;
	struct Forward *next, *prev;
} Forward;

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
	int epoll_fd, wake_fd;
	Slot **slots;
	size_t n_slots, n_free;
	uint32_t *free; /* numbers of unused slots */
	int64_t sooner; /* no deadline is before this; 0: there is none */
	Client *clients;
	Name *names;
	Forward *forwards;
	Conn *conns;
	unsigned n_forwards, n_conns;
	ResolverStats stats;
	/* the host's servers as last read (resolver-forward.c) */
	struct sockaddr_storage host[SERVERS_MAX];
	size_t n_host;
	int64_t host_mtime, host_size, host_inode;
	size_t preferred;         /* of the host's: the one that answered last */
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

/* resolver-forward.c */
void forward_start(Resolver *r, const Asker *asker, const uint8_t *query, size_t len, const DnsQuestion *q);
void forward_drop(Resolver *r, Forward *f);
