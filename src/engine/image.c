/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images from the user's side: pulling and tagging. What they are made of is the store's and the registry client's
 * business; here are names, events and the caller who may go away. Removing is in image-remove.c, archives in image-archive.c.
 */
#include "engine/image-internal.h"

#include <poll.h>

void image_event(Engine *en, const char *action, const char *id, const char *name)
{
	_cleanup_free_ char *attribute = strf("name=%s", name ? name : id);
	char *attributes[] = {attribute, NULL};

	engine_event(en, "image", action, id, attributes);
}

char *image_familiar(const char *reference)
{
	Reference ref = {0};
	char *s;

	if (reference_parse(reference, &ref, NULL) < 0)
		return strdup(reference);
	s = reference_familiar(&ref);
	reference_done(&ref);
	return s;
}

/* ---- pull ---- */

RegistryAuth image_registry_auth(const EngineAuth *a)
{
	return (RegistryAuth){.username = a->username,
			      .password = a->password,
			      .identity_token = a->identity_token,
			      .registry_token = a->registry_token};
}

typedef struct Pulling {
	const EnginePull *p;
} Pulling;

static void pull_progress(void *user, const char *id, const char *status, int64_t current, int64_t total)
{
	const Pulling *k = user;

	if (k->p->progress)
		k->p->progress(k->p->user, id, status, current, total);
}

bool image_client_left(int alive_fd)
{
	struct pollfd pfd = {.fd = alive_fd};

	return alive_fd >= 0 && poll(&pfd, 1, 0) > 0 && (pfd.revents & (POLLERR | POLLHUP | POLLNVAL));
}

static bool pull_cancelled(void *user)
{
	const Pulling *k = user;

	return image_client_left(k->p->alive_fd);
}

static int pull_parsed(Engine *en, const EnginePull *p, const Reference *ref, const ImagePlatform *platform,
		       char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	_cleanup_free_ char *name = reference_familiar_name(ref), *full = reference_familiar(ref);
	Pulling k = {p};
	RegistryPull rp = {
	    .reference = ref,
	    .platform = platform,
	    .aside = p->aside,
	    .auth = image_registry_auth(&p->auth),
	    .progress = pull_progress,
	    .user = &k,
	    .cancelled = pull_cancelled,
	};
	char digest[DIGEST_LEN + 1];
	EngineSpace space;
	bool updated;
	int r, ended;

	if (!name || !full)
		return err_oom(e);
	engine_space_begin(en, &space);
	store_lease_begin(en->store);
	r = registry_pull(en->registry, en->store, &rp, ret_image_id, digest, &updated, e);
	ended = store_lease_end(en->store, r < 0 ? NULL : e);
	if (r < 0 || ended < 0)
		return engine_space_end(en, &space, r < 0 ? r : ended, e);
	image_event(en, "pull", full, name);
	return 0;
}

/* One after the other, as the first that fails ends it. */
static int pull_all_tags(Engine *en, const EnginePull *p, Reference *ref, const ImagePlatform *platform,
			 char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	const Pulling k = {p};
	const RegistryPull rp = {.reference = ref,
				 .auth = image_registry_auth(&p->auth),
				 .progress = pull_progress,
				 .cancelled = pull_cancelled,
				 .user = (void *)&k};
	_cleanup_strv_ char **tags = NULL;
	int r = registry_tags(en->registry, &rp, &tags, e);

	if (r == 0 && strv_len(tags) == 0)
		r = err_new(e, ERR_NOT_FOUND, "repository %s has no tags", p->reference);
	for (char **t = tags; r >= 0 && t && *t; t++) {
		free(ref->tag);
		ref->tag = strdup(*t);
		r = ref->tag ? pull_parsed(en, p, ref, platform, ret_image_id, e) : err_oom(e);
	}
	return r;
}

int engine_image_pull(Engine *en, const EnginePull *p, char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	Reference ref = {0};
	ImagePlatform platform = {0};
	const ImagePlatform *wanted = str_empty(p->platform) ? NULL : &platform;
	int r = reference_parse(p->reference, &ref, e);

	if (r < 0)
		return r;
	if (wanted)
		r = image_platform_parse(p->platform, &platform, e);
	if (r >= 0)
		r = p->all_tags ? pull_all_tags(en, p, &ref, wanted, ret_image_id, e)
				: pull_parsed(en, p, &ref, wanted, ret_image_id, e);
	image_platform_done(&platform);
	reference_done(&ref);
	return r;
}

/* ---- log in ---- */

static bool login_cancelled(void *user)
{
	return image_client_left(*(const int *)user);
}

int engine_registry_login(Engine *en, const char *server, const EngineAuth *auth, int alive_fd,
			  char **ret_identity_token, Err *e)
{
	const RegistryLogin l = {.server = str_empty(server) ? "docker.io" : server,
				 .auth = image_registry_auth(auth),
				 .cancelled = login_cancelled,
				 .user = &alive_fd};

	return registry_login(en->registry, &l, ret_identity_token, e);
}

/* ---- tag ---- */

int image_tag_parsed(Engine *en, const Reference *ref, const char *image_id, Err *e)
{
	_cleanup_free_ char *full = reference_full(ref), *familiar = reference_familiar(ref);
	int r;

	if (!full || !familiar)
		return err_oom(e);
	if (ref->digest)
		return err_new(e, ERR_INVALID, "refusing to create a tag with a digest reference: %s",
			       familiar);
	if (streq(ref->domain, "docker.io") && streq(ref->path, "library/sha256"))
		return err_new(e, ERR_INVALID,
			       "refusing to create an ambiguous tag using digest algorithm as name: %s",
			       familiar);
	r = store_tag_put(en->store, full, image_id, NULL, e);
	if (r >= 0)
		image_event(en, "tag", image_id, familiar);
	return r;
}

int image_tag_as(Engine *en, const char *reference, const char *image_id, Err *e)
{
	Reference ref = {0};
	int r = reference_parse(reference, &ref, e);

	if (r >= 0)
		r = image_tag_parsed(en, &ref, image_id, e);
	reference_done(&ref);
	return r;
}

int engine_image_tag(Engine *en, const char *image, const char *repo, const char *tag, Err *e)
{
	_cleanup_free_ char *reference = str_empty(tag) ? strdup(repo ?: "") : strf("%s:%s", repo ?: "", tag);
	StoreImage i = {0};
	int r;

	if (!reference)
		return err_oom(e);
	r = store_image_find(en->store, image, &i, e);
	if (r < 0)
		return r;
	r = image_tag_as(en, reference, i.id, e);
	store_image_done(&i);
	return r;
}
