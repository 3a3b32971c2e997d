/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting what was created: the container's first process waits on a socket in the state directory.
 *
 * Whoever removes the socket's name has the right to start, and says so with one byte on its connection. On that
 * connection the process tells why it could not execute its command; it ends with nothing when the command was executed,
 * since descriptors close then. A connection that ends without the byte was somebody's who came too late.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#define GO 's'

/* By the directory's descriptor: a socket's path may have 107 bytes only. */
static struct sockaddr_un address(int dirfd, const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dirfd, name);
	return a;
}

int start_listen(int dirfd, int *ret, Err *e)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = address(dirfd, STATE_SOCKET);

	if (fd < 0)
		return err_sys(e, errno, "socket");
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 16) < 0)
		return err_sys(e, errno, "listen for the start in the container's state directory");
	*ret = take_fd(&fd);
	return 0;
}

static void end_by_signal(int signal)
{
	_exit(128 + signal);
}

/* The first process of a pid namespace takes no signal that it has no handler for: what would end any other program ends this one
 * too as long as it waits. execve(2) takes handlers away. */
static void take_ends(void)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};

	for (size_t i = 0; i < ELEMENTSOF(signals); i++)
		(void)signal(signals[i], end_by_signal);
}

int start_wait(int listener)
{
	take_ends();
	for (;;) {
		_cleanup_close_ int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		char c = 0;

		if (fd >= 0 && recv(fd, &c, 1, 0) == 1 && c == GO)
			return take_fd(&fd);
	}
}

int start_gate(int *ret_wait, int *ret_open, Err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	*ret_wait = p[0];
	*ret_open = p[1];
	return 0;
}

int start_open_gate(int fd, Err *e)
{
	int r = fd_write_all(fd, &(char){GO}, 1);

	return r < 0 ? err_sys(e, r, "start") : 0;
}

/* The gate may have been opened long ago, by a creator that has died since. */
void start_wait_gate(int fd, int sock)
{
	struct pollfd p = {.fd = sock};
	ssize_t n;
	char c = 0;

	do
		n = read(fd, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		Err e = {0};
		int r = err_sys(&e, errno, "hear from the creator");

		init_fail(sock, &e, r);
	}
	if (n != 1 || c != GO || (poll(&p, 1, 0) > 0 && (p.revents & POLLHUP)))
		_exit(1);
}

static int not_created(const State *s, Err *e)
{
	RuntimeStatus status = state_status(s, NULL);

	if (status == RUNTIME_STOPPED)
		return err_new(e, ERR_CONFLICT, "cannot start a container that has stopped");
	return err_new(e, ERR_CONFLICT, "cannot start an already %s container", runtime_status_name(status));
}

int start_send(const State *s, Err *e)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_un a = address(s->dirfd, STATE_SOCKET);
	Err got = {0};
	int r;

	/* While it is being created the socket is there, and nobody may take the start. */
	if (state_is_creating(s))
		return not_created(s, e);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return errno == ENOENT || errno == ECONNREFUSED
			   ? not_created(s, e)
			   : err_sys(e, errno, "connect to the container's first process");
	if (unlinkat(s->dirfd, STATE_SOCKET, 0) < 0)
		return errno == ENOENT ? not_created(s, e) : err_sys(e, errno, "remove %s", STATE_SOCKET);
	if (send(fd, &(char){GO}, 1, MSG_NOSIGNAL) != 1)
		return err_sys(e, errno, "start");
	r = err_recv(fd, &got);
	if (r == -ECONNRESET)
		return err_new(e, ERR_CONFLICT, "the container's first process ended before it was started");
	if (r < 0)
		return err_sys(e, r, "hear from the container");
	if (r == 1) {
		if (e)
			*e = got;
		return -got.no;
	}
	return 0;
}
