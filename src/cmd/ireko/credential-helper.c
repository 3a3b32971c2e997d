/* SPDX-License-Identifier: Apache-2.0 */
/* See credential-helper.h. */
#include "credential-helper.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/secret.h"
#include "base/str.h"
#include "oci/credentials.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

extern char **environ;

/* One run of a helper. */
typedef struct Talk {
	char *program; /* docker-credential-... */
	pid_t pid;     /* 0: not running */
	int pidfd, in, out;
	const char *input;
	size_t left; /* of the input */
	char *reply; /* HELPER_REPLY_MAX + 1 bytes */
	size_t len;
	int64_t deadline_ns;
	int timeout_s;
} Talk;

static void talk_done(Talk *t)
{
	close_fd(&t->in);
	close_fd(&t->out);
	if (t->pid > 0) {
		(void)kill(t->pid, SIGKILL);
		(void)waitpid(t->pid, NULL, 0);
	}
	close_fd(&t->pidfd);
	free(t->program);
	secret_free(t->reply);
}

/* Our own helper lies beside us, whatever PATH says; without one there, it is looked for as the others are. */
static char *program_path(const char *name, const char *program)
{
	_cleanup_free_ char *dir = NULL;
	_cleanup_free_ char *path = NULL;

	if (streq(name, HELPER_OWN) && path_of_own_dir(&dir) == 0) {
		path = strf("%s/%s", dir, program);
		if (path && access(path, X_OK) == 0)
			return take_ptr(path);
	}
	return strdup(program);
}

static int spawn(Talk *t, const char *path, char *const *argv, int in, int out)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t defaults;

	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	int r = posix_spawn_file_actions_init(&actions);
	if (r != 0)
		return -r;
	r = posix_spawnattr_init(&attributes);
	if (r == 0) {
		(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
		(void)posix_spawnattr_setsigdefault(&attributes, &defaults);
		r = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
		if (r == 0)
			r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
		if (r == 0)
			r = posix_spawnp(&t->pid, path, &actions, &attributes, argv, environ);
		(void)posix_spawnattr_destroy(&attributes);
	}
	(void)posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		t->pid = 0;
	return -r;
}

static int start(Talk *t, const char *name, const char *option, const char *action, Err *e)
{
	_cleanup_free_ char *path = program_path(name, t->program);
	int in[2] = {-1, -1}, out[2] = {-1, -1};
	char *argv[] = {t->program, (char *)(option ? option : action), (char *)(option ? action : NULL),
			NULL};

	if (!path)
		return err_oom(e);
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) {
		int no = errno;

		close_fd(&in[0]);
		close_fd(&in[1]);
		return err_sys(e, no, "make a pipe for %s", t->program);
	}
	t->in = in[1];
	t->out = out[0];
	int r = spawn(t, path, argv, in[0], out[1]);
	close_fd(&in[0]);
	close_fd(&out[1]);
	if (r == -ENOENT && streq(name, HELPER_OWN))
		return err_new(
		    e, ERR_UNAVAILABLE,
		    "%s, which keeps ireko's credentials, is neither beside ireko nor on PATH: install it",
		    t->program);
	if (r == -ENOENT)
		return err_new(
		    e, ERR_UNAVAILABLE,
		    "%s: there is no such program on PATH; install it, or take \"%s\" out of config.json",
		    t->program, name);
	if (r < 0)
		return err_new_no(e, ERR_UNAVAILABLE, -r, "run %s: %s", t->program, strerror(-r));
	t->pidfd = pidfd_open(t->pid, 0);
	if (t->pidfd < 0)
		return err_sys(e, errno, "watch %s", t->program);
	(void)fd_set_nonblock(t->in, true);
	(void)fd_set_nonblock(t->out, true);
	return 0;
}

static void feed(Talk *t)
{
	ssize_t n = write(t->in, t->input, t->left);

	if (n > 0) {
		t->input += n;
		t->left -= (size_t)n;
	}
	/* A helper that does not want to hear it all has its reasons. */
	if (t->left == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_fd(&t->in);
}

/* Takes what is there. 0 at the end of it, 1 if more may come. */
static int drink(Talk *t, Err *e)
{
	for (;;) {
		ssize_t n = read(t->out, t->reply + t->len, HELPER_REPLY_MAX + 1 - t->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 1 : err_sys(e, errno, "read from %s", t->program);
		t->len += (size_t)n;
		if (t->len > HELPER_REPLY_MAX)
			return err_new(e, ERR_INVALID, "%s: its answer is longer than %u bytes", t->program,
				       HELPER_REPLY_MAX);
		if (n == 0)
			return 0;
	}
}

/* Until the helper has ended: whoever else holds its end of the pipe by then is not waited for. */
static int converse(Talk *t, Err *e)
{
	for (;;) {
		struct pollfd fds[] = {{.fd = t->pidfd, .events = POLLIN},
				       {.fd = t->out, .events = POLLIN},
				       {.fd = t->in, .events = POLLOUT}};
		int64_t left_ms = (t->deadline_ns - clock_mono_ns()) / 1000000;

		if (left_ms <= 0)
			return err_new(e, ERR_UNAVAILABLE, "%s: no answer within %d seconds", t->program,
				       t->timeout_s);
		if (poll(fds, ELEMENTSOF(fds), (int)MIN2(left_ms, (int64_t)60000)) < 0 && errno != EINTR)
			return err_sys(e, errno, "wait for %s", t->program);
		if (fds[2].revents)
			feed(t);
		if (fds[1].revents || fds[0].revents) {
			int r = t->out >= 0 ? drink(t, e) : 0;

			if (r < 0)
				return r;
			if (r == 0)
				close_fd(&t->out);
		}
		if (fds[0].revents)
			return 0;
	}
}

static int verdict(Talk *t, const char *action, Err *e)
{
	int status = 0;

	if (waitpid(t->pid, &status, 0) < 0)
		return err_sys(e, errno, "wait for %s", t->program);
	t->pid = 0;
	t->reply[t->len] = '\0';
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	_cleanup_secret_ char *said = str_trim_dup(t->reply);
	if (!said)
		return err_oom(e);
	if (streq(said, CREDENTIALS_NOT_FOUND))
		return err_new(e, ERR_NOT_FOUND, "%s", CREDENTIALS_NOT_FOUND);
	if (WIFSIGNALED(status))
		return err_new(e, ERR_UNAVAILABLE, "%s %s: killed by signal %d", t->program, action,
			       WTERMSIG(status));
	return err_new(e, ERR_UNAVAILABLE, "%s %s: %.400s", t->program, action,
		       *said ? said : "it failed without a word");
}

static int timeout_s(void)
{
	const char *text = getenv("IREKO_CREDENTIAL_TIMEOUT");
	int s = HELPER_TIMEOUT_S;

	return text && str_to_int(text, 1, 3600, &s) < 0 ? HELPER_TIMEOUT_S : s;
}

int helper_run(const char *name, const char *option, const char *action, const char *input, char **ret,
	       size_t *ret_len, Err *e)
{
	_cleanup_(talk_done)
	    Talk t = {.pidfd = -1, .in = -1, .out = -1, .input = input, .left = strlen(input)};
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

	t.program = strf("docker-credential-%s", name);
	t.reply = malloc(HELPER_REPLY_MAX + 1);
	if (!t.program || !t.reply)
		return err_oom(e);
	t.timeout_s = timeout_s();
	t.deadline_ns = clock_mono_ns() + t.timeout_s * 1000000000LL;
	(void)sigaction(SIGPIPE, &ignore, &before);
	int r = start(&t, name, option, action, e);
	if (r == 0)
		r = converse(&t, e);
	if (r == 0)
		r = verdict(&t, action, e);
	(void)sigaction(SIGPIPE, &before, NULL);
	if (r == 0 && ret) {
		*ret = take_ptr(t.reply);
		*ret_len = t.len;
	}
	return r;
}
