/* SPDX-License-Identifier: Apache-2.0 */
/* system df, from the shape of /system/df that API versions up to 1.51 answer with. */
#include "base/clock.h"
#include "client.h"
#include "format.h"
#include "options.h"
#include "rows.h"
#include "text.h"
#include "verbs.h"

typedef struct DfOptions {
	const char *format;
	bool verbose;
} DfOptions;

#define O(field) offsetof(DfOptions, field)
static const Flag flags[] = {
    {"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL},
    {"verbose", 'v', FLAG_BOOL, O(verbose), "Show each image, container and volume", NULL},
    {0},
};
#undef O

static const Column columns[] = {{"Type", "TYPE"}, {"TotalCount", "TOTAL"},        {"Active", "ACTIVE"},
				 {"Size", "SIZE"}, {"Reclaimable", "RECLAIMABLE"}, {NULL, NULL}};

typedef struct Usage {
	int64_t total, active, size, reclaimable;
} Usage;

static Usage images_usage(const json_t *df)
{
	const json_t *list = json_object_get(df, "Images"), *summary = json_object_get(df, "ImageUsage");
	Usage u = {.total = (int64_t)json_array_size(list), .size = json_get_int(df, "LayersSize", 0)};
	int64_t used = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *im = json_array_get(list, i);
		int64_t size = json_get_int(im, "Size", -1), shared = json_get_int(im, "SharedSize", -1);

		if (json_get_int(im, "Containers", 0) <= 0)
			continue;
		u.active++;
		if (size != -1 && shared != -1)
			used += size - shared;
	}
	u.reclaimable = MAX2(u.size - used, (int64_t)0);
	/* Our engine knows what used and unused images share. */
	u.reclaimable = json_get_int(summary, "Reclaimable", u.reclaimable);
	return u;
}

static Usage containers_usage(const json_t *df)
{
	const json_t *list = json_object_get(df, "Containers");
	Usage u = {.total = (int64_t)json_array_size(list)};

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *c = json_array_get(list, i);
		const char *state = json_get_str(c, "State");
		int64_t size = json_get_int(c, "SizeRw", 0);

		u.size += size;
		if (streq0(state, "running") || streq0(state, "paused") || streq0(state, "restarting"))
			u.active++;
		else
			u.reclaimable += size;
	}
	return u;
}

static Usage volumes_usage(const json_t *df)
{
	const json_t *list = json_object_get(df, "Volumes");
	Usage u = {.total = (int64_t)json_array_size(list)};

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *usage = json_object_get(json_array_get(list, i), "UsageData");
		int64_t size = MAX2(json_get_int(usage, "Size", 0), (int64_t)0);

		u.size += size;
		if (json_get_int(usage, "RefCount", 0) > 0)
			u.active++;
		else
			u.reclaimable += size;
	}
	return u;
}

static Usage cache_usage(const json_t *df)
{
	const json_t *list = json_object_get(df, "BuildCache");
	Usage u = {.total = (int64_t)json_array_size(list)};

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *b = json_array_get(list, i);
		bool in_use = json_get_bool(b, "InUse", false), shared = json_get_bool(b, "Shared", false);
		int64_t size = json_get_int(b, "Size", 0);

		u.active += in_use;
		u.size += shared ? 0 : size;
		u.reclaimable += in_use || shared ? 0 : size;
	}
	return u;
}

static int add_row(json_t *rows, const char *type, Usage u, bool percent)
{
	json_t *row = json_object();
	Human free_size = text_size((double)u.reclaimable, 4);
	int r = json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = row_add(row, "Type", type);
	if (r == 0)
		r = row_take(row, "TotalCount", strf("%lld", (long long)u.total));
	if (r == 0)
		r = row_take(row, "Active", strf("%lld", (long long)u.active));
	if (r == 0)
		r = row_add(row, "Size", text_size((double)u.size, 4).s);
	if (r == 0 && percent && u.size > 0)
		return row_take(row, "Reclaimable",
				strf("%s (%d%%)", free_size.s, (int)(u.reclaimable * 100.0 / u.size)));
	return r == 0 ? row_add(row, "Reclaimable", free_size.s) : r;
}

/* ---- -v */

static void add_cell(StrBuf *b, const char *s)
{
	text_escape(b, s ? s : "", false);
	strbuf_add_c(b, '\t');
}

static void add_size(StrBuf *b, int64_t size)
{
	add_cell(b, size < 0 ? "N/A" : text_size((double)size, 4).s);
}

static void end_line(StrBuf *b)
{
	b->len--;
	strbuf_add_c(b, '\n');
}

static void image_lines(StrBuf *b, const json_t *list)
{
	strbuf_add(b, "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS\n");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *im = json_array_get(list, i);
		const char *tag = json_string_value(json_array_get(json_object_get(im, "RepoTags"), 0)),
			   *id = json_get_str(im, "Id");
		const char *colon = tag ? strrchr(tag, ':') : NULL;
		int64_t size = json_get_int(im, "Size", 0), shared = json_get_int(im, "SharedSize", -1);
		_cleanup_free_ char *repository =
		    colon ? strndup(tag, (size_t)(colon - tag)) : strdup("<none>");
		_cleanup_free_ char *ago =
		    text_ago(json_get_int(im, "Created", 0) * 1000000000, clock_now_ns());
		_cleanup_free_ char *short_id = text_short_id(id ? id : ""),
				    *n = strf("%lld", (long long)json_get_int(im, "Containers", 0));

		add_cell(b, repository);
		add_cell(b, colon ? colon + 1 : "<none>");
		add_cell(b, short_id);
		add_cell(b, ago);
		add_cell(b, text_size((double)size, 3).s);
		add_size(b, shared);
		add_size(b, shared < 0 ? -1 : size - shared);
		add_cell(b, n);
		end_line(b);
	}
}

static void container_lines(StrBuf *b, const json_t *list)
{
	strbuf_add(b, "CONTAINER ID\tIMAGE\tCOMMAND\tLOCAL VOLUMES\tSIZE\tCREATED\tSTATUS\tNAMES\n");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *c = json_array_get(list, i), *mounts = json_object_get(c, "Mounts");
		const char *id = json_get_str(c, "Id"), *command = json_get_str(c, "Command"),
			   *name = json_string_value(json_array_get(json_object_get(c, "Names"), 0));
		int volumes = 0;

		for (size_t k = 0; k < json_array_size(mounts); k++)
			volumes += streq0(json_get_str(json_array_get(mounts, k), "Driver"), "local");
		_cleanup_free_ char *short_id = text_short_id(id ? id : ""),
				    *cut = text_ellipsis(command ? command : "", 20);
		_cleanup_free_ char *quoted = cut ? row_quote(cut) : NULL, *n = strf("%d", volumes);
		_cleanup_free_ char *ago =
		    text_ago(json_get_int(c, "Created", 0) * 1000000000, clock_now_ns());
		_cleanup_free_ char *image = row_image(c, false);
		add_cell(b, short_id);
		add_cell(b, image);
		add_cell(b, quoted);
		add_cell(b, n);
		add_size(b, json_get_int(c, "SizeRw", 0));
		add_cell(b, ago);
		add_cell(b, json_get_str(c, "Status"));
		add_cell(b, name ? name + (*name == '/') : "");
		end_line(b);
	}
}

static void volume_lines(StrBuf *b, const json_t *list)
{
	strbuf_add(b, "VOLUME NAME\tLINKS\tSIZE\n");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i), *usage = json_object_get(v, "UsageData");
		_cleanup_free_ char *links = strf("%lld", (long long)json_get_int(usage, "RefCount", 0));

		add_cell(b, json_get_str(v, "Name"));
		add_cell(b, links);
		add_size(b, json_get_int(usage, "Size", -1));
		end_line(b);
	}
}

static void cache_lines(StrBuf *b, const json_t *list)
{
	strbuf_add(b, "CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED\n");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *c = json_array_get(list, i);
		const char *id = json_get_str(c, "ID"), *created = json_get_str(c, "CreatedAt"),
			   *used = json_get_str(c, "LastUsedAt");
		int64_t created_ns = 0, used_ns = 0;
		_cleanup_free_ char *n = strf("%lld", (long long)json_get_int(c, "UsageCount", 0)),
				    *short_id = text_short_id(id ? id : "");

		(void)clock_parse(created, &created_ns);
		(void)clock_parse(used, &used_ns);
		_cleanup_free_ char *created_ago = created_ns ? text_ago(created_ns, clock_now_ns()) : NULL,
				    *used_ago = used_ns ? text_ago(used_ns, clock_now_ns()) : NULL;
		add_cell(b, short_id);
		add_cell(b, json_get_str(c, "Type"));
		add_size(b, json_get_int(c, "Size", 0));
		add_cell(b, created_ago);
		add_cell(b, used_ago);
		add_cell(b, n);
		add_cell(b, json_get_bool(c, "Shared", false) ? "true" : "false");
		end_line(b);
	}
}

static int print_section(const char *title, void (*lines)(StrBuf *b, const json_t *list), const json_t *list,
			 Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0}, out = {0};

	lines(&b, list);
	if (b.oom || format_align(b.s, FORMAT_CELL_MIN, &out) < 0)
		return err_oom(e);
	(void)printf("%s space usage:\n\n%s\n", title, out.s);
	return 0;
}

static int print_verbose(const json_t *df, Err *e)
{
	int r = print_section("Images", image_lines, json_object_get(df, "Images"), e);

	if (r == 0)
		r = print_section("Containers", container_lines, json_object_get(df, "Containers"), e);
	if (r == 0)
		r = print_section("Local Volumes", volume_lines, json_object_get(df, "Volumes"), e);
	if (r == 0)
		r = print_section("Build cache", cache_lines, json_object_get(df, "BuildCache"), e);
	return r;
}

static int run_df(Call *call, Err *e)
{
	const DfOptions *o = call->opts;
	_cleanup_json_ json_t *df = NULL, *rows = json_array();
	int r = api_get(call->cli, "/system/df", &df, e);

	if (r < 0)
		return r;
	if (o->verbose)
		return o->format ? format_document(call->cli, o->format, df, e) : print_verbose(df, e);
	if (add_row(rows, "Images", images_usage(df), true) < 0 ||
	    add_row(rows, "Containers", containers_usage(df), true) < 0 ||
	    add_row(rows, "Local Volumes", volumes_usage(df), true) < 0 ||
	    add_row(rows, "Build Cache", cache_usage(df), false) < 0)
		return err_oom(e);
	ListFormat lf = {columns, "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"};
	return format_list(call->cli, &lf, o->format, rows, e);
}

const Command cmd_df = {.usage = "[OPTIONS]",
			.summary = "Show how much disk space is used",
			.flags = flags,
			.opts_size = sizeof(DfOptions),
			.run = run_df};
