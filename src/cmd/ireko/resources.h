/* SPDX-License-Identifier: Apache-2.0 */
/* The flags of limits, shared by run, create and update. */
#pragma once

#include "base/json.h"
#include "options.h"

typedef struct ResourceOptions {
	Num memory, memory_swap, memory_reservation, memory_swappiness, kernel_memory;
	Num cpus, cpu_shares, cpu_period, cpu_quota, cpu_rt_period, cpu_rt_runtime, pids_limit, blkio_weight;
	const char *cpuset_cpus, *cpuset_mems;
} ResourceOptions;

#define RESOURCE_FLAGS(T, m)                                                                                  \
	{"blkio-weight", 0, FLAG_INT, offsetof(T, m.blkio_weight), "Weight of block I/O, 10 to 1000, or 0",   \
	 "uint16"},                                                                                           \
	    {"cpu-period", 0, FLAG_INT, offsetof(T, m.cpu_period), "Period of the CPU quota in microseconds", \
	     NULL},                                                                                           \
	    {"cpu-quota", 0, FLAG_INT, offsetof(T, m.cpu_quota), "CPU time in each period in microseconds",   \
	     NULL},                                                                                           \
	    {"cpu-rt-period",                                                                                 \
	     0,                                                                                               \
	     FLAG_INT,                                                                                        \
	     offsetof(T, m.cpu_rt_period),                                                                    \
	     "Period of real-time CPU in microseconds",                                                       \
	     NULL},                                                                                           \
	    {"cpu-rt-runtime",                                                                                \
	     0,                                                                                               \
	     FLAG_INT,                                                                                        \
	     offsetof(T, m.cpu_rt_runtime),                                                                   \
	     "Real-time CPU in each period in microseconds",                                                  \
	     NULL},                                                                                           \
	    {"cpu-shares", 'c', FLAG_INT, offsetof(T, m.cpu_shares), "Relative weight of CPU time", NULL},    \
	    {"cpus", 0, FLAG_CPUS, offsetof(T, m.cpus), "Number of CPUs", NULL},                              \
	    {"cpuset-cpus", 0, FLAG_STRING, offsetof(T, m.cpuset_cpus), "CPUs to run on (0-3, 0,1)", NULL},   \
	    {"cpuset-mems", 0, FLAG_STRING, offsetof(T, m.cpuset_mems), "Memory nodes to use (0-3, 0,1)",     \
	     NULL},                                                                                           \
	    {"kernel-memory", 0, FLAG_BYTES, offsetof(T, m.kernel_memory), NULL, NULL},                       \
	    {"memory", 'm', FLAG_BYTES, offsetof(T, m.memory), "Limit of memory", NULL},                      \
	    {"memory-reservation",   0,   FLAG_BYTES, offsetof(T, m.memory_reservation),                      \
	     "Soft limit of memory", NULL},                                                                   \
	    {"memory-swap",                                                                                   \
	     0,                                                                                               \
	     FLAG_BYTES,                                                                                      \
	     offsetof(T, m.memory_swap),                                                                      \
	     "Limit of memory and swap together; -1: no limit",                                               \
	     NULL},                                                                                           \
	    {"memory-swappiness",    0,   FLAG_INT, offsetof(T, m.memory_swappiness),                         \
	     "Swappiness, 0 to 100", NULL},                                                                   \
	{                                                                                                     \
		"pids-limit", 0, FLAG_INT, offsetof(T, m.pids_limit), "Limit of processes; -1: no limit",     \
		    NULL                                                                                      \
	}

/* Adds the members of HostConfig that were given. */
int resources_add(json_t *host_config, const ResourceOptions *o, Err *e);
/* RestartPolicy from "on-failure:3". */
int resources_add_restart(json_t *host_config, const char *policy, Err *e);
