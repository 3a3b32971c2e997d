/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal's view of a build:
 *
 *     [+] Building 2.1s (3/5)
 *      => CACHED [1/3] FROM busybox            0.0s
 *      => [2/3] RUN make                       1.8s
 *      => => # cc -c b.c
 *
 * A frame is at most one line lower than the screen, and a line at most one column narrower, so that the frame can always be reached again by moving the cursor
 * up. Where there is no room for all, what runs comes first, then what ended last. A screen that became narrower has broken the lines
 * of the last frame in several, which is counted.
 */
#include "build-view-internal.h"
#include "text.h"

#define LOG_LINES 6 /* of one step */
#define WIDTH_MIN 20

typedef struct Frame {
	const BuildView *v;
	int64_t now_ns;
	size_t width, rows;
	StrBuf text;
	size_t *widths; /* of the lines */
	size_t n;
} Frame;

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void put_line(Frame *f, const char *left, const char *right, const char *color)
{
	size_t room = f->width - 1, right_width = text_width(right),
	       left_max = right_width ? room - right_width - 1 : room;
	_cleanup_free_ char *cut = text_ellipsis(left, left_max);
	size_t *more = realloc(f->widths, (f->n + 1) * sizeof(*more));
	bool colored = color && f->v->o.color;

	if (more)
		f->widths = more;
	if (!more || !cut) {
		f->text.oom = true;
		return;
	}
	size_t used = text_width(cut);
	f->widths[f->n++] = right_width ? room : used;
	strbuf_addf(&f->text, "%s%s", colored ? color : "", cut);
	if (right_width)
		strbuf_addf(&f->text, "%*s%s", (int)(room - used - right_width), "", right);
	strbuf_addf(&f->text, "%s\x1b[K\n", colored ? "\x1b[0m" : "");
}

static bool is_running(const Node *n)
{
	return n->started_ns && !n->ended_ns;
}

static bool is_over(const Node *n)
{
	return n->number && !is_running(n);
}

static void put_node(Frame *f, const Node *n)
{
	int64_t end = n->ended_ns ? n->ended_ns : n->started_ns ? f->now_ns : 0;
	double s = n->started_ns && end > n->started_ns ? (double)(end - n->started_ns) / 1e9 : 0;
	bool failed = n->error && !node_is_cancelled(n);
	const char *mark = failed ? "ERROR " : n->error ? "CANCELED " : n->cached ? "CACHED " : "";
	_cleanup_free_ char *left = strf(" => %s%s", mark, n->name ? n->name : n->digest),
			    *right = strf("%.1fs", s);

	if (!left || !right) {
		f->text.oom = true;
		return;
	}
	put_line(f, left, right,
		 failed       ? "\x1b[31m"
		 : n->error   ? "\x1b[33m"
		 : is_over(n) ? "\x1b[34m"
			      : NULL);
}

/* The parts that are under way and the last lines of the log, `max` rows at most. */
static void put_details(Frame *f, const Node *n, size_t max)
{
	size_t parts = 0, lines, skip;

	for (size_t i = 0; i < n->n_parts && parts < max; i++) {
		_cleanup_strbuf_ StrBuf b = {0};

		if (n->parts[i].ended_ns)
			continue;
		strbuf_addf(&b, " => => %s", n->parts[i].id);
		part_text(&n->parts[i], f->now_ns, false, &b);
		if (b.s)
			put_line(f, b.s, "", NULL);
		parts++;
	}
	lines = least(least(n->n_tail, LOG_LINES), max - parts);
	skip = n->n_tail - lines;
	for (size_t i = 0; i < lines; i++) {
		_cleanup_free_ char *s = strf(" => => # %s", node_tail(n, skip + i));

		if (s)
			put_line(f, s, "", NULL);
	}
}

static size_t count(const BuildView *v, bool (*what)(const Node *))
{
	size_t n = 0;

	for (size_t i = 0; i < v->n_nodes; i++)
		n += what(v->nodes[i]);
	return n;
}

/* The i-th that has begun; numbers are given without gaps. */
static const Node *by_number(const BuildView *v, unsigned number)
{
	for (size_t i = 0; i < v->n_nodes; i++)
		if (v->nodes[i]->number == number)
			return v->nodes[i];
	return NULL;
}

static void put_nodes(Frame *f, bool last)
{
	const BuildView *v = f->v;
	size_t running = count(v, is_running), over = count(v, is_over), room = f->rows - 1;
	size_t show_running = last ? running : least(running, room), left = room - least(room, show_running);
	size_t details = !last && show_running ? least(left / show_running, LOG_LINES) : 0;
	size_t used_by_details = 0;

	for (unsigned i = 1; !last && i <= v->n_begun; i++) {
		const Node *n = by_number(v, i);

		if (n && is_running(n))
			used_by_details += least(n->n_tail + n->n_parts, details);
	}
	size_t show_over = last ? over : least(over, left - least(left, used_by_details));
	size_t skip = over - show_over;
	for (unsigned i = 1; i <= v->n_begun; i++) {
		const Node *n = by_number(v, i);

		if (!n || (!is_running(n) && skip > 0)) {
			skip -= n != NULL;
			continue;
		}
		if (is_running(n) && show_running-- == 0)
			break;
		put_node(f, n);
		if (is_running(n))
			put_details(f, n, details);
	}
}

static void put_head(Frame *f, bool last)
{
	const BuildView *v = f->v;
	_cleanup_free_ char *s =
	    strf("[+] Building %.1fs (%zu/%zu)%s", (double)(f->now_ns - v->began_ns) / 1e9, count(v, is_over),
		 v->n_nodes, last ? " FINISHED" : "");

	if (s)
		put_line(f, s, "", NULL);
}

/* Rows that the last frame takes on a screen of this width. */
static size_t drawn_rows(const BuildView *v, size_t width)
{
	size_t rows = 0;

	for (size_t i = 0; i < v->n_drawn; i++)
		rows += v->drawn_widths[i] > width ? (v->drawn_widths[i] + width - 1) / width : 1;
	return rows;
}

void build_view_frame(BuildView *v, int height, int width, int64_t now_ns, bool last, StrBuf *out)
{
	Frame f = {.v = v,
		   .now_ns = now_ns,
		   .width = (size_t)MAX2(width, WIDTH_MIN),
		   .rows = (size_t)MAX2(height - 1, 2)};
	size_t up = drawn_rows(v, f.width);

	put_head(&f, last);
	put_nodes(&f, last);
	if (f.text.oom || (v->drawn && streq(v->drawn, f.text.s))) {
		free(f.widths);
		strbuf_done(&f.text);
		return;
	}
	if (up > 0)
		strbuf_addf(out, "\x1b[%zuA\r", up);
	strbuf_add(out, f.text.s);
	if (f.n < up)
		strbuf_add(out, "\x1b[J");
	free(v->drawn);
	free(v->drawn_widths);
	v->drawn = strbuf_steal(&f.text);
	v->drawn_widths = f.widths;
	v->n_drawn = f.n;
}
