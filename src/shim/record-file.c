/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records are put together in a stage, which is written when a piece of input has been used up. A record larger than
 * the stage goes to the file in pieces; until its end is written, `size` still names the end of the record before
 * it, and that is where a failed write cuts the file.
 */
#include "shim/record-file.h"

#include "base/fd.h"
#include "base/str.h"
#include "shim/gzip.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define ROTATED_MAX  1000
#define TAIL_PROBE   (256 * 1024) /* no record of lines is longer */
#define ROTATE_AGAIN (64 * 1024)  /* bytes after which a failed rotation is tried again */

struct RecordFile {
	int fd;
	char *path;
	int64_t max_size;
	int max_files;
	bool compress;
	Loop *loop;
	int64_t (*end)(int fd, int64_t size);
	Gzip gzip;         /* at work on path.1, or idle */
	int64_t size;      /* end of the last whole record in the file */
	int64_t torn;      /* bytes of an unfinished record behind it */
	int64_t rotate_at; /* size at which the next rotation is due */
	char *stage;       /* RECORD_STAGE bytes, a mapping */
	size_t len;        /* used */
	size_t whole;      /* of them, up to the end of the last whole record */
	size_t records;    /* whole records in the stage */
	bool open;         /* a record is being put together */
	bool spoiled;      /* ... of which a part was lost */
	uint64_t lost;     /* records that are not in the file and not yet noted */
	uint64_t noted;    /* ... of them, told by a note that is still in the stage */
	int lost_errno;
};

/* ---- the stage and the file ---- */

/* Cuts off what a failed write left behind. Should even that fail, the file's true size is taken as it is. */
static void cut_torn(RecordFile *f)
{
	struct stat st;

	f->torn = 0;
	if (ftruncate(f->fd, f->size) < 0 && fstat(f->fd, &st) == 0)
		f->size = st.st_size;
}

void record_file_flush(RecordFile *f)
{
	int r = f->len ? fd_write_all(f->fd, f->stage, f->len) : 0;

	if (r < 0) {
		cut_torn(f);
		f->lost += f->records - (f->noted ? 1 : 0); /* the note itself is no loss */
		f->lost_errno = -r;
		f->spoiled = f->open;
		f->noted = 0;
	} else if (f->whole) {
		f->size += f->torn + (int64_t)f->whole;
		f->torn = (int64_t)(f->len - f->whole);
	} else {
		f->torn += (int64_t)f->len;
	}
	f->lost -= f->noted;
	f->len = f->whole = f->records = f->noted = 0;
}

void record_put(RecordFile *f, const char *p, size_t n)
{
	while (n > 0 && !f->spoiled) {
		size_t k = MIN2(n, RECORD_STAGE - f->len);

		memcpy(f->stage + f->len, p, k);
		f->len += k;
		p += k;
		n -= k;
		if (f->len == RECORD_STAGE)
			record_file_flush(f);
	}
}

/* ---- rotation ---- */

/* The name of the i-th rotated file (0: the current one), plain or compressed; malloc'ed. */
static char *numbered(const RecordFile *f, int i, bool gz)
{
	return i ? strf("%s.%d%s", f->path, i, gz ? ".gz" : "") : strdup(f->path);
}

static int rename_one(const RecordFile *f, int from, int to, bool gz)
{
	_cleanup_free_ char *a = numbered(f, from, gz);
	_cleanup_free_ char *b = numbered(f, to, gz);

	if (!a || !b)
		return -ENOMEM;
	return rename(a, b) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_last(const RecordFile *f)
{
	for (int gz = 0; gz < 2; gz++) {
		_cleanup_free_ char *name = numbered(f, f->max_files, gz);

		if (!name)
			return -ENOMEM;
		if (unlink(name) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

static int open_fresh(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);

	return fd < 0 ? -errno : fd;
}

/* From the oldest on, so that a crash leaves one gap and nothing doubled. */
static int shift_files(const RecordFile *f)
{
	int r = f->max_files > 0 ? remove_last(f) : 0;

	for (int i = f->max_files - 1; r >= 0 && i >= 1; i--) {
		r = rename_one(f, i, i + 1, false);
		if (r >= 0)
			r = rename_one(f, i, i + 1, true);
	}
	return r >= 0 && f->max_files > 0 ? rename_one(f, 0, 1, false) : r;
}

/* The new file is made first, so that a full disk or table leaves everything as it was. */
static int rotate_files(RecordFile *f)
{
	_cleanup_free_ char *fresh = strf("%s.new", f->path);
	_cleanup_close_ int fd = fresh ? open_fresh(fresh) : -ENOMEM;
	int r;

	if (fd < 0)
		return fd;
	r = shift_files(f);
	if (r >= 0 && rename(fresh, f->path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(fresh);
		return r;
	}
	(void)close(f->fd);
	f->fd = take_fd(&fd);
	return 0;
}

/* What cannot be compressed stays as it is. */
static void compress_newest(RecordFile *f)
{
	_cleanup_free_ char *from = numbered(f, 1, false);
	_cleanup_free_ char *to = numbered(f, 1, true);

	if (f->compress && f->max_files > 0 && from && to && access(from, F_OK) == 0)
		(void)gzip_start(&f->gzip, f->loop, from, to);
}

/* Its file must keep its name until it is done: a writer that is faster than that gets twice the size, then it waits. */
static bool compressor_in_the_way(RecordFile *f)
{
	if (!gzip_running(&f->gzip))
		return false;
	if (f->loop && f->size < f->rotate_at + f->max_size)
		return true;
	gzip_wait(&f->gzip);
	return false;
}

void record_begin(RecordFile *f)
{
	f->open = true;
	f->spoiled = false;
	if (f->max_size <= 0 || f->size + f->torn + (int64_t)f->len < f->rotate_at)
		return;
	f->open = false;
	record_file_flush(f);
	f->open = true;
	/* Not if the stage was lost. */
	if (f->size < f->rotate_at || compressor_in_the_way(f))
		return;
	if (rotate_files(f) < 0) {
		/* The log goes on in the old file; trying again with every record would be slow. */
		f->rotate_at = f->size + ROTATE_AGAIN;
		return;
	}
	f->size = f->torn = 0;
	f->rotate_at = f->max_size;
	compress_newest(f);
}

void record_end(RecordFile *f, const char *tail, size_t n)
{
	/* The tail must not be the piece that fills the stage: a flush has to see the record as whole or not. */
	if (RECORD_STAGE - f->len <= n)
		record_file_flush(f);
	record_put(f, tail, n);
	f->open = false;
	if (f->spoiled) {
		f->lost++;
		f->spoiled = false;
		return;
	}
	f->whole = f->len;
	f->records++;
}

/* ---- losses ---- */

uint64_t record_file_lost(const RecordFile *f, int *ret_errno)
{
	*ret_errno = f->lost_errno;
	return f->lost;
}

bool record_file_has_gap(const RecordFile *f)
{
	return f->lost > f->noted && f->len == 0;
}

void record_file_lose(RecordFile *f, int error)
{
	f->lost++;
	f->lost_errno = error;
}

void record_file_noted(RecordFile *f)
{
	f->noted = f->lost;
}

/* ---- opening and closing ---- */

void record_file_idle(RecordFile *f)
{
	(void)madvise(f->stage, RECORD_STAGE, MADV_DONTNEED);
}

int64_t record_lines_end(int fd, int64_t size)
{
	int64_t low = MAX2(size - TAIL_PROBE, (int64_t)0);
	char buf[4096];

	while (size > low) {
		size_t want = (size_t)MIN2((int64_t)sizeof(buf), size - low);
		ssize_t n = pread(fd, buf, want, size - (int64_t)want);
		const char *nl;

		if (n != (ssize_t)want)
			return n < 0 ? -errno : -EIO;
		nl = memrchr(buf, '\n', want);
		if (nl)
			return size - (int64_t)want + (nl - buf) + 1;
		size -= (int64_t)want;
	}
	return size;
}

/* After a power cut the file may end inside a record. */
static int mend_end(RecordFile *f, int writable, int64_t size, Err *e)
{
	_cleanup_close_ int fd = open(f->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "open %s", f->path);
	f->size = size ? f->end(fd, size) : 0;
	if (f->size < 0)
		return err_sys(e, (int)f->size, "read %s", f->path);
	if (f->size != size && ftruncate(writable, f->size) < 0)
		return err_sys(e, errno, "cut a torn record from %s", f->path);
	return 0;
}

/* Nonblocking, which a file does not notice: a FIFO of that name would make the opener wait for its reader. */
static int open_file(RecordFile *f, Err *e)
{
	_cleanup_close_ int fd =
	    open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		 0640);
	struct stat st;
	int64_t size = f->size;
	int r;

	if (fd < 0 && (errno == ELOOP || errno == ENXIO))
		return err_new_no(e, ERR_INVALID, errno, "log %s is not a regular file", f->path);
	if (fd < 0)
		return err_sys(e, errno, "open log %s", f->path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "stat log %s", f->path);
	if (!S_ISREG(st.st_mode))
		return err_new(e, ERR_INVALID, "log %s is not a regular file", f->path);
	r = mend_end(f, fd, st.st_size, e);
	if (r < 0) {
		f->size = size;
		return r;
	}
	close_fd(&f->fd);
	f->fd = take_fd(&fd);
	return 0;
}

int record_file_reopen(RecordFile *f, Err *e)
{
	record_file_flush(f);
	return open_file(f, e);
}

int record_file_open(const RecordFileOptions *o, RecordFile **ret, Err *e)
{
	_cleanup_(record_file_closep) RecordFile *f = calloc(1, sizeof(*f));
	void *stage;
	int r;

	if (!f)
		return err_oom(e);
	f->fd = -1;
	gzip_init(&f->gzip);
	f->max_size = f->rotate_at = o->max_size;
	f->max_files = o->max_files < 0 ? 0 : MIN2(o->max_files, ROTATED_MAX);
	f->compress = o->compress;
	f->loop = o->loop;
	f->end = o->end;
	stage = mmap(NULL, RECORD_STAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stage == MAP_FAILED)
		return err_oom(e);
	f->stage = stage;
	f->path = strdup(o->path);
	if (!f->path)
		return err_oom(e);
	r = open_file(f, e);
	if (r < 0)
		return r;
	compress_newest(f); /* a shim that ended meanwhile has left it */
	*ret = take_ptr(f);
	return 0;
}

void record_file_close(RecordFile *f)
{
	if (!f)
		return;
	if (f->fd >= 0)
		record_file_flush(f);
	/* The next shim of the container goes on with what was not finished; its folder may be removed any moment. */
	gzip_stop(&f->gzip);
	close_fd(&f->fd);
	if (f->stage)
		(void)munmap(f->stage, RECORD_STAGE);
	free(f->path);
	free(f);
}
