/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of `build`.
 *
 * An engine of ours on this machine is given our directories as descriptors (build-local.c); any other gets a tar and answers with the classic builder's stream
 * (build-classic.c). What is done with the result afterwards (archives of images, pushing) are calls to the API, the same for both.
 */
#pragma once

#include "base/json.h"
#include "context.h"
#include "options.h"
#include "resources.h"

typedef struct BuildOptions {
	List tags, args, labels, annotations, hosts, cache_from, cache_to, ulimits, security_opts, contexts,
	    secrets, agents, outputs, allow, no_cache_filter, platforms, attests;
	const char *file, *target, *network, *iidfile, *metadata_file, *cgroup_parent, *isolation, *progress,
	    *call, *provenance, *sbom, *builder;
	bool no_cache, pull, quiet, force_rm, squash, load, push, compress, disable_content_trust, check,
	    shell_on_fail, explain;
	Tri rm;
	ResourceOptions resources;
	Num shm_size;
} BuildOptions;

typedef enum BuildOutputKind {
	OUT_IMAGE,   /* in the engine, with the names of the tags */
	OUT_CACHE,   /* nothing but cached steps */
	OUT_LOCAL,   /* the files, into a directory */
	OUT_TAR,     /* the files, as an archive */
	OUT_ARCHIVE, /* the image as an archive: format */
} BuildOutputKind;

typedef struct BuildOutput {
	BuildOutputKind kind;
	char *dest;         /* "-" for standard output, or NULL */
	const char *format; /* "docker" or "oci" */
	bool push;
} BuildOutput;

/* What the options add up to. */
typedef struct BuildPlan {
	const BuildOptions *o;
	Context context;
	BuildOutput output;
	char **tags;            /* with the names of the output */
	char *platform;         /* one, or several with commas; NULL: the engine's */
	const char *provenance; /* "min", "max", or NULL */
	bool sbom;
} BuildPlan;

/* What came of it. */
typedef struct BuildOutcome {
	char *id;               /* of the image, or NULL */
	char *digest;           /* of its index or manifest, if it has one by now, or NULL */
	char *failed_container; /* the one that was kept, or NULL */
	char *failed_image;     /* its files, which are there as long as held_fd is open, or NULL */
	int held_fd;
} BuildOutcome;

void build_outcome_done(BuildOutcome *o);

/* build-output.c. "-o" and its shorthands. */
int build_output_parse(const BuildOptions *o, BuildOutput *ret, char ***tags, Err *e);
void build_output_done(BuildOutput *out);
/* After the build: archives, pushes, files about it. */
int build_output_finish(Cli *cli, const BuildPlan *p, const BuildOutcome *out, Err *e);

/* build-attest.c: --provenance, --sbom and --attest, into the plan. */
int build_attest_parse(const BuildOptions *o, BuildPlan *p, Err *e);

/* build-classic.c */
int build_classic(Call *call, const BuildPlan *p, BuildOutcome *ret, Err *e);
/* The first option that only our own way has, or NULL. */
const char *build_classic_lacks(const BuildPlan *p);

/* build-local.c. 1: the engine is not ours, or cannot read our files; nothing was done. */
int build_local(Call *call, const BuildPlan *p, BuildOutcome *ret, Err *e);

/* build-files.c: what goes with the request as descriptors. */
typedef struct BuildFiles {
	json_t *docs; /* [{"kind", "name"}] */
	int fds[32];
	size_t n;
	char **contexts; /* NAME=VALUE as the engine is told */
	char **agents;   /* ID=PATH */
} BuildFiles;
/* The name of a Dockerfile that lies outside the context, in its own directory, or NULL. */
const char *build_files_dockerfile(const BuildPlan *p);
int build_files_open(const BuildPlan *p, BuildFiles *ret, Err *e);
/* Takes the descriptor, on failure too. */
int build_files_add(BuildFiles *f, const char *kind, const char *name, int fd, Err *e);
void build_files_done(BuildFiles *f);

/* build-local.c: NAME=VALUE of build arguments, a bare NAME with our own value if we have one. */
int build_args(const BuildOptions *o, char ***ret, Err *e);

/* build-call.c: what --call asks for ("check", "outline,format=json"), on standard output; the exit status. */
int build_call(Call *call, const BuildPlan *p, const char *wanted, Err *e);

/* build-shell.c: a shell in what a failed step has left, in its container; its exit status. */
int build_shell(Cli *cli, const char *container, Err *e);
/* The same in an image; its exit status. */
int build_shell_image(Cli *cli, const char *image, Err *e);
