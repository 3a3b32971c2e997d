/* SPDX-License-Identifier: Apache-2.0 */
/* POST /images/{name}/push. `compression` (gzip, zstd) is ours; the rest is Docker's. */
#include "api/docker/door-internal.h"

static const char *query_or_null(HttpRequest *rq, const char *name)
{
	const char *v = http_query(rq, name);

	return str_empty(v) ? NULL : v;
}

static void push_told(void *user, const char *tag, const char *digest, int64_t size)
{
	progress_send(user, json_pack("{s:{}, s:{s:s, s:s, s:I}}", "progressDetail", "aux", "Tag", tag,
				      "Digest", digest, "Size", (json_int_t)size));
}

int h_image_push(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *account = NULL;
	_cleanup_free_ char *platform = NULL;
	_cleanup_(progress_done) Progress p;
	int r;

	progress_init(&p, rq);
	r = auth_header_parse(http_header(rq, "X-Registry-Auth"), &account, e);
	if (r >= 0)
		r = query_platform(rq, "platform", &platform, e);
	if (r < 0)
		return r;
	EnginePush q = {
	    .reference = http_param(rq, "name"),
	    .tag = query_or_null(rq, "tag"),
	    .platform = platform,
	    .compression = query_or_null(rq, "compression"),
	    .progress = progress_status,
	    .pushed = push_told,
	    .user = &p,
	    .alive_fd = http_alive_fd(rq),
	};
	auth_account(account, &q.auth);
	r = engine_image_push(d->engine, &q, e);
	return progress_end(&p, r, e);
}
