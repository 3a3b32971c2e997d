/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks of the runtime-spec: programs that get the container's state on stdin and must exit with 0 in time.
 *
 * stdin and the output are memory files, so a hook can neither block us nor be blocked by us; of the output,
 * the end goes into the error. The environment is what the hook says and nothing else: ours is not the
 * container's business. A startContainer hook without one, which runs inside, gets the process's.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"
#include "kernel/process.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>

#define OUTPUT_SHOWN 600

const char *hooks_kind(size_t i)
{
	static const char *const kinds[] = {"prestart",       "createRuntime", "createContainer",
					    "startContainer", "poststart",     "poststop"};

	return i < ELEMENTSOF(kinds) ? kinds[i] : NULL;
}

static int state_file(const json_t *state, Err *e)
{
	_cleanup_free_ char *text = json_text(state);
	_cleanup_close_ int fd = memfd_create("state", MFD_CLOEXEC);
	int r;

	if (!text)
		return err_oom(e);
	if (fd < 0)
		return err_sys(e, errno, "memfd_create");
	r = fd_write_all(fd, text, strlen(text));
	if (r < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(e, r < 0 ? r : errno, "write the state for a hook");
	return take_fd(&fd);
}

_Noreturn static void execute(const OciHook *h, char *const *env, int in, int out)
{
	char *const just_path[] = {h->path, NULL}, *const nothing[] = {NULL};

	init_reset_signals();
	if (dup2(in, 0) >= 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0 && process_close_from(3, true) == 0)
		execve(h->path, h->args && h->args[0] ? h->args : just_path,
		       h->env ? h->env
		       : env  ? env
			      : nothing);
	dprintf(out, "execute: %s", strerror(errno));
	_exit(127);
}

/* The wait status, or -ETIMEDOUT after having killed it. */
static int wait_for(pid_t pid, int pidfd, int64_t timeout_s)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int r, ms = timeout_s > 0 && timeout_s < INT32_MAX / 1000 ? (int)timeout_s * 1000 : -1;

	do
		r = poll(&p, 1, ms);
	while (r < 0 && errno == EINTR);
	if (r == 0) {
		process_kill_child(pid);
		return -ETIMEDOUT;
	}
	return process_reap(pid);
}

typedef struct SignalText {
	char s[64];
} SignalText;

/* "bad system call", as in the middle of a sentence. */
static SignalText signal_text(int signal)
{
	const char *text = sigdescr_np(signal);
	SignalText t;

	snprintf(t.s, sizeof(t.s), "%s", text ? text : "unknown");
	if (t.s[0] >= 'A' && t.s[0] <= 'Z' && t.s[1] >= 'a')
		t.s[0] = (char)(t.s[0] + 32);
	return t;
}

static int judge(const OciHook *h, int status, int out, Err *e)
{
	_cleanup_free_ char *text = NULL;
	const char *shown = "";
	size_t n = 0;

	if (status == 0)
		return 0;
	if (status == -ETIMEDOUT)
		return err_new_no(e, ERR_INTERNAL, ETIMEDOUT,
				  "hook %s did not end within %lld seconds and was killed", h->path,
				  (long long)h->timeout);
	if (status < 0)
		return err_sys(e, status, "wait for hook %s", h->path);
	if (lseek(out, 0, SEEK_SET) == 0 && fd_read_all(out, 1u << 20, &text, &n) == 0)
		shown = n > OUTPUT_SHOWN ? text + n - OUTPUT_SHOWN : text;
	if (WIFSIGNALED(status))
		return err_new(e, ERR_INTERNAL, "hook %s was killed by signal %d (%s): %s", h->path,
			       WTERMSIG(status), signal_text(WTERMSIG(status)).s, shown);
	return err_new(e, ERR_INTERNAL, "hook %s ended with status %d: %s", h->path, WEXITSTATUS(status),
		       shown);
}

static int run_one(const OciHook *h, char *const *env, const json_t *state, Err *e)
{
	_cleanup_close_ int in = state_file(state, e), out = -1, pidfd = -1;
	pid_t pid;

	if (in < 0)
		return take_fd(&in);
	if (!h->path || h->path[0] != '/')
		return err_new(e, ERR_INVALID, "hook path \"%s\" must be absolute", h->path ? h->path : "");
	out = memfd_create("hook", MFD_CLOEXEC);
	if (out < 0)
		return err_sys(e, errno, "memfd_create");
	pid = namespace_fork(&(NamespaceFork){.cgroup_fd = -1, .ret_pidfd = &pidfd});
	if (pid < 0)
		return err_sys(e, pid, "start hook %s", h->path);
	if (pid == 0)
		execute(h, env, in, out);
	return judge(h, wait_for(pid, pidfd, h->timeout), out, e);
}

int hooks_run_inside(const OciHookList *hooks, const char *kind, char *const *env, const json_t *state,
		     Err *e)
{
	for (size_t i = 0; i < hooks->n; i++) {
		int r = run_one(&hooks->items[i], env, state, e);

		if (r < 0)
			return err_ctx(e, r, "error running %s hook #%zu", kind, i);
	}
	return 0;
}

int hooks_run(const OciHookList *hooks, const char *kind, const json_t *state, Err *e)
{
	return hooks_run_inside(hooks, kind, NULL, state, e);
}

int hooks_run_json(const json_t *hooks, const char *kind, const json_t *state, Err *e)
{
	const json_t *list = json_object_get(hooks, kind);
	int first = 0;

	/* All of them run, whatever the one before did; the first failure is told. */
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *j = json_array_get(list, i);
		_cleanup_strv_ char **args = NULL, **env = NULL;
		OciHook h = {.path = (char *)json_get_str(j, "path"),
			     .timeout = json_get_int(j, "timeout", 0)};
		int r;

		if (json_to_strv(json_object_get(j, "args"), &args) < 0 ||
		    json_to_strv(json_object_get(j, "env"), &env) < 0)
			return err_new(e, ERR_INVALID, "%s hook %zu: args and env are arrays of strings",
				       kind, i);
		h.args = args;
		h.env = env;
		r = run_one(&h, NULL, state, first < 0 ? NULL : e);
		if (r < 0 && first == 0)
			first = err_ctx(e, r, "error running %s hook #%zu", kind, i);
	}
	return first;
}
