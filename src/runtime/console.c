/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal of a process: a pty of the container's own devpts.
 *
 * The slave is opened from the master (TIOCGPTPEER), never by the name /dev/pts/N, which the container could
 * have replaced. The master goes to the creator over its socket.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>

static bool is_on_devpts(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == DEVPTS_SUPER_MAGIC;
}

static int open_master(int root, Err *e)
{
	_cleanup_close_ int dir = path_open_in_root(root, "/dev/pts", O_PATH | O_DIRECTORY, 0);
	_cleanup_close_ int fd = -1;
	/* Nothing that is mounted over it: opening a device may already do something. */
	struct open_how how = {
	    .flags = O_RDWR | O_NOCTTY | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	struct stat st;

	if (dir < 0 || !is_on_devpts(dir))
		return err_new(e, ERR_INVALID,
			       "a terminal needs a devpts mount on /dev/pts of the container");
	fd = (int)syscall(SYS_openat2, dir, "ptmx", &how, sizeof(how));
	if (fd < 0)
		return err_sys(e, errno, "open /dev/pts/ptmx");
	if (fstat(fd, &st) < 0 || st.st_rdev != makedev(5, 2) || !is_on_devpts(fd))
		return err_new(e, ERR_DENIED, "/dev/pts/ptmx is not the pty multiplexer");
	return take_fd(&fd);
}

/* "\n" stays "\n": the terminal that the output goes to makes "\r\n" of it itself, and a pipe is to get what was written. */
static int clear_onlcr(int slave)
{
	struct termios t;

	if (tcgetattr(slave, &t) < 0)
		return -errno;
	t.c_oflag &= ~(tcflag_t)ONLCR;
	return tcsetattr(slave, TCSANOW, &t) < 0 ? -errno : 0;
}

int console_open(int root, const OciProcess *p, bool plain_newlines, int *ret_master, int *ret_slave, Err *e)
{
	_cleanup_close_ int master = open_master(root, e), slave = -1;
	struct winsize ws = {.ws_col = (unsigned short)p->console_width,
			     .ws_row = (unsigned short)p->console_height};
	int unlocked = 0;

	if (master < 0)
		return take_fd(&master);
	if (ioctl(master, TIOCSPTLCK, &unlocked) < 0)
		return err_sys(e, errno, "unlock the terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_sys(e, errno, "open the terminal");
	if (plain_newlines) {
		int r = clear_onlcr(slave);

		if (r < 0)
			return err_sys(e, r, "set the terminal's modes");
	}
	if ((p->console_width || p->console_height) && ioctl(slave, TIOCSWINSZ, &ws) < 0)
		return err_sys(e, errno, "set the terminal's size");
	*ret_master = take_fd(&master);
	*ret_slave = take_fd(&slave);
	return 0;
}

int console_bind(int dev, int slave, Err *e)
{
	static const char name[] = "console";
	_cleanup_close_ int target = -1, fd = -1;
	struct stat st;
	int r;

	/* Whatever the image has there, link or file, gives way to an empty file. */
	if (fstatat(dev, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode) &&
	    !S_ISCHR(st.st_mode) && unlinkat(dev, name, 0) < 0)
		return err_sys(e, errno, "remove /dev/console");
	if (mknodat(dev, name, S_IFREG | 0600, 0) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make /dev/console");
	target = openat(dev, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (target < 0)
		return err_sys(e, errno, "open /dev/console");
	fd = mount_clone(slave, "", false);
	if (fd < 0)
		return err_sys(e, fd, "bind the terminal");
	r = mount_attach(fd, target);
	return r < 0 ? err_sys(e, r, "bind the terminal on /dev/console") : 0;
}

int console_take(int slave, Err *e)
{
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return err_sys(e, errno, "take the controlling terminal");
	for (int fd = 0; fd < 3; fd++)
		if (dup3(slave, fd, 0) < 0)
			return err_sys(e, errno, "open the terminal as descriptor %d", fd);
	return 0;
}

int console_check(RuntimeConsole kind, const char *socket, bool terminal, Err *e)
{
	if (socket && !terminal)
		return err_new(e, ERR_INVALID,
			       "cannot use console socket if the runtime will not detach or allocate tty: "
			       "process.terminal is false");
	if (kind == RUNTIME_CONSOLE_BY_SOCKET && terminal && !socket)
		return err_new(e, ERR_INVALID,
			       "cannot allocate tty if the runtime will detach without setting console "
			       "socket: process.terminal "
			       "is true");
	return 0;
}

/* The data of the message is the terminal's name; runc's clients do not look at it, but want one. */
int console_send(const char *socket_path, int master, Err *e)
{
	_cleanup_close_ int sock = unix_connect(socket_path, SOCK_STREAM);
	ssize_t n;

	if (sock < 0)
		return err_sys(e, sock, "connect to the console socket %s", socket_path);
	n = fd_send_msg(sock, "/dev/ptmx", strlen("/dev/ptmx"), &master, 1);
	return n < 0 ? err_sys(e, (int)n, "send the terminal to %s", socket_path) : 0;
}

static bool is_null(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

/* So that a process of another user may open /dev/stdout again. */
static int give_to_user(int fd, uint32_t uid, Err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "stat descriptor %d", fd);
	if (st.st_uid == uid || is_null(&st))
		return 0;
	/* Not every object has an owner that can change, and none has to. */
	if (fchown(fd, uid, (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM && errno != EROFS &&
	    errno != ENOSYS)
		return err_sys(e, errno, "give descriptor %d to user %u", fd, uid);
	return 0;
}

int stdio_prepare(const RuntimeStdio *io, RuntimeStdio *ret, int *ret_null, Err *e)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	*ret = *io;
	if (io->in >= 0 && io->out >= 0 && io->err >= 0)
		return 0;
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, errno, "open /dev/null");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return err_new(e, ERR_DENIED, "/dev/null of the host is not the null device");
	ret->in = io->in >= 0 ? io->in : fd;
	ret->out = io->out >= 0 ? io->out : fd;
	ret->err = io->err >= 0 ? io->err : fd;
	*ret_null = take_fd(&fd);
	return 0;
}

int stdio_take(const RuntimeStdio *io, uint32_t uid, Err *e)
{
	const int wanted[3] = {io->in, io->out, io->err};
	bool in_place = io->in == 0 && io->out == 1 && io->err == 2;
	int from[3];

	for (int i = 0; i < 3 && in_place; i++) {
		int r = fcntl(i, F_SETFD, 0) < 0 ? err_sys(e, errno, "keep descriptor %d", i)
						 : give_to_user(i, uid, e);

		if (r < 0)
			return r;
	}
	if (in_place)
		return 0;
	/* First away from 0..2, where one could overwrite another. */
	for (int i = 0; i < 3; i++) {
		from[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, 3);
		if (from[i] < 0)
			return err_sys(e, errno, "open descriptor %d", i);
	}
	for (int i = 0; i < 3; i++) {
		if (dup3(from[i], i, 0) < 0)
			return err_sys(e, errno, "set descriptor %d", i);
		close(from[i]);
		int r = give_to_user(i, uid, e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Anything else in its place, which may be there by the image's will, is not even opened. */
static int open_null_in(int dev)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (fstatat(dev, "null", &st, AT_SYMLINK_NOFOLLOW) < 0 || !is_null(&st))
		return -ENOENT;
	fd = openat(dev, "null", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd >= 0 && fstat(fd, &st) == 0 && is_null(&st) ? take_fd(&fd) : -ENOENT;
}

void stdio_reopen_null(int dev)
{
	_cleanup_close_ int own = -1;

	for (int fd = 0; fd < 3; fd++) {
		struct stat st;

		if (fstat(fd, &st) < 0 || !is_null(&st))
			continue;
		if (own < 0)
			own = open_null_in(dev);
		/* Without one the host's stays. */
		if (own < 0)
			return;
		(void)dup3(own, fd, 0);
	}
}
