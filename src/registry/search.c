/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `docker search`: repositories by name.
 *
 * Docker Hub has a search of its own (the v1 index). So have some other registries; of those that have not, the
 * catalog is read and looked through. A catalog may be long: it is cut off at CATALOG_MAX names.
 */
#include "registry/registry-internal.h"

#define HUB_HOST    "index.docker.io"
#define REPLY_MAX   (4u << 20)
#define CATALOG_MAX 100000

typedef struct SearchAsk {
	const RegistrySearch *q;
	json_t *list;
} SearchAsk;

static int add_result(SearchAsk *a, const char *name, const json_t *from, Err *e)
{
	bool hub = streq(a->q->domain, "docker.io");
	const char *description = json_get_str(from, "description");
	_cleanup_free_ char *full = hub ? strdup(name) : strf("%s/%s", a->q->domain, name);
	json_t *one = full ? json_pack("{s:s, s:s, s:I, s:b, s:b}", "name", full, "description",
				       description ? description : "", "star_count",
				       (json_int_t)json_get_int(from, "star_count", 0), "is_official",
				       json_get_bool(from, "is_official", false), "is_automated",
				       json_get_bool(from, "is_automated", false))
			   : NULL;

	return one && json_array_append_new(a->list, one) == 0 ? 0 : err_oom(e);
}

static bool is_full(const SearchAsk *a)
{
	return json_array_size(a->list) >= (size_t)a->q->limit;
}

static int take_results(SearchAsk *a, const json_t *doc, Err *e)
{
	const json_t *list = json_object_get(doc, "results");
	int r = 0;
	size_t i;
	json_t *one;

	if (!json_is_array(list))
		return err_new(e, ERR_INVALID, "the search of %s answers without results", a->q->domain);
	json_array_foreach (list, i, one) {
		const char *name = json_get_str(one, "name");

		if (str_empty(name) || is_full(a))
			continue;
		r = add_result(a, name, one, e);
		if (r < 0)
			break;
	}
	return r;
}

static int from_catalog(Session *s, HttpClient *c, SearchAsk *a, Err *e)
{
	static char *const scopes[] = {(char *)"registry:catalog:*", NULL};
	_cleanup_strv_ char **names = NULL;

	s->scopes = scopes;
	int r = pages_read(s, c, "/v2/_catalog", "n=1000", "repositories", CATALOG_MAX, &names, e);

	if (r < 0)
		return err_ctx(e, r, "%s has neither a search nor a catalog to look through", a->q->domain);
	for (char **n = names; r == 0 && n && *n; n++)
		if (strcasestr(*n, a->q->term) && !is_full(a))
			r = add_result(a, *n, NULL, e);
	return r;
}

static int ask_search(Session *s, HttpClient *c, void *user, Err *e)
{
	SearchAsk *a = user;
	_cleanup_strbuf_ StrBuf query = {0};
	_cleanup_free_ char *what = NULL;
	_cleanup_json_ json_t *doc = NULL;
	char limit[16];
	Err own = {0};

	snprintf(limit, sizeof(limit), "%d", a->q->limit);
	query_add(&query, "q", a->q->term);
	query_add(&query, "n", limit);
	what = query.oom ? NULL : strf("/v1/search?%s", query.s);
	if (!what)
		return err_oom(e);
	int r = json_fetch(s, c, what, "application/json", REPLY_MAX, &doc, NULL, &own);
	if (r == 0 && doc && json_object_get(doc, "results"))
		return take_results(a, doc, e);
	if (streq(a->q->domain, "docker.io") || own.kind == ERR_CANCELLED || !s->base) {
		if (r < 0)
			*e = own;
		return r < 0 ? r : err_new(e, ERR_UNAVAILABLE, "Docker Hub answers no search now");
	}
	return from_catalog(s, c, a, e);
}

int registry_search(Registry *r, const RegistrySearch *q, json_t **ret, Err *e)
{
	Reference ref = {.domain = (char *)q->domain, .path = (char *)"", .tag = (char *)"latest"};
	const RegistryPull p = {.reference = &ref,
				.auth = q->auth,
				.cancelled = q->cancelled,
				.user = q->user};
	const Endpoint hub = {.host = (char *)HUB_HOST, .prefix = (char *)"", .try_https = true};
	SearchAsk a = {.q = q, .list = json_array()};
	Endpoint *v = NULL;
	size_t n = 0;
	Err own = {0};
	int rc = a.list ? 0 : err_oom(&own);

	/* Not the mirrors: what they have is not all there is. */
	if (rc == 0 && streq(q->domain, "docker.io"))
		rc = registry_try_endpoint(r, &p, &hub, ask_search, &a, &own);
	else if (rc == 0 && (rc = registry_endpoints(r, q->domain, &v, &n, &own)) == 0)
		rc = registry_try_endpoint(r, &p, &v[n - 1], ask_search, &a, &own);
	registry_endpoints_free(v, n);
	if (rc < 0) {
		json_decref(a.list);
		if (e)
			*e = own;
		return rc;
	}
	*ret = a.list;
	return 0;
}
