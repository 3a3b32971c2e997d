/* SPDX-License-Identifier: Apache-2.0 */
/* See progress.h. The cursor rests below the last line between two messages, so that being killed leaves
 * it in order. */
#include "progress.h"
#include "base/str.h"
#include "terminal.h"
#include "text.h"

#define LINE_MAX_BYTES (16u << 20)
#define LAYERS_MAX     1024

typedef struct Screen {
	const Progress *p;
	char **ids; /* each has its line, in this order, the last one just above the cursor */
	int height, width;
} Screen;

char *progress_bar(int64_t current, int64_t total, size_t width)
{
	Human c = text_size((double)current, 4), t = text_size((double)total, 4);
	_cleanup_strbuf_ StrBuf b = {0};
	size_t cells = width > 110 ? 50 : width > 70 ? width / 2 - 20 : 0, done;

	if (total <= 0)
		return current > 0 ? strf("%8s", c.s) : strdup("");
	done = current <= 0       ? 0
	       : current >= total ? cells
				  : (size_t)((double)current / (double)total * (double)cells);
	if (cells > 0) {
		strbuf_add_c(&b, '[');
		for (size_t i = 0; i < cells; i++)
			strbuf_add_c(&b, i < done ? '=' : i == done ? '>' : ' ');
		strbuf_add(&b, "] ");
	}
	strbuf_addf(&b, "%8s/%s", c.s, t.s);
	return strbuf_steal(&b);
}

static size_t find_or_add(Screen *s, const char *id, bool *ret_new)
{
	size_t n = strv_len(s->ids);

	*ret_new = false;
	for (size_t i = 0; i < n; i++)
		if (streq(s->ids[i], id))
			return i;
	*ret_new = n < LAYERS_MAX && strv_add(&s->ids, id) == 0;
	return n;
}

static void print_cut(const Screen *s, const char *text)
{
	_cleanup_strbuf_ StrBuf b = {0};

	text_escape(&b, text, false);
	_cleanup_free_ char *cut = b.s ? text_ellipsis(b.s, (size_t)MAX2(s->width - 1, 20)) : NULL;
	(void)fprintf(s->p->out, "%s\x1b[K", cut ? cut : "");
}

static void show_on_terminal(Screen *s, const char *id, const char *text)
{
	FILE *out = s->p->out;
	bool is_new;
	size_t i = find_or_add(s, id, &is_new), up = strv_len(s->ids) - i;

	if (is_new || i >= strv_len(s->ids)) {
		print_cut(s, text);
		(void)fputc('\n', out);
		return;
	}
	/* What has scrolled out cannot be reached. */
	if (up >= (size_t)s->height)
		return;
	(void)fprintf(out, "\x1b[%zuA\r", up);
	print_cut(s, text);
	(void)fprintf(out, "\x1b[%zuB\r", up);
}

static void show_status(Screen *s, const json_t *m)
{
	const json_t *detail = json_object_get(m, "progressDetail");
	const char *id = json_get_str(m, "id"), *status = json_get_str(m, "status");
	int64_t current = json_get_int(detail, "current", 0), total = json_get_int(detail, "total", 0);
	bool has_bar = current > 0 || total > 0;
	_cleanup_free_ char *bar = NULL, *text = NULL;

	if (!s->p->tty && has_bar)
		return;
	if (has_bar && !streq0(json_get_str(detail, "units"), "s"))
		bar = progress_bar(current, total, (size_t)s->width);
	text = strf("%s%s%s%s%s", str_empty(id) ? "" : id, str_empty(id) ? "" : ": ", status,
		    str_empty(bar) ? "" : " ", bar ? bar : "");
	if (!text)
		return;
	if (s->p->tty && !str_empty(id)) {
		show_on_terminal(s, id, text);
		return;
	}
	text_put(s->p->out, text, s->p->tty);
	(void)fputc('\n', s->p->out);
	/* Lines above a plain one are no longer where they were counted to be. */
	strv_free(take_ptr(s->ids));
}

static int show_message(Screen *s, const json_t *m, Err *e)
{
	const char *error = json_get_str(json_object_get(m, "errorDetail"), "message"),
		   *stream = json_get_str(m, "stream");
	const json_t *aux = json_object_get(m, "aux");

	if (!error)
		error = json_get_str(m, "error");
	if (error)
		return err_new(e, ERR_INTERNAL, "%s", error);
	if (aux && s->p->aux)
		s->p->aux(s->p->user, aux);
	if (!s->p->out)
		return 0;
	if (stream) {
		(void)fputs(stream, s->p->out);
		strv_free(take_ptr(s->ids));
	} else if (json_get_str(m, "status")) {
		show_status(s, m);
	}
	(void)fflush(s->p->out);
	return 0;
}

static int show_line(Screen *s, const char *line, size_t n, Err *e)
{
	_cleanup_json_ json_t *m = NULL;

	while (n > 0 && strchr("\r\n\t ", line[n - 1]))
		n--;
	if (n == 0)
		return 0;
	int r = json_parse(line, n, "the engine's progress message", &m, e);
	return r < 0 ? r : show_message(s, m, e);
}

/* Shows the whole lines in b and keeps the rest. */
static int show_lines(Screen *s, StrBuf *b, Err *e)
{
	size_t start = 0;
	int r = 0;

	for (char *end; r == 0 && b->len > start && (end = memchr(b->s + start, '\n', b->len - start));) {
		size_t n = (size_t)(end - (b->s + start));

		r = show_line(s, b->s + start, n, e);
		start += n + 1;
	}
	if (start > 0) {
		memmove(b->s, b->s + start, b->len - start);
		b->len -= start;
	}
	return r;
}

int progress_show(const Progress *p, Httpc *c, Err *e)
{
	Screen s = {.p = p, .height = 24, .width = 80};
	_cleanup_strbuf_ StrBuf b = {0};
	char piece[16384];
	int r = 0;

	if (p->tty && p->out)
		(void)terminal_size(fileno(p->out), &s.height, &s.width);
	for (;;) {
		ssize_t n = httpc_read(c, piece, sizeof(piece), e);

		if (n < 0)
			r = err_ctx(e, (int)n, "the engine's progress stream broke");
		if (n <= 0)
			break;
		strbuf_add_n(&b, piece, (size_t)n);
		if (b.oom)
			r = err_oom(e);
		else if (b.len > LINE_MAX_BYTES)
			r = err_new(e, ERR_INTERNAL, "the engine's progress message is larger than %u bytes",
				    LINE_MAX_BYTES);
		else
			r = show_lines(&s, &b, e);
		if (r < 0)
			break;
	}
	if (r == 0 && b.len > 0)
		r = show_line(&s, b.s, b.len, e);
	strv_free(s.ids);
	return r;
}
