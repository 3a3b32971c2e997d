/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS for the server, as a relay: one thread that has all encrypted connections and speaks plain text with the server over a socket pair each.
 *
 * Neither OpenSSL nor its state is seen by handlers, and a connection can be given to a shim, which knows nothing of TLS: what it gets is the
 * other end of the pair. The client's close_notify is end of input (half-close); the end of its TCP stream is its departure, and closes
 * the pair.
 *
 * A Relay belongs to the thread. Bytes are read into one buffer of the thread and kept in the Relay only when the other side does not take
 * them; then nothing more is read from this side (back pressure). So an idle client costs what OpenSSL needs for it. `dead` ones are
 * freed at the end of a round, when no event can mean them any more.
 *
 * Once the server has closed its end, what is in the pair is still the client's. One who takes it slowly is `parting`: the server does not
 * count it any more, so it is here that the number of those, and the time without a byte taken, have an end.
 */
#include "wire/httpd/httpd-internal.h"
#include "base/clock.h"
#include "base/secret.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define PIECE          16384
#define PIECES_A_TURN  16
#define HANDSHAKE_NS   10000000000ll
#define EVENTS_MAX     64
#define COMPLAINTS_MAX 10 /* about handshakes, in ten seconds */
#define PARTING_MS     60000
#define PARTING_MAX    128

/* What one side has not taken yet. */
typedef struct Rest {
	char *bytes;
	size_t pos, len;
} Rest;

typedef struct Relay {
	SSL *ssl;
	int net, plain;
	bool shaken, client_end, server_end, dead, want_write, took; /* took: the network has */
	bool parting; /* the server is gone, the client is slow */
	bool silent;  /* nothing more is said: what the client sends is thrown away until it leaves */
	Rest to_plain, to_net;
	uint32_t net_events, plain_events;
	int64_t until_ns; /* INT64_MAX: no limit */
	char peer[80];
	struct Relay *prev, *next;
} Relay;

struct HttpTls {
	char *cert, *key, *ca;
	bool verify;
	int64_t parting_ns;
	unsigned parting_max;
	pthread_mutex_t lock; /* of ctx and the list */
	SSL_CTX *ctx;
	Relay *relays;
	int epoll_fd, stop_fd;
	pthread_t thread;
	bool running;
	int64_t complaints_since_ns;
	unsigned complaints;
	char scratch[PIECE];
};

/* ---- certificates ---- */

/* What OpenSSL has to say, in one line; its queue is empty afterwards. */
static const char *why(char buf[200])
{
	unsigned long code = ERR_peek_last_error();

	if (code)
		ERR_error_string_n(code, buf, 200);
	else
		snprintf(buf, 200, "%s", "unknown reason");
	ERR_clear_error();
	return buf;
}

static int load_files(const HttpTls *t, SSL_CTX *c, Err *e)
{
	char buf[200];

	if (SSL_CTX_use_certificate_chain_file(c, t->cert) != 1)
		return err_new(e, ERR_INVALID, "read the certificate %s: %s", t->cert, why(buf));
	if (SSL_CTX_use_PrivateKey_file(c, t->key, SSL_FILETYPE_PEM) != 1)
		return err_new(e, ERR_INVALID, "read the key %s: %s", t->key, why(buf));
	if (SSL_CTX_check_private_key(c) != 1)
		return err_new(e, ERR_INVALID, "the key %s does not belong to the certificate %s: %s", t->key,
			       t->cert, why(buf));
	if (!t->verify)
		return 0;
	if (SSL_CTX_load_verify_file(c, t->ca) != 1)
		return err_new(e, ERR_INVALID, "read the certificates of clients' authorities %s: %s", t->ca,
			       why(buf));
	SSL_CTX_set_client_CA_list(c, SSL_load_client_CA_file(t->ca));
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return 0;
}

/* No sessions are resumed: a certificate that is no longer accepted must not live on in a ticket. */
static int make_context(const HttpTls *t, SSL_CTX **ret, Err *e)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());
	char buf[200];
	int r;

	if (!c)
		return err_new(e, ERR_INTERNAL, "prepare TLS: %s", why(buf));
	SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_num_tickets(c, 0);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				SSL_MODE_RELEASE_BUFFERS);
	r = load_files(t, c, e);
	if (r < 0) {
		SSL_CTX_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

int http_tls_reload(HttpTls *t, Err *e)
{
	SSL_CTX *fresh = NULL, *before;
	int r = make_context(t, &fresh, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&t->lock);
	before = t->ctx;
	t->ctx = fresh;
	pthread_mutex_unlock(&t->lock);
	SSL_CTX_free(before);
	return 0;
}

/* ---- one connection ---- */

static void rest_done(Rest *k)
{
	secret_free(k->bytes);
	*k = (Rest){0};
}

static int rest_keep(Rest *k, const char *bytes, size_t n)
{
	char *copy = malloc(n);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, n);
	*k = (Rest){copy, 0, n};
	return 0;
}

static void relay_free(Relay *y)
{
	SSL_free(y->ssl);
	close_fd(&y->net);
	close_fd(&y->plain);
	rest_done(&y->to_plain);
	rest_done(&y->to_net);
	free(y);
}

/* True if there will be more from OpenSSL later: it waits for the network. Else the connection is over in this direction. */
static bool ssl_waits(Relay *y, int r)
{
	int what = SSL_get_error(y->ssl, r);

	if (what == SSL_ERROR_WANT_WRITE)
		y->want_write = true;
	return what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE;
}

/* Bytes taken, 0 if the socket is full, -errno. */
static ssize_t plain_send(const Relay *y, const char *bytes, size_t n)
{
	ssize_t k = send(y->plain, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (k >= 0)
		return k;
	return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static ssize_t net_send(Relay *y, const char *bytes, size_t n)
{
	int r = SSL_write(y->ssl, bytes, (int)n);

	y->took = y->took || r > 0;
	if (r > 0)
		return r;
	return ssl_waits(y, r) ? 0 : -EPIPE;
}

/* Sends what was kept. 1: nothing is left, 0: the side is still full, -errno. */
static int rest_send(Relay *y, Rest *k, ssize_t (*to)(Relay *y, const char *bytes, size_t n))
{
	while (k->pos < k->len) {
		ssize_t n = to(y, k->bytes + k->pos, k->len - k->pos);

		if (n <= 0)
			return (int)n;
		k->pos += (size_t)n;
	}
	rest_done(k);
	return 1;
}

static ssize_t to_plain(Relay *y, const char *bytes, size_t n)
{
	return plain_send(y, bytes, n);
}

static int pass_on(Relay *y, Rest *k, const char *bytes, size_t n,
		   ssize_t (*to)(Relay *y, const char *bytes, size_t n))
{
	size_t done = 0;

	while (done < n) {
		ssize_t taken = to(y, bytes + done, n - done);

		if (taken < 0)
			return (int)taken;
		if (taken == 0)
			return rest_keep(k, bytes + done, n - done);
		done += (size_t)taken;
	}
	return 0;
}

/* One piece from the client to the server. 1: there may be more, 0: not now, -errno: over. */
static int inwards(HttpTls *t, Relay *y)
{
	int n, r = y->to_plain.bytes ? rest_send(y, &y->to_plain, to_plain) : 1;

	if (r <= 0 || y->client_end)
		return MIN2(r, 0);
	n = SSL_read(y->ssl, t->scratch, PIECE);
	if (n > 0) {
		r = pass_on(y, &y->to_plain, t->scratch, (size_t)n, to_plain);
		return r < 0 ? r : 1;
	}
	if (SSL_get_error(y->ssl, n) == SSL_ERROR_ZERO_RETURN) {
		y->client_end = true;
		(void)shutdown(y->plain, SHUT_WR);
		return 0;
	}
	return ssl_waits(y, n) ? 0 : -ECONNRESET;
}

static int outwards(HttpTls *t, Relay *y)
{
	ssize_t n;
	int r = y->to_net.bytes ? rest_send(y, &y->to_net, net_send) : 1;

	if (r <= 0 || y->server_end)
		return MIN2(r, 0);
	n = recv(y->plain, t->scratch, PIECE, MSG_DONTWAIT);
	if (n < 0 && errno != ECONNRESET)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n <=
	    0) { /* a reset comes after all that was said: of what the client said something was not read */
		y->server_end = true;
		(void)SSL_shutdown(y->ssl); /* close_notify; what the client still says is read on */
		return 0;
	}
	r = pass_on(y, &y->to_net, t->scratch, (size_t)n, net_send);
	return r < 0 ? r : 1;
}

/* Failures are told, but not for everybody who knocks. */
static void complain(HttpTls *t, const Relay *y)
{
	int64_t now = clock_mono_ns();
	char buf[200];

	if (now - t->complaints_since_ns > 10000000000ll) {
		t->complaints_since_ns = now;
		t->complaints = 0;
	}
	if (t->complaints++ < COMPLAINTS_MAX)
		log_info("TLS handshake with %s failed: %s", y->peer, why(buf));
	ERR_clear_error();
}

static void tell_client(const Relay *y)
{
	X509 *cert = SSL_get1_peer_certificate(y->ssl);
	char cn[128] = "";

	if (!cert)
		return;
	(void)X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));
	log_info("client %s at %s has signed in by its certificate (%s)", *cn ? cn : "without a name",
		 y->peer, SSL_get_version(y->ssl));
	X509_free(cert);
}

/* The last words are under way to it: closing while there is something unread would destroy them. */
static void await_departure(HttpTls *t, Relay *y)
{
	ssize_t n = 1;

	for (int i = 0; i < PIECES_A_TURN && n > 0; i++)
		n = recv(y->net, t->scratch, PIECE, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		y->dead = true;
}

static bool shake(HttpTls *t, Relay *y)
{
	int r = SSL_accept(y->ssl);

	if (r == 1) {
		y->shaken = true;
		y->until_ns = INT64_MAX;
		tell_client(y);
		return true;
	}
	if (!ssl_waits(y, r)) {
		complain(t, y);
		y->silent = true;
		(void)shutdown(y->net, SHUT_WR);
		await_departure(t, y);
	}
	return false;
}

static void set_events(const HttpTls *t, Relay *y, int fd, uintptr_t mark, uint32_t *now, uint32_t want)
{
	struct epoll_event ev = {.events = want, .data.ptr = (void *)((uintptr_t)y | mark)};

	if (*now == want)
		return;
	if (epoll_ctl(t->epoll_fd, EPOLL_CTL_MOD, fd, &ev) < 0)
		y->dead = true;
	*now = want;
}

static void wait_for_more(const HttpTls *t, Relay *y)
{
	uint32_t net = y->want_write || y->to_net.bytes ? EPOLLOUT : 0, plain = 0;

	if (y->client_end)
		net |= EPOLLRDHUP; /* it has said all, and may go */
	else if (!y->to_plain.bytes)
		net |= EPOLLIN | EPOLLRDHUP;
	if (y->shaken && !y->server_end && !y->to_net.bytes)
		plain |= EPOLLIN;
	if (y->to_plain.bytes)
		plain |= EPOLLOUT;
	set_events(t, y, y->net, 0, &y->net_events, net);
	set_events(t, y, y->plain, 1, &y->plain_events, plain);
}

static void turn(HttpTls *t, Relay *y)
{
	int in = 1, out = 1;

	y->want_write = false;
	ERR_clear_error();
	if (y->shaken || shake(t, y)) {
		for (int i = 0; i < PIECES_A_TURN && (in > 0 || out > 0); i++) {
			in = inwards(t, y);
			out = outwards(t, y);
			if (in < 0 || out < 0)
				y->dead = true;
			if (y->dead)
				break;
		}
		/* Both have said all, and all has gone out. */
		if (y->client_end && y->server_end && !y->to_net.bytes && !y->to_plain.bytes)
			y->dead = true;
	}
	ERR_clear_error();
	if (!y->dead)
		wait_for_more(t, y);
}

/* Of too many that part, the one that has taken nothing for the longest time goes. */
static void make_room(HttpTls *t)
{
	Relay *slowest = NULL;
	unsigned n = 0;

	pthread_mutex_lock(&t->lock);
	for (Relay *y = t->relays; y; y = y->next) {
		if (!y->parting || y->dead)
			continue;
		n++;
		if (!slowest || y->until_ns < slowest->until_ns)
			slowest = y;
	}
	pthread_mutex_unlock(&t->lock);
	if (slowest && n >= t->parting_max)
		slowest->dead = true;
}

/* The client is slow. Its end of the pair would wake us for ever: we look at it when the client has taken something. */
static void part_slowly(HttpTls *t, Relay *y)
{
	if (!y->parting) {
		make_room(t);
		(void)epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, y->plain, NULL);
	}
	if (!y->parting || y->took)
		y->until_ns = clock_mono_ns() + t->parting_ns;
	y->parting = true;
	set_events(t, y, y->net, 0, &y->net_events, y->want_write ? EPOLLOUT : EPOLLIN);
}

/* True once the client's network has taken all that the server has said, and the end of it. */
static bool all_is_said(Relay *y)
{
	int r;

	if (y->to_net.bytes)
		return false;
	r = SSL_shutdown(y->ssl);
	return r >= 0 || !ssl_waits(y, r) || !y->want_write;
}

/* The server has closed its end: what it has said goes out, nothing is left to be brought in. */
static void server_gone(HttpTls *t, Relay *y)
{
	int r = 1;

	rest_done(&y->to_plain);
	if (!y->shaken) {
		y->dead = true;
		return;
	}
	y->want_write = y->took = false;
	ERR_clear_error();
	while (r > 0)
		r = outwards(t, y);
	if (r < 0) {
		y->dead = true;
	} else if (!all_is_said(y)) {
		part_slowly(t, y);
	} else if (!y->parting) {
		y->dead = true;
	} else {
		y->silent = true;
		(void)shutdown(y->net, SHUT_WR);
		set_events(t, y, y->net, 0, &y->net_events, EPOLLIN);
		await_departure(t, y);
	}
	ERR_clear_error();
}

/* ---- the thread ---- */

static void on_event(HttpTls *t, void *p, uint32_t events)
{
	Relay *y = (Relay *)((uintptr_t)p & ~(uintptr_t)1);
	bool plain = (uintptr_t)p & 1;

	if (y->dead)
		return;
	if (!plain && (events & (EPOLLERR | EPOLLHUP))) {
		y->dead = true;
	} else if (y->silent && !plain) {
		await_departure(t, y);
	} else if (y->parting || (plain && (events & (EPOLLHUP | EPOLLERR)))) {
		server_gone(t, y);
	} else if (!plain && (events & EPOLLRDHUP) && y->client_end) {
		y->dead = true;
	} else {
		turn(t, y);
	}
}

/* Frees what is dead, and what has not introduced itself or taken the rest in time. The next such moment, or INT64_MAX. */
static int64_t sweep(HttpTls *t)
{
	int64_t now = clock_mono_ns(), next = INT64_MAX;

	pthread_mutex_lock(&t->lock);
	for (Relay *y = t->relays, *after; y; y = after) {
		after = y->next;
		if (y->until_ns <= now)
			y->dead = true;
		if (!y->dead) {
			next = MIN2(next, y->until_ns);
			continue;
		}
		if (y->prev)
			y->prev->next = y->next;
		else
			t->relays = y->next;
		if (y->next)
			y->next->prev = y->prev;
		if (y->shaken && !y->server_end)
			(void)SSL_shutdown(y->ssl);
		relay_free(y);
	}
	pthread_mutex_unlock(&t->lock);
	return next;
}

static void *relay_thread(void *arg)
{
	HttpTls *t = arg;
	struct epoll_event evs[EVENTS_MAX];
	int64_t next = INT64_MAX;

	for (;;) {
		int64_t left =
		    next == INT64_MAX ? -1 : MAX2((next - clock_mono_ns()) / 1000000 + 1, (int64_t)0);
		int n = epoll_wait(t->epoll_fd, evs, EVENTS_MAX, (int)left);

		for (int i = 0; i < n; i++) {
			if (!evs[i].data.ptr) {
				eventfd_t v;

				if (eventfd_read(t->stop_fd, &v) == 0 && v >= 1u << 16)
					return NULL;
				continue; /* somebody new: sweep knows when its time is over */
			}
			on_event(t, evs[i].data.ptr, evs[i].events);
		}
		next = sweep(t);
	}
}

static void name_peer(int fd, char *ret, size_t size)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	char text[INET6_ADDRSTRLEN] = "?";
	unsigned port = 0;

	if (getpeername(fd, (struct sockaddr *)&a, &len) == 0 && a.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)&a;

		(void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		port = ntohs(in->sin_port);
	} else if (a.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)&a;

		(void)inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof(text));
		port = ntohs(in->sin6_port);
	}
	snprintf(ret, size, a.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, port);
}

static Relay *relay_new(HttpTls *t, int net, int plain)
{
	Relay *y = calloc(1, sizeof(*y));

	if (!y)
		return NULL;
	*y = (Relay){.net = net,
		     .plain = plain,
		     .until_ns = clock_mono_ns() + HANDSHAKE_NS,
		     .net_events = EPOLLIN};
	name_peer(net, y->peer, sizeof(y->peer));
	pthread_mutex_lock(&t->lock);
	y->ssl = SSL_new(t->ctx);
	pthread_mutex_unlock(&t->lock);
	if (!y->ssl || SSL_set_fd(y->ssl, net) != 1) {
		SSL_free(y->ssl);
		free(y);
		return NULL;
	}
	return y;
}

/* From here on the thread has it. */
static int hand_over(HttpTls *t, Relay *y)
{
	struct epoll_event net = {.events = EPOLLIN, .data.ptr = y},
			   plain = {.events = 0, .data.ptr = (void *)((uintptr_t)y | 1)};
	int r = 0;

	pthread_mutex_lock(&t->lock); /* sweep may not free it before it is whole */
	if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, y->plain, &plain) < 0 ||
	    epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, y->net, &net) < 0)
		r = -errno;
	if (r >= 0) {
		y->next = t->relays;
		if (y->next)
			y->next->prev = y;
		t->relays = y;
	}
	pthread_mutex_unlock(&t->lock);
	if (r >= 0)
		(void)eventfd_write(t->stop_fd, 1);
	return r;
}

int http_tls_accept(HttpTls *t, int fd)
{
	_cleanup_close_ int net = fd;
	int pair[2], r = fd_set_nonblock(net, true);
	Relay *y;

	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	y = relay_new(t, net, pair[0]);
	if (!y) {
		(void)close(pair[0]);
		(void)close(pair[1]);
		return -ENOMEM;
	}
	take_fd(&net);
	r = hand_over(t, y);
	if (r < 0) {
		relay_free(y);
		(void)close(pair[1]);
		return r;
	}
	return pair[1];
}

static int start(HttpTls *t, Err *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int r;

	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	t->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->epoll_fd < 0 || t->stop_fd < 0 || epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, t->stop_fd, &ev) < 0)
		return err_sys(e, errno, "prepare TLS");
	r = make_context(t, &t->ctx, e);
	if (r < 0)
		return r;
	r = pthread_create(&t->thread, NULL, relay_thread, t);
	if (r != 0)
		return err_sys(e, r, "start the thread for TLS");
	t->running = true;
	return 0;
}

int http_tls_new(const HttpTlsOptions *o, HttpTls **ret, Err *e)
{
	HttpTls *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_oom(e);
	t->epoll_fd = t->stop_fd = -1;
	t->verify = o->verify;
	t->parting_ns = (o->parting_ms ? o->parting_ms : PARTING_MS) * INT64_C(1000000);
	t->parting_max = o->parting_max ? o->parting_max : PARTING_MAX;
	t->cert = strdup(o->cert);
	t->key = strdup(o->key);
	t->ca = o->ca ? strdup(o->ca) : NULL;
	pthread_mutex_init(&t->lock, NULL);
	r = t->cert && t->key && (t->ca || !o->ca) ? start(t, e) : err_oom(e);
	if (r < 0) {
		http_tls_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void http_tls_free(HttpTls *t)
{
	if (!t)
		return;
	if (t->running) {
		(void)eventfd_write(t->stop_fd, 1u << 16);
		pthread_join(t->thread, NULL);
	}
	while (t->relays) {
		Relay *y = t->relays;

		t->relays = y->next;
		relay_free(y);
	}
	SSL_CTX_free(t->ctx);
	close_fd(&t->epoll_fd);
	close_fd(&t->stop_fd);
	pthread_mutex_destroy(&t->lock);
	explicit_bzero(t->scratch, sizeof(t->scratch));
	free(t->cert);
	free(t->key);
	free(t->ca);
	free(t);
}
