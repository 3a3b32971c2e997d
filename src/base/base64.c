/* SPDX-License-Identifier: Apache-2.0 */
/* The contract is in base64.h. */
#include "base/base64.h"
#include "base/secret.h"

char *base64_encode(const void *data, size_t len, bool url)
{
	const char *digits = url ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
				 : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = data;
	char *out = len < SIZE_MAX / 2 ? malloc((len + 2) / 3 * 4 + 1) : NULL, *to = out;

	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < len ? (uint32_t)p[i + 1] << 8 : 0) |
			     (i + 2 < len ? p[i + 2] : 0);

		*to++ = digits[v >> 18];
		*to++ = digits[v >> 12 & 63];
		*to++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*to++ = i + 2 < len ? digits[v & 63] : '=';
	}
	*to = '\0';
	return out;
}

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	return c == '/' || c == '_' ? 63 : -1;
}

int base64_decode(const char *s, char **ret, size_t *ret_len)
{
	size_t n = strcspn(s, "="), padding = strlen(s + n), len = 0;
	_cleanup_secret_ char *out = malloc(n / 4 * 3 + 4);
	uint32_t v = 0;

	if (!out)
		return -ENOMEM;
	if (n % 4 == 1 || strspn(s + n, "=") != padding || (padding && (n + padding) % 4 != 0) || padding > 2)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		int d = value_of(s[i]);

		if (d < 0)
			return -EINVAL;
		v = v << 6 | (uint32_t)d;
		if (i % 4 != 0)
			out[len++] = (char)(v >> (6 - i % 4 * 2) & 0xFF);
	}
	out[len] = '\0';
	if (ret_len)
		*ret_len = len;
	*ret = take_ptr(out);
	return 0;
}
