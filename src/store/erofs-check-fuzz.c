/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata of an image that somebody made up, behind a head that is as it should be: the check says yes or no. */
#include "store/erofs-internal.h"

#include "base/fd.h"

#include <endian.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_head(uint8_t head[EROFS_TAR_AT], uint8_t inodes, size_t blocks)
{
	const ErofsNote note = {.magic = EROFS_NOTE_MAGIC};
	ErofsSuper s = {.magic = htole32(EROFS_MAGIC),
			.compat = htole32(EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME),
			.block_bits = EROFS_BLOCK_BITS,
			.root = htole16(2),
			.inodes = htole64(inodes),
			.blocks = htole32((uint32_t)(EROFS_TAR_AT / EROFS_BLOCK + blocks)),
			.meta_block = htole32(EROFS_TAR_AT / EROFS_BLOCK),
			.incompat = htole32(EROFS_INCOMPAT_CHUNKS)};

	memset(head, 0, EROFS_TAR_AT);
	memcpy(head, &note, sizeof(note));
	memcpy(head + EROFS_SUPER_AT, &s, sizeof(s));
	s.checksum = htole32(erofs_crc32c(head + EROFS_SUPER_AT, EROFS_BLOCK));
	memcpy(head + EROFS_SUPER_AT, &s, sizeof(s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ErofsOwner o = {.mode = 0700};
	size_t blocks = (size + EROFS_BLOCK - 1) / EROFS_BLOCK;
	uint8_t head[EROFS_TAR_AT];
	_cleanup_close_ int fd = -1;

	if (size < 1)
		return 0;
	make_head(head, data[0], blocks);
	fd = memfd_create("image", MFD_CLOEXEC);
	if (fd < 0 || fd_pwrite_all(fd, head, sizeof(head), 0) < 0 ||
	    fd_pwrite_all(fd, data + 1, size - 1, EROFS_TAR_AT) < 0 ||
	    ftruncate(fd, (off_t)(EROFS_TAR_AT + blocks * EROFS_BLOCK)) < 0)
		abort();
	(void)erofs_check(fd, NULL, NULL);
	(void)erofs_dress_dir(fd, EROFS_TAR_AT + data[0] * EROFS_SLOT, &o, NULL);
	return 0;
}
