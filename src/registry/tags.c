/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists that come in pages (distribution-spec: tags/list; the catalog), and the tags of a repository.
 *
 * The server says with each page where the next one is. Of that only the query is used. Pages are bounded in number and size, and one
 * that leads to itself or brings nothing ends the list, so that no server can keep us at it.
 */
#include "registry/registry-internal.h"

#include <curl/curl.h>
#include <strings.h>

#define PAGE_MAX  (4u << 20)
#define PAGES_MAX 1000
#define QUERY_MAX 2000
#define PAGE_ASK  "n=1000"

void query_add(StrBuf *b, const char *name, const char *value)
{
	char *escaped = curl_easy_escape(NULL, value, (int)strlen(value));

	strbuf_addf(b, "%s%s=%s", b->len ? "&" : "", name, escaped ? escaped : "");
	if (escaped)
		explicit_bzero(escaped, strlen(escaped)); /* it may be a secret */
	else
		b->oom = true;
	curl_free(escaped);
}

/* RFC 8288: <target>; rel="next". Others of its forms are seen nowhere and mean the end of the list. */
char *link_next_query(const char *link)
{
	const char *end = link && *link == '<' ? strchr(link, '>') : NULL;
	const char *mark = end ? memchr(link, '?', (size_t)(end - link)) : NULL;

	if (!mark || end - mark > QUERY_MAX || end == mark + 1 ||
	    (!strcasestr(end, "rel=\"next\"") && !strcasestr(end, "rel=next")))
		return NULL;
	for (const char *p = mark + 1; p < end; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7F || strchr("<>\"#\\", *p))
			return NULL;
	return strndup(mark + 1, (size_t)(end - mark - 1));
}

int json_fetch(Session *s, HttpClient *c, const char *what, const char *accept, size_t max, json_t **ret,
	       char **link, Err *e)
{
	HttpRequest q = {.method = "GET", .accept = accept, .max_body = max};
	_cleanup_(http_reply_done) HttpReply reply = {0};
	int r = session_do_patiently(s, c, what, &q, &reply, e);

	*ret = NULL;
	if (r < 0 || reply.status == 404)
		return r < 0 ? r : 0;
	if (reply.status != 200)
		return session_refusal(s, what, &reply, e);
	r = json_parse_bounded(reply.body, reply.len, what, ret, e);
	if (r == 0 && link)
		*link = take_ptr(reply.link);
	return r;
}

/* Strings only; whatever else is in there is passed over. */
static int take_page(const json_t *page, const char *member, size_t max, char ***ret, size_t *n, Err *e)
{
	const json_t *list = json_object_get(page, member);
	size_t i;
	json_t *one;

	json_array_foreach (list, i, one) {
		if (!json_is_string(one) || *n == max)
			continue;
		if (strv_add(ret, json_string_value(one)) < 0)
			return err_oom(e);
		++*n;
	}
	return 0;
}

int pages_read(Session *s, HttpClient *c, const char *what, const char *query, const char *member, size_t max,
	       char ***ret, Err *e)
{
	_cleanup_strv_ char **all = NULL;
	_cleanup_free_ char *next = strdup(query);
	size_t n = 0;

	for (int pages = 0; next && pages < PAGES_MAX && n < max; pages++) {
		_cleanup_free_ char *target = strf("%s?%s", what, next);
		_cleanup_free_ char *link = NULL, *before = take_ptr(next);
		_cleanup_json_ json_t *page = NULL;
		size_t had = n;
		int r = target ? json_fetch(s, c, target, "application/json", PAGE_MAX, &page, &link, e)
			       : err_oom(e);

		if (r == 0 && !page && pages == 0)
			r = err_new_no(e, ERR_NOT_FOUND, ENODATA, "%s%s has no such list", s->base,
				       s->endpoint->prefix);
		if (r == 0)
			r = take_page(page, member, max, &all, &n, e);
		if (r < 0)
			return r;
		next = n > had ? link_next_query(link) : NULL;
		if (next && streq(next, before))
			break;
	}
	*ret = take_ptr(all);
	return 0;
}

static int ask_tags(Session *s, HttpClient *c, void *user, Err *e)
{
	_cleanup_free_ char *name = reference_familiar_name(s->pull->reference);
	int r = pages_read(s, c, "tags/list", PAGE_ASK, "tags", REGISTRY_TAGS_MAX, user, e);

	/* Not of a registry that wants to know first who asks. */
	if (r == -ENODATA && name)
		return err_new(e, ERR_NOT_FOUND, "repository %s not found: name unknown", name);
	return r;
}

/* A tag that is none by the grammar cannot be pulled, and may hold anything. */
static bool is_tag(const Reference *r, const char *tag)
{
	_cleanup_free_ char *text = strf("%s/%s:%s", r->domain, r->path, tag);
	Reference parsed = {0};
	bool good = text && !strpbrk(tag, ":@/") && reference_parse(text, &parsed, NULL) == 0;

	reference_done(&parsed);
	return good;
}

int registry_tags(Registry *r, const RegistryPull *p, char ***ret, Err *e)
{
	_cleanup_strv_ char **all = NULL;
	_cleanup_strv_ char **good = NULL;
	Err own = {0};
	int rc = registry_try_endpoints(r, p, ask_tags, &all, &own);

	if (rc < 0) {
		if (e)
			*e = own;
		return rc;
	}
	for (char **t = all; t && *t; t++)
		if (is_tag(p->reference, *t) && strv_add(&good, *t) < 0)
			return err_oom(e);
	*ret = take_ptr(good);
	return 0;
}
