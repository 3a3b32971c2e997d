/* SPDX-License-Identifier: Apache-2.0 */
/* Variables and labels from flags and files. */
#pragma once

#include "base/err.h"

/* Files first, then flags; a bare NAME takes our own value, and stays bare if we have none (docker then
 * unsets it). */
int env_collect(char *const *files, char *const *flags, char ***ret, Err *e);
/* The same for labels: a bare NAME has the value "". */
int labels_collect(char *const *files, char *const *flags, char ***ret, Err *e);
