/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents that make images of one build one thing: a manifest for each, and an index over them and their attestations.
 *
 * An ordinary image has none until it is pushed: to write them its layers have to be compressed. The store keeps the index with the image that names stand
 * for, this machine's if there is one, and the others as its parts.
 */
#include "build/annotation.h"
#include "build/result.h"

int index_wanted(const BuildResult *r, const BuildImageOptions *o, bool *ret, Err *e)
{
	unsigned places = 0;
	int no = annotations_places(o->annotations, &places, e);
	bool several = r->next || r->index || attest_wanted(r);

	if (no < 0)
		return no;
	if (!several && (places & ~(unsigned)ANNOTATE_MANIFEST))
		return err_new(e, ERR_INVALID,
			       "annotations of an index: an image of one platform without attestations has "
			       "none: name several with --platform, or ask for --provenance");
	*ret = several || places || o->manifest;
	return 0;
}

int build_annotations_check(char *const *annotations, Err *e)
{
	unsigned places;

	return annotations_places(annotations, &places, e);
}

/* ---- a manifest ---- */

typedef struct Layers {
	json_t *descriptors;
	char **packed; /* blobs that were made for it */
} Layers;

static int add_layer(const BuildResult *r, const char *chain, Layers *l, Err *e)
{
	const LayerPack pack = {.form = LAYER_GZIP};
	LayerBlob blob;
	int no = store_layer_blob(r->store, chain, &blob, e);

	if (no == 0) {
		no = store_layer_pack(r->store, chain, &pack, &blob, e);
		if (no >= 0 && strv_add(&l->packed, blob.digest) < 0)
			no = err_oom(e);
	}
	if (no < 0)
		return no;
	return json_array_append_new(l->descriptors,
				     json_pack("{s:s, s:s, s:I}", "mediaType",
					       blob.form == LAYER_ZSTD ? MEDIA_OCI_LAYER_ZSTD
								       : MEDIA_OCI_LAYER_GZIP,
					       "digest", blob.digest, "size", (json_int_t)blob.size)) < 0
		   ? err_oom(e)
		   : 0;
}

static int add_layers(const BuildResult *r, char *const *diff_ids, Layers *l, Err *e)
{
	char chain[DIGEST_LEN + 1] = "", next[DIGEST_LEN + 1];
	int no = 0;

	for (char *const *d = diff_ids; no >= 0 && d && *d; d++) {
		chain_id_next(*chain ? chain : NULL, *d, next);
		memcpy(chain, next, sizeof(chain));
		no = add_layer(r, chain, l, e);
	}
	return no;
}

static int config_size(const BuildResult *r, const char *id, int64_t *ret, Err *e)
{
	_cleanup_close_ int fd = store_blob_open(r->store, id, ret, e);

	return MIN2(fd, 0);
}

static int put_manifest(const BuildResult *r, const BuildImageOptions *o, const ImageConfig *config,
			json_t *layers, BuiltImage *image, Err *e)
{
	int64_t size = 0;
	int no = config_size(r, image->id, &size, e);

	if (no < 0)
		return no;
	_cleanup_json_ json_t *doc =
	    json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:O}", "schemaVersion", 2, "mediaType",
		      MEDIA_OCI_MANIFEST, "config", "mediaType", MEDIA_OCI_CONFIG, "digest", image->id,
		      "size", (json_int_t)size, "layers", layers);
	no = doc ? annotations_add(doc, o->annotations, ANNOTATE_MANIFEST, &config->platform, e) : err_oom(e);
	_cleanup_free_ char *text = no >= 0 ? json_text(doc) : NULL;
	if (no < 0 || !text)
		return no < 0 ? no : err_oom(e);
	image->size = (int64_t)strlen(text);
	return store_blob_put(r->store, text, strlen(text), image->manifest, e);
}

int index_manifest(const BuildResult *r, const BuildImageOptions *o, BuiltImage *image, Err *e)
{
	_cleanup_(image_config_done) ImageConfig config = {.run.stop_timeout = -1};
	Layers l = {.descriptors = json_array()};
	/* Not the result's own: what was squashed has other layers. */
	int no = l.descriptors ? store_image_config(r->store, image->id, &config, e) : err_oom(e);

	if (no >= 0)
		no = add_layers(r, config.diff_ids, &l, e);
	if (no >= 0)
		no = put_manifest(r, o, &config, l.descriptors, image, e);
	if (no >= 0)
		no = store_image_put(r->store, image->id, image->manifest, r->base_id, e);
	for (char **p = l.packed; p && *p; p++) {
		int released = store_blob_release(r->store, *p, no < 0 ? NULL : e);

		no = MIN2(no, released);
	}
	strv_free(l.packed);
	json_decref(l.descriptors);
	return no < 0 ? err_ctx(e, no, "manifest") : 0;
}

/* ---- the index ---- */

typedef struct Index {
	const BuildImageOptions *o;
	json_t *manifests, *attestations; /* descriptors; the former first */
	char **ids;                       /* of all that is in it */
} Index;

static json_t *platform_doc(const ImagePlatform *p)
{
	json_t *doc = json_pack("{s:s, s:s}", "architecture", p->architecture ?: "", "os", p->os ?: "");

	if (doc && !str_empty(p->variant) && json_object_set_new(doc, "variant", json_string(p->variant)) < 0)
		json_decref(take_ptr(doc));
	return doc;
}

static int add_image(Index *x, const BuildResult *r, const BuiltImage *image, Err *e)
{
	json_t *doc =
	    json_pack("{s:s, s:s, s:I, s:o}", "mediaType", MEDIA_OCI_MANIFEST, "digest", image->manifest,
		      "size", (json_int_t)image->size, "platform", platform_doc(&r->config.platform));
	char id[DIGEST_LEN + 1];
	int no = doc ? annotations_add(doc, x->o->annotations, ANNOTATE_DESCRIPTOR, &r->config.platform, e)
		     : err_oom(e);

	if (json_array_append_new(x->manifests, doc) < 0 && no >= 0)
		no = err_oom(e);
	if (no >= 0 && strv_add(&x->ids, image->id) < 0)
		no = err_oom(e);
	if (no < 0 || !attest_wanted(r))
		return no;
	doc = NULL;
	no = attest(r, image, x->o->tags, &doc, id, e);
	if (no >= 0 && (json_array_append_new(x->attestations, doc) < 0 || strv_add(&x->ids, id) < 0))
		no = err_oom(e);
	return no;
}

static int put_index(const Index *x, const BuildResult *r, BuildImageMade *ret, Err *e)
{
	if (json_array_extend(x->manifests, x->attestations) < 0)
		return err_oom(e);
	_cleanup_json_ json_t *doc = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
					       MEDIA_OCI_INDEX, "manifests", x->manifests);
	int no = doc ? annotations_add(doc, x->o->annotations, ANNOTATE_INDEX, NULL, e) : err_oom(e);
	_cleanup_free_ char *text = no >= 0 ? json_text(doc) : NULL;

	if (no < 0 || !text)
		return no < 0 ? no : err_oom(e);
	ret->media_type = MEDIA_OCI_INDEX;
	ret->size = (int64_t)strlen(text);
	return store_blob_put(r->store, text, strlen(text), ret->digest, e);
}

/* This machine's, or else the first. */
static const BuiltImage *main_image(const BuildResult *r, const BuiltImage *images)
{
	ImagePlatform own = {0};
	const BuiltImage *found = images, *at = images;

	if (image_platform_parse(NULL, &own, NULL) >= 0)
		for (; r; r = r->next, at++) {
			ImageDescriptor d = {.has_platform = true, .platform = r->config.platform};
			const ImageIndex one = {.manifests = &d, .n_manifests = 1};

			if (image_index_select(&one, &own)) {
				found = at;
				break;
			}
		}
	image_platform_done(&own);
	return found;
}

int index_make(BuildResult *r, const BuildImageOptions *o, const BuiltImage *images, size_t n,
	       BuildImageMade *ret, Err *e)
{
	const BuiltImage *of_names = main_image(r, images);
	Index x = {.o = o, .manifests = json_array(), .attestations = json_array()};
	BuildResult *one = r;
	int no = x.manifests && x.attestations ? 0 : err_oom(e);

	for (size_t i = 0; no >= 0 && i < n; i++, one = one->next)
		no = add_image(&x, one, &images[i], e);
	if (no >= 0)
		no = put_index(&x, r, ret, e);
	memcpy(ret->id, of_names->id, sizeof(ret->id));
	if (no >= 0)
		no = store_image_parts_set(r->store, ret->id, ret->digest, x.ids, e);
	json_decref(x.manifests);
	json_decref(x.attestations);
	strv_free(x.ids);
	return no < 0 ? err_ctx(e, no, "index") : 0;
}
