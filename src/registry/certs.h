/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the folder <dir>/<host[:port]> says about a host (docker's certs.d):
 *
 *   NAME.crt          authorities that are trusted for this host, beside the system's
 *   NAME.cert, .key   the certificate that we show it; the first pair in order of names
 *   auth.json         {"username", "password"} or {"identitytoken"}: for a mirror, which gets no other credentials; only its owner
 *                     may read it
 *
 * The first of the dirs that has a folder for the host is the one that counts. Files are read anew for each connection, so that
 * a change needs no restart.
 */
#pragma once

#include "base/err.h"

typedef struct HostFiles {
	char *authorities; /* PEM, NULL: none of its own */
	char *cert, *key;  /* paths, or both NULL */
} HostFiles;

/* The default dirs, ours first. */
extern char *const certs_dirs_default[];

/* host: "name:port" as in the URL; a folder without the port serves the scheme's own port. No folder is success. */
int host_files_read(char *const *dirs, const char *host, HostFiles *ret, Err *e);
void host_files_done(HostFiles *f);

typedef struct HostAuth {
	char *username, *password, *identity_token;
} HostAuth;
/* auth.json; without one everything is NULL. */
int host_auth_read(char *const *dirs, const char *host, HostAuth *ret, Err *e);
void host_auth_done(HostAuth *a);
