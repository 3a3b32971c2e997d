/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the receiver of directories share: filesync.c, the conversation, and sync-entry.c, the files. */
#pragma once

#include "api/buildkit/door-internal.h"

#include <time.h>

#define ACTIVE_MAX 64 /* a client's queue takes twice as many before it waits */

typedef struct Wanted {
	uint32_t id;
	char *path; /* NULL once it is open */
	int64_t size, mtime_ns;
	mode_t mode;
} Wanted;

typedef struct Active {
	uint32_t id;
	int fd;
	int64_t got;
	Wanted want;
} Active;

/* A directory that the list is in. */
typedef struct Dir {
	int fd;
	char *path; /* "" for the root */
	char *last; /* the name that came last */
	char **old; /* what was there, sorted; of these, `at` is the next */
	size_t at, n_old;
	int64_t mtime_ns;
} Dir;

typedef struct Receiver {
	const SyncWire *wire;
	const SyncRequest *rq;
	Dir *dirs;
	size_t n_dirs;
	Active active[ACTIVE_MAX];
	size_t n_active;
	Wanted *queue;
	size_t n_queue, cap_queue, at_queue;
	uint32_t next_id;
	bool listed;
	int64_t bytes, surplus, told_ns;
} Receiver;

struct timespec sync_time(int64_t ns);
int sync_fail(Receiver *x, const char *path, const char *what, Err *e);
int sync_want(Receiver *x, Wanted w, const char *path, int fd, Err *e);
/* sync-entry.c */
int sync_begin(Receiver *x, Err *e);
int sync_entry(Receiver *x, const Llb__Stat *st, Err *e);
/* All entries have come: the rest of what was there goes. */
int sync_listed(Receiver *x, Err *e);
void sync_dirs_done(Receiver *x);
/* Go's FileMode to st_mode; 0 for a kind that is none of ours. */
mode_t sync_mode(uint32_t go);
uint32_t sync_go_mode(mode_t mode);
