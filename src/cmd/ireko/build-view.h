/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a build shows while it is under way: the state that its events add up to, and two views of it.
 *
 * Events are the documents of BuildKit's "rawjson": {"vertexes", "statuses", "logs", "warnings"}. A view is a function from the state and the time to text; nothing
 * here writes or looks at a clock. Names and logs come from Dockerfiles and steps: on a terminal nothing that they say moves the
 * cursor, and what is kept of them is bounded.
 */
#pragma once

#include "base/json.h"
#include "base/str.h"

typedef struct BuildView BuildView;

typedef struct BuildViewOptions {
	bool plain; /* the plain view will be asked for, else the terminal's */
	bool clean; /* control characters of logs are taken out: the text goes to a terminal */
	bool color;
	bool expand; /* warnings with what they mean and the lines that they are about */
} BuildViewOptions;

BuildView *build_view_new(const BuildViewOptions *o, int64_t now_ns);
void build_view_free(BuildView *v);
DEFINE_CLEANUP(BuildView *, build_view_free)
#define _cleanup_build_view_ _cleanup_(build_view_freep)

/* One document. What it lacks or says twice does no harm. -ENOMEM. */
int build_view_event(BuildView *v, const json_t *status, int64_t now_ns, Err *e);
/* True if time alone changes what is shown: something runs. */
bool build_view_is_running(const BuildView *v);

/* The plain view: appends what is new. One step has the floor until it ends; others wait, but not long. last: all of it. */
void build_view_plain(BuildView *v, int64_t now_ns, bool last, StrBuf *out);
/* When it wants to be asked again though nothing happens, in ns from now; -1: not at all. */
int64_t build_view_plain_due(const BuildView *v, int64_t now_ns);

/* The terminal's view: the control sequences and lines that turn what was drawn last into what is to be seen now; nothing if that is the same.
 * The cursor rests below the last line. last: the whole list, as it stays. */
void build_view_frame(BuildView *v, int height, int width, int64_t now_ns, bool last, StrBuf *out);

/* The failed step with its last lines, between rules; nothing if no step has failed. */
void build_view_failure(const BuildView *v, StrBuf *out);
/* Warnings, with their places. */
void build_view_warnings(const BuildView *v, StrBuf *out);
/* For each step, why it was or was not taken from the cache. */
void build_view_explain(const BuildView *v, StrBuf *out);
