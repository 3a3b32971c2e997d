/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `docker pull`: from a reference to a tagged image in the store.
 *
 * The endpoints of the domain are asked in turn, mirrors first, until one has all of the image; what a mirror that broke off has
 * brought already is not fetched again. What is told in the end is the registry's own answer, and why each mirror was passed over. An
 * image is recorded only when its config and every layer are in the store, and tagged last, so a pull that
 * stops anywhere leaves nothing that looks whole.
 */
#include "registry/registry-internal.h"
#include "base/str.h"

#define TAG_TRIES 10

typedef struct Pull {
	Registry *registry;
	Store *store;
	const RegistryPull *p;
	ImagePlatform platform;
	char *image_id, *digest; /* the caller's buffers */
} Pull;

static void say(const Pull *x, const char *id, const char *fmt, ...) _printf_(3, 4);
static void say(const Pull *x, const char *id, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	if (!x->p->progress)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	x->p->progress(x->p->user, id, text, 0, 0);
}

static const char *tag_or_digest(const Reference *r)
{
	return r->digest ? r->digest : r->tag;
}

/* "docker.io/library/x@sha256:...": how the store knows which image a repository's digest is. */
static char *digest_reference(const Reference *r, const char *digest)
{
	return strf("%s/%s@%s", r->domain, r->path, digest);
}

/* ---- is it here already? ---- */

static bool platform_fits(const Pull *x, const char *image_id)
{
	ImageConfig c = {0};
	bool fits = false;

	if (store_image_config(x->store, image_id, &c, NULL) == 0) {
		ImageDescriptor d = {.has_platform = true, .platform = c.platform};
		const ImageIndex one = {.manifests = &d, .n_manifests = 1};

		fits = image_index_select(&one, &x->platform) != NULL;
	}
	image_config_done(&c);
	return fits;
}

/* The image that the digest names in this repository, if the store has all of it. */
static bool find_whole(const Pull *x, const char *digest)
{
	_cleanup_free_ char *name = digest_reference(x->p->reference, digest);
	StoreImage image = {0};
	bool whole = false;

	if (name && store_image_find(x->store, name, &image, NULL) == 0 &&
	    store_image_choose(x->store, &image, &x->platform, NULL) == 0 && digest_is_valid(image.id))
		whole = store_image_is_whole(x->store, image.id) &&
			(image.artifact_type || platform_fits(x, image.id));
	if (whole)
		memcpy(x->image_id, image.id, DIGEST_LEN + 1);
	store_image_done(&image);
	return whole;
}

/* ---- recording ---- */

static int tag(const Pull *x, bool *ret_updated, Err *e)
{
	const Reference *r = x->p->reference;
	_cleanup_free_ char *by_digest = digest_reference(r, x->digest);
	_cleanup_free_ char *full = r->digest ? NULL : reference_full(r);
	_cleanup_free_ char *old = NULL, *old_digest = NULL;

	if (!by_digest || (!r->digest && !full))
		return err_oom(e);
	int rc = store_tag_put(x->store, by_digest, x->image_id, &old_digest, e);
	if (rc == 0 && full)
		rc = store_tag_put(x->store, full, x->image_id, &old, e);
	*ret_updated = !streq0(full ? old : old_digest, x->image_id);
	return rc;
}

static bool is_native(const Pull *x, const char *id)
{
	ImagePlatform own = {0};
	ImageConfig c = {0};
	bool native = false;

	if (image_platform_parse(NULL, &own, NULL) == 0 && store_image_config(x->store, id, &c, NULL) == 0) {
		ImageDescriptor d = {.has_platform = true, .platform = c.platform};
		const ImageIndex one = {.manifests = &d, .n_manifests = 1};

		native = image_index_select(&one, &own) != NULL;
	}
	image_config_done(&c);
	image_platform_done(&own);
	return native;
}

/* Names stand for this machine's image, whichever comes first. */
static int tag_aside(const Pull *x, bool *ret_updated, Err *e)
{
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
	_cleanup_free_ char *full = reference_full(x->p->reference);
	_cleanup_(store_image_done) StoreImage before = {0};
	int r = full ? 0 : err_oom(e);
	bool other;

	if (r < 0)
		return r;
	pthread_mutex_lock(&one_at_a_time);
	other = store_image_find(x->store, full, &before, NULL) == 0 && !before.artifact_type &&
		!streq(before.id, x->image_id) && is_native(x, before.id) != is_native(x, x->image_id);
	if (other && is_native(x, before.id)) {
		*ret_updated = true;
		r = store_image_part_add(x->store, before.id, x->image_id, e);
	} else {
		r = tag(x, ret_updated, e);
		if (r == 0 && other)
			r = store_image_part_add(x->store, x->image_id, before.id, e);
	}
	pthread_mutex_unlock(&one_at_a_time);
	return r;
}

static int check_platform(const Pull *x, const ImageConfig *c, Err *e)
{
	_cleanup_free_ char *have = image_platform_text(&c->platform);
	_cleanup_free_ char *want = image_platform_text(&x->platform);
	_cleanup_free_ char *name = reference_familiar(x->p->reference);
	ImageDescriptor d = {.has_platform = true, .platform = c->platform};
	const ImageIndex one = {.manifests = &d, .n_manifests = 1};

	if (c->platform.os && !streq(c->platform.os, x->platform.os))
		return err_new(e, ERR_INVALID,
			       "image operating system \"%.60s\" cannot be used on this platform: wanted %s",
			       c->platform.os, want ? want : "?");
	if (x->p->platform && c->platform.architecture && !image_index_select(&one, &x->platform))
		return err_new(e, ERR_NOT_FOUND,
			       "image with reference %s was found but does not match the specified platform: "
			       "wanted %s, actual: %.100s",
			       name ? name : "?", want ? want : "?", have ? have : "?");
	return 0;
}

/* For pushes to other repositories there. A mirror is not the registry that it stands for. */
static int note_places(const Pull *x, const Session *s, const ImageManifest *m, Err *e)
{
	_cleanup_strv_ char **digests = NULL;

	if (s->endpoint->mirror)
		return 0;
	for (size_t i = 0; i < m->n_layers; i++)
		if (strv_add(&digests, m->layers[i].digest) < 0)
			return err_oom(e);
	return store_blobs_seen(x->store, x->p->reference->domain, x->p->reference->path, digests, e);
}

/* The documents that led to the manifest stay with the image: a push sends them again as they were. */
static int keep_indexes(const Pull *x, const Resolved *d, const char *id, Err *e)
{
	char digest[DIGEST_LEN + 1];
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->n_indexes; i++) {
		r = store_blob_put(x->store, d->indexes[i].text, d->indexes[i].len, digest, e);
		if (r == 0)
			r = store_image_keep(x->store, id, digest, e);
	}
	return r;
}

/* What every registry holds besides images; it is kept as it is. */
static int bring_artifact(const Pull *x, Session *s, HttpClient *c, const Resolved *d, Err *e)
{
	char digest[DIGEST_LEN + 1];
	int r = blobs_pull(s, c, x->store, &d->manifest, e);

	if (r == 0)
		r = store_blob_put(x->store, d->text, d->len, digest, e);
	return r == 0 ? store_artifact_put(x->store, d->manifest_digest, e) : r;
}

static int bring_image(const Pull *x, Session *s, HttpClient *c, const Resolved *d, Err *e)
{
	ImageConfig config = {0};
	char manifest_digest[DIGEST_LEN + 1];
	int r = manifest_config(s, c, x->store, &d->manifest, &config, e);

	if (r < 0)
		return r;
	r = check_platform(x, &config, e);
	if (r == 0)
		r = layers_pull(s, c, x->store, &d->manifest, config.diff_ids, e);
	image_config_done(&config);
	if (r == 0)
		r = store_blob_put(x->store, d->text, d->len, manifest_digest, e);
	return r == 0 ? store_image_put(x->store, d->manifest.config.digest, d->manifest_digest, NULL, e) : r;
}

static int bring_in(const Pull *x, Session *s, HttpClient *c, const Resolved *d, Err *e)
{
	bool artifact = image_manifest_artifact(&d->manifest) != NULL;
	const char *id = artifact ? d->manifest_digest : d->manifest.config.digest;
	int r = artifact ? bring_artifact(x, s, c, d, e) : bring_image(x, s, c, d, e);

	if (r == 0)
		r = note_places(x, s, &d->manifest, e);
	if (r == 0)
		r = keep_indexes(x, d, id, e);
	if (r == 0)
		memcpy(x->image_id, id, DIGEST_LEN + 1);
	return r;
}

/* ---- one endpoint ---- */

/* Is there anything here that a HEAD could show to be up to date? */
static bool is_tagged(const Pull *x)
{
	_cleanup_free_ char *full = reference_full(x->p->reference);
	StoreImage image = {0};
	bool found = full && store_image_find(x->store, full, &image, NULL) == 0;

	store_image_done(&image);
	return found;
}

/* 1 if the image is whole in the store under the digest that the registry tells. A HEAD is cheap, and Docker Hub does
 * not count it. */
static int already_here(const Pull *x, Session *s, HttpClient *c, Err *e)
{
	const Reference *ref = x->p->reference;
	char digest[DIGEST_LEN + 1];

	if (ref->digest) {
		memcpy(digest, ref->digest, sizeof(digest));
	} else {
		int r = is_tagged(x) ? manifest_head(s, c, ref->tag, digest, e) : 0;

		if (r <= 0)
			return r;
	}
	if (!find_whole(x, digest))
		return 0;
	memcpy(x->digest, digest, sizeof(digest));
	return 1;
}

static int pull_in_session(Session *s, HttpClient *c, void *user, Err *e)
{
	const Pull *x = user;
	const Reference *ref = x->p->reference;
	Resolved d = {0};
	int r = already_here(x, s, c, e);

	if (r > 0)
		say(x, tag_or_digest(ref), "Pulling from %s", ref->path);
	if (r == 0)
		r = manifest_resolve(s, c, &x->platform, &d, e);
	if (r == 0 && *d.digest) {
		say(x, tag_or_digest(ref), "Pulling from %s", ref->path);
		memcpy(x->digest, d.digest, sizeof(d.digest));
		r = bring_in(x, s, c, &d, e);
	}
	resolved_done(&d);
	return r < 0 ? r : 0;
}

static int pull(Pull *x, bool *ret_updated, Err *e)
{
	const RegistryPull *p = x->p;
	Err own = {0};
	_cleanup_free_ char *wanted = p->platform ? image_platform_text(p->platform) : NULL;
	_cleanup_free_ char *name = reference_familiar(p->reference);
	int r =
	    !name || (p->platform && !wanted) ? err_oom(e) : image_platform_parse(wanted, &x->platform, e);

	/* An image without a tag may be pruned before it gets one; what it is made of stays as long as we hold our lease. */
	for (int attempt = 0; r == 0; attempt++) {
		r = registry_try_endpoints(x->registry, p, pull_in_session, x, e);
		if (r == 0)
			r = x->p->aside && !x->p->reference->digest ? tag_aside(x, ret_updated, &own)
								    : tag(x, ret_updated, &own);
		if (r == 0 || own.kind != ERR_NOT_FOUND || attempt == TAG_TRIES)
			break;
		own = (Err){0};
		r = 0;
	}
	if (own.no && e)
		*e = own;
	image_platform_done(&x->platform);
	if (r < 0)
		return r;
	say(x, NULL, "Digest: %s", x->digest);
	say(x, NULL,
	    *ret_updated ? "Status: Downloaded newer image for %s" : "Status: Image is up to date for %s",
	    name);
	return 0;
}

int registry_pull(Registry *r, Store *s, const RegistryPull *p, char ret_image_id[DIGEST_LEN + 1],
		  char ret_digest[DIGEST_LEN + 1], bool *ret_updated, Err *e)
{
	char image_id[DIGEST_LEN + 1] = "", digest[DIGEST_LEN + 1] = "";
	Pull x = {.registry = r, .store = s, .p = p, .image_id = image_id, .digest = digest};
	bool updated = false;
	Err own = {0};
	sigset_t before;

	sigpipe_hold(&before);
	int rc = pull(&x, &updated, &own);
	sigpipe_release(&before);
	if (rc < 0) {
		if (e)
			*e = own;
		return rc;
	}
	memcpy(ret_image_id, image_id, sizeof(image_id));
	memcpy(ret_digest, digest, sizeof(digest));
	*ret_updated = updated;
	return 0;
}
