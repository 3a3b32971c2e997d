/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim process, a Keeper, and what it keeps: a Server for each container.
 *
 *    SHIM_CONTROL_FD --HOLD*, MOUNTS*, CREATE--> the runtime creates --> served --> over     the first container
 *    JOIN, with a connection --HOLD*, MOUNTS*, CREATE--> likewise                             one more of its pod
 *
 * One loop serves connections (control and events, conn.c), processes (each container's first and execs, process.c) and
 * their streams (stdio.c, attach.c), in one thread and without blocking, except inside calls of the runtime (runner.h), of which those that a container
 * can hold up are made in steps (exec.c). When the
 * first process of a container has exited: streams drained, exit.json written, runtime state deleted, socket
 * removed, events sent, clients sent off; then its server is over, and everything of it is given back.
 *
 * Each container has its own directory, socket, record, log and limits; nobody who talks to a shim through one sees the others. The first is a pod's
 * sandbox: when it has ended, what still runs of the others is killed. The process ends when the last server is over.
 */
#pragma once

#include "shim/protocol.h"
#include "shim/runner.h"
#include "shim/stdio.h"

#define SHIM_EXEC_ID_MAX 79
#define SHIM_EXECS_MAX   1024 /* running at once */
#define SHIM_EVENTS_KEPT 256  /* of which exits of execs can be asked for, and nobody was told yet may be */
#define SHIM_CONNS_MAX   64
#define SHIM_SERVERS_MAX 1024 /* containers of one shim, those included that are still to be created */

typedef struct Keeper Keeper;
typedef struct Server Server;
typedef struct Conn Conn;
typedef struct Birth Birth;
typedef struct Dump Dump;

/* A process that the shim has started and will reap. */
typedef struct Process {
	Server *server;
	struct Process *next;
	char id[SHIM_EXEC_ID_MAX + 1]; /* "" for the container's first */
	pid_t pid;
	Birth *birth; /* of an exec whose command does not execute yet (exec.c); pid is 0 until it does */
	Source pidfd;
	Stdio io;
	bool exited;
	bool
	    held; /* it has ended, and is not ours to reap until who traces it lets it go; looked at by the tick */
	ShimExit exit;
} Process;

/* A child that an exec which failed has killed, and that does not end yet (RuntimeExec.left). The pid namespace of the container cannot end
 * before it is reaped. */
typedef struct Stray {
	struct Stray *next;
	pid_t pid;
} Stray;

/* One container. */
struct Server {
	Keeper *keeper;
	Server *next;
	Loop *loop; /* the keeper's */
	Runner runner;
	char *dir, *id; /* of the runner; dir is absolute; NULL until it is told to create */
	Source listener;
	bool listener_rests; /* no descriptor was left to accept with; tried again by the tick */
	Conn *conns;
	size_t n_conns;
	Conn *asking; /* whose request is being handled */
	Logger *log;
	int exit_fd; /* exit.json's bytes, reserved when there was room (exits.c) */
	int *hold;
	size_t n_hold;
	int *mounts; /* until the container is created */
	size_t n_mounts;
	Process init;
	Process *execs;
	size_t n_execs;
	Stray *strays;
	size_t n_strays;
	Dump *dump;        /* a checkpoint that is being made (checkpoint.c), or NULL */
	ShimEvent *events; /* the last SHIM_EVENTS_KEPT at most */
	size_t n_events;
	uint64_t first_event; /* number of events[0] */
	uint64_t told;        /* the first one that no subscriber was sent yet */
	Source oom;           /* tells that memory has run out, if that is watched for */
	int64_t
	    oom_look_until; /* monotonic: the kernel counts its victims a moment after that; 0: nothing is awaited */
	uint64_t oom_kills; /* that were told */
	bool started;       /* as an engine has asked, once */
	bool ended;         /* the exit is on record; only goodbyes are left */
	int64_t end_by;     /* monotonic: subscribers that do not read are left behind then */
	bool created;
	bool failed; /* it was not: the server is over */
};

struct Keeper {
	pid_t pid; /* its own */
	Loop loop;
	Server *servers;
	size_t n_servers;
	Server *first;         /* a pod's sandbox; NULL when it is over */
	int64_t others_end_ns; /* by when the others have to have ended by themselves; 0: nothing waits */
	Stray *strays;         /* of containers that are over */
	bool failed;           /* it was not created */
	PageRange text[4];     /* the program's pages, given up while nothing happens (keeper.c) */
	size_t n_text;
	bool rested; /* nothing happened since memory was given back */
};

/* Runs the shim on its inherited connection until its containers are gone; an exit status. */
int shim_serve(int control_fd);

/* keeper.c */
/* The first container has ended: the end of the others, too. */
void keeper_first_ended(Keeper *k);

/* server.c */
/* One more container, which `control` (taken over, also on failure) will tell to create. */
int server_new(Keeper *k, int control, Server **ret, Err *e);
void server_free(Server *s);
/* What its log messages call it. */
const char *server_name(const Server *s);
/* A request before the container is there: HOLD, MOUNTS and CREATE. 1: it is to be answered, also if that is with an error; 0: it is not. */
int server_prepare(Server *s, ShimMsg *m, json_t *doc, int *ret_result, Err *e);
/* SHIM_MSG_JOIN. */
int server_join(Server *s, ShimMsg *m, json_t *doc, Err *e);
/* Timers. Milliseconds until server_tick is due, or -1. */
int server_timeout(const Server *s, int64_t now);
void server_tick(Server *s, int64_t now);
/* Everything that was promised to anybody is delivered. */
bool server_is_over(const Server *s, int64_t now);

/* process.c */
void process_init(Process *p, Server *s, const char *id);
void process_done(Process *p);
int server_create(Server *s, ShimMsg *m, Err *e);
Process *server_process(Server *s, const char *exec_id);
/* Frees the execs that are over. */
void server_reap_execs(Server *s);
/* Whether something has to be looked at now and then until it can be reaped; looks; forgets it all. */
bool server_awaits_held(const Server *s);
void server_look_at_held(Server *s);
/* Leaves what is not reaped yet to the keeper: to be reaped some time, as long as it lives. */
void server_leave_strays(Server *s);
void strays_look(Stray **list, size_t *n);
void strays_forget(Stray **list);

/* Looks for victims of the OOM killer, by the tick after s->oom told of them. */
void server_look_for_oom(Server *s, int64_t now);

/* The two sides of a process's standard streams while it is being started. */
typedef struct Pipes {
	int ours[3], theirs[3];
} Pipes;
int pipes_open(Pipes *p, const bool wanted[3], Err *e);
void pipes_done(Pipes *p);
void born_done(RunnerProcess *p);
/* After the start: gives our sides, or the terminal, to the process's Stdio. */
int streams_open(Process *p, Pipes *pipes, int *console, bool tty_input, Err *e);
/* Takes over the pidfd, unless it fails. */
int process_watch(Process *p, int pidfd, Err *e);
/* Its streams or its pidfd cannot be watched: a process nobody would reap must not run on. */
void process_abandon(Process *p, int pidfd);
/* As the request says. */
void process_set_size(int console, const json_t *doc);

/* exec.c */
/* 0: the process executes; 1: it does not yet, and whoever is asking (Server.asking) is answered when it does, or has failed to. */
int server_exec(Server *s, ShimMsg *m, pid_t *ret_pid, Err *e);
int server_attach(Server *s, ShimMsg *m, Err *e);
void birth_end(Process *p);
/* Those of a container: timers, its end, and the end of a connection that was to be answered. */
int births_timeout(const Server *s, int64_t now);
void births_tick(Server *s, int64_t now);
void births_cancel(Server *s);
void births_forget(Server *s, const Conn *c);

/* checkpoint.c */
/* SHIM_MSG_CHECKPOINT: 1, and whoever is asking is answered when it is done. */
int server_checkpoint(Server *s, ShimMsg *m, Err *e);
int dump_timeout(const Server *s, int64_t now);
void dump_tick(Server *s, int64_t now);
void dump_cancel(Server *s);
void dump_forget(Server *s, const Conn *c);

/* hold.c */
/* The message's descriptors are kept with the others. */
int hold_add(int **fds, size_t *n, ShimMsg *m, Err *e);
void hold_close(int **fds, size_t *n);
/* SHIM_MSG_PORTS. */
int hold_change(Server *s, ShimMsg *m, Err *e);

/* exits.c */
/* Makes room for exit.json, so that a full disk cannot lose the exit. */
int exits_reserve(Server *s, Err *e);
int exits_save(Server *s, const ShimExit *x);
void exits_add_event(Server *s, const ShimEvent *v);
/* 1 and the exit, 0 while it runs, or ERR_NOT_FOUND. */
int exits_find(Server *s, const char *exec_id, ShimExit *ret, Err *e);
/* The container's first process is gone: everything that follows. */
void server_end(Server *s);

/* conn.c */
int conn_listen(Server *s, Err *e);
int conn_add(Server *s, int fd, Err *e);
void conns_pump_events(Server *s);
bool conns_have_events(const Server *s);
void conns_close(Server *s);
void conn_answer(Conn *c, uint32_t seq, int r, json_t *doc, const Err *err);
/* request.c: answers one request; the message's descriptors may be taken. doc receives results. 1: the answer comes later. */
int request_handle(Server *s, ShimMsg *m, json_t *doc, Err *e);
