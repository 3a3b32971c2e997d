/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Characters of the language: which are blank and which may be in a variable's name. Text that is no UTF-8 (a value
 * of the environment may be anything) is taken byte by byte.
 */
#pragma once

#include "base/macro.h"

/* The character at p, which is not the end: how many bytes it has, and which it is. */
static inline size_t df_char(const char *p, uint32_t *ret)
{
	unsigned char c = (unsigned char)*p;
	size_t n = c < 0xC2 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 1;
	uint32_t v = n == 1 ? c : c & (0xFFu >> (n + 1));

	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)p[i] & 0xC0) != 0x80) {
			*ret = c;
			return 1;
		}
		v = v << 6 | ((unsigned char)p[i] & 0x3F);
	}
	*ret = v;
	return n;
}

/* How many bytes the blank at p has; 0 if there is none. */
static inline size_t df_blank(const char *p)
{
	uint32_t c;

	if ((unsigned char)*p < 0x80)
		return *p == ' ' || (*p >= '\t' && *p <= '\r');
	size_t n = df_char(p, &c);
	if (n == 1)
		return 0;
	return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
		       c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000
		   ? n
		   : 0;
}

static inline const char *df_skip_blanks(const char *p)
{
	for (size_t n; *p && (n = df_blank(p));)
		p += n;
	return p;
}

/* How many bytes the letter, digit or '_' at p has; 0 if it is none. Of other scripts, signs and punctuation are none. */
static inline size_t df_name_char(const char *p)
{
	uint32_t c;

	if ((unsigned char)*p < 0x80)
		return *p == '_' || (*p >= '0' && *p <= '9') || ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z');
	size_t n = df_char(p, &c);
	if (n == 1 || df_blank(p))
		return 0;
	bool sign = (c < 0xC0 && c != 0xAA && c != 0xB5 && c != 0xBA) || c == 0xD7 || c == 0xF7 ||
		    (c >= 0x2000 && c < 0x2C00) || (c >= 0x3001 && c < 0x3005) ||
		    (c >= 0x3008 && c < 0x3021) || (c >= 0xFF01 && c < 0xFF10) ||
		    (c >= 0x1F000 && c < 0x1FB00);
	return sign ? 0 : n;
}
