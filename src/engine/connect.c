/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container that exists joins a network or leaves it.
 *
 * In one that runs, the interface comes first and the record after it when it joins, and the other way round when it leaves: an
 * interface that a crash leaves without a record is removed at the next start (networks_reconcile), while one that is missing would
 * not be noticed. Whatever endpoint is the way out by then has the default route and the published ports.
 *
 * The record does not tell whose route and ports a change that a crash cut short has left, nor what the container's files say. So a mark lies in the
 * run directory as long as a change lasts, with the addresses that come or go, and a start that finds it settles all of that anew.
 */
#include "engine/engine-internal.h"

/* -1 in *ret_netns if it does not run. */
static int open_namespace(Container *c, int *ret_netns, Err *e)
{
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	_cleanup_free_ char *path = NULL;
	ContainerStatus s = container_status(c);
	pid_t pid;
	int r;

	*ret_netns = -1;
	if (s != CONTAINER_RUNNING && s != CONTAINER_PAUSED)
		return 0;
	r = container_shim(c, &shim, e);
	if (r >= 0)
		r = shim_first_pid(shim, &pid, e);
	if (r < 0)
		return r;
	path = strf("/proc/%d/ns/net", (int)pid);
	if (!path)
		return err_oom(e);
	*ret_netns = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_netns < 0 ? err_sys(e, errno, "open the network namespace of container %.12s", c->id) : 0;
}

static int endpoint_index(const Container *c, const char *network)
{
	for (size_t i = 0; i < c->n_endpoints; i++)
		if (streq0(c->endpoints[i].network, network))
			return (int)i;
	return -1;
}

static int check_mode(const Container *c, const Network *n, Err *e)
{
	const char *arg;
	NetMode mode = net_mode(c, &arg);

	if (mode == NET_HOST || streq(n->info.driver, "host"))
		return err_new(
		    e, ERR_INVALID,
		    "container cannot be disconnected from host network or connected to host network");
	if (mode == NET_CONTAINER)
		return err_new(e, ERR_INVALID,
			       "container sharing network namespace with another container or host cannot be "
			       "connected to "
			       "any other network");
	if (mode == NET_NONE || streq(n->info.driver, "null"))
		return err_new(
		    e, ERR_INVALID,
		    "container cannot be connected to multiple networks with one of the networks in private "
		    "(none) mode");
	return 0;
}

/* ---- the lists ---- */

static int append(Engine *en, Container *c, const char *network, const ContainerEndpointConfig *asked, Err *e)
{
	_cleanup_json_ json_t *doc = asked ? container_endpoint_encode(asked) : NULL;
	ContainerEndpointConfig ep = {0};
	int r = asked && !doc ? err_oom(e) : container_endpoint_decode(network, doc, &ep, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&c->state);
	r = container_endpoint_add(&c->config, &ep, e);
	pthread_mutex_unlock(&c->state);
	if (r < 0) {
		container_endpoint_done(&ep);
		return r;
	}
	return endpoint_append(en, c, network, e);
}

static void drop_config(ContainerConfig *k, const char *network)
{
	ContainerEndpointConfig *ep = endpoint_config_find(k, network);

	if (!ep)
		return;
	container_endpoint_done(ep);
	memmove(ep, ep + 1, (size_t)(k->endpoints + k->n_endpoints - ep - 1) * sizeof(*ep));
	k->n_endpoints--;
}

/* Both entries; an endpoint that is still in use goes to *ret, for its interface to be removed. */
static void take_out(Container *c, size_t i, ContainerEndpoint *ret)
{
	pthread_mutex_lock(&c->state);
	*ret = c->endpoints[i];
	memmove(&c->endpoints[i], &c->endpoints[i + 1], (c->n_endpoints - i - 1) * sizeof(*c->endpoints));
	c->n_endpoints--;
	drop_config(&c->config, ret->network);
	pthread_mutex_unlock(&c->state);
}

static void forget(ContainerEndpoint *ep)
{
	ContainerInfo garbage = {.endpoints = calloc(1, sizeof(*ep)), .n_endpoints = 1};

	if (!garbage.endpoints)
		return;
	*garbage.endpoints = *ep;
	container_info_done(&garbage);
}

/* ---- the way out ---- */

/* The networks that are it, in each family; NULL: none. */
typedef struct Ways {
	char *network[IP_FAMILIES];
} Ways;

static void ways_done(Ways *w)
{
	for (int f = 0; f < IP_FAMILIES; f++)
		free(w->network[f]);
}

static int ways_now(Engine *en, Container *c, Ways *ret, Err *e)
{
	for (int f = 0; f < IP_FAMILIES; f++) {
		int i = endpoint_gateway(en, c, f);

		if (i >= 0 && !(ret->network[f] = strdup(c->endpoints[i].network)))
			return err_oom(e);
	}
	return 0;
}

static int settle_family(Engine *en, Container *c, int family, int netns_fd, const char *before, Err *e)
{
	int i = endpoint_gateway(en, c, family), r;
	const ContainerEndpoint *ep = i < 0 ? NULL : &c->endpoints[i];
	NetworkEndpointIp route;

	if (ep ? streq0(before, ep->network) : !before)
		return 0;
	if (!ep)
		return network_default_route_set(netns_fd, family, NULL, NULL, e);
	endpoint_route(en, ep, family, &route);
	r = network_default_route_set(netns_fd, family, ep->interface, &route, e);
	return r >= 0 && c->n_ports > 0 ? ports_publish(en, c, family, ep, e) : r;
}

/* After a change: the default routes and the ports go where they belong now. */
static int settle_gateways(Engine *en, Container *c, int netns_fd, const Ways *before, Err *e)
{
	int r = 0;

	for (int f = 0; r >= 0 && f < IP_FAMILIES; f++)
		r = settle_family(en, c, f, netns_fd, before->network[f], e);
	return r >= 0 && c->n_ports > 0 ? proxied_settle(en, c, e) : r;
}

/* Its ports go first, as one port cannot lead to two places. */
static void leave_gateway(Engine *en, Container *c, int family, int gateway)
{
	if (gateway >= 0 && c->n_ports > 0)
		ports_withdraw(en, c, family, &c->endpoints[gateway]);
}

/* ---- a change that is under way ---- */

#define MARK      "network-change"
#define MARK_SIZE 256

static char *mark_path(Engine *en, const Container *c)
{
	_cleanup_free_ char *dir = container_run_dir(en, c);

	return dir ? strf("%s/" MARK, dir) : NULL;
}

/* ep: what comes or goes, or NULL as long as its addresses are not known. */
static int mark_set(Engine *en, const Container *c, const ContainerEndpoint *ep, Err *e)
{
	_cleanup_free_ char *path = mark_path(en, c), *text = NULL;
	int r;

	text = strf("%s\n%s\n", ep && ep->address ? ep->address : "", ep && ep->address6 ? ep->address6 : "");
	if (!path || !text)
		return err_oom(e);
	r = file_replace_at(AT_FDCWD, path, text, strlen(text), 0600, false);
	return r < 0 ? err_sys(e, r, "write %s", path) : 0;
}

/* One that stays costs the next start some work. */
static void mark_clear(Engine *en, const Container *c)
{
	_cleanup_free_ char *path = mark_path(en, c);

	if (path)
		(void)unlink(path);
}

/* ---- connect ---- */

static int undo_connect(Engine *en, Container *c, const char *network, int netns_fd, const Ways *before,
			int r, Err *e)
{
	const Ways nothing = {{(char *)"", (char *)""}};
	ContainerEndpoint out = {0};
	int i = endpoint_index(c, network);
	Err more = {0};
	int again = 0;

	if (i < 0) {
		pthread_mutex_lock(&c->state);
		drop_config(&c->config, network);
		pthread_mutex_unlock(&c->state);
		return r;
	}
	if (netns_fd >= 0) {
		names_leave(en, c, &c->endpoints[i]);
		(void)net_files_update(en, c, &c->endpoints[i], NULL, NULL);
		endpoint_leave(en, c, (size_t)i, netns_fd);
	}
	take_out(c, (size_t)i, &out);
	forget(&out);
	if (netns_fd >= 0 && (before->network[IP_V4] || before->network[IP_V6]))
		again = settle_gateways(en, c, netns_fd, &nothing, &more);
	if (netns_fd >= 0 && again >= 0)
		mark_clear(en, c);
	return again < 0 ? err_ctx(e, r, "the default route is not as it was (%s)", err_msg(&more, again))
			 : r;
}

static int connect_running(Engine *en, Container *c, size_t i, int netns_fd, const Ways *before, Err *e)
{
	static const bool no[IP_FAMILIES];
	int r = mark_set(en, c, NULL, e);

	if (r >= 0)
		r = endpoint_join(en, c, i, netns_fd, no, e);
	if (r >= 0)
		r = mark_set(en, c, &c->endpoints[i], e);
	if (r < 0)
		return r;
	for (int f = 0; f < IP_FAMILIES; f++)
		if (before->network[f] && endpoint_gateway(en, c, f) == (int)i)
			leave_gateway(en, c, f, endpoint_index(c, before->network[f]));
	r = settle_gateways(en, c, netns_fd, before, e);
	if (r >= 0)
		r = net_files_update(en, c, NULL, &c->endpoints[i], e);
	return r < 0 ? r : names_join(en, c, &c->endpoints[i], netns_fd, e);
}

static int connect_locked(Engine *en, Container *c, const Network *n, const ContainerEndpointConfig *asked,
			  Err *e)
{
	_cleanup_close_ int netns_fd = -1;
	_cleanup_(ways_done) Ways before = {0};
	ContainerEndpoint out = {0};
	int i, r = open_namespace(c, &netns_fd, e);

	if (r < 0)
		return r;
	i = endpoint_index(c, n->info.name);
	if (i >= 0 && netns_fd >= 0)
		return err_new(e, ERR_DENIED, "endpoint with name %s already exists in network %s", c->name,
			       n->info.name);
	if (i >= 0) {
		take_out(c, (size_t)i, &out);
		forget(&out);
	}
	r = netns_fd >= 0 ? ways_now(en, c, &before, e) : 0;
	if (r < 0)
		return r;
	r = append(en, c, n->info.name, asked, e);
	if (r >= 0 && netns_fd >= 0)
		r = connect_running(en, c, c->n_endpoints - 1, netns_fd, &before, e);
	if (r >= 0)
		r = container_save(en, c, e);
	if (r < 0)
		return undo_connect(en, c, n->info.name, netns_fd, &before, r, e);
	if (netns_fd >= 0)
		mark_clear(en, c);
	else
		endpoint_event(en, c, &c->endpoints[c->n_endpoints - 1], "connect");
	return 0;
}

int engine_network_connect(Engine *en, const char *network, const char *container,
			   const ContainerEndpointConfig *config, Err *e)
{
	static const ContainerEndpointConfig nothing;
	_cleanup_network_ Network *n = NULL;
	_cleanup_container_ Container *c = NULL;
	int r = network_find(en, network, &n, e);

	if (r >= 0)
		r = container_find(en, container, &c, e);
	if (r >= 0)
		r = check_mode(c, n, e);
	if (r >= 0)
		r = endpoint_config_check(n, config ?: &nothing, e);
	if (r < 0)
		return r;
	container_lock(c);
	r = c->removed ? err_new(e, ERR_NOT_FOUND, "No such container: %s", container)
		       : connect_locked(en, c, n, config, e);
	pthread_mutex_unlock(&c->life);
	return r;
}

/* ---- for a moment ---- */

int connection_suspend(Engine *en, Container *c, const char *network, Err *e)
{
	_cleanup_close_ int netns_fd = -1;
	int i = endpoint_index(c, network), r = open_namespace(c, &netns_fd, e);

	if (r < 0 || netns_fd < 0 || i < 0 || !endpoint_connected(&c->endpoints[i]))
		return r;
	for (int f = 0; f < IP_FAMILIES; f++)
		if (endpoint_gateway(en, c, f) == i)
			leave_gateway(en, c, f, i);
	names_leave(en, c, &c->endpoints[i]);
	r = net_files_update(en, c, &c->endpoints[i], NULL, e);
	endpoint_leave(en, c, (size_t)i, netns_fd);
	return r < 0 ? r : container_save(en, c, e);
}

int connection_resume(Engine *en, Container *c, const char *network, Err *e)
{
	/* No network is called so: routes and ports are all settled anew. */
	const Ways nothing = {{(char *)"", (char *)""}};
	_cleanup_close_ int netns_fd = -1;
	int i = endpoint_index(c, network), r = open_namespace(c, &netns_fd, e);

	if (r < 0 || netns_fd < 0 || i < 0 || endpoint_connected(&c->endpoints[i]))
		return r;
	r = connect_running(en, c, (size_t)i, netns_fd, &nothing, e);
	return r < 0 ? r : container_save(en, c, e);
}

/* ---- disconnect ---- */

/* Its entries are gone by now; `out` is what it had. */
static int disconnect_running(Engine *en, Container *c, ContainerEndpoint *out, int netns_fd,
			      const Ways *before, Err *e)
{
	Container ghost = {.endpoints = out, .n_endpoints = 1};
	int r = 0;

	names_leave(en, c, out);
	if (endpoint_connected(out))
		r = net_files_update(en, c, out, NULL, e);
	if (r >= 0)
		r = names_settle(en, c, out, e);
	memcpy(ghost.id, c->id, sizeof(ghost.id));
	pthread_mutex_init(&ghost.state, NULL);
	endpoint_leave(en, &ghost, 0, netns_fd);
	pthread_mutex_destroy(&ghost.state);
	return r < 0 ? r : settle_gateways(en, c, netns_fd, before, e);
}

static int disconnect_locked(Engine *en, Container *c, const char *network, Err *e)
{
	_cleanup_close_ int netns_fd = -1;
	_cleanup_(ways_done) Ways before = {0};
	ContainerEndpoint out = {0};
	int i = endpoint_index(c, network), r;

	if (i < 0)
		return err_new(e, ERR_DENIED, "container %s is not connected to network %s", c->id, network);
	r = open_namespace(c, &netns_fd, e);
	if (r >= 0 && netns_fd >= 0)
		r = ways_now(en, c, &before, e);
	if (r >= 0 && netns_fd >= 0)
		r = mark_set(en, c, &c->endpoints[i], e);
	if (r < 0)
		return r;
	for (int f = 0; netns_fd >= 0 && f < IP_FAMILIES; f++)
		if (endpoint_gateway(en, c, f) == i)
			leave_gateway(en, c, f, i);
	take_out(c, (size_t)i, &out);
	r = container_save(en, c, e);
	if (netns_fd >= 0) {
		int gone = disconnect_running(en, c, &out, netns_fd, &before, r < 0 ? NULL : e);

		r = r < 0 ? r : gone;
		if (r >= 0)
			mark_clear(en, c);
	} else {
		endpoint_event(en, c, &out, "disconnect");
	}
	forget(&out);
	return r;
}

int engine_network_disconnect(Engine *en, const char *network, const char *container, bool force, Err *e)
{
	_cleanup_network_ Network *n = NULL;
	_cleanup_container_ Container *c = NULL;
	const char *arg;
	int r = network_find(en, network, &n, e);

	if (r == -ENOENT && force)
		r = 0;
	if (r >= 0)
		r = container_find(en, container, &c, e);
	if (r < 0)
		return r;
	if (net_mode(c, &arg) == NET_HOST)
		return err_new(
		    e, ERR_INVALID,
		    "container cannot be disconnected from host network or connected to host network");
	container_lock(c);
	r = c->removed ? err_new(e, ERR_NOT_FOUND, "No such container: %s", container)
		       : disconnect_locked(en, c, n ? n->info.name : network, e);
	pthread_mutex_unlock(&c->life);
	return r;
}

/* ---- after a crash ---- */

static bool has_address(const Container *c, const ContainerEndpoint *ep)
{
	for (size_t i = 0; i < c->n_endpoints; i++)
		if ((*ep->address && streq0(c->endpoints[i].address, ep->address)) ||
		    (*ep->address6 && streq0(c->endpoints[i].address6, ep->address6)))
			return true;
	return false;
}

static int keep_interfaces(const Container *c, int netns_fd, Err *e)
{
	_cleanup_strv_ char **known = NULL;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < c->n_endpoints; i++)
		if (endpoint_connected(&c->endpoints[i]))
			r = strv_add(&known, c->endpoints[i].interface);
	return r < 0 ? err_oom(e) : network_interfaces_keep(netns_fd, known, e);
}

/* mark: two lines, an address of each family. */
static int settle_anew(Engine *en, Container *c, char *mark, Err *e)
{
	const Ways nothing = {{NULL, NULL}};
	_cleanup_close_ int netns_fd = -1;
	char *four = strsep(&mark, "\n"), *six = mark ? strsep(&mark, "\n") : NULL;
	ContainerEndpoint ep = {.address = four ?: (char *)"", .address6 = six ?: (char *)""};
	int r = open_namespace(c, &netns_fd, e);

	if (r < 0 || netns_fd < 0)
		return r;
	r = keep_interfaces(c, netns_fd, e);
	if (r >= 0 && !has_address(c, &ep))
		r = net_files_update(en, c, &ep, NULL, e);
	if (r >= 0)
		r = names_settle(en, c, NULL, e);
	return r < 0 ? r : settle_gateways(en, c, netns_fd, &nothing, e);
}

void connect_recover(Engine *en, Container *c)
{
	_cleanup_free_ char *path = mark_path(en, c), *mark = NULL;
	Err err = {0};
	int r;

	if (!path || access(path, F_OK) < 0)
		return;
	container_lock(c);
	r = file_read_at(AT_FDCWD, path, MARK_SIZE, &mark, NULL);
	if (r >= 0 && !c->removed)
		r = settle_anew(en, c, mark, &err);
	if (r >= 0)
		mark_clear(en, c);
	else
		log_warn("container %.12s: a change of its networks was cut short: %s", c->id,
			 err_msg(&err, r));
	pthread_mutex_unlock(&c->life);
}
