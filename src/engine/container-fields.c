/* SPDX-License-Identifier: Apache-2.0 */
/* The table of container-fields.h, and the walk of a request after what is refused. */
#include "engine/container-fields.h"

#include "base/str.h"

#include <strings.h>

/* tools/engine-api reads these rows: one a line. */
/* clang-format off */
#define OF_WINDOWS "it is of containers for Windows"
#define HOST       "HostConfig."
#define ENDPOINT   "NetworkingConfig.EndpointsConfig{}."
const ContainerField container_fields[] = {
	{"Hostname", FIELD_HONOURED, NULL},
	{"Domainname", FIELD_HONOURED, NULL},
	{"User", FIELD_HONOURED, "name or number, `user[:group]`"},
	{"AttachStdin", FIELD_SHOWN, NULL},
	{"AttachStdout", FIELD_SHOWN, NULL},
	{"AttachStderr", FIELD_SHOWN, NULL},
	{"ExposedPorts", FIELD_HONOURED, NULL},
	{"Tty", FIELD_HONOURED, NULL},
	{"OpenStdin", FIELD_HONOURED, NULL},
	{"StdinOnce", FIELD_HONOURED, NULL},
	{"Env", FIELD_HONOURED, "a name alone takes the image's variable away"},
	{"Cmd", FIELD_HONOURED, NULL},
	{"Healthcheck.Test", FIELD_HONOURED, NULL},
	{"Healthcheck.Interval", FIELD_HONOURED, NULL},
	{"Healthcheck.Timeout", FIELD_HONOURED, NULL},
	{"Healthcheck.StartPeriod", FIELD_HONOURED, NULL},
	{"Healthcheck.StartInterval", FIELD_HONOURED, NULL},
	{"Healthcheck.Retries", FIELD_HONOURED, NULL},
	{"ArgsEscaped", FIELD_SHOWN, "of images for Windows"},
	{"Image", FIELD_HONOURED, NULL},
	{"Volumes", FIELD_HONOURED, NULL},
	{"WorkingDir", FIELD_HONOURED, "made if it is not there"},
	{"Entrypoint", FIELD_HONOURED, "`[\"\"]` takes the image's away"},
	{"NetworkDisabled", FIELD_HONOURED, NULL},
	{"MacAddress", FIELD_HONOURED, "of the network of `NetworkMode`"},
	{"OnBuild", FIELD_SHOWN, "of images"},
	{"Labels", FIELD_HONOURED, NULL},
	{"StopSignal", FIELD_HONOURED, NULL},
	{"StopTimeout", FIELD_HONOURED, NULL},
	{"Shell", FIELD_HONOURED, "of health checks, and of images committed from it"},

	{HOST "CpuShares", FIELD_HONOURED, NULL},
	{HOST "Memory", FIELD_HONOURED, NULL},
	{HOST "CgroupParent", FIELD_HONOURED, "a path below the root of the hierarchies"},
	{HOST "BlkioWeight", FIELD_HONOURED, NULL},
	{HOST "BlkioWeightDevice[].Path", FIELD_HONOURED, NULL},
	{HOST "BlkioWeightDevice[].Weight", FIELD_HONOURED, NULL},
	{HOST "BlkioDeviceReadBps[].Path", FIELD_HONOURED, NULL},
	{HOST "BlkioDeviceReadBps[].Rate", FIELD_HONOURED, NULL},
	{HOST "BlkioDeviceWriteBps[].Path", FIELD_HONOURED, NULL},
	{HOST "BlkioDeviceWriteBps[].Rate", FIELD_HONOURED, NULL},
	{HOST "BlkioDeviceReadIOps[].Path", FIELD_HONOURED, NULL},
	{HOST "BlkioDeviceReadIOps[].Rate", FIELD_HONOURED, NULL},
	{HOST "BlkioDeviceWriteIOps[].Path", FIELD_HONOURED, NULL},
	{HOST "BlkioDeviceWriteIOps[].Rate", FIELD_HONOURED, NULL},
	{HOST "CpuPeriod", FIELD_HONOURED, NULL},
	{HOST "CpuQuota", FIELD_HONOURED, NULL},
	{HOST "CpuRealtimePeriod", FIELD_HONOURED, "where the kernel has it (cgroup v1)"},
	{HOST "CpuRealtimeRuntime", FIELD_HONOURED, "where the kernel has it (cgroup v1)"},
	{HOST "CpusetCpus", FIELD_HONOURED, NULL},
	{HOST "CpusetMems", FIELD_HONOURED, NULL},
	{HOST "Devices[].PathOnHost", FIELD_HONOURED, "a device, or a directory of devices"},
	{HOST "Devices[].PathInContainer", FIELD_HONOURED, NULL},
	{HOST "Devices[].CgroupPermissions", FIELD_HONOURED, NULL},
	{HOST "DeviceCgroupRules", FIELD_HONOURED, NULL},
	{HOST "DeviceRequests[].Driver", FIELD_HONOURED, "`cdi`; a request without driver for `gpu` is taken to CDI"},
	{HOST "DeviceRequests[].Count", FIELD_HONOURED, "of a request for `gpu`"},
	{HOST "DeviceRequests[].DeviceIDs", FIELD_HONOURED, NULL},
	{HOST "DeviceRequests[].Capabilities", FIELD_HONOURED, NULL},
	{HOST "DeviceRequests[].Options", FIELD_REFUSED, "CDI has no options"},
	{HOST "KernelMemoryTCP", FIELD_REFUSED, "kernels do not limit it by itself any more"},
	{HOST "MemoryReservation", FIELD_HONOURED, NULL},
	{HOST "MemorySwap", FIELD_HONOURED, "twice Memory if it is not said"},
	{HOST "MemorySwappiness", FIELD_HONOURED, "with cgroup v1; discarded with a warning with v2"},
	{HOST "NanoCpus", FIELD_HONOURED, NULL},
	{HOST "OomKillDisable", FIELD_HONOURED, "with cgroup v1; discarded with a warning with v2"},
	{HOST "Init", FIELD_HONOURED, NULL},
	{HOST "PidsLimit", FIELD_HONOURED, NULL},
	{HOST "Ulimits[].Name", FIELD_HONOURED, NULL},
	{HOST "Ulimits[].Soft", FIELD_HONOURED, NULL},
	{HOST "Ulimits[].Hard", FIELD_HONOURED, NULL},
	{HOST "CpuCount", FIELD_REFUSED, OF_WINDOWS},
	{HOST "CpuPercent", FIELD_DISCARDED, "it is of containers for Windows"},
	{HOST "IOMaximumIOps", FIELD_REFUSED, OF_WINDOWS},
	{HOST "IOMaximumBandwidth", FIELD_REFUSED, OF_WINDOWS},
	{HOST "Binds", FIELD_HONOURED, NULL},
	{HOST "ContainerIDFile", FIELD_SHOWN, "the client writes it"},
	{HOST "LogConfig.Type", FIELD_HONOURED, NULL},
	{HOST "LogConfig.Config", FIELD_HONOURED, NULL},
	{HOST "NetworkMode", FIELD_HONOURED, NULL},
	{HOST "PortBindings{}[].HostIp", FIELD_HONOURED, NULL},
	{HOST "PortBindings{}[].HostPort", FIELD_HONOURED, NULL},
	{HOST "RestartPolicy.Name", FIELD_HONOURED, NULL},
	{HOST "RestartPolicy.MaximumRetryCount", FIELD_HONOURED, NULL},
	{HOST "AutoRemove", FIELD_HONOURED, NULL},
	{HOST "VolumeDriver", FIELD_HONOURED, NULL},
	{HOST "VolumesFrom", FIELD_HONOURED, NULL},
	{HOST "Mounts[].Target", FIELD_HONOURED, NULL},
	{HOST "Mounts[].Source", FIELD_HONOURED, NULL},
	{HOST "Mounts[].Type", FIELD_HONOURED, NULL},
	{HOST "Mounts[].ReadOnly", FIELD_HONOURED, NULL},
	{HOST "Mounts[].Consistency", FIELD_SHOWN, "of Docker Desktop"},
	{HOST "Mounts[].BindOptions.Propagation", FIELD_HONOURED, NULL},
	{HOST "Mounts[].BindOptions.NonRecursive", FIELD_HONOURED, NULL},
	{HOST "Mounts[].BindOptions.CreateMountpoint", FIELD_HONOURED, NULL},
	{HOST "Mounts[].BindOptions.ReadOnlyNonRecursive", FIELD_HONOURED, NULL},
	{HOST "Mounts[].BindOptions.ReadOnlyForceRecursive", FIELD_HONOURED, NULL},
	{HOST "Mounts[].BindOptions.IDMap", FIELD_HONOURED, "ireko's own: see idmap"},
	{HOST "Mounts[].VolumeOptions.NoCopy", FIELD_HONOURED, NULL},
	{HOST "Mounts[].VolumeOptions.Labels", FIELD_HONOURED, NULL},
	{HOST "Mounts[].VolumeOptions.DriverConfig.Name", FIELD_HONOURED, NULL},
	{HOST "Mounts[].VolumeOptions.DriverConfig.Options", FIELD_HONOURED, NULL},
	{HOST "Mounts[].VolumeOptions.Subpath", FIELD_HONOURED, NULL},
	{HOST "Mounts[].ImageOptions.Subpath", FIELD_HONOURED, NULL},
	{HOST "Mounts[].TmpfsOptions.SizeBytes", FIELD_HONOURED, NULL},
	{HOST "Mounts[].TmpfsOptions.Mode", FIELD_HONOURED, NULL},
	{HOST "Mounts[].TmpfsOptions.Options", FIELD_HONOURED, NULL},
	{HOST "ConsoleSize", FIELD_HONOURED, NULL},
	{HOST "Annotations", FIELD_HONOURED, NULL},
	{HOST "CapAdd", FIELD_HONOURED, NULL},
	{HOST "CapDrop", FIELD_HONOURED, NULL},
	{HOST "CgroupnsMode", FIELD_HONOURED, NULL},
	{HOST "Dns", FIELD_HONOURED, NULL},
	{HOST "DnsOptions", FIELD_HONOURED, NULL},
	{HOST "DnsSearch", FIELD_HONOURED, NULL},
	{HOST "ExtraHosts", FIELD_HONOURED, NULL},
	{HOST "GroupAdd", FIELD_HONOURED, NULL},
	{HOST "IpcMode", FIELD_HONOURED, NULL},
	{HOST "Cgroup", FIELD_REFUSED, "a cgroup is chosen with CgroupParent"},
	{HOST "Links", FIELD_HONOURED, NULL},
	{HOST "OomScoreAdj", FIELD_HONOURED, NULL},
	{HOST "PidMode", FIELD_HONOURED, NULL},
	{HOST "Privileged", FIELD_HONOURED, NULL},
	{HOST "PublishAllPorts", FIELD_HONOURED, NULL},
	{HOST "ReadonlyRootfs", FIELD_HONOURED, NULL},
	{HOST "SecurityOpt", FIELD_HONOURED, "seccomp, apparmor, no-new-privileges; labels of SELinux where there is none"},
	{HOST "StorageOpt", FIELD_REFUSED, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"},
	{HOST "Tmpfs", FIELD_HONOURED, NULL},
	{HOST "UTSMode", FIELD_HONOURED, NULL},
	{HOST "UsernsMode", FIELD_HONOURED, NULL},
	{HOST "ShmSize", FIELD_HONOURED, NULL},
	{HOST "Sysctls", FIELD_HONOURED, "those that a namespace keeps apart"},
	{HOST "Runtime", FIELD_HONOURED, NULL},
	{HOST "Isolation", FIELD_HONOURED, "`default`; others are of Windows"},
	{HOST "MaskedPaths", FIELD_HONOURED, NULL},
	{HOST "ReadonlyPaths", FIELD_HONOURED, NULL},

	{ENDPOINT "IPAMConfig.IPv4Address", FIELD_HONOURED, NULL},
	{ENDPOINT "IPAMConfig.IPv6Address", FIELD_HONOURED, NULL},
	{ENDPOINT "IPAMConfig.LinkLocalIPs", FIELD_REFUSED, "addresses can be added in the container"},
	{ENDPOINT "Links", FIELD_HONOURED, NULL},
	{ENDPOINT "MacAddress", FIELD_HONOURED, NULL},
	{ENDPOINT "Aliases", FIELD_HONOURED, NULL},
	{ENDPOINT "DriverOpts", FIELD_HONOURED, NULL},
	{ENDPOINT "GwPriority", FIELD_HONOURED, NULL},
	{ENDPOINT "NetworkID", FIELD_ANSWERED, NULL},
	{ENDPOINT "EndpointID", FIELD_ANSWERED, NULL},
	{ENDPOINT "Gateway", FIELD_ANSWERED, NULL},
	{ENDPOINT "IPAddress", FIELD_ANSWERED, NULL},
	{ENDPOINT "IPPrefixLen", FIELD_ANSWERED, NULL},
	{ENDPOINT "IPv6Gateway", FIELD_ANSWERED, NULL},
	{ENDPOINT "GlobalIPv6Address", FIELD_ANSWERED, NULL},
	{ENDPOINT "GlobalIPv6PrefixLen", FIELD_ANSWERED, NULL},
	{ENDPOINT "DNSNames", FIELD_ANSWERED, NULL},
	{NULL, FIELD_HONOURED, NULL},
};
/* clang-format on */

static bool is_empty(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return json_string_length(v) == 0;
	case JSON_INTEGER:
		return json_integer_value(v) == 0;
	case JSON_REAL:
		return false;
	case JSON_ARRAY:
		return json_array_size(v) == 0;
	case JSON_OBJECT:
		return json_object_size(v) == 0;
	case JSON_TRUE:
		return false;
	case JSON_FALSE:
	case JSON_NULL:
		break;
	}
	return true;
}

static int refuse(const ContainerField *f, const json_t *v, Err *e)
{
	_cleanup_free_ char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);

	return err_new(e, ERR_INVALID, "%s: %.200s is not possible: %s", f->path, text ? text : "?",
		       f->remark);
}

static int walk(const ContainerField *f, const char *path, const json_t *v, Err *e);

/* `rest` is what follows the name of the member that v is. */
static int walk_value(const ContainerField *f, const char *rest, json_t *v, Err *e)
{
	const char *below, *key;
	json_t *one;
	size_t i;
	int r = 0;

	if ((below = str_after(rest, "[]"))) {
		json_array_foreach (v, i, one)
			if (r >= 0)
				r = walk_value(f, below, one, e);
		return r;
	}
	if ((below = str_after(rest, "{}"))) {
		if (!json_is_object(v))
			return 0;
		json_object_foreach (v, key, one)
			if (r >= 0)
				r = walk_value(f, below, one, e);
		return r;
	}
	if (*rest == '.')
		return walk(f, rest + 1, v, e);
	return is_empty(v) ? 0 : refuse(f, v, e);
}

/* A Go program takes a member by any spelling of its name, so a second one must not hide behind the first. */
static int walk(const ContainerField *f, const char *path, const json_t *v, Err *e)
{
	size_t n = strcspn(path, ".[{");
	const char *key;
	json_t *one;
	int r = 0;

	if (!json_is_object(v))
		return 0;
	json_object_foreach ((json_t *)v, key, one)
		if (r >= 0 && strlen(key) == n && strncasecmp(key, path, n) == 0)
			r = walk_value(f, path + n, one, e);
	return r;
}

int container_fields_check(const json_t *body, Err *e)
{
	int r = 0;

	for (const ContainerField *f = container_fields; r >= 0 && f->path; f++)
		if (f->state == FIELD_REFUSED)
			r = walk(f, f->path, body, e);
	return r;
}
