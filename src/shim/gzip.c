/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process, and the file around the compressed bytes; the compression itself is deflate.c.
 *
 * The process is the shim's child and dies with it. It closes whatever it has inherited, so that no socket of
 * a client and no reserved port stays open because a log is being compressed.
 */
#include "shim/gzip.h"

#include "base/fd.h"
#include "base/str.h"
#include "shim/deflate.h"

#include <endian.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define NICE 10

/* ---- the file ---- */

typedef struct Out {
	int fd;
} Out;

static int out_write(void *user, const uint8_t *data, size_t n)
{
	return fd_write_all(((Out *)user)->fd, data, n);
}

static int write_head(int fd, const struct stat *st)
{
	struct {
		uint8_t fixed[10];
		uint8_t extra_len[2];
		uint8_t id[2], len[2];
		uint8_t who[16];
	} head = {
	    .fixed = {0x1f, 0x8b, 8, 1 << 2 /* FEXTRA */, 0, 0, 0, 0, 0, 3 /* Unix */},
	    .extra_len = {20, 0},
	    .id = {'I', 'K'},
	    .len = {16, 0},
	};
	uint64_t dev = htole64(st->st_dev), ino = htole64(st->st_ino);

	memcpy(head.who, &dev, sizeof(dev));
	memcpy(head.who + sizeof(dev), &ino, sizeof(ino));
	return fd_write_all(fd, &head, sizeof(head));
}

static int write_body(int fd, const uint8_t *data, size_t n)
{
	uint32_t tail[2] = {htole32(deflate_crc32(data, n)), htole32((uint32_t)n)};
	Out out = {fd};
	int r = deflate_all(data, n, out_write, &out);

	return r < 0 ? r : fd_write_all(fd, tail, sizeof(tail));
}

static int compress_into(int from, int to)
{
	struct stat st;
	void *data = NULL;
	int r;

	if (fstat(from, &st) < 0)
		return -errno;
	if (st.st_size > 0) {
		data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, from, 0);
		if (data == MAP_FAILED)
			return -errno;
		(void)madvise(data, (size_t)st.st_size, MADV_SEQUENTIAL);
	}
	r = write_head(to, &st);
	if (r >= 0)
		r = write_body(to, data, (size_t)st.st_size);
	if (data)
		(void)munmap(data, (size_t)st.st_size);
	return r >= 0 && fdatasync(to) < 0 ? -errno : r;
}

int gzip_file(const char *from, const char *to)
{
	_cleanup_free_ char *half = strf("%s.new", to);
	_cleanup_close_ int in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_close_ int out = -1;
	int r;

	if (in < 0)
		return -errno;
	if (!half)
		return -ENOMEM;
	out = open(half, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (out < 0)
		return -errno;
	r = compress_into(in, out);
	if (r >= 0 && rename(half, to) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(half);
	else if (unlink(from) < 0)
		r = -errno;
	return r;
}

/* ---- the process ---- */

static void gzip_reap(Gzip *g, int options)
{
	siginfo_t si = {0};
	int r;

	do
		r = waitid(P_PIDFD, (id_t)g->pidfd.fd, &si, WEXITED | options);
	while (r < 0 && errno == EINTR);
	if (r == 0 && si.si_pid == 0)
		return;
	if (g->loop)
		loop_close(g->loop, &g->pidfd);
	else
		close_fd(&g->pidfd.fd);
	g->pid = 0;
}

static void gzip_ready(Source *s, uint32_t events _unused_)
{
	gzip_reap(s->arg, WNOHANG);
}

void gzip_init(Gzip *g)
{
	*g = (Gzip){.pidfd = {.fd = -1, .ready = gzip_ready, .arg = g}};
}

bool gzip_running(const Gzip *g)
{
	return g->pid > 0;
}

__attribute__((noreturn)) static void child(const char *from, const char *to, pid_t shim)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != shim)
		_exit(EXIT_FAILURE);
	(void)close_range(3, ~0u, 0);
	(void)file_write_at(AT_FDCWD, "/proc/self/oom_score_adj", "0");
	(void)setpriority(PRIO_PROCESS, 0, NICE);
	_exit(gzip_file(from, to) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

int gzip_start(Gzip *g, Loop *loop, const char *from, const char *to)
{
	pid_t shim = getpid();
	int r = 0;

	if (g->pid > 0)
		return -EBUSY;
	g->pid = fork();
	if (g->pid == 0)
		child(from, to, shim);
	if (g->pid < 0) {
		g->pid = 0;
		return -errno;
	}
	g->loop = loop;
	g->pidfd.fd = pidfd_open(g->pid, 0);
	if (g->pidfd.fd < 0)
		r = -errno;
	else if (loop)
		r = loop_watch(loop, &g->pidfd, EPOLLIN);
	if (r < 0) { /* whom nobody watches is not started */
		(void)kill(g->pid, SIGKILL);
		(void)waitpid(g->pid, NULL, 0);
		close_fd(&g->pidfd.fd);
		g->pid = 0;
	}
	return r;
}

void gzip_wait(Gzip *g)
{
	if (g->pid > 0)
		gzip_reap(g, 0);
}

void gzip_stop(Gzip *g)
{
	if (g->pid <= 0)
		return;
	(void)pidfd_send_signal(g->pidfd.fd, SIGKILL, NULL, 0);
	gzip_reap(g, 0);
}
