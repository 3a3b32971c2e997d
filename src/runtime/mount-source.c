/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the container is given of the host: sources of bind mounts, /dev/null to mask files with, and
 * device nodes where it may not make them. All of it is opened by the creator, with the creator's rights and in its
 * mount namespace, as detached mounts; the child only has to attach them. So a source can neither be
 * swapped for something inside the container nor be out of reach for a user namespace.
 */
#include "runtime/runtime-internal.h"

#include "base/str.h"
#include "kernel/namespace.h"

#include <linux/magic.h>
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
	return r < 0 ? r : fd;
}

static int idmap(int fd, const OciMount *m, const MountOptions *o, const OciSpec *spec, Err *e)
{
	_cleanup_close_ int userns = open_map(m, spec, e);
	const char *power =
	    "map ids (that takes privilege over its filesystem, which a user namespace has not)";
	int r;

	if (userns < 0)
		return userns == -EACCES || userns == -EPERM ? err_ctx(e, userns, "%s", power) : userns;
	r = mount_change(fd, "",
			 &(MountChange){.set = MOUNT_ATTR_IDMAP,
					.userns_fd = userns,
					.recursive = o->recursive_idmap});
	if (r == -EPERM)
		return err_sys(e, r, "%s", power);
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

static int set_attributes(int fd, const MountOptions *o)
{
	int r = 0;

	if (o->rec_set | o->rec_clear)
		r = mount_change(fd, "",
				 &(MountChange){.set = o->rec_set, .clear = o->rec_clear, .recursive = true});
	if (r == 0 && (o->set | o->clear))
		r = mount_change(fd, "", &(MountChange){.set = o->set, .clear = o->clear});
	return r;
}

static int open_bind(const Bundle *b, const OciMount *m, const MountOptions *o, int *ret, Err *e)
{
	_cleanup_free_ char *path = str_empty(m->source) ? NULL : path_join_clean(b->dir, m->source);
	_cleanup_close_ int fd = -1;
	int r;

	if (str_empty(m->source))
		return err_new(e, ERR_INVALID, "a bind mount needs a source");
	if (!path)
		return err_oom(e);
	fd = mount_clone(AT_FDCWD, path, o->recursive_bind);
	if (fd < 0)
		return err_sys(e, fd, "bind source %s", path);
	r = set_propagation(fd, o);
	if (r == 0)
		r = set_attributes(fd, o);
	if (r < 0)
		return err_sys(e, r, "set the options of bind source %s%s", path, rootless_locked_hint(r));
	if (o->idmap) {
		r = idmap(fd, m, o, &b->spec, e);
		if (r < 0)
			return err_ctx(e, r, "bind source %s", path);
	}
	*ret = take_fd(&fd);
	return 0;
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

static int open_all(const Bundle *b, bool bind_devices, MountSources *s, Err *e)
{
	const OciSpec *spec = &b->spec;
	int r = open_null(&s->null, e);

	for (size_t i = 0; i < s->n; i++)
		s->fds[i] = -1;
	for (size_t i = 0; i < s->n && r == 0; i++) {
		const OciMount *m = &spec->mounts[i];
		MountOptions *o = &s->options[i];

		r = mount_options_parse(m->options, o, e);
		if (r == 0 && streq0(m->type, "bind"))
			o->bind = true;
		if (r == 0 && o->bind && !o->remount)
			r = open_bind(b, m, o, &s->fds[i], e);
		if (r < 0)
			return err_ctx(e, r, "mount %s", m->destination);
	}
	if (r == 0 && bind_devices)
		r = open_devices(spec, s, e);
	return r;
}

int mount_sources_open(const Bundle *b, bool bind_devices, MountSources *ret, Err *e)
{
	size_t n = b->spec.n_mounts;
	MountSources s = {.null = -1};
	int r;

	s.options = calloc(n + 1, sizeof(*s.options));
	s.fds = malloc((n + 1) * sizeof(int));
	if (s.options && s.fds)
		s.n = n;
	r = s.options && s.fds ? open_all(b, bind_devices, &s, e) : err_oom(e);
	if (r < 0)
		mount_sources_done(&s);
	else
		*ret = s;
	return r;
}
