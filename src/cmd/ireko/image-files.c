/* SPDX-License-Identifier: Apache-2.0 */
/* load, save, import, squash, and export of a container: images and file systems as archives. A directory is an archive that was
 * unpacked: it is sent as a tar and written from one. */
#include "base/fd.h"
#include "client.h"
#include "extract.h"
#include "options.h"
#include "progress.h"
#include "tar-http.h"
#include "tar-tree.h"
#include "text.h"
#include "verbs.h"

#include <fcntl.h>

/* ---- sending an archive */

static int send_directory(Httpc *c, int dirfd, Err *e)
{
	_cleanup_free_ TarWriter *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_oom(e);
	w->sink = tar_http_sink;
	w->user = c;
	TarTree t = {.w = w, .as_root = true};
	r = tar_tree_add_directory(&t, dirfd, "", e);
	return r == 0 ? tar_write_end(w, e) : r;
}

/* fd: of a file, a pipe, a directory; -1: nothing is sent. */
static int send_archive(Httpc *c, int fd, Err *e)
{
	struct stat st;
	int r;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "examine the archive");
	r = S_ISDIR(st.st_mode) ? send_directory(c, fd, e) : httpc_write_fd(c, fd, e);
	return r < 0 ? r : httpc_finish(c, e);
}

static int upload(Cli *cli, const char *target, int fd, const Progress *p, Err *e)
{
	char *headers[] = {(char[]){"Content-Type: application/x-tar"}, NULL};
	_cleanup_httpc_ Httpc *c = NULL;
	int r = api_settle(cli, e);

	if (r == 0)
		r = api_start(
		    cli,
		    &(ApiRequest){.method = "POST", .target = target, .headers = headers, .chunked = fd >= 0},
		    &c, e);
	if (r == 0)
		r = send_archive(c, fd, e);
	if (r >= 0)
		r = api_answer(cli, c, NULL, e);
	return r < 0 ? r : progress_show(p, c, e);
}

static int open_input(const char *path, int *ret, Err *e)
{
	*ret = open(path, O_RDONLY | O_CLOEXEC);
	return *ret < 0 ? err_sys(e, errno, "open %s", path) : 0;
}

typedef struct LoadOptions {
	const char *input, *platform;
	bool quiet;
} LoadOptions;

#define O(field) offsetof(LoadOptions, field)
static const Flag load_flags[] = {
    {"input", 'i', FLAG_STRING, O(input),
     "Read this archive, or directory with an image layout, instead of standard input", NULL},
    {"platform", 0, FLAG_STRING, O(platform), "Load only this platform: OS/ARCH[/VARIANT]", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Do not show progress", NULL},
    {0},
};
#undef O

static int run_load(Call *call, Err *e)
{
	const LoadOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_close_ int file = -1;
	bool quiet = o->quiet || !call->cli->out_tty;
	int r = 0;

	if (o->input && !streq(o->input, "-"))
		r = open_input(o->input, &file, e);
	else if (isatty(STDIN_FILENO) == 1)
		r = err_new(e, ERR_INVALID, "requested load from stdin, but stdin is empty");
	if (r < 0)
		return r;
	strbuf_add(&b, "/images/load");
	text_query(&b, "quiet", quiet ? "1" : "0");
	r = api_add_platform(&b, "platform", o->platform, e);
	if (r < 0 || b.oom)
		return r < 0 ? r : err_oom(e);
	return upload(call->cli, b.s, file >= 0 ? file : STDIN_FILENO,
		      &(Progress){.out = stdout, .tty = call->cli->out_tty}, e);
}

typedef struct ImportOptions {
	List changes;
	const char *message, *platform;
} ImportOptions;

#define O(field) offsetof(ImportOptions, field)
static const Flag import_flags[] = {
    {"change", 'c', FLAG_LIST, O(changes), "Apply a Dockerfile instruction to the image", NULL},
    {"message", 'm', FLAG_STRING, O(message), "Message of the image's history", NULL},
    {"platform", 0, FLAG_STRING, O(platform), "Platform of the image: OS/ARCH[/VARIANT]", NULL},
    {0},
};
#undef O

static int run_import(Call *call, Err *e)
{
	const ImportOptions *o = call->opts;
	const char *source = call->args[0];
	bool url = str_starts(source, "http://") || str_starts(source, "https://");
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_close_ int file = -1;
	int r = 0;

	if (!url && !streq(source, "-"))
		r = open_input(source, &file, e);
	if (r < 0)
		return r;
	strbuf_add(&b, "/images/create");
	text_query(&b, "fromSrc", url ? source : "-");
	if (call->n_args > 1)
		text_query(&b, "repo", call->args[1]);
	if (o->message)
		text_query(&b, "message", o->message);
	if (o->platform)
		text_query(&b, "platform", o->platform);
	for (size_t i = 0; o->changes.v && o->changes.v[i]; i++)
		text_query(&b, "changes", o->changes.v[i]);
	r = api_add_created(&b, e);
	if (r < 0 || b.oom)
		return r < 0 ? r : err_oom(e);
	return upload(call->cli, b.s,
		      url         ? -1
		      : file >= 0 ? file
				  : STDIN_FILENO,
		      &(Progress){.out = stdout, .tty = call->cli->out_tty}, e);
}

/* ---- receiving an archive */

typedef struct SaveOptions {
	const char *output, *platform, *format;
} SaveOptions;

#define O(field) offsetof(SaveOptions, field)
static const Flag save_flags[] = {
    {"format", 0, FLAG_STRING, O(format), "docker (default; also an OCI layout) or oci (as it was pulled)",
     NULL},
    {"output", 'o', FLAG_STRING, O(output),
     "Write to this file, or into this directory if it exists or ends in \"/\"", NULL},
    {"platform", 0, FLAG_STRING, O(platform), "Save only this platform: OS/ARCH[/VARIANT]", NULL},
    {0},
};
#undef O

static const Flag export_flags[] = {
    {"output", 'o', FLAG_STRING, offsetof(SaveOptions, output),
     "Write to this file instead of standard output", NULL},
    {0},
};

static int copy_body(Httpc *c, int fd, Err *e)
{
	static char buf[1 << 18];

	for (;;) {
		ssize_t n = httpc_read(c, buf, sizeof(buf), e);

		if (n <= 0)
			return n < 0 ? err_ctx(e, (int)n, "the archive is incomplete") : 0;
		int r = fd_write_all(fd, buf, (size_t)n);
		if (r < 0)
			return err_sys(e, r, "write the archive");
	}
}

/* The file appears under its name only when it is whole; devices and pipes are written to directly. */
static int download_to_file(Httpc *c, const char *path, Err *e)
{
	struct stat st;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

		return fd < 0 ? err_sys(e, errno, "open %s", path) : copy_body(c, fd, e);
	}
	_cleanup_free_ char *temporary = strf("%s.XXXXXX", path);
	_cleanup_close_ int fd = temporary ? mkostemp(temporary, O_CLOEXEC) : -1;
	if (fd < 0)
		return err_sys(e, temporary ? errno : ENOMEM, "create a file beside %s", path);
	int r = copy_body(c, fd, e);
	if (r == 0 && (fchmod(fd, 0600) < 0 || rename(temporary, path) < 0))
		r = err_sys(e, errno, "create %s", path);
	if (r < 0)
		(void)unlink(temporary);
	return r;
}

/* Everything, and then to the end: an archive that is cut off behind its end mark was not finished by the engine. */
static int extract_body(Httpc *c, int dirfd, Err *e)
{
	static char rest[4096];
	_cleanup_(tar_reader_freep) TarReader *reader = tar_reader_new(tar_http_source, c);
	Extract x = {.dirfd = dirfd, .name = "", .whole = true};
	ssize_t n = reader ? extract_all(&x, reader, e) : err_oom(e);

	while (n >= 0 && (n = httpc_read(c, rest, sizeof(rest), e)) > 0)
		;
	return n < 0 ? err_ctx(e, (int)n, "the archive is incomplete") : 0;
}

/* The directory appears whole or not at all; one that is there must be empty, and is replaced. */
static int download_to_directory(Httpc *c, const char *path, Err *e)
{
	_cleanup_free_ char *name = strdup(path), *temporary = NULL;
	int r;

	for (size_t n = name ? strlen(name) : 0; n > 1 && name[n - 1] == '/'; n--)
		name[n - 1] = '\0';
	temporary = name ? strf("%s.XXXXXX", name) : NULL;
	if (!temporary)
		return err_oom(e);
	if (!mkdtemp(temporary))
		return err_sys(e, errno, "create a directory beside %s", path);
	_cleanup_close_ int fd = open(temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? err_sys(e, errno, "open %s", temporary) : extract_body(c, fd, e);
	if (r == 0 && (fchmod(fd, 0755) < 0 || rename(temporary, name) < 0)) {
		r = errno == ENOTEMPTY || errno == EEXIST
			? err_new(e, ERR_CONFLICT, "%s is not empty: give a new or an empty directory", path)
			: err_sys(e, errno, "create %s", path);
	}
	if (r < 0)
		(void)remove_tree_at(AT_FDCWD, temporary);
	return r;
}

static bool names_directory(const char *path)
{
	struct stat st;

	return str_ends(path, "/") || (stat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

static int download(Call *call, const char *target, const char *output, bool to_directory, Err *e)
{
	_cleanup_httpc_ Httpc *c = NULL;
	int r;

	if (!output && call->cli->out_tty)
		return err_new(e, ERR_INVALID,
			       "cowardly refusing to save to a terminal. Use the -o flag or redirect");
	r = api_stream(call->cli, &(ApiRequest){.method = "GET", .target = target}, &c, NULL, e);
	if (r < 0)
		return r;
	if (to_directory)
		return download_to_directory(c, output, e);
	return output ? download_to_file(c, output, e) : copy_body(c, STDOUT_FILENO, e);
}

static int run_save(Call *call, Err *e)
{
	const SaveOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add(&b, "/images/get");
	for (int i = 0; i < call->n_args; i++)
		text_query(&b, "names", call->args[i]);
	int r = api_add_platform(&b, "platform", o->platform, e);
	if (o->format)
		text_query(&b, "format", o->format);
	if (r < 0 || b.oom)
		return r < 0 ? r : err_oom(e);
	return download(call, b.s, o->output, o->output && names_directory(o->output), e);
}

static int run_export(Call *call, Err *e)
{
	const SaveOptions *o = call->opts;
	_cleanup_free_ char *target = api_path("containers", call->args[0], "/export", e);

	return target ? download(call, target, o->output, false, e) : -EINVAL;
}

/* ---- squash */

typedef struct SquashOptions {
	const char *from, *tag;
} SquashOptions;

#define O(field) offsetof(SquashOptions, field)
static const Flag squash_flags[] = {
    {"from", 0, FLAG_STRING, O(from),
     "Keep the layers up to this one (its digest), or those of this image (default: none)", NULL},
    {"tag", 't', FLAG_STRING, O(tag), "Name of the result: NAME[:TAG]", NULL},
    {0},
};
#undef O

static int run_squash(Call *call, Err *e)
{
	const SquashOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_json_ json_t *answer = NULL;
	int r;

	strbuf_add(&b, "/ireko/squash");
	text_query(&b, "image", call->args[0]);
	if (o->from)
		text_query(&b, "from", o->from);
	if (o->tag)
		text_query(&b, "name", o->tag);
	r = api_add_created(&b, e);
	if (r == 0)
		r = b.oom ? err_oom(e) : api_call(call->cli, "POST", b.s, NULL, &answer, e);
	if (r < 0)
		return r;
	const char *id = json_get_str(answer, "Id");
	(void)printf("%s\n", id ? id : "");
	return 0;
}

const Command cmd_load = {.usage = "[OPTIONS]",
			  .summary = "Load images from an archive",
			  .flags = load_flags,
			  .opts_size = sizeof(LoadOptions),
			  .run = run_load};
const Command cmd_import = {.usage = "[OPTIONS] FILE|URL|- [REPOSITORY[:TAG]]",
			    .summary = "Make an image from an archive of a file system",
			    .flags = import_flags,
			    .opts_size = sizeof(ImportOptions),
			    .min = 1,
			    .max = 2,
			    .run = run_import};
const Command cmd_save = {.usage = "[OPTIONS] IMAGE [IMAGE...]",
			  .summary = "Save images to an archive",
			  .flags = save_flags,
			  .opts_size = sizeof(SaveOptions),
			  .min = 1,
			  .max = -1,
			  .run = run_save};
const Command cmd_export = {.usage = "[OPTIONS] CONTAINER",
			    .summary = "Write a container's file system as an archive",
			    .flags = export_flags,
			    .opts_size = sizeof(SaveOptions),
			    .min = 1,
			    .max = 1,
			    .run = run_export};
const Command cmd_image_squash = {.usage = "[OPTIONS] IMAGE",
				  .summary = "Make one layer of several",
				  .flags = squash_flags,
				  .opts_size = sizeof(SquashOptions),
				  .min = 1,
				  .max = 1,
				  .run = run_squash};
