/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which server to ask, and how far to trust the way there.
 *
 * A domain has its mirrors and then its own host. HTTPS with a verified certificate is the rule; for
 * a host named as insecure, and for this machine, HTTPS is tried without verification and then plain HTTP, as Docker
 * does. A mirror is asked without credentials, unless its own folder in certs.d has some. Docker Hub answers at another name than its images carry.
 */
#include "registry/registry-internal.h"
#include "base/str.h"

#define LAYERS_DEFAULT   4
#define BLOBS_DEFAULT    5
#define ATTEMPTS_DEFAULT 5

bool registry_is_insecure(char *const *rules, const char *host)
{
	_cleanup_free_ char *name = address_host(host);

	if (!name)
		return false;
	if (address_is_loopback(name))
		return true;
	for (size_t i = 0; rules && rules[i]; i++) {
		AddressRange n;

		if (streq(rules[i], host) || streq(rules[i], name))
			return true;
		if (address_range_parse(rules[i], &n) == 0 && address_range_has_host(&n, name))
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

/* url is http[s]://host[:port][/prefix], as checked by registry_new. asked_for: NULL if it is the mirror of one domain. */
static int endpoint_init_mirror(Endpoint *ep, const Registry *r, const char *url, const char *asked_for,
				Err *e)
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
	ep->asked_for = asked_for ? strdup(asked_for) : NULL;
	if (!ep->host || !ep->prefix || (asked_for && !ep->asked_for))
		return err_oom(e);
	ep->try_https = !plain;
	ep->try_http = plain;
	ep->unverified_tls = registry_is_insecure(r->insecure, ep->host);

	_cleanup_free_ char *origin = http_url_host(url, true);
	return origin ? host_auth_read(r->way.certs_dirs, origin, &ep->own, e) : err_oom(e);
}

static const char *mirror_of(const char *rule, const char *domain)
{
	size_t n = strlen(domain);

	return strncmp(rule, domain, n) == 0 && rule[n] == '=' ? rule + n + 1 : NULL;
}

static bool has_mirrors(char *const *mirrors, const char *domain)
{
	for (char *const *m = mirrors; m && *m; m++)
		if (mirror_of(*m, domain))
			return true;
	return false;
}

int registry_endpoints(const Registry *r, const char *domain, Endpoint **ret, size_t *ret_n, Err *e)
{
	char *const *mirrors = __atomic_load_n(&r->mirrors, __ATOMIC_ACQUIRE);
	Endpoint *v = calloc(strv_len(mirrors) + 1, sizeof(*v));
	bool own = has_mirrors(mirrors, domain);
	size_t n = 0;
	int rc = v ? 0 : err_oom(e);

	for (size_t i = 0; rc == 0 && mirrors && mirrors[i]; i++) {
		const char *url = mirror_of(mirrors[i], own ? domain : "*");

		if (url)
			rc = endpoint_init_mirror(&v[n++], r, url, own ? NULL : domain, e);
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
		free(v[i].asked_for);
		host_auth_done(&v[i].own);
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
		AddressRange n;

		if (strstr(o->insecure[i], "://") || !*o->insecure[i] ||
		    (strchr(o->insecure[i], '/') && address_range_parse(o->insecure[i], &n) < 0))
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

static void set_limit(int *limit, int value, int usual, int most)
{
	__atomic_store_n(limit, value > 0 ? MIN2(value, most) : usual, __ATOMIC_RELAXED);
}

void registry_set_limits(Registry *r, const RegistryLimits *l)
{
	set_limit(&r->limits.layers, l->layers, LAYERS_DEFAULT, REGISTRY_AT_ONCE_MAX);
	set_limit(&r->limits.blobs, l->blobs, BLOBS_DEFAULT, REGISTRY_AT_ONCE_MAX);
	set_limit(&r->limits.attempts, l->attempts, ATTEMPTS_DEFAULT, INT32_MAX);
}

static int init(Registry *r, const RegistryOptions *o, Err *e)
{
	int rc = proxy_rules_parse(o->http_proxy, o->https_proxy, o->no_proxy, &r->proxies, e);

	if (rc < 0)
		return rc;
	r->insecure = strv_dup(o->insecure);
	r->mirrors = strv_dup(o->mirrors);
	r->token_servers = strv_dup(o->token_servers);
	r->certs_dirs = o->certs_dirs ? strv_dup(o->certs_dirs) : NULL;
	registry_set_limits(r, &o->limits);
	r->user_agent = strdup(o->user_agent ? o->user_agent : "ireko/" IREKO_VERSION);
	r->tokens = token_cache_new();
	r->flights = flights_new();
	r->way = (HttpWay){.certs_dirs = r->certs_dirs ? r->certs_dirs : certs_dirs_default,
			   .proxies = &r->proxies,
			   .stall_ns = o->stall_s * 1000000000LL};
	if (!r->insecure || !r->mirrors || !r->token_servers || (o->certs_dirs && !r->certs_dirs) ||
	    !r->user_agent || !r->tokens || !r->flights)
		return err_oom(e);
	return 0;
}

int registry_new(const RegistryOptions *o, Registry **ret, Err *e)
{
	_cleanup_(registry_freep) Registry *r = NULL;
	int rc = check_rules(o, e);

	if (rc < 0)
		return rc;
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_oom(e);
	pthread_mutex_init(&r->lock, NULL);
	rc = init(r, o, e);
	if (rc < 0)
		return rc;
	*ret = take_ptr(r);
	return 0;
}

static int replace_list(Registry *r, char ***list, char *const *with, Err *e)
{
	char ***grown = realloc(r->retired, (r->n_retired + 1) * sizeof(*grown)), **copy = strv_dup(with);

	if (grown)
		r->retired = grown;
	if (!grown || !copy) {
		strv_free(copy);
		return err_oom(e);
	}
	r->retired[r->n_retired++] = *list;
	__atomic_store_n(list, copy, __ATOMIC_RELEASE);
	return 0;
}

int registry_set_rules(Registry *r, char *const *insecure, char *const *mirrors, Err *e)
{
	int rc = check_rules(&(RegistryOptions){.insecure = insecure, .mirrors = mirrors}, e);

	pthread_mutex_lock(&r->lock);
	if (rc >= 0)
		rc = replace_list(r, &r->insecure, insecure, e);
	if (rc >= 0)
		rc = replace_list(r, &r->mirrors, mirrors, e);
	pthread_mutex_unlock(&r->lock);
	return rc;
}

void registry_free(Registry *r)
{
	if (!r)
		return;
	http_client_free(r->idle);
	pthread_mutex_destroy(&r->lock);
	strv_free(r->insecure);
	strv_free(r->mirrors);
	for (size_t i = 0; i < r->n_retired; i++)
		strv_free(r->retired[i]);
	free(r->retired);
	strv_free(r->token_servers);
	strv_free(r->certs_dirs);
	free(r->user_agent);
	token_cache_free(r->tokens);
	flights_free(r->flights);
	proxy_rules_done(&r->proxies);
	free(r);
}

void registry_forget_partials(Registry *r, int64_t age_ns)
{
	flights_forget(r->flights, age_ns);
}

int registry_client_get(Registry *r, HttpClient **ret, Err *e)
{
	pthread_mutex_lock(&r->lock);
	HttpClient *c = take_ptr(r->idle);
	pthread_mutex_unlock(&r->lock);
	if (!c) {
		int rc = http_client_new(r->user_agent, &c, e);

		if (rc < 0)
			return rc;
		http_client_set_way(c, &r->way);
	}
	*ret = c;
	return 0;
}

/* One is enough: what several keep up would cost more memory than a handshake costs time. */
void registry_client_put(Registry *r, HttpClient *c)
{
	pthread_mutex_lock(&r->lock);
	HttpClient *spare = r->idle ? c : NULL;
	if (!spare)
		r->idle = c;
	pthread_mutex_unlock(&r->lock);
	http_client_free(spare);
}
