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
