/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Getting in: WWW-Authenticate challenges, Basic and Bearer (the distribution project's token and OAuth2 flows).
 *
 * A password or identity token goes to the registry that it is for, and to a token server only if that is
 * recognisably the same party (auth_realm_is_trusted) or the administrator has named it; a realm elsewhere is asked
 * anonymously. What is asked for is what the caller is about to do (AuthAsk.actions, AuthAsk.more), whatever scope
 * the challenge names.
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

/* Hosts without port: whether a token server there is recognisably of the registry's owner. */
bool auth_realm_is_trusted(const char *registry_host, const char *realm_host);

/* Tokens by (registry, realm, service, scopes, user and secret), until they are about to expire. Shared by threads. */
typedef struct TokenCache TokenCache;
TokenCache *token_cache_new(void);
void token_cache_free(TokenCache *t);

typedef struct AuthAsk {
	const char *registry_url; /* scheme://host[:port] */
	const char *path;         /* library/debian; NULL: of no repository */
	const char *actions;      /* in that repository: "pull", "pull,push"; NULL: "pull" */
	char *const *more; /* scopes besides, as "repository:library/other:pull", for a mount; may be NULL */
	const RegistryAuth *auth;           /* never NULL; may be all NULL */
	bool unverified_tls, plain_http_ok; /* of the registry's own host */
	bool local_allowed;
	char *const
	    *insecure; /* rules of registry_is_insecure, for token servers on other hosts; may be NULL */
	char *const *
	    token_servers; /* "registry=host": who else gets its credentials, host[:port] both; may be NULL */
	bool refresh;      /* the cached token was just refused */
	bool offline;      /* log in: an identity token is wanted, if the token server gives any */
	bool (*cancelled)(void *user);
	void *cancel_user;
} AuthAsk;

/* A way in: what to send, and for how long it will do. */
typedef struct AuthGrant {
	char *authorization; /* the value of an Authorization header */
	int64_t renew_ns;    /* monotonic: from then on it is better to ask again; INT64_MAX: never */
	char *
	    identity_token; /* what to keep in place of the password, if `offline` was asked and one was given */
} AuthGrant;
void auth_grant_done(AuthGrant *g);

/* Answers a challenge. ERR_UNAUTHORIZED if there is nothing to answer with. */
int auth_answer(TokenCache *t, HttpClient *c, const AuthAsk *a, char *const *challenges, AuthGrant *ret,
		Err *e);

/* What the files of this part share. */
/* "Basic ..."; malloc'ed, to be wiped. */
int auth_basic_value(const char *username, const char *password, char **ret, Err *e);
/* A token for a Bearer challenge (token.c). */
int token_grant(TokenCache *t, HttpClient *c, const AuthAsk *a, const AuthChallenge *ch, AuthGrant *ret,
		Err *e);
/* True if a Bearer challenge leads to a token server that may see the credentials. */
bool token_server_is_trusted(const AuthAsk *a, const AuthChallenge *ch);
