/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts by descriptor: the mount API of Linux 5.2 and 5.12 (fsopen, open_tree, move_mount,
 * mount_setattr), called directly because C libraries lack parts of it.
 *
 * A mount is made detached, as an fd that nobody can reach by a path, given its attributes, and then
 * attached once to a place that was itself opened as an fd. Closing a detached mount's fd unmounts it.
 * Flags and attributes are the kernel's own (linux/mount.h); do not include sys/mount.h beside this.
 */
#pragma once

#include "base/err.h"

#include <linux/mount.h>

/* What a kernel header may be too old to have. */
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef MOUNT_ATTR_IDMAP
#define MOUNT_ATTR_IDMAP 0x00100000
#endif

/* A detached copy of what lies at path ("" for dirfd itself), with everything mounted below it if
 * `recursive`. A symlink is followed unless path is "". The mount fd or -errno. */
int mount_clone(int dirfd, const char *path, bool recursive);
/* True for "/proc/<pid>/root/...": no link in it may be followed, as those of whoever lives there would lead on from our own root. */
bool mount_is_foreign(const char *path);
/* The same as mount_clone for such a path, which lies in the mount namespace of that process (mount-foreign.c). No symlink is followed. */
int mount_clone_foreign(const char *path, bool recursive);
/* A detached copy of what lies at `path` beneath the root of a detached mount, which is attached for that in a namespace of its own, on the
 * directory `place`: a second time it cannot be. The mount fd or -errno; -EXDEV and -ELOOP for what leads out of it. */
int mount_clone_part(int mount_fd, const char *place, const char *path);
/* A detached mount whose directories `names` (NULL-terminated) are the detached mounts fds, which stay the caller's and can be attached no more.
 * place: a directory, as above. */
int mount_gather(const int *fds, char *const *names, const char *place, int *ret_fd, Err *e);
/* Attaches a detached mount to the file or directory that target_fd refers to. */
int mount_attach(int mount_fd, int target_fd);
/* Attaches it on top of the path, in this process's own tree. */
int mount_attach_path(int mount_fd, const char *path);
/* Attaches it to `name` in the directory dirfd; a symlink of that name is not followed. */
int mount_attach_at(int mount_fd, int dirfd, const char *name);

typedef struct MountChange {
	uint64_t set, clear;  /* MOUNT_ATTR_* */
	uint64_t propagation; /* MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE or 0 */
	int userns_fd;        /* for MOUNT_ATTR_IDMAP in `set` */
	bool recursive;
} MountChange;
/* Changes attributes of the mount whose root is at dirfd/path ("" for dirfd itself). 0 or -errno. */
int mount_change(int dirfd, const char *path, const MountChange *c);

/* A new superblock of `type`, detached. params are "key=value" or "flag"; attr are MOUNT_ATTR_*. The
 * error carries what the filesystem itself had to say. */
int mount_new_fs(const char *type, const char *source, char *const *params, uint64_t attr, int *ret_fd,
		 Err *e);

/* Makes the directory this process stands in its root, and lets go of the old root (pivot_root(2)), whose mounts
 * must be slaves or private. */
int mount_pivot(Err *e);
/* Moves the mount this process stands in over "/" and enters it, where pivot_root cannot work (initramfs). */
int mount_move_root(Err *e);
/* Makes the directory this process stands in its root without moving any mount (chroot(2)). */
int mount_chroot(Err *e);
/* Lazy unmount. 0 or -errno. */
int mount_detach(const char *path);

/* An EROFS image, of which image_fd is a descriptor for reading, as a detached mount; by way of its file, else of a loop
 * device. The image must not change while it is mounted. */
int mount_erofs(int image_fd, int *ret_fd, Err *e);
int mount_erofs_file(int image_fd, int *ret_fd, Err *e);
int mount_erofs_loop(int image_fd, int *ret_fd, Err *e);

/* An overlay of directories, as a detached mount. lower is NULL-terminated, top first, one at least. Without
 * upper it is read-only (then a single lower is simply a read-only view of it). Any byte may occur in a
 * path. work must be an empty directory beside upper. */
int mount_overlay(char *const *lower, const char *upper, const char *work, int *ret_fd, Err *e);
/* The same with "volatile": nothing is synced on unmount, which then costs nothing. The kernel leaves
 * a mark in `work` and refuses to mount it again until work/work/incompat is removed: after a
 * crash of the machine the upper directory may hold files without their data. */
int mount_overlay_volatile(char *const *lower, const char *upper, const char *work, int *ret_fd, Err *e);
