/* SPDX-License-Identifier: Apache-2.0 */
/* See endpoint.h. */
#include "endpoint.h"
#include "base/str.h"
#include "config.h"
#include "context-store.h"
#include "dial.h"

static bool env_set(const char *name)
{
	return !str_empty(getenv(name));
}

const char *endpoint_default_host(const Cli *cli)
{
	if (cli->host)
		return cli->host;
	return env_set("DOCKER_HOST") ? getenv("DOCKER_HOST") : DEFAULT_ADDRESS;
}

int endpoint_context(Cli *cli, char **ret, Err *e)
{
	const char *context = cli->context;
	json_t *config = NULL;

	if (cli->host && cli->context)
		return err_new(e, ERR_INVALID,
			       "conflicting options: cannot specify both --host and --context");
	if (!context && (cli->host || env_set("DOCKER_HOST")))
		context = CONTEXT_DEFAULT;
	if (!context && env_set("DOCKER_CONTEXT"))
		context = getenv("DOCKER_CONTEXT");
	if (!context) {
		int r = config_load(cli, &config, e);

		if (r < 0)
			return r;
		context = json_get_str(config, "currentContext");
	}
	*ret = strdup(str_empty(context) ? CONTEXT_DEFAULT : context);
	return *ret ? 0 : err_oom(e);
}

/* ---- TLS of "default": the flags and variables, as docker has them */

static bool wants_tls(const Cli *cli)
{
	return cli->tls || cli->tls_verify || env_set("DOCKER_TLS") || env_set("DOCKER_TLS_VERIFY");
}

/* A file that was named must be there; one of the usual names may be. */
static int tls_file(const Cli *cli, const char *named, const char *usual, char **ret, Err *e)
{
	const char *dir = getenv("DOCKER_CERT_PATH");
	_cleanup_free_ char *own = config_dir(cli);
	_cleanup_free_ char *path = named            ? strdup(named)
				    : str_empty(dir) ? own ? strf("%s/%s", own, usual) : NULL
						     : strf("%s/%s", dir, usual);

	if (!path)
		return err_oom(e);
	if (access(path, R_OK) == 0)
		*ret = take_ptr(path);
	else if (named)
		return err_sys(e, errno, "could not read the TLS file \"%s\"", path);
	return 0;
}

static int default_tls(Cli *cli, Err *e)
{
	Dial *d = &cli->dial;
	int r = tls_file(cli, cli->tls_ca, "ca.pem", &d->tls.ca, e);

	if (r == 0)
		r = tls_file(cli, cli->tls_cert, "cert.pem", &d->tls.cert, e);
	if (r == 0)
		r = tls_file(cli, cli->tls_key, "key.pem", &d->tls.key, e);
	d->kind = DIAL_TLS;
	d->skip_verify = !cli->tls_verify && !env_set("DOCKER_TLS_VERIFY");
	return r;
}

/* ---- */

static int host_of_context(Cli *cli, const char *name, char **ret, Err *e)
{
	_cleanup_json_ json_t *meta = NULL;
	Dial *d = &cli->dial;
	int r = context_load(cli, name, &meta, e);

	if (r < 0)
		return err_ctx(e, r, "unable to resolve docker endpoint");
	const json_t *endpoint = context_endpoint(meta);
	const char *host = json_get_str(endpoint, "Host");
	if (str_empty(host))
		return err_new(e, ERR_INVALID, "context \"%s\" has no docker endpoint", name);
	r = context_tls(cli, name, &d->tls, e);
	if (r < 0)
		return r;
	d->skip_verify = json_get_bool(endpoint, "SkipTLSVerify", false);
	if (d->tls.ca || d->tls.cert || d->tls.key || d->skip_verify)
		d->kind = DIAL_TLS;
	*ret = strdup(host);
	return *ret ? 0 : err_oom(e);
}

/* "tcp://HOST" with TLS is port 2376. */
static int parse_host(Cli *cli, const char *host, Err *e)
{
	Dial *d = &cli->dial;
	const char *https = str_after(host, "https://");
	_cleanup_free_ char *plain = https ? strf("tcp://%s", https) : strdup(host);

	if (!plain)
		return err_oom(e);
	if (str_starts(host, "ssh://")) {
		d->kind = DIAL_SSH;
		cli->address.text = strdup(host);
		return cli->address.text ? dial_check_ssh(host, e) : err_oom(e);
	}
	int r = httpc_address_parse(plain, &cli->address, e);
	if (r < 0)
		return r;
	if (https)
		d->kind = DIAL_TLS;
	if (cli->address.path) {
		d->kind = DIAL_SOCKET;
		return 0;
	}
	/* The parser's port is that of plain HTTP. */
	if (d->kind == DIAL_TLS && !str_ends(plain, ":2375") && streq(cli->address.port, "2375"))
		memcpy(cli->address.port, "2376", 5);
	return 0;
}

int endpoint_find(Cli *cli, Err *e)
{
	_cleanup_free_ char *context = NULL, *host = NULL;
	int r;

	if (cli->address.text)
		return 0;
	r = endpoint_context(cli, &context, e);
	if (r < 0)
		return r;
	if (!streq(context, CONTEXT_DEFAULT)) {
		r = host_of_context(cli, context, &host, e);
	} else {
		host = strdup(endpoint_default_host(cli));
		r = !host                                            ? err_oom(e)
		    : wants_tls(cli) && !str_starts(host, "unix://") ? default_tls(cli, e)
								     : 0;
	}
	return r < 0 ? r : parse_host(cli, host, e);
}

int endpoint_connect(Cli *cli, Httpc **ret, Err *e)
{
	int fd;

	if (cli->dial.kind == DIAL_SOCKET)
		return httpc_connect(&cli->address, ret, e);
	fd = dial_helper(&cli->dial, &cli->address, cli->program, e);
	if (fd < 0)
		return fd;
	*ret = httpc_new(fd);
	return *ret ? 0 : err_oom(e);
}

void endpoint_done(Cli *cli)
{
	httpc_address_done(&cli->address);
	dial_done(&cli->dial);
}
