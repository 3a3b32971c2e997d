/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which proxy a request goes through, by the rules that everybody knows from HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
 *
 * NO_PROXY is a list with commas: "*" is everything; "example.org" is that host and all below it, ".example.org" and "*.example.org" only those
 * below; an address is itself, 10.0.0.0/8 a network of addresses; each may end in ":port". Names are not resolved to see whether
 * they lie in a network. This machine and its link are never reached through a proxy. Pure. A proxy's URL may hold a password:
 * it is shown to nobody (proxy_shown).
 */
#pragma once

#include "base/err.h"

typedef struct ProxyRules {
	char *http, *https; /* URLs, or NULL */
	char **except;      /* of NO_PROXY, lower case */
} ProxyRules;

/* Each may be NULL or "". ERR_INVALID for what is no URL of a proxy; the message has no password in it. */
int proxy_rules_parse(const char *http, const char *https, const char *no_proxy, ProxyRules *ret, Err *e);
void proxy_rules_done(ProxyRules *r);
/* The proxy for an http or https URL, or NULL. It lives as long as the rules. */
const char *proxy_for(const ProxyRules *r, const char *url);
/* The URL with user and password replaced by "xxxxx". malloc'ed. */
char *proxy_shown(const char *url);
