/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports of a container that exists come and go.
 *
 * A container that does not run has its record changed, and the next start does the rest. Of one that runs, what is bound, held, translated and recorded
 * follows in this order:
 *
 *    the new ports are bound   they are put on record as `unsettled`   the shim holds them   the rules change, in one transaction a family
 *    the record changes, with what went as `unsettled`                 the shim lets go of those                   nothing is unsettled
 *
 * Whatever is cut short, by an error or by the engine's end, leaves rules and sockets that differ from the record by nothing but ports that are on
 * record as unsettled: ports_settle() makes them equal again.
 *
 * A host port may lead to another port of the container afterwards (the one goes, the other comes): it keeps its socket.
 */
#include "engine/endpoint-ports.h"

#include <sys/stat.h>

/* One of HostConfig.PortBindings. */
typedef struct Entry {
	NetworkPort port;
	bool both; /* families, as no address is said */
} Entry;

typedef struct Change {
	Engine *en;
	Container *c;
	PortList gone;     /* ports of the container, by protocol and number: what leads there goes */
	ContainerHost add; /* borrowed */
	ContainerConfig
	    config; /* ports, exposed ports and publish_all_ports: what the container has afterwards, then what it had */
	Entry *entries; /* of `config` */
	size_t n_entries;
	/* Of one that runs. */
	PortList fresh, added, removed; /* what there is afterwards, and how it differs */
	ContainerPublished *published;  /* of fresh, then what was */
	size_t n_published;
	int *fds;
	size_t n_fds;
} Change;

static void published_done(ContainerPublished *v, size_t n)
{
	ContainerInfo garbage = {.published = v, .n_published = n};

	container_info_done(&garbage);
}

static void change_done(Change *h)
{
	for (size_t i = 0; i < h->n_fds; i++)
		close_fd(&h->fds[i]);
	free(h->fds);
	free(h->entries);
	free(h->gone.v);
	free(h->fresh.v);
	free(h->added.v);
	free(h->removed.v);
	published_done(h->published, h->n_published);
	container_config_done(&h->config);
}

void ports_unsettled_set(Container *c, ContainerPublished *v, size_t n)
{
	ContainerPublished *old;
	size_t n_old;

	pthread_mutex_lock(&c->state);
	old = c->unsettled;
	n_old = c->n_unsettled;
	c->unsettled = v;
	c->n_unsettled = n;
	pthread_mutex_unlock(&c->state);
	published_done(old, n_old);
}

/* ---- what is asked for ---- */

static bool leads_to(const NetworkPort *p, const NetworkPort *to)
{
	return p->protocol == to->protocol && p->container_port == to->container_port;
}

static bool goes(const Change *h, const NetworkPort *p)
{
	for (size_t i = 0; i < h->gone.n; i++)
		if (leads_to(p, &h->gone.v[i]))
			return true;
	return false;
}

static int gone_parse(char *const *remove, PortList *ret, Err *e)
{
	size_t n = strv_len(remove);
	int r = 0;

	ret->v = calloc(n + 1, sizeof(*ret->v));
	if (!ret->v)
		return err_oom(e);
	for (; r >= 0 && ret->n < n; ret->n++) {
		ContainerPort p = {remove[ret->n], (char *)"", (char *)""};

		r = port_parse(&p, &ret->v[ret->n], e);
	}
	return r;
}

static bool is_one_number(const NetworkPort *p)
{
	return p->host_port != 0 && p->host_port == p->host_port_last;
}

/* Both would need one socket of the host. A range is the engine's choice, which avoids what is taken. */
static bool entries_clash(const Entry *a, const Entry *b)
{
	if (!is_one_number(&a->port) || !is_one_number(&b->port))
		return false;
	if (a->both || b->both)
		return a->port.protocol == b->port.protocol && a->port.host_port == b->port.host_port;
	return ports_meet(&a->port, &b->port);
}

static int entry_append(Change *h, const ContainerPort *p, const NetworkPort *parsed, Err *e)
{
	h->entries[h->n_entries++] = (Entry){*parsed, str_empty(p->host_ip)};
	return container_port_add(&h->config.host, p->port, p->host_ip, p->host_port, e);
}

static int entry_add(Change *h, const ContainerPort *p, Err *e)
{
	Entry one = {.both = str_empty(p->host_ip)};
	int r = port_parse(p, &one.port, e);

	for (size_t i = 0; r >= 0 && i < h->n_entries; i++)
		if (entries_clash(&h->entries[i], &one))
			return err_new(e, ERR_CONFLICT,
				       "host port %s for %s is published by this container already, for %s",
				       p->host_port, p->port, h->config.host.ports[i].port);
	return r < 0 ? r : entry_append(h, p, &one.port, e);
}

static int keep_entry(Change *h, const ContainerPort *p, bool *found, Err *e)
{
	NetworkPort parsed;
	bool stays = true;
	int r = port_parse(p, &parsed, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < h->gone.n; i++)
		if (leads_to(&parsed, &h->gone.v[i])) {
			found[i] = true;
			stays = false;
		}
	return stays ? entry_append(h, p, &parsed, e) : 0;
}

/* What --publish-all means is said by name from now on: else a port that was taken away would be there again after the next start. */
static int keep_exposed(Change *h, bool *found, Err *e)
{
	const ContainerConfig *k = &h->c->config;
	int r = 0;

	for (size_t i = 0; r >= 0 && k->host.publish_all_ports && k->exposed_ports && k->exposed_ports[i];
	     i++) {
		ContainerPort p = {k->exposed_ports[i], (char *)"", (char *)""};
		bool given = false;

		for (size_t n = 0; n < k->host.n_ports; n++)
			given = given || streq(k->host.ports[n].port, p.port);
		r = given ? 0 : keep_entry(h, &p, found, e);
	}
	return r;
}

static int found_check(const Change *h, const bool *found, Err *e)
{
	for (size_t i = 0; i < h->gone.n; i++)
		if (!found[i])
			return err_new(e, ERR_INVALID, "port %u/%s is not published",
				       h->gone.v[i].container_port,
				       network_protocol_name(h->gone.v[i].protocol));
	return 0;
}

static int config_keep(Change *h, Err *e)
{
	const ContainerHost *own = &h->c->config.host;
	_cleanup_free_ bool *found = calloc(h->gone.n + 1, sizeof(*found));
	int r;

	h->entries =
	    calloc(own->n_ports + strv_len(h->c->config.exposed_ports) + h->add.n_ports + 1, sizeof(Entry));
	r = found && h->entries ? 0 : err_oom(e);
	for (size_t i = 0; r >= 0 && i < own->n_ports; i++)
		r = keep_entry(h, &own->ports[i], found, e);
	if (r >= 0)
		r = keep_exposed(h, found, e);
	return r < 0 ? r : found_check(h, found, e);
}

static int config_make(Change *h, Err *e)
{
	ContainerConfig *k = &h->config;
	int r = config_keep(h, e);

	if (r >= 0 && h->c->config.exposed_ports &&
	    !(k->exposed_ports = strv_dup(h->c->config.exposed_ports)))
		r = err_oom(e);
	for (size_t i = 0; r >= 0 && i < h->add.n_ports; i++) {
		r = entry_add(h, &h->add.ports[i], e);
		if (r >= 0 && !strv_has(k->exposed_ports, h->add.ports[i].port) &&
		    strv_add(&k->exposed_ports, h->add.ports[i].port) < 0)
			r = err_oom(e);
	}
	return r;
}

#define SWAP(a, b)                                                                                           \
	do {                                                                                                 \
		__typeof__(a) was_ = (a);                                                                    \
		(a) = (b);                                                                                   \
		(b) = was_;                                                                                  \
	} while (0)

/* `state` is held. */
static void config_swap(Change *h)
{
	ContainerConfig *k = &h->c->config;

	SWAP(k->host.ports, h->config.host.ports);
	SWAP(k->host.n_ports, h->config.host.n_ports);
	SWAP(k->host.publish_all_ports, h->config.host.publish_all_ports);
	SWAP(k->exposed_ports, h->config.exposed_ports);
}

/* ---- of one that does not run ---- */

static int change_record(Change *h, char ***warnings, Err *e)
{
	int r;

	pthread_mutex_lock(&h->c->state);
	config_swap(h);
	pthread_mutex_unlock(&h->c->state);
	r = container_save(h->en, h->c, e);
	if (r >= 0)
		return ports_warn(h->en, h->c, warnings, e);
	pthread_mutex_lock(&h->c->state);
	config_swap(h);
	pthread_mutex_unlock(&h->c->state);
	return r;
}

/* ---- of one that runs ---- */

static bool same_socket(const NetworkPort *a, const NetworkPort *b)
{
	return a->protocol == b->protocol && a->host_address == b->host_address &&
	       a->host_port == b->host_port && a->host_port != 0;
}

static bool has_socket(const PortList *l, const NetworkPort *p)
{
	for (size_t i = 0; i < l->n; i++)
		if (same_socket(&l->v[i], p))
			return true;
	return false;
}

static int split_present(Change *h, Err *e)
{
	Container *c = h->c;

	h->fresh.v = calloc(c->n_ports + h->add.n_ports * IP_FAMILIES + 1, sizeof(*h->fresh.v));
	h->removed.v = calloc(c->n_ports + 1, sizeof(*h->removed.v));
	h->added.v = calloc(h->add.n_ports * IP_FAMILIES + 1, sizeof(*h->added.v));
	if (!h->fresh.v || !h->removed.v || !h->added.v)
		return err_oom(e);
	for (size_t i = 0; i < c->n_ports; i++) {
		PortList *l = goes(h, &c->ports[i]) ? &h->removed : &h->fresh;

		l->v[l->n++] = c->ports[i];
	}
	return 0;
}

/* Those whose sockets are there come first; how many they are. */
static size_t sort_added(Change *h)
{
	_cleanup_free_ NetworkPort *sorted = calloc(h->added.n + 1, sizeof(*sorted));
	size_t n = 0, have;

	if (!sorted)
		return SIZE_MAX;
	for (size_t i = 0; i < h->added.n; i++)
		if (has_socket(&h->removed, &h->added.v[i]))
			sorted[n++] = h->added.v[i];
	have = n;
	for (size_t i = 0; i < h->added.n; i++)
		if (!has_socket(&h->removed, &h->added.v[i]))
			sorted[n++] = h->added.v[i];
	memcpy(h->added.v, sorted, n * sizeof(*sorted));
	return have;
}

/* What goes keeps its socket until the change is on record, so another address of the same number is not free yet. */
static int check_places(const Change *h, const NetworkPort *added, size_t n, Err *e)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < h->removed.n; k++)
			if (is_one_number(&added[i]) && ports_meet(&h->removed.v[k], &added[i]))
				return err_new(
				    e, ERR_CONFLICT,
				    "%s cannot take the place of %s in one step: unpublish that first, with "
				    "a "
				    "command of its own",
				    ip_port_text(added[i].host_address, added[i].host_port).s,
				    ip_port_text(h->removed.v[k].host_address, h->removed.v[k].host_port).s);
	return 0;
}

/* Where the kernel has no sctp, nothing is to be held of its ports. */
static void drop_placeholders(Change *h)
{
	size_t kept = 0;
	struct stat st;

	for (size_t i = 0; i < h->n_fds; i++)
		if (fstat(h->fds[i], &st) == 0 && !S_ISSOCK(st.st_mode))
			close_fd(&h->fds[i]);
		else
			h->fds[kept++] = h->fds[i];
	h->n_fds = kept;
}

static int bind_added(Change *h, const PortWays *ways, Err *e)
{
	size_t have;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < h->add.n_ports; i++)
		r = ports_expand(&h->add.ports[i], ways, h->added.v, &h->added.n, e);
	if (r < 0)
		return r;
	have = sort_added(h);
	h->fds = calloc(h->added.n + 1, sizeof(*h->fds));
	if (have == SIZE_MAX || !h->fds)
		return err_oom(e);
	r = check_places(h, h->added.v + have, h->added.n - have, e);
	/* Nobody is left out when holders are looked for: it may have the port itself. */
	if (r >= 0)
		r = ports_bind(h->en, NULL, ways, h->added.v + have, h->added.n - have, h->fds, &h->n_fds, e);
	drop_placeholders(h);
	return r;
}

static int plan_running(Change *h, Err *e)
{
	const ContainerEndpoint *ep;
	PortWays ways;
	int r = ports_ways(h->en, h->c, &ways, &ep, e);

	if (r >= 0 && !ep)
		r = err_new(e, ERR_CONFLICT,
			    "its ports are not published: it is on no network with a way out whose ports are "
			    "(internal networks and isolated ones have none; on macvlan and ipvlan it is "
			    "reached at its own address)");
	if (r >= 0)
		r = split_present(h, e);
	if (r >= 0)
		r = bind_added(h, &ways, e);
	if (r < 0)
		return r;
	memcpy(h->fresh.v + h->fresh.n, h->added.v, h->added.n * sizeof(*h->added.v));
	h->fresh.n += h->added.n;
	h->n_published = h->fresh.n;
	return ports_text(h->fresh.v, h->fresh.n, &h->published, e);
}

static void swap_running(Change *h)
{
	Container *c = h->c;

	pthread_mutex_lock(&c->state);
	config_swap(h);
	SWAP(c->ports, h->fresh.v);
	SWAP(c->n_ports, h->fresh.n);
	SWAP(c->published, h->published);
	SWAP(c->n_published, h->n_published);
	pthread_mutex_unlock(&c->state);
}

/* On record as soon as it is saved. */
static int unsettle(Change *h, const PortList *l, Err *e)
{
	ContainerPublished *text = NULL;
	int r = l->n > 0 ? ports_text(l->v, l->n, &text, e) : 0;

	ports_unsettled_set(h->c, text, text ? l->n : 0);
	return r;
}

static int shim_hold(Engine *en, Container *c, const int *fds, size_t n, const PortList *release, Err *e)
{
	_cleanup_free_ AddressPortText *texts = calloc(release->n + 1, sizeof(*texts));
	_cleanup_free_ ShimPort *names = calloc(release->n + 1, sizeof(*names));
	_cleanup_free_ char *dir = container_run_dir(en, c);

	if (!texts || !names || !dir)
		return err_oom(e);
	for (size_t i = 0; i < release->n; i++) {
		const NetworkPort *p = &release->v[i];

		snprintf(texts[i].s, sizeof(texts[i].s), "%s", ip_text(p->host_address).s);
		names[i] = (ShimPort){p->protocol, texts[i].s, p->host_port};
	}
	return shim_ports(dir, fds, n, names, release->n, e);
}

/* The sockets of unsettled ports that are not the container's; then nothing is unsettled. */
static int let_go(Engine *en, Container *c, const PortList *unsettled, Err *e)
{
	const PortList own = {c->ports, c->n_ports};
	PortList release = {calloc(unsettled->n + 1, sizeof(*release.v)), 0};
	int r = release.v ? 0 : err_oom(e);

	for (size_t i = 0; r >= 0 && i < unsettled->n; i++)
		if (unsettled->v[i].host_port && !has_socket(&own, &unsettled->v[i]))
			release.v[release.n++] = unsettled->v[i];
	if (r >= 0 && release.n > 0)
		r = shim_hold(en, c, NULL, 0, &release, e);
	free(release.v);
	if (r < 0)
		return r;
	ports_unsettled_set(c, NULL, 0);
	return container_save(en, c, e);
}

static void note(const Container *c, int r, const Err *err, const char *what)
{
	if (r < 0)
		log_warn("container %.12s: after a change of its ports: %s: %s", c->id, what,
			 err_msg(err, r));
}

void ports_settle(Engine *en, Container *c)
{
	const PortList own = {c->ports, c->n_ports};
	PortList unsettled = {0};
	Err err = {0};

	if (ports_parse_text(c->unsettled, c->n_unsettled, &unsettled) < 0)
		return;
	note(c, ports_change(en, c, &unsettled, &own, &err), &err, "make rules what they were");
	note(c, proxied_settle(en, c, &err), &err, "make the proxy's ports what they were");
	note(c, let_go(en, c, &unsettled, &err), &err, "let go of sockets");
	free(unsettled.v);
}

static int hold_added(Change *h, Err *e)
{
	const PortList none = {0};
	int r;

	if (h->added.n == 0)
		return 0;
	r = unsettle(h, &h->added, e);
	if (r >= 0)
		r = container_save(h->en, h->c, e);
	return r < 0 ? r : shim_hold(h->en, h->c, h->fds, h->n_fds, &none, e);
}

static int change_rules(Change *h, Err *e)
{
	/* swap_running() has put there what was. */
	const PortList own = {h->c->ports, h->c->n_ports};
	int r = ports_change(h->en, h->c, &h->fresh, &own, e);

	if (r >= 0)
		r = proxied_settle(h->en, h->c, e);
	if (r >= 0)
		r = unsettle(h, &h->removed, e);
	return r < 0 ? r : container_save(h->en, h->c, e);
}

static int change_running(Change *h, Err *e)
{
	const PortList none = {0};
	Err err = {0};
	int r = plan_running(h, e);

	/* A shim that cannot do it says so before anything is done. */
	if (r >= 0)
		r = shim_hold(h->en, h->c, NULL, 0, &none, e);
	if (r < 0)
		return r;
	r = hold_added(h, e);
	if (r >= 0) {
		swap_running(h);
		r = change_rules(h, e);
		if (r < 0)
			swap_running(h);
	}
	if (r < 0) {
		if (unsettle(h, &h->added, &err) >= 0)
			ports_settle(h->en, h->c);
		return r;
	}
	if (h->removed.n > 0)
		note(h->c, let_go(h->en, h->c, &h->removed, &err), &err, "let go of sockets");
	return 0;
}

/* ---- the request ---- */

static int check_mode(const Container *c, Err *e)
{
	const char *arg;

	switch (net_mode(c, &arg)) {
	case NET_HOST:
		return err_new(e, ERR_CONFLICT,
			       "its ports are not published: it has the host's network, where all are open");
	case NET_NONE:
		return err_new(e, ERR_CONFLICT, "its ports are not published: it has no network");
	case NET_CONTAINER:
		return err_new(e, ERR_CONFLICT,
			       "its ports are not published: it has the network of container %s: publish "
			       "them there",
			       arg);
	default:
		return 0;
	}
}

static int change_locked(Change *h, char ***warnings, Err *e)
{
	ContainerStatus s = container_status(h->c);
	bool runs = s == CONTAINER_RUNNING || s == CONTAINER_PAUSED;
	int r;

	if (h->c->removed || s == CONTAINER_DEAD)
		return err_new(e, ERR_CONFLICT, "container is marked for removal and cannot be \"update\"");
	/* What an earlier change has left comes first. */
	if (runs && h->c->n_unsettled > 0)
		ports_settle(h->en, h->c);
	r = check_mode(h->c, e);
	if (r >= 0)
		r = config_make(h, e);
	if (r < 0)
		return r;
	return runs ? change_running(h, e) : change_record(h, warnings, e);
}

int engine_container_ports(Engine *en, const char *ref, const ContainerHost *add, char *const *remove,
			   char ***ret_warnings, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(change_done) Change h = {.en = en, .add = *add};
	int r;

	if (add->n_ports == 0 && strv_len(remove) == 0)
		return err_new(e, ERR_INVALID, "ports: nothing is to be published, nor unpublished");
	r = container_find(en, ref, &c, e);
	if (r < 0)
		return r;
	h.c = c;
	r = gone_parse(remove, &h.gone, e);
	if (r >= 0) {
		container_lock(c);
		r = change_locked(&h, ret_warnings, e);
		pthread_mutex_unlock(&c->life);
	}
	if (r < 0)
		return err_ctx(e, r, "Cannot update the ports of container %s", ref);
	container_event(en, c, "update", NULL);
	return 0;
}
