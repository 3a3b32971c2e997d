/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a reference to the manifest of one platform, and to its config.
 *
 * Bytes are what a digest names: they are hashed here and compared with the digest that was asked for, with the
 * one in the index and with what the registry says in Docker-Content-Digest, before anything in them is looked at. An
 * index may hold one more index (some builders nest them by architecture), no deeper.
 */
#include "registry/registry-internal.h"
#include "base/str.h"

#define ACCEPT MEDIA_OCI_INDEX ", " MEDIA_OCI_MANIFEST ", " MEDIA_DOCKER_LIST ", " MEDIA_DOCKER_MANIFEST

void resolved_done(Resolved *r)
{
	free(r->text);
	image_manifest_done(&r->manifest);
	for (size_t i = 0; i < r->n_indexes; i++)
		document_done(&r->indexes[i]);
	*r = (Resolved){0};
}

int manifest_head(Session *s, HttpClient *c, const char *tag_or_digest, char ret[DIGEST_LEN + 1], Err *e)
{
	_cleanup_free_ char *what = strf("manifests/%s", tag_or_digest);
	HttpRequest q = {.method = "HEAD", .accept = ACCEPT};
	_cleanup_(http_reply_done) HttpReply reply = {0};

	if (!what)
		return err_oom(e);
	int r = session_do_patiently(s, c, what, &q, &reply, e);
	if (r < 0)
		return r;
	if (reply.status != 200 || !digest_is_valid(reply.digest))
		return 0;
	memcpy(ret, reply.digest, DIGEST_LEN + 1);
	return 1;
}

void document_done(Document *d)
{
	free(d->media_type);
	free(d->text);
	json_decref(d->json);
	*d = (Document){0};
}

/* want: the digest that the bytes must have, or NULL when asking by tag. size: -1 unless an index told it. */
static int check_bytes(const HttpReply *reply, const char *want, int64_t size, const char *digest, Err *e)
{
	if (size >= 0 && (int64_t)reply->len != size)
		return err_new(e, ERR_INVALID, "manifest %s has %zu bytes, the index says %lld", want,
			       reply->len, (long long)size);
	if (want && !streq(want, digest))
		return err_new(e, ERR_INVALID, "manifest digest mismatch: expected %s, got %s", want, digest);
	if (digest_is_valid(reply->digest) && !streq(reply->digest, digest))
		return err_new(e, ERR_INVALID,
			       "manifest digest mismatch: the registry says %s, its bytes have %s",
			       reply->digest, digest);
	return 0;
}

int document_fetch(Session *s, HttpClient *c, const char *name, const char *want, int64_t size, Document *ret,
		   Err *e)
{
	_cleanup_free_ char *what = strf("manifests/%s", name);
	HttpRequest q = {.method = "GET", .accept = ACCEPT, .max_body = IMAGE_DOCUMENT_MAX};
	_cleanup_(http_reply_done) HttpReply reply = {0};

	if (!what)
		return err_oom(e);
	int r = session_do_patiently(s, c, what, &q, &reply, e);
	if (r < 0)
		return r;
	if (reply.status != 200)
		return session_refusal(s, "manifest", &reply, e);
	digest_of(reply.body, reply.len, ret->digest);
	r = check_bytes(&reply, want, size, ret->digest, e);
	if (r == 0)
		r = json_parse_bounded(reply.body, reply.len, "manifest", &ret->json, e);
	if (r == 0)
		r = image_document_kind(ret->json, reply.content_type, &ret->kind, e);
	if (r < 0)
		return r;
	ret->len = reply.len;
	ret->text = take_ptr(reply.body);
	ret->media_type = take_ptr(reply.content_type);
	return 0;
}

const char *document_media_type(const Document *d)
{
	const char *own = json_get_str(d->json, "mediaType");

	if (!str_empty(own))
		return own;
	if (d->media_type && str_starts(d->media_type, "application/vnd."))
		return d->media_type;
	return d->kind == IMAGE_DOC_INDEX ? MEDIA_OCI_INDEX : MEDIA_OCI_MANIFEST;
}

static int choose(const Document *d, const ImagePlatform *want, ImageDescriptor *ret, Err *e)
{
	ImageIndex index = {0};
	int r = image_index_decode(d->json, &index, e);

	if (r < 0)
		return r;
	const ImageDescriptor *found = image_index_select(&index, want);
	if (found) {
		*ret = *found;
		memset((void *)found, 0, sizeof(*found)); /* taken over */
	} else {
		_cleanup_free_ char *text = image_platform_text(want);

		r = err_new(e, ERR_NOT_FOUND, "no matching manifest for %s in the manifest list entries",
			    text ? text : "?");
	}
	image_index_done(&index);
	return r;
}

/* Puts the index in d aside and the entry for the platform in its place. */
static int descend(Session *s, HttpClient *c, const ImagePlatform *want, Document *d, Resolved *ret, Err *e)
{
	ImageDescriptor entry = {0};
	Document next = {0};
	int r = choose(d, want, &entry, e);

	if (r == 0)
		r = document_fetch(s, c, entry.digest, entry.digest, entry.size, &next, e);
	image_descriptor_done(&entry);
	if (r < 0) {
		document_done(&next);
		return r;
	}
	ret->indexes[ret->n_indexes++] = *d;
	*d = next;
	return 0;
}

int manifest_resolve(Session *s, HttpClient *c, const ImagePlatform *want, Resolved *ret, Err *e)
{
	const Reference *ref = s->pull->reference;
	const char *name = ref->digest ? ref->digest : ref->tag;
	_cleanup_(document_done) Document d = {0};
	int r = document_fetch(s, c, name, ref->digest, -1, &d, e);

	if (r < 0)
		return r;
	memcpy(ret->digest, d.digest, sizeof(ret->digest));
	for (int depth = 0; d.kind == IMAGE_DOC_INDEX; depth++) {
		if (depth == INDEX_DEPTH_MAX)
			return err_new(e, ERR_INVALID, "%s: indexes nested more than %d deep", ret->digest,
				       INDEX_DEPTH_MAX);
		r = descend(s, c, want, &d, ret, e);
		if (r < 0)
			return r;
	}
	r = image_manifest_decode(d.json, &ret->manifest, e);
	if (r < 0)
		return err_ctx(e, r, "manifest %s", d.digest);
	memcpy(ret->manifest_digest, d.digest, sizeof(ret->manifest_digest));
	ret->text = take_ptr(d.text);
	ret->len = d.len;
	return 0;
}

int config_fetch(Session *s, HttpClient *c, const ImageDescriptor *d, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_free_ char *what = strf("blobs/%s", d->digest);
	HttpRequest q = {.method = "GET", .max_body = IMAGE_DOCUMENT_MAX};
	_cleanup_(http_reply_done) HttpReply reply = {0};
	char digest[DIGEST_LEN + 1];

	if (!what)
		return err_oom(e);
	int r = session_do_patiently(s, c, what, &q, &reply, e);
	if (r < 0)
		return r;
	if (reply.status != 200)
		return session_refusal(s, "image config", &reply, e);
	digest_of(reply.body, reply.len, digest);
	if (!streq(digest, d->digest))
		return err_new(e, ERR_INVALID, "image config digest mismatch: expected %s, got %s", d->digest,
			       digest);
	if ((int64_t)reply.len != d->size)
		return err_new(e, ERR_INVALID, "image config %s has %zu bytes, the manifest says %lld",
			       d->digest, reply.len, (long long)d->size);
	*ret_len = reply.len;
	*ret = take_ptr(reply.body);
	return 0;
}

int manifest_config(Session *s, HttpClient *c, Store *store, const ImageManifest *m, ImageConfig *ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *doc = NULL;
	char digest[DIGEST_LEN + 1];
	size_t len = 0;
	bool have = store_blob_has(store, m->config.digest);
	int r = have ? store_blob_read(store, m->config.digest, IMAGE_DOCUMENT_MAX, &text, &len, e)
		     : config_fetch(s, c, &m->config, &text, &len, e);

	if (r < 0)
		return r;
	r = json_parse_bounded(text, len, "image config", &doc, e);
	if (r == 0)
		r = image_config_decode(doc, ret, e);
	if (r < 0)
		return r;
	if (strv_len(ret->diff_ids) != m->n_layers)
		r = err_new(e, ERR_INVALID, "image config %s names %zu layers, the manifest has %zu",
			    m->config.digest, strv_len(ret->diff_ids), m->n_layers);
	else if (!have)
		r = store_blob_put(store, text, len, digest, e);
	if (r < 0)
		image_config_done(ret);
	return r;
}
