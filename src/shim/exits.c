/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exits: the record on disk, the events, and the end of the container.
 *
 * The record must not depend on free space at the moment of the exit. A file as long as any record is
 * written when the container is created; at the exit the record is written over it, padded with
 * blanks, and renamed to exit.json.
 */
#include "shim/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#define RECORD_SIZE  256
#define GOODBYE_NS   (5 * INT64_C(1000000000))
#define SAVE_TRIES   50
#define SAVE_WAIT_US 20000

static char *reserved_path(const Server *s)
{
	return strf("%s/%s", s->dir, SHIM_EXIT_RESERVED);
}

int exits_reserve(Server *s, Err *e)
{
	_cleanup_free_ char *path = reserved_path(s);
	_cleanup_free_ char *old = strf("%s/%s", s->dir, SHIM_EXIT_NAME);
	_cleanup_close_ int fd = -1;
	char blanks[RECORD_SIZE];
	int r;

	if (!path || !old)
		return err_oom(e);
	/* The record of an earlier life of this container would be taken for ours. */
	if (unlink(old) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove the old %s", old);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, errno, "create %s", path);
	memset(blanks, ' ', sizeof(blanks));
	r = fd_write_all(fd, blanks, sizeof(blanks));
	/* Tells an irekod that starts again that we live (shim_lives). A file system without locks does not hinder: then it asks. */
	(void)flock(fd, LOCK_EX | LOCK_NB);
	if (r < 0) {
		(void)unlink(path);
		return err_sys(e, r, "reserve %s", path);
	}
	s->exit_fd = take_fd(&fd);
	return 0;
}

static int save_once(Server *s, const char *text, size_t len)
{
	_cleanup_free_ char *from = reserved_path(s);
	_cleanup_free_ char *to = strf("%s/%s", s->dir, SHIM_EXIT_NAME);

	if (!from || !to)
		return -ENOMEM;
	if (pwrite(s->exit_fd, text, len, 0) != (ssize_t)len)
		return errno ? -errno : -EIO;
	return rename(from, to) < 0 ? -errno : 0;
}

int exits_save(Server *s, const ShimExit *x)
{
	char text[RECORD_SIZE + 1];
	int n, r = 0;

	/* Plain printf: this must work without a byte of free memory. */
	n = snprintf(text, sizeof(text), "{\"status\":%d,\"signal\":%d,\"oom_killed\":%s,\"at_ns\":%lld}",
		     x->status, x->signal, x->oom_killed ? "true" : "false", (long long)x->at_ns);
	memset(text + n, ' ', RECORD_SIZE - (size_t)n);
	text[RECORD_SIZE - 1] = '\n';
	for (int i = 0; i < SAVE_TRIES; i++) {
		r = save_once(s, text, RECORD_SIZE);
		if (r == 0 || r == -ENOENT) /* the directory was removed: nobody wants to know */
			break;
		(void)usleep(SAVE_WAIT_US);
	}
	return r;
}

/* ---- events ---- */

void exits_add_event(Server *s, const ShimEvent *v)
{
	ShimEvent *p;

	if (s->n_events == SHIM_EVENTS_KEPT) {
		memmove(s->events, s->events + 1, (s->n_events - 1) * sizeof(*v));
		s->n_events--;
		s->first_event++;
	}
	p = reallocarray(s->events, s->n_events + 1, sizeof(*v));
	if (!p) {
		log_error("container %s: no memory to keep an exit", s->id);
		return;
	}
	s->events = p;
	s->events[s->n_events++] = *v;
	conns_pump_events(s);
}

int exits_find(Server *s, const char *exec_id, ShimExit *ret, Err *e)
{
	const Process *p = server_process(s, exec_id);

	if (p) {
		*ret = p->exit;
		return p->exited;
	}
	for (size_t i = s->n_events; i-- > 0;) {
		if (s->events[i].type != SHIM_EVENT_EXEC_EXIT || !streq(s->events[i].exec_id, exec_id))
			continue;
		*ret = s->events[i].exit;
		return 1;
	}
	return err_new(e, ERR_NOT_FOUND, "No such exec instance: %s", exec_id);
}

/* ---- the end ---- */

static void release_holds(Server *s)
{
	for (size_t i = 0; i < s->n_hold; i++)
		close_fd(&s->hold[i]);
	free(s->hold);
	s->hold = NULL;
	s->n_hold = 0;
}

static void remove_socket(Server *s)
{
	_cleanup_free_ char *path = strf("%s/%s", s->dir, SHIM_SOCKET_NAME);

	loop_close(s->loop, &s->listener);
	if (path)
		(void)unlink(path);
}

/* The end of a pid namespace and the forced delete have done this already, unless one of them failed. */
static void kill_execs(Server *s)
{
	for (const Process *p = s->execs; p; p = p->next)
		if (!p->exited)
			(void)pidfd_send_signal(p->pidfd.fd, SIGKILL, NULL, 0);
}

void server_end(Server *s)
{
	ShimEvent v = {.type = SHIM_EVENT_EXIT};
	Err e = {0};
	int r;

	births_cancel(s);
	dump_cancel(s);
	stdio_drain(&s->init.io);
	if (s->log)
		logger_finish(s->log);
	stdio_set_log(&s->init.io, NULL);
	r = exits_save(s, &s->init.exit);
	if (r < 0)
		log_error("container %s: %s/%s: %s", s->id, s->dir, SHIM_EXIT_NAME, strerror(-r));
	/* Forced: without a pid namespace of its own, the container may have left processes behind. */
	r = s->runner.ops->remove(&s->runner, &e);
	if (r < 0)
		log_error("container %s: delete: %s", s->id, err_msg(&e, r));
	kill_execs(s);
	release_holds(s);
	/* The next shim of this container may start as soon as the event is out, in the same directory. */
	remove_socket(s);
	s->ended = true;
	s->end_by = clock_mono_ns() + GOODBYE_NS;
	v.exit = s->init.exit;
	exits_add_event(s, &v);
	/* After it: a client that sees the end of its stream asks for the exit code at once. */
	stdio_finish(&s->init.io);
	if (s->keeper->first == s)
		keeper_first_ended(s->keeper);
}
