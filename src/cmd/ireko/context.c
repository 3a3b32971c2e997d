/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See context.h. The Dockerfile and .dockerignore are sent even if they are ignored, because the engine needs
 * them; a Dockerfile from outside the directory goes in under a name of its own.
 */
#include "context.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/path.h"
#include "base/str.h"
#include "tar-tree.h"

#include <fcntl.h>
#include <limits.h>

#define DOCKERFILE_MAX (8u << 20)
#define IGNORE_MAX     (1u << 20)
#define MAGIC_LEN      512

void context_done(Context *c)
{
	close_fd(&c->fd);
	ignore_done(&c->ignore);
	free(c->dockerfile);
	free(c->text);
	free(c->archive_head);
	free(c->remote);
	*c = (Context){.fd = -1};
}

/* ---- standard input */

static bool is_archive(const char *head, size_t n)
{
	static const struct {
		const char *magic;
		size_t len, at;
	} known[] = {
	    {"\x1f\x8b", 2, 0},
	    {"BZh", 3, 0},
	    {"\xfd"
	     "7zXZ",
	     5, 0},
	    {"\x28\xb5\x2f\xfd", 4, 0},
	    {"ustar", 5, 257},
	};

	for (size_t i = 0; i < ELEMENTSOF(known); i++)
		if (n >= known[i].at + known[i].len &&
		    memcmp(head + known[i].at, known[i].magic, known[i].len) == 0)
			return true;
	return false;
}

static int read_stdin_text(const char *head, size_t n, Context *c, Err *e)
{
	_cleanup_free_ char *rest = NULL;
	size_t len = 0;
	int r = fd_read_all(STDIN_FILENO, DOCKERFILE_MAX, &rest, &len);

	if (r < 0)
		return err_sys(e, r, "read the Dockerfile from standard input");
	c->text = malloc(n + len + 1);
	if (!c->text)
		return err_oom(e);
	if (n)
		memcpy(c->text, head, n);
	memcpy(c->text + n, rest, len + 1);
	c->text_len = n + len;
	return 0;
}

static int open_stdin(const char *file, Context *c, Err *e)
{
	_cleanup_free_ char *head = calloc(1, MAGIC_LEN);
	ssize_t n = head ? fd_read_full(STDIN_FILENO, head, MAGIC_LEN) : -ENOMEM;

	if (n < 0)
		return err_sys(e, (int)n, "read standard input");
	if (n == 0)
		return err_new(e, ERR_INVALID,
			       "standard input is empty: expected a Dockerfile or a tar archive");
	c->dockerfile = strdup(file && !streq(file, "-") ? file : "Dockerfile");
	if (!c->dockerfile)
		return err_oom(e);
	if (!is_archive(head, (size_t)n))
		return read_stdin_text(head, (size_t)n, c, e);
	c->archive_head = take_ptr(head);
	c->archive_head_len = (size_t)n;
	return 0;
}

/* ---- a directory */

static int outside_name(Context *c, Err *e)
{
	char random[21];

	id_random_hex(random, 20);
	c->dockerfile = strf(".dockerfile.%s", random);
	return c->dockerfile ? 0 : err_oom(e);
}

/* The path inside the directory `top`, or NULL if it is outside. Links in the directory part are resolved. */
static int path_in_context(const char *top, const char *file, char **ret, Err *e)
{
	_cleanup_free_ char *copy = strdup(file), *dir = NULL, *real_dir = NULL,
			    *real_top = realpath(top, NULL);
	char *slash = copy ? strrchr(copy, '/') : NULL;

	if (!copy || !real_top)
		return err_sys(e, errno, "%s", top);
	dir = slash ? strndup(copy, (size_t)MAX2(slash - copy, 1)) : strdup(".");
	real_dir = dir ? realpath(dir, NULL) : NULL;
	if (!real_dir)
		return err_sys(e, errno, "Dockerfile %s", file);
	const char *base = slash ? slash + 1 : copy, *rest = str_after(real_dir, real_top);
	*ret = NULL;
	if (streq(real_top, "/"))
		rest = real_dir;
	if (!rest || (*rest && *rest != '/'))
		return 0;
	rest += *rest == '/';
	*ret = strf("%s%s%s", rest, *rest ? "/" : "", base);
	return *ret ? 0 : err_oom(e);
}

static int find_dockerfile(const char *path, const char *file, Context *c, Err *e)
{
	_cleanup_free_ char *inside = NULL;
	int r;

	if (file && streq(file, "-")) {
		r = outside_name(c, e);
		return r < 0 ? r : read_stdin_text(NULL, 0, c, e);
	}
	if (!file) {
		bool lower = faccessat(c->fd, "Dockerfile", F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
			     faccessat(c->fd, "dockerfile", F_OK, 0) == 0;

		c->dockerfile = strdup(lower ? "dockerfile" : "Dockerfile");
		if (!c->dockerfile)
			return err_oom(e);
		if (faccessat(c->fd, c->dockerfile, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			return err_sys(e, errno,
				       "unable to prepare context: %s/Dockerfile (name another with -f)",
				       path);
		return 0;
	}
	if (access(file, R_OK) < 0)
		return err_sys(e, errno, "unable to prepare context: Dockerfile %s", file);
	r = path_in_context(path, file, &inside, e);
	if (r < 0)
		return r;
	if (inside) {
		c->dockerfile = take_ptr(inside);
		return 0;
	}
	r = file_read_at(AT_FDCWD, file, DOCKERFILE_MAX, &c->text, &c->text_len);
	return r < 0 ? err_sys(e, r, "read the Dockerfile %s", file) : outside_name(c, e);
}

/* Exceptions for what the engine needs, at the end so that they decide. */
static int keep(Context *c, const char *path)
{
	_cleanup_free_ char *back = strf("!%s", path);

	if (!ignore_matches(&c->ignore, path))
		return 0;
	return back ? ignore_add(&c->ignore, back) : -ENOMEM;
}

static int load_ignore(Context *c, Err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = path_open_in_root(c->fd, ".dockerignore", O_RDONLY, 0);
	int r;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return err_sys(e, fd, "open .dockerignore");
	r = fd_read_all(fd, IGNORE_MAX, &text, NULL);
	if (r < 0)
		return err_sys(e, r, "read .dockerignore");
	r = ignore_parse(text, &c->ignore, e);
	if (r < 0)
		return err_ctx(e, r, ".dockerignore");
	if (keep(c, ".dockerignore") < 0 || (!c->text && keep(c, c->dockerfile) < 0))
		return err_oom(e);
	return 0;
}

static int open_directory(const char *path, const char *file, Context *c, Err *e)
{
	c->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->fd < 0 && errno == ENOTDIR)
		return err_new(e, ERR_INVALID,
			       "unable to prepare context: %s is no directory; name a Dockerfile with -f, "
			       "and the context with .",
			       path);
	if (c->fd < 0)
		return err_sys(e, errno, "unable to prepare context: path \"%s\"", path);
	int r = find_dockerfile(path, file, c, e);
	return r < 0 ? r : load_ignore(c, e);
}

bool context_is_remote(const char *s)
{
	static const char *const schemes[] = {"http://", "https://", "git://", "ssh://"};
	size_t name = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	for (size_t i = 0; i < ELEMENTSOF(schemes); i++)
		if (str_starts(s, schemes[i]))
			return true;
	/* user@host:path, as ssh names places */
	return name > 0 && s[name] == '@' && strcspn(s + name, ":") < strcspn(s + name, "/");
}

/* The engine fetches it. A Dockerfile may come from standard input all the same. */
static int open_remote(const char *url, const char *file, Context *c, Err *e)
{
	bool from_stdin = file && streq(file, "-");

	c->remote = strdup(url);
	c->dockerfile = strdup(file && !from_stdin ? file : "Dockerfile");
	if (!c->remote || !c->dockerfile)
		return err_oom(e);
	return from_stdin ? read_stdin_text(NULL, 0, c, e) : 0;
}

int context_open(const char *path, const char *file, Context *ret, Err *e)
{
	Context c = {.fd = -1};
	int r;

	if (streq(path, "-") && file && streq(file, "-"))
		r = err_new(e, ERR_INVALID,
			    "invalid argument: can't use stdin for both build context and dockerfile");
	else if (streq(path, "-"))
		r = open_stdin(file, &c, e);
	else if ((context_is_remote(path) || str_starts(path, "github.com/")) && access(path, F_OK) < 0)
		r = open_remote(path, file, &c, e);
	else
		r = open_directory(path, file, &c, e);
	if (r < 0)
		context_done(&c);
	else
		*ret = c;
	return r;
}

/* ---- writing */

static TreeChoice choose(void *user, const char *path, bool is_dir)
{
	const Context *c = user;

	if (!ignore_matches(&c->ignore, path))
		return TREE_TAKE;
	return is_dir && ignore_may_return(&c->ignore, path) ? TREE_SKIP_BUT_ENTER : TREE_SKIP;
}

int context_write(const Context *c, TarWriter *w, Err *e)
{
	TarTree t = {.w = w,
		     .as_root = true,
		     .choose = c->ignore.patterns ? choose : NULL,
		     .user = (void *)c};
	int r = 0;

	if (c->fd >= 0)
		r = tar_tree_add_directory(&t, c->fd, "", e);
	if (r == 0 && c->text) {
		r = tar_write_entry(w,
				    &(TarEntry){.name = c->dockerfile,
						.mode = S_IFREG | 0644,
						.size = (int64_t)c->text_len},
				    e);
		if (r == 0)
			r = tar_write_data(w, c->text, c->text_len, e);
	}
	return r ? r : tar_write_end(w, e);
}
