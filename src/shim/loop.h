/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim's event loop: epoll, one event at a time.
 *
 * Taking one event per epoll_wait means that a handler may destroy any source, its own included,
 * without another pending event pointing at freed memory; the kernel's ready list rotates, so nobody starves.
 */
#pragma once

#include "base/err.h"
#include "base/pages.h"

#include <sys/epoll.h>

#define LOOP_IO_SIZE 65536 /* what a pipe holds */

typedef struct Loop {
	int epfd;
	char *io; /* LOOP_IO_SIZE bytes that every handler may use until it returns */
} Loop;

typedef struct Source Source;
typedef void (*SourceFn)(Source *s, uint32_t events);
struct Source {
	int fd;
	uint32_t events;
	bool watched;
	SourceFn ready;
	void *arg;
};

int loop_init(Loop *l, Err *e);
void loop_done(Loop *l);
/* Watches the source, changing the event mask if it already is. With mask 0 only EPOLLHUP and EPOLLERR arrive. */
int loop_watch(Loop *l, Source *s, uint32_t events);
void loop_unwatch(Loop *l, Source *s);
/* Unwatches and closes. */
void loop_close(Loop *l, Source *s);
/* Waits up to timeout_ms (-1: forever) and handles one event. 1 if there was one, 0 if not, or -errno. */
int loop_once(Loop *l, int timeout_ms);
/* Drops the ranges and the unused stack, and waits, without limit, until an event is there; it is left for loop_once. */
void loop_rest(Loop *l, const PageRange *drop, size_t n);
