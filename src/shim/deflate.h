/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DEFLATE (RFC 1951), the compressing half, for logs: what the shim may have, which is linked with no library.
 *
 * Repetitions are found through chains of hashes of four bytes, a few steps deep, and written with the fixed codes: larger than with
 * codes made for the data, which would take a second pass over it.
 */
#pragma once

#include "base/macro.h"

typedef int (*DeflateSink)(void *user, const uint8_t *data, size_t n);

/* All of data as one stream; what the sink returns below 0 ends it. -ENOMEM. */
int deflate_all(const uint8_t *data, size_t n, DeflateSink sink, void *user);
uint32_t deflate_crc32(const uint8_t *data, size_t n);
