/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container was asked to be: the document that create takes, the database keeps and inspect
 * shows. Its member names are those of the Engine API, the one schema that all our users know, so
 * it is described once, in the tables of container-config.c; everything else in the engine uses the structs.
 *
 * Immutable once the container exists, except through engine_container_update and _rename.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

typedef struct ContainerRestart {
	char *name; /* "", no, always, unless-stopped, on-failure */
	int64_t maximum_retry_count;
} ContainerRestart;

typedef struct ContainerLogConfig {
	char *type;    /* json-file, none; "" default */
	char **config; /* max-size=10m, max-file=3 */
} ContainerLogConfig;

typedef struct ContainerUlimit {
	char *name; /* nofile */
	int64_t soft, hard;
} ContainerUlimit;

typedef struct ContainerDevice {
	char *path_on_host, *path_in_container, *cgroup_permissions;
} ContainerDevice;

/* Of a block device: bytes or operations a second. */
typedef struct ContainerThrottle {
	char *path;
	int64_t rate;
} ContainerThrottle;

typedef struct ContainerThrottles {
	ContainerThrottle *items;
	size_t n;
} ContainerThrottles;

/* Devices by what they can do, from CDI's documents (cdi.h). */
typedef struct ContainerDeviceRequest {
	char *driver; /* cdi; "" is asked for by capability */
	int64_t count;
	char **device_ids;    /* vendor.com/class=name; of a request for gpu: names or indexes */
	json_t *capabilities; /* an OR list of AND lists, as the client sent it */
	char **options;       /* K=V */
} ContainerDeviceRequest;

/* The API's `Mount` objects. */
typedef struct ContainerMount {
	char *type; /* bind volume tmpfs image */
	char *source, *target, *consistency;
	bool read_only;
	bool has_bind, has_volume, has_image, has_tmpfs, has_cluster; /* which options were given */
	char *propagation;                                            /* BindOptions */
	bool non_recursive, create_mountpoint, ro_non_recursive, ro_force_recursive;
	char *idmap;  /* BindOptions.IDMap, our own: see idmap.h */
	bool no_copy; /* VolumeOptions */
	char **volume_labels, **driver_options;
	char *volume_driver, *volume_subpath;
	char *image_subpath;            /* ImageOptions */
	int64_t tmpfs_size, tmpfs_mode; /* TmpfsOptions */
	char **tmpfs_options;           /* flag or K=V */
} ContainerMount;

typedef struct ContainerPort {
	char *port; /* "80/tcp" */
	char *host_ip, *host_port;
} ContainerPort;

typedef struct ContainerHealth {
	char **test;
	int64_t interval, timeout, start_period, start_interval, retries; /* ns */
} ContainerHealth;

/* The API's HostConfig. */
typedef struct ContainerHost {
	char **binds; /* src:dst[:opts] */
	ContainerMount *mounts;
	size_t n_mounts;
	char **tmpfs; /* path=options */
	char **volumes_from;
	char *network_mode; /* default bridge host none container:<id> <network> */
	ContainerPort *ports;
	size_t n_ports;
	bool publish_all_ports, auto_remove, privileged, readonly_rootfs, init, oom_kill_disable;
	bool has_init;
	ContainerRestart restart;
	ContainerLogConfig log;
	char **cap_add, **cap_drop, **dns, **dns_options, **dns_search, **extra_hosts, **group_add,
	    **security_opt;
	char **links;
	char *ipc_mode, *pid_mode, *uts_mode, *userns_mode, *cgroupns_mode, *cgroup_parent, *runtime,
	    *container_id_file, *volume_driver, *isolation, *cpuset_cpus, *cpuset_mems;
	char **sysctls, **annotations, **storage_opt; /* K=V */
	ContainerUlimit *ulimits;
	size_t n_ulimits;
	ContainerDevice *devices;
	size_t n_devices;
	char **device_cgroup_rules;
	ContainerDeviceRequest *device_requests;
	size_t n_device_requests;
	ContainerThrottles blkio_weights, read_bps, write_bps, read_iops, write_iops;
	int64_t shm_size, memory, memory_reservation, memory_swap,
	    memory_swappiness; /* bytes; swappiness -1: unset */
	int64_t cpu_shares, nano_cpus, cpu_period, cpu_quota, pids_limit, blkio_weight, oom_score_adj;
	int64_t cpu_rt_period, cpu_rt_runtime; /* microseconds */
	int64_t cpu_percent;                   /* of Windows: discarded at create, with a warning */
	char **masked_paths, **readonly_paths; /* NULL: the defaults */
	bool has_masked_paths, has_readonly_paths;
	uint32_t console_height, console_width;
} ContainerHost;

/* The API's EndpointSettings of one network, as asked. */
typedef struct ContainerEndpointConfig {
	char *
	    network; /* key in EndpointsConfig; of a container: the network's name, if there is one of that name or id */
	char *ipv4_address, *ipv6_address, *mac_address;
	char **aliases, **links, **driver_opts; /* K=V */
	int64_t gw_priority;
} ContainerEndpointConfig;

/* Of a container that a pod has (pod.h), and what only those are asked for. No document of the Engine API can say it; the row does. */
typedef struct ContainerPod {
	char *id; /* the sandbox's; of the sandbox itself its own. NULL: in no pod */
	bool sandbox;
	char *note;     /* what the door that made it wants to find again: any text */
	char *log_path; /* of a log as the kubelet reads it; absolute; "" or NULL: none */
	char **
	    user_maps; /* of a pod with a user namespace: "u:INSIDE:OUTSIDE:LENGTH", "g:..."; NULL: the host's */
	bool
	    strict_groups; /* of supplementary groups only those that were asked for, none of the image's /etc/group */
	char **ambient_capabilities;
	char **hugepages; /* "2MB=BYTES" */
	char **unified;   /* of cgroup v2: "memory.high=..." */
} ContainerPod;

typedef struct ContainerConfig {
	char *image; /* as the user typed it */
	char *hostname, *domainname, *user, *working_dir, *stop_signal, *mac_address;
	char **env, **cmd, **entrypoint, **shell, **on_build;
	bool has_entrypoint;  /* given, perhaps empty: "" clears the image's */
	char **labels;        /* K=V */
	char **exposed_ports; /* "80/tcp" */
	char **volumes;       /* paths */
	bool attach_stdin, attach_stdout, attach_stderr, tty, open_stdin, stdin_once, network_disabled,
	    args_escaped;
	int64_t stop_timeout; /* seconds; or one of these */
#define STOP_TIMEOUT_UNSET (-1)
#define STOP_TIMEOUT_NEVER (-2) /* -1 in documents: it is never killed */
	bool has_health;
	ContainerHealth health;
	ContainerHost host;
	ContainerEndpointConfig *endpoints;
	size_t n_endpoints;
	ContainerPod pod;
} ContainerConfig;

/* From the body of POST /containers/create. ERR_INVALID names the member. */
int container_config_decode(const json_t *body, ContainerConfig *ret, Err *e);
/* A document that decodes to the same, {...Config members..., "HostConfig": {...}, "NetworkingConfig": {...}}, without what is empty. */
json_t *container_config_encode(const ContainerConfig *c);
/* The "Config" and "HostConfig" objects as inspect shows them: all members present. */
json_t *container_config_inspect(const ContainerConfig *c);
json_t *container_host_inspect(const ContainerConfig *c);
/* Into a zeroed struct. On failure what was copied stays, for container_config_done. */
int container_config_copy(const ContainerConfig *from, ContainerConfig *ret, Err *e);
void container_config_done(ContainerConfig *c);

/* A member by its name in any case; NULL if there is none, or obj is no object. */
json_t *container_member(const json_t *obj, const char *key);

/* container-pod.c. Into a zeroed struct; a document that is no object leaves it so. The encoded one has nothing that is empty. */
int container_pod_decode(const json_t *doc, ContainerPod *ret, Err *e);
json_t *container_pod_encode(const ContainerPod *p);
int container_pod_copy(const ContainerPod *from, ContainerPod *ret);
void container_pod_done(ContainerPod *p);

/* endpoint-config.c. `o` is an EndpointSettings object, null or NULL. */
int container_endpoint_decode(const char *network, const json_t *o, ContainerEndpointConfig *ret, Err *e);
json_t *container_endpoint_encode(const ContainerEndpointConfig *ep);
void container_endpoint_done(ContainerEndpointConfig *ep);
/* One of HostConfig.PortBindings more; ip and host may be NULL. */
int container_port_add(ContainerHost *h, const char *port, const char *ip, const char *host, Err *e);
/* Takes what ep points to over, unless it fails. */
int container_endpoint_add(ContainerConfig *c, const ContainerEndpointConfig *ep, Err *e);
int container_endpoints_decode(const json_t *obj, ContainerConfig *c, Err *e);
json_t *container_endpoints_encode(const ContainerConfig *c);
int container_endpoints_copy(const ContainerConfig *from, ContainerConfig *ret);
