/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's configuration: what it runs, as whom, with what of the host, and where its output goes. Namespaces, the runtime and the cgroup's parent are the pod's.
 */
#include "api/cri/config-internal.h"

static int command(const Cri__ContainerConfig *c, ContainerConfig *ret, Err *e)
{
	int r = cri_texts(c->command, c->n_command, "command", &ret->entrypoint, e);

	if (r >= 0 && c->n_command > 0 && !*c->command[0])
		r = err_new(e, ERR_INVALID, "command: the name of the program is empty");
	ret->has_entrypoint = c->n_command > 0;
	return r < 0 ? r : cri_texts(c->args, c->n_args, "args", &ret->cmd, e);
}

/* Values are bytes on the wire; what makes a process of them, config.json, is text. */
static int variable(const Cri__KeyValue *kv, char ***to, Err *e)
{
	_cleanup_free_ char *value = strndup((const char *)kv->value.data ?: "", kv->value.len);
	_cleanup_free_ char *field = strf("envs: %.100s", kv->key);

	if (!value || !field)
		return err_oom(e);
	if (strlen(value) != kv->value.len)
		return err_new(e, ERR_INVALID, "%s: its value has a zero byte", field);
	return cri_pair_add(to, kv->key, value, field, e);
}

static int environment(const Cri__ContainerConfig *c, ContainerConfig *ret, Err *e)
{
	int r = cri_list_check(c->n_envs, "envs", e);

	for (size_t i = 0; r >= 0 && i < c->n_envs; i++)
		r = variable(c->envs[i], &ret->env, e);
	return r;
}

/* ---- labels, logs ---- */

static int set_label(char ***labels, const char *key, const char *value, Err *e)
{
	_cleanup_free_ char *label = strf("%s=%s", key, value);

	return label && strv_env_set(labels, label) >= 0 ? 0 : err_oom(e);
}

static int own_labels(const Cri__PodSandboxMetadata *m, const Cri__ContainerConfig *c, const char *sandbox,
		      ContainerConfig *ret, Err *e)
{
	const struct {
		const char *key, *value;
	} own[] = {{"io.kubernetes.pod.name", m->name},
		   {"io.kubernetes.pod.namespace", m->namespace_},
		   {"io.kubernetes.pod.uid", m->uid},
		   {"io.kubernetes.container.name", c->metadata->name},
		   {"io.kubernetes.container.logpath", ret->pod.log_path ?: ""},
		   {"io.kubernetes.docker.type", "container"},
		   {"io.kubernetes.sandbox.id", sandbox}};
	int r = cri_map(&ret->labels, c, labels, "labels", e);

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(own); i++)
		r = set_label(&ret->labels, own[i].key, own[i].value, e);
	return r;
}

static int log_path(const char *directory, const char *path, char **ret, Err *e)
{
	_cleanup_free_ char *dir = NULL, *joined = NULL;
	int r;

	if (!*directory || !*path)
		return 0;
	r = cri_path(directory, "log_directory", &dir, e);
	if (r < 0)
		return r;
	joined = strf("%s/%s", dir, path);
	if (!joined)
		return err_oom(e);
	if (path[0] == '/' || path[strlen(path) - 1] == '/')
		return err_new(e, ERR_INVALID, "log_path: \"%.200s\" is no file below log_directory", path);
	return cri_path(joined, "log_path", ret, e);
}

/* As pods have them: what a runtime that makes a machine of a pod looks for. */
static int runtime_annotations(const Cri__ContainerConfig *c, const char *sandbox, char ***to, Err *e)
{
	int r = cri_pair_add(to, "io.kubernetes.cri.container-type", "container", "annotations", e);

	if (r >= 0)
		r = cri_pair_add(to, "io.kubernetes.cri.sandbox-id", sandbox, "annotations", e);
	return r < 0 ? r
		     : cri_pair_add(to, "io.kubernetes.cri.container-name", c->metadata->name, "annotations",
				    e);
}

/* ---- devices ---- */

static int device_of(const Cri__Device *d, ContainerDevice *ret, Err *e)
{
	int r = cri_path(d->host_path, "devices: host_path", &ret->path_on_host, e);

	if (r >= 0)
		r = cri_path(*d->container_path ? d->container_path : d->host_path, "devices: container_path",
			     &ret->path_in_container, e);
	if (r >= 0 && access(ret->path_on_host, F_OK) < 0)
		r = err_kind(e, err_sys(e, errno, "devices: %s", ret->path_on_host), ERR_INVALID);
	if (r >= 0 && strspn(d->permissions, "rwm") != strlen(d->permissions))
		r = err_new(e, ERR_INVALID, "devices: %.100s: permissions \"%.20s\" are not of r, w and m",
			    d->host_path, d->permissions);
	return r < 0 ? r : cri_text(d->permissions, "devices: permissions", &ret->cgroup_permissions, e);
}

static int devices(const Cri__ContainerConfig *c, ContainerHost *h, Err *e)
{
	int r = cri_list_check(c->n_devices, "devices", e);

	if (r < 0 || c->n_devices == 0)
		return r;
	h->devices = calloc(c->n_devices, sizeof(*h->devices));
	if (!h->devices)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && i < c->n_devices; i++) {
		h->n_devices = i + 1;
		r = device_of(c->devices[i], &h->devices[i], e);
	}
	return r;
}

/* ---- security ---- */

static int check_privileged(const Cri__PodSandboxConfig *pod, const Cri__LinuxContainerSecurityContext *s,
			    Err *e)
{
	const Cri__LinuxSandboxSecurityContext *own =
	    pod->linux_part ? pod->linux_part->security_context : NULL;

	return !s->privileged || (own && own->privileged)
		   ? 0
		   : err_new(e, ERR_INVALID,
			     "privileged: the pod is not privileged, so none of its containers can "
			     "be");
}

/* A list that is not there is an empty one: nothing is hidden then, which is what a client means that wants /proc as it is. */
static int paths(char *const *v, size_t n, const char *field, char ***to, bool *has, Err *e)
{
	int r = cri_texts(v, n, field, to, e);

	*has = true;
	if (r >= 0 && !*to && !(*to = calloc(1, sizeof(**to))))
		r = err_oom(e);
	return r;
}

static int process(const Cri__LinuxContainerSecurityContext *s, ContainerConfig *ret, Err *e)
{
	const CriProfiles p = {
	    .seccomp = s->seccomp,
	    .apparmor = s->apparmor,
	    .seccomp_path = s->seccomp_profile_path,
	    .apparmor_name = s->apparmor_profile,
	    .selinux = s->selinux_options,
	    .privileged = s->privileged,
	    .no_new_privs = s->no_new_privs,
	};
	int r = cri_security_options(&p, &ret->host.security_opt, e);

	if (r >= 0)
		r = cri_capabilities(s->capabilities, ret, e);
	if (r >= 0)
		r = cri_user(s->run_as_user, s->run_as_username, s->run_as_group, &ret->user, e);
	return r < 0 ? r
		     : cri_groups(s->supplemental_groups, s->n_supplemental_groups,
				  s->supplemental_groups_policy, ret, e);
}

static int security(const Cri__PodSandboxConfig *pod, const Cri__LinuxContainerSecurityContext *given,
		    const ContainerConfig *sandbox, ContainerConfig *ret, Err *e)
{
	static const Cri__LinuxContainerSecurityContext none = CRI__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
	const Cri__LinuxContainerSecurityContext *s = given ? given : &none;
	ContainerHost *h = &ret->host;
	int r = check_privileged(pod, s, e);

	if (r >= 0)
		r = cri_container_namespaces(s->namespace_options, sandbox, ret, e);
	if (r >= 0)
		r = process(s, ret, e);
	if (r >= 0)
		r = paths(s->masked_paths, s->n_masked_paths, "masked_paths", &h->masked_paths,
			  &h->has_masked_paths, e);
	if (r >= 0)
		r = paths(s->readonly_paths, s->n_readonly_paths, "readonly_paths", &h->readonly_paths,
			  &h->has_readonly_paths, e);
	h->privileged = s->privileged;
	h->readonly_rootfs = s->readonly_rootfs;
	/* One that manages containers itself is to see where it is. Of a user namespace's cgroup namespace only its own part is shown: the kernel mounts no other there. */
	if (r >= 0 && s->privileged && !ret->pod.user_maps && !(h->cgroupns_mode = strdup("host")))
		r = err_oom(e);
	return r;
}

/* ---- all of it ---- */

static int of_the_pod(const ContainerInfo *sandbox, ContainerConfig *ret, Err *e)
{
	const ContainerHost *h = &sandbox->config.host;
	int r = cri_text(h->runtime, "runtime", &ret->host.runtime, e);

	if (r >= 0)
		r = cri_text(h->cgroup_parent, "cgroup_parent", &ret->host.cgroup_parent, e);
	return r < 0 ? r : cri_text(sandbox->id, "pod_sandbox_id", &ret->pod.id, e);
}

static int check_given(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *c, Err *e)
{
	if (!pod->metadata || !c->metadata)
		return err_new(e, ERR_INVALID, "the configuration of the %s has no metadata",
			       pod->metadata ? "container" : "pod");
	if (!c->image || !*c->image->image)
		return err_new(e, ERR_INVALID, "the configuration of the container names no image");
	return cri_name_check(c->metadata->name, "metadata.name", false, e);
}

/* What the process is, before what it has. */
static int process_of(const Cri__ContainerConfig *c, ContainerConfig *ret, Err *e)
{
	const char *signal = cri_signal_text(c->stop_signal);
	int r = command(c, ret, e);

	if (r >= 0)
		r = environment(c, ret, e);
	if (r >= 0)
		r = cri_text(c->working_dir, "working_dir", &ret->working_dir, e);
	if (r >= 0 && !signal && c->stop_signal != CRI__SIGNAL__RUNTIME_DEFAULT)
		r = err_new(e, ERR_INVALID, "stop_signal: there is no signal %d", (int)c->stop_signal);
	if (r >= 0)
		r = cri_text(signal, "stop_signal", &ret->stop_signal, e);
	ret->tty = c->tty;
	ret->open_stdin = c->stdin;
	ret->stdin_once = c->stdin && c->stdin_once;
	return r;
}

int cri_container_config(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *c,
			 const ContainerInfo *sandbox, ContainerConfig *ret, Err *e)
{
	const Cri__LinuxContainerConfig *l = c->linux_part;
	int r = check_given(pod, c, e);

	ret->stop_timeout = STOP_TIMEOUT_UNSET;
	if (r >= 0)
		r = cri_text(c->image->image, "image", &ret->image, e);
	if (r >= 0)
		r = of_the_pod(sandbox, ret, e);
	if (r >= 0)
		r = process_of(c, ret, e);
	if (r >= 0)
		r = log_path(pod->log_directory, c->log_path, &ret->pod.log_path, e);
	if (r >= 0)
		r = own_labels(pod->metadata, c, sandbox->id, ret, e);
	if (r >= 0)
		r = runtime_annotations(c, sandbox->id, &ret->host.annotations, e);
	if (r >= 0)
		r = cri_resources(l ? l->resources : NULL, ret, e);
	if (r >= 0)
		r = security(pod, l ? l->security_context : NULL, &sandbox->config, ret, e);
	if (r >= 0)
		r = cri_mounts(c, &sandbox->config, &ret->host, e);
	if (r >= 0)
		r = devices(c, &ret->host, e);
	return r < 0 ? r : cri_cdi_devices(c, &ret->host, e);
}

char *cri_container_name(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *c)
{
	static const Cri__PodSandboxMetadata no_pod = CRI__POD_SANDBOX_METADATA__INIT;
	static const Cri__ContainerMetadata no_name = CRI__CONTAINER_METADATA__INIT;
	const Cri__PodSandboxMetadata *p = pod->metadata ? pod->metadata : &no_pod;
	const Cri__ContainerMetadata *m = c->metadata ? c->metadata : &no_name;
	char attempt[12];

	snprintf(attempt, sizeof(attempt), "%u", m->attempt);
	const char *parts[] = {m->name, p->name, p->namespace_, p->uid, attempt};
	return cri_object_name(parts, ELEMENTSOF(parts));
}
