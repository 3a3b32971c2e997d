/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: connections on which the roles are reversed, so that a build can ask its client for files, secrets and accounts. The request of /session owns
 * the connection: it waits for its end, takes the session off the list, and closes it once nobody uses it any more.
 */
#include "api/buildkit/door-internal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#define ID_MAX      256
#define METHODS_MAX 64
#define PING_MS                                                                                              \
	30000 /* a client that is gone without a word, as over TCP, is noticed by then and once more of it */

/* What a session says of itself: headers of a request, or metadata of a call. */
typedef const char *(*SayFn)(const void *from, const char *name, size_t nth);

static const char *say_header(const void *from, const char *name, size_t nth)
{
	return http_header_nth(from, name, nth);
}

static const char *say_metadata(const void *from, const char *name, size_t nth)
{
	return grpc_metadata(from, name, nth);
}

static int session_new(BuildkitDoor *d, SayFn say, const void *from, Session **ret, Err *e)
{
	const char *id = say(from, "x-docker-expose-session-uuid", 0), *method;
	Session *s;

	if (str_empty(id) || strlen(id) > ID_MAX)
		return err_new(e, ERR_INVALID, "X-Docker-Expose-Session-Uuid: expected the id of a session");
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_oom(e);
	s->door = d;
	s->id = strdup(id);
	s->name = strdup(say(from, "x-docker-expose-session-name", 0) ?: "");
	s->shared_key = strdup(say(from, "x-docker-expose-session-sharedkey", 0) ?: "");
	*ret = s;
	for (size_t i = 0; (method = say(from, "x-docker-expose-session-grpc-method", i)); i++)
		if (i >= METHODS_MAX || strv_add(&s->methods, method) < 0)
			return err_new(e, ERR_EXHAUSTED, "too many methods of a session");
	return s->id && s->name && s->shared_key ? 0 : err_oom(e);
}

static void session_free(Session *s)
{
	grpc_connection_close(s->connection);
	free(s->id);
	free(s->name);
	free(s->shared_key);
	strv_free(s->methods);
	free(s);
}

static int session_list(Session *s, Err *e)
{
	BuildkitDoor *d = s->door;
	bool taken = false;

	pthread_mutex_lock(&d->lock);
	for (const Session *o = d->sessions; o; o = o->next)
		taken |= streq(o->id, s->id);
	if (!taken) {
		s->next = d->sessions;
		d->sessions = s;
		pthread_cond_broadcast(&d->changed);
	}
	pthread_mutex_unlock(&d->lock);
	return taken ? err_new(e, ERR_CONFLICT, "session %s already exists", s->id) : 0;
}

/* Off the list at once; whoever has it finds its calls failing, and lets go. */
static void session_unlist(Session *s)
{
	BuildkitDoor *d = s->door;

	pthread_mutex_lock(&d->lock);
	for (Session **at = &d->sessions; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	s->gone = true;
	pthread_cond_broadcast(&d->changed);
	while (s->refs > 0)
		pthread_cond_wait(&d->changed, &d->lock);
	pthread_mutex_unlock(&d->lock);
}

static void session_serve(Session *s)
{
	struct pollfd p[] = {{.fd = grpc_connection_dead_fd(s->connection)},
			     {.fd = s->door->stop_fd, .events = POLLIN}};

	while (poll(p, ELEMENTSOF(p), -1) < 0 && errno == EINTR)
		;
}

static const GrpcLimits limits = {.ping_ms = PING_MS};

static int session_connect(Session *s, HttpRequest *rq, Err *e)
{
	HttpHijack h;
	int r = http_hijack(rq, "application/vnd.docker.raw-stream", &h, e), fd;

	if (r < 0)
		return r;
	if (h.prefix_len > 0)
		return err_new(e, ERR_INVALID, "session %s: it speaks before it was asked", s->id);
	fd = fcntl(h.fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return err_sys(e, errno, "session %s", s->id);
	return grpc_connect(fd, "localhost", &limits, &s->connection, e);
}

int h_session(HttpRequest *rq, void *user, Err *e)
{
	Session *s = NULL;
	int r;

	if (!http_wants_upgrade(rq) || !streq0(http_header(rq, "Upgrade"), "h2c"))
		return err_new(e, ERR_INVALID, "no upgrade to h2c was asked for");
	r = session_new(user, say_header, rq, &s, e);
	if (r >= 0)
		r = session_connect(s, rq, e);
	if (r >= 0)
		r = session_list(s, e);
	if (r >= 0) {
		session_serve(s);
		session_unlist(s);
	}
	if (s)
		session_free(s);
	return r;
}

/* ---- a session inside a call ---- */

typedef struct Carrier {
	GrpcCall *call;
	int fd; /* the far end of the session's connection */
	pthread_t thread;
} Carrier;

static void *carry_out(void *arg)
{
	Carrier *c = arg;
	Session__BytesMessage m = SESSION__BYTES_MESSAGE__INIT;
	uint8_t buf[32768];
	ssize_t n;

	while ((n = read(c->fd, buf, sizeof(buf))) > 0) {
		m.data = (ProtobufCBinaryData){(size_t)n, buf};
		if (grpc_send_message(c->call, &m.base, NULL) < 0)
			break;
	}
	(void)shutdown(c->fd, SHUT_RDWR);
	return NULL;
}

static void carry_in(Carrier *c)
{
	Session__BytesMessage *m;
	int r;

	do {
		r = grpc_receive_message(c->call, &session__bytes_message__descriptor,
					 (ProtobufCMessage **)&m, NULL);
		if (r <= 0)
			return;
		r = fd_write_all(c->fd, m->data.data, m->data.len);
		protobuf_c_message_free_unpacked(&m->base, NULL);
	} while (r >= 0);
}

static int carry(Session *s, Carrier *c, Err *e)
{
	int r = pthread_create(&c->thread, NULL, carry_out, c);

	if (r != 0)
		return err_sys(e, r, "start a thread for session %s", s->id);
	r = session_list(s, e);
	if (r >= 0) {
		carry_in(c);
		(void)shutdown(c->fd, SHUT_RDWR);
		session_unlist(s);
	}
	(void)shutdown(c->fd, SHUT_RDWR); /* a second time it is shut already */
	pthread_join(c->thread, NULL);
	return r;
}

/* Control/Session: what /session is, as the bytes of a call. Sessions that several builds share come so. */
int rpc_session(GrpcCall *call, void *user, Err *e)
{
	Carrier c = {.call = call, .fd = -1};
	Session *s = NULL;
	int pair[2], r = session_new(user, say_metadata, call, &s, e);

	if (r >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		r = err_sys(e, errno, "session %s", s->id);
	if (r >= 0) {
		c.fd = pair[1];
		s->carrier = call;
		r = grpc_connect(pair[0], "localhost", &limits, &s->connection, e);
	}
	if (r >= 0)
		r = carry(s, &c, e);
	if (s)
		session_free(s);
	close_fd(&c.fd);
	return r;
}

void sessions_stop(BuildkitDoor *d)
{
	pthread_mutex_lock(&d->lock);
	for (const Session *s = d->sessions; s; s = s->next)
		grpc_call_cancel(s->carrier);
	pthread_mutex_unlock(&d->lock);
}

static Session *find(BuildkitDoor *d, const char *id)
{
	for (Session *s = d->sessions; s; s = s->next)
		if (streq(s->id, id))
			return s;
	return NULL;
}

int session_get(BuildkitDoor *d, const char *id, int alive_fd, Session **ret, Err *e)
{
	int64_t deadline = clock_mono_ns() + WAIT_SESSION_MS * 1000000LL;
	Session *s;

	pthread_mutex_lock(&d->lock);
	while (!(s = find(d, id)) && clock_mono_ns() < deadline && !hung_up(alive_fd))
		(void)door_wait(d, MIN2(deadline, clock_mono_ns() + 100000000));
	if (s)
		s->refs++;
	pthread_mutex_unlock(&d->lock);
	if (!s)
		return err_new(
		    e, ERR_NOT_FOUND,
		    "no active session for %s: context deadline exceeded: the client did not open it", id);
	*ret = s;
	return 0;
}

void session_unref(Session *s)
{
	BuildkitDoor *d;

	if (!s)
		return;
	d = s->door;
	pthread_mutex_lock(&d->lock);
	if (--s->refs == 0 && s->gone)
		pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

bool session_offers(const Session *s, const char *method)
{
	for (char *const *m = s->methods; m && *m; m++)
		if (strcasecmp(*m, method) == 0)
			return true;
	return false;
}
