/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs a container: a table of operations, so that the shim need not know which runtime there is.
 *
 *    runner-library.c   ours, as a library in this process
 *    runner-program.c   another one: a program with runc's command line (runc, crun, ...)
 *
 * Both have the same contract: a process that was made is a child of this process and is reaped by the caller; create
 * leaves nothing behind when it fails; a command that is missing or cannot be executed is ERR_NO_COMMAND or
 * ERR_NOT_RUNNABLE.
 */
#pragma once

#include "base/json.h"
#include "runtime/runtime.h"

#define RUNNER_RECORD "runtime.json" /* in the bundle, of a container that another runtime runs */

typedef struct RunnerOps RunnerOps;

typedef struct Runner {
	const RunnerOps *ops;
	char *id, *bundle, *root, *seccomp_cache;
	char *program;   /* NULL: the library */
	char *scope_dir; /* of ireko-scope, if systemd has the cgroup */
	RuntimeOptions options;
	const int *mounts; /* for create: see RuntimeCreate; borrowed */
	size_t n_mounts;
	void (*left)(void *arg, pid_t pid); /* for exec: see RuntimeExec */
	void *left_arg;
} Runner;

/* A new process. With a terminal `console` is its master, and the caller's; else -1. */
typedef struct RunnerProcess {
	pid_t pid;
	int pidfd, console;
} RunnerProcess;

struct RunnerOps {
	/* rootfs: a detached mount, or -1 for root.path of config.json. */
	int (*create)(const Runner *r, int rootfs, bool terminal, const RuntimeStdio *io, RunnerProcess *ret,
		      Err *e);
	int (*start)(const Runner *r, Err *e);
	/* process: the runtime-spec object. 0: it executes; 1: *ret_job is to be stepped until it does (runtime_exec_step()), while `r` stays. */
	int (*exec)(const Runner *r, const json_t *process, const RuntimeStdio *io, RunnerProcess *ret,
		    RuntimeExecJob **ret_job, Err *e);
	int (*kill)(const Runner *r, int signal, bool all, Err *e);
	int (*pause)(const Runner *r, bool pause, Err *e);
	/* resources: the runtime-spec object; what it does not name stays as it is. */
	int (*update)(const Runner *r, const json_t *resources, Err *e);
	/* Into files in `dir`, which exists; it runs on. */
	int (*checkpoint)(const Runner *r, const char *dir, Err *e);
	int (*pids)(const Runner *r, pid_t **ret, size_t *ret_n, Err *e);
	uint64_t (*oom_kills)(const Runner *r);
	int (*watch_oom)(const Runner *r, int *ret_fd, short *ret_events, Err *e);
	/* Ends what runs and removes everything of the container; a container that is not there is success. */
	int (*remove)(const Runner *r, Err *e);
};
extern const RunnerOps runner_library, runner_program;

/* program NULL: the library. The strings are copied. */
int runner_init(Runner *r, const char *id, const char *bundle, const char *root, const char *program, Err *e);
void runner_done(Runner *r);
/* dir: where ireko-scope is, by which systemd makes the cgroup; NULL: nobody does. */
int runner_set_scope(Runner *r, const char *dir, Err *e);
/* Writes the record by which runner_find() knows the runtime when the shim is gone; nothing for the library. */
int runner_record(const Runner *r, Err *e);
/* The runtime of the container in `bundle`; root is the library's. */
int runner_find(Runner *r, const char *id, const char *bundle, const char *root, Err *e);
