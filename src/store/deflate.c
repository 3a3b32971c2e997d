/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compression; the contract is in deflate.h.
 *
 * gzip is ISA-L at level 2: of what is in /usr it makes an eighth more than gzip -6 does, in a twentieth of its time; level 1 is not faster
 * and level 3 takes twice as long for a hundredth less. zstd is at its own default, level 3. Neither has a size in its header, since none
 * is known when that is written.
 */
#include "store/deflate.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#define GZIP_LEVEL 2
#define ZSTD_LEVEL 3

struct Deflate {
	DeflateKind kind;
	struct isal_zstream *gzip;
	uint8_t *level_buf;
	ZSTD_CCtx *zstd;
	uint8_t *out;
};

static int begin_gzip(Deflate *d)
{
	d->gzip = malloc(sizeof(*d->gzip));
	d->level_buf = malloc(ISAL_DEF_LVL2_DEFAULT);
	if (!d->gzip || !d->level_buf)
		return -ENOMEM;
	isal_deflate_init(d->gzip);
	d->gzip->level = GZIP_LEVEL;
	d->gzip->level_buf = d->level_buf;
	d->gzip->level_buf_size = ISAL_DEF_LVL2_DEFAULT;
	d->gzip->gzip_flag = IGZIP_GZIP;
	d->gzip->flush = NO_FLUSH;
	return 0;
}

static int begin_zstd(Deflate *d)
{
	d->zstd = ZSTD_createCCtx();
	if (!d->zstd || ZSTD_isError(ZSTD_CCtx_setParameter(d->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(d->zstd, ZSTD_c_checksumFlag, 1)))
		return -ENOMEM;
	return 0;
}

int deflate_new(DeflateKind kind, Deflate **ret, Err *e)
{
	_cleanup_(deflate_freep) Deflate *d = calloc(1, sizeof(*d));

	if (!d)
		return err_oom(e);
	d->kind = kind;
	d->out = malloc(DEFLATE_PIECE);
	if (!d->out || (kind == DEFLATE_GZIP ? begin_gzip(d) : begin_zstd(d)) < 0)
		return err_oom(e);
	*ret = take_ptr(d);
	return 0;
}

void deflate_free(Deflate *d)
{
	if (!d)
		return;
	free(d->gzip);
	free(d->level_buf);
	ZSTD_freeCCtx(d->zstd);
	free(d->out);
	free(d);
}

typedef int (*OutFn)(void *user, const void *data, size_t len, Err *e);

/* What is left over fits into the next buffer: it is done when a buffer comes back with room in it. */
static int add_gzip(Deflate *d, const void *data, size_t len, bool last, OutFn out, void *user, Err *e)
{
	struct isal_zstream *z = d->gzip;

	z->next_in = (uint8_t *)(uintptr_t)data;
	z->avail_in = (uint32_t)len;
	z->end_of_stream = last;
	do {
		z->next_out = d->out;
		z->avail_out = DEFLATE_PIECE;
		if (isal_deflate(z) != COMP_OK)
			return err_new(e, ERR_INTERNAL, "gzip: the compressor failed");
		int r = out(user, d->out, DEFLATE_PIECE - z->avail_out, e);
		if (r < 0)
			return r;
	} while (z->avail_out == 0);
	return z->avail_in == 0 ? 0 : err_new(e, ERR_INTERNAL, "gzip: the compressor stopped early");
}

static int add_zstd(Deflate *d, const void *data, size_t len, bool last, OutFn out, void *user, Err *e)
{
	ZSTD_inBuffer ib = {data, len, 0};
	size_t left;

	do {
		ZSTD_outBuffer ob = {d->out, DEFLATE_PIECE, 0};

		left = ZSTD_compressStream2(d->zstd, &ob, &ib, last ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return err_new(e, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(left));
		int r = out(user, d->out, ob.pos, e);
		if (r < 0)
			return r;
	} while (last ? left > 0 : ib.pos < ib.size);
	return 0;
}

int deflate_add(Deflate *d, const void *data, size_t len, bool last, OutFn out, void *user, Err *e)
{
	if (len > DEFLATE_PIECE)
		return err_new(e, ERR_INTERNAL, "compress: a piece of %zu bytes", len);
	return d->kind == DEFLATE_GZIP ? add_gzip(d, data, len, last, out, user, e)
				       : add_zstd(d, data, len, last, out, user, e);
}
