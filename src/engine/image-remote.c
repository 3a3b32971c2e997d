/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What registries have, without pulling it: manifests, tags, referrers, search. Nothing of it is stored.
 */
#include "engine/image-internal.h"

#define ENTRIES_MAX 256

typedef struct Asking {
	const EngineAsk *a;
	Reference ref;
	RegistryPull p;
} Asking;

static bool client_left(void *user)
{
	const Asking *k = user;

	return image_client_left(k->a->alive_fd);
}

static int asking_init(Asking *k, const EngineAsk *a, Err *e)
{
	*k = (Asking){.a = a};
	int r = reference_parse(a->reference, &k->ref, e);

	k->p = (RegistryPull){.reference = &k->ref,
			      .auth = image_registry_auth(&a->auth),
			      .cancelled = client_left,
			      .user = k};
	return r;
}

static void asking_done(Asking *k)
{
	reference_done(&k->ref);
}

void engine_manifest_done(EngineManifest *m)
{
	free(m->reference);
	free(m->media_type);
	json_decref(m->document);
	json_decref(m->platforms);
	for (size_t i = 0; i < m->n_entries; i++)
		engine_manifest_done(&m->entries[i]);
	free(m->entries);
	*m = (EngineManifest){0};
}

static int take_document(const Asking *k, RegistryDocument *d, EngineManifest *ret, Err *e)
{
	memcpy(ret->digest, d->digest, sizeof(ret->digest));
	ret->media_type = take_ptr(d->media_type);
	ret->size = (int64_t)d->len;
	ret->document = take_ptr(d->json);
	ret->is_index = d->is_index;
	ret->reference = reference_full(&k->ref);
	return ret->reference ? 0 : err_oom(e);
}

static int ask_one(Engine *en, const Asking *k, bool platforms, EngineManifest *ret, Err *e)
{
	RegistryDocument d = {0};
	int r = registry_document(en->registry, &k->p, &d, e);

	if (r == 0 && platforms)
		r = registry_platforms(en->registry, &k->p, &d, &ret->platforms, e);
	if (r == 0)
		r = take_document(k, &d, ret, e);
	registry_document_done(&d);
	return r;
}

static int ask_entry(Engine *en, const Asking *index, const ImageDescriptor *d, EngineManifest *ret, Err *e)
{
	Asking k = *index;

	k.ref.digest = d->digest;
	k.p.reference = &k.ref;
	k.p.user = &k;
	int r = ask_one(en, &k, false, ret, e);
	if (r < 0)
		return r;
	ret->platforms = json_array();
	if (d->has_platform && ret->platforms)
		json_array_append_new(ret->platforms,
				      json_pack("{s:s, s:s, s:s*}", "architecture",
						d->platform.architecture ? d->platform.architecture : "",
						"os", d->platform.os ? d->platform.os : "", "variant",
						d->platform.variant));
	return ret->platforms ? 0 : err_oom(e);
}

static int ask_entries(Engine *en, const Asking *k, EngineManifest *m, Err *e)
{
	ImageIndex index = {0};
	int r = image_index_decode(m->document, &index, e);

	if (r == 0 && index.n_manifests > ENTRIES_MAX)
		r = err_new(e, ERR_INVALID, "%s: %zu manifests are more than can be looked at (%d)",
			    m->reference, index.n_manifests, ENTRIES_MAX);
	if (r == 0) {
		m->entries = calloc(index.n_manifests + 1, sizeof(*m->entries));
		r = m->entries ? 0 : err_oom(e);
	}
	for (size_t i = 0; r == 0 && i < index.n_manifests; i++)
		r = ask_entry(en, k, &index.manifests[i], &m->entries[m->n_entries++], e);
	image_index_done(&index);
	return r;
}

int engine_manifest(Engine *en, const EngineAsk *a, unsigned what, EngineManifest *ret, Err *e)
{
	EngineManifest m = {0};
	Asking k;
	int r = asking_init(&k, a, e);

	if (r == 0)
		r = ask_one(en, &k, what & ENGINE_MANIFEST_PLATFORMS, &m, e);
	if (r == 0 && (what & ENGINE_MANIFEST_ENTRIES) && m.is_index)
		r = ask_entries(en, &k, &m, e);
	asking_done(&k);
	if (r < 0) {
		engine_manifest_done(&m);
		return r;
	}
	*ret = m;
	return 0;
}

/* ---- an index over what is there */

typedef struct IndexMaking {
	Reference *sources;
	size_t n;
	json_t *entries;
	bool oci; /* the first one is */
} IndexMaking;

static void index_making_done(IndexMaking *m)
{
	for (size_t i = 0; m->sources && i < m->n; i++)
		reference_done(&m->sources[i]);
	free(m->sources);
	json_decref(m->entries);
}

static int check_entry(const char *name, const json_t *d, Err *e)
{
	const json_t *platform = json_object_get(d, "platform");
	const char *digest = json_get_str(d, "digest");

	if (!name || !digest || !digest_is_valid(digest) || json_get_int(d, "size", 0) <= 0 ||
	    str_empty(json_get_str(d, "mediaType")))
		return err_new(e, ERR_INVALID,
			       "%.200s: a manifest of a list has a Ref, and a Descriptor with mediaType, "
			       "digest and size",
			       name ? name : "manifest");
	if (str_empty(json_get_str(platform, "os")) || str_empty(json_get_str(platform, "architecture")))
		return err_new(e, ERR_INVALID,
			       "manifest %.300s must have an OS and Architecture to be pushed to a registry",
			       name);
	return 0;
}

static int add_source(IndexMaking *m, const Reference *list, const json_t *one, Err *e)
{
	const char *name = json_get_str(one, "Ref");
	const json_t *d = json_object_get(one, "Descriptor");
	Reference *source = &m->sources[m->n];
	int r = check_entry(name, d, e);

	if (r >= 0)
		r = reference_parse(name, source, e);
	if (r < 0)
		return r;
	m->n++;
	if (!streq(source->domain, list->domain))
		return err_new(
		    e, ERR_INVALID,
		    "cannot use source images from a different registry than the target image: %s != %s",
		    source->domain, list->domain);
	free(source->digest);
	source->digest = strdup(json_get_str(d, "digest"));
	/* In the order that docker writes them in: the same list has the same digest. */
	json_t *entry = json_pack("{s:O, s:O, s:O, s:O}", "mediaType", json_object_get(d, "mediaType"),
				  "size", json_object_get(d, "size"), "digest", json_object_get(d, "digest"),
				  "platform", json_object_get(d, "platform"));

	return source->digest && entry && json_array_append_new(m->entries, entry) >= 0 ? 0 : err_oom(e);
}

static int make_index(IndexMaking *m, const Reference *list, const json_t *manifests, Err *e)
{
	size_t n = json_array_size(manifests), i;
	const json_t *one;
	int r = 0;

	if (n == 0 || n > ENTRIES_MAX)
		return err_new(e, ERR_INVALID, "a list has 1 to %d manifests, not %zu", ENTRIES_MAX, n);
	m->sources = calloc(n, sizeof(*m->sources));
	m->entries = json_array();
	if (!m->sources || !m->entries)
		return err_oom(e);
	m->oci =
	    streq0(json_get_str(json_object_get(json_array_get(manifests, 0), "Descriptor"), "mediaType"),
		   MEDIA_OCI_MANIFEST);
	json_array_foreach (manifests, i, one) {
		r = add_source(m, list, one, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int engine_index_put(Engine *en, const EngineAsk *a, const json_t *manifests, char ret_digest[DIGEST_LEN + 1],
		     Err *e)
{
	_cleanup_(index_making_done) IndexMaking m = {0};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL;
	Asking k;
	int r = asking_init(&k, a, e);

	if (r == 0 && (!k.ref.tag || k.ref.digest))
		r = err_new(e, ERR_INVALID, "%s: a list is pushed under a tag", a->reference);
	if (r == 0)
		r = make_index(&m, &k.ref, manifests, e);
	const char *type = m.oci ? MEDIA_OCI_INDEX : MEDIA_DOCKER_LIST;
	if (r == 0) {
		doc = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", type, "manifests",
				m.entries);
		text = doc ? json_dumps(doc, JSON_INDENT(3)) : NULL;
		r = text ? 0 : err_oom(e);
	}
	if (r == 0) {
		RegistryIndexPut x = {k.p, m.sources, m.n, text, ret_digest, type, strlen(text)};

		digest_of(text, x.len, ret_digest);
		r = registry_index_put(en->registry, &x, e);
	}
	asking_done(&k);
	return r;
}

int engine_image_tags(Engine *en, const EngineAsk *a, char ***ret, Err *e)
{
	Asking k;
	int r = asking_init(&k, a, e);

	if (r == 0)
		r = registry_tags(en->registry, &k.p, ret, e);
	asking_done(&k);
	return r;
}

int engine_image_referrers(Engine *en, const EngineAsk *a, const char *artifact_type,
			   char ret_subject[DIGEST_LEN + 1], json_t **ret, Err *e)
{
	Asking k;
	int r = asking_init(&k, a, e);

	if (r == 0)
		r = registry_referrers(en->registry, &k.p, artifact_type, ret_subject, ret, e);
	asking_done(&k);
	return r;
}

/* "host/x" searches host, as in a reference: a first part with a dot, a colon, or "localhost". */
int engine_search(Engine *en, const EngineAsk *a, int limit, json_t **ret, Err *e)
{
	const char *slash = strchr(a->reference, '/');
	_cleanup_free_ char *first = strndup(a->reference, slash ? (size_t)(slash - a->reference) : 0);
	Asking k = {.a = a};

	if (!first)
		return err_oom(e);
	bool elsewhere = slash && (strpbrk(first, ".:") || streq(first, "localhost"));
	bool hub = !elsewhere || streq(first, "docker.io") || streq(first, "index.docker.io");
	const char *term = elsewhere ? slash + 1 : a->reference;
	const RegistrySearch q = {.domain = hub ? "docker.io" : first,
				  .term = hub && str_starts(term, "library/") ? term + 8 : term,
				  .limit = limit,
				  .auth = image_registry_auth(&a->auth),
				  .cancelled = client_left,
				  .user = &k};
	return registry_search(en->registry, &q, ret, e);
}
