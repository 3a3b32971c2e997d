/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's client configuration: <dir>/config.json and <dir>/contexts/meta/<hash>/meta.json, where dir is
 * --config, $DOCKER_CONFIG or ~/.docker. A context is found by the name inside its meta.json, so that the
 * hash need not be known.
 */
#include "config.h"
#include "base/fd.h"
#include "base/str.h"
#include "text.h"

#include <dirent.h>
#include <fcntl.h>

#define CONFIG_MAX (4u << 20)

static char *config_dir(const Cli *cli)
{
	const char *dir = cli->config_dir ? cli->config_dir : getenv("DOCKER_CONFIG"), *home = getenv("HOME");

	if (!str_empty(dir))
		return strdup(dir);
	return str_empty(home) ? strdup("/nonexistent") : strf("%s/.docker", home);
}

/* A missing config.json is an empty one. */
static int load_config(const Cli *cli, json_t **ret, Err *e)
{
	_cleanup_free_ char *dir = config_dir(cli);
	_cleanup_free_ char *path = dir ? strf("%s/config.json", dir) : NULL;

	if (!path)
		return err_oom(e);
	if (access(path, F_OK) < 0) {
		*ret = json_object();
		return *ret ? 0 : err_oom(e);
	}
	return json_load_at(AT_FDCWD, path, CONFIG_MAX, ret, e);
}

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

static int find_host(const Cli *cli, char **ret, Err *e)
{
	const char *host = getenv("DOCKER_HOST"), *context = cli->context;
	_cleanup_json_ json_t *config = NULL;

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
		int r = load_config(cli, &config, e);

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

static bool is_hub(const char *domain)
{
	return streq(domain, "docker.io") || streq(domain, "index.docker.io");
}

/* "https://host/path" and "host" mean the same registry. */
static bool key_matches(const char *key, const char *domain)
{
	const char *host = str_after(key, "https://");

	if (is_hub(domain))
		return streq(key, "https://index.docker.io/v1/") || streq(key, "docker.io") ||
		       streq(key, "index.docker.io");
	if (!host)
		host = str_after(key, "http://");
	if (!host)
		host = key;
	size_t n = strcspn(host, "/");
	return strlen(domain) == n && strncmp(host, domain, n) == 0;
}

/* An entry of "auths" as the API wants it; NULL if it holds no credentials. */
static json_t *credentials(const char *server, const json_t *entry)
{
	_cleanup_free_ char *plain = NULL;
	_cleanup_json_ json_t *out = json_object();
	const char *auth = json_get_str(entry, "auth"), *token = json_get_str(entry, "identitytoken"),
		   *registry_token = json_get_str(entry, "registrytoken");
	char *colon = NULL;

	if (!out)
		return NULL;
	if (!str_empty(token))
		json_object_set_new(out, "identitytoken", json_string(token));
	if (!str_empty(registry_token))
		json_object_set_new(out, "registrytoken", json_string(registry_token));
	if (!str_empty(auth) && text_unbase64(auth, &plain, NULL) == 0)
		colon = strchr(plain, ':');
	if (colon) {
		*colon = '\0';
		json_object_set_new(out, "username", json_string(plain));
		json_object_set_new(out, "password", json_string(colon + 1));
	}
	if (json_object_size(out) == 0)
		return NULL;
	json_object_set_new(out, "serveraddress", json_string(server));
	return take_ptr(out);
}

static int encode(const json_t *j, char **ret, Err *e)
{
	_cleanup_free_ char *text = json_text(j);

	*ret = text ? text_base64(text, strlen(text), true) : NULL;
	return *ret ? 0 : err_oom(e);
}

int config_registry_auth(const Cli *cli, const char *domain, char **ret, Err *e)
{
	_cleanup_json_ json_t *config = NULL;
	const char *key;
	json_t *entry;
	int r = load_config(cli, &config, e);

	if (r < 0)
		return r;
	json_object_foreach (json_object_get(config, "auths"), key, entry) {
		_cleanup_json_ json_t *c = key_matches(key, domain) ? credentials(key, entry) : NULL;

		if (c)
			return encode(c, ret, e);
	}
	return 0;
}

int config_registry_config(const Cli *cli, char **ret, Err *e)
{
	_cleanup_json_ json_t *config = NULL, *all = json_object();
	const char *key;
	json_t *entry;
	int r = load_config(cli, &config, e);

	if (r < 0)
		return r;
	json_object_foreach (json_object_get(config, "auths"), key, entry) {
		json_t *c = credentials(key, entry);

		if (c && json_object_set_new(all, key, c) < 0)
			return err_oom(e);
	}
	return json_object_size(all) ? encode(all, ret, e) : 0;
}
