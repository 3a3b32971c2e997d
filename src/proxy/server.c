/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ireko-proxy: one thread, one epoll set, nothing that waits.
 *
 * Sleeps without a time limit unless something is due: a udp client that is to be forgotten, ports whose clients there
 * was no room for, or the end, once there is no port left. Descriptors are what is scarce: the most that may be used is
 * known, and each port gets less of it the less is left.
 */
#include "proxy/proxy-internal.h"

#include "base/clock.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>

#define EVENTS           64
#define NS_PER_S         INT64_C(1000000000)
#define PAUSE_NS         (NS_PER_S / 5)
#define FDS_RESERVED     256 /* ours, control connections, idle pipes, and some ports */
#define FDS_SUPPOSED     1024
#define FDS_WORTH_A_TRIM 512

int server_watch(Server *s, Source *src, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = src};

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, src->fd, &ev) < 0 ? -errno : 0;
}

/* Others hold copies of the sockets of ports: closing alone would not take them from the set. */
void server_close(Server *s, Source *src)
{
	if (src->fd < 0)
		return;
	(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, src->fd, NULL);
	close_fd(&src->fd);
}

void server_bury(Server *s, Grave *g)
{
	g->next = s->graves;
	s->graves = g;
}

static void free_buried(Server *s)
{
	while (s->graves) {
		Grave *g = s->graves;

		s->graves = g->next;
		free(g);
	}
}

bool server_has_room(const Server *s, size_t own, size_t n)
{
	return s->fds + n <= s->fds_max && own + n <= s->fds_max - s->fds;
}

void server_gave_back(Server *s, size_t n)
{
	s->fds -= n;
	s->room_again = true;
}

static size_t most_fds(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return FDS_SUPPOSED;
	return (size_t)l.rlim_cur > 2 * FDS_RESERVED ? (size_t)l.rlim_cur - FDS_RESERVED : FDS_RESERVED;
}

/* -1: nothing is due. */
static int64_t due_in_ns(const Server *s)
{
	int64_t at = INT64_MAX;

	if (s->eager)
		return 0;
	if (!s->ports)
		at = s->empty_since_ns + s->options.end_after_s * NS_PER_S;
	if (s->n_paused > 0)
		at = MIN2(at, s->now_ns + PAUSE_NS);
	if (s->used)
		at = MIN2(at, s->used->used_ns + s->options.udp_idle_s * NS_PER_S);
	return at == INT64_MAX ? -1 : MAX2(at - s->now_ns, (int64_t)0);
}

/* Gives back what many clients at once have taken, when the last of them has gone. */
static void rest(Server *s)
{
	s->most_fds = MAX2(s->most_fds, s->fds);
	if (s->fds > 0 || s->most_fds < 2)
		return;
	udp_rest();
	if (s->most_fds > FDS_WORTH_A_TRIM)
		(void)malloc_trim(0);
	s->most_fds = 0;
}

static int turn(Server *s, Err *e)
{
	struct epoll_event evs[EVENTS];
	int64_t due;
	int n;

	rest(s);
	due = due_in_ns(s);
	n = epoll_wait(s->epoll_fd, evs, EVENTS,
		       due < 0 ? -1 : (int)MIN2((due + 999999) / 1000000, (int64_t)INT32_MAX));
	if (n < 0 && errno != EINTR)
		return err_sys(e, errno, "wait for events");
	s->now_ns = clock_mono_ns();
	for (int i = 0; i < n; i++) {
		Source *src = evs[i].data.ptr;

		if (src->fd >= 0)
			src->ready(s, src, evs[i].events);
	}
	connections_go_on(s);
	udp_clients_expire(s);
	if (s->n_paused > 0 && (s->room_again || n == 0))
		ports_resume(s);
	free_buried(s);
	return 0;
}

static bool is_over(const Server *s)
{
	return s->quit || (!s->ports && s->now_ns - s->empty_since_ns >= s->options.end_after_s * NS_PER_S);
}

static void server_done(Server *s)
{
	Port *p, *next;

	HASH_ITER (hh, s->ports, p, next)
		port_remove(s, p);
	while (s->controls)
		control_close(s, s->controls);
	server_close(s, &s->control);
	free_buried(s);
	pipe_pool_done(&s->pipes);
	close_fd(&s->epoll_fd);
}

int proxy_serve(int control_fd, const ProxyServerOptions *o, Err *e)
{
	Server s = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
		    .options = *o,
		    .uid = geteuid(),
		    .control = {control_fd, control_accept},
		    .fds_max = most_fds(),
		    .now_ns = clock_mono_ns()};
	int r = s.epoll_fd < 0 ? err_sys(e, errno, "make an epoll set") : 0;

	s.empty_since_ns = s.now_ns;
	if (r >= 0) {
		r = server_watch(&s, &s.control, EPOLLIN);
		if (r < 0)
			r = err_sys(e, r, "watch the control socket");
	}
	if (r >= 0)
		r = o->ready(e);
	while (r >= 0 && !is_over(&s))
		r = turn(&s, e);
	server_done(&s);
	return r;
}
