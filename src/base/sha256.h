/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) for programs that link no OpenSSL and hash little: names. The store's digests are OpenSSL's. */
#pragma once

#include "base/macro.h"

#define SHA256_HEX_LEN 64

typedef struct Sha256Hex {
	char s[SHA256_HEX_LEN + 1];
} Sha256Hex;

/* The digest of len bytes, in lower-case hexadecimal. */
Sha256Hex sha256_hex(const void *data, size_t len);
