/* SPDX-License-Identifier: Apache-2.0 */
/* What outlives one build, and what is left of one: private to src/build. */
#pragma once

#include "build/build-internal.h"

Engine *builder_engine(const Builder *b);
/* What the target stage has come to. The lease on the store that the caller holds is the result's from now on, if there is one. */
int build_result_new(Build *b, BuildResult **ret, Err *e);
void build_free(Build *b);
/* One platform of several: how its steps are told apart from those for others. */
typedef struct BuildPart {
	const char *label; /* NULL: there are no others */
	bool first; /* caches have its steps under the names that were given, those of others under more */
} BuildPart;
/* What it is given outlives it. */
int build_solve_one(Builder *builder, const BuildRequest *rq, const BuildPart *part, BuildResult **ret,
		    BuildFailure *ret_failure, Err *e);
/* `next` is for another platform, and r's from now on. */
void build_result_join(BuildResult *r, BuildResult *next);

/* What a stage of another build may begin with; the result's. */
typedef struct BuildBase {
	const ImageConfig *config;
	const char *text, *chain, *base_id;
} BuildBase;
void build_result_base(const BuildResult *r, BuildBase *ret);

/* ---- passing.c: names that images have only while they go to a cache or come from one ---- */
/* Before it is given. */
int passing_begin(Store *s, const char *name, Err *e);
/* Takes the name away, if it was given. */
void passing_end(Engine *en, const char *name);
/* At start: those that a killed engine has left, and files that it was writing. */
int passing_sweep(Engine *en, Err *e);
