/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's mount points as mounts: opened by descriptor, detached, for the shim or for a copy of files.
 *
 * Part of a volume or of an image (a subpath) is opened beneath its root: whatever the path and the links in it say, they lead
 * nowhere else, and what was opened is what is mounted.
 */
#include "engine/engine-internal.h"
#include "engine/volume.h"

#include "kernel/mount.h"

#include <fcntl.h>

/* ---- while a container runs ---- */

static void mount_event(Engine *en, const Container *c, const ContainerMountPoint *m, bool mounted)
{
	_cleanup_strv_ char **v = NULL;
	int r = strv_take(&v, strf("container=%s", c->id));

	if (r >= 0)
		r = strv_take(&v, strf("driver=%s", m->driver ?: "local"));
	if (r >= 0 && mounted)
		r = strv_take(&v, strf("destination=%s", m->destination));
	if (r >= 0 && mounted)
		r = strv_take(&v, strf("propagation=%s", m->propagation ?: ""));
	if (r >= 0 && mounted)
		r = strv_take(&v, strf("read/write=%s", m->rw ? "true" : "false"));
	if (r >= 0)
		engine_event(en, "volume", mounted ? "mount" : "unmount", m->name, v);
}

/* Of the first n of its mounts. */
static void unuse(Engine *en, Container *c, size_t n)
{
	while (n-- > 0)
		if (c->mounts[n].own_fs)
			volume_release(en, c->mounts[n].name);
}

int mounts_use(Engine *en, Container *c, Err *e)
{
	for (size_t i = 0; i < c->n_mounts; i++) {
		int r = c->mounts[i].own_fs ? volume_use(en, c->mounts[i].name, e) : 0;

		if (r < 0) {
			unuse(en, c, i);
			return r;
		}
	}
	return 0;
}

void mounts_unuse(Engine *en, Container *c)
{
	unuse(en, c, c->n_mounts);
}

static void tell(Engine *en, const Container *c, bool mounted)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (streq(c->mounts[i].type, "volume"))
			mount_event(en, c, &c->mounts[i], mounted);
}

int mounts_hold(Engine *en, Container *c, Err *e)
{
	int r = mounts_use(en, c, e);

	if (r < 0)
		return r;
	c->volumes_held = true;
	tell(en, c, true);
	return 0;
}

void mounts_release(Engine *en, Container *c)
{
	if (!c->volumes_held)
		return;
	c->volumes_held = false;
	mounts_unuse(en, c);
	tell(en, c, false);
}

void mounts_adopt(Engine *en, Container *c)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (c->mounts[i].own_fs)
			volume_adopt(en, c->mounts[i].name);
	c->volumes_held = true;
}

/* ---- part of it ---- */

static int subpath_error(const ContainerMountPoint *m, int r, Err *e)
{
	if (r == -EXDEV || r == -ELOOP)
		return err_new(
		    e, ERR_INVALID,
		    "subpath %s of %s %s escapes it: path concatenation escapes the base directory",
		    m->subpath, m->type, m->name ?: m->source);
	if (r == -ENOENT || r == -ENOTDIR)
		return err_new(e, ERR_NOT_FOUND, "cannot access path %s in %s %s: no such file or directory",
			       m->subpath, m->type, m->name ?: m->source);
	return err_sys(e, r, "cannot access path %s in %s %s", m->subpath, m->type, m->name ?: m->source);
}

static int clone_beneath(const ContainerMountPoint *m, int root, int *ret_fd, Err *e)
{
	_cleanup_close_ int at = path_open_beneath(root, m->subpath, O_PATH);
	int fd;

	if (at < 0)
		return subpath_error(m, at, e);
	fd = mount_clone(at, "", true);
	if (fd < 0)
		return err_sys(e, fd, "mount %s of %s", m->subpath, m->name ?: m->source);
	*ret_fd = fd;
	return 0;
}

static int open_part_of_image(Engine *en, const ContainerMountPoint *m, int root, int *ret_fd, Err *e)
{
	int fd = mount_clone_part(root, en->containers_run, m->subpath);

	if (fd < 0)
		return subpath_error(m, fd, e);
	*ret_fd = fd;
	return 0;
}

/* ---- all of it ---- */

bool mount_is_made(const ContainerMountPoint *m)
{
	return m->snapshot || m->subpath || m->given;
}

static int mount_image(Engine *en, const ContainerMountPoint *m, bool read_only, const StoreShift *shift,
		       int *ret_fd, Err *e)
{
	int r;

	if (!shift)
		return store_snapshot_mount(en->store, m->snapshot, read_only, ret_fd, e);
	r = store_snapshot_mount_shifted(en->store, m->snapshot, shift, ret_fd, e);
	if (r < 0 || !read_only)
		return r;
	r = mount_change(*ret_fd, "", &(MountChange){.set = MOUNT_ATTR_RDONLY});
	return r < 0 ? err_sys(e, r, "make it read-only") : 0;
}

static int open_image(Engine *en, const ContainerMountPoint *m, bool read_only, const StoreShift *shift,
		      int *ret_fd, Err *e)
{
	_cleanup_close_ int root = -1;
	int r = mount_image(en, m, read_only || !m->rw, shift, &root, e);

	if (r < 0)
		return err_ctx(e, r, "image %s", m->source);
	if (m->subpath)
		return open_part_of_image(en, m, root, ret_fd, e);
	*ret_fd = take_fd(&root);
	return 0;
}

int mount_open(Engine *en, const ContainerMountPoint *m, bool read_only, const StoreShift *shift, int *ret_fd,
	       Err *e)
{
	_cleanup_close_ int root = -1;
	int fd;

	if (m->given) {
		*ret_fd = fcntl(m->given_fd, F_DUPFD_CLOEXEC, 3);
		return *ret_fd < 0 ? err_sys(e, errno, "copy the descriptor of mount %s", m->destination) : 0;
	}
	if (m->snapshot)
		return open_image(en, m, read_only, shift, ret_fd, e);
	if (!m->subpath) {
		fd = mount_clone(AT_FDCWD, m->source, !m->non_recursive);
		if (fd < 0)
			return err_sys(e, fd, "mount %s at %s", m->source, m->destination);
		*ret_fd = fd;
		return 0;
	}
	root = open(m->source, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (root < 0)
		return err_sys(e, errno, "open %s", m->source);
	return clone_beneath(m, root, ret_fd, e);
}

int mounts_open_made(Engine *en, Container *c, const StoreShift *shift, int **ret, size_t *ret_n, Err *e)
{
	_cleanup_free_ int *fds = NULL;
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < c->n_mounts; i++)
		n += mount_is_made(&c->mounts[i]);
	if (n == 0)
		return 0;
	fds = calloc(n, sizeof(*fds));
	if (!fds)
		return err_oom(e);
	n = 0;
	for (size_t i = 0; r >= 0 && i < c->n_mounts; i++) {
		if (!mount_is_made(&c->mounts[i]))
			continue;
		r = mount_open(en, &c->mounts[i], false, shift, &fds[n], e);
		n += r >= 0;
	}
	*ret = take_ptr(fds);
	*ret_n = n;
	return r;
}
