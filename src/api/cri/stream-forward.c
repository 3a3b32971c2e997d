/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forwarded ports: each is a connection to 127.0.0.1 in the pod's network namespace.
 *
 * Over SPDY the client opens two streams for each connection that it wants, one for data and one for errors, with the port and a number of the connection's in their headers. Over
 * WebSocket the ports were named before, and have two channels each, 2N for data and 2N + 1 for errors; the first message on each is the port, in two bytes, the
 * lower first. SPDY can also come through a WebSocket, as plain bytes in its messages.
 *
 * Each connection has two threads, one a direction, so that neither waits for the other. The end of a direction is passed on, and a connection is over when both have ended or
 * either is broken.
 */
#include "api/cri/stream-internal.h"

#include "base/base64.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define PIECE     (32 * 1024)
#define STACK     (192 * 1024)
#define PAIR_NS   (30 * 1000000000ll) /* for the second stream of a pair */
#define PAIRS_MAX 128
#define PORTS_MAX 64

static const char *const spdy_protocols[] = {"portforward.k8s.io", NULL};
static const char *const tunnel_protocols[] = {"SPDY/3.1+portforward.k8s.io", NULL};
static const char *const channel_protocols[] = {"v4.channel.k8s.io", "v4.base64.channel.k8s.io", NULL};

/* All of it to a socket; false once it takes no more, has taken nothing for that time (-1: no limit), or poll(2) says POLLHUP or POLLRDHUP of gone_fd. */
static bool write_socket(int fd, int gone_fd, int wait_ms, const uint8_t *p, size_t len)
{
	while (len > 0) {
		struct pollfd f[] = {{fd, POLLOUT, 0}, {gone_fd, POLLRDHUP, 0}};
		ssize_t n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		if (n < 0) {
			int ready = poll(f, 2, wait_ms);

			if (ready == 0 || (ready > 0 && f[1].revents))
				return false;
		}
		p += MAX2(n, (ssize_t)0);
		len -= (size_t)MAX2(n, (ssize_t)0);
	}
	return true;
}

static char *forward_error(const char *pod, int port, const Err *e, int r)
{
	return strf("forward port %d to pod %s: %s", port, pod, err_msg(e, r));
}

/* ---- SPDY ---- */

typedef struct Forward Forward;
typedef struct Pair {
	Forward *f;
	struct Pair *next;
	char *id;
	uint16_t port;
	SpdyStream *data, *error;
	int64_t until_ns; /* for the other stream */
	int fd;
} Pair;

struct Forward {
	CriDoor *door;
	const CriStreamRequest *rq;
	SpdyConnection *c;
	Pair *waiting; /* the accepting thread's */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned running;
};

static void pair_free(Pair *p)
{
	spdy_stream_close(p->data);
	spdy_stream_close(p->error);
	close_fd(&p->fd);
	free(p->id);
	free(p);
}

/* Bytes of the pod's, 0 at their end, or -1: it has broken the connection, or the client's is over. */
static ssize_t read_pod(const Pair *p, uint8_t buf[PIECE])
{
	for (;;) {
		struct pollfd f[] = {{p->fd, POLLIN, 0}, {spdy_dead_fd(p->f->c), 0, 0}};
		ssize_t n = poll(f, 2, -1) > 0 && f[1].revents ? -1 : recv(p->fd, buf, PIECE, MSG_DONTWAIT);

		if (n >= 0 || f[1].revents || (errno != EAGAIN && errno != EINTR))
			return n;
	}
}

static void *pair_to_client(void *arg)
{
	Pair *p = arg;
	uint8_t buf[PIECE];
	ssize_t n;

	do
		n = read_pod(p, buf);
	while (n > 0 && spdy_write(p->data, buf, (size_t)n, NULL) >= 0);
	if (n <= 0)
		(void)spdy_write_end(p->data, NULL);
	if (n != 0) { /* broken: the other direction is as well */
		(void)shutdown(p->fd, SHUT_RDWR);
		spdy_stream_cancel(p->data);
	}
	return NULL;
}

static void pair_from_client(Pair *p)
{
	uint8_t buf[PIECE];
	ssize_t n;

	do
		n = spdy_read(p->data, buf, sizeof(buf), NULL);
	while (n > 0 && write_socket(p->fd, spdy_dead_fd(p->f->c), -1, buf, (size_t)n));
	(void)shutdown(p->fd, n == 0 ? SHUT_WR : SHUT_RDWR);
}

static void pair_fail(Pair *p, const Err *e, int r)
{
	_cleanup_free_ char *text = forward_error(p->f->rq->id, p->port, e, r);

	log_debug("%s", text ? text : "out of memory");
	if (text && spdy_write(p->error, text, strlen(text), NULL) >= 0)
		(void)spdy_write_end(p->error, NULL);
}

static void pair_serve(Pair *p)
{
	pthread_t out;
	Err e = {0};
	int r = engine_pod_connect(p->f->door->engine, p->f->rq->id, p->port, &p->fd, &e);

	if (r >= 0) {
		r = cri_thread_start(&out, false, STACK, pair_to_client, p);
		if (r < 0)
			r = err_sys(&e, r, "start a thread");
	}
	if (r < 0) {
		pair_fail(p, &e, r);
		return;
	}
	pair_from_client(p);
	pthread_join(out, NULL);
	(void)spdy_write_end(p->error, NULL);
}

static void *pair_thread(void *arg)
{
	Pair *p = arg;
	Forward *f = p->f;

	pair_serve(p);
	pair_free(p);
	pthread_mutex_lock(&f->lock);
	f->running--;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

/* ---- pairs are put together ---- */

/* Clients of before 2016 send no number: their two streams come one behind the other, the one for errors first. */
static char *pair_id(const SpdyStream *s, bool is_data)
{
	const char *id = spdy_header(s, "requestid");

	return id && *id ? strdup(id) : strf("#%u", spdy_stream_id(s) - (is_data ? 2 : 0));
}

static Pair *find_pair(Forward *f, const char *id)
{
	Pair *p = f->waiting;

	while (p && !streq(p->id, id))
		p = p->next;
	return p;
}

/* Takes the id, also when there is no memory. */
static Pair *new_pair(Forward *f, char *id, uint16_t port)
{
	Pair *p = calloc(1, sizeof(*p));

	if (!p) {
		free(id);
		return NULL;
	}
	*p = (Pair){.f = f,
		    .next = f->waiting,
		    .id = id,
		    .port = port,
		    .until_ns = clock_mono_ns() + PAIR_NS,
		    .fd = -1};
	f->waiting = p;
	return p;
}

static void unlink_pair(Forward *f, const Pair *p)
{
	Pair **at = &f->waiting;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
}

static void start_pair(Forward *f, Pair *p)
{
	pthread_t t;
	int r;

	unlink_pair(f, p);
	pthread_mutex_lock(&f->lock);
	f->running++;
	pthread_mutex_unlock(&f->lock);
	r = cri_thread_start(&t, true, STACK, pair_thread, p);
	if (r >= 0)
		return;
	log_warn("pod %s: forward a port: start a thread: %s", f->rq->id, strerror(-r));
	pair_free(p);
	pthread_mutex_lock(&f->lock);
	f->running--;
	pthread_mutex_unlock(&f->lock);
}

static bool too_many(Forward *f)
{
	bool r;

	pthread_mutex_lock(&f->lock);
	r = f->running >= PAIRS_MAX;
	pthread_mutex_unlock(&f->lock);
	return r;
}

/* A stream that says what it is for; false if it does not, or is one too many. */
static bool add_stream(Forward *f, SpdyStream *s)
{
	const char *type = spdy_header(s, "streamtype"), *port_text = spdy_header(s, "port");
	bool is_data = streq0(type, "data");
	int port;
	char *id;
	Pair *p;

	if ((!is_data && !streq0(type, "error")) || !port_text ||
	    str_to_int(port_text, 1, UINT16_MAX, &port) < 0 || too_many(f))
		return false;
	id = pair_id(s, is_data);
	if (!id)
		return false;
	p = find_pair(f, id);
	if (p)
		free(id);
	else
		p = new_pair(f, id, (uint16_t)port);
	if (!p || (is_data ? p->data : p->error) || p->port != port)
		return false;
	*(is_data ? &p->data : &p->error) = s;
	(void)spdy_reply(s, NULL);
	if (p->data && p->error)
		start_pair(f, p);
	return true;
}

/* Pairs whose second stream has not come; milliseconds until there may be another, -1: none waits. */
static int expire_pairs(Forward *f)
{
	int64_t now = clock_mono_ns(), least = INT64_MAX;

	for (Pair *p = f->waiting, *next; p; p = next) {
		next = p->next;
		if (p->until_ns > now) {
			least = MIN2(least, p->until_ns - now);
			continue;
		}
		unlink_pair(f, p);
		if (p->error) {
			Err e = {0};

			pair_fail(p, &e,
				  err_new(&e, ERR_INVALID, "the client has opened no stream for its data"));
		}
		pair_free(p);
	}
	return least == INT64_MAX ? -1 : (int)(least / 1000000 + 1);
}

static void forward_streams(CriDoor *door, const CriStreamRequest *sr, SpdyConnection *c)
{
	Forward f = {.door = door, .rq = sr, .c = c};
	SpdyStream *s;
	int r;

	pthread_mutex_init(&f.lock, NULL);
	pthread_cond_init(&f.changed, NULL);
	while ((r = spdy_accept(c, expire_pairs(&f), &s, NULL)) > 0 || r == -ETIMEDOUT)
		if (r > 0 && !add_stream(&f, s))
			spdy_stream_close(s);
	while (f.waiting) {
		Pair *p = f.waiting;

		f.waiting = p->next;
		pair_free(p);
	}
	pthread_mutex_lock(&f.lock);
	while (f.running > 0)
		pthread_cond_wait(&f.changed, &f.lock);
	pthread_mutex_unlock(&f.lock);
	pthread_mutex_destroy(&f.lock);
	pthread_cond_destroy(&f.changed);
	spdy_connection_close(c);
}

/* ---- SPDY in WebSocket messages ---- */

typedef struct Tunnel {
	HttpHijack h;
	int fd;
} Tunnel;

static void *tunnel_thread(void *arg)
{
	Tunnel *t = arg;

	ws_serve(&t->h, t->fd, WS_BINARY);
	(void)shutdown(t->fd, SHUT_RDWR);
	(void)shutdown(t->h.fd, SHUT_RDWR);
	return NULL;
}

static int tunnel_forward(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, Err *e)
{
	SpdyLimits limits = {.idle_timeout_ms = s->idle_timeout_ms};
	SpdyConnection *c = NULL;
	const char *protocol;
	pthread_t thread;
	int fds[2], r;
	Tunnel t;

	r = cri_websocket_upgrade(rq, tunnel_protocols, &t.h, &protocol, e);
	if (r <= 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(e, errno, "make a socket pair");
	t.fd = fds[0];
	r = spdy_serve(fds[1], NULL, 0, &limits, &c, e);
	if (r >= 0) {
		r = cri_thread_start(&thread, false, STACK, tunnel_thread, &t);
		if (r < 0) {
			r = err_sys(e, r, "start a thread");
			spdy_connection_close(c);
		}
	}
	if (r >= 0) {
		forward_streams(s->door, sr, c);
		pthread_join(thread, NULL);
	}
	close_fd(&t.fd);
	return MIN2(r, 0);
}

/* ---- WebSocket channels ---- */

typedef struct Channels {
	CriDoor *door;
	const CriStreamRequest *rq;
	WsConnection *w;
	HttpHijack h;
	bool base64;
	int idle_timeout_ms;
	int quit_fd;   /* eventfd: no port is left */
	unsigned left; /* ports that may still send; atomic */
	struct Port {
		struct Channels *k;
		unsigned n;
		int fd; /* -1: nobody answers there */
		pthread_t out;
		bool started, in_end;
	} * ports;
} Channels;

static int send_channel(Channels *k, unsigned channel, const void *data, size_t len)
{
	uint8_t raw = (uint8_t)channel;

	if (!k->base64)
		return ws_send(k->w, WS_BINARY, &raw, 1, data, len, NULL);
	_cleanup_free_ char *text = base64_encode(data, len, false);
	raw = (uint8_t)('0' + channel);
	return text ? ws_send(k->w, WS_TEXT, &raw, 1, text, strlen(text), NULL) : -ENOMEM;
}

static void port_over(Channels *k)
{
	if (__atomic_sub_fetch(&k->left, 1, __ATOMIC_SEQ_CST) == 0)
		(void)eventfd_write(k->quit_fd, 1);
}

static void *port_to_client(void *arg)
{
	struct Port *p = arg;
	uint8_t buf[PIECE];
	ssize_t n;

	while ((n = recv(p->fd, buf, sizeof(buf), 0)) > 0 || (n < 0 && errno == EINTR))
		if (n > 0 && send_channel(p->k, 2 * p->n, buf, (size_t)n) < 0)
			break;
	port_over(p->k);
	return NULL;
}

static void open_port(struct Port *p)
{
	uint16_t port = (uint16_t)p->k->rq->ports[p->n];
	uint8_t number[2] = {(uint8_t)port, (uint8_t)(port >> 8)};
	Err e = {0};
	int r;

	(void)send_channel(p->k, 2 * p->n, number, sizeof(number));
	(void)send_channel(p->k, 2 * p->n + 1, number, sizeof(number));
	r = engine_pod_connect(p->k->door->engine, p->k->rq->id, port, &p->fd, &e);
	if (r >= 0) {
		r = cri_thread_start(&p->out, false, STACK, port_to_client, p);
		p->started = r >= 0;
		if (r < 0)
			r = err_sys(&e, r, "start a thread");
	}
	if (r < 0) {
		_cleanup_free_ char *text = forward_error(p->k->rq->id, port, &e, r);

		if (text)
			(void)send_channel(p->k, 2 * p->n + 1, text, strlen(text));
		port_over(p->k);
	}
}

/* Bytes of the client's for a port. While they are not taken nothing is read from the client, so its end may be on its way behind them. */
static void port_input(struct Port *p, const uint8_t *data, size_t len)
{
	if (p->fd >= 0 && !p->in_end && !write_socket(p->fd, p->k->h.fd, p->k->idle_timeout_ms, data, len))
		p->in_end = true;
}

static bool decode_input(Channels *k, CriBase64 *b, struct Port *p, const uint8_t *data, size_t len)
{
	uint8_t bytes[PIECE / 4 * 3 + 6];

	while (len > 0) {
		size_t n = MIN2(len, (size_t)PIECE);
		ssize_t out = cri_base64_feed(b, data, n, bytes);

		if (out < 0)
			return false;
		port_input(p, bytes, (size_t)out);
		data += n;
		len -= n;
	}
	return true;
}

static void receive_channels(Channels *k)
{
	CriBase64 decoder = {0};
	struct Port *to = NULL;
	WsPiece p;

	while (ws_receive(k->w, k->quit_fd, &p, NULL) > 0) {
		if (p.begins && p.len > 0) {
			unsigned channel = k->base64 ? (unsigned)p.data[0] - '0' : p.data[0];

			to = channel % 2 == 0 && channel / 2 < k->rq->n_ports ? &k->ports[channel / 2] : NULL;
			decoder = (CriBase64){0};
			p.data++;
			p.len--;
		}
		if (!to)
			continue; /* of a channel that nobody reads */
		if (!k->base64)
			port_input(to, p.data, p.len);
		else if (!decode_input(k, &decoder, to, p.data, p.len))
			return;
	}
}

static void channels_done(Channels *k)
{
	for (size_t i = 0; k->ports && i < k->rq->n_ports; i++)
		if (k->ports[i].fd >= 0)
			(void)shutdown(k->ports[i].fd, SHUT_RDWR);
	for (size_t i = 0; k->ports && i < k->rq->n_ports; i++) {
		if (k->ports[i].started)
			pthread_join(k->ports[i].out, NULL);
		close_fd(&k->ports[i].fd);
	}
	ws_close(k->w, WS_NORMAL);
	close_fd(&k->quit_fd);
	free(k->ports);
}

static int make_channels(Channels *k, CriStreams *s, Err *e)
{
	k->ports = calloc(k->rq->n_ports, sizeof(*k->ports));
	if (!k->ports)
		return err_oom(e);
	for (size_t i = 0; i < k->rq->n_ports; i++)
		k->ports[i] = (struct Port){.k = k, .n = (unsigned)i, .fd = -1};
	k->left = (unsigned)k->rq->n_ports;
	k->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (k->quit_fd < 0)
		return err_sys(e, errno, "make an eventfd");
	return ws_open(&k->h, s->idle_timeout_ms, &k->w, e);
}

static int channel_forward(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, Err *e)
{
	Channels k = {.door = s->door, .rq = sr, .idle_timeout_ms = s->idle_timeout_ms, .quit_fd = -1};
	const char *protocol;
	int r;

	if (sr->n_ports == 0 || sr->n_ports > PORTS_MAX)
		return err_new(e, ERR_INVALID,
			       "forwarding over WebSocket needs 1 to %d ports in the request for it, not %zu",
			       PORTS_MAX, sr->n_ports);
	r = cri_websocket_upgrade(rq, channel_protocols, &k.h, &protocol, e);
	if (r <= 0)
		return r;
	k.base64 = strstr(protocol, "base64") != NULL;
	r = make_channels(&k, s, e);
	for (size_t i = 0; r >= 0 && i < sr->n_ports; i++)
		open_port(&k.ports[i]);
	if (r >= 0)
		receive_channels(&k);
	channels_done(&k);
	return r;
}

int cri_stream_forward(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, Err *e)
{
	const char *tunnel = ws_wanted(rq) ? ws_choose_protocol(rq, tunnel_protocols) : NULL, *protocol;
	SpdyConnection *c;
	int r;

	if (tunnel && *tunnel)
		return tunnel_forward(s, rq, sr, e);
	if (ws_wanted(rq))
		return channel_forward(s, rq, sr, e);
	r = cri_spdy_upgrade(s, rq, spdy_protocols, &c, &protocol, e);
	if (r > 0)
		forward_streams(s->door, sr, c);
	return MIN2(r, 0);
}
