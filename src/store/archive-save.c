/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `docker save`: images as one tar, in one of two forms.
 *
 *   docker  a docker archive and an OCI image layout at once. Layers go in as uncompressed tars, so that their digest is
 *           the diff id and one blob serves both shapes.
 *   oci     an OCI image layout alone. An image that came with a manifest goes out with the same one and the same
 *           compressed layers, byte for byte; any other gets a manifest of uncompressed layers. What was built as one index
 *           goes out as that index.
 *
 * The same images in the same order give the same bytes: nothing in the archive depends on when or where it is written.
 * Whatever is written has its digest checked on the way. Names, platforms and documents are looked at before the first byte.
 */
#include "base/fd.h"
#include "base/str.h"
#include "store/digest-file.h"
#include "store/store-internal.h"
#include "store/tar-write.h"

#include <fcntl.h>

typedef struct Saved {
	char *id;
	char *artifact_type; /* NULL: an image */
	char **tags;         /* full references; may be empty */
	char *index;         /* digest of the index that it goes out in, or NULL */
} Saved;

struct ArchiveChoice {
	Store *s;
	ArchiveFormat format;
	const ImagePlatform *platform; /* until the images are chosen */
	int out;
	TarWriter *w;
	Saved *images;
	size_t n;
	char **written; /* digests of the blobs that are in the archive */
	int64_t *sizes; /* theirs */
	json_t *docker, *repositories, *oci;
};
typedef ArchiveChoice Save;

/* ---- entries ---- */

static int put_header(Save *x, const char *name, TarType type, int64_t size, Err *e)
{
	const TarEntry n = {.type = type,
			    .name = (char *)(uintptr_t)name,
			    .mode = type == TAR_DIR ? 0755 : 0644,
			    .size = size};

	return tar_write_header(x->w, &n, e);
}

static int put_text(Save *x, const char *name, const char *text, size_t len, Err *e)
{
	int r = put_header(x, name, TAR_FILE, (int64_t)len, e);

	return r < 0 ? r : tar_write_data(x->w, text, len, e);
}

static int put_json(Save *x, const char *name, const json_t *j, Err *e)
{
	_cleanup_free_ char *text = json_text(j);

	return text ? put_text(x, name, text, strlen(text), e) : err_oom(e);
}

/* ---- blobs ---- */

static char *blob_name(const char *digest)
{
	return strf("blobs/sha256/%s", digest_hex(digest));
}

/* -1 if it is not in the archive yet. */
static int64_t size_written(const Save *x, const char *digest)
{
	for (size_t i = 0; x->written && x->written[i]; i++)
		if (streq(x->written[i], digest))
			return x->sizes[i];
	return -1;
}

static int remember(Save *x, const char *digest, int64_t size, Err *e)
{
	size_t n = strv_len(x->written);
	int64_t *grown = realloc(x->sizes, (n + 1) * sizeof(*grown));

	if (!grown)
		return err_oom(e);
	x->sizes = grown;
	x->sizes[n] = size;
	return strv_add(&x->written, digest) < 0 ? err_oom(e) : 0;
}

static int put_text_blob(Save *x, const char *digest, const char *text, size_t len, Err *e)
{
	_cleanup_free_ char *name = blob_name(digest);

	if (!name)
		return err_oom(e);
	if (size_written(x, digest) >= 0)
		return 0;
	int r = put_text(x, name, text, len, e);
	return r < 0 ? r : remember(x, digest, (int64_t)len, e);
}

/* The header of a blob whose contents the caller writes to x->out. */
static int begin_blob(Save *x, const char *digest, int64_t size, Err *e)
{
	_cleanup_free_ char *name = blob_name(digest);
	int r = name ? put_header(x, name, TAR_FILE, size, e) : err_oom(e);

	return r < 0 ? r : tar_write_flush(x->w, e);
}

static int end_blob(Save *x, const char *digest, int64_t size, Err *e)
{
	int r = tar_write_given(x->w, size, e);

	return r < 0 ? r : remember(x, digest, size, e);
}

/* A blob as it is. */
static int put_file_blob(Save *x, const char *digest, Err *e)
{
	_cleanup_close_ int fd = -1;
	char got[DIGEST_LEN + 1];
	int64_t size = 0;
	int r;

	if (size_written(x, digest) >= 0)
		return 0;
	fd = store_blob_open(x->s, digest, &size, e);
	if (fd < 0)
		return fd;
	r = begin_blob(x, digest, size, e);
	if (r >= 0)
		r = digest_copy(fd, 0, size, x->out, got, e);
	if (r >= 0 && !streq(got, digest))
		r = err_new(e, ERR_INTERNAL, "the blob %s is damaged: it has the digest %s", digest, got);
	return r < 0 ? r : end_blob(x, digest, size, e);
}

/* A header needs the size before the bytes: it is in the layer's row, or is counted first. */
static int put_layer(Save *x, const char *diff_id, const char *chain_id, Err *e)
{
	int64_t size = -1;
	int r;

	if (size_written(x, diff_id) >= 0)
		return 0;
	r = store_layer_tar_size(x->s, chain_id, &size, e);
	if (r >= 0)
		r = begin_blob(x, diff_id, size, e);
	if (r >= 0)
		r = store_layer_write_tar(x->s, chain_id, x->out, e);
	if (r >= 0)
		r = end_blob(x, diff_id, size, e);
	return r < 0 ? err_ctx(e, r, "layer %s", diff_id) : 0;
}

/* ---- documents ---- */

static json_t *descriptor(const char *media_type, const char *digest, int64_t size)
{
	return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest", digest, "size",
			 (json_int_t)size);
}

static json_t *familiar_tags(char *const *tags)
{
	_cleanup_json_ json_t *list = strv_len(tags) > 0 ? json_array() : json_null();

	for (size_t i = 0; list && tags && tags[i]; i++) {
		Reference ref = {0};

		if (reference_parse(tags[i], &ref, NULL) < 0)
			return NULL;
		_cleanup_free_ char *text = reference_familiar(&ref);
		reference_done(&ref);
		if (!text || json_array_append_new(list, json_string(text)) < 0)
			return NULL;
	}
	return take_ptr(list);
}

/* {"name":{"tag":"<hex of the top layer>"}}, which only very old clients read. */
static int add_repository(Save *x, const Reference *ref, const char *top, Err *e)
{
	_cleanup_free_ char *name = reference_familiar_name(ref);
	json_t *tags = name ? json_object_get(x->repositories, name) : NULL;

	if (name && !tags) {
		tags = json_object();
		if (json_object_set_new(x->repositories, name, tags) < 0)
			return err_oom(e);
	}
	return name && json_object_set_new(tags, ref->tag, json_string(top)) == 0 ? 0 : err_oom(e);
}

typedef struct Manifest {
	char digest[DIGEST_LEN + 1];
	int64_t size;
	const char *artifact_type; /* NULL: of an image */
	const char *media_type;    /* NULL: an image's */
} Manifest;

static int add_index_entry(Save *x, const Manifest *m, const ImagePlatform *p, const char *tag,
			   const char *top, Err *e)
{
	_cleanup_json_ json_t *entry = descriptor(m->media_type ?: MEDIA_OCI_MANIFEST, m->digest, m->size);
	Reference ref = {0};
	int r = 0;

	if (!entry)
		return err_oom(e);
	if (tag) {
		r = reference_parse(tag, &ref, e);
		if (r < 0)
			return r;
		json_t *notes = json_pack("{s:s, s:s}", "io.containerd.image.name", tag,
					  "org.opencontainers.image.ref.name", ref.tag);
		if (json_object_set_new(entry, "annotations", notes) < 0)
			r = err_oom(e);
		if (r == 0 && top)
			r = add_repository(x, &ref, top, e);
		reference_done(&ref);
	}
	if (r == 0 && m->artifact_type &&
	    json_object_set_new(entry, "artifactType", json_string(m->artifact_type)) < 0)
		r = err_oom(e);
	if (r == 0 && p->os && p->architecture) {
		json_t *platform = json_pack("{s:s, s:s}", "architecture", p->architecture, "os", p->os);

		if (p->variant && json_object_set_new(platform, "variant", json_string(p->variant)) < 0)
			r = err_oom(e);
		if (json_object_set_new(entry, "platform", platform) < 0)
			r = err_oom(e);
	}
	return r < 0 || json_array_append(x->oci, entry) == 0 ? r : err_oom(e);
}

static int add_index_entries(Save *x, const Manifest *m, const ImageConfig *c, char *const *tags, Err *e)
{
	size_t n = strv_len(c->diff_ids);
	const char *top = n > 0 ? digest_hex(c->diff_ids[n - 1]) : NULL;
	int r = 0;

	for (size_t k = 0; r == 0 && tags && tags[k]; k++)
		r = add_index_entry(x, m, &c->platform, tags[k], top, e);
	return r == 0 && strv_len(tags) == 0 ? add_index_entry(x, m, &c->platform, NULL, NULL, e) : r;
}

/* ---- an image with uncompressed layers ---- */

typedef struct Layers {
	json_t *descriptors, *paths;
	json_t *sources; /* what dockerd since 25 looks at: digest -> descriptor */
} Layers;

static void layers_done(Layers *l)
{
	json_decref(l->descriptors);
	json_decref(l->paths);
	json_decref(l->sources);
}

static int add_layer(Save *x, Layers *l, const char *diff_id, Err *e)
{
	_cleanup_free_ char *name = blob_name(diff_id);
	int64_t size = size_written(x, diff_id);

	if (!name || json_array_append_new(l->descriptors, descriptor(MEDIA_OCI_LAYER, diff_id, size)) < 0 ||
	    json_array_append_new(l->paths, json_string(name)) < 0 ||
	    json_object_set_new(l->sources, diff_id, descriptor(MEDIA_OCI_LAYER, diff_id, size)) < 0)
		return err_oom(e);
	return 0;
}

static int put_layers(Save *x, char *const *diff_ids, Layers *ret, Err *e)
{
	char chain[DIGEST_LEN + 1] = "", next[DIGEST_LEN + 1];
	int r = 0;

	*ret = (Layers){json_array(), json_array(), json_object()};
	for (size_t i = 0; r == 0 && diff_ids && diff_ids[i]; i++) {
		chain_id_next(*chain ? chain : NULL, diff_ids[i], next);
		memcpy(chain, next, sizeof(chain));
		r = put_layer(x, diff_ids[i], chain, e);
		if (r == 0)
			r = add_layer(x, ret, diff_ids[i], e);
	}
	return r;
}

static int put_manifest(Save *x, const char *id, size_t config_len, json_t *layers, Manifest *ret, Err *e)
{
	_cleanup_json_ json_t *doc =
	    json_pack("{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType", MEDIA_OCI_MANIFEST, "config",
		      descriptor(MEDIA_OCI_CONFIG, id, (int64_t)config_len), "layers", layers);
	_cleanup_free_ char *text = doc ? json_text(doc) : NULL;

	if (!text)
		return err_oom(e);
	digest_of(text, strlen(text), ret->digest);
	ret->size = (int64_t)strlen(text);
	return put_text_blob(x, ret->digest, text, strlen(text), e);
}

static int add_docker_entry(Save *x, const Saved *i, const Layers *l, Err *e)
{
	_cleanup_free_ char *config_name = blob_name(i->id);
	json_t *entry =
	    config_name ? json_pack("{s:s, s:o, s:O, s:O}", "Config", config_name, "RepoTags",
				    familiar_tags(i->tags), "Layers", l->paths, "LayerSources", l->sources)
			: NULL;

	return json_array_append_new(x->docker, entry) < 0 ? err_oom(e) : 0;
}

static int save_plain(Save *x, const Saved *i, const ImageConfig *c, const char *text, size_t len,
		      Manifest *ret, Err *e)
{
	_cleanup_(layers_done) Layers l = {0};
	int r = put_layers(x, c->diff_ids, &l, e);

	if (r == 0)
		r = put_text_blob(x, i->id, text, len, e);
	if (r == 0)
		r = put_manifest(x, i->id, len, l.descriptors, ret, e);
	return r == 0 && x->format == ARCHIVE_DOCKER ? add_docker_entry(x, i, &l, e) : r;
}

/* ---- an image as it came ---- */

static bool is_docker_type(const char *type)
{
	return type && str_starts(type, "application/vnd.docker.");
}

/* Docker's media types have no place in an OCI layout: the same blobs are called by their OCI names. */
static const char *oci_layer_type(const char *type)
{
	if (!is_docker_type(type))
		return type ?: MEDIA_OCI_LAYER_GZIP;
	return str_ends(type, "zstd")   ? MEDIA_OCI_LAYER_ZSTD
	       : str_ends(type, "gzip") ? MEDIA_OCI_LAYER_GZIP
					: MEDIA_OCI_LAYER;
}

static int save_manifest(Save *x, const Saved *i, const ImageManifest *m, const char *digest,
			 const char *text, size_t len, Manifest *ret, Err *e)
{
	bool docker = is_docker_type(m->media_type) || is_docker_type(m->config.media_type);
	_cleanup_json_ json_t *layers = json_array();

	for (size_t k = 0; k < m->n_layers; k++) {
		const char *type = oci_layer_type(m->layers[k].media_type);

		docker = docker || is_docker_type(m->layers[k].media_type);
		if (json_array_append_new(layers, descriptor(type, m->layers[k].digest, m->layers[k].size)) <
		    0)
			return err_oom(e);
	}
	if (docker)
		return put_manifest(x, i->id, (size_t)m->config.size, layers, ret, e);
	snprintf(ret->digest, sizeof(ret->digest), "%s", digest);
	ret->size = (int64_t)len;
	return put_text_blob(x, digest, text, len, e);
}

/* 1 when it is written; 0 if it came without a manifest, or not all of its blobs are kept. */
static int save_as_it_came(Save *x, const Saved *i, const char *text, size_t len, Manifest *ret, Err *e)
{
	_cleanup_(store_image_done) StoreImage image = {0};
	_cleanup_(image_manifest_done) ImageManifest m = {0};
	_cleanup_free_ char *manifest = NULL;
	_cleanup_json_ json_t *doc = NULL;
	size_t manifest_len = 0;
	int r = store_image_get(x->s, i->id, &image, e);

	if (r < 0 || !image.manifest_digest || !store_blob_has(x->s, image.manifest_digest))
		return r;
	r = store_blob_read(x->s, image.manifest_digest, IMAGE_DOCUMENT_MAX, &manifest, &manifest_len, e);
	if (r == 0)
		r = json_parse(manifest, manifest_len, "manifest", &doc, e);
	if (r == 0)
		r = image_manifest_decode(doc, &m, e);
	for (size_t k = 0; r == 0 && k < m.n_layers; k++)
		if (!store_blob_has(x->s, m.layers[k].digest))
			return 0;
	for (size_t k = 0; r == 0 && k < m.n_layers; k++)
		r = put_file_blob(x, m.layers[k].digest, e);
	if (r == 0)
		r = put_text_blob(x, i->id, text, len, e);
	if (r == 0)
		r = save_manifest(x, i, &m, image.manifest_digest, manifest, manifest_len, ret, e);
	return r < 0 ? r : 1;
}

static int read_config(Store *s, const char *id, char **ret_text, size_t *ret_len, ImageConfig *ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = store_blob_read(s, id, IMAGE_DOCUMENT_MAX, ret_text, ret_len, e);

	if (r == 0)
		r = json_parse(*ret_text, *ret_len, "image config", &doc, e);
	return r < 0 ? r : image_config_decode(doc, ret, e);
}

/* What has an address elsewhere was never fetched. */
static int put_artifact_blob(Save *x, const ImageDescriptor *d, Err *e)
{
	return strv_len(d->urls) > 0 ? 0 : put_file_blob(x, d->digest, e);
}

/* A manifest, of whatever it is, with all that it names. */
static int put_manifest_blobs(Save *x, const char *digest, size_t *ret_len, Err *e)
{
	_cleanup_(image_manifest_done) ImageManifest m = {0};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL;
	int r = store_blob_read(x->s, digest, IMAGE_DOCUMENT_MAX, &text, ret_len, e);

	if (r == 0)
		r = json_parse(text, *ret_len, "manifest", &doc, e);
	if (r == 0)
		r = image_manifest_decode(doc, &m, e);
	if (r == 0)
		r = put_artifact_blob(x, &m.config, e);
	for (size_t k = 0; r == 0 && k < m.n_layers; k++)
		r = put_artifact_blob(x, &m.layers[k], e);
	return r < 0 ? r : put_text_blob(x, digest, text, *ret_len, e);
}

static int save_artifact(Save *x, const Saved *i, Err *e)
{
	const ImageConfig no_platform = {0};
	Manifest manifest = {.artifact_type = i->artifact_type};
	size_t len = 0;
	int r = put_manifest_blobs(x, i->id, &len, e);

	snprintf(manifest.digest, sizeof(manifest.digest), "%s", i->id);
	manifest.size = (int64_t)len;
	return r < 0 ? r : add_index_entries(x, &manifest, &no_platform, i->tags, e);
}

static int save_image(Save *x, const Saved *i, Err *e)
{
	_cleanup_(image_config_done) ImageConfig config = {.run.stop_timeout = -1};
	_cleanup_free_ char *text = NULL;
	Manifest manifest = {0};
	size_t len = 0;
	int r = read_config(x->s, i->id, &text, &len, &config, e);

	if (r == 0 && x->format == ARCHIVE_OCI)
		r = save_as_it_came(x, i, text, len, &manifest, e);
	if (r == 0)
		r = save_plain(x, i, &config, text, len, &manifest, e);
	return r < 0 ? r : add_index_entries(x, &manifest, &config, i->tags, e);
}

/* ---- what was built together ---- */

static int save_index(Save *x, const Saved *i, Err *e)
{
	_cleanup_(image_index_done) ImageIndex index = {0};
	const ImageConfig of_several = {0};
	Manifest entry = {.media_type = MEDIA_OCI_INDEX};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL;
	size_t len = 0, part_len;
	int r = store_blob_read(x->s, i->index, IMAGE_DOCUMENT_MAX, &text, &len, e);

	if (r == 0)
		r = json_parse(text, len, "index", &doc, e);
	if (r == 0)
		r = image_index_decode(doc, &index, e);
	for (size_t k = 0; r == 0 && k < index.n_manifests; k++)
		r = put_manifest_blobs(x, index.manifests[k].digest, &part_len, e);
	if (r == 0)
		r = put_text_blob(x, i->index, text, len, e);
	snprintf(entry.digest, sizeof(entry.digest), "%s", i->index);
	entry.size = (int64_t)len;
	return r < 0 ? r : add_index_entries(x, &entry, &of_several, i->tags, e);
}

static int save_one(Save *x, const Saved *i, Err *e)
{
	if (i->index)
		return save_index(x, i, e);
	return i->artifact_type ? save_artifact(x, i, e) : save_image(x, i, e);
}

/* ---- which images ---- */

/* Docker's form describes root filesystems and nothing else. */
static int check_form(const Save *x, const StoreImage *i, Err *e)
{
	return !i->artifact_type || x->format == ARCHIVE_OCI
		   ? 0
		   : err_new(e, ERR_INVALID,
			     "%s is an artifact of type %.200s, not a container image: save it in the OCI "
			     "form (--format oci-archive)",
			     i->tags && *i->tags ? *i->tags : i->id, i->artifact_type);
}

static int add_chosen(Save *x, const StoreImage *i, const char *tag, Err *e)
{
	size_t at = 0;
	int r = check_form(x, i, e);

	if (r < 0)
		return r;
	while (at < x->n && !streq(x->images[at].id, i->id))
		at++;
	if (at == x->n) {
		Saved *grown = realloc(x->images, (x->n + 1) * sizeof(*grown));

		if (!grown)
			return err_oom(e);
		x->images = grown;
		grown[at] = (Saved){.id = strdup(i->id)};
		grown[at].artifact_type = i->artifact_type ? strdup(i->artifact_type) : NULL;
		x->n++;
		if (!grown[at].id || (i->artifact_type && !grown[at].artifact_type))
			return err_oom(e);
		if (i->index_digest && x->format == ARCHIVE_OCI && !x->platform &&
		    !(grown[at].index = strdup(i->index_digest)))
			return err_oom(e);
	}
	if (tag && !strv_has(x->images[at].tags, tag) && strv_add(&x->images[at].tags, tag) < 0)
		return err_oom(e);
	return 0;
}

/* Of an image of several platforms the one that is asked for. */
static int add_image(Save *x, const StoreImage *i, const char *tag, Err *e)
{
	_cleanup_(store_image_done) StoreImage chosen = {0};
	int r;

	if (!x->platform || !i->has_parts)
		return add_chosen(x, i, tag, e);
	r = store_image_get(x->s, i->id, &chosen, e);
	if (r >= 0)
		r = store_image_choose(x->s, &chosen, x->platform, e);
	return r < 0 ? r : add_chosen(x, &chosen, tag, e);
}

/* "debian" means every tag of the repository. The number of images found, or an error. */
static int add_repository_images(Save *x, const Reference *ref, Err *e)
{
	_cleanup_free_ char *prefix = strf("%s/%s:", ref->domain, ref->path);
	StoreImage *v = NULL;
	size_t n = 0;
	int found = 0, r = prefix ? store_image_list(x->s, &v, &n, e) : err_oom(e);

	for (size_t i = 0; r == 0 && i < n; i++)
		for (size_t k = 0; r == 0 && v[i].tags && v[i].tags[k]; k++)
			if (str_starts(v[i].tags[k], prefix)) {
				r = add_image(x, &v[i], v[i].tags[k], e);
				found++;
			}
	store_images_free(v, n);
	return r < 0 ? r : found;
}

static bool names_tag_or_digest(const char *name)
{
	const char *slash = strrchr(name, '/');

	return strpbrk(slash ? slash : name, ":@") != NULL;
}

static int add_name(Save *x, const char *name, Err *e)
{
	Reference ref = {0};
	StoreImage image = {0};
	_cleanup_free_ char *full = NULL;
	int r = 0;

	if (reference_parse(name, &ref, NULL) == 0) {
		if (!names_tag_or_digest(name))
			r = add_repository_images(x, &ref, e);
		else if (!ref.digest) {
			full = reference_full(&ref);
			if (!full)
				r = err_oom(e);
		}
		reference_done(&ref);
	}
	if (r != 0)
		return r < 0 ? r : 0;
	r = store_image_find(x->s, name, &image, e);
	if (r == 0) /* "sha256:..." parses as a name and a tag, but is an id */
		r = add_image(x, &image, full && strv_has(image.tags, full) ? full : NULL, e);
	store_image_done(&image);
	return r;
}

/* A name that the image has in the archive only. */
static int add_as(Save *x, const char *name, Err *e)
{
	Reference ref = {0};
	int r = reference_parse(name, &ref, e);

	if (r >= 0 && strv_take(&x->images[0].tags, reference_full(&ref)) < 0)
		r = err_oom(e);
	reference_done(&ref);
	return r;
}

/* ---- the archive ---- */

/* An image has one platform: another is not here, however it is asked for. */
static int check_platform(Save *x, const Saved *i, const ImagePlatform *want, Err *e)
{
	_cleanup_(image_config_done) ImageConfig c = {.run.stop_timeout = -1};
	int r = store_image_config(x->s, i->id, &c, e);

	if (r < 0)
		return r;
	ImageDescriptor one = {.has_platform = true, .platform = c.platform};
	const ImageIndex index = {.manifests = &one, .n_manifests = 1};
	if (image_index_select(&index, want))
		return 0;
	_cleanup_free_ char *is = image_platform_text(&c.platform), *asked = image_platform_text(want);
	return is && asked ? err_new(e, ERR_NOT_FOUND,
				     "image %s is for %s: it is not here for %s, pull it with --platform",
				     i->id, is, asked)
			   : err_oom(e);
}

static int put_documents(Save *x, Err *e)
{
	_cleanup_json_ json_t *index = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
						 MEDIA_OCI_INDEX, "manifests", x->oci);
	_cleanup_json_ json_t *layout = json_pack("{s:s}", "imageLayoutVersion", "1.0.0");
	bool docker = x->format == ARCHIVE_DOCKER;
	int r = index && layout ? put_json(x, "index.json", index, e) : err_oom(e);

	if (r == 0 && docker)
		r = put_json(x, "manifest.json", x->docker, e);
	if (r == 0)
		r = put_json(x, "oci-layout", layout, e);
	if (r == 0 && docker && json_object_size(x->repositories) > 0)
		r = put_json(x, "repositories", x->repositories, e);
	return r;
}

static int put_all(Save *x, Err *e)
{
	int r = put_header(x, "blobs/", TAR_DIR, 0, e);

	if (r == 0)
		r = put_header(x, "blobs/sha256/", TAR_DIR, 0, e);
	for (size_t i = 0; r == 0 && i < x->n; i++)
		r = err_ctx(e, save_one(x, &x->images[i], e), "save image %s", x->images[i].id);
	if (r == 0)
		r = put_documents(x, e);
	return r < 0 ? r : tar_writer_end(x->w, e);
}

void archive_choice_free(ArchiveChoice *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->n; i++) {
		free(x->images[i].id);
		free(x->images[i].artifact_type);
		strv_free(x->images[i].tags);
		free(x->images[i].index);
	}
	free(x->images);
	strv_free(x->written);
	free(x->sizes);
	json_decref(x->docker);
	json_decref(x->repositories);
	json_decref(x->oci);
	tar_writer_free(x->w);
	free(x);
}

int store_archive_choose(Store *s, const ArchiveSave *o, ArchiveChoice **ret, Err *e)
{
	_cleanup_(archive_choice_freep) ArchiveChoice *x = calloc(1, sizeof(*x));
	int r = 0;

	if (!x)
		return err_oom(e);
	x->s = s;
	x->format = o->format;
	x->platform = o->platform;
	x->docker = json_array();
	x->repositories = json_object();
	x->oci = json_array();
	if (!x->docker || !x->repositories || !x->oci)
		return err_oom(e);
	if (strv_len(o->names) == 0)
		return err_new(e, ERR_INVALID, "no image to save was named");
	for (size_t i = 0; r == 0 && o->names[i]; i++)
		r = add_name(x, o->names[i], e);
	for (size_t i = 0; r == 0 && o->as && o->as[i] && x->n == 1; i++)
		r = add_as(x, o->as[i], e);
	for (size_t i = 0; r == 0 && o->platform && i < x->n; i++)
		r = check_platform(x, &x->images[i], o->platform, e);
	if (r < 0)
		return r;
	x->platform = NULL;
	*ret = take_ptr(x);
	return 0;
}

const char *archive_choice_image(const ArchiveChoice *x, size_t i)
{
	return i < x->n ? x->images[i].id : NULL;
}

int store_archive_write(ArchiveChoice *x, int out_fd, Err *e)
{
	int r = tar_writer_new(out_fd, NULL, &x->w, e), ended;

	if (r < 0)
		return r;
	x->out = out_fd;
	/* What is being written is not deleted meanwhile. */
	store_lease_begin(x->s);
	r = put_all(x, e);
	ended = store_lease_end(x->s, r < 0 ? NULL : e);
	return r < 0 ? r : ended;
}
