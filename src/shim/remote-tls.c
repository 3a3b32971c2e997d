/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child is known by its pidfd: by the number alone, somebody who reaps whatever has ended (server.c, with a runtime that is a program) might
 * have made room for a stranger.
 */
#include "shim/remote-tls.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define CLOSE_MS  2000
#define REPORT_FD 3 /* of ireko-dial-tls */

struct RemoteTls {
	char **argv;
	int child; /* a pidfd, -1 */
};

static int add_option(char ***argv, const json_t *doc, const char *member, const char *option)
{
	const char *value = json_get_str(doc, member);

	return str_empty(value) ? 0 : strv_take(argv, strf("--%s=%s", option, value));
}

static int make_argv(const json_t *doc, char ***argv)
{
	int r = strv_add(argv, json_get_str(doc, "dialer"));

	if (r >= 0)
		r = add_option(argv, doc, "ca", "ca");
	if (r >= 0)
		r = add_option(argv, doc, "cert", "cert");
	if (r >= 0)
		r = add_option(argv, doc, "key", "key");
	if (r >= 0 && json_get_bool(doc, "skip_verify", false))
		r = strv_add(argv, "--skip-verify");
	if (r >= 0)
		r = strv_add(argv, json_get_str(doc, "host"));
	return r >= 0 ? strv_take(argv, strf("%lld", (long long)json_get_int(doc, "port", 0))) : r;
}

int remote_tls_new(const json_t *doc, RemoteTls **ret, Err *e)
{
	_cleanup_(remote_tls_freep) RemoteTls *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_oom(e);
	t->child = -1;
	if (str_empty(json_get_str(doc, "host")) || str_empty(json_get_str(doc, "dialer")))
		return err_new(e, ERR_INVALID, "log server: expected a host, a port and a dialer");
	r = make_argv(doc, &t->argv);
	if (r < 0)
		return err_sys(e, r, "log server: prepare ireko-dial-tls");
	*ret = take_ptr(t);
	return 0;
}

static void reap(RemoteTls *t)
{
	siginfo_t si;

	(void)pidfd_send_signal(t->child, SIGKILL, NULL, 0);
	while (waitid(P_PIDFD, (id_t)t->child, &si, WEXITED) < 0 && errno == EINTR)
		;
	close_fd(&t->child);
}

void remote_tls_hang_up(RemoteTls *t)
{
	if (t->child >= 0)
		reap(t);
}

void remote_tls_free(RemoteTls *t)
{
	if (!t)
		return;
	if (t->child >= 0) {
		struct pollfd p = {.fd = t->child, .events = POLLIN};

		(void)poll(&p, 1, CLOSE_MS);
		reap(t);
	}
	strv_free(t->argv);
	free(t);
}

/* The child as a pidfd, or -errno. */
static int spawn(char **argv, int sock, int report)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int r = posix_spawn_file_actions_init(&actions), fd;

	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, sock, STDIN_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, sock, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, report, REPORT_FD);
	if (r == 0)
		r = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		return -r;
	fd = pidfd_open(pid, 0);
	if (fd < 0) {
		fd = -errno;
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
	return fd;
}

int remote_tls_dial(RemoteTls *t, int *ret_sock, int *ret_report)
{
	_cleanup_close_ int ours = -1, theirs = -1, report = -1, told = -1;
	int pair[2];

	remote_tls_hang_up(t);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	told = pair[0];
	report = pair[1];
	/* Ours alone: what the child has is another open file. */
	(void)fd_set_nonblock(ours, true);
	t->child = spawn(t->argv, theirs, report);
	if (t->child < 0)
		return t->child;
	*ret_sock = take_fd(&ours);
	*ret_report = take_fd(&told);
	return 0;
}
