/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What regcomp(3) makes of a pattern is bounded here, as it has no limits itself.
 *
 * The C library compiles x{n,m} as m copies of x, and x+ as xx*: each + around another one, or behind it, doubles the whole. Sets are
 * looked at as POSIX has them, where a backslash is itself: what follows it must not hide their end.
 */
#include "base/pattern.h"

#include <string.h>

#define DOUBLES_MAX 4

bool pattern_is_bounded(const char *p)
{
	bool set = false, one = true; /* what a + would repeat is one character */
	int doubles = 0;

	if (strlen(p) > PATTERN_MAX)
		return false;
	for (; *p; p++) {
		if (*p == '+' && !set && !one && ++doubles > DOUBLES_MAX)
			return false;
		one = set || !strchr(")+*?", *p);
		if (*p == '\\' && p[1] && !set) {
			p++;
			if (*p >= '1' && *p <= '9')
				return false;
		} else if (*p == '[' && !set) {
			set = true;
		} else if (*p == ']') {
			set = false;
		} else if (*p == '{' && !set) {
			return false;
		}
	}
	return true;
}
