/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents from strangers, tried as each kind. What decodes must encode, and decode again to the same: the digest of a config's text is an
 * image's id, so a config that was read and written once stays as it is from then on. No document is a manifest and an
 * index.
 */
#include "oci/image.h"
#include "base/str.h"
#include "oci/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_descriptor(const ImageDescriptor *d)
{
	must(digest_is_valid(d->digest) && d->size >= 0);
}

static bool try_manifest(const json_t *j)
{
	ImageManifest m = {0}, again = {0};

	if (image_manifest_decode(j, &m, NULL) < 0)
		return false;
	check_descriptor(&m.config);
	must(m.n_layers <= IMAGE_LAYERS_MAX);
	for (size_t i = 0; i < m.n_layers; i++)
		check_descriptor(&m.layers[i]);
	_cleanup_json_ json_t *doc = image_manifest_encode(&m);
	must(doc && image_manifest_decode(doc, &again, NULL) == 0 && again.n_layers == m.n_layers);
	image_manifest_done(&again);
	image_manifest_done(&m);
	return true;
}

static bool try_index(const json_t *j)
{
	static const char *const platforms[] = {"linux/amd64", "linux/arm64/v8", "linux/arm/v7",
						"windows/amd64"};
	ImageIndex i = {0};

	if (image_index_decode(j, &i, NULL) < 0)
		return false;
	for (size_t n = 0; n < i.n_manifests; n++)
		check_descriptor(&i.manifests[n]);
	for (size_t n = 0; n < ELEMENTSOF(platforms); n++) {
		ImagePlatform want = {0};

		must(image_platform_parse(platforms[n], &want, NULL) == 0);
		const ImageDescriptor *d = image_index_select(&i, &want);
		must(!d || (d >= i.manifests && d < i.manifests + i.n_manifests));
		image_platform_done(&want);
	}
	image_index_done(&i);
	return true;
}

static void try_config(const json_t *j)
{
	ImageConfig c = {0}, again = {0};

	if (image_config_decode(j, &c, NULL) < 0)
		return;
	_cleanup_json_ json_t *doc = image_config_encode(&c);
	must(doc && image_config_decode(doc, &again, NULL) == 0);
	_cleanup_json_ json_t *second = image_config_encode(&again);
	_cleanup_free_ char *text = json_text(doc);
	_cleanup_free_ char *same = second ? json_text(second) : NULL;
	must(text && same && streq(text, same));
	must(strv_len(again.diff_ids) == strv_len(c.diff_ids) && again.n_history == c.n_history);
	image_config_done(&again);
	image_config_done(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *j = NULL;
	ImageDocumentKind kind;

	if (json_parse((const char *)data, size, "fuzz", &j, NULL) < 0)
		return 0;
	if (image_document_kind(j, NULL, &kind, NULL) == 0) {
		bool manifest = try_manifest(j), index = try_index(j);

		must(!(manifest && index) && (!manifest || kind == IMAGE_DOC_MANIFEST) &&
		     (!index || kind == IMAGE_DOC_INDEX));
	}
	try_config(j);
	return 0;
}
