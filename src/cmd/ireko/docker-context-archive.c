/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context export and import: a tar of meta.json and tls/docker/<name>.pem, as docker writes and reads it.
 *
 * An archive may come from anybody: only the names that a context has are taken, each once and up to a size, and its own name
 * is the one that was given.
 */
#include "base/fd.h"
#include "base/secret.h"
#include "base/str.h"
#include "context-store.h"
#include "options.h"
#include "tar.h"
#include "text.h"
#include "verbs.h"

#include <fcntl.h>
#include <sys/mman.h>

#define MEMBER_MAX (1u << 20)
#define PEM_COUNT  3

static const char *const pem_members[PEM_COUNT] = {"tls/docker/ca.pem", "tls/docker/cert.pem",
						   "tls/docker/key.pem"};

/* ---- export */

static int fd_sink(void *user, const void *data, size_t n, Err *e)
{
	int r = fd_write_all(*(int *)user, data, n);

	return r < 0 ? err_sys(e, r, "write the archive") : 0;
}

static int add_member(TarWriter *w, const char *name, mode_t mode, const char *data, size_t len, Err *e)
{
	int r = tar_write_entry(w, &(TarEntry){.name = name, .mode = mode, .size = (int64_t)len}, e);

	return r < 0 || len == 0 ? r : tar_write_data(w, data, len, e);
}

static int add_pem(TarWriter *w, const char *name, const char *path, Err *e)
{
	_cleanup_secret_ char *text = NULL;
	size_t len = 0;
	int r = file_read_at(AT_FDCWD, path, MEMBER_MAX, &text, &len);

	return r < 0 ? err_sys(e, r, "read %s", path) : add_member(w, name, S_IFREG | 0600, text, len, e);
}

static int write_archive(Cli *cli, const char *name, const json_t *meta, int fd, Err *e)
{
	_cleanup_free_ TarWriter *w = calloc(1, sizeof(*w));
	_cleanup_free_ char *text = json_text(meta);
	_cleanup_tls_files_ TlsFiles tls = {0};
	int r = w && text ? context_tls(cli, name, &tls, e) : err_oom(e);
	const char *const pems[PEM_COUNT] = {tls.ca, tls.cert, tls.key};
	bool any = tls.ca || tls.cert || tls.key;

	if (r < 0)
		return r;
	w->sink = fd_sink;
	w->user = &fd;
	r = add_member(w, "meta.json", S_IFREG | 0644, text, strlen(text), e);
	if (r == 0)
		r = add_member(w, "tls", S_IFDIR | 0700, NULL, 0, e);
	if (r == 0 && any)
		r = add_member(w, "tls/docker", S_IFDIR | 0700, NULL, 0, e);
	for (size_t i = 0; r == 0 && i < PEM_COUNT; i++)
		if (pems[i])
			r = add_pem(w, pem_members[i], pems[i], e);
	return r == 0 ? tar_write_end(w, e) : r;
}

static int run_export(Call *call, Err *e)
{
	const char *name = call->args[0], *to = call->n_args > 1 ? call->args[1] : NULL;
	_cleanup_free_ char *usual = to ? NULL : strf("%s.dockercontext", name);
	_cleanup_json_ json_t *meta = NULL;
	_cleanup_close_ int fd = -1;
	int r = context_check_name(name, e);

	if (r == 0)
		r = context_load(call->cli, name, &meta, e);
	if (r < 0)
		return r;
	if (!to)
		to = usual;
	if (!to)
		return err_oom(e);
	if (streq(to, "-")) {
		if (call->cli->out_tty)
			return err_new(e, ERR_INVALID,
				       "cowardly refusing to export to a terminal, specify a file path");
		return write_archive(call->cli, name, meta, STDOUT_FILENO, e);
	}
	fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_new(e, errno == EEXIST ? ERR_CONFLICT : ERR_INTERNAL, "open %s: %s", to,
			       errno == EEXIST ? "file exists" : strerror(errno));
	r = write_archive(call->cli, name, meta, fd, e);
	if (r < 0)
		(void)unlink(to);
	else
		cli_complain(call->cli, "Written file \"%s\"", to);
	return r;
}

/* ---- import */

typedef struct Imported {
	char *meta, *pems[PEM_COUNT];
	size_t pem_lens[PEM_COUNT];
} Imported;

static void imported_done(Imported *im)
{
	free(im->meta);
	for (size_t i = 0; i < PEM_COUNT; i++)
		secret_free(im->pems[i]);
}

static ssize_t fd_source(void *user, void *buf, size_t cap, Err *e)
{
	ssize_t n = fd_read_full(*(int *)user, buf, cap);

	return n < 0 ? err_sys(e, (int)n, "read the archive") : n;
}

static int read_member(TarReader *t, const TarEntry *entry, char **ret, size_t *ret_len, Err *e)
{
	size_t size = (size_t)entry->size, have = 0;

	if (*ret)
		return err_new(e, ERR_INVALID, "the archive has %s twice", entry->name);
	if (entry->size > MEMBER_MAX)
		return err_new(e, ERR_INVALID, "%s in the archive is larger than %u bytes", entry->name,
			       MEMBER_MAX);
	*ret = malloc(size + 1);
	if (!*ret)
		return err_oom(e);
	while (have < size) {
		ssize_t n = tar_reader_data(t, *ret + have, size - have, e);

		if (n <= 0)
			return n < 0 ? (int)n : err_new(e, ERR_INVALID, "unexpected EOF");
		have += (size_t)n;
	}
	(*ret)[size] = '\0';
	if (ret_len)
		*ret_len = size;
	return 0;
}

static int take_member(TarReader *t, const TarEntry *entry, Imported *im, Err *e)
{
	if (S_ISDIR(entry->mode))
		return 0;
	if (!S_ISREG(entry->mode))
		return err_new(e, ERR_INVALID, "%s in the archive is no file", entry->name);
	if (streq(entry->name, "meta.json"))
		return read_member(t, entry, &im->meta, NULL, e);
	for (size_t i = 0; i < PEM_COUNT; i++)
		if (streq(entry->name, pem_members[i]))
			return read_member(t, entry, &im->pems[i], &im->pem_lens[i], e);
	/* Endpoints of other kinds are not ours to keep. */
	return str_starts(entry->name, "tls/")
		   ? 0
		   : err_new(e, ERR_INVALID, "unexpected context file: %s", entry->name);
}

static int read_archive(int fd, Imported *im, Err *e)
{
	_cleanup_(tar_reader_freep) TarReader *t = tar_reader_new(fd_source, &fd);
	TarEntry entry;
	int r = t ? 1 : err_oom(e);

	while (r > 0) {
		r = tar_reader_next(t, &entry, e);
		if (r > 0) {
			int bad = take_member(t, &entry, im, e);

			r = bad < 0 ? bad : r;
		}
	}
	if (r == 0 && !im->meta)
		return err_new(e, ERR_INVALID, "invalid context: no metadata found (meta.json is missing)");
	return r;
}

/* The PEM texts go through files, as those that a user names do. */
static int save_tls(Cli *cli, const char *name, const Imported *im, Err *e)
{
	TlsFiles files = {0};
	char **paths[] = {&files.ca, &files.cert, &files.key};
	char memory[PEM_COUNT][32];
	int fds[PEM_COUNT] = {-1, -1, -1}, r = 0;

	for (size_t i = 0; r == 0 && i < PEM_COUNT; i++) {
		if (!im->pems[i])
			continue;
		fds[i] = memfd_create("pem", MFD_CLOEXEC);
		r = fds[i] < 0 ? -errno : fd_write_all(fds[i], im->pems[i], im->pem_lens[i]);
		if (r == 0) {
			snprintf(memory[i], sizeof(memory[i]), "/proc/self/fd/%d", fds[i]);
			*paths[i] = memory[i];
		}
	}
	r = r < 0 ? err_sys(e, r, "keep the context's certificates") : context_save_tls(cli, name, &files, e);
	for (size_t i = 0; i < PEM_COUNT; i++)
		closep(&fds[i]);
	return r;
}

static int save_imported(Cli *cli, const char *name, const Imported *im, Err *e)
{
	_cleanup_json_ json_t *meta = NULL;
	int r = json_parse(im->meta, strlen(im->meta), "meta.json", &meta, e);

	if (r == 0 && str_empty(json_get_str(context_endpoint(meta), "Host")))
		r = err_new(e, ERR_INVALID, "meta.json has no docker endpoint");
	if (r == 0 && json_object_set_new(meta, "Name", json_string(name)) < 0)
		r = err_oom(e);
	if (r == 0)
		r = save_tls(cli, name, im, e);
	return r < 0 ? r : context_save(cli, meta, e);
}

static int run_import(Call *call, Err *e)
{
	const char *name = call->args[0], *from = call->args[1];
	_cleanup_(imported_done) Imported im = {0};
	_cleanup_json_ json_t *there = NULL;
	_cleanup_close_ int opened = -1;
	Err missing = {0};
	int r = context_check_name(name, e);

	if (r == 0 && context_load(call->cli, name, &there, &missing) == 0)
		r = err_new(e, ERR_CONFLICT, "context \"%s\" already exists", name);
	if (r < 0)
		return r;
	if (!streq(from, "-")) {
		opened = open(from, O_RDONLY | O_CLOEXEC);
		if (opened < 0)
			return err_sys(e, errno, "open %s", from);
	}
	r = read_archive(opened >= 0 ? opened : STDIN_FILENO, &im, e);
	if (r == 0)
		r = save_imported(call->cli, name, &im, e);
	if (r < 0)
		return r;
	(void)printf("%s\n", name);
	cli_complain(call->cli, "Successfully imported context \"%s\"", name);
	return 0;
}

const Command cmd_context_export = {.usage = "CONTEXT [FILE|-]",
				    .summary = "Write a context to a tar archive",
				    .min = 1,
				    .max = 2,
				    .run = run_export};
const Command cmd_context_import = {.usage = "CONTEXT FILE|-",
				    .summary = "Make a context from a tar archive",
				    .min = 2,
				    .max = 2,
				    .run = run_import};
