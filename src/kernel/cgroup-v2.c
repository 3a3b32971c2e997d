/* SPDX-License-Identifier: Apache-2.0 */
/* The unified tree (Documentation/admin-guide/cgroup-v2.rst). */
#include "kernel/cgroup-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/device.h"

#include <fcntl.h>

/* The leaf holds processes, so nothing is enabled in it; every directory above it gives all controllers on.
 * One by one: an unwilling controller must not keep back the others. */
static int v2_prepare(const CgroupDir *d, const char *dir, Err *e)
{
	_cleanup_free_ char *parent = strf("%s/..", dir), *all = NULL, *on = NULL;
	_cleanup_strv_ char **names = NULL;
	_cleanup_free_ char *all_file = strf("%s/../cgroup.controllers", dir),
			    *on_file = strf("%s/../cgroup.subtree_control", dir);
	int r;

	if (!parent || !all_file || !on_file)
		return err_oom(e);
	r = file_read_at(AT_FDCWD, all_file, 4096, &all, NULL);
	if (r == 0)
		r = file_read_at(AT_FDCWD, on_file, 4096, &on, NULL);
	if (r < 0)
		return err_sys(e, r, "read the controllers of cgroup %s", dir);
	all[strcspn(all, "\n")] = '\0';
	on[strcspn(on, "\n")] = '\0';
	if (streq(all, on))
		return 0;
	names = strv_split(all, ' ');
	for (size_t i = 0; names && names[i]; i++) {
		_cleanup_free_ char *enable = strf("+%s", names[i]);

		/* A limit that needs a controller which stayed off fails later, with its own message. */
		if (enable && *names[i])
			(void)cgroup_write(parent, "cgroup.subtree_control", enable, NULL);
	}
	return names ? 0 : err_oom(e);
}

static int write_max(const char *dir, const char *file, int64_t value, Err *e)
{
	return value < 0 ? cgroup_write(dir, file, "max", e) : cgroup_write_int(dir, file, value, e);
}

/* runtime-spec's swap is memory plus swap; the file wants swap alone. */
static int apply_swap(const char *dir, const CgroupLimits *l, Err *e)
{
	int64_t swap = l->memory_swap;
	int r;

	if (swap == CGROUP_UNSET || swap == 0)
		return 0;
	if (swap > 0) {
		if (l->memory_limit == CGROUP_UNSET || l->memory_limit <= 0 || swap < l->memory_limit)
			return err_new(
			    e, ERR_INVALID,
			    "memory.swap (memory plus swap) must be at least memory.limit, and needs one");
		swap -= l->memory_limit;
	}
	r = write_max(dir, "memory.swap.max", swap, e);
	/* Without swap accounting nothing is swapped on behalf of anybody, which "none" and "unlimited" both allow. */
	return r == -ENOENT && (swap < 0 || swap == 0) ? 0 : r;
}

static int apply_memory(const char *dir, const CgroupLimits *l, Err *e)
{
	int r = 0;

	if (l->memory_limit != CGROUP_UNSET && l->memory_limit != 0)
		r = write_max(dir, "memory.max", l->memory_limit, e);
	if (r == 0)
		r = apply_swap(dir, l, e);
	if (r == 0 && l->memory_reservation != CGROUP_UNSET && l->memory_reservation != 0)
		r = write_max(dir, "memory.low", l->memory_reservation, e);
	return r;
}

/* v1's shares 2..262144 to v2's weight 1..10000, by the line that runtimes agree on. */
static int64_t weight_of_shares(int64_t shares)
{
	if (shares <= 2)
		return 1;
	if (shares >= 262144)
		return 10000;
	return 1 + (shares - 2) * 9999 / 262142;
}

static int apply_cpu(const char *dir, const CgroupLimits *l, Err *e)
{
	int r = 0;

	if (l->cpu_idle != CGROUP_UNSET)
		r = cgroup_write_int(dir, "cpu.idle", l->cpu_idle, e);
	if (r == 0 && l->cpu_shares != CGROUP_UNSET && l->cpu_shares != 0)
		r = cgroup_write_int(dir, "cpu.weight", weight_of_shares(l->cpu_shares), e);
	if (r == 0 && (l->cpu_quota != CGROUP_UNSET || l->cpu_period != CGROUP_UNSET)) {
		bool limited = l->cpu_quota != CGROUP_UNSET && l->cpu_quota > 0;
		long long period = l->cpu_period > 0 ? (long long)l->cpu_period : 100000;
		char text[64];

		if (limited)
			snprintf(text, sizeof(text), "%lld %lld", (long long)l->cpu_quota, period);
		else
			snprintf(text, sizeof(text), "max %lld", period);
		r = cgroup_write(dir, "cpu.max", text, e);
	}
	if (r == 0)
		r = cgroup_write_given(dir, "cpu.max.burst", l->cpu_burst, e);
	return r;
}

static int apply_cpuset(const char *dir, const CgroupLimits *l, Err *e)
{
	int r = 0;

	if (!str_empty(l->cpus))
		r = cgroup_write(dir, "cpuset.cpus", l->cpus, e);
	if (r == 0 && !str_empty(l->mems))
		r = cgroup_write(dir, "cpuset.mems", l->mems, e);
	return r;
}

static int apply_throttles(const char *dir, const char *key, const CgroupThrottle *t, size_t n, Err *e)
{
	for (size_t i = 0; i < n; i++) {
		char line[96];

		snprintf(line, sizeof(line), "%lld:%lld %s=%llu", (long long)t[i].major,
			 (long long)t[i].minor, key, (unsigned long long)t[i].rate);
		int r = cgroup_write(dir, "io.max", line, e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int apply_io(const char *dir, const CgroupLimits *l, Err *e)
{
	int r = 0;

	if (l->blkio_weight != CGROUP_UNSET && l->blkio_weight != 0) {
		/* io.bfq.weight has blkio's range 10..1000, io.weight 1..10000. */
		r = cgroup_write_int(dir, "io.bfq.weight", l->blkio_weight, e);
		if (r == -ENOENT)
			r = cgroup_write_int(dir, "io.weight", 1 + (l->blkio_weight - 10) * 9999 / 990, e);
	}
	if (r == 0)
		r = apply_throttles(dir, "rbps", l->read_bps, l->n_read_bps, e);
	if (r == 0)
		r = apply_throttles(dir, "wbps", l->write_bps, l->n_write_bps, e);
	if (r == 0)
		r = apply_throttles(dir, "riops", l->read_iops, l->n_read_iops, e);
	if (r == 0)
		r = apply_throttles(dir, "wiops", l->write_iops, l->n_write_iops, e);
	return r;
}

static int apply_hugepages(const char *dir, const CgroupLimits *l, Err *e)
{
	for (size_t i = 0; i < l->n_hugepages; i++) {
		char file[80], value[24];
		int r;

		if (strchr(l->hugepages[i].page_size, '/'))
			return err_new(e, ERR_INVALID, "\"%s\" is no page size", l->hugepages[i].page_size);
		snprintf(file, sizeof(file), "hugetlb.%.40s.max", l->hugepages[i].page_size);
		snprintf(value, sizeof(value), "%llu", (unsigned long long)l->hugepages[i].limit);
		r = cgroup_write(dir, file, value, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Files named by the caller: only plain names, so that no other cgroup can be meant. */
static int apply_raw(const char *dir, char *const *unified, Err *e)
{
	for (size_t i = 0; unified && unified[i]; i++) {
		size_t n = strcspn(unified[i], "=");
		_cleanup_free_ char *file = strndup(unified[i], n);
		int r;

		if (!file)
			return err_oom(e);
		if (!*file || strchr(file, '/') || !strchr(file, '.'))
			return err_new(e, ERR_INVALID, "unified: \"%s\" is no cgroup file", file);
		r = cgroup_write(dir, file, unified[i][n] ? unified[i] + n + 1 : "", e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int v2_apply(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	int (*const steps[])(const char *, const CgroupLimits *,
			     Err *) = {apply_memory, apply_cpu, apply_cpuset, apply_io, apply_hugepages};
	const char *dir = c->dirs[0].path;
	int r = 0;

	for (size_t i = 0; i < ELEMENTSOF(steps) && r == 0; i++)
		r = steps[i](dir, l, e);
	if (r == 0 && l->pids_limit != CGROUP_UNSET && l->pids_limit != 0)
		r = write_max(dir, "pids.max", l->pids_limit, e);
	if (r == 0)
		r = apply_raw(dir, l->unified, e);
	if (r == 0 && l->devices)
		r = device_apply_v2(dir, l->devices, l->n_devices, e);
	return r;
}

bool cgroup_unified_is_frozen(const char *dir)
{
	return cgroup_read_key(dir, "cgroup.events", "frozen") == 1;
}

static bool is_thawed(const char *dir)
{
	return !cgroup_unified_is_frozen(dir);
}

int cgroup_unified_freeze(const char *dir, bool freeze, Err *e)
{
	int r = cgroup_write(dir, "cgroup.freeze", freeze ? "1" : "0", e);

	if (r == 0 && !cgroup_wait(freeze ? cgroup_unified_is_frozen : is_thawed, dir)) {
		if (freeze)
			(void)cgroup_write(dir, "cgroup.freeze", "0", NULL);
		r = err_new(e, ERR_UNAVAILABLE, "cgroup %s does not %s", dir, freeze ? "freeze" : "thaw");
	}
	return r;
}

static int v2_freeze(const Cgroup *c, bool freeze, Err *e)
{
	return cgroup_unified_freeze(c->dirs[0].path, freeze, e);
}

static bool v2_is_frozen(const Cgroup *c)
{
	return cgroup_unified_is_frozen(c->dirs[0].path);
}

static uint64_t v2_oom_kills(const Cgroup *c)
{
	int64_t n = cgroup_read_key(c->dirs[0].path, "memory.events", "oom_kill");

	return n > 0 ? (uint64_t)n : 0;
}

const CgroupOps cgroup_ops_v2 = {
    .unified = true,
    .prepare = v2_prepare,
    .apply = v2_apply,
    .freeze = v2_freeze,
    .is_frozen = v2_is_frozen,
    .oom_kills = v2_oom_kills,
};
