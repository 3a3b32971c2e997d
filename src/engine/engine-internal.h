/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the engine share.
 *
 * Locks, from outer to inner; none is taken while an inner one is held:
 *   Engine.images_gate  read: from finding an image to entering the container that uses it into the table;
 *                    write: from looking who uses an image to deleting it
 *   Container.life   one life operation (start, stop, remove, rename, ...) at a time; held across I/O of that container
 *   Engine.volumes_lock  which volumes there are: from finding or making one to its entry in Container.mounts
 *   Engine.lock      the tables: containers, names, networks, execs; never held across I/O
 *   Container.state  the fields that inspect shows; held for copies, and for what only writes down in memory what it sees (ContainerGlance)
 * A Container is reference counted: the table holds one reference, each user of container_find() another.
 * `removed` tells a holder of `life` that it lost the race against a removal.
 */
#pragma once

#include "engine/engine.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"
#include "kernel/namespace.h"
#include "network/network.h"
#include "network/resolver.h"
#include "registry/registry.h"
#include "runtime/runtime.h"
#include "shim/shim.h"

#include <pthread.h>
#include <uthash.h>

#define COLLECTION_CONTAINER "container"
#define COLLECTION_NETWORK   "network"
#define COLLECTION_VOLUME    "volume"

typedef struct Exec {
	char id[65];
	char container_id[65];
	ExecConfig config;
	bool started, running;
	int exit_code;
	pid_t pid;
	int64_t ended_mono_ns; /* 0 while it lives; swept some minutes later */
	int watcher_fd;        /* an eventfd that is written to at the end; -1: nobody's */
	UT_hash_handle hh;
} Exec;

/* Somebody who waits for a container: woken through an eventfd, so that a wait can also watch its client. */
typedef struct Waiter {
	int efd;
	struct Waiter *next;
} Waiter;

/* A client that attached before the start: handed to the shim once there is one. */
typedef struct PendingAttach {
	int fd;
	bool in, out, err, raw;
	char *prefix;
	size_t prefix_len;
	char detach_keys[16];
	size_t n_detach_keys;
	struct PendingAttach *next;
} PendingAttach;

/* CPU time, and how fast it went lately. */
typedef struct CpuRate {
	int64_t at_ns; /* CLOCK_MONOTONIC; 0: nothing is known */
	uint64_t cpu_ns, nano_cores;
	bool known; /* nano_cores is */
} CpuRate;

typedef struct Container {
	char id[65];
	unsigned refs;        /* atomic */
	pthread_mutex_t life; /* container_lock() */
	pthread_mutex_t state;
	/* How many wait for `life`, for whom a copy that a silent client keeps is broken off; atomic. */
	unsigned life_wanted;

	/* Immutable after create (config.host under `state` because of update). */
	int64_t created_ns;
	char *image_id;
	char *chain_id; /* of the image's layers, NULL if none */
	char *path;
	char **args;
	ContainerConfig config;
	ContainerMountPoint *mounts;
	size_t n_mounts;
	char **secret_env;  /* of a build step: K=V that nothing of is written down but the spec of its run */
	EngineSpare *spare; /* under `life`: what its first start begins with, or NULL */

	/* Under `state`. */
	char *name;
	ContainerStatus status;
	pid_t pid, shim_pid;
	int64_t started_ns, finished_ns;
	int exit_code;
	bool oom_killed, removed, dead;
	bool stop_requested; /* by the user: no restart by policy */
	char *error;
	int restart_count;
	int backoff_ms;        /* of the restart that is awaited, or the last one; 0: none yet */
	unsigned restart_turn; /* which restart is awaited: timers of others are void */
	unsigned keepers;      /* who will start it after its end, in spite of --rm; atomic */
	unsigned exits;        /* how often it has ended: what wait compares */
	ContainerHealthState health;
	unsigned
	    health_turn; /* of the checks that go on: those of an earlier run, or from before a pause, are void */
	ContainerEndpoint *endpoints;
	size_t n_endpoints;
	ContainerPublished *published;
	size_t n_published;
	NetworkPort *ports; /* what was published, for unpublish */
	size_t n_ports;
	/* Of a change of ports that is under way: what beyond `ports` may have rules and sockets (endpoint-ports-change.c). */
	ContainerPublished *unsettled;
	size_t n_unsettled;
	Waiter *waiters;
	Shim *shim;             /* while running */
	CpuRate rate, pod_rate; /* of its cgroup; of its pod's, if it is a sandbox (usage.c) */
	PendingAttach *pending;
	char boot[40]; /* boot id of the last start */

	/* Of a sandbox. pod_asked is there while it is made, under `life`; the rest under `state`. */
	const struct PodAsked *pod_asked;
	bool pod_attached; /* its network is not known to be released */
	char **pod_ips;
	char **ran_as; /* of a pod's container: see ContainerInfo */

	bool volumes_held; /* under `life`: what mounts_hold() took is still to be released */

	int events_fd; /* of the shim; watched by watch.c; -1 */
	UT_hash_handle hh, hh_name;
} Container;

typedef enum NetworkPorts { NETWORK_PORTS_UNSAID, NETWORK_PORTS_FIREWALL, NETWORK_PORTS_OPEN } NetworkPorts;

/* What a network's options say (network-options.c). */
typedef struct NetworkOptions {
	bool icc, masquerade;
	uint32_t mtu;           /* 0: the default route's */
	NetworkPorts ports;     /* whether the host's firewall has a say in published ones */
	IpAddress host_binding; /* where ports are published if nothing else is said; 0.0.0.0: everywhere */
	NetworkGateway gateway[IP_FAMILIES];
	bool no_address; /* the bridge has no IPv4 address */
	/* of macvlan and ipvlan */
	char parent[NETWORK_IFNAME]; /* "": a bridge that nothing else is on */
	uint32_t mode;
	uint16_t flags;
	bool layer3; /* ipvlan: there is no gateway, the parent routes */
	char bridge[NETWORK_IFNAME];
	char interface[NETWORK_IFNAME]; /* what the names of interfaces in containers begin with */
} NetworkOptions;

/* Reference counted: the table holds one, each user of network_find() another. */
typedef struct Network {
	NetworkInfo info;
	unsigned refs; /* atomic */
	NetworkOptions options;
	NetworkSubnet subnet[IP_FAMILIES]; /* prefix 0: not settled yet, or none of that family */
	NetworkPool *pool[IP_FAMILIES];    /* once the subnet is settled */
	unsigned users;                    /* endpoints of running containers; under Engine.lock */
	bool removed;                      /* under Engine.lock */
	bool renumbering;                  /* under Engine.lock: nobody joins */
	NetworkOverlap overlap;            /* under Engine.lock: with a route of the host's that came later */
	pthread_mutex_t life;              /* making and removing the bridge */
	UT_hash_handle hh, hh_name;
} Network;

/* firewall-watch.c */
/* apparmor.c */
typedef struct AppArmor {
	bool enabled;         /* in the kernel */
	bool ours;            /* and profiles are ours to load */
	pthread_mutex_t lock; /* of what follows; innermost, held while a profile is loaded */
	bool loaded;          /* by us, since we started */
	bool lacks_parser;
} AppArmor;

typedef struct FirewallWatch {
	int fd;           /* -1: none */
	unsigned changes; /* NetworkChange: to be looked at */
	char by[NETWORK_PROGRAM];
	int64_t paid_mono_ns; /* what putting back has cost */
	bool stubborn;        /* somebody who goes on removing has been told of */
	pthread_mutex_t lock; /* of `told` */
	char **told;
} FirewallWatch;

/* What a pod's network is made with (pod-network.c). */
typedef struct PodAsked {
	const struct EnginePodNetwork *network;
	int alive_fd;
} PodAsked;

typedef struct Pods {
	struct Cni *cni;            /* NULL: no door for pods */
	pthread_rwlock_t attaching; /* write: it is looked for attachments that no pod has */
	pthread_mutex_t lock;
	bool has_root; /* of sandboxes, see pod-root.c */
	char **ranges; /* of pods' addresses, see pod-ranges.c; NULL: not known */
} Pods;

struct EventHub;
typedef struct Background Background;
typedef struct SizeCache SizeCache;
typedef struct VolumeFs VolumeFs;

/* What user namespaces map: of --userns-remap, or of a pod. */
typedef struct UserRemap {
	bool on;
	NamespaceIdMap *uids, *gids;
	size_t n_uids, n_gids;
} UserRemap;

struct Engine {
	EngineOptions
	    options; /* strings are owned copies; those of EngineReload are replaced, see defaults.c */
	char ***retired;
	size_t n_retired;
	Store *store;
	Registry *registry;
	NetworkHost *nethost;
	char *runtime_root, *seccomp_dir, *containers_run, *bridge_name, *cgroup_parent;
	char id[65];

	pthread_mutex_t lock;
	Container *by_id, *by_name;
	Exec *execs;
	pthread_cond_t execs_changed;         /* one has started or ended */
	Network *networks, *networks_by_name; /* by id, which counts; a name is its network's for life */
	/* One subnet is chosen at a time; inside Network.life. And of what follows. */
	pthread_mutex_t subnets_lock;
	FirewallWatch firewall;
	AppArmor apparmor;
	Resolver *resolver; /* NULL until a container needs it */
	bool resolver_serves;
	bool adopting;            /* not all shims of an earlier engine are subscribed to yet */
	bool adopts, adopt_stops; /* adopter runs; it is to end (atomic) */
	pthread_t adopter;
	pthread_mutex_t volumes_lock;
	pthread_mutex_t mounted_lock; /* of what follows: see volume-fs.c */
	VolumeFs *mounted;
	SizeCache *sizes;

	pthread_rwlock_t images_gate; /* see there */

	pthread_t gc_thread;
	pthread_mutex_t gc_lock; /* of what follows */
	pthread_cond_t gc_wake;
	bool gc_runs, gc_stop, gc_full;

	struct EventHub *events;
	Background *background;
	int epoll_fd, stop_fd;
	int routes_fd; /* tells of routes of the host's (network-overlaps.c) */
	pthread_t watcher;
	bool watching;
	struct Proxy *proxy; /* endpoint-proxy.c */
	int cgroup_version;
	uint64_t health_checks, health_checks_failed; /* atomic */
	UserRemap remap;
	Pods pods;
	int shim_fd;        /* read-only copy of the shim's mount, or -1 */
	char *shim_program; /* what is executed */
};

/* container.c: the table */
Container *container_new(void);
Container *container_ref(Container *c);
void container_unref(Container *c);
/* Takes Container.life. */
void container_lock(Container *c);
DEFINE_CLEANUP(Container *, container_unref)
#define _cleanup_container_ _cleanup_(container_unrefp)
/* ERR_NOT_FOUND "No such container: x". The reference is the caller's. */
int container_find(Engine *en, const char *ref, Container **ret, Err *e);
/* Enters id and name; ERR_CONFLICT for a taken name (Docker's wording). */
int container_add(Engine *en, Container *c, Err *e);
void container_forget(Engine *en, Container *c);
/* Writes the row. */
int container_save(Engine *en, Container *c, Err *e);
int container_load_all(Engine *en, Err *e);
int container_info(Engine *en, Container *c, ContainerInfo *ret, Err *e);
ContainerStatus container_status(Container *c);
/* Of a build: over layers that are no image. One that may be kept when it fails can be started again and committed like any container. */
bool container_is_step(const Container *c);
bool container_is_kept_step(const Container *c);
/* A reference to each, in an array of the caller's; NULL without memory. (network.c) */
Container **containers_all(Engine *en, size_t *ret_n);
/* exec-root/containers/<id> and data-root/containers/<id>; malloc'ed. */
char *container_run_dir(Engine *en, const Container *c);
char *container_data_dir(Engine *en, const Container *c);
/* The process of its shim, which is asked. */
int container_shim_pid(Engine *en, const Container *c, pid_t *ret, Err *e);
void container_wake(Container *c);
/* Emits a container event with name, image, labels and extra K=V pairs (NULL-terminated list). */
void container_event(Engine *en, Container *c, const char *action, ...);

/* spec.c: the OCI runtime-spec document of a container */
typedef struct SpecInput {
	Container *c;
	int rootfs_fd;                                        /* for /etc/passwd and /etc/group */
	const char *hostname_file, *hosts_file, *resolv_file; /* NULL: not mounted */
	const char *hostname;
	const char *ipc_path, *pid_path, *uts_path; /* joined namespaces, or NULL */
	const char *netns_path;                     /* or NULL */
	bool host_network;
	const char *cgroup_path;
	const char *userns_path;   /* NULL: the host's */
	const UserRemap *remap;    /* what that namespace maps */
	const char *shm_host_path; /* or NULL: fresh tmpfs */
	const char *init_program;  /* that is to be the first process, or NULL */
	const char *bundle;
} SpecInput;
#define SPEC_INIT_PATH "/sbin/docker-init" /* where Docker shows it */
/* spec-mounts.c: its mounts, parents before children. */
int spec_mounts(const SpecInput *in, json_t **ret, Err *e);
int spec_build(Engine *en, const SpecInput *in, json_t **ret, Err *e);
/* The runtime-spec `process` object of an exec. */
int spec_build_exec(Engine *en, Container *c, const ExecConfig *x, int rootfs_fd, json_t **ret, Err *e);
/* apparmor.c. apparmor_open has the default profile loaded beside what follows. */
void apparmor_open(Engine *en);
struct SecurityOptions;
/* Whether a profile that is asked for can be had: ERR_UNSUPPORTED without AppArmor, ERR_INVALID for one that is not loaded. */
int apparmor_check(const struct SecurityOptions *o, Err *e);
/* The profile of a container, NULL for none; it is loaded when this returns. */
int apparmor_choose(Engine *en, const struct SecurityOptions *o, bool privileged, const char **ret, Err *e);
/* What is to be said of a machine that has AppArmor and no way to load a profile; NULL for nothing. */
const char *apparmor_warning(Engine *en);
/* What it is for who asks: "unconfined" for none, "" where there is no AppArmor. */
const char *apparmor_name(Engine *en, const ContainerHost *h);
/* capabilities.c: names of the kernel's ("CAP_CHOWN"), none that the engine itself lacks. */
int capabilities_of(const ContainerHost *h, bool privileged, char ***ret, Err *e);
/* `what` is the member that v is, for the error. */
int capabilities_check(char *const *v, const char *what, Err *e);
/* What is named, as the kernel calls it, added to *to once each; "ALL" is all that the engine has. */
int capabilities_add(char *const *v, char ***to, Err *e);
/* spec-devices.c: linux.devices, and the rules of resources.devices; both also on failure. */
int spec_devices(const ContainerHost *h, json_t **ret_nodes, json_t **ret_rules, Err *e);
/* "c 13:* rwm"; rules may be NULL. */
int device_rule_parse(const char *s, json_t *rules, Err *e);
/* device-request.c: what is asked for by --gpus and --device vendor/class=name goes into the runtime-spec document. dirs: of CDI. */
int device_requests_apply(char *const *dirs, const ContainerHost *h, json_t *config, Err *e);
/* spec-resources.c: linux.resources. Takes the reference; *ret also on failure. */
int spec_resources(Engine *en, const ContainerConfig *k, json_t *device_rules, json_t **ret, Err *e);
/* The parts of a pod's container: huge pages, unless this machine does not count them, and keys of cgroup v2. */
int spec_resources_of_pod(Engine *en, const ContainerPod *p, json_t *resources, Err *e);
/* The default seccomp profile as a runtime-spec seccomp object for these capabilities. */
int seccomp_default_profile(char *const *capabilities, json_t **ret, Err *e);

/* spare.c */
const char *spare_id(const EngineSpare *s);
/* False: there is none any more, or never was. */
bool spare_take_shim(EngineSpare *s, Shim **ret, pid_t *ret_pid);
NetworkNamespaceJob *spare_take_netns(EngineSpare *s, bool alone);

/* remap.c */
int remap_load(Engine *en, Err *e);
void remap_done(Engine *en);
/* The container is in a user namespace of its own, or its pod's, not the host's. */
bool remap_applies(const Engine *en, const ContainerConfig *k);
/* The ids of that namespace; ret->on is false in the host's. A pod's are read into `buf`, which *ret then points to. */
int remap_of(const Engine *en, const ContainerConfig *k, NamespaceIdMap buf[2], UserRemap *ret, Err *e);
/* What cannot be had in one, in dockerd's words. */
int remap_check(const Engine *en, const ContainerConfig *k, Err *e);
/* Descriptors of its namespaces, with the ids of `map`. Both stay as they are (-1) without one; the network's also if it joins another container's. */
int remap_open(Engine *en, const ContainerConfig *k, const UserRemap *map, int *ret_user, int *ret_net,
	       Err *e);

/* user.c */
typedef struct UserIds {
	uint32_t uid, gid;
	uint32_t *groups;
	size_t n_groups;
	char *home;
} UserIds;
void user_ids_done(UserIds *u);
/* Docker's: a name goes before a number, and who names a group is in no other. Of pods a number is the id, whatever accounts the image has; groups that
 * the image has the user in are added (merged), or not (strict). */
typedef enum UserRules { USER_DOCKER, USER_MERGED, USER_STRICT } UserRules;
UserRules user_rules_of(const ContainerConfig *k);
/* "user[:group]" by name or number, looked up in the container's own files. ERR_INVALID "unable to find user x: no matching entries in passwd file". */
int user_resolve(int rootfs_fd, const char *user, char *const *extra_groups, UserRules rules, UserIds *ret,
		 Err *e);

/* mounts.c: binds, volumes, tmpfs and anonymous volumes of a new container */
/* *ret_made: names of the volumes that were not there before. */
int mounts_resolve(Engine *en, Container *c, const ImageConfig *image, const EngineStep *step,
		   char ***ret_made, Err *e);
/* The layers over images that are mounted. */
void mounts_remove_snapshots(Engine *en, Container *c);
/* As the image that it runs, or one that is mounted. */
bool container_uses_image(Container *c, const char *image_id);
/* mounts-populate.c: fills new volumes with what the image has at their paths. A failure leaves them empty, and those that were `made`
 * for this container gone. */
int mounts_populate(Engine *en, Container *c, char *const *made, Err *e);
/* mounts-open.c */
/* While the container runs: file systems of volumes are mounted, and events tell of it. `life` is held for these. */
int mounts_hold(Engine *en, Container *c, Err *e);
void mounts_release(Engine *en, Container *c);
/* The same for a copy of files, which is no event. */
int mounts_use(Engine *en, Container *c, Err *e);
void mounts_unuse(Engine *en, Container *c);
/* It runs already. */
void mounts_adopt(Engine *en, Container *c);
/* True if the mount cannot be found by its source, but has to be made for the container (ShimCreate.mount_fds). */
bool mount_is_made(const ContainerMountPoint *m);
/* What is mounted there, detached and with all below it. read_only: of an image whose layer another mount may be writing to. shift (may
 * be NULL): as a container in a user namespace has an image. */
int mount_open(Engine *en, const ContainerMountPoint *m, bool read_only, const StoreShift *shift, int *ret_fd,
	       Err *e);
/* The container's made mounts in their order; *ret is the caller's, with its descriptors, also on failure. */
int mounts_open_made(Engine *en, Container *c, const StoreShift *shift, int **ret, size_t *ret_n, Err *e);
void mount_points_free(ContainerMountPoint *v, size_t n);
/* True if any container's mounts use volume `name`. */
bool volume_in_use(Engine *en, const char *name, char ***ret_ids);

/* endpoint.c: a container's side of networking */
typedef enum NetMode { NET_BRIDGE, NET_HOST, NET_NONE, NET_CONTAINER, NET_POD } NetMode;
/* *ret_arg: the network's or container's name inside the mode. */
NetMode net_mode(const Container *c, const char **ret_arg);
/* What its processes know as HOSTNAME: its own name, that of whose network it joins, or the node's; "" if there is none. The caller's; NULL without memory. */
char *endpoint_hostname(Engine *en, const Container *c);
typedef struct NetSetup {
	int netns_fd; /* -1: host or joined by path */
	int made_fd;  /* in: the namespace that shall be its own; -1 if it has none */
	bool host;
	bool resolver; /* its names are answered by ours */
	int *hold_fds; /* sockets that the shim keeps */
	size_t n_hold_fds;
	char *hostname_file, *hosts_file, *resolv_file;
	char *hostname;
} NetSetup;
#define NET_HOLD_MORE 3 /* descriptors beside those of ports */
void net_setup_done(NetSetup *n);
/* At create: what was asked for is checked, put in order, and entered as endpoints without addresses. */
int endpoints_plan(Engine *en, Container *c, Err *e);
/* What is known before there is a network: the names of the files, and all of it if the container joins another one's. */
int endpoint_prepare(Engine *en, Container *c, NetSetup *ret, Err *e);
/* Addresses, veths in the namespace that was made, port reservations and the three files. Undone by endpoint_teardown on failure. */
int endpoint_setup(Engine *en, Container *c, NetSetup *ret, Err *e);
/* Whether the shim needs nothing of its interfaces, ports and names to create the container. Then endpoint_setup can be done in two halves, the
 * files first, the network while the shim is at it. */
bool endpoint_is_simple(Engine *en, const Container *c);
int endpoint_setup_files(Engine *en, Container *c, NetSetup *ret, Err *e);
int endpoint_setup_network(Engine *en, Container *c, NetSetup *ret, Err *e);
/* Publishes the ports once the container exists (s NULL: makes again what the kernel has lost); then unpublishes and frees everything. */
int endpoint_publish(Engine *en, Container *c, const NetSetup *s, Err *e);
/* Its ports lead nowhere any more; they stay reserved. */
void endpoint_withdraw(Engine *en, Container *c);
void endpoint_teardown(Engine *en, Container *c);
/* After an adoption: enters what a running container has into the networks, makes again what is missing, and answers its questions. */
void endpoint_adopt(Engine *en, Container *c);
/* "veth" and the beginning of the endpoint's id. */
void endpoint_host_if(const ContainerEndpoint *ep, char ret[NETWORK_IFNAME]);
/* One network more, or less, for a container whose `life` is held; the namespace is that of a running one. */
/* way_out: its gateway becomes the default route of that family. */
int endpoint_join(Engine *en, Container *c, size_t i, int netns_fd, const bool way_out[IP_FAMILIES], Err *e);
/* netns_fd -1: the container has ended. */
void endpoint_leave(Engine *en, Container *c, size_t i, int netns_fd);
/* Index of the endpoint that is the way out of a family and that its ports are published on, or -1. */
int endpoint_gateway(Engine *en, Container *c, int family);
/* What of it is the default route of a family. */
void endpoint_route(Engine *en, const ContainerEndpoint *ep, int family, NetworkEndpointIp *ret);
/* Whether it has an interface now. */
bool endpoint_connected(const ContainerEndpoint *ep);
/* Its addresses, 0 for none. */
void endpoint_addresses(const ContainerEndpoint *ep, IpAddress ret[IP_FAMILIES]);
/* An entry more, without an address. */
int endpoint_append(Engine *en, Container *c, const char *network, Err *e);
ContainerEndpointConfig *endpoint_config_find(ContainerConfig *k, const char *network);
void endpoint_event(Engine *en, const Container *c, const ContainerEndpoint *ep, const char *action);
/* endpoint-plan.c */
#define ENDPOINT_IFNAME "com.docker.network.endpoint.ifname"
/* What was asked for, into what is to be made; *ret_sysctls is the caller's. */
int endpoint_wishes(const Network *n, const ContainerEndpointConfig *asked, NetworkEndpoint *ep,
		    IpAddress want[IP_FAMILIES], char ***ret_sysctls, Err *e);
int endpoint_config_check(const Network *n, const ContainerEndpointConfig *ep, Err *e);
int mac_parse(const char *s, uint8_t mac[6], Err *e);

/* endpoint-ports.c */
int ports_reserve(Engine *en, Container *c, NetSetup *s, Err *e);
int ports_check(const ContainerConfig *k, Err *e);
/* Forwards those of a family to the endpoint, and no longer. */
int ports_publish(Engine *en, Container *c, int family, const ContainerEndpoint *ep, Err *e);
void ports_withdraw(Engine *en, Container *c, int family, const ContainerEndpoint *ep);
/* After an adoption they are known only as text. */
void ports_load(Container *c);
/* Forgets them. */
void ports_release(Container *c);
/* For each port that is asked for by number and is taken now: what a start would say. Warnings are not errors. */
int ports_warn(Engine *en, Container *c, char ***warnings, Err *e);
/* endpoint-ports-change.c */
/* Takes over v. */
void ports_unsettled_set(Container *c, ContainerPublished *v, size_t n);
/* A change was cut short: rules and sockets become those of the record. `life` is held, the container runs. */
void ports_settle(Engine *en, Container *c);

/* endpoint-proxy.c: ports of a family that the container has no address of are carried by ireko-proxy. */
int proxied_open(Engine *en, Err *e);
/* With the sockets that are in s, in the order of the ports. */
int proxied_publish(Engine *en, Container *c, const NetSetup *s, Err *e);
void proxied_withdraw(Engine *en, Container *c);
/* The ways out of a running container are others now. */
int proxied_settle(Engine *en, Container *c, Err *e);
/* Before anything starts: what it has of containers that do not run, whose ports would be taken. */
void proxied_remove_dead(Engine *en);
/* Makes what the proxy has equal to what running containers have. */
void proxied_reconcile(Engine *en);
/* The watcher's: the connection to the proxy has hung up. */
void proxied_hung_up(Engine *en);

/* endpoint-names.c: containers of user-defined networks ask our resolver */
/* At a start: its sockets, which the shim holds too, and the names of all its endpoints. */
int names_open(Engine *en, Container *c, NetSetup *s, Err *e);
/* Of one that runs: one endpoint more, or less. */
int names_join(Engine *en, Container *c, const ContainerEndpoint *ep, int netns_fd, Err *e);
void names_leave(Engine *en, Container *c, const ContainerEndpoint *ep);
/* On no network with names any more: it asks the servers that it would have without. out: the network that it has left; NULL: not known. */
int names_settle(Engine *en, Container *c, const ContainerEndpoint *out, Err *e);
void names_close(Engine *en, Container *c);
/* Takes over the sockets that its shim holds. */
void names_adopt(Engine *en, Container *c, pid_t shim_pid);
/* What a container is called in a network: its name, aliases, short id and hostname, in this order. 0 or -ENOMEM. */
int endpoint_names(const ContainerConfig *k, const char *name, const char *id, const char *network,
		   char ***ret);
/* All are: questions that have waited are answered now. */
void names_adopted(Engine *en);
void names_count(Engine *en, EngineCounts *ret);
/* The container has another name. */
void names_rename(Engine *en, Container *c);

/* endpoint-links.c: --link on the default network. 0, -EINVAL or -ENOMEM. */
int link_parse(const char *text, char **ret_name, char **ret_alias);
int links_check(char *const *links, Err *e);
/* "name:address" of those that a running container is linked to; variables of its environment. Errors as dockerd tells them. */
int links_hosts(Engine *en, Container *c, char ***ret, Err *e);
int links_environment(Engine *en, Container *c, char ***ret, Err *e);

/* endpoint-files.c: hosts, resolv.conf, hostname */
int net_files_name(Engine *en, const Container *c, NetSetup *s, Err *e);
int net_files_write(Engine *en, Container *c, const NetSetup *s, Err *e);
/* Once it has addresses: they are in /etc/hosts too. */
int net_files_addresses(Engine *en, Container *c, const NetSetup *s, Err *e);
/* In place, because the container has the file mounted: with an address more or less (NULL: none). */
int net_files_update(Engine *en, Container *c, const ContainerEndpoint *remove, const ContainerEndpoint *add,
		     Err *e);
/* The lines of one address go. */
int net_files_forget(Engine *en, Container *c, const char *address, Err *e);
/* The same of resolv.conf: with our resolver, or without. */
int net_files_resolver(Engine *en, Container *c, bool resolver, Err *e);

/* network.c */
Network *network_ref(Network *n);
void network_unref(Network *n);
DEFINE_CLEANUP(Network *, network_unref)
#define _cleanup_network_ _cleanup_(network_unrefp)
Network *network_new(const char *name, const char *driver);
int network_save(Engine *en, const Network *n, Err *e);
/* Exact id, then name, then unique prefix of an id. The reference is the caller's. */
int network_find(Engine *en, const char *ref, Network **ret, Err *e);
/* ERR_CONFLICT in Docker's words for a name that is taken. */
int network_enter(Engine *en, Network *n, Err *e);
void network_forget(Engine *en, Network *n);
/* Settles the subnet and makes the bridge, if they are not there yet. */
int network_realize(Engine *en, Network *n, Err *e);
/* Of macvlan and ipvlan: its containers are upon an interface of the host's. */
bool network_is_sublink(const Network *n);
/* Whether containers can join it beside others: not host and none. */
bool network_is_joined(const Network *n);
/* Whether the network has, or will have, addresses of the family. */
bool network_has(const Network *n, int family);
/* A running endpoint more, with those addresses or (0) any of the families that the network has; the network cannot be removed until
 * network_detach. */
int network_attach(Engine *en, Network *n, const IpAddress want[IP_FAMILIES], IpAddress ret[IP_FAMILIES],
		   Err *e);
/* How many are on it. */
unsigned network_users(Engine *en, const Network *n);
void network_detach(Engine *en, Network *n, const IpAddress address[IP_FAMILIES]);
/* As network_attach, of one that runs already. */
int network_adopt(Engine *en, Network *n, const IpAddress address[IP_FAMILIES], Err *e);
int networks_load(Engine *en, Err *e);
void networks_free(Engine *en);
/* Bridges and port entries of everything that runs, made again if they are gone; what nobody accounts for is removed. */
void networks_reconcile(Engine *en);
/* connect.c: of a container that runs, after a start: what a crash in the middle of a change of its networks has left. */
void connect_recover(Engine *en, Container *c);
/* 1 if our rules are all there, 0 if not. Then, and anyway if `anyway`, they are made again with all that is in them. */
int networks_rules_restore(Engine *en, bool anyway, Err *e);

/* firewall-watch.c: others change the packet filter too */
/* From here on it is known what they do; what is to be done about it is done from firewall_watch_start() on. Failures are logged. */
void firewall_watch_open(Engine *en);
void firewall_watch_start(Engine *en);
/* Of the watcher's thread. */
void firewall_watch_ready(Engine *en);
/* Logs what the user should know of the host's firewall and has not been told yet. */
void firewall_tell(Engine *en);

/* As the floor below knows it. */
NetworkBridge network_bridge_of(const Engine *en, const Network *n);
/* An event "update". */
void network_changed_event(Engine *en, const Network *n);
/* Another subnet in place of the one of that family: `given`, or one of our choice. `life` is held, and nobody is on the network. */
int subnet_exchange(Engine *en, Network *n, int family, const char *given, Err *e);

/* network-overlaps.c: a thread that watches the host's routes. */
void network_overlaps_watch(Engine *en);
/* True if there is one, or it could not be found out. */
bool network_overlaps_look(Engine *en);

/* connect.c: a running container leaves a network for a moment, its record of what was asked for stays; and is on it again. `life` is held.
 * One that does not run has nothing to leave. */
int connection_suspend(Engine *en, Container *c, const char *network, Err *e);
int connection_resume(Engine *en, Container *c, const char *network, Err *e);
/* network-create.c */
int subnet_settle(Engine *en, Network *n, Err *e);
/* Subnet and pool from the record. */
int subnet_load(Network *n, Err *e);
/* network-options.c */
void network_options_default(NetworkOptions *ret);
int network_options_parse(const char *driver, char *const *options, NetworkOptions *ret, Err *e);

/* pools.c: EngineOptions.address_pools become those of the networks. */
int pools_set(Engine *en, Err *e);

/* defaults.c */
int defaults_apply(Engine *en, ContainerConfig *c, Err *e);
int defaults_copy(const EngineDefaults *from, EngineDefaults *ret);
void defaults_done(EngineDefaults *d);

/* create.c: what a name may be, in Docker's words. */
int container_name_check(const char *name, Err *e);
/* config-check.c: Docker's bounds on limits, of a new container or of an update; and what pods are not held to left out. */
int container_limits_check(const ContainerHost *h, bool update, bool pod, Err *e);
/* What a container is asked to be makes sense and can be had here, as far as that is known before it starts. */
int container_request_check(const ContainerConfig *k, Err *e);
int container_config_check(Engine *en, ContainerConfig *k, char ***warnings, Err *e);

/* attach.c */
int attach_to_shim(Container *c, Shim *shim, const PendingAttach *p, Err *e);
/* Frees the list and closes its descriptors. */
void pending_free(PendingAttach *p);
int detach_keys_parse(const char *text, char *ret, size_t cap, size_t *ret_n, Err *e);
/* The running container's shim connection, or ERR_CONFLICT "container x is not running". `state` is not held. */
int container_shim(Container *c, Shim **ret, Err *e);

/* runtimes.c */
/* *ret_program is NULL for ours. ERR_INVALID in Docker's words for a name that nobody has. */
int runtime_find(Engine *en, const char *name, const char **ret_program, Err *e);
/* Where it keeps its states; malloc'ed. */
char *runtime_state_root(Engine *en, const char *name, const char *program);
/* Of the engine's options, at start. */
int runtimes_check(Engine *en, Err *e);

/* cgroup.c */
/* As irekod is told to make them: whether that can be done at all. */
int cgroup_driver_check(const Engine *en, Err *e);
/* Of ContainerHost.cgroup_parent: ERR_INVALID for what is no slice where systemd makes cgroups. */
int cgroup_parent_check(const Engine *en, const char *parent, Err *e);
/* The cgroupsPath of config.json; malloc'ed. */
char *container_cgroup_path(const Engine *en, const Container *c);
/* Where that is in the hierarchies, from their roots on; malloc'ed. */
int container_cgroup_dir(const Engine *en, const Container *c, char **ret, Err *e);
/* What it uses: as runtime_stats(). */
int container_usage(Engine *en, const Container *c, json_t **ret, Err *e);
/* start.c */
int container_start_locked(Engine *en, Container *c, Err *e); /* life held */
/* The same by a user's wish or at the engine's start: what the restart policy has counted is forgotten. */
int container_start_anew_locked(Engine *en, Container *c, Err *e);
/* ended.c
 * What is to be done once a container has ended: state, network, events, policy. Called by the watcher and by adoption. */
void container_ended(Engine *en, Container *c, const ShimExit *x,
		     const char *why /* NULL, or what State.Error says */);
/* Why a container whose shim left no record has ended, for container_ended(). Kills and removes what it has left running. */
#define SHIM_KILLED_STATUS 137
#define SHIM_KILLED_WHY                                                                                      \
	"the container's shim (ireko-shim) was killed, and the processes of the container were ended with "  \
	"it"
void container_orphan_remove(Engine *en, Container *c);
/* Waits for a shim that is ours; one of an earlier engine is init's. 0: nothing. */
void shim_reap(pid_t pid);
/* Sees to the restart of a container in CONTAINER_RESTARTING when its back-off is over. */
void restart_await(Engine *en, Container *c);
/* 1 if it was to be started again by its policy, and will not be; 0 if it was not. `life` is not held. */
int restart_cancel(Engine *en, Container *c, Err *e);
/* ERR_INVALID in Docker's words. */
int restart_policy_check(const ContainerRestart *p, Err *e);

/* background.c */
int background_new(Engine *en, Background **ret, Err *e);
/* Returns when every thread has ended. */
void background_free(Background *b);
/* On a thread of its own; -errno if there is none to be had. */
int background_run(Background *b, void (*fn)(void *arg), void *arg);
/* Readable once the engine ends. */
int background_quit_fd(const Background *b);
typedef void (*TimerFn)(Engine *en, Container *c, unsigned turn);
/* Calls fn on a thread of its own after that time, unless the engine ends before. */
int timer_set(Background *b, Container *c, int64_t after_ns, TimerFn fn, unsigned turn);
/* None is called before this: a container that starts must not meet the clearing up at the engine's start. */
void timers_open(Background *b);

/* health.c */
/* What a container's check takes over from its image; ERR_INVALID in Docker's words for what cannot be. */
int health_merge(ContainerConfig *c, const ImageRunConfig *image, Err *e);
typedef struct HealthBefore {
	char *status;
	int64_t failing_streak;
} HealthBefore;
/* Before the row of a started container is written: a container with a check is "starting". *ret, what it was, is the caller's.
 * `state` is held. */
void health_begin(Container *c, HealthBefore *ret);
/* The start has failed: it is what it was. `state` is held. */
void health_take_back(Container *c, HealthBefore *before);
/* Checks go on from here: after a start, a resumption; and after an adoption, where those of many containers must not all come at once. */
void health_go_on(Engine *en, Container *c);
void health_adopt(Engine *en, Container *c);
/* No more checks: it is paused; or it has ended. `state` is held. */
void health_stop(Container *c);
void health_end(Container *c);
void health_state_done(ContainerHealthState *h);
extern const JsonField health_state_table[];
/* life.c */
int container_remove_locked(Engine *en, Container *c, bool volumes, Err *e);
int signal_parse(const char *s, int *ret, Err *e);

/* watch.c */
int watch_start(Engine *en, Err *e);
void watch_stop(Engine *en);
int watch_container(Engine *en, Container *c, int events_fd, Err *e);
/* Waits for an eventfd or for alive_fd to break; timeout_ms -1: for ever. 1 woken, 0 time-out, -ECANCELED. */
int wait_woken(int efd, int alive_fd, int timeout_ms);

/* adopt.c */
int adopt_all(Engine *en, Err *e);
/* Before watch_stop. */
void adopt_stop(Engine *en);

/* exec.c */
typedef struct ExecProbe {
	int exit_code;
	char output[4096];
	size_t output_len;
	bool truncated, timed_out;
} ExecProbe;
/* Runs a command to its end or its time-out, and takes in what it prints. An error is one of starting it; ERR_CANCELLED if the
 * engine ends meanwhile. */
int exec_probe(Engine *en, Container *c, const ExecConfig *config, int64_t timeout_ns, ExecProbe *ret,
	       Err *e);
void exec_ended(Engine *en, Container *c, const char *exec_id, int status);
void execs_drop(Engine *en, const char *container_id);

/* gc.c */
int gc_start(Engine *en, Err *e);
void gc_stop(Engine *en);
/* One run by the policy. */
int gc_run(Engine *en, int64_t leftover_age_ns, Err *e);
/* A write failed for want of room: a run, now. */
void gc_disk_full(Engine *en);

/* leftovers.c: what an engine that was killed has left of containers and builds. At start, after the containers were loaded. */
int leftovers_remove(Engine *en, Err *e);
/* Build steps: containers without an image. Nobody waits for what they do, and what they were given is gone. One that failed and that the user wanted to
 * look at stays. After the running ones were adopted. */
void leftovers_steps_remove(Engine *en);

/* sizes.c */
int sizes_new(SizeCache **ret, Err *e);
void sizes_free(SizeCache *c);
/* By a walk, now. */
int volume_measure(Engine *en, const char *name, int64_t *ret, Err *e);

/* events.c */
int events_new(struct EventHub **ret, Err *e);
void events_free(struct EventHub *h);
void events_count(struct EventHub *h, uint64_t *ret_events, unsigned *ret_followers);
