/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the container's first process is born: a child of the creator, in all its namespaces.
 *
 * Mostly one clone does it. But a new namespace belongs to the user namespace of who makes it, and a namespace can be
 * joined only with power over the user namespace that it belongs to. So when a user namespace is joined by its path,
 * the new ones have to be made from inside; and when a new one is made, the others have to be joined before.
 * Then a middle process goes first. It takes the seat in the cgroups, which nobody inside may do, and clones the
 * container's process as a child of the creator (CLONE_PARENT).
 *
 * Of the namespaces to join, those that can be are joined before the user namespace, since they may belong to ours, and
 * the rest after it.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "kernel/namespace.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

/* The index of the joined namespace of this kind, or -1. */
static int find_join(const Init *in, int flag)
{
	for (size_t i = 0; i < in->n_joins; i++)
		if (in->joins[i].flag == flag && in->joins[i].fd >= 0)
			return (int)i;
	return -1;
}

static int join(Init *in, size_t i, bool again_later, Err *e)
{
	int flag = in->joins[i].flag;

	if (setns(in->joins[i].fd, flag) < 0) {
		if (errno == EPERM && again_later)
			return 0;
		return err_sys(e, errno, "join the %s namespace%s", namespace_file(flag),
			       errno == EPERM
				   ? " (it belongs to a user namespace that this one has no power over)"
				   : "");
	}
	close_fd(&in->joins[i].fd);
	return 0;
}

static int join_others(Init *in, bool again_later, Err *e)
{
	int r = 0;

	for (size_t i = 0; i < in->n_joins && r == 0; i++)
		if (in->joins[i].flag != CLONE_NEWUSER && in->joins[i].fd >= 0)
			r = join(in, i, again_later, e);
	return r;
}

int birth_become_root(Err *e)
{
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, errno, "become root of the user namespace (is id 0 mapped?)");
	/* A change of user resets this to what fs.suid_dumpable says. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, errno, "set not dumpable");
	return 0;
}

int birth_join(Init *in, Err *e)
{
	int user = find_join(in, CLONE_NEWUSER), r = join_others(in, user >= 0, e);

	if (r < 0 || user < 0)
		return r;
	r = join(in, (size_t)user, false, e);
	if (r == 0)
		r = birth_become_root(e);
	return r < 0 ? r : join_others(in, false, e);
}

static int clone_failed(int r, uint64_t flags, Err *e)
{
	if (flags & CLONE_NEWUSER && (r == -EPERM || r == -ENOSPC))
		return err_sys(e, r,
			       "clone the container's process in a new user namespace (see the sysctls "
			       "user.max_user_namespaces, kernel.unprivileged_userns_clone and "
			       "kernel.apparmor_restrict_unprivileged_userns)");
	return err_sys(e, r, "clone the container's process");
}

static uint64_t clone_flags(const Init *in)
{
	return in->new_flags & ~(uint64_t)(CLONE_NEWCGROUP | CLONE_NEWTIME);
}

/* A pid namespace is entered by children only: ours is switched for the moment of the clone. */
static pid_t fork_directly(Init *in, int *ret_pidfd, Err *e)
{
	NamespaceFork f = {.flags = clone_flags(in), .cgroup_fd = in->seat.born_fd, .ret_pidfd = ret_pidfd};
	_cleanup_close_ int own = -1;
	int join_pid = find_join(in, CLONE_NEWPID), r;
	pid_t pid;

	if (join_pid >= 0) {
		own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
		if (own < 0)
			return err_sys(e, errno, "open the own pid namespace");
		r = join(in, (size_t)join_pid, false, e);
		if (r < 0)
			return r;
	}
	pid = namespace_fork(&f);
	if (pid == 0)
		return 0;
	if (own >= 0 && setns(own, CLONE_NEWPID) < 0) {
		r = err_sys(e, errno, "return to the own pid namespace");
		process_kill_child(pid);
		return r;
	}
	return pid < 0 ? clone_failed(pid, f.flags, e) : pid;
}

/* What takes the rights or the view that the caller has. */
static int prepare_middle(Init *in, Err *e)
{
	int r = cgroup_seat_take(&in->seat, e);

	cgroup_seat_done(&in->seat);
	if (r == 0)
		r = credentials_oom_score(&in->spec->process, getpid(), e);
	if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		r = err_sys(e, errno, "set not dumpable");
	return r < 0 ? r : birth_join(in, e);
}

/* Returns only in the process that it clones. */
static void run_middle(Init *in, int tell)
{
	Err *e = &in->err;
	int r = prepare_middle(in, e);
	pid_t pid;

	if (r < 0)
		init_fail(in->sock, e, r);
	pid = namespace_fork(&(NamespaceFork){.flags = clone_flags(in) | CLONE_PARENT, .cgroup_fd = -1});
	if (pid == 0) {
		closep(&tell);
		return;
	}
	if (pid < 0)
		init_fail(in->sock, e, clone_failed(pid, clone_flags(in), e));
	_exit(write(tell, &pid, sizeof(pid)) != sizeof(pid));
}

/* Why the middle process told no pid: what it left on the socket. */
static int middle_failed(int sock, Err *e)
{
	char buf[sizeof(Err) + 1];
	ssize_t n = fd_recv_msg(sock, buf, sizeof(buf), NULL, NULL);

	if (n != sizeof(buf) || buf[0] != INIT_FAILED)
		return err_new(e, ERR_INTERNAL, "the process that joins the namespaces ended early");
	return init_told_failure(buf, e);
}

static pid_t fork_by_middle(Init *in, int creator_sock, int *ret_pidfd, Err *e)
{
	_cleanup_close_ int hear = -1;
	pid_t middle, pid = 0;
	ssize_t n;
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	hear = p[0];
	middle = namespace_fork(&(NamespaceFork){.cgroup_fd = in->seat.born_fd});
	if (middle == 0) {
		close_fd(&hear);
		run_middle(in, p[1]);
		return 0;
	}
	closep(&p[1]);
	if (middle < 0)
		return clone_failed(middle, 0, e);
	n = fd_read_full(hear, &pid, sizeof(pid));
	(void)process_reap(middle);
	if (n != sizeof(pid)) {
		/* Its end of the socket is ours too, so that reading would wait for ever were there nothing in it. */
		close_fd(&in->sock);
		return middle_failed(creator_sock, e);
	}
	*ret_pidfd = process_pidfd(pid);
	if (*ret_pidfd >= 0)
		return pid;
	n = err_sys(e, *ret_pidfd, "open the container's process");
	process_kill_child(pid);
	return (pid_t)n;
}

bool birth_needs_middle(const Init *in)
{
	return find_join(in, CLONE_NEWUSER) >= 0 || ((in->new_flags & CLONE_NEWUSER) && in->n_joins > 0);
}

pid_t birth(Init *in, int creator_sock, int *ret_pidfd, Err *e)
{
	return birth_needs_middle(in) ? fork_by_middle(in, creator_sock, ret_pidfd, e)
				      : fork_directly(in, ret_pidfd, e);
}
