/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing beside copying; the contract is in digest-file.h. */
#include "store/digest-file.h"

#include "base/fd.h"
#include "store/digest.h"

#include <pthread.h>
#include <sys/sendfile.h>

#define PIECE      (512u << 10)
#define COPY_STEP  (1 << 30)
#define SMALL_SIZE (256 << 10) /* less than this is hashed sooner than a thread starts */

struct DigestThread {
	pthread_t thread;
	bool runs;
	int fd;
	int64_t at, size;
	Hasher *hasher;
	int r;
};

static void *run(void *user)
{
	DigestThread *t = user;
	_cleanup_free_ char *buf = malloc(PIECE);
	int64_t left = t->size;

	t->r = buf ? 0 : -ENOMEM;
	while (t->r == 0 && left > 0) {
		ssize_t n = pread(t->fd, buf, (size_t)MIN2((int64_t)PIECE, left), t->at + t->size - left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			t->r = n < 0 ? -errno : -ENODATA; /* it became shorter */
		else
			hasher_add(t->hasher, buf, (size_t)n);
		left -= n;
	}
	return NULL;
}

int digest_thread_start(int fd, int64_t at, int64_t size, DigestThread **ret, Err *e)
{
	DigestThread *t = calloc(1, sizeof(*t));
	int r = 0;

	if (!t)
		return err_oom(e);
	*t = (DigestThread){.fd = fd, .at = at, .size = size, .hasher = hasher_new()};
	if (!t->hasher)
		r = err_oom(e);
	else if (size < SMALL_SIZE)
		(void)run(t);
	else if ((r = pthread_create(&t->thread, NULL, run, t)) != 0)
		r = err_sys(e, r, "start a thread");
	else
		t->runs = true;
	if (r < 0) {
		hasher_free(t->hasher);
		free(t);
		return r;
	}
	*ret = t;
	return 0;
}

int digest_thread_end(DigestThread *t, char *ret, Err *e)
{
	int r;

	if (!t)
		return 0;
	if (t->runs)
		pthread_join(t->thread, NULL);
	r = t->r;
	if (r >= 0 && ret)
		r = hasher_digest(t->hasher, ret);
	hasher_free(t->hasher);
	free(t);
	return r < 0 && ret ? err_sys(e, r, "hash a file") : 0;
}

static int copy_buffered(int fd, off_t at, off_t end, int out)
{
	_cleanup_free_ char *buf = malloc(PIECE);

	while (buf && at < end) {
		ssize_t n = pread(fd, buf, (size_t)MIN2((off_t)PIECE, end - at), at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		int r = fd_write_all(out, buf, (size_t)n);
		if (r < 0)
			return r;
		at += n;
	}
	return buf ? 0 : -ENOMEM;
}

/* Within the kernel where it can. */
static int copy_piece(int fd, off_t at, off_t end, int out)
{
	while (at < end) {
		ssize_t n = sendfile(out, fd, &at, (size_t)MIN2((off_t)COPY_STEP, end - at));

		if (n == 0)
			return -ENODATA;
		if (n < 0 && (errno == EINVAL || errno == ENOSYS))
			return copy_buffered(fd, at, end, out);
		if (n < 0 && errno != EINTR)
			return -errno;
	}
	return 0;
}

int digest_copy(int fd, int64_t at, int64_t size, int out, char ret[DIGEST_LEN + 1], Err *e)
{
	DigestThread *t;
	int r = digest_thread_start(fd, at, size, &t, e), copied;

	if (r < 0)
		return r;
	copied = copy_piece(fd, at, at + size, out);
	r = digest_thread_end(t, ret, copied < 0 ? NULL : e);
	return copied < 0 ? err_sys(e, copied, "write the contents of a blob") : r;
}
