/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root of the container: attached, finished and moved into.
 *
 * The new root is attached over its own path (or, given as a mount without one, on top of "/"), and is then made the root with
 * pivot_root(".", "."). Until then everything happens through its descriptor.
 *
 * Without a mount namespace of its own the container gets a root that is attached nowhere, with chroot(2): the host's mounts are
 * not touched. What is mounted in such a tree needs Linux 6.15.
 *
 * Masked and read-only paths below /proc and /sys are looked up from the descriptors of the mounts that we made
 * ourselves, with no symlink and no other mount on the way: what is covered is what is meant.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif
#ifndef UMOUNT_NOFOLLOW
#define UMOUNT_NOFOLLOW 8
#endif
#define MOUNTINFO_MAX (16u << 20)

int rootfs_open(const Bundle *b, int given_fd, int *ret, Err *e)
{
	_cleanup_close_ int fd =
	    given_fd >= 0 ? fcntl(given_fd, F_DUPFD_CLOEXEC, 3) : mount_clone(AT_FDCWD, b->rootfs, true);
	int r;

	if (fd < 0)
		return err_sys(e, given_fd >= 0 ? errno : fd, "open the root filesystem %s", b->rootfs);
	/* A copy of a shared mount is its peer: mounts made in it would appear on the host. */
	r = mount_change(fd, "", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});
	if (r == -EINVAL)
		return err_new(e, ERR_INVALID, "the root filesystem %s is not a directory", b->rootfs);
	if (r < 0)
		return err_sys(e, r, "make the root filesystem private");
	*ret = take_fd(&fd);
	return 0;
}

/* A link on the way would be another's to turn; the kernel says no more than EINVAL of one at the end. */
static int cannot_attach(const char *path, int r, Err *e)
{
	_cleanup_free_ char *real = realpath(path, NULL);

	if (r == -EINVAL && real && !streq(real, path))
		return err_new_no(
		    e, ERR_INVALID, EINVAL,
		    "invalid rootfs: not an absolute path, or a symlink: root.path \"%s\" (give the path "
		    "without links: %s)",
		    path, real);
	return err_sys(e, r, "attach the root filesystem");
}

int rootfs_attach(Init *in, Err *e)
{
	int r;

	if (!in->own_mounts)
		return 0;
	/* From here on nothing that we mount is seen outside; what the host unmounts still goes away here. */
	r = mount_change(AT_FDCWD, "/", &(MountChange){.propagation = MS_SLAVE, .recursive = true});

	if (r < 0)
		return err_sys(e, r, "make the mounts slaves of the host's");
	/* At its own path, where hooks look for it. One that has none, or none that the root of a user namespace could reach, goes on
	 * top of everything. */
	r = in->create->rootfs_fd < 0 ? mount_attach_path(in->root, in->bundle->rootfs) : -EACCES;
	in->root_on_top = r == -EACCES;
	if (in->root_on_top)
		r = mount_attach_path(in->root, "/");
	return r < 0 ? cannot_attach(in->bundle->rootfs, r, e) : 0;
}

/* The file meant by a masked or read-only path; -ENOENT if there is none. */
static int open_covered(const Init *in, const char *path)
{
	const char *below;
	struct open_how how = {
	    .flags = O_PATH | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	int dir = -1;
	long fd;

	if ((in->proc >= 0 || in->bound_proc >= 0) && (below = str_after(path, "/proc/")))
		dir = in->proc >= 0 ? in->proc : in->bound_proc;
	else if (in->sys >= 0 && (below = str_after(path, "/sys/")))
		dir = in->sys;
	if (dir < 0)
		return path_open_in_root(in->root, path, O_PATH, 0);
	fd = syscall(SYS_openat2, dir, below, &how, sizeof(how));
	if (fd < 0 && errno == EXDEV) {
		/* Something of the spec is mounted on the way (/sys/fs/cgroup): then it is that which is meant. */
		how.resolve &= ~(uint64_t)RESOLVE_NO_XDEV;
		fd = syscall(SYS_openat2, dir, below, &how, sizeof(how));
	}
	return fd < 0 ? -errno : (int)fd;
}

/* What covers a path: an empty directory for a directory, the null device for anything else. The first one that is needed
 * is attached itself, later ones are copies of it (a detached mount cannot be copied before Linux 6.15). */
typedef struct Covers {
	int empty;
	bool empty_attached, null_attached;
} Covers;

static int make_empty(int *ret, Err *e)
{
	char *const params[] = {(char *)"size=0", (char *)"nr_inodes=1", NULL};

	return mount_new_fs("tmpfs", "tmpfs", params,
			    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, ret,
			    e);
}

static int cover(int target, int source, bool *attached, Err *e)
{
	_cleanup_close_ int copy = -1;
	int r;

	if (*attached) {
		copy = mount_clone(source, "", false);
		if (copy < 0)
			return err_sys(e, copy, "copy the cover");
	}
	r = mount_attach(*attached ? copy : source, target);
	if (r < 0)
		return err_sys(e, r, "cover");
	*attached = true;
	return 0;
}

static int mask(Init *in, Covers *c, const char *path, Err *e)
{
	_cleanup_close_ int target = open_covered(in, path);
	struct stat st;
	int r;

	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0)
		return err_sys(e, target, "open");
	if (fstat(target, &st) < 0)
		return err_sys(e, errno, "stat");
	if (!S_ISDIR(st.st_mode))
		return cover(target, in->sources.null, &c->null_attached, e);
	if (c->empty < 0) {
		r = make_empty(&c->empty, e);
		if (r < 0)
			return r;
	}
	return cover(target, c->empty, &c->empty_attached, e);
}

static int make_read_only(Init *in, const char *path, Err *e)
{
	_cleanup_close_ int target = open_covered(in, path), copy = -1;
	int r;

	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0)
		return err_sys(e, target, "open");
	copy = mount_clone(target, "", true);
	if (copy < 0)
		return err_sys(e, copy, "copy the mount");
	r = mount_change(copy, "", &(MountChange){.set = MOUNT_ATTR_RDONLY, .recursive = true});
	if (r < 0)
		return err_sys(e, r, "set read-only");
	r = mount_attach(copy, target);
	return r < 0 ? err_sys(e, r, "attach") : 0;
}

static int cover_paths(Init *in, Err *e)
{
	Covers c = {.empty = -1};
	char *const *v;
	int r = 0;

	for (v = in->spec->readonly_paths; v && *v && r == 0; v++) {
		r = make_read_only(in, *v, e);
		if (r < 0)
			r = err_ctx(e, r, "read-only path %s", *v);
	}
	for (v = in->spec->masked_paths; v && *v && r == 0; v++) {
		r = mask(in, &c, *v, e);
		if (r < 0)
			r = err_ctx(e, r, "masked path %s", *v);
	}
	close_fd(&c.empty);
	return r;
}

static int set_root_propagation(const Init *in, Err *e)
{
	char *const words[] = {in->spec->rootfs_propagation, NULL};
	MountOptions o;
	int r;

	if (str_empty(words[0]))
		return 0;
	r = mount_options_parse(words, &o, e);
	if (r < 0)
		return r;
	if (!o.propagation)
		r = err_new(e, ERR_INVALID, "unknown rootfsPropagation \"%s\"", words[0]);
	else
		r = mount_change(AT_FDCWD, "/",
				 &(MountChange){.propagation = o.propagation,
						.recursive = o.propagation_recursive});
	mount_options_done(&o);
	return r < 0 ? err_ctx(e, r, "set the propagation of the root") : 0;
}

static int finish_dev(Init *in, Err *e)
{
	int r;

	if (!in->dev_read_only)
		return 0;
	r = mount_change(in->dev, "", &(MountChange){.set = MOUNT_ATTR_RDONLY});
	return r < 0 ? err_sys(e, r, "make /dev read-only") : 0;
}

static bool is_proc_or_sys(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC);
}

/* Locked mounts (those of the host, in a user namespace) cannot be taken away, but covered. */
static int hide(const char *path, Err *e)
{
	_cleanup_close_ int empty = -1;
	int r;

	if (syscall(SYS_umount2, path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || !is_proc_or_sys(path))
		return 0;
	r = make_empty(&empty, e);
	if (r < 0)
		return r;
	r = mount_attach_path(empty, path);
	return r < 0 ? err_sys(e, r, "cover %s of the host", path) : 0;
}

/* "\040" in mountinfo is a blank. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else
			*to++ = *s;
	}
	*to = '\0';
}

/* Without pivot_root the host's mounts stay below the container's root. As long as a procfs or sysfs is among them that is
 * whole, the kernel lets a user namespace mount new ones, without what is masked. */
static int hide_old_proc(const Init *in, Err *e)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL, root[PATH_MAX];
	ssize_t n = readlink(path_of_fd(in->root).s, root, sizeof(root) - 1);
	int r = file_read_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL);

	if (n < 0 || r < 0)
		return err_sys(e, n < 0 ? errno : r, "read /proc/self/mountinfo");
	root[n] = '\0';
	for (char *line = strtok_r(text, "\n", &save); line && r == 0; line = strtok_r(NULL, "\n", &save)) {
		const char *type = strstr(line, " - ");
		_cleanup_strv_ char **fields = strv_split(line, ' ');

		if (!fields)
			return err_oom(e);
		if (!type || strv_len(fields) < 5 ||
		    (!str_starts(type, " - proc ") && !str_starts(type, " - sysfs ")))
			continue;
		unescape(fields[4]);
		/* A root that is on top of "/" is not reached by any path. */
		if (streq(root, "/") || !str_starts(fields[4], root))
			r = hide(fields[4], e);
	}
	return r;
}

int rootfs_finish(Init *in, Err *e)
{
	int r = finish_dev(in, e);

	if (r == 0)
		r = cover_paths(in, e);
	if (r < 0)
		return r;
	if (in->spec->root_readonly) {
		r = mount_change(in->root, "", &(MountChange){.set = MOUNT_ATTR_RDONLY});
		if (r < 0)
			return err_sys(e, r, "make the root read-only");
	}
	if (fchdir(in->root) < 0)
		return err_sys(e, errno, "enter the root");
	if (in->own_mounts && in->create->no_pivot) {
		r = hide_old_proc(in, e);
		if (r < 0)
			return r;
	}
	/* A root that lies on top of "/" has nowhere to move to. */
	if (!in->own_mounts || (in->create->no_pivot && in->root_on_top))
		r = mount_chroot(e);
	else
		r = in->create->no_pivot ? mount_move_root(e) : mount_pivot(e);
	return r < 0 ? r : set_root_propagation(in, e);
}
