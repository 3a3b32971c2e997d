/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a cgroup and those below it use, as numbers: for those who ask about hundreds of cgroups every few seconds. Each file is read once; nothing is allocated.
 */
#pragma once

#include "kernel/cgroup.h"

/* Of a count: this machine does not keep it. Of a limit: there is none. */
#define CGROUP_UNKNOWN    UINT64_MAX
#define CGROUP_IO_DEVICES 16

typedef struct CgroupStall {
	double avg10, avg60, avg300; /* percent of the time */
	uint64_t total_us;
} CgroupStall;

typedef struct CgroupPressure {
	bool known;
	CgroupStall some, full;
} CgroupPressure;

typedef struct CgroupDeviceIo {
	unsigned major, minor;
	uint64_t read_bytes, write_bytes, reads, writes;
} CgroupDeviceIo;

typedef struct CgroupUsage {
	uint64_t cpu_ns;
	uint64_t memory, memory_limit;
	uint64_t anon, inactive_file;
	uint64_t page_faults, major_page_faults;
	uint64_t swap, swap_limit; /* without what is in memory */
	uint64_t tasks;            /* threads too */
	CgroupPressure cpu_pressure, memory_pressure, io_pressure;
	/* From CGROUP_MORE on. */
	uint64_t cpu_user_ns, cpu_system_ns;
	uint64_t cpu_periods, cpu_throttled_periods, cpu_throttled_ns;
	uint64_t memory_most, memory_failures; /* how often the limit was hit */
	uint64_t file, mapped_file, active_file, kernel;
	uint64_t oom_kills, tasks_limit, processes;
	uint64_t descriptors, sockets; /* CGROUP_WITH_FILES: open files of the processes (open-files.h) */
	CgroupDeviceIo io[CGROUP_IO_DEVICES];
	size_t n_io;
} CgroupUsage;

typedef enum CgroupDetail {
	CGROUP_USUAL,
	CGROUP_MORE,
	CGROUP_WITH_FILES,
} CgroupDetail;

/* -ENOENT if there is no such cgroup (any more). */
int cgroup_usage(const Cgroup *c, CgroupDetail detail, CgroupUsage *ret);
/* Bytes in huge pages of a size ("2MB"), and the most there were, which v2 does not keep. */
void cgroup_huge_usage(const Cgroup *c, const char *page_size, uint64_t *ret_bytes, uint64_t *ret_most);
/* usage without what can be given up at once: what a kubelet compares with limits. */
uint64_t cgroup_working_set(const CgroupUsage *u);

/* The parts, for tests: the text is that of a file. */
void cgroup_usage_parse(const char *file, char *text, bool unified, CgroupUsage *u);
