/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compresses a rotated log into a gzip file (RFC 1952), in a process of its own: the shim has one thread, whose container waits for it.
 *
 * The compressed file has its name only when it is complete and on disk; the original is removed after that. Its extra field
 * "IK" holds device and inode of the original, 8 little-endian bytes each, by which a reader that was
 * following the original knows it again.
 */
#pragma once

#include "shim/loop.h"

typedef struct Gzip {
	Source pidfd;
	Loop *loop;
	pid_t pid; /* 0: none is running */
} Gzip;

void gzip_init(Gzip *g);
/* From `from` into `to`. loop NULL: the caller will wait. */
int gzip_start(Gzip *g, Loop *loop, const char *from, const char *to);
bool gzip_running(const Gzip *g);
void gzip_wait(Gzip *g);
/* Ends it where it is: the original stays. */
void gzip_stop(Gzip *g);

/* Compresses what the file at `from` holds; 0 or -errno. */
int gzip_file(const char *from, const char *to);
