/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's or exec's streams on our terminal or pipes, from the hijacked connection to the exit status.
 *
 * Order of use for a container: session_open() before it is started (attach and wait are both registered
 * then), session_run() after, session_wait() for the status. The attached stream does not depend on the
 * engine staying alive; when the engine is lost meanwhile, session_wait() finds out what can still be learnt.
 */
#pragma once

#include "client.h"
#include "stream.h"

typedef struct Session {
	Cli *cli;
	const char *id;      /* of the container */
	const char *exec_id; /* of the exec, or NULL */
	bool tty;
	bool in, out, err;       /* what is attached */
	bool proxy;              /* signals go to the container */
	const char *detach_keys; /* NULL: ctrl-p,ctrl-q */
	const char *wait_for;    /* condition of wait, or NULL for no wait */
	Httpc *attach, *wait;
	int signal_fd;
	int undelivered; /* signals that did not reach the engine */
} Session;

/* The detach keys that were given, or those of config.json, or NULL. */
const char *session_keys(Cli *cli, const char *given);
/* Checks the detach keys and that there is a terminal if one is needed. */
int session_check(const Session *s, Err *e);
/* Blocks the signals that are to be forwarded; they are kept until session_run(). */
int session_catch_signals(Session *s, Err *e);
/* Sends attach and wait to the container s->id, and reads both answers. */
int session_open(Session *s, Err *e);
/* Hijacked connection that was got otherwise (exec). */
void session_take(Session *s, Httpc *attach);
/* Tells the engine the size of our terminal. */
void session_resize(Session *s);
/* Moves the bytes until the end. A StreamEnd or -errno. */
int session_run(Session *s, Err *e);
/* The exit status (0-255), or -errno. */
int session_wait(Session *s, Err *e);
void session_done(Session *s);
#define _cleanup_session_ _cleanup_(session_done)
