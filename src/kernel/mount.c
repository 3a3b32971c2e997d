/* SPDX-License-Identifier: Apache-2.0 */
/* See mount.h. open_tree(2), move_mount(2), mount_setattr(2), fsopen(2); pivot_root(2) for the trick with ".". */
#include "kernel/mount.h"

#include <fcntl.h>
#include <sys/syscall.h>

#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

int mount_clone(int dirfd, const char *path, bool recursive)
{
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0) |
			 (*path ? 0 : AT_EMPTY_PATH);
	long fd = syscall(SYS_open_tree, dirfd, path, flags);

	return fd < 0 ? -errno : (int)fd;
}

int mount_attach(int mount_fd, int target_fd)
{
	long r = syscall(SYS_move_mount, mount_fd, "", target_fd, "",
			 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);

	return r < 0 ? -errno : 0;
}

int mount_attach_at(int mount_fd, int dirfd, const char *name)
{
	long r = syscall(SYS_move_mount, mount_fd, "", dirfd, name, MOVE_MOUNT_F_EMPTY_PATH);

	return r < 0 ? -errno : 0;
}

int mount_attach_path(int mount_fd, const char *path)
{
	return mount_attach_at(mount_fd, AT_FDCWD, path);
}

int mount_change(int dirfd, const char *path, const MountChange *c)
{
	struct mount_attr attr = {
	    .attr_set = c->set,
	    .attr_clr = c->clear,
	    .propagation = c->propagation,
	    .userns_fd = c->set & MOUNT_ATTR_IDMAP ? (uint64_t)(unsigned)c->userns_fd : 0,
	};
	unsigned flags = (c->recursive ? AT_RECURSIVE : 0) | (*path ? 0 : AT_EMPTY_PATH);
	long r = syscall(SYS_mount_setattr, dirfd, path, flags, &attr, sizeof(attr));

	return r < 0 ? -errno : 0;
}

/* The filesystem's own words ("e tmpfs: Bad value for 'size'"), or "". */
static void read_fs_message(int fs_fd, char *buf, size_t cap)
{
	ssize_t n = read(fs_fd, buf, cap - 1);

	if (n < 2)
		n = 0;
	buf[n] = '\0';
	if (n > 0)
		memmove(buf, buf + 2, (size_t)n - 1); /* "e " or "w " */
	for (size_t len = strlen(buf); len > 0 && buf[len - 1] == '\n'; len--)
		buf[len - 1] = '\0';
}

static int fs_failed(Err *e, int fs_fd, const char *type, const char *what, int no)
{
	char said[256] = "";

	read_fs_message(fs_fd, said, sizeof(said));
	if (*said)
		return err_sys(e, no, "mount %s: %s (%s)", type, what, said);
	return err_sys(e, no, "mount %s: %s", type, what);
}

static int set_param(int fs_fd, const char *param)
{
	const char *eq = strchr(param, '=');
	char key[64];
	size_t n = eq ? (size_t)(eq - param) : 0;

	if (!eq)
		return (int)syscall(SYS_fsconfig, fs_fd, FSCONFIG_SET_FLAG, param, NULL, 0);
	if (n >= sizeof(key)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(key, param, n);
	key[n] = '\0';
	return (int)syscall(SYS_fsconfig, fs_fd, FSCONFIG_SET_STRING, key, eq + 1, 0);
}

int mount_new_fs(const char *type, const char *source, char *const *params, uint64_t attr, int *ret_fd,
		 Err *e)
{
	_cleanup_close_ int fs = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);

	if (fs < 0 && errno == ENODEV)
		return err_new_no(e, ERR_UNSUPPORTED, ENODEV, "mount %s: this kernel has no such filesystem",
				  type);
	if (fs < 0)
		return err_sys(e, errno, "mount %s", type);
	if (source && syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", source, 0) < 0)
		return fs_failed(e, fs, type, source, errno);
	for (size_t i = 0; params && params[i]; i++)
		if (set_param(fs, params[i]) < 0)
			return fs_failed(e, fs, type, params[i], errno);
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fs_failed(e, fs, type, "create", errno);

	int fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, (unsigned)attr);

	if (fd < 0)
		return fs_failed(e, fs, type, "fsmount", errno);
	*ret_fd = fd;
	return 0;
}

/* With both arguments "." the old root ends up on top of the new one, from where it is let go: no
 * directory in the new root is needed to put it. The caller has made the old root's mounts slaves, so that
 * letting go of them is not seen where they came from. */
int mount_pivot(Err *e)
{
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(e, errno, "pivot_root");

	if (syscall(SYS_umount2, ".", MNT_DETACH) < 0)
		return err_sys(e, errno, "unmount the old root");
	if (chdir("/") < 0)
		return err_sys(e, errno, "enter the new root");
	return 0;
}

int mount_move_root(Err *e)
{
	if (syscall(SYS_mount, ".", "/", NULL, MS_MOVE, NULL) < 0)
		return err_sys(e, errno, "move the root mount");
	if (chroot(".") < 0)
		return err_sys(e, errno, "chroot");
	if (chdir("/") < 0)
		return err_sys(e, errno, "enter the new root");
	return 0;
}

int mount_chroot(Err *e)
{
	if (chroot(".") < 0)
		return err_sys(e, errno, "chroot");
	return chdir("/") < 0 ? err_sys(e, errno, "enter the new root") : 0;
}

int mount_detach(const char *path)
{
	return syscall(SYS_umount2, path, MNT_DETACH) < 0 ? -errno : 0;
}
