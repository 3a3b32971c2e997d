/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox.h"

#include "kernel/capability.h"
#include "kernel/process.h"
#include "kernel/seccomp.h"
#include "proxy/protocol.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* The sanitizers make calls of their own: builds with them, which are for tests, have no filter. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Whoever started us keeps the others. */
static int close_descriptors(Err *e)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int r;

	if (null < 0)
		return err_sys(e, errno, "open /dev/null");
	for (int i = 0; i < 3; i++)
		if (dup2(null, i) < 0)
			return err_sys(e, errno, "replace descriptor %d", i);
	close_fd(&null);
	r = process_close_from(PROXY_REPORT_FD + 1, false);
	return r < 0 ? err_sys(e, r, "close descriptors") : 0;
}

static int set_limits(Err *e)
{
	const struct rlimit no_core = {0, 0};
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return err_sys(e, errno, "read the limit of open files");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
		return err_sys(e, errno, "set limits");
	return 0;
}

/* Root has no right left but those to its own files, which nothing can open. */
static int drop_capabilities(Err *e)
{
	const CapabilitySets none = {0};
	int r = geteuid() == 0 ? capability_bound(0, e) : 0;

	if (r >= 0)
		r = capability_apply(&none, e);
	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, errno, "set no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, errno, "become undumpable");
	return 0;
}

static int go_into_background(Err *e)
{
	pid_t pid = fork();

	if (pid < 0)
		return err_sys(e, errno, "fork");
	if (pid > 0)
		_exit(EXIT_SUCCESS);
	return setsid() < 0 ? err_sys(e, errno, "begin a session") : 0;
}

int sandbox_enter(Err *e)
{
	int r = close_descriptors(e);

	/* A peer that is gone is an error of the call. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (r >= 0 && chdir("/") < 0)
		r = err_sys(e, errno, "go to /");
	if (r >= 0)
		r = set_limits(e);
	if (r >= 0)
		r = go_into_background(e);
	return r < 0 ? r : drop_capabilities(e);
}

int sandbox_seal(Err *e)
{
	static char *const calls[] = {"accept4",    "brk",        "clock_gettime",   "close",
				      "connect",    "epoll_ctl",  "epoll_pwait",     "epoll_wait",
				      "exit",       "exit_group", "fcntl",           "getsockname",
				      "getsockopt", "listen",     "madvise",         "mmap",
				      "mprotect",   "mremap",     "munmap",          "pipe2",
				      "recvmmsg",   "recvmsg",    "restart_syscall", "rt_sigreturn",
				      "recvfrom",   "sendmsg",    "sendto",          "setsockopt",
				      "shutdown",   "splice",     "write",           NULL};
	static char *const sockets[] = {"socket", NULL};
	const SeccompArg v4 = {.index = 0, .value = AF_INET, .op = "SCMP_CMP_EQ"},
			 v6 = {.index = 0, .value = AF_INET6, .op = "SCMP_CMP_EQ"};
	const SeccompRule rules[] = {
	    {.names = calls, .action = "SCMP_ACT_ALLOW", .errno_ret = -1},
	    {.names = sockets, .action = "SCMP_ACT_ALLOW", .errno_ret = -1, .args = &v4, .n_args = 1},
	    {.names = sockets, .action = "SCMP_ACT_ALLOW", .errno_ret = -1, .args = &v6, .n_args = 1},
	};
	const SeccompPolicy policy = {.default_action = "SCMP_ACT_KILL_PROCESS",
				      .default_errno_ret = -1,
				      .rules = rules,
				      .n_rules = ELEMENTSOF(rules)};
	SeccompProgram program = {0};
	int r;

	if (SANITIZED)
		return 0;
	r = seccomp_compile(&policy, &program, e);
	if (r >= 0) {
		r = seccomp_install(&program, 0, false, NULL, e);
		seccomp_program_done(&program);
	}
	(void)malloc_trim(0);
	return r;
}
