/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this runtime supports, as the runtime-spec's "features" document (features.md): read from the tables that do the
 * work, so that it cannot say anything else than what is true. It is about this program, not about the machine (the spec
 * wants it so), but for seccomp's flags, which the kernel is asked for.
 */
#include "runtime/runtime-internal.h"

#include "base/str.h"
#include "kernel/namespace.h"

#include <ctype.h>

typedef const char *(*NameAt)(size_t i);

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, as readers and comparisons like it. */
static json_t *names(NameAt at)
{
	_cleanup_strv_ char **v = NULL;

	for (size_t i = 0; at(i); i++)
		if (strv_add(&v, at(i)) < 0)
			return NULL;
	if (v)
		qsort(v, strv_len(v), sizeof(*v), by_name);
	return json_from_strv(v);
}

static const char *capability_at(size_t i)
{
	return capability_name((int)i);
}

static const char *action_at(size_t i)
{
	return seccomp_name(SECCOMP_ACTIONS, i);
}

static const char *operator_at(size_t i)
{
	return seccomp_name(SECCOMP_OPERATORS, i);
}

static const char *architecture_at(size_t i)
{
	return seccomp_name(SECCOMP_ARCHITECTURES, i);
}

static const char *flag_at(size_t i)
{
	return seccomp_name(SECCOMP_FLAGS, i);
}

static json_t *supported_flags(void)
{
	_cleanup_json_ json_t *all = names(flag_at), *works = json_array();
	json_t *name;
	size_t i;

	json_array_foreach (all, i, name)
		if (seccomp_flag_works(json_string_value(name)) && json_array_append(works, name) < 0)
			return NULL;
	return take_ptr(works);
}

static json_t *seccomp_features(void)
{
	return json_pack("{s:b, s:o, s:o, s:o, s:o, s:o}", "enabled", 1, "actions", names(action_at),
			 "operators", names(operator_at), "archs", names(architecture_at), "knownFlags",
			 names(flag_at), "supportedFlags", supported_flags());
}

static json_t *memory_policy_features(void)
{
	return json_pack("{s:o, s:o}", "modes", names(scheduling_memory_mode_name), "flags",
			 names(scheduling_memory_flag_name));
}

static json_t *linux_features(void)
{
	return json_pack("{s:o, s:o, s:{s:b, s:b, s:b, s:b, s:b}, s:o, s:{s:b}, s:{s:b}, s:{s:b, s:b, s:b}, "
			 "s:{s:{s:b}}, s:{s:b}, s:o}",
			 "namespaces", names(namespace_name), "capabilities", names(capability_at), /**/
			 "cgroup", "v1", 1, "v2", 1, "systemd", LIMITS_SYSTEMD, "systemdUser", LIMITS_SYSTEMD,
			 "rdma", 1, /**/
			 "seccomp", seccomp_features(), "apparmor", "enabled", 1, "selinux", "enabled",
			 1,                                                                    /**/
			 "intelRdt", "enabled", 1, "schemata", 1, "monitoring", 1,             /**/
			 "mountExtensions", "idmap", "enabled", 1, "netDevices", "enabled", 1, /**/
			 "memoryPolicy", memory_policy_features());
}

/* What may make a hook or the runtime do something as root: engines that pass users' annotations on filter these. */
static json_t *unsafe_annotations(void)
{
	return json_pack("[s, s]", "org.systemd.property.", "org.criu.config");
}

int runtime_features(json_t **ret, Err *e)
{
	_cleanup_free_ char *library = seccomp_library_version();
	json_t *j;

	if (!library)
		return err_oom(e);
	j = json_pack("{s:s, s:s, s:o, s:o, s:o, s:{s:s, s:s, s:s}, s:o}", "ociVersionMin", OCI_VERSION_MIN,
		      "ociVersionMax", OCI_VERSION, "hooks", names(hooks_kind), "mountOptions",
		      names(mount_option_name), "linux", linux_features(), "annotations",
		      "io.github.seccomp.libseccomp.version", library, "org.ireko.version", IREKO_VERSION,
		      "org.opencontainers.runc.checkpoint.enabled", "true",
		      "potentiallyUnsafeConfigAnnotations", unsafe_annotations());
	if (!j)
		return err_oom(e);
	*ret = j;
	return 0;
}
