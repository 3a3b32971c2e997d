/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What --from of COPY and of RUN --mount names: a stage, an image, a result, a named context, or the main one. Layers are mounted only when something is read:
 * what a step took from layers before is known by their names.
 */
#include "build/context.h"
#include "build/copy.h"
#include "build/solve.h"

static int chain_copy(const char *chain, char **ret, Err *e)
{
	*ret = chain ? strdup(chain) : NULL;
	return chain && !*ret ? err_oom(e) : 0;
}

static int stage_chain(Build *b, Stage *s, char **ret, Err *e)
{
	int r = build_await(b, s, e);

	return r < 0 ? r : chain_copy(s->chain, ret, e);
}

static int result_chain(Build *b, const char *key, char **ret, Err *e)
{
	BuildResult *result;
	BuildBase base;
	int r = build_input(b, key, &result, e);

	if (r < 0)
		return r;
	build_result_base(result, &base);
	return chain_copy(base.chain, ret, e);
}

static int image_chain(Build *b, const char *from, char **ret, Err *e)
{
	StoreImage image = {0};
	int r = build_image_get(b, from, b->rq->platform, &image, e);

	if (r >= 0)
		*ret = take_ptr(image.chain_id);
	store_image_done(&image);
	return r;
}

int origin_of_name(Build *b, const char *from, char **ret_chain, char **ret_value, Err *e)
{
	const char *named = build_named_context(b, from), *directory = build_named_directory(b, from), *key;
	Stage *s = build_stage(b, from);

	*ret_chain = *ret_value = NULL;
	if (s)
		return stage_chain(b, s, ret_chain, e);
	if (directory) {
		*ret_value = strdup(directory);
		return *ret_value ? 0 : err_oom(e);
	}
	key = named ? str_after(named, "input:") : NULL;
	return key ? result_chain(b, key, ret_chain, e) : image_chain(b, from, ret_chain, e);
}

int origin_find(Build *b, const char *from, Origin *ret, Err *e)
{
	int r;

	*ret = (Origin){.root = -1};
	if (!from)
		return 0;
	ret->name = strdup(from);
	if (!ret->name)
		return err_oom(e);
	r = origin_of_name(b, from, &ret->chain, &ret->value, e);
	if (r >= 0 && !ret->chain && !ret->value)
		return err_new(e, ERR_INVALID, "COPY --from=%s: there are no files in it", from);
	return r;
}

int origin_root(Build *b, Origin *o, Err *e)
{
	Context *c;
	int r;

	if (o->root >= 0)
		return 0;
	if (o->chain)
		return store_layers_mount(b->store, o->chain, &o->root, e);
	o->borrowed = true;
	if (!o->value)
		return build_context(b, &o->root, e);
	r = context_get(b, o->value, &c, e);
	if (r >= 0) {
		o->root = context_dir(c);
		o->ignore = context_ignore(c);
	}
	return r;
}

void origin_done(Origin *o)
{
	if (!o->borrowed)
		close_fd(&o->root);
	free(o->name);
	free(o->chain);
	free(o->value);
	*o = (Origin){.root = -1};
}
