/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of ireko-dial-tls: see main.c. */
#pragma once

#include "base/err.h"

#include <openssl/ssl.h>

typedef struct TlsOptions {
	const char *ca, *cert, *key; /* PEM files, or NULL */
	const char *host, *port;
	bool skip_verify;
} TlsOptions;

/* Connects, shakes hands and checks who is there. */
int tls_dial(const TlsOptions *o, SSL **ret, Err *e);
/* Moves bytes between the connection and a stream socket, both ways, until either is gone. */
void relay(SSL *ssl, int sock);
