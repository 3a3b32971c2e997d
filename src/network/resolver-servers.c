/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which servers are asked, and which of them first.
 *
 * The host's are those of its resolv.conf at this moment, whoever wrote it and through whatever symlinks: one stat(2) in each round of the thread
 * that asks or has kept something is what following it costs. A stub on the host's loopback is asked like any other, from the host's namespace; that is
 * how names find the server of the link that they belong to (systemd-resolved, NetworkManager with dnsmasq).
 *
 * The order is the file's, as glibc has it. One that was silent is asked last for a while, a longer one each time; anything heard of it ends that.
 */
#include "network/resolver-internal.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>

#define RESOLV_CONF   "/etc/resolv.conf"
#define DNS_PORT      53
#define WAIT_NS       (2 * SECOND_NS) /* then the next one is asked too */
#define ATTEMPTS      2
#define ATTEMPTS_MOST 5
#define SETTLED_NS    (SECOND_NS / 10)
#define DOWN_NS       (10 * SECOND_NS)
#define DOWN_DOUBLED  5 /* times at most */

static bool parse_server(const char *text, Server *ret)
{
	char plain[INET6_ADDRSTRLEN];
	size_t n = strcspn(text, "%");
	const char *zone = text[n] ? text + n + 1 : "";

	*ret = (Server){0};
	if (n >= sizeof(plain))
		return false;
	memcpy(plain, text, n);
	plain[n] = '\0';
	return ip_parse(plain, &ret->at) >= 0 && !(*zone && ip_is_v4(ret->at)) &&
	       (size_t)snprintf(ret->zone, sizeof(ret->zone), "%s", zone) < sizeof(ret->zone);
}

/* "name:number", within bounds; false if it is another option. */
static bool take_number(const char *option, const char *name, unsigned most, unsigned *ret)
{
	size_t n = strlen(name);
	unsigned long v;
	char *end;

	if (strncmp(option, name, n) != 0 || option[n] < '0' || option[n] > '9')
		return false;
	v = strtoul(option + n, &end, 10);
	*ret = (unsigned)MIN2(v, (unsigned long)most);
	return *end == '\0';
}

static void take_option(Servers *s, const char *option)
{
	unsigned n;

	if (take_number(option, "timeout:", 30, &n)) {
		s->wait = MAX2(n, 1U) * SECOND_NS;
		s->timed = true;
	} else if (take_number(option, "attempts:", ATTEMPTS_MOST, &n))
		s->attempts = MAX2(n, 1U);
	else if (take_number(option, "ndots:", 15, &n))
		s->qualified = n > 0;
	else if (streq(option, "rotate"))
		s->rotate = true;
	else if (streq(option, "use-vc"))
		s->stream = true;
}

void servers_set(Resolver *r, Servers *s, char *const *addresses, char *const *options)
{
	*s = (Servers){.scope = ++r->scopes, .attempts = ATTEMPTS, .wait = WAIT_NS};
	for (size_t i = 0; addresses && addresses[i] && s->n < SERVERS_MAX; i++)
		s->n += parse_server(addresses[i], &s->v[s->n]);
	for (size_t i = 0; options && options[i]; i++)
		take_option(s, options[i]);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Times of files move by the tick: what was written within the last one may be written again and look the same. */
static bool has_settled(const struct stat *st)
{
	int64_t age = clock_now_ns() - (st->st_ctim.tv_sec * SECOND_NS + st->st_ctim.tv_nsec);

	return age < 0 || age > SETTLED_NS;
}

static bool same_servers(const Servers *a, const Servers *b)
{
	bool same = a->n == b->n && a->attempts == b->attempts && a->wait == b->wait &&
		    a->timed == b->timed && a->rotate == b->rotate && a->stream == b->stream &&
		    a->qualified == b->qualified;

	for (size_t i = 0; same && i < a->n; i++)
		same = a->v[i].at == b->v[i].at && streq(a->v[i].zone, b->v[i].zone);
	return same;
}

static void follow_host(Resolver *r)
{
	_cleanup_strv_ char **addresses = NULL, **options = NULL;
	struct stat st = {0};
	Servers fresh;
	bool seen;

	if (r->looked)
		return;
	r->looked = true;
	if (stat(RESOLV_CONF, &st) < 0)
		st = (struct stat){0};
	seen = r->host.scope && same_file(&st, &r->file);
	if (seen && r->settled)
		return;
	r->file = st;
	r->settled = has_settled(&st);
	/* What could not be read now may be later. */
	if (resolv_host_own(&addresses, &options, NULL) < 0)
		r->settled = false;
	servers_set(r, &fresh, addresses, options);
	if (seen && same_servers(&fresh, &r->host))
		return;
	dns_cache_forget(r->cache, r->host.scope);
	r->host = fresh;
}

Servers *servers_of_host(Resolver *r)
{
	follow_host(r);
	return &r->host;
}

Servers *servers_of(Resolver *r, Client *c)
{
	bool way_out = c->own;

	for (size_t i = 0; !way_out && i < c->n_endpoints; i++)
		way_out = !c->endpoints[i].internal;
	if (!way_out)
		return NULL;
	return c->own ? &c->servers : servers_of_host(r);
}

void client_moved(Resolver *r, Client *c)
{
	if (!c->own)
		return;
	dns_cache_forget(r->cache, c->servers.scope);
	c->servers.scope = ++r->scopes;
}

void servers_order(Servers *s, size_t order[SERVERS_MAX])
{
	size_t first = s->rotate && s->n ? s->turn++ % s->n : 0, n = 0;
	int64_t now = clock_mono_ns();

	for (int down = 0; down < 2; down++)
		for (size_t i = 0; i < s->n; i++) {
			size_t at = (first + i) % s->n;

			if ((s->v[at].down_until > now) == down)
				order[n++] = at;
		}
}

static Server *server_at(Servers *s, IpAddress at)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].at == at)
			return &s->v[i];
	return NULL;
}

void servers_heard(Servers *s, IpAddress at)
{
	Server *server = server_at(s, at);

	if (!server)
		return;
	server->silent = 0;
	server->down_until = 0;
	server->heard = clock_mono_ns();
}

void servers_silent(Servers *s, IpAddress at, int64_t since)
{
	Server *server = server_at(s, at);
	int64_t now = clock_mono_ns();

	/* Another question was answered meanwhile, or it counts as silent already: this one is its own matter. */
	if (!server || server->heard >= since || server->down_until > now)
		return;
	server->down_until = now + (DOWN_NS << MIN2(server->silent, (unsigned)DOWN_DOUBLED));
	server->silent++;
}

static int connect_here(const Server *s, int type)
{
	struct sockaddr_storage at;
	socklen_t len = ip_to_sockaddr(s->at, DNS_PORT, &at);
	_cleanup_close_ int fd = socket(at.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (s->zone[0])
		((struct sockaddr_in6 *)&at)->sin6_scope_id = if_nametoindex(s->zone);
	if (fd < 0 || (connect(fd, (const struct sockaddr *)&at, len) < 0 && errno != EINPROGRESS))
		return -1;
	return take_fd(&fd);
}

/* The thread stays no longer than for the socket, because it would keep the namespace of a container that ends. Should it not get back, nothing is
 * asked of the host's servers until it does. */
static bool go_home(Resolver *r)
{
	r->away = r->away && setns(r->home_fd, CLONE_NEWNET) < 0;
	return !r->away;
}

int server_connect(Resolver *r, const Server *s, const Client *inside, int type)
{
	_cleanup_close_ int netns = -1;
	int fd;

	if (!inside)
		return go_home(r) ? connect_here(s, type) : -1;
	netns = ioctl(inside->udp->fd, SIOCGSKNS);
	if (netns < 0 || setns(netns, CLONE_NEWNET) < 0)
		return -1;
	r->away = true;
	fd = connect_here(s, type);
	(void)go_home(r);
	return fd;
}
