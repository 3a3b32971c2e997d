/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template text to tree, by recursive descent straight over the text: `p` is the place, and an error tells
 * it. Half-built trees are released by template_free() like whole ones.
 */
#include "template-internal.h"

#include <ctype.h>

typedef struct Parser {
	const char *start, *p;
	bool trim_next; /* the action before ended with -}} */
	int depth;
	Err *e;
} Parser;

/* What ended a list of nodes. */
typedef enum Ending { END_OF_TEXT, END_END, END_ELSE } Ending;

static int parse_list(Parser *ps, NodeList *list, bool nested, Ending *ret);
static int parse_pipe(Parser *ps, Pipe **ret);

static int fail(Parser *ps, const char *what)
{
	return err_new(ps->e, ERR_INVALID, "template parsing error: column %zu: %s",
		       (size_t)(ps->p - ps->start) + 1, what);
}

static void skip_blanks(Parser *ps)
{
	while (isspace((unsigned char)*ps->p))
		ps->p++;
}

static bool at_close(const Parser *ps)
{
	return str_starts(ps->p, "}}") || (ps->p[0] == '-' && str_starts(ps->p + 1, "}}"));
}

/* The end of an action, with its trim mark. */
static int take_close(Parser *ps)
{
	skip_blanks(ps);
	if (*ps->p == '-' && isspace((unsigned char)ps->p[-1])) {
		ps->trim_next = true;
		ps->p++;
	}
	if (!str_starts(ps->p, "}}"))
		return fail(ps, *ps->p ? "unexpected text in an action" : "an action is not closed with }}");
	ps->p += 2;
	return 0;
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || (c & 0x80);
}

static char *take_word(Parser *ps)
{
	const char *s = ps->p;

	while (is_word(*ps->p))
		ps->p++;
	return strndup(s, (size_t)(ps->p - s));
}

static bool peek_keyword(const Parser *ps, const char *word)
{
	size_t n = strlen(word);

	return strncmp(ps->p, word, n) == 0 && !is_word(ps->p[n]);
}

static bool take_keyword(Parser *ps, const char *word)
{
	if (!peek_keyword(ps, word))
		return false;
	ps->p += strlen(word);
	skip_blanks(ps);
	return true;
}

void template_add_rune(StrBuf *b, unsigned long c)
{
	if (c < 0x80) {
		strbuf_add_c(b, (char)c);
	} else if (c < 0x800) {
		strbuf_add_c(b, (char)(0xC0 | c >> 6));
		strbuf_add_c(b, (char)(0x80 | (c & 63)));
	} else if (c < 0x10000) {
		strbuf_add_c(b, (char)(0xE0 | c >> 12));
		strbuf_add_c(b, (char)(0x80 | (c >> 6 & 63)));
		strbuf_add_c(b, (char)(0x80 | (c & 63)));
	} else {
		strbuf_add_c(b, (char)(0xF0 | c >> 18));
		strbuf_add_c(b, (char)(0x80 | (c >> 12 & 63)));
		strbuf_add_c(b, (char)(0x80 | (c >> 6 & 63)));
		strbuf_add_c(b, (char)(0x80 | (c & 63)));
	}
}

/* What follows a backslash in "..." */
static int take_escape(Parser *ps, StrBuf *b)
{
	static const char from[] = "abfnrtv\\\"'", to[] = "\a\b\f\n\r\t\v\\\"'";
	char c = *ps->p;
	const char *at = c ? strchr(from, c) : NULL;
	size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
	char hex[9] = {0};

	if (at) {
		strbuf_add_c(b, to[at - from]);
		ps->p++;
		return 0;
	}
	for (size_t i = 0; i < digits; i++) {
		if (!isxdigit((unsigned char)ps->p[i + 1]))
			return fail(ps, "a broken \\ escape");
		hex[i] = ps->p[i + 1];
	}
	unsigned long v = strtoul(hex, NULL, 16);
	if (digits == 0 || v == 0 || v > 0x10FFFF)
		return fail(ps, "an unknown \\ escape");
	ps->p += digits + 1;
	template_add_rune(b, v);
	return 0;
}

static int take_string(Parser *ps, json_t **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};
	char quote = *ps->p++;

	while (*ps->p != quote) {
		if (!*ps->p || (quote != '`' && *ps->p == '\n'))
			return fail(ps, "a string is not closed");
		if (quote != '`' && *ps->p == '\\') {
			ps->p++;
			int r = take_escape(ps, &b);
			if (r < 0)
				return r;
		} else {
			strbuf_add_c(&b, *ps->p++);
		}
	}
	ps->p++;
	if (b.oom)
		return err_oom(ps->e);
	*ret = json_stringn(b.s ? b.s : "", b.len);
	return *ret ? 0 : fail(ps, "a string is no UTF-8");
}

static int take_number(Parser *ps, json_t **ret)
{
	char *end_i, *end_f;

	errno = 0;
	long long i = strtoll(ps->p, &end_i, 0);
	int no = errno;
	double f = strtod(ps->p, &end_f);
	char *end = MAX2(end_i, end_f);

	if (end == ps->p || is_word(*end) || (end == end_i && no))
		return fail(ps, "a broken number");
	*ret = end == end_i ? json_integer(i) : json_real(f);
	ps->p = end;
	return *ret ? 0 : err_oom(ps->e);
}

static int take_fields(Parser *ps, char ***fields)
{
	while (*ps->p == '.' && is_word(ps->p[1])) {
		ps->p++;
		if (strv_take(fields, take_word(ps)) < 0)
			return err_oom(ps->e);
	}
	return 0;
}

static int take_parenthesis(Parser *ps, Operand *o)
{
	ps->p++;
	o->kind = OPERAND_PIPE;
	int r = parse_pipe(ps, &o->pipe);
	if (r < 0)
		return r;
	skip_blanks(ps);
	if (*ps->p != ')')
		return fail(ps, "expected )");
	ps->p++;
	return take_fields(ps, &o->fields);
}

static int take_identifier(Parser *ps, Operand *o)
{
	_cleanup_free_ char *word = take_word(ps);

	if (!word)
		return err_oom(ps->e);
	if (streq(word, "true") || streq(word, "false")) {
		o->kind = OPERAND_LITERAL;
		o->literal = json_boolean(word[0] == 't');
		return 0;
	}
	if (streq(word, "nil")) {
		o->kind = OPERAND_NIL;
		return 0;
	}
	if (!template_has_function(word))
		return err_new(ps->e, ERR_INVALID, "template parsing error: function \"%s\" not defined",
			       word);
	o->kind = OPERAND_FUNCTION;
	o->name = take_ptr(word);
	return 0;
}

static int parse_operand(Parser *ps, Operand *o)
{
	char c = *ps->p;

	if (c == '(')
		return take_parenthesis(ps, o);
	if (c == '.' && !isdigit((unsigned char)ps->p[1])) {
		o->kind = OPERAND_DOT;
		if (!is_word(ps->p[1]))
			ps->p++;
		return take_fields(ps, &o->fields);
	}
	if (c == '$') {
		ps->p++;
		o->kind = OPERAND_VARIABLE;
		o->name = take_word(ps);
		return o->name ? take_fields(ps, &o->fields) : err_oom(ps->e);
	}
	o->kind = OPERAND_LITERAL;
	if (c == '"' || c == '`')
		return take_string(ps, &o->literal);
	if (isdigit((unsigned char)c) || c == '-' || c == '+' || c == '.')
		return take_number(ps, &o->literal);
	if (is_word(c))
		return take_identifier(ps, o);
	return fail(ps, "unexpected character in an action");
}

static void *grow(void **items, size_t *n, size_t size)
{
	void *p = realloc(*items, (*n + 1) * size);

	if (!p)
		return NULL;
	*items = p;
	return memset((char *)p + (*n)++ * size, 0, size);
}

static int parse_command(Parser *ps, TemplateCommand *c)
{
	for (;;) {
		skip_blanks(ps);
		if (!*ps->p || *ps->p == '|' || *ps->p == ')' || at_close(ps))
			return c->n > 0 ? 0 : fail(ps, "a value is missing");
		Operand *o = grow((void **)&c->operands, &c->n, sizeof(Operand));
		if (!o)
			return err_oom(ps->e);
		int r = parse_operand(ps, o);
		if (r < 0)
			return r;
		/* Operands stand apart: "a""b" and .A(.B) are mistakes. */
		if (*ps->p && !isspace((unsigned char)*ps->p) && *ps->p != '|' && *ps->p != ')' &&
		    !str_starts(ps->p, "}}"))
			return fail(ps, "unexpected character in an action");
	}
}

/* "$x :=", "$x =", "$i, $x :=" in front of a pipeline; looks ahead, because "$x" alone is a value. */
static int parse_variables(Parser *ps, Pipe *pipe)
{
	const char *back = ps->p;

	while (*ps->p == '$' && is_word(ps->p[1])) {
		ps->p++;
		if (strv_take(&pipe->variables, take_word(ps)) < 0)
			return err_oom(ps->e);
		skip_blanks(ps);
		if (*ps->p != ',' || strv_len(pipe->variables) == 2)
			break;
		ps->p++;
		skip_blanks(ps);
	}
	if (pipe->variables && str_starts(ps->p, ":=")) {
		ps->p += 2;
		return 0;
	}
	if (pipe->variables && ps->p[0] == '=' && strv_len(pipe->variables) == 1) {
		ps->p++;
		pipe->assigns = true;
		return 0;
	}
	strv_free(take_ptr(pipe->variables));
	ps->p = back;
	return 0;
}

static int parse_pipe_into(Parser *ps, Pipe *pipe)
{
	skip_blanks(ps);
	int r = parse_variables(ps, pipe);
	while (r == 0) {
		TemplateCommand *c = grow((void **)&pipe->commands, &pipe->n, sizeof(TemplateCommand));

		if (!c)
			return err_oom(ps->e);
		r = parse_command(ps, c);
		if (r < 0 || *ps->p != '|')
			break;
		ps->p++;
	}
	return r;
}

static int parse_pipe(Parser *ps, Pipe **ret)
{
	*ret = calloc(1, sizeof(Pipe));
	if (!*ret)
		return err_oom(ps->e);
	if (++ps->depth > TEMPLATE_DEPTH_MAX)
		return fail(ps, "nested too deeply");
	int r = parse_pipe_into(ps, *ret);
	ps->depth--;
	return r;
}

/* if, range, with: the pipeline, the body, and an else branch (another node for "else if"). */
static int parse_control(Parser *ps, Node *n)
{
	Ending ending;
	int r = parse_pipe(ps, &n->pipe);

	if (r == 0)
		r = take_close(ps);
	if (r == 0)
		r = parse_list(ps, &n->body, true, &ending);
	if (r < 0 || ending == END_END)
		return r;
	bool chained_if = take_keyword(ps, "if"), chained_with = !chained_if && take_keyword(ps, "with");
	if (chained_if || chained_with) {
		Node *inner = grow((void **)&n->otherwise.items, &n->otherwise.n, sizeof(Node));

		if (!inner)
			return err_oom(ps->e);
		inner->kind = chained_if ? NODE_IF : NODE_WITH;
		return parse_control(ps, inner);
	}
	r = take_close(ps);
	if (r == 0)
		r = parse_list(ps, &n->otherwise, true, &ending);
	if (r == 0 && ending != END_END)
		return fail(ps, "expected {{end}}");
	return r;
}

static int parse_action(Parser *ps, Node *n)
{
	if (take_keyword(ps, "if")) {
		n->kind = NODE_IF;
		return parse_control(ps, n);
	}
	if (take_keyword(ps, "range")) {
		n->kind = NODE_RANGE;
		return parse_control(ps, n);
	}
	if (take_keyword(ps, "with")) {
		n->kind = NODE_WITH;
		return parse_control(ps, n);
	}
	if (peek_keyword(ps, "break") || peek_keyword(ps, "continue")) {
		n->kind = *ps->p == 'b' ? NODE_BREAK : NODE_CONTINUE;
		ps->p += *ps->p == 'b' ? 5 : 8;
		return take_close(ps);
	}
	n->kind = NODE_PIPE;
	int r = parse_pipe(ps, &n->pipe);
	return r < 0 ? r : take_close(ps);
}

/* Text up to the next action, trimmed on both sides as the marks say. */
static int parse_text(Parser *ps, NodeList *list)
{
	const char *open = strstr(ps->p, "{{"), *s = ps->p, *end = open ? open : s + strlen(s);

	ps->p = end;
	if (ps->trim_next)
		while (s < end && isspace((unsigned char)*s))
			s++;
	ps->trim_next = false;
	if (open && open[2] == '-' && isspace((unsigned char)open[3]))
		while (end > s && isspace((unsigned char)end[-1]))
			end--;
	if (s == end)
		return 0;
	Node *n = grow((void **)&list->items, &list->n, sizeof(Node));
	if (!n)
		return err_oom(ps->e);
	n->kind = NODE_TEXT;
	n->text = strndup(s, (size_t)(end - s));
	return n->text ? 0 : err_oom(ps->e);
}

static int skip_comment(Parser *ps)
{
	const char *end = strstr(ps->p, "*/");

	if (!end)
		return fail(ps, "a comment is not closed");
	ps->p = end + 2;
	if (isspace((unsigned char)*ps->p))
		skip_blanks(ps);
	return take_close(ps);
}

static int parse_nodes(Parser *ps, NodeList *list, bool nested, Ending *ret)
{
	for (;;) {
		int r = parse_text(ps, list);

		if (r < 0)
			return r;
		if (!*ps->p) {
			*ret = END_OF_TEXT;
			return nested ? fail(ps, "expected {{end}}") : 0;
		}
		ps->p += 2;
		if (*ps->p == '-' && isspace((unsigned char)ps->p[1]))
			ps->p++;
		skip_blanks(ps);
		if (str_starts(ps->p, "/*")) {
			r = skip_comment(ps);
			if (r < 0)
				return r;
			continue;
		}
		if (peek_keyword(ps, "end") || peek_keyword(ps, "else")) {
			if (!nested)
				return fail(ps, "unexpected {{end}} or {{else}}");
			*ret = ps->p[1] == 'n' ? END_END : END_ELSE;
			(void)(take_keyword(ps, "end") || take_keyword(ps, "else"));
			/* The caller reads what follows else. */
			return *ret == END_END ? take_close(ps) : 0;
		}
		Node *n = grow((void **)&list->items, &list->n, sizeof(Node));
		if (!n)
			return err_oom(ps->e);
		r = parse_action(ps, n);
		if (r < 0)
			return r;
	}
}

static int parse_list(Parser *ps, NodeList *list, bool nested, Ending *ret)
{
	if (++ps->depth > TEMPLATE_DEPTH_MAX)
		return fail(ps, "nested too deeply");
	int r = parse_nodes(ps, list, nested, ret);
	ps->depth--;
	return r;
}

static void pipe_free(Pipe *p);

static void operand_done(Operand *o)
{
	free(o->name);
	json_decref(o->literal);
	pipe_free(o->pipe);
	strv_free(o->fields);
}

static void pipe_free(Pipe *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++) {
		for (size_t k = 0; k < p->commands[i].n; k++)
			operand_done(&p->commands[i].operands[k]);
		free(p->commands[i].operands);
	}
	free(p->commands);
	strv_free(p->variables);
	free(p);
}

static void nodes_done(NodeList *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->items[i].text);
		pipe_free(l->items[i].pipe);
		nodes_done(&l->items[i].body);
		nodes_done(&l->items[i].otherwise);
	}
	free(l->items);
}

void template_free(Template *t)
{
	if (!t)
		return;
	nodes_done(&t->nodes);
	free(t);
}

int template_parse(const char *text, Template **ret, Err *e)
{
	_cleanup_template_ Template *t = calloc(1, sizeof(*t));
	Parser ps = {.start = text, .p = text, .e = e};
	Ending ending;

	if (!t)
		return err_oom(e);
	int r = parse_list(&ps, &t->nodes, false, &ending);
	if (r < 0)
		return r;
	*ret = take_ptr(t);
	return 0;
}
