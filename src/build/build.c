/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The builder: stages in the order of the Dockerfile, only those that the target needs, each step
 * applied to the stage's state.
 *
 * Instructions that only change the configuration are computed afresh each time; those that change files go through
 * the cache. The result depends on nothing else: a build that finds all its layers in the cache gives the very
 * same image id again, because times come from the layers.
 */
#include "build/build-internal.h"
#include "engine/change.h"

#include <ctype.h>
#include <poll.h>
#include <stdarg.h>

void build_note(Build *b, BuildOutputKind kind, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	BuildOutput o = {.kind = kind, .text = text, .len = n < 0 ? 0 : MIN2((size_t)n, sizeof(text) - 1)};
	if (b->rq->output)
		b->rq->output(b->rq->user, &o);
}

int step_fail(const Build *b, const DockerfileStep *step, int r, Err *e)
{
	/* A failing RUN names its place itself, behind the wording that clients look for. */
	return b->exit_code ? r : err_ctx(e, r, "%s:%d", b->dockerfile_name, step->line);
}

/* ---- stages ---- */

Stage *build_stage(Build *b, const char *name)
{
	int number;

	for (size_t i = 0; i < b->n_stages; i++)
		if (b->stages[i].name && strcasecmp(b->stages[i].name, name) == 0)
			return &b->stages[i];
	if (str_to_int(name, 0, (int)b->n_stages - 1, &number) >= 0)
		return &b->stages[number];
	return NULL;
}

static void stage_done(Stage *s)
{
	free(s->name);
	image_config_done(&s->config);
	free(s->base_id);
	free(s->chain);
	strv_free(s->args);
}

/* "image [AS name]" of a FROM, expanded with the global ARGs. */
static int from_words(Build *b, const DockerfileStep *step, char ***ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_strv_ char **words = NULL;
	int r = dockerfile_expand(step->text, b->df.escape, b->global_args, true, &text, e);

	if (r >= 0)
		r = dockerfile_words(text, b->df.escape, &words, e);
	if (r < 0)
		return r;
	size_t n = strv_len(words);
	if (n == 0 || !*words[0])
		return err_new(e, ERR_INVALID, "base name (%s) should not be blank", step->text);
	if (n != 1 && !(n == 3 && strcasecmp(words[1], "AS") == 0))
		return err_new(e, ERR_INVALID,
			       "FROM requires either one argument, or three: FROM <source> [AS <name>]");
	*ret = take_ptr(words);
	return 0;
}

static int stages_find(Build *b, Err *e)
{
	const Dockerfile *d = &b->df;

	b->stages = calloc(d->n_steps + 1, sizeof(*b->stages));
	if (!b->stages)
		return err_oom(e);
	for (size_t i = 0; i < d->n_steps; i++) {
		_cleanup_strv_ char **words = NULL;
		int r;

		if (b->n_stages > 0)
			b->stages[b->n_stages - 1].last = i + 1;
		if (d->steps[i].verb != DF_FROM)
			continue;
		if (b->n_stages > 0)
			b->stages[b->n_stages - 1].last = i;
		r = from_words(b, &d->steps[i], &words, e);
		if (r < 0)
			return step_fail(b, &d->steps[i], r, e);
		Stage *s = &b->stages[b->n_stages++];
		s->first = i;
		s->last = i + 1;
		if (strv_len(words) == 3) {
			for (char *p = words[2]; *p; p++)
				*p = (char)tolower((unsigned char)*p);
			if (!isalpha((unsigned char)*words[2]))
				return step_fail(b, &d->steps[i],
						 err_new(e, ERR_INVALID,
							 "invalid name for build stage: \"%s\", name can't "
							 "start with a number or contain symbols",
							 words[2]),
						 e);
			s->name = strdup(words[2]);
			if (!s->name)
				return err_oom(e);
		}
	}
	return 0;
}

/* Marks what stage `i` needs, itself included. Stages refer only to earlier ones, so this ends. */
static int need(Build *b, size_t i, bool *needed, Err *e)
{
	Stage *s = &b->stages[i];
	int r = 0;

	if (needed[i])
		return 0;
	needed[i] = true;
	for (size_t k = s->first; r >= 0 && k < s->last; k++) {
		_cleanup_strv_ char **words = NULL;
		const char *name = NULL;
		Stage *other;

		if (b->df.steps[k].verb == DF_FROM) {
			r = from_words(b, &b->df.steps[k], &words, e);
			name = r < 0 ? NULL : words[0];
		} else if (b->df.steps[k].verb == DF_COPY) {
			name = dockerfile_flag(&b->df.steps[k], "from");
		}
		other = name ? build_stage(b, name) : NULL;
		if (other && other < s)
			r = need(b, (size_t)(other - b->stages), needed, e);
		b->steps_total++;
	}
	return r;
}

/* ---- variables ---- */

static const char *const predefined_args[] = {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy",
					      "FTP_PROXY",  "ftp_proxy",  "NO_PROXY",    "no_proxy",
					      "ALL_PROXY",  "all_proxy"};

static int arg_values(Build *b, const char *text, char *const *env, char ***args, bool in_stage, Err *e)
{
	_cleanup_free_ char *expanded = NULL;
	_cleanup_strv_ char **words = NULL;
	int r = dockerfile_expand(text, b->df.escape, env, true, &expanded, e);

	if (r >= 0)
		r = dockerfile_words(expanded, b->df.escape, &words, e);
	for (size_t i = 0; r >= 0 && words[i]; i++) {
		size_t n = strcspn(words[i], "=");
		_cleanup_free_ char *name = strndup(words[i], n), *assignment = NULL;
		const char *given = name ? strv_env_get(b->rq->args, name) : NULL;
		const char *global = name && in_stage ? strv_env_get(b->global_args, name) : NULL;

		if (!name)
			return err_oom(e);
		if (n == 0)
			return err_new(e, ERR_INVALID, "ARG names can not be blank");
		if (given)
			assignment = strf("%s=%s", name, given);
		else if (words[i][n])
			assignment = strdup(words[i]);
		else if (global)
			assignment = strf("%s=%s", name, global);
		else
			continue; /* declared without a value */
		if (!assignment || strv_env_set(args, assignment) < 0)
			return err_oom(e);
	}
	return r;
}

int stage_environment(const Stage *s, char ***ret, Err *e)
{
	_cleanup_strv_ char **env = strv_dup(s->args);

	if (!env)
		return err_oom(e);
	for (size_t i = 0; s->config.run.env && s->config.run.env[i]; i++)
		if (strv_env_set(&env, s->config.run.env[i]) < 0)
			return err_oom(e);
	*ret = take_ptr(env);
	return 0;
}

static int args_of_builder(Build *b, Stage *s)
{
	for (size_t i = 0; i < ELEMENTSOF(predefined_args); i++) {
		const char *v = strv_env_get(b->rq->args, predefined_args[i]);

		if (v && strv_take(&s->args, strf("%s=%s", predefined_args[i], v)) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* ---- history ---- */

static int history_add(Stage *s, const char *created_by, bool empty, int64_t time_ns, Err *e)
{
	ImageHistory *grown = realloc(s->config.history, (s->config.n_history + 1) * sizeof(*grown));

	if (!grown)
		return err_oom(e);
	s->config.history = grown;
	ImageHistory *h = &grown[s->config.n_history++];
	*h = (ImageHistory){
	    .created = strdup(clock_rfc3339(time_ns).s),
	    .created_by = strdup(created_by),
	    .empty_layer = empty,
	};
	return h->created && h->created_by ? 0 : err_oom(e);
}

int stage_add_layer(Build *b, Stage *s, const DockerfileStep *step, const char *key, const CacheHit *h,
		    Err *e)
{
	int r = cache_put(b, key, h, e);

	if (r < 0)
		return r;
	/* What a step gave belongs to the keys of those after it: run again (--no-cache), it may have given another layer, and what
	 * was once made on the former one does not fit on this. */
	cache_key(s->key, key, h->empty ? "" : h->diff, NULL);
	s->time_ns = MAX2(s->time_ns, h->created_ns);
	if (!h->empty) {
		free(s->chain);
		s->chain = strdup(h->chain);
		if (!s->chain || strv_add(&s->config.diff_ids, h->diff) < 0)
			return err_oom(e);
	}
	return history_add(s, step->original, h->empty, h->created_ns, e);
}

/* ---- steps that only change the configuration ---- */

static int change(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	_cleanup_strv_ char **env = NULL;
	_cleanup_free_ char *text = NULL, *line = NULL;
	/* The words of a command are the container's shell's to expand. */
	bool expand = step->verb != DF_CMD && step->verb != DF_ENTRYPOINT && step->verb != DF_ONBUILD;
	int r = 0;

	if (expand) {
		r = stage_environment(s, &env, e);
		if (r >= 0)
			r = dockerfile_expand(step->text, b->df.escape, env, true, &text, e);
	}
	if (r < 0)
		return r;
	line = strf("%s %s", dockerfile_verb_name(step->verb), text ?: step->text);
	return line ? engine_apply_change(&s->config.run, line, e) : err_oom(e);
}

static int configure(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	_cleanup_strv_ char **env = NULL;
	_cleanup_free_ char *shown = NULL;
	char key[DIGEST_LEN + 1];
	int r = 0;

	switch (step->verb) {
	case DF_ARG:
		r = stage_environment(s, &env, e);
		if (r >= 0)
			r = arg_values(b, step->text, env, &s->args, true, e);
		break;
	case DF_HEALTHCHECK:
		r = change_health(&s->config.run, step->flags, step->text, e);
		break;
	case DF_SHELL:
		r = change_shell(&s->config.run, step->text, e);
		break;
	case DF_MAINTAINER:
		free(s->config.author);
		s->config.author = strdup(step->text);
		break;
	default:
		r = change(b, s, step, e);
	}
	if (r < 0)
		return r;
	shown = strf("%s", step->original);
	cache_key(key, s->key, shown ?: "", NULL);
	memcpy(s->key, key, sizeof(key));
	return history_add(s, step->original, true, s->time_ns, e);
}

static int step_do(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	switch (step->verb) {
	case DF_RUN:
		return step_run(b, s, step, e);
	case DF_COPY:
	case DF_ADD:
		return step_copy(b, s, step, e);
	case DF_WORKDIR:
		return step_workdir(b, s, step, e);
	default:
		return configure(b, s, step, e);
	}
}

/* ---- FROM ---- */

static void pull_progress(void *user, const char *id, const char *status, int64_t current, int64_t total)
{
	Build *b = user;
	BuildOutput o = {.kind = BUILD_PULL,
			 .text = status,
			 .len = strlen(status),
			 .id = id,
			 .current = current,
			 .total = total};

	if (b->rq->output)
		b->rq->output(b->rq->user, &o);
}

int build_image_get(Build *b, const char *reference, StoreImage *ret, Err *e)
{
	EnginePull p = {.reference = reference,
			.platform = b->rq->platform,
			.progress = pull_progress,
			.user = b,
			.alive_fd = b->rq->alive_fd};
	char id[DIGEST_LEN + 1];
	Reference ref = {0};
	Err missing = {0};
	int r = b->rq->pull ? -ENOENT : store_image_find(b->store, reference, ret, &missing);

	if (r >= 0)
		return r;
	if (!b->rq->pull && missing.kind != ERR_NOT_FOUND) {
		if (e)
			*e = missing;
		return r;
	}
	r = reference_parse(reference, &ref, e);
	if (r < 0)
		return r;
	if (b->rq->auth)
		b->rq->auth(b->rq->user, ref.domain, &p.auth);
	reference_done(&ref);
	r = engine_image_pull(b->en, &p, id, e);
	return r < 0 ? r : store_image_find(b->store, id, ret, e);
}

static int scratch(Stage *s, Err *e)
{
	s->config.run.stop_timeout = -1;
	cache_key(s->key, "", "FROM scratch", NULL);
	return image_platform_parse(NULL, &s->config.platform, e);
}

static int from_stage(Stage *s, const Stage *other, Err *e)
{
	_cleanup_json_ json_t *doc = image_config_encode(&other->config);
	int r = doc ? image_config_decode(doc, &s->config, e) : err_oom(e);

	if (r < 0)
		return r;
	s->base_id = other->base_id ? strdup(other->base_id) : NULL;
	s->chain = other->chain ? strdup(other->chain) : NULL;
	s->time_ns = other->time_ns;
	s->n_inherited = other->n_inherited;
	memcpy(s->key, other->key, sizeof(s->key));
	return 0;
}

static int onbuild_run(Build *b, Stage *s, Err *e)
{
	_cleanup_strv_ char **triggers = take_ptr(s->config.run.on_build);
	int r = 0;

	for (size_t i = 0; r >= 0 && triggers && triggers[i]; i++) {
		Dockerfile one = {0};

		build_note(b, BUILD_NOTE, "# Executing build trigger %zu: %s", i + 1, triggers[i]);
		r = dockerfile_parse_step(triggers[i], &one, e);
		if (r >= 0)
			r = step_do(b, s, &one.steps[0], e);
		dockerfile_done(&one);
	}
	return r;
}

static int from(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	_cleanup_strv_ char **words = NULL;
	StoreImage image = {0};
	Stage *other;
	int r = from_words(b, step, &words, e);

	if (r < 0)
		return r;
	if (args_of_builder(b, s) < 0)
		return err_oom(e);
	if (streq(words[0], "scratch"))
		return scratch(s, e);
	other = build_stage(b, words[0]);
	if (other && other < s)
		return from_stage(s, other, e);
	r = build_image_get(b, words[0], &image, e);
	if (r >= 0)
		r = store_image_config(b->store, image.id, &s->config, e);
	if (r >= 0) {
		s->base_id = strdup(image.id);
		s->n_inherited = s->config.n_history;
		s->chain = image.chain_id ? strdup(image.chain_id) : NULL;
		if (s->config.created)
			(void)clock_parse(s->config.created,
					  &s->time_ns); /* an unreadable time counts as none */
		cache_key(s->key, "FROM", image.id, NULL);
		build_note(b, BUILD_NOTE, " ---> %.12s", digest_hex(image.id));
	}
	store_image_done(&image);
	return r < 0 ? r : onbuild_run(b, s, e);
}

/* ---- the whole ---- */

int build_cancelled(Err *e)
{
	return err_new(e, ERR_CANCELLED, "the build was cancelled by its client");
}

static bool cancelled(const Build *b)
{
	struct pollfd p = {.fd = b->rq->alive_fd};

	return b->rq->alive_fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP));
}

static int stage_build(Build *b, Stage *s, Err *e)
{
	int r = 0;

	for (size_t i = s->first; r >= 0 && i < s->last; i++) {
		const DockerfileStep *step = &b->df.steps[i];

		if (cancelled(b))
			return build_cancelled(e);
		build_note(b, BUILD_STEP, "Step %zu/%zu : %s", ++b->steps_done, b->steps_total,
			   step->original);
		r = step->verb == DF_FROM ? from(b, s, step, e) : step_do(b, s, step, e);
		if (r < 0)
			return step_fail(b, step, r, e);
	}
	s->done = true;
	return r;
}

static int labels_apply(Build *b, Stage *s, Err *e)
{
	for (size_t i = 0; b->rq->labels && b->rq->labels[i]; i++)
		if (strv_env_set(&s->config.run.labels, b->rq->labels[i]) < 0)
			return err_oom(e);
	return 0;
}

/* When the image says that it was made: with the last step, unless the build argument SOURCE_DATE_EPOCH says when everything was. */
static int dates_apply(Build *b, Stage *s, Err *e)
{
	const char *epoch = strv_env_get(b->rq->args, "SOURCE_DATE_EPOCH");
	int64_t ns = s->time_ns ?: clock_now_ns();
	bool given = !str_empty(epoch);

	if (given && (strspn(epoch, "0123456789") != strlen(epoch) || clock_parse(epoch, &ns) < 0))
		return err_new(e, ERR_INVALID,
			       "build argument SOURCE_DATE_EPOCH=%.40s: expected seconds since 1970", epoch);
	TimeText at = clock_rfc3339(ns);
	free(s->config.created);
	s->config.created = strdup(at.s);
	for (size_t i = s->n_inherited; given && s->config.created && i < s->config.n_history; i++) {
		free(s->config.history[i].created);
		s->config.history[i].created = strdup(at.s);
		if (!s->config.history[i].created)
			return err_oom(e);
	}
	return s->config.created ? 0 : err_oom(e);
}

static int image_write(Build *b, Stage *s, char ret_id[DIGEST_LEN + 1], Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL;
	int r = labels_apply(b, s, e);

	if (r >= 0)
		r = dates_apply(b, s, e);
	if (r < 0)
		return r;
	doc = image_config_encode(&s->config);
	text = doc ? json_text(doc) : NULL;
	if (!text)
		return err_oom(e);
	r = store_blob_put(b->store, text, strlen(text), ret_id, e);
	if (r >= 0)
		r = store_image_put(b->store, ret_id, NULL, s->base_id, e);
	for (size_t i = 0; r >= 0 && b->rq->tags && b->rq->tags[i]; i++) {
		Reference ref = {0};
		_cleanup_free_ char *full = NULL;

		r = reference_parse(b->rq->tags[i], &ref, e);
		if (r >= 0)
			full = reference_full(&ref);
		reference_done(&ref);
		if (r >= 0)
			r = full ? store_tag_put_new(b->store, full, ret_id, NULL, s->base_id, e)
				 : err_oom(e);
	}
	return r;
}

static int tags_check(const BuildRequest *rq, Err *e)
{
	for (size_t i = 0; rq->tags && rq->tags[i]; i++) {
		Reference ref = {0};
		int r = reference_parse(rq->tags[i], &ref, e);

		reference_done(&ref);
		if (r < 0)
			return err_ctx(e, r, "invalid argument \"%s\" for tag", rq->tags[i]);
	}
	return 0;
}

static int dockerfile_load(Build *b, Err *e)
{
	const char *path = str_empty(b->rq->dockerfile) ? "Dockerfile" : b->rq->dockerfile;
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	b->dockerfile_name = strdup(path);
	if (!b->dockerfile_name)
		return err_oom(e);
	if (b->rq->dockerfile_text)
		return dockerfile_parse(b->rq->dockerfile_text, strlen(b->rq->dockerfile_text), path, &b->df,
					e);
	fd = path_open_in_root(b->rq->context_fd, path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return err_new(e, ERR_INVALID,
			       "Cannot locate specified Dockerfile: %s: put one into the context or name it "
			       "with -f (%s)",
			       path, strerror(-fd));
	r = fd_read_all(fd, DOCKERFILE_MAX, &text, &len);
	if (r < 0)
		return err_sys(e, r, "read %s", path);
	return dockerfile_parse(text, len, path, &b->df, e);
}

static int global_args_read(Build *b, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < b->df.n_steps && b->df.steps[i].verb == DF_ARG; i++)
		r = arg_values(b, b->df.steps[i].text, b->global_args, &b->global_args, false, e);
	return r;
}

static int target_find(Build *b, size_t *ret, Err *e)
{
	Stage *s;

	*ret = b->n_stages - 1;
	if (str_empty(b->rq->target))
		return 0;
	s = build_stage(b, b->rq->target);
	if (!s)
		return err_new(e, ERR_INVALID,
			       "failed to reach build target %s in Dockerfile: no stage is called so",
			       b->rq->target);
	*ret = (size_t)(s - b->stages);
	return 0;
}

static int build_all(Build *b, char ret_id[DIGEST_LEN + 1], Err *e)
{
	_cleanup_free_ bool *needed = NULL;
	size_t target;
	int r = tags_check(b->rq, e);

	if (r >= 0)
		r = dockerfile_load(b, e);
	if (r >= 0)
		r = global_args_read(b, e);
	if (r >= 0)
		r = stages_find(b, e);
	if (r >= 0)
		r = target_find(b, &target, e);
	if (r < 0)
		return r;
	needed = calloc(b->n_stages, sizeof(bool));
	r = needed ? need(b, target, needed, e) : err_oom(e);
	for (size_t i = 0; r >= 0 && i <= target; i++)
		if (needed[i])
			r = stage_build(b, &b->stages[i], e);
	return r < 0 ? r : image_write(b, &b->stages[target], ret_id, e);
}

int build_image(Engine *en, const BuildRequest *rq, char ret_image_id[DIGEST_LEN + 1], int *ret_code, Err *e)
{
	Build b = {.en = en, .store = engine_store(en), .rq = rq};
	int r, ended;

	/* Layers of the cache are not an image's yet: they must not be collected between the steps. */
	store_lease_begin(b.store);
	r = build_all(&b, ret_image_id, e);
	ended = store_lease_end(b.store, r < 0 ? NULL : e);
	r = r < 0 ? r : ended;
	if (ret_code)
		*ret_code = b.exit_code;
	for (size_t i = 0; i < b.n_stages; i++)
		stage_done(&b.stages[i]);
	free(b.stages);
	strv_free(b.global_args);
	dockerfile_done(&b.df);
	free(b.dockerfile_name);
	return r;
}
