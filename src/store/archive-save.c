/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `docker save`: one tar that is a docker archive and an OCI image layout at once.
 *
 * The same images in the same order give the same bytes: nothing in the archive depends on when or where it is
 * written. Layers go in as uncompressed tars, so that their digest is the diff id and one blob serves both
 * shapes. A tar header needs the size before the bytes, so each layer is first written to a nameless file,
 * verified on the way by store_layer_write_tar(), and only one such file exists at a time.
 */
#include "base/fd.h"
#include "base/str.h"
#include "store/store-internal.h"

#include <fcntl.h>

#define BLOCK 512

typedef struct Saved {
	char *id;
	char **tags; /* full references; may be empty */
} Saved;

typedef struct Save {
	Store *s;
	int out;
	Saved *images;
	size_t n;
	char **written; /* digests of the blobs that are in the archive */
	int64_t *sizes; /* theirs */
	json_t *docker, *repositories, *oci;
} Save;

/* ---- tar ---- */

/* Octal as long as it fits, else the base-256 form of GNU and POSIX readers. */
static void put_size(char *field, int64_t size)
{
	if (size < (int64_t)1 << 33) {
		snprintf(field, 12, "%011llo", (unsigned long long)size);
		return;
	}
	memset(field, 0, 12);
	field[0] = (char)0x80;
	for (int i = 11; i > 3; i--, size >>= 8)
		field[i] = (char)(size & 0xFF);
}

static int put_header(const Save *x, const char *name, char type, int64_t size, Err *e)
{
	char h[BLOCK] = {0};
	unsigned int sum = 0;

	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 8, "%07o", type == '5' ? 0755u : 0644u);
	snprintf(h + 108, 8, "%07o", 0u);
	snprintf(h + 116, 8, "%07o", 0u);
	put_size(h + 124, size);
	snprintf(h + 136, 12, "%011o", 0u);
	memset(h + 148, ' ', 8);
	h[156] = type;
	memcpy(h + 257, "ustar\00000", 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 8, "%06o", sum);
	int r = fd_write_all(x->out, h, sizeof(h));
	return r < 0 ? err_sys(e, r, "write the archive") : 0;
}

static int put_padding(const Save *x, int64_t size, Err *e)
{
	static const char zero[2 * BLOCK];
	size_t n = size < 0 ? sizeof(zero) : (size_t)((BLOCK - size % BLOCK) % BLOCK);
	int r = fd_write_all(x->out, zero, n);

	return r < 0 ? err_sys(e, r, "write the archive") : 0;
}

static int put_text(const Save *x, const char *name, const char *text, size_t len, Err *e)
{
	int r = put_header(x, name, '0', (int64_t)len, e);

	if (r < 0)
		return r;
	r = fd_write_all(x->out, text, len);
	return r < 0 ? err_sys(e, r, "write the archive") : put_padding(x, (int64_t)len, e);
}

static int put_json(const Save *x, const char *name, const json_t *j, Err *e)
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

static int put_layer(Save *x, const char *diff_id, const char *chain_id, Err *e)
{
	_cleanup_free_ char *name = blob_name(diff_id);
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (!name)
		return err_oom(e);
	if (size_written(x, diff_id) >= 0)
		return 0;
	fd = openat(x->s->root_fd, INGEST, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return store_sys(e, errno, "make a file in %s/%s", x->s->root, INGEST);
	int r = store_layer_write_tar(x->s, chain_id, fd, e);
	if (r < 0)
		return err_ctx(e, r, "layer %s", diff_id);
	if (fstat(fd, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(e, errno, "layer %s", diff_id);
	r = put_header(x, name, '0', st.st_size, e);
	if (r < 0)
		return r;
	int64_t copied = fd_copy(fd, x->out);
	if (copied != st.st_size)
		return err_sys(e, copied < 0 ? (int)copied : EIO, "write layer %s to the archive", diff_id);
	r = put_padding(x, st.st_size, e);
	return r < 0 ? r : remember(x, diff_id, st.st_size, e);
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

static int add_index_entry(Save *x, const char *manifest_digest, int64_t size, const ImagePlatform *p,
			   const char *tag, const char *top, Err *e)
{
	_cleanup_json_ json_t *entry = descriptor(MEDIA_OCI_MANIFEST, manifest_digest, size);
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
	if (r == 0 && p->os && p->architecture) {
		json_t *platform = json_pack("{s:s, s:s}", "architecture", p->architecture, "os", p->os);

		if (p->variant && json_object_set_new(platform, "variant", json_string(p->variant)) < 0)
			r = err_oom(e);
		if (json_object_set_new(entry, "platform", platform) < 0)
			r = err_oom(e);
	}
	return r < 0 || json_array_append(x->oci, entry) == 0 ? r : err_oom(e);
}

/* Writes the layers; *ret_layers gets their descriptors, *ret_paths their names. */
static int put_layers(Save *x, char *const *diff_ids, json_t *layers, json_t *paths, json_t *sources, Err *e)
{
	char chain[DIGEST_LEN + 1] = "", next[DIGEST_LEN + 1];

	for (size_t i = 0; diff_ids && diff_ids[i]; i++) {
		_cleanup_free_ char *name = blob_name(diff_ids[i]);

		chain_id_next(*chain ? chain : NULL, diff_ids[i], next);
		memcpy(chain, next, sizeof(chain));
		int r = put_layer(x, diff_ids[i], chain, e);
		if (r < 0)
			return r;
		int64_t size = size_written(x, diff_ids[i]);
		if (!name ||
		    json_array_append_new(layers, descriptor(MEDIA_OCI_LAYER, diff_ids[i], size)) < 0 ||
		    json_array_append_new(paths, json_string(name)) < 0 ||
		    json_object_set_new(sources, diff_ids[i],
					descriptor(MEDIA_OCI_LAYER, diff_ids[i], size)) < 0)
			return err_oom(e);
	}
	return 0;
}

static int put_manifest(Save *x, const char *id, size_t config_len, const json_t *layers,
			char ret[DIGEST_LEN + 1], int64_t *ret_size, Err *e)
{
	_cleanup_json_ json_t *doc =
	    json_pack("{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType", MEDIA_OCI_MANIFEST, "config",
		      descriptor(MEDIA_OCI_CONFIG, id, (int64_t)config_len), "layers", layers);
	_cleanup_free_ char *text = doc ? json_text(doc) : NULL;

	if (!text)
		return err_oom(e);
	digest_of(text, strlen(text), ret);
	*ret_size = (int64_t)strlen(text);
	return put_text_blob(x, ret, text, strlen(text), e);
}

static int save_image(Save *x, const Saved *i, Err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_(image_config_done) ImageConfig config = {0};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_json_ json_t *layers = json_array();
	_cleanup_json_ json_t *paths = json_array();
	_cleanup_json_ json_t *sources = json_object();
	char manifest[DIGEST_LEN + 1];
	int64_t manifest_size = 0;
	size_t len = 0, n;
	int r = store_blob_read(x->s, i->id, IMAGE_DOCUMENT_MAX, &text, &len, e);

	if (r == 0)
		r = json_parse(text, len, "image config", &doc, e);
	if (r == 0)
		r = image_config_decode(doc, &config, e);
	if (r == 0)
		r = layers && paths && sources ? put_layers(x, config.diff_ids, layers, paths, sources, e)
					       : err_oom(e);
	if (r == 0)
		r = put_text_blob(x, i->id, text, len, e);
	if (r == 0)
		r = put_manifest(x, i->id, len, layers, manifest, &manifest_size, e);
	if (r < 0)
		return r;

	_cleanup_free_ char *config_name = blob_name(i->id);
	json_t *entry = config_name
			    ? json_pack("{s:s, s:o, s:O, s:O}", "Config", config_name, "RepoTags",
					familiar_tags(i->tags), "Layers", paths, "LayerSources", sources)
			    : NULL;
	if (json_array_append_new(x->docker, entry) < 0)
		return err_oom(e);

	n = strv_len(config.diff_ids);
	const char *top = n > 0 ? digest_hex(config.diff_ids[n - 1]) : NULL;
	for (size_t k = 0; r == 0 && i->tags && i->tags[k]; k++)
		r = add_index_entry(x, manifest, manifest_size, &config.platform, i->tags[k], top, e);
	if (r == 0 && strv_len(i->tags) == 0)
		r = add_index_entry(x, manifest, manifest_size, &config.platform, NULL, NULL, e);
	return r;
}

/* ---- which images ---- */

static int add_image(Save *x, const char *id, const char *tag, Err *e)
{
	size_t at = 0;

	while (at < x->n && !streq(x->images[at].id, id))
		at++;
	if (at == x->n) {
		Saved *grown = realloc(x->images, (x->n + 1) * sizeof(*grown));

		if (!grown)
			return err_oom(e);
		x->images = grown;
		grown[at] = (Saved){.id = strdup(id)};
		x->n++;
		if (!grown[at].id)
			return err_oom(e);
	}
	if (tag && !strv_has(x->images[at].tags, tag) && strv_add(&x->images[at].tags, tag) < 0)
		return err_oom(e);
	return 0;
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
				r = add_image(x, v[i].id, v[i].tags[k], e);
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
		r = add_image(x, image.id, full && strv_has(image.tags, full) ? full : NULL, e);
	store_image_done(&image);
	return r;
}

static int put_all(Save *x, Err *e)
{
	int r = put_header(x, "blobs/", '5', 0, e);

	if (r == 0)
		r = put_header(x, "blobs/sha256/", '5', 0, e);
	for (size_t i = 0; r == 0 && i < x->n; i++) {
		r = save_image(x, &x->images[i], e);
		if (r < 0)
			return err_ctx(e, r, "save image %s", x->images[i].id);
	}
	_cleanup_json_ json_t *index = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
						 MEDIA_OCI_INDEX, "manifests", x->oci);
	_cleanup_json_ json_t *layout = json_pack("{s:s}", "imageLayoutVersion", "1.0.0");
	if (r == 0 && (!index || !layout))
		r = err_oom(e);
	if (r == 0)
		r = put_json(x, "index.json", index, e);
	if (r == 0)
		r = put_json(x, "manifest.json", x->docker, e);
	if (r == 0)
		r = put_json(x, "oci-layout", layout, e);
	if (r == 0 && json_object_size(x->repositories) > 0)
		r = put_json(x, "repositories", x->repositories, e);
	return r < 0 ? r : put_padding(x, -1, e);
}

static void save_done(Save *x)
{
	for (size_t i = 0; i < x->n; i++) {
		free(x->images[i].id);
		strv_free(x->images[i].tags);
	}
	free(x->images);
	strv_free(x->written);
	free(x->sizes);
	json_decref(x->docker);
	json_decref(x->repositories);
	json_decref(x->oci);
}

int store_archive_save(Store *s, char *const *names, int out_fd, Err *e)
{
	_cleanup_(save_done) Save x = {.s = s, .out = out_fd};
	int r = 0;

	x.docker = json_array();
	x.repositories = json_object();
	x.oci = json_array();
	if (!x.docker || !x.repositories || !x.oci)
		return err_oom(e);
	if (strv_len(names) == 0)
		return err_new(e, ERR_INVALID, "no image to save was named");
	/* All names first: nothing is written for a list with a wrong name in it. */
	for (size_t i = 0; r == 0 && names[i]; i++)
		r = add_name(&x, names[i], e);
	return r < 0 ? r : put_all(&x, e);
}
