/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stage: its steps in order, each applied to what the stage has come to.
 *
 * Instructions that only change the configuration are computed afresh each time; those that change files go through
 * the cache. The result depends on nothing else: a build that finds all its layers in the cache gives the very
 * same image id again, because times come from the layers.
 */
#include "build/cache-image.h"

int step_fail(Build *b, const DockerfileStep *step, int r, Err *e)
{
	if (r >= 0)
		return r;
	pthread_mutex_lock(&b->lock);
	bool ran = b->how.status != 0;
	if (!b->how.line && step->line) {
		b->how.line = step->line;
		b->how.last_line = step->last_line;
	}
	pthread_mutex_unlock(&b->lock);
	/* A failing RUN names its place itself, behind the wording that clients look for. */
	return ran || !step->line ? r : err_ctx(e, r, "%s:%d", b->dockerfile_name, step->line);
}

void stage_done(Stage *s)
{
	free(s->name);
	free(s->base);
	free(s->platform);
	image_config_done(&s->config);
	free(s->base_id);
	free(s->chain);
	strv_free(s->args);
	strv_free(s->declared);
	cache_records_free(s->records, s->n_records);
	free(s->late);
	engine_spare_drop(s->spare);
	free(s->spent);
}

int stage_environment(const Stage *s, char ***ret, Err *e)
{
	_cleanup_strv_ char **env = strv_dup(s->config.run.env);

	if (!env && s->config.run.env)
		return err_oom(e);
	for (size_t i = 0; s->args && s->args[i]; i++)
		if (strv_env_set(&env, s->args[i]) < 0)
			return err_oom(e);
	*ret = take_ptr(env);
	return 0;
}

int stage_add_history(Stage *s, const char *created_by, bool empty, Err *e)
{
	ImageHistory *grown = realloc(s->config.history, (s->config.n_history + 1) * sizeof(*grown));

	if (!grown || !created_by)
		return err_oom(e);
	s->config.history = grown;
	ImageHistory *h = &grown[s->config.n_history++];
	*h = (ImageHistory){
	    .created = strdup(clock_rfc3339(s->time_ns).s),
	    .created_by = strdup(created_by),
	    .comment = strdup("buildkit.dockerfile.v0"),
	    .empty_layer = empty,
	};
	return h->created && h->created_by && h->comment ? 0 : err_oom(e);
}

int stage_add_layer(Stage *s, const char *created_by, const char *key, const CacheHit *h, Err *e)
{
	_cleanup_strv_ char **diffs = h->empty ? NULL : strv_split(h->diff, ' ');
	int r = 0;

	if (!h->empty && !diffs)
		return err_oom(e);
	/* What a step gave belongs to the keys of those after it: run again (--no-cache), it may have given another layer, and what
	 * was once made on the former one does not fit on this. */
	cache_key(s->key, key, h->empty ? "" : h->diff, NULL);
	s->time_ns = MAX2(s->time_ns, h->created_ns);
	if (h->empty)
		return stage_add_history(s, created_by, true, e);
	free(s->chain);
	s->chain = strdup(h->chain);
	if (!s->chain)
		return err_oom(e);
	for (char **d = diffs; r >= 0 && *d; d++)
		r = strv_add(&s->config.diff_ids, *d) < 0 ? err_oom(e)
							  : stage_add_history(s, created_by, false, e);
	return r;
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
		return step_configure(b, s, step, e);
	}
}

/* "[base 2/5] ", "[2/5] " where there is one stage only; "[linux/arm64 base 2/5]" where there are several platforms. */
static char *vertex_place(const Build *b, const Stage *s)
{
	const char *label = b->label ?: "", *sep = b->label ? " " : "";

	if (b->n_stages == 1)
		return strf("[%s%s%u/%u]", label, sep, s->part, s->parts);
	return s->name ? strf("[%s%s%s %u/%u]", label, sep, s->name, s->part, s->parts)
		       : strf("[%s%sstage-%zu %u/%u]", label, sep, s->index, s->part, s->parts);
}

static int vertex_of(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	_cleanup_free_ char *place = NULL;

	s->part++;
	place = vertex_place(b, s);
	s->vertex = place ? vertex_new(b, step->line, "%s %s", place, step->original) : NULL;
	return s->vertex ? 0 : err_oom(e);
}

bool step_makes_layer(const DockerfileStep *step)
{
	return step->verb == DF_RUN || step->verb == DF_COPY || step->verb == DF_ADD ||
	       step->verb == DF_WORKDIR;
}

int stage_step(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	int r;

	if (!step_makes_layer(step) && step->verb != DF_FROM)
		return step_do(b, s, step, e);
	r = vertex_of(b, s, step, e);
	if (r < 0 || step->verb == DF_FROM)
		return r < 0 ? r : stage_from(b, s, e);
	/* What takes long is not done beside a container that has ended. */
	r = step->verb == DF_RUN ? 0 : step_run_tidy(b, s, e);
	if (r < 0)
		return r;
	vertex_begin(b, s->vertex);
	return vertex_end(b, s->vertex, step_do(b, s, step, e), e);
}

static int steps_run(Build *b, Stage *s, Err *e)
{
	int r = 0;

	for (size_t i = s->first; r >= 0 && i < s->last; i++) {
		const DockerfileStep *step = &b->df.steps[i];

		if (build_is_over(b))
			return build_cancelled(e);
		pthread_mutex_lock(&b->events_lock);
		size_t number = ++b->steps_done, total = b->steps_total;
		pthread_mutex_unlock(&b->events_lock);
		build_tell(b, BUILD_STEP, "Step %zu/%zu : %s", number, total, step->original);
		r = step_fail(b, step, stage_step(b, s, step, e), e);
	}
	return r;
}

int stage_run(Build *b, Stage *s, Err *e)
{
	int r = steps_run(b, s, e), tidied = step_run_end(b, s, r < 0 ? NULL : e);

	return r < 0 ? r : tidied;
}
