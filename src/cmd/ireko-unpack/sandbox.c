/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces, limits, capabilities(7) and seccomp(2) of the helper; what they protect is in sandbox.h. */
#include "sandbox.h"

#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define MEMORY_MAX   (1ll << 30)
#define FDS_MAX_OPEN 256 /* replacing a deep directory takes one for each level */

/* The sanitizers reserve terabytes of addresses and make calls of their own: builds with them, which are for tests, have
 * neither the memory limit nor the filter. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static int limit(int what, rlim_t value, const char *name, Err *e)
{
	struct rlimit now, l;

	if (getrlimit((__rlimit_resource_t)what, &now) < 0)
		return err_sys(e, errno, "read the limit %s", name);
	l.rlim_cur = l.rlim_max = MIN2(value, now.rlim_max);
	if (setrlimit((__rlimit_resource_t)what, &l) < 0)
		return err_sys(e, errno, "set the limit %s", name);
	return 0;
}

static int set_limits(const SandboxLimits *l, Err *e)
{
	int r = limit(RLIMIT_CORE, 0, "core", e);

	/* Too big a file must be an error to report, not a signal. */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (r >= 0 && !SANITIZED)
		r = limit(RLIMIT_AS, MEMORY_MAX, "memory", e);
	if (r >= 0)
		r = limit(RLIMIT_NOFILE, FDS_MAX_OPEN, "open files", e);
	if (r >= 0 && (!l->no_files || l->image))
		r = limit(RLIMIT_FSIZE, (rlim_t)l->max_bytes, "file size", e);
	return r;
}

/* The bounding set too, so that nothing comes back by way of exec (which seccomp forbids as well). */
static int drop_capabilities(const SandboxLimits *l, Err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct now[2] = {0}, data[2] = {0};
	uint64_t keep = 0;

	if (!l->no_files)
		keep = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER |
		       1ull << CAP_FSETID | 1ull << CAP_SETFCAP | (l->devices ? 1ull << CAP_MKNOD : 0);
	for (int c = 0; c <= CAP_LAST_CAP; c++)
		if (prctl(PR_CAPBSET_READ, c, 0, 0, 0) > 0 && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return err_sys(e, errno, "drop capability %d from the bounding set", c);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_sys(e, errno, "clear the ambient capabilities");
	if (syscall(SYS_capget, &head, now) < 0)
		return err_sys(e, errno, "read the capabilities");
	data[0].effective = data[0].permitted = (uint32_t)keep & now[0].permitted;
	if (syscall(SYS_capset, &head, data) < 0)
		return err_sys(e, errno, "drop capabilities");
	return 0;
}

/* On a mount that maps the ids of a user namespace, root of the host cannot make a file: it has no id there. The capabilities that this takes
 * away from the effective ones are put back by drop_capabilities(). */
static int become(uint32_t uid, uint32_t gid, Err *e)
{
	(void)setfsgid(gid);
	(void)setfsuid(uid);
	/* They do not say whether they have; an invalid id changes nothing and gives the present one. */
	if ((uint32_t)setfsgid((gid_t)-1) != gid || (uint32_t)setfsuid((uid_t)-1) != uid)
		return err_new(e, ERR_INTERNAL, "ireko-unpack cannot make files of %u:%u", uid, gid);
	return 0;
}

int sandbox_enter(int dir_fd, const SandboxLimits *l, Err *e)
{
	int r;

	umask(0);
	if (unshare(CLONE_NEWNET | CLONE_FS) < 0)
		return err_sys(e, errno, "make an empty network namespace for ireko-unpack");
	if (fchdir(dir_fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return err_sys(e, errno, "make the target directory the root of ireko-unpack");
	r = set_limits(l, e);
	if (r >= 0 && (l->uid || l->gid))
		r = become(l->uid, l->gid, e);
	if (r >= 0)
		r = drop_capabilities(l, e);
	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, errno, "set no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, errno, "become undumpable");
	return 0;
}

static int allow(scmp_filter_ctx ctx, const int *calls, size_t n, Err *e)
{
	for (size_t i = 0; i < n; i++) {
		int r;

		if (calls[i] < 0)
			continue; /* this architecture does not have it */
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
		if (r < 0)
			return err_sys(e, r, "allow system call %d", calls[i]);
	}
	return 0;
}

int sandbox_seal(const SandboxLimits *l, Err *e)
{
	/* The streams, memory, the threads that already run, and the end. */
	static const int common[] = {
	    SCMP_SYS(read),          SCMP_SYS(write),
	    SCMP_SYS(close),         SCMP_SYS(futex),
	    SCMP_SYS(mmap),          SCMP_SYS(munmap),
	    SCMP_SYS(mremap),        SCMP_SYS(mprotect),
	    SCMP_SYS(madvise),       SCMP_SYS(brk),
	    SCMP_SYS(exit),          SCMP_SYS(exit_group),
	    SCMP_SYS(getpid),        SCMP_SYS(gettid),
	    SCMP_SYS(tgkill),        SCMP_SYS(rt_sigprocmask),
	    SCMP_SYS(rt_sigreturn),  SCMP_SYS(restart_syscall),
	    SCMP_SYS(clock_gettime), SCMP_SYS(sched_yield),
	};
	/* No name is ever opened but below the root, and nothing is executed, mounted, traced or connected. */
	static const int files[] = {
	    SCMP_SYS(openat),    SCMP_SYS(openat2),    SCMP_SYS(mkdirat),   SCMP_SYS(mknodat),
	    SCMP_SYS(symlinkat), SCMP_SYS(linkat),     SCMP_SYS(unlinkat),  SCMP_SYS(newfstatat),
	    SCMP_SYS(fstat),     SCMP_SYS(fstatat64),  SCMP_SYS(fstat64),   SCMP_SYS(fchown),
	    SCMP_SYS(fchownat),  SCMP_SYS(fchmod),     SCMP_SYS(fchmodat),  SCMP_SYS(utimensat),
	    SCMP_SYS(fsetxattr), SCMP_SYS(lsetxattr),  SCMP_SYS(fchdir),    SCMP_SYS(pwrite64),
	    SCMP_SYS(ftruncate), SCMP_SYS(getdents64), SCMP_SYS(lseek),     SCMP_SYS(fcntl),
	    SCMP_SYS(statx),     SCMP_SYS(renameat),   SCMP_SYS(renameat2), SCMP_SYS(getrandom),
	};
	static const int image[] = {SCMP_SYS(pread64), SCMP_SYS(pwrite64)};
	scmp_filter_ctx ctx = seccomp_init(SANITIZED ? SCMP_ACT_ALLOW : SCMP_ACT_KILL_PROCESS);
	int r;

	if (!ctx)
		return err_oom(e);
	if (SANITIZED) {
		seccomp_release(ctx);
		return 0;
	}
	r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r < 0)
		r = err_sys(e, r, "prepare the seccomp filter");
	if (r >= 0)
		r = allow(ctx, common, ELEMENTSOF(common), e);
	if (r >= 0 && !l->no_files)
		r = allow(ctx, files, ELEMENTSOF(files), e);
	if (r >= 0 && l->image)
		r = allow(ctx, image, ELEMENTSOF(image), e);
	if (r >= 0) {
		r = seccomp_load(ctx);
		if (r < 0)
			r = err_sys(e, r, "load the seccomp filter");
	}
	seccomp_release(ctx);
	return r;
}
