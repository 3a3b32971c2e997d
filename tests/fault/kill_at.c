/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill_at CONTROL PROGRAM [ARG...]: runs irekod, and kills it, or an ireko-unpack of it, right before its nth step.
 *
 * A step is a system call that changes files, starts a process or writes to somebody. They are stopped at by a seccomp filter
 * (SECCOMP_RET_TRACE), so everything between them runs at full speed, and counted over all threads. CONTROL is a file of
 * struct control, shared with the test: it arms the counting, says where to kill, and reads how far things went. Ends as PROGRAM does;
 * whatever of it is left then is killed (PTRACE_O_EXITKILL).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ENGINE, UNPACK, OTHER, UNKNOWN };

struct control {
	uint64_t armed;
	uint64_t count[2];   /* steps of ENGINE and of UNPACK since it was armed */
	uint64_t kill_at[2]; /* 0: never */
	uint64_t killed;
};

#define PIDS 65536
static unsigned char kind_of[PIDS * 64]; /* by thread id, UNKNOWN until looked at; pid_max is at most 4194304 */
static int tgid_of[PIDS * 64];

static pid_t main_pid_of_handler;

static void pass_on(int sig)
{
	kill(main_pid_of_handler, sig);
}

static void die(const char *what)
{
	fprintf(stderr, "kill_at: %s: %s\n", what, strerror(errno));
	exit(125);
}

static void install_filter(void)
{
	static const char *const steps[] = {
	    "write",     "pwrite64", "writev",   "pwritev",  "ftruncate",       "fallocate", "rename",   "renameat",
	    "renameat2", "link",     "linkat",   "unlink",   "unlinkat",        "mkdir",     "mkdirat",  "mknod",
	    "mknodat",   "symlink",  "symlinkat", "setxattr", "lsetxattr",      "fsetxattr", "chmod",    "fchmod",
	    "fchmodat",  "chown",    "fchown",   "fchownat", "lchown",          "utimensat", "fsync",    "fdatasync",
	    "syncfs",    "rmdir",    "clone",    "clone3",   "vfork",           "execve",    "sendfile", "copy_file_range",
	    "splice",
	};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

	if (!ctx || seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0) < 0)
		die("seccomp");
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (seccomp_rule_add(ctx, SCMP_ACT_TRACE(0), seccomp_syscall_resolve_name(steps[i]), 0) < 0)
			die(steps[i]);
	if (seccomp_rule_add(ctx, SCMP_ACT_TRACE(0), SCMP_SYS(openat), 1,
			     SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT)) < 0 ||
	    seccomp_rule_add(ctx, SCMP_ACT_TRACE(0), SCMP_SYS(openat), 1,
			     SCMP_A2(SCMP_CMP_MASKED_EQ, O_TMPFILE & ~O_DIRECTORY, O_TMPFILE & ~O_DIRECTORY)) < 0)
		die("openat");
	errno = -seccomp_load(ctx);
	if (errno)
		die("load the filter");
}

static int look(pid_t tid, pid_t main_pid)
{
	char path[64], line[256], name[64] = "";
	int tgid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "Name:\t%63s", name);
		if (sscanf(line, "Tgid:\t%d", &tgid) == 1)
			break;
	}
	if (f)
		fclose(f);
	tgid_of[tid] = tgid;
	return tgid == main_pid ? ENGINE : strcmp(name, "ireko-unpack") == 0 ? UNPACK : OTHER;
}

static void step(struct control *c, pid_t tid, pid_t main_pid)
{
	if (kind_of[tid] == UNKNOWN)
		kind_of[tid] = (unsigned char)look(tid, main_pid);
	int kind = kind_of[tid];

	if (!c->armed || kind == OTHER)
		return;
	if (++c->count[kind] == c->kill_at[kind]) {
		c->killed = 1;
		kill(kind == ENGINE ? main_pid : tgid_of[tid], SIGKILL);
	}
}

static int follow(struct control *c, pid_t main_pid)
{
	for (;;) {
		int status, event, sig = 0;
		pid_t tid = waitpid(-1, &status, __WALL);

		if (tid < 0 && errno == EINTR)
			continue;
		if (tid < 0)
			die("waitpid");
		if (tid == main_pid && (WIFEXITED(status) || WIFSIGNALED(status)))
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (!WIFSTOPPED(status)) {
			kind_of[tid] = UNKNOWN;
			continue;
		}
		event = status >> 16;
		if (event == PTRACE_EVENT_SECCOMP)
			step(c, tid, main_pid);
		else if (event == PTRACE_EVENT_EXEC || event == PTRACE_EVENT_STOP)
			kind_of[tid] = UNKNOWN;
		else if (event == 0)
			sig = WSTOPSIG(status);
		(void)ptrace(PTRACE_CONT, tid, NULL, (void *)(intptr_t)sig);
	}
}

int main(int argc, char **argv)
{
	int fd = argc > 2 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1, go[2];
	struct control *c = fd < 0 ? MAP_FAILED
				   : mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char byte = 0;
	pid_t pid;

	if (c == MAP_FAILED || pipe2(go, O_CLOEXEC) < 0)
		die("start");
	memset(kind_of, UNKNOWN, sizeof(kind_of));
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		if (read(go[0], &byte, 1) != 1)
			_exit(125);
		install_filter();
		execv(argv[2], argv + 2);
		die(argv[2]);
	}
	if (ptrace(PTRACE_SEIZE, pid, NULL,
		   (void *)(intptr_t)(PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
				      PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)) < 0)
		die("ptrace");
	if (write(go[1], &byte, 1) != 1)
		die("start");
	/* The test ends us as it would end irekod. */
	main_pid_of_handler = pid;
	signal(SIGTERM, pass_on);
	signal(SIGINT, pass_on);
	return follow(c, pid);
}
