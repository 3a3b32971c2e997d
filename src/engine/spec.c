/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a container's configuration to the OCI runtime-spec document that the runtime executes.
 *
 * The defaults are Docker's: its mounts, capabilities, masked and read-only paths, device rules and
 * seccomp profile. Strings of the image are only ever copied into values here, never interpreted.
 */
#include "engine/pod-internal.h"
#include "engine/seccomp-docker.h"
#include "engine/security-opt.h"
#include "kernel/capability.h"

#include <linux/capability.h>

static const char *const default_masked[] = {
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    NULL,
};

static const char *const default_readonly[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL,
};

char *const *container_default_paths(bool masked)
{
	return (char *const *)(uintptr_t)(masked ? default_masked : default_readonly);
}

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

/* Like Docker, inheritable and ambient stay empty (CVE-2022-29162) but for what a pod's container is to have so. A user other than root loses its
 * effective and permitted sets with the change of uid, but for that and what a setuid or file capability brings back. */
static int capability_sets(const ContainerConfig *k, char **caps, bool root, json_t **ret, Err *e)
{
	_cleanup_strv_ char **all = strv_dup(caps), **ambient = NULL;
	int r = all ? capabilities_add(k->pod.ambient_capabilities, &ambient, e) : err_oom(e);
	json_t *sets = NULL;

	if (r >= 0)
		r = capabilities_add(ambient, &all, e);
	if (r < 0)
		return r;
	sets = json_pack("{s:o, s:o, s:o}", "bounding", strings_or_empty(all), "effective",
			 strings_or_empty(root ? all : ambient), "permitted",
			 strings_or_empty(root ? all : ambient));
	if (sets && ambient) {
		json_object_set_new(sets, "inheritable", json_from_strv(ambient));
		json_object_set_new(sets, "ambient", json_from_strv(ambient));
	}
	*ret = sets;
	return sets ? 0 : err_oom(e);
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

/* links: what the container is told of those it is linked to. */
static int environment(const Container *c, const char *hostname, const char *home, char *const *links,
		       char *const *extra, char ***ret)
{
	char **env = NULL;
	int r = strv_add(&env, DEFAULT_PATH);

	if (r >= 0 && hostname && *hostname)
		r = strv_take(&env, strf("HOSTNAME=%s", hostname));
	if (r >= 0 && c->config.tty)
		r = strv_add(&env, "TERM=xterm");
	if (r >= 0)
		r = strv_env_apply(&env, links);
	if (r >= 0)
		r = strv_env_apply(&env, c->config.env);
	if (r >= 0)
		r = strv_env_apply(&env, extra);
	if (r >= 0 && !strv_env_get(env, "HOME"))
		r = strv_take(&env, strf("HOME=%s", home));
	*ret = env;
	return r;
}

static int add_apparmor(Engine *en, json_t *process, const SecurityOptions *o, bool privileged, Err *e)
{
	const char *profile;
	int r = apparmor_choose(en, o, privileged, &profile, e);

	if (r >= 0 && profile && json_object_set_new(process, "apparmorProfile", json_string(profile)) < 0)
		r = err_new(e, ERR_INVALID, "the name of an AppArmor profile is not valid UTF-8");
	return r;
}

/* The engine's own, which its unit lowers, is not for containers, nor is the shim's, which it lowers itself if it may. Neither changes. */
static bool oom_score_is_inherited(void)
{
	static int known = -1; /* atomic */
	int v = __atomic_load_n(&known, __ATOMIC_RELAXED);
	_cleanup_free_ char *text = NULL;

	if (v < 0) {
		v = capability_available(1ULL << CAP_SYS_RESOURCE) != 0 ||
		    (file_read_at(AT_FDCWD, "/proc/self/oom_score_adj", 16, &text, NULL) >= 0 &&
		     atoi(text) != 0);
		__atomic_store_n(&known, v, __ATOMIC_RELAXED);
	}
	return v;
}

/* What every process of a container has, one that is run in it later too. `limits` is taken over. */
static json_t *with_limits(json_t *process, const ContainerHost *h, json_t *limits)
{
	if (!process || json_object_set(process, "rlimits", limits) < 0 ||
	    ((h->oom_score_adj || oom_score_is_inherited()) &&
	     json_object_set_new(process, "oomScoreAdj", json_integer(h->oom_score_adj)) < 0)) {
		json_decref(process);
		process = NULL;
	}
	json_decref(limits);
	return process;
}

static int process_json(Engine *en, const SpecInput *in, const SecurityOptions *security, char **caps,
			json_t **ret, Err *e)
{
	Container *c = in->c;
	_cleanup_(user_ids_done) UserIds u = {0};
	_cleanup_strv_ char **env = NULL, **links = NULL;
	_cleanup_json_ json_t *args = json_array(), *limits = NULL, *sets = NULL;
	int r = user_resolve(in->rootfs_fd, c->config.user, c->config.host.group_add,
			     user_rules_of(&c->config), &u, e);

	if (r >= 0)
		r = links_environment(en, c, &links, e);
	if (r >= 0)
		r = capability_sets(&c->config, caps, u.uid == 0, &sets, e);
	if (r < 0)
		return r;
	if (environment(c, in->hostname, u.home, links, c->secret_env, &env) < 0)
		return err_oom(e);
	r = rlimits_json(&c->config.host, &limits, e);
	if (r < 0)
		return r;
	if (in->init_program) {
		json_array_append_new(args, json_string(SPEC_INIT_PATH));
		json_array_append_new(args, json_string("--"));
	}
	json_array_append_new(args, json_string(c->path));
	for (size_t i = 0; c->args && c->args[i]; i++)
		json_array_append_new(args, json_string(c->args[i]));

	json_t *p = json_pack("{s:b, s:o, s:O, s:o, s:s, s:O, s:b}", "terminal", c->config.tty, "user",
			      user_json(&u), "args", args, "env", json_from_strv(env), "cwd",
			      str_empty(c->config.working_dir) ? "/" : c->config.working_dir, "capabilities",
			      sets, "noNewPrivileges", security->no_new_privileges);
	p = with_limits(p, &c->config.host, take_ptr(limits));
	if (!p)
		return err_new(e, ERR_INVALID,
			       "container %.12s: a string of its command or environment is not valid UTF-8",
			       c->id);
	r = add_apparmor(en, p, security, c->config.host.privileged, e);
	if (r < 0)
		json_decref(p);
	else
		*ret = p;
	return r;
}

int spec_build_exec(Engine *en, Container *c, const ExecConfig *x, int rootfs_fd, json_t **ret, Err *e)
{
	_cleanup_(user_ids_done) UserIds u = {0};
	_cleanup_strv_ char **env = NULL, **caps = NULL, **links = NULL;
	_cleanup_json_ json_t *limits = NULL, *sets = NULL;
	_cleanup_free_ char *hostname = NULL;
	const char *user = str_empty(x->user) ? c->config.user : x->user;
	bool privileged = x->privileged || c->config.host.privileged;
	SecurityOptions security;
	int r = user_resolve(rootfs_fd, user, c->config.host.group_add, user_rules_of(&c->config), &u, e);

	if (r >= 0)
		r = security_options_parse(c->config.host.security_opt, &security, e);
	if (r >= 0)
		r = capabilities_of(&c->config.host, privileged, &caps, e);
	if (r >= 0)
		r = rlimits_json(&c->config.host, &limits, e);
	if (r >= 0)
		r = capability_sets(&c->config, caps, u.uid == 0, &sets, e);
	if (r < 0)
		return r;
	/* One that it is linked to may have ended: nothing is told of it then. */
	(void)links_environment(en, c, &links, NULL);
	hostname = endpoint_hostname(en, c);
	if (!hostname || environment(c, hostname, u.home, links, x->env, &env) < 0)
		return err_oom(e);
	if (x->tty && !strv_env_get(env, "TERM") && strv_add(&env, "TERM=xterm") < 0)
		return err_oom(e);
	const char *cwd = !str_empty(x->working_dir)         ? x->working_dir
			  : str_empty(c->config.working_dir) ? "/"
							     : c->config.working_dir;
	json_t *p =
	    json_pack("{s:b, s:o, s:o, s:o, s:s, s:O, s:b}", "terminal", x->tty, "user", user_json(&u),
		      "args", json_from_strv(x->cmd), "env", json_from_strv(env), "cwd", cwd, "capabilities",
		      sets, "noNewPrivileges", security.no_new_privileges);
	p = with_limits(p, &c->config.host, take_ptr(limits));
	if (!p)
		return err_new(e, ERR_INVALID,
			       "exec: a string of its command or environment is not valid UTF-8");
	r = add_apparmor(en, p, &security, privileged, e);
	if (r < 0)
		json_decref(p);
	else
		*ret = p;
	return r;
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

	if (in->userns_path)
		add_namespace(a, "user", in->userns_path);
	add_namespace(a, "mount", NULL);
	if (!in->host_network)
		add_namespace(a, "network", in->netns_path);
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

/* A privileged container has no filter unless it asks for one. */
static int seccomp_json(const ContainerHost *h, const SecurityOptions *security, char **caps, json_t **ret,
			Err *e)
{
	if (streq0(security->seccomp, "unconfined") || (h->privileged && !security->seccomp))
		return 0;
	if (security->seccomp)
		return seccomp_docker_profile(security->seccomp, caps, ret, e);
	return seccomp_default_profile(caps, ret, e);
}

static json_t *paths_json(const ContainerHost *h, bool given, char *const *paths, bool masked)
{
	if (h->privileged)
		return json_array();
	return strings_or_empty((char **)(uintptr_t)(given ? paths : container_default_paths(masked)));
}

static json_t *sysctls_json(const SpecInput *in)
{
	const ContainerHost *h = &in->c->config.host;
	json_t *o = h->sysctls ? json_map_from_strv(h->sysctls) : json_object();

	/* Docker's: a container may ping and bind low ports without capabilities. Of a pod it is said once. */
	if (!in->host_network && in->netns_path && !container_is_member(in->c)) {
		if (!json_object_get(o, "net.ipv4.ip_unprivileged_port_start"))
			json_object_set_new(o, "net.ipv4.ip_unprivileged_port_start", json_string("0"));
		/* Not all groups of the range are there in a user namespace. */
		if (!in->userns_path && !json_object_get(o, "net.ipv4.ping_group_range"))
			json_object_set_new(o, "net.ipv4.ping_group_range", json_string("0 2147483647"));
	}
	return o;
}

static int linux_json(Engine *en, const SpecInput *in, const SecurityOptions *security, char **caps,
		      json_t **ret, Err *e)
{
	const ContainerHost *h = &in->c->config.host;
	json_t *devices, *rules, *resources = NULL, *seccomp = NULL;
	int r = spec_devices(h, &devices, &rules, e);

	if (r >= 0)
		r = spec_resources(en, &in->c->config, json_incref(rules), &resources, e);
	if (r >= 0)
		r = seccomp_json(h, security, caps, &seccomp, e);
	json_decref(rules);
	if (r < 0) {
		json_decref(devices);
		json_decref(resources);
		return r;
	}
	json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "cgroupsPath", in->cgroup_path,
			      "namespaces", namespaces_json(in), "devices", devices, "resources", resources,
			      "maskedPaths", paths_json(h, h->has_masked_paths, h->masked_paths, true),
			      "readonlyPaths", paths_json(h, h->has_readonly_paths, h->readonly_paths, false),
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
	json_t *process = NULL, *linux_part = NULL, *mounts = NULL;
	SecurityOptions security;
	int r = security_options_parse(config->host.security_opt, &security, e);

	if (r >= 0)
		r = capabilities_of(&config->host, config->host.privileged, &caps, e);
	if (r >= 0)
		r = process_json(en, in, &security, caps, &process, e);
	if (r >= 0)
		r = linux_json(en, in, &security, caps, &linux_part, e);
	if (r >= 0)
		r = spec_mounts(in, &mounts, e);
	if (r < 0) {
		json_decref(process);
		json_decref(linux_part);
		return r;
	}
	*ret = json_pack("{s:s, s:o, s:{s:s, s:b}, s:o, s:o}", "ociVersion", "1.1.0", "process", process,
			 "root", "path", "rootfs", "readonly", config->host.readonly_rootfs, "mounts", mounts,
			 "linux", linux_part);
	if (!*ret)
		return err_oom(e);
	if (!streq0(config->host.uts_mode, "host")) {
		if (in->hostname && *in->hostname && !in->uts_path)
			json_object_set_new(*ret, "hostname", json_string(in->hostname));
		if (!str_empty(config->domainname))
			json_object_set_new(*ret, "domainname", json_string(config->domainname));
	}
	if (config->host.annotations)
		json_object_set_new(*ret, "annotations", json_map_from_strv(config->host.annotations));
	r = device_requests_apply(engine_cdi_dirs(en), &config->host, *ret, e);
	if (r < 0) {
		json_decref(*ret);
		*ret = NULL;
	}
	return r;
}
