/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the runtime makes to mount on, and the layer shall not have: empty directories and files where there was nothing.
 *
 * Which paths were missing is found out before the step, in the layers below it; afterwards those of them that are empty are taken out of its upper
 * directory. The step may have put links there: nothing is followed, and what is not an empty file or directory is the step's own (CVE-2024-23652).
 */
#pragma once

#include "store/store.h"

typedef struct Stubs Stubs;

/* targets: absolute clean paths in the container. chain NULL: there are no layers. */
int stubs_find(Store *s, const char *chain, char *const *targets, Stubs **ret, Err *e);
int stubs_remove(const Stubs *stubs, const char *upper, Err *e);
void stubs_free(Stubs *stubs);
