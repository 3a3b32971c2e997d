/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds an image from a Dockerfile and a context directory.
 *
 * Front end (dockerfile.h: text -> instructions, expanded lazily) -> graph of stages -> solver, which
 * runs only the stages that the target needs, step by step, looking each one up in the build cache first. A step's cache key is the hash
 * of the parent's key, the expanded instruction and, for COPY and ADD, the contents of what it copies.
 */
#pragma once

#include "base/err.h"
#include "engine/engine.h"

typedef enum BuildOutputKind {
	BUILD_STEP,   /* "Step 3/7 : RUN ..."; text without newline */
	BUILD_NOTE,   /* " ---> Using cache", " ---> Running in <id>", " ---> <id>" */
	BUILD_STDOUT, /* raw output of a RUN */
	BUILD_STDERR,
	BUILD_PULL, /* progress of a base image: `id`, text = status, current, total */
	BUILD_WARNING,
} BuildOutputKind;

typedef struct BuildOutput {
	BuildOutputKind kind;
	const char *text;
	size_t len;
	const char *id;
	int64_t current, total;
} BuildOutput;

typedef struct BuildRequest {
	int context_fd;              /* directory with the context, hostile; not closed */
	const char *dockerfile;      /* path in the context, default "Dockerfile" */
	const char *dockerfile_text; /* or the text itself, NULL otherwise */
	char *const *tags;
	char *const *args;   /* K=V (K alone: unset) */
	char *const *labels; /* K=V */
	char *const *extra_hosts;
	const char *target; /* stage, or NULL: the last */
	const char *network_mode;
	const char *platform;
	bool no_cache, pull, keep_containers;
	int64_t memory, memory_swap, cpu_shares, cpu_period, cpu_quota, shm_size;
	const char *cpuset_cpus, *cpuset_mems, *cgroup_parent;
	/* Credentials for base images; may leave it empty. */
	void (*auth)(void *user, const char *domain, EngineAuth *ret);
	void (*output)(void *user, const BuildOutput *o);
	void *user;
	int alive_fd;
} BuildRequest;

/* Errors: ERR_INVALID with "Dockerfile:3: unknown instruction: FRO (did you mean FROM?)"; a failing RUN: "The command '/bin/sh -c false'
 * returned a non-zero code: 1". *ret_code (may be NULL) is then that code, else 0. Nothing half made stays. */
int build_image(Engine *en, const BuildRequest *rq, char ret_image_id[DIGEST_LEN + 1], int *ret_code, Err *e);
