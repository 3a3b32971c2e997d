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
		   sizeof(CgroupHugepage) == sizeof(OciHugepageLimit) &&
		   sizeof(CgroupWeightDevice) == sizeof(OciWeightDevice) &&
		   sizeof(CgroupInterfacePriority) == sizeof(OciInterfacePriority) &&
		   sizeof(CgroupRdma) == sizeof(OciRdma),
	       "lists are passed on as they are");

static CgroupLimits to_limits(const OciResources *r)
{
	return (CgroupLimits){
	    .memory_limit = r->memory_limit,
	    .memory_reservation = r->memory_reservation,
	    .memory_swap = r->memory_swap,
	    .memory_swappiness = r->memory_swappiness,
	    .disable_oom_killer = r->disable_oom_killer,
	    .memory_check = r->memory_check,
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
	    .blkio_leaf_weight = r->blkio_leaf_weight,
	    .weight_devices = (const CgroupWeightDevice *)r->weight_devices,
	    .n_weight_devices = r->n_weight_devices,
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
	    .network_class = r->network_class,
	    .network_priorities = (const CgroupInterfacePriority *)r->network_priorities,
	    .n_network_priorities = r->n_network_priorities,
	    .rdma = (const CgroupRdma *)r->rdma,
	    .n_rdma = r->n_rdma,
	    .unified = r->unified,
	};
}

/* systemd's three-part form is for its own manager; without it the path is used as it stands. */
int limits_resolve_cgroup(const RuntimeOptions *o, const OciSpec *spec, const char *id, Scope *ret_scope,
			  Cgroup *ret, Err *e)
{
	if (o->systemd_cgroup)
		return scope_plan(o, spec, id, ret_scope, ret, e);
	return cgroup_resolve(str_empty(spec->cgroups_path) ? id : spec->cgroups_path, ret, e);
}

/* Where no node can be made, there is nothing that rules could keep from the container. */
static int try_devices(const Cgroup *c, const CgroupLimits *rules, Err *e)
{
	CgroupLimits l = CGROUP_LIMITS_NONE;
	int r;

	if (!cgroup_dir(c, "devices"))
		return 0;
	l.devices = rules->devices;
	l.n_devices = rules->n_devices;
	r = cgroup_apply(c, &l, e);
	return r == -EPERM || r == -EACCES ? 0 : r;
}

static int apply(const Cgroup *c, const CgroupLimits *all, bool rootless, Err *e)
{
	CgroupLimits l = *all;
	int r;

	if (rootless)
		l.devices = NULL;
	r = cgroup_apply(c, &l, e);
	return r == 0 && rootless ? try_devices(c, all, e) : r;
}

/* The user on the host who is the process's user in there; false if there is none. */
static bool host_user(const OciSpec *s, uid_t *ret)
{
	uint32_t id = s->process.user.uid;

	*ret = id;
	for (size_t i = 0; i < s->n_uid_mappings; i++) {
		const OciIdMap *m = &s->uid_mappings[i];

		if (id < m->container_id || id - m->container_id >= m->size)
			continue;
		*ret = m->host_id + (id - m->container_id);
		return true;
	}
	return s->n_uid_mappings == 0;
}

/* A container that sees only its own cgroup, and that one writable, is to manage what is below it. */
static bool manages_cgroups(const OciSpec *s)
{
	bool own_namespace = false;

	for (size_t i = 0; i < s->n_namespaces; i++)
		own_namespace |= streq0(s->namespaces[i].type, "cgroup") && str_empty(s->namespaces[i].path);
	for (size_t i = 0; own_namespace && i < s->n_mounts; i++) {
		const OciMount *m = &s->mounts[i];

		if (streq0(m->type, "cgroup") && streq0(m->destination, "/sys/fs/cgroup") &&
		    !strv_has(m->options, "ro"))
			return true;
	}
	return false;
}

static int make(Cgroup *c, Scope *s, const OciSpec *spec, const char *id, bool rootless, Err *e)
{
	_cleanup_free_ CgroupDeviceRule *rules = NULL;
	const OciResources *res = &spec->resources;
	CgroupLimits l = to_limits(res);
	uid_t uid;
	int r = collect_rules(res, &rules, &l.n_devices, e);

	l.devices = rules;
	if (r == 0 && s->unit.name)
		r = scope_start(s, c, id, &l, e);
	if (r == 0)
		r = cgroup_create(c, s->link.pid, e);
	l.pids_limit = scope_pids_limit(s, l.pids_limit);
	if (r == 0)
		r = apply(c, &l, rootless, e);
	if (r == 0 && manages_cgroups(spec) && host_user(spec, &uid) && uid != geteuid())
		r = cgroup_delegate(c, uid, e);
	return r;
}

int limits_make_cgroup(Cgroup *c, Scope *s, const OciSpec *spec, const char *id, bool rootless, Err *e)
{
	int r = make(c, s, spec, id, rootless, e);

	if (r < 0)
		cgroup_undo(c);
	return r;
}

static int set(const RuntimeOptions *o, const State *s, const Cgroup *c, CgroupLimits *l, Err *e)
{
	int r = s->unit ? scope_set(o, s, c, l, e) : 0;

	return r == 0 ? cgroup_apply(c, l, e) : r;
}

/* On v1 everything is denied for a moment between the old rules and the new ones, which no process is to see. */
static int set_frozen(const RuntimeOptions *o, const State *s, const Cgroup *c, CgroupLimits *l, Err *e)
{
	int r = cgroup_freeze(c, true, e), thawed;

	if (r < 0)
		return r;
	r = set(o, s, c, l, e);
	thawed = cgroup_freeze(c, false, r == 0 ? e : NULL);
	return r < 0 ? r : thawed;
}

int limits_update(const RuntimeOptions *o, const State *s, const Cgroup *c, const OciResources *r, Err *e)
{
	_cleanup_free_ CgroupDeviceRule *rules = NULL;
	CgroupLimits l = to_limits(r);
	int rc = r->n_devices > 0 ? collect_rules(r, &rules, &l.n_devices, e) : 0;

	l.devices = rules;
	if (rc == 0)
		rc = cgroup_complete(c, &l, e);
	if (rc < 0)
		return rc;
	return l.devices && !cgroup_is_unified(c) && !cgroup_is_frozen(c) ? set_frozen(o, s, c, &l, e)
									  : set(o, s, c, &l, e);
}
