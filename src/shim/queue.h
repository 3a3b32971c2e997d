/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes waiting to be written. Holds no memory while empty; callers bound its length. */
#pragma once

#include "base/macro.h"

typedef struct Queue {
	char *buf;
	size_t off, len, cap; /* the bytes are buf[off .. off+len) */
} Queue;

int queue_put(Queue *q, const void *data, size_t n);
/* Drops the first n bytes. */
void queue_skip(Queue *q, size_t n);
void queue_clear(Queue *q);

static inline const char *queue_head(const Queue *q)
{
	return q->buf + q->off;
}
