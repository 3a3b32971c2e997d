/* SPDX-License-Identifier: Apache-2.0 */
/* See context-store.h. */
#include "context-store.h"
#include "base/fd.h"
#include "base/secret.h"
#include "base/sha256.h"
#include "base/str.h"
#include "config.h"
#include "rows.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>

#define META_MAX (1u << 20)
#define PEM_MAX  (1u << 20)

static const char *const pem_names[] = {"ca.pem", "cert.pem", "key.pem"};

int context_check_name(const char *name, Err *e)
{
	bool good = isalnum((unsigned char)*name) && name[1];

	for (const char *p = name; good && *p; p++)
		good = isalnum((unsigned char)*p) || strchr("_.+-", *p);
	if (streq(name, CONTEXT_DEFAULT))
		return err_new(e, ERR_INVALID, "\"default\" is a reserved context name");
	if (good)
		return 0;
	return err_new(e, ERR_INVALID,
		       "context name \"%s\" is invalid, names are validated against regexp "
		       "\"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"",
		       name);
}

char *context_folder(const Cli *cli, const char *kind, const char *name)
{
	_cleanup_free_ char *dir = config_dir(cli);

	return dir ? strf("%s/contexts/%s/%s", dir, kind, sha256_hex(name, strlen(name)).s) : NULL;
}

int context_load(const Cli *cli, const char *name, json_t **ret, Err *e)
{
	_cleanup_free_ char *folder = context_folder(cli, "meta", name);
	_cleanup_free_ char *path = folder ? strf("%s/meta.json", folder) : NULL, *text = NULL;
	size_t len = 0;

	if (!path)
		return err_oom(e);
	int r = file_read_at(AT_FDCWD, path, META_MAX, &text, &len);
	if (r == -ENOENT || r == -ENOTDIR)
		return err_new(e, ERR_NOT_FOUND,
			       "context \"%s\": context not found: open %s: no such file or directory", name,
			       path);
	if (r < 0)
		return err_sys(e, r, "context \"%s\": read %s", name, path);
	return json_parse(text, len, path, ret, e);
}

int context_list(const Cli *cli, json_t **ret, Err *e)
{
	_cleanup_free_ char *dir = config_dir(cli);
	_cleanup_free_ char *path = dir ? strf("%s/contexts/meta", dir) : NULL;
	_cleanup_json_ json_t *all = json_array();

	if (!path || !all)
		return err_oom(e);
	_cleanup_(closedirp) DIR *d = opendir(path);
	for (struct dirent *entry; d && (entry = readdir(d));) {
		_cleanup_free_ char *file = strf("%s/meta.json", entry->d_name);
		_cleanup_json_ json_t *meta = NULL;

		/* Somebody else's broken context is no reason to fail. */
		if (!file || entry->d_name[0] == '.' ||
		    json_load_at(dirfd(d), file, META_MAX, &meta, NULL) < 0)
			continue;
		if (json_get_str(meta, "Name") && json_array_append(all, meta) < 0)
			return err_oom(e);
	}
	*ret = rows_sorted(all, "Name");
	return *ret ? 0 : err_oom(e);
}

int context_save(const Cli *cli, const json_t *meta, Err *e)
{
	const char *name = json_get_str(meta, "Name");
	_cleanup_free_ char *folder = context_folder(cli, "meta", name);
	_cleanup_free_ char *path = folder ? strf("%s/meta.json", folder) : NULL;

	if (!path)
		return err_oom(e);
	int r = mkdir_parents_at(AT_FDCWD, folder, 0755);
	return r < 0 ? err_sys(e, r, "make the folder %s", folder)
		     : json_save_at(AT_FDCWD, path, meta, 0644, false, e);
}

static int remove_folder(const Cli *cli, const char *kind, const char *name, Err *e)
{
	_cleanup_free_ char *folder = context_folder(cli, kind, name);
	int r = folder ? remove_tree_at(AT_FDCWD, folder) : -ENOMEM;

	return r < 0 ? err_sys(e, r, "remove %s", folder ? folder : name) : 0;
}

int context_remove(const Cli *cli, const char *name, Err *e)
{
	_cleanup_free_ char *folder = context_folder(cli, "meta", name);

	if (!folder)
		return err_oom(e);
	bool there = access(folder, F_OK) == 0;
	int r = remove_folder(cli, "meta", name, e);
	if (r == 0)
		r = remove_folder(cli, "tls", name, e);
	return r < 0 ? r : there;
}

json_t *context_endpoint(const json_t *meta)
{
	return json_object_get(json_object_get(meta, "Endpoints"), "docker");
}

json_t *context_make(const char *name, const char *description, const char *host, bool skip_verify)
{
	json_t *metadata = *description ? json_pack("{s:s}", "Description", description) : json_object();

	return json_pack("{s:s, s:o, s:{s:{s:s, s:b}}}", "Name", name, "Metadata", metadata, "Endpoints",
			 "docker", "Host", host, "SkipTLSVerify", skip_verify);
}

/* ---- TLS */

int context_tls(const Cli *cli, const char *name, TlsFiles *ret, Err *e)
{
	_cleanup_free_ char *folder = context_folder(cli, "tls", name);
	char **to[] = {&ret->ca, &ret->cert, &ret->key};

	if (!folder)
		return err_oom(e);
	for (size_t i = 0; i < ELEMENTSOF(to); i++) {
		_cleanup_free_ char *path = strf("%s/docker/%s", folder, pem_names[i]);

		if (!path)
			return err_oom(e);
		if (access(path, F_OK) == 0)
			*to[i] = take_ptr(path);
	}
	return 0;
}

typedef struct Pem {
	char *text; /* NULL: none */
	size_t len;
} Pem;

static int read_pem(const char *path, Pem *ret, Err *e)
{
	int r = path ? file_read_at(AT_FDCWD, path, PEM_MAX, &ret->text, &ret->len) : 0;

	return r < 0 ? err_sys(e, r, "open %s", path) : 0;
}

static int write_pem(const char *folder, const char *name, const Pem *pem, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", folder, name);

	if (!path)
		return err_oom(e);
	if (!pem->text)
		return 0;
	int r = mkdir_parents_at(AT_FDCWD, folder, 0700);
	if (r == 0)
		r = file_replace_at(AT_FDCWD, path, pem->text, pem->len, 0600, false);
	return r < 0 ? err_sys(e, r, "write %s", path) : 0;
}

/* All are read before any is removed: they may be the context's own. */
int context_save_tls(const Cli *cli, const char *name, const TlsFiles *from, Err *e)
{
	_cleanup_free_ char *tls = context_folder(cli, "tls", name);
	_cleanup_free_ char *folder = tls ? strf("%s/docker", tls) : NULL;
	const char *const files[] = {from->ca, from->cert, from->key};
	Pem pems[ELEMENTSOF(files)] = {0};
	int r = folder ? 0 : err_oom(e);

	for (size_t i = 0; r == 0 && i < ELEMENTSOF(files); i++)
		r = read_pem(files[i], &pems[i], e);
	if (r == 0)
		r = remove_folder(cli, "tls", name, e);
	for (size_t i = 0; r == 0 && i < ELEMENTSOF(files); i++)
		r = write_pem(folder, pem_names[i], &pems[i], e);
	for (size_t i = 0; i < ELEMENTSOF(files); i++)
		secret_free(pems[i].text);
	return r;
}
