/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers as EROFS images: one file each, and no file is made for what is in them.
 *
 *   0       a head of 4 KiB: our own note of the tar's length, at 1024 EROFS's superblock
 *   4096    the plain tar of the layer, every byte as it came: contents are used where they lie
 *   ...     copies of what in sparse files is not aligned; then the metadata: inodes, attributes, directories
 *
 * So the layer's digest can be checked against the image at any time, and its tar is written out by copying.
 *
 * The rules of layers are those of layer-rules.h and of ireko-unpack's place.c, in overlayfs's form: a deleted file is a 0/0
 * device, an opaque directory has its mark. Nothing here names a file; the one descriptor is the caller's. ErofsLayer lives
 * in the sandbox. What it writes is not believed: erofs_check reads it once more on the other side.
 */
#pragma once

#include "oci/reference.h"
#include "store/layer-rules.h"

#define EROFS_TAR_AT 4096

typedef struct ErofsLayer ErofsLayer;

int erofs_layer_new(int64_t max_bytes, int64_t max_files, ErofsLayer **ret, Err *e);
void erofs_layer_free(ErofsLayer *l);
DEFINE_CLEANUP(ErofsLayer *, erofs_layer_free)
/* Takes an entry of the archive; contents of a sparse file are read (and not kept). */
int erofs_layer_add(ErofsLayer *l, TarReader *t, const TarEntry *n, Err *e);
/* After the last. */
int erofs_layer_end(ErofsLayer *l, const TarReader *t, Err *e);
const LayerBudget *erofs_layer_budget(const ErofsLayer *l);
/* True if the layer hides all that is in the root of the layers below, which an image cannot say. */
bool erofs_layer_root_is_opaque(const ErofsLayer *l);
/* Writes everything but the tar, whose tar_bytes bytes are in fd behind EROFS_TAR_AT. */
int erofs_layer_write(ErofsLayer *l, int fd, int64_t tar_bytes, const char *diff_id, Err *e);
/* Directories that the archive does not describe, with the place of their inode in the image. After erofs_layer_write. */
int erofs_layer_each_implied(const ErofsLayer *l,
			     int (*fn)(void *user, const char *path, uint64_t inode_at, Err *e), void *user,
			     Err *e);

/* Reads the metadata of an image that somebody else wrote: 0 if it is of the form that erofs_layer_write makes, with
 * everything within the file, every directory reached once and no attribute that a layer may not have. *ret_tar_bytes may be NULL. ERR_INVALID. */
int erofs_check(int fd, int64_t *ret_tar_bytes, Err *e);
/* The tar's length alone. */
int erofs_tar_bytes(int fd, int64_t *ret, Err *e);

typedef struct ErofsOwner {
	uint32_t mode, uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
} ErofsOwner;
/* Makes a directory whose inode is at inode_at look so. ERR_INVALID if there is no directory. */
int erofs_dress_dir(int fd, uint64_t inode_at, const ErofsOwner *o, Err *e);
