/* SPDX-License-Identifier: Apache-2.0 */
/* Image documents: inspect, list, history (api map 1.6). */
#include "api/docker/door-internal.h"

char *reference_shown(const char *full)
{
	Reference r = {0};
	char *s = NULL;

	if (reference_parse(full, &r, NULL) >= 0)
		s = reference_familiar(&r);
	reference_done(&r);
	return s ? s : strdup(full);
}

static json_t *references_doc(char *const *v)
{
	json_t *a = json_array();

	for (; a && v && *v; v++) {
		_cleanup_free_ char *shown = reference_shown(*v);

		json_array_append_new(a, doc_str(shown));
	}
	return a;
}

static json_t *run_config_doc(const ImageRunConfig *c, int version)
{
	json_t *o =
	    json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "User", doc_str(c->user), "Env",
		      doc_strv(c->env), "Cmd", c->cmd ? doc_strv(c->cmd) : json_null(), "Volumes",
		      c->volumes ? doc_set(c->volumes) : json_null(), "WorkingDir", doc_str(c->working_dir),
		      "Entrypoint", c->entrypoint ? doc_strv(c->entrypoint) : json_null(), "OnBuild",
		      c->on_build ? doc_strv(c->on_build) : json_null(), "Labels",
		      c->labels ? doc_map(c->labels) : json_null(), "ArgsEscaped",
		      c->args_escaped ? json_true() : json_false());

	if (!o)
		return NULL;
	if (c->exposed_ports)
		json_object_set_new(o, "ExposedPorts", doc_set(c->exposed_ports));
	if (!str_empty(c->stop_signal))
		json_object_set_new(o, "StopSignal", doc_str(c->stop_signal));
	if (c->stop_timeout >= 0)
		json_object_set_new(o, "StopTimeout", json_integer(c->stop_timeout));
	if (c->shell)
		json_object_set_new(o, "Shell", doc_strv(c->shell));
	if (c->has_health)
		json_object_set_new(o, "Healthcheck",
				    json_pack("{s:o, s:I, s:I, s:I, s:I}", "Test", doc_strv(c->health.test),
					      "Interval", (json_int_t)c->health.interval_ns, "Timeout",
					      (json_int_t)c->health.timeout_ns, "StartPeriod",
					      (json_int_t)c->health.start_period_ns, "Retries",
					      (json_int_t)c->health.retries));
	if (version < 150) {
		/* What a container has and an image has not: old typed clients want it there. */
		static const char *const off[] = {"AttachStdin", "AttachStdout", "AttachStderr",
						  "Tty",         "OpenStdin",    "StdinOnce"};

		for (size_t i = 0; i < ELEMENTSOF(off); i++)
			json_object_set_new(o, off[i], json_false());
		json_object_set_new(o, "Hostname", json_string(""));
		json_object_set_new(o, "Domainname", json_string(""));
		json_object_set_new(o, "Image", json_string(""));
	}
	return o;
}

static json_t *inspect_pack(Door *d, const StoreImage *i, const ImageConfig *c, int version)
{
	json_t *doc =
	    json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:{s:s, s:{}}, s:{s:s, "
		      "s:o}, s:{s:o}}",
		      "Id", doc_str(i->id), "RepoTags", references_doc(i->tags), "RepoDigests",
		      references_doc(i->digests), "Parent", doc_str(i->parent), "Comment",
		      doc_str(c->comment), "Created", doc_str(c->created), "DockerVersion",
		      doc_str(c->docker_version), "Author", doc_str(c->author), "Config",
		      run_config_doc(&c->run, version), "Architecture", doc_str(c->platform.architecture),
		      "Os", doc_str(c->platform.os), "Size", (json_int_t)i->size, "GraphDriver", "Name",
		      "overlay2", "Data", "RootFS", "Type", "layers", "Layers", doc_strv(c->diff_ids),
		      "Metadata", "LastTagTime", doc_time(i->tagged_ns));

	if (!doc)
		return NULL;
	if (!str_empty(c->platform.variant))
		json_object_set_new(doc, "Variant", doc_str(c->platform.variant));
	if (!str_empty(c->platform.os_version))
		json_object_set_new(doc, "OsVersion", doc_str(c->platform.os_version));
	if (version < 144)
		json_object_set_new(doc, "VirtualSize", json_integer(i->size));
	if (version < 145) {
		json_object_set_new(doc, "Container", doc_str(c->container));
		json_object_set_new(doc, "ContainerConfig", run_config_doc(&c->run, version));
	}
	return doc;
}

json_t *image_inspect_doc(Door *d, const StoreImage *i, int version, Err *e)
{
	ImageConfig c = {0};
	json_t *doc;

	if (store_image_config(engine_store(d->engine), i->id, &c, e) < 0)
		return NULL;
	doc = inspect_pack(d, i, &c, version);
	image_config_done(&c);
	if (!doc)
		(void)!err_oom(e);
	return doc;
}

json_t *image_list_doc(Door *d, const StoreImage *i, int version, int containers, Err *e)
{
	ImageConfig c = {0};
	json_t *doc, *tags = references_doc(i->tags), *digests = references_doc(i->digests), *labels;

	if (store_image_config(engine_store(d->engine), i->id, &c, e) < 0) {
		json_decref(tags);
		json_decref(digests);
		return NULL;
	}
	labels = c.run.labels ? doc_map(c.run.labels) : json_null();
	image_config_done(&c);
	if (version < 143 && json_array_size(tags) == 0 && json_array_size(digests) == 0) {
		json_array_append_new(tags, json_string("<none>:<none>"));
		json_array_append_new(digests, json_string("<none>@<none>"));
	}
	doc = json_pack("{s:i, s:I, s:o, s:o, s:o, s:o, s:o, s:i, s:I}", "Containers", containers, "Created",
			(json_int_t)(i->created_ns / 1000000000), "Id", doc_str(i->id), "Labels", labels,
			"ParentId", doc_str(i->parent), "RepoDigests", digests, "RepoTags", tags,
			"SharedSize", -1, "Size", (json_int_t)i->size);
	if (doc && version < 144)
		json_object_set_new(doc, "VirtualSize", json_integer(i->size));
	if (!doc)
		(void)!err_oom(e);
	return doc;
}

/* Newest first. Layers belong to the history entries that are not empty, from the bottom up. */
static json_t *history_pack(Door *d, const StoreImage *i, const ImageConfig *c)
{
	Store *s = engine_store(d->engine);
	char chain[DIGEST_LEN + 1] = "";
	size_t layer = 0, layers = strv_len(c->diff_ids);
	json_t *a = json_array();

	for (size_t k = 0; a && k < c->n_history; k++) {
		const ImageHistory *h = &c->history[k];
		bool top = k + 1 == c->n_history;
		int64_t size = 0, created = 0;

		if (!h->empty_layer && layer < layers) {
			char next[DIGEST_LEN + 1];

			chain_id_next(*chain ? chain : NULL, c->diff_ids[layer++], next);
			memcpy(chain, next, sizeof(chain));
			(void)store_layer_size(s, chain, &size, NULL);
		}
		if (h->created)
			(void)clock_parse(h->created, &created);
		json_array_insert_new(
		    a, 0,
		    json_pack("{s:o, s:I, s:o, s:s, s:I, s:o}", "Comment", doc_str(h->comment), "Created",
			      (json_int_t)(created / 1000000000), "CreatedBy", doc_str(h->created_by), "Id",
			      top ? i->id : "<missing>", "Size", (json_int_t)size, "Tags",
			      top && i->tags && *i->tags ? references_doc(i->tags) : json_null()));
	}
	return a;
}

json_t *image_history_doc(Door *d, const StoreImage *i, Err *e)
{
	ImageConfig c = {0};
	json_t *doc;

	if (store_image_config(engine_store(d->engine), i->id, &c, e) < 0)
		return NULL;
	doc = history_pack(d, i, &c);
	image_config_done(&c);
	if (!doc)
		(void)!err_oom(e);
	return doc;
}
