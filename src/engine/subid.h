/* SPDX-License-Identifier: Apache-2.0 */
/* subuid(5), subgid(5): the ranges of ids that an administrator has given to a user. Pure; fuzzed. */
#pragma once

#include "base/err.h"
#include "kernel/namespace.h"

/* The user's ranges, by name or number ("" is nobody's), one behind the other from 0 on inside. ERR_NOT_FOUND if there are none. */
int subid_maps(const char *text, const char *user, NamespaceIdMap **ret, size_t *ret_n, Err *e);
