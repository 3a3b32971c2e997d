/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: the writable top of a container over the layers of its image, as overlayfs directories.
 *
 * Below the writable layer lies `init`, a layer of empty mount points (store.c), then the image's layers.
 * containers/<key>/diff is the upper directory, containers/<key>/work overlayfs's own; without overlayfs, diff is a copy of all (vfs.h). A mount is handed out detached: it
 * belongs to no mount namespace until the caller attaches it, and goes with its descriptor.
 */
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "kernel/capability.h"
#include "kernel/mount.h"
#include "store/dir.h"
#include "store/store-internal.h"
#include "store/vfs.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define PATH_PIECE_MAX 240 /* fsconfig(2) takes strings of up to 255 bytes */

/* A key becomes a folder name. */
static int check_key(const char *key, Err *e)
{
	size_t n = strlen(key);
	bool good = n > 0 && n < 200 && isalnum((unsigned char)key[0]);

	for (size_t i = 0; good && i < n; i++)
		good = isalnum((unsigned char)key[i]) || strchr("_.-", key[i]);
	return good ? 0 : err_new(e, ERR_INVALID, "invalid snapshot key: %s", key);
}

static char *piece(const char *key, const char *what)
{
	return strf("containers/%s/%s", key, what);
}

/* The root of a container looks like that of its image, until something in it is changed. */
/* See store.h: the mount points that every container needs are not in an image that is mounted. */
static bool has_init(const char *key)
{
	return !strchr(key, '.');
}

static int dress_root(Store *s, int diff, const char *chain_id, Err *e)
{
	_cleanup_layers_ LayerDirs lower = {0};
	struct stat st;
	int r = layer_dirs(s, chain_id, &lower, e);

	if (r < 0)
		return r;
	if (stat(lower.paths[0], &st) < 0)
		return err_sys(e, errno, "examine %s", lower.paths[0]);
	if (fchown(diff, st.st_uid, st.st_gid) < 0 || fchmod(diff, st.st_mode & 07777) < 0)
		return err_sys(e, errno, "dress the root of the snapshot");
	return 0;
}

/* overlayfs takes no long paths: those of a deep data root are said through its descriptor. */
static int shorten(Store *s, char **path)
{
	char *shorter;

	if (!*path || strlen(*path) <= PATH_PIECE_MAX)
		return *path ? 0 : -ENOMEM;
	shorter = strf("%s%s", path_of_fd(s->root_fd).s, *path + strlen(s->root));
	free(*path);
	*path = shorter;
	return shorter ? 0 : -ENOMEM;
}

/* What a mount is made of, top first: the mount points that every container needs (store.c), if wanted, and the layers. */
static int lower_dirs(Store *s, bool with_init, const char *chain_id, LayerDirs *layers, char ***ret, Err *e)
{
	_cleanup_strv_ char **v = NULL;
	int r = chain_id ? layer_dirs(s, chain_id, layers, e) : 0;

	if (r < 0)
		return r;
	if (with_init)
		r = strv_take(&v, strf("%s/init", s->root));
	if (r >= 0 && !chain_id)
		r = strv_take(&v, strf("%s/empty", s->root));
	for (size_t i = 0; r >= 0 && i < layers->n; i++)
		r = strv_add(&v, layers->paths[i]);
	for (char **p = v; r >= 0 && p && *p; p++)
		r = shorten(s, p);
	if (r < 0)
		return err_oom(e);
	*ret = take_ptr(v);
	return 0;
}

/* Of a snapshot without an overlay: the image, and the root that it says or none of its own. */
static int fill_copy(Store *s, const char *key, int diff, const char *chain_id, Err *e)
{
	_cleanup_layers_ LayerDirs layers = {0};
	_cleanup_strv_ char **lower = NULL;
	int r = lower_dirs(s, has_init(key), chain_id, &layers, &lower, e);

	if (r >= 0)
		r = layers_merge(s, lower, strv_len(lower), false, diff, e);
	return r >= 0 && chain_id ? dress_root(s, diff, chain_id, e) : r;
}

static int make_dirs(Store *s, const char *key, const char *chain_id, Err *e)
{
	_cleanup_free_ char *folder = strf("containers/%s", key), *diff = piece(key, "diff"),
			    *work = piece(key, "work");
	_cleanup_close_ int fd = -1;

	if (!folder || !diff || !work)
		return err_oom(e);
	if (mkdirat(s->root_fd, folder, 0700) < 0 && errno != EEXIST)
		return store_sys(e, errno, "make %s/%s", s->root, folder);
	if ((s->snapshotter != SNAPSHOTTER_VFS && mkdirat(s->root_fd, work, 0700) < 0) ||
	    mkdirat(s->root_fd, diff, 0755) < 0)
		return store_sys(e, errno, "make the folders of the snapshot in %s/%s", s->root, folder);
	fd = openat(s->root_fd, diff, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fchmod(fd, 0755) < 0)
		return err_sys(e, errno, "open %s/%s", s->root, diff);
	if (s->snapshotter == SNAPSHOTTER_VFS)
		return fill_copy(s, key, fd, chain_id, e);
	return chain_id ? dress_root(s, fd, chain_id, e) : 0;
}

static int remove_dirs(Store *s, const char *key, Err *e)
{
	_cleanup_free_ char *folder = strf("containers/%s", key), *diff = piece(key, "diff"),
			    *work = piece(key, "work"), *changes = piece(key, "changes");
	int r;

	if (!folder || !diff || !work || !changes)
		return err_oom(e);
	r = trash_put(s, diff, e);
	if (r >= 0)
		r = trash_put(s, work, e);
	if (r >= 0)
		r = trash_put(s, changes, e);
	/* The engine may keep other things there. */
	if (r >= 0)
		(void)unlinkat(s->root_fd, folder, AT_REMOVEDIR);
	return r;
}

static int row_exists(Store *s, const char *key, Err *e)
{
	int64_t found;
	int r = db_get_int(&s->db, &found, 0, e, "SELECT 1 FROM snapshot WHERE key = ?1", "t", key);

	return r < 0 ? r : (int)found;
}

/* The row comes first: it keeps the layers from being deleted. A crash in between leaves a row without folders, which the
 * removal of the container takes along. */
int store_snapshot_prepare(Store *s, const char *key, const char *chain_id, Err *e)
{
	_cleanup_tx_ DbTx tx = {0};
	int64_t found = 1;
	int r = check_key(key, e);

	if (r < 0)
		return r;
	r = db_begin(&s->db, &tx, e);
	if (r >= 0)
		r = row_exists(s, key, e);
	if (r > 0)
		return err_new(e, ERR_CONFLICT, "the snapshot %s exists already", key);
	if (r >= 0 && chain_id)
		r = db_get_int(&s->db, &found, 0, e, "SELECT 1 FROM layer WHERE chain_id = ?1", "t",
			       chain_id);
	if (r >= 0 && !found)
		return err_new(e, ERR_NOT_FOUND, "No such layer: %s", chain_id);
	if (r >= 0)
		r = db_run(&s->db, e, "INSERT INTO snapshot (key, chain_id) VALUES (?1, ?2)", "tt", key,
			   chain_id);
	if (r >= 0)
		r = db_commit(&tx, e);
	if (r < 0)
		return err_ctx(e, r, "prepare the snapshot %s", key);

	r = remove_dirs(s, key, e);
	if (r >= 0)
		r = make_dirs(s, key, chain_id, e);
	if (r < 0) {
		(void)store_snapshot_remove(s, key, NULL);
		return err_ctx(e, r, "prepare the snapshot %s", key);
	}
	return 0;
}

static int load_chain(Store *s, const char *key, char **ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, "SELECT chain_id FROM snapshot WHERE key = ?1", "t", key);

	if (r >= 0)
		r = db_step(&q, e);
	if (r < 0)
		return r;
	if (r == 0)
		return err_new(e, ERR_NOT_FOUND, "No such snapshot: %s", key);
	*ret = db_text(&q, 0) ? strdup(db_text(&q, 0)) : NULL;
	return db_text(&q, 0) && !*ret ? err_oom(e) : 0;
}

static int mount_read_only(char *upper, char **lower, int *ret_fd, Err *e)
{
	_cleanup_free_ char **v = calloc(strv_len(lower) + 2, sizeof(*v));

	if (!v)
		return err_oom(e);
	v[0] = upper;
	for (size_t i = 0; lower[i]; i++)
		v[i + 1] = lower[i];
	return mount_overlay(v, NULL, NULL, ret_fd, e);
}

/* Whatever the snapshotter is now: how this snapshot was made is seen on it. */
static bool is_copy(Store *s, const char *key)
{
	_cleanup_free_ char *work = piece(key, "work");

	return work && faccessat(s->root_fd, work, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

static int mount_copy(Store *s, const char *key, bool read_only, int *ret_fd, Err *e)
{
	_cleanup_free_ char *diff = piece(key, "diff");
	_cleanup_close_ int fd = -1;
	int r;

	if (!diff)
		return err_oom(e);
	fd = mount_clone(s->root_fd, diff, false);
	if (fd < 0)
		return err_sys(e, fd, "mount the snapshot %s", key);
	/* Nothing that is mounted in it shall be seen where it was taken from. */
	r = mount_change(fd, "",
			 &(MountChange){.set = read_only ? MOUNT_ATTR_RDONLY : 0, .propagation = MS_PRIVATE});
	if (r < 0)
		return err_sys(e, r, "set up the mount of the snapshot %s", key);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* Mounts of directories whose ids are shifted. */
typedef struct Shifted {
	int *fds;
	size_t n;
} Shifted;

static void shifted_done(Shifted *m)
{
	for (size_t i = 0; i < m->n; i++)
		close_fd(&m->fds[i]);
	free(m->fds);
}

/* Replaces the path by one of a mount of it, in which what is on disk belongs to the ids that userns_fd maps it to. */
static int shift(Shifted *m, int userns_fd, char **path, Err *e)
{
	const MountChange c = {.set = MOUNT_ATTR_IDMAP, .userns_fd = userns_fd, .propagation = MS_PRIVATE};
	int *fds = realloc(m->fds, (m->n + 1) * sizeof(int));
	int r, fd;

	if (!fds)
		return err_oom(e);
	m->fds = fds;
	fd = mount_clone(AT_FDCWD, *path, false);
	if (fd < 0)
		return err_sys(e, fd, "mount %s", *path);
	m->fds[m->n++] = fd;
	r = mount_change(fd, "", &c);
	if (r < 0)
		return err_sys(e, r, "map the ids of %s", *path);
	free(*path);
	*path = strdup(path_of_fd(fd).s);
	return *path ? 0 : err_oom(e);
}

/* upper and work must be of one mount. */
static int shift_all(Store *s, const char *key, int userns_fd, Shifted *m, char **lower, char **upper,
		     char **work, Err *e)
{
	_cleanup_free_ char *folder = strf("%s/containers/%s", s->root, key);
	int r = shorten(s, &folder) < 0 ? err_oom(e) : shift(m, userns_fd, &folder, e);

	for (; r >= 0 && *lower; lower++)
		r = shift(m, userns_fd, lower, e);
	if (r < 0)
		return r;
	free(*upper);
	free(*work);
	*upper = strf("%s/diff", folder);
	*work = strf("%s/work", folder);
	return *upper && *work ? 0 : err_oom(e);
}

typedef int MountOverlay(char *const *lower, const char *upper, const char *work, int *ret_fd, Err *e);

/* Overlayfs works on with the file system ids of who mounted it: they must be some that the mounts map, or it could make nothing in `work`
 * and would mount read-only. They are this thread's alone, and so are its capabilities, which leaving 0 takes away. */
static int mount_as(const StoreShift *shift, MountOverlay *mount, char *const *lower, const char *upper,
		    const char *work, int *ret_fd, Err *e)
{
	int r;

	syscall(SYS_setfsgid, shift->gid);
	syscall(SYS_setfsuid, shift->uid);
	r = capability_raise_permitted(e);
	if (r >= 0)
		r = mount(lower, upper, work, ret_fd, e);
	syscall(SYS_setfsuid, geteuid());
	syscall(SYS_setfsgid, getegid());
	return r;
}

static int shift_copy(int userns_fd, int *fd, Err *e)
{
	_cleanup_(shifted_done) Shifted m = {0};
	_cleanup_free_ char *path = strdup(path_of_fd(*fd).s);
	int r = path ? shift(&m, userns_fd, &path, e) : err_oom(e);

	if (r >= 0) {
		close_fd(fd);
		*fd = take_fd(&m.fds[0]);
	}
	return r;
}

typedef struct How {
	bool read_only, once;
	const StoreShift *shift;
} How;

static int snapshot_mount(Store *s, const char *key, const How *how, int *ret_fd, Err *e)
{
	MountOverlay *mount = how->once ? mount_overlay_volatile : mount_overlay;
	const StoreShift *shift = how->shift;
	_cleanup_free_ char *chain_id = NULL, *upper = NULL, *work = NULL;
	_cleanup_(shifted_done) Shifted shifted = {0};
	_cleanup_layers_ LayerDirs layers = {0};
	_cleanup_strv_ char **lower = NULL;
	int r = check_key(key, e);

	if (r >= 0)
		r = load_chain(s, key, &chain_id, e);
	if (r >= 0 && is_copy(s, key)) {
		r = mount_copy(s, key, how->read_only, ret_fd, e);
		return r < 0 || !shift ? r : shift_copy(shift->userns_fd, ret_fd, e);
	}
	if (r >= 0)
		r = lower_dirs(s, has_init(key), chain_id, &layers, &lower, e);
	if (r < 0)
		return r;
	upper = strf("%s/containers/%s/diff", s->root, key);
	work = strf("%s/containers/%s/work", s->root, key);
	if (shorten(s, &upper) < 0 || shorten(s, &work) < 0)
		return err_oom(e);
	if (shift)
		r = shift_all(s, key, shift->userns_fd, &shifted, lower, &upper, &work, e);
	if (r >= 0)
		r = how->read_only ? mount_read_only(upper, lower, ret_fd, e)
		    : shift        ? mount_as(shift, mount, lower, upper, work, ret_fd, e)
				   : mount(lower, upper, work, ret_fd, e);
	return r < 0 ? err_ctx(e, r, "mount the snapshot %s", key) : 0;
}

int store_snapshot_mount(Store *s, const char *key, bool read_only, int *ret_fd, Err *e)
{
	return snapshot_mount(s, key, &(How){.read_only = read_only}, ret_fd, e);
}

int store_snapshot_mount_shifted(Store *s, const char *key, const StoreShift *shift, int *ret_fd, Err *e)
{
	return snapshot_mount(s, key, &(How){.shift = shift}, ret_fd, e);
}

int store_snapshot_mount_once(Store *s, const char *key, const StoreShift *shift, int *ret_fd, Err *e)
{
	return snapshot_mount(s, key, &(How){.once = true, .shift = shift}, ret_fd, e);
}

/* Without overlayfs the view of several layers is a copy, in memory: it must go with its descriptor. */
static int copy_view(Store *s, char *const *lower, int *ret_fd, Err *e)
{
	_cleanup_close_ int fd = -1, root = -1;
	int r = mount_new_fs("tmpfs", "ireko", (char *[]){(char[]){"mode=0755"}, NULL}, 0, &fd, e);

	if (r < 0)
		return r;
	root = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(e, errno, "open a view of layers");
	r = layers_merge(s, lower, strv_len(lower), false, root, e);
	if (r >= 0 && mount_change(fd, "", &(MountChange){.set = MOUNT_ATTR_RDONLY}) < 0)
		r = err_sys(e, EIO, "make a view of layers read-only");
	if (r >= 0)
		*ret_fd = take_fd(&fd);
	return r;
}

int store_layers_mount(Store *s, const char *chain_id, int *ret_fd, Err *e)
{
	_cleanup_layers_ LayerDirs layers = {0};
	_cleanup_strv_ char **lower = NULL;
	int r = lower_dirs(s, false, chain_id, &layers, &lower, e);

	if (r >= 0 && s->snapshotter == SNAPSHOTTER_VFS && layers.n > 1)
		r = copy_view(s, lower, ret_fd, e);
	else if (r >= 0)
		r = mount_overlay(lower, NULL, NULL, ret_fd, e);
	return r < 0 ? err_ctx(e, r, "mount the layers of %s", chain_id ? chain_id : "an empty image") : 0;
}

char *store_snapshot_upper(Store *s, const char *key)
{
	return strf("%s/containers/%s/diff", s->root, key);
}

static int compare_copy(Store *s, const char *key, Err *e)
{
	_cleanup_free_ char *chain_id = NULL, *diff = piece(key, "diff"), *changes = piece(key, "changes");
	_cleanup_layers_ LayerDirs layers = {0};
	_cleanup_strv_ char **lower = NULL;
	_cleanup_close_ int own = -1, out = -1;
	int r = load_chain(s, key, &chain_id, e);

	if (r >= 0)
		r = diff && changes ? lower_dirs(s, has_init(key), chain_id, &layers, &lower, e) : err_oom(e);
	if (r >= 0)
		r = trash_put(s, changes, e);
	if (r < 0)
		return r;
	if (mkdirat(s->root_fd, changes, 0700) < 0)
		return store_sys(e, errno, "make %s/%s", s->root, changes);
	own = openat(s->root_fd, diff, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	out = openat(s->root_fd, changes, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (own < 0 || out < 0)
		return err_sys(e, errno, "open the snapshot %s", key);
	return vfs_changes(lower, own, out, e);
}

int store_snapshot_changes(Store *s, const char *key, char **ret, Err *e)
{
	int r = check_key(key, e);
	bool copy = r >= 0 && is_copy(s, key);

	if (r >= 0 && copy)
		r = compare_copy(s, key, e);
	if (r < 0)
		return err_ctx(e, r, "find what the snapshot %s changed", key);
	*ret = strf("%s/containers/%s/%s", s->root, key, copy ? "changes" : "diff");
	return *ret ? 0 : err_oom(e);
}

int store_snapshot_keys(Store *s, char ***ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, "SELECT key FROM snapshot ORDER BY key", "");

	while (r >= 0 && (r = db_step(&q, e)) > 0)
		if (strv_add(ret, db_text(&q, 0)) < 0)
			r = err_oom(e);
	return r < 0 ? err_ctx(e, r, "list the snapshots") : 0;
}

static int remove_folder(Store *s, const char *key, Err *e)
{
	_cleanup_free_ char *folder = strf("containers/%s", key);

	return folder ? trash_put(s, folder, e) : err_oom(e);
}

#define ROOM_TRIES    20
#define ROOM_PAUSE_NS 100000000

/* On a disk that the snapshot itself has filled there is room once the trash is emptied. */
static int row_remove(Store *s, const char *key, Err *e)
{
	static const char sql[] = "DELETE FROM snapshot WHERE key = ?1";
	const struct timespec pause = {.tv_nsec = ROOM_PAUSE_NS};
	int r = db_run(&s->db, e, sql, "t", key);

	if (r == -ENOSPC && reserve_give(s))
		r = db_run(&s->db, e, sql, "t", key);
	for (int i = 0; i < ROOM_TRIES && r == -ENOSPC; i++) {
		nanosleep(&pause, NULL);
		r = db_run(&s->db, e, sql, "t", key);
	}
	return r;
}

static int snapshot_remove(Store *s, const char *key, int (*remove)(Store *s, const char *key, Err *e),
			   Err *e)
{
	int r = check_key(key, e);

	/* The row goes last: until then a failed removal can be tried again. */
	if (r >= 0)
		r = remove(s, key, e);
	if (r >= 0)
		r = row_remove(s, key, e);
	return r < 0 ? err_ctx(e, r, "remove the snapshot %s", key) : 0;
}

int store_snapshot_remove(Store *s, const char *key, Err *e)
{
	return snapshot_remove(s, key, remove_dirs, e);
}

int store_snapshot_remove_folder(Store *s, const char *key, Err *e)
{
	return snapshot_remove(s, key, remove_folder, e);
}

int store_snapshot_usage(Store *s, const char *key, DirUsage *ret, Err *e)
{
	_cleanup_free_ char *changes = NULL;
	_cleanup_close_ int fd = -1;
	int r = store_snapshot_changes(s, key, &changes, e);

	if (r < 0)
		return r;
	fd = open(changes, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? err_new(e, ERR_NOT_FOUND, "No such snapshot: %s", key)
				       : err_sys(e, errno, "open the snapshot %s", key);
	return dir_usage(fd, ret, e);
}

int store_snapshot_size(Store *s, const char *key, int64_t *ret, Err *e)
{
	DirUsage u;
	int r = store_snapshot_usage(s, key, &u, e);

	if (r >= 0)
		*ret = u.size;
	return r;
}
