/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json of the OCI runtime-spec 1.3 for Linux, as C structs.
 *
 * Pure: text in, structs out. Absent members are NULL, 0 or the explicit "unset" named below. The
 * field tables in runtime-spec.c are the one description of the format.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

/* The newest version of the specification whose members for Linux are all known here. */
#define OCI_VERSION     "1.3.0"
#define OCI_VERSION_MIN "1.0.0"

typedef struct OciIdMap {
	uint32_t container_id, host_id, size;
} OciIdMap;

typedef struct OciRlimit {
	char *type; /* RLIMIT_NOFILE */
	uint64_t soft, hard;
} OciRlimit;

typedef struct OciUser {
	uint32_t uid, gid;
	int64_t umask; /* -1: unset */
	uint32_t *additional_gids;
	size_t n_additional_gids;
} OciUser;

/* sched_setattr(2). policy NULL: not given. */
typedef struct OciScheduler {
	char *policy; /* SCHED_OTHER ... */
	char **flags; /* SCHED_FLAG_... */
	int64_t nice, priority;
	int64_t runtime, deadline, period; /* nanoseconds, the bits of a uint64_t */
} OciScheduler;

/* ioprio_set(2). class NULL: not given. */
typedef struct OciIoPriority {
	char *class; /* IOPRIO_CLASS_RT, _BE, _IDLE */
	int64_t priority;
} OciIoPriority;

typedef struct OciProcess {
	bool terminal;
	uint32_t console_height, console_width;
	OciUser user;
	char **args;
	char **env;
	char *cwd;
	bool has_capabilities; /* false: the runtime leaves none */
	char **cap_bounding, **cap_effective, **cap_inheritable, **cap_permitted, **cap_ambient;
	OciRlimit *rlimits;
	size_t n_rlimits;
	bool no_new_privileges;
	bool has_oom_score_adj;
	int oom_score_adj;
	char *apparmor_profile;
	char *selinux_label;
	OciScheduler scheduler;
	OciIoPriority io_priority;
	char *affinity_initial, *affinity_final; /* CPU lists, of processes that exec adds */
} OciProcess;

typedef struct OciMount {
	char *destination, *type, *source;
	char **options;
	OciIdMap *uid_mappings, *gid_mappings;
	size_t n_uid_mappings, n_gid_mappings;
} OciMount;

typedef struct OciNamespace {
	char *type; /* pid network mount ipc uts user cgroup time */
	char *path;
} OciNamespace;

typedef struct OciDevice {
	char *path, *type; /* c b u p */
	int64_t major, minor;
	int64_t file_mode; /* -1: unset */
	uint32_t uid, gid;
} OciDevice;

typedef struct OciDeviceRule {
	bool allow;
	char *type;
	int64_t major, minor; /* -1: any */
	char *access;
} OciDeviceRule;

typedef struct OciHook {
	char *path;
	char **args, **env;
	int64_t timeout; /* seconds, 0: none */
} OciHook;

typedef struct OciHookList {
	OciHook *items;
	size_t n;
} OciHookList;

typedef struct OciHugepageLimit {
	char *page_size;
	uint64_t limit;
} OciHugepageLimit;

typedef struct OciThrottle {
	int64_t major, minor;
	uint64_t rate;
} OciThrottle;

typedef struct OciWeightDevice {
	int64_t major, minor;
	int64_t weight, leaf_weight; /* 0: not given */
} OciWeightDevice;

typedef struct OciInterfacePriority {
	char *name;
	uint32_t priority;
} OciInterfacePriority;

typedef struct OciRdma {
	char *device;
	int64_t handles, objects; /* OCI_UNSET: not given */
} OciRdma;

/* Every "has" of a limit is folded into its value: INT64_MIN means "not given". */
#define OCI_UNSET INT64_MIN
typedef struct OciResources {
	OciDeviceRule *devices;
	size_t n_devices;
	int64_t memory_limit, memory_reservation, memory_swap, memory_kernel, memory_swappiness;
	int64_t disable_oom_killer;
	bool memory_check; /* checkBeforeUpdate */
	int64_t cpu_shares, cpu_quota, cpu_period, cpu_rt_runtime, cpu_rt_period, cpu_burst, cpu_idle;
	char *cpus, *mems;
	int64_t pids_limit;
	int64_t blkio_weight, blkio_leaf_weight;
	OciWeightDevice *weight_devices;
	size_t n_weight_devices;
	OciThrottle *throttle_read_bps, *throttle_write_bps, *throttle_read_iops, *throttle_write_iops;
	size_t n_throttle_read_bps, n_throttle_write_bps, n_throttle_read_iops, n_throttle_write_iops;
	OciHugepageLimit *hugepages;
	size_t n_hugepages;
	int64_t network_class;
	OciInterfacePriority *network_priorities;
	size_t n_network_priorities;
	OciRdma *rdma;
	size_t n_rdma;
	char **unified; /* K=V, cgroup v2 file names */
} OciResources;

typedef struct OciSeccompArg {
	uint32_t index;
	uint64_t value, value_two;
	char *op;
} OciSeccompArg;

typedef struct OciSeccompRule {
	char **names;
	char *action;
	int64_t errno_ret; /* -1: unset */
	OciSeccompArg *args;
	size_t n_args;
} OciSeccompRule;

typedef struct OciSeccomp {
	char *default_action;
	int64_t default_errno_ret;
	char **architectures;
	char **flags;
	char *listener_path, *listener_metadata;
	OciSeccompRule *rules;
	size_t n_rules;
} OciSeccomp;

/* Added to a clock of the container's time namespace. */
typedef struct OciTimeOffset {
	int64_t secs;
	uint32_t nanosecs;
} OciTimeOffset;

/* personality(2). domain NULL: not given. */
typedef struct OciPersonality {
	char *domain; /* LINUX, LINUX32 */
	char **flags;
} OciPersonality;

typedef struct OciIntelRdt {
	char *clos_id, *l3_cache_schema, *mem_bw_schema;
	char **schemata;
	bool enable_monitoring; /* also enableCMT and enableMBM of 1.2 */
} OciIntelRdt;

/* A network interface of the host that moves into the container. */
typedef struct OciNetDevice {
	char *host_name, *name; /* name: in the container */
} OciNetDevice;

/* set_mempolicy(2). mode NULL: not given. */
typedef struct OciMemoryPolicy {
	char *mode, *nodes;
	char **flags;
} OciMemoryPolicy;

typedef struct OciSpec {
	char *version;
	OciProcess process;
	bool has_process;
	char *root_path;
	bool root_readonly;
	char *hostname, *domainname;
	OciMount *mounts;
	size_t n_mounts;
	OciHookList hooks_prestart, hooks_create_runtime, hooks_create_container, hooks_start_container,
	    hooks_poststart, hooks_poststop;
	char **annotations;
	OciNamespace *namespaces;
	size_t n_namespaces;
	OciIdMap *uid_mappings, *gid_mappings;
	size_t n_uid_mappings, n_gid_mappings;
	OciDevice *devices;
	size_t n_devices;
	char *cgroups_path;
	OciResources resources;
	bool has_seccomp;
	OciSeccomp seccomp;
	char *rootfs_propagation;
	char **masked_paths, **readonly_paths;
	char **sysctl; /* K=V */
	char *mount_label;
	OciTimeOffset time_monotonic, time_boottime;
	OciPersonality personality;
	bool has_intel_rdt;
	OciIntelRdt intel_rdt;
	OciNetDevice *net_devices;
	size_t n_net_devices;
	OciMemoryPolicy memory_policy;
} OciSpec;

/* Fills a zeroed spec; release with oci_spec_done also on failure. */
int oci_spec_decode(const json_t *config, OciSpec *ret, Err *e);
void oci_spec_done(OciSpec *s);
int oci_process_decode(const json_t *process, OciProcess *ret, Err *e);
void oci_process_done(OciProcess *p);
int oci_seccomp_decode(const json_t *seccomp, OciSeccomp *ret, Err *e);
void oci_seccomp_done(OciSeccomp *s);
int oci_resources_decode(const json_t *resources, OciResources *ret, Err *e);
void oci_resources_done(OciResources *r);
/* json_parse for these documents: integers that only a uint64_t holds (RLIM_INFINITY) are taken too. */
int oci_json_parse(const char *text, size_t len, const char *what, json_t **ret, Err *e);
