/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 in pieces (OpenSSL's EVP, which uses the processor's instructions), as "sha256:<hex>". */
#pragma once

#include "base/err.h"
#include "oci/reference.h"

typedef struct Hasher Hasher;

/* NULL when out of memory. */
Hasher *hasher_new(void);
void hasher_free(Hasher *h);
DEFINE_CLEANUP(Hasher *, hasher_free)
/* Cannot fail; a failure inside the library is kept and told by hasher_digest. */
void hasher_add(Hasher *h, const void *data, size_t len);
/* Ends it; 0 or -EIO. */
int hasher_digest(Hasher *h, char ret[DIGEST_LEN + 1]);
