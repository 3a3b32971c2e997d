/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's side: finds the process or starts it, and asks.
 *
 * One connection, whose lock is held from a request to its answer. A process that has ended, or does not answer, costs the connection; the
 * next port makes a new one. It may end by itself just as it is asked, so a request that it did not answer is made once more.
 */
#include "proxy/protocol.h"

#include "base/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define ANSWER_S     30 /* it never waits for anybody, so this is a process that is stopped */
#define PAGES_MOST   2048
#define LISTEN_TRIES 1000

struct Proxy {
	char *program, *socket;
	ProxyOptions options;
	pthread_mutex_t lock;
	int fd; /* -1: not connected */
};

int proxy_new(const ProxyOptions *o, Proxy **ret, Err *e)
{
	_cleanup_(proxy_freep) Proxy *p = calloc(1, sizeof(*p));

	if (!p)
		return err_oom(e);
	(void)pthread_mutex_init(&p->lock, NULL); /* cannot fail with default attributes on Linux */
	p->options = *o;
	p->fd = -1;
	p->program = strdup(o->program);
	p->socket = strdup(o->socket);
	if (!p->program || !p->socket)
		return err_oom(e);
	*ret = take_ptr(p);
	return 0;
}

void proxy_free(Proxy *p)
{
	if (!p)
		return;
	close_fd(&p->fd);
	free(p->program);
	free(p->socket);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

/* ---- starting it ---- */

typedef struct Spawn {
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
} Spawn;

static int spawn_init(Spawn *s, int control, int report)
{
	sigset_t none, all;
	int r = posix_spawn_file_actions_init(&s->actions);

	if (r == 0)
		r = posix_spawnattr_init(&s->attr);
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&s->actions, control, PROXY_CONTROL_FD);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&s->actions, report, PROXY_REPORT_FD);
	/* What threads of the engine block and ignore is not the proxy's. */
	if (r == 0)
		r = posix_spawnattr_setsigmask(&s->attr, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(&s->attr, &all);
	if (r == 0)
		r = posix_spawnattr_setflags(&s->attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	return r;
}

static int spawn(const Proxy *p, int control, int report, pid_t *ret, Err *e)
{
	char *const argv[] = {(char *)(uintptr_t) "ireko-proxy", NULL};
	char *const env[] = {NULL};
	/* Above the numbers that the file actions fill, whatever is open here. */
	_cleanup_close_ int high_control = fcntl(control, F_DUPFD_CLOEXEC, PROXY_REPORT_FD + 1);
	_cleanup_close_ int high_report = fcntl(report, F_DUPFD_CLOEXEC, PROXY_REPORT_FD + 1);
	Spawn s;
	int r;

	if (high_control < 0 || high_report < 0)
		return err_sys(e, errno, "duplicate the proxy's descriptors");
	r = spawn_init(&s, high_control, high_report);
	if (r == 0)
		r = posix_spawn(ret, p->program, &s.actions, &s.attr, argv, env);
	(void)posix_spawn_file_actions_destroy(&s.actions);
	(void)posix_spawnattr_destroy(&s.attr);
	return r ? err_sys(e, r, "start %s", p->program) : 0;
}

/* One that has just ended, or was killed, may still have its socket for a moment when its connection has hung up. */
static int listen_there(const Proxy *p, Err *e)
{
	const struct timespec moment = {.tv_nsec = 2000000};
	int fd = unix_listen(p->socket, SOCK_SEQPACKET, 0600);

	for (int i = 0; fd == -EADDRINUSE && i < LISTEN_TRIES; i++) {
		(void)nanosleep(&moment, NULL);
		fd = unix_listen(p->socket, SOCK_SEQPACKET, 0600);
	}
	return fd < 0 ? err_sys(e, fd, "listen on %s", p->socket) : fd;
}

/* It goes into the background by itself; the child that is waited for has ended by then. */
static int start(const Proxy *p, Err *e)
{
	_cleanup_close_ int control = listen_there(p, e), told = -1, tell = -1;
	int fds[2], status = 0, r;
	Err theirs = {0};
	pid_t pid;

	if (control < 0)
		return take_fd(&control);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	told = fds[0];
	tell = fds[1];
	r = spawn(p, control, tell, &pid, e);
	close_fd(&tell);
	if (r < 0)
		return r;
	r = err_recv(told, &theirs);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r == 1)
		return err_new_no(e, theirs.kind, theirs.no, "start %s: %s", p->program, theirs.msg);
	if (r < 0 || status != 0)
		return err_new(e, ERR_INTERNAL, "start %s: it has ended with wait status %d", p->program,
			       status);
	return 0;
}

/* ---- the connection ---- */

static void disconnect(Proxy *p)
{
	if (p->fd < 0)
		return;
	close_fd(&p->fd);
	if (p->options.lost)
		p->options.lost(p->options.user);
}

/* 1, or 0 if there is nobody. */
static int connect_it(Proxy *p, Err *e)
{
	struct timeval limit = {.tv_sec = ANSWER_S};
	int fd = unix_connect(p->socket, SOCK_SEQPACKET);

	if (fd == -ENOENT || fd == -ECONNREFUSED || fd == -ENOTDIR)
		return 0;
	if (fd < 0)
		return err_sys(e, fd, "connect to %s", p->socket);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	p->fd = fd;
	if (p->options.connected)
		p->options.connected(p->options.user, fd);
	return 1;
}

/* -EPIPE, without a message, if the process has ended. */
static int exchange(Proxy *p, const ProxyRequest *q, int fd, ProxyReply *reply, Err *e)
{
	ssize_t n = fd_send_msg(p->fd, q, sizeof(*q), &fd, fd >= 0 ? 1 : 0);

	if (n > 0)
		n = fd_recv_msg(p->fd, reply, sizeof(*reply), NULL, NULL);
	if (n == 0 || n == -EPIPE || n == -ECONNRESET || n == -ENOTCONN)
		return -EPIPE;
	if (n == -EAGAIN)
		return err_new_no(e, ERR_UNAVAILABLE, ETIMEDOUT, "ireko-proxy has not answered for %d s",
				  ANSWER_S);
	if (n < 0)
		return err_sys(e, (int)n, "ask ireko-proxy");
	return proxy_reply_check(reply, (size_t)n, e);
}

static void quit(Proxy *p)
{
	ProxyRequest q = {.version = PROXY_VERSION, .op = PROXY_QUIT};
	char c;

	/* Its end is the end of the connection. */
	if (fd_send_msg(p->fd, &q, sizeof(q), NULL, 0) > 0)
		while (recv(p->fd, &c, 1, 0) > 0)
			;
	close_fd(&p->fd);
}

static int ask(Proxy *p, const ProxyRequest *q, int fd, ProxyReply *reply, Err *e)
{
	int r = exchange(p, q, fd, reply, e);

	if (r < 0) {
		disconnect(p);
		return r;
	}
	if (reply->no != 0)
		return err_new_no(e, (ErrKind)reply->kind, reply->no > 0 ? reply->no : EIO, "%s",
				  reply->error);
	return 0;
}

static int find_locked(Proxy *p, Err *e)
{
	ProxyRequest q = {.version = PROXY_VERSION, .op = PROXY_LIST};
	_cleanup_free_ ProxyReply *reply = malloc(sizeof(*reply));
	Err own = {0};
	int r = reply ? connect_it(p, e) : err_oom(e);

	e = e ? e : &own;
	if (r <= 0)
		return r;
	r = exchange(p, &q, -1, reply, e);
	if (r == 0)
		return 1;
	if (r == -EPROTO || (r != -EPIPE && e->kind == ERR_UNSUPPORTED)) {
		quit(p);
		return 0;
	}
	close_fd(&p->fd);
	return r == -EPIPE ? 0 : r;
}

int proxy_find(Proxy *p, Err *e)
{
	int r;

	pthread_mutex_lock(&p->lock);
	r = p->fd >= 0 ? 1 : find_locked(p, e);
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int start_and_connect(Proxy *p, Err *e)
{
	int r = find_locked(p, e);

	if (r == 0)
		r = start(p, e);
	if (r == 0) {
		r = connect_it(p, e);
		if (r == 0)
			r = err_new(e, ERR_INTERNAL, "ireko-proxy has ended as soon as it was there");
	}
	return r < 0 ? r : 0;
}

/* ---- requests ---- */

static int add_locked(Proxy *p, const ProxyRequest *q, int fd, ProxyReply *reply, Err *e)
{
	int r = -EPIPE;

	for (int i = 0; r == -EPIPE && i < 2; i++) {
		r = p->fd >= 0 ? 0 : start_and_connect(p, e);
		if (r == 0)
			r = ask(p, q, fd, reply, e);
	}
	return r == -EPIPE ? err_new_no(e, ERR_INTERNAL, EPIPE, "ireko-proxy ended when it was asked") : r;
}

int proxy_add(Proxy *p, const ProxyPort *port, int fd, Err *e)
{
	ProxyRequest q = {.version = PROXY_VERSION, .op = PROXY_ADD, .port = *port};
	_cleanup_free_ ProxyReply *reply = malloc(sizeof(*reply));
	int r = reply ? proxy_port_check(port, e) : err_oom(e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&p->lock);
	r = add_locked(p, &q, fd, reply, e);
	pthread_mutex_unlock(&p->lock);
	return r;
}

int proxy_remove(Proxy *p, const char *key, Err *e)
{
	ProxyRequest q = {.version = PROXY_VERSION, .op = PROXY_REMOVE};
	_cleanup_free_ ProxyReply *reply = malloc(sizeof(*reply));
	int r = reply ? 0 : err_oom(e);

	if (r < 0)
		return r;
	(void)snprintf(q.port.key, sizeof(q.port.key), "%s", key);
	pthread_mutex_lock(&p->lock);
	if (p->fd >= 0)
		r = ask(p, &q, -1, reply, e);
	pthread_mutex_unlock(&p->lock);
	return r == -EPIPE ? 0 : r;
}

static int list_locked(Proxy *p, ProxyReply *reply, ProxyPort **ret, size_t *ret_n, Err *e)
{
	ProxyRequest q = {.version = PROXY_VERSION, .op = PROXY_LIST};
	ProxyPort *v;

	for (int i = 0; i < PAGES_MOST; i++) {
		int r = ask(p, &q, -1, reply, e);

		if (r < 0)
			return r;
		v = reallocarray(*ret, *ret_n + reply->n + 1, sizeof(*v));
		if (!v)
			return err_oom(e);
		*ret = v;
		memcpy(v + *ret_n, reply->ports, reply->n * sizeof(*v));
		*ret_n += reply->n;
		q.after = reply->last;
		if (reply->last == 0)
			return 0;
	}
	return err_new_no(e, ERR_INTERNAL, EPROTO, "the list of ireko-proxy has no end");
}

int proxy_list(Proxy *p, ProxyPort **ret, size_t *ret_n, Err *e)
{
	_cleanup_free_ ProxyReply *reply = malloc(sizeof(*reply));
	_cleanup_free_ ProxyPort *v = NULL;
	size_t n = 0;
	int r = reply ? 0 : err_oom(e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&p->lock);
	if (p->fd >= 0)
		r = list_locked(p, reply, &v, &n, e);
	pthread_mutex_unlock(&p->lock);
	if (r == -EPIPE)
		r = n = 0;
	if (r < 0)
		return r;
	*ret = take_ptr(v);
	*ret_n = n;
	return 0;
}

void proxy_check(Proxy *p)
{
	struct pollfd poll_fd;

	pthread_mutex_lock(&p->lock);
	poll_fd = (struct pollfd){.fd = p->fd};
	if (p->fd >= 0 && poll(&poll_fd, 1, 0) > 0)
		disconnect(p);
	pthread_mutex_unlock(&p->lock);
}
