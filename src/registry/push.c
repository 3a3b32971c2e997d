/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `docker push`: an image of the store, under its tags, to a repository.
 *
 * An image goes out as it came: if the store has the manifest that it was pulled, loaded or pushed with, and every layer can be
 * had with the digest in there, the very same bytes are sent and the digest stays the same. Otherwise a manifest is made of
 * the blobs that layers came from and of layers that are compressed on the way (push-blobs.c). What was pushed becomes the
 * image's manifest, so that the next push of it sends nothing. An image that came by an index goes out with it, under the
 * index's digest, if all of the index is here.
 *
 * The first request asks what the tag means now; it finds out the scheme and signs in, and if it means this manifest
 * already, the last one, which would put it there, is left out. The manifest comes after all blobs, and with it the tag.
 */
#include "registry/push.h"
#include "base/str.h"

#define MOUNT_SCOPES_MAX 4
#define PLAIN_DOCKER     "application/vnd.docker.image.rootfs.diff.tar"

typedef struct Push {
	Registry *registry;
	Store *store;
	const RegistryPush *p;
	Session *session;
	HttpClient *client;
	bool connected; /* the session knows its scheme */
} Push;

/* One image of it. */
typedef struct Plan {
	char id[DIGEST_LEN + 1];
	ImageConfig config;
	char *text; /* of the manifest that it came with; NULL: none that can be used */
	size_t len;
	char digest[DIGEST_LEN + 1]; /* of text */
	ImageManifest manifest;
	PushBlob *blobs; /* layers, then the config */
	size_t n;
	char **scopes;
	bool artifact;
} Plan;

static void plan_done(Plan *l)
{
	for (size_t i = 0; l->blobs && i < l->n; i++)
		strv_free(l->blobs[i].from);
	free(l->blobs);
	image_config_done(&l->config);
	image_manifest_done(&l->manifest);
	strv_free(l->scopes);
	free(l->text);
}

static void say(const Push *x, const char *fmt, ...) _printf_(2, 3);
static void say(const Push *x, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	if (!x->p->progress)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	x->p->progress(x->p->user, NULL, text, 0, 0);
}

/* ---- what there is ---- */

static bool is_plain(const char *type)
{
	return streq0(type, MEDIA_OCI_LAYER) || streq0(type, PLAIN_DOCKER);
}

static LayerForm form_of(const char *type)
{
	return type && strstr(type, "zstd") ? LAYER_ZSTD : LAYER_GZIP;
}

static bool is_foreign(const ImageDescriptor *d)
{
	return d->media_type &&
	       (strstr(d->media_type, ".foreign.") || strstr(d->media_type, ".nondistributable."));
}

/* An archive may hold uncompressed layers, which nobody wants to have pushed as they are; a registry's manifest is kept. */
static bool is_from_registry(const StoreImage *i)
{
	return strv_len(i->digests) > 0;
}

static bool manifest_fits(const Push *x, const Plan *l, const StoreImage *i)
{
	const ImageManifest *m = &l->manifest;

	if (!streq(m->config.digest, l->id) || m->n_layers != strv_len(l->config.diff_ids))
		return false;
	for (size_t k = 0; k < m->n_layers; k++) {
		const char *type = m->layers[k].media_type;

		if (is_plain(type) && !is_from_registry(i))
			return false;
		if (x->p->convert && (is_plain(type) || form_of(type) != x->p->form))
			return false;
	}
	return true;
}

/* The manifest that the image came with, if there is one and it will do. */
static void load_manifest(const Push *x, Plan *l, const StoreImage *i)
{
	_cleanup_json_ json_t *doc = NULL;

	if (!i->manifest_digest ||
	    store_blob_read(x->store, i->manifest_digest, IMAGE_DOCUMENT_MAX, &l->text, &l->len, NULL) < 0)
		return;
	if (json_parse(l->text, l->len, "manifest", &doc, NULL) < 0 ||
	    image_manifest_decode(doc, &l->manifest, NULL) < 0 || !manifest_fits(x, l, i)) {
		image_manifest_done(&l->manifest);
		free(take_ptr(l->text));
		return;
	}
	snprintf(l->digest, sizeof(l->digest), "%s", i->manifest_digest);
}

/* What a layer without a manifest is known to be compressed to, in a form that is wanted. */
static int find_blob(const Push *x, PushBlob *b, Err *e)
{
	LayerBlob found;
	int r = store_layer_blob(x->store, b->chain, &found, e);

	if (r > 0 && x->p->convert && found.form != x->p->form)
		r = 0;
	if (r == 0)
		r = store_layer_form(x->store, b->chain, x->p->form, &found, e);
	if (r <= 0)
		return r;
	memcpy(b->digest, found.digest, sizeof(b->digest));
	b->size = found.size;
	b->form = found.form;
	b->known = true;
	return 0;
}

static void take_descriptor(PushBlob *b, const ImageDescriptor *d)
{
	b->d = d;
	b->foreign = is_foreign(d);
	b->known = true;
	memcpy(b->digest, d->digest, sizeof(b->digest));
	b->size = d->size;
	b->plain = is_plain(d->media_type);
	b->form = form_of(d->media_type);
}

/* Other repositories of the registry that had the blob. One that this repository had is not looked for elsewhere. */
static int find_places(const Push *x, Plan *l, PushBlob *b, Err *e)
{
	const Reference *ref = x->p->repository;
	int r = store_blob_places(x->store, b->digest, ref->domain, &b->from, e);

	if (r < 0)
		return r;
	if (strv_has(b->from, ref->path)) {
		strv_free(take_ptr(b->from));
		return 0;
	}
	for (char **f = b->from; f && *f; f++) {
		_cleanup_free_ char *scope = strf("repository:%s:pull", *f);

		if (!scope || (strv_len(l->scopes) < MOUNT_SCOPES_MAX && !strv_has(l->scopes, scope) &&
			       strv_add(&l->scopes, scope) < 0))
			return err_oom(e);
	}
	return 0;
}

static void find_same(const Plan *l, PushBlob *b, size_t i)
{
	for (size_t k = 0; k < i && !b->same; k++)
		if (streq(l->config.diff_ids[k], l->config.diff_ids[i]) && !l->blobs[k].same &&
		    (!b->d || streq(b->digest, l->blobs[k].digest)))
			b->same = &l->blobs[k];
}

static int plan_layer(const Push *x, Plan *l, size_t i, const char *below, Err *e)
{
	PushBlob *b = &l->blobs[i];
	const char *diff_id = l->config.diff_ids[i];
	int r = 0;

	chain_id_next(below, diff_id, b->chain);
	memcpy(b->id, digest_hex(diff_id), 12);
	if (store_layer_size(x->store, b->chain, &b->layer_size, NULL) < 0)
		b->layer_size = 0;
	if (l->text)
		take_descriptor(b, &l->manifest.layers[i]);
	else
		r = find_blob(x, b, e);
	if (r == 0)
		find_same(l, b, i);
	return r == 0 && b->known && !b->foreign && !b->same ? find_places(x, l, b, e) : r;
}

static int plan_config(const Push *x, Plan *l, Err *e)
{
	PushBlob *b = &l->blobs[l->n - 1];
	_cleanup_close_ int fd = store_blob_open(x->store, l->id, &b->size, e);

	if (fd < 0)
		return fd;
	memcpy(b->digest, l->id, sizeof(b->digest));
	b->known = b->plain = true;
	return 0;
}

static int plan_blob(const Push *x, Plan *l, PushBlob *b, const ImageDescriptor *d, Err *e)
{
	take_descriptor(b, d);
	b->foreign = strv_len(d->urls) > 0;
	memcpy(b->id, digest_hex(d->digest), 12);
	return b->foreign ? 0 : find_places(x, l, b, e);
}

/* An artifact goes out as it came: its blobs, and the bytes of its manifest, which is its id. */
static int plan_artifact(const Push *x, Plan *l, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = store_blob_read(x->store, l->id, IMAGE_DOCUMENT_MAX, &l->text, &l->len, e);

	if (r == 0)
		r = json_parse(l->text, l->len, "manifest", &doc, e);
	if (r == 0)
		r = image_manifest_decode(doc, &l->manifest, e);
	if (r < 0)
		return r;
	memcpy(l->digest, l->id, sizeof(l->digest));
	l->artifact = true;
	l->n = l->manifest.n_layers + 1;
	l->blobs = calloc(l->n, sizeof(*l->blobs));
	if (!l->blobs)
		return err_oom(e);
	for (size_t i = 0; r == 0 && i + 1 < l->n; i++)
		r = plan_blob(x, l, &l->blobs[i], &l->manifest.layers[i], e);
	return r == 0 ? plan_blob(x, l, &l->blobs[l->n - 1], &l->manifest.config, e) : r;
}

static int make_plan(const Push *x, const char *image_id, Plan *l, Err *e)
{
	_cleanup_(store_image_done) StoreImage image = {0};
	int r = store_image_get(x->store, image_id, &image, e);

	if (r < 0)
		return r;
	snprintf(l->id, sizeof(l->id), "%s", image.id);
	if (image.artifact_type)
		return plan_artifact(x, l, e);
	r = store_image_config(x->store, image_id, &l->config, e);
	if (r < 0)
		return r;
	for (char **d = l->config.diff_ids; d && *d; d++)
		if (!digest_is_valid(*d))
			return err_new(e, ERR_INVALID, "image %s: invalid diff id %.100s", l->id, *d);
	l->n = strv_len(l->config.diff_ids) + 1;
	l->blobs = calloc(l->n, sizeof(*l->blobs));
	if (!l->blobs)
		return err_oom(e);
	load_manifest(x, l, &image);
	for (size_t i = 0; r == 0 && i + 1 < l->n; i++)
		r = plan_layer(x, l, i, i > 0 ? l->blobs[i - 1].chain : NULL, e);
	return r == 0 ? plan_config(x, l, e) : r;
}

/* ---- the manifest ---- */

/* The manifest that came with the image, if what was sent is what it says. */
static bool is_verbatim(const Plan *l)
{
	if (!l->text)
		return false;
	for (size_t i = 0; i + 1 < l->n; i++)
		if (!streq(l->blobs[i].digest, l->manifest.layers[i].digest))
			return false;
	return true;
}

static const char *layer_type(const PushBlob *b, bool docker)
{
	if (b->plain)
		return docker ? PLAIN_DOCKER : MEDIA_OCI_LAYER;
	if (b->form == LAYER_ZSTD)
		return MEDIA_OCI_LAYER_ZSTD;
	return docker ? MEDIA_DOCKER_LAYER : MEDIA_OCI_LAYER_GZIP;
}

static ImageDescriptor describe(const PushBlob *b, const char *type)
{
	if (b->foreign)
		return *b->d;
	return (ImageDescriptor){.media_type = (char *)type,
				 .digest = (char *)(uintptr_t)b->digest,
				 .size = b->size};
}

/* Of what was sent. In OCI's types; Docker's are for registries that know no others. */
static int make_manifest(Plan *l, bool docker, Err *e)
{
	_cleanup_free_ ImageDescriptor *layers = calloc(l->n, sizeof(*layers));
	ImageManifest m = {.media_type = (char *)(docker ? MEDIA_DOCKER_MANIFEST : MEDIA_OCI_MANIFEST),
			   .layers = layers,
			   .n_layers = l->n - 1};

	if (!layers)
		return err_oom(e);
	m.config = describe(&l->blobs[l->n - 1], docker ? MEDIA_DOCKER_CONFIG : MEDIA_OCI_CONFIG);
	for (size_t i = 0; i < m.n_layers; i++)
		layers[i] = describe(&l->blobs[i], layer_type(&l->blobs[i], docker));
	_cleanup_json_ json_t *doc = image_manifest_encode(&m);
	char *text = doc ? json_text(doc) : NULL;
	if (!text)
		return err_oom(e);
	free(l->text);
	l->text = text;
	l->len = strlen(text);
	digest_of(text, l->len, l->digest);
	return 0;
}

static bool has_zstd(const Plan *l)
{
	for (size_t i = 0; i + 1 < l->n; i++)
		if (l->blobs[i].form == LAYER_ZSTD)
			return true;
	return false;
}

static const char *manifest_type(const Plan *l)
{
	return str_empty(l->manifest.media_type) ? MEDIA_OCI_MANIFEST : l->manifest.media_type;
}

static Outgoing outgoing(const Plan *l, const char *type)
{
	return (Outgoing){.text = l->text, .digest = l->digest, .type = type, .len = l->len};
}

static int send_manifest(const Push *x, Plan *l, const char *tag, const char *there, Err *e)
{
	bool verbatim = is_verbatim(l);
	int r = verbatim ? 0 : make_manifest(l, false, e);

	if (r < 0)
		return r;
	if (streq(there, l->digest))
		return 0;
	Outgoing o = outgoing(l, verbatim ? manifest_type(l) : MEDIA_OCI_MANIFEST);
	r = push_manifest(x->session, x->client, &o, tag, e);
	if (r != 1)
		return r;
	if (verbatim || has_zstd(l))
		return -EINVAL; /* with the registry's words */
	r = make_manifest(l, true, e);
	if (r == 0) {
		o = outgoing(l, MEDIA_DOCKER_MANIFEST);
		r = push_manifest(x->session, x->client, &o, tag, e);
	}
	return r == 1 ? -EINVAL : r;
}

/* ---- what is remembered ---- */

static int note_places(const Push *x, const Plan *l, Err *e)
{
	const Reference *ref = x->p->repository;
	_cleanup_strv_ char **digests = NULL;

	for (size_t i = 0; i + 1 < l->n; i++)
		if (!l->blobs[i].foreign && strv_add(&digests, l->blobs[i].digest) < 0)
			return err_oom(e);
	return store_blobs_seen(x->store, ref->domain, ref->path, digests, e);
}

/* The image is known by what the registry calls it from now on. One that was converted on its way stays what it is here. */
static int record(const Push *x, const Plan *l, Err *e)
{
	const Reference *ref = x->p->repository;
	_cleanup_free_ char *name = strf("%s/%s@%s", ref->domain, ref->path, l->digest);
	char digest[DIGEST_LEN + 1];
	int r = name ? note_places(x, l, e) : err_oom(e);

	if (r == 0 && !x->p->convert && !l->artifact) {
		r = store_blob_put(x->store, l->text, l->len, digest, e);
		if (r == 0)
			r = store_image_put(x->store, l->id, l->digest, NULL, e);
	}
	return r == 0 ? store_tag_put(x->store, name, l->id, NULL, e) : r;
}

/* What was compressed for this push only. */
static int release(const Push *x, const Plan *l, Err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->n; i++)
		if (l->blobs[i].packed)
			r = store_blob_release(x->store, l->blobs[i].digest, e);
	return r;
}

/* ---- one tag ---- */

static int send_blobs(const Push *x, Plan *l, Err *e)
{
	PushImage a = {.session = x->session, .store = x->store, .p = x->p, .blobs = l->blobs, .n = l->n};

	for (size_t i = 0; i < l->n; i++)
		l->blobs[i].all = &a;
	pthread_mutex_init(&a.lock, NULL);
	pthread_cond_init(&a.changed, NULL);
	int r = push_blobs(&a, x->client, e);
	pthread_cond_destroy(&a.changed);
	pthread_mutex_destroy(&a.lock);
	return r;
}

static void tell(const Push *x, const char *tag, const char *digest, size_t len)
{
	say(x, "%s: digest: %s size: %zu", tag, digest, len);
	if (x->p->pushed)
		x->p->pushed(x->p->user, tag, digest, (int64_t)len);
}

static int push_planned(Push *x, const RegistryPushTag *t, Plan *l, Err *e)
{
	char there[DIGEST_LEN + 1] = "";
	int r = 0;

	x->session->scopes = l->scopes;
	if (l->text || !x->connected)
		r = manifest_head(x->session, x->client, t->tag, there, e);
	if (r < 0)
		return r;
	x->connected = true;
	r = send_blobs(x, l, e);
	if (r == 0)
		r = send_manifest(x, l, t->tag, there, e);
	if (r == 0)
		r = record(x, l, e);
	if (r < 0)
		return r;
	tell(x, t->tag, l->digest, l->len);
	return 0;
}

static int push_image(Push *x, const RegistryPushTag *t, Err *e)
{
	Plan l = {0};
	int r = make_plan(x, t->image_id, &l, e);

	if (r == 0) {
		r = push_planned(x, t, &l, e);
		int released = release(x, &l, r < 0 ? NULL : e);
		r = r < 0 ? r : released;
	}
	x->session->scopes = NULL;
	plan_done(&l);
	return r;
}

/* ---- an index, with all that is in it */

/* One image of it, under its digest. there: what the tag means now; the first one asks. 1: it cannot be sent as it was. */
static int push_part(Push *x, const PushIndex *ix, const char *image_id, const char *tag, bool first,
		     char there[DIGEST_LEN + 1], Err *e)
{
	Plan l = {0};
	int r = make_plan(x, image_id, &l, e), released;

	x->session->scopes = l.scopes;
	if (r == 0 && first)
		r = manifest_head(x->session, x->client, tag, there, e);
	if (r >= 0) {
		x->connected = true;
		r = send_blobs(x, &l, e);
	}
	if (r == 0 && !is_verbatim(&l))
		r = 1;
	if (r == 0 && !streq(there, ix->digest)) {
		const Outgoing o = outgoing(&l, manifest_type(&l));

		r = push_manifest(x->session, x->client, &o, l.digest, e);
	}
	if (r == 0)
		r = note_places(x, &l, e);
	released = release(x, &l, r < 0 ? NULL : e);
	x->session->scopes = NULL;
	plan_done(&l);
	return r != 0 ? r : released;
}

static int push_index(Push *x, const RegistryPushTag *t, const PushIndex *ix, Err *e)
{
	const Reference *ref = x->p->repository;
	_cleanup_free_ char *name = strf("%s/%s@%s", ref->domain, ref->path, ix->digest);
	const Outgoing o = {ix->text, ix->digest,
			    str_empty(ix->index.media_type) ? MEDIA_OCI_INDEX : ix->index.media_type,
			    ix->len};
	char there[DIGEST_LEN + 1] = "";
	int r = name ? 0 : err_oom(e);

	for (char **id = ix->ids; r == 0 && id && *id; id++)
		r = push_part(x, ix, *id, t->tag, id == ix->ids, there, e);
	if (r == 0 && !streq(there, ix->digest))
		r = push_manifest(x->session, x->client, &o, t->tag, e);
	if (r == 0)
		r = store_tag_put(x->store, name, t->image_id, NULL, e);
	if (r == 0)
		tell(x, t->tag, ix->digest, ix->len);
	return r;
}

static int push_tag(Push *x, const RegistryPushTag *t, Err *e)
{
	_cleanup_(push_index_done) PushIndex ix = {0};
	int r = x->p->convert || x->p->single ? 0 : push_index_find(x->store, t->image_id, &ix, e);

	if (r < 0)
		return r;
	if (ix.complete) {
		r = push_index(x, t, &ix, e);
		if (r != 1)
			return r;
	}
	r = push_image(x, t, e);
	if (r == 0 && *ix.digest)
		say(x,
		    "Not all of the index %s is here: only the image of one platform was pushed, under its "
		    "own "
		    "digest",
		    ix.digest);
	return r;
}

static int push_to(Push *x, const Endpoint *ep, Err *e)
{
	const RegistryPush *p = x->p;
	/* A session sees of a push what it sees of a pull: whose name, how to sign in, and whether it is over. */
	const RegistryPull as_pull = {.reference = p->repository,
				      .auth = p->auth,
				      .user = p->user,
				      .cancelled = p->cancelled};
	_cleanup_(http_client_freep) HttpClient *c = NULL;
	Session s;
	int r = registry_client_get(x->registry, &c, e);

	if (r < 0)
		return r;
	session_init(&s, x->registry, ep, &as_pull);
	s.actions = "pull,push";
	x->session = &s;
	x->client = c;
	for (size_t i = 0; r == 0 && i < p->n_tags; i++)
		r = push_tag(x, &p->tags[i], e);
	session_done(&s);
	if (r == 0)
		registry_client_put(x->registry, take_ptr(c));
	return r;
}

int registry_push(Registry *r, Store *s, const RegistryPush *p, Err *e)
{
	Push x = {.registry = r, .store = s, .p = p};
	Endpoint *v = NULL;
	size_t n = 0;
	Err own = {0};
	int rc = registry_endpoints(r, p->repository->domain, &v, &n, &own);

	if (rc == 0) {
		sigset_t before;

		sigpipe_hold(&before);
		/* The last one is the registry itself: to a mirror nobody pushes. */
		rc = push_to(&x, &v[n - 1], &own);
		sigpipe_release(&before);
		registry_endpoints_free(v, n);
	}
	if (rc < 0 && e)
		*e = own;
	return rc;
}
