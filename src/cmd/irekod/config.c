/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/json.h"
#include "base/str.h"

#include <fcntl.h>
#include <getopt.h>

#define CONFIG_MAX (1u << 20)

const char config_usage[] =
    "Usage: irekod [options]\n"
    "\n"
    "The container engine. It serves the Docker Engine API; containers outlive it.\n"
    "\n"
    "  --data-root DIR            images, volumes, container data (default /var/lib/ireko)\n"
    "  --exec-root DIR            sockets and state that end with the boot (default /run/ireko)\n"
    "  -H, --host ADDRESS         unix://PATH, or tcp://HOST:PORT on a loopback address; repeatable\n"
    "                             (default unix://EXEC-ROOT/ireko.sock)\n"
    "  --bridge-subnet CIDR       of the default network (default: one that is free)\n"
    "  --insecure-registry HOST   host[:port] or CIDR that may be spoken to without TLS; repeatable\n"
    "  --registry-mirror [HOST=]URL\n"
    "                             asked before HOST (default docker.io; * for every registry that\n"
    "                             has no mirror of its own); repeatable, in this order\n"
    "  --registry-token-server REGISTRY=HOST\n"
    "                             HOST also gets the credentials for REGISTRY, whose token server it is; "
    "needed\n"
    "                             only where the names do not tell that both have one owner; repeatable\n"
    "  --max-concurrent-downloads N\n"
    "                             layers of one pull at once (default 4)\n"
    "  --http-proxy URL, --https-proxy URL, --no-proxy LIST\n"
    "                             the way to registries (default $HTTP_PROXY, $HTTPS_PROXY, $NO_PROXY)\n"
    "  --certs-dir DIR            certificates and credentials of registries, a folder each\n"
    "                             (default /etc/ireko/certs.d, then /etc/docker/certs.d)\n"
    "  --runtime NAME=PATH        an OCI runtime, runc say, that containers may ask for; repeatable\n"
    "  --default-runtime NAME     of containers that ask for none (default ireko, our own)\n"
    "  --log-driver NAME          of containers that name none: json-file (default), local,\n"
    "                             journald, syslog or none\n"
    "  --log-opt KEY=VALUE        of containers with that driver; repeatable\n"
    "  --snapshotter NAME         how layers are kept: auto, erofs (images), overlayfs\n"
    "                             (directories) or vfs (copies)\n"
    "  --gc-max-size SIZE         of layers and blobs: above it unused ones go (default: no limit)\n"
    "  --gc-min-free SIZE         of the data root's file system: below it unused ones go (default: no "
    "limit)\n"
    "  --gc-max-age TIME          what was not used for so long goes: 36h, 14d (default: never)\n"
    "  --gc-images WHICH          that may go: dangling (no tag; the default) or unused (no container)\n"
    "  --gc-keep PATTERN          of references that never go: 'debian:*'; repeatable\n"
    "  --gc-interval TIME         between two looks (default 1m)\n"
    "  --gc-leftover-age TIME     what failed pulls left goes after it (default 1h)\n"
    "  --helper-dir DIR           where ireko-shim and ireko-unpack are\n"
    "                             (default: beside irekod, else in libexec)\n"
    "  --log-level LEVEL          debug, info, warn or error (default info)\n"
    "  --pidfile FILE             written at start, removed at exit\n"
    "  --config FILE              JSON with these options (default /etc/ireko/daemon.json if it exists)\n"
    "  --version, --help\n";

enum {
	OPT_DATA = 256,
	OPT_EXEC,
	OPT_SUBNET,
	OPT_INSECURE,
	OPT_MIRROR,
	OPT_TOKEN_SERVER,
	OPT_DOWNLOADS,
	OPT_HTTP_PROXY,
	OPT_HTTPS_PROXY,
	OPT_NO_PROXY,
	OPT_CERTS,
	OPT_RUNTIME,
	OPT_DEFAULT_RUNTIME,
	OPT_LOG_DRIVER,
	OPT_LOG_OPT,
	OPT_SNAPSHOTTER,
	OPT_HELPER,
	OPT_GC,
	OPT_GC_KEEP,
	OPT_LEVEL,
	OPT_PID,
	OPT_CONFIG,
	OPT_VERSION,
	OPT_HELP
};

static const struct option options[] = {
    {"data-root", required_argument, NULL, OPT_DATA},
    {"exec-root", required_argument, NULL, OPT_EXEC},
    {"host", required_argument, NULL, 'H'},
    {"bridge-subnet", required_argument, NULL, OPT_SUBNET},
    {"insecure-registry", required_argument, NULL, OPT_INSECURE},
    {"registry-mirror", required_argument, NULL, OPT_MIRROR},
    {"registry-token-server", required_argument, NULL, OPT_TOKEN_SERVER},
    {"max-concurrent-downloads", required_argument, NULL, OPT_DOWNLOADS},
    {"http-proxy", required_argument, NULL, OPT_HTTP_PROXY},
    {"https-proxy", required_argument, NULL, OPT_HTTPS_PROXY},
    {"no-proxy", required_argument, NULL, OPT_NO_PROXY},
    {"certs-dir", required_argument, NULL, OPT_CERTS},
    {"runtime", required_argument, NULL, OPT_RUNTIME},
    {"default-runtime", required_argument, NULL, OPT_DEFAULT_RUNTIME},
    {"log-driver", required_argument, NULL, OPT_LOG_DRIVER},
    {"log-opt", required_argument, NULL, OPT_LOG_OPT},
    {"snapshotter", required_argument, NULL, OPT_SNAPSHOTTER},
    {"helper-dir", required_argument, NULL, OPT_HELPER},
    {"gc-max-size", required_argument, NULL, OPT_GC},
    {"gc-min-free", required_argument, NULL, OPT_GC},
    {"gc-max-age", required_argument, NULL, OPT_GC},
    {"gc-images", required_argument, NULL, OPT_GC},
    {"gc-interval", required_argument, NULL, OPT_GC},
    {"gc-leftover-age", required_argument, NULL, OPT_GC},
    {"gc-keep", required_argument, NULL, OPT_GC_KEEP},
    {"log-level", required_argument, NULL, OPT_LEVEL},
    {"pidfile", required_argument, NULL, OPT_PID},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static int set(char **to, const char *value, Err *e)
{
	char *copy = strdup(value);

	if (!copy)
		return err_oom(e);
	free(*to);
	*to = copy;
	return 0;
}

static int add_mirror(DaemonConfig *c, const char *value, Err *e)
{
	const char *eq = strchr(value, '='), *scheme = strstr(value, "://");
	bool has_host = eq && (!scheme || eq < scheme);

	return strv_take(&c->mirrors, has_host ? strdup(value) : strf("docker.io=%s", value)) < 0 ? err_oom(e)
												  : 0;
}

/* The names are parts of paths, and of what users type. */
static int check_runtime(const char *name, const char *path, Err *e)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	if (!*name || strlen(name) > 64 || strspn(name, letters) != strlen(name) || strchr("_.-", *name))
		return err_new(e, ERR_INVALID,
			       "runtime \"%.80s\": a name has 1 to 64 letters, digits and _ . -", name);
	if (streq(name, "ireko"))
		return err_new(e, ERR_INVALID, "runtime ireko is the engine's own: choose another name");
	if (*path != '/')
		return err_new(e, ERR_INVALID,
			       "runtime %s: expected the absolute path of a program, not \"%s\"", name, path);
	return 0;
}

static int add_runtime(DaemonConfig *c, const char *name, const char *path, Err *e)
{
	int r = check_runtime(name, path, e);

	if (r < 0)
		return r;
	return strv_take(&c->runtimes, strf("%s=%s", name, path)) < 0 ? err_oom(e) : 0;
}

static int add_runtime_option(DaemonConfig *c, const char *value, Err *e)
{
	const char *eq = strchr(value, '=');
	_cleanup_free_ char *name = strndup(value, eq ? (size_t)(eq - value) : strlen(value));

	if (!name)
		return err_oom(e);
	if (!eq)
		return err_new(e, ERR_INVALID, "--runtime %s: expected NAME=PATH", value);
	if (strv_env_get(c->runtimes, name))
		return err_new(e, ERR_INVALID, "--runtime %s is given twice", name);
	return add_runtime(c, name, eq + 1, e);
}

static int add_log_opt(DaemonConfig *c, const char *value, Err *e)
{
	if (!strchr(value, '=') || *value == '=')
		return err_new(e, ERR_INVALID, "--log-opt %s: expected KEY=VALUE", value);
	return strv_env_set(&c->log_opts, value) < 0 ? err_oom(e) : 0;
}

static int apply_option(DaemonConfig *c, int opt, const char *name, const char *value, char **config_file,
			ConfigAction *action, Err *e)
{
	switch (opt) {
	case OPT_GC:
		return config_gc_text(&c->gc, name, value, e);
	case OPT_GC_KEEP:
		return config_gc_keep(&c->gc, value, e);
	case OPT_DATA:
		return set(&c->data_root, value, e);
	case OPT_EXEC:
		return set(&c->exec_root, value, e);
	case 'H':
		return strv_add(&c->hosts, value) < 0 ? err_oom(e) : 0;
	case OPT_SUBNET:
		return set(&c->bridge_subnet, value, e);
	case OPT_INSECURE:
		return strv_add(&c->insecure, value) < 0 ? err_oom(e) : 0;
	case OPT_MIRROR:
		return add_mirror(c, value, e);
	case OPT_TOKEN_SERVER:
		return strv_add(&c->token_servers, value) < 0 ? err_oom(e) : 0;
	case OPT_DOWNLOADS:
		return set(&c->max_downloads_text, value, e);
	case OPT_HTTP_PROXY:
		return set(&c->http_proxy, value, e);
	case OPT_HTTPS_PROXY:
		return set(&c->https_proxy, value, e);
	case OPT_NO_PROXY:
		return set(&c->no_proxy, value, e);
	case OPT_CERTS:
		return set(&c->certs_dir, value, e);
	case OPT_RUNTIME:
		return add_runtime_option(c, value, e);
	case OPT_DEFAULT_RUNTIME:
		return set(&c->default_runtime, value, e);
	case OPT_LOG_DRIVER:
		return set(&c->log_driver, value, e);
	case OPT_LOG_OPT:
		return add_log_opt(c, value, e);
	case OPT_SNAPSHOTTER:
		return set(&c->snapshotter, value, e);
	case OPT_HELPER:
		return set(&c->helper_dir, value, e);
	case OPT_LEVEL:
		return set(&c->log_level, value, e);
	case OPT_PID:
		return set(&c->pidfile, value, e);
	case OPT_CONFIG:
		return set(config_file, value, e);
	case OPT_VERSION:
		*action = CONFIG_VERSION;
		return 0;
	case OPT_HELP:
		*action = CONFIG_HELP;
		return 0;
	default:
		return err_new(e, ERR_INVALID, "unknown option; see irekod --help");
	}
}

/* A member of the file counts only if the command line did not set it. */
static int file_text(char **to, const json_t *v, const char *key, Err *e)
{
	if (!json_is_string(v))
		return err_new(e, ERR_INVALID, "%s: expected a string", key);
	return *to ? 0 : set(to, json_string_value(v), e);
}

static int file_list(DaemonConfig *c, const char *key, json_t *v, Err *e)
{
	_cleanup_strv_ char **list = NULL;
	int r = json_to_strv(v, &list);

	if (r == -EINVAL)
		return err_new(e, ERR_INVALID, "%s: expected an array of strings", key);
	for (char **p = list; r >= 0 && p && *p; p++) {
		if (streq(key, "hosts"))
			r = strv_add(&c->hosts, *p);
		else if (streq(key, "insecure-registries"))
			r = strv_add(&c->insecure, *p);
		else if (streq(key, "registry-token-servers"))
			r = strv_add(&c->token_servers, *p);
		else if (streq(key, "gc-keep"))
			r = config_gc_keep(&c->gc, *p, e);
		else
			r = add_mirror(c, *p, e);
	}
	return r == -ENOMEM ? err_oom(e) : MIN2(r, 0);
}

/* As in docker's file: {"NAME": {"path": PATH}}. */
static int file_runtimes(DaemonConfig *c, json_t *v, Err *e)
{
	const char *name, *key;
	json_t *one, *member;
	int r = 0;

	if (!json_is_object(v))
		return err_new(e, ERR_INVALID, "runtimes: expected an object");
	json_object_foreach (v, name, one) {
		const char *path = json_get_str(one, "path");

		json_object_foreach (one, key, member)
			if (!streq(key, "path"))
				return err_new(e, ERR_INVALID, "runtimes: %s: unknown setting \"%.100s\"",
					       name, key);
		if (!path)
			return err_new(e, ERR_INVALID, "runtimes: %s: expected {\"path\": PROGRAM}", name);
		if (!strv_env_get(c->runtimes, name)) /* else the command line has said it */
			r = add_runtime(c, name, path, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* As in docker's file: {"KEY": "VALUE"}. */
static int file_log_opts(DaemonConfig *c, json_t *v, Err *e)
{
	const char *key;
	json_t *one;

	if (!json_is_object(v))
		return err_new(e, ERR_INVALID, "log-opts: expected an object");
	json_object_foreach (v, key, one) {
		if (!json_is_string(one) || !*key || strchr(key, '='))
			return err_new(e, ERR_INVALID, "log-opts: %.100s: expected a string", key);
		if (!strv_env_get(c->log_opts, key) &&
		    strv_take(&c->log_opts, strf("%s=%s", key, json_string_value(one))) < 0)
			return err_oom(e);
	}
	return 0;
}

/* As in docker's file: {"http-proxy", "https-proxy", "no-proxy"}. */
static int file_proxies(DaemonConfig *c, json_t *v, Err *e)
{
	const char *key;
	json_t *one;
	int r = 0;

	if (!json_is_object(v))
		return err_new(e, ERR_INVALID, "proxies: expected an object");
	json_object_foreach (v, key, one) {
		if (streq(key, "http-proxy"))
			r = file_text(&c->http_proxy, one, key, e);
		else if (streq(key, "https-proxy"))
			r = file_text(&c->https_proxy, one, key, e);
		else if (streq(key, "no-proxy"))
			r = file_text(&c->no_proxy, one, key, e);
		else
			r = err_new(e, ERR_INVALID, "proxies: unknown setting \"%.100s\"", key);
		if (r < 0)
			return r;
	}
	return 0;
}

static int file_downloads(DaemonConfig *c, const json_t *v, Err *e)
{
	if (!json_is_integer(v))
		return err_new(e, ERR_INVALID, "max-concurrent-downloads: expected a number");
	if (c->max_downloads_text) /* the command line has said it */
		return 0;
	c->max_downloads_text = strf("%lld", (long long)json_integer_value(v));
	return c->max_downloads_text ? 0 : err_oom(e);
}

static int file_member(DaemonConfig *c, const char *key, json_t *v, bool have_hosts, Err *e)
{
	const struct {
		const char *key;
		char **to;
	} texts[] = {{"data-root", &c->data_root},         {"exec-root", &c->exec_root},
		     {"bridge-subnet", &c->bridge_subnet}, {"bip", &c->bridge_subnet},
		     {"log-level", &c->log_level},         {"pidfile", &c->pidfile},
		     {"helper-dir", &c->helper_dir},       {"default-runtime", &c->default_runtime},
		     {"snapshotter", &c->snapshotter},     {"storage-driver", &c->snapshotter},
		     {"certs-dir", &c->certs_dir},         {"log-driver", &c->log_driver}};

	for (size_t i = 0; i < ELEMENTSOF(texts); i++)
		if (streq(key, texts[i].key))
			return file_text(texts[i].to, v, key, e);
	if (streq(key, "hosts"))
		return have_hosts ? 0 : file_list(c, key, v, e);
	if (streq(key, "insecure-registries") || streq(key, "registry-mirrors") ||
	    streq(key, "registry-token-servers") || streq(key, "gc-keep"))
		return file_list(c, key, v, e);
	if (streq(key, "builder"))
		return config_gc_builder(&c->gc, v, e);
	if (str_starts(key, "gc-")) {
		if (!json_is_string(v))
			return err_new(e, ERR_INVALID, "%s: expected a string", key);
		int r = config_gc_text(&c->gc, key, json_string_value(v), e);
		if (r != 0)
			return MIN2(r, 0);
	}
	if (streq(key, "runtimes"))
		return file_runtimes(c, v, e);
	if (streq(key, "log-opts"))
		return file_log_opts(c, v, e);
	if (streq(key, "proxies"))
		return file_proxies(c, v, e);
	if (streq(key, "max-concurrent-downloads"))
		return file_downloads(c, v, e);
	return err_new(e, ERR_INVALID, "unknown setting \"%.100s\"", key);
}

static int read_file(DaemonConfig *c, const char *file, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	bool have_hosts = c->hosts;
	const char *key;
	json_t *v;
	int r = json_load_at(AT_FDCWD, file, CONFIG_MAX, &doc, e);

	if (r < 0)
		return r;
	if (!json_is_object(doc))
		return err_new(e, ERR_INVALID, "%s: expected a JSON object", file);
	json_object_foreach (doc, key, v) {
		r = file_member(c, key, v, have_hosts, e);
		if (r < 0)
			return err_ctx(e, r, "%s", file);
	}
	return 0;
}

/* Upper case first, as Go's programs do. */
static int from_environment(char **to, const char *upper, const char *lower, Err *e)
{
	const char *value = getenv(upper);

	if (*to)
		return 0;
	if (str_empty(value))
		value = getenv(lower);
	return str_empty(value) ? 0 : set(to, value, e);
}

static int registry_defaults(DaemonConfig *c, Err *e)
{
	int r = from_environment(&c->http_proxy, "HTTP_PROXY", "http_proxy", e);

	if (r >= 0)
		r = from_environment(&c->https_proxy, "HTTPS_PROXY", "https_proxy", e);
	if (r >= 0)
		r = from_environment(&c->no_proxy, "NO_PROXY", "no_proxy", e);
	if (r < 0)
		return r;
	if (c->certs_dir && *c->certs_dir != '/')
		return err_new(e, ERR_INVALID, "--certs-dir %s: expected an absolute path", c->certs_dir);
	if (c->max_downloads_text && str_to_int(c->max_downloads_text, 1, 32, &c->max_downloads) < 0)
		return err_new(e, ERR_INVALID, "max-concurrent-downloads %s: expected a number from 1 to 32",
			       c->max_downloads_text);
	return 0;
}

static int defaults(DaemonConfig *c, Err *e)
{
	int r = registry_defaults(c, e);

	if (r >= 0 && !c->data_root)
		r = set(&c->data_root, "/var/lib/ireko", e);
	if (r >= 0 && !c->exec_root)
		r = set(&c->exec_root, "/run/ireko", e);
	if (r < 0)
		return r;
	if (*c->data_root != '/' || *c->exec_root != '/')
		return err_new(e, ERR_INVALID, "--data-root and --exec-root must be absolute paths");
	if (!c->hosts && strv_take(&c->hosts, strf("unix://%s/ireko.sock", c->exec_root)) < 0)
		return err_oom(e);
	c->level = LOG_INFO;
	if (c->log_level && log_level_parse(c->log_level, &c->level) < 0)
		return err_new(e, ERR_INVALID, "--log-level %s: expected debug, info, warn or error",
			       c->log_level);
	return 0;
}

int config_load(int argc, char **argv, DaemonConfig *ret, ConfigAction *ret_action, Err *e)
{
	static const char standard_file[] = "/etc/ireko/daemon.json";
	_cleanup_free_ char *file = NULL;
	int opt, which = 0, r = 0;

	*ret = (DaemonConfig){0};
	*ret_action = CONFIG_RUN;
	opterr = 0;
	while (r >= 0 && (opt = getopt_long(argc, argv, "H:", options, &which)) != -1) {
		if (opt == '?')
			return err_new(e, ERR_INVALID,
				       "%s: unknown option or missing value; see irekod --help",
				       argv[optind - 1]);
		r = apply_option(ret, opt, options[which].name, optarg, &file, ret_action, e);
	}
	if (r < 0 || *ret_action != CONFIG_RUN)
		return r;
	if (optind < argc)
		return err_new(e, ERR_INVALID, "unexpected argument \"%s\"; see irekod --help", argv[optind]);
	if (file || access(standard_file, F_OK) == 0)
		r = read_file(ret, file ? file : standard_file, e);
	return r < 0 ? r : defaults(ret, e);
}

void config_done(DaemonConfig *c)
{
	free(c->data_root);
	free(c->exec_root);
	free(c->bridge_subnet);
	free(c->pidfile);
	free(c->helper_dir);
	free(c->log_level);
	free(c->default_runtime);
	free(c->snapshotter);
	free(c->log_driver);
	strv_free(c->log_opts);
	free(c->http_proxy);
	free(c->https_proxy);
	free(c->no_proxy);
	free(c->certs_dir);
	free(c->max_downloads_text);
	strv_free(c->gc.keep);
	strv_free(c->runtimes);
	strv_free(c->hosts);
	strv_free(c->insecure);
	strv_free(c->mirrors);
	strv_free(c->token_servers);
	*c = (DaemonConfig){0};
}
