/* SPDX-License-Identifier: Apache-2.0 */
/* What the two kinds of cgroup share (cgroup.c), and where they differ (cgroup-v1.c, cgroup-v2.c). */
#pragma once

#include "kernel/cgroup.h"

struct CgroupOps {
	bool unified;
	/* Prepares `dir`, one level on the way down, whose parent is ready. */
	int (*make)(const CgroupDir *d, const char *dir); /* mkdir(2): 0 or -errno */
	int (*prepare)(const CgroupDir *d, const char *dir, Err *e);
	int (*complete)(const Cgroup *c, CgroupLimits *l, Err *e);
	int (*apply)(const Cgroup *c, const CgroupLimits *l, Err *e);
	int (*freeze)(const Cgroup *c, bool freeze, Err *e);
	bool (*is_frozen)(const Cgroup *c);
	uint64_t (*oom_kills)(const Cgroup *c);
};

extern const CgroupOps cgroup_ops_v1;
extern const CgroupOps cgroup_ops_v2;

#define CGROUP_ROOT "/sys/fs/cgroup"

/* Writes a file of a cgroup directory; the error names both and the value. */
int cgroup_write(const char *dir, const char *file, const char *value, Err *e);
int cgroup_write_int(const char *dir, const char *file, int64_t value, Err *e);
/* Writes it if the value is given. */
int cgroup_write_given(const char *dir, const char *file, int64_t value, Err *e);
/* The first line's value of "key value" in a flat keyed file, or -errno. */
int64_t cgroup_read_key(const char *dir, const char *file, const char *key);
/* memory.swap.max for the limits' sum of memory and swap: CGROUP_UNSET if nothing is to be written, -1 is "max". */
int cgroup_swap_of(const CgroupLimits *l, int64_t *ret, Err *e);
/* v1's shares 2..262144 as v2's weight 1..10000. */
int64_t cgroup_weight_of_shares(int64_t shares);
/* v1's blkio weight 10..1000 as v2's io.weight 1..10000. */
int64_t cgroup_io_weight_of(int64_t weight);
/* The file that limits a page size; ERR_INVALID for a size that is none. */
int cgroup_hugetlb_file(const char *page_size, const char *suffix, char *buf, size_t cap, Err *e);
int cgroup_apply_rdma(const char *dir, const CgroupLimits *l, Err *e);
/* The number that a file begins with, or -errno (-EINVAL for "max"). */
int64_t cgroup_read_int(const char *dir, const char *file);
/* The freezer of the unified tree, which works beside v1 controllers too. */
int cgroup_unified_freeze(const char *dir, bool freeze, Err *e);
bool cgroup_unified_is_frozen(const char *dir);
/* Waits until is_done() says so; false after about a second. */
bool cgroup_wait(bool (*is_done)(const char *dir), const char *dir);
