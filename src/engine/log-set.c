/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of one log, opened together.
 *
 * The shim rotates by renaming, so the set is opened again if a rotation came in between: the current file is another one then. A
 * crash between two renames leaves one gap in the numbers, which is stepped over. A plain file counts before its compressed form,
 * which may lie beside it until the shim removes the plain one.
 *
 * A kubelet rotates a pod's log: to a name with the time, which is the order, and all but the newest of these are compressed some time later.
 */
#include "engine/logs.h"

#include "base/fd.h"
#include "base/path.h"

#include <endian.h>
#include <fcntl.h>

#define ROTATED_MAX   1000
#define OPEN_ATTEMPTS 200
#define GZIP_HEAD     32 /* what our gzip files begin with (shim/gzip.h) */

void log_set_done(LogSet *s)
{
	for (size_t i = 0; i < s->n; i++)
		close_fd(&s->v[i].fd);
	free(s->v);
	*s = (LogSet){0};
}

int log_file_open(const char *path, LogFile *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*ret = (LogFile){
	    .fd = take_fd(&fd),
	    .dev = st.st_dev,
	    .ino = st.st_ino,
	    .size = st.st_size,
	    .mtime_ns = log_mtime_ns(&st),
	};
	return 1;
}

/* Which file this was before it was compressed; somebody else's gzip file is just itself. */
static void read_origin(LogFile *f)
{
	static const char magic[] = {0x1f, (char)0x8b, 8, 4}, id[] = {20, 0, 'I', 'K', 16, 0};
	char head[GZIP_HEAD];
	uint64_t who[2];

	f->gz = true;
	if (fd_pread_full(f->fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
	    memcmp(head, magic, sizeof(magic)) != 0 || memcmp(head + 10, id, sizeof(id)) != 0)
		return;
	memcpy(who, head + 16, sizeof(who));
	f->dev = le64toh(who[0]);
	f->ino = le64toh(who[1]);
}

/* Opens `name` onto the end of the set; 1, or 0 if it is missing. */
static int log_set_append(LogSet *s, const char *name)
{
	LogFile *v = realloc(s->v, (s->n + 1) * sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	s->v = v;
	r = log_file_open(name, &v[s->n]);
	if (r > 0 && str_ends(name, ".gz"))
		read_origin(&v[s->n]);
	s->n += r > 0;
	return r;
}

/* ---- numbered ---- */

/* Adds path or path.<number>[.gz]; 1, or 0 if it is missing. */
static int log_set_add(LogSet *s, const char *path, int number)
{
	_cleanup_free_ char *name = number ? strf("%s.%d", path, number) : strdup(path);
	_cleanup_free_ char *compressed = number ? strf("%s.%d.gz", path, number) : NULL;
	int r;

	if (!name || (number && !compressed))
		return -ENOMEM;
	r = log_set_append(s, name);
	return r == 0 && number ? log_set_append(s, compressed) : r;
}

/* Newest first. */
static int collect_numbered(LogSet *s, const char *path, bool *ret_current)
{
	int r = log_set_add(s, path, 0), missing = r == 0;

	*ret_current = r > 0;
	for (int i = 1; r >= 0 && missing <= 1 && i <= ROTATED_MAX; i++) {
		r = log_set_add(s, path, i);
		if (r == 0)
			missing++;
		/* A rotation has just moved what we have. */
		if (r > 0 && s->n > 1 && log_file_same(&s->v[s->n - 1], &s->v[s->n - 2]))
			return -EAGAIN;
	}
	return MIN2(r, 0);
}

/* ---- dated ---- */

/* Of a rotated file of `base`: ".20261126-215033", perhaps ".gz" behind it. */
static bool is_dated(const char *name, const char *base)
{
	size_t n = strlen(base);
	const char *p = name + n;

	return strncmp(name, base, n) == 0 && *p++ == '.' && strspn(p, "0123456789") == 8 && p[8] == '-' &&
	       strspn(p + 9, "0123456789") == 6 && (p[15] == '\0' || streq(p + 15, ".gz"));
}

static int newest_first(const void *a, const void *b)
{
	return strcmp(*(char *const *)b, *(char *const *)a);
}

/* The names of the rotated files, "X.gz" before "X". */
static int dated_names(const char *dir, const char *base, char ***ret)
{
	_cleanup_(closedirp) DIR *d = opendir(dir);
	_cleanup_strv_ char **names = NULL;
	size_t n = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	for (const struct dirent *de; n < ROTATED_MAX && (de = readdir(d));) {
		if (!is_dated(de->d_name, base))
			continue;
		if (strv_add(&names, de->d_name) < 0)
			return -ENOMEM;
		n++;
	}
	if (n > 0)
		qsort(names, n, sizeof(*names), newest_first);
	*ret = take_ptr(names);
	return 0;
}

/* Newest first. What is compressed is there twice for a moment. */
static int collect_dated(LogSet *s, const char *path, bool *ret_current)
{
	const char *base = path_base(path);
	_cleanup_free_ char *dir = strndup(path, (size_t)(base - path));
	_cleanup_strv_ char **names = NULL;
	bool doubled = false;
	int r = dir ? log_set_append(s, path) : -ENOMEM;

	*ret_current = r > 0;
	if (r >= 0)
		r = dated_names(*dir ? dir : ".", base, &names);
	for (char **n = names; r >= 0 && n && *n; n++) {
		bool was_doubled = doubled;

		doubled = str_ends(*n, ".gz") && n[1] && strncmp(n[0], n[1], strlen(n[1])) == 0;
		_cleanup_free_ char *name = strf("%s%s", dir, *n);

		if (!name)
			return -ENOMEM;
		r = doubled ? 0 : log_set_append(s, name);
		/* The plain one has gone meanwhile, and the compressed one was passed over for it. */
		if (r == 0 && was_doubled && !doubled)
			return -EAGAIN;
		/* A rotation has just moved what we have. */
		if (r > 0 && s->n > 1 && log_file_same(&s->v[s->n - 1], &s->v[s->n - 2]))
			return -EAGAIN;
	}
	return MIN2(r, 0);
}

/* ---- the set ---- */

static bool still_current(const LogSet *s, const char *path, bool had_current)
{
	LogFile now = {.fd = -1};
	int r = log_file_open(path, &now);

	close_fd(&now.fd);
	return had_current ? r > 0 && log_file_same(&now, &s->v[0]) : r == 0;
}

static void turn_around(LogSet *s)
{
	for (size_t k = 0; k < s->n / 2; k++) {
		LogFile t = s->v[k];

		s->v[k] = s->v[s->n - 1 - k];
		s->v[s->n - 1 - k] = t;
	}
}

int log_set_open(const char *path, bool dated, LogSet *ret, Err *e)
{
	for (int i = 0; i < OPEN_ATTEMPTS; i++) {
		LogSet s = {0};
		bool current = false;
		int r = dated ? collect_dated(&s, path, &current) : collect_numbered(&s, path, &current);

		if (r >= 0 && !still_current(&s, path, current))
			r = -EAGAIN;
		if (r >= 0) {
			turn_around(&s);
			*ret = s;
			return 0;
		}
		log_set_done(&s);
		if (r != -EAGAIN)
			return err_sys(e, r, "open log %s", path);
		if (i >= 8)
			(void)usleep(500);
	}
	return err_new(e, ERR_UNAVAILABLE,
		       "log %s rotates faster than it can be opened: use a larger max-size", path);
}
