/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the process share: one loop, ports, and for each port its connections (tcp) or clients (udp).
 *
 * Events come in batches, so what is destroyed while a batch is worked off is only put aside (server_bury) and freed after it: a later
 * event of the batch finds a source whose descriptor is -1.
 */
#pragma once

#include "proxy/protocol.h"
#include "proxy/server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <uthash.h>

typedef struct Server Server;
typedef struct Port Port;
typedef struct Connection Connection;
typedef struct UdpClient UdpClient;

typedef struct Source Source;
typedef void (*SourceFn)(Server *s, Source *src, uint32_t events);
struct Source {
	int fd;
	SourceFn ready;
};

/* First in whatever is buried. */
typedef struct Grave {
	struct Grave *next;
} Grave;

struct Port {
	Grave grave;
	Source source;
	ProxyPort info;
	int family;      /* of the bound socket */
	uint64_t number; /* rises from port to port */
	bool paused;     /* its socket is not watched, as there is no room for more of its clients */
	size_t n;        /* connections or clients */
	Connection *connections;
	UdpClient *by_address;
	UdpClient *used; /* its clients, the one that was quiet longest first */
	UT_hash_handle hh;
};

/* pipes.c: pipes that are empty and wait for a flow that has bytes to carry. */
#define PIPES_IDLE_MAX 32
typedef struct Pipe {
	int in, out; /* written to, read from */
} Pipe;
typedef struct PipePool {
	Pipe idle[PIPES_IDLE_MAX];
	size_t n;
} PipePool;
#define PIPE_NONE ((Pipe){-1, -1})
/* 0 or -errno. */
int pipe_take(PipePool *p, Pipe *ret);
/* An empty one. */
void pipe_give(PipePool *p, Pipe *pipe);
/* One that may have something in it. */
void pipe_close(Pipe *pipe);
void pipe_pool_done(PipePool *p);

typedef struct Control {
	Grave grave;
	Source source;
	struct Control *prev, *next;
} Control;

struct Server {
	int epoll_fd;
	ProxyServerOptions options;
	uid_t uid; /* ours */
	Source control;
	Control *controls;
	unsigned n_controls;
	Port *ports; /* by key; in the order of their numbers */
	uint64_t last_number;
	size_t n_paused;
	bool room_again;     /* something has gone since they were paused */
	size_t fds, fds_max; /* what connections and clients have, and may have */
	PipePool pipes;
	Connection *eager; /* have more to move than their turn allowed */
	UdpClient *used;   /* all of them, the one that was quiet longest first */
	int64_t now_ns, empty_since_ns;
	size_t most_fds; /* since memory was given back */
	Grave *graves;
	bool quit;
};

/* 0 or -errno. data.ptr is the source. */
int server_watch(Server *s, Source *src, uint32_t events);
/* Closes; what was to come for it does not come any more. */
void server_close(Server *s, Source *src);
void server_bury(Server *s, Grave *g);
/* Room for n descriptors for one more of a port that has `own` of them: no port takes more than it leaves free, so that one of them cannot
 * shut the others out. */
bool server_has_room(const Server *s, size_t own, size_t n);
void server_gave_back(Server *s, size_t n);

/* port.c */
Port *port_find(Server *s, const char *key);
/* Takes fd over, unless it fails. */
int port_add(Server *s, const ProxyPort *info, int fd, Err *e);
void port_remove(Server *s, Port *p);
/* Does not watch the socket until there is room again. */
void port_pause(Server *s, Port *p);
void ports_resume(Server *s);

/* control.c */
void control_accept(Server *s, Source *src, uint32_t events);
void control_close(Server *s, Control *c);

/* tcp.c */
#define CONNECTION_FDS 6 /* two sockets and, at most, two pipes */
int tcp_listen(Port *p, Err *e);
void tcp_accept(Server *s, Source *src, uint32_t events);
/* Both sides are told by a reset. */
void connection_reset(Server *s, Connection *c);
/* Gives each that is eager another turn. */
void connections_go_on(Server *s);

/* udp.c: batches of datagrams. udp-client.c: who has sent some, and the socket towards the target for each. */
void udp_receive(Server *s, Source *src, uint32_t events);
void udp_answer(Server *s, Source *src, uint32_t events);
/* What the buffers have taken of memory. */
void udp_rest(void);
int udp_prepare(Port *p, Err *e);

/* Who has sent a datagram, and to which address of ours; no byte of it is unset. */
typedef struct UdpAddress {
	struct in6_addr peer, local; /* IPv4 mapped */
	uint32_t scope, ifindex;
	uint16_t port; /* network byte order */
	uint16_t zero;
} UdpAddress;

struct UdpClient {
	Grave grave;
	Source source; /* connected to the target */
	UdpAddress address;
	Port *port;
	int64_t used_ns;
	UdpClient *port_prev, *port_next, *prev, *next;
	UT_hash_handle hh;
};

/* The client of that address, made if there is none, or NULL if there is no room for it. */
UdpClient *udp_client_get(Server *s, Port *p, const UdpAddress *a);
void udp_client_touch(Server *s, UdpClient *c);
void udp_client_remove(Server *s, UdpClient *c);
/* Removes those that were quiet for too long. */
void udp_clients_expire(Server *s);

/* Where a port leads to. */
socklen_t target_address(const ProxyPort *p, struct sockaddr_storage *ret);
