/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which capabilities a container has: Docker's defaults, what --cap-add and --cap-drop make of them, never more than the engine's own.
 */
#include "engine/engine-internal.h"

#include <ctype.h>
#include <strings.h>

static const char *const default_capabilities[] = {
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",      "CAP_MKNOD",
    "CAP_NET_RAW", "CAP_SETGID",       "CAP_SETUID",           "CAP_SETFCAP",     "CAP_SETPCAP",
    "CAP_KILL",    "CAP_SYS_CHROOT",   "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE",
};

/* In the kernel's order, capability.h. */
static const char *const all_capabilities[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
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
	for (size_t i = 0; i < ELEMENTSOF(all_capabilities); i++)
		if (streq(all_capabilities[i], name))
			return mask >> i & 1;
	return false;
}

/* "net_admin", "CAP_NET_ADMIN" -> a name out of the table, or NULL. */
static const char *capability_name(const char *s)
{
	if (strncasecmp(s, "CAP_", 4) == 0)
		s += 4;
	for (size_t i = 0; i < ELEMENTSOF(all_capabilities); i++)
		if (strcasecmp(all_capabilities[i] + 4, s) == 0)
			return all_capabilities[i];
	return NULL;
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
		if (strcasecmp(v[i], "ALL") != 0 && !capability_name(v[i]))
			return unknown_capability(v[i], what, e);
	return 0;
}

static bool listed(char *const *v, const char *cap)
{
	for (size_t i = 0; v && v[i]; i++)
		if (strcasecmp(v[i], "ALL") == 0 || streq0(capability_name(v[i]), cap))
			return true;
	return false;
}

static bool listed_by_name(char *const *v, const char *cap)
{
	for (size_t i = 0; v && v[i]; i++)
		if (streq0(capability_name(v[i]), cap))
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
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(all_capabilities); i++) {
		const char *cap = all_capabilities[i];
		bool drop_all = strv_has(h->cap_drop, "ALL") || strv_has(h->cap_drop, "all");
		bool want = privileged || listed(h->cap_add, cap) || (!drop_all && is_default(cap));

		if (!privileged && listed_by_name(h->cap_drop, cap) && !listed_by_name(h->cap_add, cap))
			want = false;
		if (want && capability_held(cap) && strv_add(ret, cap) < 0)
			return err_oom(e);
	}
	return r;
}
