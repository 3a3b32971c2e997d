/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions that no container has an answer to, and that nobody else is asked all the same.
 *
 * They would tell a stranger what runs here, or have an answer everywhere: a name that a container had until a moment ago (its friends go on
 * asking while it is made anew), what ends in the name of a network of the client, localhost (RFC 6761), docker.internal, and names of one label where
 * the user has said by ndots that the search list comes first. A network may be called like a top-level domain (dev, app): what ends so is asked,
 * because web.dev is somebody's.
 */
#include "network/resolver-internal.h"

#include <ctype.h>

#define LO_TTL 3600

static bool ends_in(const char *name, const char *domain)
{
	size_t n = strlen(name), d = strlen(domain);

	return n >= d && streq(name + n - d, domain) && (n == d || name[n - d - 1] == '.');
}

/* Letters alone, or what stands for letters of others (RFC 5891). */
static bool may_be_top_level(const char *label)
{
	if (strncasecmp(label, "xn--", 4) == 0)
		return true;
	for (; *label; label++)
		if (!isalpha((unsigned char)*label))
			return false;
	return true;
}

static bool is_of_network(const Client *c, const char *name)
{
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < c->n_endpoints; i++) {
		const ClientEndpoint *ep = &c->endpoints[i];

		if (ep->names && strcasecmp(dot + 1, ep->network_name) == 0 &&
		    !may_be_top_level(ep->network_name))
			return true;
	}
	return false;
}

/* As resolver libraries read it: ndots above 0 means that a name of one label is completed before it is asked as it is. */
static bool wants_qualified(Resolver *r, Client *c)
{
	const Servers *host;

	if (c->own_options)
		return c->servers.qualified;
	host = servers_of_host(r);
	return host->qualified;
}

static void answer_localhost(DnsAnswer *a, const DnsQuestion *q)
{
	if (q->type == DNS_A || q->type == DNS_ANY)
		dns_answer_address(a, ip_v4(INADDR_LOOPBACK), LO_TTL);
	if (q->type == DNS_AAAA || q->type == DNS_ANY)
		dns_answer_address(a, IP_V6_LO, LO_TTL);
}

bool private_answer(Resolver *r, Client *c, const uint8_t *query, const DnsQuestion *q, uint8_t *out,
		    size_t room, size_t *ret_len)
{
	bool localhost = ends_in(q->name, "localhost"), none, nothing;
	DnsAnswer a;

	if (!q->plain || q->class != DNS_IN || !*q->name)
		return false;
	none = names_gone(r, c, q->name) || is_of_network(c, q->name) || ends_in(q->name, "docker.internal");
	nothing = (q->type == DNS_A || q->type == DNS_AAAA) && !strchr(q->name, '.') && wants_qualified(r, c);
	if (!none && !localhost && !nothing)
		return false;
	dns_answer_begin(&a, out, room, query, q, none ? DNS_NXDOMAIN : DNS_NOERROR, true);
	if (localhost && !none)
		answer_localhost(&a, q);
	*ret_len = dns_answer_end(&a);
	return true;
}
