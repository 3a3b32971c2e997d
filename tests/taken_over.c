/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an archive could do if it had taken ireko-unpack over: preloaded into the helper, it replaces read(2), which is first called
 * when the cage is closed. Input that begins with "TAKEN OVER: " names an attack:
 *
 *   call NAME    the system call, with zeros for arguments
 *   outside      a way out of the directory by ".."
 *   device, opaque, memory, bigfile, files, inherited    see attack()
 *
 * The process then ends with 0 if the attack worked, with the errno if it did not, and by SIGSYS if the filter saw to it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MARK "TAKEN OVER: "
#define ROOT 3 /* the directory that is unpacked into */

static const struct {
	const char *name;
	long number;
} calls[] = {
    {"socket", SYS_socket}, {"connect", SYS_connect}, {"sendmsg", SYS_sendmsg}, {"execve", SYS_execve}, {"execveat", SYS_execveat},
    {"clone", SYS_clone}, {"clone3", SYS_clone3}, {"kill", SYS_kill}, {"pidfd_open", SYS_pidfd_open}, {"pidfd_getfd", SYS_pidfd_getfd},
    {"ptrace", SYS_ptrace}, {"process_vm_writev", SYS_process_vm_writev}, {"mount", SYS_mount}, {"umount2", SYS_umount2},
    {"pivot_root", SYS_pivot_root}, {"chroot", SYS_chroot}, {"fsopen", SYS_fsopen}, {"open_tree", SYS_open_tree},
    {"move_mount", SYS_move_mount}, {"unshare", SYS_unshare}, {"setns", SYS_setns}, {"setuid", SYS_setuid}, {"setgroups", SYS_setgroups},
    {"capset", SYS_capset}, {"prctl", SYS_prctl}, {"prlimit64", SYS_prlimit64}, {"seccomp", SYS_seccomp}, {"bpf", SYS_bpf},
    {"perf_event_open", SYS_perf_event_open}, {"userfaultfd", SYS_userfaultfd}, {"io_uring_setup", SYS_io_uring_setup},
    {"keyctl", SYS_keyctl}, {"add_key", SYS_add_key}, {"open_by_handle_at", SYS_open_by_handle_at}, {"ioctl", SYS_ioctl},
    {"init_module", SYS_init_module}, {"kexec_load", SYS_kexec_load}, {"memfd_create", SYS_memfd_create},
    {"personality", SYS_personality}, {"dup3", SYS_dup3}, {"truncate", SYS_truncate}, {"acct", SYS_acct}, {"swapon", SYS_swapon},
    {"openat", SYS_openat}, {"mkdirat", SYS_mkdirat}, {"unlinkat", SYS_unlinkat}, {"mknodat", SYS_mknodat},
};

static long call(const char *name)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (strcmp(calls[i].name, name) == 0)
			return syscall(calls[i].number, 0L, 0L, 0L, 0L, 0L, 0L);
	errno = EDOM;
	return -1;
}

/* Up as far as it goes, from the directory itself, which is the root. */
static long outside(void)
{
	struct stat root, st;
	long fd = ROOT;

	if (fstat(ROOT, &root) < 0)
		return -1;
	for (int i = 0; i < 100 && fd >= 0; i++)
		fd = syscall(SYS_openat, fd, "..", O_PATH | O_DIRECTORY, 0);
	if (fd < 0 || fstat((int)fd, &st) < 0)
		return -1;
	errno = ENOENT;
	return st.st_ino == root.st_ino && st.st_dev == root.st_dev ? -1 : 0;
}

static long big_file(void)
{
	long fd = syscall(SYS_openat, ROOT, "big", O_WRONLY | O_CREAT, 0600);

	return fd < 0 ? fd : syscall(SYS_pwrite64, fd, "x", 1L, 1L << 31);
}

static long many_files(void)
{
	for (int i = 0; i < 2000; i++)
		if (syscall(SYS_openat, ROOT, ".", O_PATH, 0) < 0)
			return -1;
	return 0;
}

static long inherited(void)
{
	for (int fd = 5; fd < 1024; fd++)
		if (syscall(SYS_fcntl, fd, F_GETFD) >= 0)
			return 0;
	errno = EBADF;
	return -1;
}

static long attack(const char *what)
{
	if (strncmp(what, "call ", 5) == 0)
		return call(what + 5);
	if (strcmp(what, "outside") == 0)
		return outside();
	if (strcmp(what, "device") == 0)
		return syscall(SYS_mknodat, ROOT, "evil", S_IFCHR | 0666, makedev(1, 3));
	if (strcmp(what, "opaque") == 0)
		return fsetxattr(ROOT, "trusted.overlay.opaque", "y", 1, 0);
	if (strcmp(what, "memory") == 0)
		return mmap(NULL, 2UL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED ? -1 : 0;
	if (strcmp(what, "bigfile") == 0)
		return big_file();
	if (strcmp(what, "files") == 0)
		return many_files();
	if (strcmp(what, "inherited") == 0)
		return inherited();
	errno = EDOM;
	return -1;
}

ssize_t read(int fd, void *buf, size_t len)
{
	ssize_t n = syscall(SYS_read, fd, buf, len);
	char what[64] = "";

	if (fd != 0 || n < (ssize_t)sizeof(MARK) || memcmp(buf, MARK, sizeof(MARK) - 1) != 0)
		return n;
	n -= (ssize_t)sizeof(MARK) - 1;
	memcpy(what, (char *)buf + sizeof(MARK) - 1, (size_t)n < sizeof(what) ? (size_t)n : sizeof(what) - 1);
	what[strcspn(what, "\n")] = 0;
	errno = 0;
	long r = attack(what);
	syscall(SYS_exit_group, r < 0 ? errno : 0);
	return -1;
}
