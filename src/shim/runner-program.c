/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another runtime, as a program (invoke.h).
 *
 * Such a program makes the container's process and ends; for that moment this process is a subreaper, so that the
 * process becomes its child. The root filesystem, a detached mount, is shown to the program that creates in a mount
 * namespace of its own; network namespace, process document and log are paths of descriptors of ours. What the
 * command line has no word for (processes, OOM kills) is read from the cgroup that config.json names.
 */
#include "shim/runner.h"

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "kernel/cgroup.h"
#include "kernel/process.h"
#include "shim/invoke.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define CONFIG_MAX   (16u << 20)
#define PID_FILE     "runtime.pid"
#define CONSOLE_NAME "console.sock"
#define CONSOLE_MS   5000

/* ---- the command line ---- */

/* Words up to a NULL. */
__attribute__((sentinel)) static int words_add(char ***v, ...)
{
	const char *word;
	va_list ap;
	int r = 0;

	va_start(ap, v);
	while (r == 0 && (word = va_arg(ap, const char *)))
		r = strv_add(v, word);
	va_end(ap);
	return r;
}

static int run(const Runner *r, char *const *words, Err *e)
{
	Invocation v = {.program = r->program,
			.root = r->root,
			.systemd_cgroup = r->scope_dir != NULL,
			.words = words};

	return invoke(&v, e);
}

/* The path of a descriptor of ours for another process; the caller frees it. */
static char *path_for_others(int fd, const char *below)
{
	return strf("/proc/%d/fd/%d%s", (int)getpid(), fd, below);
}

/* A document as a file that exists nowhere but here. */
static int document_open(const json_t *doc, Err *e)
{
	_cleanup_free_ char *text = json_text(doc);
	_cleanup_close_ int fd = memfd_create("runtime-document", MFD_CLOEXEC);
	int r;

	if (!text)
		return err_oom(e);
	if (fd < 0)
		return err_sys(e, errno, "make a document");
	r = fd_write_all(fd, text, strlen(text));
	return r < 0 ? err_sys(e, r, "write a document") : take_fd(&fd);
}

/* ---- the terminal: the program connects to our socket and sends the master ---- */

typedef struct Console {
	int dir, listener;
	char *path; /* for the program */
} Console;

static void console_done(Console *c)
{
	if (c->listener >= 0)
		(void)unlinkat(c->dir, CONSOLE_NAME, 0);
	close_fd(&c->dir);
	close_fd(&c->listener);
	free(c->path);
}

static int console_listen(const Runner *r, Console *c, Err *e)
{
	_cleanup_free_ char *path = strf("%s/" CONSOLE_NAME, r->bundle);

	if (!path)
		return err_oom(e);
	(void)unlink(path);
	c->listener = unix_listen(path, SOCK_STREAM, 0600);
	if (c->listener < 0)
		return err_sys(e, c->listener, "listen on %s", path);
	c->dir = open(r->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (c->dir < 0)
		return err_sys(e, errno, "open %s", r->bundle);
	/* The bundle's own path may be too long for a socket address. */
	c->path = path_for_others(c->dir, "/" CONSOLE_NAME);
	return c->path ? 0 : err_oom(e);
}

static int wait_readable(int fd, Err *e)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n;

	do
		n = poll(&p, 1, CONSOLE_MS);
	while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : err_new(e, ERR_INTERNAL, "the runtime did not send the terminal");
}

static int console_receive(const Console *c, int *ret, Err *e)
{
	_cleanup_close_ int sock = -1;
	char name[256];
	int r, fd = -1;
	size_t n_fds = 1;
	ssize_t n;

	r = wait_readable(c->listener, e);
	if (r < 0)
		return r;
	sock = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
	if (sock < 0)
		return err_sys(e, errno, "accept the runtime's connection");
	r = wait_readable(sock, e);
	if (r < 0)
		return r;
	n = fd_recv_msg(sock, name, sizeof(name), &fd, &n_fds);
	if (n < 0)
		return err_sys(e, (int)n, "receive the terminal");
	if (n_fds != 1)
		return err_new(e, ERR_INTERNAL, "the runtime sent %zu terminals instead of one", n_fds);
	*ret = fd;
	return 0;
}

/* ---- new processes ---- */

static int read_pid(const char *path, pid_t *ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	int v, r = file_read_at(AT_FDCWD, path, 64, &text, NULL);

	(void)unlink(path);
	if (r < 0)
		return err_sys(e, r, "read the runtime's pid file %s", path);
	text[strcspn(text, "\n")] = '\0';
	if (str_to_int(text, 1, INT32_MAX, &v) < 0)
		return err_new(e, ERR_INTERNAL, "the runtime's pid file says \"%.32s\"", text);
	*ret = (pid_t)v;
	return 0;
}

/* Only a child can be waited for, and only a child that nobody has waited for keeps its number. */
static int take_child(pid_t pid, int *ret_pidfd, Err *e)
{
	siginfo_t si;
	int fd = process_pidfd(pid);

	if (fd >= 0 && waitid(P_PIDFD, (id_t)fd, &si, WEXITED | WNOHANG | WNOWAIT) == 0) {
		*ret_pidfd = fd;
		return 0;
	}
	close_fd(&fd);
	return err_new(e, ERR_INTERNAL, "process %d, which the runtime made, is not a child of the shim",
		       (int)pid);
}

typedef struct Birth {
	const Runner *r;
	const RuntimeStdio *io;
	bool terminal;
	const InvocationMount *mounts;
	size_t n_mounts;
} Birth;

static int bear(const Birth *b, char ***words, RunnerProcess *ret, Err *e)
{
	const Runner *r = b->r;
	_cleanup_(console_done) Console c = {.dir = -1, .listener = -1};
	_cleanup_free_ char *pid_file = strf("%s/" PID_FILE, r->bundle);
	Invocation v = {.program = r->program,
			.systemd_cgroup = r->scope_dir != NULL,
			.root = r->root,
			.io = b->io,
			.mounts = b->mounts,
			.n_mounts = b->n_mounts};
	RunnerProcess p = {.pidfd = -1, .console = -1};
	int rc = b->terminal ? console_listen(r, &c, e) : 0;

	if (rc < 0)
		return rc;
	if (!pid_file || words_add(words, "--pid-file", pid_file, NULL) < 0 ||
	    (c.path && words_add(words, "--console-socket", c.path, NULL) < 0) ||
	    words_add(words, r->id, NULL) < 0)
		return err_oom(e);
	v.words = *words;
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return err_sys(e, errno, "become a subreaper");
	rc = invoke(&v, e);
	/* What the container leaves behind later is init's to reap, as ever. */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 0);
	if (rc == 0)
		rc = read_pid(pid_file, &p.pid, e);
	if (rc == 0)
		rc = take_child(p.pid, &p.pidfd, e);
	if (rc == 0 && b->terminal) {
		rc = console_receive(&c, &p.console, e);
		if (rc < 0) {
			process_kill_child(p.pid);
			close_fd(&p.pidfd);
		}
	}
	(void)unlink(pid_file);
	if (rc == 0)
		*ret = p;
	return rc;
}

static int program_remove(const Runner *r, Err *e);

/* The places in the bundle where the program finds its mounts. */
typedef struct Places {
	InvocationMount *v;
	char **paths;
	size_t n;
} Places;

static void places_done(Places *p)
{
	free(p->v);
	strv_free(p->paths);
}

static int place_make(Places *p, int fd, char *path, Err *e)
{
	_cleanup_close_ int file = -1;
	struct stat st;

	if (strv_take(&p->paths, path) < 0)
		return err_oom(e);
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "look at the mount for %s", path);
	if (S_ISDIR(st.st_mode) && mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make %s", path);
	if (!S_ISDIR(st.st_mode)) {
		file = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (file < 0)
			return err_sys(e, errno, "make %s", path);
	}
	p->v[p->n++] = (InvocationMount){fd, path};
	return 0;
}

static int places_make(const Runner *r, int rootfs, Places *p, Err *e)
{
	_cleanup_free_ char *dir = strf("%s/" RUNTIME_MOUNTS, r->bundle);
	int rc = 0;

	p->v = calloc(r->n_mounts + 1, sizeof(*p->v));
	if (!p->v || !dir)
		return err_oom(e);
	if (rootfs >= 0)
		rc = place_make(p, rootfs, strf("%s/rootfs", r->bundle), e);
	if (rc >= 0 && r->n_mounts > 0 && mkdir(dir, 0700) < 0 && errno != EEXIST)
		rc = err_sys(e, errno, "make %s", dir);
	for (size_t i = 0; rc >= 0 && i < r->n_mounts; i++)
		rc = place_make(p, r->mounts[i], strf("%s/%zu", dir, i), e);
	return rc;
}

/* Nothing is mounted there where we are. */
static void places_remove(const Places *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (rmdir(p->v[i].path) < 0 && errno == ENOTDIR)
			(void)unlink(p->v[i].path);
}

static int program_create(const Runner *r, int rootfs, bool terminal, const RuntimeStdio *io,
			  RunnerProcess *ret, Err *e)
{
	_cleanup_(places_done) Places places = {0};
	_cleanup_strv_ char **words = NULL;
	Birth b = {.r = r, .io = io, .terminal = terminal};
	int rc = places_make(r, rootfs, &places, e);

	b.mounts = places.v;
	b.n_mounts = places.n;
	if (rc >= 0 && words_add(&words, "create", "--bundle", r->bundle, NULL) < 0)
		rc = err_oom(e);
	if (rc >= 0)
		rc = bear(&b, &words, ret, e);
	if (rc < 0) {
		(void)program_remove(r, NULL);
		places_remove(&places);
	}
	return rc;
}

static int program_exec(const Runner *r, const json_t *process, const RuntimeStdio *io, RunnerProcess *ret,
			RuntimeExecJob **ret_job _unused_, Err *e)
{
	_cleanup_close_ int doc = document_open(process, e);
	_cleanup_free_ char *path = NULL;
	_cleanup_strv_ char **words = NULL;
	Birth b = {.r = r, .io = io, .terminal = json_get_bool(process, "terminal", false)};

	if (doc < 0)
		return doc;
	path = path_for_others(doc, "");
	if (!path || words_add(&words, "exec", "--detach", "--process", path, NULL) < 0)
		return err_oom(e);
	return bear(&b, &words, ret, e);
}

/* ---- what is done to a container ---- */

static int program_start(const Runner *r, Err *e)
{
	char *const words[] = {(char *)"start", r->id, NULL};

	return run(r, words, e);
}

static int program_kill(const Runner *r, int signal, bool all, Err *e)
{
	char number[16], *words[5], **w = words;

	(void)snprintf(number, sizeof(number), "%d", signal);
	*w++ = (char *)"kill";
	if (all)
		*w++ = (char *)"--all";
	*w++ = r->id;
	*w++ = number;
	*w = NULL;
	return run(r, words, e);
}

static int program_pause(const Runner *r, bool pause, Err *e)
{
	char *const words[] = {(char *)(pause ? "pause" : "resume"), r->id, NULL};

	return run(r, words, e);
}

static int program_update(const Runner *r, const json_t *resources, Err *e)
{
	_cleanup_close_ int doc = document_open(resources, e);
	_cleanup_free_ char *path = NULL;

	if (doc < 0)
		return doc;
	path = path_for_others(doc, "");
	if (!path)
		return err_oom(e);
	char *const words[] = {(char *)"update", (char *)"--resources", path, r->id, NULL};

	return run(r, words, e);
}

static int program_checkpoint(const Runner *r, const char *dir, Err *e)
{
	char *const words[] = {(char *)"checkpoint",
			       (char *)"--leave-running",
			       (char *)"--tcp-established",
			       (char *)"--file-locks",
			       (char *)"--image-path",
			       (char *)(uintptr_t)dir,
			       (char *)"--work-path",
			       (char *)(uintptr_t)dir,
			       r->id,
			       NULL};

	return run(r, words, e);
}

/* ---- its cgroup ---- */

static int open_cgroup(const Runner *r, Cgroup *ret, Err *e)
{
	_cleanup_free_ char *path = strf("%s/config.json", r->bundle);
	_cleanup_json_ json_t *config = NULL;
	const char *group;
	int rc = path ? json_load_at(AT_FDCWD, path, CONFIG_MAX, &config, e) : err_oom(e);

	if (rc < 0)
		return rc;
	group = json_get_str(json_object_get(config, "linux"), "cgroupsPath");
	if (!group || *group != '/')
		return err_new(e, ERR_INVALID, "%s: linux.cgroupsPath is no absolute path", path);
	return cgroup_resolve(group, ret, e);
}

static int program_pids(const Runner *r, pid_t **ret, size_t *ret_n, Err *e)
{
	_cleanup_(cgroup_done) Cgroup c = {0};
	int rc = open_cgroup(r, &c, e);

	return rc < 0 ? rc : cgroup_pids(&c, ret, ret_n, e);
}

static uint64_t program_oom_kills(const Runner *r)
{
	_cleanup_(cgroup_done) Cgroup c = {0};

	return open_cgroup(r, &c, NULL) == 0 && c.n > 0 ? cgroup_oom_kills(&c) : 0;
}

static int program_watch_oom(const Runner *r, int *ret_fd, short *ret_events, Err *e)
{
	_cleanup_(cgroup_done) Cgroup c = {0};
	int rc = open_cgroup(r, &c, e);

	return rc < 0 ? rc : cgroup_watch_oom(&c, ret_fd, ret_events, e);
}

/* A program that was killed half way may not know any more what it made. */
static int remove_cgroup(const Runner *r, Err *e)
{
	_cleanup_(cgroup_done) Cgroup c = {0};
	int rc = open_cgroup(r, &c, e);

	if (rc == -ENOENT) /* not even config.json */
		return 0;
	if (rc == 0)
		rc = cgroup_signal(&c, SIGKILL, e);
	return rc < 0 ? rc : cgroup_remove(&c, e);
}

static int program_remove(const Runner *r, Err *e)
{
	char *const words[] = {(char *)"delete", (char *)"--force", r->id, NULL};
	Err own = {0};
	int rc = run(r, words, &own);

	if (rc < 0 && own.kind != ERR_NOT_FOUND) {
		(void)remove_cgroup(r, NULL);
		if (e)
			*e = own;
		return rc;
	}
	return remove_cgroup(r, e);
}

const RunnerOps runner_program = {
    .create = program_create,
    .start = program_start,
    .exec = program_exec,
    .kill = program_kill,
    .pause = program_pause,
    .update = program_update,
    .checkpoint = program_checkpoint,
    .pids = program_pids,
    .oom_kills = program_oom_kills,
    .watch_oom = program_watch_oom,
    .remove = program_remove,
};
