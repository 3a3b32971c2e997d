/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: the logic of containers, images, networks and volumes, free of wire formats. The doors
 * (src/api) turn requests into these calls and results into their documents.
 *
 * Objects are named by what users type: a container by name, id or unique id prefix; an image by
 * reference or id (prefix); a network by name, id or prefix; a volume by name. Not found is ERR_NOT_FOUND with the
 * wording Docker's clients match on ("No such container: x").
 *
 * Threads: every call may come from any thread and blocks until done. Locks are per container and per network; the tables of
 * objects have a lock of their own that is never held across I/O. A long call takes `alive_fd`: it gives up
 * with ERR_CANCELLED once poll(2) reports POLLERR or POLLHUP on it (-1: never).
 *
 * Nothing that a crash may lose lives only here: containers are rows in the store and shims in the exec root.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "engine/container-config.h"
#include "store/check.h"
#include "store/store.h"

typedef struct Engine Engine;

/* What garbage collection may take by itself (gc.c). 0 is no limit. */
typedef struct EngineGc {
	int64_t max_size;   /* bytes of layers and blobs */
	int64_t min_free;   /* bytes of the file system */
	int64_t max_age_ns; /* of what was not used since */
	bool unused;        /* tagged images without containers may go too, not only untagged ones */
	char *const *keep;  /* patterns of references that stay */
	int64_t cache_max, cache_min_free, cache_reserved; /* of the build cache alone */
	int64_t leftover_age_ns;                           /* of what nothing needs; 0: an hour */
	int64_t interval_ns;                               /* 0: a minute */
} EngineGc;

/* What containers get that do not ask for it (defaults.c). 0 and NULL: the usual. */
typedef struct EngineDefaults {
	int64_t shm_size;
	char *const *ulimits; /* NAME=SOFT[:HARD] */
	char *const *dns, *const *dns_options, *const *dns_search;
	const char *cgroup_parent, *cgroupns_mode, *ipc_mode;
	const char *seccomp; /* "unconfined", or a profile's JSON */
	bool init, no_new_privileges;
} EngineDefaults;

/* Layers of one pull, and blobs of one push, at once, and tries in a row that bring nothing of a layer. 0: the usual. */
typedef struct EngineTransfers {
	int downloads, uploads, attempts;
} EngineTransfers;

/* Pods (pod.h). cni_conf_dir NULL: there are none with networks, and the rest does not matter. */
typedef struct EnginePods {
	const char *cni_conf_dir;
	char *const *cni_plugin_dirs;
	const char *cni_cache_dir;
	const char *netns_dir;     /* where their network namespaces have names */
	const char *sandbox_image; /* whose command keeps a pod; NULL: our own program */
} EnginePods;

typedef struct EngineOptions {
	const char *data_root, *exec_root;
	const char *helper_dir;     /* where ireko-shim and ireko-unpack are */
	const char *bridge_subnet;  /* CIDR of the default network, or of its gateway; NULL: chosen */
	const char *bridge_subnet6; /* the same of IPv6 */
	bool bridge_ipv6;           /* the default network has IPv6 */
	const char *api_socket;     /* for `info` */
	char *const *insecure_registries;
	char *const *registry_mirrors;
	char *const *registry_token_servers; /* REGISTRY=HOST */
	char *const *certs_dirs;             /* of registries; NULL: the usual ones */
	const char *http_proxy, *https_proxy, *no_proxy;
	bool no_userland_proxy; /* ports are published in the address families of the container alone */
	EngineTransfers transfers;
	char *const *runtimes; /* NAME=PATH: OCI runtimes beside ours, programs with runc's command line */
	const char *default_runtime; /* a name of them, or NULL: ours */
	bool init;                   /* containers that do not say have an init (--init) */
	const char *snapshotter;     /* see StoreOptions */
	char *const
	    *cdi_dirs; /* of CDI's files, in order of rising priority; NULL: /etc/cdi and /var/run/cdi */
	const char *log_driver;   /* of containers that name none; NULL: json-file */
	char *const *log_opts;    /* K=V, of containers with that driver */
	const char *userns_remap; /* "default", or USER[:GROUP] of subuid(5); NULL: off */
	bool systemd_cgroup;      /* systemd makes the cgroups of containers; else we do */
	EngineGc gc;
	EngineDefaults defaults;
	bool
	    published_ports_open; /* of networks that do not say: the host's firewall has no say in published ports */
	char *const *bridge_options; /* K=V: of the default network, as network_create takes them */
	char *const
	    *address_pools; /* base=CIDR,size=N: where networks take their subnets from; NULL: the usual */
	EnginePods pods;
} EngineOptions;
#define ENGINE_OWN_RUNTIME "ireko"

/* Opens the store, loads what exists, and starts the watcher and adopts living shims. */
int engine_new(const EngineOptions *o, Engine **ret, Err *e);
/* Leaves containers running; removes the default bridge if no container uses it. */
void engine_free(Engine *en);
Store *engine_store(Engine *en);
char *const *engine_runtimes(Engine *en); /* NAME=PATH, or NULL */
char *const *engine_cdi_dirs(Engine *en);
/* Names of the devices that they describe now. */
int engine_cdi_devices(Engine *en, char ***ret, Err *e);
const char *engine_default_runtime(Engine *en);
const char *engine_log_driver(Engine *en); /* of containers that name none */
typedef enum EngineProxy { ENGINE_HTTP_PROXY, ENGINE_HTTPS_PROXY, ENGINE_NO_PROXY } EngineProxy;
/* As it may be shown: without a password. malloc'ed; "" if there is none. */
char *engine_proxy_shown(Engine *en, EngineProxy which);

/* What can be changed while it runs; the rest of EngineOptions cannot. All of it is taken, or on failure nothing. */
typedef struct EngineReload {
	char *const *insecure_registries, *const *registry_mirrors, *const *runtimes;
	const char *default_runtime;
	int64_t shm_size;
	char *const *ulimits;
	EngineTransfers transfers;
} EngineReload;
int engine_reload(Engine *en, const EngineReload *l, Err *e);
/* Stops all that runs, at once and as `stop` does, and forgets what has not ended after timeout_s. Those whose restart policy says so run again with the
 * next engine. */
void engine_stop_all(Engine *en, int timeout_s);

/* For metrics and dumps. */
typedef struct EngineCounts {
	uint64_t events;
	uint64_t health_checks, health_checks_failed; /* failed: could not be run */
	unsigned followers;                           /* of events */
	unsigned containers, networks, execs;
	/* The resolver of names: who may ask, and questions by what became of them. */
	unsigned dns_clients, dns_waiting;
	uint64_t dns_questions, dns_answered, dns_kept, dns_forwarded, dns_failed;
} EngineCounts;
void engine_counts(Engine *en, EngineCounts *ret);
/* Tables, and which locks are held; appends. Takes no lock that it would have to wait for. */
void engine_describe(Engine *en, StrBuf *b);

/* ---- containers ---- */
typedef enum ContainerStatus {
	CONTAINER_CREATED,
	CONTAINER_RUNNING,
	CONTAINER_PAUSED,
	CONTAINER_RESTARTING,
	CONTAINER_REMOVING,
	CONTAINER_EXITED,
	CONTAINER_DEAD,
} ContainerStatus;
const char *container_status_name(ContainerStatus s); /* "created", "running", ... */

typedef struct ContainerMountPoint {
	char *type, *name, *source, *destination, *driver, *mode, *propagation;
	bool rw;
	/* What inspect does not show. */
	char *subpath;  /* of a volume or an image, or NULL */
	char *snapshot; /* of an image: the writable layer over it */
	char *image_id;
	char *idmap;   /* see idmap.h, or NULL */
	char *options; /* of a tmpfs */
	bool own_fs;   /* a volume that is a file system of its own: mounted while it is in use */
	bool by_flag;  /* --tmpfs, which inspect shows elsewhere */
	bool no_copy, non_recursive, ro_non_recursive, ro_force_recursive;
	/* Of a build step: a detached mount that was given, of which nothing is written down. */
	bool given;
	int given_fd;
} ContainerMountPoint;

/* One for each network, in the order in which interfaces are made. */
typedef struct ContainerEndpoint {
	char *network, *network_id, *endpoint_id;
	char *address, *gateway, *mac; /* "" when not running, or without IPv4 */
	char *address6, *gateway6;     /* the same of IPv6 */
	char *interface;               /* in the container, as eth0 */
	int64_t prefix, prefix6;
} ContainerEndpoint;

typedef struct ContainerPublished {
	char *port; /* "80/tcp" */
	char *host_ip, *host_port;
} ContainerPublished;

/* What a container's health check has found: its last five results, the oldest first. */
#define HEALTH_LOG_MAX 5
typedef struct ContainerCheck {
	int64_t start_ns, end_ns, exit_code; /* exit_code -1: it could not be run, or took too long */
	char *output;
} ContainerCheck;
typedef struct ContainerHealthState {
	char *status; /* starting, healthy, unhealthy; NULL: it has no check */
	int64_t failing_streak;
	ContainerCheck *log;
	size_t n_log;
} ContainerHealthState;

/* A copy of everything there is to know about a container at one moment. */
typedef struct ContainerInfo {
	char id[65];
	char *name; /* without slash */
	int64_t created_ns, started_ns, finished_ns;
	ContainerStatus status;
	pid_t pid;
	int exit_code;
	bool oom_killed;
	char *error;
	int restart_count;
	ContainerHealthState health;
	char *image_id;
	char *path;             /* args[0] after merging image and request */
	char **args;            /* the rest */
	ContainerConfig config; /* merged with the image's */
	char **pod_ips;         /* of a sandbox: its addresses by CNI, the main one first */
	char **
	    ran_as; /* of a pod's container that has been started: ids of its user, its group, and all its groups */
	ContainerMountPoint *mounts;
	size_t n_mounts;
	ContainerEndpoint *endpoints;
	size_t n_endpoints;
	ContainerPublished *published; /* while running */
	size_t n_published;
	char **exec_ids;
	const char *
	    apparmor; /* the profile, "unconfined", or "" where there is no AppArmor; of the configuration or constant */
	char *log_path, *resolv_path, *hostname_path, *hosts_path, *upper_dir;
} ContainerInfo;
void container_info_done(ContainerInfo *i);
void container_infos_free(ContainerInfo *v, size_t n);

/* What is masked, or read-only, in a container that was told neither and is not privileged; NULL-terminated. */
char *const *container_default_paths(bool masked);

/* name may be NULL: one is made up. platform ("linux/arm64") is what the image must be for, NULL: this machine, or else with a warning.
 * ERR_NOT_FOUND "No such image: x" when the image is missing (the caller may pull). ERR_CONFLICT for a taken name. */
int engine_container_create(Engine *en, const char *name, const char *platform, const ContainerConfig *config,
			    char **ret_id, char ***ret_warnings, Err *e);
/* Whether such a container would be refused for what it says by itself, before there is one. */
int engine_container_check(Engine *en, ContainerConfig *config, Err *e);
/* A container over bare layers, for a build step: there is no image to name yet. What it is given in memory alone (descriptors, secrets) it has
 * for one run; after a crash of the engine it is removed. */
#define ENGINE_STEP_KEPT "io.ireko.build.kept" /* label of a step that stays when it has failed */
typedef struct EngineStepMount {
	const char *destination; /* absolute and clean */
	int fd;                  /* a detached mount, of a directory or a file; the caller's */
	bool read_only;
} EngineStepMount;
/* The beginning of a container: its program, waiting, and its namespace on a network of this mode. It becomes a step's, or is dropped (NULL: nothing). */
typedef struct EngineSpare EngineSpare;
int engine_spare_make(Engine *en, const char *network, EngineSpare **ret, Err *e);
void engine_spare_drop(EngineSpare *s);
typedef struct EngineStep {
	const char *chain_id;    /* NULL: no layers */
	const ImageConfig *base; /* settings that are inherited */
	const EngineStepMount *mounts;
	size_t n_mounts;
	char *const *secret_env; /* K=V, or NULL */
	EngineSpare **spare;     /* taken from there, if there is one; may be NULL */
} EngineStep;
int engine_container_create_on(Engine *en, const ContainerConfig *config, const EngineStep *step,
			       char **ret_id, Err *e);
/* ERR_NOT_MODIFIED if running. A command that cannot be run: ERR_NO_COMMAND, ERR_NOT_RUNNABLE. */
int engine_container_start(Engine *en, const char *ref, Err *e);
/* timeout_s: -1 the container's own, else seconds until SIGKILL. signal NULL: its stop signal. ERR_NOT_MODIFIED if not running. */
int engine_container_stop(Engine *en, const char *ref, const char *signal, int timeout_s, Err *e);
int engine_container_restart(Engine *en, const char *ref, const char *signal, int timeout_s, Err *e);
int engine_container_kill(Engine *en, const char *ref, const char *signal /* NULL: KILL */, Err *e);
int engine_container_pause(Engine *en, const char *ref, bool pause, Err *e);
int engine_container_rename(Engine *en, const char *ref, const char *name, Err *e);
/* name: "web/db", of the link that container web has to another as db. It has it no more, nor the lines of /etc/hosts; variables stay until
 * its next start. */
int engine_container_unlink(Engine *en, const char *name, Err *e);
int engine_container_remove(Engine *en, const char *ref, bool force, bool volumes, Err *e);
int engine_container_resize(Engine *en, const char *ref, uint16_t rows, uint16_t cols, Err *e);
/* Applies resource limits and restart policy of `changes` that are set there. */
int engine_container_update(Engine *en, const char *ref, const ContainerHost *changes, Err *e);
/* Of the request for it, a HostConfig: ERR_UNSUPPORTED for a member that says something and cannot be changed. */
int engine_container_update_check(const json_t *body, Err *e);
/* Publishes `add`, and no longer what leads to the ports of the container that `remove` names ("80", "53/udp"); at once if it runs. All or nothing.
 * *ret_warnings: as those of a new container, if it does not. */
int engine_container_ports(Engine *en, const char *ref, const ContainerHost *add, char *const *remove,
			   char ***ret_warnings, Err *e);
int engine_container_inspect(Engine *en, const char *ref, ContainerInfo *ret, Err *e);
/* The OCI runtime-spec document that it runs by; ERR_NOT_FOUND if it does not. */
int engine_container_spec(Engine *en, const char *ref, json_t **ret, Err *e);
/* What it is called in a network of the user's; 0 or -ENOMEM. */
int engine_endpoint_names(const ContainerInfo *i, const char *network, char ***ret);
typedef enum ContainerGlance { GLANCE_COPY, GLANCE_DONE, GLANCE_END } ContainerGlance;
typedef struct EngineEach {
	/* May take what *i points to, and zero it. A positive value ends the round well. */
	int (*fn)(void *user, ContainerInfo *i, Err *e);
	/* Called first, or NULL: *i is the container's own, which is locked meanwhile, with its limits of CPU beside what fn is given. It keeps nothing of it, and calls neither
	 * the engine nor the store.
	 * GLANCE_COPY: fn is to be called with a copy. */
	ContainerGlance (*glance)(void *user, const ContainerInfo *i);
	void *user;
	const char *pod; /* NULL: all containers; an id: only those of this pod, its sandbox among them */
} EngineEach;
/* For every container, newest first. Of `config` only what lists show and filters look at is there: image, hostname, labels, exposed_ports,
 * host.network_mode and the endpoints; the paths of files are not. */
int engine_container_each(Engine *en, const EngineEach *each, Err *e);
/* The same as a list; *ret may be NULL if there is none. */
int engine_container_list(Engine *en, ContainerInfo **ret, size_t *ret_n, Err *e);

typedef enum ContainerWait { WAIT_NOT_RUNNING, WAIT_NEXT_EXIT, WAIT_REMOVED } ContainerWait;
typedef struct ContainerEnd {
	int status;
	char *error; /* State.Error, or NULL; to be freed */
} ContainerEnd;
/* `registered` (may be NULL) is called once the wait cannot miss an exit any more. */
int engine_container_wait(Engine *en, const char *ref, ContainerWait condition, void (*registered)(void *),
			  void *user, int alive_fd, ContainerEnd *ret, Err *e);

typedef struct EngineAttach {
	int fd; /* stream socket; not closed here, a copy is taken */
	bool in, out, err;
	bool logs, stream; /* replay the log first; follow live */
	bool raw;          /* without frames, whether it has a terminal or not */
	const void *prefix;
	size_t prefix_len;
	const char *detach_keys; /* "ctrl-p,ctrl-q" syntax, NULL: that default */
	bool no_detach_keys;     /* whatever is typed is the process's */
	bool plain;              /* of an exec: bytes without frames, also without a terminal */
} EngineAttach;
/* Works on created and running containers; returns once attached (the shim serves the fd). For a created one it takes effect with
 * the start. ERR_CONFLICT if paused. For a stopped one only `logs` is served. */
int engine_container_attach(Engine *en, const char *ref, const EngineAttach *a, Err *e);

typedef struct EngineLogs {
	bool out, err, follow;
	int64_t since_ns, until_ns; /* 0: none */
	int64_t tail;               /* lines, -1: all */
	bool details;               /* attributes are wanted */
	int (*caught_up)(
	    void *user); /* may be NULL; a follower has got all there is and waits; -errno stops */
} EngineLogs;
typedef struct EngineLogRecord {
	int stream; /* 1 stdout, 2 stderr */
	int64_t time_ns;
	const char *text; /* not terminated; without its newline for a piece of a long line */
	size_t len;
	const char *attrs; /* a JSON object of strings as text, or NULL */
	size_t n_attrs;
} EngineLogRecord;
/* Returning non-zero stops. */
typedef int (*EngineLogSink)(void *user, const EngineLogRecord *r);
/* Says as an error what engine_container_logs would say before it reads. */
int engine_container_logs_check(Engine *en, const char *ref, Err *e);
/* With follow, returns when the container has ended and all was delivered. */
int engine_container_logs(Engine *en, const char *ref, const EngineLogs *l, EngineLogSink sink, void *user,
			  int alive_fd, Err *e);

/* A pod's container: its log file was renamed, and is made anew before this returns. ERR_CONFLICT if it does not run; no file is made then. */
int engine_container_log_reopen(Engine *en, const char *ref, Err *e);
/* Writes a running container's processes, its configuration and its log to an archive, and lets it run on. timeout_s 0: some minutes. ERR_UNSUPPORTED without criu. */
int engine_container_checkpoint(Engine *en, const char *ref, const char *location, int64_t timeout_s,
				int alive_fd, Err *e);

/* Processes: titles and rows as ps prints them. */
int engine_container_top(Engine *en, const char *ref, const char *ps_args, json_t **ret, Err *e);
/* What a container uses at one moment. */
typedef struct EngineStats {
	char id[65];
	char *name;
	bool running; /* else only the name is there */
	int64_t read_ns, system_cpu_ns, memory_total;
	int online_cpus;
	json_t *usage;    /* as "runc events" has it */
	json_t *networks; /* {"eth0": {"rx_bytes": ...}}, or NULL if it has none of its own */
} EngineStats;
void engine_stats_done(EngineStats *s);
int engine_container_stats(Engine *en, const char *ref, EngineStats *ret, Err *e);
/* Copies of files: path is the container's, volumes and binds included, never following a link out. stat's mode is st_mode. */
typedef struct EnginePathStat {
	char *name, *link_target;
	int64_t size, mtime_ns;
	mode_t mode;
} EnginePathStat;
void engine_path_stat_done(EnginePathStat *s);
int engine_container_path_stat(Engine *en, const char *ref, const char *path, EnginePathStat *ret, Err *e);
/* `begin` is called once the path is open, with what it is, and gives the descriptor that the archive is written to, or an error. */
typedef struct EngineArchiveOut {
	int (*begin)(void *user, const EnginePathStat *st, Err *e);
	void *user;
} EngineArchiveOut;
int engine_container_archive_get(Engine *en, const char *ref, const char *path, const EngineArchiveOut *o,
				 Err *e);
int engine_container_archive_put(Engine *en, const char *ref, const char *path, int tar_fd,
				 bool no_overwrite_dir_non_dir, bool copy_uid_gid, Err *e);
int engine_container_export(Engine *en, const char *ref, int out_fd, Err *e);
/* All that is in a directory (any descriptor of it) as a tar, written to out_fd. */
int engine_directory_archive(int dir_fd, int out_fd, Err *e);

/* rights.c: somebody on this machine. */
typedef struct EngineUser {
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t n_groups;
} EngineUser;
/* A read-only view of a directory through which nobody, whoever he is, sees more than this user may see: a detached mount. File systems that are mounted
 * below the directory are not in it. ERR_UNSUPPORTED where the kernel cannot make one of that directory. */
int engine_directory_as(int dir_fd, const EngineUser *user, int *ret_fd, Err *e);
/* {"Path","Kind"} array of differences. */
int engine_container_changes(Engine *en, const char *ref, json_t **ret, Err *e);

typedef struct EngineCommit {
	const char *repo, *tag; /* repo NULL: untagged */
	const char *comment, *author;
	bool pause;
	int64_t created_ns;           /* 0: now */
	char *const *changes;         /* Dockerfile instructions: CMD ENV ... */
	const ImageRunConfig *config; /* NULL: the container's */
} EngineCommit;
int engine_container_commit(Engine *en, const char *ref, const EngineCommit *c,
			    char ret_image_id[DIGEST_LEN + 1], Err *e);
/* Removes stopped containers matching; ids are appended, bytes summed. */
int engine_container_prune(Engine *en, bool (*match)(void *user, const ContainerInfo *i), void *user,
			   char ***ret_ids, int64_t *ret_bytes, Err *e);

/* "user[:group]" by name or number, looked up in the files of the root at rootfs_fd (COPY --chown). */
int engine_user_lookup(int rootfs_fd, const char *user, uint32_t *ret_uid, uint32_t *ret_gid, Err *e);

/* ---- exec ---- */
typedef struct ExecConfig {
	char **cmd, **env;
	char *user, *working_dir, *detach_keys;
	bool tty, privileged, attach_stdin, attach_stdout, attach_stderr;
	uint16_t rows, cols;
} ExecConfig;
void exec_config_done(ExecConfig *c);
typedef struct ExecInfo {
	char id[65], container_id[65];
	bool started, running;
	int exit_code; /* valid when started and not running */
	pid_t pid;
	ExecConfig config;
} ExecInfo;
void exec_info_done(ExecInfo *i);
int engine_exec_create(Engine *en, const char *container, const ExecConfig *c, char **ret_id, Err *e);
/* attach NULL: detached. Returns when the process runs; ERR_NO_COMMAND, ERR_NOT_RUNNABLE if it cannot. */
int engine_exec_start(Engine *en, const char *id, const EngineAttach *attach, uint16_t rows, uint16_t cols,
		      Err *e);
int engine_exec_resize(Engine *en, const char *id, uint16_t rows, uint16_t cols, Err *e);
int engine_exec_inspect(Engine *en, const char *id, ExecInfo *ret, Err *e);
/* event_fd, an eventfd of the caller's, is written to once it has ended; -1: no more. */
int engine_exec_watch(Engine *en, const char *id, int event_fd, Err *e);
/* Nobody will ask for it any more. True and its exit code if it has ended. */
bool engine_exec_forget(Engine *en, const char *id, int *ret_code);

/* A command to its end, with what it prints; what is beyond the limit is dropped. timeout_ns 0: none; one that takes longer is killed: ERR_CANCELLED, ETIMEDOUT. It is killed, too,
 * when alive_fd breaks. A command that cannot be run: ERR_NO_COMMAND, ERR_NOT_RUNNABLE. */
#define ENGINE_EXEC_OUTPUT_MAX (16 * 1024 * 1024)
typedef struct EngineExecOutput {
	StrBuf out, err; /* no more than ENGINE_EXEC_OUTPUT_MAX bytes each */
	int exit_code;
} EngineExecOutput;
void engine_exec_output_done(EngineExecOutput *o);
int engine_exec_sync(Engine *en, const char *container, const ExecConfig *config, int64_t timeout_ns,
		     int alive_fd, EngineExecOutput *ret, Err *e);

/* ---- a full disk (space.c) ---- */
/* What was free when something that brings data in began. */
typedef struct EngineSpace {
	int64_t bytes, files; /* -1: unknown */
	int64_t least;        /* bytes that are known to be needed */
} EngineSpace;
void engine_space_begin(Engine *en, EngineSpace *w);
/* Returns r; a full disk is explained in e, and what nothing needs is removed. */
int engine_space_end(Engine *en, const EngineSpace *w, int r, Err *e);
/* A sentence about it, malloc'ed, while as good as nothing is free; NULL: there is room. */
char *engine_space_none(Engine *en);

/* ---- images (listing and finding: store.h through engine_store) ---- */
typedef void (*EngineProgress)(void *user, const char *id, const char *status, int64_t current,
			       int64_t total);
/* What a client brings for a registry, for the one request; all NULL: nothing. */
typedef struct EngineAuth {
	const char *username, *password, *identity_token, *registry_token;
} EngineAuth;
typedef struct EnginePull {
	const char *reference;
	bool all_tags;        /* of the repository; reference has none then */
	const char *platform; /* or NULL */
	bool
	    aside; /* an image of another platform than this machine's takes the name from none that is of it, but becomes its part */
	EngineAuth auth;
	EngineProgress progress;
	void *user;
	int alive_fd;
} EnginePull;
int engine_image_pull(Engine *en, const EnginePull *p, char ret_image_id[DIGEST_LEN + 1], Err *e);
typedef struct EnginePush {
	const char *reference; /* without tag and tag NULL: every tag of the repository */
	const char *tag;       /* or NULL */
	const char *platform;  /* the image has to be for it; or NULL */
	const char *
	    compression; /* gzip or zstd: every layer in that form; NULL: as they are, gzip if they are in none */
	EngineAuth auth;
	EngineProgress progress;
	void (*pushed)(void *user, const char *tag, const char *digest, int64_t size); /* may be NULL */
	void *user;
	int alive_fd;
} EnginePush;
/* ERR_NOT_FOUND in Docker's words when there is no such tag here; errors of the registry as registry_push tells them. */
int engine_image_push(Engine *en, const EnginePush *p, Err *e);
/* Asks a registry ("docker.io", "host:5000", or as config.json names it; NULL or "": docker.io) whether it takes the credentials. *ret_identity_token is
 * malloc'ed: what is to be kept in place of the password, or NULL. ERR_UNAUTHORIZED if it does not. */
int engine_registry_login(Engine *en, const char *server, const EngineAuth *auth, int alive_fd,
			  char **ret_identity_token, Err *e);
/* Makes a Debian or Ubuntu base image from the host's own package sources (mmdebstrap). progress gets lines (id NULL). */
int engine_image_bootstrap(Engine *en, const char *reference, bool again, EngineProgress progress, void *user,
			   int alive_fd, char ret_image_id[DIGEST_LEN + 1], Err *e);
int engine_image_tag(Engine *en, const char *image, const char *repo, const char *tag, Err *e);
/* Docker's answer items: {"Untagged":..}, {"Deleted":..}. ERR_CONFLICT with Docker's wording while containers use it. */
int engine_image_remove(Engine *en, const char *name, bool force, bool no_prune, json_t **ret, Err *e);
int engine_image_prune(Engine *en, bool dangling_only, bool (*match)(void *user, const StoreImage *i),
		       void *user, json_t **ret, int64_t *ret_bytes, Err *e);
typedef struct EngineLoad {
	int tar_fd;
	const char *platform; /* or NULL */
	EngineProgress progress;
	void (*loaded)(void *user, const char *reference, const char *id);
	void *user;
	const char *only; /* how names begin that it may give; NULL: any */
} EngineLoad;
int engine_image_load(Engine *en, const EngineLoad *l, Err *e);
typedef struct EngineSave {
	char *const *names;
	char *const
	    *as; /* of one image: the names that it has in the archive, instead of its own; NULL: its own */
	const char *format;   /* "docker", "oci" or NULL */
	const char *platform; /* or NULL */
	int (*begin)(void *user,
		     Err *e); /* called once when all is found: the descriptor to write to, or an error */
	void *user;
} EngineSave;
int engine_image_save(Engine *en, const EngineSave *s, Err *e);
typedef struct EngineImport {
	int tar_fd;                                 /* unless a url is given */
	const char *url;                            /* http or https, fetched by the engine; or NULL */
	const char *reference, *message, *platform; /* each may be NULL */
	char *const *changes;
	int64_t created_ns;      /* 0: now */
	EngineProgress progress; /* of fetching; may be NULL */
	void *user;
	int alive_fd; /* of the client, for fetching; -1: none */
} EngineImport;
int engine_image_import(Engine *en, const EngineImport *i, char ret_image_id[DIGEST_LEN + 1], Err *e);
/* Makes one layer of all those above a base. */
typedef struct EngineSquash {
	const char *image;
	const char *
	    from; /* the last layer to stay (diff id or its beginning), or an image built on; NULL: none stays */
	const char *name;   /* of the result; may be NULL */
	int64_t created_ns; /* 0: as the image */
} EngineSquash;
int engine_image_squash(Engine *en, const EngineSquash *q, char ret_image_id[DIGEST_LEN + 1], Err *e);
/* Applies Dockerfile-style changes ("CMD [...]", "ENV A=b") to a run config: CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL
 * ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR. */
int engine_apply_change(ImageRunConfig *c, const char *instruction, Err *e);

/* ---- what registries have, without pulling it ---- */
typedef struct EngineAsk {
	const char *reference; /* as typed */
	EngineAuth auth;
	int alive_fd;
} EngineAsk;

typedef struct EngineManifest {
	char digest[DIGEST_LEN + 1];
	char *reference, *media_type;
	int64_t size;
	bool is_index;
	json_t *document;  /* as the registry has it */
	json_t *platforms; /* array of OCI platform objects, or NULL if not asked for */
	struct EngineManifest *entries;
	size_t n_entries;
} EngineManifest;
void engine_manifest_done(EngineManifest *m);
enum {
	ENGINE_MANIFEST_PLATFORMS = 1 << 0,
	ENGINE_MANIFEST_ENTRIES = 1 << 1, /* the manifests of an index too */
};
int engine_manifest(Engine *en, const EngineAsk *a, unsigned what, EngineManifest *ret, Err *e);
/* Makes the tag that is asked for an index of manifests that its registry has. manifests: [{"Ref": name, "Descriptor": an OCI descriptor with its
 * platform}]. */
int engine_index_put(Engine *en, const EngineAsk *a, const json_t *manifests, char ret_digest[DIGEST_LEN + 1],
		     Err *e);
int engine_image_tags(Engine *en, const EngineAsk *a, char ***ret, Err *e);
/* Of artifact_type, or NULL: of all. An array of OCI descriptors. */
int engine_image_referrers(Engine *en, const EngineAsk *a, const char *artifact_type,
			   char ret_subject[DIGEST_LEN + 1], json_t **ret, Err *e);
/* The reference is the term: "[HOST/]TERM". Docker's search results. */
int engine_search(Engine *en, const EngineAsk *a, int limit, json_t **ret, Err *e);

/* ---- networks ---- */
typedef struct NetworkInfo {
	char id[65];
	char *name, *driver; /* bridge host null */
	int64_t created_ns;
	char *subnet, *gateway, *ip_range; /* "" for host, none, and what is not given */
	char *subnet6, *gateway6, *ip_range6;
	char **aux;           /* NAME=ADDRESS, of both families: set aside */
	bool chosen, chosen6; /* the subnet, by us */
	bool no_ipv4, ipv6;
	bool internal, attachable, builtin;
	bool config_only; /* only lends its settings to others */
	char *config_from;
	char **labels, **options, **ipam_options;
	char *bridge; /* interface */
} NetworkInfo;
void network_info_done(NetworkInfo *i);
void network_infos_free(NetworkInfo *v, size_t n);
typedef struct EngineNetworkCreate {
	const char *name, *driver, *subnet, *gateway, *ip_range;
	const char *subnet6, *gateway6, *ip_range6;
	bool no_ipv4, ipv6;
	const char *config_from; /* a network made with config_only, or NULL */
	bool internal, attachable, config_only;
	char *const *labels, *const *options, *const *aux, *const *ipam_options;
} EngineNetworkCreate;
/* Docker's words and kinds for whatever is wrong. */
int engine_network_create(Engine *en, const EngineNetworkCreate *c, char **ret_id, Err *e);
/* A container that runs has the network at once, another one when it starts. `config` may be NULL: nothing is asked for; its `network`
 * is ignored. */
int engine_network_connect(Engine *en, const char *network, const char *container,
			   const ContainerEndpointConfig *config, Err *e);
/* force: also from a network that is no more. */
int engine_network_disconnect(Engine *en, const char *network, const char *container, bool force, Err *e);
int engine_network_remove(Engine *en, const char *ref, Err *e);
/* Another subnet (NULL: of our choice) for a network, whose running containers leave it for a moment. */
int engine_network_renumber(Engine *en, const char *ref, const char *subnet, Err *e);
/* What an administrator should know, of the host's firewall and of its routes: whole sentences, malloc'ed; maybe none. */
/* Containers have a profile of AppArmor by default. */
bool engine_has_apparmor(Engine *en);
int engine_warnings(Engine *en, char ***ret, Err *e);
int engine_network_inspect(Engine *en, const char *ref, NetworkInfo *ret, Err *e);
int engine_network_list(Engine *en, NetworkInfo **ret, size_t *ret_n, Err *e);

/* ---- volumes ---- */
typedef struct VolumeInfo {
	char *name, *driver, *mountpoint;
	int64_t created_ns;
	char **labels, **options;
} VolumeInfo;
void volume_info_done(VolumeInfo *i);
void volume_infos_free(VolumeInfo *v, size_t n);
int engine_volume_create(Engine *en, const char *name /* NULL: random */, const char *driver,
			 char *const *labels, char *const *options, VolumeInfo *ret, Err *e);
int engine_volume_inspect(Engine *en, const char *name, VolumeInfo *ret, Err *e);
int engine_volume_list(Engine *en, VolumeInfo **ret, size_t *ret_n, Err *e);
int engine_volume_remove(Engine *en, const char *name, bool force, Err *e);
/* As engine_volume_remove without force, for prune: the bytes that were freed are added to *bytes. */
int engine_volume_prune_one(Engine *en, const char *name, int64_t *bytes, Err *e);

/* ---- events ---- */
typedef struct EngineEvent {
	char *type, *action, *id; /* container/start/<id> */
	char **attributes;        /* K=V: name, image, labels, exitCode, ... */
	int64_t time_ns;
} EngineEvent;
typedef int (*EngineEventSink)(void *user, const EngineEvent *ev);
void engine_event(Engine *en, const char *type, const char *action, const char *id, char *const *attributes);
typedef struct EngineEventsWanted {
	int64_t since_ns, until_ns; /* 0: from now on; for ever */
	bool all;                   /* ERR_EXHAUSTED once one was lost, else the next one follows */
} EngineEventsWanted;
/* Replays the last 256 if a time is given, then follows until until_ns, alive_fd or a non-zero return of the sink. */
int engine_events_follow(Engine *en, const EngineEventsWanted *wanted, EngineEventSink sink, void *user,
			 int alive_fd, Err *e);

/* ---- is everything whole? What is stored, and the networks of pods. ---- */
typedef struct EngineCheck {
	bool repair;
	/* Credentials for what has to be pulled again; may be NULL. */
	void (*auth)(void *user, const char *domain, EngineAuth *ret);
	EngineProgress progress; /* of looking ("check") and of pulls; may be NULL */
	void *user;
	int alive_fd;
} EngineCheck;
/* The report's images are names. ERR_CANCELLED if the caller went away. */
int engine_check(Engine *en, const EngineCheck *c, StoreReport *ret, Err *e);

/* ---- sizes ----
 * Bytes in a container's writable layer and in a volume, each inode once. Remembered for 20 times as long as counting
 * took (sizes.c). */
int engine_container_size(Engine *en, const char *id, int64_t *ret, Err *e);
int engine_volume_size(Engine *en, const char *name, int64_t *ret, Err *e);

/* ---- the whole ---- */
typedef struct EngineSummary {
	int running, paused, stopped, images;
	const char *cgroup_driver; /* "cgroupfs", "systemd" */
	int cgroup_version;
	char id[65];
} EngineSummary;
int engine_summary(Engine *en, EngineSummary *ret, Err *e);
int engine_cgroup_version(Engine *en);
bool engine_remaps_users(Engine *en);
