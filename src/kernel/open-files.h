/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many files processes have open, and how many of these are sockets.
 *
 * Linux tells the number as the size of /proc/PID/fd, from 6.2 on. Before it, and to see what they are, each is looked at, which takes about a microsecond: thus no more than
 * OPEN_FILES_MAX of a group of processes are. What is not known then is OPEN_FILES_UNKNOWN, and stays it.
 */
#pragma once

#include "base/macro.h"

#include <stdint.h>
#include <sys/types.h>

#define OPEN_FILES_MAX     4096
#define OPEN_FILES_UNKNOWN UINT64_MAX

typedef struct OpenFiles {
	uint64_t descriptors, sockets;
	size_t looked_at;
} OpenFiles;
#define OPEN_FILES_NONE                                                                                      \
	(OpenFiles)                                                                                          \
	{                                                                                                    \
		0                                                                                            \
	}

/* Those of a process; one that is gone has none. */
void open_files_add(OpenFiles *sum, pid_t pid);
