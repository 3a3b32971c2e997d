/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of a layer in memory, before it is written: what erofs-layer.c fills and erofs-write.c lays out.
 *
 * Names and inodes are numbered, in arrays that grow; texts lie in one piece of memory and are known by their offset. A name
 * that is removed stays with no inode; an inode that no name leads to is never written. Number 0 is the root.
 */
#pragma once

#include "store/erofs-format.h"
#include "store/erofs.h"

#define EROFS_NONE UINT32_MAX

typedef struct ErofsName {
	uint32_t dir;   /* the inode that it is in */
	uint32_t inode; /* EROFS_NONE: removed */
	uint32_t text;
	uint32_t hash;
	uint32_t next; /* in the same directory */
} ErofsName;

/* A piece of a sparse file. */
typedef struct ErofsPiece {
	int64_t offset, len;
	int64_t tar_at;
} ErofsPiece;

typedef struct ErofsInode {
	int64_t size; /* of a file or a link's target; of a directory once it is laid out */
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t mode; /* with the type */
	uint32_t uid, gid;
	uint32_t
	    where; /* file: its first block; link: the text; device: its number; directory: the first name */
	uint32_t parent,
	    name;          /* of a directory; the text of the name is known of others too, of one of them */
	uint32_t first, n; /* sparse file: its pieces; directory, once laid out: its entries */
	uint32_t xattrs, xattr_len; /* entries as they will be on disk */
	uint32_t nlink, nid,
	    block; /* once laid out; nid EROFS_NONE: not reached. block: what is not inline */
	bool implied, opaque, sparse;
} ErofsInode;

typedef struct ErofsTree {
	ErofsName *names;
	ErofsInode *inodes;
	ErofsPiece *pieces;
	char *text;
	uint32_t *slots; /* of names, by hash */
	uint32_t n_names, n_inodes, n_pieces, n_slots;
	size_t text_len;
	uint32_t cap_names, cap_inodes, cap_pieces;
	size_t cap_text;
	uint64_t key[2]; /* of the hash */
	int64_t meta_at; /* once written */
} ErofsTree;

int erofs_tree_init(ErofsTree *t, Err *e);
void erofs_tree_done(ErofsTree *t);
/* The name in the directory, or EROFS_NONE. */
uint32_t erofs_tree_find(const ErofsTree *t, uint32_t dir, const char *name, size_t len);
/* Gives a name, which must be free, to an inode. */
int erofs_tree_add(ErofsTree *t, uint32_t dir, const char *name, size_t len, uint32_t inode, Err *e);
void erofs_tree_remove(ErofsTree *t, uint32_t name);
int erofs_tree_inode(ErofsTree *t, const ErofsInode *n, uint32_t *ret, Err *e);
int erofs_tree_text(ErofsTree *t, const void *data, size_t len, uint32_t *ret, Err *e);
int erofs_tree_piece(ErofsTree *t, const ErofsPiece *p, Err *e);
/* The directory that holds the cleaned path, links in it followed within the tree. `make`: what is missing is made, as implied. */
int erofs_tree_parent(ErofsTree *t, const char *clean, bool make, uint32_t *ret, Err *e);
/* The path of a directory. */
int erofs_tree_path(const ErofsTree *t, uint32_t dir, char ret[PATH_MAX]);

static inline bool erofs_is_dir(const ErofsInode *n)
{
	return (n->mode & 0170000) == 0040000;
}

static inline uint32_t erofs_xattr_bytes(const ErofsInode *n)
{
	uint32_t opaque = n->opaque ? 20 : 0; /* "trusted.overlay.opaque" and its "y" */

	return n->xattr_len || opaque ? EROFS_XATTR_HEADER + n->xattr_len + opaque : 0;
}

/* Lays the tree out and writes it, behind tar_bytes of tar. */
int erofs_write(ErofsTree *t, int fd, int64_t tar_bytes, const uint8_t uuid[16], Err *e);
/* crc32c as the superblock wants it. */
uint32_t erofs_crc32c(const void *data, size_t len);

/* The note in front of the superblock. */
#define EROFS_NOTE_MAGIC "ireko layer\n"
typedef struct ErofsNote {
	char magic[16];
	uint64_t tar_bytes;
} ErofsNote;

/* ---- erofs-xattr.c ---- */
/* The entry's attributes as they will be on disk, in *ret (malloc'ed, NULL if none); an access control list has its say on the mode. */
int erofs_xattrs(const TarEntry *n, uint32_t *mode, uint8_t **ret, size_t *ret_len, Err *e);
