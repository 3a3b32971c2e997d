/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of records that rotates: what the logs of json-file and local are written to.
 *
 * Invariants: the file always ends at a record's end (what could not be written whole is cut off again); memory is
 * one stage of RECORD_STAGE bytes; a failing disk loses whole records, which are counted, and never stops the container.
 *
 * Rotated files are path.1 (the newest) to path.n, or path.1.gz ... once a process of its own has compressed them. A crash may
 * leave one gap in the numbers, or a file beside its own compressed form; readers cope with both, and the next rotation mends it.
 */
#pragma once

#include "base/err.h"
#include "shim/loop.h"

#define RECORD_STAGE (64 * 1024)

typedef struct RecordFile RecordFile;

typedef struct RecordFileOptions {
	const char *path;
	int64_t max_size; /* 0: never rotate */
	int max_files;    /* rotated files that are kept */
	bool compress;    /* them, with gzip */
	Loop *loop; /* that watches the compressing process; NULL: it is waited for at the next rotation */
	/* Where the last whole record of fd's `size` bytes ends (what follows was torn by a power cut), or -errno. */
	int64_t (*end)(int fd, int64_t size);
} RecordFileOptions;

/* RecordFileOptions.end of a file of lines: behind the last newline. */
int64_t record_lines_end(int fd, int64_t size);

/* Opens or creates (0640); ERR_INVALID if something else than a regular file, or a link, has the name. */
int record_file_open(const RecordFileOptions *o, RecordFile **ret, Err *e);
void record_file_close(RecordFile *f);
DEFINE_CLEANUP(RecordFile *, record_file_close)

/* One record: begin, any number of puts, and its end, of at most 256 bytes. */
void record_begin(RecordFile *f);
void record_put(RecordFile *f, const char *p, size_t n);
void record_end(RecordFile *f, const char *tail, size_t n);
/* Somebody has renamed the file: what comes from now on goes to the one that has the name, which is made. Between two records. After a failure all
 * goes on in the old one. */
int record_file_reopen(RecordFile *f, Err *e);
/* All whole records are in the file when it returns, or are lost. */
void record_file_flush(RecordFile *f);
/* Gives back memory that is only needed while text flows. */
void record_file_idle(RecordFile *f);

/* Records lost since the last note, and why. */
uint64_t record_file_lost(const RecordFile *f, int *ret_errno);
/* Whether what would be written next comes behind records that were lost, of which no note tells yet. */
bool record_file_has_gap(const RecordFile *f);
/* One more was lost, before it got here. */
void record_file_lose(RecordFile *f, int error);
/* The record that has just ended tells of the losses: it is written, or cut off again, together with those behind it, so that a
 * disk with room for little more than the note does not fill up with notes. */
void record_file_noted(RecordFile *f);
