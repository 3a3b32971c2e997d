/* SPDX-License-Identifier: Apache-2.0 */
/* ps, container ls. */
#include "base/clock.h"
#include "client.h"
#include "config.h"
#include "format.h"
#include "json-scan.h"
#include "options.h"
#include "rows.h"
#include "text.h"
#include "verbs.h"

#include <ctype.h>

typedef struct PsOptions {
	bool all, latest, no_trunc, quiet, size;
	Num last;
	List filters;
	const char *format;
} PsOptions;

#define O(field) offsetof(PsOptions, field)
static const Flag flags[] = {
    {"all", 'a', FLAG_BOOL, O(all), "Show stopped containers too", NULL},
    {"filter", 'f', FLAG_LIST, O(filters), "Show only what matches KEY=VALUE", "filter"},
    {"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL},
    {"last", 'n', FLAG_INT, O(last), "Show the n containers made last, in any state", NULL},
    {"latest", 'l', FLAG_BOOL, O(latest), "Show the container made last, in any state", NULL},
    {"no-trunc", 0, FLAG_BOOL, O(no_trunc), "Show everything in full length", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Show ids only", NULL},
    {"size", 's', FLAG_BOOL, O(size), "Show sizes on disk", NULL},
    {0},
};

static const Column columns[] = {
    {"ID", "CONTAINER ID"},
    {"Names", "NAMES"},
    {"Image", "IMAGE"},
    {"Command", "COMMAND"},
    {"CreatedAt", "CREATED AT"},
    {"RunningFor", "CREATED"},
    {"Ports", "PORTS"},
    {"State", "STATE"},
    {"Status", "STATUS"},
    {"Size", "SIZE"},
    {"Labels", "LABELS"},
    {"Mounts", "MOUNTS"},
    {"LocalVolumes", "LOCAL VOLUMES"},
    {"Networks", "NETWORKS"},
    {"Platform", "PLATFORM"},
    {NULL, NULL},
};

#define TABLE "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"

#define RAW                                                                                                  \
	"container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n"      \
	"state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n"                    \
	"labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
#define RAW_SIZE "size: {{.Size}}\n"

static char *command_cell(const json_t *c, bool full, int64_t now)
{
	const char *command = json_get_str(c, "Command");
	_cleanup_free_ char *cut =
	    full ? strdup(command ? command : "") : text_ellipsis(command ? command : "", 20);

	return cut ? row_quote(cut) : NULL;
}

/* Names of links ("/a/b") are not names of the container. */
static char *names_cell(const json_t *c, bool full, int64_t now)
{
	const json_t *names = json_object_get(c, "Names");
	_cleanup_strv_ char **v = NULL;

	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));

		if (!name)
			continue;
		name += *name == '/';
		if (!full && strchr(name, '/'))
			continue;
		if (strv_add(&v, name) < 0)
			return NULL;
	}
	return strv_join(v, ",");
}

static char *mounts_cell(const json_t *c, bool full, int64_t now)
{
	const json_t *mounts = json_object_get(c, "Mounts");
	_cleanup_strv_ char **v = NULL;

	for (size_t i = 0; i < json_array_size(mounts); i++) {
		const json_t *m = json_array_get(mounts, i);
		const char *name = json_get_str(m, "Name");

		if (str_empty(name))
			name = json_get_str(m, "Source");
		if (!name)
			continue;
		if (strv_take(&v, full ? strdup(name) : text_ellipsis(name, 15)) < 0)
			return NULL;
	}
	return strv_join(v, ",");
}

static char *local_volumes_cell(const json_t *c, bool full, int64_t now)
{
	const json_t *mounts = json_object_get(c, "Mounts");
	int n = 0;

	for (size_t i = 0; i < json_array_size(mounts); i++)
		n += streq0(json_get_str(json_array_get(mounts, i), "Driver"), "local");
	return strf("%d", n);
}

static char *size_cell(const json_t *c, bool full, int64_t now)
{
	Human rw = text_size((double)json_get_int(c, "SizeRw", 0), 3);
	int64_t all = json_get_int(c, "SizeRootFs", 0);

	return all > 0 ? strf("%s (virtual %s)", rw.s, text_size((double)all, 3).s) : strdup(rw.s);
}

/* A column, the members of a list item that it is made of, and how. */
typedef struct Cell {
	const char *name;
	const char *members[2];
	char *(*make)(const json_t *c, bool full, int64_t now);
} Cell;

static char *id_cell(const json_t *c, bool full, int64_t now)
{
	const char *id = json_get_str(c, "Id");

	return strndup(id ? id : "", full ? 64 : 12);
}

static char *created_at_cell(const json_t *c, bool full, int64_t now)
{
	return text_local_time(json_get_int(c, "Created", 0));
}

static char *running_for_cell(const json_t *c, bool full, int64_t now)
{
	return text_ago(json_get_int(c, "Created", 0) * 1000000000, now);
}

static char *ports_cell(const json_t *c, bool full, int64_t now)
{
	return row_ports(json_object_get(c, "Ports"));
}

static char *text_member(const json_t *c, const char *name)
{
	const char *s = json_get_str(c, name);

	return strdup(s ? s : "");
}

static char *state_cell(const json_t *c, bool full, int64_t now)
{
	return text_member(c, "State");
}

static char *status_cell(const json_t *c, bool full, int64_t now)
{
	return text_member(c, "Status");
}

static char *image_cell(const json_t *c, bool full, int64_t now)
{
	return row_image(c, full);
}

static char *networks_cell(const json_t *c, bool full, int64_t now)
{
	return row_join_keys(json_object_get(json_object_get(c, "NetworkSettings"), "Networks"), ",");
}

static const Cell cells[] = {
    {"ID", {"Id"}, id_cell},
    {"Names", {"Names"}, names_cell},
    {"Image", {"Image", "ImageID"}, image_cell},
    {"Command", {"Command"}, command_cell},
    {"CreatedAt", {"Created"}, created_at_cell},
    {"RunningFor", {"Created"}, running_for_cell},
    {"Ports", {"Ports"}, ports_cell},
    {"State", {"State"}, state_cell},
    {"Status", {"Status"}, status_cell},
    {"Size", {"SizeRw", "SizeRootFs"}, size_cell},
    {"Mounts", {"Mounts"}, mounts_cell},
    {"LocalVolumes", {"Mounts"}, local_volumes_cell},
    {"Networks", {"NetworkSettings"}, networks_cell},
};

/* True if a template may use the row as a whole, or ways to it that its text does not tell. */
static bool uses_whole_row(const char *format)
{
	if (streq(format, "json") || strchr(format, '$'))
		return true;
	for (const char *p = strchr(format, '.'); p; p = strchr(p + 1, '.'))
		if (!isalpha((unsigned char)p[1]))
			return true;
	return false;
}

typedef struct Wanted {
	bool cells[ELEMENTSOF(cells)], labels;
	const char *members[2 * ELEMENTSOF(cells) + 2]; /* of a list item; a NULL ends them */
} Wanted;

/* What the template shows. A name that is part of another one costs a cell too many. */
static void find_wanted(const char *format, Wanted *w)
{
	bool all = uses_whole_row(format);
	size_t n = 0;

	for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
		w->cells[i] = all || strstr(format, cells[i].name);
		for (size_t k = 0; w->cells[i] && k < 2 && cells[i].members[k]; k++)
			w->members[n++] = cells[i].members[k];
	}
	w->labels = all || strstr(format, "Label");
	if (w->labels)
		w->members[n++] = "Labels";
}

static int fill_row(json_t *row, const json_t *c, const Wanted *w, bool full, int64_t now)
{
	for (size_t i = 0; i < ELEMENTSOF(cells); i++)
		if (w->cells[i] && row_take(row, cells[i].name, cells[i].make(c, full, now)) < 0)
			return -ENOMEM;
	if (json_object_set_new_nocheck(row, "Platform", json_null()) < 0)
		return -ENOMEM;
	return w->labels ? row_add_labels(row, json_object_get(c, "Labels")) : 0;
}

/* Sizes cost the engine something: they are asked for when the template has them, alone or in the whole row. */
static bool shows_size(const char *format)
{
	const char *row = format ? strstr(format, "json .") : NULL;

	return format && (strstr(format, ".Size") || (row && !isalpha((unsigned char)row[6])));
}

static int make_target(const PsOptions *o, const char *format, StrBuf *b, Err *e)
{
	bool size = o->size || shows_size(format);
	int64_t limit = o->latest ? 1 : o->last.set ? o->last.v : -1;

	strbuf_add(b, "/containers/json");
	if (o->all)
		text_query(b, "all", "1");
	if (limit > 0) {
		char n[24];

		snprintf(n, sizeof(n), "%lld", (long long)limit);
		text_query(b, "limit", n);
	}
	if (size)
		text_query(b, "size", "1");
	int r = api_add_filters(b, o->filters.v, e);
	return r < 0 ? r : b->oom ? err_oom(e) : 0;
}

static const Cell *find_cell(const char *name, size_t len)
{
	for (size_t i = 0; i < ELEMENTSOF(cells); i++)
		if (strlen(cells[i].name) == len && strncmp(cells[i].name, name, len) == 0)
			return &cells[i];
	return NULL;
}

/* Lines by a template of nothing but cells, "{{.ID}}\t{{.Image}}", without going through rows. */
typedef struct Lines {
	const Cell *cells[ELEMENTSOF(cells) + 1]; /* NULL ends them */
	StrBuf text;
	bool full, escape;
	int64_t now;
} Lines;

static void add_text(Lines *l, size_t i, const char *text)
{
	if (i > 0)
		strbuf_add_c(&l->text, '\t');
	if (l->escape)
		text_escape(&l->text, text, true);
	else
		strbuf_add(&l->text, text);
}

static bool add_line(void *user, json_t *item)
{
	Lines *l = user;

	for (size_t i = 0; l->cells[i]; i++) {
		_cleanup_free_ char *text = l->cells[i]->make(item, l->full, l->now);

		if (!text)
			return false;
		add_text(l, i, text);
	}
	strbuf_add_c(&l->text, '\n');
	return !l->text.oom;
}

static void begin_lines(Lines *l, const char *template, bool heading)
{
	size_t n = 0;

	for (const char *p = template; (p = strstr(p, "{{.")); p += 3)
		l->cells[n++] = find_cell(p + 3, strcspn(p + 3, "}"));
	for (size_t i = 0; heading && i < n; i++)
		for (const Column *c = columns; c->field; c++)
			if (streq(c->field, l->cells[i]->name))
				add_text(l, i, c->title);
	if (heading)
		strbuf_add_c(&l->text, '\n');
}

/* What is asked for most: printed while it arrives. */
typedef struct Usual {
	Lines lines;
	JsonScan scan;
} Usual;

static void usual_begin(Usual *u, const Call *call, const char *template, bool heading, const Wanted *w)
{
	const PsOptions *o = call->opts;

	*u = (Usual){.lines = {.full = o->no_trunc, .escape = call->cli->out_tty, .now = clock_now_ns()},
		     .scan = {w->members, add_line, &u->lines}};
	begin_lines(&u->lines, template, heading);
}

static void usual_more(void *user, const char *text, size_t len)
{
	Usual *u = user;

	json_scan_more(&u->scan, text, len);
}

/* 0: the answer is not as usual, nothing was printed. */
static int usual_end(Usual *u, const char *text, size_t len, Err *e)
{
	int r;

	if (!json_scan_end(&u->scan, text, len))
		return 0;
	r = u->lines.text.s ? format_print_lines(u->lines.text.s, e) : 0;
	return r < 0 ? r : 1;
}

static int print_rows(const Call *call, const ListFormat *lf, const char *format, const Wanted *w,
		      const char *text, size_t len, Err *e)
{
	const PsOptions *o = call->opts;
	_cleanup_json_ json_t *list = json_scan_pick(text, w->members), *rows = json_array();
	int64_t now = clock_now_ns();
	int r = list ? 0 : api_parse(text, len, &list, e);

	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		json_t *row = json_object();

		if (json_array_append_new(rows, row) < 0 ||
		    fill_row(row, json_array_get(list, i), w, o->no_trunc, now) < 0)
			r = err_oom(e);
	}
	return r < 0 ? r : format_list(call->cli, lf, format, rows, e);
}

/* The template of what is to be printed. */
static const char *shown(const PsOptions *o, const char *format, const char *table)
{
	if (o->quiet && (!format || str_starts(format, "table")))
		return "{{.ID}}";
	if (!format || streq(format, "table"))
		return table;
	return streq(format, "raw") ? RAW RAW_SIZE : format;
}

static int run_ps(Call *call, Err *e)
{
	const PsOptions *o = call->opts;
	const ListFormat lf = {columns, o->size ? TABLE "\t{{.Size}}" : TABLE, o->size ? RAW RAW_SIZE : RAW};
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_free_ char *text = NULL;
	const char *format = o->quiet ? o->format : config_format(call->cli, "psFormat", o->format);
	const char *template = shown(o, format, lf.table);
	bool ids = streq(template, "{{.ID}}"), usual = ids || template == lf.table;
	Usual u = {0};
	const ApiMore more = {usual_more, &u};
	size_t len = 0;
	Wanted w = {0};
	int r = make_target(o, format, &target, e);

	find_wanted(template, &w);
	if (usual)
		usual_begin(&u, call, template, !ids, &w);
	if (r == 0)
		r = api_get_text(call->cli, target.s, usual ? &more : NULL, &text, &len, e);
	if (r >= 0)
		r = usual ? usual_end(&u, text, len, e) : 0;
	strbuf_done(&u.lines.text);
	return r == 0 ? print_rows(call, &lf, ids ? template : format, &w, text, len, e) : MIN2(r, 0);
}

const Command cmd_ps = {
    .usage = "[OPTIONS]",
    .summary = "List containers",
    .flags = flags,
    .opts_size = sizeof(PsOptions),
    .run = run_ps,
};
