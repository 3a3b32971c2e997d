/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An EROFS image as a detached mount. Linux 6.12 reads an image straight from its file; older ones, and those built
 * without that, want a block device, for which a loop device serves that goes with the mount (autoclear).
 */
#include "base/path.h"
#include "kernel/mount.h"

#include <linux/loop.h>
#include <sys/ioctl.h>

#define LOOP_TRIES 32 /* others look for a free one too */

/* A loop device on the image, read-only. The descriptor keeps it until something is mounted. */
static int open_loop(int image_fd, char path[32], Err *e)
{
	const struct loop_config config = {.fd = (uint32_t)image_fd,
					   .info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR};
	_cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control < 0)
		return err_sys(e, errno, "open /dev/loop-control");
	for (int i = 0; i < LOOP_TRIES; i++) {
		_cleanup_close_ int fd = -1;
		int n = ioctl(control, LOOP_CTL_GET_FREE);

		if (n < 0)
			return err_sys(e, errno, "find a free loop device");
		snprintf(path, 32, "/dev/loop%d", n);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return err_sys(e, errno, "open %s", path);
		if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
			return take_fd(&fd);
		if (errno != EBUSY)
			return err_sys(e, errno, "set %s up", path);
	}
	return err_new(e, ERR_UNAVAILABLE, "no loop device stays free: try again");
}

static int mount_image(const char *source, int *ret_fd, Err *e)
{
	char *params[] = {(char[]){"ro"}, NULL};

	return mount_new_fs("erofs", source, params, MOUNT_ATTR_RDONLY, ret_fd, e);
}

int mount_erofs_file(int image_fd, int *ret_fd, Err *e)
{
	return mount_image(path_of_fd(image_fd).s, ret_fd, e);
}

int mount_erofs_loop(int image_fd, int *ret_fd, Err *e)
{
	char path[32];
	_cleanup_close_ int loop = open_loop(image_fd, path, e);

	return loop < 0 ? loop : mount_image(path, ret_fd, e);
}

int mount_erofs(int image_fd, int *ret_fd, Err *e)
{
	int r = mount_erofs_file(image_fd, ret_fd, e);

	/* A kernel that wants a device says so. */
	return r == -ENOTBLK ? mount_erofs_loop(image_fd, ret_fd, e) : r;
}
