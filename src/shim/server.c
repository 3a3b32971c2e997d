/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One container of a shim, from the connection that is to tell what to create to the moment when nothing is owed to anybody any more.
 *
 * A server that waits to be told lives as long as that connection; one whose container was made, as long as the container. Whatever it
 * has is given back by server_free(), which only the loop calls, between two events (keeper.c): handlers mark it.
 */
#include "shim/server.h"

#include "base/clock.h"
#include "base/log.h"

#include <fcntl.h>
#include <sys/socket.h>

#define LISTENER_REST_MS 200
#define OOM_LOOK_MS      10
#define HELD_LOOK_MS     100

const char *server_name(const Server *s)
{
	return s->id ?: "(to be created)";
}

/* ---- life ---- */

static int sooner(int a, int b)
{
	return a < 0 ? b : b < 0 ? a : MIN2(a, b);
}

/* Somebody is still to be told: of the exit, or a log's server of the last lines. */
static bool goodbyes_wait(const Server *s)
{
	return conns_have_events(s) || (s->log && logger_busy(s->log));
}

int server_timeout(const Server *s, int64_t now)
{
	int t = sooner(stdio_timeout(&s->init.io, now), births_timeout(s, now));

	t = sooner(t, dump_timeout(s, now));
	for (const Process *p = s->execs; p; p = p->next)
		t = sooner(t, stdio_timeout(&p->io, now));
	if (s->listener_rests)
		t = sooner(t, LISTENER_REST_MS);
	if (s->oom_look_until)
		t = sooner(t, OOM_LOOK_MS);
	if (server_awaits_held(s))
		t = sooner(t, HELD_LOOK_MS);
	if (s->ended && now < s->end_by && (goodbyes_wait(s) || s->execs))
		t = sooner(t, (int)((s->end_by - now) / 1000000 + 1));
	return t;
}

void server_tick(Server *s, int64_t now)
{
	stdio_tick(&s->init.io, now);
	for (Process *p = s->execs; p; p = p->next)
		stdio_tick(&p->io, now);
	births_tick(s, now);
	dump_tick(s, now);
	if (s->oom_look_until)
		server_look_for_oom(s, now);
	server_look_at_held(s);
	if (s->listener_rests) {
		s->listener_rests = false;
		(void)loop_watch(s->loop, &s->listener, EPOLLIN);
	}
}

/* The last output of an exec that has ended, to its clients. One that was killed and does not end, which a tracer or a file system can do to it,
 * is left to the next reaper. */
static bool execs_wait(const Server *s, int64_t now)
{
	for (const Process *p = s->execs; p; p = p->next)
		if (p->exited || now < s->end_by)
			return true;
	return false;
}

bool server_is_over(const Server *s, int64_t now)
{
	if (s->failed)
		return true;
	if (!s->ended || s->init.io.clients || execs_wait(s, now))
		return false;
	return now >= s->end_by || !goodbyes_wait(s);
}

/* ---- the beginning ---- */

int server_new(Keeper *k, int control, Server **ret, Err *e)
{
	_cleanup_close_ int fd = control;
	Server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_oom(e);
	*s =
	    (Server){.keeper = k, .loop = &k->loop, .listener = {.fd = -1}, .oom = {.fd = -1}, .exit_fd = -1};
	process_init(&s->init, s, "");
	r = conn_add(s, fd, e);
	if (r < 0) {
		server_free(s);
		return r;
	}
	(void)take_fd(&fd);
	s->next = k->servers;
	k->servers = s;
	k->n_servers++;
	*ret = s;
	return 0;
}

void server_free(Server *s)
{
	conns_close(s);
	dump_cancel(s);
	server_leave_strays(s);
	for (Process *p = s->execs, *next; p; p = next) {
		next = p->next;
		process_done(p);
		free(p);
	}
	process_done(&s->init);
	logger_close(s->log);
	loop_close(s->loop, &s->listener);
	loop_close(s->loop, &s->oom);
	close_fd(&s->exit_fd);
	hold_close(&s->hold, &s->n_hold);
	hold_close(&s->mounts, &s->n_mounts);
	free(s->events);
	runner_done(&s->runner);
	free(s);
}

/* What a failed create leaves in the directory. */
static void undo_create(Server *s)
{
	_cleanup_close_ int dir = s->dir ? open(s->dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	if (dir < 0)
		return;
	if (s->listener.fd >= 0)
		(void)unlinkat(dir, SHIM_SOCKET_NAME, 0);
	if (s->exit_fd >= 0)
		(void)unlinkat(dir, SHIM_EXIT_RESERVED, 0);
}

static int create(Server *s, ShimMsg *m, json_t *doc, Err *e)
{
	int r = server_create(s, m, e);

	hold_close(&s->mounts, &s->n_mounts);
	if (r < 0) {
		undo_create(s);
		return r;
	}
	s->created = true;
	/* Whoever asked may have died meanwhile, or may do without the answer: the container is there all the same, and will be found. */
	if (json_object_set_new(doc, "shim_pid", json_integer(s->keeper->pid)) < 0 ||
	    json_object_set_new(doc, "pid", json_integer(s->init.pid)) < 0)
		log_warn("container %s: no memory for an answer", s->id);
	return 0;
}

int server_prepare(Server *s, ShimMsg *m, json_t *doc, int *ret_result, Err *e)
{
	bool answered = false;
	int r;

	switch (m->type) {
	case SHIM_MSG_HOLD:
		r = hold_add(&s->hold, &s->n_hold, m, e);
		break;
	case SHIM_MSG_MOUNTS:
		r = hold_add(&s->mounts, &s->n_mounts, m, e);
		break;
	case SHIM_MSG_CREATE:
		answered = true;
		r = create(s, m, doc, e);
		break;
	default:
		answered = true;
		r = err_new(e, ERR_INVALID, "the first request must be to create");
	}
	if (r < 0) {
		log_error("container %s: %s", server_name(s), err_msg(e, r));
		s->failed = true;
	}
	*ret_result = r;
	return answered || r < 0;
}

static bool is_seqpacket(int fd)
{
	int type = 0, domain = 0;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

int server_join(Server *s, ShimMsg *m, json_t *doc, Err *e)
{
	Keeper *k = s->keeper;
	Server *member;
	int r;

	/* Its end would not end the new one. */
	if (k->first != s)
		return err_new(e, ERR_INVALID,
			       "container %s is not the first of its shim: others cannot join it", s->id);
	if (k->n_servers >= SHIM_SERVERS_MAX)
		return err_new(e, ERR_EXHAUSTED, "container %s: its shim keeps %d containers already", s->id,
			       SHIM_SERVERS_MAX);
	if (m->n_fds != 1 || !is_seqpacket(m->fds[0]))
		return err_new(e, ERR_INVALID, "join: needs one connection, a seqpacket socket");
	r = fd_set_nonblock(m->fds[0], true);
	if (r < 0)
		return err_sys(e, r, "make the connection of a new member nonblocking");
	if (json_object_set_new(doc, "shim_pid", json_integer(k->pid)) < 0)
		return err_oom(e);
	return server_new(k, shim_msg_take_fd(m, 0), &member, e);
}
