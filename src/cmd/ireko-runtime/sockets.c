/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Socket activation and readiness, passed through: the container of a service takes part in both as if systemd had started it.
 *
 * Descriptors that systemd passed come first after stderr, before those of --preserve-fds, and the container's first process is
 * told that they are its own (it is pid 1 there). Its notifications go to a socket in the container's state directory, whose
 * directory is mounted in the container (runtime/notify.c); of what arrives there only READY=1 is passed on, with the pid as
 * systemd knows it: nothing else that a container says is for the host's service manager to act on.
 */
#include "command.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

int sockets_listen(char ***env, int *ret_n, Err *e)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS"),
		   *names = getenv("LISTEN_FDNAMES");
	_cleanup_free_ char *n_text = NULL, *names_text = NULL;
	int for_pid, n;

	*ret_n = 0;
	if (!pid || !fds || str_to_int(pid, 1, INT32_MAX, &for_pid) < 0 || for_pid != getpid())
		return 0;
	if (str_to_int(fds, 0, 512, &n) < 0)
		return err_new(e, ERR_INVALID, "LISTEN_FDS \"%s\": expected a number from 0 to 512", fds);
	n_text = strf("LISTEN_FDS=%d", n);
	if (names)
		names_text = strf("LISTEN_FDNAMES=%s", names);
	if (!n_text || (names && !names_text) || strv_add(env, n_text) < 0 ||
	    strv_add(env, "LISTEN_PID=1") < 0 || (names && strv_add(env, names_text) < 0))
		return err_oom(e);
	*ret_n = n;
	return 0;
}

int sockets_send_pidfd(const char *path, int pidfd, Err *e)
{
	_cleanup_close_ int fd = -1;
	ssize_t n;

	if (!path)
		return 0;
	fd = unix_connect(path, SOCK_STREAM);
	if (fd < 0)
		return err_sys(e, fd, "connect to the pidfd socket %s", path);
	n = fd_send_msg(fd, "pidfd", strlen("pidfd"), &pidfd, 1);
	return n < 0 ? err_sys(e, (int)n, "send a pidfd to %s", path) : 0;
}

/* The address of the host's socket: a path, or a name in the abstract namespace behind '@'. */
static int send_to_host(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;

	if (fd < 0 || n < 2 || n >= sizeof(a.sun_path))
		return -EINVAL;
	memcpy(a.sun_path, path, n);
	if (path[0] == '@')
		a.sun_path[0] = '\0';
	n += offsetof(struct sockaddr_un, sun_path);
	return sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&a, (socklen_t)n) < 0 ? -errno
												     : 0;
}

int sockets_notify_open(const Cli *cli, const char *id, int *ret, Err *e)
{
	_cleanup_close_ int fd = -1, dir = -1;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int r;

	*ret = -1;
	if (str_empty(getenv("NOTIFY_SOCKET")))
		return 0;
	r = runtime_notify_dir(&cli->options, id, &dir, e);
	if (r < 0 || dir < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	/* By its directory's descriptor, since a socket's path may have 107 bytes only. */
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/notify.sock", dir);
	if (unlink(a.sun_path) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove an old notify socket of container %s", id);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, errno, "bind the notify socket of container %s", id);
	/* The container's user need not be root. */
	if (chmod(a.sun_path, 0777) < 0)
		return err_sys(e, errno, "open the notify socket of container %s to its users", id);
	*ret = take_fd(&fd);
	return 0;
}

int sockets_notify_take(int fd, pid_t pid)
{
	char buf[4096], *save = NULL;
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	if (n <= 0)
		return 0;
	buf[n] = '\0';
	for (const char *line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char main_pid[32];

		if (!streq(line, "READY=1"))
			continue;
		snprintf(main_pid, sizeof(main_pid), "MAINPID=%d", (int)pid);
		if (send_to_host("READY=1\n") < 0 || send_to_host(main_pid) < 0)
			log_write(LOG_WARNING, "cannot tell $NOTIFY_SOCKET that the container is ready");
		return 1;
	}
	return 0;
}

void sockets_notify_wait(int fd, int pidfd, pid_t pid)
{
	for (;;) {
		struct pollfd p[] = {{fd, POLLIN, 0}, {pidfd, POLLIN, 0}};

		if (poll(p, ELEMENTSOF(p), -1) < 0 && errno != EINTR)
			return;
		if (p[0].revents && sockets_notify_take(fd, pid) == 1)
			return;
		if (p[1].revents)
			return;
	}
}
