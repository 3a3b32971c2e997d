/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/namespace.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const struct {
	const char *name, *file;
	int flag;
} kinds[] = {
    {"pid", "pid", CLONE_NEWPID},          {"network", "net", CLONE_NEWNET}, {"mount", "mnt", CLONE_NEWNS},
    {"ipc", "ipc", CLONE_NEWIPC},          {"uts", "uts", CLONE_NEWUTS},     {"user", "user", CLONE_NEWUSER},
    {"cgroup", "cgroup", CLONE_NEWCGROUP}, {"time", "time", CLONE_NEWTIME},
};

int namespace_flag(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
		if (streq(kinds[i].name, name))
			return kinds[i].flag;
	return 0;
}

const char *namespace_name(size_t i)
{
	return i < ELEMENTSOF(kinds) ? kinds[i].name : NULL;
}

const char *namespace_file(int flag)
{
	for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
		if (kinds[i].flag == flag)
			return kinds[i].file;
	return NULL;
}

static bool read_in_user(void)
{
	/* The first user namespace has this inode number in every kernel (PROC_USER_INIT_INO). */
	static const char first[] = "user:[4026531837]";
	char text[40];
	ssize_t n = readlink("/proc/self/ns/user", text, sizeof(text));

	return n > 0 && ((size_t)n != strlen(first) || memcmp(text, first, strlen(first)) != 0);
}

/* Asked once: each time the kernel makes a file for it, and a program of ours never moves to another one but in a child that does not ask. */
bool namespace_in_user(void)
{
	static _Atomic int known = -1;

	if (known < 0)
		known = read_in_user();
	return known;
}

/* The kernel wants no exit signal with CLONE_PARENT: the child gets that of the caller. */
pid_t namespace_fork(const NamespaceFork *f)
{
	struct clone_args args = {
	    .flags = f->flags,
	    .exit_signal = f->flags & CLONE_PARENT ? 0 : SIGCHLD,
	};
	int pidfd = -1;

	if (f->ret_pidfd) {
		args.flags |= CLONE_PIDFD;
		args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	}
	if (f->cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)(unsigned)f->cgroup_fd;
	}

	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		return -errno;
	if (pid > 0 && f->ret_pidfd)
		*f->ret_pidfd = pidfd;
	return (pid_t)pid;
}

static int write_map(pid_t pid, const char *file, const NamespaceIdMap *map, size_t n, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	char path[64];
	int r;

	for (size_t i = 0; i < n; i++)
		strbuf_addf(&b, "%u %u %u\n", map[i].inside, map[i].outside, map[i].count);
	if (b.oom)
		return err_oom(e);
	if (n == 0)
		return err_new(e, ERR_INVALID, "a user namespace needs %s mappings", file);
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	r = file_write_at(AT_FDCWD, path, b.s);
	return r < 0 ? err_sys(e, r, "write %s of the user namespace (%zu mappings)", file, n) : 0;
}

int namespace_write_uid_map(pid_t pid, const NamespaceIdMap *map, size_t n, Err *e)
{
	return write_map(pid, "uid_map", map, n, e);
}

int namespace_write_gid_map(pid_t pid, const NamespaceIdMap *map, size_t n, bool deny_setgroups, Err *e)
{
	if (deny_setgroups) {
		char path[64];
		int r;

		snprintf(path, sizeof(path), "/proc/%d/setgroups", (int)pid);
		r = file_write_at(AT_FDCWD, path, "deny");
		if (r < 0)
			return err_sys(e, r, "write %s", path);
	}
	return write_map(pid, "gid_map", map, n, e);
}

int namespace_write_maps(pid_t pid, const NamespaceIdMap *uids, size_t n_uids, const NamespaceIdMap *gids,
			 size_t n_gids, Err *e)
{
	int r = namespace_write_uid_map(pid, uids, n_uids, e);

	return r < 0 ? r : namespace_write_gid_map(pid, gids, n_gids, geteuid() != 0, e);
}

static int open_of(pid_t pid, const char *file, int *ret_fd, Err *e)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, file);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(e, errno, "open %s", path) : 0;
}

int namespace_new_user_net(const NamespaceIdMap *uids, size_t n_uids, const NamespaceIdMap *gids,
			   size_t n_gids, int *ret_user, int *ret_net, Err *e)
{
	uint64_t flags = CLONE_NEWUSER | (ret_net ? CLONE_NEWNET : 0);
	_cleanup_close_ int user = -1;
	int r, p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");

	pid_t pid = namespace_fork(&(NamespaceFork){.flags = flags, .cgroup_fd = -1});

	if (pid == 0) {
		char c;

		/* Lives until the parent has the namespaces open or is gone. */
		close(p[1]);
		_exit(read(p[0], &c, 1) == 0 ? 0 : 1);
	}
	closep(&p[0]);
	if (pid < 0) {
		closep(&p[1]);
		return err_sys(e, pid, "make a user namespace");
	}
	r = namespace_write_maps(pid, uids, n_uids, gids, n_gids, e);
	if (r == 0)
		r = open_of(pid, "user", &user, e);
	if (r == 0 && ret_net)
		r = open_of(pid, "net", ret_net, e);
	closep(&p[1]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r == 0)
		*ret_user = take_fd(&user);
	return r;
}

int namespace_new_user(const NamespaceIdMap *uids, size_t n_uids, const NamespaceIdMap *gids, size_t n_gids,
		       int *ret_fd, Err *e)
{
	return namespace_new_user_net(uids, n_uids, gids, n_gids, ret_fd, NULL, e);
}

int namespace_loopback_up(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq lo = {.ifr_name = "lo"};

	if (fd < 0)
		return -errno;
	/* Nothing else can be set on it; IFF_LOOPBACK cannot be taken away. */
	lo.ifr_flags = IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, &lo) < 0 ? -errno : 0;
}
