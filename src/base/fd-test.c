/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors, files, trees and unix sockets: budgets, no escape through symlinks or mounts, long paths. */
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "base/test-dir.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

static bool exists(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void put(int dirfd, const char *name, const char *text)
{
	assert_int_equal(file_replace_at(dirfd, name, text, strlen(text), 0644, false), 0);
}

static size_t count_entries(int dirfd)
{
	DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static size_t open_fds(void)
{
	_cleanup_close_ int fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return count_entries(fds);
}

static void test_read_budget(void **state)
{
	const TestDir *dir = *state;
	enum { N = 10000 };
	char data[N + 1];
	char *text = data;
	size_t len = 7;

	memset(data, 'x', N);
	data[N] = '\0';
	put(dir->fd, "f", data);
	assert_int_equal(file_read_at(dir->fd, "f", N - 1, &text, &len), -EFBIG);
	assert_ptr_equal(text, data);
	assert_int_equal(len, 7);
	assert_int_equal(file_read_at(dir->fd, "f", N, &text, &len), 0);
	assert_int_equal(len, N);
	assert_string_equal(text, data);
	free(text);
	assert_int_equal(file_read_at(dir->fd, "f", SIZE_MAX, &text, NULL), 0);
	assert_string_equal(text, data);
	free(text);
	assert_int_equal(file_read_at(dir->fd, "f", 0, &text, NULL), -EFBIG);
	put(dir->fd, "empty", "");
	assert_int_equal(file_read_at(dir->fd, "empty", 0, &text, &len), 0);
	assert_string_equal(text, "");
	free(text);
	assert_int_equal(file_read_at(dir->fd, "absent", 10, &text, NULL), -ENOENT);
	/* /proc files claim to be empty. */
	assert_int_equal(file_read_at(AT_FDCWD, "/proc/self/status", 1 << 20, &text, &len), 0);
	assert_true(str_starts(text, "Name:") && len > 100);
	free(text);
}

static void test_file_write(void **state)
{
	const TestDir *dir = *state;
	_cleanup_free_ char *text = NULL;

	put(dir->fd, "f", "12345");
	assert_int_equal(file_write_at(dir->fd, "f", "ab"), 0);
	assert_int_equal(file_read_at(dir->fd, "f", 10, &text, NULL), 0);
	assert_string_equal(text, "ab345");
	assert_int_equal(file_write_at(dir->fd, "absent", "x"), -ENOENT);
	assert_false(exists(dir->fd, "absent"));
	assert_int_equal(file_write_at(AT_FDCWD, "/dev/full", "x"), -ENOSPC);
}

static void test_file_replace(void **state)
{
	const TestDir *dir = *state;
	_cleanup_free_ char *text = NULL, *other = NULL;
	struct stat st;
	mode_t old = umask(077);

	put(dir->fd, "victim", "v");
	assert_int_equal(symlinkat("victim", dir->fd, "f"), 0);
	assert_int_equal(file_replace_at(dir->fd, "f", "new", 3, 0664, true), 0);
	umask(old);
	assert_int_equal(fstatat(dir->fd, "f", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(st.st_mode)); /* the name is replaced, not what it pointed to */
	assert_int_equal(st.st_mode & 07777, 0664);
	assert_int_equal(file_read_at(dir->fd, "f", 10, &text, NULL), 0);
	assert_string_equal(text, "new");
	assert_int_equal(file_read_at(dir->fd, "victim", 10, &other, NULL), 0);
	assert_string_equal(other, "v");

	assert_int_equal(mkdirat(dir->fd, "d", 0755), 0);
	put(dir->fd, "d/in", "x");
	assert_int_equal(file_replace_at(dir->fd, "d", "x", 1, 0644, false), -EISDIR);
	assert_int_equal(file_replace_at(dir->fd, "d/", "x", 1, 0644, false), -EINVAL);
	assert_int_equal(file_replace_at(dir->fd, "d/..", "x", 1, 0644, false), -EINVAL);
	assert_int_equal(count_entries(dir->fd), 3); /* no temporary file is left behind */
}

static void test_copy(void **state)
{
	const TestDir *dir = *state;
	_cleanup_close_ int in = openat(dir->fd, "in", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	_cleanup_close_ int out = openat(dir->fd, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	_cleanup_close_ int append =
	    openat(dir->fd, "append", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	_cleanup_close_ int proc = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	int p[2];

	assert_int_equal(fd_write_all(in, "0123456789", 10), 0);
	assert_int_equal(lseek(in, 3, SEEK_SET), 3); /* from where the file stands */
	assert_int_equal(fd_copy(in, out), 7);
	assert_int_equal(file_read_at(dir->fd, "out", 100, &text, NULL), 0);
	assert_string_equal(text, "3456789");
	assert_int_equal(fd_copy(in, out), 0);

	assert_int_equal(lseek(in, 0, SEEK_SET), 0);
	assert_int_equal(fd_copy(in, append), 10); /* copy_file_range refuses O_APPEND */
	assert_true(fd_copy(proc, out) > 100);     /* and sees nothing in /proc */

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(lseek(in, 0, SEEK_SET), 0);
	assert_int_equal(fd_copy(in, p[1]), 10);
	close(p[1]);
	assert_int_equal(ftruncate(out, 0), 0);
	assert_int_equal(lseek(out, 0, SEEK_SET), 0);
	assert_int_equal(fd_copy(p[0], out), 10);
	close(p[0]);
	assert_int_equal(fd_copy(append, out), -EBADF); /* not open for reading */
}

static void test_flags(void **state _unused_)
{
	int p[2];
	char c;

	assert_int_equal(pipe(p), 0);
	assert_int_equal(fd_set_cloexec(p[0], true), 0);
	assert_int_equal(fcntl(p[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(fd_set_cloexec(p[0], false), 0);
	assert_int_equal(fcntl(p[0], F_GETFD), 0);
	assert_int_equal(fd_set_nonblock(p[0], true), 0);
	assert_int_equal(fd_read_full(p[0], &c, 1), -EAGAIN);
	assert_int_equal(fd_set_nonblock(p[0], false), 0);
	assert_int_equal(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
	close(p[0]);
	close(p[1]);
	assert_int_equal(fd_set_cloexec(-1, true), -EBADF);
}

/* Opens the lock file of `dir` as a new process would. */
static int open_lock(const TestDir *dir)
{
	int fd = openat(dir->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void test_lock_of_a_living_owner(void **state)
{
	_cleanup_close_ int first = open_lock(*state), second = open_lock(*state);
	_cleanup_free_ char *holder = NULL, *own = strf("%d", (int)getpid());

	assert_int_equal(fd_lock_as_owner(first, &holder), 0);
	assert_null(holder);
	assert_int_equal(fd_lock_as_owner(second, &holder), -EWOULDBLOCK);
	assert_string_equal(holder, own);
}

/* A child that is about to execute something still has the descriptor when its parent, whose pid is in the file, is no more. */
static void test_lock_of_a_dead_owner(void **state)
{
	_cleanup_close_ int lock = open_lock(*state), after = open_lock(*state);
	_cleanup_free_ char *holder = NULL;
	pid_t owner = fork();

	if (owner == 0) {
		if (fd_lock_as_owner(lock, &holder) < 0)
			_exit(1);
		if (fork() == 0)
			usleep(200000);
		_exit(0);
	}
	assert_true(owner > 0);
	close_fd(&lock);
	assert_int_equal(waitpid(owner, NULL, 0), owner);
	assert_int_equal(fd_lock_as_owner(after, &holder), 0);
}

static void test_mkdir_parents(void **state)
{
	const TestDir *dir = *state;
	struct stat st;

	assert_int_equal(mkdir_parents_at(dir->fd, "a/b//c/", 0755), 0);
	assert_true(exists(dir->fd, "a/b/c"));
	assert_int_equal(fchmodat(dir->fd, "a/b", 0700, 0), 0);
	assert_int_equal(mkdir_parents_at(dir->fd, "a/b/c", 0755), 0);
	assert_int_equal(fstatat(dir->fd, "a/b", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	put(dir->fd, "file", "x");
	assert_int_equal(mkdir_parents_at(dir->fd, "file", 0755), -ENOTDIR);
	assert_int_equal(mkdir_parents_at(dir->fd, "file/x", 0755), -ENOTDIR);
	assert_int_equal(mkdir_parents_at(AT_FDCWD, "/", 0755), 0);
}

static void test_remove_does_not_follow(void **state)
{
	const TestDir *dir = *state;
	_cleanup_free_ char *absolute = strf("%s/safe", dir->path);

	assert_int_equal(mkdir_parents_at(dir->fd, "safe/sub", 0755), 0);
	put(dir->fd, "safe/file", "x");
	assert_int_equal(mkdir_parents_at(dir->fd, "t/a/b/c", 0755), 0);
	put(dir->fd, "t/a/file", "x");
	assert_int_equal(symlinkat(absolute, dir->fd, "t/abs"), 0);
	assert_int_equal(symlinkat("../../safe", dir->fd, "t/a/up"), 0);
	assert_int_equal(symlinkat("safe/file", dir->fd, "t/a/b/f"), 0);
	assert_int_equal(remove_tree_at(dir->fd, "t"), 0);
	assert_false(exists(dir->fd, "t"));

	assert_int_equal(symlinkat("safe", dir->fd, "link"), 0);
	assert_int_equal(remove_tree_at(dir->fd, "link"), 0);
	assert_false(exists(dir->fd, "link"));
	assert_true(exists(dir->fd, "safe/sub"));
	assert_true(exists(dir->fd, "safe/file"));
}

static void test_remove_names(void **state)
{
	const TestDir *dir = *state;
	_cleanup_free_ char *absolute = strf("%s/x/y", dir->path);

	assert_int_equal(mkdir_parents_at(dir->fd, "x/y/z", 0755), 0);
	assert_int_equal(remove_tree_at(dir->fd, "absent"), 0);
	assert_int_equal(remove_tree_at(dir->fd, "absent/x"), 0);
	assert_int_equal(remove_tree_at(dir->fd, "."), -EINVAL);
	assert_int_equal(remove_tree_at(dir->fd, "x/.."), -EINVAL);
	assert_int_equal(remove_tree_at(dir->fd, "x/"), -EINVAL);
	assert_int_equal(remove_tree_at(dir->fd, ""), -EINVAL);
	assert_true(exists(dir->fd, "x/y/z"));
	assert_int_equal(remove_tree_at(AT_FDCWD, absolute), 0);
	assert_true(exists(dir->fd, "x"));
	assert_false(exists(dir->fd, "x/y"));
}

/* Deeper than there are descriptors, and than a path may be long. */
static void test_remove_deep_tree(void **state)
{
	const TestDir *dir = *state;
	_cleanup_close_ int at = dup(dir->fd);
	struct rlimit kept, few = {.rlim_cur = 128, .rlim_max = 128};

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &kept), 0);
	few.rlim_max = kept.rlim_max;
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(mkdirat(at, "deep", 0755), 0);
		int next = openat(at, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		assert_true(next >= 0);
		close_fd(&at);
		at = next;
		assert_int_equal(symlinkat("/", at, "root"), 0);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	int r = remove_tree_at(dir->fd, "deep");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &kept), 0);
	assert_int_equal(r, 0);
	assert_int_equal(count_entries(dir->fd), 0);
}

static void test_remove_wide_tree(void **state)
{
	const TestDir *dir = *state;

	assert_int_equal(mkdirat(dir->fd, "wide", 0755), 0);
	for (int i = 0; i < 5000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "wide/%d", i);
		assert_int_equal(i % 2 ? mkdirat(dir->fd, name, 0755)
				       : mknodat(dir->fd, name, S_IFREG | 0644, 0),
				 0);
	}
	size_t before = open_fds();
	assert_int_equal(remove_tree_at(dir->fd, "wide"), 0);
	assert_int_equal(count_entries(dir->fd), 0);
	assert_int_equal(open_fds(), before);
}

static void test_remove_stops_at_mounts(void **state)
{
	const TestDir *dir = *state;
	_cleanup_free_ char *inner = strf("%s/t/a/mnt", dir->path), *bind = strf("%s/t/bind", dir->path);
	_cleanup_free_ char *safe = strf("%s/safe", dir->path), *file = strf("%s/t/file", dir->path);

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		skip();
	/* dir->fd still leads into the mount namespace we came from. */
	_cleanup_close_ int top = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(top >= 0);
	assert_int_equal(mkdir_parents_at(top, "t/a/mnt", 0755), 0);
	assert_int_equal(mkdir_parents_at(top, "t/bind", 0755), 0);
	assert_int_equal(mkdir_parents_at(top, "safe/sub", 0755), 0);
	put(top, "t/file", "x");

	assert_int_equal(mount("tmpfs", inner, "tmpfs", 0, NULL), 0);
	put(top, "t/a/mnt/precious", "x");
	assert_int_equal(remove_tree_at(top, "t/a"), -EBUSY);
	assert_int_equal(remove_tree_at(top, "t/a/mnt"), -EBUSY);
	assert_true(exists(top, "t/a/mnt/precious"));
	/* Below a mount point everything is on one mount again. */
	assert_int_equal(remove_tree_at(top, "t/a/mnt/precious"), 0);
	assert_int_equal(umount2(inner, MNT_DETACH), 0);
	assert_int_equal(remove_tree_at(top, "t/a"), 0);

	/* The same file system again: the device number would not tell. */
	assert_int_equal(mount(safe, bind, NULL, MS_BIND, NULL), 0);
	assert_int_equal(remove_tree_at(top, "t/bind"), -EBUSY);
	assert_int_equal(remove_tree_at(top, "t"), -EBUSY);
	assert_true(exists(top, "safe/sub"));
	assert_int_equal(umount2(bind, MNT_DETACH), 0);

	put(top, "t/file", "x");
	assert_int_equal(mount("/dev/null", file, NULL, MS_BIND, NULL), 0);
	assert_int_equal(remove_tree_at(top, "t"), -EBUSY);
	assert_int_equal(umount2(file, MNT_DETACH), 0);
	assert_int_equal(remove_tree_at(top, "t"), 0);
	assert_int_equal(count_entries(top), 1);
}

/* dir/<100 bytes>/<name>: well over the 108 of sun_path. */
static char *long_path(const TestDir *dir, const char *name)
{
	char part[101] = "";

	memset(part, 'd', 100);
	assert_int_equal(mkdir_parents_at(dir->fd, part, 0755), 0);
	return strf("%s/%s/%s", dir->path, part, name);
}

static void test_unix_long_path(void **state)
{
	const TestDir *dir = *state;
	char name[201] = "";

	memset(name, 's', 200); /* the name alone is too long as well */
	for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type += SOCK_SEQPACKET - SOCK_STREAM) {
		_cleanup_free_ char *path = long_path(dir, name);
		_cleanup_close_ int listener = unix_listen(path, type, 0660);
		_cleanup_close_ int client = unix_connect(path, type);
		_cleanup_close_ int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		struct stat st;
		char buf[3] = "";

		assert_true(strlen(path) > 300);
		assert_true(listener >= 0 && client >= 0 && server >= 0);
		assert_int_equal(fcntl(listener, F_GETFD), FD_CLOEXEC);
		assert_int_equal(fcntl(client, F_GETFD), FD_CLOEXEC);
		assert_int_equal(fd_write_all(client, "hi", 2), 0);
		assert_int_equal(read(server, buf, 2), 2);
		assert_string_equal(buf, "hi");
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode, S_IFSOCK | 0660);
	}
}

static void test_unix_replaces_only_abandoned(void **state)
{
	const TestDir *dir = *state;
	_cleanup_free_ char *path = long_path(dir, "s"), *file = strf("%s/file", dir->path);
	size_t before = open_fds();
	int first = unix_listen(path, SOCK_STREAM, 0600);

	assert_true(first >= 0);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0600), -EADDRINUSE);
	assert_int_equal(unix_listen(path, SOCK_SEQPACKET, 0600), -EADDRINUSE);
	close_fd(&first);
	assert_int_equal(unix_connect(path, SOCK_STREAM), -ECONNREFUSED);
	first = unix_listen(path, SOCK_STREAM, 0600);
	assert_true(first >= 0);
	close_fd(&first);

	put(dir->fd, "file", "kept");
	assert_int_equal(unix_listen(file, SOCK_STREAM, 0600), -EADDRINUSE);
	assert_true(exists(dir->fd, "file"));
	assert_int_equal(unix_connect("/nonexistent/s", SOCK_STREAM), -ENOENT);
	assert_int_equal(unix_listen("/nonexistent/s", SOCK_STREAM, 0600), -ENOENT);
	assert_int_equal(count_entries(dir->fd), 2); /* no temporary sockets */
	assert_int_equal(open_fds(), before);
}

static void test_unix_busy_listener_is_not_replaced(void **state)
{
	const TestDir *dir = *state;
	_cleanup_free_ char *path = strf("%s/s", dir->path);
	_cleanup_close_ int listener = unix_listen(path, SOCK_STREAM, 0600);
	_cleanup_close_ int one = -1;

	assert_int_equal(listen(listener, 0), 0);
	one = unix_connect(path, SOCK_STREAM); /* fills the queue: another connect would wait */
	assert_true(one >= 0);
	alarm(20);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0600), -EADDRINUSE);
	alarm(0);
}

static void pair(int type, int sv[2])
{
	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sv), 0);
}

static void test_fd_passing(void **state _unused_)
{
	int sv[2], p[2], got[FDS_MAX];
	size_t n = FDS_MAX;
	char buf[16] = "", c = 0;

	pair(SOCK_SEQPACKET, sv);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(fd_send_msg(sv[0], "msg", 3, p, 2), 3);
	assert_int_equal(fd_recv_msg(sv[1], buf, sizeof(buf), got, &n), 3);
	assert_string_equal(buf, "msg");
	assert_int_equal(n, 2);
	assert_int_equal(fcntl(got[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(got[1], F_GETFD), FD_CLOEXEC);
	assert_int_equal(write(got[1], "z", 1), 1);
	assert_int_equal(read(p[0], &c, 1), 1);
	assert_int_equal(c, 'z');

	n = FDS_MAX;
	assert_int_equal(fd_send_msg(sv[0], "x", 1, NULL, 0), 1);
	assert_int_equal(fd_recv_msg(sv[1], buf, sizeof(buf), got + 2, &n), 1);
	assert_int_equal(n, 0);
	assert_int_equal(fd_send_msg(sv[0], "", 0, NULL, 0), -EINVAL);
	assert_int_equal(fd_send_msg(sv[0], "x", 1, p, FDS_MAX + 1), -EINVAL);
	for (int i = 0; i < 2; i++) {
		close(p[i]);
		close(got[i]);
	}
	close(sv[0]);
	assert_int_equal(fd_recv_msg(sv[1], buf, sizeof(buf), NULL, NULL), 0);
	assert_int_equal(fd_send_msg(sv[1], "x", 1, NULL, 0), -EPIPE); /* and no SIGPIPE */
	close(sv[1]);
}

static void test_fd_passing_full_house(void **state _unused_)
{
	int sv[2], many[FDS_MAX], got[FDS_MAX];
	size_t n = FDS_MAX, before = open_fds();
	char c;

	pair(SOCK_STREAM, sv);
	for (size_t i = 0; i < FDS_MAX; i++)
		many[i] = sv[0];
	assert_int_equal(fd_send_msg(sv[0], "x", 1, many, FDS_MAX), 1);
	assert_int_equal(fd_recv_msg(sv[1], &c, 1, got, &n), 1);
	assert_int_equal(n, FDS_MAX);
	for (size_t i = 0; i < FDS_MAX; i++)
		close(got[i]);
	close(sv[0]);
	close(sv[1]);
	assert_int_equal(open_fds(), before);
}

/* More than FDS_MAX in one message, as a hostile peer would send. */
static void send_too_many(int sock)
{
	enum { N = FDS_MAX + 8 };
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * N)];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * N);
	for (size_t i = 0; i < N; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &sock, sizeof(int));
	assert_int_equal(sendmsg(sock, &msg, 0), 1);
}

static void test_what_does_not_fit_is_closed(void **state _unused_)
{
	int sv[2], got[FDS_MAX] = {0}, two[2];
	size_t n = 1, before;
	char buf[4];

	pair(SOCK_SEQPACKET, sv);
	before = open_fds();
	two[0] = two[1] = sv[0];
	assert_int_equal(fd_send_msg(sv[0], "x", 1, two, 2), 1);
	assert_int_equal(fd_recv_msg(sv[1], buf, sizeof(buf), got, &n), -EMSGSIZE);
	assert_int_equal(n, 0);
	assert_int_equal(fd_send_msg(sv[0], "x", 1, two, 2), 1);
	assert_int_equal(fd_recv_msg(sv[1], buf, sizeof(buf), NULL, NULL), -EMSGSIZE);
	n = FDS_MAX;
	assert_int_equal(fd_send_msg(sv[0], "12345", 5, two, 2), 5);
	assert_int_equal(fd_recv_msg(sv[1], buf, sizeof(buf), got, &n), -EMSGSIZE);
	n = FDS_MAX;
	send_too_many(sv[0]);
	assert_int_equal(fd_recv_msg(sv[1], buf, sizeof(buf), got, &n), -EMSGSIZE);
	assert_int_equal(n, 0);
	assert_int_equal(got[0], 0);
	assert_int_equal(open_fds(), before);
	close(sv[0]);
	close(sv[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_read_budget),
	    test_in_dir(test_file_write),
	    test_in_dir(test_file_replace),
	    test_in_dir(test_copy),
	    cmocka_unit_test(test_flags),
	    test_in_dir(test_lock_of_a_living_owner),
	    test_in_dir(test_lock_of_a_dead_owner),
	    test_in_dir(test_mkdir_parents),
	    test_in_dir(test_remove_does_not_follow),
	    test_in_dir(test_remove_names),
	    test_in_dir(test_remove_deep_tree),
	    test_in_dir(test_remove_wide_tree),
	    test_in_dir(test_remove_stops_at_mounts),
	    test_in_dir(test_unix_long_path),
	    test_in_dir(test_unix_replaces_only_abandoned),
	    test_in_dir(test_unix_busy_listener_is_not_replaced),
	    cmocka_unit_test(test_fd_passing),
	    cmocka_unit_test(test_fd_passing_full_house),
	    cmocka_unit_test(test_what_does_not_fit_is_closed),
	};
	umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
