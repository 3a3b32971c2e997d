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
		      store_snapshotter(engine_store(d->engine)), "Data", "RootFS", "Type", "layers",
		      "Layers", doc_strv(c->diff_ids), "Metadata", "LastTagTime", doc_time(i->tagged_ns));

	if (!doc)
		return NULL;
	/* One that does not say when it was made. dockerd leaves the member out from 1.44 on, which docker compose, up to 2.40 at least,
	 * takes for a time that cannot be read; the zero time is what everybody can. */
	if (str_empty(c->created))
		json_object_set_new(doc, "Created", doc_time(0));
	if (!str_empty(c->platform.variant))
		json_object_set_new(doc, "Variant", doc_str(c->platform.variant));
	if (!str_empty(c->platform.os_version))
		json_object_set_new(doc, "OsVersion", doc_str(c->platform.os_version));
	if (version < 144)
		json_object_set_new(doc, "VirtualSize", json_integer(i->size));
	if (version < 145)
		json_object_set_new(doc, "Container", doc_str(c->container));
	/* Docker leaves it out from 1.45 on; docker compose v1 takes the newest version there is and needs it to make a container anew. */
	json_object_set_new(doc, "ContainerConfig", run_config_doc(&c->run, version));
	return doc;
}

/* As dockerd with containerd's store tells one: an image of nothing, and what it is. */
static json_t *artifact_inspect_doc(Door *d, const StoreImage *i, int version, Err *e)
{
	const ImageConfig nothing = {.run.stop_timeout = -1};
	json_t *doc = inspect_pack(d, i, &nothing, version);
	json_t *what = json_pack("{s:s, s:s, s:s}", "mediaType", MEDIA_OCI_MANIFEST, "digest", i->id,
				 "artifactType", i->artifact_type);

	if (!doc || json_object_set_new(doc, "Descriptor", what) < 0) {
		json_decref(doc);
		(void)!err_oom(e);
		return NULL;
	}
	return doc;
}

json_t *image_inspect_doc(Door *d, const StoreImage *i, int version, Err *e)
{
	ImageConfig c = {0};
	json_t *doc;

	if (i->artifact_type)
		return artifact_inspect_doc(d, i, version, e);
	if (store_image_config(engine_store(d->engine), i->id, &c, e) < 0)
		return NULL;
	doc = inspect_pack(d, i, &c, version);
	image_config_done(&c);
	if (!doc)
		(void)!err_oom(e);
	return doc;
}

/* ---- lists, as text: a thousand images are no work, and no config is opened for them ---- */

/* Docker's short form, as a part of the full one. References are stored in full. */
static const char *familiar_of(const char *full)
{
	const char *path = str_after(full, "docker.io/"), *name = path ? str_after(path, "library/") : NULL;

	return name && !strchr(name, '/') ? name : path ? path : full;
}

static void add_quoted(StrBuf *b, const char *s)
{
	strbuf_add_c(b, '"');
	strbuf_add(b, s);
	strbuf_add_c(b, '"');
}

/* What a reference is made of needs no escaping in JSON. */
static void add_references(StrBuf *b, char *const *v)
{
	const char *separator = "[";

	for (; v && *v; v++, separator = ",") {
		strbuf_add(b, separator);
		add_quoted(b, familiar_of(*v));
	}
	strbuf_add(b, *separator == '[' ? "[]" : "]");
}

/* From the image's row, where it has them. */
static int add_labels(StrBuf *b, Door *d, const StoreImage *i, Err *e)
{
	ImageConfig c = {0};
	int r = 0;

	if (i->labels) {
		strbuf_add(b, streq(i->labels, "{}") ? "null" : i->labels);
		return 0;
	}
	r = store_image_config(engine_store(d->engine), i->id, &c, e);
	if (r < 0)
		return r;
	_cleanup_json_ json_t *o = c.run.labels ? doc_map(c.run.labels) : json_null();
	_cleanup_free_ char *text = o ? json_dumps(o, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	image_config_done(&c);
	strbuf_add(b, text ? text : "null");
	return text ? 0 : err_oom(e);
}

int image_list_text(StrBuf *b, Door *d, const StoreImage *i, int version, int containers, int64_t shared,
		    Err *e)
{
	bool nameless = version < 143 && !(i->tags && *i->tags) && !(i->digests && *i->digests);
	int r;

	strbuf_addf(b, "{\"Containers\":%d,\"Created\":%lld,\"Id\":", containers,
		    (long long)(i->created_ns / 1000000000));
	add_quoted(b, i->id);
	strbuf_add(b, ",\"Labels\":");
	r = add_labels(b, d, i, e);
	strbuf_add(b, ",\"ParentId\":");
	add_quoted(b, i->parent ? i->parent : "");
	strbuf_add(b, ",\"RepoDigests\":");
	if (nameless)
		strbuf_add(b, "[\"<none>@<none>\"]");
	else
		add_references(b, i->digests);
	strbuf_add(b, ",\"RepoTags\":");
	if (nameless)
		strbuf_add(b, "[\"<none>:<none>\"]");
	else
		add_references(b, i->tags);
	strbuf_addf(b, ",\"SharedSize\":%lld,\"Size\":%lld", (long long)shared, (long long)i->size);
	if (version < 144)
		strbuf_addf(b, ",\"VirtualSize\":%lld", (long long)i->size);
	strbuf_add_c(b, '}');
	return r < 0 ? r : b->oom ? err_oom(e) : 0;
}

json_t *image_list_doc(Door *d, const StoreImage *i, int version, int containers, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	json_t *doc =
	    image_list_text(&b, d, i, version, containers, -1, e) < 0 ? NULL : json_loads(b.s, 0, NULL);

	if (!doc && e && !e->no)
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
