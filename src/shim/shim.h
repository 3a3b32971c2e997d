/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim seen from the engine: client side of the shim protocol (protocol.h).
 *
 * One ireko-shim process is the parent of one container's processes, or of those of a pod's containers. It owns their stdio or pty,
 * writes the log, reaps, records the exit in <dir>/exit.json and serves <dir>/shim.sock until the
 * container is gone and the record is written. It needs nothing of irekod: irekod may die at any point and find the
 * shim again (shim_connect), or only its record (shim_read_exit).
 *
 * Each container of a pod has a directory of its own, and through that its shim is what that of a container alone is: nothing here but shim_join() knows of
 * pods. The pod's sandbox is the container whose shim was spawned. When it has ended, the shim kills the others, and ends when their
 * ends are recorded.
 *
 * A client's hijacked connection is handed to the shim as a descriptor (shim_attach, shim_exec): bytes then
 * flow between the client and the container without passing through irekod, and go on when irekod is gone.
 *
 * A Shim handle is one seqpacket connection; calls on it are serialised by its own lock, so any thread may use it.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

typedef struct Shim Shim;

/* What the shim records and tells. */
typedef struct ShimExit {
	int status; /* 0..255; 128+n after signal n */
	int signal; /* 0 if it exited by itself */
	bool oom_killed;
	int64_t at_ns; /* CLOCK_REALTIME */
} ShimExit;

/* How bytes are framed on an attached descriptor. */
typedef enum ShimFraming {
	SHIM_RAW, /* terminal: plain bytes */
	SHIM_MUX, /* Docker's 8-byte headers (docker-api-map 1.8) */
} ShimFraming;

typedef struct ShimLog {
	const char *driver; /* of the file: "json-file", "local", "cri" or "none" */
	const char *path;   /* the file; created 0640 */
	int64_t max_size;   /* bytes; 0: never rotate */
	int max_files;      /* rotated files kept beside it: path.1 ... */
	bool compress;      /* them: path.1.gz ... */
	const char *attrs;  /* of every record of a json-file: an object as text; or NULL */
	json_t *remote;     /* a server that gets the records too, as remote.h says; or NULL */
} ShimLog;

typedef struct ShimCreate {
	const char *
	    dir; /* exec-root/containers/<id>: shim.sock, exit.json; also the bundle with config.json; exists */
	const char *id;
	const char *runtime; /* the OCI runtime's program, an absolute path; NULL: ours, in the shim */
	const char *runtime_root;
	const char *seccomp_cache;
	const char *
	    scope_dir; /* where ireko-scope is: systemd makes the cgroup, which config.json names SLICE:PREFIX:NAME; NULL: nobody does */
	bool terminal;
	bool open_stdin; /* else stdin is /dev/null */
	bool stdin_once; /* close stdin when the first attached client closes its side */
	ShimLog log;
	int rootfs_fd;        /* detached mount; -1 to use root.path of config.json */
	int netns_fd;         /* what shim_netns_path() leads to, or -1; of a spawned shim */
	const int *mount_fds; /* detached mounts; a bind whose source is <dir>/mounts/N is the N-th of them */
	size_t n_mount_fds;
	const int *hold_fds; /* kept open for the container's life (bound port sockets) */
	size_t n_hold_fds;
	uint16_t rows, cols; /* initial terminal size, 0: unknown */
	bool watch_oom;      /* SHIM_EVENT_OOM as soon as there is a victim, not only when a process ends */
} ShimCreate;

/* Starts a shim, which waits for shim_create: what the container needs can be made meanwhile. `program` is the ireko-shim
 * executable, `dir` exists. *ret_pid is a child of the caller, to be reaped by it; a shim that is not needed after all is ended by
 * shim_abandon. If the caller dies the shim ends. */
int shim_spawn(const char *program, const char *dir, const char *id, Shim **ret, pid_t *ret_pid, Err *e);
/* Has the shim of a running container, a pod's sandbox whose directory is `pod_dir`, keep one more, that of `dir`, which exists; it waits for shim_create as a
 * spawned one does. *ret_pid is the shim's pid, which is nobody's child for that: shim_abandon, shim_undo and a failed shim_create end this container only, and
 * reap nothing. config.json names the namespaces that it joins by path; ShimCreate.netns_fd is not for it. ERR_NOT_FOUND if there is no such shim,
 * ERR_CONFLICT if the sandbox has ended. */
int shim_join(const char *pod_dir, const char *dir, const char *id, Shim **ret, pid_t *ret_pid, Err *e);
/* Where a runtime that is told to create finds ShimCreate.netns_fd: the path of the network namespace in config.json. malloc'ed, or NULL. */
char *shim_netns_path(pid_t shim_pid);
/* Ends and reaps a shim that has not been told to create anything. */
void shim_abandon(Shim *s, pid_t pid);
/* Kills the container that a shim has created, which ends and reaps the shim. False: the shim did not answer, or did not end, as one
 * that waits for a stopped container does; it is gone too, and what it leaves is to be removed (shim_remove_orphan). */
bool shim_undo(Shim *s, pid_t pid);
/* Kills a container that was found again, and waits until its shim keeps it no more. False: that was not within some seconds. */
bool shim_end(Shim *s);
/* Has it create the container (not started). config.json has to say the process's oomScoreAdj: the shim lowers its own
 * if it may. On failure the shim is gone and reaped, nothing is left but the handle, and the Err is the runtime's own. */
int shim_create(Shim *s, pid_t shim_pid, const ShimCreate *c, pid_t *ret_init_pid, Err *e);
/* The same in two halves, between which the shim is at it; nothing else is asked of it meanwhile. */
int shim_create_begin(Shim *s, pid_t shim_pid, const ShimCreate *c, Err *e);
int shim_create_end(Shim *s, pid_t shim_pid, const ShimCreate *c, pid_t *ret_init_pid, Err *e);
/* Connects to a living shim; -ENOENT / -ECONNREFUSED (ERR_NOT_FOUND) when there is none. Fills shim and init pid. */
int shim_connect(const char *dir, Shim **ret, pid_t *ret_shim_pid, pid_t *ret_init_pid, Err *e);
/* True while a shim of this version keeps the container of `dir` and has recorded no end; it is not woken up for that. False says nothing of the
 * shim of an older version. */
bool shim_lives(const char *dir);
/* A handle that connects when it is first used. */
int shim_later(const char *dir, Shim **ret, Err *e);
/* Closes the connection; the shim lives on. */
Shim *shim_ref(Shim *s);
void shim_unref(Shim *s);
DEFINE_CLEANUP(Shim *, shim_unref)

/* Success if it was started before. */
int shim_start(Shim *s, Err *e);
/* Hands over a client's stream socket (not closed here; the shim has its own copy). Input from it goes to the container's
 * stdin if want_stdin; output is sent if wanted. The shim shuts down and closes it when the output ends. `prefix`
 * (may be NULL) was read from the client beyond its request head and is delivered to stdin first. detach_keys: bytes, may be empty.
 * May be called before shim_start. */
typedef struct ShimAttach {
	int fd;
	ShimFraming framing;
	bool want_stdin, want_stdout, want_stderr;
	const void *prefix;
	size_t prefix_len;
	const char *detach_keys;
	size_t n_detach_keys;
} ShimAttach;
int shim_attach(Shim *s, const ShimAttach *a, Err *e);

/* Runs one more process. process is the runtime-spec `process` object. exec_id is the caller's, unique in the container. With attach NULL
 * its output is discarded. The exit arrives as an event and stays readable through shim_exec_exit. */
typedef struct ShimExec {
	const char *exec_id;
	const json_t *process;
	bool terminal;
	uint16_t rows, cols;
	const ShimAttach *attach;
} ShimExec;
int shim_exec(Shim *s, const ShimExec *x, pid_t *ret_pid, Err *e);
/* 1 and the exit of an exec, 0 while it runs; ERR_NOT_FOUND for one that never was (the last 256 exits are remembered). */
int shim_exec_exit(Shim *s, const char *exec_id, ShimExit *ret, Err *e);

/* exec_id NULL: the container's first process. */
int shim_resize(Shim *s, const char *exec_id, uint16_t rows, uint16_t cols, Err *e);
int shim_kill(Shim *s, const char *exec_id, int signal, bool all, Err *e);
int shim_pause(Shim *s, bool pause, Err *e);
/* Of a container that exists: `fds` are held beside what is held already, and of that, the sockets that are bound so are let go of. On its own
 * connection, so that the handles of others outlive a shim of an older version, which closes it: ERR_CONFLICT then, before anything is done. After
 * another failure some of `fds` may be held. */
typedef struct ShimPort {
	int protocol;        /* IPPROTO_TCP, ... */
	const char *address; /* "0.0.0.0", "::" */
	uint16_t port;
} ShimPort;
int shim_ports(const char *dir, const int *fds, size_t n_fds, const ShimPort *release, size_t n_release,
	       Err *e);
/* resources: the runtime-spec object; what it does not name stays as it is. */
int shim_update(Shim *s, const json_t *resources, Err *e);
/* The log's file has been renamed, or removed: the one that has its name is written from now on; it is there when this returns. No record is lost or
 * doubled. */
int shim_log_reopen(Shim *s, Err *e);
/* Has criu write the running container to files in `images`, which exists; it goes on running. On its own connection: others may be served meanwhile. ERR_UNSUPPORTED
 * without criu; ERR_UNAVAILABLE (-ETIMEDOUT) when the time is over. */
int shim_checkpoint(const char *dir, const char *images, int timeout_ms, Err *e);
/* The pids of the container's cgroup; malloc'ed. */
int shim_pids(Shim *s, pid_t **ret, size_t *ret_n, Err *e);
/* The container's first process, which has not been reaped at the moment of the answer; ERR_CONFLICT (-ESRCH) if it has. */
int shim_first_pid(Shim *s, pid_t *ret, Err *e);

typedef enum ShimEventType {
	SHIM_EVENT_EXIT,
	SHIM_EVENT_EXEC_EXIT,
	SHIM_EVENT_OOM,
	SHIM_EVENT_DETACH, /* a client has typed its detach keys */
} ShimEventType;
typedef struct ShimEvent {
	ShimEventType type;
	char exec_id[80]; /* of SHIM_EVENT_EXEC_EXIT and _DETACH; "": the container's first process */
	ShimExit exit;
} ShimEvent;

/* A second connection of its own that carries events: becomes readable when one is there; end of file means the
 * shim is gone (the exit record, if any, is then on disk). What has happened before it was opened and was not sent to an earlier one comes first, and
 * the container's exit in any case. start: the container is started by the way, if it was not; whether that works is told by events. Nobody waits
 * for the shim here. The fd is the caller's, pollable. *ret_shim_pid may be NULL. */
int shim_events_open(const char *dir, bool start, int *ret_fd, pid_t *ret_shim_pid, Err *e);
/* One event: 1, or 0 at end of file, or -errno (-EAGAIN when nothing is there). */
int shim_event_read(int fd, ShimEvent *ret, Err *e);

/* Ends and removes what a shim that was killed has left running, whichever runtime it had; nothing there is success. */
int shim_remove_orphan(const char *dir, const char *runtime_root, const char *id, Err *e);

/* <dir>/exit.json: 1 if present, 0 if not, or -errno. */
int shim_read_exit(const char *dir, ShimExit *ret, Err *e);
