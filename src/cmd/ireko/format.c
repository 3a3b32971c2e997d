/* SPDX-License-Identifier: Apache-2.0 */
/* See format.h. A table is made as text with tabs first, heading and rows by the same template, and then
 * laid out. */
#include "format.h"
#include "base/str.h"
#include "template.h"
#include "text.h"

#define CELL_PADDING 3 /* blanks between two columns, as docker has them */

static void add_cells(StrBuf *out, char *const *cells, const size_t *widths)
{
	for (size_t i = 0; cells[i]; i++) {
		strbuf_add(out, cells[i]);
		for (size_t w = text_width(cells[i]); cells[i + 1] && w < widths[i]; w++)
			strbuf_add_c(out, ' ');
	}
	strbuf_add_c(out, '\n');
}

static int measure(char *const *lines, size_t cell_min, size_t **ret)
{
	size_t n = 0;
	_cleanup_free_ size_t *widths = NULL;

	for (size_t i = 0; lines[i]; i++) {
		_cleanup_strv_ char **cells = strv_split(lines[i], '\t');
		size_t count = strv_len(cells);

		if (!cells)
			return -ENOMEM;
		if (count > n) {
			size_t *grown = realloc(widths, count * sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			widths = grown;
			for (; n < count; n++)
				widths[n] = cell_min;
		}
		for (size_t k = 0; k + 1 < count; k++)
			widths[k] = MAX2(widths[k], text_width(cells[k]) + CELL_PADDING);
	}
	*ret = take_ptr(widths);
	return 0;
}

int format_align(const char *text, size_t cell_min, StrBuf *out)
{
	_cleanup_strv_ char **lines = strv_split(text, '\n');
	_cleanup_free_ size_t *widths = NULL;
	size_t n = strv_len(lines);

	if (!lines)
		return -ENOMEM;
	if (n > 0 && lines[n - 1][0] == '\0')
		free(take_ptr(lines[n - 1]));
	int r = measure(lines, cell_min, &widths);
	for (size_t i = 0; r == 0 && lines[i]; i++) {
		_cleanup_strv_ char **cells = strv_split(lines[i], '\t');

		if (!cells)
			return -ENOMEM;
		add_cells(out, cells, widths);
	}
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

static int print_table(const Cli *cli, const ListFormat *lf, const char *text, const json_t *rows, Err *e)
{
	_cleanup_template_ Template *t = NULL;
	_cleanup_json_ json_t *head = heading(lf->columns);
	_cleanup_strbuf_ StrBuf b = {0}, laid_out = {0};
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
	if (r == 0 && (b.oom || format_align(b.s ? b.s : "", FORMAT_CELL_MIN, &laid_out) < 0))
		return err_oom(e);
	return r < 0 ? r : print_buffer(&laid_out, e);
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
	if (str_starts(text, "table "))
		return print_table(cli, lf, text + 6 + strspn(text + 6, " "), rows, e);
	int r = template_parse(streq(text, "json") ? "{{json .}}" : text, &t, e);
	for (size_t i = 0; r == 0 && i < json_array_size(rows); i++)
		r = run_line(t, json_array_get(rows, i),
			     TEMPLATE_STRICT | TEMPLATE_SORT_KEYS | output_flags(cli), &b, e);
	int printed = print_buffer(&b, r < 0 ? NULL : e);
	return r < 0 ? r : printed;
}

int format_document(const Cli *cli, const char *format, const json_t *doc, Err *e)
{
	_cleanup_template_ Template *t = NULL;
	_cleanup_strbuf_ StrBuf b = {0};
	int r = template_parse(streq(format, "json") ? "{{json .}}" : format, &t, e);

	if (r == 0)
		r = run_line(t, doc, TEMPLATE_STRICT | output_flags(cli), &b, e);
	return r < 0 ? r : print_buffer(&b, e);
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
		r = format_document(cli, format, json_array_get(docs, i), e);
	return r;
}
