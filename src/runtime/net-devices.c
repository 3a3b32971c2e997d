/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.netDevices: interfaces of the host that become the container's.
 *
 * The creator reads them before it clones the child, so that the child, being a copy, knows their addresses; moves them when
 * the child's namespace is there; and the child, which is in it, configures them. When the namespace ends the kernel gives
 * physical interfaces back to the host and destroys virtual ones. If the creation fails after the move the same happens: the
 * child's death ends the namespace.
 */
#include "runtime/runtime-internal.h"

#include "base/str.h"

#include <fcntl.h>

int net_devices_read(const OciSpec *s, Interface **ret, Err *e)
{
	_cleanup_free_ Interface *all = s->n_net_devices ? calloc(s->n_net_devices, sizeof(*all)) : NULL;

	if (s->n_net_devices && !all)
		return err_oom(e);
	for (size_t i = 0; i < s->n_net_devices; i++) {
		int r = interface_read(s->net_devices[i].host_name, &all[i], e);

		if (r < 0)
			return err_ctx(e, r, "linux.netDevices.%s", s->net_devices[i].host_name);
	}
	*ret = take_ptr(all);
	return 0;
}

int net_devices_move(const OciSpec *s, const Interface *all, pid_t pid, Err *e)
{
	_cleanup_close_ int netns = -1;
	char path[48];

	if (s->n_net_devices == 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	netns = open(path, O_RDONLY | O_CLOEXEC);
	if (netns < 0)
		return err_sys(e, errno, "open the container's network namespace");
	for (size_t i = 0; i < s->n_net_devices; i++) {
		int r = interface_move(&all[i], netns, s->net_devices[i].name, e);

		if (r < 0)
			return err_ctx(e, r, "linux.netDevices.%s", s->net_devices[i].host_name);
	}
	return 0;
}

int net_devices_restore(const OciSpec *s, const Interface *all, Err *e)
{
	for (size_t i = 0; i < s->n_net_devices; i++) {
		int r = interface_restore(&all[i], s->net_devices[i].name, e);

		if (r < 0)
			return err_ctx(e, r, "linux.netDevices.%s", s->net_devices[i].host_name);
	}
	return 0;
}
