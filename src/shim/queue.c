/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte queue: appended at the end, taken from the front, moved down only when it must grow. */
#include "shim/queue.h"

static int queue_reserve(Queue *q, size_t n)
{
	size_t cap = q->cap ? q->cap : 4096;
	char *p;

	if (q->off + q->len + n <= q->cap)
		return 0;
	if (q->off) {
		memmove(q->buf, q->buf + q->off, q->len);
		q->off = 0;
	}
	if (q->len + n <= q->cap)
		return 0;
	while (cap < q->len + n)
		cap *= 2;
	p = realloc(q->buf, cap);
	if (!p)
		return -ENOMEM;
	q->buf = p;
	q->cap = cap;
	return 0;
}

int queue_put(Queue *q, const void *data, size_t n)
{
	int r;

	if (n == 0)
		return 0;
	r = queue_reserve(q, n);
	if (r < 0)
		return r;
	memcpy(q->buf + q->off + q->len, data, n);
	q->len += n;
	return 0;
}

void queue_clear(Queue *q)
{
	free(q->buf);
	*q = (Queue){0};
}

void queue_skip(Queue *q, size_t n)
{
	if (n >= q->len) {
		queue_clear(q);
		return;
	}
	q->off += n;
	q->len -= n;
}
