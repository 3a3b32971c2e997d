/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCI runtime as a library: what `ireko-runtime` offers on its command line and `ireko-shim`
 * calls in process. A container is a bundle (config.json, runtime-spec 1.1) brought to life in
 * two steps, create and start, with its state in <root>/<id>/state.json (root 0700).
 *
 * The init process is cloned directly into its namespaces and cgroup by the calling process, whose
 * child it is. It sets itself up, reports through a pipe (an Err, or readiness), then waits on
 * <root>/<id>/start.sock until runtime_start connects, from this process or another one.
 * The lookup of the command happens before readiness is reported, so "executable not found" and "permission denied"
 * (ERR_NO_COMMAND, ERR_NOT_RUNNABLE) are errors of create.
 *
 * Nothing here uses threads, keeps globals or logs. All of it may be called from a static binary.
 */
#pragma once

#include "base/err.h"
#include "oci/runtime-spec.h"

typedef struct RuntimeOptions {
	const char *root;          /* state directory, one sub-directory a container */
	bool systemd_cgroup;       /* cgroupsPath is slice:prefix:name */
	const char *called_as;     /* argv[0], or NULL: ireko-scope may be beside it */
	const char *helper_dir;    /* where ireko-scope is installed; systemd_cgroup needs it */
	bool rootless;             /* a cgroup that may not be made is done without, if nothing needs it */
	const char *seccomp_cache; /* directory of compiled filters, or NULL: compile each time */
	/* What failed without failing the call, or is ignored (poststart hooks, unknown capabilities); or NULL. */
	void (*warn)(const char *message);
	void (*debug)(const char *message); /* the steps of creation, as runc tells them; or NULL */
} RuntimeOptions;

/* The descriptors of a new process. With a terminal, in/out/err are ignored and the master comes back through *ret_console. */
typedef struct RuntimeStdio {
	int in, out, err; /* -1: /dev/null */
} RuntimeStdio;

/* Where the master of a terminal goes. */
typedef enum RuntimeConsole {
	RUNTIME_CONSOLE_RETURNED, /* to *ret_console, unless there is a socket */
	RUNTIME_CONSOLE_BY_SOCKET, /* to the socket only: one must be given if there is a terminal, and only then */
} RuntimeConsole;

/* What its creator knows of a container, and need not read again to delete it. */
typedef struct RuntimeKept RuntimeKept;

#define RUNTIME_MOUNTS "mounts"

typedef struct RuntimeCreate {
	const char *id;
	const char *bundle; /* directory of config.json */
	int rootfs_fd; /* a detached mount (fsmount, open_tree) to be the root instead of root.path, or -1; not closed */
	/* Detached mounts, not closed. A bind whose source is the path RUNTIME_MOUNTS "/N" of the bundle is the N-th of them. */
	const int *mounts;
	size_t n_mounts;
	RuntimeStdio stdio;
	RuntimeConsole console;
	const char *console_socket; /* or NULL */
	bool plain_newlines;    /* the terminal does not make "\r\n" of "\n": whoever shows its output does */
	const char *pid_file;   /* or NULL */
	char *const *extra_env; /* K=V added to the process's environment, or NULL */
	bool notify;   /* mount the directory of the notify socket (runtime_notify_dir) in the container */
	bool no_pivot; /* MS_MOVE instead of pivot_root (initramfs) */
	bool no_new_keyring;
	int preserve_fds;       /* fds 3..3+n-1 stay open in the container */
	RuntimeKept **ret_kept; /* or NULL */
	bool
	    start; /* goes on to the command: as runtime_create() and runtime_start(), but nothing waits in between */
} RuntimeCreate;

typedef enum RuntimeStatus {
	RUNTIME_CREATING,
	RUNTIME_CREATED,
	RUNTIME_RUNNING,
	RUNTIME_PAUSED,
	RUNTIME_STOPPED,
} RuntimeStatus;

typedef struct RuntimeState {
	char *id;
	char *bundle;
	char *rootfs;
	char *created;      /* RFC 3339 */
	char *owner;        /* user name for `list` */
	pid_t pid;          /* 0 when stopped */
	uint64_t pid_start; /* process_identity(): tells a reused pid */
	RuntimeStatus status;
	json_t *annotations; /* may be NULL */
} RuntimeState;

void runtime_state_done(RuntimeState *s);
const char *runtime_status_name(RuntimeStatus s);

/* Creates up to "created". *ret_pid is a child of the caller; *ret_pidfd is the caller's. *ret_console is the pty master or -1. On
 * failure nothing is left behind: no process, cgroup, directory. */
int runtime_create(const RuntimeOptions *o, const RuntimeCreate *c, pid_t *ret_pid, int *ret_pidfd,
		   int *ret_console, Err *e);
/* Deletes a container that has ended (its first process was reaped), by what its creator kept. If somebody else has deleted it
 * meanwhile, that is success. */
int runtime_delete_kept(const RuntimeOptions *o, RuntimeKept *kept, Err *e);
void runtime_kept_free(RuntimeKept *kept);
/* Lets the created process run its command. ERR_CONFLICT if it is not in "created". */
int runtime_start(const RuntimeOptions *o, const char *id, Err *e);

typedef struct RuntimeExec {
	const char *id;
	const OciProcess *process;
	RuntimeStdio stdio;
	const char *console_socket;
	bool plain_newlines;
	const char *pid_file;
	char *const *cgroups; /* sub-cgroups: "a/b" or "memory,cpu:a/b"; or NULL */
	int timeout_ms;       /* until it executes, or 0: a container may stop a new process before it does */
	bool ignore_paused;   /* it then starts when the container is resumed */
	int preserve_fds;
	/* Is told of a child that was killed, but is held (process_reap_within()): the caller reaps it some time. NULL: whoever inherits
	 * the caller's children does. */
	void (*left)(void *arg, pid_t pid);
	void *left_arg;
} RuntimeExec;

/* Starts another process inside; it is a child of the caller. Returns when it was executed or failed to be. */
int runtime_exec(const RuntimeOptions *o, const RuntimeExec *x, pid_t *ret_pid, int *ret_pidfd,
		 int *ret_console, Err *e);
/* The same in steps, by a caller who has others to serve while the process is set up, which the container can keep from coming to its end. `o` lives as long as the
 * job; of what is in `x` nothing but `left_arg` has to. Nothing blocks but for the moments that a killed child needs to end. */
typedef struct RuntimeExecJob RuntimeExecJob;
int runtime_exec_begin(const RuntimeOptions *o, const RuntimeExec *x, RuntimeExecJob **ret, Err *e);
/* Readable when there is something to do, as there is when the deadline (monotonic; 0: none) has come. */
int runtime_exec_fd(const RuntimeExecJob *j);
int64_t runtime_exec_deadline(const RuntimeExecJob *j);
/* 1: the process executes, and what is returned is as of runtime_exec(); 0: not yet; or the failure, of which nothing is left. */
int runtime_exec_step(RuntimeExecJob *j, pid_t *ret_pid, int *ret_pidfd, int *ret_console, Err *e);
/* Frees it. One that is not over ends, with its processes. */
void runtime_exec_drop(RuntimeExecJob *j);
/* `all`: every process of the container's cgroup. ERR_CONFLICT if stopped. */
int runtime_kill(const RuntimeOptions *o, const char *id, int signal, bool all, Err *e);
/* Removes cgroup and state of a stopped container; with force kills it first. Forcing a missing one is success. */
int runtime_delete(const RuntimeOptions *o, const char *id, bool force, Err *e);
int runtime_state(const RuntimeOptions *o, const char *id, RuntimeState *ret, Err *e);
/* Every container under root, sorted by id; free items with runtime_state_done. */
int runtime_list(const RuntimeOptions *o, RuntimeState **ret, size_t *ret_n, Err *e);
int runtime_pause(const RuntimeOptions *o, const char *id, bool pause, Err *e);
/* What criu is asked for; what does not apply to a checkpoint, or to a restore, is ignored. */
typedef struct RuntimeCriu {
	const char *image_path, *work_path; /* work_path: of logs, or NULL */
	const char *parent_path; /* of the pre-dump before this one, relative to image_path; or NULL */
	const char *page_server; /* ADDRESS:PORT, or NULL */
	const char *manage_cgroups_mode;             /* soft, full, strict, ignore; or NULL */
	const char *lsm_profile, *lsm_mount_context; /* or NULL */
	int status_fd;                               /* gets a zero byte when lazy pages can be had, or -1 */
	bool leave_running, pre_dump, tcp_established, tcp_skip_in_flight, link_remap, ext_unix_sk, shell_job,
	    lazy_pages, file_locks, auto_dedup;
} RuntimeCriu;
/* Writes a running or paused container to files. Unless it is left running it is gone afterwards. */
int runtime_checkpoint(const RuntimeOptions *o, const char *id, const RuntimeCriu *c, Err *e);

typedef struct RuntimeRestore {
	const char *id, *bundle;
	RuntimeStdio stdio;
	RuntimeConsole console;
	const char *console_socket, *pid_file; /* or NULL */
	RuntimeCriu criu;
} RuntimeRestore;
/* Makes a running container of such files. What is returned is as of runtime_create(). */
int runtime_restore(const RuntimeOptions *o, const RuntimeRestore *c, pid_t *ret_pid, int *ret_pidfd,
		    int *ret_console, Err *e);
/* The pids of the container's cgroup; malloc'ed. */
int runtime_pids(const RuntimeOptions *o, const char *id, pid_t **ret, size_t *ret_n, Err *e);
/* Times the kernel's OOM killer has taken a process of the container's cgroup. */
uint64_t runtime_oom_kills(const RuntimeOptions *o, const char *id);
/* What it uses, as "runc events" has it. */
int runtime_stats(const RuntimeOptions *o, const char *id, json_t **ret, Err *e);
/* The same, of the container whose config.json has this absolute cgroupsPath, whoever runs it. */
int runtime_stats_at(const char *cgroups_path, json_t **ret, Err *e);
/* poll(2) tells *ret_events of *ret_fd when memory runs out in it, until runtime_oom_drain(). */
int runtime_watch_oom(const RuntimeOptions *o, const char *id, int *ret_fd, short *ret_events, Err *e);
void runtime_oom_drain(int fd);
/* Applies new limits to the live cgroup, and schemata (rdt may be NULL) to its resctrl group. */
int runtime_update(const RuntimeOptions *o, const char *id, const OciResources *r, const OciIntelRdt *rdt,
		   Err *e);
/* Opens the directory in which the container looks for notify.sock (sd_notify(3)); -1 in *ret if it was made without. */
int runtime_notify_dir(const RuntimeOptions *o, const char *id, int *ret, Err *e);
/* Reads a counter file of the container's cgroup for statistics; controller is the v1 name ("memory"). malloc'ed text. */
int runtime_cgroup_read(const RuntimeOptions *o, const char *id, const char *controller, const char *file,
			char **ret, Err *e);
/* The runtime-spec's "features" document. */
int runtime_features(json_t **ret, Err *e);
/* Compiles a seccomp section to `dir`/<hash>.bpf so that later creates find it there (seccomp_cache). */
int runtime_seccomp_prepare(const OciSeccomp *s, const char *dir, Err *e);
