/* SPDX-License-Identifier: Apache-2.0 */
/* The process itself; see server.c. */
#pragma once

#include "base/err.h"

typedef struct ProxyServerOptions {
	int udp_idle_s; /* a client of a udp port from and to which nothing came that long is forgotten */
	int udp_clients_max; /* of one port */
	int end_after_s;     /* without a port */
	/* Called when all is set up, before anybody is heard: from then on, only the calls of the loop are made. */
	int (*ready)(Err *e);
} ProxyServerOptions;
#define PROXY_UDP_IDLE_S      90
#define PROXY_UDP_CLIENTS_MAX 4096
#define PROXY_END_AFTER_S     10

/* Serves on a listening control socket, which it takes over, until there is nothing left to do or PROXY_QUIT comes: 0. */
int proxy_serve(int control_fd, const ProxyServerOptions *o, Err *e);
