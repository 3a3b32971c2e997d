/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attestations as registries keep them beside an image: in-toto statements (https://in-toto.io/Statement/v0.1), each a blob, under a manifest of their own that the
 * index has next to the image's, for the platform unknown/unknown.
 */
#include "build/result.h"

#define MEDIA_IN_TOTO "application/vnd.in-toto+json"

typedef struct Attestation {
	const BuildResult *r;
	const BuiltImage *image;
	char *const *tags;
	json_t *layers, *diff_ids;
} Attestation;

bool attest_wanted(const BuildResult *r)
{
	return r->provenance || r->sbom;
}

/* "pkg:docker/library/web@1?platform=linux%2Famd64" */
static char *subject_name(const BuildResult *r, const char *tag)
{
	const ImagePlatform *p = &r->config.platform;
	Reference ref = {0};
	_cleanup_free_ char *name = NULL;
	char *text;

	if (reference_parse(tag, &ref, NULL) >= 0)
		name = reference_familiar_name(&ref);
	text = name ? strf("pkg:docker/%s@%s?platform=%s%%2F%s%s%s", name, ref.tag ?: "latest", p->os ?: "",
			   p->architecture ?: "", str_empty(p->variant) ? "" : "%2F", p->variant ?: "")
		    : NULL;
	reference_done(&ref);
	return text;
}

static json_t *subjects(const Attestation *a)
{
	const char *hex = digest_hex(a->image->manifest);
	json_t *v = json_array();

	for (char *const *t = a->tags; v && t && *t; t++) {
		_cleanup_free_ char *name = subject_name(a->r, *t);

		if (!name || json_array_append_new(v, json_pack("{s:s, s:{s:s}}", "name", name, "digest",
								"sha256", hex)) < 0)
			json_decref(take_ptr(v));
	}
	if (v && json_array_size(v) == 0 &&
	    json_array_append_new(v, json_pack("{s:s, s:{s:s}}", "name", "_", "digest", "sha256", hex)) < 0)
		json_decref(take_ptr(v));
	return v;
}

/* Takes the predicate. */
static int add_statement(Attestation *a, const char *type, json_t *predicate, Err *e)
{
	_cleanup_json_ json_t *doc =
	    json_pack("{s:s, s:s, s:o, s:o}", "_type", "https://in-toto.io/Statement/v0.1", "predicateType",
		      type, "subject", subjects(a), "predicate", predicate);
	_cleanup_free_ char *text = doc ? json_text(doc) : NULL;
	char digest[DIGEST_LEN + 1];
	int r = text ? store_blob_put(a->r->store, text, strlen(text), digest, e) : err_oom(e);

	if (r < 0)
		return r;
	if (json_array_append_new(a->diff_ids, json_string(digest)) < 0 ||
	    json_array_append_new(a->layers, json_pack("{s:s, s:s, s:I, s:{s:s}}", "mediaType", MEDIA_IN_TOTO,
						       "digest", digest, "size", (json_int_t)strlen(text),
						       "annotations", "in-toto.io/predicate-type", type)) < 0)
		return err_oom(e);
	return 0;
}

static int add_all(Attestation *a, Err *e)
{
	json_t *packages = NULL;
	int r = 0;

	if (a->r->sbom) {
		r = sbom_make(a->r, &packages, e);
		if (r >= 0)
			r = add_statement(a, "https://spdx.dev/Document", packages, e);
	}
	if (r >= 0 && a->r->provenance)
		r = add_statement(a, "https://slsa.dev/provenance/v1", json_incref(a->r->provenance), e);
	return r;
}

static int put_config(const Attestation *a, char ret[DIGEST_LEN + 1], size_t *ret_len, Err *e)
{
	_cleanup_json_ json_t *doc =
	    json_pack("{s:s, s:s, s:{}, s:{s:s, s:O}}", "architecture", "unknown", "os", "unknown", "config",
		      "rootfs", "type", "layers", "diff_ids", a->diff_ids);
	_cleanup_free_ char *text = doc ? json_text(doc) : NULL;

	*ret_len = text ? strlen(text) : 0;
	return text ? store_blob_put(a->r->store, text, *ret_len, ret, e) : err_oom(e);
}

static int put_manifest(const Attestation *a, char ret[DIGEST_LEN + 1], size_t *ret_len, Err *e)
{
	char config[DIGEST_LEN + 1];
	size_t len = 0;
	int r = put_config(a, config, &len, e);

	if (r < 0)
		return r;
	_cleanup_json_ json_t *doc =
	    json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:O}", "schemaVersion", 2, "mediaType",
		      MEDIA_OCI_MANIFEST, "config", "mediaType", MEDIA_OCI_CONFIG, "digest", config, "size",
		      (json_int_t)len, "layers", a->layers);
	_cleanup_free_ char *text = doc ? json_text(doc) : NULL;

	*ret_len = text ? strlen(text) : 0;
	r = text ? store_blob_put(a->r->store, text, *ret_len, ret, e) : err_oom(e);
	return r < 0 ? r : store_artifact_put(a->r->store, ret, e);
}

int attest(const BuildResult *r, const BuiltImage *image, char *const *tags, json_t **ret_descriptor,
	   char ret_id[DIGEST_LEN + 1], Err *e)
{
	Attestation a = {
	    .r = r, .image = image, .tags = tags, .layers = json_array(), .diff_ids = json_array()};
	size_t len = 0;
	int no = a.layers && a.diff_ids ? add_all(&a, e) : err_oom(e);

	if (no >= 0)
		no = put_manifest(&a, ret_id, &len, e);
	if (no >= 0) {
		*ret_descriptor =
		    json_pack("{s:s, s:s, s:I, s:{s:s, s:s}, s:{s:s, s:s}}", "mediaType", MEDIA_OCI_MANIFEST,
			      "digest", ret_id, "size", (json_int_t)len, "annotations",
			      "vnd.docker.reference.digest", image->manifest, "vnd.docker.reference.type",
			      "attestation-manifest", "platform", "architecture", "unknown", "os", "unknown");
		no = *ret_descriptor ? 0 : err_oom(e);
	}
	json_decref(a.layers);
	json_decref(a.diff_ids);
	return no < 0 ? err_ctx(e, no, "attestations") : 0;
}
