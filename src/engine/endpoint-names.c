/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names in user-defined networks: what a container is called there, and its place with the resolver (network/resolver.h).
 *
 * A container has the resolver if it is on such a network, from its start or from when it joins its first one. The shim holds copies of its
 * sockets from then on, so that questions wait for the next engine if this one is killed.
 */
#include "engine/engine-internal.h"

static int resolver_get(Engine *en, Resolver **ret, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&en->subnets_lock);
	if (!en->resolver)
		r = resolver_new(&en->resolver, e);
	if (r >= 0 && !en->resolver_serves && !en->adopting) {
		r = resolver_serve(en->resolver, e);
		en->resolver_serves = r >= 0;
	}
	*ret = en->resolver;
	pthread_mutex_unlock(&en->subnets_lock);
	return r;
}

void names_adopted(Engine *en)
{
	Resolver *resolver;
	Err err = {0};
	bool there;
	int r;

	pthread_mutex_lock(&en->subnets_lock);
	en->adopting = false;
	there = en->resolver != NULL;
	pthread_mutex_unlock(&en->subnets_lock);
	r = there ? resolver_get(en, &resolver, &err) : 0;
	if (r < 0)
		log_error("names of containers are not answered: %s", err_msg(&err, r));
}

/* NULL until a container has needed it. */
static Resolver *resolver_there(Engine *en)
{
	Resolver *r;

	pthread_mutex_lock(&en->subnets_lock);
	r = en->resolver;
	pthread_mutex_unlock(&en->subnets_lock);
	return r;
}

void names_count(Engine *en, EngineCounts *ret)
{
	Resolver *r = resolver_there(en);
	ResolverStats s = r ? resolver_stats(r) : (ResolverStats){0};

	ret->dns_clients = s.clients;
	ret->dns_waiting = s.forwards;
	ret->dns_questions = s.questions;
	ret->dns_answered = s.answered;
	ret->dns_kept = s.kept;
	ret->dns_forwarded = s.forwarded;
	ret->dns_failed = s.failed;
}

static bool has_names(Engine *en, const ContainerEndpoint *ep)
{
	_cleanup_network_ Network *n = NULL;

	return endpoint_connected(ep) && network_find(en, ep->network_id, &n, NULL) >= 0 && !n->info.builtin;
}

static bool any_names(Engine *en, const Container *c)
{
	for (size_t i = 0; i < c->n_endpoints; i++)
		if (has_names(en, &c->endpoints[i]))
			return true;
	return false;
}

static int add_once(char ***v, const char *name)
{
	return str_empty(name) || strv_has(*v, name) ? 0 : strv_add(v, name);
}

int endpoint_names(const ContainerConfig *k, const char *name, const char *id, const char *network,
		   char ***ret)
{
	const ContainerEndpointConfig *asked = NULL;
	char short_id[13];
	int r = add_once(ret, name);

	for (size_t i = 0; i < k->n_endpoints; i++)
		if (streq0(network, k->endpoints[i].network))
			asked = &k->endpoints[i];
	snprintf(short_id, sizeof(short_id), "%.12s", id);
	for (size_t i = 0; r >= 0 && asked && asked->aliases && asked->aliases[i]; i++)
		r = add_once(ret, asked->aliases[i]);
	if (r >= 0)
		r = add_once(ret, short_id);
	if (r >= 0)
		r = add_once(ret, k->hostname);
	return r;
}

int engine_endpoint_names(const ContainerInfo *i, const char *network, char ***ret)
{
	return endpoint_names(&i->config, i->name, i->id, network, ret);
}

/* "other:alias" becomes "alias=other". */
static int add_links(char *const *links, char ***ret)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && links && links[i]; i++) {
		_cleanup_free_ char *name = NULL, *alias = NULL;

		r = link_parse(links[i], &name, &alias);
		if (r >= 0)
			r = strv_take(ret, strf("%s=%s", alias, name));
	}
	return r;
}

static int links_of(Container *c, const ContainerEndpoint *ep, char ***ret)
{
	const ContainerEndpointConfig *asked = endpoint_config_find(&c->config, ep->network);
	int r = asked ? add_links(asked->links, ret) : 0;

	/* --link of a container whose first network is one of the user's. */
	if (r >= 0 && streq0(c->config.host.network_mode, ep->network))
		r = add_links(c->config.host.links, ret);
	return r;
}

static int enter(Engine *en, Resolver *resolver, Container *c, const ContainerEndpoint *ep, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	_cleanup_strv_ char **names = NULL, **links = NULL;
	_cleanup_free_ char *name = NULL;
	int r;

	if (!endpoint_connected(ep))
		return 0;
	r = network_find(en, ep->network_id, &n, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->state);
	name = strdup(c->name);
	pthread_mutex_unlock(&c->state);
	if (!name || (!n->info.builtin && (endpoint_names(&c->config, name, c->id, ep->network, &names) < 0 ||
					   links_of(c, ep, &links) < 0)))
		return err_oom(e);

	ResolverEndpoint given = {
	    .client = c->id,
	    .network_id = n->info.id,
	    .network_name = n->info.name,
	    .internal = n->info.internal,
	    .subnet = {n->subnet[IP_V4], n->subnet[IP_V6]},
	    .names = names,
	    .links = links,
	};

	endpoint_addresses(ep, given.address);
	return resolver_endpoint_add(resolver, &given, e);
}

/* Takes the sockets over. */
static int begin(Engine *en, Container *c, ResolverSockets *sockets, Err *e)
{
	const ContainerHost *h = &c->config.host;
	ResolverClient client = {.id = c->id,
				 .servers = strv_len(h->dns) ? h->dns : NULL,
				 .options = strv_len(h->dns_options) ? h->dns_options : NULL};
	Resolver *resolver;
	int r = resolver_get(en, &resolver, e);

	if (r >= 0)
		r = resolver_client_add(resolver, &client, sockets, e);
	if (r < 0) {
		close_fd(&sockets->udp);
		close_fd(&sockets->tcp);
		return r;
	}
	for (size_t i = 0; r >= 0 && i < c->n_endpoints; i++)
		r = enter(en, resolver, c, &c->endpoints[i], e);
	if (r < 0)
		resolver_client_remove(resolver, c->id);
	return r;
}

/* Copies for the shim. */
static int hold(NetSetup *s, const ResolverSockets *sockets, Err *e)
{
	const int from[] = {sockets->udp, sockets->tcp};

	if (!s->hold_fds)
		s->hold_fds = calloc(NET_HOLD_MORE, sizeof(int));
	if (!s->hold_fds)
		return err_oom(e);
	for (size_t i = 0; i < ELEMENTSOF(from); i++) {
		int fd = fcntl(from[i], F_DUPFD_CLOEXEC, 3);

		if (fd < 0)
			return err_sys(e, errno, "copy a socket");
		s->hold_fds[s->n_hold_fds++] = fd;
	}
	return 0;
}

int names_open(Engine *en, Container *c, NetSetup *s, Err *e)
{
	ResolverSockets sockets;
	int r;

	if (!any_names(en, c))
		return 0;
	r = resolver_sockets_open(s->netns_fd, &sockets, e);
	if (r < 0)
		return r;
	r = hold(s, &sockets, e);
	if (r < 0) {
		close_fd(&sockets.udp);
		close_fd(&sockets.tcp);
		return r;
	}
	s->resolver = true;
	return begin(en, c, &sockets, e);
}

/* The container joins its first such network while it runs. A shim of an older version holds what it got at its start. */
static void hold_late(Engine *en, Container *c, const ResolverSockets *sockets)
{
	_cleanup_free_ char *dir = container_run_dir(en, c);
	const int fds[] = {sockets->udp, sockets->tcp};
	Err err = {0};
	int r = dir ? shim_ports(dir, fds, ELEMENTSOF(fds), NULL, 0, &err) : err_oom(&err);

	if (r < 0 && err.kind != ERR_CONFLICT)
		log_warn("container %.12s: what it asks the resolver while irekod restarts is lost: %s",
			 c->id, err_msg(&err, r));
}

/* What the shim holds is where the namespace's rules lead to. Not being allowed to look into it is as good as finding nothing. */
static int sockets_find(Engine *en, Container *c, pid_t shim_pid, int netns_fd, ResolverSockets *ret, Err *e)
{
	int r;

	if (shim_pid > 0 && resolver_sockets_take(shim_pid, ret, NULL) > 0)
		return 0;
	r = resolver_sockets_open(netns_fd, ret, e);
	if (r >= 0)
		hold_late(en, c, ret);
	return r;
}

int names_join(Engine *en, Container *c, const ContainerEndpoint *ep, int netns_fd, Err *e)
{
	Resolver *resolver = resolver_there(en);
	ResolverSockets sockets;
	pid_t shim_pid = 0;
	int r;

	if (resolver && resolver_client_known(resolver, c->id))
		return enter(en, resolver, c, ep, e);
	if (!has_names(en, ep))
		return 0;
	(void)container_shim_pid(en, c, &shim_pid, NULL);
	r = sockets_find(en, c, shim_pid, netns_fd, &sockets, e);
	if (r >= 0)
		r = begin(en, c, &sockets, e);
	return r < 0 ? r : net_files_resolver(en, c, true, e);
}

void names_leave(Engine *en, Container *c, const ContainerEndpoint *ep)
{
	Resolver *resolver = resolver_there(en);

	if (resolver)
		resolver_endpoint_remove(resolver, c->id, ep->network_id);
}

int names_settle(Engine *en, Container *c, const ContainerEndpoint *out, Err *e)
{
	if (any_names(en, c) || (out && !has_names(en, out)))
		return 0;
	names_close(en, c);
	return net_files_resolver(en, c, false, e);
}

void names_close(Engine *en, Container *c)
{
	Resolver *resolver = resolver_there(en);

	if (resolver)
		resolver_client_remove(resolver, c->id);
}

void names_rename(Engine *en, Container *c)
{
	Resolver *resolver = resolver_there(en);
	Err err = {0};
	int r = 0;

	if (!resolver || !resolver_client_known(resolver, c->id))
		return;
	for (size_t i = 0; r >= 0 && i < c->n_endpoints; i++)
		r = enter(en, resolver, c, &c->endpoints[i], &err);
	if (r < 0)
		log_warn("container %.12s: its new name is not known to its networks: %s", c->id,
			 err_msg(&err, r));
}

static int sockets_find_again(Engine *en, Container *c, pid_t shim_pid, ResolverSockets *ret, Err *e)
{
	_cleanup_free_ char *path = strf("/proc/%d/ns/net", (int)c->pid);
	_cleanup_close_ int netns_fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (netns_fd < 0)
		return path ? err_sys(e, errno, "open %s", path) : err_oom(e);
	return sockets_find(en, c, shim_pid, netns_fd, ret, e);
}

void names_adopt(Engine *en, Container *c, pid_t shim_pid)
{
	ResolverSockets sockets;
	Err err = {0};
	int r;

	if (!any_names(en, c))
		return;
	r = sockets_find_again(en, c, shim_pid, &sockets, &err);
	if (r >= 0)
		r = begin(en, c, &sockets, &err);
	if (r < 0)
		log_warn("container %.12s: names in its networks: %s", c->id, err_msg(&err, r));
}
