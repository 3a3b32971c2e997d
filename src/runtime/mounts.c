/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts of the spec, made in the child.
 *
 * Every destination is opened inside the root (openat2, RESOLVE_IN_ROOT), made if it is missing, and the mount is attached to
 * that descriptor: a rootfs full of symlinks, or one that changes under our hands, can only misplace a
 * mount within itself. procfs and sysfs may not be misplaced even there, because what is masked in them
 * later would stay open elsewhere (CVE-2019-19921, CVE-2023-27561): no symlink is followed to them. We keep
 * the descriptors of both, and use them instead of the paths from then on.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"

#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

/* Files of procfs that a host's view may be put over (lxcfs). */
static const char *const proc_files[] = {
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
};

static int open_no_symlinks(int root, const char *path)
{
	struct open_how how = {
	    .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
	    .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS,
	};
	long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int mounts_open_strict(int root, const char *path, Err *e)
{
	int fd = open_no_symlinks(root, path);

	if (fd == -ENOENT) {
		_cleanup_close_ int made = path_mkdir_in_root(root, path, 0755);

		fd = made < 0 ? made : open_no_symlinks(root, path);
	}
	if (fd == -ELOOP)
		return err_new(e, ERR_DENIED,
			       "a symbolic link leads there: %s must be mounted on ordinary directory", path);
	return fd < 0 ? err_sys(e, fd, "open the mount point") : fd;
}

static bool lies_in_procfs(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

typedef enum Place { PLACE_ANY, PLACE_PROC, PLACE_SYS, PLACE_DEV } Place;

/* What is covered, made or written in these later is meant to be there, so no symlink leads to them. */
static int place_of(const OciMount *m, Place *ret, Err *e)
{
	static const char *const places[] = {
	    [PLACE_PROC] = "/proc", [PLACE_SYS] = "/sys", [PLACE_DEV] = "/dev"};
	_cleanup_free_ char *clean = path_clean(m->destination);

	if (!clean)
		return err_oom(e);
	*ret = PLACE_ANY;
	for (Place p = PLACE_PROC; p <= PLACE_DEV; p++)
		if (streq(clean, places[p]))
			*ret = p;
	return 0;
}

/* Programs believe what they read there (CVE-2019-16884). */
static int not_procfs(Err *e)
{
	return err_new(e, ERR_DENIED, "only procfs may be mounted there");
}

/* A mount over part of procfs could forge what programs, and we ourselves, read there. */
static int check_not_in_proc(int target, const char *destination, Err *e)
{
	_cleanup_free_ char *clean = NULL;
	const char *rest;

	if (!lies_in_procfs(target))
		return 0;
	clean = path_clean(destination);
	if (!clean)
		return err_oom(e);
	rest = str_after(clean, "/proc/");
	for (size_t i = 0; rest && i < ELEMENTSOF(proc_files); i++)
		if (streq(rest, proc_files[i]))
			return 0;
	return err_new(e, ERR_DENIED, "it lies inside procfs, where nothing may be mounted");
}

static bool is_dir_fd(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A directory that is made for a tmpfs has no mode to be kept: the filesystem's own default (1777) holds. */
static bool is_fresh(const Init *in, const OciMount *m)
{
	_cleanup_close_ int fd = path_open_in_root(in->root, m->destination, O_PATH, 0);

	return fd == -ENOENT;
}

static int open_target(Init *in, const OciMount *m, bool dir, bool strict, Err *e)
{
	int fd;

	if (strict)
		return mounts_open_strict(in->root, m->destination, e);
	fd = dir ? path_mkdir_in_root(in->root, m->destination, 0755)
		 : path_touch_in_root(in->root, m->destination, 0644);
	if (fd == -ENOTDIR && dir)
		return err_new(e, ERR_INVALID, "a directory cannot be mounted on a file");
	if (fd == -EISDIR)
		return err_new(e, ERR_INVALID, "a file cannot be mounted on a directory");
	return fd < 0 ? err_sys(e, fd, "open the mount point") : fd;
}

static int attach_bind(Init *in, const OciMount *m, int *source, Err *e)
{
	_cleanup_close_ int target = -1;
	Place place;
	int r = place_of(m, &place, e);

	if (r == 0 && place == PLACE_PROC && !lies_in_procfs(*source))
		r = not_procfs(e);
	if (r < 0)
		return r;
	target = open_target(in, m, is_dir_fd(*source), place != PLACE_ANY, e);
	if (target < 0)
		return target;
	r = check_not_in_proc(target, m->destination, e);
	if (r < 0)
		return r;
	r = mount_attach(*source, target);
	if (r < 0)
		return err_sys(e, r, "attach");
	if (place == PLACE_PROC && in->bound_proc < 0)
		in->bound_proc = take_fd(source);
	else if (place == PLACE_SYS && in->sys < 0)
		in->sys = take_fd(source);
	return 0;
}

static bool has_param(char *const *params, const char *prefix)
{
	for (size_t i = 0; params && params[i]; i++)
		if (str_starts(params[i], prefix))
			return true;
	return false;
}

/* A tmpfs over an existing directory keeps that directory's mode. */
static int add_tmpfs_mode(int target, MountOptions *o, Err *e)
{
	struct stat st;

	if (has_param(o->params, "mode=") || fstat(target, &st) < 0)
		return 0;
	return strv_take(&o->params, strf("mode=%o", st.st_mode & 07777)) < 0 ? err_oom(e) : 0;
}

static int set_fs_propagation(int fd, const MountOptions *o, Err *e)
{
	int r;

	if (!o->propagation)
		return 0;
	r = mount_change(fd, "",
			 &(MountChange){.propagation = o->propagation,
					.recursive = o->propagation_recursive});
	return r < 0 ? err_sys(e, r, "set the propagation") : 0;
}

static int make_fs(Init *in, const OciMount *m, MountOptions *o, Err *e)
{
	const char *type = m->type ? m->type : "";
	bool proc = streq(type, "proc"), sys = streq(type, "sysfs"), fresh;
	_cleanup_close_ int target = -1, fd = -1;
	Place place;
	int r = place_of(m, &place, e);

	if (r == 0 && place == PLACE_PROC && !proc)
		r = not_procfs(e);
	if (r < 0)
		return r;
	fresh = streq(type, "tmpfs") && !has_param(o->params, "mode=") && is_fresh(in, m);
	target = open_target(in, m, true, proc || sys || place != PLACE_ANY, e);
	if (target < 0)
		return target;
	if (!proc) {
		r = check_not_in_proc(target, m->destination, e);
		if (r < 0)
			return r;
	}
	if (streq(type, "cgroup") || streq(type, "cgroup2"))
		return mounts_cgroup(in, m, o, target, e);
	if (streq(type, "tmpfs") && !fresh) {
		r = add_tmpfs_mode(target, o, e);
		if (r < 0)
			return r;
	}
	if ((o->set & MOUNT_ATTR_RDONLY) && place == PLACE_DEV) {
		in->dev_read_only = true;
		o->set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
	}
	/* What is copied up has to be written first. */
	r = mount_new_fs(type, m->source, o->params,
			 o->copy_up ? o->set & ~(uint64_t)MOUNT_ATTR_RDONLY : o->set, &fd, e);
	if (r < 0)
		return rootless_explain_mount(in, type, r, e);
	if (o->copy_up)
		r = mounts_copy_up(target, fd, e);
	if (r == 0 && o->copy_up && (o->set & MOUNT_ATTR_RDONLY)) {
		r = mount_change(fd, "", &(MountChange){.set = MOUNT_ATTR_RDONLY});
		if (r < 0)
			r = err_sys(e, r, "make it read-only");
	}
	if (r == 0)
		r = set_fs_propagation(fd, o, e);
	if (r < 0)
		return r;
	r = mount_attach(fd, target);
	if (r < 0)
		return err_sys(e, r, "attach");
	if (proc && in->proc < 0)
		in->proc = take_fd(&fd);
	else if (sys && in->sys < 0)
		in->sys = take_fd(&fd);
	else if (place == PLACE_DEV && in->dev < 0)
		in->dev = take_fd(&fd);
	return 0;
}

/* "remount": new attributes for what is mounted there already. */
static int remount(Init *in, const OciMount *m, const MountOptions *o, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(in->root, m->destination, O_PATH, 0);
	int r;

	if (fd < 0)
		return err_sys(e, fd, "open the mount");
	r = mount_change(fd, "", &(MountChange){.set = o->set, .clear = o->clear});
	return r < 0 ? err_sys(e, r, "change the mount") : 0;
}

static int make_one(Init *in, size_t i, Err *e)
{
	const OciMount *m = &in->spec->mounts[i];
	MountOptions *o = &in->sources.options[i];

	if (o->remount)
		return remount(in, m, o, e);
	if (o->bind && in->sources.fds[i] < 0) {
		int r = mount_source_open_inner(in, i, &in->sources.fds[i], e);

		if (r < 0)
			return r;
	}
	if (o->bind)
		return attach_bind(in, m, &in->sources.fds[i], e);
	return make_fs(in, m, o, e);
}

int mounts_make(Init *in, Err *e)
{
	for (size_t i = 0; i < in->spec->n_mounts; i++) {
		int r = make_one(in, i, e);

		if (r < 0)
			return err_ctx(e, r, MOUNTING "%s", MOUNTING_ARGS(&in->spec->mounts[i]),
				       in->in_userns ? rootless_owner_hint(r) : "");
		close_fd(&in->sources.fds[i]);
	}
	return 0;
}

int mounts_enter_cgroup_namespace(Init *in, Err *e)
{
	if (!(in->new_flags & CLONE_NEWCGROUP))
		return 0;
	if (unshare(CLONE_NEWCGROUP) < 0)
		return err_sys(e, errno, "make a cgroup namespace");
	in->new_flags &= ~(uint64_t)CLONE_NEWCGROUP;
	return 0;
}

/* A bind of the container's own directory, which needs no privilege over the filesystem. In a cgroup namespace of the
 * container's it looks like the root of the hierarchy, exactly as a mount of its own would. */
static int clone_cgroup(const CgroupDir *d, int *ret, Err *e)
{
	int fd = mount_clone(AT_FDCWD, d->path, false);

	if (fd < 0)
		return err_sys(e, fd, "bind cgroup %s", d->path);
	*ret = fd;
	return 0;
}

static int attach_hierarchy(const CgroupDir *d, int tmpfs, Err *e)
{
	const char *name = d->name[0] == '\0' ? "unified" : d->name, *rest = str_after(name, "name=");
	_cleanup_close_ int fd = -1;
	int r = clone_cgroup(d, &fd, e);

	if (r < 0)
		return r;
	name = rest ? rest : name;
	if (mkdirat(tmpfs, name, 0755) < 0)
		return err_sys(e, errno, "make %s", name);
	r = mount_attach_at(fd, tmpfs, name);
	if (r < 0)
		return err_sys(e, r, "attach cgroup %s", name);
	/* "cpu" and "cpuacct" beside "cpu,cpuacct". */
	if (strchr(name, ',')) {
		_cleanup_strv_ char **parts = strv_split(name, ',');

		for (size_t i = 0; parts && parts[i]; i++)
			if (symlinkat(name, tmpfs, parts[i]) < 0)
				return err_sys(e, errno, "make cgroup link %s", parts[i]);
	}
	return 0;
}

/* A container that could not be given a cgroup has none to show but those of everybody, to read. */
static int attach_all_cgroups(int target, uint64_t attr, Err *e)
{
	_cleanup_close_ int fd = mount_clone(AT_FDCWD, "/sys/fs/cgroup", true);
	int r;

	if (fd < 0)
		return err_sys(e, fd, "bind /sys/fs/cgroup");
	r = mount_change(fd, "", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});
	if (r == 0)
		r = mount_change(fd, "",
				 &(MountChange){.set =
						    (attr & ~(uint64_t)MOUNT_ATTR__ATIME) | MOUNT_ATTR_RDONLY,
						.recursive = true});
	if (r == 0)
		r = mount_attach(fd, target);
	return r < 0 ? err_sys(e, r, "bind /sys/fs/cgroup, read-only") : 0;
}

/* target -1: stays detached. */
static int attach_hierarchies(const Cgroup *c, int target, int *ret, Err *e)
{
	char *const params[] = {(char *)"mode=755", NULL};
	_cleanup_close_ int fd = -1;
	int r = mount_new_fs("tmpfs", "cgroup", params, 0, &fd, e);

	if (r < 0)
		return r;
	r = target >= 0 ? mount_attach(fd, target) : 0;
	if (r < 0)
		return err_sys(e, r, "attach");
	for (size_t i = 0; i < c->n && r == 0; i++)
		r = attach_hierarchy(&c->dirs[i], fd, e);
	*ret = take_fd(&fd);
	return r;
}

static int set_cgroup_options(int fd, const MountOptions *o, Err *e)
{
	/* All at once, when everything is in its place: so far nothing but us is in there. */
	int r = mount_change(fd, "",
			     &(MountChange){.set = o->set,
					    .clear = o->clear & MOUNT_ATTR__ATIME,
					    .propagation = MS_PRIVATE,
					    .recursive = true});

	return r < 0 ? err_sys(e, r, "set the options") : 0;
}

/* Before Linux 6.15 nothing can be mounted in a detached tree, so it is attached first. But in a root that is attached nowhere
 * itself, only the root of a tree can be changed: then it is attached last. */
int mounts_cgroup(Init *in, const OciMount *m, const MountOptions *o, int target, Err *e)
{
	_cleanup_close_ int fd = -1;
	int r = mounts_enter_cgroup_namespace(in, e), first = in->own_mounts ? target : -1;

	if (r < 0)
		return r;
	if (in->cgroup->n == 0)
		return attach_all_cgroups(target, o->set, e);
	if (!cgroup_is_unified(in->cgroup))
		r = attach_hierarchies(in->cgroup, first, &fd, e);
	else {
		r = clone_cgroup(&in->cgroup->dirs[0], &fd, e);
		first = -1;
	}
	if (r == 0)
		r = set_cgroup_options(fd, o, e);
	if (r < 0 || first >= 0)
		return r;
	r = mount_attach(fd, target);
	return r < 0 ? err_sys(e, r, "attach") : 0;
}
