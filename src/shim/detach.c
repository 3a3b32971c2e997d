/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The held bytes are always a prefix of the sequence, so they need no storage of their own. On a mismatch the longest
 * shorter prefix that still fits is kept and the bytes before it are let through.
 */
#include "shim/detach.h"

int detach_init(Detach *d, const char *keys, size_t n)
{
	*d = (Detach){0};
	if (n > sizeof(d->keys))
		return -EINVAL;
	if (n)
		memcpy(d->keys, keys, n);
	d->n = n;
	return 0;
}

/* The longest proper prefix of the `matched` keys that is also their end. */
static size_t shorter_match(const Detach *d)
{
	size_t k = d->matched - 1;

	while (k > 0 && memcmp(d->keys, d->keys + d->matched - k, k) != 0)
		k--;
	return k;
}

int detach_feed(Detach *d, const char *data, size_t n, Queue *out)
{
	if (d->n == 0)
		return queue_put(out, data, n);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)data[i];

		while (d->matched > 0 && d->keys[d->matched] != c) {
			size_t k = shorter_match(d);

			if (queue_put(out, d->keys, d->matched - k) < 0)
				return -ENOMEM;
			d->matched = k;
		}
		if (d->keys[d->matched] != c) {
			if (queue_put(out, &c, 1) < 0)
				return -ENOMEM;
		} else if (++d->matched == d->n) {
			d->matched = 0;
			return 1;
		}
	}
	return 0;
}

int detach_flush(Detach *d, Queue *out)
{
	size_t n = d->matched;

	d->matched = 0;
	return queue_put(out, d->keys, n);
}
