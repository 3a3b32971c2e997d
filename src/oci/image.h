/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image documents: manifest, index and config (OCI image-spec 1.1 and Docker's v2 schema 2).
 *
 * Pure: text in, structs out, and back. Everything in them comes from strangers: sizes must not be
 * negative, digests must be well-formed, counts are bounded, and a document that is both a manifest
 * and an index is refused (CVE-2021-41190). Fuzzed.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

#define MEDIA_OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX       "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_CONFIG      "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER       "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_OCI_LAYER_GZIP  "application/vnd.oci.image.layer.v1.tar+gzip"
#define MEDIA_OCI_LAYER_ZSTD  "application/vnd.oci.image.layer.v1.tar+zstd"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_DOCKER_CONFIG   "application/vnd.docker.container.image.v1+json"
#define MEDIA_DOCKER_LAYER    "application/vnd.docker.image.rootfs.diff.tar.gzip"

#define IMAGE_DOCUMENT_MAX (8u << 20) /* bytes of a manifest, index or config */
#define IMAGE_LAYERS_MAX   512        /* overlayfs takes 500 lower layers */

typedef struct ImagePlatform {
	char *os, *architecture, *variant, *os_version;
} ImagePlatform;

typedef struct ImageDescriptor {
	char *media_type, *digest;
	int64_t size;
	char **annotations; /* K=V */
	char **urls;        /* foreign layers: never fetched */
	bool has_platform;
	ImagePlatform platform;
} ImageDescriptor;

typedef struct ImageManifest {
	char *media_type;
	char *artifact_type; /* of what is no image, where its config does not say it */
	ImageDescriptor config;
	ImageDescriptor *layers;
	size_t n_layers;
} ImageManifest;

typedef struct ImageIndex {
	char *media_type;
	ImageDescriptor *manifests;
	size_t n_manifests;
} ImageIndex;

typedef enum ImageDocumentKind { IMAGE_DOC_MANIFEST, IMAGE_DOC_INDEX } ImageDocumentKind;
/* Tells which one a document is; ERR_INVALID if it could be both or neither, or if media_type (from Content-Type, may be NULL) disagrees. */
int image_document_kind(const json_t *doc, const char *media_type, ImageDocumentKind *ret, Err *e);
int image_manifest_decode(const json_t *doc, ImageManifest *ret, Err *e);
int image_index_decode(const json_t *doc, ImageIndex *ret, Err *e);
json_t *image_manifest_encode(const ImageManifest *m);
void image_descriptor_done(ImageDescriptor *d);
void image_manifest_done(ImageManifest *m);
/* What kind of thing it is that the manifest is of, if it is no container image: its artifactType, or the media type of its config or of a
 * layer that no image has. NULL: an image. Points into m. */
const char *image_manifest_artifact(const ImageManifest *m);
void image_index_done(ImageIndex *i);

/* "linux/arm64/v8", or NULL/"" for this machine. Normalises x86_64, aarch64, armhf ... */
int image_platform_parse(const char *s, ImagePlatform *ret, Err *e);
void image_platform_done(ImagePlatform *p);
char *image_platform_text(const ImagePlatform *p);
/* The entry that fits best, or NULL. */
const ImageDescriptor *image_index_select(const ImageIndex *i, const ImagePlatform *want);

typedef struct ImageHealth {
	char **test; /* NULL: none given */
	int64_t interval_ns, timeout_ns, start_period_ns, start_interval_ns;
	int64_t retries;
} ImageHealth;

/* The part of the config that containers inherit (the "config" member), Docker's names. */
typedef struct ImageRunConfig {
	char *user, *working_dir, *stop_signal;
	char **env, **cmd, **entrypoint, **shell, **on_build;
	char **labels;        /* K=V */
	char **exposed_ports; /* "80/tcp" */
	char **volumes;       /* paths */
	int64_t stop_timeout; /* seconds, -1: unset */
	bool has_health;
	ImageHealth health;
	bool args_escaped;
} ImageRunConfig;

typedef struct ImageHistory {
	char *created, *created_by, *author, *comment;
	bool empty_layer;
} ImageHistory;

typedef struct ImageConfig {
	ImagePlatform platform;
	char *created, *author;
	ImageRunConfig run;
	char **diff_ids;
	ImageHistory *history;
	size_t n_history;
	char *parent, *container, *comment, *docker_version; /* Docker's, may be NULL */
} ImageConfig;

int image_config_decode(const json_t *doc, ImageConfig *ret, Err *e);
/* An OCI config that Docker also takes; deterministic. */
json_t *image_config_encode(const ImageConfig *c);
void image_config_done(ImageConfig *c);
int image_run_config_decode(const json_t *obj, ImageRunConfig *ret, Err *e);
json_t *image_run_config_encode(const ImageRunConfig *c);
int image_run_config_copy(const ImageRunConfig *from, ImageRunConfig *ret);
void image_run_config_done(ImageRunConfig *c);
