/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that another program makes: ireko-dial-tls, and ssh. */
#pragma once

#include "base/err.h"
#include "wire/http-client.h"

/* Paths of PEM files; NULL: there is none. */
typedef struct TlsFiles {
	char *ca, *cert, *key;
} TlsFiles;

void tls_files_done(TlsFiles *t);
#define _cleanup_tls_files_ _cleanup_(tls_files_done)

typedef enum DialKind { DIAL_SOCKET, DIAL_TLS, DIAL_SSH } DialKind;

typedef struct Dial {
	DialKind kind;
	TlsFiles tls;
	bool skip_verify;
} Dial;

void dial_done(Dial *d);
/* ssh://[USER@]HOST[:PORT][/PATH OF THE SOCKET THERE] */
int dial_check_ssh(const char *url, Err *e);
/* A socket to the helper that has reached (TLS) or is about to reach (ssh) the address. program: "docker" or "ireko". */
int dial_helper(const Dial *d, const HttpcAddress *a, const char *program, Err *e);
