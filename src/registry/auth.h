/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Getting in: WWW-Authenticate challenges, Basic and Bearer (the distribution project's token and OAuth2 flows).
 *
 * A password or identity token goes to the registry that it is for, and to a token server only if that is recognisably the
 * same party (auth_realm_is_trusted); a realm elsewhere is asked anonymously. What is asked for is always and only to pull
 * from the one repository, whatever scope the challenge names.
 */
#pragma once

#include "registry/http.h"
#include "registry/registry.h"

typedef struct AuthChallenge {
	bool bearer, basic;
	char *realm, *service; /* of bearer */
} AuthChallenge;

/* Reads WWW-Authenticate values; unknown schemes are passed over. -EINVAL if neither Bearer with a realm nor Basic is offered. */
int auth_challenge_parse(char *const *values, AuthChallenge *ret);
void auth_challenge_done(AuthChallenge *c);

bool auth_realm_is_trusted(const char *registry_host, const char *realm_host);

/* Tokens by (registry, realm, service, scope, user), until they expire. Shared by threads. */
typedef struct TokenCache TokenCache;
TokenCache *token_cache_new(void);
void token_cache_free(TokenCache *t);

typedef struct AuthAsk {
	const char *registry_url; /* scheme://host[:port] */
	const char *path;         /* library/debian */
	const RegistryAuth *auth; /* never NULL; may be all NULL */
	bool unverified_tls, plain_http_ok, local_allowed;
	bool refresh; /* the cached token was just refused */
	bool (*cancelled)(void *user);
	void *cancel_user;
} AuthAsk;

/* Answers a challenge with the value of an Authorization header, malloc'ed. ERR_UNAUTHORIZED if there is none to give. */
int auth_answer(TokenCache *t, HttpClient *c, const AuthAsk *a, char *const *challenges, char **ret, Err *e);
