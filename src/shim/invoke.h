/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call of a program with runc's command line: PROGRAM --root DIR --log FILE --log-format json COMMAND ...
 *
 * Why it failed is read from the log, whose last error becomes the Err. The program sees a small environment of its own: what
 * the engine was started with (NOTIFY_SOCKET, LISTEN_FDS) is not meant for it.
 */
#pragma once

#include "runtime/runtime.h"

/* A detached mount and its place. */
typedef struct InvocationMount {
	int fd;
	const char *path;
} InvocationMount;

typedef struct Invocation {
	const char *program, *root;
	bool systemd_cgroup;
	char *const *words;     /* the command, its options and arguments */
	const RuntimeStdio *io; /* what a new process gets, or NULL: nothing */
	/* Attached in a mount namespace which lives no longer than the program and what it copies from it: no table of the host
	 * ever has them. */
	const InvocationMount *mounts;
	size_t n_mounts;
} Invocation;

/* ERR_NOT_FOUND or ERR_CONFLICT (-ESRCH) if the container, or its process, is gone. */
int invoke(const Invocation *v, Err *e);
/* The Err for what a runtime says in its log. */
int invoke_error(const char *log, const char *program, const char *command, int status, Err *e);
