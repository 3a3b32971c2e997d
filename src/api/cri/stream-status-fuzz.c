/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes of a terminal and base64, in pieces whose length is the first byte: the pieces make no difference. */
#include "api/cri/stream-parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A sum of all sizes. */
static unsigned sizes(const uint8_t *data, size_t size, size_t piece)
{
	CriResizeReader r = {0};
	unsigned sum = 0;

	for (size_t at = 0; at < size;) {
		uint16_t rows, cols;
		size_t n = MIN2(piece, size - at), used;
		bool got;

		used = cri_resize_feed(&r, data + at, n, &got, &rows, &cols);
		if (used == 0 || used > n || (got && (!rows || !cols)))
			abort();
		at += used;
		if (got)
			sum = sum * 31 + rows * 7u + cols;
	}
	return r.broken ? sum + 1 : sum;
}

static ssize_t bytes(const uint8_t *data, size_t size, size_t piece)
{
	uint8_t to[4096 / 4 * 3 + 6];
	CriBase64 b = {0};
	size_t out = 0;

	for (size_t at = 0; at < size; at += piece) {
		ssize_t n = cri_base64_feed(&b, data + at, MIN2(piece, size - at), to + out);

		if (n < 0)
			return n;
		out += (size_t)n;
	}
	return (ssize_t)out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t piece;

	if (size < 2 || size > 4096)
		return 0;
	piece = (size_t)data[0] + 1;
	if (bytes(data + 1, size - 1, piece) != bytes(data + 1, size - 1, size))
		abort();
	if (sizes(data + 1, size - 1, piece) != sizes(data + 1, size - 1, size))
		abort();
	return 0;
}
