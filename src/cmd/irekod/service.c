/* SPDX-License-Identifier: Apache-2.0 */
/* What a service manager wants to know: readiness, life signs, and the file that says who runs. And what it is asked. */
#include "daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/un.h>
#include <sys/wait.h>

#define ANSWER_MS 3000

/* sd_notify(3) is one datagram; linking libsystemd for it would cost more memory than the rest of this program. */
void service_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	_cleanup_close_ int fd = -1;

	if (n < 2 || n >= sizeof(a.sun_path))
		return;
	memcpy(a.sun_path, path, n);
	if (*path == '@')
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		log_warn("tell the service manager: %s", strerror(errno));
}

int64_t service_watchdog_ns(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	int64_t n;

	if (!us || !getenv("NOTIFY_SOCKET") || (pid && atoi(pid) != (int)getpid()) ||
	    str_to_i64(us, &n) < 0 || n <= 0 || n > INT64_MAX / 1000)
		return 0;
	return n * 1000;
}

/* Its words go to `out`. */
static int ask_manager(int out, pid_t *ret)
{
	char *const argv[] = {(char *)"systemctl", (char *)"is-system-running", NULL};
	posix_spawn_file_actions_t fa;
	int r;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&fa, out, 1);
	posix_spawn_file_actions_adddup2(&fa, 0, 2);
	r = posix_spawnp(ret, argv[0], &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	return r;
}

bool service_machine_ends(void)
{
	_cleanup_close_ int answer = -1, out = -1;
	char said[32] = "";
	int p[2], r;
	pid_t pid;

	if (!getenv("NOTIFY_SOCKET"))
		return false;
	r = pipe2(p, O_CLOEXEC) < 0 ? errno : 0;
	if (r == 0) {
		answer = p[0];
		out = p[1];
		r = ask_manager(out, &pid);
		close_fd(&out);
	}
	if (r != 0) {
		log_warn("ask systemctl whether the machine goes down: %s", strerror(r));
		return false;
	}
	if (poll(&(struct pollfd){.fd = answer, .events = POLLIN}, 1, ANSWER_MS) <= 0 ||
	    read(answer, said, sizeof(said) - 1) <= 0)
		log_warn("systemctl does not say whether the machine goes down");
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return streq(said, "stopping\n");
}

/* The number may have become another program's since: the name is looked at too. 0: none. */
static int running_irekod(const char *pidfile)
{
	_cleanup_free_ char *text = NULL, *proc = NULL, *name = NULL;
	int pid;

	if (file_read_at(AT_FDCWD, pidfile, 32, &text, NULL) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	if (str_to_int(text, 1, INT32_MAX, &pid) < 0 || pid == (int)getpid())
		return 0;
	proc = strf("/proc/%d/comm", pid);
	if (!proc || file_read_at(AT_FDCWD, proc, 64, &name, NULL) < 0)
		return 0;
	return streq(name, "irekod\n") ? pid : 0;
}

int pidfile_write(Daemon *d, Err *e)
{
	const char *path = config_text(&d->config, "pidfile");
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid()), other, r;

	if (!path)
		return 0;
	other = running_irekod(path);
	if (other > 0)
		return err_new(
		    e, ERR_CONFLICT,
		    "%s: process with PID %d is still running: stop it, or choose another --pidfile", path,
		    other);
	r = file_replace_at(AT_FDCWD, path, text, (size_t)n, 0644, false);
	if (r < 0)
		return err_sys(e, r, "write %s", path);
	d->wrote_pidfile = true;
	return 0;
}
