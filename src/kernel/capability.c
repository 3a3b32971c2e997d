/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/capability.h"

#include "base/str.h"

#include <linux/capability.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* By number; linux/capability.h of the build machine may be older than the kernel. */
static const char *const names_by_number[] = {
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
};

int capability_by_name(const char *name)
{
	if (strncasecmp(name, "CAP_", 4) == 0)
		name += 4;
	for (size_t i = 0; i < ELEMENTSOF(names_by_number); i++)
		if (strcasecmp(names_by_number[i], name) == 0)
			return (int)i;
	return -1;
}

/* What our own bounding set has: nothing beyond it can be given away. */
static bool is_available(int cap)
{
	return prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1;
}

int capability_mask(char *const *names, uint64_t *ret, Err *e)
{
	uint64_t mask = 0;

	for (size_t i = 0; names && names[i]; i++) {
		int cap = capability_by_name(names[i]);

		if (cap < 0)
			return err_new(e, ERR_INVALID, "unknown capability %s", names[i]);
		if (is_available(cap))
			mask |= 1ULL << cap;
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

int capability_raise_permitted(Err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {0};

	if (syscall(SYS_capget, &head, d) < 0)
		return err_sys(e, errno, "read capabilities");

	uint64_t permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
	uint64_t inheritable = d[0].inheritable | (uint64_t)d[1].inheritable << 32;

	return set(permitted, permitted, inheritable, e);
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
