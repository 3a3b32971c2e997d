/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that plugins have started, wherever they have gone: found by what is in their environment, and killed.
 *
 * A process that has made a session of its own and has lost its parent has nothing left by which it could be told but the environment that it was started with. So that is
 * looked for in all of /proc, again and again, until a whole round finds none. This costs milliseconds, and is for runs that went wrong.
 *
 * Between two programs (execve(2)) a process has no environment for a moment. One that is young enough to be ours is waited for.
 */
#include "cni/cni-internal.h"

#include "base/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#define ROUNDS        50
#define PAUSE_MS      2
#define ENVIRON_MAX   65536
#define KERNEL_THREAD 0x00200000u /* PF_KTHREAD, of the flags in /proc/PID/stat */

typedef enum Seen {
	SEEN_OTHER,
	SEEN_MARKED,
	SEEN_UNCLEAR, /* it has no environment: between two programs, or none of ours */
} Seen;

typedef struct Hunt {
	const char *const *marks;
	uint64_t began;
	int proc;
	char *buf; /* ENVIRON_MAX + 1 */
} Hunt;

uint64_t cni_hunt_now(void)
{
	uint64_t hz = (uint64_t)MAX2(sysconf(_SC_CLK_TCK), 1L);
	struct timespec t = {0};

	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * hz + (uint64_t)t.tv_nsec * hz / 1000000000u;
}

/* A kernel thread, one that has ended, or one from before that time. */
static bool cannot_be(const Hunt *h, const char *pid)
{
	char name[32], buf[1024], state = 'X';
	unsigned flags = 0;
	unsigned long long started = 0;
	const char *end;
	ssize_t n;

	(void)snprintf(name, sizeof(name), "%.10s/stat", pid);
	_cleanup_close_ int fd = openat(h->proc, name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : fd_read_full(fd, buf, sizeof(buf) - 1);
	if (n <= 0)
		return true;
	buf[n] = '\0';
	end = strrchr(buf, ')');
	if (!end ||
	    sscanf(end + 1, " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		   &state, &flags, &started) != 3)
		return true;
	return strchr("ZX", state) || (flags & KERNEL_THREAD) || started < h->began;
}

/* Whole variables; of one that ends with "=" any value. */
static bool has_variable(const char *env, size_t len, const char *mark)
{
	size_t n = strlen(mark);

	for (const char *v = env; v < env + len; v += strlen(v) + 1)
		if (strncmp(v, mark, n) == 0 && (v[n] == '\0' || mark[n - 1] == '='))
			return true;
	return false;
}

static Seen look_at(const Hunt *h, const char *pid)
{
	char name[32];
	ssize_t n;

	(void)snprintf(name, sizeof(name), "%.10s/environ", pid);
	_cleanup_close_ int fd = openat(h->proc, name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : fd_read_full(fd, h->buf, ENVIRON_MAX);
	if (n == 0)
		return cannot_be(h, pid) ? SEEN_OTHER : SEEN_UNCLEAR;
	if (n < 0)
		return SEEN_OTHER;
	h->buf[n] = '\0';
	for (size_t i = 0; h->marks[i]; i++)
		if (!has_variable(h->buf, (size_t)n, h->marks[i]))
			return SEEN_OTHER;
	return SEEN_MARKED;
}

/* Looked at through a descriptor once more: the number may be somebody else's by now. */
static void kill_marked(const Hunt *h, const char *name, pid_t pid)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (pidfd >= 0 && look_at(h, name) == SEEN_MARKED)
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

/* True if there was none, and none that may have been one. */
static bool hunt_once(const Hunt *h)
{
	_cleanup_dir_ DIR *d = NULL;
	int fd = openat(h->proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), pid;
	bool none = true;
	struct dirent *de;

	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		closep(&fd);
		return false;
	}
	while ((de = readdir(d))) {
		bool other = str_to_int(de->d_name, 2, INT32_MAX, &pid) < 0 || pid == getpid();
		Seen seen = other ? SEEN_OTHER : look_at(h, de->d_name);

		if (seen == SEEN_MARKED)
			kill_marked(h, de->d_name, pid);
		none = none && seen == SEEN_OTHER;
	}
	return none;
}

/* A process that is ending has no environment any more, so the first round without any is the last. */
bool cni_hunt(const char *const *marks, uint64_t began)
{
	_cleanup_close_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *buf = malloc(ENVIRON_MAX + 1);
	const Hunt h = {.marks = marks, .began = began, .proc = proc, .buf = buf};

	for (int round = 0; proc >= 0 && buf && round < ROUNDS; round++) {
		if (hunt_once(&h))
			return true;
		(void)poll(NULL, 0, PAUSE_MS);
	}
	return false;
}
