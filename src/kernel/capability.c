/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/capability.h"

#include "base/str.h"

#include <linux/capability.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* By number; linux/capability.h of the build machine may be older than the kernel. */
static const char *const names_by_number[] = {
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

const char *capability_name(int cap)
{
	return cap >= 0 && cap < (int)ELEMENTSOF(names_by_number) ? names_by_number[cap] : NULL;
}

int capability_by_name(const char *name)
{
	if (strncasecmp(name, "CAP_", 4) == 0)
		name += 4;
	for (size_t i = 0; i < ELEMENTSOF(names_by_number); i++)
		if (strcasecmp(names_by_number[i] + 4, name) == 0)
			return (int)i;
	return -1;
}

uint64_t capability_available(uint64_t mask)
{
	uint64_t has = 0;

	for (int cap = 0; cap < 64; cap++)
		if ((mask & (1ULL << cap)) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			has |= 1ULL << cap;
	return has;
}

int capability_mask(char *const *names, uint64_t *ret, char ***unknown)
{
	uint64_t mask = 0;

	for (size_t i = 0; names && names[i]; i++) {
		int cap = capability_by_name(names[i]);

		if (cap >= 0)
			mask |= 1ULL << cap;
		else if (!strv_has(*unknown, names[i]) && strv_add(unknown, names[i]) < 0)
			return -ENOMEM;
	}
	*ret = mask;
	return 0;
}

int capability_bound(uint64_t mask, Err *e)
{
	for (int cap = 0; cap < 64; cap++) {
		if (mask & (1ULL << cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
			if (errno == EINVAL)
				break; /* past the last one of this kernel */
			return err_sys(e, errno, "drop capability %d from the bounding set", cap);
		}
	}
	return 0;
}

int capability_keep_over_setuid(Err *e)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(e, errno, "keep capabilities");
	return 0;
}

static int set(uint64_t effective, uint64_t permitted, uint64_t inheritable, Err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
	    {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
	    {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
	};

	if (syscall(SYS_capset, &head, data) < 0)
		return err_sys(e, errno, "set capabilities");
	return 0;
}

int capability_set_effective(uint64_t mask, Err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {0};

	if (syscall(SYS_capget, &head, d) < 0)
		return err_sys(e, errno, "read capabilities");

	uint64_t permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
	uint64_t inheritable = d[0].inheritable | (uint64_t)d[1].inheritable << 32;

	return set(permitted & mask, permitted, inheritable, e);
}

int capability_raise_permitted(Err *e)
{
	return capability_set_effective(UINT64_MAX, e);
}

int capability_apply(const CapabilitySets *s, Err *e)
{
	int r = set(s->effective & s->permitted, s->permitted, s->inheritable, e);

	if (r < 0)
		return r;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_sys(e, errno, "clear the ambient capabilities");
	for (int cap = 0; cap < 64; cap++) {
		/* Only what is permitted and inheritable can be ambient. */
		if (!(s->ambient & s->permitted & s->inheritable & (1ULL << cap)))
			continue;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return err_sys(e, errno, "raise ambient capability %d", cap);
	}
	return 0;
}
