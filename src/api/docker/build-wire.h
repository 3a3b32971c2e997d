/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How our own command line builds on this machine: POST /ireko/build, answered with 101, then lines of JSON over the unix socket.
 *
 * The client's first line is the request, which comes with a descriptor for each of its "files" (SCM_RIGHTS): directories, the Dockerfile's text, secrets, and what is written to. The
 * engine's lines are BuildKit's rawjson ({"vertexes", "statuses", "logs", "warnings"}, a vertex with "why" too) and, one at a time,
 * questions, each of which the client answers with a line:
 *
 *     {"ask": "auth", "name": DOMAIN}   {"account": {...}}, {} for none
 *     {"ask": "ssh", "name": ID}        {"connected": true} with a connected socket
 *     {"ask": "file", "name": NAME, "directory": DIR, "write": BOOL}
 *                                       {"opened": true} with the file, one of a cache that is a directory of the client's
 *
 * or, to each, {"error": TEXT}.
 *
 * The last line is {"result": {"ID", "config", "digest", "mediaType", "size"}} (the latter three of an index or a manifest, if one was needed), {"error": {"message", ...}}, or {"refused": TEXT}: nothing was done, send a tar instead.
 *
 * With "shellOnFail" the error of a RUN has "container" and "image", what the step has left; both, and containers of the image, go when the client ends the connection.
 *
 * Pure, but for nothing: texts in, documents out. Fuzzed.
 */
#pragma once

#include "base/json.h"
#include "base/str.h"
#include "build/build.h"

#define BUILD_REQUEST_MAX (1u << 20)
#define BUILD_ANSWER_MAX  (64u << 10)
#define BUILD_FILES_MAX   32
#define BUILD_SECRET_MAX  (500u << 10)

/* What a descriptor is. */
typedef struct LocalFile {
	char *kind; /* "directory", "dockerfile", "secret", "archive", "upload" (a tar that is the context) */
	char *name; /* of a directory or secret */
} LocalFile;

typedef struct LocalRequest {
	char *dockerfile, *context, *target, *network, *platform, *provenance;
	char *cpuset_cpus, *cpuset_mems, *cgroup_parent;
	char **tags, **args, **labels, **hosts, **ulimits, **contexts, **allow, **no_cache_stages, **agents,
	    **cache_from, **cache_to, **annotations;
	bool no_cache, pull, squash, keep_failed, shell_on_fail, image, sbom;
	int64_t memory, memory_swap, cpu_shares, cpu_period, cpu_quota, shm_size;
	LocalFile *files;
	size_t n_files;
} LocalRequest;

/* A line of a stranger's with that many descriptors. Members that are not known are refused. */
int build_wire_request(const char *text, size_t len, size_t n_fds, LocalRequest *ret, Err *e);
void build_wire_request_done(LocalRequest *rq);
/* Appends the event as a line; nothing for what only the classic stream has. */
void build_wire_event(StrBuf *b, const BuildEvent *ev, const char *dockerfile);

/* ---- build-held.c: what a failed step has left ---- */
int build_held_image(Engine *en, const char *container, char ret_id[DIGEST_LEN + 1], Err *e);
/* Until the client ends the connection; then the container and the image go. */
void build_hold(Engine *en, int sock, const char *container, const char *image);
