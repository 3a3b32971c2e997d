/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes of the host that come where a network of ours is: a VPN is switched on, the laptop is in another office. What lies behind
 * such a route is out of reach then, for the containers or for the host. Nothing is changed unasked: the network is named together with the
 * interface, in the log and among the warnings of GET /info, and `ireko network renumber` gives it another subnet.
 *
 * One thread waits for the kernel to tell of routes; a burst of them (a VPN brings hundreds) is one look. Of IPv4 routes that go with their
 * interface the kernel says nothing, so while there is an overlap it is looked at again every now and then.
 */
#include "engine/engine-internal.h"

#include <poll.h>

#define REST_MS  300
#define AGAIN_MS 3000

typedef struct Look {
	Network **networks;
	NetworkBridge *bridges;
	NetworkOverlap *found;
	size_t n;
} Look;

static void look_done(Look *l)
{
	for (size_t i = 0; i < l->n; i++)
		network_unref(l->networks[i]);
	free(l->networks);
	free(l->bridges);
	free(l->found);
}

/* Those that have a subnet of their own on this host. A network upon an interface of the host's shares that one's. */
static int look_begin(Engine *en, Look *l, Err *e)
{
	Network *n, *tmp;
	size_t room;

	pthread_mutex_lock(&en->lock);
	room = HASH_COUNT(en->networks) + 1;
	l->networks = calloc(room, sizeof(Network *));
	l->bridges = calloc(room, sizeof(*l->bridges));
	l->found = calloc(room, sizeof(*l->found));
	if (l->networks && l->bridges && l->found)
		HASH_ITER (hh, en->networks, n, tmp)
			if (!n->info.config_only && !network_is_sublink(n) &&
			    (n->subnet[IP_V4].prefix || n->subnet[IP_V6].prefix)) {
				l->bridges[l->n] = network_bridge_of(en, n);
				l->networks[l->n++] = network_ref(n);
			}
	pthread_mutex_unlock(&en->lock);
	return l->networks && l->bridges && l->found ? 0 : err_oom(e);
}

static char *overlap_text(const char *network, const NetworkOverlap *o)
{
	return strf("network %s: its subnet %s overlaps with the route %s of interface %s, which came later: "
		    "what lies "
		    "there may be out of reach: give the network another subnet (ireko network renumber %s)",
		    network, network_subnet_text(&o->subnet).s, network_subnet_text(&o->route).s,
		    o->interface, network);
}

/* Told once, when it begins, and when it is over. */
static void note(Engine *en, Network *n, const NetworkOverlap *now)
{
	_cleanup_free_ char *text = now->found ? overlap_text(n->info.name, now) : NULL;
	bool begins, ends;

	pthread_mutex_lock(&en->lock);
	begins = now->found && (!n->overlap.found || !streq(n->overlap.interface, now->interface));
	ends = !now->found && n->overlap.found;
	n->overlap = *now;
	pthread_mutex_unlock(&en->lock);
	if (begins && text)
		log_warn("%s", text);
	else if (ends)
		log_info("network %s: no route overlaps with its subnet any more", n->info.name);
}

bool network_overlaps_look(Engine *en)
{
	_cleanup_(look_done) Look l = {0};
	bool any = false;
	Err err = {0};
	int r = look_begin(en, &l, &err);

	if (r >= 0)
		r = network_overlaps_find(en->nethost, l.bridges, l.n, l.found, &err);
	for (size_t i = 0; r >= 0 && i < l.n; i++) {
		note(en, l.networks[i], &l.found[i]);
		any = any || l.found[i].found;
	}
	if (r < 0)
		log_warn("look for routes that overlap with networks: %s", err_msg(&err, r));
	return any || r < 0;
}

static void watch(void *arg)
{
	Engine *en = arg;
	struct pollfd p[] = {{background_quit_fd(en->background), POLLIN, 0}, {en->routes_fd, POLLIN, 0}};

	bool again = network_overlaps_look(en);

	for (;;) {
		int n = poll(p, 2, again ? AGAIN_MS : -1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || p[0].revents)
			return;
		/* Containers' own news does not put off the look that is due. */
		if (n > 0 && !network_routes_changed(en->routes_fd) && !again)
			continue;
		if (poll(p, 1, REST_MS) > 0)
			return;
		(void)network_routes_changed(en->routes_fd);
		again = network_overlaps_look(en);
	}
}

void network_overlaps_watch(Engine *en)
{
	Err err = {0};
	int r = network_routes_watch(&en->routes_fd, &err);

	if (r >= 0)
		r = background_run(en->background, watch, en);
	if (r < 0)
		log_warn("routes that come later are not noticed: %s", err_msg(&err, r));
}

int engine_warnings(Engine *en, char ***ret, Err *e)
{
	Network *n, *tmp;
	const char *apparmor = apparmor_warning(en);
	int r = network_firewall_warnings(en->nethost, ret, e);

	if (r >= 0 && apparmor && strv_add(ret, apparmor) < 0)
		r = err_oom(e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->networks, n, tmp)
		if (r >= 0 && n->overlap.found)
			r = strv_take(ret, overlap_text(n->info.name, &n->overlap));
	pthread_mutex_unlock(&en->lock);
	return r < 0 ? err_oom(e) : 0;
}
