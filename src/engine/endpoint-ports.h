/* SPDX-License-Identifier: Apache-2.0 */
/* What the two sides of published ports share: start and end of a container (endpoint-ports.c), and changes while it lives (endpoint-ports-change.c). */
#pragma once

#include "engine/engine-internal.h"

/* The ways out that ports are published on. */
typedef struct PortWays {
	bool there[IP_FAMILIES];
	bool routed
	    [IP_FAMILIES]; /* nothing of the host is needed: the port is open at the container's own address */
	bool proxied[IP_FAMILIES]; /* not there, but reached through the other */
	IpAddress binding;         /* where ports without a host address go; 0.0.0.0: everywhere */
} PortWays;

typedef struct PortList {
	NetworkPort *v;
	size_t n;
} PortList;

/* *ret_ep, which errors name, is the last one that was found; NULL if there is no way out at all. */
int ports_ways(Engine *en, Container *c, PortWays *ret, const ContainerEndpoint **ret_ep, Err *e);
int port_parse(const ContainerPort *p, NetworkPort *ret, Err *e);
/* Appends one entry of what is asked for: one port, or one in each family under the same number. */
int ports_expand(const ContainerPort *given, const PortWays *w, NetworkPort *v, size_t *n, Err *e);
/* All that the container asks for. */
int ports_wanted(const Container *c, const PortWays *w, NetworkPort **ret, size_t *ret_n, Err *e);
/* Sockets for those that take a port of the host; fds has room for all, *ret_n says how many there are. */
int ports_bind(Engine *en, const Container *c, const PortWays *w, NetworkPort *ports, size_t n, int *fds,
	       size_t *ret_n, Err *e);
/* Whether both would need one socket of the host. */
bool ports_meet(const NetworkPort *have, const NetworkPort *want);
/* As they are recorded and shown, and back. *ret is the caller's in any case. */
int ports_text(const NetworkPort *ports, size_t n, ContainerPublished **ret, Err *e);
int ports_parse_text(const ContainerPublished *text, size_t n, PortList *ret);
/* The rules of one list become those of another (network_ports_change). */
int ports_change(Engine *en, Container *c, const PortList *old, const PortList *fresh, Err *e);
