/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child: from a copy of its creator, in new namespaces, to the container's first process.
 *
 * It is not dumpable from birth (the creator set that), so that in a shared pid namespace nobody without
 * CAP_SYS_PTRACE can look into it, and it gives up descriptors of the host before it says that it is ready. If the
 * creator dies, the socket ends and so does the child.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"
#include "kernel/process.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>

int init_send(int sock, InitMsg kind, const void *extra, size_t len, int fd)
{
	char buf[sizeof(Err) + 1];
	ssize_t n;

	if (len > sizeof(Err))
		return -EINVAL;
	buf[0] = (char)kind;
	if (len)
		memcpy(buf + 1, extra, len);
	n = fd_send_msg(sock, buf, len + 1, &fd, fd >= 0 ? 1 : 0);
	return n < 0 ? (int)n : 0;
}

_Noreturn void init_fail(int sock, const Err *e, int r)
{
	Err copy = *e;

	if (copy.no == 0)
		copy.no = -r;
	(void)init_send(sock, INIT_FAILED, &copy, sizeof(copy), -1);
	_exit(command_exit_status(&copy));
}

int init_told_failure(const char *message, Err *e)
{
	Err got;

	memcpy(&got, message + 1, sizeof(got));
	err_repair(&got);
	*e = got;
	return -got.no;
}

int init_take_fd(int *where, int fd, size_t n, Err *e)
{
	if (n == 1 && *where < 0) {
		*where = fd;
		return 0;
	}
	if (n == 1)
		closep(&fd);
	return err_new(e, ERR_INTERNAL, "the container's process sent a descriptor twice, or none");
}

void init_wait_go(int sock)
{
	char c = 0;
	ssize_t n;

	do
		n = read(sock, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		Err e = {0};
		int r = err_sys(&e, errno, "hear from the creator");

		init_fail(sock, &e, r);
	}
	/* At the end of file the creator is gone. */
	if (n != 1 || c != INIT_GO)
		_exit(1);
}

int init_check_preserved(int n, Err *e)
{
	if (n < 0 || n > 1024)
		return err_new(e, ERR_INVALID, "%d descriptors to preserve", n);
	for (int fd = 3; fd < 3 + n; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return err_new(e, ERR_INVALID, "descriptor %d is to be preserved, but it is not open",
				       fd);
	return 0;
}

void init_reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			(void)signal(sig,
				     SIG_DFL); /* two numbers in the middle are the C library's own: EINVAL */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Until the maps are written this process is nobody, and may do nothing. */
static int become_root_of_user_namespace(Init *in, Err *e)
{
	if (!(in->new_flags & CLONE_NEWUSER))
		return 0;
	init_wait_go(in->sock);
	return birth_become_root(e);
}

/* A process that makes a time namespace is not in it, only its children are (time_namespaces(7)): it enters by setns(), after the
 * offsets are set, which they can be only as long as nobody is in there. */
static int make_time_namespace(Init *in, Err *e)
{
	_cleanup_close_ int ns = -1;
	int r;

	if (!(in->new_flags & CLONE_NEWTIME))
		return 0;
	if (unshare(CLONE_NEWTIME) < 0)
		return err_sys(e, errno, "make a time namespace");
	r = init_send(in->sock, INIT_TIME, NULL, 0, -1);
	if (r < 0)
		return err_sys(e, r, "talk to the creator");
	init_wait_go(in->sock);
	ns = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWTIME) < 0)
		return err_sys(e, errno, "enter the time namespace");
	return 0;
}

static int set_names(const Init *in, Err *e)
{
	const OciSpec *s = in->spec;

	if (!str_empty(s->hostname) && sethostname(s->hostname, strlen(s->hostname)) < 0)
		return err_sys(e, errno, "set the host name %s", s->hostname);
	if (!str_empty(s->domainname) && setdomainname(s->domainname, strlen(s->domainname)) < 0)
		return err_sys(e, errno, "set the domain name %s", s->domainname);
	return 0;
}

static int run_hooks_before_pivot(Init *in, Err *e)
{
	const OciSpec *s = in->spec;
	int r;

	if (s->hooks_prestart.n + s->hooks_create_runtime.n + s->n_net_devices > 0) {
		r = init_send(in->sock, INIT_HOOKS, NULL, 0, -1);
		if (r < 0)
			return err_sys(e, r, "talk to the creator");
		init_wait_go(in->sock);
	}
	/* Where createContainer hooks look for the root, by relative paths. */
	if (s->hooks_create_container.n > 0 && fchdir(in->root) < 0)
		return err_sys(e, errno, "enter the root for hooks");
	r = net_devices_restore(s, in->net_devices, e);
	return r < 0 ? r : hooks_run(&s->hooks_create_container, "createContainer", in->hook_state, e);
}

static int open_console(Init *in, int *ret_master, Err *e)
{
	const OciProcess *p = &in->spec->process;
	int r;

	if (!p->terminal)
		return 0;
	r = console_open(in->root, p, in->create->plain_newlines, ret_master, &in->console, e);
	/* On a /dev of the host its console would be covered, or replaced. */
	return r < 0 || devices_are_bound(in) ? r : console_bind(in->dev, in->console, e);
}

/* The working directory, if the image lacks it. Where it cannot be made, entering it fails later and says so. */
static void make_cwd(const Init *in)
{
	_cleanup_close_ int fd = -1;

	if (streq(in->spec->process.cwd, "/"))
		return;
	fd = path_open_in_root(in->root, in->spec->process.cwd, O_PATH, 0);

	if (fd == -ENOENT)
		fd = path_mkdir_in_root(in->root, in->spec->process.cwd, 0755);
}

static int open_late(Init *in, Err *e)
{
	int r = rootfs_open(in->bundle, -1, &in->root, e);

	return r < 0 ? r : mount_sources_open(in->bundle, in->bind_devices, true, &in->sources, e);
}

static int build(Init *in, int *ret_master, Err *e)
{
	int r = in->opens_late ? open_late(in, e) : 0;

	if (r == 0)
		r = rootfs_attach(in, e);
	if (r == 0)
		r = mounts_make(in, e);
	if (r == 0)
		r = devices_make(in, e);
	if (r == 0)
		r = open_console(in, ret_master, e);
	if (r == 0)
		r = mounts_enter_cgroup_namespace(in, e);
	if (r == 0)
		r = run_hooks_before_pivot(in, e);
	if (r == 0)
		r = set_names(in, e);
	if (r == 0 && (in->new_flags & CLONE_NEWNET)) {
		r = namespace_loopback_up();
		if (r < 0)
			r = err_sys(e, r, "bring up the loopback interface");
	}
	if (r == 0)
		r = sysctl_apply(in, e);
	if (r < 0)
		return r;
	make_cwd(in);
	return rootfs_finish(in, e);
}

static int take_stdio(Init *in, Err *e)
{
	int r = in->console >= 0 ? console_take(in->console, e)
				 : stdio_take(&in->stdio, in->spec->process.user.uid, e);

	if (r == 0 && in->console < 0 && in->dev >= 0)
		stdio_reopen_null(in->dev);
	if (r == 0 && in->console >= 0 && fchown(0, in->spec->process.user.uid, (gid_t)-1) < 0 &&
	    errno != EINVAL)
		r = err_sys(e, errno, "give the terminal to user %u", in->spec->process.user.uid);
	return r;
}

/* Leaves 0 to 2, what is to be preserved, and the channels; everything else is closed now, not only on
 * exec: while the container is "created" it must hold nothing of the host. */
static int close_others(Init *in, Err *e)
{
	int first = 3 + in->create->preserve_fds;
	int *const kept[] = {&in->sock, &in->start};
	const size_t n = ELEMENTSOF(kept);

	for (int fd = 3; fd < first; fd++)
		(void)fd_set_cloexec(fd, false);
	/* First out of the way, then side by side right behind the preserved ones. */
	for (size_t i = 0; i < n; i++) {
		int fd = fcntl(*kept[i], F_DUPFD_CLOEXEC, first + (int)n);

		if (fd < 0)
			return err_sys(e, errno, "keep a channel");
		*kept[i] = fd;
	}
	for (size_t i = 0; i < n; i++) {
		int fd = first + (int)i;

		if (dup3(*kept[i], fd, O_CLOEXEC) < 0)
			return err_sys(e, errno, "keep a channel");
		*kept[i] = fd;
	}
	int r = process_close_from(first + (int)n, false);

	return r < 0 ? err_sys(e, r, "close descriptors") : 0;
}

/* After "ready" errors go to whoever starts the container. */
_Noreturn static void start(Init *in, const Credentials *c, const char *path, char *const *env)
{
	Err *e = &in->err;
	int reply = -1, r;

	if (in->create->start)
		start_wait_gate(in->start, in->sock);
	else {
		close_fd(&in->sock);
		reply = start_wait(in->start);
		close_fd(&in->start);
	}
	/* Hooks that run inside are confined as the container is. */
	r = credentials_late(c, e);
	if (r == 0)
		r = hooks_run_inside(&in->spec->hooks_start_container, "startContainer", env, in->hook_state,
				     e);
	if (r == 0) {
		execve(path, in->spec->process.args, env);
		r = command_exec_failed(path, errno, e);
	}
	if (in->create->start)
		init_fail(in->sock, e, r);
	err_send(reply, e);
	_exit(command_exit_status(e));
}

static int enter(Init *in, Err *e)
{
	int r = cgroup_seat_take(&in->seat, e);

	scheduling_reset_affinity(0);
	if (r == 0)
		r = become_root_of_user_namespace(in, e);
	if (r == 0)
		r = birth_join(in, e);
	if (r == 0)
		r = make_time_namespace(in, e);
	if (r == 0)
		r = attributes_set_own(&in->attributes, e);
	if (r == 0 && setsid() < 0)
		r = err_sys(e, errno, "setsid");
	if (r == 0 && !in->create->no_new_keyring)
		credentials_keyring(in->create->id);
	return r;
}

_Noreturn void init_run(Init *in)
{
	Err *e = &in->err;
	char *path = NULL, **env = NULL;
	int r, master = -1;
	Credentials c = {
	    .process = &in->spec->process,
	    .caps = &in->caps,
	    .filter = in->has_filter ? &in->filter : NULL,
	    .filter_flags = in->filter_flags,
	    .filter_listener = in->has_filter && filter_has_listener(&in->spec->seccomp),
	    .filter_by_number = in->filter_by_number,
	    .unseen = in->new_flags & CLONE_NEWPID,
	};

	umask(0);
	init_reset_signals();
	r = enter(in, e);
	if (r == 0)
		r = build(in, &master, e);
	if (r == 0)
		r = credentials_env(in->root, c.process, &env, e);
	if (r == 0)
		r = take_stdio(in, e);
	if (r == 0 && !in->in_userns)
		r = credentials_rlimits(c.process, 0, e);
	c.root = in->root;
	c.proc = in->proc;
	c.sock = in->sock;
	if (r == 0)
		r = credentials_apply(&c, env, &path, e);
	/* "Ready" is the last thing said, and the master must go before everything is closed. */
	if (r == 0 && master >= 0) {
		r = init_send(in->sock, INIT_CONSOLE, NULL, 0, master);
		if (r < 0)
			r = err_sys(e, r, "hand over the terminal");
	}
	if (r == 0)
		r = close_others(in, e);
	c.sock = in->sock;
	if (r == 0)
		r = credentials_seal(&c, e);
	if (r == 0) {
		r = init_send(in->sock, INIT_READY, NULL, 0, -1);
		if (r < 0)
			r = err_sys(e, r, "talk to the creator");
	}
	if (r < 0)
		init_fail(in->sock, e, r);
	start(in, &c, path, env);
}
