/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials of the user, by registry: where they are kept, and how they go to the engine.
 *
 * The user's config.json decides: a helper that credHelpers or credsStore name; the file itself, where credsStore is "" or the
 * file holds that registry's credentials already. Where it says nothing, they are kept in our own store, through our own helper
 * (docker-credential-ireko), and config.json has only the mark {"auths": {"<registry>": {}}}, by which we know whom to ask about.
 */
#pragma once

#include "cli.h"
#include "oci/credentials.h"

typedef enum CredentialKept {
	KEPT_HELPER, /* by a helper that the user has named */
	KEPT_OWN,    /* encrypted, by us */
	KEPT_PLAIN,  /* readable, in config.json */
} CredentialKept;

/* Empty if nothing is known. */
int credential_get(Cli *cli, const char *server, Credentials *ret, Err *e);
/* `key` is where our own store keeps its key: "file" or "keyring"; NULL: as it is. ERR_CONFLICT if it is given and another store is in use. */
int credential_put(Cli *cli, const char *server, const Credentials *c, const char *key, CredentialKept *ret,
		   Err *e);
/* 1 if the user was logged in there, else 0. */
int credential_erase(Cli *cli, const char *server, Err *e);

/* A whole header, "X-Registry-Auth: ...", for a registry ("docker.io", "localhost:5000"); *ret NULL if nothing is known. To be wiped. */
int credential_auth_header(Cli *cli, const char *server, char **ret, Err *e);
/* "X-Registry-Config: ..." with all that is known, or, with a text, for Docker Hub and the registries whose names are somewhere in it. A helper that
 * fails is complained about and passed over. */
int credential_config_header(Cli *cli, const char *text, char **ret, Err *e);
