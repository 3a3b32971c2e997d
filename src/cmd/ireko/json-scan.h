/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's long lists, straight from the text of its answer.
 *
 * A thousand items are a megabyte of JSON of which a few short texts an item are shown; building a tree of it all takes several
 * times as long as everything else. Only what engines really write is understood here. Of anything else, and of anything
 * malformed, it says so, and the JSON parser has the word. The text ends in a NUL, which no step passes: it is part of nothing
 * that is looked for.
 */
#pragma once

#include "base/json.h"

typedef struct JsonSlice {
	const char *s;
	size_t n;
} JsonSlice;

void json_scan_blanks(const char **p);
/* The next character, behind blanks, if it is this one. */
bool json_scan_take(const char **p, char c);
/* A text in quotes that needs neither unescaping nor escaping. */
bool json_scan_plain(const char **p, JsonSlice *ret);
bool json_scan_int(const char **p, int64_t *ret);
/* Any value; *ret is its text. */
bool json_scan_skip(const char **p, JsonSlice *ret);
bool json_scan_is(const JsonSlice *key, const char *name);
/* An array of objects whose text arrives bit by bit. Zeroed but for the first three. */
typedef struct JsonScan {
	const char *const *members;
	bool (*each)(void *user, json_t *item);
	void *user;
	size_t at;   /* what is before is done */
	size_t need; /* bytes from there on that make another try worth it */
	bool begun, ended, failed;
} JsonScan;
/* `text` has grown, and may have moved: every item that is whole by now goes to `each`. */
void json_scan_more(JsonScan *s, const char *text, size_t len);
/* All of it was there, and was as simple as json_scan_each wants it. `text` is the whole. */
bool json_scan_end(JsonScan *s, const char *text, size_t len);
/* Of an array of objects one after the other, with the members of these names only (a NULL ends them, each shorter than 32). False if the
 * text is not that simple, on out of memory, or when `each` says so: what was done so far is of no use then. */
bool json_scan_each(const char *text, const char *const *members, bool (*each)(void *user, json_t *item),
		    void *user);
/* The same as an array. A new reference; NULL if the text is not that
 * simple, or on out of memory. */
json_t *json_scan_pick(const char *text, const char *const *members);
