/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What irekod is told, on the command line and in the configuration file.
 *
 * The file is JSON with dockerd's keys where they exist, and ours; settings.c has them all. As with dockerd, a key that nobody knows is an error,
 * and so is one that is said in both places: a setting that is silently ignored is worse than a daemon that does not start. Of
 * proxies, what neither says is taken from HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"
#include "base/log.h"

/* Garbage collection; 0 is no limit, or the default. */
typedef struct GcConfig {
	int64_t max_size, min_free, max_age_ns, interval_ns, leftover_age_ns;
	bool unused;
	int64_t cache_max, cache_min_free, cache_reserved;
} GcConfig;

typedef struct SettingValues {
	char **texts;
	bool from_flag, from_file;
} SettingValues;

typedef struct DaemonConfig {
	SettingValues *set; /* one a row of `settings` */
	char *file;         /* that was read, or NULL */
	GcConfig gc;
	LogLevel level;
} DaemonConfig;

typedef enum ConfigAction { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION, CONFIG_VALIDATE } ConfigAction;

/* Parses the arguments and the file that they name, and fills in defaults. ERR_INVALID for what the user got wrong. May be called again: the
 * arguments are not changed. */
int config_load(int argc, char **argv, DaemonConfig *ret, ConfigAction *ret_action, Err *e);
void config_done(DaemonConfig *c);
void config_print_usage(void);
/* How many sockets systemd has passed to this process, as descriptors from 3 on (sd_listen_fds(3)). They are served whatever "hosts" says. */
int config_sockets_passed(void);

/* By key. NULL, otherwise or nothing where it was not said and has no default. */
const char *config_text(const DaemonConfig *c, const char *key);
bool config_bool(const DaemonConfig *c, const char *key, bool otherwise);
int64_t config_int(const DaemonConfig *c, const char *key, int64_t otherwise);
int64_t config_size(const DaemonConfig *c, const char *key, int64_t otherwise);
int64_t config_duration(const DaemonConfig *c, const char *key); /* nanoseconds; 0 if it was not said */
char *const *config_list(const DaemonConfig *c, const char *key);
bool config_given(const DaemonConfig *c, const char *key);

/* config-gc.c: from the settings gc-* and from the file's "builder" ({"gc": {...}}), which setting_read_builder keeps as text. */
int config_gc(const DaemonConfig *c, GcConfig *ret, Err *e);
int setting_read_builder(json_t *v, char ***ret, Err *e);
