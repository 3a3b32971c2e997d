/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket of RUN --mount=type=ssh: what connects to it in the step is joined to the client's agent, as long as the step runs.
 *
 * One thread listens and carries all connections, so that what a step does with them is bounded: CONNECTIONS_MAX at once, one buffer each. Nothing of the agent is
 * in the layer: the socket lies on a file system of its own, in memory.
 */
#include "build/agent.h"
#include "kernel/mount.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define CONNECTIONS_MAX 16
#define PIECE           16384

/* One direction: what was read and is still to be written. */
typedef struct Flow {
	int from, to;
	char *data;
	size_t at, len;
	bool ended;
} Flow;

typedef struct Connection {
	int step, client;
	Flow out, in;
} Connection;

struct Agent {
	Build *b;
	char *id;
	int listener, stop[2];
	pthread_t thread;
	Connection *v[CONNECTIONS_MAX];
	size_t n;
};

static void connection_free(Connection *c)
{
	close_fd(&c->step);
	close_fd(&c->client);
	free(c->out.data);
	free(c->in.data);
	free(c);
}

static void accept_one(Agent *a)
{
	_cleanup_close_ int step = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK),
			    client = -1;
	Connection *c;

	if (step < 0 || a->n == CONNECTIONS_MAX ||
	    a->b->rq->client->ssh(a->b->rq->client->user, a->id, &client, NULL) < 0)
		return; /* the step sees its connection end */
	c = calloc(1, sizeof(*c));
	if (c) {
		c->out.data = malloc(PIECE);
		c->in.data = malloc(PIECE);
	}
	if (!c || !c->out.data || !c->in.data || fcntl(client, F_SETFL, O_NONBLOCK) < 0) {
		if (c) {
			c->step = c->client = -1;
			connection_free(c);
		}
		return;
	}
	c->step = take_fd(&step);
	c->client = take_fd(&client);
	c->out.from = c->in.to = c->step;
	c->out.to = c->in.from = c->client;
	a->v[a->n++] = c;
}

/* False once the direction cannot go on. */
static bool carry(Flow *f)
{
	ssize_t n;

	if (f->at == f->len && !f->ended) {
		n = read(f->from, f->data, PIECE);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		f->at = 0;
		f->len = (size_t)n;
		if (n == 0) {
			f->ended = true;
			(void)shutdown(f->to, SHUT_WR);
		}
	}
	while (f->at < f->len) {
		n = send(f->to, f->data + f->at, f->len - f->at, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		f->at += (size_t)n;
	}
	return true;
}

static short wanted(const Flow *reads, const Flow *writes)
{
	short v = 0;

	if (reads->at == reads->len && !reads->ended)
		v |= POLLIN;
	if (writes->at < writes->len)
		v |= POLLOUT;
	return v;
}

static void serve(Agent *a, const struct pollfd *p)
{
	for (size_t i = a->n; i-- > 0;) {
		Connection *c = a->v[i];

		if (!p[2 * i].revents && !p[2 * i + 1].revents)
			continue;
		if (carry(&c->out) && carry(&c->in) && !(c->out.ended && c->in.ended))
			continue;
		connection_free(c);
		a->v[i] = a->v[--a->n];
	}
}

static void *agent_thread(void *arg)
{
	Agent *a = arg;
	struct pollfd p[2 + 2 * CONNECTIONS_MAX];

	for (;;) {
		p[0] = (struct pollfd){.fd = a->stop[0], .events = POLLIN};
		p[1] = (struct pollfd){.fd = a->listener, .events = POLLIN};
		for (size_t i = 0; i < a->n; i++) {
			const Connection *c = a->v[i];

			p[2 + 2 * i] = (struct pollfd){.fd = c->step, .events = wanted(&c->out, &c->in)};
			p[3 + 2 * i] = (struct pollfd){.fd = c->client, .events = wanted(&c->in, &c->out)};
		}
		if (poll(p, 2 + 2 * a->n, -1) < 0)
			continue;
		if (p[0].revents)
			return NULL;
		serve(a, p + 2);
		if (p[1].revents)
			accept_one(a);
	}
}

/* A socket "agent" in the directory, which is reached by its descriptor. */
static int listen_in(int dir, const AgentWanted *w, Err *e)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/agent", dir);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, CONNECTIONS_MAX) < 0 ||
	    fchownat(dir, "agent", w->uid, w->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(dir, "agent", w->mode, 0) < 0)
		return err_sys(e, errno, "make the socket of ssh agent %s", w->id);
	return take_fd(&fd);
}

void agent_free(Agent *a)
{
	if (!a)
		return;
	if (a->thread) {
		(void)!write(a->stop[1], "", 1); /* a pipe with one reader takes a byte */
		pthread_join(a->thread, NULL);
	}
	for (size_t i = 0; i < a->n; i++)
		connection_free(a->v[i]);
	close_fd(&a->listener);
	close_fd(&a->stop[0]);
	close_fd(&a->stop[1]);
	free(a->id);
	free(a);
}

int agent_new(Build *b, const AgentWanted *w, Agent **ret, int *ret_mount, Err *e)
{
	_cleanup_close_ int fs = -1;
	Agent *a = calloc(1, sizeof(*a));
	int r, no;

	if (!a)
		return err_oom(e);
	*a = (Agent){.b = b, .id = strdup(w->id), .listener = -1, .stop = {-1, -1}};
	r = a->id ? mount_new_fs("tmpfs", "ssh", NULL,
				 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, &fs, e)
		  : err_oom(e);
	if (r >= 0)
		r = a->listener = listen_in(fs, w, e);
	if (r >= 0) {
		*ret_mount = mount_clone_part(fs, store_root(b->store), "agent");
		r = *ret_mount < 0 ? err_sys(e, *ret_mount, "mount the socket of ssh agent %s", w->id) : 0;
	}
	if (r >= 0 && pipe2(a->stop, O_CLOEXEC) < 0)
		r = err_sys(e, errno, "make a pipe");
	if (r >= 0) {
		no = pthread_create(&a->thread, NULL, agent_thread, a);
		if (no != 0) {
			a->thread = 0;
			r = err_sys(e, no, "start the thread of ssh agent %s", w->id);
		}
	}
	if (r < 0)
		agent_free(a);
	else
		*ret = a;
	return r;
}
