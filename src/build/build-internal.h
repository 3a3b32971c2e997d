/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the builder share: one build, and the stages that it is in.
 *
 * A Stage belongs to the thread that runs it until it is STAGE_DONE; from then on it does not change and all may read it. What the threads share is
 * under Build.lock. The first that fails ends the others: alive_fd reports POLLHUP, which everything long looks at.
 */
#pragma once

#include "build/build.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/path.h"
#include "base/str.h"
#include "dockerfile/dockerfile.h"
#include "dockerfile/ignore.h"

#include <pthread.h>

typedef enum StageState { STAGE_WAITING, STAGE_DONE, STAGE_FAILED } StageState;

typedef struct Build Build;
struct CacheRecord;

/* What a stage has come to after some of its steps. */
typedef struct Stage {
	char *name;           /* AS name, lower case, or NULL */
	size_t index;         /* among the stages */
	size_t first, last;   /* its steps: [first, last) of the Dockerfile, FROM included */
	char *base;           /* what FROM names, expanded */
	char *platform;       /* of FROM --platform, expanded, or NULL */
	struct Stage *parent; /* the stage that FROM names, or NULL */
	struct Stage **
	    late; /* stages that its ONBUILD triggers name, which were not known when the plan was made; Build.lock */
	size_t n_late;
	unsigned depth; /* so many stages that wait for it were found late */
	bool needed;    /* Build.lock, once threads are about; so is what follows */
	bool begun;     /* somebody makes it, or has made it */
	StageState state;
	unsigned parts;      /* its steps that are vertices */
	unsigned part;       /* of these, the one it is at, from 1 */
	BuildVertex *vertex; /* of the step it is at; the Build's */

	ImageConfig config;       /* platform, run config, history, diff ids so far */
	char *base_id;            /* image it started from, NULL for scratch */
	char *chain;              /* top layer, NULL when empty */
	char key[DIGEST_LEN + 1]; /* cache key of the last step */
	char **args;              /* K=V: ARGs declared in this stage with their values */
	char **declared; /* the names of these, in order, also without a value: what history shows of a RUN */
	bool cmd_set;    /* by this stage: an ENTRYPOINT leaves such a CMD alone */
	struct CacheRecord *records; /* of its steps and of those it began with (cache-image.h) */
	size_t n_records;
	size_t n_base_layers; /* layers that are the base's */
	size_t n_inherited;   /* entries of the history that are the base's */
	int64_t time_ns;      /* of the newest step; what makes the result reproducible from cache */
	EngineSpare *spare;   /* the beginning of its next RUN's container, or NULL */
	char *spent;          /* the container of its last RUN, which is still to be removed; or NULL */
} Stage;

typedef struct Vertices {
	BuildVertex **items;
	size_t n;
} Vertices;

struct Build {
	Builder *builder;
	Engine *en;
	Store *store;
	const BuildRequest *rq;
	const char *label; /* of a build for several platforms: this one's */
	bool
	    follows; /* of several, not the first: its caches have names of their own, and what all would warn of is told */
	int64_t began_ns;
	char *dockerfile_name, *dockerfile_text;
	size_t dockerfile_len;
	Dockerfile df;
	Ignore ignore; /* of the context */
	Stage *stages;
	size_t n_stages, target;
	Stage **order; /* those that are needed, each behind what it needs */
	size_t n_order;
	char **global_args;   /* K=V: ARGs before the first FROM, and the platforms */
	char **platform_args; /* K=V: TARGETPLATFORM ..., which a stage gets by declaring them */
	char **proxy_args;    /* K=V: HTTP_PROXY ... of the request, which every RUN has and no key */
	size_t steps_total, steps_done;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* of a stage's state */
	int alive_fd;           /* POLLHUP: the build is given up */
	int stop_fd;            /* the other end, until then */
	int failed;             /* what the first failure returned, 0: none */
	Err failure;
	BuildFailure how;

	pthread_mutex_t context_lock;
	int context_fd; /* the main context, once it was asked for */
	struct Context *contexts;

	pthread_mutex_t events_lock; /* events are told one at a time; also guards what follows */
	Vertices vertices;
	char seed[17];       /* makes the names of this build's vertices its own */
	char **cache_mounts; /* names of the caches that its steps were given */
	char **used_args;    /* names of build arguments that something asked for */
	json_t *materials;   /* what it was made from (provenance.c) */
};

/* ---- progress.c ---- */
/* A vertex that has not begun; the Build's. NULL without memory. */
BuildVertex *vertex_new(Build *b, int line, const char *fmt, ...) _printf_(3, 4);
void vertex_begin(Build *b, BuildVertex *v);
/* r < 0: with the error. Ends what has begun; returns r. */
int vertex_end(Build *b, BuildVertex *v, int r, const Err *e);
void vertex_cached(Build *b, BuildVertex *v);
void vertex_why(Build *b, BuildVertex *v, const char *fmt, ...) _printf_(3, 4);
void vertex_log(Build *b, const BuildVertex *v, int stream, const char *text, size_t len);
/* ended: it is whole. */
void vertex_progress(Build *b, const BuildVertex *v, const char *id, int64_t current, int64_t total,
		     bool ended);
void vertices_done(Build *b);
/* Of the Dockerfile: everything but the file is given. */
void build_warning(Build *b, const BuildEvent *ev);
void build_warn(Build *b, const char *rule, const char *url, int line, int last_line, const char *fmt, ...)
    _printf_(6, 7);
/* Lines of the classic builder's stream. */
void build_tell(Build *b, BuildEventKind kind, const char *fmt, ...) _printf_(3, 4);

/* ---- provenance.c ---- */
/* Notes something that the build is made from, if provenance is asked for: algorithm and digest as SLSA's ResourceDescriptor has them. */
int material_add(Build *b, const char *uri, const char *algorithm, const char *digest, Err *e);
/* The same without what an URL says of a user. */
int material_add_url(Build *b, const char *url, const char *algorithm, const char *digest, Err *e);

/* ---- lint.c ---- */
/* Warns of what is likely not meant; an error only where the Dockerfile wants it so. */
int build_lint(Build *b, Err *e);
/* Once the base image of a stage is here: whether it is for another platform. */
int build_lint_base(Build *b, const Stage *s, Err *e);

/* ---- cache.c ---- */
typedef struct CacheHit {
	char *chain; /* NULL: nothing was changed by the step and there are no layers at all */
	char *
	    diff; /* of the layer that it gave; of two (delta.h): with a blank between them, the lower first */
	bool empty;
	int64_t created_ns;
} CacheHit;
void cache_hit_done(CacheHit *h);
void cache_key(char key[DIGEST_LEN + 1], const char *parent, const char *instruction, const char *content);
typedef int (*CacheMakeFn)(Build *b, Stage *s, const DockerfileStep *step, void *arg, CacheHit *ret, Err *e);
typedef struct CacheStep {
	const DockerfileStep *step;
	const char *key;
	const char *told;    /* what history says of it */
	const char *content; /* digest of the files that it reads, or NULL */
	CacheMakeFn make;
	void *arg;     /* of make */
	bool floating; /* neither the key nor the layer depends on the layers below */
} CacheStep;
/* What the step gives: from the cache, from another build that is making it, or by make(). Enters it into the stage and its vertex. */
int cache_step(Build *b, Stage *s, const CacheStep *st, Err *e);

/* ---- commit.c ---- */
/* What a step has changed, a snapshot's upper directory, as a layer over the stage's; the directory is empty or gone afterwards. */
int step_commit(Build *b, const Stage *s, const char *upper, CacheHit *ret, Err *e);
/* The same over other layers. */
int step_commit_on(Build *b, const char *parent, const char *upper, CacheHit *ret, Err *e);
/* 1 and the build argument SOURCE_DATE_EPOCH as nanoseconds, 0 if it was not given. */
int build_epoch(const Build *b, int64_t *ret_ns, Err *e);

/* ---- cache-transfer.c ---- */
/* What --cache-from names is in the cache afterwards, or there is a warning. */
void cache_import(Build *b);
/* Of a build that has succeeded. */
int cache_export(Build *b, Err *e);
/* Whether the image itself is to say which step gave which layer. */
bool cache_is_inline(const Build *b);

/* ---- flight.c: steps that are being made, of all builds ---- */
typedef struct Flight Flight;
/* 0 and a flight to be ended if the caller is the first to make the step `key`; else waits until the one who makes it is done, and 1: he may have failed,
 * so look into the cache and, if it is not there, begin again. */
int flight_begin(Builder *b, const char *key, int alive_fd, Flight **ret, Err *e);
void flight_end(Flight *f);
/* ---- plan.c ---- */
/* The stages of the Dockerfile, what each needs, and an order to make them in. */
int plan_make(Build *b, Err *e);
/* What a step that no plan knew needs: stages to be made by the caller, in order, before the step. An error if one of them waits for s. */
int plan_late(Build *b, Stage *s, const DockerfileStep *step, Stage ***ret, size_t *ret_n, Err *e);
/* The stage called `name` or numbered so, or NULL. */
Stage *build_stage(Build *b, const char *name);
/* ARG NAME[=VALUE]... in this environment. */
int plan_args(Build *b, const DockerfileStep *step, char *const *env, Stage *s, char ***args, Err *e);
/* The value of a build argument of the request, noted as used; NULL: none. */
const char *plan_given_arg(Build *b, const char *name);

/* ---- stage.c ---- */
int stage_run(Build *b, Stage *s, Err *e);
void stage_done(Stage *s);
/* The environment of its steps: ENVs, and the ARGs that came after them. */
int stage_environment(const Stage *s, char ***ret, Err *e);
/* Enters a finished layer step into the stage. */
int stage_add_layer(Stage *s, const char *created_by, const char *key, const CacheHit *h, Err *e);
int stage_add_history(Stage *s, const char *created_by, bool empty, Err *e);
/* Or may: what else is there only changes the configuration. */
bool step_makes_layer(const DockerfileStep *step);
/* One step, with its vertex. */
int stage_step(Build *b, Stage *s, const DockerfileStep *step, Err *e);
/* configure.c: a step that changes no files. */
int step_configure(Build *b, Stage *s, const DockerfileStep *step, Err *e);
/* A place of the Dockerfile in front of an error. */
int step_fail(Build *b, const DockerfileStep *step, int r, Err *e);

/* ---- history.c: how a step is told in an image's history; malloc'ed, NULL without memory ---- */
char *history_text(Build *b, const Stage *s, const DockerfileStep *step, char *const *command);

/* ---- from.c ---- */
int stage_from(Build *b, Stage *s, Err *e);
/* Finds an image, pulling it if it is not there (or rq->pull). */
int build_image_get(Build *b, const char *reference, const char *platform, StoreImage *ret, Err *e);

/* ---- solve.c ---- */
/* What a build that nobody waits for ends with. */
int build_cancelled(Err *e);
bool build_is_over(const Build *b);
/* Makes the stages that an ONBUILD trigger needs and nobody else. */
int build_late(Build *b, Stage *s, const DockerfileStep *trigger, Err *e);
/* Waits until another stage is done. ERR_CANCELLED if it will never be. */
int build_await(Build *b, Stage *other, Err *e);

/* ---- context.c ---- */
/* The main context's directory: the Build's. */
int build_context(Build *b, int *ret_fd, Err *e);
/* Where the Dockerfile is in a context that lies elsewhere (rq->context): a descriptor of the caller's, a malloc'ed name. */
int build_context_dockerfile(Build *b, int *ret_dir, char **ret_name, Err *e);
/* What a named context of the request stands for ("docker-image://alpine"), or NULL. */
const char *build_named_context(const Build *b, const char *name);
/* The same if it is a directory, an archive or a repository, and nothing with a configuration of its own. */
const char *build_named_directory(const Build *b, const char *name);
/* The result that "input:KEY" stands for; the client's. */
int build_input(Build *b, const char *key, BuildResult **ret, Err *e);
void contexts_free(Build *b);
/* ---- context-part.c ---- */
/* Of what `source` (clean, "" for all) names in a context (NULL: the main one; else what context_get takes), as far as its .dockerignore lets it be seen. */
int build_context_digest(Build *b, const char *context, const char *source, char ret[DIGEST_LEN + 1], Err *e);
/* Copies it to the same place in root. */
int build_context_copy(Build *b, const char *context, const char *source, int root, Err *e);

/* run.c */
/* Whether what the request says of its steps holds; before any of them is made, or found in the cache. */
int run_check(Build *b, Err *e);
int step_run(Build *b, Stage *s, const DockerfileStep *step, Err *e);
/* Removes the container of a RUN that went well: while the next one runs, or when something else is done. */
int step_run_tidy(Build *b, Stage *s, Err *e);
/* At the end of the stage, also of what was begun for a RUN that did not come. */
int step_run_end(Build *b, Stage *s, Err *e);
/* copy.c, work.c */
int step_copy(Build *b, Stage *s, const DockerfileStep *step, Err *e);
int step_workdir(Build *b, Stage *s, const DockerfileStep *step, Err *e);
