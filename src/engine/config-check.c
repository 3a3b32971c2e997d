/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether what a container is asked to be makes sense, and can be had on this machine. All that can be known without starting it is told
 * when it is created, in dockerd's words, on which clients and scripts match. What dockerd leaves out with a warning is left out here with the
 * same.
 *
 * Mounts, networks, logging and restart policies are checked where they are done.
 */
#include "engine/engine-internal.h"
#include "engine/security-opt.h"

#include "kernel/process.h"

#include <arpa/inet.h>

#define MEMORY_MIN   (6 << 20)
#define HOSTNAME_LEN 64 /* of the kernel */
#define CPU_LIST_MAX 8192

/* ---- limits ---- */

/* Kubernetes knows no smallest limit, and -1 as none. */
static int check_memory(const ContainerHost *h, bool update, bool pod, Err *e)
{
	if (pod ? h->memory < -1 : h->memory < 0 || (h->memory > 0 && h->memory < MEMORY_MIN))
		return err_new(e, ERR_INVALID, "Minimum memory limit allowed is 6MB");
	if (h->memory > 0 && h->memory_swap > 0 && h->memory_swap < h->memory)
		return err_new(e, ERR_INVALID,
			       "Minimum memoryswap limit should be larger than memory limit, see usage");
	if (h->memory == 0 && h->memory_swap > 0 && !update)
		return err_new(
		    e, ERR_INVALID,
		    "You should always set the Memory limit when using Memoryswap limit, see usage");
	if (h->memory_swap < -1)
		return err_new(e, ERR_INVALID, "Invalid value: %lld, valid memory swap is -1, 0 or above",
			       (long long)h->memory_swap);
	if (h->memory_swappiness < -1 || h->memory_swappiness > 100)
		return err_new(e, ERR_INVALID, "Invalid value: %lld, valid memory swappiness range is 0-100",
			       (long long)h->memory_swappiness);
	if (h->memory_reservation < 0 || (h->memory_reservation > 0 && h->memory_reservation < MEMORY_MIN))
		return err_new(e, ERR_INVALID, "Minimum memory reservation allowed is 6MB");
	if (h->memory > 0 && h->memory_reservation > h->memory)
		return err_new(
		    e, ERR_INVALID,
		    "Minimum memory limit can not be less than memory reservation limit, see usage");
	return 0;
}

static int check_cpu(const ContainerHost *h, Err *e)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (h->nano_cpus > 0 && h->cpu_period > 0)
		return err_new(e, ERR_INVALID,
			       "Conflicting options: Nano CPUs and CPU Period cannot both be set");
	if (h->nano_cpus > 0 && h->cpu_quota > 0)
		return err_new(e, ERR_INVALID,
			       "Conflicting options: Nano CPUs and CPU Quota cannot both be set");
	if (h->nano_cpus < 0 || h->nano_cpus > cpus * 1000000000ll)
		return err_new(e, ERR_INVALID,
			       "Range of CPUs is from 0.01 to %ld.00, as there are only %ld CPUs available",
			       cpus, cpus);
	if (h->cpu_period != 0 && (h->cpu_period < 1000 || h->cpu_period > 1000000))
		return err_new(e, ERR_INVALID,
			       "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. "
			       "1000000)");
	if (h->cpu_quota > 0 && h->cpu_quota < 1000)
		return err_new(e, ERR_INVALID, "CPU cfs quota can not be less than 1ms (i.e. 1000)");
	if (h->cpu_shares < 0)
		return err_new(e, ERR_INVALID, "Invalid value: %lld, CPU shares must not be negative",
			       (long long)h->cpu_shares);
	return 0;
}

static int check_realtime(const ContainerHost *h, Err *e)
{
	if ((h->cpu_rt_period != 0 || h->cpu_rt_runtime != 0) &&
	    access("/sys/fs/cgroup/cpu/cpu.rt_runtime_us", F_OK) < 0)
		return err_new(e, ERR_UNSUPPORTED, "kernel does not support CPU real-time scheduler");
	if (h->cpu_rt_period < 0 || h->cpu_rt_runtime < 0)
		return err_new(e, ERR_INVALID, "cpu real-time period and runtime must not be negative");
	if (h->cpu_rt_period != 0 && h->cpu_rt_runtime > h->cpu_rt_period)
		return err_new(e, ERR_INVALID,
			       "cpu real-time runtime cannot be higher than cpu real-time period");
	return 0;
}

/* Every number of the list `want` is in the list `have`. -EINVAL if want is no list. */
static int list_covers(const char *want, const char *have, bool *ret)
{
	_cleanup_free_ unsigned char *set = calloc(1, CPU_LIST_MAX);
	const char *const lists[] = {have, want};

	if (!set)
		return -ENOMEM;
	*ret = true;
	for (int pass = 0; pass < 2; pass++) {
		const char *s = lists[pass];

		while (*s && *s != '\n') {
			unsigned from, to;
			int n = 0;

			if (sscanf(s, "%6u-%6u%n", &from, &to, &n) < 2 || n == 0) {
				n = 0;
				if (sscanf(s, "%6u%n", &from, &n) != 1)
					return -EINVAL;
				to = from;
			}
			if (from > to || to >= CPU_LIST_MAX)
				return -EINVAL;
			for (unsigned i = from; i <= to; i++) {
				if (pass == 0)
					set[i] = 1;
				else
					*ret = *ret && set[i];
			}
			s += n;
			if (*s == ',')
				s++;
			else if (*s && *s != '\n')
				return -EINVAL;
		}
	}
	return 0;
}

static int check_list(const char *want, const char *file, const char *what, const char *things, Err *e)
{
	_cleanup_free_ char *have = NULL;
	bool covered;
	int r;

	if (str_empty(want) || file_read_at(AT_FDCWD, file, 65536, &have, NULL) < 0)
		return 0;
	have[strcspn(have, "\n")] = '\0';
	r = list_covers(want, have, &covered);
	if (r == -ENOMEM)
		return err_oom(e);
	if (r < 0)
		return err_new(e, ERR_INVALID, "Invalid value %s for cpuset %s: invalid format: %s", want,
			       what, want);
	if (!covered)
		return err_new(e, ERR_INVALID, "Requested %s are not available - requested %s, available: %s",
			       things, want, have);
	return 0;
}

static int check_rates(const ContainerThrottles *t, const char *member, Err *e)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->items[i].rate < 0 || str_empty(t->items[i].path) || t->items[i].path[0] != '/')
			return err_new(e, ERR_INVALID,
				       "HostConfig.%s[%zu]: expected the path of a device and a rate", member,
				       i);
	return 0;
}

static int check_block(const ContainerHost *h, Err *e)
{
	const struct {
		const ContainerThrottles *rates;
		const char *member;
	} all[] = {{&h->read_bps, "BlkioDeviceReadBps"},
		   {&h->write_bps, "BlkioDeviceWriteBps"},
		   {&h->read_iops, "BlkioDeviceReadIOps"},
		   {&h->write_iops, "BlkioDeviceWriteIOps"},
		   {&h->blkio_weights, "BlkioWeightDevice"}};
	int r = 0;

	if (h->blkio_weight != 0 && (h->blkio_weight < 10 || h->blkio_weight > 1000))
		return err_new(e, ERR_INVALID, "Range of blkio weight is from 10 to 1000");
	for (size_t i = 0; i < h->blkio_weights.n; i++)
		if (h->blkio_weights.items[i].rate < 10 || h->blkio_weights.items[i].rate > 1000)
			return err_new(e, ERR_INVALID, "Range of blkio weight is from 10 to 1000");
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(all); i++)
		r = check_rates(all[i].rates, all[i].member, e);
	return r;
}

int container_limits_check(const ContainerHost *h, bool update, bool pod, Err *e)
{
	int r = check_memory(h, update, pod, e);

	if (r >= 0)
		r = check_cpu(h, e);
	if (r >= 0)
		r = check_realtime(h, e);
	if (r >= 0)
		r = check_list(h->cpuset_cpus, "/sys/devices/system/cpu/online", "cpus", "CPUs", e);
	if (r >= 0)
		r = check_list(h->cpuset_mems, "/sys/devices/system/node/online", "mems", "memory nodes", e);
	if (r >= 0)
		r = check_block(h, e);
	if (r >= 0 && h->pids_limit < -1)
		r = err_new(e, ERR_INVALID, "Invalid value: %lld, pids limit must be -1, 0 or above",
			    (long long)h->pids_limit);
	return r;
}

/* ---- modes ---- */

/* One of the words, "", or, if allowed, container:<name|id>. */
static int check_mode(const char *mode, const char *const *words, bool container, const char *what, Err *e)
{
	const char *of = mode ? str_after(mode, "container:") : NULL;

	if (str_empty(mode) || (container && !str_empty(of)))
		return 0;
	for (; *words; words++)
		if (streq(mode, *words))
			return 0;
	return err_new(e, ERR_INVALID, "invalid %s mode: %s", what, mode);
}

static int check_modes(const ContainerHost *h, Err *e)
{
	static const char *const ipc[] = {"none", "private", "shareable", "host", NULL};
	static const char *const host[] = {"host", NULL};
	static const char *const cgroup[] = {"private", "host", NULL};
	int r = check_mode(h->ipc_mode, ipc, true, "IPC", e);

	if (r >= 0)
		r = check_mode(h->pid_mode, host, true, "PID", e);
	if (r >= 0)
		r = check_mode(h->uts_mode, host, false, "UTS", e);
	if (r >= 0)
		r = check_mode(h->userns_mode, host, false, "userns", e);
	if (r >= 0)
		r = check_mode(h->cgroupns_mode, cgroup, false, "cgroup namespace", e);
	if (r >= 0 && !str_empty(h->isolation) && strcasecmp(h->isolation, "default") != 0)
		r = err_new(e, ERR_INVALID, "invalid isolation '%s' on linux", h->isolation);
	return r;
}

static int check_env(const ContainerConfig *k, Err *e)
{
	for (size_t i = 0; k->env && k->env[i]; i++)
		if (!k->env[i][0] || k->env[i][0] == '=')
			return err_new(e, ERR_INVALID, "invalid environment variable: %.200s", k->env[i]);
	return 0;
}

/* Before defaults and the image's are filled in: what the user himself said that contradicts itself. */
int container_request_check(const ContainerConfig *k, Err *e)
{
	const ContainerHost *h = &k->host;
	bool other = h->network_mode && str_starts(h->network_mode, "container:");
	bool host = streq0(h->network_mode, "host");
	const struct {
		bool wrong;
		const char *why;
	} rules[] = {
	    {other && str_empty(h->network_mode + strlen("container:")),
	     "invalid network mode: invalid container format container:<name|id>"},
	    {streq0(h->uts_mode, "host") && !str_empty(k->hostname),
	     "conflicting options: hostname and the UTS mode"},
	    {other && !str_empty(k->hostname), "conflicting options: hostname and the network mode"},
	    {host && strv_len(h->links) > 0,
	     "conflicting options: host type networking can't be used with links. This would result in "
	     "undefined behavior"},
	    {other && strv_len(h->links) > 0,
	     "conflicting options: container type network can't be used with links. This would result in "
	     "undefined behavior"},
	    {other && strv_len(h->dns) > 0, "conflicting options: dns and the network mode"},
	    {other && strv_len(h->extra_hosts) > 0,
	     "conflicting options: custom host-to-IP mapping and the network mode"},
	    {(other || host) && !str_empty(k->mac_address),
	     "conflicting options: mac-address and the network mode"},
	    {other && (h->n_ports > 0 || h->publish_all_ports),
	     "conflicting options: port publishing and the container type network mode"},
	    {other && strv_len(k->exposed_ports) > 0,
	     "conflicting options: port exposing and the container type network mode"},
	};

	for (size_t i = 0; i < ELEMENTSOF(rules); i++)
		if (rules[i].wrong)
			return err_new(e, ERR_INVALID, "%s", rules[i].why);
	return check_env(k, e);
}

/* ---- the rest ---- */

static int check_extra_hosts(const ContainerHost *h, Err *e)
{
	unsigned char a[16];

	for (size_t i = 0; h->extra_hosts && h->extra_hosts[i]; i++) {
		const char *entry = h->extra_hosts[i], *address = strpbrk(entry, ":=");
		_cleanup_free_ char *bare = address ? strdup(address + 1) : NULL;

		if (!address || address == entry)
			return err_new(e, ERR_INVALID, "bad format for add-host: \"%.200s\"", entry);
		if (!bare)
			return err_oom(e);
		if (bare[0] == '[' && str_ends(bare, "]")) {
			bare[strlen(bare) - 1] = '\0';
			memmove(bare, bare + 1, strlen(bare));
		}
		if (!streq(bare, "host-gateway") && inet_pton(AF_INET, bare, a) != 1 &&
		    inet_pton(AF_INET6, bare, a) != 1)
			return err_new(e, ERR_INVALID, "invalid IP address in add-host: \"%.200s\"", bare);
	}
	return 0;
}

static int check_ulimits(const ContainerHost *h, Err *e)
{
	for (size_t i = 0; i < h->n_ulimits; i++) {
		const ContainerUlimit *u = &h->ulimits[i];
		_cleanup_free_ char *type = strf("RLIMIT_%s", u->name ?: "");

		if (!type)
			return err_oom(e);
		for (char *p = type; *p; p++)
			*p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
		if (process_rlimit_by_name(type) < 0)
			return err_new(e, ERR_INVALID, "invalid ulimit type: %.100s", u->name ?: "");
		if (u->hard != -1 && (u->soft > u->hard || u->soft == -1))
			return err_new(
			    e, ERR_INVALID,
			    "ulimit %s: soft limit must be less than or equal to hard limit: %lld > %lld",
			    u->name, (long long)u->soft, (long long)u->hard);
	}
	return 0;
}

static int check_devices(const ContainerHost *h, Err *e)
{
	int r = 0;

	for (size_t i = 0; i < h->n_devices; i++) {
		const char *p = h->devices[i].cgroup_permissions ?: "";

		if (strlen(p) > 3 || strspn(p, "rwm") != strlen(p))
			return err_new(e, ERR_INVALID,
				       "HostConfig.Devices[%zu].CgroupPermissions: \"%.20s\" is not of r, w "
				       "and m",
				       i, p);
	}
	for (size_t i = 0; r >= 0 && h->device_cgroup_rules && h->device_cgroup_rules[i]; i++)
		r = device_rule_parse(h->device_cgroup_rules[i], NULL, e);
	return r;
}

static int check_numbers(const ContainerHost *h, Err *e)
{
	if (h->shm_size < 0)
		return err_new(e, ERR_INVALID, "SHM size can not be less than 0");
	if (h->oom_score_adj < -1000 || h->oom_score_adj > 1000)
		return err_new(e, ERR_INVALID, "Invalid value %lld, range for oom score adj is [-1000, 1000]",
			       (long long)h->oom_score_adj);
	return 0;
}

static int check_paths(const ContainerConfig *k, Err *e)
{
	char *const *const lists[] = {k->host.masked_paths, k->host.readonly_paths};

	if (!str_empty(k->working_dir) && k->working_dir[0] != '/')
		return err_new(e, ERR_INVALID,
			       "the working directory '%s' is invalid, it needs to be an absolute path",
			       k->working_dir);
	for (size_t i = 0; i < ELEMENTSOF(lists); i++)
		for (size_t n = 0; lists[i] && lists[i][n]; n++)
			if (lists[i][n][0] != '/')
				return err_new(e, ERR_INVALID, "HostConfig.%s[%zu]: \"%s\" is not absolute",
					       i ? "ReadonlyPaths" : "MaskedPaths", n, lists[i][n]);
	if (strlen(k->hostname ?: "") > HOSTNAME_LEN || strlen(k->domainname ?: "") > HOSTNAME_LEN)
		return err_new(e, ERR_INVALID,
			       "invalid hostname or domain name: the kernel takes %d bytes at most",
			       HOSTNAME_LEN);
	return 0;
}

/* What dockerd says and leaves out. */
static int warn(Engine *en, ContainerHost *h, char ***warnings)
{
	int r = 0;

	if (h->cpu_percent > 0) {
		h->cpu_percent = 0;
		r = strv_add(warnings, "linux does not support CPU percent. Percent discarded.");
	}
	if (r >= 0 && en->cgroup_version == 2 && h->memory_swappiness >= 0) {
		h->memory_swappiness = -1;
		r = strv_add(warnings, "Your kernel does not support memory swappiness capabilities or the "
				       "cgroup is not mounted. Memory swappiness discarded.");
	}
	if (r >= 0 && en->cgroup_version == 2 && h->oom_kill_disable) {
		h->oom_kill_disable = false;
		r = strv_add(warnings,
			     "Your kernel does not support OomKillDisable. OomKillDisable discarded.");
	}
	if (r >= 0 && h->oom_kill_disable && h->memory == 0)
		r = strv_add(warnings,
			     "OOM killer is disabled for the container, but no memory limit is set, this can "
			     "result in the system running out of resources.");
	return r;
}

/* A kubelet is told what nobody describes before it starts anything. */
static int check_pod_devices(Engine *en, const ContainerConfig *k, Err *e)
{
	_cleanup_json_ json_t *scratch = NULL;

	if (!k->pod.id || k->host.n_device_requests == 0)
		return 0;
	scratch = json_object();
	return scratch ? device_requests_apply(engine_cdi_dirs(en), &k->host, scratch, e) : err_oom(e);
}

int container_config_check(Engine *en, ContainerConfig *k, char ***warnings, Err *e)
{
	ContainerHost *h = &k->host;
	SecurityOptions security;
	int r = container_limits_check(h, false, k->pod.id != NULL, e);

	if (r >= 0)
		r = check_numbers(h, e);
	if (r >= 0)
		r = check_modes(h, e);
	if (r >= 0)
		r = remap_check(en, k, e);
	if (r >= 0)
		r = cgroup_parent_check(en, h->cgroup_parent, e);
	if (r >= 0)
		r = check_paths(k, e);
	if (r >= 0)
		r = check_extra_hosts(h, e);
	if (r >= 0)
		r = check_ulimits(h, e);
	if (r >= 0)
		r = check_devices(h, e);
	if (r >= 0)
		r = check_pod_devices(en, k, e);
	if (r >= 0)
		r = capabilities_check(h->cap_add, "CapAdd", e);
	if (r >= 0)
		r = capabilities_check(h->cap_drop, "CapDrop", e);
	if (r >= 0)
		r = capabilities_check(k->pod.ambient_capabilities, "ambient capabilities", e);
	if (r >= 0)
		r = security_options_parse(h->security_opt, &security, e);
	if (r >= 0)
		r = apparmor_check(&security, e);
	if (r >= 0 && !str_empty(k->stop_signal))
		r = signal_parse(k->stop_signal, &(int){0}, e);
	if (r >= 0 && warn(en, h, warnings) < 0)
		r = err_oom(e);
	return r;
}

int engine_container_check(Engine *en, ContainerConfig *config, Err *e)
{
	_cleanup_strv_ char **warnings = NULL;
	int r = container_request_check(config, e);

	return r < 0 ? r : container_config_check(en, config, &warnings, e);
}
