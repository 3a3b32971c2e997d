/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cage of ireko-unpack, closed before the first byte of the archive is read.
 *
 *   sandbox_enter   root is the target directory, an empty network namespace, resource limits, no capability but
 *                   those that files of any owner and kind need (no CAP_SYS_ADMIN: the one thing that needs it, the opaque
 *                   mark, is reported to the store), no new privileges
 *   sandbox_seal    only the system calls of the writing loop remain, for all threads; any other kills the process
 *
 * Threads are started between the two, because clone(2) is not among the calls that remain.
 */
#pragma once

#include "base/err.h"

typedef struct SandboxLimits {
	int64_t max_bytes; /* of one file */
	bool devices;      /* keep CAP_MKNOD */
	bool no_files;     /* only streams: no capability, no call that names a file */
	uint32_t uid,
	    gid;    /* whose files are made, before they get their owner: root, or that of a user namespace */
	bool image; /* with no_files: but reading and writing at a place of descriptor 1 */
} SandboxLimits;

int sandbox_enter(int dir_fd, const SandboxLimits *l, Err *e);
int sandbox_seal(const SandboxLimits *l, Err *e);
