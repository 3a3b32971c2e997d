/* SPDX-License-Identifier: Apache-2.0 */
/* See build-view.h: the state, and what is said of it at the end. */
#include "build-view-internal.h"

#include "base/base64.h"
#include "base/clock.h"
#include "text.h"

BuildView *build_view_new(const BuildViewOptions *o, int64_t now_ns)
{
	BuildView *v = calloc(1, sizeof(*v));

	if (v) {
		v->o = *o;
		v->began_ns = now_ns;
	}
	return v;
}

static void node_free(Node *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->n_parts; i++)
		free(n->parts[i].id);
	for (size_t i = 0; i < TAIL_LINES; i++)
		free(n->tail[i]);
	free(n->parts);
	free(n->digest);
	free(n->name);
	free(n->error);
	free(n->why);
	strbuf_done(&n->line);
	strbuf_done(&n->pending);
	free(n);
}

void build_view_free(BuildView *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->n_nodes; i++)
		node_free(v->nodes[i]);
	for (size_t i = 0; i < v->n_warnings; i++) {
		free(v->warnings[i].text);
		free(v->warnings[i].detail);
		free(v->warnings[i].url);
		free(v->warnings[i].file);
		free(v->warnings[i].excerpt);
	}
	free(v->nodes);
	free(v->warnings);
	free(v->drawn);
	free(v->drawn_widths);
	free(v);
}

/* ---- nodes */

static Node *node_add(BuildView *v, const char *digest)
{
	Node **more, *n;

	if (v->n_nodes >= NODES_MAX)
		return NULL;
	more = realloc(v->nodes, (v->n_nodes + 1) * sizeof(*more));
	if (!more)
		return NULL;
	v->nodes = more;
	n = calloc(1, sizeof(*n));
	if (n)
		n->digest = strdup(digest);
	if (!n || !n->digest) {
		node_free(n);
		return NULL;
	}
	v->nodes[v->n_nodes++] = n;
	return n;
}

static Node *node_of(BuildView *v, const char *digest, bool make)
{
	if (!digest)
		return NULL;
	if (v->last_found && streq(v->last_found->digest, digest))
		return v->last_found;
	for (size_t i = 0; i < v->n_nodes; i++)
		if (streq(v->nodes[i]->digest, digest))
			return v->last_found = v->nodes[i];
	return make ? v->last_found = node_add(v, digest) : NULL;
}

static int64_t time_of(const json_t *obj, const char *key)
{
	const char *s = json_get_str(obj, key);
	int64_t ns = 0;

	return s && clock_parse(s, &ns) == 0 ? ns : 0;
}

/* Text of a stranger, for one line of ours. */
static void set_text(char **to, const char *from)
{
	_cleanup_strbuf_ StrBuf b = {0};

	if (!from || (*to && streq(*to, from)))
		return;
	text_escape(&b, from, false);
	char *s = strbuf_steal(&b);
	if (s) {
		free(*to);
		*to = s;
	}
}

void node_number(BuildView *v, Node *n)
{
	if (!n->number)
		n->number = (unsigned)++v->n_begun;
}

static void end_line(BuildView *v, Node *n, int64_t time_ns, int64_t now_ns);

static void take_vertex(BuildView *v, const json_t *doc, int64_t now_ns)
{
	Node *n = node_of(v, json_get_str(doc, "digest"), true);
	int64_t started = time_of(doc, "started"), ended = time_of(doc, "completed");

	if (!n)
		return;
	set_text(&n->name, json_get_str(doc, "name"));
	set_text(&n->why, json_get_str(doc, "why"));
	if (!str_empty(json_get_str(doc, "error")))
		set_text(&n->error, json_get_str(doc, "error"));
	n->cached = n->cached || json_get_bool(doc, "cached", false);
	if (started && !n->started_ns)
		n->started_ns = started;
	if (started || ended || n->cached)
		node_number(v, n);
	if (ended && !n->ended_ns) {
		n->ended_ns = ended;
		if (n->line.len)
			end_line(v, n, ended, now_ns);
		plain_end(v, n, now_ns);
	}
}

bool node_is_cancelled(const Node *n)
{
	return n->error && (str_ends(n->error, "canceled") || str_ends(n->error, "cancelled"));
}

/* ---- parts of a node */

static Part *part_of(Node *n, const char *id)
{
	_cleanup_free_ char *shown = NULL;

	set_text(&shown, id);
	for (size_t i = 0; shown && i < n->n_parts; i++)
		if (streq(n->parts[i].id, shown))
			return &n->parts[i];
	if (!shown || n->n_parts >= PARTS_MAX)
		return NULL;
	Part *more = realloc(n->parts, (n->n_parts + 1) * sizeof(*more));
	if (!more)
		return NULL;
	n->parts = more;
	n->parts[n->n_parts] = (Part){.id = take_ptr(shown)};
	return &n->parts[n->n_parts++];
}

static void take_status(BuildView *v, const json_t *doc, int64_t now_ns)
{
	Node *n = node_of(v, json_get_str(doc, "vertex"), false);
	const char *id = json_get_str(doc, "id");
	Part *p = n && id ? part_of(n, id) : NULL;

	if (!p)
		return;
	p->current = json_get_int(doc, "current", 0);
	p->total = json_get_int(doc, "total", 0);
	if (!p->started_ns)
		p->started_ns = time_of(doc, "started");
	if (!p->ended_ns) {
		p->ended_ns = time_of(doc, "completed");
		plain_part(v, n, p, now_ns);
	}
}

void part_text(const Part *p, int64_t now_ns, bool with_time, StrBuf *out)
{
	double s = (double)((p->ended_ns ? p->ended_ns : now_ns) - p->started_ns) / 1e9;

	if (p->total > 0 && !(p->ended_ns && p->current == p->total))
		strbuf_addf(out, " %s / %s", text_size((double)p->current, 4).s,
			    text_size((double)p->total, 4).s);
	else if (p->current > 0)
		strbuf_addf(out, " %s", text_size((double)p->current, 4).s);
	if (with_time && p->started_ns && s > 0.01)
		strbuf_addf(out, " %.1fs", s);
	if (with_time && p->ended_ns)
		strbuf_add(out, " done");
}

/* ---- logs */

/* How many bytes from s on are a control sequence of a terminal; 0: it begins with none. */
static size_t control_sequence(const char *s, size_t n)
{
	size_t i = 2;

	if (n < 2 || s[0] != '\x1b')
		return 0;
	if (s[1] == '[') {
		while (i < n && (unsigned char)s[i] >= 0x20 && (unsigned char)s[i] < 0x40)
			i++;
		return i < n ? i + 1 : n;
	}
	if (!strchr("]PX^_", s[1]))
		return 2;
	while (i < n && s[i] != '\a' && s[i] != '\x1b')
		i++;
	return i < n && s[i] == '\x1b' ? MIN2(i + 2, n) : MIN2(i + 1, n);
}

/* A line as a terminal may have it: what it writes over is gone, colours too, and whatever else is no text is shown as \xNN. */
static char *clean_line(const char *s, size_t n)
{
	_cleanup_strbuf_ StrBuf b = {0}, shown = {0};

	for (size_t i = 0; i < n;) {
		size_t skip = control_sequence(s + i, n - i);

		if (skip > 0) {
			i += skip;
			continue;
		}
		if (s[i] == '\r') {
			if (i + 1 < n && b.s)
				b.s[b.len = 0] = '\0';
		} else if (s[i] == '\t')
			strbuf_add_n(&b, "        ", 8 - b.len % 8);
		else if (s[i])
			strbuf_add_c(&b, s[i]);
		i++;
	}
	if (b.oom)
		return NULL;
	text_escape(&shown, b.s ? b.s : "", false);
	return strbuf_steal(&shown);
}

static void end_line(BuildView *v, Node *n, int64_t time_ns, int64_t now_ns)
{
	const char *raw = n->line.s ? n->line.s : "";
	char *clean = clean_line(raw, n->line.len);
	size_t at = (n->tail_first + n->n_tail) % TAIL_LINES;

	if (!clean)
		return;
	plain_line(v, n, v->o.clean ? clean : raw, time_ns, now_ns);
	if (n->n_tail == TAIL_LINES) {
		free(n->tail[at]);
		n->tail_first = (n->tail_first + 1) % TAIL_LINES;
	} else
		n->n_tail++;
	n->tail[at] = clean;
	if (n->line.s)
		n->line.s[n->line.len = 0] = '\0';
}

static void take_log_text(BuildView *v, Node *n, const char *data, size_t len, int64_t time_ns,
			  int64_t now_ns)
{
	while (len > 0) {
		const char *end = memchr(data, '\n', len);
		size_t piece = MIN2(end ? (size_t)(end - data) : len, LINE_BYTES - n->line.len);

		strbuf_add_n(&n->line, data, piece);
		data += piece;
		len -= piece;
		if (data == end) {
			data++;
			len--;
			end_line(v, n, time_ns, now_ns);
		} else if (n->line.len >= LINE_BYTES)
			end_line(v, n, time_ns, now_ns);
	}
}

static void take_log(BuildView *v, const json_t *doc, int64_t now_ns)
{
	Node *n = node_of(v, json_get_str(doc, "vertex"), false);
	const char *text = json_get_str(doc, "data");
	_cleanup_free_ char *data = NULL;
	size_t len = 0;

	if (n && text && base64_decode(text, &data, &len) == 0)
		take_log_text(v, n, data, len, time_of(doc, "timestamp"), now_ns);
}

/* ---- warnings */

static char *decoded(const json_t *value)
{
	const char *s = json_string_value(value);
	_cleanup_free_ char *text = NULL;
	char *ret = NULL;

	if (s && base64_decode(s, &text, NULL) == 0)
		set_text(&ret, text);
	return ret;
}

static void take_warning(BuildView *v, const json_t *doc, int64_t now_ns)
{
	Node *n = node_of(v, json_get_str(doc, "vertex"), false);
	const json_t *range = json_array_get(json_object_get(doc, "range"), 0);
	Warning w = {.text = decoded(json_object_get(doc, "short")),
		     .detail = decoded(json_array_get(json_object_get(doc, "detail"), 0)),
		     .line = json_get_int(json_object_get(range, "start"), "line", 0)};
	Warning *more =
	    v->n_warnings < WARNINGS_MAX ? realloc(v->warnings, (v->n_warnings + 1) * sizeof(*more)) : NULL;

	if (more)
		v->warnings = more;
	if (!more || !w.text) {
		free(w.text);
		free(w.detail);
		return;
	}
	set_text(&w.url, json_get_str(doc, "url"));
	set_text(&w.file, json_get_str(json_object_get(doc, "sourceInfo"), "filename"));
	w.excerpt = json_get_str(doc, "excerpt") ? strdup(json_get_str(doc, "excerpt")) : NULL;
	if (n)
		plain_warning(v, n, w.text, now_ns);
	v->warnings[v->n_warnings++] = w;
}

/* ---- */

static void take_each(BuildView *v, const json_t *array, void (*take)(BuildView *, const json_t *, int64_t),
		      int64_t now_ns)
{
	size_t i;
	json_t *doc;

	json_array_foreach (array, i, doc)
		take(v, doc, now_ns);
}

int build_view_event(BuildView *v, const json_t *status, int64_t now_ns, Err *e)
{
	take_each(v, json_object_get(status, "vertexes"), take_vertex, now_ns);
	take_each(v, json_object_get(status, "statuses"), take_status, now_ns);
	take_each(v, json_object_get(status, "logs"), take_log, now_ns);
	take_each(v, json_object_get(status, "warnings"), take_warning, now_ns);
	for (size_t i = 0; i < v->n_nodes; i++)
		if (v->nodes[i]->line.oom || v->nodes[i]->pending.oom)
			return err_oom(e);
	return 0;
}

bool build_view_is_running(const BuildView *v)
{
	for (size_t i = 0; i < v->n_nodes; i++)
		if (v->nodes[i]->started_ns && !v->nodes[i]->ended_ns)
			return true;
	return false;
}

void build_view_failure(const BuildView *v, StrBuf *out)
{
	for (size_t i = 0; i < v->n_nodes; i++) {
		const Node *n = v->nodes[i];

		if (!n->error || node_is_cancelled(n) || n->n_tail == 0)
			continue;
		strbuf_addf(out, "------\n > %s:\n", n->name ? n->name : "");
		for (size_t k = 0; k < n->n_tail; k++)
			strbuf_addf(out, "%s\n", node_tail(n, k));
		strbuf_add(out, "------\n");
		return;
	}
}

void build_view_warnings(const BuildView *v, StrBuf *out)
{
	if (v->n_warnings == 0)
		return;
	strbuf_addf(out, "\n %zu warning%s found%s:\n", v->n_warnings, v->n_warnings == 1 ? "" : "s",
		    v->o.expand ? "" : " (use --debug to expand)");
	for (size_t i = 0; i < v->n_warnings; i++) {
		const Warning *w = &v->warnings[i];

		strbuf_addf(out, " - %s", w->text);
		if (w->line > 0 && !strstr(w->text, "(line "))
			strbuf_addf(out, " (line %lld)", (long long)w->line);
		strbuf_add_c(out, '\n');
		if (v->o.expand && w->detail)
			strbuf_addf(out, "%s\n", w->detail);
		if (v->o.expand && w->url)
			strbuf_addf(out, "More info: %s\n", w->url);
		/* In lines of its own, as it is. */
		if (v->o.expand && w->excerpt)
			text_escape(out, w->excerpt, true);
		if (v->o.expand)
			strbuf_add_c(out, '\n');
	}
}

void build_view_explain(const BuildView *v, StrBuf *out)
{
	bool any = false;

	for (size_t i = 0; i < v->n_nodes; i++) {
		const Node *n = v->nodes[i];

		if (!n->why)
			continue;
		if (!any)
			strbuf_add(out, "\nWhy each step was or was not taken from the cache:\n");
		any = true;
		strbuf_addf(out, " %s\n     %s\n", n->name ? n->name : "", n->why);
	}
}
