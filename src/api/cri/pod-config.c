/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's configuration: who it is, its network as CNI wants to know it, and the container that keeps it.
 *
 * The sandbox runs one process of ours, so of what a pod may say of a security context only what others see of it counts: namespaces, profiles, ids.
 */
#include "api/cri/config-internal.h"

#include <arpa/inet.h>
#include <ctype.h>

#define HOSTNAME_LEN    64
#define SANDBOX_OOM_ADJ (-998) /* killed last of all: with it the pod's network goes */
#define SANDBOX_SHARES  2
#define RATE_MIN        1000 /* bits a second: Kubernetes' bounds */
#define RATE_MAX        1000000000000000

void cri_pod_done(CriPod *p)
{
	container_config_done(&p->config);
	free(p->ports);
	free(p->container_name);
	free(p->pod_name);
	free(p->pod_namespace);
	free(p->pod_uid);
	strv_free(p->annotations);
	strv_free(p->port_texts);
	*p = (CriPod){0};
}

/* ---- names ---- */

static int names(const Cri__PodSandboxMetadata *m, CriPod *ret, Err *e)
{
	char attempt[12];
	int r;

	if (!m)
		return err_new(e, ERR_INVALID, "the configuration of the pod has no metadata");
	r = cri_name_check(m->name, "metadata.name", false, e);
	if (r >= 0)
		r = cri_name_check(m->namespace_, "metadata.namespace", true, e);
	if (r >= 0)
		r = cri_name_check(m->uid, "metadata.uid", true, e);
	if (r < 0)
		return r;
	snprintf(attempt, sizeof(attempt), "%u", m->attempt);
	const char *parts[] = {"POD", m->name, m->namespace_, m->uid, attempt};
	ret->container_name = cri_object_name(parts, ELEMENTSOF(parts));
	ret->pod_name = strdup(m->name);
	ret->pod_namespace = strdup(m->namespace_);
	ret->pod_uid = strdup(m->uid);
	return ret->container_name && ret->pod_name && ret->pod_namespace && ret->pod_uid ? 0 : err_oom(e);
}

static int hostname(const char *given, char **ret, Err *e)
{
	char own[HOSTNAME_LEN + 1] = "";

	if (!*given && gethostname(own, sizeof(own) - 1) < 0)
		return err_sys(e, errno, "ask for the name of this host");
	if (!*given)
		given = own;
	if (strlen(given) > HOSTNAME_LEN)
		return err_new(e, ERR_INVALID,
			       "hostname: \"%.100s\" is longer than the %d bytes that the kernel takes",
			       given, HOSTNAME_LEN);
	for (const char *p = given; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("-._", *p))
			return err_new(
			    e, ERR_INVALID,
			    "hostname: \"%.100s\" has something other than letters, digits, '-', '.' and '_'",
			    given);
	return cri_text(given, "hostname", ret, e);
}

/* What users of `ireko ps` filter by, whoever made the pod. */
static int own_labels(const CriPod *p, char ***labels, Err *e)
{
	const struct {
		const char *key, *value;
	} own[] = {{"io.kubernetes.pod.name", p->pod_name},
		   {"io.kubernetes.pod.namespace", p->pod_namespace},
		   {"io.kubernetes.pod.uid", p->pod_uid},
		   {"io.kubernetes.docker.type", "podsandbox"}};

	for (size_t i = 0; i < ELEMENTSOF(own); i++) {
		_cleanup_free_ char *label = strf("%s=%s", own[i].key, own[i].value);

		if (!label || strv_env_set(labels, label) < 0)
			return err_oom(e);
	}
	return 0;
}

/* ---- network ---- */

static const char *protocol_of(Cri__Protocol p)
{
	static const char *const names[] = {"tcp", "udp", "sctp"};

	return (unsigned)p < ELEMENTSOF(names) ? names[p] : NULL;
}

static bool is_address(const char *s)
{
	unsigned char a[16];

	return inet_pton(AF_INET, s, a) == 1 || inet_pton(AF_INET6, s, a) == 1;
}

static int port_of(const Cri__PortMapping *m, CriPod *ret, Err *e)
{
	EnginePodPort *p = &ret->ports[ret->network.n_ports];
	char *ip;

	if (m->host_port > UINT16_MAX || m->container_port < 1 || m->container_port > UINT16_MAX)
		return err_new(e, ERR_INVALID, "port_mappings: there is no port %d to %d", m->host_port,
			       m->container_port);
	p->protocol = protocol_of(m->protocol);
	if (!p->protocol)
		return err_new(e, ERR_INVALID, "port_mappings: there is no protocol %d", (int)m->protocol);
	if (*m->host_ip && !is_address(m->host_ip))
		return err_new(e, ERR_INVALID, "port_mappings: \"%.60s\" is no address", m->host_ip);
	ip = strdup(m->host_ip);
	if (strv_take(&ret->port_texts, ip) < 0)
		return err_oom(e);
	p->host_ip = ip;
	p->host_port = (uint16_t)m->host_port;
	p->container_port = (uint16_t)m->container_port;
	ret->network.n_ports++;
	return 0;
}

static int ports(const Cri__PodSandboxConfig *c, CriPod *ret, Err *e)
{
	int r = cri_list_check(c->n_port_mappings, "port_mappings", e);

	if (r < 0 || c->n_port_mappings == 0)
		return r;
	ret->ports = calloc(c->n_port_mappings, sizeof(*ret->ports));
	if (!ret->ports)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && i < c->n_port_mappings; i++)
		if (c->port_mappings[i]->host_port > 0)
			r = port_of(c->port_mappings[i], ret, e);
	ret->network.ports = ret->ports;
	return r;
}

static int bandwidth(char *const *annotations, const char *name, int64_t *ret, Err *e)
{
	const char *text = strv_env_get(annotations, name);

	if (!text)
		return 0;
	if (cri_quantity(text, ret) < 0 || *ret < RATE_MIN || *ret > RATE_MAX)
		return err_new(e, ERR_INVALID,
			       "annotation %s: \"%.60s\" is no bandwidth from 1k to 1P bits a second", name,
			       text);
	return 0;
}

static int network(const Cri__PodSandboxConfig *c, CriPod *ret, Err *e)
{
	bool own = !streq(ret->config.host.network_mode, "host");
	int r = cri_map(&ret->annotations, c, annotations, "annotations", e);

	if (r >= 0 && own)
		r = ports(c, ret, e);
	if (r >= 0 && own)
		r = bandwidth(ret->annotations, "kubernetes.io/ingress-bandwidth", &ret->network.ingress_rate,
			      e);
	if (r >= 0 && own)
		r = bandwidth(ret->annotations, "kubernetes.io/egress-bandwidth", &ret->network.egress_rate,
			      e);
	ret->network.name = ret->pod_name;
	ret->network.namespace_ = ret->pod_namespace;
	ret->network.uid = ret->pod_uid;
	ret->network.annotations = ret->annotations;
	return r;
}

/* Each is a word of a line in resolv.conf. */
static int dns_words(char *const *v, size_t n, const char *field, char ***to, Err *e)
{
	for (size_t i = 0; i < n; i++) {
		for (const char *p = v[i]; *p; p++)
			if ((unsigned char)*p <= ' ' || *p == 0x7f)
				return err_new(e, ERR_INVALID, "%s: \"%.100s\" is not one word", field, v[i]);
		if (!*v[i])
			return err_new(e, ERR_INVALID, "%s: one of them is empty", field);
	}
	return cri_texts(v, n, field, to, e);
}

static int dns(const Cri__DNSConfig *d, ContainerHost *h, Err *e)
{
	int r;

	if (!d)
		return 0;
	for (size_t i = 0; i < d->n_servers; i++) {
		_cleanup_free_ char *bare = strndup(d->servers[i], strcspn(d->servers[i], "%"));

		if (!bare)
			return err_oom(e);
		if (!is_address(bare))
			return err_new(e, ERR_INVALID, "dns_config.servers: \"%.100s\" is no address",
				       d->servers[i]);
	}
	r = dns_words(d->servers, d->n_servers, "dns_config.servers", &h->dns, e);
	if (r >= 0)
		r = dns_words(d->searches, d->n_searches, "dns_config.searches", &h->dns_search, e);
	return r < 0 ? r : dns_words(d->options, d->n_options, "dns_config.options", &h->dns_options, e);
}

/* ---- sysctls ---- */

typedef enum SysctlKind { SYSCTL_NONE, SYSCTL_NET, SYSCTL_IPC, SYSCTL_UTS } SysctlKind;

/* By the namespace that keeps it apart; `name` has slashes for dots. */
static SysctlKind sysctl_kind(const char *name)
{
	static const char *const ipc[] = {"kernel/msgmax", "kernel/msgmnb",         "kernel/msgmni",
					  "kernel/sem",    "kernel/shmall",         "kernel/shmmax",
					  "kernel/shmmni", "kernel/shm_rmid_forced"};

	if (str_starts(name, "net/"))
		return SYSCTL_NET;
	if (str_starts(name, "fs/mqueue/"))
		return SYSCTL_IPC;
	if (streq(name, "kernel/domainname"))
		return SYSCTL_UTS;
	for (size_t i = 0; i < ELEMENTSOF(ipc); i++)
		if (streq(name, ipc[i]))
			return SYSCTL_IPC;
	return SYSCTL_NONE;
}

static int sysctl_check(const char *name, const ContainerHost *h, Err *e)
{
	_cleanup_free_ char *path = strdup(name);
	const char *shared = NULL;

	if (!path)
		return err_oom(e);
	if (!strchr(path, '/'))
		for (char *p = path; *p; p++)
			*p = *p == '.' ? '/' : *p;
	SysctlKind kind = cri_path_leads_up(path) ? SYSCTL_NONE : sysctl_kind(path);
	if (kind == SYSCTL_NONE)
		return err_new(e, ERR_INVALID,
			       "sysctl %.100s: no namespace keeps it apart, so it is not for a pod to set",
			       name);
	if ((kind == SYSCTL_NET || kind == SYSCTL_UTS) && streq(h->network_mode, "host"))
		shared = "network";
	if (kind == SYSCTL_IPC && streq(h->ipc_mode, "host"))
		shared = "ipc";
	return shared ? err_new(e, ERR_INVALID, "sysctl %.100s: the pod has the host's namespace (%s)", name,
				shared)
		      : 0;
}

static int sysctls(const Cri__LinuxPodSandboxConfig *l, ContainerHost *h, Err *e)
{
	int r = cri_map(&h->sysctls, l, sysctls, "sysctls", e);

	for (size_t i = 0; r >= 0 && i < l->n_sysctls; i++)
		r = sysctl_check(l->sysctls[i]->key, h, e);
	return r;
}

/* ---- the sandbox ---- */

static int security(const Cri__LinuxSandboxSecurityContext *s, ContainerConfig *ret, Err *e)
{
	const CriProfiles p = {
	    .seccomp = s->seccomp,
	    .apparmor = s->apparmor,
	    .seccomp_path = s->seccomp_profile_path,
	    .selinux = s->selinux_options,
	    .privileged = s->privileged,
	};
	int r = cri_security_options(&p, &ret->host.security_opt, e);

	if (r >= 0)
		r = cri_user(s->run_as_user, NULL, s->run_as_group, &ret->user, e);
	return r < 0 ? r
		     : cri_groups(s->supplemental_groups, s->n_supplemental_groups,
				  s->supplemental_groups_policy, ret, e);
}

/* The kubelet makes the pod's cgroup and keeps to these itself: they are only to make sense. */
static int check_pod_resources(const Cri__LinuxPodSandboxConfig *l, Err *e)
{
	const struct {
		const char *field;
		const Cri__LinuxContainerResources *r;
	} all[] = {{"overhead", l->overhead}, {"resources", l->resources}};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(all); i++) {
		ContainerConfig scratch = {0};

		r = err_ctx(e, cri_resources(all[i].r, &scratch, e), "%s", all[i].field);
		container_config_done(&scratch);
	}
	return r;
}

static int cgroup_parent(const char *given, char **ret, Err *e)
{
	if (cri_path_leads_up(given))
		return err_new(e, ERR_INVALID, "cgroup_parent: \"%.200s\" leads up", given);
	return cri_text(given, "cgroup_parent", ret, e);
}

static int linux_part(const Cri__LinuxPodSandboxConfig *given, CriPod *ret, Err *e)
{
	static const Cri__LinuxPodSandboxConfig none = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
	static const Cri__LinuxSandboxSecurityContext plain = CRI__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
	const Cri__LinuxPodSandboxConfig *l = given ? given : &none;
	const Cri__LinuxSandboxSecurityContext *s = l->security_context ? l->security_context : &plain;
	ContainerHost *h = &ret->config.host;
	int r = cri_pod_namespaces(s->namespace_options, &ret->config, e);

	if (r >= 0)
		r = security(s, &ret->config, e);
	if (r >= 0)
		r = cgroup_parent(l->cgroup_parent, &h->cgroup_parent, e);
	if (r >= 0)
		r = sysctls(l, h, e);
	if (r >= 0)
		r = check_pod_resources(l, e);
	h->readonly_rootfs = true;
	h->oom_score_adj = cri_oom_score(SANDBOX_OOM_ADJ);
	h->cpu_shares = SANDBOX_SHARES;
	h->memory_swappiness = -1;
	return r;
}

/* What runtimes that make a machine of a pod ask of its config.json. What a pod's author annotates is not among it: some annotations are orders to whoever makes the container. */
static int runtime_annotations(const CriPod *p, char ***to, Err *e)
{
	int r = cri_pair_add(to, "io.kubernetes.cri.container-type", "sandbox", "annotations", e);

	if (r >= 0)
		r = cri_pair_add(to, "io.kubernetes.cri.sandbox-name", p->pod_name, "annotations", e);
	if (r >= 0)
		r = cri_pair_add(to, "io.kubernetes.cri.sandbox-namespace", p->pod_namespace, "annotations",
				 e);
	return r < 0 ? r : cri_pair_add(to, "io.kubernetes.cri.sandbox-uid", p->pod_uid, "annotations", e);
}

static int check_log_directory(const char *path, Err *e)
{
	_cleanup_free_ char *clean = NULL;

	return *path ? cri_path(path, "log_directory", &clean, e) : 0;
}

int cri_pod_config(const Cri__PodSandboxConfig *c, const char *handler, CriPod *ret, Err *e)
{
	int r = names(c->metadata, ret, e);

	ret->config.stop_timeout = STOP_TIMEOUT_UNSET;
	if (r >= 0)
		r = linux_part(c->linux_part, ret, e);
	if (r >= 0)
		r = hostname(c->hostname, &ret->config.hostname, e);
	/* With the host's network goes the host's own name. */
	if (r >= 0 && streq0(ret->config.host.uts_mode, "host")) {
		free(ret->config.hostname);
		ret->config.hostname = NULL;
	}
	if (r >= 0)
		r = check_log_directory(c->log_directory, e);
	if (r >= 0)
		r = cri_text(handler, "runtime_handler", &ret->config.host.runtime, e);
	if (r >= 0)
		r = dns(c->dns_config, &ret->config.host, e);
	if (r >= 0)
		r = cri_map(&ret->config.labels, c, labels, "labels", e);
	if (r >= 0)
		r = own_labels(ret, &ret->config.labels, e);
	if (r >= 0)
		r = network(c, ret, e);
	if (r >= 0)
		r = runtime_annotations(ret, &ret->config.host.annotations, e);
	ret->config.pod.sandbox = true;
	ret->pod = (EnginePod){ret->container_name, &ret->config, &ret->network};
	return r;
}
