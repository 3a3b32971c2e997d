/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of a mount of another mount namespace, as another container's /dev/shm is.
 *
 * The kernel copies mounts of the caller's own namespace only. So a child enters the other one, copies there, and hands the
 * descriptor back: a detached mount belongs to no namespace. Whoever lives there has a say in what lies at the path, and none in
 * where it leads: no link is followed. The child only calls the kernel, so that the caller may have threads.
 */
#include "kernel/mount.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* "/proc/<pid>/root/dev/shm": the pid, and what follows. */
static bool split(const char *path, int *ret_pid, const char **ret_rest)
{
	const char *rest = str_after(path, "/proc/");
	_cleanup_free_ char *number = rest ? strndup(rest, strcspn(rest, "/")) : NULL;

	if (!number || str_to_int(number, 1, INT32_MAX, ret_pid) < 0)
		return false;
	*ret_rest = str_after(rest + strlen(number), "/root/");
	return *ret_rest && **ret_rest;
}

bool mount_is_foreign(const char *path)
{
	const char *rest;
	int pid;

	return split(path, &pid, &rest);
}

static int clone_there(int namespace, const char *rest, bool recursive)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC,
			       .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT};
	int root, fd;

	if (setns(namespace, CLONE_NEWNS) < 0)
		return -errno;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = root < 0 ? -1 : (int)syscall(SYS_openat2, root, rest, &how, sizeof(how));
	return fd < 0 ? -errno : mount_clone(fd, "", recursive);
}

/* In the child: the descriptor, or the errno, and nothing else. */
static void answer(int sock, int fd)
{
	int no = fd < 0 ? -fd : 0;

	_exit(fd_send_msg(sock, &no, sizeof(no), &fd, fd >= 0) < 0);
}

int mount_clone_foreign(const char *path, bool recursive)
{
	_cleanup_close_ int namespace = -1, ours = -1;
	int pid, pair[2], fd = -1, no = 0;
	const char *rest;
	char ns[48];
	size_t n_fds = 1;
	ssize_t n;
	pid_t child;

	if (!split(path, &pid, &rest))
		return -EINVAL;
	snprintf(ns, sizeof(ns), "/proc/%d/ns/mnt", pid);
	namespace = open(ns, O_RDONLY | O_CLOEXEC);
	if (namespace < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	child = fork();
	if (child == 0)
		answer(pair[1], clone_there(namespace, rest, recursive));
	(void)close(pair[1]);
	if (child < 0)
		return -errno;
	n = fd_recv_msg(ours, &no, sizeof(no), &fd, &n_fds);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	if (n != (ssize_t)sizeof(no) || (no == 0 && n_fds != 1))
		return n < 0 ? (int)n : -EPROTO;
	return no ? -no : fd;
}
