/* SPDX-License-Identifier: Apache-2.0 */
/* The receiver of directories, on whatever carries its messages: see filesync.c. */
#pragma once

#include "base/err.h"

typedef struct SyncRequest {
	const char *name; /* of the directory, as the client calls it */
	char *const *exclude, *const *follow;
	bool fresh; /* root is empty */
	int root;
	void (*progress)(void *user, int64_t bytes, bool end);
	void *user;
} SyncRequest;

typedef struct SyncWire {
	void *user;
	int (*send)(void *user, const void *message, size_t len, Err *e);
	/* 1 and a malloc'ed message, 0 at the end */
	int (*receive)(void *user, uint8_t **ret, size_t *ret_len, Err *e);
} SyncWire;

int filesync_run(const SyncWire *w, const SyncRequest *rq, Err *e);
