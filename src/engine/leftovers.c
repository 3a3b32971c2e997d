/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine that was killed has left: writable layers of containers that were being made or removed, and of build steps.
 *
 * A container exists when its row does; its snapshot and its folder come before that and go after it. So at start, when nothing is
 * being made, a snapshot or folder without a container's row is of no use, and a snapshot would keep its layers for ever. A row that
 * cannot be read is a row all the same: what belongs to it stays.
 */
#include "engine/engine-internal.h"
#include "store/dir.h"

static int note_key(void *user, const char *key, json_t *doc)
{
	char ***keys = user;

	return strv_add(keys, key);
}

static int folders(Engine *en, char ***ret, Err *e)
{
	_cleanup_close_ int fd =
	    openat(store_root_fd(en->store), "containers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : dir_names(fd, ret);

	return r < 0 ? err_sys(e, r, "read %s/containers", store_root(en->store)) : 0;
}

static int remove_one(Engine *en, const char *key, bool snapshot, Err *e)
{
	_cleanup_free_ char *path = strf("containers/%s", key);
	int r = path ? 0 : err_oom(e);

	if (r >= 0 && snapshot)
		r = store_snapshot_remove(en->store, key, e);
	if (r >= 0) {
		r = remove_tree_at(store_root_fd(en->store), path);
		if (r < 0)
			r = err_sys(e, r, "remove %s/%s", store_root(en->store), path);
	}
	if (r >= 0)
		log_info("removed what was left of %s", key);
	return r;
}

/* Its own snapshot is named as the container, those over images that it mounts are ID.mN. */
static bool belongs(char *const *ids, const char *key)
{
	_cleanup_free_ char *id = strndup(key, strcspn(key, "."));

	return !id || strv_has(ids, id);
}

int leftovers_remove(Engine *en, Err *e)
{
	_cleanup_strv_ char **known = NULL, **snapshots = NULL, **dirs = NULL;
	int r = store_doc_each(en->store, COLLECTION_CONTAINER, note_key, &known, e);

	if (r >= 0)
		r = store_snapshot_keys(en->store, &snapshots, e);
	if (r >= 0)
		r = folders(en, &dirs, e);
	for (char **k = snapshots; r >= 0 && k && *k; k++)
		if (!belongs(known, *k))
			r = remove_one(en, *k, true, e);
	for (char **k = dirs; r >= 0 && k && *k; k++)
		if (!belongs(known, *k) && !strv_has(snapshots, *k))
			r = remove_one(en, *k, false, e);
	return r < 0 ? err_ctx(e, r, "remove what an earlier run has left of containers") : 0;
}
