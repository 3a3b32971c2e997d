/* SPDX-License-Identifier: Apache-2.0 */
/* The flags of run and create, and what they say in the Engine API's words. */
#pragma once

#include "base/json.h"
#include "options.h"
#include "resources.h"

typedef struct RunOptions {
	/* about the call itself */
	bool detach, interactive, tty, rm, quiet, disable_content_trust;
	Tri sig_proxy;
	List attach;
	const char *name, *cidfile, *detach_keys, *platform, *pull;
	/* what runs */
	List env, env_files, labels, label_files;
	const char *entrypoint, *user, *workdir, *hostname, *domainname, *stop_signal, *runtime, *isolation;
	Num stop_timeout;
	Tri init;
	/* files */
	List volumes, mounts, tmpfs, volumes_from, storage_opts;
	const char *volume_driver;
	bool read_only;
	Num shm_size;
	/* network */
	List publish, expose, networks, aliases, links, link_local_ips, dns, dns_search, dns_options,
	    add_hosts;
	const char *ip, *ip6, *mac_address;
	bool publish_all;
	/* limits and devices */
	ResourceOptions resources;
	List ulimits, devices, device_rules, gpus, blkio_weight_devices, read_bps, write_bps, read_iops,
	    write_iops;
	Num oom_score_adj;
	bool oom_kill_disable;
	/* isolation */
	List cap_add, cap_drop, security_opts, group_add, sysctls, annotations;
	const char *ipc, *pid, *uts, *userns, *cgroupns, *cgroup_parent;
	bool privileged;
	/* life */
	const char *restart, *log_driver;
	List log_opts;
	const char *health_cmd;
	Num health_interval, health_timeout, health_start_period, health_start_interval, health_retries;
	bool no_healthcheck;
} RunOptions;

extern const Flag run_flags[], create_flags[];

/* Which streams the client attaches, from -a, -i and -d. */
typedef struct Attached {
	bool in, out, err;
} Attached;
int run_attached(const RunOptions *o, Attached *ret, Err *e);
/* The body of POST /containers/create. command: the arguments behind the image. */
int run_make_body(const RunOptions *o, const char *image, char *const *command, json_t **ret, Err *e);
