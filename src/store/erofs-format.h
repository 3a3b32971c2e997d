/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EROFS on disk, as far as it is used here (kernel: Documentation/filesystems/erofs.rst). All numbers are little-endian.
 *
 * An image is addressed in blocks, here of 512 bytes, because that is how tar aligns: contents are used where they
 * lie in the tar stream. An inode's number counts slots of 32 bytes from `meta_block`; ours are of the 64-byte kind. Behind
 * an inode lie its attributes, and behind them, by the layout, all of a small file (INLINE) or a table with the
 * block of each chunk (CHUNKS). A directory is a row of blocks, each with its entries first and their names behind
 * them, sorted by bytes throughout.
 */
#pragma once

#include <stdint.h>

#define EROFS_MAGIC           0xE0F5E1E2u
#define EROFS_SUPER_AT        1024
#define EROFS_BLOCK_BITS      9
#define EROFS_BLOCK           512u
#define EROFS_SLOT            32u
#define EROFS_COMPAT_CHECKSUM 1u
#define EROFS_COMPAT_MTIME    2u
#define EROFS_INCOMPAT_CHUNKS 4u
#define EROFS_NO_BLOCK        UINT32_MAX /* a hole */
#define EROFS_EXTENDED        1u         /* bit 0 of a format: the 64-byte inode */
#define EROFS_LAYOUT_SHIFT    1

enum { EROFS_PLAIN = 0, EROFS_INLINE = 2, EROFS_CHUNKS = 4 };
enum {
	EROFS_NAME_USER = 1,
	EROFS_NAME_ACL_ACCESS,
	EROFS_NAME_ACL_DEFAULT,
	EROFS_NAME_TRUSTED,
	EROFS_NAME_SECURITY = 6
};

typedef struct ErofsSuper {
	uint32_t magic, checksum, compat;
	uint8_t block_bits, ext_slots;
	uint16_t root;
	uint64_t inodes;
	uint64_t epoch;
	uint32_t epoch_ns;
	uint32_t blocks;
	uint32_t meta_block, xattr_block;
	uint8_t uuid[16], name[16];
	uint32_t incompat;
	uint16_t compression, extra_devices, device_slot;
	uint8_t dir_block_bits, prefixes;
	uint32_t prefix_start;
	uint64_t packed;
	uint8_t filter, reserved[23];
} __attribute__((packed)) ErofsSuper;
_Static_assert(sizeof(ErofsSuper) == 128, "the superblock is 128 bytes");

typedef struct ErofsDiskInode {
	uint16_t format;
	uint16_t xattr_count; /* words behind the header of the attributes, plus 1; 0: none */
	uint16_t mode;
	uint16_t reserved;
	uint64_t size;
	uint32_t
	    where; /* first block, device number, or bits of the size of a chunk above those of a block */
	uint32_t number;
	uint32_t uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t nlink;
	uint8_t reserved2[16];
} __attribute__((packed)) ErofsDiskInode;
_Static_assert(sizeof(ErofsDiskInode) == 64, "an extended inode is 64 bytes");

typedef struct ErofsDirent {
	uint64_t nid;
	uint16_t name_at;
	uint8_t type; /* EROFS_TYPE_* */
	uint8_t reserved;
} __attribute__((packed)) ErofsDirent;
_Static_assert(sizeof(ErofsDirent) == 12, "a directory entry is 12 bytes");

enum {
	EROFS_TYPE_FILE = 1,
	EROFS_TYPE_DIR,
	EROFS_TYPE_CHAR,
	EROFS_TYPE_BLOCK,
	EROFS_TYPE_FIFO,
	EROFS_TYPE_LINK = 7
};

#define EROFS_XATTR_HEADER 12u /* before the entries: a filter and shared attributes, both unused */
typedef struct ErofsXattr {
	uint8_t name_len, name_index;
	uint16_t value_len;
	/* the rest of the name, the value, up to 4 bytes */
} __attribute__((packed)) ErofsXattr;
_Static_assert(sizeof(ErofsXattr) == 4, "an attribute's head is 4 bytes");
