/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter. Values are json_t references, NULL being "no value". Variables are a stack in the Run; a
 * block puts the stack back to where it found it.
 */
#include "base/clock.h"
#include "template-internal.h"
#include "text.h"

#include <ctype.h>
#include <strings.h>

#define VARIABLES_MAX 64
#define OUTPUT_MAX    (64u << 20)

typedef struct Variable {
	const char *name;
	json_t *value;
} Variable;

typedef enum Flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE } Flow;

typedef struct Run {
	const json_t *root;
	TemplateFlags flags;
	StrBuf *out;
	Variable variables[VARIABLES_MAX];
	size_t n_variables;
	Err *e;
} Run;

static int eval_pipe(Run *r, const Pipe *p, const json_t *dot, json_t **ret);
static int run_list(Run *r, const NodeList *l, const json_t *dot, Flow *flow);

static int fail(Run *r, const char *what, const char *name)
{
	return err_new(r->e, ERR_INVALID, "template error: %s \"%s\"", what, name);
}

static json_t *find_member(const json_t *obj, const char *name)
{
	json_t *v = json_object_get(obj, name);
	const char *key;

	if (v || !isupper((unsigned char)*name))
		return v;
	json_object_foreach ((json_t *)obj, key, v) {
		if (strcasecmp(key, name) == 0)
			return v;
	}
	return NULL;
}

/* True if docker's client would say that there is no such member. The keys of a map are the user's. */
static bool is_unknown(const char *name, const char *parent)
{
	const char *kind = parent ? template_member_kind(parent) : NULL;

	return isupper((unsigned char)*name) && !template_member_kind(name) && !streq0(kind, "map[]");
}

/* One step of .A.B, the member `name` of what was got as `parent` (NULL: the first); a borrowed reference. */
static int lookup(Run *r, const json_t *on, const char *name, const char *parent, const json_t **ret)
{
	if (!on || json_is_null(on))
		return fail(r, "there is no value to look up", name);
	if (!json_is_object(on))
		return fail(r, "the value is no object and has no field", name);
	*ret = find_member(on, name);
	if (*ret)
		return 0;
	if (r->flags & TEMPLATE_INSPECT && is_unknown(name, parent))
		return err_new(r->e, ERR_INVALID, "template parsing error: map has no entry for key \"%s\"",
			       name);
	if (!(r->flags & TEMPLATE_INSPECT) && on == r->root && r->flags & TEMPLATE_STRICT)
		return fail(r, "there is no field", name);
	return 0;
}

static int lookup_all(Run *r, const json_t *on, char *const *fields, json_t **ret)
{
	for (size_t i = 0; fields && fields[i]; i++) {
		int bad = lookup(r, on, fields[i], i > 0 ? fields[i - 1] : NULL, &on);

		if (bad < 0)
			return bad;
	}
	*ret = json_incref((json_t *)on);
	return 0;
}

static Variable *find_variable(Run *r, const char *name)
{
	for (size_t i = r->n_variables; i > 0; i--)
		if (streq(r->variables[i - 1].name, name))
			return &r->variables[i - 1];
	return NULL;
}

static int set_variable(Run *r, const char *name, bool assign, const json_t *value)
{
	Variable *v = assign ? find_variable(r, name) : NULL;

	if (assign && !v)
		return fail(r, "undefined variable", name);
	if (!v && r->n_variables == VARIABLES_MAX)
		return fail(r, "too many variables at", name);
	if (v)
		json_decref(v->value);
	else
		v = &r->variables[r->n_variables++];
	*v = (Variable){.name = name, .value = json_incref((json_t *)value)};
	return 0;
}

static void drop_variables(Run *r, size_t to)
{
	while (r->n_variables > to)
		json_decref(r->variables[--r->n_variables].value);
}

static int eval_operand(Run *r, const Operand *o, const json_t *dot, json_t **ret)
{
	_cleanup_json_ json_t *inner = NULL;
	const Variable *v;
	int bad;

	switch (o->kind) {
	case OPERAND_DOT:
		return lookup_all(r, dot, o->fields, ret);
	case OPERAND_VARIABLE:
		if (o->name[0] == '\0')
			return lookup_all(r, r->root, o->fields, ret);
		v = find_variable(r, o->name);
		if (!v)
			return fail(r, "undefined variable", o->name);
		return lookup_all(r, v->value, o->fields, ret);
	case OPERAND_LITERAL:
		*ret = json_incref(o->literal);
		return 0;
	case OPERAND_NIL:
		*ret = NULL;
		return 0;
	case OPERAND_PIPE:
		bad = eval_pipe(r, o->pipe, dot, &inner);
		return bad < 0 ? bad : lookup_all(r, inner, o->fields, ret);
	case OPERAND_FUNCTION:
		return template_call(o->name, &(Arguments){0}, r->flags, ret, r->e);
	}
	return fail(r, "cannot evaluate", o->name ? o->name : "?");
}

/* The heading of a label's column: what follows the last dot, without dashes. */
static json_t *label_heading(const char *key)
{
	const char *dot = strrchr(key, '.');
	_cleanup_free_ char *text = strdup(dot ? dot + 1 : key);

	for (char *p = text; p && *p; p++)
		if (*p == '-' || *p == '_')
			*p = ' ';
	return text ? json_string(text) : NULL;
}

/* `.Label "key"`: the one method that docker's rows have. */
static int call_label(Run *r, const json_t *dot, const json_t *key, json_t **ret)
{
	const char *name = json_is_string(key) ? json_string_value(key) : "";
	const json_t *v = json_object_get(json_object_get(dot, TEMPLATE_LABELS), name);

	if (r->flags & TEMPLATE_HEADING)
		*ret = label_heading(name);
	else
		*ret = v ? json_incref((json_t *)v) : json_string("");
	return *ret ? 0 : err_oom(r->e);
}

static bool is_label_method(const Run *r, const Operand *o, const json_t *dot)
{
	return o->kind == OPERAND_DOT && strv_len(o->fields) == 1 && streq(o->fields[0], "Label") &&
	       (r->flags & TEMPLATE_HEADING || json_object_get(dot, TEMPLATE_LABELS));
}

static int call_command(Run *r, const TemplateCommand *c, const json_t *dot, const Arguments *a, json_t **ret)
{
	const Operand *head = &c->operands[0];

	if (head->kind == OPERAND_FUNCTION)
		return template_call(head->name, a, r->flags, ret, r->e);
	if (is_label_method(r, head, dot) && a->n == 1)
		return call_label(r, dot, a->v[0], ret);
	if (a->n > 0)
		return fail(r, "arguments were given to what is no function:",
			    head->fields ? head->fields[strv_len(head->fields) - 1] : "value");
	return eval_operand(r, head, dot, ret);
}

/* and/or stop at the first argument that decides. */
static bool decides(const Operand *head, const json_t *v)
{
	if (head->kind != OPERAND_FUNCTION)
		return false;
	return (streq(head->name, "and") && !template_truth(v)) ||
	       (streq(head->name, "or") && template_truth(v));
}

static int eval_command(Run *r, const TemplateCommand *c, const json_t *dot, bool piped, const json_t *last,
			json_t **ret)
{
	Arguments a = {.v = calloc(c->n + 1, sizeof(json_t *))};
	int bad = a.v ? 0 : err_oom(r->e);

	for (size_t i = 1; bad == 0 && i < c->n; i++) {
		bad = eval_operand(r, &c->operands[i], dot, &a.v[a.n++]);
		if (bad == 0 && decides(&c->operands[0], a.v[a.n - 1]))
			break;
	}
	if (bad == 0 && piped)
		a.v[a.n++] = json_incref((json_t *)last);
	if (bad == 0)
		bad = call_command(r, c, dot, &a, ret);
	for (size_t i = 0; i < a.n; i++)
		json_decref(a.v[i]);
	free(a.v);
	return bad;
}

static int eval_pipe(Run *r, const Pipe *p, const json_t *dot, json_t **ret)
{
	_cleanup_json_ json_t *value = NULL;

	for (size_t i = 0; i < p->n; i++) {
		json_t *next = NULL;
		int bad = eval_command(r, &p->commands[i], dot, i > 0, value, &next);

		json_decref(value);
		value = next;
		if (bad < 0)
			return bad;
	}
	*ret = take_ptr(value);
	return 0;
}

static int emit(Run *r, const char *s, size_t n)
{
	strbuf_add_n(r->out, s, n);
	if (r->out->oom)
		return err_oom(r->e);
	if (r->out->len > OUTPUT_MAX)
		return err_new(r->e, ERR_INVALID, "template error: the output is larger than %u bytes",
			       OUTPUT_MAX);
	return 0;
}

/* Go says <nil> for a member that a document of its own leaves out, <no value> for a key that a map has
 * not: ours are all maps, but the members of Go's documents are capitalised. */
static const char *name_of_nothing(const Pipe *p, TemplateFlags flags)
{
	const TemplateCommand *last = p->n > 0 ? &p->commands[p->n - 1] : NULL;
	char *const *fields = last && last->n == 1 ? last->operands[0].fields : NULL;
	size_t n = strv_len(fields);
	const char *kind = n > 0 && flags & TEMPLATE_INSPECT ? template_member_kind(fields[n - 1]) : NULL;

	if (kind || flags & TEMPLATE_INSPECT)
		return kind ? kind : "<no value>";
	return n > 0 && isupper((unsigned char)fields[n - 1][0]) ? "<nil>" : "<no value>";
}

/* The members that docker's client keeps as times, not as texts: a network's Created, an image's Metadata.LastTagTime. */
static bool is_time(const Run *r, const Pipe *p)
{
	char *const *fields = p->n == 1 && p->commands[0].n == 1 ? p->commands[0].operands[0].fields : NULL;
	size_t n = strv_len(fields);

	if (n == 0 || !(r->flags & TEMPLATE_INSPECT))
		return false;
	return streq(fields[n - 1], "LastTagTime") ||
	       (n == 1 && streq(fields[0], "Created") && json_object_get(r->root, "IPAM"));
}

static int emit_value(Run *r, const Pipe *p, const json_t *v)
{
	_cleanup_strbuf_ StrBuf b = {0}, shown = {0};
	int64_t ns;

	if (!v || json_is_null(v)) {
		strbuf_add(&b, name_of_nothing(p, r->flags));
	} else if (json_is_string(v) && is_time(r, p) && clock_parse(json_string_value(v), &ns) == 0) {
		_cleanup_free_ char *time = text_go_time(ns);

		strbuf_add(&b, time ? time : "");
		b.oom = b.oom || !time;
	} else {
		template_print(&b, v);
	}
	if (!(r->flags & TEMPLATE_ESCAPE) || !b.s)
		return b.oom ? err_oom(r->e) : emit(r, b.s ? b.s : "", b.len);
	text_escape(&shown, b.s, true);
	return b.oom || shown.oom ? err_oom(r->e) : emit(r, shown.s ? shown.s : "", shown.len);
}

static int run_pipe(Run *r, const Node *n, const json_t *dot)
{
	_cleanup_json_ json_t *v = NULL;
	int bad = eval_pipe(r, n->pipe, dot, &v);

	if (bad < 0)
		return bad;
	if (n->pipe->variables)
		return set_variable(r, n->pipe->variables[0], n->pipe->assigns, v);
	return emit_value(r, n->pipe, v);
}

/* if and with. */
static int run_branch(Run *r, const Node *n, const json_t *dot, Flow *flow)
{
	_cleanup_json_ json_t *v = NULL;
	size_t before = r->n_variables;
	int bad = eval_pipe(r, n->pipe, dot, &v);

	if (bad == 0 && n->pipe->variables)
		bad = set_variable(r, n->pipe->variables[0], n->pipe->assigns, v);
	if (bad == 0 && template_truth(v))
		bad = run_list(r, &n->body, n->kind == NODE_WITH ? v : dot, flow);
	else if (bad == 0)
		bad = run_list(r, &n->otherwise, dot, flow);
	drop_variables(r, before);
	return bad;
}

static int run_item(Run *r, const Node *n, json_t *key, const json_t *item, Flow *flow)
{
	size_t before = r->n_variables;
	char *const *names = n->pipe->variables;
	int bad = key ? 0 : err_oom(r->e);

	if (bad == 0 && strv_len(names) == 2)
		bad = set_variable(r, names[0], false, key);
	if (bad == 0 && names)
		bad = set_variable(r, names[strv_len(names) - 1], false, item);
	if (bad == 0)
		bad = run_list(r, &n->body, item, flow);
	drop_variables(r, before);
	json_decref(key);
	return bad;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int range_object(Run *r, const Node *n, const json_t *v)
{
	_cleanup_free_ const char **keys = calloc(json_object_size(v) + 1, sizeof(char *));
	size_t count = 0;
	const char *key;
	json_t *item;
	int bad = keys ? 0 : err_oom(r->e);

	if (bad < 0)
		return bad;
	json_object_foreach ((json_t *)v, key, item) {
		if (!streq(key, TEMPLATE_LABELS))
			keys[count++] = key;
	}
	qsort(keys, count, sizeof(*keys), by_name);
	for (size_t i = 0; bad == 0 && i < count; i++) {
		Flow flow = FLOW_NEXT;

		bad = run_item(r, n, json_string(keys[i]), json_object_get(v, keys[i]), &flow);
		if (flow == FLOW_BREAK)
			break;
	}
	return bad;
}

static int range_array(Run *r, const Node *n, const json_t *v)
{
	int bad = 0;

	for (size_t i = 0; bad == 0 && i < json_array_size(v); i++) {
		Flow flow = FLOW_NEXT;

		bad = run_item(r, n, json_integer((json_int_t)i), json_array_get(v, i), &flow);
		if (flow == FLOW_BREAK)
			break;
	}
	return bad;
}

static int run_range(Run *r, const Node *n, const json_t *dot, Flow *flow)
{
	_cleanup_json_ json_t *v = NULL;
	int bad = eval_pipe(r, n->pipe, dot, &v);

	if (bad < 0)
		return bad;
	if (!v || json_is_null(v) ||
	    (!json_object_size(v) && !json_array_size(v) && (json_is_object(v) || json_is_array(v))))
		return run_list(r, &n->otherwise, dot, flow);
	if (json_is_array(v))
		return range_array(r, n, v);
	if (json_is_object(v))
		return range_object(r, n, v);
	return err_new(r->e, ERR_INVALID, "template error: range needs an array or an object");
}

static int run_list(Run *r, const NodeList *l, const json_t *dot, Flow *flow)
{
	for (size_t i = 0; i < l->n && *flow == FLOW_NEXT; i++) {
		const Node *n = &l->items[i];
		int bad = 0;

		switch (n->kind) {
		case NODE_TEXT:
			bad = emit(r, n->text, strlen(n->text));
			break;
		case NODE_PIPE:
			bad = run_pipe(r, n, dot);
			break;
		case NODE_IF:
		case NODE_WITH:
			bad = run_branch(r, n, dot, flow);
			break;
		case NODE_RANGE:
			bad = run_range(r, n, dot, flow);
			break;
		case NODE_BREAK:
			*flow = FLOW_BREAK;
			break;
		case NODE_CONTINUE:
			*flow = FLOW_CONTINUE;
			break;
		}
		if (bad < 0)
			return bad;
	}
	return 0;
}

int template_execute(const Template *t, const json_t *dot, TemplateFlags flags, StrBuf *out, Err *e)
{
	Run r = {.root = dot, .flags = flags, .out = out, .e = e};
	Flow flow = FLOW_NEXT;
	int bad = run_list(&r, &t->nodes, dot, &flow);

	drop_variables(&r, 0);
	return bad;
}
