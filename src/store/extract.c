/* SPDX-License-Identifier: Apache-2.0 */
/* A tar into a directory that is in use, through the sandbox (docker cp, build contexts, ADD). */
#include "base/fd.h"
#include "base/path.h"
#include "store/inflate.h"
#include "store/store-internal.h"
#include "store/tar-read.h"
#include "store/unpack-protocol.h"

#include <fcntl.h>
#include <sys/mman.h>

typedef struct Extraction {
	const ArchiveExtract *x;
	int64_t bytes_read;
} Extraction;

static void progress(void *user, int64_t bytes_read)
{
	((Extraction *)user)->bytes_read = bytes_read;
}

static int go_on(void *user, Err *e)
{
	const Extraction *n = user;

	return n->x->go_on(n->x->user, n->bytes_read, e);
}

static int take_ids(UnpackJob *job, const StoreIds *ids, Err *e)
{
	if (ids->n_uids > UNPACK_IDS_MAX || ids->n_gids > UNPACK_IDS_MAX)
		return err_new(e, ERR_UNSUPPORTED, "the user namespace has more than %d ranges of ids",
			       UNPACK_IDS_MAX);
	memcpy(job->uids.v, ids->uids, ids->n_uids * sizeof(*ids->uids));
	memcpy(job->gids.v, ids->gids, ids->n_gids * sizeof(*ids->gids));
	job->uids.n = ids->n_uids;
	job->gids.n = ids->n_gids;
	return 0;
}

int store_archive_extract(Store *s, const ArchiveExtract *x, Err *e)
{
	UnpackJob job = {
	    .whiteouts = x->whiteouts,
	    .devices = x->allow_devices,
	    .keep_owner = x->keep_owner,
	    .no_overwrite_dir_non_dir = x->no_overwrite_dir_non_dir,
	    .uid = x->uid,
	    .gid = x->gid,
	    .max_bytes = s->layer_max_bytes,
	    .max_files = s->layer_max_files,
	};
	Extraction now = {.x = x};
	UnpackDone done;
	_cleanup_(unpack_run_done) UnpackRun u = {.job = &job,
						  .in_fd = x->fd,
						  .dir_fd = x->dir_fd,
						  .out_fd = -1,
						  .progress = progress,
						  .go_on = x->go_on ? go_on : NULL,
						  .user = &now,
						  .done = &done};
	_cleanup_close_ int root = -1;
	int r = x->ids ? take_ids(&job, x->ids, e) : 0;

	if (r < 0)
		return r;
	r = unpack_run(s, &u, e);
	if (r < 0)
		return err_ctx(e, r, "extract");
	/* The descriptor may be O_PATH, which cannot be written through. */
	root = path_open_in_root(x->dir_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (root < 0)
		return err_sys(e, root, "open the target directory");
	return unpack_fix(root, &u, NULL, e);
}

/* ---- is it one? ---- */

/* The beginning of what is compressed. It goes to a file that cannot grow, which ends the helper: its failure means nothing then. */
static int inflate_beginning(Store *s, int fd, uint8_t *block, ssize_t *ret_len, Err *e)
{
	const UnpackJob job = {.cat = true, .max_bytes = s->layer_max_bytes, .max_files = s->layer_max_files};
	_cleanup_close_ int out = memfd_create("archive", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	_cleanup_close_ int empty = openat(s->root_fd, "empty", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	UnpackDone done;
	Err ignored;
	int r;

	if (out < 0 || empty < 0 || ftruncate(out, 4096) < 0 || fcntl(out, F_ADD_SEALS, F_SEAL_GROW) < 0)
		return err_sys(e, errno, "prepare to look into an archive");
	UnpackRun u = {.job = &job, .in_fd = fd, .dir_fd = empty, .out_fd = out, .done = &done};
	r = unpack_run(s, &u, &ignored);
	unpack_run_done(&u);
	(void)r;
	*ret_len = fd_pread_full(out, block, TAR_BLOCK, 0);
	return *ret_len < 0 ? err_sys(e, (int)*ret_len, "look into an archive") : 0;
}

static bool is_compressed(const uint8_t *head, ssize_t n)
{
	Inflate *d = NULL;
	bool plain = n < INFLATE_MAGIC || inflate_new(head, INFLATE_MAGIC, &d, NULL) < 0 ||
		     streq(inflate_name(d), "plain");

	inflate_free(d);
	return !plain;
}

int store_archive_recognise(Store *s, int fd, bool *ret, Err *e)
{
	uint8_t block[TAR_BLOCK] = {0};
	ssize_t n = fd_pread_full(fd, block, sizeof(block), 0);
	int r = 0;

	if (n < 0)
		return err_sys(e, (int)n, "read an archive");
	if (is_compressed(block, n))
		r = inflate_beginning(s, fd, block, &n, e);
	*ret = r >= 0 && n == (ssize_t)TAR_BLOCK && tar_block_begins(block);
	if (r >= 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = err_sys(e, errno, "go back in an archive");
	return r;
}
