/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue and the socket; what is sent is put together by remote-format.c.
 *
 * In the queue each record is preceded by its length, which is not sent: a datagram is one record, and on a stream the
 * length tells where a record begins after a reconnection, so that none is sent in halves.
 */
#include "shim/remote.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "shim/logger.h"
#include "shim/queue.h"
#include "shim/remote-format.h"
#include "shim/remote-tls.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/un.h>

#define BATCH        64
#define RETRY_NS     (1000 * INT64_C(1000000))
#define DIAL_MS      10000
#define QUEUE_MAX    (16u << 20)  /* whatever the mode says */
#define BLOCKING_MAX (128u << 10) /* waits for a server until the container is held back */
#define SEND_BUFFER  (1 << 20)

typedef enum { DOWN, CONNECTING, UP } RemoteState;

struct Remote {
	Source src;
	Loop *loop;
	RemoteFormat format;
	char *name; /* for messages */
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} to;
	socklen_t to_len;
	int type;       /* SOCK_DGRAM, SOCK_STREAM */
	RemoteTls *tls; /* NULL: src is the connection itself */
	Source report;  /* while a connection over TLS is being made: tells how that ended */
	RemoteState state;
	bool non_blocking;
	bool was_full;
	size_t most;      /* bytes that may wait */
	int64_t retry_ns; /* monotonic: not to be called again before */
	size_t sent;      /* of the first record, on a stream */
	uint64_t lost;
	int why;
	Queue q;
	StrBuf scratch;
	void (*room)(void *user);
	void *user;
};

/* ---- the socket ---- */

static void drop_queue(Remote *r)
{
	const char *p = queue_head(&r->q), *end = p + r->q.len;

	for (uint32_t n; p < end; p += sizeof(n) + n) {
		memcpy(&n, p, sizeof(n));
		r->lost++;
	}
	queue_clear(&r->q);
	r->sent = 0;
}

static void went_down(Remote *r, int error)
{
	loop_close(r->loop, &r->src);
	loop_close(r->loop, &r->report);
	if (r->tls)
		remote_tls_hang_up(r->tls);
	r->state = DOWN;
	r->why = error;
	r->retry_ns = clock_mono_ns() + RETRY_NS;
	drop_queue(r);
}

static void tell_losses(Remote *r)
{
	if (r->lost > 0)
		log_warn("%s: %llu log records lost: %s", r->name, (unsigned long long)r->lost,
			 strerror(r->why));
	r->lost = 0;
}

static void watch(Remote *r)
{
	uint32_t events = r->type == SOCK_STREAM ? EPOLLRDHUP : 0;

	/* The socket of a relay can always be written to; that there is a connection is heard from it otherwise. */
	if (r->state == CONNECTING && r->tls)
		(void)loop_watch(r->loop, &r->report, EPOLLIN);
	else if (r->state == CONNECTING || r->q.len > 0)
		events |= EPOLLOUT;
	(void)loop_watch(r->loop, &r->src, events);
}

/* 0 connected, 1 under way, or -errno. */
static int dial(Remote *r)
{
	if (r->tls) {
		int n = remote_tls_dial(r->tls, &r->src.fd, &r->report.fd);

		r->state = n < 0 ? DOWN : CONNECTING;
		return n < 0 ? n : 1;
	}
	int size = SEND_BUFFER, fd = socket(r->to.sa.sa_family, r->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	/* As systemd's own clients do: a datagram must fit in it. */
	if (r->type == SOCK_DGRAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r->src.fd = fd;
	if (connect(fd, &r->to.sa, r->to_len) == 0) {
		r->state = UP;
		return 0;
	}
	if (errno == EINPROGRESS) {
		r->state = CONNECTING;
		return 1;
	}
	return -errno;
}

static int socket_error(const Remote *r)
{
	int error = 0;
	socklen_t len = sizeof(error);

	return getsockopt(r->src.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno : error;
}

static void call_again(Remote *r)
{
	int error;

	if (clock_mono_ns() < r->retry_ns)
		return;
	error = dial(r);
	if (error < 0) {
		went_down(r, -error);
		return;
	}
	if (r->state == UP)
		tell_losses(r);
	watch(r);
}

/* ---- sending ---- */

/* The first records of the queue, without their lengths. */
static unsigned gather(const Remote *r, struct iovec *iov, unsigned most)
{
	const char *p = queue_head(&r->q), *end = p + r->q.len;
	unsigned i = 0;

	for (uint32_t n; i < most && p < end; p += n) {
		memcpy(&n, p, sizeof(n));
		p += sizeof(n);
		iov[i++] = (struct iovec){(void *)(uintptr_t)p, n};
	}
	if (i > 0) {
		iov[0].iov_base = (char *)iov[0].iov_base + r->sent;
		iov[0].iov_len -= r->sent;
	}
	return i;
}

static void drop_first(Remote *r)
{
	uint32_t n;

	memcpy(&n, queue_head(&r->q), sizeof(n));
	queue_skip(&r->q, sizeof(n) + n);
	r->sent = 0;
}

/* Records that went, or -errno. */
static int send_datagrams(Remote *r)
{
	struct mmsghdr m[BATCH] = {0};
	struct iovec iov[BATCH];
	unsigned n = gather(r, iov, BATCH);
	int done;

	for (unsigned i = 0; i < n; i++)
		m[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	done = sendmmsg(r->src.fd, m, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (done < 0 && errno == EMSGSIZE) { /* of the first one; the others may fit */
		r->lost++;
		r->why = EMSGSIZE;
		drop_first(r);
		return 0;
	}
	if (done < 0)
		return -errno;
	for (int i = 0; i < done; i++)
		drop_first(r);
	return done;
}

static int send_stream(Remote *r)
{
	struct iovec iov[BATCH];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = gather(r, iov, BATCH)};
	ssize_t n = sendmsg(r->src.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	for (size_t i = 0, left = (size_t)n; left > 0; i++) {
		if (left < iov[i].iov_len) {
			r->sent += left;
			break;
		}
		left -= iov[i].iov_len;
		drop_first(r);
	}
	return 1;
}

static void send_all(Remote *r)
{
	while (r->state == UP && r->q.len > 0) {
		int n = r->type == SOCK_DGRAM ? send_datagrams(r) : send_stream(r);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN || n == -ENOBUFS || n == -ENOMEM)
			break;
		/* An earlier datagram met nobody (ICMP): that one is lost, the next may find somebody. */
		if (n == -ECONNREFUSED && r->to.sa.sa_family != AF_UNIX) {
			r->lost++;
			r->why = ECONNREFUSED;
			drop_first(r);
		} else if (n < 0) {
			went_down(r, -n);
		}
	}
}

void remote_flush(Remote *r)
{
	if (r->state == DOWN)
		return;
	send_all(r);
	if (r->state == DOWN)
		return;
	watch(r);
	if (r->was_full && r->q.len <= r->most / 2) {
		r->was_full = false;
		if (r->room)
			r->room(r->user);
	}
}

/* Nothing waits for a server that is gone. */
static void wake_if_down(Remote *r)
{
	if (r->state == DOWN && r->was_full) {
		r->was_full = false;
		if (r->room)
			r->room(r->user);
	}
}

/* Whether there is a connection over TLS now; waits until that is known. */
static int read_report(Remote *r, Err *told)
{
	int n = err_recv(r->report.fd, told);

	loop_close(r->loop, &r->report);
	if (n == 0)
		r->state = UP;
	return n <= 0 ? n : -(told->no ? told->no : ECONNREFUSED);
}

static void report_ready(Source *s, uint32_t events _unused_)
{
	Remote *r = s->arg;
	Err told = {0};
	int n = read_report(r, &told);

	if (n < 0) {
		if (*told.msg)
			log_warn("%s: %s", r->name, told.msg);
		went_down(r, -n);
	} else {
		tell_losses(r);
		remote_flush(r);
	}
	wake_if_down(r);
}

static void remote_ready(Source *s, uint32_t events)
{
	Remote *r = s->arg;
	int error;

	/* It says why before it goes. */
	if (r->state == CONNECTING && r->tls) {
		report_ready(&r->report, EPOLLIN);
		return;
	}
	error = events & (EPOLLERR | EPOLLHUP) || r->state == CONNECTING ? socket_error(r) : 0;

	if (r->type == SOCK_STREAM && (error || (events & (EPOLLRDHUP | EPOLLHUP)))) {
		went_down(r, error ? error : EPIPE);
	} else if (r->state == CONNECTING) {
		r->state = UP;
		tell_losses(r);
	}
	remote_flush(r);
	wake_if_down(r);
}

void remote_put(Remote *r, const LogPiece *p)
{
	uint32_t n;

	if (r->state == DOWN)
		call_again(r);
	if (r->state == DOWN) {
		r->lost++;
		return;
	}
	r->scratch.len = 0;
	strbuf_add_n(&r->scratch, &(uint32_t){0}, sizeof(n));
	r->format.put(&r->format, p, &r->scratch);
	if (r->scratch.oom || r->q.len + r->scratch.len > (r->non_blocking ? r->most : QUEUE_MAX)) {
		r->lost++;
		r->why = r->scratch.oom ? ENOMEM : ENOBUFS;
		strbuf_done(&r->scratch);
		return;
	}
	n = (uint32_t)(r->scratch.len - sizeof(n));
	memcpy(r->scratch.s, &n, sizeof(n));
	if (queue_put(&r->q, r->scratch.s, r->scratch.len) < 0) {
		r->lost++;
		r->why = ENOMEM;
	}
	if (r->q.len >= BLOCKING_MAX && r->state == UP)
		send_all(r);
}

/* ---- life ---- */

bool remote_is_full(Remote *r)
{
	size_t limit = r->was_full ? r->most / 2 : r->most;

	r->was_full = !r->non_blocking && r->state != DOWN && r->q.len > limit;
	return r->was_full;
}

bool remote_busy(const Remote *r)
{
	return r->q.len > 0;
}

void remote_on_room(Remote *r, void (*room)(void *user), void *user)
{
	r->room = room;
	r->user = user;
}

static int read_unix(Remote *r, const char *path, Err *e)
{
	if (!path || path[0] != '/' || strlen(path) >= sizeof(r->to.un.sun_path))
		return err_new(e, ERR_INVALID,
			       "log server: the path of a socket is absolute and at most %zu bytes long",
			       sizeof(r->to.un.sun_path) - 1);
	r->to.un = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(r->to.un.sun_path, path, strlen(path));
	r->to_len = sizeof(r->to.un);
	return 0;
}

static int read_inet(Remote *r, const json_t *doc, Err *e)
{
	const char *ip = json_get_str(doc, "ip");
	int64_t port = json_get_int(doc, "port", 0);

	if (ip && port > 0 && port <= UINT16_MAX) {
		r->to.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
		r->to_len = sizeof(r->to.in);
		if (inet_pton(AF_INET, ip, &r->to.in.sin_addr) == 1)
			return 0;
		r->to.in6 =
		    (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
		r->to_len = sizeof(r->to.in6);
		if (inet_pton(AF_INET6, ip, &r->to.in6.sin6_addr) == 1)
			return 0;
	}
	return err_new(e, ERR_INVALID, "log server: expected an IP address and a port");
}

static int read_tls(Remote *r, const json_t *doc, Err *e)
{
	r->type = SOCK_STREAM;
	r->name =
	    strf("tcp+tls:%s:%lld", json_get_str(doc, "host") ?: "", (long long)json_get_int(doc, "port", 0));
	return r->name ? remote_tls_new(doc, &r->tls, e) : err_oom(e);
}

static int read_address(Remote *r, const json_t *doc, Err *e)
{
	const char *network = json_get_str(doc, "network"), *path = json_get_str(doc, "path");

	if (streq0(network, "tcp+tls"))
		return read_tls(r, doc, e);
	bool local = streq0(network, "unix") || streq0(network, "unixgram");

	r->type = streq0(network, "unix") || streq0(network, "tcp") ? SOCK_STREAM : SOCK_DGRAM;
	if (!local && !streq0(network, "udp") && !streq0(network, "tcp"))
		return err_new(e, ERR_INVALID, "log server: unknown network \"%s\"", network ? network : "");
	r->name = local ? strf("%s:%s", network, path ? path : "")
			: strf("%s:%s:%lld", network, json_get_str(doc, "ip"),
			       (long long)json_get_int(doc, "port", 0));
	if (!r->name)
		return err_oom(e);
	return local ? read_unix(r, path, e) : read_inet(r, doc, e);
}

/* The first call, for which the start of the container waits. */
static int dial_first(Remote *r, Err *e)
{
	int n = dial(r), error = n < 0 ? -n : 0;
	Err told = {0};

	if (n == 1) {
		struct pollfd p = {.fd = r->tls ? r->report.fd : r->src.fd,
				   .events = r->tls ? POLLIN : POLLOUT};

		if (poll(&p, 1, DIAL_MS) != 1)
			error = ETIMEDOUT;
		else
			error = r->tls ? -read_report(r, &told) : socket_error(r);
	}
	if (error && *told.msg)
		return err_new_no(e, told.kind, error, "failed to initialize logging driver: dial %s: %s",
				  r->name, told.msg);
	if (error)
		return err_sys(e, error, "failed to initialize logging driver: dial %s", r->name);
	r->state = UP;
	watch(r);
	return 0;
}

int remote_open(const json_t *doc, Loop *loop, Remote **ret, Err *e)
{
	_cleanup_(remote_closep) Remote *r = calloc(1, sizeof(*r));
	int n;

	if (!r)
		return err_oom(e);
	r->src = (Source){.fd = -1, .ready = remote_ready, .arg = r};
	r->report = (Source){.fd = -1, .ready = report_ready, .arg = r};
	r->loop = loop;
	r->non_blocking = json_get_bool(doc, "non_blocking", false);
	r->most = BLOCKING_MAX;
	if (r->non_blocking) {
		int64_t buffer = json_get_int(doc, "buffer", 1 << 20);

		r->most = buffer < 0 ? 0 : MIN2((size_t)buffer, (size_t)QUEUE_MAX);
	}
	n = remote_format_init(&r->format, doc, e);
	if (n >= 0)
		n = read_address(r, doc, e);
	if (n >= 0)
		n = dial_first(r, e);
	if (n < 0)
		return n;
	*ret = take_ptr(r);
	return 0;
}

void remote_close(Remote *r)
{
	if (!r)
		return;
	if (r->q.len > 0) {
		r->why = ETIMEDOUT;
		drop_queue(r);
	}
	if (r->name)
		tell_losses(r);
	loop_close(r->loop, &r->src);
	loop_close(r->loop, &r->report);
	remote_tls_free(r->tls);
	queue_clear(&r->q);
	strbuf_done(&r->scratch);
	remote_format_done(&r->format);
	free(r->name);
	free(r);
}
