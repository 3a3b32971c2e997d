/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions that are for other servers, and what they said before.
 *
 * What goes out is connected to one server: its port is the kernel's random choice, its id ours, and only that server is heard. One that is
 * silent is followed by the next and still listened to; one that is unable is not asked again. What came by TCP is asked by TCP, and so is
 * what was cut short for somebody who has room for the whole. Who asks what is being asked already waits with the others, and gets the
 * question back in the letters that it used. All is over before clients give up (5 s).
 *
 * Answers are kept for as long as they say, those of a stub on the host's loopback only for moments: it has a memory of its own, and knows sooner
 * what changed. What has options or records behind the question is about who asks, so it is neither shared nor kept.
 */
#include "network/resolver-internal.h"

#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <utlist.h>

#define TOTAL_NS      (9 * SECOND_NS / 2)
#define AGAIN_NS      SECOND_NS       /* for servers after the first */
#define DOUBTFUL_NS   (SECOND_NS / 2) /* for one that was silent the last time */
#define PAUSE_NS      (3 * SECOND_NS / 10)
#define KEEP_MOST     3600U
#define KEEP_NEGATIVE 300U
#define STUB_MOST     10U
#define STUB_NEGATIVE 3U

struct Waiter {
	Asker asker;
	uint16_t id;
	size_t room;
	Waiter *next;
	size_t len;
	uint8_t question[]; /* as it was spelled */
};

struct Forward {
	uint8_t key[DNS_KEY_MAX + 1]; /* and by what transport */
	size_t key_len;               /* 0: nobody joins */
	UT_hash_handle hh;
	Client *inside; /* whose own servers they are; NULL: the host's */
	DnsShare *share;
	Waiter *waiters;
	uint8_t *query;
	size_t len;
	DnsQuestion q;
	uint16_t id; /* towards the servers */
	int64_t since, until, wait;
	uint64_t scope;
	Server servers[SERVERS_MAX];
	Slot *slots[SERVERS_MAX]; /* by datagram, each server's; by TCP, one at a time */
	bool unable[SERVERS_MAX];
	size_t n, at, tried, tries;
	int code;         /* what the last one said that was unable */
	bool stream, cut; /* cut: by datagram it was cut short */
	bool refused;     /* in this round of the servers, the port of one was closed */
	uint8_t *in;      /* of TCP: what was read */
	size_t n_in, n_sent;
	Forward *next, *prev;
};

static int64_t boot_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * SECOND_NS + t.tv_nsec;
}

/* ---- answers ---- */

/* No wire is between us: what a client has room for arrives in one piece. */
static size_t room_for(const Asker *to, const DnsQuestion *q)
{
	size_t said = MAX2(q->udp_size, (uint16_t)DNS_UDP_PLAIN);

	return to->conn ? DNS_MAX : MIN2(said, (size_t)CACHE_MESSAGE_MAX);
}

/* m has an answer to the question (its end is at `end`); id and spelling become the asker's. */
static void deliver(Resolver *r, const Asker *to, const uint8_t *question, size_t end, size_t room, bool edns,
		    uint8_t *m, size_t len)
{
	memcpy(m, question, 2);
	if (m[5] == 1) /* or it says that it did not understand */
		memcpy(m + DNS_HEADER, question + DNS_HEADER, end - DNS_HEADER);
	if (len > room) {
		len = dns_cut(r->out, m, m[5] == 1 ? end : DNS_HEADER, edns);
		m = r->out;
	}
	answer_send(r, to, m, len);
}

static void waiter_done(Resolver *r, Waiter *w)
{
	r->n_forwards--;
	w->asker.client->forwards--;
	if (w->asker.conn)
		w->asker.conn->waits = false;
	free(w);
}

static void slots_close(Resolver *r, Forward *f)
{
	for (size_t i = 0; i < SERVERS_MAX; i++)
		slot_drop(r, take_ptr(f->slots[i]));
}

static void forward_drop(Resolver *r, Forward *f)
{
	Waiter *w, *next;

	LL_FOREACH_SAFE(f->waiters, w, next)
	waiter_done(r, w);
	slots_close(r, f);
	if (f->key_len)
		HASH_DEL(r->flights, f);
	DL_DELETE(r->forwards, f);
	free(f->query);
	free(f->in);
	free(f);
}

/* To all that wait. Nothing of the forward is there by then: an answer may be the end of a connection. */
static void finish(Resolver *r, Forward *f, uint8_t *m, size_t len)
{
	Waiter *all = take_ptr(f->waiters), *w, *next;
	bool edns = f->q.edns;

	forward_drop(r, f);
	LL_FOREACH_SAFE(all, w, next)
	{
		Asker asker = w->asker;

		if (asker.conn)
			asker.conn->waits = false;
		w->asker.conn = NULL;
		deliver(r, &asker, w->question, w->len, w->room, edns, m, len);
		waiter_done(r, w);
	}
}

static void give_up(Resolver *r, Forward *f)
{
	uint8_t out[DNS_UDP_PLAIN];
	size_t len;
	DnsAnswer a;

	r->stats.failed++;
	dns_answer_begin(&a, out, sizeof(out), f->query, &f->q, f->cut ? DNS_NOERROR : f->code, false);
	a.truncated = f->cut;
	len = dns_answer_end(&a);
	finish(r, f, out, len);
}

/* ---- asking ---- */

static void try_next(Resolver *r, Forward *f);
static bool ask(Resolver *r, Forward *f);

static Servers *servers_now(Resolver *r, Forward *f)
{
	Servers *s = f->inside ? &f->inside->servers : &r->host;

	return s->scope == f->scope ? s : NULL;
}

/* Which of the servers this is. */
static void at_slot(Forward *f, const Slot *s)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->slots[i] == s)
			f->at = i;
}

static void expired(Resolver *r, Slot *s, uint32_t events _unused_)
{
	Forward *f = s->owner;
	Servers *servers = servers_now(r, f);

	at_slot(f, s);
	if (servers)
		servers_silent(servers, f->servers[f->at].at, f->since);
	try_next(r, f);
}

static void keep(Resolver *r, Forward *f, const uint8_t *m, size_t len)
{
	bool negative, stub = ip_is_loopback(f->servers[f->at].at);
	uint32_t life, most;

	if (!f->key_len || !f->share || !servers_now(r, f))
		return;
	life = dns_life(m, len, f->q.end, &negative);
	most = negative ? (stub ? STUB_NEGATIVE : KEEP_NEGATIVE) : stub ? STUB_MOST : KEEP_MOST;
	dns_cache_put(r->cache, f->share, f->key, f->key_len - 1, m, len, MIN2(life, most), boot_ns());
}

static bool anybody_has_room(const Forward *f, size_t len)
{
	const Waiter *w;

	LL_FOREACH (f->waiters, w)
		if (w->room > MAX2(len, (size_t)DNS_UDP_PLAIN))
			return true;
	return false;
}

/* True if the message was an answer, whatever became of it: the forward may be gone. */
static bool take_answer(Resolver *r, Forward *f, uint8_t *m, size_t len)
{
	Servers *servers = servers_now(r, f);
	int code;

	if (!dns_answers(m, len, f->query, &f->q, f->id))
		return false;
	if (servers)
		servers_heard(servers, f->servers[f->at].at);
	code = dns_rcode(m);
	if (code == DNS_SERVFAIL || code == DNS_REFUSED || code == DNS_NOTIMP) {
		f->unable[f->at] = true;
		f->code = code;
		try_next(r, f);
		return true;
	}
	if (dns_truncated(m) && !f->stream && anybody_has_room(f, len)) {
		f->stream = f->cut = true;
		f->tries = f->tried;
		f->until = MIN2(f->until, clock_mono_ns() + f->wait);
		slots_close(r, f);
		if (!ask(r, f))
			give_up(r, f);
		return true;
	}
	r->stats.forwarded++;
	keep(r, f, m, len);
	finish(r, f, m, len);
	return true;
}

static void datagram_ready(Resolver *r, Slot *s, uint32_t events _unused_)
{
	Forward *f = s->owner;

	for (int i = 0; i < 8; i++) {
		ssize_t n = recv(s->fd, r->buf, sizeof(r->buf), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		at_slot(f, s);
		if (n < 0) {
			f->refused = true;
			try_next(r, f);
			return;
		}
		if (take_answer(r, f, r->buf, (size_t)n))
			return;
	}
}

/* The whole question with its length in front; false if the connection is no good. */
static bool stream_send(Resolver *r, Forward *f)
{
	uint8_t *m = r->buf;

	m[0] = (uint8_t)(f->len >> 8);
	m[1] = (uint8_t)f->len;
	memcpy(m + 2, f->query, f->len);
	dns_set_id(m + 2, f->id);

	ssize_t n = send(f->slots[f->at]->fd, m + f->n_sent, f->len + 2 - f->n_sent, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	f->n_sent += (size_t)n;
	if (f->n_sent == f->len + 2)
		slot_events(r, f->slots[f->at], EPOLLIN);
	return true;
}

/* False if nothing good can come any more. */
static bool stream_read(Resolver *r, Forward *f, bool *ret_over)
{
	size_t want, room = DNS_MAX + 2;
	ssize_t n;

	if (!f->in)
		f->in = malloc(room);
	if (!f->in)
		return false;
	n = recv(f->slots[f->at]->fd, f->in + f->n_in, room - f->n_in, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	f->n_in += (size_t)n;
	if (f->n_in < 2)
		return true;
	want = (size_t)(f->in[0] << 8 | f->in[1]);
	if (f->n_in < want + 2)
		return true;
	memcpy(r->buf, f->in + 2, want);
	*ret_over = take_answer(r, f, r->buf, want);
	return *ret_over;
}

static void stream_ready(Resolver *r, Slot *s, uint32_t events)
{
	Forward *f = s->owner;
	bool over = false, good = true;

	at_slot(f, s);
	if (f->n_sent < f->len + 2)
		good = !(events & (EPOLLERR | EPOLLHUP)) && stream_send(r, f);
	else
		good = stream_read(r, f, &over);
	if (good || over)
		return;
	f->unable[f->at] = true;
	try_next(r, f);
}

static bool send_datagram(Resolver *r, Forward *f)
{
	memcpy(r->buf, f->query, f->len);
	dns_set_id(r->buf, f->id);
	return send(f->slots[f->at]->fd, r->buf, f->len, MSG_NOSIGNAL) >= 0;
}

/* The last one is waited for to the end. */
static int64_t wait_for(const Forward *f, int64_t now)
{
	int64_t wait = f->tried > 1 ? MIN2(f->wait, AGAIN_NS) : f->wait;

	if (f->servers[f->at].silent > 0)
		wait = MIN2(wait, DOUBTFUL_NS);
	return f->tried == f->tries ? f->until : MIN2(now + wait, f->until);
}

/* The server at f->at. */
static bool ask(Resolver *r, Forward *f)
{
	Slot **slot = &f->slots[f->at];

	if (f->stream && !*slot)
		slots_close(r, f);
	for (size_t i = 0; i < f->n; i++)
		if (f->slots[i])
			slot_deadline(r, f->slots[i], 0, NULL);
	if (*slot && f->stream) {
		slot_deadline(r, *slot, wait_for(f, clock_mono_ns()), expired);
		return true;
	}
	if (!*slot) {
		int fd =
		    server_connect(r, &f->servers[f->at], f->inside, f->stream ? SOCK_STREAM : SOCK_DGRAM);

		if (fd < 0)
			return false;
		if (slot_new(r, fd, f->stream ? EPOLLOUT : EPOLLIN, f->stream ? stream_ready : datagram_ready,
			     f, slot) < 0) {
			close_fd(&fd);
			return false;
		}
	}
	f->n_in = f->n_sent = 0;
	slot_deadline(r, *slot, wait_for(f, clock_mono_ns()), expired);
	return f->stream || send_datagram(r, f);
}

static void resume(Resolver *r, Slot *s, uint32_t events _unused_)
{
	try_next(r, s->owner);
}

/* A stub that is made anew (an update of systemd-resolved) has its port again in a moment. */
static bool pause_between_rounds(Resolver *r, Forward *f)
{
	Slot *s = f->slots[f->at];

	if (!f->refused || !s || f->tried % f->n != 0 || f->tried == f->tries)
		return false;
	f->refused = false;
	slot_deadline(r, s, clock_mono_ns() + PAUSE_NS, resume);
	return true;
}

/* Those that are able, in turn, as often as there are attempts. */
static void try_next(Resolver *r, Forward *f)
{
	if (f->tried > 0 && pause_between_rounds(r, f))
		return;
	while (f->tried < f->tries && clock_mono_ns() < f->until) {
		f->at = f->tried++ % f->n;
		if (f->unable[f->at])
			continue;
		if (ask(r, f))
			return;
		f->unable[f->at] = true;
	}
	give_up(r, f);
}

/* ---- questions ---- */

static bool wait_with(Resolver *r, Forward *f, const Asker *asker, const uint8_t *query, const DnsQuestion *q)
{
	Waiter *w;

	LL_FOREACH (f->waiters, w)
		/* Somebody who asks again because nothing has come yet. */
		if (!asker->conn && !w->asker.conn && w->asker.client == asker->client && w->id == q->id &&
		    memcmp(&w->asker.from, &asker->from, sizeof(asker->from)) == 0)
			return true;
	if (!may_have(asker->client->forwards, r->n_forwards, FORWARDS_SURE, FORWARDS_CLIENT, FORWARDS_MAX))
		return false;
	w = malloc(sizeof(*w) + q->end);
	if (!w)
		return false;
	*w = (Waiter){.asker = *asker, .id = q->id, .room = room_for(asker, q), .len = q->end};
	memcpy(w->question, query, q->end);
	LL_PREPEND(f->waiters, w);
	r->n_forwards++;
	asker->client->forwards++;
	if (asker->conn) {
		asker->conn->waits = true;
		slot_events(r, asker->conn->slot, 0);
	}
	return true;
}

static Forward *forward_new(Resolver *r, const Asker *asker, Servers *servers, const uint8_t *query,
			    size_t len, const DnsQuestion *q)
{
	Forward *f = calloc(1, sizeof(*f));
	uint16_t size = MAX2(q->udp_size, (uint16_t)DNS_UDP_PLAIN);
	size_t order[SERVERS_MAX];

	if (f)
		f->query = malloc(len);
	if (!f || !f->query || getrandom(&f->id, sizeof(f->id), 0) != sizeof(f->id)) {
		if (f)
			free(f->query);
		free(f);
		return NULL;
	}
	memcpy(f->query, query, len);
	dns_set_udp_size(f->query, q, MIN2(size, (uint16_t)DNS_UDP_MOST));
	f->len = len;
	f->q = *q;
	f->inside = asker->client->own ? asker->client : NULL;
	f->share = &asker->client->share;
	f->scope = servers->scope;
	f->n = servers->n;
	f->tries = servers->n * servers->attempts;
	f->wait = servers->wait;
	f->code = DNS_SERVFAIL;
	f->since = clock_mono_ns();
	f->until = f->since + (servers->timed ? MIN2(TOTAL_NS, (int64_t)f->tries * f->wait) : TOTAL_NS);
	servers_order(servers, order);
	for (size_t i = 0; i < f->n; i++)
		f->servers[i] = servers->v[order[i]];
	DL_PREPEND(r->forwards, f);
	return f;
}

static bool answer_kept(Resolver *r, const Asker *asker, const uint8_t *query, const DnsQuestion *q,
			const uint8_t *key, size_t key_len)
{
	size_t len = dns_cache_get(r->cache, key, key_len, boot_ns(), r->buf);

	if (len == 0)
		return false;
	r->stats.kept++;
	deliver(r, asker, query, q->end, room_for(asker, q), q->edns, r->buf, len);
	return true;
}

void forward_start(Resolver *r, const Asker *asker, const uint8_t *query, size_t len, const DnsQuestion *q)
{
	Servers *servers = servers_of(r, asker->client);
	uint8_t key[DNS_KEY_MAX + 1];
	size_t key_len = 0;
	Forward *f = NULL;
	bool stream;

	if (!servers || servers->n == 0) {
		r->stats.failed++;
		answer_code(r, asker, query, q, DNS_SERVFAIL);
		return;
	}
	stream = asker->conn || servers->stream;
	if (q->alone) {
		key_len = dns_key(key, servers->scope, query, q);
		if (answer_kept(r, asker, query, q, key, key_len))
			return;
		key[key_len++] = stream;
		HASH_FIND(hh, r->flights, key, key_len, f);
		if (f) {
			if (!wait_with(r, f, asker, query, q))
				answer_code(r, asker, query, q, DNS_REFUSED);
			return;
		}
	}
	f = forward_new(r, asker, servers, query, len, q);
	if (!f || !wait_with(r, f, asker, query, q)) {
		if (f)
			forward_drop(r, f);
		answer_code(r, asker, query, q, DNS_REFUSED);
		return;
	}
	f->stream = stream;
	if (key_len) {
		memcpy(f->key, key, key_len);
		f->key_len = key_len;
		HASH_ADD_KEYPTR(hh, r->flights, f->key, key_len, f);
	}
	try_next(r, f);
}

void forwards_leave(Resolver *r, const Client *client, const Conn *conn)
{
	Forward *f, *f_next;
	Waiter *w, *next;

	DL_FOREACH_SAFE(r->forwards, f, f_next)
	{
		LL_FOREACH_SAFE(f->waiters, w, next)
		{
			Waiter *mine = w;

			if (w->asker.client != client || (conn && w->asker.conn != conn))
				continue;
			LL_DELETE(f->waiters, mine);
			waiter_done(r, w);
		}
		if (!conn && f->share == &client->share)
			f->share = NULL;
		if (!f->waiters)
			forward_drop(r, f);
	}
}
