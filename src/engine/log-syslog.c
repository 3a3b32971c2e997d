/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses are PROTO://HOST[:PORT] with udp, tcp or tcp+tls, or unix://PATH (a stream) and unixgram://PATH; without one it is the
 * socket of the local daemon. Names are looked up here, because the shim is static and asks no resolver; but for tcp+tls, which another
 * program speaks for it, and which needs the name that the certificate is for.
 */
#include "engine/log-syslog.h"

#include "base/fd.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/stat.h>

#define PORT "514"

typedef struct Address {
	const char *network; /* NULL: the local daemon's */
	char *host, *port;   /* or the path as host */
} Address;

static void address_done(Address *a)
{
	free(a->host);
	free(a->port);
}

static const char *const networks[] = {"tcp+tls", "tcp", "udp", "unix", "unixgram"};

static int bad_address(Err *e, const char *text)
{
	return err_new(e, ERR_INVALID, "syslog-address should be in form proto://address, got %.200s", text);
}

/* HOST, HOST:PORT, [HOST]:PORT */
static int split_host(const char *text, Address *a, Err *e)
{
	const char *colon = strrchr(text, ':'), *close = strchr(text, ']');
	size_t n;

	if (*text == '[' && close) {
		a->host = strndup(text + 1, (size_t)(close - text - 1));
		colon = close[1] == ':' ? close + 1 : NULL;
	} else {
		n = colon ? (size_t)(colon - text) : strlen(text);
		a->host = strndup(text, n);
		if (memchr(text, ':', n))
			return err_new(e, ERR_INVALID, "address %.200s: too many colons in address", text);
	}
	a->port = strdup(colon && colon[1] ? colon + 1 : PORT);
	if (!a->host || !a->port)
		return err_oom(e);
	if (str_to_int(a->port, 1, UINT16_MAX, &(int){0}) < 0)
		return err_new(e, ERR_INVALID, "address %.200s: invalid port", text);
	return 0;
}

static int address_read(const char *text, Address *a, Err *e)
{
	const char *rest = str_empty(text) ? "" : strstr(text, "://");
	struct stat st;

	*a = (Address){0};
	if (str_empty(text))
		return 0;
	if (!rest)
		return bad_address(e, text);
	for (size_t i = 0; i < ELEMENTSOF(networks); i++)
		if (strlen(networks[i]) == (size_t)(rest - text) && str_starts(text, networks[i]))
			a->network = networks[i];
	rest += 3;
	if (!a->network || !*rest)
		return bad_address(e, text);
	if (!str_starts(a->network, "unix"))
		return split_host(rest, a, e);
	if (stat(rest, &st) < 0)
		return err_new(e, ERR_INVALID, "stat %.200s: %s", rest,
			       errno == ENOENT ? "no such file or directory" : strerror(errno));
	a->host = strdup(rest);
	return a->host ? 0 : err_oom(e);
}

static int facility_read(const char *text, int *ret)
{
	static const char *const names[] = {"kern",   "user",   "mail",   "daemon", "auth",     "syslog",
					    "lpr",    "news",   "uucp",   "cron",   "authpriv", "ftp",
					    "",       "",       "",       "",       "local0",   "local1",
					    "local2", "local3", "local4", "local5", "local6",   "local7"};

	*ret = 3;
	if (str_empty(text))
		return 0;
	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		if (streq(names[i], text)) {
			*ret = (int)i;
			return 0;
		}
	}
	return str_to_int(text, 0, 23, ret);
}

static bool format_known(const char *text)
{
	return str_empty(text) || streq(text, "rfc3164") || streq(text, "rfc5424") ||
	       streq(text, "rfc5424micro");
}

int log_syslog_check(char *const *options, Err *e)
{
	_cleanup_(address_done) Address a = {0};
	int r = address_read(strv_env_get(options, "syslog-address"), &a, e);

	if (r < 0)
		return r;
	if (facility_read(strv_env_get(options, "syslog-facility"), &(int){0}) < 0)
		return err_new(e, ERR_INVALID, "invalid syslog facility");
	if (!format_known(strv_env_get(options, "syslog-format")))
		return err_new(e, ERR_INVALID, "Invalid syslog format");
	return 0;
}

/* The socket of the local daemon, and which kind it is. */
static int find_local(Address *a, Err *e)
{
	static const char *const paths[] = {"/dev/log", "/var/run/syslog", "/var/run/log"};
	static const struct {
		const char *network;
		int type;
	} kinds[] = {{"unixgram", SOCK_DGRAM}, {"unix", SOCK_STREAM}};

	for (size_t k = 0; k < ELEMENTSOF(kinds); k++) {
		for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
			_cleanup_close_ int fd = unix_connect(paths[i], kinds[k].type);

			if (fd < 0)
				continue;
			a->network = kinds[k].network;
			a->host = strdup(paths[i]);
			return a->host ? 0 : err_oom(e);
		}
	}
	return err_new(e, ERR_UNAVAILABLE,
		       "failed to initialize logging driver: Unix syslog delivery error: no syslog daemon "
		       "listens at /dev/log; name one with --log-opt syslog-address");
}

static int look_up(const Address *a, char ip[INET6_ADDRSTRLEN], Err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	int r = getaddrinfo(*a->host ? a->host : "localhost", a->port, &hints, &found);

	if (r == 0)
		r = getnameinfo(found->ai_addr, found->ai_addrlen, ip, INET6_ADDRSTRLEN, NULL, 0,
				NI_NUMERICHOST);
	if (found)
		freeaddrinfo(found);
	if (r != 0)
		return err_new(e, ERR_UNAVAILABLE,
			       "failed to initialize logging driver: dial %s: lookup %.200s: %s", a->network,
			       a->host, gai_strerror(r));
	return 0;
}

/* Docker takes syslog-tls-skip-verify for said whatever its value. */
static int add_tls(json_t *plan, const Address *a, char *const *options, const char *helper_dir)
{
	_cleanup_free_ char *dialer = strf("%s/ireko-dial-tls", helper_dir);
	static const char *const files[][2] = {{"ca", "syslog-tls-ca-cert"},
					       {"cert", "syslog-tls-cert"},
					       {"key", "syslog-tls-key"}};
	bool skip = strv_env_get(options, "syslog-tls-skip-verify") != NULL;
	int r = json_object_set_new(plan, "host", json_string(*a->host ? a->host : "localhost"));

	if (r >= 0)
		r = json_object_set_new(plan, "dialer", json_string(dialer));

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(files); i++) {
		const char *path = strv_env_get(options, files[i][1]);

		if (!str_empty(path))
			r = json_object_set_new(plan, files[i][0], json_string(path));
	}
	return r >= 0 ? json_object_set_new(plan, "skip_verify", json_boolean(skip)) : r;
}

int log_syslog_plan(char *const *options, const char *tag, const char *helper_dir, json_t **ret, Err *e)
{
	_cleanup_(address_done) Address a = {0};
	const char *format = strv_env_get(options, "syslog-format");
	char host[256] = "-", ip[INET6_ADDRSTRLEN] = "";
	bool local, tls;
	int facility = 3, r = address_read(strv_env_get(options, "syslog-address"), &a, e);

	if (r >= 0 && !a.network)
		r = find_local(&a, e);
	tls = r >= 0 && streq(a.network, "tcp+tls");
	local = r >= 0 && str_starts(a.network, "unix");
	if (r >= 0 && !local && !tls)
		r = look_up(&a, ip, e);
	if (r < 0)
		return r;
	(void)facility_read(strv_env_get(options, "syslog-facility"), &facility);
	(void)gethostname(host, sizeof(host) - 1);
	*ret = json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:i, s:s, s:s}", "driver", "syslog", "network",
			 a.network, "path", local ? a.host : "", "ip", ip, "port", local ? 0 : atoi(a.port),
			 "format", format ? format : "", "facility", facility, "tag", tag, "hostname", host);
	return !*ret || (tls && add_tls(*ret, &a, options, helper_dir) < 0) ? err_oom(e) : 0;
}
