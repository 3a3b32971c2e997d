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

/* One more than what a digit stands for, of both alphabets; 0: none. */
/* clang-format off */
static const uint8_t digit_values[256] = {
	['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
	['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
	['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
	['+'] = 63, ['-'] = 63, ['/'] = 64, ['_'] = 64,
};
/* clang-format on */

static int value_of(char c)
{
	return digit_values[(unsigned char)c] - 1;
}

/* Four digits to three bytes. False: one of them is none. */
static bool decode_four(const char *s, char *to)
{
	int a = value_of(s[0]), b = value_of(s[1]), c = value_of(s[2]), d = value_of(s[3]);
	uint32_t v = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | (uint32_t)d;

	if ((a | b | c | d) < 0)
		return false;
	to[0] = (char)(v >> 16);
	to[1] = (char)(v >> 8);
	to[2] = (char)v;
	return true;
}

int base64_decode(const char *s, char **ret, size_t *ret_len)
{
	size_t n = strcspn(s, "="), padding = strlen(s + n), len = 0, i = 0;
	_cleanup_secret_ char *out = malloc(n / 4 * 3 + 4);
	uint32_t v = 0;

	if (!out)
		return -ENOMEM;
	if (n % 4 == 1 || strspn(s + n, "=") != padding || (padding && (n + padding) % 4 != 0) || padding > 2)
		return -EINVAL;
	for (; i + 4 <= n; i += 4, len += 3)
		if (!decode_four(s + i, out + len))
			return -EINVAL;
	for (; i < n; i++) {
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
