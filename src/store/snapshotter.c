/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which way of keeping layers this machine can.
 *
 *   erofs      a layer that comes as a tar is one image, mounted below an overlay: the fastest to pull, for no file is made, and one
 *              file to sync. Needs a kernel that mounts images (from their file since Linux 6.12, else by a loop device) and
 *              lets an overlay use a mount that no namespace has (6.18 does)
 *   overlayfs  a layer is a directory
 *   vfs        the same, and a container's root is a copy of them all, for want of an overlay
 *
 * What is possible is found out by doing it: an empty image is made, mounted, and an overlay mounted over it. What a layer
 * is can be seen on disk (layer.c), so a store may hold both kinds, whatever is chosen now; layers made of a container's
 * changes are directories always, since they are that already.
 */
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "kernel/mount.h"
#include "store/erofs.h"
#include "store/store-internal.h"

static const char *const names[] = {
    [SNAPSHOTTER_EROFS] = "erofs", [SNAPSHOTTER_OVERLAYFS] = "overlayfs", [SNAPSHOTTER_VFS] = "vfs"};

const char *store_snapshotter(const Store *s)
{
	return names[s->snapshotter];
}

const char *store_snapshotter_why(const Store *s)
{
	return s->snapshotter_why;
}

/* A nameless file with an image of an empty directory. */
static int make_image(Store *s, Err *e)
{
	static const char digest[] =
	    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	_cleanup_close_ int fd = openat(s->root_fd, TRASH, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	_cleanup_(erofs_layer_freep) ErofsLayer *l = NULL;
	int r;

	if (fd < 0)
		return err_sys(e, errno, "make a nameless file in %s/%s", s->root, TRASH);
	r = erofs_layer_new(1, 1, &l, e);
	if (r >= 0)
		r = erofs_layer_write(l, fd, 0, digest, e);
	return r < 0 ? r : take_fd(&fd);
}

static int try_erofs(Store *s, Err *e)
{
	_cleanup_free_ char *empty = strf("%s/empty", s->root);
	_cleanup_close_ int image = make_image(s, e), mount = -1, overlay = -1, view = -1;
	int r = image < 0 ? image : mount_erofs(image, &mount, e);

	if (r < 0)
		return r;
	FdPath path = path_of_fd(mount);
	char *both[] = {path.s, empty, NULL}, *one[] = {path.s, NULL};
	if (!empty)
		return err_oom(e);
	r = mount_overlay(both, NULL, NULL, &overlay, e);
	return r < 0 ? r : mount_overlay(one, NULL, NULL, &view, e);
}

static int choose(Store *s, Snapshotter which, char *why, Err *e)
{
	if (!why)
		return err_oom(e);
	s->snapshotter = which;
	s->snapshotter_why = why;
	return 0;
}

static int try_overlayfs(Store *s, Err *e)
{
	static const char *const folders[] = {TRASH "/.probe", TRASH "/.probe/upper", TRASH "/.probe/work"};
	_cleanup_free_ char *lower = strf("%s/init", s->root), *upper = strf("%s/%s", s->root, folders[1]),
			    *work = strf("%s/%s", s->root, folders[2]);
	_cleanup_close_ int mount = -1;
	int r = 0;

	if (!lower || !upper || !work)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(folders); i++)
		if (mkdirat(s->root_fd, folders[i], 0700) < 0 && errno != EEXIST)
			r = store_sys(e, errno, "make %s/%s", s->root, folders[i]);
	if (r >= 0)
		r = mount_overlay((char *[]){lower, NULL}, upper, work, &mount, e);
	close_fd(&mount);
	(void)remove_tree_at(s->root_fd, folders[0]);
	return r;
}

/* The best that can be done, and why no better. */
static int choose_best(Store *s, Err *e)
{
	Err no_overlay = {0}, no_erofs = {0};

	if (try_overlayfs(s, &no_overlay) < 0)
		return choose(s, SNAPSHOTTER_VFS, strf("overlayfs is not possible: %s", no_overlay.msg), e);
	if (try_erofs(s, &no_erofs) < 0)
		return choose(s, SNAPSHOTTER_OVERLAYFS, strf("erofs is not possible: %s", no_erofs.msg), e);
	return choose(s, SNAPSHOTTER_EROFS, strdup("the fastest that this kernel can"), e);
}

int snapshotter_choose(Store *s, const char *wanted, Err *e)
{
	int r = 0;

	if (!wanted || streq(wanted, "auto"))
		return choose_best(s, e);
	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		if (!streq(wanted, names[i]))
			continue;
		if (i == SNAPSHOTTER_EROFS)
			r = try_erofs(s, e);
		if (r >= 0 && i != SNAPSHOTTER_VFS)
			r = try_overlayfs(s, e);
		if (r < 0)
			return err_ctx(e, r, "the snapshotter %s cannot be used here, choose auto", wanted);
		return choose(s, (Snapshotter)i, strdup("as configured"), e);
	}
	return err_new(e, ERR_INVALID, "unknown snapshotter \"%s\": auto, erofs, overlayfs or vfs", wanted);
}
