/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `docker manifest push`: an index of manifests that lie in the registry already.
 *
 * A registry takes an index only if its repository has every manifest in it, and a manifest only if it has every blob. What lies in another
 * repository is brought over from there: the manifest's own bytes, checked against its digest, and its blobs by mounts. The index comes last.
 */
#include "registry/push.h"
#include "base/str.h"

#define SCOPES_MAX 8

typedef struct IndexPut {
	Registry *registry;
	const Endpoint *endpoint;
	const RegistryIndexPut *x;
	Session *session; /* with the repository of the index */
	HttpClient *client;
} IndexPut;

/* A session with another repository sees the same rules, and the same wish to end. */
static int fetch_source(const IndexPut *t, const Reference *source, Document *ret, Err *e)
{
	RegistryPull p = t->x->at;
	Session s;
	int r;

	p.reference = source;
	session_init(&s, t->registry, t->endpoint, &p);
	r = document_fetch(&s, t->client, source->digest, source->digest, -1, ret, e);
	session_done(&s);
	if (r >= 0 && ret->kind == IMAGE_DOC_INDEX)
		r = err_new(e, ERR_INVALID, "%s/%s@%s is a manifest list: a list of lists is not made",
			    source->domain, source->path, source->digest);
	return r;
}

static int bring_blob(const IndexPut *t, const ImageDescriptor *d, const char *from, Err *e)
{
	Upload u = {.session = t->session, .client = t->client};
	int r;

	if (strv_len(d->urls) > 0)
		return 0;
	r = upload_blob_exists(t->session, t->client, d->digest, e);
	if (r == 0) {
		r = upload_mount(&u, d->digest, from, e);
		upload_done(&u);
		if (r == 0)
			r = err_new(e, ERR_UNAVAILABLE,
				    "the registry does not mount the blob %s from %s: push its image to the "
				    "repository of the list first",
				    d->digest, from);
	}
	return MIN2(r, 0);
}

static int bring_blobs(const IndexPut *t, const Document *d, const char *from, Err *e)
{
	ImageManifest m = {0};
	int r = image_manifest_decode(d->json, &m, e);

	if (r >= 0)
		r = bring_blob(t, &m.config, from, e);
	for (size_t i = 0; r >= 0 && i < m.n_layers; i++)
		r = bring_blob(t, &m.layers[i], from, e);
	image_manifest_done(&m);
	return r;
}

/* 1 of push_manifest, with the registry's words. */
static int refused(int r)
{
	return r == 1 ? -EINVAL : r;
}

static int bring(const IndexPut *t, const Reference *source, Err *e)
{
	_cleanup_(document_done) Document d = {0};
	int r;

	if (streq(source->path, t->x->at.reference->path))
		return 0;
	r = fetch_source(t, source, &d, e);
	if (r >= 0)
		r = bring_blobs(t, &d, source->path, e);
	if (r < 0)
		return r;
	const Outgoing o = {d.text, d.digest, document_media_type(&d), d.len};
	return refused(push_manifest(t->session, t->client, &o, d.digest, e));
}

static int make_scopes(const RegistryIndexPut *x, char ***ret, Err *e)
{
	for (size_t i = 0; i < x->n_sources && strv_len(*ret) < SCOPES_MAX; i++) {
		_cleanup_free_ char *scope = strf("repository:%s:pull", x->sources[i].path);

		if (!scope || (!strv_has(*ret, scope) && strv_add(ret, scope) < 0))
			return err_oom(e);
	}
	return 0;
}

static int put_index(const IndexPut *t, Err *e)
{
	const RegistryIndexPut *x = t->x;
	const Outgoing o = {x->text, x->digest, x->media_type, x->len};
	char there[DIGEST_LEN + 1] = "";
	/* The first request of the session: it signs in, and finds out how the registry is spoken to. */
	int r = manifest_head(t->session, t->client, x->at.reference->tag, there, e);

	for (size_t i = 0; r >= 0 && i < x->n_sources; i++)
		r = bring(t, &x->sources[i], e);
	if (r < 0 || streq(there, x->digest))
		return MIN2(r, 0);
	return refused(push_manifest(t->session, t->client, &o, x->at.reference->tag, e));
}

static int put_at(IndexPut *t, Err *e)
{
	_cleanup_(http_client_freep) HttpClient *c = NULL;
	_cleanup_strv_ char **scopes = NULL;
	Session s;
	int r = make_scopes(t->x, &scopes, e);

	if (r >= 0)
		r = registry_client_get(t->registry, &c, e);
	if (r < 0)
		return r;
	session_init(&s, t->registry, t->endpoint, &t->x->at);
	s.actions = "pull,push";
	s.scopes = scopes;
	t->session = &s;
	t->client = c;
	r = put_index(t, e);
	session_done(&s);
	if (r == 0)
		registry_client_put(t->registry, take_ptr(c));
	return r;
}

int registry_index_put(Registry *r, const RegistryIndexPut *x, Err *e)
{
	IndexPut t = {.registry = r, .x = x};
	Endpoint *v = NULL;
	sigset_t before;
	size_t n = 0;
	int rc = registry_endpoints(r, x->at.reference->domain, &v, &n, e);

	if (rc < 0)
		return rc;
	/* The last one is the registry itself: to a mirror nobody pushes. */
	t.endpoint = &v[n - 1];
	sigpipe_hold(&before);
	rc = put_at(&t, e);
	sigpipe_release(&before);
	registry_endpoints_free(v, n);
	return rc;
}
