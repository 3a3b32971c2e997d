/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a container's file tree (archive.h).
 *
 * A pid may be reused between reading it and opening /proc/<pid>/root, which would then be the host's root. So the
 * directory /proc/<pid> is opened first: it stays bound to one process, whose start time must be the one that
 * the runtime recorded.
 *
 * Binds and volumes of a stopped container cannot be attached to a detached mount (not before Linux 6.15), so a
 * thread goes into a mount namespace of its own, attaches everything there and ends; the namespace lives
 * on through its descriptor, visible nowhere, until the copy is done.
 */
#include "engine/archive.h"

#include "engine/idmap.h"
#include "kernel/mount.h"

#include <sched.h>

#define ENDING_TRIES   100
#define ENDING_STEP_US 20000

void container_tree_done(ContainerTree *t)
{
	close_fd(&t->root_fd);
	close_fd(&t->ns_fd);
	if (t->locked)
		pthread_mutex_unlock(&t->c->life);
	if (t->in_use)
		mounts_unuse(t->in_use, t->c);
	container_unref(t->c);
	free(t->pod_ids);
	*t = (ContainerTree)CONTAINER_TREE_INIT;
}

/* ---- running ---- */

/* The shim, which alone can reap the process, is asked again once its root is open: had the number been given to another
 * process in between, it would say so. */
static int open_process_root(Container *c, int *ret, Err *e)
{
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	_cleanup_close_ int root = -1;
	char path[32];
	pid_t pid;
	int r = container_shim(c, &shim, e);

	if (r >= 0)
		r = shim_first_pid(shim, &pid, e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = root < 0 ? -errno : 0;
	if (r == -ENOENT || r == -ESRCH || shim_first_pid(shim, &pid, NULL) < 0)
		return err_new_no(e, ERR_CONFLICT, ESRCH, "container %.12s has just ended: try again", c->id);
	if (r < 0)
		return err_sys(e, r, "open the root of container %.12s", c->id);
	*ret = take_fd(&root);
	return 0;
}

/* ---- not running ---- */

typedef struct Assembly {
	Engine *en;
	Container *c;
	int root_fd, ns_fd;
	bool read_only;                /* what is mounted is only read: somebody else may be writing to it */
	const ContainerMountPoint **v; /* parents first */
	int *fds;                      /* their mounts, detached */
	size_t n;
	int result;
	Err err;
} Assembly;

static void assembly_done(Assembly *a)
{
	for (size_t i = 0; i < a->n; i++)
		close_fd(&a->fds[i]);
	free(a->fds);
	free(a->v);
}

static int target_open(int root, const char *destination, bool is_dir)
{
	return is_dir ? path_mkdir_in_root(root, destination, 0755)
		      : path_touch_in_root(root, destination, 0644);
}

/* So that files which are copied in belong to whom the container's would. */
static int map_ids(int fd, const ContainerMountPoint *m, const struct stat *st, Err *e)
{
	IdMaps maps;
	int r = m->idmap ? idmap_resolve(m->idmap, st->st_uid, st->st_gid, &maps, e) : 0;

	return m->idmap && r >= 0 ? idmap_apply(fd, &maps, e) : r;
}

static int open_one(const Assembly *a, const ContainerMountPoint *m, int *ret_fd, Err *e)
{
	_cleanup_close_ int tree = -1;
	struct stat st;
	int r = mount_open(a->en, m, a->read_only, NULL, &tree, e);

	if (r < 0)
		return r;
	/* What is mounted in it here is nobody else's to see. */
	r = mount_change(tree, "", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});
	if (r < 0 || fstat(tree, &st) < 0)
		return err_sys(e, r < 0 ? r : errno, "mount %s at %s", m->source, m->destination);
	r = map_ids(tree, m, &st, e);
	if (r >= 0)
		*ret_fd = take_fd(&tree);
	return r;
}

static int by_length(const void *a, const void *b)
{
	const ContainerMountPoint *const *x = a, *const *y = b;
	size_t n = strlen((*x)->destination), m = strlen((*y)->destination);

	return n < m ? -1 : n > m;
}

/* In our own namespace: what it has mounted cannot be copied from another one. */
static int open_all(Assembly *a, Err *e)
{
	const Container *c = a->c;
	size_t n = 0;
	int r = 0;

	a->v = calloc(c->n_mounts, sizeof(*a->v));
	a->fds = calloc(c->n_mounts, sizeof(*a->fds));
	if (!a->v || !a->fds)
		return err_oom(e);
	for (size_t i = 0; i < c->n_mounts; i++)
		if (!streq(c->mounts[i].type, "tmpfs"))
			a->v[n++] = &c->mounts[i];
	/* Parents are shorter. */
	qsort(a->v, n, sizeof(*a->v), by_length);
	for (; r >= 0 && a->n < n; a->n += r >= 0)
		r = open_one(a, a->v[a->n], &a->fds[a->n], e);
	return r;
}

static int attach_one(const Assembly *a, size_t i, Err *e)
{
	const ContainerMountPoint *m = a->v[i];
	_cleanup_close_ int target = -1;
	struct stat st;
	int r;

	if (fstat(a->fds[i], &st) < 0)
		return err_sys(e, errno, "look at the mount for %s", m->destination);
	target = target_open(a->root_fd, m->destination, S_ISDIR(st.st_mode));
	if (target < 0)
		return err_sys(e, target, "make the mount point %s", m->destination);
	r = mount_attach(a->fds[i], target);
	return r < 0 ? err_sys(e, r, "mount %s at %s", m->source, m->destination) : 0;
}

/* Read-only last, when no mount point is to be made any more. */
static int attach_all(const Assembly *a, Err *e)
{
	const MountChange ro = {.set = MOUNT_ATTR_RDONLY, .recursive = true};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < a->n; i++)
		r = attach_one(a, i, e);
	for (size_t i = 0; r >= 0 && i < a->n; i++) {
		int no = a->v[i]->rw ? 0 : mount_change(a->fds[i], "", &ro);

		if (no < 0)
			r = err_sys(e, no, "make %s read-only", a->v[i]->destination);
	}
	return r;
}

static int assemble(Assembly *a, Err *e)
{
	int r = unshare(CLONE_NEWNS) < 0 ? -errno : 0;

	if (r >= 0)
		r = mount_change(AT_FDCWD, "/", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});
	if (r < 0)
		return err_sys(e, r, "make a mount namespace");
	r = mount_attach_path(a->root_fd, a->en->containers_run);
	if (r < 0)
		return err_sys(e, r, "mount the snapshot");
	r = attach_all(a, e);
	if (r < 0)
		return r;
	a->ns_fd = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	return a->ns_fd < 0 ? err_sys(e, errno, "open the mount namespace") : 0;
}

static void *assembly_thread(void *arg)
{
	Assembly *a = arg;

	a->result = assemble(a, &a->err);
	return NULL;
}

static bool has_real_mounts(const Container *c)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (!streq(c->mounts[i].type, "tmpfs"))
			return true;
	return false;
}

static bool lies_in_another(const Assembly *a, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		const char *rest = str_after(a->v[i]->destination, a->v[k]->destination);

		if (rest && *rest == '/')
			return true;
	}
	return false;
}

static int ensure_point(const Assembly *a, size_t i, int root, Err *e)
{
	const char *destination = a->v[i]->destination;
	_cleanup_close_ int target = -1;
	struct stat st;

	if (fstat(a->fds[i], &st) < 0)
		return err_sys(e, errno, "look at the mount for %s", destination);
	target = target_open(root, destination, S_ISDIR(st.st_mode));
	return target < 0 ? err_sys(e, target, "make the mount point %s", destination) : 0;
}

/* One that has never run may lack mount points, which cannot be made in what is mounted to be read: they are made before. */
static int ensure_points(Assembly *a, int *root, Err *e)
{
	_cleanup_close_ int writable = -1;
	bool missing = false;
	int r;

	for (size_t i = 0; i < a->n && !missing; i++) {
		_cleanup_close_ int there = path_open_in_root(*root, a->v[i]->destination, O_PATH, 0);

		missing = there == -ENOENT && !lies_in_another(a, i);
	}
	if (!missing)
		return 0;
	close_fd(root);
	r = store_snapshot_mount(a->en->store, a->c->id, false, &writable, e);
	for (size_t i = 0; r >= 0 && i < a->n; i++)
		r = lies_in_another(a, i) ? 0 : ensure_point(a, i, writable, e);
	close_fd(&writable);
	return r < 0 ? r : store_snapshot_mount(a->en->store, a->c->id, true, root, e);
}

/* Writable only of one that neither runs nor can start: two writable mounts of one upper directory would corrupt it. */
static int open_snapshot(Engine *en, ContainerTree *t, bool read_only, bool alive, Err *e)
{
	Assembly a = {.en = en, .c = t->c, .ns_fd = -1, .read_only = read_only};
	pthread_t thread;
	int r = store_snapshot_mount(en->store, t->c->id, read_only, &t->root_fd, e);

	if (r < 0 || !has_real_mounts(t->c))
		return r;
	r = mounts_use(en, t->c, e);
	if (r < 0)
		return r;
	t->in_use = en;
	r = open_all(&a, e);
	if (r >= 0 && read_only && !alive)
		r = ensure_points(&a, &t->root_fd, e);
	a.root_fd = t->root_fd;
	if (r >= 0) {
		r = pthread_create(&thread, NULL, assembly_thread, &a);
		if (r != 0)
			r = err_sys(e, r, "start a thread");
	}
	if (r < 0) {
		assembly_done(&a);
		return r;
	}
	pthread_join(thread, NULL);
	assembly_done(&a);
	if (a.result < 0 && e)
		*e = a.err;
	t->ns_fd = a.ns_fd;
	return a.result;
}

static int tree_open(Engine *en, const char *ref, TreeUse use, ContainerTree *ret, Err *e)
{
	ContainerTree t = CONTAINER_TREE_INIT;
	int r = container_find(en, ref, &t.c, e);

	if (r < 0)
		return r;
	container_lock(t.c);
	t.locked = true;
	pthread_mutex_lock(&t.c->state);
	bool alive = t.c->pid > 0, removed = t.c->removed;
	pthread_mutex_unlock(&t.c->state);
	if (removed)
		r = err_new(e, ERR_NOT_FOUND, "No such container: %s", ref);
	else if (alive && use != TREE_READ_FILES)
		r = open_process_root(t.c, &t.root_fd, e);
	else
		r = open_snapshot(en, &t, use != TREE_WRITE, alive, e);
	if (r < 0) {
		container_tree_done(&t);
		return r;
	}
	if (alive && use != TREE_READ_FILES && remap_applies(en, &t.c->config)) {
		UserRemap map;

		t.pod_ids = calloc(2, sizeof(*t.pod_ids));
		r = t.pod_ids ? remap_of(en, &t.c->config, t.pod_ids, &map, e) : err_oom(e);
		if (r < 0) {
			container_tree_done(&t);
			return r;
		}
		t.mapped = true;
		t.ids = (StoreIds){map.uids, map.gids, map.n_uids, map.n_gids};
	}
	if (alive || use != TREE_WRITE) {
		/* The descriptor needs no lock: a long copy must not hold up a stop, nor one that is read a start. */
		pthread_mutex_unlock(&t.c->life);
		t.locked = false;
	}
	*ret = t;
	return 0;
}

/* One that is ending is opened once that has been worked off, which takes the lock that we would hold. */
int container_tree_open(Engine *en, const char *ref, TreeUse use, ContainerTree *ret, Err *e)
{
	int r = tree_open(en, ref, use, ret, e);

	for (int i = 0; r == -ESRCH && i < ENDING_TRIES; i++) {
		(void)usleep(ENDING_STEP_US);
		r = tree_open(en, ref, use, ret, e);
	}
	return r;
}
