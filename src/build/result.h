/* SPDX-License-Identifier: Apache-2.0 */
/* A result as the files that export it share it: private to src/build. One for each platform; the first is what doors hold. */
#pragma once

#include "build/solve.h"

struct BuildResult {
	Engine *en;
	Store *store;
	BuildResult *next; /* of the same build for another platform */
	bool squash;       /* the layers above the base's are to be one */
	bool index;        /* an index is made though there is one platform only */
	bool sbom;         /* the packages in it are attested */
	char *base_layer;  /* diff id of the base's last layer, or NULL */
	ImageConfig config;
	char *text; /* config, encoded */
	char *chain, *base_id;
	json_t *provenance; /* predicate; NULL: none is attested */
};

/* ---- provenance.c ---- */
/* How the build was made, as an SLSA provenance predicate (https://slsa.dev/provenance/v1); max: with arguments and the Dockerfile. */
json_t *provenance_make(const Build *b, bool max);

/* ---- sbom.c ---- */
/* The packages in a result's files, as an SPDX 2.3 document. */
int sbom_make(const BuildResult *r, json_t **ret, Err *e);

/* ---- attest.c ---- */
/* An image as the index has it. */
typedef struct BuiltImage {
	char id[DIGEST_LEN + 1];
	char manifest[DIGEST_LEN + 1];
	int64_t size; /* of the manifest */
} BuiltImage;
bool attest_wanted(const BuildResult *r);
/* Writes what is attested of the image as an artifact: its descriptor in the index, and its id. */
int attest(const BuildResult *r, const BuiltImage *image, char *const *tags, json_t **ret_descriptor,
	   char ret_id[DIGEST_LEN + 1], Err *e);

/* ---- index.c ---- */
/* Whether the result is more than an image of its own: several platforms, attestations, annotations. */
int index_wanted(const BuildResult *r, const BuildImageOptions *o, bool *ret, Err *e);
/* The manifest of a recorded image, of compressed layers, which is the image's from now on. */
int index_manifest(const BuildResult *r, const BuildImageOptions *o, BuiltImage *image, Err *e);
/* The index over images, which are those of r and what follows it; the image that names stand for is ret's. */
int index_make(BuildResult *r, const BuildImageOptions *o, const BuiltImage *images, size_t n,
	       BuildImageMade *ret, Err *e);
