/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of garbage collection; see config.h. */
#include "config.h"
#include "settings.h"

#include "base/str.h"

static int size(const char *key, const char *value, int64_t *ret, Err *e)
{
	if (str_to_bytes(value, ret) < 0 || *ret < 0)
		return err_new(e, ERR_INVALID, "%s %.60s: expected a size such as 512m or 20g", key, value);
	return 0;
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

static int builder(GcConfig *g, json_t *v, Err *e)
{
	const char *key;
	json_t *one;

	if (!json_is_object(v))
		return err_new(e, ERR_INVALID, "expected an object");
	json_object_foreach (v, key, one) {
		if (!streq(key, "gc"))
			return err_new(e, ERR_INVALID, "unknown setting \"%.100s\"", key);
		if (!json_is_object(one))
			return err_new(e, ERR_INVALID, "gc: expected an object");
		int r = builder_gc(g, one, e);
		if (r < 0)
			return err_ctx(e, r, "gc");
	}
	return 0;
}

int setting_read_builder(json_t *v, char ***ret, Err *e)
{
	GcConfig tried = {0};
	int r = builder(&tried, v, e);

	if (r < 0)
		return r;
	return strv_take(ret, json_text(v)) < 0 ? err_oom(e) : 0;
}

/* The values have been checked. */
int config_gc(const DaemonConfig *c, GcConfig *ret, Err *e)
{
	const struct {
		const char *key;
		int64_t *to;
	} times[] = {{"gc-max-age", &ret->max_age_ns},
		     {"gc-interval", &ret->interval_ns},
		     {"gc-leftover-age", &ret->leftover_age_ns}};
	const char *said = config_text(c, "builder");
	_cleanup_json_ json_t *doc = NULL;
	int r = 0;

	*ret = (GcConfig){.max_size = config_size(c, "gc-max-size", 0),
			  .min_free = config_size(c, "gc-min-free", 0),
			  .unused = streq0(config_text(c, "gc-images"), "unused")};
	for (size_t i = 0; i < ELEMENTSOF(times); i++)
		if (config_text(c, times[i].key))
			(void)setting_duration(config_text(c, times[i].key), times[i].to);
	if (said)
		r = json_parse(said, strlen(said), "builder", &doc, e);
	return doc ? builder(ret, doc, e) : r;
}
