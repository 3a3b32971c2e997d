/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection: its thread that reads, its timers (deadlines, silence, idleness), its end; and the client's way to make and close one.
 */
#include "wire/grpc/grpc-internal.h"
#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define IN_FIRST     (16 * 1024)
#define IN_MAX       (256 * 1024)
#define SHRINK_MS    2000 /* without anything to read, a grown buffer is given back */
#define READER_STACK (256 * 1024)
#define MS           1000000ll

/* ---- made and freed ---- */

static GrpcLimits with_defaults(const GrpcLimits *o)
{
	GrpcLimits l = o ? *o : (GrpcLimits){0};

	l.message_max = l.message_max ? l.message_max : 16 * 1024 * 1024;
	l.metadata_max = l.metadata_max ? l.metadata_max : 1024 * 1024;
	l.memory_max = l.memory_max ? l.memory_max : 64 * 1024 * 1024;
	l.calls_max = l.calls_max ? l.calls_max : 256;
	l.window = MIN2(l.window ? l.window : 1024 * 1024, (uint32_t)INT32_MAX);
	l.hello_timeout_ms = l.hello_timeout_ms ? l.hello_timeout_ms : 30000;
	return l;
}

GrpcConnection *grpc_connection_new(int fd, bool server, const GrpcLimits *o)
{
	GrpcConnection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	pthread_cond_init(&c->work, NULL);
	c->o = with_defaults(o);
	c->fd = fd;
	c->server = server;
	c->dead_fd = c->dead_end = -1;
	c->last_read_ns = c->idle_since_ns = clock_mono_ns();
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake < 0 || grpc_session_new(c) < 0) {
		grpc_connection_free(c);
		return NULL;
	}
	return c;
}

/* Nobody else has it any more. fd stays open. */
void grpc_connection_free(GrpcConnection *c)
{
	if (!c)
		return;
	nghttp2_session_del(c->session);
	while (c->garbage) {
		GrpcCall *call = c->garbage;

		c->garbage = call->next;
		free(call->out);
		free(call);
	}
	close_fd(&c->wake);
	close_fd(&c->dead_fd);
	close_fd(&c->dead_end);
	free(c->authority);
	free(c->left);
	free(c->in);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	pthread_cond_destroy(&c->work);
	free(c);
}

/* No signal is handled by a thread of ours. */
int grpc_thread(pthread_t *ret, bool detached, size_t stack, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t t;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, stack);
	if (detached)
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(ret ? ret : &t, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

void grpc_wake(GrpcConnection *c)
{
	if (c->woken || c->reader_awake)
		return;
	c->woken = true;
	(void)eventfd_write(c->wake, 1);
}

static void _printf_(3, 0) lose(GrpcConnection *c, bool wrong, const char *fmt, va_list ap)
{
	if (c->lost)
		return;
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	c->wrong = wrong;
	c->lost = true;
	close_fd(&c->dead_end);
	grpc_wake(c);
}

void grpc_lose(GrpcConnection *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	lose(c, false, fmt, ap);
	va_end(ap);
}

void grpc_lose_wrong(GrpcConnection *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	lose(c, true, fmt, ap);
	va_end(ap);
}

/* ---- timers; under the lock ---- */

static void expire_calls(GrpcConnection *c, int64_t now)
{
	int64_t next = 0;

	for (GrpcCall *call = c->calls; call; call = call->next) {
		if (call->over || call->deadline_ns == 0)
			continue;
		if (call->deadline_ns <= now) {
			grpc_call_end(call, 4, "the deadline of the call has passed", true);
			if (!c->server)
				grpc_reset(call, NGHTTP2_CANCEL);
		} else if (next == 0 || call->deadline_ns < next) {
			next = call->deadline_ns;
		}
	}
	c->next_deadline_ns = next;
}

static void ping_silent(GrpcConnection *c, int64_t now)
{
	if (now - c->last_read_ns < (c->pinged ? 2 : 1) * c->o.ping_ms * MS)
		return;
	if (c->pinged) {
		grpc_lose_wrong(c, "the peer was silent for %d ms", 2 * c->o.ping_ms);
		return;
	}
	c->pinged = true;
	(void)nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
}

static void say_goodbye(GrpcConnection *c)
{
	if (c->stopping)
		return;
	c->stopping = true;
	(void)nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE,
				    nghttp2_session_get_last_proc_stream_id(c->session), NGHTTP2_NO_ERROR,
				    NULL, 0);
}

static void run_timers(GrpcConnection *c)
{
	int64_t now = clock_mono_ns();

	if (c->next_deadline_ns && c->next_deadline_ns <= now)
		expire_calls(c, now);
	if (c->o.ping_ms > 0)
		ping_silent(c, now);
	if (!c->server)
		return;
	if (!c->hello && now - c->idle_since_ns > c->o.hello_timeout_ms * MS)
		grpc_lose_wrong(c, "the client's preface did not come within %d ms", c->o.hello_timeout_ms);
	if (c->o.idle_timeout_ms > 0 && c->n_calls == 0 && now - c->idle_since_ns > c->o.idle_timeout_ms * MS)
		say_goodbye(c);
}

static void sooner(int64_t *at, int64_t candidate)
{
	if (candidate && (*at == 0 || candidate < *at))
		*at = candidate;
}

/* Milliseconds until the next timer, -1: none. */
static int next_timer(const GrpcConnection *c)
{
	int64_t at = c->next_deadline_ns, now = clock_mono_ns();

	if (c->o.ping_ms > 0)
		sooner(&at, c->last_read_ns + (c->pinged ? 2 : 1) * c->o.ping_ms * MS);
	if (c->server && !c->hello)
		sooner(&at, c->idle_since_ns + c->o.hello_timeout_ms * MS);
	if (c->server && c->o.idle_timeout_ms > 0 && c->n_calls == 0 && !c->stopping)
		sooner(&at, c->idle_since_ns + c->o.idle_timeout_ms * MS);
	if (c->in_cap > IN_FIRST)
		sooner(&at, now + SHRINK_MS * MS);
	return at == 0 ? -1 : at <= now ? 0 : (int)MIN2((at - now) / MS + 1, (int64_t)3600000);
}

/* ---- reading ---- */

static void take_bytes(GrpcConnection *c, const void *data, size_t len)
{
	ssize_t n;

	c->reader_awake = true;
	c->last_read_ns = clock_mono_ns();
	c->pinged = false;
	n = nghttp2_session_mem_recv(c->session, data, len);
	if (n < 0) {
		grpc_flush(c); /* what it says about that */
		grpc_lose_wrong(c, "%s", c->hint[0] ? c->hint : nghttp2_strerror((int)n));
	}
	grpc_flush(c);
}

static bool grow_in(GrpcConnection *c, size_t cap)
{
	free(c->in);
	c->in = malloc(cap);
	c->in_cap = c->in ? cap : 0;
	return c->in;
}

/* Reads until there is nothing more for now. */
static void read_socket(GrpcConnection *c)
{
	for (;;) {
		ssize_t n;

		if (!c->in && !grow_in(c, IN_FIRST))
			n = -1;
		else
			n = recv(c->fd, c->in, c->in_cap, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		pthread_mutex_lock(&c->lock);
		if (n > 0)
			take_bytes(c, c->in, (size_t)n);
		else if (n == 0)
			grpc_lose(c, "the peer closed the connection");
		else
			grpc_lose(c, "read from the peer: %s", strerror(errno));
		pthread_mutex_unlock(&c->lock);
		if (n <= 0 || (size_t)n < c->in_cap)
			return;
		if (c->in_cap < IN_MAX)
			(void)grow_in(c, c->in_cap * 4);
	}
}

/* Before it waits: timers, what is left to write. True if it goes on. */
static bool prepare(GrpcConnection *c, int *ret_timeout)
{
	bool goes_on;

	pthread_mutex_lock(&c->lock);
	if (c->woken) {
		eventfd_t v;

		(void)eventfd_read(c->wake, &v);
		c->woken = false;
	}
	c->reader_awake = true;
	run_timers(c);
	grpc_flush(c);
	c->reader_awake = false;
	c->reader_waits_to_write = c->left;
	goes_on = !c->lost && (c->left || nghttp2_session_want_read(c->session) ||
			       nghttp2_session_want_write(c->session));
	*ret_timeout = next_timer(c);
	pthread_mutex_unlock(&c->lock);
	return goes_on;
}

static void end_calls(GrpcConnection *c)
{
	GrpcCall *next;

	pthread_mutex_lock(&c->lock);
	if (c->goaway_code != NGHTTP2_NO_ERROR)
		grpc_lose_wrong(c, "%s", c->hint[0] ? c->hint : nghttp2_http2_strerror(c->goaway_code));
	grpc_lose(c, "the connection has ended");
	for (GrpcCall *call = c->calls; call; call = next) {
		next = call->next;
		grpc_call_end(call, c->server ? 1 : 14, c->server ? "the client has gone" : c->why,
			      c->server);
		if (call->stream_open)
			grpc_call_closed(call);
	}
	grpc_flush(c);
	/* The peer learns of it now, whatever methods or calls still hold. */
	(void)shutdown(c->fd, SHUT_RDWR);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

void grpc_connection_run(GrpcConnection *c, const void *prefix, size_t prefix_len)
{
	int timeout;

	if (prefix_len) {
		pthread_mutex_lock(&c->lock);
		take_bytes(c, prefix, prefix_len);
		pthread_mutex_unlock(&c->lock);
	}
	while (prepare(c, &timeout)) {
		struct pollfd p[] = {
		    {.fd = c->fd, .events = (short)(POLLIN | (c->reader_waits_to_write ? POLLOUT : 0))},
		    {.fd = c->wake, .events = POLLIN},
		    {.fd = c->o.stop_fd > 0 && !c->stopping ? c->o.stop_fd : -1, .events = POLLIN},
		};
		int n = poll(p, ELEMENTSOF(p), timeout);

		if (n == 0 && c->in_cap > IN_FIRST) {
			free(take_ptr(c->in));
			c->in_cap = 0;
		}
		if (n > 0 && p[0].revents & (POLLIN | POLLHUP | POLLERR))
			read_socket(c);
		if (n > 0 && p[2].revents) {
			pthread_mutex_lock(&c->lock);
			say_goodbye(c);
			pthread_mutex_unlock(&c->lock);
		}
	}
	end_calls(c);
}

/* ---- a client's ---- */

static void *reader(void *arg)
{
	grpc_connection_run(arg, NULL, 0);
	return NULL;
}

int grpc_connect(int fd, const char *authority, const GrpcLimits *o, GrpcConnection **ret, Err *e)
{
	GrpcConnection *c = grpc_connection_new(fd, false, o);
	int r;

	if (!c) {
		close_fd(&fd);
		return err_oom(e);
	}
	c->authority = strdup(authority);
	r = c->authority ? grpc_thread(&c->reader, false, READER_STACK, reader, c) : -ENOMEM;
	if (r < 0) {
		grpc_connection_free(c);
		close_fd(&fd);
		return err_sys(e, r, "start a connection's thread");
	}
	*ret = c;
	return 0;
}

void grpc_connection_close(GrpcConnection *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	if (!c->lost) {
		say_goodbye(c);
		grpc_flush(c);
		grpc_lose(c, "the connection was closed");
	}
	while (c->n_held > 0)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->reader, NULL);
	closep(&c->fd);
	grpc_connection_free(c);
}

int grpc_connection_dead_fd(GrpcConnection *c)
{
	int fd, p[2];

	pthread_mutex_lock(&c->lock);
	fd = c->dead_fd;
	if (fd < 0) {
		fd = pipe2(p, O_CLOEXEC) < 0 ? -errno : p[0];
		if (fd >= 0) {
			c->dead_fd = p[0];
			c->dead_end = p[1];
			if (c->lost || c->going)
				close_fd(&c->dead_end);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return fd;
}
