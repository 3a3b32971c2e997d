/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a request, and the routing of what it names. */
#include "wire/httpd/httpd-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const HttpRoute routes[] = {{"GET", "/a/{id}/json", NULL, 0},
					   {"GET", "/images/{name:*}/json", NULL, 0},
					   {"GET", "/{x:*}", NULL, 0},
					   {NULL, NULL, NULL, 0}};
	HttpRequest *rq = calloc(1, sizeof(*rq));
	int status, error;
	int64_t n;
	Err e;

	if (!rq || size > HTTP_HEAD_MAX || !(rq->head = malloc(size + 1))) {
		free(rq);
		return 0;
	}
	memcpy(rq->head, data, size);
	rq->head[size] = '\0';
	if (http_parse_head(rq, rq->head, size, &status, &e) >= 0) {
		(void)http_check_browser(rq, HTTP_TCP, &e);
		(void)http_wants_upgrade(rq);
		(void)http_route_find(rq, routes, NULL, &error);
		(void)http_query_int(rq, "n", &n, &e);
		(void)http_query_bool(rq, "b", false);
	}
	http_params_free(rq);
	free(rq->query);
	free(rq->head);
	free(rq);
	return 0;
}
