/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions that are for other servers.
 *
 * Each goes out on a socket of its own, connected to one server: its port is the kernel's random choice, its id ours, and only that server is heard. A
 * server that is silent or unable is followed by the next. What came by TCP is asked by TCP.
 */
#include "network/resolver-internal.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#define RESOLV_CONF "/etc/resolv.conf"
#define DNS_PORT    53

static bool parse_server(const char *text, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	char plain[INET6_ADDRSTRLEN];
	size_t n = strcspn(text, "%");

	*ret = (struct sockaddr_storage){0};
	if (n >= sizeof(plain))
		return false;
	memcpy(plain, text, n);
	plain[n] = '\0';
	if (text[n] == '\0' && inet_pton(AF_INET, plain, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(DNS_PORT);
		return true;
	}
	if (inet_pton(AF_INET6, plain, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(DNS_PORT);
	v6->sin6_scope_id = text[n] ? if_nametoindex(text + n + 1) : 0;
	return true;
}

static size_t parse_servers(char *const *texts, struct sockaddr_storage *ret)
{
	size_t n = 0;

	for (size_t i = 0; texts && texts[i] && n < SERVERS_MAX; i++)
		n += parse_server(texts[i], &ret[n]);
	return n;
}

/* Follows the file: one stat a question is what that costs. */
static void host_servers(Resolver *r)
{
	_cleanup_strv_ char **servers = NULL;
	struct stat st = {0};
	int64_t mtime;

	(void)stat(RESOLV_CONF, &st);
	mtime = st.st_mtim.tv_sec * SECOND_NS + st.st_mtim.tv_nsec;
	if (r->host_inode == (int64_t)st.st_ino && r->host_mtime == mtime && r->host_size == st.st_size)
		return;
	r->host_inode = (int64_t)st.st_ino;
	r->host_mtime = mtime;
	r->host_size = st.st_size;
	r->preferred = 0;
	r->n_host = resolv_host_own(&servers, NULL) >= 0 ? parse_servers(servers, r->host) : 0;
}

/* The one that answered last comes first. */
static void choose_servers(Resolver *r, Forward *f)
{
	const Client *c = f->asker.client;
	bool way_out = false;

	if (c->servers) {
		f->n_servers = parse_servers(c->servers, f->servers);
		return;
	}
	for (size_t i = 0; i < c->n_endpoints; i++)
		way_out = way_out || !c->endpoints[i].internal;
	if (!way_out)
		return;
	host_servers(r);
	for (size_t i = 0; i < r->n_host; i++)
		f->servers[f->n_servers++] = r->host[(r->preferred + i) % r->n_host];
}

typedef struct SocketJob {
	int family, type, fd;
} SocketJob;

static int socket_job(void *arg, Err *e _unused_)
{
	SocketJob *job = arg;

	job->fd = socket(job->family, job->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return job->fd < 0 ? -errno : 0;
}

/* In our namespace, or where the client's own sockets are. */
static int open_socket(const Forward *f, int family)
{
	const Client *c = f->asker.client;
	SocketJob job = {family, f->asker.conn ? SOCK_STREAM : SOCK_DGRAM, -1};
	_cleanup_close_ int netns = -1;

	if (!c->servers)
		return socket_job(&job, NULL) < 0 ? -1 : job.fd;
	netns = ioctl(c->udp->fd, SIOCGSKNS);
	if (netns < 0 || netns_call(netns, socket_job, &job, NULL) < 0)
		return -1;
	return job.fd;
}

void forward_drop(Resolver *r, Forward *f)
{
	slot_drop(r, f->slot);
	if (f->prev)
		f->prev->next = f->next;
	else
		r->forwards = f->next;
	if (f->next)
		f->next->prev = f->prev;
	r->n_forwards--;
	f->asker.client->forwards--;
	if (f->asker.conn)
		f->asker.conn->waits = false;
	free(f->query);
	free(f->stream);
	free(f);
}

static void try_next(Resolver *r, Forward *f);

static void give_up(Resolver *r, Forward *f)
{
	Asker asker = f->asker;
	uint8_t *query = take_ptr(f->query);
	DnsQuestion q = f->q;

	forward_drop(r, f);
	r->stats.failed++;
	answer_code(r, &asker, query, &q, DNS_SERVFAIL);
	free(query);
}

static void expired(Resolver *r, Slot *s, uint32_t events _unused_)
{
	try_next(r, s->owner);
}

static void note_good(Resolver *r, const Forward *f)
{
	if (!f->asker.client->servers && r->n_host > 0)
		r->preferred = (r->preferred + f->tried - 1) % r->n_host;
}

/* True if the answer was good and the forward is gone. */
static bool take_answer(Resolver *r, Forward *f, uint8_t *m, size_t len)
{
	Asker asker = f->asker;
	int code;

	if (!dns_answers(m, len, f->query, &f->q, f->id))
		return false;
	code = dns_rcode(m);
	if ((code == DNS_SERVFAIL || code == DNS_REFUSED) && f->tried < f->n_servers) {
		try_next(r, f);
		return true;
	}
	dns_set_id(m, f->q.id);
	note_good(r, f);
	forward_drop(r, f);
	r->stats.forwarded++;
	answer_send(r, &asker, m, len);
	return true;
}

static void datagram_ready(Resolver *r, Slot *s, uint32_t events _unused_)
{
	Forward *f = s->owner;

	for (int i = 0; i < 8; i++) {
		ssize_t n = recv(s->fd, r->buf, sizeof(r->buf), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			try_next(r, f); /* the server's port is closed */
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

	ssize_t n = send(f->slot->fd, m + f->n_sent, f->len + 2 - f->n_sent, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	f->n_sent += (size_t)n;
	if (f->n_sent == f->len + 2)
		slot_events(r, f->slot, EPOLLIN);
	return true;
}

/* False if nothing good can come any more. */
static bool stream_read(Resolver *r, Forward *f, bool *ret_over)
{
	size_t want, room = DNS_MAX + 2;
	ssize_t n;

	if (!f->stream)
		f->stream = malloc(room);
	if (!f->stream)
		return false;
	n = recv(f->slot->fd, f->stream + f->n_stream, room - f->n_stream, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	f->n_stream += (size_t)n;
	if (f->n_stream < 2)
		return true;
	want = (size_t)(f->stream[0] << 8 | f->stream[1]);
	if (f->n_stream < want + 2)
		return true;
	memcpy(r->buf, f->stream + 2, want);
	*ret_over = take_answer(r, f, r->buf, want);
	return *ret_over;
}

static void stream_ready(Resolver *r, Slot *s, uint32_t events)
{
	Forward *f = s->owner;
	bool over = false, good = true;

	if (f->n_sent < f->len + 2)
		good = !(events & (EPOLLERR | EPOLLHUP)) && stream_send(r, f);
	else
		good = stream_read(r, f, &over);
	if (!good && !over)
		try_next(r, f);
}

static bool send_datagram(Resolver *r, Forward *f)
{
	memcpy(r->buf, f->query, f->len);
	dns_set_id(r->buf, f->id);
	return send(f->slot->fd, r->buf, f->len, MSG_NOSIGNAL) >= 0;
}

static bool ask(Resolver *r, Forward *f, const struct sockaddr_storage *server)
{
	bool stream = f->asker.conn != NULL;
	socklen_t len =
	    server->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int fd = open_socket(f, server->ss_family);

	if (fd < 0)
		return false;
	if ((connect(fd, (const struct sockaddr *)server, len) < 0 && errno != EINPROGRESS) ||
	    getrandom(&f->id, sizeof(f->id), 0) != sizeof(f->id) ||
	    slot_new(r, fd, stream ? EPOLLOUT : EPOLLIN, stream ? stream_ready : datagram_ready, f,
		     &f->slot) < 0) {
		close_fd(&fd);
		return false;
	}
	f->n_stream = f->n_sent = 0;
	slot_deadline(r, f->slot, clock_mono_ns() + SERVER_WAIT_NS, expired);
	return stream || send_datagram(r, f);
}

static void try_next(Resolver *r, Forward *f)
{
	for (;;) {
		slot_drop(r, f->slot);
		f->slot = NULL;
		if (f->tried == f->n_servers) {
			give_up(r, f);
			return;
		}
		if (ask(r, f, &f->servers[f->tried++]))
			return;
	}
}

void forward_start(Resolver *r, const Asker *asker, const uint8_t *query, size_t len, const DnsQuestion *q)
{
	Forward *f = NULL;

	if (r->n_forwards < FORWARDS_MAX && asker->client->forwards < FORWARDS_CLIENT)
		f = calloc(1, sizeof(*f));
	if (f)
		f->query = malloc(len);
	if (!f || !f->query) {
		free(f);
		answer_code(r, asker, query, q, DNS_REFUSED);
		return;
	}
	memcpy(f->query, query, len);
	f->len = len;
	f->q = *q;
	f->asker = *asker;
	f->next = r->forwards;
	if (f->next)
		f->next->prev = f;
	r->forwards = f;
	r->n_forwards++;
	asker->client->forwards++;
	if (asker->conn) {
		asker->conn->waits = true;
		slot_events(r, asker->conn->slot, 0);
	}
	choose_servers(r, f);
	try_next(r, f);
}
