/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to criu, which freezes processes into files and thaws them again. It is a program of its own: `criu swrk FD` serves
 * one request that arrives on a socket, and asks back on the way ("notify") at points where we have something to do.
 */
#pragma once

#include "runtime/runtime-internal.h"

#include "criu.pb-c.h"

#define CRIU_FIRST_FD 4 /* of CriuFiles, in criu: 0 to 2 are stdio, 3 is the socket */
#define CRIU_FILES    8
/* In the directory of images: the names of descriptors 0 to 2 as the container was made. */
#define CRIU_DESCRIPTORS "descriptors.json"

/* What criu gets open: the directory of images, that of work files if there is one, and what else is added. */
typedef struct CriuFiles {
	const RuntimeCriu *options;
	const char *log_name;
	int fds[CRIU_FILES];
	size_t n;
} CriuFiles;
int criu_files_open(const RuntimeCriu *o, bool make_images, const char *log_name, CriuFiles *ret, Err *e);
/* The directories once more, after a change of mount namespace: criu mounts things in them. */
int criu_files_reopen(CriuFiles *f, Err *e);
/* Takes the descriptor over (also on failure), and returns the number that it has in criu. */
int criu_files_add(CriuFiles *f, int fd, Err *e);
void criu_files_done(CriuFiles *f);

typedef struct CriuCall {
	CriuRequest *request;
	const RuntimeStdio *stdio; /* criu's own, which processes that it restores inherit; NULL: /dev/null */
	const CriuFiles *files;    /* or NULL */
	CgroupSeat *seat;          /* that criu and what it restores live in, or NULL */
	void *data;                /* of the functions; each may be NULL */
	/* In the child, before it becomes criu. */
	int (*prepare)(void *data, Err *e);
	/* When criu runs, before the request is sent. */
	int (*started)(void *data, pid_t criu, Err *e);
	/* fd: -1 or one that came along; not to be closed. */
	int (*notify)(void *data, const CriuNotice *notice, int fd, Err *e);
} CriuCall;

typedef struct CriuReply {
	CriuResponse *response;
} CriuReply;
void criu_reply_done(CriuReply *r);
/* From the request to criu's end. On failure the error says what criu said. */
int criu_call(const CriuCall *c, CriuReply *ret, Err *e);

/* ---- criu-cgroup.c ---- */
/* As mountinfo has them; NULL if there is no cgroup2. */
char *criu_cgroup_options(void);
int criu_cgroup_restore_options(const char *before, Err *e);

/* 31701 for 3.17.1; ERR_UNSUPPORTED if criu is missing or older than 3.0. */
int criu_version(int *ret, Err *e);
/* ERR_UNSUPPORTED unless kernel and criu have what is asked for. */
int criu_need_features(bool mem_track, bool lazy_pages, Err *e);

/* NULL without memory. */
CriuOptions *criu_options_new(void);
void criu_options_free(CriuOptions *o);
DEFINE_CLEANUP(CriuOptions *, criu_options_free)

int criu_options_fill(const RuntimeCriu *o, const CriuFiles *f, char *const *annotations, CriuOptions *ret,
		      Err *e);
/* Append to a repeated field. Everything is malloc'ed, as criu_options_free() wants it. */
int criu_add_mount(CriuOptions *o, const char *key, const char *value, Err *e);
int criu_add_inherit(CriuOptions *o, const char *key, int fd, Err *e);
int criu_add_external(CriuOptions *o, char *text, Err *e);
int criu_add_join(CriuOptions *o, const char *kind, const char *file, Err *e);
int criu_add_cgroup(CriuOptions *o, const char *controller, const char *path, Err *e);
/* Puts the lines of criu's log that tell of an error behind the message; returns r. */
int criu_quote_log(const CriuFiles *f, int r, Err *e);

/* Bind mounts, masked files and devices, which criu is told about because what lies behind them is outside. At a dump (of `pid`) a value is
 * the mount point itself, when restoring (pid 0) it is where the thing is now. */
int criu_add_spec_mounts(CriuOptions *o, const Bundle *b, const Cgroup *c, pid_t pid, Err *e);
