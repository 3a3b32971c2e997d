/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system dial-stdio: standard input and output are the engine's socket. The far end of ssh:// addresses, ours and docker's.
 *
 * A process for each direction, because either may have to wait for its reader while the other goes on. The end of input is
 * passed on; the engine's hanging up ends it all.
 */
#include "base/fd.h"
#include "client.h"
#include "verbs.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int pass_all(int from, int to, const char *what, Err *e)
{
	static char buf[65536];

	for (;;) {
		ssize_t n = read(from, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ECONNRESET)
			return err_sys(e, errno, "read %s", what);
		if (n <= 0)
			return 0;
		int r = fd_write_all(to, buf, (size_t)n);
		if (r < 0)
			return r == -EPIPE ? 0 : err_sys(e, r, "pass on %s", what);
	}
}

static void send_input(int sock, pid_t parent)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		(void)pass_all(STDIN_FILENO, sock, "standard input", NULL);
	(void)shutdown(sock, SHUT_WR);
	_exit(0);
}

static int run_dial_stdio(Call *call, Err *e)
{
	_cleanup_httpc_ Httpc *c = NULL;
	const char *ahead;
	size_t n;
	int r = api_connect(call->cli, &c, e);

	if (r < 0)
		return r;
	_cleanup_close_ int sock = httpc_hijack(c, &ahead, &n);
	pid_t parent = getpid(), child;
	(void)signal(SIGPIPE, SIG_IGN);
	child = fork();
	if (child < 0)
		return err_sys(e, errno, "fork");
	if (child == 0)
		send_input(sock, parent);
	r = pass_all(sock, STDOUT_FILENO, "the engine's answer", e);
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	return r;
}

const Command cmd_dial_stdio = {.usage = "",
				.summary = "Pass standard input and output on to the engine's socket",
				.run = run_dial_stdio};
