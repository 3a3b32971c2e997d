/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents that docker build --call asks for: frontend.outline, frontend.targets and frontend.lint, with their members named as BuildKit
 * names them, and the text that is printed where the client does not print the document itself.
 */
#include "dockerfile/check-internal.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/str.h"

#define RANGES_MAX 1000 /* lines of one place */

void dockerfile_report_done(DockerfileReport *r)
{
	free(r->json);
	free(r->text);
	*r = (DockerfileReport){0};
}

/* ---- parts ---- */

/* A member, taken over. A NULL value is out of memory, which *ok then says. */
static void put(json_t *object, const char *key, json_t *value, bool *ok)
{
	if (!value || json_object_set_new(object, key, value) < 0)
		*ok = false;
}

/* What is no UTF-8 (a value from the command line may be anything, and a text may be cut) is shown as far as it is. */
static json_t *text_json(const char *value)
{
	json_t *s = json_string(value);
	_cleanup_free_ char *clean = s ? NULL : str_utf8_clean(value, strlen(value));

	return s ? s : clean ? json_string(clean) : NULL;
}

static void put_text(json_t *object, const char *key, const char *value, bool *ok)
{
	if (value && *value)
		put(object, key, text_json(value), ok);
}

/* {"ranges": [{"start": {"line": 3}, "end": {"line": 3}}]}, a range for each line. */
static json_t *location(int first, int last)
{
	_cleanup_json_ json_t *ranges = json_array();

	for (int line = first; ranges && line > 0 && line <= last && line < first + RANGES_MAX; line++) {
		json_t *range = json_pack("{s:{s:i}, s:{s:i}}", "start", "line", line, "end", "line", line);

		if (!range || json_array_append_new(ranges, range) < 0)
			return NULL;
	}
	if (!ranges || json_array_size(ranges) == 0)
		return ranges ? json_object() : NULL;
	return json_pack("{s:O}", "ranges", ranges);
}

static json_t *encoded(const char *text, size_t len)
{
	_cleanup_free_ char *data = base64_encode(text, len, false);

	return data ? json_string(data) : NULL;
}

static json_t *sources_plain(const char *text, size_t len)
{
	json_t *data = encoded(text, len);

	return data ? json_pack("[o]", data) : NULL;
}

static int finish(json_t *doc, StrBuf *text, bool ok, int status, DockerfileReport *ret, Err *e)
{
	DockerfileReport r = {.status = status};

	r.json = ok && doc ? json_dumps(doc, JSON_INDENT(2)) : NULL;
	r.text = strbuf_steal(text);
	if (!r.json || !r.text) {
		dockerfile_report_done(&r);
		return err_oom(e);
	}
	*ret = r;
	return 0;
}

static size_t characters(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xC0) != 0x80;
	return n;
}

/* Columns as wide as their widest cell, `gap` blanks between; the last is not filled up. cells has NULLs for "". */
static void put_table(StrBuf *b, const char *const *cells, size_t rows, size_t columns, size_t gap)
{
	for (size_t i = 0; i < rows; i++) {
		for (size_t k = 0; k < columns; k++) {
			const char *cell = cells[i * columns + k] ?: "";
			size_t width = 0;

			strbuf_add(b, cell);
			for (size_t j = 0; k + 1 < columns && j < rows; j++)
				width = MAX2(width, characters(cells[j * columns + k] ?: ""));
			for (size_t n = characters(cell); k + 1 < columns && n < width + gap; n++)
				strbuf_add_c(b, ' ');
		}
		strbuf_add_c(b, '\n');
	}
}

/* ---- outline ---- */

static json_t *entry_json(const Entry *entry, bool required)
{
	json_t *o = json_object();
	bool ok = o != NULL;

	put(o, "name", text_json(entry->name), &ok);
	put_text(o, "description", entry->description, &ok);
	put_text(o, "value", entry->value, &ok);
	if (required && entry->required)
		put(o, "required", json_true(), &ok);
	put(o, "location", location(entry->first, entry->last), &ok);
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}

static int by_line(const void *a, const void *b)
{
	const Entry *x = a, *y = b;

	return x->first != y->first ? (x->first > y->first) - (x->first < y->first)
				    : strcmp(x->name, y->name);
}

/* `entries` as the document's member `key`, if there is one. */
static void put_entries(json_t *doc, const char *key, const Entries *entries, bool *ok)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < entries->n; i++) {
		json_t *o = entry_json(&entries->items[i], true);

		if (!o || json_array_append_new(array, o) < 0)
			*ok = false;
	}
	if (entries->n)
		put(doc, key, array, ok);
	else
		json_decref(array);
}

static void table_of(StrBuf *b, const Entries *entries, const char *title, bool args)
{
	size_t columns = args ? 3 : 2;
	const char **cells = entries->n ? calloc((entries->n + 1) * columns, sizeof(*cells)) : NULL;

	if (!cells)
		return;
	cells[0] = title;
	cells[1] = args ? "VALUE" : "REQUIRED";
	if (args)
		cells[2] = "DESCRIPTION";
	for (size_t i = 0; i < entries->n; i++) {
		const Entry *entry = &entries->items[i];

		cells[(i + 1) * columns] = entry->name;
		cells[(i + 1) * columns + 1] = args ? entry->value : entry->required ? "true" : "";
		if (args)
			cells[(i + 1) * columns + 2] = entry->description;
	}
	put_table(b, cells, entries->n + 1, columns, 3);
	strbuf_add_c(b, '\n');
	free(cells);
}

static void put_head(StrBuf *b, const char *name, const char *about)
{
	const char *const cells[] = {"TARGET:", name ?: "(default)", "DESCRIPTION:", about};

	if (!name && !about)
		return;
	put_table(b, cells, about ? 2 : 1, 2, 1);
	strbuf_add_c(b, '\n');
}

/* ARGs before the first FROM that are used, and those that their defaults refer to, become the target's. */
static int take_globals(Checker *c, Err *e)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < c->global_args.n; i++) {
			const Entry *g = &c->global_args.items[i];

			for (size_t k = 0; g->used && g->deps && g->deps[k]; k++) {
				Entry *dep = entries_find(&c->global_args, g->deps[k]);

				more = more || (dep && !dep->used);
				if (dep)
					dep->used = true;
			}
		}
	}
	for (size_t i = 0; i < c->global_args.n; i++) {
		const Entry *g = &c->global_args.items[i];
		const DockerfileStep place = {.line = g->first, .last_line = g->last};
		Entry *entry = g->used && !entries_find(&c->args, g->name)
				   ? entries_add(&c->args, g->name, &place)
				   : NULL;

		if (!g->used || (!entry && entries_find(&c->args, g->name)))
			continue;
		if (!entry)
			return err_oom(e);
		entry->value = g->value ? strdup(g->value) : NULL;
		entry->description = g->description ? strdup(g->description) : NULL;
	}
	return 0;
}

static void sort_entries(Entries *list)
{
	if (list->n)
		qsort(list->items, list->n, sizeof(*list->items), by_line);
}

static int outline_of(Checker *c, const char *text, size_t len, DockerfileReport *ret, Err *e)
{
	const CheckStage *st = &c->stages[c->target];
	_cleanup_free_ char *about = st->name ? check_description(st->from, st->name) : NULL;
	_cleanup_json_ json_t *doc = json_object();
	StrBuf b = {0};
	bool ok = doc != NULL;

	sort_entries(&c->args);
	sort_entries(&c->secrets);
	sort_entries(&c->ssh);
	put_text(doc, "name", st->name, &ok);
	put_text(doc, "description", about, &ok);
	put_entries(doc, "args", &c->args, &ok);
	put_entries(doc, "secrets", &c->secrets, &ok);
	put_entries(doc, "ssh", &c->ssh, &ok);
	put(doc, "sources", sources_plain(text, len), &ok);
	put_head(&b, st->name, about);
	table_of(&b, &c->args, "BUILD ARG", true);
	table_of(&b, &c->secrets, "SECRET", false);
	table_of(&b, &c->ssh, "SSH", false);
	return finish(doc, &b, ok, 0, ret, e);
}

int dockerfile_outline(const char *text, size_t len, const char *name, const DockerfileCheckInput *in,
		       DockerfileReport *ret, Err *e)
{
	Dockerfile d = {0};
	Checker c = {.d = &d, .in = in};
	int r = dockerfile_parse(text, len, name, &d, e);

	if (r < 0)
		return r;
	r = checker_run(&c, e);
	if (r >= 0)
		r = take_globals(&c, e);
	if (r >= 0)
		r = outline_of(&c, text, len, ret, e);
	checker_done(&c);
	dockerfile_done(&d);
	return r;
}

/* ---- targets ---- */

static json_t *target_json(const DockerfileStep *s, const char *name, const char *about, bool last)
{
	json_t *o = json_object();
	bool ok = o != NULL;

	put_text(o, "name", name, &ok);
	if (last)
		put(o, "default", json_true(), &ok);
	put_text(o, "description", about, &ok);
	put_text(o, "base", s->args[0], &ok);
	put_text(o, "platform", dockerfile_flag(s, "platform"), &ok);
	put(o, "location", location(s->line, s->last_line), &ok);
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}

static int targets_of(Checker *c, const char *text, size_t len, DockerfileReport *ret, Err *e)
{
	_cleanup_json_ json_t *doc = json_object(), *array = json_array();
	_cleanup_strv_ char **kept = NULL;
	const char **cells = calloc(2 * (c->n_stages + 1), sizeof(*cells));
	bool ok = doc && array && cells;
	StrBuf b = {0};

	if (!ok) {
		free(cells);
		return err_oom(e);
	}
	cells[0] = "TARGET";
	cells[1] = "DESCRIPTION";
	for (size_t i = 0; ok && i < c->n_stages; i++) {
		const CheckStage *st = &c->stages[i];
		bool last = i + 1 == c->n_stages;
		char *about = st->name ? check_description(st->from, st->name) : NULL;
		char *shown =
		    strf("%s%s%s", st->name ?: "", st->name && last ? " " : "", last ? "(default)" : "");
		json_t *o = target_json(st->from, st->name, about, last);

		ok = o && json_array_append_new(array, o) == 0;
		cells[2 * (i + 1)] = shown;
		cells[2 * (i + 1) + 1] = about;
		ok = strv_take(&kept, shown) == 0 && (!about || strv_take(&kept, about) == 0) && ok;
	}
	put(doc, "targets", json_incref(array), &ok);
	put(doc, "sources", sources_plain(text, len), &ok);
	if (ok)
		put_table(&b, cells, c->n_stages + 1, 2, 1);
	free(cells);
	return finish(doc, &b, ok, 0, ret, e);
}

int dockerfile_targets(const char *text, size_t len, const char *name, DockerfileReport *ret, Err *e)
{
	Dockerfile d = {0};
	DockerfileCheckInput in = {0};
	Checker c = {.d = &d, .in = &in};
	int r = dockerfile_parse(text, len, name, &d, e);

	if (r < 0)
		return r;
	r = checker_stages(&c, e);
	if (r >= 0)
		r = targets_of(&c, text, len, ret, e);
	checker_done(&c);
	dockerfile_done(&d);
	return r;
}

/* ---- lint ---- */

typedef struct Found {
	int line;
	size_t index;
	char *text; /* as it is printed */
} Found;

typedef struct Lint {
	const char *text, *name;
	size_t len;
	json_t *warnings;
	Found *found;
	size_t n;
	bool ok;
} Lint;

static void add_warning(void *user, const DockerfileWarning *w)
{
	Lint *l = user;
	json_t *o = json_object();
	_cleanup_free_ char *excerpt = dockerfile_excerpt(l->text, l->len, l->name, &w->place, NULL);
	Found *grown = reallocarray(l->found, l->n + 1, sizeof(*grown));

	l->ok = l->ok && o && grown;
	put(o, "ruleName", json_string(w->rule), &l->ok);
	put_text(o, "description", w->description, &l->ok);
	put_text(o, "url", w->url, &l->ok);
	put_text(o, "detail", w->detail, &l->ok);
	put(o, "location", location(w->place.first, w->place.last), &l->ok);
	if (o && json_array_append_new(l->warnings, o) < 0)
		l->ok = false;
	if (!grown)
		return;
	l->found = grown;
	grown[l->n] = (Found){.line = w->place.first,
			      .index = l->n,
			      .text = strf("\nWARNING: %s%s%s\n%s\n%s", w->rule, *w->url ? " - " : "", w->url,
					   w->detail, excerpt ?: "")};
	l->ok = l->ok && grown[l->n++].text;
}

static int by_place(const void *a, const void *b)
{
	const Found *x = a, *y = b;

	return x->line != y->line ? (x->line > y->line) - (x->line < y->line)
				  : (x->index > y->index) - (x->index < y->index);
}

static json_t *source_json(const Lint *l)
{
	json_t *data = encoded(l->text, l->len);

	return data ? json_pack("[{s:s, s:s, s:o}]", "filename", l->name, "language", "Dockerfile", "data",
				data)
		    : NULL;
}

/* message: why it cannot be built, or NULL. */
static int lint_document(Lint *l, const char *message, const DockerfilePlace *place, DockerfileReport *ret,
			 Err *e)
{
	_cleanup_json_ json_t *doc = json_object();
	StrBuf b = {0};

	l->ok = l->ok && doc;
	put(doc, "warnings", json_incref(l->warnings), &l->ok);
	put(doc, "sources", source_json(l), &l->ok);
	if (message) {
		json_t *error = json_object();

		put_text(error, "message", message, &l->ok);
		put(error, "location", location(place->first, place->last), &l->ok);
		put(doc, "buildError", error, &l->ok);
	}
	/* In the order of their lines, and of when they were found in one. */
	if (l->n)
		qsort(l->found, l->n, sizeof(*l->found), by_place);
	for (size_t i = 0; i < l->n; i++)
		strbuf_add(&b, l->found[i].text ?: "");
	return finish(doc, &b, l->ok, l->n || message ? 1 : 0, ret, e);
}

/* Of a file that cannot be parsed, what stands before the error is looked at. */
static int lint_before(Lint *l, const DockerfileCheckInput *in, const DockerfilePlace *place, Err *e)
{
	const char *end = l->text;
	Dockerfile d = {0};
	int r = 0;

	for (int line = 1; end && line < place->first; line++) {
		end = memchr(end, '\n', l->len - (size_t)(end - l->text));
		end = end ? end + 1 : NULL;
	}
	if (!end || end == l->text ||
	    dockerfile_parse(l->text, (size_t)(end - l->text), l->name, &d, NULL) < 0)
		return 0;
	Checker c = {.d = &d, .in = in, .sink = add_warning, .sink_user = l};
	r = checker_forms(&c, e);
	checker_done(&c);
	dockerfile_done(&d);
	return r;
}

int dockerfile_lint(const char *text, size_t len, const char *name, const DockerfileCheckInput *in,
		    DockerfileReport *ret, Err *e)
{
	Lint l = {.text = text, .name = name, .len = len, .warnings = json_array(), .ok = true};
	DockerfileCheckInput own = *in;
	DockerfilePlace place = {0};
	Dockerfile d = {0};
	Err why = {0};
	int r;

	if (!l.warnings)
		return err_oom(e);
	/* Without a target all stages are looked into. */
	own.all_stages = own.all_stages || str_empty(own.target);
	r = dockerfile_parse_at(text, len, name, &d, &place, &why);
	if (r >= 0) {
		Checker c = {.d = &d, .in = &own, .sink = add_warning, .sink_user = &l};

		r = checker_run(&c, &why);
		checker_done(&c);
	} else if (lint_before(&l, &own, &place, e) == -ENOMEM) {
		r = -ENOMEM;
	}
	r = r == -ENOMEM ? err_oom(e) : lint_document(&l, r < 0 ? err_msg(&why, r) : NULL, &place, ret, e);
	for (size_t i = 0; i < l.n; i++)
		free(l.found[i].text);
	free(l.found);
	json_decref(l.warnings);
	dockerfile_done(&d);
	return r;
}
