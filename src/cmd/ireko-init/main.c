/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ireko-init: the first process of a container that was asked for with --init, seen there as /sbin/docker-init.
 *
 *     docker-init -- COMMAND [ARGUMENT...]
 *
 * It starts the command in a process group of its own, in the foreground of the terminal if there is one, hands every signal on
 * to it, reaps what the container orphans, and exits as the command does: with its status, or with 128 and the number of the
 * signal that ended it. What is left in the pid namespace then ends with it.
 *
 * All signals are blocked and taken one by one, so there are no handlers. The command gets the mask and the dispositions that we
 * were given.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_NOT_RUNNABLE 126
#define EXIT_NO_COMMAND   127

/* Those that tell of a fault of our own are not to be waited for, and those of job control are not for us. */
static void signals_taken(sigset_t *ret)
{
	static const int others[] = {SIGFPE,  SIGILL, SIGSEGV, SIGBUS, SIGABRT,
				     SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU};

	sigfillset(ret);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		sigdelset(ret, others[i]);
}

static void run_command(char **argv, const sigset_t *mask)
{
	(void)setpgid(0, 0);
	/* Without a terminal there is no foreground to be in. */
	(void)tcsetpgrp(STDIN_FILENO, getpgrp());
	(void)signal(SIGTTIN, SIG_DFL);
	(void)signal(SIGTTOU, SIG_DFL);
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	(void)execvp(argv[0], argv);
	(void)fprintf(stderr, "docker-init: exec %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? EXIT_NO_COMMAND : EXIT_NOT_RUNNABLE);
}

/* Takes in everybody who has ended; true if the command was among them. */
static int reap(pid_t command, int *ret_status)
{
	int status, found = 0;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == command) {
			*ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
			found = 1;
		}
	return found;
}

int main(int argc, char **argv)
{
	sigset_t taken, mask;
	int status = 0, sig;
	pid_t command;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		(void)puts("ireko-init version " IREKO_VERSION);
		return EXIT_SUCCESS;
	}
	if (argc < 3 || strcmp(argv[1], "--") != 0) {
		(void)fputs("usage: docker-init -- COMMAND [ARGUMENT...]\n", stderr);
		return EXIT_FAILURE;
	}
	signals_taken(&taken);
	(void)sigprocmask(SIG_SETMASK, &taken, &mask);
	/* To put the command into the foreground is to write to the terminal from the background. */
	(void)signal(SIGTTIN, SIG_IGN);
	(void)signal(SIGTTOU, SIG_IGN);
	command = fork();
	if (command < 0) {
		(void)fprintf(stderr, "docker-init: fork: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	if (command == 0)
		run_command(argv + 2, &mask);
	for (;;) {
		sig = sigwaitinfo(&taken, NULL);
		if (sig == SIGCHLD && reap(command, &status))
			return status;
		/* It may have just ended: its SIGCHLD is the next. */
		if (sig > 0 && sig != SIGCHLD)
			(void)kill(command, sig);
	}
}
