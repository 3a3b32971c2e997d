/* SPDX-License-Identifier: Apache-2.0 */
/* Digests as text. Only SHA-256 is spoken: it is what every registry and archive carries. */
#include "oci/reference.h"

bool digest_is_valid(const char *s)
{
	if (!s || strncmp(s, "sha256:", 7) != 0)
		return false;
	return strlen(s) == DIGEST_LEN && strspn(s + 7, "0123456789abcdef") == DIGEST_LEN - 7;
}

const char *digest_hex(const char *digest)
{
	return digest + 7;
}
