/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers that are EROFS images: layers/<chain id>/layer.erofs (erofs.h).
 *
 * The sandbox writes the image through one descriptor; it is read once more here before the kernel may (erofs_check). It
 * is mounted at first use, detached, and the mount is kept, so that later users pay a dup(2). A mount that is let go of
 * lives on in the overlays over it. What an image cannot say (unpack_fix_image) makes the layer a directory, unpacked from
 * the plain tar in the image.
 */
#include "store/erofs.h"

#include "base/path.h"
#include "base/str.h"
#include "kernel/mount.h"
#include "store/store-internal.h"
#include "store/unpack-protocol.h"

#define MOUNTS_MAX 256 /* kept; the rest is mounted again when needed */

char *layer_image(const char *chain_id)
{
	return strf(LAYERS "/%s/layer.erofs", digest_hex(chain_id));
}

/* ---- making ---- */

static int unpack(Store *s, const LayerApply *a, int image_fd, UnpackRun *u, Err *e)
{
	_cleanup_close_ int empty = openat(s->root_fd, "empty", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int64_t tar_bytes = -1;
	int r;

	if (empty < 0)
		return err_sys(e, errno, "open %s/empty", s->root);
	if (lseek(image_fd, EROFS_TAR_AT, SEEK_SET) < 0)
		return err_sys(e, errno, "write the layer image");
	u->dir_fd = empty;
	r = unpack_run(s, u, e);
	if (r < 0)
		return r;
	if (a->want_diff_id && !streq(a->want_diff_id, u->done->diff_id))
		return err_new(e, ERR_INVALID, "diff id mismatch: expected %s, got %s", a->want_diff_id,
			       u->done->diff_id);
	r = erofs_check(image_fd, &tar_bytes, e);
	if (r >= 0 && tar_bytes != u->done->stream_bytes)
		return err_new(e, ERR_INTERNAL, "ireko-unpack sent a damaged report");
	return r;
}

static int fix(Store *s, const LayerApply *a, int image_fd, UnpackRun *u, Err *e)
{
	_cleanup_layers_ LayerDirs lower = {0};
	int r = layer_await_parent(a, e);

	if (r >= 0 && a->parent)
		r = layer_dirs(s, a->parent, &lower, e);
	return r < 0 ? r : unpack_fix_image(image_fd, u, lower.paths, e);
}

int layer_image_make(Store *s, const char *folder, const LayerApply *a, UnpackDone *done, int *ret_tar,
		     Err *e)
{
	const UnpackJob job = {.image = true,
			       .layer = true,
			       .max_bytes = s->layer_max_bytes,
			       .max_files = s->layer_max_files};
	_cleanup_free_ char *path = strf("%s/layer.erofs", folder);
	_cleanup_close_ int fd = -1;
	int r;

	if (!path)
		return err_oom(e);
	fd = openat(s->root_fd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return store_sys(e, errno, "make %s/%s", s->root, path);
	_cleanup_(unpack_run_done) UnpackRun u = {.job = &job,
						  .in_fd = a->fd,
						  .out_fd = fd,
						  .progress = a->progress,
						  .user = a->user,
						  .done = done};
	r = unpack(s, a, fd, &u, e);
	if (r >= 0)
		r = fix(s, a, fd, &u, e);
	if (r <= 0)
		return r;
	if (ftruncate(fd, EROFS_TAR_AT + done->stream_bytes) < 0 || lseek(fd, EROFS_TAR_AT, SEEK_SET) < 0 ||
	    unlinkat(s->root_fd, path, 0) < 0)
		return err_sys(e, errno, "take the tar out of %s/%s", s->root, path);
	*ret_tar = take_fd(&fd);
	return 1;
}

static int open_image(Store *s, const char *chain_id, Err *e)
{
	_cleanup_free_ char *path = layer_image(chain_id);
	int fd;

	if (!path)
		return err_oom(e);
	fd = openat(s->root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_sys(e, errno, "open %s/%s", s->root, path) : fd;
}

int layer_image_open_tar(Store *s, const char *chain_id, int64_t *ret_len, Err *e)
{
	_cleanup_close_ int fd = open_image(s, chain_id, e);
	int r = fd < 0 ? fd : erofs_tar_bytes(fd, ret_len, e);

	if (r >= 0 && lseek(fd, EROFS_TAR_AT, SEEK_SET) < 0)
		r = err_sys(e, errno, "read the layer image");
	return r < 0 ? r : take_fd(&fd);
}

/* ---- mounts ---- */

static LayerMount **find(Store *s, const char *chain_id)
{
	LayerMount **m = &s->mounts;

	while (*m && !streq((*m)->chain_id, chain_id))
		m = &(*m)->next;
	return m;
}

static void mount_free(LayerMount *m)
{
	close_fd(&m->fd);
	free(m);
}

/* A descriptor of the kept mount, which becomes the first, or -ENOENT. */
static int reuse(Store *s, const char *chain_id)
{
	LayerMount **at, *m;
	int fd = -ENOENT;

	pthread_mutex_lock(&s->lock);
	at = find(s, chain_id);
	m = *at;
	if (m) {
		*at = m->next;
		m->next = s->mounts;
		s->mounts = m;
		fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
		fd = fd < 0 ? -errno : fd;
	}
	pthread_mutex_unlock(&s->lock);
	return fd;
}

/* Unless somebody else was first: two mounts of one image would not share what they have read. */
static int keep(Store *s, const char *chain_id, int *fd, Err *e)
{
	LayerMount *own = malloc(sizeof(*own)), *last = NULL;
	size_t n = 0;
	int dup;

	if (!own)
		return err_oom(e);
	*own = (LayerMount){.fd = take_fd(fd)};
	memcpy(own->chain_id, chain_id, DIGEST_LEN + 1);
	pthread_mutex_lock(&s->lock);
	if (*find(s, chain_id)) {
		last = own;
	} else {
		own->next = s->mounts;
		s->mounts = own;
		for (LayerMount **m = &s->mounts; *m; m = &(*m)->next)
			if (++n > MOUNTS_MAX) {
				last = *m;
				*m = NULL;
				break;
			}
	}
	dup = fcntl((*find(s, chain_id))->fd, F_DUPFD_CLOEXEC, 0);
	dup = dup < 0 ? -errno : dup;
	pthread_mutex_unlock(&s->lock);
	if (last)
		mount_free(last);
	return dup < 0 ? err_sys(e, dup, "keep the mount of a layer") : dup;
}

int layer_image_mount(Store *s, const char *chain_id, Err *e)
{
	_cleanup_close_ int image = -1, fd = reuse(s, chain_id);
	int r;

	if (fd != -ENOENT)
		return fd < 0 ? err_sys(e, fd, "mount the layer %s", chain_id) : take_fd(&fd);
	image = open_image(s, chain_id, e);
	r = image < 0 ? image : mount_erofs(image, &fd, e);
	if (r >= 0)
		r = keep(s, chain_id, &fd, e);
	return r < 0 ? err_ctx(e, r, "mount the layer %s", chain_id) : r;
}

void layer_image_forget(Store *s, const char *chain_id)
{
	LayerMount *gone = NULL;

	pthread_mutex_lock(&s->lock);
	for (LayerMount **m = chain_id ? find(s, chain_id) : &s->mounts; *m;) {
		LayerMount *own = *m;

		*m = own->next;
		own->next = gone;
		gone = own;
		if (chain_id)
			break;
	}
	pthread_mutex_unlock(&s->lock);
	for (LayerMount *next; gone; gone = next) {
		next = gone->next;
		mount_free(gone);
	}
}
