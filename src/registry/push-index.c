/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which index an image came by, and whether all of it is here.
 *
 * An image that was pulled through an index keeps the index's bytes and is known by its digest (name@digest); one that was built with others knows the index
 * that they were built as. The index can be
 * pushed if the store has every manifest in it and an image of each, as after a pull for each platform. One that names
 * anything else (attestations, other indexes) cannot: a registry refuses an index whose parts it lacks.
 */
#include "registry/push.h"
#include "base/str.h"

void push_index_done(PushIndex *x)
{
	free(x->text);
	image_index_done(&x->index);
	strv_free(x->ids);
	*x = (PushIndex){0};
}

static int read_document(Store *s, const char *digest, char **ret, size_t *ret_len, json_t **ret_doc)
{
	int r = store_blob_read(s, digest, IMAGE_DOCUMENT_MAX, ret, ret_len, NULL);

	return r < 0 ? r : json_parse(*ret, *ret_len, digest, ret_doc, NULL);
}

/* The image of a manifest that goes out by it; NULL if there is none. */
static char *image_of(Store *s, const char *manifest_digest)
{
	_cleanup_(image_manifest_done) ImageManifest m = {0};
	_cleanup_(store_image_done) StoreImage i = {0};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL;
	size_t len = 0;

	if (store_image_get(s, manifest_digest, &i, NULL) == 0 && i.artifact_type)
		return take_ptr(i.id);
	store_image_done(&i);
	if (read_document(s, manifest_digest, &text, &len, &doc) < 0 ||
	    image_manifest_decode(doc, &m, NULL) < 0 || store_image_get(s, m.config.digest, &i, NULL) < 0)
		return NULL;
	return streq0(i.manifest_digest, manifest_digest) ? take_ptr(i.id) : NULL;
}

static bool has_entry(const ImageIndex *index, const char *digest)
{
	for (size_t i = 0; i < index->n_manifests; i++)
		if (streq(index->manifests[i].digest, digest))
			return true;
	return false;
}

/* Reads the document into x: true if it is an index with this manifest in it. */
static bool load(Store *s, const char *digest, const char *manifest_digest, PushIndex *x)
{
	_cleanup_json_ json_t *doc = NULL;
	ImageDocumentKind kind;

	if (read_document(s, digest, &x->text, &x->len, &doc) == 0 &&
	    image_document_kind(doc, NULL, &kind, NULL) == 0 && kind == IMAGE_DOC_INDEX &&
	    image_index_decode(doc, &x->index, NULL) == 0 && has_entry(&x->index, manifest_digest)) {
		snprintf(x->digest, sizeof(x->digest), "%s", digest);
		return true;
	}
	push_index_done(x);
	return false;
}

static int find_images(Store *s, PushIndex *x, Err *e)
{
	x->complete = true;
	for (size_t i = 0; x->complete && i < x->index.n_manifests; i++) {
		_cleanup_free_ char *id = image_of(s, x->index.manifests[i].digest);

		if (id && strv_add(&x->ids, id) < 0)
			return err_oom(e);
		x->complete = id != NULL;
	}
	return 1;
}

int push_index_find(Store *s, const char *image_id, PushIndex *ret, Err *e)
{
	_cleanup_(store_image_done) StoreImage image = {0};
	int r = store_image_get(s, image_id, &image, e);

	if (r < 0)
		return r;
	if (image.manifest_digest && image.index_digest &&
	    load(s, image.index_digest, image.manifest_digest, ret))
		return find_images(s, ret, e);
	for (char **d = image.digests; image.manifest_digest && d && *d; d++) {
		const char *at = strchr(*d, '@'), *digest = at ? at + 1 : "";

		if (digest_is_valid(digest) && !streq(digest, image.manifest_digest) &&
		    load(s, digest, image.manifest_digest, ret))
			return find_images(s, ret, e);
	}
	return 0;
}
