/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading json-file logs, apart from containers so that it can be tested and fuzzed.
 *
 * A log is the file `path` and, older, path.1, path.2 ...; one record a line: {"log","stream","time"}.
 */
#pragma once

#include "base/str.h"
#include "engine/engine.h"

#define LOG_LINE_MAX (1u << 20) /* bytes of a line; a longer one is skipped */

typedef struct LogRecord {
	int stream; /* 1 stdout, 2 stderr */
	int64_t time_ns;
	const char *text; /* in `scratch`, not terminated */
	size_t len;
} LogRecord;

/* One line without its newline; the text is unescaped into scratch, whose old content is dropped. -EINVAL, -ENOMEM. */
int log_record_decode(const char *line, size_t n, StrBuf *scratch, LogRecord *ret);

typedef struct LogFollow {
	int wake_fd;  /* eventfd that is written when `ended` may have changed */
	int alive_fd; /* see engine.h */
	bool (*ended)(void *user);
	void *user;
} LogFollow;

/* Delivers what `l` asks for. follow NULL: only what is there. *malformed counts the lines that were skipped. */
int log_files_read(const char *path, const EngineLogs *l, const LogFollow *follow, EngineLogSink sink,
		   void *user, uint64_t *malformed, Err *e);
