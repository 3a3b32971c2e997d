/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this floor share: the client's rules, and a session with one endpoint for one repository. */
#pragma once

#include "registry/auth.h"
#include "registry/http.h"
#include "registry/registry.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

/* A place where a domain's images can be had. */
typedef struct Endpoint {
	char *host;   /* host[:port] to connect to; docker.io is registry-1.docker.io */
	char *prefix; /* path in front of /v2/, "" or "/x" */
	bool mirror;  /* gets no credentials */
	bool try_https, try_http;
	bool unverified_tls;
} Endpoint;

#define REGISTRY_LAYERS_MAX 32 /* at once */

struct Registry {
	char **insecure;
	char **mirrors;
	char **token_servers;
	int max_layers;
	char *user_agent;
	TokenCache *tokens;
};

/* Mirrors first, the registry itself last. */
int registry_endpoints(const Registry *r, const char *domain, Endpoint **ret, size_t *ret_n, Err *e);
void registry_endpoints_free(Endpoint *v, size_t n);
bool registry_is_insecure(char *const *rules, const char *host);

typedef struct Session {
	Registry *registry;
	const Endpoint *endpoint;
	const RegistryPull *pull;
	char *base;          /* scheme://host[:port]; set by the first request, then constant */
	const char *actions; /* of the scope that is asked for; NULL: "pull" */
	char *const *scopes; /* asked for besides; may be NULL */
	pthread_mutex_t lock;
	AuthGrant grant;   /* under lock, as what follows */
	char **challenges; /* what it answered */
	atomic_bool local; /* the registry is on this machine or link */
} Session;

void session_init(Session *s, Registry *r, const Endpoint *ep, const RegistryPull *p);
void session_done(Session *s);
bool session_cancelled(const Session *s);
/* One exchange with <base><prefix>/v2/<repository>/<what>, signing in when asked. q->url is ours. The first
 * one of a session finds out the scheme, and must have returned before others start. */
int session_do(Session *s, HttpClient *c, const char *what, HttpRequest *q, HttpReply *ret, Err *e);
/* The same with a few more tries on 429, 5xx and broken connections; for documents, not for sinks. */
int session_do_patiently(Session *s, HttpClient *c, const char *what, HttpRequest *q, HttpReply *ret, Err *e);
/* The same with an address that the registry named (a Location). The authorization goes along only to the registry's own origin. */
int session_do_at(Session *s, HttpClient *c, const char *url, HttpRequest *q, HttpReply *ret, Err *e);
/* Sleeps, unless the session is cancelled. */
int session_wait_ms(const Session *s, int64_t ms, Err *e);
/* "code: message" of the first error in a reply, as Docker writes it, else that there was a status. malloc'ed. */
char *session_error_text(const HttpReply *reply);
/* What a reply that is no success means to the user. `what` is "manifest" or "blob sha256:...". */
int session_refusal(const Session *s, const char *what, const HttpReply *reply, Err *e);

/* The other end of a connection or a pipe may be gone when this thread, or one that it starts, writes to it. */
void sigpipe_hold(sigset_t *ret_before);
void sigpipe_release(const sigset_t *before);

bool http_status_is_temporary(int status);
/* How long to wait before try number n (from 1): what the server asks for, bounded, else growing. */
int64_t retry_delay_ms(int n, int64_t retry_after_s);

/* What a reference means at an endpoint. */
typedef struct Resolved {
	char digest[DIGEST_LEN + 1]; /* what the reference named: of an index or of the manifest itself */
	char manifest_digest[DIGEST_LEN + 1]; /* for the wanted platform */
	char *text;                           /* of the manifest */
	size_t len;
	ImageManifest manifest;
} Resolved;

void resolved_done(Resolved *r);
/* The digest that a HEAD tells for the reference; 0 if the server would not say, 1 if it did. */
int manifest_head(Session *s, HttpClient *c, const char *tag_or_digest, char ret[DIGEST_LEN + 1], Err *e);
int manifest_resolve(Session *s, HttpClient *c, const ImagePlatform *want, Resolved *ret, Err *e);
/* The config blob, from the store or from the registry into it, decoded and checked against the manifest. */
int manifest_config(Session *s, HttpClient *c, Store *store, const ImageManifest *m, ImageConfig *ret,
		    Err *e);

/* Brings every layer of the manifest into the store; diff_ids are the config's, one a layer. */
int layers_pull(Session *s, Store *store, const ImageManifest *m, char *const *diff_ids, Err *e);
