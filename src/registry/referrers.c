/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Referrers (distribution-spec 1.1): what was pushed about an image, such as signatures and SBOMs.
 *
 * A registry that does not know the endpoint answers 404; then the referrers are in an index under a tag made of the
 * digest, sha256-<hex>, which clients keep up. Neither being there means that there are none.
 */
#include "registry/registry-internal.h"

#define REFERRERS_MAX 4096
#define PAGES_MAX     100
#define ACCEPT        MEDIA_OCI_INDEX

typedef struct ReferrersAsk {
	const char *artifact_type;
	char subject[DIGEST_LEN + 1];
	json_t *list;
} ReferrersAsk;

/* The members that are known, so that a stranger's document is not passed on whole. */
static json_t *plain_descriptor(const json_t *d)
{
	static const char *const members[] = {"mediaType", "digest", "size", "artifactType", "annotations"};
	json_t *o = json_object();

	for (size_t i = 0; i < ELEMENTSOF(members); i++) {
		json_t *v = json_object_get(d, members[i]);

		if (v && !json_is_null(v))
			json_object_set(o, members[i], v);
	}
	return o;
}

static int take_referrers(ReferrersAsk *a, const json_t *index, Err *e)
{
	const json_t *list = json_object_get(index, "manifests");
	size_t i;
	json_t *one;

	json_array_foreach (list, i, one) {
		const char *type = json_get_str(one, "artifactType"), *digest = json_get_str(one, "digest");

		if (!digest || !digest_is_valid(digest) || json_array_size(a->list) == REFERRERS_MAX)
			continue;
		/* A registry may leave the choice to us. */
		if (a->artifact_type && !streq0(type, a->artifact_type))
			continue;
		if (json_array_append_new(a->list, plain_descriptor(one)) < 0)
			return err_oom(e);
	}
	return 0;
}

static int by_tag(Session *s, HttpClient *c, ReferrersAsk *a, Err *e)
{
	_cleanup_free_ char *what = strf("manifests/sha256-%s", digest_hex(a->subject));
	_cleanup_json_ json_t *index = NULL;
	int r = what ? json_fetch(s, c, what, ACCEPT, IMAGE_DOCUMENT_MAX, &index, NULL, e) : err_oom(e);

	return r < 0 ? r : take_referrers(a, index, e);
}

static int first_query(const ReferrersAsk *a, char **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};

	if (a->artifact_type)
		query_add(&b, "artifactType", a->artifact_type);
	*ret = strbuf_steal(&b);
	return *ret ? 0 : -ENOMEM;
}

/* 1 if the registry has the endpoint. */
static int by_endpoint(Session *s, HttpClient *c, ReferrersAsk *a, Err *e)
{
	_cleanup_free_ char *query = NULL;

	if (first_query(a, &query) < 0)
		return err_oom(e);
	for (int pages = 0; query && pages < PAGES_MAX; pages++) {
		_cleanup_free_ char *what = strf("referrers/%s%s%s", a->subject, *query ? "?" : "", query);
		_cleanup_free_ char *link = NULL, *before = take_ptr(query);
		_cleanup_json_ json_t *index = NULL;
		int r =
		    what ? json_fetch(s, c, what, ACCEPT, IMAGE_DOCUMENT_MAX, &index, &link, e) : err_oom(e);

		if (r < 0 || (!index && pages == 0))
			return r;
		r = take_referrers(a, index, e);
		if (r < 0)
			return r;
		query = link_next_query(link);
		if (query && streq(query, before))
			break;
	}
	return 1;
}

static int ask_referrers(Session *s, HttpClient *c, void *user, Err *e)
{
	ReferrersAsk *a = user;
	const Reference *ref = s->pull->reference;
	_cleanup_(document_done) Document d = {0};
	int r = document_fetch(s, c, ref->digest ? ref->digest : ref->tag, ref->digest, -1, &d, e);

	if (r < 0)
		return r;
	memcpy(a->subject, d.digest, sizeof(a->subject));
	json_array_clear(a->list);
	r = by_endpoint(s, c, a, e);
	return r == 0 ? by_tag(s, c, a, e) : MIN2(r, 0);
}

int registry_referrers(Registry *r, const RegistryPull *p, const char *artifact_type,
		       char ret_subject[DIGEST_LEN + 1], json_t **ret, Err *e)
{
	ReferrersAsk a = {.artifact_type = artifact_type, .list = json_array()};
	int rc = a.list ? registry_try_endpoints(r, p, ask_referrers, &a, e) : err_oom(e);

	if (rc < 0) {
		json_decref(a.list);
		return rc;
	}
	memcpy(ret_subject, a.subject, sizeof(a.subject));
	*ret = a.list;
	return 0;
}
