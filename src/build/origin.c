/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What --from names: a stage, an image, a named context, or the main one. Layers are mounted only when something is read: what a step took from layers before is
 * known by their names.
 */
#include "build/context.h"
#include "build/copy.h"

static int stage_origin(Build *b, Stage *s, const char *from, Origin *ret, Err *e)
{
	int r = build_await(b, s, e);

	if (r < 0)
		return r;
	if (!s->chain)
		return err_new(e, ERR_INVALID, "COPY --from=%s: that stage is empty", from);
	ret->chain = strdup(s->chain);
	return ret->chain ? 0 : err_oom(e);
}

static int image_origin(Build *b, const char *from, Origin *ret, Err *e)
{
	StoreImage image = {0};
	int r = build_image_get(b, from, b->rq->platform, &image, e);

	if (r >= 0 && !image.chain_id)
		r = err_new(e, ERR_INVALID, "COPY --from=%s: that image is empty", from);
	if (r >= 0)
		ret->chain = take_ptr(image.chain_id);
	store_image_done(&image);
	return r;
}

int origin_find(Build *b, const char *from, Origin *ret, Err *e)
{
	const char *named = from ? build_named_context(b, from) : NULL;
	Stage *s = from ? build_stage(b, from) : NULL;

	*ret = (Origin){.root = -1};
	if (!from)
		return 0;
	ret->name = strdup(from);
	if (!ret->name)
		return err_oom(e);
	if (s)
		return stage_origin(b, s, from, ret, e);
	if (!named || str_starts(named, "docker-image://"))
		return image_origin(b, from, ret, e);
	ret->value = strdup(named);
	return ret->value ? 0 : err_oom(e);
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
