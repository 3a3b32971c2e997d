/* SPDX-License-Identifier: Apache-2.0 */
/* See proxy.h. */
#include "registry/proxy.h"
#include "registry/address.h"
#include "registry/http.h"
#include "base/str.h"

#include <ctype.h>

char *proxy_shown(const char *url)
{
	const char *scheme = strstr(url, "://"), *rest = scheme ? scheme + 3 : url;
	const char *end = rest + strcspn(rest, "/?#"), *at = NULL;

	for (const char *p = rest; p < end; p++)
		if (*p == '@')
			at = p;
	return at ? strf("%.*sxxxxx:xxxxx%s", (int)(rest - url), url, at) : strdup(url);
}

/* "host:port" without a scheme is a plain HTTP proxy, as everywhere. */
static int parse_url(const char *what, const char *url, char **ret, Err *e)
{
	static const char *const schemes[] = {"http", "https", "socks5", "socks5h"};
	_cleanup_free_ char *full = NULL, *shown = NULL;
	bool known = false;

	if (str_empty(url))
		return 0;
	full = strstr(url, "://") ? strdup(url) : strf("http://%s", url);
	shown = full ? proxy_shown(full) : NULL;
	if (!shown)
		return err_oom(e);
	size_t n = (size_t)(strstr(full, "://") - full);
	for (size_t i = 0; i < ELEMENTSOF(schemes); i++)
		known |= strlen(schemes[i]) == n && strncmp(full, schemes[i], n) == 0;
	bool bad = strlen(full + n) <= 3 || strchr("/?#", full[n + 3]);
	for (const char *p = full; *p; p++)
		bad |= (unsigned char)*p <= ' ' || *p == 0x7F;
	if (!known || bad)
		return err_new(e, ERR_INVALID,
			       "%s \"%.200s\": write http://HOST:PORT (or https://, socks5://, socks5h://)",
			       what, shown);
	*ret = take_ptr(full);
	return 0;
}

static int parse_exceptions(const char *text, char ***ret, Err *e)
{
	_cleanup_strv_ char **parts = strv_split(text ? text : "", ',');

	if (!parts)
		return err_oom(e);
	for (char **p = parts; *p; p++) {
		char *one = str_trim_dup(*p);

		for (char *c = one; c && *c; c++)
			*c = (char)tolower((unsigned char)*c);
		if (one && !*one)
			free(one);
		else if (strv_take(ret, one) < 0)
			return err_oom(e);
	}
	return 0;
}

int proxy_rules_parse(const char *http, const char *https, const char *no_proxy, ProxyRules *ret, Err *e)
{
	ProxyRules r = {0};
	int rc = parse_url("http-proxy", http, &r.http, e);

	if (rc == 0)
		rc = parse_url("https-proxy", https, &r.https, e);
	if (rc == 0)
		rc = parse_exceptions(no_proxy, &r.except, e);
	if (rc < 0) {
		proxy_rules_done(&r);
		return rc;
	}
	*ret = r;
	return 0;
}

void proxy_rules_done(ProxyRules *r)
{
	free(r->http);
	free(r->https);
	strv_free(r->except);
	*r = (ProxyRules){0};
}

/* Cuts ":port" off a rule; false if it names another port. "::1" has colons and no port. */
static bool cut_port(char *rule, const char *port)
{
	char *colon = strrchr(rule, ':'), *bracket = strrchr(rule, ']');

	if (*rule == '[') {
		colon = bracket && bracket[1] == ':' ? bracket + 1 : NULL;
	} else if (colon && strchr(rule, ':') != colon) {
		return true;
	}
	if (colon) {
		if (!streq(colon + 1, port))
			return false;
		*colon = '\0';
	}
	if (*rule == '[' && bracket) {
		*bracket = '\0';
		memmove(rule, rule + 1, strlen(rule));
	}
	return true;
}

static bool name_is_below(const char *host, const char *domain)
{
	size_t n = strlen(host), m = strlen(domain);

	return m > 0 && n > m && host[n - m - 1] == '.' && streq(host + n - m, domain);
}

static bool rule_matches(const char *text, const char *host, const char *port)
{
	_cleanup_free_ char *rule = strdup(text);
	AddressRange range;

	if (!rule || streq(rule, "*"))
		return rule != NULL;
	if (strchr(rule, '/'))
		return address_range_parse(rule, &range) == 0 && address_range_has(&range, host);
	if (!cut_port(rule, port))
		return false;
	if (str_starts(rule, "*."))
		return name_is_below(host, rule + 2);
	if (*rule == '.')
		return name_is_below(host, rule + 1);
	return streq(host, rule) || name_is_below(host, rule);
}

const char *proxy_for(const ProxyRules *r, const char *url)
{
	_cleanup_free_ char *both = http_url_host(url, true);
	const char *proxy = str_starts(url, "https:") ? r->https : r->http;
	const char *colon = both ? strrchr(both, ':') : NULL;

	if (!proxy || !colon)
		return NULL;
	_cleanup_free_ char *host = address_host(both);
	if (!host)
		return NULL;
	host[strcspn(host, "%")] = '\0'; /* an address' zone */
	if (address_is_loopback(host) || http_address_is_local(host))
		return NULL;
	for (char *const *x = r->except; x && *x; x++)
		if (rule_matches(*x, host, colon + 1))
			return NULL;
	return proxy;
}
