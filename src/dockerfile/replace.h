/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/r} ${v//p/r}: what a shell pattern matches in a value is taken out or replaced.
 *
 * In a pattern '*' is any characters and '?' one, of one line; '\' takes '*', '?' and '\' literally, and is dropped in front of '}' and '/'.
 * Time is bounded, whatever pattern and value are.
 */
#pragma once

#include "base/err.h"

typedef enum ReplaceWhere {
	REPLACE_PREFIX,
	REPLACE_LONGEST_PREFIX,
	REPLACE_SUFFIX,
	REPLACE_LONGEST_SUFFIX,
	REPLACE_FIRST,
	REPLACE_ALL,
} ReplaceWhere;

/* replacement is "" where something is taken out. */
int dockerfile_replace(const char *value, ReplaceWhere where, const char *pattern, const char *replacement,
		       char **ret, Err *e);
