/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this floor share: the client's rules, and a session with one endpoint for one repository. */
#pragma once

#include "registry/address.h"
#include "registry/auth.h"
#include "registry/certs.h"
#include "registry/flights.h"
#include "registry/http.h"
#include "registry/proxy.h"
#include "registry/registry.h"
#include "base/str.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

/* A place where a domain's images can be had. */
typedef struct Endpoint {
	char *host;      /* host[:port] to connect to; docker.io is registry-1.docker.io */
	char *prefix;    /* path in front of /v2/, "" or "/x" */
	char *asked_for; /* of a mirror of every registry: the domain, told as ?ns= */
	bool mirror;     /* gets no credentials but its own */
	HostAuth own;
	bool try_https, try_http;
	bool unverified_tls;
} Endpoint;

#define REGISTRY_AT_ONCE_MAX 32 /* layers of a pull, blobs of a push */

struct Registry {
	/* Replaced by registry_set_rules: a reader takes the pointer once, and those from before stay until the end. */
	char **insecure;
	char **mirrors;
	char ***retired;
	size_t n_retired;
	char **token_servers;
	RegistryLimits limits; /* none is 0; atomic, each by itself */
	char *user_agent;
	TokenCache *tokens;
	Flights *flights;
	char **certs_dirs; /* NULL: the default ones */
	ProxyRules proxies;
	HttpWay way;
	pthread_mutex_t lock;
	HttpClient *idle; /* under lock: the connections of the request before, or NULL */
};

/* A client that knows the way, if possible one whose connections are still up. One that is well may be put back. */
int registry_client_get(Registry *r, HttpClient **ret, Err *e);
void registry_client_put(Registry *r, HttpClient *c);

/* One of Registry.limits, as it is now. */
static inline size_t registry_limit(const int *limit)
{
	return (size_t)__atomic_load_n(limit, __ATOMIC_RELAXED);
}

/* Mirrors first, the registry itself last. */
int registry_endpoints(const Registry *r, const char *domain, Endpoint **ret, size_t *ret_n, Err *e);
void registry_endpoints_free(Endpoint *v, size_t n);
bool registry_is_insecure(char *const *rules, const char *host);

struct Session;
typedef int (*EndpointFn)(struct Session *s, HttpClient *c, void *user, Err *e);
/* Calls fn for the endpoints of the reference's domain in turn until it returns >= 0, which is returned. The error is that of the
 * registry itself, with those of the mirrors behind it. */
int registry_try_endpoints(Registry *r, const RegistryPull *p, EndpointFn fn, void *user, Err *e);
/* The same for one endpoint. */
int registry_try_endpoint(Registry *r, const RegistryPull *p, const Endpoint *ep, EndpointFn fn, void *user,
			  Err *e);

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
/* The same and up to a quarter more, so that those who were turned away together do not come back together. */
int64_t retry_delay_spread_ms(int n, int64_t retry_after_s);

#define INDEX_DEPTH_MAX 2

/* A manifest or an index, as it came. */
typedef struct Document {
	char digest[DIGEST_LEN + 1];
	char *media_type; /* what the registry calls it, or NULL */
	char *text;
	size_t len;
	json_t *json;
	ImageDocumentKind kind;
} Document;
void document_done(Document *d);
/* name: a tag or digest. want: the digest that the bytes must have, or NULL. size: -1 unless an index told it. */
int document_fetch(Session *s, HttpClient *c, const char *name, const char *want, int64_t size, Document *ret,
		   Err *e);
/* The media type that a document has: its own word, else the registry's, else by its kind. */
const char *document_media_type(const Document *d);

/* What a reference means at an endpoint. */
typedef struct Resolved {
	char digest[DIGEST_LEN + 1]; /* what the reference named: of an index or of the manifest itself */
	char manifest_digest[DIGEST_LEN + 1]; /* for the wanted platform */
	char *text;                           /* of the manifest */
	size_t len;
	ImageManifest manifest;
	Document indexes[INDEX_DEPTH_MAX]; /* that led there, the named one first */
	size_t n_indexes;
} Resolved;

void resolved_done(Resolved *r);
/* The digest that a HEAD tells for the reference; 0 if the server would not say, 1 if it did. */
int manifest_head(Session *s, HttpClient *c, const char *tag_or_digest, char ret[DIGEST_LEN + 1], Err *e);
int manifest_resolve(Session *s, HttpClient *c, const ImagePlatform *want, Resolved *ret, Err *e);
/* The bytes of a config blob, checked. */
int config_fetch(Session *s, HttpClient *c, const ImageDescriptor *d, char **ret, size_t *ret_len, Err *e);
/* The config blob, from the store or from the registry into it, decoded and checked against the manifest. */
int manifest_config(Session *s, HttpClient *c, Store *store, const ImageManifest *m, ImageConfig *ret,
		    Err *e);

/* Brings every layer of the manifest into the store; diff_ids are the config's, one a layer. c is lent to the first download. */
int layers_pull(Session *s, HttpClient *c, Store *store, const ImageManifest *m, char *const *diff_ids,
		Err *e);
/* Brings the config and every layer of an artifact in, as blobs. */
int blobs_pull(Session *s, HttpClient *c, Store *store, const ImageManifest *m, Err *e);

/* ---- lists in pages ---- */
/* The query that a Link header names for the next page ("last=x&n=100"), malloc'ed; NULL if there is none. Only the query is taken: where the
 * list lies is not the server's to say. */
char *link_next_query(const char *link);
/* The strings of the array `member` of all pages of <what>?<query>; more than max are cut off. -ENODATA (ERR_NOT_FOUND) for a 404. */
int pages_read(Session *s, HttpClient *c, const char *what, const char *query, const char *member, size_t max,
	       char ***ret, Err *e);
/* One reply with a JSON document of at most max bytes. *ret is NULL for a 404. link may be NULL. */
int json_fetch(Session *s, HttpClient *c, const char *what, const char *accept, size_t max, json_t **ret,
	       char **link, Err *e);
/* Appends "name=value", percent-encoded, with & in front unless it is the first. */
void query_add(StrBuf *b, const char *name, const char *value);
