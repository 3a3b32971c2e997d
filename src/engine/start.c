/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting: root filesystem, spec, network and container, in this order; a failure undoes them in reverse. The shim's program and the
 * network namespace, which take long and need nothing of the others, are begun first and come up meanwhile.
 *
 * Container.life is held throughout, so the end of a container that exits at once is worked off only
 * after its start is complete (ended.c takes the same lock).
 *
 * The row says that it runs just before it does: when the engine dies in between, the next one finishes the start (adopt.c). The other way
 * round it would run without anybody's knowledge, and once more when its client asks again.
 */
#include "engine/pod-internal.h"
#include "engine/log-options.h"
#include "kernel/mount.h"

#include <signal.h>

typedef struct Start {
	Engine *en;
	Container *c;
	NetSetup net;
	EngineSpare *spare;         /* what was begun before, or NULL */
	NetworkNamespaceJob *netns; /* being made, or NULL */
	bool has_hooks, joins_late; /* the network is made while the shim creates the container */
	LogPlan log;
	int rootfs_fd, userns_fd;
	UserRemap ids; /* of its user namespace */
	NamespaceIdMap pod_ids[2];
	int *mount_fds; /* see mounts_open_made() */
	size_t n_mount_fds;
	const char *runtime; /* program, or NULL: ours */
	char *runtime_root, *run_dir, *netns_path, *cgroup_path, *ipc_path, *pid_path, *shm_path,
	    *init_program, *userns_path, *uts_path;
	Shim *shim;
	pid_t shim_pid, init_pid;
	bool shim_waits; /* to be told what to create */
	int events_fd;
	bool entered; /* what follows is what it was before */
	ContainerStatus status;
	int64_t started_ns, finished_ns;
	HealthBefore health;
} Start;

static void start_done(Start *s)
{
	if (s->netns)
		(void)network_namespace_end(s->netns, &s->net.made_fd, NULL);
	engine_spare_drop(s->spare);
	net_setup_done(&s->net);
	close_fd(&s->rootfs_fd);
	for (size_t i = 0; i < s->n_mount_fds; i++)
		close_fd(&s->mount_fds[i]);
	free(s->mount_fds);
	close_fd(&s->userns_fd);
	close_fd(&s->events_fd);
	free(s->userns_path);
	free(s->health.status);
	free(s->runtime_root);
	free(s->run_dir);
	free(s->netns_path);
	log_plan_done(&s->log);
	free(s->cgroup_path);
	free(s->ipc_path);
	free(s->pid_path);
	free(s->uts_path);
	free(s->shm_path);
	free(s->init_program);
	shim_unref(s->shim);
}

/* A container is joined while it runs: its first process leads to its namespaces. */
static int joined_pid(Container *other, pid_t *ret, Err *e)
{
	pthread_mutex_lock(&other->state);
	ContainerStatus s = other->status;
	*ret = other->pid;
	pthread_mutex_unlock(&other->state);
	if (s == CONTAINER_RESTARTING)
		return err_new(e, ERR_CONFLICT,
			       "Container %s is restarting, wait until the container is running", other->id);
	if ((s != CONTAINER_RUNNING && s != CONTAINER_PAUSED) || *ret <= 0)
		return err_new(e, ERR_CONFLICT, "container %s is not running", other->id);
	return 0;
}

static bool ipc_is_shared(const Container *other)
{
	const char *mode = other->config.host.ipc_mode ?: "";

	return streq(mode, "shareable") || streq(mode, "host") || str_starts(mode, "container:");
}

/* "/proc/<pid>/ns/<ns>" of the container that mode ("container:x") names. */
static int joined_namespace(Engine *en, const char *mode, const char *ns, char **ret, Err *e)
{
	const char *ref = mode ? str_after(mode, "container:") : NULL;
	bool ipc = streq(ns, "ipc");
	_cleanup_container_ Container *other = NULL;
	pid_t pid = 0;
	int r;

	if (!ref)
		return 0;
	r = container_find(en, ref, &other, e);
	if (r >= 0)
		r = joined_pid(other, &pid, e);
	if (r >= 0 && ipc && !ipc_is_shared(other))
		r = err_new(e, ERR_INVALID,
			    "non-shareable IPC (hint: use IpcMode:shareable for the donor container)");
	if (r < 0)
		return err_ctx(e, r, "can't join %s of container %s", ipc ? "IPC" : "PID namespace", ref);
	*ret = strf("/proc/%d/ns/%s", pid, ns);
	return *ret ? 0 : err_oom(e);
}

/* --init is for a pid namespace of the container's own: another one has its first process already. */
static int init_choose(Start *s, Err *e)
{
	const ContainerHost *h = &s->c->config.host;

	if (!(h->has_init ? h->init : s->en->options.init) || !str_empty(h->pid_mode))
		return 0;
	s->init_program = strf("%s/ireko-init", s->en->options.helper_dir);
	if (!s->init_program)
		return err_oom(e);
	if (access(s->init_program, X_OK) < 0)
		return err_new(e, ERR_UNAVAILABLE, "--init: %s cannot be executed: is ireko installed whole?",
			       s->init_program);
	return 0;
}

static int paths_choose(Start *s, Err *e)
{
	const ContainerHost *h = &s->c->config.host;
	int r = joined_namespace(s->en, h->ipc_mode, "ipc", &s->ipc_path, e);

	if (r >= 0)
		r = joined_namespace(s->en, h->pid_mode, "pid", &s->pid_path, e);
	if (r >= 0 && container_is_member(s->c) && !streq0(h->uts_mode, "host"))
		r = joined_namespace(s->en, h->network_mode, "uts", &s->uts_path, e);
	if (r >= 0)
		r = init_choose(s, e);
	if (r < 0)
		return r;
	/* A shared IPC namespace shares /dev/shm with it. */
	if (s->ipc_path) {
		s->shm_path = strf("/proc/%d/root/dev/shm", atoi(s->ipc_path + strlen("/proc/")));
	} else if (streq0(h->ipc_mode, "host")) {
		s->shm_path = strdup("/dev/shm");
	}
	s->cgroup_path = container_cgroup_path(s->en, s->c);
	return s->cgroup_path ? 0 : err_oom(e);
}

/* The default filter is compiled once by the engine, so that no shim spends time and memory on it. */
static int seccomp_prepare(const Start *s, const json_t *spec, Err *e)
{
	const json_t *section = json_object_get(json_object_get(spec, "linux"), "seccomp");
	Engine *en = s->en;
	OciSeccomp seccomp = {0};
	int r;

	if (!section || s->runtime)
		return 0;
	r = oci_seccomp_decode(section, &seccomp, e);
	if (r >= 0)
		r = runtime_seccomp_prepare(&seccomp, en->seccomp_dir, e);
	oci_seccomp_done(&seccomp);
	return err_ctx(e, r, "seccomp profile");
}

/* Which ids names and the image's accounts have come to. */
static int note_ids(Container *c, const json_t *spec, Err *e)
{
	const json_t *user = json_object_get(json_object_get(spec, "process"), "user"), *group;
	_cleanup_strv_ char **ids = NULL;
	size_t i;

	if (!container_is_member(c))
		return 0;
	if (strv_take(&ids, strf("%lld", (long long)json_get_int(user, "uid", 0))) < 0 ||
	    strv_take(&ids, strf("%lld", (long long)json_get_int(user, "gid", 0))) < 0)
		return err_oom(e);
	json_array_foreach (json_object_get(user, "additionalGids"), i, group)
		if (strv_take(&ids, strf("%lld", (long long)json_integer_value(group))) < 0)
			return err_oom(e);
	pthread_mutex_lock(&c->state);
	strv_free(c->ran_as);
	c->ran_as = take_ptr(ids);
	pthread_mutex_unlock(&c->state);
	return 0;
}

static int spec_write(Start *s, Err *e)
{
	SpecInput in = {
	    .c = s->c,
	    .rootfs_fd = s->rootfs_fd,
	    .hostname_file = s->net.hostname_file,
	    .hosts_file = s->net.hosts_file,
	    .resolv_file = s->net.resolv_file,
	    .hostname = s->net.hostname,
	    .ipc_path = s->ipc_path,
	    .pid_path = s->pid_path,
	    .uts_path = s->uts_path,
	    .host_network = s->net.host,
	    .netns_path = s->netns_path,
	    .cgroup_path = s->cgroup_path,
	    .userns_path = s->userns_path,
	    .remap = &s->ids,
	    .shm_host_path = s->shm_path,
	    .init_program = s->init_program,
	    .bundle = s->run_dir,
	};
	_cleanup_close_ int dir = open(s->run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_json_ json_t *spec = NULL;
	int r;

	if (dir < 0)
		return err_sys(e, errno, "open %s", s->run_dir);
	r = spec_build(s->en, &in, &spec, e);
	s->has_hooks = json_object_get(spec, "hooks") != NULL;
	if (r >= 0)
		r = note_ids(s->c, spec, e);
	if (r >= 0)
		r = seccomp_prepare(s, spec, e);
	if (r >= 0)
		r = json_save_at(dir, "config.json", spec, 0600, false, e);
	return r;
}

static int shim_begin(Start *s, Err *e)
{
	_cleanup_free_ char *pod_dir = NULL;
	int r;

	if (container_is_member(s->c) && !(pod_dir = pod_shim_dir(s->en, s->c)))
		return err_oom(e);
	s->run_dir = container_run_dir(s->en, s->c);
	if (!s->run_dir)
		return err_oom(e);
	if (spare_take_shim(s->spare, &s->shim, &s->shim_pid)) {
		s->shim_waits = true;
		return 0;
	}
	r = mkdir_parents_at(AT_FDCWD, s->run_dir, 0700);
	if (r < 0)
		return err_sys(e, r, "make %s", s->run_dir);
	r = container_is_member(s->c)
		? shim_join(pod_dir, s->run_dir, s->c->id, &s->shim, &s->shim_pid, e)
		: shim_spawn(s->en->shim_program, s->run_dir, s->c->id, &s->shim, &s->shim_pid, e);
	s->shim_waits = r >= 0;
	return err_ctx(e, r, "failed to create task for container");
}

static int shim_make(Start *s, Err *e)
{
	const ContainerConfig *k = &s->c->config;
	ShimCreate sc = {
	    .dir = s->run_dir,
	    .id = s->c->id,
	    .runtime = s->runtime,
	    .runtime_root = s->runtime_root,
	    .seccomp_cache = s->en->seccomp_dir,
	    .scope_dir = s->en->options.systemd_cgroup ? s->en->options.helper_dir : NULL,
	    .terminal = k->tty,
	    .open_stdin = k->open_stdin,
	    .stdin_once = k->stdin_once,
	    .log = s->log.shim,
	    .rootfs_fd = s->rootfs_fd,
	    .netns_fd = s->net.netns_fd,
	    .mount_fds = s->mount_fds,
	    .n_mount_fds = s->n_mount_fds,
	    .hold_fds = s->net.hold_fds,
	    .n_hold_fds = s->net.n_hold_fds,
	    .rows = (uint16_t)k->host.console_height,
	    .cols = (uint16_t)k->host.console_width,
	    .watch_oom = k->host.memory > 0,
	};
	Err network_err = {0};
	int network = 0, r = shim_create_begin(s->shim, s->shim_pid, &sc, e);

	s->shim_waits = false;
	if (r >= 0 && s->joins_late)
		network = endpoint_setup_network(s->en, s->c, &s->net, &network_err);
	if (r >= 0)
		r = shim_create_end(s->shim, s->shim_pid, &sc, &s->init_pid, e);
	if (r < 0) { /* it is gone; one that was killed, as it gave no answer, could not tidy up */
		shim_unref(s->shim);
		s->shim = NULL;
		container_orphan_remove(s->en, s->c);
	}
	if (network < 0)
		return err_new_no(e, network_err.kind, network_err.no, "%s", network_err.msg);
	return err_ctx(e, r, "failed to create task for container");
}

static PendingAttach *pending_take(Container *c)
{
	pthread_mutex_lock(&c->state);
	PendingAttach *p = take_ptr(c->pending);
	pthread_mutex_unlock(&c->state);
	return p;
}

static int attach_pending(Start *s, Err *e)
{
	PendingAttach *all = pending_take(s->c);
	int r = 0;

	for (PendingAttach *p = all; r >= 0 && p; p = p->next)
		r = attach_to_shim(s->c, s->shim, p, e);
	pending_free(all);
	return r;
}

static void enter_running(Start *s)
{
	Container *c = s->c;

	pthread_mutex_lock(&c->state);
	s->entered = true;
	s->status = c->status;
	s->started_ns = c->started_ns;
	s->finished_ns = c->finished_ns;
	c->status = CONTAINER_RUNNING;
	health_begin(c, &s->health);
	c->pid = s->init_pid;
	c->shim_pid = container_is_member(c) ? 0 : s->shim_pid; /* what is to be reaped with it */
	c->started_ns = clock_now_ns();
	c->finished_ns = 0;
	c->exit_code = 0;
	c->oom_killed = false;
	c->stop_requested = false;
	free(c->error);
	c->error = NULL;
	snprintf(c->boot, sizeof(c->boot), "%s", id_boot());
	shim_unref(c->shim);
	c->shim = shim_ref(s->shim);
	pthread_mutex_unlock(&c->state);
}

static void leave_running(Start *s)
{
	Container *c = s->c;

	if (!s->entered)
		return;
	pthread_mutex_lock(&c->state);
	c->status = s->status;
	c->started_ns = s->started_ns;
	c->finished_ns = s->finished_ns;
	c->pid = c->shim_pid = 0;
	health_take_back(c, &s->health);
	shim_unref(c->shim);
	c->shim = NULL;
	pthread_mutex_unlock(&c->state);
}

/* The shim ends when its container is killed before the start; its exit is then nobody's news. One that was not told to start for two
 * minutes, as a process in the pid namespace that its container joins has stopped the container, does not. */
static void undo_shim(Start *s)
{
	if (!s->shim)
		return;
	if (s->shim_waits)
		shim_abandon(s->shim, s->shim_pid);
	else if (!shim_undo(s->shim, s->shim_pid))
		container_orphan_remove(s->en, s->c);
	shim_unref(s->shim);
	s->shim = NULL;
}

/* Before anything is made: the engine may have been told of others than when the container was created. */
static int runtime_choose(Start *s, Err *e)
{
	const char *name = s->c->config.host.runtime;
	int r = runtime_find(s->en, name, &s->runtime, e);

	if (r < 0)
		return r;
	s->runtime_root = runtime_state_root(s->en, name, s->runtime);
	if (!s->runtime_root)
		return err_oom(e);
	if (s->runtime && access(s->runtime, X_OK) < 0)
		return err_new(e, ERR_UNAVAILABLE, "runtime %s: %s cannot be executed: is it installed?",
			       name, s->runtime);
	return 0;
}

/* The runtime opens it by our descriptor, which stays open until the container has been made. */
static int userns_make(Start *s, Err *e)
{
	const ContainerConfig *k = &s->c->config;
	int r = remap_of(s->en, k, s->pod_ids, &s->ids, e);

	if (r >= 0)
		r = remap_open(s->en, k, &s->ids, &s->userns_fd, &s->net.made_fd, e);
	if (r < 0 || s->userns_fd < 0)
		return r;
	if (s->runtime && container_in_pod(s->c))
		return err_new(e, ERR_UNSUPPORTED,
			       "runtime %s is not offered in a user namespace of a pod: use %s",
			       k->host.runtime, ENGINE_OWN_RUNTIME);
	if (s->runtime)
		return err_new(e, ERR_UNSUPPORTED,
			       "runtime %s is not offered with --userns-remap: use %s, or --userns host",
			       k->host.runtime, ENGINE_OWN_RUNTIME);
	s->userns_path = strf("/proc/%d/fd/%d", (int)getpid(), s->userns_fd);
	return s->userns_path ? 0 : err_oom(e);
}

/* NULL: ids are the host's. */
static const StoreShift *shift_of(const Start *s, StoreShift *buf)
{
	if (s->userns_fd < 0)
		return NULL;
	*buf = (StoreShift){s->userns_fd, s->ids.uids[0].outside, s->ids.gids[0].outside};
	return buf;
}

static int rootfs_mount(Start *s, Err *e)
{
	StoreShift buf;
	const StoreShift *shift = shift_of(s, &buf);

	if (container_is_pause(s->c))
		return pod_root_open(s->en, &s->rootfs_fd, e);
	if (container_is_step(s->c) && !container_is_kept_step(s->c))
		return store_snapshot_mount_once(s->en->store, s->c->id, shift, &s->rootfs_fd, e);
	return shift ? store_snapshot_mount_shifted(s->en->store, s->c->id, shift, &s->rootfs_fd, e)
		     : store_snapshot_mount(s->en->store, s->c->id, false, &s->rootfs_fd, e);
}

static int made_mounts_open(Start *s, Err *e)
{
	StoreShift buf;

	return mounts_open_made(s->en, s->c, shift_of(s, &buf), &s->mount_fds, &s->n_mount_fds, e);
}

/* A runtime that is a program would open another container's /dev/shm by name, from our own root, and follow whatever link is there: it is
 * given the mount. Ours knows what such a path is. */
static int joined_shm_open(Start *s, Err *e)
{
	char *named;
	int *grown, fd;

	if (!s->runtime || !s->ipc_path)
		return 0;
	grown = reallocarray(s->mount_fds, s->n_mount_fds + 1, sizeof(*grown));
	if (!grown)
		return err_oom(e);
	s->mount_fds = grown;
	named = strf("%s/" RUNTIME_MOUNTS "/%zu", s->run_dir, s->n_mount_fds);
	fd = named ? mount_clone_foreign(s->shm_path, true) : -ENOMEM;
	if (fd < 0) {
		free(named);
		return err_sys(e, fd, "open %s", s->shm_path);
	}
	s->mount_fds[s->n_mount_fds++] = fd;
	free(s->shm_path);
	s->shm_path = named;
	return 0;
}

/* A namespace that belongs to a user namespace was made with that. */
static int netns_begin_own(Start *s, Err *e)
{
	const char *arg;
	NetMode mode = net_mode(s->c, &arg);

	/* What comes into a pod's is the plugins' to set up. */
	bool bare = mode == NET_NONE || mode == NET_POD;

	if ((mode != NET_BRIDGE && !bare) || s->net.made_fd >= 0)
		return 0;
	s->netns = spare_take_netns(s->spare, bare);
	return s->netns ? 0 : network_namespace_begin(bare, &s->netns, e);
}

static int network_prepare(Start *s, Err *e)
{
	int r = endpoint_prepare(s->en, s->c, &s->net, e);

	/* The shim of a pod has the sandbox's descriptor no more: it is joined as the other namespaces are. */
	if (container_is_member(s->c))
		close_fd(&s->net.netns_fd);
	if (r < 0 || s->net.host)
		return r;
	if (container_is_member(s->c))
		return joined_namespace(s->en, s->c->config.host.network_mode, "net", &s->netns_path, e);
	s->netns_path = shim_netns_path(s->shim_pid);
	return s->netns_path ? 0 : err_oom(e);
}

/* A hook may look at interfaces, and a runtime that is a program is nobody's to trust with less than it is used to. */
static int network_set_up(Start *s, Err *e)
{
	NetworkNamespaceJob *job = take_ptr(s->netns);
	int r = job ? network_namespace_end(job, &s->net.made_fd, e) : 0;

	s->joins_late = !s->runtime && !s->has_hooks && endpoint_is_simple(s->en, s->c);
	if (r < 0)
		return r;
	return s->joins_late ? endpoint_setup_files(s->en, s->c, &s->net, e)
			     : endpoint_setup(s->en, s->c, &s->net, e);
}

static int start_steps(Start *s, Err *e)
{
	Container *c = s->c;
	int r = runtime_choose(s, e);

	if (r >= 0)
		r = userns_make(s, e);
	if (r >= 0)
		r = netns_begin_own(s, e);
	if (r >= 0)
		r = shim_begin(s, e);
	if (r >= 0)
		r = rootfs_mount(s, e);
	if (r >= 0)
		r = paths_choose(s, e);
	if (r >= 0)
		r = mounts_hold(s->en, c, e);
	if (r >= 0)
		r = made_mounts_open(s, e);
	if (r >= 0)
		r = joined_shm_open(s, e);
	if (r >= 0)
		r = network_prepare(s, e);
	if (r >= 0)
		r = spec_write(s, e);
	if (r >= 0)
		r = network_set_up(s, e);
	if (r >= 0)
		r = log_plan_make(s->en, c, &s->log, e);
	if (r >= 0)
		r = shim_make(s, e);
	if (r >= 0)
		r = endpoint_publish(s->en, c, &s->net, e);
	if (r >= 0)
		r = attach_pending(s, e);
	if (r >= 0)
		r = shim_events_open(s->run_dir, false, &s->events_fd, NULL, e);
	if (r < 0)
		return r;
	enter_running(s);
	r = container_save(s->en, c, e);
	if (r >= 0)
		r = shim_start(s->shim, e);
	if (r >= 0)
		r = watch_container(s->en, c, s->events_fd, e);
	if (r >= 0)
		s->events_fd = -1;
	return r;
}

static void record_failure(Engine *en, Container *c, const char *why, ErrKind kind)
{
	Err err = {0};
	int r;

	pthread_mutex_lock(&c->state);
	free(c->error);
	c->error = strdup(why);
	c->exit_code = kind == ERR_NO_COMMAND ? 127 : kind == ERR_NOT_RUNNABLE ? 126 : 128;
	pthread_mutex_unlock(&c->state);
	r = container_save(en, c, &err);
	if (r < 0)
		log_error("container %.12s: %s", c->id, err_msg(&err, r));
}

int container_start_locked(Engine *en, Container *c, Err *e)
{
	Start s = {.en = en,
		   .c = c,
		   .spare = take_ptr(c->spare),
		   .rootfs_fd = -1,
		   .userns_fd = -1,
		   .events_fd = -1,
		   .net.netns_fd = -1,
		   .net.made_fd = -1};
	Err own = {0};
	int r;

	if (!e)
		e = &own;
	r = start_steps(&s, e);
	if (r < 0) {
		leave_running(&s);
		undo_shim(&s);
		mounts_release(en, c);
		endpoint_teardown(en, c);
		pending_free(pending_take(c));
		if (s.run_dir)
			(void)remove_tree_at(AT_FDCWD, s.run_dir);
		record_failure(en, c, err_msg(e, r), e->kind);
		start_done(&s);
		return r;
	}
	start_done(&s);
	container_event(en, c, "start", NULL);
	health_go_on(en, c);
	return 0;
}

int container_start_anew_locked(Engine *en, Container *c, Err *e)
{
	pthread_mutex_lock(&c->state);
	c->restart_count = 0;
	c->backoff_ms = 0;
	c->restart_turn++;
	pthread_mutex_unlock(&c->state);
	return container_start_locked(en, c, e);
}

int engine_container_start(Engine *en, const char *ref, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int r = container_find(en, ref, &c, e);

	if (r >= 0)
		r = pod_guard(c, "start", e);
	return r < 0 ? r : container_start(en, c, ref, e);
}

int container_start(Engine *en, Container *c, const char *ref, Err *e)
{
	int r;

	container_lock(c);
	switch (container_status(c)) {
	case CONTAINER_RUNNING:
	case CONTAINER_RESTARTING:
		r = err_new(e, ERR_NOT_MODIFIED, "container %s is already running", ref);
		break;
	case CONTAINER_PAUSED:
		r = err_new(e, ERR_CONFLICT, "cannot start a paused container, try unpause instead");
		break;
	case CONTAINER_DEAD:
		r = err_new(e, ERR_CONFLICT, "container is marked for removal and cannot be started");
		break;
	default:
		r = c->removed ? err_new(e, ERR_NOT_FOUND, "No such container: %s", ref)
		    : container_is_member(c) && c->started_ns ? pod_ran_before(c, e)
							      : container_start_anew_locked(en, c, e);
		/* --rm holds for a start that failed too: nobody else would remove it, and its waiters wait for that. */
		if (r < 0 && c->config.host.auto_remove && !c->removed)
			(void)container_remove_locked(en, c, true, NULL);
	}
	pthread_mutex_unlock(&c->life);
	return r;
}
