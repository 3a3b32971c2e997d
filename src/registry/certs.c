/* SPDX-License-Identifier: Apache-2.0 */
/* See certs.h. The folders are the administrator's; the host's name may be a stranger's (a redirect), so it is looked at first. */
#include "registry/certs.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>

#define FILE_MAX_BYTES (1u << 20)
#define FILES_MAX      64

char *const certs_dirs_default[] = {(char *)"/etc/ireko/certs.d", (char *)"/etc/docker/certs.d", NULL};

void host_files_done(HostFiles *f)
{
	free(f->authorities);
	free(f->cert);
	free(f->key);
	*f = (HostFiles){0};
}

void host_auth_done(HostAuth *a)
{
	free(a->username);
	secret_free(a->password);
	secret_free(a->identity_token);
	*a = (HostAuth){0};
}

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Names under which a host may have its folder. Docker Hub's registry has another name than its images. */
static int folder_names(const char *host, char ***ret)
{
	const char *colon = strrchr(host, ':');
	_cleanup_free_ char *bare = colon ? strndup(host, (size_t)(colon - host)) : NULL;
	int r = strv_add(ret, host);

	if (bare && (streq(colon, ":443") || streq(colon, ":80"))) {
		r = r < 0 ? r : strv_add(ret, bare);
		if (r == 0 && streq(bare, "registry-1.docker.io"))
			r = strv_add(ret, "docker.io");
	}
	return r;
}

/* 1 and the folder's path, or 0. */
static int find_folder(char *const *dirs, const char *host, char **ret, Err *e)
{
	_cleanup_strv_ char **names = NULL;

	if (strchr(host, '/') || *host == '.')
		return 0;
	if (folder_names(host, &names) < 0)
		return err_oom(e);
	for (char *const *d = dirs; d && *d; d++)
		for (char **n = names; *n; n++) {
			_cleanup_free_ char *path = strf("%s/%s", *d, *n);

			if (!path)
				return err_oom(e);
			if (is_folder(path)) {
				*ret = take_ptr(path);
				return 1;
			}
		}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_folder(const char *folder, char ***ret, Err *e)
{
	DIR *d = opendir(folder);
	int r = d ? 0 : err_sys(e, errno, "read %s", folder);

	for (const struct dirent *x; r == 0 && (x = readdir(d));)
		if (*x->d_name != '.' && strv_len(*ret) < FILES_MAX && strv_add(ret, x->d_name) < 0)
			r = err_oom(e);
	if (d)
		(void)closedir(d);
	if (r == 0 && *ret)
		qsort(*ret, strv_len(*ret), sizeof(**ret), by_name);
	return r;
}

static int add_authority(const char *folder, const char *name, StrBuf *b, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", folder, name), *text = NULL;
	size_t len = 0;
	int r = path ? file_read_at(AT_FDCWD, path, FILE_MAX_BYTES, &text, &len) : -ENOMEM;

	if (r < 0)
		return err_sys(e, r, "read %s/%s", folder, name);
	if (!strstr(text, "-----BEGIN CERTIFICATE-----"))
		return err_new(e, ERR_INVALID, "%s holds no certificate in PEM form", path);
	strbuf_add_n(b, text, strlen(text));
	strbuf_add_c(b, '\n');
	return b->oom ? err_oom(e) : 0;
}

/* The key lies beside the certificate, under the same name. */
static int take_pair(const char *folder, const char *name, HostFiles *f, Err *e)
{
	_cleanup_free_ char *key = strf("%s/%.*s.key", folder, (int)(strlen(name) - strlen(".cert")), name);

	if (!key)
		return err_oom(e);
	if (access(key, R_OK) < 0)
		return err_new(
		    e, ERR_INVALID,
		    "missing key %s for client certificate %s. CA certificates must use the extension .crt",
		    key, name);
	if (f->cert)
		return 0;
	f->cert = strf("%s/%s", folder, name);
	f->key = take_ptr(key);
	return f->cert ? 0 : err_oom(e);
}

static int read_files(const char *folder, HostFiles *f, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	_cleanup_strbuf_ StrBuf b = {0};
	int r = list_folder(folder, &names, e);

	for (char **n = names; r == 0 && n && *n; n++) {
		if (str_ends(*n, ".crt"))
			r = add_authority(folder, *n, &b, e);
		else if (str_ends(*n, ".cert"))
			r = take_pair(folder, *n, f, e);
	}
	if (r == 0 && b.len > 0) {
		f->authorities = strbuf_steal(&b);
		if (!f->authorities)
			r = err_oom(e);
	}
	return r;
}

int host_files_read(char *const *dirs, const char *host, HostFiles *ret, Err *e)
{
	_cleanup_free_ char *folder = NULL;
	HostFiles f = {0};
	int r = find_folder(dirs, host, &folder, e);

	if (r > 0)
		r = read_files(folder, &f, e);
	if (r < 0) {
		host_files_done(&f);
		return r;
	}
	*ret = f;
	return 0;
}

static int take_secret(const json_t *doc, const char *key, char **ret, Err *e)
{
	const char *s = json_get_str(doc, key);

	if (str_empty(s))
		return 0;
	*ret = strdup(s);
	return *ret ? 0 : err_oom(e);
}

static int read_auth(const char *path, HostAuth *a, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "read %s", path);
	if (st.st_mode & 077)
		return err_new(e, ERR_DENIED, "%s holds a password that others may read: chmod 600 it", path);
	/* The parser's message would quote the file. */
	if (json_load_at(AT_FDCWD, path, FILE_MAX_BYTES, &doc, NULL) < 0)
		return err_new(e, ERR_INVALID, "%s cannot be read as JSON", path);
	int r = take_secret(doc, "username", &a->username, e);
	if (r == 0)
		r = take_secret(doc, "password", &a->password, e);
	if (r == 0)
		r = take_secret(doc, "identitytoken", &a->identity_token, e);
	if (r == 0 && !a->identity_token && !(a->username && a->password))
		r = err_new(e, ERR_INVALID,
			    "%s: expected {\"username\": ..., \"password\": ...} or {\"identitytoken\": ...}",
			    path);
	return r;
}

int host_auth_read(char *const *dirs, const char *host, HostAuth *ret, Err *e)
{
	_cleanup_free_ char *folder = NULL, *path = NULL;
	HostAuth a = {0};
	int r = find_folder(dirs, host, &folder, e);

	if (r > 0) {
		path = strf("%s/auth.json", folder);
		r = path ? read_auth(path, &a, e) : err_oom(e);
	}
	if (r < 0) {
		host_auth_done(&a);
		return r;
	}
	*ret = a;
	return 0;
}
