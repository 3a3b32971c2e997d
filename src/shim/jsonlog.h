/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of Docker's json-file log: one JSON object a line, {"log","stream","time"}.
 *
 * Invariants: the file always ends at a record's end (what could not be written whole is cut off again);
 * memory does not grow with the input (one 48 KiB stage, and at most 16 KiB of an unfinished line for each
 * stream); a failing disk loses records, which are counted and noted, but never stops the container.
 */
#pragma once

#include "base/err.h"

#define JSON_LOG_RECORD_MAX 16384 /* bytes of text in one record; longer lines are split */

typedef struct JsonLog JsonLog;

/* Opens or creates (0640) `path`. max_size 0: never rotate; max_files: rotated files kept as path.1 .. path.n. */
int json_log_open(const char *path, int64_t max_size, int max_files, JsonLog **ret, Err *e);
/* Ends unfinished lines and closes. */
void json_log_close(JsonLog *l);
DEFINE_CLEANUP(JsonLog *, json_log_close)

/* stream: 0 is stdout, 1 is stderr. Everything up to the last newline is in the file when it returns. */
void json_log_write(JsonLog *l, int stream, const char *data, size_t n);
/* The stream has ended: an unfinished last line is written as it is. */
void json_log_end(JsonLog *l, int stream);
/* Gives back memory that is only needed while text flows. */
void json_log_idle(JsonLog *l);
