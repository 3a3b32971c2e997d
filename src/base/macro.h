/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership on one line: automatic cleanup and explicit hand-over.
 *
 * A local that owns something is declared with _cleanup_(fn) or one of the shorthands below;
 * whoever takes the value over calls take_ptr() or take_fd(), which leaves NULL or -1 behind,
 * so that the cleanup at the end of the scope has nothing to do. Every destructor in the tree
 * accepts NULL (or -1) and half-built objects.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define _cleanup_(fn)        __attribute__((cleanup(fn)))
#define _printf_(fmt, first) __attribute__((format(printf, fmt, first)))
#define _unused_             __attribute__((unused))
#define _must_check_         __attribute__((warn_unused_result))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define MIN2(a, b)                                                                                           \
	({                                                                                                   \
		__typeof__(a) _a = (a);                                                                      \
		__typeof__(b) _b = (b);                                                                      \
		_a < _b ? _a : _b;                                                                           \
	})
#define MAX2(a, b)                                                                                           \
	({                                                                                                   \
		__typeof__(a) _a = (a);                                                                      \
		__typeof__(b) _b = (b);                                                                      \
		_a > _b ? _a : _b;                                                                           \
	})

/* Defines void <fn>p(T *p), the cleanup handler that calls fn(*p). */
#define DEFINE_CLEANUP(T, fn)                                                                                \
	static inline void fn##p(T *p)                                                                       \
	{                                                                                                    \
		fn(*p);                                                                                      \
	}

static inline void freep(void *p)
{
	free(*(void **)p);
}

/* close() is never retried: on Linux the descriptor is gone even after EINTR (close(2)). */
static inline void closep(const int *fd)
{
	if (*fd >= 0) {
		int saved = errno;
		(void)close(*fd);
		errno = saved;
	}
}

static inline void fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

#define _cleanup_free_   _cleanup_(freep)
#define _cleanup_close_  _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

#define take_ptr(p)                                                                                          \
	({                                                                                                   \
		__typeof__(p) _taken = (p);                                                                  \
		(p) = NULL;                                                                                  \
		_taken;                                                                                      \
	})

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static inline void close_fd(int *fd)
{
	closep(fd);
	*fd = -1;
}

static inline bool streq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* True if a is set and equals b. */
static inline bool streq0(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

static inline bool str_empty(const char *s)
{
	return !s || !*s;
}
