/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread that watches every shim.
 *
 * Each running container has an event connection to its shim in an epoll set. The thread only reads
 * what a shim reports and hands it on; ends of containers are worked off on a thread of their own each, because
 * they take the container's lock and may wait for a start or stop that is under way. What others do to the packet filter is told in the same set
 * (firewall-watch.c).
 */
#include "engine/engine-internal.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

typedef struct Ended {
	Engine *en;
	Container *c;
	ShimExit exit;
	bool orphan;
} Ended;

/* Without a record the shim was killed. The container may have outlived it, without anybody to read its output or to reap it:
 * it goes too. */
static void end(void *arg)
{
	Ended *x = arg;

	if (x->orphan)
		container_orphan_remove(x->en, x->c);
	container_ended(x->en, x->c, &x->exit, x->orphan ? SHIM_KILLED_WHY : NULL);
	container_unref(x->c);
}

static void end_and_free(void *arg)
{
	end(arg);
	free(arg);
}

static void ended_in_background(Engine *en, Container *c, const ShimExit *exit, bool orphan)
{
	Ended ended = {en, container_ref(c), *exit, orphan}, *x = malloc(sizeof(*x));

	if (x)
		*x = ended;
	/* No thread to be had: later is impossible, so the watcher itself does it. */
	if (!x || background_run(en->background, end_and_free, x) < 0) {
		free(x);
		end(&ended);
	}
}

static void set_events_fd(Container *c, int fd)
{
	pthread_mutex_lock(&c->state);
	c->events_fd = fd;
	pthread_mutex_unlock(&c->state);
}

/* Once it is in the set, the watcher may read it at once, and may be done with it before we are. */
int watch_container(Engine *en, Container *c, int events_fd, Err *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = container_ref(c)};

	set_events_fd(c, events_fd);
	if (epoll_ctl(en->epoll_fd, EPOLL_CTL_ADD, events_fd, &ev) < 0) {
		int r = err_sys(e, errno, "watch container %.12s", c->id);

		set_events_fd(c, -1);
		container_unref(c);
		return r;
	}
	return 0;
}

/* The shim has closed its side: take the container off the set, and what it recorded from disk. */
static void shim_gone(Engine *en, Container *c, bool told)
{
	_cleanup_free_ char *dir = container_run_dir(en, c);
	ShimExit x = {.status = SHIM_KILLED_STATUS, .at_ns = clock_now_ns()};
	int fd;

	pthread_mutex_lock(&c->state);
	fd = take_fd(&c->events_fd);
	pthread_mutex_unlock(&c->state);
	epoll_ctl(en->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	closep(&fd);
	if (!told && dir)
		ended_in_background(en, c, &x, shim_read_exit(dir, &x, NULL) <= 0);
	container_unref(c);
}

static void read_events(Engine *en, Container *c)
{
	ShimEvent ev;
	bool told = false;

	for (;;) {
		int r = shim_event_read(c->events_fd, &ev, NULL);

		if (r == -EAGAIN || r == -EINTR)
			return;
		if (r <= 0) {
			shim_gone(en, c, told);
			return;
		}
		switch (ev.type) {
		case SHIM_EVENT_EXIT:
			told = true;
			ended_in_background(en, c, &ev.exit, false);
			shim_gone(en, c, told);
			return;
		case SHIM_EVENT_EXEC_EXIT:
			exec_ended(en, c, ev.exec_id, ev.exit.status);
			break;
		case SHIM_EVENT_DETACH:
			if (*ev.exec_id)
				container_event(en, c, "exec_detach", "execID", ev.exec_id, NULL);
			else
				container_event(en, c, "detach", NULL);
			break;
		case SHIM_EVENT_OOM:
			pthread_mutex_lock(&c->state);
			c->oom_killed = true;
			pthread_mutex_unlock(&c->state);
			container_event(en, c, "oom", NULL);
			break;
		}
	}
}

static void *watcher(void *arg)
{
	Engine *en = arg;
	struct epoll_event evs[32];

	pthread_setname_np(pthread_self(), "irekod-watch");
	for (;;) {
		int n = epoll_wait(en->epoll_fd, evs, ELEMENTSOF(evs), -1);

		if (n < 0 && errno != EINTR) {
			log_error("watch shims: %s", strerror(errno));
			return NULL;
		}
		for (int i = 0; i < n; i++) {
			if (!evs[i].data.ptr)
				return NULL;
			if (evs[i].data.ptr == &en->firewall)
				firewall_watch_ready(en);
			else if (evs[i].data.ptr == &en->proxy)
				proxied_hung_up(en);
			else
				read_events(en, evs[i].data.ptr);
		}
	}
}

int watch_start(Engine *en, Err *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	pthread_attr_t attr;
	int r;

	en->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	en->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (en->epoll_fd < 0 || en->stop_fd < 0 ||
	    epoll_ctl(en->epoll_fd, EPOLL_CTL_ADD, en->stop_fd, &ev) < 0)
		return err_sys(e, errno, "prepare to watch shims");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	r = pthread_create(&en->watcher, &attr, watcher, en);
	pthread_attr_destroy(&attr);
	if (r != 0)
		return err_sys(e, r, "start the watcher thread");
	en->watching = true;
	return 0;
}

void watch_stop(Engine *en)
{
	if (en->watching) {
		(void)eventfd_write(en->stop_fd, 1);
		pthread_join(en->watcher, NULL);
		en->watching = false;
	}
	close_fd(&en->epoll_fd);
	close_fd(&en->stop_fd);
}

int wait_woken(int efd, int alive_fd, int timeout_ms)
{
	struct pollfd p[2] = {{.fd = efd, .events = POLLIN}, {.fd = alive_fd, .events = 0}};

	for (;;) {
		int n = poll(p, 2, timeout_ms);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		if (p[1].revents & (POLLERR | POLLHUP))
			return -ECANCELED;
		if (p[0].revents) {
			eventfd_t v;

			(void)eventfd_read(efd, &v);
			return 1;
		}
		if (n == 0)
			return 0;
	}
}
