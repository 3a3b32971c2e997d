/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FROM: what a stage begins with: nothing, another stage, or an image, whose ONBUILD triggers run then.
 */
#include "build/cache-image.h"
#include "build/copy.h"
#include "build/layout.h"
#include "build/solve.h"

typedef struct Pull {
	Build *b;
	BuildVertex *vertex;
} Pull;

static void pull_progress(void *user, const char *id, const char *status, int64_t current, int64_t total)
{
	const Pull *p = user;

	if (str_empty(id))
		return;
	vertex_progress(p->b, p->vertex, id, current, total,
			streq0(status, "Pull complete") || streq0(status, "Already exists"));
}

static int pull(Build *b, const char *reference, const char *platform, StoreImage *ret, Err *e)
{
	BuildVertex *v = vertex_new(b, 0, "[%s%sinternal] load metadata for %s", b->label ?: "",
				    b->label ? " " : "", reference);
	Pull to = {b, v};
	EnginePull p = {.reference = reference,
			.platform = platform,
			.aside = true,
			.progress = pull_progress,
			.user = &to,
			.alive_fd = b->alive_fd};
	char id[DIGEST_LEN + 1];
	Reference ref = {0};
	int r = v ? reference_parse(reference, &ref, e) : err_oom(e);

	if (r < 0)
		return r;
	vertex_begin(b, v);
	if (b->rq->client->auth)
		b->rq->client->auth(b->rq->client->user, ref.domain, &p.auth);
	reference_done(&ref);
	r = vertex_end(b, v, engine_image_pull(b->en, &p, id, e), e);
	return r < 0 ? r : store_image_find(b->store, id, ret, e);
}

/* Of what was built for several platforms, the image of this one. */
static int choose_platform(Build *b, StoreImage *image, const char *platform, Err *e)
{
	ImagePlatform want = {0};
	int r;

	if (!image->has_parts)
		return 0;
	r = image_platform_parse(platform, &want, e);
	if (r >= 0)
		r = store_image_choose(b->store, image, &want, e);
	image_platform_done(&want);
	return r;
}

static bool platform_fits(Build *b, const StoreImage *image, const char *platform)
{
	ImagePlatform want = {0};
	ImageConfig config = {0};
	bool fits = true;

	if (str_empty(platform))
		return true;
	if (image_platform_parse(platform, &want, NULL) >= 0 &&
	    store_image_config(b->store, image->id, &config, NULL) >= 0)
		fits = streq0(config.platform.os, want.os) &&
		       streq0(config.platform.architecture, want.architecture);
	image_platform_done(&want);
	image_config_done(&config);
	return fits;
}

/* "pkg:docker/library/alpine@3.20?platform=linux%2Famd64" with the digest that it was fetched by, or its id. */
static int note_material(Build *b, const char *reference, const StoreImage *image, const char *platform,
			 Err *e)
{
	Reference ref = {0};
	_cleanup_free_ char *name = NULL, *uri = NULL, *encoded = NULL;
	_cleanup_strv_ char **parts = NULL;

	if (!b->rq->provenance)
		return 0;
	if (reference_parse(reference, &ref, NULL) >= 0)
		name = reference_familiar_name(&ref);
	if (!str_empty(platform) && (parts = strv_split(platform, '/')))
		encoded = strv_join(parts, "%2F");
	uri = strf("pkg:docker/%s%s%s%s%s", name ?: reference, ref.tag ? "@" : "", ref.tag ?: "",
		   encoded ? "?platform=" : "", encoded ?: "");
	reference_done(&ref);
	return uri ? material_add(b, uri, "sha256", digest_hex(image->manifest_digest ?: image->id), e)
		   : err_oom(e);
}

static int image_get(Build *b, const char *reference, const char *platform, StoreImage *ret, Err *e)
{
	Err missing = {0};
	int r = b->rq->pull ? -ENOENT : store_image_find(b->store, reference, ret, &missing);

	int chosen = r >= 0 ? choose_platform(b, ret, platform, e) : 0;

	if (chosen < 0) {
		store_image_done(ret);
		return chosen;
	}
	if (r >= 0 && platform_fits(b, ret, platform))
		return r;
	if (r >= 0)
		store_image_done(ret);
	else if (!b->rq->pull && missing.kind != ERR_NOT_FOUND) {
		if (e)
			*e = missing;
		return r;
	}
	return pull(b, reference, platform, ret, e);
}

int build_image_get(Build *b, const char *reference, const char *platform, StoreImage *ret, Err *e)
{
	const char *named = build_named_context(b, reference);
	const char *image = named ? str_after(named, "docker-image://") : NULL;
	int r;

	if (named && str_starts(named, "target:"))
		return err_new(e, ERR_INVALID, "failed to find target %.200s for context %s",
			       str_after(named, "target:"), reference);
	if (named && str_starts(named, "oci-layout://"))
		return layout_image(b, reference, named, platform, ret, e);
	if (named && !image)
		return err_new(e, ERR_UNSUPPORTED,
			       "the named context %s is %.200s, and an image is wanted here: name one with "
			       "docker-image://",
			       reference, named);
	if (image)
		reference = image;
	r = image_get(b, reference, platform, ret, e);
	return r < 0 ? r : note_material(b, reference, ret, platform, e);
}

/* Every image says where programs are looked for. */
static int default_path(Stage *s, Err *e)
{
	if (strv_env_get(s->config.run.env, "PATH"))
		return 0;
	return strv_add(&s->config.run.env,
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") < 0
		   ? err_oom(e)
		   : 0;
}

static int scratch(Build *b, Stage *s, Err *e)
{
	int r;

	s->config.run.stop_timeout = -1;
	s->config.run.working_dir = strdup("/");
	if (!s->config.run.working_dir)
		return err_oom(e);
	cache_key(s->key, "", "FROM scratch", NULL);
	r = image_platform_parse(s->platform ?: b->rq->platform, &s->config.platform, e);
	return r < 0 ? r : default_path(s, e);
}

static int from_stage(Build *b, Stage *s, Err *e)
{
	const Stage *other = s->parent;
	_cleanup_json_ json_t *doc = NULL;
	int r = build_await(b, s->parent, e);

	if (r < 0)
		return r;
	doc = image_config_encode(&other->config);
	r = doc ? image_config_decode(doc, &s->config, e) : err_oom(e);
	if (r < 0)
		return r;
	s->args = strv_dup(other->args);
	s->declared = strv_dup(other->declared);
	s->base_id = other->base_id ? strdup(other->base_id) : NULL;
	s->chain = other->chain ? strdup(other->chain) : NULL;
	s->time_ns = other->time_ns;
	s->n_inherited = other->n_inherited;
	s->n_base_layers = other->n_base_layers;
	r = cache_records_copy(&other->records, other->n_records, &s->records, &s->n_records, e);
	memcpy(s->key, other->key, sizeof(s->key));
	return r;
}

static int onbuild_run(Build *b, Stage *s, Err *e)
{
	_cleanup_strv_ char **triggers = take_ptr(s->config.run.on_build);
	int r = 0;

	for (size_t i = 0; r >= 0 && triggers && triggers[i]; i++) {
		Dockerfile one = {0};

		build_tell(b, BUILD_NOTE, "# Executing build trigger %zu: %s", i + 1, triggers[i]);
		r = dockerfile_parse_step(triggers[i], &one, e);
		if (r >= 0)
			r = build_late(b, s, &one.steps[0], e);
		if (r >= 0)
			r = stage_step(b, s, &one.steps[0], e);
		r = err_ctx(e, r, "ONBUILD %.200s", triggers[i]);
		dockerfile_done(&one);
	}
	return r;
}

/* What another build of the client has come to. */
static int from_result(Build *b, Stage *s, const char *key, Err *e)
{
	BuildResult *other;
	BuildBase base;
	int r = build_input(b, key, &other, e);

	if (r < 0)
		return r;
	build_result_base(other, &base);
	_cleanup_json_ json_t *doc = image_config_encode(base.config);
	r = doc ? image_config_decode(doc, &s->config, e) : err_oom(e);
	if (r < 0)
		return r;
	s->base_id = base.base_id ? strdup(base.base_id) : NULL;
	s->n_inherited = s->config.n_history;
	s->n_base_layers = strv_len(s->config.diff_ids);
	s->chain = base.chain ? strdup(base.chain) : NULL;
	if (s->config.created)
		(void)clock_parse(s->config.created, &s->time_ns); /* an unreadable time counts as none */
	cache_key(s->key, "FROM result", base.text, NULL);
	return default_path(s, e);
}

/* Files alone: an image of one layer that says nothing of how it is run. */
static int from_directory(Build *b, Stage *s, Err *e)
{
	_cleanup_free_ char *told = strf("FROM %s", s->base);
	int r = told ? scratch(b, s, e) : err_oom(e);

	return r < 0 ? r : copy_whole(b, s, &b->df.steps[s->first], s->base, told, e);
}

static int from_image(Build *b, Stage *s, Err *e)
{
	const char *named = build_named_context(b, s->base), *key = named ? str_after(named, "input:") : NULL;
	StoreImage image = {0};

	if (key)
		return from_result(b, s, key, e);
	if (build_named_directory(b, s->base))
		return from_directory(b, s, e);

	int r = build_image_get(b, s->base, s->platform ?: b->rq->platform, &image, e);
	if (r >= 0)
		r = store_image_config(b->store, image.id, &s->config, e);
	if (r >= 0)
		r = build_lint_base(b, s, e);
	if (r >= 0) {
		s->base_id = strdup(image.id);
		s->n_inherited = s->config.n_history;
		s->n_base_layers = strv_len(s->config.diff_ids);
		s->chain = image.chain_id ? strdup(image.chain_id) : NULL;
		if (s->config.created)
			(void)clock_parse(s->config.created,
					  &s->time_ns); /* an unreadable time counts as none */
		cache_key(s->key, "FROM", image.id, NULL);
		build_tell(b, BUILD_NOTE, " ---> %.12s", digest_hex(image.id));
		r = store_image_used(b->store, image.id, e);
	}
	store_image_done(&image);
	return r < 0 ? r : default_path(s, e);
}

/* Layers whose files are to be older are other layers. */
static int epoch_into_key(const Build *b, Stage *s, Err *e)
{
	char text[64], key[DIGEST_LEN + 1];
	int64_t ns;
	int r = build_epoch(b, &ns, e);

	if (r <= 0)
		return r;
	snprintf(text, sizeof(text), "SOURCE_DATE_EPOCH %lld", (long long)ns);
	cache_key(key, s->key, text, NULL);
	memcpy(s->key, key, sizeof(key));
	return 0;
}

int stage_from(Build *b, Stage *s, Err *e)
{
	int r;

	if (s->parent) {
		r = from_stage(b, s, e);
		s->vertex = NULL;
	} else if (streq(s->base, "scratch")) {
		r = scratch(b, s, e);
	} else {
		vertex_begin(b, s->vertex);
		r = vertex_end(b, s->vertex, from_image(b, s, e), e);
	}
	if (r >= 0 && !s->parent)
		r = epoch_into_key(b, s, e);
	return r < 0 ? r : onbuild_run(b, s, e);
}
