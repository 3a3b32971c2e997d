/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors, whole files and unix sockets; the contracts are in fd.h. Trees are in tree.c.
 *
 * A socket's address holds 108 bytes. We therefore never put a user's path there, but the name of a
 * descriptor: of the socket file itself to connect, of its directory and a short temporary name
 * to bind. The temporary name also lets a socket appear with its mode set and already listening.
 */
#include "base/fd.h"
#include "base/id.h"
#include "base/path.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/un.h>

#define COPY_STEP (1 << 30)
#define COPY_BUF  (128 << 10)

int fd_write_all(int fd, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

ssize_t fd_read_full(int fd, void *buf, size_t len)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = read(fd, (char *)buf + have, len - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

int fd_pwrite_all(int fd, const void *buf, size_t len, off_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, at + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

ssize_t fd_pread_full(int fd, void *buf, size_t len, off_t at)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = pread(fd, (char *)buf + have, len - have, at + (off_t)have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

int fd_read_all(int fd, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *buf = NULL;
	size_t len = 0, cap = 0, most = MIN2(max, SIZE_MAX / 4) + 1; /* one more shows that it is too much */

	while (len == cap) {
		cap = MAX2(cap * 2, (size_t)4096);
		cap = MIN2(cap, most);
		char *grown = realloc(buf, cap + 1);
		if (!grown)
			return -ENOMEM;
		buf = grown;

		ssize_t n = fd_read_full(fd, buf + len, cap - len);
		if (n < 0)
			return (int)n;
		len += (size_t)n;
		if (len > max || len == most)
			return -EFBIG;
	}
	buf[len] = '\0';
	*ret = take_ptr(buf);
	if (ret_len)
		*ret_len = len;
	return 0;
}

typedef ssize_t (*Mover)(int from, int to);

static ssize_t move_range(int from, int to)
{
	return copy_file_range(from, NULL, to, NULL, COPY_STEP, 0);
}

static ssize_t move_spliced(int from, int to)
{
	return splice(from, NULL, to, NULL, COPY_STEP, 0);
}

/* These say "not with this pair of files", and the plain way is tried instead. If it is the files
 * that are at fault, that way finds out. */
static bool is_unsuited(int no)
{
	return no == EXDEV || no == EINVAL || no == ENOSYS || no == EOPNOTSUPP || no == EBADF ||
	       no == EPERM || no == ETXTBSY;
}

/* 1 at end of file, 0 if this way does not work here, else -errno. */
static int move_all(Mover move, int from, int to, int64_t *total)
{
	for (;;) {
		ssize_t n = move(from, to);

		if (n == 0)
			return 1;
		if (n > 0)
			*total += n;
		else if (errno != EINTR)
			return is_unsuited(errno) ? 0 : -errno;
	}
}

static int move_buffered(int from, int to, int64_t *total)
{
	_cleanup_free_ char *buf = malloc(COPY_BUF);

	if (!buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = read(from, buf, COPY_BUF);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		int r = fd_write_all(to, buf, (size_t)n);
		if (r < 0)
			return r;
		*total += n;
	}
}

int64_t fd_copy(int from, int to)
{
	int64_t total = 0;
	int r = move_all(move_range, from, to, &total);

	/* Files of /proc and the like have size 0 and look empty to copy_file_range(2). */
	if (r > 0 && total == 0)
		r = 0;
	if (r == 0)
		r = move_all(move_spliced, from, to, &total);
	if (r == 0)
		r = move_buffered(from, to, &total);
	return r < 0 ? r : total;
}

static int set_flag(int fd, int get, int set, int flag, bool on)
{
	int flags = fcntl(fd, get);

	if (flags < 0)
		return -errno;
	int wanted = on ? flags | flag : flags & ~flag;
	if (wanted != flags && fcntl(fd, set, wanted) < 0)
		return -errno;
	return 0;
}

int fd_fill_stdio(void)
{
	struct pollfd p[] = {{0}, {.fd = 1}, {.fd = 2}};

	if (poll(p, ELEMENTSOF(p), 0) < 0)
		return -errno;
	for (int fd = 0; fd < (int)ELEMENTSOF(p); fd++) {
		/* The lowest number that is free is this one. */
		if ((p[fd].revents & POLLNVAL) && open("/dev/null", O_RDWR) != fd)
			return -EBADF;
	}
	return 0;
}

#define LOCK_PATIENCE_MS 5000
#define LOCK_STEP_MS     5

static bool is_alive(const char *pid)
{
	long n = pid ? strtol(pid, NULL, 10) : 0;

	return n > 0 && n <= INT_MAX && (kill((pid_t)n, 0) == 0 || errno != ESRCH);
}

int fd_lock_as_owner(int fd, char **ret_holder)
{
	for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOCK_STEP_MS) {
		_cleanup_free_ char *holder = NULL;

		if (errno != EWOULDBLOCK)
			return -errno;
		if (lseek(fd, 0, SEEK_SET) < 0)
			return -errno;
		(void)fd_read_all(fd, 32, &holder, NULL);
		if (waited >= LOCK_PATIENCE_MS || is_alive(holder)) {
			*ret_holder = take_ptr(holder);
			return -EWOULDBLOCK;
		}
		(void)usleep(LOCK_STEP_MS * 1000);
	}
	if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0 || dprintf(fd, "%d", (int)getpid()) < 0)
		return -errno;
	return 0;
}

int fd_set_cloexec(int fd, bool on)
{
	return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int fd_set_nonblock(int fd, bool on)
{
	return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int file_open_parent_at(int dirfd, const char *path, const char **ret_name)
{
	const char *name = path_base(path);

	if (!*name || streq(name, ".") || streq(name, ".."))
		return -EINVAL;

	_cleanup_free_ char *dir = name == path ? strdup(".") : strndup(path, (size_t)(name - path));
	if (!dir)
		return -ENOMEM;
	int fd = openat(dirfd, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_name = name;
	return fd;
}

int file_read_at(int dirfd, const char *name, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fd_read_all(fd, max, ret, ret_len);
}

int file_write_at(int dirfd, const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	/* The kernel takes each write as one whole command: never resume a short one. */
	do
		n = write(fd, text, strlen(text));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == strlen(text) ? 0 : -EIO;
}

/* A short name that nobody else uses. */
typedef struct TempName {
	char s[24];
} TempName;

#define TEMP_PREFIX ".tmp-"

static TempName temp_name(void)
{
	TempName t = {TEMP_PREFIX};

	id_random_hex(t.s + strlen(t.s), 16);
	return t;
}

static int write_new_file(int dir, const char *name, const void *data, size_t len, mode_t mode, bool sync)
{
	_cleanup_close_ int fd =
	    openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	int r = fd_write_all(fd, data, len);
	if (r < 0)
		return r;
	/* open() has subtracted the umask: of 0600 nothing, unless it takes the rights of its owner. */
	if (mode != 0600 && fchmod(fd, mode) < 0)
		return -errno;
	return sync && fsync(fd) < 0 ? -errno : 0;
}

static int sync_directory(int dir)
{
	_cleanup_close_ int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int file_replace_at(int dirfd, const char *name, const void *data, size_t len, mode_t mode, bool sync)
{
	const char *last = name;
	bool here = dirfd >= 0 && !strchr(name, '/');
	_cleanup_close_ int parent = here ? -1 : file_open_parent_at(dirfd, name, &last);
	TempName tmp = temp_name();
	int dir = here ? dirfd : parent;

	if (dir < 0)
		return dir;
	int r = write_new_file(dir, tmp.s, data, len, mode, sync);
	if (r == 0 && renameat(dir, tmp.s, dir, last) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(dir, tmp.s, 0);
		return r;
	}
	return sync ? sync_directory(dir) : 0;
}

void file_replace_sweep(int dirfd, time_t before)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *n;
	struct stat st;

	if (!d) {
		closep(&fd);
		return;
	}
	while ((n = readdir(d)))
		if (strncmp(n->d_name, TEMP_PREFIX, strlen(TEMP_PREFIX)) == 0 &&
		    fstatat(fd, n->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    st.st_mtime <= before)
			(void)unlinkat(fd, n->d_name, 0);
	(void)closedir(d);
}

/* The address of the file `fd`, or of `name` in the directory `fd`. */
static struct sockaddr_un address_of(int fd, const char *name)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	_Static_assert(sizeof(sa.sun_path) > sizeof(FdPath) + sizeof(TempName), "the name always fits");
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s%s%.*s", path_of_fd(fd).s, name ? "/" : "",
		 (int)sizeof(TempName), name ? name : "");
	return sa;
}

/* flags: SOCK_NONBLOCK to get -EAGAIN instead of waiting when the listener's queue is full. */
static int connect_at(int dirfd, const char *path, int type, int flags)
{
	_cleanup_close_ int file = openat(dirfd, path, O_PATH | O_CLOEXEC);
	if (file < 0)
		return -errno;

	_cleanup_close_ int sock = socket(AF_UNIX, type | SOCK_CLOEXEC | flags, 0);
	if (sock < 0)
		return -errno;

	struct sockaddr_un sa = address_of(file, NULL);
	int r;

	do
		r = connect(sock, (const struct sockaddr *)&sa, sizeof(sa));
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : take_fd(&sock);
}

int unix_connect(const char *path, int type)
{
	return connect_at(AT_FDCWD, path, type, 0);
}

/* 0 if `name` may be replaced: nothing is there, or a socket file that refuses connections. */
static int check_abandoned(int dir, const char *name, int type)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;

	int fd = connect_at(dir, name, type, SOCK_NONBLOCK);

	if (fd >= 0)
		close_fd(&fd);
	return fd == -ECONNREFUSED || fd == -ENOENT ? 0 : -EADDRINUSE;
}

static int publish_socket(int dir, const char *tmp, const char *name, int sock, int type, mode_t mode)
{
	if (fchmodat(dir, tmp, mode, 0) < 0)
		return -errno;
	if (listen(sock, SOMAXCONN) < 0)
		return -errno;

	int r = check_abandoned(dir, name, type);
	if (r < 0)
		return r;
	return renameat(dir, tmp, dir, name) < 0 ? -errno : 0;
}

int unix_listen(const char *path, int type, mode_t mode)
{
	const char *name;
	_cleanup_close_ int dir = file_open_parent_at(AT_FDCWD, path, &name);
	if (dir < 0)
		return take_fd(&dir);

	_cleanup_close_ int sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;

	TempName tmp = temp_name();
	struct sockaddr_un sa = address_of(dir, tmp.s);

	if (bind(sock, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	int r = publish_socket(dir, tmp.s, name, sock, type, mode);
	if (r < 0) {
		(void)unlinkat(dir, tmp.s, 0);
		return r;
	}
	return take_fd(&sock);
}

typedef union FdsControl {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int) * FDS_MAX)];
} FdsControl;

/* A stream may take a message in pieces; the descriptors went with the first. */
static ssize_t send_rest(int sock, const char *buf, size_t len, size_t done)
{
	while (done < len) {
		ssize_t n = send(sock, buf + done, len - done, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? (ssize_t)done : -errno;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t fd_send_msg(int sock, const void *buf, size_t len, const int *fds, size_t n_fds)
{
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	FdsControl control = {0};
	ssize_t n;

	/* An empty message would look like the end, and a stream carries no descriptors without a byte. */
	if (len == 0 || n_fds > FDS_MAX)
		return -EINVAL;
	if (n_fds > 0) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);

		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : send_rest(sock, buf, len, (size_t)n);
}

/* The control buffer has room for FDS_MAX descriptors in all, so `got` cannot overflow. */
static size_t collect_fds(struct msghdr *msg, int got[static FDS_MAX])
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(got + n, CMSG_DATA(c), k * sizeof(int));
		n += k;
	}
	return n;
}

ssize_t fd_recv_msg(int sock, void *buf, size_t cap, int *fds, size_t *n_fds)
{
	struct iovec iov = {.iov_base = buf, .iov_len = cap};
	FdsControl control;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	size_t room = n_fds ? *n_fds : 0;
	int got[FDS_MAX];
	ssize_t n;

	if (n_fds)
		*n_fds = 0;
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;

	size_t count = collect_fds(&msg, got);
	if (count > room || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		while (count > 0)
			close_fd(&got[--count]);
		return -EMSGSIZE;
	}
	if (count > 0) {
		memcpy(fds, got, count * sizeof(int));
		*n_fds = count;
	}
	return n;
}
