/* SPDX-License-Identifier: Apache-2.0 */
/* --annotation: what is written into which of the documents that a registry keeps of an image (OCI image-spec, "Annotations"). Pure. */
#pragma once

#include "base/err.h"
#include "oci/image.h"

typedef enum AnnotationPlace {
	ANNOTATE_MANIFEST = 1,
	ANNOTATE_INDEX = 2,
	ANNOTATE_DESCRIPTOR = 4, /* of the manifest, in the index */
} AnnotationPlace;

typedef struct Annotation {
	unsigned places;
	char *platform; /* of that manifest only; NULL: of all */
	char *key, *value;
} Annotation;

/* "KEY=VALUE", "index:KEY=VALUE", "manifest[linux/arm64],manifest-descriptor:KEY=VALUE": without a place it is the manifest. */
int annotation_parse(const char *text, Annotation *ret, Err *e);
void annotation_done(Annotation *a);
/* Adds those of the texts that belong to `place` of an image of that platform (NULL: to no image) to the member "annotations" of a document. */
int annotations_add(json_t *doc, char *const *texts, AnnotationPlace place, const ImagePlatform *platform,
		    Err *e);
/* All places that the texts name, or an error. */
int annotations_places(char *const *texts, unsigned *ret, Err *e);
