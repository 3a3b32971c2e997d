/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /system/df: what takes how much room.
 *
 * Images and the build cache are sums over the database (store/usage.c); an image's Size is here all that it takes on disk, layers
 * and packed blobs, and LayersSize is that of all images, each layer and blob once. Sizes of containers and volumes are
 * counted and remembered for a while (engine/sizes.c). Beside the lists that clients of version 1.51 and older read stand the
 * summaries of newer ones, which know what is shared: what would go if all unused images went.
 */
#include "api/docker/door-internal.h"

typedef struct Df {
	Door *door;
	int version;
	json_t *types; /* wanted; NULL: all */
	ContainerInfo *containers;
	size_t n_containers;
} Df;

typedef struct Summary {
	int64_t active, total, size, reclaimable;
} Summary;

static json_t *summary_doc(const Summary *s)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "ActiveCount", (json_int_t)s->active, "TotalCount",
			 (json_int_t)s->total, "TotalSize", (json_int_t)s->size, "Reclaimable",
			 (json_int_t)s->reclaimable);
}

/* ---- images ---- */

static int compare_usage(const void *key, const void *item)
{
	return strcmp(key, ((const StoreImageUsage *)item)->id);
}

static int users_of(const Df *x, const char *image_id)
{
	int n = 0;

	for (size_t i = 0; i < x->n_containers; i++)
		n += streq0(x->containers[i].image_id, image_id);
	return n;
}

static json_t *image_doc(const Df *x, const StoreImage *i, const StoreImageUsage *u, int users, Err *e)
{
	json_t *doc = image_list_doc(x->door, i, x->version, users, e);

	if (doc && u) {
		json_object_set_new(doc, "Size", json_integer(u->layers + u->blobs));
		json_object_set_new(doc, "SharedSize", json_integer(u->shared_layers + u->shared_blobs));
	}
	return doc;
}

/* What images in use have is not reclaimable, however many unused ones have it too. */
static int unused_size(const Df *x, const StoreImage *v, size_t n, int64_t all, int64_t *ret, Err *e)
{
	_cleanup_strv_ char **used = NULL;
	int64_t size = 0;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++)
		if (users_of(x, v[i].id) > 0)
			r = strv_add(&used, v[i].id);
	if (r < 0)
		return err_oom(e);
	r = used ? store_images_size(engine_store(x->door->engine), used, &size, e) : 0;
	*ret = all - size;
	return r;
}

static int images(const Df *x, json_t *doc, Err *e)
{
	Store *store = engine_store(x->door->engine);
	_cleanup_free_ StoreImageUsage *usage = NULL;
	json_t *list = json_array();
	StoreImage *v = NULL;
	size_t n = 0, n_usage = 0;
	Summary s = {0};
	int r = list ? store_image_list(store, &v, &n, e) : err_oom(e);

	json_object_set_new(doc, "Images", list);
	if (r >= 0)
		r = store_image_usage(store, &usage, &n_usage, e);
	if (r >= 0)
		r = store_images_size(store, NULL, &s.size, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		const StoreImageUsage *u =
		    n_usage ? bsearch(v[i].id, usage, n_usage, sizeof(*usage), compare_usage) : NULL;
		int users = users_of(x, v[i].id);
		json_t *one = image_doc(x, &v[i], u, users, e);

		s.active += users > 0;
		if (!one)
			r = e && e->no ? -e->no : -EIO;
		else if (json_array_append_new(list, one) < 0)
			r = err_oom(e);
	}
	s.total = (int64_t)n;
	if (r >= 0)
		r = unused_size(x, v, n, s.size, &s.reclaimable, e);
	store_images_free(v, n);
	json_object_set_new(doc, "LayersSize", json_integer(s.size));
	json_object_set_new(doc, "ImageUsage", summary_doc(&s));
	return r;
}

/* ---- containers ---- */

static int containers(const Df *x, json_t *doc, Err *e)
{
	_cleanup_(image_shown_done) ImageShown image = {0};
	json_t *list = json_array();
	Summary s = {.total = (int64_t)x->n_containers};

	json_object_set_new(doc, "Containers", list);
	for (size_t i = 0; i < x->n_containers; i++) {
		const ContainerInfo *c = &x->containers[i];
		bool active = c->status == CONTAINER_RUNNING || c->status == CONTAINER_PAUSED ||
			      c->status == CONTAINER_RESTARTING;
		int64_t rw = 0, root = 0;

		/* One that is being removed right now has no size; it is listed all the same. */
		(void)container_sizes(x->door, c, &rw, &root, NULL);
		s.active += active;
		s.size += rw;
		s.reclaimable += active ? 0 : rw;
		if (json_array_append_new(list, container_list_doc(c, image_shown(x->door, c, &image), &rw,
								   &root)) < 0)
			return err_oom(e);
	}
	json_object_set_new(doc, "ContainerUsage", summary_doc(&s));
	return 0;
}

/* ---- volumes ---- */

static int links_of(const Df *x, const char *volume)
{
	int n = 0;

	for (size_t i = 0; i < x->n_containers; i++)
		for (size_t m = 0; m < x->containers[i].n_mounts; m++)
			n += streq0(x->containers[i].mounts[m].name, volume);
	return n;
}

static json_t *volume_doc(const VolumeInfo *v, int64_t size, int links)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:{s:I, s:i}}", "CreatedAt",
			 doc_time(v->created_ns), "Driver", doc_str(v->driver), "Labels", doc_map(v->labels),
			 "Mountpoint", doc_str(v->mountpoint), "Name", doc_str(v->name), "Options",
			 doc_map(v->options), "Scope", "local", "UsageData", "Size", (json_int_t)size,
			 "RefCount", links);
}

static int volumes(const Df *x, json_t *doc, Err *e)
{
	json_t *list = json_array();
	VolumeInfo *v = NULL;
	size_t n = 0;
	Summary s = {0};
	int r = engine_volume_list(x->door->engine, &v, &n, e);

	json_object_set_new(doc, "Volumes", list);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		/* Room that a file system of its own takes is not ours. */
		if (strv_len(v[i].options) > 0)
			continue;
		int links = links_of(x, v[i].name);
		int64_t size = -1; /* not known, as the API has it: one that is being removed, say */

		(void)engine_volume_size(x->door->engine, v[i].name, &size, NULL);
		s.active += links > 0;
		s.size += MAX2(size, (int64_t)0);
		s.reclaimable += links > 0 ? 0 : MAX2(size, (int64_t)0);
		if (json_array_append_new(list, volume_doc(&v[i], size, links)) < 0)
			r = err_oom(e);
	}
	s.total = (int64_t)json_array_size(list);
	if (r >= 0 || n > 0)
		volume_infos_free(v, n);
	json_object_set_new(doc, "VolumeUsage", summary_doc(&s));
	return r;
}

/* ---- the build cache ---- */

static json_t *cache_doc(const StoreCacheEntry *c, const char *type)
{
	return json_pack("{s:s, s:s, s:o, s:b, s:b, s:I, s:o, s:o, s:I}", "ID", c->key, "Type", type,
			 "Description", doc_str(c->step ?: "build step"), "InUse", c->in_use, "Shared",
			 c->shared, "Size", (json_int_t)c->size, "CreatedAt", doc_time(c->created_ns),
			 "LastUsedAt", doc_time(c->used_ns), "UsageCount", (json_int_t)c->uses);
}

static int cache_rows(const StoreCacheEntry *v, size_t n, const char *type, json_t *list, Summary *s, Err *e)
{
	for (size_t i = 0; i < n; i++) {
		s->active += v[i].in_use;
		s->size += v[i].shared ? 0 : v[i].size;
		s->reclaimable += v[i].shared || v[i].in_use ? 0 : v[i].size;
		if (json_array_append_new(list, cache_doc(&v[i], type)) < 0)
			return err_oom(e);
	}
	s->total += (int64_t)n;
	return 0;
}

static int build_cache(const Df *x, json_t *doc, Err *e)
{
	Store *store = engine_store(x->door->engine);
	json_t *list = json_array();
	StoreCacheEntry *steps = NULL, *mounts = NULL;
	size_t n_steps = 0, n_mounts = 0;
	Summary s = {0};
	int r = store_cache_list(store, &steps, &n_steps, e);

	json_object_set_new(doc, "BuildCache", list);
	if (r >= 0)
		r = build_cache_mounts_list(store, &mounts, &n_mounts, e);
	if (r >= 0)
		r = cache_rows(steps, n_steps, "regular", list, &s, e);
	if (r >= 0)
		r = cache_rows(mounts, n_mounts, "exec.cachemount", list, &s, e);
	store_cache_free(steps, n_steps);
	store_cache_free(mounts, n_mounts);
	json_object_set_new(doc, "BuilderSize", json_integer(s.size));
	json_object_set_new(doc, "BuildCacheUsage", summary_doc(&s));
	return r;
}

/* ---- the whole ---- */

static bool wanted(const Df *x, const char *type)
{
	return json_object_size(x->types) == 0 || json_object_get(x->types, type);
}

static int read_types(HttpRequest *rq, json_t *types, Err *e)
{
	static const char *const known[] = {"image", "container", "volume", "build-cache"};
	const char *t;

	for (size_t i = 0; (t = http_query_nth(rq, "type", i)); i++) {
		size_t k = 0;

		while (k < ELEMENTSOF(known) && !streq(t, known[k]))
			k++;
		if (k == ELEMENTSOF(known))
			return err_new(e, ERR_INVALID, "unknown object type: %.60s", t);
		json_object_set_new(types, t, json_true());
	}
	return 0;
}

static int fill(const Df *x, json_t *doc, Err *e)
{
	static const struct {
		const char *type;
		int (*fill)(const Df *x, json_t *doc, Err *e);
	} parts[] = {{"image", images},
		     {"container", containers},
		     {"volume", volumes},
		     {"build-cache", build_cache}};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(parts); i++)
		if (wanted(x, parts[i].type))
			r = parts[i].fill(x, doc, e);
	return r;
}

int h_df(HttpRequest *rq, void *user, Err *e)
{
	_cleanup_json_ json_t *doc = json_object(), *types = json_object();
	Df x = {.door = user, .version = http_tag(rq), .types = types};
	int r = doc && types ? read_types(rq, types, e) : err_oom(e);

	if (r >= 0)
		r = engine_container_list(x.door->engine, &x.containers, &x.n_containers, e);
	if (r < 0)
		return r;
	r = fill(&x, doc, e);
	container_infos_free(x.containers, x.n_containers);
	return r < 0 ? r : reply_doc(rq, 200, json_incref(doc), e);
}
