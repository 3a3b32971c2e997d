/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configurations as they come from the wire: each case changes one thing of a message, which is packed and read again before it is translated. What is refused is refused with
 * words that name the field.
 */
#include "base/test-dir.h"
#include "base/test.h"

#include "api/cri/config-internal.h"

#include <sys/stat.h>

/* ---- messages ---- */

typedef struct PodMessage {
	Cri__PodSandboxConfig c;
	Cri__PodSandboxMetadata meta;
	Cri__LinuxPodSandboxConfig linux_part;
	Cri__LinuxSandboxSecurityContext security;
	Cri__NamespaceOption ns;
	Cri__UserNamespace user;
	Cri__IDMapping uid, gid, more;
	Cri__IDMapping *uids[2], *gids[2];
	Cri__Int64Value number, group;
	Cri__DNSConfig dns;
	Cri__PortMapping port, other;
	Cri__PortMapping *ports[2];
	Cri__PodSandboxConfig__AnnotationsEntry annotation;
	Cri__PodSandboxConfig__AnnotationsEntry *annotations[1];
	Cri__PodSandboxConfig__LabelsEntry label;
	Cri__PodSandboxConfig__LabelsEntry *labels[1];
	Cri__LinuxPodSandboxConfig__SysctlsEntry sysctl;
	Cri__LinuxPodSandboxConfig__SysctlsEntry *sysctls[1];
	Cri__SecurityProfile profile;
	Cri__LinuxContainerResources resources;
} PodMessage;

static void pod_init(PodMessage *p)
{
	memset(p, 0, sizeof(*p));
	cri__pod_sandbox_config__init(&p->c);
	cri__pod_sandbox_metadata__init(&p->meta);
	cri__linux_pod_sandbox_config__init(&p->linux_part);
	cri__linux_sandbox_security_context__init(&p->security);
	cri__namespace_option__init(&p->ns);
	cri__user_namespace__init(&p->user);
	cri__idmapping__init(&p->uid);
	cri__idmapping__init(&p->gid);
	cri__idmapping__init(&p->more);
	cri__int64_value__init(&p->number);
	cri__int64_value__init(&p->group);
	cri__dnsconfig__init(&p->dns);
	cri__port_mapping__init(&p->port);
	cri__port_mapping__init(&p->other);
	cri__pod_sandbox_config__annotations_entry__init(&p->annotation);
	cri__pod_sandbox_config__labels_entry__init(&p->label);
	cri__linux_pod_sandbox_config__sysctls_entry__init(&p->sysctl);
	cri__security_profile__init(&p->profile);
	cri__linux_container_resources__init(&p->resources);
	p->meta.name = (char *)"web";
	p->meta.namespace_ = (char *)"default";
	p->meta.uid = (char *)"u-1";
	p->meta.attempt = 2;
	p->c.metadata = &p->meta;
	p->c.linux_part = &p->linux_part;
	p->linux_part.security_context = &p->security;
	p->security.namespace_options = &p->ns;
	p->uid = (Cri__IDMapping){p->uid.base, 100000, 0, 65536};
	p->gid = (Cri__IDMapping){p->gid.base, 200000, 0, 65536};
	p->uids[0] = &p->uid;
	p->gids[0] = &p->gid;
	p->uids[1] = p->gids[1] = &p->more;
	p->user.uids = p->uids;
	p->user.gids = p->gids;
	p->user.n_uids = p->user.n_gids = 1;
	p->ports[0] = &p->port;
	p->ports[1] = &p->other;
	p->port.container_port = 80;
	p->port.host_port = 8080;
	p->other.container_port = 53;
	p->annotations[0] = &p->annotation;
	p->labels[0] = &p->label;
	p->sysctls[0] = &p->sysctl;
}

static void annotate(PodMessage *p, const char *key, const char *value)
{
	p->annotation.key = (char *)(uintptr_t)key;
	p->annotation.value = (char *)(uintptr_t)value;
	p->c.annotations = p->annotations;
	p->c.n_annotations = 1;
}

static void set_sysctl(PodMessage *p, const char *key, const char *value)
{
	p->sysctl.key = (char *)(uintptr_t)key;
	p->sysctl.value = (char *)(uintptr_t)value;
	p->linux_part.sysctls = p->sysctls;
	p->linux_part.n_sysctls = 1;
}

static Cri__PodSandboxConfig *pod_through_wire(const PodMessage *p)
{
	uint8_t buf[8192];
	size_t n = cri__pod_sandbox_config__pack(&p->c, buf);
	Cri__PodSandboxConfig *c = cri__pod_sandbox_config__unpack(NULL, n, buf);

	assert_non_null(c);
	return c;
}

static int translate_pod(const PodMessage *p, CriPod *ret, Err *e)
{
	Cri__PodSandboxConfig *c = pod_through_wire(p);
	int r = cri_pod_config(c, "", ret, e);

	cri__pod_sandbox_config__free_unpacked(c, NULL);
	return r;
}

/* ---- pods that are refused ---- */

#define POD(name, code)                                                                                      \
	static void name(PodMessage *p)                                                                      \
	{                                                                                                    \
		code;                                                                                        \
	}
static char *many_words[] = {(char *)"a b"}, *no_address[] = {(char *)"dns.example"},
	    *line[] = {(char *)"a\nb"};
static int64_t bad_group[] = {2147483648};

POD(no_metadata, p->c.metadata = NULL)
POD(name_empty, p->meta.name = (char *)"")
POD(uid_slash, p->meta.uid = (char *)"a/b")
POD(namespace_up, p->meta.namespace_ = (char *)"../x")
POD(long_hostname,
    p->c.hostname = (char *)"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
POD(odd_hostname, p->c.hostname = (char *)"a b")
POD(relative_logs, p->c.log_directory = (char *)"var/log")
POD(rising_logs, p->c.log_directory = (char *)"/var/log/../../etc")
POD(network_target, p->ns.network = CRI__NAMESPACE_MODE__TARGET)
POD(network_container, p->ns.network = CRI__NAMESPACE_MODE__CONTAINER)
POD(pid_target, p->ns.pid = CRI__NAMESPACE_MODE__TARGET)
POD(unknown_mode, p->ns.ipc = (Cri__NamespaceMode)9)
POD(userns_container, p->ns.userns_options = &p->user; p->user.mode = CRI__NAMESPACE_MODE__CONTAINER)
POD(userns_target, p->ns.userns_options = &p->user; p->user.mode = CRI__NAMESPACE_MODE__TARGET)
POD(userns_two, p->ns.userns_options = &p->user; p->user.n_uids = 2)
POD(userns_no_gids, p->ns.userns_options = &p->user; p->user.n_gids = 0)
POD(userns_no_root, p->ns.userns_options = &p->user; p->uid.container_id = 1)
POD(userns_empty, p->ns.userns_options = &p->user; p->uid.length = 0)
POD(userns_too_long, p->ns.userns_options = &p->user; p->uid.host_id = UINT32_MAX - 5)
POD(userns_node_maps, p->ns.userns_options = &p->user; p->user.mode = CRI__NAMESPACE_MODE__NODE)
POD(userns_host_network, p->ns.userns_options = &p->user; p->ns.network = CRI__NAMESPACE_MODE__NODE)
POD(userns_host_pid, p->ns.userns_options = &p->user; p->ns.pid = CRI__NAMESPACE_MODE__NODE)
POD(group_alone, p->security.run_as_group = &p->number; p->number.value = 5)
POD(user_wraps, p->security.run_as_user = &p->number; p->number.value = 4294967296)
POD(user_negative, p->security.run_as_user = &p->number; p->number.value = -1)
POD(groups_wrap, p->security.supplemental_groups = bad_group; p->security.n_supplemental_groups = 1)
POD(cgroup_up, p->linux_part.cgroup_parent = (char *)"/kubepods/../system.slice")
POD(sysctl_kernel, set_sysctl(p, "kernel.core_pattern", "|/x"))
POD(sysctl_hostname, set_sysctl(p, "kernel.hostname", "x"))
POD(sysctl_up, set_sysctl(p, "net/../kernel/panic", "1"))
POD(sysctl_host_net, set_sysctl(p, "net.ipv4.ip_forward", "1"); p->ns.network = CRI__NAMESPACE_MODE__NODE)
POD(sysctl_host_ipc, set_sysctl(p, "kernel.shmmax", "1"); p->ns.ipc = CRI__NAMESPACE_MODE__NODE)
POD(rate_text, annotate(p, "kubernetes.io/ingress-bandwidth", "fast"))
POD(rate_small, annotate(p, "kubernetes.io/egress-bandwidth", "10"))
POD(rate_large, annotate(p, "kubernetes.io/egress-bandwidth", "2P"))
POD(port_high, p->c.port_mappings = p->ports; p->c.n_port_mappings = 1; p->port.host_port = 65536)
POD(port_zero, p->c.port_mappings = p->ports; p->c.n_port_mappings = 1; p->port.container_port = 0)
POD(port_protocol, p->c.port_mappings = p->ports; p->c.n_port_mappings = 1;
    p->port.protocol = (Cri__Protocol)7)
POD(port_ip, p->c.port_mappings = p->ports; p->c.n_port_mappings = 1; p->port.host_ip = (char *)"localhost")
POD(dns_server, p->c.dns_config = &p->dns; p->dns.servers = no_address; p->dns.n_servers = 1)
POD(dns_search, p->c.dns_config = &p->dns; p->dns.searches = many_words; p->dns.n_searches = 1)
POD(dns_option, p->c.dns_config = &p->dns; p->dns.options = line; p->dns.n_options = 1)
POD(label_empty, p->c.labels = p->labels; p->c.n_labels = 1)
POD(label_equals, p->c.labels = p->labels; p->c.n_labels = 1; p->label.key = (char *)"a=b")
POD(label_bytes, p->c.labels = p->labels; p->c.n_labels = 1; p->label.key = (char *)"a\xff")
POD(profile_type, p->security.seccomp = &p->profile;
    p->profile.profile_type = (Cri__SecurityProfile__ProfileType)5)
POD(profile_ref, p->security.seccomp = &p->profile; p->profile.localhost_ref = (char *)"/x")
POD(profile_gone, p->security.seccomp_profile_path = (char *)"localhost//nonexistent/profile.json")
POD(profile_name, p->security.seccomp_profile_path = (char *)"default")
POD(bad_overhead, p->linux_part.overhead = &p->resources; p->resources.cpu_period = 1)
POD(bad_resources, p->linux_part.resources = &p->resources; p->resources.oom_score_adj = 1001)

static void pods_are_refused(void **state)
{
	static const struct {
		void (*change)(PodMessage *p);
		const char *says;
	} cases[] = {
	    {no_metadata, "metadata"},
	    {name_empty, "metadata.name"},
	    {uid_slash, "metadata.uid"},
	    {namespace_up, "metadata.namespace"},
	    {long_hostname, "hostname"},
	    {odd_hostname, "hostname"},
	    {relative_logs, "log_directory"},
	    {rising_logs, "log_directory"},
	    {network_target, "namespace_options.network: TARGET"},
	    {network_container, "namespace_options.network: CONTAINER"},
	    {pid_target, "namespace_options.pid: TARGET"},
	    {unknown_mode, "namespace_options.ipc: there is no mode 9"},
	    {userns_container, "userns_options: CONTAINER"},
	    {userns_target, "userns_options: TARGET"},
	    {userns_two, "userns_options.uids: 2 mappings"},
	    {userns_no_gids, "userns_options.gids: 0 mappings"},
	    {userns_no_root, "container's id 0"},
	    {userns_empty, "not be empty"},
	    {userns_too_long, "more than there are"},
	    {userns_node_maps, "takes no mappings"},
	    {userns_host_network, "network: NODE is not offered in a user namespace"},
	    {userns_host_pid, "pid: NODE is not offered in a user namespace"},
	    {group_alone, "run_as_group 5"},
	    {user_wraps, "run_as_user"},
	    {user_negative, "run_as_user"},
	    {groups_wrap, "supplemental_groups"},
	    {cgroup_up, "cgroup_parent"},
	    {sysctl_kernel, "sysctl kernel.core_pattern"},
	    {sysctl_hostname, "sysctl kernel.hostname"},
	    {sysctl_up, "sysctl net/../kernel/panic"},
	    {sysctl_host_net, "host's namespace (network)"},
	    {sysctl_host_ipc, "host's namespace (ipc)"},
	    {rate_text, "ingress-bandwidth: \"fast\""},
	    {rate_small, "egress-bandwidth"},
	    {rate_large, "egress-bandwidth"},
	    {port_high, "port 65536"},
	    {port_zero, "port_mappings"},
	    {port_protocol, "protocol 7"},
	    {port_ip, "\"localhost\" is no address"},
	    {dns_server, "dns_config.servers"},
	    {dns_search, "dns_config.searches"},
	    {dns_option, "dns_config.options"},
	    {label_empty, "labels"},
	    {label_equals, "labels"},
	    {label_bytes, "labels: it is not valid UTF-8"},
	    {profile_type, "seccomp: there is no type"},
	    {profile_ref, "localhost_ref"},
	    {profile_gone, "/nonexistent/profile.json"},
	    {profile_name, "seccomp: \"default\""},
	    {bad_overhead, "overhead: cpu_period"},
	    {bad_resources, "resources: oom_score_adj"},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		PodMessage p;
		CriPod pod = {0};
		Err e = {0};

		pod_init(&p);
		cases[i].change(&p);
		int r = translate_pod(&p, &pod, &e);
		cri_pod_done(&pod);
		if (r >= 0 || e.kind != ERR_INVALID || !strstr(e.msg, cases[i].says))
			fail_msg("case %zu (%s): %d %s", i, cases[i].says, r, e.msg);
	}
}

/* ---- pods that are not ---- */

static void a_plain_pod(void **state)
{
	PodMessage p;
	CriPod pod = {0};
	char own[65] = "";
	Err e = {0};

	pod_init(&p);
	assert_int_equal(gethostname(own, sizeof(own) - 1), 0);
	if (translate_pod(&p, &pod, &e) < 0)
		fail_msg("%s", e.msg);
	const ContainerHost *h = &pod.config.host;
	assert_string_equal(pod.pod.container_name, "k8s_POD_web_default_u-1_2");
	assert_ptr_equal(pod.pod.config, &pod.config);
	assert_ptr_equal(pod.pod.network, &pod.network);
	assert_true(pod.config.pod.sandbox);
	assert_null(pod.config.pod.user_maps);
	assert_string_equal(pod.config.hostname, own);
	assert_string_equal(h->network_mode, "pod");
	assert_string_equal(h->pid_mode, "");
	assert_string_equal(h->ipc_mode, "");
	assert_true(strv_has(h->security_opt, "seccomp=unconfined"));
	assert_null(h->runtime);
	assert_null(h->cgroup_parent);
	assert_null(h->dns);
	assert_true(h->readonly_rootfs);
	assert_int_equal(h->oom_score_adj, cri_oom_score(-998));
	assert_int_equal(h->memory_swappiness, -1);
	assert_string_equal(strv_env_get(pod.config.labels, "io.kubernetes.pod.namespace"), "default");
	assert_string_equal(strv_env_get(pod.config.labels, "io.kubernetes.docker.type"), "podsandbox");
	assert_string_equal(pod.network.name, "web");
	assert_string_equal(pod.network.namespace_, "default");
	assert_string_equal(pod.network.uid, "u-1");
	assert_int_equal(pod.network.n_ports, 0);
	cri_pod_done(&pod);
}

static void a_pod_with_all(void **state)
{
	static char *servers[] = {(char *)"10.96.0.10", (char *)"fe80::1%eth0"},
		    *searches[] = {(char *)"svc.cluster.local"}, *options[] = {(char *)"ndots:5"};
	PodMessage p;
	CriPod pod = {0};
	Err e = {0};

	pod_init(&p);
	p.c.hostname = (char *)"web-0";
	p.c.log_directory = (char *)"/var/log/pods/x";
	p.c.dns_config = &p.dns;
	p.dns.servers = servers;
	p.dns.n_servers = 2;
	p.dns.searches = searches;
	p.dns.n_searches = 1;
	p.dns.options = options;
	p.dns.n_options = 1;
	p.c.port_mappings = p.ports; /* the second has no port of the host */
	p.c.n_port_mappings = 2;
	p.port.protocol = CRI__PROTOCOL__SCTP;
	p.port.host_ip = (char *)"::1";
	p.ns.userns_options = &p.user;
	p.security.run_as_user = &p.number;
	p.number.value = 1000;
	p.security.run_as_group = &p.group;
	p.group.value = 2000;
	p.security.seccomp = &p.profile;
	p.linux_part.cgroup_parent = (char *)"/kubepods/pod1";
	annotate(&p, "kubernetes.io/ingress-bandwidth", "1.5M");
	set_sysctl(&p, "net.ipv4.ip_unprivileged_port_start", "1024");
	if (translate_pod(&p, &pod, &e) < 0)
		fail_msg("%s", e.msg);
	const ContainerHost *h = &pod.config.host;
	assert_string_equal(pod.config.hostname, "web-0");
	assert_string_equal(h->dns[1], "fe80::1%eth0");
	assert_string_equal(h->dns_search[0], "svc.cluster.local");
	assert_string_equal(h->dns_options[0], "ndots:5");
	assert_int_equal(pod.network.n_ports, 1);
	assert_string_equal(pod.network.ports[0].protocol, "sctp");
	assert_string_equal(pod.network.ports[0].host_ip, "::1");
	assert_int_equal(pod.network.ports[0].host_port, 8080);
	assert_int_equal(pod.network.ports[0].container_port, 80);
	assert_int_equal(pod.network.ingress_rate, 1500000);
	assert_int_equal(pod.network.egress_rate, 0);
	assert_string_equal(pod.config.pod.user_maps[0], "u:0:100000:65536");
	assert_string_equal(pod.config.pod.user_maps[1], "g:0:200000:65536");
	assert_string_equal(pod.config.user, "1000:2000");
	assert_true(strv_has(h->security_opt, "seccomp=builtin"));
	assert_string_equal(h->cgroup_parent, "/kubepods/pod1");
	assert_string_equal(h->sysctls[0], "net.ipv4.ip_unprivileged_port_start=1024");
	/* What its author annotates is told to CNI, and to no runtime. */
	assert_string_equal(pod.network.annotations[0], "kubernetes.io/ingress-bandwidth=1.5M");
	assert_null(strv_env_get(h->annotations, "kubernetes.io/ingress-bandwidth"));
	cri_pod_done(&pod);
}

static void a_pod_on_the_host(void **state)
{
	PodMessage p;
	CriPod pod = {0};
	Err e = {0};

	pod_init(&p);
	p.ns.network = p.ns.pid = p.ns.ipc = CRI__NAMESPACE_MODE__NODE;
	p.c.port_mappings = p.ports;
	p.c.n_port_mappings = 1;
	annotate(&p, "kubernetes.io/ingress-bandwidth", "none of CNI's business");
	if (translate_pod(&p, &pod, &e) < 0)
		fail_msg("%s", e.msg);
	assert_string_equal(pod.config.host.network_mode, "host");
	assert_string_equal(pod.config.host.pid_mode, "host");
	assert_string_equal(pod.config.host.ipc_mode, "host");
	assert_int_equal(pod.network.n_ports, 0);
	cri_pod_done(&pod);
}

/* ---- containers ---- */

typedef struct Message {
	PodMessage pod;
	Cri__ContainerConfig c;
	Cri__ContainerMetadata meta;
	Cri__ImageSpec image, volume;
	Cri__LinuxContainerConfig linux_part;
	Cri__LinuxContainerSecurityContext security;
	Cri__NamespaceOption ns;
	Cri__UserNamespace user;
	Cri__Int64Value uid, gid;
	Cri__Capability caps;
	Cri__SecurityProfile profile, apparmor;
	Cri__SELinuxOption selinux;
	Cri__LinuxContainerResources resources;
	Cri__HugepageLimit pages;
	Cri__HugepageLimit *page_list[1];
	Cri__LinuxContainerResources__UnifiedEntry key;
	Cri__LinuxContainerResources__UnifiedEntry *keys[1];
	Cri__KeyValue env;
	Cri__KeyValue *envs[1];
	Cri__Mount mount;
	Cri__Mount *mounts[1];
	Cri__IDMapping mapping;
	Cri__IDMapping *mappings[1];
	Cri__Device device;
	Cri__Device *devices[1];
	Cri__CDIDevice cdi;
	Cri__CDIDevice *cdis[1];
	ContainerInfo sandbox;
	char *maps[3];
} Message;

static void message_init(Message *m)
{
	memset(m, 0, sizeof(*m));
	pod_init(&m->pod);
	cri__container_config__init(&m->c);
	cri__container_metadata__init(&m->meta);
	cri__image_spec__init(&m->image);
	cri__image_spec__init(&m->volume);
	cri__linux_container_config__init(&m->linux_part);
	cri__linux_container_security_context__init(&m->security);
	cri__namespace_option__init(&m->ns);
	cri__user_namespace__init(&m->user);
	cri__int64_value__init(&m->uid);
	cri__int64_value__init(&m->gid);
	cri__capability__init(&m->caps);
	cri__security_profile__init(&m->profile);
	cri__security_profile__init(&m->apparmor);
	cri__selinux_option__init(&m->selinux);
	cri__linux_container_resources__init(&m->resources);
	cri__hugepage_limit__init(&m->pages);
	cri__linux_container_resources__unified_entry__init(&m->key);
	cri__key_value__init(&m->env);
	cri__mount__init(&m->mount);
	cri__idmapping__init(&m->mapping);
	cri__device__init(&m->device);
	cri__cdidevice__init(&m->cdi);
	m->meta.name = (char *)"app";
	m->meta.attempt = 1;
	m->image.image = (char *)"docker.io/library/busybox:latest";
	m->c.metadata = &m->meta;
	m->c.image = &m->image;
	m->c.linux_part = &m->linux_part;
	m->linux_part.security_context = &m->security;
	m->linux_part.resources = &m->resources;
	m->security.namespace_options = &m->ns;
	m->page_list[0] = &m->pages;
	m->keys[0] = &m->key;
	m->envs[0] = &m->env;
	m->mounts[0] = &m->mount;
	m->mappings[0] = &m->mapping;
	m->devices[0] = &m->device;
	m->cdis[0] = &m->cdi;
	m->mount.container_path = (char *)"/data";
	m->mount.host_path = (char *)"/srv";
	m->device.host_path = (char *)"/dev/null";
	memcpy(m->sandbox.id, "0123456789abcdef", 17);
}

/* The pod has a user namespace, and the container says the same. */
static void in_user_namespace(Message *m)
{
	m->maps[0] = (char *)"u:0:100000:65536";
	m->maps[1] = (char *)"g:0:200000:65536";
	m->sandbox.config.pod.user_maps = m->maps;
	m->ns.userns_options = &m->pod.user;
}

static void with_mount(Message *m)
{
	m->c.mounts = m->mounts;
	m->c.n_mounts = 1;
}

static int translate(const Message *m, ContainerConfig *ret, Err *e)
{
	Cri__PodSandboxConfig *pod = pod_through_wire(&m->pod);
	uint8_t buf[8192];
	size_t n = cri__container_config__pack(&m->c, buf);
	Cri__ContainerConfig *c = cri__container_config__unpack(NULL, n, buf);
	int r;

	assert_non_null(c);
	r = cri_container_config(pod, c, &m->sandbox, ret, e);
	cri__container_config__free_unpacked(c, NULL);
	cri__pod_sandbox_config__free_unpacked(pod, NULL);
	return r;
}

static void env_value(Message *m, const char *key, const void *value, size_t len)
{
	m->env.key = (char *)(uintptr_t)key;
	m->env.value = (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)value};
	m->c.envs = m->envs;
	m->c.n_envs = 1;
}

#define CASE(name, code)                                                                                     \
	static void name(Message *m)                                                                         \
	{                                                                                                    \
		code;                                                                                        \
	}
static char *empty_command[] = {(char *)""};

CASE(no_container_metadata, m->c.metadata = NULL)
CASE(no_image, m->c.image = NULL)
CASE(name_slash, m->meta.name = (char *)"a/b")
CASE(nameless_program, m->c.command = empty_command; m->c.n_command = 1)
CASE(env_zero, env_value(m, "A", "b\0c", 3))
CASE(env_bytes, env_value(m, "A", "\xff", 1))
CASE(env_name, env_value(m, "A=B", "c", 1))
CASE(log_up, m->pod.c.log_directory = (char *)"/var/log/pods"; m->c.log_path = (char *)"../../../etc/passwd")
CASE(log_dir, m->pod.c.log_directory = (char *)"/var/log/pods"; m->c.log_path = (char *)"app/")
CASE(log_absolute, m->pod.c.log_directory = (char *)"/var/log/pods"; m->c.log_path = (char *)"/etc/x")
CASE(signal_none, m->c.stop_signal = (Cri__Signal)99)
CASE(privileged_alone, m->security.privileged = true)
CASE(username_group, m->security.run_as_username = (char *)"app:0")
CASE(username_line, m->security.run_as_username = (char *)"app\nroot:x:0:0")
CASE(group_only, m->security.run_as_group = &m->gid)
CASE(uid_large, m->security.run_as_user = &m->uid; m->uid.value = 2147483648)
CASE(policy, m->security.supplemental_groups_policy = (Cri__SupplementalGroupsPolicy)2)
CASE(pid_target_none, m->ns.pid = CRI__NAMESPACE_MODE__TARGET)
CASE(ipc_container, m->ns.ipc = CRI__NAMESPACE_MODE__CONTAINER)
CASE(network_other, m->ns.network = CRI__NAMESPACE_MODE__TARGET)
CASE(userns_not_the_pods, m->ns.userns_options = &m->pod.user)
CASE(userns_other_ids, in_user_namespace(m); m->pod.uid.host_id = 300000)
CASE(userns_forgotten, in_user_namespace(m); m->ns.userns_options = NULL)
CASE(userns_host_pid_member, in_user_namespace(m); m->ns.pid = CRI__NAMESPACE_MODE__NODE)
CASE(apparmor_nameless, m->security.apparmor = &m->apparmor;
     m->apparmor.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost)
CASE(seccomp_relative, m->security.seccomp = &m->profile;
     m->profile.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
     m->profile.localhost_ref = (char *)"profiles/a.json")
CASE(mount_nowhere, with_mount(m); m->mount.container_path = (char *)"")
CASE(mount_nothing, with_mount(m); m->mount.host_path = (char *)"")
CASE(mount_up, with_mount(m); m->mount.container_path = (char *)"/a/../..")
CASE(mount_relative, with_mount(m); m->mount.host_path = (char *)"srv")
CASE(mount_propagation, with_mount(m); m->mount.propagation = (Cri__MountPropagation)4)
CASE(rro_writable, with_mount(m); m->mount.recursive_read_only = true)
CASE(rro_slave, with_mount(m); m->mount.recursive_read_only = m->mount.readonly = true;
     m->mount.propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER)
CASE(rro_shared, with_mount(m); m->mount.recursive_read_only = m->mount.readonly = true;
     m->mount.propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
CASE(image_and_path, with_mount(m); m->mount.image = &m->volume; m->volume.image = (char *)"x")
CASE(sub_path_alone, with_mount(m); m->mount.image_sub_path = (char *)"a")
CASE(map_half, with_mount(m); m->mount.uidmappings = m->mappings; m->mount.n_uidmappings = 1)
CASE(map_outside, in_user_namespace(m); with_mount(m); m->mount.uidmappings = m->mappings;
     m->mount.n_uidmappings = 1; m->mount.gidmappings = m->mappings; m->mount.n_gidmappings = 1;
     m->mapping.host_id = 5; m->mapping.length = 1)
CASE(device_relative, m->c.devices = m->devices; m->c.n_devices = 1; m->device.host_path = (char *)"dev/null")
CASE(device_up, m->c.devices = m->devices; m->c.n_devices = 1;
     m->device.container_path = (char *)"/dev/../etc/x")
CASE(device_access, m->c.devices = m->devices; m->c.n_devices = 1; m->device.permissions = (char *)"rx")
CASE(device_gone, m->c.devices = m->devices; m->c.n_devices = 1;
     m->device.host_path = (char *)"/dev/no-such-device")
CASE(memory_negative, m->resources.memory_limit_in_bytes = -2)
CASE(swap_alone, m->resources.memory_swap_limit_in_bytes = 1 << 20)
CASE(swap_small, m->resources.memory_limit_in_bytes = 2 << 20;
     m->resources.memory_swap_limit_in_bytes = 1 << 20)
CASE(quota_small, m->resources.cpu_quota = 10)
CASE(shares_negative, m->resources.cpu_shares = -1)
CASE(oom_low, m->resources.oom_score_adj = -1001)
CASE(pages_path, m->resources.hugepage_limits = m->page_list; m->resources.n_hugepage_limits = 1;
     m->pages.page_size = (char *)"../2MB")
CASE(pages_odd, m->resources.hugepage_limits = m->page_list; m->resources.n_hugepage_limits = 1;
     m->pages.page_size = (char *)"3KB")
CASE(unified_path, m->resources.unified = m->keys; m->resources.n_unified = 1;
     m->key.key = (char *)"../cgroup.procs")

static void containers_are_refused(void **state)
{
	static const struct {
		void (*change)(Message *m);
		const char *says;
	} cases[] = {
	    {no_container_metadata, "the container has no metadata"},
	    {no_image, "names no image"},
	    {name_slash, "metadata.name"},
	    {nameless_program, "command"},
	    {env_zero, "envs: A: its value has a zero byte"},
	    {env_bytes, "envs: A: it is not valid UTF-8"},
	    {env_name, "envs: A=B"},
	    {log_up, "log_path"},
	    {log_dir, "log_path"},
	    {log_absolute, "log_path"},
	    {signal_none, "stop_signal: there is no signal 99"},
	    {privileged_alone, "privileged: the pod is not"},
	    {username_group, "run_as_username"},
	    {username_line, "run_as_username"},
	    {group_only, "run_as_group"},
	    {uid_large, "run_as_user"},
	    {policy, "supplemental_groups_policy"},
	    {pid_target_none, "target_id"},
	    {ipc_container, "namespace_options.ipc: CONTAINER"},
	    {network_other, "namespace_options.network"},
	    {userns_not_the_pods, "not that of its pod"},
	    {userns_other_ids, "not that of its pod"},
	    {userns_forgotten, "not that of its pod"},
	    {userns_host_pid_member, "pid: NODE"},
	    {apparmor_nameless, "apparmor"},
	    {seccomp_relative, "seccomp: \"profiles/a.json\""},
	    {mount_nowhere, "container_path is empty"},
	    {mount_nothing, "mount /data: it has neither"},
	    {mount_up, "mount: container_path"},
	    {mount_relative, "mount: host_path"},
	    {mount_propagation, "mount /data: its propagation"},
	    {rro_writable, "recursive_read_only needs readonly"},
	    {rro_slave, "recursive_read_only needs the propagation"},
	    {rro_shared, "recursive_read_only needs the propagation"},
	    {image_and_path, "both host_path and image"},
	    {sub_path_alone, "image_sub_path"},
	    {map_half, "go together"},
	    {map_outside, "not one of the pod's user namespace"},
	    {device_relative, "devices: host_path"},
	    {device_up, "devices: container_path"},
	    {device_access, "permissions \"rx\""},
	    {device_gone, "devices: /dev/no-such-device"},
	    {memory_negative, "memory_limit_in_bytes"},
	    {swap_alone, "memory_swap_limit_in_bytes"},
	    {swap_small, "memory_swap_limit_in_bytes"},
	    {quota_small, "cpu_quota"},
	    {shares_negative, "cpu_shares"},
	    {oom_low, "oom_score_adj"},
	    {pages_path, "hugepage_limits"},
	    {pages_odd, "hugepage_limits: \"3KB\""},
	    {unified_path, "unified"},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		ContainerConfig k = {0};
		Message m;
		Err e = {0};

		message_init(&m);
		cases[i].change(&m);
		int r = translate(&m, &k, &e);
		container_config_done(&k);
		if (r >= 0 || e.kind != ERR_INVALID || !strstr(e.msg, cases[i].says))
			fail_msg("case %zu (%s): %d %s", i, cases[i].says, r, e.msg);
	}
}

static void translated(const Message *m, ContainerConfig *k)
{
	Err e = {0};

	memset(k, 0, sizeof(*k));
	if (translate(m, k, &e) < 0)
		fail_msg("%s", e.msg);
}

static void a_plain_container(void **state)
{
	ContainerConfig k;
	Message m;

	message_init(&m);
	translated(&m, &k);
	assert_string_equal(k.image, "docker.io/library/busybox:latest");
	assert_string_equal(k.pod.id, "0123456789abcdef");
	assert_false(k.pod.sandbox);
	assert_null(k.pod.log_path);
	assert_null(k.entrypoint);
	assert_false(k.has_entrypoint);
	assert_null(k.cmd);
	assert_null(k.user);
	assert_null(k.stop_signal);
	assert_string_equal(k.host.network_mode, "pod");
	assert_string_equal(k.host.pid_mode, "pod");
	assert_string_equal(k.host.ipc_mode, "pod");
	assert_true(k.host.has_masked_paths && k.host.masked_paths && !k.host.masked_paths[0]);
	assert_true(k.host.has_readonly_paths && k.host.readonly_paths && !k.host.readonly_paths[0]);
	assert_true(strv_has(k.host.security_opt, "seccomp=unconfined"));
	assert_int_equal(strv_len(k.host.security_opt), 1);
	assert_int_equal(k.host.memory_swap, 0);
	assert_int_equal(k.host.memory_swappiness, -1);
	assert_int_equal(k.stop_timeout, STOP_TIMEOUT_UNSET);
	assert_false(k.pod.strict_groups);
	assert_string_equal(strv_env_get(k.labels, "io.kubernetes.sandbox.id"), "0123456789abcdef");
	assert_string_equal(strv_env_get(k.labels, "io.kubernetes.container.name"), "app");
	container_config_done(&k);
}

static void what_it_runs(void **state)
{
	static char *command[] = {(char *)"/bin/sh", (char *)"-c"}, *args[] = {(char *)"true"};
	ContainerConfig k;
	Message m;

	message_init(&m);
	m.c.command = command;
	m.c.n_command = 2;
	m.c.args = args;
	m.c.n_args = 1;
	m.c.working_dir = (char *)"/work";
	m.c.tty = m.c.stdin = m.c.stdin_once = true;
	m.c.stop_signal = CRI__SIGNAL__SIGRTMINPLUS3;
	m.pod.c.log_directory = (char *)"/var/log/pods/x/";
	m.c.log_path = (char *)"app/0.log";
	env_value(&m, "GREETING", "gr\xc3\xbc\xc3\x9f", 6);
	translated(&m, &k);
	assert_string_equal(k.entrypoint[1], "-c");
	assert_true(k.has_entrypoint);
	assert_string_equal(k.cmd[0], "true");
	assert_string_equal(k.working_dir, "/work");
	assert_true(k.tty && k.open_stdin && k.stdin_once);
	assert_string_equal(k.stop_signal, "SIGRTMIN+3");
	assert_string_equal(k.pod.log_path, "/var/log/pods/x/app/0.log");
	assert_string_equal(k.env[0], "GREETING=gr\xc3\xbc\xc3\x9f");
	container_config_done(&k);
}

static void who_it_is(void **state)
{
	static int64_t groups[] = {10, 20};
	static char *masked[] = {(char *)"/proc/kcore"}, *ambient[] = {(char *)"NET_BIND_SERVICE"};
	ContainerConfig k;
	Message m;

	message_init(&m);
	m.security.run_as_user = &m.uid;
	m.uid.value = 2147483647;
	m.security.run_as_username = (char *)"app"; /* which goes before the number */
	m.security.run_as_group = &m.gid;
	m.gid.value = 0;
	m.security.supplemental_groups = groups;
	m.security.n_supplemental_groups = 2;
	m.security.supplemental_groups_policy = CRI__SUPPLEMENTAL_GROUPS_POLICY__Strict;
	m.security.no_new_privs = m.security.readonly_rootfs = true;
	m.security.masked_paths = masked;
	m.security.n_masked_paths = 1;
	m.security.capabilities = &m.caps;
	m.caps.add_ambient_capabilities = ambient;
	m.caps.n_add_ambient_capabilities = 1;
	m.security.selinux_options = &m.selinux;
	m.selinux.type = (char *)"spc_t";
	m.selinux.level = (char *)"s0:c1,c2";
	m.security.seccomp = &m.profile;
	m.security.apparmor = &m.apparmor;
	m.apparmor.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
	m.apparmor.localhost_ref = (char *)"localhost/mine";
	m.ns.pid = CRI__NAMESPACE_MODE__TARGET;
	m.ns.target_id = (char *)"fedcba";
	translated(&m, &k);
	assert_string_equal(k.user, "app:0");
	assert_string_equal(k.host.group_add[1], "20");
	assert_true(k.pod.strict_groups);
	assert_true(k.host.readonly_rootfs);
	assert_string_equal(k.host.masked_paths[0], "/proc/kcore");
	assert_string_equal(k.pod.ambient_capabilities[0], "NET_BIND_SERVICE");
	assert_string_equal(k.host.security_opt[0], "seccomp=builtin");
	assert_string_equal(k.host.security_opt[1], "apparmor=mine");
	assert_string_equal(k.host.security_opt[2], "label=type:spc_t");
	assert_string_equal(k.host.security_opt[3], "label=level:s0:c1,c2");
	assert_string_equal(k.host.security_opt[4], "no-new-privileges");
	assert_string_equal(k.host.pid_mode, "container:fedcba");
	container_config_done(&k);
}

/* A privileged container is not held back by what else it says. */
static void a_privileged_container(void **state)
{
	ContainerConfig k;
	Message m;

	message_init(&m);
	m.pod.security.privileged = m.security.privileged = true;
	m.security.seccomp = &m.profile;
	m.security.apparmor = &m.apparmor;
	m.apparmor.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
	m.apparmor.localhost_ref = (char *)"mine";
	translated(&m, &k);
	assert_true(k.host.privileged);
	assert_string_equal(k.host.security_opt[0], "seccomp=unconfined");
	assert_int_equal(strv_len(k.host.security_opt), 1);
	container_config_done(&k);
}

static void a_profile_of_the_nodes(void **state)
{
	static const char text[] = "{\"defaultAction\": \"SCMP_ACT_ALLOW\"}";
	const TestDir *dir = *state;
	_cleanup_free_ char *path = strf("%s/p.json", dir->path);
	ContainerConfig k;
	Message m;

	assert_int_equal(file_replace_at(dir->fd, "p.json", text, strlen(text), 0600, false), 0);
	message_init(&m);
	m.security.seccomp = &m.profile;
	m.profile.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
	m.profile.localhost_ref = path;
	translated(&m, &k);
	assert_string_equal(k.host.security_opt[0], "seccomp={\"defaultAction\": \"SCMP_ACT_ALLOW\"}");
	container_config_done(&k);
}

static void mounts(void **state)
{
	ContainerConfig k;
	Message m;

	message_init(&m);
	with_mount(&m);
	m.mount.readonly = true;
	m.mount.propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER;
	translated(&m, &k);
	const ContainerMount *p = &k.host.mounts[0];
	assert_string_equal(p->type, "bind");
	assert_string_equal(p->source, "/srv");
	assert_string_equal(p->target, "/data");
	assert_string_equal(p->propagation, "rslave");
	assert_true(p->read_only && p->ro_non_recursive && p->create_mountpoint && !p->ro_force_recursive);
	container_config_done(&k);

	m.mount.propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE;
	m.mount.recursive_read_only = true;
	translated(&m, &k);
	assert_true(k.host.mounts[0].ro_force_recursive && !k.host.mounts[0].ro_non_recursive);
	container_config_done(&k);
}

static void mounts_of_images(void **state)
{
	ContainerConfig k;
	Message m;

	message_init(&m);
	with_mount(&m);
	m.mount.host_path = (char *)"";
	m.mount.image = &m.volume;
	m.volume.image = (char *)"models:1";
	m.mount.image_sub_path = (char *)"weights";
	translated(&m, &k);
	assert_string_equal(k.host.mounts[0].type, "image");
	assert_string_equal(k.host.mounts[0].source, "models:1");
	assert_string_equal(k.host.mounts[0].image_subpath, "weights");
	assert_true(k.host.mounts[0].read_only);
	container_config_done(&k);
}

/* The file system's ids to the host's; the engine is told the container's. */
static void mounts_with_ids(void **state)
{
	ContainerConfig k;
	Message m;

	message_init(&m);
	in_user_namespace(&m);
	with_mount(&m);
	m.mount.uidmappings = m.pod.uids;
	m.mount.gidmappings = m.pod.gids;
	m.mount.n_uidmappings = m.mount.n_gidmappings = 1;
	translated(&m, &k);
	assert_string_equal(k.host.mounts[0].idmap, "uids=0-0-65536;gids=0-0-65536");
	assert_string_equal(k.pod.user_maps[0], "u:0:100000:65536");
	container_config_done(&k);

	m.ns.userns_options = NULL;
	m.sandbox.config.pod.user_maps = NULL;
	translated(&m, &k);
	assert_string_equal(k.host.mounts[0].idmap, "uids=0-100000-65536;gids=0-200000-65536");
	container_config_done(&k);
}

static void limits(void **state)
{
	ContainerConfig k;
	Message m;

	message_init(&m);
	m.resources.cpu_period = 100000;
	m.resources.cpu_quota = -5;
	m.resources.cpu_shares = 2;
	m.resources.memory_limit_in_bytes = 1 << 20; /* less than Docker takes */
	m.resources.oom_score_adj = 999;
	m.resources.cpuset_cpus = (char *)"0-1";
	m.resources.hugepage_limits = m.page_list;
	m.resources.n_hugepage_limits = 1;
	m.pages.page_size = (char *)"2MB";
	m.pages.limit = 4 << 20;
	m.resources.unified = m.keys;
	m.resources.n_unified = 1;
	m.key.key = (char *)"memory.high";
	m.key.value = (char *)"500";
	translated(&m, &k);
	assert_int_equal(k.host.cpu_period, 100000);
	assert_int_equal(k.host.cpu_quota, -1);
	assert_int_equal(k.host.cpu_shares, 2);
	assert_int_equal(k.host.memory, 1 << 20);
	assert_int_equal(k.host.memory_swap, 1 << 20);
	assert_int_equal(k.host.oom_score_adj, cri_oom_score(999));
	assert_string_equal(k.host.cpuset_cpus, "0-1");
	assert_string_equal(k.pod.hugepages[0], "2MB=4194304");
	assert_string_equal(k.pod.unified[0], "memory.high=500");
	container_config_done(&k);

	m.resources.memory_swap_limit_in_bytes = -1;
	translated(&m, &k);
	assert_int_equal(k.host.memory_swap, -1);
	container_config_done(&k);
}

static void devices(void **state)
{
	ContainerConfig k;
	Message m;

	message_init(&m);
	m.c.devices = m.devices;
	m.c.n_devices = 1;
	m.device.permissions = (char *)"rw";
	m.c.cdi_devices = m.cdis;
	m.c.n_cdi_devices = 1;
	m.cdi.name = (char *)"vendor.com/gpu=0";
	translated(&m, &k);
	assert_string_equal(k.host.devices[0].path_on_host, "/dev/null");
	assert_string_equal(k.host.devices[0].path_in_container, "/dev/null");
	assert_string_equal(k.host.devices[0].cgroup_permissions, "rw");
	assert_string_equal(k.host.device_requests[0].driver, "cdi");
	assert_string_equal(k.host.device_requests[0].device_ids[0], "vendor.com/gpu=0");
	container_config_done(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pods_are_refused),
	    cmocka_unit_test(a_plain_pod),
	    cmocka_unit_test(a_pod_with_all),
	    cmocka_unit_test(a_pod_on_the_host),
	    cmocka_unit_test(containers_are_refused),
	    cmocka_unit_test(a_plain_container),
	    cmocka_unit_test(what_it_runs),
	    cmocka_unit_test(who_it_is),
	    cmocka_unit_test(a_privileged_container),
	    test_in_dir(a_profile_of_the_nodes),
	    cmocka_unit_test(mounts),
	    cmocka_unit_test(mounts_of_images),
	    cmocka_unit_test(mounts_with_ids),
	    cmocka_unit_test(limits),
	    cmocka_unit_test(devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
