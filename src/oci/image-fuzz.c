/* SPDX-License-Identifier: Apache-2.0 */
/* Documents from strangers: what decodes must encode, and decode again. The bytes are tried as each kind. */
#include "oci/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_manifest(const json_t *j)
{
	ImageManifest m = {0}, again = {0};

	if (image_manifest_decode(j, &m, NULL) < 0)
		return;
	_cleanup_json_ json_t *doc = image_manifest_encode(&m);
	if (!doc || image_manifest_decode(doc, &again, NULL) < 0 || again.n_layers != m.n_layers)
		abort();
	image_manifest_done(&again);
	image_manifest_done(&m);
}

static void try_index(const json_t *j)
{
	ImagePlatform want = {0};
	ImageIndex i = {0};

	if (image_index_decode(j, &i, NULL) < 0)
		return;
	if (image_platform_parse("linux/arm64/v8", &want, NULL) == 0)
		(void)image_index_select(&i, &want);
	image_platform_done(&want);
	image_index_done(&i);
}

static void try_config(const json_t *j)
{
	ImageConfig c = {0}, again = {0};

	if (image_config_decode(j, &c, NULL) < 0)
		return;
	_cleanup_json_ json_t *doc = image_config_encode(&c);
	if (!doc || image_config_decode(doc, &again, NULL) < 0)
		abort();
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
		try_manifest(j);
		try_index(j);
	}
	try_config(j);
	return 0;
}
