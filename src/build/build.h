/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds what a Dockerfile says: an image, or the files of a stage.
 *
 * build_solve() reads the Dockerfile (floor dockerfile), finds the stages that the target needs, and runs each in a thread of its own; a stage
 * waits where it needs another one. A step is looked up in the cache first; its key is the hash of the parent's key, the expanded instruction and
 * the contents of what it reads. Equal steps of builds that run at the same time are executed once (Builder). What comes of it is a
 * BuildResult, which is then exported, any number of times, to names, to a directory, to an archive.
 *
 * All that is the client's (directories, secrets, ssh agents, accounts) is asked for through BuildClient when it is needed, from several
 * threads; events arrive one at a time. Contexts, Dockerfiles and steps are hostile.
 */
#pragma once

#include "base/err.h"
#include "engine/engine.h"

typedef struct Builder Builder;
typedef struct BuildResult BuildResult;

/* ---- what is told ---- */

/* A node of the graph. It is told when it starts and again when it has ended. */
typedef struct BuildVertex {
	char digest[DIGEST_LEN + 1];  /* its name in this build */
	char *name;                   /* "[base 2/5] RUN make" */
	char **inputs;                /* digests; may be NULL */
	int64_t started_ns, ended_ns; /* 0: not yet */
	bool cached;
	char *error; /* NULL: none */
	char *why;   /* of a step: why it was or was not taken from the cache; NULL: not known yet */
	int line;    /* of the Dockerfile, 0: none */
} BuildVertex;

typedef enum BuildEventKind {
	BUILD_VERTEX,   /* vertex has changed */
	BUILD_PROGRESS, /* of a part of it: id, current, total, started_ns, ended_ns */
	BUILD_LOG,      /* text, len: raw output of it; stream 1 or 2 */
	BUILD_WARNING,  /* text: one line; rule, detail, url, line, last_line */
	/* What the classic builder's stream has, text without newline: */
	BUILD_STEP, /* "Step 3/7 : RUN ..." */
	BUILD_NOTE, /* " ---> Using cache", " ---> Running in <id>", " ---> <id>" */
} BuildEventKind;

typedef struct BuildEvent {
	BuildEventKind kind;
	int64_t time_ns;
	const BuildVertex *vertex; /* NULL for BUILD_STEP and BUILD_NOTE */
	const char *text, *id;
	size_t len;
	int stream;
	int64_t current, total, started_ns, ended_ns;
	const char *rule, *detail, *url;
	int line, last_line;
	const char *file, *source; /* of a warning: the Dockerfile's name and text */
	size_t source_len;
} BuildEvent;

/* ---- what is asked of the client ---- */

/* Which files of a directory are wanted. All NULL: everything. The engine applies the patterns again to what it gets. */
typedef struct BuildFiles {
	char *const *exclude; /* as in .dockerignore */
	char *const *follow;  /* paths and patterns: these, what they link to, and nothing else */
} BuildFiles;

typedef struct BuildClient {
	void *user;
	/* Opens a directory: "context", "dockerfile" (which has the Dockerfile and its .dockerignore; often the context itself), or what
	 * stands behind "local:" of a named context. -> a descriptor of the caller's. progress: the vertex that transfers it. */
	int (*directory)(void *user, const char *name, const BuildFiles *files, const BuildVertex *vertex,
			 int *ret_fd, Err *e);
	/* malloc'ed; ERR_NOT_FOUND if the client has none of that id. NULL: this client has no secrets. */
	int (*secret)(void *user, const char *id, uint8_t **ret, size_t *ret_len, Err *e);
	/* A connection to the agent `id`, a stream socket of the caller's. NULL: none. */
	int (*ssh)(void *user, const char *id, int *ret_fd, Err *e);
	/* The upload that "http://buildkit-session/..." names: a readable descriptor of the caller's. NULL: none. */
	int (*upload)(void *user, const char *url, int *ret_fd, Err *e);
	/* A file in a directory of the client's, for reading or to be written: a cache of type=local. NULL: it has none. */
	int (*file)(void *user, const char *dir, const char *name, bool write, int *ret_fd, Err *e);
	/* The result that the named context "input:KEY" stands for; the client keeps it. NULL: none. */
	BuildResult *(*input)(void *user, const char *key);
	/* Account at a registry; may leave it empty. */
	void (*auth)(void *user, const char *domain, EngineAuth *ret);
	void (*event)(void *user, const BuildEvent *ev);
	int alive_fd; /* poll(2) says POLLERR or POLLHUP once nobody waits any more; -1: somebody always does */
} BuildClient;

/* ---- the request ---- */

typedef struct BuildRequest {
	const BuildClient *client;
	const char *context;         /* NULL: the client's directory; or a URL, as docker build takes it */
	const char *dockerfile;      /* path, default "Dockerfile" */
	const char *dockerfile_text; /* or the text itself, NULL otherwise */
	bool own_dockerfile;         /* it is in the client's directory, wherever the context is */
	char *const *
	    named_contexts; /* NAME=VALUE: local:DIR, docker-image://REF, oci-layout://DIR@DIGEST, target:STAGE, input:KEY, URL */
	char *const *args;            /* K=V (K alone: unset) */
	char *const *labels;          /* K=V */
	char *const *extra_hosts;     /* HOST:IP */
	char *const *ulimits;         /* NAME=SOFT[:HARD] */
	char *const *entitlements;    /* "network.host", "security.insecure": what RUN may ask for */
	char *const *no_cache_stages; /* with no_cache: only these; NULL: all */
	char *const *cache_from;      /* "type=registry,ref=NAME", "type=local,src=DIR", or a name */
	char *const *cache_to; /* "type=registry,ref=NAME[,mode=max]", "type=local,dest=DIR", "type=inline" */
	const char *target;    /* stage, or NULL: the last */
	const char *network_mode; /* of RUN */
	const char *hostname;     /* of RUN */
	const char *
	    platform; /* "linux/arm64", or several with commas: the result has an image of each; NULL: this machine's */
	const char *provenance; /* "min" or "max": what the image was made from is attested; NULL: nothing */
	bool sbom;              /* the packages in it are */
	bool index;             /* it is an index though there is one platform */
	bool no_cache, pull;
	bool keep_failed; /* the container of a step that fails stays */
	bool in_order;    /* one stage after the other: the classic builder's stream */
	bool squash;
	int64_t memory, memory_swap, cpu_shares, cpu_period, cpu_quota, shm_size;
	const char *cpuset_cpus, *cpuset_mems, *cgroup_parent;
} BuildRequest;

/* How a build failed. To be released by build_failure_done. */
typedef struct BuildFailure {
	int status;          /* exit status of the RUN that failed, 0: it was something else */
	char *command;       /* what it ran, as text */
	char *output;        /* its last lines, "" if there were none */
	char *container_id;  /* the one that was kept (keep_failed), or NULL */
	int line, last_line; /* of the Dockerfile; 0: no particular one */
	char *file, *source; /* the Dockerfile's name and text; NULL: it was not read */
	size_t source_len;
	char *excerpt; /* the lines around it as docker shows them, or NULL */
} BuildFailure;
void build_failure_done(BuildFailure *f);

/* Until it is forgotten: files that are seen on the device `seen` are those of `real` with the same inode numbers, so that what is remembered of these holds for
 * them. For directories that a client opens to us through a view (engine_directory_as), whose device is another each time. */
void build_device_is(uint64_t seen, uint64_t real);
void build_device_forget(uint64_t seen);

int builder_new(Engine *en, Builder **ret, Err *e);
/* When no build is under way. */
void builder_free(Builder *b);

/* Errors: ERR_INVALID with "Dockerfile:3: unknown instruction: FRO (did you mean FROM?)"; a failing RUN: "process "/bin/sh -c false" did not
 * complete successfully: exit code: 1". *ret_failure (may be NULL) says more. Nothing half made stays. */
int build_solve(Builder *b, const BuildRequest *rq, BuildResult **ret, BuildFailure *ret_failure, Err *e);
void build_result_free(BuildResult *r);
/* What docker says to a name that is none; before a build begins. */
int build_tags_check(char *const *tags, Err *e);
/* The image's configuration as it will be written, of the first platform; the result's. */
const char *build_result_config(const BuildResult *r);
typedef struct BuildImageOptions {
	char *const *tags;        /* names that it is given, and takes from other images; NULL: none */
	char *const *annotations; /* as --annotation has them: [PLACE[PLATFORM]:]KEY=VALUE */
	bool manifest;            /* it gets one, of compressed layers, though nothing asks for it */
} BuildImageOptions;
/* Before a build begins. */
int build_annotations_check(char *const *annotations, Err *e);
typedef struct BuildImageMade {
	char id[DIGEST_LEN + 1]; /* of the image that the names stand for */
	char digest[DIGEST_LEN +
		    1]; /* of the index or manifest, "" if none was needed: it is an image of one platform */
	const char *media_type;
	int64_t size; /* of that document */
} BuildImageMade;
/* Makes the image, of all platforms, with what is attested of it. */
int build_result_image(BuildResult *r, const BuildImageOptions *o, BuildImageMade *ret, Err *e);
/* Writes an archive of the image, "docker" or "oci", in which it has these names; the engine keeps nothing of it. */
int build_result_archive(BuildResult *r, const BuildImageOptions *o, const char *format, int out_fd,
			 BuildImageMade *ret, Err *e);
/* Its files, read only, as a detached mount: a descriptor of the caller's. ERR_NOT_FOUND: it has no files. */
int build_result_mount(BuildResult *r, int *ret_fd, Err *e);
/* The files of all platforms: of several each is in a directory of its own, "linux_arm64". */
int build_result_mount_all(BuildResult *r, int *ret_fd, Err *e);

/* ---- directories of RUN --mount=type=cache, as rows of the build cache: key is their name, step what they are ---- */
int build_cache_mounts_list(Store *s, StoreCacheEntry **ret, size_t *ret_n, Err *e);
/* Removes those that match and that no step uses; names and bytes are added. Limits of p do not count. */
int build_cache_mounts_prune(Store *s, const StoreCachePrune *p, char ***ret_names, int64_t *ret_bytes,
			     Err *e);
