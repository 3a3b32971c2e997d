/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's client configuration: <dir>/config.json and <dir>/contexts/meta/<hash>/meta.json, where dir is
 * --config, $DOCKER_CONFIG or ~/.docker. A context is found by the name inside its meta.json, so that the
 * hash need not be known.
 *
 * The file is docker's, and the user's: what we do not know stays as it is, and it is replaced whole or not at all.
 */
#include "config.h"
#include "base/fd.h"
#include "base/secret.h"
#include "base/str.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/file.h>

#define CONFIG_MAX (4u << 20)
#define LOCK_TRIES 100 /* of a tenth of a second */

static char *config_dir(const Cli *cli)
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

int config_headers(Cli *cli, char ***ret, Err *e)
{
	json_t *config, *value;
	const char *name;
	Err broken = {0};
	int r = config_load(cli, &config, &broken);

	/* As with docker, a broken file stops only what needs what is in it. */
	if (r < 0) {
		cli_complain(cli, "WARNING: Error loading config file: %s", err_msg(&broken, r));
		config = cli->config = json_object();
	}
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

/* ---- contexts ---- */

static int host_of_meta(int dirfd, const char *entry, const char *name, char **ret, Err *e)
{
	_cleanup_free_ char *path = strf("%s/meta.json", entry);
	_cleanup_json_ json_t *meta = NULL;

	if (!path)
		return err_oom(e);
	int r = json_load_at(dirfd, path, CONFIG_MAX, &meta, e);
	if (r < 0)
		return r;
	if (!streq0(json_get_str(meta, "Name"), name))
		return 0;
	const char *host =
	    json_get_str(json_object_get(json_object_get(meta, "Endpoints"), "docker"), "Host");
	if (!host)
		return err_new(e, ERR_INVALID, "%s has no docker endpoint", path);
	*ret = strdup(host);
	return *ret ? 0 : err_oom(e);
}

static void closedirp(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static int host_of_context(const Cli *cli, const char *name, char **ret, Err *e)
{
	_cleanup_free_ char *dir = config_dir(cli);
	_cleanup_free_ char *path = dir ? strf("%s/contexts/meta", dir) : NULL;
	int r = 0;

	if (!path)
		return err_oom(e);
	_cleanup_(closedirp) DIR *d = opendir(path);
	for (struct dirent *entry; d && !*ret && r == 0 && (entry = readdir(d));)
		if (entry->d_name[0] != '.') {
			Err ignored = {0};
			int bad = host_of_meta(dirfd(d), entry->d_name, name, ret, &ignored);

			/* Somebody else's broken context is no reason to fail. */
			if (bad == -ENOMEM)
				r = err_oom(e);
		}
	if (r == 0 && !*ret)
		return err_new(e, ERR_NOT_FOUND,
			       "context \"%s\" does not exist: there is no such context in %s", name, path);
	return r;
}

static int find_host(Cli *cli, char **ret, Err *e)
{
	const char *host = getenv("DOCKER_HOST"), *context = cli->context;
	json_t *config = NULL;

	if (cli->host && cli->context)
		return err_new(e, ERR_INVALID,
			       "conflicting options: cannot specify both --host and --context");
	if (cli->host || (!context && !str_empty(host))) {
		*ret = strdup(cli->host ? cli->host : host);
		return *ret ? 0 : err_oom(e);
	}
	if (!context)
		context = getenv("DOCKER_CONTEXT");
	if (str_empty(context)) {
		int r = config_load(cli, &config, e);

		if (r < 0)
			return r;
		context = json_get_str(config, "currentContext");
	}
	if (str_empty(context) || streq(context, "default")) {
		*ret = strdup(DEFAULT_ADDRESS);
		return *ret ? 0 : err_oom(e);
	}
	return host_of_context(cli, context, ret, e);
}

int config_find_engine(Cli *cli, Err *e)
{
	_cleanup_free_ char *host = NULL;
	int r;

	if (cli->address.text)
		return 0;
	r = find_host(cli, &host, e);
	if (r < 0)
		return r;
	if (str_starts(host, "ssh://") || str_starts(host, "https://"))
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "%s: only unix:// and plain tcp:// are offered; forward the engine's socket, for example "
		    "with "
		    "ssh -L /tmp/engine.sock:/run/ireko/ireko.sock HOST, and use -H unix:///tmp/engine.sock",
		    host);
	r = httpc_address_parse(host, &cli->address, e);
	if (r < 0)
		return r;
	if (!cli->address.path && !str_empty(getenv("DOCKER_TLS_VERIFY")))
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "%s: DOCKER_TLS_VERIFY is set, but TLS to an engine is not offered; unset it to "
		    "talk in clear",
		    host);
	return 0;
}
