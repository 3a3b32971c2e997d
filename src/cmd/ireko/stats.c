/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats: a table that is drawn anew with every sample. Each round asks for all containers at once, without
 * streaming: the engine then takes two samples a second apart, which is what the CPU share needs.
 */
#include "client.h"
#include "config.h"
#include "format.h"
#include "options.h"
#include "rows.h"
#include "text.h"
#include "verbs.h"

#define AT_ONCE 256 /* connections */

typedef struct StatsOptions {
	bool all, no_stream, no_trunc;
	const char *format;
} StatsOptions;

#define O(field) offsetof(StatsOptions, field)
static const Flag flags[] = {
    {"all", 'a', FLAG_BOOL, O(all), "Show stopped containers too", NULL},
    {"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL},
    {"no-stream", 0, FLAG_BOOL, O(no_stream), "Show one sample and quit", NULL},
    {"no-trunc", 0, FLAG_BOOL, O(no_trunc), "Show everything in full length", NULL},
    {0},
};
#undef O

static const Column columns[] = {
    {"Container", "CONTAINER"},
    {"ID", "CONTAINER ID"},
    {"Name", "NAME"},
    {"CPUPerc", "CPU %"},
    {"MemUsage", "MEM USAGE / LIMIT"},
    {"MemPerc", "MEM %"},
    {"NetIO", "NET I/O"},
    {"BlockIO", "BLOCK I/O"},
    {"PIDs", "PIDS"},
    {NULL, NULL},
};

static double cpu_percent(const json_t *s)
{
	const json_t *now = json_object_get(s, "cpu_stats"), *before = json_object_get(s, "precpu_stats");
	double used = (double)(json_get_int(json_object_get(now, "cpu_usage"), "total_usage", 0) -
			       json_get_int(json_object_get(before, "cpu_usage"), "total_usage", 0));
	double all =
	    (double)(json_get_int(now, "system_cpu_usage", 0) - json_get_int(before, "system_cpu_usage", 0));
	double cpus = (double)json_get_int(now, "online_cpus", 0);

	if (cpus < 1)
		cpus = (double)json_array_size(
		    json_object_get(json_object_get(now, "cpu_usage"), "percpu_usage"));
	return used > 0 && all > 0 ? used / all * cpus * 100 : 0;
}

/* Page cache that can be dropped at once is not counted: inactive_file (v2), total_inactive_file (v1). */
static double memory_used(const json_t *memory)
{
	const json_t *stats = json_object_get(memory, "stats");
	int64_t usage = json_get_int(memory, "usage", 0),
		cache = json_get_int(stats, "total_inactive_file", json_get_int(stats, "inactive_file", 0));

	return (double)(cache < usage ? usage - cache : usage);
}

static char *io_pair(int64_t a, int64_t b)
{
	return strf("%s / %s", text_size((double)a, 3).s, text_size((double)b, 3).s);
}

static char *network_io(const json_t *s)
{
	int64_t rx = 0, tx = 0;
	const char *name;
	json_t *n;

	json_object_foreach (json_object_get(s, "networks"), name, n) {
		rx += json_get_int(n, "rx_bytes", 0);
		tx += json_get_int(n, "tx_bytes", 0);
	}
	return io_pair(rx, tx);
}

static char *block_io(const json_t *s)
{
	const json_t *list = json_object_get(json_object_get(s, "blkio_stats"), "io_service_bytes_recursive");
	int64_t rd = 0, wr = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);
		const char *op = json_get_str(entry, "op");

		if (op && (*op == 'r' || *op == 'R'))
			rd += json_get_int(entry, "value", 0);
		else if (op && (*op == 'w' || *op == 'W'))
			wr += json_get_int(entry, "value", 0);
	}
	return io_pair(rd, wr);
}

static int add_row(json_t *rows, const char *container, const json_t *s, bool full)
{
	const json_t *memory = json_object_get(s, "memory_stats");
	const char *id = json_get_str(s, "id"), *name = json_get_str(s, "name");
	double used = memory_used(memory), limit = (double)json_get_int(memory, "limit", 0);
	json_t *row = json_object();
	int r = json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = row_add(row, "Container", container);
	if (r == 0)
		r = row_take(row, "ID", !id ? strdup("--") : full ? strdup(id) : text_short_id(id));
	if (r == 0)
		r = row_add(row, "Name", name ? name + (*name == '/') : "--");
	if (r == 0)
		r = row_take(row, "CPUPerc", strf("%.2f%%", cpu_percent(s)));
	if (r == 0)
		r = row_take(row, "MemUsage",
			     strf("%s / %s", text_binary_size(used).s, text_binary_size(limit).s));
	if (r == 0)
		r = row_take(row, "MemPerc", strf("%.2f%%", limit > 0 ? used / limit * 100 : 0));
	if (r == 0)
		r = row_take(row, "NetIO", network_io(s));
	if (r == 0)
		r = row_take(row, "BlockIO", block_io(s));
	if (r == 0)
		r = row_take(row, "PIDs",
			     strf("%lld",
				  (long long)json_get_int(json_object_get(s, "pids_stats"), "current", 0)));
	return r;
}

static int list_containers(Call *call, char ***ret, Err *e)
{
	const StatsOptions *o = call->opts;
	_cleanup_json_ json_t *list = NULL;
	int r = 0;

	for (int i = 0; r == 0 && i < call->n_args; i++)
		r = strv_add(ret, call->args[i]) < 0 ? err_oom(e) : 0;
	if (r < 0 || call->n_args > 0)
		return r;
	r = api_get(call->cli, o->all ? "/containers/json?all=1" : "/containers/json", &list, e);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		const char *id = json_get_str(json_array_get(list, i), "Id");

		if (id && strv_add(ret, id) < 0)
			r = err_oom(e);
	}
	return r < 0 ? r : 0;
}

static int read_sample(Call *call, Httpc *c, json_t **ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = api_answer(call->cli, c, NULL, e);

	if (r >= 0)
		r = httpc_read_all(c, 8 << 20, &text, &len, e);
	return r < 0 ? r : json_parse(text, len, "the engine's statistics", ret, e);
}

/* The first n of the names, all at once. A container that went away since it was listed is left out; one that was named is an
 * error. */
static int sample_some(Call *call, char *const *names, size_t n, json_t *rows, Err *e)
{
	const StatsOptions *o = call->opts;
	_cleanup_free_ Httpc **clients = calloc(n + 1, sizeof(*clients));
	int r = clients ? 0 : err_oom(e);

	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_free_ char *target = api_path("containers", names[i], "/stats?stream=0", e);

		r = target ? api_start(call->cli, &(ApiRequest){.method = "GET", .target = target},
				       &clients[i], e)
			   : -EINVAL;
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_json_ json_t *s = NULL;

		r = read_sample(call, clients[i], &s, e);
		if (r == 0 && add_row(rows, names[i], s, o->no_trunc) < 0)
			r = err_oom(e);
		if (r < 0 && call->n_args == 0 && strstr(e->msg, "No such container"))
			r = 0;
	}
	for (size_t i = 0; clients && i < n; i++)
		httpc_free(clients[i]);
	return r;
}

static int sample_all(Call *call, char *const *names, json_t *rows, Err *e)
{
	size_t n = strv_len(names);
	int r = 0;

	for (size_t done = 0; r == 0 && done < n; done += AT_ONCE)
		r = sample_some(call, names + done, MIN2(n - done, (size_t)AT_ONCE), rows, e);
	return r;
}

static int show_round(Call *call, Err *e)
{
	const StatsOptions *o = call->opts;
	_cleanup_strv_ char **names = NULL;
	_cleanup_json_ json_t *rows = json_array();
	ListFormat lf = {columns, "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}"
				  "\t{{.BlockIO}}\t{{.PIDs}}"};
	int r = list_containers(call, &names, e);

	if (r == 0)
		r = sample_all(call, names, rows, e);
	if (r < 0)
		return r;
	if (call->cli->out_tty && !o->no_stream)
		(void)fputs("\x1b[2J\x1b[H", stdout);
	r = format_list(call->cli, &lf, config_format(call->cli, "statsFormat", o->format), rows, e);
	if (r == 0 && fflush(stdout) != 0)
		r = err_sys(e, errno, "write the output");
	/* With nothing to sample the engine would not slow us down. */
	if (r == 0 && !names && !o->no_stream)
		(void)sleep(1);
	return r;
}

static int run_stats(Call *call, Err *e)
{
	const StatsOptions *o = call->opts;
	int r = api_settle(call->cli, e);

	while (r == 0) {
		r = show_round(call, e);
		if (o->no_stream)
			break;
	}
	return r;
}

const Command cmd_stats = {.usage = "[OPTIONS] [CONTAINER...]",
			   .summary = "Show what containers use, continuously",
			   .flags = flags,
			   .opts_size = sizeof(StatsOptions),
			   .max = -1,
			   .run = run_stats};
