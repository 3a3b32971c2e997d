/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `docker load`: an archive of images from anybody.
 *
 * This process never reads the tar. The sandboxed ireko-unpack writes it into a directory below
 * content/ingest (without devices, owned by us, within the store's budget), and from there files are opened with
 * openat2(RESOLVE_IN_ROOT), because old docker archives link from layer to layer and a hostile one links anywhere. The
 * directory is removed at the end, and by the next start if we do not get that far.
 *
 * Two shapes are understood: Docker's manifest.json (with <id>/layer.tar or blobs/sha256/...), which wins if both are
 * there because only it names images as Docker does, and an OCI image layout. Nothing counts because of where
 * it lies: configs, manifests and compressed layers must have the digest that names them, and every unpacked layer
 * the diff id of its config.
 */
#include "base/fd.h"
#include "base/id.h"
#include "base/path.h"
#include "base/str.h"
#include "store/digest-file.h"
#include "store/store-internal.h"

#define IMAGES_MAX 1000
#define DEPTH_MAX  2 /* indexes within index.json */

typedef struct Load {
	Store *s;
	const ArchiveLoad *l;
	int dir; /* what was unpacked */
	ImagePlatform own;
	const ImagePlatform *platform; /* wanted: the caller's, or this machine's */
	size_t n_loaded;
	char **chains, **blobs; /* brought in so far, the lowest first */
} Load;

/* ---- files of the archive ---- */

/* A regular file; anything else could block or worse. */
static int open_file(const Load *x, const char *path, int64_t *ret_size, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(x->dir, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;

	if (fd == -ENOENT || fd == -ENOTDIR)
		return err_new(e, ERR_INVALID, "the archive has no %.300s", path);
	if (fd < 0)
		return err_sys(e, fd, "open %.300s of the archive", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "stat %.300s of the archive", path);
	if (!S_ISREG(st.st_mode))
		return err_new(e, ERR_INVALID, "%.300s of the archive is no regular file", path);
	if (ret_size)
		*ret_size = st.st_size;
	return take_fd(&fd);
}

static bool has_file(const Load *x, const char *path)
{
	_cleanup_close_ int fd = open_file(x, path, NULL, NULL);

	return fd >= 0;
}

static int read_document(const Load *x, const char *path, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_close_ int fd = open_file(x, path, NULL, e);

	if (fd < 0)
		return fd;
	int r = fd_read_all(fd, IMAGE_DOCUMENT_MAX, ret, ret_len);
	if (r == -EFBIG)
		return err_new(e, ERR_INVALID, "%.300s of the archive has more than %u bytes", path,
			       IMAGE_DOCUMENT_MAX);
	return r < 0 ? err_sys(e, r, "read %.300s of the archive", path) : 0;
}

static int read_json(const Load *x, const char *path, json_t **ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = read_document(x, path, &text, &len, e);

	return r < 0 ? r : json_parse_bounded(text, len, path, ret, e);
}

static char *layout_path(const char *digest)
{
	return strf("blobs/sha256/%s", digest_hex(digest));
}

/* A document of an OCI layout, whose bytes must have the digest they are filed under. */
static int read_blob(const Load *x, const ImageDescriptor *d, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_free_ char *path = layout_path(d->digest);
	char digest[DIGEST_LEN + 1];
	int r = path ? read_document(x, path, ret, ret_len, e) : err_oom(e);

	if (r < 0)
		return r;
	digest_of(*ret, *ret_len, digest);
	if (!streq(digest, d->digest))
		return err_new(e, ERR_INVALID, "digest mismatch in the archive: expected %s, got %s",
			       d->digest, digest);
	return 0;
}

/* ---- layers ---- */

/* A layer's file on its way to be a blob: it is hashed here while the sandbox unpacks it. */
typedef struct Keep {
	Load *load;
	char id[13]; /* what progress calls it */
	int fd;
	int64_t size;
	const char *promised; /* the digest that the file is named by, or NULL */
	DigestThread *hashing;
	char digest[DIGEST_LEN + 1]; /* set once it is a blob */
} Keep;

static void on_progress(void *user, int64_t bytes_read)
{
	const Keep *k = user;

	k->load->l->progress(k->load->l->user, k->id, bytes_read, k->size);
}

static void keep_done(Keep *k)
{
	(void)digest_thread_end(k->hashing, NULL, NULL);
	close_fd(&k->fd);
}

/* A layer that is not what it promised to be is damaged in other ways as well: the digest is what the user should hear of. */
static int keep_failed(Keep *k, int r, Err *e)
{
	char digest[DIGEST_LEN + 1];

	if (!k->hashing || !k->promised || digest_thread_end(take_ptr(k->hashing), digest, NULL) < 0 ||
	    streq(k->promised, digest))
		return r;
	return err_new(e, ERR_INVALID, "digest mismatch: expected %s, got %s", k->promised, digest);
}

/* The layer's gate: it counts only if the file is what it promised to be. The file itself becomes the blob: nobody but us writes below
 * content/ingest, and the sandbox that wrote it has ended. */
static int keep_end(void *user, Err *e)
{
	Keep *k = user;
	char digest[DIGEST_LEN + 1];
	int r;

	if (*k->digest)
		return 0;
	r = digest_thread_end(take_ptr(k->hashing), digest, e);
	if (r < 0)
		return r;
	if (k->promised && !streq(k->promised, digest))
		return err_new(e, ERR_INVALID, "digest mismatch: expected %s, got %s", k->promised, digest);
	if (fchmod(k->fd, 0600) < 0)
		return err_sys(e, errno, "set the mode of the blob");
	r = blob_record(k->load->s, k->fd, k->size, digest, e);
	if (r >= 0)
		memcpy(k->digest, digest, sizeof(digest));
	return r;
}

static int keep_begin(Load *x, const char *path, const char *promised, int64_t size, Keep *k, Err *e)
{
	k->load = x;
	k->promised = promised;
	k->fd = open_file(x, path, &k->size, e);
	if (k->fd < 0)
		return k->fd;
	if (size >= 0 && size != k->size)
		return err_new(e, ERR_INVALID, "%s of the archive has %lld bytes, its manifest says %lld",
			       path, (long long)k->size, (long long)size);
	if (promised && store_blob_has(x->s, promised)) {
		memcpy(k->digest, promised, sizeof(k->digest));
		close_fd(&k->fd);
		k->fd = store_blob_open(x->s, promised, NULL, e);
		return MIN2(k->fd, 0);
	}
	return digest_thread_start(k->fd, 0, k->size, &k->hashing, e);
}

/* A layer that is here already, of an image whose manifest is kept: that is of use only with the blob that it names. */
static int keep_alone(Load *x, const char *path, const char *promised, int64_t size, Err *e)
{
	_cleanup_(keep_done) Keep k = {.fd = -1};
	int r;

	if (store_blob_has(x->s, promised))
		return 0;
	r = keep_begin(x, path, promised, size, &k, e);
	if (r >= 0)
		r = keep_end(&k, e);
	if (r >= 0 && strv_add(&x->blobs, k.digest) < 0)
		r = err_oom(e);
	return r < 0 ? err_ctx(e, r, "layer %.300s of the archive", path) : 0;
}

/* The blob stays besides the layer, because only it can be saved and pushed with the same digest again (a tar made by others
 * is rarely the one that we would write). promised: the digest that the file is named by, or NULL; size: -1 if
 * unknown. chain is in/out, "" below the lowest. */
static int load_layer(Load *x, const char *path, const char *promised, int64_t size, const char *diff_id,
		      char chain[DIGEST_LEN + 1], Err *e)
{
	char next[DIGEST_LEN + 1], got_chain[DIGEST_LEN + 1], got_diff[DIGEST_LEN + 1];
	_cleanup_(keep_done) Keep k = {.fd = -1};
	int r = 0;

	chain_id_next(*chain ? chain : NULL, diff_id, next);
	if (!store_layer_has(x->s, next)) {
		r = keep_begin(x, path, promised, size, &k, e);
		memcpy(k.id, digest_hex(diff_id), 12);
		const LayerApply a = {.parent = *chain ? chain : NULL,
				      .want_diff_id = diff_id,
				      .blob = k.digest,
				      .fd = k.fd,
				      .gate = keep_end,
				      .progress = x->l->progress ? on_progress : NULL,
				      .user = &k};
		if (r >= 0)
			r = store_layer_apply(x->s, &a, got_chain, got_diff, e);
		if (r < 0)
			r = keep_failed(&k, r, e);
		if (*k.digest && strv_add(&x->blobs, k.digest) < 0 && r >= 0)
			r = err_oom(e);
		if (r >= 0 && strv_add(&x->chains, next) < 0)
			r = err_oom(e);
	}
	memcpy(chain, next, sizeof(next));
	return r < 0 ? err_ctx(e, r, "layer %.300s of the archive", path) : 0;
}

/* ---- images ---- */

static void tell(Load *x, const char *reference, const char *id)
{
	x->n_loaded++;
	if (x->l->loaded)
		x->l->loaded(x->l->user, reference, id);
}

static int tag_as(Load *x, const char *name, const char *id, const char *manifest, Err *e)
{
	Reference ref = {0};
	int r = reference_parse(name, &ref, e);

	if (r < 0)
		return r;
	_cleanup_free_ char *full = reference_full(&ref);
	_cleanup_free_ char *familiar = reference_familiar(&ref);
	reference_done(&ref);
	if (!full || !familiar)
		return err_oom(e);
	if (x->l->only && !str_starts(full, x->l->only))
		return err_new(e, ERR_INVALID, "the archive would name an image %.200s: not %s...", familiar,
			       x->l->only);
	r = store_tag_put_new(x->s, full, id, manifest, NULL, e);
	if (r == 0)
		tell(x, familiar, id);
	return r;
}

/* ---- Docker's manifest.json ---- */

/* <hex>.json and blobs/sha256/<hex> promise a digest; a config of any other name promises nothing. */
static int check_promise(const char *path, const char *digest, Err *e)
{
	const char *name = path_base(path);
	size_t len = strcspn(name, ".");

	if (len == 64 && strspn(name, "0123456789abcdef") == 64 && strncmp(name, digest_hex(digest), 64) != 0)
		return err_new(e, ERR_INVALID, "digest mismatch in the archive: %.300s has %s", path, digest);
	return 0;
}

static int load_config(const Load *x, const char *path, ImageConfig *ret, char ret_id[DIGEST_LEN + 1],
		       char **ret_text, size_t *ret_len, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = read_document(x, path, ret_text, ret_len, e);

	if (r < 0)
		return r;
	digest_of(*ret_text, *ret_len, ret_id);
	r = check_promise(path, ret_id, e);
	if (r == 0)
		r = json_parse_bounded(*ret_text, *ret_len, path, &doc, e);
	return r < 0 ? r : image_config_decode(doc, ret, e);
}

/* The layer's digest, if its path promises one. */
static bool promised_digest(const char *path, char ret[DIGEST_LEN + 1])
{
	const char *hex = str_after(path, "blobs/sha256/");

	if (!hex || strlen(hex) != 64)
		return false;
	snprintf(ret, DIGEST_LEN + 1, "sha256:%.64s", hex);
	return digest_is_valid(ret);
}

static int load_docker_layers(Load *x, char *const *paths, char *const *diff_ids, Err *e)
{
	char chain[DIGEST_LEN + 1] = "";
	size_t n = strv_len(paths);

	if (n != strv_len(diff_ids))
		return err_new(e, ERR_INVALID, "manifest.json names %zu layers, the config %zu", n,
			       strv_len(diff_ids));
	for (size_t i = 0; i < n; i++) {
		char blob[DIGEST_LEN + 1];
		bool promised = promised_digest(paths[i], blob);
		int r = load_layer(x, paths[i], promised ? blob : NULL, -1, diff_ids[i], chain, e);

		if (r < 0)
			return r;
	}
	return 0;
}

typedef struct DockerImage {
	char *config;
	char **tags, **layers;
} DockerImage;

static const JsonField docker_image_table[] = {
    {"Config", JSON_T_STR, offsetof(DockerImage, config)},
    {"RepoTags", JSON_T_STRV, offsetof(DockerImage, tags)},
    {"Layers", JSON_T_STRV, offsetof(DockerImage, layers)},
    {0},
};

static void docker_image_done(DockerImage *i)
{
	json_fields_done(docker_image_table, i);
}

/* A docker archive says what its images are for in their configs only; without a wish all are taken. */
static bool is_wanted(const Load *x, const ImageConfig *c)
{
	ImageDescriptor one = {.has_platform = true, .platform = c->platform};
	const ImageIndex index = {.manifests = &one, .n_manifests = 1};

	return !x->l->platform || image_index_select(&index, x->platform);
}

static int load_docker_image(Load *x, const json_t *entry, Err *e)
{
	_cleanup_(docker_image_done) DockerImage i = {0};
	_cleanup_(image_config_done) ImageConfig config = {0};
	_cleanup_free_ char *text = NULL;
	char id[DIGEST_LEN + 1], got[DIGEST_LEN + 1];
	size_t len = 0;
	int r = json_decode(entry, docker_image_table, &i, e);

	if (r == 0 && str_empty(i.config))
		r = err_new(e, ERR_INVALID, "Config: missing");
	if (r < 0)
		return err_ctx(e, r, "manifest.json");
	r = load_config(x, i.config, &config, id, &text, &len, e);
	if (r == 0 && !is_wanted(x, &config))
		return 0;
	if (r == 0)
		r = load_docker_layers(x, i.layers, config.diff_ids, e);
	if (r == 0)
		r = store_blob_put(x->s, text, len, got, e);
	if (r == 0)
		r = store_image_put(x->s, id, NULL, NULL, e);
	for (size_t k = 0; r == 0 && i.tags && i.tags[k]; k++)
		r = tag_as(x, i.tags[k], id, NULL, e);
	if (r == 0 && strv_len(i.tags) == 0)
		tell(x, NULL, id);
	return r;
}

/* Nothing was loaded: no image was for the platform. */
static int check_platform(const Load *x, Err *e)
{
	_cleanup_free_ char *text = x->l->platform ? image_platform_text(x->platform) : NULL;

	if (x->n_loaded > 0)
		return 0;
	if (text)
		return err_new(e, ERR_NOT_FOUND, "the archive has no image for %s", text);
	return err_new(e, ERR_NOT_FOUND,
		       "the archive has no image for this machine's platform: choose one of its own with "
		       "--platform");
}

static int load_docker(Load *x, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = read_json(x, "manifest.json", &doc, e);

	if (r < 0)
		return r;
	if (!json_is_array(doc) || json_array_size(doc) > IMAGES_MAX)
		return err_new(e, ERR_INVALID, "manifest.json of the archive is no list of at most %d images",
			       IMAGES_MAX);
	for (size_t i = 0; r == 0 && i < json_array_size(doc); i++)
		r = load_docker_image(x, json_array_get(doc, i), e);
	return r == 0 && json_array_size(doc) > 0 ? check_platform(x, e) : r;
}

/* ---- OCI image layout ---- */

static int load_oci_layers(Load *x, const ImageManifest *m, char *const *diff_ids, Err *e)
{
	char chain[DIGEST_LEN + 1] = "";

	if (m->n_layers != strv_len(diff_ids))
		return err_new(e, ERR_INVALID, "the manifest has %zu layers, the config %zu", m->n_layers,
			       strv_len(diff_ids));
	for (size_t i = 0; i < m->n_layers; i++) {
		const ImageDescriptor *d = &m->layers[i];
		_cleanup_free_ char *path = layout_path(d->digest);
		int r = path ? load_layer(x, path, d->digest, d->size, diff_ids[i], chain, e) : err_oom(e);

		if (r >= 0)
			r = keep_alone(x, path, d->digest, d->size, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A full name, or a mere tag, which without a repository names nothing. */
static const char *name_of(const ImageDescriptor *d)
{
	const char *name = strv_env_get(d->annotations, "io.containerd.image.name");

	if (str_empty(name))
		name = strv_env_get(d->annotations, "org.opencontainers.image.ref.name");
	return !str_empty(name) && strpbrk(name, ":/") ? name : NULL;
}

static int keep_artifact_blob(Load *x, const ImageDescriptor *d, Err *e)
{
	_cleanup_free_ char *path = layout_path(d->digest);

	if (strv_len(d->urls) > 0) /* to be had there, and not in the archive */
		return 0;
	return path ? keep_alone(x, path, d->digest, d->size, e) : err_oom(e);
}

static int load_artifact(Load *x, const ImageManifest *m, const char *text, size_t len, const char *name,
			 Err *e)
{
	char id[DIGEST_LEN + 1];
	int r = keep_artifact_blob(x, &m->config, e);

	for (size_t i = 0; r == 0 && i < m->n_layers; i++)
		r = keep_artifact_blob(x, &m->layers[i], e);
	if (r == 0)
		r = store_blob_put(x->s, text, len, id, e);
	if (r == 0)
		r = store_artifact_put(x->s, id, e);
	if (r < 0)
		return r;
	if (name)
		return tag_as(x, name, id, id, e);
	tell(x, NULL, id);
	return 0;
}

static int load_oci_image(Load *x, const ImageDescriptor *d, const json_t *doc, const char *text, size_t len,
			  const char *name, Err *e)
{
	_cleanup_(image_manifest_done) ImageManifest m = {0};
	_cleanup_(image_config_done) ImageConfig config = {0};
	_cleanup_free_ char *config_text = NULL;
	_cleanup_json_ json_t *config_doc = NULL;
	char got[DIGEST_LEN + 1];
	size_t config_len = 0;
	int r = image_manifest_decode(doc, &m, e);

	if (r == 0 && image_manifest_artifact(&m))
		return load_artifact(x, &m, text, len, name, e);
	if (r == 0)
		r = read_blob(x, &m.config, &config_text, &config_len, e);
	if (r == 0)
		r = json_parse_bounded(config_text, config_len, "image config", &config_doc, e);
	if (r == 0)
		r = image_config_decode(config_doc, &config, e);
	if (r == 0)
		r = load_oci_layers(x, &m, config.diff_ids, e);
	if (r == 0)
		r = store_blob_put(x->s, config_text, config_len, got, e);
	if (r == 0)
		r = store_blob_put(x->s, text, len, got, e);
	if (r == 0)
		r = store_image_put(x->s, m.config.digest, d->digest, NULL, e);
	if (r < 0)
		return r;
	if (name)
		return tag_as(x, name, m.config.digest, d->digest, e);
	tell(x, NULL, m.config.digest);
	return 0;
}

static bool is_for_us(const Load *x, const ImageDescriptor *d)
{
	ImageDescriptor copy = *d;
	const ImageIndex one = {.manifests = &copy, .n_manifests = 1};

	return image_index_select(&one, x->platform) != NULL;
}

static int load_oci_entry(Load *x, const ImageDescriptor *d, const char *name, int depth, Err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_(image_index_done) ImageIndex index = {0};
	ImageDocumentKind kind;
	size_t len = 0;
	int r = read_blob(x, d, &text, &len, e);

	if (r == 0)
		r = json_parse_bounded(text, len, "manifest", &doc, e);
	if (r == 0)
		r = image_document_kind(doc, d->media_type, &kind, e);
	if (r == 0 && kind == IMAGE_DOC_MANIFEST)
		r = load_oci_image(x, d, doc, text, len, name, e);
	else if (r == 0 && depth == DEPTH_MAX)
		r = err_new(e, ERR_INVALID, "indexes nested more than %d deep", DEPTH_MAX);
	else if (r == 0) {
		r = image_index_decode(doc, &index, e);
		const ImageDescriptor *best = r == 0 ? image_index_select(&index, x->platform) : NULL;

		if (r == 0 && !best)
			r = err_new(e, ERR_NOT_FOUND, "no image for this machine's platform in the index");
		if (r == 0)
			return load_oci_entry(x, best, name, depth + 1, e);
	}
	return r < 0 ? err_ctx(e, r, "%s of the archive", d->digest) : 0;
}

static int load_oci(Load *x, Err *e)
{
	_cleanup_json_ json_t *layout = NULL;
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_(image_index_done) ImageIndex index = {0};
	int r = read_json(x, "oci-layout", &layout, e);

	if (r == 0)
		r = read_json(x, "index.json", &doc, e);
	if (r < 0)
		return r;
	const char *version = json_get_str(layout, "imageLayoutVersion");
	if (!version || !str_starts(version, "1."))
		return err_new(e, ERR_UNSUPPORTED,
			       "the archive is an OCI image layout of version \"%.40s\": 1.x is known here",
			       version ? version : "");
	r = image_index_decode(doc, &index, e);
	if (r == 0 && index.n_manifests > IMAGES_MAX)
		r = err_new(e, ERR_INVALID, "more than %d images", IMAGES_MAX);
	if (r < 0)
		return err_ctx(e, r, "index.json");
	for (size_t i = 0; r == 0 && i < index.n_manifests; i++)
		if (is_for_us(x, &index.manifests[i]))
			r = load_oci_entry(x, &index.manifests[i], name_of(&index.manifests[i]), 0, e);
	return r == 0 && index.n_manifests > 0 ? check_platform(x, e) : r;
}

/* ---- the archive ---- */

static int load_unpacked(Load *x, Err *e)
{
	const ArchiveExtract extract = {.fd = x->l->fd, .dir_fd = x->dir};
	int r = store_archive_extract(x->s, &extract, e);

	if (r < 0)
		return err_ctx(e, r, "unpack the archive");
	if (has_file(x, "manifest.json"))
		return load_docker(x, e);
	if (has_file(x, "oci-layout"))
		return load_oci(x, e);
	if (has_file(x, "repositories"))
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "the archive was saved by a Docker older than 1.10: it has no manifest.json; load "
		    "and save it again with a newer one");
	return err_new(
	    e, ERR_INVALID,
	    "the archive holds no image: it has neither manifest.json (docker save) nor oci-layout; "
	    "a root filesystem is brought in by import");
}

/* What a load that failed had brought in is of no use to anybody; what images that it finished need stays. */
static void forget(Load *x)
{
	for (size_t n = strv_len(x->chains); n-- > 0;)
		(void)gc_layers(x->s, x->chains[n], &x->blobs, NULL, NULL);
	(void)gc_blobs(x->s, x->blobs, NULL, NULL);
}

int store_layout_load(Store *s, int dir_fd, const ImagePlatform *platform, Err *e)
{
	const ArchiveLoad l = {.fd = -1};
	Load x = {.s = s, .l = &l, .dir = dir_fd, .platform = platform};
	int r = load_oci(&x, e);

	if (r < 0)
		forget(&x);
	strv_free(x.chains);
	strv_free(x.blobs);
	return r;
}

int store_archive_load(Store *s, const ArchiveLoad *l, Err *e)
{
	Load x = {.s = s, .l = l, .dir = -1};
	char random[17];

	id_random_hex(random, 16);
	_cleanup_free_ char *name = strf(INGEST "/load-%s", random);
	if (!name)
		return err_oom(e);
	if (mkdirat(s->root_fd, name, 0700) < 0)
		return store_sys(e, errno, "make %s/%s", s->root, name);
	x.dir = openat(s->root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = x.dir < 0 ? err_sys(e, errno, "open %s/%s", s->root, name)
			  : image_platform_parse(NULL, &x.own, e);
	x.platform = l->platform ? l->platform : &x.own;
	if (r == 0)
		r = load_unpacked(&x, e);
	close_fd(&x.dir);
	image_platform_done(&x.own);
	if (r < 0)
		forget(&x);
	strv_free(x.chains);
	strv_free(x.blobs);

	int gone = remove_tree_at(s->root_fd, name);
	if (r == 0 && gone < 0)
		r = err_sys(e, gone, "remove %s/%s", s->root, name);
	return r;
}
