/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program git, which meets servers and repositories of strangers.
 *
 * It runs as nobody, in a mount namespace in which /tmp is the directory that it works in, with nothing of the engine's environment and descriptors, no
 * configuration but ours (hooks, helpers, file and ext transports are off), limits, and a group of processes that ends with it.
 */
#include "build/agent.h"
#include "build/fetch.h"
#include "kernel/process.h"

#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NOBODY    65534
#define OUT_MAX   (1u << 20)
#define ERR_KEEP  1500
#define EXIT_CAGE 125 /* git has no such status */
#define AGENT     "/tmp/agent.sock"

/* A server's key is believed the first time, since there is no other: as BuildKit has it. */
static const char ssh_command[] = "GIT_SSH_COMMAND=ssh -F /dev/null -o BatchMode=yes -o "
				  "StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/dev/null";

static const char *const config[][2] = {
    {"core.hooksPath", "/dev/null"},
    {"core.fsmonitor", "false"},
    {"core.attributesFile", "/dev/null"},
    {"credential.helper", ""},
    {"protocol.allow", "never"},
    {"protocol.http.allow", "always"},
    {"protocol.https.allow", "always"},
    {"protocol.git.allow", "always"},
    {"protocol.ssh.allow", "always"},
    {"http.lowSpeedLimit", "1000"},
    {"http.lowSpeedTime", "60"},
    {"http.followRedirects", "initial"},
    {"gc.auto", "0"},
    {"maintenance.auto", "false"},
    {"advice.detachedHead", "false"},
    {"fetch.recurseSubmodules", "false"},
    {"submodule.recurse", "false"},
    {"init.defaultBranch", "main"},
};

static int environment(const GitRun *g, bool has_agent, char ***ret, Err *e)
{
	static const char *const fixed[] = {
	    "PATH=/usr/local/bin:/usr/bin:/bin",
	    "HOME=/tmp",
	    "LC_ALL=C",
	    "GIT_CONFIG_NOSYSTEM=1",
	    "GIT_CONFIG_GLOBAL=/dev/null",
	    "GIT_CONFIG_SYSTEM=/dev/null",
	    "GIT_TERMINAL_PROMPT=0",
	    "GIT_ASKPASS=/bin/false",
	    "GIT_LFS_SKIP_SMUDGE=1",
	    "GIT_ALLOW_PROTOCOL=http:https:git:ssh",
	    ssh_command,
	};
	_cleanup_strv_ char **env = NULL;
	int r = strv_take(&env, strf("GIT_CONFIG_COUNT=%zu", ELEMENTSOF(config)));

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(fixed); i++)
		r = strv_add(&env, fixed[i]);
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(config); i++) {
		r = strv_take(&env, strf("GIT_CONFIG_KEY_%zu=%s", i, config[i][0]));
		if (r >= 0)
			r = strv_take(&env, strf("GIT_CONFIG_VALUE_%zu=%s", i, config[i][1]));
	}
	/* The build's proxies, which are those of its steps. */
	for (char **p = g->b->proxy_args; r >= 0 && p && *p; p++)
		r = strv_add(&env, *p);
	if (r >= 0 && has_agent)
		r = strv_add(&env, "SSH_AUTH_SOCK=" AGENT);
	if (r < 0)
		return err_oom(e);
	*ret = take_ptr(env);
	return 0;
}

typedef struct Start {
	const GitRun *g;
	const char *program;
	char *work; /* the directory's path: a descriptor would be of another mount namespace */
	int agent_mount;
	char **argv, **env;
} Start;

/* Between fork and exec: nothing but system calls. */
static void child(const Start *st, int out, int err)
{
	const rlim_t most = (rlim_t)store_layer_limits(st->g->b->store).bytes;
	const struct rlimit core = {0, 0}, files = {1024, 1024}, size = {most, most};
	sigset_t none;

	sigemptyset(&none);
	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_DFL);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (setpgid(0, 0) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(st->work, "/tmp", NULL, MS_BIND, NULL) < 0 || chdir("/tmp") < 0)
		_exit(EXIT_CAGE);
	if (st->agent_mount >= 0 &&
	    syscall(SYS_move_mount, st->agent_mount, "", AT_FDCWD, AGENT, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		_exit(EXIT_CAGE);
	if (dup2(open("/dev/null", O_RDONLY), 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 ||
	    process_close_from(3, false) < 0)
		_exit(EXIT_CAGE);
	if (setrlimit(RLIMIT_CORE, &core) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0 ||
	    setrlimit(RLIMIT_FSIZE, &size) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		_exit(EXIT_CAGE);
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		_exit(EXIT_CAGE);
	(void)umask(022);
	execve(st->program, st->argv, st->env);
	_exit(127);
}

static const char *program(void)
{
	static const char *const places[] = {"/usr/bin/git", "/usr/local/bin/git", "/bin/git"};

	for (size_t i = 0; i < ELEMENTSOF(places); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

/* ---- what it says ---- */

/* False at its end. What is more than `max` is read and dropped; *ret_more says that there was. */
static bool read_some(int fd, StrBuf *to, size_t max)
{
	char buf[16384];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0)
		return false;
	size_t room = max - MIN2(max, to->len);
	strbuf_add_n(to, buf, MIN2((size_t)n, room));
	return true;
}

static int listen_to(const Build *b, int out, int err, StrBuf *said, StrBuf *complained, Err *e)
{
	struct pollfd p[] = {{.fd = out, .events = POLLIN},
			     {.fd = err, .events = POLLIN},
			     {.fd = b->alive_fd}};

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, ELEMENTSOF(p), -1) < 0)
			continue;
		if (p[2].revents & (POLLERR | POLLHUP))
			return build_cancelled(e);
		if (p[0].revents && !read_some(out, said, OUT_MAX))
			p[0].fd = -1;
		if (p[1].revents && !read_some(err, complained, ERR_KEEP))
			p[1].fd = -1;
	}
	return 0;
}

static int outcome(const char *const *args, int status, const char *complained, Err *e)
{
	_cleanup_free_ char *text = str_utf8_clean(complained, strlen(complained));
	const char *verb = streq(args[0], "-C") ? args[2] : args[0];

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CAGE)
		return err_new(e, ERR_INTERNAL,
			       "git cannot be confined on this machine: mount namespaces are needed");
	for (char *p = text + (text ? strlen(text) : 0); text && p > text && p[-1] == '\n';)
		*--p = '\0';
	if (WIFSIGNALED(status))
		return err_new(e, ERR_UNAVAILABLE, "git %s was killed by signal %d: %s", verb,
			       WTERMSIG(status), text ?: "");
	return err_new(e, ERR_UNAVAILABLE, "git %s: exit status %d: %s", verb, WEXITSTATUS(status),
		       text ?: "");
}

static int run(const Start *st, StrBuf *said, StrBuf *complained, int *ret_status, Err *e)
{
	int out[2] = {-1, -1}, err[2] = {-1, -1}, r;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) {
		r = err_sys(e, errno, "make pipes for git");
		close_fd(&out[0]);
		close_fd(&out[1]);
		return r;
	}
	pid = fork();
	if (pid == 0)
		child(st, out[1], err[1]);
	close_fd(&out[1]);
	close_fd(&err[1]);
	r = pid < 0 ? err_sys(e, errno, "start git")
		    : listen_to(st->g->b, out[0], err[0], said, complained, e);
	close_fd(&out[0]);
	close_fd(&err[0]);
	if (pid < 0)
		return r;
	if (r < 0)
		(void)kill(pid, SIGKILL);
	*ret_status = process_reap(pid);
	/* Whatever it has left behind; the group lives as long as any of it. */
	(void)kill(-pid, SIGKILL);
	return r;
}

/* What an ssh server would say to somebody without a key tells nobody why. */
static int agent_check(const GitRun *g, Err *e)
{
	const BuildClient *client = g->b->rq->client;
	_cleanup_close_ int fd = -1;
	Err why = {0};
	int r = client->ssh ? client->ssh(client->user, "default", &fd, &why)
			    : err_new(&why, ERR_NOT_FOUND, "this client brings no agent");

	if (r >= 0)
		return 0;
	return why.kind == ERR_NOT_FOUND
		   ? err_new(e, ERR_INVALID,
			     "no SSH key \"default\" forwarded from the client: give it with --ssh default")
		   : err_new_no(e, why.kind, r, "ssh agent default: %s", err_msg(&why, r));
}

/* The client's agent, at a place that is there. */
static int agent_open(const GitRun *g, Agent **ret, int *ret_mount, Err *e)
{
	const AgentWanted w = {.id = "default", .uid = NOBODY, .gid = NOBODY, .mode = 0600};
	_cleanup_free_ char *place = strf("%s/%s", g->dir, path_base(AGENT));

	if (!place)
		return err_oom(e);
	if (mknodat(store_root_fd(g->b->store), place, S_IFREG | 0600, 0) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make a place for the agent's socket");
	return agent_new(g->b, &w, ret, ret_mount, e);
}

static int start(Start *st, const char *const *args, StrBuf *said, StrBuf *complained, int *ret_status,
		 Err *e)
{
	int r = strv_add(&st->argv, "git");

	for (size_t i = 0; r >= 0 && args[i]; i++)
		r = strv_add(&st->argv, args[i]);
	st->work = strf("%s/%s", store_root(st->g->b->store), st->g->dir);
	if (r < 0 || !st->work)
		return err_oom(e);
	r = environment(st->g, st->agent_mount >= 0, &st->env, e);
	return r < 0 ? r : run(st, said, complained, ret_status, e);
}

int git_run(const GitRun *g, const char *const *args, char **ret_out, Err *e)
{
	_cleanup_strbuf_ StrBuf said = {0}, complained = {0};
	Start st = {.g = g, .program = program(), .agent_mount = -1};
	Agent *agent = NULL;
	int status = -1, r = 0;

	if (!st.program)
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "git is not installed where the engine runs, and repositories cannot be fetched without "
		    "it: install it (apt-get install git)");
	if (g->ssh)
		r = agent_check(g, e);
	if (g->ssh && r >= 0)
		r = agent_open(g, &agent, &st.agent_mount, e);
	if (r >= 0)
		r = start(&st, args, &said, &complained, &status, e);
	close_fd(&st.agent_mount);
	agent_free(agent);
	strv_free(st.argv);
	strv_free(st.env);
	free(st.work);
	if (r >= 0 && status < 0)
		r = err_sys(e, status, "wait for git");
	if (r >= 0)
		r = outcome(args, status, complained.s ?: "", e);
	if (r < 0 || !ret_out)
		return r;
	*ret_out = strbuf_steal(&said);
	return *ret_out ? 0 : err_oom(e);
}
