/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests and indexes (OCI image-spec: manifest.md, image-index.md, descriptor.md; Docker's v2 schema 2).
 *
 * One document must have one meaning for everybody who reads it: a digest says which bytes were
 * meant, not how to read them. So a document that could be read as a manifest by one client and as an
 * index by another is refused, whatever its mediaType says; member names are compared without case,
 * because Go's decoder, which most clients have, does so too.
 */
#include "oci/image.h"
#include "oci/reference.h"
#include "base/str.h"

#include <strings.h>

#define INDEX_ENTRIES_MAX 4096

static const JsonField platform_table[] = {
    {"architecture", JSON_T_STR, offsetof(ImagePlatform, architecture)},
    {"os", JSON_T_STR, offsetof(ImagePlatform, os)},
    {"os.version", JSON_T_STR, offsetof(ImagePlatform, os_version)},
    {"variant", JSON_T_STR, offsetof(ImagePlatform, variant)},
    {0},
};

static const JsonField descriptor_table[] = {
    {"mediaType", JSON_T_STR, offsetof(ImageDescriptor, media_type)},
    {"digest", JSON_T_STR, offsetof(ImageDescriptor, digest), .keep_empty = true},
    {"size", JSON_T_INT, offsetof(ImageDescriptor, size), .keep_empty = true},
    {"urls", JSON_T_STRV, offsetof(ImageDescriptor, urls)},
    {"annotations", JSON_T_MAP, offsetof(ImageDescriptor, annotations)},
    {"platform", JSON_T_OBJECT, offsetof(ImageDescriptor, platform), platform_table},
    {0},
};

static const JsonField manifest_table[] = {
    {"mediaType", JSON_T_STR, offsetof(ImageManifest, media_type)},
    {"artifactType", JSON_T_STR, offsetof(ImageManifest, artifact_type)},
    {"config", JSON_T_OBJECT, offsetof(ImageManifest, config), descriptor_table},
    {"layers", JSON_T_ARRAY, offsetof(ImageManifest, layers), descriptor_table, sizeof(ImageDescriptor),
     offsetof(ImageManifest, n_layers), .keep_empty = true},
    {0},
};

static const JsonField index_table[] = {
    {"mediaType", JSON_T_STR, offsetof(ImageIndex, media_type)},
    {"manifests", JSON_T_ARRAY, offsetof(ImageIndex, manifests), descriptor_table, sizeof(ImageDescriptor),
     offsetof(ImageIndex, n_manifests)},
    {0},
};

/* The one member of that name in any case, *ret NULL if absent or null; -1 if there are several. */
static int find_one(const json_t *doc, const char *name, json_t **ret)
{
	const char *key;
	json_t *value;
	int n = 0;

	*ret = NULL;
	json_object_foreach ((json_t *)doc, key, value) {
		if (strcasecmp(key, name) != 0)
			continue;
		n++;
		if (!json_is_null(value))
			*ret = value;
	}
	return n > 1 ? -1 : 0;
}

typedef enum MediaKind { MEDIA_GENERIC, MEDIA_MANIFEST, MEDIA_INDEX, MEDIA_OTHER } MediaKind;

/* Servers that know no better say that JSON is JSON, text or bytes; that is no contradiction. */
static MediaKind media_kind(const char *type)
{
	static const struct {
		const char *name;
		MediaKind kind;
	} known[] = {
	    {"", MEDIA_GENERIC},
	    {"application/json", MEDIA_GENERIC},
	    {"application/octet-stream", MEDIA_GENERIC},
	    {"text/plain", MEDIA_GENERIC},
	    {MEDIA_OCI_MANIFEST, MEDIA_MANIFEST},
	    {MEDIA_DOCKER_MANIFEST, MEDIA_MANIFEST},
	    {MEDIA_OCI_INDEX, MEDIA_INDEX},
	    {MEDIA_DOCKER_LIST, MEDIA_INDEX},
	};
	size_t len = type ? strcspn(type, "; \t") : 0;

	for (size_t i = 0; i < ELEMENTSOF(known); i++)
		if (strlen(known[i].name) == len && strncasecmp(known[i].name, type ? type : "", len) == 0)
			return known[i].kind;
	return MEDIA_OTHER;
}

static int check_media_type(const char *where, const char *type, MediaKind shape, Err *e)
{
	MediaKind kind = media_kind(type);

	if (kind == MEDIA_OTHER)
		return err_new(e, ERR_INVALID, "unsupported media type %.200s in %s", type, where);
	if (kind != MEDIA_GENERIC && kind != shape)
		return err_new(e, ERR_INVALID,
			       "ambiguous document: %s says %.200s, but it has the members of %s", where,
			       type, shape == MEDIA_INDEX ? "an index" : "a manifest");
	return 0;
}

int image_document_kind(const json_t *doc, const char *media_type, ImageDocumentKind *ret, Err *e)
{
	json_t *config, *layers, *manifests, *fs_layers, *own, *schema;

	if (!json_is_object(doc))
		return err_new(e, ERR_INVALID, "not an image manifest or index: expected a JSON object");
	if (find_one(doc, "config", &config) < 0 || find_one(doc, "layers", &layers) < 0 ||
	    find_one(doc, "manifests", &manifests) < 0 || find_one(doc, "fsLayers", &fs_layers) < 0 ||
	    find_one(doc, "mediaType", &own) < 0 || find_one(doc, "schemaVersion", &schema) < 0)
		return err_new(e, ERR_INVALID,
			       "ambiguous document: it has members whose names differ only in case");

	if (fs_layers && !config && !layers && !manifests)
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "Docker image manifest version 2, schema 1 is not supported: push the image again "
		    "with a current client");
	if (((config || layers) && manifests) || fs_layers)
		return err_new(e, ERR_INVALID,
			       "ambiguous document: it has the members of a manifest and of an index");
	if (!config && !manifests)
		return err_new(e, ERR_INVALID,
			       "not an image manifest or index: it has neither config nor manifests");
	if (schema && (!json_is_integer(schema) || json_integer_value(schema) != 2))
		return err_new(e, ERR_INVALID, "not an image manifest or index: schemaVersion is not 2");
	if (own && !json_is_string(own))
		return err_new(e, ERR_INVALID, "mediaType: expected a string");

	MediaKind shape = manifests ? MEDIA_INDEX : MEDIA_MANIFEST;
	int r = check_media_type("mediaType", own ? json_string_value(own) : "", shape, e);
	if (r < 0)
		return r;
	r = check_media_type("Content-Type", media_type, shape, e);
	if (r < 0)
		return r;
	*ret = manifests ? IMAGE_DOC_INDEX : IMAGE_DOC_MANIFEST;
	return 0;
}

static int check_descriptor(ImageDescriptor *d, Err *e)
{
	if (!d->digest)
		return err_new(e, ERR_INVALID, "it has no digest");
	if (!digest_is_valid(d->digest))
		return err_new(e, ERR_INVALID, "digest %.100s is not sha256: and 64 lower-case hex digits",
			       d->digest);
	if (d->size < 0)
		return err_new(e, ERR_INVALID, "size %lld is negative", (long long)d->size);
	d->has_platform = d->platform.os || d->platform.architecture;
	return 0;
}

static int check_descriptors(ImageDescriptor *v, size_t n, const char *what, Err *e)
{
	for (size_t i = 0; i < n; i++) {
		int r = check_descriptor(&v[i], e);

		if (r < 0)
			return err_ctx(e, r, "%s[%zu]", what, i);
	}
	return 0;
}

/* Before anything is allocated for the items. */
static int check_count(const json_t *doc, const char *name, size_t max, Err *e)
{
	json_t *v;

	if (find_one(doc, name, &v) < 0)
		return err_new(e, ERR_INVALID, "%s: given twice", name);
	if (json_array_size(v) > max)
		return err_new(e, ERR_INVALID, "%s: %zu entries, more than the limit of %zu", name,
			       json_array_size(v), max);
	return 0;
}

static int decode_as(const json_t *doc, ImageDocumentKind want, const JsonField *table, void *out, Err *e)
{
	ImageDocumentKind kind;
	int r = image_document_kind(doc, NULL, &kind, e);

	if (r < 0)
		return r;
	if (kind != want)
		return err_new(e, ERR_INVALID, "expected %s, got %s",
			       want == IMAGE_DOC_INDEX ? "an index" : "a manifest",
			       want == IMAGE_DOC_INDEX ? "a manifest" : "an index");
	r = check_count(doc, "layers", IMAGE_LAYERS_MAX, e);
	if (r == 0)
		r = check_count(doc, "manifests", INDEX_ENTRIES_MAX, e);
	return r < 0 ? r : json_decode(doc, table, out, e);
}

int image_manifest_decode(const json_t *doc, ImageManifest *ret, Err *e)
{
	ImageManifest m = {0};
	int r = decode_as(doc, IMAGE_DOC_MANIFEST, manifest_table, &m, e);

	if (r == 0) {
		r = check_descriptor(&m.config, e);
		if (r < 0)
			r = err_ctx(e, r, "config");
	}
	if (r == 0)
		r = check_descriptors(m.layers, m.n_layers, "layers", e);
	if (r < 0) {
		image_manifest_done(&m);
		return r;
	}
	*ret = m;
	return 0;
}

int image_index_decode(const json_t *doc, ImageIndex *ret, Err *e)
{
	ImageIndex i = {0};
	int r = decode_as(doc, IMAGE_DOC_INDEX, index_table, &i, e);

	if (r == 0)
		r = check_descriptors(i.manifests, i.n_manifests, "manifests", e);
	if (r < 0) {
		image_index_done(&i);
		return r;
	}
	*ret = i;
	return 0;
}

json_t *image_manifest_encode(const ImageManifest *m)
{
	_cleanup_json_ json_t *doc = json_pack("{s:i}", "schemaVersion", 2);
	_cleanup_json_ json_t *rest = json_encode(manifest_table, m);

	if (!doc || !rest || json_object_update(doc, rest) < 0)
		return NULL;
	return take_ptr(doc);
}

static bool is_known(const char *type, const char *const *known)
{
	if (str_empty(type))
		return true;
	for (size_t i = 0; known[i]; i++)
		if (streq(type, known[i]))
			return true;
	return false;
}

const char *image_manifest_artifact(const ImageManifest *m)
{
	static const char *const configs[] = {MEDIA_OCI_CONFIG, MEDIA_DOCKER_CONFIG,
					      "application/octet-stream", NULL};
	static const char *const layers[] = {MEDIA_OCI_LAYER,
					     MEDIA_OCI_LAYER_GZIP,
					     MEDIA_OCI_LAYER_ZSTD,
					     MEDIA_DOCKER_LAYER,
					     "application/vnd.docker.image.rootfs.diff.tar",
					     "application/vnd.docker.image.rootfs.diff.tar.zstd",
					     "application/vnd.docker.image.rootfs.foreign.diff.tar",
					     "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
					     "application/vnd.oci.image.layer.nondistributable.v1.tar",
					     "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
					     "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
					     NULL};

	if (!is_known(m->config.media_type, configs))
		return str_empty(m->artifact_type) ? m->config.media_type : m->artifact_type;
	for (size_t i = 0; i < m->n_layers; i++)
		if (!is_known(m->layers[i].media_type, layers))
			return str_empty(m->artifact_type) ? m->layers[i].media_type : m->artifact_type;
	return NULL;
}

void image_descriptor_done(ImageDescriptor *d)
{
	json_fields_done(descriptor_table, d);
	d->has_platform = false;
}

void image_manifest_done(ImageManifest *m)
{
	json_fields_done(manifest_table, m);
	*m = (ImageManifest){0};
}

void image_index_done(ImageIndex *i)
{
	json_fields_done(index_table, i);
	*i = (ImageIndex){0};
}
