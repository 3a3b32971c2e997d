/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What registries have, without pulling it: docker's distribution and search endpoints, and ours for what docker's command line asks
 * registries itself (manifests) or not at all (tags, referrers).
 */
#include "api/docker/door-internal.h"

#include "oci/image.h"

#define SEARCH_LIMIT     25
#define SEARCH_LIMIT_MAX 100

typedef struct RemoteAsk {
	EngineAsk ask;
	json_t *account;
} RemoteAsk;

static void remote_ask_done(RemoteAsk *a)
{
	json_decref(a->account);
}

static int remote_ask(HttpRequest *rq, const char *reference, const char *what, RemoteAsk *ret, Err *e)
{
	int r = auth_header_parse(http_header(rq, "X-Registry-Auth"), &ret->account, e);

	if (r < 0)
		return r;
	if (str_empty(reference))
		return err_new(e, ERR_INVALID, "%s must be given", what);
	ret->ask = (EngineAsk){.reference = reference, .alive_fd = http_alive_fd(rq)};
	auth_account(ret->account, &ret->ask.auth);
	return 0;
}

static json_t *descriptor_doc(const EngineManifest *m)
{
	return json_pack("{s:o, s:s, s:I}", "mediaType", doc_str(m->media_type), "digest", m->digest, "size",
			 (json_int_t)m->size);
}

/* GET /distribution/{name}/json */
int h_distribution(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(remote_ask_done) RemoteAsk a = {0};
	_cleanup_(engine_manifest_done) EngineManifest m = {0};
	int r = remote_ask(rq, http_param(rq, "name"), "the name of an image", &a, e);

	if (r == 0)
		r = engine_manifest(d->engine, &a.ask, ENGINE_MANIFEST_PLATFORMS, &m, e);
	if (r < 0)
		return r;
	return reply_doc(rq, 200,
			 json_pack("{s:o, s:O}", "Descriptor", descriptor_doc(&m), "Platforms", m.platforms),
			 e);
}

/* ---- manifest inspect */

/* What `docker manifest inspect --verbose` shows of one manifest. */
static json_t *verbose_doc(const EngineManifest *m)
{
	bool docker = streq(m->media_type, MEDIA_DOCKER_MANIFEST);
	json_t *descriptor = descriptor_doc(m), *platform = json_array_get(m->platforms, 0);

	if (descriptor && platform)
		json_object_set(descriptor, "platform", platform);
	return json_pack("{s:o, s:o, s:O}", "Ref", doc_str(m->reference), "Descriptor", descriptor,
			 docker ? "SchemaV2Manifest" : "OCIManifest", m->document);
}

static json_t *manifest_doc(const EngineManifest *m, bool verbose)
{
	json_t *list;

	if (!verbose)
		return json_incref(m->document);
	if (!m->is_index)
		return verbose_doc(m);
	list = json_array();
	for (size_t i = 0; list && i < m->n_entries; i++)
		if (json_array_append_new(list, verbose_doc(&m->entries[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

/* GET /ireko/manifest?reference=...[&verbose=1] */
int h_remote_manifest(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	bool verbose = http_query_bool(rq, "verbose", false);
	_cleanup_(remote_ask_done) RemoteAsk a = {0};
	_cleanup_(engine_manifest_done) EngineManifest m = {0};
	int r = remote_ask(rq, http_query(rq, "reference"), "reference", &a, e);

	if (r == 0)
		r = engine_manifest(d->engine, &a.ask,
				    verbose ? ENGINE_MANIFEST_PLATFORMS | ENGINE_MANIFEST_ENTRIES : 0, &m, e);
	return r < 0 ? r : reply_doc(rq, 200, manifest_doc(&m, verbose), e);
}

/* POST /ireko/manifest?reference=LIST {"manifests": [{"Ref", "Descriptor"}]}: what `manifest push` has put together. */
int h_remote_index_put(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(remote_ask_done) RemoteAsk a = {0};
	_cleanup_json_ json_t *body = NULL;
	char digest[DIGEST_LEN + 1];
	int r = remote_ask(rq, http_query(rq, "reference"), "reference", &a, e);

	if (r == 0)
		r = http_body_json(rq, true, &body, e);
	if (r >= 0)
		r = engine_index_put(d->engine, &a.ask, json_object_get(body, "manifests"), digest, e);
	return r < 0 ? r : reply_doc(rq, 200, json_pack("{s:s}", "digest", digest), e);
}

/* ---- tags, referrers */

/* GET /ireko/tags?reference=NAME */
int h_remote_tags(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(remote_ask_done) RemoteAsk a = {0};
	_cleanup_strv_ char **tags = NULL;
	int r = remote_ask(rq, http_query(rq, "reference"), "reference", &a, e);

	if (r == 0)
		r = engine_image_tags(d->engine, &a.ask, &tags, e);
	if (r < 0)
		return r;
	return reply_doc(rq, 200, json_pack("{s:s, s:o}", "name", a.ask.reference, "tags", doc_strv(tags)),
			 e);
}

/* GET /ireko/referrers?reference=NAME[&type=ARTIFACT-TYPE]: an OCI index of them, and their subject. */
int h_remote_referrers(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(remote_ask_done) RemoteAsk a = {0};
	const char *type = http_query(rq, "type");
	char subject[DIGEST_LEN + 1];
	json_t *list = NULL;
	int r = remote_ask(rq, http_query(rq, "reference"), "reference", &a, e);

	if (r == 0)
		r = engine_image_referrers(d->engine, &a.ask, str_empty(type) ? NULL : type, subject, &list,
					   e);
	if (r < 0)
		return r;
	return reply_doc(rq, 200, json_pack("{s:s, s:o}", "subject", subject, "manifests", list), e);
}

/* ---- search */

typedef struct SearchBounds {
	bool has_official, official, has_automated, automated;
	int64_t stars;
} SearchBounds;

static int search_bounds(const Filters *f, SearchBounds *b, Err *e)
{
	static const char *const allowed[] = {"is-automated", "is-official", "stars", NULL};
	const char *stars;
	int r = filters_allow(f, allowed, e);

	b->has_official = filters_has(f, "is-official");
	b->has_automated = filters_has(f, "is-automated");
	if (r >= 0)
		r = filters_bool(f, "is-official", &b->official, e);
	if (r >= 0)
		r = filters_bool(f, "is-automated", &b->automated, e);
	for (size_t i = 0; r >= 0 && (stars = filters_get(f, "stars", i)); i++) {
		int n;

		if (str_to_int(stars, 0, INT32_MAX, &n) < 0)
			return err_new(e, ERR_INVALID, "invalid filter 'stars=%s'", stars);
		b->stars = MAX2(b->stars, (int64_t)n);
	}
	return r;
}

static bool search_passes(const SearchBounds *b, const json_t *one)
{
	if (b->has_official && json_get_bool(one, "is_official", false) != b->official)
		return false;
	if (b->has_automated && json_get_bool(one, "is_automated", false) != b->automated)
		return false;
	return json_get_int(one, "star_count", 0) >= b->stars;
}

/* GET /images/search?term=...[&limit=N][&filters=...] */
int h_images_search(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(remote_ask_done) RemoteAsk a = {0};
	_cleanup_filters_ Filters f = {0};
	_cleanup_json_ json_t *found = NULL, *shown = json_array();
	SearchBounds b = {0};
	int64_t limit = SEARCH_LIMIT;
	size_t i;
	json_t *one;
	int r = remote_ask(rq, http_query(rq, "term"), "term", &a, e);

	if (r == 0)
		r = http_query_int(rq, "limit", &limit, e);
	if (r >= 0 && limit == 0)
		limit = SEARCH_LIMIT;
	if (r >= 0 && (limit < 1 || limit > SEARCH_LIMIT_MAX))
		return err_new(e, ERR_INVALID, "limit %lld is outside the range of [1, %d]", (long long)limit,
			       SEARCH_LIMIT_MAX);
	if (r >= 0)
		r = filters_parse(http_query(rq, "filters"), &f, e);
	if (r >= 0)
		r = search_bounds(&f, &b, e);
	if (r >= 0)
		r = engine_search(d->engine, &a.ask, (int)limit, &found, e);
	if (r < 0)
		return r;
	json_array_foreach (found, i, one)
		if (search_passes(&b, one) && json_array_append(shown, one) < 0)
			return err_oom(e);
	return reply_doc(rq, 200, json_incref(shown), e);
}
