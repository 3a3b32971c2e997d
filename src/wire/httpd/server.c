/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners, and the thread that waits for all connections that wait for their clients.
 *
 * http_server_run has them in one epoll set. One that has a whole request leaves the set for a worker (worker.c) and comes back when
 * its client has nothing more to ask. Within one round what clients sent comes before what is new and what is too old: nothing that the
 * round still has an event of is freed under it.
 *
 * Neither the number of clients nor what they send may fill the engine: above connections_max, or without descriptors, the connection
 * that has been idle longest makes room; above ARRIVING_MAX bytes of unfinished requests, the oldest of those.
 *
 * The list of connections is for http_server_drain and http_server_describe: one that streams is shut down at once, a handed-over one never (its
 * socket may be somebody else's by now).
 */
#include "wire/httpd/httpd-internal.h"
#include "base/clock.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define EVENTS_MAX   64
#define ACCEPT_MAX   64 /* of one listener in one round */
#define ARRIVING_MAX (8u << 20)
#define REARM_NS     100000000
#define REST_MS      3000

int http_server_new(const HttpOptions *o, HttpServer **ret, Err *e)
{
	HttpServer *s = calloc(1, sizeof(*s));

	if (!s)
		return err_oom(e);
	s->o = *o;
	s->o.body_max = o->body_max ? o->body_max : 4u << 20;
	s->o.head_timeout_ms = o->head_timeout_ms ? o->head_timeout_ms : 30000;
	s->o.idle_timeout_ms = o->idle_timeout_ms ? o->idle_timeout_ms : 180000;
	s->o.connections_max = o->connections_max ? o->connections_max : 1024;
	s->o.requests_max = o->requests_max ? o->requests_max : 2048;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	pthread_cond_init(&s->work, NULL);
	s->wake_at_ns = INT64_MAX;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->epoll_fd < 0 || s->wake_fd < 0) {
		int r = err_sys(e, errno, "prepare to wait for connections");

		http_server_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

static int add_listener(HttpServer *s, const HttpListener *l, Err *e)
{
	if (s->n_listeners == HTTP_LISTEN_MAX) {
		(void)close(l->fd);
		return err_new(e, ERR_INVALID, "more than %d listening sockets", HTTP_LISTEN_MAX);
	}
	/* A client that gives up between poll and accept must not block the loop. */
	if (fd_set_nonblock(l->fd, true) < 0) {
		(void)close(l->fd);
		return err_sys(e, errno, "make the listening socket non-blocking");
	}
	s->listeners[s->n_listeners++] = *l;
	return 0;
}

int http_server_add(HttpServer *s, int listen_fd, HttpTransport transport, Err *e)
{
	return add_listener(s, &(HttpListener){listen_fd, transport, NULL}, e);
}

int http_server_add_tls(HttpServer *s, int listen_fd, HttpTls *tls, Err *e)
{
	return add_listener(s, &(HttpListener){listen_fd, HTTP_TLS, tls}, e);
}

/* Takes a connection out of the set: it is the caller's. */
static void unpark(HttpConnection *c)
{
	HttpServer *s = c->server;

	(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	pthread_mutex_lock(&s->lock);
	if (c->queue == &s->arriving)
		s->arriving_bytes -= c->cap;
	http_queue_remove(c);
	pthread_mutex_unlock(&s->lock);
}

static void too_slow(HttpConnection *c)
{
	http_turn_away(c->fd, "408 Request Timeout", "the request took too long to arrive");
	unpark(c);
	http_conn_free(c);
}

static bool end_longest_arriving(HttpServer *s)
{
	if (!s->o.arriving_give_way || !s->arriving.first)
		return false;
	too_slow(s->arriving.first);
	return true;
}

static bool close_longest_idle(HttpServer *s)
{
	HttpConnection *c = s->idle.first;

	if (!c)
		return false;
	unpark(c);
	http_conn_free(c);
	return true;
}

/* Something has arrived on a parked connection, or its client has gone. */
static void on_input(HttpConnection *c)
{
	HttpServer *s = c->server;
	size_t before = c->queue == &s->arriving ? c->cap : 0;
	ssize_t n = http_conn_receive(c);

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		/* Freed by what it was counted with. */
		pthread_mutex_lock(&s->lock);
		s->arriving_bytes += before ? c->cap - before : 0;
		pthread_mutex_unlock(&s->lock);
		unpark(c);
		http_conn_free(c);
		return;
	}
	int whole = http_conn_scan(c);

	pthread_mutex_lock(&s->lock);
	if (before) {
		s->arriving_bytes += c->cap - before;
	} else if (c->begun_ns) {
		http_queue_remove(c);
		http_queue_add(&s->arriving, c);
		s->arriving_bytes += c->cap;
	}
	pthread_mutex_unlock(&s->lock);
	if (whole) {
		unpark(c);
		http_work_start(c);
	}
}

static int arm_listeners(HttpServer *s, bool on)
{
	for (size_t i = 0; i < s->n_listeners; i++) {
		struct epoll_event ev = {.events = on ? EPOLLIN : 0, .data.ptr = &s->listeners[i]};

		if (epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, s->listeners[i].fd, &ev) < 0)
			return -errno;
	}
	s->rearm_ns = on ? 0 : clock_mono_ns() + REARM_NS;
	return 0;
}

/* Without a descriptor to be had the waiting client stays readable: without a pause this would spin. True: try again. */
static bool out_of_descriptors(HttpServer *s, int no)
{
	if (no != EMFILE && no != ENFILE && no != ENOMEM && no != ENOBUFS)
		return false;
	if (close_longest_idle(s))
		return true;
	log_warn("accept: %s; too many connections or open files", strerror(no));
	(void)arm_listeners(s, false);
	return false;
}

static bool has_room(HttpServer *s)
{
	bool full;

	pthread_mutex_lock(&s->lock);
	full = s->n_connections >= s->o.connections_max;
	pthread_mutex_unlock(&s->lock);
	return !full || close_longest_idle(s) || end_longest_arriving(s);
}

/* Who does not read its answers would have a thread for as long as it likes. */
static void limit_sending(const HttpServer *s, int fd)
{
	struct timeval t = {.tv_sec = s->o.send_timeout_ms / 1000,
			    .tv_usec = s->o.send_timeout_ms % 1000 * 1000};

	if (s->o.send_timeout_ms > 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

/* True if there may be another. */
static bool accept_one(HttpServer *s, const HttpListener *l)
{
	int one = 1, fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	HttpConnection *c;

	if (fd < 0)
		return errno != EAGAIN &&
		       (errno == ECONNABORTED || errno == EINTR || out_of_descriptors(s, errno));
	if (!has_room(s)) {
		__atomic_add_fetch(&s->turned_away, 1, __ATOMIC_RELAXED);
		if (!l->tls)
			http_turn_away(fd, "503 Service Unavailable", "too many connections");
		(void)close(fd);
		return true;
	}
	if (l->transport != HTTP_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (l->tls)
		fd = http_tls_accept(l->tls, fd);
	if (fd < 0) {
		log_warn("accept a client with TLS: %s", strerror(-fd));
		return true;
	}
	limit_sending(s, fd); /* with TLS: its plain end */
	c = http_conn_new(s, fd, l->transport);
	if (c)
		http_conn_park(c);
	return true;
}

static void accept_some(HttpServer *s, const HttpListener *l)
{
	for (int i = 0; i < ACCEPT_MAX && accept_one(s, l); i++)
		;
}

/* Ends what has had its time. */
static void expire(HttpServer *s)
{
	int64_t now = clock_mono_ns(), idle = (int64_t)s->o.idle_timeout_ms * 1000000,
		head = (int64_t)s->o.head_timeout_ms * 1000000, next = INT64_MAX;

	while (s->idle.first && s->idle.first->parked_ns + idle <= now)
		(void)close_longest_idle(s);
	while (s->arriving.first &&
	       (s->arriving.first->begun_ns + head <= now || s->arriving_bytes > ARRIVING_MAX))
		too_slow(s->arriving.first);
	if (s->rearm_ns && s->rearm_ns <= now)
		(void)arm_listeners(s, true);
	pthread_mutex_lock(&s->lock);
	if (s->idle.first)
		next = s->idle.first->parked_ns + idle;
	if (s->arriving.first)
		next = MIN2(next, s->arriving.first->begun_ns + head);
	if (s->rearm_ns)
		next = MIN2(next, s->rearm_ns);
	s->wake_at_ns = next;
	pthread_mutex_unlock(&s->lock);
}

static int wait_ms(const HttpServer *s)
{
	int64_t left;

	if (s->wake_at_ns == INT64_MAX)
		return -1;
	left = s->wake_at_ns - clock_mono_ns();
	return left <= 0 ? 0 : (int)MIN2((left + 999999) / 1000000, (int64_t)INT32_MAX);
}

static const HttpListener *as_listener(const HttpServer *s, const void *p)
{
	const HttpListener *l = p;

	return l >= s->listeners && l < s->listeners + s->n_listeners ? l : NULL;
}

/* True when it is to end. */
static bool one_round(HttpServer *s, struct epoll_event *evs, int n, int stop_fd)
{
	for (int i = 0; i < n; i++) {
		void *p = evs[i].data.ptr;
		eventfd_t v;

		if (!p) /* stop_fd */
			return true;
		if (p == &s->wake_fd)
			(void)eventfd_read(s->wake_fd, &v);
		else if (!as_listener(s, p))
			on_input(p);
	}
	for (int i = 0; i < n; i++)
		if (as_listener(s, evs[i].data.ptr))
			accept_some(s, as_listener(s, evs[i].data.ptr));
	expire(s);
	return false;
}

static int watch(HttpServer *s, int fd, void *p)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = p};

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int http_server_run(HttpServer *s, int stop_fd, Err *e)
{
	struct epoll_event evs[EVENTS_MAX];
	int r = watch(s, stop_fd, NULL);

	if (r >= 0)
		r = watch(s, s->wake_fd, &s->wake_fd);
	for (size_t i = 0; r >= 0 && i < s->n_listeners; i++)
		r = watch(s, s->listeners[i].fd, &s->listeners[i]);
	if (r < 0)
		return err_sys(e, r, "prepare to wait for connections");
	for (bool rested = false;;) {
		int ms = wait_ms(s);
		bool tired = s->o.rest && !rested && (ms < 0 || ms > REST_MS);
		int n = epoll_wait(s->epoll_fd, evs, EVENTS_MAX, tired ? REST_MS : ms);

		if (n < 0 && errno != EINTR)
			return err_sys(e, errno, "wait for connections");
		if (n == 0 && tired)
			s->o.rest(s->o.user);
		rested = n == 0 && (rested || tired);
		if (one_round(s, evs, MAX2(n, 0), stop_fd))
			break;
	}
	(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, stop_fd, NULL);
	return 0;
}

static void cut_off(HttpServer *s, bool all)
{
	for (HttpConnection *c = s->connections; c; c = c->next)
		if (!c->hijacked && (all || c->idle || c->streaming))
			(void)shutdown(c->fd, SHUT_RDWR);
}

static struct timespec after_ms(int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000L;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* Those that no thread has. */
static void free_parked(HttpServer *s)
{
	while (s->idle.first || s->arriving.first) {
		HttpConnection *c = s->idle.first ? s->idle.first : s->arriving.first;

		unpark(c);
		http_conn_free(c);
	}
}

bool http_server_drain(HttpServer *s, int grace_ms)
{
	struct timespec until;
	bool empty;

	for (size_t i = 0; i < s->n_listeners; i++)
		close_fd(&s->listeners[i].fd);
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	free_parked(s);
	pthread_mutex_lock(&s->lock);
	cut_off(s, false);
	for (int round = 0; round < 2 && (s->connections || s->workers); round++) {
		until = after_ms(grace_ms);
		while ((s->connections || s->workers) &&
		       pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0)
			;
		cut_off(s, true);
	}
	empty = !s->connections && !s->workers;
	pthread_mutex_unlock(&s->lock);
	return empty;
}

void http_server_free(HttpServer *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_listeners; i++)
		close_fd(&s->listeners[i].fd);
	close_fd(&s->epoll_fd);
	close_fd(&s->wake_fd);
	pthread_cond_destroy(&s->changed);
	pthread_cond_destroy(&s->work);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void http_server_counts(HttpServer *s, HttpCounts *ret)
{
	pthread_mutex_lock(&s->lock);
	*ret = (HttpCounts){.connections = s->n_connections,
			    .parked = (unsigned)(s->idle.n + s->arriving.n),
			    .workers = s->workers,
			    .idle_workers = s->idle_workers,
			    .accepted = s->accepted,
			    .turned_away = s->turned_away,
			    .requests = s->requests};
	pthread_mutex_unlock(&s->lock);
}

void http_server_describe(HttpServer *s, StrBuf *b)
{
	static const char *const names[] = {[HTTP_UNIX] = "unix", [HTTP_TCP] = "tcp", [HTTP_TLS] = "tls"};
	int64_t now = clock_mono_ns();

	pthread_mutex_lock(&s->lock);
	strbuf_addf(b,
		    "connections %u (%zu idle, %zu with part of a request, %zu waiting for a thread), "
		    "threads %u (%u idle), accepted %llu, turned away %llu, requests %llu\n",
		    s->n_connections, s->idle.n, s->arriving.n, s->ready.n, s->workers, s->idle_workers,
		    (unsigned long long)s->accepted, (unsigned long long)s->turned_away,
		    (unsigned long long)s->requests);
	for (const HttpConnection *c = s->connections; c; c = c->next)
		if (c->doing)
			strbuf_addf(b, "thread %d fd %d %s %s%s%s for %.3f s\n", (int)c->tid, c->fd,
				    names[c->transport], c->doing, c->streaming ? " (streams)" : "",
				    c->hijacked ? " (handed over)" : "",
				    (double)(now - c->doing_since_ns) / 1e9);
	pthread_mutex_unlock(&s->lock);
}
