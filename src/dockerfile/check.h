/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is no error in a Dockerfile but is likely not what was meant: BuildKit's build checks, with its names and wording, and the
 * descriptions of a Dockerfile that docker build --call shows (outline, targets, check).
 *
 * Pure: what a base image brings along and what .dockerignore excludes is asked of the caller.
 */
#pragma once

#include "dockerfile/dockerfile.h"
#include "dockerfile/ignore.h"

typedef struct DockerfileWarning {
	const char *rule;        /* "StageNameCasing" */
	const char *description; /* what the rule is about */
	const char *url;         /* of its documentation, or "" */
	const char *detail;      /* what is wrong here */
	DockerfilePlace place;
} DockerfileWarning;

/* What is known of a base image; members are malloc'ed by the callback. */
typedef struct DockerfileBase {
	char **env;     /* K=V */
	char *platform; /* "linux/arm64/v8", or NULL */
	bool has_shell; /* its configuration has a shell */
} DockerfileBase;

typedef struct DockerfileCheckInput {
	char *const *build_args;    /* K=V; BUILDKIT_DOCKERFILE_CHECK takes the place of "# check" */
	const Ignore *ignore;       /* of the context, or NULL */
	const char *platform;       /* of the target, "linux/amd64" if NULL */
	const char *build_platform; /* of this host, the same */
	const char *target;         /* name or number of a stage, NULL: the last */
	bool all_stages;            /* also those that the target does not need */
	/* 1 and *ret filled if the image is known, else 0. NULL: no image is; what its environment may hold is not missed then. */
	int (*base)(void *user, const char *image, const char *platform, DockerfileBase *ret);
	void *user;
} DockerfileCheckInput;

typedef void (*DockerfileSink)(void *user, const DockerfileWarning *w);

/* Calls sink (with in->user) for each warning. ERR_INVALID if the options of "# check" are wrong, if the target does not exist, or, with
 * error=true, if there was a warning: "lint violation found for rules: A, B". */
int dockerfile_check(const Dockerfile *d, const DockerfileCheckInput *in, DockerfileSink sink, Err *e);

/* Only InvalidBaseImagePlatform, once a base image is known: `image` is for the platform `actual`, and `expected` was wanted. */
int dockerfile_check_base(const Dockerfile *d, const DockerfileCheckInput *in, const DockerfileStep *from,
			  const char *image, const char *actual, const char *expected, DockerfileSink sink,
			  Err *e);

/* The documents of docker build --call: as JSON and as the text that it prints; both are malloc'ed. */
typedef struct DockerfileReport {
	char *json, *text;
	int status; /* what the command exits with */
} DockerfileReport;
void dockerfile_report_done(DockerfileReport *r);

/* The arguments, secrets and ssh sockets that a target takes. */
int dockerfile_outline(const char *text, size_t len, const char *name, const DockerfileCheckInput *in,
		       DockerfileReport *ret, Err *e);
/* The stages that can be built. */
int dockerfile_targets(const char *text, size_t len, const char *name, DockerfileReport *ret, Err *e);
/* All warnings, and the error if the file cannot be parsed (which is no failure of this function). */
int dockerfile_lint(const char *text, size_t len, const char *name, const DockerfileCheckInput *in,
		    DockerfileReport *ret, Err *e);
