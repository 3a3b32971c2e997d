/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain view of a build, line by line as BuildKit has it:
 *
 *     #5 [2/3] RUN make
 *     #5 0.123 text
 *     #5 DONE 0.3s
 *
 * A step that has the floor keeps it until it ends, so that its lines stay together. What others have to say is kept meanwhile; when it
 * has waited for WAIT_NS, or is a lot, the floor changes ("#5 ..."), and may change back.
 */
#include "build-view-internal.h"
#include "text.h"

#define WAIT_NS    2000000000LL
#define REPEAT_NS  5000000000LL /* between two lines about a part that goes on */
#define KEPT_BYTES (256u << 10)

/* False: nobody will ask. */
static bool pend(BuildView *v, Node *n, int64_t now_ns)
{
	if (!v->o.plain)
		return false;
	node_number(v, n);
	if (n->pending.len == 0)
		n->pending_ns = now_ns;
	strbuf_addf(&n->pending, "#%u ", n->number);
	return true;
}

static int precision(double s)
{
	return s < 10 ? 3 : s < 100 ? 2 : s < 1000 ? 1 : 0;
}

void plain_line(BuildView *v, Node *n, const char *line, int64_t time_ns, int64_t now_ns)
{
	double s = n->started_ns && time_ns > n->started_ns ? (double)(time_ns - n->started_ns) / 1e9 : 0;

	if (pend(v, n, now_ns))
		strbuf_addf(&n->pending, "%.*f %s\n", precision(s), s, line);
}

void plain_part(BuildView *v, Node *n, Part *p, int64_t now_ns)
{
	if (!p->ended_ns && p->told_ns && now_ns - p->told_ns < REPEAT_NS)
		return;
	if (!pend(v, n, now_ns))
		return;
	p->told_ns = now_ns;
	strbuf_add(&n->pending, p->id);
	part_text(p, now_ns, true, &n->pending);
	strbuf_add_c(&n->pending, '\n');
}

void plain_warning(BuildView *v, Node *n, const char *text, int64_t now_ns)
{
	if (pend(v, n, now_ns))
		strbuf_addf(&n->pending, "WARN: %s\n", text);
}

void plain_end(BuildView *v, Node *n, int64_t now_ns)
{
	if (!pend(v, n, now_ns))
		return;
	if (node_is_cancelled(n))
		strbuf_add(&n->pending, "CANCELED\n");
	else if (n->error)
		strbuf_addf(&n->pending, "ERROR: %s\n", n->error);
	else if (n->cached)
		strbuf_add(&n->pending, "CACHED\n");
	else if (n->started_ns)
		strbuf_addf(&n->pending, "DONE %.1fs\n", (double)(n->ended_ns - n->started_ns) / 1e9);
	else
		strbuf_add(&n->pending, "DONE\n");
}

/* Whoever has waited longest. */
static Node *waiting(const BuildView *v)
{
	Node *first = NULL;

	for (size_t i = 0; i < v->n_nodes; i++) {
		Node *n = v->nodes[i];

		if (n != v->floor && n->pending.len && (!first || n->pending_ns < first->pending_ns))
			first = n;
	}
	return first;
}

static bool too_much(const BuildView *v)
{
	for (size_t i = 0; i < v->n_nodes; i++)
		if (v->nodes[i]->pending.len > KEPT_BYTES)
			return true;
	return false;
}

static void give_floor(BuildView *v, Node *n, StrBuf *out)
{
	if (v->floor)
		strbuf_addf(out, "#%u ...\n", v->floor->number);
	if (v->spoken)
		strbuf_add_c(out, '\n');
	strbuf_addf(out, "#%u %s\n", n->number, n->name ? n->name : n->digest);
	v->spoken = true;
	v->floor = n;
}

/* What the one with the floor has to say. It has it no longer if that was the last of it. */
static void speak(BuildView *v, StrBuf *out)
{
	Node *n = v->floor;

	if (n->pending.len)
		strbuf_add_n(out, n->pending.s, n->pending.len);
	strbuf_done(&n->pending);
	n->pending = (StrBuf){0};
	if (n->ended_ns || !n->started_ns)
		v->floor = NULL;
}

void build_view_plain(BuildView *v, int64_t now_ns, bool last, StrBuf *out)
{
	if (v->floor)
		speak(v, out);
	for (Node *n; (n = waiting(v));) {
		if (v->floor && !last && now_ns - n->pending_ns < WAIT_NS && !too_much(v))
			break;
		give_floor(v, n, out);
		speak(v, out);
	}
}

int64_t build_view_plain_due(const BuildView *v, int64_t now_ns)
{
	const Node *n = waiting(v);

	return n ? MAX2(n->pending_ns + WAIT_NS - now_ns, 0) : -1;
}
