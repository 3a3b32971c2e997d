/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cp, both ways. The rules of `docker cp`: a source that ends in "/." means its contents; a target that is a
 * directory gets the source inside it; a target that does not exist becomes the source, if its parent exists.
 */
#include "client.h"
#include "base/base64.h"
#include "base/fd.h"
#include "extract.h"
#include "base/path.h"
#include "options.h"
#include "tar-http.h"
#include "tar-tree.h"
#include "text.h"
#include "verbs.h"

#include <fcntl.h>

#define MODE_DIR     0x80000000u /* bits of Go's FileMode, in X-Docker-Container-Path-Stat */
#define MODE_SYMLINK 0x08000000u

typedef struct CpOptions {
	bool archive, follow, quiet;
} CpOptions;

#define O(field) offsetof(CpOptions, field)
static const Flag flags[] = {
    {"archive", 'a', FLAG_BOOL, O(archive), "Keep user and group", NULL},
    {"follow-link", 'L', FLAG_BOOL, O(follow), "Follow a symbolic link at SRC_PATH", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Do not tell what was copied", NULL},
    {0},
};
#undef O

/* "container:path", or a local path: one with a slash or dot in front, or without a colon. */
typedef struct Place {
	char *container; /* NULL: here */
	const char *path;
} Place;

static int parse_place(const char *arg, Place *ret, Err *e)
{
	const char *colon = strchr(arg, ':');

	*ret = (Place){.path = arg};
	if (*arg == '/' || *arg == '.' || !colon)
		return 0;
	if (colon == arg)
		return err_new(e, ERR_INVALID, "%s: the container's name in front of the colon is missing",
			       arg);
	ret->container = strndup(arg, (size_t)(colon - arg));
	ret->path = colon + 1;
	return ret->container ? 0 : err_oom(e);
}

static bool ends_in_dot(const char *path)
{
	return streq(path, ".") || str_ends(path, "/.");
}

static bool ends_in_slash(const char *path)
{
	return str_ends(path, "/") || ends_in_dot(path);
}

/* The last component, and the directory in front of it, of a path whose end may be slashes. */
static int split(const char *path, char **ret_dir, char **ret_base)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	_cleanup_free_ char *copy = strndup(path, n);
	char *slash = copy ? strrchr(copy, '/') : NULL;
	if (!copy)
		return -ENOMEM;
	*ret_base = strdup(slash ? slash + 1 : copy);
	*ret_dir = slash ? strndup(copy, (size_t)MAX2(slash - copy, 1)) : strdup(".");
	return *ret_base && *ret_dir ? 0 : -ENOMEM;
}

/* ---- the container's side */

typedef struct RemoteStat {
	uint32_t mode;
	char *link;
} RemoteStat;

static char *archive_target(const char *container, const char *path, const char *more, Err *e)
{
	_cleanup_free_ char *start = api_path("containers", container, "/archive", e);
	_cleanup_strbuf_ StrBuf b = {0};

	if (!start)
		return NULL;
	strbuf_add(&b, start);
	text_query(&b, "path", path);
	strbuf_add(&b, more);
	return strbuf_steal(&b);
}

static int parse_stat(const HttpcResponse *rs, RemoteStat *ret, Err *e)
{
	_cleanup_free_ char *header = httpc_response_header(rs, "X-Docker-Container-Path-Stat"), *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	size_t len;

	if (!header || base64_decode(header, &text, &len) < 0)
		return err_new(e, ERR_INTERNAL, "the engine's answer does not tell what the path is");
	int r = json_parse(text, len, "X-Docker-Container-Path-Stat", &j, e);
	if (r < 0)
		return r;
	const char *link = json_get_str(j, "linkTarget");
	*ret = (RemoteStat){.mode = (uint32_t)json_get_int(j, "mode", 0), .link = link ? strdup(link) : NULL};
	return 0;
}

static int stat_remote(Call *call, const char *container, const char *path, RemoteStat *ret, Err *e)
{
	_cleanup_free_ char *target = archive_target(container, path, "", e);
	_cleanup_httpc_ Httpc *c = NULL;
	const HttpcResponse *rs;
	int r = target ? api_stream(call->cli, &(ApiRequest){.method = "HEAD", .target = target}, &c, &rs, e)
		       : -EINVAL;

	return r < 0 ? r : parse_stat(rs, ret, e);
}

/* The path that a link points to, seen from the container's root. */
static char *resolve_link(const char *path, const char *link)
{
	_cleanup_free_ char *dir = NULL, *base = NULL;

	if (*link == '/')
		return path_clean(link);
	if (split(path, &dir, &base) < 0)
		return NULL;
	_cleanup_free_ char *joined = strf("/%s/%s", dir, link);
	return joined ? path_clean(joined) : NULL;
}

static void tell(const Call *call, int64_t bytes, const char *to)
{
	const CpOptions *o = call->opts;

	if (!o->quiet && call->cli->err_tty)
		cli_complain(call->cli, "Successfully copied %s to %s", text_size((double)bytes, 3).s, to);
}

/* ---- from a container */

static int stream_out(Httpc *c, Err *e)
{
	static char buf[65536];

	for (;;) {
		ssize_t n = httpc_read(c, buf, sizeof(buf), e);

		if (n <= 0)
			return (int)n;
		int r = fd_write_all(STDOUT_FILENO, buf, (size_t)n);
		if (r < 0)
			return err_sys(e, r, "write the archive");
	}
}

/* Where the source goes: *ret_fd is the directory, *ret_name its name there ("": the contents go into it). */
static int choose_local(const char *dst, const char *src, bool src_is_dir, int *ret_fd, char **ret_name,
			Err *e)
{
	struct stat st;
	_cleanup_free_ char *dir = NULL, *base = NULL, *src_dir = NULL, *src_base = NULL;
	bool exists = stat(dst, &st) == 0;

	if (split(src, &src_dir, &src_base) < 0)
		return err_oom(e);
	if (exists && S_ISDIR(st.st_mode)) {
		bool contents = src_is_dir && (ends_in_dot(src) || streq(src_base, ""));

		dir = strdup(dst);
		base = strdup(contents ? "" : src_base);
	} else {
		_cleanup_free_ char *real = exists ? realpath(dst, NULL) : NULL;

		if (exists && src_is_dir)
			return err_new(e, ERR_CONFLICT, "cannot copy a directory to the file %s", dst);
		if (!src_is_dir && ends_in_slash(dst))
			return err_new(e, ERR_NOT_FOUND, "destination \"%s\" must be a directory", dst);
		if (split(real ? real : dst, &dir, &base) < 0)
			return err_oom(e);
	}
	if (!dir || !base)
		return err_oom(e);
	*ret_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd < 0)
		return err_sys(e, errno, "destination directory %s", dir);
	*ret_name = take_ptr(base);
	return 0;
}

static int copy_from(Call *call, const Place *src, const char *dst, Err *e)
{
	const CpOptions *o = call->opts;
	RemoteStat st = {0};
	_cleanup_free_ char *followed = NULL, *target = NULL, *name = NULL, *link = NULL;
	_cleanup_httpc_ Httpc *c = NULL;
	_cleanup_close_ int dirfd = -1;
	const HttpcResponse *rs;
	const char *path = src->path;
	int r = 0;

	if (o->follow) {
		r = stat_remote(call, src->container, path, &st, e);
		link = st.link;
		if (r == 0 && st.mode & MODE_SYMLINK && link)
			path = followed = resolve_link(path, link);
		if (r == 0 && !path)
			r = err_oom(e);
	}
	target = r == 0 ? archive_target(src->container, path, "", e) : NULL;
	if (r == 0)
		r = target
			? api_stream(call->cli, &(ApiRequest){.method = "GET", .target = target}, &c, &rs, e)
			: -EINVAL;
	if (r < 0)
		return r;
	if (streq(dst, "-"))
		return stream_out(c, e);
	RemoteStat got = {0};
	r = parse_stat(rs, &got, e);
	free(got.link);
	if (r == 0)
		r = choose_local(dst, src->path, got.mode & MODE_DIR, &dirfd, &name, e);
	if (r < 0)
		return r;
	_cleanup_(tar_reader_freep) TarReader *reader = tar_reader_new(tar_http_source, c);
	Extract x = {.dirfd = dirfd, .name = name, .keep_owner = o->archive};
	r = reader ? extract_all(&x, reader, e) : err_oom(e);
	if (r == 0)
		tell(call, x.bytes, dst);
	return r < 0 ? err_ctx(e, r, "copy to %s", dst) : 0;
}

/* ---- to a container */

/* The directory to extract in and the name of the top entry ("": contents only). */
static int choose_remote(Call *call, const Place *dst, const char *src, bool src_is_dir, char **ret_dir,
			 char **ret_name, Err *e)
{
	RemoteStat st = {0};
	_cleanup_free_ char *path = strdup(dst->path), *src_dir = NULL, *src_base = NULL;
	int r = path ? stat_remote(call, dst->container, path, &st, e) : err_oom(e);

	/* One step through a link, as docker does: the engine then resolves the rest. */
	if (r == 0 && st.mode & MODE_SYMLINK && st.link) {
		char *resolved = resolve_link(path, st.link);

		free(path);
		path = resolved;
		free(take_ptr(st.link));
		r = path ? stat_remote(call, dst->container, path, &st, e) : err_oom(e);
	}
	free(st.link);
	if (r < 0 && (e->kind != ERR_NOT_FOUND || strstr(e->msg, "No such container")))
		return r;
	if (r == 0 && st.mode & MODE_DIR) {
		if (split(src, &src_dir, &src_base) < 0)
			return err_oom(e);
		*ret_dir = take_ptr(path);
		*ret_name = strdup(src_is_dir && ends_in_dot(src) ? "" : src_base);
		return *ret_name ? 0 : err_oom(e);
	}
	if (r == 0 && src_is_dir)
		return err_new(e, ERR_CONFLICT, "cannot copy a directory to the file %s:%s", dst->container,
			       dst->path);
	if (!src_is_dir && ends_in_slash(dst->path))
		return err_new(e, ERR_NOT_FOUND, "destination \"%s:%s\" must be a directory", dst->container,
			       dst->path);
	return !path || split(path, ret_dir, ret_name) < 0 ? err_oom(e) : 0;
}

static Httpc *begin_put(Call *call, const char *container, const char *dir, Err *e)
{
	const CpOptions *o = call->opts;
	_cleanup_free_ char *target = NULL;
	char *headers[] = {(char[]){"Content-Type: application/x-tar"}, NULL};
	Httpc *c = NULL;

	target = archive_target(container, dir,
				o->archive ? "&noOverwriteDirNonDir=true&copyUIDGID=true"
					   : "&noOverwriteDirNonDir=true",
				e);
	if (!target || api_settle(call->cli, e) < 0)
		return NULL;
	if (api_start(call->cli,
		      &(ApiRequest){.method = "PUT", .target = target, .headers = headers, .chunked = true},
		      &c, e) < 0)
		return NULL;
	return c;
}

static int end_put(Call *call, Httpc *c, int r, Err *e)
{
	if (r >= 0)
		r = httpc_finish(c, e);
	if (r >= 0)
		r = api_answer(call->cli, c, NULL, e);
	return r < 0 ? r : 0;
}

static int write_source(TarWriter *w, const char *src, const char *name, bool is_dir, bool follow, Err *e)
{
	TarTree t = {.w = w};
	_cleanup_free_ char *dir = NULL, *base = NULL,
			    *real = follow || ends_in_slash(src) ? realpath(src, NULL) : NULL;
	int r;

	if ((follow || ends_in_slash(src)) && !real)
		return err_sys(e, errno, "%s", src);
	if (split(real ? real : src, &dir, &base) < 0)
		return err_oom(e);
	_cleanup_close_ int parent = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return err_sys(e, errno, "open %s", dir);
	r = *name ? tar_tree_add_one(&t, parent, *base ? base : ".", name, e) : 0;
	if (r == 0 && is_dir) {
		_cleanup_close_ int fd =
		    openat(parent, *base ? base : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		r = fd < 0 ? err_sys(e, errno, "open %s", src) : tar_tree_add_directory(&t, fd, name, e);
	}
	return r ? r : tar_write_end(w, e);
}

static int copy_stdin(Call *call, const Place *dst, Err *e)
{
	_cleanup_httpc_ Httpc *c = NULL;
	RemoteStat st = {0};
	int r = stat_remote(call, dst->container, dst->path, &st, e);

	free(st.link);
	if (r < 0)
		return r;
	if (!(st.mode & (MODE_DIR | MODE_SYMLINK)))
		return err_new(e, ERR_INVALID, "destination \"%s:%s\" must be a directory", dst->container,
			       dst->path);
	c = begin_put(call, dst->container, dst->path, e);
	return c ? end_put(call, c, httpc_write_fd(c, STDIN_FILENO, e), e) : -EINVAL;
}

static int copy_to(Call *call, const char *src, const Place *dst, Err *e)
{
	const CpOptions *o = call->opts;
	_cleanup_free_ char *dir = NULL, *name = NULL;
	_cleanup_free_ TarWriter *w = NULL;
	_cleanup_httpc_ Httpc *c = NULL;
	struct stat st;
	bool follow = o->follow || ends_in_slash(src);

	if (streq(src, "-"))
		return copy_stdin(call, dst, e);
	if ((follow ? stat(src, &st) : lstat(src, &st)) < 0)
		return err_sys(e, errno, "%s", src);
	if (!S_ISDIR(st.st_mode) && ends_in_slash(src))
		return err_sys(e, ENOTDIR, "%s", src);
	int r = choose_remote(call, dst, src, S_ISDIR(st.st_mode), &dir, &name, e);
	if (r < 0)
		return r;
	c = begin_put(call, dst->container, dir, e);
	if (!c)
		return -EINVAL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_oom(e);
	w->sink = tar_http_sink;
	w->user = c;
	r = end_put(call, c, write_source(w, src, name, S_ISDIR(st.st_mode), follow, e), e);
	if (r == 0)
		tell(call, w->total, call->args[1]);
	return r;
}

static int run_cp(Call *call, Err *e)
{
	Place src = {0}, dst = {0};
	int r = parse_place(call->args[0], &src, e);

	if (r == 0)
		r = parse_place(call->args[1], &dst, e);
	if (r == 0 && src.container && dst.container)
		r = err_new(e, ERR_UNSUPPORTED, "copying between containers is not supported");
	else if (r == 0 && !src.container && !dst.container)
		r = err_new(e, ERR_INVALID, "must specify at least one container source");
	else if (r == 0 && ((src.container && !*src.path) || (dst.container && !*dst.path)))
		r = err_new(e, ERR_INVALID, "the path behind the colon is missing");
	else if (r == 0)
		r = src.container ? copy_from(call, &src, dst.path, e) : copy_to(call, src.path, &dst, e);
	free(src.container);
	free(dst.container);
	return r;
}

const Command cmd_cp = {.usage = "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
			.summary = "Copy files between a container and here",
			.flags = flags,
			.opts_size = sizeof(CpOptions),
			.min = 2,
			.max = 2,
			.run = run_cp};
