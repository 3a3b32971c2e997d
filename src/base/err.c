/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See err.h for the model. Messages are cut at the end, never in the middle of a UTF-8 sequence,
 * because they end up in JSON.
 */
#include "base/err.h"

#include <limits.h>
#include <stdarg.h>

_Static_assert(sizeof(Err) <= PIPE_BUF, "an Err is written to a pipe atomically");

static const struct {
	const char *name;
	int no;
	int http;
} kinds[ERR_KIND_MAX] = {
    [ERR_INTERNAL] = {"internal", EIO, 500},
    [ERR_INVALID] = {"invalid", EINVAL, 400},
    [ERR_NOT_FOUND] = {"not found", ENOENT, 404},
    [ERR_CONFLICT] = {"conflict", EEXIST, 409},
    [ERR_DENIED] = {"denied", EPERM, 403},
    [ERR_UNAUTHORIZED] = {"unauthorized", EACCES, 401},
    [ERR_UNAVAILABLE] = {"unavailable", EAGAIN, 503},
    [ERR_CANCELLED] = {"cancelled", ECANCELED, 500},
    [ERR_NOT_MODIFIED] = {"not modified", EALREADY, 304},
    [ERR_UNSUPPORTED] = {"unsupported", EOPNOTSUPP, 501},
    [ERR_EXHAUSTED] = {"exhausted", ENOSPC, 500},
    [ERR_NOT_RUNNABLE] = {"not runnable", EACCES, 400},
    [ERR_NO_COMMAND] = {"no such command", ENOENT, 400},
};

static void cut_partial_utf8(char *s)
{
	size_t n = strlen(s), back = 0;

	while (back < n && back < 4 && ((unsigned char)s[n - 1 - back] & 0xC0) == 0x80)
		back++;
	if (back >= n)
		return;

	unsigned char lead = (unsigned char)s[n - 1 - back];
	size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;

	if (want > back + 1)
		s[n - 1 - back] = '\0';
}

static void fill_place(Err *e, const char *file, int line)
{
	const char *base = strrchr(file, '/');

	snprintf(e->file, sizeof(e->file), "%s", base ? base + 1 : file);
	e->line = line;
}

static ErrKind kind_of_errno(int no)
{
	switch (no) {
	case ENOSPC:
	case EDQUOT:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return ERR_EXHAUSTED;
	default:
		return ERR_INTERNAL;
	}
}

int err_sys_at(Err *e, const char *file, int line, int no, const char *fmt, ...)
{
	no = no == 0 ? EIO : abs(no);
	if (e) {
		char what[sizeof(e->msg)];
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(what, sizeof(what), fmt, ap);
		va_end(ap);
		snprintf(e->msg, sizeof(e->msg), "%.1800s: %s", what, strerror(no));
		cut_partial_utf8(e->msg);
		e->no = no;
		e->kind = kind_of_errno(no);
		fill_place(e, file, line);
	}
	return -no;
}

int err_new_at(Err *e, const char *file, int line, ErrKind kind, int no, const char *fmt, ...)
{
	if (no == 0)
		no = kinds[kind].no;
	if (e) {
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
		va_end(ap);
		cut_partial_utf8(e->msg);
		e->no = abs(no);
		e->kind = kind;
		fill_place(e, file, line);
	}
	return -abs(no);
}

int err_ctx(Err *e, int r, const char *fmt, ...)
{
	if (e && r < 0) {
		char cause[sizeof(e->msg)], what[512];
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(what, sizeof(what), fmt, ap);
		va_end(ap);
		snprintf(cause, sizeof(cause), "%s", err_msg(e, r));
		cut_partial_utf8(what);
		snprintf(e->msg, sizeof(e->msg), "%s: %.*s", what, (int)(sizeof(e->msg) - sizeof(what) - 3),
			 cause);
		cut_partial_utf8(e->msg);
		if (e->no == 0)
			e->no = -r;
	}
	return r;
}

int err_kind(Err *e, int r, ErrKind kind)
{
	if (e)
		e->kind = kind;
	return r;
}

const char *err_msg(const Err *e, int r)
{
	if (e && e->msg[0])
		return e->msg;
	return strerror(abs(r));
}

int err_kind_http_status(ErrKind kind)
{
	return kind < ERR_KIND_MAX ? kinds[kind].http : 500;
}

const char *err_kind_name(ErrKind kind)
{
	return kind < ERR_KIND_MAX ? kinds[kind].name : "unknown";
}

void err_send(int fd, const Err *e)
{
	ssize_t n;

	/* If the reader is gone there is nobody left to tell; the caller exits next. */
	do
		n = write(fd, e, sizeof(*e));
	while (n < 0 && errno == EINTR);
}

void err_repair(Err *e)
{
	e->msg[sizeof(e->msg) - 1] = '\0';
	e->file[sizeof(e->file) - 1] = '\0';
	if ((unsigned)e->kind >= ERR_KIND_MAX)
		e->kind = ERR_INTERNAL;
	if (e->no <= 0)
		e->no = EIO;
}

int err_recv(int fd, Err *e)
{
	Err got;
	size_t have = 0;

	while (have < sizeof(got)) {
		ssize_t n = read(fd, (char *)&got + have, sizeof(got) - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return have == 0 ? 0 : -EBADMSG;
		have += (size_t)n;
	}
	err_repair(&got);
	if (e)
		*e = got;
	return 1;
}
