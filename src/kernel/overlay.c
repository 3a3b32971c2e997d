/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Overlay mounts. How layers are named to the kernel depends on its age:
 *
 *   6.7   "lowerdir+" takes one path at a time, with no escaping;
 *   older "lowerdir" takes a list joined by colons, at most 255 bytes through fsconfig(2);
 *   else  mount(2) takes 4 KiB, but needs a place to mount on: a helper process mounts in a mount
 *         namespace of its own and takes a detached copy.
 *
 * In the last two, and for a path that would need escaping or is long, layers are opened first and
 * named by their descriptors; so every byte in a path means itself. overlayfs resolves the names
 * once, when the superblock is made.
 */
#include "kernel/mount.h"

#include "base/path.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Whatever the host's defaults are: an upper directory says in full what was changed, so that it can become a layer, and
 * that of one mount may have been that of another before. */
static const char *const features_off[] = {"redirect_dir", "metacopy", "index"};
#define FEATURES_OFF ",redirect_dir=off,metacopy=off,index=off"

#define NAME_MAX_FSCONFIG 255 /* fsconfig(2) refuses longer strings */
#define LOWER_MAX         500 /* OVL_MAX_STACK */

typedef struct Layers {
	char *const *lower;
	const char *upper, *work;
	bool is_volatile;
	bool joined; /* all lowers are one option */
	size_t n;
	int *fds; /* n lowers, then upper and work; -1 until open_layers() */
} Layers;

static void layers_done(Layers *l)
{
	for (size_t i = 0; l->fds && i < l->n + 2; i++)
		closep(&l->fds[i]);
	free(l->fds);
}

static int open_one(const char *path, int *ret, Err *e)
{
	if (!path)
		return 0;
	*ret = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? err_sys(e, errno, "open layer %s", path) : 0;
}

static int open_layers(Layers *l, Err *e)
{
	int r = 0;

	if (l->fds)
		return 0;
	l->fds = malloc((l->n + 2) * sizeof(int));
	if (!l->fds)
		return err_oom(e);
	for (size_t i = 0; i < l->n + 2; i++)
		l->fds[i] = -1;
	for (size_t i = 0; i < l->n && r == 0; i++)
		r = open_one(l->lower[i], &l->fds[i], e);
	if (r == 0)
		r = open_one(l->upper, &l->fds[l->n], e);
	if (r == 0)
		r = open_one(l->work, &l->fds[l->n + 1], e);
	return r;
}

static int set_string(int fs, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

/* overlayfs undoes backslash escapes in some parameters and older kernels split others at commas and colons. */
static bool is_plain(const char *path)
{
	return strlen(path) <= NAME_MAX_FSCONFIG && !strpbrk(path, "\\,:");
}

/* `which` is the layer's index in fds. */
static int set_layer(int fs, Layers *l, const char *key, const char *path, size_t which, Err *e)
{
	FdPath by_fd;
	int r;

	if (!is_plain(path)) {
		r = open_layers(l, e);
		if (r < 0)
			return r;
		by_fd = path_of_fd(l->fds[which]);
		path = by_fd.s;
	}
	return set_string(fs, key, path);
}

/* All lowers in one "lowerdir", by descriptor. -E2BIG if that does not fit. */
static int set_joined(int fs, Layers *l, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	int r = open_layers(l, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < l->n; i++)
		strbuf_addf(&b, "%s%s", i ? ":" : "", path_of_fd(l->fds[i]).s);
	if (b.oom)
		return err_oom(e);
	return b.len > NAME_MAX_FSCONFIG ? -E2BIG : set_string(fs, "lowerdir", b.s);
}

static int set_lowers(int fs, Layers *l, Err *e)
{
	if (l->joined)
		return set_joined(fs, l, e);
	for (size_t i = 0; i < l->n; i++) {
		int r = set_layer(fs, l, "lowerdir+", l->lower[i], i, e);

		if (r == -EINVAL && i == 0)
			return set_joined(fs, l, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int configure(int fs, Layers *l, Err *e)
{
	int r = set_lowers(fs, l, e);

	for (size_t i = 0; r == 0 && i < ELEMENTSOF(features_off); i++)
		r = set_string(fs, features_off[i], "off");
	if (r == 0 && l->upper) {
		r = set_layer(fs, l, "upperdir", l->upper, l->n, e);
		if (r == 0)
			r = set_layer(fs, l, "workdir", l->work, l->n + 1, e);
		if (r == 0 && l->is_volatile &&
		    syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0)
			r = -errno;
	}
	return r;
}

static int overlay_by_fsconfig(Layers *l, int *ret_fd, Err *e)
{
	_cleanup_close_ int fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
	int r;

	if (fs < 0)
		return err_sys(e, errno, "mount overlay");
	r = configure(fs, l, e);
	if (r == -E2BIG)
		return r;
	if (r < 0)
		return e && e->msg[0] ? r : err_sys(e, r, "mount overlay on %s", l->lower[0]);
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
		char said[256] = "";
		int no = errno;
		ssize_t n = read(fs, said, sizeof(said) - 1);

		said[n > 0 ? n : 0] = '\0';
		return err_sys(e, no, "mount overlay on %s%s%s", l->lower[0], n > 2 ? ": " : "",
			       n > 2 ? said + 2 : "");
	}
	*ret_fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, l->upper ? 0 : MOUNT_ATTR_RDONLY);
	return *ret_fd < 0 ? err_sys(e, errno, "mount overlay") : 0;
}

/* Runs in a helper that shares our descriptors but has its own mount namespace and working
 * directory; the mount's fd number is its exit report through *report. */
static void mount_in_helper(const char *options, int *report)
{
	int fd;

	*report = -EIO;
	if (mount_change(AT_FDCWD, "/", &(MountChange){.propagation = MS_PRIVATE, .recursive = true}) < 0 ||
	    chdir("/proc/self/fd") < 0 || syscall(SYS_mount, "overlay", "/proc", "overlay", 0, options) < 0)
		*report = -errno;
	else if ((fd = mount_clone(AT_FDCWD, "/proc", false)) < 0)
		*report = fd;
	else
		*report = fd;
}

/* Names are relative to /proc/self/fd, so that 500 of them fit into the 4 KiB of mount(2). */
static char *helper_options(const Layers *l)
{
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add(&b, "lowerdir=");
	for (size_t i = 0; i < l->n; i++)
		strbuf_addf(&b, "%s%d", i ? ":" : "", l->fds[i]);
	strbuf_add(&b, FEATURES_OFF);
	if (l->upper)
		strbuf_addf(&b, ",upperdir=%d,workdir=%d%s", l->fds[l->n], l->fds[l->n + 1],
			    l->is_volatile ? ",volatile" : "");
	return strbuf_steal(&b);
}

static int overlay_by_helper(Layers *l, int *ret_fd, Err *e)
{
	_cleanup_free_ char *options = NULL;
	int report = -EIO, p[2], r = open_layers(l, e);

	if (r < 0)
		return r;
	options = helper_options(l);
	if (!options)
		return err_oom(e);
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");

	struct clone_args args = {.flags = CLONE_FILES | CLONE_NEWNS, .exit_signal = SIGCHLD};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0) {
		mount_in_helper(options, &report);
		_exit(write(p[1], &report, sizeof(report)) == sizeof(report) ? 0 : 1);
	}
	if (pid < 0)
		r = err_sys(e, errno, "start a mount helper");
	else {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		/* The helper has exited, so this cannot block; its descriptor table was ours. */
		close_fd(&p[1]);
		if (read(p[0], &report, sizeof(report)) != sizeof(report))
			report = -EIO;
		r = report < 0 ? err_sys(e, report, "mount overlay on %s", l->lower[0]) : 0;
	}
	closep(&p[0]);
	closep(&p[1]);
	if (r == 0)
		*ret_fd = report;
	return r;
}

/* overlayfs wants two lower directories if there is no upper one; of one, a bind does the same. */
static int single_lower(const char *lower, int *ret_fd, Err *e)
{
	_cleanup_close_ int fd = mount_clone(AT_FDCWD, lower, false);
	int r;

	if (fd < 0)
		return err_sys(e, fd, "mount layer %s", lower);
	r = mount_change(fd, "", &(MountChange){.set = MOUNT_ATTR_RDONLY});
	if (r < 0)
		return err_sys(e, r, "mount layer %s read-only", lower);
	*ret_fd = take_fd(&fd);
	return 0;
}

static int by_fsconfig(Layers *l, int *ret_fd, Err *e)
{
	if (e)
		e->msg[0] = '\0';
	return overlay_by_fsconfig(l, ret_fd, e);
}

/* Kernels before 6.5 keep options of any name, and refuse what they do not know when they have all of them. */
static bool joined_only; /* atomic */

static int overlay(Layers *l, int *ret_fd, Err *e)
{
	int r;

	l->n = strv_len(l->lower);
	if (l->n == 0 || l->n > LOWER_MAX)
		return err_new(e, ERR_INVALID, "overlay of %zu layers: from 1 to %d are possible", l->n,
			       LOWER_MAX);
	if (l->n == 1 && !l->upper)
		return single_lower(l->lower[0], ret_fd, e);
	l->joined = __atomic_load_n(&joined_only, __ATOMIC_RELAXED);
	r = by_fsconfig(l, ret_fd, e);
	if (r == -EINVAL && !l->joined) {
		l->joined = true;
		r = by_fsconfig(l, ret_fd, e);
		if (r >= 0)
			__atomic_store_n(&joined_only, true, __ATOMIC_RELAXED);
	}
	if (r == -E2BIG)
		r = overlay_by_helper(l, ret_fd, e);
	layers_done(l);
	return r;
}

int mount_overlay(char *const *lower, const char *upper, const char *work, int *ret_fd, Err *e)
{
	return overlay(&(Layers){.lower = lower, .upper = upper, .work = work}, ret_fd, e);
}

int mount_overlay_volatile(char *const *lower, const char *upper, const char *work, int *ret_fd, Err *e)
{
	return overlay(&(Layers){.lower = lower, .upper = upper, .work = work, .is_volatile = true}, ret_fd,
		       e);
}
