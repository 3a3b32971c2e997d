/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A seccomp profile in Docker's form, as --security-opt seccomp=FILE brings it, in the form of the runtime-spec.
 *
 * Docker's has what the runtime-spec leaves out: rules that hold for some machines, kernels or capabilities only ("includes", "excludes").
 * To pass these on without looking would allow everybody what is meant for CAP_SYS_ADMIN. All else is checked by whoever compiles the filter.
 */
#include "engine/seccomp-docker.h"

#include "base/str.h"

#include <sys/utsname.h>

#define PROFILE_MAX (4 << 20) /* bytes */
#define RULES_MAX   8192

#if defined(__x86_64__)
#define GO_ARCH "amd64"
#define ARCH    "SCMP_ARCH_X86_64"
#elif defined(__aarch64__)
#define GO_ARCH "arm64"
#define ARCH    "SCMP_ARCH_AARCH64"
#else
#error "which architecture is this to seccomp?"
#endif

static int decoding_failed(Err *e, const char *why)
{
	return err_new(e, ERR_INVALID, "Decoding seccomp profile failed: %s", why);
}

/* "4.8" or "4.8.0"; -EINVAL. */
static int kernel_number(const char *s, int *ret)
{
	int major, minor;

	if (sscanf(s, "%3d.%5d", &major, &minor) != 2 || major < 0 || minor < 0)
		return -EINVAL;
	*ret = major * 100000 + minor;
	return 0;
}

static int running_kernel(void)
{
	struct utsname u;
	int n;

	return uname(&u) == 0 && kernel_number(u.release, &n) == 0 ? n : 0;
}

/* How many of the array's strings the vector has. */
static size_t count_held(const json_t *array, char *const *v)
{
	size_t i, n = 0;
	json_t *one;

	json_array_foreach (array, i, one)
		n += json_is_string(one) && strv_has(v, json_string_value(one));
	return n;
}

static bool lists(const json_t *array, const char *text)
{
	char *const v[] = {(char *)(uintptr_t)text, NULL};

	return count_held(array, v) > 0;
}

/* 1 if what is required of this machine and container (includes) is there, or something of what must not be (excludes). */
static int filter_holds(const json_t *filter, bool all, char *const *capabilities, bool *ret, Err *e)
{
	const json_t *caps = json_object_get(filter, "caps"), *arches = json_object_get(filter, "arches");
	const char *kernel = json_get_str(filter, "minKernel");
	size_t held = count_held(caps, capabilities);
	int min = 0;

	if (!str_empty(kernel) && kernel_number(kernel, &min) < 0)
		return decoding_failed(e, "minKernel: expected MAJOR.MINOR");
	bool arch = lists(arches, GO_ARCH), new_enough = running_kernel() >= min;
	if (all)
		*ret = (json_array_size(arches) == 0 || arch) && held == json_array_size(caps) &&
		       (str_empty(kernel) || new_enough);
	else
		*ret = arch || held > 0 || (!str_empty(kernel) && new_enough);
	return 0;
}

static int rule_add(const json_t *rule, char *const *capabilities, json_t *rules, Err *e)
{
	static const char *const kept[] = {"action", "errnoRet", "args"};
	const char *name = json_get_str(rule, "name");
	const json_t *names = json_object_get(rule, "names");
	bool included, excluded;
	int r;

	if (!json_is_object(rule))
		return decoding_failed(e, "syscalls: expected objects");
	if (!str_empty(name) && json_array_size(names) > 0)
		return err_new(e, ERR_INVALID,
			       "both 'name' and 'names' are specified in the seccomp profile, use either "
			       "'name' or 'names'");
	r = filter_holds(json_object_get(rule, "includes"), true, capabilities, &included, e);
	if (r >= 0)
		r = filter_holds(json_object_get(rule, "excludes"), false, capabilities, &excluded, e);
	if (r < 0 || !included || excluded)
		return r;
	json_t *o =
	    str_empty(name) ? json_pack("{s:O*}", "names", names) : json_pack("{s:[s]}", "names", name);
	for (size_t i = 0; o && i < ELEMENTSOF(kept); i++) {
		json_t *v = json_object_get(rule, kept[i]);

		if (v && !json_is_null(v))
			json_object_set(o, kept[i], v);
	}
	return o && json_array_append_new(rules, o) == 0 ? 0 : err_oom(e);
}

/* The machine's own architecture and those that go with it. */
static json_t *architectures_of(const json_t *map)
{
	json_t *a = json_array(), *one, *sub;
	size_t i, k;

	json_array_foreach (map, i, one) {
		if (!streq0(json_get_str(one, "architecture"), ARCH))
			continue;
		json_array_append_new(a, json_string(ARCH));
		json_array_foreach (json_object_get(one, "subArchitectures"), k, sub)
			json_array_append(a, sub);
	}
	return a;
}

static int convert(const json_t *profile, char *const *capabilities, json_t *out, Err *e)
{
	static const char *const kept[] = {"defaultAction", "defaultErrnoRet", "flags", "listenerPath",
					   "listenerMetadata"};
	json_t *own = json_object_get(profile, "architectures"), *map = json_object_get(profile, "archMap");
	json_t *rules = json_array(), *rule;
	size_t i;
	int r = 0;

	json_object_set_new(out, "syscalls", rules);
	if (json_array_size(own) > 0 && json_array_size(map) > 0)
		return err_new(e, ERR_INVALID,
			       "both 'architectures' and 'archMap' are specified in the seccomp profile, use "
			       "either 'architectures' or 'archMap'");
	for (i = 0; i < ELEMENTSOF(kept); i++) {
		json_t *v = json_object_get(profile, kept[i]);

		if (v && !json_is_null(v))
			json_object_set(out, kept[i], v);
	}
	if (json_array_size(map) > 0)
		json_object_set_new(out, "architectures", architectures_of(map));
	else if (json_array_size(own) > 0)
		json_object_set(out, "architectures", own);
	if (json_array_size(json_object_get(profile, "syscalls")) > RULES_MAX)
		return decoding_failed(e, "too many rules");
	json_array_foreach (json_object_get(profile, "syscalls"), i, rule)
		if (r >= 0)
			r = rule_add(rule, capabilities, rules, e);
	return r;
}

int seccomp_docker_profile(const char *text, char *const *capabilities, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *profile = NULL, *out = json_object();
	size_t len = strlen(text);
	Err why = {0};
	int r;

	if (len > PROFILE_MAX)
		return decoding_failed(e, "it is longer than 4 MiB");
	r = oci_json_parse(text, len, "profile", &profile, &why);
	if (r < 0)
		return decoding_failed(e, err_msg(&why, r));
	if (!json_is_object(profile))
		return decoding_failed(e, "expected an object");
	if (!out)
		return err_oom(e);
	r = convert(profile, capabilities, out, e);
	if (r >= 0)
		*ret = take_ptr(out);
	return r;
}
