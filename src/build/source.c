/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns to paths; see source.h. */
#include "build/source.h"

#include "base/path.h"
#include "base/str.h"
#include "store/dir.h"

#include <limits.h>

static void source_done(Source *s)
{
	free(s->path);
	free(s->name);
	free(s->include);
	*s = (Source){0};
}

void sources_done(Sources *s)
{
	for (size_t i = 0; i < s->n; i++)
		source_done(&s->items[i]);
	free(s->items);
	*s = (Sources){0};
}

/* Takes *x over, also on failure. */
static int sources_add(Sources *s, Source *x, Err *e)
{
	Source *grown = reallocarray(s->items, s->n + 1, sizeof(*grown));

	if (grown)
		s->items = grown;
	if (!grown || !x->path || !x->name) {
		source_done(x);
		return err_oom(e);
	}
	s->items[s->n++] = *x;
	return 0;
}

static int missing(const char *pattern, Err *e)
{
	return err_new(
	    e, ERR_NOT_FOUND,
	    "failed to compute cache key: failed to calculate checksum of ref: \"/%.500s\": not found: "
	    "it is not in the build context, or .dockerignore excludes it",
	    pattern);
}

/* Where the path has led to, as the kernel names it. */
static char *path_below(int root, int fd)
{
	char top[PATH_MAX], there[PATH_MAX];
	ssize_t n = readlink(path_of_fd(root).s, top, sizeof(top) - 1);
	ssize_t m = readlink(path_of_fd(fd).s, there, sizeof(there) - 1);

	if (n <= 0 || m <= 0 || n == sizeof(top) - 1 || m == sizeof(there) - 1)
		return NULL;
	top[n] = there[m] = '\0';
	if (n == 1)
		n = 0; /* "/" */
	if (strncmp(top, there, (size_t)n) != 0 || (there[n] != '/' && there[n] != '\0'))
		return NULL;
	return strdup(there[n] ? there + n + 1 : "");
}

typedef struct Match {
	int root;
	const TreeFilter *filter;
	Sources *out;
	const char *include;
	size_t found;
} Match;

/* A link to nothing is taken as it is. */
static int match_broken(Match *m, const char *path, const char *name, Err *e)
{
	Source x = {.path = strdup(path), .name = strdup(name)};
	const char *last;
	struct stat st;
	_cleanup_close_ int parent = path_open_parent_in_root(m->root, path, false, &last);

	if (parent < 0 || fstatat(parent, last, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		source_done(&x);
		return 0;
	}
	m->found++;
	return sources_add(m->out, &x, e);
}

/* `path` is what the pattern came to. */
static int match_found(Match *m, const char *path, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(m->root, *path ? path : "/", O_PATH, 0);
	const char *name = path_base(path);
	_cleanup_free_ char *real = NULL;
	TreeFilter f = {.ignore = m->filter->ignore};
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return match_broken(m, path, name, e);
	real = path_below(m->root, fd);
	/* What is ignored stays so under the name of a link. */
	if (filter_says(&f, path, path, S_ISDIR(st.st_mode)) == FILTER_SKIP ||
	    (real && filter_says(&f, real, real, S_ISDIR(st.st_mode)) == FILTER_SKIP))
		return 0;
	m->found++;
	/* --exclude names what is in a directory, and files that are named themselves. */
	if (!S_ISDIR(st.st_mode) && m->filter->exclude &&
	    (ignore_matches(m->filter->exclude, name) || ignore_matches(m->filter->exclude, path)))
		return 0;
	Source x = {.path = real ? take_ptr(real) : strdup(path),
		    .name = strdup(name),
		    .include = m->include ? strdup(m->include) : NULL,
		    .is_dir = S_ISDIR(st.st_mode)};
	return sources_add(m->out, &x, e);
}

static int match_rest(Match *m, const char *base, char *const *parts, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	_cleanup_close_ int dir = -1;
	int r = 0;

	if (!*parts)
		return match_found(m, base, e);
	if (!filter_has_wildcard(*parts)) {
		_cleanup_free_ char *path = *base ? strf("%s/%s", base, *parts) : strdup(*parts);

		return path ? match_rest(m, path, parts + 1, e) : err_oom(e);
	}
	dir = path_open_in_root(m->root, *base ? base : "/", O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return 0; /* nothing can match below what is no directory */
	r = dir_names(dir, &names);
	if (r < 0)
		return err_sys(e, r, "read the directory /%.500s", base);
	for (size_t i = 0; r >= 0 && names && names[i]; i++) {
		_cleanup_free_ char *path = *base ? strf("%s/%s", base, names[i]) : strdup(names[i]);

		if (!path)
			return err_oom(e);
		if (ignore_glob(*parts, names[i]))
			r = match_rest(m, path, parts + 1, e);
	}
	return r;
}

/* Leading slashes and ".." mean the root: nothing is above it. */
static int match(Match *m, const char *pattern, Err *e)
{
	_cleanup_free_ char *rooted = strf("/%s", pattern), *clean = rooted ? path_clean(rooted) : NULL;
	_cleanup_strv_ char **parts = NULL;

	if (!clean)
		return err_oom(e);
	if (clean[1] == '\0')
		return match_found(m, "", e);
	parts = strv_split(clean + 1, '/');
	return parts ? match_rest(m, "", parts, e) : err_oom(e);
}

int sources_match(int root, const char *pattern, const TreeFilter *f, Sources *ret, Err *e)
{
	Match m = {.root = root, .filter = f, .out = ret};
	int r = match(&m, pattern, e);

	if (r >= 0 && m.found == 0 && !filter_has_wildcard(pattern))
		return missing(pattern + strspn(pattern, "/"), e);
	return r;
}

static int parents_must_exist(int root, const char *base, const char *pattern, const TreeFilter *f, Err *e)
{
	_cleanup_free_ char *path = *base ? strf("%s/%s", base, pattern) : strdup(pattern);
	Sources some = {0};
	int r = path ? sources_match(root, path, f, &some, e) : err_oom(e);

	sources_done(&some);
	return r;
}

int sources_match_parents(int root, const char *pattern, const TreeFilter *f, Sources *ret, Err *e)
{
	_cleanup_free_ char *base = NULL, *below = NULL;
	Match m = {.root = root, .filter = f, .out = ret};
	int r = filter_parents(pattern, &base, &below);

	if (r < 0)
		return err_oom(e);
	if (!filter_has_wildcard(base) && !filter_has_wildcard(below))
		r = parents_must_exist(root, base, below, f, e);
	m.include = below;
	if (r >= 0)
		r = match(&m, base, e);
	return r;
}
