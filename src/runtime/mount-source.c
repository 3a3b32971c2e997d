/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the container is given of the host: sources of bind mounts, /dev/null to mask files with, and
 * device nodes where it may not make them. All of it is opened by the creator, with the creator's rights and in its
 * mount namespace, as detached mounts; the child only has to attach them. So a source can neither be
 * swapped for something inside the container nor be out of reach for a user namespace.
 *
 * A source that lies in the container's root filesystem may be an earlier mount of the spec, which is there only when its turn
 * has come. Such a one ("inner") is opened by the child, inside the root; where ids are mapped, which takes the rights of the creator and a
 * procfs that knows the caller, by a process of the creator's that goes into the child's mount namespace.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"
#include "kernel/process.h"

#include <linux/magic.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

void mount_sources_done(MountSources *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->options)
			mount_options_done(&s->options[i]);
		if (s->fds)
			close_fd(&s->fds[i]);
	}
	for (size_t i = 0; s->devices && i < s->n_devices; i++)
		close_fd(&s->devices[i]);
	free(s->options);
	free(s->fds);
	free(s->devices);
	close_fd(&s->null);
	*s = (MountSources){.null = -1};
}

_Static_assert(sizeof(OciIdMap) == sizeof(NamespaceIdMap), "id maps are passed on as they are");

#define NO_POWER "map ids (that takes privilege over its filesystem, which a user namespace has not)"

/* The mappings of the mount, or those of the container. */
static int open_map(const OciMount *m, const OciSpec *spec, Err *e)
{
	bool own = m->n_uid_mappings > 0;
	const OciIdMap *uids = own ? m->uid_mappings : spec->uid_mappings;
	const OciIdMap *gids = own ? m->gid_mappings : spec->gid_mappings;
	const char *joined = own ? NULL : userns_path(spec);
	int r, fd;

	if (joined) {
		fd = open(joined, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? err_sys(e, errno, "open user namespace %s", joined) : fd;
	}
	r = namespace_new_user((const NamespaceIdMap *)uids, own ? m->n_uid_mappings : spec->n_uid_mappings,
			       (const NamespaceIdMap *)gids, own ? m->n_gid_mappings : spec->n_gid_mappings,
			       &fd, e);
	if (r == -EACCES || r == -EPERM)
		return err_ctx(e, r, NO_POWER);
	return r < 0 ? r : fd;
}

static int idmap(int fd, int userns, const MountOptions *o, Err *e)
{
	int r = mount_change(fd, "",
			     &(MountChange){.set = MOUNT_ATTR_IDMAP,
					    .userns_fd = userns,
					    .recursive = o->recursive_idmap});

	if (r == -EPERM)
		return err_sys(e, r, NO_POWER);
	return r < 0 ? err_sys(e, r, "map ids (does its filesystem support that?)") : 0;
}

/* A copy belongs to the peer group of what was copied: it is cut loose first, or what the container mounts
 * in it would appear on the host. */
static int set_propagation(int fd, const MountOptions *o)
{
	MountChange c = {.propagation = o->propagation, .recursive = o->propagation_recursive};
	int r;

	if (!c.propagation)
		return mount_change(fd, "", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});
	/* Only "shared" is meant to stay a peer of its source. */
	if (!c.recursive && c.propagation != MS_SHARED) {
		r = mount_change(fd, "", &(MountChange){.propagation = MS_SLAVE, .recursive = true});
		if (r < 0)
			return r;
	}
	return mount_change(fd, "", &c);
}

#define ATIME_ALL  (MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME)
#define LOCKABLE   (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
#define BIND_FLAGS (LOCKABLE | MOUNT_ATTR_NOSYMFOLLOW)

/* The attributes that a mount has, as MOUNT_ATTR_*. */
static int read_attributes(int fd, uint64_t *ret)
{
	static const struct {
		unsigned long st;
		uint64_t attr;
	} flags[] = {
	    {ST_RDONLY, MOUNT_ATTR_RDONLY},         {ST_NOSUID, MOUNT_ATTR_NOSUID},
	    {ST_NODEV, MOUNT_ATTR_NODEV},           {ST_NOEXEC, MOUNT_ATTR_NOEXEC},
	    {ST_NODIRATIME, MOUNT_ATTR_NODIRATIME}, {ST_NOATIME, MOUNT_ATTR_NOATIME},
	};
	struct statvfs st;
	uint64_t has = 0;

	if (fstatvfs(fd, &st) < 0)
		return -errno;
	for (size_t i = 0; i < ELEMENTSOF(flags); i++)
		if (st.f_flag & flags[i].st)
			has |= flags[i].attr;
	if (!(st.f_flag & (ST_NOATIME | ST_RELATIME)))
		has |= MOUNT_ATTR_STRICTATIME;
	*ret = has;
	return 0;
}

/* What a user namespace could not take off the mount stays (mount_namespaces(7), "locked"); asking for it is an error, as it would
 * be had the container mounted it. */
static int keep_locked(int fd, const MountOptions *o, MountChange *c)
{
	uint64_t has, atime = c->set & ATIME_ALL;
	int r = read_attributes(fd, &has);

	if (r < 0)
		return r;
	if ((has & LOCKABLE & o->clear) || (o->atime_given && atime != (has & ATIME_ALL)))
		return -EPERM;
	c->clear &= ~(has & LOCKABLE);
	return 0;
}

/* Any word about the mount makes its flags exactly those that are given, as a remount does; without one they stay as they are.
 * The recursive words change just what they say. */
static int set_attributes(int fd, const MountOptions *o, bool locked)
{
	MountChange c = {.set = o->set & ~(uint64_t)(o->atime_given ? 0 : ATIME_ALL),
			 .clear = BIND_FLAGS | (uint64_t)(o->atime_given ? ATIME_ALL : 0)};
	int r = 0;

	if (o->rec_set | o->rec_clear)
		r = mount_change(fd, "",
				 &(MountChange){.set = o->rec_set, .clear = o->rec_clear, .recursive = true});
	if (r < 0 || !(o->set | o->clear))
		return r;
	if (locked)
		r = keep_locked(fd, o, &c);
	if (r < 0)
		return r;
	r = mount_change(fd, "", &c);
	/* Somebody else's namespace has locked them already (a container in a container). */
	if (r == -EPERM && !locked)
		return set_attributes(fd, o, true);
	return r;
}

/* Gives a detached mount its options. userns: -1 unless ids are mapped. */
static int set_up_mount(int fd, const MountOptions *o, bool locked, int userns, Err *e)
{
	int r = set_propagation(fd, o);

	if (r == 0)
		r = set_attributes(fd, o, locked);
	if (r == -EPERM)
		return err_new_no(e, ERR_DENIED, EPERM, "set the options: operation not permitted%s",
				  rootless_locked_hint(r));
	if (r < 0)
		return err_sys(e, r, "set the options");
	return userns >= 0 ? idmap(fd, userns, o, e) : 0;
}

/* From what lies at dirfd/path to a mount of its own with the options. */
static int clone_source(int dirfd, const char *path, const MountOptions *o, bool locked, int userns, int *ret,
			Err *e)
{
	/* What another container has mounted for itself is in its own namespace. */
	_cleanup_close_ int fd = dirfd == AT_FDCWD && mount_is_foreign(path)
				     ? mount_clone_foreign(path, o->recursive_bind)
				     : mount_clone(dirfd, path, o->recursive_bind);
	int r;

	if (fd < 0)
		return err_sys(e, fd, "open");
	r = set_up_mount(fd, o, locked, userns, e);
	if (r == 0)
		*ret = take_fd(&fd);
	return r;
}

static int open_map_if_asked(const OciMount *m, const MountOptions *o, const OciSpec *spec, int *ret, Err *e)
{
	*ret = o->idmap ? open_map(m, spec, e) : -1;
	return o->idmap && *ret < 0 ? *ret : 0;
}

/* The mount that the creator was given for the path, or -1. */
static int given_mount(const Bundle *b, const char *path)
{
	const char *rest = str_after(path, b->dir),
		   *number = rest ? str_after(rest, "/" RUNTIME_MOUNTS "/") : NULL;
	int i;

	if (!number || str_to_int(number, 0, INT32_MAX, &i) < 0 || (size_t)i >= b->n_mounts)
		return -1;
	return b->mounts[i];
}

static int take_given(int given, const MountOptions *o, bool locked, int userns, int *ret, Err *e)
{
	_cleanup_close_ int fd = fcntl(given, F_DUPFD_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "duplicate a mount");
	r = set_up_mount(fd, o, locked, userns, e);
	if (r == 0)
		*ret = take_fd(&fd);
	return r;
}

static int open_bind(const Bundle *b, const OciMount *m, const MountOptions *o, bool locked, const char *path,
		     int *ret, Err *e)
{
	_cleanup_close_ int userns = -1;
	int r = open_map_if_asked(m, o, &b->spec, &userns, e), given = given_mount(b, path);

	if (r == 0 && given >= 0)
		r = take_given(given, o, locked, userns, ret, e);
	else if (r == 0)
		r = clone_source(AT_FDCWD, path, o, locked, userns, ret, e);
	return r < 0 ? err_ctx(e, r, "bind source %s", path) : 0;
}

/* The part of the path inside the container's root filesystem, or NULL. */
static const char *inner_part(const Bundle *b, const char *path)
{
	const char *rest = str_after(path, b->rootfs);

	return rest && *rest == '/' ? rest : NULL;
}

/* Leaves an inner source for later. */
static int open_source(const Bundle *b, const OciMount *m, const MountOptions *o, bool locked, bool inner,
		       int *ret, Err *e)
{
	_cleanup_free_ char *path = str_empty(m->source) ? NULL : path_join_clean(b->dir, m->source);

	if (str_empty(m->source))
		return err_new(e, ERR_INVALID, "a bind mount needs a source");
	if (!path)
		return err_oom(e);
	if (inner && inner_part(b, path))
		return 0;
	return open_bind(b, m, o, locked, path, ret, e);
}

/* The creator's answer: a mount, or the Err of its process. */
static int ask_creator(Init *in, size_t i, int at, int *ret, Err *e)
{
	char buf[sizeof(Err) + 1];
	size_t n_fds = 1;
	int fd = -1, r = init_send(in->sock, INIT_SOURCE, &i, sizeof(i), at);
	ssize_t n = r < 0 ? r : fd_recv_msg(in->sock, buf, sizeof(buf), &fd, &n_fds);

	if (n <= 0)
		return err_sys(e, n < 0 ? (int)n : ECONNRESET, "talk to the creator");
	if (buf[0] == INIT_FAILED && n == sizeof(buf))
		return init_told_failure(buf, e);
	if (n_fds != 1)
		return err_new(e, ERR_INTERNAL, "the creator sent no mount");
	*ret = fd;
	return 0;
}

int mount_source_open_inner(Init *in, size_t i, int *ret, Err *e)
{
	const OciMount *m = &in->spec->mounts[i];
	const MountOptions *o = &in->sources.options[i];
	_cleanup_free_ char *path = path_join_clean(in->bundle->dir, m->source);
	const char *rest = path ? inner_part(in->bundle, path) : NULL;
	_cleanup_close_ int at = -1;
	int r;

	if (!rest)
		return err_oom(e);
	at = path_open_in_root(in->root, rest, O_PATH, 0);
	if (at < 0)
		return err_sys(e, at, "bind source %s", path);
	r = o->idmap ? ask_creator(in, i, at, ret, e) : clone_source(at, "", o, in->bind_devices, -1, ret, e);
	return r < 0 ? err_ctx(e, r, "bind source %s", path) : 0;
}

_Noreturn static void open_in_namespace(const Init *in, size_t i, int at, pid_t pid, int sock)
{
	const OciMount *m = &in->spec->mounts[i];
	_cleanup_close_ int ns = -1, fd = -1, userns = -1;
	char path[48];
	Err e = {0};
	int r = open_map_if_asked(m, &in->sources.options[i], in->spec, &userns, &e);

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	if (r == 0) {
		ns = open(path, O_RDONLY | O_CLOEXEC);
		if (ns < 0 || setns(ns, CLONE_NEWNS) < 0)
			r = err_sys(&e, errno, "enter the container's mount namespace");
	}
	if (r == 0)
		r = clone_source(at, "", &in->sources.options[i], in->bind_devices, userns, &fd, &e);
	if (r < 0)
		init_fail(sock, &e, r);
	_exit(init_send(sock, INIT_GO, NULL, 0, fd) < 0);
}

int mount_source_serve(const Init *in, size_t i, int at, pid_t pid, int sock, Err *e)
{
	pid_t helper;
	int status;

	if (i >= in->sources.n || at < 0)
		return err_new(e, ERR_INTERNAL,
			       "the container's process asked for a mount that is not in the config");
	helper = namespace_fork(&(NamespaceFork){.cgroup_fd = -1});
	if (helper == 0)
		open_in_namespace(in, i, at, pid, sock);
	if (helper < 0)
		return err_sys(e, helper, "start a process to open a mount's source");
	status = process_reap(helper);
	/* One that failed has said so to whoever asked. */
	return status < 0 || WIFSIGNALED(status)
		   ? err_new(e, ERR_INTERNAL, "the process that opens a mount's source was killed")
		   : 0;
}

/* Something else at this path (a container that shares /dev may have put it there) would become
 * writable where a file should be masked (CVE-2025-31133). */
static int open_null(int *ret, Err *e)
{
	_cleanup_close_ int fd = mount_clone(AT_FDCWD, "/dev/null", false);
	struct stat st;

	if (fd < 0)
		return err_sys(e, fd, "open /dev/null");
	if (mount_change(fd, "", &(MountChange){.propagation = MS_PRIVATE}) < 0 || fstat(fd, &st) < 0)
		return err_sys(e, errno, "open /dev/null");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return err_new(e, ERR_DENIED, "/dev/null of the host is not the null device");
	*ret = take_fd(&fd);
	return 0;
}

static int open_device(const OciDevice *d, int *ret, Err *e)
{
	_cleanup_close_ int fd = mount_clone(AT_FDCWD, d->path, false);
	struct stat st;

	if (fd < 0)
		return err_sys(e, fd, "open device %s (it cannot be made in a user namespace)", d->path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "open device %s", d->path);
	if ((!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) ||
	    st.st_rdev != makedev((unsigned)d->major, (unsigned)d->minor))
		return err_new(e, ERR_INVALID, "%s of the host is not device %lld:%lld", d->path,
			       (long long)d->major, (long long)d->minor);
	*ret = take_fd(&fd);
	return 0;
}

static int open_devices(const OciSpec *spec, MountSources *s, Err *e)
{
	size_t n = spec->n_devices + devices_n_default;
	int r = 0;

	s->devices = malloc((n + 1) * sizeof(int));
	if (!s->devices)
		return err_oom(e);
	for (size_t i = 0; i < n; i++)
		s->devices[i] = -1;
	s->n_devices = n;
	for (size_t i = 0; i < n && r == 0; i++) {
		const OciDevice *d =
		    i < spec->n_devices ? &spec->devices[i] : &devices_default[i - spec->n_devices];

		if (d->path && !streq0(d->type, "p"))
			r = open_device(d, &s->devices[i], e);
	}
	return r;
}

static int open_all(const Bundle *b, bool bind_devices, bool inner_later, MountSources *s, Err *e)
{
	const OciSpec *spec = &b->spec;
	int r = open_null(&s->null, e);

	for (size_t i = 0; i < s->n; i++)
		s->fds[i] = -1;
	for (size_t i = 0; i < s->n && r == 0; i++) {
		const OciMount *m = &spec->mounts[i];
		MountOptions *o = &s->options[i];

		r = mount_options_parse(m->options, o, e);
		o->bind |= streq0(m->type, "bind");
		/* Mappings say that ids are to be mapped, with or without the word. */
		o->idmap |= m->n_uid_mappings > 0;
		if (r == 0 && o->bind && !o->remount)
			r = open_source(b, m, o, bind_devices, inner_later, &s->fds[i], e);
		if (r < 0)
			return err_ctx(e, r, INIT_CONTEXT ": " MOUNTING, MOUNTING_ARGS(m));
	}
	if (r == 0 && bind_devices)
		r = open_devices(spec, s, e);
	return r;
}

int mount_sources_open(const Bundle *b, bool bind_devices, bool inner_later, MountSources *ret, Err *e)
{
	size_t n = b->spec.n_mounts;
	MountSources s = {.null = -1};
	int r;

	s.options = calloc(n + 1, sizeof(*s.options));
	s.fds = malloc((n + 1) * sizeof(int));
	if (s.options && s.fds)
		s.n = n;
	r = s.options && s.fds ? open_all(b, bind_devices, inner_later, &s, e) : err_oom(e);
	if (r < 0)
		mount_sources_done(&s);
	else
		*ret = s;
	return r;
}
