/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores of blobs that a client serves: caches of type=local, and image layouts that are named contexts, which are copied into a directory as they are needed.
 *
 * Caches of type=local: a folder of the client's, which it serves as a store of blobs. A build has them as files, archives of an OCI image layout; a thread at the
 * other end of a pipe turns such an archive into blobs of the store, or blobs into an archive. The layout's index is a blob as well: the client writes down which
 * one it is (cache.manifest), and says so when it brings the cache back.
 *
 * What a client sends as a blob has exactly the size that the document says which names it; documents have their digests checked here, the others where the archive is
 * loaded. No name of the client's is a path here.
 */
#include "api/buildkit/door-internal.h"

#include "base/json.h"
#include "content.pb-c.h"
#include "oci/image.h"
#include "store/tar-read.h"
#include "store/tar-write.h"

#include <fcntl.h>

#define PIECE      (256u << 10)
#define INDEX_MAX  (1u << 20)
#define READ_PATH  "/containerd.services.content.v1.Content/Read"
#define WRITE_PATH "/containerd.services.content.v1.Content/Write"
#define BLOBS      "blobs/sha256/"
#define DEPTH_MAX  2 /* indexes within the first document */

struct Content {
	Job *job;
	Session *session;
	char *dir, *store, *digest; /* digest: of the index that is read */
	int fd;
	bool write, ignore_error;
	int r;
	Err err;
	pthread_t thread;
	uint8_t buf[PIECE];
	struct Content *next;
};

static int call_begin(const Content *c, const char *path, GrpcCall **ret, Err *e)
{
	const GrpcField fields[] = {{"buildkit-attachable-store-id", c->store}};

	return job_call_begin(c->job, c->session, path, fields, ELEMENTSOF(fields), ret, e);
}

/* ---- from an archive to the store ---- */

typedef struct Blob {
	GrpcCall *call;
	const char *digest;
	int64_t total, at;
	bool there; /* the client has it already */
} Blob;

/* One piece, and what the client says to it. */
static int blob_send(Blob *b, Content__Action action, const void *data, size_t len, Err *e)
{
	Content__WriteRequest rq = CONTENT__WRITE_REQUEST__INIT;
	Content__WriteResponse *answer = NULL;
	Err err = {0};
	int r;

	rq.action = action;
	rq.ref = (char *)b->digest;
	rq.total = b->total;
	rq.expected = (char *)b->digest;
	rq.offset = b->at;
	rq.data = (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)data};
	r = grpc_send_message(b->call, &rq.base, &err);
	if (r >= 0)
		r = grpc_receive_message(b->call, &content__write_response__descriptor,
					 (ProtobufCMessage **)&answer, &err);
	if (r > 0)
		protobuf_c_message_free_unpacked(&answer->base, NULL);
	else if (r == 0)
		r = err_new(&err, ERR_UNAVAILABLE, "the client took no more of %s", b->digest);
	b->at += (int64_t)len;
	b->there = r == -ENOTUNIQ;
	if (r < 0 && !b->there && e)
		*e = err;
	return b->there ? 0 : MIN2(r, 0);
}

static int blob_put(Content *c, const char *digest, int64_t total, TarReader *t, Err *e)
{
	Blob b = {.digest = digest, .total = total};
	const void *data;
	int64_t offset;
	size_t len;
	int r = call_begin(c, WRITE_PATH, &b.call, e), more = 0;

	if (r < 0)
		return r;
	while (r >= 0 && !b.there && (more = tar_data(t, &data, &len, &offset, e)) > 0)
		for (size_t at = 0; r >= 0 && !b.there && at < len; at += MIN2(len - at, (size_t)PIECE))
			r = blob_send(&b, CONTENT__ACTION__WRITE, (const char *)data + at,
				      MIN2(len - at, (size_t)PIECE), e);
	if (r >= 0)
		r = more;
	if (r >= 0 && !b.there)
		r = blob_send(&b, CONTENT__ACTION__COMMIT, NULL, 0, e);
	job_call_drop(c->job, b.call);
	return r;
}

static int index_read(TarReader *t, int64_t size, StrBuf *ret, Err *e)
{
	const void *data;
	int64_t offset;
	size_t len;
	int r;

	if (size > (int64_t)INDEX_MAX)
		return err_new(e, ERR_INVALID, "the index of the cache is too large");
	while ((r = tar_data(t, &data, &len, &offset, e)) > 0)
		strbuf_add_n(ret, data, len);
	return r < 0 ? r : ret->oom ? err_oom(e) : 0;
}

static int index_put(Content *c, const StrBuf *index, Err *e)
{
	char digest[DIGEST_LEN + 1];
	Blob b = {.digest = digest, .total = (int64_t)index->len};
	char *manifest;
	int r;

	digest_of(index->s ?: "", index->len, digest);
	manifest = strf("{\"mediaType\":\"" MEDIA_OCI_INDEX "\",\"digest\":\"%s\",\"size\":%zu}", digest,
			index->len);
	if (!manifest)
		return err_oom(e);
	r = call_begin(c, WRITE_PATH, &b.call, e);
	for (size_t at = 0; r >= 0 && !b.there && at < index->len; at += MIN2(index->len - at, (size_t)PIECE))
		r = blob_send(&b, CONTENT__ACTION__WRITE, index->s + at, MIN2(index->len - at, (size_t)PIECE),
			      e);
	if (r >= 0 && !b.there)
		r = blob_send(&b, CONTENT__ACTION__COMMIT, NULL, 0, e);
	if (b.call)
		job_call_drop(c->job, b.call);
	if (r < 0) {
		free(manifest);
		return r;
	}
	pthread_mutex_lock(&c->job->lock);
	free(c->job->cache_manifest);
	c->job->cache_manifest = manifest;
	pthread_mutex_unlock(&c->job->lock);
	return 0;
}

static ssize_t next_chunk(void *user, const uint8_t **ret, Err *e)
{
	Content *c = user;
	ssize_t n = read(c->fd, c->buf, sizeof(c->buf));

	*ret = c->buf;
	return n < 0 ? err_sys(e, errno, "read the cache") : n;
}

static int put_all(Content *c, Err *e)
{
	_cleanup_(tar_reader_freep) TarReader *t = NULL;
	_cleanup_strbuf_ StrBuf index = {0};
	const TarEntry *n;
	int r = tar_reader_new(next_chunk, c, &t, e), more = 0;

	while (r >= 0 && (more = tar_next(t, &n, e)) > 0) {
		const char *hex = str_after(n->name, BLOBS);
		_cleanup_free_ char *digest = hex && *hex ? strf("sha256:%s", hex) : NULL;

		if (n->type == TAR_FILE && digest)
			r = blob_put(c, digest, n->size, t, e);
		else if (n->type == TAR_FILE && streq(n->name, "index.json"))
			r = index_read(t, n->size, &index, e);
	}
	if (r >= 0)
		r = more;
	/* Last, so that what it names is there. An archive that was cut off has none. */
	return r >= 0 && index.len ? index_put(c, &index, e) : r;
}

/* ---- from the store to an archive ---- */

typedef struct Reading {
	Content *c;
	TarWriter *w;  /* the archive; or, where it is NULL: */
	int dir, file; /* a directory, and the file of it that is being written */
	char **written;
	int64_t left; /* bytes that may still come */
} Reading;

/* Where what follows goes. */
static int put_header(Reading *x, const char *name, int64_t size, Err *e)
{
	const TarEntry n = {.type = TAR_FILE, .name = (char *)(uintptr_t)name, .mode = 0644, .size = size};

	if (x->w)
		return tar_write_header(x->w, &n, e);
	close_fd(&x->file);
	x->file = openat(x->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return x->file < 0 ? err_sys(e, errno, "copy an image layout") : 0;
}

static int put_data(Reading *x, const void *data, size_t len, Err *e)
{
	int r;

	if (x->w)
		return tar_write_data(x->w, data, len, e);
	r = fd_write_all(x->file, data, len);
	return r < 0 ? err_sys(e, r, "copy an image layout") : 0;
}

/* Exactly size bytes, to where they go, and into `to` unless that is NULL. */
static int blob_get(Reading *x, const char *digest, int64_t size, StrBuf *to, Err *e)
{
	Content__ReadRequest rq = CONTENT__READ_REQUEST__INIT;
	Content__ReadResponse *m;
	GrpcCall *call;
	int64_t got = 0;
	int r = call_begin(x->c, READ_PATH, &call, e);

	if (r < 0)
		return r;
	rq.digest = (char *)digest;
	r = grpc_send_message(call, &rq.base, e);
	if (r >= 0)
		r = grpc_send_end(call, e);
	while (r >= 0 && (r = grpc_receive_message(call, &content__read_response__descriptor,
						   (ProtobufCMessage **)&m, e)) > 0) {
		got += (int64_t)m->data.len;
		if (got > size)
			r = err_new(e, ERR_INVALID, "%s has more than the %lld bytes that it should have",
				    digest, (long long)size);
		if (r >= 0 && to)
			strbuf_add_n(to, m->data.data, m->data.len);
		if (r >= 0)
			r = put_data(x, m->data.data, m->data.len, e);
		protobuf_c_message_free_unpacked(&m->base, NULL);
	}
	job_call_drop(x->c->job, call);
	if (r >= 0 && to && to->oom)
		r = err_oom(e);
	return r >= 0 && got != size ? err_new(e, ERR_INVALID, "%s has %lld bytes, expected %lld", digest,
					       (long long)got, (long long)size)
				     : r;
}

static int put_text(Reading *x, const char *name, const char *text, size_t len, Err *e)
{
	int r = put_header(x, name, (int64_t)len, e);

	return r < 0 ? r : put_data(x, text, len, e);
}

static int blob_copy(Reading *x, const ImageDescriptor *d, StrBuf *to, Err *e)
{
	_cleanup_free_ char *name = NULL;
	int r;

	if (!digest_is_valid(d->digest) || d->size < 0 || d->size > x->left)
		return err_new(e, ERR_INVALID, "a blob of the client's has no valid digest, or is too large");
	if (strv_has(x->written, d->digest))
		return 0;
	x->left -= d->size;
	name = strf(BLOBS "%s", digest_hex(d->digest));
	if (!name || strv_add(&x->written, d->digest) < 0)
		return err_oom(e);
	r = put_header(x, name, d->size, e);
	return r < 0 ? r : blob_get(x, d->digest, d->size, to, e);
}

static int check_digest(const StrBuf *text, const char *digest, Err *e)
{
	char is[DIGEST_LEN + 1];

	digest_of(text->s ?: "", text->len, is);
	return streq(is, digest)
		   ? 0
		   : err_new(e, ERR_INVALID, "digest mismatch: expected %s, got %s", digest, is);
}

/* What a document names, which is an image's manifest, or an index of such. */
static int document_follow(Reading *x, const StrBuf *text, int depth, Err *e);

static int document_copy(Reading *x, const ImageDescriptor *d, int depth, Err *e)
{
	_cleanup_strbuf_ StrBuf text = {0};
	int r = d->size > IMAGE_DOCUMENT_MAX ? err_new(e, ERR_INVALID, "a manifest is too large")
					     : blob_copy(x, d, &text, e);

	if (r < 0 || !text.len)
		return r;
	r = check_digest(&text, d->digest, e);
	return r < 0 ? r : document_follow(x, &text, depth, e);
}

static int manifest_follow(Reading *x, const json_t *doc, Err *e)
{
	_cleanup_(image_manifest_done) ImageManifest manifest = {0};
	int r = image_manifest_decode(doc, &manifest, e);

	if (r >= 0)
		r = blob_copy(x, &manifest.config, NULL, e);
	for (size_t i = 0; r >= 0 && i < manifest.n_layers; i++)
		r = blob_copy(x, &manifest.layers[i], NULL, e);
	return r;
}

static int index_follow(Reading *x, const json_t *doc, int depth, Err *e)
{
	_cleanup_(image_index_done) ImageIndex index = {0};
	int r = depth == DEPTH_MAX ? err_new(e, ERR_INVALID, "indexes nested more than %d deep", DEPTH_MAX)
				   : image_index_decode(doc, &index, e);

	for (size_t i = 0; r >= 0 && i < index.n_manifests; i++)
		r = document_copy(x, &index.manifests[i], depth + 1, e);
	return r;
}

static int document_follow(Reading *x, const StrBuf *text, int depth, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	ImageDocumentKind kind;
	int r = json_parse_bounded(text->s ?: "", text->len, "manifest or index", &doc, e);

	if (r >= 0)
		r = image_document_kind(doc, NULL, &kind, e);
	if (r < 0)
		return r;
	return kind == IMAGE_DOC_MANIFEST ? manifest_follow(x, doc, e) : index_follow(x, doc, depth, e);
}

/* The first document: how large it is only its end tells. */
static int index_get(Reading *x, StrBuf *text, Err *e)
{
	Content__ReadRequest rq = CONTENT__READ_REQUEST__INIT;
	Content__ReadResponse *m;
	GrpcCall *call;
	int r = call_begin(x->c, READ_PATH, &call, e);

	if (r < 0)
		return r;
	rq.digest = x->c->digest;
	r = grpc_send_message(call, &rq.base, e);
	if (r >= 0)
		r = grpc_send_end(call, e);
	while (r >= 0 && (r = grpc_receive_message(call, &content__read_response__descriptor,
						   (ProtobufCMessage **)&m, e)) > 0) {
		if (m->data.len > INDEX_MAX - text->len)
			r = err_new(e, ERR_INVALID, "%.80s is too large", x->c->digest);
		else
			strbuf_add_n(text, m->data.data, m->data.len);
		protobuf_c_message_free_unpacked(&m->base, NULL);
	}
	job_call_drop(x->c->job, call);
	if (r >= 0 && text->oom)
		r = err_oom(e);
	return r < 0 ? r : check_digest(text, x->c->digest, e);
}

static int get_blobs(Reading *x, Err *e)
{
	static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	_cleanup_strbuf_ StrBuf text = {0};
	int r = index_get(x, &text, e);

	if (r >= 0)
		r = put_text(x, "oci-layout", layout, strlen(layout), e);
	if (r >= 0)
		r = put_text(x, "index.json", text.s, text.len, e);
	if (r >= 0)
		r = document_follow(x, &text, 0, e);
	return r < 0 ? r : tar_writer_end(x->w, e);
}

static int get_all(Content *c, Err *e)
{
	_cleanup_(tar_writer_freep) TarWriter *w = NULL;
	Reading x = {.c = c,
		     .dir = -1,
		     .file = -1,
		     .left = store_layer_limits(engine_store(c->job->door->engine)).bytes};
	int r = tar_writer_new(c->fd, NULL, &w, e);

	x.w = w;
	if (r >= 0)
		r = get_blobs(&x, e);
	strv_free(x.written);
	return r;
}

/* ---- for a build ---- */

static void *work(void *arg)
{
	Content *c = arg;

	c->r = c->write ? put_all(c, &c->err) : get_all(c, &c->err);
	close_fd(&c->fd);
	return NULL;
}

static void content_free(Content *c)
{
	close_fd(&c->fd);
	free(c->dir);
	free(c->store);
	free(c->digest);
	free(c);
}

static const char *digest_of_import(const ClientState *s, const char *dir)
{
	for (char *const *p = s->imports; p && p[0] && p[1]; p += 2)
		if (streq(p[0], dir))
			return p[1];
	return "";
}

static bool is_ignored(const Job *j, const char *dir)
{
	_cleanup_free_ char *dest = strf("dest=%s", dir);

	for (char *const *t = j->cache_to; dest && t && *t; t++) {
		_cleanup_strv_ char **fields = strv_split(*t, ',');

		if (fields && strv_has(fields, dest))
			return strv_has(fields, "ignore-error=true");
	}
	return false;
}

static int start(ClientState *s, Content *c, int *ret_fd, Err *e)
{
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe for the cache");
	c->fd = ends[!c->write];
	r = pthread_create(&c->thread, NULL, work, c);
	if (r != 0) {
		close_fd(&ends[c->write]);
		return err_sys(e, r, "start a thread for the cache");
	}
	*ret_fd = ends[c->write];
	pthread_mutex_lock(&s->lock);
	c->next = s->contents;
	s->contents = c;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

int content_file(void *user, const char *dir, const char *name _unused_, bool write, int *ret_fd, Err *e)
{
	ClientState *s = user;
	Content *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_oom(e);
	*c = (Content){.job = s->job, .fd = -1, .write = write, .ignore_error = is_ignored(s->job, dir)};
	c->dir = strdup(dir);
	c->store = strf("local:%s", dir);
	c->digest = strdup(digest_of_import(s, dir));
	r = c->dir && c->store && c->digest ? job_session(s->job, &c->session, e) : err_oom(e);
	if (r >= 0 && !session_offers(c->session, write ? WRITE_PATH : READ_PATH))
		r = err_new(e, ERR_UNSUPPORTED, "cache type=local: this client brings no directories for it");
	if (r >= 0 && !write && !digest_is_valid(c->digest))
		r = err_new(e, ERR_NOT_FOUND, "cache type=local: the client has no cache in %.300s", dir);
	if (r >= 0)
		r = start(s, c, ret_fd, e);
	if (r < 0)
		content_free(c);
	return r;
}

int content_finish(ClientState *s, int r, Err *e)
{
	Content *c;

	while ((c = s->contents)) {
		s->contents = c->next;
		pthread_join(c->thread, NULL);
		/* Where one end fails the other one only sees a pipe that breaks. */
		if (c->r < 0 && c->write && (r < 0 || !c->ignore_error)) {
			*e = c->err;
			r = err_ctx(e, c->r, "export the cache to %s", c->dir);
		} else if (c->r < 0) {
			_cleanup_free_ char *text = strf("cache %s: %s", c->dir, err_msg(&c->err, c->r));

			if (text)
				status_warn(s->job, text);
		}
		content_free(c);
	}
	return r;
}

/* ---- an image layout ---- */

static int layout_fetch(Reading *x, Err *e)
{
	_cleanup_strbuf_ StrBuf text = {0};
	_cleanup_free_ char *name = strf(BLOBS "%s", digest_hex(x->c->digest));
	int r = name ? index_get(x, &text, e) : err_oom(e);

	if (r >= 0 && (mkdirat(x->dir, "blobs", 0700) < 0 || mkdirat(x->dir, "blobs/sha256", 0700) < 0))
		r = err_sys(e, errno, "copy an image layout");
	if (r >= 0)
		r = strv_add(&x->written, x->c->digest) < 0 ? err_oom(e)
							    : put_text(x, name, text.s, text.len, e);
	return r < 0 ? r : document_follow(x, &text, 0, e);
}

int content_layout(ClientState *s, const char *name, const char *digest, int dir, Err *e)
{
	_cleanup_free_ char *store = strf("oci:%s", name);
	Content *c = calloc(1, sizeof(*c));
	Reading x = {.c = c,
		     .dir = dir,
		     .file = -1,
		     .left = store_layer_limits(engine_store(s->job->door->engine)).bytes};
	int r = c && store ? job_session(s->job, &c->session, e) : err_oom(e);

	if (r >= 0 && !session_offers(c->session, READ_PATH))
		r = err_new(e, ERR_NOT_FOUND, "the client offers no image layouts");
	if (r >= 0 && !digest_is_valid(digest))
		r = err_new(e, ERR_INVALID, "oci-layout: \"%.100s\" is no digest", digest);
	if (r >= 0) {
		c->job = s->job;
		c->store = store;
		c->digest = (char *)(uintptr_t)digest;
		r = layout_fetch(&x, e);
	}
	close_fd(&x.file);
	strv_free(x.written);
	free(c);
	return r;
}
