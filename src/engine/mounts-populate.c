/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copy-up: a volume that is empty gets what the image has at its place, when a container is created with it.
 *
 * The archive goes through the sandbox, as any does. While a volume is being filled there is a mark beside its data, so that
 * neither a full disk nor a killed irekod leaves one that is half filled and looks as if it were not.
 */
#include "engine/engine-internal.h"
#include "engine/volume.h"
#include "store/dir.h"

#include <dirent.h>
#include <sys/file.h>
#include <sys/stat.h>

/* 1, 0 or -errno. */
static int dir_is_empty(int fd)
{
	_cleanup_close_ int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	const struct dirent *de;
	int empty = 1;

	if (!d)
		return -errno;
	(void)take_fd(&again);
	errno = 0;
	while (empty > 0 && (de = readdir(d)))
		empty = streq(de->d_name, ".") || streq(de->d_name, "..");
	if (empty && errno)
		empty = -errno;
	closedir(d);
	return empty;
}

typedef struct Packing {
	int dir_fd, out_fd, result;
	Err err;
} Packing;

static void *pack_thread(void *arg)
{
	Packing *k = arg;

	k->result = store_archive_pack(k->dir_fd, ".", ".", NULL, k->out_fd, &k->err);
	close_fd(&k->out_fd);
	return NULL;
}

static int copy_tree(Engine *en, int from, int to, Err *e)
{
	Packing k = {.dir_fd = from};
	ArchiveExtract x = {.dir_fd = to, .keep_owner = true, .allow_devices = true};
	pthread_t thread;
	int p[2], r;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	x.fd = p[0];
	k.out_fd = p[1];
	r = pthread_create(&thread, NULL, pack_thread, &k);
	if (r != 0) {
		close_fd(&p[0]);
		close_fd(&p[1]);
		return err_sys(e, r, "start a thread");
	}
	r = store_archive_extract(en->store, &x, e);
	/* A reader that gave up lets the writer end with EPIPE. */
	close_fd(&p[0]);
	pthread_join(thread, NULL);
	if (r >= 0 && k.result < 0) {
		r = k.result;
		if (e)
			*e = k.err;
	}
	return r;
}

/* The top directory itself looks as in the image. */
static int copy_top(int from, int to, const char *name, Err *e)
{
	struct stat st;

	if (fstat(from, &st) < 0 || fchown(to, st.st_uid, st.st_gid) < 0 ||
	    fchmod(to, st.st_mode & 07777) < 0)
		return err_sys(e, errno, "set owner and mode of volume %s", name);
	return 0;
}

/* ---- one volume ---- */

/* Beside the data while it is filled: what an irekod that was killed has left half filled is no data. */
static char *mark_path(const char *name)
{
	return strf("volumes/%s/filling", name);
}

static bool is_marked(Engine *en, const char *mark)
{
	return faccessat(store_root_fd(en->store), mark, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int set_mark(Engine *en, const char *mark, Err *e)
{
	_cleanup_close_ int fd =
	    openat(store_root_fd(en->store), mark, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? err_sys(e, errno, "make %s", mark) : 0;
}

/* The lock on the data is held. */
static int empty_volume(Engine *en, const char *mark, int data)
{
	_cleanup_strv_ char **names = NULL;
	_cleanup_close_ int dir = openat(data, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir < 0 ? -errno : dir_names(dir, &names);

	for (size_t i = 0; r >= 0 && names && names[i]; i++)
		r = remove_tree_at(data, names[i]);
	if (r >= 0 && unlinkat(store_root_fd(en->store), mark, 0) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

static int fill(Engine *en, const ContainerMountPoint *m, int from, int data, const char *mark, Err *e)
{
	int r = set_mark(en, mark, e);

	if (r >= 0)
		r = copy_tree(en, from, data, e);
	if (r >= 0)
		r = copy_top(from, data, m->name, e);
	if (r >= 0 && unlinkat(store_root_fd(en->store), mark, 0) < 0)
		r = err_sys(e, errno, "remove %s", mark);
	if (r < 0)
		(void)empty_volume(en, mark, data);
	return r;
}

static int populate_locked(Engine *en, const ContainerMountPoint *m, int from, int data, Err *e)
{
	_cleanup_free_ char *mark = mark_path(m->name);
	int r = mark ? 0 : err_oom(e);

	if (r >= 0 && is_marked(en, mark)) {
		r = empty_volume(en, mark, data);
		if (r < 0)
			r = err_sys(e, r, "empty the half filled volume");
	}
	if (r >= 0) {
		r = dir_is_empty(data);
		if (r <= 0)
			return r < 0 ? err_sys(e, r, "read %s", m->source) : 0;
		r = dir_is_empty(from);
		if (r < 0)
			return err_sys(e, r, "read %s of the image", m->destination);
		r = r > 0 ? copy_top(from, data, m->name, e) : fill(en, m, from, data, mark, e);
	}
	return r;
}

static int populate_mounted(Engine *en, int image_fd, const ContainerMountPoint *m, Err *e)
{
	_cleanup_close_ int from = path_open_in_root(image_fd, m->destination, O_RDONLY | O_DIRECTORY, 0);
	_cleanup_close_ int to = -1;

	if (from == -ENOENT || from == -ENOTDIR)
		return 0; /* nothing there that could be copied */
	if (from < 0)
		return err_sys(e, from, "open %s of the image", m->destination);
	to = open(m->source, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return err_sys(e, errno, "open %s", m->source);
	/* Two containers that are created at once with one new volume: the second finds it filled. A file system without locks
	 * (NFS, at times) is filled all the same. */
	(void)flock(to, LOCK_EX);
	return populate_locked(en, m, from, to, e);
}

static int populate_one(Engine *en, int image_fd, const ContainerMountPoint *m, Err *e)
{
	int r = m->own_fs ? volume_use(en, m->name, e) : 0;

	if (r < 0)
		return r;
	r = populate_mounted(en, image_fd, m, e);
	if (m->own_fs)
		volume_release(en, m->name);
	return err_ctx(e, r, "fill volume %s with the image's %s", m->name, m->destination);
}

/* ---- all of a container ---- */

/* Not what other containers brought along: it is theirs to fill. */
static bool wants_copy(const ContainerMountPoint *m)
{
	return streq(m->type, "volume") && !m->no_copy;
}

static void remove_made(Engine *en, char *const *made)
{
	pthread_mutex_lock(&en->volumes_lock);
	for (size_t i = 0; made && made[i]; i++) {
		_cleanup_strv_ char **users = NULL;

		/* The container itself is one user; another may have come since. */
		if (volume_in_use(en, made[i], &users) && strv_len(users) < 2)
			(void)volume_remove_locked(en, made[i], NULL);
	}
	pthread_mutex_unlock(&en->volumes_lock);
}

int mounts_populate(Engine *en, Container *c, char *const *made, Err *e)
{
	_cleanup_close_ int image_fd = -1;
	EngineSpace space;
	int r = 0;

	for (size_t i = 0; r >= 0 && c->chain_id && i < c->n_mounts; i++) {
		if (!wants_copy(&c->mounts[i]))
			continue;
		if (image_fd < 0) {
			engine_space_begin(en, &space);
			r = store_layers_mount(en->store, c->chain_id, &image_fd, e);
		}
		if (r >= 0)
			r = populate_one(en, image_fd, &c->mounts[i], e);
	}
	if (r >= 0)
		return 0;
	remove_made(en, made);
	return engine_space_end(en, &space, r, e);
}
