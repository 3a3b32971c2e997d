/* SPDX-License-Identifier: Apache-2.0 */
/* Time as the wire wants it. Instants are int64_t nanoseconds since 1970 (CLOCK_REALTIME); 0 means "never". */
#pragma once

#include "base/err.h"

int64_t clock_now_ns(void);
int64_t clock_mono_ns(void);
/* RFC 3339 with nanoseconds and Z; 0 gives Go's zero time 0001-01-01T00:00:00Z. The buffer takes 36 bytes. */
typedef struct TimeText {
	char s[40];
} TimeText;
TimeText clock_rfc3339(int64_t ns);
/* As clock_rfc3339 with always nine digits of fraction (log lines). */
TimeText clock_rfc3339_fixed(int64_t ns);
/* RFC 3339 with any fraction and offset, or unix "s[.ns]"; -EINVAL otherwise. */
int clock_parse(const char *s, int64_t *ret_ns);
/* Go's durations: "1h2m3.5s", "300ms", "-5m", "0". Nanoseconds; -EINVAL. */
int clock_parse_duration(const char *text, int64_t *ret_ns);
/* And back, as Go prints them: "1m30s", "1.5s", "300ms". malloc'ed. */
char *clock_go_duration(int64_t ns);
/* Docker's wording of a duration: "Less than a second", "5 minutes", "About an hour", ... malloc'ed. */
char *clock_human_duration(int64_t ns);
