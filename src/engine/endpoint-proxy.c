/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports that the kernel cannot forward, and that ireko-proxy carries: those of an address family that the container has no way out
 * in, to its address of the other family; and what this host itself sends to ::1, which never leaves it.
 *
 * Which ports these are is nowhere written down: it follows from the ports and the ways out. What the proxy has is known by keys that begin with the
 * container's id. It goes on without the engine; the next one compares its list with what runs, and when it was killed its ports are handed to
 * another one, with the sockets that the shims hold. A list is compared container by container, under the lock of each.
 */
#include "engine/engine-internal.h"

#include "proxy/proxy.h"

#include <sys/epoll.h>

#define SOCKET_NAME "proxy.sock"
#define ID_LEN      64

/* ---- which ports ---- */

/* All but what is for ::1 is translated before it comes to the socket. */
static bool takes_loopback(const Engine *en, const NetworkPort *p)
{
	return !en->options.no_userland_proxy &&
	       (p->host_address == IP_V6_ANY || p->host_address == IP_V6_LO);
}

/* The endpoint that ports of the family are published on, or -1; where the container is a host by itself they are not. */
static int published_on(Engine *en, Container *c, int family)
{
	_cleanup_network_ Network *n = NULL;
	int i = endpoint_gateway(en, c, family);

	if (i >= 0 && (network_find(en, c->endpoints[i].network_id, &n, NULL) < 0 || network_is_sublink(n)))
		return -1;
	return i;
}

/* Where the proxy is to take it; false: it is not the proxy's. */
static bool proxied_target(Engine *en, Container *c, const NetworkPort *p, IpAddress *ret)
{
	int family = ip_index(p->host_address), i;
	IpAddress addresses[IP_FAMILIES];

	if (p->host_port == 0 || p->protocol == IPPROTO_SCTP)
		return false;
	i = published_on(en, c, family);
	if (i >= 0 && !takes_loopback(en, p))
		return false;
	if (i < 0) {
		family = !family;
		i = published_on(en, c, family);
	}
	if (i < 0)
		return false;
	endpoint_addresses(&c->endpoints[i], addresses);
	*ret = addresses[family];
	return *ret != 0;
}

static void proxy_key(const Container *c, const NetworkPort *p, char ret[PROXY_KEY_MAX])
{
	(void)snprintf(ret, PROXY_KEY_MAX, "%s/%s/%s", c->id, network_protocol_name(p->protocol),
		       ip_port_text(p->host_address, p->host_port).s);
}

static ProxyPort proxy_port(const Container *c, const NetworkPort *p, IpAddress target)
{
	ProxyPort r = {.target_port = p->container_port,
		       .protocol = p->protocol == IPPROTO_UDP ? PROXY_UDP : PROXY_TCP};

	proxy_key(c, p, r.key);
	for (int i = 15; i >= 0; i--, target >>= 8)
		r.target.s6_addr[i] = (uint8_t)target;
	return r;
}

static int add(Engine *en, const NetworkPort *p, const ProxyPort *what, int fd, Err *e)
{
	return err_ctx(e, proxy_add(en->proxy, what, fd, e), "publish port %u/%s", p->host_port,
		       network_protocol_name(p->protocol));
}

/* ---- start and end of a container ---- */

int proxied_publish(Engine *en, Container *c, const NetSetup *s, Err *e)
{
	IpAddress target;
	size_t held = 0;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < c->n_ports; i++) {
		if (proxied_target(en, c, &c->ports[i], &target)) {
			ProxyPort what = proxy_port(c, &c->ports[i], target);

			r = add(en, &c->ports[i], &what, s->hold_fds[held], e);
		}
		held += c->ports[i].host_port != 0;
	}
	return r;
}

static void withdraw(Engine *en, Container *c, const NetworkPort *p)
{
	char key[PROXY_KEY_MAX];
	Err err = {0};
	int r;

	proxy_key(c, p, key);
	r = proxy_remove(en->proxy, key, &err);
	if (r < 0)
		log_warn("container %.12s: unpublish port %u/%s: %s", c->id, p->host_port,
			 network_protocol_name(p->protocol), err_msg(&err, r));
}

void proxied_withdraw(Engine *en, Container *c)
{
	IpAddress target;

	for (size_t i = 0; i < c->n_ports; i++)
		if (proxied_target(en, c, &c->ports[i], &target))
			withdraw(en, c, &c->ports[i]);
}

/* ---- while it runs ---- */

/* The same ports twice: as they are published, and as the proxy has them. */
typedef struct Wanted {
	NetworkPort *ports;
	ProxyPort *all;
	size_t n;
} Wanted;

static void wanted_done(Wanted *w)
{
	free(w->ports);
	free(w->all);
}

static int wanted_make(Engine *en, Container *c, Wanted *ret, Err *e)
{
	IpAddress target;

	ret->ports = calloc(c->n_ports + 1, sizeof(*ret->ports));
	ret->all = calloc(c->n_ports + 1, sizeof(*ret->all));
	if (!ret->ports || !ret->all)
		return err_oom(e);
	for (size_t i = 0; i < c->n_ports; i++)
		if (proxied_target(en, c, &c->ports[i], &target)) {
			ret->ports[ret->n] = c->ports[i];
			ret->all[ret->n++] = proxy_port(c, &c->ports[i], target);
		}
	return 0;
}

/* With the sockets of its shim. */
static int add_again(Engine *en, Container *c, const Wanted *w, Err *e)
{
	_cleanup_free_ int *fds = calloc(w->n + 1, sizeof(*fds));
	pid_t pid = 0;
	int r = fds ? container_shim_pid(en, c, &pid, e) : err_oom(e);

	if (r >= 0)
		r = network_ports_take(pid, w->ports, w->n, fds, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < w->n; i++) {
		const NetworkPort *p = &w->ports[i];

		if (r >= 0 && fds[i] < 0)
			r = err_new(e, ERR_INTERNAL, "port %u/%s: its shim does not hold the socket",
				    p->host_port, network_protocol_name(p->protocol));
		if (r >= 0)
			r = add(en, p, &w->all[i], fds[i], e);
		close_fd(&fds[i]);
	}
	return r;
}

static bool is_listed(const ProxyPort *list, size_t n, const ProxyPort *want)
{
	for (size_t i = 0; i < n; i++)
		if (streq(list[i].key, want->key))
			return list[i].target_port == want->target_port &&
			       memcmp(&list[i].target, &want->target, sizeof(want->target)) == 0;
	return false;
}

static bool has_key(const Wanted *w, const char *key)
{
	for (size_t i = 0; i < w->n; i++)
		if (streq(w->all[i].key, key))
			return true;
	return false;
}

/* What of the list is the container's, but not wanted; *i is where to begin, and behind it then. */
static const ProxyPort *next_stray(const Container *c, const Wanted *w, const ProxyPort *list, size_t n,
				   size_t *i)
{
	for (; *i < n; ++*i)
		if (str_starts(list[*i].key, c->id) && !has_key(w, list[*i].key))
			return &list[(*i)++];
	return NULL;
}

static void drop_listed(Wanted *w, const ProxyPort *list, size_t n)
{
	size_t missing = 0;

	for (size_t i = 0; i < w->n; i++) {
		if (is_listed(list, n, &w->all[i]))
			continue;
		w->ports[missing] = w->ports[i];
		w->all[missing++] = w->all[i];
	}
	w->n = missing;
}

/* What is there as it should be stays, with its connections. */
int proxied_settle(Engine *en, Container *c, Err *e)
{
	_cleanup_(wanted_done) Wanted w = {0};
	_cleanup_free_ ProxyPort *list = NULL;
	const ProxyPort *stray;
	size_t n = 0, at = 0;
	int r = proxy_list(en->proxy, &list, &n, e);

	if (r >= 0)
		r = wanted_make(en, c, &w, e);
	while (r >= 0 && (stray = next_stray(c, &w, list, n, &at)))
		r = proxy_remove(en->proxy, stray->key, e);
	drop_listed(&w, list, n);
	return r >= 0 && w.n > 0 ? add_again(en, c, &w, e) : r;
}

/* ---- what the proxy has, and what it should ---- */

static bool has_network(Container *c)
{
	ContainerStatus status = container_status(c);

	return status == CONTAINER_RUNNING || status == CONTAINER_PAUSED;
}

static void note(const Container *c, int r, const Err *err)
{
	if (r < 0)
		log_warn("ports%s%.12s that the proxy carries: %s", c ? " of container " : "", c ? c->id : "",
			 err_msg(err, r));
}

/* The list may be older than what was done since; whoever differs is looked at again. */
static int settle_if_differs(Engine *en, Container *c, const ProxyPort *list, size_t n, Err *e)
{
	_cleanup_(wanted_done) Wanted w = {0};
	size_t at = 0;
	int r = wanted_make(en, c, &w, e);

	if (r < 0)
		return r;
	if (!next_stray(c, &w, list, n, &at)) {
		drop_listed(&w, list, n);
		if (w.n == 0)
			return 0;
	}
	return proxied_settle(en, c, e);
}

/* Of a container that does not run, or is no more. */
static int remove_dead(Engine *en, const ProxyPort *have, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	char id[ID_LEN + 1];
	int r = 0;

	(void)snprintf(id, sizeof(id), "%.*s", ID_LEN, have->key);
	if (container_find(en, id, &c, NULL) < 0)
		return proxy_remove(en->proxy, have->key, e);
	container_lock(c);
	if (!has_network(c))
		r = proxy_remove(en->proxy, have->key, e);
	pthread_mutex_unlock(&c->life);
	return r;
}

static int list_living(Engine *en, ProxyPort **ret, size_t *ret_n, Err *e)
{
	/* One that has only been silent for too long is still there. */
	int r = proxy_find(en->proxy, e);

	*ret = NULL;
	*ret_n = 0;
	if (r >= 0)
		r = proxy_list(en->proxy, ret, ret_n, e);
	for (size_t i = 0; r >= 0 && i < *ret_n; i++)
		r = remove_dead(en, &(*ret)[i], e);
	return r;
}

void proxied_remove_dead(Engine *en)
{
	_cleanup_free_ ProxyPort *list = NULL;
	size_t n;
	Err err = {0};

	note(NULL, list_living(en, &list, &n, &err), &err);
}

static void settle_one(Engine *en, Container *c, const ProxyPort *list, size_t n)
{
	Err err = {0};
	int r = 0;

	container_lock(c);
	if (has_network(c) && c->n_ports > 0)
		r = settle_if_differs(en, c, list, n, &err);
	pthread_mutex_unlock(&c->life);
	note(c, r, &err);
}

void proxied_reconcile(Engine *en)
{
	_cleanup_free_ ProxyPort *list = NULL;
	_cleanup_free_ Container **all = NULL;
	size_t n, n_all;
	Err err = {0};

	note(NULL, list_living(en, &list, &n, &err), &err);
	all = containers_all(en, &n_all);
	for (size_t i = 0; all && i < n_all; i++) {
		if (has_network(all[i]))
			settle_one(en, all[i], list, n);
		container_unref(all[i]);
	}
}

/* ---- the process ---- */

static void reconcile_job(void *arg)
{
	proxied_reconcile(arg);
}

static void check_job(void *arg)
{
	Engine *en = arg;

	proxy_check(en->proxy);
}

/* Who calls may hold the lock of a container. */
static void in_background(Engine *en, void (*job)(void *arg))
{
	int r = background_run(en->background, job, en);

	if (r < 0)
		log_warn("ports that the proxy carries: start a thread that looks after them: %s",
			 strerror(-r));
}

static void lost(void *user)
{
	in_background(user, reconcile_job);
}

static void connected(void *user, int fd)
{
	Engine *en = user;
	struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = &en->proxy};

	if (epoll_ctl(en->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		log_warn("watch ireko-proxy: %s", strerror(errno));
}

void proxied_hung_up(Engine *en)
{
	in_background(en, check_job);
}

int proxied_open(Engine *en, Err *e)
{
	_cleanup_free_ char *program = strf("%s/ireko-proxy", en->options.helper_dir);
	_cleanup_free_ char *socket = strf("%s/" SOCKET_NAME, en->options.exec_root);
	ProxyOptions o = {program, socket, connected, lost, en};
	Err err = {0};
	int r = program && socket ? proxy_new(&o, &en->proxy, e) : err_oom(e);

	if (r < 0)
		return r;
	/* One that does not answer is no reason not to start. */
	r = proxy_find(en->proxy, &err);
	if (r < 0)
		log_warn("%s", err_msg(&err, r));
	return 0;
}
