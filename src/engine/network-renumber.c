/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network gets another subnet while containers run on it.
 *
 * Each running container leaves, the subnet is exchanged, and each joins again, with the same names, links, MAC address and priority; its published
 * ports follow. An address that somebody asked for keeps its place: the fifth of the old subnet becomes the fifth of the new one, or any, where
 * the new one is smaller. For a moment the containers are not on the network, and connections through it end, as their addresses do.
 *
 * While that lasts nobody else can join. If the engine is killed meanwhile, containers that had left are on the network again from their next
 * start, or when they are connected again.
 */
#include "engine/engine-internal.h"

typedef struct Members {
	Container **v;
	size_t n;
} Members;

static void members_done(Members *m)
{
	for (size_t i = 0; i < m->n; i++)
		container_unref(m->v[i]);
	free(m->v);
}

/* All containers that name the network, whether they run or not. */
static int members_find(Engine *en, const Network *n, Members *ret, Err *e)
{
	Container *c, *tmp;

	pthread_mutex_lock(&en->lock);
	ret->v = calloc(HASH_COUNT(en->by_id) + 1, sizeof(Container *));
	HASH_ITER (hh, en->by_id, c, tmp) {
		bool named = false;

		pthread_mutex_lock(&c->state);
		for (size_t i = 0; i < c->n_endpoints; i++)
			named = named || streq0(c->endpoints[i].network, n->info.name);
		pthread_mutex_unlock(&c->state);
		if (ret->v && named)
			ret->v[ret->n++] = container_ref(c);
	}
	pthread_mutex_unlock(&en->lock);
	return ret->v ? 0 : err_oom(e);
}

static int each_member(Engine *en, const Network *n, const Members *m,
		       int (*fn)(Engine *en, Container *c, const char *network, Err *e), Err *e)
{
	int r = 0;

	for (size_t i = 0; i < m->n; i++) {
		Err err = {0};
		int one = 0;

		container_lock(m->v[i]);
		if (!m->v[i]->removed)
			one = fn(en, m->v[i], n->info.name, &err);
		pthread_mutex_unlock(&m->v[i]->life);
		/* The others are not to suffer for it. */
		if (one < 0 && r >= 0)
			r = err_new_no(e, err.kind, err.no, "container %s: %s", m->v[i]->name,
				       err_msg(&err, one));
		else if (one < 0)
			log_warn("container %.12s: renumber network %s: %s", m->v[i]->id, n->info.name,
				 err_msg(&err, one));
	}
	return r;
}

/* The address at the same place of the new subnet; NULL in *ret if there is none. */
static int moved(const NetworkSubnet *from, const NetworkSubnet *to, const char *text, char **ret)
{
	IpAddress a, b;

	*ret = NULL;
	if (ip_parse(text, &a) < 0 || !network_subnet_contains(from, a))
		return 0;
	b = to->address + (a - from->address);
	if (!network_subnet_contains(to, b) || b == to->gateway)
		return 0;
	*ret = strdup(ip_text(b).s);
	return *ret ? 0 : -ENOMEM;
}

static int move_wish(Engine *en, Container *c, const Network *n, const NetworkSubnet *from,
		     const NetworkSubnet *to, Err *e)
{
	ContainerEndpointConfig *asked = endpoint_config_find(&c->config, n->info.name);
	char **field = !asked ? NULL : ip_is_v4(from->address) ? &asked->ipv4_address : &asked->ipv6_address;
	char *fresh = NULL;

	if (!field || str_empty(*field))
		return 0;
	if (moved(from, to, *field, &fresh) < 0)
		return err_oom(e);
	pthread_mutex_lock(&c->state);
	free(*field);
	*field = fresh;
	pthread_mutex_unlock(&c->state);
	return container_save(en, c, e);
}

static int move_wishes(Engine *en, const Network *n, const Members *m, const NetworkSubnet *from,
		       const NetworkSubnet *to, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < m->n; i++) {
		container_lock(m->v[i]);
		if (!m->v[i]->removed)
			r = move_wish(en, m->v[i], n, from, to, e);
		pthread_mutex_unlock(&m->v[i]->life);
	}
	return r;
}

static int check(const Network *n, const char *given, int *ret_family, Err *e)
{
	NetworkSubnet s;
	int r;

	if (!streq(n->info.driver, "bridge") || n->info.config_only)
		return err_new(e, ERR_INVALID,
			       "network %s has no subnet of this host's to exchange: it is of driver %s",
			       n->info.name, n->info.driver);
	*ret_family = network_has(n, IP_V4) ? IP_V4 : IP_V6;
	if (given) {
		r = network_subnet_parse(given, NULL, &s, e);
		if (r < 0)
			return r;
		*ret_family = ip_index(s.address);
	}
	if (!network_has(n, *ret_family) || !n->subnet[*ret_family].prefix)
		return err_new(e, ERR_INVALID, "network %s has no %s subnet", n->info.name,
			       *ret_family == IP_V4 ? "IPv4" : "IPv6");
	return 0;
}

/* Only one at a time, and nobody joins meanwhile. */
static int begin(Engine *en, Network *n, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&en->lock);
	if (n->removed)
		r = err_new(e, ERR_NOT_FOUND, "network %s not found", n->info.name);
	else if (n->renumbering)
		r = err_new(e, ERR_CONFLICT, "network %s is being renumbered already", n->info.name);
	else
		n->renumbering = true;
	pthread_mutex_unlock(&en->lock);
	return r;
}

static void finish(Engine *en, Network *n)
{
	pthread_mutex_lock(&en->lock);
	n->renumbering = false;
	pthread_mutex_unlock(&en->lock);
}

static int exchange(Engine *en, Network *n, int family, const char *given, const Members *m, Err *e)
{
	NetworkSubnet before = n->subnet[family];
	int r;

	pthread_mutex_lock(&n->life);
	r = subnet_exchange(en, n, family, given, e);
	if (r >= 0)
		r = network_save(en, n, e);
	pthread_mutex_unlock(&n->life);
	return r < 0 ? r : move_wishes(en, n, m, &before, &n->subnet[family], e);
}

int engine_network_renumber(Engine *en, const char *ref, const char *subnet, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	_cleanup_(members_done) Members m = {0};
	int family = IP_V4, again, r = network_find(en, ref, &n, e);

	if (r >= 0)
		r = check(n, subnet, &family, e);
	if (r >= 0)
		r = begin(en, n, e);
	if (r < 0)
		return r;
	r = members_find(en, n, &m, e);
	if (r >= 0)
		r = each_member(en, n, &m, connection_suspend, e);
	if (r >= 0)
		r = exchange(en, n, family, subnet, &m, e);
	finish(en, n);
	again = each_member(en, n, &m, connection_resume, r < 0 ? NULL : e);
	(void)network_overlaps_look(en);
	if (r >= 0)
		network_changed_event(en, n);
	return err_ctx(e, r < 0 ? r : again, "renumber network %s", n->info.name);
}
