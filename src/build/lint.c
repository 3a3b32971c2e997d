/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The build checks of a Dockerfile (dockerfile/check.h) as warnings of its build. Images that are not here yet are not waited for: what their
 * environment may hold is not missed then. The classic builder's stream has none.
 */
#include "build/build-internal.h"
#include "dockerfile/check.h"

static int base_known(void *user, const char *image, const char *platform _unused_, DockerfileBase *ret)
{
	const Build *b = user;
	StoreImage found = {0};
	ImageConfig config = {0};
	DockerfileBase base = {0};
	int r = store_image_find(b->store, image, &found, NULL);

	if (r >= 0) {
		r = store_image_config(b->store, found.id, &config, NULL);
		store_image_done(&found);
	}
	if (r < 0)
		return 0;
	base.env = take_ptr(config.run.env);
	base.has_shell = config.run.shell && config.run.shell[0];
	image_config_done(&config);
	*ret = base;
	return 1;
}

static void tell_warning(void *user, const DockerfileWarning *w)
{
	Build *b = user;
	_cleanup_free_ char *text = strf("%s (line %d)", w->detail, w->place.first);

	if (!text)
		return; /* a warning less */
	build_warning(b, &(BuildEvent){
			     .text = text,
			     .len = strlen(text),
			     .rule = w->rule,
			     .detail = w->description,
			     .url = *w->url ? w->url : NULL,
			     .line = w->place.first,
			     .last_line = w->place.last,
			 });
}

static void tell_nothing(void *user _unused_, const DockerfileWarning *w _unused_)
{
}

int build_lint(Build *b, Err *e)
{
	const DockerfileCheckInput in = {.build_args = b->rq->args,
					 .ignore = b->ignore.n ? &b->ignore : NULL,
					 .platform = b->rq->platform,
					 .target = b->rq->target,
					 .base = base_known,
					 .user = b};

	return b->rq->in_order ? 0
			       : dockerfile_check(&b->df, &in, b->follows ? tell_nothing : tell_warning, e);
}

int build_lint_base(Build *b, const Stage *s, Err *e)
{
	const DockerfileCheckInput in = {.build_args = b->rq->args, .user = b};
	const char *expected = s->platform ?: b->rq->platform;
	_cleanup_free_ char *actual = NULL;

	if (b->rq->in_order || str_empty(expected))
		return 0;
	actual = image_platform_text(&s->config.platform);
	return actual ? dockerfile_check_base(&b->df, &in, &b->df.steps[s->first], s->base, actual, expected,
					      tell_warning, e)
		      : err_oom(e);
}
