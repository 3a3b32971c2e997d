/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container written to files by criu, to be taken up again by restore.c.
 *
 * The config is that of the bundle. Beside criu's images lies descriptors.json, the names that the descriptors 0 to 2 had when
 * the container was created: a restored container gets the new ones in place of those that were pipes.
 */
#include "runtime/criu-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"

#include <fcntl.h>

typedef struct Checkpoint {
	const RuntimeOptions *o;
	const RuntimeCriu *c;
	State state;
	Bundle bundle;
	Cgroup cgroup;
	CriuFiles files;
	int version, status_fd;
} Checkpoint;

static void checkpoint_done(Checkpoint *k)
{
	state_done(&k->state);
	bundle_done(&k->bundle);
	cgroup_done(&k->cgroup);
	criu_files_done(&k->files);
}

int checkpoint_name_pipes(State *s, const RuntimeStdio *io, Err *e)
{
	const int fds[] = {io->in, io->out, io->err};
	char names[3][64] = {"", "", ""};
	bool any = false;

	for (size_t i = 0; i < 3; i++) {
		struct stat st;
		ssize_t n;

		if (fds[i] < 0 || fstat(fds[i], &st) < 0 || !S_ISFIFO(st.st_mode))
			continue;
		n = readlink(path_of_fd(fds[i]).s, names[i], sizeof(names[i]) - 1);
		names[i][MAX2(n, (ssize_t)0)] = '\0';
		any = true;
	}
	for (size_t i = 0; any && i < 3; i++)
		if (strv_add(&s->descriptors, names[i]) < 0)
			return err_oom(e);
	return 0;
}

static int check_parent(const RuntimeCriu *c, Err *e)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (str_empty(c->parent_path))
		return 0;
	if (c->parent_path[0] == '/')
		return err_new(e, ERR_INVALID, "--parent-path must be relative");
	path = strf("%s/%s", c->image_path, c->parent_path);
	if (!path)
		return err_oom(e);
	if (stat(path, &st) < 0)
		return err_sys(e, errno, "invalid --parent-path: %s", path);
	return S_ISDIR(st.st_mode) ? 0 : err_sys(e, ENOTDIR, "invalid --parent-path: %s", path);
}

static int check_status_fd(int fd, Err *e)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return err_sys(e, errno, "invalid --status-fd argument %d", fd);
	return (flags & O_ACCMODE) == O_RDONLY
		   ? err_new(e, ERR_INVALID, "invalid --status-fd argument %d: not writable", fd)
		   : 0;
}

static int check_features(Checkpoint *k, Err *e)
{
	const RuntimeCriu *c = k->c;
	int r = criu_version(&k->version, e);

	if (r == 0 && (c->pre_dump || c->lazy_pages))
		r = criu_need_features(c->pre_dump, c->lazy_pages, e);
	if (r == 0 && c->lazy_pages && c->status_fd >= 0)
		r = check_status_fd(c->status_fd, e);
	/* It tells by a notification that lazy pages can be had. */
	if (r == 0 && c->lazy_pages && c->status_fd >= 0 && k->version < 31500)
		r = err_new(e, ERR_UNSUPPORTED, "--status-fd requires at least CRIU 3.15");
	return r;
}

/* One that is known by its path lives on, and is only named: "net[4026531840]:extRootNetNS". */
static int add_external(CriuOptions *o, const OciSpec *s, const char *type, const char *file, const char *key,
			Err *e)
{
	for (size_t i = 0; i < s->n_namespaces; i++) {
		const OciNamespace *n = &s->namespaces[i];
		struct stat st;

		if (!streq0(n->type, type) || str_empty(n->path))
			continue;
		if (stat(n->path, &st) < 0)
			return err_sys(e, errno, "%s namespace %s", type, n->path);
		return criu_add_external(o, strf("%s[%lu]:%s", file, (unsigned long)st.st_ino, key), e);
	}
	return 0;
}

/* Frozen by its cgroup, or else criu stops one process after the other. */
static int add_freezer(const Checkpoint *k, CriuOptions *o, Err *e)
{
	const char *dir = cgroup_dir(&k->cgroup, "freezer");

	if (!dir || (cgroup_is_unified(&k->cgroup) && k->version < 31400))
		return 0;
	o->freeze_cgroup = strdup(dir);
	return o->freeze_cgroup ? 0 : err_oom(e);
}

static int fill(Checkpoint *k, CriuOptions *o, Err *e)
{
	const OciSpec *s = &k->bundle.spec;
	int r = criu_options_fill(k->c, &k->files, k->state.annotations, o, e);

	if (r < 0)
		return r;
	o->has_pid = true;
	o->pid = k->state.pid;
	o->root = strdup(k->state.rootfs);
	if (!o->root)
		return err_oom(e);
	r = add_external(o, s, "network", "net", "extRootNetNS", e);
	if (r == 0)
		r = add_external(o, s, "pid", "pid", "extRootPidNS", e);
	if (r == 0)
		r = add_freezer(k, o, e);
	/* A pre-dump is of memory alone. */
	return r < 0 || k->c->pre_dump ? r : criu_add_spec_mounts(o, &k->bundle, &k->cgroup, k->state.pid, e);
}

static int write_descriptors(const Checkpoint *k, Err *e)
{
	_cleanup_json_ json_t *list = json_array();
	_cleanup_free_ char *text = NULL;
	int r;

	for (size_t i = 0; i < 3; i++) {
		const char *name = strv_len(k->state.descriptors) == 3 ? k->state.descriptors[i] : "";

		if (!list || json_array_append_new(list, json_string(name)) < 0)
			return err_oom(e);
	}
	text = json_text(list);
	if (!text)
		return err_oom(e);
	r = file_replace_at(k->files.fds[0], CRIU_DESCRIPTORS, text, strlen(text), 0600, false);
	return r < 0 ? err_sys(e, r, "write %s/" CRIU_DESCRIPTORS, k->c->image_path) : 0;
}

/* The network is not ours to lock: it is the engine's, which knows that it asked for a checkpoint. */
static int notify(void *data, const CriuNotice *n, int fd, Err *e)
{
	Checkpoint *k = data;

	if (streq0(n->script, "status-ready") && k->status_fd >= 0) {
		int w = fd_write_all(k->status_fd, "", 1);

		close_fd(&k->status_fd);
		if (w < 0)
			return err_sys(e, w, "write to --status-fd %d", k->c->status_fd);
	}
	return 0;
}

static int dump(Checkpoint *k, Err *e)
{
	_cleanup_(criu_options_freep) CriuOptions *options = criu_options_new();
	_cleanup_(criu_reply_done) CriuReply reply = {0};
	CriuRequest q = CRIU_REQUEST__INIT;
	int r;

	if (!options)
		return err_oom(e);
	r = fill(k, options, e);
	if (r == 0 && !k->c->pre_dump)
		r = write_descriptors(k, e);
	if (r < 0)
		return r;
	q.kind = k->c->pre_dump ? CRIU_KIND__PRE_DUMP : CRIU_KIND__DUMP;
	q.options = options;
	r = criu_call(&(CriuCall){.request = &q, .files = &k->files, .data = k, .notify = notify}, &reply, e);
	return r < 0 ? criu_quote_log(&k->files, r, e) : 0;
}

static int checkpoint(Checkpoint *k, const char *id, Err *e)
{
	RuntimeStatus status;
	int r = state_load(k->o, id, &k->state, e);

	if (r < 0)
		return r;
	status = state_status(&k->state, NULL);
	if (status != RUNTIME_RUNNING && status != RUNTIME_PAUSED)
		return err_new(e, ERR_CONFLICT, "Container cannot be checkpointed in %s state",
			       runtime_status_name(status));
	r = bundle_load(k->state.bundle, &k->bundle, e);
	if (r == 0)
		r = cgroup_from_strv(k->state.cgroup, &k->cgroup, e);
	if (r == 0)
		r = check_features(k, e);
	if (r == 0)
		r = criu_files_open(k->c, true, "dump.log", &k->files, e);
	if (r == 0)
		r = check_parent(k->c, e);
	return r < 0 ? r : dump(k, e);
}

int runtime_checkpoint(const RuntimeOptions *o, const char *id, const RuntimeCriu *c, Err *e)
{
	Checkpoint k = {.o = o, .c = c, .state = STATE_INIT, .status_fd = c->status_fd};
	Err own = {0};
	int r = checkpoint(&k, id, e ? e : &own);

	checkpoint_done(&k);
	/* criu has killed it. */
	if (r == 0 && !c->leave_running && !c->pre_dump)
		r = runtime_delete(o, id, true, e);
	return r < 0 ? err_ctx(e, r, "checkpoint of container %s", id) : 0;
}
