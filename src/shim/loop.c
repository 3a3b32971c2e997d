/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll with sources that are embedded in their owners. The buffer is a mapping of its own, so that
 * an idle shim can give its pages back (server.c).
 */
#include "shim/loop.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#define LOOP_STACK_MOST ((uintptr_t)96 * 1024) /* no call goes deeper */

int loop_init(Loop *l, Err *e)
{
	void *io = mmap(NULL, LOOP_IO_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*l = (Loop){.epfd = -1};
	if (io == MAP_FAILED)
		return err_oom(e);
	l->io = io;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0) {
		int r = err_sys(e, errno, "epoll_create1");

		loop_done(l);
		return r;
	}
	return 0;
}

void loop_done(Loop *l)
{
	close_fd(&l->epfd);
	if (l->io)
		(void)munmap(l->io, LOOP_IO_SIZE);
	l->io = NULL;
}

int loop_watch(Loop *l, Source *s, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	if (s->watched && s->events == events)
		return 0;
	if (epoll_ctl(l->epfd, s->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &ev) < 0)
		return -errno;
	s->watched = true;
	s->events = events;
	return 0;
}

void loop_unwatch(Loop *l, Source *s)
{
	if (s->watched)
		(void)epoll_ctl(l->epfd, EPOLL_CTL_DEL, s->fd, NULL);
	s->watched = false;
	s->events = 0;
}

void loop_close(Loop *l, Source *s)
{
	if (s->fd < 0)
		return;
	loop_unwatch(l, s);
	close_fd(&s->fd);
}

int loop_once(Loop *l, int timeout_ms)
{
	struct epoll_event ev;
	int n = epoll_wait(l->epfd, &ev, 1, timeout_ms);
	Source *s;

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (n == 0)
		return 0;
	s = ev.data.ptr;
	s->ready(s, ev.events);
	return 1;
}

/*
 * The ranges may hold this very program. The kernel brings back not a page, but the 64 kB around it, so
 * what runs from here to the wait must lie close together: one function here and one in libc. Not inlined, so
 * that every frame that is in use lies above this one's; a page is left for the system call's wrapper.
 */
__attribute__((noinline)) void loop_rest(Loop *l, const PageRange *drop, size_t n)
{
	const uintptr_t page = 4096;
	uintptr_t stack = ((uintptr_t)__builtin_frame_address(0) & ~(page - 1)) - page;
	struct epoll_event unused;

	(void)syscall(SYS_madvise, stack - LOOP_STACK_MOST, LOOP_STACK_MOST, MADV_DONTNEED);
	for (size_t i = 0; i < n; i++)
		(void)syscall(SYS_madvise, drop[i].from, drop[i].len, MADV_DONTNEED);
	(void)syscall(SYS_epoll_pwait, l->epfd, &unused, 1, -1, NULL, 0);
}
