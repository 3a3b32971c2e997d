/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Being told that memory ran out in a cgroup: on v1 by an eventfd (memory.oom_control, cgroup.event_control), on v2 by
 * memory.events itself. Either way a descriptor to poll; what it says is a reason to look at cgroup_oom_kills(), which v1 counts a moment
 * later.
 */
#include "kernel/cgroup-internal.h"

#include "base/str.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

static int watch_v1(const char *dir, int *ret_fd, Err *e)
{
	_cleanup_free_ char *control = strf("%s/memory.oom_control", dir);
	_cleanup_close_ int fd = -1, event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	char line[32];
	int r;

	if (!control)
		return err_oom(e);
	if (event < 0)
		return err_sys(e, errno, "eventfd");
	fd = open(control, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s", control);
	snprintf(line, sizeof(line), "%d %d", event, fd);
	r = cgroup_write(dir, "cgroup.event_control", line, e);
	if (r < 0)
		return r;
	*ret_fd = take_fd(&event);
	return 0;
}

/* A change of the file wakes who polls it for exceptions, until it is read again: one descriptor, where inotify would take one of the
 * few instances that a user may have. */
static int watch_v2(const char *dir, int *ret_fd, Err *e)
{
	_cleanup_free_ char *events = strf("%s/memory.events", dir);
	_cleanup_close_ int fd = events ? open(events, O_RDONLY | O_CLOEXEC) : -1;

	if (!events)
		return err_oom(e);
	if (fd < 0)
		return err_sys(e, errno, "open %s", events);
	cgroup_oom_drain(fd);
	*ret_fd = take_fd(&fd);
	return 0;
}

void cgroup_oom_drain(int fd)
{
	char buf[512];

	(void)lseek(fd, 0, SEEK_SET); /* an eventfd has no position */
	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

int cgroup_watch_oom(const Cgroup *c, int *ret_fd, short *ret_events, Err *e)
{
	const char *dir = cgroup_dir(c, "memory");

	if (!dir)
		return err_new(e, ERR_UNSUPPORTED, "this machine has no memory cgroup controller");
	*ret_events = cgroup_is_unified(c) ? POLLPRI : POLLIN;
	return cgroup_is_unified(c) ? watch_v2(dir, ret_fd, e) : watch_v1(dir, ret_fd, e);
}
