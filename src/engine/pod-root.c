/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root of sandboxes without an image: a directory of the exec root that has ireko-pause and the places of its mounts, made once by each engine. Every sandbox gets a
 * read-only copy of its mount, so they share the pages of the one program.
 */
#include "engine/pod-internal.h"
#include "kernel/mount.h"

#include <sys/sendfile.h>
#include <sys/stat.h>

#define ROOT_NAME "pause"

static int copy_program(const char *from, int dir_fd, Err *e)
{
	_cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
	struct stat st;

	if (in < 0 || fstat(in, &st) < 0)
		return err_sys(e, errno, "%s is needed beside irekod", from);
	out = openat(dir_fd, "pause.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0555);
	if (out < 0)
		return err_sys(e, errno, "make the root of pods");
	for (off_t at = 0; at < st.st_size;) {
		ssize_t n = sendfile(out, in, &at, (size_t)(st.st_size - at));

		if (n <= 0)
			return err_sys(e, n < 0 ? errno : EIO, "copy %s", from);
	}
	/* By name, so that processes of an earlier program keep theirs. */
	return renameat(dir_fd, "pause.new", dir_fd, &POD_PAUSE_PATH[1]) < 0
		   ? err_sys(e, errno, "make the root of pods")
		   : 0;
}

static int root_make(Engine *en, const char *path, Err *e)
{
	static const char *const places[] = {"proc", "dev", "sys", "etc"};
	_cleanup_free_ char *program = strf("%s/ireko-pause", en->options.helper_dir);
	_cleanup_close_ int fd = -1;
	int r = program ? mkdir_parents_at(AT_FDCWD, path, 0755) : -ENOMEM;

	if (r < 0)
		return err_sys(e, r, "make %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s", path);
	for (size_t i = 0; i < ELEMENTSOF(places); i++)
		if (mkdirat(fd, places[i], 0755) < 0 && errno != EEXIST)
			return err_sys(e, errno, "make %s/%s", path, places[i]);
	return copy_program(program, fd, e);
}

const char *engine_pod_image(Engine *en)
{
	return en->options.pods.sandbox_image;
}

int pod_root_open(Engine *en, int *ret_fd, Err *e)
{
	/* The exec root lies on /run, which distributions mount noexec. */
	const MountChange change = {.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
				    .clear = MOUNT_ATTR_NOEXEC,
				    .userns_fd = -1};
	_cleanup_free_ char *path = strf("%s/" ROOT_NAME, en->options.exec_root);
	_cleanup_close_ int fd = -1;
	int r = path ? 0 : err_oom(e);

	pthread_mutex_lock(&en->pods.lock);
	if (r >= 0 && !en->pods.has_root) {
		r = root_make(en, path, e);
		en->pods.has_root = r >= 0;
	}
	pthread_mutex_unlock(&en->pods.lock);
	if (r < 0)
		return r;
	fd = mount_clone(AT_FDCWD, path, false);
	if (fd < 0)
		return err_sys(e, fd, "open %s", path);
	r = mount_change(fd, "", &change);
	if (r < 0)
		return err_sys(e, r, "make the mount of %s read-only", path);
	*ret_fd = take_fd(&fd);
	return 0;
}
