/* SPDX-License-Identifier: Apache-2.0 */
/* The child does nothing between fork and exec that a process with threads may not do: see invoke.h for the rest. */
#include "shim/invoke.h"

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "kernel/mount.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define INVOKE_MS 100000 /* hooks may take their time; the engine waits 120 s for the shim */
#define LOG_MAX   (1u << 20)

/* ---- what it says ---- */

/* The message of a line of the log that tells an error; NULL if it tells none. The caller frees it. */
static char *error_of_line(const char *line)
{
	_cleanup_json_ json_t *j = NULL;
	const char *level;

	if (*line != '{')
		return *line ? strdup(line) : NULL; /* on its standard error: a panic, or a wrong option */
	if (json_parse(line, strlen(line), "log", &j, NULL) < 0)
		return NULL;
	level = json_get_str(j, "level");
	if (!level || (!streq(level, "error") && !streq(level, "fatal")) || !json_get_str(j, "msg"))
		return NULL;
	return strdup(json_get_str(j, "msg"));
}

static char *last_error(const char *log)
{
	_cleanup_strv_ char **lines = strv_split(log, '\n');
	char *said = NULL;

	for (size_t i = 0; lines && lines[i]; i++) {
		char *one = error_of_line(lines[i]);

		if (one) {
			free(said);
			said = one;
		}
	}
	return said;
}

static bool has(const char *text, const char *word)
{
	return strcasestr(text, word) != NULL;
}

/* Runtimes have no codes for these, so engines look at the words; runc's and crun's are known. */
static ErrKind kind_of(const char *said, int *ret_no)
{
	bool exec = has(said, "exec");

	*ret_no = 0;
	if (exec && (has(said, "not found") || has(said, "no such file or directory")))
		return ERR_NO_COMMAND;
	if (exec && (has(said, "permission denied") || has(said, "is a directory") ||
		     has(said, "exec format error") || has(said, "not a regular file")))
		return ERR_NOT_RUNNABLE;
	if (has(said, "does not exist"))
		return ERR_NOT_FOUND;
	if (has(said, "not running") || has(said, "no such process") || has(said, "already finished")) {
		*ret_no = ESRCH;
		return ERR_CONFLICT;
	}
	return ERR_INTERNAL;
}

int invoke_error(const char *log, const char *program, const char *command, int status, Err *e)
{
	_cleanup_free_ char *said = last_error(log);
	ErrKind kind;
	int no;

	if (!said && WIFSIGNALED(status))
		return err_new(e, ERR_INTERNAL, "%s %s was killed by signal %d", program, command,
			       WTERMSIG(status));
	if (!said)
		return err_new(e, ERR_INTERNAL, "%s %s: exit status %d, and no error in its log", program,
			       command, WEXITSTATUS(status));
	kind = kind_of(said, &no);
	return err_new_no(e, kind, no, "%s", said);
}

/* ---- the child ---- */

static int attach_mounts(const Invocation *v, Err *e)
{
	int r;

	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, errno, "make a mount namespace");
	/* What the host unmounts goes away here too; what is mounted here is not seen there. */
	r = mount_change(AT_FDCWD, "/", &(MountChange){.propagation = MS_SLAVE, .recursive = true});
	if (r < 0)
		return err_sys(e, r, "make the mounts slaves of the host's");
	for (size_t i = 0; r >= 0 && i < v->n_mounts; i++) {
		r = mount_attach_path(v->mounts[i].fd, v->mounts[i].path);
		if (r < 0)
			r = err_sys(e, r, "attach the mount for %s", v->mounts[i].path);
	}
	return r;
}

static int take_stdio(const RuntimeStdio *io, int null, Err *e)
{
	const int from[3] = {io->in, io->out, io->err};

	for (int i = 0; i < 3; i++)
		if (dup2(from[i] >= 0 ? from[i] : null, i) < 0)
			return err_sys(e, errno, "set descriptor %d", i);
	return 0;
}

static int be_program(const Invocation *v, const RuntimeStdio *io, int null, char *const *argv, Err *e)
{
	char *const env[] = {(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			     NULL};
	sigset_t none;
	int r;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	/* Nobody would wait for it, nor undo what it does. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	r = v->n_mounts > 0 ? attach_mounts(v, e) : 0;
	if (r == 0)
		r = take_stdio(io, null, e);
	if (r < 0)
		return r;
	execve(v->program, argv, env);
	return err_sys(e, errno, "execute %s", v->program);
}

static pid_t start(const Invocation *v, const RuntimeStdio *io, char *const *argv, Err *e)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC), told = -1, tell = -1;
	Err theirs = {0};
	int p[2];
	pid_t pid;

	if (null < 0)
		return err_sys(e, errno, "open /dev/null");
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	told = p[0];
	tell = p[1];
	pid = fork();
	if (pid < 0)
		return err_sys(e, errno, "fork");
	if (pid == 0) {
		(void)be_program(v, io, null, argv, &theirs);
		err_send(tell, &theirs);
		_exit(127);
	}
	close_fd(&tell);
	if (err_recv(told, &theirs) != 1)
		return pid;
	(void)process_reap(pid);
	if (e)
		*e = theirs;
	return -MAX2(theirs.no, 1);
}

/* ---- the call ---- */

/* Its wait status, or -ETIMEDOUT after having killed it. */
static int wait_for(pid_t pid, const Invocation *v, Err *e)
{
	_cleanup_close_ int pidfd = process_pidfd(pid); /* our child, so the number is its own */
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int n;

	if (pidfd < 0) {
		process_kill_child(pid);
		return err_sys(e, pidfd, "open process %d", (int)pid);
	}
	do
		n = poll(&p, 1, INVOKE_MS);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return process_reap(pid);
	process_kill_child(pid);
	return err_new_no(e, ERR_UNAVAILABLE, ETIMEDOUT, "%s %s did not end within %d s", v->program,
			  v->words[0], INVOKE_MS / 1000);
}

static int fail(const Invocation *v, int log, int status, Err *e)
{
	_cleanup_free_ char *text = NULL;
	int r;

	if (lseek(log, 0, SEEK_SET) < 0)
		return err_sys(e, errno, "read the log of %s", v->program);
	r = fd_read_all(log, LOG_MAX, &text, NULL);
	return invoke_error(r < 0 ? "" : text, v->program, v->words[0], status, e);
}

int invoke(const Invocation *v, Err *e)
{
	_cleanup_close_ int log = memfd_create("runtime-log", MFD_CLOEXEC), append = -1;
	_cleanup_free_ char *path = strf("/proc/%d/fd/%d", (int)getpid(), log);
	char *const global[] = {(char *)v->program,
				(char *)"--root",
				(char *)v->root,
				(char *)"--log",
				path,
				(char *)"--log-format",
				(char *)"json",
				NULL};
	_cleanup_strv_ char **argv = path ? strv_dup(global) : NULL;
	RuntimeStdio quiet = {-1, -1, -1};
	int r;

	if (log < 0)
		return err_sys(e, errno, "make a log");
	if (argv && v->systemd_cgroup && strv_add(&argv, "--systemd-cgroup") < 0)
		return err_oom(e);
	for (size_t i = 0; argv && v->words[i]; i++)
		if (strv_add(&argv, v->words[i]) < 0)
			return err_oom(e);
	if (!argv)
		return err_oom(e);
	/* As the program does with the log: neither may write over the other. */
	append = open(path_of_fd(log).s, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (append < 0)
		return err_sys(e, errno, "open the log");
	quiet.err = append;
	r = start(v, v->io ? v->io : &quiet, argv, e);
	if (r > 0)
		r = wait_for(r, v, e);
	return r > 0 ? fail(v, log, r, e) : r;
}
