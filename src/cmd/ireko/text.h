/* SPDX-License-Identifier: Apache-2.0 */
/* Text as people read and write it on a command line: sizes, times, short forms, and what may reach a
 * terminal. */
#pragma once

#include "base/str.h"

typedef struct Human {
	char s[32];
} Human;

/* "1.23GB": powers of 1000, `digits` significant digits (docker: 3 for images and containers, 4 for
 * totals). */
Human text_size(double bytes, int digits);
/* "1.944GiB": powers of 1024, 4 significant digits. */
Human text_binary_size(double bytes);
/* "--since" and the like: a duration before now, RFC 3339, a local date or time, or unix seconds; as
 * "seconds.nanos". malloc'ed, NULL with errno EINVAL or ENOMEM. */
char *text_timestamp(const char *s, int64_t now_ns);
/* "2024-05-01 10:00:00 +0200 CEST" in the local zone. malloc'ed. */
char *text_local_time(int64_t seconds);
/* "2024-05-01 10:00:00.123 +0200 CEST": how Go prints a time. malloc'ed. */
char *text_go_time(int64_t ns);
/* "2024-05-01T10:00:00+02:00" in the local zone. malloc'ed. */
char *text_local_rfc3339(int64_t seconds);
/* "5 minutes ago"; malloc'ed. */
char *text_ago(int64_t then_ns, int64_t now_ns);

/* Columns on a terminal: two for wide characters, none for combining ones. */
size_t text_width(const char *s);
/* At most `max` columns, the last one "…" if something was cut. malloc'ed. */
char *text_ellipsis(const char *s, size_t max);
/* The first 12 digits of an id, without "sha256:". malloc'ed. */
char *text_short_id(const char *id);

/* Appends s with control bytes, invalid UTF-8 and C1 controls as \xNN; line breaks and tabs stay if
 * `lines`. */
void text_escape(StrBuf *b, const char *s, bool lines);
/* Writes s, escaped if `tty`. */
void text_put(FILE *f, const char *s, bool tty);

/* Appends s percent-encoded; '/' stays if keep_slash. */
void text_url_escape(StrBuf *b, const char *s, bool keep_slash);
/* Appends "?key=value" or "&key=value". */
void text_query(StrBuf *b, const char *key, const char *value);
