/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a log: its files one after the other, then, for a follower, what is written from then on.
 *
 * A follower knows its file by inode: after a rotation it looks for it in the new
 * set and goes on with what is newer. The tail is found by reading backwards in blocks; that of a compressed file by reading it
 * twice. Memory stays within one record (LOG_LINE_MAX) and some blocks, whatever the files hold; what is no record is counted and skipped.
 */
#include "engine/logs.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "store/inflate.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

typedef struct Reader {
	const EngineLogs *l;
	const LogCodec *codec;
	EngineLogSink sink;
	void *user;
	uint64_t *malformed;
	StrBuf scratch;
	char *buf; /* unfinished records */
	size_t len, cap;
	bool skipping; /* the rest of a record that is too long, or of a file that is damaged */
	bool stopped;
	int64_t drop; /* records that are not wanted, before the first that is */
	LogFile file; /* being read */
	int64_t pos;
	bool follows;     /* else what is written from now on is not read: it might never end */
	Inflate *inflate; /* of a compressed file */
	uint8_t *packed;  /* LOG_BLOCK bytes of it */
	size_t packed_at, packed_len;
} Reader;

static void reader_done(Reader *rd)
{
	strbuf_done(&rd->scratch);
	free(rd->buf);
	free(rd->packed);
	inflate_free(rd->inflate);
	close_fd(&rd->file.fd);
}

/* ---- records ---- */

static int deliver(Reader *rd, const char *body, size_t n, Err *e)
{
	LogRecord rec;
	int r;

	if (rd->drop > 0) {
		rd->drop--;
		return 0;
	}
	r = rd->codec->decode(body, n, &rd->scratch, &rec);
	if (r == -ENOMEM)
		return err_oom(e);
	if (r < 0) {
		(*rd->malformed)++;
		return 0;
	}
	if (rd->l->until_ns && rec.time_ns > rd->l->until_ns) {
		rd->stopped = true;
		return 0;
	}
	if (rec.time_ns < rd->l->since_ns || !(rec.stream == 1 ? rd->l->out : rd->l->err))
		return 0;
	r = rd->sink(rd->user, &rec);
	rd->stopped = r != 0;
	return r < 0 ? err_new(e, ERR_CANCELLED, "the reader of the log has gone away") : 0;
}

/* Delivers the whole records in the buffer and keeps the rest. */
static int deliver_buffered(Reader *rd, Err *e)
{
	size_t at = 0;
	int r = 0;

	while (r >= 0 && !rd->stopped) {
		const char *body;
		size_t n;
		ssize_t used = rd->codec->frame(rd->buf + at, rd->len - at, &body, &n);

		if (used < 0) {
			*rd->malformed += !rd->skipping;
			rd->skipping = true;
		}
		if (used <= 0)
			break;
		if (!rd->skipping && n > 0)
			r = deliver(rd, body, n, e);
		rd->skipping = rd->skipping && !rd->codec->lines;
		at += (size_t)used;
	}
	rd->len -= at;
	if (at > 0)
		memmove(rd->buf, rd->buf + at, rd->len);
	if (rd->len > LOG_LINE_MAX + 16) {
		*rd->malformed += !rd->skipping;
		rd->skipping = true;
	}
	if (rd->skipping)
		rd->len = 0;
	return r;
}

/* ---- files ---- */

static int reader_reserve(Reader *rd)
{
	size_t need = rd->len + LOG_BLOCK;
	char *b;

	if (need <= rd->cap)
		return 0;
	b = realloc(rd->buf, MAX2(need, rd->cap * 2));
	if (!b)
		return -ENOMEM;
	rd->cap = MAX2(need, rd->cap * 2);
	rd->buf = b;
	return 0;
}

static int packed_refill(Reader *rd, Err *e)
{
	ssize_t n = fd_pread_full(rd->file.fd, rd->packed, LOG_BLOCK, rd->pos);

	if (n < 0)
		return err_sys(e, (int)n, "read log");
	rd->packed_at = 0;
	rd->packed_len = (size_t)n;
	rd->pos += n;
	return 0;
}

static int packed_begin(Reader *rd, Err *e)
{
	int r;

	if (rd->inflate)
		return 0;
	if (!rd->packed)
		rd->packed = malloc(LOG_BLOCK);
	if (!rd->packed)
		return err_oom(e);
	r = packed_refill(rd, e);
	return r < 0 ? r : inflate_new(rd->packed, rd->packed_len, &rd->inflate, e);
}

/* The next plain bytes of a compressed file: how many, 0 at its end. The rest of a damaged one is skipped. */
static ssize_t read_packed(Reader *rd, Err *e)
{
	Err damage = {0};
	int r = packed_begin(rd, e);

	while (r >= 0 && !rd->skipping) {
		size_t used = 0, made = 0;

		if (rd->packed_at == rd->packed_len)
			r = packed_refill(rd, e);
		if (r < 0)
			break;
		r = inflate_step(rd->inflate, rd->packed + rd->packed_at, rd->packed_len - rd->packed_at,
				 &used, (uint8_t *)rd->buf + rd->len, LOG_BLOCK, &made, rd->packed_len == 0,
				 &damage);
		rd->packed_at += used;
		if (made > 0)
			return (ssize_t)made;
		if (r >= 0 && rd->packed_len == 0)
			return 0;
		if (r < 0 || used == 0) {
			(*rd->malformed)++;
			return 0;
		}
	}
	return MIN2(r, 0);
}

/* The next bytes into the buffer: how many, 0 at the end for now. */
static ssize_t read_block(Reader *rd, Err *e)
{
	int64_t left = rd->file.size - rd->pos;
	size_t want = LOG_BLOCK;
	struct stat st;
	ssize_t n;

	if (!rd->follows && left < (int64_t)want)
		want = left > 0 ? (size_t)left : 0;
	if (reader_reserve(rd) < 0)
		return err_oom(e);
	if (rd->file.gz)
		return read_packed(rd, e);
	do
		n = pread(rd->file.fd, rd->buf + rd->len, want, rd->pos);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, errno, "read log");
	rd->pos += n;
	/* Somebody emptied the file: what comes now is at its start. */
	if (n == 0 && rd->pos > 0 && fstat(rd->file.fd, &st) == 0 && st.st_size < rd->pos) {
		rd->pos = 0;
		rd->len = 0;
		rd->skipping = false;
		return read_block(rd, e);
	}
	return n;
}

/* Reads what there is up to end of file. */
static int read_on(Reader *rd, Err *e)
{
	while (rd->file.fd >= 0 && !rd->stopped) {
		ssize_t n = read_block(rd, e);
		int r;

		if (n <= 0)
			return (int)n;
		rd->len += (size_t)n;
		r = deliver_buffered(rd, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Leaves the file at hand for f, taking its descriptor. */
static void reader_switch(Reader *rd, LogFile *f, int64_t pos)
{
	*rd->malformed += rd->len > 0;
	rd->len = 0;
	rd->skipping = false;
	inflate_free(take_ptr(rd->inflate));
	close_fd(&rd->file.fd);
	rd->file = *f;
	f->fd = -1;
	rd->pos = pos;
}

/* ---- from where ---- */

static int ignore_record(const char *body, size_t n, StrBuf *scratch, LogRecord *ret)
{
	return -EINVAL;
}

/* The records of a compressed file are counted by reading it. */
static int count_packed(const Reader *rd, const LogFile *f, uint64_t *ret, Err *e)
{
	LogCodec counting = *rd->codec;
	LogFile copy = *f;
	EngineLogs all = {0};
	uint64_t n = 0;
	_cleanup_(reader_done)
	    Reader counter = {.l = &all, .codec = &counting, .malformed = &n, .file.fd = -1};
	int r;

	counting.decode = ignore_record;
	copy.fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
	if (copy.fd < 0)
		return err_sys(e, errno, "read log");
	reader_switch(&counter, &copy, 0);
	r = read_on(&counter, e);
	*ret = n;
	return r;
}

static int tail_of(Reader *rd, const LogFile *f, int64_t *left, char *block, int64_t *ret_pos, Err *e)
{
	uint64_t n;
	int r;

	*ret_pos = 0;
	if (f->gz) {
		r = count_packed(rd, f, &n, e);
		if (r < 0)
			return r;
		rd->drop = MAX2((int64_t)n - *left, (int64_t)0);
		*left = MAX2(*left - (int64_t)n, (int64_t)0);
		return 0;
	}
	*ret_pos = rd->codec->tail(f->fd, f->size, left, block);
	return *ret_pos < 0 ? err_sys(e, (int)*ret_pos, "read log") : 0;
}

/* From `first` of the set on; `pos` is where to begin in that one. What was finished before `since` is not opened up. */
static int read_set(Reader *rd, LogSet *s, size_t first, int64_t pos, Err *e)
{
	int r = 0;

	for (size_t i = first; r >= 0 && !rd->stopped && i < s->n; i++) {
		if (i + 1 < s->n && s->v[i].mtime_ns < rd->l->since_ns) {
			rd->drop = 0;
			continue;
		}
		reader_switch(rd, &s->v[i], i == first ? pos : 0);
		r = read_on(rd, e);
	}
	return r;
}

static int read_start(Reader *rd, const char *path, Err *e)
{
	_cleanup_(log_set_done) LogSet s = {0};
	_cleanup_free_ char *block = malloc(LOG_BLOCK);
	size_t first = 0;
	int64_t pos = 0, left = rd->l->tail;
	int r = block ? log_set_open(path, rd->codec->dated, &s, e) : err_oom(e);

	if (r < 0)
		return r;
	for (size_t i = s.n; rd->l->tail >= 0 && i-- > 0;) {
		r = tail_of(rd, &s.v[i], &left, block, &pos, e);
		if (r < 0)
			return r;
		first = i;
		if (pos > 0 || left == 0)
			break;
	}
	/* tail 0 of a file without a newline: nothing old is wanted, its unfinished line is new. */
	return read_set(rd, &s, first, pos, e);
}

/* ---- following ---- */

/* The first of the set that is newer than `file`. If that is none of them, it was removed, being the oldest, unless somebody compressed it, and cannot be
 * told from the other compressed ones: then what was written behind its end goes on, as far as it is still plain. */
static size_t newer_than(const LogFile *file, const LogSet *s, bool dated)
{
	struct stat st;
	size_t i = s->n;

	if (file->fd < 0)
		return 0;
	while (i > 0 && !log_file_same(&s->v[i - 1], file))
		i--;
	if (i > 0 || !dated || fstat(file->fd, &st) < 0)
		return i;
	while (i < s->n && (s->v[i].gz || s->v[i].mtime_ns < log_mtime_ns(&st)))
		i++;
	return i;
}

/* After a rotation: the rest of our file, then those that are newer. */
static int read_rotated(Reader *rd, const char *path, Err *e)
{
	_cleanup_(log_set_done) LogSet s = {0};
	size_t first = 0;
	int r = log_set_open(path, rd->codec->dated, &s, e);

	if (r < 0)
		return r;
	first = newer_than(&rd->file, &s, rd->codec->dated);
	/* Only once the new set is open is the old file known to be complete. */
	if (first < s.n) {
		r = read_on(rd, e);
		if (r >= 0 && !rd->stopped)
			r = read_set(rd, &s, first, 0, e);
	}
	return r;
}

static int read_news(Reader *rd, const char *path, Err *e)
{
	LogFile now = {.fd = -1};
	int r = read_on(rd, e);

	if (r < 0 || rd->stopped)
		return r;
	r = log_file_open(path, &now);
	close_fd(&now.fd);
	if (r < 0)
		return err_sys(e, r, "open log %s", path);
	if (r > 0 && (rd->file.fd < 0 || !log_file_same(&now, &rd->file)))
		return read_rotated(rd, path, e);
	return 0;
}

static int watch_open(const char *path, Err *e)
{
	_cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	_cleanup_free_ char *dir = strndup(path, (size_t)(path_base(path) - path));

	if (fd < 0)
		return err_sys(e, errno,
			       "follow log %s: inotify (fs.inotify.max_user_instances may have to be raised)",
			       path);
	if (!dir)
		return err_oom(e);
	/* The directory, not the file: its watch survives rotation, and sees a file that is yet to come. */
	if (inotify_add_watch(fd, *dir ? dir : ".", IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF) < 0)
		return err_sys(e, errno, "follow log %s: inotify", path);
	return take_fd(&fd);
}

static void drain(int fd)
{
	char buf[4096];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

/* 1 to read again, 0 when `until` has come, -ECANCELED. */
static int wait_news(const LogFollow *f, int watch, int64_t until_ns)
{
	struct pollfd p[3] = {{.fd = watch, .events = POLLIN},
			      {.fd = f->wake_fd, .events = POLLIN},
			      {.fd = f->alive_fd}};
	int timeout = -1;

	if (until_ns) {
		int64_t left = until_ns - clock_now_ns();

		if (left <= 0)
			return 0;
		timeout = (int)MIN2(left / 1000000 + 1, (int64_t)3600000);
	}
	if (poll(p, ELEMENTSOF(p), timeout) < 0 && errno != EINTR)
		return -errno;
	if (p[2].revents & (POLLERR | POLLHUP | POLLNVAL))
		return -ECANCELED;
	if (p[0].revents)
		drain(watch);
	if (p[1].revents) {
		eventfd_t v;

		(void)eventfd_read(f->wake_fd, &v);
	}
	return 1;
}

static int follow_files(Reader *rd, const char *path, const LogFollow *f, int watch, Err *e)
{
	for (;;) {
		bool last = f->ended(f->user);
		int r = read_news(rd, path, e);

		if (r < 0 || rd->stopped || last)
			return r;
		if (rd->l->caught_up && rd->l->caught_up(rd->user) < 0)
			return err_new(e, ERR_CANCELLED, "the reader of the log has gone away");
		r = wait_news(f, watch, rd->l->until_ns);
		if (r == -ECANCELED)
			return err_new(e, ERR_CANCELLED, "the client has gone away");
		if (r < 0)
			return err_sys(e, r, "wait for log %s", path);
		if (r == 0)
			return 0;
	}
}

int log_files_read(const char *path, const LogCodec *codec, const EngineLogs *l, const LogFollow *follow,
		   EngineLogSink sink, void *user, uint64_t *malformed, Err *e)
{
	_cleanup_(reader_done) Reader rd = {
	    .l = l,
	    .codec = codec,
	    .sink = sink,
	    .user = user,
	    .malformed = malformed,
	    .file.fd = -1,
	    .follows = follow,
	};
	_cleanup_close_ int watch = -1;
	int r = 0;

	if (follow) {
		watch = watch_open(path, e); /* before the first read, or what comes in between is missed */
		r = MIN2(watch, 0);
	}
	if (r >= 0)
		r = read_start(&rd, path, e);
	if (r >= 0 && follow && !rd.stopped)
		r = follow_files(&rd, path, follow, watch, e);
	return r;
}
