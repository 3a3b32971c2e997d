/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of settings: a row says how a setting is called on the command line and in the file, what its values look like, and what it is
 * for. Parsing, help, conflicts, reload and the refusal of what dockerd has and we have not come from the rows; to add a setting is to
 * add one, and to read it with config_text() and the like where it is used.
 *
 * Every value is text, in a list: the last one counts where there can be one only. What the file says as an object or a list is turned into
 * the same text that the flag takes.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

typedef enum SettingKind {
	SET_TEXT,
	SET_PATH,     /* absolute */
	SET_BOOL,     /* "true" or "false" */
	SET_INT,      /* within min and max */
	SET_SIZE,     /* of memory or disk */
	SET_DURATION, /* 36h, 14d */
	SET_LIST,
	SET_MAP,     /* K=V; an object of strings in the file */
	SET_OBJECT,  /* .read knows how the file says it */
	SET_GROUP,   /* in the file only: an object whose members are settings */
	SET_FIXED,   /* only the value .only is taken */
	SET_REFUSED, /* what dockerd has and we have not */
} SettingKind;

enum {
	SETTING_RELOADS = 1 << 0,   /* SIGHUP reads it again */
	SETTING_FLAG_ONLY = 1 << 1, /* not in the file */
	SETTING_FILE_ONLY = 1 << 2,
};

typedef struct Setting {
	const char *key; /* in the file */
	SettingKind kind;
	unsigned flags;
	const char *flag, *alias; /* on the command line; NULL: the key; none */
	char letter;
	const char *meta; /* of its value, in help */
	const char *help; /* and, for SET_FIXED and SET_REFUSED, what to do instead */
	int64_t min, max;
	const char *only;
	/* Of one value. ERR_INVALID says what was expected. */
	int (*check)(const char *value, Err *e);
	/* Turns what the file has into texts. */
	int (*read)(json_t *v, char ***ret, Err *e);
} Setting;

extern const Setting settings[];
extern const size_t settings_n;
const char *setting_flag(const Setting *s);
/* By its key in the file; NULL. */
const Setting *setting_find(const char *key);
/* Checks one value, and appends it in its normal form. */
int setting_add(const Setting *s, const char *value, char ***list, Err *e);
/* The same with what the file has. */
int setting_read(const Setting *s, json_t *v, char ***list, Err *e);

/* setting-values.c: checks and readers of the rows. */
int setting_check_path(const char *value, Err *e);
int setting_check_level(const char *value, Err *e);
int setting_check_format(const char *value, Err *e);
int setting_check_runtime(const char *value, Err *e);
int setting_check_mirror(const char *value, Err *e);
int setting_check_label(const char *value, Err *e);
int setting_check_ulimit(const char *value, Err *e);
int setting_check_pool(const char *value, Err *e);
int setting_check_address(const char *value, Err *e);
int setting_check_cgroupns(const char *value, Err *e);
int setting_check_ipc(const char *value, Err *e);
int setting_check_published_ports(const char *value, Err *e);
int setting_check_cri(const char *value, Err *e);
int setting_check_gc_images(const char *value, Err *e);
int setting_check_pattern(const char *value, Err *e);
int setting_check_cgroup_driver(const char *value, Err *e);
int setting_check_exec_opt(const char *value, Err *e);
int setting_check_feature(const char *value, Err *e);
int setting_read_runtimes(json_t *v, char ***ret, Err *e);
int setting_read_ulimits(json_t *v, char ***ret, Err *e);
int setting_read_pools(json_t *v, char ***ret, Err *e);
int setting_read_features(json_t *v, char ***ret, Err *e);
/* "36h", "90m" as everywhere, and "14d": nanoseconds. */
int setting_duration(const char *value, int64_t *ret);
