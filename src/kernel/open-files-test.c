/* SPDX-License-Identifier: Apache-2.0 */
/* A child of the test, whose descriptors are known. */
#include "kernel/open-files.h"

#include "base/fd.h"
#include "base/test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of a process that has so many sockets and other files open, and nothing else. */
static pid_t child(int sockets, int others)
{
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int pipe_fd = ready[1], first = others > 0 ? open("/dev/null", O_RDONLY) : -1;
		struct rlimit most;

		if (getrlimit(RLIMIT_NOFILE, &most) < 0)
			_exit(1);
		most.rlim_cur = most.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &most);
		/* What the test's own process had goes. */
		for (int fd = 0; fd < 1024; fd++)
			if (fd != pipe_fd && fd != first)
				(void)close(fd);
		for (int i = 1; i < others; i++)
			if (fcntl(first, F_DUPFD_CLOEXEC, 0) < 0)
				_exit(1);
		for (int i = 0; i < sockets; i++)
			if (socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0)
				_exit(1);
		if (write(pipe_fd, "x", 1) != 1)
			_exit(1);
		(void)close(pipe_fd);
		for (;;)
			(void)pause();
	}
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	/* Until it has closed its end too. */
	assert_int_equal(read(ready[0], &byte, 1), 0);
	(void)close(ready[0]);
	return pid;
}

static void end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void they_are_counted(void **state)
{
	pid_t one = child(3, 2), two = child(0, 1), none = child(0, 0);
	OpenFiles sum = OPEN_FILES_NONE;

	open_files_add(&sum, none);
	assert_int_equal(sum.descriptors, 0);
	open_files_add(&sum, one);
	assert_int_equal(sum.descriptors, 5);
	assert_int_equal(sum.sockets, 3);
	open_files_add(&sum, two);
	assert_int_equal(sum.descriptors, 6);
	assert_int_equal(sum.sockets, 3);
	assert_int_equal(sum.looked_at, 6);
	end(one);
	end(two);
	end(none);
	open_files_add(&sum, one);
	assert_int_equal(sum.descriptors, 6);
}

/* Of too many it is known how many there are, if the kernel tells that, but not what they are. */
static void looking_is_limited(void **state)
{
	pid_t few = child(1, 1), many = child(1, OPEN_FILES_MAX - 2);
	OpenFiles sum = OPEN_FILES_NONE;

	open_files_add(&sum, few);
	open_files_add(&sum, many);
	assert_true(sum.looked_at <= OPEN_FILES_MAX);
	assert_true(sum.sockets == OPEN_FILES_UNKNOWN);
	assert_true(sum.descriptors == OPEN_FILES_UNKNOWN || sum.descriptors == OPEN_FILES_MAX + 1);
	open_files_add(&sum, few);
	assert_true(sum.sockets == OPEN_FILES_UNKNOWN);
	end(few);
	end(many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(they_are_counted),
	    cmocka_unit_test(looking_is_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
