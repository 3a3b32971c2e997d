/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/process-internal.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "kernel/mount.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#define REAP_LOOK_US 5000

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

int process_pidfd(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : (int)fd;
}

int process_signal(int pidfd, int signal)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

/* The name (field 2) may hold blanks and parentheses: fields are counted from the last ')'. */
int process_parse_stat(const char *text, ProcessStat *ret)
{
	const char *p = strrchr(text, ')');
	char *end = NULL;

	if (!p || p[1] != ' ' || !p[2])
		return -EINVAL;
	ret->state = p[2];
	p += 2;
	for (int field = 3; field < 22; field++) {
		p = strchr(p, ' ');
		if (!p)
			return -EINVAL;
		p++;
	}
	errno = 0;
	ret->start = strtoull(p, &end, 10);
	return errno || end == p ? -EINVAL : 0;
}

int process_stat(pid_t pid, ProcessStat *ret)
{
	_cleanup_free_ char *text = NULL;
	char path[40];
	int r;

	if (pid <= 0)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = file_read_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	return process_parse_stat(text, ret);
}

/* No start time has this bit: it would be older than the machine. */
#define IDENTITY_INODE (1ULL << 62)
#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446
#endif

static uint64_t inode_of(int pidfd)
{
	struct statfs fs;
	struct stat st;

	/* Of the pidfds of older kernels all have the same. */
	if (sizeof(long) < 8 || fstatfs(pidfd, &fs) < 0 || fs.f_type != PID_FS_MAGIC || fstat(pidfd, &st) < 0)
		return 0;
	return IDENTITY_INODE | st.st_ino;
}

int process_identity(pid_t pid, int pidfd, uint64_t *ret)
{
	ProcessStat st;
	int r;

	*ret = inode_of(pidfd);
	if (*ret)
		return 0;
	r = process_stat(pid, &st);
	*ret = st.start;
	return r;
}

static bool has_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

/* Read after the pidfd was opened: if it is the right one now, the pidfd is of the right one. */
static bool started_at(pid_t pid, uint64_t start)
{
	ProcessStat st;

	return process_stat(pid, &st) == 0 && st.start == start && st.state != 'Z' && st.state != 'X';
}

int process_pidfd_checked(pid_t pid, uint64_t identity)
{
	_cleanup_close_ int fd = pid > 0 ? process_pidfd(pid) : -ESRCH;

	if (fd < 0)
		return fd == -EINVAL ? -ESRCH : take_fd(&fd);
	if (identity & IDENTITY_INODE ? inode_of(fd) != identity || has_ended(fd)
				      : !started_at(pid, identity))
		return -ESRCH;
	return take_fd(&fd);
}

int process_reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status;
}

int process_reap_within(pid_t pid, int pidfd, int ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int64_t deadline = clock_mono_ns() + ms * INT64_C(1000000);

	/* Without a pidfd, or when it is readable and the child is not ours to reap yet: it is looked at now and then. */
	for (bool look = pidfd < 0;;) {
		int64_t left = deadline - clock_mono_ns();
		int status;
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got > 0)
			return status;
		if (got < 0 && errno != EINTR)
			return -errno;
		if (left <= 0)
			return -ETIMEDOUT;
		if (look)
			(void)usleep(REAP_LOOK_US);
		else
			look = poll(&p, 1, (int)(left / 1000000 + 1)) > 0;
	}
}

void process_kill_child(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	(void)process_reap(pid);
}

static const struct {
	const char *name;
	int number;
} rlimits[] = {
    {"AS", RLIMIT_AS},           {"CORE", RLIMIT_CORE},         {"CPU", RLIMIT_CPU},
    {"DATA", RLIMIT_DATA},       {"FSIZE", RLIMIT_FSIZE},       {"LOCKS", RLIMIT_LOCKS},
    {"MEMLOCK", RLIMIT_MEMLOCK}, {"MSGQUEUE", RLIMIT_MSGQUEUE}, {"NICE", RLIMIT_NICE},
    {"NOFILE", RLIMIT_NOFILE},   {"NPROC", RLIMIT_NPROC},       {"RSS", RLIMIT_RSS},
    {"RTPRIO", RLIMIT_RTPRIO},   {"RTTIME", RLIMIT_RTTIME},     {"SIGPENDING", RLIMIT_SIGPENDING},
    {"STACK", RLIMIT_STACK},
};

int process_rlimit_by_name(const char *name)
{
	const char *rest = str_after(name, "RLIMIT_");

	for (size_t i = 0; rest && i < ELEMENTSOF(rlimits); i++)
		if (streq(rlimits[i].name, rest))
			return rlimits[i].number;
	return -1;
}

int process_set_rlimit(pid_t pid, const char *name, uint64_t soft, uint64_t hard, Err *e)
{
	int number = process_rlimit_by_name(name);
	struct rlimit want = {.rlim_cur = soft, .rlim_max = hard}, had;

	if (number < 0)
		return err_new(e, ERR_INVALID, "unknown resource limit %s", name);
	if (soft > hard)
		return err_new(e, ERR_INVALID, "%s: the soft limit %llu is above the hard limit %llu", name,
			       (unsigned long long)soft, (unsigned long long)hard);
	if (prlimit(pid, (__rlimit_resource_t)number, &want, NULL) == 0)
		return 0;
	if (errno == EPERM && prlimit(pid, (__rlimit_resource_t)number, NULL, &had) == 0)
		return err_new_no(
		    e, ERR_DENIED, EPERM,
		    "%s: the hard limit cannot be raised from %llu to %llu without CAP_SYS_RESOURCE; "
		    "ask for at most %llu",
		    name, (unsigned long long)had.rlim_max, (unsigned long long)hard,
		    (unsigned long long)had.rlim_max);
	return err_sys(e, errno, "set %s", name);
}

int process_close_from(int fd, bool only_mark)
{
	unsigned flags = only_mark ? CLOSE_RANGE_CLOEXEC : 0;

	return syscall(SYS_close_range, (unsigned)fd, ~0U, flags) < 0 ? -errno : 0;
}

static bool is_read_only(int fd)
{
	struct statvfs st;

	return fstatvfs(fd, &st) == 0 && (st.f_flag & ST_RDONLY);
}

static bool is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & F_SEAL_WRITE);
}

/* The executable's mount, read-only, at no path. */
static int read_only_clone(int exe)
{
	_cleanup_close_ int fd = mount_clone(exe, "", false);
	int r;

	if (fd < 0)
		return take_fd(&fd);
	r = mount_change(fd, "", &(MountChange){.set = MOUNT_ATTR_RDONLY});
	return r < 0 ? r : take_fd(&fd);
}

static int sealed_copy(int exe)
{
	/* Where memory files are not executable by default (vm.memfd_noexec), it has to be said; older kernels do not know the word. */
	_cleanup_close_ int fd = memfd_create("ireko", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	int64_t n;

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("ireko", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	n = fd_copy(exe, fd);
	if (n < 0)
		return (int)n;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return take_fd(&fd);
}

int process_protect_exe(char **argv, Err *e)
{
	_cleanup_close_ int exe = -1, safe = -1;

	if (process_exe_is_protected)
		return 0;
	exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (exe < 0)
		return err_sys(e, errno, "open /proc/self/exe");
	if (is_read_only(exe) || is_sealed(exe))
		return 0;
	safe = read_only_clone(exe);
	if (safe == -EPERM || safe == -EINVAL || safe == -ENOSYS)
		safe = sealed_copy(exe);
	if (safe < 0)
		return err_sys(e, safe, "protect our own executable from the container");
	syscall(SYS_execveat, safe, "", argv, environ, AT_EMPTY_PATH);
	return err_sys(e, errno, "execute a protected copy of our own executable");
}
