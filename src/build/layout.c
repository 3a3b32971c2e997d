/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A named context that is an image of an OCI image layout: "oci-layout://NAME[:TAG][@DIGEST]", NAME being a directory of the client's.
 *
 * The layout is anybody's, and may change while it is read. What the image needs is copied below the data root first, where nobody else writes, and the store
 * takes it from there as it takes an archive: nothing counts that has not the digest by which it was asked for. An image that is here already is not copied.
 */
#include "build/layout.h"
#include "build/fetch.h"

#include <sys/stat.h>

#define DEPTH_MAX 2 /* indexes within index.json */
#define TEXT_MAX  (1u << 20)

typedef struct Layout {
	Build *b;
	char *name, *tag, *digest; /* tag, digest: NULL if not given */
	ImagePlatform platform;
	int dir;    /* the client's */
	char *path; /* of the copy, below the data root */
	int room;
	int64_t left; /* bytes that may still be copied */
	ImageManifest manifest;
	char *manifest_text;
	size_t manifest_len;
	char manifest_digest[DIGEST_LEN + 1];
} Layout;

static void layout_done(Layout *l)
{
	image_manifest_done(&l->manifest);
	free(l->manifest_text);
	fetch_room_done(l->b, &l->path, &l->room);
	close_fd(&l->dir);
	image_platform_done(&l->platform);
	free(l->name);
	free(l->tag);
	free(l->digest);
}

static int layout_parse(const char *value, Layout *l, Err *e)
{
	const char *rest = str_after(value, "oci-layout://") ?: value;
	size_t n = strcspn(rest, "@"), name = strcspn(rest, ":@");

	l->name = strndup(rest, name);
	if (name < n)
		l->tag = strndup(rest + name + 1, n - name - 1);
	if (rest[n])
		l->digest = strdup(rest + n + 1);
	if (!l->name || (name < n && !l->tag) || (rest[n] && !l->digest))
		return err_oom(e);
	if (!*l->name || (l->tag && !*l->tag) || (l->digest && !digest_is_valid(l->digest)))
		return err_new(
		    e, ERR_INVALID,
		    "invalid context %.300s: expected oci-layout://DIRECTORY[:TAG][@sha256:DIGEST]", value);
	return 0;
}

/* ---- its files ---- */

/* A regular file; anything else could block or worse. */
static int open_file(const Layout *l, const char *path, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(l->dir, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR
			   ? err_new(e, ERR_INVALID, "the image layout has no %.200s", path)
			   : err_sys(e, fd, "open %.200s of the image layout", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "look at %.200s of the image layout", path);
	return S_ISREG(st.st_mode)
		   ? take_fd(&fd)
		   : err_new(e, ERR_INVALID, "%.200s of the image layout is no regular file", path);
}

static int read_file(const Layout *l, const char *path, size_t max, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_close_ int fd = open_file(l, path, e);
	int r = fd < 0 ? fd : fd_read_all(fd, max, ret, ret_len);

	if (fd < 0)
		return fd;
	if (r == -EFBIG)
		return err_new(e, ERR_INVALID, "%.200s of the image layout has more than %zu bytes", path,
			       max);
	return r < 0 ? err_sys(e, r, "read %.200s of the image layout", path) : 0;
}

static void blob_path(const char *digest, char ret[128])
{
	snprintf(ret, 128, "blobs/sha256/%s", digest_hex(digest));
}

static int read_document(const Layout *l, const char *digest, char **ret, size_t *ret_len, json_t **ret_doc,
			 Err *e)
{
	char path[128], is[DIGEST_LEN + 1];
	int r;

	blob_path(digest, path);
	r = read_file(l, path, IMAGE_DOCUMENT_MAX, ret, ret_len, e);
	if (r < 0)
		return r;
	digest_of(*ret, *ret_len, is);
	if (!streq(is, digest))
		return err_new(e, ERR_INVALID, "digest mismatch in the image layout: expected %s, got %s",
			       digest, is);
	return json_parse_bounded(*ret, *ret_len, path, ret_doc, e);
}

/* ---- which image ---- */

static const char *tag_of(const ImageDescriptor *d)
{
	return strv_env_get(d->annotations, "org.opencontainers.image.ref.name") ?: "";
}

/* Without a tag it is "latest" or, if there is only one image, that. */
static const ImageDescriptor *find_tag(const ImageIndex *index, const char *tag)
{
	for (size_t i = 0; i < index->n_manifests; i++)
		if (streq(tag_of(&index->manifests[i]), tag ?: "latest"))
			return &index->manifests[i];
	return !tag && index->n_manifests == 1 ? &index->manifests[0] : NULL;
}

static int resolve_tag(Layout *l, Err *e)
{
	_cleanup_(image_index_done) ImageIndex index = {0};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL;
	const ImageDescriptor *found;
	size_t len;
	int r = read_file(l, "index.json", TEXT_MAX, &text, &len, e);

	if (r >= 0)
		r = json_parse_bounded(text, len, "index.json of the image layout", &doc, e);
	if (r >= 0)
		r = image_index_decode(doc, &index, e);
	if (r < 0)
		return r;
	found = find_tag(&index, l->tag);
	if (!found)
		return err_new(e, ERR_NOT_FOUND,
			       "the image layout has no image tagged %.100s: name another with :TAG, or one "
			       "by @DIGEST",
			       l->tag ?: "latest");
	l->digest = strdup(found->digest);
	return l->digest ? 0 : err_oom(e);
}

/* The manifest for the platform, behind at most DEPTH_MAX indexes. */
static int choose(Layout *l, const char *digest, int depth, Err *e)
{
	_cleanup_(image_index_done) ImageIndex index = {0};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL;
	ImageDocumentKind kind;
	size_t len;
	int r = read_document(l, digest, &text, &len, &doc, e);

	if (r >= 0)
		r = image_document_kind(doc, NULL, &kind, e);
	if (r >= 0 && kind == IMAGE_DOC_MANIFEST) {
		memcpy(l->manifest_digest, digest, sizeof(l->manifest_digest));
		l->manifest_text = take_ptr(text);
		l->manifest_len = len;
		return image_manifest_decode(doc, &l->manifest, e);
	}
	if (r >= 0 && depth == DEPTH_MAX)
		r = err_new(e, ERR_INVALID, "indexes nested more than %d deep", DEPTH_MAX);
	if (r >= 0)
		r = image_index_decode(doc, &index, e);
	if (r < 0)
		return r;
	const ImageDescriptor *best = image_index_select(&index, &l->platform);
	return best ? choose(l, best->digest, depth + 1, e)
		    : err_new(e, ERR_NOT_FOUND, "%s of the image layout has no image for %s/%s", digest,
			      l->platform.os, l->platform.architecture);
}

/* ---- taking it ---- */

static int copy_bytes(Layout *l, int from, int to, Err *e)
{
	char buf[65536];
	ssize_t n;

	while ((n = fd_read_full(from, buf, sizeof(buf))) > 0) {
		int r = fd_write_all(to, buf, (size_t)n);

		l->left -= n;
		if (l->left < 0)
			return err_new(e, ERR_INVALID, "the image is larger than a layer may be");
		if (r < 0)
			return err_sys(e, r, "copy an image layout");
		if (build_is_over(l->b))
			return build_cancelled(e);
	}
	return n < 0 ? err_sys(e, (int)n, "read the image layout") : 0;
}

static int copy_blob(Layout *l, const char *digest, Err *e)
{
	_cleanup_close_ int from = -1, to = -1;
	char path[128];

	blob_path(digest, path);
	from = open_file(l, path, e);
	if (from < 0)
		return from;
	to = openat(l->room, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to < 0)
		return errno == EEXIST ? 0
				       : err_sys(e, errno, "copy an image layout"); /* twice in the image */
	return copy_bytes(l, from, to, e);
}

static int write_file(const Layout *l, const char *path, const char *text, size_t len, Err *e)
{
	_cleanup_close_ int fd = openat(l->room, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : fd_write_all(fd, text, len);

	return r < 0 ? err_sys(e, r, "copy an image layout") : 0;
}

/* A layout with nothing but the image. */
static int copy_image(Layout *l, Err *e)
{
	static const char version[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	_cleanup_free_ char *index = strf(
	    "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}]}",
	    str_empty(l->manifest.media_type) ? MEDIA_OCI_MANIFEST : l->manifest.media_type,
	    l->manifest_digest, l->manifest_len);
	char path[128];
	int r = index ? fetch_room(l->b, &l->path, &l->room, e) : err_oom(e);

	if (r >= 0) {
		r = mkdir_parents_at(l->room, "blobs/sha256", 0700);
		r = r < 0 ? err_sys(e, r, "copy an image layout") : 0;
	}
	blob_path(l->manifest_digest, path);
	if (r >= 0)
		r = write_file(l, path, l->manifest_text, l->manifest_len, e);
	if (r >= 0)
		r = write_file(l, "oci-layout", version, strlen(version), e);
	if (r >= 0)
		r = write_file(l, "index.json", index, strlen(index), e);
	if (r >= 0)
		r = copy_blob(l, l->manifest.config.digest, e);
	for (size_t i = 0; r >= 0 && i < l->manifest.n_layers; i++)
		r = copy_blob(l, l->manifest.layers[i].digest, e);
	return r;
}

static int take(Layout *l, StoreImage *ret, Err *e)
{
	const char *id = l->manifest.config.digest;
	int r;

	if (image_manifest_artifact(&l->manifest))
		return err_new(e, ERR_INVALID, "%s of the image layout is no image", l->manifest_digest);
	if (store_image_is_whole(l->b->store, id) && store_image_get(l->b->store, id, ret, NULL) >= 0)
		return 0;
	l->left = store_layer_limits(l->b->store).bytes;
	r = copy_image(l, e);
	if (r >= 0)
		r = store_layout_load(l->b->store, l->room, &l->platform, e);
	return r < 0 ? r : store_image_get(l->b->store, id, ret, e);
}

static int find(Layout *l, const char *value, const char *platform, StoreImage *ret, Err *e)
{
	static const BuildFiles all;
	int r = layout_parse(value, l, e);

	if (r >= 0)
		r = image_platform_parse(platform, &l->platform, e);
	if (r >= 0)
		r = l->b->rq->client->directory(l->b->rq->client->user, l->name, &all, NULL, &l->dir, e);
	if (r >= 0 && !l->digest)
		r = resolve_tag(l, e);
	if (r >= 0)
		r = choose(l, l->digest, 0, e);
	return r < 0 ? r : take(l, ret, e);
}

int layout_image(Build *b, const char *name, const char *value, const char *platform, StoreImage *ret, Err *e)
{
	Layout l = {.b = b, .dir = -1, .room = -1};
	BuildVertex *v = vertex_new(b, 0, "[context %s] load metadata of the image layout", name);
	int r;

	if (!v)
		return err_oom(e);
	/* Two stages that begin with it copy it once. */
	pthread_mutex_lock(&b->context_lock);
	vertex_begin(b, v);
	r = find(&l, value, platform, ret, e);
	pthread_mutex_unlock(&b->context_lock);
	layout_done(&l);
	return vertex_end(b, v, r < 0 ? err_ctx(e, r, "context %s", name) : r, e);
}
