/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One more process in a living container.
 *
 * The container is hostile by now. The pid namespace shows a new process to it from the moment of its clone, so
 * everything that takes privilege is done before, by a middle process that the container cannot see: it enters the
 * cgroup, joins the namespaces (one setns() with the pidfd, so that no pid can be reused in between), takes
 * stdio or a terminal, becomes the user, loses the capabilities and takes the filter. Only then it clones the
 * final process, which already has exactly the rights of the command, as a child of the caller
 * (CLONE_PARENT); that one has nothing left to do but to become a session leader and execute.
 */
#include "runtime/runtime-internal.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define END_WAIT_MS     1000 /* for what was killed, or is about to end */
#define END_WAIT_JOB_MS 50   /* the same, by one who has others to serve, and who is told of what is left */

typedef struct Exec {
	const RuntimeExec *x;
	const RuntimeOptions *o;
	int64_t deadline; /* monotonic, or 0 */
	int end_wait_ms;
	State state;
	CgroupSeat seat;
	SeccompProgram filter;
	CapabilitySets caps;
	ProcessAttributes attributes;
	bool filter_by_number, listened;
	pid_t middle;
	int target; /* pidfd of the container's first process */
	int sock, child_sock;
	int console, slave, middle_fd;
	RuntimeStdio stdio; /* complete: see stdio_prepare() */
	int null;           /* of the host, or -1 */
	pid_t pid;
	int pidfd; /* of pid */
} Exec;

static void exec_done(Exec *k)
{
	cgroup_seat_done(&k->seat);
	seccomp_program_done(&k->filter);
	close_fd(&k->target);
	close_fd(&k->sock);
	close_fd(&k->child_sock);
	close_fd(&k->middle_fd);
	close_fd(&k->pidfd);
	close_fd(&k->console);
	close_fd(&k->null);
	state_done(&k->state);
}

static int load_filter(Exec *k, Err *e)
{
	char *code = NULL;
	int r;

	if (!k->state.has_filter)
		return 0;
	r = file_read_at(k->state.dirfd, STATE_FILTER, 4u << 20, &code, &k->filter.len);
	k->filter.code = code;
	k->filter_by_number = filter_may_fetch_listener();
	return r < 0 ? err_sys(e, r, "read the container's seccomp filter") : 0;
}

/* From a place that the container's cgroup cannot be entered from (another session), a user gets a process outside it, as with
 * runc; but not if it was to be in a certain cgroup. */
static int open_seat(Exec *k, const RuntimeOptions *o, Err *e)
{
	_cleanup_strv_ char **denied = NULL;
	Cgroup c = {0};
	int r = cgroup_from_strv(k->state.cgroup, &c, e);

	if (r == 0 && o->rootless && !k->x->cgroups)
		r = cgroup_drop_denied(&c, &denied, e);
	if (r < 0)
		return r;
	if (denied && o->warn)
		o->warn("the process is not in the container's cgroup: this user may not enter it from here");
	r = cgroup_seat_open(&c, k->x->cgroups, &k->seat, e);
	if (r == 0 && !k->x->cgroups && c.n > 0)
		r = cgroup_seat_follow(&c, k->state.pid, &k->seat, e);
	cgroup_done(&c);
	return r;
}

/* Until a created container is started, its first process may hold more than the container does (credentials_seal()); it is nobody's
 * to trace. */
static void spare_first_process(CapabilitySets *c)
{
	const uint64_t kept = ~(1ULL << CAP_SYS_PTRACE);

	c->bounding &= kept;
	c->effective &= kept;
	c->permitted &= kept;
	c->inheritable &= kept;
	c->ambient &= kept;
}

static int prepare(Exec *k, const RuntimeOptions *o, Err *e)
{
	const OciProcess *p = k->x->process;
	RuntimeStatus status;
	int pair[2], r = init_check_preserved(k->x->preserve_fds, e);

	if (r == 0)
		r = state_load(o, k->x->id, &k->state, e);
	if (r == 0)
		r = bundle_check_process(p, e);
	if (r < 0)
		return r;
	status = state_status(&k->state, &k->target);
	if (status == RUNTIME_STOPPED || status == RUNTIME_CREATING)
		return err_new(e, ERR_CONFLICT, "cannot exec in a %s container", runtime_status_name(status));
	if (status == RUNTIME_PAUSED && !k->x->ignore_paused)
		return err_new(e, ERR_CONFLICT, "cannot exec in a paused container: resume it first");
	if (k->x->console_socket && !p->terminal)
		return err_new(e, ERR_INVALID, "a console socket was given, but process.terminal is false");
	r = credentials_caps(p, o->warn, &k->caps, e);
	if (r == 0 && status == RUNTIME_CREATED)
		spare_first_process(&k->caps);
	if (r == 0)
		r = attributes_parse(p, &k->state.personality, &k->state.memory_policy, &k->attributes, e);
	if (r == 0)
		r = stdio_prepare(&k->x->stdio, &k->stdio, &k->null, e);
	if (r == 0)
		r = load_filter(k, e);
	if (r == 0)
		r = open_seat(k, o, e);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "socketpair");
	k->sock = pair[0];
	k->child_sock = pair[1];
	return 0;
}

/* A container without a mount namespace of its own has a root of its own all the same, and there is no other way to it. */
static int open_its_root(const Exec *k, int *ret, Err *e)
{
	_cleanup_close_ int fd = -1;
	char path[40];
	int r;

	if (!k->state.shares_mounts)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/root", (int)k->state.pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open the root of the container");
	/* It was there when we opened: if it is alive now, so is the number its own. */
	r = process_signal(k->target, 0);
	if (r < 0)
		return err_sys(e, r, "open the root of the container");
	*ret = take_fd(&fd);
	return 0;
}

static int join(Exec *k, Err *e)
{
	_cleanup_close_ int root = -1;
	int flags = (int)k->state.namespaces, r = open_its_root(k, &root, e);

	if (r < 0)
		return r;
	if (flags && setns(k->target, flags) < 0)
		return err_sys(e, errno, "join the namespaces of the container%s",
			       errno == EPERM && geteuid() != 0
				   ? " (without privilege only one that has been started can be joined)"
				   : "");
	if (root >= 0 && (fchdir(root) < 0 || chroot(".") < 0))
		return err_sys(e, errno, "enter the root of the container");
	if (flags & CLONE_NEWUSER) {
		r = birth_become_root(e);
		if (r < 0)
			return r;
	}
	if (!k->state.no_new_keyring)
		credentials_keyring(k->x->id);
	return 0;
}

/* The first affinity holds while the process is not in the cgroup yet. */
static int take_seat(const Exec *k, Err *e)
{
	const ProcessAttributes *a = &k->attributes;
	int r = a->initial.n ? scheduling_set_affinity(0, &a->initial, e) : 0;

	if (r == 0)
		r = cgroup_seat_take(&k->seat, e);
	if (r == 0 && a->final.n)
		return scheduling_set_affinity(0, &a->final, e);
	if (r == 0 && !a->initial.n)
		scheduling_reset_affinity(0);
	return r;
}

/* With a terminal descriptor 0 becomes it; the final process makes it its controlling one. */
static int take_stdio(Exec *k, int root, Err *e)
{
	const OciProcess *p = k->x->process;
	_cleanup_close_ int master = -1;
	int r;

	if (!p->terminal)
		return stdio_take(&k->stdio, p->user.uid, e);
	r = console_open(root, p, k->x->plain_newlines, &master, &k->slave, e);
	if (r < 0)
		return r;
	r = init_send(k->child_sock, INIT_CONSOLE, NULL, 0, master);
	if (r < 0)
		return err_sys(e, r, "hand over the terminal");
	for (int fd = 0; fd < 3; fd++)
		if (dup3(k->slave, fd, 0) < 0)
			return err_sys(e, errno, "open the terminal as descriptor %d", fd);
	if (fchown(0, p->user.uid, (gid_t)-1) < 0 && errno != EINVAL)
		return err_sys(e, errno, "give the terminal to user %u", p->user.uid);
	return 0;
}

/* Nothing of the host stays open but the channel, which moves right behind what is preserved. */
static int close_others(Exec *k, Err *e)
{
	int first = 3 + k->x->preserve_fds, high = fcntl(k->child_sock, F_DUPFD_CLOEXEC, first + 1), r;

	for (int fd = 3; fd < first; fd++)
		(void)fd_set_cloexec(fd, false);
	if (high < 0 || dup3(high, first, O_CLOEXEC) < 0)
		return err_sys(e, errno, "keep a channel");
	k->child_sock = first;
	r = process_close_from(first + 1, false);
	return r < 0 ? err_sys(e, r, "close descriptors") : 0;
}

_Noreturn static void execute(Exec *k, const Credentials *c, const char *path, char *const *env)
{
	Err e = {0};
	int r = 0;

	if (setsid() < 0)
		r = err_sys(&e, errno, "setsid");
	if (r == 0 && c->process->terminal && ioctl(0, TIOCSCTTY, 0) < 0)
		r = err_sys(&e, errno, "take the controlling terminal");
	if (r == 0)
		r = credentials_late(c, &e);
	if (r == 0) {
		execve(path, c->process->args, env);
		r = command_exec_failed(path, errno, &e);
	}
	init_fail(k->child_sock, &e, r);
}

/* clone(2) and not clone3(2): seccomp cannot look into the latter's arguments, so profiles refuse it. */
static pid_t clone_sibling(void)
{
	long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);

	return pid < 0 ? -errno : (pid_t)pid;
}

/* What is not inherited is set by us, who have the privilege, for the final process; all else by the middle one, before there is a
 * process that could run without it. */
static bool is_for_itself_only(const ProcessAttributes *a)
{
	return a->has_scheduler && scheduling_is_reset_by_fork(&a->scheduler);
}

_Noreturn static void run_middle(Exec *k, Err *e)
{
	const OciProcess *p = k->x->process;
	Credentials c = {
	    .process = p,
	    .caps = &k->caps,
	    .filter = k->state.has_filter ? &k->filter : NULL,
	    .filter_flags = (unsigned)k->state.filter_flags,
	    .filter_listener = k->state.listener_path != NULL,
	    .filter_by_number = k->filter_by_number,
	    .proc = -1,
	    .root = -1,
	    .sock = k->child_sock,
	};
	_cleanup_strv_ char **env = NULL;
	_cleanup_free_ char *path = NULL;
	int r;
	pid_t pid;

	umask(0);
	init_reset_signals();
	r = take_seat(k, e);
	if (r == 0)
		r = credentials_oom_score(p, getpid(), e);
	if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		r = err_sys(e, errno, "set not dumpable");
	if (r == 0 && !is_for_itself_only(&k->attributes))
		r = attributes_set_for(0, &k->attributes, e);
	if (r == 0)
		r = attributes_set_own(&k->attributes, e);
	if (r == 0)
		r = credentials_rlimits(p, 0, e);
	/* The container's own /proc may be anything, and in its user namespace no other may be mounted (CVE-2025-52881). */
	if (r == 0 && (!str_empty(p->apparmor_profile) || !str_empty(p->selinux_label))) {
		c.proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (c.proc < 0)
			r = err_sys(e, errno, "open /proc");
	}
	if (r == 0)
		r = join(k, e);
	if (r == 0) {
		c.root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (c.root < 0)
			r = err_sys(e, errno, "open the root of the container");
	}
	if (r == 0)
		r = credentials_env(c.root, p, &env, e);
	if (r == 0)
		r = take_stdio(k, c.root, e);
	if (r == 0)
		r = credentials_apply(&c, env, &path, e);
	if (r == 0)
		r = close_others(k, e);
	c.sock = k->child_sock;
	if (r == 0)
		r = credentials_seal(&c, e);
	if (r < 0)
		init_fail(k->child_sock, e, r);
	pid = clone_sibling();
	if (pid == 0)
		execute(k, &c, path, env);
	if (pid < 0) {
		r = err_sys(e, pid, "clone the process");
		init_fail(k->child_sock, e, r);
	}
	_exit(init_send(k->child_sock, INIT_PID, &pid, sizeof(pid), -1) < 0);
}

static int pass_listener(Exec *k, const void *number, size_t len, int sent, Err *e)
{
	if (k->listened || k->pid > 0) {
		closep(&sent);
		return err_new(e, ERR_DENIED, "the process sent a second seccomp listener");
	}
	k->listened = true;

	_cleanup_close_ int fd = filter_take_listener(k->middle_fd, number, len, sent, e);
	int r = fd < 0 ? fd
		       : filter_send_listener(k->state.listener_path, k->state.listener_metadata, &k->state,
					      RUNTIME_RUNNING, fd, e);

	if (r == 0)
		r = init_send(k->sock, INIT_GO, NULL, 0, -1);
	return r < 0 && e && !e->no ? err_sys(e, r, "talk to the new process") : r;
}

/* The container sees the final process, and with CAP_SYS_PTRACE it may speak in its name: nothing that comes from there names a
 * process that is not our own child, or a second one. */
static int take_pid(Exec *k, const char *data, Err *e)
{
	siginfo_t si;
	pid_t pid;

	memcpy(&pid, data, sizeof(pid));
	if (k->pid > 0 || pid <= 0 || pid == k->middle ||
	    waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
		return err_new(e, ERR_DENIED, "the new process says it is another one");
	k->pid = pid;
	/* Our child, not yet reaped: the number is its own. */
	k->pidfd = process_pidfd(pid);
	if (k->pidfd < 0)
		return err_sys(e, k->pidfd, "open process %d", (int)pid);
	return is_for_itself_only(&k->attributes) ? attributes_set_for(pid, &k->attributes, e) : 0;
}

/* 1 on the message that carries the pid, 0 to go on, -ENODATA at the end. */
static int handle(Exec *k, Err *e)
{
	char buf[sizeof(Err) + 1];
	size_t n_fds = 1;
	int fd = -1;
	ssize_t n = fd_recv_msg(k->sock, buf, sizeof(buf), &fd, &n_fds);

	if (n == 0 || n == -ECONNRESET)
		return -ENODATA;
	if (n < 0)
		return err_sys(e, (int)n, "hear from the new process");
	switch ((InitMsg)buf[0]) {
	case INIT_FAILED:
		if (n != sizeof(buf))
			return err_new(e, ERR_INTERNAL, "the new process sent half an error");
		return init_told_failure(buf, e);
	case INIT_CONSOLE:
		return init_take_fd(&k->console, fd, n_fds, e);
	case INIT_LISTENER:
		return pass_listener(k, buf + 1, (size_t)n - 1, n_fds == 1 ? fd : -1, e);
	case INIT_PID:
		if (n == 1 + sizeof(pid_t) && n_fds == 0)
			return take_pid(k, buf + 1, e);
		closep(&fd);
		return err_new(e, ERR_INTERNAL, "the new process sent half a message");
	default:
		closep(&fd);
		return err_new(e, ERR_INTERNAL, "the new process sent an unknown message");
	}
}

/* Until there is something to hear: the container can stop the final process, and freeze the middle one. */
static int wait_to_hear(const Exec *k, int64_t deadline_ns, Err *e)
{
	struct pollfd p = {.fd = k->sock, .events = POLLIN};
	int64_t left = deadline_ns ? (deadline_ns - clock_mono_ns()) / 1000000 : 0;
	int r;

	if (deadline_ns == 0)
		return 0;
	do
		r = poll(&p, 1, left > 0 ? (int)left : 0);
	while (r < 0 && errno == EINTR);
	return r > 0 ? 0
		     : err_new(e, ERR_UNAVAILABLE,
			       "the new process did not execute its command within %d seconds: the container "
			       "may have stopped it",
			       k->x->timeout_ms / 1000);
}

static int hear_all(Exec *k, int64_t deadline_ns, Err *e)
{
	int r = 0;

	while (r == 0) {
		r = wait_to_hear(k, deadline_ns, e);
		if (r == 0)
			r = handle(k, e);
	}
	return r;
}

/* Our child, not yet reaped. What the container has a hand in may keep it from ending: nobody waits for that. */
static void end_child(const Exec *k, pid_t pid, int pidfd)
{
	if (pid <= 0)
		return;
	(void)kill(pid, SIGKILL);
	if (process_reap_within(pid, pidfd, k->end_wait_ms) == -ETIMEDOUT && k->x->left)
		k->x->left(k->x->left_arg, pid);
}

/* Why there is no process, though both have closed the channel; `status` is the middle one's. */
static int ended_early(int status, Err *e)
{
	return err_new(e, ERR_INTERNAL, "the process ended while it was set up (wait status %d)%s", status,
		       status >= 0 && WIFSIGNALED(status)
			   ? "; is the container at its memory limit, or dying?"
			   : "");
}

/* The pid of a final process that was cloned, but not told yet, when something failed. */
static void hear_late_pid(Exec *k)
{
	while (k->pid == 0 &&
	       wait_to_hear(k, clock_mono_ns() + k->end_wait_ms * INT64_C(1000000), &(Err){0}) == 0 &&
	       handle(k, &(Err){0}) == 0)
		;
}

/* After both processes have closed the channel, the middle one by ending, the final one by executing; or after a failure. */
static int settle(Exec *k, int r, Err *e)
{
	int status = -ETIMEDOUT;

	if (r == -ENODATA)
		status = process_reap_within(k->middle, k->middle_fd, k->end_wait_ms);
	if (status == -ETIMEDOUT)
		end_child(k, k->middle, k->middle_fd);
	k->middle = 0;
	if (r == -ENODATA)
		return k->pid > 0 ? 0 : ended_early(status, e);
	hear_late_pid(k);
	end_child(k, k->pid, k->pidfd);
	k->pid = 0;
	return r;
}

static int finish(Exec *k, int *ret_pidfd, Err *e)
{
	int r = 0;

	if (k->x->console_socket && k->console >= 0) {
		r = console_send(k->x->console_socket, k->console, e);
		close_fd(&k->console);
	}
	if (r == 0)
		r = state_write_pid_file(k->x->pid_file, k->pid, e);
	if (r < 0) {
		end_child(k, k->pid, k->pidfd);
		return r;
	}
	*ret_pidfd = take_fd(&k->pidfd);
	return 0;
}

/* As runc tells it: the CPUs on which the process starts, as a mask, if exec was asked to choose them. */
static void tell_start(const Exec *k, const RuntimeOptions *o)
{
	_cleanup_free_ char *text = NULL;

	if (!o->debug)
		return;
	o->debug("nsexec container setup");
	text =
	    k->attributes.initial.n ? strf("nsexec: affinity: 0x%lx", k->attributes.initial.bits[0]) : NULL;
	if (text)
		o->debug(text);
}

static int begin(Exec *k, Err *e)
{
	const RuntimeOptions *o = k->o;
	int r = prepare(k, o, e);

	if (r < 0)
		return r;
	/* Without privilege only later: see credentials_oom_score(). */
	if (geteuid() == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, errno, "set not dumpable");
	tell_start(k, o);
	k->middle =
	    namespace_fork(&(NamespaceFork){.cgroup_fd = k->seat.born_fd, .ret_pidfd = &k->middle_fd});
	if (k->middle < 0)
		return err_sys(e, k->middle, "clone a process");
	if (k->middle == 0)
		run_middle(k, e);
	close_fd(&k->child_sock);
	if (o->debug)
		o->debug("child process in init()");
	k->deadline = k->x->timeout_ms ? clock_mono_ns() + k->x->timeout_ms * INT64_C(1000000) : 0;
	return 0;
}

/* r: of what was heard last. */
static int end(Exec *k, int r, pid_t *ret_pid, int *ret_pidfd, int *ret_console, Err *e)
{
	r = settle(k, r, e);
	if (r == 0 && k->o->debug)
		k->o->debug("setns_init: about to exec");
	if (r == 0)
		r = finish(k, ret_pidfd, e);
	if (r < 0)
		return r;
	*ret_pid = k->pid;
	*ret_console = take_fd(&k->console);
	return 0;
}

static const Exec nothing = {
    .state = STATE_INIT,
    .seat = {.born_fd = -1},
    .target = -1,
    .sock = -1,
    .child_sock = -1,
    .console = -1,
    .slave = -1,
    .middle_fd = -1,
    .pidfd = -1,
    .null = -1,
};

int runtime_exec(const RuntimeOptions *o, const RuntimeExec *x, pid_t *ret_pid, int *ret_pidfd,
		 int *ret_console, Err *e)
{
	Exec k = nothing;
	Err own = {0};
	int r;

	if (!e)
		e = &own;
	k.x = x;
	k.o = o;
	k.end_wait_ms = END_WAIT_MS;
	r = begin(&k, e);
	if (r == 0)
		r = end(&k, hear_all(&k, k.deadline, e), ret_pid, ret_pidfd, ret_console, e);
	exec_done(&k);
	return r < 0 ? err_ctx(e, r, "container %s", x->id) : 0;
}

/* ---- in steps ---- */

struct RuntimeExecJob {
	Exec k;
	RuntimeExec x; /* without what only the new process needs, which has its own copy */
	RuntimeOptions o;
	char *id;
};

void runtime_exec_drop(RuntimeExecJob *j)
{
	if (!j)
		return;
	/* What has not come to its end yet. */
	if (j->k.middle > 0)
		(void)settle(&j->k, -ECANCELED, &(Err){0});
	exec_done(&j->k);
	free(j->id);
	free(j);
}

int runtime_exec_begin(const RuntimeOptions *o, const RuntimeExec *x, RuntimeExecJob **ret, Err *e)
{
	RuntimeExecJob *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return err_oom(e);
	*j = (RuntimeExecJob){.k = nothing, .x = *x, .o = *o, .id = strdup(x->id)};
	j->k.x = x;
	j->k.o = o;
	j->k.end_wait_ms = END_WAIT_JOB_MS;
	r = j->id ? begin(&j->k, e) : err_oom(e);
	j->x.id = j->id;
	j->x.process = NULL;
	j->x.cgroups = NULL;
	j->k.x = &j->x;
	j->k.o = &j->o;
	if (r < 0) {
		r = err_ctx(e, r, "container %s", x->id);
		runtime_exec_drop(j);
		return r;
	}
	*ret = j;
	return 0;
}

int runtime_exec_fd(const RuntimeExecJob *j)
{
	return j->k.sock;
}

int64_t runtime_exec_deadline(const RuntimeExecJob *j)
{
	return j->k.deadline;
}

int runtime_exec_step(RuntimeExecJob *j, pid_t *ret_pid, int *ret_pidfd, int *ret_console, Err *e)
{
	Exec *k = &j->k;
	struct pollfd p = {.fd = k->sock, .events = POLLIN};
	int r = poll(&p, 1, 0) > 0 ? handle(k, e) : 0;

	if (r == 0) {
		if (k->deadline == 0 || clock_mono_ns() < k->deadline)
			return 0;
		r = wait_to_hear(k, k->deadline, e);
		if (r == 0)
			return 0;
	}
	r = end(k, r, ret_pid, ret_pidfd, ret_console, e);
	return r < 0 ? err_ctx(e, r, "container %s", j->id) : 1;
}
