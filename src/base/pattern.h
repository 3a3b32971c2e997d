/* SPDX-License-Identifier: Apache-2.0 */
/* Extended regular expressions of strangers, before regcomp(3) sees them. */
#pragma once

#include <stdbool.h>

#define PATTERN_MAX 256 /* bytes */

/* True if neither compiling nor matching it can take much more than its length says: no counted repetitions, no back references, no nest
 * of +. */
bool pattern_is_bounded(const char *p);
