/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compressed streams from strangers. The first byte says how big the pieces are in which input comes and output is
 * wanted; the rest is the stream. Whatever it holds: no more is taken or given than there is, the decoder moves on, and neither
 * what comes out nor whether it is whole depends on the pieces.
 */
#include "store/inflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX (256u << 10)

typedef struct Outcome {
	uint8_t *out;
	size_t len;
	bool whole, cut, zstd;
} Outcome;

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* As ireko-unpack's stream.c reads: up to the end, or to our limit. */
static int drive(Inflate *d, const uint8_t *data, size_t size, size_t in_piece, size_t out_piece, Outcome *o)
{
	size_t first = MAX2(in_piece, (size_t)INFLATE_MAGIC), at = 0, seen = MIN2(size, first);

	for (;;) {
		size_t used = 0, made = 0, room = MIN2(out_piece, OUT_MAX - o->len);
		bool last = seen == size;
		int r =
		    inflate_step(d, data + at, seen - at, &used, o->out + o->len, room, &made, last, NULL);

		must(r < 0 || (used <= seen - at && made <= room));
		if (r < 0)
			return r;
		at += used;
		o->len += made;
		o->cut = o->len == OUT_MAX;
		if (o->cut)
			return 0;
		if (used > 0 || made > 0)
			continue;
		if (last)
			return at == size ? inflate_finish(d, NULL) : -EINVAL;
		/* Without progress it must be waiting for input. */
		must(at == seen || seen - at < in_piece + INFLATE_MAGIC);
		seen = MIN2(size, seen + in_piece);
	}
}

static void run(const uint8_t *data, size_t size, size_t in_piece, size_t out_piece, Outcome *o)
{
	_cleanup_(inflate_freep) Inflate *d = NULL;

	o->out = malloc(OUT_MAX);
	must(o->out && inflate_new(data, MIN2(size, (size_t)INFLATE_MAGIC), &d, NULL) == 0);
	o->zstd = strcmp(inflate_name(d), "zstd") == 0;
	o->whole = drive(d, data, size, in_piece, out_piece, o) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Outcome at_once = {0}, in_pieces = {0};

	if (size < 2)
		return 0;
	run(data + 1, size - 1, size, OUT_MAX, &at_once);
	run(data + 1, size - 1, 1 + data[0] % 64u, 1 + data[0] / 4u * 31u, &in_pieces);
	/* libzstd compares the size that a frame declares only when it comes in one piece. */
	must(at_once.zstd || (at_once.cut == in_pieces.cut && at_once.whole == in_pieces.whole));
	if ((at_once.whole || at_once.cut) && (in_pieces.whole || in_pieces.cut))
		must(at_once.len == in_pieces.len && memcmp(at_once.out, in_pieces.out, at_once.len) == 0);
	free(at_once.out);
	free(in_pieces.out);
	return 0;
}
