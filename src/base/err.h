/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error channel.
 *
 * A function that can fail takes `Err *e` last and returns a negative errno on failure. The Err
 * is the caller's, needs no allocation and no release, and may be NULL when only the number
 * matters. The function that meets the failure fills it (err_sys, err_new); every boundary on
 * the way up adds what it was doing (err_ctx), so a message reads from the object the user named
 * down to the cause: "container web: start: open config.json: No such file or directory".
 *
 * ErrKind is what the doors need: it maps once to an HTTP status, a gRPC code and an exit status.
 * A plain errno says nothing about the user's mistake, so err_sys() always yields ERR_INTERNAL;
 * code that knows better says so with err_new() or err_kind().
 *
 * Libraries neither log nor exit. An Err holds no pointers, so it can be sent through a pipe as is
 * (err_send, err_recv); that is how a forked child reports.
 */
#pragma once

#include "base/macro.h"

typedef enum ErrKind {
	ERR_INTERNAL = 0,
	ERR_INVALID,      /* the request itself is wrong */
	ERR_NOT_FOUND,    /* the named object does not exist */
	ERR_CONFLICT,     /* the object is in a state or use that forbids this */
	ERR_DENIED,       /* understood and refused */
	ERR_UNAUTHORIZED, /* credentials missing or refused */
	ERR_UNAVAILABLE,  /* try again later */
	ERR_CANCELLED,    /* the caller went away */
	ERR_NOT_MODIFIED, /* already as asked */
	ERR_UNSUPPORTED,  /* not offered, or the kernel lacks it */
	ERR_EXHAUSTED,    /* disk, subnet, fds, memory: a resource has run out */
	ERR_NOT_RUNNABLE, /* the command exists but cannot be executed: exit status 126 */
	ERR_NO_COMMAND,   /* the command was not found in the container: exit status 127 */
	ERR_KIND_MAX,
} ErrKind;

typedef struct Err {
	int no; /* positive errno */
	ErrKind kind;
	int line;
	char file[48]; /* base name of the source that met the failure */
	char msg[2000];
} Err;

/* A failed system or library call: appends strerror(no). Kind is ERR_INTERNAL, except that the
 * errnos that mean a used-up resource (ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM) yield
 * ERR_EXHAUSTED. Returns -no. `no` may be given positive or negative; 0 counts as EIO. */
#define err_sys(e, no, ...) err_sys_at((e), __FILE__, __LINE__, (no), __VA_ARGS__)
/* A failure that is ours to describe in full. Returns the negative errno that stands for kind. */
#define err_new(e, kind, ...) err_new_at((e), __FILE__, __LINE__, (kind), 0, __VA_ARGS__)
/* As err_new, with a particular errno to return. */
#define err_new_no(e, kind, no, ...) err_new_at((e), __FILE__, __LINE__, (kind), (no), __VA_ARGS__)
#define err_oom(e)                   err_sys((e), ENOMEM, "allocate memory")

int err_sys_at(Err *e, const char *file, int line, int no, const char *fmt, ...) _printf_(5, 6) _must_check_;
int err_new_at(Err *e, const char *file, int line, ErrKind kind, int no, const char *fmt, ...)
    _printf_(6, 7) _must_check_;

/* Puts "context: " in front of the message and returns r unchanged. */
int err_ctx(Err *e, int r, const char *fmt, ...) _printf_(3, 4) _must_check_;

/* Overrides the kind, keeps the message; returns r. */
int err_kind(Err *e, int r, ErrKind kind) _must_check_;

/* The message, or strerror(-r) when the callee left none. Never NULL. */
const char *err_msg(const Err *e, int r);

int err_kind_http_status(ErrKind kind);
const char *err_kind_name(ErrKind kind);

/* One Err through a pipe, whole or not at all (sizeof(Err) <= PIPE_BUF). err_recv returns 1 when
 * an Err arrived, 0 when the other side closed without one, else a negative errno. */
void err_send(int fd, const Err *e);
int err_recv(int fd, Err *e);
/* Makes one that came from elsewhere safe to use: ended strings, a kind that exists, an errno. */
void err_repair(Err *e);
