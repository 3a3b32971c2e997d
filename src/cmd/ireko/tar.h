/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small tar writer (ustar, with PAX records for what does not fit) and a small reader of what engines send.
 *
 * The writer collects 64 KiB before it calls the sink, which becomes one chunk of an upload. A sink that
 * returns 1 (the server wants no more) ends the writing: every function then returns 1 at once.
 */
#pragma once

#include "base/err.h"

#include <sys/stat.h>
#include <time.h>

typedef struct TarEntry {
	const char *name; /* relative, '/' behind a directory is added */
	const char *link; /* of a symbolic or hard link */
	bool hard;        /* a hard link: link is another entry's name */
	mode_t mode;      /* with the type */
	uint32_t uid, gid;
	int64_t size; /* of a regular file */
	int64_t mtime;
	dev_t device;
} TarEntry;

typedef struct TarWriter {
	int (*sink)(void *user, const void *data, size_t n, Err *e);
	void *user;
	int64_t total;  /* bytes given to the sink so far */
	int64_t left;   /* of the present file */
	size_t padding; /* behind it */
	bool stopped;
	size_t used;
	char buf[65536];
} TarWriter;

int tar_write_entry(TarWriter *w, const TarEntry *entry, Err *e);
/* Contents of the regular file that was begun last; more than its size is an error. */
int tar_write_data(TarWriter *w, const void *data, size_t n, Err *e);
/* Exactly the size of the file begun last; a file that became shorter is an error. `name` is for messages. */
int tar_write_fd(TarWriter *w, int fd, const char *name, Err *e);
/* The end mark, and what is still buffered. */
int tar_write_end(TarWriter *w, Err *e);

typedef struct TarReader TarReader;
/* source: bytes read, 0 at the end, or -errno. */
TarReader *tar_reader_new(ssize_t (*source)(void *user, void *buf, size_t cap, Err *e), void *user);
void tar_reader_free(TarReader *r);
DEFINE_CLEANUP(TarReader *, tar_reader_free)
/* 1 with the next entry (its strings live until the next call), 0 at the end, or -errno. Understands
 * ustar, PAX (path, linkpath, size, mtime, uid, gid) and GNU long names; other types of entry are passed
 * over. */
int tar_reader_next(TarReader *r, TarEntry *ret, Err *e);
/* Contents of the entry; 0 at its end. */
ssize_t tar_reader_data(TarReader *r, void *buf, size_t cap, Err *e);
