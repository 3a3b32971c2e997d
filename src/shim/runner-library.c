/* SPDX-License-Identifier: Apache-2.0 */
/* Our own runtime, called in process: see runtime/runtime.h. */
#include "shim/runner.h"

/* A process that its container keeps from executing does not wait for ever. */
#define EXEC_TIMEOUT_MS 20000

static int library_create(const Runner *r, int rootfs, bool terminal _unused_, const RuntimeStdio *io,
			  RunnerProcess *ret, Err *e)
{
	RuntimeCreate c = {.id = r->id,
			   .bundle = r->bundle,
			   .rootfs_fd = rootfs,
			   .mounts = r->mounts,
			   .n_mounts = r->n_mounts,
			   .stdio = *io};

	return runtime_create(&r->options, &c, &ret->pid, &ret->pidfd, &ret->console, e);
}

static int library_start(const Runner *r, Err *e)
{
	return runtime_start(&r->options, r->id, e);
}

static int library_exec(const Runner *r, const json_t *process, const RuntimeStdio *io,
			RunnerProcess *ret _unused_, RuntimeExecJob **ret_job, Err *e)
{
	_cleanup_(oci_process_done) OciProcess p = {0};
	RuntimeExec x = {.id = r->id,
			 .process = &p,
			 .stdio = *io,
			 .timeout_ms = EXEC_TIMEOUT_MS,
			 .left = r->left,
			 .left_arg = r->left_arg};
	int rc = oci_process_decode(process, &p, e);

	if (rc >= 0)
		rc = runtime_exec_begin(&r->options, &x, ret_job, e);
	return rc < 0 ? rc : 1;
}

static int library_kill(const Runner *r, int signal, bool all, Err *e)
{
	return runtime_kill(&r->options, r->id, signal, all, e);
}

static int library_pause(const Runner *r, bool pause, Err *e)
{
	return runtime_pause(&r->options, r->id, pause, e);
}

static int library_update(const Runner *r, const json_t *resources, Err *e)
{
	_cleanup_(oci_resources_done) OciResources res = {0};
	int rc = oci_resources_decode(resources, &res, e);

	return rc < 0 ? rc : runtime_update(&r->options, r->id, &res, NULL, e);
}

static int library_checkpoint(const Runner *r, const char *dir, Err *e)
{
	return runtime_checkpoint(&r->options, r->id,
				  &(RuntimeCriu){.image_path = dir,
						 .work_path = dir,
						 .status_fd = -1,
						 .leave_running = true,
						 .tcp_established = true,
						 .file_locks = true},
				  e);
}

static int library_pids(const Runner *r, pid_t **ret, size_t *ret_n, Err *e)
{
	return runtime_pids(&r->options, r->id, ret, ret_n, e);
}

static uint64_t library_oom_kills(const Runner *r)
{
	return runtime_oom_kills(&r->options, r->id);
}

static int library_watch_oom(const Runner *r, int *ret_fd, short *ret_events, Err *e)
{
	return runtime_watch_oom(&r->options, r->id, ret_fd, ret_events, e);
}

static int library_remove(const Runner *r, Err *e)
{
	return runtime_delete(&r->options, r->id, true, e);
}

const RunnerOps runner_library = {
    .create = library_create,
    .start = library_start,
    .exec = library_exec,
    .kill = library_kill,
    .pause = library_pause,
    .update = library_update,
    .checkpoint = library_checkpoint,
    .pids = library_pids,
    .oom_kills = library_oom_kills,
    .watch_oom = library_watch_oom,
    .remove = library_remove,
};
