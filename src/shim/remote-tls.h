/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to a log server that speaks TLS: a child, ireko-dial-tls, has the connection and relays a socket's bytes. The shim itself is static and small,
 * and links no OpenSSL.
 */
#pragma once

#include "base/json.h"

typedef struct RemoteTls RemoteTls;

/* {"dialer": the path of ireko-dial-tls, "host", "port", "ca", "cert", "key": paths or absent, "skip_verify": bool} */
int remote_tls_new(const json_t *doc, RemoteTls **ret, Err *e);
/* Ends the child; what it was given and has not sent yet has CLOSE_MS to go. */
void remote_tls_free(RemoteTls *t);
DEFINE_CLEANUP(RemoteTls *, remote_tls_free)

/* Starts to connect. *ret_sock takes the bytes; on *ret_report err_recv() tells, once it is readable, whether the connection is there. Both are the
 * caller's, nonblocking and blocking. 0 or -errno. */
int remote_tls_dial(RemoteTls *t, int *ret_sock, int *ret_report);
/* Ends and reaps the child, if there is one. */
void remote_tls_hang_up(RemoteTls *t);
