/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What COPY and ADD name in the context or in another stage: patterns to paths, and paths to a digest.
 *
 * The tree is hostile: every component is opened in the root (path_open_in_root), links are hashed as links and
 * never followed while walking down.
 */
#include "build/build-internal.h"

#include <dirent.h>
#include <fnmatch.h>
#include <openssl/evp.h>

#define WALK_DEPTH_MAX 512

void sources_done(Sources *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->items[i].path);
	free(s->items);
	*s = (Sources){0};
}

static int sources_add(Sources *s, const char *path, bool is_dir, Err *e)
{
	Source *grown = realloc(s->items, (s->n + 1) * sizeof(*grown));

	if (!grown)
		return err_oom(e);
	s->items = grown;
	s->items[s->n].path = strdup(path);
	s->items[s->n].is_dir = is_dir;
	return s->items[s->n++].path ? 0 : err_oom(e);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in a directory in byte order. */
static int names_in(int dirfd, char ***ret, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	size_t n = 0, cap = 0;

	if (!dir) {
		closep(&fd);
		return err_sys(e, errno, "read a directory");
	}
	while ((d = readdir(dir))) {
		if (streq(d->d_name, ".") || streq(d->d_name, ".."))
			continue;
		if (n + 2 > cap) {
			cap = cap ? cap * 2 : 32;
			char **grown = realloc(names, cap * sizeof(char *));
			if (!grown) {
				closedir(dir);
				return err_oom(e);
			}
			names = grown;
		}
		names[n] = strdup(d->d_name);
		names[n + 1] = NULL;
		if (!names[n++]) {
			closedir(dir);
			return err_oom(e);
		}
	}
	closedir(dir);
	if (n > 1)
		qsort(names, n, sizeof(char *), compare_names);
	if (!names) {
		names = calloc(1, sizeof(char *));
		if (!names)
			return err_oom(e);
	}
	*ret = take_ptr(names);
	return 0;
}

static bool has_wildcard(const char *s)
{
	return strpbrk(s, "*?[\\") != NULL;
}

static int match_rest(int rootfd, const char *base, char *const *parts, Sources *out, Err *e);

static int match_one(int rootfd, const char *base, const char *name, char *const *rest, Sources *out, Err *e)
{
	_cleanup_free_ char *path = *base ? strf("%s/%s", base, name) : strdup(name);
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (!path)
		return err_oom(e);
	/* The last component of a COPY source is followed if it is a link, inside the root, as Docker does. */
	fd = path_open_in_root(rootfd, path, O_PATH, 0);
	if (fd < 0 && !*rest) {
		const char *last;
		_cleanup_close_ int parent = path_open_parent_in_root(rootfd, path, false, &last);

		if (parent >= 0 && fstatat(parent, last, &st, AT_SYMLINK_NOFOLLOW) == 0)
			return sources_add(out, path, false, e);
		return 0;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;
	if (!*rest)
		return sources_add(out, path, S_ISDIR(st.st_mode), e);
	return S_ISDIR(st.st_mode) ? match_rest(rootfd, path, rest, out, e) : 0;
}

static int match_rest(int rootfd, const char *base, char *const *parts, Sources *out, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	_cleanup_close_ int dir = -1;
	int r = 0;

	if (!has_wildcard(parts[0]))
		return match_one(rootfd, base, parts[0], parts + 1, out, e);
	dir = path_open_in_root(rootfd, *base ? base : "/", O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return 0;
	r = names_in(dir, &names, e);
	for (size_t i = 0; r >= 0 && names[i]; i++)
		if (fnmatch(parts[0], names[i], 0) == 0)
			r = match_one(rootfd, base, names[i], parts + 1, out, e);
	return r;
}

int sources_match(int rootfd, const char *pattern, Sources *ret, Err *e)
{
	/* Leading slashes and ".." mean the context's root: nothing is above it. */
	_cleanup_free_ char *absolute = strf("/%s", pattern), *clean = absolute ? path_clean(absolute) : NULL;
	_cleanup_strv_ char **parts = NULL;
	Sources out = {0};
	int r;

	if (!clean)
		return err_oom(e);
	if (streq(clean, "/")) {
		r = sources_add(&out, "", true, e);
	} else {
		parts = strv_split(clean + 1, '/');
		r = parts ? match_rest(rootfd, "", parts, &out, e) : err_oom(e);
	}
	if (r >= 0 && out.n == 0)
		r = err_new(e, ERR_NOT_FOUND,
			    "COPY failed: file not found in build context or excluded by .dockerignore: stat "
			    "%s: file does not exist",
			    pattern);
	if (r < 0)
		sources_done(&out);
	else
		*ret = out;
	return r;
}

/* ---- digest ---- */

typedef struct Hasher {
	EVP_MD_CTX *md;
	bool owners;
	char buf[65536];
} Hasher;

static void hash_text(Hasher *h, const char *s)
{
	EVP_DigestUpdate(h->md, s, strlen(s) + 1);
}

static int hash_file(Hasher *h, int parent, const char *name, Err *e)
{
	_cleanup_close_ int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return err_sys(e, errno, "open %s", name);
	while ((n = fd_read_full(fd, h->buf, sizeof(h->buf))) > 0)
		EVP_DigestUpdate(h->md, h->buf, (size_t)n);
	return n < 0 ? err_sys(e, (int)n, "read %s", name) : 0;
}

static int hash_entry(Hasher *h, int parent, const char *name, const char *shown, int depth, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	_cleanup_close_ int dir = -1;
	char head[128], link[4096];
	struct stat st;
	int r = 0;

	if (depth > WALK_DEPTH_MAX)
		return err_new(e, ERR_INVALID, "directories are nested more than %d deep", WALK_DEPTH_MAX);
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
		return err_sys(e, errno, "look at %s", shown);
	hash_text(h, shown);
	snprintf(head, sizeof(head), "%o %lld %u %u", st.st_mode,
		 S_ISREG(st.st_mode) ? (long long)st.st_size : 0ll, h->owners ? st.st_uid : 0,
		 h->owners ? st.st_gid : 0);
	hash_text(h, head);
	if (S_ISREG(st.st_mode))
		return hash_file(h, parent, name, e);
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(parent, name, link, sizeof(link) - 1);

		if (n < 0)
			return err_sys(e, errno, "read link %s", shown);
		link[n] = '\0';
		hash_text(h, link);
		return 0;
	}
	if (!S_ISDIR(st.st_mode))
		return 0;
	dir = openat(parent, *name ? name : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, errno, "open %s", shown);
	r = names_in(dir, &names, e);
	for (size_t i = 0; r >= 0 && names[i]; i++)
		r = hash_entry(h, dir, names[i], names[i], depth + 1, e);
	hash_text(h, ""); /* end of directory */
	return r;
}

static int hash_source(Hasher *h, int rootfd, const Source *s, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(rootfd, *s->path ? s->path : "/", O_PATH, 0);
	_cleanup_close_ int parent = -1;
	const char *last = "";

	if (fd >= 0 && s->is_dir)
		return hash_entry(h, fd, "", path_base(s->path), 0, e);
	parent = path_open_parent_in_root(rootfd, s->path, false, &last);
	if (parent < 0)
		return err_sys(e, parent, "open the directory of %s", s->path);
	return hash_entry(h, parent, last, last, 0, e);
}

int sources_digest(int rootfd, const Sources *s, bool owners, char ret[DIGEST_LEN + 1], Err *e)
{
	Hasher *h = malloc(sizeof(*h));
	unsigned char md[EVP_MAX_MD_SIZE];
	int r = 0;

	if (!h)
		return err_oom(e);
	h->owners = owners;
	h->md = EVP_MD_CTX_new();
	if (!h->md || EVP_DigestInit_ex(h->md, EVP_sha256(), NULL) != 1)
		r = err_oom(e);
	for (size_t i = 0; r >= 0 && i < s->n; i++)
		r = hash_source(h, rootfd, &s->items[i], e);
	if (r >= 0) {
		EVP_DigestFinal_ex(h->md, md, NULL);
		memcpy(ret, "sha256:", 7);
		for (size_t i = 0; i < 32; i++)
			snprintf(ret + 7 + 2 * i, 3, "%02x", md[i]);
	}
	EVP_MD_CTX_free(h->md);
	free(h);
	return r;
}
