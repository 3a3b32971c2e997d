/* SPDX-License-Identifier: Apache-2.0 */
/* See ignore.h. The matcher backtracks; a step budget keeps a malicious pattern from taking for ever. */
#include "dockerfile/ignore.h"
#include "base/path.h"
#include "base/str.h"

#define STEPS_MAX   200000
#define PATTERN_MAX 4096

void ignore_done(Ignore *ig)
{
	strv_free(take_ptr(ig->patterns));
}

int ignore_add(Ignore *ig, const char *pattern)
{
	return strv_add(&ig->patterns, pattern);
}

/* "a/../b/", "/b", "./b" -> "b" */
static char *clean(const char *pattern)
{
	_cleanup_free_ char *rooted = strf("/%s", pattern);
	_cleanup_free_ char *cleaned = rooted ? path_clean(rooted) : NULL;

	return cleaned ? strdup(cleaned[1] ? cleaned + 1 : ".") : NULL;
}

static int add_line(Ignore *ig, const char *line)
{
	_cleanup_free_ char *trimmed = NULL, *body = NULL, *cleaned = NULL;
	bool back;

	if (*line == '#')
		return 0;
	trimmed = str_trim_dup(line);
	if (!trimmed)
		return -ENOMEM;
	if (!*trimmed)
		return 0;
	/* No path is longer; it also bounds how deep the matcher recurses. */
	if (strlen(trimmed) > PATTERN_MAX)
		return -EINVAL;
	back = *trimmed == '!';
	body = str_trim_dup(trimmed + back);
	if (!body)
		return -ENOMEM;
	if (!*body)
		return -EINVAL;
	cleaned = clean(body);
	return strv_take(&ig->patterns, cleaned ? strf("%s%s", back ? "!" : "", cleaned) : NULL);
}

int ignore_parse(const char *text, Ignore *ret, Err *e)
{
	const char *start = str_after(text, "\xef\xbb\xbf");
	_cleanup_strv_ char **lines = strv_split(start ? start : text, '\n');
	Ignore ig = {0};
	int r = lines ? 0 : -ENOMEM;
	size_t i = 0;

	for (; r == 0 && lines[i]; i++)
		r = add_line(&ig, lines[i]);
	if (r < 0) {
		ignore_done(&ig);
		return r == -ENOMEM
			   ? err_oom(e)
			   : err_new(e, ERR_INVALID,
				     "line %zu: illegal exclusion pattern: it is empty or too long", i);
	}
	*ret = ig;
	return 0;
}

/* A class at p ("[a-z]", "[^a]"): whether c is in it, and where it ends; NULL if it is not closed. */
static const char *match_class(const char *p, char c, bool *ret)
{
	bool negated = *++p == '^', found = false, first = true;

	p += negated;
	for (; *p && (*p != ']' || first); first = false) {
		char low, high;

		p += *p == '\\' && p[1];
		low = high = *p++;
		if (*p == '-' && p[1] && p[1] != ']') {
			p += 1 + (p[1] == '\\' && p[2]);
			high = *p++;
		}
		found = found || (c >= low && c <= high);
	}
	if (*p != ']')
		return NULL;
	*ret = found != negated;
	return p + 1;
}

static bool match(const char *p, const char *s, unsigned *steps);

/* "**": any number of directories ("**" + "/"), or anything at the end. */
static bool match_double_star(const char *p, const char *s, unsigned *steps)
{
	while (*p == '*')
		p++;
	if (*p == '/') {
		if (match(p + 1, s, steps))
			return true;
		for (; *s; s++)
			if (*s == '/' && match(p + 1, s + 1, steps))
				return true;
		return false;
	}
	for (;; s++) {
		if (match(p, s, steps))
			return true;
		if (!*s)
			return false;
	}
}

static bool match_star(const char *p, const char *s, unsigned *steps)
{
	for (;; s++) {
		if (match(p, s, steps))
			return true;
		if (!*s || *s == '/')
			return false;
	}
}

static bool match(const char *p, const char *s, unsigned *steps)
{
	for (; *p; s++) {
		bool in_class;

		if (++*steps > STEPS_MAX)
			return false;
		if (p[0] == '*' && p[1] == '*')
			return match_double_star(p, s, steps);
		if (*p == '*')
			return match_star(p + 1, s, steps);
		if (!*s)
			return false;
		if (*p == '[') {
			const char *end = match_class(p, *s, &in_class);

			if (!end || !in_class || *s == '/')
				return false;
			p = end;
			continue;
		}
		if (*p == '?') {
			if (*s == '/')
				return false;
			/* A character, not a byte. */
			while (((unsigned char)s[1] & 0xC0) == 0x80)
				s++;
			p++;
			continue;
		}
		p += *p == '\\' && p[1];
		if (*p++ != *s)
			return false;
	}
	return *s == '\0';
}

bool ignore_glob(const char *pattern, const char *path)
{
	unsigned steps = 0;

	return match(pattern, path, &steps);
}

/* The path itself, or a directory above it. */
static bool matches_or_above(const char *pattern, const char *path)
{
	_cleanup_free_ char *part = strdup(path);

	for (char *slash; part;) {
		if (ignore_glob(pattern, part))
			return true;
		slash = strrchr(part, '/');
		if (!slash)
			break;
		*slash = '\0';
	}
	return false;
}

bool ignore_matches(const Ignore *ig, const char *path)
{
	bool ignored = false;

	for (size_t i = 0; ig->patterns && ig->patterns[i]; i++) {
		bool back = ig->patterns[i][0] == '!';

		/* A pattern that could not change the answer need not be tried. */
		if (back == ignored && matches_or_above(ig->patterns[i] + back, path))
			ignored = !back;
	}
	return ignored;
}

/* Up to the first special character, the pattern is a plain path. */
static size_t literal_length(const char *pattern)
{
	return strcspn(pattern, "*?[\\");
}

bool ignore_may_return(const Ignore *ig, const char *dir)
{
	size_t n = strlen(dir);

	for (size_t i = 0; ig->patterns && ig->patterns[i]; i++) {
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
