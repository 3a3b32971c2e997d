/* SPDX-License-Identifier: Apache-2.0 */
/* See filter.h. The matcher is that of .dockerignore, with its budget. */
#include "build/filter.h"

#include "base/path.h"
#include "base/str.h"

static bool matches_or_above(const char *pattern, const char *path)
{
	_cleanup_free_ char *part = strdup(path);

	for (char *slash; part; *slash = '\0') {
		if (ignore_glob(pattern, part))
			return true;
		slash = strrchr(part, '/');
		if (!slash)
			break;
	}
	return false;
}

/* True if something below the directory may match: each of its names fits the pattern's in the same place. */
static bool may_lead_to(const char *pattern, const char *dir)
{
	while (*dir) {
		size_t np = strcspn(pattern, "/"), nd = strcspn(dir, "/");
		_cleanup_free_ char *p = strndup(pattern, np), *d = strndup(dir, nd);

		if (!p || !d || strstr(p, "**"))
			return true;
		if (!ignore_glob(p, d) || !pattern[np])
			return false;
		pattern += np + 1;
		dir += dir[nd] ? nd + 1 : nd;
	}
	return *pattern != '\0';
}

static FilterSays included(const char *pattern, const char *below, bool is_dir)
{
	if (!pattern || !*pattern)
		return FILTER_TAKE;
	if (*below && matches_or_above(pattern, below))
		return FILTER_TAKE;
	return is_dir && may_lead_to(pattern, below) ? FILTER_LOOK : FILTER_SKIP;
}

static FilterSays excluded(const Ignore *ig, const char *path, bool is_dir)
{
	if (!ig || !ig->patterns || !*path || !ignore_matches(ig, path))
		return FILTER_TAKE;
	return is_dir && ignore_may_return(ig, path) ? FILTER_LOOK : FILTER_SKIP;
}

FilterSays filter_says(const TreeFilter *f, const char *path, const char *below, bool is_dir)
{
	FilterSays says = included(f->include, below, is_dir);

	if (says != FILTER_SKIP)
		says = MIN2(says, excluded(f->ignore, path, is_dir));
	if (says != FILTER_SKIP)
		says = MIN2(says, excluded(f->exclude, below, is_dir));
	return says;
}

/* "/a/./b/../c/" -> "a/c" */
static char *clean_relative(const char *s, size_t n)
{
	_cleanup_free_ char *rooted = strf("/%.*s", (int)n, s), *clean = rooted ? path_clean(rooted) : NULL;

	return clean ? strdup(clean + 1) : NULL;
}

int filter_parents(const char *source, char **ret_base, char **ret_pattern)
{
	const char *pivot = strstr(source, "/./"), *pattern = pivot ? pivot + 3 : source;
	_cleanup_free_ char *base = pivot ? clean_relative(source, (size_t)(pivot - source)) : strdup("");
	char *cleaned = clean_relative(pattern, strlen(pattern));

	if (!base || !cleaned) {
		free(cleaned);
		return -ENOMEM;
	}
	*ret_base = take_ptr(base);
	*ret_pattern = cleaned;
	return 0;
}

bool filter_has_wildcard(const char *pattern)
{
	for (const char *p = pattern; *p; p++) {
		if (*p == '*' || *p == '?' || *p == '[')
			return true;
		if (*p == '\\' && p[1])
			p++;
	}
	return false;
}
