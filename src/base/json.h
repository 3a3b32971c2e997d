/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jansson with our errors and limits.
 *
 * Two ways in: json_get_*() for single members, and a field table (JsonField) that decodes a whole
 * object into a struct and encodes it again, so that a document is described once. Numbers, strings
 * and arrays are type-checked; null counts as absent. Strings may not contain NUL (jansson refuses).
 */
#pragma once

#include "base/err.h"

#include <jansson.h>

/* json_decrefp() is jansson's own. */
#define _cleanup_json_ _cleanup_(json_decrefp)

/* Parses one document (an object or an array), refusing duplicate keys and trailing text. `what` names it in errors. */
int json_parse(const char *text, size_t len, const char *what, json_t **ret, Err *e);
/* As json_parse, for what a stranger sent: a document that would take much more memory than its text is refused. */
int json_parse_bounded(const char *text, size_t len, const char *what, json_t **ret, Err *e);
/* As json_parse, from a file of at most max bytes. */
int json_load_at(int dirfd, const char *name, size_t max, json_t **ret, Err *e);
/* Compact text; malloc'ed, NULL on out of memory. */
char *json_text(const json_t *j);
/* Replaces a file with compact text (see file_replace_at). */
int json_save_at(int dirfd, const char *name, const json_t *j, mode_t mode, bool sync, Err *e);

/* NULL/default if absent or null or of another type. */
const char *json_get_str(const json_t *obj, const char *key);
int64_t json_get_int(const json_t *obj, const char *key, int64_t otherwise);
bool json_get_bool(const json_t *obj, const char *key, bool otherwise);
/* An array of strings to a vector and back; absent or null gives NULL, and NULL gives []. -EINVAL if a member is no
 * string. json_from_strv and json_map_from_strv: NULL on out of memory or if a string is no UTF-8. */
int json_to_strv(const json_t *array, char ***ret);
json_t *json_from_strv(char *const *v);
/* {"K":"V"} to "K=V" and back, cut at the first '='. A null V counts as absent. */
int json_map_to_strv(const json_t *obj, char ***ret);
json_t *json_map_from_strv(char *const *v);

typedef enum JsonType {
	JSON_T_STR,    /* char * */
	JSON_T_BOOL,   /* bool */
	JSON_T_INT,    /* int64_t */
	JSON_T_U32,    /* uint32_t */
	JSON_T_STRV,   /* char **, array of strings; a single string is taken as a vector of one */
	JSON_T_MAP,    /* char **, object of strings as K=V */
	JSON_T_OBJECT, /* nested struct in place; .table */
	JSON_T_ARRAY,  /* .table, .size: T *items; the count is a size_t at .count */
	JSON_T_JSON,   /* json_t *, kept as it is (a reference) */
} JsonType;

typedef struct JsonField {
	const char *name;
	JsonType type;
	size_t offset;
	const struct JsonField *table; /* ends with a NULL name */
	size_t size;                   /* of one item, for JSON_T_ARRAY */
	size_t count;                  /* offset of the count, for JSON_T_ARRAY */
	bool keep_empty;               /* encode even when empty, 0 or false */
	bool
	    keep_given; /* of vectors and arrays: encode an empty one that was there; null and absent leave NULL */
} JsonField;

/* Fills the zeroed struct at `out`; unknown members are ignored; keys match exactly first, then without case. On failure what was
 * filled so far stays, for json_fields_done to release. Errors name the member: "process.cwd: expected a string". */
int json_decode(const json_t *obj, const JsonField *table, void *out, Err *e);
/* A new object; NULL on out of memory or if a string is no UTF-8. Empty members are left out unless keep_empty. */
json_t *json_encode(const JsonField *table, const void *in);
/* The same without any empty member but those of keep_given: for what is only read back. */
json_t *json_encode_sparse(const JsonField *table, const void *in);
/* Strings of keep_empty that are NULL become "", as if the document had had them. 0 or -ENOMEM. */
int json_fields_fill(const JsonField *table, void *in);
/* A deep copy of what the table describes into a zeroed struct; a JSON_T_JSON is shared. 0, or -ENOMEM and what was copied so far. */
int json_fields_copy(const JsonField *table, const void *from, void *to);
/* Releases and zeroes everything the table describes. */
void json_fields_done(const JsonField *table, void *in);
