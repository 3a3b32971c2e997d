/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The usual rows of `images`, straight from the text of the engine's answer.
 *
 * No tree of JSON is made in between (json-scan.h). Of what is not that simple, and of anything malformed, it says so, and the JSON parser has the word.
 */
#pragma once

#include "base/str.h"

typedef struct ImageList {
	bool full_ids;
	bool ids_only; /* an id a line, instead of "repository TAB tag TAB id TAB age TAB size" */
	int64_t now_ns;
} ImageList;

/* Appends a line for each row to out; false if the text is not that simple, and what was appended is of no use. text ends in a NUL. */
bool image_list_rows(const char *text, const ImageList *o, StrBuf *out);
