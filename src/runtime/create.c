/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creating a container: the creator's side (init.c is the child's).
 *
 * A Creation holds everything made on the way; creation_done() undoes what is there unless `committed`, so every
 * failure leaves by the same door.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

typedef struct Creation {
	const RuntimeOptions *o;
	const RuntimeCreate *c;
	Bundle bundle;
	Cgroup cgroup;
	Scope scope;
	State state;
	Init init;
	int sock; /* our end */
	int gate; /* likewise, of `run`'s gate */
	int console;
	int pidfd;
	int null; /* of the host, or -1 */
	pid_t pid;
	bool dir_made, cgroup_made, hooks_ran, listened, committed;
	bool was_created; /* what fails from there on ends a life, with its hooks */
} Creation;

static void creation_done(Creation *k)
{
	if (!k->committed) {
		process_kill_child(k->pid);
		resctrl_remove(&k->state);
		if (k->cgroup_made) {
			/* Without a pid namespace of its own, what hooks started in it may be left. */
			(void)cgroup_signal(&k->cgroup, SIGKILL, NULL);
			cgroup_undo(&k->cgroup);
		}
		/* Another's unit of the same name, for which ours was not started, stays. */
		cgroup_scope_close(&k->scope.link);
		if (k->scope.started)
			(void)scope_stop(k->o, &k->state, NULL);
		if (k->dir_made)
			(void)state_remove_dir(k->o, k->c->id);
		if (k->was_created)
			control_poststop(k->o, &k->state);
	}
	for (size_t i = 0; i < k->init.n_joins; i++)
		close_fd(&k->init.joins[i].fd);
	cgroup_seat_done(&k->init.seat);
	mount_sources_done(&k->init.sources);
	seccomp_program_done(&k->init.filter);
	close_fd(&k->init.root);
	close_fd(&k->init.start);
	close_fd(&k->gate);
	close_fd(&k->init.sock);
	free(k->init.net_devices);
	json_decref(k->init.hook_state);
	close_fd(&k->sock);
	close_fd(&k->console);
	close_fd(&k->pidfd);
	close_fd(&k->null);
	scope_done(&k->scope);
	cgroup_done(&k->cgroup);
	state_done(&k->state);
	bundle_done(&k->bundle);
}

static int open_namespace(const OciNamespace *n, int flag, int *ret, Err *e)
{
	_cleanup_close_ int fd = open(n->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "open %s namespace %s", n->type, n->path);
	/* setns() checks the kind against the flag, so another file is refused there. */
	*ret = take_fd(&fd);
	return flag == 0 ? -EINVAL : 0;
}

static bool is_our_own(int fd, int flag)
{
	char path[48];
	struct stat theirs, ours;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", namespace_file(flag));
	return fstat(fd, &theirs) == 0 && stat(path, &ours) == 0 && theirs.st_dev == ours.st_dev &&
	       theirs.st_ino == ours.st_ino;
}

/* A namespace that is joined by path may be the host's, whose name and parameters are not for a container to change. */
static int check_shared(const OciSpec *s, uint64_t own, uint64_t shared, Err *e)
{
	if ((shared & CLONE_NEWUTS) && (!str_empty(s->hostname) || !str_empty(s->domainname)))
		return err_new(e, ERR_INVALID,
			       "hostname, domainname: the uts namespace in linux.namespaces is the host's");
	return sysctl_check(s, own & ~shared, e);
}

static int plan_namespaces(Creation *k, Err *e)
{
	const OciSpec *s = &k->bundle.spec;
	Init *in = &k->init;
	uint64_t shared = 0;
	int r;

	for (size_t i = 0; i < s->n_namespaces; i++) {
		const OciNamespace *n = &s->namespaces[i];
		int flag = namespace_flag(n->type), fd = -1;

		k->state.namespaces |= flag;
		if (str_empty(n->path)) {
			in->new_flags |= (uint64_t)flag;
			continue;
		}
		r = open_namespace(n, flag, &fd, e);
		if (r < 0)
			return r;
		shared |= is_our_own(fd, flag) ? (uint64_t)flag : 0;
		in->joins[in->n_joins].flag = flag;
		in->joins[in->n_joins++].fd = fd;
	}
	in->own_mounts = in->new_flags & CLONE_NEWNS;
	in->opens_late = !in->own_mounts && (k->state.namespaces & CLONE_NEWNS);
	in->in_userns = k->state.namespaces & CLONE_NEWUSER;
	r = check_shared(s, (uint64_t)k->state.namespaces, shared, e);
	return r < 0 ? r : userns_check(s, e);
}

/* Who may not mount leaves it to the child, which may in namespaces of its own. */
static int open_mounts(Creation *k, Err *e)
{
	Init *in = &k->init;
	int r = in->opens_late ? 0 : rootfs_open(&k->bundle, k->c->rootfs_fd, &in->root, e);

	in->bind_devices = in->in_userns || namespace_in_user();
	if (r == -EPERM && k->c->rootfs_fd < 0) {
		if (geteuid() != 0 && !in->in_userns)
			return err_new(
			    e, ERR_INVALID,
			    "linux.namespaces: rootless container requires user namespaces (one of type "
			    "\"user\" and mappings, as \"spec --rootless\" writes them)");
		in->opens_late = true;
		return 0;
	}
	return r < 0 || in->opens_late
		   ? r
		   : mount_sources_open(&k->bundle, in->bind_devices, true, &in->sources, e);
}

static int prepare_filter(Creation *k, Err *e)
{
	Init *in = &k->init;
	int r = filter_prepare(k->o, &k->bundle.spec, &k->state, &in->filter, e);

	in->has_filter = k->state.has_filter;
	in->filter_flags = (unsigned)k->state.filter_flags;
	in->filter_by_number = in->has_filter && filter_may_fetch_listener();
	return r;
}

static int fill_state(Creation *k, Err *e)
{
	int r = state_fill(&k->state, k->c->id, &k->bundle, &k->cgroup, &k->scope, e);

	k->state.no_new_keyring = k->c->no_new_keyring;
	if (r == 0 && !k->bundle.spec.process.terminal)
		r = checkpoint_name_pipes(&k->state, &k->c->stdio, e);
	return r;
}

static int prepare(Creation *k, Err *e)
{
	Init *in = &k->init;
	const OciSpec *s = &k->bundle.spec;
	int pair[2], r = validate_spec(s, e);

	in->create = k->c;
	in->bundle = &k->bundle;
	in->spec = s;
	if (r == 0)
		r = attributes_parse(&s->process, &s->personality, &s->memory_policy, &in->attributes, e);
	if (r == 0)
		r = credentials_caps(&s->process, k->o->warn, &in->caps, e);
	if (r == 0)
		r = net_devices_read(s, &in->net_devices, e);
	if (r == 0)
		r = stdio_prepare(&k->c->stdio, &in->stdio, &k->null, e);
	if (r == 0)
		r = state_make_dir(k->o, k->c->id, &k->state.dirfd, e);
	if (r < 0)
		return r;
	k->dir_made = true;
	r = k->c->notify ? notify_add(k->o, k->c->id, k->state.dirfd, &k->bundle.spec, e) : 0;
	if (r < 0)
		return r;
	r = k->c->start ? start_gate(&in->start, &k->gate, e) : start_listen(k->state.dirfd, &in->start, e);
	if (r == 0)
		r = prepare_filter(k, e);
	if (r == 0)
		r = plan_namespaces(k, e);
	if (r == 0)
		r = open_mounts(k, e);
	if (r < 0)
		return r;
	r = limits_resolve_cgroup(k->o, s, k->c->id, &k->scope, &k->cgroup, e);
	if (r == 0 && k->o->rootless && !k->scope.unit.name)
		r = rootless_fit_cgroup(s, &k->cgroup, e);
	if (r == 0)
		r = fill_state(k, e);
	/* Before anything exists outside the directory, so that whoever finds it after a crash knows what to remove. */
	if (r == 0)
		r = state_save(&k->state, e);
	if (r == 0)
		r = limits_make_cgroup(&k->cgroup, &k->scope, s, k->c->id, k->o->rootless, e);
	if (r < 0)
		return r;
	k->cgroup_made = true;
	in->cgroup = &k->cgroup;
	r = cgroup_seat_open(&k->cgroup, NULL, &in->seat, e);
	if (r < 0)
		return r;
	scope_take_seat(&k->scope, &in->seat);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "socketpair");
	k->sock = pair[0];
	in->sock = pair[1];
	return 0;
}

static int send_go(Creation *k, Err *e)
{
	int r = init_send(k->sock, INIT_GO, NULL, 0, -1);

	return r < 0 ? err_sys(e, r, "talk to the container's process") : 0;
}

static int write_maps(Creation *k, Err *e)
{
	int r;

	if (!(k->init.new_flags & CLONE_NEWUSER))
		return 0;
	r = userns_write_maps(k->pid, &k->bundle.spec, e);
	return r < 0 ? r : send_go(k, e);
}

static int run_create_hooks(Creation *k, Err *e)
{
	const OciSpec *s = &k->bundle.spec;
	_cleanup_json_ json_t *doc = state_document(&k->state, RUNTIME_CREATING, k->pid);
	int r;

	if (!doc)
		return err_oom(e);
	r = net_devices_move(s, k->init.net_devices, k->pid, e);
	if (r == 0)
		r = hooks_run(&s->hooks_prestart, "prestart", doc, e);
	if (r == 0)
		r = hooks_run(&s->hooks_create_runtime, "createRuntime", doc, e);
	return r < 0 ? r : send_go(k, e);
}

/* What a child that says nothing more has come to. */
static int child_is_gone(Creation *k, Err *e)
{
	int status = process_reap(k->pid);

	k->pid = 0;
	if (status >= 0 && WIFSIGNALED(status))
		return err_new(e, ERR_INTERNAL,
			       "the container's process was killed by signal %d while it was set up%s",
			       WTERMSIG(status),
			       WTERMSIG(status) == SIGKILL ? " (is the memory limit too low?)" : "");
	return err_new(e, ERR_INTERNAL, "the container's process ended while it was set up");
}

/* At once: every call of the child that the filter notifies of waits for the agent from now on. */
static int pass_listener(Creation *k, const void *number, size_t len, int sent, Err *e)
{
	if (k->listened) {
		closep(&sent);
		return err_new(e, ERR_DENIED, "the process sent a second seccomp listener");
	}
	k->listened = true;

	_cleanup_close_ int fd = filter_take_listener(k->pidfd, number, len, sent, e);
	int r = fd < 0 ? fd
		       : filter_send_listener(k->state.listener_path, k->state.listener_metadata, &k->state,
					      RUNTIME_CREATING, fd, e);

	return r < 0 ? r : send_go(k, e);
}

static int add_offset(StrBuf *b, const char *clock, const OciTimeOffset *t)
{
	if (t->secs || t->nanosecs)
		strbuf_addf(b, "%s %lld %u\n", clock, (long long)t->secs, t->nanosecs);
	return b->oom ? -ENOMEM : 0;
}

/* By us, since the child, being not dumpable, may not open its own file once it is root of a user namespace only. */
static int set_time_offsets(Creation *k, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	char path[48];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/timens_offsets", (int)k->pid);
	if (add_offset(&b, "monotonic", &k->bundle.spec.time_monotonic) < 0 ||
	    add_offset(&b, "boottime", &k->bundle.spec.time_boottime) < 0)
		return err_oom(e);
	r = b.len ? file_write_at(AT_FDCWD, path, b.s) : 0;
	return r < 0 ? err_sys(e, r, "linux.timeOffsets: write %s", path) : send_go(k, e);
}

static int serve_source(Creation *k, const char *number, size_t len, int at, Err *e)
{
	_cleanup_close_ int fd = at;
	size_t i = SIZE_MAX;

	if (len == sizeof(i))
		memcpy(&i, number, sizeof(i));
	return mount_source_serve(&k->init, i, fd, k->pid, k->sock, e);
}

/* 1 when the child is ready, 0 to go on. */
static int handle(Creation *k, Err *e)
{
	char buf[sizeof(Err) + 1];
	size_t n_fds = 1;
	int fd = -1, r;
	ssize_t n = fd_recv_msg(k->sock, buf, sizeof(buf), &fd, &n_fds);

	if (n < 0 && n != -ECONNRESET)
		return err_sys(e, (int)n, "hear from the container's process");
	if (n <= 0)
		return child_is_gone(k, e);
	switch ((InitMsg)buf[0]) {
	case INIT_FAILED:
		if (n != sizeof(buf))
			return err_new(e, ERR_INTERNAL, "the container's process sent half an error");
		r = init_told_failure(buf, e);
		/* A command that cannot be executed is not the runtime's doing. */
		return err_ctx(e, r, "%s",
			       e->kind == ERR_NO_COMMAND || e->kind == ERR_NOT_RUNNABLE ? EXEC_CONTEXT
											: INIT_CONTEXT);
	case INIT_HOOKS:
		if (k->hooks_ran)
			return err_new(e, ERR_INTERNAL, "the container's process asked for its hooks twice");
		k->hooks_ran = true;
		return run_create_hooks(k, e);
	case INIT_CONSOLE:
		return init_take_fd(&k->console, fd, n_fds, e);
	case INIT_LISTENER:
		return pass_listener(k, buf + 1, (size_t)n - 1, n_fds == 1 ? fd : -1, e);
	case INIT_TIME:
		return set_time_offsets(k, e);
	case INIT_SOURCE:
		return serve_source(k, buf + 1, (size_t)n - 1, n_fds == 1 ? fd : -1, e);
	case INIT_READY:
		return 1;
	default:
		return err_new(e, ERR_INTERNAL, "the container's process sent an unknown message");
	}
}

static int set_attributes(Creation *k, Err *e)
{
	int r = attributes_set_for(k->pid, &k->init.attributes, e);

	/* Deadlines are promised for all CPUs of a root domain: a process with fewer gets EPERM (sched_setattr(2)). */
	if (r == -EPERM && !str_empty(k->bundle.spec.resources.cpus))
		return err_new_no(
		    e, ERR_INVALID, EPERM,
		    "process.scheduler: process scheduler can't be used together with AllowedCPUs "
		    "(linux.resources.cpu.cpus \"%s\")",
		    k->bundle.spec.resources.cpus);
	return r;
}

/* Whether finish() does something that the command has to wait for. Marking the container as created is not: until then nobody else can do
 * anything to it but kill it. */
static bool has_to_finish(const Creation *k)
{
	return k->init.in_userns || k->o->rootless || k->c->console_socket || k->c->pid_file;
}

static int open_gate(Creation *k, Err *e)
{
	int r = k->gate >= 0 ? start_open_gate(k->gate, e) : 0;

	close_fd(&k->gate);
	return r;
}

static int accompany(Creation *k, Err *e)
{
	int r = birth_needs_middle(&k->init) ? 0 : credentials_oom_score(&k->bundle.spec.process, k->pid, e);

	if (r == 0)
		r = set_attributes(k, e);
	if (r == 0)
		r = resctrl_enter(&k->bundle.spec, k->c->id, k->pid, &k->state, e);
	if (r == 0)
		r = write_maps(k, e);
	if (r == 0)
		r = state_save_process(&k->state, k->pid, k->pidfd, e);
	if (r == 0 && k->c->start && !has_to_finish(k))
		r = open_gate(k, e);
	while (r == 0)
		r = handle(k, e);
	return r < 0 ? r : 0;
}

static int finish(Creation *k, Err *e)
{
	const OciSpec *s = &k->bundle.spec;
	/* Raising a hard limit takes a privilege that is not to be had inside. */
	int r = k->init.in_userns ? credentials_rlimits(&s->process, k->pid, e) : 0;

	if (k->o->rootless)
		rootless_warn_of_leftovers(k->o, s, &k->cgroup);
	if (r == 0 && k->c->console_socket && k->console >= 0) {
		r = console_send(k->c->console_socket, k->console, e);
		close_fd(&k->console);
	}
	if (r == 0)
		r = state_write_pid_file(k->c->pid_file, k->pid, e);
	if (r == 0)
		r = state_created(&k->state, e);
	k->was_created = r == 0;
	return r;
}

/* The child closes its end by executing. If it ends instead, that is the container's end. */
static int start(Creation *k, Err *e)
{
	char buf[sizeof(Err) + 1];
	int r = open_gate(k, e);
	ssize_t n;

	if (r < 0)
		return r;
	n = fd_recv_msg(k->sock, buf, sizeof(buf), NULL, NULL);
	if (n == sizeof(buf) && buf[0] == INIT_FAILED)
		return init_told_failure(buf, e);
	if (n != 0 && n != -ECONNRESET)
		return err_sys(e, n < 0 ? (int)n : EBADMSG, "hear from the container's process");
	return control_poststart(&k->state, e);
}

static int add_env(OciProcess *p, char *const *extra, Err *e)
{
	for (; extra && *extra; extra++)
		if (strv_env_set(&p->env, *extra) < 0)
			return err_oom(e);
	return 0;
}

/* Tells runc's steps, by the words that are looked for in its log. */
static void debug(const Creation *k, const char *step)
{
	if (k->o->debug)
		k->o->debug(step);
}

static bool has_hooks_inside(const OciSpec *s)
{
	return s->hooks_create_container.n + s->hooks_start_container.n > 0;
}

static int create(Creation *k, Err *e)
{
	int r = init_check_preserved(k->c->preserve_fds, e);

	if (r == 0)
		r = bundle_load(k->c->bundle, &k->bundle, e);
	k->bundle.mounts = k->c->mounts;
	k->bundle.n_mounts = k->c->n_mounts;
	if (r < 0)
		return r;
	r = console_check(k->c->console, k->c->console_socket, k->bundle.spec.process.terminal, e);
	if (r == 0)
		r = add_env(&k->bundle.spec.process, k->c->extra_env, e);
	if (r == 0)
		r = prepare(k, e);
	if (r < 0)
		return r;
	/* The child is born like this; a descriptor or the memory of it is not for its pid namespace to see. But what is not dumpable
	 * belongs to root in /proc, and then only root can write its id maps: without privilege it waits until they are. */
	if (geteuid() == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, errno, "set not dumpable");
	if (has_hooks_inside(&k->bundle.spec)) {
		k->init.hook_state = state_document(&k->state, RUNTIME_CREATING, 0);
		if (!k->init.hook_state)
			return err_oom(e);
	}
	debug(k, "nsexec container setup");
	k->pid = birth(&k->init, k->sock, &k->pidfd, e);
	if (k->pid < 0)
		return k->pid;
	if (k->pid == 0) {
		closep(&k->sock);
		closep(&k->gate);
		init_run(&k->init);
	}
	close_fd(&k->init.sock);
	debug(k, "child process in init()");
	r = scope_settled(&k->scope, &k->cgroup, &k->bundle.spec.resources, k->pid, e);
	if (r == 0)
		r = accompany(k, e);
	if (r == 0)
		debug(k, "init: closing the pipe to signal completion");
	if (r == 0)
		r = finish(k, e);
	return r == 0 && k->c->start ? start(k, e) : r;
}

static int keep(Creation *k, RuntimeKept **ret, Err *e)
{
	RuntimeKept *kept = malloc(sizeof(*kept));

	if (!kept)
		return err_oom(e);
	*kept = (RuntimeKept){k->state, k->cgroup};
	k->state = (State)STATE_INIT;
	k->cgroup = (Cgroup){0};
	*ret = kept;
	return 0;
}

int runtime_create(const RuntimeOptions *o, const RuntimeCreate *c, pid_t *ret_pid, int *ret_pidfd,
		   int *ret_console, Err *e)
{
	Creation k = {
	    .o = o,
	    .c = c,
	    .scope = SCOPE_INIT,
	    .state = STATE_INIT,
	    .init = {.sock = -1,
		     .start = -1,
		     .root = -1,
		     .proc = -1,
		     .sys = -1,
		     .bound_proc = -1,
		     .dev = -1,
		     .console = -1,
		     .seat = {.born_fd = -1},
		     .sources = {.null = -1}},
	    .sock = -1,
	    .gate = -1,
	    .console = -1,
	    .pidfd = -1,
	    .null = -1,
	};
	Err own = {0};
	int r = state_check_id(c->id, e);

	if (r < 0)
		return r;
	if (!e)
		e = &own;
	r = create(&k, e);
	if (r == 0 && c->ret_kept)
		r = keep(&k, c->ret_kept, e);
	k.committed = r == 0;
	if (r == 0) {
		*ret_pid = k.pid;
		*ret_pidfd = take_fd(&k.pidfd);
		*ret_console = take_fd(&k.console);
	}
	creation_done(&k);
	return r;
}
