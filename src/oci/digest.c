/* SPDX-License-Identifier: Apache-2.0 */
/* Digests as text. Only SHA-256 is spoken: it is what every registry and archive carries. */
#include "oci/reference.h"

bool digest_is_valid(const char *s)
{
	if (!s || strncmp(s, "sha256:", 7) != 0)
		return false;
	return strlen(s) == DIGEST_LEN && strspn(s + 7, "0123456789abcdef") == DIGEST_LEN - 7;
}

bool digest_to_bytes(const char *digest, uint8_t ret[32])
{
	if (!digest_is_valid(digest))
		return false;
	for (size_t i = 0; i < 32; i++) {
		const char *p = digest + 7 + 2 * i;
		int high = p[0] <= '9' ? p[0] - '0' : p[0] - 'a' + 10,
		    low = p[1] <= '9' ? p[1] - '0' : p[1] - 'a' + 10;

		ret[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

void digest_of_bytes(const uint8_t bytes[32], char ret[DIGEST_LEN + 1])
{
	memcpy(ret, "sha256:", 7);
	for (size_t i = 0; i < 32; i++)
		snprintf(ret + 7 + 2 * i, 3, "%02x", bytes[i]);
}

const char *digest_hex(const char *digest)
{
	return digest + 7;
}
