/* SPDX-License-Identifier: Apache-2.0 */
/* ps, container ls. */
#include "base/clock.h"
#include "client.h"
#include "config.h"
#include "format.h"
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

static char *command_cell(const json_t *c, bool full)
{
	const char *command = json_get_str(c, "Command");
	_cleanup_free_ char *cut =
	    full ? strdup(command ? command : "") : text_ellipsis(command ? command : "", 20);

	return cut ? row_quote(cut) : NULL;
}

/* Names of links ("/a/b") are not names of the container. */
static char *names_cell(const json_t *c, bool full)
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

static char *mounts_cell(const json_t *c, bool full)
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

static char *local_volumes_cell(const json_t *c)
{
	const json_t *mounts = json_object_get(c, "Mounts");
	int n = 0;

	for (size_t i = 0; i < json_array_size(mounts); i++)
		n += streq0(json_get_str(json_array_get(mounts, i), "Driver"), "local");
	return strf("%d", n);
}

static char *size_cell(const json_t *c)
{
	Human rw = text_size((double)json_get_int(c, "SizeRw", 0), 3);
	int64_t all = json_get_int(c, "SizeRootFs", 0);

	return all > 0 ? strf("%s (virtual %s)", rw.s, text_size((double)all, 3).s) : strdup(rw.s);
}

static int fill_row(json_t *row, const json_t *c, bool full, int64_t now)
{
	const char *id = json_get_str(c, "Id");
	int64_t created = json_get_int(c, "Created", 0);
	int r = row_take(row, "ID", strndup(id ? id : "", full ? 64 : 12));

	if (r == 0)
		r = row_take(row, "Names", names_cell(c, full));
	if (r == 0)
		r = row_take(row, "Image", row_image(c, full));
	if (r == 0)
		r = row_take(row, "Command", command_cell(c, full));
	if (r == 0)
		r = row_take(row, "CreatedAt", text_local_time(created));
	if (r == 0)
		r = row_take(row, "RunningFor", text_ago(created * 1000000000, now));
	if (r == 0)
		r = row_take(row, "Ports", row_ports(json_object_get(c, "Ports")));
	if (r == 0)
		r = row_add(row, "State", json_get_str(c, "State"));
	if (r == 0)
		r = row_add(row, "Status", json_get_str(c, "Status"));
	if (r == 0)
		r = row_take(row, "Size", size_cell(c));
	if (r == 0)
		r = row_add_labels(row, json_object_get(c, "Labels"));
	if (r == 0)
		r = row_take(row, "Mounts", mounts_cell(c, full));
	if (r == 0)
		r = row_take(row, "LocalVolumes", local_volumes_cell(c));
	if (r == 0)
		r = row_take(row, "Networks",
			     row_join_keys(json_object_get(json_object_get(c, "NetworkSettings"), "Networks"),
					   ","));
	if (r == 0 && json_object_set_new(row, "Platform", json_null()) < 0)
		r = -ENOMEM;
	return r;
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

static int run_ps(Call *call, Err *e)
{
	const PsOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_json_ json_t *list = NULL, *rows = json_array();
	const char *format = o->quiet ? o->format : config_format(call->cli, "psFormat", o->format);
	int64_t now = clock_now_ns();
	int r = make_target(o, format, &target, e);

	if (r == 0)
		r = api_get(call->cli, target.s, &list, e);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		json_t *row = json_object();

		if (json_array_append_new(rows, row) < 0 ||
		    fill_row(row, json_array_get(list, i), o->no_trunc, now) < 0)
			r = err_oom(e);
	}
	if (r < 0)
		return r;
	if (o->quiet && (!format || str_starts(format, "table")))
		return format_list(call->cli, &(ListFormat){columns, TABLE}, "{{.ID}}", rows, e);
	return format_list(call->cli,
			   &(ListFormat){columns, o->size ? TABLE "\t{{.Size}}" : TABLE,
					 o->size ? RAW RAW_SIZE : RAW},
			   format, rows, e);
}

const Command cmd_ps = {
    .usage = "[OPTIONS]",
    .summary = "List containers",
    .flags = flags,
    .opts_size = sizeof(PsOptions),
    .run = run_ps,
};
