/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What irekod is told: command line first, then the configuration file for what the command line left open.
 *
 * The file is JSON and takes docker's daemon.json keys where they exist (data-root, exec-root, hosts, insecure-registries,
 * registry-mirrors, max-concurrent-downloads, proxies, log-level, pidfile, bip, runtimes, default-runtime, log-driver,
 * log-opts, storage-driver, builder.gc) and ours
 * (bridge-subnet, helper-dir, certs-dir, registry-token-servers, snapshotter, gc-*). Of proxies, what neither says is taken from HTTP_PROXY,
 * HTTPS_PROXY and NO_PROXY. An unknown key is an error: a
 * setting that is silently ignored is worse than a daemon that does not start.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"
#include "base/log.h"

/* Garbage collection; the members that are not `set_` are EngineGc's. */
typedef struct GcConfig {
	int64_t max_size, min_free, max_age_ns, interval_ns, leftover_age_ns;
	bool set_max_size, set_min_free, set_max_age, set_interval, set_leftover_age;
	bool unused, set_images;
	char **keep;
	int64_t cache_max, cache_min_free, cache_reserved;
} GcConfig;

typedef struct DaemonConfig {
	char *data_root, *exec_root, *bridge_subnet, *pidfile, *helper_dir, *log_level, *default_runtime,
	    *snapshotter;
	char *log_driver, **log_opts; /* of containers; K=V */
	char *http_proxy, *https_proxy, *no_proxy, *certs_dir, *max_downloads_text;
	int max_downloads;    /* 0: not said */
	char **hosts;         /* unix://PATH, tcp://HOST:PORT, fd:// */
	char **insecure;      /* registries */
	char **mirrors;       /* HOST=URL */
	char **token_servers; /* REGISTRY=HOST */
	char **runtimes;      /* NAME=PATH, each name once */
	GcConfig gc;
	LogLevel level;
} DaemonConfig;

typedef enum ConfigAction { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION } ConfigAction;

/* Parses the arguments and the file that they name, and fills in defaults. ERR_INVALID for what the user got wrong. */
int config_load(int argc, char **argv, DaemonConfig *ret, ConfigAction *ret_action, Err *e);
void config_done(DaemonConfig *c);
extern const char config_usage[];

/* config-gc.c. A setting by its name in the file, which is its option's too: 1 if it is one of garbage collection. What was set first
 * stays. */
int config_gc_text(GcConfig *g, const char *key, const char *value, Err *e);
int config_gc_keep(GcConfig *g, const char *pattern, Err *e);
/* The member "builder" of the file. */
int config_gc_builder(GcConfig *g, json_t *v, Err *e);
