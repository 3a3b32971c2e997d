/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which capabilities a container has: Docker's defaults, what --cap-add and --cap-drop make of them, never more than the engine's own.
 */
#include "engine/engine-internal.h"
#include "kernel/capability.h"

#include <ctype.h>
#include <strings.h>

static const char *const default_capabilities[] = {
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",      "CAP_MKNOD",
    "CAP_NET_RAW", "CAP_SETGID",       "CAP_SETUID",           "CAP_SETFCAP",     "CAP_SETPCAP",
    "CAP_KILL",    "CAP_SYS_CHROOT",   "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE",
};

/* Bits of our own bounding set: what we lack ourselves cannot be given (a machine without CAP_SYS_RESOURCE). */
static bool capability_held(const char *name)
{
	static uint64_t held;
	uint64_t mask = __atomic_load_n(&held, __ATOMIC_RELAXED);

	if (mask == 0) {
		_cleanup_free_ char *status = NULL;
		const char *line;

		mask = ~0ull;
		if (file_read_at(AT_FDCWD, "/proc/self/status", 65536, &status, NULL) >= 0 &&
		    (line = strstr(status, "\nCapBnd:")))
			mask = strtoull(line + 8, NULL, 16);
		__atomic_store_n(&held, mask, __ATOMIC_RELAXED);
	}
	int cap = capability_by_name(name);
	return cap >= 0 && mask >> cap & 1;
}

/* "net_admin", "CAP_NET_ADMIN" -> the kernel's name, or NULL. */
static const char *full_name(const char *s)
{
	return capability_name(capability_by_name(s));
}

/* Dockerd says it as it would have been called. */
static int unknown_capability(const char *s, const char *what, Err *e)
{
	_cleanup_free_ char *name = strf("%s%s", strncasecmp(s, "CAP_", 4) == 0 ? "" : "CAP_", s);

	for (char *p = name; p && *p; p++)
		*p = (char)toupper((unsigned char)*p);
	return err_new(e, ERR_INVALID, "invalid %s: unknown capability: \"%s\"", what, name ? name : s);
}

int capabilities_check(char *const *v, const char *what, Err *e)
{
	for (size_t i = 0; v && v[i]; i++)
		if (strcasecmp(v[i], "ALL") != 0 && !full_name(v[i]))
			return unknown_capability(v[i], what, e);
	return 0;
}

static bool listed(char *const *v, const char *cap)
{
	for (size_t i = 0; v && v[i]; i++)
		if (strcasecmp(v[i], "ALL") == 0 || streq0(full_name(v[i]), cap))
			return true;
	return false;
}

int capabilities_add(char *const *v, char ***to, Err *e)
{
	for (int i = 0; v && capability_name(i); i++) {
		const char *cap = capability_name(i);

		if (listed(v, cap) && capability_held(cap) && !strv_has(*to, cap) && strv_add(to, cap) < 0)
			return err_oom(e);
	}
	return 0;
}

static bool listed_by_name(char *const *v, const char *cap)
{
	for (size_t i = 0; v && v[i]; i++)
		if (streq0(full_name(v[i]), cap))
			return true;
	return false;
}

static bool is_default(const char *cap)
{
	for (size_t i = 0; i < ELEMENTSOF(default_capabilities); i++)
		if (streq(default_capabilities[i], cap))
			return true;
	return false;
}

/* Docker's rule: added by name beats dropped; dropped (by name or ALL) beats the defaults and added ALL only by name. */
int capabilities_of(const ContainerHost *h, bool privileged, char ***ret, Err *e)
{
	int r = capabilities_check(h->cap_add, "CapAdd", e);

	if (r >= 0)
		r = capabilities_check(h->cap_drop, "CapDrop", e);
	for (int i = 0; r >= 0 && capability_name(i); i++) {
		const char *cap = capability_name(i);
		bool drop_all = strv_has(h->cap_drop, "ALL") || strv_has(h->cap_drop, "all");
		bool want = privileged || listed(h->cap_add, cap) || (!drop_all && is_default(cap));

		if (!privileged && listed_by_name(h->cap_drop, cap) && !listed_by_name(h->cap_add, cap))
			want = false;
		if (want && capability_held(cap) && strv_add(ret, cap) < 0)
			return err_oom(e);
	}
	return r;
}
