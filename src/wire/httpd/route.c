/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes and the parameters of a request.
 *
 * A path is matched as it was sent, before percent-decoding, so that %2F in a name never becomes a separator; the parts taken out of it
 * are decoded one by one afterwards.
 */
#include "wire/httpd/httpd-internal.h"

#include <strings.h>

static int take_param(const char *name, size_t name_len, const char *from, const char *to, HttpPair *params,
		      size_t *n)
{
	char *value;

	if (*n == HTTP_PARAMS_MAX)
		return -E2BIG;
	value = strndup(from, (size_t)(to - from));
	if (!value)
		return -ENOMEM;
	if (http_percent_decode(value, false) < 0) {
		free(value);
		return -EINVAL;
	}
	/* The name stays a slice of the pattern, "id}...": http_param compares up to the brace. */
	params[(*n)++] = (HttpPair){name, value};
	(void)name_len;
	return 1;
}

/* One greedy part a pattern, so this is linear in the length of the path. */
int http_route_match(const char *pattern, const char *path, HttpPair *params, size_t *n)
{
	size_t saved = *n;

	for (; *pattern && *pattern != '{'; pattern++, path++)
		if (*pattern != *path)
			return 0;
	if (!*pattern)
		return *path ? 0 : 1;

	const char *name = pattern + 1, *close = strchr(name, '}');
	size_t name_len = strcspn(name, ":}");
	const char *stop = name[name_len] == ':' ? path + strlen(path) : path + strcspn(path, "/");

	for (const char *to = stop; to > path; to--) {
		size_t inner = 0;
		HttpPair rest[HTTP_PARAMS_MAX];
		int r = http_route_match(close + 1, to, rest, &inner);

		if (r < 0)
			return r;
		if (r == 0) {
			if (name[name_len] != ':')
				return 0;
			continue;
		}
		r = take_param(name, name_len, path, to, params, n);
		for (size_t i = 0; i < inner; i++) {
			if (r > 0 && *n < HTTP_PARAMS_MAX)
				params[(*n)++] = rest[i];
			else
				free((char *)rest[i].value);
		}
		if (r <= 0)
			*n = saved;
		return r;
	}
	return 0;
}

void http_params_free(HttpRequest *rq)
{
	for (size_t i = 0; i < rq->n_params; i++)
		free((char *)rq->params[i].value);
	rq->n_params = 0;
}

const HttpRoute *http_route_find(HttpRequest *rq, const HttpRoute *routes, void *user, int *ret_error)
{
	*ret_error = 0;
	for (; routes->method; routes++) {
		int r;

		if (!streq(routes->method, rq->method))
			continue;
		r = http_route_match(routes->pattern, http_path(rq), rq->params, &rq->n_params);
		if (r > 0 && (!routes->wanted || routes->wanted(rq, user)))
			return routes;
		http_params_free(rq);
		if (r < 0) {
			*ret_error = r;
			return NULL;
		}
	}
	return NULL;
}

const char *http_method(const HttpRequest *rq)
{
	return rq->method;
}

const char *http_path(const HttpRequest *rq)
{
	return rq->own_path ? rq->own_path : rq->path;
}

int http_set_path(HttpRequest *rq, const char *path)
{
	char *own = strdup(path);

	if (!own)
		return -ENOMEM;
	free(rq->own_path);
	rq->own_path = own;
	return 0;
}

const char *http_param(const HttpRequest *rq, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < rq->n_params; i++)
		if (strncmp(rq->params[i].name, name, n) == 0 && strchr(":}", rq->params[i].name[n]))
			return rq->params[i].value;
	return "";
}

const char *http_query_nth(const HttpRequest *rq, const char *name, size_t idx)
{
	for (size_t i = 0; i < rq->n_query; i++)
		if (streq(rq->query[i].name, name) && idx-- == 0)
			return rq->query[i].value;
	return NULL;
}

const char *http_query(const HttpRequest *rq, const char *name)
{
	return http_query_nth(rq, name, 0);
}

bool http_query_bool(const HttpRequest *rq, const char *name, bool otherwise)
{
	const char *v = http_query(rq, name);

	if (!v)
		return otherwise;
	return *v && !streq(v, "0") && strcasecmp(v, "no") != 0 && strcasecmp(v, "false") != 0 &&
	       strcasecmp(v, "none") != 0;
}

int http_query_int(const HttpRequest *rq, const char *name, int64_t *ret, Err *e)
{
	const char *v = http_query(rq, name);

	if (str_empty(v))
		return 0;
	if (str_to_i64(v, ret) < 0)
		return err_new(e, ERR_INVALID, "query parameter %s: \"%.60s\" is not a number", name, v);
	return 0;
}

int http_query_json(const HttpRequest *rq, const char *name, json_t **ret, Err *e)
{
	const char *v = http_query(rq, name);
	int r;

	*ret = NULL;
	if (str_empty(v) || streq(v, "null"))
		return 0;
	r = json_parse_bounded(v, strlen(v), name, ret, e);
	return r < 0 ? err_kind(e, r, ERR_INVALID) : 0;
}

const char *http_header_nth(const HttpRequest *rq, const char *name, size_t idx)
{
	for (size_t i = 0; i < rq->n_headers; i++)
		if (strcasecmp(rq->headers[i].name, name) == 0 && idx-- == 0)
			return rq->headers[i].value;
	return NULL;
}

const char *http_header(const HttpRequest *rq, const char *name)
{
	return http_header_nth(rq, name, 0);
}

void http_set_tag(HttpRequest *rq, int tag)
{
	rq->tag = tag;
}

int http_tag(const HttpRequest *rq)
{
	return rq->tag;
}
