/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the builder share: one build, and the state of the stage that it is in.
 */
#pragma once

#include "build/build.h"
#include "dockerfile/dockerfile.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/path.h"
#include "base/str.h"

/* What a stage has come to after some of its steps. */
typedef struct Stage {
	char *name;         /* AS name, or NULL */
	size_t first, last; /* its steps: [first, last) of the Dockerfile, FROM included */
	bool done;
	ImageConfig config;       /* platform, run config, history, diff ids so far */
	char *base_id;            /* image it started from, NULL for scratch */
	char *chain;              /* top layer, NULL when empty */
	char key[DIGEST_LEN + 1]; /* cache key of the last step */
	char **args;              /* K=V: ARGs declared in this stage with their values */
	size_t n_inherited;       /* entries of the history that are the base's */
	int64_t time_ns;          /* of the newest step; what makes the result reproducible from cache */
} Stage;

typedef struct Build {
	Engine *en;
	Store *store;
	const BuildRequest *rq;
	Dockerfile df;
	Stage *stages;
	size_t n_stages;
	char **global_args; /* K=V: ARGs before the first FROM */
	char *dockerfile_name;
	size_t steps_total, steps_done;
	int exit_code; /* of a failing RUN */
} Build;

/* output.c */
void build_note(Build *b, BuildOutputKind kind, const char *fmt, ...) _printf_(3, 4);
/* What a build whose client has gone ends with. */
int build_cancelled(Err *e);

/* cache.c */
typedef struct CacheHit {
	char *chain, *diff; /* chain NULL: nothing was changed by the step and there are no layers at all */
	bool empty;
	int64_t created_ns;
} CacheHit;
void cache_hit_done(CacheHit *h);
void cache_key(char key[DIGEST_LEN + 1], const char *parent, const char *instruction, const char *content);
/* 1 if found and its layer is still there. */
int cache_get(Build *b, const char *key, CacheHit *ret, Err *e);
int cache_put(Build *b, const char *key, const CacheHit *h, Err *e);

/* run.c */
int step_run(Build *b, Stage *s, const DockerfileStep *step, Err *e);
/* copy.c */
int step_copy(Build *b, Stage *s, const DockerfileStep *step, Err *e);
int step_workdir(Build *b, Stage *s, const DockerfileStep *step, Err *e);
/* build.c */
/* The environment for expansion: ARGs, overridden by ENVs. */
int stage_environment(const Stage *s, char ***ret, Err *e);
/* Enters a finished layer step into the stage (and, when fresh, into the cache). */
int stage_add_layer(Build *b, Stage *s, const DockerfileStep *step, const char *key, const CacheHit *h,
		    Err *e);
/* The stage called `name` or numbered so, finished, or NULL. */
Stage *build_stage(Build *b, const char *name);
/* Finds an image, pulling it if it is not there (or rq->pull). */
int build_image_get(Build *b, const char *reference, StoreImage *ret, Err *e);
int step_fail(const Build *b, const DockerfileStep *step, int r, Err *e);

/* source.c: what COPY and ADD take */
typedef struct Source {
	char *
	    path; /* relative to the root it comes from, clean, without leading slash; "" is the root itself */
	bool is_dir;
} Source;
typedef struct Sources {
	Source *items;
	size_t n;
} Sources;
void sources_done(Sources *s);
/* Expands a pattern (Go's filepath.Match for each component) below rootfd; ERR_NOT_FOUND when nothing matches. */
int sources_match(int rootfd, const char *pattern, Sources *ret, Err *e);
/* Digest over names, types, modes, owners and contents. */
int sources_digest(int rootfd, const Sources *s, bool owners, char ret[DIGEST_LEN + 1], Err *e);

/* tree.c */
typedef struct TreeCopy {
	bool set_owner;
	uint32_t uid, gid;
	bool set_mode;
	mode_t mode;
} TreeCopy;
/* Copies `path` of from_root (a file, link, directory or special file) to the name `name` in to_dir, merging directories. */
int tree_copy(int from_root, const char *path, int to_dir, const char *name, const TreeCopy *how, Err *e);
/* Copies what is in a directory. */
int tree_copy_contents(int from_root, const char *path, int to_dir, const TreeCopy *how, Err *e);
