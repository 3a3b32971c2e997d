/* SPDX-License-Identifier: Apache-2.0 */
/* volume create, ls, rm. */
#include "client.h"
#include "config.h"
#include "env-file.h"
#include "format.h"
#include "options.h"
#include "rows.h"
#include "text.h"
#include "verbs.h"

typedef struct CreateOptions {
	const char *driver, *name;
	List labels, opts;
} CreateOptions;

#define O(field) offsetof(CreateOptions, field)
static const Flag create_flags[] = {
    {"driver", 'd', FLAG_STRING, O(driver), "Driver of the volume (default local)", NULL},
    {"label", 0, FLAG_LIST, O(labels), "Set a label", NULL},
    {"name", 0, FLAG_STRING, O(name), NULL, NULL},
    {"opt", 'o', FLAG_LIST, O(opts), "Option of the driver", "map"},
    {0},
};
#undef O

static int run_create(Call *call, Err *e)
{
	const CreateOptions *o = call->opts;
	const char *name = call->n_args ? call->args[0] : o->name;
	_cleanup_strv_ char **labels = NULL;
	_cleanup_json_ json_t *answer = NULL;
	int r = labels_collect(NULL, o->labels.v, &labels, e);

	if (r == 0 && call->n_args && o->name)
		r = err_new(e, ERR_INVALID,
			    "conflicting options: cannot specify a volume-name through both --name and as a "
			    "positional arg");
	if (r < 0)
		return r;
	_cleanup_json_ json_t *body =
	    json_pack("{s:s, s:s, s:o, s:o}", "Name", name ? name : "", "Driver",
		      o->driver ? o->driver : "local", "DriverOpts", json_map_from_strv(o->opts.v), "Labels",
		      json_map_from_strv(labels));
	if (!body)
		return err_new(e, ERR_INVALID, "the volume's name, options or labels are no UTF-8");
	r = api_call(call->cli, "POST", "/volumes/create", body, &answer, e);
	if (r < 0)
		return r;
	const char *made = json_get_str(answer, "Name");
	(void)printf("%s\n", made ? made : "");
	return 0;
}

typedef struct LsOptions {
	List filters;
	const char *format;
	bool quiet;
} LsOptions;

#define O(field) offsetof(LsOptions, field)
static const Flag ls_flags[] = {
    {"filter", 'f', FLAG_LIST, O(filters), "Show only what matches KEY=VALUE", "filter"},
    {"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Show names only", NULL},
    {0},
};
#undef O

static const Column columns[] = {
    {"Name", "VOLUME NAME"}, {"Driver", "DRIVER"}, {"Scope", "SCOPE"}, {"Mountpoint", "MOUNTPOINT"},
    {"Labels", "LABELS"},    {"Links", "LINKS"},   {"Size", "SIZE"},   {"Availability", "AVAILABILITY"},
    {"Group", "GROUP"},      {"Status", "STATUS"}, {NULL, NULL},
};

static int add_row(json_t *rows, const json_t *v)
{
	const json_t *usage = json_object_get(v, "UsageData");
	int64_t size = json_get_int(usage, "Size", -1), links = json_get_int(usage, "RefCount", -1);
	json_t *row = json_object();
	int r = json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = row_add(row, "Name", json_get_str(v, "Name"));
	if (r == 0)
		r = row_add(row, "Driver", json_get_str(v, "Driver"));
	if (r == 0)
		r = row_add(row, "Scope", json_get_str(v, "Scope"));
	if (r == 0)
		r = row_add(row, "Mountpoint", json_get_str(v, "Mountpoint"));
	if (r == 0)
		r = row_add_labels(row, json_object_get(v, "Labels"));
	if (r == 0)
		r = row_take(row, "Links", links < 0 ? strdup("N/A") : strf("%lld", (long long)links));
	if (r == 0)
		r = row_take(row, "Size", size < 0 ? strdup("N/A") : strdup(text_size((double)size, 4).s));
	for (const char *const *name = (const char *const[]){"Availability", "Group", "Status", NULL};
	     r == 0 && *name; name++)
		r = row_add(row, *name, "N/A");
	return r;
}

static int run_ls(Call *call, Err *e)
{
	const LsOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_json_ json_t *answer = NULL, *rows = json_array(), *sorted = NULL;
	int r;

	strbuf_add(&target, "/volumes");
	r = api_add_filters(&target, o->filters.v, e);
	if (r == 0)
		r = api_get(call->cli, target.s, &answer, e);
	if (r < 0)
		return r;
	sorted = rows_sorted(json_object_get(answer, "Volumes"), "Name");
	if (!sorted)
		return err_oom(e);
	for (size_t i = 0; i < json_array_size(sorted); i++)
		if (add_row(rows, json_array_get(sorted, i)) < 0)
			return err_oom(e);
	ListFormat lf = {columns, "{{.Driver}}\t{{.Name}}", "name: {{.Name}}\ndriver: {{.Driver}}\n"};
	if (o->quiet && (!o->format || str_starts(o->format, "table")))
		return format_list(call->cli, &lf, "{{.Name}}", rows, e);
	return format_list(call->cli, &lf,
			   o->quiet ? o->format : config_format(call->cli, "volumesFormat", o->format), rows,
			   e);
}

typedef struct RmOptions {
	bool force;
} RmOptions;

static const Flag rm_flags[] = {
    {"force", 'f', FLAG_BOOL, offsetof(RmOptions, force), "A volume that does not exist is no error", NULL},
    {0},
};

static int remove_one(Call *call, const char *arg, Err *e)
{
	const RmOptions *o = call->opts;
	_cleanup_free_ char *path = api_path("volumes", arg, o->force ? "?force=1" : "", e);
	int r = path ? api_call(call->cli, "DELETE", path, NULL, NULL, e) : -EINVAL;

	if (r < 0 && o->force && e->kind == ERR_NOT_FOUND)
		r = 0;
	if (r >= 0)
		(void)printf("%s\n", arg);
	return r;
}

static int run_rm(Call *call, Err *e)
{
	return cli_for_each(call, remove_one);
}

/* ---- update: of volumes of a cluster, which there are none of */

static int run_update(Call *call, Err *e)
{
	const char *name = call->args[0];
	_cleanup_free_ char *path = api_path("volumes", name, "", e);
	_cleanup_json_ json_t *volume = NULL;
	int r = path ? api_get(call->cli, path, &volume, e) : -EINVAL;

	return r < 0 ? r : err_new(e, ERR_UNSUPPORTED, "can only update cluster volumes");
}

typedef struct UpdateOptions {
	const char *availability;
} UpdateOptions;

static const Flag update_flags[] = {
    {"availability", 0, FLAG_STRING, offsetof(UpdateOptions, availability),
     "Availability of a cluster's volume: active, pause or drain", NULL},
    {0},
};

const Command cmd_volume_update = {.usage = "[OPTIONS] VOLUME",
				   .summary = "Change a volume of a cluster",
				   .flags = update_flags,
				   .opts_size = sizeof(UpdateOptions),
				   .min = 1,
				   .max = 1,
				   .run = run_update};
const Command cmd_volume_create = {.usage = "[OPTIONS] [VOLUME]",
				   .summary = "Make a volume",
				   .flags = create_flags,
				   .opts_size = sizeof(CreateOptions),
				   .max = 1,
				   .run = run_create};
const Command cmd_volume_ls = {.usage = "[OPTIONS]",
			       .summary = "List volumes",
			       .flags = ls_flags,
			       .opts_size = sizeof(LsOptions),
			       .run = run_ls};
const Command cmd_volume_rm = {.usage = "[OPTIONS] VOLUME [VOLUME...]",
			       .summary = "Remove volumes",
			       .flags = rm_flags,
			       .opts_size = sizeof(RmOptions),
			       .min = 1,
			       .max = -1,
			       .run = run_rm};
