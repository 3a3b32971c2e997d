/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distribution client: pulls images from OCI registries and Docker Hub into the store, and pushes them.
 *
 * Layers are fetched in parallel (a bounded number), hashed while written and unpacked while they arrive; a layer
 * counts only after its digest and diff id were verified. Credentials and tokens are sent only to the host that they are for, never along a
 * redirect to another one; a token realm on another host gets no password.
 */
#pragma once

#include "base/err.h"
#include "oci/reference.h"
#include "store/store.h"

typedef struct Registry Registry;

/* How much at once, and how often; 0: as usual. */
typedef struct RegistryLimits {
	int layers;   /* of one pull at once: 4 */
	int blobs;    /* of one push at once: 5 */
	int attempts; /* in a row that bring nothing of a layer: 5 */
} RegistryLimits;

typedef struct RegistryOptions {
	char *const *
	    insecure; /* host[:port] or CIDR where plain HTTP or unverified TLS is allowed; loopback always is */
	char *const *
	    mirrors; /* "docker.io=http://127.0.0.1:5000": tried first; "*=..." for all registries that have none of their own */
	char *const *
	    token_servers; /* "registry.acme.org=login.example.net": who also gets a registry's credentials */
	RegistryLimits limits;
	const char *user_agent;
	char *const *certs_dirs; /* see certs.h; NULL: /etc/ireko/certs.d, /etc/docker/certs.d */
	const char *http_proxy, *https_proxy, *no_proxy; /* see proxy.h; the environment is not looked at */
	int stall_s;                                     /* 0: 60 */
} RegistryOptions;

int registry_new(const RegistryOptions *o, Registry **ret, Err *e);
void registry_free(Registry *r);
/* From now on these, checked as registry_new does; what is under way goes on with those from before. Both may be NULL. */
int registry_set_rules(Registry *r, char *const *insecure, char *const *mirrors, Err *e);
/* For what begins from now on. */
void registry_set_limits(Registry *r, const RegistryLimits *l);
DEFINE_CLEANUP(Registry *, registry_free)

/* All NULL: anonymous. */
typedef struct RegistryAuth {
	const char *username, *password;
	const char *identity_token; /* is exchanged for tokens, in place of the password */
	const char *registry_token; /* is the token: sent as it is, before everything else */
} RegistryAuth;

typedef struct RegistryLogin {
	const char *server; /* "docker.io", host[:port], or as config.json has it */
	RegistryAuth auth;
	bool (*cancelled)(void *user); /* polled; may be NULL */
	void *user;
} RegistryLogin;
/* Asks the registry whether it takes the credentials. *ret_identity_token (malloc'ed, to be wiped; NULL: none) is what its token server wants to be
 * kept in place of the password. ERR_UNAUTHORIZED: it does not take them; ERR_UNAVAILABLE, ERR_INVALID: there is nothing to ask. */
int registry_login(Registry *r, const RegistryLogin *l, char **ret_identity_token, Err *e);

/* Docker's pull messages (docker-api-map 1.8 "pull messages"): id may be NULL; total 0: no progress. May be called from several threads. */
typedef void (*RegistryProgress)(void *user, const char *id, const char *status, int64_t current,
				 int64_t total);

typedef struct RegistryPull {
	const Reference *reference;
	const ImagePlatform *platform; /* NULL: this machine's */
	bool
	    aside; /* of another platform than this machine's it takes the name from no image that is of it, but becomes that one's part */
	RegistryAuth auth;
	RegistryProgress progress;
	void *user;
	bool (*cancelled)(void *user); /* polled; may be NULL */
} RegistryPull;

/* Drops what interrupted downloads have left, for a pull that comes again, and nobody has asked for in age_ns. */
void registry_forget_partials(Registry *r, int64_t age_ns);

/* Pulls and tags. ERR_NOT_FOUND ("manifest for x:y not found: ..."), ERR_UNAUTHORIZED, ERR_UNAVAILABLE (network), ERR_INVALID (digest
 * mismatch, hostile documents). *ret_updated is false when the image was there already. */
int registry_pull(Registry *r, Store *s, const RegistryPull *p, char ret_image_id[DIGEST_LEN + 1],
		  char ret_digest[DIGEST_LEN + 1], bool *ret_updated, Err *e);

typedef struct RegistryPushTag {
	const char *tag, *image_id;
} RegistryPushTag;

typedef struct RegistryPush {
	const Reference *repository; /* its domain and path count */
	const RegistryPushTag *tags;
	size_t n_tags;
	LayerForm form; /* of layers that have no blob yet */
	bool convert;   /* all layers in that form, whatever they came as */
	bool single; /* the image alone, even if the index that it came by is here with all that is in it */
	RegistryAuth auth;
	RegistryProgress progress; /* Docker's push messages; id is of the layer's diff id */
	void (*pushed)(void *user, const char *tag, const char *manifest_digest,
		       int64_t size); /* may be NULL */
	void *user;
	bool (*cancelled)(void *user); /* polled; may be NULL */
} RegistryPush;

/* Pushes images of the store and their tags. Hold a lease. ERR_DENIED and ERR_UNAUTHORIZED in Docker's words, ERR_UNAVAILABLE (network,
 * limits). What was pushed before a failure stays at the registry; a tag is set only when all of its image is there. */
int registry_push(Registry *r, Store *s, const RegistryPush *p, Err *e);

/* An index over manifests that its registry has, be it in other repositories. */
typedef struct RegistryIndexPut {
	RegistryPull at; /* the tag that the index gets, who asks, whether it is over; a tag is set */
	const Reference
	    *sources; /* of each manifest: its repository and its digest; all in the domain of `at` */
	size_t n_sources;
	const char *text, *digest, *media_type; /* of the index */
	size_t len;
} RegistryIndexPut;

/* Brings to the repository what the index names: blobs are mounted from where they are, no byte of them is moved. Fails as registry_push does, and with
 * ERR_INVALID if a source is an index itself. */
int registry_index_put(Registry *r, const RegistryIndexPut *x, Err *e);
/* ---- looking without pulling. Of the RegistryPull, progress and platform are not used. ---- */

/* A manifest or an index, checked against the digest that names it. */
typedef struct RegistryDocument {
	char digest[DIGEST_LEN + 1];
	char *media_type, *text;
	size_t len;
	json_t *json;
	bool is_index;
} RegistryDocument;
void registry_document_done(RegistryDocument *d);
/* Fails as registry_pull does. */
int registry_document(Registry *r, const RegistryPull *p, RegistryDocument *ret, Err *e);
/* For what platforms it is: of an index what its entries say, of a manifest what its config says. An array of OCI platform objects. */
int registry_platforms(Registry *r, const RegistryPull *p, const RegistryDocument *d, json_t **ret, Err *e);
/* All tags of the repository, in the registry's order, at most REGISTRY_TAGS_MAX. */
#define REGISTRY_TAGS_MAX 100000
int registry_tags(Registry *r, const RegistryPull *p, char ***ret, Err *e);
/* What refers to the image (signatures, attestations, SBOMs ...): an array of OCI descriptors. artifact_type NULL: of every type. */
int registry_referrers(Registry *r, const RegistryPull *p, const char *artifact_type,
		       char ret_subject[DIGEST_LEN + 1], json_t **ret, Err *e);

typedef struct RegistrySearch {
	const char *domain; /* docker.io, or a registry: its search if it has one, else its catalog */
	const char *term;
	int limit;
	RegistryAuth auth;
	bool (*cancelled)(void *user);
	void *user;
} RegistrySearch;
/* An array of {"name", "description", "star_count", "is_official", "is_automated"}. */
int registry_search(Registry *r, const RegistrySearch *q, json_t **ret, Err *e);
