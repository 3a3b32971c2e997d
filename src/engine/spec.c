/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a container's configuration to the OCI runtime-spec document that the runtime executes.
 *
 * The defaults are Docker's: its mounts, capabilities, masked and read-only paths, device rules and
 * seccomp profile. Strings of the image are only ever copied into values here, never interpreted.
 */
#include "engine/engine-internal.h"

#include <sys/sysmacros.h>

static const char *const default_capabilities[] = {
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",      "CAP_MKNOD",
    "CAP_NET_RAW", "CAP_SETGID",       "CAP_SETUID",           "CAP_SETFCAP",     "CAP_SETPCAP",
    "CAP_KILL",    "CAP_SYS_CHROOT",   "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE",
};

/* In the kernel's order, capability.h. */
static const char *const all_capabilities[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

static const char *const default_masked[] = {
    "/proc/asound",      "/proc/acpi",          "/proc/interrupts", "/proc/kcore",
    "/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/proc/scsi",          "/sys/firmware",    "/sys/devices/virtual/powercap",
};

static const char *const default_readonly[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

/* Bits of our own bounding set: what we lack ourselves cannot be given (a machine without CAP_SYS_RESOURCE). */
static bool capability_held(const char *name)
{
	static uint64_t held;
	uint64_t mask = __atomic_load_n(&held, __ATOMIC_RELAXED);

	if (mask == 0) {
		_cleanup_free_ char *status = NULL;
		const char *line;

		mask = ~0ull;
		if (file_read_at(AT_FDCWD, "/proc/self/status", 65536, &status, NULL) >= 0 &&
		    (line = strstr(status, "\nCapBnd:")))
			mask = strtoull(line + 8, NULL, 16);
		__atomic_store_n(&held, mask, __ATOMIC_RELAXED);
	}
	for (size_t i = 0; i < ELEMENTSOF(all_capabilities); i++)
		if (streq(all_capabilities[i], name))
			return mask >> i & 1;
	return false;
}

/* "net_admin", "CAP_NET_ADMIN" -> a name out of the table, or NULL. */
static const char *capability_name(const char *s)
{
	if (strncasecmp(s, "CAP_", 4) == 0)
		s += 4;
	for (size_t i = 0; i < ELEMENTSOF(all_capabilities); i++)
		if (strcasecmp(all_capabilities[i] + 4, s) == 0)
			return all_capabilities[i];
	return NULL;
}

static int capabilities_check(char *const *v, const char *what, Err *e)
{
	for (size_t i = 0; v && v[i]; i++)
		if (strcasecmp(v[i], "ALL") != 0 && !capability_name(v[i]))
			return err_new(e, ERR_INVALID, "invalid %s: unknown capability: \"%s\"", what, v[i]);
	return 0;
}

static bool listed(char *const *v, const char *cap)
{
	for (size_t i = 0; v && v[i]; i++)
		if (strcasecmp(v[i], "ALL") == 0 || streq0(capability_name(v[i]), cap))
			return true;
	return false;
}

static bool listed_by_name(char *const *v, const char *cap)
{
	for (size_t i = 0; v && v[i]; i++)
		if (streq0(capability_name(v[i]), cap))
			return true;
	return false;
}

static bool is_default(const char *cap)
{
	for (size_t i = 0; i < ELEMENTSOF(default_capabilities); i++)
		if (streq(default_capabilities[i], cap))
			return true;
	return false;
}

/* Docker's rule: added by name beats dropped; dropped (by name or ALL) beats the defaults and added ALL only by name. */
static int capabilities_of(const ContainerHost *h, bool privileged, char ***ret, Err *e)
{
	int r = capabilities_check(h->cap_add, "CapAdd", e);

	if (r >= 0)
		r = capabilities_check(h->cap_drop, "CapDrop", e);
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(all_capabilities); i++) {
		const char *cap = all_capabilities[i];
		bool drop_all = strv_has(h->cap_drop, "ALL") || strv_has(h->cap_drop, "all");
		bool want = privileged || listed(h->cap_add, cap) || (!drop_all && is_default(cap));

		if (!privileged && listed_by_name(h->cap_drop, cap) && !listed_by_name(h->cap_add, cap))
			want = false;
		if (want && capability_held(cap) && strv_add(ret, cap) < 0)
			return err_oom(e);
	}
	return r;
}

static json_t *strings(const char *const *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(v[i]));
	return a;
}

#define INIT_PATH "/sbin/docker-init" /* where Docker shows it */

static json_t *strings_or_empty(char *const *v)
{
	return v ? json_from_strv(v) : json_array();
}

static json_t *user_json(const UserIds *u)
{
	json_t *groups = json_array();

	for (size_t i = 0; i < u->n_groups; i++)
		json_array_append_new(groups, json_integer(u->groups[i]));
	return json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)u->uid, "gid", (json_int_t)u->gid,
			 "additionalGids", groups);
}

static json_t *capability_sets(char **caps, bool root)
{
	/* Like Docker, inheritable and ambient stay empty (CVE-2022-29162). A user other than root loses its
	 * effective and permitted sets with the change of uid, but for what a setuid or file capability brings back. */
	json_t *all = strings_or_empty(caps);
	json_t *sets = json_pack("{s:O, s:O, s:O}", "bounding", all, "effective", root ? all : json_array(),
				 "permitted", root ? all : json_array());

	json_decref(all);
	return sets;
}

static int rlimits_json(const ContainerHost *h, json_t **ret, Err *e)
{
	json_t *a = json_array();

	for (size_t i = 0; i < h->n_ulimits; i++) {
		const ContainerUlimit *u = &h->ulimits[i];
		_cleanup_free_ char *type = strf("RLIMIT_%s", u->name);

		if (!type)
			return err_oom(e);
		for (char *p = type; *p; p++)
			*p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
		json_array_append_new(a, json_pack("{s:s, s:I, s:I}", "type", type, "soft",
						   (json_int_t)u->soft, "hard", (json_int_t)u->hard));
	}
	*ret = a;
	return 0;
}

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int environment(const Container *c, const char *hostname, const char *home, char *const *extra,
		       char ***ret)
{
	char **env = NULL;
	int r = strv_add(&env, DEFAULT_PATH);

	if (r >= 0 && hostname && *hostname)
		r = strv_take(&env, strf("HOSTNAME=%s", hostname));
	if (r >= 0 && c->config.tty)
		r = strv_add(&env, "TERM=xterm");
	for (size_t i = 0; r >= 0 && c->config.env && c->config.env[i]; i++)
		if (strchr(c->config.env[i], '='))
			r = strv_env_set(&env, c->config.env[i]);
	for (size_t i = 0; r >= 0 && extra && extra[i]; i++)
		if (strchr(extra[i], '='))
			r = strv_env_set(&env, extra[i]);
	if (r >= 0 && !strv_env_get(env, "HOME"))
		r = strv_take(&env, strf("HOME=%s", home));
	*ret = env;
	return r;
}

static bool security_flag(const ContainerHost *h, const char *name)
{
	for (size_t i = 0; h->security_opt && h->security_opt[i]; i++) {
		const char *rest = str_after(h->security_opt[i], name);

		if (rest && (!*rest || streq(rest, ":true") || streq(rest, "=true")))
			return true;
	}
	return false;
}

static int process_json(const SpecInput *in, char **caps, json_t **ret, Err *e)
{
	Container *c = in->c;
	_cleanup_(user_ids_done) UserIds u = {0};
	_cleanup_strv_ char **env = NULL;
	_cleanup_json_ json_t *args = json_array(), *limits = NULL;
	int r = user_resolve(in->rootfs_fd, c->config.user, c->config.host.group_add, &u, e);

	if (r < 0)
		return r;
	if (environment(c, in->hostname, u.home, NULL, &env) < 0)
		return err_oom(e);
	r = rlimits_json(&c->config.host, &limits, e);
	if (r < 0)
		return r;
	if (in->init_program) {
		json_array_append_new(args, json_string(INIT_PATH));
		json_array_append_new(args, json_string("--"));
	}
	json_array_append_new(args, json_string(c->path));
	for (size_t i = 0; c->args && c->args[i]; i++)
		json_array_append_new(args, json_string(c->args[i]));

	json_t *p = json_pack("{s:b, s:o, s:O, s:o, s:s, s:o, s:O, s:b}", "terminal", c->config.tty, "user",
			      user_json(&u), "args", args, "env", json_from_strv(env), "cwd",
			      str_empty(c->config.working_dir) ? "/" : c->config.working_dir, "capabilities",
			      capability_sets(caps, u.uid == 0), "rlimits", limits, "noNewPrivileges",
			      security_flag(&c->config.host, "no-new-privileges"));
	if (!p)
		return err_new(e, ERR_INVALID,
			       "container %.12s: a string of its command or environment is not valid UTF-8",
			       c->id);
	if (c->config.host.oom_score_adj)
		json_object_set_new(p, "oomScoreAdj", json_integer(c->config.host.oom_score_adj));
	*ret = p;
	return 0;
}

int spec_build_exec(Engine *en, Container *c, const ExecConfig *x, int rootfs_fd, json_t **ret, Err *e)
{
	_cleanup_(user_ids_done) UserIds u = {0};
	_cleanup_strv_ char **env = NULL, **caps = NULL;
	const char *user = str_empty(x->user) ? c->config.user : x->user;
	bool privileged = x->privileged || c->config.host.privileged;
	int r = user_resolve(rootfs_fd, user, c->config.host.group_add, &u, e);

	if (r >= 0)
		r = capabilities_of(&c->config.host, privileged, &caps, e);
	if (r < 0)
		return r;
	if (environment(c, c->config.hostname, u.home, x->env, &env) < 0)
		return err_oom(e);
	if (x->tty && !strv_env_get(env, "TERM") && strv_add(&env, "TERM=xterm") < 0)
		return err_oom(e);
	const char *cwd = !str_empty(x->working_dir)         ? x->working_dir
			  : str_empty(c->config.working_dir) ? "/"
							     : c->config.working_dir;
	*ret = json_pack("{s:b, s:o, s:o, s:o, s:s, s:o, s:b}", "terminal", x->tty, "user", user_json(&u),
			 "args", json_from_strv(x->cmd), "env", json_from_strv(env), "cwd", cwd,
			 "capabilities", capability_sets(caps, u.uid == 0), "noNewPrivileges",
			 security_flag(&c->config.host, "no-new-privileges"));
	return *ret ? 0
		    : err_new(e, ERR_INVALID,
			      "exec: a string of its command or environment is not valid UTF-8");
}

/* ---- mounts ---- */

static json_t *mount_json(const char *destination, const char *type, const char *source, const char *options)
{
	_cleanup_strv_ char **o = strv_split(options, ',');

	return json_pack("{s:s, s:s, s:s, s:o}", "destination", destination, "type", type, "source", source,
			 "options", strings_or_empty(o));
}

static void add_default_mounts(const SpecInput *in, json_t *mounts)
{
	const ContainerHost *h = &in->c->config.host;
	const char *ro = h->privileged ? "rw" : "ro";
	char sys[64], cgroup[64], shm[96];

	snprintf(sys, sizeof(sys), "nosuid,noexec,nodev,%s", ro);
	snprintf(cgroup, sizeof(cgroup), "%s,nosuid,noexec,nodev,relatime", ro);
	json_array_append_new(mounts, mount_json("/proc", "proc", "proc", "nosuid,noexec,nodev"));
	json_array_append_new(mounts, mount_json("/dev", "tmpfs", "tmpfs",
						 "nosuid,strictatime,mode=755,size=65536k"));
	json_array_append_new(mounts, mount_json("/dev/pts", "devpts", "devpts",
						 "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"));
	json_array_append_new(mounts, mount_json("/sys", "sysfs", "sysfs", sys));
	json_array_append_new(mounts, mount_json("/sys/fs/cgroup", "cgroup", "cgroup", cgroup));
	json_array_append_new(mounts, mount_json("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"));
	if (in->shm_host_path) {
		json_array_append_new(mounts,
				      mount_json("/dev/shm", "bind", in->shm_host_path, "rbind,rprivate"));
		return;
	}
	if (streq0(h->ipc_mode, "none"))
		return;
	snprintf(shm, sizeof(shm), "nosuid,noexec,nodev,mode=1777,size=%lld",
		 (long long)(h->shm_size > 0 ? h->shm_size : 64 << 20));
	json_array_append_new(mounts, mount_json("/dev/shm", "tmpfs", "shm", shm));
}

static void add_user_mounts(const SpecInput *in, json_t *mounts)
{
	const Container *c = in->c;

	for (size_t i = 0; i < c->n_mounts; i++) {
		const ContainerMountPoint *m = &c->mounts[i];
		_cleanup_free_ char *options = NULL;

		if (streq(m->type, "tmpfs")) {
			options = strf("nosuid,nodev,noexec%s%s", str_empty(m->mode) ? "" : ",", m->mode);
			json_array_append_new(mounts, mount_json(m->destination, "tmpfs", "tmpfs",
								 options ?: "nosuid,nodev"));
			continue;
		}
		options = strf("rbind,%s,%s", m->rw ? "rw" : "ro",
			       str_empty(m->propagation) ? "rprivate" : m->propagation);
		json_array_append_new(mounts,
				      mount_json(m->destination, "bind", m->source, options ?: "rbind"));
	}
}

static bool mounted_by_user(const Container *c, const char *path)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (streq(c->mounts[i].destination, path))
			return true;
	return false;
}

static void add_file_mounts(const SpecInput *in, json_t *mounts)
{
	const struct {
		const char *path, *source;
	} files[] = {
	    {"/etc/resolv.conf", in->resolv_file},
	    {"/etc/hostname", in->hostname_file},
	    {"/etc/hosts", in->hosts_file},
	};
	const char *options = in->c->config.host.readonly_rootfs ? "rbind,ro,rprivate" : "rbind,rw,rprivate";

	for (size_t i = 0; i < ELEMENTSOF(files); i++)
		if (files[i].source && !mounted_by_user(in->c, files[i].path))
			json_array_append_new(mounts,
					      mount_json(files[i].path, "bind", files[i].source, options));
}

/* Parents before children, whatever order the user gave. */
static size_t depth_of(const json_t *mount)
{
	size_t n = 0;

	for (const char *p = json_get_str(mount, "destination"); p && *p; p++)
		n += *p == '/';
	return n;
}

static json_t *sorted_by_depth(json_t *mounts)
{
	json_t *out = json_array();

	for (size_t depth = 0; json_array_size(out) < json_array_size(mounts) && depth < 4096; depth++)
		for (size_t i = 0; i < json_array_size(mounts); i++)
			if (depth_of(json_array_get(mounts, i)) == depth)
				json_array_append(out, json_array_get(mounts, i));
	return out;
}

/* A user's mount at /dev/shm, /sys or the like replaces the default one. */
static json_t *mounts_json(const SpecInput *in)
{
	_cleanup_json_ json_t *defaults = json_array(), *all = json_array();

	add_default_mounts(in, defaults);
	for (size_t i = 0; i < json_array_size(defaults); i++) {
		json_t *m = json_array_get(defaults, i);

		if (!mounted_by_user(in->c, json_get_str(m, "destination")))
			json_array_append(all, m);
	}
	add_file_mounts(in, all);
	if (in->init_program)
		json_array_append_new(all, mount_json(INIT_PATH, "bind", in->init_program, "bind,ro"));
	add_user_mounts(in, all);
	return sorted_by_depth(all);
}

/* ---- namespaces, devices, limits ---- */

static void add_namespace(json_t *a, const char *type, const char *path)
{
	json_t *ns = json_pack("{s:s}", "type", type);

	if (path)
		json_object_set_new(ns, "path", json_string(path));
	json_array_append_new(a, ns);
}

static json_t *namespaces_json(const SpecInput *in)
{
	const ContainerHost *h = &in->c->config.host;
	json_t *a = json_array();

	add_namespace(a, "mount", NULL);
	if (!in->host_network)
		add_namespace(a, "network", NULL); /* the shim replaces it by the one it was given */
	if (!streq0(h->uts_mode, "host"))
		add_namespace(a, "uts", in->uts_path);
	if (!streq0(h->pid_mode, "host"))
		add_namespace(a, "pid", in->pid_path);
	if (!streq0(h->ipc_mode, "host"))
		add_namespace(a, "ipc", in->ipc_path);
	if (!streq0(h->cgroupns_mode, "host"))
		add_namespace(a, "cgroup", NULL);
	return a;
}

static json_t *device_rule(bool allow, const char *type, int64_t major, int64_t minor, const char *access)
{
	json_t *o = json_pack("{s:b, s:s, s:s}", "allow", allow, "type", type, "access", access);

	if (major >= 0)
		json_object_set_new(o, "major", json_integer(major));
	if (minor >= 0)
		json_object_set_new(o, "minor", json_integer(minor));
	return o;
}

static json_t *default_device_rules(void)
{
	/* null zero full random urandom tty console ptmx pts/N tun is not among them */
	static const int nodes[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8},   {1, 9},
				       {5, 0}, {5, 1}, {5, 2}, {136, -1}};
	json_t *a = json_array();

	json_array_append_new(a, device_rule(false, "a", -1, -1, "rwm"));
	json_array_append_new(a, device_rule(true, "c", -1, -1, "m"));
	json_array_append_new(a, device_rule(true, "b", -1, -1, "m"));
	for (size_t i = 0; i < ELEMENTSOF(nodes); i++)
		json_array_append_new(a, device_rule(true, "c", nodes[i][0], nodes[i][1], "rwm"));
	return a;
}

static int device_add(const ContainerDevice *d, json_t *devices, json_t *rules, Err *e)
{
	const char *inside = str_empty(d->path_in_container) ? d->path_on_host : d->path_in_container;
	struct stat st;

	if (stat(d->path_on_host, &st) < 0 || !(S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)))
		return err_new(
		    e, ERR_INVALID,
		    "error gathering device information while adding custom device \"%s\": not a device node",
		    d->path_on_host);
	const char *type = S_ISCHR(st.st_mode) ? "c" : "b";
	json_array_append_new(devices, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "path", inside,
						 "type", type, "major", (json_int_t)major(st.st_rdev),
						 "minor", (json_int_t)minor(st.st_rdev), "fileMode",
						 (json_int_t)(st.st_mode & 07777), "uid",
						 (json_int_t)st.st_uid, "gid", (json_int_t)st.st_gid));
	json_array_append_new(rules,
			      device_rule(true, type, major(st.st_rdev), minor(st.st_rdev),
					  str_empty(d->cgroup_permissions) ? "rwm" : d->cgroup_permissions));
	return 0;
}

/* "c 13:* rwm" */
static int device_rule_parse(const char *s, json_t *rules, Err *e)
{
	char type, major_s[16], minor_s[16], access[8];
	int64_t major_n = -1, minor_n = -1;

	if (sscanf(s, "%c %15[0-9*]:%15[0-9*] %7[rwm]", &type, major_s, minor_s, access) != 4 ||
	    !strchr("acb", type))
		return err_new(e, ERR_INVALID, "invalid device cgroup rule '%s': expected \"c 13:* rwm\"", s);
	(void)str_to_i64(major_s, &major_n); /* "*" stays -1: any */
	(void)str_to_i64(minor_s, &minor_n);
	char text[2] = {type, 0};
	json_array_append_new(rules, device_rule(true, text, major_n, minor_n, access));
	return 0;
}

static int devices_json(const ContainerHost *h, json_t **ret_devices, json_t **ret_rules, Err *e)
{
	json_t *devices = json_array(), *rules = default_device_rules();
	int r = 0;

	if (h->privileged)
		json_array_append_new(rules, device_rule(true, "a", -1, -1, "rwm"));
	for (size_t i = 0; r >= 0 && i < h->n_devices; i++)
		r = device_add(&h->devices[i], devices, rules, e);
	for (size_t i = 0; r >= 0 && h->device_cgroup_rules && h->device_cgroup_rules[i]; i++)
		r = device_rule_parse(h->device_cgroup_rules[i], rules, e);
	*ret_devices = devices;
	*ret_rules = rules;
	return r;
}

static void set_positive(json_t *o, const char *key, int64_t value)
{
	if (value > 0)
		json_object_set_new(o, key, json_integer(value));
}

static json_t *resources_json(const ContainerHost *h, json_t *device_rules)
{
	json_t *memory = json_object(), *cpu = json_object(), *o = json_object();

	set_positive(memory, "limit", h->memory);
	set_positive(memory, "reservation", h->memory_reservation);
	/* Docker's default: as much swap as memory again; -1 is unlimited. */
	if (h->memory_swap != 0)
		json_object_set_new(memory, "swap", json_integer(h->memory_swap));
	else if (h->memory > 0)
		json_object_set_new(memory, "swap", json_integer(h->memory * 2));
	if (h->memory_swappiness >= 0)
		json_object_set_new(memory, "swappiness", json_integer(h->memory_swappiness));
	if (h->oom_kill_disable)
		json_object_set_new(memory, "disableOOMKiller", json_true());
	set_positive(cpu, "shares", h->cpu_shares);
	set_positive(cpu, "period", h->cpu_period);
	set_positive(cpu, "quota", h->cpu_quota);
	if (h->nano_cpus > 0) {
		json_object_set_new(cpu, "period", json_integer(100000));
		json_object_set_new(cpu, "quota", json_integer(h->nano_cpus / 10000));
	}
	if (!str_empty(h->cpuset_cpus))
		json_object_set_new(cpu, "cpus", json_string(h->cpuset_cpus));
	if (!str_empty(h->cpuset_mems))
		json_object_set_new(cpu, "mems", json_string(h->cpuset_mems));
	json_object_set_new(o, "devices", device_rules);
	if (json_object_size(memory) > 0)
		json_object_set(o, "memory", memory);
	if (json_object_size(cpu) > 0)
		json_object_set(o, "cpu", cpu);
	if (h->pids_limit > 0)
		json_object_set_new(o, "pids", json_pack("{s:I}", "limit", (json_int_t)h->pids_limit));
	if (h->blkio_weight > 0)
		json_object_set_new(o, "blockIO", json_pack("{s:I}", "weight", (json_int_t)h->blkio_weight));
	json_decref(memory);
	json_decref(cpu);
	return o;
}

/* --security-opt seccomp=...: "unconfined", or a profile's JSON that the client has read in. */
static int seccomp_json(const ContainerHost *h, char **caps, json_t **ret, Err *e)
{
	*ret = NULL;
	if (h->privileged)
		return 0;
	for (size_t i = 0; h->security_opt && h->security_opt[i]; i++) {
		const char *v =
		    str_after(h->security_opt[i], "seccomp=") ?: str_after(h->security_opt[i], "seccomp:");

		if (!v || streq(v, "builtin"))
			continue;
		if (streq(v, "unconfined"))
			return 0;
		return json_parse(v, strlen(v), "seccomp profile", ret, e);
	}
	return seccomp_default_profile(caps, ret, e);
}

static json_t *paths_json(const ContainerHost *h, bool given, char *const *paths, const char *const *defaults,
			  size_t n)
{
	if (h->privileged)
		return json_array();
	return given ? strings_or_empty(paths) : strings(defaults, n);
}

static json_t *sysctls_json(const SpecInput *in)
{
	const ContainerHost *h = &in->c->config.host;
	json_t *o = h->sysctls ? json_map_from_strv(h->sysctls) : json_object();

	/* Docker's: a container may ping and bind low ports without capabilities. */
	if (!in->host_network && in->netns_given) {
		if (!json_object_get(o, "net.ipv4.ip_unprivileged_port_start"))
			json_object_set_new(o, "net.ipv4.ip_unprivileged_port_start", json_string("0"));
		if (!json_object_get(o, "net.ipv4.ping_group_range"))
			json_object_set_new(o, "net.ipv4.ping_group_range", json_string("0 2147483647"));
	}
	return o;
}

static int linux_json(const SpecInput *in, char **caps, json_t **ret, Err *e)
{
	const ContainerHost *h = &in->c->config.host;
	json_t *devices, *rules, *seccomp = NULL;
	int r = devices_json(h, &devices, &rules, e);

	if (r >= 0)
		r = seccomp_json(h, caps, &seccomp, e);
	if (r < 0) {
		json_decref(devices);
		json_decref(rules);
		return r;
	}
	json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "cgroupsPath", in->cgroup_path,
			      "namespaces", namespaces_json(in), "devices", devices, "resources",
			      resources_json(h, rules), "maskedPaths",
			      paths_json(h, h->has_masked_paths, h->masked_paths, default_masked,
					 ELEMENTSOF(default_masked)),
			      "readonlyPaths",
			      paths_json(h, h->has_readonly_paths, h->readonly_paths, default_readonly,
					 ELEMENTSOF(default_readonly)),
			      "sysctl", sysctls_json(in));
	if (seccomp)
		json_object_set_new(o, "seccomp", seccomp);
	*ret = o;
	return o ? 0 : err_oom(e);
}

int spec_build(Engine *en, const SpecInput *in, json_t **ret, Err *e)
{
	const ContainerConfig *config = &in->c->config;
	_cleanup_strv_ char **caps = NULL;
	json_t *process = NULL, *linux_part = NULL;
	int r = capabilities_of(&config->host, config->host.privileged, &caps, e);

	if (r >= 0)
		r = process_json(in, caps, &process, e);
	if (r >= 0)
		r = linux_json(in, caps, &linux_part, e);
	if (r < 0) {
		json_decref(process);
		return r;
	}
	*ret = json_pack("{s:s, s:o, s:{s:s, s:b}, s:o, s:o}", "ociVersion", "1.1.0", "process", process,
			 "root", "path", "rootfs", "readonly", config->host.readonly_rootfs, "mounts",
			 mounts_json(in), "linux", linux_part);
	if (!*ret)
		return err_oom(e);
	if (!streq0(config->host.uts_mode, "host")) {
		if (in->hostname && *in->hostname)
			json_object_set_new(*ret, "hostname", json_string(in->hostname));
		if (!str_empty(config->domainname))
			json_object_set_new(*ret, "domainname", json_string(config->domainname));
	}
	if (config->host.annotations)
		json_object_set_new(*ret, "annotations", json_map_from_strv(config->host.annotations));
	return 0;
}
