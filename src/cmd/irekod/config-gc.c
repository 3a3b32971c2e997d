/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of garbage collection, from options and from the file; see config.h. */
#include "config.h"

#include "base/clock.h"
#include "base/str.h"

#define DAY_NS (24 * 3600 * 1000000000ll)

static int size(const char *key, const char *value, int64_t *ret, Err *e)
{
	if (str_to_bytes(value, ret) < 0 || *ret < 0)
		return err_new(e, ERR_INVALID, "%s %.60s: expected a size such as 512m or 20g", key, value);
	return 0;
}

/* "36h", "90m" as everywhere, and "14d". */
static int duration(const char *key, const char *value, int64_t *ret, Err *e)
{
	_cleanup_free_ char *days = str_ends(value, "d") ? strndup(value, strlen(value) - 1) : NULL;
	int n;

	if (days && str_to_int(days, 0, 36500, &n) == 0) {
		*ret = n * DAY_NS;
		return 0;
	}
	if (clock_parse_duration(value, ret) < 0 || *ret < 0)
		return err_new(e, ERR_INVALID, "%s %.60s: expected a time such as 36h or 14d", key, value);
	return 0;
}

/* 1 if the key is one of ours. */
int config_gc_text(GcConfig *g, const char *key, const char *value, Err *e)
{
	const struct {
		const char *key;
		int (*parse)(const char *key, const char *value, int64_t *ret, Err *e);
		int64_t *to;
		bool *set;
	} numbers[] = {
	    {"gc-max-size", size, &g->max_size, &g->set_max_size},
	    {"gc-min-free", size, &g->min_free, &g->set_min_free},
	    {"gc-max-age", duration, &g->max_age_ns, &g->set_max_age},
	    {"gc-interval", duration, &g->interval_ns, &g->set_interval},
	    {"gc-leftover-age", duration, &g->leftover_age_ns, &g->set_leftover_age},
	};

	for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
		if (!streq(key, numbers[i].key))
			continue;
		/* The file speaks after the command line and only where that was silent. */
		int64_t n = 0;
		int r = numbers[i].parse(key, value, &n, e);

		if (r >= 0 && !*numbers[i].set)
			*numbers[i].to = n;
		*numbers[i].set = true;
		return r < 0 ? r : 1;
	}
	if (streq(key, "gc-images")) {
		if (!streq(value, "dangling") && !streq(value, "unused"))
			return err_new(e, ERR_INVALID, "gc-images %.60s: expected dangling or unused", value);
		if (!g->set_images)
			g->unused = streq(value, "unused");
		g->set_images = true;
		return 1;
	}
	return 0;
}

int config_gc_keep(GcConfig *g, const char *pattern, Err *e)
{
	if (!*pattern || strlen(pattern) > 256)
		return err_new(e, ERR_INVALID,
			       "gc-keep: expected a pattern of references such as 'debian:*'");
	return strv_add(&g->keep, pattern) < 0 ? err_oom(e) : 0;
}

/* docker's builder.gc: {"enabled": true, "defaultReservedSpace": "10GB", "defaultMaxUsedSpace": ..., "defaultMinFreeSpace": ...}; the
 * older defaultKeepStorage is a limit too. */
static int builder_gc(GcConfig *g, json_t *v, Err *e)
{
	const struct {
		const char *key;
		int64_t *to;
	} sizes[] = {{"defaultReservedSpace", &g->cache_reserved},
		     {"defaultMaxUsedSpace", &g->cache_max},
		     {"defaultKeepStorage", &g->cache_max},
		     {"defaultMinFreeSpace", &g->cache_min_free}};
	const char *key;
	json_t *one;
	int r = 0;

	json_object_foreach (v, key, one) {
		size_t i = 0;

		while (i < ELEMENTSOF(sizes) && !streq(key, sizes[i].key))
			i++;
		if (i < ELEMENTSOF(sizes))
			r = json_is_string(one) ? size(key, json_string_value(one), sizes[i].to, e)
						: err_new(e, ERR_INVALID, "%s: expected a string", key);
		else if (streq(key, "policy"))
			r = err_new(e, ERR_UNSUPPORTED,
				    "policy: lists of rules are not offered: use defaultReservedSpace, "
				    "defaultMaxUsedSpace, defaultMinFreeSpace, and gc-max-age for ages");
		else if (!streq(key, "enabled") || !json_is_boolean(one))
			r = err_new(e, ERR_INVALID, "unknown setting \"%.100s\"", key);
		if (r < 0)
			return r;
	}
	if (!json_get_bool(v, "enabled", true))
		g->cache_reserved = g->cache_max = g->cache_min_free = 0;
	return 0;
}

int config_gc_builder(GcConfig *g, json_t *v, Err *e)
{
	const char *key;
	json_t *one;

	if (!json_is_object(v))
		return err_new(e, ERR_INVALID, "builder: expected an object");
	json_object_foreach (v, key, one) {
		if (!streq(key, "gc"))
			return err_new(e, ERR_INVALID, "builder: unknown setting \"%.100s\"", key);
		if (!json_is_object(one))
			return err_new(e, ERR_INVALID, "builder: gc: expected an object");
		int r = builder_gc(g, one, e);
		if (r < 0)
			return err_ctx(e, r, "builder: gc");
	}
	return 0;
}
