/* SPDX-License-Identifier: Apache-2.0 */
/* What outlives one build, and what is left of one: private to src/build. */
#pragma once

#include "build/build-internal.h"

Engine *builder_engine(const Builder *b);
/* What the target stage has come to. The lease on the store that the caller holds is the result's from now on, if there is one. */
int build_result_new(Build *b, BuildResult **ret, Err *e);
void build_free(Build *b);

/* What a stage of another build may begin with; the result's. */
typedef struct BuildBase {
	const ImageConfig *config;
	const char *text, *chain, *base_id;
} BuildBase;
void build_result_base(const BuildResult *r, BuildBase *ret);
