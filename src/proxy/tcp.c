/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: bytes go from socket to pipe to socket by splice(2), which hands on pages. A flow of little at a time is received and sent
 * instead, which takes fewer and quicker calls; it becomes one of splices when a buffer was filled, and again the other when a splice was small.
 *
 * A flow reads only when its pipe is empty, so what the receiver does not take stays with the sender, and EAGAIN has one meaning. It has a
 * pipe only while there is something in it. Sockets are watched edge-triggered, once: `readable` and `writable` are what is known
 * of them until a call says otherwise. A turn of a connection is bounded; one that has more to move waits in the list of the eager.
 *
 * An end of input is handed on (shutdown) when all before it was, and the other direction goes on. A reset, or a target that cannot be
 * reached, becomes a reset on the other side, after what had arrived was handed on as far as it is taken.
 */
#include "proxy/proxy-internal.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <utlist.h>

#define ACCEPT_MOST 32 /* at once */
#define SPLICE_MOST (1 << 20)
#define TURN_ROUNDS 16
#define BACKLOG     4096 /* net.core.somaxconn has the last word */
#define KEEPALIVE_S 120
#define LITTLE      8192 /* what the smallest pipe takes */

typedef struct Side {
	Source source;
	Connection *c;
	bool readable, writable;
	bool ending; /* the end of its input, or an error, has been told of */
} Side;

typedef struct Flow {
	Pipe pipe;
	size_t held; /* bytes in the pipe */
	bool ended, shut;
	bool much; /* splice */
} Flow;

struct Connection {
	Grave grave;
	Port *port;
	Connection *prev, *next, *next_eager;
	bool connecting, eager, failed;
	Side sides[2]; /* client and target */
	Flow flows[2]; /* flows[i] reads sides[i] */
};

typedef enum Outcome { WAITS, HAS_MORE, FAILED } Outcome;

/* Connections inherit it. */
int tcp_listen(Port *p, Err *e)
{
	int fd = p->source.fd, on = 1, idle = KEEPALIVE_S;

	/* Clients that vanish without a word would stay for ever. */
	if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		return err_sys(e, errno, "port %s: prepare the socket", p->info.key);
	return listen(fd, BACKLOG) < 0 ? err_sys(e, errno, "port %s: listen", p->info.key) : 0;
}

static void connection_close(Server *s, Connection *c)
{
	DL_DELETE(c->port->connections, c);
	c->port->n--;
	for (int i = 0; i < 2; i++) {
		close_fd(&c->sides[i].source.fd); /* nobody else has it, so it leaves the set by that */
		pipe_close(&c->flows[i].pipe);
	}
	server_gave_back(s, CONNECTION_FDS);
	server_bury(s, &c->grave);
}

static void close_with_reset(int *fd)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close_fd(fd);
}

void connection_reset(Server *s, Connection *c)
{
	for (int i = 0; i < 2; i++)
		close_with_reset(&c->sides[i].source.fd);
	connection_close(s, c);
}

/* What there is to read goes into the pipe, which is empty. */
static Outcome fill(Server *s, Flow *f, Side *from)
{
	ssize_t n;

	if (f->pipe.in < 0 && pipe_take(&s->pipes, &f->pipe) < 0)
		return FAILED;
	n = splice(from->source.fd, NULL, f->pipe.in, NULL, SPLICE_MOST, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n < 0 && errno == EAGAIN)
		from->readable = false;
	else if (n < 0 && errno != EINTR)
		return FAILED;
	f->ended = n == 0;
	f->held = n > 0 ? (size_t)n : 0;
	f->much = n >= LITTLE;
	return WAITS;
}

/* What was received and not taken waits in the pipe. */
static Outcome keep(Server *s, Flow *f, const char *rest, size_t len)
{
	if (f->pipe.in < 0 && pipe_take(&s->pipes, &f->pipe) < 0)
		return FAILED;
	f->held = len;
	return write(f->pipe.in, rest, len) == (ssize_t)len ? WAITS : FAILED;
}

/* A buffer that was not filled has emptied the socket (epoll(7)), unless the end comes behind it. */
static Outcome pass(Server *s, Flow *f, Side *from, Side *to)
{
	static char buf[LITTLE];
	ssize_t n = recv(from->source.fd, buf, sizeof(buf), 0), sent;

	if (n < 0 && errno != EAGAIN)
		return errno == EINTR ? WAITS : FAILED;
	if (n < (ssize_t)sizeof(buf) && !from->ending)
		from->readable = false;
	if (n < 0)
		from->readable = false;
	f->ended = n == 0;
	f->much = n == sizeof(buf);
	if (n <= 0)
		return WAITS;
	sent = send(to->source.fd, buf, (size_t)n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return FAILED;
	if (sent == n)
		return WAITS;
	if (sent < 0 && errno == EAGAIN)
		to->writable = false;
	sent = MAX2(sent, (ssize_t)0);
	return keep(s, f, buf + sent, (size_t)(n - sent));
}

static Outcome drain(Flow *f, Side *to)
{
	ssize_t n =
	    splice(f->pipe.out, NULL, to->source.fd, NULL, f->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n < 0 && errno == EAGAIN)
		to->writable = false;
	else if (n < 0 && errno != EINTR)
		return FAILED;
	f->held -= n > 0 ? (size_t)n : 0;
	return WAITS;
}

static bool may_move(const Flow *f, const Side *from, const Side *to)
{
	if (f->shut)
		return false;
	return f->held > 0 ? to->writable : f->ended || (from->readable && to->writable);
}

/* The last to end is told by closing. */
static void end(Connection *c, int i)
{
	c->flows[i].shut = true;
	if (!c->flows[1 - i].shut)
		(void)shutdown(c->sides[1 - i].source.fd, SHUT_WR); /* if it fails the socket tells of it */
}

static Outcome flow_move(Server *s, Connection *c, int i)
{
	Side *from = &c->sides[i], *to = &c->sides[1 - i];
	Flow *f = &c->flows[i];
	Outcome o = WAITS;

	for (int round = 0; o == WAITS && may_move(f, from, to); round++) {
		if (round == 2 * TURN_ROUNDS)
			return HAS_MORE;
		if (f->held > 0)
			o = drain(f, to);
		else if (f->ended && c->failed)
			o = FAILED; /* the error was told before, and what looks like an end is none */
		else if (f->ended)
			end(c, i);
		else
			o = f->much ? fill(s, f, from) : pass(s, f, from, to);
	}
	if (f->held == 0 && o != FAILED)
		pipe_give(&s->pipes, &f->pipe);
	return o;
}

/* Who takes nothing any more may have said something before; no event has told of it yet. */
static void give_last_words(Server *s, Connection *c)
{
	c->failed = true;
	for (int i = 0; i < 2; i++) {
		c->sides[i].readable = true;
		(void)flow_move(s, c, i);
	}
}

static void connection_go_on(Server *s, Connection *c)
{
	Outcome o[2];

	if (c->connecting) {
		if (c->failed)
			connection_reset(s, c);
		return;
	}
	for (int i = 0; i < 2; i++)
		o[i] = flow_move(s, c, i);
	if (o[0] == FAILED || o[1] == FAILED || c->failed) {
		give_last_words(s, c);
		connection_reset(s, c);
	} else if (c->flows[0].shut && c->flows[1].shut) {
		connection_close(s, c);
	} else if ((o[0] == HAS_MORE || o[1] == HAS_MORE) && !c->eager) {
		c->eager = true;
		c->next_eager = s->eager;
		s->eager = c;
	}
}

/* Those that are closed by now are still buried, not freed. */
void connections_go_on(Server *s)
{
	Connection *list = take_ptr(s->eager);

	while (list) {
		Connection *c = list;

		list = c->next_eager;
		c->eager = false;
		if (c->sides[0].source.fd >= 0)
			connection_go_on(s, c);
	}
}

static void side_ready(Server *s, Source *src, uint32_t events)
{
	Side *side = (Side *)src;
	Connection *c = side->c;

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		side->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		side->writable = true;
	side->ending = side->ending || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
	c->failed = c->failed || (events & EPOLLERR);
	if (side == &c->sides[1] && side->writable)
		c->connecting = c->failed && c->connecting;
	connection_go_on(s, c);
}

/* The socket, or -errno. */
static int connect_target(const Port *p)
{
	struct sockaddr_storage to;
	socklen_t len = target_address(&p->info, &to);
	_cleanup_close_ int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		return -errno;
	/* The target is on this machine: pacing (bbr) would only cost timers. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
	if (connect(fd, (struct sockaddr *)&to, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return take_fd(&fd);
}

/* Takes *client over, unless it fails. */
static int connection_begin(Server *s, Port *p, int *client)
{
	_cleanup_close_ int target = connect_target(p);
	Connection *c = target < 0 ? NULL : calloc(1, sizeof(*c));
	int r = 0;

	if (!c)
		return target < 0 ? target : -ENOMEM;
	*c = (Connection){.port = p, .connecting = true, .flows = {{.pipe = PIPE_NONE}, {.pipe = PIPE_NONE}}};
	c->sides[0] = (Side){.source = {*client, side_ready}, .c = c};
	c->sides[1] = (Side){.source = {target, side_ready}, .c = c};
	for (int i = 0; r == 0 && i < 2; i++)
		r = server_watch(s, &c->sides[i].source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	if (r < 0) {
		/* The client, if it is watched, leaves the set when it is closed: no event comes between. */
		free(c);
		return r;
	}
	*client = -1;
	(void)take_fd(&target);
	DL_APPEND(p->connections, c);
	p->n++;
	s->fds += CONNECTION_FDS;
	return 0;
}

void tcp_accept(Server *s, Source *src, uint32_t events _unused_)
{
	Port *p = (Port *)((char *)src - offsetof(Port, source));

	for (int i = 0; i < ACCEPT_MOST; i++) {
		int client;

		if (!server_has_room(s, p->n * CONNECTION_FDS, CONNECTION_FDS)) {
			port_pause(s, p);
			return;
		}
		client = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (client < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
			port_pause(s, p);
		if (client < 0)
			return; /* what is left comes with the next event */
		if (connection_begin(s, p, &client) < 0)
			close_with_reset(&client);
	}
}
