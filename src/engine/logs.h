/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the logs that shims write, apart from containers so that it can be tested and fuzzed.
 *
 * A log is the file `path` and, older, path.1, path.2 ... or path.1.gz ...; either JSON, one record a line
 * {"log","stream","attrs","time"}, or framed as the local driver's (shim/format-local.c). That of a pod's container has a line a record
 * (shim/format-cri.c); the kubelet rotates it to names that are its own, path.YYYYMMDD-hhmmss and the same with .gz.
 */
#pragma once

#include "base/str.h"
#include "engine/engine.h"

#include <sys/stat.h>

#define LOG_LINE_MAX (1u << 20) /* bytes of a record; a longer one is skipped */

typedef EngineLogRecord LogRecord;

/* One line without its newline; the text is unescaped into scratch, whose old content is dropped. attrs points into the
 * line, and is only known to be an object. -EINVAL, -ENOMEM. */
int log_record_decode(const char *line, size_t n, StrBuf *scratch, LogRecord *ret);
/* The message of one frame of the local format. */
int log_message_decode(const char *message, size_t n, StrBuf *scratch, LogRecord *ret);

/* One line of a pod's log, without its newline; the text of a line that ends gets it back. */
int log_cri_decode(const char *line, size_t n, StrBuf *scratch, LogRecord *ret);

/* ---- a kind of file ---- */

typedef struct LogCodec {
	/* The record at the front of buf: its bytes with all framing, and where its body is. 0: it is not whole yet; -EINVAL: what is
	 * there is no record, and where the next one begins cannot be told. */
	ssize_t (*frame)(const char *buf, size_t len, const char **ret_body, size_t *ret_n);
	int (*decode)(const char *body, size_t n, StrBuf *scratch, LogRecord *ret);
	/* Where the last *left records of fd's `size` bytes start, or 0 with *left less those it has; or -errno. block: LOG_BLOCK bytes. */
	int64_t (*tail)(int fd, int64_t size, int64_t *left, char *block);
	bool lines; /* a record that is too long ends at the next newline */
	bool
	    dated; /* its rotated files have the time of their rotation in their names, as a kubelet has it */
} LogCodec;
extern const LogCodec log_codec_json, log_codec_local, log_codec_cri;

#define LOG_BLOCK (64u << 10)

/* Of codecs whose records are lines. */
ssize_t log_lines_frame(const char *buf, size_t len, const char **ret_body, size_t *ret_n);
int64_t log_lines_tail(int fd, int64_t size, int64_t *left, char *block);

/* ---- the set of files ---- */

typedef struct LogFile {
	int fd;
	dev_t dev; /* of the file that was written; a compressed one carries them on */
	ino_t ino;
	int64_t size; /* when opened */
	int64_t mtime_ns;
	bool gz;
} LogFile;

typedef struct LogSet {
	LogFile *v; /* oldest first */
	size_t n;
} LogSet;

void log_set_done(LogSet *s);
/* All that there are now; rotations meanwhile do no harm. dated: as LogCodec has it. */
int log_set_open(const char *path, bool dated, LogSet *ret, Err *e);
/* 1 opened, 0 if there is none, or -errno. */
int log_file_open(const char *path, LogFile *ret);
static inline int64_t log_mtime_ns(const struct stat *st)
{
	return st->st_mtim.tv_sec * INT64_C(1000000000) + st->st_mtim.tv_nsec;
}
static inline bool log_file_same(const LogFile *a, const LogFile *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

/* ---- reading ---- */

typedef struct LogFollow {
	int wake_fd;  /* eventfd that is written when `ended` may have changed */
	int alive_fd; /* see engine.h */
	bool (*ended)(void *user);
	void *user;
} LogFollow;

/* Delivers what `l` asks for. follow NULL: only what is there. *malformed counts the records that were skipped. */
int log_files_read(const char *path, const LogCodec *codec, const EngineLogs *l, const LogFollow *follow,
		   EngineLogSink sink, void *user, uint64_t *malformed, Err *e);
