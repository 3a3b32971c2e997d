/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What irekod is told: command line first, then the configuration file for what the command line left open.
 *
 * The file is JSON and takes docker's daemon.json keys where they exist (data-root, exec-root, hosts, insecure-registries,
 * registry-mirrors, max-concurrent-downloads, proxies, log-level, pidfile, bip, runtimes, default-runtime, storage-driver) and ours
 * (bridge-subnet, helper-dir, certs-dir, registry-token-servers, snapshotter). Of proxies, what neither says is taken from HTTP_PROXY,
 * HTTPS_PROXY and NO_PROXY. An unknown key is an error: a
 * setting that is silently ignored is worse than a daemon that does not start.
 */
#pragma once

#include "base/err.h"
#include "base/log.h"

typedef struct DaemonConfig {
	char *data_root, *exec_root, *bridge_subnet, *pidfile, *helper_dir, *log_level, *default_runtime,
	    *snapshotter;
	char *http_proxy, *https_proxy, *no_proxy, *certs_dir, *max_downloads_text;
	int max_downloads;    /* 0: not said */
	char **hosts;         /* unix://PATH, tcp://HOST:PORT, fd:// */
	char **insecure;      /* registries */
	char **mirrors;       /* HOST=URL */
	char **token_servers; /* REGISTRY=HOST */
	char **runtimes;      /* NAME=PATH, each name once */
	LogLevel level;
} DaemonConfig;

typedef enum ConfigAction { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION } ConfigAction;

/* Parses the arguments and the file that they name, and fills in defaults. ERR_INVALID for what the user got wrong. */
int config_load(int argc, char **argv, DaemonConfig *ret, ConfigAction *ret_action, Err *e);
void config_done(DaemonConfig *c);
extern const char config_usage[];
