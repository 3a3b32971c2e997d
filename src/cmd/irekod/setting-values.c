/* SPDX-License-Identifier: Apache-2.0 */
/* What values of settings look like: on the command line, and in the file. */
#include "settings.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#include <arpa/inet.h>

#define DAY_NS (24 * 3600 * 1000000000ll)

/* As Go reads them. */
static int parse_bool(const char *value, bool *ret)
{
	static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
	static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};

	for (size_t i = 0; i < ELEMENTSOF(yes); i++)
		if (streq(value, yes[i]) || streq(value, no[i])) {
			*ret = streq(value, yes[i]);
			return 0;
		}
	return -EINVAL;
}

int setting_duration(const char *value, int64_t *ret)
{
	_cleanup_free_ char *days = str_ends(value, "d") ? strndup(value, strlen(value) - 1) : NULL;
	int n;

	if (days && str_to_int(days, 0, 36500, &n) == 0) {
		*ret = n * DAY_NS;
		return 0;
	}
	return clock_parse_duration(value, ret) < 0 || *ret < 0 ? -EINVAL : 0;
}

static int check_kind(const Setting *s, const char *value, Err *e)
{
	int64_t n = 0;
	int i;

	switch (s->kind) {
	case SET_PATH:
		return setting_check_path(value, e);
	case SET_INT:
		return str_to_int(value, (int)s->min, (int)s->max, &i) >= 0
			   ? 0
			   : err_new(e, ERR_INVALID, "expected a number from %lld to %lld", (long long)s->min,
				     (long long)s->max);
	case SET_SIZE:
		return str_to_bytes(value, &n) >= 0 && n >= 0
			   ? 0
			   : err_new(e, ERR_INVALID, "expected a size such as 512m or 20g");
	case SET_DURATION:
		return setting_duration(value, &n) >= 0
			   ? 0
			   : err_new(e, ERR_INVALID, "expected a time such as 36h or 14d");
	case SET_MAP:
		return strchr(value, '=') ? 0 : err_new(e, ERR_INVALID, "expected KEY=VALUE");
	default:
		return 0;
	}
}

int setting_add(const Setting *s, const char *value, char ***list, Err *e)
{
	bool on = false;
	int r = 0;

	if (s->kind == SET_REFUSED)
		return err_new(e, ERR_UNSUPPORTED, "%s is not offered: %s", s->key, s->help);
	if (s->kind == SET_FIXED && (streq(s->only, "true") || streq(s->only, "false")) &&
	    parse_bool(value, &on) >= 0)
		value = on ? "true" : "false";
	if (s->kind == SET_FIXED && !streq(value, s->only))
		return err_new(e, ERR_UNSUPPORTED, "%s %.60s is not offered: %s", s->key, value, s->help);
	if (s->kind == SET_BOOL) {
		if (parse_bool(value, &on) < 0)
			return err_new(e, ERR_INVALID, "%s %.60s: expected true or false", s->key, value);
		value = on ? "true" : "false";
	}
	r = check_kind(s, value, e);
	if (r >= 0 && s->check)
		r = s->check(value, e);
	if (r < 0)
		return err_ctx(e, r, "%s %.200s", s->key, value);
	return strv_add(list, value) < 0 ? err_oom(e) : 0;
}

/* ---- what the file has ---- */

static int add_scalar(const Setting *s, const json_t *v, char ***list, Err *e)
{
	char text[32];

	if (json_is_string(v))
		return setting_add(s, json_string_value(v), list, e);
	if (json_is_boolean(v) && (s->kind == SET_BOOL || s->kind == SET_FIXED))
		return setting_add(s, json_is_true(v) ? "true" : "false", list, e);
	if (json_is_integer(v) && (s->kind == SET_INT || s->kind == SET_SIZE)) {
		snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(v));
		return setting_add(s, text, list, e);
	}
	return err_new(e, ERR_INVALID, "%s: expected %s", s->key,
		       s->kind == SET_BOOL  ? "true or false"
		       : s->kind == SET_INT ? "a number"
					    : "a string");
}

static int add_texts(const Setting *s, char *const *texts, char ***list, Err *e)
{
	int r = 0;

	for (char *const *t = texts; r >= 0 && t && *t; t++)
		r = setting_add(s, *t, list, e);
	return r;
}

int setting_read(const Setting *s, json_t *v, char ***list, Err *e)
{
	_cleanup_strv_ char **texts = NULL;
	int r;

	if (s->kind == SET_REFUSED)
		return setting_add(s, "", list, e);
	if (s->kind != SET_LIST && s->kind != SET_MAP && s->kind != SET_OBJECT)
		return add_scalar(s, v, list, e);
	if (s->kind == SET_LIST)
		r = json_is_array(v) && json_to_strv(v, &texts) >= 0
			? 0
			: err_new(e, ERR_INVALID, "%s: expected an array of strings", s->key);
	else if (s->kind == SET_MAP)
		r = json_is_object(v) && json_map_to_strv(v, &texts) >= 0
			? 0
			: err_new(e, ERR_INVALID, "%s: expected an object of strings", s->key);
	else
		r = err_ctx(e, s->read(v, &texts, e), "%s", s->key);
	return r < 0 ? r : add_texts(s, texts, list, e);
}

/* ---- rows ---- */

int setting_check_path(const char *value, Err *e)
{
	return *value == '/' ? 0 : err_new(e, ERR_INVALID, "expected an absolute path");
}

int setting_check_level(const char *value, Err *e)
{
	LogLevel level;

	return log_level_parse(value, &level) >= 0
		   ? 0
		   : err_new(e, ERR_INVALID, "expected debug, info, warn, error or fatal");
}

int setting_check_format(const char *value, Err *e)
{
	return streq(value, "text") || streq(value, "json")
		   ? 0
		   : err_new(e, ERR_INVALID, "expected text or json");
}

/* The names are parts of paths, and of what users type. */
int setting_check_runtime(const char *value, Err *e)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	const char *eq = strchr(value, '=');
	size_t n = eq ? (size_t)(eq - value) : 0;

	if (!eq)
		return err_new(e, ERR_INVALID, "expected NAME=PATH");
	if (n == 0 || n > 64 || strspn(value, letters) != n || strchr("_.-", *value))
		return err_new(e, ERR_INVALID, "a name has 1 to 64 letters, digits and _ . -");
	if (n == 5 && str_starts(value, "ireko"))
		return err_new(e, ERR_INVALID, "runtime ireko is the engine's own: choose another name");
	if (eq[1] != '/')
		return err_new(e, ERR_INVALID, "expected the absolute path of a program");
	return 0;
}

int setting_check_mirror(const char *value, Err *e)
{
	return strstr(value, "://") ? 0 : err_new(e, ERR_INVALID, "expected [HOST=]URL");
}

int setting_check_label(const char *value, Err *e)
{
	return strchr(value, '=') && *value != '=' ? 0 : err_new(e, ERR_INVALID, "expected KEY=VALUE");
}

static int limit(const char *text, size_t n, int64_t *ret)
{
	_cleanup_free_ char *one = strndup(text, n);

	if (!one)
		return -ENOMEM;
	return streq(one, "-1") ? (*ret = -1, 0) : str_to_i64(one, ret);
}

int setting_check_ulimit(const char *value, Err *e)
{
	const char *eq = strchr(value, '='), *colon = eq ? strchr(eq, ':') : NULL;
	int64_t soft, hard;

	if (!eq || eq == value ||
	    limit(eq + 1, colon ? (size_t)(colon - eq - 1) : strlen(eq + 1), &soft) < 0 ||
	    (colon && limit(colon + 1, strlen(colon + 1), &hard) < 0))
		return err_new(e, ERR_INVALID, "expected NAME=SOFT[:HARD], such as nofile=1024:4096");
	if (colon && hard >= 0 && (soft < 0 || soft > hard))
		return err_new(e, ERR_INVALID,
			       "ulimit soft limit must be less than or equal to hard limit: %lld > %lld",
			       (long long)soft, (long long)hard);
	return 0;
}

int setting_check_pool(const char *value, Err *e)
{
	char base[64] = "";
	int prefix = -1, size = -1, n = 0, most;
	unsigned char a[16];

	if (sscanf(value, "base=%63[0-9a-fA-F.:]/%d,size=%d%n", base, &prefix, &size, &n) == 3 && !value[n]) {
		most = inet_pton(AF_INET, base, a) == 1 ? 30 : inet_pton(AF_INET6, base, a) == 1 ? 126 : 0;
		if (prefix >= 1 && prefix <= size && size <= most)
			return 0;
	}
	return err_new(e, ERR_INVALID, "expected base=CIDR,size=N, such as base=10.10.0.0/16,size=24");
}

int setting_check_address(const char *value, Err *e)
{
	unsigned char a[16];

	return inet_pton(AF_INET, value, a) == 1 || inet_pton(AF_INET6, value, a) == 1
		   ? 0
		   : err_new(e, ERR_INVALID, "IP address is not correctly formatted: %.60s", value);
}

int setting_check_cgroupns(const char *value, Err *e)
{
	return streq(value, "private") || streq(value, "host")
		   ? 0
		   : err_new(e, ERR_INVALID, "expected private or host");
}

int setting_check_ipc(const char *value, Err *e)
{
	return streq(value, "private") || streq(value, "shareable")
		   ? 0
		   : err_new(e, ERR_INVALID, "expected private or shareable");
}

int setting_check_published_ports(const char *value, Err *e)
{
	return streq(value, "firewall") || streq(value, "open")
		   ? 0
		   : err_new(e, ERR_INVALID, "expected firewall or open");
}

int setting_check_cri(const char *value, Err *e)
{
	return str_starts(value, "unix:///") ? 0
					     : err_new(e, ERR_INVALID,
						       "expected unix:// and an absolute path, such as "
						       "unix:///run/ireko/cri.sock");
}

int setting_check_gc_images(const char *value, Err *e)
{
	return streq(value, "dangling") || streq(value, "unused")
		   ? 0
		   : err_new(e, ERR_INVALID, "expected dangling or unused");
}

int setting_check_pattern(const char *value, Err *e)
{
	return *value && strlen(value) <= 256
		   ? 0
		   : err_new(e, ERR_INVALID, "expected a pattern of references such as 'debian:*'");
}

int setting_check_cgroup_driver(const char *value, Err *e)
{
	return streq(value, "cgroupfs") || streq(value, "systemd")
		   ? 0
		   : err_new(e, ERR_INVALID, "expected cgroupfs or systemd");
}

int setting_check_exec_opt(const char *value, Err *e)
{
	const char *driver = str_after(value, "native.cgroupdriver=");

	return driver ? setting_check_cgroup_driver(driver, e)
		      : err_new(e, ERR_UNSUPPORTED, "only native.cgroupdriver is offered: remove it");
}

int setting_check_feature(const char *value, Err *e)
{
	const char *eq = strchr(value, '=');
	bool on = true;

	if (!eq || parse_bool(eq + 1, &on) < 0)
		return err_new(e, ERR_INVALID, "expected NAME=true or NAME=false");
	if (str_starts(value, "cdi="))
		return on ? 0
			  : err_new(e, ERR_UNSUPPORTED,
				    "a container gets CDI devices only when it asks for them: remove it");
	if (!on || str_starts(value, "buildkit="))
		return 0;
	return err_new(e, ERR_UNSUPPORTED, "it is not offered: remove it");
}

/* As in docker's file: {"NAME": {"path": PATH}}. */
int setting_read_runtimes(json_t *v, char ***ret, Err *e)
{
	const char *name, *key;
	json_t *one, *member;

	if (!json_is_object(v))
		return err_new(e, ERR_INVALID, "expected an object");
	json_object_foreach (v, name, one) {
		const char *path = json_get_str(one, "path");

		json_object_foreach (one, key, member)
			if (!streq(key, "path"))
				return err_new(e, ERR_INVALID, "%s: unknown setting \"%.100s\"", name, key);
		if (!path)
			return err_new(e, ERR_INVALID, "%s: expected {\"path\": PROGRAM}", name);
		if (strv_take(ret, strf("%s=%s", name, path)) < 0)
			return err_oom(e);
	}
	return 0;
}

/* {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 4096}} */
int setting_read_ulimits(json_t *v, char ***ret, Err *e)
{
	const char *name;
	json_t *one;

	if (!json_is_object(v))
		return err_new(e, ERR_INVALID, "expected an object");
	json_object_foreach (v, name, one) {
		json_t *soft = json_object_get(one, "Soft"), *hard = json_object_get(one, "Hard");
		const char *given = json_get_str(one, "Name");

		if (!json_is_integer(soft) || !json_is_integer(hard) || (given && !streq(given, name)))
			return err_new(e, ERR_INVALID,
				       "%s: expected {\"Name\": \"%s\", \"Soft\": NUMBER, \"Hard\": NUMBER}",
				       name, name);
		if (strv_take(ret, strf("%s=%lld:%lld", name, (long long)json_integer_value(soft),
					(long long)json_integer_value(hard))) < 0)
			return err_oom(e);
	}
	return 0;
}

/* [{"base": "10.10.0.0/16", "size": 24}] */
int setting_read_pools(json_t *v, char ***ret, Err *e)
{
	json_t *one;
	size_t i;

	if (!json_is_array(v))
		return err_new(e, ERR_INVALID, "expected an array");
	json_array_foreach (v, i, one) {
		const char *base = json_get_str(one, "base");

		if (!base || !json_is_integer(json_object_get(one, "size")))
			return err_new(e, ERR_INVALID, "expected {\"base\": CIDR, \"size\": NUMBER}");
		if (strv_take(ret, strf("base=%s,size=%lld", base, (long long)json_get_int(one, "size", 0))) <
		    0)
			return err_oom(e);
	}
	return 0;
}

int setting_read_features(json_t *v, char ***ret, Err *e)
{
	const char *name;
	json_t *on;

	if (!json_is_object(v))
		return err_new(e, ERR_INVALID, "expected an object");
	json_object_foreach (v, name, on) {
		if (!json_is_boolean(on))
			return err_new(e, ERR_INVALID, "%s: expected true or false", name);
		if (strv_take(ret, strf("%s=%s", name, json_is_true(on) ? "true" : "false")) < 0)
			return err_oom(e);
	}
	return 0;
}
