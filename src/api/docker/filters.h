/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `filters` query parameter: {"key":{"value":true}} or {"key":["value"]}, from strangers.
 *
 * Values of one key are alternatives (labels: all must match), keys all must match. Patterns for names are POSIX extended regular
 * expressions without back references and counted repetition, which are what makes matching blow up. Pure; fuzzed.
 */
#pragma once

#include "base/err.h"

typedef struct Filter {
	char *key, *value;
} Filter;

typedef struct Filters {
	Filter *items;
	size_t n;
} Filters;

/* NULL or "" is an empty set. */
int filters_parse(const char *json, Filters *ret, Err *e);
void filters_done(Filters *f);
#define _cleanup_filters_ _cleanup_(filters_done)
/* allowed ends with NULL; ERR_INVALID "invalid filter 'k'". */
int filters_allow(const Filters *f, const char *const *allowed, Err *e);
/* The idx-th value of key, or NULL. */
const char *filters_get(const Filters *f, const char *key, size_t idx);
bool filters_has(const Filters *f, const char *key);
/* These are true if the key is absent. */
bool filters_exact(const Filters *f, const char *key, const char *text);
bool filters_prefix(const Filters *f, const char *key, const char *text);
/* label (all of them) and label! (none of them) against K=V strings. */
bool filters_labels(const Filters *f, char *const *labels);
/* 1 if a value matches somewhere in text, 0 if not, ERR_INVALID for a pattern we do not take. */
int filters_regex(const Filters *f, const char *key, const char *text, Err *e);
/* "true"/"1"/"false"/"0" -> *ret; untouched if absent. */
int filters_bool(const Filters *f, const char *key, bool *ret, Err *e);
/* A time, or a duration ("1h30m", ago) -> ns; untouched if absent. */
int filters_time(const Filters *f, const char *key, int64_t *ret_ns, Err *e);
/* path.Match: * ? [...] that never match a slash. */
bool glob_match(const char *pattern, const char *text);
