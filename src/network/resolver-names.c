/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver's names: what each network calls its containers, and answers from that.
 *
 * Several containers may have one name (the service of a compose file, scaled): an answer has all their addresses, beginning with another
 * one each time. A name that is known has no records of types that we do not know of, so no such question leaves the machine. Nor does one of
 * a name that nobody has any more, for an hour: it is in the table without holders, and the oldest of those make room for others.
 */
#include "network/resolver-internal.h"

#include <ctype.h>
#include <utlist.h>

#define NAMES_CLIENT 128 /* names and links of one endpoint */
#define GONE_MOST    1024
#define GONE_NS      (3600 * SECOND_NS)

static void lower(char *s)
{
	for (; *s; s++)
		*s = (char)tolower((unsigned char)*s);
}

static char *name_key(const char *network_id, const char *name)
{
	char *key = strf("%s/%s", network_id, name);

	if (key)
		lower(key);
	return key;
}

static char *address_key(const char *network_id, IpAddress address)
{
	return strf("%s#%s", network_id, ip_text(address).s);
}

static void name_free(Name *n)
{
	free(n->key);
	free(n->holders);
	free(n->called);
	free(n);
}

static void name_drop(Resolver *r, Name *n)
{
	if (n->gone) {
		DL_DELETE(r->gone, n);
		r->n_gone--;
	} else {
		r->stats.names--;
	}
	HASH_DEL(r->names, n);
	name_free(n);
}

/* Its last holder has left. Names with dots may be those of others outside, who are asked again. */
static void name_leave(Resolver *r, Name *n)
{
	const char *name = strchr(n->key, '/');

	if (!name || strchr(name, '.')) {
		name_drop(r, n);
		return;
	}
	free(take_ptr(n->holders));
	n->gone = clock_mono_ns();
	r->stats.names--;
	DL_APPEND(r->gone, n);
	if (++r->n_gone > GONE_MOST)
		name_drop(r, r->gone);
}

static void name_return(Resolver *r, Name *n)
{
	DL_DELETE(r->gone, n);
	r->n_gone--;
	n->gone = 0;
	r->stats.names++;
}

/* Takes key over. */
static Name *name_get(Resolver *r, char *key)
{
	Name *n = NULL;

	if (!key)
		return NULL;
	HASH_FIND_STR(r->names, key, n);
	if (n) {
		free(key);
		if (n->gone)
			name_return(r, n);
		return n;
	}
	n = calloc(1, sizeof(*n));
	if (!n) {
		free(key);
		return NULL;
	}
	n->key = key;
	HASH_ADD_KEYPTR(hh, r->names, n->key, strlen(n->key), n);
	r->stats.names++;
	return n;
}

static int hold(Name *n, const Client *c, const ClientEndpoint *ep)
{
	Holder *v;

	for (size_t i = 0; i < n->n; i++)
		if (n->holders[i].client == c)
			return 0;
	v = reallocarray(n->holders, n->n + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	n->holders = v;
	v[n->n++] = (Holder){c, {ep->address[IP_V4], ep->address[IP_V6]}};
	return 0;
}

/* Takes key over. */
static void let_go(Resolver *r, const Client *c, char *key)
{
	Name *n = NULL;
	size_t kept = 0;

	if (!key)
		return;
	HASH_FIND_STR(r->names, key, n);
	free(key);
	if (!n)
		return;
	for (size_t i = 0; i < n->n; i++)
		if (n->holders[i].client != c)
			n->holders[kept++] = n->holders[i];
	n->n = kept;
	if (kept == 0 && !n->gone)
		name_leave(r, n);
}

/* ---- endpoints ---- */

static void endpoint_done(ClientEndpoint *ep)
{
	free(ep->network_id);
	free(ep->network_name);
	strv_free(ep->names);
	strv_free(ep->links);
	*ep = (ClientEndpoint){0};
}

static void endpoint_withdraw(Resolver *r, const Client *c, const ClientEndpoint *ep)
{
	for (size_t i = 0; ep->names && ep->names[i]; i++)
		let_go(r, c, name_key(ep->network_id, ep->names[i]));
	for (int f = 0; ep->names && f < IP_FAMILIES; f++)
		if (ep->address[f])
			let_go(r, c, address_key(ep->network_id, ep->address[f]));
}

static int address_enter(Resolver *r, const Client *c, const ClientEndpoint *ep, IpAddress address)
{
	Name *n = name_get(r, address_key(ep->network_id, address));

	if (!n || hold(n, c, ep) < 0)
		return -ENOMEM;
	free(n->called);
	n->called = strf("%s.%s", ep->names[0], ep->network_name);
	return n->called ? 0 : -ENOMEM;
}

static int endpoint_enter(Resolver *r, const Client *c, const ClientEndpoint *ep)
{
	int k = 0;

	if (!ep->names || !ep->names[0])
		return 0;
	for (size_t i = 0; ep->names[i]; i++) {
		Name *n = name_get(r, name_key(ep->network_id, ep->names[i]));

		if (!n || hold(n, c, ep) < 0)
			return -ENOMEM;
	}
	for (int f = 0; k >= 0 && f < IP_FAMILIES; f++)
		if (ep->address[f])
			k = address_enter(r, c, ep, ep->address[f]);
	return k;
}

static ClientEndpoint *endpoint_of(Client *c, const char *network_id)
{
	for (size_t i = 0; i < c->n_endpoints; i++)
		if (streq(c->endpoints[i].network_id, network_id))
			return &c->endpoints[i];
	return NULL;
}

static void endpoint_drop(Resolver *r, Client *c, ClientEndpoint *ep)
{
	endpoint_withdraw(r, c, ep);
	endpoint_done(ep);
	memmove(ep, ep + 1, (size_t)(c->endpoints + c->n_endpoints - ep - 1) * sizeof(*ep));
	c->n_endpoints--;
}

void client_endpoints_drop(Resolver *r, Client *c)
{
	while (c->n_endpoints > 0)
		endpoint_drop(r, c, &c->endpoints[c->n_endpoints - 1]);
	free(c->endpoints);
	c->endpoints = NULL;
}

static int endpoint_put(Resolver *r, Client *c, const ResolverEndpoint *ep)
{
	ClientEndpoint *old = endpoint_of(c, ep->network_id), *v, *fresh;

	client_moved(r, c);
	if (old)
		endpoint_drop(r, c, old);
	v = reallocarray(c->endpoints, c->n_endpoints + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	c->endpoints = v;
	fresh = &v[c->n_endpoints++];
	*fresh = (ClientEndpoint){
	    .network_id = strdup(ep->network_id),
	    .network_name = strdup(ep->network_name),
	    .internal = ep->internal,
	    .address = {ep->address[IP_V4], ep->address[IP_V6]},
	    .subnet = {ep->subnet[IP_V4], ep->subnet[IP_V6]},
	    .names = ep->names ? strv_dup(ep->names) : NULL,
	    .links = ep->links ? strv_dup(ep->links) : NULL,
	};
	if (!fresh->network_id || !fresh->network_name || (ep->names && !fresh->names) ||
	    (ep->links && !fresh->links)) {
		endpoint_done(fresh);
		c->n_endpoints--;
		return -ENOMEM;
	}
	for (size_t i = 0; fresh->links && fresh->links[i]; i++)
		lower(fresh->links[i]);
	if (endpoint_enter(r, c, fresh) == 0)
		return 0;
	endpoint_drop(r, c, fresh);
	return -ENOMEM;
}

int resolver_endpoint_add(Resolver *r, const ResolverEndpoint *ep, Err *e)
{
	Client *c;
	int k;

	if (strv_len(ep->names) > NAMES_CLIENT || strv_len(ep->links) > NAMES_CLIENT)
		return err_new(e, ERR_INVALID, "network %s: a container has at most %d names and links there",
			       ep->network_name, NAMES_CLIENT);
	SCOPE_LOCK(&r->lock);
	HASH_FIND_STR(r->clients, ep->client, c);
	if (!c)
		return err_new(e, ERR_NOT_FOUND, "the resolver does not know container %.12s", ep->client);
	k = endpoint_put(r, c, ep);
	return k < 0 ? err_oom(e) : 0;
}

void resolver_endpoint_remove(Resolver *r, const char *client, const char *network_id)
{
	ClientEndpoint *ep;
	Client *c;

	SCOPE_LOCK(&r->lock);
	HASH_FIND_STR(r->clients, client, c);
	ep = c ? endpoint_of(c, network_id) : NULL;
	if (!ep)
		return;
	client_moved(r, c);
	endpoint_drop(r, c, ep);
}

/* ---- answers ---- */

static Name *find(Resolver *r, const char *network_id, const char *name, bool gone)
{
	size_t id = strlen(network_id), len = strlen(name);
	char key[65 + 256 + 2];
	Name *n = NULL;

	if (id + 1 + len > sizeof(key))
		return NULL;
	memcpy(key, network_id, id);
	key[id] = '/';
	memcpy(key + id + 1, name, len);
	HASH_FIND(hh, r->names, key, id + 1 + len, n);
	return n && !n->gone == !gone ? n : NULL;
}

/* What a link of this client's means, or the name itself. */
static const char *through_link(const ClientEndpoint *ep, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; ep->links && ep->links[i]; i++)
		if (strncasecmp(ep->links[i], name, n) == 0 && ep->links[i][n] == '=')
			return ep->links[i] + n + 1;
	return name;
}

/* The name as it is in each network of the client; then, with its last part, in the network of that name. One that somebody has, or that is gone. */
static Name *lookup(Resolver *r, const Client *c, const char *name, bool gone)
{
	const char *dot = strrchr(name, '.');
	Name *n = NULL;

	for (size_t i = 0; !n && i < c->n_endpoints; i++)
		n = find(r, c->endpoints[i].network_id, through_link(&c->endpoints[i], name), gone);
	for (size_t i = 0; !n && dot && i < c->n_endpoints; i++) {
		char first[256];

		if (strcasecmp(dot + 1, c->endpoints[i].network_name) != 0)
			continue;
		snprintf(first, sizeof(first), "%.*s", (int)(dot - name), name);
		n = find(r, c->endpoints[i].network_id, first, gone);
	}
	return n;
}

/* Who has no address of the family that is asked for is left out; an answer without any says that the name is there all the same, so that nobody
 * else is asked for it. */
static size_t answer_addresses(Name *n, const uint8_t *query, const DnsQuestion *q, uint8_t *out, size_t room)
{
	const bool wanted[IP_FAMILIES] = {q->type == DNS_A || q->type == DNS_ANY,
					  q->type == DNS_AAAA || q->type == DNS_ANY};
	DnsAnswer a;

	dns_answer_begin(&a, out, room, query, q, DNS_NOERROR, true);
	for (int f = 0; f < IP_FAMILIES; f++)
		for (size_t i = 0; wanted[f] && i < n->n; i++) {
			const Holder *h = &n->holders[(n->turn + i) % n->n];

			if (h->address[f])
				dns_answer_address(&a, h->address[f], ANSWER_TTL);
		}
	/* A client asks for both families, one after the other: the turn is one for both. */
	if (wanted[IP_V4])
		n->turn = (n->turn + 1) % n->n;
	return dns_answer_end(&a);
}

static bool is_of(const ClientEndpoint *ep, IpAddress address)
{
	return ep->names && network_subnet_contains(&ep->subnet[ip_index(address)], address);
}

/* Addresses of the client's own networks are nobody else's business, known or not. */
static bool answer_reverse(Resolver *r, const Client *c, IpAddress address, const uint8_t *query,
			   const DnsQuestion *q, uint8_t *out, size_t room, size_t *ret_len)
{
	bool ours = false;
	Name *n = NULL;
	DnsAnswer a;

	for (size_t i = 0; !n && i < c->n_endpoints; i++) {
		const ClientEndpoint *ep = &c->endpoints[i];
		char key[65 + INET6_ADDRSTRLEN + 8];

		if (!is_of(ep, address))
			continue;
		ours = true;
		snprintf(key, sizeof(key), "%s#%s", ep->network_id, ip_text(address).s);
		HASH_FIND_STR(r->names, key, n);
	}
	if (!ours)
		return false;
	dns_answer_begin(&a, out, room, query, q, n ? DNS_NOERROR : DNS_NXDOMAIN, true);
	if (n && n->called && (q->type == DNS_PTR || q->type == DNS_ANY))
		dns_answer_name(&a, n->called, ANSWER_TTL);
	*ret_len = dns_answer_end(&a);
	return true;
}

bool names_answer(Resolver *r, const Client *c, const uint8_t *query, const DnsQuestion *q, uint8_t *out,
		  size_t room, size_t *ret_len)
{
	IpAddress address;
	Name *n;

	if (!q->plain || q->class != DNS_IN || !*q->name)
		return false;
	if (dns_reverse_name(q->name, &address))
		return answer_reverse(r, c, address, query, q, out, room, ret_len);
	n = lookup(r, c, q->name, false);
	if (!n)
		return false;
	*ret_len = answer_addresses(n, query, q, out, room);
	return true;
}

bool names_gone(Resolver *r, const Client *c, const char *name)
{
	Name *n = lookup(r, c, name, true);

	if (n && n->gone + GONE_NS <= clock_mono_ns()) {
		name_drop(r, n);
		n = NULL;
	}
	return n;
}

void names_free(Resolver *r)
{
	while (r->gone)
		name_drop(r, r->gone);
}
