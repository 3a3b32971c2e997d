/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: a row each, and a directory data-root/volumes/<name>/_data.
 *
 * A volume exists when its row does. The directory is made before the row and removed after it, so a directory
 * without a row is what a crash left of a volume that was being made or removed; making that name again starts
 * from an empty one. volumes/ is 0710: only root and our group get as far as the data.
 */
#include "engine/volume.h"

#include <ctype.h>

static const JsonField volume_table[] = {
    {.name = "driver", .type = JSON_T_STR, .offset = offsetof(VolumeInfo, driver)},
    {.name = "created_ns", .type = JSON_T_INT, .offset = offsetof(VolumeInfo, created_ns)},
    {.name = "labels", .type = JSON_T_MAP, .offset = offsetof(VolumeInfo, labels)},
    {.name = "options", .type = JSON_T_MAP, .offset = offsetof(VolumeInfo, options)},
    {0},
};

void volume_info_done(VolumeInfo *i)
{
	json_fields_done(volume_table, i);
	free(i->name);
	free(i->mountpoint);
	*i = (VolumeInfo){0};
}

void volume_infos_free(VolumeInfo *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		volume_info_done(&v[i]);
	free(v);
}

int volume_name_check(const char *name, Err *e)
{
	bool ok = isalnum((unsigned char)name[0]);

	for (const char *p = name; ok && *p; p++)
		ok = isalnum((unsigned char)*p) || strchr("_.-", *p);
	if (ok && !name[1])
		return err_new(
		    e, ERR_INVALID,
		    "volume name is too short, names should be at least two alphanumeric characters");
	if (ok && strlen(name) <= 255)
		return 0;
	return err_new(
	    e, ERR_INVALID,
	    "\"%s\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" "
	    "are "
	    "allowed (2 to 255 of them). If you intended to pass a host directory, use absolute path",
	    name);
}

/* Completes what the row does not hold. */
static int info_fill(Engine *en, const char *name, VolumeInfo *i)
{
	i->name = strdup(name);
	i->mountpoint = strf("%s/volumes/%s/_data", store_root(en->store), name);
	if (!i->driver)
		i->driver = strdup("local");
	return i->name && i->mountpoint && i->driver ? 0 : -ENOMEM;
}

static int info_decode(Engine *en, const char *name, const json_t *doc, VolumeInfo *ret, Err *e)
{
	VolumeInfo i = {0};
	int r = json_decode(doc, volume_table, &i, e);

	if (r >= 0 && info_fill(en, name, &i) < 0)
		r = err_oom(e);
	if (r < 0) {
		volume_info_done(&i);
		return err_ctx(e, r, "volume %s", name);
	}
	*ret = i;
	return 0;
}

static int volume_load(Engine *en, const char *name, VolumeInfo *ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	Err err = {0};
	int r = store_doc_get(en->store, COLLECTION_VOLUME, name, &doc, &err);

	if (r < 0 && err.kind == ERR_NOT_FOUND)
		return err_new(e, ERR_NOT_FOUND, "get %s: no such volume", name);
	if (r < 0) {
		if (e)
			*e = err;
		return r;
	}
	return info_decode(en, name, doc, ret, e);
}

/* ---- making ---- */

static int directory_remove(Engine *en, const char *name, Err *e)
{
	_cleanup_free_ char *path = strf("volumes/%s", name);
	int r = path ? remove_tree_at(store_root_fd(en->store), path) : -ENOMEM;

	return r < 0 ? err_sys(e, r, "remove the directory of volume %s", name) : 0;
}

static int directory_make(Engine *en, const char *name, Err *e)
{
	_cleanup_free_ char *dir = strf("volumes/%s", name), *data = strf("volumes/%s/_data", name);
	int root = store_root_fd(en->store), r;

	if (!dir || !data)
		return err_oom(e);
	if (mkdirat(root, "volumes", 0710) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make the directory volumes");
	r = directory_remove(en, name, e);
	if (r < 0)
		return r;
	if (mkdirat(root, dir, 0710) < 0 || mkdirat(root, data, 0755) < 0 ||
	    fchmodat(root, dir, 0710, 0) < 0 || fchmodat(root, data, 0755, 0) < 0) {
		r = err_sys(e, errno, "make the directory of volume %s", name);
		(void)directory_remove(en, name, NULL);
	}
	return r;
}

static void volume_event(Engine *en, const char *action, const char *name)
{
	char *attributes[] = {(char *)"driver=local", NULL};

	engine_event(en, "volume", action, name, attributes);
}

static int volume_make(Engine *en, const char *name, const VolumeWanted *w, VolumeInfo *ret, Err *e)
{
	VolumeInfo i = {.created_ns = clock_now_ns(),
			.labels = strv_dup(w->labels),
			.options = strv_dup(w->options)};
	_cleanup_json_ json_t *doc = NULL;
	int r = i.labels && i.options && info_fill(en, name, &i) >= 0 ? 0 : err_oom(e);

	if (r >= 0) {
		doc = json_encode(volume_table, &i);
		if (!doc)
			r = err_new(e, ERR_INVALID, "volume %s: a label or option is not valid UTF-8", name);
	}
	if (r >= 0)
		r = directory_make(en, name, e);
	if (r >= 0) {
		r = store_doc_put(en->store, COLLECTION_VOLUME, name, doc, e);
		if (r < 0)
			(void)directory_remove(en, name, NULL);
	}
	if (r < 0) {
		volume_info_done(&i);
		return err_ctx(e, r, "create volume %s", name);
	}
	*ret = i;
	volume_event(en, "create", name);
	return 0;
}

static int driver_check(const char *driver, Err *e)
{
	if (str_empty(driver) || streq(driver, "local"))
		return 0;
	return err_new(
	    e, ERR_NOT_FOUND,
	    "error looking up volume plugin %s: plugin \"%s\" not found: the driver offered is local", driver,
	    driver);
}

static int anonymous_make(Engine *en, const VolumeWanted *w, VolumeInfo *ret, Err *e)
{
	_cleanup_strv_ char **all = strv_dup(w->labels);
	VolumeWanted labelled = *w;
	char name[ID_LEN + 1];

	if (!all || strv_env_set(&all, VOLUME_ANONYMOUS_LABEL "=") < 0)
		return err_oom(e);
	id_random_hex(name, ID_LEN);
	labelled.labels = all;
	return volume_make(en, name, &labelled, ret, e);
}

/* As in Docker, one that is there is taken as it is, whatever labels and options would have been wanted for a new one. */
static int take_existing(const VolumeWanted *w, VolumeInfo *i, VolumeInfo *ret, Err *e)
{
	if (str_empty(w->driver) || streq(w->driver, i->driver)) {
		*ret = *i;
		return 0;
	}
	int r = err_new(e, ERR_CONFLICT, "driver '%s' already has volume '%s': volume name must be unique",
			i->driver, w->name);
	volume_info_done(i);
	return r;
}

int volume_ensure(Engine *en, const VolumeWanted *w, VolumeInfo *ret, bool *ret_made, Err *e)
{
	VolumeInfo i = {0};
	Err err = {0};
	int r = w->name ? volume_load(en, w->name, &i, &err) : -ENOENT;

	if (r >= 0)
		return take_existing(w, &i, ret, e);
	if (w->name && err.kind != ERR_NOT_FOUND) {
		if (e)
			*e = err;
		return r;
	}
	r = driver_check(w->driver, e);
	if (r >= 0)
		r = volume_options_check(w->options, e);
	if (r >= 0)
		r = w->name ? volume_make(en, w->name, w, ret, e) : anonymous_make(en, w, ret, e);
	if (r >= 0 && ret_made)
		*ret_made = true;
	return r;
}

int engine_volume_create(Engine *en, const char *name, const char *driver, char *const *labels,
			 char *const *options, VolumeInfo *ret, Err *e)
{
	const VolumeWanted w = {.name = str_empty(name) ? NULL : name,
				.driver = driver,
				.labels = labels,
				.options = options};
	int r = w.name ? volume_name_check(name, e) : 0;

	if (r < 0)
		return err_ctx(e, r, "create %s", name);
	pthread_mutex_lock(&en->volumes_lock);
	r = volume_ensure(en, &w, ret, NULL, e);
	pthread_mutex_unlock(&en->volumes_lock);
	return w.name ? err_ctx(e, r, "create %s", name) : r;
}

/* ---- looking ---- */

int engine_volume_inspect(Engine *en, const char *name, VolumeInfo *ret, Err *e)
{
	return volume_load(en, name, ret, e);
}

typedef struct Listing {
	Engine *en;
	VolumeInfo *v;
	size_t n;
} Listing;

static int list_one(void *user, const char *key, json_t *doc)
{
	Listing *l = user;
	VolumeInfo *grown = realloc(l->v, (l->n + 1) * sizeof(*grown));
	Err err = {0};

	if (!grown)
		return -ENOMEM;
	l->v = grown;
	int r = info_decode(l->en, key, doc, &l->v[l->n], &err);
	if (r >= 0)
		l->n++;
	else
		log_error("its record cannot be read and is left alone: %s", err_msg(&err, r));
	return 0;
}

int engine_volume_list(Engine *en, VolumeInfo **ret, size_t *ret_n, Err *e)
{
	Listing l = {.en = en};
	int r = store_doc_each(en->store, COLLECTION_VOLUME, list_one, &l, e);

	if (r < 0) {
		volume_infos_free(l.v, l.n);
		return r == -ENOMEM ? err_oom(e) : err_ctx(e, r, "read the recorded volumes");
	}
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}

static bool uses_volume(Container *c, const char *name)
{
	bool found = false;

	pthread_mutex_lock(&c->state);
	for (size_t i = 0; !found && i < c->n_mounts; i++)
		found = streq0(c->mounts[i].name, name) && streq(c->mounts[i].type, "volume");
	pthread_mutex_unlock(&c->state);
	return found;
}

bool volume_in_use(Engine *en, const char *name, char ***ret_ids)
{
	Container *c, *tmp;
	bool used = false;

	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->by_id, c, tmp) {
		if (!uses_volume(c, name))
			continue;
		used = true;
		/* Out of memory shortens the list, not the answer. */
		if (!ret_ids || strv_add(ret_ids, c->id) < 0)
			break;
	}
	pthread_mutex_unlock(&en->lock);
	return used;
}

/* ---- removing ---- */

int volume_remove_locked(Engine *en, const char *name, Err *e)
{
	int r = store_doc_delete(en->store, COLLECTION_VOLUME, name, e);

	if (r < 0)
		return r;
	r = directory_remove(en, name, e);
	volume_event(en, "destroy", name);
	return r;
}

static int remove_unused(Engine *en, const char *name, Err *e)
{
	_cleanup_strv_ char **ids = NULL;
	_cleanup_free_ char *list = NULL;
	VolumeInfo i = {0};
	int r = volume_load(en, name, &i, e);

	if (r < 0)
		return r;
	bool own_fs = volume_has_fs(i.options);
	volume_info_done(&i);
	if (volume_in_use(en, name, &ids)) {
		list = strv_join(ids, ", ");
		return err_new(e, ERR_CONFLICT, "remove %s: volume is in use - [%s]", name, list ?: "?");
	}
	if (own_fs && !volume_is_idle(en, name))
		return err_new(e, ERR_CONFLICT,
			       "remove %s: volume is in use - [files are copied from or to it]", name);
	return err_ctx(e, volume_remove_locked(en, name, e), "remove %s", name);
}

int engine_volume_remove(Engine *en, const char *name, bool force, Err *e)
{
	Err err = {0};
	int r;

	pthread_mutex_lock(&en->volumes_lock);
	r = remove_unused(en, name, &err);
	pthread_mutex_unlock(&en->volumes_lock);
	if (r < 0) {
		if (force && err.kind == ERR_NOT_FOUND)
			return 0;
		if (e)
			*e = err;
		return r;
	}
	return 0;
}

int engine_volume_prune_one(Engine *en, const char *name, int64_t *bytes, Err *e)
{
	int64_t size = 0;
	int r;

	pthread_mutex_lock(&en->volumes_lock);
	/* One that cannot be counted can be removed all the same, and counts as nothing. */
	if (!volume_in_use(en, name, NULL))
		(void)volume_measure(en, name, &size, NULL);
	r = remove_unused(en, name, e);
	pthread_mutex_unlock(&en->volumes_lock);
	if (r < 0)
		return r;
	*bytes += size;
	return 0;
}
