/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte says how big the chunks are, the rest is an archive: whatever it claims, an entry stays within its bounds. */
#include "store/tar-read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Source {
	const uint8_t *data;
	size_t len, chunk;
} Source;

static ssize_t next_piece(void *user, const uint8_t **ret, Err *e)
{
	Source *s = user;
	size_t n = MIN2(s->len, s->chunk);

	*ret = s->data;
	s->data += n;
	s->len -= n;
	return (ssize_t)n;
}

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_entry(const TarEntry *n)
{
	must(n->name && n->link && n->size >= 0 && n->mode <= 07777 && n->mtime_ns < 1000000000);
	must(n->uid != UINT32_MAX && n->gid != UINT32_MAX);
	must(n->type == TAR_FILE || n->size == 0);
	for (size_t i = 0; i < n->n_xattrs; i++)
		must(n->xattrs[i].name[0] && n->xattrs[i].len < TAR_HEADER_MAX);
}

static int read_contents(TarReader *t, const TarEntry *n)
{
	int64_t end = 0, offset;
	const void *piece;
	size_t len;
	int r;

	while ((r = tar_data(t, &piece, &len, &offset, NULL)) > 0) {
		must(len > 0 && offset >= end && offset <= n->size - (int64_t)len);
		end = offset + (int64_t)len;
	}
	must(r < 0 || n->sparse || end == n->size);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(tar_reader_freep) TarReader *t = NULL;
	Source s = {data + 1, size - 1, 1};
	const TarEntry *n;

	if (size == 0)
		return 0;
	s.chunk = data[0] ? data[0] * 8u : size;
	if (tar_reader_new(next_piece, &s, &t, NULL) < 0)
		return 0;
	/* Every other entry's contents are skipped. */
	for (int i = 0; tar_next(t, &n, NULL) > 0; i++) {
		check_entry(n);
		if (i % 2 == 0 && read_contents(t, n) < 0)
			return 0;
	}
	return 0;
}
