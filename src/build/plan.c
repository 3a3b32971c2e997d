/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The graph: the stages of the Dockerfile, which of them the target needs, and in which order they can be made.
 *
 * A stage needs the one that its FROM names, which comes before it, and those that COPY --from and RUN --mount=from= name, which may come anywhere.
 * Circles are refused here, so nobody waits for a stage that waits for him. What ONBUILD triggers of images name is known only when the image is there: such
 * stages are found late, and are part of the same graph from then on.
 */
#include "build/build-internal.h"
#include "dockerfile/mount.h"

#include <ctype.h>

static const char *const proxy_args[] = {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy",
					 "FTP_PROXY",  "ftp_proxy",  "NO_PROXY",    "no_proxy",
					 "ALL_PROXY",  "all_proxy"};

Stage *build_stage(Build *b, const char *name)
{
	const char *context = build_named_context(b, name),
		   *other = context ? str_after(context, "target:") : NULL;
	int number;

	/* A context that is given by name hides the stage of that name. */
	if (context && !other)
		return NULL;
	if (other)
		name = other;
	for (size_t i = b->n_stages; i-- > 0;)
		if (b->stages[i].name && strcasecmp(b->stages[i].name, name) == 0)
			return &b->stages[i];
	if (b->n_stages && str_to_int(name, 0, (int)b->n_stages - 1, &number) >= 0)
		return &b->stages[number];
	return NULL;
}

/* ---- build arguments ---- */

const char *plan_given_arg(Build *b, const char *name)
{
	const char *v = strv_env_get(b->rq->args, name);

	if (!v)
		return NULL;
	pthread_mutex_lock(&b->events_lock);
	if (!strv_has(b->used_args, name))
		(void)strv_add(&b->used_args, name); /* at worst a warning too many */
	pthread_mutex_unlock(&b->events_lock);
	return v;
}

static char *arg_value(Build *b, const char *name, const char *written, const Stage *s)
{
	const char *given = plan_given_arg(b, name);

	if (!given && !written && s)
		given = strv_env_get(b->platform_args, name) ?: strv_env_get(b->global_args, name);
	if (!given && !written)
		return NULL;
	return strf("%s=%s", name, given ?: written);
}

/* "NAME=VALUE" or "NAME"; a name is as it is written. */
static int plan_arg(Build *b, const char *word, char *const *known, Stage *s, char **ret, Err *e)
{
	const DockerfileLex lex = {.escape = b->df.escape, .env = known};
	size_t n = strcspn(word, "=");
	_cleanup_free_ char *name = strndup(word, n), *value = NULL;
	int r = name ? 0 : err_oom(e);

	if (r >= 0 && n == 0)
		r = err_new(e, ERR_INVALID, "ARG names can not be blank");
	if (r >= 0 && word[n])
		r = dockerfile_lex_word(&lex, word + n + 1, &value, e);
	if (r < 0)
		return r;
	*ret = arg_value(b, name, value, s);
	return s && !strv_has(s->declared, name) && strv_add(&s->declared, name) < 0 ? err_oom(e) : 0;
}

int plan_args(Build *b, const DockerfileStep *step, char *const *env, Stage *s, char ***args, Err *e)
{
	_cleanup_strv_ char **known = strv_dup(env);
	int r = known || !env ? 0 : err_oom(e);

	/* Each may use those before it. */
	for (size_t i = 0; r >= 0 && i < step->n_args; i++) {
		_cleanup_free_ char *assignment = NULL;

		r = plan_arg(b, step->args[i], known, s, &assignment, e);
		if (r >= 0 && assignment &&
		    (strv_env_set(args, assignment) < 0 || strv_env_set(&known, assignment) < 0))
			r = err_oom(e);
	}
	return r;
}

static int platform_args_add(Build *b, const char *side, const char *platform, Err *e)
{
	ImagePlatform p = {0};
	_cleanup_free_ char *text = NULL;
	int r = image_platform_parse(platform, &p, e);

	if (r >= 0)
		text = image_platform_text(&p);
	if (r >= 0 && (!text || strv_take(&b->platform_args, strf("%sPLATFORM=%s", side, text)) < 0 ||
		       strv_take(&b->platform_args, strf("%sOS=%s", side, p.os)) < 0 ||
		       strv_take(&b->platform_args, strf("%sARCH=%s", side, p.architecture)) < 0 ||
		       strv_take(&b->platform_args, strf("%sVARIANT=%s", side, p.variant ?: "")) < 0))
		r = err_oom(e);
	image_platform_done(&p);
	return r;
}

static int args_begin(Build *b, Err *e)
{
	int r = platform_args_add(b, "BUILD", NULL, e);

	if (r >= 0)
		r = platform_args_add(b, "TARGET", b->rq->platform, e);
	if (r >= 0 &&
	    strv_take(&b->platform_args,
		      strf("TARGETSTAGE=%s", str_empty(b->rq->target) ? "default" : b->rq->target)) < 0)
		return err_oom(e);
	for (char **p = b->platform_args; r >= 0 && p && *p; p++) {
		_cleanup_free_ char *name = strndup(*p, strcspn(*p, "="));
		const char *given = name ? plan_given_arg(b, name) : NULL;

		if (!name || (given && strv_take(&b->global_args, strf("%s=%s", name, given)) < 0) ||
		    (!given && strv_add(&b->global_args, *p) < 0))
			return err_oom(e);
	}
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(proxy_args); i++) {
		const char *v = plan_given_arg(b, proxy_args[i]);

		if (v && strv_take(&b->proxy_args, strf("%s=%s", proxy_args[i], v)) < 0)
			return err_oom(e);
	}
	for (size_t i = 0; r >= 0 && i < b->df.n_steps && b->df.steps[i].verb == DF_ARG; i++)
		r = step_fail(b, &b->df.steps[i],
			      plan_args(b, &b->df.steps[i], b->global_args, NULL, &b->global_args, e), e);
	return r;
}

/* ---- stages ---- */

/* A word, expanded with the global arguments. */
static int global_word(Build *b, const char *text, char **ret, Err *e)
{
	return dockerfile_lex_word(&(DockerfileLex){.escape = b->df.escape, .env = b->global_args}, text, ret,
				   e);
}

static int stage_name(Stage *s, const char *word, Err *e)
{
	s->name = strdup(word);
	if (!s->name)
		return err_oom(e);
	for (char *p = s->name; *p; p++) {
		*p = (char)tolower((unsigned char)*p);
		if (!isalnum((unsigned char)*p) && (p == s->name || !strchr("-_.", *p)))
			break;
		if (!p[1] && isalpha((unsigned char)*s->name))
			return 0;
	}
	return err_new(
	    e, ERR_INVALID,
	    "invalid name for build stage: \"%s\", name can't start with a number or contain symbols", word);
}

static int from_words(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	const char *platform = dockerfile_flag(step, "platform");
	size_t n = step->n_args;
	int r = platform ? global_word(b, platform, &s->platform, e) : 0;

	if (r >= 0 && n != 1 && !(n == 3 && strcasecmp(step->args[1], "AS") == 0))
		r = err_new(e, ERR_INVALID,
			    "FROM requires either one or three arguments: FROM <source> [AS <name>]");
	if (r >= 0)
		r = global_word(b, step->args[0], &s->base, e);
	if (r >= 0 && !*s->base)
		r = err_new(e, ERR_INVALID, "base name (%s) should not be blank", step->args[0]);
	if (r < 0)
		return r;
	if (build_named_context(b, s->base)) {
		Stage *t = build_stage(b, s->base);

		s->parent = t && t < s ? t : NULL;
		return n == 3 ? stage_name(s, step->args[2], e) : 0;
	}
	/* Only a stage before this one: a later one of that name does not hide an image. Numbers name no base. */
	for (Stage *t = s; t-- > b->stages && !s->parent;)
		if (t->name && strcasecmp(t->name, s->base) == 0)
			s->parent = t;
	return n == 3 ? stage_name(s, step->args[2], e) : 0;
}

static bool is_part(const DockerfileStep *step)
{
	return step->verb == DF_FROM || step->verb == DF_RUN || step->verb == DF_COPY ||
	       step->verb == DF_ADD || step->verb == DF_WORKDIR;
}

static int stages_find(Build *b, Err *e)
{
	const Dockerfile *d = &b->df;
	int r = 0;

	b->stages = calloc(d->n_steps + 1, sizeof(*b->stages));
	if (!b->stages)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && i < d->n_steps; i++) {
		if (d->steps[i].verb == DF_FROM) {
			Stage *s = &b->stages[b->n_stages];

			s->index = b->n_stages;
			s->first = i;
			r = from_words(b, s, &d->steps[i], e);
			b->n_stages++;
			if (r < 0)
				return step_fail(b, &d->steps[i], r, e);
		}
		if (b->n_stages == 0)
			continue;
		b->stages[b->n_stages - 1].last = i + 1;
		b->stages[b->n_stages - 1].parts += is_part(&d->steps[i]);
	}
	return r;
}

/* ---- needs ---- */

typedef enum Mark { NOT_SEEN, ON_THE_WAY, SEEN } Mark;

typedef struct Plan {
	Build *b;
	Mark *marks;
	Stage **order;
	size_t n;
} Plan;

static int need(Plan *p, Stage *s, Err *e);

static int plan_begin(Build *b, Plan *p, Err *e)
{
	*p = (Plan){.b = b,
		    .marks = calloc(b->n_stages, sizeof(*p->marks)),
		    .order = calloc(b->n_stages, sizeof(Stage *))};
	return p->marks && p->order ? 0 : err_oom(e);
}

/* found(): what is done with each stage that a step names. */
typedef int (*FoundFn)(void *to, Stage *other, Err *e);

static int named(Build *b, const char *name, FoundFn found, void *to, Err *e)
{
	Stage *other = name ? build_stage(b, name) : NULL;

	return other ? found(to, other, e) : 0;
}

static int step_needs(Build *b, const DockerfileStep *step, FoundFn found, void *to, Err *e)
{
	int r = 0;

	if (step->verb == DF_COPY || step->verb == DF_ADD) {
		const char *from = dockerfile_flag(step, "from");
		_cleanup_free_ char *name = NULL;

		if (from)
			r = global_word(b, from, &name, e);
		return r < 0 ? r : named(b, name, found, to, e);
	}
	for (size_t i = 0; r >= 0 && step->verb == DF_RUN && step->flags && step->flags[i]; i++) {
		const char *spec = str_after(step->flags[i], "mount=");
		DockerfileMount m = {0};

		/* What is wrong with it is told by the step, with its variables. */
		if (spec && dockerfile_mount_parse(spec, &m, NULL) >= 0)
			r = named(b, m.from, found, to, e);
		dockerfile_mount_done(&m);
	}
	return r;
}

static int need_found(void *to, Stage *other, Err *e)
{
	return need(to, other, e);
}

static int need(Plan *p, Stage *s, Err *e)
{
	int r = 0;

	if (p->marks[s->index] == SEEN)
		return 0;
	if (p->marks[s->index] == ON_THE_WAY)
		return err_new(e, ERR_INVALID, "circular dependency detected on stage: %s",
			       s->name ?: s->base);
	p->marks[s->index] = ON_THE_WAY;
	if (s->parent)
		r = need(p, s->parent, e);
	for (size_t k = s->first; r >= 0 && k < s->last; k++) {
		r = step_needs(p->b, &p->b->df.steps[k], need_found, p, e);
		if (r < 0)
			return step_fail(p->b, &p->b->df.steps[k], r, e);
	}
	for (size_t i = 0; r >= 0 && i < s->n_late; i++)
		r = need(p, s->late[i], e);
	p->marks[s->index] = SEEN;
	p->order[p->n++] = s;
	return r;
}

/* ---- found late ---- */

#define LATE_DEPTH_MAX 50 /* each is a stage that is made on the stack of the one that waits for it */

static int late_found(void *to, Stage *other, Err *e)
{
	Stage *s = to, **grown = realloc(s->late, (s->n_late + 1) * sizeof(Stage *));

	if (!grown)
		return err_oom(e);
	s->late = grown;
	s->late[s->n_late++] = other;
	return 0;
}

/* Of these, what nobody makes becomes the caller's. Where one stage is made after the other, that is also what would have come later. */
static size_t late_claim(Build *b, const Stage *s, Stage **order, size_t n)
{
	size_t mine = 0;

	for (size_t i = 0; i < n; i++) {
		Stage *t = order[i];

		if (t == s || t->begun || (t->needed && !b->rq->in_order))
			continue;
		pthread_mutex_lock(&b->events_lock);
		b->steps_total += t->needed ? 0 : t->last - t->first;
		pthread_mutex_unlock(&b->events_lock);
		t->needed = t->begun = true;
		t->depth = s->depth + 1;
		order[mine++] = t;
	}
	return mine;
}

int plan_late(Build *b, Stage *s, const DockerfileStep *step, Stage ***ret, size_t *ret_n, Err *e)
{
	_cleanup_free_ Mark *marks = NULL;
	_cleanup_free_ Stage **order = NULL;
	size_t before;
	Plan p;
	int r = plan_begin(b, &p, e);

	marks = p.marks;
	order = p.order;
	if (r < 0)
		return r;
	pthread_mutex_lock(&b->lock);
	before = s->n_late;
	r = step_needs(b, step, late_found, s, e);
	if (r >= 0 && s->n_late > before && s->depth >= LATE_DEPTH_MAX)
		r = err_new(e, ERR_INVALID, "more than %d stages need one another through ONBUILD triggers",
			    LATE_DEPTH_MAX);
	if (r >= 0 && s->n_late > before)
		r = need(&p, s, e);
	if (r >= 0) {
		*ret_n = late_claim(b, s, order, p.n);
		*ret = take_ptr(order);
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

static int target_find(Build *b, Err *e)
{
	Stage *s;

	b->target = b->n_stages - 1;
	if (str_empty(b->rq->target))
		return 0;
	s = build_stage(b, b->rq->target);
	if (!s)
		return err_new(
		    e, ERR_INVALID,
		    "target stage \"%s\" could not be found: failed to reach build target %s in Dockerfile",
		    b->rq->target, b->rq->target);
	b->target = s->index;
	return 0;
}

int plan_make(Build *b, Err *e)
{
	_cleanup_free_ Mark *marks = NULL;
	Plan p;
	int r = args_begin(b, e);

	if (r >= 0)
		r = stages_find(b, e);
	if (r >= 0)
		r = target_find(b, e);
	if (r < 0)
		return r;
	r = plan_begin(b, &p, e);
	marks = p.marks;
	b->order = p.order;
	if (r >= 0)
		r = need(&p, &b->stages[b->target], e);
	for (size_t i = 0; r >= 0 && i < p.n; i++) {
		b->order[i]->needed = true;
		b->steps_total += b->order[i]->last - b->order[i]->first;
	}
	b->n_order = p.n;
	return r;
}
