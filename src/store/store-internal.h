/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store share. */
#pragma once

#include "store/db.h"
#include "store/store.h"

#include <pthread.h>

#define BLOBS  "content/blobs/sha256"
#define INGEST "content/ingest"
#define LAYERS "layers"
#define TRASH  "trash" /* what is being deleted: renamed to here at once, emptied in the background */

typedef struct ChainLock {
	struct ChainLock *next;
	char chain_id[DIGEST_LEN + 1];
} ChainLock;

/* How layers are kept; see snapshotter.c. Every kind reads what the others have made. */
typedef enum Snapshotter { SNAPSHOTTER_EROFS, SNAPSHOTTER_OVERLAYFS, SNAPSHOTTER_VFS } Snapshotter;

typedef struct LayerMount {
	struct LayerMount *next;
	char chain_id[DIGEST_LEN + 1];
	int fd;
} LayerMount;

struct Store {
	char *root;
	int root_fd, lock_fd;
	char *unpack_program;
	int64_t layer_max_bytes, layer_max_files;
	char *db_path;
	Db db;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	ChainLock *making;        /* layers that are being made */
	size_t leases, deletions; /* a deletion under way and a lease exclude each other */
	char **pending;           /* chain ids and digests of blobs whose deletion waits for the last lease */
	unsigned unpackers;       /* that run */

	LayerMount *mounts; /* of layers that are images, the last used first */
	Snapshotter snapshotter;
	char *snapshotter_why;

	pthread_t janitor; /* sync.c */
	bool janitor_runs, stop, unsynced, trash;
};

/* ---- store.c ---- */
/* "sha256:<hex>" to a malloc'ed path below the root; NULL when out of memory. */
char *blob_path(const char *digest);
char *layer_dir(const char *chain_id);  /* layers/<hex> */
char *layer_diff(const char *chain_id); /* layers/<hex>/diff */
/* ENOSPC and the like with the remedy, anything else like err_sys. */
int store_sys(Err *e, int no, const char *fmt, ...) _printf_(3, 4) _must_check_;
/* Moves path (below the root) out of the way, to be deleted in the background. Missing is success. */
int trash_put(Store *s, const char *path, Err *e);

/* ---- sync.c ---- */
int janitor_start(Store *s, Err *e);
void janitor_stop(Store *s);
/* Something was committed that is not on disk yet, or put into the trash. */
void janitor_wake(Store *s, bool unsynced, bool trash);

/* ---- reserve.c ---- */
/* True if there was a reserve, which is now free space: the failed write is worth another try. */
bool reserve_give(Store *s);
void reserve_make(Store *s);

/* ---- gc.c ---- */
/* At start: rows that the last boot did not bring to disk, then files without rows. */
int gc_after_boot(Store *s, Err *e);
int gc_garbage(Store *s, Err *e);
/* Removes layers from chain_id downwards and the given blobs, as far as nothing needs them. */
int gc_layers(Store *s, const char *chain_id, char ***blobs, StoreFreed *freed, Err *e);
int gc_blobs(Store *s, char *const *digests, StoreFreed *freed, Err *e);
/* As gc_layers; rows of the build cache keep theirs. */
int gc_uncached(Store *s, const char *chain_id, char ***blobs, StoreFreed *freed, Err *e);

/* ---- content.c ---- */
/* Makes a file of this file system, whose bytes have this size and digest and are nobody's to change any more, a blob: it gets one more
 * name, and its row. */
int blob_record(Store *s, int fd, int64_t size, const char *digest, Err *e);

/* ---- layer-pack.c, places.c: what is remembered of layers and blobs that are no more ---- */
int layer_forms_gc(Store *s, Err *e);
int blob_places_gc(Store *s, Err *e);

/* ---- layer.c ---- */
/* Waits until the layer that a new one lies on is there. */
int layer_await_parent(const LayerApply *a, Err *e);
void chain_lock(Store *s, const char *chain_id);
void chain_unlock(Store *s, const char *chain_id);
/* The parent of a layer (NULL for the lowest), malloc'ed. ERR_NOT_FOUND. */
int layer_parent(Store *s, const char *chain_id, char **ret, Err *e);

/* ---- layer-dirs.c ---- */
/* Directories of a chain of layers, top first. That of an image is named by way of a descriptor, which the list holds. */
typedef struct LayerDirs {
	char **paths;
	int *fds; /* -1 or the one that paths leads through */
	size_t n;
} LayerDirs;
void layer_dirs_done(LayerDirs *d);
#define _cleanup_layers_ _cleanup_(layer_dirs_done)
/* Of chain_id and all below, made again where the machine died before they were synced. */
int layer_dirs(Store *s, const char *chain_id, LayerDirs *ret, Err *e);

/* ---- layer-commit.c ---- */
/* Merges n directories of layers, given top first, into the directory `to` (tree_merge). */
int layers_merge(Store *s, char *const *paths, size_t n, bool keep_marks, int to, Err *e);

/* ---- layer-verify.c ---- */
/* Whether a layer is what it should be; see check.h. */
typedef struct LayerVerdict {
	char *problem;   /* NULL: none was found */
	bool unverified; /* the blob that it came from is missing, and nothing else tells all of it */
	bool replaced;   /* by one that was made again */
	int64_t bytes;   /* that were looked at */
} LayerVerdict;
void layer_verdict_done(LayerVerdict *v);
/* `replace`: puts what was made again in the place of a damaged layer. ERR_NOT_FOUND if there is no row. */
int layer_verify(Store *s, const char *chain_id, bool replace, LayerVerdict *ret, Err *e);

/* ---- snapshotter.c ---- */
/* NULL or "auto": the best that kernel and file system can. */
int snapshotter_choose(Store *s, const char *wanted, Err *e);

/* ---- layer-image.c ---- */
struct UnpackDone;
char *layer_image(const char *chain_id); /* layers/<hex>/layer.erofs */
/* Unpacks the stream into an image in `folder` (below the root). 1: the layer cannot be one, and *ret_tar is a file that stands at its
 * plain tar. */
int layer_image_make(Store *s, const char *folder, const LayerApply *a, struct UnpackDone *done, int *ret_tar,
		     Err *e);
/* A descriptor, the caller's, of the mounted image of a layer. */
int layer_image_mount(Store *s, const char *chain_id, Err *e);
/* For a kernel that cannot mount it (any more). */
int layer_image_to_dir(Store *s, const char *chain_id, Err *e);
/* Lets go of the mount of a layer that is deleted; those who use it go on. NULL: of all. */
void layer_image_forget(Store *s, const char *chain_id);
/* The plain tar that the image holds: a descriptor that stands at its beginning, and its length. -ENOENT if the layer is no image. */
int layer_image_open_tar(Store *s, const char *chain_id, int64_t *ret_len, Err *e);

/* ---- unpack-client.c ---- */
typedef struct PathSet PathSet;

typedef struct ImpliedAt {
	char *path;
	uint64_t inode_at;
} ImpliedAt;

typedef struct UnpackRun {
	const struct UnpackJob *job;
	int in_fd, dir_fd, out_fd; /* out_fd: -1 unless the job is `cat` */
	void (*progress)(void *user, int64_t bytes_read);
	/* Asked after each silence of the helper; an error ends it. May be NULL. */
	int (*go_on)(void *user, Err *e);
	void *user;
	struct UnpackDone *done;
	char **opaque; /* strv: directories to be marked */
	PathSet *implied;
	ImpliedAt *implied_at; /* of an image */
	size_t n_implied_at;
} UnpackRun;

int unpack_run(Store *s, UnpackRun *u, Err *e);
void unpack_run_done(UnpackRun *u);
/* Marks and dresses what the sandbox reported; lower: the layers below, top first. */
int unpack_fix(int dir_fd, UnpackRun *u, char *const *lower, Err *e);
/* The same in an image. 1: what is below cannot be said there. */
int unpack_fix_image(int image_fd, UnpackRun *u, char *const *lower, Err *e);
