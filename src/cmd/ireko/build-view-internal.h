/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a build as its views share it. */
#pragma once

#include "build-view.h"

#define TAIL_LINES   10
#define LINE_BYTES   (16u << 10) /* a longer line is cut in several */
#define NODES_MAX    4096
#define PARTS_MAX    1024 /* of a node */
#define WARNINGS_MAX 256

/* Of a node: a layer that is fetched, a name that is given. */
typedef struct Part {
	char *id;
	int64_t current, total, started_ns, ended_ns;
	int64_t told_ns; /* when the plain view last had it */
} Part;

typedef struct Node {
	char *digest, *name, *error, *why;
	int64_t started_ns, ended_ns;
	bool cached;
	unsigned number; /* from 1, in the order in which they began; 0: not begun */
	Part *parts;
	size_t n_parts;
	StrBuf line;            /* of the log, not ended yet */
	char *tail[TAIL_LINES]; /* the last lines, from tail_first on */
	size_t n_tail, tail_first;
	/* plain view */
	StrBuf pending; /* whole lines */
	int64_t pending_ns;
	bool end_told;
} Node;

typedef struct Warning {
	char *text, *detail, *url, *file, *excerpt;
	int64_t line;
} Warning;

struct BuildView {
	BuildViewOptions o;
	int64_t began_ns;
	Node **nodes;
	size_t n_nodes, n_begun;
	Node *floor, *last_found;
	bool spoken;
	Warning *warnings;
	size_t n_warnings;
	/* terminal: what is on it */
	char *drawn;
	size_t *drawn_widths;
	size_t n_drawn;
};

/* The i-th of the last lines, oldest first. */
static inline const char *node_tail(const Node *n, size_t i)
{
	return n->tail[(n->tail_first + i) % TAIL_LINES];
}

/* "1.2kB / 3.4MB 0.3s done" behind the part's name; "" if there is nothing to say. */
void part_text(const Part *p, int64_t now_ns, bool with_time, StrBuf *out);
bool node_is_cancelled(const Node *n);

/* Gives it its number if it has none. */
void node_number(BuildView *v, Node *n);

/* build-plain.c: what the plain view will say of it, as it happens. Nothing if another view is used. */
void plain_line(BuildView *v, Node *n, const char *line, int64_t time_ns, int64_t now_ns);
void plain_part(BuildView *v, Node *n, Part *p, int64_t now_ns);
void plain_warning(BuildView *v, Node *n, const char *text, int64_t now_ns);
void plain_end(BuildView *v, Node *n, int64_t now_ns);
