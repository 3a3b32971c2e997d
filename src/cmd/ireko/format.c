/* SPDX-License-Identifier: Apache-2.0 */
/* See format.h. A table is made as text with tabs first, heading and rows by the same template, and then
 * laid out. */
#include "format.h"
#include "base/str.h"
#include "template.h"
#include "text.h"

#define CELL_PADDING 3 /* blanks between two columns, as docker has them */

typedef struct Widths {
	size_t *v, n;
	size_t cell_min;
} Widths;

/* A cell is shown for a moment as a text of its own: its end is in `lines`, which is ours. */
static size_t cell_width(char *cell, size_t len)
{
	char kept = cell[len];
	size_t width;

	cell[len] = '\0';
	width = text_width(cell);
	cell[len] = kept;
	return width;
}

static int measure_line(char *line, size_t len, Widths *w)
{
	size_t k = 0;

	for (char *end; (end = memchr(line, '\t', len)); k++) {
		size_t n = (size_t)(end - line);

		if (k == w->n) {
			size_t *grown = realloc(w->v, (k + 1) * sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			w->v = grown;
			w->v[w->n++] = w->cell_min;
		}
		w->v[k] = MAX2(w->v[k], cell_width(line, n) + CELL_PADDING);
		line += n + 1;
		len -= n + 1;
	}
	return 0;
}

static int add_line(char *line, size_t len, Widths *w, StrBuf *out)
{
	size_t k = 0;

	for (char *end; (end = memchr(line, '\t', len)); k++) {
		size_t n = (size_t)(end - line);

		strbuf_add_n(out, line, n);
		for (size_t width = cell_width(line, n); width < w->v[k]; width++)
			strbuf_add_c(out, ' ');
		line += n + 1;
		len -= n + 1;
	}
	strbuf_add_n(out, line, len);
	strbuf_add_c(out, '\n');
	return 0;
}

static int each_line(char *lines, Widths *w, StrBuf *out)
{
	int r = 0;

	for (char *p = lines; r == 0 && *p;) {
		size_t len = strcspn(p, "\n");

		r = out ? add_line(p, len, w, out) : measure_line(p, len, w);
		p += len + (p[len] == '\n');
	}
	return r;
}

int format_align(const char *text, size_t cell_min, StrBuf *out)
{
	_cleanup_free_ char *lines = strdup(text);
	Widths w = {.cell_min = cell_min};
	int r = lines ? each_line(lines, &w, NULL) : -ENOMEM;

	if (r == 0)
		r = each_line(lines, &w, out);
	free(w.v);
	return r < 0 ? r : out->oom ? -ENOMEM : 0;
}

/* In list formats "\t" and "\n" may be written out. */
static char *unescape(const char *s)
{
	_cleanup_strbuf_ StrBuf b = {0};

	for (; *s; s++) {
		if (s[0] == '\\' && (s[1] == 't' || s[1] == 'n'))
			strbuf_add_c(&b, *++s == 't' ? '\t' : '\n');
		else
			strbuf_add_c(&b, *s);
	}
	return strbuf_steal(&b);
}

static TemplateFlags output_flags(const Cli *cli)
{
	return cli->out_tty ? TEMPLATE_ESCAPE : 0;
}

static int run_line(const Template *t, const json_t *dot, TemplateFlags flags, StrBuf *out, Err *e)
{
	size_t before = out->len;
	int r = template_execute(t, dot, flags, out, e);

	if (r == 0) {
		strbuf_add_c(out, '\n');
	} else if (out->s) {
		out->len = before; /* no half lines */
		out->s[before] = '\0';
	}
	return r;
}

static json_t *heading(const Column *columns)
{
	_cleanup_json_ json_t *h = json_object();

	for (const Column *c = columns; h && c->field; c++)
		if (json_object_set_new(h, c->field, json_string(c->title)) < 0)
			return NULL;
	return take_ptr(h);
}

static int print_buffer(StrBuf *b, Err *e)
{
	if (b->oom)
		return err_oom(e);
	if (b->len > 0 && fwrite(b->s, 1, b->len, stdout) != b->len)
		return err_sys(e, errno, "write the output");
	return 0;
}

int format_print_lines(const char *text, Err *e)
{
	_cleanup_strbuf_ StrBuf laid_out = {0};

	if (format_align(text, FORMAT_CELL_MIN, &laid_out) < 0)
		return err_oom(e);
	return print_buffer(&laid_out, e);
}

static int print_table(const Cli *cli, const ListFormat *lf, const char *text, const json_t *rows, Err *e)
{
	_cleanup_template_ Template *t = NULL;
	_cleanup_json_ json_t *head = heading(lf->columns);
	_cleanup_strbuf_ StrBuf b = {0};
	TemplateFlags flags = TEMPLATE_STRICT | TEMPLATE_SORT_KEYS | output_flags(cli);
	int r = head ? template_parse(text, &t, e) : err_oom(e);

	/* A template that cannot run on the headings (a range, an index) still runs on the rows. */
	if (r == 0) {
		StrBuf title = {0};

		if (run_line(t, head, TEMPLATE_HEADING, &title, NULL) == 0 && title.s)
			strbuf_add(&b, title.s);
		strbuf_done(&title);
	}
	for (size_t i = 0; r == 0 && i < json_array_size(rows); i++)
		r = run_line(t, json_array_get(rows, i), flags, &b, e);
	if (r == 0 && b.oom)
		return err_oom(e);
	return r < 0 ? r : format_print_lines(b.s ? b.s : "", e);
}

static char *replace(char *text, const char *with)
{
	free(text);
	return strdup(with);
}

int format_list(const Cli *cli, const ListFormat *lf, const char *format, const json_t *rows, Err *e)
{
	_cleanup_free_ char *text = unescape(format ? format : "table");
	_cleanup_template_ Template *t = NULL;
	_cleanup_strbuf_ StrBuf b = {0};

	if (!text)
		return err_oom(e);
	if (streq(text, "table"))
		return print_table(cli, lf, lf->table, rows, e);
	if (streq(text, "raw") && lf->raw)
		text = replace(text, lf->raw);
	if (!text)
		return err_oom(e);
	if (str_starts(text, "table "))
		return print_table(cli, lf, text + 6 + strspn(text + 6, " "), rows, e);
	int r = template_parse(streq(text, "json") ? "{{json .}}" : text, &t, e);
	for (size_t i = 0; r == 0 && i < json_array_size(rows); i++)
		r = run_line(t, json_array_get(rows, i),
			     TEMPLATE_STRICT | TEMPLATE_SORT_KEYS | output_flags(cli), &b, e);
	int printed = print_buffer(&b, r < 0 ? NULL : e);
	return r < 0 ? r : printed;
}

static int print_document(const Cli *cli, const char *format, const json_t *doc, TemplateFlags more, Err *e)
{
	_cleanup_template_ Template *t = NULL;
	_cleanup_strbuf_ StrBuf b = {0};
	int r = template_parse(streq(format, "json") ? "{{json .}}" : format, &t, e);

	if (r == 0)
		r = run_line(t, doc, TEMPLATE_STRICT | more | output_flags(cli), &b, e);
	return r < 0 ? r : print_buffer(&b, e);
}

int format_document(const Cli *cli, const char *format, const json_t *doc, Err *e)
{
	return print_document(cli, format, doc, 0, e);
}

static int print_json(const Cli *cli, const json_t *docs, size_t flags, Err *e)
{
	_cleanup_free_ char *s = json_dumps(docs, flags);

	if (!s)
		return err_oom(e);
	text_put(stdout, s, cli->out_tty);
	(void)fputc('\n', stdout);
	return 0;
}

int format_documents(const Cli *cli, const char *format, const json_t *docs, Err *e)
{
	int r = 0;

	if (!format)
		return print_json(cli, docs, JSON_INDENT(4), e);
	if (streq(format, "json"))
		return print_json(cli, docs, JSON_COMPACT, e);
	for (size_t i = 0; r == 0 && i < json_array_size(docs); i++)
		r = print_document(cli, format, json_array_get(docs, i), TEMPLATE_INSPECT, e);
	return r;
}
