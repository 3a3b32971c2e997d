/* SPDX-License-Identifier: Apache-2.0 */
/* Pushing: which tags a name means, and that they are here; the rest is the registry client's business. */
#include "engine/image-internal.h"

typedef struct Pushing {
	Engine *en;
	const EnginePush *p;
	Reference ref;
	RegistryPushTag *tags; /* tags and ids are ours */
	size_t n;
} Pushing;

static void drop_tags(Pushing *k)
{
	for (size_t i = 0; i < k->n; i++) {
		free((char *)(uintptr_t)k->tags[i].tag);
		free((char *)(uintptr_t)k->tags[i].image_id);
	}
	free(take_ptr(k->tags));
	k->n = 0;
}

static void pushing_done(Pushing *k)
{
	drop_tags(k);
	reference_done(&k->ref);
}

static void push_progress(void *user, const char *id, const char *status, int64_t current, int64_t total)
{
	const Pushing *k = user;

	if (k->p->progress)
		k->p->progress(k->p->user, id, status, current, total);
}

static void push_done(void *user, const char *tag, const char *digest, int64_t size)
{
	const Pushing *k = user;

	if (k->p->pushed)
		k->p->pushed(k->p->user, tag, digest, size);
}

static bool push_cancelled(void *user)
{
	const Pushing *k = user;

	return image_client_left(k->p->alive_fd);
}

static int add_tag(Pushing *k, const char *tag, const char *image_id, Err *e)
{
	RegistryPushTag *grown = reallocarray(k->tags, k->n + 1, sizeof(*grown));
	_cleanup_free_ char *name = strdup(tag), *id = strdup(image_id);

	if (grown)
		k->tags = grown;
	if (!grown || !name || !id)
		return err_oom(e);
	k->tags[k->n++] = (RegistryPushTag){take_ptr(name), take_ptr(id)};
	return 0;
}

/* Every tag that the repository has here. */
static int find_all(Pushing *k, Err *e)
{
	_cleanup_free_ char *prefix = strf("%s/%s:", k->ref.domain, k->ref.path);
	StoreImage *v = NULL;
	size_t n = 0;
	int r = prefix ? store_image_list(k->en->store, &v, &n, e) : err_oom(e);

	for (size_t i = 0; r == 0 && i < n; i++)
		for (char **t = v[i].tags; r == 0 && t && *t; t++) {
			const char *tag = str_after(*t, prefix);

			if (tag)
				r = add_tag(k, tag, v[i].id, e);
		}
	store_images_free(v, n);
	return r;
}

/* Of an image of several platforms the one that is wanted. */
static int choose(const Pushing *k, RegistryPushTag *t, const ImagePlatform *want, Err *e)
{
	_cleanup_(store_image_done) StoreImage image = {0};
	int r = store_image_get(k->en->store, t->image_id, &image, e);

	if (r >= 0)
		r = store_image_choose(k->en->store, &image, want, e);
	if (r < 0 || streq(image.id, t->image_id))
		return r;
	free((char *)(uintptr_t)t->image_id);
	t->image_id = take_ptr(image.id);
	return 0;
}

static bool platform_fits(const Pushing *k, const char *image_id, const ImagePlatform *want)
{
	ImageConfig c = {0};
	bool fits = false;

	if (store_image_config(k->en->store, image_id, &c, NULL) == 0) {
		ImageDescriptor d = {.has_platform = true, .platform = c.platform};
		const ImageIndex one = {.manifests = &d, .n_manifests = 1};

		fits = image_index_select(&one, want) != NULL;
	}
	image_config_done(&c);
	return fits;
}

static int check_platform(Pushing *k, Err *e)
{
	ImagePlatform want = {0};
	int r = str_empty(k->p->platform) ? 0 : image_platform_parse(k->p->platform, &want, e);

	for (size_t i = 0; r == 0 && !str_empty(k->p->platform) && i < k->n; i++)
		r = choose(k, &k->tags[i], &want, e);
	for (size_t i = 0; r == 0 && !str_empty(k->p->platform) && i < k->n; i++)
		if (!platform_fits(k, k->tags[i].image_id, &want))
			r = err_new(
			    e, ERR_NOT_FOUND,
			    "image %s/%s:%s was found but does not provide the specified platform (%s)",
			    k->ref.domain, k->ref.path, k->tags[i].tag, k->p->platform);
	image_platform_done(&want);
	return r;
}

static int find_one(Pushing *k, Err *e)
{
	_cleanup_free_ char *full = reference_full(&k->ref), *familiar = reference_familiar(&k->ref);
	_cleanup_(store_image_done) StoreImage image = {0};

	if (!full || !familiar)
		return err_oom(e);
	if (store_image_find(k->en->store, full, &image, NULL) < 0)
		return err_new(e, ERR_NOT_FOUND, "tag does not exist: %s", familiar);
	return add_tag(k, k->ref.tag, image.id, e);
}

static int find_tags(Pushing *k, bool all, Err *e)
{
	_cleanup_free_ char *name = reference_familiar_name(&k->ref);
	int r = find_all(k, e);

	if (r == 0 && !name)
		r = err_oom(e);
	if (r < 0)
		return r;
	if (k->n == 0)
		return err_new(e, ERR_NOT_FOUND, "An image does not exist locally with the tag: %s", name);
	if (all)
		return check_platform(k, e);
	drop_tags(k);
	r = find_one(k, e);
	return r == 0 ? check_platform(k, e) : r;
}

static int form_of(const EnginePush *p, RegistryPush *q, Err *e)
{
	if (str_empty(p->compression))
		return 0;
	q->convert = true;
	if (streq(p->compression, "zstd"))
		q->form = LAYER_ZSTD;
	else if (!streq(p->compression, "gzip"))
		return err_new(e, ERR_INVALID, "compression \"%.40s\": expected gzip or zstd",
			       p->compression);
	return 0;
}

static int push(Pushing *k, Err *e)
{
	const EnginePush *p = k->p;
	_cleanup_free_ char *said = strf("The push refers to repository [%s/%s]", k->ref.domain, k->ref.path);
	_cleanup_free_ char *name = reference_familiar_name(&k->ref);
	RegistryPush q = {.repository = &k->ref,
			  .tags = k->tags,
			  .n_tags = k->n,
			  .form = LAYER_GZIP,
			  .single = !str_empty(p->platform),
			  .auth = image_registry_auth(&p->auth),
			  .progress = push_progress,
			  .pushed = push_done,
			  .user = k,
			  .cancelled = push_cancelled};
	int r = form_of(p, &q, e);

	if (r == 0 && (!said || !name))
		r = err_oom(e);
	if (r < 0)
		return r;
	push_progress(k, NULL, said, 0, 0);
	r = registry_push(k->en->registry, k->en->store, &q, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < k->n; i++) {
		_cleanup_free_ char *shown = strf("%s:%s", name, k->tags[i].tag);

		image_event(k->en, "push", shown ? shown : name, name);
	}
	return 0;
}

/* True if the text ends in ":tag" rather than in a name. */
static bool has_tag(const char *reference)
{
	const char *slash = strrchr(reference, '/');

	return strchr(slash ? slash : reference, ':') != NULL;
}

int engine_image_push(Engine *en, const EnginePush *p, Err *e)
{
	_cleanup_(pushing_done) Pushing k = {.en = en, .p = p};
	_cleanup_free_ char *text =
	    str_empty(p->tag) ? strdup(p->reference) : strf("%s:%s", p->reference, p->tag);
	int r = text ? reference_parse(text, &k.ref, e) : err_oom(e);

	if (r < 0)
		return r;
	if (k.ref.digest)
		return err_new(e, ERR_INVALID, "cannot push a digest reference: %s", p->reference);
	/* Lease first: what is found must still be there when it is sent. */
	store_lease_begin(en->store);
	r = find_tags(&k, !has_tag(text), e);
	if (r == 0)
		r = push(&k, e);
	int ended = store_lease_end(en->store, r < 0 ? NULL : e);
	return r < 0 ? r : ended;
}
