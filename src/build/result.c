/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a build has come to, kept until it is exported: the configuration and the layers of the target stage, once for each platform. While there is one
 * the store keeps its layers (a lease).
 */
#include "build/cache-image.h"
#include "build/result.h"

#include "base/log.h"
#include "kernel/mount.h"

static int labels_apply(const Build *b, ImageConfig *c, Err *e)
{
	for (size_t i = 0; b->rq->labels && b->rq->labels[i]; i++)
		if (strv_env_set(&c->run.labels, b->rq->labels[i]) < 0)
			return err_oom(e);
	return 0;
}

/* When the image says that it was made: with the last step, unless the build argument SOURCE_DATE_EPOCH says when everything was. */
static int dates_apply(const Build *b, const Stage *s, ImageConfig *c, Err *e)
{
	int64_t ns = s->time_ns ?: clock_now_ns();
	int given = build_epoch(b, &ns, e);

	if (given < 0)
		return given;
	TimeText at = clock_rfc3339(ns);
	free(c->created);
	c->created = strdup(at.s);
	for (size_t i = s->n_inherited; given && c->created && i < c->n_history; i++) {
		free(c->history[i].created);
		c->history[i].created = strdup(at.s);
		if (!c->history[i].created)
			return err_oom(e);
	}
	return c->created ? 0 : err_oom(e);
}

static int config_copy(const ImageConfig *from, ImageConfig *ret, Err *e)
{
	_cleanup_json_ json_t *doc = image_config_encode(from);

	return doc ? image_config_decode(doc, ret, e) : err_oom(e);
}

static int fill(const Build *b, BuildResult *r, Err *e)
{
	const Stage *s = &b->stages[b->target];
	_cleanup_json_ json_t *doc = NULL;
	int no = config_copy(&s->config, &r->config, e);

	if (no >= 0)
		no = labels_apply(b, &r->config, e);
	if (no >= 0)
		no = dates_apply(b, s, &r->config, e);
	if (no < 0)
		return no;
	if (b->rq->squash && s->n_base_layers &&
	    !(r->base_layer = strdup(s->config.diff_ids[s->n_base_layers - 1])))
		return err_oom(e);
	r->chain = s->chain ? strdup(s->chain) : NULL;
	r->base_id = s->base_id ? strdup(s->base_id) : NULL;
	doc = image_config_encode(&r->config);
	if (doc && cache_is_inline(b) && !r->squash)
		no = cache_records_encode(doc, s->records, s->n_records, NULL, e);
	if (no < 0)
		return no;
	r->text = doc ? json_text(doc) : NULL;
	if (b->rq->provenance && !(r->provenance = provenance_make(b, streq(b->rq->provenance, "max"))))
		return err_oom(e);
	return r->text && (r->chain || !s->chain) && (r->base_id || !s->base_id) ? 0 : err_oom(e);
}

static void release(BuildResult *r)
{
	image_config_done(&r->config);
	free(r->text);
	free(r->chain);
	free(r->base_id);
	free(r->base_layer);
	json_decref(r->provenance);
	free(r);
}

int build_result_new(Build *b, BuildResult **ret, Err *e)
{
	BuildResult *result = calloc(1, sizeof(*result));
	int r;

	if (!result)
		return err_oom(e);
	result->en = b->en;
	result->store = b->store;
	result->squash = b->rq->squash;
	result->sbom = b->rq->sbom;
	result->index = b->rq->index;
	r = fill(b, result, e);
	if (r < 0)
		release(result);
	else
		*ret = result;
	return r;
}

void build_result_free(BuildResult *r)
{
	Store *s;
	Err err = {0};

	if (!r)
		return;
	build_result_free(r->next);
	s = r->store;
	release(r);
	if (store_lease_end(s, &err) < 0)
		log_warn("after a build: what nobody needs any more was not removed: %s", err.msg);
}

void build_result_join(BuildResult *r, BuildResult *next)
{
	r->next = next;
}

const char *build_result_config(const BuildResult *r)
{
	return r->text;
}

void build_result_base(const BuildResult *r, BuildBase *ret)
{
	*ret = (BuildBase){.config = &r->config, .text = r->text, .chain = r->chain, .base_id = r->base_id};
}

int build_tags_check(char *const *tags, Err *e)
{
	for (; tags && *tags; tags++) {
		Reference ref = {0};
		int r = reference_parse(*tags, &ref, e);

		reference_done(&ref);
		if (r < 0)
			return err_ctx(e, r, "invalid argument \"%s\" for tag", *tags);
	}
	return 0;
}

/* The image with all its layers is of no use any more; it goes unless somebody has given it a name meanwhile. */
static int squash(BuildResult *r, char id[DIGEST_LEN + 1], Err *e)
{
	const EngineSquash q = {.image = id, .from = r->base_layer};
	char one[DIGEST_LEN + 1];
	int no = engine_image_squash(r->en, &q, one, e);

	if (no < 0 || streq(one, id))
		return no;
	(void)store_image_delete(r->store, id, NULL, NULL);
	memcpy(id, one, sizeof(one));
	return 0;
}

/* The image of one platform, as an ordinary one. */
static int image_put(BuildResult *r, char id[DIGEST_LEN + 1], Err *e)
{
	int no = store_blob_put(r->store, r->text, strlen(r->text), id, e);

	if (no >= 0)
		no = store_image_put(r->store, id, NULL, r->base_id, e);
	return no >= 0 && r->squash ? squash(r, id, e) : no;
}

static int tags_put(BuildResult *r, char *const *tags, const BuildImageMade *made, Err *e)
{
	int no = 0;

	for (size_t i = 0; no >= 0 && tags && tags[i]; i++) {
		Reference ref = {0};
		_cleanup_free_ char *full = NULL;

		no = reference_parse(tags[i], &ref, e);
		if (no >= 0)
			full = reference_full(&ref);
		reference_done(&ref);
		if (no >= 0)
			no = full ? store_tag_put_new(r->store, full, made->id, NULL, r->base_id, e)
				  : err_oom(e);
	}
	return no;
}

static int with_documents(BuildResult *r, const BuildImageOptions *o, BuildImageMade *ret, Err *e)
{
	size_t n = 0;
	int no = 0;

	for (const BuildResult *one = r; one; one = one->next)
		n++;
	_cleanup_free_ BuiltImage *images = calloc(n, sizeof(*images));
	BuiltImage *at = images;
	if (!images)
		return err_oom(e);
	for (BuildResult *one = r; no >= 0 && one; one = one->next, at++) {
		no = image_put(one, at->id, e);
		if (no >= 0)
			no = index_manifest(one, o, at, e);
	}
	if (no < 0)
		return no;
	if (n > 1 || r->index || attest_wanted(r))
		return index_make(r, o, images, n, ret, e);
	memcpy(ret->id, images->id, sizeof(ret->id));
	memcpy(ret->digest, images->manifest, sizeof(ret->digest));
	ret->size = images->size;
	ret->media_type = MEDIA_OCI_MANIFEST;
	return store_image_parts_set(r->store, ret->id, NULL, NULL, e);
}

/* Files for other systems are made all the same (-o type=local), images of them not kept: no container can be made of one. */
static int check_os(const BuildResult *r, Err *e)
{
	const char *os = r->config.platform.os;

	return str_empty(os) || streq(os, "linux") ? 0
						   : err_new(e, ERR_INVALID,
							     "operating system is not supported: an image "
							     "for %.60s cannot be kept here, its files "
							     "can be had with -o type=local",
							     os);
}

static int alone(BuildResult *r, BuildImageMade *ret, Err *e)
{
	_cleanup_(store_image_done) StoreImage before = {0};
	int no = image_put(r, ret->id, e);

	if (no >= 0)
		no = store_image_get(r->store, ret->id, &before, e);
	/* It was part of more when it was built the last time. */
	if (no >= 0 && before.index_digest)
		no = store_image_parts_set(r->store, ret->id, NULL, NULL, e);
	return no;
}

int build_result_image(BuildResult *r, const BuildImageOptions *o, BuildImageMade *ret, Err *e)
{
	bool documents = false;
	int no = build_tags_check(o->tags, e);

	*ret = (BuildImageMade){0};
	if (no >= 0)
		no = index_wanted(r, o, &documents, e);
	if (no >= 0)
		no = documents ? 0 : check_os(r, e);
	if (no >= 0)
		no = documents ? with_documents(r, o, ret, e) : alone(r, ret, e);
	return no < 0 ? no : tags_put(r, o->tags, ret, e);
}

int build_result_mount(BuildResult *r, int *ret_fd, Err *e)
{
	if (!r->chain)
		return err_new(e, ERR_NOT_FOUND, "the stage has no files: nothing was copied or run in it");
	return store_layers_mount(r->store, r->chain, ret_fd, e);
}

/* "linux/arm/v7" */
static char *directory_name(const BuildResult *r)
{
	char *name = image_platform_text(&r->config.platform);

	for (char *p = name; p && *p; p++)
		*p = *p == '/' ? '_' : *p;
	return name;
}

typedef struct Trees {
	int *fds;
	char **names;
	size_t n;
} Trees;

static int trees_add(Trees *t, BuildResult *r, Err *e)
{
	int *grown = realloc(t->fds, (t->n + 1) * sizeof(*grown)), no;

	if (!grown)
		return err_oom(e);
	t->fds = grown;
	no = build_result_mount(r, &t->fds[t->n], e);
	if (no < 0)
		return no;
	t->n++;
	return strv_take(&t->names, directory_name(r)) < 0 ? err_oom(e) : 0;
}

int build_result_mount_all(BuildResult *r, int *ret_fd, Err *e)
{
	Trees t = {0};
	int no = 0;

	if (!r->next)
		return build_result_mount(r, ret_fd, e);
	for (BuildResult *one = r; no >= 0 && one; one = one->next)
		no = trees_add(&t, one, e);
	if (no >= 0)
		no = mount_gather(t.fds, t.names, store_root(r->store), ret_fd, e);
	for (size_t i = 0; i < t.n; i++)
		close_fd(&t.fds[i]);
	free(t.fds);
	strv_free(t.names);
	return no;
}
