/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the detach key sequence in a client's input, wherever the reads were cut. */
#pragma once

#include "shim/queue.h"

#define DETACH_KEYS_MAX 32

typedef struct Detach {
	unsigned char keys[DETACH_KEYS_MAX];
	size_t n;       /* 0: never detaches */
	size_t matched; /* leading keys that were seen and are held back */
} Detach;

/* -EINVAL when the sequence is too long. */
int detach_init(Detach *d, const char *keys, size_t n);
/* Appends to `out` what is input for the container. 1 when the sequence is complete (the rest of data is ignored), 0, or -ENOMEM. */
int detach_feed(Detach *d, const char *data, size_t n, Queue *out);
/* End of input: what was held back is input after all. */
int detach_flush(Detach *d, Queue *out);
