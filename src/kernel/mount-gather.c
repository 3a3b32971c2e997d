/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several detached mounts as directories of one. Mounts that are in no namespace cannot be put into one another before Linux 6.15, so a thread does it in a mount
 * namespace that ends with it; what it hands on is a copy of the whole.
 */
#include "kernel/mount.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

typedef struct Gather {
	const int *fds;
	char *const *names;
	const char *place;
	int root; /* a file system of its own, for the directories */
	int result;
} Gather;

static int attach_all(const Gather *g)
{
	int r = mount_attach_path(g->root, g->place);

	for (size_t i = 0; r >= 0 && g->names[i]; i++) {
		if (mkdirat(g->root, g->names[i], 0755) < 0)
			return -errno;
		r = mount_attach_at(g->fds[i], g->root, g->names[i]);
	}
	return r;
}

static void *gather_thread(void *arg)
{
	Gather *g = arg;
	int r = unshare(CLONE_NEWNS) < 0 ? -errno : 0;

	if (r >= 0)
		r = mount_change(AT_FDCWD, "/", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});
	if (r >= 0)
		r = attach_all(g);
	g->result = r < 0 ? r : mount_clone(g->root, "", true);
	return NULL;
}

int mount_gather(const int *fds, char *const *names, const char *place, int *ret_fd, Err *e)
{
	char *params[] = {(char *)"mode=755", NULL};
	_cleanup_close_ int root = -1;
	pthread_t thread;
	int r = mount_new_fs("tmpfs", "ireko", params, 0, &root, e);

	if (r < 0)
		return r;
	Gather g = {.fds = fds, .names = names, .place = place, .root = root};
	r = pthread_create(&thread, NULL, gather_thread, &g);
	if (r != 0)
		return err_sys(e, r, "start a thread that mounts");
	pthread_join(thread, NULL);
	if (g.result < 0)
		return err_sys(e, g.result, "mount several directories in one");
	*ret_fd = g.result;
	return 0;
}
