/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of Go's text/template that people use in --format, over JSON values.
 *
 * Actions {{...}} with {{- trim -}} and comments; fields (.A.B, $.A, $x.B, (pipe).A), literals, variables ($x
 * := , =), pipelines with |, parentheses; if / else if / else / end, range (also $i, $v :=) with break and
 * continue, with; and the functions of docker's templates plus Go's: see template-funcs.c. A missing member
 * is "no value": false in a condition, "<no value>" in output, an error when something is looked up in it.
 * Names in documents differ from Go's names by case only (Id and ID), so a capitalised name that is not found
 * is looked up again without case.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

/* A member of this name, an object of strings, serves the method `.Label "key"` and is in no output. */
#define TEMPLATE_LABELS "\x01labels"

typedef enum TemplateFlags {
	TEMPLATE_STRICT = 1,    /* an unknown member of the outermost object is an error */
	TEMPLATE_ESCAPE = 2,    /* what comes from the document gets its control bytes escaped */
	TEMPLATE_SORT_KEYS = 4, /* in json */
	TEMPLATE_INSPECT =
	    16,               /* a document of the engine's: a member that docker does not know is an error */
	TEMPLATE_HEADING = 8, /* the row is the heading: `.Label "a.b-c"` is "b c" */
} TemplateFlags;

typedef struct Template Template;

int template_parse(const char *text, Template **ret, Err *e);
void template_free(Template *t);
DEFINE_CLEANUP(Template *, template_free)
#define _cleanup_template_ _cleanup_(template_freep)
/* Appends to out; what was written before an error stays there. */
int template_execute(const Template *t, const json_t *dot, TemplateFlags flags, StrBuf *out, Err *e);
