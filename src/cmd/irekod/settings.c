/* SPDX-License-Identifier: Apache-2.0 */
/* The rows; see settings.h. */
#include "settings.h"
#include "config.h"
#include "base/str.h"

#define RELOADS SETTING_RELOADS

/* clang-format off */
/* In the order of the help. */
const Setting settings[] = {
	/* where */
	{"data-root", SET_PATH, .meta = "DIR", .help = "images, volumes, container data (default /var/lib/ireko)"},
	{"exec-root", SET_PATH, .meta = "DIR", .help = "sockets and state that end with the boot (default /run/ireko)"},
	{"pidfile", SET_TEXT, .letter = 'p', .meta = "FILE", .help = "written at start, removed at exit"},
	{"config-file", SET_TEXT, SETTING_FLAG_ONLY, .alias = "config", .meta = "FILE", .help = "JSON with these settings (default /etc/ireko/daemon.json if it exists)"},
	{"helper-dir", SET_TEXT, .meta = "DIR", .help = "where ireko-shim and ireko-unpack are (default: beside irekod, else in libexec)"},
	/* doors */
	{"hosts", SET_LIST, .flag = "host", .letter = 'H', .meta = "ADDRESS", .help = "unix://PATH, tcp://HOST:PORT, or fd:// for the sockets that systemd passes; repeatable (default what systemd passes, else unix://EXEC-ROOT/ireko.sock)"},
	{"group", SET_TEXT, .letter = 'G', .meta = "GROUP", .help = "whose members may use the unix sockets (default ireko, else docker, if there is one; \"\": root alone)"},
	{"tls", SET_BOOL, .help = "TLS on the TCP addresses; --tls=false says that none is meant to be without"},
	{"tlsverify", SET_BOOL, .help = "the same, and clients need a certificate"},
	{"tlscacert", SET_TEXT, .meta = "FILE", .help = "authorities of clients' certificates (default ~/.docker/ca.pem)"},
	{"tlscert", SET_TEXT, .meta = "FILE", .help = "our certificate (default ~/.docker/cert.pem)"},
	{"tlskey", SET_TEXT, .meta = "FILE", .help = "its key (default ~/.docker/key.pem)"},
	{"cri", SET_LIST, .meta = "ADDRESS", .help = "unix://PATH that a kubelet speaks CRI to; repeatable (default: none)", .check = setting_check_cri},
	{"cri-stream-address", SET_TEXT, .meta = "ADDRESS", .help = "that exec, attach and port-forward of a kubelet are served on; one that others reach needs cri-stream-cert (default 127.0.0.1)", .check = setting_check_address},
	{"cri-stream-port", SET_INT, .meta = "PORT", .help = "the same (default 0: one that is free)", .min = 0, .max = 65535},
	{"cri-stream-cert", SET_TEXT, .meta = "FILE", .help = "its certificate: with TLS then"},
	{"cri-stream-key", SET_TEXT, .meta = "FILE", .help = "the certificate's key"},
	{"cri-stream-idle-timeout", SET_DURATION, .meta = "TIME", .help = "a session in which nothing is sent for so long is ended (default 4h)"},
	{"metrics-addr", SET_TEXT, .meta = "ADDRESS", .help = "HOST:PORT of Prometheus' /metrics, on a loopback address"},
	/* logs */
	{"debug", SET_BOOL, RELOADS, .letter = 'D', .help = "log everything"},
	{"log-level", SET_TEXT, RELOADS, .letter = 'l', .meta = "LEVEL", .help = "debug, info, warn, error or fatal (default info)", .check = setting_check_level},
	{"log-format", SET_TEXT, .meta = "FORMAT", .help = "text or json (default text)", .check = setting_check_format},
	{"raw-logs", SET_BOOL, .help = "no colours in the log: there are none anyway"},
	/* life */
	{"live-restore", SET_BOOL, RELOADS, .help = "containers outlive irekod (default true: they do, unless this is false)"},
	{"shutdown-timeout", SET_INT, RELOADS, .meta = "SECONDS", .help = "for containers to stop when live-restore is false (default 15)", .min = 0, .max = 86400},
	{"validate", SET_BOOL, SETTING_FLAG_ONLY, .help = "check the settings, and end"},
	/* registries */
	{"insecure-registries", SET_LIST, RELOADS, .flag = "insecure-registry", .meta = "HOST", .help = "host[:port] or CIDR that may be spoken to without TLS; repeatable"},
	{"registry-mirrors", SET_LIST, RELOADS, .flag = "registry-mirror", .meta = "[HOST=]URL", .help = "asked before HOST (default docker.io; * for every registry that has no mirror of its own); repeatable, in this order", .check = setting_check_mirror},
	{"registry-token-servers", SET_LIST, .flag = "registry-token-server", .meta = "REGISTRY=HOST", .help = "HOST also gets the credentials for REGISTRY, whose token server it is; needed only where the names do not tell that both have one owner; repeatable"},
	{"max-concurrent-downloads", SET_INT, RELOADS, .meta = "N", .help = "layers of one pull at once (default 4)", .min = 1, .max = 32},
	{"max-concurrent-uploads", SET_INT, RELOADS, .meta = "N", .help = "layers of one push at once (default 5)", .min = 1, .max = 32},
	{"max-download-attempts", SET_INT, RELOADS, .meta = "N", .help = "in a row that bring nothing of a layer, before a pull gives up (default 5)", .min = 1, .max = 1000},
	{"proxies", SET_GROUP, SETTING_FILE_ONLY},
	{"http-proxy", SET_TEXT, .meta = "URL", .help = "the way to registries (default $HTTP_PROXY)"},
	{"https-proxy", SET_TEXT, .meta = "URL", .help = "the same (default $HTTPS_PROXY)"},
	{"no-proxy", SET_TEXT, .meta = "LIST", .help = "hosts without one (default $NO_PROXY)"},
	{"certs-dir", SET_PATH, .meta = "DIR", .help = "certificates and credentials of registries, a folder each (default /etc/ireko/certs.d, then /etc/docker/certs.d)"},
	/* containers */
	{"runtimes", SET_OBJECT, RELOADS, .flag = "add-runtime", .alias = "runtime", .meta = "NAME=PATH", .help = "an OCI runtime, runc say, that containers may ask for; repeatable", .check = setting_check_runtime, .read = setting_read_runtimes},
	{"default-runtime", SET_TEXT, RELOADS, .meta = "NAME", .help = "of containers that ask for none (default ireko, our own)"},
	{"log-driver", SET_TEXT, .meta = "NAME", .help = "of containers that name none: json-file (default), local, journald, syslog or none"},
	{"log-opts", SET_MAP, .flag = "log-opt", .alias = "log-opts", .meta = "KEY=VALUE", .help = "of containers with that driver; repeatable"},
	{"default-shm-size", SET_SIZE, RELOADS, .meta = "SIZE", .help = "of /dev/shm (default 64m)"},
	{"default-ulimits", SET_OBJECT, RELOADS, .flag = "default-ulimit", .meta = "NAME=SOFT[:HARD]", .help = "of containers that ask for no other; repeatable", .check = setting_check_ulimit, .read = setting_read_ulimits},
	{"default-cgroupns-mode", SET_TEXT, .meta = "MODE", .help = "private or host (default private)", .check = setting_check_cgroupns},
	{"default-ipc-mode", SET_TEXT, .meta = "MODE", .help = "private or shareable (default private)", .check = setting_check_ipc},
	{"cgroup-parent", SET_TEXT, .meta = "CGROUP", .help = "of containers that ask for no other"},
	{"cgroup-driver", SET_TEXT, .meta = "NAME", .help = "cgroupfs (we make the cgroups of containers; the default) or systemd (they are its scopes)", .check = setting_check_cgroup_driver},
	{"init", SET_BOOL, .help = "a container's first process is an init that reaps"},
	{"no-new-privileges", SET_BOOL, .help = "set-user-ID programs and the like give no rights in containers"},
	{"seccomp-profile", SET_TEXT, .meta = "FILE", .help = "in place of the built-in one: a profile, or unconfined"},
	{"userns-remap", SET_TEXT, .meta = "USER[:GROUP]", .help = "containers run in user namespaces, with the ids that /etc/subuid and /etc/subgid give to the user (default: dockremap)"},
	{"cdi-spec-dirs", SET_LIST, .flag = "cdi-spec-dir", .meta = "DIR", .help = "of CDI's files about devices, in order of rising priority; repeatable (default /etc/cdi and /var/run/cdi)", .check = setting_check_path},
	{"dns", SET_LIST, .meta = "ADDRESS", .help = "name server of containers; repeatable", .check = setting_check_address},
	{"dns-opts", SET_LIST, .flag = "dns-opt", .alias = "dns-opts", .meta = "OPTION", .help = "of resolv.conf in containers; repeatable"},
	{"dns-search", SET_LIST, .meta = "DOMAIN", .help = "where containers look for short names; repeatable"},
	{"labels", SET_LIST, RELOADS, .flag = "label", .meta = "KEY=VALUE", .help = "of the engine, as info shows it; repeatable", .check = setting_check_label},
	/* networks */
	{"bip", SET_TEXT, .alias = "bridge-subnet", .meta = "CIDR", .help = "of the default network's gateway, or its subnet (default: one that is free)"},
	{"ipv6", SET_BOOL, .help = "the default network has IPv6 as well"},
	{"bip6", SET_TEXT, .meta = "CIDR", .help = "as bip, of IPv6 (default: a unique local one of this machine's)"},
	{"fixed-cidr-v6", SET_TEXT, .meta = "CIDR", .help = "the same; bip6 goes before it"},
	{"mtu", SET_INT, .meta = "BYTES", .help = "of the default network (default: that of the default route)", .min = 68, .max = 65535},
	{"icc", SET_BOOL, .help = "containers on the default network may talk to each other (default true)"},
	{"ip", SET_TEXT, .meta = "ADDRESS", .help = "that ports are published on by default (default 0.0.0.0)", .check = setting_check_address},
	{"published-ports", SET_TEXT, .meta = "WHO", .help = "has a say in who reaches published ports: firewall (the host's own rules for what is forwarded; the default) or open (they are open whatever these say)", .check = setting_check_published_ports},
	{"userland-proxy", SET_BOOL, .help = "ports are reached over IPv6 too if the container has only IPv4, and the other way round (default true)"},
	{"default-address-pools", SET_OBJECT, .flag = "default-address-pool", .meta = "base=CIDR,size=N", .help = "where networks take their subnets from; repeatable", .check = setting_check_pool, .read = setting_read_pools},
	/* pods */
	{"cni-conf-dir", SET_PATH, .meta = "DIR", .help = "of CNI's configuration: how pods get networks (default /etc/cni/net.d)"},
	{"cni-bin-dirs", SET_LIST, .flag = "cni-bin-dir", .meta = "DIR", .help = "of CNI's plugins; repeatable (default /opt/cni/bin, /usr/lib/cni and /usr/libexec/cni)", .check = setting_check_path},
	{"cni-cache-dir", SET_PATH, .meta = "DIR", .help = "of what CNI's plugins have made (default /var/lib/cni)"},
	{"netns-dir", SET_PATH, .meta = "DIR", .help = "where network namespaces of pods have names (default /run/netns)"},
	{"sandbox-image", SET_TEXT, .meta = "IMAGE", .help = "whose command keeps a pod (default: none is needed, the engine has a program for it)"},
	/* storage */
	{"snapshotter", SET_TEXT, .alias = "storage-driver", .letter = 's', .meta = "NAME", .help = "how layers are kept: auto, erofs (images), overlayfs (directories) or vfs (copies)"},
	{"gc-max-size", SET_SIZE, .meta = "SIZE", .help = "of layers and blobs: above it unused ones go (default: no limit)"},
	{"gc-min-free", SET_SIZE, .meta = "SIZE", .help = "of the data root's file system: below it unused ones go (default: no limit)"},
	{"gc-max-age", SET_DURATION, .meta = "TIME", .help = "what was not used for so long goes: 36h, 14d (default: never)"},
	{"gc-images", SET_TEXT, .meta = "WHICH", .help = "that may go: dangling (no tag; the default) or unused (no container)", .check = setting_check_gc_images},
	{"gc-keep", SET_LIST, .meta = "PATTERN", .help = "of references that never go: 'debian:*'; repeatable", .check = setting_check_pattern},
	{"gc-interval", SET_DURATION, .meta = "TIME", .help = "between two looks (default 1m)"},
	{"gc-leftover-age", SET_DURATION, .meta = "TIME", .help = "what failed pulls left goes after it (default 1h)"},
	{"builder", SET_OBJECT, SETTING_FILE_ONLY, .read = setting_read_builder},
	/* what dockerd lets one choose, and we do not */
	{"features", SET_OBJECT, RELOADS, .flag = "feature", .meta = "NAME=BOOL", .help = "buildkit=false: clients that leave the choice to the engine build with the classic builder; else only what says how things are anyway: containerd-snapshotter=false, cdi=true", .check = setting_check_feature, .read = setting_read_features},
	{"experimental", SET_FIXED, .only = "false", .help = "there are no experimental features to be switched on: remove it"},
	{"exec-opts", SET_LIST, .flag = "exec-opt", .meta = "KEY=VALUE", .help = "native.cgroupdriver=NAME, which is cgroup-driver", .check = setting_check_exec_opt},
	{"iptables", SET_FIXED, .only = "true", .help = "networks need their packet filter rules; use --network host or none for containers that need none"},
	{"ip6tables", SET_FIXED, .only = "true", .help = "networks need their packet filter rules; use --network host or none for containers that need none"},
	{"firewall-backend", SET_FIXED, .only = "nftables", .help = "rules are made with nftables only: remove it, or say nftables"},
	{"ip-forward", SET_FIXED, .only = "true", .help = "networks need the host to forward: make a network with --internal where they do not"},
	{"ip-forward-no-drop", SET_FIXED, .only = "true", .help = "the policy of the host's own forwarding is never changed: remove it, or say true"},
	{"ip-masq", SET_FIXED, .only = "true", .help = "make a network with -o com.docker.network.bridge.enable_ip_masquerade=false instead"},
	{"userland-proxy-path", SET_REFUSED, .help = "the proxy is ireko-proxy, which is installed with irekod; remove it"},
	{"selinux-enabled", SET_FIXED, .only = "false", .help = "labels of SELinux are not set: remove it"},
	{"init-path", SET_REFUSED, .help = "the init is our own; remove it"},
	{"storage-opts", SET_REFUSED, .flag = "storage-opt", .help = "the ways to keep layers have no options; see snapshotter and gc-*"},
	{"authorization-plugins", SET_REFUSED, .flag = "authorization-plugin", .help = "there are no plugins: use --tlsverify, or the group of the socket, to say who may come in"},
	{"bridge", SET_REFUSED, .letter = 'b', .help = "the default network makes its own interface: use bip for its addresses, and --network for containers"},
	{"fixed-cidr", SET_REFUSED, .help = "make a network with --ip-range instead"},
	{"default-gateway", SET_REFUSED, .help = "make a network with --gateway instead"},
	{"default-gateway-v6", SET_REFUSED, .help = "make a network with --gateway instead"},
	{"default-network-opts", SET_REFUSED, .flag = "default-network-opt", .help = "give them to network create with -o"},
	{"allow-direct-routing", SET_REFUSED, .help = "make a network with -o com.docker.network.bridge.gateway_mode_ipv4=routed instead"},
	{"host-gateway-ip", SET_REFUSED, .help = "host-gateway is the gateway of the container's network"},
	{"host-gateway-ips", SET_REFUSED, .help = "host-gateway is the gateway of the container's network"},
	{"bridge-accept-fwmark", SET_REFUSED, .help = "add a rule of your own to nftables"},
	{"containerd", SET_REFUSED, .help = "no containerd is used; remove it"},
	{"containerd-namespace", SET_REFUSED, .help = "no containerd is used; remove it"},
	{"containerd-plugins-namespace", SET_REFUSED, .flag = "containerd-plugins-namespace", .alias = "containerd-plugin-namespace", .help = "no containerd is used; remove it"},
	{"network-control-plane-mtu", SET_REFUSED, .help = "it is for swarms, which are not offered; remove it"},
	{"network-diagnostic-port", SET_REFUSED, .help = "it is for swarms, which are not offered; remove it"},
	{"node-generic-resources", SET_REFUSED, .flag = "node-generic-resource", .help = "it is for swarms, which are not offered; remove it"},
	{"swarm-default-advertise-addr", SET_REFUSED, .help = "swarms are not offered; remove it"},
	{"cpu-rt-period", SET_REFUSED, .help = "give a container's with --cpu-rt-period"},
	{"cpu-rt-runtime", SET_REFUSED, .help = "give a container's with --cpu-rt-runtime"},
	{"http-diagnostics", SET_REFUSED, .help = "send SIGUSR1 for a dump of what is going on"},
	{"allow-nondistributable-artifacts", SET_REFUSED, .help = "layers with URLs of their own are pushed as others are; remove it"},
	{"api-cors-header", SET_REFUSED, .help = "web pages are not let in; use a proxy that decides who may come in"},
	{"oom-score-adjust", SET_REFUSED, .help = "use OOMScoreAdjust= of the systemd unit"},
	{"graph", SET_REFUSED, .letter = 'g', .help = "use data-root"},
	{"cluster-store", SET_REFUSED, .help = "networks across hosts are not offered; remove it"},
	{"cluster-advertise", SET_REFUSED, .help = "networks across hosts are not offered; remove it"},
};
/* clang-format on */
const size_t settings_n = ELEMENTSOF(settings);

const char *setting_flag(const Setting *s)
{
	return s->flag ? s->flag : s->key;
}

/* The older name of a key in the file is the alias of its flag. */
const Setting *setting_find(const char *key)
{
	for (size_t i = 0; i < settings_n; i++)
		if (streq(settings[i].key, key) || (!settings[i].flag && streq0(settings[i].alias, key)))
			return &settings[i];
	return NULL;
}
