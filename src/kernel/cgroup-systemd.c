/* SPDX-License-Identifier: Apache-2.0 */
/* Names, places and properties of systemd's units for containers; no I/O. See cgroup-systemd.h. */
#include "kernel/cgroup-systemd.h"

#include "base/str.h"
#include "kernel/cgroup-internal.h"
#include "kernel/device.h"

#include <ctype.h>

#define UNIT_NAME_MAX  255
#define CPUS_MAX       8192
#define DEFAULT_PERIOD 100000 /* us */
#define QUOTA_STEP     10000  /* us in a second: 1%, in which systemd keeps quotas */
#define UNLIMITED      (-1)   /* as an unsigned number: the largest */

void cgroup_unit_done(CgroupUnit *u)
{
	free(u->name);
	free(u->slice);
	*u = (CgroupUnit){0};
}

static bool is_unit_name(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr(":-_.\\@", s[i]))
			return false;
	return n > 0 && n <= UNIT_NAME_MAX;
}

static int bad_slice(const char *slice, Err *e)
{
	return err_new(e, ERR_INVALID, "invalid slice name: %s", slice);
}

int cgroup_slice_expand(const char *slice, char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	size_t n = strlen(slice), stem = n - strlen(".slice");

	if (streq(slice, "-") || streq(slice, "-.slice")) {
		*ret = strdup("");
		return *ret ? 0 : err_oom(e);
	}
	if (n <= strlen(".slice") || !str_ends(slice, ".slice") || !is_unit_name(slice) || slice[0] == '-' ||
	    slice[stem - 1] == '-' || strstr(slice, "--"))
		return bad_slice(slice, e);
	for (size_t i = 1; i <= stem; i++) {
		if (i < stem && slice[i] != '-')
			continue;
		strbuf_add_c(&b, '/');
		strbuf_add_n(&b, slice, i);
		strbuf_add(&b, ".slice");
	}
	*ret = strbuf_steal(&b);
	return *ret ? 0 : err_oom(e);
}

static int fill_unit(const char *slice, const char *prefix, const char *name, bool user, CgroupUnit *u,
		     Err *e)
{
	_cleanup_free_ char *expanded = NULL;

	u->is_slice = str_ends(name, ".slice");
	u->name = u->is_slice ? strdup(name) : strf("%s-%s.scope", prefix, name);
	u->slice = strdup(!str_empty(slice) ? slice : user ? "user.slice" : "system.slice");
	if (!u->name || !u->slice)
		return err_oom(e);
	if (str_empty(name) || !is_unit_name(u->name))
		return err_new(e, ERR_INVALID, "linux.cgroupsPath: \"%s\" is no name of a systemd unit",
			       u->name);
	if (streq(u->slice, "-")) {
		free(u->slice);
		u->slice = strdup("-.slice");
		if (!u->slice)
			return err_oom(e);
	}
	return cgroup_slice_expand(u->is_slice ? u->name : u->slice, &expanded, e);
}

int cgroup_unit_parse(const char *path, const char *id, bool user, CgroupUnit *ret, Err *e)
{
	_cleanup_strv_ char **parts = NULL;
	CgroupUnit u = {0};
	int r;

	if (str_empty(path)) {
		r = fill_unit("", "ireko", id, user, &u, e);
	} else {
		parts = strv_split(path, ':');
		if (!parts)
			return err_oom(e);
		if (strv_len(parts) != 3)
			return err_new(e, ERR_INVALID,
				       "linux.cgroupsPath: expected cgroupsPath to be of format "
				       "\"slice:prefix:name\" for systemd cgroups, got \"%s\" instead",
				       path);
		r = fill_unit(parts[0], parts[1], parts[2], user, &u, e);
	}
	if (r < 0)
		cgroup_unit_done(&u);
	else
		*ret = u;
	return r;
}

int cgroup_unit_path(const CgroupUnit *u, const char *root, char **ret, Err *e)
{
	_cleanup_free_ char *place = NULL;
	int r = cgroup_slice_expand(u->is_slice ? u->name : u->slice, &place, e);

	if (r < 0)
		return r;
	*ret = u->is_slice ? strf("%s%s", root, place) : strf("%s%s/%s", root, place, u->name);
	return *ret ? 0 : err_oom(e);
}

int cgroup_unit_add(json_t *list, const char *name, const char *signature, json_t *value, int since, Err *e)
{
	json_t *p = json_pack("[ssoi]", name, signature, value, since);

	return p && json_array_append_new(list, p) == 0 ? 0 : err_oom(e);
}

static int add_number(json_t *list, const char *name, int64_t value, int since, Err *e)
{
	return cgroup_unit_add(list, name, "t", json_integer(value), since, e);
}

/* A limit whose 0 means "not given", and which has no negative value but -1. */
static int add_limit(json_t *list, const char *name, int64_t value, Err *e)
{
	if (value == CGROUP_UNSET || value == 0)
		return 0;
	return add_number(list, name, value < 0 ? UNLIMITED : value, 0, e);
}

static int add_quota(CgroupLimits *l, json_t *list, Err *e)
{
	bool has_period = l->cpu_period != CGROUP_UNSET && l->cpu_period != 0;
	bool has_quota = l->cpu_quota != CGROUP_UNSET && l->cpu_quota != 0;
	int64_t period = has_period ? l->cpu_period : DEFAULT_PERIOD, per_second = UNLIMITED;
	int r = has_period ? add_number(list, "CPUQuotaPeriodUSec", period, 242, e) : 0;

	if (r < 0 || (!has_quota && !has_period))
		return r;
	if (has_quota && l->cpu_quota > 0) {
		if (period <= 0 || __builtin_mul_overflow(l->cpu_quota, 1000000, &per_second))
			return err_new(e, ERR_INVALID, "cpu.quota: %lld of %lld is out of range",
				       (long long)l->cpu_quota, (long long)period);
		per_second /= period;
		if (per_second % QUOTA_STEP != 0) {
			per_second += QUOTA_STEP - per_second % QUOTA_STEP;
			l->cpu_quota = per_second * period / 1000000;
		}
	}
	return add_number(list, "CPUQuotaPerSecUSec", per_second, 0, e);
}

/* "0-2,5" as bytes, least significant first. */
static int cpu_mask(const char *member, const char *text, json_t **ret, Err *e)
{
	_cleanup_strv_ char **parts = strv_split(text, ',');
	uint8_t bits[CPUS_MAX / 8] = {0};
	size_t used = 0;
	json_t *bytes;

	if (!parts)
		return err_oom(e);
	for (size_t i = 0; parts[i]; i++) {
		unsigned from, to;
		int n = 0, fields = sscanf(parts[i], " %u - %u %n", &from, &to, &n);

		if (fields < 2) {
			n = 0;
			fields = sscanf(parts[i], " %u %n", &from, &n);
			to = from;
		}
		if (parts[i][strspn(parts[i], " ")] == '\0')
			continue;
		if (fields < 1 || n == 0 || parts[i][n] != '\0' || from > to || to >= CPUS_MAX)
			return err_new(e, ERR_INVALID, "%s: \"%s\" is no list of numbers and ranges", member,
				       text);
		for (unsigned k = from; k <= to; k++)
			bits[k / 8] = (uint8_t)(bits[k / 8] | 1u << k % 8);
		used = MAX2(used, (size_t)(to / 8 + 1));
	}
	if (used == 0)
		return err_new(e, ERR_INVALID, "%s: \"%s\" is an empty list", member, text);
	bytes = json_array();
	for (size_t i = 0; bytes && i < used; i++)
		if (json_array_append_new(bytes, json_integer(bits[i])) < 0) {
			json_decref(bytes);
			return err_oom(e);
		}
	*ret = bytes;
	return bytes ? 0 : err_oom(e);
}

static int add_mask(json_t *list, const char *name, const char *member, const char *text, Err *e)
{
	json_t *bytes = NULL;
	int r;

	if (str_empty(text))
		return 0;
	r = cpu_mask(member, text, &bytes, e);
	return r < 0 ? r : cgroup_unit_add(list, name, "ay", bytes, 244, e);
}

static int add_weight(const CgroupLimits *l, json_t *list, Err *e)
{
	/* A weight of 0 is systemd's word for cpu.idle; both together cannot be said. */
	if (l->cpu_idle == 1)
		return add_number(list, "CPUWeight", 0, 252, e);
	if (l->cpu_shares == CGROUP_UNSET || l->cpu_shares == 0)
		return 0;
	return add_number(list, "CPUWeight", cgroup_weight_of_shares(l->cpu_shares), 0, e);
}

static int add_memory_v2(const CgroupLimits *l, json_t *list, Err *e)
{
	int64_t swap;
	int r = cgroup_swap_of(l, &swap, e);

	if (r == 0)
		r = add_limit(list, "MemoryMax", l->memory_limit, e);
	if (r == 0)
		r = add_limit(list, "MemoryLow", l->memory_reservation, e);
	if (r == 0 && swap != CGROUP_UNSET)
		r = add_number(list, "MemorySwapMax", swap, 0, e);
	return r;
}

/* A file of "unified" that is a number or "max". */
static int add_raw_number(json_t *list, const char *name, const char *file, const char *value, Err *e)
{
	uint64_t n = UINT64_MAX;

	if (!streq(value, "max") && str_to_u64(value, &n) < 0)
		return err_new(e, ERR_INVALID, "unified.%s: \"%s\" is no number", file, value);
	return add_number(list, name, (int64_t)n, 0, e);
}

static int add_raw_quota(const char *value, json_t *list, Err *e)
{
	CgroupLimits l = CGROUP_LIMITS_NONE;
	long long quota, period = DEFAULT_PERIOD;
	int n = 0;

	if (sscanf(value, "max %lld %n", &period, &n) == 1 || streq(value, "max"))
		quota = -1;
	else if (sscanf(value, "%lld %lld %n", &quota, &period, &n) < 1)
		return err_new(e, ERR_INVALID, "unified.cpu.max: \"%s\" is no quota", value);
	if (n > 0 && value[n] != '\0')
		return err_new(e, ERR_INVALID, "unified.cpu.max: \"%s\" is no quota", value);
	l.cpu_quota = quota;
	l.cpu_period = period;
	return add_quota(&l, list, e);
}

static int add_raw(const char *file, const char *value, bool is_idle, json_t *list, Err *e)
{
	static const struct {
		const char *file, *property;
	} numbers[] = {
	    {"memory.high", "MemoryHigh"}, {"memory.low", "MemoryLow"},          {"memory.max", "MemoryMax"},
	    {"memory.min", "MemoryMin"},   {"memory.swap.max", "MemorySwapMax"}, {"pids.max", "TasksMax"},
	};

	for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
		if (streq(file, numbers[i].file))
			return add_raw_number(list, numbers[i].property, file, value, e);
	if (streq(file, "cpu.weight") && !is_idle)
		return add_raw_number(list, "CPUWeight", file, value, e);
	if (streq(file, "cpu.idle") && is_idle)
		return add_number(list, "CPUWeight", 0, 252, e);
	if (streq(file, "cpu.max"))
		return add_raw_quota(value, list, e);
	if (streq(file, "cpuset.cpus"))
		return add_mask(list, "AllowedCPUs", "unified.cpuset.cpus", value, e);
	if (streq(file, "cpuset.mems"))
		return add_mask(list, "AllowedMemoryNodes", "unified.cpuset.mems", value, e);
	return 0;
}

static int add_unified(const CgroupLimits *l, json_t *list, Err *e)
{
	const char *idle = strv_env_get(l->unified, "cpu.idle");
	bool is_idle = streq0(idle, "1");

	for (size_t i = 0; l->unified && l->unified[i]; i++) {
		const char *cut = strchr(l->unified[i], '=');
		_cleanup_free_ char *file =
		    cut ? strndup(l->unified[i], (size_t)(cut - l->unified[i])) : NULL;
		_cleanup_free_ char *value = cut ? str_trim_dup(cut + 1) : NULL;
		int r;

		if (!file || !value)
			return err_oom(e);
		r = add_raw(file, value, is_idle, list, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_v2(const CgroupLimits *l, json_t *list, Err *e)
{
	int r = add_memory_v2(l, list, e);

	if (r == 0)
		r = add_weight(l, list, e);
	return r == 0 ? add_unified(l, list, e) : r;
}

static int add_v1(const CgroupLimits *l, json_t *list, Err *e)
{
	int r = add_limit(list, "MemoryLimit", l->memory_limit, e);

	if (r == 0)
		r = add_limit(list, "CPUShares", l->cpu_shares, e);
	return r == 0 ? add_limit(list, "BlockIOWeight", l->blkio_weight, e) : r;
}

int cgroup_unit_limits(CgroupLimits *l, bool unified, json_t *list, Err *e)
{
	int r = add_quota(l, list, e);

	if (r == 0)
		r = unified ? add_v2(l, list, e) : add_v1(l, list, e);
	if (r == 0)
		r = add_limit(list, "TasksMax", l->pids_limit, e);
	if (r == 0)
		r = add_mask(list, "AllowedCPUs", "cpu.cpus", l->cpus, e);
	return r == 0 ? add_mask(list, "AllowedMemoryNodes", "cpu.mems", l->mems, e) : r;
}

/* "/dev/char/1:3", "char-136", "char-*"; nothing is added where systemd has no word for it. */
static int add_device(json_t *allowed, const CgroupDeviceRule *r, const char *kind, Err *e)
{
	char word[64];

	if (r->major < 0 && r->minor >= 0)
		return 0;
	if (r->major < 0)
		snprintf(word, sizeof(word), "%s-*", kind);
	else if (r->minor < 0)
		snprintf(word, sizeof(word), "%s-%lld", kind, (long long)r->major);
	else
		snprintf(word, sizeof(word), "/dev/%s/%lld:%lld", kind, (long long)r->major,
			 (long long)r->minor);
	return json_array_append_new(allowed, json_pack("[ss]", word, r->access)) < 0 ? err_oom(e) : 0;
}

static int set_device_policy(json_t *list, const char *policy, json_t *allowed, Err *e)
{
	/* An empty list first: what is given is added to what is there. */
	int r = cgroup_unit_add(list, "DeviceAllow", "a(ss)", json_array(), 0, e);

	if (r == 0)
		r = cgroup_unit_add(list, "DevicePolicy", "s", json_string(policy), 0, e);
	if (r == 0 && json_array_size(allowed) > 0)
		r = cgroup_unit_add(list, "DeviceAllow", "a(ss)", json_incref(allowed), 0, e);
	return r;
}

/* Rules that allow one thing after another. What denies again what was allowed is left to the cgroup's files, which hold it in any
 * case. */
int cgroup_unit_devices(const CgroupLimits *l, json_t *list, Err *e)
{
	_cleanup_json_ json_t *allowed = json_array();
	bool all = false;
	int rc = 0;

	if (!l->devices)
		return 0;
	for (size_t i = 0; allowed && rc == 0 && i < l->n_devices; i++) {
		const CgroupDeviceRule *r = &l->devices[i];

		if (r->type == 'a' && r->major < 0 && r->minor < 0 && device_access_is_full(r->access)) {
			all = r->allow;
			json_array_clear(allowed);
			continue;
		}
		if (r->allow && r->type != 'b')
			rc = add_device(allowed, r, "char", e);
		if (rc == 0 && r->allow && r->type != 'c')
			rc = add_device(allowed, r, "block", e);
	}
	if (rc < 0)
		return rc;
	if (!allowed)
		return err_oom(e);
	if (all)
		json_array_clear(allowed);
	return set_device_policy(list, all ? "auto" : "strict", allowed, e);
}
