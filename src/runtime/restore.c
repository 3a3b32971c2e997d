/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container taken up again from the files that checkpoint.c had criu write.
 *
 * criu does what init.c does otherwise: it makes the processes, their namespaces and mounts. Around it are the same steps as in create.c:
 * directory, filter, cgroup, state. It wants the root file system on a mount point of its own; that is made in a mount namespace
 * that only criu is in, so nothing of it is left on the host whatever happens.
 */
#include "runtime/criu-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <signal.h>

#define ROOT_NAME "criu-root"

typedef struct Restoration {
	const RuntimeOptions *o;
	const RuntimeRestore *c;
	Bundle bundle;
	Cgroup cgroup;
	CgroupSeat seat;
	Scope scope;
	State state;
	SeccompProgram filter;
	CriuFiles files;
	CriuOptions *options;
	char *root; /* where criu finds the root file system */
	int version, console, pidfd;
	pid_t pid;
	bool dir_made, cgroup_made, committed;
} Restoration;

static void restoration_done(Restoration *k)
{
	if (!k->committed) {
		process_kill_child(k->pid);
		if (k->cgroup_made) {
			(void)cgroup_signal(&k->cgroup, SIGKILL, NULL);
			cgroup_undo(&k->cgroup);
		}
		cgroup_scope_close(&k->scope.link);
		if (k->scope.started)
			(void)scope_stop(k->o, &k->state, NULL);
		if (k->dir_made)
			(void)state_remove_dir(k->o, k->c->id);
	}
	cgroup_seat_done(&k->seat);
	scope_done(&k->scope);
	cgroup_done(&k->cgroup);
	seccomp_program_done(&k->filter);
	criu_files_done(&k->files);
	criu_options_free(k->options);
	free(k->root);
	close_fd(&k->console);
	close_fd(&k->pidfd);
	state_done(&k->state);
	bundle_done(&k->bundle);
}

static int private_mounts(Err *e)
{
	int r;

	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, errno, "make a mount namespace");
	r = mount_change(AT_FDCWD, "/", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});
	return r < 0 ? err_sys(e, r, "make the mounts private") : 0;
}

/* criu brings back what is in a tmpfs, mount points too; those of cgroups are in one, or appear with sysfs. */
static bool needs_point(const OciSpec *s, size_t i)
{
	const OciMount *m = &s->mounts[i];

	if (streq0(m->type, "cgroup") || streq0(m->type, "cgroup2"))
		return false;
	for (size_t k = 0; k < s->n_mounts; k++) {
		const char *rest = str_after(m->destination, s->mounts[k].destination);

		if (k != i && streq0(s->mounts[k].type, "tmpfs") && rest && *rest == '/')
			return false;
	}
	return true;
}

static int make_point(int root, const OciMount *m, int source, Err *e)
{
	_cleanup_close_ int target = -1;
	struct stat st;
	bool file = source >= 0 && fstat(source, &st) == 0 && !S_ISDIR(st.st_mode);
	int r;

	target = file ? path_touch_in_root(root, m->destination, 0644)
		      : path_mkdir_in_root(root, m->destination, 0755);
	if (target < 0)
		return err_sys(e, target, "make the mount point");
	/* So that mount points in what is bound here are found, or made, there. */
	r = source >= 0 ? mount_attach(source, target) : 0;
	return r < 0 ? err_sys(e, r, "attach") : 0;
}

static int make_points(const Restoration *k, Err *e)
{
	const OciSpec *s = &k->bundle.spec;
	_cleanup_(mount_sources_done) MountSources sources = {.null = -1};
	_cleanup_close_ int root = -1;
	int r = private_mounts(e);

	if (r == 0)
		r = mount_sources_open(&k->bundle, false, false, &sources, e);
	if (r == 0)
		r = rootfs_open(&k->bundle, -1, &root, e);
	if (r < 0)
		return r;
	r = mount_attach_path(root, k->root);
	if (r < 0)
		return err_sys(e, r, "attach the root filesystem to %s", k->root);
	for (size_t i = 0; i < s->n_mounts && r == 0; i++) {
		if (needs_point(s, i))
			r = make_point(root, &s->mounts[i], sources.fds[i], e);
		if (r < 0)
			return err_ctx(e, r, "mount %s", s->mounts[i].destination);
	}
	return r;
}

/* In a process of its own, whose mounts end with it. */
static int prepare_points(const Restoration *k, Err *e)
{
	Err got = {0};
	int p[2], r;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	pid = namespace_fork(&(NamespaceFork){.cgroup_fd = -1});
	if (pid == 0) {
		umask(0);
		r = make_points(k, &got);
		if (r < 0) {
			got.no = got.no ? got.no : -r;
			err_send(p[1], &got);
		}
		_exit(0);
	}
	closep(&p[1]);
	r = pid < 0 ? err_sys(e, pid, "clone a process") : err_recv(p[0], &got);
	closep(&p[0]);
	if (pid < 0)
		return r;
	(void)process_reap(pid);
	if (r < 0)
		return err_sys(e, r, "hear from the process that makes mount points");
	if (r == 1)
		*e = got;
	return r == 1 ? -MAX2(got.no, 1) : 0;
}

static int make_root(Restoration *k, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s/" ROOT_NAME, k->o->root, k->c->id);

	if (!path)
		return err_oom(e);
	if (mkdirat(k->state.dirfd, ROOT_NAME, 0755) < 0)
		return err_sys(e, errno, "make %s", path);
	k->root = realpath(path, NULL);
	return k->root ? 0 : err_sys(e, errno, "find %s", path);
}

static int keep_namespace(Restoration *k, const char *path, const char *key, Err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "Requested network namespace %s does not exist: open", path);
	fd = criu_files_add(&k->files, fd, e);
	return fd < 0 ? fd : criu_add_inherit(k->options, key, fd, e);
}

static int plan_namespaces(Restoration *k, Err *e)
{
	const OciSpec *s = &k->bundle.spec;

	for (size_t i = 0; i < s->n_namespaces; i++)
		k->state.namespaces |= namespace_flag(s->namespaces[i].type);
	/* criu since 3.14 gives what it restores a time namespace. */
	if (k->version >= 31400 && access("/proc/self/ns/time", F_OK) == 0)
		k->state.namespaces |= CLONE_NEWTIME;
	return userns_check(s, e);
}

static int add_joins(Restoration *k, Err *e)
{
	const OciSpec *s = &k->bundle.spec;

	for (size_t i = 0; i < s->n_namespaces; i++) {
		const OciNamespace *n = &s->namespaces[i];
		int flag = namespace_flag(n->type), r = 0;

		if (str_empty(n->path))
			continue;
		if (flag == CLONE_NEWNET)
			r = keep_namespace(k, n->path, "extRootNetNS", e);
		else if (flag == CLONE_NEWPID)
			r = keep_namespace(k, n->path, "extRootPidNS", e);
		else if (flag == CLONE_NEWCGROUP)
			r = err_new(e, ERR_UNSUPPORTED,
				    "criu cannot restore into a cgroup namespace by its path");
		else
			r = criu_add_join(k->options, namespace_file(flag), n->path, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A pipe that was a descriptor of the old container becomes the one that we have in its place. */
static int add_descriptors(Restoration *k, Err *e)
{
	_cleanup_json_ json_t *names = NULL;
	int r = json_load_at(k->files.fds[0], CRIU_DESCRIPTORS, 65536, &names, e);

	if (r < 0)
		return err_ctx(e, r, "%s", k->c->criu.image_path);
	for (size_t i = 0; i < json_array_size(names) && r == 0; i++) {
		const char *name = json_string_value(json_array_get(names, i));

		if (i < 3 && name && strstr(name, "pipe:"))
			r = criu_add_inherit(k->options, name, (int)i, e);
	}
	return r;
}

static int check_lsm(const Restoration *k, Err *e)
{
	const RuntimeCriu *c = &k->c->criu;

	if (k->version >= 31600 || (!c->lsm_profile && !c->lsm_mount_context))
		return 0;
	return err_new(e, ERR_UNSUPPORTED, "%s requires at least CRIU 3.16",
		       c->lsm_profile ? "--lsm-profile" : "--lsm-mount-context");
}

static int fill_options(Restoration *k, Err *e)
{
	CriuOptions *o = k->options = criu_options_new();
	int r = o ? criu_options_fill(&k->c->criu, &k->files, k->bundle.spec.annotations, o, e) : err_oom(e);

	if (r < 0)
		return r;
	o->has_rst_sibling = o->rst_sibling = true; /* what is restored is our child, and not criu's */
	o->has_evasive_devices = o->evasive_devices = true;
	o->root = strdup(k->root);
	if (!o->root)
		return err_oom(e);
	r = add_joins(k, e);
	if (r == 0)
		r = criu_add_spec_mounts(o, &k->bundle, &k->cgroup, 0, e);
	return r < 0 ? r : add_descriptors(k, e);
}

static int prepare_cgroup(Restoration *k, Err *e)
{
	const OciSpec *s = &k->bundle.spec;
	int r = limits_resolve_cgroup(k->o, s, k->c->id, &k->scope, &k->cgroup, e);

	if (r == 0)
		r = state_fill(&k->state, k->c->id, &k->bundle, &k->cgroup, &k->scope, e);
	if (r == 0 && !s->process.terminal)
		r = checkpoint_name_pipes(&k->state, &k->c->stdio, e);
	if (r == 0)
		r = plan_namespaces(k, e);
	if (r == 0)
		r = state_save(&k->state, e);
	if (r == 0)
		r = limits_make_cgroup(&k->cgroup, &k->scope, s, k->c->id, k->o->rootless, e);
	if (r < 0)
		return r;
	k->cgroup_made = true;
	r = cgroup_seat_open(&k->cgroup, NULL, &k->seat, e);
	if (r == 0)
		scope_take_seat(&k->scope, &k->seat);
	return r;
}

static int prepare(Restoration *k, Err *e)
{
	const OciSpec *s = &k->bundle.spec;
	int r = criu_version(&k->version, e);

	if (r == 0)
		r = check_lsm(k, e);
	if (r == 0)
		r = bundle_load(k->c->bundle, &k->bundle, e);
	if (r == 0)
		r = validate_spec(s, e);
	if (r == 0)
		r = console_check(k->c->console, k->c->console_socket, s->process.terminal, e);
	if (r == 0)
		r = criu_files_open(&k->c->criu, false, "restore.log", &k->files, e);
	if (r == 0)
		r = state_make_dir(k->o, k->c->id, &k->state.dirfd, e);
	if (r < 0)
		return r;
	k->dir_made = true;
	r = filter_prepare(k->o, s, &k->state, &k->filter, e);
	if (r == 0)
		r = prepare_cgroup(k, e);
	if (r == 0)
		r = make_root(k, e);
	if (r == 0)
		r = fill_options(k, e);
	return r < 0 ? r : prepare_points(k, e);
}

/* In criu's process. */
static int attach_root(void *data, Err *e)
{
	Restoration *k = data;
	_cleanup_close_ int root = -1;
	int r = private_mounts(e);

	if (r == 0)
		r = criu_files_reopen(&k->files, e);
	if (r == 0)
		r = rootfs_open(&k->bundle, -1, &root, e);
	if (r < 0)
		return r;
	r = mount_attach_path(root, k->root);
	return r < 0 ? err_sys(e, r, "attach the root filesystem to %s", k->root) : 0;
}

/* The cgroups that criu is in by now are those of the container: what was dumped is to be mapped to them. */
static int add_cgroups(void *data, pid_t criu, Err *e)
{
	Restoration *k = data;
	_cleanup_free_ char *text = NULL;
	char path[40], *save = NULL;
	int r = scope_settled(&k->scope, &k->cgroup, &k->bundle.spec.resources, criu, e);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)criu);
	r = file_read_at(AT_FDCWD, path, 1u << 20, &text, NULL);
	if (r < 0)
		return err_sys(e, r, "read %s", path);
	for (char *line = strtok_r(text, "\n", &save); line && r == 0; line = strtok_r(NULL, "\n", &save)) {
		_cleanup_strv_ char **names = NULL;
		char *name = strchr(line, ':'), *own = name ? strchr(name + 1, ':') : NULL;

		if (!own)
			continue;
		*own++ = '\0';
		names = strv_split(name + 1, ',');
		for (size_t i = 0; names && names[i] && r == 0; i++)
			r = criu_add_cgroup(k->options, names[i], own, e);
	}
	return r;
}

static int run_hooks(Restoration *k, pid_t pid, Err *e)
{
	const OciSpec *s = &k->bundle.spec;
	_cleanup_json_ json_t *doc = state_document(&k->state, RUNTIME_CREATING, pid);
	int r;

	if (!doc)
		return err_oom(e);
	r = hooks_run(&s->hooks_prestart, "prestart", doc, e);
	return r < 0 ? r : hooks_run(&s->hooks_create_runtime, "createRuntime", doc, e);
}

static int take_process(Restoration *k, pid_t pid, Err *e)
{
	int r;

	k->pid = pid;
	k->pidfd = process_pidfd(pid);
	r = k->pidfd < 0 ? err_sys(e, k->pidfd, "open the restored process %d", (int)pid) : 0;
	return r < 0 ? r : state_save_process(&k->state, pid, k->pidfd, e);
}

static int notify(void *data, const CriuNotice *n, int fd, Err *e)
{
	Restoration *k = data;
	const char *script = n->script ? n->script : "";

	if (streq(script, "setup-namespaces"))
		return run_hooks(k, n->pid, e);
	if (streq(script, "post-restore"))
		return take_process(k, n->pid, e);
	if (streq(script, "orphan-pts-master") && fd >= 0) {
		close_fd(&k->console);
		k->console = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		return k->console < 0 ? err_sys(e, errno, "keep the terminal") : 0;
	}
	return 0;
}

static int call_criu(Restoration *k, Err *e)
{
	_cleanup_(criu_reply_done) CriuReply reply = {0};
	CriuRequest q = CRIU_REQUEST__INIT;
	int r;

	q.kind = CRIU_KIND__RESTORE;
	q.options = k->options;
	r = criu_call(&(CriuCall){.request = &q,
				  .stdio = k->bundle.spec.process.terminal ? NULL : &k->c->stdio,
				  .files = &k->files,
				  .seat = &k->seat,
				  .data = k,
				  .prepare = attach_root,
				  .started = add_cgroups,
				  .notify = notify},
		      &reply, e);
	if (r < 0)
		return criu_quote_log(&k->files, r, e);
	return k->pid > 0 ? 0 : err_new(e, ERR_INTERNAL, "criu did not tell which process it restored");
}

static int finish(Restoration *k, Err *e)
{
	int r = 0;

	if (k->c->console_socket && k->console >= 0) {
		r = console_send(k->c->console_socket, k->console, e);
		close_fd(&k->console);
	}
	if (r == 0)
		r = state_write_pid_file(k->c->pid_file, k->pid, e);
	if (r == 0 && unlinkat(k->state.dirfd, ROOT_NAME, AT_REMOVEDIR) < 0)
		r = err_sys(e, errno, "remove %s", k->root);
	if (r == 0)
		r = state_created(&k->state, e);
	return r;
}

int runtime_restore(const RuntimeOptions *o, const RuntimeRestore *c, pid_t *ret_pid, int *ret_pidfd,
		    int *ret_console, Err *e)
{
	Restoration k = {.o = o,
			 .c = c,
			 .scope = SCOPE_INIT,
			 .seat = {.born_fd = -1},
			 .state = STATE_INIT,
			 .console = -1,
			 .pidfd = -1};
	Err own = {0};
	int r = state_check_id(c->id, e);

	if (r < 0)
		return r;
	if (!e)
		e = &own;
	r = prepare(&k, e);
	if (r == 0)
		r = call_criu(&k, e);
	if (r == 0)
		r = finish(&k, e);
	k.committed = r == 0;
	if (r == 0) {
		*ret_pid = k.pid;
		*ret_pidfd = take_fd(&k.pidfd);
		*ret_console = take_fd(&k.console);
	}
	restoration_done(&k);
	return r;
}
