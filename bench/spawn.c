/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn JOBS TOTAL LOG COMMAND...: runs a command TOTAL times, JOBS at a time, and prints what it took:
 *
 *     <wall time, ns> <CPU time with waited-for children, us> <peak resident set, KiB> <failures> <last wait status>
 *
 * A small program does this for bench/runtime because the peak resident set of a process starts with that of whoever it
 * was forked by, and Python's is larger than what is measured. "@" in an argument becomes the number of the run.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGS_MAX 64

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static char *numbered(const char *arg, int number)
{
	const char *at = strchr(arg, '@');
	char *s = NULL;

	if (!at)
		return strdup(arg);
	return asprintf(&s, "%.*s%d%s", (int)(at - arg), arg, number, at + 1) < 0 ? NULL : s;
}

static int start(char **command, int number, const posix_spawn_file_actions_t *io)
{
	char *argv[ARGS_MAX + 1] = {NULL};
	pid_t pid;
	int r;

	for (int i = 0; command[i] && i < ARGS_MAX; i++)
		argv[i] = numbered(command[i], number);
	r = posix_spawnp(&pid, argv[0], io, NULL, argv, environ);
	if (r != 0) {
		fprintf(stderr, "spawn: %s: %s\n", argv[0], strerror(r));
		exit(1);
	}
	for (int i = 0; argv[i]; i++)
		free(argv[i]);
	return pid;
}

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t io;
	long long cpu = 0, rss = 0, begin;
	int jobs, total, started = 0, running = 0, failures = 0, status = 0;

	if (argc < 5 || (jobs = atoi(argv[1])) < 1 || (total = atoi(argv[2])) < 1) {
		fprintf(stderr, "usage: spawn JOBS TOTAL LOG COMMAND...\n");
		return 2;
	}
	posix_spawn_file_actions_init(&io);
	posix_spawn_file_actions_addopen(&io, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&io, 1, argv[3], O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&io, 1, 2);
	begin = now_ns();
	while (started < total || running > 0) {
		struct rusage u;
		int one;

		for (; running < jobs && started < total; running++)
			start(argv + 4, started++, &io);
		if (wait4(-1, &one, 0, &u) < 0)
			return 1;
		running--;
		cpu += (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000LL + u.ru_utime.tv_usec +
		       u.ru_stime.tv_usec;
		rss = u.ru_maxrss > rss ? u.ru_maxrss : rss;
		failures += one != 0;
		status = one ? one : status;
	}
	printf("%lld %lld %lld %d %d\n", now_ns() - begin, cpu, rss, failures, status);
	return 0;
}
