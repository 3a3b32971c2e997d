/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: the writable top of a container over the layers of its image, as overlayfs directories.
 *
 * Below the writable layer lies `init`, a layer of empty mount points (store.c), then the image's layers.
 * containers/<key>/diff is the upper directory, containers/<key>/work overlayfs's own. A mount is handed out detached: it
 * belongs to no mount namespace until the caller attaches it, and goes with its descriptor.
 */
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "kernel/mount.h"
#include "store/dir.h"
#include "store/store-internal.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>

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
static int dress_root(Store *s, int diff, const char *chain_id, Err *e)
{
	_cleanup_strv_ char **lower = NULL;
	struct stat st;
	int r = layer_paths(s, chain_id, &lower, e);

	if (r < 0)
		return r;
	if (stat(lower[0], &st) < 0)
		return err_sys(e, errno, "examine %s", lower[0]);
	if (fchown(diff, st.st_uid, st.st_gid) < 0 || fchmod(diff, st.st_mode & 07777) < 0)
		return err_sys(e, errno, "dress the root of the snapshot");
	return 0;
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
	if (mkdirat(s->root_fd, work, 0700) < 0 || mkdirat(s->root_fd, diff, 0755) < 0)
		return store_sys(e, errno, "make the folders of the snapshot in %s/%s", s->root, folder);
	fd = openat(s->root_fd, diff, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fchmod(fd, 0755) < 0)
		return err_sys(e, errno, "open %s/%s", s->root, diff);
	return chain_id ? dress_root(s, fd, chain_id, e) : 0;
}

static int remove_dirs(Store *s, const char *key, Err *e)
{
	_cleanup_free_ char *folder = strf("containers/%s", key), *diff = piece(key, "diff"),
			    *work = piece(key, "work");
	int r;

	if (!folder || !diff || !work)
		return err_oom(e);
	r = trash_put(s, diff, e);
	if (r >= 0)
		r = trash_put(s, work, e);
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

static int lower_paths(Store *s, const char *chain_id, char ***ret, Err *e)
{
	_cleanup_strv_ char **v = NULL;
	int r = 0;

	if (chain_id)
		r = layer_paths(s, chain_id, &v, e);
	else if (strv_take(&v, strf("%s/empty", s->root)) < 0)
		r = err_oom(e);
	for (char **p = v; r >= 0 && p && *p; p++)
		if (shorten(s, p) < 0)
			r = err_oom(e);
	if (r >= 0)
		*ret = take_ptr(v);
	return r;
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

/* The image's layers below the mount points that every container needs (store.c). */
static int lower_paths_of_snapshot(Store *s, const char *chain_id, char ***ret, Err *e)
{
	_cleanup_strv_ char **layers = NULL, **v = NULL;
	char *init = strf("%s/init", s->root);
	int r = lower_paths(s, chain_id, &layers, e);

	if (r < 0 || shorten(s, &init) < 0) {
		free(init);
		return r < 0 ? r : err_oom(e);
	}
	r = strv_take(&v, init);
	for (size_t i = 0; r >= 0 && layers[i]; i++)
		r = strv_add(&v, layers[i]);
	if (r < 0)
		return err_oom(e);
	*ret = take_ptr(v);
	return 0;
}

int store_snapshot_mount(Store *s, const char *key, bool read_only, int *ret_fd, Err *e)
{
	_cleanup_free_ char *chain_id = NULL, *upper = NULL, *work = NULL;
	_cleanup_strv_ char **lower = NULL;
	int r = check_key(key, e);

	if (r >= 0)
		r = load_chain(s, key, &chain_id, e);
	if (r >= 0)
		r = lower_paths_of_snapshot(s, chain_id, &lower, e);
	if (r < 0)
		return r;
	upper = strf("%s/containers/%s/diff", s->root, key);
	work = strf("%s/containers/%s/work", s->root, key);
	if (shorten(s, &upper) < 0 || shorten(s, &work) < 0)
		return err_oom(e);
	r = read_only ? mount_read_only(upper, lower, ret_fd, e)
		      : mount_overlay(lower, upper, work, ret_fd, e);
	return r < 0 ? err_ctx(e, r, "mount the snapshot %s", key) : 0;
}

int store_layers_mount(Store *s, const char *chain_id, int *ret_fd, Err *e)
{
	_cleanup_strv_ char **lower = NULL;
	int r = lower_paths(s, chain_id, &lower, e);

	if (r >= 0)
		r = mount_overlay(lower, NULL, NULL, ret_fd, e);
	return r < 0 ? err_ctx(e, r, "mount the layers of %s", chain_id ? chain_id : "an empty image") : 0;
}

char *store_snapshot_upper(Store *s, const char *key)
{
	return strf("%s/containers/%s/diff", s->root, key);
}

int store_snapshot_remove(Store *s, const char *key, Err *e)
{
	static const char sql[] = "DELETE FROM snapshot WHERE key = ?1";
	int r = check_key(key, e);

	/* The row goes last: until then a failed removal can be tried again. */
	if (r >= 0)
		r = remove_dirs(s, key, e);
	if (r >= 0)
		r = db_run(&s->db, e, sql, "t", key);
	if (r == -ENOSPC && reserve_give(s))
		r = db_run(&s->db, e, sql, "t", key);
	return r < 0 ? err_ctx(e, r, "remove the snapshot %s", key) : 0;
}

int store_snapshot_size(Store *s, const char *key, int64_t *ret, Err *e)
{
	_cleanup_free_ char *diff = NULL;
	_cleanup_close_ int fd = -1;
	int r = check_key(key, e);

	if (r < 0)
		return r;
	diff = piece(key, "diff");
	if (!diff)
		return err_oom(e);
	fd = openat(s->root_fd, diff, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? err_new(e, ERR_NOT_FOUND, "No such snapshot: %s", key)
				       : err_sys(e, errno, "open the snapshot %s", key);
	return dir_size(fd, ret, e);
}
