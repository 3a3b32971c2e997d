/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `image squash`: the layers of an image above a base become one layer.
 *
 * The new image shows the same files and runs the same way. Its history keeps what belongs to the layers that stay, and one entry
 * for the rest; its creation time is that of the image it was made from unless the caller gives one, so the same image
 * squashed again, here or elsewhere, has the same id.
 */
#include "engine/image-internal.h"

#include "base/clock.h"

/* ---- the base ---- */

static bool is_prefix(char *const *of, char *const *v)
{
	for (; v && *v; v++, of++)
		if (!of || !*of || !streq(*of, *v))
			return false;
	return true;
}

/* The layer that the user named by its diff id or the beginning of it: its number from 1, or 0. */
static int find_layer(char *const *diff_ids, const char *name, size_t *ret, Err *e)
{
	const char *hex = str_after(name, "sha256:") ?: name;
	size_t n = strlen(hex);

	*ret = 0;
	for (size_t i = 0; n > 0 && diff_ids && diff_ids[i]; i++) {
		if (strncmp(digest_hex(diff_ids[i]), hex, n) != 0)
			continue;
		if (*ret > 0 && !streq(diff_ids[*ret - 1], diff_ids[i]))
			return err_new(e, ERR_INVALID, "several layers begin with %s", name);
		*ret = i + 1;
	}
	return 0;
}

/* How many layers stay as they are. */
static int find_base(Engine *en, char *const *diff_ids, const char *from, size_t *ret, Err *e)
{
	_cleanup_(store_image_done) StoreImage base = {0};
	_cleanup_(image_config_done) ImageConfig config = {.run.stop_timeout = -1};
	int r = 0;

	*ret = 0;
	if (!str_empty(from))
		r = find_layer(diff_ids, from, ret, e);
	if (r < 0 || *ret > 0 || str_empty(from))
		return r;
	r = store_image_find(en->store, from, &base, NULL);
	if (r < 0)
		return err_new(
		    e, ERR_NOT_FOUND,
		    "%s is neither a layer of the image (image inspect lists RootFS.Layers) nor an "
		    "image that it is built on",
		    from);
	r = store_image_config(en->store, base.id, &config, e);
	if (r < 0)
		return r;
	if (!is_prefix(diff_ids, config.diff_ids))
		return err_new(e, ERR_INVALID, "the image is not built on %s", from);
	*ret = strv_len(config.diff_ids);
	return 0;
}

static void chain_of(char *const *diff_ids, size_t n, char ret[DIGEST_LEN + 1])
{
	char next[DIGEST_LEN + 1];

	ret[0] = 0;
	for (size_t i = 0; i < n; i++) {
		chain_id_next(*ret ? ret : NULL, diff_ids[i], next);
		memcpy(ret, next, sizeof(next));
	}
}

/* ---- the config ---- */

static void history_done(ImageHistory *h)
{
	free(h->created);
	free(h->created_by);
	free(h->author);
	free(h->comment);
}

/* Keeps the entries up to that of the last layer which stays, and adds one. */
static int rewrite_history(ImageConfig *c, size_t base, size_t merged, const char *id)
{
	size_t keep = 0, layers = 0;
	ImageHistory *v;

	while (keep < c->n_history && layers < base)
		layers += !c->history[keep++].empty_layer;
	for (size_t i = keep; i < c->n_history; i++)
		history_done(&c->history[i]);
	c->n_history = keep;
	v = realloc(c->history, (keep + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	c->history = v;
	v[keep] = (ImageHistory){
	    .created = c->created ? strdup(c->created) : NULL,
	    .created_by = strdup("ireko image squash"),
	    .comment = strf("%zu layers of %s", merged, id),
	};
	c->n_history++;
	return (!c->created || v[keep].created) && v[keep].created_by && v[keep].comment ? 0 : -ENOMEM;
}

static int rewrite_config(ImageConfig *c, size_t base, const char *diff, const char *id, int64_t created_ns)
{
	size_t n = strv_len(c->diff_ids);

	for (size_t i = base; i < n; i++) {
		free(c->diff_ids[i]);
		c->diff_ids[i] = NULL;
	}
	free(take_ptr(c->parent));
	free(take_ptr(c->container));
	if (created_ns > 0) {
		free(c->created);
		c->created = strdup(clock_rfc3339(created_ns).s);
		if (!c->created)
			return -ENOMEM;
	}
	if (strv_add(&c->diff_ids, diff) < 0)
		return -ENOMEM;
	return rewrite_history(c, base, n - base, id);
}

/* ---- the image ---- */

static int squash_layers(Engine *en, const StoreImage *i, ImageConfig *c, size_t base, int64_t created_ns,
			 char ret_id[DIGEST_LEN + 1], Err *e)
{
	char below[DIGEST_LEN + 1], chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	int r;

	chain_of(c->diff_ids, base, below);
	r = store_layers_squash(en->store, *below ? below : NULL, i->chain_id, strv_len(c->diff_ids) - base,
				chain, diff, e);
	if (r >= 0)
		r = rewrite_config(c, base, diff, i->id, created_ns) < 0 ? err_oom(e) : 0;
	return r < 0 ? r : image_record(en, c, NULL, ret_id, e);
}

static int squash_found(Engine *en, const EngineSquash *q, const StoreImage *i, char ret_id[DIGEST_LEN + 1],
			Err *e)
{
	_cleanup_(image_config_done) ImageConfig c = {.run.stop_timeout = -1};
	size_t base;
	int r = store_image_config(en->store, i->id, &c, e), ended;

	if (r >= 0)
		r = find_base(en, c.diff_ids, q->from, &base, e);
	if (r < 0)
		return r;
	/* One layer is one already: its tar stays as it was made. */
	if (strv_len(c.diff_ids) < base + 2) {
		memcpy(ret_id, i->id, DIGEST_LEN + 1);
		return 0;
	}
	store_lease_begin(en->store);
	r = squash_layers(en, i, &c, base, q->created_ns, ret_id, e);
	ended = store_lease_end(en->store, r < 0 ? NULL : e);
	return r < 0 ? r : ended;
}

int engine_image_squash(Engine *en, const EngineSquash *q, char ret_id[DIGEST_LEN + 1], Err *e)
{
	_cleanup_(store_image_done) StoreImage i = {0};
	Reference ref = {0};
	/* A name that is wrong is told before any file is copied. */
	int r = str_empty(q->name) ? 0 : reference_parse(q->name, &ref, e);

	reference_done(&ref);
	if (r >= 0)
		r = store_image_find(en->store, q->image, &i, e);
	if (r >= 0)
		r = squash_found(en, q, &i, ret_id, e);
	if (r >= 0 && !str_empty(q->name))
		r = image_tag_as(en, q->name, ret_id, e);
	return r < 0 ? err_ctx(e, r, "squash image %s", q->image) : 0;
}
