/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints of volumes. */
#include "api/docker/door-internal.h"

#define LABEL_ANONYMOUS "com.docker.volume.anonymous"

static json_t *volume_doc(const VolumeInfo *i)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "CreatedAt", doc_time(i->created_ns),
			 "Driver", doc_str(str_empty(i->driver) ? "local" : i->driver), "Labels",
			 strv_len(i->labels) ? doc_map(i->labels) : json_null(), "Mountpoint",
			 doc_str(i->mountpoint), "Name", doc_str(i->name), "Options",
			 strv_len(i->options) ? doc_map(i->options) : json_null(), "Scope", "local");
}

static bool volume_used(const ContainerInfo *v, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < v[i].n_mounts; k++)
			if (streq0(v[i].mounts[k].type, "volume") && streq0(v[i].mounts[k].name, name))
				return true;
	return false;
}

static int volume_matches(const Filters *f, const VolumeInfo *i, const ContainerInfo *cs, size_t n_cs, Err *e)
{
	bool dangling = false;
	int r;

	if (!filters_exact(f, "driver", str_empty(i->driver) ? "local" : i->driver) ||
	    !filters_labels(f, i->labels))
		return 0;
	if (filters_has(f, "dangling")) {
		r = filters_bool(f, "dangling", &dangling, e);
		if (r < 0)
			return r;
		if (dangling == volume_used(cs, n_cs, i->name))
			return 0;
	}
	return filters_regex(f, "name", i->name, e);
}

int h_volumes_list(HttpRequest *rq, void *user, Err *e)
{
	static const char *const allowed[] = {"dangling", "driver", "label", "label!", "name", NULL};
	Door *d = user;
	_cleanup_filters_ Filters f = {0};
	_cleanup_json_ json_t *a = json_array();
	ContainerInfo *cs = NULL;
	VolumeInfo *v = NULL;
	size_t n = 0, n_cs = 0;
	int r = filters_parse(http_query(rq, "filters"), &f, e);

	if (r >= 0)
		r = filters_allow(&f, allowed, e);
	if (r >= 0 && filters_has(&f, "dangling"))
		r = engine_container_list(d->engine, &cs, &n_cs, e);
	if (r >= 0)
		r = engine_volume_list(d->engine, &v, &n, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = volume_matches(&f, &v[i], cs, n_cs, e);
		if (r > 0)
			r = json_array_append_new(a, volume_doc(&v[i])) < 0 ? err_oom(e) : 0;
	}
	volume_infos_free(v, n);
	container_infos_free(cs, n_cs);
	return r < 0 ? r : reply_doc(rq, 200, json_pack("{s:O, s:[]}", "Volumes", a, "Warnings"), e);
}

int h_volume_inspect(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(volume_info_done) VolumeInfo i = {0};
	int r = engine_volume_inspect(d->engine, http_param(rq, "name"), &i, e);

	return r < 0 ? r : reply_doc(rq, 200, volume_doc(&i), e);
}

int h_volume_create(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_strv_ char **labels = NULL, **options = NULL;
	_cleanup_(volume_info_done) VolumeInfo i = {0};
	const char *name, *driver;
	int r = http_body_json(rq, false, &body, e);

	if (r >= 0 && (json_map_to_strv(json_object_get(body, "Labels"), &labels) < 0 ||
		       json_map_to_strv(json_object_get(body, "DriverOpts"), &options) < 0))
		r = err_new(e, ERR_INVALID, "volume: Labels and DriverOpts must be objects of strings");
	if (r < 0)
		return r;
	if (json_is_object(json_object_get(body, "ClusterVolumeSpec")))
		return h_swarm(rq, user, e);
	name = json_get_str(body, "Name");
	driver = json_get_str(body, "Driver");
	/* Nobody named it: prune may take it without being asked twice. */
	if (str_empty(name) && strv_env_set(&labels, LABEL_ANONYMOUS "=") < 0)
		return err_oom(e);
	r = engine_volume_create(d->engine, str_empty(name) ? NULL : name, driver, labels, options, &i, e);
	return r < 0 ? r : reply_doc(rq, 201, volume_doc(&i), e);
}

int h_volume_remove(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	int r =
	    engine_volume_remove(d->engine, http_param(rq, "name"), http_query_bool(rq, "force", false), e);

	return r < 0 ? r : http_reply_empty(rq, 204);
}

static int prune_volumes(Door *d, const Filters *f, bool all, json_t *deleted, int64_t *bytes, Err *e)
{
	ContainerInfo *cs = NULL;
	VolumeInfo *v = NULL;
	size_t n = 0, n_cs = 0;
	int r = engine_container_list(d->engine, &cs, &n_cs, e);

	if (r >= 0)
		r = engine_volume_list(d->engine, &v, &n, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		Err one;
		int k;

		/* What lies in a file system of its own is not ours to throw away unasked: as in Docker it is removed by name. */
		if ((!all && !strv_env_get(v[i].labels, LABEL_ANONYMOUS)) || strv_len(v[i].options) > 0 ||
		    !filters_labels(f, v[i].labels) || volume_used(cs, n_cs, v[i].name))
			continue;
		k = engine_volume_prune_one(d->engine, v[i].name, bytes, &one);
		if (k >= 0)
			json_array_append_new(deleted, doc_str(v[i].name));
		else if (one.kind != ERR_CONFLICT && one.kind != ERR_NOT_FOUND) {
			*e = one;
			r = k;
		}
	}
	volume_infos_free(v, n);
	container_infos_free(cs, n_cs);
	return r;
}

int h_volumes_prune(HttpRequest *rq, void *user, Err *e)
{
	static const char *const allowed[] = {"all", "label", "label!", NULL};
	Door *d = user;
	_cleanup_filters_ Filters f = {0};
	_cleanup_json_ json_t *deleted = json_array();
	bool all = http_tag(rq) < 142;
	int64_t bytes = 0;
	int r = filters_parse(http_query(rq, "filters"), &f, e);

	if (r >= 0)
		r = filters_allow(&f, allowed, e);
	if (r >= 0)
		r = filters_bool(&f, "all", &all, e);
	if (r >= 0)
		r = prune_begin(d, PRUNE_VOLUMES, e);
	if (r < 0)
		return r;
	r = prune_volumes(d, &f, all, deleted, &bytes, e);
	prune_end(d, PRUNE_VOLUMES);
	if (r < 0)
		return r;
	return reply_doc(rq, 200,
			 json_pack("{s:O, s:I}", "VolumesDeleted", deleted, "SpaceReclaimed",
				   (json_int_t)bytes),
			 e);
}
