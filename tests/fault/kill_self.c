/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library for LD_PRELOAD: irekod kills itself right before its nth step, and what it has started lives on (under kill_at.c, which stops every system call
 * of all of them, it would not).
 *
 * A step is a call that speaks netlink, writes to a file or to somebody, or makes, renames or removes a name. KILL_SELF names a file of struct control,
 * which is laid out as kill_at.c's: it arms the counting, says where to kill, and reads how far things went. Programs that irekod starts do not count.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
	uint64_t armed;
	uint64_t count[2];
	uint64_t kill_at[2]; /* 0: never */
	uint64_t killed;
};

static struct control *control;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("KILL_SELF");
	int fd;

	if (strcmp(program_invocation_short_name, "irekod") != 0)
		return;
	fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		abort();
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (control == MAP_FAILED)
		abort();
	close(fd);
}

static void step(void)
{
	if (!control || !__atomic_load_n(&control->armed, __ATOMIC_SEQ_CST))
		return;
	if (__atomic_add_fetch(&control->count[0], 1, __ATOMIC_SEQ_CST) == control->kill_at[0]) {
		control->killed = 1;
		kill(getpid(), SIGKILL);
	}
}

static void *next(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

/* The function of that name: a step, then the real one. */
#define STEP(type, name, parameters, arguments)                                                                       \
	type name parameters                                                                                         \
	{                                                                                                            \
		static type(*real) parameters;                                                                       \
                                                                                                                     \
		if (!real)                                                                                           \
			*(void **)&real = next(#name);                                                               \
		step();                                                                                              \
		return real arguments;                                                                               \
	}

STEP(ssize_t, sendto, (int fd, const void *b, size_t n, int flags, const struct sockaddr *to, socklen_t len),
     (fd, b, n, flags, to, len))
STEP(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
STEP(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))
STEP(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t at), (fd, b, n, at))
STEP(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t at), (fd, b, n, at))
STEP(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
STEP(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode))
STEP(int, renameat, (int from, const char *a, int to, const char *b), (from, a, to, b))
STEP(int, unlink, (const char *path), (path))
STEP(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
