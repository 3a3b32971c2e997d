/* SPDX-License-Identifier: Apache-2.0 */
/* Lists and documents as --format wants them: tables with docker's columns and spacing, JSON lines,
 * templates. */
#pragma once

#include "base/json.h"
#include "base/str.h"
#include "cli.h"

/* A field of a row and its heading. A table of them ends with a NULL field. */
typedef struct Column {
	const char *field, *title;
} Column;

typedef struct ListFormat {
	const Column *columns; /* all that there are */
	const char *table;     /* what is shown by default: "{{.ID}}\t{{.Image}}" */
	const char *raw;       /* what "raw" stands for, or NULL */
} ListFormat;

/* Prints an array of row objects. format: NULL, "table", "table TEMPLATE", "json", "raw" or TEMPLATE. */
int format_list(const Cli *cli, const ListFormat *lf, const char *format, const json_t *rows, Err *e);
/* Prints an array of documents as inspect does. format: NULL, "json" or TEMPLATE. */
int format_documents(const Cli *cli, const char *format, const json_t *docs, Err *e);
/* Prints one document through a template, or as one line of JSON for "json". */
int format_document(const Cli *cli, const char *format, const json_t *doc, Err *e);
#define FORMAT_CELL_MIN 10 /* docker's lists; top has 20 */

/* Lays out lines of tab-separated cells in columns of at least cell_min; the last cell of a line has no
 * width. */
int format_align(const char *text, size_t cell_min, StrBuf *out);
/* Prints lines of tab-separated cells as a list is printed. */
int format_print_lines(const char *text, Err *e);
