/* SPDX-License-Identifier: Apache-2.0 */
/* The unified tree (Documentation/admin-guide/cgroup-v2.rst). */
#include "kernel/cgroup-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/device.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

/* A cgroup below one that has threads in it, or processes of its own, takes only threads of those. */
static int check_type(const char *dir, Err *e)
{
	_cleanup_free_ char *file = strf("%s/cgroup.type", dir), *type = NULL;

	if (!file)
		return err_oom(e);
	if (file_read_at(AT_FDCWD, file, 64, &type, NULL) < 0)
		return 0; /* the root has none */
	type[strcspn(type, "\n")] = '\0';
	if (streq(type, "domain") || streq(type, "domain threaded"))
		return 0;
	return err_new(e, ERR_CONFLICT,
		       "cgroup %s is in \"%s\" mode: no process can enter it, because a cgroup above it is "
		       "threaded or has processes of its own; choose another linux.cgroupsPath",
		       dir, type);
}

/* One by one: an unwilling controller must not keep back the others. A limit that needs a controller which stayed off
 * fails later, with its own message. */
static int enable_each(const char *parent, const char *all, Err *e)
{
	_cleanup_strv_ char **names = strv_split(all, ' ');

	for (size_t i = 0; names && names[i]; i++) {
		_cleanup_free_ char *enable = strf("+%s", names[i]);

		if (enable && *names[i])
			(void)cgroup_write(parent, "cgroup.subtree_control", enable, NULL);
	}
	return names ? 0 : err_oom(e);
}

/* The leaf holds processes, so nothing is enabled in it; every directory above it gives all controllers on. */
static int v2_make(const CgroupDir *d _unused_, const char *dir)
{
	return mkdir(dir, 0755) < 0 ? -errno : 0;
}

static int v2_prepare(const CgroupDir *d _unused_, const char *dir, Err *e)
{
	_cleanup_free_ char *parent = strf("%s/..", dir), *all = NULL, *on = NULL;
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
	r = streq(all, on) ? 0 : enable_each(parent, all, e);
	return r < 0 ? r : check_type(dir, e);
}

static int write_max(const char *dir, const char *file, int64_t value, Err *e)
{
	return value < 0 ? cgroup_write(dir, file, "max", e) : cgroup_write_int(dir, file, value, e);
}

static bool given(int64_t value)
{
	return value != CGROUP_UNSET && value != 0;
}

/* runtime-spec's swap is memory plus swap; the file wants swap alone. */
int cgroup_swap_of(const CgroupLimits *l, int64_t *ret, Err *e)
{
	int64_t swap = l->memory_swap;

	*ret = CGROUP_UNSET;
	if (!given(swap)) {
		/* All limits of memory were taken away: on v1 that includes swap. */
		if (l->memory_limit == -1)
			*ret = -1;
		return 0;
	}
	if (swap > 0 && l->memory_limit == -1)
		return err_new(e, ERR_INVALID,
			       "memory.swap: %lld is memory plus swap, and memory.limit is unlimited",
			       (long long)swap);
	if (swap > 0 && (!given(l->memory_limit) || swap < l->memory_limit))
		return err_new(e, ERR_INVALID,
			       "memory.swap: %lld is memory plus swap: it must be at least memory.limit, and "
			       "needs one",
			       (long long)swap);
	*ret = swap > 0 ? swap - l->memory_limit : -1;
	return 0;
}

static int apply_swap(const char *dir, const CgroupLimits *l, Err *e)
{
	int64_t swap;
	int r = cgroup_swap_of(l, &swap, e);

	if (r < 0 || swap == CGROUP_UNSET)
		return r;
	r = write_max(dir, "memory.swap.max", swap, e);
	/* Without swap accounting nothing is swapped on behalf of anybody, which "none" and "unlimited" both allow. */
	return r == -ENOENT && swap <= 0 ? 0 : r;
}

/* The kernel would reclaim, and then kill, until a limit holds. */
static int check_usage(const char *dir, const CgroupLimits *l, Err *e)
{
	int64_t usage = l->memory_check ? cgroup_read_int(dir, "memory.current") : -1;

	if (usage < 0)
		return 0;
	if (l->memory_swap > 0 && l->memory_swap <= usage)
		return err_new(e, ERR_CONFLICT, "rejecting memory+swap limit %lld <= usage %lld",
			       (long long)l->memory_swap, (long long)usage);
	if (l->memory_limit > 0 && l->memory_limit <= usage)
		return err_new(e, ERR_CONFLICT, "rejecting memory limit %lld <= usage %lld",
			       (long long)l->memory_limit, (long long)usage);
	return 0;
}

/* swappiness and disableOOMKiller have no file in the unified tree; all runtimes pass over them there. */
static int apply_memory(const char *dir, const CgroupLimits *l, Err *e)
{
	int r = check_usage(dir, l, e);

	if (r == 0)
		r = apply_swap(dir, l, e);
	if (r == 0 && given(l->memory_limit))
		r = write_max(dir, "memory.max", l->memory_limit, e);
	if (r == 0 && given(l->memory_reservation))
		r = write_max(dir, "memory.low", l->memory_reservation, e);
	return r;
}

/* The curve through both ends and through the defaults (1024 is 100) that runtimes have agreed on. */
int64_t cgroup_weight_of_shares(int64_t shares)
{
	double l;

	if (shares <= 2)
		return 1;
	if (shares >= 262144)
		return 10000;
	l = log2((double)shares);
	return (int64_t)ceil(pow(10, (l * l + 125 * l) / 612.0 - 7.0 / 34.0));
}

/* Reads "max 100000" or "50000 100000"; what is not there stays unset. */
static void read_quota(const char *dir, int64_t *quota, int64_t *period)
{
	_cleanup_free_ char *path = strf("%s/cpu.max", dir), *text = NULL;
	long long q, p;

	*quota = *period = CGROUP_UNSET;
	if (!path || file_read_at(AT_FDCWD, path, 256, &text, NULL) < 0)
		return;
	if (sscanf(text, "max %lld", &p) == 1)
		*quota = -1;
	else if (sscanf(text, "%lld %lld", &q, &p) == 2)
		*quota = q;
	else
		return;
	*period = p;
}

static int v2_complete(const Cgroup *c, CgroupLimits *l, Err *e _unused_)
{
	const char *dir = c->dirs[0].path;
	int64_t quota, period;

	if (given(l->cpu_quota) != given(l->cpu_period)) {
		read_quota(dir, &quota, &period);
		if (given(l->cpu_quota))
			l->cpu_period = period;
		else
			l->cpu_quota = quota;
	}
	if (given(l->memory_swap) && l->memory_swap > 0 && !given(l->memory_limit)) {
		int64_t limit = cgroup_read_int(dir, "memory.max");

		if (limit > 0)
			l->memory_limit = limit;
	}
	return 0;
}

static int apply_quota(const char *dir, const CgroupLimits *l, Err *e)
{
	char text[64];
	long long period = given(l->cpu_period) ? (long long)l->cpu_period : 100000;

	if (!given(l->cpu_quota) && !given(l->cpu_period))
		return 0;
	if (l->cpu_quota > 0)
		snprintf(text, sizeof(text), "%lld %lld", (long long)l->cpu_quota, period);
	else
		snprintf(text, sizeof(text), "max %lld", period);
	return cgroup_write(dir, "cpu.max", text, e);
}

static int apply_cpu(const char *dir, const CgroupLimits *l, Err *e)
{
	int r = 0, burst = 0;
	Err ignored;

	if (l->cpu_idle != CGROUP_UNSET)
		r = cgroup_write_int(dir, "cpu.idle", l->cpu_idle, e);
	/* What is idle has no weight: the kernel takes none. */
	if (r == 0 && given(l->cpu_shares) && l->cpu_idle != 1)
		r = cgroup_write_int(dir, "cpu.weight", cgroup_weight_of_shares(l->cpu_shares), e);
	/* A burst may be allowed only by the new quota, or only by the old one. */
	if (r == 0)
		burst = cgroup_write_given(dir, "cpu.max.burst", l->cpu_burst,
					   given(l->cpu_quota) ? &ignored : e);
	if (burst < 0 && (burst != -EINVAL || !given(l->cpu_quota)))
		return cgroup_write_given(dir, "cpu.max.burst", l->cpu_burst, e);
	if (r == 0)
		r = apply_quota(dir, l, e);
	if (r == 0 && burst < 0)
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

int64_t cgroup_io_weight_of(int64_t weight)
{
	return 1 + (weight - 10) * 9999 / 990;
}

static bool has_file(const char *dir, const char *file)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, file);

	return path && access(path, F_OK) == 0;
}

/* io.bfq.weight has blkio's range, io.weight one of its own. */
static int apply_weights(const char *dir, const CgroupLimits *l, Err *e)
{
	bool bfq = (given(l->blkio_weight) || l->n_weight_devices) && has_file(dir, "io.bfq.weight");
	const char *file = bfq ? "io.bfq.weight" : "io.weight";
	int r = 0;

	if (given(l->blkio_weight))
		r = cgroup_write_int(dir, file, bfq ? l->blkio_weight : cgroup_io_weight_of(l->blkio_weight),
				     e);
	for (size_t i = 0; i < l->n_weight_devices && r == 0; i++) {
		const CgroupWeightDevice *d = &l->weight_devices[i];
		char line[80];

		if (d->weight == 0)
			continue;
		snprintf(line, sizeof(line), "%lld:%lld %lld", (long long)d->major, (long long)d->minor,
			 (long long)(bfq ? d->weight : cgroup_io_weight_of(d->weight)));
		r = cgroup_write(dir, file, line, e);
		if (r == -EOPNOTSUPP)
			return err_new_no(
			    e, ERR_UNSUPPORTED, EOPNOTSUPP,
			    "blockIO.weightDevice: the weights of %lld:%lld need the I/O scheduler "
			    "bfq or io.cost.qos on that device",
			    (long long)d->major, (long long)d->minor);
	}
	return r;
}

static int apply_io(const char *dir, const CgroupLimits *l, Err *e)
{
	int r = apply_weights(dir, l, e);

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

/* Pages that are used, and (5.7) those that are only reserved. */
static int apply_hugepages(const char *dir, const CgroupLimits *l, Err *e)
{
	for (size_t i = 0; i < l->n_hugepages; i++) {
		char file[80], value[24];
		int r = cgroup_hugetlb_file(l->hugepages[i].page_size, "max", file, sizeof(file), e);

		if (r < 0)
			return r;
		snprintf(value, sizeof(value), "%llu", (unsigned long long)l->hugepages[i].limit);
		r = cgroup_write(dir, file, value, e);
		if (r < 0)
			return r;
		r = cgroup_hugetlb_file(l->hugepages[i].page_size, "rsvd.max", file, sizeof(file), e);
		if (r == 0 && has_file(dir, file))
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
			     Err *) = {apply_memory, apply_cpu,       apply_cpuset,
				       apply_io,     apply_hugepages, cgroup_apply_rdma};
	const char *dir = c->dirs[0].path;
	int r = 0;

	if (given(l->network_class) || l->n_network_priorities)
		return err_new(e, ERR_UNSUPPORTED,
			       "linux.resources.network: net_cls and net_prio exist in cgroup v1 only");
	for (size_t i = 0; i < ELEMENTSOF(steps) && r == 0; i++)
		r = steps[i](dir, l, e);
	if (r == 0 && given(l->pids_limit))
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
    .make = v2_make,
    .prepare = v2_prepare,
    .complete = v2_complete,
    .apply = v2_apply,
    .freeze = v2_freeze,
    .is_frozen = v2_is_frozen,
    .oom_kills = v2_oom_kills,
};
