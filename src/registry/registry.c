/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which server to ask, and how far to trust the way there.
 *
 * A domain has its mirrors and then its own host. HTTPS with a verified certificate is the rule; for
 * a host named as insecure, and for this machine, HTTPS is tried without verification and then plain HTTP, as Docker
 * does. A mirror is asked without credentials. Docker Hub answers at another name than its images carry.
 */
#include "registry/registry-internal.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <netdb.h>

#define MAX_LAYERS_DEFAULT 4

/* "host" of "host[:port]"; brackets of an IPv6 address are kept off. malloc'ed. */
static char *host_only(const char *host)
{
	if (*host == '[')
		return strndup(host + 1, strcspn(host + 1, "]"));
	return strndup(host, strcspn(host, ":"));
}

static bool prefix_equal(const uint8_t *a, const uint8_t *b, int bits)
{
	if (memcmp(a, b, (size_t)bits / 8) != 0)
		return false;
	return bits % 8 == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8)) == 0;
}

typedef struct Network {
	int family, bits;
	uint8_t address[16];
} Network;

/* "10.0.0.0/8", "fd00::/8" */
static int network_parse(const char *s, Network *ret)
{
	const char *slash = strchr(s, '/');
	_cleanup_free_ char *address = slash ? strndup(s, (size_t)(slash - s)) : NULL;

	if (!address)
		return -EINVAL;
	ret->family = strchr(address, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(ret->family, address, ret->address) != 1)
		return -EINVAL;
	return str_to_int(slash + 1, 0, ret->family == AF_INET ? 32 : 128, &ret->bits);
}

static bool network_has(const Network *n, const struct sockaddr *a)
{
	if (a->sa_family != n->family)
		return false;
	const void *address = n->family == AF_INET
				  ? (const void *)&((const struct sockaddr_in *)(const void *)a)->sin_addr
				  : (const void *)&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
	return prefix_equal(n->address, address, n->bits);
}

static bool network_has_host(const Network *n, const char *host)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	bool found = false;

	if (getaddrinfo(host, NULL, &hints, &list) != 0)
		return false;
	for (const struct addrinfo *a = list; a && !found; a = a->ai_next)
		found = network_has(n, a->ai_addr);
	freeaddrinfo(list);
	return found;
}

bool registry_is_insecure(char *const *rules, const char *host)
{
	_cleanup_free_ char *name = host_only(host);
	struct in_addr v4;

	if (!name)
		return false;
	if (streq(name, "localhost") || streq(name, "::1") ||
	    (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127))
		return true;
	for (size_t i = 0; rules && rules[i]; i++) {
		Network n;

		if (streq(rules[i], host) || streq(rules[i], name))
			return true;
		if (network_parse(rules[i], &n) == 0 && network_has_host(&n, name))
			return true;
	}
	return false;
}

static int endpoint_init(Endpoint *ep, const Registry *r, const char *host, Err *e)
{
	bool insecure = registry_is_insecure(r->insecure, host);

	ep->host = strdup(host);
	ep->prefix = strdup("");
	ep->try_https = true;
	ep->try_http = insecure;
	ep->unverified_tls = insecure;
	return ep->host && ep->prefix ? 0 : err_oom(e);
}

/* url is http[s]://host[:port][/prefix], as checked by registry_new. */
static int endpoint_init_mirror(Endpoint *ep, const Registry *r, const char *url, Err *e)
{
	bool plain = str_starts(url, "http:");
	const char *rest = strstr(url, "://") + 3, *path = strchrnul(rest, '/');
	_cleanup_free_ char *host = strndup(rest, (size_t)(path - rest));
	size_t len = strlen(path);

	while (len > 0 && path[len - 1] == '/')
		len--;
	ep->mirror = true;
	ep->host = take_ptr(host);
	ep->prefix = strndup(path, len);
	if (!ep->host || !ep->prefix)
		return err_oom(e);
	ep->try_https = !plain;
	ep->try_http = plain;
	ep->unverified_tls = registry_is_insecure(r->insecure, ep->host);
	return 0;
}

static const char *mirror_of(const char *rule, const char *domain)
{
	size_t n = strlen(domain);

	return strncmp(rule, domain, n) == 0 && rule[n] == '=' ? rule + n + 1 : NULL;
}

int registry_endpoints(const Registry *r, const char *domain, Endpoint **ret, size_t *ret_n, Err *e)
{
	Endpoint *v = calloc(strv_len(r->mirrors) + 1, sizeof(*v));
	size_t n = 0;
	int rc = v ? 0 : err_oom(e);

	for (size_t i = 0; rc == 0 && r->mirrors && r->mirrors[i]; i++) {
		const char *url = mirror_of(r->mirrors[i], domain);

		if (url)
			rc = endpoint_init_mirror(&v[n++], r, url, e);
	}
	if (rc == 0)
		rc = endpoint_init(&v[n++], r, streq(domain, "docker.io") ? "registry-1.docker.io" : domain,
				   e);
	if (rc < 0) {
		registry_endpoints_free(v, n);
		return rc;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

void registry_endpoints_free(Endpoint *v, size_t n)
{
	for (size_t i = 0; v && i < n; i++) {
		free(v[i].host);
		free(v[i].prefix);
	}
	free(v);
}

static bool is_host(const char *s, size_t n)
{
	_cleanup_free_ char *url = strf("https://%.*s/", (int)MIN2(n, (size_t)512), s);
	_cleanup_free_ char *host = url && n > 0 && n <= 512 ? http_url_host(url, false) : NULL;

	return host && !memchr(s, '/', n);
}

static int check_token_servers(char *const *rules, Err *e)
{
	for (size_t i = 0; rules && rules[i]; i++) {
		const char *eq = strchr(rules[i], '=');

		if (!eq || !is_host(rules[i], (size_t)(eq - rules[i])) || !is_host(eq + 1, strlen(eq + 1)))
			return err_new(e, ERR_INVALID,
				       "token server \"%.200s\": write REGISTRY=HOST, for example "
				       "registry.example.org=login.example.net",
				       rules[i]);
	}
	return 0;
}

static int check_rules(const RegistryOptions *o, Err *e)
{
	for (size_t i = 0; o->insecure && o->insecure[i]; i++) {
		Network n;

		if (strstr(o->insecure[i], "://") || !*o->insecure[i] ||
		    (strchr(o->insecure[i], '/') && network_parse(o->insecure[i], &n) < 0))
			return err_new(
			    e, ERR_INVALID,
			    "insecure registry \"%s\": write host, host:port or a network like 10.0.0.0/8",
			    o->insecure[i]);
	}
	for (size_t i = 0; o->mirrors && o->mirrors[i]; i++) {
		const char *eq = strchr(o->mirrors[i], '='), *url = eq ? eq + 1 : "";
		_cleanup_free_ char *host = http_url_host(url, false);

		if (!eq || eq == o->mirrors[i] || !host || strpbrk(url, "?#") ||
		    (!str_starts(url, "http://") && !str_starts(url, "https://")))
			return err_new(e, ERR_INVALID,
				       "registry mirror \"%s\": write domain=url, for example "
				       "docker.io=https://mirror.example.org",
				       o->mirrors[i]);
	}
	return check_token_servers(o->token_servers, e);
}

int registry_new(const RegistryOptions *o, Registry **ret, Err *e)
{
	_cleanup_(registry_freep) Registry *r = calloc(1, sizeof(*r));
	int rc = check_rules(o, e);

	if (rc < 0)
		return rc;
	if (!r)
		return err_oom(e);
	r->insecure = strv_dup(o->insecure);
	r->mirrors = strv_dup(o->mirrors);
	r->token_servers = strv_dup(o->token_servers);
	r->max_layers = o->max_layers > 0 ? MIN2(o->max_layers, REGISTRY_LAYERS_MAX) : MAX_LAYERS_DEFAULT;
	r->user_agent = strdup(o->user_agent ? o->user_agent : "ireko/" IREKO_VERSION);
	r->tokens = token_cache_new();
	if (!r->insecure || !r->mirrors || !r->token_servers || !r->user_agent || !r->tokens)
		return err_oom(e);
	*ret = take_ptr(r);
	return 0;
}

void registry_free(Registry *r)
{
	if (!r)
		return;
	strv_free(r->insecure);
	strv_free(r->mirrors);
	strv_free(r->token_servers);
	free(r->user_agent);
	token_cache_free(r->tokens);
	free(r);
}
