/* SPDX-License-Identifier: Apache-2.0 */
/* The flag tables of run and create: one list, with what only run has in front. */
#include "run-options.h"

#define O(field) offsetof(RunOptions, field)

#define RUN_ONLY                                                                                               \
	{"detach", 'd', FLAG_BOOL, O(detach), "Run in the background and print the container's id", NULL},     \
	    {"detach-keys", 0, FLAG_STRING, O(detach_keys), "Keys that detach (default ctrl-p,ctrl-q)", NULL}, \
	{                                                                                                      \
		"sig-proxy", 0, FLAG_TRI, O(sig_proxy), "Forward signals to the container (default true)",     \
		    NULL                                                                                       \
	}

#define PROCESS_FLAGS                                                                                          \
	{"annotation", 0, FLAG_LIST, O(annotations), "Annotation for the OCI runtime", "map"},                 \
	    {"attach", 'a', FLAG_LIST, O(attach), "Attach only STDIN, STDOUT or STDERR", NULL},                \
	    {"cidfile", 0, FLAG_STRING, O(cidfile), "Write the container's id to this file", NULL},            \
	    {"disable-content-trust", 0, FLAG_BOOL, O(disable_content_trust), NULL, NULL},                     \
	    {"domainname", 0, FLAG_STRING, O(domainname), "NIS domain name", NULL},                            \
	    {"entrypoint", 0, FLAG_STRING, O(entrypoint), "Program to run instead of the image's ENTRYPOINT",  \
	     NULL},                                                                                            \
	    {"env", 'e', FLAG_LIST, O(env), "Set an environment variable", NULL},                              \
	    {"env-file", 0, FLAG_LIST, O(env_files), "Read environment variables from a file", NULL},          \
	    {"group-add", 0, FLAG_LIST, O(group_add), "Additional group of the user", NULL},                   \
	    {"hostname", 'h', FLAG_STRING, O(hostname), "Host name in the container", NULL},                   \
	    {"init", 0, FLAG_TRI, O(init), "Run a small init that forwards signals and reaps processes",       \
	     NULL},                                                                                            \
	    {"interactive", 'i', FLAG_BOOL, O(interactive), "Keep standard input open", NULL},                 \
	    {"isolation", 0, FLAG_STRING, O(isolation), NULL, NULL},                                           \
	    {"label", 'l', FLAG_LIST, O(labels), "Set a label", NULL},                                         \
	    {"label-file", 0, FLAG_LIST, O(label_files), "Read labels from a file", NULL},                     \
	    {"log-driver", 0, FLAG_STRING, O(log_driver), "Log driver", NULL},                                 \
	    {"log-opt", 0, FLAG_LIST, O(log_opts), "Option of the log driver", NULL},                          \
	    {"name", 0, FLAG_STRING, O(name), "Name of the container", NULL},                                  \
	    {"platform", 0, FLAG_STRING, O(platform), "Platform of the image: OS/ARCH[/VARIANT]", NULL},       \
	    {"pull", 0, FLAG_STRING, O(pull), "Pull the image: always, missing or never (default missing)",    \
	     NULL},                                                                                            \
	    {"quiet", 'q', FLAG_BOOL, O(quiet), "Do not show the progress of a pull", NULL},                   \
	    {"restart", 0, FLAG_STRING, O(restart), "no, always, unless-stopped or on-failure[:MAX]", NULL},   \
	    {"rm", 0, FLAG_BOOL, O(rm), "Remove the container and its anonymous volumes when it exits", NULL}, \
	    {"runtime", 0, FLAG_STRING, O(runtime), "OCI runtime to use", NULL},                               \
	    {"stop-signal", 0, FLAG_STRING, O(stop_signal), "Signal that stops the container", NULL},          \
	    {"stop-timeout",                                                                                   \
	     0,                                                                                                \
	     FLAG_INT,                                                                                         \
	     O(stop_timeout),                                                                                  \
	     "Seconds to wait before killing when stopped",                                                    \
	     NULL},                                                                                            \
	    {"tty", 't', FLAG_BOOL, O(tty), "Give the command a terminal", NULL},                              \
	    {"user", 'u', FLAG_STRING, O(user), "User name or id, and group: USER[:GROUP]", NULL},             \
	{                                                                                                      \
		"workdir", 'w', FLAG_STRING, O(workdir), "Working directory in the container", NULL            \
	}

#define FILE_FLAGS                                                                                           \
	{"mount", 0, FLAG_LIST, O(mounts), "Mount: type=bind,src=...,dst=...[,readonly]", "mount"},          \
	    {"read-only", 0, FLAG_BOOL, O(read_only), "Mount the container's root read-only", NULL},         \
	    {"shm-size", 0, FLAG_BYTES, O(shm_size), "Size of /dev/shm", NULL},                              \
	    {"storage-opt", 0, FLAG_LIST, O(storage_opts), "Option of the storage driver", NULL},            \
	    {"tmpfs", 0, FLAG_LIST, O(tmpfs), "Mount a tmpfs: PATH[:OPTIONS]", NULL},                        \
	    {"volume", 'v', FLAG_LIST, O(volumes), "Mount a folder or volume: [SOURCE:]TARGET[:OPTIONS]",    \
	     NULL},                                                                                          \
	    {"volume-driver", 0, FLAG_STRING, O(volume_driver), "Driver of the volumes of -v", NULL},        \
	{                                                                                                    \
		"volumes-from", 0, FLAG_LIST, O(volumes_from), "Mount the volumes of another container",     \
		    NULL                                                                                     \
	}

#define NETWORK_FLAGS                                                                                        \
	{"add-host", 0, FLAG_LIST, O(add_hosts), "Entry of /etc/hosts: HOST:IP", NULL},                      \
	    {"dns", 0, FLAG_LIST, O(dns), "DNS server", NULL},                                               \
	    {"dns-option", 0, FLAG_LIST, O(dns_options), "Option of resolv.conf", NULL},                     \
	    {"dns-opt", 0, FLAG_LIST, O(dns_options), NULL, NULL},                                           \
	    {"dns-search", 0, FLAG_LIST, O(dns_search), "DNS search domain", NULL},                          \
	    {"expose", 0, FLAG_LIST, O(expose), "Expose a port or range without publishing it", NULL},       \
	    {"ip", 0, FLAG_STRING, O(ip), "IPv4 address", NULL},                                             \
	    {"ip6", 0, FLAG_STRING, O(ip6), "IPv6 address", NULL},                                           \
	    {"link", 0, FLAG_LIST, O(links), "Link to another container: NAME[:ALIAS]", NULL},               \
	    {"link-local-ip", 0, FLAG_LIST, O(link_local_ips), "Link-local address", NULL},                  \
	    {"mac-address", 0, FLAG_STRING, O(mac_address), "MAC address", NULL},                            \
	    {"network", 0, FLAG_LIST, O(networks), "Network to connect to", "network"},                      \
	    {"net", 0, FLAG_LIST, O(networks), NULL, NULL}, {"network-alias",                                \
							     0,                                              \
							     FLAG_LIST,                                      \
							     O(aliases),                                     \
							     "Another name of the container in its network", \
							     NULL},                                          \
	    {"net-alias", 0, FLAG_LIST, O(aliases), NULL, NULL},                                             \
	    {"publish", 'p', FLAG_LIST, O(publish), "Publish a port: [[IP:]HOST:]CONTAINER[/PROTO]", NULL},  \
	{                                                                                                    \
		"publish-all", 'P', FLAG_BOOL, O(publish_all), "Publish all exposed ports on free ones",     \
		    NULL                                                                                     \
	}

#define LIMIT_FLAGS                                                                                            \
	RESOURCE_FLAGS(RunOptions, resources), {"blkio-weight-device",                                         \
						0,                                                             \
						FLAG_LIST,                                                     \
						O(blkio_weight_devices),                                       \
						"Weight of I/O to a device: PATH:WEIGHT",                      \
						NULL},                                                         \
	    {"device", 0, FLAG_LIST, O(devices), "Give a device: HOST[:CONTAINER[:rwm]]", NULL},               \
	    {"device-cgroup-rule", 0, FLAG_LIST, O(device_rules), "Allow devices by rule: 'c 1:3 rwm'", NULL}, \
	    {"device-read-bps", 0, FLAG_LIST, O(read_bps), "Limit reading: PATH:BYTES", NULL},                 \
	    {"device-read-iops", 0, FLAG_LIST, O(read_iops), "Limit reads: PATH:NUMBER", NULL},                \
	    {"device-write-bps", 0, FLAG_LIST, O(write_bps), "Limit writing: PATH:BYTES", NULL},               \
	    {"device-write-iops", 0, FLAG_LIST, O(write_iops), "Limit writes: PATH:NUMBER", NULL},             \
	    {"gpus", 0, FLAG_LIST, O(gpus), "GPUs to give: all, a number, or device=ID", "gpu-request"},       \
	    {"oom-kill-disable", 0, FLAG_BOOL, O(oom_kill_disable), "Never kill for lack of memory", NULL},    \
	    {"oom-score-adj",                                                                                  \
	     0,                                                                                                \
	     FLAG_INT,                                                                                         \
	     O(oom_score_adj),                                                                                 \
	     "Preference of the OOM killer, -1000 to 1000",                                                    \
	     NULL},                                                                                            \
	{                                                                                                      \
		"ulimit", 0, FLAG_LIST, O(ulimits), "Resource limit: NAME=SOFT[:HARD]", "ulimit"               \
	}

#define ISOLATION_FLAGS                                                                                      \
	{"cap-add", 0, FLAG_LIST, O(cap_add), "Add a capability", NULL},                                     \
	    {"cap-drop", 0, FLAG_LIST, O(cap_drop), "Take a capability away", NULL},                         \
	    {"cgroup-parent", 0, FLAG_STRING, O(cgroup_parent), "Parent cgroup", NULL},                      \
	    {"cgroupns", 0, FLAG_STRING, O(cgroupns), "Cgroup namespace: host or private", NULL},            \
	    {"ipc", 0, FLAG_STRING, O(ipc), "IPC namespace: private, shareable, host, container:NAME, none", \
	     NULL},                                                                                          \
	    {"pid", 0, FLAG_STRING, O(pid), "PID namespace: host or container:NAME", NULL},                  \
	    {"privileged", 0, FLAG_BOOL, O(privileged), "Give the container all privileges", NULL},          \
	    {"security-opt",                                                                                 \
	     0,                                                                                              \
	     FLAG_LIST,                                                                                      \
	     O(security_opts),                                                                               \
	     "Security option: seccomp=FILE, no-new-privileges, ...",                                        \
	     NULL},                                                                                          \
	    {"sysctl", 0, FLAG_LIST, O(sysctls), "Set a sysctl of the namespaces: NAME=VALUE", "map"},       \
	    {"userns", 0, FLAG_STRING, O(userns), "User namespace: host", NULL},                             \
	{                                                                                                    \
		"uts", 0, FLAG_STRING, O(uts), "UTS namespace: host", NULL                                   \
	}

#define HEALTH_FLAGS                                                                                         \
	{"health-cmd", 0, FLAG_STRING, O(health_cmd), "Shell command that checks health", NULL},             \
	    {"health-interval", 0, FLAG_DURATION, O(health_interval), "Time between two checks", NULL},      \
	    {"health-retries",                                                                               \
	     0,                                                                                              \
	     FLAG_INT,                                                                                       \
	     O(health_retries),                                                                              \
	     "Failures in a row that make it unhealthy",                                                     \
	     NULL},                                                                                          \
	    {"health-start-interval",                                                                        \
	     0,                                                                                              \
	     FLAG_DURATION,                                                                                  \
	     O(health_start_interval),                                                                       \
	     "Time between two checks while it starts",                                                      \
	     NULL},                                                                                          \
	    {"health-start-period",                                                                          \
	     0,                                                                                              \
	     FLAG_DURATION,                                                                                  \
	     O(health_start_period),                                                                         \
	     "Time to start in, when failures do not count",                                                 \
	     NULL},                                                                                          \
	    {"health-timeout", 0, FLAG_DURATION, O(health_timeout), "Longest time of one check", NULL},      \
	{                                                                                                    \
		"no-healthcheck", 0, FLAG_BOOL, O(no_healthcheck), "Ignore the image's HEALTHCHECK", NULL    \
	}

/* clang-format off */
const Flag run_flags[] = {RUN_ONLY, PROCESS_FLAGS, FILE_FLAGS, NETWORK_FLAGS, LIMIT_FLAGS, ISOLATION_FLAGS, HEALTH_FLAGS, {0}};
const Flag create_flags[] = {PROCESS_FLAGS, FILE_FLAGS, NETWORK_FLAGS, LIMIT_FLAGS, ISOLATION_FLAGS, HEALTH_FLAGS, {0}};
/* clang-format on */
