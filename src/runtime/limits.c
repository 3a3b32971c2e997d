/* SPDX-License-Identifier: Apache-2.0 */
/* From the runtime-spec's resources to the container's cgroup. */
#include "runtime/runtime-internal.h"

#include "base/str.h"
#include "kernel/device.h"

/* Devices that every container may use, whatever its rules say: the default nodes, terminals, and
 * making (not opening) any node, as all runtimes have it. */
static const CgroupDeviceRule rules_default[] = {
    {true, 'c', -1, -1, "m"},    {true, 'b', -1, -1, "m"}, {true, 'c', 1, 3, "rwm"}, {true, 'c', 1, 8, "rwm"},
    {true, 'c', 1, 7, "rwm"},    {true, 'c', 5, 0, "rwm"}, {true, 'c', 1, 5, "rwm"}, {true, 'c', 1, 9, "rwm"},
    {true, 'c', 136, -1, "rwm"}, {true, 'c', 5, 2, "rwm"},
};

static bool allows_all(const CgroupDeviceRule *r)
{
	return r->type == 'a' && r->allow && r->major < 0 && r->minor < 0 && device_access_is_full(r->access);
}

/* The container's rules, then the default ones, unless everything is allowed anyway. */
static int collect_rules(const OciResources *r, CgroupDeviceRule **ret, size_t *ret_n, Err *e)
{
	CgroupDeviceRule *rules = calloc(r->n_devices + ELEMENTSOF(rules_default), sizeof(*rules));
	bool all = false;
	size_t n = 0;

	if (!rules)
		return err_oom(e);
	for (size_t i = 0; i < r->n_devices; i++) {
		const OciDeviceRule *d = &r->devices[i];
		const char *type = str_empty(d->type) ? "a" : d->type;

		if (strlen(type) != 1) {
			free(rules);
			return err_new(e, ERR_INVALID, "resources.devices[%zu]: unknown type \"%s\"", i,
				       type);
		}
		rules[n] = (CgroupDeviceRule){d->allow, type[0], d->major, d->minor,
					      str_empty(d->access) ? "rwm" : d->access};
		if (rules[n].type == 'a')
			all = allows_all(&rules[n]);
		n++;
	}
	for (size_t i = 0; !all && i < ELEMENTSOF(rules_default); i++)
		rules[n++] = rules_default[i];
	*ret = rules;
	*ret_n = n;
	return 0;
}

_Static_assert(CGROUP_UNSET == OCI_UNSET, "limits are copied as they are");
_Static_assert(sizeof(CgroupThrottle) == sizeof(OciThrottle) &&
		   sizeof(CgroupHugepage) == sizeof(OciHugepageLimit),
	       "lists are passed on as they are");

static CgroupLimits to_limits(const OciResources *r)
{
	return (CgroupLimits){
	    .memory_limit = r->memory_limit,
	    .memory_reservation = r->memory_reservation,
	    .memory_swap = r->memory_swap,
	    .memory_swappiness = r->memory_swappiness,
	    .disable_oom_killer = r->disable_oom_killer,
	    .cpu_shares = r->cpu_shares,
	    .cpu_quota = r->cpu_quota,
	    .cpu_period = r->cpu_period,
	    .cpu_rt_runtime = r->cpu_rt_runtime,
	    .cpu_rt_period = r->cpu_rt_period,
	    .cpu_burst = r->cpu_burst,
	    .cpu_idle = r->cpu_idle,
	    .cpus = r->cpus,
	    .mems = r->mems,
	    .pids_limit = r->pids_limit,
	    .blkio_weight = r->blkio_weight,
	    .read_bps = (const CgroupThrottle *)r->throttle_read_bps,
	    .n_read_bps = r->n_throttle_read_bps,
	    .write_bps = (const CgroupThrottle *)r->throttle_write_bps,
	    .n_write_bps = r->n_throttle_write_bps,
	    .read_iops = (const CgroupThrottle *)r->throttle_read_iops,
	    .n_read_iops = r->n_throttle_read_iops,
	    .write_iops = (const CgroupThrottle *)r->throttle_write_iops,
	    .n_write_iops = r->n_throttle_write_iops,
	    .hugepages = (const CgroupHugepage *)r->hugepages,
	    .n_hugepages = r->n_hugepages,
	    .unified = r->unified,
	};
}

int limits_apply(const Cgroup *c, const OciResources *r, bool with_devices, Err *e)
{
	_cleanup_free_ CgroupDeviceRule *rules = NULL;
	CgroupLimits l = to_limits(r);
	int rc;

	if (with_devices) {
		rc = collect_rules(r, &rules, &l.n_devices, e);
		if (rc < 0)
			return rc;
		l.devices = rules;
	}
	return cgroup_apply(c, &l, e);
}

/* systemd's three-part form is for its own manager; without it the path is used as it stands. */
int limits_resolve_cgroup(const RuntimeOptions *o, const OciSpec *spec, const char *id, Cgroup *ret, Err *e)
{
	if (o->systemd_cgroup)
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "the systemd cgroup manager is not available; leave out --systemd-cgroup (for podman: "
		    "--cgroup-manager cgroupfs)");
	return cgroup_resolve(str_empty(spec->cgroups_path) ? id : spec->cgroups_path, ret, e);
}

/* Where no node can be made, there is nothing that rules could keep from the container. */
static int try_devices(const Cgroup *c, const OciResources *r, Err *e)
{
	_cleanup_free_ CgroupDeviceRule *rules = NULL;
	CgroupLimits l = CGROUP_LIMITS_NONE;
	int rc;

	if (!cgroup_dir(c, "devices"))
		return 0;
	rc = collect_rules(r, &rules, &l.n_devices, e);
	if (rc < 0)
		return rc;
	l.devices = rules;
	rc = cgroup_apply(c, &l, e);
	return rc == -EPERM || rc == -EACCES ? 0 : rc;
}

int limits_make_cgroup(Cgroup *c, const OciSpec *spec, bool rootless, Err *e)
{
	int r = cgroup_create(c, e);

	if (r < 0)
		return r;
	r = limits_apply(c, &spec->resources, !rootless, e);
	if (r == 0 && rootless)
		r = try_devices(c, &spec->resources, e);
	if (r < 0)
		cgroup_undo(c);
	return r;
}
