/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which engine we talk to, and how it is reached.
 *
 * The order is docker's: -H; --context; $DOCKER_HOST; $DOCKER_CONTEXT; the current context of config.json; our socket.
 * Unix sockets and plain TCP are connected to here. TLS is spoken by ireko-dial-tls and ssh:// by ssh with "system dial-stdio"
 * at the far end: each connection is then one such process, and a socket to it.
 */
#pragma once

#include "cli.h"

#define DEFAULT_ADDRESS "unix:///run/ireko/ireko.sock"

/* Fills cli->address and cli->dial. */
int endpoint_find(Cli *cli, Err *e);
/* The context in use: CONTEXT_DEFAULT if none is. malloc'ed. */
int endpoint_context(Cli *cli, char **ret, Err *e);
/* What "default" stands for: $DOCKER_HOST or our socket. */
const char *endpoint_default_host(const Cli *cli);
/* A connection. err->no keeps the errno of connect(2). */
int endpoint_connect(Cli *cli, Httpc **ret, Err *e);
void endpoint_done(Cli *cli);
