/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See replace.h. A pattern is a row of tokens; the set of those that may be next is kept as bits while the value is gone
 * through (no backtracking): the first and the last place where the row can be over are the shortest and the longest match.
 */
#include "dockerfile/replace.h"
#include "dockerfile/utf8.h"

#include "base/str.h"

#define TOKENS_MAX 1023
#define WORK_MAX   (1ull << 27) /* words of the set that are looked at */
#define SET_WORDS  ((TOKENS_MAX + 1) / 64)
#define NOT_FOUND  SIZE_MAX

enum { ANY = -1, STAR = -2 };

typedef struct Pattern {
	int32_t tokens[TOKENS_MAX]; /* characters, ANY or STAR */
	size_t n, n_words;
	uint64_t work;
} Pattern;

typedef struct Set {
	uint64_t bits[SET_WORDS];
} Set;

static bool set_has(const Set *s, size_t i)
{
	return s->bits[i / 64] >> (i % 64) & 1;
}

/* Token i may be next, and so may what is behind stars, which need not match anything. */
static void set_add(const Pattern *p, Set *s, size_t i)
{
	s->bits[i / 64] |= 1ull << (i % 64);
	while (i < p->n && p->tokens[i] == STAR) {
		i++;
		s->bits[i / 64] |= 1ull << (i % 64);
	}
}

static int refuse(const char *pattern, const char *why, Err *e)
{
	return err_new(e, ERR_INVALID, "invalid pattern (%.200s) in substitution: %s", pattern, why);
}

static int compile(const char *text, Pattern *p, Err *e)
{
	const char *at = text;

	for (uint32_t c; *at; p->n++) {
		if (p->n == TOKENS_MAX)
			return refuse(text, "it is too long", e);
		size_t n = df_char(at, &c);

		at += n;
		p->tokens[p->n] = c == '*' ? STAR : c == '?' ? ANY : (int32_t)c;
		if (c != '\\')
			continue;
		if (!*at || !strchr("*?\\}/", *at))
			return refuse(text, "invalid escape", e);
		p->tokens[p->n] = *at++;
	}
	p->n_words = p->n / 64 + 1;
	return 0;
}

static void reverse(Pattern *p)
{
	for (size_t i = 0; i < p->n / 2; i++) {
		int32_t t = p->tokens[i];

		p->tokens[i] = p->tokens[p->n - 1 - i];
		p->tokens[p->n - 1 - i] = t;
	}
}

/* One character: which tokens may come next. False if none. */
static bool advance(Pattern *p, const Set *from, uint32_t c, Set *to)
{
	bool any = false;

	memset(to, 0, sizeof(to->bits[0]) * p->n_words);
	p->work += p->n_words;
	for (size_t w = 0; w < p->n_words; w++) {
		for (uint64_t bits = from->bits[w]; bits; bits &= bits - 1) {
			size_t i = w * 64 + (size_t)__builtin_ctzll(bits);
			int32_t t = i < p->n ? p->tokens[i] : 0;

			p->work++;
			if (i >= p->n || (t < 0 ? c == '\n' : (uint32_t)t != c))
				continue;
			set_add(p, to, t == STAR ? i : i + 1);
			any = true;
		}
	}
	return any;
}

/* The character before `at`. */
static const char *step_back(const char *start, const char *at)
{
	uint32_t c;
	const char *p = at - 1;

	while (p > start && at - p < 4 && ((unsigned char)*p & 0xC0) == 0x80)
		p--;
	return p + df_char(p, &c) == at ? p : at - 1;
}

/* How many bytes from `at` on (or before it, back to start) match; NOT_FOUND if they do not. */
static size_t match(Pattern *p, const char *start, const char *at, bool back, bool longest)
{
	Set sets[2] = {0};
	size_t found = NOT_FOUND;
	const char *pos = at;

	set_add(p, &sets[0], 0);
	for (unsigned turn = 0;; turn ^= 1) {
		uint32_t c;

		if (set_has(&sets[turn], p->n)) {
			found = (size_t)(back ? at - pos : pos - at);
			if (!longest)
				return found;
		}
		if ((back ? pos == start : !*pos) || p->work > WORK_MAX)
			return found;
		const char *previous = back ? step_back(start, pos) : pos;
		size_t n = df_char(previous, &c);

		pos = back ? previous : pos + n;
		if (!advance(p, &sets[turn], c, &sets[turn ^ 1]))
			return found;
	}
}

/* Matches from left to right, each as long as it can be; none begins where the one before ended without anything between. */
static void replace_matches(Pattern *p, const char *value, bool all, const char *replacement, StrBuf *out)
{
	const char *at = value, *last = NULL;

	for (bool more = true; p->work <= WORK_MAX;) {
		size_t n = more ? match(p, value, at, false, true) : NOT_FOUND;
		uint32_t c;

		if (n != NOT_FOUND && !(n == 0 && at == last)) {
			strbuf_add(out, replacement);
			more = all;
			at += n;
			last = at;
			if (n)
				continue;
		}
		if (!*at)
			return;
		n = more ? df_char(at, &c) : strlen(at);
		strbuf_add_n(out, at, n);
		at += n;
	}
}

int dockerfile_replace(const char *value, ReplaceWhere where, const char *pattern, const char *replacement,
		       char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf out = {0};
	bool suffix = where == REPLACE_SUFFIX || where == REPLACE_LONGEST_SUFFIX;
	bool longest = where == REPLACE_LONGEST_PREFIX || where == REPLACE_LONGEST_SUFFIX;
	size_t len = strlen(value);
	Pattern p = {0};
	int r = compile(pattern, &p, e);

	if (r < 0)
		return r;
	if (where == REPLACE_FIRST || where == REPLACE_ALL) {
		replace_matches(&p, value, where == REPLACE_ALL, replacement, &out);
	} else {
		if (suffix)
			reverse(&p);
		size_t n = match(&p, value, suffix ? value + len : value, suffix, longest);

		n = n == NOT_FOUND ? 0 : n;
		strbuf_add_n(&out, suffix ? value : value + n, len - n);
	}
	if (p.work > WORK_MAX)
		return refuse(pattern, "it takes too long on this value", e);
	*ret = strbuf_steal(&out);
	return *ret ? 0 : err_oom(e);
}
