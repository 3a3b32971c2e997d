/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See ignore.h. A pattern is compiled into a row of tokens. The set of tokens that may come next is kept as bits while the path
 * is gone through: time is the product of both lengths at most, and there is no backtracking.
 */
#include "dockerfile/ignore.h"
#include "dockerfile/utf8.h"

#include "base/path.h"
#include "base/str.h"

#define PATTERN_MAX  4096
#define PATTERNS_MAX 20000

typedef enum TokenKind {
	CHAR,
	ANY_CHAR, /* '?' */
	CLASS,    /* [..] */
	STAR,     /* anything without '/' */
	DIRS,     /* nothing, or anything up to a '/' */
	ANYTHING,
} TokenKind;

typedef struct Token {
	TokenKind kind;
	uint32_t c;        /* of CHAR */
	const char *class; /* of CLASS: behind the '[' */
} Token;

struct IgnorePattern {
	bool literal; /* no token is other than a character */
	char *text;
	size_t n;
	Token tokens[];
};

void ignore_done(Ignore *ig)
{
	for (size_t i = 0; i < ig->n; i++) {
		free(ig->compiled[i]->text);
		free(ig->compiled[i]);
	}
	free(ig->compiled);
	strv_free(ig->patterns);
	*ig = (Ignore){0};
}

/* ---- classes ---- */

/* One end of a range in a class. NULL if there is none: '-' and ']' must be escaped. */
static const char *class_char(const char *p, uint32_t *ret)
{
	if (!*p || *p == '-' || *p == ']')
		return NULL;
	p += *p == '\\';
	return *p ? p + df_char(p, ret) : NULL;
}

/* Goes through a class from behind its '[': where it ends, NULL if it is none. Whether c is in it, if ret_in is given. */
static const char *class_read(const char *p, uint32_t c, bool *ret_in)
{
	bool negated = *p == '^', in = false;

	p += negated;
	do {
		uint32_t low, high;

		p = class_char(p, &low);
		if (!p)
			return NULL;
		high = low;
		if (*p == '-')
			p = class_char(p + 1, &high);
		if (!p || high < low)
			return NULL;
		in = in || (c >= low && c <= high);
	} while (*p != ']');
	if (ret_in)
		*ret_in = in != negated;
	return p + 1;
}

/* ---- compiling ---- */

/* "**", which takes the slash behind it along. At the very start of a pattern that is plain otherwise it need not end at a slash. */
static const char *double_star(const IgnorePattern *p, const char *at, Token *t)
{
	bool slash = at[2] == '/';
	const char *rest = at + 2 + slash;
	bool plain = at == p->text && !slash && !rest[strcspn(rest, "*?[]\\")];

	t->kind = *rest && !plain ? DIRS : ANYTHING;
	return rest;
}

/* The token at `at`; where the next one is, NULL if this is none. */
static const char *take_token(const IgnorePattern *p, const char *at, Token *t)
{
	switch (*at) {
	case '*':
		if (at[1] == '*')
			return double_star(p, at, t);
		t->kind = STAR;
		return at + 1;
	case '?':
		t->kind = ANY_CHAR;
		return at + 1;
	case '[':
		t->kind = CLASS;
		t->class = at + 1;
		return class_read(at + 1, 0, NULL);
	case '\\':
		if (!*++at)
			return NULL;
	}
	return at + df_char(at, &t->c);
}

static int compile(const char *text, IgnorePattern **ret)
{
	size_t len = strlen(text);
	IgnorePattern *p;

	if (len > PATTERN_MAX)
		return -EINVAL;
	p = calloc(1, sizeof(*p) + len * sizeof(Token));
	if (!p)
		return -ENOMEM;
	p->text = strdup(text);
	p->literal = true;
	for (const char *at = p->text; at && *at; p->n++) {
		at = take_token(p, at, &p->tokens[p->n]);
		p->literal = p->literal && p->tokens[p->n].kind == CHAR;
		if (!at) {
			free(p->text);
			free(p);
			return -EINVAL;
		}
	}
	if (!p->text) {
		free(p);
		return -ENOMEM;
	}
	*ret = p;
	return 0;
}

/* ---- matching ---- */

/* Token i may come next, and what is behind it where it may be nothing. */
static void enter(const IgnorePattern *p, uint64_t *set, size_t i)
{
	for (;; i++) {
		set[i / 64] |= 1ull << (i % 64);
		if (i == p->n || p->tokens[i].kind < STAR)
			return;
	}
}

static void feed(const IgnorePattern *p, uint64_t *to, size_t i, uint32_t c)
{
	const Token *t = &p->tokens[i];
	bool in;

	switch (t->kind) {
	case CHAR:
		if (t->c == c)
			enter(p, to, i + 1);
		break;
	case ANY_CHAR:
		if (c != '/')
			enter(p, to, i + 1);
		break;
	case CLASS:
		if (class_read(t->class, c, &in) && in)
			enter(p, to, i + 1);
		break;
	case STAR:
		if (c != '/')
			enter(p, to, i);
		break;
	case ANYTHING:
		enter(p, to, i);
		break;
	case DIRS:
		to[i / 64] |= 1ull << (i % 64);
		if (c == '/')
			enter(p, to, i + 1);
		break;
	}
}

/* One character further. False if nothing may come any more. */
static bool advance(const IgnorePattern *p, const uint64_t *from, uint64_t *to, uint32_t c)
{
	size_t words = p->n / 64 + 1;
	bool any = false;

	memset(to, 0, words * sizeof(*to));
	for (size_t w = 0; w < words; w++) {
		for (uint64_t bits = from[w]; bits; bits &= bits - 1) {
			size_t i = w * 64 + (size_t)__builtin_ctzll(bits);

			if (i < p->n)
				feed(p, to, i, c);
		}
	}
	for (size_t w = 0; w < words && !any; w++)
		any = to[w] != 0;
	return any;
}

/* The whole path, or (above) a directory above it. */
static bool run(const IgnorePattern *p, const char *path, bool above, uint64_t *a, uint64_t *b)
{
	enter(p, a, 0);
	for (const char *s = path;;) {
		bool over = a[p->n / 64] >> (p->n % 64) & 1;
		uint32_t c;

		if (over && (!*s || (above && *s == '/' && s > path)))
			return true;
		if (!*s)
			return false;
		s += df_char(s, &c);
		if (!advance(p, a, b, c))
			return false;
		uint64_t *swap = a;
		a = b;
		b = swap;
	}
}

static bool match(const IgnorePattern *p, const char *path, bool above)
{
	uint64_t small[2] = {0};
	_cleanup_free_ uint64_t *large = NULL;
	size_t words = p->n / 64 + 1;

	if (p->literal && !strchr(p->text, '\\')) {
		const char *rest = str_after(path, p->text);

		return rest && (!*rest || (above && *rest == '/'));
	}
	if (words == 1)
		return run(p, path, above, &small[0], &small[1]);
	large = calloc(2 * words, sizeof(*large));
	return large && run(p, path, above, large, large + words);
}

/* ---- lists ---- */

int ignore_add(Ignore *ig, const char *pattern)
{
	IgnorePattern **grown, *p;
	char **names;
	int r;

	if (ig->n == PATTERNS_MAX || streq(pattern, "!") || !*pattern)
		return -EINVAL;
	r = compile(pattern + (*pattern == '!'), &p);
	if (r < 0)
		return r;
	grown = reallocarray(ig->compiled, ig->n + 1, sizeof(*grown));
	if (grown)
		ig->compiled = grown;
	names = grown ? reallocarray(ig->patterns, ig->n + 2, sizeof(*names)) : NULL;
	if (names)
		ig->patterns = names;
	char *name = names ? strdup(pattern) : NULL;
	if (!name) {
		if (names)
			names[ig->n] = NULL;
		free(p->text);
		free(p);
		return -ENOMEM;
	}
	ig->compiled[ig->n] = p;
	ig->patterns[ig->n++] = name;
	ig->patterns[ig->n] = NULL;
	return 0;
}

static int add_line(Ignore *ig, const char *line)
{
	_cleanup_free_ char *trimmed = NULL, *body = NULL, *cleaned = NULL, *pattern = NULL;
	bool back;

	if (*line == '#')
		return 0;
	trimmed = str_trim_dup(df_skip_blanks(line));
	if (!trimmed)
		return -ENOMEM;
	if (!*trimmed)
		return 0;
	back = *trimmed == '!';
	body = str_trim_dup(trimmed + back);
	if (!body)
		return -ENOMEM;
	if (!*body)
		return -EINVAL;
	/* "/a" is "a": all paths are the context's. */
	cleaned = path_clean(body);
	if (!cleaned)
		return -ENOMEM;
	pattern = strf("%s%s", back ? "!" : "", cleaned + (cleaned[0] == '/' && cleaned[1]));
	return pattern ? ignore_add(ig, pattern) : -ENOMEM;
}

int ignore_parse(const char *text, Ignore *ret, Err *e)
{
	const char *start = str_after(text, "\xef\xbb\xbf") ?: text;
	Ignore ig = {0};
	int r = 0;

	for (size_t number = 1;; number++) {
		size_t n = strcspn(start, "\n");
		_cleanup_free_ char *line = strndup(start, n);

		r = line ? add_line(&ig, line) : -ENOMEM;
		if (r < 0) {
			ignore_done(&ig);
			return r == -ENOMEM
				   ? err_oom(e)
				   : err_new(e, ERR_INVALID,
					     "line %zu: illegal exclusion pattern: \"%.100s\"", number, line);
		}
		if (!start[n])
			break;
		start += n + 1;
	}
	*ret = ig;
	return 0;
}

bool ignore_glob(const char *pattern, const char *path)
{
	IgnorePattern *p;
	bool matches;

	if (compile(pattern, &p) < 0)
		return false;
	matches = match(p, path, false);
	free(p->text);
	free(p);
	return matches;
}

bool ignore_matches(const Ignore *ig, const char *path)
{
	bool ignored = false;

	for (size_t i = 0; i < ig->n; i++) {
		bool back = ig->patterns[i][0] == '!';

		/* A pattern that could not change the answer need not be tried. */
		if (back == ignored && match(ig->compiled[i], path, true))
			ignored = !back;
	}
	return ignored;
}

bool ignore_takes_back(const Ignore *ig)
{
	for (size_t i = 0; i < ig->n; i++)
		if (ig->patterns[i][0] == '!')
			return true;
	return false;
}

/* Up to the first special character, the pattern is a plain path. */
static size_t literal_length(const char *pattern)
{
	return strcspn(pattern, "*?[\\");
}

bool ignore_may_return(const Ignore *ig, const char *dir)
{
	size_t n = strlen(dir);

	for (size_t i = 0; i < ig->n; i++) {
		const char *p = ig->patterns[i];
		size_t literal;

		if (*p++ != '!')
			continue;
		literal = literal_length(p);
		/* It leads into the directory, or may. */
		if (literal > n ? strncmp(p, dir, n) == 0 && p[n] == '/'
				: p[literal] && strncmp(p, dir, literal) == 0)
			return true;
	}
	return false;
}
