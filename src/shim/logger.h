/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a container: cuts the two streams into lines, and gives each to a file (json-file, local, cri), to a server (syslog, journald)
 * with a copy in a file that `logs` reads, or to a file alone.
 *
 * A line is one record; one that is longer than LOG_RECORD_MAX is several, of which all but the last are partial and all have the
 * time of the first. Memory does not grow with the input: the file's stage, at most LOG_RECORD_MAX bytes of an unfinished line for
 * each stream, and what waits for a server (remote.h). The file never holds the container back; a server does while it is slow,
 * unless the mode is non-blocking.
 */
#pragma once

#include "base/json.h"
#include "shim/loop.h"
#include "shim/record-file.h"
#include "shim/remote.h"

#define LOG_RECORD_MAX 16384 /* bytes of text in one record */

/* What is written as one record. */
typedef struct LogPiece {
	int stream; /* 0 stdout, 1 stderr */
	const char *text;
	size_t n;
	bool newline; /* it ends its line */
	int ordinal;  /* of the pieces of a long line; -1: it is no piece */
	int64_t time_ns;
} LogPiece;

/* How a kind of file writes a piece. `attrs` is a JSON object as text, or NULL. */
typedef struct LogFormat {
	const char *driver;
	void (*put)(RecordFile *f, const LogPiece *p, const char *attrs);
	int64_t (*end)(int fd, int64_t size); /* see RecordFileOptions */
} LogFormat;
extern const LogFormat log_format_json, log_format_local, log_format_cri;

typedef struct Logger Logger;

/* doc is the member "log" of a create request (ShimLog); *ret is NULL if nothing is to be kept. */
int logger_open(const json_t *doc, Loop *loop, Logger **ret, Err *e);
/* Ends unfinished lines, and drops what a server has not taken. */
void logger_close(Logger *l);
DEFINE_CLEANUP(Logger *, logger_close)

/* stream: 0 is stdout, 1 is stderr. Everything up to the last newline is in the file when it returns. */
void logger_write(Logger *l, int stream, const char *data, size_t n);
/* The stream has ended: an unfinished last line is written as it is. */
void logger_end(Logger *l, int stream);
/* No more output will come: ends both streams and closes the file. What waits for a server is still to be sent, */
void logger_finish(Logger *l);
/* ... and this says whether it is. */
bool logger_busy(const Logger *l);
/* The server is behind: no output should be read until `room` was called. */
bool logger_is_full(const Logger *l);
/* How much output should be read at once: short lines become many times longer on the way to a server. */
size_t logger_read_most(const Logger *l);
void logger_on_room(Logger *l, void (*room)(void *user), void *user);
/* Writes to the file that has the log's name now, which is made if it is missing. Nothing to do where there is no file, or l is NULL. */
int logger_reopen(Logger *l, Err *e);
/* Gives back memory that is only needed while text flows. */
void logger_idle(Logger *l);
