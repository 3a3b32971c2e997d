/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cgroups whose container makes sub-cgroups of its own (an init system, or containers in it), on v2.
 *
 * A cgroup that gives a controller on to its children takes no process itself. Once the container's first process has moved
 * into a sub-cgroup and done that, whoever joins has to go where that process is: what /proc says of it is believed only as far
 * as it leads below the container's own cgroup.
 */
#include "kernel/cgroup-internal.h"

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

#include <fcntl.h>
#include <unistd.h>

#define GIVEN_FILE "/sys/kernel/cgroup/delegate"

/* A threaded controller alone does not keep processes out, but then the children are threaded too and nothing is lost by looking. */
static bool gives_controllers_on(const char *dir)
{
	_cleanup_free_ char *path = strf("%s/cgroup.subtree_control", dir), *text = NULL;

	return path && file_read_at(AT_FDCWD, path, 4096, &text, NULL) == 0 &&
	       text[strspn(text, "\n ")] != '\0';
}

/* The unified cgroup of a process, below where the tree is mounted for us. */
static int cgroup_of(pid_t pid, char **ret, Err *e)
{
	_cleanup_free_ char *file = strf("/proc/%d/cgroup", (int)pid), *text = NULL;
	const char *path;
	int r = file ? file_read_at(AT_FDCWD, file, 65536, &text, NULL) : -ENOMEM;

	if (r < 0)
		return err_sys(e, r, "find the cgroup of process %d", (int)pid);
	text[strcspn(text, "\n")] = '\0';
	path = str_after(text, "0::/");
	if (!path)
		return err_new(e, ERR_INTERNAL, "process %d has no cgroup in the unified tree", (int)pid);
	*ret = strf(CGROUP_ROOT "/%s", path);
	return *ret ? 0 : err_oom(e);
}

int cgroup_seat_follow(const Cgroup *c, pid_t pid, CgroupSeat *seat, Err *e)
{
	_cleanup_free_ char *dir = NULL;
	const char *own, *below;
	int fd, r;

	if (!cgroup_is_unified(c) || !gives_controllers_on(c->dirs[0].path))
		return 0;
	own = c->dirs[0].path;
	r = cgroup_of(pid, &dir, e);
	if (r < 0)
		return r;
	below = str_after(dir, own);
	if (!below || *below != '/')
		return err_new(e, ERR_CONFLICT,
			       "cgroup %s takes no process: it gives controllers to its sub-cgroups, and the "
			       "container's first process is in %s, which is none of them; name one with "
			       "--cgroup",
			       own, dir);
	fd = open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open cgroup %s", dir);
	close_fd(&seat->born_fd);
	seat->born_fd = fd;
	return 0;
}

static int give(int dirfd, const char *name, uid_t uid)
{
	return fchownat(dirfd, name, uid, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT ? -errno : 0;
}

int cgroup_delegate(const Cgroup *c, uid_t uid, Err *e)
{
	_cleanup_free_ char *list = NULL;
	_cleanup_close_ int dir = -1;
	char *save = NULL;
	int r = 0;

	if (!cgroup_is_unified(c))
		return 0;
	if (file_read_at(AT_FDCWD, GIVEN_FILE, 4096, &list, NULL) < 0)
		list = strdup("cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n");
	if (!list)
		return err_oom(e);
	dir = open(c->dirs[0].path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, errno, "open cgroup %s", c->dirs[0].path);
	if (fchown(dir, uid, (gid_t)-1) < 0)
		r = -errno;
	for (char *f = strtok_r(list, "\n", &save); f && r == 0; f = strtok_r(NULL, "\n", &save))
		r = strchr(f, '/') ? 0 : give(dir, f, uid);
	return r < 0 ? err_sys(e, r, "give cgroup %s to user %u", c->dirs[0].path, uid) : 0;
}
