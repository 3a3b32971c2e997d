/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The standard streams of one process (the container's first, or an exec) and the clients attached to them.
 *
 *    process --pipes or pty--> Stdio --> log
 *                                    --> every client that wants the stream
 *    clients' input ---------> Stdio --> process
 *
 * Invariants: output is read only while the log and every client have room (STDIO_CLIENT_HIGH bytes may wait for one), so nothing
 * is lost and memory is bounded; a client's input is read only while the process takes it. Descriptors of clients are
 * shared with other processes, so their flags are left alone and every call on them is MSG_DONTWAIT.
 */
#pragma once

#include "shim/detach.h"
#include "shim/logger.h"
#include "shim/loop.h"
#include "shim/queue.h"
#include "shim/shim.h"

#define STDIO_CLIENT_HIGH (256 * 1024)
#define STDIO_CLIENT_LOW  (64 * 1024)
#define STDIO_INPUT_HIGH  (64 * 1024)

typedef struct Client Client;

typedef struct Stdio {
	Loop *loop;
	Logger *log;   /* or NULL */
	Source in;     /* to the process; fd -1 when it has no input (any more) */
	Source out[2]; /* from the process: stdout, stderr; with a terminal only [0] */
	bool tty;
	bool in_once;  /* the end of a client's input is the end of the process's input */
	bool in_ended; /* close `in` once in_q is written */
	bool paused;   /* a client, or the log's server, is too far behind */
	bool hung;     /* the terminal has no user right now; looked at again by stdio_tick */
	bool exited;   /* the process is gone: the end of its output is final */
	bool finished; /* no more output will come; clients are being sent off */
	Queue in_q;
	Client *clients;
	void (*detached)(struct Stdio *io); /* a client has typed its detach keys; or NULL */
} Stdio;

void stdio_init(Stdio *io, Loop *loop);
/* Keeps the output; set before it is read. */
void stdio_set_log(Stdio *io, Logger *log);
/* Takes over our ends (each may be -1). For a terminal, `master` is in out[0] and a duplicate of it in `in`. */
int stdio_open(Stdio *io, int in, int out, int err, bool tty, Err *e);
void stdio_done(Stdio *io);

/* Takes over a->fd, also on failure. a->prefix has been copied when it returns. */
int stdio_attach(Stdio *io, const ShimAttach *a, Err *e);
/* The process has exited. The loop goes on reading to the end of its output (another process may still write), then the
 * clients are sent off. */
void stdio_exited(Stdio *io);
/* The process has exited, and that is the end: reads what is left, at most a pipe's worth, past every client's limit. */
void stdio_drain(Stdio *io);
/* No more output will come: closes the input and sends the clients off, each when it has read what waits for it. */
void stdio_finish(Stdio *io);
int stdio_resize(Stdio *io, uint16_t rows, uint16_t cols);
/* Timers. Milliseconds until stdio_tick is due, or -1. */
int stdio_timeout(const Stdio *io, int64_t now_ns);
void stdio_tick(Stdio *io, int64_t now_ns);

/* Between stdio.c and attach.c. */
int stdio_input(Stdio *io, const char *data, size_t n); /* 0 or -ENOMEM */
void stdio_input_end(Stdio *io);
void stdio_check_room(Stdio *io);
static inline bool stdio_takes_input(const Stdio *io)
{
	return io->in_q.len < STDIO_INPUT_HIGH;
}
void clients_output(Stdio *io, int stream, const char *data, size_t n);
void clients_update(Stdio *io);
void clients_finish(Stdio *io);
void clients_drop(Stdio *io);
bool clients_have_room(const Stdio *io, size_t limit);
int clients_timeout(const Stdio *io, int64_t now_ns);
void clients_tick(Stdio *io, int64_t now_ns);
