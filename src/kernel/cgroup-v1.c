/* SPDX-License-Identifier: Apache-2.0 */
/* The v1 controllers (Documentation/admin-guide/cgroup-v1), alone or beside a unified tree that only tracks. */
#include "kernel/cgroup-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/device.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define OOM_DEPTH 8 /* cgroups of a container's own that are looked into for victims */

static int read_cpuset(const char *dir, const char *file, char **ret, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, file);
	int r = path ? file_read_at(AT_FDCWD, path, 65536, ret, NULL) : -ENOMEM;

	return r < 0 ? err_sys(e, r, "read %s/%s", dir, file) : 0;
}

/* A new cpuset is empty, and takes no process until it has CPUs and memory nodes: the parent's, who may lack them too if somebody
 * else just made it. */
static int inherit_cpuset(const char *dir, const char *file, Err *e)
{
	_cleanup_free_ char *parent = strdup(dir), *text = NULL;
	char *cut = parent ? strrchr(parent, '/') : NULL;
	int r;

	if (!parent)
		return err_oom(e);
	if (!cut || strlen(parent) <= strlen(CGROUP_ROOT))
		return 0;
	*cut = '\0';
	r = read_cpuset(parent, file, &text, e);
	if (r == 0 && (text[0] == '\n' || text[0] == '\0')) {
		r = inherit_cpuset(parent, file, e);
		free(take_ptr(text));
		if (r == 0)
			r = read_cpuset(parent, file, &text, e);
	}
	return r < 0 ? r : cgroup_write(dir, file, text, e);
}

/* 1 if it was filled. */
static int fill_cpuset(const char *dir, const char *file, Err *e)
{
	_cleanup_free_ char *text = NULL;
	int r = read_cpuset(dir, file, &text, e);

	if (r < 0)
		return r;
	return text[0] != '\n' && text[0] != '\0' ? 1 : inherit_cpuset(dir, file, e);
}

static int v1_prepare(const CgroupDir *d, const char *dir, Err *e)
{
	int r;

	if (!streq(d->name, "cpuset"))
		return 0;
	r = fill_cpuset(dir, "cpuset.cpus", e);
	/* The kernel gives both or none, but of a parent that somebody else is filling at this moment it gives what is there. */
	if (r >= 0)
		r = fill_cpuset(dir, "cpuset.mems", e);
	return r < 0 ? r : 0;
}

static int open_beside(const char *dir, const char *file)
{
	const char *cut = strrchr(dir, '/');
	_cleanup_free_ char *path = cut ? strf("%.*s/%s", (int)(cut - dir), dir, file) : NULL;

	return path ? open(path, O_RDWR | O_CLOEXEC) : -1;
}

/* Writing a cpuset's CPUs makes the kernel look at all cpusets there are, several times: with a thousand containers that is as long as the rest of a
 * start. A new one that is born with its parent's needs no writing; for its birth the parent is told to pass them on. Where that
 * is not to be had (not ours, an exclusive sibling, somebody else who changes it at the same time) the new one is empty, and v1_prepare() fills it. */
static int make_cpuset(const char *dir)
{
	_cleanup_close_ int flag = open_beside(dir, "cgroup.clone_children");
	char was = '1';
	bool set = flag >= 0 && pread(flag, &was, 1, 0) == 1 && was == '0' && pwrite(flag, "1", 1, 0) == 1;
	int r = mkdir(dir, 0755) < 0 ? -errno : 0;

	/* Were this to fail, the parent would have what many have always. */
	if (set)
		(void)!pwrite(flag, "0", 1, 0);
	return r;
}

static int v1_make(const CgroupDir *d, const char *dir)
{
	if (streq(d->name, "cpuset"))
		return make_cpuset(dir);
	return mkdir(dir, 0755) < 0 ? -errno : 0;
}

/* The directory of a controller that a limit needs. */
static int need(const Cgroup *c, const char *controller, const char **ret, Err *e)
{
	*ret = cgroup_dir(c, controller);
	if (!*ret)
		return err_new(e, ERR_UNSUPPORTED, "this machine has no %s cgroup controller", controller);
	return 0;
}

static int64_t nonzero(int64_t v)
{
	return v == 0 ? CGROUP_UNSET : v;
}

/* memory.memsw must never be below memory.limit, so which is written first depends on the direction. */
static int apply_memory_limits(const char *dir, const CgroupLimits *l, Err *e)
{
	const char *memory = "memory.limit_in_bytes", *both = "memory.memsw.limit_in_bytes";
	int64_t limit = nonzero(l->memory_limit), swap = nonzero(l->memory_swap);
	Err first = {0};
	int r;

	/* Without any limit of memory a limit of the sum makes no sense; the file is there only with swap accounting. */
	if (limit == -1 && swap == CGROUP_UNSET && cgroup_read_int(dir, both) >= 0)
		swap = -1;
	if (limit == CGROUP_UNSET || swap == CGROUP_UNSET) {
		r = cgroup_write_given(dir, memory, limit, e);
		return r == 0 ? cgroup_write_given(dir, both, swap, e) : r;
	}
	/* Raising both needs the sum first; lowering both the other way round. */
	r = cgroup_write_int(dir, memory, limit, &first);
	if (r == -EINVAL || r == -EBUSY) {
		r = cgroup_write_int(dir, both, swap, e);
		return r < 0 ? r : cgroup_write_int(dir, memory, limit, e);
	}
	if (r < 0) {
		if (e)
			*e = first;
		return r;
	}
	return cgroup_write_int(dir, both, swap, e);
}

/* The kernel refuses a limit that cannot be reached, and says only "busy". */
static int explain_busy(const char *dir, const CgroupLimits *l, int r, Err *e)
{
	if (r != -EBUSY)
		return r;
	return err_new_no(e, ERR_CONFLICT, EBUSY,
			  "unable to set memory limit to %lld (current usage: %lld, peak usage: %lld)",
			  (long long)l->memory_limit,
			  (long long)cgroup_read_int(dir, "memory.usage_in_bytes"),
			  (long long)cgroup_read_int(dir, "memory.max_usage_in_bytes"));
}

/* Cgroups made before 5.11 share nothing with their parents unless they are told to. */
static void use_hierarchy(const char *dir)
{
	if (cgroup_read_int(dir, "memory.use_hierarchy") == 0)
		(void)cgroup_write(dir, "memory.use_hierarchy", "1", NULL);
}

static int check_usage(const char *dir, const CgroupLimits *l, Err *e)
{
	int64_t usage = l->memory_check ? cgroup_read_int(dir, "memory.usage_in_bytes") : -1;

	if (l->memory_limit > 0 && usage >= l->memory_limit)
		return err_new(e, ERR_CONFLICT, "rejecting memory limit %lld <= usage %lld",
			       (long long)l->memory_limit, (long long)usage);
	return 0;
}

static int apply_memory(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	const char *dir;
	int r;

	if (l->memory_limit == CGROUP_UNSET && l->memory_swap == CGROUP_UNSET &&
	    l->memory_reservation == CGROUP_UNSET && l->memory_swappiness == CGROUP_UNSET &&
	    l->disable_oom_killer == CGROUP_UNSET)
		return 0;
	r = need(c, "memory", &dir, e);
	if (r == 0)
		r = check_usage(dir, l, e);
	if (r == 0) {
		use_hierarchy(dir);
		r = explain_busy(dir, l, apply_memory_limits(dir, l, e), e);
	}
	if (r == 0 && l->memory_reservation != 0)
		r = cgroup_write_given(dir, "memory.soft_limit_in_bytes", l->memory_reservation, e);
	if (r == 0 && l->memory_swappiness > 100)
		r = err_new(e, ERR_INVALID, "memory.swappiness: %lld is not from 0 to 100",
			    (long long)l->memory_swappiness);
	if (r == 0 && l->memory_swappiness >= 0)
		r = cgroup_write_int(dir, "memory.swappiness", l->memory_swappiness, e);
	if (r == 0 && l->disable_oom_killer > 0)
		r = cgroup_write(dir, "memory.oom_control", "1", e);
	return r;
}

/* Two files whose values are valid only together: if the first is refused beside the second's old value, it is written again
 * after it. */
static int write_pair(const char *dir, const char *first, int64_t a, const char *second, int64_t b, Err *e)
{
	Err refused = {0};
	int later = cgroup_write_given(dir, first, a, &refused), r;

	if (later < 0 && (later != -EINVAL || b == CGROUP_UNSET)) {
		if (e)
			*e = refused;
		return later;
	}
	r = cgroup_write_given(dir, second, b, e);
	return r == 0 && later < 0 ? cgroup_write_given(dir, first, a, e) : r;
}

/* The kernel bends what is out of range, without saying so. */
static int apply_shares(const char *dir, int64_t shares, Err *e)
{
	int r = cgroup_write_given(dir, "cpu.shares", shares, e);
	int64_t got = r == 0 && shares != CGROUP_UNSET ? cgroup_read_int(dir, "cpu.shares") : shares;

	if (r == 0 && got >= 0 && got != shares)
		return err_new(e, ERR_INVALID, "the %s allowed cpu-shares is %lld",
			       got < shares ? "maximum" : "minimum", (long long)got);
	return r;
}

static int apply_cpu(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	int64_t quota = nonzero(l->cpu_quota), period = nonzero(l->cpu_period);
	int64_t rt_runtime = nonzero(l->cpu_rt_runtime), rt_period = nonzero(l->cpu_rt_period);
	const int64_t all[] = {nonzero(l->cpu_shares), quota,      period, rt_runtime, rt_period,
			       l->cpu_burst,           l->cpu_idle};
	const char *dir;
	int r = 1;

	for (size_t i = 0; i < ELEMENTSOF(all) && r == 1; i++)
		if (all[i] != CGROUP_UNSET)
			r = need(c, "cpu", &dir, e);
	if (r != 0)
		return MIN2(r, 0);
	r = apply_shares(dir, nonzero(l->cpu_shares), e);
	if (r == 0)
		r = write_pair(dir, "cpu.cfs_period_us", period, "cpu.cfs_quota_us", quota, e);
	if (r == 0)
		r = cgroup_write_given(dir, "cpu.cfs_burst_us", l->cpu_burst, e);
	if (r == 0)
		r = write_pair(dir, "cpu.rt_period_us", rt_period, "cpu.rt_runtime_us", rt_runtime, e);
	return r == 0 ? cgroup_write_given(dir, "cpu.idle", l->cpu_idle, e) : r;
}

static int apply_cpuset(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	const char *dir;
	int r = 0;

	if (str_empty(l->cpus) && str_empty(l->mems))
		return 0;
	r = need(c, "cpuset", &dir, e);
	if (r == 0 && !str_empty(l->cpus))
		r = cgroup_write(dir, "cpuset.cpus", l->cpus, e);
	if (r == 0 && !str_empty(l->mems))
		r = cgroup_write(dir, "cpuset.mems", l->mems, e);
	return r;
}

static int apply_throttles(const char *dir, const char *file, const CgroupThrottle *t, size_t n, Err *e)
{
	for (size_t i = 0; i < n; i++) {
		char line[80];

		snprintf(line, sizeof(line), "%lld:%lld %llu", (long long)t[i].major, (long long)t[i].minor,
			 (unsigned long long)t[i].rate);
		int r = cgroup_write(dir, file, line, e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The file's name depends on the I/O scheduler that was built in; where there is none, the error names the first. */
static int write_weight(const char *dir, const char *const names[2], const char *value, Err *e)
{
	int r = cgroup_write(dir, names[0], value, e);

	return r == -ENOENT && cgroup_write(dir, names[1], value, NULL) == 0 ? 0 : r;
}

static int apply_weight_device(const char *dir, const CgroupWeightDevice *d, Err *e)
{
	static const char *const names[] = {"blkio.weight_device", "blkio.bfq.weight_device"};
	char line[80];
	int r = 0;

	if (d->weight != 0) {
		snprintf(line, sizeof(line), "%lld:%lld %lld", (long long)d->major, (long long)d->minor,
			 (long long)d->weight);
		r = write_weight(dir, names, line, e);
	}
	if (r == 0 && d->leaf_weight != 0) {
		snprintf(line, sizeof(line), "%lld:%lld %lld", (long long)d->major, (long long)d->minor,
			 (long long)d->leaf_weight);
		r = cgroup_write(dir, "blkio.leaf_weight_device", line, e);
	}
	return r;
}

static int apply_weights(const char *dir, const CgroupLimits *l, Err *e)
{
	static const char *const names[] = {"blkio.weight", "blkio.bfq.weight"};
	char value[24];
	int r = 0;

	snprintf(value, sizeof(value), "%lld", (long long)l->blkio_weight);
	if (nonzero(l->blkio_weight) != CGROUP_UNSET)
		r = write_weight(dir, names, value, e);
	if (r == 0)
		r = cgroup_write_given(dir, "blkio.leaf_weight", nonzero(l->blkio_leaf_weight), e);
	for (size_t i = 0; i < l->n_weight_devices && r == 0; i++)
		r = apply_weight_device(dir, &l->weight_devices[i], e);
	return r;
}

static int apply_blkio(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	const char *dir;
	int r;

	if (nonzero(l->blkio_weight) == CGROUP_UNSET && nonzero(l->blkio_leaf_weight) == CGROUP_UNSET &&
	    l->n_weight_devices + l->n_read_bps + l->n_write_bps + l->n_read_iops + l->n_write_iops == 0)
		return 0;
	r = need(c, "blkio", &dir, e);
	if (r == 0)
		r = apply_weights(dir, l, e);
	if (r == 0)
		r = apply_throttles(dir, "blkio.throttle.read_bps_device", l->read_bps, l->n_read_bps, e);
	if (r == 0)
		r = apply_throttles(dir, "blkio.throttle.write_bps_device", l->write_bps, l->n_write_bps, e);
	if (r == 0)
		r = apply_throttles(dir, "blkio.throttle.read_iops_device", l->read_iops, l->n_read_iops, e);
	if (r == 0)
		r = apply_throttles(dir, "blkio.throttle.write_iops_device", l->write_iops, l->n_write_iops,
				    e);
	return r;
}

/* Pages that are used, and (5.7) those that are only reserved. */
static int apply_hugepages(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	const char *dir;

	for (size_t i = 0; i < l->n_hugepages; i++) {
		const char *size = l->hugepages[i].page_size;
		char file[80], value[24];
		int r = need(c, "hugetlb", &dir, e);

		if (r == 0)
			r = cgroup_hugetlb_file(size, "limit_in_bytes", file, sizeof(file), e);
		if (r < 0)
			return r;
		snprintf(value, sizeof(value), "%llu", (unsigned long long)l->hugepages[i].limit);
		r = cgroup_write(dir, file, value, e);
		if (r == 0)
			r = cgroup_hugetlb_file(size, "rsvd.limit_in_bytes", file, sizeof(file), e);
		if (r == 0 && cgroup_read_int(dir, file) >= 0)
			r = cgroup_write(dir, file, value, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int apply_network(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	const char *dir;
	int r = 0;

	if (nonzero(l->network_class) != CGROUP_UNSET) {
		r = need(c, "net_cls", &dir, e);
		if (r == 0)
			r = cgroup_write_int(dir, "net_cls.classid", l->network_class, e);
	}
	for (size_t i = 0; i < l->n_network_priorities && r == 0; i++) {
		char line[80];

		r = need(c, "net_prio", &dir, e);
		if (r < 0)
			return r;
		snprintf(line, sizeof(line), "%.40s %u",
			 l->network_priorities[i].name ? l->network_priorities[i].name : "",
			 l->network_priorities[i].priority);
		r = cgroup_write(dir, "net_prio.ifpriomap", line, e);
	}
	return r;
}

static int apply_rdma(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	const char *dir;
	int r = l->n_rdma ? need(c, "rdma", &dir, e) : 1;

	return r == 0 ? cgroup_apply_rdma(dir, l, e) : MIN2(r, 0);
}

static int apply_pids(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	const char *dir;
	int r;

	if (nonzero(l->pids_limit) == CGROUP_UNSET)
		return 0;
	r = need(c, "pids", &dir, e);
	if (r < 0)
		return r;
	return l->pids_limit < 0 ? cgroup_write(dir, "pids.max", "max", e)
				 : cgroup_write_int(dir, "pids.max", l->pids_limit, e);
}

static int v1_apply(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	int (*const steps[])(const Cgroup *, const CgroupLimits *,
			     Err *) = {apply_memory,    apply_cpu,  apply_cpuset,  apply_blkio,
				       apply_hugepages, apply_pids, apply_network, apply_rdma};
	const char *dir;
	int r = 0;

	if (l->unified && l->unified[0])
		return err_new(e, ERR_INVALID,
			       "invalid configuration: linux.resources.unified \"%s\" is for cgroup v2, and "
			       "this machine has v1",
			       l->unified[0]);
	for (size_t i = 0; i < ELEMENTSOF(steps) && r == 0; i++)
		r = steps[i](c, l, e);
	if (r == 0 && l->devices) {
		r = need(c, "devices", &dir, e);
		if (r == 0)
			r = device_apply_v1(dir, l->devices, l->n_devices, e);
	}
	return r;
}

/* Each file of v1 keeps its own value. */
static int v1_complete(const Cgroup *c _unused_, CgroupLimits *l _unused_, Err *e _unused_)
{
	return 0;
}

static const char *unified_of(const Cgroup *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->dirs[i].name[0] == '\0')
			return c->dirs[i].path;
	return NULL;
}

static bool freezer_says(const char *dir, const char *state)
{
	_cleanup_free_ char *path = strf("%s/freezer.state", dir), *text = NULL;

	return path && file_read_at(AT_FDCWD, path, 64, &text, NULL) == 0 && str_starts(text, state);
}

static bool freezer_is_frozen(const char *dir)
{
	return freezer_says(dir, "FROZEN");
}

static int v1_freeze(const Cgroup *c, bool freeze, Err *e)
{
	const char *unified = unified_of(c), *dir;
	int r;

	if (unified)
		return cgroup_unified_freeze(unified, freeze, e);
	r = need(c, "freezer", &dir, e);
	if (r == 0)
		r = cgroup_write(dir, "freezer.state", freeze ? "FROZEN" : "THAWED", e);
	if (r == 0 && freeze && !cgroup_wait(freezer_is_frozen, dir)) {
		(void)cgroup_write(dir, "freezer.state", "THAWED", NULL);
		r = err_new(e, ERR_UNAVAILABLE, "cgroup %s does not freeze", dir);
	}
	return r;
}

static bool v1_is_frozen(const Cgroup *c)
{
	const char *unified = unified_of(c), *dir = cgroup_dir(c, "freezer");

	return unified ? cgroup_unified_is_frozen(unified) : dir && freezer_is_frozen(dir);
}

/* v1 counts where the victim was, and nowhere above. A directory has a link more for each one in it, so that where there is none, as
 * is usual, nothing is listed. */
static uint64_t oom_kills_below(const char *dir, int depth)
{
	int64_t n = cgroup_read_key(dir, "memory.oom_control", "oom_kill");
	uint64_t sum = n > 0 ? (uint64_t)n : 0;
	struct stat st;
	DIR *d = depth > 0 && stat(dir, &st) == 0 && st.st_nlink > 2 ? opendir(dir) : NULL;

	for (const struct dirent *de; d && (de = readdir(d));) {
		_cleanup_free_ char *path = NULL;

		if (de->d_type != DT_DIR || de->d_name[0] == '.')
			continue;
		path = strf("%s/%s", dir, de->d_name);
		if (path)
			sum += oom_kills_below(path, depth - 1);
	}
	if (d)
		closedir(d);
	return sum;
}

static uint64_t v1_oom_kills(const Cgroup *c)
{
	const char *dir = cgroup_dir(c, "memory");

	return dir ? oom_kills_below(dir, OOM_DEPTH) : 0;
}

const CgroupOps cgroup_ops_v1 = {
    .make = v1_make,
    .prepare = v1_prepare,
    .complete = v1_complete,
    .apply = v1_apply,
    .freeze = v1_freeze,
    .is_frozen = v1_is_frozen,
    .oom_kills = v1_oom_kills,
};
