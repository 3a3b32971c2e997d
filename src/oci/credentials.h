/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents that hold credentials for registries: docker's config.json ("auths", "credsStore", "credHelpers"), what a
 * credential helper reads and writes, and the account object of the Engine API. Pure; fuzzed.
 *
 * A registry is named in many ways. Here its key is host[:port], except for Docker Hub, whose key has been
 * "https://index.docker.io/v1/" ever since (CREDENTIALS_HUB); credentials_key() makes a key of whatever was typed or written.
 * No error here quotes a secret.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

#define CREDENTIALS_HUB        "https://index.docker.io/v1/"
#define CREDENTIALS_SERVER_MAX 1024u
#define CREDENTIALS_USER_MAX   4096u
#define CREDENTIALS_SECRET_MAX (64u << 10)

typedef struct Credentials {
	char *username, *password;
	char *identity_token; /* is exchanged for tokens, in place of the password */
	char *registry_token; /* is the token itself */
} Credentials;

void credentials_done(Credentials *c); /* wipes */
bool credentials_empty(const Credentials *c);

/* "docker.io", "https://index.docker.io/v1/" -> CREDENTIALS_HUB; "https://h:5000/v2/", "h:5000" -> "h:5000". malloc'ed; NULL when out of memory. */
char *credentials_key(const char *server);
bool credentials_is_hub(const char *server);
/* ERR_INVALID unless it can be a registry's address. */
int credentials_check_server(const char *server, Err *e);

/* ---- config.json ---- */

/* Where the credentials for a server are kept, by the user's config. Strings are the config's. */
typedef struct CredentialsPlace {
	const char *helper; /* docker-credential-<helper>; NULL: none is named */
	const char *entry_key;
	json_t *entry;   /* of "auths", if there is one */
	bool entry_full; /* it has credentials in it, and is not a mere mark that somebody logged in */
	bool plain;      /* an empty credsStore: the user wants them in the file */
} CredentialsPlace;
/* ERR_INVALID if the config is not what docker writes, or names a helper that can be none. */
int credentials_find(json_t *config, const char *server, CredentialsPlace *ret, Err *e);
/* Every server that "auths" and "credHelpers" name, as a key, once each. */
int credentials_servers(const json_t *config, char ***ret, Err *e);
/* Of a member of "auths"; `server` is for errors. Empty if it holds none. */
int credentials_of_entry(const json_t *entry, const char *server, Credentials *ret, Err *e);
/* A member of "auths"; NULL when out of memory. */
json_t *credentials_to_entry(const Credentials *c);

/* ---- the credential-helper protocol ---- */

#define CREDENTIALS_NOT_FOUND                                                                                \
	"credentials not found in native keychain" /* the one message that has a meaning */

/* The answer to "get". */
int credentials_of_helper(const char *text, size_t len, Credentials *ret, Err *e);
/* The request of "store"; NULL when out of memory. */
json_t *credentials_to_helper(const Credentials *c, const char *server);

/* ---- the Engine API ---- */

/* {"username", "password", "identitytoken", "registrytoken", "serveraddress"}; NULL when out of memory. */
json_t *credentials_to_api(const Credentials *c, const char *server);
