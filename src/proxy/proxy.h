/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The userland proxy, from the side of who has ports to publish.
 *
 * The kernel translates addresses within a family only: what arrives over IPv6 for a container that has only IPv4 (or the other way round)
 * is carried by one small process, ireko-proxy, for all such ports of an engine. It is started with the first of them, goes on without
 * the engine, which finds it by its socket, and ends some seconds after it was told to give up the last.
 *
 * A port is a bound socket (for tcp a listening one) that the proxy gets a copy of, and where to. Whoever calls knows it by a key.
 *
 * Thread-safe; a call waits for the process to answer, which never waits for a client or a container.
 */
#pragma once

#include "base/err.h"

#include <netinet/in.h>

#define PROXY_KEY_MAX 128 /* its NUL included */

typedef enum ProxyProtocol { PROXY_TCP = 1, PROXY_UDP = 2 } ProxyProtocol;

typedef struct ProxyPort {
	char key[PROXY_KEY_MAX]; /* printable ASCII without blanks */
	struct in6_addr target;  /* an IPv4 address as ::ffff:a.b.c.d */
	uint16_t target_port;    /* host byte order */
	uint16_t protocol;       /* ProxyProtocol */
} ProxyPort;

typedef struct Proxy Proxy;

typedef struct ProxyOptions {
	const char *program; /* the file of ireko-proxy */
	const char *socket;  /* where it is asked; absolute */
	/* For who wants to know that the process has ended: each connection to it is to be watched for EPOLLHUP, and proxy_check called then.
	 * The descriptor stays the proxy's; it is closed without a word when it is of no use any more. */
	void (*connected)(void *user, int fd);
	/* The process has ended by itself: what it had is to be added again. */
	void (*lost)(void *user);
	void *user; /* both may be NULL, and are called with a lock held: no calls back */
} ProxyOptions;

/* Nothing is started. */
int proxy_new(const ProxyOptions *o, Proxy **ret, Err *e);
/* Leaves the process as it is. */
void proxy_free(Proxy *p);
DEFINE_CLEANUP(Proxy *, proxy_free)

/* Connects to a process that an earlier engine has left: 1, or 0 if there is none. One that speaks another version of
 * the protocol is ended, and counts as none. */
int proxy_find(Proxy *p, Err *e);
/* The process is started if there is none. A port of the same key is replaced, its connections end. fd stays the caller's. */
int proxy_add(Proxy *p, const ProxyPort *port, int fd, Err *e);
/* Ends its connections too. A missing one is success, and so is a process that is not there. */
int proxy_remove(Proxy *p, const char *key, Err *e);
/* All of them, in the order in which they were added; malloc'ed. None if there is no process. */
int proxy_list(Proxy *p, ProxyPort **ret, size_t *ret_n, Err *e);
/* The connection that was watched has hung up, or may have. */
void proxy_check(Proxy *p);
