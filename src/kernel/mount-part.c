/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of a detached mount. In a mount that is in no namespace nothing can be copied before Linux 6.15, so a thread attaches it in a mount
 * namespace that ends with it. Where it is attached is of no matter to anybody else.
 */
#include "kernel/mount.h"

#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

typedef struct Part {
	const char *place, *path;
	int root, result;
} Part;

static int attach_and_clone(const Part *p)
{
	int r, at, fd;

	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	r = mount_change(AT_FDCWD, "/", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});
	if (r >= 0)
		r = mount_attach_path(p->root, p->place);
	if (r < 0)
		return r;
	at = path_open_beneath(p->root, p->path, O_PATH);
	if (at < 0)
		return at;
	fd = mount_clone(at, "", true);
	close(at);
	return fd;
}

static void *part_thread(void *arg)
{
	Part *p = arg;

	p->result = attach_and_clone(p);
	return NULL;
}

int mount_clone_part(int mount_fd, const char *place, const char *path)
{
	Part p = {.place = place, .path = path, .root = mount_fd};
	pthread_t thread;
	int r = pthread_create(&thread, NULL, part_thread, &p);

	if (r != 0)
		return -r;
	pthread_join(thread, NULL);
	return p.result;
}
