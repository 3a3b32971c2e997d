/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's state on disk, and what it says about its status.
 *
 * state.json is written before anything is made outside the directory, and its end again when the child exists (replacing the file
 * would cost its file system more than all else that it does here); it holds what cannot change. The status is never
 * stored: it follows from the process (same pid and same start time, no zombie), from the directory (sticky while "creating"),
 * from the socket that is there until the start, and from the freezer. So nothing can be out of date after a crash. A container that died while it was made leaves
 * a directory, with or without state.json, that a forced delete removes.
 */
#include "runtime/runtime-internal.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "kernel/process.h"

#include <ctype.h>
#include <dirent.h>

#define STATE_MAX (4u << 20)

#define FIELD(n, t, m)                                                                                       \
	{                                                                                                    \
		.name = (n), .type = (t), .offset = offsetof(State, m)                                       \
	}
static const JsonField state_table[] = {
    FIELD("id", JSON_T_STR, id),
    FIELD("bundle", JSON_T_STR, bundle),
    FIELD("rootfs", JSON_T_STR, rootfs),
    FIELD("created", JSON_T_STR, created),
    FIELD("owner", JSON_T_STR, owner),
    FIELD("namespaces", JSON_T_INT, namespaces),
    FIELD("cgroup", JSON_T_STRV, cgroup),
    FIELD("unit", JSON_T_STR, unit),
    FIELD("userManager", JSON_T_BOOL, user_manager),
    FIELD("hasFilter", JSON_T_BOOL, has_filter),
    FIELD("filterFlags", JSON_T_INT, filter_flags),
    FIELD("listenerPath", JSON_T_STR, listener_path),
    FIELD("listenerMetadata", JSON_T_STR, listener_metadata),
    FIELD("noNewKeyring", JSON_T_BOOL, no_new_keyring),
    FIELD("sharesPids", JSON_T_BOOL, shares_pids),
    FIELD("sharesMounts", JSON_T_BOOL, shares_mounts),
    FIELD("personality", JSON_T_STR, personality.domain),
    FIELD("memoryMode", JSON_T_STR, memory_policy.mode),
    FIELD("memoryNodes", JSON_T_STR, memory_policy.nodes),
    FIELD("memoryFlags", JSON_T_STRV, memory_policy.flags),
    FIELD("descriptors", JSON_T_STRV, descriptors),
    FIELD("resctrl", JSON_T_STR, resctrl),
    FIELD("resctrlMonitor", JSON_T_STR, resctrl_monitor),
    FIELD("resctrlMade", JSON_T_BOOL, resctrl_made),
    FIELD("annotations", JSON_T_MAP, annotations),
    FIELD("hooks", JSON_T_JSON, hooks),
    {.name = NULL},
};

void state_done(State *s)
{
	json_fields_done(state_table, s);
	close_fd(&s->dirfd);
	*s = (State)STATE_INIT;
}

int state_check_id(const char *id, Err *e)
{
	size_t n = id ? strlen(id) : 0;

	if (n == 0 || n > ID_MAX || streq(id, ".") || streq(id, ".."))
		return err_new(e, ERR_INVALID, "\"%.64s\" is no container id", id ? id : "");
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)id[i]) && !strchr("_+-.", id[i]))
			return err_new(e, ERR_INVALID,
				       "container id \"%.64s\": only letters, digits and _ + - . are allowed",
				       id);
	return 0;
}

/* What is read there is obeyed: hooks are run, processes killed, directories removed. So nobody else may have written it. */
static int check_owner(int fd, const char *name, Err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "stat %s", name);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_new(
		    e, ERR_DENIED,
		    "state directory %s: permission denied: it belongs to user %u, who is not trusted", name,
		    st.st_uid);
	if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX))
		return err_new(e, ERR_DENIED,
			       "state directory %s can be written by everybody: chmod o-w, or another --root",
			       name);
	return 0;
}

static int open_root(const RuntimeOptions *o, bool make, Err *e)
{
	_cleanup_close_ int fd = open(o->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0 && make) {
		r = mkdir_parents_at(AT_FDCWD, o->root, 0700);
		if (r < 0)
			return err_sys(e, r, "make state directory %s", o->root);
		fd = open(o->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		return err_sys(e, errno, "open state directory %s", o->root);
	r = check_owner(fd, o->root, e);
	return r < 0 ? r : take_fd(&fd);
}

int state_make_dir(const RuntimeOptions *o, const char *id, int *ret_dirfd, Err *e)
{
	_cleanup_close_ int root = open_root(o, true, e);

	if (root < 0)
		return root;
	if (mkdirat(root, id, 0700 | S_ISVTX) < 0) {
		if (errno == EEXIST)
			return err_new(e, ERR_CONFLICT, "container with id exists: %s", id);
		return err_sys(e, errno, "make %s/%s", o->root, id);
	}
	*ret_dirfd = openat(root, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_dirfd < 0) {
		int no = errno;

		(void)unlinkat(root, id, AT_REMOVEDIR);
		return err_sys(e, no, "open %s/%s", o->root, id);
	}
	return 0;
}

int state_created(const State *s, Err *e)
{
	return fchmod(s->dirfd, 0700) < 0 ? err_sys(e, errno, "mark the container as created") : 0;
}

bool state_is_creating(const State *s)
{
	struct stat st;

	return fstat(s->dirfd, &st) == 0 && (st.st_mode & S_ISVTX);
}

int state_remove_dir(const RuntimeOptions *o, const char *id)
{
	static const char *const files[] = {STATE_FILE, STATE_FILTER};
	_cleanup_close_ int root = open_root(o, false, NULL), dir = -1;

	if (root < 0)
		return root == -ENOENT ? 0 : root;
	dir = openat(root, id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* All that there is of a container that was started. */
	for (size_t i = 0; i < ELEMENTSOF(files) && dir >= 0; i++)
		(void)unlinkat(dir, files[i], 0);
	return unlinkat(root, id, AT_REMOVEDIR) == 0 ? 0 : remove_tree_at(root, id);
}

/* Of one length always, so that it can be written over. */
static int process_part(const State *s, char buf[static 64])
{
	return snprintf(buf, 64, ",\"pid\":%10d,\"pidStart\":%20llu}", (int)s->pid,
			(unsigned long long)s->pid_start);
}

/* The text ends with the process, so that this can be written when there is one without writing all again. */
static char *state_text(const State *s)
{
	_cleanup_json_ json_t *j = json_encode(state_table, s);
	_cleanup_free_ char *text = j ? json_text(j) : NULL;
	char process[64];

	if (!text)
		return NULL;
	text[strlen(text) - 1] = '\0';
	(void)process_part(s, process);
	return strf("%s%s", text, process);
}

int state_save(State *s, Err *e)
{
	_cleanup_free_ char *text = state_text(s);
	_cleanup_close_ int fd = -1;
	int r;

	if (!text)
		return err_oom(e);
	fd = openat(s->dirfd, STATE_FILE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
	s->length = strlen(text);
	return r < 0 ? err_sys(e, r, "write %s of container %s", STATE_FILE, s->id) : 0;
}

int state_save_process(State *s, pid_t pid, int pidfd, Err *e)
{
	_cleanup_close_ int fd = -1;
	char text[64];
	int n, r = process_identity(pid, pidfd, &s->pid_start);

	if (r < 0)
		return err_sys(e, r, "learn the identity of process %d", (int)pid);
	s->pid = pid;
	fd = openat(s->dirfd, STATE_FILE, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	n = process_part(s, text);
	if (fd < 0 || pwrite(fd, text, (size_t)n, (off_t)s->length - n) != n)
		return err_sys(e, errno, "write %s of container %s", STATE_FILE, s->id);
	return 0;
}

static int copy_string(char **to, const char *from, Err *e)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? err_oom(e) : 0;
}

static int keep_for_exec(State *s, const OciSpec *spec, Err *e)
{
	const OciMemoryPolicy *m = &spec->memory_policy;
	int r = copy_string(&s->personality.domain, spec->personality.domain, e);

	if (r == 0)
		r = copy_string(&s->memory_policy.mode, m->mode, e);
	if (r == 0)
		r = copy_string(&s->memory_policy.nodes, m->nodes, e);
	if (r == 0 && m->flags) {
		s->memory_policy.flags = strv_dup(m->flags);
		if (!s->memory_policy.flags)
			r = err_oom(e);
	}
	return r;
}

static bool has_own(const OciSpec *spec, const char *type)
{
	for (size_t i = 0; i < spec->n_namespaces; i++)
		if (streq0(spec->namespaces[i].type, type))
			return str_empty(spec->namespaces[i].path);
	return false;
}

int state_fill(State *s, const char *id, const Bundle *b, const Cgroup *cgroup, const Scope *scope, Err *e)
{
	int r;

	s->id = strdup(id);
	s->bundle = strdup(b->dir);
	s->rootfs = strdup(b->rootfs);
	s->created = strdup(clock_rfc3339(clock_now_ns()).s);
	s->owner = geteuid() == 0 ? strdup("root") : userns_user_name(geteuid());
	s->cgroup = cgroup_to_strv(cgroup);
	s->annotations = b->spec.annotations ? strv_dup(b->spec.annotations) : NULL;
	s->hooks = json_incref(b->hooks);
	s->shares_pids = !has_own(&b->spec, "pid");
	s->shares_mounts = !has_own(&b->spec, "mount");
	if (!s->id || !s->bundle || !s->rootfs || !s->created || !s->owner || !s->cgroup)
		return err_oom(e);
	s->user_manager = scope->user;
	r = copy_string(&s->unit, scope->unit.name, e);
	return r < 0 ? r : keep_for_exec(s, &b->spec, e);
}

int state_write_pid_file(const char *path, pid_t pid, Err *e)
{
	char text[16];
	int r, n = snprintf(text, sizeof(text), "%d", (int)pid);

	if (!path)
		return 0;
	r = file_replace_at(AT_FDCWD, path, text, (size_t)n, 0644, false);
	return r < 0 ? err_sys(e, r, "write pid file %s", path) : 0;
}

int state_load(const RuntimeOptions *o, const char *id, State *ret, Err *e)
{
	_cleanup_close_ int root = -1;
	_cleanup_json_ json_t *j = NULL;
	State s = STATE_INIT;
	int r = state_check_id(id, e);

	if (r < 0)
		return r;
	root = open_root(o, false, e);
	if (root == -ENOENT)
		return err_new(e, ERR_NOT_FOUND, "container does not exist: %s", id);
	if (root < 0)
		return root;
	s.dirfd = openat(root, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s.dirfd < 0 && errno == ENOENT)
		return err_new(e, ERR_NOT_FOUND, "container does not exist: %s", id);
	if (s.dirfd < 0)
		return err_sys(e, errno, "open %s/%s", o->root, id);
	r = check_owner(s.dirfd, id, e);
	if (r == 0) {
		r = json_load_at(s.dirfd, STATE_FILE, STATE_MAX, &j, e);
		/* Seen while it is written, or its writer was killed. */
		if (r == -ENOENT || (r < 0 && state_is_creating(&s)))
			r = err_new(e, ERR_NOT_FOUND,
				    "container %s is incomplete: it was interrupted while being created", id);
	}
	if (r == 0)
		r = json_decode(j, state_table, &s, e);
	if (r < 0) {
		state_done(&s);
		return err_ctx(e, r, "container %s", id);
	}
	s.pid = (pid_t)json_get_int(j, "pid", 0);
	s.pid_start = (uint64_t)json_get_int(j, "pidStart", 0);
	*ret = s;
	return 0;
}

static bool has_file(int dirfd, const char *name)
{
	return faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_paused(const State *s)
{
	Cgroup c = {0};
	bool paused = cgroup_from_strv(s->cgroup, &c, NULL) == 0 && c.n > 0 && cgroup_is_frozen(&c);

	cgroup_done(&c);
	return paused;
}

RuntimeStatus state_status(const State *s, int *ret_pidfd)
{
	_cleanup_close_ int pidfd = process_pidfd_checked(s->pid, s->pid_start);

	if (pidfd < 0)
		return RUNTIME_STOPPED;
	if (ret_pidfd)
		*ret_pidfd = take_fd(&pidfd);
	if (state_is_creating(s))
		return RUNTIME_CREATING;
	if (has_file(s->dirfd, STATE_SOCKET))
		return RUNTIME_CREATED;
	return is_paused(s) ? RUNTIME_PAUSED : RUNTIME_RUNNING;
}

const char *runtime_status_name(RuntimeStatus s)
{
	static const char *const names[] = {
	    [RUNTIME_CREATING] = "creating", [RUNTIME_CREATED] = "created", [RUNTIME_RUNNING] = "running",
	    [RUNTIME_PAUSED] = "paused",     [RUNTIME_STOPPED] = "stopped",
	};

	return (size_t)s < ELEMENTSOF(names) ? names[s] : "unknown";
}

json_t *state_document(const State *s, RuntimeStatus status, pid_t pid)
{
	_cleanup_json_ json_t *j = json_object(), *notes = json_map_from_strv(s->annotations);

	if (!j || !notes || json_object_set_new(j, "ociVersion", json_string(OCI_VERSION)) < 0 ||
	    json_object_set_new(j, "id", json_string(s->id)) < 0 ||
	    json_object_set_new(j, "status", json_string(runtime_status_name(status))) < 0 ||
	    json_object_set_new(j, "pid", json_integer(pid)) < 0 ||
	    json_object_set_new(j, "bundle", json_string(s->bundle)) < 0 ||
	    (s->annotations && json_object_set(j, "annotations", notes) < 0))
		return NULL;
	return take_ptr(j);
}

void runtime_state_done(RuntimeState *s)
{
	free(s->id);
	free(s->bundle);
	free(s->rootfs);
	free(s->created);
	free(s->owner);
	json_decref(s->annotations);
	*s = (RuntimeState){0};
}

static int fill_public(State *s, RuntimeState *ret, Err *e)
{
	RuntimeStatus status = state_status(s, NULL);
	json_t *notes = json_map_from_strv(s->annotations);

	if (!notes)
		return err_oom(e);
	*ret = (RuntimeState){
	    .id = take_ptr(s->id),
	    .bundle = take_ptr(s->bundle),
	    .rootfs = take_ptr(s->rootfs),
	    .created = take_ptr(s->created),
	    .owner = take_ptr(s->owner),
	    .pid = status == RUNTIME_STOPPED ? 0 : s->pid,
	    .pid_start = s->pid_start,
	    .status = status,
	    .annotations = notes,
	};
	return 0;
}

int runtime_state(const RuntimeOptions *o, const char *id, RuntimeState *ret, Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	int r = state_load(o, id, &s, e);

	return r < 0 ? r : fill_public(&s, ret, e);
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const RuntimeState *)a)->id, ((const RuntimeState *)b)->id);
}

/* 1 if the entry is a container, 0 if it is something else or just went away. */
static int add_listed(const RuntimeOptions *o, const char *id, RuntimeState **items, size_t *n, Err *e)
{
	RuntimeState one;
	int r = state_check_id(id, NULL);

	if (r < 0) /* also ".", ".." and the cache of filters */
		return 0;
	r = runtime_state(o, id, &one, e);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	RuntimeState *more = reallocarray(*items, *n + 1, sizeof(*more));

	if (!more) {
		runtime_state_done(&one);
		return err_oom(e);
	}
	more[*n] = one;
	*items = more;
	(*n)++;
	return 1;
}

int runtime_list(const RuntimeOptions *o, RuntimeState **ret, size_t *ret_n, Err *e)
{
	_cleanup_(closedirp) DIR *d = opendir(o->root);
	RuntimeState *items = NULL;
	size_t n = 0;
	int r = 0;

	if (!d && errno != ENOENT)
		return err_sys(e, errno, "open state directory %s", o->root);
	for (struct dirent *de; d && r >= 0 && (de = readdir(d));)
		r = add_listed(o, de->d_name, &items, &n, e);
	if (r < 0) {
		while (n > 0)
			runtime_state_done(&items[--n]);
		free(items);
		return r;
	}
	if (n > 1)
		qsort(items, n, sizeof(*items), by_id);
	*ret = items;
	*ret_n = n;
	return 0;
}
