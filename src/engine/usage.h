/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What containers and pods use, as numbers: for those who ask about all of them every few seconds (engine_container_stats() in engine.h is Docker's document of one).
 *
 * Nothing waits here but for reads of the kernel's files: no process is made, no namespace is entered, no directory is walked, no shim is asked.
 */
#pragma once

#include "engine/engine.h"
#include "kernel/cgroup-usage.h"

typedef struct EngineUsage {
	int64_t at_ns; /* CLOCK_REALTIME */
	CgroupUsage cgroup;
	uint64_t nano_cores; /* CPU time in nanoseconds a second, lately; CGROUP_UNKNOWN the first time */
	/* Of a container, only if all is asked for. */
	uint64_t open_files_limit; /* the soft one of its first process; CGROUP_UNKNOWN: none */
} EngineUsage;

/* Of a container: 1; 0: it does not run. all: with CGROUP_WITH_FILES. */
int engine_container_usage(Engine *en, const char *id, bool all, EngineUsage *ret, Err *e);
/* Of all that is in the cgroup of the pod that the sandbox `id` keeps: 1; 0: it does not run, or shares its parent cgroup with others. all: with CGROUP_MORE. */
int engine_pod_usage(Engine *en, const char *id, bool all, EngineUsage *ret, Err *e);

/* Where its cgroup is, as the kernel names it from its root on: malloc'ed. */
int engine_container_cgroup(Engine *en, const char *id, char **ret, Err *e);

typedef struct EngineHugepages {
	uint64_t bytes, most; /* CGROUP_UNKNOWN: the machine does not count it */
} EngineHugepages;
/* Of a container in huge pages of a size ("2MB"): 1; 0: it does not run. */
int engine_container_hugepages(Engine *en, const char *id, const char *page_size, EngineHugepages *ret);

typedef struct EngineInterface {
	char name[16];
	uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
	uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
} EngineInterface;
/* Those in a running container's network namespace but "lo", malloc'ed; none if it is the host's. */
int engine_container_interfaces(Engine *en, const char *id, EngineInterface **ret, size_t *ret_n, Err *e);
/* From the text of /proc/PID/net/dev, which is changed. */
int engine_interfaces_parse(char *text, EngineInterface **ret, size_t *ret_n);

/* What a container has written. */
typedef struct EngineLayerUsage {
	int64_t at_ns; /* CLOCK_REALTIME: when it was measured */
	uint64_t bytes, inodes;
} EngineLayerUsage;
/* As it was found last: 1; 0: not yet. If that was long ago it is measured anew, by a thread beside. Or -ENOMEM. (sizes.c) */
int engine_container_layer_usage(Engine *en, const char *id, EngineLayerUsage *ret);
/* As it is now, or was a moment ago. */
int engine_container_layer_measure(Engine *en, const char *id, EngineLayerUsage *ret, Err *e);
