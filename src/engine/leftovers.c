/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine that was killed has left: writable layers of containers that were being made or removed, and of build steps.
 *
 * A container exists when its row does; its snapshot and its folder come before that and go after it. So at start, when nothing is
 * being made, a snapshot or folder without a container's row is of no use, and a snapshot would keep its layers for ever. A row that
 * cannot be read is a row all the same: what belongs to it stays.
 */
#include "engine/engine-internal.h"
#include "kernel/cgroup.h"
#include "runtime/runtime.h"
#include "store/dir.h"

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

typedef struct Names {
	char **v; /* sorted */
	size_t n;
} Names;

static int compare(const void *key, const void *item)
{
	return strcmp(key, *(char *const *)item);
}

static bool has(const Names *names, const char *name)
{
	return names->n > 0 && bsearch(name, names->v, names->n, sizeof(*names->v), compare);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static Names sorted(char **v)
{
	Names names = {v, strv_len(v)};

	if (names.n > 0)
		qsort(v, names.n, sizeof(*v), by_name);
	return names;
}

/* Its own snapshot is named as the container, those over images that it mounts are ID.mN. */
static bool belongs(const Names *ids, const char *key)
{
	_cleanup_free_ char *id = strndup(key, strcspn(key, "."));

	return !id || has(ids, id);
}

static bool is_of_nobody(Engine *en, const char *id)
{
	Container *c = NULL;

	if (strlen(id) != ID_LEN || strspn(id, "0123456789abcdef") != ID_LEN)
		return false;
	pthread_mutex_lock(&en->lock);
	HASH_FIND_STR(en->by_id, id, c);
	pthread_mutex_unlock(&en->lock);
	return !c;
}

/* Of removals that ended with their engine between a container's record and what the runtime knows of it. */
static void states_remove(Engine *en)
{
	const RuntimeOptions o = {.root = en->runtime_root, .helper_dir = en->options.helper_dir};
	_cleanup_close_ int fd = open(en->runtime_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_strv_ char **names = NULL;

	if (fd < 0 || dir_names(fd, &names) < 0)
		return;
	for (char **n = names; n && *n; n++) {
		Err err;

		if (is_of_nobody(en, *n) && runtime_delete(&o, *n, true, &err) < 0)
			log_warn("what the runtime knows of the container %.12s of an earlier run stays: %s",
				 *n, err.msg);
	}
}

/* Of starts that ended with their engine between the cgroup and the first word of it; rmdir(2) leaves alone what somebody is in. */
static void cgroups_remove(Engine *en)
{
	Cgroup parent = {0};

	if (!en->cgroup_parent || cgroup_resolve(en->cgroup_parent, &parent, NULL) < 0)
		return;
	for (size_t i = 0; i < parent.n; i++) {
		_cleanup_close_ int fd = open(parent.dirs[i].path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		_cleanup_strv_ char **names = NULL;

		if (fd < 0 || dir_names(fd, &names) < 0)
			continue;
		for (char **n = names; n && *n; n++)
			if (is_of_nobody(en, *n))
				(void)unlinkat(fd, *n, AT_REMOVEDIR);
	}
	cgroup_done(&parent);
}

void leftovers_steps_remove(Engine *en)
{
	size_t n;
	Container **all = containers_all(en, &n);

	for (size_t i = 0; all && i < n; i++) {
		Err err;

		bool kept = container_is_kept_step(all[i]) && container_status(all[i]) == CONTAINER_EXITED &&
			    all[i]->exit_code != 0;

		if (container_is_step(all[i]) && !kept &&
		    engine_container_remove(en, all[i]->id, true, true, &err) < 0)
			log_warn("build step %.12s of an earlier run is not removed: %s", all[i]->id,
				 err.msg);
		container_unref(all[i]);
	}
	free(all);
	states_remove(en);
	cgroups_remove(en);
}

int leftovers_remove(Engine *en, Err *e)
{
	_cleanup_strv_ char **known = NULL, **snapshots = NULL, **dirs = NULL;
	Names ids, mounted;
	int r = store_doc_keys(en->store, COLLECTION_CONTAINER, &known, e);

	if (r >= 0)
		r = store_snapshot_keys(en->store, &snapshots, e);
	if (r >= 0)
		r = folders(en, &dirs, e);
	ids = sorted(known);
	mounted = sorted(snapshots);
	for (char **k = snapshots; r >= 0 && k && *k; k++)
		if (!belongs(&ids, *k))
			r = remove_one(en, *k, true, e);
	for (char **k = dirs; r >= 0 && k && *k; k++)
		if (!belongs(&ids, *k) && !has(&mounted, *k))
			r = remove_one(en, *k, false, e);
	return r < 0 ? err_ctx(e, r, "remove what an earlier run has left of containers") : 0;
}
