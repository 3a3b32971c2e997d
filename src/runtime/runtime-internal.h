/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the runtime share. The way of a container through them:
 *
 *   create.c   loads the bundle (bundle.c), compiles the filter (filter.c), makes the cgroup (limits.c),
 *              opens everything on the host that the container will be given (mount-source.c), clones the
 *              child (birth.c), maps its ids (userns.c) and talks to it;
 *   init.c     is the child: it enters the cgroup and the namespaces, builds its root (rootfs.c,
 *              mounts.c, devices.c, console.c), gives up its privileges (credentials.c), finds the command
 *              (command.c), says that it is ready, waits for the start and executes;
 *   exec.c     puts one more process into a living container; state.c, kill.c, delete.c, control.c do the rest.
 *
 * The child runs on a copy of the creator's memory. It never returns from init_run(), and it says what went wrong
 * as an Err over its socket.
 */
#pragma once

#include "base/json.h"
#include "base/path.h"
#include "kernel/capability.h"
#include "kernel/cgroup-systemd.h"
#include "kernel/cgroup.h"
#include "kernel/interface.h"
#include "kernel/mount.h"
#include "kernel/scheduling.h"
#include "kernel/seccomp.h"
#include "runtime/mount-options.h"
#include "runtime/runtime.h"

#define CONFIG_MAX (16u << 20) /* bytes of config.json */
#define ID_MAX     1024
#define JOINS_MAX  8

/* ---- bundle.c ---- */
typedef struct Bundle {
	OciSpec spec;
	char *dir;         /* absolute */
	char *rootfs;      /* absolute */
	json_t *hooks;     /* poststart and poststop, kept for later; may be NULL */
	const int *mounts; /* see RuntimeCreate; borrowed */
	size_t n_mounts;
} Bundle;
int bundle_load(const char *dir, Bundle *ret, Err *e);
void bundle_done(Bundle *b);
/* The runtime-spec's rules for a process: args, an absolute cwd, env with '='. */
int bundle_check_process(const OciProcess *p, Err *e);

/* ---- state.c: <root>/<id>/state.json ---- */
typedef struct State {
	char *id, *bundle, *rootfs, *created, *owner;
	pid_t pid;
	uint64_t pid_start;
	int64_t namespaces; /* CLONE_NEW* that differ from the host's: exec joins these */
	char **cgroup;      /* cgroup_to_strv() */
	char *unit;         /* of systemd, which has made the cgroup; or NULL */
	bool user_manager;  /* it is that of the user's systemd */
	bool has_filter;    /* seccomp.bpf lies beside */
	int64_t filter_flags;
	char *listener_path, *listener_metadata; /* of the filter, or NULL */
	bool no_new_keyring;
	bool
	    shares_mounts; /* its mount namespace is not its own: its root is where its processes have theirs */
	bool
	    shares_pids; /* its pid namespace is not its own: the end of its first process ends nobody else */
	OciPersonality personality; /* of exec's processes too */
	OciMemoryPolicy memory_policy;
	char **descriptors;              /* see checkpoint.c; NULL if none of 0 to 2 is a pipe */
	char *resctrl, *resctrl_monitor; /* groups, or NULL */
	bool resctrl_made;               /* to be removed with the container */
	char **annotations;
	json_t *hooks;
	int dirfd;     /* of <root>/<id> */
	size_t length; /* of the file that was saved */
} State;
#define STATE_INIT                                                                                           \
	{                                                                                                    \
		.dirfd = -1                                                                                  \
	}
#define STATE_FILE   "state.json"
#define STATE_SOCKET "start.sock" /* until it is started: see start.c */
#define STATE_FILTER "seccomp.bpf"
int state_check_id(const char *id, Err *e);
/* Makes <root>/<id>; ERR_CONFLICT if it exists. It is sticky, which says "creating", until state_created(). */
int state_make_dir(const RuntimeOptions *o, const char *id, int *ret_dirfd, Err *e);
int state_created(const State *s, Err *e);
bool state_is_creating(const State *s);
int state_remove_dir(const RuntimeOptions *o, const char *id);
/* Writes it for the first time. */
int state_save(State *s, Err *e);
/* Writes the process, with its start time, into what was saved. */
int state_save_process(State *s, pid_t pid, int pidfd, Err *e);
/* path NULL: does nothing. */
int state_write_pid_file(const char *path, pid_t pid, Err *e);
/* ERR_NOT_FOUND if there is none. */
int state_load(const RuntimeOptions *o, const char *id, State *ret, Err *e);
void state_done(State *s);
/* The process and the fifos tell. *ret_pidfd (may be NULL) is open unless it is stopped. */
RuntimeStatus state_status(const State *s, int *ret_pidfd);
/* The document of runtime-spec's "State", as hooks get it. */
json_t *state_document(const State *s, RuntimeStatus status, pid_t pid);

/* ---- attributes.c ---- */
typedef struct ProcessAttributes {
	bool has_scheduler, has_io, has_domain, has_memory;
	SchedulingAttr scheduler;
	int io;
	SchedulingSet initial, final; /* CPUs of exec's processes; empty: not given */
	unsigned long domain;
	SchedulingMemory memory;
} ProcessAttributes;
int attributes_parse(const OciProcess *p, const OciPersonality *personality, const OciMemoryPolicy *memory,
		     ProcessAttributes *ret, Err *e);
int attributes_set_for(pid_t pid, const ProcessAttributes *a, Err *e);
/* What only the process itself can set. */
int attributes_set_own(const ProcessAttributes *a, Err *e);

/* ---- net-devices.c ---- */
/* One for each of the spec; malloc'ed, NULL if there are none. */
int net_devices_read(const OciSpec *s, Interface **ret, Err *e);
int net_devices_move(const OciSpec *s, const Interface *all, pid_t pid, Err *e);
int net_devices_restore(const OciSpec *s, const Interface *all, Err *e);

/* ---- start.c ---- */
/* Makes STATE_SOCKET. */
int start_listen(int dirfd, int *ret, Err *e);
/* Waits to be started: the connection on which to say why that failed. */
int start_wait(int listener);
/* For `run`: the two ends of a pipe, on which the creator opens the gate as soon as it has nothing to do any more that the command has to wait for. */
int start_gate(int *ret_wait, int *ret_open, Err *e);
int start_open_gate(int fd, Err *e);
/* Waits for that; exits if the creator (the other end of sock) is gone. */
void start_wait_gate(int fd, int sock);
/* ERR_CONFLICT if it is not in "created"; else 0, or the Err of the process. */
int start_send(const State *s, Err *e);

/* ---- notify.c ---- */
int notify_add(const RuntimeOptions *o, const char *id, int dirfd, OciSpec *spec, Err *e);

/* ---- resctrl.c ---- */
/* Puts the process into its group; what was made is in the state. */
int resctrl_enter(const OciSpec *spec, const char *id, pid_t pid, State *s, Err *e);
int resctrl_update(const State *s, const OciIntelRdt *rdt, Err *e);
void resctrl_remove(const State *s);

/* ---- validate.c ---- */
/* What no step of the creation would find, or would find too late. The errors name the member and its value. */
int validate_spec(const OciSpec *s, Err *e);

/* ---- control.c ---- */
struct RuntimeKept {
	State state;
	Cgroup cgroup;
};
/* A failure of a poststart hook is one of the start. */
int control_poststart(const State *s, Err *e);
/* A failing poststop hook is told but changes nothing (runtime-spec, "Lifecycle"). */
void control_poststop(const RuntimeOptions *o, const State *s);

/* ---- scope.c: cgroups that systemd makes ---- */
typedef struct Scope {
	CgroupUnit unit;    /* no name: systemd has nothing to do with it */
	CgroupScope link;   /* as long as ireko-scope has to be in it */
	json_t *properties; /* from annotations */
	bool user, started;
} Scope;
#define SCOPE_INIT                                                                                           \
	{                                                                                                    \
		.link = CGROUP_SCOPE_INIT                                                                    \
	}
/* What is known before the container exists, but for its namespaces and directory. */
int state_fill(State *s, const char *id, const Bundle *b, const Cgroup *cgroup, const Scope *scope, Err *e);
int scope_plan(const RuntimeOptions *o, const OciSpec *spec, const char *id, Scope *s, Cgroup *ret, Err *e);
int scope_start(Scope *s, const Cgroup *c, const char *id, CgroupLimits *l, Err *e);
/* The limit for as long as ireko-scope is in it too. */
int64_t scope_pids_limit(const Scope *s, int64_t limit);
/* The container's process is not to be born in it if it is to be moved there. */
void scope_take_seat(const Scope *s, CgroupSeat *seat);
/* To be called when the container's process exists. */
int scope_settled(Scope *s, const Cgroup *c, const OciResources *res, pid_t pid, Err *e);
void scope_done(Scope *s);
int scope_set(const RuntimeOptions *o, const State *s, const Cgroup *c, CgroupLimits *l, Err *e);
/* Stops the unit of the container, if it has one. */
int scope_stop(const RuntimeOptions *o, const State *s, Err *e);

/* ---- limits.c ---- */
#define LIMITS_SYSTEMD true /* whether systemd can manage the cgroup */
/* *ret_scope is filled if systemd is to make it. */
int limits_resolve_cgroup(const RuntimeOptions *o, const OciSpec *spec, const char *id, Scope *ret_scope,
			  Cgroup *ret, Err *e);
/* Makes it, with its limits. `rootless`: that the kernel takes no rules for devices is no failure. */
int limits_make_cgroup(Cgroup *c, Scope *s, const OciSpec *spec, const char *id, bool rootless, Err *e);
/* Other limits for a container that lives. */
int limits_update(const RuntimeOptions *o, const State *s, const Cgroup *c, const OciResources *r, Err *e);

/* ---- filter.c ---- */
int filter_load(const OciSeccomp *s, const char *cache, SeccompProgram *ret, Err *e);
bool filter_has_listener(const OciSeccomp *s);
/* Whether this process may fetch the notification fd out of the process that has it, which then need not send it: the only
 * call it makes under the filter before somebody listens is write(2). */
bool filter_may_fetch_listener(void);
/* From what came with INIT_LISTENER: a number in the process, or the descriptor `sent`, which is taken over. */
int filter_take_listener(int pidfd, const void *number, size_t len, int sent, Err *e);
/* The spec's filter, if it has one, which is written for exec's processes too. */
int filter_prepare(const RuntimeOptions *o, const OciSpec *spec, State *s, SeccompProgram *ret, Err *e);
/* Hands the notification fd to whom listenerPath names, with the container's state. */
int filter_send_listener(const char *path, const char *metadata, const State *s, RuntimeStatus status, int fd,
			 Err *e);

/* The words of runc, by which engines and their users know what failed. */
#define INIT_CONTEXT     "unable to start container process: error during container init"
#define EXEC_CONTEXT     "unable to start container process"
#define MOUNTING         "error mounting \"%s\" to rootfs at \"%s\""
#define MOUNTING_ARGS(m) ((m)->source ? (m)->source : (m)->type ? (m)->type : ""), (m)->destination

/* ---- mount-source.c: opened on the host, before the child exists (or see Init.opens_late) ---- */
typedef struct MountSources {
	MountOptions *options; /* one a mount of the spec */
	int *fds;              /* detached mounts of binds, -1 for others */
	size_t n;
	int null;     /* the host's /dev/null, verified: what masks files */
	int *devices; /* in a user namespace: binds of spec.devices and then of the default ones; or NULL */
	size_t n_devices;
} MountSources;
/* `bind_devices`: device nodes are bound, since they cannot be made where the container is. */
/* inner_later: those in the root filesystem are left to mount_source_open_inner(). */
int mount_sources_open(const Bundle *b, bool bind_devices, bool inner_later, MountSources *ret, Err *e);
void mount_sources_done(MountSources *s);

/* ---- init.c: the child ---- */
typedef struct Init {
	const RuntimeCreate *create;
	const Bundle *bundle;
	const OciSpec *spec; /* &bundle->spec */
	MountSources sources;
	const Cgroup *cgroup;
	CgroupSeat seat;
	SeccompProgram filter;
	unsigned filter_flags;
	bool has_filter;
	bool filter_by_number; /* the creator fetches the notification fd */
	CapabilitySets caps;
	ProcessAttributes attributes;
	Interface *net_devices;
	struct {
		int flag, fd;
	} joins[JOINS_MAX]; /* namespaces by path; -1 once joined (see birth.c) */
	size_t n_joins;
	uint64_t new_flags; /* namespaces of its own */
	bool in_userns;     /* other than the creator's */
	bool bind_devices;
	/* The creator may not mount: root and sources are opened inside, where this process may. */
	bool opens_late;
	bool own_mounts;    /* in a mount namespace of its own */
	bool root_on_top;   /* the root is attached over "/" instead of its own path */
	bool dev_read_only; /* to be made so when everything is in it */
	RuntimeStdio stdio; /* complete: see stdio_prepare() */
	int sock;           /* to the creator */
	int start;          /* the socket, or for `run` the gate, at which it waits: start.c */
	int root;           /* detached, then attached, mount of the container's root */
	int proc, sys;      /* mounts of procfs and sysfs that we made inside, or -1; sys may be a bind */
	int bound_proc;     /* a procfs that the spec binds on /proc, or -1 */
	int dev;            /* the container's /dev, or -1 */
	int console;        /* slave of the terminal, or -1 */
	json_t *hook_state;
	Err err;
} Init;

typedef enum InitMsg {
	INIT_FAILED = 'F', /* an Err follows */
	INIT_HOOKS =
	    'H', /* namespaces and mounts are there: move netDevices, run prestart and createRuntime */
	INIT_LISTENER = 'L', /* the seccomp notification fd: its number, or the fd itself */
	INIT_CONSOLE = 'C',  /* with the master of the terminal */
	INIT_READY = 'R',
	INIT_TIME = 'T', /* the time namespace is made: set its offsets */
	INIT_SOURCE =
	    'S', /* with an O_PATH descriptor: open this source of a mount for me; a size_t, its number, follows */
	INIT_GO = 'G',  /* creator to child: go on */
	INIT_PID = 'P', /* of exec: the pid follows */
} InitMsg;
_Noreturn void init_run(Init *in);
/* Waits for INIT_GO; the child exits if the creator is gone. */
void init_wait_go(int sock);
int init_send(int sock, InitMsg kind, const void *extra, size_t len, int fd);
/* The Err in a message INIT_FAILED of full length, made safe: the container may have had a hand in it. Its negative errno. */
int init_told_failure(const char *message, Err *e);
/* What a message brought, into a place that must be empty. */
int init_take_fd(int *where, int fd, size_t n, Err *e);
_Noreturn void init_fail(int sock, const Err *e, int r);
/* ERR_INVALID unless descriptors 3 to 3+n-1 are open: a number promised and not open would be taken by one of our own, and
 * be given to the container. */
int init_check_preserved(int n, Err *e);
/* Default dispositions and no blocked signals: what the creator ignores is nothing to the command. */
void init_reset_signals(void);

/* ---- birth.c ---- */
/* Clones the container's process: 0 in it, else its pid. Takes the seat and joins what has to be joined before; birth_join() in
 * the child does the rest. `creator_sock` is the other end of in->sock. */
pid_t birth(Init *in, int creator_sock, int *ret_pidfd, Err *e);
/* It has taken the seat and has its OOM score already. */
bool birth_needs_middle(const Init *in);
int birth_join(Init *in, Err *e);
/* In a user namespace whose maps are written. */
int birth_become_root(Err *e);

/* ---- userns.c ---- */
/* The path of a user namespace to join, or NULL. */
const char *userns_path(const OciSpec *s);
int userns_check(const OciSpec *s, Err *e);
int userns_write_maps(pid_t pid, const OciSpec *s, Err *e);
/* From /etc/passwd, or "#1000". */
char *userns_user_name(uint32_t uid);

/* ---- rootless.c ---- */
/* Takes from `c` what the caller may not use; ERR_DENIED if the spec needs that. */
int rootless_fit_cgroup(const OciSpec *s, Cgroup *c, Err *e);
void rootless_warn_of_leftovers(const RuntimeOptions *o, const OciSpec *s, const Cgroup *c);
/* Puts in front of a refusal of the kernel to mount procfs or sysfs what it means; returns r. */
int rootless_explain_mount(const Init *in, const char *type, int r, Err *e);
/* To put behind a refusal to make a mount point; "" for other failures. */
const char *rootless_owner_hint(int r);
/* To put behind a refusal to change a mount; "" for other failures. */
const char *rootless_locked_hint(int r);

/* In the child. */
int mount_source_open_inner(Init *in, size_t i, int *ret, Err *e);
/* In the creator, when the child asks: answers on sock. */
int mount_source_serve(const Init *in, size_t i, int at, pid_t pid, int sock, Err *e);

/* ---- rootfs.c, mounts.c, devices.c, console.c: all with e = &in->err ---- */
/* The detached mount that is to be the root; -EPERM if this process may not mount. */
int rootfs_open(const Bundle *b, int given_fd, int *ret, Err *e);
int rootfs_attach(Init *in, Err *e);
int rootfs_finish(Init *in, Err *e); /* masks, read-only paths and root, pivot */
int mounts_make(Init *in, Err *e);
int mounts_cgroup(Init *in, const OciMount *m, const MountOptions *o, int target, Err *e);
/* Moves into a cgroup namespace whose root is the container's cgroup, if one is asked for and not done yet. */
int mounts_enter_cgroup_namespace(Init *in, Err *e);
int mounts_copy_up(int from_dir, int to_mount, Err *e);
int devices_make(Init *in, Err *e);
/* Opens a directory of the root, made if missing, to which no symlink leads. */
int mounts_open_strict(int root, const char *path, Err *e);
/* True if the spec binds a /dev from elsewhere, which is then left as its owner wants it. */
bool devices_are_bound(const Init *in);
/* The default nodes: null zero full random tty urandom. */
extern const OciDevice devices_default[];
extern const size_t devices_n_default;
/* A pty of the devpts mounted in `root`. */
int console_open(int root, const OciProcess *p, bool plain_newlines, int *ret_master, int *ret_slave, Err *e);
/* Binds the slave over "console" in the directory. */
int console_bind(int dev, int slave, Err *e);
/* Makes it the controlling terminal and descriptors 0 to 2. */
int console_take(int slave, Err *e);
int console_send(const char *socket_path, int master, Err *e);
/* ERR_INVALID if what is asked for does not fit process.terminal. */
int console_check(RuntimeConsole kind, const char *socket, bool terminal, Err *e);
/* On the host: *ret is io with an open null device (*ret_null, the caller's) for every -1. In the container /dev/null may be
 * anything (CVE-2026-88265). */
int stdio_prepare(const RuntimeStdio *io, RuntimeStdio *ret, int *ret_null, Err *e);
/* Puts stdio on 0, 1, 2 and gives them to the user. */
int stdio_take(const RuntimeStdio *io, uint32_t uid, Err *e);
/* Puts the null device of this /dev in the place of the host's, whose mount criu would not find in the container. */
void stdio_reopen_null(int dev);

/* ---- checkpoint.c ---- */
/* Notes which pipes the first process has as 0 to 2, before it can move them. */
int checkpoint_name_pipes(State *s, const RuntimeStdio *io, Err *e);

/* ---- sysctl.c ---- */
int sysctl_apply(Init *in, Err *e);
int sysctl_check(const OciSpec *spec, uint64_t own_namespaces, Err *e);

/* ---- credentials.c ---- */
typedef struct Credentials {
	const OciProcess *process;
	const CapabilitySets *caps;
	const SeccompProgram *filter; /* or NULL */
	unsigned filter_flags;
	bool filter_listener;
	bool filter_by_number;
	bool unseen; /* nobody in the container can see this process before it executes */
	int root;    /* "/" of the container */
	int proc;    /* its procfs, or -1 */
	int sock;    /* INIT_LISTENER goes here */
} Credentials;
/* `warn` (may be NULL) hears of what is left out. */
int credentials_caps(const OciProcess *p, void (*warn)(const char *), CapabilitySets *ret, Err *e);
/* Becomes the user, in the working directory, with all capabilities still. Finds the command on the way: *ret_path. */
int credentials_apply(const Credentials *c, char *const *env, char **ret_path, Err *e);
/* Goes down to the process's capabilities; from here on the filter may hold. */
int credentials_seal(const Credentials *c, Err *e);
/* What has to be done right before execve: the filter, if it could wait. */
int credentials_late(const Credentials *c, Err *e);
/* Field `n` (from 0) of the entry for uid in the text of a passwd, which is taken apart; malloc'ed, NULL if there is none. */
char *credentials_passwd_field(char *text, uint32_t uid, size_t n);
/* env with HOME added from /etc/passwd if it is not there. */
int credentials_env(int root, const OciProcess *p, char ***ret, Err *e);
int credentials_rlimits(const OciProcess *p, pid_t pid, Err *e);
int credentials_oom_score(const OciProcess *p, pid_t pid, Err *e);
void credentials_keyring(const char *id);
/* LSM labels for the coming execve. */
int credentials_labels(const OciProcess *p, int proc, Err *e);

/* ---- command.c ---- */
int command_find(const char *file, char *const *env, char **ret, Err *e);
/* The Err for a failed execve. */
int command_exec_failed(const char *path, int no, Err *e);
int command_exit_status(const Err *e);

/* ---- hooks.c ---- */
/* The i-th kind, in the order of a container's life; NULL behind the last. */
const char *hooks_kind(size_t i);
int hooks_run(const OciHookList *hooks, const char *kind, const json_t *state, Err *e);
/* Those without an environment of their own get this one. */
int hooks_run_inside(const OciHookList *hooks, const char *kind, char *const *env, const json_t *state,
		     Err *e);
/* From their JSON, as the state keeps them. */
int hooks_run_json(const json_t *hooks, const char *kind, const json_t *state, Err *e);
