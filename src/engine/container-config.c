/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables that describe a container's configuration, and the few members whose shape in JSON
 * differs from their shape in C: sets written as {"80/tcp": {}}, port bindings, endpoints by
 * network name, and the options nested in a Mount.
 */
#include "engine/container-config.h"

#include "base/str.h"

#include <strings.h>

#define STR(m, n, t)                                                                                         \
	{                                                                                                    \
		.name = n, .type = JSON_T_STR, .offset = offsetof(t, m), .keep_empty = true                  \
	}
#define OSTR(m, n, t)                                                                                        \
	{                                                                                                    \
		.name = n, .type = JSON_T_STR, .offset = offsetof(t, m)                                      \
	}
#define BOOL(m, n, t)                                                                                        \
	{                                                                                                    \
		.name = n, .type = JSON_T_BOOL, .offset = offsetof(t, m), .keep_empty = true                 \
	}
#define OBOOL(m, n, t)                                                                                       \
	{                                                                                                    \
		.name = n, .type = JSON_T_BOOL, .offset = offsetof(t, m)                                     \
	}
#define INT(m, n, t)                                                                                         \
	{                                                                                                    \
		.name = n, .type = JSON_T_INT, .offset = offsetof(t, m), .keep_empty = true                  \
	}
#define STRV(m, n, t)                                                                                        \
	{                                                                                                    \
		.name = n, .type = JSON_T_STRV, .offset = offsetof(t, m), .keep_given = true                 \
	}
#define MAP(m, n, t)                                                                                         \
	{                                                                                                    \
		.name = n, .type = JSON_T_MAP, .offset = offsetof(t, m)                                      \
	}
#define ARRAY(m, c, n, t, tab, item)                                                                         \
	{                                                                                                    \
		.name = n, .type = JSON_T_ARRAY, .offset = offsetof(t, m), .table = tab,                     \
		.size = sizeof(item), .count = offsetof(t, c), .keep_given = true                            \
	}
#define THROTTLES(m, name_, tab) ARRAY(m.items, m.n, name_, ContainerHost, tab, ContainerThrottle)
#define OBJECT(m, n, t, tab)                                                                                 \
	{                                                                                                    \
		.name = n, .type = JSON_T_OBJECT, .offset = offsetof(t, m), .table = tab                     \
	}

static const JsonField restart_table[] = {
    STR(name, "Name", ContainerRestart),
    INT(maximum_retry_count, "MaximumRetryCount", ContainerRestart),
    {0},
};

static const JsonField log_table[] = {
    STR(type, "Type", ContainerLogConfig),
    {.name = "Config",
     .type = JSON_T_MAP,
     .offset = offsetof(ContainerLogConfig, config),
     .keep_empty = true},
    {0},
};

static const JsonField ulimit_table[] = {
    STR(name, "Name", ContainerUlimit),
    INT(soft, "Soft", ContainerUlimit),
    INT(hard, "Hard", ContainerUlimit),
    {0},
};

static const JsonField device_table[] = {
    STR(path_on_host, "PathOnHost", ContainerDevice),
    STR(path_in_container, "PathInContainer", ContainerDevice),
    STR(cgroup_permissions, "CgroupPermissions", ContainerDevice),
    {0},
};

static const JsonField throttle_table[] = {
    STR(path, "Path", ContainerThrottle),
    INT(rate, "Rate", ContainerThrottle),
    {0},
};
static const JsonField weight_table[] = {
    STR(path, "Path", ContainerThrottle),
    INT(rate, "Weight", ContainerThrottle),
    {0},
};

static const JsonField device_request_table[] = {
    STR(driver, "Driver", ContainerDeviceRequest),
    INT(count, "Count", ContainerDeviceRequest),
    STRV(device_ids, "DeviceIDs", ContainerDeviceRequest),
    {.name = "Capabilities",
     .type = JSON_T_JSON,
     .offset = offsetof(ContainerDeviceRequest, capabilities),
     .keep_empty = true},
    {.name = "Options",
     .type = JSON_T_MAP,
     .offset = offsetof(ContainerDeviceRequest, options),
     .keep_given = true},
    {0},
};

static const JsonField health_table[] = {
    STRV(test, "Test", ContainerHealth),
    INT(interval, "Interval", ContainerHealth),
    INT(timeout, "Timeout", ContainerHealth),
    INT(start_period, "StartPeriod", ContainerHealth),
    INT(start_interval, "StartInterval", ContainerHealth),
    INT(retries, "Retries", ContainerHealth),
    {0},
};

/* The flat members of a Mount; its nested options are handled in mount_decode and mount_encode. */
static const JsonField mount_table[] = {
    STR(type, "Type", ContainerMount),
    OSTR(source, "Source", ContainerMount),
    STR(target, "Target", ContainerMount),
    OBOOL(read_only, "ReadOnly", ContainerMount),
    OSTR(consistency, "Consistency", ContainerMount),
    {0},
};
static const JsonField mount_bind_table[] = {
    OSTR(propagation, "Propagation", ContainerMount),
    OBOOL(non_recursive, "NonRecursive", ContainerMount),
    OBOOL(create_mountpoint, "CreateMountpoint", ContainerMount),
    OBOOL(ro_non_recursive, "ReadOnlyNonRecursive", ContainerMount),
    OBOOL(ro_force_recursive, "ReadOnlyForceRecursive", ContainerMount),
    OSTR(idmap, "IDMap", ContainerMount),
    {0},
};
static const JsonField mount_volume_table[] = {
    OBOOL(no_copy, "NoCopy", ContainerMount),
    MAP(volume_labels, "Labels", ContainerMount),
    OSTR(volume_subpath, "Subpath", ContainerMount),
    {0},
};
static const JsonField mount_driver_table[] = {
    OSTR(volume_driver, "Name", ContainerMount),
    MAP(driver_options, "Options", ContainerMount),
    {0},
};
static const JsonField mount_image_table[] = {
    OSTR(image_subpath, "Subpath", ContainerMount),
    {0},
};
static const JsonField mount_tmpfs_table[] = {
    {.name = "SizeBytes", .type = JSON_T_INT, .offset = offsetof(ContainerMount, tmpfs_size)},
    {.name = "Mode", .type = JSON_T_INT, .offset = offsetof(ContainerMount, tmpfs_mode)},
    {0},
};

/* Of a copy only: documents have them by port. */
static const JsonField port_table[] = {
    STR(port, "Port", ContainerPort),
    STR(host_ip, "HostIp", ContainerPort),
    STR(host_port, "HostPort", ContainerPort),
    {0},
};

static const JsonField config_table[] = {
    STR(hostname, "Hostname", ContainerConfig),
    STR(domainname, "Domainname", ContainerConfig),
    STR(user, "User", ContainerConfig),
    BOOL(attach_stdin, "AttachStdin", ContainerConfig),
    BOOL(attach_stdout, "AttachStdout", ContainerConfig),
    BOOL(attach_stderr, "AttachStderr", ContainerConfig),
    BOOL(tty, "Tty", ContainerConfig),
    BOOL(open_stdin, "OpenStdin", ContainerConfig),
    BOOL(stdin_once, "StdinOnce", ContainerConfig),
    {.name = "Env", .type = JSON_T_STRV, .offset = offsetof(ContainerConfig, env), .keep_empty = true},
    STRV(cmd, "Cmd", ContainerConfig),
    STR(image, "Image", ContainerConfig),
    STR(working_dir, "WorkingDir", ContainerConfig),
    STRV(entrypoint, "Entrypoint", ContainerConfig),
    STRV(on_build, "OnBuild", ContainerConfig),
    {.name = "Labels", .type = JSON_T_MAP, .offset = offsetof(ContainerConfig, labels), .keep_empty = true},
    OSTR(stop_signal, "StopSignal", ContainerConfig),
    OSTR(mac_address, "MacAddress", ContainerConfig),
    STRV(shell, "Shell", ContainerConfig),
    {.name = "NetworkDisabled", .type = JSON_T_BOOL, .offset = offsetof(ContainerConfig, network_disabled)},
    {.name = "ArgsEscaped", .type = JSON_T_BOOL, .offset = offsetof(ContainerConfig, args_escaped)},
    {0},
};

static const JsonField host_table[] = {
    STRV(binds, "Binds", ContainerHost),
    STR(container_id_file, "ContainerIDFile", ContainerHost),
    OBJECT(log, "LogConfig", ContainerHost, log_table),
    STR(network_mode, "NetworkMode", ContainerHost),
    OBJECT(restart, "RestartPolicy", ContainerHost, restart_table),
    BOOL(auto_remove, "AutoRemove", ContainerHost),
    STR(volume_driver, "VolumeDriver", ContainerHost),
    STRV(volumes_from, "VolumesFrom", ContainerHost),
    STRV(cap_add, "CapAdd", ContainerHost),
    STRV(cap_drop, "CapDrop", ContainerHost),
    STR(cgroupns_mode, "CgroupnsMode", ContainerHost),
    STRV(dns, "Dns", ContainerHost),
    STRV(dns_options, "DnsOptions", ContainerHost),
    STRV(dns_search, "DnsSearch", ContainerHost),
    STRV(extra_hosts, "ExtraHosts", ContainerHost),
    STRV(group_add, "GroupAdd", ContainerHost),
    STR(ipc_mode, "IpcMode", ContainerHost),
    STRV(links, "Links", ContainerHost),
    INT(oom_score_adj, "OomScoreAdj", ContainerHost),
    STR(pid_mode, "PidMode", ContainerHost),
    BOOL(privileged, "Privileged", ContainerHost),
    BOOL(publish_all_ports, "PublishAllPorts", ContainerHost),
    BOOL(readonly_rootfs, "ReadonlyRootfs", ContainerHost),
    STRV(security_opt, "SecurityOpt", ContainerHost),
    MAP(storage_opt, "StorageOpt", ContainerHost),
    MAP(tmpfs, "Tmpfs", ContainerHost),
    STR(uts_mode, "UTSMode", ContainerHost),
    STR(userns_mode, "UsernsMode", ContainerHost),
    INT(shm_size, "ShmSize", ContainerHost),
    MAP(sysctls, "Sysctls", ContainerHost),
    MAP(annotations, "Annotations", ContainerHost),
    STR(runtime, "Runtime", ContainerHost),
    STR(isolation, "Isolation", ContainerHost),
    INT(cpu_shares, "CpuShares", ContainerHost),
    INT(memory, "Memory", ContainerHost),
    INT(nano_cpus, "NanoCpus", ContainerHost),
    STR(cgroup_parent, "CgroupParent", ContainerHost),
    INT(blkio_weight, "BlkioWeight", ContainerHost),
    INT(cpu_period, "CpuPeriod", ContainerHost),
    INT(cpu_quota, "CpuQuota", ContainerHost),
    STR(cpuset_cpus, "CpusetCpus", ContainerHost),
    STR(cpuset_mems, "CpusetMems", ContainerHost),
    ARRAY(devices, n_devices, "Devices", ContainerHost, device_table, ContainerDevice),
    STRV(device_cgroup_rules, "DeviceCgroupRules", ContainerHost),
    ARRAY(device_requests, n_device_requests, "DeviceRequests", ContainerHost, device_request_table,
	  ContainerDeviceRequest),
    THROTTLES(blkio_weights, "BlkioWeightDevice", weight_table),
    THROTTLES(read_bps, "BlkioDeviceReadBps", throttle_table),
    THROTTLES(write_bps, "BlkioDeviceWriteBps", throttle_table),
    THROTTLES(read_iops, "BlkioDeviceReadIOps", throttle_table),
    THROTTLES(write_iops, "BlkioDeviceWriteIOps", throttle_table),
    INT(cpu_rt_period, "CpuRealtimePeriod", ContainerHost),
    INT(cpu_rt_runtime, "CpuRealtimeRuntime", ContainerHost),
    INT(cpu_percent, "CpuPercent", ContainerHost),
    INT(memory_reservation, "MemoryReservation", ContainerHost),
    INT(memory_swap, "MemorySwap", ContainerHost),
    {.name = "OomKillDisable",
     .type = JSON_T_BOOL,
     .offset = offsetof(ContainerHost, oom_kill_disable),
     .keep_empty = true},
    ARRAY(ulimits, n_ulimits, "Ulimits", ContainerHost, ulimit_table, ContainerUlimit),
    {0},
};

/* Go programs take a member by any spelling of its name that differs in case only, and so does json_decode. */
json_t *container_member(const json_t *obj, const char *key)
{
	json_t *found = json_object_get(obj, key), *value;
	const char *name;

	if (!found && json_is_object(obj))
		json_object_foreach ((json_t *)obj, name, value)
			if (strcasecmp(name, key) == 0)
				return value;
	return found;
}

/* {"a": {}, "b": {}} <-> a vector of the keys. */
static int set_decode(const json_t *obj, const char *key, char ***ret, Err *e)
{
	const json_t *set = container_member(obj, key);
	const char *name;
	json_t *value;

	if (!set || json_is_null(set))
		return 0;
	if (!json_is_object(set))
		return err_new(e, ERR_INVALID, "%s: expected an object", key);
	json_object_foreach ((json_t *)set, name, value)
		if (strv_add(ret, name) < 0)
			return err_oom(e);
	return 0;
}

static json_t *set_encode(char *const *v)
{
	json_t *set = json_object();

	for (size_t i = 0; set && v && v[i]; i++)
		json_object_set_new(set, v[i], json_object());
	return set;
}

/* [["noexec"], ["size", "1m"]] <-> "noexec", "size=1m" */
static int tmpfs_options_decode(const json_t *a, ContainerMount *m, Err *e)
{
	if (a && !json_is_null(a) && !json_is_array(a))
		return err_new(e, ERR_INVALID, "TmpfsOptions.Options: expected an array");
	for (size_t i = 0; i < json_array_size(a); i++) {
		const json_t *pair = json_array_get(a, i);
		const char *key = json_string_value(json_array_get(pair, 0)),
			   *value = json_string_value(json_array_get(pair, 1));
		size_t n = json_array_size(pair);

		if (!key || n > 2 || (n == 2 && !value) || strchr(key, '='))
			return err_new(
			    e, ERR_INVALID,
			    "TmpfsOptions.Options[%zu]: expected [\"flag\"] or [\"key\", \"value\"]", i);
		if (strv_take(&m->tmpfs_options, value ? strf("%s=%s", key, value) : strdup(key)) < 0)
			return err_oom(e);
	}
	return 0;
}

static json_t *tmpfs_options_encode(char *const *v)
{
	json_t *a = json_array();

	for (; v && *v; v++) {
		size_t n = strcspn(*v, "=");
		json_t *pair = json_pack("[s%]", *v, n);

		if (pair && (*v)[n])
			json_array_append_new(pair, json_string(*v + n + 1));
		json_array_append_new(a, pair);
	}
	return a;
}

static int mount_decode(const json_t *obj, ContainerMount *m, Err *e)
{
	const struct {
		const char *name;
		const JsonField *table;
		bool *given;
	} nested[] = {
	    {"BindOptions", mount_bind_table, &m->has_bind},
	    {"VolumeOptions", mount_volume_table, &m->has_volume},
	    {"ImageOptions", mount_image_table, &m->has_image},
	    {"TmpfsOptions", mount_tmpfs_table, &m->has_tmpfs},
	    {"ClusterOptions", NULL, &m->has_cluster},
	};
	int r = json_decode(obj, mount_table, m, e);

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(nested); i++) {
		const json_t *o = container_member(obj, nested[i].name);

		*nested[i].given = json_is_object(o);
		if (*nested[i].given && nested[i].table)
			r = json_decode(o, nested[i].table, m, e);
	}
	const json_t *driver = container_member(container_member(obj, "VolumeOptions"), "DriverConfig");
	if (r >= 0 && json_is_object(driver))
		r = json_decode(driver, mount_driver_table, m, e);
	if (r >= 0)
		r = tmpfs_options_decode(json_object_get(json_object_get(obj, "TmpfsOptions"), "Options"), m,
					 e);
	return r;
}

static json_t *mount_encode(const ContainerMount *m)
{
	json_t *o = json_encode(mount_table, m);

	if (!o)
		return NULL;
	if (m->has_bind)
		json_object_set_new(o, "BindOptions", json_encode(mount_bind_table, m));
	if (m->has_volume) {
		json_t *v = json_encode(mount_volume_table, m);

		if (m->volume_driver || m->driver_options)
			json_object_set_new(v, "DriverConfig", json_encode(mount_driver_table, m));
		json_object_set_new(o, "VolumeOptions", v);
	}
	if (m->has_image)
		json_object_set_new(o, "ImageOptions", json_encode(mount_image_table, m));
	if (m->has_tmpfs) {
		json_t *t = json_encode(mount_tmpfs_table, m);

		if (m->tmpfs_options)
			json_object_set_new(t, "Options", tmpfs_options_encode(m->tmpfs_options));
		json_object_set_new(o, "TmpfsOptions", t);
	}
	if (m->has_cluster)
		json_object_set_new(o, "ClusterOptions", json_object());
	return o;
}

static void mount_done(ContainerMount *m)
{
	json_fields_done(mount_table, m);
	json_fields_done(mount_bind_table, m);
	json_fields_done(mount_volume_table, m);
	json_fields_done(mount_driver_table, m);
	json_fields_done(mount_image_table, m);
	strv_free(m->tmpfs_options);
}

static int mounts_decode(const json_t *array, ContainerHost *h, Err *e)
{
	size_t n = json_array_size(array);

	if (n == 0)
		return 0;
	h->mounts = calloc(n, sizeof(*h->mounts));
	if (!h->mounts)
		return err_oom(e);
	for (size_t i = 0; i < n; i++) {
		int r;

		h->n_mounts = i + 1;
		r = mount_decode(json_array_get(array, i), &h->mounts[i], e);
		if (r < 0)
			return err_ctx(e, r, "Mounts[%zu]", i);
	}
	return 0;
}

/* What a document may leave out is there, whether it came from a client or from the database. */
static int fill(ContainerConfig *c, Err *e)
{
	int r = json_fields_fill(config_table, c);

	if (r >= 0)
		r = json_fields_fill(host_table, &c->host);
	for (size_t i = 0; r >= 0 && i < c->host.n_mounts; i++)
		r = json_fields_fill(mount_table, &c->host.mounts[i]);
	return r < 0 ? err_oom(e) : 0;
}

int container_port_add(ContainerHost *h, const char *port, const char *ip, const char *host, Err *e)
{
	ContainerPort *grown = realloc(h->ports, (h->n_ports + 1) * sizeof(*grown));

	if (!grown)
		return err_oom(e);
	h->ports = grown;
	ContainerPort *p = &h->ports[h->n_ports++];
	*p = (ContainerPort){strdup(port), strdup(ip ?: ""), strdup(host ?: "")};
	return p->port && p->host_ip && p->host_port ? 0 : err_oom(e);
}

static int port_add(ContainerHost *h, const char *port, const json_t *binding, Err *e)
{
	return container_port_add(h, port, json_get_str(binding, "HostIp"), json_get_str(binding, "HostPort"),
				  e);
}

static int ports_decode(const json_t *obj, ContainerHost *h, Err *e)
{
	const char *port;
	json_t *list;

	if (!obj || json_is_null(obj))
		return 0;
	if (!json_is_object(obj))
		return err_new(e, ERR_INVALID, "HostConfig.PortBindings: expected an object");
	json_object_foreach ((json_t *)obj, port, list) {
		size_t n = json_array_size(list);
		int r = n == 0 ? port_add(h, port, NULL, e) : 0;

		for (size_t i = 0; r >= 0 && i < n; i++)
			r = port_add(h, port, json_array_get(list, i), e);
		if (r < 0)
			return r;
	}
	return 0;
}

static json_t *ports_encode(const ContainerHost *h)
{
	json_t *obj = json_object();

	for (size_t i = 0; i < h->n_ports; i++) {
		json_t *list = json_object_get(obj, h->ports[i].port);

		if (!list) {
			list = json_array();
			json_object_set_new(obj, h->ports[i].port, list);
		}
		json_array_append_new(list, json_pack("{s:s, s:s}", "HostIp", h->ports[i].host_ip, "HostPort",
						      h->ports[i].host_port));
	}
	return obj;
}

static int host_decode(const json_t *obj, ContainerHost *h, Err *e)
{
	const json_t *init = container_member(obj, "Init"),
		     *swappiness = container_member(obj, "MemorySwappiness");
	const json_t *pids = container_member(obj, "PidsLimit"),
		     *console = container_member(obj, "ConsoleSize");
	int r = json_decode(obj, host_table, h, e);

	if (r < 0)
		return r;
	h->has_init = json_is_boolean(init);
	h->init = json_is_true(init);
	h->memory_swappiness = json_is_integer(swappiness) ? json_integer_value(swappiness) : -1;
	h->pids_limit = json_is_integer(pids) ? json_integer_value(pids) : 0;
	h->console_height = (uint32_t)json_integer_value(json_array_get(console, 0));
	h->console_width = (uint32_t)json_integer_value(json_array_get(console, 1));
	h->has_masked_paths = json_is_array(container_member(obj, "MaskedPaths"));
	h->has_readonly_paths = json_is_array(container_member(obj, "ReadonlyPaths"));
	if (json_to_strv(container_member(obj, "MaskedPaths"), &h->masked_paths) < 0 ||
	    json_to_strv(container_member(obj, "ReadonlyPaths"), &h->readonly_paths) < 0)
		return err_new(e, ERR_INVALID, "MaskedPaths, ReadonlyPaths: expected arrays of strings");
	r = mounts_decode(container_member(obj, "Mounts"), h, e);
	if (r >= 0)
		r = ports_decode(container_member(obj, "PortBindings"), h, e);
	return r;
}

int container_config_decode(const json_t *body, ContainerConfig *c, Err *e)
{
	const json_t *timeout = container_member(body, "StopTimeout"),
		     *entry = container_member(body, "Entrypoint");
	const json_t *health = container_member(body, "Healthcheck"),
		     *host = container_member(body, "HostConfig");
	int r = json_decode(body, config_table, c, e);

	c->stop_timeout = !json_is_integer(timeout)         ? STOP_TIMEOUT_UNSET
			  : json_integer_value(timeout) < 0 ? STOP_TIMEOUT_NEVER
							    : json_integer_value(timeout);
	c->has_entrypoint = json_is_array(entry) || json_is_string(entry);
	c->host.memory_swappiness = -1;
	if (r >= 0)
		r = set_decode(body, "ExposedPorts", &c->exposed_ports, e);
	if (r >= 0)
		r = set_decode(body, "Volumes", &c->volumes, e);
	if (r >= 0 && json_is_object(health)) {
		c->has_health = true;
		r = json_decode(health, health_table, &c->health, e);
	}
	if (r >= 0 && json_is_object(host)) {
		r = host_decode(host, &c->host, e);
		if (r < 0)
			return err_ctx(e, r, "HostConfig");
	}
	if (r >= 0)
		r = container_endpoints_decode(container_member(container_member(body, "NetworkingConfig"),
								"EndpointsConfig"),
					       c, e);
	if (r < 0)
		return err_kind(e, r, ERR_INVALID);
	return fill(c, e);
}

/* What is not there is null, or in a sparse document not there. */
static void set_or_null(json_t *o, const char *name, json_t *value, bool sparse)
{
	if (value || !sparse)
		json_object_set_new(o, name, value ? value : json_null());
}

static void set_if(json_t *o, const char *name, bool given, char *const *v)
{
	if (given)
		json_object_set_new(o, name, v ? json_from_strv(v) : json_array());
}

static json_t *mounts_encode(const ContainerHost *h)
{
	json_t *mounts = json_array();

	for (size_t i = 0; i < h->n_mounts; i++)
		json_array_append_new(mounts, mount_encode(&h->mounts[i]));
	return mounts;
}

static json_t *host_encode(const ContainerHost *h, bool sparse)
{
	json_t *o = sparse ? json_encode_sparse(host_table, h) : json_encode(host_table, h);

	if (!o)
		return NULL;
	if (!sparse || h->n_ports > 0)
		json_object_set_new(o, "PortBindings", ports_encode(h));
	if (!sparse || h->console_height || h->console_width)
		json_object_set_new(o, "ConsoleSize",
				    json_pack("[i, i]", (int)h->console_height, (int)h->console_width));
	set_or_null(o, "MemorySwappiness",
		    h->memory_swappiness < 0 ? NULL : json_integer(h->memory_swappiness), sparse);
	set_or_null(o, "PidsLimit", h->pids_limit == 0 ? NULL : json_integer(h->pids_limit), sparse);
	if (h->has_init)
		json_object_set_new(o, "Init", json_boolean(h->init));
	set_if(o, "MaskedPaths", h->has_masked_paths, h->masked_paths);
	set_if(o, "ReadonlyPaths", h->has_readonly_paths, h->readonly_paths);
	if (h->n_mounts > 0)
		json_object_set_new(o, "Mounts", mounts_encode(h));
	return o;
}

static json_t *config_encode(const ContainerConfig *c, bool sparse)
{
	json_t *o = sparse ? json_encode_sparse(config_table, c) : json_encode(config_table, c);

	if (!o)
		return NULL;
	if (c->exposed_ports)
		json_object_set_new(o, "ExposedPorts", set_encode(c->exposed_ports));
	set_or_null(o, "Volumes", c->volumes ? set_encode(c->volumes) : NULL, sparse);
	if (!c->cmd)
		set_or_null(o, "Cmd", NULL, sparse);
	if (strv_len(c->entrypoint) == 0)
		set_or_null(o, "Entrypoint", c->has_entrypoint ? json_array() : NULL, sparse);
	if (!c->on_build)
		set_or_null(o, "OnBuild", NULL, sparse);
	if (c->stop_timeout != STOP_TIMEOUT_UNSET)
		json_object_set_new(o, "StopTimeout", json_integer(MAX2(c->stop_timeout, (int64_t)-1)));
	if (c->has_health)
		json_object_set_new(o, "Healthcheck", json_encode(health_table, &c->health));
	return o;
}

json_t *container_host_inspect(const ContainerConfig *c)
{
	return host_encode(&c->host, false);
}

json_t *container_config_inspect(const ContainerConfig *c)
{
	return config_encode(c, false);
}

json_t *container_config_encode(const ContainerConfig *c)
{
	json_t *o = config_encode(c, true);

	if (!o)
		return NULL;
	json_object_set_new(o, "HostConfig", host_encode(&c->host, true));
	if (c->n_endpoints > 0)
		json_object_set_new(o, "NetworkingConfig",
				    json_pack("{s:o}", "EndpointsConfig", container_endpoints_encode(c)));
	return o;
}

/* ---- copies ---- */

static int dup_strv(char *const *v, char ***ret)
{
	*ret = v ? strv_dup(v) : NULL;
	return v && !*ret ? -ENOMEM : 0;
}

static int mount_copy(const ContainerMount *from, ContainerMount *ret)
{
	const JsonField *const tables[] = {mount_table,        mount_bind_table,  mount_volume_table,
					   mount_driver_table, mount_image_table, mount_tmpfs_table};
	int r = dup_strv(from->tmpfs_options, &ret->tmpfs_options);

	ret->has_bind = from->has_bind;
	ret->has_volume = from->has_volume;
	ret->has_image = from->has_image;
	ret->has_tmpfs = from->has_tmpfs;
	ret->has_cluster = from->has_cluster;
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(tables); i++)
		r = json_fields_copy(tables[i], from, ret);
	return r;
}

static int mounts_copy(const ContainerHost *from, ContainerHost *ret)
{
	int r = 0;

	if (from->n_mounts == 0)
		return 0;
	ret->mounts = calloc(from->n_mounts, sizeof(*ret->mounts));
	if (!ret->mounts)
		return -ENOMEM;
	for (; r >= 0 && ret->n_mounts < from->n_mounts; ret->n_mounts++)
		r = mount_copy(&from->mounts[ret->n_mounts], &ret->mounts[ret->n_mounts]);
	return r;
}

static int ports_copy(const ContainerHost *from, ContainerHost *ret)
{
	int r = 0;

	if (from->n_ports == 0)
		return 0;
	ret->ports = calloc(from->n_ports, sizeof(*ret->ports));
	if (!ret->ports)
		return -ENOMEM;
	for (; r >= 0 && ret->n_ports < from->n_ports; ret->n_ports++)
		r = json_fields_copy(port_table, &from->ports[ret->n_ports], &ret->ports[ret->n_ports]);
	return r;
}

static int host_copy(const ContainerHost *from, ContainerHost *ret)
{
	int r = json_fields_copy(host_table, from, ret);

	ret->has_init = from->has_init;
	ret->init = from->init;
	ret->memory_swappiness = from->memory_swappiness;
	ret->pids_limit = from->pids_limit;
	ret->console_height = from->console_height;
	ret->console_width = from->console_width;
	ret->has_masked_paths = from->has_masked_paths;
	ret->has_readonly_paths = from->has_readonly_paths;
	if (r >= 0)
		r = dup_strv(from->masked_paths, &ret->masked_paths);
	if (r >= 0)
		r = dup_strv(from->readonly_paths, &ret->readonly_paths);
	if (r >= 0)
		r = mounts_copy(from, ret);
	return r < 0 ? r : ports_copy(from, ret);
}

int container_config_copy(const ContainerConfig *from, ContainerConfig *ret, Err *e)
{
	int r = json_fields_copy(config_table, from, ret);

	ret->has_entrypoint = from->has_entrypoint;
	ret->stop_timeout = from->stop_timeout;
	ret->has_health = from->has_health;
	if (r >= 0)
		r = dup_strv(from->exposed_ports, &ret->exposed_ports);
	if (r >= 0)
		r = dup_strv(from->volumes, &ret->volumes);
	if (r >= 0)
		r = json_fields_copy(health_table, &from->health, &ret->health);
	if (r >= 0)
		r = host_copy(&from->host, &ret->host);
	if (r >= 0)
		r = container_endpoints_copy(from, ret);
	if (r >= 0)
		r = container_pod_copy(&from->pod, &ret->pod);
	return r < 0 ? err_oom(e) : 0;
}

void container_config_done(ContainerConfig *c)
{
	ContainerHost *h = &c->host;

	json_fields_done(config_table, c);
	json_fields_done(health_table, &c->health);
	json_fields_done(host_table, h);
	strv_free(c->exposed_ports);
	strv_free(c->volumes);
	strv_free(h->masked_paths);
	strv_free(h->readonly_paths);
	for (size_t i = 0; i < h->n_mounts; i++)
		mount_done(&h->mounts[i]);
	free(h->mounts);
	for (size_t i = 0; i < h->n_ports; i++)
		json_fields_done(port_table, &h->ports[i]);
	free(h->ports);
	for (size_t i = 0; i < c->n_endpoints; i++)
		container_endpoint_done(&c->endpoints[i]);
	free(c->endpoints);
	container_pod_done(&c->pod);
	*c = (ContainerConfig){0};
}
