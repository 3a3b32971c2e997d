/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images from the user's side: pulling, tagging, loading, importing. What they are made of is the store's
 * and the registry client's business; here are names, events and the caller who may go away. Removing is in image-remove.c.
 */
#include "engine/change.h"
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

static RegistryAuth registry_auth(const EngineAuth *a)
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

static bool client_left(int alive_fd)
{
	struct pollfd pfd = {.fd = alive_fd};

	return alive_fd >= 0 && poll(&pfd, 1, 0) > 0 && (pfd.revents & (POLLERR | POLLHUP | POLLNVAL));
}

static bool pull_cancelled(void *user)
{
	const Pulling *k = user;

	return client_left(k->p->alive_fd);
}

static int pull_parsed(Engine *en, const EnginePull *p, const Reference *ref, const ImagePlatform *platform,
		       char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	_cleanup_free_ char *name = reference_familiar_name(ref), *full = reference_familiar(ref);
	Pulling k = {p};
	RegistryPull rp = {
	    .reference = ref,
	    .platform = platform,
	    .auth = registry_auth(&p->auth),
	    .progress = pull_progress,
	    .user = &k,
	    .cancelled = pull_cancelled,
	};
	char digest[DIGEST_LEN + 1];
	bool updated;
	int r, ended;

	if (!name || !full)
		return err_oom(e);
	store_lease_begin(en->store);
	r = registry_pull(en->registry, en->store, &rp, ret_image_id, digest, &updated, e);
	ended = store_lease_end(en->store, r < 0 ? NULL : e);
	if (r < 0 || ended < 0)
		return r < 0 ? r : ended;
	image_event(en, "pull", full, name);
	return 0;
}

int engine_image_pull(Engine *en, const EnginePull *p, char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	Reference ref = {0};
	ImagePlatform platform = {0};
	int r = reference_parse(p->reference, &ref, e);

	if (r < 0)
		return r;
	if (!str_empty(p->platform))
		r = image_platform_parse(p->platform, &platform, e);
	if (r >= 0)
		r = pull_parsed(en, p, &ref, str_empty(p->platform) ? NULL : &platform, ret_image_id, e);
	image_platform_done(&platform);
	reference_done(&ref);
	return r;
}

/* ---- log in ---- */

static bool login_cancelled(void *user)
{
	return client_left(*(const int *)user);
}

int engine_registry_login(Engine *en, const char *server, const EngineAuth *auth, int alive_fd,
			  char **ret_identity_token, Err *e)
{
	const RegistryLogin l = {.server = str_empty(server) ? "docker.io" : server,
				 .auth = registry_auth(auth),
				 .cancelled = login_cancelled,
				 .user = &alive_fd};

	return registry_login(en->registry, &l, ret_identity_token, e);
}

/* ---- tag ---- */

static int tag_parsed(Engine *en, const Reference *ref, const char *image_id, Err *e)
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
		r = tag_parsed(en, &ref, image_id, e);
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

/* ---- load ---- */

typedef struct Loading {
	Engine *en;
	EngineProgress progress;
	void (*loaded)(void *user, const char *reference, const char *id);
	void *user;
} Loading;

static void load_progress(void *user, const char *layer, int64_t current, int64_t total)
{
	const Loading *l = user;

	if (l->progress)
		l->progress(l->user, layer, "Loading layer", current, total);
}

static void load_done(void *user, const char *reference, const char *image_id)
{
	const Loading *l = user;
	_cleanup_free_ char *name = reference ? image_familiar(reference) : NULL;

	image_event(l->en, "load", image_id, name);
	if (l->loaded)
		l->loaded(l->user, reference, image_id);
}

int engine_image_load(Engine *en, int tar_fd, EngineProgress progress,
		      void (*loaded)(void *user, const char *reference, const char *id), void *user, Err *e)
{
	Loading l = {en, progress, loaded, user};
	ArchiveLoad a = {.fd = tar_fd, .progress = load_progress, .loaded = load_done, .user = &l};

	int r, ended;

	store_lease_begin(en->store);
	r = store_archive_load(en->store, &a, e);
	ended = store_lease_end(en->store, r < 0 ? NULL : e);
	return r < 0 ? r : ended;
}

/* ---- import ---- */

static int import_checked(Engine *en, int tar_fd, const char *message, char *const *changes,
			  const ImagePlatform *platform, char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	ImageRunConfig run = {.stop_timeout = -1};
	int r = change_apply_all(&run, changes, e), ended;

	if (r >= 0) {
		store_lease_begin(en->store);
		r = store_archive_import(en->store, tar_fd, &run, message, platform, ret_image_id, e);
		ended = store_lease_end(en->store, r < 0 ? NULL : e);
		r = r < 0 ? r : ended;
	}
	image_run_config_done(&run);
	return r;
}

int engine_image_import(Engine *en, int tar_fd, const char *reference, const char *message,
			char *const *changes, const char *platform, char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	ImagePlatform plat = {0};
	Reference ref = {0};
	/* A name that is wrong is told before the archive is read. */
	int r = str_empty(reference) ? 0 : reference_parse(reference, &ref, e);

	if (r >= 0)
		r = image_platform_parse(platform, &plat, e);
	if (r >= 0)
		r = import_checked(en, tar_fd, message, changes, &plat, ret_image_id, e);
	if (r >= 0)
		image_event(en, "import", ret_image_id, reference);
	if (r >= 0 && !str_empty(reference))
		r = tag_parsed(en, &ref, ret_image_id, e);
	reference_done(&ref);
	image_platform_done(&plat);
	return r;
}
