/* SPDX-License-Identifier: Apache-2.0 */
/* "update": other limits for a container that exists, from a document or from options. */
#include "command.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <getopt.h>

typedef struct UpdateArgs {
	const char *resources, *l3_cache_schema, *mem_bw_schema;
	const char *memory, *memory_reservation, *memory_swap, *cpu_shares, *cpu_quota, *cpu_period,
	    *cpu_burst, *cpu_idle, *cpu_rt_period, *cpu_rt_runtime, *pids_limit, *blkio_weight, *cpus, *mems;
} UpdateArgs;

#define U(m) offsetof(UpdateArgs, m)
static const CliOption update_options[] = {
    {"resources", 'r', CLI_TEXT, U(resources), "FILE",
     "the runtime-spec's resources as JSON, from a file or stdin (\"-\")"},
    {"blkio-weight", 0, CLI_TEXT, U(blkio_weight), "N", "share of block I/O, 10 to 1000"},
    {"cpu-period", 0, CLI_TEXT, U(cpu_period), "US", "length of a period in which cpu-quota is measured"},
    {"cpu-quota", 0, CLI_TEXT, U(cpu_quota), "US", "CPU time in a period"},
    {"cpu-burst", 0, CLI_TEXT, U(cpu_burst), "US", "CPU time that may be saved up"},
    {"cpu-share", 0, CLI_TEXT, U(cpu_shares), "N", "share of CPU time against other containers"},
    {"cpu-rt-period", 0, CLI_TEXT, U(cpu_rt_period), "US", "period of real-time scheduling"},
    {"cpu-rt-runtime", 0, CLI_TEXT, U(cpu_rt_runtime), "US", "real-time CPU time in a period"},
    {"cpuset-cpus", 0, CLI_TEXT, U(cpus), "LIST", "CPUs to use"},
    {"cpuset-mems", 0, CLI_TEXT, U(mems), "LIST", "memory nodes to use"},
    {"kernel-memory", 0, CLI_NOTHING_VALUE, 0, "BYTES",
     "taken for compatibility: kernels no longer have this limit"},
    {"kernel-memory-tcp", 0, CLI_NOTHING_VALUE, 0, "BYTES",
     "taken for compatibility: kernels no longer have this limit"},
    {"memory", 0, CLI_TEXT, U(memory), "BYTES", "memory limit"},
    {"memory-reservation", 0, CLI_TEXT, U(memory_reservation), "BYTES",
     "memory that is not reclaimed while others have more"},
    {"memory-swap", 0, CLI_TEXT, U(memory_swap), "BYTES", "limit of memory and swap together; -1: no limit"},
    {"pids-limit", 0, CLI_TEXT, U(pids_limit), "N", "number of processes; -1: no limit"},
    {"l3-cache-schema", 0, CLI_TEXT, U(l3_cache_schema), "SCHEMA", "Intel RDT: share of the L3 cache"},
    {"mem-bw-schema", 0, CLI_TEXT, U(mem_bw_schema), "SCHEMA", "Intel RDT: share of memory bandwidth"},
    {"cpu-idle", 0, CLI_TEXT, U(cpu_idle), "0|1", "1: run only when nobody else wants the CPU"},
    CLI_HELP_OPTION,
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static int from_file(const char *path, OciResources *ret, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = streq(path, "-") ? fd_read_all(0, 1u << 20, &text, &len)
				 : file_read_at(AT_FDCWD, path, 1u << 20, &text, &len);

	if (r < 0)
		return err_sys(e, r, "read resources from %s", path);
	r = oci_json_parse(text, len, "resources", &j, e);
	if (r < 0)
		return r;
	oci_resources_done(ret);
	return oci_resources_decode(j, ret, e);
}

/* -1 takes a limit away; sizes may be "64m". */
static int take_number(const char *name, const char *text, bool bytes, int64_t *to, Err *e)
{
	if (!text || str_to_i64(text, to) == 0 || (bytes && str_to_bytes(text, to) == 0))
		return 0;
	return err_new(e, ERR_INVALID, "--%s \"%s\": expected %s", name, text,
		       bytes ? "a size such as 64m" : "a number");
}

static int take_numbers(const UpdateArgs *a, OciResources *res, Err *e)
{
	const struct {
		const char *name, *text;
		bool bytes;
		int64_t *to;
	} numbers[] = {
	    {"memory", a->memory, true, &res->memory_limit},
	    {"memory-reservation", a->memory_reservation, true, &res->memory_reservation},
	    {"memory-swap", a->memory_swap, true, &res->memory_swap},
	    {"cpu-share", a->cpu_shares, false, &res->cpu_shares},
	    {"cpu-quota", a->cpu_quota, false, &res->cpu_quota},
	    {"cpu-period", a->cpu_period, false, &res->cpu_period},
	    {"cpu-burst", a->cpu_burst, false, &res->cpu_burst},
	    {"cpu-idle", a->cpu_idle, false, &res->cpu_idle},
	    {"cpu-rt-period", a->cpu_rt_period, false, &res->cpu_rt_period},
	    {"cpu-rt-runtime", a->cpu_rt_runtime, false, &res->cpu_rt_runtime},
	    {"pids-limit", a->pids_limit, false, &res->pids_limit},
	    {"blkio-weight", a->blkio_weight, false, &res->blkio_weight},
	};

	for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
		int r = take_number(numbers[i].name, numbers[i].text, numbers[i].bytes, numbers[i].to, e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int take_text(const char *text, char **to, Err *e)
{
	if (!text)
		return 0;
	free(*to);
	*to = strdup(text);
	return *to ? 0 : err_oom(e);
}

static int do_update(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_(oci_resources_done) OciResources res = {0};
	_cleanup_json_ json_t *empty = json_object();
	OciIntelRdt rdt = {0};
	UpdateArgs a = {0};
	const char *id;
	int r = cli_parse(update_options, argc, argv, &a, e);

	if (r == 0)
		r = cli_one_id(argc, argv, &id, e);
	if (r == 0)
		r = empty ? oci_resources_decode(empty, &res, e) : err_oom(e);
	if (r == 0 && a.resources)
		r = from_file(a.resources, &res, e);
	/* As in runc, a document stands alone. */
	if (r == 0 && !a.resources)
		r = take_numbers(&a, &res, e);
	if (r == 0 && !a.resources)
		r = take_text(a.cpus, &res.cpus, e);
	if (r == 0 && !a.resources)
		r = take_text(a.mems, &res.mems, e);
	if (r < 0)
		return r;
	rdt.l3_cache_schema = (char *)a.l3_cache_schema;
	rdt.mem_bw_schema = (char *)a.mem_bw_schema;
	return runtime_update(&cli->options, id, &res, &rdt, e);
}

const CliCommand cli_update = {.name = "update",
			       .arguments = "<container-id>",
			       .summary = "update the resource limits of a container",
			       .options = update_options,
			       .run = do_update,
			       .failure = 1};
