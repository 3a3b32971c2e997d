/* SPDX-License-Identifier: Apache-2.0 */
/* base64 (RFC 4648). What is decoded and encoded here is often a secret: buffers of our own are wiped before they are freed. */
#pragma once

#include "base/macro.h"

/* Padded; with the URL alphabet ("-_") if `url`. malloc'ed, NULL when out of memory. */
char *base64_encode(const void *data, size_t len, bool url);
/* Either alphabet, padding optional but right if there is any. The result is NUL-terminated and may hold NULs; ret_len may be NULL. -EINVAL, -ENOMEM. */
int base64_decode(const char *s, char **ret, size_t *ret_len);
