/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's client configuration: <dir>/config.json, where dir is --config, $DOCKER_CONFIG or ~/.docker.
 *
 * The file is docker's, and the user's: what we do not know stays as it is, and it is replaced whole or not at all.
 */
#include "config.h"
#include "base/fd.h"
#include "base/secret.h"
#include "base/str.h"
#include "endpoint.h"

#include <ctype.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/file.h>

#define CONFIG_MAX (4u << 20)
#define LOCK_TRIES 100 /* of a tenth of a second */

char *config_dir(const Cli *cli)
{
	const char *dir = cli->config_dir ? cli->config_dir : getenv("DOCKER_CONFIG"), *home = getenv("HOME");

	if (!str_empty(dir))
		return strdup(dir);
	return str_empty(home) ? strdup("/nonexistent") : strf("%s/.docker", home);
}

char *config_path(const Cli *cli)
{
	_cleanup_free_ char *dir = config_dir(cli);

	return dir ? strf("%s/config.json", dir) : NULL;
}

/* A missing or empty file is an empty object. */
static int read_config(const char *path, json_t **ret, Err *e)
{
	_cleanup_secret_ char *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	size_t len = 0;
	int r = file_read_at(AT_FDCWD, path, CONFIG_MAX, &text, &len);

	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		return err_sys(e, r, "read %s", path);
	if (r < 0 || strspn(text, " \t\r\n") == len)
		j = json_object();
	else if ((r = json_parse(text, len, path, &j, e)) < 0)
		return r;
	if (j && !json_is_object(j))
		return err_new(e, ERR_INVALID, "%s: expected a JSON object", path);
	*ret = take_ptr(j);
	return *ret ? 0 : err_oom(e);
}

int config_load(Cli *cli, json_t **ret, Err *e)
{
	if (!cli->config) {
		_cleanup_free_ char *path = config_path(cli);
		int r = path ? read_config(path, &cli->config, e) : err_oom(e);

		if (r < 0)
			return r;
	}
	*ret = cli->config;
	return 0;
}

/* ---- changing config.json ---- */

/* As docker lays it out: a tab a level. Line breaks occur between members only, never inside a string. */
static char *text_of_config(const json_t *config)
{
	_cleanup_secret_ char *flat = json_dumps(config, JSON_INDENT(1));
	size_t len = flat ? strlen(flat) : 0;
	char *out = flat ? malloc(len + 2) : NULL, *to = out;
	bool margin = true;

	if (!out)
		return NULL;
	for (const char *p = flat; *p; p++) {
		*to++ = margin && *p == ' ' ? '\t' : *p;
		margin = *p == '\n' || (margin && *p == ' ');
	}
	*to++ = '\n';
	*to = '\0';
	return out;
}

/* The file that a chain of symlinks ends in, which keeps its place, mode and owner. */
static int write_config(const char *path, const json_t *config, Err *e)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	const char *target = real ? real : path;
	_cleanup_secret_ char *text = text_of_config(config);
	struct stat st;

	if (!text)
		return err_oom(e);
	bool there = stat(target, &st) == 0;
	int r =
	    file_replace_at(AT_FDCWD, target, text, strlen(text), there ? st.st_mode & 0777 : 0600, false);
	if (r < 0)
		return err_sys(e, r, "write %s", target);
	/* Only root can, and only root needs to: under sudo the file stays its user's. */
	if (there && (st.st_uid != geteuid() || st.st_gid != getegid()))
		(void)!chown(target, st.st_uid, st.st_gid);
	return 0;
}

static int lock_dir(const char *dir, int *ret, Err *e)
{
	_cleanup_close_ int fd = -1;
	int r = mkdir_parents_at(AT_FDCWD, dir, 0700);

	if (r < 0)
		return err_sys(e, r, "make the folder %s", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open the folder %s", dir);
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK)
			return err_sys(e, errno, "lock the folder %s", dir);
		if (i == LOCK_TRIES)
			return err_new(
			    e, ERR_UNAVAILABLE,
			    "%s: another ireko has been changing config.json for %d seconds; try again", dir,
			    LOCK_TRIES / 10);
		(void)usleep(100000);
	}
	*ret = take_fd(&fd);
	return 0;
}

int config_edit(Cli *cli, int (*change)(json_t *config, void *user, Err *e), void *user, Err *e)
{
	_cleanup_free_ char *dir = config_dir(cli);
	_cleanup_free_ char *path = config_path(cli);
	_cleanup_close_ int lock = -1;
	json_t *config = NULL;

	if (!dir || !path)
		return err_oom(e);
	int r = lock_dir(dir, &lock, e);
	if (r < 0)
		return r;
	/* What was read before somebody else had the lock is old. */
	json_decref(take_ptr(cli->config));
	r = config_load(cli, &config, e);
	if (r == 0)
		r = change(config, user, e);
	return r <= 0 ? r : write_config(path, config, e);
}

/* ---- headers ---- */

static bool is_header_name(const char *s)
{
	for (const char *p = s; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("!#$%&'*+-.^_`|~", *p))
			return false;
	return *s;
}

/* What the connection itself needs is not the user's to set. */
static bool is_own_header(const char *name)
{
	static const char *const own[] = {
	    "Host",    "Content-Length", "Content-Type", "Transfer-Encoding", "Connection",
	    "Upgrade", "Expect",         "User-Agent",   "X-Registry-Auth",   "X-Registry-Config"};

	for (size_t i = 0; i < ELEMENTSOF(own); i++)
		if (strcasecmp(name, own[i]) == 0)
			return true;
	return false;
}

/* As with docker, a broken file stops only what needs what is in it. */
static json_t *load_or_warn(Cli *cli)
{
	json_t *config = NULL;
	Err broken = {0};
	int r = config_load(cli, &config, &broken);

	if (r < 0) {
		cli_complain(cli, "WARNING: Error loading config file: %s", err_msg(&broken, r));
		config = cli->config = json_object();
	}
	return config;
}

int config_headers(Cli *cli, char ***ret, Err *e)
{
	json_t *config = load_or_warn(cli), *value;
	const char *name;

	json_object_foreach (json_object_get(config, "HttpHeaders"), name, value) {
		const char *text = json_string_value(value);
		bool good = text && is_header_name(name);

		for (const char *p = text; good && *p; p++)
			good = (unsigned char)*p >= 0x20 && *p != 0x7F;
		if (!good)
			return err_new(e, ERR_INVALID,
				       "config.json: HttpHeaders: \"%.80s\" is no header with a text", name);
		if (!is_own_header(name) && strv_take(ret, strf("%s: %s", name, text)) < 0)
			return err_oom(e);
	}
	return 0;
}

/* ---- what commands take from it ---- */

const char *config_text(Cli *cli, const char *key)
{
	const char *text = json_get_str(load_or_warn(cli), key);

	return str_empty(text) ? NULL : text;
}

const char *config_format(Cli *cli, const char *key, const char *given)
{
	return given ? given : config_text(cli, key);
}

/* True if one of the assignments is to this name, with or without a value. */
static bool sets(char *const *assignments, const char *name)
{
	size_t n = strlen(name);

	for (; assignments && *assignments; assignments++)
		if (strncmp(*assignments, name, n) == 0 && ((*assignments)[n] == '=' || !(*assignments)[n]))
			return true;
	return false;
}

static int add_proxy(char ***assignments, const char *name, const char *value, bool given, Err *e)
{
	if (given)
		return 0;
	return strv_take(assignments, strf("%s=%s", name, value)) < 0 ? err_oom(e) : 0;
}

int config_add_proxies(Cli *cli, char ***assignments, Err *e)
{
	static const struct {
		const char *key, *upper, *lower;
	} names[] = {
	    {"httpProxy", "HTTP_PROXY", "http_proxy"}, {"httpsProxy", "HTTPS_PROXY", "https_proxy"},
	    {"ftpProxy", "FTP_PROXY", "ftp_proxy"},    {"noProxy", "NO_PROXY", "no_proxy"},
	    {"allProxy", "ALL_PROXY", "all_proxy"},
	};
	const json_t *all = json_object_get(load_or_warn(cli), "proxies"), *ours = NULL;
	int r = 0;

	if (!all)
		return 0;
	r = endpoint_find(cli, e);
	if (r < 0)
		return r;
	ours = json_object_get(all, cli->address.text);
	if (!ours)
		ours = json_object_get(all, "default");
	for (size_t i = 0; r == 0 && i < ELEMENTSOF(names); i++) {
		const char *value = json_get_str(ours, names[i].key);
		bool upper = sets(*assignments, names[i].upper), lower = sets(*assignments, names[i].lower);

		if (str_empty(value))
			continue;
		r = add_proxy(assignments, names[i].upper, value, upper, e);
		if (r == 0)
			r = add_proxy(assignments, names[i].lower, value, lower, e);
	}
	return r;
}

int config_add_prune_filters(Cli *cli, char ***filters, Err *e)
{
	const json_t *list = json_object_get(load_or_warn(cli), "pruneFilters");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *f = json_string_value(json_array_get(list, i));

		/* "label=x" and "label!=x" exclude each other: what was typed wins. */
		const char *same = f ? str_after(f, "label=") : NULL,
			   *other = f ? str_after(f, "label!=") : NULL;
		_cleanup_free_ char *opposite = same    ? strf("label!=%s", same)
						: other ? strf("label=%s", other)
							: NULL;

		if (!f || (opposite && strv_has(*filters, opposite)) || strv_has(*filters, f))
			continue;
		if (strv_add(filters, f) < 0)
			return err_oom(e);
	}
	return 0;
}
