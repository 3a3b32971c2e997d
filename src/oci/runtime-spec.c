/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The field tables of config.json (OCI runtime-spec 1.3), and what a table cannot say.
 *
 * A table entry whose nested table has offset 0 describes an object that the C struct has folded into
 * its parent ("linux", "memory"). Members that are unset rather than 0 when absent get that value before
 * decoding (in place) or after it (items of arrays, which json_decode allocates zeroed).
 */
#include "oci/runtime-spec.h"

#include "base/str.h"

#include <ctype.h>
#include <limits.h>

#define FIELD(n, t, s, m)                                                                                    \
	{                                                                                                    \
		.name = (n), .type = (t), .offset = offsetof(s, m)                                           \
	}
#define LIST(n, s, m, c, item_table, item)                                                                   \
	{                                                                                                    \
		.name = (n), .type = JSON_T_ARRAY, .offset = offsetof(s, m), .table = (item_table),          \
		.size = sizeof(item), .count = offsetof(s, c)                                                \
	}
#define NESTED(n, s, m, t)                                                                                   \
	{                                                                                                    \
		.name = (n), .type = JSON_T_OBJECT, .offset = offsetof(s, m), .table = (t)                   \
	}
/* An object of the document whose members are fields of the parent struct. */
#define FOLDED(n, t)                                                                                         \
	{                                                                                                    \
		.name = (n), .type = JSON_T_OBJECT, .offset = 0, .table = (t)                                \
	}
#define END                                                                                                  \
	{                                                                                                    \
		.name = NULL                                                                                 \
	}

static const JsonField id_map_table[] = {
    FIELD("containerID", JSON_T_U32, OciIdMap, container_id),
    FIELD("hostID", JSON_T_U32, OciIdMap, host_id),
    FIELD("size", JSON_T_U32, OciIdMap, size),
    END,
};

static const JsonField rlimit_table[] = {
    FIELD("type", JSON_T_STR, OciRlimit, type),
    FIELD("soft", JSON_T_INT, OciRlimit, soft),
    FIELD("hard", JSON_T_INT, OciRlimit, hard),
    END,
};

/* additionalGids is an array of numbers: decode_gids(). */
static const JsonField user_table[] = {
    FIELD("uid", JSON_T_U32, OciUser, uid),
    FIELD("gid", JSON_T_U32, OciUser, gid),
    FIELD("umask", JSON_T_INT, OciUser, umask),
    END,
};

static const JsonField capabilities_table[] = {
    FIELD("bounding", JSON_T_STRV, OciProcess, cap_bounding),
    FIELD("effective", JSON_T_STRV, OciProcess, cap_effective),
    FIELD("inheritable", JSON_T_STRV, OciProcess, cap_inheritable),
    FIELD("permitted", JSON_T_STRV, OciProcess, cap_permitted),
    FIELD("ambient", JSON_T_STRV, OciProcess, cap_ambient),
    END,
};

static const JsonField console_table[] = {
    FIELD("height", JSON_T_U32, OciProcess, console_height),
    FIELD("width", JSON_T_U32, OciProcess, console_width),
    END,
};

static const JsonField scheduler_table[] = {
    FIELD("policy", JSON_T_STR, OciScheduler, policy),
    FIELD("nice", JSON_T_INT, OciScheduler, nice),
    FIELD("priority", JSON_T_INT, OciScheduler, priority),
    FIELD("flags", JSON_T_STRV, OciScheduler, flags),
    FIELD("runtime", JSON_T_INT, OciScheduler, runtime),
    FIELD("deadline", JSON_T_INT, OciScheduler, deadline),
    FIELD("period", JSON_T_INT, OciScheduler, period),
    END,
};

static const JsonField io_priority_table[] = {
    FIELD("class", JSON_T_STR, OciIoPriority, class),
    FIELD("priority", JSON_T_INT, OciIoPriority, priority),
    END,
};

static const JsonField affinity_table[] = {
    FIELD("initial", JSON_T_STR, OciProcess, affinity_initial),
    FIELD("final", JSON_T_STR, OciProcess, affinity_final),
    END,
};

static const JsonField process_table[] = {
    FIELD("terminal", JSON_T_BOOL, OciProcess, terminal),
    FOLDED("consoleSize", console_table),
    NESTED("user", OciProcess, user, user_table),
    FIELD("args", JSON_T_STRV, OciProcess, args),
    FIELD("env", JSON_T_STRV, OciProcess, env),
    FIELD("cwd", JSON_T_STR, OciProcess, cwd),
    FOLDED("capabilities", capabilities_table),
    LIST("rlimits", OciProcess, rlimits, n_rlimits, rlimit_table, OciRlimit),
    FIELD("noNewPrivileges", JSON_T_BOOL, OciProcess, no_new_privileges),
    FIELD("apparmorProfile", JSON_T_STR, OciProcess, apparmor_profile),
    FIELD("selinuxLabel", JSON_T_STR, OciProcess, selinux_label),
    NESTED("scheduler", OciProcess, scheduler, scheduler_table),
    NESTED("ioPriority", OciProcess, io_priority, io_priority_table),
    FOLDED("execCPUAffinity", affinity_table),
    END,
};

static const JsonField mount_table[] = {
    FIELD("destination", JSON_T_STR, OciMount, destination),
    FIELD("type", JSON_T_STR, OciMount, type),
    FIELD("source", JSON_T_STR, OciMount, source),
    FIELD("options", JSON_T_STRV, OciMount, options),
    LIST("uidMappings", OciMount, uid_mappings, n_uid_mappings, id_map_table, OciIdMap),
    LIST("gidMappings", OciMount, gid_mappings, n_gid_mappings, id_map_table, OciIdMap),
    END,
};

static const JsonField namespace_table[] = {
    FIELD("type", JSON_T_STR, OciNamespace, type),
    FIELD("path", JSON_T_STR, OciNamespace, path),
    END,
};

static const JsonField device_table[] = {
    FIELD("path", JSON_T_STR, OciDevice, path),
    FIELD("type", JSON_T_STR, OciDevice, type),
    FIELD("major", JSON_T_INT, OciDevice, major),
    FIELD("minor", JSON_T_INT, OciDevice, minor),
    FIELD("fileMode", JSON_T_INT, OciDevice, file_mode),
    FIELD("uid", JSON_T_U32, OciDevice, uid),
    FIELD("gid", JSON_T_U32, OciDevice, gid),
    END,
};

static const JsonField device_rule_table[] = {
    FIELD("allow", JSON_T_BOOL, OciDeviceRule, allow),  FIELD("type", JSON_T_STR, OciDeviceRule, type),
    FIELD("major", JSON_T_INT, OciDeviceRule, major),   FIELD("minor", JSON_T_INT, OciDeviceRule, minor),
    FIELD("access", JSON_T_STR, OciDeviceRule, access), END,
};

static const JsonField hook_table[] = {
    FIELD("path", JSON_T_STR, OciHook, path),
    FIELD("args", JSON_T_STRV, OciHook, args),
    FIELD("env", JSON_T_STRV, OciHook, env),
    FIELD("timeout", JSON_T_INT, OciHook, timeout),
    END,
};

#define HOOKS(name, member) LIST(name, OciSpec, member.items, member.n, hook_table, OciHook)
static const JsonField hooks_table[] = {
    HOOKS("prestart", hooks_prestart),
    HOOKS("createRuntime", hooks_create_runtime),
    HOOKS("createContainer", hooks_create_container),
    HOOKS("startContainer", hooks_start_container),
    HOOKS("poststart", hooks_poststart),
    HOOKS("poststop", hooks_poststop),
    END,
};

static const JsonField hugepage_table[] = {
    FIELD("pageSize", JSON_T_STR, OciHugepageLimit, page_size),
    FIELD("limit", JSON_T_INT, OciHugepageLimit, limit),
    END,
};

static const JsonField throttle_table[] = {
    FIELD("major", JSON_T_INT, OciThrottle, major),
    FIELD("minor", JSON_T_INT, OciThrottle, minor),
    FIELD("rate", JSON_T_INT, OciThrottle, rate),
    END,
};

#define R_INT(name, member) FIELD(name, JSON_T_INT, OciResources, member)
/* disableOOMKiller is a boolean with an unset state: decode_resources_rest(). */
static const JsonField memory_table[] = {
    R_INT("limit", memory_limit),
    R_INT("reservation", memory_reservation),
    R_INT("swap", memory_swap),
    R_INT("kernel", memory_kernel),
    R_INT("swappiness", memory_swappiness),
    FIELD("checkBeforeUpdate", JSON_T_BOOL, OciResources, memory_check),
    END,
};

static const JsonField cpu_table[] = {
    R_INT("shares", cpu_shares),
    R_INT("quota", cpu_quota),
    R_INT("period", cpu_period),
    R_INT("realtimeRuntime", cpu_rt_runtime),
    R_INT("realtimePeriod", cpu_rt_period),
    R_INT("burst", cpu_burst),
    R_INT("idle", cpu_idle),
    FIELD("cpus", JSON_T_STR, OciResources, cpus),
    FIELD("mems", JSON_T_STR, OciResources, mems),
    END,
};

static const JsonField pids_table[] = {R_INT("limit", pids_limit), END};

static const JsonField weight_device_table[] = {
    FIELD("major", JSON_T_INT, OciWeightDevice, major),
    FIELD("minor", JSON_T_INT, OciWeightDevice, minor),
    FIELD("weight", JSON_T_INT, OciWeightDevice, weight),
    FIELD("leafWeight", JSON_T_INT, OciWeightDevice, leaf_weight),
    END,
};

#define THROTTLE(name, member) LIST(name, OciResources, member, n_##member, throttle_table, OciThrottle)
static const JsonField block_io_table[] = {
    R_INT("weight", blkio_weight),
    R_INT("leafWeight", blkio_leaf_weight),
    LIST("weightDevice", OciResources, weight_devices, n_weight_devices, weight_device_table,
	 OciWeightDevice),
    THROTTLE("throttleReadBpsDevice", throttle_read_bps),
    THROTTLE("throttleWriteBpsDevice", throttle_write_bps),
    THROTTLE("throttleReadIOPSDevice", throttle_read_iops),
    THROTTLE("throttleWriteIOPSDevice", throttle_write_iops),
    END,
};

static const JsonField priority_table[] = {
    FIELD("name", JSON_T_STR, OciInterfacePriority, name),
    FIELD("priority", JSON_T_U32, OciInterfacePriority, priority),
    END,
};

static const JsonField network_table[] = {
    R_INT("classID", network_class),
    LIST("priorities", OciResources, network_priorities, n_network_priorities, priority_table,
	 OciInterfacePriority),
    END,
};

/* "rdma" is an object whose keys are names of devices: decode_rdma(). */
static const JsonField resources_table[] = {
    LIST("devices", OciResources, devices, n_devices, device_rule_table, OciDeviceRule),
    FOLDED("memory", memory_table),
    FOLDED("cpu", cpu_table),
    FOLDED("pids", pids_table),
    FOLDED("blockIO", block_io_table),
    LIST("hugepageLimits", OciResources, hugepages, n_hugepages, hugepage_table, OciHugepageLimit),
    FOLDED("network", network_table),
    FIELD("unified", JSON_T_MAP, OciResources, unified),
    END,
};

static const JsonField seccomp_arg_table[] = {
    FIELD("index", JSON_T_U32, OciSeccompArg, index),
    FIELD("value", JSON_T_INT, OciSeccompArg, value),
    FIELD("valueTwo", JSON_T_INT, OciSeccompArg, value_two),
    FIELD("op", JSON_T_STR, OciSeccompArg, op),
    END,
};

static const JsonField seccomp_rule_table[] = {
    FIELD("names", JSON_T_STRV, OciSeccompRule, names),
    FIELD("action", JSON_T_STR, OciSeccompRule, action),
    FIELD("errnoRet", JSON_T_INT, OciSeccompRule, errno_ret),
    LIST("args", OciSeccompRule, args, n_args, seccomp_arg_table, OciSeccompArg),
    END,
};

static const JsonField seccomp_table[] = {
    FIELD("defaultAction", JSON_T_STR, OciSeccomp, default_action),
    FIELD("defaultErrnoRet", JSON_T_INT, OciSeccomp, default_errno_ret),
    FIELD("architectures", JSON_T_STRV, OciSeccomp, architectures),
    FIELD("flags", JSON_T_STRV, OciSeccomp, flags),
    FIELD("listenerPath", JSON_T_STR, OciSeccomp, listener_path),
    FIELD("listenerMetadata", JSON_T_STR, OciSeccomp, listener_metadata),
    LIST("syscalls", OciSeccomp, rules, n_rules, seccomp_rule_table, OciSeccompRule),
    END,
};

static const JsonField time_offset_table[] = {
    FIELD("secs", JSON_T_INT, OciTimeOffset, secs),
    FIELD("nanosecs", JSON_T_U32, OciTimeOffset, nanosecs),
    END,
};

static const JsonField time_offsets_table[] = {
    NESTED("monotonic", OciSpec, time_monotonic, time_offset_table),
    NESTED("boottime", OciSpec, time_boottime, time_offset_table),
    END,
};

static const JsonField personality_table[] = {
    FIELD("domain", JSON_T_STR, OciPersonality, domain),
    FIELD("flags", JSON_T_STRV, OciPersonality, flags),
    END,
};

/* Three names, of which later versions of the specification replaced two, for one thing: decode_linux_rest(). */
static const JsonField intel_rdt_table[] = {
    FIELD("closID", JSON_T_STR, OciIntelRdt, clos_id),
    FIELD("schemata", JSON_T_STRV, OciIntelRdt, schemata),
    FIELD("l3CacheSchema", JSON_T_STR, OciIntelRdt, l3_cache_schema),
    FIELD("memBwSchema", JSON_T_STR, OciIntelRdt, mem_bw_schema),
    FIELD("enableMonitoring", JSON_T_BOOL, OciIntelRdt, enable_monitoring),
    END,
};

static const JsonField memory_policy_table[] = {
    FIELD("mode", JSON_T_STR, OciMemoryPolicy, mode),
    FIELD("nodes", JSON_T_STR, OciMemoryPolicy, nodes),
    FIELD("flags", JSON_T_STRV, OciMemoryPolicy, flags),
    END,
};

static const JsonField net_device_table[] = {FIELD("name", JSON_T_STR, OciNetDevice, name), END};

/* netDevices is an object with names for keys: decode_linux_rest(). */
static const JsonField linux_table[] = {
    LIST("namespaces", OciSpec, namespaces, n_namespaces, namespace_table, OciNamespace),
    LIST("uidMappings", OciSpec, uid_mappings, n_uid_mappings, id_map_table, OciIdMap),
    LIST("gidMappings", OciSpec, gid_mappings, n_gid_mappings, id_map_table, OciIdMap),
    LIST("devices", OciSpec, devices, n_devices, device_table, OciDevice),
    FIELD("cgroupsPath", JSON_T_STR, OciSpec, cgroups_path),
    NESTED("resources", OciSpec, resources, resources_table),
    NESTED("seccomp", OciSpec, seccomp, seccomp_table),
    FIELD("rootfsPropagation", JSON_T_STR, OciSpec, rootfs_propagation),
    FIELD("maskedPaths", JSON_T_STRV, OciSpec, masked_paths),
    FIELD("readonlyPaths", JSON_T_STRV, OciSpec, readonly_paths),
    FIELD("sysctl", JSON_T_MAP, OciSpec, sysctl),
    FIELD("mountLabel", JSON_T_STR, OciSpec, mount_label),
    FOLDED("timeOffsets", time_offsets_table),
    NESTED("personality", OciSpec, personality, personality_table),
    NESTED("intelRdt", OciSpec, intel_rdt, intel_rdt_table),
    NESTED("memoryPolicy", OciSpec, memory_policy, memory_policy_table),
    END,
};

static const JsonField root_table[] = {
    FIELD("path", JSON_T_STR, OciSpec, root_path),
    FIELD("readonly", JSON_T_BOOL, OciSpec, root_readonly),
    END,
};

static const JsonField spec_table[] = {
    FIELD("ociVersion", JSON_T_STR, OciSpec, version),
    NESTED("process", OciSpec, process, process_table),
    FOLDED("root", root_table),
    FIELD("hostname", JSON_T_STR, OciSpec, hostname),
    FIELD("domainname", JSON_T_STR, OciSpec, domainname),
    LIST("mounts", OciSpec, mounts, n_mounts, mount_table, OciMount),
    FOLDED("hooks", hooks_table),
    FIELD("annotations", JSON_T_MAP, OciSpec, annotations),
    FOLDED("linux", linux_table),
    END,
};

/* NULL if absent, null or no object. */
static const json_t *member(const json_t *obj, const char *key)
{
	const json_t *v = json_object_get(obj, key);

	return v && !json_is_null(v) ? v : NULL;
}

static void preset_resources(OciResources *r)
{
	int64_t *unset[] = {&r->memory_limit,   &r->memory_reservation, &r->memory_swap,
			    &r->memory_kernel,  &r->memory_swappiness,  &r->disable_oom_killer,
			    &r->cpu_shares,     &r->cpu_quota,          &r->cpu_period,
			    &r->cpu_rt_runtime, &r->cpu_rt_period,      &r->cpu_burst,
			    &r->cpu_idle,       &r->pids_limit,         &r->blkio_weight,
			    &r->network_class,  &r->blkio_leaf_weight};

	for (size_t i = 0; i < ELEMENTSOF(unset); i++)
		*unset[i] = OCI_UNSET;
}

static int rdma_limit(const json_t *obj, const char *device, const char *name, int64_t *ret, Err *e)
{
	const json_t *v = member(obj, name);

	*ret = OCI_UNSET;
	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
		return err_new(e, ERR_INVALID, "rdma.%s.%s: expected a number", device, name);
	*ret = json_integer_value(v);
	return 0;
}

static int decode_rdma(const json_t *obj, OciResources *r, Err *e)
{
	const char *device;
	json_t *limits;

	if (!obj)
		return 0;
	if (!json_is_object(obj))
		return err_new(e, ERR_INVALID, "rdma: expected an object");
	r->rdma = calloc(json_object_size(obj) + 1, sizeof(*r->rdma));
	if (!r->rdma)
		return err_oom(e);
	json_object_foreach ((json_t *)obj, device, limits) {
		OciRdma *one = &r->rdma[r->n_rdma];
		int rc = rdma_limit(limits, device, "hcaHandles", &one->handles, e);

		if (rc == 0)
			rc = rdma_limit(limits, device, "hcaObjects", &one->objects, e);
		if (rc < 0)
			return rc;
		one->device = strdup(device);
		if (!one->device)
			return err_oom(e);
		r->n_rdma++;
	}
	return 0;
}

static void free_rdma(OciResources *r)
{
	for (size_t i = 0; i < r->n_rdma; i++)
		free(r->rdma[i].device);
	free(r->rdma);
}

static int decode_resources_rest(const json_t *obj, OciResources *r, Err *e)
{
	const json_t *rules = member(obj, "devices"),
		     *oom = member(member(obj, "memory"), "disableOOMKiller");

	for (size_t i = 0; i < r->n_devices; i++) {
		const json_t *rule = json_array_get(rules, i);

		if (!member(rule, "major"))
			r->devices[i].major = -1;
		if (!member(rule, "minor"))
			r->devices[i].minor = -1;
	}
	if (oom) {
		if (!json_is_boolean(oom))
			return err_new(e, ERR_INVALID, "memory.disableOOMKiller: expected true or false");
		r->disable_oom_killer = json_is_true(oom);
	}
	return decode_rdma(member(obj, "rdma"), r, e);
}

static int decode_gids(const json_t *gids, OciUser *u, Err *e)
{
	if (!gids)
		return 0;
	if (!json_is_array(gids))
		return err_new(e, ERR_INVALID, "user.additionalGids: expected an array of numbers");

	size_t n = json_array_size(gids);

	if (n == 0)
		return 0;
	u->additional_gids = calloc(n, sizeof(*u->additional_gids));
	if (!u->additional_gids)
		return err_oom(e);
	for (size_t i = 0; i < n; i++) {
		const json_t *g = json_array_get(gids, i);
		json_int_t v = json_integer_value(g);

		if (!json_is_integer(g) || v < 0 || v > UINT32_MAX)
			return err_new(e, ERR_INVALID, "user.additionalGids[%zu]: expected a group id", i);
		u->additional_gids[i] = (uint32_t)v;
	}
	u->n_additional_gids = n;
	return 0;
}

static int decode_process_rest(const json_t *obj, OciProcess *p, Err *e)
{
	const json_t *oom = member(obj, "oomScoreAdj");

	p->has_capabilities = member(obj, "capabilities") != NULL;
	if (oom) {
		json_int_t v = json_integer_value(oom);

		if (!json_is_integer(oom) || v < -1000 || v > 1000)
			return err_new(e, ERR_INVALID, "oomScoreAdj: expected a number from -1000 to 1000");
		p->has_oom_score_adj = true;
		p->oom_score_adj = (int)v;
	}
	return decode_gids(member(member(obj, "user"), "additionalGids"), &p->user, e);
}

static void decode_seccomp_rest(const json_t *obj, OciSeccomp *s)
{
	const json_t *rules = member(obj, "syscalls");

	for (size_t i = 0; i < s->n_rules; i++)
		if (!member(json_array_get(rules, i), "errnoRet"))
			s->rules[i].errno_ret = -1;
}

static void decode_devices_rest(const json_t *devices, OciSpec *s)
{
	for (size_t i = 0; i < s->n_devices; i++)
		if (!member(json_array_get(devices, i), "fileMode"))
			s->devices[i].file_mode = -1;
}

static int decode_net_devices(const json_t *devices, OciSpec *s, Err *e)
{
	const char *host_name;
	json_t *j;

	if (!devices)
		return 0;
	if (!json_is_object(devices))
		return err_new(e, ERR_INVALID, "netDevices: expected an object");
	s->net_devices = calloc(json_object_size(devices) + 1, sizeof(*s->net_devices));
	if (!s->net_devices)
		return err_oom(e);
	json_object_foreach ((json_t *)devices, host_name, j) {
		OciNetDevice *d = &s->net_devices[s->n_net_devices++];
		int r = json_decode(j, net_device_table, d, e);

		if (r < 0)
			return err_ctx(e, r, "netDevices.%s", host_name);
		d->host_name = strdup(host_name);
		if (!d->name)
			d->name = strdup(host_name);
		if (!d->host_name || !d->name)
			return err_oom(e);
	}
	return 0;
}

static int decode_linux_rest(const json_t *obj, OciSpec *s, Err *e)
{
	const json_t *rdt = member(obj, "intelRdt");
	int r = decode_resources_rest(member(obj, "resources"), &s->resources, e);

	if (r < 0)
		return err_ctx(e, r, "resources");
	if (member(obj, "seccomp")) {
		s->has_seccomp = true;
		decode_seccomp_rest(member(obj, "seccomp"), &s->seccomp);
	}
	s->has_intel_rdt = rdt != NULL;
	s->intel_rdt.enable_monitoring |=
	    json_is_true(member(rdt, "enableCMT")) || json_is_true(member(rdt, "enableMBM"));
	decode_devices_rest(member(obj, "devices"), s);
	return decode_net_devices(member(obj, "netDevices"), s, e);
}

static int check_version(const OciSpec *s, Err *e)
{
	if (!s->version)
		return err_new(e, ERR_INVALID, "ociVersion is missing");
	if (!str_starts(s->version, "1."))
		return err_new(e, ERR_INVALID, "ociVersion %s is not supported: only 1.x is", s->version);
	return 0;
}

int oci_spec_decode(const json_t *config, OciSpec *ret, Err *e)
{
	const json_t *process = member(config, "process");
	int r;

	ret->process.user.umask = -1;
	ret->seccomp.default_errno_ret = -1;
	preset_resources(&ret->resources);
	r = json_decode(config, spec_table, ret, e);
	if (r < 0)
		return err_kind(e, r, ERR_INVALID);
	r = check_version(ret, e);
	if (r < 0)
		return r;
	if (process) {
		ret->has_process = true;
		r = decode_process_rest(process, &ret->process, e);
		if (r < 0)
			return err_ctx(e, r, "process");
	}
	r = decode_linux_rest(member(config, "linux"), ret, e);
	return r < 0 ? err_ctx(e, r, "linux") : 0;
}

void oci_spec_done(OciSpec *s)
{
	for (size_t i = 0; i < s->n_net_devices; i++) {
		free(s->net_devices[i].host_name);
		free(s->net_devices[i].name);
	}
	free(s->net_devices);
	free(s->process.user.additional_gids);
	free_rdma(&s->resources);
	json_fields_done(spec_table, s);
	memset(s, 0, sizeof(*s));
}

int oci_process_decode(const json_t *process, OciProcess *ret, Err *e)
{
	int r;

	ret->user.umask = -1;
	r = json_decode(process, process_table, ret, e);
	if (r < 0)
		return err_kind(e, r, ERR_INVALID);
	return decode_process_rest(process, ret, e);
}

void oci_process_done(OciProcess *p)
{
	free(p->user.additional_gids);
	json_fields_done(process_table, p);
	memset(p, 0, sizeof(*p));
}

int oci_seccomp_decode(const json_t *seccomp, OciSeccomp *ret, Err *e)
{
	int r;

	ret->default_errno_ret = -1;
	r = json_decode(seccomp, seccomp_table, ret, e);
	if (r < 0)
		return err_kind(e, r, ERR_INVALID);
	decode_seccomp_rest(seccomp, ret);
	return 0;
}

void oci_seccomp_done(OciSeccomp *s)
{
	json_fields_done(seccomp_table, s);
	memset(s, 0, sizeof(*s));
}

int oci_resources_decode(const json_t *resources, OciResources *ret, Err *e)
{
	int r;

	preset_resources(ret);
	r = json_decode(resources, resources_table, ret, e);
	if (r < 0)
		return err_kind(e, r, ERR_INVALID);
	return decode_resources_rest(resources, ret, e);
}

void oci_resources_done(OciResources *r)
{
	free_rdma(r);
	json_fields_done(resources_table, r);
	memset(r, 0, sizeof(*r));
}

/* The digits at s, as jansson can hold them: the two's complement for what only a uint64_t holds,
 * so that a cast back gives the value (RLIM_INFINITY is written as 18446744073709551615). */
static void add_number(StrBuf *b, const char *s, size_t n)
{
	unsigned long long v = 0;
	char digits[24];

	if (n < 19 || n > 20) {
		strbuf_add_n(b, s, n);
		return;
	}
	memcpy(digits, s, n);
	digits[n] = '\0';
	errno = 0;
	v = strtoull(digits, NULL, 10);
	if (errno == 0 && v > INT64_MAX)
		strbuf_addf(b, "%lld", (long long)v);
	else
		strbuf_add_n(b, s, n);
}

/* Copies text, rewriting integers above INT64_MAX. Anything malformed is passed on for the parser to refuse. */
static void fold_big_numbers(StrBuf *b, const char *text, size_t len)
{
	bool in_string = false;
	size_t i = 0, from = 0;

	while (i < len) {
		char c = text[i];

		if (in_string) {
			if (c == '\\' && i + 1 < len)
				i++;
			else if (c == '"')
				in_string = false;
			i++;
			continue;
		}
		if (c == '"')
			in_string = true;
		if (!isdigit((unsigned char)c)) {
			i++;
			continue;
		}

		size_t start = i;

		while (i < len && isdigit((unsigned char)text[i]))
			i++;
		/* A sign, a fraction or an exponent makes it no unsigned integer. */
		bool plain = (start == 0 || !strchr("-.+eE", text[start - 1])) &&
			     (i == len || !strchr(".eE", text[i]));

		if (plain && i - start >= 19) {
			strbuf_add_n(b, text + from, start - from);
			add_number(b, text + start, i - start);
			from = i;
		}
	}
	strbuf_add_n(b, text + from, len - from);
}

/* True if a run of 19 digits occurs at all: only then is a rewritten copy worth making. */
static bool has_big_number(const char *text, size_t len)
{
	size_t run = 0;

	for (size_t i = 0; i < len; i++) {
		run = isdigit((unsigned char)text[i]) ? run + 1 : 0;
		if (run >= 19)
			return true;
	}
	return false;
}

int oci_json_parse(const char *text, size_t len, const char *what, json_t **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_free_ char *folded = NULL;

	if (!has_big_number(text, len))
		return json_parse(text, len, what, ret, e);
	fold_big_numbers(&b, text, len);

	size_t n = b.len;

	folded = strbuf_steal(&b);
	if (!folded)
		return err_oom(e);
	return json_parse(folded, n, what, ret, e);
}
