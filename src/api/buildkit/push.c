/* SPDX-License-Identifier: Apache-2.0 */
/* push=true of an image: the engine brings it to its registries itself, with the accounts of the client's session. */
#include "api/buildkit/door-internal.h"

#include "oci/reference.h"

typedef struct Push {
	Job *job;
	const char *vertex;
	char *digest; /* room for one */
	int64_t began_ns;
} Push;

static void progress(void *user, const char *id, const char *status, int64_t current, int64_t total)
{
	const Push *p = user;
	_cleanup_free_ char *text = id ? strf("pushing layer %s", id) : NULL;
	bool whole = total > 0 && current >= total;

	(void)status;
	if (text)
		status_progress(p->job, p->vertex, text, current, total, p->began_ns,
				whole ? clock_now_ns() : 0);
}

static void pushed(void *user, const char *tag _unused_, const char *digest, int64_t size _unused_)
{
	const Push *p = user;

	snprintf(p->digest, DIGEST_LEN + 1, "%s", digest);
}

static int push_one(Push *p, ClientState *c, const char *name, Err *e)
{
	_cleanup_free_ char *repository = NULL, *tag = NULL, *text = strf("pushing manifest for %s", name);
	EnginePush push = {.progress = progress, .pushed = pushed, .user = p, .alive_fd = p->job->alive_fd};
	Reference ref = {0};
	int r = reference_parse(name, &ref, e);

	p->began_ns = clock_now_ns();
	if (r < 0)
		return r;
	repository = strf("%s/%s", ref.domain, ref.path);
	tag = ref.tag ? strdup(ref.tag) : NULL;
	client_auth(c, ref.domain, &push.auth);
	reference_done(&ref);
	if (!repository || !tag || !text)
		return err_oom(e);
	push.reference = repository;
	push.tag = tag;
	r = engine_image_push(p->job->door->engine, &push, e);
	if (r < 0)
		return err_ctx(e, r, "failed to push %s", name);
	status_progress(p->job, p->vertex, text, 0, 0, p->began_ns, clock_now_ns());
	return 0;
}

int export_push(Job *j, const char *vertex, char *const *tags, char ret_digest[DIGEST_LEN + 1], Err *e)
{
	_cleanup_(client_done) ClientState c;
	Push p = {.job = j, .vertex = vertex, .digest = ret_digest};
	int r = tags && *tags ? 0 : err_new(e, ERR_INVALID, "an image that is to be pushed has no name");

	client_init(&c, j);
	for (; r >= 0 && *tags; tags++)
		r = push_one(&p, &c, *tags, e);
	return r;
}
