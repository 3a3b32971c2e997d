/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: one thread accepts them, each has one more that reads it (grpc_serve), and each call one of its own.
 *
 * The end: stop_fd tells every connection to take no more calls and to be over with those under way; what is left after the grace is shut down, which ends the calls'
 * alive_fd and with it whatever they wait for. A connection is in the list until its thread has let go of it, so an empty list says that nobody uses the door any more.
 */
#include "api/cri/door-internal.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

#define CONNECTIONS_MAX 256
#define CALLS_MAX       1024 /* on one connection: a kubelet has one for all pods of its node */
#define MESSAGE_MAX     (16u << 20)
#define MEMORY_MAX      (64u << 20)
#define STACK_BYTES     (256 * 1024)
#define REARM_MS        100 /* when there is no descriptor for a connection */

struct CriConnection {
	CriDoor *door;
	int fd;
	CriConnection *next;
};

int cri_thread_start(pthread_t *ret, bool detached, size_t stack, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, stack);
	if (detached)
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(ret, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

static void connection_remove(CriConnection *c)
{
	CriDoor *d = c->door;

	pthread_mutex_lock(&d->lock);
	for (CriConnection **p = &d->connections; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	/* Shut down by cri_serve_stop only while it is in the list. */
	close_fd(&c->fd);
	free(c);
	d->n_connections--;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

static void *connection_run(void *arg)
{
	CriConnection *c = arg;
	const GrpcLimits limits = {.calls_max = CALLS_MAX,
				   .message_max = MESSAGE_MAX,
				   .memory_max = MEMORY_MAX,
				   .stop_fd = c->door->stop_fd};
	Err e = {0};
	int r = grpc_serve(c->fd, NULL, 0, cri_methods, c->door, &limits, &e);

	if (r < 0)
		log_debug("kubelet's door: a connection: %s", err_msg(&e, r));
	connection_remove(c);
	return NULL;
}

static bool connection_add(CriDoor *d, int fd)
{
	CriConnection *c = calloc(1, sizeof(*c));
	pthread_t thread;
	bool full;

	pthread_mutex_lock(&d->lock);
	full = !c || d->n_connections >= CONNECTIONS_MAX;
	if (!full) {
		*c = (CriConnection){.door = d, .fd = fd, .next = d->connections};
		d->connections = c;
		d->n_connections++;
	}
	pthread_mutex_unlock(&d->lock);
	if (full) {
		log_warn("kubelet's door: a connection is turned away: there are %d already",
			 CONNECTIONS_MAX);
		(void)close(fd);
		free(c);
		return false;
	}
	if (cri_thread_start(&thread, true, STACK_BYTES, connection_run, c) < 0) {
		log_warn("kubelet's door: no thread for a connection");
		connection_remove(c);
		return false;
	}
	return true;
}

/* Clients that wait stay in the queue; without a pause this would spin. */
static void accept_one(CriDoor *d, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct pollfd stop = {.fd = d->stop_fd, .events = POLLIN};

	if (fd >= 0)
		(void)connection_add(d, fd);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
		(void)poll(&stop, 1, REARM_MS);
}

static void *acceptor_run(void *arg)
{
	CriDoor *d = arg;
	struct pollfd *fds = calloc(d->n_listeners + 1, sizeof(*fds));

	if (!fds) {
		log_error("kubelet's door: no memory to wait for connections");
		return NULL;
	}
	fds[0] = (struct pollfd){.fd = d->stop_fd, .events = POLLIN};
	for (size_t i = 0; i < d->n_listeners; i++)
		fds[i + 1] = (struct pollfd){.fd = d->listeners[i], .events = POLLIN};
	for (;;) {
		int n = poll(fds, d->n_listeners + 1, -1);

		if (fds[0].revents || (n < 0 && errno != EINTR))
			break;
		for (size_t i = 0; n > 0 && i < d->n_listeners; i++)
			if (fds[i + 1].revents)
				accept_one(d, fds[i + 1].fd);
	}
	free(fds);
	return NULL;
}

int cri_serve_start(CriDoor *d, Err *e)
{
	int r = cri_thread_start(&d->acceptor, false, STACK_BYTES, acceptor_run, d);

	if (r < 0)
		return err_sys(e, r, "start a thread for connections");
	d->accepting = true;
	return 0;
}

/* `lock` is held. */
static bool all_gone(CriDoor *d, int64_t deadline_ns)
{
	struct timespec t = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};

	while (d->connections)
		if (pthread_cond_timedwait(&d->changed, &d->lock, &t) == ETIMEDOUT)
			return !d->connections;
	return true;
}

int cri_lasting_begin(CriDoor *d, GrpcCall *call, Err *e)
{
	GrpcCall **more;
	int r = 0;

	pthread_mutex_lock(&d->lock);
	more = reallocarray(d->lasting, d->n_lasting + 1, sizeof(GrpcCall *));
	if (more)
		d->lasting = more;
	if (!more)
		r = err_oom(e);
	else if (d->stopping)
		r = err_new(e, ERR_UNAVAILABLE, "irekod is about to end");
	else
		d->lasting[d->n_lasting++] = call;
	pthread_mutex_unlock(&d->lock);
	return r;
}

void cri_lasting_end(CriDoor *d, GrpcCall *call)
{
	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < d->n_lasting; i++)
		if (d->lasting[i] == call) {
			d->lasting[i] = d->lasting[--d->n_lasting];
			break;
		}
	pthread_mutex_unlock(&d->lock);
}

static void lasting_cancel(CriDoor *d)
{
	pthread_mutex_lock(&d->lock);
	d->stopping = true;
	for (size_t i = 0; i < d->n_lasting; i++)
		grpc_call_cancel(d->lasting[i]);
	pthread_mutex_unlock(&d->lock);
}

bool cri_serve_stop(CriDoor *d, int grace_ms)
{
	bool gone;

	(void)eventfd_write(d->stop_fd, 1);
	lasting_cancel(d);
	if (d->accepting)
		pthread_join(d->acceptor, NULL);
	d->accepting = false;
	for (size_t i = 0; i < d->n_listeners; i++)
		close_fd(&d->listeners[i]);
	pthread_mutex_lock(&d->lock);
	gone = all_gone(d, clock_mono_ns() + (int64_t)grace_ms * 1000000);
	for (CriConnection *c = d->connections; c; c = c->next)
		(void)shutdown(c->fd, SHUT_RDWR);
	gone = gone || all_gone(d, clock_mono_ns() + (int64_t)grace_ms * 1000000);
	pthread_mutex_unlock(&d->lock);
	return gone;
}
