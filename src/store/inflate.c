/* SPDX-License-Identifier: Apache-2.0 */
/* Decompression; the contract is in inflate.h. RFC 1952 (gzip), RFC 8878 (zstd). */
#include "store/inflate.h"

#include <bzlib.h>
#include <isa-l/igzip_lib.h>
#include <lzma.h>
#include <zstd.h>

#define ZSTD_WINDOW_LOG_MAX 27
#define XZ_MEMORY_MAX       (256u << 20)

typedef int (*StepFn)(Inflate *d, const uint8_t *in, size_t in_len, size_t *used, uint8_t *out,
		      size_t out_len, size_t *made, bool last, Err *e);

struct Inflate {
	const char *name;
	StepFn step;
	bool inside; /* a member or frame has begun and not ended */
	struct inflate_state *gzip;
	ZSTD_DStream *zstd;
	lzma_stream xz;
	bz_stream bz;
	bool bz_ready;
};

static int damaged(Err *e, const Inflate *d, const char *why)
{
	return err_new(e, ERR_INVALID, "damaged %s stream: %s", d->name, why);
}

static int step_plain(Inflate *d, const uint8_t *in, size_t in_len, size_t *used, uint8_t *out,
		      size_t out_len, size_t *made, bool last, Err *e)
{
	size_t n = MIN2(in_len, out_len);

	memcpy(out, in, n);
	*used = *made = n;
	return 0;
}

/* Between members: zeros are padding (tapes, blocked archives), anything but another member is a mistake. */
static int gzip_begin(Inflate *d, const uint8_t *in, size_t in_len, size_t *used, Err *e)
{
	while (*used < in_len && in[*used] == 0)
		(*used)++;
	if (*used == in_len)
		return 0;
	if (in[*used] != 0x1F)
		return damaged(e, d, "something else follows its end");
	isal_inflate_reset(d->gzip);
	d->gzip->crc_flag = ISAL_GZIP;
	d->inside = true;
	return 0;
}

static int step_gzip(Inflate *d, const uint8_t *in, size_t in_len, size_t *used, uint8_t *out, size_t out_len,
		     size_t *made, bool last, Err *e)
{
	struct inflate_state *s = d->gzip;

	while (*used < in_len || d->inside) {
		size_t was_used, was_made;
		int r;

		if (!d->inside) {
			r = gzip_begin(d, in, in_len, used, e);
			if (r < 0)
				return r;
			if (!d->inside)
				return 0;
		}
		was_used = *used;
		was_made = *made;
		s->next_in = (uint8_t *)in + *used;
		s->avail_in = (uint32_t)(in_len - *used);
		s->next_out = out + *made;
		s->avail_out = (uint32_t)(out_len - *made);
		r = isal_inflate(s);
		/* What it says of its place in a damaged stream is not to be trusted: avail_in may have run below 0. */
		if (r == ISAL_INCORRECT_CHECKSUM)
			return damaged(e, d, "wrong checksum");
		if ((r != ISAL_DECOMP_OK && r != ISAL_END_INPUT && r != ISAL_OUT_OVERFLOW) ||
		    s->avail_in > in_len - was_used || s->avail_out > out_len - was_made)
			return damaged(e, d, "invalid data");
		*used = in_len - s->avail_in;
		*made = out_len - s->avail_out;
		if (s->block_state == ISAL_BLOCK_FINISH)
			d->inside = false;
		else if (*used == was_used && *made == was_made)
			break;
	}
	return 0;
}

static int step_zstd(Inflate *d, const uint8_t *in, size_t in_len, size_t *used, uint8_t *out, size_t out_len,
		     size_t *made, bool last, Err *e)
{
	ZSTD_inBuffer ib = {in, in_len, 0};
	ZSTD_outBuffer ob = {out, out_len, 0};

	for (;;) {
		size_t was_in = ib.pos, was_out = ob.pos;
		size_t r = ZSTD_decompressStream(d->zstd, &ob, &ib);

		if (ZSTD_isError(r))
			return damaged(e, d, ZSTD_getErrorName(r));
		/* Without progress the result only asks for the header of a next frame. */
		if (ib.pos == was_in && ob.pos == was_out)
			break;
		d->inside = r != 0;
	}
	*used = ib.pos;
	*made = ob.pos;
	return 0;
}

static int step_xz(Inflate *d, const uint8_t *in, size_t in_len, size_t *used, uint8_t *out, size_t out_len,
		   size_t *made, bool last, Err *e)
{
	lzma_ret r = LZMA_OK;

	d->xz.next_in = in;
	d->xz.avail_in = in_len;
	d->xz.next_out = out;
	d->xz.avail_out = out_len;
	while (r == LZMA_OK && d->xz.avail_out > 0 && (d->xz.avail_in > 0 || last))
		r = lzma_code(&d->xz, last ? LZMA_FINISH : LZMA_RUN);
	*used = in_len - d->xz.avail_in;
	*made = out_len - d->xz.avail_out;
	if (r == LZMA_STREAM_END) {
		d->inside = false;
		return 0;
	}
	if (r == LZMA_MEMLIMIT_ERROR)
		return damaged(e, d, "it wants more than 256 MiB of memory");
	if (r == LZMA_MEM_ERROR)
		return err_oom(e);
	if (r != LZMA_OK && r != LZMA_BUF_ERROR)
		return damaged(e, d, "invalid data");
	return 0;
}

static int step_bzip2(Inflate *d, const uint8_t *in, size_t in_len, size_t *used, uint8_t *out,
		      size_t out_len, size_t *made, bool last, Err *e)
{
	while (*used < in_len || d->bz_ready) {
		size_t was_used = *used, was_made = *made;
		int r;

		if (!d->bz_ready) {
			d->bz = (bz_stream){0};
			if (BZ2_bzDecompressInit(&d->bz, 0, 0) != BZ_OK)
				return err_oom(e);
			d->bz_ready = d->inside = true;
		}
		d->bz.next_in = (char *)(uintptr_t)(in + *used);
		d->bz.avail_in = (unsigned)(in_len - *used);
		d->bz.next_out = (char *)out + *made;
		d->bz.avail_out = (unsigned)(out_len - *made);
		r = BZ2_bzDecompress(&d->bz);
		*used = in_len - d->bz.avail_in;
		*made = out_len - d->bz.avail_out;
		if (r == BZ_STREAM_END) {
			BZ2_bzDecompressEnd(&d->bz);
			d->bz_ready = d->inside = false;
		} else if (r == BZ_MEM_ERROR) {
			return err_oom(e);
		} else if (r != BZ_OK) {
			return damaged(e, d, "invalid data");
		} else if (*used == was_used && *made == was_made) {
			break;
		}
	}
	return 0;
}

static int begin_gzip(Inflate *d)
{
	d->gzip = malloc(sizeof(*d->gzip));
	if (!d->gzip)
		return -ENOMEM;
	isal_inflate_init(d->gzip);
	d->gzip->crc_flag = ISAL_GZIP;
	return 0;
}

static int begin_zstd(Inflate *d)
{
	d->zstd = ZSTD_createDStream();
	if (!d->zstd ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)))
		return -ENOMEM;
	return 0;
}

static int begin_xz(Inflate *d)
{
	return lzma_stream_decoder(&d->xz, XZ_MEMORY_MAX, LZMA_CONCATENATED) == LZMA_OK ? 0 : -ENOMEM;
}

static int begin_nothing(Inflate *d)
{
	return 0;
}

static bool is_skippable_frame(const uint8_t *m, size_t len)
{
	return len >= 4 && (m[0] & 0xF0) == 0x50 && m[1] == 0x2A && m[2] == 0x4D && m[3] == 0x18;
}

int inflate_new(const uint8_t *magic, size_t len, Inflate **ret, Err *e)
{
	static const struct {
		const char *name, *magic;
		size_t len;
		int (*begin)(Inflate *);
		StepFn step;
	} formats[] = {
	    {"gzip", "\x1F\x8B", 2, begin_gzip, step_gzip},
	    {"zstd", "\x28\xB5\x2F\xFD", 4, begin_zstd, step_zstd},
	    {"xz",
	     "\xFD"
	     "7zXZ\0",
	     6, begin_xz, step_xz},
	    {"bzip2", "BZh", 3, begin_nothing, step_bzip2},
	};
	_cleanup_(inflate_freep) Inflate *d = calloc(1, sizeof(*d));
	int (*begin)(Inflate *) = begin_nothing;

	if (!d)
		return err_oom(e);
	d->xz = (lzma_stream)LZMA_STREAM_INIT;
	d->name = "plain";
	d->step = step_plain;
	for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
		bool skippable = i == 1 && is_skippable_frame(magic, len);

		if ((len >= formats[i].len && memcmp(magic, formats[i].magic, formats[i].len) == 0) ||
		    skippable) {
			d->name = formats[i].name;
			d->step = formats[i].step;
			d->inside = i != 3;
			begin = formats[i].begin;
			break;
		}
	}
	if (begin(d) < 0)
		return err_oom(e);
	*ret = take_ptr(d);
	return 0;
}

void inflate_free(Inflate *d)
{
	if (!d)
		return;
	free(d->gzip);
	ZSTD_freeDStream(d->zstd);
	lzma_end(&d->xz);
	if (d->bz_ready)
		BZ2_bzDecompressEnd(&d->bz);
	free(d);
}

int inflate_step(Inflate *d, const uint8_t *in, size_t in_len, size_t *ret_used, uint8_t *out, size_t out_len,
		 size_t *ret_made, bool last, Err *e)
{
	*ret_used = *ret_made = 0;
	return d->step(d, in, in_len, ret_used, out, out_len, ret_made, last, e);
}

int inflate_finish(const Inflate *d, Err *e)
{
	if (d->inside)
		return err_new(e, ERR_INVALID, "truncated layer: the %s stream ends too early", d->name);
	return 0;
}

const char *inflate_name(const Inflate *d)
{
	return d->name;
}
