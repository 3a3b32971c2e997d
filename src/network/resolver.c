/* SPDX-License-Identifier: Apache-2.0 */
/* The resolver's thread, its slots, and the connections of clients. */
#include "network/resolver-internal.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define STACK_BYTES    (256 * 1024)
#define EVENTS_AT_ONCE 64

/* ---- slots ---- */

static int slots_grow(Resolver *r)
{
	size_t n = r->n_slots ? r->n_slots * 2 : 64;
	Slot **slots;
	uint32_t *unused;

	if (n > SLOTS_MAX)
		return -EMFILE;
	slots = reallocarray(r->slots, n, sizeof(Slot *));
	if (slots)
		r->slots = slots;
	unused = slots ? reallocarray(r->free, n, sizeof(*unused)) : NULL;
	if (!unused)
		return -ENOMEM;
	r->free = unused;
	for (size_t i = r->n_slots; i < n; i++) {
		r->slots[i] = NULL;
		r->free[r->n_free++] = (uint32_t)(n - 1 - (i - r->n_slots));
	}
	r->n_slots = n;
	return 0;
}

static uint64_t slot_number(const Slot *s)
{
	return (uint64_t)s->generation << 32 | s->index;
}

int slot_new(Resolver *r, int fd, uint32_t events, SlotFn ready, void *owner, Slot **ret)
{
	struct epoll_event ev = {.events = events};
	Slot *s;
	int k = r->n_free == 0 ? slots_grow(r) : 0;

	if (k < 0)
		return k;
	s = r->slots[r->free[r->n_free - 1]];
	if (!s)
		s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->index = r->free[r->n_free - 1];
	r->slots[s->index] = s;
	s->generation++;
	s->fd = -1;
	s->ready = ready;
	s->expired = NULL;
	s->owner = owner;
	s->deadline = 0;
	ev.data.u64 = slot_number(s);
	if (epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	s->fd = fd;
	r->n_free--;
	*ret = s;
	return 0;
}

void slot_events(Resolver *r, const Slot *s, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u64 = slot_number(s)};

	(void)epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev);
}

void slot_deadline(Resolver *r, Slot *s, int64_t at, SlotFn expired)
{
	s->deadline = at;
	s->expired = expired;
	if (at && (!r->sooner || at < r->sooner))
		r->sooner = at;
}

void slot_drop(Resolver *r, Slot *s)
{
	if (!s || s->fd < 0)
		return;
	/* A copy of the socket may live on in a shim, and its place in the set with it. */
	(void)epoll_ctl(r->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	close_fd(&s->fd);
	s->deadline = 0;
	r->free[r->n_free++] = s->index;
}

/* ---- answers ---- */

static void conn_flush(Resolver *r, Conn *c);

static void conn_answer(Resolver *r, Conn *c, const uint8_t *m, size_t len)
{
	free(c->out);
	c->out = malloc(len + 2);
	c->sent = 0;
	c->n_out = c->out ? len + 2 : 0;
	if (!c->out) {
		conn_drop(r, c);
		return;
	}
	c->out[0] = (uint8_t)(len >> 8);
	c->out[1] = (uint8_t)len;
	memcpy(c->out + 2, m, len);
	conn_flush(r, c);
}

void answer_send(Resolver *r, const Asker *to, const uint8_t *m, size_t len)
{
	if (to->conn)
		conn_answer(r, to->conn, m, len);
	else
		datagram_send(r, to, m, len);
}

void answer_code(Resolver *r, const Asker *to, const uint8_t *query, const DnsQuestion *q, int rcode)
{
	uint8_t out[DNS_UDP_PLAIN];
	DnsAnswer a;

	dns_answer_begin(&a, out, sizeof(out), query, q, rcode, false);
	answer_send(r, to, out, dns_answer_end(&a));
}

static size_t room_of(const Asker *to, const DnsQuestion *q)
{
	size_t said = MAX2(q->udp_size, (uint16_t)DNS_UDP_PLAIN);

	return to->conn ? DNS_MAX : MIN2(said, (size_t)DNS_UDP_MOST);
}

void question(Resolver *r, const Asker *asker, const uint8_t *query, size_t len)
{
	DnsQuestion q;
	size_t n;
	int code = dns_question_parse(query, len, &q);

	r->stats.questions++;
	if (code < 0)
		return;
	if (code > 0) {
		answer_code(r, asker, query, &q, code);
	} else if (names_answer(r, asker->client, query, &q, r->out, room_of(asker, &q), &n) ||
		   private_answer(r, asker->client, query, &q, r->out, room_of(asker, &q), &n)) {
		r->stats.answered++;
		answer_send(r, asker, r->out, n);
	} else {
		forward_start(r, asker, query, len, &q);
	}
}

/* ---- connections ---- */

void conn_drop(Resolver *r, Conn *c)
{
	if (c->waits)
		forwards_leave(r, c->client, c);
	slot_drop(r, c->slot);
	if (c->prev)
		c->prev->next = c->next;
	else
		r->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	r->n_conns--;
	c->client->conns--;
	free(c->out);
	free(c);
}

static void conn_expired(Resolver *r, Slot *s, uint32_t events _unused_)
{
	conn_drop(r, s->owner);
}

static void conn_rest(Resolver *r, Conn *c)
{
	slot_deadline(r, c->slot, clock_mono_ns() + CONN_IDLE_NS, conn_expired);
	slot_events(r, c->slot, c->n_out ? EPOLLOUT : c->waits ? 0 : EPOLLIN);
}

/* Sends what is left; the next question is read once all is out. */
static void conn_flush(Resolver *r, Conn *c)
{
	ssize_t n = send(c->slot->fd, c->out + c->sent, c->n_out - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		conn_drop(r, c);
		return;
	}
	c->sent += n > 0 ? (size_t)n : 0;
	if (c->sent == c->n_out) {
		free(take_ptr(c->out));
		c->n_out = c->sent = 0;
	}
	conn_rest(r, c);
}

static void conn_ready(Resolver *r, Slot *s, uint32_t events)
{
	Conn *c = s->owner;
	Asker asker = {.client = c->client, .conn = c};
	size_t want = c->n_in < 2 ? 2 : 2 + (size_t)(c->in[0] << 8 | c->in[1]);
	uint8_t query[DNS_QUERY_MAX];
	ssize_t n;

	if (events & (EPOLLERR | EPOLLHUP) || (c->n_out == 0 && c->waits)) {
		conn_drop(r, c);
		return;
	}
	if (c->n_out > 0) {
		conn_flush(r, c);
		return;
	}
	n = recv(s->fd, c->in + c->n_in, want - c->n_in, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_drop(r, c);
		return;
	}
	c->n_in += (size_t)n;
	if (c->n_in < 2)
		return;
	want = 2 + (size_t)(c->in[0] << 8 | c->in[1]);
	if (want > sizeof(c->in) || want == 2) {
		conn_drop(r, c);
		return;
	}
	if (c->n_in < want)
		return;
	memcpy(query, c->in + 2, want - 2);
	c->n_in = 0;
	/* What is no question ends the connection by its deadline. */
	conn_rest(r, c);
	question(r, &asker, query, want - 2);
}

static void conn_add(Resolver *r, Client *client, int fd)
{
	Conn *c = NULL;

	if (may_have(client->conns, r->n_conns, CONNS_SURE, CONNS_CLIENT, CONNS_MAX))
		c = calloc(1, sizeof(*c));
	if (!c || slot_new(r, fd, EPOLLIN, conn_ready, c, &c->slot) < 0) {
		free(c);
		close_fd(&fd);
		return;
	}
	c->client = client;
	c->next = r->conns;
	if (c->next)
		c->next->prev = c;
	r->conns = c;
	r->n_conns++;
	client->conns++;
	slot_deadline(r, c->slot, clock_mono_ns() + CONN_IDLE_NS, conn_expired);
}

static void tcp_ready(Resolver *r, Slot *s, uint32_t events _unused_)
{
	for (int i = 0; i < CONNS_CLIENT; i++) {
		int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		conn_add(r, s->owner, fd);
	}
}

/* ---- the thread ---- */

static int timeout_ms(const Resolver *r)
{
	int64_t left = r->sooner ? r->sooner - clock_mono_ns() : 0;

	return !r->sooner ? -1 : left <= 0 ? 0 : (int)MIN2(left / 1000000 + 1, (int64_t)60000);
}

static void expire(Resolver *r)
{
	int64_t now = clock_mono_ns();

	if (!r->sooner || now < r->sooner)
		return;
	r->sooner = 0;
	for (size_t i = 0; i < r->n_slots; i++) {
		Slot *s = r->slots[i];

		if (s && s->fd >= 0 && s->deadline && s->deadline <= now)
			s->expired(r, s, 0);
	}
	for (size_t i = 0; i < r->n_slots; i++) {
		const Slot *s = r->slots[i];

		if (s && s->fd >= 0 && s->deadline && (!r->sooner || s->deadline < r->sooner))
			r->sooner = s->deadline;
	}
}

static void dispatch(Resolver *r, const struct epoll_event *ev)
{
	uint32_t index = (uint32_t)ev->data.u64;
	Slot *s = index < r->n_slots ? r->slots[index] : NULL;

	if (s && s->fd >= 0 && slot_number(s) == ev->data.u64)
		s->ready(r, s, ev->events);
}

static void *resolver_thread(void *arg)
{
	Resolver *r = arg;
	struct epoll_event evs[EVENTS_AT_ONCE];

	pthread_setname_np(pthread_self(), "irekod-dns");
	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		int wait = timeout_ms(r), n;

		pthread_mutex_unlock(&r->lock);
		n = epoll_wait(r->epoll_fd, evs, ELEMENTSOF(evs), wait);
		pthread_mutex_lock(&r->lock);
		r->looked = false;
		for (int i = 0; i < n && !r->stop; i++)
			dispatch(r, &evs[i]);
		expire(r);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static void wake_ready(Resolver *r _unused_, Slot *s, uint32_t events _unused_)
{
	eventfd_t v;

	(void)eventfd_read(s->fd, &v);
}

int resolver_serve(Resolver *r, Err *e)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int k;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	k = pthread_create(&r->thread, &attr, resolver_thread, r);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	r->running = k == 0;
	return k ? err_sys(e, k, "start the resolver's thread") : 0;
}

int resolver_new(Resolver **ret, Err *e)
{
	_cleanup_(resolver_freep) Resolver *r = calloc(1, sizeof(*r));
	Slot *wake;
	int k;

	if (!r)
		return err_oom(e);
	pthread_mutex_init(&r->lock, NULL);
	r->wake_fd = r->home_fd = r->turn.fd = -1;
	r->cache = dns_cache_new();
	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!r->cache)
		return err_oom(e);
	if (r->epoll_fd >= 0)
		r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake_fd >= 0)
		r->home_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (r->home_fd < 0)
		return err_sys(e, errno, "prepare the resolver");
	k = slot_new(r, r->wake_fd, EPOLLIN, wake_ready, NULL, &wake);
	if (k < 0)
		return err_sys(e, k, "prepare the resolver");
	*ret = take_ptr(r);
	return 0;
}

/* ---- clients ---- */

static void client_drop(Resolver *r, Client *c)
{
	forwards_leave(r, c, NULL);
	for (Conn *k = r->conns, *next; k; k = next) {
		next = k->next;
		if (k->client == c)
			conn_drop(r, k);
	}
	client_endpoints_drop(r, c);
	slot_drop(r, c->udp);
	slot_drop(r, c->tcp);
	if (c->own)
		dns_cache_forget(r->cache, c->servers.scope);
	dns_cache_leave(r->cache, &c->share);
	HASH_DEL(r->clients, c);
	r->stats.clients--;
	free(c);
}

void resolver_free(Resolver *r)
{
	Client *c, *tmp;

	if (!r)
		return;
	if (r->running) {
		pthread_mutex_lock(&r->lock);
		r->stop = true;
		pthread_mutex_unlock(&r->lock);
		(void)eventfd_write(r->wake_fd, 1);
		pthread_join(r->thread, NULL);
	}
	HASH_ITER (hh, r->clients, c, tmp)
		client_drop(r, c);
	names_free(r);
	for (size_t i = 0; i < r->n_slots; i++) {
		slot_drop(r, r->slots[i]);
		free(r->slots[i]);
	}
	free(r->slots);
	free(r->free);
	if (r->n_slots == 0)
		close_fd(&r->wake_fd);
	close_fd(&r->epoll_fd);
	close_fd(&r->home_fd);
	dns_cache_free(r->cache);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static int client_watch(Resolver *r, Client *c, const ResolverSockets *s)
{
	int k = slot_new(r, s->udp, EPOLLIN, datagrams_ready, c, &c->udp);

	if (k < 0)
		return k;
	k = slot_new(r, s->tcp, EPOLLIN, tcp_ready, c, &c->tcp);
	if (k < 0) {
		(void)epoll_ctl(r->epoll_fd, EPOLL_CTL_DEL, s->udp, NULL);
		c->udp->fd = -1; /* the caller's again */
		r->free[r->n_free++] = c->udp->index;
	}
	return k;
}

int resolver_client_add(Resolver *r, const ResolverClient *client, const ResolverSockets *sockets, Err *e)
{
	Client *c, *there;
	int k;

	c = calloc(1, sizeof(*c));
	if (!c)
		return err_oom(e);
	snprintf(c->id, sizeof(c->id), "%s", client->id);
	c->own = client->servers;
	c->own_options = client->options;
	SCOPE_LOCK(&r->lock);
	servers_set(r, &c->servers, client->servers, client->options);
	HASH_FIND_STR(r->clients, client->id, there);
	k = there ? err_new(e, ERR_CONFLICT, "the resolver serves container %.12s already", client->id)
		  : client_watch(r, c, sockets);
	if (k < 0) {
		free(c);
		return there ? k
			     : err_sys(e, k, "watch the resolver's sockets of container %.12s", client->id);
	}
	HASH_ADD_STR(r->clients, id, c);
	r->stats.clients++;
	return 0;
}

void resolver_client_remove(Resolver *r, const char *client)
{
	Client *c;

	SCOPE_LOCK(&r->lock);
	HASH_FIND_STR(r->clients, client, c);
	if (c)
		client_drop(r, c);
}

bool resolver_client_known(Resolver *r, const char *client)
{
	Client *c;

	SCOPE_LOCK(&r->lock);
	HASH_FIND_STR(r->clients, client, c);
	return c != NULL;
}

ResolverStats resolver_stats(Resolver *r)
{
	SCOPE_LOCK(&r->lock);
	ResolverStats s = r->stats;

	s.forwards = r->n_forwards;
	s.connections = r->n_conns;
	return s;
}
