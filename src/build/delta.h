/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A COPY of which little is different from the last time: the layer of that time, and one more with what is different.
 *
 * Whoever edits one line of a large context gets the files of the next image from the last one: nothing that has not changed is read, copied, stored or pushed
 * again. The merged tree is what a whole copy gives. It is done for one directory of the context, if files and links alone are different, few, and none that is gone
 * would show one of the stage below; and not under SOURCE_DATE_EPOCH, where the layers themselves are to be the same wherever they are made.
 */
#pragma once

#include "build/copy.h"
#include "build/manifest.h"

typedef struct Delta {
	const char *told;     /* the step, as the cache knows it */
	const Source *source; /* the directory */
	int root;             /* that it is in */
	const char *dest;
	const Manifest *now;
	TreeCopy *how; /* state grows by what is copied */
} Delta;

/* 1: *ret is what the step gives, and *ret_state the sum of memo_key_mix that how->state should have grown by; 0: a whole copy is to be made. */
int delta_make(Build *b, const Stage *s, const Delta *d, CacheHit *ret, uint64_t *ret_state, Err *e);
