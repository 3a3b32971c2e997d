/* SPDX-License-Identifier: Apache-2.0 */
/* Networks, limits, devices and security on the command line; see spec.h. */
#include "spec.h"
#include "base/fd.h"
#include "base/str.h"
#include "text.h"

#include <fcntl.h>

#define PROFILE_MAX (4u << 20)

int spec_map(char *const *assignments, json_t **ret, Err *e)
{
	*ret = json_map_from_strv(assignments);
	return *ret ? 0 : err_new(e, ERR_INVALID, "a KEY=VALUE pair is no UTF-8");
}

/* ---- --network */

static int append(json_t *obj, const char *name, const char *value)
{
	json_t *list = json_object_get(obj, name);

	if (!list && json_object_set_new(obj, name, list = json_array()) < 0)
		return -ENOMEM;
	return json_array_append_new(list, json_string(value));
}

static int set_member(json_t *obj, const char *section, const char *name, const char *value)
{
	json_t *at = json_object_get(obj, section);

	if (!at && json_object_set_new(obj, section, at = json_object()) < 0)
		return -ENOMEM;
	return json_object_set_new(at, name, json_string(value));
}

static int set_network_field(json_t *endpoint, const char *key, const char *value, Err *e)
{
	int64_t priority;
	int r;

	if (streq(key, "alias"))
		r = append(endpoint, "Aliases", value);
	else if (streq(key, "ip"))
		r = set_member(endpoint, "IPAMConfig", "IPv4Address", value);
	else if (streq(key, "ip6"))
		r = set_member(endpoint, "IPAMConfig", "IPv6Address", value);
	else if (streq(key, "link-local-ip"))
		r = set_member(endpoint, "IPAMConfig", "LinkLocalIPs", value);
	else if (streq(key, "mac-address"))
		r = json_object_set_new(endpoint, "MacAddress", json_string(value));
	else if (streq(key, "driver-opt"))
		r = strchr(value, '=') ? 0 : -EINVAL;
	else if (streq(key, "gw-priority") && str_to_i64(value, &priority) == 0)
		r = json_object_set_new(endpoint, "GwPriority", json_integer(priority));
	else
		return err_new(e, ERR_INVALID, "invalid field %s in --network", key);
	if (r == 0 && streq(key, "driver-opt")) {
		_cleanup_free_ char *name = strndup(value, strcspn(value, "="));

		r = name ? set_member(endpoint, "DriverOpts", name, strchr(value, '=') + 1) : -ENOMEM;
	}
	return r < 0 ? err_new(e, ERR_INVALID, "invalid value for %s in --network: %s", key, value) : 0;
}

/* The last step for link-local addresses: the API wants a list. */
static int listify_link_local(json_t *endpoint)
{
	json_t *ipam = json_object_get(endpoint, "IPAMConfig"), *one = json_object_get(ipam, "LinkLocalIPs");

	return one ? json_object_set_new(ipam, "LinkLocalIPs", json_pack("[O]", one)) : 0;
}

int spec_parse_network(const char *s, char **ret_name, json_t **ret_endpoint, Err *e)
{
	_cleanup_strv_ char **fields = NULL;
	_cleanup_json_ json_t *endpoint = json_object();
	_cleanup_free_ char *name = NULL;
	int r = endpoint ? 0 : err_oom(e);

	if (r == 0 && strv_split_csv(s, &fields) < 0)
		return err_new(e, ERR_INVALID, "invalid --network \"%s\": quotes are not closed", s);
	if (r == 0 && !fields[1] && !strchr(fields[0], '='))
		name = strdup(s);
	for (size_t i = 0; r == 0 && !name && fields[i]; i++) {
		char *eq = strchr(fields[i], '=');

		if (!eq)
			return err_new(e, ERR_INVALID, "invalid field %s in --network: expected KEY=VALUE",
				       fields[i]);
		*eq = '\0';
		if (!streq(fields[i], "name")) {
			r = set_network_field(endpoint, fields[i], eq + 1, e);
			continue;
		}
		json_t *n = json_string(eq + 1);
		if (json_object_set_new(endpoint, "name", n) < 0)
			return err_new(e, ERR_INVALID, "invalid name in --network: %s", eq + 1);
	}
	if (r < 0)
		return r;
	if (!name && json_get_str(endpoint, "name")) {
		name = strdup(json_get_str(endpoint, "name"));
		json_object_del(endpoint, "name");
	}
	if (str_empty(name))
		return err_new(e, ERR_INVALID, "invalid --network \"%s\": it has no name", s);
	if (listify_link_local(endpoint) < 0)
		return err_oom(e);
	*ret_name = take_ptr(name);
	*ret_endpoint = take_ptr(endpoint);
	return 0;
}

/* ---- limits and devices */

int spec_add_ulimit(const char *s, json_t *ulimits, Err *e)
{
	const char *eq = strchr(s, '=');
	_cleanup_free_ char *name = eq ? strndup(s, (size_t)(eq - s)) : NULL, *soft_text = NULL;
	int64_t soft, hard;

	if (!eq || !name || !*name)
		return err_new(e, ERR_INVALID,
			       "invalid argument \"%s\" for \"--ulimit\" flag: invalid ulimit argument: %s",
			       s, s);
	const char *colon = strchr(eq + 1, ':');
	soft_text = strndup(eq + 1, strcspn(eq + 1, ":"));
	if (!soft_text)
		return err_oom(e);
	if (str_to_i64(soft_text, &soft) < 0 || soft < -1 ||
	    (colon && (str_to_i64(colon + 1, &hard) < 0 || hard < -1)))
		return err_new(e, ERR_INVALID,
			       "invalid argument \"%s\" for \"--ulimit\" flag: expected NAME=SOFT[:HARD]", s);
	if (!colon)
		hard = soft;
	if (hard != -1 && (soft == -1 || soft > hard))
		return err_new(
		    e, ERR_INVALID,
		    "invalid argument \"%s\" for \"--ulimit\" flag: ulimit soft limit must be less than or "
		    "equal to hard limit: %lld > %lld",
		    s, (long long)soft, (long long)hard);
	json_t *u =
	    json_pack("{s:s, s:I, s:I}", "Name", name, "Soft", (json_int_t)soft, "Hard", (json_int_t)hard);
	return json_array_append_new(ulimits, u) < 0 ? err_oom(e) : 0;
}

static bool is_permissions(const char *s)
{
	return *s && strspn(s, "rwm") == strlen(s) && strlen(s) <= 3;
}

int spec_add_device(const char *s, json_t *devices, json_t *requests, Err *e)
{
	_cleanup_strv_ char **parts = strv_split(s, ':');
	size_t n = strv_len(parts);
	const char *target, *permissions = "rwm";
	json_t *j;

	if (!parts)
		return err_oom(e);
	if (s[0] != '/' && strchr(s, '/') && strchr(s, '=')) {
		j = json_pack("{s:s, s:[s]}", "Driver", "cdi", "DeviceIDs", s);
		return json_array_append_new(requests, j) < 0 ? err_oom(e) : 0;
	}
	if (n > 3 || !*parts[0])
		return err_new(e, ERR_INVALID, "invalid device specification: %s", s);
	target = parts[0];
	if (n == 3) {
		target = parts[1];
		permissions = parts[2];
	} else if (n == 2 && is_permissions(parts[1])) {
		permissions = parts[1];
	} else if (n == 2) {
		target = parts[1];
	}
	if (!is_permissions(permissions))
		return err_new(e, ERR_INVALID, "invalid device mode: %s", permissions);
	if (target[0] != '/')
		return err_new(e, ERR_INVALID, "%s is not an absolute path", target);
	j = json_pack("{s:s, s:s, s:s}", "PathOnHost", parts[0], "PathInContainer", target,
		      "CgroupPermissions", permissions);
	return json_array_append_new(devices, j) < 0 ? err_oom(e) : 0;
}

static int set_gpu_field(json_t *rq, char *field, json_t *capabilities, Err *e)
{
	char *eq = strchr(field, '=');
	const char *value = eq ? eq + 1 : field, *key = eq ? field : "count";
	int64_t count;

	if (eq)
		*eq = '\0';
	if (streq(key, "count")) {
		count = -1;
		if (!streq(value, "all") && (str_to_i64(value, &count) < 0 || count < 1))
			return err_new(e, ERR_INVALID, "invalid count (%s): expected \"all\" or a number",
				       value);
		return json_object_set_new(rq, "Count", json_integer(count)) < 0 ? err_oom(e) : 0;
	}
	_cleanup_strv_ char **v = strv_split(value, ',');
	int r = v ? 0 : -ENOMEM;
	if (streq(key, "driver"))
		r = json_object_set_new(rq, "Driver", json_string(value));
	else if (streq(key, "device"))
		r = json_object_set_new(rq, "DeviceIDs", json_from_strv(v));
	else if (streq(key, "capabilities"))
		for (size_t i = 0; r == 0 && v[i]; i++)
			r = json_array_append_new(capabilities, json_string(v[i]));
	else
		return err_new(
		    e, ERR_INVALID,
		    "invalid argument \"%s=%s\" for \"--gpus\" flag: unexpected key '%s' in '%s=%s'", key,
		    value, key, key, value);
	return r < 0 ? err_oom(e) : 0;
}

int spec_add_gpus(const char *s, json_t *requests, Err *e)
{
	_cleanup_strv_ char **fields = NULL;
	_cleanup_json_ json_t *rq = json_object(), *capabilities = json_pack("[s]", "gpu");
	int r = rq && capabilities ? 0 : err_oom(e);

	if (r == 0 && strv_split_csv(s, &fields) < 0)
		return err_new(e, ERR_INVALID, "invalid --gpus \"%s\": quotes are not closed", s);
	for (size_t i = 0; r == 0 && fields[i]; i++)
		r = set_gpu_field(rq, fields[i], capabilities, e);
	if (r == 0 && !json_object_get(rq, "Count") && !json_object_get(rq, "DeviceIDs") &&
	    json_object_set_new(rq, "Count", json_integer(1)) < 0)
		r = err_oom(e);
	if (r == 0 && (json_object_set_new(rq, "Capabilities", json_pack("[O]", capabilities)) < 0 ||
		       json_array_append(requests, rq) < 0))
		r = err_oom(e);
	return r;
}

int spec_add_throttle(const char *s, bool bytes, json_t *list, Err *e)
{
	const char *colon = strrchr(s, ':');
	_cleanup_free_ char *path = colon ? strndup(s, (size_t)(colon - s)) : NULL;
	int64_t rate;

	if (!path || *path != '/')
		return err_new(e, ERR_INVALID, "bad format: %s: expected DEVICE:VALUE", s);
	if ((bytes ? str_to_bytes(colon + 1, &rate) : str_to_i64(colon + 1, &rate)) < 0 || rate < 0)
		return err_new(e, ERR_INVALID, "invalid rate for device: %s", s);
	json_t *j = json_pack("{s:s, s:I}", "Path", path, "Rate", (json_int_t)rate);
	return json_array_append_new(list, j) < 0 ? err_oom(e) : 0;
}

/* ---- --security-opt */

static int inline_profile(const char *file, json_t *opts, Err *e)
{
	_cleanup_json_ json_t *profile = NULL;
	int r = json_load_at(AT_FDCWD, file, PROFILE_MAX, &profile, e);

	if (r < 0)
		return err_ctx(e, r, "opening seccomp profile (%s) failed", file);
	_cleanup_free_ char *text = json_text(profile);
	_cleanup_free_ char *opt = text ? strf("seccomp=%s", text) : NULL;
	return !opt || json_array_append_new(opts, json_string(opt)) < 0 ? err_oom(e) : 0;
}

int spec_add_security_opt(const char *s, json_t *opts, bool *ret_unconfined, Err *e)
{
	const char *profile = str_after(s, "seccomp=");

	if (!profile)
		profile = str_after(s, "seccomp:");
	if (profile && !streq(profile, "unconfined") && !streq(profile, "builtin"))
		return inline_profile(profile, opts, e);
	if (streq(s, "systempaths=unconfined")) {
		*ret_unconfined = true;
		return 0;
	}
	if (!strchr(s, '=') && !strchr(s, ':') && !streq(s, "no-new-privileges"))
		return err_new(e, ERR_INVALID, "Invalid --security-opt: \"%s\"", s);
	return json_array_append_new(opts, json_string(s)) < 0 ? err_oom(e) : 0;
}
