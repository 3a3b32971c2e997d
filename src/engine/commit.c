/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `commit`: a container's writable layer becomes the top layer of a new image.
 *
 * The container's `life` is held throughout, so it is neither started, stopped nor removed meanwhile; a running one is frozen
 * while its files are copied, unless the user said otherwise. Its state as others see it does not change.
 */
#include "engine/change.h"
#include "engine/image-internal.h"

/* ---- the run config: request over changes over container ---- */

/* What a container's configuration has in common with an image's; borrows everything. */
static ImageRunConfig borrowed_config(const ContainerConfig *k)
{
	return (ImageRunConfig){
	    .user = k->user,
	    .working_dir = k->working_dir,
	    .stop_signal = k->stop_signal,
	    .env = k->env,
	    .cmd = k->cmd,
	    .entrypoint = k->entrypoint,
	    .shell = k->shell,
	    .on_build = k->on_build,
	    .labels = k->labels,
	    .exposed_ports = k->exposed_ports,
	    .volumes = k->volumes,
	    .stop_timeout = k->stop_timeout,
	    .has_health = k->has_health,
	    .health =
		{
		    .test = k->health.test,
		    .interval_ns = k->health.interval,
		    .timeout_ns = k->health.timeout,
		    .start_period_ns = k->health.start_period,
		    .start_interval_ns = k->health.start_interval,
		    .retries = k->health.retries,
		},
	    .args_escaped = k->args_escaped,
	};
}

static int fill_string(char **field, const char *from)
{
	if (!str_empty(*field) || str_empty(from))
		return 0;
	free(*field);
	*field = strdup(from);
	return *field ? 0 : -ENOMEM;
}

static int fill_vector(char ***field, char *const *from)
{
	if ((*field && (*field)[0]) || !from)
		return 0;
	strv_free(*field);
	*field = strv_dup(from);
	return *field ? 0 : -ENOMEM;
}

static int add_missing_pairs(char ***field, char *const *from)
{
	for (size_t i = 0; from && from[i]; i++) {
		_cleanup_free_ char *key = strndup(from[i], strcspn(from[i], "="));

		if (!key || (!strv_env_get(*field, key) && strv_add(field, from[i]) < 0))
			return -ENOMEM;
	}
	return 0;
}

static int add_missing_names(char ***field, char *const *from)
{
	for (size_t i = 0; from && from[i]; i++)
		if (!strv_has(*field, from[i]) && strv_add(field, from[i]) < 0)
			return -ENOMEM;
	return 0;
}

/* Docker's rule: an entrypoint of the request's own takes no command from the container. */
static int merge_command(ImageRunConfig *c, const ImageRunConfig *from)
{
	int r = 0;

	if (c->entrypoint && c->entrypoint[0])
		return 0;
	if (!c->cmd || !c->cmd[0])
		r = fill_vector(&c->cmd, from->cmd);
	if (r >= 0 && !c->entrypoint)
		r = fill_vector(&c->entrypoint, from->entrypoint);
	return r;
}

static int merge_run_config(ImageRunConfig *c, const ImageRunConfig *from)
{
	if (fill_string(&c->user, from->user) < 0 || fill_string(&c->working_dir, from->working_dir) < 0 ||
	    fill_string(&c->stop_signal, from->stop_signal) < 0 || fill_vector(&c->shell, from->shell) < 0 ||
	    add_missing_pairs(&c->env, from->env) < 0 || add_missing_pairs(&c->labels, from->labels) < 0 ||
	    add_missing_names(&c->exposed_ports, from->exposed_ports) < 0 ||
	    add_missing_names(&c->volumes, from->volumes) < 0 || merge_command(c, from) < 0)
		return -ENOMEM;
	if (c->stop_timeout < 0)
		c->stop_timeout = from->stop_timeout;
	if (!c->has_health && from->has_health) {
		char **test = strv_dup(from->health.test);

		if (!test)
			return -ENOMEM;
		strv_free(c->health.test);
		c->health = from->health;
		c->health.test = test;
		c->has_health = true;
	}
	return 0;
}

static int run_config_make(const Container *c, const EngineCommit *cm, ImageRunConfig *ret, Err *e)
{
	ImageRunConfig own = borrowed_config(&c->config), run = {.stop_timeout = -1};
	int r = image_run_config_copy(cm->config ? cm->config : &own, &run) < 0 ? err_oom(e) : 0;

	if (r >= 0)
		r = change_apply_all(&run, cm->changes, e);
	if (r >= 0 && cm->config && merge_run_config(&run, &own) < 0)
		r = err_oom(e);
	if (r < 0) {
		image_run_config_done(&run);
		return r;
	}
	*ret = run;
	return 0;
}

/* ---- the layer ---- */

typedef struct NewLayer {
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	bool empty;
} NewLayer;

typedef struct Freezer {
	Container *c;
	bool frozen;
} Freezer;

static int freeze(Freezer *f, bool pause, Err *e)
{
	int r = 0;

	if (pause && f->c->shim && container_status(f->c) == CONTAINER_RUNNING) {
		r = shim_pause(f->c->shim, true, e);
		f->frozen = r >= 0;
	}
	return err_ctx(e, r, "pause the container (commit without pausing is possible)");
}

/* A container left frozen is worse than a commit that failed. */
static int thaw(void *user, Err *e)
{
	Freezer *f = user;
	int r = f->frozen ? shim_pause(f->c->shim, false, e) : 0;

	f->frozen = false;
	return err_ctx(e, r, "resume the container after copying");
}

static int layer_make(Engine *en, Container *c, bool pause, NewLayer *ret, Err *e)
{
	_cleanup_free_ char *upper = NULL;
	Freezer f = {.c = c};
	int64_t size;
	int r = freeze(&f, pause, e);

	if (r < 0)
		return r;
	r = store_snapshot_changes(en->store, c->id, &upper, e);
	if (r >= 0) {
		/* It goes on as soon as its files are copied: what is left is work on the copy. */
		const LayerCopy copy = {.parent = c->chain_id,
					.upper_dir = upper,
					.copied = thaw,
					.user = &f};

		r = store_layer_commit_copy(en->store, &copy, ret->chain, ret->diff, &size, &ret->empty, e);
	}
	if (r < 0)
		(void)thaw(&f, NULL);
	return r;
}

/* ---- the image ---- */

static char *command_line(const Container *c)
{
	_cleanup_free_ char *args = strv_join(c->args, " ");

	if (!args)
		return NULL;
	return *args ? strf("%s %s", c->path, args) : strdup(c->path);
}

static int history_add(ImageConfig *ic, const Container *c, const EngineCommit *cm, bool empty)
{
	ImageHistory *v = realloc(ic->history, (ic->n_history + 1) * sizeof(*v)), *h;

	if (!v)
		return -ENOMEM;
	ic->history = v;
	h = &v[ic->n_history++];
	*h = (ImageHistory){
	    .created = strdup(ic->created),
	    .created_by = command_line(c),
	    .author = cm->author ? strdup(cm->author) : NULL,
	    .comment = cm->comment ? strdup(cm->comment) : NULL,
	    .empty_layer = empty,
	};
	return h->created && h->created_by ? 0 : -ENOMEM;
}

static int replace(char **field, const char *value)
{
	free(*field);
	*field = value ? strdup(value) : NULL;
	return value && !*field ? -ENOMEM : 0;
}

static int config_complete(ImageConfig *ic, const Container *c, const EngineCommit *cm, const NewLayer *layer)
{
	if (replace(&ic->created, clock_rfc3339(cm->created_ns > 0 ? cm->created_ns : clock_now_ns()).s) <
		0 ||
	    replace(&ic->container, c->id) < 0 ||
	    replace(&ic->parent, str_empty(c->image_id) ? NULL : c->image_id) < 0 ||
	    replace(&ic->comment, cm->comment) < 0 || (cm->author && replace(&ic->author, cm->author) < 0))
		return -ENOMEM;
	if (!layer->empty && strv_add(&ic->diff_ids, layer->diff) < 0)
		return -ENOMEM;
	return history_add(ic, c, cm, layer->empty);
}

int image_record(Engine *en, const ImageConfig *ic, const char *parent, char ret_id[DIGEST_LEN + 1], Err *e)
{
	_cleanup_json_ json_t *doc = image_config_encode(ic);
	_cleanup_free_ char *text = doc ? json_text(doc) : NULL;
	int r;

	if (!text)
		return err_new(e, ERR_INVALID,
			       "the image config cannot be written: a text in it is not valid UTF-8");
	r = store_blob_put(en->store, text, strlen(text), ret_id, e);
	return r < 0 ? r : store_image_put(en->store, ret_id, NULL, parent, e);
}

/* The configuration that the container's layers come with; of a build's container, which was made of no image, what follows from the layers. */
static int base_config(Engine *en, const Container *c, ImageConfig *ret, Err *e)
{
	int r;

	if (!str_empty(c->image_id))
		return store_image_config(en->store, c->image_id, ret, e);
	r = c->chain_id ? store_layer_diffs(en->store, c->chain_id, &ret->diff_ids, e) : 0;
	if (r >= 0)
		r = image_platform_parse(NULL, &ret->platform, e);
	return r;
}

static int commit_locked(Engine *en, Container *c, const EngineCommit *cm, char ret_id[DIGEST_LEN + 1],
			 Err *e)
{
	ImageConfig ic = {.run.stop_timeout = -1};
	ImageRunConfig run = {.stop_timeout = -1};
	NewLayer layer;
	const char *parent = str_empty(c->image_id) ? NULL : c->image_id;
	int r;

	if (c->removed)
		return err_new(e, ERR_NOT_FOUND, "No such container: %s", c->id);
	r = run_config_make(c, cm, &run, e);
	if (r >= 0)
		r = base_config(en, c, &ic, e);
	if (r >= 0) {
		image_run_config_done(&ic.run);
		ic.run = run;
		run = (ImageRunConfig){.stop_timeout = -1};
		r = layer_make(en, c, cm->pause, &layer, e);
	}
	if (r >= 0)
		r = config_complete(&ic, c, cm, &layer) < 0 ? err_oom(e) : 0;
	if (r >= 0)
		r = image_record(en, &ic, parent, ret_id, e);
	image_run_config_done(&run);
	image_config_done(&ic);
	return r;
}

/* An image without a tag may be pruned before it gets this one. */
static int tag_new(Engine *en, const Container *c, const char *name, const char *id, Err *e)
{
	Err own = {0};
	int r = image_tag_as(en, name, id, &own);

	if (r < 0 && own.kind == ERR_NOT_FOUND) {
		own = (Err){0};
		r = store_image_put(en->store, id, NULL, str_empty(c->image_id) ? NULL : c->image_id, &own);
		if (r >= 0)
			r = image_tag_as(en, name, id, &own);
	}
	if (r < 0 && e)
		*e = own;
	return r;
}

int engine_container_commit(Engine *en, const char *ref, const EngineCommit *cm,
			    char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_free_ char *name = NULL;
	Reference parsed = {0};
	EngineSpace space;
	int r = container_find(en, ref, &c, e), ended;

	if (r < 0)
		return r;
	if (!str_empty(cm->repo)) {
		name = str_empty(cm->tag) ? strdup(cm->repo) : strf("%s:%s", cm->repo, cm->tag);
		/* A name that is wrong is told before anything is copied. */
		r = name ? reference_parse(name, &parsed, e) : err_oom(e);
		reference_done(&parsed);
		if (r < 0)
			return r;
	}
	engine_space_begin(en, &space);
	store_lease_begin(en->store);
	container_lock(c);
	r = commit_locked(en, c, cm, ret_image_id, e);
	pthread_mutex_unlock(&c->life);
	if (r >= 0 && name)
		r = tag_new(en, c, name, ret_image_id, e);
	ended = store_lease_end(en->store, r < 0 ? NULL : e);
	r = engine_space_end(en, &space, r < 0 ? r : ended, e);
	if (r < 0)
		return err_ctx(e, r, "commit container %s", ref);
	container_event(en, c, "commit", "comment", cm->comment ?: "", "imageID", ret_image_id, "imageRef",
			name ?: "", NULL);
	return 0;
}
