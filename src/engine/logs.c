/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `logs`: reads the json-file of a container, written by its shim, and its rotated predecessors.
 *
 * The shim rotates by renaming, so the files are opened together as one set, oldest first, and opened
 * again if a rotation came in between. A follower knows its file by inode: after a rotation it looks for it in the new
 * set and goes on with what is newer. The tail is found by reading backwards in blocks. Memory stays within one
 * line (LOG_LINE_MAX) and a block, whatever the file holds; a line that is no record is counted and skipped.
 *
 * A container's end is known after the shim has written everything, so one more read after it sees all.
 */
#include "engine/engine-internal.h"
#include "engine/logs.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#define BLOCK_SIZE    (64u << 10)
#define ROTATED_MAX   1000
#define OPEN_ATTEMPTS 8

/* ---- the set of files ---- */

typedef struct LogFile {
	int fd;
	dev_t dev;
	ino_t ino;
	int64_t size; /* when opened */
} LogFile;

typedef struct LogSet {
	LogFile *v; /* oldest first */
	size_t n;
} LogSet;

static void log_set_done(LogSet *s)
{
	for (size_t i = 0; i < s->n; i++)
		close_fd(&s->v[i].fd);
	free(s->v);
	*s = (LogSet){0};
}

static bool same_file(const LogFile *a, const LogFile *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

/* 1 opened, 0 if there is none. */
static int log_file_open(const char *path, LogFile *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*ret = (LogFile){take_fd(&fd), st.st_dev, st.st_ino, st.st_size};
	return 1;
}

/* Adds path or path.<number>; 1, or 0 if it is missing. */
static int log_set_add(LogSet *s, const char *path, int number)
{
	_cleanup_free_ char *name = number ? strf("%s.%d", path, number) : strdup(path);
	LogFile *v = realloc(s->v, (s->n + 1) * sizeof(*v));
	int r;

	if (v)
		s->v = v;
	if (!v || !name)
		return -ENOMEM;
	r = log_file_open(name, &s->v[s->n]);
	if (r > 0)
		s->n++;
	return r;
}

/* Newest first. */
static int log_set_collect(LogSet *s, const char *path)
{
	int r = log_set_add(s, path, 0);

	for (int i = 1; r > 0 && i <= ROTATED_MAX; i++) {
		r = log_set_add(s, path, i);
		/* A rotation has just moved what we have. */
		if (r > 0 && same_file(&s->v[s->n - 1], &s->v[s->n - 2]))
			return -EAGAIN;
	}
	return MIN2(r, 0);
}

static bool still_current(const LogSet *s, const char *path)
{
	LogFile now = {.fd = -1};
	int r = log_file_open(path, &now);

	close_fd(&now.fd);
	return s->n == 0 ? r == 0 : r > 0 && same_file(&now, &s->v[0]);
}

static int log_set_open(const char *path, LogSet *ret, Err *e)
{
	for (int i = 0; i < OPEN_ATTEMPTS; i++) {
		LogSet s = {0};
		int r = log_set_collect(&s, path);

		if (r >= 0 && !still_current(&s, path))
			r = -EAGAIN;
		if (r >= 0) {
			for (size_t k = 0; k < s.n / 2; k++) {
				LogFile t = s.v[k];

				s.v[k] = s.v[s.n - 1 - k];
				s.v[s.n - 1 - k] = t;
			}
			*ret = s;
			return 0;
		}
		log_set_done(&s);
		if (r != -EAGAIN)
			return err_sys(e, r, "open log %s", path);
	}
	return err_new(e, ERR_UNAVAILABLE,
		       "log %s rotates faster than it can be opened: use a larger max-size", path);
}

/* ---- the tail ---- */

/* Where the last *left lines of the file start, or 0 with *left less those it has. */
static int tail_start(const LogFile *f, int64_t *left, char *block, int64_t *ret, Err *e)
{
	for (int64_t end = f->size; end > 0;) {
		size_t want = (size_t)MIN2((int64_t)BLOCK_SIZE, end);
		ssize_t n = pread(f->fd, block, want, end - (int64_t)want);

		if (n != (ssize_t)want)
			return err_sys(e, n < 0 ? errno : EIO, "read log");
		for (const char *p; (p = memrchr(block, '\n', want)); want = (size_t)(p - block)) {
			if ((*left)-- == 0) {
				*left = 0;
				*ret = end - n + (p - block) + 1;
				return 0;
			}
		}
		end -= n;
	}
	*ret = 0;
	return 0;
}

/* ---- reading forward ---- */

typedef struct Reader {
	const EngineLogs *l;
	EngineLogSink sink;
	void *user;
	uint64_t *malformed;
	StrBuf scratch;
	char *buf; /* an unfinished line */
	size_t len, cap;
	bool skipping; /* the rest of a line that is too long */
	bool stopped;
	LogFile file; /* being read */
	int64_t pos;
} Reader;

static void reader_done(Reader *rd)
{
	strbuf_done(&rd->scratch);
	free(rd->buf);
	close_fd(&rd->file.fd);
}

static int deliver_line(Reader *rd, const char *line, size_t n, Err *e)
{
	LogRecord rec;
	int r = log_record_decode(line, n, &rd->scratch, &rec);

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
	r = rd->sink(rd->user, rec.stream, rec.time_ns, rec.text, rec.len);
	rd->stopped = r != 0;
	return r < 0 ? err_new(e, ERR_CANCELLED, "the reader of the log has gone away") : 0;
}

/* Delivers the whole lines in the buffer and keeps the rest. */
static int deliver_buffered(Reader *rd, Err *e)
{
	size_t at = 0;
	int r = 0;

	while (r >= 0 && !rd->stopped) {
		const char *nl = memchr(rd->buf + at, '\n', rd->len - at);

		if (!nl)
			break;
		size_t n = (size_t)(nl - rd->buf) - at;
		if (!rd->skipping && n > 0)
			r = deliver_line(rd, rd->buf + at, n, e);
		rd->skipping = false;
		at += n + 1;
	}
	rd->len -= at;
	if (at > 0)
		memmove(rd->buf, rd->buf + at, rd->len);
	if (rd->len > LOG_LINE_MAX) {
		*rd->malformed += !rd->skipping;
		rd->skipping = true;
	}
	if (rd->skipping)
		rd->len = 0;
	return r;
}

static int reader_reserve(Reader *rd)
{
	size_t need = rd->len + BLOCK_SIZE;
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

/* Reads what there is up to end of file. */
static int read_on(Reader *rd, Err *e)
{
	while (rd->file.fd >= 0 && !rd->stopped) {
		struct stat st;
		int r;

		if (reader_reserve(rd) < 0)
			return err_oom(e);
		ssize_t n = pread(rd->file.fd, rd->buf + rd->len, BLOCK_SIZE, rd->pos);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, errno, "read log");
		if (n == 0) {
			/* Somebody emptied the file: what comes now is at its start. */
			if (fstat(rd->file.fd, &st) == 0 && st.st_size < rd->pos) {
				rd->pos = 0;
				rd->len = 0;
				rd->skipping = false;
				continue;
			}
			return 0;
		}
		rd->pos += n;
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
	close_fd(&rd->file.fd);
	rd->file = *f;
	f->fd = -1;
	rd->pos = pos;
}

/* From `first` of the set on; `pos` is where to begin in that one. */
static int read_set(Reader *rd, LogSet *s, size_t first, int64_t pos, Err *e)
{
	int r = 0;

	for (size_t i = first; r >= 0 && !rd->stopped && i < s->n; i++) {
		reader_switch(rd, &s->v[i], i == first ? pos : 0);
		r = read_on(rd, e);
	}
	return r;
}

static int read_start(Reader *rd, const char *path, Err *e)
{
	_cleanup_(log_set_done) LogSet s = {0};
	_cleanup_free_ char *block = malloc(BLOCK_SIZE);
	size_t first = 0;
	int64_t pos = 0, left = rd->l->tail;
	int r = block ? log_set_open(path, &s, e) : err_oom(e);

	if (r < 0)
		return r;
	for (size_t i = s.n; rd->l->tail >= 0 && i-- > 0;) {
		r = tail_start(&s.v[i], &left, block, &pos, e);
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

/* After a rotation: the rest of our file, then those that are newer. */
static int read_rotated(Reader *rd, const char *path, Err *e)
{
	_cleanup_(log_set_done) LogSet s = {0};
	size_t first = 0;
	int r = log_set_open(path, &s, e);

	if (r < 0)
		return r;
	for (size_t i = 0; rd->file.fd >= 0 && i < s.n; i++)
		if (same_file(&s.v[i], &rd->file))
			first = i + 1;
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
	if (r > 0 && (rd->file.fd < 0 || !same_file(&now, &rd->file)))
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
		r = wait_news(f, watch, rd->l->until_ns);
		if (r == -ECANCELED)
			return err_new(e, ERR_CANCELLED, "the client has gone away");
		if (r < 0)
			return err_sys(e, r, "wait for log %s", path);
		if (r == 0)
			return 0;
	}
}

int log_files_read(const char *path, const EngineLogs *l, const LogFollow *follow, EngineLogSink sink,
		   void *user, uint64_t *malformed, Err *e)
{
	_cleanup_(reader_done) Reader rd = {
	    .l = l,
	    .sink = sink,
	    .user = user,
	    .malformed = malformed,
	    .file.fd = -1,
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

/* ---- of a container ---- */

static int waiter_add(Container *c, Waiter *w)
{
	w->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->efd < 0)
		return -errno;
	pthread_mutex_lock(&c->state);
	w->next = c->waiters;
	c->waiters = w;
	pthread_mutex_unlock(&c->state);
	return 0;
}

static void waiter_remove(Container *c, Waiter *w)
{
	pthread_mutex_lock(&c->state);
	for (Waiter **p = &c->waiters; *p; p = &(*p)->next)
		if (*p == w) {
			*p = w->next;
			break;
		}
	pthread_mutex_unlock(&c->state);
	close_fd(&w->efd);
}

typedef struct Run {
	Container *c;
	unsigned exits;
} Run;

/* The run that was followed is over; a restarted container is another run (Docker's rule). */
static bool run_ended(void *user)
{
	const Run *run = user;

	pthread_mutex_lock(&run->c->state);
	bool ended = run->c->exits != run->exits || run->c->removed ||
		     (run->c->status != CONTAINER_RUNNING && run->c->status != CONTAINER_PAUSED);
	pthread_mutex_unlock(&run->c->state);
	return ended;
}

static int follow_container(Container *c, const char *path, const EngineLogs *l, EngineLogSink sink,
			    void *user, int alive_fd, uint64_t *malformed, Err *e)
{
	Run run = {.c = c};
	Waiter w = {.efd = -1};
	int r = waiter_add(c, &w);

	if (r < 0)
		return err_sys(e, r, "follow");
	pthread_mutex_lock(&c->state);
	run.exits = c->exits;
	pthread_mutex_unlock(&c->state);
	LogFollow f = {.wake_fd = w.efd, .alive_fd = alive_fd, .ended = run_ended, .user = &run};
	r = log_files_read(path, l, &f, sink, user, malformed, e);
	waiter_remove(c, &w);
	return r;
}

int engine_container_logs(Engine *en, const char *ref, const EngineLogs *l, EngineLogSink sink, void *user,
			  int alive_fd, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_free_ char *path = NULL;
	uint64_t malformed = 0;
	int r;

	if (!l->out && !l->err)
		return err_new(e, ERR_INVALID, "Bad parameters: you must choose at least one stream");
	r = container_find(en, ref, &c, e);
	if (r < 0)
		return r;
	if (streq0(c->config.host.log.type, "none"))
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "configured logging driver does not support reading: container %s was created with "
		    "--log-driver none",
		    ref);
	path = strf("%s/containers/%s/%s-json.log", store_root(en->store), c->id, c->id);
	if (!path)
		return err_oom(e);
	if (l->follow)
		r = follow_container(c, path, l, sink, user, alive_fd, &malformed, e);
	else
		r = log_files_read(path, l, NULL, sink, user, &malformed, e);
	if (malformed > 0)
		log_warn("container %.12s: %llu lines of its log are no records and were skipped", c->id,
			 (unsigned long long)malformed);
	return err_ctx(e, r, "logs of container %s", ref);
}
